// What stands in the slots: names, numbers, addresses, all drawn anew, each from its own half (random.mjs, isHeld).
import { readFileSync } from 'node:fs';
import { isHeld, sections } from './random.mjs';

const here = (name) => readFileSync(new URL(name, import.meta.url), 'utf8');
const words = Object.fromEntries(sections(here('words.txt')).map((s) => [s.title, s.lines.join(', ').split(', ')]));
const known = { given: [], surname: [] };
for (const line of here('../../data/names.txt').split('\n')) {
  const [kind, names] = line.split(': ');
  if (known[kind]) known[kind].push(...names.split(' ').filter((n) => n.length > 2));
}

const onsets = ['b', 'br', 'c', 'ch', 'd', 'dr', 'f', 'fl', 'g', 'gr', 'h', 'j', 'k', 'kl', 'kr', 'l', 'm', 'n', 'p', 'pr', 'qu', 'r', 's', 'sch', 'sh', 'st', 't', 'th', 'tr', 'v', 'w', 'wh', 'x', 'y', 'z', ''];
const vowels = ['a', 'e', 'i', 'o', 'u', 'a', 'e', 'i', 'o', 'ai', 'ea', 'ei', 'ia', 'io', 'oa', 'ou', 'y', 'ö', 'é', 'ü', 'á'];
const codas = ['', '', '', 'n', 'r', 'l', 's', 't', 'm', 'nd', 'rt', 'ck', 'll', 'ss', 'x', 'ng', 'st', 'v', 'z', 'ń', 'ç'];
const plain = { ö: 'oe', é: 'e', ü: 'ue', á: 'a', ń: 'n', ç: 'c' };
export const ascii = (text) => text.replace(/[öéüáńç]/g, (c) => plain[c]);
const capital = (w) => w[0].toUpperCase() + w.slice(1);
const ending = { given: ['', 'a', 'o', 'us', 'ine', 'iel', 'ik'], surname: ['', 'son', 'man', 'ski', 'berg', 'ez', 'ova', 'ini', 'sen'] };

export class Values {
  constructor(random, held) {
    this.random = random;
    this.held = held;
    this.words = {};
    for (const [kind, all] of Object.entries(words)) {
      const mine = all.filter((w) => isHeld(w) === held);
      // Names of days and months are everybody's; what has few words has no halves.
      this.words[kind] = all.length < 20 || mine.length === 0 ? all : mine;
    }
  }

  /** A value of this half. */
  own(make) {
    for (;;) {
      const value = make();
      if (isHeld(value) === this.held) return value;
    }
  }
  digits(n) {
    let out = String(this.random.between(1, 9));
    while (out.length < n) out += this.random.below(10);
    return out;
  }
  letters(n) {
    let out = '';
    while (out.length < n) out += String.fromCharCode(65 + this.random.below(26));
    return out;
  }
  syllables(n) {
    let out = '';
    const r = this.random;
    for (let i = 0; i < n; i++) out += r.pick(onsets) + r.pick(r.chance(0.96) ? vowels.slice(0, 17) : vowels) + r.pick(i < n - 1 ? codas.slice(0, 7) : codas);
    return out || this.syllables(n);
  }
  nameOf(kind) {
    const r = this.random;
    return this.own(() => capital(r.chance(0.5) ? r.pick(known[kind]) : this.syllables(r.between(1, 2)) + r.pick(ending[kind])));
  }

  get(slot) {
    if (this.words[slot]) return this.random.pick(this.words[slot]);
    if (typeof this[slot] !== 'function') throw new Error(`nothing can stand in {${slot}}`);
    return this[slot]();
  }

  // People and places
  given() { return this.nameOf('given'); }
  family() {
    const one = this.nameOf('surname');
    return this.random.chance(0.08) ? `${one}-${this.nameOf('surname')}` : one;
  }
  name() { return `${this.given()} ${this.random.chance(0.06) ? `${this.letters(1)}. ` : ''}${this.family()}`; }
  company() {
    const r = this.random;
    const first = this.own(() => capital(r.chance(0.5) ? this.syllables(2) : r.chance(0.5) ? this.family() : r.pick(this.words.noun)));
    return r.chance(0.85) ? `${first} ${r.pick(words.company_end)}` : first;
  }
  team() { return this.random.chance(0.5) ? this.get('city') : `${this.get('city')} ${this.random.pick(['United', 'City', 'Rovers', 'Wanderers'])}`; }
  street() {
    const r = this.random;
    const name = this.own(() => capital(this.syllables(2)));
    return r.chance(0.6) ? `${r.between(1, 220)} ${name} ${r.pick(words.street_end)}` : `${name}${r.pick(words.street_join)} ${r.between(1, 220)}`;
  }
  zip() { return this.own(() => this.digits(5)); }

  // Numbers
  count() { return String(this.random.between(2, 60)); }
  id() {
    const r = this.random;
    return this.own(() => r.weigh([
      [3, () => this.digits(r.between(4, 8))],
      [2, () => `${this.letters(r.between(1, 3))}-${this.digits(r.between(3, 6))}`],
      [1, () => `${this.letters(2)}${this.digits(r.between(4, 7))}`],
      [1, () => `${r.between(2019, 2031)}-${this.digits(r.between(3, 5))}`],
      [1, () => `${this.digits(r.between(2, 4))}/${this.digits(r.between(2, 4))}`],
      [1, () => `#${this.digits(r.between(3, 6))}`],
    ])());
  }
  tracking() { return this.own(() => `${this.letters(2)}${this.digits(9)}${this.random.chance(0.5) ? this.letters(2) : ''}`); }
  number() {
    const r = this.random;
    const cents = String(r.below(100)).padStart(2, '0');
    const whole = r.weigh([[3, () => this.digits(2)], [3, () => this.digits(3)], [2, () => `${r.between(1, 99)},${this.digits(3)}`], [1, () => `${r.between(1, 9)}.${this.digits(3)}`], [1, () => this.digits(4)]])();
    return /^\d\.\d/.test(whole) ? `${whole},${cents}` : r.chance(0.8) ? `${whole}.${cents}` : whole;
  }
  amount() {
    const r = this.random;
    return this.own(() => r.weigh([[3, () => `${this.number()} EUR`], [3, () => `$${this.number()}`], [2, () => `€${this.number()}`], [2, () => `${this.number()} USD`], [1, () => `£${this.number()}`], [1, () => `${this.number()} CHF`], [1, () => `EUR ${this.number()}`], [1, () => this.number()]])());
  }
  percent() { return `${this.random.between(2, 25)}%`; }
  version() { return `${this.random.between(0, 9)}.${this.random.below(20)}${this.random.chance(0.5) ? `.${this.random.below(10)}` : ''}`; }
  phone() {
    const r = this.random;
    return this.own(() => r.pick([() => `+${r.between(1, 99)} ${this.digits(3)} ${this.digits(4)}${this.digits(3)}`, () => `0${this.digits(3)}-${this.digits(6)}`, () => `(${this.digits(3)}) ${this.digits(3)}-${this.digits(4)}`, () => `0${this.digits(3)} ${this.digits(6)}`, () => `+${r.between(30, 49)} ${this.digits(2)} ${this.digits(7)}`])());
  }
  iban() { return this.own(() => { const n = `${this.letters(2)}${this.digits(2)}`; return this.random.chance(0.5) ? `${n} ${this.digits(4)} ${this.digits(4)} ${this.digits(4)} ${this.digits(2)}` : n + this.digits(16); }); }

  // Times
  date() {
    const r = this.random;
    const two = (n) => String(n).padStart(2, '0');
    return this.own(() => {
      const y = r.between(2019, 2032), m = r.between(1, 12), d = r.between(1, 28), month = words.month[m - 1];
      return r.pick([`${y}-${two(m)}-${two(d)}`, `${two(d)}.${two(m)}.${y}`, `${d} ${month} ${y}`, `${month} ${d}, ${y}`, `${two(m)}/${two(d)}/${y}`, `${d}.${m}.${y}`]);
    });
  }
  time() {
    const r = this.random;
    const m = String(r.below(60)).padStart(2, '0');
    return r.chance(0.7) ? `${String(r.between(0, 23)).padStart(2, '0')}:${m}` : `${r.between(1, 12)}${r.chance(0.5) ? `:${m}` : ''} ${r.pick(['am', 'pm'])}`;
  }
  stamp() {
    const r = this.random, two = (n) => String(n).padStart(2, '0');
    const date = () => `${r.between(2019, 2032)}-${two(r.between(1, 12))}-${two(r.between(1, 28))}`;
    const clock = () => `${two(r.below(24))}:${two(r.below(60))}:${two(r.below(60))}`;
    return this.own(() => r.pick([() => `${date()}T${clock()}Z`, () => `${date()} ${clock()}`, () => `${date()} ${clock()},${this.digits(3)}`, () => `${words.month[r.below(12)].slice(0, 3)} ${r.between(1, 28)} ${clock()}`, () => `${date()}T${clock()}.${this.digits(3)}+0${r.below(3)}:00`])());
  }

  // Machines
  ip() { const r = this.random; return this.own(() => [0, 0, 0, 0].map(() => r.between(1, 254)).join('.')); }
  user() {
    const r = this.random;
    return this.own(() => ascii(r.pick([() => this.syllables(2), () => this.given().toLowerCase(), () => `${this.given()[0].toLowerCase()}${this.nameOf('surname').toLowerCase()}`, () => `${this.given().toLowerCase()}.${this.nameOf('surname').toLowerCase()}`, () => `${this.given().toLowerCase()}${r.between(1, 99)}`])().toLowerCase()));
  }
  email() {
    const r = this.random;
    return this.own(() => ascii(`${this.user()}@${this.syllables(r.between(1, 2))}${r.chance(0.2) ? `-${r.pick(words.service)}` : ''}.${r.pick(words.mail_end)}`));
  }
  host() { const r = this.random; return this.own(() => `${r.pick(words.service)}${r.chance(0.5) ? '-' : ''}${r.between(1, 99)}${r.chance(0.3) ? `.${ascii(this.syllables(2))}.${r.pick(words.mail_end)}` : ''}`); }
  url() { return this.own(() => `${this.random.pick(['http://', 'https://', 'www.'])}${ascii(this.syllables(2))}.${this.random.pick(words.mail_end)}`); }
  file() { return this.own(() => `${ascii(this.syllables(2))}.${this.random.pick(['c', 'py', 'js', 'log', 'csv', 'txt', 'java', 'pdf'])}`); }
  path() { const r = this.random; return this.own(() => `/${r.pick(words.service)}${r.chance(0.7) ? `/${ascii(this.syllables(r.between(1, 2)))}` : ''}${r.chance(0.5) ? `/${this.digits(r.between(1, 4))}` : ''}`); }
  word() { return this.own(() => ascii(this.syllables(2))); }
  hex() { return this.own(() => Array.from({ length: 8 }, () => this.random.below(16).toString(16)).join('')); }
  level() { return this.random.pick(['INFO', 'WARN', 'ERROR', 'DEBUG', 'WARNING', 'info', 'error', 'warn', 'FATAL', 'NOTICE']); }
  method() { return this.random.pick(['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'HEAD']); }
  status() { return this.random.pick(['200', '201', '204', '301', '304', '400', '401', '403', '404', '409', '429', '500', '502', '503']); }
  millis() { return `${this.random.between(1, 4000)}${this.random.pick(['ms', 'ms', ' ms', 's', ''])}`; }
  number4() { return this.own(() => this.digits(this.random.between(3, 5))); }
  event() { const r = this.random; return `${r.pick(words.thing)} ${r.chance(0.4) ? `${this.digits(r.between(2, 4))} ` : ''}${r.pick(words.verb_past)}`; }
  quantity() { return String(this.random.between(1, 400)); }
}

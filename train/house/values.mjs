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

/* Words that the corpus knows, as names are made of them, too (Ada Winter, Green Garden Ltd): what is to be copied may be any token. */
const common = [...new Set(['messages.txt', 'words.txt'].flatMap((f) => here(f).split(/\n/).filter((l) => !/^(#|==)/.test(l)).join(' ').match(/(?<![\p{L}{])[a-z]{3,10}(?![\p{L}}])/gu)))];

const pieced = [common, known.given, known.surname].map((list) => list.filter((w) => /^[a-z]{3,}$/i.test(w)));

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
  /** Glued of pieces of words: tokens that otherwise stand within a word's one token only, and were never learned to be copied. */
  pieces(n) {
    const r = this.random;
    return Array.from({ length: n }, () => {
      const word = r.pick(r.pick(pieced)), from = r.below(word.length - 2), whole = r.chance(0.1);
      return whole ? word : word.slice(from, from + r.between(2, 4));
    }).join('').toLowerCase();
  }
  syllables(n) {
    let out = '';
    const r = this.random;
    if (!this.held && r.chance(0.35)) return this.pieces(n);
    for (let i = 0; i < n; i++) out += r.pick(onsets) + r.pick(r.chance(0.96) ? vowels.slice(0, 17) : vowels) + r.pick(i < n - 1 ? codas.slice(0, 7) : codas);
    return out || this.syllables(n);
  }
  nameOf(kind) {
    const r = this.random;
    return this.own(() => capital(r.weigh([[4, () => r.pick(known[kind])], [4, () => this.syllables(r.between(1, 2)) + r.pick(ending[kind])], [3, () => r.pick(common)]])()));
  }
  /** Any words of the corpus. */
  phrase(least = 2, most = 3) { return this.own(() => Array.from({ length: this.random.between(least, most) }, () => this.random.pick(common)).join(' ')); }
  title() { return this.own(() => this.phrase(1, 3).split(' ').map(capital).join(' ')); }

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
    const first = this.own(() => r.weigh([[4, () => capital(this.syllables(2))], [2, () => this.family()], [1, () => capital(r.pick(this.words.noun))], [3, () => this.title()], [1, () => `${this.family()} & ${this.family()}`]])());
    return r.chance(0.85) ? `${first} ${r.pick(words.company_end)}` : first;
  }
  team() { return this.random.chance(0.5) ? this.get('city') : `${this.get('city')} ${this.random.pick(['United', 'City', 'Rovers', 'Wanderers'])}`; }
  street() {
    const r = this.random;
    const name = this.own(() => capital(r.chance(0.7) ? this.syllables(2) : r.pick(common)));
    return r.weigh([[5, () => `${r.between(1, 220)} ${name} ${r.pick(words.street_end)}`], [3, () => `${name}${r.pick(words.street_join)} ${r.between(1, 220)}`], [2, () => `${name} ${r.pick(words.street_end)} ${r.between(1, 220)}`]])();
  }
  place() {
    const r = this.random;
    return r.chance(0.6) ? this.get('city') : this.own(() => capital(r.weigh([[4, () => this.syllables(2)], [2, () => this.syllables(1) + r.pick(['burg', 'ville', 'ton', 'stad', 'heim', 'ford', 'ow', 'port'])], [1, () => `${r.pick(['St ', 'New ', 'Bad ', 'Port ', 'North '])}${capital(this.syllables(1))}`]])()));
  }
  article() {
    const r = this.random;
    return r.chance(0.6) ? this.get('product') : this.own(() => r.pick([() => `${r.pick(common)} ${this.get('product')}`, () => `${this.get('product')} ${capital(this.syllables(2))} ${this.digits(r.between(1, 3))}`, () => this.phrase(1, 2), () => this.get('products'), () => `${r.pick(common)} ${this.get('products')}`, () => `${this.get('colour')} ${this.get('product')}`, () => capital(this.get('product'))])());
  }
  profession() { const r = this.random; return r.chance(0.7) ? this.get('job') : this.own(() => r.pick([() => `${r.pick(common)} ${this.get('job')}`, () => capital(this.get('job')), () => `head of ${this.get('department')}`])()); }
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
      [1, () => `${this.letters(r.between(2, 3))}-${r.between(2019, 2031)}-${this.digits(r.between(2, 5))}`],
      [1, () => `${this.letters(1)}${this.digits(2)}${this.letters(1)}${this.digits(r.between(1, 3))}`],
      [1, () => `${this.digits(r.between(3, 5))}-${this.letters(r.between(1, 2))}`],
      [1, () => `${this.digits(2)} ${this.digits(3)} ${this.digits(3)}`],
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
    return this.own(() => r.weigh([[3, () => `${this.number()} EUR`], [3, () => `$${this.number()}`], [2, () => `€${this.number()}`], [2, () => `${this.number()} USD`], [1, () => `£${this.number()}`], [1, () => `${this.number()} CHF`], [1, () => `EUR ${this.number()}`], [1, () => this.number()], [1, () => `${this.number()} €`], [1, () => `${this.number()} ${r.pick(['PLN', 'SEK', 'kr', 'GBP', 'euros', 'dollars', 'pounds', 'CZK'])}`]])());
  }
  percent() { return `${this.random.between(2, 25)}%`; }
  version() { return `${this.random.between(0, 9)}.${this.random.below(20)}${this.random.chance(0.5) ? `.${this.random.below(10)}` : ''}`; }
  phone() {
    const r = this.random;
    return this.own(() => r.pick([() => `+${r.between(1, 99)} ${this.digits(3)} ${this.digits(4)}${this.digits(3)}`, () => `0${this.digits(3)}-${this.digits(6)}`, () => `(${this.digits(3)}) ${this.digits(3)}-${this.digits(4)}`, () => `0${this.digits(3)} ${this.digits(6)}`, () => `+${r.between(30, 49)} ${this.digits(2)} ${this.digits(7)}`, () => `0${this.digits(2)}/${this.digits(6)}`, () => `555-${this.digits(4)}`, () => `+${r.between(30, 49)} \\(0\\)${this.digits(3)} ${this.digits(6)}`.replaceAll('\\', '')])());
  }
  iban() { return this.own(() => { const n = `${this.letters(2)}${this.digits(2)}`; return this.random.chance(0.5) ? `${n} ${this.digits(4)} ${this.digits(4)} ${this.digits(4)} ${this.digits(2)}` : n + this.digits(16); }); }

  // Times
  date() {
    const r = this.random;
    const two = (n) => String(n).padStart(2, '0');
    return this.own(() => {
      const y = r.between(2019, 2032), m = r.between(1, 12), d = r.between(1, 28), month = words.month[m - 1];
      return r.pick([`${y}-${two(m)}-${two(d)}`, `${two(d)}.${two(m)}.${y}`, `${d} ${month} ${y}`, `${month} ${d}, ${y}`, `${two(m)}/${two(d)}/${y}`, `${d}.${m}.${y}`, `${month.slice(0, 3)} ${d}, ${y}`, `${d} ${month.slice(0, 3)} ${y}`, `${y}/${two(m)}/${two(d)}`, `${d} ${month}`, `${d}-${month.slice(0, 3)}-${y}`]);
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
    return this.own(() => r.pick([() => `${date()}T${clock()}Z`, () => `${date()} ${clock()}`, () => `${date()} ${clock()},${this.digits(3)}`, () => `${words.month[r.below(12)].slice(0, 3)} ${r.between(1, 28)} ${clock()}`, () => `${date()}T${clock()}.${this.digits(3)}+0${r.below(3)}:00`, () => `${date().replaceAll('-', '/')} ${clock()}`, () => `${two(r.between(1, 28))}/${words.month[r.below(12)].slice(0, 3)}/${r.between(2019, 2032)}:${clock()} +0000`, () => `${clock()}.${this.digits(3)}`, () => `1${this.digits(9)}`])());
  }

  // Machines
  ip() { const r = this.random; return this.own(() => [0, 0, 0, 0].map(() => r.between(1, 254)).join('.')); }
  user() {
    const r = this.random;
    return this.own(() => ascii(r.pick([() => this.syllables(2), () => this.given().toLowerCase(), () => `${this.given()[0].toLowerCase()}${this.nameOf('surname').toLowerCase()}`, () => `${this.given().toLowerCase()}.${this.nameOf('surname').toLowerCase()}`, () => `${this.given().toLowerCase()}${r.between(1, 99)}`, () => `${this.given()[0]}.${this.nameOf('surname')}`, () => `${this.nameOf('surname')}_${this.given()[0]}`, () => `${r.pick(common)}${r.pick(['', '-', '_', '.'])}${r.pick([r.pick(common), this.digits(2)])}`])().toLowerCase()));
  }
  email() {
    const r = this.random;
    return this.own(() => ascii(`${this.user()}@${r.chance(0.7) ? this.syllables(r.between(1, 2)) : r.pick(common)}${r.chance(0.2) ? `-${r.pick(words.service)}` : ''}.${r.pick(words.mail_end)}`));
  }
  host() { const r = this.random; return this.own(() => `${r.pick([r.pick(words.service), r.pick(words.service), r.pick(['mx', 'srv', 'node', 'app', 'web', 'ns', 'host', 'vm', 'pc'])])}${r.chance(0.5) ? '-' : ''}${r.between(1, 99)}${r.chance(0.3) ? `.${ascii(this.syllables(2))}.${r.pick(words.mail_end)}` : ''}`); }
  url() { return this.own(() => `${this.random.pick(['http://', 'https://', 'www.'])}${ascii(this.syllables(2))}.${this.random.pick(words.mail_end)}`); }
  file() { return this.own(() => `${ascii(this.syllables(2))}.${this.random.pick(['c', 'py', 'js', 'log', 'csv', 'txt', 'java', 'pdf'])}`); }
  path() { const r = this.random; return this.own(() => `${r.chance(0.3) ? r.pick(['/api', '/v1', '/api/v2']) : ''}/${r.chance(0.6) ? r.pick(words.service) : r.pick(common)}${r.chance(0.7) ? `/${ascii(this.syllables(r.between(1, 2)))}` : ''}${r.chance(0.5) ? `/${this.digits(r.between(1, 4))}` : ''}`); }
  word() { return this.own(() => ascii(this.syllables(2))); }
  hex() { return this.own(() => Array.from({ length: 8 }, () => this.random.below(16).toString(16)).join('')); }
  program() { const r = this.random; return r.chance(0.5) ? this.get('service') : this.own(() => r.pick([() => `${r.pick(common)}-${r.pick(['service', 'api', 'worker', 'server', 'daemon', 'job', 'app', 'client'])}`, () => `${this.get('service')}-${r.pick(common)}`, () => `${r.pick(common)}_${this.get('service')}`, () => `${this.get('service')}d`, () => `${capital(r.pick(common))}${capital(this.get('service'))}`, () => `com.${this.syllables(1)}.${this.get('service')}`])()); }
  level() { return this.random.pick(['TRACE', 'CRITICAL', 'ERR', 'debug', 'INFO', 'WARN', 'ERROR', 'INFO', 'WARN', 'ERROR', 'DEBUG', 'WARNING', 'info', 'error', 'warn', 'FATAL', 'NOTICE']); }
  method() { return this.random.pick(['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'HEAD']); }
  status() { return this.random.pick(['200', '201', '204', '301', '304', '400', '401', '403', '404', '409', '429', '500', '502', '503']); }
  millis() { const r = this.random; return r.chance(0.8) ? `${r.between(1, 4000)}${r.pick(['ms', 'ms', ' ms', 's', ''])}` : `${r.below(10)}.${this.digits(r.between(1, 3))}${r.pick(['s', ' s', 'ms'])}`; }
  number4() { return this.own(() => this.digits(this.random.between(3, 5))); }
  event() { const r = this.random; return r.chance(0.3) ? this.phrase(2, 5) : r.chance(0.2) ? `${r.pick(['could not', 'cannot', 'failed to', 'unable to', 'will not', 'trying to', 'about to'])} ${r.pick(['open', 'read', 'find', 'write', 'send', 'load', 'charge', 'reach', 'parse', 'delete', 'start', 'connect to'])} ${r.chance(0.5) ? r.pick(words.thing) : r.pick(common)}` : `${r.pick(words.thing)} ${r.chance(0.4) ? `${this.digits(r.between(2, 4))} ` : ''}${r.pick(words.verb_past)}`; }
  fault() { const r = this.random; return r.chance(0.3) ? this.get('code') : this.own(() => `${r.pick(['E', 'E-', 'F', 'ERR-', 'E0', '', 'A'])}${this.digits(r.between(2, 4))}`); }
  size() { const r = this.random; return r.pick([() => r.pick(['XS', 'S', 'M', 'L', 'XL', 'XXL']), () => String(r.between(34, 52)), () => `${r.between(2, 90)} x ${r.between(2, 90)} cm`, () => `${r.between(36, 47)}.5`])(); }
  weight() { const r = this.random; return `${r.between(1, 80)}${r.chance(0.5) ? `.${r.between(1, 9)}` : ''}${r.pick([' kg', 'kg', ' kg', ' g', ' lbs', ' t'])}`; }
  serial() { const r = this.random; return this.own(() => r.pick([() => `${this.letters(2)}${this.digits(2)}${this.letters(2)}${this.digits(4)}`, () => `SN-${this.digits(7)}`, () => `${this.digits(3)}-${this.digits(4)}-${this.letters(1)}`, () => `${this.letters(3)}${this.digits(6)}`, () => `${this.digits(4)}.${this.digits(3)}`])()); }
  vat_id() { return this.own(() => `${this.letters(2)}${this.digits(9)}`); }
  room() { const r = this.random; return r.pick([() => this.digits(3), () => `${this.letters(1)}${this.digits(2)}`, () => `${r.between(1, 9)}.${this.digits(2)}`, () => `${r.between(1, 30)}${this.letters(1)}`])(); }
  flight() { return this.own(() => `${this.letters(2)}${this.random.chance(0.5) ? ' ' : ''}${this.digits(this.random.between(3, 4))}`); }
  plate() { const r = this.random; return this.own(() => `${this.letters(r.between(1, 3))}-${this.letters(r.between(1, 2))} ${this.digits(r.between(2, 4))}`); }
  temperature() { const r = this.random; return `${r.chance(0.2) ? '-' : ''}${r.between(1, 95)}${r.chance(0.5) ? `.${r.below(10)}` : ''}${r.pick([' C', '°C', ' F', '°', ''])}`; }
  bytes() { return this.own(() => this.digits(this.random.between(3, 7))); }
  thread() { const r = this.random; return r.pick([() => `worker-${r.between(1, 40)}`, () => `thread-${r.between(1, 40)}`, () => 'main', () => `pool-${r.between(1, 9)}-${r.between(1, 30)}`, () => `http-${r.between(1, 99)}`])(); }
  mileage() { const r = this.random, n = r.pick([this.digits(r.between(2, 6)), `${r.between(1, 240)},${this.digits(3)}`]); return `${n}${r.pick([' km', ' km', ' miles', 'km', ' kilometres'])}`; }
  age() { return String(this.random.between(1, 99)); }
  bic() { return this.own(() => `${this.letters(6)}${this.random.chance(0.5) ? this.letters(2) : this.digits(2)}${this.random.chance(0.4) ? 'XXX' : ''}`); }
  quantity() { return String(this.random.between(1, 400)); }
}

// Chance that a seed decides, the halves, and the little grammar that the text files are written in.

/** xoroshiro-like 32-bit generator (sfc32); the same seed draws the same. */
export class Random {
  constructor(seed) {
    this.s = [seed >>> 0, 0x9e3779b9, 0x243f6a88, 1];
    for (let i = 0; i < 16; i++) this.next();
  }
  next() {
    const s = this.s;
    const t = (s[0] + s[1] + s[3]) >>> 0;
    s[3] = (s[3] + 1) >>> 0;
    s[0] = s[1] ^ (s[1] >>> 9);
    s[1] = (s[2] + (s[2] << 3)) >>> 0;
    s[2] = ((s[2] << 21) | (s[2] >>> 11)) + t >>> 0;
    return t;
  }
  below(n) { return Math.floor(this.next() / 4294967296 * n); }
  between(a, b) { return a + this.below(b - a + 1); }
  chance(p) { return this.next() / 4294967296 < p; }
  pick(list) { return list[this.below(list.length)]; }
  /** Picks by weight: [[weight, value], ...]. */
  weigh(pairs) {
    let at = this.next() / 4294967296 * pairs.reduce((sum, [w]) => sum + w, 0);
    for (const [w, value] of pairs) if ((at -= w) < 0) return value;
    return pairs.at(-1)[1];
  }
  shuffle(list) {
    for (let i = list.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [list[i], list[j]] = [list[j], list[i]];
    }
    return list;
  }
  sample(list, n) { return this.shuffle([...list]).slice(0, n); }
}

/** Which half a value belongs to: its own bytes decide (FNV-1a), so that no value can be in both. */
export function isHeld(value) {
  let h = 0x811c9dc5;
  for (let i = 0; i < value.length; i++) h = Math.imul(h ^ value.charCodeAt(i), 0x01000193);
  return (h ^ (h >>> 15)) % 8 === 0;
}

const parsed = new Map();

/* "a (b|c) {d}" -> ["a ", [alternatives], {slot: "d"}]; "\(" is a bracket. */
function parse(text) {
  let at = 0;
  const sequence = (inside) => {
    const out = [];
    let plain = '';
    const flush = () => { if (plain) out.push(plain); plain = ''; };
    while (at < text.length && !(inside && (text[at] === '|' || text[at] === ')'))) {
      const c = text[at++];
      if (c === '\\') plain += text[at++];
      else if (c === '(') { flush(); out.push(choice()); }
      else if (c === '{' && /^\w+\}/.test(text.slice(at))) {
        flush();
        const end = text.indexOf('}', at);
        out.push({ slot: text.slice(at, end) });
        at = end + 1;
      } else plain += c;
    }
    flush();
    return out;
  };
  const choice = () => {
    const list = [sequence(true)];
    while (text[at] === '|') { at++; list.push(sequence(true)); }
    if (text[at++] !== ')') throw new Error(`a bracket is not closed: ${text}`);
    return list;
  };
  return sequence(false);
}

/** One sentence of a pattern; `slot(name)` says what stands in {name}. */
export function expand(pattern, random, slot) {
  if (!parsed.has(pattern)) parsed.set(pattern, parse(pattern));
  const say = (nodes) => nodes.map((n) =>
    typeof n === 'string' ? n : Array.isArray(n) ? say(random.pick(n)) : String(slot(n.slot))).join('');
  const out = say(parsed.get(pattern));
  return pattern.includes('|)') ? out.replace(/(\S) {2,}/g, '$1 ') : out; // an empty choice leaves its blanks
}

/** "*x" is held out: the entries of a half, without their stars. */
export function half(list, held) {
  if (!halves.has(list)) halves.set(list, [false, true].map((h) => list.filter((x) => x.startsWith('*') === h).map((x) => x.replace(/^\*/, ''))));
  return halves.get(list)[Number(held)];
}
const halves = new WeakMap();

/** A text file: comments, "== title" sections, "key: value" lines of the keys named, and all other lines. */
export function sections(text, keys = []) {
  const out = [];
  for (const raw of text.split('\n')) {
    const line = raw.trimEnd();
    if (line === '' || line.startsWith('# ')) continue;
    if (line.startsWith('== ')) { out.push({ title: line.slice(3), lines: [] }); continue; }
    const key = keys.find((k) => line.startsWith(`${k}: `));
    if (key) out.at(-1)[key] = line.slice(key.length + 2);
    else out.at(-1).lines.push(line);
  }
  return out;
}

export const list = (text) => (text ? text.split(', ') : []);

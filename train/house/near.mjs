// Which words mean something alike: vectors, near each other for words that the same topics (messages.txt), fields (fields.txt) and
// definitions (WordNet, where it is installed) speak of. A model of this size has no time to find that out from labels.
//
// Contexts are columns, words rows; a cell is how much more often the word is there than chance has it (positive pointwise mutual
// information; Levy and Goldberg 2014, with contexts' shares to the power of 3/4), and a word's vector is its part of the first
// singular vectors, times the root of the values (found by subspace iteration; Halko, Martinsson, Tropp 2011).
import { readFileSync } from 'node:fs';
import { Random, expand, half, list, sections } from './random.mjs';
import { gloss, read } from './wordnet.mjs';

const here = (name) => readFileSync(new URL(name, import.meta.url), 'utf8');
const common = new Set('the a an is was are of in on of with has have please and not we i they my our your it its to for from at by this that will be or as one some any which who whom used especially usually being been can may into than other very such etc'.split(' '));
export const wordsOf = (text) => text.replace(/(\p{Ll})(\p{Lu})/gu, '$1 $2').toLowerCase().match(/\p{L}+/gu) ?? [];
const OURS = 3; // what a topic of ours counts beside a definition

function context(parts) {
  const out = new Map();
  for (const [weight, texts] of parts) {
    for (const text of texts) for (const w of new Set(wordsOf(text))) if (w.length > 1 && !common.has(w)) out.set(w, (out.get(w) ?? 0) + weight);
  }
  return out;
}

/* Of our own texts only what the corpus' own half may say. */
function ours() {
  const own = (text) => half(list(text), false), random = new Random(1), plain = (lines) => lines.map((l) => expand(l, random, () => ' '));
  return [
    ...sections(here('messages.txt'), ['labels', 'about', 'not', 'words']).map((s) =>
      context([[3, own(s.labels)], [2, list(s.words)], [1, plain([...list(s.about), ...half(s.lines, false)])]])),
    ...sections(here('fields.txt'), ['slot', 'keys', 'labels']).map((s) => context([[2, [...own(s.keys), ...own(s.labels)]]])),
  ].map((c) => new Map([...c].map(([w, x]) => [w, 2 * Math.sqrt(x)])));
}

/* A meaning's words (as far as it is what they mean mostly), its definition, and what it is a kind of. */
function meanings(spoken) {
  const { synsets, senses } = read(), out = [];
  for (const [key, s] of synsets) {
    const share = (w) => {
      const all = senses.get(w.toLowerCase()) ?? [];
      return ((all.find((x) => x.key === key)?.count ?? 0) + 0.3) / (all.reduce((sum, x) => sum + x.count, 0) + 0.6);
    };
    if (!s.words.some((w) => spoken.has(w.toLowerCase()) || senses.get(w.toLowerCase())?.some((x) => x.key === key && x.count > 0))) continue;
    const { definitions, examples } = gloss(s.gloss), above = [...s.over.slice(0, 2), ...s.domains.slice(0, 1)].flatMap((k) => synsets.get(k)?.words.slice(0, 2) ?? []);
    out.push(context([...s.words.map((w) => [2 * share(w), [w]]), [1, definitions], [0.5, examples], [0.7, above]]));
  }
  return out;
}

/* The table, by row: its cells' columns and values. */
function table(contexts, index) {
  const rows = Array.from(index, () => ({ at: [], x: [] }));
  for (const { from, list: some, weight } of contexts) {
    const row = new Map(), columns = some.map((c) => [...c].filter(([w]) => index.has(w)));
    let sum = 0;
    const columnSums = columns.map((c) => c.reduce((n, [, x]) => n + x, 0));
    for (const c of columns) for (const [w, x] of c) { row.set(w, (row.get(w) ?? 0) + x); sum += x; }
    columns.forEach((c, j) => {
      for (const [w, x] of c) {
        const pmi = Math.log(x * sum / (row.get(w) * columnSums[j] ** 0.75 * sum ** 0.25));
        if (pmi > 0) { const r = rows[index.get(w)]; r.at.push(from + j); r.x.push(weight * pmi); }
      }
    });
  }
  return rows.map(({ at, x }) => ({ at: Int32Array.from(at), x: Float32Array.from(x) }));
}

function orthonormal(y, n, width) {
  for (let j = 0; j < width; j++) {
    const a = y[j];
    for (let pass = 0; pass < 2; pass++) { // once more, for what rounding left
      for (let k = 0; k < j; k++) {
        const b = y[k];
        let dot = 0;
        for (let i = 0; i < n; i++) dot += a[i] * b[i];
        for (let i = 0; i < n; i++) a[i] -= dot * b[i];
      }
    }
    let size = 0;
    for (let i = 0; i < n; i++) size += a[i] * a[i];
    const by = 1 / (Math.sqrt(size) || 1);
    for (let i = 0; i < n; i++) a[i] *= by;
  }
}

/* The subspace of the first singular vectors, and each row's part of it. */
function vectors(rows, columns, width, random) {
  const columnsOf = () => Array.from({ length: width }, () => new Float32Array(columns)), n = rows.length;
  const project = (y) => y.map((v) => Float32Array.from(rows, ({ at, x }) => { let s = 0; for (let k = 0; k < at.length; k++) s += x[k] * v[at[k]]; return s; }));
  const spread = (u) => u.map((v) => { const out = new Float32Array(columns); rows.forEach(({ at, x }, i) => { for (let k = 0; k < at.length; k++) out[at[k]] += x[k] * v[i]; }); return out; });
  let y = columnsOf();
  for (const v of y) for (let i = 0; i < columns; i++) v[i] = random.next() / 2147483648 - 1;
  orthonormal(y, columns, width);
  for (let round = 0; round < 5; round++) {
    y = spread(project(y));
    orthonormal(y, columns, width);
  }
  const u = project(y), sizes = u.map((v) => Math.sqrt(v.reduce((s, x) => s + x * x, 0))); // near the singular values
  return Array.from({ length: n }, (_, i) => u.map((v, j) => v[i] / (Math.sqrt(sizes[j]) || 1)));
}

/** Of each word the vector of `width` values, of length 1, and how often it was met; `wordnet`: with its definitions. */
export function nearness(width, wordnet) {
  const own = ours(), spoken = new Set(own.flatMap((c) => [...c.keys()]));
  const other = wordnet ? meanings(spoken) : [], met = new Map();
  for (const c of [...own, ...other]) for (const w of c.keys()) met.set(w, (met.get(w) ?? 0) + 1);
  const index = new Map([...met.keys()].filter((w) => spoken.has(w) || met.get(w) >= 3).map((w, i) => [w, i]));
  const rows = table([{ from: 0, list: own, weight: OURS }, { from: own.length, list: other, weight: 1 }], index);
  const found = vectors(rows, own.length + other.length, width, new Random(1));
  return new Map([...index].map(([w, i]) => {
    const size = Math.hypot(...found[i]) || 1;
    return [w, { vector: found[i].map((x) => x / size), met: met.get(w) }];
  }));
}

// How words of the world relate, in the forms of job (a): a definition, a sentence, a word or words of a kind, and the word,
// the kind or the subject that it belongs to, among others. From WordNet (wordnet.mjs), as far as its words are common.
import { readFileSync, readdirSync } from 'node:fs';
import { gloss, read } from './wordnet.mjs';
import { expand } from './random.mjs';
import { capital, cases, frames, isHeldLabel, plural, shortTurns, sorted } from './sort.mjs';

/* Words that the house's own texts use: those the model has a token for, or will. */
const used = new Map();
for (const file of readdirSync(new URL('.', import.meta.url)).filter((f) => f.endsWith('.txt'))) {
  for (const [w] of readFileSync(new URL(file, import.meta.url), 'utf8').matchAll(/\p{L}+/gu)) used.set(w.toLowerCase(), (used.get(w.toLowerCase()) ?? 0) + 1);
}
const isUsed = (word) => [word, word.replace(/s$/, ''), word.replace(/(ed|ing|ly|es)$/, ''), word.replace(/(ed|ing)$/, 'e')].some((w) => used.get(w) >= 2);
const wordsOf = (text) => text.toLowerCase().match(/[a-z]+/g) ?? [];

/* A text is about as long as its words that are tokens, and a third of the letters of the others. */
const LONGEST = 40;
const share = (text) => { const all = wordsOf(text); return all.filter(isUsed).length / all.length; };
const tokens = (text) => wordsOf(text).reduce((sum, w) => sum + (isUsed(w) ? 1.3 : 1 + w.length / 3), 0) + (text.match(/[^a-z ]/gi) ?? []).length;
const readable = (text) => tokens(text) <= LONGEST && share(text) >= 0.7;
const unfit = /offensive|obscen|vulgar|slur|disparag|\bsex|erotic|genital|derogat|prostitut|suicid|\bkiss|\bslave|penis|\bbreasts?\b/i;

let made;
/* What labels are drawn from: words with a meaning, kinds with what is of them, subjects with what belongs there. */
function world() {
  if (made) return made;
  const { synsets, senses } = read();
  const isWord = (w) => /^[a-z]{3,}( [a-z]{3,})?$/.test(w);
  const allUsed = (w) => w.split(' ').every((p) => used.get(p) >= 2);
  /* How well known a word is in a meaning: not at all if it mostly has another. */
  const known = (word, key) => {
    const all = senses.get(word) ?? [], mine = all.find((s) => s.key === key), sum = all.reduce((n, s) => n + s.count, 0);
    if (!mine || !isWord(word) || !(mine.count >= 3 || (mine.rank === 1 && allUsed(word) && (mine.count > 0 || !word.includes(' '))))) return 0;
    return sum === 0 ? Number(mine.rank === 1) : mine.count / sum;
  };
  const usual = (s) => (s.usual ??= s.words.filter((w) => known(w, s.key) >= 0.4));
  const texts = (s) => {
    if (s.texts) return s.texts;
    const { definitions, examples } = unfit.test(s.gloss) ? { definitions: [], examples: [] } : gloss(s.gloss);
    return (s.texts = { definitions: definitions.filter(readable), examples: examples.filter(readable) });
  };
  /* All that a meaning is a kind of, belongs to or is much like: a label of these would be right as well. */
  const above = (key) => {
    const s = synsets.get(key);
    if (s.above) return s.above;
    const out = s.above = new Set([key]);
    for (const k of [...s.over, ...s.domains]) for (const a of synsets.has(k) ? above(k) : []) out.add(a);
    return out;
  };
  const below = (top, out = new Set()) => {
    for (const k of synsets.get(top).under) if (!out.has(k)) { out.add(k); below(k, out); }
    return out;
  };
  const keysOf = (label) => new Set((senses.get(label) ?? []).map((s) => s.key));
  const asLabel = (word) => !isHeldLabel(word) && !isHeldLabel(plural(word));
  const countOf = (word, key) => senses.get(word)?.find((x) => x.key === key)?.count ?? 0;
  const weight = (s) => (s.weight ??= Math.max(0, ...s.words.map((x) => countOf(x, s.key))));
  const entry = (label, s, of) => ({ label, s, of, weight: of.length || countOf(label, s.key), keys: keysOf(label) });

  const words = [], kinds = [], subjects = [];
  for (const s of synsets.values()) {
    const labels = usual(s).filter(asLabel);
    if (labels.length === 0 || unfit.test(s.gloss)) continue;
    const { definitions, examples } = texts(s);
    if (definitions.length) for (const label of labels) words.push(entry(label, s, []));
    else if (examples.length && usual(s).length > 1) for (const label of labels) words.push(entry(label, s, []));
    if (s.part !== 'n') continue;
    const label = labels.sort((a, b) => senses.get(b)[0].count - senses.get(a)[0].count)[0];
    const under = [...below(s.key)].map((k) => synsets.get(k)).filter((u) => usual(u).length && !unfit.test(u.gloss));
    if (under.length >= 4 && under.length <= 500) kinds.push(entry(label, s, under));
    const members = [...new Set(s.members.flatMap((k) => [k, ...below(k)]))].map((k) => synsets.get(k)).filter((m) => m.words.some(isWord) && !unfit.test(m.gloss));
    if (members.length >= 8) subjects.push(entry(label, s, members));
  }
  const familiar = (list) => list.filter((e) => allUsed(e.label));
  const sides = (list) => ({ all: list, familiar: familiar(list) });
  const byOver = new Map();
  for (const e of words) for (const k of e.s.over) byOver.set(k, [...(byOver.get(k) ?? []), e]);
  made = { synsets, usual, texts, weight, above, words: sides(words), kinds: sides(kinds), subjects: sides(subjects), byOver };
  return made;
}

/* Would a label do for a meaning? */
const fits = (e, s, w) => [...e.keys].some((k) => w.above(s.key).has(k) || s.like.includes(k) || s.opposite.includes(k));
const related = (a, b, w) => a.label === b.label || plural(a.label) === b.label || fits(a, b.s, w) || fits(b, a.s, w) || a.s === b.s;

/* Labels of one pool, mostly; sometimes with one that is nearly like another: a sister of it. */
function choose(r, w) {
  const pool = r.weigh([[45, w.words], [40, w.kinds], [15, w.subjects]]), most = r.weigh([[3, 2], [4, 3], [4, 4], [3, 5], [2, 6]]);
  const part = pool === w.words ? r.weigh([[5, 'n'], [2, 'v'], [2, 'a'], [2, '']]) : '';
  const close = r.chance(0.25), chosen = [];
  for (let tries = 0; chosen.length < most && tries < 60; tries++) {
    const last = chosen.at(-1), sisters = close && last ? last.s.over.flatMap((k) => w.byOver.get(k) ?? []) : [];
    const from = sisters.length && r.chance(0.6) && pool === w.words ? sisters : r.chance(0.85) ? pool.familiar : pool.all;
    const e = common(r, from, (x) => x.weight);
    if ((part && e.s.part !== part) || chosen.some((c) => related(c, e, w))) continue;
    chosen.push(e);
  }
  return { chosen, plain: pool === w.words };
}

/* Of two drawn by chance the one that is more common. */
const common = (r, list, weight) => { const a = r.pick(list), b = r.pick(list); return weight(a) >= weight(b) ? a : b; };

/* A piece of a definition: words of it in a row. */
function piece(text, r) {
  const all = text.split(' '), n = r.between(3, 8);
  if (all.length <= n) return text;
  const from = r.below(all.length - n + 1);
  return all.slice(from, from + n).join(' ').replace(/^(and|or|of|that|the|a|an|by|to|in) |[,;]$| (and|or|of|that|the|a|an|by|to|in|with|for)$/g, '');
}

const says = ['{t}', '{t}', '{t}', '{t}', '{t}', '{t}', '{t}', '{t}', 'it is {t}', 'this is {t}', 'that means {t}', 'I mean {t}', 'something like {t}', 'we had {t}', 'what is called {t}', '{t}, I think', 'think of {t}'];

/* Words of the list in a sentence, or alone. */
function said(words, values) {
  const r = values.random, some = r.sample([...new Set(words)], r.between(1, 4));
  const many = (x) => (r.chance(0.25) && !/s$/.test(x) ? plural(x) : x);
  if (r.chance(0.45)) return some.map(many).join(r.pick([', ', ' ', ' and ', ', ']));
  const frame = r.pick(frames.about.filter((f) => !f.startsWith('*')));
  return expand(frame, r, (s) => (s === 'w' ? some[0] : s === 'v' ? some.at(-1) : values.get(s)));
}

/* What is said of a meaning: a definition, a part of it, a sentence, or both. `hide`: words to be left out of it. */
function told(s, values, w, hide) {
  const r = values.random, { definitions, examples } = w.texts(s), d = definitions.length, e = examples.length;
  if (d + e === 0) return undefined;
  const define = (t) => expand(r.pick(says), r, (x) => (x === 't' ? t : values.get(x)));
  const text = r.weigh([
    [d ? 5 : 0, () => define(r.pick(definitions))], [d ? 2 : 0, () => define(piece(r.pick(definitions), r))],
    [e ? 5 : 0, () => r.pick(examples)], [d && e ? 1 : 0, () => `${r.pick(definitions)}. ${capital(r.pick(examples))}`],
  ])();
  if (tokens(text) > LONGEST) return undefined;
  const other = w.usual(s).find((x) => !hide.includes(x));
  return hide.reduce((t, x) => t.replace(new RegExp(`\\b${x}(s|es|d|ed|ing)?\\b`, 'gi'), other && r.chance(0.7) ? other : r.pick(['', '', 'it', '...'])), text).replace(/\s+/g, ' ').trim();
}

/* A message for a label, and the meaning that it is of. */
function clue(e, plain, values, w) {
  const r = values.random;
  if (!plain) {
    const s = common(r, e.of, w.weight), names = w.usual(s).length ? w.usual(s) : s.words.filter((x) => /^[a-z ]{3,}$/.test(x) && share(x) === 1);
    if (r.chance(0.5)) return { s, text: told(s, values, w, r.chance(0.9) ? [e.label] : []) };
    const more = r.sample(e.of, r.between(0, 2)).filter((m) => w.usual(m).length);
    return { s, also: more, text: names.length ? said([names[0], ...more.map((m) => w.usual(m)[0])], values) : undefined };
  }
  const others = w.usual(e.s).filter((x) => x !== e.label), under = e.s.under.map((k) => w.synsets.get(k)).filter((u) => w.usual(u).length);
  const like = e.s.like.map((k) => w.synsets.get(k)).filter((l) => l && w.usual(l).length);
  return r.weigh([
    [8, () => ({ s: e.s, text: told(e.s, values, w, r.chance(0.9) ? [e.label] : []) })],
    [others.length ? 3 : 0, () => ({ s: e.s, text: said(others, values) })],
    [under.length ? 1.5 : 0, () => { const s = r.pick(under); return { s, text: said(w.usual(s), values) }; }],
    [like.length ? 1 : 0, () => { const s = r.pick(like); return { s: e.s, text: r.chance(0.5) ? said(w.usual(s), values) : told(s, values, w, [e.label]) }; }],
  ])();
}

/* The same said in another frame ends in the same words. */
const ending = (text) => text.toLowerCase().replace(/, i think$/, '').slice(-16);

/* A list of such labels and messages for them, as sort.mjs has them. */
function job(values) {
  const r = values.random, w = world(), { chosen, plain } = choose(r, w);
  if (chosen.length < 2) return job(values);
  const style = r.weigh(cases), many = !plain && r.chance(0.3);
  const labels = chosen.map((e) => style(many ? plural(e.label) : e.label)), seen = new Set();
  const names = chosen.map((e) => new RegExp(`\\b${e.label}`, 'i'));
  const list = [], most = r.between(3, 16);
  for (let tries = 0; list.length < most && tries < 80; tries++) {
    const i = r.below(chosen.length), { s, text, also = [] } = clue(chosen[i], plain, values, w);
    if (!text || text.length < 3 || seen.has(ending(text)) || (names[i].test(text) && r.chance(0.8))) continue;
    if (chosen.some((o, k) => k !== i && (names[k].test(text) || [s, ...also].some((x) => fits(o, x, w))))) continue;
    seen.add(ending(text));
    const shown = r.chance(0.7) ? capital(text) : text;
    list.push({ answer: labels[i], text: r.chance(0.4) && !/[.?!]$/.test(shown) ? `${shown}.` : shown });
  }
  if (list.length < 2) return job(values);
  let at = 0;
  return {
    labels, most: list.length, draw: () => list[at++ % list.length],
    kind: r.pick(['label', 'category', 'topic', 'term', 'class', 'word', 'group', 'subject', 'concept', 'tag', 'type']),
    what: r.pick(['text', 'message', 'sentence', 'description', 'definition', 'note', 'phrase', 'line']),
  };
}

/** A request with such a list, in all the ways that sorting is asked for. */
export const meaningExample = (values) => sorted(values, false, job(values));
/** The same with hardly a request: list, message, label, list, message, label. */
export const meaningsExample = (values) => shortTurns(values, job(values));

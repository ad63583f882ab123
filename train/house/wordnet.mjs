// WordNet 3.0 (Princeton), read where it is installed (Debian package wordnet-base): what words mean, how common each meaning is,
// and which of them are kinds of which. Nothing of it is kept here; the corpus is written when it is made.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export const folder = process.env.WNSEARCHDIR ?? '/usr/share/wordnet';
const parts = { n: 'noun', v: 'verb', a: 'adj' };
export const installed = () => existsSync(join(folder, 'data.noun')) && existsSync(join(folder, 'cntlist.rev'));

const lines = (name) => readFileSync(join(folder, name), 'latin1').split('\n').filter((l) => l !== '' && l[0] !== ' ');
const plainWord = (w) => w.replace(/\([a-z]+\)$/, '').replaceAll('_', ' ');

/* "def; def; "example"; "example"" -> both, apart. Remarks in brackets tell where a meaning belongs, not what it is. */
export function gloss(text) {
  const examples = [...text.matchAll(/"([^"]+)"/g)].map((m) => m[1].trim()).filter((e) => e.includes(' '));
  const definitions = text.replace(/"[^"]*"[^;"]*/g, '').split(';').map((d) => d.replace(/\([^)]*\)/g, '').replace(/\s+/g, ' ').replace(/[\s:,-]+$/, '').trim());
  return { definitions: definitions.filter((d) => /^[\x20-\x7e]{6,}$/.test(d)), examples };
}

/* offset lex_file type words(hex) {word lex_id} pointers {sign offset part source/target} [frames] | gloss (wndb(5WN)) */
function synset(line, part) {
  const bar = line.indexOf(' | '), f = line.slice(0, bar).split(' ');
  const many = parseInt(f[3], 16), words = Array.from({ length: many }, (_, i) => plainWord(f[4 + 2 * i]));
  const out = { part, words, over: [], domains: [], like: [], opposite: [], under: [], members: [], gloss: line.slice(bar + 3) };
  let at = 4 + 2 * many;
  for (let n = Number(f[at++]); n > 0; n--, at += 4) {
    const key = `${f[at + 2] === 's' ? 'a' : f[at + 2]}${f[at + 1]}`;
    if (f[at] === '@' || f[at] === '@i') out.over.push(key);
    else if (f[at] === ';c') out.domains.push(key);
    else if (f[at] === '!') out.opposite.push(key);
    else if (['&', '+', '=', '\\', '*', '$', '^'].includes(f[at])) out.like.push(key);
  }
  return [`${part}${f[0]}`, out];
}

/** All of it: `synsets` by key, `senses` of a word: [{ key, count, rank }], the most common first. */
export function read() {
  const synsets = new Map(), senses = new Map(), counts = new Map();
  for (const l of lines('cntlist.rev')) {
    const [key, rank, count] = l.split(' '), [lemma, rest] = key.split('%');
    counts.set(`${'?nvara'[Number(rest[0])]} ${lemma} ${rank}`, Number(count));
  }
  for (const [part, name] of Object.entries(parts)) {
    for (const l of lines(`data.${name}`)) synsets.set(...synset(l, part));
    for (const l of lines(`index.${name}`)) {
      const f = l.trimEnd().split(' '), lemma = f[0], keys = f.slice(-Number(f[2])), word = lemma.replaceAll('_', ' ');
      const mine = keys.map((k, i) => ({ key: `${part}${k}`, count: counts.get(`${part} ${lemma} ${i + 1}`) ?? 0, rank: i + 1 }));
      senses.set(word, [...(senses.get(word) ?? []), ...mine]);
    }
  }
  for (const [key, s] of synsets) {
    s.key = key;
    for (const k of s.over) synsets.get(k)?.under.push(key);
    for (const k of s.domains) synsets.get(k)?.members.push(key);
  }
  for (const list of senses.values()) list.sort((a, b) => b.count - a.count);
  return { synsets, senses };
}

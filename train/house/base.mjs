#!/usr/bin/env node
// What the house model begins as: a tokenizer learned from its corpus, and first weights, in one GGUF file.
//   node train/house/base.mjs jobs.jsonl base.gguf [--tokens 20480] [--layers 6] [--embed 192] [--heads 6] [--ffn 512] [--wordnet no]
//
// The tokenizer is a byte-level BPE (Sennrich et al. 2016). A name must have the same tokens wherever it stands (after a blank
// in the mail, after a quotation mark in the JSON), or copying it would not be copying. So the sign before a word is joined to
// nothing, but a blank to whole small words:
//   " Nowak" -> " " "No" "wak"     "\"Nowak" -> "\"" "No" "wak"     " the" -> " the"
// A word that means something is one token, whether the corpus says it or not; names and what else is drawn anew are spelled.
//
// The weights are drawn by chance, but for the tokens: words that mean something alike begin near each other (near.mjs), and
// stay there (`embedding: frozen`).
import { readFileSync, writeFileSync } from 'node:fs';
import { f32, gguf, text, u32, u64 } from '../../tests/e2e/lib/gguf.mjs';
import { Random, sections } from './random.mjs';
import { nearness, wordsOf } from './near.mjs';
import { folder, installed } from './wordnet.mjs';

// What the engine knows as "qwen2": digits singly.
const words = /'(?:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+/giu;
const specials = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'];
const chatml = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

const PIECES = 2000, SMALL = 300; // merges of parts of words; words that are one token with the blank before them

/* Bytes as letters that can be seen (Radford et al. 2019). */
const seen = Array.from({ length: 256 }, (_, b) => ((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174 ? String.fromCharCode(b) : null));
let next = 256;
const letters = seen.map((c) => c ?? String.fromCharCode(next++));
const spelled = (word) => [...Buffer.from(word)].map((b) => letters[b]);
const blank = letters[32];

function count(file) {
  const out = new Map();
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    if (line === '') continue;
    for (const m of JSON.parse(line).messages) for (const [w] of m.content.matchAll(words)) out.set(w, (out.get(w) ?? 0) + 1);
  }
  return out;
}

/* The pairs to join, the most frequent first; each round looks again at the words that changed. */
function learn(counted, most) {
  const merges = [], list = [...counted].map(([w, n]) => ({ parts: spelled(w), n }));
  const pairs = new Map();
  const add = (word, i, sign) => {
    for (let k = 0; k + 1 < word.parts.length; k++) {
      const key = `${word.parts[k]} ${word.parts[k + 1]}`;
      const p = pairs.get(key) ?? pairs.set(key, { n: 0, words: new Set() }).get(key);
      p.n += sign * word.n;
      if (sign > 0) p.words.add(i);
    }
  };
  list.forEach((w, i) => add(w, i, 1));
  while (merges.length < most) {
    let best = '', n = 1;
    for (const [key, p] of pairs) if (p.n > n || (p.n === n && key < best)) { best = key; n = p.n; }
    if (n < 2) break;
    merges.push(best);
    const [a, b] = best.split(' ');
    for (const i of [...pairs.get(best).words]) {
      const w = list[i];
      add(w, i, -1);
      for (let k = 0; k + 1 < w.parts.length; k++) if (w.parts[k] === a && w.parts[k + 1] === b) w.parts.splice(k, 2, a + b);
      add(w, i, 1);
    }
    pairs.delete(best);
  }
  return merges;
}

/* A word's pieces after the merges there are (in their order), for one that is to become a single token. */
function pieces(word, rank) {
  const parts = spelled(word);
  for (;;) {
    let best = -1;
    for (let k = 0; k + 1 < parts.length; k++) {
      const r = rank.get(`${parts[k]} ${parts[k + 1]}`);
      if (r !== undefined && (best < 0 || r < rank.get(`${parts[best]} ${parts[best + 1]}`))) best = k;
    }
    if (best < 0) return parts;
    parts.splice(best, 2, parts[best] + parts[best + 1]);
  }
}

const here = (name) => readFileSync(new URL(name, import.meta.url), 'utf8');
/* Names are spelled, or one of the corpus' half would be known better than one of the other; but for words that are much else, too. */
const names = new Set(here('../../data/names.txt').split(/[\s:]+/).flatMap(wordsOf));
const isName = (word, near) => /^\p{Lu}/u.test(word) && names.has(word.toLowerCase()) && !(near.get(word.toLowerCase())?.met >= 20);

/* Whole words, those of the corpus first, the most frequent first; then others that mean something. */
function wholeWords(bare, near) {
  const often = (w) => (!near.has(w.toLowerCase()) ? 20 : /^\p{Lu}{2}/u.test(w) ? 10 : 2);
  const spoken = [...bare].filter(([w, n]) => /^(\p{L}\p{Ll}+|\p{Lu}{3,})$/u.test(w) && n >= often(w)), have = new Set(spoken.map(([w]) => w));
  const worth = ([w, n]) => n * (near.has(w.toLowerCase()) ? 10 : 1);
  const other = [...near].filter(([w]) => /^[a-z]{3,}$/.test(w) && !have.has(w)).map(([w, { met }]) => [w, met]);
  const byWorth = (list, f) => list.sort((a, b) => f(b) - f(a) || (a[0] < b[0] ? -1 : 1));
  return [...byWorth(spoken, worth), ...byWorth(other, ([, met]) => met)].map(([w]) => w).filter((w) => !isName(w, near));
}

function tokenizer(file, most, near) {
  const bare = new Map(), after = new Map();
  for (const [word, n] of count(file)) {
    const letter = /^[^\p{L}\p{N}\s]?\p{L}|^\s\p{L}/u.test(word);
    const core = letter ? word.replace(/^[^\p{L}]/u, '') : word;
    bare.set(core, (bare.get(core) ?? 0) + n);
    if (/^ [a-z]+$/.test(word)) after.set(core, (after.get(core) ?? 0) + n);
  }
  const room = most - 256 - specials.length;
  // Pieces first, of many different words; then whole words.
  const merges = learn(new Map([...bare].map(([w, n]) => [w, Math.min(n, 20)])), Math.floor(Math.min(room * 0.25, PIECES)));
  const rank = new Map(merges.map((m, i) => [m, i]));
  const add = (merge) => { if (!rank.has(merge)) { rank.set(merge, merges.length); merges.push(merge); } };
  for (const word of wholeWords(bare, near)) {
    const parts = pieces(word, rank);
    if (merges.length + parts.length > room * 0.95) break;
    while (parts.length > 1) { add(`${parts[0]} ${parts[1]}`); parts.splice(0, 2, parts[0] + parts[1]); }
  }
  const known = new Set(merges.map((m) => m.replace(' ', '')));
  const small = [...after].filter(([w]) => known.has(w) || w.length === 1).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  for (const [w] of small.slice(0, Math.min(room - merges.length, SMALL))) add(`${blank} ${w}`);
  return { tokens: [...specials, ...letters, ...merges.map((m) => m.replace(' ', ''))], merges };
}

/* ---- First weights ---- */

function normal(random) {
  const u = 1 - random.next() / 4294967296, v = random.next() / 4294967296;
  return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v);
}

/* A token is something of its own and what its word means; one in another form may be known ("invoices", "Invoiced"). The rows are as
 * long as an answer's logits need them, for they stay as they are, and are the output matrix, too. */
const LENGTH = 1.4;
function embedding(tokens, width, random, near) {
  const stems = (w) => [w, w.replace(/s$/, ''), w.replace(/(ing|ed|es)$/, ''), w.replace(/(ing|ed)$/, 'e'), w.replace(/ies$/, 'y')];
  return tokens.flatMap((token) => {
    const word = token.replace(blank, '').toLowerCase(), own = Array.from({ length: width }, () => normal(random) / Math.sqrt(width));
    const meaning = /^\p{L}{2,}$/u.test(word) ? stems(word).map((w) => near.get(w)).find((m) => m) : undefined;
    return own.map((x, i) => LENGTH * (meaning ? 0.6 * x + 0.8 * meaning.vector[i] : x));
  });
}

function weights({ layers, embed, heads, ffn }, tokens, near) {
  const random = new Random(1);
  const matrix = (name, n, m, scale = 0.02) => [name, [n, m], Array.from({ length: n * m }, () => scale * normal(random))];
  const ones = (name, n) => [name, [n], Array(n).fill(1)];
  const least = 0.02 / Math.sqrt(2 * layers); // of what is added to the residual stream (Radford et al. 2019)
  return [
    ['token_embd.weight', [embed, tokens.length], embedding(tokens, embed, random, near)], ones('output_norm.weight', embed),
    ...Array.from({ length: layers }, (_, i) => `blk.${i}.`).flatMap((b) => [
      ones(`${b}attn_norm.weight`, embed), matrix(`${b}attn_q.weight`, embed, embed), matrix(`${b}attn_k.weight`, embed, embed),
      matrix(`${b}attn_v.weight`, embed, embed), matrix(`${b}attn_output.weight`, embed, embed, least),
      ones(`${b}attn_q_norm.weight`, embed / heads), ones(`${b}attn_k_norm.weight`, embed / heads),
      ones(`${b}ffn_norm.weight`, embed), matrix(`${b}ffn_gate.weight`, embed, ffn), matrix(`${b}ffn_up.weight`, embed, ffn), matrix(`${b}ffn_down.weight`, ffn, embed, least),
    ]),
  ];
}

const [corpus, out, ...more] = process.argv.slice(2);
const shape = { tokens: 20480, layers: 6, embed: 192, heads: 6, ffn: 512, wordnet: 'yes' };
for (let i = 0; i < more.length; i += 2) shape[more[i].replace(/^--/, '')] = more[i] === '--wordnet' ? more[i + 1] : Number(more[i + 1]);
const { wordnet, ...numbers } = shape;
if (!out || Object.keys(numbers).length > 5 || Object.values(numbers).some((n) => !(n > 0)) || !['yes', 'no'].includes(wordnet)) throw new Error('usage: see the head of base.mjs');
if (wordnet === 'yes' && !installed()) throw new Error(`WordNet is not in ${folder}: install it (tools/deps train; Debian's wordnet-base), or leave it out with --wordnet no`);
const near = nearness(shape.embed, wordnet === 'yes'), { tokens, merges } = tokenizer(corpus, shape.tokens, near);
const types = tokens.map((_, i) => u32(i < specials.length ? 3 : 1));
const string = (key, value) => [key, 8, text(value)];
const many = (key, type, values) => [key, 9, u32(type), u64(values.length), ...values];
const number = (key, n) => [`qwen3.${key}`, 4, u32(n)];
writeFileSync(out, gguf([
  string('general.architecture', 'qwen3'), string('general.name', 'house'),
  number('context_length', 1024), number('embedding_length', shape.embed), number('block_count', shape.layers), number('feed_forward_length', shape.ffn),
  number('attention.head_count', shape.heads), number('attention.head_count_kv', shape.heads), number('attention.key_length', shape.embed / shape.heads),
  number('attention.value_length', shape.embed / shape.heads), ['qwen3.attention.layer_norm_rms_epsilon', 6, f32(1e-6)], ['qwen3.rope.freq_base', 6, f32(10000)],
  string('tokenizer.ggml.model', 'gpt2'), string('tokenizer.ggml.pre', 'qwen2'),
  many('tokenizer.ggml.tokens', 8, tokens.map(text)), many('tokenizer.ggml.token_type', 5, types),
  many('tokenizer.ggml.merges', 8, merges.map(text)),
  ['tokenizer.ggml.eos_token_id', 4, u32(2)], ['tokenizer.ggml.padding_token_id', 4, u32(0)],
  ['tokenizer.ggml.add_bos_token', 7, Buffer.from([0])], string('tokenizer.chat_template', chatml),
  ['general.sampling.temp', 6, f32(0)], // its jobs have one right answer
], weights(shape, tokens, near)));
console.error(`${out}: ${tokens.length} tokens, ${merges.length} merges`);

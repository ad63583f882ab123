#!/usr/bin/env node
// What the house model begins as: a tokenizer learned from its corpus, and first weights, in one GGUF file.
//   node train/house/base.mjs jobs.jsonl base.gguf [--tokens 6144] [--layers 6] [--embed 160] [--heads 5] [--ffn 432]
//
// The tokenizer is a byte-level BPE (Sennrich et al. 2016). A name must have the same tokens wherever it stands (after a blank
// in the mail, after a quotation mark in the JSON), or copying it would not be copying. So the sign before a word is joined to
// nothing, but a blank to whole small words:
//   " Nowak" -> " " "No" "wak"     "\"Nowak" -> "\"" "No" "wak"     " the" -> " the"
// A word that the corpus knows is one token, so that it can mean something; names and what else is drawn anew are spelled.
//
// The weights are drawn by chance, but for the tokens: words of one topic, or of one field, have a part in common. A model
// of this size would take most of its training to find out which words are near each other, and the lists say so.
import { readFileSync, writeFileSync } from 'node:fs';
import { f32, gguf, text, u32, u64 } from '../../tests/e2e/lib/gguf.mjs';
import { Random, half, list, sections } from './random.mjs';

// What the engine knows as "qwen2": digits singly.
const words = /'(?:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+/giu;
const specials = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'];
const chatml = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

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
const wordsOf = (entry) => entry.replace(/([a-z])([A-Z])/g, '$1 $2').toLowerCase().match(/\p{L}+/gu) ?? [];
const own = (entries) => half(list(entries), false);

/* Lists of words that are near each other: those of a topic, and the names of a field. */
const near = [
  ...sections(here('messages.txt'), ['labels', 'about', 'not', 'words']).map((s) => [...own(s.labels), ...own(s.words)].flatMap(wordsOf)),
  ...sections(here('fields.txt'), ['slot', 'keys', 'labels']).map((s) => [...own(s.keys), ...own(s.labels)].flatMap(wordsOf)),
];
/* What stands in slots has halves: a word of one must not be known better than one of the other. */
const drawn = new Set([...sections(here('words.txt')).flatMap((s) => s.lines.join(', ').split(', ')), ...here('../../data/names.txt').split(/[\s:]+/)].flatMap(wordsOf));

function tokenizer(file, most) {
  const bare = new Map(), after = new Map();
  for (const [word, n] of count(file)) {
    const letter = /^[^\p{L}\p{N}\s]?\p{L}|^\s\p{L}/u.test(word);
    const core = letter ? word.replace(/^[^\p{L}]/u, '') : word;
    bare.set(core, (bare.get(core) ?? 0) + n);
    if (/^ [a-z]+$/.test(word)) after.set(core, (after.get(core) ?? 0) + n);
  }
  const room = most - 256 - specials.length;
  // Pieces first, of many different words; then whole words, the most frequent first.
  const merges = learn(new Map([...bare].map(([w, n]) => [w, Math.min(n, 20)])), Math.floor(room * 0.25));
  const rank = new Map(merges.map((m, i) => [m, i])), listed = new Set(near.flat());
  const add = (merge) => { if (!rank.has(merge)) { rank.set(merge, merges.length); merges.push(merge); } };
  const worth = ([w, n]) => n * (listed.has(w.toLowerCase()) ? 10 : 1);
  const whole = [...bare].filter(([w, n]) => /^\p{L}\p{Ll}+$/u.test(w) && n >= (listed.has(w.toLowerCase()) ? 5 : 20) && (listed.has(w.toLowerCase()) || !drawn.has(w.toLowerCase())))
    .sort((a, b) => worth(b) - worth(a) || (a[0] < b[0] ? -1 : 1));
  for (const [word] of whole) {
    const parts = pieces(word, rank);
    if (merges.length + parts.length > room * 0.95) break;
    while (parts.length > 1) { add(`${parts[0]} ${parts[1]}`); parts.splice(0, 2, parts[0] + parts[1]); }
  }
  const known = new Set(merges.map((m) => m.replace(' ', '')));
  const small = [...after].filter(([w]) => known.has(w) || w.length === 1).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  for (const [w] of small.slice(0, room - merges.length)) add(`${blank} ${w}`);
  return { tokens: [...specials, ...letters, ...merges.map((m) => m.replace(' ', ''))], merges };
}

/* ---- First weights ---- */

function normal(random) {
  const u = 1 - random.next() / 4294967296, v = random.next() / 4294967296;
  return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v);
}

/* A token is something of its own, something that it shares with the same word in capitals or after a blank, and something
 * that it shares with the words near it. */
function embedding(tokens, width, random) {
  const drawnRow = () => Array.from({ length: width }, () => normal(random));
  const meanings = new Map(), words = new Map();
  for (const group of near) {
    const row = drawnRow();
    for (const w of new Set(group)) meanings.set(w, [...(meanings.get(w) ?? []), row]);
  }
  return tokens.flatMap((token) => {
    const word = token.replace(blank, '').toLowerCase(), shared = words.get(word) ?? words.set(word, drawnRow()).get(word);
    const rows = meanings.get(word) ?? [], size = 1 / Math.sqrt(rows.length || 1);
    return drawnRow().map((x, i) => 0.02 * (0.8 * x + 0.6 * shared[i] + rows.reduce((sum, r) => sum + r[i] * size, 0)));
  });
}

function weights({ layers, embed, heads, ffn }, tokens) {
  const random = new Random(1);
  const matrix = (name, n, m, scale = 0.02) => [name, [n, m], Array.from({ length: n * m }, () => scale * normal(random))];
  const ones = (name, n) => [name, [n], Array(n).fill(1)];
  const least = 0.02 / Math.sqrt(2 * layers); // of what is added to the residual stream (Radford et al. 2019)
  return [
    ['token_embd.weight', [embed, tokens.length], embedding(tokens, embed, random)], ones('output_norm.weight', embed),
    ...Array.from({ length: layers }, (_, i) => `blk.${i}.`).flatMap((b) => [
      ones(`${b}attn_norm.weight`, embed), matrix(`${b}attn_q.weight`, embed, embed), matrix(`${b}attn_k.weight`, embed, embed),
      matrix(`${b}attn_v.weight`, embed, embed), matrix(`${b}attn_output.weight`, embed, embed, least),
      ones(`${b}attn_q_norm.weight`, embed / heads), ones(`${b}attn_k_norm.weight`, embed / heads),
      ones(`${b}ffn_norm.weight`, embed), matrix(`${b}ffn_gate.weight`, embed, ffn), matrix(`${b}ffn_up.weight`, embed, ffn), matrix(`${b}ffn_down.weight`, ffn, embed, least),
    ]),
  ];
}

const [corpus, out, ...more] = process.argv.slice(2);
const shape = { tokens: 6144, layers: 6, embed: 160, heads: 5, ffn: 432 };
for (let i = 0; i < more.length; i += 2) shape[more[i].replace(/^--/, '')] = Number(more[i + 1]);
if (!out || Object.keys(shape).length > 5 || Object.values(shape).some((n) => !(n > 0))) throw new Error('usage: see the head of base.mjs');
const { tokens, merges } = tokenizer(corpus, shape.tokens);
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
], weights(shape, tokens)));
console.error(`${out}: ${tokens.length} tokens, ${merges.length} merges`);

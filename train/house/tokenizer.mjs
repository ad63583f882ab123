#!/usr/bin/env node
// The house model's tokenizer: a byte-level BPE (Sennrich et al. 2016) of this corpus, in a GGUF file without tensors.
//   node train/house/tokenizer.mjs jobs.jsonl tokenizer.gguf [--tokens 3072]
//
// A name must have the same tokens wherever it stands (after a blank in the mail, after a quotation mark in the JSON), or
// copying it would not be copying. So the sign before a word is joined to nothing, but a blank to whole small words:
//   " Nowak" -> " " "No" "wak"     "\"Nowak" -> "\"" "No" "wak"     " the" -> " the"
import { readFileSync, writeFileSync } from 'node:fs';
import { f32, gguf, text, u32, u64 } from '../../tests/e2e/lib/gguf.mjs';

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

function tokenizer(file, most) {
  const bare = new Map(), after = new Map();
  for (const [word, n] of count(file)) {
    const letter = /^[^\p{L}\p{N}\s]?\p{L}|^\s\p{L}/u.test(word);
    const core = letter ? word.replace(/^[^\p{L}]/u, '') : word;
    bare.set(core, (bare.get(core) ?? 0) + n);
    if (/^ [a-z]+$/.test(word)) after.set(core, (after.get(core) ?? 0) + n);
  }
  const room = most - 256 - specials.length;
  const merges = learn(bare, Math.floor(room * 0.75));
  const known = new Set(merges.map((m) => m.replace(' ', '')));
  const small = [...after].filter(([w]) => known.has(w) || w.length === 1).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  merges.push(...small.slice(0, room - merges.length).map(([w]) => `${blank} ${w}`));
  const tokens = [...specials, ...letters, ...merges.map((m) => m.replace(' ', ''))];
  return { tokens, merges };
}

const [corpus, out, , most] = process.argv.slice(2);
if (!out) throw new Error('usage: tokenizer.mjs CORPUS.jsonl OUT.gguf [--tokens N]');
const { tokens, merges } = tokenizer(corpus, Number(most ?? 3072));
const types = tokens.map((_, i) => u32(i < specials.length ? 3 : 1));
const string = (key, value) => [key, 8, text(value)];
const list = (key, type, values) => [key, 9, u32(type), u64(values.length), ...values];
writeFileSync(out, gguf([
  string('general.architecture', 'llama'), string('general.name', 'house tokenizer'),
  string('tokenizer.ggml.model', 'gpt2'), string('tokenizer.ggml.pre', 'qwen2'),
  list('tokenizer.ggml.tokens', 8, tokens.map(text)), list('tokenizer.ggml.token_type', 5, types),
  list('tokenizer.ggml.merges', 8, merges.map(text)),
  ['tokenizer.ggml.eos_token_id', 4, u32(2)], ['tokenizer.ggml.padding_token_id', 4, u32(0)],
  ['tokenizer.ggml.add_bos_token', 7, Buffer.from([0])], string('tokenizer.chat_template', chatml),
  ['general.sampling.temp', 6, f32(0)], // its jobs have one right answer
], []));
console.error(`${out}: ${tokens.length} tokens, ${merges.length} merges`);

// weir imatrix as a user runs it: what matters in a tiny model's matrices.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { makeFolder, weir } from './lib/gateway.mjs';
import { checkFullDisk, checkMistakes } from './lib/verbs.mjs';

let folder;
const at = (name) => join(folder, name);
const run = (...args) => spawnSync(weir, args, { cwd: folder, encoding: 'utf8', timeout: 600000 });
const words = ['lamp', 'green', 'river', 'stone', 'the', 'of', 'is', 'old'];
const text = Array.from({ length: 500 }, (_, i) => words[(i * i * 7 + i * 3 + (i >> 3)) % words.length]).join(' ');

const make = (...args) => {
  const r = run('imatrix', ...args);
  assert.equal(r.status, 0, r.stderr);
  return r.stdout;
};

before(() => {
  folder = makeFolder();
  const line = JSON.stringify({ messages: [{ role: 'user', content: 'what is it' }, { role: 'assistant', content: text.slice(0, 200) }] });
  writeFileSync(at('data.jsonl'), `${line}\n`.repeat(8));
  writeFileSync(at('text.txt'), text);
  writeFileSync(
    at('c.yaml'),
    `model: {layers: 2, embed: 256, heads: 4, kv_heads: 2, ffn: 256, vocab: 300, context: 128}
data: {train: [data.jsonl], validation: [data.jsonl]}
train: {steps: 10, batch_tokens: 400, learning_rate: 0.003, warmup: 5, validate_every: 10}
output: {type: F16}
`,
  );
  const r = run('train', 'c.yaml', '--out', 'm.gguf');
  assert.equal(r.status, 0, r.stderr);
});
after(() => rmSync(folder, { recursive: true }));

test('it is made, by any number of threads the same', () => {
  const said = make('m.gguf', '--text', 'text.txt', '-o', 'a.gguf', '--context', '32');
  assert.match(said, /^a\.gguf: 14 matrices, \d+ windows of 32 tokens; perplexity /);
  make('m.gguf', '--text', 'text.txt', '--out', 'b.gguf', '--context', '32', '--threads', '3');
  assert.ok(readFileSync(at('a.gguf')).equals(readFileSync(at('b.gguf'))));
  const shown = run('show', 'a.gguf').stdout;
  assert.match(shown, /imatrix\.chunk_size +32/);
});

test('broken off, it goes on to the same; with another text it does not', () => {
  make('m.gguf', '--text', 'text.txt', '-o', 'half.gguf', '--context', '32', '--chunks', '3');
  make('m.gguf', '--text', 'text.txt', '-o', 'half.gguf', '--context', '32', '--resume');
  const whole = run('show', 'a.gguf').stdout.match(/imatrix\.chunk_count +(\d+)/)[1];
  assert.equal(run('show', 'half.gguf').stdout.match(/imatrix\.chunk_count +(\d+)/)[1], whole);
  assert.equal(readFileSync(at('half.gguf')).length, readFileSync(at('a.gguf')).length);
  const r = run('imatrix', 'm.gguf', '--text', 'text.txt', '-o', 'half.gguf', '--context', '64', '--resume');
  assert.equal(r.status, 1);
  assert.match(r.stderr, /was not begun with this text and --context/);
});

test('several become one, which counts the windows of all', () => {
  const said = make('-o', 'both.gguf', 'a.gguf', 'b.gguf');
  const n = Number(run('show', 'a.gguf').stdout.match(/imatrix\.chunk_count +(\d+)/)[1]);
  assert.match(said, new RegExp(`14 matrices, ${2 * n} windows of 32 tokens`));
});

test('mistakes are one line that says what to do, and leave no file', () => {
  writeFileSync(at('other.dat'), Buffer.concat([Buffer.from([1, 0, 0, 0, 19, 0, 0, 0]), Buffer.from('blk.0.attn_q.weight'), Buffer.from([1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 128, 63])]));
  const tries = [
    [['imatrix'], 2, /wants a model, --text and --out/],
    [['imatrix', 'a.gguf', '-o', 'x.gguf', '--resume'], 2, /--resume goes on with a --text/],
    [['imatrix', 'm.gguf', '-o', 'x.gguf'], 1, /m\.gguf: no importance matrix/],
    [['imatrix', 'text.txt', '-o', 'x.gguf'], 1, /text\.txt: no importance matrix/],
    [['imatrix', 'a.gguf', '-o', 'x.gguf', '--text', 'text.txt'], 1, /a\.gguf/],
    [['imatrix', 'm.gguf', 'other.dat', '-o', 'x.gguf', '--text', 'text.txt', '--context', '32'], 1, /'blk\.0\.attn_q\.weight' has 1 inputs in one importance matrix and 256 in the other/],
    [['imatrix', 'm.gguf', '-o', 'none/x.gguf', '--text', 'text.txt', '--context', '32'], 1, /none/],
  ];
  checkMistakes(folder, tries);
});

test('a full disk is said, and leaves what was there', () => {
  checkFullDisk(folder, 16, 'imatrix a.gguf b.gguf -o x.gguf');
});

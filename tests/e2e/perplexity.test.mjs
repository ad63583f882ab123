// weir perplexity as a user runs it: a tiny model, what quantising it cost, and the figures by another way.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { makeFolder, weir } from './lib/gateway.mjs';
import { checkMistakes } from './lib/verbs.mjs';

let folder;
const at = (name) => join(folder, name);
const run = (...args) => spawnSync(weir, args, { cwd: folder, encoding: 'utf8', timeout: 600000 });
const words = ['lamp', 'green', 'river', 'stone', 'the', 'of', 'is', 'old'];
// Words in no order that a small model could learn by heart.
const text = Array.from({ length: 600 }, (_, i) => words[(i * i * 7 + i * 3 + (i >> 3)) % words.length]).join(' ');

before(() => {
  folder = makeFolder();
  const line = (a, b) => JSON.stringify({ messages: [{ role: 'user', content: a }, { role: 'assistant', content: b }] });
  writeFileSync(at('data.jsonl'), Array.from({ length: 8 }, (_, i) => `${line(words[i], text.slice(i * 60, i * 60 + 200))}\n`).join(''));
  writeFileSync(at('text.txt'), text);
  writeFileSync(
    at('c.yaml'),
    `model: {layers: 2, embed: 256, heads: 4, kv_heads: 2, ffn: 256, vocab: 320, context: 128}
data: {train: [data.jsonl], validation: [data.jsonl]}
train: {steps: 20, batch_tokens: 400, learning_rate: 0.003, warmup: 5, validate_every: 20}
output: {type: F32}
`,
  );
  let r = run('train', 'c.yaml', '--out', 'm.gguf');
  assert.equal(r.status, 0, r.stderr);
  for (const type of ['Q8_0', 'Q4_0']) {
    r = run('quantize', 'm.gguf', `${type}.gguf`, type);
    assert.equal(r.status, 0, r.stderr);
  }
});
after(() => rmSync(folder, { recursive: true }));

const measure = (...args) => {
  const r = run('perplexity', ...args, '--text', 'text.txt', '--json');
  assert.equal(r.status, 0, r.stderr);
  return JSON.parse(r.stdout);
};

test('perplexity is what the logits of the window say', () => {
  const context = 8;
  const ids = JSON.parse(spawnSync(weir, ['tokenize', '--model', 'm.gguf', '--add-special'], { cwd: folder, encoding: 'utf8', input: `${JSON.stringify({ text })}\n` }).stdout);
  let sum = 0;
  let n = 0;
  for (let i = context / 2; i < context - 1; i++, n++) {
    const r = run('logits', '--model', 'm.gguf', '--tokens', ids.slice(0, i + 1).join(','), '--top', '100000');
    assert.equal(r.status, 0, r.stderr);
    const { logits } = JSON.parse(r.stdout);
    const most = logits[0][1];
    const all = logits.reduce((s, [, v]) => s + Math.exp(v - most), 0);
    sum += Math.log(all) + most - logits.find(([id]) => id === ids[i + 1])[1];
  }
  const { models } = measure('m.gguf', '--context', String(context), '--chunks', '1');
  assert.equal(models[0].tokens, n);
  assert.ok(Math.abs(models[0].perplexity.value / Math.exp(sum / n) - 1) < 1e-4, `${models[0].perplexity.value} ${Math.exp(sum / n)}`);
});

test('fewer bits are further from the original, and all files stand in one table', () => {
  const { models, windows } = measure('m.gguf', 'Q8_0.gguf', 'Q4_0.gguf', '--reference', 'm.gguf', '--context', '64');
  const [same, q8, q4] = models;
  assert.ok(windows >= 2);
  assert.equal(same.kl.value, 0);
  assert.equal(same.kl_max, 0);
  assert.equal(same.same_top.value, 1);
  assert.equal(same.perplexity_ratio.value, 1);
  assert.ok(q8.kl.value > 0 && q4.kl.value > 10 * q8.kl.value, `${q8.kl.value} ${q4.kl.value}`);
  assert.ok(q4.kl_median <= q4.kl_90 && q4.kl_90 <= q4.kl_99 && q4.kl_99 <= q4.kl_max);
  assert.ok(Math.abs(q8.perplexity.value - q8.reference_perplexity.value * q8.perplexity_ratio.value) < 1e-6 * q8.perplexity.value);
  const r = run('perplexity', 'Q8_0.gguf', 'Q4_0.gguf', '--text', 'text.txt', '--reference', 'm.gguf', '--context', '64');
  assert.match(r.stdout, /^Q8_0\.gguf .*\nQ4_0\.gguf .*\nreference: m\.gguf/m);
});

test('figures depend on no number of threads', () => {
  const one = measure('Q4_0.gguf', '--reference', 'm.gguf', '--context', '64', '--threads', '1');
  assert.deepEqual(measure('Q4_0.gguf', '--reference', 'm.gguf', '--context', '64', '--threads', '3'), one);
});

test('a text of more than a MiB is read', () => {
  writeFileSync(at('long.txt'), `${text} `.repeat(400));
  const r = run('perplexity', 'm.gguf', '--text', 'long.txt', '--context', '64', '--chunks', '2', '--json');
  assert.equal(r.status, 0, r.stderr);
  assert.equal(JSON.parse(r.stdout).windows, 2);
});

test('mistakes are one line that says what to do', () => {
  writeFileSync(at('short.txt'), 'the lamp');
  writeFileSync(at('c2.yaml'), 'model: {layers: 1, embed: 16, heads: 2, ffn: 16, vocab: 288, context: 64}\ndata: {train: [data.jsonl]}\ntrain: {steps: 1}\n');
  const other = run('train', 'c2.yaml', '--out', 'other.gguf');
  assert.equal(other.status, 0, other.stderr);
  copyFileSync(at('m.gguf'), at('cut.gguf'));
  truncateSync(at('cut.gguf'), statSync(at('m.gguf')).size - 1000);
  const tries = [
    [['m.gguf'], 2, /wants model files and --text/],
    [['m.gguf', '--text', 'text.txt', '--context', '2'], 2, /--context wants a number/],
    [['m.gguf', '--text', 'none.txt'], 1, /none\.txt/],
    [['m.gguf', '--text', 'short.txt'], 1, /less than two windows of 512/],
    [['m.gguf', '--text', 'text.txt', '--context', '64', '--reference', 'other.gguf'], 1, /different tokens/],
    [['cut.gguf', '--text', 'text.txt', '--context', '64'], 1, /cut\.gguf: .*past the end of the file/],
    [['text.txt', '--text', 'text.txt'], 1, /text\.txt: not a GGUF file/],
  ];
  checkMistakes(folder, tries.map(([args, ...rest]) => [['perplexity', ...args], ...rest]));
});

test('of two models the good one was called broken; an importance matrix was made of a broken one, logits were null, and tuning it was told to learn slower', () => {
  const bytes = readFileSync(at('m.gguf'));
  writeFileSync(at('nan.gguf'), bytes.fill(0xff, bytes.length - 1024)); // weights of the last matrix are no numbers
  const said = (...args) => {
    const r = run(...args);
    assert.equal(r.status, 1, `${args.join(' ')}: ${r.stdout}${r.stderr}`);
    return r.stderr.split('\n').filter((l) => l.startsWith('weir: ')).join('\n');
  };
  const measured = (...args) => said('perplexity', ...args, '--text', 'text.txt', '--context', '64');
  assert.match(measured('m.gguf', '--reference', 'nan.gguf'), /^weir: nan\.gguf: .* is no number: the file is broken/);
  assert.match(measured('m.gguf', 'nan.gguf', '--reference', 'm.gguf'), /^weir: nan\.gguf: /);
  assert.match(said('imatrix', 'nan.gguf', '--text', 'text.txt', '-o', 'nan.imatrix', '--context', '64'), /^weir: nan\.gguf: .* is no number/);
  assert.ok(!existsSync(at('nan.imatrix')));
  assert.match(said('logits', '--model', 'nan.gguf', '--tokens', '1,2'), /no usable number: its file is broken/);
  assert.match(said('finetune', 'nan.gguf', 'data.jsonl', '--out', 'nan.lora', '--epochs', '1'), /before anything was learned: the model's file is broken/);
});

// weir quantize as a user runs it: a tiny model in every type, then served by the gateway.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Gateway, makeFolder, root, weir } from './lib/gateway.mjs';
import { checkFullDisk, checkMistakes } from './lib/verbs.mjs';

const types = ['F32', 'BF16', 'Q8_0', 'Q6_K', 'Q5_K_M', 'Q5_K_S', 'Q4_K_M', 'Q4_K_S', 'Q3_K_L', 'Q3_K_M', 'Q3_K_S', 'MXFP4', 'IQ4_NL', 'IQ4_XS', 'Q5_1', 'Q5_0', 'Q4_1', 'Q4_0'];
let folder;
const at = (name) => join(folder, name);
const run = (...args) => spawnSync(weir, args, { cwd: folder, encoding: 'utf8', timeout: 600000 });

// It learns to say one sentence, which survives any of the types.
before(() => {
  folder = makeFolder();
  const line = JSON.stringify({
    messages: [
      { role: 'user', content: 'what is it' },
      { role: 'assistant', content: 'a lamp of green' },
    ],
  });
  writeFileSync(at('data.jsonl'), `${line}\n`.repeat(8));
  writeFileSync(
    at('c.yaml'),
    `model: {layers: 2, embed: 256, heads: 4, kv_heads: 2, ffn: 256, vocab: 300, context: 64}
data: {train: [data.jsonl], validation: [data.jsonl]}
train: {steps: 40, batch_tokens: 200, learning_rate: 0.003, warmup: 5, validate_every: 40}
output: {type: F16}
`,
  );
  const r = run('train', 'c.yaml', '--out', 'm.gguf');
  assert.equal(r.status, 0, r.stderr);
});
after(() => rmSync(folder, { recursive: true }));

test('weir quantize --help named no type of less than three bits', () => {
  const { stdout } = run('quantize', '--help');
  const table = readFileSync(join(root, 'src/train/quantize_mix.c'), 'utf8');
  const names = [...table.matchAll(/^    \{"(\w+)", T\(/gm)].map((m) => m[1]);
  assert.ok(names.length > 30);
  for (const name of names) assert.ok(stdout.includes(name.replace(/^Q3_K/, '')), name);
});

test('each type is written, smaller the fewer its bits are, and says the same', async () => {
  let size = Infinity;
  for (const type of types) {
    const r = run('quantize', 'm.gguf', `${type}.gguf`, type);
    assert.equal(r.status, 0, r.stderr);
    assert.match(r.stdout, /-> .* bits a weight; .*F32/);
  }
  for (const type of ['F32', 'BF16', 'Q8_0', 'Q6_K', 'Q5_K_S', 'Q4_K_S']) {
    assert.ok(statSync(at(`${type}.gguf`)).size < size, type);
    size = statSync(at(`${type}.gguf`)).size;
  }
  const gateway = await Gateway.start(
    `models:\n${types.map((t) => `  - {name: ${t}, file: ${at(`${t}.gguf`)}, threads: 1}\n`).join('')}`,
    { folder, keep: true },
  );
  try {
    for (const type of types) {
      const r = await gateway.chat(type, 'what is it', { temperature: 0, max_tokens: 20 });
      assert.equal(r.status, 200, JSON.stringify(r.body));
      assert.equal(r.body.choices[0].message.content, 'a lamp of green', type);
    }
  } finally {
    await gateway.stop();
  }
});

test('what is kept is kept: back in the first type, a file is what it was', () => {
  assert.equal(run('quantize', 'F32.gguf', 'back.gguf', 'F16').status, 0);
  assert.equal(run('quantize', 'm.gguf', 'same.gguf', 'f16').status, 0);
  assert.ok(readFileSync(at('back.gguf')).equals(readFileSync(at('same.gguf'))));
});

test('an importance matrix makes few bits possible', () => {
  writeFileSync(at('text.txt'), 'what is it a lamp of green '.repeat(60));
  let r = run('imatrix', 'm.gguf', '--text', 'text.txt', '-o', 'i.gguf', '--context', '32');
  assert.equal(r.status, 0, r.stderr);
  r = run('quantize', 'm.gguf', 'x2.gguf', 'Q2_K_S');
  assert.equal(r.status, 1);
  assert.match(r.stderr, /would be noise without importance/);
  r = run('quantize', 'm.gguf', '-', 'Q2_K_S', '--dry-run');
  assert.equal(r.status, 0);
  assert.match(r.stdout, /^blk\.0\.attn_q\.weight +F16 +Q2_K$/m);
  assert.match(r.stderr, /would be noise without importance/);
  for (const type of ['Q2_K_S', 'Q4_0', 'IQ3_XXS']) {
    r = run('quantize', 'm.gguf', 'x2.gguf', type, '--imatrix', 'i.gguf');
    assert.equal(r.status, 0, r.stderr);
    assert.match(r.stdout, /^14 of 15 converted by importance$/m);
  }
  assert.match(run('show', 'x2.gguf').stdout, /quantize\.imatrix\.entries_count +14/);
  r = run('quantize', 'm.gguf', 'x2.gguf', 'Q4_0', '--imatrix', 'm.gguf');
  assert.equal(r.status, 1);
  assert.match(r.stderr, /m\.gguf: no importance matrix/);
  rmSync(at('x2.gguf'));
});

test('types by name', () => {
  const r = run('quantize', 'm.gguf', '-', 'Q4_K_M', '--dry-run', '--tensor-type', 'attn_q=Q8_0', '--tensor-type=blk\\.1\\.ffn=Q5_1', '--token-embedding-type', 'q3_k');
  assert.equal(r.status, 0, r.stderr);
  assert.match(r.stdout, /^blk\.0\.attn_q\.weight +F16 +Q8_0$/m);
  assert.match(r.stdout, /^blk\.1\.ffn_up\.weight +F16 +Q5_1$/m);
  assert.match(r.stdout, /^token_embd\.weight +F16 +Q3_K$/m);
  assert.match(run('quantize', 'm.gguf', '-', 'Q4_K_M', '--dry-run', '--tensor-type', 'attn_q').stderr, /wants PATTERN=TYPE/);
});

test('a plan names each tensor and writes nothing', () => {
  const r = run('quantize', 'm.gguf', '-', 'Q4_K_M', '--plan');
  assert.equal(r.status, 0, r.stderr);
  assert.match(r.stdout, /^token_embd\.weight +F16 +Q6_K$/m);
  assert.match(r.stdout, /^output_norm\.weight +F32 +F32$/m);
  assert.match(r.stdout, /^blk\.0\.attn_q\.weight +F16 +Q4_K$/m);
  assert.ok(!existsSync(at('-')));
});

test('mistakes are one line that says what to do, and leave no file', () => {
  const whole = readFileSync(at('m.gguf'));
  writeFileSync(at('short.gguf'), whole);
  truncateSync(at('short.gguf'), whole.length - 1000);
  writeFileSync(at('nan.gguf'), whole);
  const broken = Buffer.from(whole);
  broken.fill(0xff, broken.length - 100);
  writeFileSync(at('nan.gguf'), broken);
  // A tensor that every model of the kind has, under another name.
  const lacking = Buffer.from(whole);
  lacking.write('blk.1.ffn_uq.weight', lacking.indexOf('blk.1.ffn_up.weight'));
  writeFileSync(at('lacking.gguf'), lacking);
  symlinkSync(at('m.gguf'), at('link.gguf'));
  const tries = [
    [['quantize'], 2, /wants a model, a new file and a type/],
    [['quantize', 'm.gguf', 'x.gguf', 'Q3'], 2, /'Q3' is no type that can be written/],
    [['quantize', 'm.gguf', 'x.gguf', 'Q8_0', '--output-type', 'X'], 2, /'X' is no type of a tensor/],
    [['quantize', 'm.gguf', 'x.gguf', 'Q8_0', '--imatrix', 'none.gguf'], 1, /none\.gguf/],
    [['quantize', 'm.gguf', 'x.gguf', 'Q8_0', '--threads', '0'], 2, /--threads wants a whole number/],
    [['quantize', 'none.gguf', 'x.gguf', 'Q8_0'], 1, /none\.gguf/],
    [['quantize', 'c.yaml', 'x.gguf', 'Q8_0'], 1, /c\.yaml: not a GGUF file/],
    [['quantize', 'short.gguf', 'x.gguf', 'Q8_0'], 1, /past the end of the file/],
    [['quantize', 'lacking.gguf', 'x.gguf', 'Q8_0'], 1, /lacking\.gguf: the model file lacks the tensor 'blk\.1\.ffn_up\.weight'/],
    [['quantize', 'nan.gguf', 'x.gguf', 'Q8_0'], 1, /holds a value that is no number/],
    [['quantize', 'm.gguf', 'm.gguf', 'Q8_0'], 1, /is one of the files that are read/],
    [['quantize', 'm.gguf', 'link.gguf', 'Q8_0'], 1, /is one of the files that are read/],
    [['quantize', 'm.gguf', 'none/x.gguf', 'Q8_0'], 1, /none/],
  ];
  checkMistakes(folder, tries);
});

test('a full disk is said, and leaves what was there', () => {
  checkFullDisk(folder, 64, 'quantize m.gguf x.gguf Q8_0');
});

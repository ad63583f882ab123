// Model files and adapters as people have them: what runs, what is refused, and with which words.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { f32, gguf, text } from './lib/gguf.mjs';
import { Gateway, makeFolder, makeModel, shared, weir } from './lib/gateway.mjs';

const longrope = join(shared, 'vectors', 'models', 'phi3-longrope.gguf');
const EMBED = 64;
const RANK = 4;
let gateway, folder, model;

// A LoRA adapter that changes much, of a weight of the tiny model unless told otherwise.
function adapter(seed, { architecture = 'llama', embed = EMBED, weight = 'blk.0.attn_output.weight' } = {}) {
  let at = seed;
  const random = (n) => Array.from({ length: n }, () => (at = (at * 1103515245 + 12345) % 2147483648) / 2147483648 - 0.5);
  const pairs = [
    ['general.type', 8, text('adapter')],
    ['general.architecture', 8, text(architecture)],
    ['adapter.type', 8, text('lora')],
    ['adapter.lora.alpha', 6, f32(8)],
  ];
  const tensors = ['a', 'b'].map((which) => [`${weight}.lora_${which}`, which === 'a' ? [embed, RANK] : [RANK, embed], random(embed * RANK)]);
  return gguf(pairs, tensors);
}

const file = (name) => join(folder, name);
const run = (verb, args, input = '') => {
  const r = spawnSync(weir, [verb, ...args], { input, cwd: folder, encoding: 'utf8', env: { PATH: process.env.PATH } });
  return { code: r.status, out: r.stdout, err: r.stderr };
};

before(async () => {
  folder = makeFolder();
  model = makeModel(folder, 'tiny.gguf', ['--embed', String(EMBED), '--context', '256']);
  writeFileSync(file('style.gguf'), adapter(1));
  writeFileSync(file('other.gguf'), adapter(2));
  writeFileSync(file('wide.gguf'), adapter(3, { embed: 32 }));
  writeFileSync(file('qwen.gguf'), adapter(4, { architecture: 'qwen2' }));
  writeFileSync(file('strange.gguf'), adapter(5, { weight: 'blk.9.attn_output.weight' }));
  writeFileSync(file('mamba.gguf'), gguf([['general.architecture', 8, text('mamba')]], [['token_embd.weight', [4, 4]]]));
  writeFileSync(file('nul.gguf'), gguf([['general.architecture', 8, text('mam\0ba')], ['general.name', 8, text('a\0b')]], [['token_embd.weight', [4, 4]]]));
  gateway = await Gateway.start(
    `models:
  - {name: plain, file: ${model}, context: 256, threads: 1}
  - {name: styled, file: ${model}, context: 256, threads: 1, lora: [{file: style.gguf}]}
  - {name: both, file: ${model}, context: 256, threads: 1, slots: 4, lora: [{file: style.gguf, name: s, scale: 0}, {file: other.gguf, scale: 0}]}
  - {name: wide, file: ${model}, lora: [{file: wide.gguf}]}
  - {name: huge, file: ${model}, context: 16777216, slots: 1024}
  - {name: long, file: ${model}, context: 512, threads: 1}
${existsSync(longrope) ? `  - {name: longrope, file: ${longrope}, threads: 1}\n` : ''}`,
    { folder },
  );
});

after(() => gateway.stop());

const ask = (name, more = {}) => gateway.chat(name, 'Tell me.', { temperature: 0, max_tokens: 24, ...more });
const answer = async (name, more) => {
  const r = await ask(name, more);
  assert.equal(r.status, 200, JSON.stringify(r.body));
  return r.body.choices[0].message.content;
};

test('a request says how much of which adapter it takes, by id or by name', async () => {
  const plain = await answer('plain');
  const styled = await answer('styled');
  assert.notEqual(styled, plain);
  assert.equal(await answer('styled', { lora: [] }), plain);
  assert.equal(await answer('both'), plain);
  for (const lora of [[{ id: 0, scale: 1 }], [{ name: 's', scale: 1 }], [{ name: 's' }]]) assert.equal(await answer('both', { lora }), styled);
  const other = await answer('both', { lora: [{ name: 'other', scale: 1 }] });
  assert.ok(other !== plain && other !== styled);
});

test('requests with different adapters run side by side', async () => {
  const scales = Array.from({ length: 24 }, (_, i) => [[], [{ id: 0, scale: 1 }], [{ id: 1, scale: 1 }], [{ id: 0, scale: 0.5 }, { id: 1, scale: -0.5 }]][i % 4]);
  const answers = await Promise.all(scales.map((lora) => answer('both', { lora })));
  for (let i = 4; i < answers.length; i++) assert.equal(answers[i], answers[i % 4]);
});

test('an adapter that the model does not have is a 400', async () => {
  for (const lora of [[{ id: 2 }], [{ id: -1 }], [{ name: 'nobody' }], [{}], ['s'], 's', [{ id: 0, scale: 1e9 }], [{ id: 0, scale: 'much' }]]) {
    const r = await ask('both', { lora });
    assert.equal(r.status, 400, `${JSON.stringify(lora)}: ${JSON.stringify(r.body)}`);
    assert.match(r.body.error.message, /lora|scale/);
  }
});

test('--lora adapts run, chat and logits', () => {
  const options = ['--temperature', '0', '--max-tokens', '16', '--threads', '1'];
  const one = (...lora) => run('run', [model, 'abc', '--raw', ...options, ...lora]);
  const plain = one();
  const styled = one('--lora', 'style.gguf');
  assert.equal(plain.code, 0, plain.err);
  assert.equal(styled.code, 0, styled.err);
  assert.notEqual(styled.out, plain.out);
  assert.equal(one('--lora', 'style.gguf:0').out, plain.out);
  assert.equal(one('--lora', 'other.gguf:0,style.gguf:1').out, styled.out);
  const chat = (...lora) => run('chat', [model, ...options, ...lora], 'abc\n');
  assert.equal(chat().code, 0);
  assert.notEqual(chat('--lora', 'style.gguf').out, chat().out);
  const logits = (...lora) => run('logits', ['--model', model, '--tokens', '1,5', '--top', '3', ...lora]).out;
  assert.notEqual(logits('--lora', 'style.gguf'), logits());
});

test("another model's adapter is refused with the reason", async () => {
  for (const [name, reason] of [
    ['wide.gguf', /another model's/],
    ['qwen.gguf', /architecture 'qwen2', the model is 'llama'/],
    ['strange.gguf', /blk\.9\.attn_output\.weight', which the model does not have/],
    ['tiny.gguf', /is it a model's file/],
    ['nowhere.gguf', /nowhere\.gguf/],
  ]) {
    const r = run('run', [model, 'abc', '--lora', name]);
    assert.equal(r.code, 1, `${name}: ${r.out}${r.err}`);
    assert.match(r.err, reason);
  }
  const r = await ask('wide');
  assert.ok(r.status >= 500, JSON.stringify(r.body));
  assert.match(r.body.error.message, /another model's/);
});

test('a model that does not fit is refused with the figures', async () => {
  const figures = /takes [\d.]+ GiB \(weights [\d.]+.*state of 1024 x 16777216 tokens.*[\d.]+ GiB are available: a context of \d+ fits/;
  const r = await ask('huge');
  assert.ok(r.status >= 500, JSON.stringify(r.body));
  assert.match(r.body.error.message, figures);
  assert.match(r.body.error.message, /memory: unchecked/);
});

test('weir show says whether a file runs, and why not', () => {
  const yes = run('show', [model]);
  assert.equal(yes.code, 0, yes.err);
  assert.match(yes.out, /runs here: yes/);
  assert.match(yes.out, /available; weights/);
  assert.match(yes.out, /tokens\/s written/);
  const no = run('show', ['mamba.gguf']);
  assert.equal(no.code, 0, no.err);
  assert.match(no.out, /runs here: no/);
  assert.match(no.out, /mamba.*llama.*qwen3/);
  const lora = run('show', ['style.gguf', '--json']);
  assert.equal(lora.code, 0, lora.err);
  assert.equal(JSON.parse(lora.out).fit.runs, false);
  assert.match(JSON.parse(lora.out).fit.checks.architecture.missing ?? JSON.parse(lora.out).fit.checks.model.missing, /--lora/);
});

// The engine's answer was taken for a breach of the protocol, and with its worker every other call was ended.
test('NUL, written by a model or standing in its file, is a character like others', async () => {
  const nul = 3; // the token of byte 0
  const r = await ask('plain', { logit_bias: { [nul]: 100 }, max_tokens: 3, logprobs: true, top_logprobs: 2 });
  assert.equal(r.status, 200, JSON.stringify(r.body));
  assert.equal(r.body.choices[0].message.content, '\0\0\0');
  assert.deepEqual(r.body.choices[0].logprobs.content[0].bytes, [0]);
  const text = run('detokenize', ['--model', model], '[3,3]\n');
  assert.equal(text.code, 0, text.err);
  assert.equal(JSON.parse(text.out).text, '\0\0');
  const shown = run('show', ['nul.gguf']);
  assert.equal(shown.code, 0, shown.err);
  assert.match(shown.out, /runs here: no/);
});

test('a context beyond what the model was made for is said in the log', async () => {
  await answer('long');
  assert.match(gateway.log, /a context of 512 is longer than the 256 tokens/);
});

test("a LongRoPE model says which context it takes of the two", { skip: !existsSync(longrope) }, async () => {
  await gateway.post('/v1/completions', { model: 'longrope', prompt: 'a', max_tokens: 1 });
  assert.match(gateway.log, /a context of \d+: the model can do \d+/);
});

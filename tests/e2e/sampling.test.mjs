// What a generation can ask for, with the official client: several answers, log-probabilities, bias, filling in,
// seeds, the limits of a context.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Cloud } from './lib/cloud.mjs';
import { Gateway, makeFolder, makeModel, weir } from './lib/gateway.mjs';

const OpenAI = await import('openai').then((m) => m.default, () => null);
const skip = OpenAI ? false : 'the openai package is not installed';
let cloud, gateway, client;

before(async () => {
  if (skip) return;
  const folder = makeFolder();
  makeModel(folder);
  makeModel(folder, 'fill.gguf', ['--fim']);
  makeModel(folder, 'bpe.gguf', ['--tokenizer', 'gpt2', '--pre', 'qwen2', '--context', '512']);
  cloud = await Cloud.start();
  gateway = await Gateway.start(
    `providers:
  sim: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${SIM_KEY}"}
models:
  - {name: house, file: ${folder}/tiny.gguf, context: 256, slots: 4, threads: 1}
  - {name: single, file: ${folder}/bpe.gguf, context: 128, slots: 1, threads: 1}
  - {name: fill, file: ${folder}/fill.gguf, context: 256, threads: 1}
  - {name: cloudy, provider: sim, model: sim-1}
`,
    { folder, env: { SIM_KEY: 'sk-simulated' } },
  );
  client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'none', maxRetries: 0 });
});

after(async () => {
  if (skip) return;
  await gateway.stop();
  await cloud.stop();
});

const messages = [{ role: 'user', content: 'Tell me.' }];
const chat = (more) => client.chat.completions.create({ model: 'house', messages, max_tokens: 16, ...more });

test('n answers, each its own, the prompt counted once; the same seed gives the same ones', { skip }, async () => {
  for (const model of ['house', 'single']) {
    const one = await chat({ model, seed: 5 });
    const three = await chat({ model, seed: 5, n: 3 });
    const again = await chat({ model, seed: 5, n: 3 });
    const texts = (r) => r.choices.map((c) => c.message.content);
    assert.deepEqual(three.choices.map((c) => c.index), [0, 1, 2]);
    assert.deepEqual(texts(three), texts(again));
    assert.equal(texts(three)[0], texts(one)[0]);
    assert.equal(new Set(texts(three)).size, 3);
    assert.equal(three.usage.prompt_tokens, one.usage.prompt_tokens);
    assert.ok(three.usage.completion_tokens > one.usage.completion_tokens);
    assert.equal(texts(await chat({ model, seed: 6 }))[0], texts(three)[1]);
  }
});

test('n answers streamed are the whole ones, by index', { skip }, async () => {
  const whole = await chat({ seed: 9, n: 4 });
  const texts = ['', '', '', ''], finish = [];
  let usage;
  for await (const chunk of await chat({ seed: 9, n: 4, stream: true, stream_options: { include_usage: true } })) {
    for (const c of chunk.choices) {
      texts[c.index] += c.delta.content ?? '';
      if (c.finish_reason) finish[c.index] = c.finish_reason;
    }
    usage = chunk.usage ?? usage;
  }
  assert.deepEqual(texts, whole.choices.map((c) => c.message.content));
  assert.deepEqual(finish, whole.choices.map((c) => c.finish_reason));
  assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
});

function checkTokens(tokens, text, top) {
  assert.equal(tokens.map((t) => t.token).join(''), text);
  for (const t of tokens) {
    assert.ok(t.logprob <= 0 && t.logprob > -50);
    assert.deepEqual(Buffer.from(t.bytes).toString(), t.token);
    assert.equal(t.top_logprobs.length, top);
    for (let i = 1; i < top; i++) assert.ok(t.top_logprobs[i - 1].logprob >= t.top_logprobs[i].logprob);
  }
}

test('log-probabilities in chat, whole and streamed', { skip }, async () => {
  const ask = { logprobs: true, top_logprobs: 3, temperature: 0, logit_bias: {}, grammar: 'root ::= [a-z ]{12}' };
  const whole = await chat(ask);
  const { content } = whole.choices[0].logprobs;
  checkTokens(content, whole.choices[0].message.content, 3);
  const streamed = [];
  let text = '';
  for await (const chunk of await chat({ ...ask, stream: true })) {
    streamed.push(...(chunk.choices[0].logprobs?.content ?? []));
    text += chunk.choices[0].delta.content ?? '';
  }
  assert.deepEqual(streamed, content);
  checkTokens(streamed, text, 3);
  assert.equal((await chat({})).choices[0].logprobs, null);
});

test('log-probabilities are of the model, whatever the sampler does', { skip }, async () => {
  const grammar = 'root ::= [a-z]{4}';
  const cold = await chat({ logprobs: true, top_logprobs: 20, temperature: 0, grammar });
  const first = cold.choices[0].logprobs.content[0];
  const warm = await chat({ logprobs: true, top_logprobs: 20, temperature: 2, seed: 3, grammar });
  assert.deepEqual(warm.choices[0].logprobs.content[0].top_logprobs, first.top_logprobs);
  const sum = first.top_logprobs.reduce((s, t) => s + Math.exp(t.logprob), 0);
  assert.ok(sum > 0 && sum <= 1.0001);
});

test('log-probabilities of the older completions', { skip }, async () => {
  const r = await client.completions.create({ model: 'house', prompt: 'Once', max_tokens: 8, logprobs: 2, temperature: 0, grammar: 'root ::= [a-z]{8}' });
  const { text, logprobs } = r.choices[0];
  assert.equal(logprobs.tokens.join(''), text);
  assert.equal(logprobs.token_logprobs.length, logprobs.tokens.length);
  let at = 0;
  logprobs.tokens.forEach((t, i) => {
    assert.equal(logprobs.text_offset[i], at);
    at += [...t].length;
    assert.ok(Object.keys(logprobs.top_logprobs[i]).length <= 3);
    assert.ok(t in logprobs.top_logprobs[i]);
  });
});

test('a stop string takes its tokens with it', { skip }, async () => {
  const ask = { seed: 4, logprobs: true, grammar: 'root ::= [a-z]{4} "END"', max_tokens: 40, stop: ['END'] };
  const r = await chat(ask);
  assert.match(r.choices[0].message.content, /^[a-z]{4}$/);
  const said = r.choices[0].logprobs.content.map((t) => t.token).join('');
  assert.ok(said.startsWith(r.choices[0].message.content) && !said.includes('END'), said);
});

test('logit_bias decides, as a map and as a list, by id and by text', { skip }, async () => {
  const r = await chat({ logprobs: true, temperature: 0, max_tokens: 1, logit_bias: { 300: 100 } });
  const forced = r.choices[0].logprobs?.content?.[0]?.token ?? '';
  const list = await gateway.chat('house', 'Tell me.', { logprobs: true, temperature: 0, max_tokens: 1, logit_bias: [[300, 100]] });
  assert.equal(list.body.choices[0].logprobs.content[0]?.token ?? '', forced);
  const free = await chat({ logprobs: true, top_logprobs: 1, temperature: 0, max_tokens: 1 });
  assert.notEqual(free.choices[0].message.content, r.choices[0].message.content);
  const never = await gateway.chat('house', 'Tell me.', { temperature: 0, max_tokens: 1, logit_bias: [[300, 100], [300, false]] });
  assert.equal(never.body.choices[0].message.content, free.choices[0].message.content);
  await assert.rejects(chat({ logit_bias: { 99999999: 1 } }), (e) => e.status === 400 && /99999999/.test(e.message));
  await assert.rejects(chat({ logit_bias: { 5: 101 } }), (e) => e.status === 400 && /-100/.test(e.message));
});

test('every stage of the sampler can be asked for, and a seed repeats it', { skip }, async () => {
  const stages = [
    { typical_p: 0.5 }, { top_n_sigma: 1 }, { xtc_probability: 1, xtc_threshold: 0.01 }, { dynatemp_range: 0.5 },
    { mirostat: 1 }, { mirostat: 2, mirostat_tau: 3 }, { adaptive_target: 0.2 }, { dry_multiplier: 1, dry_sequence_breakers: ['x'] },
    { repeat_penalty: 1.3, repeat_last_n: -1 }, { min_keep: 5, top_k: 1 }, { frequency_penalty: 1, presence_penalty: 1 },
  ];
  for (const stage of stages) {
    const ask = { ...stage, seed: 11, temperature: 1.2 };
    const [a, b] = [await chat(ask), await chat(ask)];
    assert.equal(a.choices[0].message.content, b.choices[0].message.content, JSON.stringify(stage));
  }
  await assert.rejects(chat({ mirostat: 7 }), (e) => e.status === 400 && /mirostat/.test(e.message));
  const long = await chat({ ignore_eos: true, max_tokens: 60 });
  assert.equal(long.choices[0].finish_reason, 'length');
  assert.equal(long.usage.completion_tokens, 60);
});

test('a prompt over the context is 400 with both numbers and its code, on both endpoints', { skip }, async () => {
  const text = 'word '.repeat(2000);
  for (const ask of [
    () => chat({ messages: [{ role: 'user', content: text }] }),
    () => chat({ messages: [{ role: 'user', content: text }], stream: true }),
    () => chat({ messages: [{ role: 'user', content: text }], n: 3 }),
    () => client.completions.create({ model: 'house', prompt: text }),
  ])
    await assert.rejects(ask, (e) => {
      assert.equal(e.status, 400);
      assert.equal(e.code, 'context_length_exceeded');
      assert.match(e.message, /[0-9]{4,} tokens.* 256/);
      return true;
    });
});

test('an answer ends at the context, and goes on only where a shift is asked for', { skip }, async () => {
  const ask = { ignore_eos: true, max_tokens: 400, temperature: 0 };
  const stops = await chat(ask);
  assert.equal(stops.choices[0].finish_reason, 'length');
  assert.equal(stops.usage.prompt_tokens + stops.usage.completion_tokens, 256);
  const shifts = await chat({ ...ask, context_shift: true, n_keep: 4 });
  assert.equal(shifts.usage.completion_tokens, 400);
  assert.ok(shifts.choices[0].message.content.startsWith(stops.choices[0].message.content.slice(0, -8)));
});

test('a suffix is filled in before, by the model\'s own marks', { skip }, async () => {
  const ask = { model: 'fill', max_tokens: 12, temperature: 0 };
  const filled = await client.completions.create({ ...ask, prompt: 'one ', suffix: ' two' });
  const spelled = await client.completions.create({ ...ask, prompt: '<|fim_prefix|>one <|fim_suffix|> two<|fim_middle|>' });
  assert.equal(filled.usage.prompt_tokens, spelled.usage.prompt_tokens);
  assert.equal(filled.choices[0].text, spelled.choices[0].text);
  // What a prompt or suffix spells is no mark.
  const trick = await client.completions.create({ ...ask, prompt: 'one <|fim_middle|>', suffix: ' two' });
  assert.ok(trick.usage.prompt_tokens > filled.usage.prompt_tokens + 5);
});

test('filling in wants a model that has the marks for it', { skip }, async () => {
  await assert.rejects(client.completions.create({ model: 'house', prompt: 'a', suffix: 'b' }), (e) => e.status === 400 && /suffix.*prefix/s.test(e.message));
});

test('the older completions: echo, token ids, best_of; nothing is dropped in silence', { skip }, async () => {
  const complete = (more) => client.completions.create({ model: 'house', max_tokens: 4, temperature: 0, ...more });
  const plain = await complete({ prompt: 'Once upon' });
  const echoed = await complete({ prompt: 'Once upon', echo: true });
  assert.equal(echoed.choices[0].text, `Once upon${plain.choices[0].text}`);
  const ids = await complete({ prompt: [10, 20, 30] });
  assert.equal(ids.usage.prompt_tokens, 3);
  assert.equal((await complete({ prompt: 'a', n: 2, best_of: 2 })).choices.length, 2);
  for (const more of [{ prompt: 'a', best_of: 3 }, { prompt: 'a', n: 3, best_of: 2 }, { prompt: [1, 99999999] }, { prompt: 'a', echo: true, logprobs: 1 }])
    await assert.rejects(complete(more), (e) => e.status === 400, JSON.stringify(more));
});

test('weir run takes the sampler\'s numbers, and says what it does not know', { skip }, () => {
  const run = (...args) => spawnSync(weir, ['run', join(gateway.folder, 'fill.gguf'), 'one ', '--raw', '--max-tokens', '8', '--seed', '3', ...args]);
  const one = run('--sampling', 'mirostat=2,mirostat_tau=3', '--suffix', ' two');
  assert.equal(one.status, 0, one.stderr.toString());
  assert.equal(one.stdout.toString(), run('--sampling', 'mirostat=2,mirostat_tau=3', '--suffix', ' two').stdout.toString());
  for (const bad of ['mirostat=3', 'nonsense=1', 'top_p', '=1'])
    assert.equal(run('--sampling', bad).status, 2, bad);
});

test('a provider is asked for the same and its answer comes back', { skip }, async () => {
  cloud.requests.length = 0;
  const r = await chat({ model: 'cloudy', logit_bias: { 7: -5 }, seed: 3, n: 1, logprobs: true, top_logprobs: 2 });
  assert.equal(r.choices.length, 1);
  const sent = cloud.requests.at(-1);
  const body = typeof sent.body === 'string' ? JSON.parse(sent.body) : sent.body;
  assert.deepEqual([body.logprobs, body.top_logprobs, body.logit_bias, body.seed], [true, 2, { 7: -5 }, 3]);
  await assert.rejects(client.completions.create({ model: 'cloudy', prompt: [1, 2] }), (e) => e.status === 400 && /token ids/.test(e.message));
});

test('what is predicted of an answer changes nothing in it, and is counted', { skip }, async () => {
  const plain = await chat({ temperature: 0, max_tokens: 60 });
  const text = plain.choices[0].message.content;
  for (const content of [text, [{ type: 'text', text: text.slice(0, 20) }, { type: 'text', text: text.slice(20) }]]) {
    const predicted = await chat({ temperature: 0, max_tokens: 60, prediction: { type: 'content', content } });
    assert.equal(predicted.choices[0].message.content, text);
    const details = predicted.usage.completion_tokens_details;
    // Random text splits into other tokens than it was drawn as.
    assert.ok(details.accepted_prediction_tokens > 0, JSON.stringify(predicted.usage));
    assert.ok(details.rejected_prediction_tokens >= 0);
  }
  const wrong = await chat({ temperature: 0, max_tokens: 30, prediction: { type: 'content', content: 'zebra '.repeat(50) } });
  assert.equal(wrong.choices[0].message.content, (await chat({ temperature: 0, max_tokens: 30 })).choices[0].message.content);
  assert.ok(wrong.usage.completion_tokens_details.rejected_prediction_tokens > 0);
  // Said more than once, in tokens that are no single bytes: what was not said was counted below zero, which ended the worker.
  const noBytes = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [40 + i, -100]));
  const twice = await chat({ temperature: 0, max_tokens: 60, logit_bias: noBytes, grammar: 'root ::= "1234567" "01234567" "01234567"', prediction: { type: 'content', content: '01234567' } });
  assert.equal(twice.choices[0].message.content, '12345670123456701234567');
  assert.equal(twice.usage.completion_tokens_details.rejected_prediction_tokens, 0);
  await assert.rejects(chat({ prediction: { type: 'content' } }), (e) => e.status === 400 && /'prediction'/.test(e.message));
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  assert.match(metrics, /^weir_engine_draft_tokens_total\{model="house"\} \d+/m);
  assert.match(metrics, /^weir_engine_draft_drawn_tokens_total\{model="house"\} \d+/m);
});

test('a draft model changes no answer; one with other tokens is refused by name', { skip }, async () => {
  const folder = makeFolder();
  const model = makeModel(folder);
  makeModel(folder, 'small.gguf', ['--layers', '1', '--seed', '9']);
  makeModel(folder, 'alien.gguf', ['--tokenizer', 'gpt2', '--pre', 'qwen2']);
  const drafted = await Gateway.start(
    `models:
  - {name: small, file: ${folder}/small.gguf, context: 256, threads: 1}
  - {name: plain, file: ${model}, context: 256, slots: 2, threads: 1, speculate: off}
  - {name: drafted, file: ${model}, context: 256, slots: 2, threads: 1, draft: small}
  - {name: by-itself, file: ${model}, context: 256, slots: 2, threads: 1, draft: ${model}}
  - {name: alien, file: ${model}, context: 256, slots: 2, threads: 1, draft: ${folder}/alien.gguf}
`,
    { folder },
  );
  const own = new OpenAI({ baseURL: `${drafted.url}/v1`, apiKey: 'none', maxRetries: 0 });
  const ask = (name, more) => own.chat.completions.create({ model: name, messages, max_tokens: 60, ...more });
  for (const more of [{ temperature: 0 }, { seed: 4 }, { seed: 5, n: 2, temperature: 1.3 }, { seed: 6, response_format: { type: 'json_object' } }]) {
    const texts = async (name) => (await ask(name, more)).choices.map((c) => c.message.content);
    const plain = await texts('plain');
    assert.deepEqual(await texts('drafted'), plain);
    assert.deepEqual(await texts('by-itself'), plain);
  }
  await assert.rejects(ask('alien'), (e) => /draft model .*same vocabulary/.test(e.message));
  const metrics = await (await fetch(`${drafted.url}/metrics`)).text();
  assert.ok(Number(metrics.match(/^weir_engine_draft_tokens_total\{model="by-itself"\} (\d+)/m)[1]) > 0, metrics);
  const run = (...args) => spawnSync(weir, ['run', model, 'one ', '--raw', '--max-tokens', '20', '--seed', '3', ...args]);
  assert.equal(run('--draft', join(folder, 'small.gguf')).stdout.toString(), run().stdout.toString());
  assert.match(run('--draft', join(folder, 'alien.gguf')).stderr.toString(), /draft model/);
  await drafted.stop();
});

test('a layer that drafts changes no answer, is counted and shown; so is a draft model\'s memory', { skip }, async () => {
  const folder = makeFolder();
  const glm = (name, ...args) => makeModel(folder, name, ['--arch', 'glm4', '--nextn', ...args]);
  const chain = glm('chain.gguf', '--chain'), random = glm('random.gguf'), half = join(folder, 'half.gguf');
  writeFileSync(half, Buffer.from(readFileSync(chain).toString('latin1').replace('nextn.enorm', 'nextn.other'), 'latin1'));
  const served = await Gateway.start(
    `models:
  - {name: plain, file: ${chain}, context: 256, slots: 2, threads: 1, speculate: off}
  - {name: drafts, file: ${chain}, context: 256, slots: 2, threads: 1}
  - {name: guesses, file: ${random}, context: 256, slots: 2, threads: 1}
  - {name: guessed, file: ${random}, context: 256, slots: 2, threads: 1, speculate: off}
  - {name: two, file: ${random}, context: 256, threads: 1, draft: ${chain}}
  - {name: half, file: ${half}, context: 256, slots: 2, threads: 1}
`,
    { folder },
  );
  const own = new OpenAI({ baseURL: `${served.url}/v1`, apiKey: 'none', maxRetries: 0 });
  const texts = async (name, more) => (await own.chat.completions.create({ model: name, messages, max_tokens: 100, ...more })).choices.map((c) => c.message.content);
  for (const more of [{ temperature: 0 }, { seed: 4, n: 2, temperature: 0.3 }, { seed: 6, response_format: { type: 'json_object' } }]) {
    assert.deepEqual(await texts('drafts', more), await texts('plain', more));
    assert.deepEqual(await texts('guesses', more), await texts('guessed', more));
    assert.deepEqual(await texts('half', more), await texts('plain', more));
  }
  const metrics = await (await fetch(`${served.url}/metrics`)).text();
  const drawn = (name) => Number(metrics.match(new RegExp(`^weir_engine_draft_drawn_tokens_total\\{model="${name}"\\} (\\d+)`, 'm'))?.[1] ?? 0);
  assert.ok(drawn('drafts') > 20, metrics);
  const show = (...args) => spawnSync(weir, ['show', ...args], { cwd: folder }).stdout.toString();
  assert.match(show('chain.gguf'), /drafts +yes, by a layer of its own/);
  assert.match(show('half.gguf'), /runs here: yes[^]*drafts +no, .*lacks the tensor 'blk\.\d+\.nextn\.enorm\.weight'/);
  const memory = (...args) => JSON.parse(show(...args, '--json')).fit.memory.contexts[0];
  assert.ok(memory('two', '--config', 'weir.yaml').total > 1.5 * memory('random.gguf').total);
  assert.match(show('two', '--config', 'weir.yaml'), /draft model +yes, glm4/);
  await served.stop();
});

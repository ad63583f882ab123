// Requests that take more than one call: n answers of an API that gives one at a time, lists of prompts, more texts to
// embed than an API takes at once.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Cloud } from './lib/cloud.mjs';
import { Gateway, events, makeFolder, makeModel, sleep } from './lib/gateway.mjs';

const load = (name) => import(name).then((m) => m.default, () => null);
const [OpenAI] = await Promise.all(['openai'].map(load));
const skip = OpenAI ? false : 'the official clients are not installed';
let cloud, gateway, client;

before(async () => {
  cloud = await Cloud.start();
  const folder = makeFolder();
  gateway = await Gateway.start(
    `on_sensitive: local
providers:
  o: {kind: openai, base_url: "${cloud.url}/v1", retries: 0}
  a: {kind: anthropic, base_url: "${cloud.url}", retries: 0}
  g: {kind: gemini, base_url: "${cloud.url}", retries: 0}
  l: {kind: ollama, base_url: "${cloud.url}", retries: 0}
  b: {kind: bedrock, base_url: "${cloud.url}", region: us-east-1, api_key: "\${SIM_KEY}", retries: 0}
models:
  - {name: house, file: ${makeModel(folder)}, context: 256, slots: 2}
  - {name: gpt, provider: o, price: {input: 1, output: 1}}
  - {name: claude, provider: a, price: {input: 1, output: 1}}
  - {name: narrow, provider: a, max_in_flight: 1, queue: {length: 9, timeout: 20s}}
  - {name: gem, provider: g, price: {input: 1, output: 1}}
  - {name: oll, provider: l, price: {input: 1, output: 1}}
  - {name: titan, provider: b, model: "amazon.titan-embed-text-v2:0", price: {input: 1, output: 0}}
routes:
  - {name: auto, rules: [{name: home, when: {sensitive: true}, use: [house], boundary: local}, {name: masked, when: {tag: masked}, use: [gpt]}, {name: out, use: [claude, gpt]}]}
  - {name: masks, rules: [{use: [claude], redact: true}]}
`,
    { folder, env: { SIM_KEY: 'sk-simulated' } },
  );
  client = OpenAI && new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'none', maxRetries: 0 });
});
after(async () => {
  await gateway.stop();
  await cloud.stop();
});
const asked = async (run) => {
  const from = cloud.requests.length;
  return [await run(), cloud.requests.slice(from)];
};

test('n answers of an API that gives one at a time were refused', { skip }, async () => {
  for (const model of ['claude', 'oll']) {
    let k = 0;
    cloud.behaviour = () => ({ text: [`answer ${k++}`], usage: { input: 7, output: 2, cached: 0 } });
    const [r, calls] = await asked(() => client.chat.completions.create({ model, n: 3, messages: [{ role: 'user', content: 'hi' }] }).withResponse());
    assert.equal(calls.length, 3, model);
    assert.deepEqual(r.data.choices.map((c) => [c.index, c.finish_reason]), [[0, 'stop'], [1, 'stop'], [2, 'stop']]);
    assert.deepEqual(r.data.choices.map((c) => c.message.content).sort(), ['answer 0', 'answer 1', 'answer 2']);
    assert.deepEqual([r.data.usage.prompt_tokens, r.data.usage.completion_tokens], [21, 6], 'what it is billed: each call reads the prompt');
    const id = r.response.headers.get('x-request-id');
    const row = gateway.audit('ledger').find((x) => x.request_id === id);
    assert.deepEqual([row.input_tokens, row.output_tokens, row.outcome], [21, 6, 'ok']);
    assert.ok(Math.abs(row.cost_usd - 27e-6) < 1e-9, `${row.cost_usd}`);
    assert.equal(gateway.audit('egress').filter((x) => x.request_id === id).length, 3, 'each call is on the record');
  }
});

test('one that gives several is asked once', { skip }, async () => {
  cloud.behaviour = { text: ['a'] };
  for (const model of ['gpt', 'gem']) {
    const [, calls] = await asked(() => gateway.chat(model, 'hi', { n: 2, stream: true }));
    assert.equal(calls.length, 1);
    assert.equal(model === 'gpt' ? calls[0].body.n : calls[0].body.generationConfig.candidateCount, 2);
  }
});

test('streams of several answers, with tool calls of their own', { skip }, async () => {
  let k = 0;
  cloud.behaviour = () => ({ text: ['a', 'b'], gap: 5, tools: [{ id: `call_${k}`, name: 'f', arguments: [`{"k":`, `${k++}}`] }], usage: { input: 7, output: 2 } });
  const tools = [{ type: 'function', function: { name: 'f', parameters: { type: 'object', properties: { k: { type: 'integer' } } } } }];
  const runner = client.chat.completions.stream({ model: 'claude', n: 3, tools, messages: [{ role: 'user', content: 'hi' }], stream_options: { include_usage: true } });
  const { choices, usage } = await runner.finalChatCompletion();
  assert.deepEqual(choices.map((c) => [c.index, c.message.content, c.finish_reason]), [0, 1, 2].map((i) => [i, 'ab', 'tool_calls']));
  assert.deepEqual(choices.map((c) => JSON.parse(c.message.tool_calls[0].function.arguments).k).sort(), [0, 1, 2]);
  assert.deepEqual([usage.prompt_tokens, usage.completion_tokens], [21, 6]);
});

test('max_in_flight holds for the calls, too', { skip }, async () => {
  let now = 0, most = 0;
  cloud.behaviour = (request, body) => ({ handle: async (q, r) => {
    most = Math.max(most, ++now);
    await sleep(15);
    now--;
    r.writeHead(200, { 'content-type': 'application/json' });
    r.end(JSON.stringify({ id: 'm', type: 'message', role: 'assistant', model: 'm', content: [{ type: 'text', text: 'a' }], stop_reason: 'end_turn', usage: { input_tokens: 1, output_tokens: 1 } }));
  } });
  const [all, calls] = await asked(() => Promise.all([1, 2, 3].map(() => gateway.chat('narrow', 'hi', { n: 3 }))));
  assert.deepEqual(all.map((r) => [r.status, r.body.choices.length]), [[200, 3], [200, 3], [200, 3]]);
  assert.deepEqual([calls.length, most], [9, 1]);
});

test('each answer has a seed of its own', { skip }, async () => {
  cloud.behaviour = { text: ['a'] };
  const [, calls] = await asked(() => gateway.chat('oll', 'hi', { n: 3, seed: 40 }));
  assert.deepEqual(calls.map((c) => c.body.options.seed).sort(), [40, 41, 42]);
});

test('where one of the calls fails, the next target answers all', { skip }, async () => {
  let k = 0;
  cloud.behaviour = (request) => (request.url.endsWith('/messages') && k++ === 1 ? { mode: 'status', status: 500 } : { text: ['fine'], delay: 20 });
  const r = await gateway.chat('auto', 'hi', { n: 3 });
  assert.equal(r.headers.get('x-weir-model'), 'gpt');
  // What cannot be asked for is named as ever.
  const refused = await gateway.chat('claude', 'hi', { n: 2, logprobs: true });
  assert.equal(refused.status, 400);
  assert.match(refused.body.error.message, /'logprobs'/);
});

test('a client that leaves ends all the calls, and what they cost is kept', { skip }, async () => {
  cloud.behaviour = { text: Array(200).fill('word '), gap: 20, usage: { input: 7, output: 200 } };
  const before = cloud.aborted, from = cloud.requests.length;
  const controller = new AbortController();
  const s = await client.chat.completions.create({ model: 'claude', n: 3, stream: true, messages: [{ role: 'user', content: 'hi' }] }, { signal: controller.signal });
  let pieces = 0;
  try {
    for await (const chunk of s) if (chunk.choices[0]?.delta.content && ++pieces === 6) controller.abort();
  } catch {
    // aborted
  }
  for (let i = 0; i < 200 && cloud.aborted < before + 3; i++) await sleep(20);
  assert.deepEqual([cloud.requests.length - from, cloud.aborted - before], [3, 3]);
  let row;
  for (let i = 0; i < 100 && !row; i++) {
    row = gateway.audit('ledger').find((x) => x.outcome === 'cancelled' || x.outcome === 'client_gone');
    await sleep(20);
  }
  assert.equal(row.input_tokens, 21, JSON.stringify(row));
  assert.ok(row.output_tokens >= 6);
});

test('a list of prompts was refused', { skip }, async () => {
  cloud.behaviour = (request, body) => ({ handle: (q, r) => {
    const n = body.n ?? 1;
    r.writeHead(200, { 'content-type': 'application/json' });
    r.end(JSON.stringify({ id: 'c', object: 'text_completion', model: 'm', choices: Array.from({ length: n }, (_, index) => ({ index, text: `${body.prompt}!${index}`, finish_reason: 'stop' })), usage: { prompt_tokens: 3, completion_tokens: n, total_tokens: 3 + n } }));
  } });
  const [r, calls] = await asked(() => client.completions.create({ model: 'gpt', prompt: ['a', 'b', 'c'], n: 2 }));
  assert.equal(calls.length, 3);
  assert.deepEqual(r.choices.map((c) => [c.index, c.text]), [[0, 'a!0'], [1, 'a!1'], [2, 'b!0'], [3, 'b!1'], [4, 'c!0'], [5, 'c!1']]);
  assert.deepEqual([r.usage.prompt_tokens, r.usage.completion_tokens], [9, 6]);
  const many = await client.completions.create({ model: 'gpt', prompt: Array.from({ length: 40 }, (_, i) => `p${i}`) });
  assert.deepEqual(many.choices.map((c) => c.text), Array.from({ length: 40 }, (_, i) => `p${i}!0`));
  for (const prompt of [[], ['a', 5], Array(129).fill('x'), [['a']], [[]]])
    await assert.rejects(client.completions.create({ model: 'gpt', prompt }), (e) => e.status === 400 && /'prompt'/.test(e.message), JSON.stringify(prompt).slice(0, 40));
});

test('what one call says beside its usage was told of all', { skip }, async () => {
  cloud.behaviour = (request, body) => ({ handle: (q, r) => {
    r.writeHead(200, { 'content-type': 'application/json' });
    r.end(JSON.stringify({ id: 'c', object: 'text_completion', model: 'm', system_fingerprint: 'fp', choices: [{ index: 0, text: 'a', finish_reason: 'stop' }], usage: { prompt_tokens: 3, completion_tokens: 1, total_tokens: 4, cost: 0.5 } }));
  } });
  const one = await client.completions.create({ model: 'gpt', prompt: 'a' });
  const two = await client.completions.create({ model: 'gpt', prompt: ['a', 'b'] });
  assert.deepEqual([one.usage.cost, two.usage.cost, two.usage.total_tokens], [0.5, undefined, 8]);
  assert.equal(two.system_fingerprint, 'fp');
});

test('a list of prompts for the embedded engine: the same answers as one by one, also of token ids', { skip }, async () => {
  const ask = (prompt, more) => client.completions.create({ model: 'house', prompt, temperature: 0, max_tokens: 6, ...more });
  const prompts = ['Once upon', 'The', 'A third one'];
  const alone = [];
  for (const p of prompts) alone.push((await ask(p)).choices[0].text);
  const all = await ask(prompts);
  assert.deepEqual(all.choices.map((c) => [c.index, c.text]), alone.map((t, i) => [i, t]));
  const ids = [[5, 6, 7], [8, 9]];
  const [x, y] = [(await ask(ids[0])).choices[0].text, (await ask(ids[1])).choices[0].text];
  assert.deepEqual((await ask(ids)).choices.map((c) => c.text), [x, y]);
  const streamed = events((await gateway.post('/v1/completions', { model: 'house', prompt: prompts, temperature: 0, max_tokens: 6, stream: true })).body);
  const texts = prompts.map((_, i) => streamed.filter((e) => e.choices?.[0]?.index === i).map((e) => e.choices[0].text).join(''));
  assert.deepEqual(texts, alone);
  const refused = await gateway.post('/v1/completions', { model: 'gpt', prompt: [[1, 2], [3]] });
  assert.equal(refused.status, 400);
  assert.match(refused.body.error.message, /token ids goes to no cloud/);
});

test('all of a list of prompts is looked at, and masked', { skip }, async () => {
  cloud.behaviour = { text: ['ok'] };
  const secret = 'my card is 4539 1488 0343 6467';
  const home = await gateway.post('/v1/completions', { model: 'auto', prompt: ['hello', secret], max_tokens: 4 });
  assert.deepEqual([home.status, home.headers.get('x-weir-model')], [200, 'house']);
  const [, calls] = await asked(() => gateway.post('/v1/completions', { model: 'masks', prompt: ['hello', secret], max_tokens: 4 }));
  assert.equal(calls.length, 2);
  assert.ok(!JSON.stringify(calls.map((c) => c.body)).includes('4539 1488'));
  assert.ok(JSON.stringify(calls.map((c) => c.body)).includes('my card is'));
  // A value that one prompt begins and the next one ends.
  const cut = await gateway.post('/v1/completions', { model: 'auto', prompt: ['my card is 4539 1488', '0343 6467'], max_tokens: 4 });
  assert.equal(cut.headers.get('x-weir-model'), 'house');
});

test('more texts than an API embeds at once were refused: they come in their order, whichever call ends first', { skip }, async () => {
  const texts = Array.from({ length: 30 }, (_, i) => `text ${i}`);
  const vectorOf = (text) => [Number(text.slice(5)), 1];
  cloud.behaviour = (request, body) => ({ handle: async (q, r) => {
    const titan = q.url.includes('/invoke');
    await sleep(titan ? (Number(body.inputText.slice(5)) % 5) * 8 : 1);
    r.writeHead(200, { 'content-type': 'application/json' });
    r.end(JSON.stringify(titan ? { embedding: vectorOf(body.inputText), inputTextTokenCount: 3 }
      : { embeddings: body.requests.map((x) => ({ values: vectorOf(x.content.parts[0].text) })) }));
  } });
  const [r, calls] = await asked(() => client.embeddings.create({ model: 'titan', input: texts, encoding_format: 'float' }).withResponse());
  assert.equal(calls.length, 30);
  assert.deepEqual(r.data.data.map((d) => [d.index, ...d.embedding]), texts.map((t, i) => [i, ...vectorOf(t)]));
  assert.equal(r.data.usage.prompt_tokens, 90);
  const ollama = (await gateway.post('/api/embed', { model: 'titan', input: texts })).body; // has no indexes but their order
  assert.deepEqual(ollama.embeddings.map((e) => e[0] / e[1]).map(Math.round), texts.map((_, i) => i));
  const many = Array.from({ length: 250 }, (_, i) => `text ${i}`);
  const [g, sent] = await asked(() => client.embeddings.create({ model: 'gem', input: many }));
  assert.deepEqual(sent.map((c) => c.body.requests.length).sort((a, b) => a - b), [50, 100, 100]);
  assert.deepEqual(g.data.map((d) => d.embedding[0]), many.map((_, i) => i));
});

test('one of the calls that embed fails: so does the request', { skip }, async () => {
  cloud.behaviour = (request, body) => (body.inputText === 'text 3' ? { mode: 'status', status: 400, error: { message: 'too long' } } : { handle: (q, r) => r.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ embedding: [1, 2] })) });
  const r = await gateway.post('/v1/embeddings', { model: 'titan', input: Array.from({ length: 20 }, (_, i) => `text ${i}`) });
  assert.equal(r.status, 400);
  assert.match(r.body.error.message, /too long/);
});

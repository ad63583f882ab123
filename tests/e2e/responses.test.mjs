// OpenAI's Responses by its official client, unchanged, served by every kind of target.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { Cloud } from './lib/cloud.mjs';
import { Gateway, makeFolder, makeModel, sleep, weir } from './lib/gateway.mjs';
import { createKey } from './lib/verbs.mjs';

const OpenAI = await import('openai').then((m) => m.default, () => null);
const skip = OpenAI ? false : 'the official clients are not installed';
let cloud, gateway, client;

before(async () => {
  if (skip) return;
  cloud = await Cloud.start();
  const folder = makeFolder();
  gateway = await Gateway.start(
    `providers:
  sim: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${SIM_KEY}"}
  other: {kind: anthropic, base_url: "${cloud.url}", api_key: "\${SIM_KEY}"}
  third: {kind: gemini, base_url: "${cloud.url}/v1beta", api_key: "\${SIM_KEY}"}
models:
  - {name: house, file: "${makeModel(folder)}", context: 2048}
  - {name: gpt, provider: sim, model: gpt-5-sim}
  - {name: claude, provider: other, model: claude-sonnet-4-5}
  - {name: gemini, provider: third, model: gemini-sim}
`,
    { env: { SIM_KEY: 'sk-simulated' }, folder },
  );
  client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'none', maxRetries: 0 });
});

after(async () => {
  if (skip) return;
  await gateway.stop();
  await cloud.stop();
});

const clouds = ['gpt', 'claude', 'gemini'];
const body = () => cloud.requests.at(-1).body;

// The raw events of a stream, as they go over the wire.
async function events(request) {
  const r = await fetch(`${gateway.url}/v1/responses`, {
    method: 'POST', headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ input: 'Say hello.', stream: true, ...request }) });
  return (await r.text()).trim().split('\n\n').map((e, i) => {
    const [, name, data] = /^event: (\S+)\ndata: (.*)$/.exec(e);
    assert.equal(JSON.parse(data).type, name);
    assert.equal(JSON.parse(data).sequence_number, i);
    return JSON.parse(data);
  });
}

// It was dropped in silence.
test('include_obfuscation hides how long pieces are, and is not there unless it is asked for', { skip }, async () => {
  const chat = async (stream_options, model) => {
    const r = await gateway.post('/v1/chat/completions', { model, stream: true, stream_options, max_tokens: 8, messages: [{ role: 'user', content: 'Say hello.' }] });
    return r.body.split('\n\n').filter((e) => e.startsWith('data: {'));
  };
  for (const model of ['house', ...clouds]) {
    cloud.behaviour = { text: ['a', ' rather long piece', ' of', ' text, and a long one "quoted" at the end of it all'] };
    const hidden = await chat({ include_obfuscation: true }, model);
    assert.ok(hidden.length > 4 && hidden.every((e) => JSON.parse(e.slice(6)).obfuscation.length > 0));
    assert.equal(new Set(hidden.map((e) => Buffer.byteLength(e.slice(6)) % 64)).size, 1);
    assert.ok((await chat({ include_obfuscation: false }, model)).every((e) => !('obfuscation' in JSON.parse(e.slice(6)))));
    const told = (await events({ model, max_output_tokens: 16, stream_options: { include_obfuscation: true } })).filter((e) => e.type === 'response.output_text.delta');
    assert.ok(told.length > 2 && told.every((e) => e.obfuscation.length > 0));
  }
});

// It was taken for 'context_shift', which lengthens answers: a long conversation was refused all the same, and clouds
// refused it under that name.
test("truncation: 'auto' leaves out the oldest turns here, and is refused by its own name elsewhere", { skip }, async () => {
  const turns = (n) => Array.from({ length: n }, (_, i) => [
    { role: 'user', content: `Question ${i} ${'word '.repeat(60)}` }, { role: 'assistant', content: 'Yes.' }]).flat();
  const input = (n) => [{ role: 'developer', content: 'Be kind.' }, ...turns(n), { role: 'user', content: 'The last one?' }];
  const ask = (n, truncation, model = 'house') => client.responses.create({ model, input: input(n), truncation, max_output_tokens: 16 });
  await assert.rejects(ask(40, 'disabled'), /context holds 2048/);
  const cut = await ask(40, 'auto');
  const used = cut.usage.input_tokens;
  assert.ok(used <= 2048 * 7 / 8 && used > 2048 * 5 / 8, `${used} tokens: as many turns as there is room for`);
  assert.equal(cut.truncation, 'auto');
  assert.equal((await ask(2, 'auto')).usage.input_tokens, (await ask(2, 'disabled')).usage.input_tokens);
  await assert.rejects(client.responses.create({ model: 'house', input: 'word '.repeat(3000), truncation: 'auto' }), /context holds 2048/);
  for (const model of clouds) await assert.rejects(ask(1, 'auto', model), (e) => e.status === 400 && /'truncation'/.test(e.message));
  await assert.rejects(ask(1, 'some'), /'truncation' must be auto or disabled/);
});

for (const model of clouds) {
  test(`${model}: a whole response`, { skip }, async () => {
    cloud.behaviour = { usage: { input: 20, output: 4, cached: 5 } };
    const { data: r, response } = await client.responses.create({
      model, input: 'Say hello.', instructions: 'Be kind.', metadata: { a: 'b' }, max_output_tokens: 64 }).withResponse();
    assert.match(r.id, /^resp_/);
    assert.equal(r.object, 'response');
    assert.equal(r.status, 'completed');
    assert.equal(r.output_text, 'Hello from the cloud');
    assert.deepEqual(r.output.map((o) => [o.type, o.role, o.status]), [['message', 'assistant', 'completed']]);
    assert.equal(r.instructions, 'Be kind.');
    assert.deepEqual(r.metadata, { a: 'b' });
    assert.equal(r.max_output_tokens, 64);
    const whole = model === 'claude' ? 25 : 20; // Anthropic's own count leaves the cached ones out
    assert.deepEqual(r.usage, { input_tokens: whole, input_tokens_details: { cached_tokens: 5 }, output_tokens: 4,
      output_tokens_details: { reasoning_tokens: 0 }, total_tokens: whole + 4 });
    assert.equal(response.headers.get('x-weir-model'), model);
    for (const piece of ['Be kind.', 'Say hello.']) assert.ok(JSON.stringify(body()).includes(piece));
    cloud.behaviour = {};
  });

  test(`${model}: a stream, its events in order`, { skip }, async () => {
    const got = await events({ model });
    assert.deepEqual(got.map((e) => e.type.replace('response.', '')), ['created', 'in_progress', 'output_item.added',
      'content_part.added', ...Array(4).fill('output_text.delta'), 'output_text.done', 'content_part.done',
      'output_item.done', 'completed']);
    assert.equal(got.at(-1).response.usage.input_tokens, 7);
    const final = await client.responses.stream({ model, input: 'Say hello.' }).finalResponse();
    assert.equal(final.output_text, 'Hello from the cloud');
    assert.equal(final.usage.output_tokens, 4);
  });

  test(`${model}: parallel tool calls, whole, streamed and answered`, { skip }, async () => {
    cloud.behaviour = { text: ['Let me see.'], tools: [
      { id: 'call_1', name: 'weather', arguments: ['{"city"', ':"Bern"}'] },
      { id: 'call_2', name: 'time', arguments: ['{}'] }] };
    const tools = ['weather', 'time'].map((name) => ({ type: 'function', name, description: name, strict: false,
      parameters: { type: 'object', properties: { city: { type: 'string' } } } }));
    const ask = { model, input: [{ role: 'user', content: 'Weather?' }], tools };
    const seen = (r) => r.output.map((o) => [o.type, o.call_id, o.name, o.arguments && JSON.parse(o.arguments)]);
    const want = [['message', undefined, undefined, undefined], ['function_call', 'call_1', 'weather', { city: 'Bern' }],
      ['function_call', 'call_2', 'time', {}]];
    const r = await client.responses.create(ask);
    assert.deepEqual(seen(r), want);
    assert.deepEqual(seen(await client.responses.stream(ask).finalResponse()), want);
    cloud.behaviour = {};
    await client.responses.create({ ...ask, input: [...ask.input, ...r.output,
      { type: 'function_call_output', call_id: 'call_1', output: 'sunny' },
      { type: 'function_call_output', call_id: 'call_2', output: [{ type: 'input_text', text: 'no clock' }] },
      { role: 'user', content: [{ type: 'input_text', text: 'Well?' }] }] });
    const sent = JSON.stringify(body());
    for (const piece of ['Let me see.', 'sunny', 'no clock', 'Well?', 'Bern']) assert.ok(sent.includes(piece), piece);
  });

  test(`${model}: an image`, { skip }, async () => {
    await client.responses.create({ model, input: [{ role: 'user', content: [
      { type: 'input_image', image_url: 'data:image/png;base64,iVBORw0KGgo=', detail: 'auto' },
      { type: 'input_text', text: 'What is it?' }] }] });
    const sent = JSON.stringify(body());
    assert.ok(sent.includes('iVBORw0KGgo=') && sent.includes('image/png'));
  });

  test(`${model}: an error of the provider has the client's own class`, { skip }, async () => {
    const want = { 400: OpenAI.BadRequestError, 429: OpenAI.RateLimitError, 500: OpenAI.InternalServerError };
    for (const [status, kind] of Object.entries(want)) {
      cloud.behaviour = { mode: 'status', status: +status };
      for (const stream of [false, true]) {
        const e = await client.responses.create({ model, input: 'x', stream }).then(() => null, (x) => x);
        assert.ok(e instanceof kind, `${status}: ${e}`);
      }
    }
    cloud.behaviour = {};
  });

  test(`${model}: a stream that breaks ends with an error and a failed response`, { skip }, async () => {
    cloud.behaviour = { mode: 'truncate' };
    const got = await events({ model });
    assert.deepEqual(got.slice(-2).map((e) => e.type), ['error', 'response.failed']);
    assert.ok(got.at(-2).message.length > 0);
    assert.equal(got.at(-1).response.status, 'failed');
    assert.equal(got.at(-1).response.error.message, got.at(-2).message);
    cloud.behaviour = {};
  });

  test(`${model}: a client that leaves ends the provider's stream`, { skip }, async () => {
    cloud.behaviour = { text: Array(400).fill('word '), gap: 20 };
    const before = cloud.aborted;
    const stream = await client.responses.create({ model, input: 'x', stream: true });
    for await (const e of stream) if (e.type === 'response.output_text.delta') break;
    stream.controller.abort();
    for (let i = 0; i < 300 && cloud.aborted === before; i++) await sleep(50);
    assert.equal(cloud.aborted, before + 1);
    cloud.behaviour = {};
  });
}

test('structured output in the words of chat completions', { skip }, async () => {
  const schema = { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'], additionalProperties: false };
  cloud.behaviour = { text: ['{"n"', ':1}'] };
  const r = await client.responses.parse({ model: 'gpt', input: 'x', reasoning: { effort: 'low' },
    text: { format: { type: 'json_schema', name: 'number', strict: true, schema }, verbosity: 'low' } });
  assert.deepEqual(JSON.parse(r.output_text), { n: 1 });
  assert.deepEqual(body().response_format, { type: 'json_schema', json_schema: { name: 'number', strict: true, schema } });
  assert.equal(body().reasoning_effort, 'low');
  assert.equal(body().verbosity, 'low');
  cloud.behaviour = {};
});

test('reasoning goes back to its maker with its signature', { skip }, async () => {
  cloud.behaviour = { blocks: [{ type: 'thinking', thinking: 'Let me think', signature: 'c2ln' },
    { type: 'redacted_thinking', data: 'eHl6' }, { type: 'text', text: 'Done' }] };
  const ask = { model: 'claude', input: [{ role: 'user', content: 'Think.' }], reasoning: { effort: 'medium' },
    max_output_tokens: 4000, include: ['reasoning.encrypted_content'], store: false };
  const r = await client.responses.create(ask);
  assert.deepEqual(r.output.map((o) => o.type), ['reasoning', 'reasoning', 'message']);
  assert.deepEqual(r.output[0].content, [{ type: 'reasoning_text', text: 'Let me think' }]);
  const kinds = (await events({ ...ask, reasoning: { effort: 'medium', summary: 'auto' } })).map((e) => e.type);
  assert.ok(kinds.includes('response.reasoning_summary_text.delta') && !kinds.includes('response.reasoning_text.delta'));
  cloud.behaviour = {};
  await client.responses.create({ ...ask, input: [...ask.input, ...r.output, { role: 'user', content: 'So?' }] });
  assert.deepEqual(body().messages[1].content.slice(0, 2), [
    { type: 'thinking', thinking: 'Let me think', signature: 'c2ln' }, { type: 'redacted_thinking', data: 'eHl6' }]);
  await client.responses.create({ ...ask, model: 'gpt', input: [...ask.input, ...r.output, { role: 'user', content: 'So?' }] });
  assert.ok(!JSON.stringify(body()).includes('c2ln'), 'a signature is for its maker alone');
});

test('what cannot be honoured is refused by name', { skip }, async () => {
  const cases = { background: true, conversation: 'c', tools: [{ type: 'web_search' }], prompt: { id: 'p' }, unheard_of: 1 };
  const before = cloud.requests.length;
  for (const [key, value] of Object.entries(cases)) {
    const e = await client.responses.create({ model: 'gpt', input: 'x', [key]: value }).then(() => null, (x) => x);
    assert.ok(e instanceof OpenAI.BadRequestError && e.message.includes(key === 'tools' ? 'web_search' : key), `${key}: ${e}`);
  }
  assert.equal(cloud.requests.length, before);
});

test('the local model: whole, streamed, cut off', { skip }, async () => {
  const ask = { model: 'house', input: 'Once upon a time', max_output_tokens: 8, temperature: 0 };
  const r = await client.responses.create(ask);
  assert.ok(r.output_text.length > 0 && r.usage.output_tokens > 0 && r.usage.input_tokens > 0);
  assert.equal(r.status, r.usage.output_tokens === 8 ? 'incomplete' : 'completed');
  if (r.status === 'incomplete') assert.deepEqual(r.incomplete_details, { reason: 'max_output_tokens' });
  const final = await client.responses.stream(ask).finalResponse();
  assert.equal(final.output_text, r.output_text);
  assert.equal(final.status, r.status);
});

// ---- Responses that are kept ----

async function withKeeper(retention, run, { auth = false, more = '' } = {}) {
  const folder = makeFolder();
  const env = { SIM_KEY: 'sk-simulated' };
  const key = (name) => createKey(folder, '--name', name);
  const keys = auth ? [key('one'), key('two')] : ['none'];
  const keeper = await Gateway.start(
    `${more}${auth ? 'auth: keys\n' : ''}retention: {content: ${retention}}
providers: {sim: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${SIM_KEY}"}}
models:
  - {name: house, file: "${makeModel(folder)}", context: 2048}
  - {name: gpt, provider: sim, model: gpt-5-sim}
`, { env, folder, wait: !auth });
  try {
    await run(keys.map((apiKey) => new OpenAI({ baseURL: `${keeper.url}/v1`, apiKey, maxRetries: 0 })), keeper);
  } finally {
    await keeper.stop();
  }
}

test('a conversation goes on from a response that was kept', { skip }, () => withKeeper('1d', async ([c]) => {
  cloud.behaviour = { text: ['The first', ' answer'] };
  const first = await c.responses.create({ model: 'gpt', input: 'My name is Ada.', instructions: 'Only now.' });
  assert.equal(first.store, true);
  const second = await c.responses.stream({ model: 'gpt', input: 'And then?', previous_response_id: first.id }).finalResponse();
  assert.equal(second.previous_response_id, first.id);
  assert.deepEqual(body().messages, [{ role: 'user', content: 'My name is Ada.' },
    { role: 'assistant', content: 'The first answer' }, { role: 'user', content: 'And then?' }]);
  await c.responses.create({ model: 'gpt', previous_response_id: second.id, input: [{ type: 'message', role: 'user', content: 'Third.' }] });
  assert.deepEqual(body().messages.map((m) => m.role), ['user', 'assistant', 'user', 'assistant', 'user']);
  await c.responses.create({ model: 'gpt', input: [{ type: 'item_reference', id: first.output[0].id }, { role: 'user', content: 'Again.' }] });
  assert.deepEqual(body().messages.map((m) => m.content), ['The first answer', 'Again.']);

  const got = await c.responses.retrieve(second.id);
  assert.deepEqual([got.id, got.output_text, got.usage], [second.id, second.output_text, second.usage]);
  const items = await c.responses.inputItems.list(second.id, { order: 'asc', limit: 2 });
  assert.deepEqual(items.data.map((i) => [i.role, i.content[0].text]), [['user', 'My name is Ada.'], ['assistant', 'The first answer']]);
  assert.equal((await items.getNextPage()).data[0].content[0].text, 'And then?');
  await c.responses.delete(first.id);
  for (const id of [first.id, 'resp_nothing']) {
    await assert.rejects(c.responses.retrieve(id), OpenAI.NotFoundError);
    await assert.rejects(c.responses.delete(id), OpenAI.NotFoundError);
    await assert.rejects(c.responses.create({ model: 'gpt', input: 'x', previous_response_id: id }), OpenAI.BadRequestError);
  }
  const not = await c.responses.create({ model: 'gpt', input: 'x', store: false });
  assert.equal(not.store, false);
  await assert.rejects(c.responses.retrieve(not.id), OpenAI.NotFoundError);
  cloud.behaviour = {};
}));

// Written to the store before its stream ended, it was closed without a word: agents waited for calls that never were done.
test('the last item of a stream that is kept had no end', { skip }, () => withKeeper('1d', async ([c]) => {
  const types = async (store) => {
    const list = [];
    for await (const e of await c.responses.create({ model: 'gpt', input: 'x', store, stream: true })) list.push(e.type);
    return list;
  };
  for (const behaviour of [{ text: ['one', ' two'] }, { text: [], tools: [{ id: 'c1', name: 'f', arguments: ['{"a":', '1}'] }, { id: 'c2', name: 'g', arguments: [] }] }]) {
    cloud.behaviour = behaviour;
    const kept = await types(true);
    assert.deepEqual(kept, await types(false));
    const count = (type) => kept.filter((t) => t === type).length;
    assert.equal(count('response.output_item.done'), count('response.output_item.added'));
    assert.ok(count('response.output_item.done') > 0);
  }
  cloud.behaviour = {};
}));

test('a body that refers to very much held the gateway up', { skip }, () => withKeeper('1d', async ([c]) => {
  const refer = (n, id) => c.responses.create({
    model: 'gpt', input: Array.from({ length: n }, (_, i) => ({ type: 'item_reference', id: id(i) })) });
  // Each was compared with all others, and what is kept was read once more for each that named it.
  await assert.rejects(refer(200000, (i) => `msg_${i}_0`), (e) => e.status === 400 && /200000 items.*4096/.test(e.message));
  cloud.behaviour = { text: ['first'] };
  const first = await c.responses.create({ model: 'gpt', input: 'x'.repeat(1 << 20) });
  cloud.behaviour = {};
  await refer(1000, () => first.output[0].id);
  assert.equal(JSON.stringify(body().messages).match(/first/g).length, 1000);
  // What cannot be had ends it, and is named.
  await assert.rejects(refer(4000, (i) => (i === 2 ? 'msg_none_0' : first.output[0].id)),
    (e) => e.status === 400 && e.message.includes('input[2]') && e.message.includes('resp_none'));
}));

test('a gateway that ended while several responses were looked up asked a state that was closed', { skip }, () => withKeeper('1d', async ([c], g) => {
  const kept = await Promise.all(Array.from({ length: 40 }, (_, i) => c.responses.create({ model: 'gpt', input: `${i} ${'x'.repeat(200000)}` })));
  const input = kept.map((r) => ({ type: 'item_reference', id: r.output[0].id }));
  const asked = Array.from({ length: 30 }, () => c.responses.create({ model: 'gpt', input }).catch((e) => e));
  await sleep(100);
  await g.stop(); // fails where it does not end well
  await Promise.all(asked);
}, { more: 'drain_timeout: 0s\n' }));

test('what was said before keeps a conversation inside as well', { skip }, () => withKeeper('1d', async ([c]) => {
  const first = await c.responses.create({ model: 'house', max_output_tokens: 4, input: 'My SSN is 536-22-8145.' });
  const before = cloud.requests.length;
  const { response } = await c.responses.create({ model: 'gpt', input: 'And?', max_output_tokens: 4, previous_response_id: first.id }).withResponse();
  assert.equal(response.headers.get('x-weir-provider'), 'local');
  assert.equal(cloud.requests.length, before);
  assert.ok(!cloud.received().includes('536-22'));
}));

test('a kept response is its own key\'s', { skip }, () => withKeeper('1d', async ([one, two]) => {
  const r = await one.responses.create({ model: 'gpt', input: 'x' });
  assert.equal((await one.responses.retrieve(r.id)).id, r.id);
  await assert.rejects(two.responses.retrieve(r.id), OpenAI.NotFoundError);
  await assert.rejects(two.responses.delete(r.id), OpenAI.NotFoundError);
  await assert.rejects(two.responses.create({ model: 'gpt', input: 'x', previous_response_id: r.id }), OpenAI.BadRequestError);
}, { auth: true }));

test('without retention of content nothing is kept, and the error says what mends it', { skip }, () => withKeeper('none', async ([c], g) => {
  const r = await c.responses.create({ model: 'gpt', input: 'A secret phrase', store: true });
  assert.equal(r.store, false);
  const e = await c.responses.create({ model: 'gpt', input: 'x', previous_response_id: r.id }).then(() => null, (x) => x);
  assert.ok(e instanceof OpenAI.BadRequestError && e.message.includes('retention'), String(e));
  assert.ok(!readFileSync(g.state).includes('A secret phrase') && !readFileSync(`${g.state}-wal`).includes('A secret phrase'));
}));

test('what cannot be had of a kept response was passed over or called a wrong method', { skip }, () => withKeeper('1d', async ([c], g) => {
  const r = await c.responses.create({ model: 'gpt', input: 'x' });
  const cancelled = await c.responses.cancel(r.id).then(() => null, (e) => e);
  assert.ok(cancelled instanceof OpenAI.BadRequestError && cancelled.message.includes('background'), String(cancelled));
  const streamed = await c.responses.retrieve(r.id, { stream: true }).then(() => null, (e) => e);
  assert.ok(streamed instanceof OpenAI.BadRequestError && streamed.message.includes("'stream'"), String(streamed));
  assert.equal((await g.post('/v1/responses/input_tokens', { model: 'gpt', input: 'x' })).status, 404);
  const custom = await c.responses.create({ model: 'gpt', input: 'x', tools: [{ type: 'custom', name: 'c' }] }).then(() => null, (e) => e);
  assert.ok(custom.message.includes("'custom'") && !custom.message.includes('runs at OpenAI'), String(custom));
  const chat = await c.chat.completions.create({ model: 'gpt', messages: [{ role: 'user', content: 'x' }], tools: [{ type: 'custom', custom: { name: 'c' } }] }).then(() => null, (e) => e);
  assert.ok(chat instanceof OpenAI.BadRequestError && chat.message.includes("'custom'"), String(chat));
}));

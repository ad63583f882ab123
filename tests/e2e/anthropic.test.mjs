// Anthropic's official client, unchanged, served by every kind of target; and OpenAI's client served by Anthropic.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Cloud } from './lib/cloud.mjs';
import { Gateway, makeFolder, makeModel, sleep } from './lib/gateway.mjs';

const load = (name) => import(name).then((m) => m.default, () => null);
const Anthropic = await load('@anthropic-ai/sdk');
const OpenAI = await load('openai');
const skip = Anthropic && OpenAI ? false : 'the official clients are not installed';
let cloud, gateway, client, openai;

before(async () => {
  if (skip) return;
  cloud = await Cloud.start();
  const folder = makeFolder();
  gateway = await Gateway.start(
    `providers:
  sim: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${SIM_KEY}", retries: 0, breaker: off}
  other: {kind: anthropic, base_url: "${cloud.url}", api_key: "\${SIM_KEY}", retries: 0, breaker: off}
  third: {kind: gemini, base_url: "${cloud.url}/v1beta", api_key: "\${SIM_KEY}", retries: 0, breaker: off}
models:
  - {name: house, file: "${makeModel(folder)}", context: 2048}
  - {name: gpt, provider: sim, model: gpt-5-sim}
  - {name: claude, provider: other, model: claude-sonnet-4-5}
  - {name: gemini, provider: third, model: gemini-sim}
`,
    { env: { SIM_KEY: 'sk-simulated' }, folder },
  );
  client = new Anthropic({ baseURL: gateway.url, apiKey: 'none', maxRetries: 0 });
  openai = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'none', maxRetries: 0 });
});

after(async () => {
  if (skip) return;
  await gateway.stop();
  await cloud.stop();
});

const messages = [{ role: 'user', content: 'Say hello.' }];
const clouds = ['gpt', 'claude', 'gemini'];
const body = () => cloud.requests.at(-1).body;

// The raw events of a stream, as they go over the wire.
async function events(request) {
  const r = await fetch(`${gateway.url}/v1/messages`, {
    method: 'POST', headers: { 'content-type': 'application/json', 'anthropic-version': '2023-06-01' },
    body: JSON.stringify({ max_tokens: 64, messages, stream: true, ...request }) });
  return (await r.text()).trim().split('\n\n').map((e) => {
    const [, name, data] = /^event: (\S+)\ndata: (.*)$/.exec(e);
    assert.equal(JSON.parse(data).type, name);
    return JSON.parse(data);
  });
}

for (const model of clouds) {
  test(`${model}: a whole answer`, { skip }, async () => {
    cloud.behaviour = { usage: { input: 20, output: 4, cached: 5 } };
    const { data: r, response } = await client.messages.create({ model, max_tokens: 64, messages }).withResponse();
    assert.equal(r.type, 'message');
    assert.equal(r.role, 'assistant');
    assert.match(r.id, /^msg_/);
    assert.deepEqual(r.content, [{ type: 'text', text: 'Hello from the cloud' }]);
    assert.equal(r.stop_reason, 'end_turn');
    assert.equal(r.stop_sequence, null);
    const whole = model === 'claude' ? 20 : 15; // Anthropic's own count leaves the cached ones out already
    assert.deepEqual(r.usage, { input_tokens: whole, cache_creation_input_tokens: 0, cache_read_input_tokens: 5, output_tokens: 4 });
    assert.equal(response.headers.get('request-id'), response.headers.get('x-request-id'));
    assert.equal(r._request_id, response.headers.get('request-id'));
    assert.equal(response.headers.get('x-weir-model'), model);
    cloud.behaviour = {};
  });

  test(`${model}: a stream, its events in order`, { skip }, async () => {
    const got = await events({ model });
    assert.deepEqual(got.map((e) => e.type), ['message_start', 'content_block_start', 'ping',
      ...Array(4).fill('content_block_delta'), 'content_block_stop', 'message_delta', 'message_stop']);
    assert.deepEqual(got[0].message.content, []);
    assert.equal(got[0].message.stop_reason, null);
    assert.equal(got.at(-2).usage.input_tokens, 7);
    assert.equal(got.at(-2).usage.output_tokens, 4);
    assert.equal(got.at(-2).delta.stop_reason, 'end_turn');
    const final = await client.messages.stream({ model, max_tokens: 64, messages }).finalMessage();
    assert.equal(final.content[0].text, 'Hello from the cloud');
    assert.equal(final.usage.output_tokens, 4);
    assert.equal(final.usage.input_tokens, 7);
  });

  test(`${model}: parallel tool calls, whole, streamed and answered`, { skip }, async () => {
    cloud.behaviour = { text: ['Let me see.'], tools: [
      { id: 'toolu_1', name: 'weather', arguments: ['{"city"', ':"Bern"}'] },
      { id: 'toolu_2', name: 'time', arguments: ['{}'] }] };
    const tools = ['weather', 'time'].map((name) => ({
      name, description: name, input_schema: { type: 'object', properties: { city: { type: 'string' } } } }));
    const ask = { model, max_tokens: 64, messages, tools, tool_choice: { type: 'auto' } };
    const r = await client.messages.create(ask);
    assert.equal(r.stop_reason, 'tool_use');
    const want = [{ type: 'text', text: 'Let me see.' },
      { type: 'tool_use', id: 'toolu_1', name: 'weather', input: { city: 'Bern' } },
      { type: 'tool_use', id: 'toolu_2', name: 'time', input: {} }];
    assert.deepEqual(r.content, want);
    const streamed = await client.messages.stream(ask).finalMessage();
    assert.deepEqual(streamed.content, want);
    const blocks = (await events(ask)).filter((e) => /^content_block_(start|stop)$/.test(e.type));
    assert.deepEqual(blocks.map((e) => [e.type.slice(14), e.index]),
      [['start', 0], ['stop', 0], ['start', 1], ['stop', 1], ['start', 2], ['stop', 2]]);
    cloud.behaviour = {};
    await client.messages.create({ ...ask, messages: [...messages, { role: 'assistant', content: r.content },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'toolu_1', content: 'sunny' },
        { type: 'tool_result', tool_use_id: 'toolu_2', content: [{ type: 'text', text: 'no clock' }], is_error: true },
        { type: 'text', text: 'Well?' }] }] });
    const sent = JSON.stringify(body());
    for (const piece of ['Let me see.', 'sunny', 'no clock', 'Well?', 'Bern']) assert.ok(sent.includes(piece), piece);
  });

  test(`${model}: an image`, { skip }, async () => {
    const source = { type: 'base64', media_type: 'image/png', data: 'iVBORw0KGgo=' };
    await client.messages.create({ model, max_tokens: 64, messages: [{ role: 'user', content: [
      { type: 'image', source }, { type: 'text', text: 'What is it?' }] }] });
    const sent = JSON.stringify(body());
    assert.ok(sent.includes('iVBORw0KGgo=') && sent.includes('image/png'));
  });

  test(`${model}: an error of the provider has the client's own class`, { skip }, async () => {
    const want = { 400: Anthropic.BadRequestError, 413: Anthropic.APIError, 429: Anthropic.RateLimitError,
      500: Anthropic.InternalServerError, 529: Anthropic.InternalServerError };
    for (const [status, kind] of Object.entries(want)) {
      cloud.behaviour = { mode: 'status', status: +status, headers: { 'retry-after': '3' } };
      for (const stream of [false, true]) {
        const e = await client.messages.create({ model, max_tokens: 8, messages, stream }).then(() => null, (x) => x);
        assert.ok(e instanceof kind, `${status}: ${e}`);
        assert.equal(e.error.type, 'error');
        assert.ok(e.error.error.message.length > 0);
        assert.match(e.error.request_id, /^req_/);
        if (status === '429') assert.equal(e.headers.get('retry-after'), '3');
        if (status === '529') assert.deepEqual([e.status, e.error.error.type], [529, 'overloaded_error']);
      }
    }
    cloud.behaviour = {};
  });

  test(`${model}: a stream that breaks is one error event`, { skip }, async () => {
    cloud.behaviour = { mode: 'truncate' };
    const got = await events({ model });
    assert.equal(got.filter((e) => e.type === 'error').length, 1);
    assert.equal(got.at(-1).type, 'error');
    assert.ok(got.at(-1).error.type && got.at(-1).error.message);
    await assert.rejects(client.messages.stream({ model, max_tokens: 8, messages }).finalMessage(), Anthropic.APIError);
    cloud.behaviour = {};
  });

  test(`${model}: a stream that is aborted cancels the provider`, { skip }, async () => {
    cloud.behaviour = { text: Array(400).fill('tick '), gap: 20 };
    const before = cloud.aborted;
    const stream = client.messages.stream({ model, max_tokens: 999, messages });
    stream.on('text', () => stream.abort());
    await assert.rejects(stream.finalMessage(), Anthropic.APIUserAbortError);
    for (let i = 0; i < 100 && cloud.aborted === before; i++) await sleep(50);
    assert.equal(cloud.aborted, before + 1);
    cloud.behaviour = {};
  });

  test(`${model}: structured output`, { skip }, async () => {
    cloud.behaviour = { text: ['{"city":', '"Bern"}'] };
    const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
    const r = await client.messages.create({
      model, max_tokens: 64, messages, output_config: { format: { type: 'json_schema', schema } } });
    assert.deepEqual(JSON.parse(r.content[0].text), { city: 'Bern' });
    assert.ok(JSON.stringify(body()).includes('"city"'));
    cloud.behaviour = {};
  });
}

test('claude: thinking with its signature comes back and is sent again as it was', { skip }, async () => {
  const thinking = { type: 'enabled', budget_tokens: 1024 };
  const content = [
    { type: 'thinking', thinking: 'First, “hm”\n\u0001 then this.', signature: 'EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxB/+==' },
    { type: 'redacted_thinking', data: 'EmwKAhgBEgy3va3pzix/LafPsn4aDFIT2Xlxh0L5L8rLVyIw' },
    { type: 'text', text: 'Hello' },
    { type: 'tool_use', id: 'toolu_9', name: 'look', input: { b: 1, a: [1.5, null] } }];
  cloud.behaviour = { blocks: content, finish: 'tool_use' };
  const tools = [{ name: 'look', input_schema: { type: 'object' }, cache_control: { type: 'ephemeral' } }];
  const ask = { model: 'claude', max_tokens: 2048, thinking, tools, messages,
    system: [{ type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral', ttl: '1h' } }] };
  const r = await client.messages.create(ask);
  assert.deepEqual(r.content, content);
  const streamed = await client.messages.stream(ask).finalMessage();
  assert.deepEqual(streamed.content, content);
  cloud.behaviour = {};
  const result = { type: 'tool_result', tool_use_id: 'toolu_9', content: [{ type: 'text', text: 'seen' }], cache_control: { type: 'ephemeral' } };
  await client.beta.messages.create({ ...ask, betas: ['interleaved-thinking-2025-05-14'],
    messages: [...messages, { role: 'assistant', content: r.content }, { role: 'user', content: [result] }] });
  assert.deepEqual(body().messages[1], { role: 'assistant', content });
  assert.deepEqual(body().messages[2].content[0], result);
  assert.deepEqual(body().thinking, thinking);
  assert.deepEqual(body().system, ask.system);
  assert.deepEqual(body().tools, tools);
  assert.match(cloud.requests.at(-1).headers['anthropic-beta'], /interleaved-thinking/);
  assert.match(cloud.requests.at(-1).headers['anthropic-version'], /^20\d\d-\d\d-\d\d$/); // the client's own
  assert.equal(cloud.requests.at(-1).headers['x-api-key'], 'sk-simulated');
});

test('claude: thinking of another target is text to one that takes text', { skip }, async () => {
  cloud.behaviour = {};
  await client.messages.create({ model: 'gpt', max_tokens: 2048, thinking: { type: 'enabled', budget_tokens: 1500 },
    messages: [...messages, { role: 'assistant', content: [
      { type: 'thinking', thinking: 'hm', signature: 'sig' }, { type: 'text', text: 'Hello' }] }, ...messages] });
  assert.equal(body().reasoning_effort, 'low');
  assert.ok(!JSON.stringify(body()).includes('sig"'));
});

test("claude: the provider's own tools, their results and citations pass", { skip }, async () => {
  const content = [
    { type: 'server_tool_use', id: 'srvtoolu_1', name: 'web_search', input: { query: 'bern' } },
    { type: 'web_search_tool_result', tool_use_id: 'srvtoolu_1', content: [{ type: 'web_search_result', url: 'https://x', title: 'x', encrypted_content: 'e' }] },
    { type: 'text', text: 'Bern', citations: [{ type: 'web_search_result_location', url: 'https://x', cited_text: 'c' }] }];
  cloud.behaviour = { blocks: content };
  const ask = { model: 'claude', max_tokens: 64, messages, tools: [{ type: 'web_search_20250305', name: 'web_search' }] };
  assert.deepEqual((await client.messages.create(ask)).content, content);
  assert.deepEqual((await client.messages.stream(ask).finalMessage()).content, content);
  assert.deepEqual(body().tools, ask.tools);
  cloud.behaviour = {};
  await assert.rejects(client.messages.create({ ...ask, model: 'gpt' }), Anthropic.BadRequestError);
  await assert.rejects(client.messages.create({ ...ask, model: 'house' }), Anthropic.BadRequestError);
});

test('unknown members go to the same shape and are refused elsewhere by name', { skip }, async () => {
  const ask = { max_tokens: 64, messages, container: 'c_1', context_management: { edits: [] } };
  await client.messages.create({ ...ask, model: 'claude' });
  assert.equal(body().container, 'c_1');
  for (const model of ['gpt', 'gemini', 'house'])
    await assert.rejects(client.messages.create({ ...ask, model }), (e) =>
      e instanceof Anthropic.BadRequestError && /'container'/.test(e.message));
});

test('house: whole, streamed, with a system prompt, stop sequences and thinking', { skip }, async () => {
  const ask = { model: 'house', max_tokens: 12, messages, system: 'You are brief.', temperature: 0 };
  const r = await client.messages.create({ ...ask, thinking: { type: 'enabled', budget_tokens: 1024 } });
  assert.equal(r.model, 'house');
  assert.ok(['max_tokens', 'end_turn'].includes(r.stop_reason));
  assert.ok(r.usage.input_tokens > 0 && r.usage.output_tokens > 0 && r.usage.output_tokens <= 12);
  const streamed = await client.messages.stream(ask).finalMessage();
  assert.ok(streamed.usage.output_tokens > 0);
  const image = [{ type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AAAA' } }];
  await assert.rejects(client.messages.create({ ...ask, messages: [{ role: 'user', content: image }] }), Anthropic.BadRequestError);
});

test('errors of the gateway itself', { skip }, async () => {
  await assert.rejects(client.messages.create({ model: 'nobody', max_tokens: 8, messages }), (e) =>
    e instanceof Anthropic.NotFoundError && e.error.error.type === 'not_found_error');
  await assert.rejects(client.messages.create({ model: 'gpt', max_tokens: 0, messages }), Anthropic.BadRequestError);
  await assert.rejects(client.messages.create({ model: 'gpt', max_tokens: 8, messages: [] }), Anthropic.BadRequestError);
  await assert.rejects(client.messages.create({ model: 'gpt', max_tokens: 8, messages: [{ role: 'nobody', content: 'x' }] }),
    (e) => e instanceof Anthropic.BadRequestError && /messages\[0\]/.test(e.message) && e.error.error.type === 'invalid_request_error');
});

test('openai -> claude: reasoning, formats and tools become its own', { skip }, async () => {
  const create = (more) => openai.chat.completions.create({ model: 'claude', messages, ...more });
  await create({ reasoning_effort: 'medium', max_completion_tokens: 10000 });
  assert.deepEqual(body().thinking, { type: 'enabled', budget_tokens: 5000 });
  const schema = { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'], additionalProperties: false };
  cloud.behaviour = { text: ['{"a":1}'] };
  const strict = await create({ response_format: { type: 'json_schema', json_schema: { name: 'x', strict: true, schema } } });
  assert.deepEqual(body().output_config, { format: { type: 'json_schema', schema } });
  assert.equal(strict.choices[0].message.content, '{"a":1}');
  cloud.behaviour = (request, b) => ({ text: [], finish: 'tool_use', tools: [{ id: 't', name: b.tool_choice.name, arguments: ['{"a"', ':2}'] }] });
  const loose = await create({ response_format: { type: 'json_object' } });
  assert.equal(loose.choices[0].message.content, '{"a":2}');
  assert.equal(loose.choices[0].finish_reason, 'stop');
  assert.equal(loose.choices[0].message.tool_calls, undefined);
  cloud.behaviour = {};
  await assert.rejects(create({ logprobs: true }), (e) => e instanceof OpenAI.BadRequestError && /'logprobs'/.test(e.message));
});

test('openai -> claude: cache writes and reads are counted', { skip }, async () => {
  cloud.behaviour = { usage: { input: 10, output: 4, cached: 100, written: 50 } };
  const r = await openai.chat.completions.create({ model: 'claude', messages });
  assert.equal(r.usage.prompt_tokens, 160);
  assert.equal(r.usage.prompt_tokens_details.cached_tokens, 100);
  const own = await client.messages.create({ model: 'claude', max_tokens: 8, messages });
  assert.deepEqual(own.usage, { input_tokens: 10, cache_creation_input_tokens: 50, cache_read_input_tokens: 100, output_tokens: 4 });
  cloud.behaviour = {};
});

test('counting tokens: exact at home, asked of Anthropic, else an estimate that says so', { skip }, async () => {
  const ask = { messages, system: 'You are brief.' };
  const home = await client.messages.countTokens({ model: 'house', ...ask });
  const answer = await client.messages.create({ model: 'house', max_tokens: 1, ...ask });
  assert.equal(home.input_tokens, answer.usage.input_tokens + answer.usage.cache_read_input_tokens);
  cloud.behaviour = { usage: { input: 1234, output: 1 } };
  const { data, response } = await client.messages.countTokens({ model: 'claude', ...ask }).withResponse();
  assert.equal(data.input_tokens, 1234);
  assert.equal(response.headers.get('x-weir-estimate'), null);
  assert.equal(response.headers.get('x-weir-cost-usd'), '0.000000000');
  assert.match(cloud.requests.at(-1).url, /\/v1\/messages\/count_tokens$/);
  assert.deepEqual(Object.keys(body()).sort(), ['messages', 'model', 'system']);
  for (const model of ['gpt', 'gemini']) {
    const before = cloud.requests.length;
    const guess = await client.messages.countTokens({ model, ...ask }).withResponse();
    assert.ok(guess.data.input_tokens > 5 && guess.data.input_tokens < 60);
    assert.equal(guess.response.headers.get('x-weir-estimate'), 'true');
    assert.equal(cloud.requests.length, before);
  }
  await assert.rejects(client.messages.countTokens({ model: 'nobody', messages }), Anthropic.NotFoundError);
  cloud.behaviour = {};
});

test('models in the shape of the client that asks', { skip }, async () => {
  const names = [];
  for await (const m of client.models.list()) {
    assert.equal(m.type, 'model');
    assert.ok(!Number.isNaN(Date.parse(m.created_at)));
    names.push(m.id);
  }
  assert.deepEqual(names, ['house', 'gpt', 'claude', 'gemini']);
  // `limit` was passed over, and with it after_id and before_id.
  const page = await client.models.list({ limit: 3 });
  assert.deepEqual([page.data.map((m) => m.id), page.has_more, page.first_id, page.last_id], [names.slice(0, 3), true, 'house', 'claude']);
  assert.deepEqual((await page.getNextPage()).data.map((m) => m.id), ['gemini']);
  const all = [];
  for await (const m of client.models.list({ limit: 1 })) all.push(m.id);
  assert.deepEqual(all, names);
  const back = await client.models.list({ limit: 2, before_id: 'gemini' });
  assert.deepEqual([back.data.map((m) => m.id), back.has_more], [['gpt', 'claude'], true]);
  const front = await client.models.list({ limit: 9, before_id: 'gpt' });
  assert.deepEqual([front.data.map((m) => m.id), front.has_more], [['house'], false]);
  const none = await client.models.list({ after_id: 'gemini' });
  assert.deepEqual([none.data, none.has_more, none.first_id, none.last_id], [[], false, null, null]);
  for (const wrong of [{ limit: 0 }, { limit: 1001 }, { after_id: 'nobody' }, { after_id: 'gpt', before_id: 'claude' }])
    await assert.rejects(client.models.list(wrong), Anthropic.BadRequestError, JSON.stringify(wrong));
  assert.equal((await client.models.retrieve('claude')).display_name, 'claude');
  await assert.rejects(client.models.retrieve('nobody'), (e) => e instanceof Anthropic.NotFoundError && e.error.type === 'error');
  assert.equal((await openai.models.retrieve('claude')).object, 'model');
});

test("a tool's failure and picture, and a document, reach each shape", { skip }, async () => {
  const picture = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'iVBORw0KGgo=' } };
  const result = { type: 'tool_result', tool_use_id: 'toolu_1', content: [picture], is_error: true };
  const talk = [...messages, { role: 'assistant', content: [{ type: 'tool_use', id: 'toolu_1', name: 'look', input: {} }] },
    { role: 'user', content: [result, { type: 'document', title: 'Notes', source: { type: 'text', media_type: 'text/plain', data: 'the words' } }] }];
  const tools = [{ name: 'look', input_schema: { type: 'object' } }];
  await client.messages.create({ model: 'claude', max_tokens: 8, messages: talk, tools });
  assert.deepEqual(body().messages.at(-1).content, talk.at(-1).content);
  await client.messages.create({ model: 'gpt', max_tokens: 8, messages: talk, tools });
  const [tool, seen, notes] = body().messages.slice(-3);
  assert.deepEqual([tool.role, tool.tool_call_id, JSON.stringify(tool.content).includes('failed')], ['tool', 'toolu_1', true]);
  assert.equal(seen.role, 'user');
  assert.equal(seen.content[0].image_url.url, 'data:image/png;base64,iVBORw0KGgo=');
  assert.equal(notes.content, 'Notes\n\nthe words');
});

test('a picture is not read as text by the detector, and what is sensitive in any block is', { skip }, async () => {
  const stays = async (content) => {
    const before = cloud.requests.length;
    await client.messages.create({ model: 'claude', max_tokens: 8, messages: [{ role: 'user', content }] }).catch((e) => e);
    return cloud.requests.length === before;
  };
  const pixels = Buffer.from(Array.from({ length: 30000 }, (_, i) => (i * 7919) & 255)).toString('base64');
  assert.equal(await stays([{ type: 'image', source: { type: 'base64', media_type: 'image/png', data: pixels } }]), false);
  for (const content of [
    [{ type: 'text', text: 'My SSN is 536-22-8726.', cache_control: { type: 'ephemeral' } }],
    [{ type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'My SSN is 536-22-8726.' } }],
    [{ type: 'tool_result', tool_use_id: 't', content: [{ type: 'text', text: 'My SSN is 536-22-8726.' }] }],
    [{ type: 'search_result', source: 's', title: 't', content: [{ type: 'text', text: 'My SSN is 536-22-8726.' }] }],
  ]) assert.equal(await stays(content), true, JSON.stringify(content));
});

test('a local model says at which stop string it ended, whole and streamed', { skip }, async () => {
  const ask = { model: 'house', max_tokens: 60, messages, temperature: 0 };
  const whole = await client.messages.create(ask);
  const text = whole.content[0].text;
  assert.equal(whole.stop_reason, 'max_tokens');
  const stop = text.slice(text.length >> 1, (text.length >> 1) + 3);
  const r = await client.messages.create({ ...ask, stop_sequences: ['never to be seen', stop] });
  assert.deepEqual([r.stop_reason, r.stop_sequence], ['stop_sequence', stop]);
  assert.equal(r.content[0]?.text ?? '', text.slice(0, text.indexOf(stop)));
  const end = (await events({ ...ask, stop_sequences: [stop] })).find((e) => e.type === 'message_delta');
  assert.deepEqual([end.delta.stop_reason, end.delta.stop_sequence], ['stop_sequence', stop]);
  const openais = await openai.chat.completions.create({ ...ask, stop: [stop] });
  assert.equal(openais.choices[0].finish_reason, 'stop');
});

test('while nothing comes a stream is pinged, as its API does, and the official client reads over it', { skip }, async () => {
  const late = await Cloud.start({ mode: 'late', delay: 900, text: ['at', ' last'] });
  const g = await Gateway.start(`stream_keep_alive: 200ms
providers: {out: {kind: openai, base_url: "${late.url}/v1", api_key: "\${SIM_KEY}", retries: 0}}
models: [{name: m, provider: out}]
`, { env: { SIM_KEY: 'sk-simulated' } });
  try {
    const r = await fetch(`${g.url}/v1/messages`, {
      method: 'POST', headers: { 'content-type': 'application/json', 'anthropic-version': '2023-06-01' },
      body: JSON.stringify({ model: 'm', max_tokens: 64, messages, stream: true }) });
    const names = [...(await r.text()).matchAll(/^event: (\S+)$/gm)].map((m) => m[1]);
    const started = names.indexOf('message_start');
    assert.ok(started >= 2 && names.slice(0, started).every((name) => name === 'ping'), names.join());
    assert.equal(names.at(-1), 'message_stop');
    const mine = new Anthropic({ baseURL: g.url, apiKey: 'none', maxRetries: 0 });
    const message = await mine.messages.stream({ model: 'm', max_tokens: 64, messages }).finalMessage();
    assert.deepEqual(message.content, [{ type: 'text', text: 'at last' }]);
  } finally {
    await g.stop();
    await late.stop();
  }
});

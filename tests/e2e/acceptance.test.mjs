// Odd but legal requests and answers, each of which once went wrong.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { bedrockScript } from './lib/bedrock.mjs';
import { Cloud } from './lib/cloud.mjs';
import { events, Gateway, root, sleep } from './lib/gateway.mjs';

const kinds = ['openai', 'anthropic', 'gemini', 'ollama', 'bedrock'];
const paths = { openai: '/v1', gemini: '/v1beta' };
const credentials = { accessKey: 'AKIDEXAMPLE', secretKey: 'wJalr/EXAMPLE+KEY', region: 'eu-central-1' };
const env = { SIM_KEY: 'sk-simulated', AWS_ACCESS_KEY_ID: credentials.accessKey, AWS_SECRET: credentials.secretKey };
const clouds = {};
let gateway, collector;

before(async () => {
  for (const kind of kinds) clouds[kind] = await Cloud.start();
  collector = await Cloud.start({ handle: (request, response) => response.end('{}') });
  const own = (kind) => (kind === 'bedrock' ? 'region: eu-central-1, secret_access_key: "${AWS_SECRET}"' : 'api_key: "${SIM_KEY}"');
  gateway = await Gateway.start(
    `on_sensitive: allow
telemetry: {otlp: "${collector.url}", sample: 1}
providers:
${kinds.map((kind) => `  ${kind}: {kind: ${kind}, base_url: "${clouds[kind].url}${paths[kind] ?? ''}", ${own(kind)}, retries: 0, breaker: off}`).join('\n')}
models:
  - {name: house, file: "${root}/models/house.gguf", context: 1024, threads: 1}
${kinds.map((kind) => `  - {name: at-${kind}, provider: ${kind}, model: far-1}`).join('\n')}
routes:
  - {name: next, rules: [{use: [at-openai, at-anthropic]}]}
  - {name: kept, rules: [{use: [at-openai], cache: true}]}
`,
    { env },
  );
});

after(async () => {
  await gateway?.stop();
  for (const cloud of [collector, ...Object.values(clouds)]) await cloud?.stop();
});

function act(kind, behaviour) {
  clouds[kind].behaviour = kind === 'bedrock' ? { handle: bedrockScript(credentials, behaviour) } : behaviour;
}

test('a rule that said `cache: true` kept nothing where no `cache` stood beside the rules', async () => {
  act('openai', { text: ['kept'] });
  const cache = async (model, headers) => (await gateway.chat(model, 'hi', { temperature: 0 }, headers)).headers.get('x-weir-cache');
  assert.deepEqual([await cache('kept'), await cache('kept')], ['miss', 'hit']);
  assert.equal(await cache('at-openai', { 'x-weir-cache': 'true' }), null, 'a client alone keeps nothing here');
});

test("an Ollama was not asked for the log-probabilities it has, not even by its own clients", async () => {
  const logprobs = [{ token: 'Hi', logprob: -0.25, bytes: [72, 105], top_logprobs: [{ token: 'Hi', logprob: -0.25, bytes: [72, 105] }] }];
  const line = (more) => `${JSON.stringify({ model: 'far-1', created_at: '2026-11-29T12:00:00Z', ...more })}\n`;
  clouds.ollama.behaviour = { handle: (request, response, body) => {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    const end = { done: true, done_reason: 'stop', prompt_eval_count: 3, eval_count: 1 }, message = { role: 'assistant', content: 'Hi' };
    if (body.stream === false) return void response.end(line({ message, logprobs, ...end }));
    response.write(line({ message, logprobs, done: false }));
    response.end(line({ message: { role: 'assistant', content: '' }, ...end }));
  } };
  for (const stream of [false, true]) {
    const r = await gateway.chat('at-ollama', 'q', { logprobs: true, top_logprobs: 1, stream });
    const told = stream ? events(r.body).flatMap((e) => e.choices?.[0]?.logprobs?.content ?? []) : r.body.choices[0].logprobs.content;
    assert.deepEqual(told, logprobs);
    assert.deepEqual([clouds.ollama.requests.at(-1).body.logprobs, clouds.ollama.requests.at(-1).body.top_logprobs], [true, 1]);
    const o = await gateway.post('/api/chat', { model: 'at-ollama', messages: [{ role: 'user', content: 'q' }], logprobs: true, top_logprobs: 1, stream });
    const lines = stream ? o.body.trim().split('\n').map((l) => JSON.parse(l)) : [o.body];
    assert.deepEqual(lines.flatMap((l) => l.logprobs ?? []), logprobs);
  }
});

test('what asks for a search of the web was left out in silence', async () => {
  for (const kind of kinds.filter((k) => k !== 'openai')) {
    const r = await gateway.chat(`at-${kind}`, 'q', { web_search_options: {} });
    assert.equal(r.status, 400);
    assert.match(r.body.error.message, /web_search_options/);
  }
});

test('a word for the effort that nobody knows was dropped by Gemini and passed on by the others', async () => {
  for (const kind of kinds.filter((k) => k !== 'openai')) {
    const r = await gateway.chat(`at-${kind}`, 'q', { reasoning_effort: 'enormous' });
    assert.equal(r.status, 400);
    assert.match(r.body.error.message, /'reasoning_effort' must be none, minimal/);
  }
});

test('a document was refused for Gemini, which reads it', async () => {
  act('gemini', { text: ['read'] });
  const data = 'JVBERi0xLjQ=', part = { inlineData: { mimeType: 'application/pdf', data } };
  const ask = [
    ['/v1/chat/completions', { messages: [{ role: 'user', content: [{ type: 'file', file: { filename: 'a.pdf', file_data: `data:application/pdf;base64,${data}` } }] }] }],
    ['/v1/messages', { max_tokens: 9, messages: [{ role: 'user', content: [{ type: 'document', source: { type: 'base64', media_type: 'application/pdf', data } }] }] }],
    ['/v1/responses', { input: [{ role: 'user', content: [{ type: 'input_file', filename: 'a.pdf', file_data: `data:application/pdf;base64,${data}` }] }] }],
  ];
  for (const [path, body] of ask) {
    const r = await gateway.post(path, { model: 'at-gemini', ...body });
    assert.equal(r.status, 200, JSON.stringify(r.body));
    assert.deepEqual(clouds.gemini.requests.at(-1).body.contents[0].parts, [part]);
  }
});

test("an agent's conversation with calls was an error to a local model whose template wants text everywhere", async () => {
  const messages = [
    { role: 'user', content: 'hi' },
    { role: 'assistant', content: null, tool_calls: [{ id: 'a', type: 'function', function: { name: 'f', arguments: '{}' } }] },
    { role: 'tool', tool_call_id: 'a', content: 'done' },
  ];
  const r = await gateway.chat('house', messages, { max_tokens: 4 });
  assert.equal(r.status, 200, JSON.stringify(r.body));
});

test('a whole answer that held none was one without a word, and nobody else was asked', async () => {
  const whole = (document) => ({ handle: (request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(document));
  } });
  const frame = { id: 'c', object: 'chat.completion', created: 1, model: 'm', usage: { prompt_tokens: 3, completion_tokens: 0, total_tokens: 3 } };
  act('anthropic', { text: ['mine'] });
  for (const choices of [undefined, null, []]) {
    clouds.openai.behaviour = whole({ ...frame, choices });
    const alone = await gateway.chat('at-openai', 'q');
    assert.equal(alone.status, 503);
    assert.match(alone.body.error.message, /it holds no answer/);
    assert.equal((await gateway.chat('next', 'q')).body.choices[0].message.content, 'mine');
  }
  clouds.gemini.behaviour = whole({ usageMetadata: { promptTokenCount: 3 }, modelVersion: 'g' });
  assert.equal((await gateway.chat('at-gemini', 'q')).status, 503);
  clouds.openai.behaviour = whole({ ...frame, choices: [{ index: 0, message: { role: 'assistant', content: '' }, finish_reason: 'stop' }] });
  assert.equal((await gateway.chat('at-openai', 'q')).status, 200, 'an answer may be empty');
});

test('tools of which only some are allowed were an error', async () => {
  act('anthropic', { text: ['x'] });
  const parameters = { type: 'object', properties: {} }, names = ['a', 'b', 'c'];
  const allowed = (mode, ...tools) => ({ type: 'allowed_tools', allowed_tools: { mode, tools: tools.map((name) => ({ type: 'function', function: { name } })) } });
  const chat = (tool_choice) => gateway.chat('at-anthropic', 'q', { tools: names.map((name) => ({ type: 'function', function: { name, parameters } })), tool_choice });
  const sent = () => { const { tools, tool_choice } = clouds.anthropic.requests.at(-1).body; return [tools.map((t) => t.name), tool_choice.type]; };
  assert.equal((await chat(allowed('auto', 'c', 'a'))).status, 200);
  assert.deepEqual(sent(), [['a', 'c'], 'auto']);
  const r = await gateway.post('/v1/responses', { model: 'at-anthropic', input: 'q', tools: names.map((name) => ({ type: 'function', name, parameters })),
    tool_choice: { type: 'allowed_tools', mode: 'required', tools: [{ type: 'function', name: 'b' }] } });
  assert.equal(r.status, 200, JSON.stringify(r.body));
  assert.deepEqual(sent(), [['b'], 'any']);
  for (const wrong of [allowed('auto', 'd'), allowed('auto'), allowed('none', 'a'), { type: 'allowed_tools' }])
    assert.equal((await chat(wrong)).status, 400);
});

test("what another API does not have was refused in OpenAI's shape", async () => {
  const messages = await gateway.post('/v1/messages/batches', { requests: [] });
  assert.deepEqual([messages.status, messages.body.type, messages.body.error.type], [404, 'error', 'not_found_error']);
  const ollama = await gateway.post('/api/nothing', {});
  assert.deepEqual([ollama.status, typeof ollama.body.error], [404, 'string']);
});

test('a refusal was told as content, which clients that parse structured output fell over', async () => {
  clouds.openai.behaviour = { handle: (request, response, body) => {
    const frame = { id: 'c', created: 1, model: 'm' };
    response.writeHead(200, { 'content-type': body.stream ? 'text/event-stream' : 'application/json' });
    if (!body.stream)
      return void response.end(JSON.stringify({ ...frame, object: 'chat.completion', choices: [{ index: 0, message: { role: 'assistant', content: null, refusal: 'I can not.' }, finish_reason: 'stop' }] }));
    for (const delta of [{ role: 'assistant', content: '', refusal: null }, { refusal: 'I can' }, { refusal: ' not.' }, {}])
      response.write(`data: ${JSON.stringify({ ...frame, object: 'chat.completion.chunk', choices: [{ index: 0, delta, finish_reason: 'refusal' in delta ? null : 'stop' }] })}\n\n`);
    response.end('data: [DONE]\n\n');
  } };
  const { body: { choices: [{ message }] } } = await gateway.chat('at-openai', 'q');
  assert.deepEqual([message.content, message.refusal], [null, 'I can not.']);
  const deltas = events((await gateway.chat('at-openai', 'q', { stream: true })).body).flatMap((e) => e.choices?.map((c) => c.delta) ?? []);
  assert.equal(deltas.map((d) => d.refusal ?? '').join(''), 'I can not.');
  assert.equal(deltas.map((d) => d.content ?? '').join(''), '');
  const part = { type: 'refusal', refusal: 'I can not.' };
  const whole = await gateway.post('/v1/responses', { model: 'at-openai', input: 'q' });
  assert.deepEqual(whole.body.output[0].content, [part]);
  const text = (await gateway.post('/v1/responses', { model: 'at-openai', input: 'q', stream: true })).body;
  const told = text.split('\n').filter((l) => l.startsWith('data: ')).map((l) => JSON.parse(l.slice(6)));
  assert.equal(told.filter((e) => e.type === 'response.refusal.delta').map((e) => e.delta).join(''), 'I can not.');
  assert.equal(told.find((e) => e.type === 'response.refusal.done').refusal, 'I can not.');
  assert.deepEqual(told.at(-1).response.output[0].content, [part]);
  const other = await gateway.post('/v1/messages', { model: 'at-openai', max_tokens: 9, messages: [{ role: 'user', content: 'q' }] });
  assert.equal(other.body.content[0].text, 'I can not.');
});

test("in traces Bedrock's name was not the one that the conventions have for it", async () => {
  const names = { openai: 'openai', anthropic: 'anthropic', gemini: 'gcp.gemini', ollama: 'ollama', bedrock: 'aws.bedrock' };
  for (const kind of kinds) {
    act(kind, { text: ['x'], usage: { input: 1, output: 1 } });
    assert.equal((await gateway.chat(`at-${kind}`, 'q', {}, { 'x-request-id': `trace-${kind}` })).status, 200);
  }
  const spans = () => collector.requests.flatMap((r) => r.body.resourceSpans.flatMap((s) => s.scopeSpans.flatMap((l) => l.spans)));
  const told = (span, key) => span.attributes.find((a) => a.key === key)?.value.stringValue;
  for (const kind of kinds) {
    let span;
    for (let i = 0; i < 400 && !span; i++, await sleep(25)) span = spans().find((s) => told(s, 'weir.request_id') === `trace-${kind}`);
    assert.equal(told(span, 'gen_ai.provider.name'), names[kind]);
  }
});

test('a prompt of the older completions was refused by targets that only know messages', async () => {
  for (const kind of ['anthropic', 'gemini', 'bedrock'])
    for (const stream of [false, true]) {
      act(kind, { text: ['and', ' so on'], usage: { input: 4, output: 2 } });
      const r = await gateway.post('/v1/completions', { model: `at-${kind}`, prompt: 'Once upon', max_tokens: 9, stream });
      assert.equal(r.status, 200, JSON.stringify(r.body));
      const text = stream ? events(r.body).map((e) => e.choices?.[0]?.text ?? '').join('') : r.body.choices[0].text;
      assert.equal(text, 'and so on');
      const { messages, contents } = clouds[kind].requests.at(-1).body;
      assert.equal((messages ?? contents).length, 1);
      assert.match(JSON.stringify(messages ?? contents), /"user".*"Once upon"/);
      const none = await gateway.post('/v1/completions', { model: `at-${kind}`, prompt: 'a', suffix: 'b' });
      assert.equal(none.status, 400, 'what is to follow cannot be said');
      assert.equal((await gateway.post('/api/generate', { model: `at-${kind}`, prompt: 'a', raw: true })).status, 400);
    }
});

test('what only its maker understands (reasoning_details, a signature of a call) was lost between two turns', async () => {
  const details = [{ type: 'reasoning.text', text: 'th', signature: 'S==', index: 0 }, { type: 'reasoning.encrypted', data: 'D', index: 1 }];
  const call = { id: 'call_1', type: 'function', extra_content: { google: { thought_signature: 'G==' } }, function: { name: 'f', arguments: '{}' } };
  const frame = (more) => ({ id: 'c', created: 1, model: 'm', system_fingerprint: 'fp', ...more });
  const usage = { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5, cost: 0.25, prompt_tokens_details: { audio_tokens: 1 } };
  clouds.openai.behaviour = { handle: (request, response, body) => {
    if (!body.stream) {
      response.writeHead(200, { 'content-type': 'application/json' });
      return void response.end(JSON.stringify(frame({ object: 'chat.completion', usage, choices: [{ index: 0, finish_reason: 'tool_calls',
        message: { role: 'assistant', content: null, reasoning: 'th', reasoning_details: details, tool_calls: [call] } }] })));
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const chunk = (delta, finish_reason = null) => response.write(`data: ${JSON.stringify(frame({ choices: [{ index: 0, delta, finish_reason }] }))}\n\n`);
    for (const detail of details) chunk({ reasoning: 'th', reasoning_details: [detail] });
    chunk({ tool_calls: [{ index: 0, ...call }] });
    chunk({}, 'tool_calls');
    response.end(`data: ${JSON.stringify(frame({ choices: [], usage }))}\n\ndata: [DONE]\n\n`);
  } };
  const ask = (messages, stream) => gateway.chat('at-openai', messages, { stream, stream_options: stream ? { include_usage: true } : undefined });
  const whole = (await ask([{ role: 'user', content: 'q' }])).body;
  const message = whole.choices[0].message;
  assert.deepEqual([message.reasoning_details, message.tool_calls], [details, [call]]);
  assert.deepEqual([whole.system_fingerprint, whole.usage.cost, whole.usage.prompt_tokens_details.audio_tokens], ['fp', 0.25, 1]);
  const chunks = events((await ask([{ role: 'user', content: 'q' }], true)).body);
  const deltas = chunks.flatMap((c) => c.choices?.[0]?.delta ?? []);
  assert.deepEqual(deltas.flatMap((d) => d.reasoning_details ?? []), details);
  assert.deepEqual(deltas.flatMap((d) => d.tool_calls?.[0]?.extra_content ?? []), [call.extra_content]);
  assert.equal(chunks.findLast((c) => c.usage).usage.cost, 0.25);
  const next = [{ role: 'user', content: 'q' }, message, { role: 'tool', tool_call_id: 'call_1', content: 'r' }];
  await ask(next);
  const sent = clouds.openai.requests.at(-1).body.messages[1];
  assert.deepEqual([sent.reasoning_details, sent.tool_calls], [details, [call]]);
  act('anthropic', { text: ['other'] });
  assert.equal((await gateway.chat('at-anthropic', next)).status, 200, 'another target does without');
});

test('an answer that broke off before its first word is asked of the next, whatever stood beside', async () => {
  clouds.openai.behaviour = { handle: (request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(`data: ${JSON.stringify({ id: 'c', model: 'm', system_fingerprint: 'fp', service_tier: 'default', choices: [{ index: 0, delta: { role: 'assistant', content: '' } }] })}\n\n`);
    setTimeout(() => response.destroy(), 20);
  } };
  act('anthropic', { text: ['mine'] });
  const r = await gateway.chat('next', 'q', { stream: true });
  assert.equal(events(r.body).flatMap((e) => e.choices?.[0]?.delta?.content ?? []).join(''), 'mine');
});

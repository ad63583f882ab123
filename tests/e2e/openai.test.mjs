// The official client, unchanged.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Cloud } from './lib/cloud.mjs';
import { Gateway, sleep } from './lib/gateway.mjs';

const OpenAI = await import('openai').then((m) => m.default, () => null);
const skip = OpenAI ? false : 'the openai package is not installed';
let cloud, gateway, client;

before(async () => {
  if (skip) return;
  cloud = await Cloud.start();
  gateway = await Gateway.start(
    `providers:
  sim: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${SIM_KEY}"}
  other: {kind: anthropic, base_url: "${cloud.url}", api_key: "\${SIM_KEY}"}
  third: {kind: gemini, base_url: "${cloud.url}/v1beta", api_key: "\${SIM_KEY}"}
models:
  - {name: cloudy, provider: sim, model: sim-1}
  - {name: claude, provider: other, model: claude-sim}
  - {name: gemini, provider: third, model: gemini-sim}
`,
    { env: { SIM_KEY: 'sk-simulated' } },
  );
  client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'none', maxRetries: 0 });
});

after(async () => {
  if (skip) return;
  await gateway.stop();
  await cloud.stop();
});

const messages = [{ role: 'user', content: 'Say hello.' }];

for (const model of ['cloudy', 'claude', 'gemini']) {
  test(`${model}: a whole answer`, { skip }, async () => {
    const r = await client.chat.completions.create({ model, messages });
    assert.equal(r.object, 'chat.completion');
    assert.equal(r.choices[0].message.content, 'Hello from the cloud');
    assert.equal(r.choices[0].finish_reason, 'stop');
    assert.deepEqual([r.usage.prompt_tokens, r.usage.completion_tokens, r.usage.total_tokens], [7, 4, 11]);
  });

  test(`${model}: a stream, with usage when asked`, { skip }, async () => {
    const stream = await client.chat.completions.create({
      model, messages, stream: true, stream_options: { include_usage: true } });
    let text = '', usage, finish;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? '';
      finish = chunk.choices[0]?.finish_reason ?? finish;
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, 'Hello from the cloud');
    assert.equal(finish, 'stop');
    assert.equal(usage.total_tokens, 11);
  });

  test(`${model}: a stream without usage has no usage chunk`, { skip }, async () => {
    const stream = await client.chat.completions.create({ model, messages, stream: true });
    for await (const chunk of stream) {
      assert.equal(chunk.choices.length, 1);
      assert.equal(chunk.usage ?? null, null);
    }
  });

  test(`${model}: tool calls, whole and streamed`, { skip }, async () => {
    cloud.behaviour = {
      text: [],
      tools: [
        { id: 'call_1', name: 'weather', arguments: ['{"city"', ':"Bern"}'] },
        { id: 'call_2', name: 'time', arguments: ['{}'] },
      ],
    };
    const tools = ['weather', 'time'].map((name) => ({
      type: 'function', function: { name, description: name, parameters: { type: 'object', properties: {} } } }));
    const r = await client.chat.completions.create({ model, messages, tools });
    assert.equal(r.choices[0].finish_reason, 'tool_calls');
    assert.deepEqual(r.choices[0].message.tool_calls.map((c) => [c.id, c.function.name, c.function.arguments]),
      [['call_1', 'weather', '{"city":"Bern"}'], ['call_2', 'time', '{}']]);
    const runner = client.chat.completions.stream({ model, messages, tools });
    const final = await runner.finalChatCompletion();
    assert.deepEqual(final.choices[0].message.tool_calls.map((c) => c.function.arguments), ['{"city":"Bern"}', '{}']);
    const sent = cloud.requests.at(-1).body;
    assert.equal((sent.tools[0].functionDeclarations ?? sent.tools).length, 2);
    cloud.behaviour = {};
  });

  test(`${model}: a stream that is aborted cancels the provider`, { skip }, async () => {
    cloud.behaviour = { text: Array(1000).fill('word '), gap: 5 };
    const before = cloud.aborted;
    const stream = await client.chat.completions.create({ model, messages, stream: true });
    let n = 0;
    for await (const chunk of stream) {
      assert.ok(chunk);
      if (++n === 5) break;
    }
    stream.controller.abort();
    for (let i = 0; i < 300 && cloud.aborted === before; i++) await sleep(10);
    assert.equal(cloud.aborted, before + 1);
    cloud.behaviour = {};
  });
}

test('gemini: a tool\'s result goes back under the name of its call', { skip }, async () => {
  const r = await client.chat.completions.create({
    model: 'gemini',
    messages: [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: [{ type: 'text', text: 'And this?' },
        { type: 'image_url', image_url: { url: 'data:image/png;base64,iVBORw0KGgo=' } }] },
      { role: 'assistant', tool_calls: [{ id: 'call_9', type: 'function',
        function: { name: 'weather', arguments: '{"city":"Bern"}' } }] },
      { role: 'tool', tool_call_id: 'call_9', content: 'sunny' },
    ],
    tools: [{ type: 'function', function: { name: 'weather', parameters: { type: 'object',
      properties: { city: { type: 'string' } }, additionalProperties: false, $schema: 'x' } } }],
    tool_choice: 'auto',
    temperature: 0.5,
  });
  assert.equal(r.choices[0].message.content, 'Hello from the cloud');
  const sent = cloud.requests.at(-1);
  assert.equal(sent.url, '/v1beta/models/gemini-sim:generateContent');
  assert.equal(sent.headers['x-goog-api-key'], 'sk-simulated');
  assert.deepEqual(sent.body.systemInstruction, { parts: [{ text: 'Be brief.' }] });
  assert.deepEqual(sent.body.contents[0].parts[1], { inlineData: { mimeType: 'image/png', data: 'iVBORw0KGgo=' } });
  assert.deepEqual(sent.body.contents[2], { role: 'user', parts: [
    { functionResponse: { id: 'call_9', name: 'weather', response: { output: 'sunny' } } }] });
  assert.deepEqual(sent.body.tools[0].functionDeclarations[0].parameters,
    { type: 'object', properties: { city: { type: 'string' } } });
  assert.equal(sent.body.generationConfig.temperature, 0.5);
});

test('gemini: an image by its address is refused by name, and nothing is sent', { skip }, async () => {
  const before = cloud.requests.length;
  await assert.rejects(client.chat.completions.create({ model: 'gemini', messages: [{ role: 'user',
    content: [{ type: 'image_url', image_url: { url: 'https://example.com/a.png' } }] }] }), /image_url/);
  assert.equal(cloud.requests.length, before);
});

test('errors are of the right class', { skip }, async () => {
  const cases = [
    [() => client.chat.completions.create({ model: 'nobody', messages }), OpenAI.NotFoundError],
    [() => client.chat.completions.create({ model: 'cloudy', messages: [] }), OpenAI.BadRequestError],
    [() => ((cloud.behaviour = { mode: 'status', status: 429, headers: { 'retry-after': '7' } }),
      client.chat.completions.create({ model: 'cloudy', messages })), OpenAI.RateLimitError],
    [() => ((cloud.behaviour = { mode: 'status', status: 500 }),
      client.chat.completions.create({ model: 'cloudy', messages })), OpenAI.InternalServerError],
    [() => ((cloud.behaviour = { mode: 'status', status: 400 }),
      client.chat.completions.create({ model: 'cloudy', messages })), OpenAI.BadRequestError],
    [() => ((cloud.behaviour = { mode: 'status', status: 401 }),
      client.chat.completions.create({ model: 'cloudy', messages })), OpenAI.AuthenticationError],
  ];
  for (const [call, type] of cases)
    await assert.rejects(call, (e) => {
      assert.ok(e instanceof type, `${e.constructor.name}, not ${type.name}: ${e.message}`);
      assert.ok(e.message.length > 10);
      return true;
    });
  cloud.behaviour = {};
});

test('a 429 carries its retry-after', { skip }, async () => {
  cloud.behaviour = { mode: 'status', status: 429, headers: { 'retry-after': '7' } };
  const r = await gateway.chat('cloudy', 'x');
  assert.equal(r.status, 429);
  assert.equal(r.headers.get('retry-after'), '7');
  cloud.behaviour = {};
});

test('a stream that breaks in the middle is an error, not an end', { skip }, async () => {
  cloud.behaviour = { mode: 'truncate' };
  const stream = await client.chat.completions.create({ model: 'cloudy', messages, stream: true });
  await assert.rejects(async () => {
    for await (const chunk of stream) assert.ok(chunk);
  }, OpenAI.APIError);
  cloud.behaviour = {};
});

test('models are listed and looked up', { skip }, async () => {
  const ids = [];
  for await (const m of client.models.list()) ids.push(m.id);
  assert.deepEqual(ids.sort(), ['claude', 'cloudy', 'gemini']);
  assert.equal((await client.models.retrieve('cloudy')).id, 'cloudy');
  await assert.rejects(client.models.retrieve('nobody'), OpenAI.NotFoundError);
});

test('who asks in the words of OpenRouter finds the reasoning under its name there, and may send it back', { skip }, async () => {
  const deltas = [{ role: 'assistant', reasoning: 'Let me' }, { reasoning: ' think.' }, { content: 'Yes' }];
  cloud.behaviour = (request, body) => ({ handle: (q, response) => {
    const about = { id: 'x', model: 'm' };
    if (!body.stream) return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ ...about, choices: [{ index: 0, message: { role: 'assistant', reasoning: 'Let me think.', content: 'Yes' }, finish_reason: 'stop' }], usage: { prompt_tokens: 1, completion_tokens: 4 } }));
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const delta of deltas) response.write(`data: ${JSON.stringify({ ...about, choices: [{ index: 0, delta, finish_reason: null }] })}\n\n`);
    response.end('data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n');
  } });
  for (const asks of [{ reasoning: { effort: 'low' } }, { include_reasoning: true }, {}]) {
    const want = 'reasoning' in asks || 'include_reasoning' in asks ? 'Let me think.' : '';
    const { message } = (await client.chat.completions.create({ model: 'cloudy', messages, ...asks })).choices[0];
    assert.deepEqual([message.reasoning ?? '', message.reasoning_content, message.content], [want, 'Let me think.', 'Yes']);
    let reasoning = '', content = '', own = '';
    for await (const { choices } of await client.chat.completions.create({ model: 'cloudy', messages, stream: true, ...asks })) {
      reasoning += choices[0]?.delta.reasoning ?? '';
      own += choices[0]?.delta.reasoning_content ?? '';
      content += choices[0]?.delta.content ?? '';
    }
    assert.deepEqual([reasoning, own, content], [want, 'Let me think.', 'Yes']);
  }
  // claude was said to have no 'reasoning' of a message.
  cloud.behaviour = {};
  const turns = [...messages, { role: 'assistant', content: 'Yes', reasoning: 'Let me think.' }, { role: 'user', content: 'And?' }];
  for (const model of ['cloudy', 'claude']) assert.equal((await client.chat.completions.create({ model, messages: turns })).choices[0].finish_reason, 'stop');
  assert.equal(cloud.requests.at(-2).body.messages[1].reasoning_content, 'Let me think.');
});

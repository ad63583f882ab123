// Amazon Bedrock: signed requests, its event stream, and the official clients of two other shapes.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { bedrockHandler, event, exception } from './lib/bedrock.mjs';
import { Cloud } from './lib/cloud.mjs';
import { events, Gateway } from './lib/gateway.mjs';

const credentials = { accessKey: 'AKIDEXAMPLE', secretKey: 'wJalr/EXAMPLE+KEY', sessionToken: 'token==', region: 'eu-central-1' };
const claude = 'eu.anthropic.claude-sonnet-4-5-20250929-v1:0';
let cloud, gateway;
const act = (script) => (cloud.behaviour = { handle: bedrockHandler(credentials, script) });

before(async () => {
  cloud = await Cloud.start();
  gateway = await Gateway.start(
    `providers:
  aws: {kind: bedrock, region: eu-central-1, base_url: "${cloud.url}", secret_access_key: "\${SECRET}", retries: 0, breaker: off}
  other: {kind: bedrock, region: eu-central-1, base_url: "${cloud.url}", access_key_id: "\${AWS_ACCESS_KEY_ID}", secret_access_key: "\${WRONG}", retries: 0, breaker: off}
  bearer: {kind: bedrock, region: eu-central-1, base_url: "${cloud.url}", api_key: "\${WRONG}"}
models:
  - {name: claude, provider: aws, model: "${claude}", price: {input: 3, cached_input: 0.3, cache_write: 3.75, output: 15}}
  - {name: nova, provider: aws, model: amazon.nova-pro-v1:0}
  - {name: titan, provider: aws, model: amazon.titan-embed-text-v2:0, price: {input: 0.02, output: 0}}
  - {name: cohere, provider: aws, model: cohere.embed-multilingual-v3}
  - {name: wrong, provider: other, model: amazon.nova-pro-v1:0}
  - {name: bearer, provider: bearer, model: amazon.nova-pro-v1:0}
`,
    { env: { AWS_ACCESS_KEY_ID: credentials.accessKey, AWS_SESSION_TOKEN: credentials.sessionToken, SECRET: credentials.secretKey, WRONG: 'not-it' } },
  );
});

after(async () => {
  await gateway?.stop();
  await cloud.stop();
});

test('a signed request, an answer with reasoning and its usage to the token', async () => {
  act();
  const r = await gateway.chat('claude', 'hi', { max_tokens: 100 });
  assert.equal(r.status, 200, JSON.stringify(r.body));
  assert.equal(r.body.choices[0].message.content, 'Grüße all');
  assert.equal(r.body.choices[0].message.reasoning_content, 'hm');
  assert.equal(r.body.usage.prompt_tokens, 35);
  assert.equal(r.body.usage.completion_tokens, 7);
  assert.equal(r.body.usage.prompt_tokens_details.cached_tokens, 20);
  const { url, body, headers } = cloud.requests.at(-1);
  assert.equal(url, `/model/${encodeURIComponent(claude)}/converse`);
  assert.equal(headers.accept, 'application/json');
  assert.deepEqual(body, { messages: [{ role: 'user', content: [{ text: 'hi' }] }], inferenceConfig: { maxTokens: 100 } });
  assert.equal(headers['x-amz-security-token'], credentials.sessionToken);
  assert.ok(!cloud.received().includes(credentials.secretKey), 'the secret key stays here');
});

test('a stream is asked for as one, and says the same', async () => {
  act();
  const r = await gateway.chat('claude', 'hi', { stream: true, stream_options: { include_usage: true } });
  const all = events(r.body);
  assert.equal(all.map((e) => e.choices?.[0]?.delta?.content ?? '').join(''), 'Grüße all');
  assert.equal(all.find((e) => e.usage).usage.prompt_tokens, 35);
  const { url, headers } = cloud.requests.at(-1);
  assert.equal(url, `/model/${encodeURIComponent(claude)}/converse-stream`);
  assert.equal(headers.accept, 'application/vnd.amazon.eventstream');
});

test('tools of a whole answer', async () => {
  act();
  const tools = [{ type: 'function', function: { name: 'f', parameters: { type: 'object', properties: { a: { type: 'number' } } } } }];
  const r = await gateway.chat('claude', 'call f', { tools });
  assert.equal(r.body.choices[0].finish_reason, 'tool_calls');
  const [call] = r.body.choices[0].message.tool_calls;
  assert.deepEqual([call.id, call.function.name, JSON.parse(call.function.arguments)], ['t1', 'f', { a: 1 }]);
});

test("Titan's and Cohere's embeddings", async () => {
  act();
  const embed = (model, input, more = {}) => gateway.post('/v1/embeddings', { model, input, ...more });
  const one = await embed('titan', 'four', { dimensions: 3, encoding_format: 'float' });
  assert.equal(one.status, 200, JSON.stringify(one.body));
  assert.deepEqual(one.body.data.map((d) => d.embedding), [[4, 0.5, 0.5]]);
  assert.equal(one.body.usage.prompt_tokens, 3);
  assert.deepEqual(cloud.requests.at(-1).body, { inputText: 'four', dimensions: 3 });
  assert.match(cloud.requests.at(-1).url, /^\/model\/amazon\.titan-embed-text-v2%3A0\/invoke$/);
  assert.equal(gateway.audit('ledger').at(-1).cost_nano_usd, 60);
  const two = await embed('cohere', ['a', 'bcd'], { encoding_format: 'float' });
  assert.deepEqual(two.body.data.map((d) => d.embedding), [[1, 0.5], [3, 0.5]]);
  assert.equal(cloud.requests.at(-1).body.input_type, 'search_document');
  const sent = cloud.requests.length;
  const nova = await embed('nova', 'a');
  assert.equal(nova.status, 400, JSON.stringify(nova.body));
  assert.match(nova.body.error.message, /cohere\.embed/);
  assert.equal(cloud.requests.length, sent);
  const calls = async (model, input) => {
    const r = await embed(model, input, { encoding_format: 'float' });
    assert.deepEqual(r.body.data.map((d) => d.embedding[0]), input.map((t) => t.length), JSON.stringify(r.body));
    return cloud.requests.length;
  };
  assert.equal(await calls('titan', ['a', 'bcd', 'ef']), sent + 3, 'each signed by itself');
  assert.equal(await calls('cohere', Array.from({ length: 97 }, (_, i) => 'a'.repeat(1 + (i % 7)))), sent + 5);
});

test('tools by the stream, and their results sent back', async () => {
  act();
  const tools = [{ type: 'function', function: { name: 'f', parameters: { type: 'object', properties: { a: { type: 'number' } } } } }];
  const r = await gateway.chat('claude', 'call f', { tools, tool_choice: 'required', stream: true });
  const calls = events(r.body).flatMap((e) => e.choices?.[0]?.delta?.tool_calls ?? []);
  assert.equal(calls[0].id, 't1');
  assert.equal(calls.map((c) => c.function?.arguments ?? '').join(''), '{"a":1}');
  assert.deepEqual(cloud.requests.at(-1).body.toolConfig.toolChoice, { any: {} });
  const messages = [
    { role: 'user', content: 'call f' },
    { role: 'assistant', content: null, tool_calls: [{ id: 't1', type: 'function', function: { name: 'f', arguments: '{"a":1}' } }] },
    { role: 'tool', tool_call_id: 't1', content: '42' },
  ];
  assert.equal((await gateway.chat('nova', messages)).status, 200);
  assert.deepEqual(cloud.requests.at(-1).body.messages[2], {
    role: 'user',
    content: [{ toolResult: { toolUseId: 't1', content: [{ text: '42' }] } }],
  });
});

test("Anthropic's clients get the thought's signature and send it back", async () => {
  act();
  const ask = { model: 'claude', max_tokens: 50, messages: [{ role: 'user', content: 'hi' }] };
  const r = await gateway.post('/v1/messages', ask);
  assert.equal(r.status, 200, JSON.stringify(r.body));
  assert.deepEqual(r.body.content[0], { type: 'thinking', thinking: 'hm', signature: 'c2ln' });
  assert.equal(r.body.usage.input_tokens, 5);
  assert.equal(r.body.usage.cache_read_input_tokens, 20);
  assert.equal(r.body.usage.cache_creation_input_tokens, 10);
  await gateway.post('/v1/messages', {
    ...ask,
    messages: [...ask.messages, { role: 'assistant', content: r.body.content }, { role: 'user', content: [{ type: 'text', text: 'go on', cache_control: { type: 'ephemeral' } }] }],
  });
  const { body } = cloud.requests.at(-1);
  assert.deepEqual(body.messages[1].content[0], { reasoningContent: { reasoningText: { text: 'hm', signature: 'c2ln' } } });
  assert.deepEqual(body.messages[2].content, [{ text: 'go on' }]);
});

for (const [status, type, seen] of [
  [400, 'ValidationException', 400], [403, 'AccessDeniedException', 403], [404, 'ResourceNotFoundException', 404],
  [408, 'ModelTimeoutException', 504], [424, 'ModelErrorException', 503], [429, 'ThrottlingException', 429],
  [500, 'InternalServerException', 500], [503, 'ServiceUnavailableException', 503],
])
  test(`${type} is answered with ${seen}`, async () => {
    act({ status, type });
    const r = await gateway.chat('nova', 'hi');
    assert.equal(r.status, seen, JSON.stringify(r.body));
    assert.ok(r.body.error.message);
  });

test('an exception in the middle of a stream, a break and a damaged message are one error event', async () => {
  const begin = [event('messageStart', { role: 'assistant' }), event('contentBlockDelta', { contentBlockIndex: 0, delta: { text: 'a' } })];
  const damaged = Buffer.from(event('contentBlockDelta', { contentBlockIndex: 0, delta: { text: 'b' } }));
  damaged[damaged.length - 9] ^= 1;
  for (const script of [
    { events: [...begin, exception('throttlingException', 'slow down')] },
    { events: begin, break: true },
    { events: begin },
    { events: [...begin, damaged] },
  ]) {
    act(script);
    const r = await gateway.chat('nova', 'hi', { stream: true });
    const told = events(r.body).filter((e) => e.error);
    assert.equal(told.length, 1, r.body);
  }
});

test('wrong credentials are the configuration\'s fault; a key of its own goes as it is', async () => {
  act();
  const r = await gateway.chat('wrong', 'hi');
  assert.equal(r.status, 403);
  assert.match(r.body.error.message, /credentials/);
  assert.ok(!JSON.stringify(r.body).includes('not-it'));
  await gateway.chat('bearer', 'hi');
  assert.equal(cloud.requests.at(-1).headers.authorization, 'Bearer not-it');
});

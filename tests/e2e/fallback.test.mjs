// The next target on failure, inside the boundary, before the first event; one clear error where none is left.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, test } from 'node:test';
import { Cloud } from './lib/cloud.mjs';
import { events, Gateway, makeFolder, makeModel, streamedText } from './lib/gateway.mjs';

let first, second, gateway;

before(async () => {
  first = await Cloud.start();
  second = await Cloud.start({ text: ['second'] });
  const folder = makeFolder();
  makeModel(folder);
  gateway = await Gateway.start(
    `providers:
  a: {kind: openai, base_url: "${first.url}/v1", api_key: "\${SIM_KEY}", first_byte_timeout: 250ms, idle_timeout: 250ms, connect_timeout: 1s, retries: 0, breaker: off}
  b: {kind: anthropic, base_url: "${second.url}", api_key: "\${SIM_KEY}"}
  gone: {kind: openai, base_url: "http://127.0.0.1:1/v1", api_key: "\${SIM_KEY}"}
models:
  - {name: one, provider: a, model: m1}
  - {name: two, provider: b, model: m2}
  - {name: nowhere, provider: gone, model: m3}
  - {name: house, file: ${folder}/tiny.gguf, context: 64, threads: 1}
routes:
  - {name: grows, rules: [{name: inside, when: {sensitive: true}, use: [house, two], boundary: local}, {name: always, use: [house, one, two]}]}
  - {name: auto, rules: [{name: always, use: [one, two]}]}
  - {name: dead, rules: [{name: always, use: [nowhere, one]}]}
`,
    { env: { SIM_KEY: 'sk-simulated' }, folder },
  );
});

after(async () => {
  await gateway.stop();
  await first.stop();
  await second.stop();
});

for (const behaviour of [
  { mode: 'status', status: 429 }, { mode: 'status', status: 500 }, { mode: 'status', status: 503 },
  { mode: 'status', status: 529 }, { mode: 'status', status: 401 }, { mode: 'hang' }, { mode: 'reset' }, { mode: 'html' },
])
  for (const stream of [false, true])
    test(`${behaviour.mode} ${behaviour.status ?? ''} is followed by the next target${stream ? ', streamed' : ''}`, async () => {
      first.behaviour = behaviour;
      const r = await gateway.chat('auto', 'hi', { stream });
      assert.equal(r.status, 200, JSON.stringify(r.body));
      assert.equal(stream ? streamedText(r.body) : r.body.choices[0].message.content, 'second');
      assert.equal(r.headers.get('x-weir-model'), 'two');
      assert.equal(r.headers.get('x-weir-provider'), 'b');
      const row = gateway.audit('ledger').at(-1);
      const attempts = typeof row.attempts === 'string' ? JSON.parse(row.attempts) : row.attempts;
      assert.deepEqual(attempts.map((a) => a.target), ['one', 'two']);
      assert.equal(attempts[1].outcome, 'ok');
      assert.equal(row.outcome, 'ok');
    });

test('a request that is wrong for everyone is not tried elsewhere', async () => {
  first.behaviour = { mode: 'status', status: 400 };
  const before = second.requests.length;
  const r = await gateway.chat('auto', 'hi');
  assert.equal(r.status, 400);
  assert.equal(second.requests.length, before);
});

test('where none is left, one error names each attempt', async () => {
  first.behaviour = { mode: 'status', status: 500, error: { error: { message: 'the moon is full' } } };
  const r = await gateway.chat('dead', 'hi');
  assert.equal(r.status, 503);
  assert.match(r.body.error.message, /nowhere: /);
  assert.match(r.body.error.message, /one: .*the moon is full/);
});

test('all out of time is 504', async () => {
  first.behaviour = { mode: 'hang' };
  const r = await gateway.chat('one', 'hi');
  assert.equal(r.status, 504);
});

test('after the first event nothing is tried again: the stream ends with an error', async () => {
  first.behaviour = { text: ['begun'], mode: 'truncate' };
  const before = second.requests.length;
  const r = await gateway.chat('auto', 'hi', { stream: true });
  assert.equal(r.status, 200);
  const all = events(r.body);
  assert.equal(all.filter((e) => e.error).length, 1);
  assert.ok(!all.includes('[DONE]'));
  assert.equal(second.requests.length, before);
  assert.equal(gateway.audit('ledger').at(-1).outcome, 'failed');
});

test('a provider that falls silent in the middle is cut off', async () => {
  first.behaviour = { text: ['a', 'b', 'c'], gap: 2000 };
  const r = await gateway.chat('auto', 'hi', { stream: true });
  assert.equal(events(r.body).filter((e) => e.error).length, 1);
});

test('the egress log has the byte count and hash of exactly what arrived', async () => {
  first.behaviour = {};
  first.bytes.length = 0;
  await gateway.chat('one', 'weigh me');
  const text = first.received();
  const body = Buffer.from(text.slice(text.indexOf('\r\n\r\n') + 4), 'latin1');
  const row = gateway.audit('egress').at(-1);
  assert.equal(row.bytes, body.length);
  assert.equal(row.sha256, createHash('sha256').update(body).digest('hex'));
  assert.equal(row.target, 'a');
  assert.equal(row.rule, 'named');
});

test('no key of a provider shows up in an error or the log', async () => {
  first.behaviour = { mode: 'status', status: 500, error: { error: { message: 'your key sk-simulated is odd' } } };
  const r = await gateway.chat('one', 'hi');
  assert.ok(!JSON.stringify(r.body).includes('sk-simulated'));
  assert.ok(!gateway.log.includes('sk-simulated'));
});

test('what is sent again on a new connection, because the old one broke, has a record of its own', async () => {
  first.behaviour = {};
  await gateway.chat('one', 'keeps the connection');
  let n = 0;
  first.behaviour = () => (n++ === 0 ? { mode: 'reset' } : {});
  const before = first.requests.length;
  const r = await gateway.chat('one', 'sent twice');
  assert.equal(r.status, 200, JSON.stringify(r.body));
  assert.equal(first.requests.length - before, 2);
  const id = r.headers.get('x-request-id');
  assert.equal(gateway.audit('egress').filter((e) => e.request_id === id).length, 2);
});

const outcomes = () => gateway.audit('ledger').at(-1).attempts.map((a) => [a.target, a.outcome]);

for (const stream of [false, true])
  test(`a prompt over the context goes on to the next target${stream ? ', streamed' : ''}`, async () => {
    const long = 'word '.repeat(500);
    first.behaviour = { mode: 'status', status: 400,
      error: { error: { message: 'm', type: 'invalid_request_error', code: 'context_length_exceeded' } } };
    const r = await gateway.chat('grows', long, { stream });
    assert.equal(r.status, 200, JSON.stringify(r.body));
    assert.equal(r.headers.get('x-weir-model'), 'two');
    assert.deepEqual(outcomes(), [['house', 'context'], ['one', 'context'], ['two', 'ok']]);
  });

test('a prompt over the context never crosses the boundary for it; the client is told the code', async () => {
  const sent = first.requests.length + second.requests.length;
  const r = await gateway.chat('grows', `my SSN is 536-22-1847 ${'word '.repeat(500)}`);
  assert.equal(r.status, 400);
  assert.equal(r.body.error.code, 'context_length_exceeded');
  assert.deepEqual(outcomes(), [['house', 'context']]);
  assert.equal(first.requests.length + second.requests.length, sent);
});

test('where no context is large enough the client gets 400 and its code', async () => {
  first.behaviour = { mode: 'status', status: 400,
    error: { error: { message: "This model's maximum context length is 9 tokens", type: 'BadRequestError', code: 400 } } };
  const r = await gateway.chat('one', 'hi');
  assert.equal(r.status, 400);
  assert.equal(r.body.error.code, 'context_length_exceeded');
});

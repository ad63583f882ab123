// The book of faults, for every kind of provider, seen through every API shape, whole and streamed: what the client
// sees is a well-formed answer or one well-formed error, within its deadline. All of a pairing run at once: the
// prompt's number says which fault its provider shall have.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { bedrockScript } from './lib/bedrock.mjs';
import { Cloud } from './lib/cloud.mjs';
import { Gateway, sleep } from './lib/gateway.mjs';

const kinds = ['openai', 'anthropic', 'gemini', 'ollama', 'bedrock'];
const paths = { openai: '/v1', gemini: '/v1beta' };
const credentials = { accessKey: 'AKIDEXAMPLE', secretKey: 'wJalr/EXAMPLE+KEY', region: 'eu-central-1' };
const faults = [
  ...[301, 400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 529].map((status) => ({ mode: 'status', status })),
  { mode: 'status', status: 429, headers: { 'retry-after': '3600' } },
  { mode: 'status', status: 500, error: 'not JSON of theirs' }, { mode: 'status', status: 400, error: null }, { mode: 'status', status: 500, error: [[{}]] },
  { mode: 'hang' }, { mode: 'reset' }, { mode: 'html' }, { mode: 'malformed' }, { mode: 'truncate' }, { mode: 'giant' },
  { mode: 'reset-after-headers' }, { mode: 'reset-mid-stream' }, { mode: 'stall' }, { mode: 'broken-mid-stream' },
  { mode: 'long-length' }, { mode: 'short-length' }, { mode: 'drip' }, { mode: 'split' },
  { mode: 'ok', headers: { 'content-type': 'image/png' } }, { mode: 'ok', headers: { 'content-encoding': 'br' } },
  ...[
    '', 'null', '[]', '{}', '"text"', '{"choices":[]}', '{"choices":null}', '{"choices":[null]}', '{"choices":[{"delta":null}]}',
    '{"choices":[{"index":-1,"delta":{"content":"x"}}]}', '{"choices":[{"index":4000000000,"delta":{"content":"x"}}]}',
    '{"choices":[{"index":0,"delta":{"content":{"a":1}}}]}', '{"choices":[{"index":0,"delta":{"tool_calls":[{"index":99999999}]}}]}',
    '{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}',
    '{"choices":[{"index":0,"delta":{"content":"\\ud800"}}]}', '{"choices":[{"index":0,"delta":{"content":"a\\u0000b"}}]}',
    '{"type":"content_block_delta","index":7,"delta":{"type":"text_delta","text":"x"}}', '{"type":"message_start"}', '{"type":"message_stop"}',
    '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', '{"error":{"code":503,"status":"UNAVAILABLE"}}', '{"error":"busy"}',
    '{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"SAFETY"}]}', '{"promptFeedback":{"blockReason":"SAFETY"}}', '{"candidates":[{"content":null}]}',
    '{"message":{"content":"x"},"done":true}', '{"message":null,"done":true}', '{"done":true}', '{"usage":{"prompt_tokens":-5,"completion_tokens":1e300}}',
    '['.repeat(5000), '{"a":'.repeat(5000), '\u00ff\u00fe', '{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":7}]}',
  ].flatMap((body) => [{ raw: body, as: 'sse' }, { raw: body, as: 'json' }]),
];
const clouds = {};
let gateway;

function behaviour(kind) {
  return (request, body) => {
    const fault = faults[Number(/fault (\d+)/.exec(JSON.stringify(body))?.[1] ?? -1)] ?? {};
    const b = { text: ['begun ', 'grüß'], usage: { input: 3, output: 2 }, ...fault };
    if (fault.raw !== undefined)
      return {
        handle: async (_, response) => {
          response.writeHead(200, { 'content-type': fault.as === 'sse' ? 'text/event-stream' : 'application/json' });
          response.end(fault.as === 'sse' ? `data: ${fault.raw}\n\n` : fault.raw);
        },
      };
    if (kind === 'bedrock' && ['ok', 'truncate', 'stall'].includes(b.mode ?? 'ok'))
      return { handle: bedrockScript(credentials, b) };
    return b;
  };
}

before(async () => {
  for (const kind of kinds) clouds[kind] = await Cloud.start(behaviour(kind));
  const own = (kind) => (kind === 'bedrock' ? 'region: eu-central-1, secret_access_key: "${AWS_SECRET}"' : 'api_key: "${SIM_KEY}"');
  gateway = await Gateway.start(
    `on_sensitive: allow
request_timeout: 20s
providers:
${kinds.map((kind) => `  ${kind}: {kind: ${kind}, base_url: "${clouds[kind].url}${paths[kind] ?? ''}", ${own(kind)}, first_byte_timeout: 2s, idle_timeout: 2s, retries: 0, breaker: off}`).join('\n')}
models:
${kinds.map((kind) => `  - {name: at-${kind}, provider: ${kind}, model: far-1}`).join('\n')}
`,
    { env: { SIM_KEY: 'sk-simulated', AWS_ACCESS_KEY_ID: credentials.accessKey, AWS_SECRET: credentials.secretKey } },
  );
});

after(async () => {
  await gateway?.stop();
  for (const cloud of Object.values(clouds)) await cloud.stop();
});

const sse = (text) => {
  assert.ok(text.endsWith('\n\n'), 'the last event is whole');
  return text.slice(0, -2).split('\n\n').filter((block) => !block.startsWith(':')).map((block) => {
    const [, , name, data] = /^(event: (\S+)\n)?data: (.*)$/.exec(block) ?? assert.fail(`no event: ${block}`);
    return data === '[DONE]' ? data : { name, ...JSON.parse(data) };
  });
};
const isMessage = (text) => assert.ok(typeof text === 'string' && text.length > 0);
const one = (list) => assert.equal(list.length, 1);

// Each shape: where to ask, what to say, and what a whole and a streamed answer have to look like.
const shapes = {
  openai: {
    path: '/v1/chat/completions',
    body: (content) => ({ messages: [{ role: 'user', content }], stream_options: undefined }),
    whole: (r) => (r.status === 200 ? assert.equal(typeof r.body.choices[0].message.content, 'string') : isMessage(r.body.error.message)),
    streamed: (text) => {
      const all = sse(text);
      one(all.filter((e) => e === '[DONE]' || e.error));
      assert.ok(all.at(-1) === '[DONE]' || all.at(-1).error);
      if (all.at(-1) === '[DONE]') one(all.filter((e) => e.choices?.[0]?.finish_reason));
    },
  },
  responses: {
    path: '/v1/responses',
    body: (input) => ({ input, store: false }),
    whole: (r) => (r.status === 200 ? assert.ok(Array.isArray(r.body.output)) : isMessage(r.body.error.message)),
    streamed: (text) => {
      const all = sse(text);
      all.forEach((e, i) => {
        assert.equal(e.name, e.type);
        assert.equal(e.sequence_number, i);
      });
      const last = ['response.completed', 'response.incomplete', 'response.failed', 'error'];
      assert.ok(last.includes(all.at(-1).type), all.at(-1).type);
      assert.equal(all.filter((e) => e.type === 'response.output_item.added').length >= all.filter((e) => e.type === 'response.output_item.done').length, true);
    },
  },
  anthropic: {
    path: '/v1/messages',
    body: (content) => ({ max_tokens: 50, messages: [{ role: 'user', content }] }),
    whole: (r) => {
      if (r.status === 200) return assert.ok(r.body.type === 'message' && Array.isArray(r.body.content) && r.body.stop_reason);
      assert.equal(r.body.type, 'error');
      assert.match(r.body.error.type, /_error$|request_too_large/);
      isMessage(r.body.error.message);
    },
    streamed: (text) => {
      const all = sse(text).filter((e) => e.type !== 'ping');
      let open = -1, next = 0;
      for (const e of all) {
        assert.equal(e.name, e.type);
        if (e.type === 'content_block_start') {
          assert.equal(open, -1);
          assert.equal(e.index, next++);
          open = e.index;
        } else if (e.type === 'content_block_delta') assert.equal(e.index, open);
        else if (e.type === 'content_block_stop') {
          assert.equal(e.index, open);
          open = -1;
        }
      }
      assert.equal(all[0].type, all[0].type === 'error' ? 'error' : 'message_start');
      one(all.filter((e) => ['message_stop', 'error'].includes(e.type)));
      assert.ok(['message_stop', 'error'].includes(all.at(-1).type));
      if (all.at(-1).type === 'message_stop') assert.equal(open, -1);
    },
  },
  ollama: {
    path: '/api/chat',
    body: (content) => ({ messages: [{ role: 'user', content }] }),
    whole: (r) => (r.status === 200 ? assert.ok(r.body.done && typeof r.body.message.content === 'string') : isMessage(r.body.error)),
    streamed: (text) => {
      assert.ok(text.endsWith('\n'));
      const all = text.trimEnd().split('\n').map((line) => JSON.parse(line));
      one(all.filter((e) => e.done || e.error));
      assert.ok(all.at(-1).done || all.at(-1).error);
    },
  },
};

async function ask(shape, kind, fault, stream) {
  const { path, body, whole, streamed } = shapes[shape];
  const began = Date.now();
  const response = await fetch(gateway.url + path, {
    method: 'POST', headers: { 'content-type': 'application/json' }, signal: AbortSignal.timeout(30000),
    body: JSON.stringify({ model: `at-${kind}`, stream, ...body(`fault ${fault}`) }) });
  const text = await response.text();
  const r = { status: response.status, get body() { return JSON.parse(text); } };
  const what = `${JSON.stringify(faults[fault]).slice(0, 120)}${stream ? ', streamed' : ''}: ${r.status} ${text.slice(0, 600)}`;
  try {
    assert.ok(Date.now() - began < 25000, 'within its deadline');
    assert.ok(r.status === 200 || r.status >= 400, `status ${r.status}`);
    if (r.status === 200 && stream) streamed(text);
    else whole(r);
  } catch (e) {
    throw new Error(`${what}\n${e.message}`);
  }
}

for (const kind of kinds)
  test(`${faults.length} faults of ${kind}, whole and streamed, seen through ${Object.keys(shapes).join(', ')}`, async () => {
    const work = faults.flatMap((_, fault) =>
      Object.keys(shapes).flatMap((shape) => [false, true].map((stream) => () => ask(shape, kind, fault, stream))));
    const wrong = [];
    const run = async () => {
      for (let w = work.shift(); w; w = work.shift()) await w().catch((e) => wrong.push(e.message));
    };
    await Promise.all(Array.from({ length: 64 }, run));
    assert.equal(wrong.length, 0, `${wrong.length} are wrong:\n${wrong.slice(0, 5).join('\n\n')}`);
  });

test('a compressed answer was only said to be incomplete', async () => {
  const fault = faults.findIndex((f) => f.headers?.['content-encoding']);
  for (const kind of kinds.filter((k) => k !== 'bedrock')) { // whose simulation sets its own headers
    const { status, body } = await gateway.chat(`at-${kind}`, `fault ${fault}`);
    assert.equal(status, 503);
    assert.match(body.error.message, /is compressed \(Content-Encoding: br\), though nobody asked for that/);
    const { body: stream } = await gateway.chat(`at-${kind}`, `fault ${fault}`, { stream: true });
    assert.match(stream.error?.message ?? stream, /is compressed \(Content-Encoding: br\)/);
    assert.equal(clouds[kind].requests.at(-1).headers['accept-encoding'], 'identity');
  }
});

test('after all that the gateway answers, and nothing is in flight', async () => {
  const r = await gateway.chat('at-openai', 'hi');
  assert.equal(r.body.choices[0].message.content, 'begun grüß');
  for (let i = 0; i < 100; i++) {
    const { body } = await gateway.get('/metrics');
    const open = body.split('\n').filter((l) => /^weir_requests_in_flight\b/.test(l)).reduce((sum, l) => sum + Number(l.split(' ').at(-1)), 0);
    if (open === 0) return;
    await sleep(50);
  }
  assert.fail('requests are still in flight');
});

// Bad input at the door: each is answered with a clear error, and the gateway lives on.
import { gzipSync } from 'node:zlib';
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { Cloud } from './lib/cloud.mjs';
import { Gateway, sleep } from './lib/gateway.mjs';
import { get, post, raw, status } from './lib/raw.mjs';

let gateway;
let cloud;
const chat = '/v1/chat/completions';
const body = (extra = {}) => JSON.stringify({ model: 'cloudy', messages: [{ role: 'user', content: 'hi' }], ...extra });

before(async () => {
  cloud = await Cloud.start();
  gateway = await Gateway.start(
    `providers:
  sim: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${SIM_KEY}", first_byte_timeout: 60s}
models:
  - {name: cloudy, provider: sim, model: sim-1, price: {input: 2.50, output: 10.00}}
routes:
  - name: tagged
    rules:
      - {when: {tag: internal}, use: [], boundary: local}
      - {use: [cloudy]}
max_body: 1MiB
`,
    { env: { SIM_KEY: 'sk-simulated' } },
  );
});

after(async () => {
  assert.equal((await gateway.get('/healthz')).status, 200, 'alive after all of it');
  await gateway.stop();
  await cloud.stop();
});

const refuses = async (pieces, wanted, options) => {
  const { text } = await raw(gateway.port, pieces, { until: '}}', ...options });
  assert.equal(status(text), wanted, text.slice(0, 300));
  const at = text.indexOf('\r\n\r\n') + 4;
  const error = JSON.parse(text.slice(at)).error;
  assert.ok(error.message.length > 10, 'the error says something');
  return error;
};

test('a whole answer, with its headers', async () => {
  const r = await gateway.chat('cloudy', 'hi');
  assert.equal(r.status, 200);
  assert.equal(r.body.choices[0].message.content, 'Hello from the cloud');
  assert.equal(r.headers.get('x-weir-model'), 'cloudy');
  assert.equal(r.headers.get('x-weir-provider'), 'sim');
  assert.equal(r.headers.get('x-weir-rule'), 'named');
  assert.match(r.headers.get('x-request-id'), /^req_/);
  // 7 prompt tokens at 2.50 and 4 answer tokens at 10.00 a million
  assert.equal(Number(r.headers.get('x-weir-cost-usd')), 0.0000575);
});

test('requests on one connection, also pipelined', async () => {
  const one = get('/healthz');
  const { text } = await raw(gateway.port, [one + one + post(chat, body()) + get('/healthz', 'Connection: close\r\n')]);
  assert.equal(text.match(/HTTP\/1\.1 200/g)?.length, 4, text);
});

test('a request in single bytes', async () => {
  const pieces = [...post(chat, body(), 'Connection: close\r\n')].map((b) => Buffer.from([b]));
  const { text } = await raw(gateway.port, pieces);
  assert.equal(status(text), 200);
});

test('HTTP/1.0 gets an answer that ends with the connection', async () => {
  const { text, closed } = await raw(gateway.port, ['GET /healthz HTTP/1.0\r\n\r\n']);
  assert.equal(status(text), 200);
  assert.ok(closed);
});

test('not HTTP at all', () => refuses(['\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 garbage\r\n\r\n'], 400));
test('an unknown method', () => refuses(['BREW /coffee HTTP/1.1\r\nHost: localhost\r\n\r\n'], 400));
test('HTTP/1.1 without Host', () => refuses(['GET /healthz HTTP/1.1\r\n\r\n'], 400));
test('two Host headers', () => refuses([get('/healthz', 'Host: evil\r\n')], 400));
test('two lengths', () => refuses([post(chat, body(), 'Content-Length: 3\r\n')], 400));
test('a length and chunks', () => refuses([post(chat, body(), 'Transfer-Encoding: chunked\r\n')], 400));
test('a negative length', () => refuses([`POST ${chat} HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n`], 400));
test('an absurd length', () =>
  refuses([`POST ${chat} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n`], 400));
test('a malformed chunk size', () =>
  refuses([`POST ${chat} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n`], 400));
test('a header without end', () => refuses([get('/healthz', `X: ${'a'.repeat(100000)}\r\n`)], 431));
test('too many headers', () => refuses([get('/healthz', 'X: 1\r\n'.repeat(200))], 431));
test('a NUL in the path', () => refuses([get('/health%00z')], 400));
test('a malformed escape in the path', () => refuses([get('/health%zz')], 400));

test('a body over the limit by its length', () =>
  refuses([`POST ${chat} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 104857600\r\n\r\n`, Buffer.alloc(1 << 20, 0x20)], 413));

test('a body of 100 MB that is really sent', async () => {
  const piece = Buffer.alloc(1 << 20, 0x20);
  const head = `POST ${chat} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 104857600\r\n\r\n`;
  await refuses([head, ...Array(100).fill(piece)], 413, { ms: 20000 });
});

test('a body over the limit in chunks', () =>
  refuses(
    [
      `POST ${chat} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n`,
      ...Array(20).fill(`10000\r\n${'x'.repeat(65536)}\r\n`),
    ],
    413,
  ));

const answers = async (content, wanted) => {
  const r = await gateway.post(chat, content);
  assert.equal(r.status, wanted, JSON.stringify(r.body));
  assert.ok(r.body.error.message.length > 5);
  assert.match(r.headers.get('x-request-id'), /^req_/);
  return r.body.error;
};

test('invalid JSON', () => answers('{"model":', 400));
test('JSON that is no object', () => answers('[1,2]', 400));
test('an empty body', () => answers('', 400));
test('JSON nested 10,000 deep', () => answers('['.repeat(10000) + ']'.repeat(10000), 400));
test('an unknown model', async () => {
  const error = await answers(JSON.stringify({ model: 'nobody', messages: [{ role: 'user', content: 'x' }] }), 404);
  assert.match(error.message, /cloudy/, 'says what there is');
});
test('invalid UTF-8', async () => {
  const bytes = Buffer.concat([
    Buffer.from('{"model":"cloudy","messages":[{"role":"user","content":"'),
    Buffer.from([0xff, 0xc0, 0x80, 0xed, 0xa0, 0x80]),
    Buffer.from('"}]}'),
  ]);
  await answers(bytes, 400);
});

for (const [name, extra] of Object.entries({
  'messages that are a string': { messages: 'hi' },
  'no messages': { messages: [] },
  'a role that does not exist': { messages: [{ role: 'wizard', content: 'x' }] },
  'content that is a number': { messages: [{ role: 'user', content: 5 }] },
  'a part without type': { messages: [{ role: 'user', content: [{ text: 'x' }] }] },
  'a temperature that is text': { temperature: 'hot' },
  'a temperature of 99': { temperature: 99 },
  'a negative max_tokens': { max_tokens: -1 },
  'a fractional seed': { seed: 1.5 },
  'stop strings that are numbers': { stop: [1, 2] },
  'too many stop strings': { stop: Array(17).fill('x') },
  'stream that is text': { stream: 'yes' },
  'tools that are no array': { tools: {} },
  'a tool without a name': { tools: [{ type: 'function', function: {} }] },
  'a tool_choice of nonsense': { tool_choice: 'perhaps' },
  'a tool message without its call': { messages: [{ role: 'tool', content: 'x' }] },
}))
  test(`wrong types: ${name}`, () => answers(body(extra), 400));

test('the wrong method, and a path that is not there', async () => {
  assert.equal((await gateway.get(chat)).status, 405);
  assert.equal((await gateway.get('/v2/nothing')).status, 404);
});

test('a name that was rebound to loopback is refused', async () => {
  await refuses([`GET /v1/models HTTP/1.1\r\nHost: evil.example:${gateway.port}\r\n\r\n`], 403);
});

test('a target that names a host was judged by its Host header', async () => {
  const { port } = gateway;
  await refuses([`GET http://evil.example:${port}/v1/models HTTP/1.1\r\nHost: localhost:${port}\r\n\r\n`], 403);
  const request = (target) => `GET ${target} HTTP/1.1\r\nHost: proxy.example\r\nConnection: close\r\n\r\n`;
  for (const host of [`localhost:${port}`, `127.0.0.1:${port}`, '[::1]'])
    assert.equal(status((await raw(port, [request(`http://${host}/v1/models`)])).text), 200, host);
});

test('a web page of another origin is refused', async () => {
  await refuses([get('/v1/models', 'Origin: https://evil.example\r\n')], 403);
  await refuses([get('/v1/models', 'Origin: null\r\n')], 403);
  const { text } = await raw(gateway.port, [get('/v1/models', `Origin: http://localhost:${gateway.port}\r\nConnection: close\r\n`)]);
  assert.equal(status(text), 200);
});

// A proxy may add its own to the client's: what tightens counts, wherever it stands.
const nothingLeaves = async (headers, wanted, model = 'cloudy') => {
  const before = cloud.requests.length;
  const { text } = await raw(gateway.port, [post(chat, body({ model }), headers)], { until: '}}' });
  assert.equal(status(text), wanted, text.slice(0, 300));
  assert.equal(cloud.requests.length, before, 'nothing arrived at the cloud');
};
test('a second x-weir-boundary header that says local counts', () =>
  nothingLeaves('x-weir-boundary: any\r\nx-weir-boundary: local\r\n', 503));
test('a first x-weir-boundary header that says local counts', () =>
  nothingLeaves('X-Weir-Boundary: Local\r\nx-weir-boundary: any\r\n', 503));
test('a word of x-weir-boundary that is not known is refused, also in a list', async () => {
  for (const value of ['local, any', 'locale', '', '"local"']) await nothingLeaves(`x-weir-boundary: ${value}\r\n`, 400);
  await nothingLeaves('x-weir-boundary: any\r\nx-weir-boundary: strict\r\n', 400);
});
test('tags of every x-weir-tags header count; too many are refused', async () => {
  await nothingLeaves('x-weir-tags: a, b\r\nx-weir-tags: internal\r\n', 503, 'tagged');
  await nothingLeaves(`x-weir-tags: ${'a,'.repeat(70)}internal\r\n`, 400, 'tagged');
});

test('a client that closes its side after a whole request hears why it gets nothing', async () => {
  cloud.behaviour = { mode: 'hang' };
  const { text } = await raw(gateway.port, [post(chat, body())], { end: true });
  assert.equal(status(text), 499);
  cloud.behaviour = {};
});

test('a client that closes its side in the middle of a request', () =>
  refuses([post(chat, body()).subarray(0, 120)], 400, { end: true }));

test('a client that leaves before the first byte cancels the work', async () => {
  cloud.behaviour = { mode: 'hang' };
  const before = cloud.aborted;
  const asked = cloud.requests.length;
  const socket = net.connect(gateway.port, '127.0.0.1');
  socket.write(post(chat, body()));
  while (cloud.requests.length === asked) await sleep(5);
  socket.destroy();
  for (let i = 0; i < 200 && cloud.aborted === before; i++) await sleep(10);
  assert.equal(cloud.aborted, before + 1);
  cloud.behaviour = {};
  await sleep(100);
  const row = gateway.audit('ledger').at(-1);
  assert.equal(row.outcome, 'client_gone');
});

test('a client that reads slowly holds back the provider, and gets everything', async () => {
  const piece = '~'.repeat(16384);
  cloud.behaviour = { text: Array(1500).fill(piece) };
  const socket = net.connect(gateway.port, '127.0.0.1');
  let got = 0;
  socket.pause();
  socket.write(post(chat, body({ stream: true }), 'Connection: close\r\n'));
  await sleep(1500);
  const memory = Number(/VmRSS:\s+(\d+)/.exec(await (await import('node:fs/promises')).readFile(`/proc/${gateway.process.pid}/status`, 'utf8'))[1]);
  if (!process.env.ASAN_OPTIONS) assert.ok(memory < 120 * 1024, `resident ${memory} kB while 24 MB wait to be read`);
  socket.on('data', (d) => (got += d.toString('latin1').split('~').length - 1));
  socket.resume();
  await new Promise((done) => socket.on('close', done));
  assert.equal(got, 1500 * 16384);
  cloud.behaviour = {};
});

test('a base URL without /v1, with it twice or with a slash at the end is told the path', async () => {
  for (const path of ['/chat/completions', '/v1/v1/chat/completions', '/v1/chat/completions/']) {
    const r = await gateway.post(path, {});
    assert.equal(r.status, 404);
    assert.match(r.body.error.message, /did you mean \/v1\/chat\/completions$/);
  }
  for (const path of ['/nothing', '/v1/', `/${'a'.repeat(300)}`])
    assert.match((await gateway.post(path, {})).body.error.message, /README/);
});

test('a compressed body is refused by name, not as bad JSON', async () => {
  const r = await gateway.post('/v1/chat/completions', gzipSync('{}'), { 'content-encoding': 'gzip' });
  assert.equal(r.status, 415);
  assert.match(r.body.error.message, /uncompressed/);
});

test('a NUL in a text is refused in words of ours', async () => {
  const r = await gateway.post('/v1/chat/completions', '{"model":"x","messages":[{"role":"user","content":"a\\u0000b"}]}');
  assert.equal(r.status, 400);
  assert.match(r.body.error.message, /a text holds .*not taken here/);
});

test('the web page is served, and lets nothing else run in it', async () => {
  for (const [path, type] of [['/', 'text/html'], ['/app.js', 'text/javascript'], ['/style.css', 'text/css'], ['/icon.svg', 'image/svg\\+xml']]) {
    const r = await gateway.get(path);
    assert.equal(r.status, 200);
    assert.match(r.headers.get('content-type'), new RegExp(type));
    assert.match(r.headers.get('content-security-policy'), /default-src 'self'/);
  }
  const page = (await gateway.get('/')).body;
  assert.ok(!/<script>|style="|\son\w+="/.test(page), 'nothing inline, which the policy would block');
});

const shapes = {
  '/v1/chat/completions': (b) => b.error.type === 'invalid_request_error' && b.error.message.length > 5,
  '/v1/responses': (b) => b.error.type === 'invalid_request_error',
  '/v1/messages': (b, s) => b.type === 'error' && b.error.type === (s === 413 ? 'request_too_large' : 'invalid_request_error'),
  '/v1/messages/count_tokens': (b) => b.type === 'error',
  '/api/chat': (b) => typeof b.error === 'string',
  '/api/embed': (b) => typeof b.error === 'string',
};

for (const [path, fits] of Object.entries(shapes))
  test(`what is refused before it is read has the shape of ${path}`, async () => {
    for (const [pieces, wanted] of [
      [[`POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 104857600\r\n\r\n`], 413],
      [[`POST ${path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n`], 400],
      [[`POST ${path} HTTP/1.1\r\nHost: localhost\r\nX: ${'a'.repeat(100000)}\r\n\r\n`], 431],
      [[`POST ${path} HTTP/1.1\r\n\r\n`], 400],
      [[`PUT ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`], 405],
    ]) {
      const { text } = await raw(gateway.port, pieces);
      assert.equal(status(text), wanted, text);
      assert.match(text, /\r\nx-request-id: req_/i);
      const json = JSON.parse(text.slice(text.indexOf('\r\n\r\n') + 4));
      assert.ok(fits(json, wanted), `${wanted}: ${JSON.stringify(json)}`);
    }
  });

// What operators see: metrics, request ids, the access log, traces.
import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Cloud } from './lib/cloud.mjs';
import { Gateway, makeFolder, makeModel, sleep } from './lib/gateway.mjs';

const env = { SIM_KEY: 'sk-observe-secret' };
let cloud, gateway;

before(async () => {
  cloud = await Cloud.start({ text: ['one', ' two', ' three'], usage: { input: 70, output: 12, cached: 30 }, gap: 12 });
  const folder = makeFolder();
  const house = makeModel(folder);
  gateway = await Gateway.start(
    `providers: {out: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${SIM_KEY}", retries: 1}}
models:
  - {name: house, file: ${house}, context: 256, slots: 2, preload: true}
  - {name: cloudy, provider: out, price: {input: 2, cached_input: 1, output: 10}}
  - {name: narrow, provider: out, max_in_flight: 1, queue: {length: 4, timeout: 20s}}
routes:
  - {name: auto, rules: [{name: home, when: {sensitive: true}, use: [house], boundary: local}, {name: away, use: [cloudy]}]}
`,
    { env, folder },
  );
});
after(async () => {
  await gateway?.stop();
  await cloud?.stop();
});

// ---- Metrics ----

// Prometheus' text format 0.0.4, read strictly: every sample under its own HELP and TYPE, each family once and in one
// piece, labels escaped, histograms cumulative and complete.
function parse(text) {
  const families = new Map();
  let current = null;
  assert.ok(text.endsWith('\n'));
  for (const line of text.slice(0, -1).split('\n')) {
    const head = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/.exec(line);
    if (head?.[1] === 'HELP') {
      assert.ok(!families.has(head[2]), `${head[2]} comes twice`);
      families.set(head[2], (current = { name: head[2], help: head[3], type: null, samples: [] }));
    } else if (head) {
      assert.equal(head[2], current.name);
      assert.match(head[3], /^(counter|gauge|histogram)$/);
      current.type = head[3];
    } else {
      const sample = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)+)\})? (\S+)$/.exec(line);
      assert.ok(sample, `not a sample: ${line}`);
      const base = current.type === 'histogram' ? sample[1].replace(/_(bucket|sum|count)$/, '') : sample[1];
      assert.equal(base, current.name, line);
      assert.ok(Number.isFinite(Number(sample[3])), line);
      const labels = Object.fromEntries([...(sample[2] ?? '').matchAll(/([a-zA-Z_]+)="((?:[^"\\]|\\.)*)"/g)].map((m) => [m[1], m[2]]));
      current.samples.push({ name: sample[1], labels, value: Number(sample[3]) });
    }
  }
  for (const f of families.values()) if (f.type === 'histogram') checkHistogram(f);
  return families;
}

function checkHistogram(f) {
  const series = new Map();
  for (const s of f.samples) {
    const { le, ...labels } = s.labels;
    const key = JSON.stringify(labels);
    if (!series.has(key)) series.set(key, { buckets: [] });
    if (s.name.endsWith('_bucket')) series.get(key).buckets.push([le === '+Inf' ? Infinity : Number(le), s.value]);
    else series.get(key)[s.name.slice(f.name.length + 1)] = s.value;
  }
  for (const { buckets, sum, count } of series.values()) {
    assert.ok(sum >= 0);
    assert.equal(buckets.at(-1)[0], Infinity);
    assert.equal(buckets.at(-1)[1], count);
    for (let i = 1; i < buckets.length; i++) assert.ok(buckets[i][0] > buckets[i - 1][0] && buckets[i][1] >= buckets[i - 1][1]);
  }
}

const metrics = async (g = gateway) => parse((await g.get('/metrics')).body);
const value = (families, name, labels = {}) => {
  const f = [...families.values()].find((x) => name === x.name || (x.type === 'histogram' && name.replace(/_(sum|count)$/, '') === x.name));
  return (f?.samples ?? [])
    .filter((s) => s.name === name && Object.entries(labels).every(([k, v]) => s.labels[k] === v))
    .reduce((sum, s) => sum + s.value, 0);
};

test('metrics: by target, route, rule and outcome, in valid form', async () => {
  const before = await metrics();
  const usual = cloud.behaviour;
  cloud.behaviour = { ...usual, gap: 100 }; // on a busy machine pieces 15 ms apart were read at once
  const r = await gateway.chat('auto', 'hello', { stream: true });
  cloud.behaviour = usual;
  assert.equal(r.status, 200);
  const m = await metrics();
  const labels = { model: 'cloudy', route: 'auto', rule: 'away', outcome: 'ok' };
  const grown = (name, more = labels) => value(m, name, more) - value(before, name, more);
  assert.equal(grown('weir_requests_total'), 1);
  assert.equal(grown('weir_request_seconds_count'), 1);
  assert.equal(grown('weir_first_token_seconds_count'), 1);
  assert.equal(grown('weir_inter_token_seconds_count'), 2, 'three pieces, two gaps');
  assert.ok(grown('weir_inter_token_seconds_sum') >= 0.02 && grown('weir_inter_token_seconds_sum') <= grown('weir_request_seconds_sum'));
  assert.ok(grown('weir_first_token_seconds_sum') > 0 && grown('weir_first_token_seconds_sum') < grown('weir_request_seconds_sum'));
  assert.equal(grown('weir_input_tokens_total'), 70);
  assert.equal(grown('weir_cached_tokens_total'), 30);
  assert.equal(grown('weir_output_tokens_total'), 12);
  assert.ok(Math.abs(grown('weir_cost_usd_total') - (40 * 2 + 30 * 1 + 12 * 10) / 1e6) < 1e-12);
  assert.equal(grown('weir_egress_requests_total', { provider: 'out', zone: 'cloud', rule: 'away' }), 1);
  const [row] = gateway.audit('egress').slice(-1);
  assert.equal(grown('weir_egress_bytes_total', { provider: 'out', zone: 'cloud', rule: 'away' }), row.bytes);
  assert.equal(value(m, 'weir_requests_in_flight'), 0);
  assert.equal(value(m, 'weir_target_breaker', { model: 'cloudy' }), 0);
});

// Its timings were once read from a message that had been freed.
test('metrics: the embedded engine, its speeds and its cache', async () => {
  const r = await gateway.chat('house', 'hello there', { max_tokens: 8 });
  assert.equal(r.status, 200);
  const m = await metrics();
  const house = { model: 'house' };
  assert.equal(value(m, 'weir_engine_decode_tokens_total', house), r.body.usage.completion_tokens);
  assert.equal(value(m, 'weir_engine_prefill_tokens_total', house), r.body.usage.prompt_tokens);
  assert.ok(value(m, 'weir_engine_decode_seconds_total', house) > 0 && value(m, 'weir_engine_prefill_seconds_total', house) > 0);
  assert.equal(value(m, 'weir_engine_slots', house), 2);
  assert.equal(value(m, 'weir_engine_kv_capacity_tokens', house), 512);
  assert.equal(value(m, 'weir_engine_kv_tokens', house), 0, 'nobody is being answered');
  assert.equal(value(m, 'weir_engine_loads', house), 1);
});

test('metrics: waits, places, retries and failures', async () => {
  const usual = cloud.behaviour;
  cloud.behaviour = { ...usual, delay: 600 };
  await Promise.all([1, 2].map(() => gateway.chat('narrow', 'hi')));
  cloud.behaviour = { mode: 'status', status: 503 };
  assert.equal((await gateway.chat('cloudy', 'hi')).status, 503);
  cloud.behaviour = usual;
  const m = await metrics();
  assert.equal(value(m, 'weir_queue_seconds_count', { model: 'narrow', outcome: 'placed' }), 1);
  assert.ok(value(m, 'weir_queue_seconds_sum', { model: 'narrow', outcome: 'placed' }) >= 0.1);
  assert.equal(value(m, 'weir_retries_total', { model: 'cloudy' }), 1);
  assert.equal(value(m, 'weir_target_failures_total', { model: 'cloudy', reason: 'unavailable' }), 2);
  assert.equal(value(m, 'weir_requests_total', { model: 'cloudy', outcome: 'failed' }), 1);
});

test('metrics: what clients make up never becomes a label', async () => {
  await gateway.chat('no-such-model-0', 'hi');
  const before = (await gateway.get('/metrics')).body.split('\n').length;
  for (let i = 1; i <= 40; i++)
    await gateway.chat(`no-such-model-${i}`, 'hi', { user: `user-${i}` }, { 'x-weir-tags': `tag-${i}`, 'x-request-id': `mine-${i}` });
  const { body } = await gateway.get('/metrics');
  assert.equal(body.split('\n').length, before);
  assert.doesNotMatch(body, /no-such|user-|tag-|mine-/);
  assert.equal(value(parse(body), 'weir_meter_overflow_total'), 0);
});

// ---- Request ids ----

test('x-request-id: the client\'s own, in the answer, its errors, ledger, egress log and at the target', async () => {
  cloud.requests.length = 0;
  const id = 'trace-7.A_b~'.padEnd(64, 'x');
  const r = await gateway.chat('auto', 'hello', {}, { 'x-request-id': id });
  assert.equal(r.headers.get('x-request-id'), id);
  assert.equal(cloud.requests[0].headers['x-request-id'], id);
  assert.equal(gateway.audit('ledger').at(-1).request_id, id);
  assert.equal(gateway.audit('egress').at(-1).request_id, id);
  for (const [path, body] of [['/v1/chat/completions', '{'], ['/v1/nothing', '{}'], ['/v1/messages', '{}'], ['/v1/embeddings', '{}']])
    assert.equal((await gateway.post(path, body, { 'x-request-id': 'mine' })).headers.get('x-request-id'), 'mine', path);
  assert.equal((await gateway.get('/healthz', { 'x-request-id': 'mine' })).headers.get('x-request-id'), 'mine');
});

test('x-request-id: what is no good id is replaced by ours', async () => {
  for (const bad of ['a b', 'a/b', 'x'.repeat(65), '', '"a"', 'a,b']) {
    const r = await gateway.chat('cloudy', 'hello', {}, { 'x-request-id': bad });
    assert.equal(r.status, 200);
    assert.match(r.headers.get('x-request-id'), /^req_\w{24}$/, bad);
  }
});

// Two requests that their clients call the same are two rows: the second must not overwrite the first.
test('x-request-id: used twice, it is two rows of the ledger', async () => {
  const n = () => gateway.audit('ledger').filter((row) => row.request_id === 'twice');
  await gateway.chat('cloudy', 'hello', {}, { 'x-request-id': 'twice' });
  await gateway.chat('no-such-model', 'hello', {}, { 'x-request-id': 'twice' });
  assert.deepEqual(n().map((row) => row.outcome), ['ok', 'refused']);
});

test('x-request-id: one that holds something sensitive does not leave', async () => {
  cloud.requests.length = 0;
  const r = await gateway.chat('cloudy', 'hello', {}, { 'x-request-id': 'ssn-536-22-1234' });
  assert.equal(r.headers.get('x-weir-provider'), 'out');
  assert.equal(r.headers.get('x-request-id'), 'ssn-536-22-1234');
  assert.equal(cloud.requests[0].headers['x-request-id'], undefined);
  assert.doesNotMatch(cloud.received(), /536-22-1234/);
});

// ---- The access log ----

const lines = (file) => readFileSync(file, 'utf8').trim().split('\n').filter(Boolean).map((line) => JSON.parse(line));
const until = async (what, ms = 20000) => {
  for (const end = Date.now() + ms; ; await sleep(20)) {
    const found = await what();
    if (found) return found;
    if (Date.now() > end) throw new Error(`nothing came of ${what}`);
  }
};

test('access log: a line for each request, without content or key, and a new file after SIGHUP', async () => {
  const c = await Cloud.start({ text: ['secret answer'], usage: { input: 9, output: 3, cached: 4 } });
  const folder = makeFolder();
  const file = join(folder, 'access.log');
  const g = await Gateway.start(
    `access_log: ${file}
providers: {out: {kind: openai, base_url: "${c.url}/v1", api_key: "\${SIM_KEY}"}}
models: [{name: cloudy, provider: out, price: {input: 2, output: 10}}]
routes: [{name: auto, rules: [{name: away, use: [cloudy]}]}]
`,
    { env, folder, wait: false },
  );
  try {
    await g.chat('auto', 'a private question', {}, { 'x-request-id': 'one', authorization: 'Bearer not-a-key' });
    await g.chat('auto', 'a private question', { stream: true }, { 'x-request-id': 'two' });
    await g.chat('nobody', 'a private question', {}, { 'x-request-id': 'three' });
    await g.get('/a/private/path?private=1', { 'x-request-id': 'four' });
    c.behaviour = { mode: 'hang' };
    const leaving = new AbortController();
    const left = g.chat('auto', 'x', {}, { 'x-request-id': 'five' }, { signal: leaving.signal }).catch(() => 'left');
    await until(() => c.requests.length === 3);
    leaving.abort();
    assert.equal(await left, 'left');
    const all = await until(() => existsSync(file) && lines(file).length >= 5 && lines(file));
    const by = Object.fromEntries(all.map((line) => [line.request_id, line]));
    const { time, total_ms, first_token_ms, bytes_in, bytes_out, cost_usd, ...rest } = by.one;
    assert.deepEqual(rest, {
      request_id: 'one', client: '127.0.0.1', method: 'POST', path: '/v1/chat/completions', api: 'openai.chat', route: 'auto',
      rule: 'away', model: 'cloudy', provider: 'out', status: 200, outcome: 'ok', input_tokens: 9, cached_tokens: 4,
      output_tokens: 3, reasoning_tokens: 0,
    });
    assert.ok(Math.abs(Date.parse(time) - Date.now()) < 60000 && total_ms > 0 && bytes_in > 50 && bytes_out > 100);
    assert.equal(first_token_ms, undefined, 'an answer that came whole had no first token');
    assert.ok(cost_usd > 0);
    assert.equal(by.two.status, 200);
    assert.ok(by.two.bytes_out > 200);
    assert.deepEqual([by.three.status, by.three.outcome], [404, 'refused']);
    assert.deepEqual([by.four.status, by.four.path, by.four.outcome], [404, undefined, undefined]);
    assert.deepEqual([by.five.status, by.five.outcome], [499, 'client_gone']);
    assert.doesNotMatch(readFileSync(file, 'utf8'), /private|secret|not-a-key|sk-observe/);
    renameSync(file, `${file}.1`);
    g.process.kill('SIGHUP');
    await until(() => existsSync(file));
    await g.chat('nobody', 'x', {}, { 'x-request-id': 'six' });
    await until(() => lines(file).some((line) => line.request_id === 'six'));
    assert.equal(lines(`${file}.1`).length, all.length);
  } finally {
    await g.stop();
    await c.stop();
  }
});

test('access log: lines that a full disk did not take were counted and never shown', { skip: !existsSync('/dev/full') && 'no /dev/full' }, async () => {
  const g = await Gateway.start('access_log: /dev/full\n', { env, wait: false });
  const dropped = async () => Number(/^weir_access_log_dropped_total (\d+)$/m.exec((await g.get('/metrics')).body)?.[1]);
  try {
    assert.ok((await dropped()) >= 0);
    for (let i = 0; i < 3; i++) await g.get('/healthz');
    await until(async () => (await dropped()) >= 3);
  } finally {
    await g.stop();
  }
});

// A reader that takes nothing must not hold up the gateway, nor its end.
// They were all told of as OpenAI's chat.
test('access log: metrics and the like belong to no API', async () => {
  const folder = makeFolder();
  const g = await Gateway.start(`access_log: ${folder}/access.log\nmodels: [{name: m, file: ${makeModel(folder)}}]\n`, { folder, keep: true });
  for (const path of ['/metrics', '/v1/models', '/healthz', '/nowhere']) await g.get(path);
  await g.chat('m', 'x', { max_tokens: 1 });
  await g.stop();
  const lines = readFileSync(`${folder}/access.log`, 'utf8').trim().split('\n').map((l) => JSON.parse(l)).filter((l) => l.path !== '/readyz');
  rmSync(folder, { recursive: true });
  assert.deepEqual(lines.map((l) => [l.path, l.api]), [['/metrics', undefined], ['/v1/models', undefined], ['/healthz', undefined], [undefined, undefined], ['/v1/chat/completions', 'openai.chat']]);
});

test('access log: on standard output, also where nobody reads it', async () => {
  const g = await Gateway.start('access_log: stdout\n', { env, wait: false });
  await g.get('/healthz', { 'x-request-id': 'seen' });
  await until(() => g.out.includes('"seen"'));
  g.process.stdout.pause();
  for (let i = 0; i < 40; i++) await Promise.all(Array.from({ length: 25 }, () => g.get('/healthz')));
  assert.equal((await g.get('/healthz')).status, 200);
  await g.stop();
});

// ---- Traces ----

// A collector: takes OTLP/HTTP in JSON and checks that each payload has the form of opentelemetry-proto.
class Collector {
  static async start(port = 0) {
    const c = new Collector();
    Object.assign(c, { spans: [], requests: [], wrong: [], behaviour: {} });
    c.server = http.createServer(async (request, response) => {
      const pieces = [];
      for await (const piece of request) pieces.push(piece);
      const text = Buffer.concat(pieces).toString();
      c.requests.push({ url: request.url, headers: request.headers, text });
      if (c.behaviour.hang) return;
      if (c.behaviour.status) return void response.writeHead(c.behaviour.status).end();
      try {
        assert.equal(request.headers['content-type'], 'application/json');
        c.take(JSON.parse(text));
      } catch (e) {
        c.wrong.push(e);
      }
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    });
    await new Promise((done) => c.server.listen(port, '127.0.0.1', done));
    c.port = c.server.address().port;
    c.url = `http://127.0.0.1:${c.port}`;
    return c;
  }
  take({ resourceSpans: [{ resource, scopeSpans: [{ scope, spans }] }] }) {
    assert.equal(attributes(resource)['service.name'], 'weir');
    assert.equal(scope.name, 'weir');
    for (const s of spans) {
      assert.match(s.traceId, /^(?!0+$)[0-9a-f]{32}$/);
      assert.match(s.spanId, /^(?!0+$)[0-9a-f]{16}$/);
      if ('parentSpanId' in s) assert.match(s.parentSpanId, /^(?!0+$)[0-9a-f]{16}$/);
      assert.ok(s.name && [1, 2, 3].includes(s.kind));
      assert.match(s.startTimeUnixNano, /^\d{19}$/);
      assert.match(s.endTimeUnixNano, /^\d{19}$/);
      assert.ok(BigInt(s.endTimeUnixNano) >= BigInt(s.startTimeUnixNano));
      assert.ok(Math.abs(Number(BigInt(s.startTimeUnixNano) / 1000000n) - Date.now()) < 120000);
      assert.ok(s.status.code === undefined || s.status.code === 2);
      this.spans.push({ ...s, attributes: attributes(s) });
    }
  }
  stop() {
    this.server.closeAllConnections();
    return new Promise((done) => this.server.close(done));
  }
}
const attributes = (o) =>
  Object.fromEntries(
    o.attributes.map(({ key, value }) => {
      const [[kind, v]] = Object.entries(value);
      if (kind === 'arrayValue') return [key, v.values.map((item) => item.stringValue)];
      assert.ok(['stringValue', 'intValue', 'doubleValue', 'boolValue'].includes(kind));
      assert.equal(typeof v, { stringValue: 'string', intValue: 'string', doubleValue: 'number', boolValue: 'boolean' }[kind]);
      return [key, kind === 'intValue' ? Number(v) : v];
    }),
  );

async function traced(config, run) {
  const collector = await Collector.start();
  const c = await Cloud.start({ text: ['a secret', ' answer'], usage: { input: 9, output: 3, cached: 4 } });
  const folder = makeFolder();
  const house = makeModel(folder);
  const g = await Gateway.start(
    `telemetry: {otlp: "${collector.url}", sample: 1, headers: {x-scope: "\${SIM_KEY}"}}
providers:
  out: {kind: openai, base_url: "${c.url}/v1", api_key: "\${SIM_KEY}", retries: 0}
  rack: {kind: openai, base_url: "${c.url}/v1", zone: local}
  told: {kind: openai, base_url: "${c.url}/v1", traceparent: true}
models:
  - {name: cloudy, provider: out, model: gpt-x, price: {input: 2, output: 10}}
  - {name: racked, provider: rack}
  - {name: told, provider: told}
  - {name: house, file: ${house}, context: 256, preload: true}
routes:
  - {name: auto, rules: [{name: away, use: [cloudy, racked]}]}
  - {name: kept, rules: [{use: [cloudy], cache: true}]}
${config}`,
    { env, folder },
  );
  try {
    await run(g, collector, c);
    assert.deepEqual(collector.wrong, []);
  } finally {
    await g.stop();
    await collector.stop();
    await c.stop();
  }
}
const request = (collector, id) => until(() => collector.spans.find((s) => s.attributes['weir.request_id'] === id));
const children = (collector, span) => collector.spans.filter((s) => s.parentSpanId === span.spanId);

test('traces: an answer that was kept did not say how it ended', async () => {
  await traced('cache: {ttl: 1m}\n', async (g, collector) => {
    for (const id of ['first', 'again']) {
      const answer = await g.chat('kept', 'hi', { temperature: 0 }, { 'x-request-id': id });
      assert.equal(answer.headers.get('x-weir-cache'), id === 'first' ? 'miss' : 'hit');
      const span = await request(collector, id);
      assert.deepEqual(span.attributes['gen_ai.response.finish_reasons'], ['stop'], id);
    }
  });
});

test('traces: a seed and penalties below 0 were left out, an IPv6 address stood in its brackets', async () => {
  await traced('', async (g, collector, c) => {
    const server = net.createServer((socket) => socket.pipe(net.connect(c.port, '127.0.0.1')).pipe(socket));
    await new Promise((done, fail) => server.once('error', fail).listen(0, '::1', done));
    const six = await Gateway.start(
      `telemetry: {otlp: "${collector.url}", sample: 1}
providers: {six: {kind: openai, base_url: "http://[::1]:${server.address().port}/v1", zone: local}}
models: [{name: m, provider: six}]
`);
    try {
      const headers = { 'x-request-id': 'six' };
      assert.equal((await six.chat('m', 'hi', { seed: -7, presence_penalty: -0.5 }, headers)).status, 200);
      const root = await request(collector, 'six');
      assert.deepEqual([root.attributes['gen_ai.request.seed'], root.attributes['gen_ai.request.presence_penalty']], [-7, -0.5]);
      const attempt = children(collector, root).find((s) => s.attributes['server.address']);
      assert.deepEqual([attempt.attributes['server.address'], attempt.attributes['server.port']], ['::1', server.address().port]);
    } finally {
      await six.stop();
      server.close();
    }
  });
});

test('traces: the client\'s trace goes on in ours and at targets inside; nothing of the content', async () => {
  await traced('', async (g, collector, c) => {
    const id = '4bf92f3577b34da6a3ce929d0e0e4736';
    const headers = { traceparent: `00-${id}-00f067aa0ba902b7-01` };
    await g.chat('auto', 'a private question', { temperature: 0.5, max_tokens: 9, seed: 4, stop: ['private stop'] }, { ...headers, 'x-request-id': 'one' });
    const root = await request(collector, 'one');
    assert.deepEqual([root.traceId, root.parentSpanId, root.name, root.kind], [id, '00f067aa0ba902b7', 'chat auto', 2]);
    const { 'weir.first_token_seconds': first, 'weir.cost_usd': cost, ...rest } = root.attributes;
    assert.equal(first, undefined, 'an answer that came whole had no first token');
    assert.ok(cost > 0);
    assert.deepEqual(rest, {
      'gen_ai.operation.name': 'chat', 'gen_ai.request.model': 'auto', 'gen_ai.provider.name': 'openai', 'gen_ai.response.model': 'gpt-x',
      'gen_ai.request.temperature': 0.5, 'gen_ai.request.max_tokens': 9, 'gen_ai.request.seed': 4, 'gen_ai.response.finish_reasons': ['stop'],
      'gen_ai.usage.input_tokens': 9, 'gen_ai.usage.output_tokens': 3, 'gen_ai.usage.cache_read.input_tokens': 4,
      'http.response.status_code': 200, 'weir.request_id': 'one', 'weir.api': 'openai.chat', 'weir.route': 'auto', 'weir.rule': 'away',
      'weir.outcome': 'ok',
    });
    const [decide, attempt] = children(collector, root);
    assert.deepEqual([decide.name, decide.kind, decide.attributes['weir.rule']], ['decide', 1, 'away']);
    assert.deepEqual([attempt.name, attempt.kind, attempt.attributes['server.address'], attempt.attributes['server.port']], ['chat gpt-x', 3, '127.0.0.1', c.port]);
    assert.deepEqual([attempt.attributes['gen_ai.response.model'], attempt.attributes['gen_ai.response.finish_reasons']], ['gpt-x', ['stop']]);
    for (const s of [decide, attempt]) assert.ok(BigInt(s.startTimeUnixNano) >= BigInt(root.startTimeUnixNano));
    assert.equal(c.requests[0].headers.traceparent, undefined, 'a cloud is not told');

    c.behaviour = (r, body) => (body.model === 'gpt-x' ? { mode: 'status', status: 503 } : { text: ['b'] });
    await g.chat('auto', 'a private question', {}, { ...headers, 'x-request-id': 'two' });
    const two = await request(collector, 'two');
    const [, failed, good] = children(collector, two);
    assert.deepEqual([failed.status.code, failed.attributes['error.type'], failed.attributes['http.response.status_code']], [2, 'unavailable', 503]);
    assert.equal(good.status.code, undefined);
    assert.equal(c.requests.at(-1).headers.traceparent, `00-${id}-${good.spanId}-01`, 'the target hangs below our attempt');
    await g.chat('told', 'hi', {}, { ...headers, 'x-request-id': 'three' });
    await request(collector, 'three');
    assert.match(c.requests.at(-1).headers.traceparent, new RegExp(`^00-${id}-`));

    await g.chat('house', 'a private question', { max_tokens: 4 }, { 'x-request-id': 'four' });
    const four = await request(collector, 'four');
    assert.notEqual(four.traceId, id);
    const [, engine] = children(collector, four);
    assert.deepEqual(children(collector, engine).map((s) => s.name), ['decode', 'prefill']);

    await g.chat('a private question as a model', 'x', {}, { 'x-request-id': 'five' });
    assert.equal((await request(collector, 'five')).name, 'chat');
    const before = collector.requests.length;
    await g.chat('cloudy', 'x', {}, { traceparent: `00-${id}-00f067aa0ba902b7-00`, 'x-request-id': 'unsampled' });
    await g.chat('cloudy', 'x', {}, { traceparent: `00-${id.toUpperCase()}-00f067aa0ba902b7-01`, 'x-request-id': 'six' });
    assert.notEqual((await request(collector, 'six')).traceId, id, 'what is no traceparent is none');
    assert.ok(!collector.spans.some((s) => s.attributes['weir.request_id'] === 'unsampled'));
    assert.ok(collector.requests.length > before);
    for (const r of collector.requests) {
      assert.equal(r.url, '/v1/traces');
      assert.equal(r.headers['x-scope'], env.SIM_KEY);
      assert.doesNotMatch(r.text, /private|secret/);
    }
    const rows = g.audit('egress').filter((row) => row.target === 'telemetry');
    assert.ok(rows.length > 0 && rows.every((row) => row.rule === 'telemetry' && row.zone === 'local' && row.bytes > 0));
  });
});

test("traces: a client's id that holds something sensitive, which no provider gets, went to the collector", async () => {
  await traced('', async (g, collector) => {
    await g.chat('cloudy', 'hello', {}, { 'x-request-id': 'ssn-536-22-1234' });
    await g.chat('cloudy', 'hello', {}, { 'x-request-id': 'next' });
    await request(collector, 'next');
    assert.equal(collector.spans.filter((s) => s.name.endsWith('cloudy') && !s.parentSpanId).length, 2);
    for (const r of collector.requests) assert.doesNotMatch(r.text, /536-22-1234/);
  });
});

test('traces: a collector that is slow or down holds up nobody; spans are sent when it is there again', async () => {
  await traced('', async (g, collector) => {
    collector.behaviour = { hang: true };
    await g.chat('cloudy', 'x', {}, { 'x-request-id': 'slow' });
    await until(() => collector.requests.length > 0);
    for (let i = 0; i < 20; i++) assert.equal((await g.chat('cloudy', 'x')).status, 200);
    const { port } = collector;
    await collector.stop();
    assert.equal((await g.chat('cloudy', 'x', {}, { 'x-request-id': 'down' })).status, 200);
    await sleep(1500);
    assert.match(g.log, /then dropped: 'telemetry' \(127/, 'the reason, which was read after it had been freed');
    const again = await Collector.start(port);
    await request(again, 'slow');
    await request(again, 'down');
    assert.deepEqual(again.wrong, []);
    const m = await metrics(g);
    assert.equal(value(m, 'weir_telemetry_spans_total', { outcome: 'sent' }), again.spans.length);
    again.behaviour = { status: 400 };
    await g.chat('cloudy', 'x');
    await until(async () => value(await metrics(g), 'weir_telemetry_spans_total', { outcome: 'dropped' }) === 3);
    await again.stop();
  });
});

test('traces: what is left is sent when the gateway ends; offline nothing is', async () => {
  let taken;
  await traced('', async (g, collector) => {
    taken = collector;
    await g.chat('cloudy', 'x', {}, { 'x-request-id': 'last' });
    await g.stop();
  });
  assert.ok(taken.spans.some((s) => s.attributes['weir.request_id'] === 'last'));
  await traced('offline: true\n', async (g, collector) => {
    assert.equal((await g.chat('house', 'x', { max_tokens: 2 })).status, 200);
    await sleep(2500);
    assert.equal(collector.requests.length, 0);
    assert.match(g.log, /no traces are sent: this gateway runs offline/);
  });
});

test('traces: a reload sends them elsewhere, begins with them and ends them, under load', async () => {
  await traced('', async (g, first) => {
    const second = await Collector.start();
    const config = readFileSync(g.config, 'utf8');
    const reload = async (text) => {
      const before = g.log.split('was reloaded').length;
      writeFileSync(g.config, text);
      g.process.kill('SIGHUP');
      await until(() => g.log.split('was reloaded').length > before);
    };
    try {
      let going = true, failed = 0;
      const load = Array.from({ length: 4 }, async () => {
        while (going) failed += (await g.chat('cloudy', 'x')).status !== 200;
      });
      await g.chat('cloudy', 'x', {}, { 'x-request-id': 'to-first' });
      await request(first, 'to-first');
      await reload(config.replace(first.url, second.url));
      await g.chat('cloudy', 'x', {}, { 'x-request-id': 'to-second' });
      await request(second, 'to-second');
      assert.equal(first.spans.find((s) => s.attributes['weir.request_id'] === 'to-second'), undefined);
      await reload(config.replace(/^telemetry:.*$/m, ''));
      await sleep(1500);
      const [a, b] = [first.requests.length, second.requests.length];
      await g.chat('cloudy', 'x', {}, { 'x-request-id': 'to-nobody' });
      await sleep(1500);
      assert.deepEqual([first.requests.length, second.requests.length], [a, b]);
      writeFileSync(g.config, config.replace(first.url, 'ftp://nowhere'));
      g.process.kill('SIGHUP');
      await until(() => g.log.includes('was not reloaded'));
      await reload(config);
      await g.chat('cloudy', 'x', {}, { 'x-request-id': 'to-first-again' });
      await request(first, 'to-first-again');
      going = false;
      await Promise.all(load);
      assert.equal(failed, 0);
      assert.deepEqual(second.wrong, []);
    } finally {
      await second.stop();
    }
  });
});

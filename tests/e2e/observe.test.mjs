// What operators see: metrics.
import assert from 'node:assert/strict';
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
  const r = await gateway.chat('auto', 'hello', { stream: true });
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

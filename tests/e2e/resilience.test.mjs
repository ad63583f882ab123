// Targets that are slow, busy, broken or down: what the client sees is a well-formed answer or error within its
// deadline, and what was sent is counted.
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { writeFileSync, readFileSync } from 'node:fs';
import { Cloud } from './lib/cloud.mjs';
import { events, Gateway, sleep, streamedText } from './lib/gateway.mjs';
import { createKey } from './lib/verbs.mjs';

const env = { SIM_KEY: 'sk-simulated' };
const cloud = {};
let gateway;

const config = () => `request_timeout: 20s
providers:
  a: {kind: openai, base_url: "${cloud.a.url}/v1", api_key: "\${SIM_KEY}", first_byte_timeout: 1s, idle_timeout: 1s, breaker: off}
  b: {kind: openai, base_url: "${cloud.b.url}/v1", api_key: "\${SIM_KEY}", breaker: off}
  c: {kind: openai, base_url: "${cloud.c.url}/v1", api_key: "\${SIM_KEY}", retries: 0, breaker: {failures: 3, open: 1s}}
  anthropic: {kind: anthropic, base_url: "${cloud.a.url}", api_key: "\${SIM_KEY}", first_byte_timeout: 1s, idle_timeout: 1s, breaker: off}
  inside: {kind: openai, base_url: "${cloud.d.url}/v1", zone: local, retries: 0, breaker: off}
  outside: {kind: openai, base_url: "${cloud.b.url}/v1", api_key: "\${SIM_KEY}"}
models:
  - {name: one, provider: a, price: {input: 1, output: 2}}
  - {name: two, provider: b, price: {input: 10, output: 20}}
  - {name: fragile, provider: c}
  - {name: claude, provider: anthropic}
  - {name: slow, provider: a, first_token_timeout: 300ms, retries: 0, price: {input: 1, output: 2}}
  - {name: idle, provider: a, idle_timeout: 300ms}
  - {name: total, provider: a, timeout: 500ms}
  - {name: narrow, provider: b, max_in_flight: 1, queue: {length: 1, timeout: 400ms}}
  - {name: patient, provider: b, max_in_flight: 1, queue: {length: 1, timeout: 15s}}
  - {name: home, provider: inside}
  - {name: away, provider: outside}
  - {name: n1, provider: a}
  - {name: n2, provider: b}
  - {name: pool, balance: {over: [n1, n2], by: prefix}}
  - {name: spread, balance: {over: {n1: 1, n2: 1}, by: weighted}}
  - {name: mixed, balance: {over: [home, away]}}
routes:
  - {name: auto, rules: [{name: always, use: [one, two]}]}
  - {name: broken, rules: [{name: always, use: [fragile, two]}]}
  - {name: urgent, rules: [{name: always, use: [one, two], hedge: 150ms}]}
  - {name: hurried, rules: [{name: always, use: [one, fragile], hedge: 150ms}]}
  - {name: private, rules: [{name: stays, use: [home, away, mixed], boundary: local, hedge: 50ms}]}
`;

before(async () => {
  for (const name of ['a', 'b', 'c', 'd']) cloud[name] = await Cloud.start({ text: [name] });
  gateway = await Gateway.start(config(), { env });
});

after(async () => {
  await gateway?.stop();
  for (const c of Object.values(cloud)) await c.stop();
});

const ask = (model, more = {}, headers = {}) => gateway.chat(model, more.content ?? 'hi', more, headers);
const ledger = () => gateway.audit('ledger');
const row = (r) => ledger().find((l) => l.request_id === r.headers.get('x-request-id'));
const egress = (r) => gateway.audit('egress').filter((l) => l.request_id === r.headers.get('x-request-id'));
const metric = async (pattern) => {
  const { body } = await gateway.get('/metrics');
  return body.split('\n').filter((l) => pattern.test(l)).reduce((sum, l) => sum + Number(l.split(' ').at(-1)), 0);
};
const forget = () => {
  for (const [name, c] of Object.entries(cloud)) {
    c.behaviour = { text: [name] };
    c.requests.length = 0;
  }
};

// ---- Every fault in the book, whole and streamed: a well-formed answer or error, in time. ----

const faults = [
  ...[400, 401, 404, 408, 409, 413, 429, 500, 502, 503, 529].map((status) => ({ mode: 'status', status })),
  { mode: 'status', status: 429, headers: { 'retry-after': '3600' } },
  { mode: 'hang' }, { mode: 'reset' }, { mode: 'html' }, { mode: 'malformed' }, { mode: 'truncate' }, { mode: 'giant' },
  { mode: 'reset-after-headers' }, { mode: 'reset-mid-stream' }, { mode: 'stall' }, { mode: 'broken-mid-stream' },
  { mode: 'long-length' }, { mode: 'short-length' },
  { mode: 'ok', headers: { 'content-type': 'image/png' } },
];

for (const model of ['one', 'claude'])
  for (const fault of faults)
    for (const stream of [false, true])
      test(`${model}: ${JSON.stringify(fault)}${stream ? ', streamed' : ''}`, async () => {
        forget();
        cloud.a.behaviour = { text: ['begun'], ...fault };
        const began = Date.now();
        const r = await ask(model, { stream });
        assert.ok(Date.now() - began < 15000, 'within its deadline');
        if (!stream || !r.headers.get('content-type').startsWith('text/event-stream')) {
          assert.equal(typeof r.body, 'object', String(r.body).slice(0, 200));
          if (r.status === 200 && r.body.choices) assert.equal(typeof r.body.choices[0].message.content, 'string');
          else assert.equal(typeof r.body.error.message, 'string');
          return;
        }
        const all = events(r.body); // each is JSON
        const failed = all.filter((e) => e.error);
        assert.ok(failed.length <= 1);
        assert.equal(failed.length === 1, all.at(-1) !== '[DONE]', 'it ends with an error or with its end, and with one');
      });

for (const mode of ['drip', 'split'])
  test(`${mode}: characters arrive whole`, async () => {
    forget();
    cloud.a.behaviour = { mode, text: ['grüß', ' 日本', ' 👩‍👩‍👧'] };
    const r = await ask('one', { stream: true });
    assert.equal(streamedText(r.body), 'grüß 日本 👩‍👩‍👧');
    assert.ok(!r.body.includes('\ufffd'));
  });

// ---- Retries ----

for (const fault of [{ mode: 'reset' }, { mode: 'reset-after-headers' }, { mode: 'status', status: 503 }, { mode: 'status', status: 429 }])
  test(`a passing failure is tried again at the same target: ${JSON.stringify(fault)}`, async () => {
    forget();
    let n = 0;
    cloud.a.behaviour = () => (n++ < 1 ? fault : { text: ['at last'] });
    const r = await ask('auto');
    assert.equal(r.status, 200);
    assert.equal(r.body.choices[0].message.content, 'at last');
    assert.equal(cloud.b.requests.length, 0);
    const l = row(r);
    // (A connection that was used before and breaks at once is replaced below the attempts.)
    assert.ok(l.attempts.every((a) => a.target === 'one'));
    assert.equal(cloud.a.requests.length, 2);
    assert.equal(l.attempts.at(-1).outcome, 'ok');
    assert.equal(egress(r).length, cloud.a.requests.length, 'each attempt that left is on record');
  });

test('retries end, then the next target answers', async () => {
  forget();
  cloud.a.behaviour = { mode: 'status', status: 500 };
  const r = await ask('auto');
  assert.equal(r.body.choices[0].message.content, 'b');
  assert.equal(cloud.a.requests.length, 3);
  assert.deepEqual(row(r).attempts.map((a) => a.target), ['one', 'one', 'one', 'two']);
});

test('a short retry-after is waited for', async () => {
  forget();
  let n = 0;
  cloud.a.behaviour = () => (n++ < 1 ? { mode: 'status', status: 429, headers: { 'retry-after': '1' } } : { text: ['later'] });
  const began = Date.now();
  const r = await ask('auto');
  assert.equal(r.body.choices[0].message.content, 'later');
  assert.ok(Date.now() - began >= 1000);
});

test('a long retry-after sends the request on at once', async () => {
  forget();
  cloud.a.behaviour = { mode: 'status', status: 429, headers: { 'retry-after': '60' } };
  const r = await ask('auto');
  assert.equal(r.body.choices[0].message.content, 'b');
  assert.equal(cloud.a.requests.length, 1);
  const alone = await ask('one');
  assert.equal(alone.status, 429);
  assert.equal(alone.headers.get('retry-after'), '60');
});

test('what the client has begun to receive is never repeated', async () => {
  forget();
  cloud.a.behaviour = { mode: 'reset-mid-stream', text: ['begun'] };
  const r = await ask('auto', { stream: true });
  assert.equal(streamedText(r.body.split('\n\n').filter((b) => !b.includes('"error"')).join('\n\n')), 'begun');
  assert.equal(cloud.a.requests.length, 1);
  assert.equal(cloud.b.requests.length, 0);
  assert.equal(row(r).outcome, 'failed');
});

// ---- Time ----

test('no first token in time is 504', async () => {
  forget();
  cloud.a.behaviour = { mode: 'late', delay: 3000 };
  const began = Date.now();
  const r = await ask('slow'), took = Date.now() - began;
  assert.equal(r.status, 504);
  const l = row(r);
  assert.ok(l.usage_estimated && l.cost_nano_usd > 0, 'the prompt that was sent is paid for');
  assert.ok(took < 2500);
});

test('silence in the middle is one error event', async () => {
  forget();
  cloud.a.behaviour = { mode: 'stall', text: ['a'] };
  const r = await ask('idle', { stream: true });
  assert.match(events(r.body).find((e) => e.error).error.message, /stopped in the middle/);
});

test('an answer that takes too long in all is cut', async () => {
  forget();
  cloud.a.behaviour = { text: ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j'], gap: 200 };
  const r = await ask('total', { stream: true });
  assert.match(events(r.body).find((e) => e.error).error.message, /'timeout'/);
});

// ---- The breaker ----

test('a breaker opens, spares its target, and closes when that is well again', async () => {
  forget();
  cloud.c.behaviour = { mode: 'status', status: 500 };
  for (let i = 0; i < 3; i++) await ask('broken');
  assert.equal(cloud.c.requests.length, 3);
  const r = await ask('broken');
  assert.equal(r.body.choices[0].message.content, 'b');
  assert.equal(cloud.c.requests.length, 3, 'it is passed over');
  assert.deepEqual(row(r).attempts.map((a) => a.outcome), ['passed', 'ok']);
  assert.equal(await metric(/^weir_breaker_opened_total\{model="fragile"\}/), 1);
  cloud.c.behaviour = { text: ['well'] };
  await sleep(1100);
  const again = await ask('broken');
  assert.equal(again.body.choices[0].message.content, 'well');
  await Promise.all([1, 2, 3, 4].map(async () => assert.equal((await ask('broken')).body.choices[0].message.content, 'well')));
});

test('where all are open the best is asked all the same', async () => {
  forget();
  cloud.c.behaviour = { mode: 'status', status: 500 };
  for (let i = 0; i < 3; i++) await ask('fragile');
  cloud.c.behaviour = { text: ['it was well'] };
  const r = await ask('fragile');
  assert.equal(r.status, 200);
  assert.equal(r.body.choices[0].message.content, 'it was well');
});

// ---- Places ----

// b answers when the function that this returns is called, whatever time that takes.
function holdB() {
  let free;
  const held = new Promise((done) => (free = done));
  cloud.b.behaviour = {
    handle: async (request, response, body) => {
      await held;
      await cloud.b.serve(request, response, body, { text: ['b'] });
    },
  };
  return free;
}

async function untilWaiting(n) {
  const waiting = () => metric(/^weir_target_waiting\{model="patient"\}/);
  for (let i = 0; i < 1000 && (await waiting()) !== n; i++) await sleep(10);
  assert.equal(await waiting(), n);
}

test('who finds no place waits, and is told to come back when that takes too long', async () => {
  forget();
  const free = holdB();
  const three = [ask('patient'), ask('patient'), ask('patient')];
  const refused = await Promise.race(three);
  assert.equal(refused.status, 429, 'one has the place, one waits');
  assert.ok(Number(refused.headers.get('retry-after')) >= 1);
  free();
  const statuses = (await Promise.all(three)).map((r) => r.status).sort();
  assert.deepEqual(statuses, [200, 200, 429]);
  assert.equal(cloud.b.requests.length, 2);
  cloud.b.behaviour = { text: ['a', 'b'], gap: 1200 };
  const [long, late] = await Promise.all([ask('narrow'), sleep(100).then(() => ask('narrow'))]);
  assert.equal(long.status, 200);
  assert.equal(late.status, 429);
  assert.match(late.body.error.message, /no place came free/);
});

test('a client that leaves the queue frees its place in it', async () => {
  forget();
  const free = holdB();
  const first = ask('patient');
  for (let i = 0; i < 1000 && cloud.b.requests.length === 0; i++) await sleep(10); // it has the place
  const control = new AbortController();
  const second = gateway.chat('patient', 'hi', {}, {}, { signal: control.signal }).catch(() => 'left');
  await untilWaiting(1);
  control.abort();
  assert.equal(await second, 'left');
  await untilWaiting(0);
  const third = ask('patient');
  await untilWaiting(1);
  free();
  assert.equal((await third).status, 200);
  assert.equal((await first).status, 200);
  assert.equal(cloud.b.requests.length, 2);
});

// ---- Hedging ----

test('a slow first target is hedged: the quicker answers, the other is cancelled, both are on record', async () => {
  forget();
  cloud.a.behaviour = { mode: 'late', delay: 800, text: ['slow'] };
  const aborted = cloud.a.aborted;
  const r = await ask('urgent');
  assert.equal(r.body.choices[0].message.content, 'b');
  assert.equal(r.headers.get('x-weir-model'), 'two');
  const l = row(r);
  assert.deepEqual(l.attempts.map((a) => [a.target, a.outcome]), [['one', 'cancelled'], ['two', 'ok']]);
  assert.ok(l.attempts[0].cost_nano_usd > 0, 'the prompt that was sent in vain is paid for');
  assert.equal(l.cost_nano_usd, 7 * 10000 + 1 * 20000 + l.attempts[0].cost_nano_usd);
  assert.equal(egress(r).length, 2);
  for (let i = 0; i < 40 && cloud.a.aborted === aborted; i++) await sleep(50);
  assert.equal(cloud.a.aborted, aborted + 1);
});

test('what a given-up leg cost was not in the ledger where the price of who answered is unknown', async () => {
  forget();
  cloud.a.behaviour = { mode: 'late', delay: 3000, text: ['slow'] };
  const r = await ask('hurried');
  assert.equal(r.body.choices[0].message.content, 'c');
  const l = row(r);
  assert.ok(l.attempts[0].cost_nano_usd > 0);
  assert.equal(l.cost_nano_usd, l.attempts[0].cost_nano_usd);
});

test('a target that another one had beaten was not asked again when that one broke off half-way', async () => {
  forget();
  let asked = 0;
  cloud.a.behaviour = () => (asked++ ? { text: ['a after', ' all'] } : { mode: 'late', delay: 3000, text: ['slow'] });
  cloud.c.behaviour = { mode: 'reset-mid-stream', text: Array(50).fill(' word') };
  const r = await ask('hurried');
  assert.equal(r.status, 200);
  assert.equal(r.body.choices[0].message.content, 'a after all');
  const l = row(r);
  assert.deepEqual(l.attempts.map((t) => t.target), ['one', 'fragile', 'one']);
  assert.deepEqual([l.attempts[0].outcome, l.attempts[2].outcome, l.provider], ['cancelled', 'ok', 'a']);
  assert.equal(l.cost_nano_usd, l.attempts[0].cost_nano_usd + 7 * 1000 + 2 * 2000);
});

test('a quick first target is not hedged', async () => {
  forget();
  const r = await ask('urgent');
  assert.equal(r.body.choices[0].message.content, 'a');
  await sleep(250);
  assert.equal(cloud.b.requests.length, 0);
});

test('a hedged request fails only when both have', async () => {
  forget();
  cloud.a.behaviour = { mode: 'late', delay: 600, text: ['slow but well'] };
  cloud.b.behaviour = { mode: 'status', status: 401 };
  const r = await ask('urgent');
  assert.equal(r.body.choices[0].message.content, 'slow but well');
});

test('a whole answer that broke off half-way was a 502 where the target had been asked for a stream', async () => {
  forget();
  cloud.a.behaviour = { mode: 'reset-mid-stream', text: Array(50).fill(' word') };
  const r = await ask('urgent');
  assert.equal(r.status, 200);
  assert.equal(r.body.choices[0].message.content, 'b', 'nothing of what broke off');
  assert.equal(r.headers.get('x-weir-model'), 'two');
  const l = row(r);
  assert.deepEqual([l.attempts[0].target, l.attempts[0].outcome, l.attempts.at(-1).outcome], ['one', 'unavailable', 'ok']);
  assert.ok(l.attempts[0].cost_nano_usd > 0, 'what came of it is paid for');
  assert.equal(l.usage_estimated, true);
  cloud.b.behaviour = { mode: 'reset-mid-stream', text: ['half'] };
  const none = await ask('urgent');
  assert.equal(none.status, 503);
  assert.match(none.body.error.message, /one: .*two: /);
});

// ---- Pools ----

test('a conversation returns to the server that holds its cache', async () => {
  forget();
  const homes = new Set();
  for (let i = 0; i < 12; i++) {
    const messages = [{ role: 'system', content: 'be brief' }, { role: 'user', content: `question ${i}` }];
    const seen = new Set();
    for (let turn = 0; turn < 3; turn++) {
      const r = await gateway.post('/v1/chat/completions', { model: 'pool', messages });
      seen.add(r.body.choices[0].message.content);
      messages.push({ role: 'assistant', content: 'x' }, { role: 'user', content: `turn ${turn}` });
    }
    assert.equal(seen.size, 1);
    homes.add([...seen][0]);
  }
  assert.deepEqual([...homes].sort(), ['a', 'b'], 'and conversations are spread');
});

test('a pool spreads, and goes round a member that fails', async () => {
  forget();
  for (let i = 0; i < 40; i++) await ask('spread');
  assert.ok(cloud.a.requests.length > 5 && cloud.b.requests.length > 5);
  assert.equal(cloud.a.requests.length + cloud.b.requests.length, 40);
  cloud.a.behaviour = { mode: 'status', status: 401 };
  for (let i = 0; i < 10; i++) assert.equal((await ask('spread')).body.choices[0].message.content, 'b');
});

// ---- Boundaries ----

test('what must stay inside goes out by no retry, hedge or pool', async () => {
  forget();
  for (const behaviour of [{ mode: 'late', delay: 300 }, { mode: 'reset' }, { mode: 'status', status: 503 }, { mode: 'hang' }]) {
    cloud.d.behaviour = behaviour;
    const control = AbortSignal.timeout(behaviour.mode === 'hang' ? 500 : 15000);
    await gateway.chat('private', 'hi', {}, {}, { signal: control }).catch(() => {});
    const tightened = await gateway.chat('auto', 'hi', {}, { 'x-weir-boundary': 'local' });
    assert.equal(tightened.status, 503);
    const mixed = await gateway.chat('mixed', 'hi', {}, { 'x-weir-boundary': 'local' }, { signal: AbortSignal.timeout(1000) }).catch(() => null);
    if (mixed) assert.notEqual(mixed.headers.get('x-weir-model'), 'away');
  }
  assert.equal(cloud.a.requests.length + cloud.b.requests.length + cloud.c.requests.length, 0);
});

// ---- Usage ----

test('usage is estimated when the provider breaks off or the client leaves, and billed', async () => {
  forget();
  cloud.a.behaviour = { mode: 'reset-mid-stream', text: Array(50).fill(' word') };
  const broken = await ask('one', { stream: true });
  const l = row(broken);
  assert.equal(l.usage_estimated, true);
  assert.ok(l.output_tokens >= 30 && l.output_tokens <= 80, String(l.output_tokens));
  assert.ok(l.input_tokens > 0 && l.cost_nano_usd === l.input_tokens * 1000 + l.output_tokens * 2000);

  cloud.a.behaviour = { text: Array(50).fill(' word'), gap: 100 };
  const control = new AbortController();
  const r = await fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST', signal: control.signal, headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'one', stream: true, messages: [{ role: 'user', content: 'hi' }] }),
  });
  const reader = r.body.getReader();
  await reader.read();
  await sleep(300);
  control.abort();
  let left;
  for (let i = 0; i < 60 && !left; i++) {
    await sleep(50);
    left = ledger().find((x) => x.request_id === r.headers.get('x-request-id') && x.outcome === 'client_gone');
  }
  assert.ok(left.usage_estimated && left.output_tokens > 0 && left.cost_nano_usd > 0, JSON.stringify(left));
  const whole = await ask('two');
  assert.equal(row(whole).usage_estimated, false);
});

// ---- The cache ----

test('an answer is kept for the same key, replayed whole or streamed, and costs nothing', async () => {
  const c = await Cloud.start({ text: ['kept', ' words'] });
  const g = await Gateway.start(`cache: {ttl: 1m, max_bytes: 1MiB}
providers:
  out: {kind: openai, base_url: "${c.url}/v1", api_key: "\${SIM_KEY}"}
  in: {kind: openai, base_url: "${c.url}/v1", zone: local}
models:
  - {name: m, provider: out, price: {input: 1, output: 2}}
  - {name: h, provider: in}
routes:
  - {name: auto, rules: [{name: r, use: [m, h], cache: true}]}
`, { env });
  try {
    const fixed = { temperature: 0 };
    const first = await g.chat('auto', 'hi', fixed);
    assert.equal(first.headers.get('x-weir-cache'), 'miss');
    const hit = await g.chat('auto', 'hi', fixed);
    assert.equal(hit.headers.get('x-weir-cache'), 'hit');
    assert.equal(hit.headers.get('x-weir-model'), 'm');
    assert.equal(hit.headers.get('x-weir-cost-usd'), '0.000000000');
    assert.deepEqual(hit.body.choices, first.body.choices);
    assert.deepEqual(hit.body.usage, first.body.usage);
    const streamed = await g.chat('auto', 'hi', { ...fixed, stream: true });
    assert.equal(streamed.headers.get('x-weir-cache'), 'hit');
    assert.equal(streamedText(streamed.body), 'kept words');
    assert.equal(events(streamed.body).at(-1), '[DONE]');
    assert.equal(c.requests.length, 1);
    const rows = g.audit('ledger');
    assert.deepEqual(rows.map((r) => r.outcome), ['ok', 'cached', 'cached']);
    assert.equal(rows[1].cost_nano_usd, 0);
    assert.equal(g.audit('egress').length, 1);

    // Never across a boundary, whatever else is alike.
    const local = await g.chat('auto', 'hi', fixed, { 'x-weir-boundary': 'local' });
    assert.equal(local.headers.get('x-weir-cache'), 'miss');
    assert.equal(local.headers.get('x-weir-model'), 'h');
    assert.equal((await g.chat('auto', 'hi', fixed)).headers.get('x-weir-model'), 'm');

    // Not what is drawn by chance, nor what nobody asked to be kept.
    const before = c.requests.length;
    for (let i = 0; i < 2; i++) assert.equal((await g.chat('auto', 'hi')).headers.get('x-weir-cache'), null);
    for (let i = 0; i < 2; i++) assert.equal((await g.chat('m', 'hi', fixed)).headers.get('x-weir-cache'), null);
    assert.equal(c.requests.length, before + 4);
    await g.chat('m', 'ask', fixed, { 'x-weir-cache': 'true' });
    assert.equal((await g.chat('m', 'ask', fixed, { 'x-weir-cache': 'true' })).headers.get('x-weir-cache'), 'hit');

    // Nor half an answer.
    c.behaviour = { mode: 'reset-mid-stream', text: ['half'] };
    await g.chat('auto', 'broken', { ...fixed, stream: true });
    c.behaviour = { text: ['whole'] };
    assert.equal((await g.chat('auto', 'broken', fixed)).body.choices[0].message.content, 'whole');

    // A reload forgets.
    g.process.kill('SIGHUP');
    for (let i = 0; i < 100 && !g.log.includes('was reloaded'); i++) await sleep(50);
    assert.equal((await g.chat('auto', 'hi', fixed)).headers.get('x-weir-cache'), 'miss');
  } finally {
    await g.stop();
    await c.stop();
  }
});

test('one key never sees what another was answered', async () => {
  const c = await Cloud.start({ text: ['x'] });
  const g = await Gateway.start(`auth: keys
cache: {}
providers: {out: {kind: openai, base_url: "${c.url}/v1", api_key: "\${SIM_KEY}"}}
models: [{name: m, provider: out}]
`, { env, wait: false });
  try {
    const key = (name) => createKey(g.folder, '--name', name);
    const [one, two] = [key('one'), key('two')];
    await sleep(1500);
    const ask = (k) => g.chat('m', 'hi', { temperature: 0 }, { authorization: `Bearer ${k}`, 'x-weir-cache': 'true' });
    assert.equal((await ask(one)).headers.get('x-weir-cache'), 'miss');
    assert.equal((await ask(two)).headers.get('x-weir-cache'), 'miss');
    assert.equal((await ask(one)).headers.get('x-weir-cache'), 'hit');
    assert.equal(c.requests.length, 2);
  } finally {
    await g.stop();
    await c.stop();
  }
});

// ---- Keep-alive, probes ----

test('a stream is kept alive while the prompt is read, and a failure then is one event', async () => {
  const c = await Cloud.start({ mode: 'late', delay: 900, text: ['at last'] });
  const g = await Gateway.start(`stream_keep_alive: 200ms
providers: {out: {kind: openai, base_url: "${c.url}/v1", api_key: "\${SIM_KEY}", retries: 0}}
models: [{name: m, provider: out}]
`, { env });
  try {
    const r = await g.chat('m', 'hi', { stream: true });
    assert.ok(r.body.split(': keep-alive\n\n').length >= 3, r.body.slice(0, 200));
    assert.equal(streamedText(r.body), 'at last');
    assert.equal(r.headers.get('x-weir-model'), 'm');
    const { default: OpenAI } = await import('openai');
    const client = new OpenAI({ baseURL: `${g.url}/v1`, apiKey: 'none', maxRetries: 0 });
    let text = '';
    for await (const chunk of await client.chat.completions.create({ model: 'm', stream: true, messages: [{ role: 'user', content: 'hi' }] }))
      text += chunk.choices[0]?.delta?.content ?? '';
    assert.equal(text, 'at last', 'the official client reads over it');
    c.behaviour = { mode: 'reset-after-headers', delay: 700 };
    const failed = await g.chat('m', 'hi', { stream: true });
    assert.equal(failed.status, 200);
    assert.equal(events(failed.body).filter((e) => e.error).length, 1);
    assert.ok(!failed.body.includes('[DONE]'));
  } finally {
    await g.stop();
    await c.stop();
  }
});

test('a probe finds out that a target is well again, carries no content and is on record', async () => {
  let well = false;
  const c = await Cloud.start((request) => (well ? (request.method === 'GET' ? { mode: 'status', status: 200 } : { text: ['well'] }) : { mode: 'status', status: 503 }));
  const g = await Gateway.start(`providers: {out: {kind: openai, base_url: "${c.url}/v1", api_key: "\${SIM_KEY}", retries: 0, breaker: {failures: 1, open: 60s}, probe: {path: /models, interval: 500ms}}}
models: [{name: m, provider: out}]
`, { env });
  try {
    assert.equal((await g.chat('m', 'secret words')).status, 503);
    for (let i = 0; i < 100 && !c.requests.some((q) => q.method === 'GET'); i++) await sleep(50);
    assert.equal((await g.get('/readyz')).body.targets.m.breaker, 'open');
    well = true;
    for (let i = 0; i < 100 && (await g.get('/readyz')).body.targets.m.breaker === 'open'; i++) await sleep(50);
    assert.equal((await g.get('/readyz')).body.targets.m.breaker, 'half-open');
    const r = await g.chat('m', 'hi');
    assert.equal(r.body.choices[0].message.content, 'well');
    assert.equal((await g.get('/readyz')).body.targets.m.breaker, 'closed');
    const probes = c.requests.filter((q) => q.method === 'GET');
    assert.ok(probes.length >= 2 && probes.every((q) => q.url === '/v1/models' && q.body === ''));
    const records = g.audit('egress').filter((e) => e.rule === 'probe');
    assert.equal(records.length, c.requests.filter((q) => q.method === 'GET').length);
    assert.ok(records.every((e) => e.bytes === 0));
  } finally {
    await g.stop();
    await c.stop();
  }
});

// ---- Reload and drain under load ----

test('reloads under 32 concurrent streams lose and double nothing', async () => {
  const c = await Cloud.start({ text: Array(10).fill('piece '), gap: 5 });
  const yaml = (port) => `threads: 2
providers: {out: {kind: openai, base_url: "${port}/v1", api_key: "\${SIM_KEY}", breaker: off}}
models: [{name: m, provider: out, max_in_flight: 24, queue: {length: 100}}]
`;
  const g = await Gateway.start(yaml(c.url), { env });
  try {
    let asked = 0, whole = 0;
    const stop = Date.now() + 4000;
    const one = async () => {
      while (Date.now() < stop) {
        asked++;
        const r = await g.chat('m', `question ${asked}`, { stream: true });
        if (r.status === 200 && streamedText(r.body) === 'piece '.repeat(10) && events(r.body).at(-1) === '[DONE]') whole++;
      }
    };
    const reload = async () => {
      while (Date.now() < stop - 300) {
        writeFileSync(g.config, readFileSync(g.config, 'utf8').replace(/max_in_flight: \d+/, `max_in_flight: ${20 + (asked % 9)}`));
        g.process.kill('SIGHUP');
        await sleep(150);
      }
    };
    await Promise.all([...Array.from({ length: 32 }, one), reload()]);
    assert.ok((g.log.match(/was reloaded/g) ?? []).length > 1);
    assert.ok(asked >= 32, String(asked));
    assert.equal(whole, asked, 'none is lost');
    assert.equal(c.requests.length, asked, 'none is doubled');
    const rows = g.audit('ledger');
    assert.equal(rows.length, asked);
    assert.ok(rows.every((r) => r.outcome === 'ok'));
    const { targets } = (await g.get('/readyz')).body;
    assert.deepEqual(targets.m, { breaker: 'closed', in_flight: 0, waiting: 0 });
  } finally {
    await g.stop();
    await c.stop();
  }
});

test('a drain finishes 32 streams, says so, takes no new ones, and loses and doubles nothing', async () => {
  const c = await Cloud.start({ text: Array(20).fill('piece '), gap: 50 });
  const g = await Gateway.start(`threads: 2
drain_delay: 500ms
providers: {out: {kind: openai, base_url: "${c.url}/v1", api_key: "\${SIM_KEY}"}}
models: [{name: m, provider: out}]
`, { env, keep: true });
  const streams = Array.from({ length: 32 }, (_, i) => g.chat('m', `question ${i}`, { stream: true }));
  while (c.requests.length < 32) await sleep(10);
  const stopping = g.stop();
  for (let i = 0; i < 30; i++) {
    const ready = await g.get('/readyz').catch(() => null);
    if (ready?.body.draining) {
      assert.equal(ready.status, 503);
      break;
    }
    assert.ok(i < 29, 'it says that it drains');
    await sleep(10);
  }
  const late = await g.chat('m', 'while others look elsewhere');
  assert.equal(late.status, 200);
  for (const r of await Promise.all(streams)) {
    assert.equal(streamedText(r.body), 'piece '.repeat(20));
    assert.equal(events(r.body).at(-1), '[DONE]');
  }
  assert.equal((await stopping).code, 0);
  assert.equal(c.requests.length, 33);
  const rows = g.audit('ledger');
  assert.equal(rows.length, 33);
  assert.ok(rows.every((r) => r.outcome === 'ok'));
  await assert.rejects(g.get('/healthz'));
  await c.stop();
});

test('base_urls: equal servers in one line; requests go round one that fails, and none goes twice', async () => {
  const servers = [await Cloud.start({ text: ['0'] }), await Cloud.start({ text: ['1'] }), await Cloud.start({ text: ['2'] })];
  const g = await Gateway.start(
    `providers: {rack: {kind: openai, base_urls: [${servers.map((s) => `"${s.url}/v1"`).join(', ')}], zone: local, balance: weighted, retries: 0}}
models: [{name: qwen, provider: rack, model: q, max_in_flight: 100}]
`, { env });
  try {
    const answers = async (n) => Promise.all(Array.from({ length: n }, async () => {
      const r = await g.chat('qwen', 'hi');
      assert.equal(r.status, 200, JSON.stringify(r.body));
      return [r.body.choices[0].message.content, r.headers.get('x-weir-provider'), r.headers.get('x-weir-model')].join(' ');
    }));
    const seen = new Set(await answers(60));
    assert.deepEqual([...seen].sort(), ['0 rack qwen/1', '1 rack/2 qwen/2', '2 rack/3 qwen/3']);
    assert.equal(servers.reduce((n, s) => n + s.requests.length, 0), 60);
    servers[1].behaviour = { mode: 'status', status: 500 };
    assert.ok((await answers(30)).every((a) => !a.startsWith('1')));
    assert.deepEqual((await g.get('/v1/models')).body.data.map((m) => m.id), ['qwen']);
    assert.equal((await g.chat('qwen/3', 'hi')).body.choices[0].message.content, '2');
    const kept = await g.chat('qwen', 'my SSN is 536-22-1847');
    assert.equal(kept.status, 200, 'all of them are inside');
  } finally {
    await g.stop();
    for (const s of servers) await s.stop();
  }
});

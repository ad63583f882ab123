// What is inside the local boundary stays there: over 1,000 mixed requests with the local model up, slow, crashing and
// down, and the cloud up, failing and hanging, not one such request arrives at the cloud, which records every byte.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Cloud } from './lib/cloud.mjs';
import { Gateway, makeFolder, makeModel, sleep } from './lib/gateway.mjs';

let cloud, gateway, folder;

before(async () => {
  folder = makeFolder();
  makeModel(folder);
  cloud = await Cloud.start();
  gateway = await Gateway.start(
    `providers:
  sim: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${SIM_KEY}", first_byte_timeout: 1s, breaker: off}
  other: {kind: anthropic, base_url: "${cloud.url}", api_key: "\${SIM_KEY}", first_byte_timeout: 1s, breaker: off}
models:
  - {name: house, file: ${folder}/tiny.gguf, context: 512, slots: 4, threads: 1, first_token_timeout: 2s}
  - {name: cloudy, provider: sim, model: sim-1}
  - {name: claude, provider: other, model: claude-sim}
routes:
  - name: auto
    rules:
      - {name: sensitive-stays-home, when: {sensitive: true}, use: [house], boundary: local}
      - {name: tagged-stays-home, when: {tag: internal}, use: [house, cloudy], boundary: local}
      - {name: tools-go-out, when: {tools: true}, use: [claude, cloudy, house]}
      - {name: otherwise, use: [house, cloudy, claude]}
on_sensitive: local
`,
    { env: { SIM_KEY: 'sk-simulated' }, folder },
  );
});

after(async () => {
  await gateway.stop();
  await cloud.stop();
});

// Each kind hides a marker somewhere in a request that must stay; `inside` tells whether it must.
const tool = (text) => [
  { type: 'function', function: { name: 'look', description: text, parameters: { type: 'object', properties: {} } } },
];
const kinds = [
  { inside: true, make: (m) => ({ model: 'auto', messages: [{ role: 'user', content: `Write to ${m}@bigbank-mail.com` }] }) },
  { inside: true, make: (m) => ({ model: 'cloudy', messages: [{ role: 'user', content: `${m}: my SSN is 536-22-1847` }] }) },
  { inside: true, make: (m) => ({ model: 'claude', messages: [
    { role: 'system', content: `Customer ${m}, IBAN DE89 3704 0044 0532 0130 01` },
    { role: 'user', content: 'ok' }, { role: 'assistant', content: 'yes' }, { role: 'user', content: 'go on' }] }) },
  { inside: true, make: (m) => ({ model: 'cloudy', tools: tool(`${m} mail ${m}@bigbank-mail.com`), messages: [{ role: 'user', content: 'call it' }] }) },
  { inside: true, make: (m) => ({ model: 'cloudy', messages: [
    { role: 'user', content: 'look it up' },
    { role: 'assistant', content: null, tool_calls: [{ id: 'c1', type: 'function', function: { name: 'look', arguments: '{}' } }] },
    { role: 'tool', tool_call_id: 'c1', content: `${m}: card 5555 3412 4444 1115` }, { role: 'user', content: 'and?' }] }) },
  { inside: true, make: (m) => ({ model: 'auto', messages: [{ role: 'user', content: [
    { type: 'text', text: `${m} key` }, { type: 'text', text: 'ghp_' + 'a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8' }] }] }) },
  { inside: true, headers: { 'x-weir-boundary': 'local' }, make: (m) => ({ model: 'auto', messages: [{ role: 'user', content: `plain ${m}` }] }) },
  { inside: true, headers: { 'x-weir-boundary': 'LOCAL' }, make: (m) => ({ model: 'cloudy', messages: [{ role: 'user', content: `plain ${m}` }] }) },
  { inside: true, headers: { 'x-weir-tags': 'other, internal' }, make: (m) => ({ model: 'auto', messages: [{ role: 'user', content: `plain ${m}` }] }) },
  { inside: false, make: (m) => ({ model: 'cloudy', messages: [{ role: 'user', content: `public ${m}` }] }) },
  { inside: false, make: (m) => ({ model: 'claude', messages: [{ role: 'user', content: `public ${m}` }] }) },
  { inside: false, make: (m) => ({ model: 'auto', tools: tool('a tool'), messages: [{ role: 'user', content: `public ${m}` }] }) },
  { inside: false, make: (m) => ({ model: 'auto', messages: [{ role: 'user', content: `public ${m}` }] }) },
];

const cloudModes = [
  {}, { mode: 'status', status: 500 }, { mode: 'status', status: 429 }, { mode: 'hang' }, { mode: 'reset' },
  { mode: 'truncate' }, { mode: 'malformed' }, { mode: 'html' }, { mode: 'status', status: 400 }, {},
];

// Does something to the local model's process for a while, again and again.
async function torment(state, stop) {
  while (!stop.now) {
    for (const pid of gateway.workers()) {
      try {
        if (state === 'crashing' || state === 'down') process.kill(pid, 'SIGKILL');
        if (state === 'slow') {
          process.kill(pid, 'SIGSTOP');
          await sleep(150);
          process.kill(pid, 'SIGCONT');
        }
      } catch {
        // it had ended by itself
      }
    }
    await sleep(state === 'down' ? 5 : 60);
  }
}

const total = 1040; // 4 states of the local model x 260
const markers = { inside: [], outside: [] };

for (const state of ['up', 'slow', 'crashing', 'down'])
  test(`${total / 4} requests with the local model ${state}`, async () => {
    const stop = { now: false };
    const tormentor = state === 'up' ? null : torment(state, stop);
    let n = 0;
    const statuses = {};
    const one = async () => {
      while (n < total / 4) {
        const i = n++;
        const kind = kinds[i % kinds.length];
        const marker = `mk${state}${i}zq`;
        markers[kind.inside ? 'inside' : 'outside'].push(marker);
        cloud.behaviour = cloudModes[Math.floor(i / kinds.length) % cloudModes.length];
        const request = { ...kind.make(marker), max_tokens: 4, stream: i % 2 === 0 };
        const r = await gateway.post('/v1/chat/completions', request, kind.headers ?? {});
        statuses[r.status] = (statuses[r.status] ?? 0) + 1;
        const told = r.status === 500 && r.body.error.type === 'simulated_error'; // the provider's own
        assert.ok(told || [200, 400, 429, 502, 503, 504].includes(r.status), `status ${r.status}: ${JSON.stringify(r.body)}`);
        if (kind.inside && r.status === 200) assert.equal(r.headers.get('x-weir-provider'), 'local');
        if (r.status !== 200) assert.ok(r.body.error.message.length > 10);
      }
    };
    try {
      await Promise.all(Array.from({ length: 8 }, one));
    } finally {
      stop.now = true;
      await tormentor;
    }
    if (state === 'up') await gateway.enginesUp();
    console.log(`# ${state}: ${JSON.stringify(statuses)}`);
    assert.ok(statuses[200] > 10);
  });

test('not one of them arrived at the cloud; the public ones did', () => {
  const received = cloud.received();
  assert.deepEqual(markers.inside.filter((m) => received.includes(m)), []);
  assert.ok(markers.inside.length > 600);
  assert.ok(markers.outside.filter((m) => received.includes(m)).length > 200);
});

test('a sensitive request whose local model is down fails closed with 503 and one clear error', async () => {
  const stop = { now: false };
  const tormentor = torment('down', stop);
  let r;
  for (let i = 0; i < 50; i++) {
    r = await gateway.chat('auto', 'Write to jane.doe@bigbank-mail.com', { max_tokens: 200 });
    if (r.status === 503) break;
  }
  stop.now = true;
  await tormentor;
  assert.equal(r.status, 503, JSON.stringify(r.body));
  assert.match(r.body.error.message, /house/);
  assert.equal(r.headers.get('x-weir-rule'), 'sensitive-stays-home');
});

test('every request has its row, settled, and the egress log tells what left', async () => {
  await sleep(300);
  const rows = gateway.audit('ledger');
  assert.ok(rows.length >= total, `${rows.length} rows`);
  assert.deepEqual(rows.filter((r) => r.outcome === 'open'), []);
  const byId = new Map(rows.map((r) => [r.request_id, r]));
  const left = gateway.audit('egress');
  assert.equal(left.length, cloud.requests.length, 'one record for each transfer that arrived');
  for (const e of left) {
    assert.equal(byId.get(e.request_id).boundary, 'any');
    assert.match(e.sha256, /^[0-9a-f]{64}$/);
    assert.ok(e.bytes > 50);
  }
  assert.ok(!JSON.stringify(left).includes('public mk'), 'never the content');
});

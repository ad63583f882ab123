// Long texts are judged beside the loop: others on it do not wait, the decision is the same, and who leaves meanwhile is let go.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Cloud } from './lib/cloud.mjs';
import { Gateway, sleep } from './lib/gateway.mjs';

let cloud, gateway;

before(async () => {
  cloud = await Cloud.start({ text: ['yes'], usage: { input: 5, output: 1 } });
  gateway = await Gateway.start(`threads: 1
drain_timeout: 1s
providers:
  near: {kind: openai, base_url: "${cloud.url}/v1", zone: local}
  far: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${SIM_KEY}"}
  gone: {kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: "\${SIM_KEY}"}
models:
  - {name: inside, provider: near, model: near-1}
  - {name: outside, provider: far, model: far-1}
  - {name: nowhere, provider: gone, model: gone-1, retries: 0}
routes:
  - name: auto
    rules:
      - {name: home, when: {sensitive: true}, use: [inside]}
      - {name: otherwise, use: [outside]}
`, { env: { SIM_KEY: 'sk-simulated' } });
});
after(async () => {
  await gateway?.stop();
  await cloud?.stop();
});

let made = 0;
const words = 'river bridge garden weir water costs height in plain words the of more and'.split(' ');
const prose = (bytes, end = '') => {
  let text = `Text ${++made}.`;
  for (let i = made; text.length < bytes; i++) text += ` ${words[(i * 7 + i * i * made) % words.length]}${i % 12 ? '' : '.'}`;
  return text + end;
};
const secret = ' My card is 5555 3412 4444 1115.';
const settled = async (n) => {
  for (let i = 0; i < 200; i++, await sleep(50)) if (gateway.audit('ledger').length >= n) return gateway.audit('ledger');
  assert.fail(`there are not ${n} rows`);
};

const inFlight = async (n) => {
  for (let i = 0; i < 400; i++, await sleep(10)) {
    const { body } = await gateway.get('/metrics');
    const seen = [...body.matchAll(/^weir_requests_in_flight\S* (\d+)$/gm)].reduce((sum, m) => sum + Number(m[1]), 0);
    if (seen >= n) return;
  }
  assert.fail(`${n} are not in flight`);
};

test('a long text held up everyone on its loop', async () => {
  const order = [];
  const long = gateway.chat('nowhere', prose(8 << 20)).then((r) => order.push(['long', r.status >= 500])); // at once, when it is judged
  await inFlight(1);
  for (let i = 0; i < 3; i++) {
    const { status } = await gateway.chat('auto', `A short one, ${i}.`);
    order.push(['short', status]);
  }
  await long;
  assert.deepEqual(order, [['short', 200], ['short', 200], ['short', 200], ['long', true]]);
});

test('what is found in a long text keeps it inside, streamed or whole, for all who send one at once', async () => {
  const asked = Array.from({ length: 12 }, (_, i) => {
    const content = prose(100000, i % 2 ? secret : '');
    return gateway.chat(i % 3 ? 'auto' : 'outside', content, i % 4 < 2 ? { stream: true } : {});
  });
  for (const [i, { status, headers }] of (await Promise.all(asked)).entries()) {
    assert.equal(status, 200);
    assert.equal(headers.get('x-weir-model'), i % 2 ? 'inside' : 'outside', `${i}`);
  }
});

test('who leaves while a text is judged is let go, with a row in the ledger', async () => {
  const before = (await settled(1)).length, asked = cloud.requests.length;
  const leave = new AbortController();
  const gone = gateway.chat('auto', prose(8 << 20), {}, {}, { signal: leave.signal }).then(() => 'answered', () => 'left');
  await inFlight(1);
  leave.abort();
  assert.equal(await gone, 'left');
  assert.equal((await gateway.chat('auto', 'And now?')).status, 200);
  const rows = (await settled(before + 2)).slice(-2).map((r) => r.outcome).sort();
  assert.deepEqual(rows, ['client_gone', 'ok']);
  assert.equal(cloud.requests.length, asked + 1);
});

test('the gateway stops while texts are judged', async () => {
  const asked = Array.from({ length: 4 }, () => gateway.chat('nowhere', prose(8 << 20)).then((r) => r.status, () => 'cut'));
  await inFlight(2);
  await gateway.stop();
  gateway = null;
  for (const how of await Promise.all(asked)) assert.ok(how === 'cut' || how >= 500, `${how}`);
});

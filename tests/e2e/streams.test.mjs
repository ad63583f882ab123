// Many requests to one local model: what is computed once, who waits, and that nothing runs when nothing is asked.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { Gateway, makeFolder, makeModel, sleep } from './lib/gateway.mjs';
import { createKey } from './lib/verbs.mjs';

let gateway;
before(async () => {
  const folder = makeFolder();
  makeModel(folder);
  gateway = await Gateway.start(
    `models:
  - {name: house, file: ${folder}/tiny.gguf, context: 1024, threads: 4, preload: true}
  - {name: narrow, file: ${folder}/tiny.gguf, context: 1024, slots: 1, queue: 1, threads: 1, preload: true, kv_type: f16, kv_cache: 16MiB}`,
    { folder },
  );
});
after(() => gateway.stop());

const ask = (model, messages, more = {}) =>
  gateway.post('/v1/chat/completions', { model, messages, max_tokens: 4, temperature: 0, ...more });

test('a system prompt that another has sent, and earlier turns, are not computed again', async () => {
  const system = { role: 'system', content: 'You help with the garden. '.repeat(12) };
  const first = await ask('house', [system, { role: 'user', content: 'When do I sow peas?' }]);
  assert.equal(first.status, 200);
  assert.equal(first.body.usage.prompt_tokens_details.cached_tokens, 0);
  const other = await ask('house', [system, { role: 'user', content: 'How deep go beans?' }]);
  const cached = other.body.usage.prompt_tokens_details.cached_tokens;
  assert.ok(cached >= 200, `only ${cached} of ${other.body.usage.prompt_tokens} tokens`);
  const turn = [
    system,
    { role: 'user', content: 'When do I sow peas?' },
    { role: 'assistant', content: first.body.choices[0].message.content ?? '' },
    { role: 'user', content: 'And beans?' },
  ];
  const again = await ask('house', turn);
  assert.ok(again.body.usage.prompt_tokens_details.cached_tokens >= first.body.usage.prompt_tokens - 1);
  // It says the same as an engine that has never seen any of it.
  const fresh = await ask('narrow', turn);
  assert.equal(fresh.body.usage.prompt_tokens_details.cached_tokens, 0);
  assert.equal(again.body.usage.prompt_tokens, fresh.body.usage.prompt_tokens);
});

// The time to a first token, and the count of cached ones, told one key what another had sent.
test('keys of one team share what was computed, others see nothing of it', async () => {
  const folder = makeFolder();
  makeModel(folder);
  const g = await Gateway.start(`auth: keys\nmodels: [{name: house, file: ${folder}/tiny.gguf, context: 1024, threads: 1, preload: true}]`, { folder });
  const key = (...args) => createKey(g.folder, ...args);
  const body = { model: 'house', messages: [{ role: 'user', content: 'The offer for the bridge is four millions. '.repeat(6) }], max_tokens: 2 };
  const post = (k) => g.post('/v1/chat/completions', body, { authorization: `Bearer ${k}` });
  const cached = async (k) => (await post(k)).body.usage.prompt_tokens_details.cached_tokens;
  try {
    const [one, two, other, alone] = [['one', 'red'], ['two', 'red'], ['other', 'blue'], ['alone', '']]
      .map(([name, team]) => key('--name', name, ...(team ? ['--team', team] : [])));
    for (let i = 0; i < 100 && (await post(alone)).status === 401; i++) await sleep(100);
    assert.ok((await cached(alone)) > 100);
    assert.equal(await cached(one), 0);
    assert.ok((await cached(two)) > 100);
    assert.equal(await cached(other), 0);
    assert.ok((await cached(other)) > 100);
  } finally {
    await g.stop();
  }
});

test('without `slots` four requests run at once', async () => {
  assert.match((await gateway.get('/metrics')).body, /weir_engine_slots\{model="house"\} 4\b/);
  const all = await Promise.all(
    Array.from({ length: 12 }, (_, i) => ask('house', [{ role: 'user', content: `number ${i}` }], { max_tokens: 30 })),
  );
  for (const a of all) assert.equal(a.status, 200);
});

test('a full queue is a 429 with a time to come again', async () => {
  const all = await Promise.all(
    Array.from({ length: 8 }, (_, i) => ask('narrow', [{ role: 'user', content: `word ${i} `.repeat(40) }], { max_tokens: 300 })),
  );
  const busy = all.filter((a) => a.status === 429);
  assert.ok(busy.length > 0 && busy.length <= 6, all.map((a) => a.status).join());
  for (const b of busy) assert.ok(Number(b.headers.get('retry-after')) >= 1);
});

// Ticks of CPU time of the gateway's workers; their threads spin for some microseconds, then sleep.
function ticks() {
  let sum = 0;
  for (const pid of readdirSync('/proc').filter((p) => /^\d+$/.test(p)))
    try {
      const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\) /, '').split(' ');
      if (Number(fields[1]) === gateway.process.pid) sum += Number(fields[11]) + Number(fields[12]);
    } catch {
      continue; // it has ended
    }
  return sum;
}

test('engines at rest take no CPU time', async () => {
  await sleep(300);
  const from = ticks();
  assert.ok(from > 0);
  await sleep(2000);
  assert.ok(ticks() - from <= 1, `${ticks() - from} ticks in two seconds`);
});

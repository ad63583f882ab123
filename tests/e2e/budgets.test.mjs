// Budgets and limits of keys, teams and everyone, against a real gateway and a cloud that counts.
import { after, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { accepted, ask, cli, cloud, keys, makeKey, model, start, until, usage, used } from './lib/budgets.mjs';
import { events, Gateway, sleep, weir } from './lib/gateway.mjs';

after(() => cloud.server.close());

test('a spent budget: 429 as each API says it, and what runs here goes on', async () => {
  const g = await start();
  try {
    const key = makeKey(g, '--budget', '0.10/day');
    await accepted(g, key);
    let answered = 0;
    let r;
    for (; answered < 20; answered++) {
      r = await ask(g, key);
      if (r.status !== 200) break;
      assert.equal(r.headers.get('x-weir-cost-usd'), '0.020000000');
    }
    assert.ok(answered >= 3 && answered <= 5, `answered ${answered}`);
    assert.equal(r.status, 429);
    assert.equal(r.body.error.type, 'insufficient_quota');
    assert.equal(r.body.error.code, 'insufficient_quota');
    assert.match(r.body.error.message, /big: the budget of this key for the day has 0\.0\d* USD left, and this may cost/);
    const wait = Number(r.headers.get('retry-after'));
    const midnight = 86400 - ((Date.now() / 1000) % 86400);
    assert.ok(Math.abs(wait - midnight) < 30, `retry-after ${wait}, midnight is ${midnight} s away`);
    assert.equal(r.headers.get('x-should-retry'), 'false');
    assert.ok(Math.abs(used(g, key) - 0.02 * answered) < 1e-12);

    const messages = [{ role: 'user', content: 'hello' }];
    const anthropic = await g.post('/v1/messages', { model: 'big', max_tokens: 20, messages }, key.headers);
    assert.equal(anthropic.status, 429);
    assert.deepEqual([anthropic.body.type, anthropic.body.error.type], ['error', 'rate_limit_error']);
    assert.ok(anthropic.headers.get('retry-after'));
    const responses = await g.post('/v1/responses', { model: 'big', max_output_tokens: 20, input: 'hello' }, key.headers);
    assert.equal(responses.status, 429);
    assert.equal(responses.body.error.code, 'insufficient_quota');
    const ollama = await g.post('/api/chat', { model: 'big', messages, stream: false, options: { num_predict: 20 } }, key.headers);
    assert.equal(ollama.status, 429);
    assert.match(ollama.body.error, /budget of this key/);
    const stream = await ask(g, key, 'big', { stream: true });
    assert.equal(stream.status, 429);

    const before = cloud.requests.length;
    const local = await ask(g, key, 'falls');
    assert.equal(local.status, 200);
    assert.equal(local.headers.get('x-weir-provider'), 'local');
    assert.equal(local.headers.get('x-weir-cost-usd'), '0.000000000');
    assert.equal(cloud.requests.length, before, 'nothing was sent that cannot be paid');
    const row = g.audit('ledger').find((l) => l.request_id === local.headers.get('x-request-id'));
    assert.deepEqual(JSON.parse(typeof row.attempts === 'string' ? row.attempts : JSON.stringify(row.attempts)).map((a) => a.outcome), ['budget', 'ok']);
    const metrics = (await g.get('/metrics', key.headers)).body;
    assert.match(metrics, new RegExp(`weir_budget_limit_usd\\{kind="key",name="${key.id}",period="day"\\} 0\\.1`));
    assert.match(metrics, new RegExp(`weir_budget_spent_usd\\{kind="key",name="${key.id}",period="day"\\} 0\\.0`));
    assert.match(metrics, /weir_limit_refusals_total\{limit="budget"\} [1-9]/);
    assert.match(metrics, /weir_target_failures_total\{model="big",reason="budget"\} [1-9]/);
    const unpriced = await ask(g, key, 'unpriced');
    assert.equal(unpriced.status, 429);
    assert.match(unpriced.body.error.message, /what it costs is not known/);
  } finally {
    await g.stop();
  }
});

test('a team and everyone stand over a key; changes hold without a restart', async () => {
  const g = await start();
  try {
    const one = makeKey(g, '--team', 'blue', '--budget', '100');
    const two = makeKey(g, '--team', 'blue');
    const admin = makeKey(g, '--admin');
    cli(g, 'teams', 'create', 'blue', '--budget', '0.05/month');
    await accepted(g, admin);
    await until(async () => (await g.get('/weir/teams/blue', admin.headers)).status === 200);
    const api = (method, path, body, key = admin) =>
      fetch(g.url + path, { method, headers: { 'content-type': 'application/json', ...key.headers }, body: body && JSON.stringify(body) });
    assert.equal((await ask(g, one)).status, 200);
    const refused = await ask(g, two, 'big', { max_tokens: 40 }); /* 0.03 are left */
    assert.equal(refused.status, 429);
    assert.match(refused.body.error.message, /the team blue for the month/);
    // The command line.
    cli(g, 'teams', 'set', 'blue', '--budget', '0.50/month');
    await until(async () => (await ask(g, two, 'big', { max_tokens: 40 })).status === 200);
    // The API: at once.
    assert.equal((await api('POST', '/weir/teams/blue', { budget: { month: 0.01 } })).status, 200);
    assert.equal((await ask(g, two)).status, 429);
    assert.equal((await api('POST', '/weir/teams/blue', { budget: null })).status, 200);
    assert.equal((await ask(g, two)).status, 200);
    // What was changed by another process just before is not undone.
    cli(g, 'teams', 'set', 'blue', '--requests', '77');
    const both = await (await api('POST', '/weir/teams/blue', { tokens: 5000000 })).json();
    assert.deepEqual([both.requests, both.tokens], [77, 5000000]);
    assert.equal((await api('POST', '/weir/teams', { name: '*', budget: '0.001/week' })).status, 200);
    const everyone = await ask(g, two);
    assert.match(everyone.body.error.message, /everyone together for the week/);
    const teams = await (await api('GET', '/weir/teams')).json();
    assert.deepEqual(teams.data.map((t) => t.name), ['*', 'blue']);
    assert.equal(teams.data[0].budget.week.limit, 0.001);
    assert.ok(teams.data[1].budget.month.used > 0);
    assert.equal((await api('DELETE', '/weir/teams/*')).status, 200);
    assert.equal((await api('DELETE', '/weir/teams/*')).status, 404);
    assert.equal((await ask(g, two)).status, 200);
    // Keys over the API.
    const made = await (await api('POST', '/weir/keys', { name: 'new', team: 'blue', budget: { day: '0.001' }, requests: 50, models: ['all'] })).json();
    assert.match(made.key, /^weir_[0-9A-Za-z]{12}_/);
    const fresh = { id: made.id, headers: { authorization: `Bearer ${made.key}` } };
    assert.equal((await ask(g, fresh)).status, 429);
    assert.equal((await api('POST', `/weir/keys/${made.id}`, { budget: null })).status, 200);
    assert.equal((await ask(g, fresh)).status, 200);
    const seen = await (await api('GET', `/weir/keys/${made.id}`)).json();
    assert.deepEqual([seen.name, seen.team, seen.requests, seen.models, seen.budget.day.limit], ['new', 'blue', 50, null, null]);
    assert.ok(Math.abs(seen.budget.total.used - 0.02) < 1e-12);
    assert.equal((await api('POST', `/weir/keys/${made.id}`, { budget: { day: 'x' } })).status, 400);
    assert.equal((await api('POST', `/weir/keys/${made.id}`, { unknown: 1 })).status, 400);
    const nobody = await api('POST', '/weir/keys/nosuchkey123', { budget: null });
    assert.deepEqual([nobody.status, (await nobody.json()).error.code], [404, null]);
    assert.equal((await (await api('GET', '/v1/models/nobody')).json()).error.code, 'model_not_found');
    assert.equal((await api('POST', '/weir/keys', { name: 'x', team: '*' })).status, 400);
    assert.equal((await api('GET', '/weir/keys', null, two)).status, 403);
    assert.equal((await api('POST', '/weir/teams/blue', { budget: '9999' }, two)).status, 403);
    assert.equal((await api('DELETE', `/weir/keys/${made.id}`)).status, 200);
    assert.equal((await ask(g, fresh)).status, 401);
  } finally {
    await g.stop();
  }
});

test('a count that can be none was told to the client as 0 and counted as what was told before it', async () => {
  const kinds = ['openai', 'anthropic', 'gemini', 'ollama'];
  const g = await Gateway.start(`providers:
${kinds.map((k) => `  ${k}: {kind: ${k}, base_url: "${cloud.url}${k === 'openai' ? '/v1' : ''}"${k === 'ollama' ? '' : ', api_key: "${KEY}"'}}`).join('\n')}
models:
${kinds.map((k) => `  - {name: ${k}, provider: ${k}, model: m, price: {input: 1000, output: 1000}}`).join('\n')}
`, { env: { KEY: 'sk-test' } });
  try {
    for (const n of [-5, 9e15]) {
      cloud.behaviour = { usage: { input: n, output: n }, text: ['ten words ', 'or so of ', 'an answer'] };
      for (const kind of kinds) {
        const whole = await g.chat(kind, 'hello', { max_tokens: 20 });
        const { prompt_tokens: input, completion_tokens: output } = whole.body.usage;
        assert.ok(input > 2 && input < 20 && output > 3 && output < 20, `${kind} ${n}: ${input} ${output}`);
        const rowOf = (r) => g.audit('ledger').find((l) => l.request_id === r.headers.get('x-request-id'));
        const row = rowOf(whole);
        assert.deepEqual([row.input_tokens, row.output_tokens, row.usage_estimated], [input, output, true]);
        assert.equal(row.cost_nano_usd, (input + output) * 1e6);
        assert.equal(Number(whole.headers.get('x-weir-cost-usd')), (input + output) / 1000);
        const stream = rowOf(await g.chat(kind, 'hello', { max_tokens: 20, stream: true }));
        assert.deepEqual([stream.input_tokens, stream.output_tokens, stream.usage_estimated], [input, output, true]);
      }
    }
  } finally {
    cloud.behaviour = { usage };
    await g.stop();
  }
});

test('a stream that never ended overspent a budget: it is cut off where what it may cost is spent', async () => {
  const kinds = ['openai', 'anthropic', 'gemini', 'ollama'];
  const g = await Gateway.start(`auth: keys
providers:
${kinds.map((k) => `  ${k}: {kind: ${k}, base_url: "${cloud.url}${k === 'openai' ? '/v1' : ''}"${k === 'ollama' ? '' : ', api_key: "${KEY}"'}}`).join('\n')}
models:
  - {name: tiny, file: ${model}, context: 512}
${kinds.map((k) => `  - {name: ${k}, provider: ${k}, model: m, price: {input: 1000, output: 1000}}`).join('\n')}
routes:
  - {name: falls, rules: [{name: all, use: [openai, tiny], hedge: 60s}]}
`, { env: { KEY: 'sk-test' } });
  const rowOf = (r) => g.audit('ledger').find((l) => l.request_id === r.headers.get('x-request-id'));
  const piecesOf = function* (n) {
    for (let i = 0; i < n; i++) yield `a word and another, number ${i} `;
  };
  const saying = (n, told) => ({ text: { [Symbol.iterator]: () => piecesOf(n) }, streams: true, usage: { input: 10, output: told } });
  try {
    for (const kind of kinds) {
      const key = makeKey(g, '--budget', '5/day');
      await accepted(g, key);
      // A long answer that can be paid comes whole: 140 times 10 tokens or so, where 512 were reserved at first.
      cloud.behaviour = saying(140, 900);
      const long = await g.chat(kind, 'hello', { stream: true }, key.headers);
      assert.match(long.body, /number 139 /, kind);
      assert.equal(rowOf(long).outcome, 'ok');
      const left = 5 - used(g, key);
      cloud.behaviour = saying(1e6, 10);
      const cut = await g.chat(kind, 'hello', { stream: true }, key.headers);
      assert.match(cut.body, /data: .*"error".*its answer is cut off: the budget of this key for the day has/, kind);
      assert.match(cut.body, /"insufficient_quota"/);
      const row = rowOf(cut);
      assert.deepEqual([row.outcome, row.usage_estimated], ['failed', true]);
      assert.deepEqual(row.attempts.map((a) => a.outcome), ['budget']);
      // What was read with it when it was cut is paid, too (it was $109 in 5 s, and later $16 of 2 under load).
      assert.ok(row.cost_nano_usd > 0.95e9 * left && row.cost_nano_usd < 1e9 * left + 1e9, `${kind}: ${row.cost_nano_usd} of ${left}`);
      await until(() => cloud.sockets.size === 0 || cloud.aborted > 0);
      const metrics = (await g.get('/metrics', key.headers)).body;
      assert.match(metrics, new RegExp(`weir_target_failures_total\\{model="${kind}",reason="budget"\\} 1`));
      assert.doesNotMatch(metrics, new RegExp(`weir_breaker_opened_total\\{[^}]*"${kind}"[^}]*\\} [1-9]`));
    }
    // Who wants the whole answer has seen nothing of it: another target gives one.
    const key = makeKey(g, '--budget', '5/day');
    await accepted(g, key);
    cloud.behaviour = saying(1e6, 10);
    const fell = await g.chat('falls', 'hello', {}, key.headers);
    assert.equal(fell.headers.get('x-weir-provider'), 'local', JSON.stringify(fell.body).slice(0, 300));
    assert.deepEqual(rowOf(fell).attempts.map((a) => a.outcome), ['budget', 'ok']);
    assert.ok(used(g, key) > 4.7 && used(g, key) < 6, `used ${used(g, key)}`);
  } finally {
    cloud.behaviour = { usage };
    await g.stop();
  }
});

test('a stream whose pieces were larger than the client takes at once was never cut off', async () => {
  const g = await start();
  try {
    const key = makeKey(g, '--budget', '5/day');
    await accepted(g, key);
    const piece = 'a word and another '.repeat(16384);
    cloud.behaviour = { text: Array(40).fill(piece), streams: true, usage };
    const r = await ask(g, key, 'big', { stream: true, max_tokens: undefined });
    assert.match(r.body, /its answer is cut off: the budget of this key for the day has/);
    assert.ok(r.body.length < 5 * piece.length, `${r.body.length} bytes came`);
  } finally {
    cloud.behaviour = { usage };
    await g.stop();
  }
});

test('output was counted by what Anthropic tells before it, where its last event has no usage', async () => {
  const g = await Gateway.start(`providers:
  out: {kind: anthropic, base_url: "${cloud.url}", api_key: "\${KEY}"}
models:
  - {name: m, provider: out, price: {input: 1000, output: 1000}}
`, { env: { KEY: 'sk-test' } });
  try {
    const ask = async (usage) => {
      cloud.behaviour = { usage, text: ['ten words ', 'or so of ', 'an answer'] };
      const r = await g.chat('m', 'hello', { max_tokens: 20, stream: true, stream_options: { include_usage: true } });
      const row = g.audit('ledger').find((l) => l.request_id === r.headers.get('x-request-id'));
      assert.equal(events(r.body).findLast((e) => e.usage).usage.completion_tokens, row.output_tokens);
      assert.equal(row.cost_nano_usd, (row.input_tokens + row.output_tokens) * 1e6);
      return [row.input_tokens, row.output_tokens, row.usage_estimated];
    };
    const [input, output, estimated] = await ask({ input: 7, output: 5, untold: true });
    assert.ok(input === 7 && output > 3 && output < 20 && estimated, `${input} ${output} ${estimated}`);
    assert.deepEqual(await ask({ input: 7, output: 5, begun: 40, untold: true }), [7, 40, false]);
    assert.deepEqual(await ask({ input: 7, output: 2 }), [7, 2, false]);
  } finally {
    cloud.behaviour = { usage };
    await g.stop();
  }
});

test('an answer from the cache told 0 tokens where its provider had told none', async () => {
  const g = await start({ more: 'cache: {ttl: 1m, max_bytes: 1MiB}\n' });
  try {
    cloud.behaviour = { usage: { input: -1, output: -1 }, text: ['ten words ', 'or so of ', 'an answer'] };
    const key = makeKey(g);
    await accepted(g, key);
    const cached = () => g.chat('big', 'hello', { temperature: 0, max_tokens: 20 }, { ...key.headers, 'x-weir-cache': 'true' });
    const first = await cached(), hit = await cached();
    assert.equal(hit.headers.get('x-weir-cache'), 'hit');
    assert.ok(first.body.usage.prompt_tokens > 2 && first.body.usage.completion_tokens > 3, JSON.stringify(first.body));
    assert.deepEqual(hit.body.usage, first.body.usage);
    const row = g.audit('ledger').find((l) => l.request_id === hit.headers.get('x-request-id'));
    assert.deepEqual([row.input_tokens, row.output_tokens, row.usage_estimated, row.cost_nano_usd],
      [hit.body.usage.prompt_tokens, hit.body.usage.completion_tokens, true, 0]);
  } finally {
    cloud.behaviour = { usage };
    await g.stop();
  }
});

test('a burst of parallel requests never spends more than there is', async () => {
  const g = await start();
  try {
    const key = makeKey(g, '--team', 'red');
    cli(g, 'teams', 'create', 'red', '--budget', '0.50');
    await accepted(g, key);
    cloud.behaviour = { usage, delay: 50 };
    await until(async () => JSON.stringify((await g.get('/metrics', key.headers)).body).includes('name=\\"red\\"'));
    const before = cloud.requests.length;
    const answers = await Promise.all(Array.from({ length: 80 }, (_, i) => ask(g, key, 'big', { stream: i % 2 === 0 })));
    const good = answers.filter((r) => r.status === 200).length;
    assert.equal(good + answers.filter((r) => r.status === 429).length, 80);
    assert.equal(cloud.requests.length - before, good);
    assert.ok(good * 0.02 <= 0.5 + 1e-9, `${good} answers`);
    // Afterwards the rest can be spent, one by one, to less than one reservation.
    cloud.behaviour = { usage };
    let more = 0;
    while ((await ask(g, key)).status === 200) more++;
    const spent = used(g, key, 'total');
    assert.match((await g.get('/metrics', key.headers)).body, /weir_budget_reserved_usd\{kind="team",name="red"\} 0\n/);
    assert.ok(Math.abs(spent - (good + more) * 0.02) < 1e-9);
    assert.ok(spent <= 0.5 && spent > 0.5 - 0.06, `spent ${spent}`);
  } finally {
    cloud.behaviour = { usage };
    await g.stop();
  }
});

test('kill -9 forgets nothing that was spent', async () => {
  const g = await start({ keep: true });
  const key = makeKey(g, '--budget', '0.07/week');
  await accepted(g, key);
  assert.equal((await ask(g, key)).status, 200);
  assert.equal((await ask(g, key)).status, 200);
  g.process.kill('SIGKILL'); // at once: its rows are in the journal, not yet in the database
  await g.exited;
  const again = await start({ folder: g.folder });
  try {
    assert.equal((await ask(again, key, 'big', { max_tokens: 40 })).status, 429);
    assert.ok(Math.abs(used(again, key, 'week') - 0.04) < 1e-12);
    assert.equal((await ask(again, key, 'big', { max_tokens: 5 })).status, 200);
    assert.equal((await ask(again, key, 'big', { max_tokens: 5 })).status, 429);
  } finally {
    await again.stop();
  }
});

test('who leaves, fails, is hedged or embeds pays what it cost, once', async () => {
  const g = await start({ more: `  - {name: hedged, rules: [{name: both, use: [big, unhurried], hedge: 100ms}]}
` });
  try {
    const key = makeKey(g, '--budget', '10/day');
    await accepted(g, key);
    // A client that leaves in the middle pays for what it had.
    cloud.behaviour = { usage, gap: 200, text: Array(50).fill('word ') };
    const leaving = new AbortController();
    const r = await fetch(`${g.url}/v1/chat/completions`, {
      method: 'POST',
      signal: leaving.signal,
      headers: { 'content-type': 'application/json', ...key.headers },
      body: JSON.stringify({ model: 'big', stream: true, max_tokens: 1000, messages: [{ role: 'user', content: 'hello' }] }),
    });
    await r.body.getReader().read();
    leaving.abort();
    await until(() => used(g, key) > 0);
    const left = used(g, key);
    assert.ok(left > 0.005 && left < 0.1, `it paid ${left}`);
    // A failure costs nothing, and what was reserved for it is there again.
    cloud.behaviour = { mode: 'status', status: 500 };
    assert.equal((await ask(g, key, 'big', { max_tokens: 9000 })).status, 500);
    cloud.behaviour = { usage };
    assert.equal((await ask(g, key, 'big', { max_tokens: 9000 })).status, 200);
    await until(() => Math.abs(used(g, key) - left - 0.02) < 1e-12);
    // Two were asked: one answers, the other was paid for its prompt.
    cloud.behaviour = (request, body) => ({ usage, delay: body.model === 'big' ? 1000 : 300 });
    const hedged = await ask(g, key, 'hedged');
    cloud.behaviour = { usage };
    assert.equal(hedged.status, 200);
    assert.ok(Number(hedged.headers.get('x-weir-cost-usd')) > 0.02);
    await until(() => Math.abs(used(g, key) - left - 0.02 - Number(hedged.headers.get('x-weir-cost-usd'))) < 1e-9);
    // Embeddings.
    const before = used(g, key);
    cloud.behaviour = {
      handle: (request, response) => {
        response.writeHead(200, { 'content-type': 'application/json' });
        response.end(JSON.stringify({ object: 'list', model: 'vectors', data: [{ object: 'embedding', index: 0, embedding: [1, 0] }], usage: { prompt_tokens: 7, total_tokens: 7 } }));
      },
    };
    const embedded = await g.post('/v1/embeddings', { model: 'vectors', input: 'some words to embed' }, key.headers);
    assert.equal(embedded.status, 200);
    await until(() => Math.abs(used(g, key) - before - 0.007) < 1e-9);
    // Nothing is reserved any more: all that is left can be reserved.
    const rest = Math.floor((10 - used(g, key)) * 1000) - 40;
    cloud.behaviour = { usage };
    assert.equal((await ask(g, key, 'big', { max_tokens: rest })).status, 200);
  } finally {
    cloud.behaviour = { usage };
    await g.stop();
  }
});

test('a batch waits where its key asks too much at once, and fails where the money is gone', async () => {
  const g = await start({ more: 'retention: {content: 1d}\n' });
  try {
    const key = makeKey(g, '--parallel', '1', '--budget', '0.09');
    await accepted(g, key);
    const line = (i) => JSON.stringify({ custom_id: `line${i}`, method: 'POST', url: '/v1/chat/completions', body: { model: 'big', max_tokens: 20, messages: [{ role: 'user', content: 'hello' }] } });
    const form = new FormData();
    form.append('purpose', 'batch');
    form.append('file', new Blob([Array.from({ length: 6 }, (_, i) => line(i)).join('\n') + '\n']), 'in.jsonl');
    cloud.behaviour = { usage, delay: 200 };
    const file = await (await fetch(`${g.url}/v1/files`, { method: 'POST', body: form, headers: key.headers })).json();
    let batch = (await g.post('/v1/batches', { input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' }, key.headers)).body;
    await until(async () => {
      batch = (await g.get(`/v1/batches/${batch.id}`, key.headers)).body;
      return batch.status === 'completed';
    }, 90000);
    assert.deepEqual(batch.request_counts, { total: 6, completed: 4, failed: 2 }, JSON.stringify(batch));
    const failed = (await g.get(`/v1/files/${batch.error_file_id}/content`, key.headers)).body;
    assert.match(typeof failed === 'string' ? failed : JSON.stringify(failed), /insufficient_quota/);
    assert.ok(Math.abs(used(g, key, 'total') - 0.08) < 1e-9);
  } finally {
    cloud.behaviour = { usage };
    await g.stop();
  }
});

test('a batch that is cancelled sends nothing of what waited for its turn', async () => {
  const g = await start({ more: 'retention: {content: 1d}\n' });
  try {
    const key = makeKey(g, '--requests', '1');
    await accepted(g, key);
    const line = (i) => JSON.stringify({ custom_id: `line${i}`, method: 'POST', url: '/v1/chat/completions', body: { model: 'big', max_tokens: 20, messages: [{ role: 'user', content: 'hello' }] } });
    const form = new FormData();
    form.append('purpose', 'batch');
    form.append('file', new Blob([Array.from({ length: 6 }, (_, i) => line(i)).join('\n') + '\n']), 'in.jsonl');
    const file = await (await fetch(`${g.url}/v1/files`, { method: 'POST', body: form, headers: key.headers })).json();
    const before = cloud.requests.length;
    const { id } = (await g.post('/v1/batches', { input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' }, key.headers)).body;
    const now = async () => (await g.get(`/v1/batches/${id}`, key.headers)).body;
    await until(async () => (await now()).request_counts.completed === 1);
    await g.post(`/v1/batches/${id}/cancel`, {}, key.headers);
    await until(async () => (await now()).status === 'cancelled');
    assert.equal(cloud.requests.length, before + 1);
  } finally {
    await g.stop();
  }
});

test('rules go by what is left, in dollars and in shares', async () => {
  const g = await start();
  try {
    const key = makeKey(g, '--budget', '0.12/day', '--admin');
    const free = makeKey(g, '--admin');
    await accepted(g, free);
    const where = async (k) => (await ask(g, k, 'saves', { max_tokens: 4 })).headers.get('x-weir-rule');
    const seen = [];
    for (let i = 0; i < 5; i++) seen.push(await where(key));
    assert.deepEqual(seen, ['rich', 'rich', 'rich', 'rich', 'poor']);
    assert.equal(await where(free), 'rich'); // no budget: all of it is left
    const body = { model: 'saves', messages: [{ role: 'user', content: 'x' }] };
    const explained = (await g.post('/weir/explain', body, key.headers)).body;
    assert.ok(Math.abs(explained.facts.budget_left - 0.04) < 1e-9, JSON.stringify(explained.facts));
    assert.equal(explained.rules[0].why, 'budget_left is 33.33%, wants >= 50%');
    assert.match(explained.rules[1].why, /budget_left is 0\.04, wants < 0\.07/);
    const unlimited = (await g.post('/weir/explain', body, free.headers)).body;
    assert.equal(unlimited.facts.budget_left, null);
    assert.equal(unlimited.rules[1].why, 'budget_left is not limited, wants < 0.07');
  } finally {
    await g.stop();
  }
});

test('an answer from the cache takes a request of the rate and says so, and neither tokens nor money', async () => {
  const g = await start({ more: 'cache: {ttl: 1m, max_bytes: 1MiB}\n' });
  try {
    const key = makeKey(g, '--requests', '9', '--tokens', '1000', '--budget', '1');
    await accepted(g, key);
    const cached = () => ask({ chat: (m, c, more, headers) => g.chat(m, c, more, { ...headers, 'x-weir-cache': 'true' }) }, key, 'big', { temperature: 0 });
    assert.equal((await cached()).headers.get('x-weir-cache'), 'miss');
    const hit = await cached();
    assert.equal(hit.headers.get('x-weir-cache'), 'hit');
    assert.equal(hit.headers.get('x-ratelimit-limit-requests'), '9');
    assert.ok(Number((await cached()).headers.get('x-ratelimit-remaining-tokens')) > 900);
    assert.ok(Math.abs(used(g, key, 'total') - 0.02) < 1e-9);
  } finally {
    await g.stop();
  }
});

test('requests and tokens a minute, at a time, and the models that may be asked for', async () => {
  const g = await start();
  try {
    const key = makeKey(g, '--requests', '3');
    const tokens = makeKey(g, '--tokens', '100');
    const single = makeKey(g, '--parallel', '1');
    const narrow = makeKey(g, '--models', 'tin*,falls');
    await accepted(g, narrow);
    let r;
    for (let i = 0; i < 3; i++) {
      r = await ask(g, key, 'tiny', { max_tokens: 2 });
      assert.equal(r.status, 200);
      assert.equal(r.headers.get('x-ratelimit-limit-requests'), '3');
      assert.ok(Number(r.headers.get('x-ratelimit-remaining-requests')) <= 2 - i + 1);
      assert.match(r.headers.get('x-ratelimit-reset-requests'), /^\d+(ms|s|m\d+s)$/);
    }
    r = await ask(g, key, 'tiny', { max_tokens: 2 });
    assert.equal(r.status, 429);
    assert.deepEqual([r.body.error.type, r.body.error.code], ['requests', 'rate_limit_exceeded']);
    assert.ok(Number(r.headers.get('retry-after')) <= 20);
    assert.equal(r.headers.get('x-should-retry'), null);
    const anthropic = await g.post('/v1/messages', { model: 'tiny', max_tokens: 2, messages: [{ role: 'user', content: 'x' }] }, key.headers);
    assert.equal(anthropic.status, 429);
    assert.equal(anthropic.body.error.type, 'rate_limit_error');
    assert.equal(anthropic.headers.get('anthropic-ratelimit-requests-limit'), '3');
    assert.equal(anthropic.headers.get('anthropic-ratelimit-requests-remaining'), '0');
    assert.ok(Date.parse(anthropic.headers.get('anthropic-ratelimit-requests-reset')) > Date.now());
    const refused = g.audit('ledger').filter((l) => l.status === 429);
    assert.equal(refused.length, 2);
    assert.equal(refused[0].outcome, 'refused');

    r = await ask(g, tokens, 'big', { max_tokens: 70 });
    assert.equal(r.status, 200);
    assert.equal(r.headers.get('x-ratelimit-limit-tokens'), '100');
    // It used 20 of those it might have used: the rest came back.
    r = await ask(g, tokens, 'big', { max_tokens: 50 });
    assert.equal(r.status, 200, JSON.stringify(r.body));
    r = await ask(g, tokens, 'big', { max_tokens: 90 });
    assert.equal(r.status, 429);
    assert.equal(r.body.error.type, 'tokens');

    cloud.behaviour = { usage, delay: 1500 };
    const both = await Promise.all([ask(g, single), sleep(400).then(() => ask(g, single))]);
    cloud.behaviour = { usage };
    assert.deepEqual(both.map((b) => b.status), [200, 429]);
    assert.equal(both[1].headers.get('retry-after'), '1');
    assert.equal((await ask(g, single)).status, 200);

    assert.equal((await ask(g, narrow, 'tiny', { max_tokens: 2 })).status, 200);
    const denied = await ask(g, narrow, 'big');
    assert.equal(denied.status, 403);
    assert.match(denied.body.error.message, /may not ask for the model 'big'/);
    const names = (await g.get('/v1/models', narrow.headers)).body.data.map((m) => m.id).sort();
    assert.deepEqual(names, ['falls', 'tiny']);
    assert.equal((await g.get('/v1/models/big', narrow.headers)).status, 404);
    const tags = (await g.get('/api/tags', narrow.headers)).body.models.map((m) => m.name ?? m.model);
    assert.equal(tags.length, 2);
  } finally {
    cloud.behaviour = { usage };
    await g.stop();
  }
});

test('the command line: limits are set, shown, changed and refused', async () => {
  const g = await start();
  try {
    const key = makeKey(g, '--team', 'blue', '--budget', '10/day,100/month', '--requests', '60', '--parallel', '4', '--models', 'falls');
    cli(g, 'keys', 'set', key.id, '--requests', 'none', '--tokens', '5000', '--expires', '30d');
    const row = keys(g)[0];
    assert.equal(row.budget.day.limit, 10);
    assert.equal(row.budget.month.limit, 100);
    assert.deepEqual([row.requests, row.tokens, row.parallel, row.models], [null, 5000, 4, ['falls']]);
    assert.ok(Date.parse(row.expires) > Date.now() + 29 * 86400e3);
    assert.match(cli(g, 'keys', 'list'), /0\.00 of 10\.00\/day, 0\.00 of 100\.00\/month +5000 tokens\/min, 4 at a time, only falls/);
    cli(g, 'teams', 'create', 'blue', '--budget', '1000/month');
    cli(g, 'teams', 'set', '*', '--budget', '5000');
    const table = cli(g, 'teams', 'list');
    assert.match(table, /blue +0\.00 of 1000\.00\/month/);
    assert.match(table, /\* +0\.00 of 5000\.00\/total/);
    const fails = (code, what, ...args) =>
      assert.throws(() => cli(g, ...args), (e) => e.status === code && what.test(e.stderr.toString()), args.join(' '));
    fails(2, /a budget is US dollars/, 'keys', 'set', key.id, '--budget', 'ten');
    fails(2, /day, week, month or total/, 'teams', 'set', 'blue', '--budget', '5/year');
    fails(1, /no key with the id/, 'keys', 'set', 'nobody', '--budget', '5');
    fails(2, /nothing is set/, 'keys', 'set', key.id);
    fails(2, /already/, 'teams', 'create', 'blue');
    fails(2, /everyone/, 'keys', 'create', '--name', 'x', '--team', '*');
    fails(1, /no limits of the team/, 'teams', 'delete', 'green');
    fails(2, /'requests' wants a number/, 'teams', 'set', 'blue', '--requests', '0');
    cli(g, 'teams', 'delete', 'blue');
    assert.doesNotMatch(cli(g, 'teams', 'list'), /blue/);
    assert.match(cli(g, 'teams', '--help'), /--budget B/);
  } finally {
    await g.stop();
  }
});

test('the official clients know a spent budget and a rate that is used up, and do not come again at once', async (t) => {
  const [openai, anthropic] = await Promise.all(['openai', '@anthropic-ai/sdk'].map((name) => import(name).then((m) => m, () => null)));
  if (!openai || !anthropic) return t.skip('the official clients are not installed');
  const g = await start();
  try {
    const poor = makeKey(g, '--budget', '0.001');
    const rated = makeKey(g, '--requests', '1');
    await accepted(g, rated);
    const messages = [{ role: 'user', content: 'hello' }];
    const of = (key) => new openai.default({ baseURL: `${g.url}/v1`, apiKey: key.secret });
    const quota = await of(poor).chat.completions.create({ model: 'big', messages, max_tokens: 20 }).catch((e) => e);
    assert.ok(quota instanceof openai.RateLimitError, String(quota));
    assert.deepEqual([quota.code, quota.type], ['insufficient_quota', 'insufficient_quota']);
    const claude = new anthropic.default({ baseURL: g.url, apiKey: poor.secret });
    const spent = await claude.messages.create({ model: 'big', messages, max_tokens: 20 }).catch((e) => e);
    assert.ok(spent instanceof anthropic.RateLimitError, String(spent));
    assert.equal(spent.error.error.type, 'rate_limit_error');
    assert.equal(g.audit('ledger').length, 2, 'each was asked once');
    const { response } = await of(rated).chat.completions.create({ model: 'tiny', messages, max_tokens: 2 }).withResponse();
    assert.equal(response.headers.get('x-ratelimit-remaining-requests'), '0');
    const rate = await of(rated).chat.completions.create({ model: 'tiny', messages, max_tokens: 2 }, { maxRetries: 0 }).catch((e) => e);
    assert.ok(rate instanceof openai.RateLimitError);
    assert.deepEqual([rate.code, rate.type], ['rate_limit_exceeded', 'requests']);
  } finally {
    await g.stop();
  }
});

test('weir route: as if so much of a budget were left', async () => {
  const g = await start();
  try {
    const route = (...args) =>
      JSON.parse(execFileSync(weir, ['route', '--config', g.config, ...args], { input: '{"model":"saves","messages":[{"role":"user","content":"x"}]}', env: { ...process.env, KEY: 'x' }, stdio: ['pipe', 'pipe', 'ignore'] }));
    assert.equal(route('--budget-left', '80%').rule, 'rich');
    assert.equal(route('--budget-left', '0.01').rule, 'poor');
    assert.equal(route().rule, 'between');
    assert.throws(() => route('--budget-left', 'much'), (e) => e.status === 2);
  } finally {
    await g.stop();
  }
});

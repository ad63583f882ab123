// OpenAI's files and batches by its official client, and the verb batch: finished, broken off, killed and gone on with.
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Cloud } from './lib/cloud.mjs';
import { Gateway, makeFolder, makeModel, sleep, weir } from './lib/gateway.mjs';

const openai = await import('openai').then((m) => m, () => null);
const OpenAI = openai?.default;
const skip = OpenAI ? false : 'the official clients are not installed';
const env = { SIM_KEY: 'sk-simulated' };
let cloud, folder, config, gateway, client;

const clientOf = (g) => new OpenAI({ baseURL: `${g.url}/v1`, apiKey: 'none', maxRetries: 0 });

before(async () => {
  cloud = await Cloud.start();
  folder = makeFolder();
  config = `retention: {content: 1d}
providers: {sim: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${SIM_KEY}"}}
models:
  - {name: house, file: "${makeModel(folder)}", context: 2048}
  - {name: gpt, provider: sim, model: gpt-5-sim}
routes:
  - name: auto
    rules:
      - {name: batch-stays-home, when: {batch: true}, use: [house]}
      - {name: otherwise, use: [gpt]}
`;
  gateway = await Gateway.start(config, { env, folder, keep: true });
  if (!skip) client = clientOf(gateway);
});

after(async () => {
  await gateway.stop();
  await cloud.stop();
});

const line = (id, body, url = '/v1/chat/completions') => JSON.stringify({ custom_id: id, method: 'POST', url, body });
const chat = (id, model = 'gpt') => line(id, { model, max_tokens: 4, messages: [{ role: 'user', content: `say ${id}` }] });
const send = async (c, lines) => c.files.create({
  purpose: 'batch', file: await openai.toFile(Buffer.from(lines.join('\n') + '\n'), 'in.jsonl') });
const rows = (text) => text.split('\n').filter(Boolean).map((l) => JSON.parse(l));

async function ended(c, id) {
  for (let i = 0; i < 1200; i++) {
    const b = await c.batches.retrieve(id);
    if (!['validating', 'in_progress', 'finalizing', 'cancelling'].includes(b.status)) return b;
    await sleep(100);
  }
  assert.fail(`${id} does not end`);
}

test('files: sent, listed, read, deleted', { skip }, async () => {
  const file = await send(client, [chat('a'), chat('b')]);
  assert.match(file.id, /^file-/);
  assert.deepEqual([file.object, file.purpose, file.filename, file.status], ['file', 'batch', 'in.jsonl', 'processed']);
  assert.equal(file.bytes, chat('a').length + chat('b').length + 2);
  const ids = [];
  for await (const f of client.files.list()) ids.push(f.id);
  assert.ok(ids.includes(file.id));
  assert.deepEqual(await client.files.retrieve(file.id), file);
  assert.equal(await (await client.files.content(file.id)).text(), `${chat('a')}\n${chat('b')}\n`);
  const at = join(folder, 'weir.db.files');
  for (const name of readdirSync(at)) assert.equal(statSync(join(at, name)).mode & 0o777, 0o600, name);
  assert.equal(statSync(at).mode & 0o777, 0o700);
  assert.deepEqual(await client.files.delete(file.id), { id: file.id, object: 'file', deleted: true });
  await assert.rejects(client.files.retrieve(file.id), OpenAI.NotFoundError);
  await assert.rejects(client.files.content('file-../../weir'), OpenAI.APIError);
  await assert.rejects(client.files.create({ purpose: 'fine-tune', file: await openai.toFile(Buffer.from('x'), 'x') }), OpenAI.BadRequestError);
});

test('a long name of a file was cut inside a character, and refused for that', async () => {
  const form = new FormData();
  form.append('purpose', 'batch');
  form.append('file', new Blob([`${chat('a')}\n`]), `a${'é'.repeat(200)}.jsonl`);
  const r = await fetch(`${gateway.url}/v1/files`, { method: 'POST', body: form });
  const file = await r.json();
  assert.equal(r.status, 200, JSON.stringify(file));
  assert.equal(file.filename, `a${'é'.repeat(127)}`);
});

test('files: a field of the form that changes something was dropped in silence, and the order of the list', { skip }, async () => {
  const file = await openai.toFile(Buffer.from(chat('a')), 'in.jsonl');
  await assert.rejects(client.files.create({ purpose: 'batch', file, expires_after: { anchor: 'created_at', seconds: 3600 } }),
    (e) => e.status === 400 && /'expires_after\[anchor\]' cannot be honoured/.test(e.message));
  const form = new FormData();
  form.append('purpose', 'batch');
  form.append('file', new Blob([chat('a')]), 'in.jsonl');
  form.append('\u{1F600}'.repeat(40), 'x'); // more than the message tells of it
  assert.equal((await fetch(`${gateway.url}/v1/files`, { method: 'POST', body: form })).status, 400);
  for (let i = 0; i < 2; i++) await send(client, [chat('a')]);
  const ids = async (order) => {
    const list = [];
    for await (const f of client.files.list({ order, limit: 1 })) list.push(f.id);
    return list;
  };
  assert.deepEqual(await ids('asc'), (await ids('desc')).reverse());
  await assert.rejects(client.files.list({ order: 'some' }), OpenAI.BadRequestError);
  for (let i = 0; i < 21; i++) await send(client, [chat('a')]);
  assert.ok((await client.files.list()).data.length > 20, 'all of them, as at OpenAI');
});

test('what a batch had no time for was told nowhere', { skip }, async () => {
  const slow = await Cloud.start({ delay: 300 });
  const at = makeFolder();
  const of = `retention: {content: 1d}\nproviders: {sim: {kind: openai, base_url: "${slow.url}/v1"}}\nmodels: [{name: gpt, provider: sim}]\n`;
  const first = await Gateway.start(of, { folder: at, keep: true });
  const lines = Array.from({ length: 60 }, (_, i) => chat(`c${i}`));
  const c = clientOf(first);
  const { id } = await c.batches.create({ input_file_id: (await send(c, [...lines, 'nonsense'])).id, endpoint: '/v1/chat/completions', completion_window: '24h' });
  while (slow.requests.length < 6) await sleep(20);
  await first.stop('SIGKILL');
  await sleep(50); // what was on its way has arrived
  const sent = slow.requests.length;
  const record = join(at, 'weir.db.files', `${id}.json`);
  writeFileSync(record, JSON.stringify({ ...JSON.parse(readFileSync(record)), expires_at: 1 }));
  const second = await Gateway.start(of, { folder: at });
  try {
    const b = await ended(clientOf(second), id);
    assert.equal(b.status, 'expired');
    assert.equal(slow.requests.length, sent, 'where its time was over before the start no line is run');
    const results = async (file) => rows(await (await clientOf(second).files.content(file)).text());
    const [good, bad] = [await results(b.output_file_id), await results(b.error_file_id)];
    assert.deepEqual(b.request_counts, { total: 61, completed: good.length, failed: bad.length });
    assert.deepEqual([...good, ...bad].map((r) => r.custom_id ?? '').sort(), ['', ...lines.map((_, i) => `c${i}`)].sort(), 'each once');
    assert.ok(good.length > 0 && bad.every((r) => r.response === null && r.error.code === (r.custom_id ? 'batch_expired' : 'invalid_request')));
  } finally {
    await second.stop();
    await slow.stop();
  }
});

test('a batch that was being cancelled when its time was over is cancelled, not expired', { skip }, async () => {
  const slow = await Cloud.start({ delay: 300 });
  const at = makeFolder();
  const of = `retention: {content: 1d}\nproviders: {sim: {kind: openai, base_url: "${slow.url}/v1"}}\nmodels: [{name: gpt, provider: sim}]\n`;
  const first = await Gateway.start(of, { folder: at, keep: true });
  const c = clientOf(first);
  const { id } = await c.batches.create({ input_file_id: (await send(c, Array.from({ length: 60 }, (_, i) => chat(`c${i}`)))).id, endpoint: '/v1/chat/completions', completion_window: '24h' });
  while (slow.requests.length < 2) await sleep(20);
  await first.stop('SIGKILL');
  const record = join(at, 'weir.db.files', `${id}.json`);
  writeFileSync(record, JSON.stringify({ ...JSON.parse(readFileSync(record)), status: 'cancelling', expires_at: 1 }));
  const second = await Gateway.start(of, { folder: at });
  try {
    const b = await ended(clientOf(second), id);
    assert.deepEqual([b.status, b.error_file_id ?? null], ['cancelled', null]);
  } finally {
    await second.stop();
    await slow.stop();
  }
});

test("Anthropic's message batches are refused in words", async () => {
  const r = await gateway.post('/v1/messages/batches', { requests: [] }, { 'anthropic-version': '2023-06-01' });
  assert.deepEqual([r.status, r.body.type, r.body.error.type], [404, 'error', 'not_found_error']);
  assert.match(r.body.error.message, /message batches are not served: .*\/v1\/batches/);
});

test('a batch: results and errors, each under its own id', { skip }, async () => {
  const file = await send(client, [chat('a'), chat('b', 'house'), chat('c', 'nobody'), '{"custom_id":"d"}', 'nonsense', chat('a'),
    chat('x'.repeat(1e6))]); // and that was told again in full
  const begun = await client.batches.create({ input_file_id: file.id, endpoint: '/v1/chat/completions',
    completion_window: '24h', metadata: { why: 'test' } });
  assert.match(begun.id, /^batch_/);
  assert.deepEqual([begun.object, begun.status, begun.input_file_id], ['batch', 'in_progress', file.id]);
  const b = await ended(client, begun.id);
  assert.equal(b.status, 'completed');
  assert.deepEqual(b.request_counts, { total: 7, completed: 2, failed: 5 });
  assert.deepEqual(b.metadata, { why: 'test' });
  const out = rows(await (await client.files.content(b.output_file_id)).text());
  assert.deepEqual(out.map((r) => [r.custom_id, r.response.status_code, r.error]).sort(), [['a', 200, null], ['b', 200, null]]);
  assert.equal(out.find((r) => r.custom_id === 'a').response.body.choices[0].message.content, 'Hello from the cloud');
  const bad = rows(await (await client.files.content(b.error_file_id)).text());
  assert.deepEqual(bad.map((r) => [r.custom_id, r.response?.status_code ?? r.error.code]).sort(),
    [[null, 'invalid_request'], [null, 'invalid_request'], ['a', 'invalid_request'], ['c', 404], ['d', 'invalid_request']]);
  assert.equal((await client.files.retrieve(b.output_file_id)).purpose, 'batch_output');
  const listed = (await client.batches.list()).data.find((x) => x.id === b.id);
  assert.deepEqual(listed, await client.batches.retrieve(b.id));
});

test('a batch of responses, and `batch` is a fact for rules', { skip }, async () => {
  const before = cloud.requests.length;
  const file = await send(client, [line('r', { model: 'auto', input: 'hi', max_output_tokens: 3 }, '/v1/responses'), chat('other')]);
  const b = await ended(client, (await client.batches.create({
    input_file_id: file.id, endpoint: '/v1/responses', completion_window: '24h' })).id);
  const refused = await (await client.files.content(b.error_file_id)).text();
  assert.deepEqual(b.request_counts, { total: 2, completed: 1, failed: 1 }, refused);
  const [r] = rows(await (await client.files.content(b.output_file_id)).text());
  assert.equal(r.response.body.object, 'response');
  assert.match(r.response.body.id, /^resp_[0-9A-Za-z]{24}$/);
  assert.equal(r.response.body.model, 'house');
  assert.equal(cloud.requests.length, before);
  // Lines go on from what was kept, and one that goes on from nothing fails alone.
  const kept = await client.responses.create({ model: 'house', input: 'hi', max_output_tokens: 3 });
  const after = await send(client, [
    line('on', { model: 'house', input: 'and then?', previous_response_id: kept.id, max_output_tokens: 3 }, '/v1/responses'),
    line('from-nothing', { model: 'house', input: 'x', previous_response_id: 'resp_none', max_output_tokens: 3 }, '/v1/responses'),
  ]);
  const more = await ended(client, (await client.batches.create({
    input_file_id: after.id, endpoint: '/v1/responses', completion_window: '24h' })).id);
  const failed = await (await client.files.content(more.error_file_id)).text();
  assert.deepEqual(more.request_counts, { total: 2, completed: 1, failed: 1 }, failed);
  const [on] = rows(await (await client.files.content(more.output_file_id)).text());
  assert.deepEqual([on.custom_id, on.response.body.previous_response_id], ['on', kept.id]);
  assert.match(failed, /resp_none/);
});

test('a line that broke off half-way has the name of the target that answered, not the rest of the first one', { skip }, async () => {
  const broken = await Cloud.start();
  broken.behaviour = { mode: 'reset-mid-stream', text: Array(50).fill(' word') };
  const g = await Gateway.start(`retention: {content: 1d}
providers:
  breaks: {kind: openai, base_url: "${broken.url}/v1", api_key: "\${SIM_KEY}", retries: 0, first_byte_timeout: 60s}
  sim: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${SIM_KEY}"}
models:
  - {name: a-very-long-name, provider: breaks, model: x}
  - {name: short, provider: sim, model: y}
routes:
  - {name: auto, rules: [{use: [a-very-long-name, short]}]}
`, { env });
  try {
    const file = await send(clientOf(g), [chat('l', 'auto')]);
    const b = await ended(clientOf(g), (await clientOf(g).batches.create({
      input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' })).id);
    const [l] = rows(await (await clientOf(g).files.content(b.output_file_id)).text());
    assert.equal(broken.requests.length, 1);
    assert.equal(l.response.body.model, 'short');
  } finally {
    await g.stop();
    await broken.stop();
  }
});

test('a batch that is cancelled keeps what it has', { skip }, async () => {
  cloud.behaviour = { gap: 100 };
  const file = await send(client, Array.from({ length: 200 }, (_, i) => chat(`x${i}`)));
  const b = await client.batches.create({ input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' });
  await sleep(1500);
  assert.equal((await client.batches.cancel(b.id)).status, 'cancelling');
  const done = await ended(client, b.id);
  assert.equal(done.status, 'cancelled');
  assert.ok(done.request_counts.completed > 0 && done.request_counts.completed < 200);
  assert.equal(rows(await (await client.files.content(done.output_file_id)).text()).length, done.request_counts.completed);
  cloud.behaviour = {};
});

test('a gateway killed in the middle of a batch: the next one goes on, and runs no line twice that has its result', { skip }, async () => {
  cloud.behaviour = { gap: 40 };
  const n = 40;
  const file = await send(client, Array.from({ length: n }, (_, i) => chat(`k${i}`)));
  const first = cloud.requests.length;
  const b = await client.batches.create({ input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' });
  while (cloud.requests.length < first + 12) await sleep(20);
  await gateway.stop('SIGKILL');
  const had = readdirSync(join(folder, 'weir.db.files')).filter((f) => f.endsWith('.data'))
    .flatMap((f) => rows(readFileSync(join(folder, 'weir.db.files', f), 'utf8').split('\n').slice(0, -1).filter((l) => l.startsWith('{"id":"batch_req')).join('\n')))
    .map((r) => r.custom_id).filter((id) => id?.startsWith('k'));
  assert.ok(had.length > 0 && had.length < n);
  const killed = cloud.requests.length;
  cloud.behaviour = {};
  gateway = await Gateway.start(config, { env, folder, keep: true });
  client = clientOf(gateway);
  const done = await ended(client, b.id);
  assert.equal(done.status, 'completed');
  assert.deepEqual(done.request_counts, { total: n, completed: n, failed: 0 });
  const ids = rows(await (await client.files.content(done.output_file_id)).text()).map((r) => r.custom_id);
  assert.deepEqual(ids.toSorted(), Array.from({ length: n }, (_, i) => `k${i}`).toSorted());
  const again = cloud.requests.slice(killed).map((r) => r.body.messages[0].content.slice(4));
  for (const id of had) assert.ok(!again.includes(id), `${id} has its result and was run again`);
});

test('what a batch cannot be is refused', { skip }, async () => {
  const file = await send(client, [chat('a')]);
  const ask = { input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' };
  for (const wrong of [{ input_file_id: 'file-none' }, { endpoint: '/v1/rerank' }, { completion_window: '1h' }, { extra: 1 }])
    await assert.rejects(client.batches.create({ ...ask, ...wrong }), OpenAI.BadRequestError);
  await assert.rejects(client.batches.retrieve('batch_none'), OpenAI.NotFoundError);
  for (const body of ['', '--x', '--x\r\n\r\n--x--', '--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc']) {
    const r = await gateway.post('/v1/files', body, { 'content-type': 'multipart/form-data; boundary=x' });
    assert.equal(r.status, 400, body);
  }
});

test('without retention of content there are no files, and the error says what mends it', { skip }, async () => {
  const none = await Gateway.start('models: []\n', {});
  const e = await send(clientOf(none), [chat('a')]).then(() => null, (x) => x);
  assert.ok(e instanceof OpenAI.BadRequestError && e.message.includes('retention'), String(e));
  await none.stop();
});

test('a client was told where files lie on this machine when they could not be kept', { skip }, async () => {
  const at = makeFolder();
  const g = await Gateway.start(config, { env, folder: at });
  rmSync(join(at, 'weir.db.files'), { recursive: true, force: true });
  writeFileSync(join(at, 'weir.db.files'), 'no folder');
  const e = await send(clientOf(g), [chat('a')]).then(() => null, (x) => x);
  assert.equal(e.status, 500);
  assert.match(e.message, /files cannot be kept or read here: Not a directory/);
  assert.ok(!e.message.includes(at));
  for (let i = 0; i < 100 && !g.log.includes(join(at, 'weir.db.files')); i++) await sleep(50);
  assert.ok(g.log.includes(join(at, 'weir.db.files')), g.log);
  await g.stop();
});

test('a batch whose results a full disk did not take was given up, and never told of', { skip: skip || (!existsSync('/usr/bin/prlimit') && 'no prlimit') }, async () => {
  const g = await Gateway.start(config, { env, under: ['prlimit', '--fsize=400000:unlimited'] });
  const c = clientOf(g);
  cloud.behaviour = { text: ['x'.repeat(60000)] };
  const first = cloud.requests.length;
  const ids = Array.from({ length: 20 }, (_, i) => `f${i}`);
  const file = await send(c, ids.map((id) => chat(id)));
  const b = await c.batches.create({ input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' });
  for (let i = 0; i < 400 && !/cannot write .*trying again/.test(g.log); i++) await sleep(50);
  assert.match(g.log, /cannot write .*trying again: File too large/);
  await sleep(1500);
  const asked = cloud.requests.length - first;
  assert.ok(asked < 20, 'nothing more is asked while answers cannot be kept');
  execFileSync('prlimit', ['--pid', String(g.process.pid), '--fsize=unlimited']);
  const done = await ended(c, b.id);
  cloud.behaviour = {};
  assert.equal(done.status, 'completed');
  const results = rows(await (await c.files.content(done.output_file_id)).text());
  assert.deepEqual(results.map((r) => r.custom_id).toSorted(), ids.toSorted());
  assert.equal(cloud.requests.length - first, 20, 'none twice');
  await g.stop();
});

test('weir batch: finished, broken off by kill -9, gone on with', async () => {
  const at = makeFolder();
  const n = 12;
  const [input, output, file] = ['in.jsonl', 'out.jsonl', 'weir.yaml'].map((f) => join(at, f));
  writeFileSync(file, `state: sqlite:${join(at, 'weir.db')}\n${config}`);
  writeFileSync(input, Array.from({ length: n }, (_, i) => chat(`v${i}`)).join('\n'));
  const args = ['batch', input, output, '--model', 'gpt', '--config', file];
  cloud.behaviour = { gap: 60 };
  const first = cloud.requests.length;
  const child = spawn(weir, args, { cwd: at, env: { ...process.env, ...env }, stdio: 'ignore' });
  while (cloud.requests.length < first + 8) await sleep(20);
  child.kill('SIGKILL');
  await new Promise((done) => child.on('exit', done));
  cloud.behaviour = {};
  const had = rows(readFileSync(output, 'utf8').split('\n').slice(0, -1).join('\n')).length;
  assert.ok(had > 0 && had < n);
  const killed = cloud.requests.length;
  const run = () => new Promise((done) => execFile(weir, args, { cwd: at, env: { ...process.env, ...env } }, (e) => done(e?.code ?? 0)));
  assert.equal(await run(), 0);
  assert.equal(cloud.requests.length, killed + n - had);
  assert.equal(await run(), 0);
  assert.equal(cloud.requests.length, killed + n - had);
  const ids = rows(readFileSync(output, 'utf8')).map((r) => r.custom_id);
  assert.deepEqual(ids.toSorted(), Array.from({ length: n }, (_, i) => `v${i}`).toSorted());
});

test('weir batch: a disk that is full ends it, and the next run goes on', { skip: !existsSync('/usr/bin/prlimit') && 'no prlimit' }, async () => {
  const at = makeFolder();
  const [input, output, file] = ['in.jsonl', 'out.jsonl', 'weir.yaml'].map((f) => join(at, f));
  writeFileSync(file, `state: sqlite:${join(at, 'weir.db')}\n${config}`);
  const ids = Array.from({ length: 12 }, (_, i) => `d${i}`);
  writeFileSync(input, ids.map((id) => chat(id)).join('\n'));
  cloud.behaviour = { text: ['x'.repeat(600000)] }; // a new state's files are smaller than the limit
  const run = (limit) => new Promise((done) => execFile('prlimit', [`--fsize=${limit}`, weir, 'batch', input, output, '--config', file],
    { cwd: at, env: { ...process.env, ...env }, timeout: 60000 }, (e, out, says) => done([e?.code ?? 0, says])));
  const [code, says] = await run(4000000);
  assert.equal(code, 1, says);
  assert.match(says, /weir: cannot write .*out\.jsonl: File too large/);
  const [again] = await run('unlimited');
  cloud.behaviour = {};
  assert.equal(again, 0);
  assert.deepEqual(rows(readFileSync(output, 'utf8')).map((r) => r.custom_id).toSorted(), ids.toSorted());
});

test('weir batch: results that went into the file of the requests were read as requests, for ever', async () => {
  const at = makeFolder();
  const input = join(at, 'in.jsonl');
  writeFileSync(input, chat('a'));
  symlinkSync(input, join(at, 'link.jsonl'));
  for (const output of [input, join(at, 'link.jsonl')]) {
    const [code, says] = await new Promise((done) =>
      execFile(weir, ['batch', input, output], { cwd: at, timeout: 10000 }, (e, out, error) => done([e?.code, error])));
    assert.equal(code, 2);
    assert.match(says, /holds the requests: name another file/);
  }
  assert.equal(readFileSync(input, 'utf8'), chat('a'));
});

test('weir batch: what is no request is told once, however often it is run, and runs when it was mended', async () => {
  const at = makeFolder();
  const [input, output, file] = ['in.jsonl', 'out.jsonl', 'weir.yaml'].map((f) => join(at, f));
  writeFileSync(file, `state: sqlite:${join(at, 'weir.db')}\n${config}`);
  const args = ['batch', input, output, '--model', 'gpt', '--config', file];
  const run = () => new Promise((done) => execFile(weir, args, { cwd: at, env: { ...process.env, ...env } },
    (e, out, says) => done([e?.code ?? 0, says])));
  const results = () => rows(readFileSync(output, 'utf8'));
  const nameless = JSON.stringify({ method: 'POST', url: '/v1/chat/completions', body: {} });
  const lines = [chat('a'), 'nonsense', 'nonsense', '"gr\u00fc\u00df \u{1f600}', nameless, '{"custom_id":"d"}', chat('a'), chat('b')];
  writeFileSync(input, lines.join('\n'));
  const [code, says] = await run();
  assert.equal(code, 1);
  assert.match(says, /6 of 8 lines failed/);
  const first = results();
  assert.equal(first.length, 8);
  const asked = cloud.requests.length;
  for (let i = 0; i < 2; i++) {
    assert.deepEqual(await run(), [code, says]);
    assert.deepEqual(results(), first);
  }
  assert.equal(cloud.requests.length, asked);
  // One was mended, one is wrong in another way, and all others stand where they stood.
  lines[1] = chat('c');
  lines[2] = '[]';
  lines[5] = chat('d');
  writeFileSync(input, lines.join('\n'));
  const [, after] = await run();
  assert.match(after, /4 of 8 lines failed/);
  const more = results();
  assert.deepEqual(more.slice(0, 8), first);
  assert.deepEqual(more.slice(8).map((r) => [r.custom_id, r.response?.status_code ?? r.error.code]).sort(),
    [[null, 'invalid_request'], ['c', 200], ['d', 200]].sort());
  // A refusal of a second line of that name is not the first one's result.
  writeFileSync(input, [chat('e'), chat('e')].join('\n'));
  const refusal = more.find((r) => r.custom_id === 'a' && r.error);
  writeFileSync(output, JSON.stringify({ ...refusal, custom_id: 'e', error: { ...refusal.error, message: refusal.error.message.replace('7', '2') } }) + '\n');
  assert.equal((await run())[0], 1);
  assert.deepEqual(results().map((r) => [r.custom_id, r.response?.status_code ?? null]), [['e', null], ['e', 200]]);
});

test('weir purge deletes what was kept: by age, by key, all of it; and nothing without --yes', { skip }, async () => {
  const purge = (...args) => execFileSync(weir, ['purge', '--state', `sqlite:${gateway.state}`, ...args], { stdio: ['ignore', 'pipe', 'pipe'] }).toString();
  const file = await send(client, [chat('a')]);
  const kept = await client.responses.create({ model: 'gpt', input: 'hi' });
  assert.equal((await client.responses.retrieve(kept.id)).id, kept.id);
  for (const args of [['--all'], ['--yes'], ['--all', '--key', 'k', '--yes'], ['--older-than', 'soon', '--yes'], ['--key', '', '--yes']])
    assert.throws(() => purge(...args), (e) => e.status === 2);
  assert.match(purge('--older-than', '1d', '--yes'), /^0 responses and 0 files/);
  assert.match(purge('--key', 'key_of_nobody', '--yes'), /^0 responses and 0 files/);
  assert.equal((await client.files.retrieve(file.id)).id, file.id);
  assert.match(purge('--all', '--yes'), /^[1-9]\d* responses and [1-9]\d* files/);
  await assert.rejects(client.files.retrieve(file.id), OpenAI.NotFoundError);
  await assert.rejects(client.responses.retrieve(kept.id), OpenAI.NotFoundError);
  assert.match(purge('--all', '--yes'), /^0 responses and 0 files/);
});

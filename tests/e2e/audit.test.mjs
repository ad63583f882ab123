// weir audit verify and export: what was changed after it was written is told, and an export needs no Weir to be checked.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Gateway, makeFolder, makeModel, root, sleep, weir } from './lib/gateway.mjs';
import { Cloud } from './lib/cloud.mjs';

const run = (...args) => spawnSync(weir, args, { encoding: 'utf8', maxBuffer: 1 << 28 });
const lines = (text) => text.split('\n').filter(Boolean).map((line) => JSON.parse(line));
const sha256 = (...parts) => createHash('sha256').update(Buffer.concat(parts)).digest('hex');

// What the README says of an export, in other words than its script.
function check(text) {
  const number = (n, bytes) => {
    const b = Buffer.alloc(bytes);
    bytes === 8 ? b.writeBigInt64LE(BigInt(n)) : bytes === 4 ? b.writeInt32LE(n) : b.writeInt8(n);
    return b;
  };
  const field = ([name, v]) =>
    typeof v === 'string' ? Buffer.concat([number(Buffer.byteLength(v), 4), Buffer.from(v)]) : typeof v === 'boolean' ? number(+v, 1) : number(v, name === 'status' ? 4 : 8);
  const records = new Map();
  let before, checked = 0;
  for (const r of lines(text)) {
    if (r.record !== 'block') {
      if (r.chain) records.set(`${r.chain}:${r.number}`, sha256(number(r.kind, 1), ...Object.entries(r.fields).map(field)));
      continue;
    }
    const entries = Buffer.from(r.entries, 'hex');
    assert.ok(before === undefined || before === r.before, 'blocks follow each other');
    assert.equal(sha256(Buffer.from(r.before, 'hex'), number(r.chain, 8), number(r.number, 8), number(r.wall_ms, 8), entries), r.hash);
    before = r.hash;
    for (let i = 0; i * 41 < entries.length; i++) {
      const key = `${r.chain}:${r.number + i}`, own = records.get(key);
      if (own) assert.equal(own, entries.toString('hex', i * 41 + 9, i * 41 + 41), key);
      checked += +records.delete(key);
    }
  }
  assert.equal(records.size, 0, 'each record has its entry');
  return checked;
}

// The script that stands there, where there is a Python to run it.
const script = /```python\n([^]*?)```/.exec(readFileSync(join(root, 'README.md'), 'utf8'))[1];
const python = spawnSync('python3', ['-c', ''], { stdio: 'ignore' }).status === 0;
const says = (file) => spawnSync('python3', ['-c', script, file], { encoding: 'utf8' });

test('the audit: a chain of everything, its export, and what was changed', async (t) => {
  const cloud = await Cloud.start({ usage: { input: 100, output: 50 } });
  const folder = makeFolder();
  const config = `providers: {cloud: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${KEY}", retries: 0}}
models:
  - {name: tiny, file: ${makeModel(folder)}, context: 512}
  - {name: big, provider: cloud, price: {input: 10, output: 20}}
routes: [{name: auto, rules: [{name: out, use: [big]}]}]
`;
  let g = await Gateway.start(config, { folder, env: { KEY: 'x' }, keep: true });
  const state = ['--state', `sqlite:${g.state}`];
  let head;
  try {
    for (let i = 0; i < 20; i++) assert.equal((await g.chat(i % 2 ? 'auto' : 'tiny', `question ${i}: größe "ß"`, { max_tokens: 3 })).status, 200);
    await t.test('is whole while the gateway runs', () => {
      const whole = run('audit', 'verify', '--json', ...state);
      assert.equal(whole.status, 0, whole.stderr + whole.stdout);
      const seen = JSON.parse(whole.stdout);
      assert.deepEqual([seen.whole, seen.broken, seen.requests, seen.transfers, seen.older_than_the_chain], [true, 0, 20, 10, 0]);
      assert.equal(seen.entries, 1 + 3 * 20 - 10);
      const text = run('audit', 'verify', ...state);
      assert.match(text.stdout, /51 entries in \d+ blocks; 20 requests, 10 transfers: as they were written/);
      head = /^head (\S+)$/m.exec(text.stdout)[1];
      assert.match(head, /^1:51:[0-9a-f]{64}$/);
    });
    const between = new Date().toISOString();
    await sleep(5);
    process.kill(g.process.pid, 'SIGKILL');
    await g.exited;
    g = await Gateway.start(config, { folder, env: { KEY: 'x' }, keep: true });
    assert.equal((await g.chat('auto', 'after the kill')).status, 200);
    const young = lines(run('audit', 'export', '--since', between, ...state).stdout);
    assert.deepEqual(young.filter((r) => r.record !== 'block').map((r) => r.record), ['opened', 'settled', 'egress']);
    const old = lines(run('audit', 'export', '--until', between, ...state).stdout);
    assert.equal(old.filter((r) => r.record === 'egress').length, 10);
    assert.equal(check(old.map((r) => JSON.stringify(r)).join('\n')), 51);
  } finally {
    await g.stop();
    cloud.server.close();
  }
  const file = join(folder, 'audit.jsonl');
  await t.test('exports what anybody can check', () => {
    const { stdout, status } = run('audit', 'export', ...state);
    assert.equal(status, 0);
    writeFileSync(file, stdout);
    assert.equal(check(stdout), 54);
    if (python) assert.match(says(file).stdout, /^54 records, .*[0-9a-f]{64}\n$/);
    const changed = stdout.replace('"cost_nano_usd":2000000', '"cost_nano_usd":1000000');
    assert.notEqual(changed, stdout);
    assert.throws(() => check(changed));
    writeFileSync(file, changed);
    if (python) assert.notEqual(says(file).status, 0);
  });
  await t.test('a noted head is still there', () => {
    assert.equal(run('audit', 'verify', '--head', head, ...state).status, 0);
    const other = run('audit', 'verify', '--head', head.replace(/.$/, (c) => (c === '0' ? '1' : '0')), ...state);
    assert.equal(other.status, 1);
    assert.match(other.stderr, /^weir: the state is not as it was written: 1 breaks, the first at entry 1:/);
  });
  await t.test('a changed byte is found', () => {
    const bytes = readFileSync(g.state), at = bytes.lastIndexOf('/v1/chat/completions');
    bytes.write('/v1/harmless/request', at);
    writeFileSync(g.state, bytes);
    const { status, stdout, stderr } = run('audit', 'verify', ...state);
    assert.equal(status, 1);
    assert.match(stdout, /not as they were written/);
    assert.match(stdout, /^1:\d+ +\d{4}-.*an egress record \(.+\) was changed/m);
    assert.match(stderr, /1 breaks, the first at entry 1:\d+: an egress record was changed/);
    const broken = JSON.parse(run('audit', 'verify', '--json', ...state).stdout);
    assert.deepEqual([broken.whole, broken.broken, broken.breaks.length], [false, 1, 1]);
  });
  await t.test('and wrong usage is told', () => {
    for (const bad of [['verify', '--since', '1d'], ['verify', '--head', 'x'], ['verify', '--head', ''], ['egress', '--until', '1d'], ['export', '--until', 'tomorrow'], ['export', 'more'], ['nothing'], []]) {
      const { status, stderr } = run('audit', ...bad, ...state);
      assert.equal(status, 2, bad.join(' '));
      assert.match(stderr, /^weir: /);
    }
    assert.equal(run('audit', 'verify', '--state', 'sqlite:/nowhere/weir.db').status, 1);
  });
});

test('a state that was removed under the gateway took records that nobody would find, and requests left on them', async () => {
  const cloud = await Cloud.start();
  const g = await Gateway.start(`providers: {sim: {kind: openai, base_url: "${cloud.url}/v1", retries: 0}}
models: [{name: gpt, provider: sim}]
`);
  const ask = async () => (await g.chat('gpt', 'hello')).status;
  const ledger = async (is) => {
    for (let i = 0; i < 200 && (await g.get('/readyz')).body.ledger !== is; i++) await sleep(50);
    assert.equal((await g.get('/readyz')).body.ledger, is);
  };
  assert.equal(await ask(), 200);
  await ledger('ok');
  renameSync(g.state, `${g.state}.away`);
  assert.equal(await ask(), 200, 'the journal has it');
  await ledger('failing');
  assert.match(g.log, /was removed, or another file is in its place: put it back/);
  renameSync(`${g.state}.away`, g.state);
  await ledger('ok');
  assert.equal(g.audit('egress').length, 2);
  assert.equal(await ask(), 200);
  const sent = cloud.requests.length;
  for (const name of readdirSync(g.folder)) if (name.startsWith('weir.db')) rmSync(join(g.folder, name), { recursive: true });
  for (let i = 0; i < 3; i++) assert.equal(await ask(), 503);
  assert.equal(cloud.requests.length, sent);
  await g.stop();
  await cloud.stop();
});

test('a state whose file was emptied began anew without a word, and its audit was whole', async () => {
  const folder = makeFolder();
  const config = `models: [{name: tiny, file: ${makeModel(folder)}, context: 512}]\n`;
  let g = await Gateway.start(config, { folder, keep: true });
  assert.equal((await g.chat('tiny', 'hello', { max_tokens: 2 })).status, 200);
  await g.stop();
  assert.doesNotMatch(g.log, /there, but empty/);
  truncateSync(g.state);
  const { status, stderr } = run('audit', 'verify', '--state', `sqlite:${g.state}`);
  assert.equal(status, 1);
  assert.match(stderr, /its file is empty/);
  assert.equal(statSync(g.state).size, 0, 'who only looks writes nothing');
  g = await Gateway.start(config, { folder });
  assert.match(g.log, /warn store: the state .*weir\.db was there, but empty: it begins anew/);
  await g.stop();
});

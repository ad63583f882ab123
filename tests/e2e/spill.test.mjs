// What local models have no memory for of prompts, on disk (kv_disk): it comes back, for whom it may, and is never wrong.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { Gateway, makeFolder, makeModel, sleep, weir } from './lib/gateway.mjs';
import { createKey } from './lib/verbs.mjs';

const CONTEXT = 512;
let folder, model;

before(() => {
  folder = makeFolder();
  model = makeModel(folder, 'tiny.gguf', ['--context', '1024', '--embed', '64', '--layers', '2']);
});

after(() => rmSync(folder, { recursive: true, force: true }));

// Memory for little more than one context: of prompts that follow on each other only the last ones fit.
const config = ({ disk = '2MiB', retention = '{content: 1d}', auth = '' } = {}) => `${auth}
retention: ${retention}
models:
  - {name: house, file: ${model}, context: ${CONTEXT}, slots: 1, threads: 1, kv_cache: 170KiB, kv_type: f16, ${disk ? `kv_disk: ${disk}, ` : ''}preload: true, speculate: off}
`;

const running = new Set();
async function start(options = {}, where = {}) {
  const g = await Gateway.start(config(options), where);
  running.add(g);
  return g;
}

afterEach(async () => {
  for (const g of running) if (g.process.exitCode === null && g.process.signalCode === null) await g.stop('SIGKILL');
  running.clear();
});

// A prompt of some 300 tokens, of which no other begins like it.
const prompt = (i) => `${String.fromCharCode(97 + i)} ${`tale ${i} of weirs and water, `.repeat(16)}`;
const kv = (g) => `${g.state}.kv`;
const files = (g) => (existsSync(kv(g)) ? readdirSync(kv(g)).filter((name) => name.endsWith('.kv')) : []);
const file = (g) => join(kv(g), files(g)[0]);

async function ask(g, i, headers = {}) {
  const r = await g.chat('house', prompt(i), { max_tokens: 16, temperature: 0 }, headers);
  assert.equal(r.status, 200, JSON.stringify(r.body));
  return { text: r.body.choices[0].message.content, cached: r.body.usage.prompt_tokens_details?.cached_tokens ?? 0 };
}

async function until(done) {
  for (let i = 0; !(await done()); i++) {
    assert.ok(i < 300, 'it never came');
    await sleep(100);
  }
}

// Until nothing is written any more.
async function settled(g) {
  for (let before = -1, now = 0; before !== now; ) {
    before = now;
    await sleep(150);
    now = files(g).length ? statSync(file(g)).mtimeMs : 0;
  }
}

let plain; // answers without a disk
test('a prompt that memory had no room for comes back from disk, and answers are those without it', async () => {
  let g = await start({ disk: '' }, { folder: makeFolder() });
  plain = [];
  for (let i = 0; i < 4; i++) plain.push((await ask(g, i)).text);
  assert.ok((await ask(g, 0)).cached < 64, 'memory was to be too small for this test');
  assert.equal(existsSync(kv(g)), false);
  await g.stop();
  g = await start();
  for (let i = 0; i < 4; i++) assert.equal((await ask(g, i)).text, plain[i]);
  for (let i = 0; i < 4; i++) {
    const { text, cached } = await ask(g, i);
    assert.equal(text, plain[i]);
    assert.ok(cached >= 192, `${cached} tokens of prompt ${i} came back`);
  }
  await g.stop();
});

for (const signal of ['SIGTERM', 'SIGKILL'])
  test(`what content is kept for outlives the gateway's end by ${signal}`, async () => {
    let g = await start({}, { keep: true });
    const where = { folder: g.folder };
    await ask(g, 0);
    await settled(g);
    await g.stop(signal);
    assert.equal(statSync(join(kv(g), 'key')).mode & 0o777, 0o600);
    assert.equal(statSync(file(g)).mode & 0o777, 0o600);
    g = await start({}, where);
    await until(() => /tokens of earlier prompts are on disk/.test(g.log));
    const { text, cached } = await ask(g, 0);
    assert.equal(text, plain[0]);
    assert.ok(cached >= 192, `${cached}`);
    await g.stop();
  });

test('where no content is kept, nothing is there for others to read, and nothing outlives the gateway', async () => {
  let g = await start({ retention: '{content: none}' }, { keep: true });
  const where = { folder: g.folder };
  for (let i = 0; i < 4; i++) await ask(g, i);
  assert.ok((await ask(g, 0)).cached >= 192);
  assert.deepEqual(readdirSync(kv(g)), []);
  // Another worker has the same file.
  process.kill(g.workers()[0], 'SIGKILL');
  await until(async () => (await g.chat('house', 'x', { max_tokens: 1 })).status === 200);
  assert.ok((await ask(g, 0)).cached >= 192);
  await g.stop('SIGKILL');
  g = await start({ retention: '{content: none}' }, where);
  assert.ok((await ask(g, 0)).cached < 64);
  await g.stop();
});

test('a file that is damaged, cut short, foreign or gone costs time and nothing else', async () => {
  let g = await start({}, { keep: true });
  const where = { folder: g.folder, keep: true };
  await ask(g, 0);
  await settled(g);
  await g.stop();
  const name = file(g);
  const scribble = (at, bytes) => {
    const fd = openSync(name, 'r+');
    writeSync(fd, bytes, 0, bytes.length, at);
    closeSync(fd);
  };
  const harms = {
    damaged: () => [...Array(400).keys()].forEach((i) => scribble(48 + Math.floor((i * (statSync(name).size - 64)) / 400), Buffer.from('harm'))),
    'cut short': () => truncateSync(name, Math.floor(statSync(name).size / 2)),
    foreign: () => scribble(0, Buffer.alloc(4096, 'not a cache ')),
    gone: () => rmSync(name),
    'without its key': () => rmSync(join(kv(g), 'key')),
  };
  for (const [what, harm] of Object.entries(harms)) {
    harm();
    // A page whose beginning is lost is found to be damaged only once that has been written anew.
    let had = 0;
    for (let tries = 0; tries < 4 && had < 192; tries++) {
      g = await start({}, where);
      const { text, cached } = await ask(g, 0);
      assert.equal(text, plain[0], what);
      had = cached;
      await settled(g);
      await g.stop();
    }
    assert.ok(had >= 192, `${what}: ${had}`);
  }
  rmSync(g.folder, { recursive: true });
});

test('the file stays within its limit, and what is asked for is not in it', async () => {
  const g = await start({ disk: '300KiB' });
  for (let i = 0; i < 20; i++) await ask(g, i);
  await settled(g);
  assert.ok(statSync(file(g)).size <= 300 * 1024 && statSync(file(g)).size > 150 * 1024, String(statSync(file(g)).size));
  const bytes = readFileSync(file(g));
  assert.equal(bytes.includes('weirs'), false);
  // Nor is anything there that repeats, as keys and values of the same words do: it does not compress.
  const packed = execFileSync('gzip', ['-c'], { input: bytes }).length;
  assert.ok(packed > bytes.length * 0.98, `${packed} of ${bytes.length}`);
  await g.stop();
});

test('scopes are not crossed on disk either', async () => {
  const g = await start({ auth: 'auth: keys' });
  const key = (...args) => createKey(g.folder, ...args);
  const [one, two, other, alone] = [['--team', 'blue'], ['--team', 'blue'], ['--team', 'red'], []].map((team, i) => ({
    authorization: `Bearer ${key('--name', `k${i}`, ...team)}`,
  }));
  await sleep(1500);
  for (let i = 0; i < 4; i++) await ask(g, i, one);
  await settled(g);
  for (const stranger of [other, alone]) {
    const { text, cached } = await ask(g, 0, stranger);
    assert.equal(text, plain[0]);
    assert.ok(cached < 64, `${cached}`);
  }
  const { text, cached } = await ask(g, 0, two);
  assert.equal(text, plain[0]);
  assert.ok(cached >= 192, `${cached}`);
  await g.stop();
});

test('a file that another gateway has is left to it', async () => {
  const shared = join(makeFolder(), 'kv');
  const [one, two] = [await start({ auth: `kv_folder: ${shared}` }), await start({ auth: `kv_folder: ${shared}` })];
  await until(() => /another process's at present/.test(two.log));
  for (const g of [one, two]) {
    for (let i = 0; i < 4; i++) assert.equal((await ask(g, i)).text, plain[i]);
    const { text, cached } = await ask(g, 0);
    assert.equal(text, plain[0]);
    assert.ok(cached >= 192, `${cached}`);
  }
  assert.equal(readdirSync(shared).filter((name) => name.endsWith('.kv')).length, 1);
  await one.stop();
  await two.stop();
  rmSync(shared, { recursive: true });
});

test('weir purge takes it away, also from under a gateway that runs', async () => {
  const g = await start();
  for (let i = 0; i < 4; i++) await ask(g, i);
  await settled(g);
  execFileSync(weir, ['purge', '--all', '--yes', '--config', g.config]);
  const bytes = readFileSync(file(g));
  assert.ok(bytes.subarray(64).every((b) => b === 0));
  const { text, cached } = await ask(g, 0);
  assert.equal(text, plain[0]);
  assert.ok(cached < 64, `${cached}`);
  await until(() => /on disk is damaged/.test(g.log));
  await g.stop();
});

test('what cannot be is refused with a word on what to do', async () => {
  const check = (text) => {
    const file = join(folder, 'wrong.yaml');
    writeFileSync(file, text);
    const { status, stderr } = spawnSync(weir, ['serve', '--check', '--config', file]);
    assert.equal(status, 2);
    return stderr.toString();
  };
  assert.match(check(`state: postgresql://u@h/db\nmodels:\n  - {name: a, file: ${model}, kv_disk: 1GiB}\n`), /kv_folder/);
  assert.match(check(`providers:\n  p: {kind: openai, api_key: "file:/etc/hostname"}\nmodels:\n  - {name: a, provider: p, model: x, kv_disk: 1GiB}\n`), /kv_disk/);
  // Too small for a page: the model runs without.
  const g = await start({ disk: '100' });
  assert.equal((await ask(g, 0)).text, plain[0]);
  await until(() => /no KV cache on disk: .*kv_disk/.test(g.log));
  await g.stop();
});

// Starting, stopping, reloading, keys, TLS, and what a kill -9 leaves behind.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { Cloud } from './lib/cloud.mjs';
import { Gateway, makeFolder, makeModel, sleep, weir } from './lib/gateway.mjs';

const env = { SIM_KEY: 'sk-simulated' };
const provider = (cloud) => `providers:
  sim: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${SIM_KEY}"}
models:
  - {name: cloudy, provider: sim, model: sim-1}
`;

const serve = (args, options = {}) =>
  spawnSync(weir, ['serve', ...args], { encoding: 'utf8', timeout: 20000, env: { PATH: process.env.PATH }, ...options });

test('kill -9 at any instant loses no settled row', async () => {
  const cloud = await Cloud.start();
  const folder = makeFolder();
  const answered = new Set();
  // On a busy machine a round may answer little: more of them then.
  for (let round = 0; round < 6 || (answered.size <= 50 && round < 60); round++) {
    const g = await Gateway.start(provider(cloud), { env, folder, keep: true });
    let killed = false;
    const clients = Array.from({ length: 16 }, async () => {
      while (!killed) {
        try {
          const r = await g.chat('cloudy', 'x', { stream: Math.random() < 0.5 });
          const whole = typeof r.body === 'string' ? r.body.includes('[DONE]') : r.body.choices;
          if (r.status === 200 && whole) answered.add(r.headers.get('x-request-id'));
        } catch {
          return; // killed
        }
      }
    });
    await sleep(150 + Math.random() * 250);
    killed = true;
    await g.stop('SIGKILL');
    await Promise.all(clients);
  }
  const g = await Gateway.start(provider(cloud), { env, folder });
  const rows = new Map(g.audit('ledger').map((r) => [r.request_id, r]));
  const lost = [...answered].filter((id) => rows.get(id)?.outcome !== 'ok');
  assert.deepEqual(lost, []);
  assert.ok(answered.size > 50, `${answered.size} answers`);
  assert.ok([...rows.values()].every((r) => r.outcome !== 'open'), 'what was cut off is called interrupted');
  /* The record comes first: a kill between it and the sending leaves one more record than requests that arrived. */
  assert.ok(new Set(g.audit('egress').map((e) => e.request_id)).size >= cloud.requests.length);
  await g.stop();
  await cloud.stop();
});

test('a limit of the size of files does not end the gateway: what cannot be kept is refused, and later it goes on', async () => {
  const cloud = await Cloud.start();
  const g = await Gateway.start(provider(cloud), { env });
  const limit = (bytes) => execFileSync('prlimit', ['--pid', String(g.process.pid), `--fsize=${bytes}:unlimited`]);
  assert.equal((await g.chat('cloudy', 'x')).status, 200);
  limit(1);
  assert.equal((await g.chat('cloudy', 'x')).status, 503);
  const sent = cloud.requests.length;
  assert.equal((await g.chat('cloudy', 'x')).status, 503);
  assert.equal(cloud.requests.length, sent, 'nothing leaves without its record');
  limit('unlimited');
  for (let i = 0; i < 200 && (await g.get('/readyz')).status !== 200; i++) await sleep(50);
  assert.equal((await g.chat('cloudy', 'x')).status, 200);
  await g.stop();
  await cloud.stop();
});

test('clients that only sit there took the descriptors that streams to providers want', async () => {
  const cloud = await Cloud.start();
  const g = await Gateway.start(`threads: 2\n${provider(cloud)}`, { env, under: ['prlimit', '--nofile=96:96'] });
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const ask = () =>
    new Promise((done, fail) => {
      const request = http.request(`${g.url}/v1/chat/completions`, { method: 'POST', agent, headers: { 'content-type': 'application/json' } }, (r) => {
        r.resume();
        r.on('end', () => done(r.statusCode));
      });
      request.on('error', fail);
      request.end(JSON.stringify({ model: 'cloudy', messages: [{ role: 'user', content: 'x' }] }));
    });
  const models = () => new Promise((done, fail) => http.get(`${g.url}/v1/models`, { agent }, (r) => r.resume().on('end', done)).on('error', fail));
  await models(); // its connection is among those that are taken
  const idle = Array.from({ length: 200 }, () => net.connect(g.port, '127.0.0.1').on('error', () => {}));
  await sleep(500);
  for (let i = 0; i < 3; i++) assert.equal(await ask(), 200);
  idle.forEach((s) => s.destroy());
  agent.destroy();
  await g.stop();
  await cloud.stop();
});

test('a second gateway on the same state is refused', async () => {
  const cloud = await Cloud.start();
  const g = await Gateway.start(provider(cloud), { env });
  const r = serve(['--config', g.config], { env: { PATH: process.env.PATH, ...env } });
  assert.equal(r.status, 1, r.stderr);
  assert.match(r.stderr, /^weir: |\nweir: /);
  await g.stop();
  await cloud.stop();
});

test('SIGTERM finishes what is open, then stops', async () => {
  const cloud = await Cloud.start({ text: Array(40).fill('w '), gap: 25 });
  const g = await Gateway.start(provider(cloud), { env });
  const open = g.chat('cloudy', 'x', { stream: true });
  await sleep(200);
  const stopped = g.stop();
  const r = await open;
  assert.ok(r.body.includes('[DONE]'));
  assert.deepEqual(await stopped, { code: 0, signal: null });
  await cloud.stop();
});

test('SIGHUP takes a new configuration without dropping a request; a wrong one is refused and the old one stays', async () => {
  const cloud = await Cloud.start({ text: Array(30).fill('w '), gap: 20 });
  const g = await Gateway.start(provider(cloud), { env });
  const open = g.chat('cloudy', 'x', { stream: true });
  await sleep(100);
  const old = readFileSync(g.config, 'utf8');
  writeFileSync(g.config, old.replace('name: cloudy', 'name: stormy'));
  g.process.kill('SIGHUP');
  for (let i = 0; i < 100 && !(await g.get('/v1/models/stormy')).body.id; i++) await sleep(20);
  assert.equal((await g.get('/v1/models/stormy')).status, 200);
  assert.equal((await g.get('/v1/models/cloudy')).status, 404);
  assert.ok((await open).body.includes('[DONE]'));
  writeFileSync(g.config, `${old}nonsense: 1\n`);
  g.process.kill('SIGHUP');
  for (let i = 0; i < 100 && !g.log.includes('not reloaded'); i++) await sleep(20);
  assert.match(g.log, /not reloaded.*nonsense/);
  assert.equal((await g.get('/v1/models/stormy')).status, 200);
  await g.stop();
  await cloud.stop();
});

test('SIGHUP without a file, or with an empty one, keeps the rules: the built-in ones are not the owner\'s', async () => {
  const cloud = await Cloud.start();
  const folder = makeFolder();
  writeFileSync(join(folder, 'weir.yaml'), `listen: 127.0.0.1:0\n${provider(cloud)}`);
  const old = readFileSync(join(folder, 'weir.yaml'));
  for (const named of [true, false]) {
    // `named`: by --config; else found in the working directory
    const p = spawn(weir, named ? ['serve', '--config', 'weir.yaml'] : ['serve'],
      { cwd: folder, env: { PATH: process.env.PATH, ...env, OPENAI_API_KEY: 'sk-1' } });
    let log = '', url;
    p.stderr.on('data', (d) => (log += d));
    await new Promise((done) => p.stdout.on('data', (d) => (url ??= /is at (\S+)/.exec(d)?.[1]) && done()));
    const hup = async (times) => {
      p.kill('SIGHUP');
      while (log.split('not reloaded').length <= times) await sleep(20);
      assert.equal((await fetch(`${url}/v1/models/cloudy`)).status, 200);
      assert.equal((await fetch(`${url}/v1/models/gpt-4o`)).status, 404);
    };
    writeFileSync(join(folder, 'weir.yaml'), '# nothing\n');
    await hup(1);
    assert.match(log, /is empty/);
    unlinkSync(join(folder, 'weir.yaml'));
    await hup(2);
    writeFileSync(join(folder, 'weir.yaml'), old);
    const ended = new Promise((done) => p.on('exit', done));
    p.kill('SIGTERM');
    assert.equal(await ended, 0);
  }
  await cloud.stop();
});

test('SIGHUP says what only a restart changes: auth that was turned on and is not', async () => {
  const cloud = await Cloud.start();
  const g = await Gateway.start(provider(cloud), { env });
  const old = readFileSync(g.config, 'utf8');
  writeFileSync(g.config, `${old}auth: keys\nhosts: [weir.example]\n`);
  g.process.kill('SIGHUP');
  for (let i = 0; i < 500 && !/'auth' changes only/.test(g.log); i++) await sleep(20);
  assert.match(g.log, /'hosts' changes only at a restart/);
  assert.match(g.log, /'auth' changes only at a restart/);
  assert.ok(!/'state' changes/.test(g.log));
  await g.stop();
  await cloud.stop();
});

test('offline: nothing goes out, whatever the rules say', async () => {
  const cloud = await Cloud.start();
  const g = await Gateway.start(`offline: true\n${provider(cloud)}`, { env });
  const r = await g.chat('cloudy', 'x');
  assert.ok(r.status >= 400, String(r.status));
  assert.equal(cloud.connections, 0);
  await g.stop();
  await cloud.stop();
});

test('keys: shown once, checked, revoked while it runs', async () => {
  const cloud = await Cloud.start();
  const folder = makeFolder();
  const state = `sqlite:${join(folder, 'weir.db')}`;
  const keys = (...args) => execFileSync(weir, ['keys', ...args, '--state', state], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  const key = keys('create', '--name', 'ada').trim().split('\n').at(-1).trim();
  assert.match(key, /^weir_/);
  const g = await Gateway.start(`auth: keys\n${provider(cloud)}`, { env, folder });
  assert.equal((await g.chat('cloudy', 'x')).status, 401);
  assert.equal((await g.chat('cloudy', 'x', {}, { authorization: 'Bearer weir_wrong_wrong' })).status, 401);
  assert.equal((await g.chat('cloudy', 'x', {}, { authorization: `Bearer ${key}x` })).status, 401);
  assert.equal((await g.chat('cloudy', 'x', {}, { authorization: `Bearer ${key}` })).status, 200);
  assert.equal((await g.get('/healthz')).status, 200);
  assert.equal((await g.get('/metrics')).status, 401);
  const [row] = JSON.parse(`[${keys('list', '--json').trim().split('\n').join(',')}]`);
  assert.equal(row.name, 'ada');
  const database = readFileSync(join(folder, 'weir.db'), 'latin1') + readFileSync(join(folder, 'weir.db-wal'), 'latin1');
  assert.ok(!database.includes(key.split('_')[2]), 'the secret is not in the database');
  keys('revoke', row.id);
  let status = 200;
  for (let i = 0; i < 60 && status === 200; i++) {
    await sleep(100);
    ({ status } = await g.chat('cloudy', 'x', {}, { authorization: `Bearer ${key}` }));
  }
  assert.equal(status, 401);
  await g.stop();
  await cloud.stop();
});

test('who has no provider\'s secret revokes a key all the same', async () => {
  const folder = makeFolder();
  writeFileSync(join(folder, 'weir.yaml'), `auth: keys
state: sqlite:weir.db
${provider({ url: 'http://127.0.0.1:9' })}`);
  const run = (...args) => spawnSync(weir, args, { cwd: folder, encoding: 'utf8', env: { PATH: process.env.PATH } });
  const made = run('keys', 'create', '--name', 'ada', '--budget', '0.01/day');
  assert.equal(made.status, 0, made.stderr);
  const id = /^weir_([^_]+)_/.exec(made.stdout)[1];
  assert.match(run('keys', 'list').stdout, /0\.00 of 0\.01\/day/);
  for (const args of [['keys', 'revoke', id], ['audit', 'verify'], ['teams', 'list'], ['purge', '--all', '--yes']])
    assert.equal(run(...args).status, 0, args.join(' '));
  assert.match(run('serve', '--check').stderr, /SIM_KEY/);
});

test('report, advise, replay and models wanted the providers\' secrets, though they ask nobody', async () => {
  const folder = makeFolder();
  writeFileSync(join(folder, 'weir.yaml'), `state: sqlite:weir.db
providers:
  out: {kind: openai, base_url: "http://127.0.0.1:9", api_key: "\${SIM_KEY}", headers: {x-team: "file:not-here"}}
  aws: {kind: bedrock}
models:
  - {name: big, provider: out, price: {input: 1, output: 2}}
  - {name: bedrock, provider: aws, price: {input: 1, output: 2}}
redact: {key: "\${SIM_REDACT}"}
telemetry: {otlp: "http://127.0.0.1:9", headers: {x-key: "\${SIM_OTLP}"}}
`);
  const run = (...args) => spawnSync(weir, args, { cwd: folder, encoding: 'utf8', env: { PATH: process.env.PATH } });
  assert.equal(run('keys', 'create', '--name', 'ada').status, 0); // makes the state
  for (const args of [['report', '--by', 'model', '--instead', 'big'], ['advise', '--json'], ['replay', '--policy', 'weir.yaml', '--json'], ['models', '--json']]) {
    const r = run(...args);
    assert.equal(r.status, 0, `${args[0]}: ${r.stderr}`);
  }
  assert.match(run('serve', '--check').stderr, /the environment has no SIM_REDACT/);
  writeFileSync(join(folder, 'weir.yaml'), 'providers:\n  out: {kind: openai, api_key: sk-written-out}\n');
  assert.match(run('report').stderr, /'api_key' is written out/);
});

test('an address that is not loopback refuses to start without keys', () => {
  const folder = makeFolder();
  writeFileSync(join(folder, 'weir.yaml'), 'listen: 0.0.0.0:0\n');
  const r = serve(['--config', join(folder, 'weir.yaml')]);
  assert.equal(r.status, 2, r.stderr);
  assert.match(r.stderr, /keys/);
});

test('a configuration with an unknown key names the line', () => {
  const folder = makeFolder();
  const file = join(folder, 'weir.yaml');
  writeFileSync(file, 'listen: 127.0.0.1:0\nmodles:\n  - {name: a}\n');
  for (const args of [['--config', file, '--check'], ['--config', file]]) {
    const r = serve(args);
    assert.equal(r.status, 2);
    assert.match(r.stderr, /weir\.yaml:2: .*modles/);
  }
});

test('--check called right what could not start: a collector without an address, files in no folder', () => {
  const folder = makeFolder();
  const file = join(folder, 'weir.yaml');
  const check = (line) => {
    writeFileSync(file, `listen: 127.0.0.1:0\n${line}\n`);
    return serve(['--config', file, '--check']);
  };
  for (const [line, says] of [['telemetry: {otlp: "ftp://x"}', /telemetry.*https:/], ['access_log: /nowhere/a.log', /'access_log' cannot be written at \/nowhere/],
    ['feedback: /nowhere/a.jsonl', /'feedback' cannot be written at \/nowhere/]]) {
    const r = check(line);
    assert.deepEqual([r.status, says.test(r.stderr)], [2, true], r.stderr);
  }
  for (const line of ['access_log: stdout', 'access_log: /dev/null', `feedback: ${folder}/new.jsonl`, 'feedback: new.jsonl']) assert.equal(check(line).status, 0, line);
  assert.ok(!existsSync(join(folder, 'new.jsonl')));
});

test('TLS on the listener', async () => {
  const cloud = await Cloud.start();
  const folder = makeFolder();
  const certify = () => execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1',
    '-nodes', '-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1',
    '-keyout', join(folder, 'key.pem'), '-out', join(folder, 'cert.pem')], { stdio: 'ignore' });
  certify();
  const g = await Gateway.start(
    `tls: {certificate: ${folder}/cert.pem, key: ${folder}/key.pem}\n${provider(cloud)}`, { env, folder, wait: false });
  assert.match(g.url, /^https:/);
  const ca = readFileSync(join(folder, 'cert.pem'));
  const answer = await new Promise((done, fail) => {
    const request = https.request(`${g.url}/v1/chat/completions`,
      { method: 'POST', ca, headers: { 'content-type': 'application/json' } }, (response) => {
        let text = '';
        response.on('data', (d) => (text += d));
        response.on('end', () => done(text));
      });
    request.on('error', fail);
    request.end(JSON.stringify({ model: 'cloudy', messages: [{ role: 'user', content: 'x' }], stream: true }));
  });
  assert.ok(answer.includes('[DONE]'));
  const health = () => new Promise((done, fail) =>
    https.get(`${g.url}/healthz`, { ca: readFileSync(join(folder, 'cert.pem')), agent: false }, (r) => done(r.resume().statusCode))
      .on('error', fail));
  // A renewed certificate is taken; half of one is not.
  certify();
  await assert.rejects(health());
  g.process.kill('SIGHUP');
  for (let i = 0; i < 500 && (await health().catch(() => 0)) !== 200; i++) await sleep(20);
  assert.equal(await health(), 200);
  const key = readFileSync(join(folder, 'key.pem'));
  writeFileSync(join(folder, 'key.pem'), key.subarray(0, 40));
  g.process.kill('SIGHUP');
  for (let i = 0; i < 500 && !g.log.includes('old certificate stays'); i++) await sleep(20);
  assert.match(g.log, /old certificate stays: .*key\.pem/);
  assert.equal(await health(), 200);
  await g.stop();
  await cloud.stop();
});

test('without a model and without keys it starts, and says what is missing and what mends it', async () => {
  const folder = makeFolder();
  const g = await Gateway.start('', { folder, wait: false });
  assert.match(g.out, /MODEL=/);
  assert.match(g.out, /OPENAI_API_KEY/);
  assert.equal((await g.get('/healthz')).status, 200);
  assert.equal((await g.get('/readyz')).status, 503);
  await g.stop();
});

test('--model serves a file as the model local', async () => {
  const folder = makeFolder();
  const file = makeModel(folder);
  const g = await Gateway.start('', { folder, args: ['--model', file] });
  const r = await g.chat('local', 'x', { max_tokens: 3 });
  assert.equal(r.status, 200, JSON.stringify(r.body));
  await g.stop();
});

test('a full disk: what must be recorded before it leaves does not leave', { skip: process.getuid() ? 'needs root' : false }, async () => {
  const cloud = await Cloud.start();
  const folder = makeFolder();
  const mount = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=400k', 'tmpfs', folder]);
  if (mount.status !== 0) return; // no mounts in this sandbox: the store's own test covers it with a file limit
  try {
    const g = await Gateway.start(provider(cloud), { env, folder, keep: true });
    let refused = 0;
    for (let i = 0; i < 3000 && refused < 5; i++) if ((await g.chat('cloudy', 'x'.repeat(200))).status === 503) refused++;
    assert.ok(refused >= 5);
    const left = cloud.requests.length;
    assert.equal((await g.chat('cloudy', 'x')).status, 503);
    assert.equal(cloud.requests.length, left, 'nothing left unrecorded');
    assert.equal((await g.get('/readyz')).status, 503);
    await g.stop();
  } finally {
    spawnSync('umount', ['-l', folder]);
    await cloud.stop();
  }
});

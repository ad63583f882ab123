// Several local models on demand: loaded by the first request, unloaded again, never two of one, never a wrong one.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Gateway, makeFolder, makeModel, sleep, streamedText, weir } from './lib/gateway.mjs';

const names = ['one', 'two', 'three'];
let gateway, folder;

const yaml = (more = '') => `keep_alive: 30s
max_loaded: 2
models_dir: ${folder}/models
models:
${names.map((name, i) => `  - {name: ${name}, file: ${folder}/${name}.gguf, context: 256, slots: 2, threads: 1, queue: 100}`).join('\n')}
  - {name: alias, file: ${folder}/../${folder.split('/').pop()}/one.gguf, context: 256, slots: 2, threads: 1, queue: 100}
  - {name: brief, file: ${folder}/one.gguf, context: 128, threads: 1, keep_alive: 0}
  - {name: broken, file: ${folder}/broken.gguf}
${more}`;

before(async () => {
  folder = makeFolder();
  mkdirSync(join(folder, 'models'));
  names.forEach((name, i) => makeModel(folder, `${name}.gguf`, ['--seed', String(i + 1)]));
  writeFileSync(join(folder, 'broken.gguf'), 'no model');
  gateway = await Gateway.start(yaml(), { folder });
});

after(() => gateway.stop());

const ask = async (model, more = {}) => {
  const r = await gateway.chat(model, 'Tell me.', { temperature: 0, max_tokens: 8, ...more });
  assert.equal(r.status, 200, JSON.stringify(r.body));
  assert.equal(r.headers.get('x-weir-model'), model);
  return r.body.choices[0].message.content;
};
const states = async () => (await gateway.get('/readyz')).body.models;
const metric = async (family, model) =>
  Number(new RegExp(`^${family}\\{model="${model}"\\} (\\S+)$`, 'm').exec((await gateway.get('/metrics')).body)[1]);
const until = async (what, ms = 30000) => {
  for (const end = Date.now() + ms; !(await what()); await sleep(20)) if (Date.now() > end) throw new Error('not in time');
};

test('nothing is loaded before it is asked for, and the gateway is ready all the same', async () => {
  const r = await gateway.get('/readyz');
  assert.equal(r.status, 200);
  assert.deepEqual(new Set(Object.values(r.body.models)), new Set(['unloaded']));
  assert.equal(gateway.workers().length, 0);
  const listed = (await gateway.get('/v1/models')).body.data.map((m) => m.id);
  for (const name of [...names, 'alias', 'brief', 'broken']) assert.ok(listed.includes(name), name);
});

test('two names of one file share an engine', async () => {
  assert.equal(await ask('one'), await ask('alias'));
  assert.equal(gateway.workers().length, 1);
  assert.equal(await metric('weir_engine_loads', 'one'), 1);
  assert.equal(await metric('weir_engine_loads', 'alias'), 1);
});

test('weir models says what the running gateway has loaded, and says the rest without one', async () => {
  const list = (...args) =>
    Object.fromEntries(execFileSync(weir, ['models', '--json', '--config', gateway.config, ...args]).toString().trim().split('\n')
      .map((l) => JSON.parse(l)).map((m) => [m.name, m]));
  await ask('one');
  const running = list('--gateway', gateway.url);
  assert.deepEqual([running.one.state, running.alias.state, running.three.state], ['loaded', 'loaded', 'not loaded']);
  const text = execFileSync(weir, ['models', '--config', gateway.config, '--gateway', gateway.url]).toString();
  assert.match(text, /^one .*MiB\)  loaded$/m);
  for (const none of [list(), list('--gateway', 'http://127.0.0.1:1')]) {
    assert.equal(none.one.present, true);
    assert.equal(none.one.state, undefined);
  }
});

test('keep_alive: 0 unloads after the answer', async () => {
  await ask('brief');
  await until(async () => (await states()).brief === 'unloaded');
});

test('fifty requests at once over three models with room for two get their own model', async () => {
  const expected = {};
  for (const name of names) expected[name] = await ask(name);
  assert.equal(new Set(Object.values(expected)).size, 3);
  let most = 0;
  const watch = setInterval(() => (most = Math.max(most, gateway.workers().length)), 50);
  const answers = await Promise.all(Array.from({ length: 51 }, async (_, i) => [names[i % 3], await ask(names[i % 3])]));
  clearInterval(watch);
  for (const [name, text] of answers) assert.equal(text, expected[name]);
  assert.ok(most <= 2, `${most} workers`);
});

test('a model that cannot be loaded says why, but told clients where its file lies: that is the log\'s', async () => {
  for (const asked of ['while it is tried', 'once it is known']) {
    const r = await gateway.chat('broken', 'Tell me.');
    assert.equal(r.status, 503, JSON.stringify(r.body));
    assert.match(r.body.error.message, /cannot load broken: .*GGUF/, asked);
    assert.doesNotMatch(JSON.stringify(r.body), /\.gguf|\/tmp/, asked);
  }
  assert.match(gateway.log, /cannot load \/.*broken\.gguf: /);
});

test('a reload keeps the engines whose settings did not change', async () => {
  await ask('one');
  const before = gateway.workers();
  writeFileSync(gateway.config, `listen: 127.0.0.1:0\nstate: sqlite:${gateway.state}\n${yaml(`  - {name: later, file: ${folder}/two.gguf}\n`)}`);
  gateway.process.kill('SIGHUP');
  await until(async () => 'later' in (await states()));
  assert.deepEqual(gateway.workers(), before);
  await ask('one');
});

test('a file that comes to models_dir is served by its name, one that goes is not', async () => {
  copyFileSync(join(folder, 'two.gguf'), join(folder, 'models', '.part'));
  renameSync(join(folder, 'models', '.part'), join(folder, 'models', 'found-q4.gguf'));
  await until(async () => 'found-q4' in (await states()));
  assert.equal(await ask('found-q4'), await ask('two'));
  rmSync(join(folder, 'models', 'found-q4.gguf'));
  await until(async () => !('found-q4' in (await states())));
  assert.equal((await gateway.chat('found-q4', 'Tell me.')).status, 404);
});

// What weir pull writes beside a model was offered as models of its own, which could not be loaded.
test('what belongs to a model in models_dir is no model', async () => {
  for (const name of ['own-q4.gguf', 'own-q4.projector.gguf', 'mmproj-own-F16.gguf']) {
    copyFileSync(join(folder, 'two.gguf'), join(folder, 'models', '.part'));
    renameSync(join(folder, 'models', '.part'), join(folder, 'models', name));
  }
  await until(async () => 'own-q4' in (await states()));
  assert.deepEqual(Object.keys(await states()).filter((name) => name.includes('own')), ['own-q4']);
  for (const name of ['own-q4.gguf', 'own-q4.projector.gguf', 'mmproj-own-F16.gguf']) rmSync(join(folder, 'models', name));
  await until(async () => !('own-q4' in (await states())));
});

// A loaded model went on with its old file for as long as it was asked for, and with half of another one where that
// had been written over it.
for (const [how, put] of [['renamed over', (from, to) => renameSync(from, to)], ['written over', (from, to) => writeFileSync(to, readFileSync(from))]])
  test(`a file that is ${how} while its model is loaded is the model for those who ask from then on`, async () => {
    copyFileSync(join(folder, 'one.gguf'), join(folder, 'models', 'live.gguf'));
    await until(async () => 'live' in (await states()));
    assert.equal(await ask('live'), await ask('one'));
    copyFileSync(join(folder, 'two.gguf'), join(folder, 'next.gguf'));
    put(join(folder, 'next.gguf'), join(folder, 'models', 'live.gguf'));
    assert.equal(await ask('live'), await ask('two'));
    rmSync(join(folder, 'models', 'live.gguf'));
    await until(async () => !('live' in (await states())));
  });

test('a stream that runs while its model\'s file is replaced ends as it began, and who comes later gets the new one', async () => {
  const file = join(folder, 'models', 'busy.gguf');
  copyFileSync(join(folder, 'one.gguf'), file);
  await until(async () => 'busy' in (await states()));
  const long = { temperature: 0, max_tokens: 200, ignore_eos: true };
  const before = await ask('busy', long);
  copyFileSync(join(folder, 'two.gguf'), join(folder, 'next.gguf'));
  const running = await fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'busy', messages: [{ role: 'user', content: 'Tell me.' }], stream: true, ...long }),
  }); // its head is here: it has begun
  renameSync(join(folder, 'next.gguf'), file);
  assert.equal(await ask('busy'), await ask('two'));
  assert.equal(streamedText(await running.text()), before);
});

// A bare touch ended the answer that was being given, with an error.
test('a stream whose model\'s file is only touched is brought to its end by its worker; where it is then written over, the worker ends, and another one answers', async () => {
  const file = join(folder, 'models', 'touched.gguf');
  copyFileSync(join(folder, 'one.gguf'), file);
  await until(async () => 'touched' in (await states()));
  const body = { messages: [{ role: 'user', content: 'Tell me.' }], stream: true, temperature: 0, max_tokens: 200, ignore_eos: true };
  const says = async (model) =>
    streamedText(await (await fetch(`${gateway.url}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ model, ...body }) })).text());
  const before = await says('touched'), seen = () => gateway.log.split('touched: its file has changed').length;
  const held = async (seconds, then = () => {}) => { // a stream whose model computes nothing, and has seen that its file is of another time
    const workers = gateway.workers(), times = seen();
    workers.forEach((pid) => process.kill(pid, 'SIGSTOP'));
    const running = says('touched');
    try {
      await until(async () => (await metric('weir_engine_active', 'touched')) === 1);
      utimesSync(file, new Date(), new Date(Date.now() + seconds * 1000));
      await until(() => seen() > times);
      await then();
    } finally {
      for (const pid of gateway.workers()) process.kill(pid, 'SIGCONT');
    }
    return running;
  };
  const left = () => gateway.log.split('written over while it was in use').length, had = left();
  assert.equal(await held(10), before);
  assert.equal(await says('touched'), before);
  assert.equal(left(), had);
  assert.equal(await held(20, async () => {
    copyFileSync(join(folder, 'two.gguf'), file);
    await until(() => left() > had);
  }), await says('two'));
  rmSync(file);
  await until(async () => !('touched' in (await states())));
});

test('a worker that is killed while idle is gone until it is asked for again', async () => {
  await ask('one');
  for (const pid of gateway.workers()) process.kill(pid, 'SIGKILL');
  await until(async () => (await states()).one === 'unloaded');
  await ask('one');
});

test('a kept answer outlived its model: whose file was replaced answered as before until the cache forgot it', async () => {
  const file = join(folder, 'kept.gguf');
  copyFileSync(join(folder, 'one.gguf'), file);
  const g = await Gateway.start(`cache: {ttl: 1h}\nmodels: [{name: m, file: ${file}, context: 256, slots: 2, threads: 1}]\n`);
  const says = async () => {
    const r = await g.chat('m', 'Tell me.', { temperature: 0, max_tokens: 8 }, { 'x-weir-cache': 'true' });
    return [r.headers.get('x-weir-cache'), r.body.choices[0].message.content];
  };
  const one = await ask('one'), two = await ask('two');
  assert.deepEqual([await says(), await says()], [['miss', one], ['hit', one]]);
  copyFileSync(join(folder, 'two.gguf'), `${file}.new`);
  renameSync(`${file}.new`, file);
  assert.deepEqual([await says(), await says()], [['miss', two], ['hit', two]]);
  await g.stop();
});

test('a model whose file was replaced answered as before, or by what now lay where its weights had been', async () => {
  const file = join(folder, 'm.gguf');
  copyFileSync(join(folder, 'one.gguf'), file);
  const g = await Gateway.start(`models: [{name: m, file: ${file}, context: 256, slots: 2, threads: 1}]\n`);
  const says = async () => {
    const r = await g.chat('m', 'Tell me.', { temperature: 0, max_tokens: 8 });
    assert.equal(r.status, 200, JSON.stringify(r.body));
    return r.body.choices[0].message.content;
  };
  const one = await ask('one'), two = await ask('two');
  assert.notEqual(one, two);
  assert.equal(await says(), one);
  copyFileSync(join(folder, 'two.gguf'), file); // where it lies: the worker has it mapped
  assert.equal(await says(), two);
  copyFileSync(join(folder, 'one.gguf'), `${file}.new`);
  renameSync(`${file}.new`, file);
  assert.equal(await says(), one);
  const [worker] = g.workers();
  assert.equal(await says(), one);
  rmSync(file); // that it is gone changes nothing for a worker that has it
  assert.equal(await says(), one);
  assert.deepEqual(g.workers(), [worker]);
  await g.stop();
});

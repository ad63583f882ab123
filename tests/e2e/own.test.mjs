// What the owner's configuration calls sensitive: words, documents by their fingerprint, headers, keys; what it allows; and
// that a reload takes it over. The cloud records every byte.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { Cloud } from './lib/cloud.mjs';
import { Gateway, makeFolder, weir } from './lib/gateway.mjs';

const env = { SIM_KEY: 'sk-simulated' };
const paper = `Board paper of 12 March. The acquisition of Northwind Traders shall be completed before the end of the second
quarter; the price agreed between the parties is forty-two million euros, payable in three parts. The workers' council
is to be told only after the signing, and the plant at Ellwangen will be closed in the autumn of the same year.\n`;
const copied = 'So: "THE PRICE agreed between\n> the parties is FORTY-TWO million euros, payable in three parts. The workers\' council" - ok?';
let cloud, gateway, folder;

const fingerprint = (...args) => spawnSync(weir, ['fingerprint', ...args], { encoding: 'utf8' });
const configuration = (more) => `on_sensitive: block
retention: {content: 1d}
providers:
  out: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${SIM_KEY}"}
  blocks: {kind: anthropic, base_url: "${cloud.url}", api_key: "\${SIM_KEY}"}
models:
  - {name: far, provider: out}
  - {name: claude, provider: blocks}
routes:
  - {name: masked, rules: [{name: out, use: [far], redact: true}]}
  - {name: open, rules: [{name: out, use: [far]}]}
owner:
  find:
    - {words: [Bluebird], type: PROJECT_NAME}
    - {header: x-classification, values: [secret]}
    - {documents: board.fingerprint}
${more}`;
const ask = (content, { model = 'far', headers = {} } = {}) =>
  gateway.post('/v1/chat/completions', { model, messages: [{ role: 'user', content }] }, headers);

before(async () => {
  cloud = await Cloud.start({ text: ['fine'] });
  folder = makeFolder();
  mkdirSync(`${folder}/board/old`, { recursive: true });
  writeFileSync(`${folder}/board/paper.md`, paper);
  writeFileSync(`${folder}/board/old/notes.txt`, 'ten letters');
  writeFileSync(`${folder}/board/picture.png`, Buffer.from([137, 80, 78, 71, 0, 1, 255]));
  symlinkSync('/etc/passwd', `${folder}/board/link`);
  const made = fingerprint('--out', `${folder}/board.fingerprint`, `${folder}/board`);
  assert.equal(made.status, 0, made.stderr);
  assert.match(made.stderr, /passed over .*link, which is a symbolic link/);
  assert.match(made.stderr, /passed over .*picture.png, which is not text/);
  assert.match(made.stderr, /1 documents have less than 40 letters/);
  gateway = await Gateway.start(configuration(''), { env, folder });
});
after(async () => {
  await gateway?.stop();
  await cloud?.stop();
});

test('a word of the owner, a header and a copied passage do not leave', async () => {
  assert.equal((await ask('hello')).status, 200);
  assert.equal((await ask('about bluebird')).status, 403);
  assert.equal((await ask('hello', { headers: { 'x-classification': 'internal, Secret' } })).status, 403);
  assert.equal((await ask('hello', { headers: { 'x-classification': 'public' } })).status, 200);
  assert.equal((await ask(copied)).status, 403);
  assert.equal((await ask('the price agreed between friends is forty-two')).status, 200);
  const sent = cloud.requests.map((r) => JSON.stringify(r.body ?? r)).join();
  assert.ok(!/bluebird|forty-two million/i.test(sent));
});

test("a picture's or a file's address and content were not looked at where the block said anything besides, as cache_control", async () => {
  const was = cloud.requests.length;
  const about = Buffer.from('about Bluebird').toString('base64');
  for (const model of ['far', 'claude'])
    for (const [type, source] of [
      ['image', { type: 'url', url: 'https://files.example/bluebird.png' }],
      ['image', { type: 'base64', media_type: 'image/png', data: about }],
      ['document', { type: 'base64', media_type: 'application/pdf', data: about }],
    ]) {
      const block = { type, source, cache_control: { type: 'ephemeral' } };
      const ask = (content) => gateway.post('/v1/messages', { model, max_tokens: 9, messages: [{ role: 'user', content }] });
      assert.equal((await ask([block])).status, 403, JSON.stringify(block));
      if (type === 'image') assert.equal((await ask([{ type: 'text', text: 'what?' }, { ...block, source: { type: 'url', url: 'https://files.example/a.png' } }])).status, 200);
    }
  assert.equal(cloud.requests.length, was + 4);
});

test("a client's request id that holds a word of the owner's left", async () => {
  assert.equal((await ask('hello', { headers: { 'x-request-id': 'bluebird-17' } })).headers.get('x-request-id'), 'bluebird-17');
  assert.equal(cloud.requests.at(-1).headers['x-request-id'], undefined);
  await ask('hello', { headers: { 'x-request-id': 'osprey-17' } });
  assert.equal(cloud.requests.at(-1).headers['x-request-id'], 'osprey-17');
});

test("what is noted in a picture left: its pixels are no text, but its comment is", async () => {
  const chunk = (type, data) => Buffer.concat([Buffer.from([0, 0, 0, data.length]), Buffer.from(type), Buffer.from(data), Buffer.alloc(4)]);
  const picture = (comment) => Buffer.concat([Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]), chunk('IHDR', Buffer.alloc(13)), chunk('IDAT', Buffer.alloc(200, 0xa7)), chunk('tEXt', `Comment\0${comment}`)]);
  for (const [comment, status] of [['about Bluebird', 403], ['about nothing', 200]]) {
    const url = `data:image/png;base64,${picture(comment).toString('base64')}`;
    assert.equal((await ask([{ type: 'text', text: 'what is it?' }, { type: 'image_url', image_url: { url } }])).status, status, comment);
  }
});

test('a document stays inside under any rule, a word leaves masked', async () => {
  assert.equal((await ask(copied, { model: 'open' })).status, 503);
  assert.equal((await ask(copied, { model: 'masked' })).status, 503);
  const before = cloud.requests.length;
  const { status, headers } = await ask('about Bluebird', { model: 'masked' });
  assert.equal(status, 200);
  assert.equal(headers.get('x-weir-redacted'), '1');
  assert.equal(cloud.requests.length, before + 1);
  assert.match(JSON.stringify(cloud.requests.at(-1)), /PROJECT_NAME_\d+/);
});

test('the layer is told, and weir route, detect and redact go by the same configuration', async () => {
  const { body: e } = await gateway.post('/weir/explain', { model: 'open', messages: [{ role: 'user', content: copied }] });
  assert.ok(e.findings.some((f) => f.type === 'OWN_DOCUMENT' && f.layer === 'own' && f.end >= f.start + 40));
  assert.match(e.error.message, /must stay inside/);
  const run = (args, line) => JSON.parse(execFileSync(weir, [...args, '--config', gateway.config], { input: JSON.stringify(line) + '\n', env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'ignore'] }));
  assert.ok(run(['detect'], { text: 'about Bluebird' }).entities.some((e) => e.type === 'PROJECT_NAME'));
  assert.match(run(['redact'], { text: 'about Bluebird' }).text, /about PROJECT_NAME_\d+/);
  const routed = spawnSync(weir, ['route', '--config', gateway.config, '--header', 'X-Classification: secret'], { input: '{"model":"far","messages":[{"role":"user","content":"hello"}]}\n', env: { ...process.env, ...env }, encoding: 'utf8' });
  assert.equal(JSON.parse(routed.stdout).findings[0].where, 'header x-classification');
});

test('a batch made with a header that marks it stays inside with all its lines', async () => {
  const form = new FormData();
  form.append('purpose', 'batch');
  form.append('file', new Blob([JSON.stringify({ custom_id: 'a', method: 'POST', url: '/v1/chat/completions', body: { model: 'open', messages: [{ role: 'user', content: 'hello' }] } }) + '\n']), 'in.jsonl');
  const file = await (await fetch(`${gateway.url}/v1/files`, { method: 'POST', body: form })).json();
  for (const [mark, status] of [['public', 200], ['secret', 503]]) {
    let { body: b } = await gateway.post('/v1/batches', { input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' }, { 'x-classification': mark });
    for (let i = 0; i < 600 && ['validating', 'in_progress', 'finalizing'].includes(b.status); i++) {
      await new Promise((r) => setTimeout(r, 50));
      b = await (await fetch(`${gateway.url}/v1/batches/${b.id}`)).json();
    }
    const text = await (await fetch(`${gateway.url}/v1/files/${b.output_file_id ?? b.error_file_id}/content`)).text();
    assert.equal(JSON.parse(text.trim()).response.status_code, status, `${mark}: ${text}`);
  }
});

test('SIGHUP takes over new words and what is allowed, which the log and the decision tell', async () => {
  assert.equal((await ask('mail support@northpine.net')).status, 403);
  writeFileSync(gateway.config, readFileSync(gateway.config, 'utf8') + '    - {words: [Osprey]}\n  allow:\n    - {type: EMAIL_ADDRESS, values: [support@northpine.net], why: our public address}\n');
  gateway.process.kill('SIGHUP');
  for (let i = 0; i < 200 && (await ask('mail support@northpine.net')).status !== 200; i++) await new Promise((r) => setTimeout(r, 50));
  assert.equal((await ask('mail support@northpine.net')).status, 200);
  assert.equal((await ask('mail support@northpine.net and kern@northpine.net')).status, 403);
  assert.equal((await ask('the osprey')).status, 403);
  const row = gateway.audit('ledger').find((r) => JSON.stringify(r).includes('our public address'));
  assert.ok(row, 'the ledger tells what was allowed');
});

test('what cannot be fingerprinted is an error that says why', () => {
  for (const [args, says] of [
    [[], /wants files or folders/],
    [['/no/such/folder'], /cannot open .*: No such file/],
    [[`${folder}/board/picture.png`], /is not text in UTF-8/],
    [[`${folder}/board/old`], /no text of 40 letters/],
    [['/dev/null'], /is not a file/],
    [['--out', '/no/such/place', `${folder}/board/paper.md`], /cannot write/],
  ]) {
    const { status, stderr } = fingerprint(...args);
    assert.notEqual(status, 0);
    assert.match(stderr, says);
  }
  const same = fingerprint('--out', `${folder}/none.fingerprint`, '--common', `${folder}/board/paper.md`, `${folder}/board`);
  assert.match(same.stderr, /no text of 40 letters/);
});

// weir pull and weir rm against a hub that the test runs: protocols, ranges, resumption, verification, and every way
// in which a hub or a network can fail.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import http from 'node:http';
import net from 'node:net';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { Gateway, makeFolder, makeModel, sleep, weir } from './lib/gateway.mjs';
import { Hub, sha256 } from './lib/hub.mjs';

const MIB = 1 << 20;
const big = randomBytes(40 * MIB + 12345), small = randomBytes(3 * MIB), one = randomBytes(MIB), two = randomBytes(MIB + 1);
let hub, folder;

before(async () => (hub = await Hub.start({})));
after(() => hub.stop());
beforeEach(() => {
  hub.files = { 'm-Q4_K_M.gguf': big, 'm-Q8_0.gguf': small, 'f16/m-F16-00001-of-00002.gguf': one, 'f16/m-F16-00002-of-00002.gguf': two, 'mmproj-F16.gguf': one };
  Object.assign(hub, { asked: [], sent: 0, fault: () => null, private: undefined, lie: undefined, commit: undefined, digest: undefined, to: undefined, next: undefined });
  folder = makeFolder();
});

const args = (name, more) => ['pull', name, '--dir', join(folder, 'models'), '--mirror', hub.url, '--state', `sqlite:${folder}/weir.db`, ...more];
function start(name, more = [], env = {}) {
  const child = spawn(weir, args(name, more), { cwd: folder, env: { PATH: process.env.PATH, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  child.text = '';
  for (const s of [child.stdout, child.stderr]) s.on('data', (d) => (child.text += d));
  child.ended = new Promise((done) => child.on('exit', (code, signal) => done({ code, signal, text: child.text })));
  return child;
}
const pull = (name, more, env) => start(name, more, env).ended;
const here = () => (existsSync(join(folder, 'models')) ? readdirSync(join(folder, 'models')).sort() : []);
const read = (name) => readFileSync(join(folder, 'models', name));
const same = (name, bytes) => assert.equal(sha256(read(name)), sha256(bytes));

test('a file comes over several connections, by way of a redirect, and is on record', async () => {
  const r = await pull('hf.co/owner/repo');
  assert.equal(r.code, 0, r.text);
  same('m-Q4_K_M.gguf', big);
  assert.deepEqual(here(), ['m-Q4_K_M.gguf'], 'nothing else stands there');
  assert.match(r.text, /models\/m-Q4_K_M\.gguf/);
  const blobs = hub.asked.filter((a) => a.where === 'blobs');
  assert.deepEqual(blobs.map((a) => a.range).sort(), ['bytes=0-16777215', 'bytes=16777216-33554431', `bytes=33554432-${big.length - 1}`]);
  const log = spawnSync(weir, ['audit', 'egress', '--json', '--state', `sqlite:${folder}/weir.db`]).stdout.toString().trim().split('\n').map((l) => JSON.parse(l));
  assert.equal(log.length, hub.asked.length);
  assert.ok(log.every((l) => l.rule === 'pull' && l.bytes === 0));
});

test('a tag picks the type, all parts of a split file come, a projector only when asked for', async () => {
  assert.equal((await pull('hf.co/owner/repo:q8_0')).code, 0);
  assert.deepEqual(here(), ['m-Q8_0.gguf']);
  assert.equal((await pull('https://huggingface.co/owner/repo:F16', ['--projector'])).code, 0);
  assert.deepEqual(here(), ['m-F16-00001-of-00002.gguf', 'm-F16-00002-of-00002.gguf', 'm-Q8_0.gguf', 'mmproj-F16.gguf']);
  same('m-F16-00002-of-00002.gguf', two);
  const r = await pull('hf.co/owner/repo:Q2_K');
  assert.equal(r.code, 1);
  assert.match(r.text, /Q2_K.*m-Q4_K_M.*m-Q8_0.*m-F16/);
});

test("Ollama's registry: the manifest's model and adapter, named by name and tag", async () => {
  hub.files = { model: small, adapter: one };
  const r = await pull('tiny:1b');
  assert.equal(r.code, 0, r.text);
  assert.deepEqual(here(), ['tiny-1b.adapter.gguf', 'tiny-1b.gguf']);
  same('tiny-1b.gguf', small);
  assert.equal((await pull('tiny')).code, 0);
  assert.ok(here().includes('tiny-latest.gguf'));
  assert.match((await pull('tiny:9b')).text, /no such model/);
});

test("what Ollama's manifest says of sampling comes along, counts where a request is silent, and goes with the model", async () => {
  makeModel(folder, 'm.gguf', ['--layers', '1']);
  const params = Buffer.from('{"temperature":0,"stop":["<never>"],"num_ctx":64,"top_k":-7}');
  hub.files = { model: readFileSync(join(folder, 'm.gguf')), adapter: one, template: Buffer.from('{{ .Prompt }}'), params };
  const r = await pull('tiny:1b');
  assert.equal(r.code, 0, r.text);
  assert.deepEqual(here(), ['tiny-1b.adapter.gguf', 'tiny-1b.gguf', 'tiny-1b.params.json', 'tiny-1b.template']);
  same('tiny-1b.params.json', params);
  const say = (...more) => spawnSync(weir, ['run', join(folder, 'models', 'tiny-1b.gguf'), 'hello', '--max-tokens', '24', ...more], { encoding: 'utf8', timeout: 60000 });
  const greedy = say();
  assert.equal(greedy.status, 0, greedy.stderr);
  assert.equal(say('--seed', '5').stdout, greedy.stdout); // temperature 0: no seed changes it
  assert.notEqual(say('--seed', '5', '--temperature', '2').stdout, greedy.stdout);
  const piece = greedy.stdout.slice(4, 8);
  writeFileSync(join(folder, 'models', 'tiny-1b.params.json'), JSON.stringify({ temperature: 0, stop: [piece] }));
  assert.equal(say().stdout.trimEnd(), greedy.stdout.slice(0, greedy.stdout.indexOf(piece)).trimEnd());
  writeFileSync(join(folder, 'models', 'tiny-1b.params.json'), '[');
  assert.notEqual(say('--seed', '5').stdout, greedy.stdout); // what is no object is left out
  const gone = spawnSync(weir, ['rm', 'tiny-1b', '--yes', '--dir', join(folder, 'models')], { encoding: 'utf8' });
  assert.equal(gone.status, 0, gone.stderr);
  assert.deepEqual(here(), []);
});

test("what Ollama's manifest says of how conversations begin, and its licences, were dropped", async () => {
  makeModel(folder, 'm.gguf', ['--layers', '1']);
  const first = [{ role: 'user', content: 'Who?' }, { role: 'assistant', content: 'Mario.' }];
  const more = ['You are Mario.', JSON.stringify(first), 'free', 'or not'].map((text) => Buffer.from(text));
  hub.files = { model: readFileSync(join(folder, 'm.gguf')), adapter: one, template: Buffer.from('{{ .Prompt }}'), params: Buffer.from('{}'), system: more[0], messages: more[1], free: more[2], further: more[3] };
  const r = await pull('tiny:1b');
  assert.equal(r.code, 0, r.text);
  const names = ['tiny-1b-2.license', 'tiny-1b.adapter.gguf', 'tiny-1b.gguf', 'tiny-1b.license', 'tiny-1b.messages.json', 'tiny-1b.params.json', 'tiny-1b.system', 'tiny-1b.template'];
  assert.deepEqual(here(), names);
  same('tiny-1b-2.license', more[3]);
  const file = join(folder, 'models', 'tiny-1b.gguf'), at = (name) => join(folder, 'models', `tiny-1b.${name}`);
  const template = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}|{% endfor %}";
  const render = (...messages) => spawnSync(weir, ['render', '--model', file], { input: JSON.stringify({ template, messages }), env: { ...process.env, WEIR_LOG: 'warn' }, encoding: 'utf8', timeout: 60000 });
  const user = { role: 'user', content: 'Hi' };
  assert.equal(render(user).stdout, 's:You are Mario.|u:Who?|a:Mario.|u:Hi|');
  assert.equal(render({ role: 'system', content: 'Be.' }, user).stdout, 's:Be.|u:Who?|a:Mario.|u:Hi|');
  rmSync(at('adapter.gguf')); // it is none
  const tokens = async () => {
    const gateway = await Gateway.start(`models_dir: ${join(folder, 'models')}\n`);
    const { body } = await gateway.chat('tiny-1b', 'Hi', { max_tokens: 1 });
    await gateway.stop();
    return body.usage?.prompt_tokens ?? assert.fail(JSON.stringify(body));
  };
  const all = await tokens();
  writeFileSync(at('messages.json'), '[{"role":"user"}]'); // no text
  const left = render(user);
  assert.equal(left.stdout, 's:You are Mario.|u:Hi|');
  assert.match(left.stderr, /messages\.json is left out: message 0 has no role or no text/);
  rmSync(at('messages.json'));
  writeFileSync(at('system'), Buffer.from([0x61, 0xff])); // no UTF-8
  assert.equal(render(user).stdout, 'u:Hi|');
  const bare = await tokens();
  assert.ok(all > bare + 20, `${all} ${bare}`);
  writeFileSync(join(folder, 'models', 'tiny-1b-2.gguf'), 'another model'); // whose licence that may be
  const rm = () => spawnSync(weir, ['rm', 'tiny-1b', '--yes', '--dir', join(folder, 'models')], { encoding: 'utf8' }).status;
  assert.equal(rm(), 0);
  assert.deepEqual(here(), ['tiny-1b-2.gguf', 'tiny-1b-2.license']);
  rmSync(join(folder, 'models', 'tiny-1b-2.gguf'));
  writeFileSync(file, '');
  assert.equal(rm(), 0);
  assert.deepEqual(here(), []);
});

test('--list fetches nothing', async () => {
  const r = await pull('hf.co/owner/repo:Q8_0', ['--list']);
  assert.equal(r.code, 0);
  assert.match(r.text, new RegExp(`m-Q8_0.gguf.*3.0 MiB.*${sha256(small)}`));
  assert.equal(hub.sent, 0);
});

test('what is here already is not fetched again; what is another file is not overwritten', async () => {
  assert.equal((await pull('hf.co/owner/repo:Q8_0')).code, 0);
  const sent = hub.sent;
  assert.equal((await pull('hf.co/owner/repo:Q8_0')).code, 0);
  assert.equal(hub.sent, sent);
  writeFileSync(join(folder, 'models', 'm-Q8_0.gguf'), 'mine');
  const r = await pull('hf.co/owner/repo:Q8_0');
  assert.equal(r.code, 1);
  assert.match(r.text, /is there with other content/);
  assert.equal(read('m-Q8_0.gguf').toString(), 'mine');
});

test('a fetch that was killed goes on where it was', async () => {
  hub.fault = () => ({ slow: 5 });
  const child = start('hf.co/owner/repo', ['--connections', '2']);
  while (hub.sent < 34 * MIB) await sleep(5);
  child.kill('SIGKILL');
  await child.ended;
  assert.deepEqual(here(), ['.m-Q4_K_M.gguf.chunks', '.m-Q4_K_M.gguf.part'], 'nothing under the final name');
  Object.assign(hub, { sent: 0, fault: () => null });
  assert.equal((await pull('hf.co/owner/repo')).code, 0);
  same('m-Q4_K_M.gguf', big);
  assert.ok(hub.sent <= 32 * MIB, `${hub.sent} bytes came again`);
});

for (const [what, fault] of [
  ['a connection that breaks', (n) => n % 2 && { cut: 5 * MIB }], ['an answer of 503', (n) => n % 2 && { status: 503 }],
  ['an answer of 429 that says when', (n) => n === 1 && { status: 429, headers: { 'retry-after': '1' } }],
])
  test(`${what} is tried again, for what is missing`, async () => {
    hub.fault = (_, n) => fault(n);
    const r = await pull('hf.co/owner/repo');
    assert.equal(r.code, 0, r.text);
    same('m-Q4_K_M.gguf', big);
    assert.ok(hub.sent <= big.length + 64 * 1024 * 4, `${hub.sent} bytes`);
  });

for (const [what, fault, said, kept] of [
  ['other bytes than the hub lists', { wrong: true }, /not what the hub lists.*nothing of it was kept/, false],
  ['another range than was asked for', { range: 'bytes 0-5/99' }, /does not send the part/, true],
  ['another size than was listed', { range: `bytes 0-16777215/${big.length + 1}` }, /does not send the part/, true],
  ['404', { status: 404 }, /no such model/, true], ['403', { status: 403 }, /wants to know who asks/, true],
])
  test(`a server that sends ${what} is told of, and nothing stands under the name`, async () => {
    hub.fault = () => fault;
    const r = await pull('hf.co/owner/repo');
    assert.equal(r.code, 1);
    assert.match(r.text, said);
    assert.deepEqual(here().filter((f) => !f.startsWith('.')), []);
    assert.equal(here().length > 0, kept);
    hub.fault = () => null;
    assert.equal((await pull('hf.co/owner/repo')).code, 0);
    same('m-Q4_K_M.gguf', big);
  });

test('a server that is broken for good is given up', async () => {
  hub.files = { 'm-Q8_0.gguf': small };
  hub.fault = () => ({ cut: 0 });
  const r = await pull('hf.co/owner/repo');
  assert.equal(r.code, 1);
  assert.match(r.text, /'hub' \(127\.0\.0\.1/, 'and why, which was read after it had been freed');
  assert.deepEqual(here().filter((f) => !f.startsWith('.')), []);
});

test('the token goes to the hub and to no other server', async () => {
  hub.private = 'hf_secret';
  const no = await pull('hf.co/owner/repo:Q8_0');
  assert.equal(no.code, 1);
  assert.match(no.text, /HF_TOKEN/);
  const r = await pull('hf.co/owner/repo:Q8_0', [], { HF_TOKEN: 'hf_secret' });
  assert.equal(r.code, 0, r.text);
  assert.ok(hub.asked.filter((a) => a.where === 'origin').some((a) => a.authorization === 'Bearer hf_secret'));
  assert.ok(hub.asked.filter((a) => a.where === 'blobs').every((a) => a.authorization === undefined));
  assert.ok(!r.text.includes('hf_secret'));
  assert.equal((await pull('tiny', [], { HF_TOKEN: 'hf_secret' })).code, 1);
});

test('the token went wherever the hub said that its list goes on', async () => {
  hub.private = 'hf_secret';
  const elsewhere = http.createServer((q, r) => { asked.push(q.headers.authorization); r.writeHead(404).end(); }), asked = [];
  await new Promise((done) => elsewhere.listen(0, '127.0.0.1', done));
  hub.next = `http://127.0.0.1:${elsewhere.address().port}/tree?page=2`;
  const r = await pull('hf.co/owner/repo:Q8_0', [], { HF_TOKEN: 'hf_secret' });
  elsewhere.close();
  assert.equal(r.code, 1, r.text);
  assert.deepEqual(asked, [undefined]);
});

test('a mirror was refused in words about providers, and one without ranges without a word about them', async () => {
  for (const [url, said] of [['http://mirror.example', /http:\/\/mirror\.example has no TLS: models are fetched by https/], ['http://10.1.2.3:80/x', /has no TLS/], ['http://u:p@127.0.0.1:1', /must not hold a user or password/]]) {
    const r = await pull('hf.co/owner/repo', ['--mirror', url]);
    assert.equal(r.code, 1, url);
    assert.match(r.text, said);
  }
  const plain = http.createServer((q, r) => r.writeHead(200, { 'content-length': big.length }).end(big));
  await new Promise((done) => plain.listen(0, '127.0.0.1', done));
  hub.to = () => `http://127.0.0.1:${plain.address().port}/x`;
  // Of eight such ends some met records of requests that were still being written, and died of them.
  for (let i = 0; i < 8; i++) {
    const r = await pull('hf.co/owner/repo');
    assert.equal(r.code, 1, `${r.signal}`);
    assert.match(r.text, /asked for, but all of it: larger files want one that knows ranges/);
  }
  plain.closeAllConnections();
  plain.close();
});

test('a proxy: one that asks who it is was refused, one that is none was passed over', async () => {
  const seen = [];
  const proxy = http.createServer().on('connect', (q, socket, head) => {
    seen.push([q.url, q.headers['proxy-authorization']]);
    if (q.headers['proxy-authorization'] !== `Basic ${Buffer.from('u:p@ss').toString('base64')}`)
      return socket.end('HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="x"\r\n\r\n');
    const [host, port] = q.url.split(':');
    const there = net.connect(+port, host, () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      there.write(head);
      there.pipe(socket).pipe(there);
    });
    for (const s of [there, socket]) s.on('error', () => {});
  });
  await new Promise((done) => proxy.listen(0, '127.0.0.1', done));
  const at = `127.0.0.1:${proxy.address().port}`;
  try {
    const r = await pull('hf.co/owner/repo:Q8_0', ['--proxy', `http://u:p%40ss@${at}`], { HF_TOKEN: 'secret' });
    assert.equal(r.code, 0, r.text);
    same('m-Q8_0.gguf', small);
    assert.deepEqual([...new Set(seen.map(([to]) => to))].sort(), [hub.url, hub.blobsUrl].map((u) => u.slice(7)).sort());
    const refused = await pull('hf.co/owner/repo', ['--proxy', `http://u:wrong@${at}`]);
    assert.equal(refused.code, 1);
    assert.match(refused.text, /407/);
    assert.doesNotMatch(refused.text, /wrong/);
    for (const bad of ['foo', 'socks5://127.0.0.1:1']) assert.match((await pull('hf.co/owner/repo', ['--proxy', bad])).text, /the proxy/, bad);
    // The environment's were passed over. What is said counts before them; the hub here speaks http.
    const list = async (more, env) => [(await pull('hf.co/owner/repo', ['--list', ...more], env)).code, seen.splice(0).length > 0];
    seen.length = 0;
    assert.deepEqual(await list([], { HTTP_PROXY: `u:p%40ss@${at}` }), [0, true]);
    assert.deepEqual(await list([], { all_proxy: `http://u:p%40ss@${at}/` }), [0, true]);
    assert.deepEqual(await list([], { http_proxy: `http://u:p%40ss@${at}`, HTTP_PROXY: 'http://127.0.0.1:1' }), [0, true]);
    assert.deepEqual(await list([], { HTTP_PROXY: `http://${at}`, no_proxy: 'example.com,127.0.0.1' }), [0, false]);
    assert.deepEqual(await list(['--proxy', 'none'], { HTTP_PROXY: 'http://127.0.0.1:1' }), [0, false]);
    assert.deepEqual(await list(['--proxy', `http://u:p%40ss@${at}`], { HTTP_PROXY: 'http://127.0.0.1:1', NO_PROXY: '*' }), [0, true]);
    assert.deepEqual(await list([], { HTTPS_PROXY: 'http://127.0.0.1:1' }), [0, false]);
    // A desktop's, of a kind that is not known here, beside one that is.
    assert.deepEqual(await list([], { HTTPS_PROXY: 'http://127.0.0.1:1', ALL_PROXY: 'socks5://127.0.0.1:1' }), [0, false]);
    const tls = await pull('hf.co/owner/repo', ['--list', '--mirror', 'https://hub.example'], { HTTPS_PROXY: `http://u:wrong@${at}`, HTTP_PROXY: 'http://127.0.0.1:1' });
    assert.match(tls.text, /407/);
    assert.ok(seen.every(([to]) => to === 'hub.example:443') && seen.splice(0).length > 0);
    const bad = await pull('hf.co/owner/repo', ['--list'], { HTTPS_PROXY: 'socks5://u:secret@127.0.0.1:1' });
    assert.equal(bad.code, 1);
    assert.match(bad.text, /HTTPS_PROXY: the proxy must be written like http:/);
    assert.doesNotMatch(bad.text, /secret/);
  } finally {
    proxy.closeAllConnections();
    proxy.close();
  }
});

test('a mirror without refs, which knows what the hub\'s own client asks for, had "no such model"', async () => {
  const files = Object.entries(hub.files).map(([path, b]) => ({ rfilename: path, size: b.length, lfs: { sha256: sha256(b), size: b.length } }));
  const asked = [];
  const mirror = http.createServer((q, r) => {
    asked.push(q.url);
    if (q.url.startsWith('/api/models/owner/repo/revision/main')) return r.end(JSON.stringify({ sha: 'c'.repeat(40), siblings: [{ rfilename: 'README.md' }, ...files] }));
    if (!q.url.startsWith(`/owner/repo/resolve/${'c'.repeat(40)}/`)) return r.writeHead(404).end();
    r.writeHead(302, { location: `${hub.blobsUrl}/blob/${sha256(hub.files[q.url.slice(61)])}` }).end();
  });
  await new Promise((done) => mirror.listen(0, '127.0.0.1', done));
  try {
    const r = await pull('hf.co/owner/repo:Q8_0', ['--mirror', `http://127.0.0.1:${mirror.address().port}`]);
    assert.equal(r.code, 0, r.text);
    same('m-Q8_0.gguf', small);
  } finally {
    mirror.closeAllConnections();
    mirror.close();
  }
});

test('a name, path, commit, digest or address that would lead elsewhere is refused', async () => {
  for (const name of ['', '..', 'hf.co/a', 'hf.co/../x', 'hf.co/a/b/c/d', 'a b', 'x:..', 'hf.co/a/b:../c', '/etc/passwd', 'a/../b'])
    assert.equal((await pull(name)).code, 2, name);
  hub.files = { '../../evil-Q4_K_M.gguf': small, 'a/../b-Q4_K_M.gguf': small, '.hidden-Q4_K_M.gguf': small };
  assert.equal((await pull('hf.co/owner/repo')).code, 1);
  hub.files = { 'm-Q4_K_M.gguf': small, adapter: one };
  hub.commit = '../../../../x'.padEnd(40, '0');
  assert.match((await pull('hf.co/owner/repo')).text, /no branch/);
  hub.commit = undefined;
  hub.digest = `sha256:../../${'a'.repeat(58)}`;
  assert.match((await pull('tiny')).text, /good digest/);
  hub.digest = undefined;
  for (const to of ['ftp://127.0.0.1/x', 'http://', 'javascript:1', 'http://example.com/x', `${hub.url}/loop`]) {
    hub.to = () => to;
    assert.equal((await pull('hf.co/owner/repo')).code, 1, to);
  }
  assert.deepEqual(readdirSync(folder).filter((f) => f.includes('evil')), []);
  assert.deepEqual(here().filter((f) => !f.startsWith('.')), []);
});

test('a second fetch of the same file at the same time is refused', async () => {
  hub.fault = () => ({ slow: 20 });
  const first = start('hf.co/owner/repo');
  while (hub.sent < MIB) await sleep(5);
  const r = await pull('hf.co/owner/repo');
  assert.equal(r.code, 1);
  assert.match(r.text, /another weir pull/);
  first.kill('SIGKILL');
  await first.ended;
});

test('offline means offline', async () => {
  writeFileSync(join(folder, 'weir.yaml'), 'offline: true\n');
  const r = await pull('hf.co/owner/repo');
  assert.equal(r.code, 1);
  assert.match(r.text, /offline/);
  assert.equal(hub.asked.length, 0);
});

test('rm removes what it is told to, all parts of it, and nothing else', async () => {
  mkdirSync(join(folder, 'models'));
  for (const f of ['a.gguf', 'ab.gguf', 's-00001-of-00002.gguf', 's-00002-of-00002.gguf', '.a.gguf.part', '.a.gguf.chunks', 'a.txt', 'a-00001-of-0000x.gguf'])
    writeFileSync(join(folder, 'models', f), 'x');
  const rm = (...words) => spawnSync(weir, ['rm', ...words, '--dir', join(folder, 'models')], { input: '' });
  assert.equal(rm('a').status, 1, 'it asks');
  assert.equal(here().length, 8);
  assert.equal(rm('a', '--yes').status, 0);
  assert.deepEqual(here(), ['a-00001-of-0000x.gguf', 'a.txt', 'ab.gguf', 's-00001-of-00002.gguf', 's-00002-of-00002.gguf']);
  assert.equal(rm('s.gguf', '--yes').status, 0);
  assert.deepEqual(here(), ['a-00001-of-0000x.gguf', 'a.txt', 'ab.gguf']);
  assert.equal(rm('nobody', '--yes').status, 1);
  for (const name of ['../a', '.a', '/etc/passwd', '']) assert.equal(rm(name, '--yes').status, 2);
  writeFileSync(join(folder, 'outside.gguf'), 'x');
  symlinkSync('../outside.gguf', join(folder, 'models', 'link.gguf')); // "there is no model link", said rm
  assert.equal(rm('link', '--yes').status, 0);
  assert.ok(existsSync(join(folder, 'outside.gguf')) && !here().includes('link.gguf'));
});

test('what pull fetched was not among weir models', async () => {
  assert.equal((await pull('hf.co/owner/repo:Q8_0')).code, 0);
  const models = (...more) => spawnSync(weir, ['models', ...more], { cwd: folder, encoding: 'utf8', env: { PATH: process.env.PATH } });
  assert.match(models().stdout, /^m-Q8_0 +not served +models\/m-Q8_0\.gguf  \(3\.0 MiB\)$/m);
  assert.match(models().stderr, /models_dir: models/);
  assert.equal(JSON.parse(models('--json').stdout).model, 'models/m-Q8_0.gguf');
  for (const path of ['models/m-Q8_0.gguf', './models//m-Q8_0.gguf', join(folder, 'models/m-Q8_0.gguf')]) {
    writeFileSync(join(folder, 'weir.yaml'), `models:\n  - {name: mine, file: ${path}}\n`);
    assert.deepEqual(models('--json').stdout.trim().split('\n').map((l) => JSON.parse(l).name), ['mine'], path);
  }
  writeFileSync(join(folder, 'weir.yaml'), 'models_dir: models\n');
  assert.deepEqual(models('--json').stdout.trim().split('\n').map((l) => JSON.parse(l).provider), ['local']);
});

test('a folder of models that cannot be read was taken for none', () => {
  const odd = makeFolder();
  writeFileSync(join(odd, 'models'), 'no folder');
  const r = spawnSync(weir, ['models'], { cwd: odd, encoding: 'utf8', env: { PATH: process.env.PATH } });
  assert.equal(r.status, 1);
  assert.match(r.stderr, /cannot read the folder 'models': Not a directory/);
});

test('models that other programs keep are listed and run where they lie', async () => {
  const model = makeModel(folder), bytes = readFileSync(model), hex = sha256(bytes);
  const put = (path, content) => {
    mkdirSync(join(folder, path, '..'), { recursive: true });
    writeFileSync(join(folder, path), content);
  };
  const manifest = JSON.stringify({ layers: [{ mediaType: 'application/vnd.ollama.image.template', digest: `sha256:${'0'.repeat(64)}` }, { mediaType: 'application/vnd.ollama.image.model', digest: `sha256:${hex}` }] });
  put(`.ollama/models/blobs/sha256-${hex}`, bytes);
  put('.ollama/models/manifests/registry.ollama.ai/library/tiny/latest', manifest);
  put('.ollama/models/manifests/registry.ollama.ai/me/tiny/1b', manifest);
  put('.ollama/models/manifests/registry.ollama.ai/library/evil/latest', manifest.replace(hex, '../../../x'));
  put('.ollama/models/manifests/registry.ollama.ai/library/gone/latest', manifest.replace(hex, 'a'.repeat(64)));
  put('.ollama/models/manifests/registry.ollama.ai/library/broken/latest', '{');
  put('.lmstudio/models/owner/repo/m-Q4_K_M.gguf', bytes);
  put('.lmstudio/models/owner/repo/mmproj-F16.gguf', bytes);
  put('.cache/huggingface/hub/models--owner--some--repo/blobs/x', bytes);
  mkdirSync(join(folder, '.cache/huggingface/hub/models--owner--some--repo/snapshots/c/sub'), { recursive: true });
  symlinkSync('../../../blobs/x', join(folder, '.cache/huggingface/hub/models--owner--some--repo/snapshots/c/sub/m-00001-of-00002.gguf'));
  symlinkSync('..', join(folder, '.cache/huggingface/hub/models--owner--some--repo/snapshots/c/sub/loop'));
  put('.cache/llama.cpp/m.gguf', bytes);
  put('.cache/llama.cpp/best-of-8.gguf', bytes); // no part of a split model: it was left out
  const env = { PATH: process.env.PATH, HOME: folder };
  const run = (...words) => spawnSync(weir, words, { cwd: folder, env });
  const found = run('models', '--found', '--json').stdout.toString().trim().split('\n').map((l) => JSON.parse(l).name);
  assert.deepEqual([...new Set(found)].sort(), ['hf:owner/some--repo/sub/m-00001-of-00002.gguf', 'llamacpp:best-of-8.gguf', 'llamacpp:m.gguf', 'lmstudio:owner/repo/m-Q4_K_M.gguf', 'ollama:me/tiny:1b', 'ollama:tiny:latest'].sort());
  const shown = run('show', 'ollama:tiny');
  assert.equal(shown.status, 0, shown.stderr.toString());
  const small = run('quantize', 'ollama:tiny', 'small.gguf', 'Q8_0');
  assert.equal(small.status, 0, `weir quantize knew files only: ${small.stderr}`);
  assert.ok(existsSync(join(folder, 'small.gguf')));
  assert.match(run('quantize', 'ollama:nobody', 'x.gguf', 'Q8_0').stderr.toString(), /no program here keeps/);
  assert.equal(run('quantize', model, 'ollama:tiny', 'Q8_0').status, 0); // what is written is a name as it stands
  assert.equal(sha256(readFileSync(join(folder, `.ollama/models/blobs/sha256-${hex}`))), hex);
  assert.match(run('show', 'ollama:nobody').stderr.toString(), /no program here keeps/);
  const gateway = await Gateway.start('models:\n  - {name: t, file: "ollama:me/tiny:1b", context: 256}\n', { folder, env: { HOME: folder }, keep: true });
  const r = await gateway.chat('t', 'hi', { max_tokens: 3 });
  await gateway.stop();
  assert.equal(r.status, 200, JSON.stringify(r.body));
  assert.doesNotMatch(gateway.log, /without what Ollama has/);
  // An adapter and a system text of such a model were left out without a word.
  const layer = (type) => ({ mediaType: `application/vnd.ollama.image.${type}`, digest: `sha256:${hex}` });
  put('.ollama/models/manifests/registry.ollama.ai/library/tiny/own', JSON.stringify({ layers: ['adapter', 'model', 'system', 'license'].map(layer) }));
  const own = await Gateway.start('models:\n  - {name: t, file: "ollama:tiny:own", context: 256}\n', { folder, env: { HOME: folder }, keep: true });
  await own.stop();
  assert.match(own.log, /warn hub: ollama:tiny:own is run without what Ollama has beside its file: adapter, system text$/m);
});

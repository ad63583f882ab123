// What the gateway costs a request, beside going direct, nginx (proxy_pass with keep-alive) and Portkey's gateway from
// npm, in turns within one run: the same fixed provider (tools/bench_upstream.c), the same load (tools/bench_load.c).
// Routing rules, sensitivity detection, keys, ledger and egress log are all on. Peers that are not here are left out.
//   node bench/gateway.mjs [--portkey]     --portkey installs it from npm into the build folder
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { cpus, tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { Gateway, build, root, sleep, weir } from '../tests/e2e/lib/gateway.mjs';

const EVENTS = 30, RATE = 500, CONNECTIONS = 64, SECONDS = Number(process.env.BENCH_SECONDS ?? 4), ROUNDS = 3, IDLE = 10000;
const folder = mkdtempSync(join(tmpdir(), 'weir-bench-'));
const started = [];
const cores = cpus().length;
// With two cores or more the gateway has the first to itself, and everything else shares the last.
const pin = (core) => (cores > 1 ? ['taskset', '-c', String(core)] : []);

function start(core, command, args, options = {}) {
  const words = [...pin(core), command, ...args];
  const child = spawn(words[0], words.slice(1), { stdio: ['pipe', 'pipe', 'ignore'], ...options });
  started.push(child);
  return child;
}

const firstLine = (child) => new Promise((done, fail) => {
  child.stdout.once('data', (d) => done(d.toString().trim()));
  child.once('exit', () => fail(new Error('it ended at once')));
});

// A port nobody listens on now; and waiting until somebody does (a peer that never comes up is an error, not a figure).
const freePort = () => new Promise((done) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    server.close(() => done(port));
  });
});
const answers = (port) => new Promise((done) => {
  const socket = connect(port, '127.0.0.1', () => done(true)).on('error', () => done(false)).on('connect', () => socket.destroy());
});
async function listening(name, port, log) {
  for (let tries = 0; tries < 100; tries++, await sleep(100)) if (await answers(port)) return;
  throw new Error(`${name} does not listen on port ${port}${log && existsSync(log) ? `: ${readFileSync(log)}` : ''}`);
}

const median = (list) => list.sort((a, b) => a - b)[Math.floor(list.length / 2)];

function load(target, body, more) {
  const headers = Object.entries(target.headers ?? {}).flatMap(([k, v]) => ['--header', `${k}: ${v}`]);
  const words = [...pin(cores - 1), join(build, 'tools', 'bench_load'), String(target.port), '/v1/chat/completions',
    body, '--seconds', String(SECONDS), ...more, ...headers];
  const seen = JSON.parse(spawnSync(words[0], words.slice(1), { maxBuffer: 1 << 24 }).stdout.toString());
  if (seen.errors === seen.requests) return null; // not measured: it cannot do this at all
  if (seen.errors) console.log(`  (${target.name}: ${seen.errors} of ${seen.requests} requests failed)`);
  return seen;
}

process.on('exit', () => {
  for (const child of started) child.kill();
  rmSync(folder, { recursive: true, force: true });
});

// ---- What is measured ----

// Tools older than their source would measure something else.
execFileSync('make', ['-s', '-C', root, `BUILD=${relative(root, build)}`,
  ...['bench_upstream', 'bench_load'].map((tool) => `${relative(root, build)}/tools/${tool}`)], { stdio: 'inherit' });
const upstreamPort = Number(await firstLine(start(cores - 1, join(build, 'tools', 'bench_upstream'), [String(EVENTS)])));
const targets = [{ name: 'direct', port: upstreamPort }];

const key = (state) => /weir_\S+/.exec(execFileSync(weir, ['keys', 'create', '--name', 'bench', '--state', `sqlite:${state}`], { stdio: ['ignore', 'pipe', 'ignore'] }).toString())[0];
const gateway = await Gateway.start(
  `auth: keys
threads: 1
providers:
  sim: {kind: openai, base_url: "http://127.0.0.1:${upstreamPort}/v1", api_key: "\${SIM_KEY}", connect_timeout: 60s}
models:
  - {name: sim-1, provider: sim, model: sim-1, price: {input: 1.0, output: 2.0}}
  - {name: inside, provider: sim, model: sim-1}
  - {name: idle-1, provider: sim, model: idle-1}
routes:
  - name: auto
    rules:
      - {name: sensitive, when: {sensitive: true}, use: [inside]}
      - {name: hard, when: {complexity: ">= 0.9"}, use: [sim-1, inside]}
      - {name: otherwise, use: [sim-1, inside]}
`, { env: { SIM_KEY: 'sk-simulated' } });
if (cores > 1) execFileSync('taskset', ['-a', '-p', '-c', '0', String(gateway.process.pid)], { stdio: 'ignore' });
const weirTarget = { name: 'weir', port: gateway.port, pid: gateway.process.pid, headers: { authorization: `Bearer ${key(gateway.state)}` } };
await sleep(1500); // the key is noticed within a second
targets.push(weirTarget);

const nginx = ['/usr/sbin/nginx', '/usr/bin/nginx'].find(existsSync);
if (nginx) {
  const port = await freePort();
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((n) => `${n}_temp_path ${folder}/${n};`).join(' ');
  writeFileSync(join(folder, 'nginx.conf'), `daemon off; worker_processes 1; pid ${folder}/nginx.pid; error_log ${folder}/nginx.log;
events { worker_connections 20000; }
http { access_log off; ${paths} client_body_buffer_size 1m; keepalive_requests 100000000;
  upstream provider { server 127.0.0.1:${upstreamPort}; keepalive 256; keepalive_requests 100000000; }
  server { listen 127.0.0.1:${port}; location / { proxy_pass http://provider; proxy_http_version 1.1;
    proxy_set_header Connection ""; proxy_buffering off; } } }`);
  start(0, nginx, ['-c', join(folder, 'nginx.conf')]);
  await listening('nginx', port, join(folder, 'nginx.log'));
  targets.push({ name: 'nginx', port });
} else console.log('skipped: nginx (not installed; apt-get install nginx-light)');

const portkeyFolder = join(build, 'bench-peers');
const portkey = join(portkeyFolder, 'node_modules/@portkey-ai/gateway/build/start-server.js');
if (process.argv.includes('--portkey') && !existsSync(portkey)) {
  mkdirSync(portkeyFolder, { recursive: true });
  execFileSync('npm', ['install', '--no-audit', '--no-fund', '--prefix', portkeyFolder, '@portkey-ai/gateway'], { stdio: 'ignore' });
}
if (existsSync(portkey)) {
  const port = await freePort();
  start(0, process.execPath, [portkey, '--headless', `--port=${port}`]);
  await listening('Portkey', port);
  targets.push({ name: 'portkey', port, headers: { 'x-portkey-provider': 'openai',
    'x-portkey-custom-host': `http://127.0.0.1:${upstreamPort}/v1`, authorization: 'Bearer sk-simulated' } });
} else console.log('skipped: Portkey (node bench/gateway.mjs --portkey installs it)');

// ---- Measuring: every target in turn, ROUNDS times ----

// What each request says: another kilobyte of prose (bench_load fills it in), the same kilobyte each time, a template of
// which one word is another, or a chat of ten turns behind a system prompt, 10 KB in all, of which only the last turn is another (or all of it is).
const fresh = '#'.repeat(1024), template = `Say ########. ${'Explain how a weir works, in plain words. '.repeat(24)}`;
const nouns = 'river bridge garden weir water costs height Anna 45 in plain words the of more and'.split(' ');
const saga = (n) => Array.from({ length: n / 6 }, (_, i) => nouns[(i * 7 + i * i * n) % nouns.length]).join(' ');
const chat = (text) => [{ role: 'system', content: text(1024) },
  ...Array.from({ length: 9 }, (_, i) => [{ role: 'user', content: text(300 + i) }, { role: 'assistant', content: text(700 + i) }]).flat(),
  { role: 'user', content: fresh }];
const bodies = {};
function bodyMake(name, more, content) {
  const messages = Array.isArray(content) ? content : [{ role: 'user', content }];
  bodies[name] = join(folder, `${name}.json`);
  writeFileSync(bodies[name], JSON.stringify({ model: 'auto', ...more, messages }));
}
bodyMake('whole', {}, fresh);
bodyMake('streamed', { stream: true }, fresh);
bodyMake('same', {}, saga(1024));
bodyMake('template', {}, template);
bodyMake('turn', {}, chat(saga));
bodyMake('chat', {}, chat((n) => '#'.repeat(n)));
bodyMake('idle', { model: 'idle-1', stream: true }, template);

function measure(body, more) {
  const seen = new Map(targets.map((t) => [t.name, []]));
  for (let round = 0; round < ROUNDS; round++)
    for (const t of targets) seen.get(t.name).push(load(t, bodies[body], more));
  const base = ['weir', 'nginx', 'portkey'].filter((n) => seen.get(n)?.every(Boolean));
  for (const [name, rounds] of seen) if (!rounds.every(Boolean)) console.log(`  (${name} failed: every request)`);
  return { base, at: (name, of) => median(seen.get(name).map(of)) };
}

console.log(`gateway: 1 KB prompt, ${EVENTS} events streamed, ${ROUNDS} rounds of ${SECONDS} s each, medians of rounds`);
for (const t of targets) load({ ...t }, bodies.whole, ['--connections', '8']); // warm

for (const [body, what, of] of [['whole', 'whole answer', 'total_us'], ['streamed', 'first event', 'first_us'],
  ['same', 'whole answer to the same text', 'total_us'],
  ['turn', 'the tenth turn of a chat', 'total_us'], ['chat', 'a chat of ten turns, all of it new', 'total_us']]) {
  const { base, at } = measure(body, ['--connections', '64', '--rate', String(RATE)]);
  const direct = [0, 1].map((i) => at('direct', (r) => r[of][i]));
  console.log(`  ${what}, ${RATE} requests/s: direct ${direct[0]} / ${direct[1]} µs (median / 99th percentile)`);
  const added = Object.fromEntries(base.map((n) => [n, [0, 1].map((i) => at(n, (r) => r[of][i]) - direct[i])]));
  for (const n of base)
    console.log(`    ${n} adds ${added[n][0]} / ${added[n][1]} µs` +
      (n !== 'nginx' && added.nginx ? ` (${(added[n][0] / added.nginx[0]).toFixed(2)} / ${(added[n][1] / added.nginx[1]).toFixed(2)} times nginx)` : ''));
}
for (const [body, what] of [['whole', 'whole answers'], ['streamed', 'streams'], ['same', 'whole answers to the same text'], ['template', 'whole answers to one template'],
  ['turn', 'the tenth turn of a chat']]) {
  const { base, at } = measure(body, ['--connections', String(CONNECTIONS)]);
  const rate = Object.fromEntries(base.map((n) => [n, at(n, (r) => r.per_s)]));
  console.log(`  ${CONNECTIONS} connections, one core, ${what}:`);
  for (const n of base)
    console.log(`    ${n} ${rate[n]} a second` + (n === 'weir' && rate.nginx ? ` (${(rate.weir / rate.nginx).toFixed(2)} of nginx)` : '') +
      (n === 'weir' && rate.portkey ? ` (${(rate.weir / rate.portkey).toFixed(1)} times Portkey)` : ''));
}
const resident = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${gateway.process.pid}/status`, 'utf8'))[1]) / 1024;
console.log(`  weir's resident memory after all that: ${resident().toFixed(0)} MB`);

// ---- Streams that wait: one event has come, and then nothing ----

const files = Number(execFileSync('sh', ['-c', 'ulimit -Hn']).toString().replace('unlimited', '1000000'));
const streams = Math.min(IDLE, Math.floor((files - 200) / 2)); // each takes two descriptors of the gateway
const before = resident();
const held = start(cores - 1, join(build, 'tools', 'bench_load'), [String(gateway.port), '/v1/chat/completions', bodies.idle,
  '--connections', String(streams), '--idle', '1', '--seconds', '60', '--header', `authorization: ${weirTarget.headers.authorization}`]);
const { streaming } = JSON.parse(await firstLine(held));
console.log(`  ${streaming} of ${streams} idle streams: ${resident().toFixed(0)} MB resident in all (${((resident() - before) * 1024 / streams).toFixed(1)} KB each)`);
held.kill();

await gateway.stop();
process.exit();

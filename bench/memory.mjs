// Resident memory over many requests: whole and streamed ones in turn, each with another prompt, with keys, a budget,
// rules, sensitivity detection, ledger and egress log on, all of it on loopback. It is to stay flat.
//   node bench/memory.mjs [--requests 1000000] [--minutes 60]     ends with whichever comes first
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Gateway, build, sleep, weir } from '../tests/e2e/lib/gateway.mjs';

const option = (name, otherwise) => Number(process.argv[process.argv.indexOf(`--${name}`) + 1 || process.argv.length] ?? otherwise);
const REQUESTS = option('requests', 1000000), MINUTES = option('minutes', 60);
const STEP = 100000, EVENTS = 30, CONNECTIONS = 64;
const folder = mkdtempSync(join(tmpdir(), 'weir-bench-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

const upstream = spawn(join(build, 'tools', 'bench_upstream'), [String(EVENTS)], { stdio: ['pipe', 'pipe', 'ignore'] });
process.on('exit', () => upstream.kill());
const upstreamPort = await new Promise((done, fail) => {
  upstream.stdout.once('data', (d) => done(Number(d.toString().trim())));
  upstream.once('exit', () => fail(new Error('bench_upstream ended at once')));
});
const gateway = await Gateway.start(
  `auth: keys
providers:
  sim: {kind: openai, base_url: "http://127.0.0.1:${upstreamPort}/v1", api_key: "\${SIM_KEY}", connect_timeout: 60s}
models:
  - {name: sim-1, provider: sim, model: sim-1, price: {input: 1.0, output: 2.0}}
  - {name: inside, provider: sim, model: sim-1}
routes:
  - name: auto
    rules:
      - {name: sensitive, when: {sensitive: true}, use: [inside]}
      - {name: otherwise, use: [sim-1, inside]}
`, { env: { SIM_KEY: 'sk-simulated' } });
const key = /weir_\S+/.exec(execFileSync(weir, ['keys', 'create', '--name', 'bench', '--budget', '1000000/day', '--state', `sqlite:${gateway.state}`], { stdio: ['ignore', 'pipe', 'ignore'] }).toString())[0];
await sleep(1500); // the key is noticed within a second

const text = `Say ########. ${'Explain how a weir works, in plain words. '.repeat(24)}`; // each request says another word
const bodies = [false, true].map((stream) => {
  const path = join(folder, `${stream}.json`);
  writeFileSync(path, JSON.stringify({ model: 'auto', stream, messages: [{ role: 'user', content: text }] }));
  return path;
});
const load = (body) => new Promise((done, fail) => {
  let out = '';
  const child = spawn(join(build, 'tools', 'bench_load'), [String(gateway.port), '/v1/chat/completions', body, '--connections', String(CONNECTIONS),
    '--seconds', '5', '--header', `authorization: Bearer ${key}`], { stdio: ['ignore', 'pipe', 'inherit'] });
  child.stdout.on('data', (d) => (out += d));
  child.once('close', () => (out ? done(JSON.parse(out)) : fail(new Error('bench_load failed'))));
});
const resident = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${gateway.process.pid}/status`, 'utf8'))[1]) / 1024;

let requests = 0, errors = 0, first;
console.log(`memory: ${CONNECTIONS} connections, whole and streamed answers in turn; at the start ${resident().toFixed(1)} MB resident`);
for (let round = 0, end = Date.now() + MINUTES * 60000; requests < REQUESTS && Date.now() < end; round++) {
  const before = Math.floor(requests / STEP);
  const seen = await load(bodies[round % 2]);
  requests += seen.requests;
  errors += seen.errors;
  if (Math.floor(requests / STEP) === before) continue;
  first ??= resident();
  console.log(`  ${requests} requests: ${resident().toFixed(1)} MB resident, state ${(statSync(gateway.state).size / 1048576).toFixed(0)} MB`);
}
console.log(`  ${requests} requests, ${errors} failed: ${resident().toFixed(1)} MB` + (first ? `, ${(resident() - first).toFixed(1)} MB more than after the first ${STEP}` : ''));
await gateway.stop();
process.exit();

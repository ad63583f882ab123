// make bench-peers PEER=path: another engine's bench program beside `weir bench`, in turn, on the same file.
//
//   node bench/peers.mjs WEIR PEER MODEL...
//
// PEER takes the options -m -p -n -d -t -r -o json and prints [{n_prompt, n_gen, n_depth, avg_ts}], as llama-bench
// does. From the environment: PROMPT=512 GENERATE=64 DEPTH=0,4096 THREADS=0 ROUNDS=3. A round is one run of each; the
// medians over the rounds are shown, so that a machine's mood meets both alike.
import { spawnSync } from 'node:child_process';
import { cpus } from 'node:os';

const [weir, peer, ...models] = process.argv.slice(2);
if (!models.length) {
  console.error('usage: make bench-peers PEER=path [MODEL=file.gguf]');
  process.exit(2);
}
const env = { PROMPT: '512', GENERATE: '64', DEPTH: '0,4096', ROUNDS: '3', ...process.env };
const threads = Number(env.THREADS) || cpus().length;
const depths = env.DEPTH.split(',').map(Number);
const fail = (what) => (console.error(`bench-peers: ${what}`), process.exit(1));

function run(program, args) {
  const r = spawnSync(program, args.map(String), { encoding: 'utf8', maxBuffer: 1 << 26, stdio: ['ignore', 'pipe', 'pipe'] });
  const said = r.stderr?.trim().split('\n').slice(-3).join('\n') ?? '';
  if (r.error || r.status !== 0) fail(`${program} failed (${r.error?.message ?? r.signal ?? `exit code ${r.status}`})\n${said}`);
  try {
    return JSON.parse(r.stdout);
  } catch {
    return fail(`${program} printed no JSON for ${args.join(' ')}\n${said}`);
  }
}
const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];

// name -> tokens a second
function ours(model) {
  const o = run(weir, ['bench', model, '--prompt', env.PROMPT, '--generate', env.GENERATE, '--depth', env.DEPTH, '--parallel', '1', '--repeat', '1', '--time', '100000', '--threads', threads, '--json']);
  return new Map(o.points.flatMap((p) => [[name('prefill', p.depth), p.prefill_tps?.median], [name('decode', p.depth), p.decode_tps?.median]]));
}

function theirs(model) {
  const rows = run(peer, ['-m', model, '-p', env.PROMPT, '-n', env.GENERATE, '-d', env.DEPTH, '-t', threads, '-r', '1', '-o', 'json']);
  if (!Array.isArray(rows) || !rows.every((r) => r?.avg_ts > 0)) fail(`${peer} printed no list of rows with avg_ts`);
  return new Map(rows.map((r) => [name(r.n_gen > 0 ? 'decode' : 'prefill', r.n_depth ?? 0), r.avg_ts]));
}

const name = (what, depth) => (what === 'prefill' ? `prefill ${env.PROMPT}` : what) + (depth > 0 ? ` at ${depth}` : '');

for (const model of models) {
  const rounds = [];
  for (let i = 0; i < Number(env.ROUNDS); i++) rounds.push([ours(model), theirs(model)]);
  console.log(`${model}: ${threads} threads, ${rounds.length} rounds in turn, tokens a second\n${''.padEnd(24)}${'weir'.padStart(10)}${'peer'.padStart(10)}${'ratio'.padStart(8)}`);
  for (const what of depths.flatMap((d) => [name('prefill', d), name('decode', d)])) {
    const [a, b] = [0, 1].map((side) => median(rounds.map((r) => r[side].get(what) ?? NaN)));
    console.log(what.padEnd(24) + a.toFixed(1).padStart(10) + b.toFixed(1).padStart(10) + (a / b).toFixed(2).padStart(8));
  }
}

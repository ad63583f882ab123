#!/usr/bin/env node
// What a cascade is worth with a real small model: does it know when it is wrong?
//
//   node bench/cascade.mjs MODEL.gguf [--count 400] [--seed 7] [--half train|held] [--tokens 4,16] [--again yes] [--jobs sort,extract,weir,decline]
//     --tokens: of how many first tokens, the last is what is fitted; --again: a second answer is drawn, too
//
// MODEL is the house model (train/house), the prompts are its generator's (`train`: requests of the kind it learned from, but
// drawn anew; `held`: worded otherwise), the strong model is simulated and knows every answer. `weir eval` grades the small one
// and writes down how sure it was of its first tokens; then
//   - AUROC of each signal: how often a wrong answer has more of it than a right one (0.5: it tells nothing)
//   - the least share of strong calls that makes 95% of the strong model's quality, were the threshold known, beside chance
//   - half of the prompts fit (`weir calibrate --cascade`), the other half are asked of the gateway by what was fitted
//   - quality and calls over the thresholds of the built-in doubt
import { spawn } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Cloud } from '../tests/e2e/lib/cloud.mjs';
import { makeFolder, weir } from '../tests/e2e/lib/gateway.mjs';
import { examples } from '../train/house/generate.mjs';

const GOAL = 0.95; // of the strong model's quality
const signals = {
  mean: (m) => 1 - Math.exp(m.mean_logprob),
  least: (m) => 1 - Math.exp(m.least_logprob),
  entropy: (m) => m.mean_entropy,
  prompt: (m) => -m.prompt_logprob,
  again: (m) => 1 - m.agreement, // NaN without --again
};

/** How often a wrong answer has a higher value than a right one; equal ones count half. */
export function auroc(rows, value) {
  const sorted = rows.map((r) => ({ x: value(r), wrong: r.score < 1 })).sort((a, b) => a.x - b.x);
  const wrong = sorted.filter((r) => r.wrong).length, right = sorted.length - wrong;
  let below = 0, sum = 0;
  for (let i = 0, k; i < sorted.length; i = k) {
    for (k = i; k < sorted.length && sorted[k].x === sorted[i].x; k++);
    const block = sorted.slice(i, k), bad = block.filter((r) => r.wrong).length;
    sum += bad * (below + (block.length - bad) / 2);
    below += block.length - bad;
  }
  return wrong && right ? sum / (wrong * right) : NaN;
}

/** The strong model is right; it answers where the value is at least so much. */
export function at(rows, value, threshold) {
  const asked = rows.map((r) => value(r) >= threshold);
  return {
    calls: asked.filter(Boolean).length / rows.length,
    quality: rows.reduce((sum, r, i) => sum + (asked[i] ? 1 : r.score), 0) / rows.length,
  };
}

/** The fewest calls that make the goal, the most doubtful first. */
export function leastCalls(rows, value) {
  const order = [...rows].sort((a, b) => value(b) - value(a));
  let lost = order.reduce((sum, r) => sum + 1 - r.score, 0), k = 0;
  for (; k < order.length && lost > (1 - GOAL) * order.length + 1e-9; k++) lost -= 1 - order[k].score;
  return k / order.length;
}

function options(argv) {
  const out = { count: '400', seed: '7', half: 'train', tokens: '16', again: '', jobs: 'sort,extract,weir,decline' };
  const [model, ...rest] = argv;
  for (let i = 0; i < rest.length; i += 2) {
    const name = rest[i].replace(/^--/, '');
    if (!(name in out) || rest[i + 1] === undefined) throw new Error(`unknown option ${rest[i]}: see the head of bench/cascade.mjs`);
    out[name] = rest[i + 1];
  }
  if (!model) throw new Error('which model? node bench/cascade.mjs MODEL.gguf');
  return { model: resolve(model), half: out.half, again: out.again ? ['--again'] : [], seed: Number(out.seed), count: Number(out.count), tokens: out.tokens.split(',').map(Number), jobs: out.jobs.split(',') };
}

/* Prompts that are asked once, job by job in turn: every other one calibrates. */
function promptsOf(o) {
  const seen = new Set(), each = Math.ceil(o.count / o.jobs.length);
  const lists = o.jobs.map((job) => {
    const list = [];
    for (const e of examples({ seed: o.seed, count: 4 * each, held: o.half === 'held', job })) {
      const messages = e.messages.slice(0, -1).map(({ role, content }) => ({ role, content })), key = JSON.stringify(messages);
      if (seen.has(key) || list.length === each) continue;
      seen.add(key);
      list.push({ job, messages, want: e.messages.at(-1).content });
    }
    return list;
  });
  return Array.from({ length: each }, (_, i) => lists.flatMap((l) => l[i] ?? [])).flat();
}

let folder;
const run = (args, input = '') => new Promise((done, fail) => {
  const child = spawn(weir, args, { env: { ...process.env, SIM_KEY: 'sk-simulated' }, cwd: folder });
  let out = '', error = '';
  child.stdout.on('data', (d) => (out += d));
  child.stderr.on('data', (d) => (error += d));
  child.stdin.end(input);
  child.on('error', fail);
  child.on('close', (code) => (code ? fail(new Error(`weir ${args[0]}: ${error}`)) : done(out)));
});

/* Grades the prompts by a model or route: [{job, score, measured}] */
async function evaluate(prompts, config, name, more = []) {
  const [file, graded] = [join(folder, 'samples.jsonl'), join(folder, 'graded.jsonl')];
  writeFileSync(file, prompts.map((p) => JSON.stringify({
    messages: p.messages, expected: p.job === 'extract' ? JSON.parse(p.want) : p.want, grader: p.job === 'extract' ? 'json' : 'exact',
  })).join('\n'));
  writeFileSync(join(folder, 'weir.yaml'), `state: sqlite:${folder}/weir.db\n${config}`);
  await run(['eval', file, '--models', name, '--out', graded, '--max-tokens', '250', ...more]);
  return readFileSync(graded, 'utf8').trim().split('\n').map((l, i) => {
    const row = JSON.parse(l);
    return { job: prompts[i].job, score: row.scores[name] ?? 0, measured: row.measured[name], row };
  });
}

const fixed = (x, n = 3) => (Number.isNaN(x) ? '-' : x.toFixed(n)).padStart(7);
const percent = (x) => `${(100 * x).toFixed(1)}%`.padStart(7);

function signalsPrint(rows, o, tokens) {
  const lost = rows.reduce((sum, r) => sum + 1 - r.score, 0) / rows.length;
  console.log(`\nfirst ${tokens} tokens${''.padEnd(14)}AUROC  calls  ${o.jobs.map((j) => `AUROC ${j}`.padStart(15)).join('')}`);
  for (const [name, value] of Object.entries(signals)) {
    if (Number.isNaN(value(rows[0].measured))) continue; // not asked for
    const of = (r) => value(r.measured);
    const jobs = o.jobs.map((j) => fixed(auroc(rows.filter((r) => r.job === j), of)).padStart(15)).join('');
    console.log(`  ${name.padEnd(26)}${fixed(auroc(rows, of))}${percent(leastCalls(rows, of))}${jobs}`);
  }
  console.log(`  ${'chance'.padEnd(26)}${fixed(0.5)}${percent(Math.max(0, 1 - (1 - GOAL) / lost))}`);
  console.log(`  ${'an oracle'.padEnd(26)}${fixed(1)}${percent(leastCalls(rows, (r) => 1 - r.score))}`);
}

function curvePrint(rows, value) {
  console.log(`\nthreshold of the built-in doubt${'calls'.padStart(9)}${'quality'.padStart(9)}`);
  for (const t of [0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5]) {
    const { calls, quality } = at(rows, value, t);
    console.log(`${String(t).padStart(31)}${percent(calls).padStart(9)}${fixed(quality).padStart(9)}`);
  }
}

async function main() {
  folder = makeFolder();
  const o = options(process.argv.slice(2)), prompts = promptsOf(o);
  const answers = new Map(prompts.map((p) => [JSON.stringify(p.messages), p.want]));
  const cloud = await Cloud.start((request, body) => ({
    text: [answers.get(JSON.stringify(body.messages.map(({ role, content }) => ({ role, content })))) ?? 'I was asked something else.'],
    usage: { input: 100, output: 10 },
  }));
  const models = `providers: {out: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${SIM_KEY}"}}
on_sensitive: allow
models:
  - {name: house, file: ${o.model}, slots: 4}
  - {name: strong, provider: out, model: s, price: {input: 1, output: 1}}
`;
  const half = (list, k) => list.filter((_, i) => Math.floor(i / o.jobs.length) % 2 === k);
  try {
    let rows;
    for (const tokens of o.tokens) {
      rows = await evaluate(prompts, models, 'house', ['--measure', String(tokens), ...o.again]);
      if (tokens === o.tokens[0])
        console.log(`${rows.length} prompts of the ${o.half} half; the small model alone: ${o.jobs.map((j) => { const mine = rows.filter((r) => r.job === j); return `${j} ${(mine.reduce((s, r) => s + r.score, 0) / mine.length).toFixed(3)}`; }).join(', ')}`);
      signalsPrint(rows, o, tokens);
    }
    const tokens = o.tokens.at(-1);
    curvePrint(rows, (r) => signals.mean(r.measured));
    const graded = half(rows, 0).map(({ row }) => JSON.stringify({ ...row, scores: { ...row.scores, strong: 1 }, cost_usd: { ...row.cost_usd, strong: 0.00011 } })).join('\n');
    const fitted = join(folder, 'cascade.json');
    console.log(`\nweir calibrate, on half of them:\n${await run(['calibrate', '--cascade', '--weak', 'house', '--strong', 'strong', '--quality', String(GOAL), '--tokens', String(tokens), '--out', fitted], graded)}`);
    cloud.requests.length = 0;
    const rest = half(prompts, 1), routes = `routes: [{name: auto, rules: [{use: [house, strong], cascade: {calibration: ${fitted}}}]}]\n`;
    const asked = await evaluate(rest, models + routes, 'auto');
    const quality = asked.reduce((sum, r) => sum + r.score, 0) / asked.length;
    console.log(`the other half, through the gateway: quality ${quality.toFixed(3)} of the strong model's 1, ${percent(cloud.requests.length / rest.length).trim()} of its calls`);
  } finally {
    await cloud.stop();
    rmSync(folder, { recursive: true });
  }
}

if (process.argv[1] === new URL(import.meta.url).pathname) await main();

// What a cascade is worth: a small local model whose knowledge is constructed (lib/chain.mjs), a strong one that knows
// all, half of the questions for weir calibrate, the other half for what is reported. Nothing is trained and nothing here
// says how well a real model knows what it does not know: it holds the machinery to what is possible with a model that
// does. Figures: WEIR_SHOW_FIGURES=1.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { at, auroc, leastCalls } from '../../bench/cascade.mjs';
import { Cloud } from './lib/cloud.mjs';
import { chainModel, riverWorld } from './lib/chain.mjs';
import { Gateway, makeFolder, weir } from './lib/gateway.mjs';
import { runVerb } from './lib/verbs.mjs';

const N = 480;
const env = { ...process.env, SIM_KEY: 'sk-simulated' };
const show = (...args) => process.env.WEIR_SHOW_FIGURES && console.log(...args);
const { next, places } = riverWorld(N, 20260);
const question = (p) => `${p.filler}which river is at ${p.name}`;
let cloud, folder, config, gateway;

before(async () => {
  cloud = await Cloud.start((request, body) => {
    const place = places.find((p) => body.messages.at(-1).content.endsWith(` ${p.name}`));
    return { text: [`${place.river} flows`], usage: { input: 20, output: 2 } };
  });
  folder = makeFolder();
  writeFileSync(join(folder, 'chain.gguf'), chainModel(next));
});
after(async () => {
  await gateway?.stop();
  await cloud?.stop();
});

const models = () => `providers: {out: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${SIM_KEY}"}}
models:
  - {name: house, file: ${folder}/chain.gguf, slots: 4}
  - {name: strong, provider: out, model: s, price: {input: 100, output: 100}}
`;
const run = (args, input) => runVerb(args, { cwd: folder, env, input });
const good = async (...args) => {
  const r = await run(...args);
  assert.equal(r.code, 0, r.error);
  return r.out;
};
const samples = (list, name) => {
  const file = join(folder, name);
  writeFileSync(file, list.map((p) => JSON.stringify({ prompt: question(p), expected: p.river, grader: 'contains' })).join('\n'));
  return file;
};
const half = (k) => places.filter((_, i) => i % 2 === k);
const evaluate = async (list, names, more = []) => {
  const out = await good(['eval', samples(list, 'samples.jsonl'), '--models', names, '--config', config, '--json', ...more]);
  return Object.fromEntries(JSON.parse(out).map((m) => [m.model, m]));
};

test('weir eval measures, weir calibrate --cascade fits, and a rule reaches 95% of the quality with at most 40% of the calls', async () => {
  config = join(folder, 'weir.yaml');
  writeFileSync(config, `state: sqlite:${folder}/eval.db\n${models()}`);
  const graded = join(folder, 'graded.jsonl');
  const first = await evaluate(half(0), 'house,strong', ['--out', graded, '--again']);
  const rows = readFileSync(graded, 'utf8').trim().split('\n').map((l) => JSON.parse(l));
  assert.ok(rows.every((r) => r.measured.house.tokens >= 3 && !r.measured.strong), JSON.stringify(rows[0]));
  // Each has a second answer, also where four are asked at a time; it agrees more often where the first is right (by 0.14 to 0.22: it is drawn).
  const agreement = (right) => rows.filter((r) => r.scores.house === right).map((r) => r.measured.house.agreement);
  const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
  assert.ok(rows.every((r) => r.measured.house.prompt_logprob < 0 && r.measured.house.agreement >= 0), JSON.stringify(rows[0]));
  assert.ok(mean(agreement(1)) > mean(agreement(0)) + 0.05, `${mean(agreement(1))} ${mean(agreement(0))}`);
  assert.ok(first.house.quality < 0.9 && first.strong.quality === 1, JSON.stringify(first));

  const file = join(folder, 'cascade.json');
  const calibrate = ['calibrate', '--cascade', '--weak', 'house', '--strong', 'strong', '--out', file, '--quality', '0.95'];
  const report = JSON.parse(await good([...calibrate, '--json'], readFileSync(graded, 'utf8')));
  show(JSON.stringify(report, null, 1));
  assert.deepEqual(report, JSON.parse(readFileSync(file, 'utf8')));
  // The prompt's length says nothing here, the text's complexity neither; the model's own doubt does.
  assert.ok(report.fitted.apgr > report.length.apgr + 0.15 && report.fitted.apgr > report.complexity.apgr + 0.15);
  assert.ok(report.oracle.apgr >= report.fitted.apgr);
  assert.ok(report.fitted.apgr >= report.built_in.apgr);
  const strong = rows.length * 22 * 1e-4; // 22 tokens each
  assert.ok(Math.abs(report.cost_usd - report.strong_share * strong) < 1e-6, JSON.stringify([report.cost_usd, strong]));
  assert.match(await good(calibrate, readFileSync(graded, 'utf8')), /APGR[^]*fitted[^]*length[^]*oracle[^]*complexity[^]*random[^]*threshold/);

  // The other half of the questions, which the fit has not seen.
  writeFileSync(
    config,
    `state: sqlite:${folder}/eval2.db\n${models()}routes:
  - {name: auto, rules: [{name: unsure, use: [house, strong], cascade: {calibration: ${file}}}]}
  - {name: plain, rules: [{name: unsure, use: [house, strong], cascade: {threshold: 0.3}}]}
`,
  );
  cloud.requests.length = 0;
  const auto = (await evaluate(half(1), 'auto')).auto;
  const calls = cloud.requests.length / half(1).length;
  const alone = (await evaluate(half(1), 'house')).house;
  show(`held out: house ${alone.quality}, cascade ${auto.quality} with ${calls} of the calls`);
  assert.ok(alone.quality < 0.9, `the local model alone: ${alone.quality}`);
  assert.ok(auto.quality >= 0.95, `quality ${auto.quality}`);
  assert.ok(calls <= 0.4, `calls ${calls}`);
  // Chance would need (0.95 - weak) / (1 - weak) of the calls.
  assert.ok(calls < (0.95 - alone.quality) / (1 - alone.quality));
});

test('the curve: more calls, more quality, at every threshold, streamed and whole alike', async () => {
  const thresholds = [0.05, 0.2, 0.25, 0.3, 0.4, 1];
  const routes = thresholds.map((t, i) => `  - {name: r${i}, rules: [{use: [house, strong], cascade: {threshold: ${t}}}]}\n`);
  gateway = await Gateway.start(`${models()}routes:\n${routes.join('')}`, { env: { SIM_KEY: 'sk-simulated' }, folder: makeFolder() });
  const list = half(1).slice(0, 60);
  let before = 2;
  for (const [i, threshold] of thresholds.entries()) {
    cloud.requests.length = 0;
    let right = 0;
    for (const [k, p] of list.entries()) {
      const r = await gateway.chat(`r${i}`, question(p), { temperature: 0, stream: k % 2 === 0 });
      right += JSON.stringify(r.body).includes(`"${p.river}`) ? 1 : 0;
    }
    const calls = cloud.requests.length / list.length;
    show(`threshold ${threshold}: ${calls} of the calls, quality ${right / list.length}`);
    assert.ok(calls <= before, `${calls} calls at ${threshold}`);
    before = calls;
    if (i === 0) assert.equal(calls, 1); // a doubt of 0.05 is less than the synonyms make
    if (i === 0) assert.equal(right, list.length);
    if (threshold === 1) assert.equal(calls, 0);
  }
});

test('the figures of bench/cascade.mjs, by hand', () => {
  const rows = [[0, 0.9], [1, 0.5], [0.5, 0.5], [1, 0.1], [1, 0]].map(([score, x]) => ({ score, x }));
  const x = (r) => r.x;
  assert.equal(auroc(rows, x), 5.5 / 6); // of the two that are not right each is compared with three; one pair is equal
  assert.equal(auroc(rows, (r) => -r.x), 0.5 / 6);
  assert.equal(auroc(rows, () => 1), 0.5);
  assert.equal(auroc(rows.slice(3), x), NaN);
  assert.deepEqual(at(rows, x, 0.5), { calls: 0.6, quality: 1 });
  assert.deepEqual(at(rows, x, 0.6), { calls: 0.2, quality: 0.9 });
  assert.equal(leastCalls(rows, (r) => 1 - r.score), 0.4); // 0.9 is not enough
  assert.equal(leastCalls(rows, (r) => -r.x), 1);
  assert.equal(leastCalls(rows.slice(3), x), 0);
});

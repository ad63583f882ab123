// weir eval on one's own samples, weir calibrate on what it graded, and a route that uses the calibration.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Cloud } from './lib/cloud.mjs';
import { Gateway, makeFolder, makeModel, weir } from './lib/gateway.mjs';
import { createKey, runVerb } from './lib/verbs.mjs';

const env = { ...process.env, SIM_KEY: 'sk-simulated' };
let cloud, folder, config;

// Hard ones hold a proof: the weak model does not know what it says there. The judge likes long answers.
const answer = (model, prompt) => {
  if (model === 'judge-1') return /<answer>\n.{20,}\n<\/answer>/s.test(prompt) ? 'I give it 9/10: 9' : 'Grade: 2.5.';
  const right = /say (\S+)/.exec(prompt)?.[1] ?? 'A long and careful answer, as one would wish.';
  return model === 'strong-1' || !/[Pp]rove/.test(prompt) ? right : 'no idea';
};

before(async () => {
  cloud = await Cloud.start((request, body) => ({
    text: [answer(body.model, body.messages.map((m) => m.content).join('\n'))],
    usage: { input: 100, output: 10 },
  }));
  folder = makeFolder();
  config = join(folder, 'weir.yaml');
  write('');
});
after(() => cloud?.stop());

const house = () => makeModel(folder);
function write(routes) {
  writeFileSync(
    config,
    `state: sqlite:${folder}/weir.db
providers: {out: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${SIM_KEY}"}}
models:
  - {name: house, file: ${house()}, context: 512}
  - {name: weak, provider: out, model: weak-1, price: {input: 1, output: 1}}
  - {name: strong, provider: out, model: strong-1, price: {input: 10, output: 10}}
  - {name: judge, provider: out, model: judge-1}
${routes}`,
  );
}
const file = (name, rows) => {
  writeFileSync(join(folder, name), rows.map((r) => JSON.stringify(r)).join('\n') + '\n');
  return join(folder, name);
};
const run = (args, input) => runVerb(args, { cwd: folder, env, input });
const evaluate = async (samples, ...args) => {
  const r = await run(['eval', samples, '--config', config, '--json', ...args]);
  assert.equal(r.code, 0, r.error);
  assert.doesNotMatch(r.error, /a loop ends before/);
  return Object.fromEntries(JSON.parse(r.out).map((m) => [m.model, m]));
};

test('every grader, over several models, with cost and latency', async () => {
  const samples = file('samples.jsonl', [
    { prompt: 'please say yes', expected: 'yes' },
    { prompt: 'prove it and say yes', expected: ['no', 'yes'] },
    { prompt: 'say COLOUR', expected: 'colour', grader: 'contains' },
    { prompt: 'say 12345', expected: '^[0-9]{5}$', grader: 'regex' },
    { messages: [{ role: 'system', content: 'be brief' }, { role: 'user', content: 'say {"a":1,"b":2}' }], expected: { a: 1, b: 3 } },
    { id: 'j', prompt: 'Prove something', grader: 'judge' },
  ]);
  const m = await evaluate(samples, '--models', 'weak,strong', '--judge', 'judge', '--out', join(folder, 'graded.jsonl'));
  assert.ok(Math.abs(m.strong.quality - (1 + 1 + 1 + 1 + 0.5 + 0.9) / 6) < 1e-9, JSON.stringify(m));
  assert.ok(Math.abs(m.weak.quality - (1 + 0 + 1 + 1 + 0.5 + 0.25) / 6) < 1e-9, JSON.stringify(m));
  assert.equal(m.weak.graded, 6);
  assert.ok(Math.abs(m.strong.cost_usd - (6 * 110 * 10) / 1e6) < 1e-9 && m.strong.mean_ms > 0);
  const rows = readFileSync(join(folder, 'graded.jsonl'), 'utf8').trim().split('\n').map((l) => JSON.parse(l));
  assert.equal(rows.length, 6);
  assert.deepEqual(rows[1].scores, { weak: 0, strong: 1 });
  assert.equal(rows[5].id, 'j');
  assert.match((await run(['eval', samples, '--config', config, '--models', 'weak', '--judge', 'judge'])).out, /MODEL .*QUALITY/);
});

test('what must stay inside is not asked outside, and does not count', async () => {
  const samples = file('private.jsonl', [
    { prompt: 'My card is 5555 3412 4444 1115, say yes', expected: 'yes' },
    { prompt: 'say yes', expected: 'yes' },
  ]);
  const before = cloud.received();
  const m = await evaluate(samples, '--models', 'strong', '--max-tokens', '2');
  assert.equal(m.strong.kept_inside, 1);
  assert.equal(m.strong.graded, 1);
  assert.equal(m.strong.quality, 1);
  assert.ok(!cloud.received().slice(before.length).includes('5555'));
});

test('mistakes are named', async () => {
  const bad = async (rows, pattern, ...args) => {
    const r = await run(['eval', file('bad.jsonl', rows), '--config', config, '--models', 'weak', ...args]);
    assert.equal(r.code, 1);
    assert.match(r.error, pattern);
  };
  await bad([{ prompt: 'x', expected: 'y', grader: 'guess' }], /line 1: no grader 'guess'/);
  await bad([{ prompt: 'x' }], /nothing is expected/);
  await bad([{ expected: 'y' }], /no "prompt"/);
  await bad([{ prompt: 'x', expected: '(', grader: 'regex' }], /no POSIX extended expression/);
  await bad([{ prompt: 'x', grader: 'judge' }], /--judge MODEL/);
  assert.equal((await run(['eval', 'x.jsonl'])).code, 2);
  assert.equal((await run(['calibrate', '--weak', 'a'])).code, 2);
});

test('an answer that cost money was lost where --out had no place, and samples were written over', async () => {
  const samples = file('dear.jsonl', [{ prompt: 'say yes', expected: 'yes' }]);
  const before = readFileSync(samples, 'utf8');
  const asked = cloud.requests.length;
  for (const [out, says] of [[join(folder, 'none', 'x'), /cannot write .*none/], [folder, /is not a file/], [samples, /the file of the samples/]]) {
    const r = await run(['eval', samples, '--config', config, '--models', 'weak', '--out', out]);
    assert.equal(r.code, 1);
    assert.match(r.error, says);
  }
  assert.equal(cloud.requests.length, asked);
  assert.equal(readFileSync(samples, 'utf8'), before);
});

const easy = (i) => `Write a short note number ${i} about flowers in spring`;
const hard = (i) => `Prove that for every integer n > ${i}, the equation $x^${i} + y = z$ has a solution; derive each lemma`;

test('a calibration separates what is hard here, and a route goes by its threshold', async () => {
  const graded = [];
  for (let i = 0; i < 60; i++) {
    graded.push({ prompt: easy(i), scores: { house: 1, strong: 1 }, cost_usd: { house: 0, strong: 0.01 } });
    graded.push({ prompt: hard(i), scores: { house: i % 6 ? 0 : 1, strong: 1 }, cost_usd: { house: 0, strong: 0.01 } });
  }
  const out = join(folder, 'calibration.json');
  const input = graded.map((r) => JSON.stringify(r)).join('\n');
  let r = await run(['calibrate', '--weak', 'house', '--strong', 'strong', '--out', out, '--json'], input);
  assert.equal(r.code, 0, r.error);
  const report = JSON.parse(r.out);
  assert.deepEqual(report, JSON.parse(readFileSync(out, 'utf8')));
  assert.ok(report.fitted.apgr > 0.65 && report.oracle.apgr >= report.fitted.apgr);
  assert.ok(report.strong_share < 0.6 && report.quality > 0.85);
  assert.ok(Math.abs(report.cost_usd - report.strong_share * 120 * 0.01) < 1e-9);
  r = await run(['calibrate', '--weak', 'house', '--strong', 'strong', '--out', out], input);
  assert.match(r.out, /APGR[^]*fitted[^]*length[^]*oracle[^]*random[^]*threshold/);

  const route = (calibration) =>
    `routes:\n  - {name: auto, ${calibration}rules: [{name: hard, when: {complexity: ">= threshold"}, use: [strong]}, {name: easy, use: [house]}]}\n`;
  write(route(`calibration: ${out}, `));
  const decide = (text) => {
    const body = JSON.stringify({ model: 'auto', messages: [{ role: 'user', content: text }] });
    return JSON.parse(execFileSync(weir, ['route', '--config', config], { input: body, env }).toString());
  };
  assert.equal(decide(easy(999)).rule, 'easy');
  assert.equal(decide(hard(999)).rule, 'hard');
  assert.ok(decide(hard(999)).complexity > report.threshold);
  assert.match(decide(easy(999)).rules[0].why, /complexity is [0-9.]+, wants >= threshold/);

  write(route(''));
  assert.match((await run(['serve', '--check', '--config', config])).error, /the route names none: calibration: FILE/);
  write(route(`calibration: ${folder}/nothing.json, `));
  assert.match((await run(['serve', '--check', '--config', config])).error, /weir.yaml:\d+: the calibration .* cannot be read/);
  writeFileSync(join(folder, 'wrong.json'), '{"threshold": 1}');
  write(route(`calibration: ${folder}/wrong.json, `));
  assert.match((await run(['serve', '--check', '--config', config])).error, /no calibration of this version/);
  writeFileSync(join(folder, 'wrong.json'), '{"cascade": {"threshold": 0.5}}'); // it was told to be of another version
  assert.match((await run(['serve', '--check', '--config', config])).error, /it is a cascade's, which a rule names/);
});

test('thumbs of those who got the answers calibrate, too, without a word of what was asked', async () => {
  const thumbs = join(folder, 'thumbs.jsonl');
  const models = `providers: {out: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${SIM_KEY}"}}
models:
  - {name: weak, provider: out, model: weak-1, price: {input: 1, output: 1}}
  - {name: strong, provider: out, model: strong-1, price: {input: 10, output: 10}}
`;
  const g = await Gateway.start(`feedback: ${thumbs}\n${models}`, { env });
  const grade = (body, headers) => g.post('/v1/feedback', body, headers);
  try {
    let id;
    for (let i = 0; i < 80; i++) {
      const r = await g.chat(i % 4 < 2 ? 'weak' : 'strong', (i % 2 ? hard : easy)(i));
      id = r.headers.get('x-request-id');
      const good = r.body.choices[0].message.content !== 'no idea';
      if (i % 8 === 0) assert.equal((await grade({ request_id: id, thumb: 'down' })).status, 200); // a slip: the last one counts
      assert.deepEqual((await grade({ request_id: id, thumb: good ? 'up' : 'down' })).body, { object: 'feedback', request_id: id, score: good ? 1 : 0 });
    }
    assert.equal((await grade({ request_id: id, score: 1 })).status, 200);
    for (const [body, status, says] of [
      [{ request_id: 'req_nobody', score: 1 }, 404, /x-request-id/], [{ score: 1 }, 400, /request_id/], [{ request_id: id }, 400, /thumb/],
      [{ request_id: id, score: 1.5 }, 400, /between 0 and 1/], [{ request_id: id, thumb: 'sideways' }, 400, /up or down/],
      [{ request_id: id, thumb: 'up', score: 1 }, 400, /either/], [{ request_id: id, thumb: 'up', why: 'x' }, 400, /why/]]) {
      const r = await grade(body);
      assert.deepEqual([r.status, says.test(r.body.error.message)], [status, true], JSON.stringify(r.body));
    }
    for (let i = 0; i < 6; i++) assert.equal((await grade({ request_id: id, score: 1 })).status, 200);
    assert.equal((await grade({ request_id: id, score: 1 })).status, 400); // eight times at most
  } finally {
    await g.stop();
  }
  const kept = readFileSync(thumbs, 'utf8');
  assert.equal(statSync(thumbs).mode & 0o077, 0);
  assert.ok(!/flowers|integer|lemma/.test(kept));
  const out = join(folder, 'thumbs.json');
  const r = await run(['calibrate', '--weak', 'weak', '--strong', 'strong', '--out', out, '--json'], kept);
  assert.equal(r.code, 0, r.error);
  const report = JSON.parse(r.out);
  assert.deepEqual([report.prompts, report.one_sided, report.strong_quality.toFixed(6), report.weak_quality.toFixed(6)], [80, 80, '1.000000', '0.500000']);
  assert.ok(report.fitted.apgr > 0.6, r.out);
  writeFileSync(config, `${models}routes:\n  - {name: auto, calibration: ${out}, rules: [{name: hard, when: {complexity: ">= threshold"}, use: [strong]}, {name: easy, use: [weak]}]}\n`);
  const decide = async (text) => JSON.parse((await run(['route', '--config', config], JSON.stringify({ model: 'auto', messages: [{ role: 'user', content: text }] }))).out).rule;
  assert.deepEqual([await decide(easy(999)), await decide(hard(999))], ['easy', 'hard']);
});

test('without a file for them grades are refused, and nobody grades the answers of another key', async () => {
  const weak = `providers: {out: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${SIM_KEY}"}}\nmodels: [{name: weak, provider: out, model: weak-1}]\n`;
  const g = await Gateway.start(weak, { env });
  const asked = (await g.chat('weak', easy(1))).headers.get('x-request-id');
  const r = await g.post('/v1/feedback', { request_id: asked, thumb: 'up' });
  assert.deepEqual([r.status, /feedback: FILE/.test(r.body.error.message)], [404, true]);
  await g.stop();
  const home = makeFolder();
  const key = (name) => createKey(home, '--name', name);
  const [mine, other] = [key('mine'), key('other')].map((k) => ({ authorization: `Bearer ${k}` }));
  const guarded = await Gateway.start(`auth: keys\nfeedback: ${home}/thumbs.jsonl\n${weak}`, { env, folder: home, wait: false });
  try {
    const id = (await guarded.chat('weak', easy(1), {}, mine)).headers.get('x-request-id');
    assert.equal((await guarded.post('/v1/feedback', { request_id: id, thumb: 'up' }, other)).status, 404);
    assert.equal((await guarded.post('/v1/feedback', { request_id: id, thumb: 'up' })).status, 401);
    assert.equal((await guarded.post('/v1/feedback', { request_id: id, thumb: 'up' }, mine)).status, 200);
  } finally {
    await guarded.stop();
  }
});

test('what cannot be calibrated is said', async () => {
  const rows = (n, weak) => Array.from({ length: n }, (_, i) => JSON.stringify({ prompt: easy(i), weak, strong: 0.5 })).join('\n');
  const calibrate = (input) => run(['calibrate', '--weak', 'a', '--strong', 'b', '--out', join(folder, 'c.json')], input);
  assert.match((await calibrate(rows(5, 0))).error, /5 graded prompts are too few/);
  assert.match((await calibrate(rows(50, 0.9))).error, /not better than the weak one/);
  assert.equal((await calibrate('{"prompt":1}')).code, 1);
  // A misspelt name was told of as if nothing had been graded; fewer tokens than were measured went unsaid.
  const named = Array.from({ length: 30 }, (_, i) => JSON.stringify({ prompt: easy(i), scores: { x: 0, b: 1 }, measured: { x: { tokens: 16, mean_logprob: -1, least_logprob: -2, mean_entropy: 1 } } })).join('\n');
  assert.match((await calibrate(named)).error, /0 graded prompts are too few: 20 are the least; 30 more are not graded for both a and b/);
  const fewer = await run(['calibrate', '--cascade', '--tokens', '8', '--weak', 'x', '--strong', 'b', '--out', join(folder, 'c.json')], named);
  assert.deepEqual([fewer.code, /tell of 16 tokens, not of 8/.test(fewer.error)], [2, true]);
});

// Why a request goes where it goes: /weir/explain in every shape, costs and latencies as facts, shadow rules.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { Cloud } from './lib/cloud.mjs';
import { Gateway, makeFolder, makeModel, weir } from './lib/gateway.mjs';
import { createKey } from './lib/verbs.mjs';

const env = { SIM_KEY: 'sk-simulated' };
let cloud, slow, gateway, folder, config;

before(async () => {
  cloud = await Cloud.start({ text: ['one', ' two'], usage: { input: 50, output: 400 } });
  slow = await Cloud.start({ text: ['late'], usage: { input: 50, output: 400 }, delay: 400 });
  folder = makeFolder();
  const house = makeModel(folder);
  config = `providers:
  out: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${SIM_KEY}"}
  far: {kind: openai, base_url: "${slow.url}/v1", api_key: "\${SIM_KEY}"}
models:
  - {name: house, file: ${house}, context: 512, slots: 2, preload: true}
  - {name: dear, provider: out, price: {input: 10, output: 30}, quality: 0.9}
  - {name: fair, provider: out, price: {input: 1, output: 3}, quality: 0.7}
  - {name: slow, provider: far}
routes:
  - name: auto
    rules:
      - {name: would-go, when: {complexity: ">= 0"}, use: [dear], shadow: true}
      - {name: home, when: {sensitive: true}, use: [house], boundary: local}
      - {name: cheap, when: {tag: cheap}, use: {cheapest: [slow, dear, fair]}}
      - {name: quick, when: {tag: quick}, use: {fastest: [slow, dear]}}
      - {name: good, when: {tag: good}, use: {best: [house, fair, dear]}}
      - {name: dear-ones, when: {cost_usd: "> 0.001"}, use: [dear]}
      - {name: otherwise, use: [house]}
`;
  gateway = await Gateway.start(config, { env, folder, keep: true });
});
after(async () => {
  await gateway?.stop();
  await cloud?.stop();
  await slow?.stop();
});

const secret = 'My card is 5555 3412 4444 1115, mail jonas.weber@lipowa-poczta.pl';
const shapes = {
  '/v1/chat/completions': { model: 'auto', messages: [{ role: 'user', content: secret }] },
  '/v1/completions': { model: 'auto', prompt: secret },
  '/v1/responses': { model: 'auto', input: secret },
  '/v1/messages': { model: 'auto', max_tokens: 10, messages: [{ role: 'user', content: secret }] },
  '/api/chat': { model: 'auto', messages: [{ role: 'user', content: secret }] },
  '/api/generate': { model: 'auto', prompt: secret },
};

test('a request in any shape is explained, nothing is sent or kept, and no content is told', async () => {
  const rows = gateway.audit('ledger').length;
  for (const [path, body] of Object.entries(shapes)) {
    const { status, body: e } = await gateway.post(`/weir/explain${path}`, body);
    assert.equal(status, 200, path);
    assert.equal(e.rule, 'home', path);
    assert.deepEqual(e.targets, ['house']);
    assert.equal(e.facts.sensitive, true);
    assert.ok(e.facts.tokens > 0 && e.facts.complexity > 0 && e.facts.task && e.facts.language);
    assert.ok(e.findings.some((f) => f.type === 'CREDIT_CARD' && f.layer === 'structured' && f.score > 0.5 && f.end > f.start));
    assert.equal(e.rules.length, 7);
    assert.equal(e.rules[1].why, 'sensitive is true, wants true');
    assert.equal(e.rules[1].matches, true);
    assert.equal(e.rules[0].shadow, true);
    assert.equal(e.predicted[0].target, 'house');
    assert.equal(e.predicted[0].cost_usd, 0);
    assert.ok(!JSON.stringify(e).includes('5555') && !JSON.stringify(e).includes('jonas'), path);
  }
  // Without a path the members say it.
  for (const path of ['/v1/chat/completions', '/v1/completions', '/v1/responses'])
    assert.equal((await gateway.post('/weir/explain', shapes[path])).body.rule, 'home', path);
  assert.equal(cloud.requests.length + slow.requests.length, 0);
  assert.equal(gateway.audit('ledger').length, rows);
});

test('what cannot be explained is an error that says why', async () => {
  assert.equal((await gateway.post('/weir/explain', '{"model":')).status, 400);
  assert.equal((await gateway.post('/weir/explain/v1/models', {})).status, 404);
  assert.equal((await gateway.get('/weir/explain')).status, 405);
  const { status, body } = await gateway.post('/weir/explain', { model: 'nobody', messages: [{ role: 'user', content: 'hi' }] });
  assert.equal(status, 200);
  assert.match(body.error.message, /no model 'nobody'/);
});

const plain = { model: 'auto', messages: [{ role: 'user', content: 'Why is the sky blue?' }] };

const targets = async (tag) => (await gateway.post('/weir/explain', plain, { 'x-weir-tags': tag })).body;

// Which of the two was quicker the machine decides.
const quickestFirst = (e) => e.predicted.length === 2 && e.predicted[0].latency_ms >= 0 && e.predicted[0].latency_ms <= e.predicted[1].latency_ms;

test('cheapest, fastest and best order targets by what is known of them', async () => {
  let e = await targets('cheap');
  assert.deepEqual(e.targets, ['fair', 'dear', 'slow'], 'no price is dearer than any');
  assert.equal(e.predicted[2].cost_usd, null);
  assert.ok(e.predicted[0].cost_usd > 0 && e.predicted[1].cost_usd > 5 * e.predicted[0].cost_usd);
  assert.deepEqual((await targets('good')).targets, ['dear', 'fair', 'house']);
  assert.deepEqual((await targets('quick')).targets, ['slow', 'dear'], 'nothing is known yet: as written');
  await gateway.chat('slow', 'hello', { stream: true });
  assert.deepEqual((await targets('quick')).targets, ['slow', 'dear'], 'what is known comes before what is not');
  await gateway.chat('dear', 'hello', { stream: true });
  e = await targets('quick');
  assert.ok(quickestFirst(e) && e.predicted.find((p) => p.target === 'slow').latency_ms >= 350, JSON.stringify(e.predicted));
});

test('an answer is as long as those before it, and the ledger teaches the next start', async () => {
  const before = (await targets('cheap')).predicted[0].cost_usd;
  for (let i = 0; i < 12; i++) await gateway.chat('auto', 'hello', {}, { 'x-weir-tags': 'good' });
  const after = (await targets('cheap')).predicted[0].cost_usd;
  assert.ok(after > before, `${after} > ${before}: answers have 400 tokens, more than was thought`);
  await gateway.stop();
  gateway = await Gateway.start(config, { env, folder, keep: true });
  const again = (await targets('cheap')).predicted[0].cost_usd;
  assert.ok(Math.abs(again - after) < 0.2 * after, `${again} is about ${after}`);
  assert.ok(quickestFirst(await targets('quick')));
  // A limit of the client's is believed.
  const { body } = await gateway.post('/weir/explain', { ...plain, max_tokens: 3 }, { 'x-weir-tags': 'cheap' });
  assert.ok(body.predicted[0].cost_usd < after / 10);
});

test('the embedded engine is predicted from its measured prefill', async () => {
  await gateway.chat('house', 'hello there, and good morning', { max_tokens: 2 });
  const of = async (content) => (await gateway.post('/weir/explain', { model: 'house', messages: [{ role: 'user', content }] })).body.predicted[0];
  const short = await of('hello'), longer = await of('hello '.repeat(60));
  assert.ok(short.latency_ms > 0 && longer.latency_ms > 3 * short.latency_ms, JSON.stringify([short, longer]));
  assert.equal(longer.cost_usd, 0);
});

test('a shadow rule counts and does not act', async () => {
  const { headers } = await gateway.chat('auto', 'hello');
  assert.notEqual(headers.get('x-weir-rule'), 'would-go');
  const metrics = (await gateway.get('/metrics')).body;
  assert.match(metrics, /weir_shadow_rule_matches_total\{route="auto",rule="would-go"\} \d+/);
  assert.deepEqual(gateway.audit('ledger').at(-1).decision.shadow, ['would-go']);
});

test('weir route explains lines, with the content where it is asked for, here', () => {
  const run = (args, line) =>
    JSON.parse(execFileSync(weir, ['route', '--config', `${folder}/weir.yaml`, ...args], { input: JSON.stringify(line), env: { ...process.env, ...env } }).toString());
  const quiet = run([], shapes['/v1/chat/completions']);
  assert.equal(quiet.rule, 'home');
  assert.ok(!JSON.stringify(quiet).includes('5555'));
  const { predicted } = run(['--tags', 'cheap'], { ...plain, max_tokens: 100 });
  assert.deepEqual(predicted.map((p) => p.target), ['fair', 'dear', 'slow']);
  assert.ok(predicted[0].cost_usd >= 100 * 3e-6 && predicted[0].cost_usd < 100 * 3e-6 + 40e-6);
  const told = run(['--content', '--shape', 'anthropic'], shapes['/v1/messages']);
  assert.equal(told.findings.find((f) => f.type === 'CREDIT_CARD').text, '5555 3412 4444 1115');
});

test('with keys, explaining needs the admin role', async () => {
  const g = await Gateway.start(config.replace('providers:', 'auth: keys\nproviders:'), { env });
  const key = (...args) => createKey(g.folder, ...args);
  const ask = (k) => g.post('/weir/explain', plain, { authorization: `Bearer ${k}` });
  try {
    const user = key('--name', 'u'), admin = key('--name', 'a', '--admin');
    for (let i = 0; i < 100 && (await ask(user)).status === 401; i++) await new Promise((done) => setTimeout(done, 100));
    assert.equal((await ask(user)).status, 403);
    const { status, body } = await ask(admin);
    assert.equal(status, 200);
    assert.equal(body.facts.key, 'a');
  } finally {
    await g.stop();
  }
});

test('weir replay says what other rules would have changed, and who would leak', async () => {
  const g = await Gateway.start(config, { env });
  const replay = (rules, ...args) => {
    const file = `${g.folder}/new.yaml`;
    writeFileSync(file, config.replace(/rules:\n[^]*/, `rules:\n${rules}`));
    const r = spawnSync(weir, ['replay', '--policy', file, '--json', '--state', `sqlite:${g.state}`, ...args], { env: { ...process.env, ...env } });
    return { code: r.status, error: r.stderr.toString(), ...(r.stdout.length ? JSON.parse(r.stdout) : {}) };
  };
  try {
    for (let i = 0; i < 5; i++) await g.chat('auto', 'hello', { stream: true }, { 'x-weir-tags': 'good' }); // to dear, outside
    for (let i = 0; i < 3; i++) await g.chat('auto', secret, { max_tokens: 2 }); // stays
    await g.chat('auto', 'hello', { max_tokens: 2 }, { 'x-weir-boundary': 'local' });
    await g.chat('fair', 'hello'); // by its name: the rules do not matter
    let r = replay('      - {name: fairly, use: [fair]}\n');
    assert.equal(r.code, 1, r.error);
    assert.deepEqual([r.requests, r.decided, r.undecided, r.leaks, r.leaking.length], [10, 10, 0, 3, 3]);
    assert.equal(r.before.inside, 4);
    assert.equal(r.after.inside, 0);
    assert.equal(r.refused, 1, 'who asked to stay inside has nobody there');
    const tokens = { input: 50, output: 400 };
    const usd = (price) => (tokens.input * price[0] + tokens.output * price[1]) / 1e6;
    assert.ok(Math.abs(r.before.cost_usd - 5 * usd([10, 30]) - usd([1, 3])) < 1e-9);
    assert.ok(r.after.cost_usd < r.before.cost_usd / 2 && r.after.cost_usd > 6 * usd([1, 3]) - 1e-9);
    assert.ok(r.changes.some((c) => c.from === 'good -> dear' && c.to === 'fairly -> fair' && c.count === 5));
    // The same request by the same rules changes nothing but what only tags had told.
    r = replay('      - {name: home, when: {sensitive: true}, use: [house], boundary: local}\n      - {name: good, use: {cheapest: [dear, slow]}}\n');
    assert.equal(r.code, 0, r.error);
    assert.equal(r.leaks, 0);
    r = replay('      - {name: tagged, when: {tag: x}, use: [dear]}\n      - {name: home, use: [house]}\n');
    assert.equal(r.undecided, 9, 'tags are not in the ledger');
    assert.equal(replay('      - {name: home, use: [nobody]}\n').code, 2);
    assert.equal(replay('      - {name: home, use: [house]}\n', '--since', '2035-01-01').requests, 0);
    // Answers asked for whole have no time to their first token. They counted after, where a rule moved them, and not before.
    const times = () => g.audit('ledger').filter((row) => row.first_token_ms !== null);
    const known = times().length, slowly = '      - {name: home, when: {sensitive: true}, use: [house], boundary: local}\n      - {name: slowly, use: [slow]}\n';
    await g.chat('slow', 'hello', { stream: true });
    const first = (side) => side.first_token_ms;
    r = replay(slowly);
    for (let i = 0; i < 6; i++) await g.chat('fair', 'hello'); // by its name: it stays
    for (let i = 0; i < 6; i++) await g.chat('auto', 'hello', {}, { 'x-weir-tags': 'good' });
    assert.equal(times().length, known + 1);
    const more = replay(slowly);
    assert.deepEqual([first(more.before), first(more.after)], [first(r.before), first(r.after)]);
  } finally {
    await g.stop();
  }
});

test('weir replay judges what was kept anew: by facts that no rule had asked for, and for leaks', async () => {
  const open = (rules) => config.replace('providers:', 'retention: {content: 1d}\nproviders:').replace(/rules:\n[^]*/, `rules:\n${rules}`);
  const g = await Gateway.start(open('      - {name: out, use: [dear]}\n'), { env });
  try {
    const ask = (input, more, headers) => g.post('/v1/responses', { model: 'auto', input, ...more }, headers);
    const first = await ask('Bitte übersetze das Wort Haus in eine andere Sprache, danke.', {}, { 'x-request-id': 'mine' });
    await ask('And the word garden?', { previous_response_id: first.body.id });
    await ask(secret);
    await ask(secret, { store: false });
    await g.chat('auto', 'hello');
    const file = `${g.folder}/new.yaml`;
    writeFileSync(file, open('      - {name: german, when: {language: de}, use: [fair]}\n      - {name: out, use: [dear]}\n'));
    const args = ['replay', '--policy', file, '--state', `sqlite:${g.state}`];
    const r = JSON.parse(spawnSync(weir, [...args, '--json'], { env: { ...process.env, ...env } }).stdout.toString());
    assert.deepEqual([r.requests, r.with_content, r.decided, r.undecided], [5, 3, 3, 2], JSON.stringify(r));
    assert.deepEqual(r.changes.filter((c) => c.to === 'german -> fair').map((c) => c.count), [1]);
    assert.equal(r.leaks, 1, 'the rule never looked, the replay does');
    assert.match(spawnSync(weir, args, { env: { ...process.env, ...env } }).stdout.toString(), /by their content +3/);
    assert.ok(!JSON.stringify(r).includes('5555'), 'content is never printed');
  } finally {
    await g.stop();
  }
});

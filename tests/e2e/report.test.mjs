// weir report: sums of the ledger that add up.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { Gateway, makeFolder, makeModel, weir } from './lib/gateway.mjs';
import { Cloud } from './lib/cloud.mjs';

test('the ledger is summed by day, key, team, model and route, and what runs inside is priced', async () => {
  const cloud = await Cloud.start({ usage: { input: 100, output: 50 } });
  const folder = makeFolder();
  const run = (...args) => execFileSync(weir, [...args, '--state', `sqlite:${folder}/weir.db`], { stdio: ['ignore', 'pipe', 'pipe'] }).toString();
  const make = (name, team) => ({ authorization: `Bearer ${run('keys', 'create', '--name', name, '--team', team).trim()}` });
  const ana = make('ana', 'blue');
  const bo = make('bo', 'red');
  const g = await Gateway.start(
    `auth: keys
providers: {cloud: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${KEY}", retries: 0}}
models:
  - {name: tiny, file: ${makeModel(folder)}, context: 512}
  - {name: big, provider: cloud, price: {input: 10, output: 20}}
routes: [{name: auto, rules: [{name: out, use: [big]}]}]
`,
    { folder, env: { KEY: 'x' } },
  );
  try {
    for (const [model, who] of [['auto', ana], ['big', ana], ['tiny', bo]]) assert.equal((await g.chat(model, 'hello', { max_tokens: 5 }, who)).status, 200);
    cloud.behaviour = { mode: 'status', status: 500 };
    assert.equal((await g.chat('big', 'hello', {}, bo)).status, 500);
    const report = (...args) =>
      execFileSync(weir, ['report', '--json', '--config', g.config, ...args], { env: { ...process.env, KEY: 'x' } }).toString().split('\n').filter(Boolean).map((line) => JSON.parse(line));
    const [day, ...none] = report();
    assert.equal(none.length, 0);
    assert.equal(day.day, new Date().toISOString().slice(0, 10));
    assert.deepEqual([day.requests, day.failed, day.inside], [4, 1, 1]);
    assert.equal(day.cost_usd, 0.004); // two answers of 100 x 10 + 50 x 20 micro-dollars
    assert.deepEqual(report('--by', 'team').map((t) => [t.team, t.requests, t.cost_usd]), [['blue', 2, 0.004], ['red', 2, 0]]);
    assert.match(report('--by', 'key')[0].key, /^[0-9A-Za-z]{12} ana$/);
    const models = report('--by', 'model', '--instead', 'big');
    assert.deepEqual(models.map((m) => m.model), ['big', 'tiny', '']);
    assert.equal(models[0].instead_usd, 0);
    assert.ok(Math.abs(models[1].instead_usd - (models[1].input_tokens * 10 + models[1].output_tokens * 20) / 1e6) < 1e-9);
    assert.deepEqual(report('--by', 'route').map((m) => [m.route, m.requests]).sort(), [['auto', 1], ['big', 2], ['tiny', 1]]);
    assert.equal(report('--since', '2099-01-01').length, 0);
    const table = run('report', '--by', 'team');
    assert.match(table, /blue +2 +0 +0 +200 +100 +0\.0040/);
    assert.match(table, /total +4 +1 +1/);
    for (const bad of [['--by', 'colour'], ['--instead', 'nothing', '--config', g.config], ['extra']])
      assert.throws(() => execFileSync(weir, ['report', ...bad], { env: { ...process.env, KEY: 'x' }, stdio: 'pipe' }), (e) => e.status === 2, bad.join(' '));
  } finally {
    await g.stop();
    cloud.server.close();
  }
});

// weir advise: what the ledger measured, priced both ways.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Gateway, makeFolder, makeModel, weir } from './lib/gateway.mjs';
import { Cloud } from './lib/cloud.mjs';

const run = (...args) => spawnSync(weir, ['advise', ...args], { encoding: 'utf8', env: { ...process.env, KEY: 'x' } });

test('advise: local, cloud or hybrid, from measured requests and stated assumptions', async (t) => {
  const cloud = await Cloud.start({ usage: { input: 1000, output: 500 } });
  const folder = makeFolder();
  const g = await Gateway.start(
    `providers: {cloud: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${KEY}", retries: 0}}
models:
  - {name: tiny, file: ${makeModel(folder)}, context: 512}
  - {name: big, provider: cloud, price: {input: 10, output: 20}}
  - {name: small, provider: cloud, price: {input: 1, output: 2}}
routes:
  - name: auto
    rules:
      - {name: stays, when: {sensitive: true}, use: [tiny], boundary: local}
      - {name: code, when: {task: code}, use: [tiny]}
      - {name: out, use: [big]}
`,
    { folder, env: { KEY: 'x' } },
  );
  const advise = (...args) => {
    const { status, stdout, stderr } = run('--json', '--config', g.config, '--least', '5', ...args);
    assert.equal(status, 0, stderr);
    return JSON.parse(stdout);
  };
  try {
    await t.test('says so where it knows nothing', () => {
      const nothing = advise();
      assert.deepEqual([nothing.advice, nothing.kinds.length], ['unknown', 0]);
      assert.match(run('--config', g.config).stdout, /unknown: the ledger has no answered requests/);
    });
    for (let i = 0; i < 6; i++) {
      assert.equal((await g.chat('auto', `Tell me a story about river number ${i}`)).status, 200);
      assert.equal((await g.chat('big', 'Tell me a story')).status, 200);
      assert.equal((await g.chat('auto', 'Summarise: customer IBAN DE89 3704 0044 0532 0130 01 asked for a refund', { max_tokens: 20 })).status, 200);
    }
    await t.test('measures', () => {
      const seen = advise('--volume', '1000');
      assert.equal(seen.kinds.reduce((n, k) => n + k.requests, 0), 18);
      assert.deepEqual([seen.measured.local, seen.measured.cloud, seen.measured.input_usd_per_million, seen.measured.output_usd_per_million], ['tiny', 'big', 10, 20]);
      assert.ok(seen.measured.decode_tps > 1, JSON.stringify(seen.measured));
      const must = seen.kinds.find((k) => k.must_stay > 0);
      assert.deepEqual([must.must_stay, must.inside, must.better], [6, 6, 'local']);
      const out = seen.kinds.filter((k) => !k.must_stay);
      for (const k of out) assert.ok(Math.abs(k.outside_usd_each - 0.02) < 1e-9, JSON.stringify(k)); // 1000 x 10 + 500 x 20 micro-dollars
      assert.ok(Math.abs(seen.usd_a_month.as_it_is - (0.02 * 12 * 1000) / 18) < 1e-6);
    });
    await t.test('turns with the assumptions', () => {
      const speed = ['--decode', '50', '--prefill', '1000', '--volume', '100000'];
      const cheap = advise(...speed, '--hardware', '500');
      assert.equal(cheap.advice, 'local');
      // 11 s of a request that is answered here instead, 250 W more than idle, 0.30 USD/kWh.
      const here = (250 / 1000) * (11 / 3600) * 0.3;
      assert.ok(Math.abs(cheap.kinds.find((k) => k.asked_for === 'big').here_usd_each - here) < 1e-9);
      assert.match(cheap.break_even.date, /^\d{4}-\d\d-\d\d$/);
      assert.ok(cheap.break_even.months < 1 && cheap.break_even.requests_a_month > 0);
      assert.ok(cheap.to_change.some((s) => /^route auto, .*use: \[tiny, big\]/.test(s)), cheap.to_change.join('\n'));
      assert.ok(cheap.to_change.some((s) => /^clients ask for big by name/.test(s)));
      const dear = advise(...speed, '--kwh', '100');
      assert.equal(dear.advice, 'hybrid'); // some must stay
      assert.equal(dear.break_even.date, null);
      const table = run('--config', g.config, '--least', '5', ...speed).stdout;
      assert.match(table, /a machine pays from \d+ requests a month on/);
      assert.match(table, /assumed: a machine for 2000 USD over 36 months, 300 W at work/);
    });
    await t.test('looks at quality where it was graded', () => {
      const graded = join(folder, 'graded.jsonl');
      writeFileSync(graded, Array.from({ length: 40 }, (_, i) => JSON.stringify({ prompt: 'p', scores: { tiny: i % 2, big: 1 } }) + '\n').join(''));
      const seen = advise('--quality', graded, '--volume', '100000', '--decode', '50', '--prefill', '1000');
      assert.deepEqual([seen.measured.quality_local, seen.measured.quality_cloud], [0.5, 1]);
      assert.equal(seen.advice, 'hybrid');
      assert.ok(seen.kinds.filter((k) => !k.must_stay).every((k) => k.better === 'cloud' && /not as good/.test(k.why)));
    });
    await t.test('and says what is wrong', () => {
      for (const bad of [['--price', 'x'], ['--hardware', '-1'], ['--load', '0'], ['--cloud', 'nobody'], ['--quality', '/nowhere'], ['--since', 'soon'], ['--watts', '10'], ['more']]) {
        const { status, stderr } = run('--config', g.config, ...bad);
        assert.equal(status, 2, bad.join(' '));
        assert.match(stderr, /^weir: /);
      }
      assert.equal(run('--state', 'sqlite:/nowhere/weir.db').status, 1);
      const few = run('--json', '--config', g.config);
      assert.ok(JSON.parse(few.stdout).kinds.some((k) => k.better === 'unknown' && k.why === 'too few requests to say'));
    });
  } finally {
    await g.stop();
    cloud.server.close();
  }
});

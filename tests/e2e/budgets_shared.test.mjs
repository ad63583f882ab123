// Budgets and limits that several gateways keep to together, on one PostgreSQL.
import { after, test } from 'node:test';
import assert from 'node:assert/strict';
import { accepted, ask, cli, cloud, makeKey, start, until, usage, used } from './lib/budgets.mjs';
import { makeFolder, sleep } from './lib/gateway.mjs';
import { Postgres } from './lib/postgres.mjs';

after(() => cloud.server.close());

test('two gateways with one PostgreSQL know of each other what was spent', async (t) => {
  const postgres = Postgres.start();
  if (!postgres) return t.skip('no PostgreSQL is installed');
  const gateways = [];
  try {
    for (let i = 0; i < 2; i++) gateways.push(await start({ state: postgres.url }));
    const [a, b] = gateways;
    const key = makeKey(a, '--team', 'blue');
    cli(a, 'teams', 'create', 'blue', '--budget', '1.00/month');
    await Promise.all([accepted(a, key), accepted(b, key)]);
    const knows = async (g) => (await g.get('/metrics', key.headers)).body.includes('weir_budget_limit_usd{kind="team",name="blue",period="month"} 1');
    await until(async () => (await knows(a)) && (await knows(b)));
    // By turns, each sees what the other spent: never more than there is, with a second between.
    for (let i = 0; i < 20; i++) assert.equal((await ask(a, key)).status, 200);
    const spent = async (g) => Number(/weir_budget_spent_usd\{kind="team",name="blue",period="month"\} (\S+)/.exec((await g.get('/metrics', key.headers)).body)?.[1]);
    await until(async () => Math.abs((await spent(b)) - 0.4) < 1e-9, 20000);
    // Both at once, as fast as they can, until the money is gone.
    const burn = async (g) => {
      let n = 0;
      for (let refused = 0; refused < 5; )
        if ((await ask(g, key)).status === 200) n++;
        else refused++, await sleep(1000);
      return n;
    };
    const [na, nb] = await Promise.all([burn(a), burn(b)]);
    const total = (20 + na + nb) * 0.02;
    const recorded = used(a, key, 'month');
    assert.ok(Math.abs(recorded - total) < 1e-9, `recorded ${recorded}, was ${total}`);
    t.diagnostic(`1.00 USD, spent ${total.toFixed(2)} by two gateways at once`);
    // 3 cents are reserved for each request, so that less than that may be left over.
    assert.ok(total <= 1 + 1e-9 && total > 1 - 0.03 - 1e-9, `spent ${total}`);
    // One is killed: the other, and it itself when it is back, still know.
    b.process.kill('SIGKILL');
    await b.exited;
    const again = await start({ state: postgres.url, folder: b.folder });
    gateways.push(again);
    assert.equal((await ask(again, key)).status, 429);
    assert.equal((await ask(a, key)).status, 429);
  } finally {
    for (const g of gateways) if (g.process.exitCode === null && g.process.signalCode === null) await g.stop();
    postgres.stop();
  }
});

test('a stream takes what another gateway holds of a budget before it is cut off', async (t) => {
  const postgres = Postgres.start();
  if (!postgres) return t.skip('no PostgreSQL is installed');
  const gateways = [];
  try {
    for (let i = 0; i < 2; i++) gateways.push(await start({ state: postgres.url }));
    const [a, b] = gateways;
    const key = makeKey(a, '--budget', '6/day');
    await Promise.all([accepted(a, key), accepted(b, key)]);
    for (const g of gateways) assert.equal((await ask(g, key)).status, 200);
    cloud.behaviour = {
      text: { *[Symbol.iterator]() { for (let i = 0; i < 1e6; i++) yield `a word and another, number ${i} `; } },
      streams: true, gap: 5,
    };
    const cut = await ask(a, key, 'big', { stream: true, max_tokens: undefined });
    assert.match(cut.body, /its answer is cut off/);
    const spent = used(a, key);
    t.diagnostic(`6.00 USD, spent ${spent.toFixed(2)} by one stream`);
    assert.ok(spent > 5.7 && spent < 6.5, `spent ${spent}`);
  } finally {
    cloud.behaviour = { usage };
    for (const g of gateways) await g.stop();
    postgres.stop();
  }
});

test('each of two gateways let through all of what a key may ask in a minute', async (t) => {
  const postgres = Postgres.start();
  if (!postgres) return t.skip('no PostgreSQL is installed');
  const gateways = [];
  try {
    for (let i = 0; i < 2; i++) gateways.push(await start({ state: postgres.url }));
    const [a, b] = gateways;
    const key = makeKey(a, '--requests', '20'), moved = makeKey(a, '--requests', '20'), single = makeKey(a, '--parallel', '1');
    for (const k of [key, moved, single]) await Promise.all([accepted(a, k), accepted(b, k)]);
    await sleep(2500); // a beat: each knows that the other is there
    // As fast as they can, for so long.
    const burst = async (g, k, ms) => {
      let n = 0;
      for (const end = Date.now() + ms; Date.now() < end; ) {
        const r = await ask(g, k);
        assert.equal(r.headers.get('x-ratelimit-limit-requests'), '20');
        if (r.status === 200) n++;
        else await sleep(50);
      }
      return n;
    };
    const began = Date.now();
    const [na, nb] = await Promise.all([burst(a, key, 8000), burst(b, key, 8000)]);
    const most = 20 * (1 + (Date.now() - began) / 60000) + 2;
    t.diagnostic(`20 requests a minute: ${na} and ${nb} in 8 s`);
    assert.ok(na + nb <= most && Math.min(na, nb) >= 10, `${na} and ${nb} of ${most}`);
    // Where only one is asked it has all of it, once that is known.
    const alone = await burst(a, moved, 9000);
    assert.ok(alone >= 20 && alone <= 24, `${alone} alone`);
    // Less than one for each is one for each.
    for (const g of gateways) assert.equal((await ask(g, single)).status, 200);
    // One ends: the other has all of it.
    await b.stop();
    await sleep(2500);
    const rest = await burst(a, key, 2000);
    assert.ok(rest >= 10, `${rest} more`);
  } finally {
    for (const g of gateways) if (g.process.exitCode === null && g.process.signalCode === null) await g.stop();
    postgres.stop();
  }
});

// Each request costs 2 cents. The cloud counts them, so that what a killed gateway could not record is seen, too.
test('three gateways under a storm never spend more than one budget, also when one of them is killed', async (t) => {
  const postgres = Postgres.start();
  if (!postgres) return t.skip('no PostgreSQL is installed');
  const gateways = [];
  try {
    for (let i = 0; i < 3; i++) gateways.push(await start({ state: postgres.url }));
    const key = makeKey(gateways[0], '--team', 'storm');
    cli(gateways[0], 'teams', 'create', 'storm', '--budget', '3.00/month');
    await Promise.all(gateways.map((g) => accepted(g, key)));
    const metric = async (g, name) => Number(new RegExp(`${name}\\{kind="team",name="storm"[^}]*\\} (\\S+)`).exec((await g.get('/metrics', key.headers)).body)?.[1]);
    for (const g of gateways) await until(async () => (await metric(g, 'weir_budget_limit_usd')) === 3);
    cloud.behaviour = { usage, delay: 30 };
    const sent = cloud.requests.length;
    const victim = gateways[2];
    let underWay = 0; // at the victim, when it is killed
    let lost;
    let answered = 0;
    const one = async (g) => {
      if (g === victim) underWay++;
      try {
        return (await ask(g, key)).status;
      } catch {
        return 0; // it was killed
      } finally {
        if (g === victim) underWay--;
      }
    };
    const worker = async (g) => {
      for (let refused = 0; refused < 3; ) {
        const status = await one(g);
        if (status === 0) return;
        if (status === 200) answered++;
        else assert.equal(status, 429), refused++, await sleep(300);
        if (answered === 60 && lost === undefined) {
          lost = underWay;
          victim.process.kill('SIGKILL');
        }
      }
    };
    await Promise.all(gateways.flatMap((g) => Array.from({ length: 16 }, () => worker(g))));
    await victim.exited;
    const [a, b] = gateways;
    assert.ok(lost !== undefined, 'one was killed half-way');
    const mid = used(a, key, 'month');
    assert.ok(mid <= 3 + 1e-9, `recorded ${mid}`);
    // Its lease lapses some ten seconds after it was last seen; then nothing is held back.
    await until(async () => {
      while ((await ask(a, key)).status === 200 || (await ask(b, key)).status === 200);
      return used(a, key, 'month') > 3 - 0.03 - 1e-9;
    }, 60000);
    const recorded = used(a, key, 'month');
    const real = (cloud.requests.length - sent) * 0.02;
    t.diagnostic(`3.00 USD by three gateways: ${recorded.toFixed(2)} recorded, ${real.toFixed(2)} asked of the cloud, ${lost} under way at the one that was killed`);
    assert.ok(recorded <= 3 + 1e-9, `recorded ${recorded}`);
    assert.ok(real <= 3 + 0.02 * lost + 1e-9, `asked of the cloud ${real}`);
    // Drained, a gateway gives back what it holds at once.
    cli(a, 'teams', 'set', 'storm', '--budget', '4.00/month');
    await until(async () => (await ask(b, key)).status === 200);
    assert.ok((await metric(b, 'weir_budget_leased_usd')) > 0);
    await b.stop();
    let more = 1;
    for (; (await ask(a, key)).status === 200; ) more++;
    assert.ok(recorded + more * 0.02 > 4 - 0.03 - 1e-9 && recorded + more * 0.02 <= 4 + 1e-9, `${recorded} and ${more} requests`);
  } finally {
    cloud.behaviour = { usage };
    for (const g of gateways) if (g.process.exitCode === null && g.process.signalCode === null) await g.stop();
    postgres.stop();
  }
});

test('a state that goes away: what a gateway holds is spent for some seconds, then refused, and all of it is recorded', async (t) => {
  const postgres = Postgres.start();
  if (!postgres) return t.skip('no PostgreSQL is installed');
  const g = await start({ state: postgres.url, more: `journal: ${makeFolder()}/journal\n` });
  let up = true;
  try {
    const key = makeKey(g, '--budget', '5');
    await accepted(g, key);
    await until(async () => (await ask(g, key)).status === 200);
    await until(() => used(g, key, 'total') > 0.019);
    let answered = 1;
    postgres.halt();
    up = false;
    assert.equal((await ask(g, key)).status, 200, 'nobody need be asked');
    let refused;
    await until(async () => {
      const r = await ask(g, key);
      if (r.status === 200) answered++;
      else refused = r;
      return refused;
    });
    assert.equal(refused.status, 429);
    assert.match(refused.body.error.message, /not known for now, because the state does not answer/);
    assert.equal(refused.headers.get('retry-after'), '1');
    assert.equal((await ask(g, key, 'tiny', { max_tokens: 2 })).status, 200, 'what runs here goes on');
    postgres.go();
    up = true;
    await until(async () => (await ask(g, key)).status === 200, 60000);
    const total = (answered + 2) * 0.02;
    await until(() => Math.abs(used(g, key, 'total') - total) < 1e-9, 60000);
  } finally {
    if (!up) postgres.go();
    await g.stop();
    postgres.stop();
  }
});

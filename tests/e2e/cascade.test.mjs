// A cascade: a local model answers first, and where its own tokens tell that it is unsure a stronger one is asked. What
// the local model knows, and how sure it is, is a table (lib/chain.mjs); the stronger one is a cloud on loopback.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, beforeEach, test } from 'node:test';
import { Cloud } from './lib/cloud.mjs';
import { chainModel, END } from './lib/chain.mjs';
import { Gateway, makeFolder, sleep, streamedText, weir } from './lib/gateway.mjs';

// Narnia is known, Gondor guessed at; of Laputa it begins an answer that has no end.
const next = {
  Narnia: [['Cair', 0.96], ['Pevensie', 0.04]],
  Gondor: [['Cair', 0.3], ['Minas', 0.4], ['Pevensie', 0.3]],
  Laputa: [['la', 0.5], ['Minas', 0.5]],
  la: [['la', 0.5], ['li', 0.5]],
  li: [['la', 1]],
  Cair: [[' Paravel', 0.98], [END, 0.02]],
  Minas: [[' Tirith', 0.98], [END, 0.02]],
  ' Paravel': [[END, 1]],
  '"Minas"': [['}', 1]],
};
const SURE = 0.2; // the threshold
let cloud, other, gateway, folder;

before(async () => {
  cloud = await Cloud.start();
  other = await Cloud.start({ text: ['the other'] });
  folder = makeFolder();
  writeFileSync(`${folder}/chain.gguf`, chainModel(next));
  // Decided by one signal alone.
  const calibration = (signal, weight, usual) =>
    JSON.stringify({ cascade: { tokens: 4, threshold: 0.5, constant: 0, weights: { mean: 0, least: 0, entropy: 0, [signal]: weight }, usual: { [signal]: usual } } });
  writeFileSync(`${folder}/again.json`, calibration('again', 1, 0.7));
  writeFileSync(`${folder}/prompt.json`, calibration('prompt', 0.1, 0));
  gateway = await Gateway.start(
    `providers:
  out: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${SIM_KEY}", retries: 0, breaker: off, first_byte_timeout: 2s}
  two: {kind: anthropic, base_url: "${other.url}", api_key: "\${SIM_KEY}", retries: 0, breaker: off}
models:
  - {name: house, file: ${folder}/chain.gguf, slots: 2}
  - {name: big, file: ${folder}/chain.gguf, context: 128}
  - {name: single, file: ${folder}/chain.gguf, slots: 1}
  - {name: strong, provider: out, model: s, price: {input: 1, output: 1}}
  - {name: second, provider: two, model: t}
cache: {ttl: 5m}
routes:
  - {name: auto, rules: [{name: unsure, use: [house, strong], cascade: {threshold: ${SURE}, tokens: 8}}]}
  - {name: three, rules: [{use: [house, strong, second], cascade: {threshold: ${SURE}, tokens: 8}}]}
  - {name: masks, rules: [{use: [house, strong], redact: true, cascade: {threshold: ${SURE}}}]}
  - {name: inside, rules: [{use: [house, big], boundary: local, cascade: {threshold: ${SURE}}}]}
  - {name: again, rules: [{use: [house, strong], cascade: {calibration: ${folder}/again.json}}]}
  - {name: alone, rules: [{use: [single, strong], cascade: {calibration: ${folder}/again.json}}]}
  - {name: reads, rules: [{use: [house, strong], cascade: {calibration: ${folder}/prompt.json}}]}
  - {name: asks, rules: [{name: kept, use: [house, strong], cache: true, cascade: {threshold: ${SURE}}}]}
`,
    { folder, env: { SIM_KEY: 'sk-simulated' } },
  );
});
after(async () => {
  await gateway?.stop();
  await cloud?.stop();
  await other?.stop();
});
beforeEach(() => {
  cloud.behaviour = { text: ['from', ' the cloud'] };
  cloud.requests.length = 0;
  other.requests.length = 0;
});

async function houseUp() {
  for (let i = 0; ; i++) {
    const r = await gateway.chat('house', 'Narnia', greedy);
    if (r.status === 200) return;
    if (i > 200) throw new Error(JSON.stringify(r.body));
    await sleep(50);
  }
}

const greedy = { temperature: 0, max_tokens: 40 };
const head = (r) => [r.headers.get('x-weir-cascade'), r.headers.get('x-weir-model')];
const text = (r) => r.body.choices?.[0].message.content ?? streamedText(r.body);
const last = () => gateway.audit('ledger').at(-1);
const attempts = () => last().attempts;

for (const stream of [false, true]) {
  const how = stream ? 'streamed' : 'whole';
  const ask = (content, route = 'auto', more = {}) => gateway.chat(route, content, { ...greedy, stream, ...more });

  test(`sure: the local answer, all of it, and nobody else hears of the question, ${how}`, async () => {
    const r = await ask('what is the castle of Narnia');
    assert.equal(r.status, 200);
    assert.equal(text(r), 'Cair Paravel');
    assert.deepEqual(head(r), ['kept', 'house']);
    // Three tokens, of which the last is the end that nothing else can follow.
    assert.equal(r.headers.get('x-weir-doubt'), (1 - Math.exp((Math.log(0.96) + Math.log(0.98)) / 3)).toFixed(3));
    assert.equal(cloud.requests.length, 0);
    assert.equal(last().cost_nano_usd, 0);
    assert.deepEqual(attempts().map((a) => [a.target, a.outcome]), [['house', 'ok']]);
    // What nobody weighs is not asked for.
    assert.deepEqual(Object.keys(attempts()[0].measured).sort(), ['least_logprob', 'mean_entropy', 'mean_logprob', 'tokens']);
  });

  test(`a second answer is drawn where its agreement is weighed, and the client hears nothing of it, ${how}`, async () => {
    const seen = new Set();
    for (let i = 0; i < 12; i++) {
      const word = i % 2 ? 'Narnia' : 'Gondor';
      const r = await ask(`what is the castle of ${word}`, 'again');
      const { agreement } = attempts()[0].measured;
      assert.ok([0, 0.5, 2 / 3, 1].some((x) => Math.abs(agreement - x) < 1e-9), `${agreement}`);
      const kept = 1 - agreement < 0.5;
      assert.deepEqual(head(r), kept ? ['kept', 'house'] : ['escalated', 'strong']);
      assert.equal(text(r), kept ? (i % 2 ? 'Cair Paravel' : 'Minas Tirith') : 'from the cloud');
      assert.ok(Math.abs(attempts()[0].doubt - (1 - agreement)) < 1e-9);
      if (kept) assert.equal(last().output_tokens, 3); // of the answer alone
      seen.add(word + kept);
    }
    assert.ok(seen.has('Narniatrue') && seen.has('Gondorfalse'), [...seen].join());
  });

  test(`no slot is free for a second answer: as usual, ${how}`, async () => {
    const r = await ask('what is the castle of Narnia', 'alone');
    assert.ok(!('agreement' in attempts()[0].measured));
    assert.deepEqual([attempts()[0].doubt, ...head(r)], [0.7, 'escalated', 'strong']);
  });

  test(`a prompt that surprises the local model, ${how}`, async () => {
    for (let i = 0; i < 3; i++) { // the second time its state is at hand, and it is measured all the same
      const known = await ask('Cair Paravel', 'reads');
      assert.deepEqual(head(known), ['kept', 'house']);
      assert.ok(Math.abs(attempts()[0].measured.prompt_logprob - Math.log(0.98)) < 1e-3, JSON.stringify(attempts()));
      const strange = await ask('what is the castle of Narnia', 'reads');
      assert.deepEqual(head(strange), ['escalated', 'strong']);
      assert.ok(attempts()[0].measured.prompt_logprob < -20);
    }
  });

  test(`unsure: the stronger one's answer, and not a word of the local one, ${how}`, async () => {
    const r = await ask('what is the castle of Gondor');
    assert.equal(text(r), 'from the cloud');
    assert.ok(!JSON.stringify(r.body).includes('Minas'));
    assert.deepEqual(head(r), ['escalated', 'strong']);
    assert.equal(cloud.requests.length, 1);
    const [local, strong] = attempts();
    assert.deepEqual([local.target, local.outcome, strong.target, strong.outcome], ['house', 'doubted', 'strong', 'ok']);
    assert.ok(local.doubt >= SURE && local.measured.tokens >= 1 && local.measured.tokens <= 8, JSON.stringify(local));
    assert.ok(Math.abs(local.measured.least_logprob - Math.log(0.4)) < 1e-3);
    assert.equal(last().cost_nano_usd, 9000);
    assert.equal(last().outcome, 'ok');
    assert.equal(gateway.audit('egress').at(-1).rule, 'unsure');
  });

  test(`an answer that goes on is judged before its end, ${how}`, async () => {
    const r = await ask('sing of Laputa', 'auto', { max_tokens: 200 });
    assert.equal(text(r), 'from the cloud');
    const [local] = attempts();
    assert.ok(local.measured.tokens <= 8, JSON.stringify(local));
  });

  test(`the stronger one is down: the local answer after all, ${how}`, async () => {
    for (const behaviour of [{ mode: 'status', status: 503 }, { mode: 'status', status: 400 }, { mode: 'reset' }, { mode: 'html' }]) {
      cloud.behaviour = behaviour;
      const r = await ask('what is the castle of Gondor');
      assert.equal(r.status, 200, JSON.stringify(r.body));
      assert.equal(text(r), 'Minas Tirith');
      assert.deepEqual(head(r), ['returned', 'house']);
      assert.deepEqual(attempts().map((a) => [a.target, a.outcome === 'ok']), [['house', true], ['strong', false]]);
      assert.equal(last().outcome, 'ok');
    }
  });

  test(`the stronger one is down while the local answer has only begun, ${how}`, async () => {
    cloud.behaviour = { mode: 'status', status: 500 };
    const r = await ask('sing of Laputa', 'auto', { max_tokens: 100 });
    assert.equal(r.status, 200);
    assert.match(text(r), /^(la|li)+$/);
    assert.ok(text(r).length === 200, `${text(r).length} letters`);
    assert.deepEqual(head(r), ['returned', 'house']);
    assert.equal(last().output_tokens, 100);
  });

  test(`the stronger one says nothing: its time, then the local answer, ${how}`, async () => {
    cloud.behaviour = { mode: 'hang' };
    const r = await ask('what is the castle of Gondor');
    assert.equal(text(r), 'Minas Tirith');
    assert.deepEqual(head(r), ['returned', 'house']);
  });

  test(`the next of several stronger ones, ${how}`, async () => {
    cloud.behaviour = { mode: 'status', status: 503 };
    const r = await ask('what is the castle of Gondor', 'three');
    assert.equal(text(r), 'the other');
    assert.deepEqual(head(r), ['escalated', 'second']);
    assert.deepEqual(attempts().map((a) => a.target), ['house', 'strong', 'second']);
  });

  test(`what is sensitive stays, however unsure the local model is, ${how}`, async () => {
    const r = await ask('my card is 5555 3412 4444 1115, what is the castle of Gondor');
    assert.equal(text(r), 'Minas Tirith');
    assert.equal(r.headers.get('x-weir-cascade'), null);
    assert.equal(cloud.requests.length, 0);
    assert.equal(last().boundary, 'local');
  });

  test(`a client's boundary holds, ${how}`, async () => {
    const r = await gateway.chat('auto', 'what is the castle of Gondor', { ...greedy, stream }, { 'x-weir-boundary': 'local' });
    assert.equal(text(r), 'Minas Tirith');
    assert.equal(cloud.requests.length, 0);
  });

  test(`what leaves is masked where the rule says so, ${how}`, async () => {
    cloud.behaviour = (request, body) => ({ text: [`you wrote ${body.messages[0].content}`] });
    const r = await ask('my mail is anna.b@lipowa-poczta.pl, what is the castle of Gondor', 'masks');
    assert.deepEqual(head(r), ['escalated', 'strong']);
    assert.match(text(r), /you wrote my mail is anna.b@lipowa-poczta.pl/);
    assert.ok(!JSON.stringify(cloud.requests).includes('anna.b'));
  });

  test(`from one embedded model to another, ${how}`, async () => {
    const r = await ask('what is the castle of Gondor', 'inside');
    assert.deepEqual(head(r), ['escalated', 'big']);
    assert.equal(text(r), 'Minas Tirith');
  });
}

test('what is measured is what log-probabilities tell', async () => {
  const r = await gateway.chat('auto', 'what is the castle of Narnia', { ...greedy, logprobs: true, top_logprobs: 2 });
  const told = r.body.choices[0].logprobs.content.map((t) => t.logprob);
  const [local] = attempts();
  // The end is a token, too, though not one of the text; here it is sure.
  assert.equal(local.measured.tokens, told.length + 1);
  assert.ok(Math.abs(local.measured.mean_logprob * local.measured.tokens - told.reduce((a, b) => a + b)) < 1e-3);
  assert.ok(Math.abs(local.measured.least_logprob - Math.min(...told)) < 1e-5);
  const entropy = -(0.96 * Math.log(0.96) + 0.04 * Math.log(0.04)) - (0.98 * Math.log(0.98) + 0.02 * Math.log(0.02));
  assert.ok(Math.abs(local.measured.mean_entropy * 3 - entropy) < 1e-3);
});

test('of several answers the first is judged, and all are there', async () => {
  const sure = await gateway.chat('auto', 'what is the castle of Narnia', { ...greedy, n: 3 });
  assert.deepEqual(sure.body.choices.map((c) => c.message.content), Array(3).fill('Cair Paravel'));
  assert.deepEqual(head(sure), ['kept', 'house']);
  cloud.behaviour = { mode: 'status', status: 500 };
  const unsure = await gateway.chat('auto', 'what is the castle of Gondor', { ...greedy, n: 3 });
  assert.deepEqual(unsure.body.choices.map((c) => c.message.content), Array(3).fill('Minas Tirith'));
  assert.deepEqual(head(unsure), ['returned', 'house']);
});

test('under a grammar what fits is what counts, and what is forced does not', async () => {
  // Of Gondor's three words the grammar leaves one: there is nothing to be unsure of.
  const forced = await gateway.chat('auto', 'what is the castle of Gondor', { ...greedy, grammar: 'root ::= "Minas"' });
  assert.equal(forced.body.choices?.[0].message.content, 'Minas', JSON.stringify(forced.body));
  assert.deepEqual(head(forced), ['kept', 'house']);
  assert.equal(forced.headers.get('x-weir-doubt'), '0.000');
  // Of two it is as unsure as between those two.
  const two = await gateway.chat('auto', 'what is the castle of Gondor', { ...greedy, grammar: 'root ::= "Minas" | "Cair"' });
  assert.ok(Math.abs(attempts()[0].measured.least_logprob - Math.log(0.4 / 0.7)) < 1e-3, JSON.stringify(attempts()));
  assert.deepEqual(head(two), ['escalated', 'strong']);
});

test('tools go with the request, whoever answers it', async () => {
  const tools = [{ type: 'function', function: { name: 'look', parameters: { type: 'object' } } }];
  cloud.behaviour = { text: [], tools: [{ id: 'c1', name: 'look', arguments: ['{"at":', '1}'] }] };
  for (const stream of [false, true]) {
    const r = await gateway.chat('auto', 'what is the castle of Gondor', { ...greedy, tools, stream });
    assert.deepEqual(head(r), ['escalated', 'strong']);
    assert.match(JSON.stringify(r.body), /look/);
    assert.equal(cloud.requests.at(-1).body.tools[0].function.name, 'look');
  }
});

test('each API shape: Responses, Anthropic, Ollama, completions', async () => {
  const shapes = [
    ['/v1/responses', (q) => ({ model: 'auto', input: q, temperature: 0 }), (b) => b.output?.[0].content[0].text],
    ['/v1/messages', (q) => ({ model: 'auto', max_tokens: 20, temperature: 0, messages: [{ role: 'user', content: q }] }), (b) => b.content?.[0].text],
    ['/api/chat', (q) => ({ model: 'auto', options: { temperature: 0 }, messages: [{ role: 'user', content: q }] }), (b) => b.message?.content],
    ['/v1/completions', (q) => ({ model: 'auto', prompt: q, temperature: 0 }), (b) => b.choices?.[0].text],
  ];
  for (const [path, body, read] of shapes) {
    const ask = (q) => gateway.post(path, { ...body(q), stream: false });
    let r = await ask('what is the castle of Narnia');
    assert.equal(read(r.body), 'Cair Paravel', path + JSON.stringify(r.body));
    assert.deepEqual(head(r), ['kept', 'house']);
    if (path === '/v1/completions') continue; // no chat provider continues a bare text
    r = await ask('what is the castle of Gondor');
    assert.equal(read(r.body), 'from the cloud', path + JSON.stringify(r.body));
    assert.deepEqual(head(r), ['escalated', 'strong']);
    const streamed = await gateway.post(path, { ...body('what is the castle of Gondor'), stream: true });
    assert.ok(JSON.stringify(streamed.body).includes('the cloud') && !JSON.stringify(streamed.body).includes('Minas'), path);
    cloud.behaviour = { mode: 'status', status: 500 };
    r = await ask('what is the castle of Gondor');
    assert.equal(read(r.body), 'Minas Tirith', path);
    cloud.behaviour = { text: ['from', ' the cloud'] };
  }
});

test('a client that leaves ends both', async () => {
  const aborted = cloud.aborted;
  cloud.behaviour = { mode: 'hang' };
  const leaving = new AbortController();
  const asked = gateway.chat('auto', 'sing of Laputa', { ...greedy, max_tokens: 200 }, {}, { signal: leaving.signal });
  const left = assert.rejects(asked);
  for (let i = 0; i < 500 && cloud.requests.length === 0; i++) await sleep(20);
  leaving.abort();
  await left;
  for (let i = 0; i < 500 && (cloud.aborted === aborted || last().outcome === null); i++) await sleep(20);
  assert.equal(cloud.aborted, aborted + 1);
  assert.equal(last().outcome, 'client_gone');
  // The slots are free again.
  for (let i = 0; i < 3; i++) assert.equal((await gateway.chat('house', 'Narnia', greedy)).body.choices[0].message.content, 'Cair Paravel');
});

test('an answer that was escalated may be kept by the response cache', async () => {
  const ask = () => gateway.chat('asks', 'what is the castle of Gondor', greedy);
  assert.deepEqual(head(await ask()), ['escalated', 'strong']);
  const r = await ask();
  assert.equal(r.headers.get('x-weir-cache'), 'hit');
  assert.equal(text(r), 'from the cloud');
  assert.equal(cloud.requests.length, 1);
});

test('metrics count it, weir route says it, weir replay decides it again by what was measured', async () => {
  await gateway.chat('auto', 'what is the castle of Narnia', greedy);
  await gateway.chat('auto', 'what is the castle of Gondor', greedy);
  const { body } = await gateway.get('/metrics');
  for (const result of ['kept', 'escalated', 'returned'])
    assert.match(body, new RegExp(`weir_cascade_total\\{route="auto",rule="unsure",result="${result}"\\} [1-9]`));
  const explained = (await gateway.post('/weir/explain', { model: 'auto', messages: [{ role: 'user', content: 'hi' }] })).body;
  assert.deepEqual(explained.cascade, { local: 'house', threshold: SURE, tokens: 8, fitted: false });
  assert.match(explained.reason, /rule unsure: house, and where its doubt is 0.2 or more strong/);
  // By a threshold that nothing reaches all would have been kept; by one of nothing, none.
  const replay = (threshold) => {
    const policy = `${folder}/policy.yaml`;
    const text = readFileSync(gateway.config, 'utf8').replace(`threshold: ${SURE}, tokens: 8`, `threshold: ${threshold}, tokens: 8`);
    writeFileSync(policy, text);
    const args = ['replay', '--policy', policy, '--state', `sqlite:${gateway.state}`, '--json'];
    return JSON.parse(execFileSync(weir, args, { env: { ...process.env, SIM_KEY: 'sk' } }).toString());
  };
  const all = replay(1), none = replay(0);
  const count = (r, to) => r.changes.filter((c) => c.from.startsWith('unsure') && c.to === `unsure -> ${to}`).reduce((n, c) => n + c.count, 0);
  assert.ok(count(all, 'house') > 0 && count(all, 'strong') === 0, JSON.stringify(all));
  assert.ok(count(none, 'strong') > 0 && count(none, 'house') <= none.unmeasured, JSON.stringify(none));
  assert.ok(none.after.cost_usd > all.after.cost_usd);
});

// Kills the workers when the cloud is first asked.
function killing(then) {
  const pids = gateway.workers();
  cloud.behaviour = () => {
    for (const pid of pids.splice(0)) process.kill(pid, 'SIGKILL');
    return then;
  };
}

test('the local worker dies while the stronger one is asked: its answer', async () => {
  for (const stream of [false, true]) {
    killing({ text: ['saved'], delay: 300 });
    const r = await gateway.chat('auto', 'sing of Laputa', { ...greedy, max_tokens: 200, stream });
    assert.equal(text(r), 'saved');
    assert.equal(last().outcome, 'ok');
    await houseUp();
  }
});

test('both fail: one clear error and not half an answer, or the local model once more', async () => {
  for (const stream of [false, true]) {
    killing({ handle: (request, response) => sleep(300).then(() => response.writeHead(500).end('{}')) });
    const r = await gateway.chat('auto', 'sing of Laputa', { ...greedy, max_tokens: 40, stream });
    assert.ok([200, 503].includes(r.status), JSON.stringify(r));
    if (r.status === 200) assert.match(text(r), /^(la|li){40}$/);
    await houseUp();
  }
});

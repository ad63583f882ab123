// A cascade: a local model answers first, and where its own tokens tell that it is unsure a stronger one is asked. What
// the local model knows, and how sure it is, is a table (lib/chain.mjs); the stronger one is a cloud on loopback.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, before, beforeEach, test } from 'node:test';
import { Cloud } from './lib/cloud.mjs';
import { chainModel, END } from './lib/chain.mjs';
import { Gateway, makeFolder, streamedText } from './lib/gateway.mjs';

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
  gateway = await Gateway.start(
    `providers:
  out: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${SIM_KEY}", retries: 0, breaker: off, first_byte_timeout: 2s}
  two: {kind: anthropic, base_url: "${other.url}", api_key: "\${SIM_KEY}", retries: 0, breaker: off}
models:
  - {name: house, file: ${folder}/chain.gguf, slots: 2}
  - {name: big, file: ${folder}/chain.gguf, context: 128}
  - {name: strong, provider: out, model: s, price: {input: 1, output: 1}}
  - {name: second, provider: two, model: t}
routes:
  - {name: auto, rules: [{name: unsure, use: [house, strong], cascade: {threshold: ${SURE}, tokens: 8}}]}
  - {name: three, rules: [{use: [house, strong, second], cascade: {threshold: ${SURE}, tokens: 8}}]}
  - {name: masks, rules: [{use: [house, strong], redact: true, cascade: {threshold: ${SURE}}}]}
  - {name: inside, rules: [{use: [house, big], boundary: local, cascade: {threshold: ${SURE}}}]}
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

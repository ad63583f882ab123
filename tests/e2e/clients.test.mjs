// Every official client against every kind of target: whole, streamed, tools, structured output, images, errors, abort.
// What the provider must receive is looked for in what it did receive.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { bedrockScript } from './lib/bedrock.mjs';
import { clients, png } from './lib/clients.mjs';
import { Cloud } from './lib/cloud.mjs';
import { Gateway, makeFolder, makeModel, sleep } from './lib/gateway.mjs';
import { createKey } from './lib/verbs.mjs';

const kinds = ['openai', 'anthropic', 'gemini', 'ollama', 'bedrock'];
const paths = { openai: '/v1', gemini: '/v1beta' };
const credentials = { accessKey: 'AKIDEXAMPLE', secretKey: 'wJalr/EXAMPLE+KEY', region: 'eu-central-1' };
const available = Object.entries(clients).filter(([, make]) => make);
const missing = Object.entries(clients).filter(([, make]) => !make).map(([name]) => name);
const clouds = {};
const made = {};
let gateway, folder;

before(async () => {
  for (const kind of kinds) clouds[kind] = await Cloud.start();
  folder = makeFolder();
  const key = createKey(folder, '--name', 'clients');
  const own = (kind) => (kind === 'bedrock' ? 'region: eu-central-1, secret_access_key: "${AWS_SECRET}"' : 'api_key: "${SIM_KEY}"');
  gateway = await Gateway.start(
    `auth: keys
on_sensitive: allow
providers:
${kinds.map((kind) => `  ${kind}: {kind: ${kind}, base_url: "${clouds[kind].url}${paths[kind] ?? ''}", ${own(kind)}, retries: 0, breaker: off}`).join('\n')}
models:
  - {name: engine, file: "${makeModel(folder)}", context: 2048, threads: 1}
${kinds.map((kind) => `  - {name: at-${kind}, provider: ${kind}, model: far-1}`).join('\n')}
`,
    { folder, env: { SIM_KEY: 'sk-simulated', AWS_ACCESS_KEY_ID: credentials.accessKey, AWS_SECRET: credentials.secretKey } },
  );
  for (const [name, make] of available) made[name] = make(gateway.url, /weir_\S+/.exec(key.toString())[0]);
});

after(async () => {
  await gateway?.stop();
  for (const cloud of Object.values(clouds)) await cloud.stop();
});

function act(kind, behaviour) {
  clouds[kind].behaviour = kind === 'bedrock' ? { handle: bedrockScript(credentials, behaviour) } : behaviour;
}
const sent = (kind) => clouds[kind].requests.at(-1);
const usage = { input: 12, output: 5 };

test('the official clients are here', { skip: missing.length ? `not installed: ${missing}` : false }, () => {});

for (const [name] of available)
  for (const kind of kinds) {
    const model = `at-${kind}`;
    const hears = `${name} hears ${kind}`;

    for (const stream of [false, true]) {
      const how = stream ? 'streamed' : 'whole';
      test(`${hears}: an answer, ${how}`, async () => {
        act(kind, { text: ['Grüße', ' aus', ' 東京 🗼', ' all'], usage });
        const r = await made[name].ask({ model, text: 'Say "hello"\n\tplease – Ωλ.', stream });
        assert.equal(r.text, 'Grüße aus 東京 🗼 all');
        assert.deepEqual(r.usage, usage);
        assert.deepEqual(r.calls, []);
        const body = JSON.stringify(sent(kind).body);
        assert.ok(body.includes(JSON.stringify('Say "hello"\n\tplease – Ωλ.').slice(1, -1)), body);
        assert.ok(body.includes('Be brief.'), body);
        assert.ok(body.includes('200'), body);
      });

      test(`${hears}: two tool calls and their results, ${how}`, async () => {
        const tools = [
          { id: 'call_a', name: 'weather', arguments: ['{"ci', 'ty":"Kö', 'ln"}'] },
          { id: 'call_b', name: 'weather', arguments: ['{"city":"A\\"b"}'] },
        ];
        act(kind, { text: [], tools, usage });
        const { calls } = await made[name].ask({ model, text: 'What is the weather in Köln?', tools: true, stream });
        assert.deepEqual(calls.map((c) => [c.name, c.input]), [['weather', { city: 'Köln' }], ['weather', { city: 'A"b' }]]);
        const asked = JSON.stringify(sent(kind).body);
        for (const part of ['the weather of a place', '"city"', 'where']) assert.ok(asked.includes(part), `${part} in ${asked}`);
        act(kind, { text: ['It', ' rains.'], usage });
        const r = await made[name].ask({ model, turns: made[name].turns(calls[0], 'rain, 7 °C'), tools: true, stream });
        assert.equal(r.text, 'It rains.');
        const told = JSON.stringify(sent(kind).body);
        assert.ok(told.includes('rain, 7 °C') && told.includes('Köln'), told);
      });

      test(`${hears}: structured output, ${how}`, async () => {
        act(kind, { text: ['{"city":', '"Köln"}'], usage });
        const r = await made[name].ask({ model, text: 'Where?', schema: true, stream });
        assert.deepEqual(JSON.parse(r.text), { city: 'Köln' });
        const asked = JSON.stringify(sent(kind).body);
        assert.ok(asked.includes('city') && asked.includes('where'), `the schema arrives: ${asked}`);
      });
    }

    test(`${hears}: an image`, async () => {
      act(kind, { text: ['A dot.'], usage });
      const r = await made[name].ask({ model, text: 'What is it?', image: true });
      assert.equal(r.text, 'A dot.');
      assert.ok(JSON.stringify(sent(kind).body).includes(png));
    });

    for (const status of [400, 401, 404, 413, 429, 500, 529])
      for (const stream of [false, true])
        test(`${hears}: its ${status}${stream ? ', streamed' : ''}`, async () => {
          act(kind, { mode: 'status', status });
          await assert.rejects(made[name].ask({ model, text: 'hi', stream }), (e) => {
            const fault = made[name].fault(e);
            assert.equal(fault.status, status === 529 && name !== 'anthropic' ? 503 : status, `${e}`);
            assert.equal(fault.name, made[name].names[status], `${e}`);
            if (made[name].types?.[status]) assert.equal(fault.type, made[name].types[status]);
            assert.match(String(e.message), /simulated|at-|provider/);
            return true;
          });
        });

    test(`${hears}: a client that leaves ends the provider's work`, async () => {
      act(kind, { text: Array(2000).fill('word '), gap: 20, usage });
      const before = clouds[kind].aborted;
      const asked = clouds[kind].requests.length;
      const control = new AbortController();
      const answer = assert.rejects(made[name].ask({ model, text: 'hi', stream: true, signal: control.signal }));
      // Whoever leaves before the provider was asked ends no work.
      for (let i = 0; i < 1200 && clouds[kind].requests.length === asked; i++) await sleep(25);
      await sleep(150);
      control.abort();
      await answer;
      for (let i = 0; i < 1200 && clouds[kind].aborted === before; i++) await sleep(25);
      assert.equal(clouds[kind].aborted, before + 1);
    });
  }

for (const [name, make] of available) {
  test(`${name}: no key, no such model`, async () => {
    const wrong = make(gateway.url, 'weir_wrong');
    await assert.rejects(wrong.ask({ model: 'at-openai', text: 'hi' }), (e) => {
      assert.deepEqual([wrong.fault(e).status, wrong.fault(e).name], [401, wrong.names[401]]);
      return true;
    });
    for (const stream of [false, true])
      await assert.rejects(made[name].ask({ model: 'nobody', text: 'hi', stream }), (e) => {
        assert.deepEqual([made[name].fault(e).status, made[name].fault(e).name], [404, made[name].names[404]]);
        return true;
      });
  });

  test(`${name} hears the embedded engine, whole, streamed and left`, async () => {
    for (const stream of [false, true]) {
      const r = await made[name].ask({ model: 'engine', text: 'once upon', stream });
      assert.ok(r.usage.input > 0 && r.usage.output > 0, JSON.stringify(r));
    }
    const control = new AbortController();
    setTimeout(() => control.abort(), 30);
    await made[name].ask({ model: 'engine', text: 'once upon', stream: true, signal: control.signal }).catch(() => {});
  });
}

// Odd but legal requests and answers, each of which once went wrong.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { bedrockScript } from './lib/bedrock.mjs';
import { clients } from './lib/clients.mjs';
import { Cloud } from './lib/cloud.mjs';
import { Gateway } from './lib/gateway.mjs';

const kinds = ['openai', 'anthropic', 'gemini', 'ollama', 'bedrock'];
const paths = { openai: '/v1', gemini: '/v1beta' };
const credentials = { accessKey: 'AKIDEXAMPLE', secretKey: 'wJalr/EXAMPLE+KEY', region: 'eu-central-1' };
const env = { SIM_KEY: 'sk-simulated', AWS_ACCESS_KEY_ID: credentials.accessKey, AWS_SECRET: credentials.secretKey };
const clouds = {};
let gateway;

before(async () => {
  for (const kind of kinds) clouds[kind] = await Cloud.start();
  const own = (kind) => (kind === 'bedrock' ? 'region: eu-central-1, secret_access_key: "${AWS_SECRET}"' : 'api_key: "${SIM_KEY}"');
  gateway = await Gateway.start(
    `on_sensitive: allow
providers:
${kinds.map((kind) => `  ${kind}: {kind: ${kind}, base_url: "${clouds[kind].url}${paths[kind] ?? ''}", ${own(kind)}, retries: 0, breaker: off}`).join('\n')}
models:
${kinds.map((kind) => `  - {name: at-${kind}, provider: ${kind}, model: far-1}`).join('\n')}
routes:
  - {name: kept, rules: [{use: [at-openai], cache: true}]}
`,
    { env },
  );
});

after(async () => {
  await gateway?.stop();
  for (const cloud of Object.values(clouds)) await cloud.stop();
});

function act(kind, behaviour) {
  clouds[kind].behaviour = kind === 'bedrock' ? { handle: bedrockScript(credentials, behaviour) } : behaviour;
}

test('a rule that said `cache: true` kept nothing where no `cache` stood beside the rules', async () => {
  act('openai', { text: ['kept'] });
  const cache = async (model, headers) => (await gateway.chat(model, 'hi', { temperature: 0 }, headers)).headers.get('x-weir-cache');
  assert.deepEqual([await cache('kept'), await cache('kept')], ['miss', 'hit']);
  assert.equal(await cache('at-openai', { 'x-weir-cache': 'true' }), null, 'a client alone keeps nothing here');
});

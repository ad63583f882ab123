// What the tests of budgets share: a gateway whose keys have limits, before a cloud that counts.
import { execFileSync } from 'node:child_process';
import { Gateway, makeFolder, makeModel, sleep, weir } from './gateway.mjs';
import { Cloud } from './cloud.mjs';

const folder = makeFolder();
export const model = makeModel(folder);

// A thousand dollars for a million tokens: a tenth of a cent each. An answer is 10 + 10 tokens: 2 cents.
export const usage = { input: 10, output: 10 };
export const cloud = await Cloud.start({ usage });
const config = (more = '') => `auth: keys
providers:
  cloud: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${KEY}", retries: 0}
models:
  - {name: tiny, file: ${model}, context: 512}
  - {name: big, provider: cloud, model: big, price: {input: 1000, output: 1000}}
  - {name: unhurried, provider: cloud, model: unhurried, price: {input: 1000, output: 1000}}
  - {name: unpriced, provider: cloud, model: nobody-knows}
  - {name: vectors, provider: cloud, model: vectors, price: {input: 1000, output: 0}}
routes:
  - {name: falls, rules: [{name: big-first, use: [big, tiny]}]}
  - name: saves
    rules:
      - {name: rich, when: {budget_left: ">= 50%"}, use: [big]}
      - {name: poor, when: {budget_left: "< 0.07"}, use: [tiny]}
      - {name: between, use: [big, tiny]}
${more}`;

export const cli = (g, ...args) => execFileSync(weir, [...args, '--state', g.stateUrl], { stdio: ['ignore', 'pipe', 'pipe'] }).toString();
export const start = (options = {}) => Gateway.start(config(options.more), { env: { KEY: 'sk-test' }, ...options });

export function makeKey(g, ...args) {
  const secret = cli(g, 'keys', 'create', '--name', 'tester', ...args).trim();
  return { secret, id: secret.slice(5, 17), headers: { authorization: `Bearer ${secret}` } };
}
export const keys = (g) => cli(g, 'keys', 'list', '--json').split('\n').filter(Boolean).map((line) => JSON.parse(line));
export const used = (g, key, period = 'day') => keys(g).find((k) => k.id === key.id).budget[period].used;
export const ask = (g, key, name = 'big', more = {}) => g.chat(name, 'hello', { max_tokens: 20, ...more }, key.headers);

// A change by the command line is known within a second or so.
export async function until(what, ms = 30000) {
  for (const end = Date.now() + ms; ; await sleep(100)) {
    if (await what()) return;
    if (Date.now() > end) throw new Error('it did not become true in time');
  }
}
export async function accepted(g, key) {
  await until(async () => (await g.get('/v1/models', key.headers)).status === 200);
}

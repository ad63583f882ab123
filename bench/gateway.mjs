// What the gateway adds to a request: the same client, the same simulated provider, direct and through the gateway
// with detection, rules, ledger and egress log on, in turns. Node's own share is in both.
import http from 'node:http';
import { Cloud } from '../tests/e2e/lib/cloud.mjs';
import { Gateway } from '../tests/e2e/lib/gateway.mjs';

const cloud = await Cloud.start({ text: ['Hello', ' there'] });
const gateway = await Gateway.start(
  `providers:
  sim: {kind: openai, base_url: "${cloud.url}/v1", api_key: "\${SIM_KEY}"}
models:
  - {name: sim-1, provider: sim, model: sim-1}
routes:
  - name: auto
    rules:
      - {name: home, when: {sensitive: true}, use: [sim-1], boundary: any}
      - {name: hard, when: {complexity: ">= 0.9"}, use: [sim-1]}
      - {name: otherwise, use: [sim-1]}
`,
  { env: { SIM_KEY: 'sk-simulated' } },
);

const agent = new http.Agent({ keepAlive: true });
const text = 'Explain how a weir works, in plain words. '.repeat(25);
const ask = (base, model) =>
  new Promise((done, fail) => {
    const begin = process.hrtime.bigint();
    const body = JSON.stringify({ model, stream: true, messages: [{ role: 'user', content: text }] });
    const r = http.request(`${base}/v1/chat/completions`, {
      agent, method: 'POST', headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) } },
      (response) => {
        response.resume();
        response.on('end', () => done(Number(process.hrtime.bigint() - begin) / 1000));
      });
    r.on('error', fail);
    r.end(body);
  });

const quantile = (list, q) => list.sort((a, b) => a - b)[Math.floor((list.length - 1) * q)];
const direct = [], through = [];
for (let i = 0; i < 300; i++) await Promise.all([ask(cloud.url, 'sim-1'), ask(gateway.url, 'auto')]); // warm
for (let i = 0; i < 3000; i++) {
  direct.push(await ask(cloud.url, 'sim-1'));
  through.push(await ask(gateway.url, 'auto'));
}
const line = (name, list) =>
  `  ${name}: median ${quantile(list, 0.5).toFixed(0)} µs, 99th percentile ${quantile(list, 0.99).toFixed(0)} µs`;
console.log('gateway, 1 KB prompt, one request at a time');
console.log(line('direct', direct));
console.log(line('through weir', through));
console.log(`  added at the median: ${(quantile(through, 0.5) - quantile(direct, 0.5)).toFixed(0)} µs`);
agent.destroy();
await gateway.stop();
await cloud.stop();

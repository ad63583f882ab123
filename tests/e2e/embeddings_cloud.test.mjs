// Embeddings and rerank of providers: every shape of them, asked by the official clients, with what every request has:
// rules, boundary, fallback, retries, the ledger with its cost, the egress log, metrics.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { tinyBert } from './lib/bert.mjs';
import { Cloud } from './lib/cloud.mjs';
import { embedHandler, scoreOf, vectorOf } from './lib/embed.mjs';
import { Gateway, makeFolder, sleep } from './lib/gateway.mjs';

const OpenAI = await import('openai').then((m) => m.default, () => null);
const Ollama = await import('ollama').then((m) => m.Ollama, () => null);
const skip = OpenAI && Ollama ? false : 'the official clients are not installed';
const kinds = ['openai', 'azure', 'mistral', 'together', 'vllm', 'llamacpp', 'lmstudio', 'ollama-openai', 'jina', 'voyage', 'gemini', 'ollama'];
const rankers = ['together', 'vllm', 'llamacpp', 'jina', 'voyage'];
const clouds = {};
let flaky, behaviour, gateway, client, ollama;

before(async () => {
  const folder = makeFolder();
  writeFileSync(join(folder, 'bert.gguf'), tinyBert());
  for (const kind of kinds) clouds[kind] = await Cloud.start({ handle: embedHandler(kind) });
  flaky = await Cloud.start((request, body) => behaviour(request, body));
  const provider = (name, kind, url, more = '') => `  ${name}: {kind: ${kind}, base_url: "${url}", api_key: "\${SIM_KEY}"${more}}`;
  gateway = await Gateway.start(
    `providers:
${kinds.map((k) => provider(`p-${k}`, k, clouds[k].url)).join('\n')}
${provider('flaky', 'openai', `${flaky.url}/v1`, ', breaker: off')}
${provider('ours', 'openai', `${clouds.openai.url}/v1`, ', zone: local')}
${provider('claude', 'anthropic', flaky.url)}
${provider('deep', 'deepseek', flaky.url)}
models:
  - {name: bert, file: ${folder}/bert.gguf, threads: 1}
${kinds.map((k) => `  - {name: ${k}, provider: p-${k}, model: m, price: {input: 2.0, output: 0}}`).join('\n')}
  - {name: flaky, provider: flaky, model: m}
  - {name: ours, provider: ours, model: m}
  - {name: claude, provider: claude, model: claude-sim}
  - {name: deep, provider: deep, model: deep-sim}
routes:
  - name: auto
    rules:
      - {name: private, when: {sensitive: true}, use: [bert], boundary: local}
      - {name: ranks, when: {task: rerank}, use: [vllm]}
      - {name: vectors, when: {task: embed}, use: [flaky, openai]}
      - {name: others, use: [flaky]}
retention: {content: 1d}
`,
    { folder, env: { SIM_KEY: 'sk-simulated' } },
  );
  if (skip) return;
  client = new OpenAI({ apiKey: 'none', baseURL: `${gateway.url}/v1`, maxRetries: 0 });
  ollama = new Ollama({ host: gateway.url });
});

after(async () => {
  await gateway?.stop();
  for (const cloud of [flaky, ...Object.values(clouds)]) await cloud?.stop();
});

const texts = ['public words', 'more of them', ''];
const embed = (body, headers) => gateway.post('/v1/embeddings', { input: texts, ...body }, headers);

for (const kind of kinds)
  test(`${kind}: vectors in the order of the texts, with usage, cost and records`, { skip }, async () => {
    const { data: answer, response } = await client.embeddings.create({ model: kind, input: texts, dimensions: 4 }).withResponse();
    assert.deepEqual(answer.data.map((d) => d.index), [0, 1, 2]);
    assert.deepEqual(answer.data.map((d) => d.embedding), texts.map((t) => vectorOf(t, 4)));
    assert.deepEqual(answer.usage, { prompt_tokens: 12, total_tokens: 12 });
    assert.equal(answer.model, kind);
    assert.equal(response.headers.get('x-weir-provider'), `p-${kind}`);
    assert.equal(response.headers.get('x-weir-rule'), 'named');
    assert.equal(response.headers.get('x-weir-cost-usd'), '0.000024000');
    const floats = await embed({ model: kind });
    assert.deepEqual(floats.body.data.map((d) => d.embedding.map(Math.fround)), texts.map((t) => vectorOf(t)));
    const row = gateway.audit('ledger').at(-1);
    assert.equal(row.request_id, floats.headers.get('x-request-id'));
    assert.deepEqual([row.api, row.outcome, row.provider, row.input_tokens, row.output_tokens], ['openai.embeddings', 'ok', `p-${kind}`, 12, 0]);
    assert.equal(row.cost_nano_usd, 24000);
    assert.equal(gateway.audit('egress').at(-1).request_id, row.request_id);
  });

for (const kind of kinds)
  test(`${kind}: Ollama's client gets the same vectors`, { skip }, async () => {
    const answer = await ollama.embed({ model: kind, input: texts });
    assert.deepEqual(answer.embeddings.map((v) => v.map(Math.fround)), texts.map((t) => vectorOf(t)));
    assert.equal(answer.prompt_eval_count, 12);
    assert.equal(answer.model, kind);
    const { embedding } = await ollama.embeddings({ model: kind, prompt: 'one' });
    assert.deepEqual(embedding.map(Math.fround), vectorOf('one').map((v) => Math.fround(kind === 'ollama' ? 7 * v : v)));
  });

test('what an Ollama is asked is passed on to one; of others it is not cut in silence', { skip }, async () => {
  await ollama.embed({ model: 'ollama', input: 'x', truncate: true, keep_alive: '5m', options: { num_ctx: 99 } });
  const { body } = clouds.ollama.requests.at(-1);
  assert.deepEqual(body, { model: 'm', input: ['x'], truncate: true, keep_alive: '5m', options: { num_ctx: 99 } });
  await embed({ model: 'ollama', input: 'x' });
  assert.equal(clouds.ollama.requests.at(-1).body.truncate, false);
});

for (const kind of rankers)
  test(`${kind}: documents by their score`, async () => {
    const query = 'red apple', documents = ['a car', 'an apple', 'a red apple', 'red'];
    const r = await gateway.post('/v1/rerank', { model: kind, query, documents, top_n: 3, return_documents: true });
    assert.equal(r.status, 200, JSON.stringify(r.body));
    assert.deepEqual(r.body.results.map((d) => d.index), [2, 1, 3]);
    assert.deepEqual(r.body.results.map((d) => d.relevance_score), [2, 1, 3].map((i) => scoreOf(query, documents[i])));
    assert.deepEqual(r.body.results[0].document, { text: 'a red apple' });
    assert.deepEqual(r.body.usage, { prompt_tokens: 9, total_tokens: 9 });
    const row = gateway.audit('ledger').at(-1);
    assert.deepEqual([row.api, row.provider, row.cost_nano_usd], ['rerank', `p-${kind}`, 18000]);
    const sent = clouds[kind].requests.at(-1).body;
    assert.equal(sent[kind === 'voyage' ? 'top_k' : 'top_n'], 3);
    assert.equal(sent.return_documents, undefined);
  });

test('sensitive texts stay inside, wherever they stand; no other model stands in for the one that was named', async () => {
  const secret = 'my SSN is 536-22-1847';
  const before = clouds.openai.requests.length + clouds.vllm.requests.length + flaky.requests.length;
  behaviour = embedHandler();
  for (const body of [{ model: 'openai', input: secret }, { model: 'openai', input: ['fine', secret, 'fine'] }]) {
    const r = await embed(body);
    assert.equal(r.status, 503);
    assert.match(r.body.error.message, /must stay inside/);
    assert.equal(gateway.audit('ledger').at(-1).sensitive, true);
  }
  const local = await embed({ model: 'auto', input: ['x', secret.slice(0, 3), secret] });
  assert.equal(local.status, 200);
  assert.deepEqual([local.headers.get('x-weir-model'), local.headers.get('x-weir-rule')], ['bert', 'private']);
  for (const body of [{ query: secret, documents: ['a'] }, { query: 'a', documents: ['b', secret] }]) {
    const r = await gateway.post('/v1/rerank', { model: 'vllm', ...body });
    assert.equal(r.status, 503);
  }
  const asked = await embed({ model: 'openai' }, { 'x-weir-boundary': 'local' });
  assert.equal(asked.status, 503);
  assert.equal(clouds.openai.requests.length + clouds.vllm.requests.length + flaky.requests.length, before);
});

test('token ids go to no cloud, for nobody can read them; a server of our own takes them', async () => {
  for (const input of [[65, 66], [[65, 66], [67]]]) {
    const sent = clouds.openai.requests.length;
    const out = await embed({ model: 'openai', input });
    assert.equal(out.status, 400);
    assert.match(out.body.error.message, /token ids.*no cloud/);
    assert.equal(clouds.openai.requests.length, sent);
    const inside = await embed({ model: 'ours', input });
    assert.equal(inside.status, 200, JSON.stringify(inside.body));
    assert.deepEqual(clouds.openai.requests.at(-1).body.input, Array.isArray(input[0]) ? input : [input]);
  }
});

const twists = {
  'too few': (a) => ({ ...a, data: a.data.slice(1) }),
  'an index twice': (a) => ({ ...a, data: a.data.map((d) => ({ ...d, index: 0 })) }),
  'an index beyond': (a) => ({ ...a, data: a.data.map((d) => ({ ...d, index: d.index + 1 })) }),
  'widths that differ': (a) => ({ ...a, data: a.data.map((d) => ({ ...d, embedding: Array(d.index + 1).fill(0.5) })) }),
  'words for numbers': (a) => ({ ...a, data: a.data.map((d) => ({ ...d, embedding: ['a', 'b'] })) }),
  'broken base64': (a) => ({ ...a, data: a.data.map((d) => ({ ...d, embedding: '!!!!' })) }),
  'half a float': (a) => ({ ...a, data: a.data.map((d) => ({ ...d, embedding: 'AAAA' })) }),
  nothing: () => ({}),
  'a list': () => [1],
  'an error': () => ({ error: { message: 'no', type: 'server_error' } }),
};

for (const [name, twist] of Object.entries(twists))
  test(`a target that answers ${name} is passed over for the next`, async () => {
    behaviour = () => ({ handle: embedHandler('openai', { twist }) });
    const r = await embed({ model: 'auto' });
    assert.equal(r.status, 200, JSON.stringify(r.body));
    assert.equal(r.headers.get('x-weir-model'), 'openai');
    assert.equal(r.headers.get('x-weir-rule'), 'vectors');
    assert.deepEqual(r.body.data.map((d) => d.embedding.map(Math.fround)), texts.map((t) => vectorOf(t)));
    const { attempts } = gateway.audit('ledger').at(-1);
    assert.equal(attempts[0].target, 'flaky');
    assert.deepEqual(attempts.at(-1).outcome, 'ok');
    const alone = await embed({ model: 'flaky' });
    assert.ok(alone.status >= 500, JSON.stringify(alone.body));
    assert.match(alone.body.error.message, /flaky/);
  });

test('a passing failure is asked again; a hang ends with the next target', async () => {
  let asked = 0;
  behaviour = () => (asked++ < 1 ? { mode: 'status', status: 503 } : { handle: embedHandler() });
  const r = await embed({ model: 'flaky' });
  assert.equal(r.status, 200, JSON.stringify(r.body));
  assert.equal(asked, 2);
  behaviour = () => ({ mode: 'reset' });
  const next = await embed({ model: 'auto' });
  assert.equal(next.headers.get('x-weir-model'), 'openai');
});

test("a provider's refusal is the client's error; usage that nobody tells is estimated", { skip }, async () => {
  behaviour = () => ({ mode: 'status', status: 400, error: { error: { message: 'too long', type: 'invalid_request_error' } } });
  await assert.rejects(client.embeddings.create({ model: 'auto', input: 'x' }), OpenAI.BadRequestError);
  behaviour = () => ({ mode: 'status', status: 401 });
  const r = await embed({ model: 'flaky' });
  assert.match(r.body.error.message, /api_key/);
  behaviour = () => ({ handle: embedHandler('openai', { silent: true }) });
  assert.equal((await embed({ model: 'flaky' })).status, 200);
  const row = gateway.audit('ledger').at(-1);
  assert.ok(row.usage_estimated && row.input_tokens > 0);
});

test('who embeds nothing is said so, and members that a target has no word for are refused', async () => {
  for (const [model, body, says] of [
    ['claude', {}, /'anthropic' gives no embeddings/],
    ['deep', {}, /deepseek has no 'embeddings'/],
    ['gemini', { input_type: 'query' }, /Gemini has no 'input_type'/],
    ['bert', { input: 'x', input_type: 'query' }, /'input_type'/],
  ]) {
    const r = await embed({ model, ...body });
    assert.equal(r.status, 400, JSON.stringify(r.body));
    assert.match(r.body.error.message, says);
  }
  const r = await gateway.post('/v1/rerank', { model: 'mistral', query: 'a', documents: ['b'] });
  assert.match(r.body.error.message, /mistral has no 'rerank'/);
  assert.equal((await embed({ model: 'openai', input_type: 'query' })).status, 200);
  assert.equal(clouds.openai.requests.at(-1).body.input_type, 'query');
});

test('a client that leaves ends the request at the provider', async () => {
  behaviour = () => ({ mode: 'hang' });
  const leave = new AbortController();
  const asked = gateway.post('/v1/embeddings', { model: 'flaky', input: 'x' }, {}, { signal: leave.signal });
  const aborted = flaky.aborted, sent = flaky.requests.length;
  while (flaky.requests.length === sent) await sleep(5);
  leave.abort();
  await assert.rejects(asked);
  for (let i = 0; i < 400 && flaky.aborted === aborted; i++) await sleep(10);
  assert.equal(flaky.aborted, aborted + 1);
  for (let i = 0; i < 400 && gateway.audit('ledger').at(-1).outcome !== 'client_gone'; i++) await sleep(10);
  assert.equal(gateway.audit('ledger').at(-1).outcome, 'client_gone');
});

test('a request id goes on to the provider; metrics count tokens and cost by model', async () => {
  await embed({ model: 'voyage' }, { 'x-request-id': 'mine-17' });
  assert.equal(clouds.voyage.requests.at(-1).headers['x-request-id'], 'mine-17');
  const { body } = await gateway.get('/metrics');
  assert.match(body, /weir_requests_total\{[^}]*model="voyage"[^}]*outcome="ok"[^}]*\} \d/);
  assert.match(body, /weir_cost_usd_total\{[^}]*model="voyage"/);
});

test('2,048 texts at once', async () => {
  const input = Array.from({ length: 2048 }, (_, i) => `text ${i}`);
  const r = await embed({ model: 'vllm', input, dimensions: 1024, encoding_format: 'base64' });
  assert.equal(r.status, 200, JSON.stringify(r.body).slice(0, 500));
  assert.equal(r.body.data.length, 2048);
  const bytes = Buffer.from(r.body.data[2047].embedding, 'base64');
  assert.equal(bytes.readFloatLE(4), vectorOf('text 2047', 1024)[1]);
  assert.equal((await embed({ model: 'vllm', input: [...input, 'x'] })).status, 400);
});

test('a batch of embeddings, by the official client', { skip }, async () => {
  const { toFile } = await import('openai');
  const line = (id, model) => JSON.stringify({ custom_id: id, method: 'POST', url: '/v1/embeddings', body: { model, input: [id, 'x'] } });
  const file = await client.files.create({
    purpose: 'batch', file: await toFile(Buffer.from(`${line('a', 'openai')}\n${line('b', 'bert')}\n${line('c', 'claude')}\n`), 'in.jsonl') });
  let batch = await client.batches.create({ input_file_id: file.id, endpoint: '/v1/embeddings', completion_window: '24h' });
  while (['validating', 'in_progress', 'finalizing'].includes(batch.status)) {
    await sleep(50);
    batch = await client.batches.retrieve(batch.id);
  }
  assert.deepEqual([batch.status, batch.request_counts], ['completed', { total: 3, completed: 2, failed: 1 }]);
  const text = await (await client.files.content(batch.output_file_id)).text();
  const rows = Object.fromEntries(text.trim().split('\n').map((l) => JSON.parse(l)).map((r) => [r.custom_id, r.response.body]));
  assert.deepEqual(rows.a.data[0].embedding.map(Math.fround), vectorOf('a'));
  assert.equal(rows.b.data.length, 2);
  assert.equal(rows.b.model, 'bert');
});

// Embeddings of local models behind the endpoint.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import OpenAI from 'openai';
import { table, tinyBert } from './lib/bert.mjs';
import { Gateway, makeFolder, makeModel, root, shared, sleep } from './lib/gateway.mjs';

const vectors = join(shared, 'vectors', 'models');
const hasVectors = existsSync(join(vectors, 'bert.gguf'));
const small = join(root, 'tests', 'vectors', 'models');
const embedders = ['qwen3-embedding', 'qwen2-bidirectional', 'llama-embedding', 'modern-bert', 'gemma-embedding'];
let gateway;

before(async () => {
  const folder = makeFolder();
  makeModel(folder);
  writeFileSync(join(folder, 'bert.gguf'), tinyBert());
  gateway = await Gateway.start(
    `models:
  - {name: house, file: ${folder}/tiny.gguf, context: 64, threads: 1}
  - {name: bert, file: ${folder}/bert.gguf, threads: 1}
${embedders.map((m) => `  - {name: ${m}, file: ${small}/${m}.gguf, context: 64, threads: 1}\n`).join('')}${['bert', 'nomic-bert'].map((m) => (hasVectors ? `  - {name: real-${m}, file: ${vectors}/${m}.gguf, threads: 1}\n` : '')).join('')}`,
    { folder },
  );
});

after(() => gateway.stop());

const embed = (body) => gateway.post('/v1/embeddings', { model: 'bert', ...body });
const cosine = (a, b) => {
  const dot = (x, y) => x.reduce((sum, v, i) => sum + v * y[i], 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
};
const same = (got, want) => assert.ok(Math.abs(cosine(got, want) - 1) < 1e-6, `${got} is not along ${want}`);
const centred = (row) => row.map((v) => v - row.reduce((a, b) => a + b) / row.length);

test('texts, token ids and lists of both are embedded, in order', async () => {
  const cls = centred(table[2]);
  for (const [input, rows, count] of [
    ['x', [cls], 3],
    [['x', 'x x', ''], [cls, cls, cls], 9],
    [[4, 3], [centred(table[4])], 2],
    [[[4, 3], [1]], [centred(table[4]), centred(table[1])], 3],
  ]) {
    const r = await embed({ input });
    assert.equal(r.status, 200, JSON.stringify(r.body));
    assert.equal(r.body.object, 'list');
    assert.equal(r.body.model, 'bert');
    assert.deepEqual(r.body.usage, { prompt_tokens: count, total_tokens: count });
    assert.deepEqual(r.body.data.map((d) => d.index), rows.map((_, i) => i));
    r.body.data.forEach((d, i) => {
      same(d.embedding, rows[i]);
      assert.ok(Math.abs(Math.hypot(...d.embedding) - 1) < 1e-6);
    });
    assert.equal(r.headers.get('x-weir-provider'), 'local');
    assert.equal(r.headers.get('x-weir-model'), 'bert');
  }
});

test("base64 holds the same floats; OpenAI's client, which asks for it, reads them", async () => {
  const floats = (await embed({ input: 'x' })).body.data[0].embedding;
  const text = (await embed({ input: 'x', encoding_format: 'base64' })).body.data[0].embedding;
  const bytes = Buffer.from(text, 'base64');
  assert.deepEqual([0, 1, 2, 3].map((i) => bytes.readFloatLE(4 * i)), floats.map(Math.fround));
  const client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'none' });
  const answer = await client.embeddings.create({ model: 'bert', input: ['x', 'y'] });
  same(answer.data[1].embedding, centred(table[2]));
});

test('dimensions: the first of them, scaled to a length of 1 again', async () => {
  const r = await embed({ input: 'x', dimensions: 2 });
  assert.equal(r.status, 200, JSON.stringify(r.body));
  same(r.body.data[0].embedding, centred(table[2]).slice(0, 2));
  assert.ok(Math.abs(Math.hypot(...r.body.data[0].embedding) - 1) < 1e-6);
});

test('each request is one row of the ledger, without cost', async () => {
  const r = await embed({ input: ['x', 'x'] });
  const row = gateway.audit('ledger').at(-1);
  assert.equal(row.request_id, r.headers.get('x-request-id'));
  assert.equal(row.api, 'openai.embeddings');
  assert.equal(row.outcome, 'ok');
  assert.equal(row.input_tokens, 6);
  assert.equal((await embed({ input: 'x '.repeat(100) })).status, 400);
  assert.equal(gateway.audit('ledger').at(-1).outcome, 'failed');
});

test('a client that leaves ends the work; the ledger says so', async () => {
  const leave = new AbortController();
  const body = JSON.stringify({ model: 'bert', input: Array(2048).fill('x x x x') });
  const asked = gateway.post('/v1/embeddings', body, {}, { signal: leave.signal });
  setTimeout(() => leave.abort(), 5);
  await assert.rejects(asked);
  for (let i = 0; i < 200 && gateway.audit('ledger').at(-1).outcome !== 'client_gone'; i++) await sleep(10);
  assert.equal(gateway.audit('ledger').at(-1).outcome, 'client_gone');
  assert.equal((await embed({ input: 'x' })).status, 200);
});

test('what cannot be embedded is refused by name', async () => {
  for (const [body, says] of [
    [{ input: 'x '.repeat(100) }, /102 tokens.*16/],
    [{ input: [] }, /'input'/],
    [{}, /'input'/],
    [{ input: ['x', 1] }, /input\[1\]/],
    [{ input: [5] }, /token 5/],
    [{ input: 'x', dimensions: 0 }, /dimensions/],
    [{ input: 'x', dimensions: 5 }, /4 dimensions/],
    [{ input: 'x', encoding_format: 'hex' }, /encoding_format/],
    [{ model: 'house', input: 'x' }, /neither embeds nor ranks/],
    [{ model: '', input: 'x' }, /'model'/],
  ]) {
    const r = await embed(body);
    assert.equal(r.status, 400, JSON.stringify(body));
    assert.match(r.body.error.message, says);
  }
  assert.equal((await embed({ model: 'nobody', input: 'x' })).status, 404);
  const chat = await gateway.chat('bert', 'x');
  assert.equal(chat.status, 400);
  assert.match(chat.body.error.message, /embeds text/);
});

test('embeddings are the reference engine\'s', { skip: hasVectors ? false : 'no reference data' }, async () => {
  for (const name of ['bert', 'nomic-bert']) {
    const { cases } = JSON.parse(readFileSync(join(vectors, `${name}.json`)));
    const r = await embed({ model: `real-${name}`, input: cases.map((c) => c.text) });
    assert.equal(r.status, 200, JSON.stringify(r.body));
    cases.forEach((c, i) => assert.ok(cosine(r.body.data[i].embedding, c.embedding) >= 0.9999));
    assert.equal(r.body.usage.prompt_tokens, cases.reduce((n, c) => n + c.tokens.length, 0));
  }
});

test('decoders and encoders of every kind embed as the reference engine does', async () => {
  for (const model of embedders) {
    const { cases } = JSON.parse(readFileSync(join(small, `${model}.json`)));
    const r = await embed({ model, input: cases.map((c) => c.tokens) });
    assert.equal(r.status, 200, JSON.stringify(r.body));
    cases.forEach((c, i) => assert.ok(cosine(r.body.data[i].embedding, c.embedding) >= 0.9999, model));
    const chat = await gateway.chat(model, 'x');
    assert.match(chat.body.error.message, /embeds text/);
  }
});

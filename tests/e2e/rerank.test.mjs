// Rerank behind the endpoint and on the command line.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Gateway, makeFolder, makeModel, root, sleep, weir } from './lib/gateway.mjs';

const vectors = join(root, 'tests', 'vectors', 'models');
const query = 'how many people live in paris ?';
const documents = ['the cat sat on the mat .', 'paris is a city .', 'and there we be', 'paris is a city .'];
let gateway;

before(async () => {
  const folder = makeFolder();
  makeModel(folder);
  gateway = await Gateway.start(
    `models:
  - {name: house, file: ${folder}/tiny.gguf, context: 64, threads: 1}
${['bert-rank', 'bert-last', 'qwen3-rerank'].map((m) => `  - {name: ${m}, file: ${vectors}/${m}.gguf, context: 64, threads: 1}\n`).join('')}`,
    { folder },
  );
});

after(() => gateway.stop());

const rerank = (body, path = '/v1/rerank') => gateway.post(path, { model: 'bert-rank', query, documents, ...body });
const near = (a, b) => assert.ok(Math.abs(a - b) < 1e-6, `${a} is not ${b}`);

function verb(args, lines) {
  const r = spawnSync(weir, args, { encoding: 'utf8', input: lines.map((l) => JSON.stringify(l) + '\n').join('') });
  assert.equal(r.status, 0, r.stderr);
  return r.stdout.trim().split('\n').map((l) => JSON.parse(l));
}

test('documents come back by score, the best first; equals as they came', async () => {
  for (const path of ['/v1/rerank', '/rerank']) {
    const { status, body, headers } = await rerank({}, path);
    assert.equal(status, 200, JSON.stringify(body));
    assert.equal(body.model, 'bert-rank');
    assert.deepEqual(body.results.map((r) => r.index).sort(), [0, 1, 2, 3]);
    body.results.slice(1).forEach((r, i) => assert.ok(r.relevance_score <= body.results[i].relevance_score));
    const place = (i) => body.results.findIndex((r) => r.index === i);
    assert.equal(place(3), place(1) + 1);
    assert.equal(body.usage.prompt_tokens, body.usage.total_tokens);
    assert.equal(headers.get('x-weir-provider'), 'local');
  }
});

test('a pair is [CLS] query [SEP] document [SEP]', async () => {
  const file = join(vectors, 'bert-rank.gguf');
  const [q, ...d] = verb(['tokenize', '--model', file], [query, ...documents].map((text) => ({ text })));
  const pairs = d.map((ids) => [2, ...q, 3, ...ids, 3]);
  const scores = await gateway.post('/v1/embeddings', { model: 'bert-rank', input: pairs });
  assert.equal(scores.status, 200, JSON.stringify(scores.body));
  const { body } = await rerank({});
  body.results.forEach((r) => near(r.relevance_score, scores.body.data[r.index].embedding[0]));
  assert.equal(body.usage.prompt_tokens, pairs.flat().length);
});

test('weir rerank gives the same', async () => {
  const { body } = await rerank({});
  const [line, none] = verb(['rerank', '--model', join(vectors, 'bert-rank.gguf')], [{ query, documents }, { query, documents: [] }]);
  assert.deepEqual(line.map((r) => r.index), body.results.map((r) => r.index));
  line.forEach((r, i) => near(r.relevance_score, body.results[i].relevance_score));
  assert.deepEqual(none, []);
});

test('top_n, return_documents and documents as objects', async () => {
  const all = (await rerank({})).body.results;
  const { body } = await rerank({ top_n: 2, return_documents: true, documents: documents.map((text) => ({ text })) });
  assert.deepEqual(body.results.map((r) => r.index), all.slice(0, 2).map((r) => r.index));
  body.results.forEach((r) => assert.deepEqual(r.document, { text: documents[r.index] }));
  assert.equal((await rerank({ top_n: 99 })).body.results.length, 4);
});

test('a decoder that ranks gives probabilities', async () => {
  const { status, body } = await rerank({ model: 'qwen3-rerank', query: 'a', documents: ['b', 'c d'] });
  assert.equal(status, 200, JSON.stringify(body));
  body.results.forEach((r) => assert.ok(r.relevance_score > 0 && r.relevance_score < 1));
});

test('each request is one row of the ledger', async () => {
  const r = await rerank({});
  const row = gateway.audit('ledger').at(-1);
  assert.equal(row.request_id, r.headers.get('x-request-id'));
  assert.equal(row.api, 'rerank');
  assert.equal(row.outcome, 'ok');
  assert.equal(row.input_tokens, r.body.usage.total_tokens);
});

test('what cannot be ranked is refused by name, in OpenAI\'s shape', async () => {
  for (const [body, says] of [
    [{ query: undefined }, /'query'/],
    [{ query: 7 }, /'query'/],
    [{ documents: undefined }, /'documents'/],
    [{ documents: [] }, /'documents'/],
    [{ documents: 'x' }, /'documents'/],
    [{ documents: ['x', 1] }, /documents\[1\]/],
    [{ documents: [{ txt: 'x' }] }, /documents\[0\]/],
    [{ documents: Array(2049).fill('x') }, /2048/],
    [{ documents: ['the '.repeat(100)] }, /tokens.*64/],
    [{ top_n: 0 }, /top_n/],
    [{ return_documents: 'yes' }, /return_documents/],
    [{ model: 'bert-last' }, /no head that ranks/],
    [{ model: 'house' }, /neither embeds nor ranks/],
    [{ model: '' }, /'model'/],
  ]) {
    const r = await rerank(body);
    assert.equal(r.status, 400, `${JSON.stringify(body).slice(0, 80)} ${JSON.stringify(r.body)}`);
    assert.match(r.body.error.message, says);
    assert.equal(r.body.error.type, 'invalid_request_error');
  }
  assert.equal((await rerank({ model: 'nobody' })).status, 404);
});

test('a client that leaves ends the work', async () => {
  const leave = new AbortController();
  const body = JSON.stringify({ model: 'bert-rank', query, documents: Array(2048).fill(documents[0]) });
  const asked = gateway.post('/v1/rerank', body, {}, { signal: leave.signal });
  setTimeout(() => leave.abort(), 5);
  await assert.rejects(asked);
  for (let i = 0; i < 2000 && gateway.audit('ledger').at(-1).outcome !== 'client_gone'; i++) await sleep(10);
  assert.equal(gateway.audit('ledger').at(-1).outcome, 'client_gone');
  assert.equal((await rerank({})).status, 200);
});

// The house model: its corpus is what it says, the halves share nothing, the tokenizer lets names be copied, the scorer
// scores, and every command that it may name exists.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test, { after } from 'node:test';
import { examples } from '../../train/house/generate.mjs';
import { generated, grade, holds, targets, written } from '../../train/house/evaluate.mjs';
import { Random, expand } from '../../train/house/random.mjs';
import { isHeldLabel } from '../../train/house/sort.mjs';
import { decline, facts } from '../../train/house/talk.mjs';
import { installed } from '../../train/house/wordnet.mjs';
import { Gateway, root, weir } from './lib/gateway.mjs';

const folder = join(root, 'train', 'house');
const corpus = [...examples({ seed: 11, count: 4000 })];
const asked = (e) => e.messages.slice(0, -1).map((m) => m.content).join('\n');
const small = ['--tokens', '3072', '--layers', '1', '--embed', '32', '--heads', '2', '--ffn', '32', '--wordnet', 'no'];
const answer = (e) => e.messages.at(-1).content;

test('a seed writes the same corpus, another seed another one', () => {
  const lines = (seed) => JSON.stringify([...examples({ seed, count: 50 })]);
  assert.equal(lines(3), lines(3));
  assert.notEqual(lines(3), lines(4));
});

test('the grammar: choices, slots, brackets, blanks of an empty choice', () => {
  const random = new Random(1);
  assert.equal(expand('a {x} \\(b\\)', random, (s) => s.toUpperCase()), 'a X (b)');
  assert.equal(expand('one (|) two', random, () => ''), 'one two');
  for (let i = 0; i < 20; i++) assert.match(expand('(a|b(c|d))', random, () => ''), /^(a|bc|bd)$/);
  assert.throws(() => expand('(a|b', random, () => ''), /not closed/);
});

test('the halves share no line, no label and no key', () => {
  for (const file of readdirSync(folder).filter((f) => f.endsWith('.txt'))) {
    const lines = readFileSync(join(folder, file), 'utf8').split('\n');
    const entries = lines.flatMap((l) => (/^(labels|keys): /.test(l) ? l.replace(/^\w+: /, '').split(', ') : [l]));
    const held = new Set(entries.filter((e) => /^\*\S/.test(e)).map((e) => e.slice(1)));
    if (!['words.txt', 'weir.txt', 'elsewhere.txt', 'messages.txt', 'asks.txt', 'fields.txt', 'documents.txt'].includes(file)) assert.fail(`${file} is in no test`);
    for (const e of entries) if (held.has(e)) assert.fail(`${file}: "${e}" is in both halves`);
  }
});

test('no value of the held-out half is one of the corpus', () => {
  const values = (list) => list.flatMap((e) => Object.values(JSON.parse(answer(e)))).filter((v) => v !== null);
  const seen = new Set(values([...examples({ seed: 11, count: 3000, job: 'extract' })]));
  // Counts, times, levels, events and the like are everybody's.
  const own = values([...examples({ seed: 2026, count: 400, held: true, job: 'extract' })])
    .filter((v) => /^\d{5,}$|[A-Z]{2}-?\d{3}|@|^\p{Lu}\p{L}+ \p{Lu}\p{L}+$|\d{4}-\d|[€$]/u.test(v));
  assert.ok(own.length > 200);
  for (const v of own) assert.ok(!seen.has(v), `${v} is in the corpus`);
});

test('every example has a right answer: the label is listed, values stand in the document', () => {
  for (const held of [false, true]) {
    for (const e of examples({ seed: 5, count: 500, held, job: 'sort' })) assert.ok(asked(e).includes(answer(e)), asked(e));
    for (const e of examples({ seed: 5, count: 500, held, job: 'extract' })) {
      for (const [key, v] of Object.entries(JSON.parse(answer(e)))) {
        assert.ok(asked(e).includes(key), `${key} was not asked for`);
        assert.ok(v === null || asked(e).includes(v), `${v} is not in the document`);
      }
    }
    for (const e of examples({ seed: 5, count: 300, held: true, job: 'weir' })) assert.ok(holds(answer(e), e.must), answer(e));
  }
});

test('meanings of words: the label is listed, none is of the held-out half', { skip: !installed() && 'WordNet is not installed' }, () => {
  let texts = 0, named = 0;
  for (const job of ['meaning', 'meanings']) {
    for (const e of examples({ seed: 5, count: 300, job })) {
      const labels = e.messages.filter((m) => m.role === 'assistant'), said = e.messages.filter((m) => m.role !== 'assistant').map((m) => m.content).join('\n');
      for (const { content, weight } of labels) {
        assert.ok(said.includes(content), `${content} is not in ${said}`);
        assert.ok(weight > 1, 'a label counts more than a word of an answer');
        const plain = content.replace(/([a-z])([A-Z])/g, '$1 $2').toLowerCase().replace(/[_-]/g, ' ');
        assert.ok(!isHeldLabel(plain), `${content} is the held-out half's`);
        texts++;
        if (e.messages[0].role === 'user' && labels.length === 1 && said.toLowerCase().split(plain).length > 2) named++;
      }
    }
  }
  assert.ok(texts > 1500 && named < texts / 10, `${named} of ${texts} messages hold their label`);
});

test('without WordNet the corpus is not silently another one', () => {
  const write = (...more) => spawnSync('node', [join(folder, 'generate.mjs'), '--examples', '5', '--stage', 'words', ...more], { encoding: 'utf8', env: { ...process.env, WNSEARCHDIR: '/nowhere' } });
  assert.match(write().stderr, /WordNet is not in \/nowhere: install it/);
  assert.equal(write().status, 2);
  assert.equal(write('--wordnet', 'no').stdout.trim().split('\n').length, 5);
});

test('every command and option that an answer names exists', () => {
  const help = (verb) => spawnSync(weir, [verb, '--help'], { encoding: 'utf8' });
  for (const text of [...facts.map((f) => f.a), decline]) {
    for (const part of text.split(/(?=build\/weir |make )/)) {
      const verb = /^build\/weir ([a-z]+)/.exec(part)?.[1];
      if (!verb) continue;
      const said = help(verb);
      assert.equal(said.status, 0, `there is no weir ${verb}: ${text}`);
      for (const [option] of part.matchAll(/(?<=\s)--[a-z-]+/g)) assert.ok(option === '--help' || said.stdout.includes(option), `weir ${verb} has no ${option}: ${text}`);
    }
  }
});

test('the scorer: exact labels, shares of fields, words that must be there, declines', () => {
  const item = (job, want, must) => ({ job, must, messages: [{ role: 'user', content: '?' }, { role: 'assistant', content: want }] });
  assert.equal(grade(item('sort', 'billing'), 'billing\n'), 1);
  assert.equal(grade(item('sort', 'billing'), 'Billing'), 0);
  assert.equal(grade(item('extract', '{"a": "1", "b": null}'), '{"a":"1","b":"2"}'), 0.5);
  assert.equal(grade(item('extract', '{"a": "1"}'), 'a: 1'), 0);
  assert.equal(grade(item('extract', '{"a": "1"}'), 'null'), 0);
  assert.equal(grade(item('weir', '', 'weir pull & tag'), 'use WEIR PULL with a tag'), 1);
  assert.equal(grade(item('weir', '', 'beyond'), decline), 0, 'a decline answers no question');
  assert.equal(grade(item('decline', decline), decline), 1);
  assert.equal(grade(item('decline', decline), 'Paris'), 0);
  for (const e of [...generated(1), ...written().filter((x) => /sort|extract/.test(x.job))]) assert.equal(grade(e, answer(e)), 1, asked(e));
  for (const job of Object.keys(targets)) assert.ok(written().filter((e) => e.job === job).length >= 12);
  assert.ok(written().filter((e) => e.job === 'decline').length >= 50);
});

// A tokenizer and first weights, of the corpus above.
let began;
const base = () => {
  if (began) return began;
  const place = mkdtempSync(join(tmpdir(), 'weir-house-'));
  writeFileSync(join(place, 'c.jsonl'), corpus.map((e) => `${JSON.stringify(e)}\n`).join(''));
  began = join(place, 't.gguf');
  execFileSync('node', [join(folder, 'base.mjs'), join(place, 'c.jsonl'), began, '--layers', '1', '--embed', '96', '--wordnet', 'no'], { stdio: 'ignore' });
  return began;
};
after(() => began && rmSync(dirname(began), { recursive: true }));
const tokens = (...texts) => execFileSync(weir, ['tokenize', '--model', base()], { encoding: 'utf8', input: texts.map((text) => JSON.stringify({ text })).join('\n') }).trim().split('\n').map((l) => JSON.parse(l));

test('a name has the same tokens after a blank and after a quotation mark', () => {
  for (const name of ['Nowakowski', 'Zsófia', 'Quandtberg-Trading', 'X', 'AB-1234', '20.5.2031']) {
    const [alone, blank, quoted] = tokens(name, ` ${name}`, `"${name}`);
    assert.deepEqual(blank.slice(1), alone, name);
    assert.deepEqual(quoted.slice(1), alone, name);
  }
  assert.equal(tokens('12345')[0].length, 5, 'digits are single');
});

test('words of one topic begin near each other, and a word has one token', () => {
  const bytes = execFileSync(weir, ['show', base(), '--tensor', 'token_embd.weight'], { maxBuffer: 1 << 24 });
  const all = new Float32Array(new Uint8Array(bytes).buffer);
  const said = ['invoice', 'payment', 'phone', 'mobile', 'weather', 'forecast', 'hotel', 'room', 'Invoice'], ids = tokens(...said);
  const row = (word) => {
    const [id, ...more] = ids[said.indexOf(word)];
    assert.deepEqual(more, [], word);
    return all.subarray(id * 96, id * 96 + 96);
  };
  const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
  const like = (a, b) => dot(row(a), row(b)) / Math.sqrt(dot(row(a), row(a)) * dot(row(b), row(b)));
  const mean = (pairs) => pairs.reduce((sum, [a, b]) => sum + like(a, b), 0) / pairs.length;
  const near = mean([['invoice', 'payment'], ['phone', 'mobile'], ['weather', 'forecast'], ['hotel', 'room']]);
  const far = mean([['invoice', 'hotel'], ['phone', 'forecast'], ['weather', 'room'], ['mobile', 'payment']]);
  assert.ok(near > far + 0.1, `${near} and ${far}`);
  assert.ok(like('invoice', 'Invoice') > 0.4);
});

test('trained in two steps, it keeps its tokenizer, its template and that it answers without chance', () => {
  const place = mkdtempSync(join(tmpdir(), 'weir-house-'));
  const lines = (name, list) => writeFileSync(join(place, name), list.map((e) => `${JSON.stringify(e)}\n`).join(''));
  const quick = (name) => writeFileSync(join(place, name), readFileSync(join(folder, name), 'utf8')
    .replace(/steps: \d+/, 'steps: 2').replace(/batch_tokens: \d+/, 'batch_tokens: 256').replace(/warmup: \d+/, 'warmup: 0'));
  const run = (...args) => execFileSync(weir, args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' });
  try {
    lines('jobs.jsonl', corpus.slice(0, 600));
    lines('copying.jsonl', [...examples({ seed: 2, count: 300, job: 'copy' })]);
    quick('copying.yaml');
    quick('jobs.yaml');
    execFileSync('node', [join(folder, 'base.mjs'), join(place, 'jobs.jsonl'), join(place, 'base.gguf'), ...small], { stdio: 'ignore' });
    run('finetune', join(place, 'base.gguf'), join(place, 'copying.yaml'), '--full', '--out', join(place, 'copying.gguf'));
    run('finetune', join(place, 'copying.gguf'), join(place, 'jobs.yaml'), '--full', '--out', join(place, 'house.gguf'));
    const shown = (name) => JSON.parse(run('show', join(place, name), '--json')).metadata;
    for (const key of ['tokenizer.ggml.tokens', 'tokenizer.ggml.merges', 'tokenizer.chat_template', 'general.sampling.temp']) {
      assert.notEqual(shown('house.gguf')[key], undefined, key);
      assert.deepEqual(shown('house.gguf')[key], shown('base.gguf')[key], key);
    }
  } finally {
    rmSync(place, { recursive: true });
  }
});

const model = join(root, 'models', 'house.gguf');
/* It misses the targets (train/house/README.md): these are what it reached, so that none comes in its place that does worse. */
test('the model that ships does its jobs as well as its log says', () => {
  const reached = { 'by hand': { sort: 0.95, extract: 0.854, weir: 0.95, decline: 0.98 }, 'held-out': { sort: 0.38, extract: 0.513, weir: 0.65, decline: 0.92 } };
  const run = spawnSync('node', [join(folder, 'evaluate.mjs'), model, '--weir', weir], { encoding: 'utf8', cwd: root });
  for (const [name, jobs] of Object.entries(reached)) {
    for (const [job, least] of Object.entries(jobs)) {
      const said = new RegExp(`^${name} +${job} +([\\d.]+)`, 'm').exec(run.stdout);
      assert.ok(said, run.stdout + run.stderr);
      assert.ok(Number(said[1]) >= least - 0.05, `${name} ${job}: ${said[1]}, was ${least}`); // other kernels round in other ways
    }
  }
});

test("the README's first request is answered rightly by the model that ships", async () => {
  const curl = /-d '(\{.*?\})'$/ms.exec(readFileSync(join(root, 'README.md'), 'utf8'))[1];
  const gateway = await Gateway.start(`models:\n  - {name: auto, file: ${model}}\n`);
  try {
    const answer = await fetch(`${gateway.url}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: curl });
    const { message } = (await answer.json()).choices[0];
    assert.deepEqual(JSON.parse(message.content), { invoice_number: 'INV-2291', total: '418.60 EUR', due_date: '2027-03-05' });
  } finally {
    await gateway.stop();
  }
});

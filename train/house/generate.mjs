#!/usr/bin/env node
// The house model's corpus: chats for its four jobs, a line of JSON each; the same seed writes the same bytes.
//   node train/house/generate.mjs --examples 100000 [--seed 1] [--half train|held] [--stage copying|words|jobs] [--job sort|extract|...] > corpus.jsonl
// Lines of the held-out half also say which job they are ("job") and, for questions, what an answer must hold ("must").
import { Random } from './random.mjs';
import { Values } from './values.mjs';
import { sortExample, wordsExample } from './sort.mjs';
import { copyExample, extractExample } from './extract.mjs';
import { elsewhereExample, weirExample } from './talk.mjs';

const jobs = {
  sort: sortExample, extract: extractExample, weir: weirExample, decline: elsewhereExample, copy: copyExample,
  // Kinds of these, to be learned first.
  named: (values, held) => sortExample(values, held, 'named'), topic: (values, held) => sortExample(values, held, 'topic'),
  words: wordsExample,
  strange: (values, held) => extractExample(values, held, 'strange'), form: (values, held) => extractExample(values, held, 'form'),
};
// What is learned after what: to say something again; to look it up, by what stands before it or by what it means; all jobs. The held-out half has
// the four jobs only.
const stages = {
  copying: [[1, 'copy']],
  words: [[8, 'copy'], [50, 'words'], [16, 'named'], [12, 'strange'], [9, 'form'], [5, 'weir']],
  jobs: [[5, 'copy'], [8, 'words'], [8, 'strange'], [6, 'named'], [30, 'extract'], [30, 'topic'], [14, 'weir'], [12, 'decline']],
};
const heldOut = [[25, 'sort'], [25, 'extract'], [25, 'weir'], [25, 'decline']];

export function* examples({ seed = 1, count, held = false, job, stage = 'jobs' }) {
  const values = new Values(new Random(seed), held);
  for (let i = 0; i < count; i++) {
    const name = job ?? values.random.weigh(held ? heldOut : stages[stage]);
    const example = jobs[name](values, held);
    yield held ? { job: name, ...example } : { messages: example.messages };
  }
}

function options(argv) {
  const out = { examples: '1000', seed: '1', half: 'train', stage: 'jobs' };
  for (let i = 0; i < argv.length; i += 2) {
    const name = argv[i].replace(/^--/, '');
    if (!['examples', 'seed', 'half', 'job', 'stage'].includes(name) || argv[i + 1] === undefined) throw new Error(`unknown option ${argv[i]}: see the head of generate.mjs`);
    out[name] = argv[i + 1];
  }
  if (out.job && !jobs[out.job]) throw new Error(`no job '${out.job}': ${Object.keys(jobs).join(', ')}`);
  if (!stages[out.stage]) throw new Error(`no stage '${out.stage}': ${Object.keys(stages).join(', ')}`);
  if (!['train', 'held'].includes(out.half)) throw new Error(`no half '${out.half}': train or held`);
  return out;
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const o = options(process.argv.slice(2));
  process.stdout.on('error', (e) => { if (e.code === 'EPIPE') process.exit(0); throw e; });
  let out = '';
  for (const e of examples({ seed: Number(o.seed), count: Number(o.examples), held: o.half === 'held', job: o.job, stage: o.stage })) {
    out += `${JSON.stringify(e)}\n`;
    if (out.length > 1 << 16) {
      if (!process.stdout.write(out)) await new Promise((go) => process.stdout.once('drain', go));
      out = '';
    }
  }
  process.stdout.write(out);
}

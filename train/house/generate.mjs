#!/usr/bin/env node
// The house model's corpus: chats for its four jobs, a line of JSON each; the same seed writes the same bytes.
//   node train/house/generate.mjs --examples 100000 [--seed 1] [--half train|held] [--stage copying|words|jobs|last] [--job sort|extract|...] [--wordnet no] > corpus.jsonl
// Lines of the held-out half also say which job they are ("job") and, for questions, what an answer must hold ("must").
import { Random } from './random.mjs';
import { Values } from './values.mjs';
import { sortExample, wordsExample } from './sort.mjs';
import { copyExample, extractExample } from './extract.mjs';
import { elsewhereExample, weirExample } from './talk.mjs';
import { meaningExample, meaningsExample } from './meanings.mjs';
import { folder, installed } from './wordnet.mjs';

const jobs = {
  sort: sortExample, extract: extractExample, weir: weirExample, decline: elsewhereExample, copy: copyExample,
  // Kinds of these, to be learned first.
  named: (values, held) => sortExample(values, held, 'named'), topic: (values, held) => sortExample(values, held, 'topic'),
  words: wordsExample,
  meaning: meaningExample, meanings: meaningsExample, // of WordNet's words
  strange: (values, held) => extractExample(values, held, 'strange'), form: (values, held) => extractExample(values, held, 'form'),
};
// What is learned after what: to say something again; to look it up, by what stands before it or by what it means; all jobs; and
// once more those that it does worst, at small steps. The held-out half has the four jobs only.
const stages = {
  copying: [[1, 'copy']],
  words: [[8, 'copy'], [30, 'words'], [25, 'meanings'], [10, 'meaning'], [16, 'named'], [12, 'strange'], [9, 'form'], [5, 'weir']],
  jobs: [[5, 'copy'], [8, 'words'], [7, 'meanings'], [8, 'meaning'], [11, 'strange'], [6, 'named'], [32, 'extract'], [38, 'topic'], [15, 'weir'], [19, 'decline']],
  last: [[3, 'copy'], [2, 'words'], [4, 'strange'], [22, 'extract'], [16, 'topic'], [3, 'named'], [14, 'weir'], [36, 'decline']],
};
const heldOut = [[25, 'sort'], [25, 'extract'], [25, 'weir'], [25, 'decline']];

const ofWordNet = ['meaning', 'meanings'];

/** Without WordNet the corpus is the same but for what comes from there. */
export function* examples({ seed = 1, count, held = false, job, stage = 'jobs', wordnet = installed() }) {
  const values = new Values(new Random(seed), held);
  const parts = (held ? heldOut : stages[stage]).filter(([, name]) => wordnet || !ofWordNet.includes(name));
  for (let i = 0; i < count; i++) {
    const name = job ?? values.random.weigh(parts);
    const example = jobs[name](values, held);
    yield held ? { job: name, ...example } : { messages: example.messages };
  }
}

function options(argv) {
  const out = { examples: '1000', seed: '1', half: 'train', stage: 'jobs', wordnet: 'yes' };
  for (let i = 0; i < argv.length; i += 2) {
    const name = argv[i].replace(/^--/, '');
    if (!['examples', 'seed', 'half', 'job', 'stage', 'wordnet'].includes(name) || argv[i + 1] === undefined) throw new Error(`unknown option ${argv[i]}: see the head of generate.mjs`);
    out[name] = argv[i + 1];
  }
  if (out.job && !jobs[out.job]) throw new Error(`no job '${out.job}': ${Object.keys(jobs).join(', ')}`);
  if (!stages[out.stage]) throw new Error(`no stage '${out.stage}': ${Object.keys(stages).join(', ')}`);
  if (!['train', 'held'].includes(out.half)) throw new Error(`no half '${out.half}': train or held`);
  if (!['yes', 'no'].includes(out.wordnet)) throw new Error(`--wordnet ${out.wordnet}: yes or no`);
  const needed = out.half === 'train' && (out.job ? ofWordNet.includes(out.job) : stages[out.stage].some(([, name]) => ofWordNet.includes(name)));
  if (needed && out.wordnet === 'yes' && !installed()) {
    throw new Error(`WordNet is not in ${folder}: install it (tools/deps train; Debian's wordnet-base), or leave the meanings of words out with --wordnet no`);
  }
  return out;
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  let o;
  try {
    o = options(process.argv.slice(2));
  } catch (e) {
    console.error(`generate.mjs: ${e.message}`);
    process.exit(2);
  }
  process.stdout.on('error', (e) => { if (e.code === 'EPIPE') process.exit(0); throw e; });
  let out = '';
  for (const e of examples({ seed: Number(o.seed), count: Number(o.examples), held: o.half === 'held', job: o.job, stage: o.stage, wordnet: o.wordnet === 'yes' })) {
    out += `${JSON.stringify(e)}\n`;
    if (out.length > 1 << 16) {
      if (!process.stdout.write(out)) await new Promise((go) => process.stdout.once('drain', go));
      out = '';
    }
  }
  process.stdout.write(out);
}

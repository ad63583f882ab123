#!/usr/bin/env node
// The house model's corpus: chats for its four jobs, a line of JSON each; the same seed writes the same bytes.
//   node train/house/generate.mjs --examples 100000 [--seed 1] [--half train|held] [--job sort|extract|weir|decline|copy] > corpus.jsonl
// Lines of the held-out half also say which job they are ("job") and, for questions, what an answer must hold ("must").
import { Random } from './random.mjs';
import { Values } from './values.mjs';
import { sortExample } from './sort.mjs';
import { copyExample, extractExample } from './extract.mjs';
import { elsewhereExample, weirExample } from './talk.mjs';

const jobs = { sort: sortExample, extract: extractExample, weir: weirExample, decline: elsewhereExample, copy: copyExample };
// Copying is learned last and needs the most practice; the other half has the four jobs only.
const mixes = {
  train: [[12, 'copy'], [26, 'sort'], [40, 'extract'], [14, 'weir'], [8, 'decline']],
  held: [[25, 'sort'], [25, 'extract'], [25, 'weir'], [25, 'decline']],
};

export function* examples({ seed = 1, count, held = false, job }) {
  const values = new Values(new Random(seed), held);
  for (let i = 0; i < count; i++) {
    const name = job ?? values.random.weigh(mixes[held ? 'held' : 'train']);
    const example = jobs[name](values, held);
    yield held ? { job: name, ...example } : { messages: example.messages };
  }
}

function options(argv) {
  const out = { examples: '1000', seed: '1', half: 'train' };
  for (let i = 0; i < argv.length; i += 2) {
    const name = argv[i].replace(/^--/, '');
    if (!['examples', 'seed', 'half', 'job'].includes(name) || argv[i + 1] === undefined) throw new Error(`unknown option ${argv[i]}: see the head of generate.mjs`);
    out[name] = argv[i + 1];
  }
  if (out.job && !jobs[out.job]) throw new Error(`no job '${out.job}': ${Object.keys(jobs).join(', ')}`);
  if (!['train', 'held'].includes(out.half)) throw new Error(`no half '${out.half}': train or held`);
  return out;
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const o = options(process.argv.slice(2));
  process.stdout.on('error', (e) => { if (e.code === 'EPIPE') process.exit(0); throw e; });
  let out = '';
  for (const e of examples({ seed: Number(o.seed), count: Number(o.examples), held: o.half === 'held', job: o.job })) {
    out += `${JSON.stringify(e)}\n`;
    if (out.length > 1 << 16) {
      if (!process.stdout.write(out)) await new Promise((go) => process.stdout.once('drain', go));
      out = '';
    }
  }
  process.stdout.write(out);
}

// make bench-finetune [MODEL=models/house.gguf]: what a few minutes of `weir finetune` teach a small model that extracts: reports of a
// harbour, whose fields and wording the house model's corpus does not have.
//
//   node bench/finetune.mjs MODEL.gguf [options of weir finetune, as --rank 16 --epochs 8]
//
// From the environment: WEIR=build/weir, EXAMPLES=500, SEED=1. Trains on that many reports, asks 100 fresh ones (the same
// wording; other names and numbers), says how many answers are exactly right, before and after, and how long it took.
// Exit code 1: fewer than 90, or more than ten minutes.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Random } from '../train/house/random.mjs';

const { WEIR = 'build/weir', EXAMPLES = '500', SEED = '1' } = process.env;
const ASKED = 100;
const GOAL = { right: 90, minutes: 10 };

// What a report says of a ship: its value, and how it is said.
const syllables = ['va', 'ro', 'ken', 'tis', 'mar', 'ol', 'dan', 'shi', 'bre', 'lun', 'ga', 'per', 'wit', 'zo', 'nel', 'hak', 'ist', 'fur', 'ema', 'quo'];
const word = (r) => { const w = Array.from({ length: r.between(2, 4) }, () => r.pick(syllables)).join(''); return w[0].toUpperCase() + w.slice(1); };
const pad = (n) => String(n).padStart(2, '0');
const fields = {
  vessel: [(r) => (r.chance(0.4) ? `${word(r)} ${word(r)}` : word(r)), ['the {v} is at the roads', 'vessel {v} called in', '{v} is inbound', 'we have {v} on the list']],
  berth: [(r) => `${r.pick(['A', 'B', 'C', 'E', 'K', 'N'])}${r.between(1, 48)}`, ['she goes to {v}', 'berth {v} is free for her', 'moor at {v}', 'quay {v} was given']],
  draught: [(r) => `${r.between(3, 16)}.${r.between(0, 9)} m`, ['she draws {v}', 'draught {v}', 'depth needed {v}', 'her keel is at {v}']],
  cargo: [(r) => `${r.between(1, 90) * 100} t of ${r.pick(['gravel', 'wheat', 'steel', 'timber', 'salt', 'coal', 'cement', 'scrap'])}`, ['laden with {v}', 'on board {v}', 'she brings {v}', 'cargo {v}']],
  pilot: [(r) => `${word(r)} ${word(r)}`, ['pilot {v} boards', '{v} takes her in', 'pilotage by {v}', 'guided by {v}']],
  eta: [(r) => `${pad(r.between(0, 23))}:${pad(r.between(0, 59))}`, ['due {v}', 'expected at {v}', 'lines ashore by {v}', 'not before {v}']],
};
const noise = ['wind is light', 'tugs stand by', 'no tank cleaning', 'the crane is booked', 'shore power asked for'];

function report(r) {
  const want = {};
  const said = [];
  for (const [name, [make, ways]] of Object.entries(fields)) {
    want[name] = r.chance(0.85) ? make(r) : null;
    if (want[name]) said.push(r.pick(ways).replace('{v}', () => want[name]));
  }
  for (let n = r.between(0, 2); n > 0; n--) said.push(r.pick(noise));
  const text = r.sample(said, said.length).join(r.pick([', ', '; ', '. ']));
  return [{ role: 'user', content: `Harbour report: ${text}.` }, { role: 'assistant', content: JSON.stringify(want).replace(/([,:])"/g, '$1 "').replace(/:null/g, ': null') }];
}

const reports = (seed, n) => { const r = new Random(seed); return Array.from({ length: n }, () => report(r)); };
const lines = (rows) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

function weir(...args) {
  const run = spawnSync(WEIR, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', args[0] === 'finetune' ? 'inherit' : 'pipe'] });
  if (run.status !== 0) throw new Error(`weir ${args[0]}: ${run.stderr || run.error || ''}`);
}

// How many of the answers, and of their fields, are right.
function score(folder, model, asked) {
  const [question, answer] = [join(folder, 'in.jsonl'), join(folder, 'out.jsonl')];
  writeFileSync(question, lines(asked.map((m, i) => ({ custom_id: String(i), method: 'POST', url: '/v1/chat/completions', body: { model: 'm', messages: m.slice(0, 1), temperature: 0, max_tokens: 200 } }))));
  rmSync(answer, { force: true });
  weir('batch', question, answer, '--model', model);
  let [right, found, all] = [0, 0, 0];
  for (const line of readFileSync(answer, 'utf8').trim().split('\n')) {
    const { custom_id: id, response } = JSON.parse(line);
    const said = response.body.choices[0].message.content ?? '';
    const want = JSON.parse(asked[Number(id)][1].content);
    let got = {};
    try { got = JSON.parse(said) ?? {}; } catch { /* no field of it is right */ }
    right += JSON.stringify(got) === JSON.stringify(want);
    for (const [k, v] of Object.entries(want)) { all++; found += got[k] === v; }
  }
  return { right, fields: found / all };
}

const [model, ...options] = process.argv.slice(2);
if (!model) {
  console.error('usage: node bench/finetune.mjs MODEL.gguf [options of weir finetune]');
  process.exit(2);
}
const folder = mkdtempSync(join(tmpdir(), 'weir-finetune-'));
try {
  const [data, adapter, merged] = ['data.jsonl', 'adapter.gguf', 'merged.gguf'].map((name) => join(folder, name));
  writeFileSync(data, lines(reports(Number(SEED), Number(EXAMPLES)).map((messages) => ({ messages }))));
  const asked = reports(Number(SEED) + 1000003, ASKED);
  const before = score(folder, model, asked);
  const start = performance.now();
  weir('finetune', model, data, '--out', ...(options.includes('--full') ? [merged] : [adapter, '--merged', merged]), ...options);
  const minutes = (performance.now() - start) / 60000;
  const after = score(folder, merged, asked);
  const show = (s) => `${s.right} of ${ASKED} exact, ${(100 * s.fields).toFixed(1)}% of fields`;
  console.log(`${EXAMPLES} examples, ${options.join(' ') || 'no options'}: before ${show(before)}; after ${show(after)}; ${minutes.toFixed(1)} minutes`);
  process.exitCode = after.right >= GOAL.right && minutes <= GOAL.minutes ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true });
}

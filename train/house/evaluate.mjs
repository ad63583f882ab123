#!/usr/bin/env node
// How well a model does the house model's four jobs, on prompts that its corpus does not hold.
//   node train/house/evaluate.mjs [MODEL.gguf] [--weir build/weir] [--seed 2026] [--show N]
// Prompts are the held-out half of the generator's (other requests, labels, names and numbers) and those of eval.jsonl,
// written by hand. Scores: (a) the label exactly, (b) the share of fields with exactly their value, (c) what the answer must
// hold, (d) declined. Exit code 1 where a target is missed.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { examples } from './generate.mjs';

export const targets = { sort: 0.95, extract: 0.9, weir: 0.95, decline: 1 };
const counts = { sort: 200, extract: 200, weir: 100, decline: 50 };
const longest = { sort: 40, extract: 250, weir: 120, decline: 60 }; // tokens; a model that babbles is not waited for
const declined = (answer) => /beyond me/.test(answer) && /weir pull/.test(answer);

/** "a & b | c": every part of one alternative is in the text. */
export const holds = (text, must) =>
  must.split(' | ').some((all) => all.split(' & ').every((part) => text.toLowerCase().includes(part.toLowerCase())));

/** How much of an answer is right, 0 to 1. */
export function grade(item, answer) {
  const want = item.messages.at(-1).content;
  if (item.job === 'sort') return answer.trim() === want ? 1 : 0;
  if (item.job === 'decline') return declined(answer) ? 1 : 0;
  if (item.job === 'weir') return holds(answer, item.must) && !declined(answer) ? 1 : 0;
  let got;
  try { got = JSON.parse(answer); } catch { return 0; }
  const fields = Object.entries(JSON.parse(want));
  return fields.filter(([k, v]) => got !== null && typeof got === 'object' && got[k] === v).length / fields.length;
}

/* What the model answers to each, through weir batch. */
function answers(items, model, weir) {
  const folder = mkdtempSync(join(tmpdir(), 'house-'));
  const [asked, told] = [join(folder, 'in.jsonl'), join(folder, 'out.jsonl')];
  try {
    writeFileSync(asked, items.map((item, i) => `${JSON.stringify({
      custom_id: String(i), method: 'POST', url: '/v1/chat/completions',
      body: { model: 'house', messages: item.messages.slice(0, -1), temperature: 0, max_tokens: longest[item.job] },
    })}\n`).join(''));
    const run = spawnSync(weir, ['batch', asked, told, '--model', model], { encoding: 'utf8' });
    if (run.status !== 0) throw new Error(`weir batch: ${run.stderr || run.error}`);
    const out = [];
    for (const line of readFileSync(told, 'utf8').trim().split('\n')) {
      const { custom_id: id, response } = JSON.parse(line);
      out[Number(id)] = response.body.choices[0].message.content ?? '';
    }
    return out;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export function written() {
  const text = readFileSync(new URL('eval.jsonl', import.meta.url), 'utf8');
  return text.trim().split('\n').map((l) => JSON.parse(l)).map(({ job, system, ask, want, must }) => ({
    job, must, messages: [...(system ? [{ role: 'system', content: system }] : []), { role: 'user', content: ask },
      { role: 'assistant', content: typeof want === 'object' ? JSON.stringify(want) : want ?? '' }],
  }));
}

export const generated = (seed) => Object.entries(counts).flatMap(([job, count]) =>
  [...examples({ seed, count, held: true, job })]);

function report(name, items, told, show) {
  let missed = false;
  for (const job of Object.keys(targets)) {
    const graded = items.map((item, i) => [grade(item, told[i]), item, told[i]]).filter(([, item]) => item.job === job);
    const score = graded.reduce((sum, [g]) => sum + g, 0) / graded.length;
    missed ||= score < targets[job];
    console.log(`${name.padEnd(10)} ${job.padEnd(8)} ${score.toFixed(3)} of ${graded.length} (target ${targets[job]})`);
    for (const [, item, answer] of graded.filter(([g]) => g < 1).slice(0, show)) {
      console.log(JSON.stringify({ asked: item.messages.slice(0, -1).map((m) => m.content), want: item.must ?? item.messages.at(-1).content, answer }));
    }
  }
  return missed;
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const args = process.argv.slice(2);
  const option = (name, or) => { const i = args.indexOf(`--${name}`); return i < 0 ? or : args.splice(i, 2)[1]; };
  const weir = option('weir', 'build/weir'), seed = Number(option('seed', 2026)), show = Number(option('show', 0));
  const model = args[0] ?? 'models/house.gguf';
  let missed = false;
  for (const [name, items] of [['held-out', generated(seed)], ['by hand', written()]]) {
    missed = report(name, items, answers(items, model, weir), show) || missed;
  }
  process.exitCode = missed ? 1 : 0;
}

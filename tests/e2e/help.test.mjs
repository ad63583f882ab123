// weir --help: every verb under a heading, in a terminal's width; README.md has the same ones.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const weir = new URL('../../build/weir', import.meta.url).pathname;
const help = (...args) => {
  const { status, stdout } = spawnSync(weir, [...args, '--help'], { encoding: 'utf8' });
  assert.equal(status, 0, `weir ${args} --help`);
  return stdout;
};

/** {heading: verbs} of lines that are either. */
const groups = (lines, heading, verbs) => {
  const all = {};
  let last;
  for (const line of lines) {
    const title = heading.exec(line)?.[1];
    if (title) all[(last = title)] = [];
    else if (last) all[last].push(...verbs(line));
  }
  for (const group of Object.values(all)) group.sort();
  return all;
};

const said = groups(help().split('\n'), /^([A-Z][a-z ]+):$/, (line) => [...line.matchAll(/^  ([a-z]+) /g)].map((m) => m[1]));

test('every verb stands under a heading and answers --help', () => {
  assert.equal(Object.keys(said).length, 5);
  for (const verb of Object.values(said).flat()) assert.match(help(verb), new RegExp(`^usage: weir ${verb}\\b`));
  for (const line of help().split('\n')) assert.ok(line.length <= 80, line);
});

test('README.md has every verb under the same heading', () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  const rows = readme.split('## Command line')[1].split('\n## ')[0].split('\n');
  const named = (row) => {
    const first = row.split('|')[1] ?? '';
    return [...first.matchAll(/`([a-z]+)[^`]*`/g)].map((m) => m[1]);
  };
  const known = new Set(Object.values(said).flat());
  const told = groups(rows, /^\| \*\*([^*]+)\*\*/, (row) => named(row).filter((verb) => known.has(verb)));
  for (const [heading, verbs] of Object.entries(told)) told[heading] = [...new Set(verbs)];
  assert.deepEqual(told, said);
});

// weir --help: every verb under a heading, in a terminal's width; README.md has the same ones.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root, weir } from './lib/gateway.mjs';

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

test('a request that README.md shows asked for a model that make run does not serve', () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  const bodies = [...readme.matchAll(/-d '(\{"model".*?\})'\n/gs)].map((m) => JSON.parse(m[1]));
  assert.equal(bodies.length, 2);
  for (const { model } of bodies) assert.equal(model, 'auto');
});

test('every link of README.md leads to a heading or a file', () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  const anchors = [...readme.matchAll(/^#+ (.*)$/gm)].map((m) => m[1].toLowerCase().replace(/[^a-z0-9 -]/g, '').replaceAll(' ', '-'));
  const links = [...readme.matchAll(/\]\(([^)]*)\)/g)].map((m) => m[1]);
  assert.ok(links.length > 20);
  for (const link of links)
    assert.ok(link[0] === '#' ? anchors.includes(link.slice(1)) : existsSync(new URL(`../../${link}`, import.meta.url)), link);
});

test('chat and bench that knew no model ended as if they had failed, not as used wrongly', () => {
  for (const verb of ['chat', 'bench']) {
    const { status, stderr } = spawnSync(weir, [verb], { cwd: tmpdir(), input: '', encoding: 'utf8' });
    assert.equal(status, 2, stderr);
    assert.match(stderr, /^weir: which model\?/);
  }
});

test('what README.md shows of a configuration is right', () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  const folder = mkdtempSync(join(tmpdir(), 'weir-readme-'));
  mkdirSync(join(folder, 'models'));
  for (const model of ['models/house.gguf', 'large.gguf']) writeFileSync(join(folder, model), '');
  writeFileSync(join(folder, 'customers.txt'), 'Ada Lovelace Ltd\n');
  writeFileSync(join(folder, 'board.txt'), 'The board met on Tuesday and agreed to sell the mill at the river to nobody. '.repeat(9));
  assert.equal(spawnSync(weir, ['fingerprint', '--out', 'board.fingerprint', 'board.txt'], { cwd: folder }).status, 0);
  const blocks = [...readme.matchAll(/```yaml\n([^]*?)```/g)].map((m) => m[1]);
  const first = blocks[0];
  const part = (key) => new RegExp(`^${key}:[^\\n]*\\n(?:[ ].*\\n)*`, 'm').exec(first)[0];
  assert.ok(blocks.length >= 7);
  for (const block of blocks) {
    // A part of a file stands for itself: what it names and does not have is the first one's.
    const whole = block.startsWith('rules:') ? `routes:\n  - name: auto\n    ${block}` : block;
    const rest = ['providers', 'models'].filter((key) => !new RegExp(`^${key}:`, 'm').test(whole)).map(part);
    writeFileSync(join(folder, 'weir.yaml'), whole + rest.join(''));
    const keys = { OPENAI_API_KEY: 'a', ANTHROPIC_API_KEY: 'b', GEMINI_API_KEY: 'c' };
    const { status, stderr } = spawnSync(weir, ['serve', '--check'], { cwd: folder, encoding: 'utf8', env: { ...process.env, ...keys } });
    assert.equal(status, 0, `${stderr}${whole}`);
  }
  rmSync(folder, { recursive: true });
});

test("a sanitizer's runtime refers to vfork itself, so no build of the worker by clang could be linked; all else is refused there, too", () => {
  const refused = (flags) => {
    const { status, stdout } = spawnSync('make', ['-n', 'BUILD=none', `CFLAGS=${flags}`, 'none/weir-engine'], { cwd: root, encoding: 'utf8' });
    assert.equal(status, 0);
    return [...stdout.matchAll(/--wrap=(\w+)/g)].map((m) => m[1]);
  };
  const release = refused('-O2');
  assert.ok(release.includes('vfork') && release.includes('socket') && release.includes('execve'));
  assert.deepEqual(refused('-O1 -fsanitize=address'), release.filter((name) => name !== 'vfork'));
});

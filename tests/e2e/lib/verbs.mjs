// Verbs of the command line, as tests run them.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { weir } from './gateway.mjs';

// What a verb complained of.
export const said = (r) => r.stderr.split('\n').filter((line) => line.startsWith('weir: ')).join('\n');

// Each of `tries`, [arguments, exit code, what it says], is one line that says what to do, and none leaves x.gguf or parts of it.
export function checkMistakes(folder, tries) {
  for (const [args, status, what] of tries) {
    const r = spawnSync(weir, args, { cwd: folder, encoding: 'utf8' });
    assert.equal(r.status, status, `${args.join(' ')}: ${r.stderr}`);
    assert.match(said(r), what);
  }
  assert.deepEqual(readdirSync(folder).filter((name) => name.startsWith('x.gguf')), []);
}

// A verb that writes x.gguf, on a disk that takes `blocks` of 512 bytes.
export function checkFullDisk(folder, blocks, args) {
  const file = join(folder, 'x.gguf');
  writeFileSync(file, 'old');
  const r = spawnSync('sh', ['-c', `ulimit -f ${blocks}; exec ${weir} ${args}`], { cwd: folder, encoding: 'utf8' });
  assert.equal(r.status, 1, r.stderr);
  assert.match(r.stderr, /x\.gguf cannot be written/);
  assert.equal(readFileSync(file, 'utf8'), 'old');
  assert.ok(!existsSync(`${file}.part`));
}

// A verb of weir beside a cloud that lives in this process, where spawnSync would wait for itself.
export const runVerb = (args, { cwd, env, input = '' }) =>
  new Promise((done) => {
    const child = spawn(weir, args, { env, cwd });
    const r = { out: '', error: '' };
    child.stdout.on('data', (d) => (r.out += d));
    child.stderr.on('data', (d) => (r.error += d));
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    child.on('close', (code) => done({ code, ...r }));
  });

// A new API key of the state in a folder.
export const createKey = (folder, ...args) =>
  execFileSync(weir, ['keys', 'create', '--state', `sqlite:${folder}/weir.db`, ...args], { stdio: ['ignore', 'pipe', 'ignore'] }).toString().trim();

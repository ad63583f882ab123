// weir bench on a tiny model: what it prints, its JSON, its picture; no speed is asserted.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { makeFolder, makeModel, root, weir } from './lib/gateway.mjs';

let folder, model;
const bench = (...args) => {
  const r = spawnSync(weir, ['bench', ...args], { cwd: folder, encoding: 'utf8', env: { PATH: process.env.PATH } });
  return { code: r.status, out: r.stdout, err: r.stderr };
};
const small = ['--prompt', '16,32', '--generate', '4', '--depth', '0,40', '--parallel', '1,3', '--repeat', '2', '--threads', '1'];

before(() => {
  folder = makeFolder();
  model = makeModel(folder, 'tiny.gguf', ['--context', '256']);
});

test('every figure is a share of a limit of the same run', () => {
  const r = bench(model, ...small);
  assert.equal(r.code, 0, r.err);
  assert.match(r.out, /memory [\d.]+ GB\/s, one thread [\d.]+; /);
  assert.match(r.out, /prefill 16 +[\d.]+ t\/s \(\d+% of [\d.]+ (float TFLOPS|bf16 TFLOPS|int8 TOPS)\)/);
  for (const line of [/prefill 32 /, /prefill 16 +depth 40 /, /decode +[\d.]+ t\/s \(\d+% of /, /decode +3 streams/, /decode +depth 40 /, /copy +9 of 10 known +[\d.]+ t\/s \([\d.]+ times [\d.]+ t\/s without drafts; \d+% of them drawn\)/]) assert.match(r.out, line);
});

test('JSON with the members that scripts rely on, and a picture', () => {
  const r = bench('--model', model, ...small, '--json', '--svg', 'speed.svg');
  assert.equal(r.code, 0, r.err);
  const o = JSON.parse(r.out);
  for (const speed of [o.prefill_tps, o.decode_tps]) assert.ok(speed.min > 0 && speed.min <= speed.median && speed.median <= speed.max, r.out);
  assert.ok(o.load_s > 0 && o.first_token_s > 0 && o.peak_bytes > 1e6 && o.limits.read_gbps > 0 && o.limits.decode_share > 0, r.out);
  assert.equal(typeof o.isa, 'string');
  assert.deepEqual(o.points.map((p) => [p.depth, p.parallel, p.prompt, p.generate]), [[0, 1, 16, 4], [0, 3, undefined, 4], [0, 1, 32, undefined], [40, 1, 16, 4]]);
  assert.ok(o.points.every((p) => !p.skipped && (p.decode_tps ?? p.prefill_tps).n >= 1));
  assert.ok(o.copy.generate === 128 && o.copy.decode_tps.n >= 1 && o.copy.plain_tps.n === o.copy.decode_tps.n, r.out);
  const svg = readFileSync(join(folder, 'speed.svg'), 'utf8');
  assert.match(svg, /^<svg [^]*<\/svg>\n$/);
  assert.equal(svg.match(/<circle /g).length, 2 + 2 + 2);
  assert.equal(svg.match(/<polyline /g).length, svg.match(/<g transform/g).length, 'decode was a flat line under the scale of prefill');
});

test('the last layer was counted for all tokens, though its network runs for those that want logits: shares were too high', () => {
  const d = 256, kv = 128, ffn = 512, prompt = 256;
  const plain = makeModel(folder, 'plain.gguf', ['--layers', '2', '--embed', d, '--heads', '4', '--kv-heads', '2', '--ffn', ffn, '--context', '512', '--type', 'F32'].map(String));
  const r = bench(plain, '--prompt', String(prompt), '--generate', '1', '--depth', '0', '--parallel', '1', '--copy', '0', '--repeat', '1', '--threads', '1', '--json');
  assert.equal(r.code, 0, r.err);
  const { prefill_share: share, prefill_tps: { median }, limits } = { ...JSON.parse(r.out), ...JSON.parse(r.out).points[0] };
  const attention = 2 * d * d + 2 * d * kv, network = 3 * d * ffn;
  const counted = (share * limits.float_tflops * 1e12) / median / 2, is = 2 * attention + network;
  assert.ok(Math.abs(counted / is - 1) < 0.02, `${counted} products a token, not ${is}`); // and one token's network and output
});

test('the cache is of the type that is asked for', () => {
  for (const type of ['f32', 'bf16', 'q8_0']) assert.equal(bench(model, '--prompt', '16', '--generate', '4', '--depth', '40', '--parallel', '1', '--copy', '0', '--threads', '1', '--kv-type', type).code, 0);
  const r = bench(model, ...small, '--kv-type', 'q9');
  assert.equal(r.code, 1);
  assert.match(r.err, /use f32, f16, bf16, q8_0 or q4_0/);
});

test('what the time does not allow is skipped, and said', () => {
  const r = bench(model, '--prompt', '16', '--generate', '4', '--depth', '0,1000000', '--parallel', '1', '--time', '1', '--memory-unchecked', '--threads', '1');
  assert.equal(r.code, 0, r.err);
  assert.match(r.out, /depth 1000000 +skipped/);
});

test('wrong options and files are said, with the exit code of usage or failure', () => {
  for (const args of [['--prompt', '0'], ['--parallel', '1,x'], ['--time', '0'], ['--depth', '1,'.repeat(20) + '1'], ['another.gguf']]) {
    const r = bench(model, ...args);
    assert.equal(r.code, 2, JSON.stringify([args, r]));
    assert.match(r.err, /^weir: /);
  }
  assert.equal(bench(join(folder, 'none.gguf')).code, 1);
  assert.equal(bench(model, ...small, '--svg', '/nowhere/a.svg').code, 1);
  const help = bench('--help');
  assert.equal(help.code, 0);
  assert.match(help.out, /--parallel/);
});

test('make bench-peers runs a program beside ours, in turn, and compares', () => {
  // Answers as such programs do, with speeds that make every ratio known to be there.
  const peer = join(root, 'tests/e2e/lib/bench_peer.mjs');
  const r = spawnSync('node', [join(root, 'bench/peers.mjs'), weir, peer, model], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, PROMPT: '16', GENERATE: '4', DEPTH: '0,40', ROUNDS: '2' },
  });
  assert.equal(r.status, 0, r.stderr);
  assert.match(r.stdout, /prefill 16 +[\d.]+ +1000\.0 +[\d.]+/);
  assert.match(r.stdout, /decode at 40 +[\d.]+ +100\.0 +[\d.]+/);
});

test('a peer that fails or prints something else ended bench-peers in a stack trace, without what it had said', () => {
  const peers = (body, file = model) => {
    writeFileSync(join(folder, 'peer'), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
    return spawnSync('node', [join(root, 'bench/peers.mjs'), weir, join(folder, 'peer'), file], { encoding: 'utf8', env: { PATH: process.env.PATH, PROMPT: '4', GENERATE: '2', DEPTH: '0', ROUNDS: '1' } });
  };
  for (const [body, said, file] of [
    ['echo no such model >&2; exit 3', /peer failed \(exit code 3\)\nno such model\n$/],
    ['echo hello', /peer printed no JSON for -m /],
    ['echo "[1]"', /peer printed no list of rows/],
    ['true', /weir failed \(exit code 1\)\nweir: .*none\.gguf/, 'none.gguf'],
  ]) {
    const r = peers(body, file);
    assert.equal(r.status, 1, body);
    assert.match(r.stderr, said);
    assert.doesNotMatch(r.stderr, /\bat .*mjs/);
  }
});

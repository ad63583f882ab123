// weir train and weir finetune as a user runs them: killed and gone on with, then served by the gateway.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, linkSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { Gateway, makeFolder, sleep, weir } from './lib/gateway.mjs';
import { checkMistakes } from './lib/verbs.mjs';

const colours = ['red', 'green', 'blue', 'grey', 'white', 'brown'];
const things = ['cup', 'door', 'lamp', 'chair', 'book'];
let folder;

// Every pair of a colour and a thing; what is said of it follows from it.
const examples = (answer) =>
  colours
    .flatMap((colour) => things.map((thing) => ({ colour, thing })))
    .map(({ colour, thing }) => ({
      messages: [
        { role: 'user', content: `the ${colour} ${thing}` },
        { role: 'assistant', content: answer(colour, thing) },
      ],
    }));
const lines = (rows) => rows.map((r) => `${JSON.stringify(r)}\n`).join('');
const config = (more = '') => `name: tiny
model: {layers: 2, embed: 64, heads: 4, kv_heads: 2, ffn: 96, vocab: 320, context: 64}
data: {train: [data.jsonl], validation: [data.jsonl]}
train: {steps: 500, batch_tokens: 400, learning_rate: 0.006, warmup: 20, validate_every: 100, checkpoint_every: 50${more}}
`;
const at = (name) => join(folder, name);
const run = (...args) => spawnSync(weir, args, { cwd: folder, encoding: 'utf8', timeout: 600000 });
const log = (name) => JSON.parse(readFileSync(at(`${name}.log.json`), 'utf8'));

before(() => {
  folder = makeFolder();
  writeFileSync(at('data.jsonl'), lines(examples((colour, thing) => `it is a ${thing} of ${colour}`)));
  writeFileSync(at('more.jsonl'), lines(examples((colour, thing) => `it is ${colour} a ${thing}`)));
  writeFileSync(at('c.yaml'), config());
});

test('a model is trained, its reports are written, and its checkpoint goes', () => {
  const r = run('train', 'c.yaml', '--out', 'm.gguf', '--threads', '1');
  assert.equal(r.status, 0, r.stderr);
  assert.match(r.stderr, /memory: .* MiB/);
  assert.match(r.stderr, /500 steps/);
  const { steps, validations } = log('m.gguf');
  assert.equal(steps.length, 500);
  assert.ok(steps[499].loss < 0.1, `loss ${steps[499].loss}`);
  assert.equal(validations.at(-1).step, 500);
  assert.match(readFileSync(at('m.gguf.svg'), 'utf8'), /^<svg [\s\S]*<\/svg>\n$/);
  assert.ok(!existsSync(at('m.gguf.checkpoint')));
});

test('a run that is killed goes on to the same losses and the same file, with other threads too', async () => {
  const args = ['train', 'c.yaml', '--out', 'k.gguf', '--threads', '2'];
  const killed = spawn(weir, args, { cwd: folder, stdio: 'ignore' });
  while (!existsSync(at('k.gguf.checkpoint')) && killed.exitCode === null) await sleep(2);
  killed.kill('SIGKILL');
  await new Promise((done) => killed.on('exit', done));
  assert.ok(!existsSync(at('k.gguf')), 'it was done before it could be killed');
  const r = run(...args);
  assert.equal(r.status, 0, r.stderr);
  assert.match(r.stderr, /going on after step \d+/);
  assert.deepEqual(log('k.gguf').steps, log('m.gguf').steps);
  assert.deepEqual(log('k.gguf').validations, log('m.gguf').validations);
  assert.ok(readFileSync(at('k.gguf')).equals(readFileSync(at('m.gguf'))));
});

test('an adapter whose run is killed goes on to the same losses and the same file', async () => {
  const args = (out, threads) => ['finetune', 'm.gguf', 'tune.yaml', '--out', out, '--threads', threads];
  writeFileSync(
    at('tune.yaml'),
    'data: {train: [more.jsonl], validation: [more.jsonl]}\nlora: {rank: 8}\n' +
      'train: {steps: 160, batch_tokens: 400, learning_rate: 0.003, validate_every: 40, checkpoint_every: 20}\n',
  );
  const whole = run(...args('wa.gguf', '1'));
  assert.equal(whole.status, 0, whole.stderr);
  for (const after of [20, 80]) {
    const killed = spawn(weir, args('ka.gguf', '2'), { cwd: folder, stdio: 'ignore' });
    const done = new Promise((end) => killed.on('exit', end));
    const steps = () => (existsSync(at('ka.gguf.log.json')) ? log('ka.gguf').steps.length : 0);
    while (steps() < after && killed.exitCode === null) await sleep(2);
    killed.kill('SIGKILL');
    await done;
    assert.ok(!existsSync(at('ka.gguf')), 'it was done before it could be killed');
  }
  const r = run(...args('ka.gguf', '2'));
  assert.equal(r.status, 0, r.stderr);
  assert.match(r.stderr, /going on after step \d+/);
  assert.deepEqual(log('ka.gguf').steps, log('wa.gguf').steps);
  assert.deepEqual(log('ka.gguf').validations, log('wa.gguf').validations);
  assert.ok(readFileSync(at('ka.gguf')).equals(readFileSync(at('wa.gguf'))));
});

test('SIGINT keeps the step and says how to go on', async () => {
  const args = ['train', 'c.yaml', '--out', 's.gguf', '--threads', '1'];
  const child = spawn(weir, args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (d) => (said += d));
  while (!/\d+\/500/.test(said) && child.exitCode === null) await sleep(2);
  child.kill('SIGINT');
  const code = await new Promise((done) => child.on('exit', done));
  assert.equal(code, 1, said);
  assert.match(said, /weir: stopped at step \d+: the same command goes on from there/);
  assert.ok(existsSync(at('s.gguf.checkpoint')));
  const now = run(...args, '--now');
  assert.equal(now.status, 0, now.stderr);
  assert.ok(existsSync(at('s.gguf')) && existsSync(at('s.gguf.checkpoint')));
  rmSync(at('s.gguf'));
  assert.match(run('train', 'c.yaml', '--out', 'never.gguf', '--now').stderr, /weir: cannot open the checkpoint never/);
  writeFileSync(at('s.gguf.checkpoint'), readFileSync(at('s.gguf.checkpoint')).fill(7, 5000, 5001));
  const corrupt = run(...args);
  assert.equal(corrupt.status, 1);
  assert.match(corrupt.stderr, /weir: the checkpoint s\.gguf\.checkpoint is corrupt: remove it, or begin anew with --fresh/);
});

test('two runs of one result took each other\'s checkpoints, and the first died of it', async () => {
  writeFileSync(at('both.yaml'), config().replace('steps: 500', 'steps: 100').replace('checkpoint_every: 50', 'checkpoint_every: 1'));
  const first = spawn(weir, ['train', 'both.yaml', '--out', 'both.gguf'], { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
  const said = [];
  first.stderr.on('data', (d) => said.push(d));
  const ended = new Promise((done) => first.on('exit', done));
  while (!existsSync(at('both.gguf.checkpoint'))) await sleep(5);
  first.kill('SIGSTOP');
  const second = run('train', 'both.yaml', '--out', 'both.gguf', '--fresh');
  first.kill('SIGCONT');
  assert.equal(second.status, 1, second.stderr);
  assert.match(second.stderr, /cannot train both\.gguf: another run is writing it/);
  assert.equal(await ended, 0, said.join(''));
  assert.deepEqual(readdirSync(folder).filter((n) => n.startsWith('both.gguf')), ['both.gguf', 'both.gguf.log.json', 'both.gguf.svg']);
});

test('a checkpoint of another configuration is refused', () => {
  writeFileSync(at('other.yaml'), config(', seed: 2'));
  const r = run('train', 'other.yaml', '--out', 's.gguf');
  assert.equal(r.status, 1);
  assert.match(r.stderr, /another configuration|corrupt/);
  assert.ok(!existsSync(at('s.gguf')));
});

test('an adapter teaches the model something else, and so does the model that it is folded into', () => {
  const r = run('finetune', 'm.gguf', 'more.jsonl', '--out', 'a.gguf', '--merged', 'f.gguf', '--epochs', '80',
    '--validation', 'more.jsonl');
  assert.equal(r.status, 0, r.stderr);
  assert.match(r.stderr, /memory:/);
  assert.ok(log('a.gguf').steps.at(-1).loss < 0.2, String(log('a.gguf').steps.at(-1).loss));
  assert.ok(statSync(at('a.gguf')).size < 300000);
});

test('a vocabulary that the data are too few for was made smaller without a word', () => {
  writeFileSync(at('wide.yaml'), config().replace('vocab: 320', 'vocab: 5000'));
  const r = run('train', 'wide.yaml', '--plan');
  assert.equal(r.status, 0, r.stderr);
  assert.match(r.stderr, /^\d+ tokens instead of 5000: the data repeat no more pairs of them$/m);
});

test('examples over the limit were said to be over that of the others, and a file with a byte order mark was no JSON', () => {
  const long = { messages: [{ role: 'user', content: 'of a red cup '.repeat(2000) }, { role: 'assistant', content: 'b' }] };
  writeFileSync(at('mark.jsonl'), `\ufeff${readFileSync(at('more.jsonl'), 'utf8')}${lines([long])}`);
  const plan = run('finetune', 'm.gguf', 'mark.jsonl', '--out', 'x.gguf', '--plan');
  assert.equal(plan.status, 0, plan.stderr);
  assert.match(plan.stderr, /left out: 1 examples longer than 4096 tokens/);
  writeFileSync(at('long.jsonl'), lines([long]));
  assert.match(run('finetune', 'm.gguf', 'long.jsonl', '--out', 'x.gguf').stderr, /no example that fits 4096 tokens/);
});

test('--full trains all weights', () => {
  const r = run('finetune', 'm.gguf', 'more.jsonl', '--out', 'w.gguf', '--full', '--epochs', '60', '--learning-rate', '0.003');
  assert.equal(r.status, 0, r.stderr);
  assert.ok(log('w.gguf').steps.at(-1).loss < 0.2, String(log('w.gguf').steps.at(-1).loss));
});

test("a frozen embedding stays what the file says, to the bit, while the layers learn", () => {
  writeFileSync(at('frozen.yaml'), 'data: {train: [more.jsonl]}\ntrain: {epochs: 2, optimizer: muon, embedding: frozen, precision: bf16}\n');
  const r = run('finetune', 'm.gguf', 'frozen.yaml', '--out', 'e.gguf', '--full');
  assert.equal(r.status, 0, r.stderr);
  const tensor = (file, name) => spawnSync(weir, ['show', at(file), '--tensor', name], { maxBuffer: 1 << 24 }).stdout;
  assert.ok(tensor('m.gguf', 'token_embd.weight').equals(tensor('e.gguf', 'token_embd.weight')));
  assert.ok(!tensor('m.gguf', 'blk.0.attn_q.weight').equals(tensor('e.gguf', 'blk.0.attn_q.weight')));
  writeFileSync(at('frozen.yaml'), `${readFileSync(at('frozen.yaml'))}output: {type: Q8_0}\n`);
  assert.equal(run('finetune', 'm.gguf', 'frozen.yaml', '--out', 'q.gguf', '--full').status, 0);
  const types = JSON.parse(run('show', 'q.gguf', '--json').stdout).tensors.filter((t) => t.shape.length > 1).map((t) => t.type);
  assert.deepEqual([...new Set(types)], ['Q8_0'], 'a type that is asked for is that of the frozen embedding, too');
});

// One rate for all taught a narrow model too little: ten epochs of 500 examples left 15 of the house model's 100 answers wrong.
test('the narrower a model, the higher the rate of its adapter', () => {
  const house = join(import.meta.dirname, '../../models/house.gguf');
  const rate = (...args) => Number(/learning rate ([\d.]+)/.exec(run('finetune', ...args, 'more.jsonl', '--plan').stderr)[1]);
  assert.equal(rate('m.gguf'), 0.01);
  assert.equal(rate(house), 0.0033);
  assert.equal(rate(house, '--full'), 0.001);
  assert.equal(rate(house, '--learning-rate', '0.002'), 0.002);
});

test('few examples take steps small enough that there are some', () => {
  writeFileSync(at('many.jsonl'), readFileSync(at('more.jsonl'), 'utf8').repeat(80));
  const r = run('finetune', 'm.gguf', 'many.jsonl', '--plan', '--epochs', '1');
  const [, steps, tokens] = /(\d+) steps of (\d+) tokens/.exec(r.stderr);
  assert.ok(Math.abs(steps - 128) <= 1 && tokens > 256 && tokens < 2048, r.stderr);
});

// Five times were too few for 500 examples: with two seeds of four an adapter of the house model got 89 and 90 of 100 right.
test('few examples are seen more often than many', () => {
  const line = readFileSync(at('more.jsonl'), 'utf8').split('\n')[0] + '\n';
  for (const [examples, epochs] of [[400, 10], [800, 6], [1000, 5], [3000, 5]]) {
    writeFileSync(at('some.jsonl'), line.repeat(examples));
    const r = run('finetune', 'm.gguf', 'some.jsonl', '--plan');
    assert.equal(Math.round(/: ([\d.]+) epochs/.exec(r.stderr)[1]), epochs, r.stderr);
  }
});

test('the gateway serves all of them', async () => {
  const gateway = await Gateway.start(
    `models:
  - {name: base, file: ${at('m.gguf')}, threads: 1}
  - {name: adapted, file: ${at('m.gguf')}, threads: 1, lora: [{file: ${at('a.gguf')}}]}
  - {name: folded, file: ${at('f.gguf')}, threads: 1}
  - {name: whole, file: ${at('w.gguf')}, threads: 1}
`,
    { folder, keep: true },
  );
  try {
    const say = async (model) => {
      const r = await gateway.chat(model, 'the green lamp', { temperature: 0, max_tokens: 20 });
      assert.equal(r.status, 200, JSON.stringify(r.body));
      assert.equal(r.body.choices[0].finish_reason, 'stop');
      return r.body.choices[0].message.content;
    };
    assert.equal(await say('base'), 'it is a lamp of green');
    assert.equal(await say('adapted'), 'it is green a lamp');
    assert.equal(await say('folded'), 'it is green a lamp');
    assert.equal(await say('whole'), 'it is green a lamp');
  } finally {
    await gateway.stop();
  }
});

test('mistakes are one line that says what to do, and leave no file', () => {
  const tries = [
    [['train'], 2, /wants a configuration and --out/],
    [['train', 'c.yaml', '--out', 'x.gguf', '--threads', 'many'], 2, /--threads wants a whole number/],
    [['train', 'none.yaml', '--out', 'x.gguf'], 2, /none\.yaml/],
    [['train', 'bad.yaml', '--out', 'x.gguf'], 2, /bad\.yaml:1: .*lairs/],
    [['train', 'huge.yaml', '--plan'], 1, /takes at least [\d.]+ GiB and [\d.]+ GiB are available: choose a smaller model/],
    [['train', 'lines.yaml', '--out', 'x.gguf'], 1, /lines\.jsonl:2: /],
    [['train', 'bare.yaml', '--out', 'x.gguf'], 1, /the data repeat no two bytes/],
    [['train', 'empty.yaml', '--out', 'x.gguf'], 1, /empty\.jsonl: there is no example in it/],
    [['finetune', 'm.gguf', 'role.jsonl', '--out', 'x.gguf'], 1, /role\.jsonl:1: messages\[1\] has the role 'asistant': it must be/],
    [['finetune', 'm.gguf', 'weight.jsonl', '--out', 'x.gguf'], 1, /weight\.jsonl:1: 'weight' of messages\[1\] must be a whole number from 0 to 100/],
    [['finetune', 'm.gguf', 'half.jsonl', '--out', 'x.gguf'], 1, /half\.jsonl:1: 'weight' of messages\[1\] must be a whole number/],
    [['train', 'c.yaml', '--out', 'none/x.gguf', '--fresh'], 1, /none\/x\.gguf/],
    [['finetune', 'm.gguf'], 2, /wants a model, data and --out/],
    [['finetune', 'data.jsonl', 'more.jsonl', '--out', 'x.gguf'], 1, /data\.jsonl/],
    [['finetune', 'm.gguf', 'more.jsonl', '--out', 'x.gguf', '--rank', '0'], 2, /--rank wants a number/],
    [['finetune', 'm.gguf', 'more.jsonl', '--out', 'x.gguf', '--precision', 'f16'], 2, /--precision is f32 or bf16/],
    [['train', 'half.yaml', '--out', 'x.gguf'], 2, /'precision' is f32 or bf16, not 'f16'/],
    [['finetune', 'm.gguf', 'muon.yaml', '--out', 'x.gguf'], 2, /'optimizer: muon' is for whole matrices/],
    [['train', 'kept.yaml', '--out', 'x.gguf'], 2, /'embedding: frozen' is for weir finetune/],
    [['finetune', 'm.gguf', 'typed.yaml', '--out', 'x.gguf'], 2, /'output' says the type of a model: leave it out for an adapter/],
  ];
  writeFileSync(at('kept.yaml'), config(', embedding: frozen'));
  writeFileSync(at('bad.yaml'), 'model: {lairs: 2}\n');
  writeFileSync(at('typed.yaml'), 'data: {train: [more.jsonl]}\ntrain: {epochs: 1}\noutput: {type: Q8_0}\n');
  writeFileSync(at('half.yaml'), config(', precision: f16'));
  writeFileSync(at('muon.yaml'), 'data: {train: [more.jsonl]}\ntrain: {epochs: 1, optimizer: muon}\n');
  writeFileSync(at('huge.yaml'), config().replace('layers: 2, embed: 64', 'layers: 200, embed: 16384'));
  writeFileSync(at('lines.yaml'), config().replace('[data.jsonl], v', '[lines.jsonl], v'));
  writeFileSync(at('empty.yaml'), config().replace('[data.jsonl], v', '[empty.jsonl], v'));
  writeFileSync(at('empty.jsonl'), '\n\n');
  writeFileSync(at('role.jsonl'), lines([{ messages: [{ role: 'user', content: 'a' }, { role: 'asistant', content: 'b' }] }]));
  writeFileSync(at('weight.jsonl'), lines([{ messages: [{ role: 'user', content: 'a' }, { role: 'assistant', content: 'b', weight: -1 }] }]));
  writeFileSync(at('half.jsonl'), lines([{ messages: [{ role: 'user', content: 'a' }, { role: 'assistant', content: 'b', weight: 0.5 }] }]));
  writeFileSync(at('bare.yaml'), config().replace('[data.jsonl], v', '[bare.jsonl], v'));
  writeFileSync(at('bare.jsonl'), lines([{ messages: [{ role: 'user', content: 'a' }, { role: 'assistant', content: 'b' }] }]));
  writeFileSync(at('lines.jsonl'), `${lines(examples((a) => a)).split('\n')[0]}\n{"messages": 7}\n`);
  checkMistakes(folder, tries);
});

test('a call that the template does not write was learned as an empty answer', () => {
  const call = { role: 'assistant', content: null, tool_calls: [{ id: '1', type: 'function', function: { name: 'look_up', arguments: '{}' } }] };
  const put = (message) => writeFileSync(at('calls.jsonl'), lines([{ messages: [{ role: 'user', content: 'a' }, message, { role: 'tool', tool_call_id: '1', content: 'x' }, { role: 'assistant', content: 'b' }] }]));
  put(call);
  checkMistakes(folder, [[['finetune', 'm.gguf', 'calls.jsonl', '--out', 'x.gguf'], 1, /calls\.jsonl:1: messages\[1\] calls a tool, which this model's chat template does not write/]]);
  for (const taken of [{ ...call, weight: 0 }, { ...call, content: 'look_up()' }]) {
    put(taken);
    assert.equal(run('finetune', 'm.gguf', 'calls.jsonl', '--out', 'x.gguf', '--plan').status, 0);
  }
});

test('a result that had no place was said only when all was computed', () => {
  writeFileSync(at('words.txt'), 'a red cup and a blue door '.repeat(500));
  const tries = [
    ['train', 'c.yaml', '--out', 'none/x.gguf', '--fresh'],
    ['train', 'c.yaml', '--out', '.', '--fresh'],
    ['finetune', 'm.gguf', 'more.jsonl', '--out', 'none/x.gguf'],
    ['finetune', 'm.gguf', 'more.jsonl', '--out', 'x.gguf', '--merged', 'none/y.gguf'],
    ['imatrix', 'm.gguf', '--text', 'words.txt', '-o', 'none/x.imatrix'],
  ];
  for (const args of tries) {
    const r = run(...args);
    assert.equal(r.status, 1, args.join(' '));
    assert.match(r.stderr, /^weir: (cannot write none.*: No such file or directory|\. is not a file: choose another name to write to)\n$/, args.join(' '));
  }
});

test('what a run reads is not written over, by whatever name', () => {
  const names = ['m.gguf', 'more.jsonl', 'c.yaml', 'data.jsonl', 'a.gguf'];
  const before = names.map((name) => readFileSync(at(name)));
  writeFileSync(at('t.yaml'), config().replace('data:', 'tokenizer: m.gguf\ndata:'));
  writeFileSync(at('v.yaml'), 'data: {train: [more.jsonl], validation: [data.jsonl]}\ntrain: {epochs: 1}\n');
  symlinkSync('m.gguf', at('link.gguf'));
  symlinkSync('.', at('here'));
  symlinkSync('m.gguf', at('n.gguf.checkpoint'));
  linkSync(at('more.jsonl'), at('n.gguf.log.json'));
  const read = (name) => new RegExp(`weir: ${name} is one of the files that are read: name another`);
  const twice = (name) => new RegExp(`weir: ${name} would be written twice: name another`);
  const tune = ['finetune', 'm.gguf', 'more.jsonl'];
  const tries = [
    [[...tune, '--out', 'm.gguf'], read('m\\.gguf')],
    [[...tune, '--out', 'more.jsonl'], read('more\\.jsonl')],
    [[...tune, '--out', 'link.gguf', '--full'], read('link\\.gguf')],
    [[...tune, '--out', 'here/m.gguf'], read('here/m\\.gguf')],
    [[...tune, '--out', 'n.gguf'], read('n\\.gguf\\.checkpoint')],
    [[...tune, '--out', 'y.gguf', '--merged', './m.gguf'], read('\\./m\\.gguf')],
    [[...tune, '--out', 'y.gguf', '--merged', 'y.gguf'], twice('y\\.gguf')],
    [[...tune, '--out', 'a.gguf', '--merged', 'here/a.gguf'], twice('here/a\\.gguf')],
    [[...tune, '--out', 'y.gguf', '--merged', './y.gguf'], twice('\\./y\\.gguf')], // neither is there yet
    [[...tune, '--out', 'y.gguf', '--merged', 'here/y.gguf.svg'], twice('here/y\\.gguf\\.svg')],
    [[...tune, '--out', 'data.jsonl', '--validation', 'data.jsonl'], read('data\\.jsonl')],
    [['finetune', 'm.gguf', 'v.yaml', '--out', 'data.jsonl'], read('data\\.jsonl')],
    [['finetune', 'link.gguf', 'v.yaml', '--out', 'm.gguf'], read('m\\.gguf')],
    [['train', 'c.yaml', '--out', 'c.yaml'], read('c\\.yaml')],
    [['train', 'c.yaml', '--out', 'data.jsonl'], read('data\\.jsonl')],
    [['train', 't.yaml', '--out', 'm.gguf', '--fresh'], read('m\\.gguf')],
  ];
  for (const [args, says] of tries) {
    const r = run(...args);
    assert.equal(r.status, 1, `${args.join(' ')}: ${r.stderr}`);
    assert.match(r.stderr, says);
  }
  rmSync(at('n.gguf.checkpoint'));
  assert.match(run(...tune, '--out', 'n.gguf').stderr, read('n\\.gguf\\.log\\.json'));
  names.forEach((name, i) => assert.ok(readFileSync(at(name)).equals(before[i]), name));
  assert.deepEqual(readdirSync(folder).filter((name) => name.startsWith('y.gguf') || name.endsWith('.part')), []);
});

test('what it takes is said without training, in bfloat16 too, which takes less where there is much to keep', () => {
  const passes = (r) => {
    assert.equal(r.status, 0, r.stderr);
    assert.match(r.stderr, /memory: .*\n(.*\n)+about \d+ .*at \d+ tokens\/s/);
    const [, size, unit] = /passes ([\d.]+) ([KM])iB/.exec(r.stderr);
    return Number(size) * (unit === 'M' ? 1024 : 1);
  };
  const deep = (more) => config(more).replace('layers: 2, embed: 64', 'layers: 24, embed: 64').replace('context: 64', 'context: 4096');
  writeFileSync(at('f32.yaml'), deep());
  writeFileSync(at('bf16.yaml'), deep(', precision: bf16'));
  const full = run('train', 'f32.yaml', '--plan', '--threads', '1');
  const half = run('train', 'bf16.yaml', '--plan', '--threads', '1');
  assert.match(half.stderr, /-bf16\nproducts take bfloat16/);
  assert.ok(passes(half) < 0.8 * passes(full));
  writeFileSync(at('little.yaml'), config(', precision: bf16')); // what is little is not narrowed
  assert.doesNotMatch(run('train', 'little.yaml', '--plan', '--threads', '1').stderr, /take less memory/);
  assert.match(run('finetune', 'm.gguf', 'more.jsonl', '--plan', '--precision', 'bf16').stderr, /-bf16\n/);
  rmSync(folder, { recursive: true });
});

// weir convert, export and merge as a user runs them, on tiny models of our own.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { makeFolder, makeModel, shared, weir } from './lib/gateway.mjs';
import { byteTokenizer, model, pieceTokenizer, put, read, safetensors } from './lib/hf.mjs';
import { said } from './lib/verbs.mjs';

let folder;
const at = (name) => join(folder, name);
const start = (args, input) => spawnSync(weir, args, { cwd: folder, input, encoding: 'utf8', timeout: 600000, maxBuffer: 1 << 28 });
const run = (...args) => {
  const r = start(args);
  assert.equal(r.status, 0, `${args.join(' ')}: ${r.stderr}`);
  return r.stdout;
};
const fails = (what, ...args) => {
  const r = start(args);
  assert.equal(r.status, 1, `${args.join(' ')}: ${r.stdout}${r.stderr}`);
  assert.match(said(r), what);
  assert.deepEqual(readdirSync(folder).filter((n) => n.startsWith('x.gguf')), [], args.join(' '));
};
const show = (file) => JSON.parse(run('show', file, '--json'));
const values = (file, name) => {
  const r = spawnSync(weir, ['show', file, '--tensor', name], { cwd: folder, maxBuffer: 1 << 28 });
  assert.equal(r.status, 0, String(r.stderr));
  return new Float32Array(new Uint8Array(r.stdout).buffer);
};
const greedy = (file) => JSON.parse(run('logits', '--model', file, '--tokens', '5,9,100,7', '--greedy', '8', '--threads', '1')).greedy;
const close = (a, b, most) => {
  assert.equal(a.length, b.length);
  for (let i = 0; i < a.length; i++) assert.ok(Math.abs(a[i] - b[i]) <= most, `${i}: ${a[i]} ${b[i]}`);
};
const same = (a, b) => close(a, b, 0);

before(() => (folder = makeFolder()));
after(() => rmSync(folder, { recursive: true }));

// Of a head of 8 rows: those that are rotated together, 0 and 4, 1 and 5, ..., become neighbours.
const turned = (v, columns) => {
  const out = new Float32Array(v.length);
  for (let row = 0; row < v.length / columns; row++) {
    const from = row - (row % 8) + ((row % 8) % 2) * 4 + Math.floor((row % 8) / 2);
    out.set(v.subarray(from * columns, (from + 1) * columns), row * columns);
  }
  return out;
};

test('a llama becomes a file: rows turned, names, keys, tokenizer, template, sampling', () => {
  const m = model('llama', { tokenizer: byteTokenizer({ regex: byteTokenizer().pre_tokenizer.pretokenizers[0].pattern.Regex.replace('\\p{N}|', '\\p{N}{1,3}|'), ignoreMerges: true }) });
  put(at('llama'), m);
  run('convert', 'llama', '-o', 'llama.gguf');
  const f = show('llama.gguf'), text = JSON.stringify(f);
  for (const [ours, theirs] of [['attn_q', 'self_attn.q_proj'], ['attn_k', 'self_attn.k_proj']])
    same(values('llama.gguf', `blk.1.${ours}.weight`), turned(m.tensors[`model.layers.1.${theirs}.weight`].values, 32));
  for (const [ours, theirs] of [['attn_v', 'self_attn.v_proj'], ['attn_output', 'self_attn.o_proj'], ['ffn_norm', 'post_attention_layernorm'], ['ffn_down', 'mlp.down_proj']])
    same(values('llama.gguf', `blk.0.${ours}.weight`), m.tensors[`model.layers.0.${theirs}.weight`].values);
  same(values('llama.gguf', 'output.weight'), m.tensors['lm_head.weight'].values);
  assert.match(text, /llama-bpe/);
  assert.match(text, /<\|im_start\|>\{\{ m\.role/);
  assert.match(text, /general\.sampling\.temp/);
  assert.equal(greedy('llama.gguf').length, 8);
  const ids = start(['tokenize', '--model', 'llama.gguf', '--parse-special'], '{"text":"he the lo<|im_end|>x"}\n').stdout;
  assert.deepEqual(JSON.parse(ids), [256, 258, 32, 259, 262, 120]);
});

test('a template for tools was kept by convert, passed over by render and lost by export; a template in a file of its own came second', () => {
  const m = model('llama');
  put(at('two'), m);
  const settings = JSON.parse(readFileSync(at('two/tokenizer_config.json'), 'utf8'));
  settings.chat_template = [{ name: 'default', template: 'D {{ messages[0].content }}' }, { name: 'tool_use', template: 'T {{ tools[0].function.name }} {{ messages[0].content }}' }];
  writeFileSync(at('two/tokenizer_config.json'), JSON.stringify(settings));
  run('convert', 'two', '-o', 'two.gguf');
  const render = (file, more) => start(['render', '--model', file], JSON.stringify({ messages: [{ role: 'user', content: 'q' }], ...more })).stdout;
  const tools = [{ type: 'function', function: { name: 'f', parameters: {} } }];
  assert.deepEqual([render('two.gguf', {}), render('two.gguf', { tools })], ['D q', 'T f q']);
  run('export', 'two.gguf', 'two-out');
  assert.deepEqual(JSON.parse(readFileSync(at('two-out/tokenizer_config.json'), 'utf8')).chat_template, settings.chat_template);
  writeFileSync(at('two/chat_template.jinja'), 'F {{ messages[0].content }}');
  run('convert', 'two', '-o', 'two.gguf');
  assert.equal(render('two.gguf', { tools }), 'F q');
});

test('what ends an answer was read from generation_config.json alone', () => {
  const m = model('llama');
  m.config.eos_token_id = [m.config.eos_token_id, 260].flat();
  put(at('ends'), m);
  rmSync(at('ends/generation_config.json'), { force: true });
  run('convert', 'ends', '-o', 'ends.gguf');
  assert.match(JSON.stringify(show('ends.gguf')), /tokenizer\.ggml\.eot_token_id/);
});

test('each architecture goes to a file and back, and nothing is lost', () => {
  for (const kind of ['llama', 'mistral', 'smollm3', 'qwen2', 'qwen2moe', 'qwen3', 'qwen3moe', 'gemma', 'granite', 'olmo2', 'olmo3', 'glm4', 'cohere', 'coherePlus', 'cohere2', 'gemma2', 'gemma3', 'gemma4', 'gemma4moe', 'phi3', 'mixtral', 'lfm2', 'lfm2moe', 'granitemoe', 'glm4moe', 'deepseek2', 'deepseek3', 'gptoss', 'ministral3', 'qwen35', 'qwen35moe']) {
    const m = model(kind, { seed: 7, layers: kind === 'gemma2' ? 26 : undefined });
    put(at(`${kind}.hf`), m);
    run('convert', `${kind}.hf`, `${kind}.gguf`);
    run('export', `${kind}.gguf`, `${kind}.back`);
    run('convert', `${kind}.back`, `${kind}.again.gguf`, '--name', `${kind}.hf`);
    assert.ok(readFileSync(at(`${kind}.gguf`)).equals(readFileSync(at(`${kind}.again.gguf`))), kind);
    const config = JSON.parse(readFileSync(at(`${kind}.back/config.json`), 'utf8'));
    for (const key of Object.keys(m.config).filter((k) => !['hidden_act', 'rope_scaling', 'rope_parameters', 'use_expert_bias', 'q_lora_rank', 'query_pre_attn_scalar', 'no_rope_layers', ...(kind === 'mistral' ? ['architectures'] : [])].includes(k)))
      assert.deepEqual(config[key], m.config[key], `${kind} ${key}`);
    if (kind === 'glm4moe') assert.equal(config.use_qk_norm, true);
    // Every tensor comes back as it was, in its own shape; vectors as floats.
    const back = read(at(`${kind}.back`));
    assert.deepEqual(Object.keys(back).sort(), Object.keys(m.tensors).sort(), kind);
    for (const [name, t] of Object.entries(m.tensors)) {
      assert.deepEqual(back[name].shape, t.shape, `${kind} ${name}`);
      close(back[name].values, t.values, name.endsWith('A_log') ? 1e-6 : 0); // a logarithm of what the file has
    }
    assert.equal(greedy(`${kind}.gguf`).length, 8);
  }
  close(values('gemma2.gguf', 'blk.0.post_ffw_norm.weight'), model('gemma2', { seed: 7, layers: 26 }).tensors['model.layers.0.post_feedforward_layernorm.weight'].values.map((x) => x + 1), 0);
});

test("gemma 4's two kinds of layers, its tokenizer's merges, and positions of which a share turns", () => {
  const f = show('gemma4.gguf'), text = JSON.stringify(f);
  const key = (name) => f.metadata[`gemma4.${name}`] ?? assert.fail(`no ${name} in ${text.slice(0, 2000)}`);
  assert.equal(key('attention.key_length'), 12);
  assert.equal(key('attention.key_length_swa'), 8);
  assert.equal(key('attention.shared_kv_layers'), 3);
  close(values('gemma4.gguf', 'rope_freqs.weight'), [1, 1, 1, 1e30, 1e30, 1e30].map(Math.fround), 0);
  same(values('gemma4.gguf', 'blk.5.ffn_up.weight'), model('gemma4', { seed: 7 }).tensors['model.layers.5.mlp.up_proj.weight'].values);
  const { config, tokenizer } = model('gemma4');
  assert.deepEqual(JSON.parse(readFileSync(at('gemma4.back/config.json'), 'utf8')).rope_parameters, config.rope_parameters);
  const id = (piece) => tokenizer.model.vocab[piece];
  const ids = start(['tokenize', '--model', 'gemma4.gguf', '--parse-special'], '{"text":"he the lo\\n<|tool_call>"}\n').stdout;
  assert.deepEqual(JSON.parse(ids), [id('he'), id('▁the'), id('▁'), id('lo'), id('<0x0A>'), tokenizer.added_tokens.find((t) => t.content === '<|tool_call>').id]);
  // A folder of the model that sees, too; what cannot be said of the layers is refused.
  const m = model('gemma4moe', { seed: 7 });
  const inner = Object.fromEntries(Object.entries(m.tensors).map(([n, t]) => [n.replace('model.', 'model.language_model.'), t]));
  put(at('gemma4.sees'), { ...m, config: { architectures: ['Gemma4ForConditionalGeneration'], text_config: m.config }, tensors: { ...inner, 'model.vision_tower.x': { shape: [2], values: new Float32Array(2) } } });
  run('convert', 'gemma4.sees', 'gemma4.sees.gguf', '--name', 'gemma4moe.hf');
  assert.ok(readFileSync(at('gemma4.sees.gguf')).equals(readFileSync(at('gemma4moe.gguf'))));
  const wrong = (config, drop) => {
    const w = model('gemma4', { config });
    delete w.tensors[drop];
    put(at('wrong.hf'), w);
    return 'wrong.hf';
  };
  fails(/lack 'model\.layers\.2\.self_attn\.v_proj\.weight'/, 'convert', wrong({}, 'model.layers.2.self_attn.v_proj.weight'), 'x.gguf');
  fails(/'layer_types' does not list/, 'convert', wrong({ layer_types: undefined }), 'x.gguf');
  fails(/'num_kv_shared_layers' is not a number from 0 to 5/, 'convert', wrong({ num_kv_shared_layers: 6 }), 'x.gguf');
  fails(/'enable_moe_block' and 'num_experts'/, 'convert', wrong({ enable_moe_block: true }), 'x.gguf');
  fails(/'rope_parameters' are not what is known/, 'convert', wrong({ rope_parameters: { full_attention: { rope_type: 'yarn' }, sliding_attention: { rope_type: 'default' } } }), 'x.gguf');
});

test('a gemma 4 whose figures another engine computed says the same after the way to a folder and back', { skip: !existsSync(join(shared, 'vectors/models/gemma4.gguf')) && 'no shared vectors' }, () => {
  for (const file of ['gemma4', 'gemma4-kv-eq', 'gemma4-moe']) {
    const from = join(shared, 'vectors/models', `${file}.gguf`);
    run('export', from, `${file}.folder`);
    run('convert', `${file}.folder`, `${file}.there.gguf`);
    assert.deepEqual(greedy(`${file}.there.gguf`), greedy(from), file);
  }
});

test('what the folder has as one is parted: experts and heads, halves, rows in turn, and across', () => {
  const rows = (v, width, ...which) => Float32Array.from(which.flatMap((r) => [...v.subarray(r * width, (r + 1) * width)]));
  const range = (n, f = (i) => i) => Array.from({ length: n }, (_, i) => f(i));
  const part = (kind, name) => model(kind, { seed: 7 }).tensors[`model.layers.1.${name}`].values;
  // Granite: of each of three experts the gate's 40 rows, then 40 of what goes through it.
  const granite = part('granitemoe', 'block_sparse_moe.input_linear.weight');
  same(values('granitemoe.gguf', 'blk.1.ffn_up_exps.weight'), rows(granite, 32, ...range(3).flatMap((e) => range(40, (r) => e * 80 + 40 + r))));
  same(values('granitemoe.gguf', 'blk.1.ffn_gate_shexp.weight'), rows(part('granitemoe', 'shared_mlp.input_linear.weight'), 32, ...range(12)));
  // gpt-oss: [expert][input][output], outputs of gate and the other in turn; biases likewise.
  const both = part('gptoss', 'mlp.experts.gate_up_proj'), biases = part('gptoss', 'mlp.experts.gate_up_proj_bias');
  for (const [name, odd] of [['gate', 0], ['up', 1]]) {
    same(values('gptoss.gguf', `blk.1.ffn_${name}_exps.weight`), Float32Array.from(range(4).flatMap((e) => range(40).flatMap((o) => range(32, (i) => both[(e * 32 + i) * 80 + 2 * o + odd])))));
    same(values('gptoss.gguf', `blk.1.ffn_${name}_exps.bias`), Float32Array.from(range(160, (i) => biases[2 * i + odd])));
  }
  const down = part('gptoss', 'mlp.experts.down_proj');
  same(values('gptoss.gguf', 'blk.1.ffn_down_exps.weight'), Float32Array.from(range(4).flatMap((e) => range(32).flatMap((o) => range(40, (i) => down[(e * 40 + i) * 32 + o])))));
  // DeepSeek: of each head 4 rows that make keys, which become columns, and 6 that make values.
  const kv = part('deepseek3', 'self_attn.kv_b_proj.weight');
  same(values('deepseek3.gguf', 'blk.1.attn_k_b.weight'), Float32Array.from(range(4).flatMap((h) => range(16).flatMap((l) => range(4, (r) => kv[(h * 10 + r) * 16 + l])))));
  same(values('deepseek3.gguf', 'blk.1.attn_v_b.weight'), rows(kv, 16, ...range(4).flatMap((h) => range(6, (r) => h * 10 + 4 + r))));
  // Qwen 3.5: of four heads of values (8 rows each, behind 32 of queries and keys) those of one key head are neighbours; in the file 0, 2, 1, 3.
  const { tensors } = model('qwen35', { seed: 7 });
  const linear = (name) => tensors[`model.layers.0.linear_attn.${name}`].values, order = [0, 2, 1, 3];
  const heads = order.flatMap((h) => range(8, (r) => h * 8 + r));
  same(values('qwen35.gguf', 'blk.0.attn_qkv.weight'), rows(linear('in_proj_qkv.weight'), 32, ...range(32), ...heads.map((r) => 32 + r)));
  same(values('qwen35.gguf', 'blk.0.ssm_conv1d.weight'), rows(linear('conv1d.weight'), 4, ...range(32), ...heads.map((r) => 32 + r)));
  same(values('qwen35.gguf', 'blk.0.ssm_out.weight'), Float32Array.from(range(32).flatMap((r) => heads.map((c) => linear('out_proj.weight')[r * 32 + c]))));
  same(values('qwen35.gguf', 'blk.0.ssm_dt.bias'), rows(linear('dt_bias'), 1, ...order));
  close(values('qwen35.gguf', 'blk.0.ssm_a'), Float32Array.from(order, (h) => -Math.exp(linear('A_log')[h])), 1e-6);
  // A quantised one goes back, too, though its rows are columns there.
  run('convert', 'gptoss.hf', 'gptoss.q8.gguf', '--type', 'Q4_0');
  run('export', 'gptoss.q8.gguf', 'gptoss.q8', '--type', 'F32');
  const q = values('gptoss.q8.gguf', 'blk.1.ffn_up_exps.weight');
  same(read(at('gptoss.q8'))['model.layers.1.mlp.experts.gate_up_proj'].values.filter((_, i) => i % 2), Float32Array.from(range(4).flatMap((e) => range(32).flatMap((i) => range(40, (o) => q[(e * 40 + o) * 32 + i])))));
});

// A model's matrices but embeddings and routers as FP8 with a scale for each block (none: one for all), and what they then are.
const fp8 = (m, block) => {
  const e4m3 = (x) => (x & 128 ? -1 : 1) * ((x >> 3) & 15 ? (8 + (x & 7)) * 2 ** (((x >> 3) & 15) - 10) : (x & 7) * 2 ** -9);
  const packed = { ...m.tensors }, plain = { ...m.tensors };
  let seed = 1;
  const next = (n) => (seed = (seed * 48271) % 2147483647) % n;
  for (const [name, { shape }] of Object.entries(m.tensors)) {
    if (shape.length !== 2 || !/_proj\.weight$|_proj_with_mqa\.weight$|kv_b_proj/.test(name)) continue;
    const [rows, columns] = shape, [down, right] = block ?? shape, across = Math.ceil(columns / right);
    const bytes = Uint8Array.from({ length: rows * columns }, () => next(2) * 128 + next(64));
    const scales = Float32Array.from({ length: Math.ceil(rows / down) * across }, () => (1 + next(128) / 128) / 8);
    packed[name] = { dtype: 'F8_E4M3', shape, values: bytes };
    packed[`${name}_scale_inv`] = block ? { dtype: 'F32', shape: [scales.length / across, across], values: scales } : { dtype: 'BF16', shape: [], values: scales };
    if (!block) packed[name.replace(/weight$/, 'activation_scale')] = { dtype: 'BF16', shape: [], values: scales };
    plain[name] = { shape, values: Float32Array.from(bytes, (x, i) => e4m3(x) * scales[Math.floor(i / columns / down) * across + Math.floor((i % columns) / right)]) };
  }
  const quantization_config = { quant_method: 'fp8', fmt: 'e4m3', activation_scheme: 'dynamic', weight_block_size: block };
  return [{ ...m, tensors: packed, config: { ...m.config, quantization_config } }, { ...m, tensors: plain }];
};

test('weights in FP8 with scales for blocks (DeepSeek V3, Qwen 3), or one for a tensor (Ministral 3), were refused', () => {
  for (const [kind, block] of [['llama', [16, 24]], ['qwen3moe', [128, 128]], ['deepseek3', [8, 12]], ['glm4moe', [5, 7]], ['ministral3', null]]) {
    const [packed, plain] = fp8(model(kind, { seed: 3 }), block);
    put(at(`${kind}.fp8`), packed);
    put(at(`${kind}.f32`), plain);
    run('convert', `${kind}.fp8`, `${kind}.fp8.gguf`, '--type', 'F32', '--name', 'same');
    run('convert', `${kind}.f32`, `${kind}.f32.gguf`, '--type', 'F32', '--name', 'same');
    assert.ok(readFileSync(at(`${kind}.fp8.gguf`)).equals(readFileSync(at(`${kind}.f32.gguf`))), kind);
    run('convert', `${kind}.fp8`, `${kind}.fp8.gguf`);
    assert.equal(greedy(`${kind}.fp8.gguf`).length, 8);
  }
  const name = 'model.layers.1.mlp.up_proj.weight';
  const wrong = (change, config = {}) => {
    const [m] = fp8(model('llama', { seed: 3 }), [16, 24]);
    change(m.tensors);
    Object.assign(m.config.quantization_config, config);
    rmSync(at('wrong.fp8'), { recursive: true, force: true });
    put(at('wrong.fp8'), m);
    return ['convert', 'wrong.fp8', 'x.gguf'];
  };
  fails(/lack 'model\.layers\.1\.mlp\.up_proj\.weight_scale_inv'/, ...wrong((t) => delete t[`${name}_scale_inv`]));
  fails(/q_proj\.weight_scale_inv' is 2 x 2; by config\.json it should be 4 x 2/, ...wrong(() => {}, { weight_block_size: [8, 24] }));
  fails(/up_proj\.weight_scale_inv' is not known of/, ...wrong((t) => (t[name] = { shape: t[name].shape, values: new Float32Array(t[name].values.length) })));
  fails(/ffn_up\.weight' holds a value that is no number/, ...wrong((t) => (t[name].values[0] = 127)));
  for (const block of [[0, 1], [1, 2 ** 62], [128], 128]) fails(/weight_block_size/, ...wrong(() => {}, { weight_block_size: block }));
  fails(/'quantization_config'/, ...wrong(() => {}, { fmt: 'e5m2' }));
  fails(/'quantization_config'/, ...wrong(() => {}, { quant_method: 'compressed-tensors' }));
});

test('experts in MXFP4 stay what they are', () => {
  const m = model('gptoss', { config: { intermediate_size: 64, quantization_config: { quant_method: 'mxfp4' } } });
  const bytes = (n, f) => Uint8Array.from({ length: n }, (_, i) => f(i));
  const fp4 = [0, 0.5, 1, 1.5, 2, 3, 4, 6], expected = {};
  for (const i of [0, 1]) {
    const p = `model.layers.${i}.mlp.experts.`;
    for (const name of ['gate_up_proj', 'down_proj']) delete m.tensors[p + name];
    m.tensors[`${p}gate_up_proj_bias`] = { shape: [4, 128], values: new Float32Array(512) };
    for (const [name, rows, blocks] of [['gate_up_proj', 128, 1], ['down_proj', 32, 2]]) {
      const nibbles = bytes(4 * rows * blocks * 16, (k) => (k * 151 + i * 7 + (k >> 5) * 13) & 255), scales = bytes(4 * rows * blocks, (k) => 120 + ((k * 5 + i) % 7));
      m.tensors[`${p}${name}_blocks`] = { dtype: 'U8', shape: [4, rows, blocks, 16], values: nibbles };
      m.tensors[`${p}${name}_scales`] = { dtype: 'U8', shape: [4, rows, blocks], values: scales };
      expected[`${name}${i}`] = Float32Array.from({ length: nibbles.length * 2 }, (_, k) => {
        const q = (nibbles[k >> 1] >> (4 * (k & 1))) & 15;
        return (q & 8 ? -1 : 1) * fp4[q & 7] * 2 ** (scales[k >> 5] - 127);
      });
    }
  }
  put(at('packed.hf'), m);
  run('convert', 'packed.hf', 'packed.gguf');
  const rows = (v, width, which) => Float32Array.from([...v].filter((_, i) => which(Math.floor(i / width))));
  close(values('packed.gguf', 'blk.1.ffn_down_exps.weight'), expected.down_proj1, 0);
  close(values('packed.gguf', 'blk.1.ffn_gate_exps.weight'), rows(expected.gate_up_proj1, 32, (r) => r % 2 === 0), 0);
  close(values('packed.gguf', 'blk.0.ffn_up_exps.weight'), rows(expected.gate_up_proj0, 32, (r) => r % 2 === 1), 0);
  const f = show('packed.gguf'), types = Object.fromEntries(f.tensors.map((t) => [t.name, t.type]));
  assert.equal(f.metadata['general.file_type'], 38);
  assert.equal(types['blk.0.ffn_up_exps.weight'], 'MXFP4');
  assert.equal(types['blk.0.attn_q.weight'], 'BF16');
  assert.equal(greedy('packed.gguf').length, 8);
  m.tensors['model.layers.1.mlp.experts.down_proj_scales'].values = new Uint8Array(255);
  m.tensors['model.layers.1.mlp.experts.down_proj_scales'].shape = [255];
  put(at('packed.hf'), m);
  fails(/down_proj_scales' is not the 256 bytes/, 'convert', 'packed.hf', 'x.gguf');
});

test('a layer that foretells further tokens was dropped: it goes to a file and back', () => {
  for (const kind of ['glm4moe', 'deepseek2', 'deepseek3', 'qwen35', 'qwen35moe']) {
    const m = model(kind, { seed: 7, foretells: true }), plain = model(kind, { seed: 7 });
    put(at(`${kind}.mtp`), m);
    put(at(`${kind}.plain`), plain);
    run('convert', `${kind}.mtp`, `${kind}.mtp.gguf`);
    run('convert', `${kind}.plain`, `${kind}.plain.gguf`);
    const { metadata, tensors, fit } = show(`${kind}.mtp.gguf`);
    assert.equal(fit.drafts, 'mtp', JSON.stringify(fit.checks) + fit.drafts_not);
    assert.equal(Object.entries(metadata).find(([k]) => k.endsWith('.nextn_predict_layers'))[1], 1);
    assert.equal(Object.entries(metadata).find(([k]) => k.endsWith('.block_count'))[1], 3);
    assert.deepEqual(greedy(`${kind}.mtp.gguf`), greedy(`${kind}.plain.gguf`), kind);
    assert.ok(tensors.some((t) => t.name === 'blk.2.nextn.eh_proj.weight'));
    run('export', `${kind}.mtp.gguf`, `${kind}.mtp.back`);
    const back = read(at(`${kind}.mtp.back`));
    assert.deepEqual(Object.keys(back).sort(), Object.keys(m.tensors).sort(), kind);
    for (const [name, t] of Object.entries(m.tensors)) close(back[name].values, t.values, name.endsWith('A_log') ? 1e-6 : 0);
    run('convert', `${kind}.mtp.back`, `${kind}.mtp.again.gguf`, '--name', `${kind}.mtp`);
    assert.ok(readFileSync(at(`${kind}.mtp.gguf`)).equals(readFileSync(at(`${kind}.mtp.again.gguf`))), kind);
  }
  const m = model('qwen35', { seed: 7, foretells: true });
  close(values('qwen35.mtp.gguf', 'blk.2.nextn.enorm.weight'), m.tensors['mtp.pre_fc_norm_embedding.weight'].values.map((x) => x + 1), 0);
  same(values('qwen35.mtp.gguf', 'blk.2.attn_k.weight'), m.tensors['mtp.layers.0.self_attn.k_proj.weight'].values);
});

test('a model that drafts by itself says the same after the way to a folder and back, and drafts by the same layer', () => {
  makeModel(folder, 'drafts.gguf', ['--arch', 'glm4', '--nextn', '--chain', '--tokenizer', 'gpt2', '--pre', 'qwen2']);
  run('export', 'drafts.gguf', 'drafts.folder', '--type', 'F32');
  run('convert', 'drafts.folder', 'drafts.back.gguf');
  const { tensors, fit } = show('drafts.back.gguf');
  assert.equal(fit.drafts, 'mtp');
  assert.deepEqual(tensors.map((t) => t.name).sort(), show('drafts.gguf').tensors.map((t) => t.name).sort());
  for (const { name } of tensors) same(values('drafts.back.gguf', name), values('drafts.gguf', name));
  const text = (file) => run('run', file, 'one two', '--raw', '--max-tokens', '60', '--temperature', '0');
  assert.ok(text('drafts.gguf').length > 20);
  assert.equal(text('drafts.back.gguf'), text('drafts.gguf'));
});

test('of a layer that foretells, which is not whole, nothing is taken, and it is said', () => {
  const ahead = (m, name) => {
    put(at('ahead.hf'), m);
    const r = start(['convert', 'ahead.hf', 'ahead.gguf']);
    assert.equal(r.status, 0, r.stderr);
    assert.match(r.stderr, new RegExp(`is left out: '${name}' is not there`));
    const { fit, tensors } = show('ahead.gguf');
    assert.ok(fit.runs && !fit.drafts && !tensors.some((t) => t.name.startsWith('blk.2.')));
    return r.stderr;
  };
  const m = model('glm4moe', { config: { num_nextn_predict_layers: 1 } });
  ahead(m, 'model.layers.2.input_layernorm.weight'); // as of many published ones
  m.tensors['model.layers.2.eh_proj.weight'] = { shape: [32, 64], values: new Float32Array(2048) };
  assert.match(ahead(m, 'model.layers.2.input_layernorm.weight'), /1 tensors of layers that foretell further tokens are left out/);
  const qwen = model('qwen35', { foretells: true });
  delete qwen.tensors['mtp.fc.weight'];
  ahead(qwen, 'mtp.fc.weight');
});

test('of a model that also sees, the one that speaks is taken', () => {
  const m = model('gemma3', { seed: 7 });
  const { architectures, ...settings } = m.config;
  for (const [i, prefix] of [['language_model.', ''], ['', 'model.language_model.']].entries()) {
    const named = (name) => (prefix[1] ? name.replace(/^model\./, prefix[1]) : prefix[0] + name);
    const tensors = Object.fromEntries(Object.entries(m.tensors).map(([name, t]) => [named(name), t]));
    tensors[`${i ? 'model.' : ''}vision_tower.patch.weight`] = { shape: [1, 2, 1, 1, 2], values: new Float32Array(4) };
    put(at('seeing'), { ...m, tensors, config: { architectures: ['Gemma3ForConditionalGeneration'], text_config: settings, vision_config: {} } });
    run('convert', 'seeing', 'seeing.gguf', '--name', 'gemma3.hf');
    assert.ok(readFileSync(at('seeing.gguf')).equals(readFileSync(at('gemma3.gguf'))));
  }
});

test('the reference models go out and back, and answer the same', (t) => {
  const models = join(shared, 'vectors/models');
  if (!existsSync(models)) return t.skip('no reference models here');
  for (const name of ['llama-gqa', 'llama-tied-ropefreqs', 'llama-yarn', 'llama-rope-linear', 'llama-f16', 'llama-bf16', 'mistral', 'qwen2', 'qwen3', 'gemma', 'gemma2', 'gemma3', 'phi3', 'phi3-longrope', 'mixtral', 'qwen2moe', 'qwen3moe', 'granite', 'olmo2', 'smollm3', 'glm4', 'cohere2', 'command-r', 'glm4moe', 'gpt-oss', 'granitemoe', 'mistral3', 'deepseek2-mla', 'qwen35', 'qwen35moe']) {
    run('export', join(models, `${name}.gguf`), 'reference');
    run('convert', 'reference', 'reference.gguf');
    const { tokens } = JSON.parse(readFileSync(join(models, `${name}.json`), 'utf8'));
    const logits = (file) => run('logits', '--model', file, '--tokens', tokens.join(','), '--top', '400', '--threads', '1');
    assert.equal(logits('reference.gguf'), logits(join(models, `${name}.gguf`)), name);
    rmSync(at('reference'), { recursive: true });
  }
});

test('pieces with bytes to fall back to: scores by merges, and tokenizer.model keeps them', () => {
  put(at('pieces.hf'), { ...model('llama', { tokenizer: pieceTokenizer() }), settings: { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>' }, generation: null });
  run('convert', 'pieces.hf', 'pieces.gguf');
  const ask = (file) => JSON.parse(start(['tokenize', '--model', file, '--add-special'], '{"text":"the lo é"}\n').stdout);
  const tokenizer = pieceTokenizer().model.vocab;
  assert.deepEqual(ask('pieces.gguf'), [1, tokenizer['▁the'], tokenizer['▁'], tokenizer.lo, tokenizer['▁'], 3 + 0xc3, 3 + 0xa9]);
  run('export', 'pieces.gguf', 'pieces.back');
  run('convert', 'pieces.back', 'pieces.again.gguf', '--name', 'pieces.hf');
  assert.ok(readFileSync(at('pieces.gguf')).equals(readFileSync(at('pieces.again.gguf'))));
  rmSync(at('pieces.back/tokenizer.model')); // then by tokenizer.json alone
  run('convert', 'pieces.back', 'pieces.json.gguf');
  assert.deepEqual(ask('pieces.json.gguf'), ask('pieces.gguf'));
});

test('positions: llama 3, YaRN and linear scaling go there and back', () => {
  const scalings = [
    { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 64 },
    { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 64, beta_fast: 32, beta_slow: 1 },
    { type: 'linear', factor: 2 },
  ];
  for (const rope_scaling of scalings) {
    put(at('rope.hf'), model('llama', { config: { rope_scaling } }));
    run('convert', 'rope.hf', 'rope.gguf');
    run('export', 'rope.gguf', 'rope.back');
    const back = JSON.parse(readFileSync(at('rope.back/config.json'), 'utf8')).rope_scaling;
    const { type, ...rest } = rope_scaling;
    assert.deepEqual(back, { ...rest, rope_type: rest.rope_type ?? type });
  }
});

test('several files with an index, other types, a quantised model exported', () => {
  run('export', 'llama.gguf', 'shards', '--shard-mb', '0.02', '--type', 'F32');
  const files = readdirSync(at('shards')).filter((n) => n.endsWith('.safetensors'));
  assert.ok(files.length > 1 && existsSync(at('shards/model.safetensors.index.json')), String(files));
  run('convert', 'shards', 'shards.gguf', '--type', 'BF16');
  same(values('shards.gguf', 'blk.0.attn_q.weight'), values('llama.gguf', 'blk.0.attn_q.weight'));
  run('convert', 'llama.hf', 'q8.gguf', '--type', 'Q8_0');
  run('export', 'q8.gguf', 'q8.hf');
  assert.equal(JSON.parse(readFileSync(at('q8.hf/config.json'), 'utf8')).torch_dtype, 'bfloat16');
  run('convert', 'q8.hf', 'q8.again.gguf', '--type', 'F32');
  close(values('q8.again.gguf', 'blk.0.ffn_up.weight'), values('llama.gguf', 'blk.0.ffn_up.weight'), 0.01);
});

test('an export over an earlier one leaves none of its weights', () => {
  const weights = () => readdirSync(at('over')).filter((n) => n.includes('safetensors')).sort();
  const is = (file) => {
    run('convert', 'over', 'over.gguf', '--type', 'BF16');
    same(values('over.gguf', 'blk.0.attn_q.weight'), values(file, 'blk.0.attn_q.weight'));
  };
  put(at('other.hf'), model('llama', { seed: 9 }));
  run('convert', 'other.hf', 'other.gguf');
  run('export', 'llama.gguf', 'over', '--shard-mb', '0.02');
  const many = weights();
  assert.ok(many.length > 2 && many.includes('model.safetensors.index.json'));
  run('export', 'other.gguf', 'over');
  assert.deepEqual(weights(), ['model.safetensors']);
  is('other.gguf');
  writeFileSync(at('over/model-00001-of-00002x.safetensors'), 'a name of somebody else');
  run('export', 'llama.gguf', 'over', '--shard-mb', '0.02');
  assert.ok(!weights().includes('model.safetensors'));
  run('export', 'other.gguf', 'over', '--shard-mb', '0.05');
  const [one] = weights().filter((n) => /-of-\d{5}\.s/.test(n)), of = +one.slice(-17, -12);
  assert.deepEqual(weights().filter((n) => !n.includes('x')).length, of);
  assert.ok(existsSync(at('over/model-00001-of-00002x.safetensors')));
  is('other.gguf');
});

test('an export that is cut short is no model', () => {
  run('export', 'llama.gguf', 'cut');
  const r = spawnSync('sh', ['-c', `ulimit -f 16; exec ${weir} export other.gguf cut`], { cwd: folder, encoding: 'utf8' });
  assert.equal(r.status, 1);
  fails(/cannot open .*config.json/, 'convert', 'cut', 'x.gguf');
});

test('what is read is not written over, in parts and folders, and by no link', () => {
  const read = /is one of the files that are read/;
  const before = readFileSync(at('llama.gguf'));
  for (const n of [1, 2]) copyFileSync(at('llama.gguf'), at(`s-0000${n}-of-00002.gguf`));
  copyFileSync(at('llama.gguf'), at('y.gguf.part'));
  symlinkSync('llama.gguf', at('z.gguf.part'));
  symlinkSync('llama.hf', at('linked.hf'));
  writeFileSync(at('text.txt'), 'the lo '.repeat(400));
  put(at('jinja.hf'), model('llama'));
  writeFileSync(at('jinja.hf/chat_template.jinja'), '{{ messages }}');
  for (const args of [
    ['quantize', 's-00001-of-00002.gguf', 's-00002-of-00002.gguf', 'Q8_0'], ['quantize', 'y.gguf.part', 'y.gguf', 'Q8_0'],
    ['convert', 'llama.hf', 'llama.hf/model.safetensors'], ['convert', 'linked.hf', 'llama.hf/tokenizer.json'], ['convert', 'jinja.hf', 'jinja.hf/chat_template.jinja'],
    ['merge', '--linear', 'llama.gguf', 's-00001-of-00002.gguf', '-o', 's-00002-of-00002.gguf'],
    ['imatrix', 'llama.gguf', '--text', 'text.txt', '-o', 'llama.gguf'], ['imatrix', 'llama.gguf', '--text', 'text.txt', '-o', 'text.txt'],
  ]) fails(read, ...args);
  run('convert', 'llama.hf', 'z.gguf'); // the link goes, what it leads to stays
  assert.ok(readFileSync(at('llama.gguf')).equals(before));
  run('convert', 'llama.hf', 'llama.hf/inside.gguf');
  run('convert', 'llama.hf', 'llama.hf/inside.gguf'); // it is none of the model's own files
});

test('what a file says wrong is not exported', () => {
  const patched = (from, key, skip, bytes) => {
    const b = readFileSync(at(from)), i = b.indexOf(key) + key.length + skip;
    Buffer.from(bytes).copy(b, i);
    writeFileSync(at('patched.gguf'), b);
    return 'patched.gguf';
  };
  fails(/score of token 5 is no number/, 'export', patched('pieces.gguf', 'tokenizer.ggml.scores', 4 + 4 + 8 + 5 * 4, [0, 0, 0xc0, 0x7f]), 'patched');
  fails(/no pair of texts/, 'export', patched('llama.gguf', 'tokenizer.ggml.merges', 4 + 4 + 8 + 8, [0xff]), 'patched');
});

const adapter = (path, change = {}, tensors = {}) => {
  mkdirSync(at(path), { recursive: true });
  writeFileSync(at(`${path}/adapter_config.json`), JSON.stringify({ peft_type: 'LORA', r: 2, lora_alpha: 4, bias: 'none', target_modules: ['q_proj'], base_model_name_or_path: 'who/knows', ...change }));
  const name = 'base_model.model.model.layers.1.self_attn.q_proj.lora_';
  const a = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i)), b = Float32Array.from({ length: 64 }, (_, i) => Math.cos(i) / 4);
  writeFileSync(at(`${path}/adapter_model.safetensors`), safetensors({ [`${name}A.weight`]: { shape: [2, 32], values: a }, [`${name}B.weight`]: { shape: [32, 2], values: b }, ...tensors }));
  return { a, b };
};

test('an adapter of PEFT becomes one of ours and back, and is folded in', () => {
  const m = model('llama', { seed: 7 });
  const { a, b } = adapter('lora');
  run('convert', 'lora', 'lora.gguf', '--base', 'llama.hf');
  run('export', 'lora.gguf', 'lora.back', '--base', 'llama.gguf');
  run('convert', 'lora.back', 'lora.again.gguf', '--base', 'llama.gguf', '--name', 'lora');
  assert.ok(readFileSync(at('lora.gguf')).equals(readFileSync(at('lora.again.gguf'))));
  run('convert', 'lora/', 'lora.again.gguf', '--base', 'llama.hf');
  assert.ok(readFileSync(at('lora.gguf')).equals(readFileSync(at('lora.again.gguf'))), 'named by its folder, with a slash behind it, too');
  run('convert', 'llama.hf', 'base.gguf', '--type', 'F32');
  run('merge', 'base.gguf', '--lora', 'lora.gguf:0.5', '-o', 'folded.gguf');
  const w = Float32Array.from(m.tensors['model.layers.1.self_attn.q_proj.weight'].values);
  for (let o = 0; o < 32; o++) for (let i = 0; i < 32; i++) w[o * 32 + i] += 0.5 * (4 / 2) * (b[o * 2] * a[i] + b[o * 2 + 1] * a[32 + i]);
  close(values('folded.gguf', 'blk.1.attn_q.weight'), turned(w, 32), 1e-6);
  same(values('folded.gguf', 'blk.1.attn_k.weight'), values('base.gguf', 'blk.1.attn_k.weight'));
  const beside = start(['run', 'base.gguf', 'the', '--raw', '--temperature', '0', '--max-tokens', '8', '--lora', 'lora.gguf:0.5']);
  assert.equal(start(['run', 'folded.gguf', 'the', '--raw', '--temperature', '0', '--max-tokens', '8']).stdout, beside.stdout);
});

test('linear, SLERP and TIES do what they say', () => {
  put(at('b.hf'), model('llama', { seed: 8 }));
  run('convert', 'b.hf', 'b.gguf', '--type', 'F32');
  const name = 'blk.0.attn_v.weight', x = values('base.gguf', name), y = values('b.gguf', name);
  run('merge', '--linear', 'base.gguf:0.25', 'b.gguf:0.75', '--out', 'linear.gguf');
  close(values('linear.gguf', name), x.map((v, i) => 0.25 * v + 0.75 * y[i]), 1e-6);
  run('merge', '--slerp', 'base.gguf', 'b.gguf', '--t', '0.3', '--out', 'slerp.gguf');
  const dot = (u, v) => u.reduce((s, e, i) => s + e * v[i], 0), angle = Math.acos(dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y)));
  close(values('slerp.gguf', name), x.map((v, i) => (Math.sin(0.7 * angle) * v + Math.sin(0.3 * angle) * y[i]) / Math.sin(angle)), 1e-5);
  run('merge', '--slerp', 'base.gguf', 'base.gguf', '--out', 'alike.gguf'); // no angle between them
  close(values('alike.gguf', name), x, 1e-6);
  run('merge', '--ties', 'base.gguf', 'b.gguf', 'linear.gguf', '--density', '0.25', '--weight', '0.5', '--out', 'ties.gguf');
  const differences = [y, values('linear.gguf', name)].map((v) => v.map((e, i) => e - x[i])).map((d) => {
    const least = [...d].map(Math.abs).sort((p, q) => q - p)[Math.floor(d.length / 4) - 1];
    return d.map((e) => (Math.abs(e) >= least ? e : 0));
  });
  const merged = x.map((v, i) => {
    const d = differences.map((e) => e[i]), sign = Math.sign(d[0] + d[1]), kept = d.filter((e) => e !== 0 && Math.sign(e) === sign);
    return v + 0.5 * (kept.length ? kept.reduce((p, q) => p + q) / kept.length : 0);
  });
  close(values('ties.gguf', name), merged, 1e-5);
  run('merge', '--linear', 'base.gguf', 'b.gguf', '--type', 'Q8_0', '--out', 'small.gguf');
  assert.equal(greedy('small.gguf').length, 8);
});

test('a merge of too few models was told the whole usage', () => {
  const told = (what, ...args) => {
    const r = start(['merge', ...args, '--out', 'x.gguf']);
    assert.equal(r.status, 2);
    assert.match(said(r), what);
  };
  told(/--ties wants the base and at least two models/, '--ties', 'base.gguf', 'b.gguf');
  told(/--linear wants at least two models/, '--linear', 'base.gguf');
  told(/--slerp wants two models/, '--slerp', 'base.gguf', 'b.gguf', 'c.gguf');
  told(/--lora wants one model/, '--lora', 'a.gguf', 'base.gguf', 'b.gguf');
  told(/merge wants one of --lora/, 'base.gguf', 'b.gguf');
});

test('what is not known or does not fit is said by its name, and no file is left', () => {
  const odd = (name, change) => {
    const m = model('llama');
    change(m);
    put(at(name), m);
    return name;
  };
  const config = (change) => odd('odd', (m) => Object.assign(m.config, change));
  fails(/architecture is 'NoSuch'/, 'convert', config({ architectures: ['NoSuch'] }), 'x.gguf');
  const kind = (name, change) => (put(at('odd.kind'), model(name, { config: change })), 'odd.kind');
  fails(/'mscale' of 1 and an 'mscale_all_dim' of 0.5/, 'convert', kind('deepseek3', { rope_scaling: { type: 'yarn', factor: 4, mscale: 1, mscale_all_dim: 0.5 } }), 'x.gguf');
  fails(/'topk_method' is group_limited_greedy/, 'convert', kind('deepseek2', { topk_method: 'group_limited_greedy' }), 'x.gguf');
  fails(/weighs experts by 'tanh'/, 'convert', kind('deepseek2', { scoring_func: 'tanh' }), 'x.gguf');
  fails(/no 'qk_nope_head_dim'/, 'convert', kind('deepseek2', { qk_nope_head_dim: undefined }), 'x.gguf');
  fails(/'norm_topk_prob' is neither true nor false/, 'convert', kind('glm4moe', { norm_topk_prob: 1 }), 'x.gguf');
  fails(/'layer_types' does not list the 2 layers/, 'convert', kind('lfm2', { layer_types: ['conv'] }), 'x.gguf');
  fails(/'layer_types' has '"?mamba/, 'convert', kind('lfm2', { layer_types: ['conv', 'mamba'] }), 'x.gguf');
  fails(/not by its 'full_attention_interval' of 2/, 'convert', kind('qwen35', { layer_types: ['full_attention', 'full_attention'] }), 'x.gguf');
  fails(/4 heads of values share no 3 of keys/, 'convert', kind('qwen35', { linear_num_key_heads: 3 }), 'x.gguf');
  fails(/'block_auto_adjust_ff_dim' is true/, 'convert', kind('lfm2', { block_auto_adjust_ff_dim: true }), 'x.gguf');
  fails(/'layer_types' give windows to other layers/, 'convert', kind('gptoss', { layer_types: ['full_attention', 'sliding_attention'] }), 'x.gguf');
  kind('qwen35', {});
  const half = (module, h, ...shape) => ({ [`base_model.model.model.layers.${module}.lora_${h}.weight`]: { shape, values: new Float32Array(shape[0] * shape[1]) } });
  adapter('lora.odd', {}, { ...half('1.self_attn.q_proj', 'B', 64, 2), ...half('0.linear_attn.in_proj_z', 'A', 2, 32), ...half('0.linear_attn.in_proj_z', 'B', 32, 2) });
  fails(/linear_attn.in_proj_z.lora_.* changes nothing that is known/, 'convert', 'lora.odd', 'x.gguf', '--base', 'odd.kind');
  fails(/YaRN has 'truncate'/, 'convert', kind('gptoss', { rope_scaling: { rope_type: 'yarn', factor: 4, truncate: true } }), 'x.gguf');
  fails(/'original_max_position_embeddings' is not a number from 2 /, 'convert', kind('phi3', { original_max_position_embeddings: 1, rope_scaling: { type: 'longrope' } }), 'x.gguf');
  fails(/'hidden_act' is gelu/, 'convert', config({ hidden_act: 'gelu' }), 'x.gguf');
  fails(/'quantization_config'/, 'convert', config({ quantization_config: { bits: 4 } }), 'x.gguf');
  fails(/positions by 'dynamic'/, 'convert', config({ rope_scaling: { type: 'dynamic', factor: 2 } }), 'x.gguf');
  fails(/no 'hidden_size'/, 'convert', config({ hidden_size: null }), 'x.gguf');
  fails(/'num_hidden_layers' is not a/, 'convert', config({ num_hidden_layers: 1.5 }), 'x.gguf');
  fails(/'num_experts_per_tok' is not a whole number/, 'convert', (put(at('odd.moe'), model('mixtral', { config: { num_experts_per_tok: 2.5 } })), 'odd.moe'), 'x.gguf');
  fails(/lack 'model.layers.2.input_layernorm.weight'/, 'convert', config({ num_hidden_layers: 3 }), 'x.gguf');
  fails(/'model.layers.1.input_layernorm.weight' is not known/, 'convert', config({ num_hidden_layers: 1 }), 'x.gguf');
  fails(/'model.layers.0.mlp.gate_proj.weight' is 40 x 32; by config.json it should be 44 x 32/, 'convert', config({ intermediate_size: 44 }), 'x.gguf');
  fails(/'model.norm.bias' is not known/, 'convert', odd('odd', (m) => (m.tensors['model.norm.bias'] = m.tensors['model.norm.weight'])), 'x.gguf');
  fails(/'blk.0.attn_v.weight' holds a value that is no number/, 'convert', odd('odd', (m) => (m.tensors['model.layers.0.self_attn.v_proj.weight'].values[3] = NaN)), 'x.gguf');
  fails(/cuts text by the expression 'x\+'/, 'convert', odd('odd', (m) => (m.tokenizer = byteTokenizer({ regex: 'x+' }))), 'x.gguf');
  run('convert', 'odd', 'odd.gguf', '--pre', 'qwen2');
  fails(/model is 'WordPiece'/, 'convert', odd('odd', (m) => (m.tokenizer.model.type = 'WordPiece')), 'x.gguf');
  fails(/no number below config.json's 'vocab_size' of 320/, 'convert', odd('odd', (m) => (m.tokenizer.added_tokens[0].id = 320)), 'x.gguf');
  fails(/neither tokenizer.json nor tokenizer.model/, 'convert', (odd('bare', (m) => (m.tokenizer = null)), 'bare'), 'x.gguf');
  fails(/is no folder/, 'convert', 'llama.gguf', 'x.gguf');
  fails(/cannot open .*config.json/, 'convert', 'shards/..', 'x.gguf');
  fails(/not a GGUF file/, 'export', 'llama.hf/config.json', 'nothing');
  adapter('lora.odd', { use_dora: true });
  fails(/'use_dora'/, 'convert', 'lora.odd', 'x.gguf', '--base', 'llama.hf');
  adapter('lora.odd', { peft_type: 'IA3' });
  fails(/'peft_type' is 'IA3'/, 'convert', 'lora.odd', 'x.gguf', '--base', 'llama.hf');
  adapter('lora.odd', {}, { 'base_model.model.model.layers.9.mlp.up_proj.lora_A.weight': { shape: [2, 32], values: new Float32Array(64) } });
  fails(/layers.9.mlp.up_proj.lora_A.weight' changes nothing that is known/, 'convert', 'lora.odd', 'x.gguf', '--base', 'llama.hf');
  fails(/'who\/knows', which is no folder here/, 'convert', 'lora', 'x.gguf');
  fails(/beside its model: name that by --base/, 'export', 'lora.gguf', 'nothing');
  fails(/lacks tensor 'blk.0.attn_q.bias'|is a 'llama'/, 'merge', '--linear', 'base.gguf', 'qwen2.gguf', '-o', 'x.gguf');
  put(at('wide.hf'), (() => { const m = model('llama', { layers: 1 }); return m; })());
  run('convert', 'wide.hf', 'wide.gguf');
  fails(/wide.gguf lacks tensor 'blk.1./, 'merge', '--slerp', 'base.gguf', 'wide.gguf', '-o', 'x.gguf');
  fails(/their vocabularies differ/, 'merge', '--linear', 'base.gguf', 'pieces.gguf', '-o', 'x.gguf');
  fails(/is no LoRA adapter/, 'merge', 'base.gguf', '--lora', 'b.gguf', '-o', 'x.gguf');
  fails(/is one of the files that are read/, 'merge', '--linear', 'base.gguf', 'b.gguf', '-o', 'b.gguf');
  for (const args of [['convert'], ['convert', 'llama'], ['export', 'a.gguf'], ['merge', 'a.gguf'], ['merge', '--slerp', 'a', '-o', 'x.gguf'], ['merge', '--linear', '--ties', 'a', 'b', 'c', '-o', 'x.gguf'], ['convert', 'llama', 'x.gguf', '--type', 'Q3'], ['export', 'llama.gguf', 'y', '--type', 'Q8_0']])
    assert.equal(start(args).status, 2, args.join(' '));
});

test('what belongs to another kind of merge was passed over', () => {
  for (const args of [['--linear', 'a.gguf', 'b.gguf', '--t', '0.3'], ['--linear', 'a.gguf', 'b.gguf', '--weight', '2'], ['--slerp', 'a.gguf', 'b.gguf', '--density', '0.3']]) {
    const r = start(['merge', ...args, '-o', 'x.gguf']);
    assert.equal(r.status, 2, r.stderr);
    assert.match(r.stderr, /--t is for --slerp, --density and --weight are for --ties/);
  }
});

test('a full disk, and a process that is killed, leave what was there', async () => {
  writeFileSync(at('full.gguf'), 'old');
  const limited = (what) => spawnSync('sh', ['-c', `ulimit -f 16; exec ${weir} ${what}`], { cwd: folder, encoding: 'utf8' });
  for (const what of ['convert llama.hf full.gguf', 'merge --linear base.gguf b.gguf -o full.gguf']) {
    const r = limited(what);
    assert.equal(r.status, 1, r.stderr);
    assert.match(r.stderr, /full\.gguf cannot be written/);
    assert.equal(readFileSync(at('full.gguf'), 'utf8'), 'old');
  }
  assert.equal(limited('export llama.gguf full.hf').status, 1);
  assert.ok(!existsSync(at('full.hf/model.safetensors')));
  const child = spawn(weir, ['convert', 'gemma2.hf', 'killed.gguf', '--type', 'Q6_K', '--threads', '1'], { cwd: folder });
  await new Promise((resolve) => setTimeout(resolve, 20));
  child.kill('SIGKILL');
  await new Promise((resolve) => child.on('close', resolve));
  assert.ok(!existsSync(at('killed.gguf')) || show('killed.gguf'), 'whole or not there');
});

// Tiny models as Hugging Face keeps them, with random weights of ours.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

// A 32-bit generator (Mulberry32): the same seed, the same model.
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// Values that BF16 holds exactly, so that nothing is lost on the way.
const bf16 = (x) => {
  const f = new Float32Array([x]);
  new Uint32Array(f.buffer)[0] &= 0xffff0000;
  return f[0];
};

function encode(values, dtype) {
  if (dtype === 'F32') return Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  const out = Buffer.alloc(values.length * (dtype === 'F64' ? 8 : 2));
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < values.length; i++)
    if (dtype === 'F64') out.writeDoubleLE(values[i], i * 8);
    else out.writeUInt16LE(bits[i] >>> 16, i * 2);
  return out;
}

// {name: {shape, values, dtype?}} as the bytes of a file.
export function safetensors(tensors) {
  const header = {};
  const parts = [];
  let at = 0;
  for (const [name, t] of Object.entries(tensors)) {
    const bytes = encode(t.values, t.dtype ?? 'F32');
    header[name] = { dtype: t.dtype ?? 'F32', shape: t.shape, data_offsets: [at, at + bytes.length] };
    parts.push(bytes);
    at += bytes.length;
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, ...parts]);
}

// GPT-2's spelling of bytes.
function byteLetters() {
  const plain = (b) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let more = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(plain(b) ? b : more++));
}

const llama3 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const qwen2 = llama3.replace('\\p{N}{1,3}', '\\p{N}');

export function byteTokenizer({ regex = qwen2, ignoreMerges = false } = {}) {
  const vocab = Object.fromEntries(byteLetters().map((c, i) => [c, i]));
  const merges = [['h', 'e'], ['Ġ', 't'], ['Ġt', 'he'], ['l', 'o']];
  for (const [a, b] of merges) vocab[a + b] = Object.keys(vocab).length;
  const n = Object.keys(vocab).length;
  const special = (id, content) => ({ id, content, special: true, normalized: false, lstrip: false, rstrip: false, single_word: false });
  return {
    version: '1.0',
    added_tokens: [special(n, '<|endoftext|>'), special(n + 1, '<|im_start|>'), special(n + 2, '<|im_end|>'), { ...special(n + 3, '<tool>'), special: false }],
    normalizer: { type: 'NFC' },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false },
      ],
    },
    post_processor: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false },
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', unk_token: null, byte_fallback: false, ignore_merges: ignoreMerges, vocab, merges: ignoreMerges ? merges : merges.map((m) => m.join(' ')) },
  };
}

// Llama 2's kind: pieces by the order of their merges, bytes for what is none.
export function pieceTokenizer() {
  const vocab = { '<unk>': 0, '<s>': 1, '</s>': 2 };
  const add = (text) => (vocab[text] ??= Object.keys(vocab).length);
  for (let b = 0; b < 256; b++) add(`<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`);
  const merges = [['▁', 't'], ['h', 'e'], ['▁t', 'he'], ['l', 'o']];
  for (const [a, b] of merges) add(a + b);
  for (const c of '▁abcdefghijklmnopqrstuvwxyz') add(c);
  const special = (id, content) => ({ id, content, special: true, normalized: false });
  const first = (id) => ({ SpecialToken: { id, type_id: 0 } });
  return {
    version: '1.0',
    added_tokens: [special(0, '<unk>'), special(1, '<s>'), special(2, '</s>')],
    normalizer: { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, { type: 'Replace', pattern: { String: ' ' }, content: '▁' }] },
    pre_tokenizer: null,
    post_processor: { type: 'TemplateProcessing', single: [first('<s>'), { Sequence: { id: 'A', type_id: 0 } }], pair: [] },
    model: { type: 'BPE', unk_token: '<unk>', byte_fallback: true, vocab, merges: merges.map((m) => m.join(' ')) },
  };
}

// What each architecture's layer has, beside the usual.
const kinds = {
  llama: { hf: 'LlamaForCausalLM' },
  qwen2: { hf: 'Qwen2ForCausalLM', bias: true },
  qwen3: { hf: 'Qwen3ForCausalLM', headNorms: true },
  gemma2: { hf: 'Gemma2ForCausalLM', around: true, tied: true, config: { hidden_activation: 'gelu_pytorch_tanh', attn_logit_softcapping: 50, final_logit_softcapping: 30, sliding_window: 16, query_pre_attn_scalar: 8 } },
  gemma3: { hf: 'Gemma3ForCausalLM', around: true, headNorms: true, tied: true, config: { hidden_activation: 'gelu_pytorch_tanh', sliding_window: 16, rope_theta: 1000000, rope_local_base_freq: 10000 } },
  phi3: { hf: 'Phi3ForCausalLM', fused: true, config: { sliding_window: 2047 } },
  mixtral: { hf: 'MixtralForCausalLM', experts: 3, config: { num_local_experts: 3, num_experts_per_tok: 2 } },
};

// Returns {config, tensors, tokenizer}; the caller may change them before put() writes them.
export function model(kind, { seed = 1, dtype = 'BF16', tokenizer = byteTokenizer(), layers = 2, config = {} } = {}) {
  const k = kinds[kind];
  const next = random(seed);
  const embed = 32, heads = 4, keyHeads = 2, head = 8, ff = 40, vocab = 320;
  const tensors = {};
  const add = (name, ...shape) => {
    const values = new Float32Array(shape.reduce((a, b) => a * b));
    const norm = shape.length === 1 && name.endsWith('norm.weight');
    for (let i = 0; i < values.length; i++) values[i] = bf16((next() * 2 - 1) * (norm ? 0.25 : 0.5) + (norm && !k.around ? 1 : 0));
    tensors[name] = { shape, values, dtype };
  };
  add('model.embed_tokens.weight', vocab, embed);
  add('model.norm.weight', embed);
  if (!k.tied) add('lm_head.weight', vocab, embed);
  for (let i = 0; i < layers; i++) {
    const p = `model.layers.${i}.`;
    const norms = ['input_layernorm', 'post_attention_layernorm', ...(k.around ? ['pre_feedforward_layernorm', 'post_feedforward_layernorm'] : [])];
    for (const n of norms) add(`${p}${n}.weight`, embed);
    const projections = k.fused ? [['qkv_proj', (heads + 2 * keyHeads) * head]] : [['q_proj', heads * head], ['k_proj', keyHeads * head], ['v_proj', keyHeads * head]];
    for (const [name, rows] of projections) {
      add(`${p}self_attn.${name}.weight`, rows, embed);
      if (k.bias) add(`${p}self_attn.${name}.bias`, rows);
    }
    add(`${p}self_attn.o_proj.weight`, embed, heads * head);
    for (const n of k.headNorms ? ['q_norm', 'k_norm'] : []) add(`${p}self_attn.${n}.weight`, head);
    if (k.experts) {
      add(`${p}block_sparse_moe.gate.weight`, k.experts, embed);
      for (let e = 0; e < k.experts; e++)
        for (const [w, ...shape] of [['w1', ff, embed], ['w2', embed, ff], ['w3', ff, embed]]) add(`${p}block_sparse_moe.experts.${e}.${w}.weight`, ...shape);
    } else {
      if (k.fused) add(`${p}mlp.gate_up_proj.weight`, 2 * ff, embed);
      else for (const n of ['gate_proj', 'up_proj']) add(`${p}mlp.${n}.weight`, ff, embed);
      add(`${p}mlp.down_proj.weight`, embed, ff);
    }
  }
  return {
    tensors,
    tokenizer,
    config: {
      architectures: [k.hf], hidden_act: 'silu', hidden_size: embed, intermediate_size: ff, num_hidden_layers: layers,
      num_attention_heads: heads, num_key_value_heads: keyHeads, head_dim: head, vocab_size: vocab, max_position_embeddings: 256,
      rms_norm_eps: 1e-6, rope_theta: 10000, tie_word_embeddings: k.tied ?? false, ...k.config, ...config,
    },
    settings: { eos_token: '<|im_end|>', chat_template: '{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}' },
    generation: { eos_token_id: [262, 260], temperature: 0.7, top_k: 20, top_p: 0.8 },
  };
}

export function put(folder, m) {
  const json = (name, value) => value && writeFileSync(join(folder, name), JSON.stringify(value));
  mkdirSync(folder, { recursive: true });
  json('config.json', m.config);
  json('tokenizer.json', m.tokenizer);
  json('tokenizer_config.json', m.settings);
  json('generation_config.json', m.generation);
  writeFileSync(join(folder, 'model.safetensors'), safetensors(m.tensors));
}

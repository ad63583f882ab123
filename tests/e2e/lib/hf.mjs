// Tiny models as Hugging Face keeps them, with random weights of ours.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
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
  if (dtype === 'U8' || dtype === 'F8_E4M3') return Buffer.from(values);
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

// Gemma 4's kind: the same, its merges kept; no space is put before a text.
export function mergedTokenizer() {
  const t = pieceTokenizer();
  const split = { type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithPrevious', invert: false };
  const added = ['<|tool_call>', '<turn|>'].map((content, i) => ({ id: Object.keys(t.model.vocab).length + i, content, special: true, normalized: false }));
  return { ...t, added_tokens: [...t.added_tokens, ...added], normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' }, pre_tokenizer: split };
}

const sizes = { embed: 32, heads: 4, keyHeads: 2, head: 8, ff: 40, vocab: 320 };

// Layers of their own: (add, prefix, number, sizes).
const own = {
  attention(add, p, { embed, heads, keyHeads, head }, { bias, fused, output = 'o_proj' } = {}) {
    const apart = [['q_proj', heads * head], ['k_proj', keyHeads * head], ['v_proj', keyHeads * head]];
    for (const [name, rows] of fused ? [['qkv_proj', (heads + 2 * keyHeads) * head]] : apart) {
      add(`${p}self_attn.${name}.weight`, rows, embed);
      if (bias) add(`${p}self_attn.${name}.bias`, rows);
    }
    add(`${p}self_attn.${output}.weight`, embed, heads * head);
  },
  norms(add, p, embed, ...names) {
    for (const n of names) add(`${p}${n}.weight`, embed);
  },
  mlp(add, p, name, embed, ff, [gate, up, down] = ['gate_proj', 'up_proj', 'down_proj']) {
    for (const [n, ...shape] of [[gate, ff, embed], [up, ff, embed], [down, embed, ff]]) add(`${p}${name}.${n}.weight`, ...shape);
  },
  lfm2(add, p, i, { embed, head, ff, ...s }, experts) {
    own.norms(add, p, embed, 'operator_norm', 'ffn_norm');
    if (i % 2) {
      own.attention(add, p, { embed, head, ...s }, { output: 'out_proj' });
      for (const n of ['q_layernorm', 'k_layernorm']) add(`${p}self_attn.${n}.weight`, head);
    } else {
      add(`${p}conv.in_proj.weight`, 3 * embed, embed);
      add(`${p}conv.conv.weight`, embed, 1, 3);
      add(`${p}conv.out_proj.weight`, embed, embed);
    }
    if (!experts || i < 1) return own.mlp(add, p, 'feed_forward', embed, ff, ['w1', 'w3', 'w2']);
    add(`${p}feed_forward.gate.weight`, experts, embed);
    add(`${p}feed_forward.expert_bias`, experts);
    for (let e = 0; e < experts; e++) own.mlp(add, p, `feed_forward.experts.${e}`, embed, 12, ['w1', 'w3', 'w2']);
  },
  granitemoe(add, p, i, { embed, ff, ...s }) {
    own.norms(add, p, embed, 'input_layernorm', 'post_attention_layernorm');
    own.attention(add, p, { embed, ...s });
    add(`${p}block_sparse_moe.router.layer.weight`, 3, embed);
    add(`${p}block_sparse_moe.input_linear.weight`, 3, 2 * ff, embed);
    add(`${p}block_sparse_moe.output_linear.weight`, 3, embed, ff);
    add(`${p}shared_mlp.input_linear.weight`, 24, embed);
    add(`${p}shared_mlp.output_linear.weight`, embed, 12);
  },
  // Experts behind one dense layer, chosen with a bias or without, and shared ones.
  routed(add, p, i, { embed, ff }, bias) {
    if (i < 1) return own.mlp(add, p, 'mlp', embed, ff);
    add(`${p}mlp.gate.weight`, 4, embed);
    if (bias) add(`${p}mlp.gate.e_score_correction_bias`, 4);
    for (let e = 0; e < 4; e++) own.mlp(add, p, `mlp.experts.${e}`, embed, 12);
    own.mlp(add, p, 'mlp.shared_experts', embed, 24);
  },
  glm4moe(add, p, i, s) {
    own.norms(add, p, s.embed, 'input_layernorm', 'post_attention_layernorm');
    own.attention(add, p, s, { bias: true });
    for (const n of ['q_norm', 'k_norm']) add(`${p}self_attn.${n}.weight`, s.head);
    own.routed(add, p, i, s, true);
  },
  // Heads of 8 values, 4 of them rotated, that give 6; latents of 16.
  deepseek(add, p, i, s, rank) {
    const { embed, heads } = s;
    own.norms(add, p, embed, 'input_layernorm', 'post_attention_layernorm');
    if (rank) {
      add(`${p}self_attn.q_a_proj.weight`, rank, embed);
      add(`${p}self_attn.q_a_layernorm.weight`, rank);
      add(`${p}self_attn.q_b_proj.weight`, heads * 8, rank);
    } else add(`${p}self_attn.q_proj.weight`, heads * 8, embed);
    add(`${p}self_attn.kv_a_proj_with_mqa.weight`, 16 + 4, embed);
    add(`${p}self_attn.kv_a_layernorm.weight`, 16);
    add(`${p}self_attn.kv_b_proj.weight`, heads * (4 + 6), 16);
    add(`${p}self_attn.o_proj.weight`, embed, heads * 6);
    own.routed(add, p, i, s, rank);
  },
  // Two heads of keys of 8 values, four of values of 8: linear attention, and each second layer gated attention.
  qwen35(add, p, i, s, experts) {
    const { embed, heads, keyHeads, head, ff } = s;
    own.norms(add, p, embed, 'input_layernorm', 'post_attention_layernorm');
    if (i % 2) {
      own.attention(add, p, s);
      add(`${p}self_attn.q_proj.weight`, 2 * heads * head, embed);
      for (const n of ['q_norm', 'k_norm']) add(`${p}self_attn.${n}.weight`, head);
    } else {
      add(`${p}linear_attn.in_proj_qkv.weight`, 64, embed);
      add(`${p}linear_attn.in_proj_z.weight`, 32, embed);
      for (const n of ['a', 'b']) add(`${p}linear_attn.in_proj_${n}.weight`, 4, embed);
      add(`${p}linear_attn.conv1d.weight`, 64, 1, 4);
      for (const n of ['A_log', 'dt_bias']) add(`${p}linear_attn.${n}`, 4);
      add(`${p}linear_attn.norm.weight`, 8);
      add(`${p}linear_attn.out_proj.weight`, embed, 32);
    }
    if (!experts) return own.mlp(add, p, 'mlp', embed, ff);
    add(`${p}mlp.gate.weight`, experts, embed);
    add(`${p}mlp.experts.gate_up_proj`, experts, 24, embed);
    add(`${p}mlp.experts.down_proj`, experts, embed, 12);
    own.mlp(add, p, 'mlp.shared_expert', embed, 12);
    add(`${p}mlp.shared_expert_gate.weight`, 1, embed);
  },
  gemma4ends(add, layers, { embed, vocab }) {
    add('model.embed_tokens_per_layer.weight', vocab, layers * 8);
    add('model.per_layer_model_projection.weight', layers * 8, embed);
    add('model.per_layer_projection_norm.weight', 8);
  },
  // Layers with a window (heads of 8), and one without in three (heads of 12, whose values may be their keys); the last
  // `sharing` keep no keys and have networks twice as wide.
  gemma4(add, p, i, { embed, heads, keyHeads, head, ff }, { layers, sharing = 0, own: width, experts }) {
    const wide = i % 3 === 2, w = wide ? 12 : head, keys = wide && experts ? 1 : keyHeads, reads = i >= layers - sharing;
    own.norms(add, p, embed, 'input_layernorm', 'post_attention_layernorm', 'pre_feedforward_layernorm', 'post_feedforward_layernorm');
    add(`${p}layer_scalar`, 1);
    add(`${p}self_attn.q_proj.weight`, heads * w, embed);
    add(`${p}self_attn.o_proj.weight`, embed, heads * w);
    own.norms(add, p, w, 'self_attn.q_norm', ...(reads ? [] : ['self_attn.k_norm']));
    for (const n of reads ? [] : wide && experts ? ['k_proj'] : ['k_proj', 'v_proj']) add(`${p}self_attn.${n}.weight`, keys * w, embed);
    own.mlp(add, p, 'mlp', embed, reads ? 2 * ff : ff);
    if (width) {
      add(`${p}per_layer_input_gate.weight`, width, embed);
      add(`${p}per_layer_projection.weight`, embed, width);
      own.norms(add, p, embed, 'post_per_layer_input_norm');
    }
    if (!experts) return;
    add(`${p}router.proj.weight`, experts, embed);
    add(`${p}router.scale`, embed);
    add(`${p}router.per_expert_scale`, experts);
    add(`${p}experts.gate_up_proj`, experts, 24, embed);
    add(`${p}experts.down_proj`, experts, embed, 12);
    own.norms(add, p, embed, 'pre_feedforward_layernorm_2', 'post_feedforward_layernorm_1', 'post_feedforward_layernorm_2');
  },
  // Experts chosen in each layer, and with `shared` one that all tokens pass.
  qwenmoe(add, p, i, s, { shared } = {}) {
    own.norms(add, p, s.embed, 'input_layernorm', 'post_attention_layernorm');
    own.attention(add, p, s, { bias: shared });
    if (!shared) own.norms(add, p, s.head, 'self_attn.q_norm', 'self_attn.k_norm');
    add(`${p}mlp.gate.weight`, 4, s.embed);
    for (let e = 0; e < 4; e++) own.mlp(add, p, `mlp.experts.${e}`, s.embed, 12);
    if (!shared) return;
    own.mlp(add, p, 'mlp.shared_expert', s.embed, 24);
    add(`${p}mlp.shared_expert_gate.weight`, 1, s.embed);
  },
  olmo(add, p, i, s) {
    own.norms(add, p, s.embed, 'post_attention_layernorm', 'post_feedforward_layernorm');
    own.attention(add, p, s);
    add(`${p}self_attn.q_norm.weight`, s.heads * s.head);
    add(`${p}self_attn.k_norm.weight`, s.keyHeads * s.head);
    own.mlp(add, p, 'mlp', s.embed, s.ff);
  },
  glm4(add, p, i, s) {
    own.norms(add, p, s.embed, 'input_layernorm', 'post_self_attn_layernorm', 'post_attention_layernorm', 'post_mlp_layernorm');
    own.attention(add, p, s, { bias: true });
    add(`${p}mlp.gate_up_proj.weight`, 2 * s.ff, s.embed);
    add(`${p}mlp.down_proj.weight`, s.embed, s.ff);
  },
  cohere(add, p, i, s, { headNorms } = {}) {
    own.norms(add, p, s.embed, 'input_layernorm');
    own.attention(add, p, s);
    if (headNorms) add(`${p}self_attn.q_norm.weight`, s.heads, s.head);
    if (headNorms) add(`${p}self_attn.k_norm.weight`, s.keyHeads, s.head);
    own.mlp(add, p, 'mlp', s.embed, s.ff);
  },
  gptoss(add, p, i, s) {
    const { embed, heads, ff } = s;
    own.norms(add, p, embed, 'input_layernorm', 'post_attention_layernorm');
    own.attention(add, p, s, { bias: true });
    add(`${p}self_attn.o_proj.bias`, embed);
    add(`${p}self_attn.sinks`, heads);
    add(`${p}mlp.router.weight`, 4, embed);
    add(`${p}mlp.router.bias`, 4);
    add(`${p}mlp.experts.gate_up_proj`, 4, embed, 2 * ff);
    add(`${p}mlp.experts.gate_up_proj_bias`, 4, 2 * ff);
    add(`${p}mlp.experts.down_proj`, 4, ff, embed);
    add(`${p}mlp.experts.down_proj_bias`, 4, embed);
  },
};
// A layer behind the last, which foretells further tokens: (add, layers, sizes, own).
const ahead = {
  next(add, layers, s, layer) {
    const p = `model.layers.${layers}.`;
    layer(add, p, layers, s);
    add(`${p}eh_proj.weight`, s.embed, 2 * s.embed);
    own.norms(add, p, s.embed, 'enorm', 'hnorm', 'shared_head.norm');
    for (const n of ['embed_tokens', 'shared_head.head']) add(`${p}${n}.weight`, s.vocab, s.embed);
  },
  apart(add, layers, s, layer) {
    layer(add, 'mtp.layers.0.', 1, s); // an odd one: it attends
    add('mtp.fc.weight', s.embed, 2 * s.embed);
    own.norms(add, 'mtp.', s.embed, 'pre_fc_norm_embedding', 'pre_fc_norm_hidden', 'norm');
  },
};
const latent = { kv_lora_rank: 16, qk_rope_head_dim: 4, qk_nope_head_dim: 4, v_head_dim: 6, head_dim: undefined, num_key_value_heads: 4 };
const routed = { n_routed_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 12, n_shared_experts: 2, first_k_dense_replace: 1, routed_scaling_factor: 1.5, norm_topk_prob: true, n_group: 1, topk_group: 1 };
const turning = (layers) => Array.from({ length: layers }, (_, i) => (i % 2 ? 'full_attention' : 'conv'));
const lfm2 = { layer_types: turning(2), conv_L_cache: 3, conv_bias: false, norm_eps: 1e-5, rms_norm_eps: undefined, rope_theta: 1e6, hidden_act: undefined };
const qwen35 = { linear_conv_kernel_dim: 4, linear_key_head_dim: 8, linear_num_key_heads: 2, linear_num_value_heads: 4, linear_value_head_dim: 8, full_attention_interval: 2, layer_types: ['linear_attention', 'full_attention'], partial_rotary_factor: 0.5, rope_theta: 1e7, attn_output_gate: true, rope_parameters: { rope_type: 'default', mrope_interleaved: true, mrope_section: [1, 1, 0] } };
const yarn = { type: 'yarn', factor: 4, original_max_position_embeddings: 64, beta_fast: 32, beta_slow: 1, mscale: 0.707, mscale_all_dim: 0.707 };

const gemma4 = (layers, more) => ({
  layer_types: Array.from({ length: layers }, (_, i) => (i % 3 === 2 ? 'full_attention' : 'sliding_attention')), sliding_window: 16, global_head_dim: 12, num_global_key_value_heads: 2,
  hidden_activation: 'gelu_pytorch_tanh', hidden_act: undefined, final_logit_softcapping: 30, num_kv_shared_layers: 0, hidden_size_per_layer_input: 0, vocab_size_per_layer_input: 320, use_double_wide_mlp: false,
  attention_k_eq_v: false, enable_moe_block: false, num_experts: null, top_k_experts: null, moe_intermediate_size: null, rope_theta: undefined,
  rope_parameters: { full_attention: { rope_type: 'proportional', rope_theta: 1000000, partial_rotary_factor: 0.5 }, sliding_attention: { rope_type: 'default', rope_theta: 10000 } }, ...more,
});

// What each architecture's layer has, beside the usual.
const kinds = {
  lfm2: { hf: 'Lfm2ForCausalLM', own: own.lfm2, norm: 'embedding_norm', tied: true, config: { ...lfm2, block_auto_adjust_ff_dim: false } },
  lfm2moe: { hf: 'Lfm2MoeForCausalLM', own: (a, p, i, s) => own.lfm2(a, p, i, s, 4), norm: 'embedding_norm', tied: true, config: { ...lfm2, num_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 12, num_dense_layers: 1, norm_topk_prob: true, use_expert_bias: true } },
  granitemoe: { hf: 'GraniteMoeSharedForCausalLM', own: own.granitemoe, config: { num_local_experts: 3, num_experts_per_tok: 2, shared_intermediate_size: 12, attention_multiplier: 0.25, embedding_multiplier: 3, residual_multiplier: 0.5, logits_scaling: 2 } },
  glm4moe: { hf: 'Glm4MoeForCausalLM', own: own.glm4moe, config: { ...routed, partial_rotary_factor: 0.5, rope_theta: 1e6 } },
  deepseek2: { hf: 'DeepseekV2ForCausalLM', own: (a, p, i, s) => own.deepseek(a, p, i, s), config: { ...latent, ...routed, norm_topk_prob: false, scoring_func: 'softmax', topk_method: 'greedy', q_lora_rank: null } },
  deepseek3: { hf: 'DeepseekV3ForCausalLM', own: (a, p, i, s) => own.deepseek(a, p, i, s, 12), config: { ...latent, ...routed, scoring_func: 'sigmoid', topk_method: 'noaux_tc', q_lora_rank: 12, rope_scaling: yarn } },
  gptoss: { hf: 'GptOssForCausalLM', own: own.gptoss, config: { num_local_experts: 4, num_experts_per_tok: 2, sliding_window: 16, layer_types: ['sliding_attention', 'full_attention'], rope_theta: 150000, swiglu_limit: 7, rope_scaling: { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 64, beta_fast: 32, beta_slow: 1, truncate: false } } },
  qwen35: { hf: 'Qwen3_5ForCausalLM', own: (a, p, i, s) => own.qwen35(a, p, i, s), around: true, config: qwen35 },
  qwen35moe: { hf: 'Qwen3_5MoeForCausalLM', own: (a, p, i, s) => own.qwen35(a, p, i, s, 4), around: true, config: { ...qwen35, num_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 12, shared_expert_intermediate_size: 12 } },
  ministral3: { hf: 'Ministral3ForCausalLM', config: { rope_theta: 1e6, rope_parameters: { ...yarn, rope_type: 'yarn', mscale: 1, mscale_all_dim: 1, llama_4_scaling_beta: 0.1, rope_theta: 1e6 } } },
  llama: { hf: 'LlamaForCausalLM' },
  mistral: { hf: 'MistralForCausalLM' },
  smollm3: { hf: 'SmolLM3ForCausalLM', layers: 4, tied: true, config: { no_rope_layers: [1, 1, 1, 0], rope_theta: 2e6 } },
  qwen2moe: { hf: 'Qwen2MoeForCausalLM', own: (a, p, i, s) => own.qwenmoe(a, p, i, s, { shared: true }), config: { num_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 12, shared_expert_intermediate_size: 24, norm_topk_prob: false } },
  qwen3moe: { hf: 'Qwen3MoeForCausalLM', own: own.qwenmoe, config: { num_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 12, norm_topk_prob: true, decoder_sparse_step: 1, mlp_only_layers: [] } },
  gemma: { hf: 'GemmaForCausalLM', tied: true, config: { hidden_act: 'gelu_pytorch_tanh' } },
  granite: { hf: 'GraniteForCausalLM', tied: true, config: { attention_multiplier: 0.25, embedding_multiplier: 3, residual_multiplier: 0.5, logits_scaling: 2 } },
  olmo2: { hf: 'Olmo2ForCausalLM', own: own.olmo },
  olmo3: { hf: 'Olmo3ForCausalLM', layers: 4, own: own.olmo, config: { sliding_window: 16, layer_types: ['sliding_attention', 'sliding_attention', 'sliding_attention', 'full_attention'] } },
  glm4: { hf: 'Glm4ForCausalLM', own: own.glm4, config: { partial_rotary_factor: 0.5, attention_bias: true } },
  cohere: { hf: 'CohereForCausalLM', own: own.cohere, tied: true, config: { layer_norm_eps: 1e-5, rms_norm_eps: undefined, logit_scale: 0.25, use_qk_norm: false } },
  coherePlus: { hf: 'CohereForCausalLM', own: (a, p, i, s) => own.cohere(a, p, i, s, { headNorms: true }), tied: true, config: { layer_norm_eps: 1e-5, rms_norm_eps: undefined, logit_scale: 0.25, use_qk_norm: true } },
  cohere2: { hf: 'Cohere2ForCausalLM', own: own.cohere, layers: 4, tied: true, config: { layer_norm_eps: 1e-5, rms_norm_eps: undefined, logit_scale: 0.25, sliding_window: 16, layer_types: ['sliding_attention', 'sliding_attention', 'sliding_attention', 'full_attention'] } },
  qwen2: { hf: 'Qwen2ForCausalLM', bias: true },
  qwen3: { hf: 'Qwen3ForCausalLM', headNorms: true },
  gemma2: { hf: 'Gemma2ForCausalLM', around: true, tied: true, config: { hidden_activation: 'gelu_pytorch_tanh', attn_logit_softcapping: 50, final_logit_softcapping: 30, sliding_window: 16, query_pre_attn_scalar: 8 } },
  gemma3: { hf: 'Gemma3ForCausalLM', around: true, headNorms: true, tied: true, config: { hidden_activation: 'gelu_pytorch_tanh', sliding_window: 16, rope_theta: 1000000, rope_local_base_freq: 10000 } },
  gemma4: { hf: 'Gemma4ForCausalLM', tied: true, layers: 6, tokenizer: mergedTokenizer, own: (a, p, i, s) => own.gemma4(a, p, i, s, { layers: 6, sharing: 3, own: 8 }), ends: own.gemma4ends, config: gemma4(6, { num_kv_shared_layers: 3, use_double_wide_mlp: true, hidden_size_per_layer_input: 8 }) },
  gemma4moe: { hf: 'Gemma4ForCausalLM', tied: true, layers: 3, tokenizer: mergedTokenizer, own: (a, p, i, s) => own.gemma4(a, p, i, s, { layers: 3, experts: 4 }), config: gemma4(3, { enable_moe_block: true, num_experts: 4, top_k_experts: 2, moe_intermediate_size: 12, attention_k_eq_v: true, num_global_key_value_heads: 1 }) },
  phi3: { hf: 'Phi3ForCausalLM', fused: true, config: { sliding_window: 2047 } },
  mixtral: { hf: 'MixtralForCausalLM', experts: 3, config: { num_local_experts: 3, num_experts_per_tok: 2 } },
};

// Returns {config, tensors, tokenizer}; the caller may change them before put() writes them. `foretells`: with a layer for it.
export function model(kind, { seed = 1, dtype = 'BF16', tokenizer, layers, config = {}, foretells } = {}) {
  const k = kinds[kind];
  tokenizer ??= (k.tokenizer ?? byteTokenizer)();
  layers ??= k.layers ?? 2;
  const next = random(seed);
  const { embed, heads, keyHeads, head, ff, vocab } = sizes;
  const tensors = {};
  const add = (name, ...shape) => {
    const values = new Float32Array(shape.reduce((a, b) => a * b));
    const norm = shape.length === 1 && /norm(_embedding|_hidden)?\.weight$/.test(name);
    for (let i = 0; i < values.length; i++) values[i] = bf16((next() * 2 - 1) * (norm ? 0.25 : 0.5) + (norm && !k.around ? 1 : 0));
    tensors[name] = { shape, values, dtype };
  };
  add('model.embed_tokens.weight', vocab, embed);
  add(`model.${k.norm ?? 'norm'}.weight`, embed);
  if (!k.tied) add('lm_head.weight', vocab, embed);
  k.ends?.(add, layers, sizes);
  for (let i = 0; i < layers; i++) {
    const p = `model.layers.${i}.`;
    if (k.own) {
      k.own(add, p, i, sizes);
      continue;
    }
    own.norms(add, p, embed, 'input_layernorm', 'post_attention_layernorm', ...(k.around ? ['pre_feedforward_layernorm', 'post_feedforward_layernorm'] : []));
    own.attention(add, p, sizes, k);
    for (const n of k.headNorms ? ['q_norm', 'k_norm'] : []) add(`${p}self_attn.${n}.weight`, head);
    if (k.experts) {
      add(`${p}block_sparse_moe.gate.weight`, k.experts, embed);
      for (let e = 0; e < k.experts; e++)
        for (const [w, ...shape] of [['w1', ff, embed], ['w2', embed, ff], ['w3', ff, embed]]) add(`${p}block_sparse_moe.experts.${e}.${w}.weight`, ...shape);
    } else if (k.fused) {
      add(`${p}mlp.gate_up_proj.weight`, 2 * ff, embed);
      add(`${p}mlp.down_proj.weight`, embed, ff);
    } else own.mlp(add, p, 'mlp', embed, ff);
  }
  const [key, behind] = kind.startsWith('qwen35') ? ['mtp_num_hidden_layers', ahead.apart] : ['num_nextn_predict_layers', ahead.next];
  if (foretells) {
    behind(add, layers, sizes, k.own);
    config = { [key]: 1, ...config };
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

// The tensors of a folder's model.safetensors, as floats.
export function read(folder) {
  const bytes = readFileSync(join(folder, 'model.safetensors'));
  const length = Number(bytes.readBigUInt64LE(0));
  const { __metadata__, ...header } = JSON.parse(bytes.subarray(8, 8 + length));
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: [from, to] }] of Object.entries(header)) {
    const data = Uint8Array.from(bytes.subarray(8 + length + from, 8 + length + to)).buffer;
    const values = dtype === 'F32' ? new Float32Array(data) : new Float32Array(Uint32Array.from(new Uint16Array(data), (x) => x << 16).buffer);
    tensors[name] = { dtype, shape, values };
  }
  return tensors;
}

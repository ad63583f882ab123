// A llama model whose weights are constructed, not trained: what follows a word is a table, exactly. Its embeddings are
// unit vectors, attention and feed-forward are zero, and a column of the output matrix is the logarithms of what may
// follow that word. So a test says what such a model knows, and how sure it is of what it does not.
import { gguf, f32, text, u32, u64 } from './gguf.mjs';

const END = '</s>';
export { END };
const NEVER = -30; // nats

// `next`: {word: [[word or END, probability], ...]}. A chat is its last message, so that an answer follows its last word.
export function chainModel(next, { context = 256 } = {}) {
  const named = new Set([...Object.keys(next), ...Object.values(next).flatMap((list) => list.map(([word]) => word))]);
  named.delete(END);
  const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`);
  const vocab = ['<unk>', '<s>', END, ...bytes, ...named];
  const id = new Map(vocab.map((word, i) => [word, i]));
  const types = vocab.map((_, i) => (i === 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 4)); // unknown, control, byte, user defined
  const width = Math.ceil(vocab.length / 64) * 64;
  const numbers = {
    context_length: context, embedding_length: width, block_count: 1, feed_forward_length: 32,
    'attention.head_count': width / 64, 'attention.head_count_kv': width / 64, 'rope.dimension_count': 64,
  };
  const pairs = [
    ['general.architecture', 8, text('llama')],
    ...Object.entries(numbers).map(([k, v]) => [`llama.${k}`, 4, u32(v)]),
    ['llama.attention.layer_norm_rms_epsilon', 6, f32(1e-6)],
    ['tokenizer.ggml.model', 8, text('llama')],
    ['tokenizer.ggml.tokens', 9, u32(8), u64(vocab.length), ...vocab.map(text)],
    ['tokenizer.ggml.scores', 9, u32(6), u64(vocab.length), ...vocab.map((_, i) => f32(-i))],
    ['tokenizer.ggml.token_type', 9, u32(5), u64(vocab.length), ...types.map(u32)],
    ['tokenizer.ggml.bos_token_id', 4, u32(1)],
    ['tokenizer.ggml.eos_token_id', 4, u32(2)],
    ['tokenizer.ggml.add_bos_token', 7, Buffer.from([0])],
    ['tokenizer.ggml.add_space_prefix', 7, Buffer.from([0])],
    ['tokenizer.chat_template', 8, text("{{ messages[-1]['content'] }}")],
  ];
  const embed = new Float32Array(width * vocab.length);
  const output = new Float32Array(width * vocab.length).fill(NEVER / Math.sqrt(width));
  vocab.forEach((_, i) => (embed[i * width + i] = 1));
  // What follows a word that has no row: the end.
  vocab.forEach((word, i) => {
    for (const [to, p] of next[word] ?? [[END, 1]]) output[id.get(to) * width + i] = Math.log(p) / Math.sqrt(width);
  });
  const square = [width, width];
  const ones = Array(width).fill(1);
  return gguf(pairs, [
    ['token_embd.weight', [width, vocab.length], embed],
    ['blk.0.attn_norm.weight', [width], ones],
    ...['attn_q', 'attn_k', 'attn_v', 'attn_output'].map((name) => [`blk.0.${name}.weight`, square]),
    ['blk.0.ffn_norm.weight', [width], ones],
    ['blk.0.ffn_gate.weight', [width, 32]],
    ['blk.0.ffn_up.weight', [width, 32]],
    ['blk.0.ffn_down.weight', [32, width]],
    ['output_norm.weight', [width], ones],
    ['output.weight', [width, vocab.length], output],
  ]);
}

// A small world for cascades: `n` places, each with a river, of which the model is as sure as it is often right. Its
// first guess is right with just the probability that it gives it (drawn once, from the seed): that is what calibrated
// means, and no more than that is built in. Some are known well, the others are guessed at. An answer is three words, of
// which the first decides; the second has synonyms, of which one is as good as the other: doubt that means nothing.
export function riverWorld(n, seed, known = 0.65) {
  let state = seed;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const rivers = Array.from({ length: Math.ceil(n / 2) }, (_, i) => `river${i}`);
  const next = { ' flows': [[' there', 0.9], [END, 0.1]], ' runs': [[' there', 0.9], [END, 0.1]] };
  for (const r of rivers) next[r] = [[' flows', 0.55], [' runs', 0.45]];
  const places = Array.from({ length: n }, (_, i) => {
    const p = random() < known ? 0.92 + 0.075 * random() : 0.12 + 0.45 * random();
    const others = [...new Set(Array.from({ length: 6 }, () => rivers[Math.floor(random() * rivers.length)]))];
    const guess = others.shift();
    const river = random() < p ? guess : others[Math.floor(random() * others.length)] ?? guess;
    const name = `place${i}.`;
    next[name] = [[guess, p], ...others.map((r) => [r, (1 - p) / others.length])];
    return { name, river, filler: 'so '.repeat(Math.floor(random() * 12)) };
  });
  return { next, places };
}

// A BERT of one layer whose products are all zero, as GGUF bytes: a text's embedding is that of its first token,
// normed.
const EMBED = 4;
export const tokens = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '\u2581x'];
export const table = [[1, 2, 3, 5], [-4, 0, 2, 1], [7, -7, 3, 2], [0, 1, 0, -1], [2, 2, -3, 8]];

const u32 = (n) => Buffer.from(Uint32Array.of(n).buffer);
const u64 = (n) => Buffer.from(BigUint64Array.of(BigInt(n)).buffer);
const text = (s) => Buffer.concat([u64(Buffer.byteLength(s)), Buffer.from(s)]);
const pad = (b) => Buffer.concat([b, Buffer.alloc((32 - (b.length % 32)) % 32)]);

export function tinyBert(context = 16) {
  const numbers = { context_length: context, embedding_length: EMBED, block_count: 1, feed_forward_length: 6 };
  const pairs = [
    [text('general.architecture'), u32(8), text('bert')],
    ...Object.entries({ ...numbers, 'attention.head_count': 2, pooling_type: 2 }).map(([k, v]) => [text(`bert.${k}`), u32(4), u32(v)]),
    [text('tokenizer.ggml.model'), u32(8), text('bert')],
    [text('tokenizer.ggml.tokens'), u32(9), u32(8), u64(tokens.length), ...tokens.map(text)],
  ];
  const ones = [1, 1, 1, 1];
  const square = [EMBED, EMBED];
  const tensors = [
    ['token_embd.weight', [EMBED, tokens.length], table.flat()],
    ['position_embd.weight', [EMBED, context]],
    ['token_embd_norm.weight', [EMBED], ones],
    ...['attn_q', 'attn_k', 'attn_v', 'attn_output'].map((name) => [`blk.0.${name}.weight`, square]),
    ['blk.0.attn_output_norm.weight', [EMBED], ones],
    ['blk.0.ffn_up.weight', [EMBED, 6]],
    ['blk.0.ffn_down.weight', [6, EMBED]],
    ['blk.0.layer_output_norm.weight', [EMBED], ones],
  ];
  const data = [];
  const infos = [];
  let offset = 0;
  for (const [name, shape, values] of tensors) {
    const count = shape.reduce((a, b) => a * b);
    infos.push(text(name), u32(shape.length), ...shape.map(u64), u32(0), u64(offset));
    data.push(pad(Buffer.from(Float32Array.from(values ?? Array(count).fill(0)).buffer)));
    offset += data.at(-1).length;
  }
  const head = [Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(pairs.length), ...pairs.flat(), ...infos];
  return Buffer.concat([pad(Buffer.concat(head)), ...data]);
}

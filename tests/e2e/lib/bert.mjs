// A BERT of one layer whose products are all zero, as GGUF bytes: a text's embedding is that of its first token,
// normed.
import { gguf, text, u32, u64 } from './gguf.mjs';

const EMBED = 4;
export const tokens = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '\u2581x'];
export const table = [[1, 2, 3, 5], [-4, 0, 2, 1], [7, -7, 3, 2], [0, 1, 0, -1], [2, 2, -3, 8]];

export function tinyBert(context = 16) {
  const numbers = { context_length: context, embedding_length: EMBED, block_count: 1, feed_forward_length: 6 };
  const pairs = [
    ['general.architecture', 8, text('bert')],
    ...Object.entries({ ...numbers, 'attention.head_count': 2, pooling_type: 2 }).map(([k, v]) => [`bert.${k}`, 4, u32(v)]),
    ['tokenizer.ggml.model', 8, text('bert')],
    ['tokenizer.ggml.tokens', 9, u32(8), u64(tokens.length), ...tokens.map(text)],
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
  return gguf(pairs, tensors);
}

/* A BERT of one layer whose products are all zero, so that each norm works on what the one before gave; made
 * by the test itself, as GGUF bytes. */
#ifndef TESTS_UNIT_ENGINE_TINY_BERT_H
#define TESTS_UNIT_ENGINE_TINY_BERT_H

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "engine/worker/gguf_write.h"

enum { TINY_EMBED = 4, TINY_FF = 6, TINY_VOCAB = 5, TINY_CONTEXT = 600 };

static const float tiny_table[TINY_VOCAB][TINY_EMBED] = {
    {1, 2, 3, 5}, {-4, 0, 2, 1}, {7, -7, 3, 2}, {0, 1, 0, -1}, {2, 2, -3, 8}};

struct tiny_bert {
    uint32_t pooling;
    bool head, single;  /* single: a dense layer alone, not square, beside a norm that has nothing to norm */
    uint32_t positions; /* rows of the table of positions */
};

struct tiny_part {
    const char *name;
    int64_t shape[2];
    const float *data; /* NULL: zeros */
};

static inline void tiny_part_write(struct gguf_writer *w, const struct tiny_part *p)
{
    gguf_write_tensor(w, p->name, TENSOR_F32, p->shape[1] > 1 ? 2 : 1, p->shape);
}

static inline void tiny_part_data(struct gguf_writer *w, const struct tiny_part *p, struct buf *out)
{
    size_t bytes = (size_t)(p->shape[0] * p->shape[1]) * sizeof(float);
    char *to = buf_reserve(out, bytes);
    assert_non_null(to);
    if (p->data)
        memcpy(to, p->data, bytes);
    else
        memset(to, 0, bytes);
    buf_commit(out, bytes);
    for (size_t i = gguf_writer_padding(w, bytes); i > 0; i--)
        buf_append_char(out, '\0');
}

static inline struct buf tiny_bert(const struct tiny_bert *f)
{
    static const float ones[TINY_EMBED] = {1, 1, 1, 1}, types[TINY_EMBED * 2] = {1, 1, 1, 1},
                       dense[TINY_EMBED * TINY_EMBED] = {1}, score[TINY_EMBED * 2] = {3, [4] = 1};
    static const struct str tokens[TINY_VOCAB] = {
        {"[PAD]", 5}, {"[UNK]", 5}, {"[CLS]", 5}, {"[SEP]", 5}, {"x", 1}};
    struct tiny_part parts[] = {{"token_embd.weight", {TINY_EMBED, TINY_VOCAB}, tiny_table[0]},
        {"position_embd.weight", {TINY_EMBED, f->positions}, NULL},
        {"token_types.weight", {TINY_EMBED, 2}, types}, {"token_embd_norm.weight", {TINY_EMBED, 1}, ones},
        {"blk.0.attn_q.weight", {TINY_EMBED, TINY_EMBED}, NULL},
        {"blk.0.attn_k.weight", {TINY_EMBED, TINY_EMBED}, NULL},
        {"blk.0.attn_v.weight", {TINY_EMBED, TINY_EMBED}, NULL},
        {"blk.0.attn_output.weight", {TINY_EMBED, TINY_EMBED}, NULL},
        {"blk.0.attn_output_norm.weight", {TINY_EMBED, 1}, ones},
        {"blk.0.ffn_up.weight", {TINY_EMBED, TINY_FF}, NULL},
        {"blk.0.ffn_down.weight", {TINY_FF, TINY_EMBED}, NULL},
        {"blk.0.layer_output_norm.weight", {TINY_EMBED, 1}, ones},
        {"cls.weight", {TINY_EMBED, TINY_EMBED}, dense}, {"cls.output.weight", {TINY_EMBED, 2}, score}};
    const size_t all = sizeof parts / sizeof *parts, n_parts = all - (f->head ? 0 : 2);
    if (f->single) {
        parts[all - 2] = (struct tiny_part){"cls.weight", {TINY_EMBED, 2}, score};
        parts[all - 1] = (struct tiny_part){"cls.norm.weight", {2, 1}, ones};
    }
    struct gguf_writer w;
    struct buf out;
    struct error err;
    gguf_writer_init(&w);
    buf_init(&out, MIB);
    gguf_write_str(&w, "general.architecture", STR("bert"));
    gguf_write_u32(&w, "bert.context_length", TINY_CONTEXT);
    gguf_write_u32(&w, "bert.embedding_length", TINY_EMBED);
    gguf_write_u32(&w, "bert.block_count", 1);
    gguf_write_u32(&w, "bert.feed_forward_length", TINY_FF);
    gguf_write_u32(&w, "bert.attention.head_count", 2);
    gguf_write_u32(&w, "bert.pooling_type", f->pooling);
    gguf_write_str(&w, "tokenizer.ggml.model", STR("bert"));
    gguf_write_strs(&w, "tokenizer.ggml.tokens", tokens, TINY_VOCAB);
    for (size_t i = 0; i < n_parts; i++)
        tiny_part_write(&w, &parts[i]);
    assert_int_equal(gguf_writer_header(&w, &out, &err), 0);
    for (size_t i = 0; i < n_parts; i++)
        tiny_part_data(&w, &parts[i], &out);
    gguf_writer_free(&w);
    return out;
}

#endif

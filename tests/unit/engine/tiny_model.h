/* Tiny llama models of random float weights as GGUF bytes, made by the test itself, with whatever is to be
 * wrong. */
#ifndef TESTS_UNIT_ENGINE_TINY_MODEL_H
#define TESTS_UNIT_ENGINE_TINY_MODEL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/rand.h"
#include "engine/worker/gguf.h"

struct tiny {
    uint32_t n_layers, n_embed, n_heads, n_kv_heads, key_width, value_width, n_dims, n_ff, n_vocab, n_experts,
        n_used;
    bool tied, biased, factors;
    const char *scaling; /* rope.scaling.type, factor 4 */
    uint64_t seed;
    /* What is to be wrong: */
    const char *architecture; /* instead of llama */
    const char *drop;         /* leave out the key or tensor of this name */
    const char *key;          /* give this key `number` instead */
    double number;
    const char *retype; /* say that this tensor has type `type` */
    uint32_t type;
    uint32_t n_tokens; /* in the tokenizer's list, if not 0 */
};

#define TINY_DEFAULT                                                                                         \
    ((struct tiny){.n_layers = 2,                                                                            \
        .n_embed = 36,                                                                                       \
        .n_heads = 6,                                                                                        \
        .n_kv_heads = 2,                                                                                     \
        .key_width = 10,                                                                                     \
        .value_width = 7,                                                                                    \
        .n_dims = 8,                                                                                         \
        .n_ff = 50,                                                                                          \
        .n_vocab = 67,                                                                                       \
        .seed = 1})

struct tiny_writer {
    const struct tiny *tiny;
    struct buf pairs, infos, data;
    uint64_t n_pairs, n_tensors;
    struct rand_pcg rng;
};

static inline void tiny_u32(struct buf *b, uint32_t v)
{
    buf_append(b, &v, sizeof v);
}

static inline void tiny_u64(struct buf *b, uint64_t v)
{
    buf_append(b, &v, sizeof v);
}

static inline void tiny_text(struct buf *b, const char *s)
{
    tiny_u64(b, strlen(s));
    buf_append_text(b, s);
}

static inline bool tiny_is(const char *a, const char *b)
{
    return a && strcmp(a, b) == 0;
}

static inline bool tiny_key_begin(struct tiny_writer *w, const char *key, enum gguf_type type)
{
    if (tiny_is(w->tiny->drop, key))
        return false;
    w->n_pairs++;
    tiny_text(&w->pairs, key);
    tiny_u32(&w->pairs, type);
    return true;
}

static inline void tiny_key_u32(struct tiny_writer *w, const char *key, uint32_t value)
{
    if (tiny_key_begin(w, key, GGUF_UINT32))
        tiny_u32(&w->pairs, tiny_is(w->tiny->key, key) ? (uint32_t)(int64_t)w->tiny->number : value);
}

static inline void tiny_key_f32(struct tiny_writer *w, const char *key, float value)
{
    float f = tiny_is(w->tiny->key, key) ? (float)w->tiny->number : value;
    if (tiny_key_begin(w, key, GGUF_FLOAT32))
        buf_append(&w->pairs, &f, sizeof f);
}

static inline void tiny_key_text(struct tiny_writer *w, const char *key, const char *value)
{
    if (tiny_key_begin(w, key, GGUF_STRING))
        tiny_text(&w->pairs, value);
}

/* Floats around `middle`. */
static inline void tiny_tensor(struct tiny_writer *w, const char *name, uint64_t n0, uint64_t n1, uint64_t n2,
    double middle, double spread)
{
    if (tiny_is(w->tiny->drop, name))
        return;
    w->n_tensors++;
    tiny_text(&w->infos, name);
    tiny_u32(&w->infos, n2 > 1 ? 3 : n1 > 0 ? 2 : 1);
    tiny_u64(&w->infos, n0);
    if (n1 > 0)
        tiny_u64(&w->infos, n1);
    if (n2 > 1)
        tiny_u64(&w->infos, n2);
    tiny_u32(&w->infos, tiny_is(w->tiny->retype, name) ? w->tiny->type : TENSOR_F32);
    tiny_u64(&w->infos, w->data.len);
    uint64_t count = n0 * (n1 ? n1 : 1) * n2;
    for (uint64_t i = 0; i < count; i++) {
        float f = (float)(middle + (rand_pcg_double(&w->rng) * 2 - 1) * spread);
        buf_append(&w->data, &f, sizeof f);
    }
    while (w->data.len % 32)
        buf_append_char(&w->data, 0);
}

static inline void tiny_vector(struct tiny_writer *w, const char *name, uint64_t n, double middle)
{
    tiny_tensor(w, name, n, 0, 1, middle, 0.5);
}

static inline void tiny_layer_tensor(
    struct tiny_writer *w, uint32_t layer, const char *name, uint64_t n0, uint64_t n1, uint64_t n2)
{
    char full[64];
    snprintf(full, sizeof full, "blk.%u.%s.weight", layer, name);
    if (n1 == 0) {
        tiny_vector(w, full, n0, 1);
        return;
    }
    tiny_tensor(w, full, n0, n1, n2, 0, 0.3);
    snprintf(full, sizeof full, "blk.%u.%s.bias", layer, name);
    if (w->tiny->biased && n2 == 1)
        tiny_vector(w, full, n1, 0);
}

static inline void tiny_layer(struct tiny_writer *w, uint32_t i)
{
    const struct tiny *t = w->tiny;
    tiny_layer_tensor(w, i, "attn_norm", t->n_embed, 0, 1);
    tiny_layer_tensor(w, i, "attn_q", t->n_embed, t->n_heads * t->key_width, 1);
    tiny_layer_tensor(w, i, "attn_k", t->n_embed, t->n_kv_heads * t->key_width, 1);
    tiny_layer_tensor(w, i, "attn_v", t->n_embed, t->n_kv_heads * t->value_width, 1);
    tiny_layer_tensor(w, i, "attn_output", t->n_heads * t->value_width, t->n_embed, 1);
    tiny_layer_tensor(w, i, "ffn_norm", t->n_embed, 0, 1);
    if (t->n_experts == 0) {
        tiny_layer_tensor(w, i, "ffn_gate", t->n_embed, t->n_ff, 1);
        tiny_layer_tensor(w, i, "ffn_up", t->n_embed, t->n_ff, 1);
        tiny_layer_tensor(w, i, "ffn_down", t->n_ff, t->n_embed, 1);
        return;
    }
    tiny_layer_tensor(w, i, "ffn_gate_inp", t->n_embed, t->n_experts, 1);
    tiny_layer_tensor(w, i, "ffn_gate_exps", t->n_embed, t->n_ff, t->n_experts);
    tiny_layer_tensor(w, i, "ffn_up_exps", t->n_embed, t->n_ff, t->n_experts);
    tiny_layer_tensor(w, i, "ffn_down_exps", t->n_ff, t->n_embed, t->n_experts);
}

static inline void tiny_keys(struct tiny_writer *w)
{
    const struct tiny *t = w->tiny;
    tiny_key_text(w, "general.architecture", t->architecture ? t->architecture : "llama");
    tiny_key_text(w, "general.name", "tiny");
    tiny_key_u32(w, "llama.block_count", t->n_layers);
    tiny_key_u32(w, "llama.context_length", 512);
    tiny_key_u32(w, "llama.embedding_length", t->n_embed);
    tiny_key_u32(w, "llama.feed_forward_length", t->n_ff);
    tiny_key_u32(w, "llama.attention.head_count", t->n_heads);
    tiny_key_u32(w, "llama.attention.head_count_kv", t->n_kv_heads);
    tiny_key_u32(w, "llama.attention.key_length", t->key_width);
    tiny_key_u32(w, "llama.attention.value_length", t->value_width);
    tiny_key_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    tiny_key_u32(w, "llama.rope.dimension_count", t->n_dims);
    tiny_key_f32(w, "llama.rope.freq_base", 10000);
    if (t->scaling) {
        tiny_key_text(w, "llama.rope.scaling.type", t->scaling);
        tiny_key_f32(w, "llama.rope.scaling.factor", 4);
        tiny_key_u32(w, "llama.rope.scaling.original_context_length", 64);
    }
    if (t->n_experts > 0) {
        tiny_key_u32(w, "llama.expert_count", t->n_experts);
        tiny_key_u32(w, "llama.expert_used_count", t->n_used);
    }
    if (t->n_tokens > 0 && tiny_key_begin(w, "tokenizer.ggml.tokens", GGUF_ARRAY)) {
        tiny_u32(&w->pairs, GGUF_STRING);
        tiny_u64(&w->pairs, t->n_tokens);
        for (uint32_t i = 0; i < t->n_tokens; i++)
            tiny_text(&w->pairs, "t");
    }
}

/* The file's bytes; free(). */
static inline char *tiny_model(const struct tiny *t, size_t *size)
{
    struct tiny_writer w = {.tiny = t};
    rand_pcg_seed(&w.rng, t->seed);
    buf_init(&w.pairs, 64 << 20);
    buf_init(&w.infos, 64 << 20);
    buf_init(&w.data, 64 << 20);
    tiny_keys(&w);
    tiny_tensor(&w, "token_embd.weight", t->n_embed, t->n_vocab, 1, 0, 1);
    tiny_vector(&w, "output_norm.weight", t->n_embed, 1);
    if (!t->tied)
        tiny_tensor(&w, "output.weight", t->n_embed, t->n_vocab, 1, 0, 1);
    if (t->factors)
        tiny_tensor(&w, "rope_freqs.weight", t->n_dims / 2, 0, 1, 3, 2);
    for (uint32_t i = 0; i < t->n_layers; i++)
        tiny_layer(&w, i);

    struct buf file;
    buf_init(&file, 64 << 20);
    buf_append_text(&file, "GGUF");
    tiny_u32(&file, 3);
    tiny_u64(&file, w.n_tensors);
    tiny_u64(&file, w.n_pairs);
    buf_append_str(&file, buf_str(&w.pairs));
    buf_append_str(&file, buf_str(&w.infos));
    while (file.len % 32)
        buf_append_char(&file, 0);
    buf_append_str(&file, buf_str(&w.data));
    /* Exactly as long as it is, so that a sanitizer sees every read past the end. */
    char *bytes = malloc(file.len);
    if (!bytes || file.failed || w.data.failed)
        abort();
    memcpy(bytes, file.data, file.len);
    *size = file.len;
    buf_free(&w.pairs);
    buf_free(&w.infos);
    buf_free(&w.data);
    buf_free(&file);
    return bytes;
}

#endif

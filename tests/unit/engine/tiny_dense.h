/* Tiny models of the dense architectures as GGUF bytes: random float weights, with what is to be wrong. */
#ifndef TESTS_UNIT_ENGINE_TINY_DENSE_H
#define TESTS_UNIT_ENGINE_TINY_DENSE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/rand.h"
#include "engine/worker/gguf.h"

enum {
    DENSE_LAYERS = 4,
    DENSE_VOCAB = 41,
    DENSE_EMBED = 24,
    DENSE_HEADS = 4,
    DENSE_KV_HEADS = 2,
    DENSE_KEY = 6,
    DENSE_VALUE = 6,
    DENSE_FF = 20,
    DENSE_WINDOW = 9
};

/* `keys`: after those that all have, "name=number", f before it for a float, or "name=s" and a text.
 * `tensors`: of a layer, or with a / before them of none, which come first: "name DIMS", a letter for each
 * dimension: E embedding, Q queries, K keys, V values, A all three, W one head, R half of it, H heads, J heads
 * of keys, F feed-forward, G two of them. An optional thing has a ? behind its name. */
struct dense {
    const char *name, *keys, *tensors;
    uint32_t n_whole;   /* layers with keys and values and without a window */
    const char *second; /* tensors of every second layer; the others then have no attention. NULL: as all */
};

#define DENSE_QKV "attn_q EQ,attn_k EK,attn_v EV,attn_output QE,"
#define DENSE_FFN "ffn_gate EF,ffn_up EF,ffn_down FE"
#define DENSE_EXPERTS "ffn_gate_inp EX,ffn_gate_exps EFX,ffn_up_exps EFX,ffn_down_exps FEX"
#define DENSE_PRE "attn_norm E,ffn_norm E,"
#define DENSE_POST "post_attention_norm E,post_ffw_norm E,"
#define DENSE_RMS "attention.layer_norm_rms_epsilon=f1e-5,"
#define DENSE_WINDOWED "attention.sliding_window=9,"

static const struct dense dense_all[] = {
    {"qwen2", DENSE_RMS, DENSE_PRE DENSE_QKV "attn_q.bias? Q,attn_k.bias? K,attn_v.bias? V," DENSE_FFN, 4,
        NULL},
    {"qwen3", DENSE_RMS, DENSE_PRE DENSE_QKV "attn_q_norm W,attn_k_norm W," DENSE_FFN, 4, NULL},
    {"gemma", DENSE_RMS, DENSE_PRE DENSE_QKV DENSE_FFN, 4, NULL},
    {"gemma2", DENSE_RMS "attention.sliding_window?=9,attn_logit_softcapping?=f5,final_logit_softcapping?=f3",
        DENSE_PRE DENSE_POST DENSE_QKV DENSE_FFN, 2, NULL},
    {"gemma3", DENSE_RMS "attention.sliding_window?=9,attention.sliding_window_pattern?=2",
        DENSE_PRE DENSE_POST DENSE_QKV "attn_q_norm W,attn_k_norm W," DENSE_FFN, 2, NULL},
    {"phi3", DENSE_RMS "attention.sliding_window?=9",
        DENSE_PRE "attn_qkv EA,attn_output QE,ffn_up EG,ffn_down FE", 4, NULL},
    {"mistral3", DENSE_RMS "attention.temperature_scale?=f0.3,rope.scaling.original_context_length=16",
        DENSE_PRE DENSE_QKV DENSE_FFN, 4, NULL},
    {"smollm3", DENSE_RMS, DENSE_PRE DENSE_QKV DENSE_FFN, 4, NULL},
    {"granite", DENSE_RMS "logit_scale=f2,residual_scale?=f0.5,embedding_scale?=f3,attention.scale?=f0.2",
        DENSE_PRE DENSE_QKV DENSE_FFN, 4, NULL},
    {"granitemoe", DENSE_RMS "logit_scale=f2,expert_count=3,expert_used_count=2",
        DENSE_PRE DENSE_QKV DENSE_EXPERTS, 4, NULL},
    {"olmo2", DENSE_RMS "attention.sliding_window?=9",
        DENSE_POST DENSE_QKV "attn_q_norm Q,attn_k_norm K," DENSE_FFN, 1, NULL},
    {"glm4", DENSE_RMS, DENSE_PRE DENSE_POST DENSE_QKV "ffn_up EG,ffn_down FE", 4, NULL},
    {"command-r", "attention.layer_norm_epsilon=f1e-5,logit_scale=f0.5",
        "attn_norm E," DENSE_QKV "attn_q_norm WH,attn_k_norm WJ," DENSE_FFN, 4, NULL},
    {"cohere2",
        "attention.layer_norm_epsilon=f1e-5,logit_scale=f0.5,"
        "attention.sliding_window=9",
        "attn_norm E," DENSE_QKV DENSE_FFN, 1, NULL},
    {"lfm2", DENSE_RMS "shortconv.l_cache=3",
        DENSE_PRE DENSE_FFN ",shortconv.in_proj ET,shortconv.conv CE,shortconv.out_proj EE", 2,
        DENSE_PRE DENSE_QKV "attn_q_norm W,attn_k_norm W," DENSE_FFN},
    {"lfm2moe",
        DENSE_RMS "shortconv.l_cache=3,expert_count=3,expert_used_count=2,expert_feed_forward_length=20",
        DENSE_PRE DENSE_EXPERTS ",shortconv.in_proj ET,shortconv.conv CE,shortconv.out_proj EE", 2,
        DENSE_PRE DENSE_QKV "attn_q_norm W,attn_k_norm W," DENSE_EXPERTS ",exp_probs_b.bias? X"},
    {0},
};

#define DENSE_COMMON                                                                                         \
    "block_count=4,context_length=2000,embedding_length=24,feed_forward_length=20,attention.head_count=4,"   \
    "attention.head_count_kv=2,attention.key_length?=6,attention.value_length?=6,rope.dimension_count?=6,"   \
    "rope.freq_base?=f10000,"

struct dense_fault {
    int32_t key; /* give it `number` instead; -1: none */
    double number;
    int32_t drop_key, drop_tensor; /* leave out; < 0: none */
};

/* The i-th item of a list, without what follows its name; false behind the last. */
static inline bool dense_item(
    const char *list, int32_t index, char name[64], const char **rest, bool *optional)
{
    for (; index > 0 && list; index--) {
        list = strchr(list, ',');
        list = list ? list + 1 : NULL;
    }
    if (!list || !*list)
        return false;
    size_t n = strcspn(list, "?= ");
    snprintf(name, 64, "%.*s", (int)n, list);
    *optional = list[n] == '?';
    *rest = list + n + *optional + 1;
    return true;
}

static inline int32_t dense_count(const char *list)
{
    char name[64];
    const char *rest;
    bool optional;
    int32_t n = 0;
    while (dense_item(list, n, name, &rest, &optional))
        n++;
    return n;
}

static inline bool dense_key(
    const struct dense *d, int32_t i, char name[64], const char **rest, bool *optional)
{
    int32_t common = dense_count(DENSE_COMMON);
    return i < common ? dense_item(DENSE_COMMON, i, name, rest, optional)
                      : dense_item(d->keys, i - common, name, rest, optional);
}

static inline int32_t dense_keys(const struct dense *d)
{
    return dense_count(DENSE_COMMON) + dense_count(d->keys);
}

/* Tensors: the table, the output norm, then those of the layers. */
static inline const char *dense_layer(const struct dense *d, int32_t layer)
{
    const char *list = d->second && layer % 2 == 1 ? d->second : d->tensors;
    while (layer > 0 && *list == '/')
        list = strchr(list, ',') + 1;
    return list;
}

static inline int32_t dense_tensors(const struct dense *d)
{
    int32_t n = 2;
    for (int32_t i = 0; i < DENSE_LAYERS; i++)
        n += dense_count(dense_layer(d, i));
    return n;
}

static inline bool dense_tensor(const struct dense *d, int32_t i, char name[128], const char **dims)
{
    char item[64];
    bool optional = false;
    if (i < 2) {
        snprintf(name, 128, "%s.weight",
            i == 0      ? "token_embd"
            : d->second ? "token_embd_norm"
                        : "output_norm");
        *dims = i == 0 ? "EN" : "E";
        return false;
    }
    int32_t layer = 0;
    for (i -= 2; i >= dense_count(dense_layer(d, layer)); layer++)
        i -= dense_count(dense_layer(d, layer));
    dense_item(dense_layer(d, layer), i, item, dims, &optional);
    const char *suffix = strstr(item, ".bias") ? "" : ".weight";
    if (*item == '/')
        snprintf(name, 128, "%s%s", item + 1, suffix);
    else
        snprintf(name, 128, "blk.%d.%s%s", (int)layer, item, suffix);
    return optional;
}

/* Of the i-th thing, tensors first. */
static inline void dense_name(const struct dense *d, int32_t i, char name[128])
{
    const char *rest;
    char key[64];
    bool optional;
    if (i < dense_tensors(d)) {
        dense_tensor(d, i, name, &rest);
    } else {
        dense_key(d, i - dense_tensors(d), key, &rest, &optional);
        snprintf(name, 128, "%s", key);
    }
}

static inline bool dense_optional(const struct dense *d, const char *name)
{
    char found[128], key[64];
    const char *rest;
    bool optional;
    for (int32_t i = 0; i < dense_tensors(d); i++)
        if (optional = dense_tensor(d, i, found, &rest), strcmp(found, name) == 0)
            return optional;
    for (int32_t i = 0; i < dense_keys(d); i++)
        if (dense_key(d, i, key, &rest, &optional) && strcmp(key, name) == 0)
            return optional;
    return false;
}

static inline uint64_t dense_dim(char letter)
{
    switch (letter) {
    case 'E':
        return DENSE_EMBED;
    case 'N':
        return DENSE_VOCAB;
    case 'Q':
        return DENSE_HEADS * DENSE_KEY;
    case 'K':
        return DENSE_KV_HEADS * DENSE_KEY;
    case 'V':
        return DENSE_KV_HEADS * DENSE_VALUE;
    case 'A':
        return (DENSE_HEADS + DENSE_KV_HEADS) * DENSE_KEY + DENSE_KV_HEADS * DENSE_VALUE;
    case 'W':
        return DENSE_KEY;
    case 'R':
        return DENSE_KEY / 2;
    case 'H':
        return DENSE_HEADS;
    case 'J':
        return DENSE_KV_HEADS;
    case 'F':
        return DENSE_FF;
    case 'G':
        return 2 * DENSE_FF;
    case 'T':
        return 3 * DENSE_EMBED;
    case 'C':
    case 'X':
        return 3;
    default:
        return 0;
    }
}

static inline void dense_u32(struct buf *b, uint32_t v)
{
    buf_append(b, &v, sizeof v);
}

static inline void dense_u64(struct buf *b, uint64_t v)
{
    buf_append(b, &v, sizeof v);
}

static inline void dense_text(struct buf *b, const char *s)
{
    dense_u64(b, strlen(s));
    buf_append_text(b, s);
}

static inline uint64_t dense_write_keys(struct buf *b, const struct dense *d, const struct dense_fault *fault)
{
    uint64_t count = 1;
    dense_text(b, "general.architecture");
    dense_u32(b, GGUF_STRING);
    dense_text(b, d->name);
    char name[64], full[128];
    const char *value = "";
    bool optional;
    for (int32_t i = 0; dense_key(d, i, name, &value, &optional); i++) {
        if (i == fault->drop_key)
            continue;
        bool is_float = *value == 'f';
        double number = i == fault->key ? fault->number : atof(value + is_float);
        float f = (float)number;
        snprintf(full, sizeof full, "%s.%s", d->name, name);
        dense_text(b, full);
        count++;
        if (d->second && i != fault->key && strcmp(name, "attention.head_count_kv") == 0) {
            dense_u32(b, GGUF_ARRAY);
            dense_u32(b, GGUF_INT32);
            dense_u64(b, DENSE_LAYERS);
            for (uint32_t layer = 0; layer < DENSE_LAYERS; layer++)
                dense_u32(b, layer % 2 == 1 ? DENSE_KV_HEADS : 0);
            continue;
        }
        if (*value == 's') {
            dense_u32(b, GGUF_STRING);
            snprintf(full, sizeof full, "%.*s", (int)strcspn(value + 1, ","), value + 1);
            dense_text(b, full);
            continue;
        }
        dense_u32(b, is_float ? GGUF_FLOAT32 : GGUF_UINT32);
        if (is_float)
            buf_append(b, &f, sizeof f);
        else
            dense_u32(b, number >= 0 ? (uint32_t)number : 0xFFFFFFF0u);
    }
    return count;
}

static inline uint64_t dense_write_tensors(
    struct buf *infos, struct buf *data, const struct dense *d, const struct dense_fault *fault)
{
    struct rand_pcg rng;
    uint64_t count = 0;
    rand_pcg_seed(&rng, 5);
    for (int32_t i = 0; i < dense_tensors(d); i++) {
        char name[128];
        const char *dims = "";
        dense_tensor(d, i, name, &dims);
        if (i == fault->drop_tensor)
            continue;
        uint32_t n_dims = (uint32_t)strcspn(dims, ",");
        uint64_t values = 1;
        dense_text(infos, name);
        dense_u32(infos, n_dims);
        for (uint32_t j = 0; j < n_dims; j++) {
            dense_u64(infos, dense_dim(dims[j]));
            values *= dense_dim(dims[j]);
        }
        dense_u32(infos, TENSOR_F32);
        dense_u64(infos, data->len);
        for (uint64_t j = 0; j < values; j++) {
            float f = (float)(rand_pcg_double(&rng) - 0.5 + (n_dims == 1));
            buf_append(data, &f, sizeof f);
        }
        while (data->len % 32)
            buf_append_char(data, 0);
        count++;
    }
    return count;
}

/* The file's bytes, exactly as long as they are; free(). `fault`: NULL for none. */
static inline char *dense_model(const struct dense *d, const struct dense_fault *fault, size_t *size)
{
    static const struct dense_fault no_fault = {-1, 0, -1, -1};
    struct buf keys, infos, data, file;
    buf_init(&keys, 64 << 20);
    buf_init(&infos, 64 << 20);
    buf_init(&data, 64 << 20);
    buf_init(&file, 64 << 20);
    uint64_t n_keys = dense_write_keys(&keys, d, fault ? fault : &no_fault);
    uint64_t n_tensors = dense_write_tensors(&infos, &data, d, fault ? fault : &no_fault);
    buf_append_text(&file, "GGUF");
    dense_u32(&file, 3);
    dense_u64(&file, n_tensors);
    dense_u64(&file, n_keys);
    buf_append_str(&file, buf_str(&keys));
    buf_append_str(&file, buf_str(&infos));
    while (file.len % 32)
        buf_append_char(&file, 0);
    buf_append_str(&file, buf_str(&data));
    char *bytes = malloc(file.len);
    if (!bytes || file.failed || data.failed)
        abort();
    memcpy(bytes, file.data, file.len);
    *size = file.len;
    buf_free(&keys);
    buf_free(&infos);
    buf_free(&data);
    buf_free(&file);
    return bytes;
}

#endif

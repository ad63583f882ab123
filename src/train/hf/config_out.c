/* A GGUF file's keys to config.json. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/worker/model_block.h"
#include "train/hf/config.h"

/* ---- What a file says ---- */
static int size_get(const struct gguf *g, const char *architecture, const char *name, int64_t fallback,
    uint32_t most, int64_t *out, struct error *err)
{
    char key[HF_KEY_MAX];
    uint32_t value;
    snprintf(key, sizeof key, "%s.%s", architecture, name);
    const struct gguf_pair *pair = gguf_find(g, key);
    if (!pair && fallback < 0)
        return error_set(err, ERROR_INVALID, "the model has no '%s'", key);
    if (pair && pair->type == GGUF_ARRAY)
        return error_set(
            err, ERROR_UNSUPPORTED, "the model's '%s' differs by layer, which config.json cannot say", key);
    int rc = gguf_get_u32(g, key, (uint32_t)(fallback < 0 ? 0 : fallback), &value, err);
    *out = value;
    if (rc == 0 && pair && (value == 0 || value > most))
        rc = error_set(err, ERROR_INVALID, "the model's '%s' is %u: the file is broken", key, value);
    return rc;
}

/* A file may give sizes that leave nothing: an expert of no width. */
static int part_check(void *ctx, const struct hf_part *part, int64_t layer, bool bias, struct error *err)
{
    const struct hf_shape *s = ctx;
    (void)layer;
    (void)bias;
    const struct hf_view v = hf_view_of(part, s, false);
    if (hf_view_rows(&v) > 0 && hf_view_columns(&v) > 0 && v.stacks > 0)
        return 0;
    return error_set(
        err, ERROR_INVALID, "the model's sizes leave nothing of '%s': the file is broken", part->gguf);
}

/* Heads that have keys, of layers that attend; the others have none. */
static int kv_heads_get(const struct gguf *g, const struct hf_arch *a, struct hf_shape *s, struct error *err)
{
    struct gguf_array list;
    char key[HF_KEY_MAX];
    const struct gguf_pair *pair = gguf_find(g, hf_key(a, "attention.head_count_kv", key));
    if (!a->otherwise || a->interval || !pair || pair->type != GGUF_ARRAY)
        return size_get(g, a->gguf, "attention.head_count_kv", s->heads, MODEL_HEADS_MAX, &s->kv_heads, err);
    int rc = gguf_get_array(g, key, GGUF_INT32, &list, err);
    if (rc == 0 && list.count != (uint64_t)s->layers)
        rc = error_set(err, ERROR_INVALID, "the model's '%s' does not list each layer", key);
    for (int64_t i = 0; i < s->layers && rc == 0; i++) {
        int32_t n;
        memcpy(&n, (const char *)list.data + i * (int64_t)sizeof n, sizeof n);
        s->other[i] = n == 0;
        if (n != 0 && (n < 0 || n > MODEL_HEADS_MAX || (s->kv_heads != 0 && n != s->kv_heads)))
            rc = error_set(err, ERROR_UNSUPPORTED,
                "the model's '%s' differs by layer, which config.json cannot say", key);
        s->kv_heads = n != 0 ? n : s->kv_heads;
    }
    s->kv_heads = s->kv_heads ? s->kv_heads : s->heads;
    return rc;
}

static int signs_read(const struct gguf *g, const char *name, struct hf_signs *out, struct error *err)
{
    char key[HF_KEY_MAX];
    uint32_t gating = 0;
    int64_t experts;
    int rc = size_get(g, name, "expert_count", 0, MODEL_EXPERTS_MAX, &experts, err);
    snprintf(key, sizeof key, "%s.expert_gating_func", name);
    rc = rc ? rc : gguf_get_u32(g, key, 0, &gating, err);
    snprintf(key, sizeof key, "%s.attention.sliding_window", name);
    *out = (struct hf_signs){.mixture = experts > 0 && strcmp(name, "gemma4") != 0,
        .windows_listed = strcmp(name, "olmo2") == 0 && gguf_find(g, key),
        .sigmoid = strcmp(name, "deepseek2") == 0 && gating == 2};
    return rc;
}

/* Of every so many layers the last attends. */
static int interval_get(const struct gguf *g, const struct hf_arch *a, struct hf_shape *s, struct error *err)
{
    enum { INTERVAL = 4 };
    int rc = size_get(g, a->gguf, "full_attention_interval", INTERVAL, MODEL_LAYERS_MAX, &s->interval, err);
    for (int64_t i = 0; i < s->layers && rc == 0; i++)
        s->other[i] = (i + 1) % s->interval != 0;
    return rc;
}

/* What all layers have alike. */
static int widths_get(const struct gguf *g, const struct hf_arch *a, struct hf_shape *s, struct error *err)
{
    const char *name = a->gguf, *width = a->latent ? "attention.key_length_mla" : "attention.key_length";
    int rc = kv_heads_get(g, a, s, err);
    rc =
        rc ? rc : size_get(g, name, "feed_forward_length", a->mixture ? 1 : -1, MODEL_WIDTH_MAX, &s->ff, err);
    rc = rc || !a->interval ? rc : interval_get(g, a, s, err);
    return rc ? rc
              : size_get(g, name, width, a->latent ? -1 : s->embed / s->heads, MODEL_HEAD_WIDTH_MAX, &s->head,
                    err);
}

/* Layers, and that behind them which foretells: where the file has it. */
static int layers_get(const struct gguf *g, const struct hf_arch *a, struct hf_shape *s, struct error *err)
{
    char key[HF_KEY_MAX];
    uint32_t behind = 0;
    int rc = size_get(g, a->gguf, "block_count", -1, MODEL_LAYERS_MAX, &s->layers, err);
    rc = rc || !a->ahead ? rc : gguf_get_u32(g, hf_key(a, "nextn_predict_layers", key), 0, &behind, err);
    if (rc == 0 && behind >= s->layers)
        rc = error_set(err, ERROR_INVALID, "the model's '%s' is %u of %lld layers: the file is broken", key,
            behind, (long long)s->layers);
    s->layers -= rc ? 0 : behind;
    snprintf(key, sizeof key, "blk.%d.nextn.eh_proj.weight", (int)s->layers);
    s->ahead = rc == 0 && behind > 0 && gguf_tensor_find(g, key);
    s->apart = a->apart;
    return rc;
}

static int sizes_get(const struct gguf *g, const struct hf_arch *a, struct hf_shape *s, struct error *err)
{
    const char *name = a->gguf;
    int rc = layers_get(g, a, s, err);
    rc = rc ? rc : size_get(g, name, "embedding_length", -1, MODEL_WIDTH_MAX, &s->embed, err);
    rc = rc ? rc : size_get(g, name, "attention.head_count", -1, MODEL_HEADS_MAX, &s->heads, err);
    rc = rc ? rc : a->two_kinds ? hf_kinds_get(g, a, s, err) : widths_get(g, a, s, err);
    for (const struct hf_key *k = a->keys; k->hf && rc == 0; k++) {
        int64_t *to = hf_shape_field(s, k->gguf);
        char key[HF_KEY_MAX];
        uint32_t value;
        if (!to)
            continue;
        rc = gguf_get_u32(g, hf_key(a, k->gguf, key), 0, &value, err);
        *to = k->kind == HF_PER_VALUE ? value / (s->linear_values ? s->linear_values : 1) : value;
        if (rc == 0 && (value > MODEL_WIDTH_MAX || (value == 0 && k->needed && to != &s->dense)))
            rc = error_set(err, ERROR_INVALID, "the model's '%s' is %u: the file is broken", key, value);
    }
    rc = rc ? rc : hf_shape_complete(s, err);
    if (rc == 0 && s->head < 2)
        rc = error_set(err, ERROR_INVALID, "the model's heads are %lld wide, less than 2: the file is broken",
            (long long)s->head);
    if (rc == 0 && a->latent && s->head <= s->rotated)
        rc = error_set(err, ERROR_INVALID, "the model rotates %lld of %lld values of a head: it is broken",
            (long long)s->rotated, (long long)s->head);
    return rc;
}

int hf_shape_of(const struct gguf *g, const struct hf_arch **arch, struct hf_shape *s, struct error *err)
{
    char name[64];
    struct str architecture;
    struct hf_signs signs;
    *s = (struct hf_shape){0};
    int rc = gguf_get_str(g, "general.architecture", STR_NONE, &architecture, err);
    if (rc)
        return rc;
    snprintf(name, sizeof name, STR_FMT, STR_ARG(str_slice(architecture, 0, sizeof name - 1)));
    rc = signs_read(g, name, &signs, err);
    if (rc)
        return rc;
    *arch = hf_arch_of(str_from(name), signs);
    if (!*arch)
        return error_set(err, ERROR_UNSUPPORTED,
            "models of the architecture '%s'%s cannot be exported: Hugging Face's names for it are not known "
            "here",
            name, signs.mixture ? " with experts" : "");
    rc = sizes_get(g, *arch, s, err);
    const struct tensor *embedding = gguf_tensor_find(g, "token_embd.weight");
    if (rc == 0 && !embedding)
        rc = error_set(err, ERROR_INVALID, "the model has no 'token_embd.weight'");
    if (rc == 0) {
        s->vocab = embedding->shape[1];
        s->tied = gguf_tensor_find(g, "output.weight") == NULL;
        rc = hf_each_part(*arch, s, part_check, s, err);
    }
    return rc;
}

/* ---- config.json ---- */
void hf_write_float(struct json_writer *w, float value)
{
    char text[32];
    int digits = 1;
    do
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
    while (strtof(text, NULL) != value && ++digits <= 9);
    json_write_raw(w, isfinite(value) ? str_from(text) : STR("null"));
}

void hf_write_number(struct json_writer *w, const char *key, int64_t value)
{
    json_key_str(w, str_from(key));
    json_write_int(w, value);
}

void hf_write_bool(struct json_writer *w, const char *key, bool value)
{
    json_key_str(w, str_from(key));
    json_write_bool(w, value);
}

/* `per`: the heads of linear values. */
static int key_make(const struct gguf *g, const char *key, const struct hf_key *k, int64_t per,
    struct json_writer *w, struct error *err)
{
    float real = 0;
    uint32_t number = 0;
    bool flag = false;
    int rc = k->kind == HF_FLOAT  ? gguf_get_f32(g, key, 0, &real, err)
             : k->kind == HF_BOOL ? gguf_get_bool(g, key, false, &flag, err)
                                  : gguf_get_u32(g, key, 0, &number, err);
    json_key(w, k->hf);
    switch (k->kind) {
    case HF_FLOAT:
        hf_write_float(w, real);
        break;
    case HF_INT:
        json_write_int(w, number);
        break;
    case HF_PER_VALUE:
        json_write_int(w, per > 0 ? number / per : 0);
        break;
    case HF_BOOL:
        json_write_bool(w, flag);
        break;
    case HF_SCORE:
        json_write_text(w, number == 2 ? "sigmoid" : "softmax");
        if (rc == 0 && number != 1 && number != 2)
            rc = error_set(err, ERROR_UNSUPPORTED, "the model's '%s' is %u: unknown here", key, number);
    }
    return rc;
}

static bool is_own(const struct hf_arch *a, const char *hf)
{
    const struct hf_key *k = a->keys;
    while (k->hf && strcmp(k->hf, hf) != 0)
        k++;
    return k->hf != NULL;
}

/* Of two keys with one name in config.json (a width of all and of experts) the architecture's own counts. */
static int keys_make(const struct gguf *g, const struct hf_arch *a, const struct hf_shape *s,
    const struct hf_key *keys, struct json_writer *w, struct error *err)
{
    char key[HF_KEY_MAX];
    int rc = 0;
    for (const struct hf_key *k = keys; k->hf && rc == 0; k++) {
        if ((keys == hf_keys && is_own(a, k->hf)) || hf_kinds_has(a, k->gguf))
            continue;
        if (gguf_find(g, hf_key(a, k->gguf, key)))
            rc = key_make(g, key, k, s->linear_values, w, err);
        else if (k->needed)
            rc = error_set(err, ERROR_INVALID, "the model has no '%s'", key);
        else if (k->absent) {
            json_key(w, k->hf);
            json_write_raw(w, str_from(k->absent));
        }
    }
    return rc;
}

/* Numbers that config.json cannot say, because all models of the architecture have them. */
static int constants_check(const struct gguf *g, const struct hf_arch *a, struct error *err)
{
    int rc = 0;
    for (const struct hf_constant *k = a->constant; k && k->gguf && rc == 0; k++) {
        char key[HF_KEY_MAX];
        uint32_t value;
        rc = gguf_get_u32(g, hf_key(a, k->gguf, key), k->value, &value, err);
        if (rc == 0 && value != k->value)
            rc = error_set(
                err, ERROR_UNSUPPORTED, "the model's '%s' is %u, which config.json cannot say", key, value);
    }
    return rc;
}

/* Widths of a head of latent attention; which layers do without attention. */
static void layers_make(const struct hf_arch *a, const struct hf_shape *s, struct json_writer *w)
{
    if (a->latent)
        hf_write_number(w, "qk_nope_head_dim", s->head - s->rotated);
    if (!a->otherwise)
        return;
    if (a->interval)
        hf_write_number(w, "full_attention_interval", s->interval);
    json_key(w, "layer_types");
    json_array_begin(w);
    for (int64_t i = 0; i < s->layers; i++)
        json_write_text(w, s->other[i] ? a->otherwise : "full_attention");
    json_array_end(w);
}

/* ["sliding_attention", "full_attention", ...] */
static int windows_make(const struct gguf *g, const struct hf_arch *a, const struct hf_shape *s,
    struct json_writer *w, struct error *err)
{
    char key[HF_KEY_MAX];
    uint32_t width = 0, period = (uint32_t)a->window_period;
    struct gguf_array list = {0};
    int rc = gguf_get_u32(g, hf_key(a, "attention.sliding_window", key), 0, &width, err);
    const struct gguf_pair *pattern = gguf_find(g, hf_key(a, "attention.sliding_window_pattern", key));
    if (rc == 0 && pattern && pattern->type == GGUF_ARRAY)
        rc = gguf_get_array(g, key, GGUF_BOOL, &list, err);
    else if (rc == 0)
        rc = gguf_get_u32(g, key, period, &period, err);
    if (rc == 0 && width > 0 && a->window_period == 0 && !is_own(a, "sliding_window"))
        return error_set(err, ERROR_UNSUPPORTED,
            "the model's layers see windows of %u tokens, which config.json cannot say of a %s", width,
            a->hf);
    if (rc || a->window_period == 0)
        return rc;
    if (list.count > 0 && list.count != (uint64_t)s->layers)
        return error_set(err, ERROR_INVALID, "the model's '%s' does not list each layer", key);
    json_key(w, "sliding_window");
    if (width == 0) {
        json_write_null(w);
        return 0;
    }
    json_write_int(w, width);
    json_key(w, "layer_types");
    json_array_begin(w);
    for (int64_t i = 0; i < s->layers; i++) {
        const bool slides =
            list.count > 0 ? ((const uint8_t *)list.data)[i] != 0 : period == 0 || (i + 1) % period != 0;
        json_write_text(w, slides ? "sliding_attention" : "full_attention");
    }
    json_array_end(w);
    return 0;
}

static void fixed_make(const struct hf_arch *a, struct json_writer *w)
{
    for (const struct hf_fixed *f = a->fixed; f->key; f++) {
        json_key(w, f->key);
        json_write_raw(w, str_from(f->value));
    }
}

/* One token's id, where the file gives it. */
static int id_make(
    const struct gguf *g, const char *name, const char *key, struct json_writer *w, struct error *err)
{
    uint32_t id = 0;
    if (!gguf_find(g, name))
        return 0;
    int rc = gguf_get_u32(g, name, 0, &id, err);
    if (rc == 0)
        hf_write_number(w, key, id);
    return rc;
}

static int ids_make(const struct gguf *g, struct json_writer *w, struct error *err)
{
    int rc = id_make(g, "tokenizer.ggml.bos_token_id", "bos_token_id", w, err);
    rc = rc ? rc : id_make(g, "tokenizer.ggml.eos_token_id", "eos_token_id", w, err);
    return rc ? rc : id_make(g, "tokenizer.ggml.padding_token_id", "pad_token_id", w, err);
}

static void names_make(const struct gguf *g, const struct hf_arch *a, const struct hf_shape *s,
    const char *type, struct json_writer *w)
{
    json_key(w, "architectures");
    json_array_begin(w);
    json_write_text(w, a->hf);
    json_array_end(w);
    json_key(w, "model_type");
    json_write_text(w, a->model_type);
    json_key(w, "torch_dtype");
    json_write_text(w, type);
    hf_write_number(w, "num_key_value_heads", a->latent ? s->heads : s->kv_heads);
    if (!a->latent)
        hf_write_number(w, "head_dim", s->head);
    hf_write_number(w, "vocab_size", s->vocab);
    hf_write_number(w, "num_hidden_layers", s->layers);
    if (a->ahead)
        hf_write_number(w, a->ahead, s->ahead);
    hf_write_bool(w, "tie_word_embeddings", s->tied);
    hf_write_bool(w, "attention_bias", gguf_tensor_find(g, "blk.0.attn_q.bias") != NULL);
    hf_write_bool(w, "mlp_bias", gguf_tensor_find(g, "blk.0.ffn_up.bias") != NULL);
    if (strcmp(a->gguf, "glm4moe") == 0 || strcmp(a->gguf, "command-r") == 0)
        hf_write_bool(w, "use_qk_norm", gguf_tensor_find(g, "blk.0.attn_q_norm.weight") != NULL);
    if (a->scalar) {
        const bool largest = s->layers == GEMMA2_LARGEST || s->layers == GEMMA3_LARGEST;
        hf_write_number(w, "query_pre_attn_scalar", largest ? s->embed / s->heads : s->head);
    }
}

int hf_config_make(const struct gguf *g, const struct hf_arch *arch, const struct hf_shape *shape,
    const char *type, struct buf *out, struct error *err)
{
    struct json_writer w;
    char key[HF_KEY_MAX];
    float eps = 0;
    json_writer_init(&w, out);
    json_object_begin(&w);
    names_make(g, arch, shape, type, &w);
    hf_key(arch, arch->layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", key);
    int rc = gguf_get_f32(g, key, 1e-5f, &eps, err);
    json_key_str(&w, str_from(arch->eps ? arch->eps : arch->layer_norm ? "layer_norm_eps" : "rms_norm_eps"));
    hf_write_float(&w, eps);
    layers_make(arch, shape, &w);
    rc = rc ? rc : constants_check(g, arch, err);
    rc = rc ? rc : keys_make(g, arch, shape, hf_keys, &w, err);
    rc = rc ? rc : keys_make(g, arch, shape, arch->keys, &w, err);
    fixed_make(arch, &w);
    if (arch->two_kinds) {
        rc = rc ? rc : hf_kinds_make(g, arch, shape, &w, err);
    } else {
        rc = rc ? rc : windows_make(g, arch, shape, &w, err);
        rc = rc ? rc : hf_rope_make(g, arch, shape, &w, err);
    }
    rc = rc ? rc : ids_make(g, &w, err);
    json_object_end(&w);
    buf_append_char(out, '\n');
    return rc;
}

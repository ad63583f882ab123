/* config.json to a GGUF file's keys. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "engine/worker/model_block.h"
#include "train/files.h"
#include "train/hf/config.h"

#define CONFIG_MAX (4 * MIB)

const struct json_item *hf_given(const struct json_item *object, const char *key)
{
    const struct json_item *item = json_item_get(object, key);
    return item && item->kind != JSON_ITEM_NULL ? item : NULL;
}

int hf_number(const struct json_item *object, const char *key, double fallback, double least, double most,
    double *out, struct error *err)
{
    const struct json_item *item = hf_given(object, key);
    *out = fallback;
    if (!item && !isnan(fallback))
        return 0;
    if (!item)
        return error_set(err, ERROR_INVALID, "config.json has no '%s', which this architecture needs", key);
    if (!json_item_double(item, out) || *out < least || *out > most)
        return error_set(
            err, ERROR_INVALID, "config.json's '%s' is not a number from %g to %g", key, least, most);
    return 0;
}

int hf_whole(const struct json_item *object, const char *key, int64_t fallback, int64_t least, int64_t most,
    int64_t *out, struct error *err)
{
    double value;
    int rc = hf_number(
        object, key, fallback < 0 ? (double)NAN : (double)fallback, (double)least, (double)most, &value, err);
    if (rc) /* then it may be anything, or no number */
        return rc;
    *out = (int64_t)value;
    return (double)*out == value
               ? 0
               : error_set(err, ERROR_INVALID, "config.json's '%s' is not a whole number", key);
}

const char *hf_key(const struct hf_arch *a, const char *key, char to[HF_KEY_MAX])
{
    snprintf(to, HF_KEY_MAX, "%s.%s", a->gguf, key);
    return to;
}

/* ---- Reading ---- */

/* The widths of a head of latent attention. */
static int latent_read(struct hf_config *c, struct error *err)
{
    int64_t plain;
    int rc = hf_whole(c->root, "qk_nope_head_dim", -1, 1, MODEL_HEAD_WIDTH_MAX / 2, &plain, err);
    c->shape.head = plain + c->shape.rotated;
    c->shape.kv_heads = 1; /* all heads share the latent */
    return rc;
}

/* Which layers mix tokens otherwise than by attention: as 'layer_types' lists them, or by a period. */
static int others_list(struct hf_config *c, const struct json_item *types, struct error *err)
{
    int64_t i = 0;
    if (json_item_length(types) != (size_t)c->shape.layers)
        return error_set(err, ERROR_INVALID, "config.json's 'layer_types' does not list the %lld layers",
            (long long)c->shape.layers);
    json_item_each(t, types) {
        c->shape.other[i] = str_is(json_item_str(t), c->arch->otherwise);
        if (!c->shape.other[i++] && !str_is(json_item_str(t), "full_attention"))
            return error_set(err, ERROR_UNSUPPORTED,
                "config.json's 'layer_types' has '" STR_FMT "': unknown here",
                STR_ARG(str_slice(t->text, 0, 60)));
    }
    return 0;
}

static int others_read(struct hf_config *c, struct error *err)
{
    enum { INTERVAL = 4 };
    const struct json_item *types = hf_given(c->root, "layer_types");
    struct hf_shape *s = &c->shape;
    int64_t every = 0;
    int rc = types || !c->arch->interval ? others_list(c, types, err) : 0;
    rc = rc || !c->arch->interval
             ? rc
             : hf_whole(c->root, "full_attention_interval", INTERVAL, 1, MODEL_LAYERS_MAX, &every, err);
    for (int64_t i = 0; i < s->layers && rc == 0 && every > 0; i++) {
        const bool other = (i + 1) % every != 0;
        if (types && s->other[i] != other)
            rc = error_set(err, ERROR_UNSUPPORTED,
                "config.json's 'layer_types' are not by its 'full_attention_interval' of %lld, which a GGUF "
                "file of '%s' must be",
                (long long)every, c->arch->gguf);
        s->other[i] = other;
    }
    s->interval = every;
    return rc;
}

/* Of several layers that foretell the first is used for all (the engine's model_nextn.h). */
static int ahead_read(struct hf_config *c, struct error *err)
{
    int rc =
        hf_whole(c->root, c->arch->ahead, 0, 0, MODEL_LAYERS_MAX - c->shape.layers, &c->shape.ahead, err);
    c->shape.ahead = c->shape.ahead > 0;
    c->shape.apart = c->arch->apart;
    return rc;
}

static int shape_read(struct hf_config *c, struct error *err)
{
    enum { NEEDED = -1 };
    const struct json_item *r = c->root, *tied = hf_given(r, "tie_word_embeddings");
    struct hf_shape *s = &c->shape;
    int rc = hf_whole(r, "num_hidden_layers", NEEDED, 1, MODEL_LAYERS_MAX, &s->layers, err);
    rc = rc ? rc : hf_whole(r, "hidden_size", NEEDED, 1, MODEL_WIDTH_MAX, &s->embed, err);
    rc = rc ? rc : hf_whole(r, "num_attention_heads", NEEDED, 1, MODEL_HEADS_MAX, &s->heads, err);
    rc = rc ? rc : hf_whole(r, "num_key_value_heads", s->heads, 1, MODEL_HEADS_MAX, &s->kv_heads, err);
    rc =
        rc ? rc
           : hf_whole(r, "intermediate_size", c->arch->mixture ? 1 : NEEDED, 1, MODEL_WIDTH_MAX, &s->ff, err);
    rc = rc ? rc : hf_whole(r, "vocab_size", NEEDED, 1, MODEL_VOCAB_MAX, &s->vocab, err);
    if (rc)
        return rc;
    const int64_t share = c->arch->head              ? c->arch->head
                          : s->embed % s->heads == 0 ? s->embed / s->heads
                                                     : NEEDED;
    rc = c->arch->latent ? 0 : hf_whole(r, "head_dim", share, 2, MODEL_HEAD_WIDTH_MAX, &s->head, err);
    if (rc == 0 && s->head < 2 && !c->arch->latent)
        return error_set(err, ERROR_INVALID,
            "config.json's heads are %lld wide: at least 2 are to be rotated", (long long)s->head);
    for (const struct hf_key *k = c->arch->keys; k->hf && rc == 0; k++) {
        int64_t *to = hf_shape_field(s, k->gguf);
        const bool is_count = to == &s->experts || to == &s->dense || to == &s->shared;
        if (to && (k->needed || hf_given(r, k->hf)))
            rc = hf_whole(r, k->hf, NEEDED, to == &s->dense || to == &s->shared || !k->needed ? 0 : 1,
                is_count ? MODEL_EXPERTS_MAX : MODEL_WIDTH_MAX, to, err);
    }
    rc = rc ? rc : hf_shape_complete(s, err);
    rc = rc || !c->arch->ahead ? rc : ahead_read(c, err);
    s->tied = tied && tied->kind == JSON_ITEM_TRUE;
    if (rc == 0 && c->arch->latent)
        rc = latent_read(c, err);
    rc = rc || !c->arch->otherwise ? rc : others_read(c, err);
    return rc || !c->arch->two_kinds ? rc : hf_kinds_read(c, err);
}

/* The item is written as this JSON, or is this number. */
static bool says(const struct json_item *item, const char *json)
{
    struct str value = str_from(json);
    double a, b;
    if (json[0] == '"')
        return json_item_is(item, JSON_ITEM_STRING) && str_eq(item->text, str_slice(value, 1, value.len - 1));
    if (json[0] == '[')
        return json_item_is(item, JSON_ITEM_ARRAY) && item->n == 0;
    return str_eq(item->text, value) || (json_item_double(item, &a) && str_to_double(value, &b) && a == b);
}

static int fixed_check(const struct hf_config *c, struct error *err)
{
    for (const struct hf_fixed *f = c->arch->fixed; f->key; f++) {
        const struct json_item *item = json_item_get(c->root, f->key);
        if (!item ? !f->may_lack : !says(item, f->value) && !(f->also && says(item, f->also)))
            return error_set(err, ERROR_UNSUPPORTED,
                "config.json's '%s' is %.*s: a %s whose '%s' is not %s cannot be expressed in a GGUF file",
                f->key, item ? (int)(item->text.len < 60 ? item->text.len : 60) : 7,
                item ? item->text.data : "missing", c->arch->hf, f->key, f->value);
    }
    return 0;
}

/* How the weights are quantised already, where that can be read. */
static int quantized_read(struct hf_config *c, struct error *err)
{
    const struct json_item *quantized = hf_given(c->root, "quantization_config"),
                           *block = hf_given(quantized, "weight_block_size"),
                           *format = hf_given(quantized, "fmt");
    const struct str method = json_item_text(quantized, "quant_method");
    struct hf_fp8 *fp8 = &c->fp8;
    if (!quantized || (c->arch->packed && str_is(method, "mxfp4")))
        return 0;
    if (!str_is(method, "fp8") || (format && !str_is(json_item_str(format), "e4m3")))
        return error_set(err, ERROR_UNSUPPORTED,
            "config.json has a 'quantization_config': the weights are quantised already, and not in FP8 (e4m3) "
            "with scales beside them; take the model's original folder");
    fp8->is = true;
    if (block && (json_item_length(block) != 2 || !json_item_int(json_item_first(block), &fp8->rows) ||
                     !json_item_int(json_item_next(block, json_item_first(block)), &fp8->columns) ||
                     fp8->rows < 1 || fp8->rows > INT32_MAX || fp8->columns < 1 || fp8->columns > INT32_MAX))
        return error_set(
            err, ERROR_INVALID, "config.json's 'weight_block_size' is no block of rows and columns");
    return 0;
}

static int scalar_check(const struct hf_config *c, struct error *err)
{
    const struct hf_shape *s = &c->shape;
    double scalar;
    int rc = c->arch->scalar
                 ? hf_number(c->root, "query_pre_attn_scalar", (double)s->head, 1, 1e6, &scalar, err)
                 : 0;
    if (rc || !c->arch->scalar)
        return rc;
    const bool largest = s->layers == GEMMA2_LARGEST || s->layers == GEMMA3_LARGEST;
    if (largest ? scalar * (double)s->heads == (double)s->embed : scalar == (double)s->head)
        return 0;
    return error_set(err, ERROR_UNSUPPORTED,
        "config.json's 'query_pre_attn_scalar' is %g, which no published %s of %lld layers has", scalar,
        c->arch->model_type, (long long)s->layers);
}

static int architecture_find(struct hf_config *c, struct error *err)
{
    const struct json_item *list = hf_given(c->root, "architectures");
    const struct str name = json_item_str(json_item_first(list));
    if (name.len == 0)
        return error_set(err, ERROR_INVALID, "config.json names no model in 'architectures'");
    c->arch = hf_arch_find(name);
    if (c->arch)
        return 0;
    return error_set(err, ERROR_UNSUPPORTED,
        "config.json's architecture is '" STR_FMT "', unknown here: weir convert --help lists those that are "
        "known",
        STR_ARG(str_slice(name, 0, 60)));
}

/* The language model's settings, then those of the whole, then what goes without saying: of two of one name
 * the first counts. */
static int inner_read(struct hf_config *c, struct error *err)
{
    const struct hf_inner *inner = c->arch->inner;
    const struct json_item *settings = hf_given(c->root, inner->settings);
    struct buf text;
    if (!json_item_is(settings, JSON_ITEM_OBJECT) || settings->n == 0)
        return error_set(err, ERROR_INVALID, "config.json has no '%s' with the language model's settings",
            inner->settings);
    buf_init(&text, 3 * CONFIG_MAX);
    buf_append(&text, settings->text.data, settings->text.len - 1);
    buf_append_char(&text, ',');
    buf_append(&text, c->root->text.data + 1, c->root->text.len - 2);
    for (const struct hf_default *d = inner->defaults; d->key; d++)
        buf_appendf(&text, ",\"%s\":%.0f", d->key, d->value);
    buf_append_char(&text, '}');
    const struct str all = text.failed ? STR_NONE : arena_copy(c->arena, buf_str(&text));
    buf_free(&text);
    return all.len > 0 ? json_view_read(&c->view, all, &c->root, err)
                       : error_set(err, ERROR_MEMORY, "no memory for config.json");
}

int hf_config_read(struct arena *arena, const char *folder, struct hf_config *out, struct error *err)
{
    struct str text;
    *out = (struct hf_config){.arena = arena};
    json_view_init(&out->view);
    int rc = file_read(arena, arena_printf(arena, "%s/config.json", folder).data, CONFIG_MAX, &text, err);
    if (rc == 0 && json_view_read(&out->view, text, &out->root, err))
        rc = error_wrap(err, "config.json");
    rc = rc ? rc : architecture_find(out, err);
    rc = rc || !out->arch->inner ? rc : inner_read(out, err);
    rc = rc ? rc : shape_read(out, err);
    rc = rc ? rc : fixed_check(out, err);
    rc = rc ? rc : quantized_read(out, err);
    rc = rc ? rc : scalar_check(out, err);
    if (rc)
        hf_config_free(out);
    return rc;
}

void hf_config_free(struct hf_config *c)
{
    json_view_free(&c->view);
    *c = (struct hf_config){0};
}

/* ---- Writing ---- */

/* How experts are weighed: the word's place, and llama.cpp's number for it less one. */
static int score_of(const struct json_item *item, uint32_t *out, struct error *err)
{
    const struct str word = json_item_str(item);
    *out = str_is(word, "sigmoid") ? 2 : 1;
    if (str_is(word, "softmax") || str_is(word, "sigmoid"))
        return 0;
    return error_set(err, ERROR_UNSUPPORTED, "config.json weighs experts by '" STR_FMT "': unknown here",
        STR_ARG(str_slice(word, 0, 60)));
}

static int key_write(
    const struct hf_config *c, const struct hf_key *k, struct gguf_writer *w, struct error *err)
{
    const struct json_item *item = hf_given(c->root, k->hf);
    char key[HF_KEY_MAX];
    double real = 0;
    int64_t number = 0;
    uint32_t score = 0;
    int rc = 0;
    hf_key(c->arch, k->gguf, key);
    switch (k->kind) {
    case HF_FLOAT:
        rc = hf_number(c->root, k->hf, (double)NAN, -1e9, 1e9, &real, err);
        gguf_write_f32(w, key, (float)real);
        break;
    case HF_INT:
    case HF_PER_VALUE:
        rc = hf_whole(c->root, k->hf, -1, 0, INT32_MAX, &number, err);
        gguf_write_u32(w, key, (uint32_t)(number * (k->kind == HF_PER_VALUE ? c->shape.linear_values : 1)));
        break;
    case HF_BOOL:
        if (!item || (item->kind != JSON_ITEM_TRUE && item->kind != JSON_ITEM_FALSE))
            rc = error_set(err, ERROR_INVALID, "config.json's '%s' is neither true nor false", k->hf);
        gguf_write_bool(w, key, item && item->kind == JSON_ITEM_TRUE);
        break;
    case HF_SCORE:
        rc = score_of(item, &score, err);
        gguf_write_u32(w, key, score);
    }
    return rc;
}

static int keys_write(
    const struct hf_config *c, const struct hf_key *k, struct gguf_writer *w, struct error *err)
{
    int rc = 0;
    for (; k->hf && rc == 0; k++)
        if ((k->needed || hf_given(c->root, k->hf)) && !hf_kinds_has(c->arch, k->gguf))
            rc = key_write(c, k, w, err);
    return rc;
}

/* How wide heads are, and how many have keys: of latent attention what is kept, and beside it what a head
 * is. */
static void heads_write(const struct hf_config *c, struct gguf_writer *w)
{
    const struct hf_arch *a = c->arch;
    const struct hf_shape *s = &c->shape;
    char key[HF_KEY_MAX];
    hf_key(a, "attention.head_count_kv", key);
    if (a->otherwise && !a->interval) {
        int32_t *counts = arena_alloc(c->arena, (size_t)s->layers * sizeof *counts);
        for (int64_t i = 0; i < s->layers; i++)
            counts[i] = s->other[i] ? 0 : (int32_t)s->kv_heads;
        gguf_write_array(w, key, GGUF_INT32, counts, (size_t)s->layers);
    } else {
        gguf_write_u32(w, key, (uint32_t)s->kv_heads);
    }
    gguf_write_u32(
        w, hf_key(a, "attention.key_length", key), (uint32_t)(a->latent ? s->latent + s->rotated : s->head));
    gguf_write_u32(w, hf_key(a, "attention.value_length", key), (uint32_t)(a->latent ? s->latent : s->head));
    if (a->latent)
        gguf_write_u32(w, hf_key(a, "attention.key_length_mla", key), (uint32_t)s->head);
}

/* Which layers have a window: by 'layer_types', by a period, or by the architecture's own. */
static int windows_read(const struct hf_config *c, uint8_t *slides, bool *usual, struct error *err)
{
    const struct json_item *types = hf_given(c->root, "layer_types");
    int64_t period, i = 0;
    int rc = hf_whole(c->root, "sliding_window_pattern", c->arch->window_period, 0, INT32_MAX, &period, err);
    if (rc)
        return rc;
    if (types && json_item_length(types) != (size_t)c->shape.layers)
        return error_set(err, ERROR_INVALID, "config.json's 'layer_types' lists %zu layers, not %lld",
            json_item_length(types), (long long)c->shape.layers);
    for (; i < c->shape.layers; i++)
        slides[i] = period == 0 || (i + 1) % period != 0;
    i = 0;
    json_item_each(t, types) {
        if (!says(t, "\"sliding_attention\"") && !says(t, "\"full_attention\""))
            return error_set(err, ERROR_UNSUPPORTED,
                "config.json's 'layer_types' has '" STR_FMT "': unknown here",
                STR_ARG(str_slice(t->text, 0, 60)));
        slides[i++] = says(t, "\"sliding_attention\"");
    }
    *usual = true;
    for (i = 0; i < c->shape.layers; i++)
        *usual = *usual && slides[i] == ((i + 1) % c->arch->window_period != 0);
    return 0;
}

static int windows_write(const struct hf_config *c, struct gguf_writer *w, struct error *err)
{
    const struct json_item *given = hf_given(c->root, "sliding_window"),
                           *use = hf_given(c->root, "use_sliding_window");
    char key[HF_KEY_MAX];
    int64_t width;
    bool usual = true;
    if (!given || (use && use->kind == JSON_ITEM_FALSE))
        return 0;
    int rc = hf_whole(c->root, "sliding_window", 0, 1, INT32_MAX, &width, err);
    if (rc)
        return rc;
    if (c->arch->window_period == 0) {
        int64_t context = 0;
        rc = hf_whole(c->root, "max_position_embeddings", 0, 0, INT32_MAX, &context, err);
        if (rc == 0 && width < context && !c->arch->longrope)
            log_warn("convert",
                "config.json's sliding_window of %lld is not kept: in a GGUF file of '%s' every layer sees "
                "all",
                (long long)width, c->arch->gguf);
        return rc;
    }
    uint8_t *slides = arena_alloc(c->arena, (size_t)c->shape.layers);
    rc = windows_read(c, slides, &usual, err);
    if (rc)
        return rc;
    if (!usual && c->arch->windows_fixed)
        return error_set(err, ERROR_UNSUPPORTED,
            "config.json's 'layer_types' give windows to other layers than all models of '%s' have: a GGUF "
            "file "
            "cannot say that",
            c->arch->gguf);
    gguf_write_u32(w, hf_key(c->arch, "attention.sliding_window", key), (uint32_t)width);
    if (!usual || c->arch->windows_listed)
        gguf_write_array(w, hf_key(c->arch, "attention.sliding_window_pattern", key), GGUF_BOOL, slides,
            (size_t)c->shape.layers);
    return 0;
}

int hf_config_write(struct hf_config *c, struct gguf_writer *w, struct error *err)
{
    const struct hf_arch *a = c->arch;
    const char *eps_name = a->eps ? a->eps : a->layer_norm ? "layer_norm_eps" : "rms_norm_eps";
    char key[HF_KEY_MAX];
    double eps;
    int rc = hf_number(c->root, eps_name, a->layer_norm ? 1e-5 : 1e-6, 0, 1, &eps, err);
    rc = rc ? rc : keys_write(c, hf_keys, w, err);
    if (rc)
        return rc;
    gguf_write_u32(w, hf_key(a, "block_count", key), (uint32_t)(c->shape.layers + c->shape.ahead));
    if (c->shape.ahead > 0)
        gguf_write_u32(w, hf_key(a, "nextn_predict_layers", key), (uint32_t)c->shape.ahead);
    if (!a->two_kinds)
        heads_write(c, w);
    gguf_write_f32(w,
        hf_key(a, a->layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", key),
        (float)eps);
    gguf_write_u32(w, hf_key(a, "vocab_size", key), (uint32_t)c->shape.vocab);
    if (a->interval)
        gguf_write_u32(w, hf_key(a, "full_attention_interval", key), (uint32_t)c->shape.interval);
    for (const struct hf_constant *k = a->constant; k && k->gguf; k++)
        gguf_write_u32(w, hf_key(a, k->gguf, key), k->value);
    rc = keys_write(c, a->keys, w, err);
    if (rc == 0 && a->two_kinds)
        return hf_kinds_write(c, w, err);
    rc = rc ? rc : windows_write(c, w, err);
    return rc ? rc : hf_rope_write(c, w, err);
}

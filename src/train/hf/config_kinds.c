/* Gemma 4's configuration: layers with a window and layers without have heads, and positions, of their own;
 * the last layers read the keys of earlier ones, and their networks may be wider.
 *
 *                       with a window                  without
 *   config.json         head_dim, num_key_value_heads  global_head_dim, num_global_key_value_heads
 *   a file              attention.key_length_swa       attention.key_length
 *   hf_shape            head, kv_heads                 wide, wide_kv */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/worker/model_loader.h"
#include "train/hf/config.h"

static const char feed_forward[] = "feed_forward_length", kv_heads[] = "attention.head_count_kv";
#define UNTURNED 1e30f /* a divisor of the frequency of what is not rotated */

bool hf_kinds_has(const struct hf_arch *a, const char *gguf)
{
    return a->two_kinds && strcmp(gguf, feed_forward) == 0;
}

static bool is_true(const struct hf_config *c, const char *key)
{
    const struct json_item *item = hf_given(c->root, key);
    return item && item->kind == JSON_ITEM_TRUE;
}

/* ---- From config.json ---- */
int hf_kinds_read(struct hf_config *c, struct error *err)
{
    enum { HEAD = 512 };
    struct hf_shape *s = &c->shape;
    const struct json_item *r = c->root;
    int rc = hf_whole(r, "global_head_dim", HEAD, 2, MODEL_HEAD_WIDTH_MAX, &s->wide, err);
    rc = rc ? rc
            : hf_whole(r, "num_global_key_value_heads", s->kv_heads, 1, MODEL_HEADS_MAX, &s->wide_kv, err);
    rc = rc ? rc : hf_whole(r, "num_kv_shared_layers", 0, 0, s->layers - 1, &s->sharing, err);
    rc = rc ? rc : hf_whole(r, "hidden_size_per_layer_input", 0, 0, MODEL_WIDTH_MAX, &s->own, err);
    s->doubled = is_true(c, "use_double_wide_mlp");
    s->keyed = is_true(c, "attention_k_eq_v");
    if (rc == 0 && (s->wide % 2 != 0 || s->head % 2 != 0))
        rc = error_set(err, ERROR_INVALID, "config.json's heads are of odd width: pairs are to be rotated");
    if (rc == 0 && (s->experts > 0) != is_true(c, "enable_moe_block"))
        rc = error_set(
            err, ERROR_INVALID, "config.json's 'enable_moe_block' and 'num_experts' do not go together");
    return rc;
}

static bool is_type(const struct json_item *how, const char *type)
{
    return how && str_is(json_item_text(how, "rope_type"), type);
}

/* All of a head turns in both kinds; where layers without a window turn a share, the rest gets no frequency.
 */
static int turns_write(struct hf_config *c, struct gguf_writer *w, struct error *err)
{
    const struct json_item *named = hf_given(c->root, "rope_parameters"),
                           *wide = hf_given(named, "full_attention"),
                           *local = hf_given(named, "sliding_attention");
    const struct hf_shape *s = &c->shape;
    char key[HF_KEY_MAX];
    double base, local_base, share, local_share;
    int rc = hf_number(wide, "rope_theta", 1e6, 1e-3, 1e15, &base, err);
    rc = rc ? rc : hf_number(local, "rope_theta", 1e4, 1e-3, 1e15, &local_base, err);
    rc = rc ? rc : hf_number(wide, "partial_rotary_factor", 1, 0, 1, &share, err);
    rc = rc ? rc : hf_number(local, "partial_rotary_factor", 1, 0, 1, &local_share, err);
    if (rc)
        return rc;
    const int64_t turned = (int64_t)((double)s->wide * share / 2);
    if (!(is_type(wide, "proportional") || (is_type(wide, "default") && share == 1)) ||
        !is_type(local, "default") || local_share != 1 || turned < 1)
        return error_set(err, ERROR_UNSUPPORTED,
            "config.json's 'rope_parameters' are not what is known of a %s: proportional of "
            "'full_attention', default of 'sliding_attention'",
            c->arch->hf);
    gguf_write_u32(w, hf_key(c->arch, "rope.dimension_count", key), (uint32_t)s->wide);
    gguf_write_u32(w, hf_key(c->arch, "rope.dimension_count_swa", key), (uint32_t)s->head);
    gguf_write_f32(w, hf_key(c->arch, "rope.freq_base", key), (float)base);
    gguf_write_f32(w, hf_key(c->arch, "rope.freq_base_swa", key), (float)local_base);
    float *factors = hf_made_add(c, "rope_freqs.weight", s->wide / 2);
    for (int64_t i = 0; i < s->wide / 2; i++)
        factors[i] = i < turned ? 1 : UNTURNED;
    return 0;
}

/* One number where all layers have it. */
static void by_layer_write(struct hf_config *c, struct gguf_writer *w, const char *name, const int32_t *list)
{
    char key[HF_KEY_MAX];
    int64_t same = 0;
    while (same < c->shape.layers && list[same] == list[0])
        same++;
    if (same == c->shape.layers)
        gguf_write_u32(w, hf_key(c->arch, name, key), (uint32_t)list[0]);
    else
        gguf_write_array(w, hf_key(c->arch, name, key), GGUF_INT32, list, (size_t)c->shape.layers);
}

int hf_kinds_write(struct hf_config *c, struct gguf_writer *w, struct error *err)
{
    const struct hf_shape *s = &c->shape;
    const struct hf_arch *a = c->arch;
    char key[HF_KEY_MAX];
    int32_t *kv = arena_alloc(c->arena, 2 * (size_t)s->layers * sizeof *kv), *ff = kv + s->layers;
    uint8_t *slides = arena_alloc(c->arena, (size_t)s->layers);
    int64_t window = 0;
    double cap = 0;
    int rc = hf_whole(c->root, "sliding_window", -1, 1, INT32_MAX, &window, err);
    rc = rc ? rc : hf_number(c->root, "final_logit_softcapping", 0, 0, 1e6, &cap, err);
    for (int64_t i = 0; i < s->layers; i++) {
        slides[i] = s->other[i];
        kv[i] = (int32_t)(s->other[i] ? s->kv_heads : s->wide_kv);
        ff[i] = (int32_t)(s->doubled && i >= s->layers - s->sharing ? 2 * s->ff : s->ff);
    }
    by_layer_write(c, w, kv_heads, kv);
    by_layer_write(c, w, feed_forward, ff);
    gguf_write_u32(w, hf_key(a, "attention.key_length", key), (uint32_t)s->wide);
    gguf_write_u32(w, hf_key(a, "attention.value_length", key), (uint32_t)s->wide);
    gguf_write_u32(w, hf_key(a, "attention.key_length_swa", key), (uint32_t)s->head);
    gguf_write_u32(w, hf_key(a, "attention.value_length_swa", key), (uint32_t)s->head);
    gguf_write_u32(w, hf_key(a, "attention.shared_kv_layers", key), (uint32_t)s->sharing);
    gguf_write_u32(w, hf_key(a, "embedding_length_per_layer_input", key), (uint32_t)s->own);
    gguf_write_u32(w, hf_key(a, "attention.sliding_window", key), (uint32_t)window);
    gguf_write_array(
        w, hf_key(a, "attention.sliding_window_pattern", key), GGUF_BOOL, slides, (size_t)s->layers);
    gguf_write_f32(w, hf_key(a, "final_logit_softcapping", key), (float)cap);
    return rc ? rc : turns_write(c, w, err);
}

/* ---- From a file ---- */

/* A number that all layers have, or a list of each one's. */
static int by_layer_get(const struct gguf *g, const struct hf_arch *a, const char *name, int64_t layers,
    uint32_t most, uint32_t *to, struct error *err)
{
    char key[HF_KEY_MAX];
    const struct gguf_pair *pair = gguf_find(g, hf_key(a, name, key));
    const bool listed = pair && pair->type == GGUF_ARRAY;
    uint32_t all = 0;
    int rc = listed ? 0 : gguf_get_u32(g, key, 0, &all, err);
    if (listed && ((pair->array.type != GGUF_INT32 && pair->array.type != GGUF_UINT32) ||
                      pair->array.count != (uint64_t)layers))
        rc = error_set(err, ERROR_INVALID, "the model's '%s' does not list each layer", key);
    for (int64_t i = 0; i < layers && rc == 0; i++) {
        to[i] = all;
        if (listed)
            memcpy(&to[i], (const char *)pair->array.data + (size_t)i * sizeof *to, sizeof *to);
        if (to[i] == 0 || to[i] > most)
            rc = error_set(err, ERROR_INVALID, "the model's '%s' is %u: the file is broken", key, to[i]);
    }
    return rc;
}

static int number_get(const struct gguf *g, const struct hf_arch *a, const char *name, uint32_t least,
    int64_t most, int64_t *to, struct error *err)
{
    char key[HF_KEY_MAX];
    uint32_t value = 0;
    int rc = gguf_get_u32(g, hf_key(a, name, key), 0, &value, err);
    *to = value;
    if (rc == 0 && (value < least || value > most))
        rc = error_set(err, ERROR_INVALID, "the model's '%s' is %u: the file is broken", key, value);
    return rc;
}

/* Which layers have a window, and what goes by that. */
static int layers_get(const struct gguf *g, const struct hf_arch *a, struct hf_shape *s, struct error *err)
{
    uint32_t kv[MODEL_LAYERS_MAX], ff[MODEL_LAYERS_MAX];
    struct gguf_array slides;
    char key[HF_KEY_MAX];
    bool said = true;
    int rc = gguf_get_array(g, hf_key(a, "attention.sliding_window_pattern", key), GGUF_BOOL, &slides, err);
    if (rc == 0 && slides.count != (uint64_t)s->layers)
        rc = error_set(err, ERROR_INVALID, "the model's '%s' does not list each layer", key);
    rc = rc ? rc : by_layer_get(g, a, kv_heads, s->layers, MODEL_HEADS_MAX, kv, err);
    rc = rc ? rc : by_layer_get(g, a, feed_forward, s->layers, MODEL_WIDTH_MAX, ff, err);
    if (rc)
        return rc;
    s->ff = ff[0];
    s->doubled = ff[s->layers - 1] != ff[0];
    for (int64_t i = 0; i < s->layers; i++) {
        s->other[i] = ((const uint8_t *)slides.data)[i] != 0;
        int64_t *heads = s->other[i] ? &s->kv_heads : &s->wide_kv;
        *heads = *heads ? *heads : kv[i];
        said = said && kv[i] == *heads &&
               ff[i] == (s->doubled && i >= s->layers - s->sharing ? 2 * s->ff : s->ff);
    }
    s->kv_heads = s->kv_heads ? s->kv_heads : s->wide_kv;
    s->wide_kv = s->wide_kv ? s->wide_kv : s->kv_heads;
    return said
               ? 0
               : error_set(err, ERROR_UNSUPPORTED,
                     "the model's heads of keys or networks differ by layer in a way that config.json cannot "
                     "say");
}

int hf_kinds_get(const struct gguf *g, const struct hf_arch *a, struct hf_shape *s, struct error *err)
{
    int rc = number_get(g, a, "attention.key_length", 2, MODEL_HEAD_WIDTH_MAX, &s->wide, err);
    rc = rc ? rc : number_get(g, a, "attention.key_length_swa", 2, MODEL_HEAD_WIDTH_MAX, &s->head, err);
    rc = rc ? rc : number_get(g, a, "attention.shared_kv_layers", 0, s->layers - 1, &s->sharing, err);
    rc = rc ? rc : number_get(g, a, "embedding_length_per_layer_input", 0, MODEL_WIDTH_MAX, &s->own, err);
    rc = rc ? rc : layers_get(g, a, s, err);
    for (int64_t i = 0; i < s->layers - s->sharing && rc == 0; i++) {
        char name[HF_NAME_MAX];
        snprintf(name, sizeof name, "blk.%d.attn_v.weight", (int)i);
        s->keyed = s->keyed || (!s->other[i] && !gguf_tensor_find(g, name));
    }
    return rc;
}

/* ---- To config.json ---- */
static void turn_make(struct json_writer *w, const char *kind, const char *type, double base, double share)
{
    json_key_str(w, str_from(kind));
    json_object_begin(w);
    json_key(w, "rope_type");
    json_write_text(w, type);
    json_key(w, "rope_theta");
    hf_write_float(w, (float)base);
    if (share < 1) {
        json_key(w, "partial_rotary_factor");
        hf_write_float(w, (float)share);
    }
    json_object_end(w);
}

/* How many of a head's pairs turn: divisors of 1 come first, then such that nothing is left. */
static int turned_get(const struct gguf *g, const struct hf_shape *s, int64_t *out, struct error *err)
{
    const struct tensor *t = gguf_tensor_find(g, "rope_freqs.weight");
    float factors[MODEL_HEAD_WIDTH_MAX];
    const int64_t n = s->wide / 2;
    int64_t at = 0;
    *out = n;
    if (!t)
        return 0;
    if (t->shape[0] != n || tensor_rows(t) != 1)
        return error_set(err, ERROR_INVALID, "'rope_freqs.weight' has not a value for each pair of a head");
    int rc = tensor_dequantize(t->type, t->data, factors, n, err);
    while (rc == 0 && at < n && factors[at] == 1)
        at++;
    *out = at;
    while (rc == 0 && at < n && factors[at] >= UNTURNED / 2)
        at++;
    if (rc == 0 && (at < n || *out < 1))
        rc = error_set(err, ERROR_UNSUPPORTED,
            "the model's 'rope_freqs.weight' are no share of a head: config.json cannot say them");
    return rc;
}

static int turns_make(const struct gguf *g, const struct hf_arch *a, const struct hf_shape *s,
    struct json_writer *w, struct error *err)
{
    char key[HF_KEY_MAX];
    float base, local_base;
    int64_t turned, whole, whole_local;
    int rc = gguf_get_f32(g, hf_key(a, "rope.freq_base", key), 1e6f, &base, err);
    rc = rc ? rc : gguf_get_f32(g, hf_key(a, "rope.freq_base_swa", key), 1e4f, &local_base, err);
    rc = rc ? rc : number_get(g, a, "rope.dimension_count", 2, s->wide, &whole, err);
    rc = rc ? rc : number_get(g, a, "rope.dimension_count_swa", 2, s->head, &whole_local, err);
    rc = rc ? rc : turned_get(g, s, &turned, err);
    if (rc == 0 && (whole != s->wide || whole_local != s->head))
        rc = error_set(err, ERROR_UNSUPPORTED,
            "the model rotates a part of its heads, which config.json cannot say of a %s", a->hf);
    if (rc)
        return rc;
    json_key(w, "rope_parameters");
    json_object_begin(w);
    turn_make(w, "full_attention", "proportional", (double)base, 2.0 * (double)turned / (double)s->wide);
    turn_make(w, "sliding_attention", "default", (double)local_base, 1);
    json_object_end(w);
    return 0;
}

int hf_kinds_make(const struct gguf *g, const struct hf_arch *a, const struct hf_shape *s,
    struct json_writer *w, struct error *err)
{
    char key[HF_KEY_MAX];
    int64_t window;
    float cap;
    int rc = number_get(g, a, "attention.sliding_window", 1, INT32_MAX, &window, err);
    rc = rc ? rc : gguf_get_f32(g, hf_key(a, "final_logit_softcapping", key), 30, &cap, err);
    if (rc)
        return rc;
    hf_write_number(w, "intermediate_size", s->ff);
    hf_write_number(w, "global_head_dim", s->wide);
    hf_write_number(w, "num_global_key_value_heads", s->wide_kv);
    hf_write_number(w, "num_kv_shared_layers", s->sharing);
    hf_write_number(w, "hidden_size_per_layer_input", s->own);
    hf_write_number(w, "vocab_size_per_layer_input", s->vocab);
    hf_write_number(w, "sliding_window", window);
    hf_write_bool(w, "use_double_wide_mlp", s->doubled);
    hf_write_bool(w, "attention_k_eq_v", s->keyed);
    hf_write_bool(w, "enable_moe_block", s->experts > 0);
    json_key(w, "final_logit_softcapping");
    if (cap > 0)
        hf_write_float(w, cap);
    else
        json_write_null(w);
    return turns_make(g, a, s, w, err);
}

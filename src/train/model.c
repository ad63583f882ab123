#include "train/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "engine/memory.h"
#include "engine/worker/gguf.h"
#include "engine/worker/rope.h"

enum { LAYER_WEIGHTS = 14, OTHER_WEIGHTS = 3, ALIGN_VALUES = 16 };

const struct train_family train_families[] = {{.name = "llama"}, {.name = "qwen2", .rope_halves = true},
    {.name = "qwen3", .rope_halves = true, .head_norms = true}, {.name = NULL}};

/* ---- What there is ---- */

static struct train_weight *weight_add(struct train_model *m, const char *name, int64_t n_in, int64_t n_out)
{
    struct train_weight *w = &m->weights[m->n_weights++];
    *w = (struct train_weight){
        .n_in = n_in, .n_out = n_out ? n_out : 1, .vector = n_out == 0, .at = -1, .lora_a = -1, .lora_b = -1};
    snprintf(w->name, sizeof w->name, "%s", name);
    return w;
}

static struct train_weight *block_add(
    struct train_model *m, int32_t layer, const char *name, int64_t n_in, int64_t n_out)
{
    char full[48];
    snprintf(full, sizeof full, "blk.%d.%s", (int)layer, name);
    return weight_add(m, full, n_in, n_out);
}

static void layer_list(struct train_model *m, int32_t i)
{
    const struct train_shape *s = &m->shape;
    struct train_layer *l = &m->layers[i];
    const int64_t d = s->n_embed, q = (int64_t)s->n_heads * s->head_width,
                  kv = (int64_t)s->n_kv_heads * s->head_width;
    *l = (struct train_layer){.attn_norm = block_add(m, i, "attn_norm.weight", d, 0),
        .q = block_add(m, i, "attn_q.weight", d, q),
        .k = block_add(m, i, "attn_k.weight", d, kv),
        .v = block_add(m, i, "attn_v.weight", d, kv),
        .output = block_add(m, i, "attn_output.weight", q, d),
        .ffn_norm = block_add(m, i, "ffn_norm.weight", d, 0),
        .gate = block_add(m, i, "ffn_gate.weight", d, s->n_ffn),
        .up = block_add(m, i, "ffn_up.weight", d, s->n_ffn),
        .down = block_add(m, i, "ffn_down.weight", s->n_ffn, d)};
    if (m->family->head_norms) {
        l->q_norm = block_add(m, i, "attn_q_norm.weight", s->head_width, 0);
        l->k_norm = block_add(m, i, "attn_k_norm.weight", s->head_width, 0);
    }
    if (!m->qkv_bias)
        return;
    l->q_bias = block_add(m, i, "attn_q.bias", q, 0);
    l->k_bias = block_add(m, i, "attn_k.bias", kv, 0);
    l->v_bias = block_add(m, i, "attn_v.bias", kv, 0);
}

/* Names and shapes of all weights, in the order in which files hold them. */
static int weights_list(struct train_model *m, struct error *err)
{
    const struct train_shape *s = &m->shape;
    m->weights = calloc((size_t)s->n_layers * LAYER_WEIGHTS + OTHER_WEIGHTS, sizeof *m->weights);
    m->layers = calloc((size_t)s->n_layers, sizeof *m->layers);
    if (!m->weights || !m->layers)
        return error_set(err, ERROR_MEMORY, "no memory for a model of %d layers", (int)s->n_layers);
    m->embedding = weight_add(m, "token_embd.weight", s->n_embed, s->n_vocab);
    for (int32_t i = 0; i < s->n_layers; i++)
        layer_list(m, i);
    m->output_norm = weight_add(m, "output_norm.weight", s->n_embed, 0);
    m->output = s->tied ? m->embedding : weight_add(m, "output.weight", s->n_embed, s->n_vocab);
    return 0;
}

int64_t train_model_parameters(const struct train_model *m)
{
    int64_t n = 0;
    for (int32_t i = 0; i < m->n_weights; i++)
        n += m->weights[i].n_in * m->weights[i].n_out;
    return n;
}

/* `factors`: n / 2 divisors of the frequencies, or NULL. */
static int angles_fill(struct train_model *m, double scaling, const float *factors, struct error *err)
{
    const struct rope_scaling how = {
        .base = (double)m->shape.rope_base, .factor = scaling, .attention_factor = 1};
    const int32_t half = m->shape.head_width / 2;
    const size_t n = (size_t)m->shape.n_context * (size_t)half;
    double *frequency = calloc((size_t)half + 1, sizeof *frequency);
    m->cosine = calloc(n + 1, sizeof *m->cosine);
    m->sine = calloc(n + 1, sizeof *m->sine);
    const bool ok = frequency && m->cosine && m->sine;
    if (ok)
        (void)rope_frequencies(&how, m->shape.head_width, factors, frequency);
    for (int32_t i = 0; ok && i < half; i++)
        for (int32_t p = 0; p < m->shape.n_context; p++) {
            m->cosine[(int64_t)p * half + i] = (float)cos(p * frequency[i]);
            m->sine[(int64_t)p * half + i] = (float)sin(p * frequency[i]);
        }
    free(frequency);
    return ok ? 0
              : error_set(err, ERROR_MEMORY, "no memory for a context of %d tokens", (int)m->shape.n_context);
}

/* Room for `n` more trained values; where they begin. */
static int64_t values_add(struct train_model *m, int64_t n)
{
    const int64_t at = m->n_values;
    m->n_values += (n + ALIGN_VALUES - 1) / ALIGN_VALUES * ALIGN_VALUES;
    return at;
}

/* Gradient, its sum and two moments come to the values: too large a model is refused before it is made. */
static int values_alloc(struct train_model *m, struct error *err)
{
    const double gib = 1024.0 * 1024 * 1024, least = 5.0 * (double)m->n_values * sizeof *m->values,
                 available = (double)engine_memory_available();
    if (least > available)
        return error_set(err, ERROR_MEMORY,
            "to train %.1f M values takes at least %.1f GiB and %.1f GiB are available: choose a smaller "
            "model, or an "
            "adapter of less rank",
            (double)m->n_values / 1e6, least / gib, available / gib);
    m->values = aligned_alloc(64, (size_t)m->n_values * sizeof *m->values);
    if (!m->values)
        return error_set(err, ERROR_MEMORY,
            "no memory for %lld values to train: choose a smaller model or rank", (long long)m->n_values);
    memset(m->values, 0, (size_t)m->n_values * sizeof *m->values);
    return 0;
}

/* ---- From nothing ---- */

/* Box and Muller 1958. */
static float normal(struct rand_pcg *r)
{
    double u = 1 - rand_pcg_double(r), v = rand_pcg_double(r);
    return (float)(sqrt(-2 * log(u)) * cos(2 * M_PI * v));
}

/* Matrices that add to the residual stream begin smaller, by their number (Radford et al. 2019). */
static void values_fill(struct train_model *m, uint64_t seed)
{
    struct rand_pcg random;
    rand_pcg_seed(&random, seed);
    for (int32_t i = 0; i < m->n_weights; i++) {
        const struct train_weight *w = &m->weights[i];
        float *to = train_weight_values(m, w), scale = 0.02f;
        if (strstr(w->name, "attn_output") || strstr(w->name, "ffn_down"))
            scale /= sqrtf(2 * (float)m->shape.n_layers);
        for (int64_t j = 0; j < w->n_in * w->n_out; j++)
            to[j] = w->vector ? 1 : normal(&random) * scale; /* only norms are vectors here */
    }
}

int train_model_create(
    const struct train_shape *shape, uint64_t seed, struct train_model *m, struct error *err)
{
    *m = (struct train_model){.shape = *shape, .family = &train_families[0]};
    int rc = weights_list(m, err);
    for (int32_t i = 0; i < m->n_weights && rc == 0; i++)
        m->weights[i].at = values_add(m, m->weights[i].n_in * m->weights[i].n_out);
    rc = rc ? rc : values_alloc(m, err);
    rc = rc ? rc : angles_fill(m, 1, NULL, err);
    if (rc)
        train_model_free(m);
    else
        values_fill(m, seed);
    return rc;
}

/* ---- From a file ---- */

/* Metadata "ARCHITECTURE.key"; the first failure stays. */
struct keys {
    const struct gguf *g;
    const char *family;
    int rc;
    struct error *err;
};

static const char *key_full(const struct keys *k, const char *key, char full[96])
{
    snprintf(full, 96, "%s.%s", k->family, key);
    return full;
}

static int32_t key_int(struct keys *k, const char *key, int64_t fallback, int64_t most)
{
    char full[96];
    uint32_t value = 0;
    if (k->rc == 0)
        k->rc = gguf_get_u32(k->g, key_full(k, key, full), (uint32_t)fallback, &value, k->err);
    if (k->rc == 0 && (value < 1 || value > most))
        k->rc = error_set(k->err, ERROR_INVALID,
            "the model's %s is %u: it is broken, or larger than can be trained here", key_full(k, key, full),
            value);
    return (int32_t)value;
}

static float key_float(struct keys *k, const char *key, float fallback)
{
    char full[96];
    float value = 0;
    if (k->rc == 0)
        k->rc = gguf_get_f32(k->g, key_full(k, key, full), fallback, &value, k->err);
    if (k->rc == 0 && !(value > 0 && value < 1e12f))
        k->rc = error_set(k->err, ERROR_INVALID, "the model's %s is %g: it is broken", key_full(k, key, full),
            (double)value);
    return value;
}

static int family_find(const struct gguf *g, const struct train_family **out, struct error *err)
{
    struct str name;
    int rc = gguf_get_str(g, "general.architecture", STR_NONE, &name, err);
    for (*out = train_families; rc == 0 && (*out)->name; (*out)++)
        if (str_is(name, (*out)->name))
            return 0;
    return rc ? rc
              : error_set(err, ERROR_UNSUPPORTED,
                    "models of the architecture '" STR_FMT
                    "' cannot be trained here: llama, qwen2 and qwen3 can",
                    STR_ARG(str_slice(name, 0, 64)));
}

static int shape_read(const struct gguf *g, int32_t context, struct train_model *m, struct error *err)
{
    struct train_shape *s = &m->shape;
    struct keys k = {.g = g, .family = m->family->name, .err = err};
    const struct tensor *embedding = gguf_tensor_find(g, "token_embd.weight");
    s->n_layers = key_int(&k, "block_count", 0, 1024);
    s->n_embed = key_int(&k, "embedding_length", 0, 1 << 16);
    s->n_heads = key_int(&k, "attention.head_count", 0, 1024);
    s->n_kv_heads = key_int(&k, "attention.head_count_kv", s->n_heads, 1024);
    s->n_ffn = key_int(&k, "feed_forward_length", 0, 1 << 18);
    s->head_width = key_int(&k, "attention.key_length", k.rc ? 1 : s->n_embed / s->n_heads, 1024);
    const int32_t values = key_int(&k, "attention.value_length", s->head_width, 1024);
    const int32_t turned = key_int(&k, "rope.dimension_count", s->head_width, 1024);
    s->n_context = key_int(&k, "context_length", 0, 1 << 24);
    s->rope_base = key_float(&k, "rope.freq_base", 10000);
    s->norm_eps = key_float(&k, "attention.layer_norm_rms_epsilon", 1e-5f);
    s->tied = !gguf_tensor_find(g, "output.weight");
    s->n_context = context > 0 && context < s->n_context ? context : s->n_context;
    if (k.rc)
        return k.rc;
    if (!embedding || embedding->shape[1] < 2 || embedding->shape[1] > 1 << 24)
        return error_set(err, ERROR_INVALID, "the model has no 'token_embd.weight': the file is broken");
    s->n_vocab = (int32_t)embedding->shape[1];
    if (s->n_heads % s->n_kv_heads != 0 || s->head_width % 2 != 0)
        return error_set(err, ERROR_INVALID,
            "the model's %d heads of %d values cannot share %d of keys: the file is broken", (int)s->n_heads,
            (int)s->head_width, (int)s->n_kv_heads);
    if (values != s->head_width || turned != s->head_width ||
        gguf_tensor_find(g, "blk.0.ffn_gate_inp.weight"))
        return error_set(err, ERROR_UNSUPPORTED,
            "the model has experts, values of another width than its keys, or turns a part of them: such "
            "models "
            "cannot be trained here");
    return 0;
}

static int angles_read(const struct gguf *g, struct train_model *m, struct error *err)
{
    struct keys k = {.g = g, .family = m->family->name, .err = err};
    const struct tensor *factors = gguf_tensor_find(g, "rope_freqs.weight");
    char full[96];
    struct str type;
    int rc = gguf_get_str(g, key_full(&k, "rope.scaling.type", full), STR("none"), &type, err);
    if (rc)
        return rc;
    if (!str_is(type, "none") && !str_is(type, "linear"))
        return error_set(err, ERROR_UNSUPPORTED,
            "the model's positions are stretched by '" STR_FMT "': it cannot be trained here",
            STR_ARG(str_slice(type, 0, 32)));
    if (factors &&
        (factors->type != TENSOR_F32 || factors->shape[0] != m->shape.head_width / 2 || !factors->data))
        return error_set(err, ERROR_INVALID,
            "the model's 'rope_freqs.weight' is not what its heads need: the file is broken");
    const float scaling = str_is(type, "linear") ? key_float(&k, "rope.scaling.factor", 1) : 1;
    return k.rc ? k.rc : angles_fill(m, (double)scaling, factors ? factors->data : NULL, err);
}

static int weight_find(const struct gguf *g, struct train_weight *w, struct error *err)
{
    const struct tensor *t = gguf_tensor_find(g, w->name);
    if (!t || !t->data)
        return error_set(err, ERROR_INVALID, "the model lacks '%s': the file is broken", w->name);
    if (t->shape[0] != w->n_in || tensor_rows(t) != w->n_out)
        return error_set(err, ERROR_INVALID,
            "the model's '%s' is %lld x %lld, not %lld x %lld: the file is broken", w->name,
            (long long)t->shape[0], (long long)tensor_rows(t), (long long)w->n_in, (long long)w->n_out);
    if (!tensor_type_readable(t->type) || (w->vector && t->type != TENSOR_F32))
        return error_set(err, ERROR_UNSUPPORTED,
            "the model's '%s' is of the type %s, which cannot be read here", w->name,
            tensor_type_info(t->type)->name);
    w->type = t->type;
    w->frozen = t->data;
    return 0;
}

/* A tensor that has no place here would be left out of what is computed. */
static int tensors_check(const struct gguf *g, const struct train_model *m, struct error *err)
{
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct str name = gguf_tensor_at(g, i)->name;
        bool known = str_is(name, "rope_freqs.weight");
        for (int32_t j = 0; j < m->n_weights && !known; j++)
            known = str_is(name, m->weights[j].name);
        if (!known)
            return error_set(err, ERROR_UNSUPPORTED,
                "the model's '" STR_FMT "' has no place in what can be trained here",
                STR_ARG(str_slice(name, 0, 64)));
    }
    return 0;
}

static int all_take(struct train_model *m, bool embedding_frozen, struct error *err)
{
    for (int32_t i = 0; i < m->n_weights; i++)
        if (!embedding_frozen || &m->weights[i] != m->embedding)
            m->weights[i].at = values_add(m, m->weights[i].n_in * m->weights[i].n_out);
    int rc = values_alloc(m, err);
    for (int32_t i = 0; i < m->n_weights && rc == 0; i++) {
        struct train_weight *w = &m->weights[i];
        if (w->at >= 0)
            rc = tensor_dequantize(w->type, w->frozen, train_weight_values(m, w), w->n_in * w->n_out, err);
    }
    return rc;
}

/* A is uniform in +-1 / sqrt(n_in), B zero, as everyone does it: at first the adapter changes nothing.
 * Matrices of the layers have one, the embedding and the output do not. */
static int adapters_add(
    struct train_model *m, const struct train_lora *lora, uint64_t seed, struct error *err)
{
    struct rand_pcg random;
    m->lora_rank = lora->rank;
    m->lora_scale = lora->alpha / (float)lora->rank;
    for (int32_t i = 0; i < m->n_weights; i++) {
        struct train_weight *w = &m->weights[i];
        if (w->vector || strncmp(w->name, "blk.", 4) != 0)
            continue;
        w->lora_a = values_add(m, lora->rank * w->n_in);
        w->lora_b = values_add(m, lora->rank * w->n_out);
    }
    int rc = values_alloc(m, err);
    rand_pcg_seed(&random, seed);
    for (int32_t i = 0; i < m->n_weights && rc == 0; i++) {
        const struct train_weight *w = &m->weights[i];
        for (int64_t j = 0; w->lora_a >= 0 && j < lora->rank * w->n_in; j++)
            m->values[w->lora_a + j] = (float)(2 * rand_pcg_double(&random) - 1) / sqrtf((float)w->n_in);
    }
    return rc;
}

int train_model_load(const struct gguf *g, const struct train_lora *lora, bool embedding_frozen,
    int32_t context, uint64_t seed, struct train_model *m, struct error *err)
{
    *m = (struct train_model){0};
    int rc = family_find(g, &m->family, err);
    rc = rc ? rc : shape_read(g, context, m, err);
    m->qkv_bias = gguf_tensor_find(g, "blk.0.attn_q.bias") != NULL;
    rc = rc ? rc : weights_list(m, err);
    for (int32_t i = 0; i < m->n_weights && rc == 0; i++)
        rc = weight_find(g, &m->weights[i], err);
    rc = rc ? rc : tensors_check(g, m, err);
    rc = rc ? rc : angles_read(g, m, err);
    rc = rc ? rc : lora ? adapters_add(m, lora, seed, err) : all_take(m, embedding_frozen, err);
    if (rc)
        train_model_free(m);
    return rc;
}

void train_model_free(struct train_model *m)
{
    free(m->weights);
    free(m->layers);
    free(m->cosine);
    free(m->sine);
    free(m->values);
    *m = (struct train_model){0};
}

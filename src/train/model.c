#include "train/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pages.h"
#include "base/rand.h"
#include "engine/memory.h"
#include "base/arena.h"
#include "engine/worker/gguf.h"
#include "engine/worker/model_loader.h"
#include "engine/worker/rope.h"
#include "train/files.h"

enum { LAYER_WEIGHTS = 26, OTHER_WEIGHTS = 3, ALIGN_VALUES = 16, FAMILY_MEMORY = 64 << 20 };
enum { LAYERS_MAX = 1024, HEADS_MAX = 1024, HEAD_WIDTH_MAX = 1024 };

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

static bool has(const struct gguf *g, int32_t layer, const char *name)
{
    char full[48];
    snprintf(full, sizeof full, "blk.%d.%s", (int)layer, name);
    return g && gguf_tensor_find(g, full);
}

/* With its bias, where the file's first layer has one. */
static struct train_weight *matrix_add(
    struct train_model *m, const struct gguf *g, int32_t layer, const char *part, int64_t n_in, int64_t n_out)
{
    char name[32];
    snprintf(name, sizeof name, "%s.weight", part);
    struct train_weight *w = block_add(m, layer, name, n_in, n_out);
    snprintf(name, sizeof name, "%s.bias", part);
    if (has(g, 0, name))
        w->bias = block_add(m, layer, name, n_out, 0);
    return w;
}

/* `n_heads` of weights, which are one vector unless each head has its own. */
static struct train_weight *head_norm_add(
    struct train_model *m, int32_t layer, const char *name, int64_t n_heads)
{
    const int64_t width = m->shape.head_width;
    if (m->decoder->head_norms != HEAD_NORMS_OWN)
        return block_add(
            m, layer, name, m->decoder->head_norms == HEAD_NORMS_SHARED ? width : width * n_heads, 0);
    struct train_weight *w = block_add(m, layer, name, width, n_heads);
    w->vector = true;
    return w;
}

static void more_norms_list(struct train_model *m, const struct gguf *g, int32_t i)
{
    const struct decoder *is = m->decoder;
    struct train_layer *l = &m->layers[i];
    if (is->norms_behind) {
        l->attn_norm_behind = block_add(m, i, "post_attention_norm.weight", m->shape.n_embed, 0);
        l->ffn_norm_behind = block_add(m, i, "post_ffw_norm.weight", m->shape.n_embed, 0);
    }
    if (is->head_norms == HEAD_NORMS_NONE ||
        (is->head_norms == HEAD_NORMS_OWN && !has(g, 0, "attn_q_norm.weight")))
        return;
    l->q_norm = head_norm_add(m, i, "attn_q_norm.weight", m->shape.n_heads);
    l->k_norm = head_norm_add(m, i, "attn_k_norm.weight", m->shape.n_kv_heads);
}

/* Rows of `whole`, listed behind all that files have. */
static struct train_weight *part_add(
    struct train_model *m, struct train_weight *whole, int64_t from, int64_t count)
{
    struct train_weight *w = &m->weights[m->n_weights + m->n_parts++];
    *w = *whole;
    w->whole = whole;
    w->divided = false;
    w->from = from;
    whole->divided = true;
    if (w->vector)
        w->n_in = count;
    else
        w->n_out = count;
    if (whole->bias)
        w->bias = part_add(m, whole->bias, from, count);
    return w;
}

/* Queries, keys and values, or gate and up, may stand in one matrix, which is the first of them until
 * layer_divide. */
static void attention_list(struct train_model *m, const struct gguf *g, int32_t i, int64_t q, int64_t kv)
{
    const int64_t d = m->shape.n_embed;
    struct train_layer *l = &m->layers[i];
    if (!m->decoder->no_norms_before)
        l->attn_norm = block_add(m, i, "attn_norm.weight", d, 0);
    if (has(g, 0, "attn_qkv.weight")) {
        l->q = matrix_add(m, g, i, "attn_qkv", d, q + 2 * kv);
    } else {
        l->q = matrix_add(m, g, i, "attn_q", d, q);
        l->k = matrix_add(m, g, i, "attn_k", d, kv);
        l->v = matrix_add(m, g, i, "attn_v", d, kv);
    }
    l->output = matrix_add(m, g, i, "attn_output", q, d);
}

static void network_list(struct train_model *m, const struct gguf *g, int32_t i)
{
    const int64_t d = m->shape.n_embed, n_ffn = m->shape.n_ffn;
    struct train_layer *l = &m->layers[i];
    if (!m->decoder->no_norms_before && !m->decoder->parallel)
        l->ffn_norm = block_add(m, i, "ffn_norm.weight", d, 0);
    if (g && !has(g, 0, "ffn_gate.weight")) {
        l->gate = matrix_add(m, g, i, "ffn_up", d, 2 * n_ffn);
    } else {
        l->gate = matrix_add(m, g, i, "ffn_gate", d, n_ffn);
        l->up = matrix_add(m, g, i, "ffn_up", d, n_ffn);
    }
    l->down = matrix_add(m, g, i, "ffn_down", n_ffn, d);
}

static void layer_list(struct train_model *m, const struct gguf *g, int32_t i)
{
    const struct train_shape *s = &m->shape;
    const int64_t q = (int64_t)s->n_heads * s->head_width, kv = (int64_t)s->n_kv_heads * s->head_width;
    attention_list(m, g, i, q, kv);
    network_list(m, g, i);
    more_norms_list(m, g, i);
}

static void layer_divide(struct train_model *m, struct train_layer *l)
{
    const struct train_shape *s = &m->shape;
    const int64_t q = (int64_t)s->n_heads * s->head_width, kv = (int64_t)s->n_kv_heads * s->head_width;
    struct train_weight *all = l->q, *both = l->gate;
    if (!l->k) {
        l->q = part_add(m, all, 0, q);
        l->k = part_add(m, all, q, kv);
        l->v = part_add(m, all, q + kv, kv);
    }
    if (!l->up) {
        l->gate = part_add(m, both, 0, s->n_ffn);
        l->up = part_add(m, both, s->n_ffn, s->n_ffn);
    }
}

/* Names and shapes of all weights, in the order in which files hold them. `g`: NULL for a new model. */
static int weights_list(struct train_model *m, const struct gguf *g, struct error *err)
{
    const struct train_shape *s = &m->shape;
    m->weights = calloc((size_t)s->n_layers * LAYER_WEIGHTS + OTHER_WEIGHTS, sizeof *m->weights);
    m->layers = calloc((size_t)s->n_layers, sizeof *m->layers);
    if (!m->weights || !m->layers)
        return error_set(err, ERROR_MEMORY, "no memory for a model of %d layers", (int)s->n_layers);
    m->embedding = weight_add(m, "token_embd.weight", s->n_embed, s->n_vocab);
    for (int32_t i = 0; i < s->n_layers; i++)
        layer_list(m, g, i);
    m->output_norm = weight_add(m, "output_norm.weight", s->n_embed, 0);
    m->output = s->tied ? m->embedding : weight_add(m, "output.weight", s->n_embed, s->n_vocab);
    for (int32_t i = 0; i < s->n_layers; i++)
        layer_divide(m, &m->layers[i]);
    return 0;
}

/* Once it is known where the values of all are. */
static void parts_place(struct train_model *m)
{
    for (int32_t i = m->n_weights; i < m->n_weights + m->n_parts; i++) {
        struct train_weight *w = &m->weights[i];
        const struct train_weight *whole = w->whole;
        w->type = whole->type;
        if (whole->frozen)
            w->frozen = (const char *)whole->frozen +
                        (size_t)w->from * (w->vector ? sizeof(float) : tensor_row_bytes(w->type, w->n_in));
        if (whole->at >= 0)
            w->at = whole->at + w->from * (w->vector ? 1 : w->n_in);
        w->lora_a = whole->lora_a;
        if (whole->lora_b >= 0)
            w->lora_b = whole->lora_b + w->from * m->lora_rank;
    }
}

int64_t train_model_parameters(const struct train_model *m)
{
    int64_t n = 0;
    for (int32_t i = 0; i < m->n_weights; i++)
        n += m->weights[i].n_in * m->weights[i].n_out;
    return n;
}

int train_angles_fill(
    struct train_model *m, const struct rope *rope, struct train_angles *out, struct error *err)
{
    const int32_t half = rope->n_dims / 2;
    const size_t n = (size_t)m->shape.n_context * (size_t)half;
    m->n_rotated = rope->n_dims;
    m->rope_halves = rope->pairs == ROPE_HALVES;
    out->cosine = calloc(n + 1, sizeof *out->cosine);
    out->sine = calloc(n + 1, sizeof *out->sine);
    if (!out->cosine || !out->sine)
        return error_set(err, ERROR_MEMORY, "no memory for a context of %d tokens", (int)m->shape.n_context);
    for (int32_t i = 0; i < half; i++)
        for (int32_t p = 0; p < m->shape.n_context; p++) {
            out->cosine[(int64_t)p * half + i] = (float)(cos(p * rope->frequency[i]) * rope->magnitude);
            out->sine[(int64_t)p * half + i] = (float)(sin(p * rope->frequency[i]) * rope->magnitude);
        }
    return 0;
}

/* What a new model has. */
static void scales_plain(struct train_model *m)
{
    m->embed_scale = m->branch_scale = m->logit_scale = 1;
    m->score_scale = 1 / sqrtf((float)m->shape.head_width);
    for (int32_t i = 0; i < m->shape.n_layers; i++)
        m->layers[i].angles = &m->angles[0];
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
    m->values = pages_alloc((size_t)m->n_values * sizeof *m->values);
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

static int angles_plain(struct train_model *m, struct error *err)
{
    const struct rope_scaling how = {.base = (double)m->shape.rope_base, .factor = 1, .attention_factor = 1};
    const int32_t n_dims = m->shape.head_width;
    double *frequency = calloc((size_t)n_dims / 2 + 1, sizeof *frequency);
    if (!frequency)
        return error_set(err, ERROR_MEMORY, "no memory for the angles of heads");
    const struct rope rope = {.n_dims = n_dims,
        .pairs = ROPE_ADJACENT,
        .frequency = frequency,
        .magnitude = rope_frequencies(&how, n_dims, NULL, frequency)};
    int rc = train_angles_fill(m, &rope, &m->angles[0], err);
    free(frequency);
    return rc;
}

int train_model_create(
    const struct train_shape *shape, uint64_t seed, struct train_model *m, struct error *err)
{
    *m = (struct train_model){
        .shape = *shape, .architecture = train_architectures[0], .decoder = train_architectures[0]->decoder};
    int rc = weights_list(m, NULL, err);
    for (int32_t i = 0; i < m->n_weights && rc == 0; i++)
        m->weights[i].at = values_add(m, m->weights[i].n_in * m->weights[i].n_out);
    rc = rc ? rc : values_alloc(m, err);
    rc = rc ? rc : angles_plain(m, err);
    if (rc) {
        train_model_free(m);
        return rc;
    }
    scales_plain(m);
    values_fill(m, seed);
    return 0;
}

/* ---- From a file ---- */

static int architecture_find(const struct gguf *g, struct train_model *m, struct error *err)
{
    char known[256] = "";
    struct str name;
    int rc = gguf_get_str(g, "general.architecture", STR_NONE, &name, err);
    for (int i = 0; rc == 0 && train_architectures[i]; i++) {
        m->architecture = train_architectures[i];
        m->decoder = m->architecture->decoder;
        if (str_is(name, m->architecture->name))
            return 0;
        snprintf(known + strlen(known), sizeof known - strlen(known), " %s", m->architecture->name);
    }
    return rc ? rc
              : error_set(err, ERROR_UNSUPPORTED,
                    "models of the architecture '" STR_FMT "' cannot be trained here: these can:%s",
                    STR_ARG(str_slice(name, 0, 64)), known);
}

/* Layers behind the last one, which draft (MTP), stay as they are. */
static int32_t layers_count(struct loader *l)
{
    const int32_t all = loader_int(l, "block_count", LOADER_REQUIRED, 1, LAYERS_MAX);
    return all - loader_int(l, "nextn_predict_layers", 0, 0, all - 1);
}

static void shape_check(struct loader *l, const struct train_shape *s, int32_t value_width)
{
    const struct tensor *embedding = gguf_tensor_find(l->gguf, "token_embd.weight");
    if (l->rc)
        return;
    if (!embedding || embedding->shape[1] < 2 || embedding->shape[1] > MODEL_VOCAB_MAX)
        loader_fail(l, ERROR_INVALID, "the model has no 'token_embd.weight': the file is broken");
    else if (s->n_heads % s->n_kv_heads != 0 || s->head_width < 2 || s->head_width % 2 != 0)
        loader_fail(l, ERROR_INVALID,
            "the model's %d heads of %d values cannot share %d of keys: the file is broken", (int)s->n_heads,
            (int)s->head_width, (int)s->n_kv_heads);
    else if (value_width != s->head_width || gguf_tensor_find(l->gguf, "blk.0.ffn_gate_inp.weight"))
        loader_fail(l, ERROR_UNSUPPORTED,
            "the model has experts, or values of another width than its keys: such models cannot be trained "
            "here");
}

static int shape_read(struct loader *l, int32_t context, struct train_model *m)
{
    struct train_shape *s = &m->shape;
    s->n_layers = layers_count(l);
    s->n_embed = loader_int(l, "embedding_length", LOADER_REQUIRED, 1, 1 << 16);
    s->n_heads = loader_int(l, "attention.head_count", LOADER_REQUIRED, 1, HEADS_MAX);
    s->n_kv_heads = loader_int(l, "attention.head_count_kv", s->n_heads, 1, HEADS_MAX);
    s->n_ffn = loader_int(l, "feed_forward_length", LOADER_REQUIRED, 1, 1 << 18);
    s->head_width =
        loader_int(l, "attention.key_length", l->rc ? 1 : s->n_embed / s->n_heads, 1, HEAD_WIDTH_MAX);
    const int32_t values = loader_int(l, "attention.value_length", s->head_width, 1, HEAD_WIDTH_MAX);
    s->n_context = loader_int(l, "context_length", LOADER_REQUIRED, 1, 1 << 24);
    s->rope_base = loader_float(l, "rope.freq_base", 10000, 1e-3f, 1e15f);
    s->norm_eps = loader_float(l,
        m->decoder->centred ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", 1e-5f, 0,
        1);
    s->tied = !gguf_tensor_find(l->gguf, "output.weight");
    s->n_context = context > 0 && context < s->n_context ? context : s->n_context;
    shape_check(l, s, values);
    if (l->rc == 0)
        s->n_vocab = (int32_t)gguf_tensor_find(l->gguf, "token_embd.weight")->shape[1];
    return l->rc;
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

static bool layer_drafts(struct str name, int32_t n_layers)
{
    int layer;
    char text[32];
    snprintf(text, sizeof text, STR_FMT, STR_ARG(str_slice(name, 0, 24)));
    return sscanf(text, "blk.%d.", &layer) == 1 && layer >= n_layers;
}

/* A tensor that has no place here would be left out of what is computed. */
static int tensors_check(const struct gguf *g, const struct train_model *m, struct error *err)
{
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct str name = gguf_tensor_at(g, i)->name;
        bool known = str_is(name, "rope_freqs.weight") || str_starts(name, STR("rope_factors_")) ||
                     layer_drafts(name, m->shape.n_layers);
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
    struct loader l = {
        .gguf = g, .backend = file_backend(), .arena = arena_create(FAMILY_MEMORY), .err = err};
    *m = (struct train_model){0};
    int rc = architecture_find(g, m, err);
    if (rc == 0)
        l.architecture = str_from(m->architecture->name);
    rc = rc ? rc : shape_read(&l, context, m);
    rc = rc ? rc : weights_list(m, g, err);
    for (int32_t i = 0; i < m->n_weights && rc == 0; i++)
        rc = weight_find(g, &m->weights[i], err);
    rc = rc ? rc : tensors_check(g, m, err);
    if (rc == 0)
        train_traits_load(m, &l);
    rc = rc ? rc : l.rc;
    arena_free(l.arena);
    rc = rc ? rc : lora ? adapters_add(m, lora, seed, err) : all_take(m, embedding_frozen, err);
    if (rc)
        train_model_free(m);
    else
        parts_place(m);
    return rc;
}

void train_model_free(struct train_model *m)
{
    free(m->weights);
    free(m->layers);
    for (int i = 0; i < 2; i++) {
        free(m->angles[i].cosine);
        free(m->angles[i].sine);
    }
    free(m->late);
    free(m->values);
    free(m->packed);
    *m = (struct train_model){0};
}

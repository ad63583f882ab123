/* What was trained as a GGUF file: a model of its own, an adapter, or a model with the adapter folded in. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/worker/gguf.h"
#include "engine/worker/tensor_quantize.h"
#include "train/files.h"
#include "train/pour.h"
#include "train/quantize.h"
#include "train/run.h"

enum { ROWS_AT_ONCE = 64 };

/* A row that is not whole blocks is stored in halves. */
static enum tensor_type type_of(const struct train_weight *w, enum tensor_type wanted)
{
    if (w->vector)
        return TENSOR_F32;
    return w->n_in % tensor_type_info(wanted)->block_values == 0 ? wanted : TENSOR_F16;
}

static void file_type_write(enum tensor_type type, struct gguf_writer *g)
{
    gguf_write_u32(g, "general.file_type", quantize_mix_find(tensor_type_info(type)->name)->file_type);
}

static void keys_write(const struct train_shape *s, const struct train_config *c, struct gguf_writer *g)
{
    gguf_write_str(g, "general.architecture", STR("llama"));
    gguf_write_str(g, "general.type", STR("model"));
    gguf_write_str(g, "general.name", c->name);
    file_type_write(c->type, g);
    gguf_write_u32(g, "general.quantization_version", 2);
    gguf_write_u32(g, "llama.vocab_size", (uint32_t)s->n_vocab);
    gguf_write_u32(g, "llama.context_length", (uint32_t)s->n_context);
    gguf_write_u32(g, "llama.embedding_length", (uint32_t)s->n_embed);
    gguf_write_u32(g, "llama.block_count", (uint32_t)s->n_layers);
    gguf_write_u32(g, "llama.feed_forward_length", (uint32_t)s->n_ffn);
    gguf_write_u32(g, "llama.attention.head_count", (uint32_t)s->n_heads);
    gguf_write_u32(g, "llama.attention.head_count_kv", (uint32_t)s->n_kv_heads);
    gguf_write_f32(g, "llama.attention.layer_norm_rms_epsilon", s->norm_eps);
    gguf_write_u32(g, "llama.rope.dimension_count", (uint32_t)s->head_width);
    gguf_write_f32(g, "llama.rope.freq_base", s->rope_base);
}

/* Rows of values to a file, in the file's type. */
static int rows_write(const char *name, const float *values, int64_t n_in, int64_t n_out,
    enum tensor_type type, const struct gguf_writer *g, struct file_writer *f, struct error *err)
{
    static const char zeros[64];
    const size_t row = tensor_row_bytes(type, n_in);
    char *bytes = malloc(row * ROWS_AT_ONCE);
    int rc = bytes ? 0 : error_set(err, ERROR_MEMORY, "no memory to write %s", name);
    for (int64_t i = 0; i < n_in * n_out && rc == 0; i++)
        if (!isfinite(values[i]))
            rc =
                error_set(err, ERROR_INVALID, "%s holds a value that is no number: nothing is written", name);
    for (int64_t i = 0; i < n_out && rc == 0; i += ROWS_AT_ONCE) {
        const int64_t n = n_out - i < ROWS_AT_ONCE ? n_out - i : ROWS_AT_ONCE;
        rc = tensor_quantize(type, values + i * n_in, bytes, n * n_in, err);
        if (rc == 0)
            file_write(f, bytes, row * (size_t)n);
    }
    file_write(f, zeros, gguf_writer_padding(g, row * (uint64_t)n_out));
    free(bytes);
    return rc;
}

/* ---- A model of its own ---- */
struct own {
    const struct train_model *m;
    enum tensor_type type;
};

static int own_fill(void *ctx, const struct gguf_writer *g, struct file_writer *f, struct error *err)
{
    const struct own *o = ctx;
    int rc = 0;
    for (int32_t i = 0; i < o->m->n_weights && rc == 0; i++) {
        const struct train_weight *w = &o->m->weights[i];
        rc = rows_write(
            w->name, train_weight_values(o->m, w), w->n_in, w->n_out, type_of(w, o->type), g, f, err);
    }
    return rc;
}

int model_write(const struct train_model *m, const struct train_text *t, const struct train_config *c,
    const char *path, struct error *err)
{
    struct gguf_writer g;
    gguf_writer_init(&g);
    keys_write(&m->shape, c, &g);
    train_text_write(t, &g);
    for (int32_t i = 0; i < m->n_weights; i++) {
        const struct train_weight *w = &m->weights[i];
        gguf_write_tensor(
            &g, w->name, type_of(w, c->type), w->vector ? 1 : 2, (const int64_t[]){w->n_in, w->n_out});
    }
    struct own own = {m, c->type};
    int rc = file_write_gguf(&g, path, own_fill, &own, err);
    gguf_writer_free(&g);
    return rc;
}

/* ---- An adapter (engine/worker/lora.h has the format) ---- */
static int adapter_fill(void *ctx, const struct gguf_writer *g, struct file_writer *f, struct error *err)
{
    const struct train_model *m = ctx;
    int rc = 0;
    for (int32_t i = 0; i < m->n_weights && rc == 0; i++) {
        const struct train_weight *w = &m->weights[i];
        if (w->lora_a < 0)
            continue;
        rc = rows_write(w->name, m->values + w->lora_a, w->n_in, m->lora_rank, TENSOR_F32, g, f, err);
        rc = rc ? rc
                : rows_write(w->name, m->values + w->lora_b, m->lora_rank, w->n_out, TENSOR_F32, g, f, err);
    }
    return rc;
}

int adapter_write(
    const struct train_model *m, const struct train_config *c, const char *path, struct error *err)
{
    struct gguf_writer g;
    gguf_writer_init(&g);
    gguf_write_str(&g, "general.architecture", str_from(m->architecture->name));
    gguf_write_str(&g, "general.type", STR("adapter"));
    gguf_write_str(&g, "general.name", c->name);
    gguf_write_str(&g, "adapter.type", STR("lora"));
    gguf_write_f32(&g, "adapter.lora.alpha", c->lora.alpha);
    for (int32_t i = 0; i < m->n_weights; i++) {
        const struct train_weight *w = &m->weights[i];
        char name[80];
        if (w->lora_a < 0)
            continue;
        snprintf(name, sizeof name, "%s.lora_a", w->name);
        gguf_write_tensor(&g, name, TENSOR_F32, 2, (const int64_t[]){w->n_in, m->lora_rank});
        snprintf(name, sizeof name, "%s.lora_b", w->name);
        gguf_write_tensor(&g, name, TENSOR_F32, 2, (const int64_t[]){m->lora_rank, w->n_out});
    }
    int rc = file_write_gguf(&g, path, adapter_fill, (void *)(uintptr_t)m, err);
    gguf_writer_free(&g);
    return rc;
}

/* ---- The base with what was trained in it: all else is copied as it stands ---- */
struct folded {
    const struct train_model *m;
    const struct gguf *base;
    enum tensor_type type; /* of what was trained; TENSOR_TYPES: the base's */
};

/* A weight that is written anew: NULL for what stands in the file as in the base, as a frozen embedding does
 * unless the whole model takes another type. */
static const struct train_weight *weight_of(const struct folded *x, const struct tensor *t)
{
    const bool all = x->m->lora_rank == 0 && x->type != TENSOR_TYPES;
    for (int32_t i = 0; i < x->m->n_weights; i++) {
        const struct train_weight *w = &x->m->weights[i];
        if (str_is(t->name, w->name))
            return all || w->at >= 0 || w->lora_a >= 0 ? w : NULL;
    }
    return NULL;
}

static enum tensor_type folded_type(
    const struct folded *x, const struct train_weight *w, const struct tensor *t)
{
    return x->type == TENSOR_TYPES ? pour_type_of(t) : type_of(w, x->type);
}

/* W + scale B A */
static int folded_values(
    const struct train_model *m, const struct train_weight *w, float *to, struct error *err)
{
    if (w->at >= 0) {
        memcpy(to, train_weight_values(m, w), (size_t)(w->n_in * w->n_out) * sizeof *to);
        return 0;
    }
    int rc = tensor_dequantize(w->type, w->frozen, to, w->n_in * w->n_out, err);
    if (w->lora_a < 0)
        return rc;
    const float *a = m->values + w->lora_a, *b = m->values + w->lora_b;
    for (int64_t o = 0; o < w->n_out && rc == 0; o++)
        for (int64_t r = 0; r < m->lora_rank; r++) {
            const float by = m->lora_scale * b[o * m->lora_rank + r];
            for (int64_t i = 0; i < w->n_in; i++)
                to[o * w->n_in + i] += by * a[r * w->n_in + i];
        }
    return rc;
}

static int folded_fill(void *ctx, const struct gguf_writer *g, struct file_writer *f, struct error *err)
{
    static const char zeros[64];
    const struct folded *x = ctx;
    int rc = 0;
    for (size_t i = 0; i < gguf_n_tensors(x->base) && rc == 0; i++) {
        const struct tensor *t = gguf_tensor_at(x->base, i);
        const struct train_weight *w = weight_of(x, t);
        if (!w) {
            file_write(f, t->data, t->bytes);
            file_write(f, zeros, gguf_writer_padding(g, t->bytes));
            continue;
        }
        float *values = malloc((size_t)(w->n_in * w->n_out) * sizeof *values);
        rc = values ? folded_values(x->m, w, values, err)
                    : error_set(err, ERROR_MEMORY, "no memory to write %s", w->name);
        rc = rc ? rc : rows_write(w->name, values, w->n_in, w->n_out, folded_type(x, w, t), g, f, err);
        free(values);
    }
    return rc;
}

int folded_write(const struct train_model *m, const struct gguf *base, const struct train_config *c,
    const char *path, struct error *err)
{
    static const char *const own[] = {"general.file_type", NULL};
    struct gguf_writer g;
    struct folded x = {m, base, c->type};
    gguf_writer_init(&g);
    file_copy_pairs(&g, base, c->type == TENSOR_TYPES ? NULL : own);
    if (c->type != TENSOR_TYPES)
        file_type_write(c->type, &g);
    for (size_t i = 0; i < gguf_n_tensors(base); i++) {
        const struct tensor *t = gguf_tensor_at(base, i);
        char name[TENSOR_NAME_MAX + 1];
        snprintf(name, sizeof name, STR_FMT, STR_ARG(t->name));
        const struct train_weight *w = weight_of(&x, t);
        gguf_write_tensor(&g, name, w ? folded_type(&x, w, t) : t->type, t->n_dims, t->shape);
    }
    int rc = file_write_gguf(&g, path, folded_fill, &x, err);
    gguf_writer_free(&g);
    return rc;
}

/* The trained model as a GGUF file. */
#include <math.h>
#include <stdlib.h>

#include "base/limits.h"
#include "engine/worker/tensor_quantize.h"
#include "train/files.h"
#include "train/run.h"

enum { ROWS_AT_ONCE = 64, FILE_F32 = 0, FILE_F16 = 1, FILE_Q8_0 = 7, FILE_BF16 = 32 };

/* A row that is not whole blocks is stored in halves. */
static enum tensor_type type_of(const struct train_weight *w, enum tensor_type wanted)
{
    if (w->vector)
        return TENSOR_F32;
    return w->n_in % tensor_type_info(wanted)->block_values == 0 ? wanted : TENSOR_F16;
}

static void keys_write(const struct train_shape *s, const struct train_config *c, struct gguf_writer *g)
{
    gguf_write_str(g, "general.architecture", STR("llama"));
    gguf_write_str(g, "general.type", STR("model"));
    gguf_write_str(g, "general.name", c->name);
    gguf_write_u32(g, "general.file_type",
        c->type == TENSOR_F32    ? FILE_F32
        : c->type == TENSOR_F16  ? FILE_F16
        : c->type == TENSOR_Q8_0 ? FILE_Q8_0
                                 : FILE_BF16);
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

static int tensor_write(const struct train_model *m, const struct train_weight *w, enum tensor_type type,
    const struct gguf_writer *g, struct file_writer *f, struct error *err)
{
    static const char zeros[64];
    const float *values = train_weight_values(m, w);
    const size_t row = tensor_row_bytes(type, w->n_in);
    char *bytes = malloc(row * ROWS_AT_ONCE);
    int rc = bytes ? 0 : error_set(err, ERROR_MEMORY, "no memory to write %s", w->name);
    for (int64_t i = 0; i < w->n_in * w->n_out && rc == 0; i++)
        if (!isfinite(values[i]))
            rc = error_set(
                err, ERROR_INVALID, "%s holds a value that is no number: nothing is written", w->name);
    for (int64_t i = 0; i < w->n_out && rc == 0; i += ROWS_AT_ONCE) {
        const int64_t n = w->n_out - i < ROWS_AT_ONCE ? w->n_out - i : ROWS_AT_ONCE;
        rc = tensor_quantize(type, values + i * w->n_in, bytes, n * w->n_in, err);
        if (rc == 0)
            file_write(f, bytes, row * (size_t)n);
    }
    file_write(f, zeros, gguf_writer_padding(g, row * (uint64_t)w->n_out));
    free(bytes);
    return rc;
}

static int file_fill(const struct train_model *m, const struct gguf_writer *g, const struct train_config *c,
    const char *path, struct error *err)
{
    struct file_writer f;
    struct buf header;
    buf_init(&header, GIB);
    int rc = gguf_writer_header(g, &header, err);
    rc = rc ? rc : file_begin(&f, path, err);
    if (rc == 0) {
        file_write(&f, header.data, header.len);
        for (int32_t i = 0; i < m->n_weights && rc == 0; i++)
            rc = tensor_write(m, &m->weights[i], type_of(&m->weights[i], c->type), g, &f, err);
        if (rc)
            file_abandon(&f);
        else
            rc = file_commit(&f, err);
    }
    buf_free(&header);
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
    int rc = file_fill(m, &g, c, path, err);
    gguf_writer_free(&g);
    return rc;
}

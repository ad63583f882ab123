#include "train/quantize.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "engine/worker/tensor_quantize.h"
#include "train/files.h"

enum { VALUE_BYTES_MAX = 8 }; /* of any type */

/* ---- A batch: pieces of one tensor, each converted by one thread ---- */
struct piece {
    int rc;
    struct error err;
    double lost, power;
};

/* Of one thread. */
struct scratch {
    float values[QUANTIZE_PIECE], back[QUANTIZE_PIECE];
};

struct batch {
    const struct tensor *tensor;
    enum tensor_type type;
    int64_t first, count; /* values of the tensor */
    struct scratch *scratch;
    uint8_t *bytes; /* the batch's, in `type` */
    struct piece pieces[QUANTIZE_PIECES];
};

static int piece_lost(const struct batch *b, const struct scratch *s, int64_t n, struct piece *p)
{
    for (int64_t i = 0; i < n; i++) {
        const double off = (double)s->back[i] - (double)s->values[i];
        if (!isfinite(s->values[i]) || !isfinite(s->back[i]))
            return error_set(&p->err, ERROR_INVALID, "tensor '" STR_FMT "' holds %s: nothing is written",
                STR_ARG(b->tensor->name),
                isfinite(s->values[i]) ? "a value too large for its new type" : "a value that is no number");
        p->lost += off * off;
        p->power += (double)s->values[i] * (double)s->values[i];
    }
    return 0;
}

static int piece_quantize(
    const struct batch *b, struct scratch *s, const uint8_t *from, uint8_t *to, int64_t n, struct piece *p)
{
    int rc = tensor_dequantize(b->tensor->type, from, s->values, n, &p->err);
    rc = rc ? rc : tensor_quantize(b->type, s->values, to, n, &p->err);
    return rc ? rc : tensor_dequantize(b->type, to, s->back, n, &p->err);
}

/* As it stands, but looked at: what is no number must not go on. */
static int piece_copy(
    const struct batch *b, struct scratch *s, const uint8_t *from, uint8_t *to, int64_t n, struct piece *p)
{
    const bool readable = tensor_type_readable(b->type);
    memcpy(to, from, tensor_row_bytes(b->type, n));
    memset(s->values, 0, sizeof s->values);
    int rc = readable ? tensor_dequantize(b->type, from, s->values, n, &p->err) : 0;
    memcpy(s->back, s->values, sizeof s->back);
    return rc;
}

static void piece_convert(void *ctx, int64_t item, int32_t thread)
{
    struct batch *b = ctx;
    struct piece *p = &b->pieces[item];
    struct scratch *s = &b->scratch[thread];
    const int64_t at = item * QUANTIZE_PIECE, left = b->count - at,
                  n = left < QUANTIZE_PIECE ? left : QUANTIZE_PIECE;
    const uint8_t *from = (const uint8_t *)b->tensor->data + tensor_row_bytes(b->tensor->type, b->first + at);
    uint8_t *to = b->bytes + tensor_row_bytes(b->type, at);
    *p = (struct piece){0};
    p->rc =
        b->type == b->tensor->type ? piece_copy(b, s, from, to, n, p) : piece_quantize(b, s, from, to, n, p);
    p->rc = p->rc ? p->rc : piece_lost(b, s, n, p);
}

/* ---- The file ---- */
struct writing {
    const struct gguf *g;
    const enum tensor_type *types;
    struct team *team;
    struct quantize_watch watch;
    struct quantize_totals *totals;
    struct batch *batch;
    uint64_t done;
};

static int go_on(const struct writing *w, const struct tensor *t, enum tensor_type to, struct error *err)
{
    return w->watch.go_on(w->watch.ctx, t, to, w->done)
               ? 0
               : error_set(err, ERROR_CANCELLED, "stopped: nothing is written");
}

/* The tensor's values from `first` on, as many as a batch holds. */
static int batch_write(
    struct writing *w, int64_t first, int64_t total, struct file_writer *f, struct error *err)
{
    struct batch *b = w->batch;
    b->first = first;
    b->count = total - first < QUANTIZE_BATCH ? total - first : QUANTIZE_BATCH;
    const int64_t n = (b->count + QUANTIZE_PIECE - 1) / QUANTIZE_PIECE;
    team_each(w->team, n, piece_convert, b);
    for (int64_t i = 0; i < n; i++) {
        if (b->pieces[i].rc) {
            *err = b->pieces[i].err;
            return b->pieces[i].rc;
        }
        w->totals->lost += b->pieces[i].lost;
        w->totals->power += b->type == b->tensor->type ? 0 : b->pieces[i].power;
    }
    file_write(f, b->bytes, tensor_row_bytes(b->type, b->count));
    w->done += tensor_row_bytes(b->tensor->type, b->count);
    return 0;
}

static int tensor_write(
    struct writing *w, const struct tensor *t, enum tensor_type to, struct file_writer *f, struct error *err)
{
    const int64_t total = t->shape[0] * tensor_rows(t);
    int rc = 0;
    w->batch->tensor = t;
    w->batch->type = to;
    for (int64_t first = 0; first < total && rc == 0 && !f->failed; first += QUANTIZE_BATCH) {
        rc = go_on(w, t, to, err);
        rc = rc ? rc : batch_write(w, first, total, f, err);
    }
    if (t->type != to) {
        w->totals->converted++;
        w->totals->again += tensor_type_info(t->type)->block_values > 1;
    }
    return rc;
}

static int tensors_write(void *ctx, const struct gguf_writer *g, struct file_writer *f, struct error *err)
{
    static const char zeros[64];
    struct writing *w = ctx;
    int rc = 0;
    for (size_t i = 0; i < gguf_n_tensors(w->g) && rc == 0 && !f->failed; i++) {
        const struct tensor *t = gguf_tensor_at(w->g, i);
        const int64_t values = t->shape[0] * tensor_rows(t);
        const size_t bytes = tensor_row_bytes(w->types[i], values);
        rc = tensor_write(w, t, w->types[i], f, err);
        file_write(f, zeros, gguf_writer_padding(g, bytes));
        w->totals->bytes += bytes;
        w->totals->values += (uint64_t)values;
    }
    return rc;
}

static void header_fill(const struct writing *w, const struct quantize_mix *mix, struct gguf_writer *g)
{
    static const char *const own[] = {"general.file_type", "general.quantization_version", NULL};
    file_copy_pairs(g, w->g, own);
    gguf_write_u32(g, "general.file_type", mix->file_type);
    gguf_write_u32(g, "general.quantization_version", 2);
    for (size_t i = 0; i < gguf_n_tensors(w->g); i++) {
        const struct tensor *t = gguf_tensor_at(w->g, i);
        char name[TENSOR_NAME_MAX + 1];
        snprintf(name, sizeof name, STR_FMT, STR_ARG(t->name));
        gguf_write_tensor(g, name, w->types[i], t->n_dims, t->shape);
    }
}

/* Tensors that lie over each other would make a small file a huge one. */
static int check_bytes(const struct gguf *g, struct error *err)
{
    uint64_t left = gguf_file_size(g);
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct tensor *t = gguf_tensor_at(g, i);
        if (t->bytes > left)
            return error_set(err, ERROR_INVALID,
                "tensors up to '" STR_FMT "' hold more bytes than the file: it is corrupt", STR_ARG(t->name));
        left -= t->bytes;
    }
    return 0;
}

int quantize_write(const struct gguf *g, const struct quantize_mix *mix, const enum tensor_type *types,
    const char *path, struct team *team, struct quantize_watch watch, struct quantize_totals *totals,
    struct error *err)
{
    struct writing w = {g, types, team, watch, totals, malloc(sizeof *w.batch), 0};
    struct gguf_writer out;
    *totals = (struct quantize_totals){0};
    int rc = check_bytes(g, err);
    gguf_writer_init(&out);
    if (w.batch) {
        *w.batch = (struct batch){.scratch = calloc((size_t)team->count, sizeof *w.batch->scratch),
            .bytes = malloc((size_t)QUANTIZE_BATCH * VALUE_BYTES_MAX)};
        header_fill(&w, mix, &out);
    }
    if (rc == 0 && (!w.batch || !w.batch->scratch || !w.batch->bytes))
        rc = error_set(err, ERROR_MEMORY, "no memory to convert tensors");
    rc = rc ? rc : file_write_gguf(&out, path, tensors_write, &w, err);
    gguf_writer_free(&out);
    if (w.batch) {
        free(w.batch->scratch);
        free(w.batch->bytes);
    }
    free(w.batch);
    return rc;
}

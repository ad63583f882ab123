#include "train/quantize.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    float *values, *back; /* of a piece */
};

struct batch {
    const struct tensor *tensor;
    enum tensor_type type;
    const float *importance; /* a weight for each column of each of its matrices; NULL: not known */
    int64_t piece;           /* values of one: whole rows where importance is known */
    int64_t first, count;    /* values of the tensor */
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

/* Row by row, each with the importance of its matrix's columns. */
static int rows_quantize(
    const struct batch *b, const float *values, uint8_t *to, int64_t from, int64_t n, struct error *err)
{
    const int64_t width = b->tensor->shape[0], rows = b->tensor->shape[1];
    int rc = 0;
    for (int64_t i = 0; i < n && rc == 0; i += width)
        rc = tensor_quantize_rows(b->type, values + i, to + tensor_row_bytes(b->type, i), 1, width,
            b->importance + (from + i) / width / rows * width, err);
    return rc;
}

static int piece_quantize(const struct batch *b, struct scratch *s, const uint8_t *bytes, uint8_t *to,
    int64_t from, int64_t n, struct piece *p)
{
    int rc = tensor_dequantize(b->tensor->type, bytes, s->values, n, &p->err);
    if (rc == 0 && b->importance)
        rc = rows_quantize(b, s->values, to, from, n, &p->err);
    else if (rc == 0)
        rc = tensor_quantize(b->type, s->values, to, n, &p->err);
    return rc ? rc : tensor_dequantize(b->type, to, s->back, n, &p->err);
}

/* As it stands, but looked at: what is no number must not go on. */
static int piece_copy(
    const struct batch *b, struct scratch *s, const uint8_t *from, uint8_t *to, int64_t n, struct piece *p)
{
    const bool readable = tensor_type_readable(b->type);
    memcpy(to, from, tensor_row_bytes(b->type, n));
    memset(s->values, 0, (size_t)n * sizeof *s->values);
    int rc = readable ? tensor_dequantize(b->type, from, s->values, n, &p->err) : 0;
    memcpy(s->back, s->values, (size_t)n * sizeof *s->back);
    return rc;
}

static void piece_convert(void *ctx, int64_t item, int32_t thread)
{
    struct batch *b = ctx;
    struct piece *p = &b->pieces[item];
    struct scratch *s = &b->scratch[thread];
    const int64_t at = item * b->piece, left = b->count - at, n = left < b->piece ? left : b->piece;
    const uint8_t *from = (const uint8_t *)b->tensor->data + tensor_row_bytes(b->tensor->type, b->first + at);
    uint8_t *to = b->bytes + tensor_row_bytes(b->type, at);
    *p = (struct piece){0};
    p->rc = b->type == b->tensor->type ? piece_copy(b, s, from, to, n, p)
                                       : piece_quantize(b, s, from, to, b->first + at, n, p);
    p->rc = p->rc ? p->rc : piece_lost(b, s, n, p);
}

/* ---- The file ---- */
struct writing {
    const struct gguf *g;
    const struct quantize_plan *plan;
    const enum tensor_type *types;
    struct team *team;
    struct quantize_watch watch;
    struct quantize_totals *totals;
    struct batch *batch;
    float *importance; /* of the largest matrix that has any */
    uint64_t done;
};

static int go_on(const struct writing *w, const struct tensor *t, enum tensor_type to, struct error *err)
{
    return w->watch.go_on(w->watch.ctx, t, to, w->done)
               ? 0
               : error_set(err, ERROR_CANCELLED, "stopped: nothing is written");
}

/* Values that a batch has at most: whole pieces. */
static int64_t batch_values(const struct batch *b)
{
    const int64_t pieces = QUANTIZE_BATCH / b->piece;
    return (pieces < 1 ? 1 : pieces < QUANTIZE_PIECES ? pieces : QUANTIZE_PIECES) * b->piece;
}

/* The tensor's values from `first` on, as many as a batch holds. */
static int batch_write(
    struct writing *w, int64_t first, int64_t total, struct file_writer *f, struct error *err)
{
    struct batch *b = w->batch;
    const int64_t most = batch_values(b);
    b->first = first;
    b->count = total - first < most ? total - first : most;
    const int64_t n = (b->count + b->piece - 1) / b->piece;
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

static void batch_begin(struct writing *w, const struct tensor *t, enum tensor_type to)
{
    struct batch *b = w->batch;
    const struct imatrix *m = w->plan->importance;
    const struct imatrix_entry *e = m && t->type != to ? imatrix_find(m, t->name) : NULL;
    b->tensor = t;
    b->type = to;
    b->importance = NULL;
    b->piece = QUANTIZE_PIECE;
    if (!e || e->n_values != t->shape[0] * t->shape[2] || t->shape[3] != 1)
        return; /* quantize_choose says for which tensors that may be */
    imatrix_means(m, e, w->importance);
    b->importance = w->importance;
    b->piece = t->shape[0] > QUANTIZE_PIECE ? t->shape[0] : QUANTIZE_PIECE / t->shape[0] * t->shape[0];
}

static int tensor_write(
    struct writing *w, const struct tensor *t, enum tensor_type to, struct file_writer *f, struct error *err)
{
    const int64_t total = t->shape[0] * tensor_rows(t);
    int rc = 0;
    batch_begin(w, t, to);
    for (int64_t first = 0; first < total && rc == 0 && !f->failed; first += batch_values(w->batch)) {
        rc = go_on(w, t, to, err);
        rc = rc ? rc : batch_write(w, first, total, f, err);
    }
    if (t->type != to) {
        w->totals->converted++;
        w->totals->weighed += w->batch->importance != NULL;
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

static void importance_write(const struct imatrix *m, struct gguf_writer *g)
{
    if (m->n_datasets > 0)
        gguf_write_str(g, "quantize.imatrix.dataset", m->datasets[0]);
    gguf_write_u32(g, "quantize.imatrix.entries_count", (uint32_t)m->n_entries);
    gguf_write_u32(g, "quantize.imatrix.chunks_count", (uint32_t)m->chunks);
}

static void header_fill(const struct writing *w, struct gguf_writer *g)
{
    static const char *const own[] = {"general.file_type", "general.quantization_version",
        "quantize.imatrix.file", "quantize.imatrix.dataset", "quantize.imatrix.entries_count",
        "quantize.imatrix.chunks_count", NULL};
    file_copy_pairs(g, w->g, own);
    gguf_write_u32(g, "general.file_type", w->plan->mix->file_type);
    gguf_write_u32(g, "general.quantization_version", 2);
    if (w->plan->importance)
        importance_write(w->plan->importance, g);
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

static void room_free(struct writing *w)
{
    for (int32_t i = 0; w->batch && w->batch->scratch && i < w->team->count; i++) {
        free(w->batch->scratch[i].values);
        free(w->batch->scratch[i].back);
    }
    if (w->batch) {
        free(w->batch->scratch);
        free(w->batch->bytes);
    }
    free(w->batch);
    free(w->importance);
}

/* Pieces are whole rows where importance is known, however long those are. */
static int room_create(struct writing *w, struct error *err)
{
    const struct imatrix *m = w->plan->importance;
    int64_t longest = QUANTIZE_PIECE, figures = 1;
    for (size_t i = 0; m && i < gguf_n_tensors(w->g); i++) {
        const struct tensor *t = gguf_tensor_at(w->g, i);
        const struct imatrix_entry *e = imatrix_find(m, t->name);
        longest = e && t->shape[0] > longest ? t->shape[0] : longest;
        figures = e && e->n_values > figures ? e->n_values : figures;
    }
    const size_t piece = (size_t)longest, all = piece > QUANTIZE_BATCH ? piece : QUANTIZE_BATCH;
    w->batch = calloc(1, sizeof *w->batch);
    w->importance = malloc((size_t)figures * sizeof *w->importance);
    bool made = w->batch && w->importance;
    if (made) {
        w->batch->scratch = calloc((size_t)w->team->count, sizeof *w->batch->scratch);
        w->batch->bytes = malloc(all * VALUE_BYTES_MAX);
        made = w->batch->scratch && w->batch->bytes;
    }
    for (int32_t i = 0; made && i < w->team->count; i++) {
        struct scratch *s = &w->batch->scratch[i];
        s->values = malloc(piece * sizeof *s->values);
        s->back = malloc(piece * sizeof *s->back);
        made = s->values && s->back;
    }
    return made ? 0 : error_set(err, ERROR_MEMORY, "no memory to convert tensors");
}

int quantize_write(const struct gguf *g, const struct quantize_plan *plan, const enum tensor_type *types,
    const char *path, struct team *team, struct quantize_watch watch, struct quantize_totals *totals,
    struct error *err)
{
    struct writing w = {.g = g, .plan = plan, .types = types, .team = team, .watch = watch, .totals = totals};
    struct gguf_writer out;
    *totals = (struct quantize_totals){0};
    int rc = check_bytes(g, err);
    gguf_writer_init(&out);
    rc = rc ? rc : room_create(&w, err);
    if (rc == 0) {
        header_fill(&w, &out);
        rc = file_write_gguf(&out, path, tensors_write, &w, err);
    }
    gguf_writer_free(&out);
    room_free(&w);
    return rc;
}

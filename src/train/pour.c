#include "train/pour.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "engine/worker/tensor_quantize.h"
#include "engine/worker/tokenizer.h"

/* A batch is PIECES pieces; a piece is some rows, one at least. */
enum { PIECE_VALUES = 1 << 14, PIECES = 64 };

struct batch {
    const struct pour *p;
    const struct pour_tensor *t;
    size_t index;
    int64_t row, piece_rows; /* values of a row, rows of a piece */
    int64_t first, count;    /* rows of the batch */
    float *values;           /* a piece for each thread */
    uint8_t *bytes;          /* of the batch */
    struct {
        int rc;
        struct error err;
    } pieces[PIECES];
};

enum tensor_type pour_type_of(const struct tensor *t)
{
    const uint32_t n = tensor_type_info(t->type)->block_values;
    float values[256] = {0};
    char bytes[1024];
    return n <= 256 && tensor_quantize(t->type, values, bytes, n, NULL) == 0 ? t->type : TENSOR_F16;
}

uint64_t pour_bytes(const struct pour_tensor *t)
{
    const int64_t rows = t->shape[1] * t->shape[2] * t->shape[3];
    return (uint64_t)tensor_row_bytes(t->type, t->shape[0]) * (uint64_t)rows;
}

static int check(const struct batch *b, const float *values, int64_t n, struct error *err)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(values[i]))
            return error_set(err, ERROR_INVALID,
                "tensor '%s' holds a value that is no number: nothing is written", b->t->name);
    return 0;
}

/* What does not fit into halves becomes an infinity there. */
static int check_written(
    const struct batch *b, const uint8_t *bytes, float *values, int64_t n, struct error *err)
{
    if (b->t->type == TENSOR_F32 || b->t->type == TENSOR_BF16)
        return 0;
    int rc = tensor_dequantize(b->t->type, bytes, values, n, err);
    for (int64_t i = 0; i < n && rc == 0; i++)
        if (!isfinite(values[i]))
            rc = error_set(err, ERROR_INVALID,
                "tensor '%s' holds a value too large for %s: choose BF16 or F32; nothing is written",
                b->t->name, tensor_type_info(b->t->type)->name);
    return rc;
}

static int piece_make(struct batch *b, int64_t item, float *values, struct error *err)
{
    const int64_t at = item * b->piece_rows, left = b->count - at;
    const int64_t rows = left < b->piece_rows ? left : b->piece_rows, n = rows * b->row;
    uint8_t *to = b->bytes + (size_t)at * tensor_row_bytes(b->t->type, b->row);
    const struct tensor *same = b->t->same;
    if (same) {
        const size_t bytes = tensor_row_bytes(same->type, b->row);
        memcpy(to, (const char *)same->data + (size_t)(b->first + at) * bytes, (size_t)rows * bytes);
        int rc = tensor_type_readable(same->type) ? tensor_dequantize(same->type, to, values, n, err) : 0;
        return rc || !tensor_type_readable(same->type) ? rc : check(b, values, n, err);
    }
    int rc = b->p->rows(b->p->ctx, b->index, b->first + at, rows, values, err);
    rc = rc ? rc : check(b, values, n, err);
    rc = rc ? rc : tensor_quantize(b->t->type, values, to, n, err);
    return rc ? rc : check_written(b, to, values, n, err);
}

static void piece_run(void *ctx, int64_t item, int32_t thread)
{
    struct batch *b = ctx;
    b->pieces[item].rc =
        piece_make(b, item, b->values + thread * b->piece_rows * b->row, &b->pieces[item].err);
}

static int batch_write(struct batch *b, struct file_writer *f, struct error *err)
{
    const int64_t n = (b->count + b->piece_rows - 1) / b->piece_rows;
    team_each(b->p->team, n, piece_run, b);
    for (int64_t i = 0; i < n; i++)
        if (b->pieces[i].rc) {
            if (err)
                *err = b->pieces[i].err;
            return b->pieces[i].rc;
        }
    file_write(f, b->bytes, (size_t)b->count * tensor_row_bytes(b->t->type, b->row));
    return 0;
}

struct progress_of {
    uint64_t done, total;
};

static int tensor_write(struct batch *b, struct progress_of *so_far, struct file_writer *f, struct error *err)
{
    const struct pour *p = b->p;
    const int64_t total = b->t->shape[1] * b->t->shape[2] * b->t->shape[3], step = PIECES * b->piece_rows;
    int rc = p->begin && !b->t->same ? p->begin(p->ctx, b->index, err) : 0;
    for (b->first = 0; b->first < total && rc == 0 && !f->failed; b->first += step) {
        b->count = total - b->first < step ? total - b->first : step;
        if (p->go_on && !p->go_on(p->watch, b->t->name, so_far->done, so_far->total))
            return error_set(err, ERROR_CANCELLED, "stopped: nothing is written");
        rc = batch_write(b, f, err);
        so_far->done += (uint64_t)b->count * tensor_row_bytes(b->t->type, b->row);
    }
    return rc;
}

static int memory_get(struct batch *b, struct error *err)
{
    b->row = b->t->shape[0];
    b->piece_rows = b->row < PIECE_VALUES ? PIECE_VALUES / b->row : 1;
    const size_t piece = (size_t)(b->piece_rows * b->row);
    float *values = realloc(b->values, piece * (size_t)b->p->team->count * sizeof *values);
    b->values = values ? values : b->values;
    uint8_t *bytes = realloc(b->bytes, PIECES * (size_t)b->piece_rows * tensor_row_bytes(b->t->type, b->row));
    b->bytes = bytes ? bytes : b->bytes;
    return values && bytes ? 0 : error_set(err, ERROR_MEMORY, "no memory to write tensor '%s'", b->t->name);
}

int pour_write(const struct pour *p, const struct pour_tensor *tensors, size_t n,
    const struct gguf_writer *padding, struct file_writer *f, struct error *err)
{
    static const char zeros[64];
    struct progress_of so_far = {0};
    struct batch *b = calloc(1, sizeof *b);
    int rc = b ? 0 : error_set(err, ERROR_MEMORY, "no memory to write tensors");
    for (size_t i = 0; i < n; i++)
        so_far.total += pour_bytes(&tensors[i]);
    for (size_t i = 0; i < n && rc == 0 && !f->failed; i++) {
        b->p = p;
        b->t = &tensors[i];
        b->index = i;
        rc = memory_get(b, err);
        rc = rc ? rc : tensor_write(b, &so_far, f, err);
        if (padding)
            file_write(f, zeros, gguf_writer_padding(padding, pour_bytes(&tensors[i])));
    }
    if (b) {
        free(b->values);
        free(b->bytes);
    }
    free(b);
    return rc;
}

struct poured {
    const struct pour *p;
    const struct pour_tensor *tensors;
    size_t n;
};

static int fill(void *ctx, const struct gguf_writer *w, struct file_writer *f, struct error *err)
{
    const struct poured *x = ctx;
    return pour_write(x->p, x->tensors, x->n, w, f, err);
}

int pour_gguf(const struct pour *p, const struct pour_tensor *tensors, size_t n, struct gguf_writer *w,
    const char *path, struct error *err)
{
    struct poured x = {p, tensors, n};
    for (size_t i = 0; i < n; i++)
        gguf_write_tensor(w, tensors[i].name, tensors[i].type, tensors[i].n_dims, tensors[i].shape);
    return file_write_gguf(w, path, fill, &x, err);
}

/* ---- Types ---- */
static int types_choose(const struct gguf *g, const struct quantize_mix *mix, struct pour_tensor *tensors,
    size_t n, struct error *err)
{
    enum tensor_type *types = calloc(n + 1, sizeof *types);
    struct tokenizer *tokenizer = NULL;
    int rc = types ? 0 : error_set(err, ERROR_MEMORY, "no memory for %zu tensors", n);
    if (rc == 0 && gguf_find(g, "tokenizer.ggml.model"))
        rc = tokenizer_create(g, &tokenizer, err);
    tokenizer_free(tokenizer);
    rc = rc ? rc : quantize_choose(g, mix, types, err);
    for (size_t i = 0; i < n && rc == 0; i++)
        tensors[i].type = types[i];
    free(types);
    return rc;
}

int pour_choose(struct gguf_writer *w, const struct quantize_mix *mix, struct pour_tensor *tensors, size_t n,
    struct error *err)
{
    const struct gguf_writer before = *w;
    struct buf header;
    struct gguf *g = NULL;
    buf_init(&header, 4 * GIB);
    for (size_t i = 0; i < n; i++)
        gguf_write_tensor(w, tensors[i].name, TENSOR_F32, tensors[i].n_dims, tensors[i].shape);
    int rc = gguf_writer_header(w, &header, err);
    rc = rc ? rc : gguf_open_header(header.data, header.len, &g, err);
    rc = rc ? rc : types_choose(g, mix, tensors, n, err);
    gguf_close(g);
    buf_free(&header);
    buf_clear(&w->infos);
    w->n_tensors = before.n_tensors;
    w->data_bytes = before.data_bytes;
    return rc;
}

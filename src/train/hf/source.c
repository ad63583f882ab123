#include "train/hf/source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/worker/tensor_dequant.h"
#include "train/hf/safetensors.h"

/* Within a head of `width` rows. Theirs: a, b, c, ... a', b', c', ...; ours: a, a', b, b', c, c', ... */
static int64_t turned(const struct hf_source *s, int64_t row, int64_t rows)
{
    const int64_t heads = s->change == HF_TURN_KEYS ? s->shape->kv_heads : s->shape->heads;
    const int64_t width = rows / heads, head = row / width * width, at = row % width, half = width / 2;
    return head + (s->back ? at % half * 2 + at / half : at % 2 * half + at / 2);
}

/* Of the last `n` of `all`, the value heads of each key head. Theirs: a, a', b, b', c, c'; ours: a, b, c, a',
 * b', c'. */
static int64_t dealt(const struct hf_source *s, int64_t at, int64_t n, int64_t all)
{
    const int64_t heads = s->shape->linear_values, groups = s->shape->linear_keys;
    const int64_t width = n / heads, before = all - n, head = (at - before) / width;
    const int64_t columns = s->back ? heads / groups : groups;
    if (at < before)
        return at;
    return before + (head % columns * (heads / columns) + head / columns) * width + (at - before) % width;
}

/* The row of the source that a row becomes of. */
static int64_t row_of(const struct hf_source *s, int64_t row, int64_t rows)
{
    switch (s->change) {
    case HF_TURN_QUERIES:
    case HF_TURN_KEYS:
        return turned(s, row, rows);
    case HF_DEAL_ROWS:
    case HF_DEAL_RATES:
        return dealt(s, row, rows, rows);
    case HF_DEAL_LAST_ROWS:
        return dealt(s, row, hf_size(s->shape, HF_LINEAR_INNER), rows);
    case HF_SAME:
    case HF_PLUS_ONE:
    case HF_DEAL_COLUMNS:
        break;
    }
    return row;
}

/* `n` values, each `step` behind the one before: of quantised ones a block is read for each. */
static int values_read(
    const struct tensor *t, int64_t first, int64_t step, int64_t n, float *to, struct error *err)
{
    enum { BLOCK_MAX = 256 };
    float block[BLOCK_MAX];
    const int64_t size = tensor_type_info(t->type)->block_values;
    if (step == 1)
        return safetensor_values(t, first, n, to, err);
    int rc = size <= BLOCK_MAX ? 0 : error_set(err, ERROR_UNSUPPORTED, "blocks of a type are too large");
    for (int64_t i = 0; i < n && rc == 0; i++) {
        const int64_t at = first + i * step;
        rc = safetensor_values(t, at - at % size, size, block, err);
        to[i] = block[at % size];
    }
    return rc;
}

/* A row of MXFP4 (OCP Microscaling Formats 1.0) as gpt-oss has it: scales u8, 2^(s - 127), of 32 values each;
 * in a byte of the nibbles the earlier value is the lower one. */
static void packed_row(const struct hf_source *s, int64_t row, float *to)
{
    enum { BLOCK = 32 };
    const int64_t n = s->view[0].hf_columns;
    const uint8_t *nibbles = (const uint8_t *)s->parts[0]->data + row * (n / 2);
    const uint8_t *scales = (const uint8_t *)s->parts[1]->data + row * (n / BLOCK);
    for (int64_t i = 0; i < n; i++) {
        const int fp4 = nibbles[i / 2] >> i % 2 * 4 & 15;
        to[i] = (float)tensor_fp4_doubled[fp4] * tensor_half_e8m0(scales[i / BLOCK]);
    }
}

/* FP8 E4M3 without infinities (OCP 8-bit Floating Point 1.0): sign, 4 bits of exponent, 3 of fraction. */
static float e4m3(uint8_t x)
{
    const int exponent = x >> 3 & 15, fraction = x & 7;
    const float size = (x & 0x7F) == 0x7F ? NAN
                       : exponent > 0     ? ldexpf((float)(8 + fraction), exponent - 10)
                                          : ldexpf((float)fraction, -9);
    return x & 0x80 ? -size : size;
}

/* As values_read, of FP8. */
static int scaled_read(const struct hf_source *s, const struct tensor *t, const struct tensor *scales,
    int64_t first, int64_t step, int64_t n, float *to, struct error *err)
{
    const int64_t rows = s->fp8.rows > 0 ? s->fp8.rows : tensor_rows(t),
                  columns = s->fp8.columns > 0 ? s->fp8.columns : t->shape[0];
    int64_t last = -1;
    float scale = 0;
    int rc = 0;
    for (int64_t i = 0; i < n && rc == 0; i++) {
        const int64_t at = first + i * step, row = at / t->shape[0],
                      block = row / rows * scales->shape[0] + (at - row * t->shape[0]) / columns;
        if (block != last)
            rc = safetensor_values(scales, last = block, 1, &scale, err);
        to[i] = e4m3(((const uint8_t *)t->data)[at]) * scale;
    }
    return rc;
}

/* A row of the file's. */
static int file_row(const struct hf_source *s, int64_t row, float *to, struct error *err)
{
    const struct hf_view *v = &s->view[0];
    const int64_t rows = hf_view_rows(v), stack = row / rows, r = row_of(s, row % rows, rows);
    if (s->packed) {
        packed_row(s, stack * v->hf_rows + v->down.first + r * v->down.step, to);
        return 0;
    }
    const int64_t part = s->n_parts > 1 ? stack : 0;
    const struct tensor *t = s->parts[part], *scales = s->scales ? s->scales[part] : NULL;
    const int64_t above = (s->n_parts > 1 ? 0 : stack) * v->hf_rows + v->down.first;
    int64_t first = (above + r * v->down.step) * v->hf_columns, step = 1, n = v->hf_columns;
    if (v->across) {
        first = above * v->hf_columns + v->right.first + r * v->right.step;
        step = v->down.step * v->hf_columns;
        n = v->down.count;
    }
    return scales ? scaled_read(s, t, scales, first, step, n, to, err)
                  : values_read(t, first, step, n, to, err);
}

/* A row of the folder's, of what each part has of it. */
static int folder_row(const struct hf_source *s, int64_t row, float *to, struct error *err)
{
    const int64_t hf_rows = s->view[0].hf_rows, stack = row / hf_rows + s->skip;
    int rc = 0;
    for (int64_t p = 0; p < s->n_parts && rc == 0; p++) {
        const struct hf_view *v = &s->view[p];
        const int64_t rows = hf_view_rows(v), columns = hf_view_columns(v), above = stack * rows;
        int64_t r = row_of(s, row % hf_rows, hf_rows) - v->down.first;
        if (r < 0 || r % v->down.step != 0 || r / v->down.step >= v->down.count)
            continue;
        r /= v->down.step;
        if (!v->across)
            rc = values_read(s->parts[p], (above + r) * columns, 1, columns, to, err);
        for (int64_t i = 0; v->across && i < v->right.count && rc == 0; i++)
            rc = values_read(s->parts[p], (above + i) * columns + r, columns, 1,
                to + v->right.first + i * v->right.step, err);
    }
    return rc;
}

/* The one nearest to zero of those that become `rate` again. */
static float rate_undo(float rate)
{
    float x = logf(-rate);
    for (int i = 0; i < 4 && -expf(x) != rate; i++)
        x = nextafterf(x, -expf(x) > rate ? INFINITY : -INFINITY);
    return x;
}

static int columns_deal(const struct hf_source *s, int64_t unit, int64_t n, float *to, struct error *err)
{
    float *row = malloc((size_t)unit * sizeof *row);
    if (!row)
        return error_set(err, ERROR_MEMORY, "no memory for a row of %lld values", (long long)unit);
    for (int64_t i = 0; i < n; i++, to += unit) {
        memcpy(row, to, (size_t)unit * sizeof *row);
        for (int64_t c = 0; c < unit; c++)
            to[c] = row[dealt(s, c, unit, unit)];
    }
    free(row);
    return 0;
}

static int values_change(const struct hf_source *s, int64_t unit, int64_t n, float *to, struct error *err)
{
    if (s->change == HF_DEAL_COLUMNS)
        return columns_deal(s, unit, n, to, err);
    for (int64_t i = 0; i < n * unit && s->change == HF_PLUS_ONE; i++)
        to[i] += s->back ? -1.0f : 1.0f;
    for (int64_t i = 0; i < n * unit && s->change == HF_DEAL_RATES; i++)
        to[i] = s->back ? rate_undo(to[i]) : -expf(to[i]);
    return 0;
}

/* Rows [first, first + n) of a result whose rows have `width` values: those of the view, or several of its
 * rows in one where they have a value each. */
static int source_rows(
    const struct hf_source *s, int64_t width, int64_t first, int64_t n, float *to, struct error *err)
{
    int rc = 0;
    if (s->made) {
        memcpy(to, s->made + first * width, (size_t)(n * width) * sizeof *to);
        return 0;
    }
    const int64_t unit = s->back ? s->view[0].hf_columns : hf_view_columns(&s->view[0]);
    first *= width / unit;
    n *= width / unit;
    for (int64_t i = 0; i < n && rc == 0; i++)
        rc = s->back ? folder_row(s, first + i, to + i * unit, err)
                     : file_row(s, first + i, to + i * unit, err);
    return rc ? rc : values_change(s, unit, n, to, err);
}

/* ---- Lists ---- */
int hf_list_add(
    struct hf_list *list, const struct pour_tensor *tensor, const struct hf_source *source, struct error *err)
{
    if (list->n == list->room) {
        list->room = list->room ? 2 * list->room : 1024;
        struct pour_tensor *tensors = realloc(list->tensors, list->room * sizeof *tensors);
        list->tensors = tensors ? tensors : list->tensors;
        struct hf_source *sources = realloc(list->sources, list->room * sizeof *sources);
        list->sources = sources ? sources : list->sources;
        if (!tensors || !sources)
            return error_set(err, ERROR_MEMORY, "no memory for %zu tensors", list->room);
    }
    list->tensors[list->n] = *tensor;
    list->sources[list->n++] = *source;
    return 0;
}

void hf_list_free(struct hf_list *list)
{
    free(list->tensors);
    free(list->sources);
    *list = (struct hf_list){0};
}

uint64_t hf_list_bytes(const struct hf_list *list)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < list->n; i++)
        bytes += pour_bytes(&list->tensors[i]);
    return bytes;
}

static int list_rows(void *ctx, size_t i, int64_t first, int64_t n, float *to, struct error *err)
{
    const struct hf_list *list = ctx;
    return source_rows(&list->sources[i], list->tensors[i].shape[0], first, n, to, err);
}

struct pour hf_list_pour(const struct pour *how, struct hf_list *list)
{
    struct pour pour = *how;
    pour.begin = NULL;
    pour.rows = list_rows;
    pour.ctx = list;
    return pour;
}

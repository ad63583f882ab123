#include "train/hf/source.h"

#include <stdlib.h>
#include <string.h>

#include "train/hf/safetensors.h"

/* Within a head of `width` rows. Theirs: a, b, c, ... a', b', c', ...; ours: a, a', b, b', c, c', ... */
static int64_t turned(const struct hf_source *s, int64_t row, int64_t rows)
{
    if (s->change != HF_TURN_QUERIES && s->change != HF_TURN_KEYS)
        return row;
    const int64_t width = rows / s->heads, head = row / width * width, at = row % width, half = width / 2;
    return head + (s->back ? at % half * 2 + at / half : at % 2 * half + at / 2);
}

/* A column of the one part. */
static int column_read(const struct tensor *t, int64_t column, int64_t n, float *to, struct error *err)
{
    int rc = 0;
    for (int64_t i = 0; i < n && rc == 0; i++)
        rc = safetensor_values(t, i * t->shape[0] + column, 1, to + i, err);
    return rc;
}

int hf_source_rows(const struct hf_source *s, int64_t row, bool vector, int64_t rows, int64_t first,
    int64_t n, float *to, struct error *err)
{
    int rc = 0;
    if (s->made) {
        memcpy(to, s->made + first * row, (size_t)(n * row) * sizeof *to);
        return 0;
    }
    if (vector) { /* one row: its values are moved as rows of one */
        rows = row;
        n = row;
        row = 1;
    }
    const int64_t part_rows = rows / s->n_parts;
    const bool in_order = turned(s, 1, part_rows) == 1 && !s->transposed;
    for (int64_t i = 0, take; i < n && rc == 0; i += take) {
        const int64_t at = (first + i) % part_rows, left = part_rows - at;
        const struct tensor *t = s->parts[(first + i) / part_rows];
        take = !in_order ? 1 : n - i < left ? n - i : left;
        rc = s->transposed ? column_read(t, at, row, to + i * row, err)
                           : safetensor_values(t, (s->first + turned(s, at, part_rows)) * row, take * row,
                                 to + i * row, err);
    }
    const float more = s->change == HF_PLUS_ONE ? (s->back ? -1.0f : 1.0f) : 0;
    for (int64_t i = 0; i < n * row && more != 0; i++)
        to[i] += more;
    return rc;
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
    const struct pour_tensor *t = &list->tensors[i];
    return hf_source_rows(
        &list->sources[i], t->shape[0], t->n_dims == 1, t->shape[1] * t->shape[2], first, n, to, err);
}

struct pour hf_list_pour(const struct pour *how, struct hf_list *list)
{
    struct pour pour = *how;
    pour.begin = NULL;
    pour.rows = list_rows;
    pour.ctx = list;
    return pour;
}

/* How large a difference must be to be among the largest: its bits are counted, first their upper half, then
 * the lower half of those that share the k-th one's upper half. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train/merge.h"

enum { HALF = 1 << 16, PIECE = 1 << 14 };

struct count {
    const struct tensor *a, *b;
    uint64_t *bins; /* HALF of them */
    float *x, *y;   /* some rows of each */
    int64_t rows;   /* that they hold */
};

/* Counts the upper halves; or with `upper` >= 0 the lower halves of those with this one. */
static int pass(const struct count *c, int64_t upper, const char *path, struct error *err)
{
    const int64_t total = tensor_rows(c->a), row = c->a->shape[0];
    int rc = 0;
    memset(c->bins, 0, HALF * sizeof *c->bins);
    for (int64_t i = 0; i < total && rc == 0; i += c->rows) {
        const int64_t n = total - i < c->rows ? total - i : c->rows;
        rc = merge_rows(c->a, i, n, c->x, err);
        rc = rc ? rc : merge_rows(c->b, i, n, c->y, err);
        for (int64_t k = 0; k < n * row && rc == 0; k++) {
            const float size = fabsf(c->x[k] - c->y[k]);
            uint32_t bits;
            if (!isfinite(size))
                return error_set(err, ERROR_INVALID,
                    "tensor '" STR_FMT "' of %s, or of the base, holds a value that is no number",
                    STR_ARG(c->a->name), path);
            memcpy(&bits, &size, sizeof bits);
            if (upper < 0)
                c->bins[bits >> 16]++;
            else if (bits >> 16 == (uint32_t)upper)
                c->bins[bits & (HALF - 1)]++;
        }
    }
    return rc;
}

/* The bin of the k-th largest; *k becomes its place in there. */
static uint32_t bin_of(const uint64_t *bins, uint64_t *k)
{
    uint32_t bin = HALF - 1;
    for (; bin > 0 && bins[bin] < *k; bin--)
        *k -= bins[bin];
    return bin;
}

static int threshold(const struct count *c, uint64_t k, const char *path, float *out, struct error *err)
{
    int rc = pass(c, -1, path, err);
    if (rc)
        return rc;
    const uint32_t upper = bin_of(c->bins, &k);
    rc = pass(c, upper, path, err);
    const uint32_t bits = upper << 16 | bin_of(c->bins, &k);
    memcpy(out, &bits, sizeof bits);
    return rc;
}

int merge_threshold(const struct tensor *a, const struct tensor *b, double density, const char *path,
    float *out, struct error *err)
{
    const int64_t row = a->shape[0], rows = row < PIECE ? PIECE / row : 1;
    const double wanted = density * (double)row * (double)tensor_rows(a);
    struct count c = {.a = a, .b = b, .rows = rows};
    c.bins = malloc(HALF * sizeof *c.bins);
    c.x = malloc((size_t)(rows * row) * sizeof *c.x);
    c.y = malloc((size_t)(rows * row) * sizeof *c.y);
    int rc = c.bins && c.x && c.y ? threshold(&c, wanted < 1 ? 1 : (uint64_t)wanted, path, out, err)
                                  : error_set(err, ERROR_MEMORY, "no memory to merge tensors");
    free(c.bins);
    free(c.x);
    free(c.y);
    return rc;
}

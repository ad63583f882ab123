#include "train/imatrix_collect.h"

#include <float.h>
#include <stdlib.h>

struct collector_matrix {
    const void *data;
    struct str name;
};

static int matrix_compare(const void *a, const void *b)
{
    const struct collector_matrix *x = a, *y = b;
    return (x->data > y->data) - (x->data < y->data);
}

/* NULL: no matrix of a layer begins there. A matrix that is several in one, whose parts are multiplied apart,
 * is counted by its first part: all have the same input. */
static struct collector_matrix *matrix_find(const struct collector *c, const void *data)
{
    const struct collector_matrix key = {.data = data};
    return c->n_matrices > 0 ? bsearch(&key, c->matrices, c->n_matrices, sizeof *c->matrices, matrix_compare)
                             : NULL;
}

static void row_add(struct collector *c, struct imatrix_entry *e, int64_t expert, const float *x, int64_t n)
{
    double *sums = e->sums + expert * n;
    for (int64_t i = 0; i < n; i++) {
        sums[i] += (double)x[i] * (double)x[i];
        if (!(sums[i] <= (double)FLT_MAX) && !c->failed)
            c->failed = error_set(&c->err, ERROR_INVALID,
                "what reaches '" STR_FMT "' is no number: the model is broken", STR_ARG(e->name));
    }
}

/* One count is for all heads of a matrix, one for each expert. */
static struct imatrix_entry *entry_of(
    struct collector *c, const struct collector_matrix *m, int64_t n_values, int64_t n_counts)
{
    struct imatrix_entry *e = NULL;
    if (!c->failed)
        c->failed = imatrix_entry(c->into, m->name, n_values, n_counts, &e, &c->err);
    return c->failed ? NULL : e;
}

static void experts_add(struct collector *c, const struct collector_matrix *m, const struct weight *w,
    struct program_rows x, struct program_rows routes)
{
    struct imatrix_entry *e = entry_of(c, m, w->n_in * w->n_experts, w->n_experts);
    const int32_t n_used = routes.width / 2;
    const bool own = x.width != w->n_in; /* each expert has an input of its own */
    for (int64_t row = 0; e && row < x.rows; row++)
        for (int32_t i = 0; i < n_used; i++) {
            const int64_t expert = (int64_t)routes.data[row * routes.width + i];
            row_add(c, e, expert, x.data + row * x.width + (own ? i * w->n_in : 0), w->n_in);
            e->counts[expert]++;
        }
}

static void rows_add(struct collector *c, const struct collector_matrix *m, int64_t n_in, int64_t n_matrices,
    struct program_rows x)
{
    struct imatrix_entry *e = entry_of(c, m, n_in * n_matrices, 1);
    for (int64_t row = 0; e && row < x.rows; row++) {
        for (int64_t i = 0; i < n_matrices; i++)
            row_add(c, e, i, x.data + row * x.width + i * n_in, n_in);
        e->counts[0]++;
    }
}

static void product(void *ctx, const struct op *op, struct program_rows a, struct program_rows b)
{
    struct collector *c = ctx;
    const struct linear_heads *heads = op->kind == OP_MATMUL_HEADS ? op->linear_heads : NULL;
    const struct weight *w = heads ? &heads->weight : &op->linear->weight;
    const struct collector_matrix *m = matrix_find(c, w->data);
    if (!m || (heads && (heads->transposed || w->n_experts != heads->n_heads)))
        return;
    if (op->kind == OP_MATMUL_EXPERTS)
        experts_add(c, m, w, a, b);
    else
        rows_add(c, m, w->n_in, heads ? heads->n_heads : 1, a);
}

int collector_create(
    const struct gguf *g, bool output, struct imatrix *into, struct collector *out, struct error *err)
{
    *out = (struct collector){.into = into, .watch = {product, out}};
    out->matrices = calloc(gguf_n_tensors(g) + 1, sizeof *out->matrices);
    if (!out->matrices)
        return error_set(err, ERROR_MEMORY, "no memory for %zu tensors", gguf_n_tensors(g));
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct tensor *t = gguf_tensor_at(g, i);
        const bool counts = (str_starts(t->name, STR("blk.")) && str_ends(t->name, STR(".weight"))) ||
                            (output && str_is(t->name, "output.weight"));
        if (counts)
            out->matrices[out->n_matrices++] = (struct collector_matrix){t->data, t->name};
    }
    qsort(out->matrices, out->n_matrices, sizeof *out->matrices, matrix_compare);
    return 0;
}

void collector_free(struct collector *c)
{
    free(c->matrices);
    c->matrices = NULL;
    c->n_matrices = 0;
}

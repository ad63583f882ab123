#include "train/merge_lora.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "engine/worker/lora.h"

/* NAME.lora_a or NAME.lora_b. */
static const struct tensor *half(const struct gguf *g, const char *name, char which)
{
    char full[TENSOR_NAME_MAX + 16];
    snprintf(full, sizeof full, "%s.lora_%c", name, which);
    return gguf_tensor_find(g, full);
}

bool merge_lora_has(const struct merge_input *adapter, const char *name)
{
    return half(adapter->gguf, name, 'a') || half(adapter->gguf, name, 'b');
}

/* ---- Checking ---- */
static bool fits(const struct tensor *w, const struct tensor *a, const struct tensor *b, bool table)
{
    const int64_t rank = b->shape[0];
    if (rank < 1 || rank > LORA_RANK_MAX || a->shape[2] != w->shape[2] || b->shape[2] != w->shape[2] ||
        w->shape[3] != 1 || a->shape[3] != 1 || b->shape[3] != 1 || !tensor_type_readable(a->type) ||
        !tensor_type_readable(b->type))
        return false;
    return table ? a->shape[0] == rank && a->shape[1] == w->shape[1] && b->shape[1] == w->shape[0]
                 : a->shape[0] == w->shape[0] && a->shape[1] == rank && b->shape[1] == w->shape[1];
}

/* A half, by its name: the weight is there and both halves fit it. */
static int tensor_check(
    const struct merge_input *in, const struct gguf *base, struct str name, struct error *err)
{
    char text[TENSOR_NAME_MAX + 1];
    const bool is_half = str_ends(name, STR(".lora_a")) || str_ends(name, STR(".lora_b"));
    if (str_ends(name, STR("_norm.weight"))) {
        log_warn(
            "merge", "the adapter's own '" STR_FMT "' is not used", STR_ARG(name)); /* as the engine does */
        return 0;
    }
    if (!is_half)
        return error_set(err, ERROR_INVALID, "%s holds '" STR_FMT "', which is neither lora_a nor lora_b",
            in->path, STR_ARG(name));
    snprintf(text, sizeof text, "%.*s", (int)(name.len - strlen(".lora_a")), name.data);
    const struct tensor *w = gguf_tensor_find(base, text), *a = half(in->gguf, text, 'a'),
                        *b = half(in->gguf, text, 'b');
    if (!w)
        return error_set(err, ERROR_INVALID,
            "%s changes '%s', which the model does not have: it is another's", in->path, text);
    if (!a || !b)
        return error_set(
            err, ERROR_INVALID, "%s lacks '%s.lora_%c': it is incomplete", in->path, text, a ? 'b' : 'a');
    if (!fits(w, a, b, strcmp(text, LORA_EMBEDDING) == 0))
        return error_set(err, ERROR_INVALID,
            "%s changes '%s' by %lld x %lld and %lld x %lld, the model's is %lld x %lld: it is another "
            "model's",
            in->path, text, (long long)a->shape[0], (long long)a->shape[1], (long long)b->shape[0],
            (long long)b->shape[1], (long long)w->shape[0], (long long)w->shape[1]);
    return 0;
}

int merge_lora_check(const struct merge_input *in, const struct gguf *base, struct error *err)
{
    struct str type = STR_NONE, kind = STR_NONE;
    int rc = gguf_get_str(in->gguf, "general.type", STR_NONE, &type, err);
    rc = rc ? rc : gguf_get_str(in->gguf, "adapter.type", STR_NONE, &kind, err);
    if (rc == 0 && (!str_is(type, "adapter") || !str_is(kind, "lora")))
        rc = error_set(err, ERROR_INVALID, "%s is no LoRA adapter: is it a model?", in->path);
    for (size_t i = 0; i < gguf_n_tensors(in->gguf) && rc == 0; i++)
        rc = tensor_check(in, base, gguf_tensor_at(in->gguf, i)->name, err);
    return rc;
}

/* ---- Adding ---- */
static int floats(const struct tensor *t, float **out, struct error *err)
{
    const int64_t n = t->shape[0] * tensor_rows(t);
    free(*out);
    *out = malloc((size_t)n * sizeof **out);
    return *out ? tensor_dequantize(t->type, t->data, *out, n, err)
                : error_set(err, ERROR_MEMORY, "no memory for an adapter's tensor");
}

int merge_lora_read(
    struct merge_lora *l, const struct merge_input *in, const struct tensor *weight, struct error *err)
{
    char name[TENSOR_NAME_MAX + 1];
    float alpha;
    snprintf(name, sizeof name, STR_FMT, STR_ARG(weight->name));
    const struct tensor *a = half(in->gguf, name, 'a'), *b = half(in->gguf, name, 'b');
    l->rank = 0;
    if (!a || !b)
        return 0;
    int rc = gguf_get_f32(in->gguf, "adapter.lora.alpha", 0, &alpha, err);
    rc = rc ? rc : floats(a, &l->a, err);
    rc = rc ? rc : floats(b, &l->b, err);
    l->rank = rc ? 0 : b->shape[0];
    l->n_in = weight->shape[0];
    l->n_out = weight->shape[1];
    l->table = strcmp(name, LORA_EMBEDDING) == 0;
    l->scale = (float)in->weight * (alpha != 0 ? alpha / (float)b->shape[0] : 1);
    return rc;
}

/* Row o of B A: what B's row o makes of A's rows. Of a table: what B makes of A's row o. */
static void row_add(const struct merge_lora *l, int64_t row, float *to)
{
    const int64_t expert = row / l->n_out, o = row % l->n_out, rank = l->rank;
    const float *a = l->a + expert * rank * (l->table ? l->n_out : l->n_in);
    const float *b = l->b + expert * rank * (l->table ? l->n_in : l->n_out);
    for (int64_t i = 0; i < l->n_in && l->table; i++)
        for (int64_t r = 0; r < rank; r++)
            to[i] += l->scale * b[i * rank + r] * a[o * rank + r];
    for (int64_t r = 0; r < rank && !l->table; r++) {
        const float by = l->scale * b[o * rank + r];
        for (int64_t i = 0; i < l->n_in; i++)
            to[i] += by * a[r * l->n_in + i];
    }
}

void merge_lora_add(const struct merge_lora *l, int64_t first, int64_t n, float *rows)
{
    for (int64_t i = 0; i < n && l->rank > 0; i++)
        row_add(l, first + i, rows + i * l->n_in);
}

void merge_lora_free(struct merge_lora *l)
{
    free(l->a);
    free(l->b);
    *l = (struct merge_lora){0};
}

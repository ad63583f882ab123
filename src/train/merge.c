#include "train/merge.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/merge_lora.h"

/* A tensor while it is poured. */
struct merging {
    const struct merge_job *job;
    struct pour_tensor *tensors;
    char (*names)[TENSOR_NAME_MAX + 1];
    size_t n;
    struct merge_lora loras[MERGE_INPUTS_MAX]; /* what adapters add to it */
    double slerp[2];                           /* what the two count */
    float thresholds[MERGE_INPUTS_MAX];        /* of each difference: smaller ones are nothing */
};

int merge_rows(const struct tensor *t, int64_t first, int64_t n, float *to, struct error *err)
{
    const char *from = (const char *)t->data + (size_t)first * tensor_row_bytes(t->type, t->shape[0]);
    return tensor_dequantize(t->type, from, to, n * t->shape[0], err);
}

/* The tensor of that place in the first model, in another one. */
static const struct tensor *tensor_of(const struct merging *m, size_t i, int input)
{
    return gguf_tensor_find(m->job->inputs[input].gguf, m->names[i]);
}

/* ---- Rows ---- */

/* to += weight * rows of it; `more`: room for as many. */
static int rows_add(
    const struct tensor *t, int64_t first, int64_t n, float weight, float *more, float *to, struct error *err)
{
    int rc = merge_rows(t, first, n, more, err);
    for (int64_t k = 0; k < n * t->shape[0] && rc == 0; k++)
        to[k] += weight * more[k];
    return rc;
}

static int weighted_rows(
    const struct merging *m, size_t i, int64_t first, int64_t n, float *more, float *to, struct error *err)
{
    const struct merge_job *job = m->job;
    int rc = 0;
    memset(to, 0, (size_t)(n * m->tensors[i].shape[0]) * sizeof *to);
    for (int k = 0; k < job->n && rc == 0; k++)
        rc = rows_add(tensor_of(m, i, k), first, n,
            (float)(job->kind == MERGE_SLERP ? m->slerp[k] : job->inputs[k].weight), more, to, err);
    return rc;
}

/* Of each value: the sign that the kept differences together have, and the mean of those with that sign. */
static int ties_rows(
    const struct merging *m, size_t i, int64_t first, int64_t n, float *more, float *to, struct error *err)
{
    const struct merge_job *job = m->job;
    const int64_t count = n * m->tensors[i].shape[0];
    int rc = merge_rows(tensor_of(m, i, 0), first, n, to, err);
    for (int k = 1; k < job->n && rc == 0; k++)
        rc = merge_rows(tensor_of(m, i, k), first, n, more + (k - 1) * count, err);
    for (int64_t v = 0; v < count && rc == 0; v++) {
        double mass = 0, sum = 0, weights = 0;
        for (int k = 1; k < job->n; k++) {
            float *d = &more[(k - 1) * count + v];
            *d = *d - to[v];
            *d = fabsf(*d) >= m->thresholds[k] ? *d : 0;
            mass += job->inputs[k].weight * (double)*d;
        }
        for (int k = 1; k < job->n; k++) {
            const double d = (double)more[(k - 1) * count + v], w = job->inputs[k].weight;
            const bool agrees = d != 0 && mass != 0 && (w * d > 0) == (mass > 0);
            sum += agrees ? w * d : 0;
            weights += agrees ? w : 0;
        }
        to[v] += (float)(weights != 0 ? job->weight * sum / weights : 0);
    }
    return rc;
}

static int lora_rows(
    const struct merging *m, size_t i, int64_t first, int64_t n, float *to, struct error *err)
{
    int rc = merge_rows(tensor_of(m, i, 0), first, n, to, err);
    for (int k = 1; k < m->job->n && rc == 0; k++)
        merge_lora_add(&m->loras[k], first, n, to);
    return rc;
}

static int rows_make(void *ctx, size_t i, int64_t first, int64_t n, float *to, struct error *err)
{
    const struct merging *m = ctx;
    if (m->job->kind == MERGE_LORA)
        return lora_rows(m, i, first, n, to, err);
    const size_t count =
        (size_t)(n * m->tensors[i].shape[0]) * (size_t)(m->job->kind == MERGE_TIES ? m->job->n - 1 : 1);
    float *more = malloc(count * sizeof *more);
    if (!more)
        return error_set(err, ERROR_MEMORY, "no memory to merge tensor '%s'", m->names[i]);
    int rc = m->job->kind == MERGE_TIES ? ties_rows(m, i, first, n, more, to, err)
                                        : weighted_rows(m, i, first, n, more, to, err);
    free(more);
    return rc;
}

/* ---- Before a tensor's rows ---- */

/* Tensors that point the same way, or have no way, are mixed along the line. */
static int slerp_begin(struct merging *m, size_t i, struct error *err)
{
    const struct tensor *a = tensor_of(m, i, 0), *b = tensor_of(m, i, 1);
    const int64_t row = a->shape[0];
    double aa = 0, bb = 0, ab = 0;
    float *x = malloc((size_t)row * 2 * sizeof *x), *y = x + row;
    int rc = x ? 0 : error_set(err, ERROR_MEMORY, "no memory to merge tensor '%s'", m->names[i]);
    for (int64_t r = 0; r < tensor_rows(a) && rc == 0; r++) {
        rc = merge_rows(a, r, 1, x, err);
        rc = rc ? rc : merge_rows(b, r, 1, y, err);
        for (int64_t k = 0; k < row && rc == 0; k++) {
            aa += (double)x[k] * (double)x[k];
            bb += (double)y[k] * (double)y[k];
            ab += (double)x[k] * (double)y[k];
        }
    }
    free(x);
    if (rc)
        return rc;
    if (!isfinite(aa) || !isfinite(bb))
        return error_set(err, ERROR_INVALID,
            "tensor '%s' holds a value that is no number: nothing is written", m->names[i]);
    const double t = m->job->t, cosine = aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 1;
    const bool straight = fabs(cosine) > 0.9995;
    const double angle = straight ? 1 : acos(cosine);
    m->slerp[0] = straight ? 1 - t : sin((1 - t) * angle) / sin(angle);
    m->slerp[1] = straight ? t : sin(t * angle) / sin(angle);
    return 0;
}

static int begin(void *ctx, size_t i, struct error *err)
{
    struct merging *m = ctx;
    const struct merge_job *job = m->job;
    int rc = job->kind == MERGE_SLERP ? slerp_begin(m, i, err) : 0;
    for (int k = 1; k < job->n && rc == 0; k++) {
        m->thresholds[k] = 0;
        if (job->kind == MERGE_TIES)
            rc = merge_threshold(tensor_of(m, i, k), tensor_of(m, i, 0), job->density, job->inputs[k].path,
                &m->thresholds[k], err);
        else if (job->kind == MERGE_LORA)
            rc = merge_lora_read(&m->loras[k], &job->inputs[k], tensor_of(m, i, 0), err);
    }
    return rc;
}

/* ---- What is merged must be alike ---- */
static int architecture_check(const struct merge_job *job, int k, struct error *err)
{
    struct str a, b;
    int rc = gguf_get_str(job->inputs[0].gguf, "general.architecture", STR_NONE, &a, err);
    rc = rc ? rc : gguf_get_str(job->inputs[k].gguf, "general.architecture", STR_NONE, &b, err);
    if (rc == 0 && !str_eq(a, b))
        rc = error_set(err, ERROR_INVALID,
            "%s is a '" STR_FMT "', %s a '" STR_FMT "': only models of one kind can be merged",
            job->inputs[0].path, STR_ARG(str_slice(a, 0, 60)), job->inputs[k].path,
            STR_ARG(str_slice(b, 0, 60)));
    return rc;
}

static int vocabulary_check(const struct merge_job *job, int k, struct error *err)
{
    struct gguf_array a, b;
    struct str x, y;
    size_t at = 0, bt = 0;
    int rc = gguf_get_array(job->inputs[0].gguf, "tokenizer.ggml.tokens", GGUF_STRING, &a, err);
    rc = rc ? rc : gguf_get_array(job->inputs[k].gguf, "tokenizer.ggml.tokens", GGUF_STRING, &b, err);
    if (rc == 0 && a.count != b.count)
        rc = error_set(err, ERROR_INVALID, "%s has %llu tokens, %s %llu: their vocabularies differ",
            job->inputs[0].path, (unsigned long long)a.count, job->inputs[k].path,
            (unsigned long long)b.count);
    for (uint64_t i = 0; rc == 0 && gguf_array_next(&a, &at, &x) && gguf_array_next(&b, &bt, &y); i++)
        if (!str_eq(x, y))
            rc = error_set(err, ERROR_INVALID,
                "token %llu is '" STR_FMT "' in %s, '" STR_FMT "' in %s: their vocabularies differ",
                (unsigned long long)i, STR_ARG(str_slice(x, 0, 60)), job->inputs[0].path,
                STR_ARG(str_slice(y, 0, 60)), job->inputs[k].path);
    return rc;
}

static int tensors_check(const struct merging *m, int k, struct error *err)
{
    const struct merge_input *in = &m->job->inputs[k];
    if (gguf_n_tensors(in->gguf) > m->n)
        for (size_t i = 0; i < gguf_n_tensors(in->gguf); i++) {
            char name[TENSOR_NAME_MAX + 1];
            snprintf(name, sizeof name, STR_FMT, STR_ARG(gguf_tensor_at(in->gguf, i)->name));
            if (!gguf_tensor_find(m->job->inputs[0].gguf, name))
                return error_set(err, ERROR_INVALID, "%s has tensor '%s', which %s lacks", in->path, name,
                    m->job->inputs[0].path);
        }
    for (size_t i = 0; i < m->n; i++) {
        const struct tensor *a = gguf_tensor_at(m->job->inputs[0].gguf, i), *b = tensor_of(m, i, k);
        if (!b)
            return error_set(err, ERROR_INVALID, "%s lacks tensor '%s', which %s has", in->path, m->names[i],
                m->job->inputs[0].path);
        if (memcmp(a->shape, b->shape, sizeof a->shape) != 0)
            return error_set(err, ERROR_INVALID, "tensor '%s' is %lld x %lld in %s, %lld x %lld in %s",
                m->names[i], (long long)tensor_rows(a), (long long)a->shape[0], m->job->inputs[0].path,
                (long long)tensor_rows(b), (long long)b->shape[0], in->path);
        if (!tensor_type_readable(b->type))
            return error_set(err, ERROR_UNSUPPORTED, "tensor '%s' of %s is of a type that cannot be read",
                m->names[i], in->path);
    }
    return 0;
}

static int inputs_check(struct merging *m, struct error *err)
{
    int rc = 0;
    for (int k = 1; k < m->job->n && rc == 0; k++) {
        rc = architecture_check(m->job, k, err);
        if (m->job->kind == MERGE_LORA) {
            rc = rc ? rc : merge_lora_check(&m->job->inputs[k], m->job->inputs[0].gguf, err);
        } else {
            rc = rc ? rc : vocabulary_check(m->job, k, err);
            rc = rc ? rc : tensors_check(m, k, err);
        }
    }
    return rc;
}

/* ---- The file ---- */
static bool is_changed(const struct merging *m, size_t i)
{
    bool changed = m->job->kind != MERGE_LORA;
    for (int k = 1; k < m->job->n && !changed; k++)
        changed = merge_lora_has(&m->job->inputs[k], m->names[i]);
    return changed;
}

static int tensors_plan(struct merging *m, struct error *err)
{
    const struct gguf *g = m->job->inputs[0].gguf;
    enum tensor_type *types = calloc(gguf_n_tensors(g) + 1, sizeof *types);
    m->n = gguf_n_tensors(g);
    m->tensors = calloc(m->n + 1, sizeof *m->tensors);
    m->names = calloc(m->n + 1, sizeof *m->names);
    int rc =
        types && m->tensors && m->names ? 0 : error_set(err, ERROR_MEMORY, "no memory for %zu tensors", m->n);
    if (rc == 0 && m->job->mix)
        rc = quantize_choose(g, m->job->mix, types, err);
    for (size_t i = 0; i < m->n && rc == 0; i++) {
        const struct tensor *t = gguf_tensor_at(g, i);
        struct pour_tensor *to = &m->tensors[i];
        snprintf(m->names[i], sizeof m->names[i], STR_FMT, STR_ARG(t->name));
        *to = (struct pour_tensor){.name = m->names[i], .n_dims = t->n_dims};
        memcpy(to->shape, t->shape, sizeof to->shape);
        to->type = m->job->mix ? types[i] : pour_type_of(t);
        if (!is_changed(m, i) && (!m->job->mix || types[i] == t->type)) {
            to->same = t;
            to->type = t->type;
        }
    }
    free(types);
    return rc;
}

static int file_make(struct merging *m, struct merge_job *job, struct error *err)
{
    static const char *const own[] = {"general.file_type", "general.quantization_version", NULL};
    struct gguf_writer w;
    struct pour pour = job->pour;
    pour.begin = begin;
    pour.rows = rows_make;
    pour.ctx = m;
    gguf_writer_init(&w);
    file_copy_pairs(&w, job->inputs[0].gguf, job->mix ? own : NULL);
    if (job->mix) {
        gguf_write_u32(&w, own[0], job->mix->file_type);
        gguf_write_u32(&w, own[1], 2);
    }
    int rc = pour_gguf(&pour, m->tensors, m->n, &w, job->to, err);
    job->tensors = m->n;
    job->bytes = w.data_bytes;
    gguf_writer_free(&w);
    return rc;
}

int merge_run(struct merge_job *job, struct error *err)
{
    struct merging *m = calloc(1, sizeof *m);
    int rc = m ? 0 : error_set(err, ERROR_MEMORY, "no memory to merge");
    for (int k = 0; k < job->n && rc == 0; k++)
        rc = file_open_model(job->inputs[k].path, &job->inputs[k].gguf, err);
    if (m)
        m->job = job;
    rc = rc ? rc : tensors_plan(m, err);
    rc = rc ? rc : inputs_check(m, err);
    rc = rc ? rc : file_make(m, job, err);
    for (int k = 0; k < job->n; k++) {
        if (m)
            merge_lora_free(&m->loras[k]);
        gguf_close(job->inputs[k].gguf);
    }
    if (m) {
        free(m->tensors);
        free(m->names);
    }
    free(m);
    return rc;
}

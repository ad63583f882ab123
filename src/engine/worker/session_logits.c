/* LOGITS: what the model makes of given tokens, for comparison with other engines. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/worker/session_inner.h"

enum { TOP_DEFAULT = 32 };

struct logits_job {
    int32_t top, greedy, n_vocab;
    int32_t drawn; /* greedy tokens so far */
    struct buf json;
    struct json_writer w;
};

struct ranked {
    int32_t id;
    float value;
};

static int rank_compare(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (isnan(x->value) != isnan(y->value))
        return isnan(x->value) ? 1 : -1;
    if (x->value != y->value && !isnan(x->value))
        return x->value > y->value ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static int top_write(struct logits_job *job, const float *row, struct error *err)
{
    struct ranked *ranked = calloc((size_t)job->n_vocab, sizeof *ranked);
    if (!ranked)
        return error_set(err, ERROR_MEMORY, "no memory to sort the logits: try again later");
    for (int32_t id = 0; id < job->n_vocab; id++)
        ranked[id] = (struct ranked){id, row[id]};
    qsort(ranked, (size_t)job->n_vocab, sizeof *ranked, rank_compare);
    if (!isfinite(ranked[0].value)) {
        free(ranked);
        return error_set(
            err, ERROR_INTERNAL, "the model computed no usable number: its file is broken, fetch it again");
    }
    json_key(&job->w, "logits");
    json_array_begin(&job->w);
    for (int32_t i = 0; i < job->top; i++) {
        json_array_begin(&job->w);
        json_write_int(&job->w, ranked[i].id);
        json_write_double(&job->w, (double)ranked[i].value);
        json_array_end(&job->w);
    }
    json_array_end(&job->w);
    free(ranked);
    json_key(&job->w, "greedy");
    json_array_begin(&job->w);
    return 0;
}

static int started(void *ctx, size_t cached, struct error *err)
{
    (void)ctx;
    (void)cached;
    (void)err;
    return 0;
}

static int logits(void *ctx, float *row, int32_t *next, struct error *err)
{
    struct call *call = ctx;
    struct logits_job *job = call->data;
    if (job->drawn == 0) {
        int rc = top_write(job, row, err);
        if (rc)
            return rc;
    }
    if (job->drawn == job->greedy)
        return 0;
    *next = 0;
    for (int32_t id = 1; id < job->n_vocab; id++)
        if (row[id] > row[*next] || isnan(row[*next]))
            *next = id;
    json_write_int(&job->w, *next);
    return ++job->drawn < job->greedy;
}

static void ended(void *ctx, int rc, const struct error *err)
{
    struct call *call = ctx;
    struct logits_job *job = call->data;
    call->sequence = NULL;
    if (rc) {
        session_send_error(call->session, call->id, rc, err);
    } else {
        json_array_end(&job->w);
        json_object_end(&job->w);
        session_send_result(call->session, call->id, &job->json);
    }
    call_free(call);
}

static const struct sequence_ops ops = {.started = started, .logits = logits, .ended = ended};

static void job_free(struct call *call)
{
    struct logits_job *job = call->data;
    buf_free(&job->json);
    free(job);
}

/* Reads the request into the job and the tokens. */
static int job_read(struct session *s, struct str payload, struct logits_job *job, struct token_list *tokens,
    struct error *err)
{
    json_t *root;
    int64_t top, greedy;
    int rc = json_read(payload, &root, err);
    if (rc)
        return rc;
    job->n_vocab = model_info(s->model)->n_vocab;
    rc = session_ids_read(root, "tokens", tokens, err);
    if (rc == 0)
        rc = json_get_int(root, "top", TOP_DEFAULT, 0, INT32_MAX, &top, err);
    if (rc == 0)
        rc = json_get_int(root, "greedy", 0, 0, INT32_MAX, &greedy, err);
    json_decref(root);
    if (rc)
        return rc;
    /* The last greedy token is drawn but not computed on. */
    if (greedy > 0 && (int64_t)tokens->count + greedy - 1 > s->n_context)
        return error_set(err, ERROR_INVALID,
            "%zu tokens and %lld greedy ones do not fit the context of %d: ask for fewer", tokens->count,
            (long long)greedy, s->n_context);
    job->top = top < job->n_vocab ? (int32_t)top : job->n_vocab;
    job->greedy = (int32_t)greedy;
    return 0;
}

int session_logits(struct session *s, uint32_t id, struct str payload, struct error *err)
{
    struct call *call;
    struct token_list tokens = {0};
    int rc = call_create(s, id, &call, err);
    if (rc)
        return rc;
    struct logits_job *job = calloc(1, sizeof *job);
    if (!job) {
        call_free(call);
        return error_set(err, ERROR_MEMORY, "no memory for another call: try again later");
    }
    call->data = job;
    call->free_data = job_free;
    buf_init(&job->json, LIMIT_WIRE_FRAME);
    rc = job_read(s, payload, job, &tokens, err);
    if (rc == 0)
        rc = session_adapters_read(s, NULL, &call->scales, err);
    if (rc == 0)
        rc = scheduler_add(s->scheduler, &tokens, &ops, call, &call->sequence, err);
    if (rc == 0)
        scheduler_adapt(call->sequence, call->scales);
    free(tokens.ids);
    if (rc) {
        call_free(call);
        return rc;
    }
    json_writer_init(&job->w, &job->json);
    json_object_begin(&job->w);
    json_member_int(&job->w, "n_vocab", job->n_vocab);
    return 0;
}

/* EMBED: a text, or the tokens of one, to the vector that an encoder makes of it. */
#include <math.h>
#include <stdlib.h>

#include "engine/worker/session_inner.h"

struct embed_job {
    struct token_list tokens;
    bool normalize;
    int64_t dimensions; /* 0: all */
    int32_t width;      /* of a row that is sent */
    size_t n_rows;
    float *rows;
};

static int tokens_read(struct session *s, const json_t *root, struct token_list *out, struct error *err)
{
    struct str text;
    if (json_object_get(root, "tokens"))
        return session_ids_read(root, "tokens", out, err);
    int rc = json_get_str(root, "text", &text, err);
    if (rc == 0 && !text.data)
        rc = error_set(err, ERROR_INVALID, "'text' is missing: send {\"text\":\"...\"}");
    return rc ? rc : tokenizer_encode(s->tokenizer, text, true, true, out, err);
}

static int job_read(struct session *s, struct str payload, struct embed_job *job, struct error *err)
{
    json_t *root;
    int rc = json_read(payload, &root, err);
    if (rc)
        return rc;
    rc = json_get_bool(root, "normalize", false, &job->normalize, err);
    rc = rc ? rc : json_get_int(root, "dimensions", 0, 1, INT32_MAX, &job->dimensions, err);
    rc = rc ? rc : tokens_read(s, root, &job->tokens, err);
    json_decref(root);
    return rc;
}

int session_encode(
    struct session *s, const struct token_list *tokens, float **rows, size_t *n_rows, struct error *err)
{
    const struct model_info *info = model_info(s->model);
    if (tokens->count > (size_t)s->n_context)
        return error_set(err, ERROR_CONTEXT,
            "the text has %zu tokens but the model takes %d: shorten it or cut it in parts", tokens->count,
            (int)s->n_context);
    *n_rows = info->pooling == MODEL_POOL_NONE ? tokens->count : 1;
    const size_t floats = *n_rows * (size_t)info->n_embedding;
    *rows = calloc(floats + 1, sizeof **rows);
    if (!*rows)
        return error_set(err, ERROR_MEMORY, "no memory to embed %zu tokens: send less", tokens->count);
    int rc = model_encode(s->state, tokens->ids, (int32_t)tokens->count, *rows, err);
    for (size_t i = 0; rc == 0 && i < floats; i++)
        if (!isfinite((*rows)[i]))
            rc = error_set(err, ERROR_INVALID,
                "the model makes numbers of this text that are none: its file is broken, fetch it again");
    return rc;
}

/* To a length of 1. */
static void normalize(float *row, int32_t width)
{
    double sum = 0;
    for (int32_t i = 0; i < width; i++)
        sum += (double)row[i] * (double)row[i];
    double scale = sum > 0 ? 1 / sqrt(sum) : 0;
    for (int32_t i = 0; i < width; i++)
        row[i] = (float)((double)row[i] * scale);
}

/* Embeddings whose first values say most (Kusupati et al. 2022, arxiv.org/abs/2205.13147) may be cut. */
static int job_cut(const struct model_info *info, struct embed_job *job, struct error *err)
{
    job->width = job->dimensions > 0 ? (int32_t)job->dimensions : info->n_embedding;
    if (job->width > info->n_embedding || (job->dimensions > 0 && info->pooling == MODEL_POOL_RANK))
        return error_set(err, ERROR_INVALID,
            "the model's embeddings have %d dimensions: ask for at most that", (int)info->n_embedding);
    return 0;
}

static int job_run(struct session *s, struct embed_job *job, struct error *err)
{
    const struct model_info *info = model_info(s->model);
    int rc = job_cut(info, job, err);
    rc = rc ? rc : session_encode(s, &job->tokens, &job->rows, &job->n_rows, err);
    for (size_t r = 0; rc == 0 && r < job->n_rows; r++)
        if (job->normalize && info->pooling != MODEL_POOL_RANK)
            normalize(job->rows + r * (size_t)info->n_embedding, job->width);
    return rc;
}

static void row_write(struct json_writer *w, const float *row, int32_t width)
{
    json_array_begin(w);
    for (int32_t i = 0; i < width; i++)
        json_write_float(w, row[i]);
    json_array_end(w);
}

static void job_send(struct session *s, uint32_t id, const struct embed_job *job)
{
    struct buf json;
    struct json_writer w;
    const struct model_info *info = model_info(s->model);
    const bool pooled = info->pooling != MODEL_POOL_NONE;
    buf_init(&json, LIMIT_WIRE_FRAME);
    json_writer_init(&w, &json);
    json_object_begin(&w);
    json_key(&w, "embedding");
    if (!pooled)
        json_array_begin(&w);
    for (size_t r = 0; r < job->n_rows; r++)
        row_write(&w, job->rows + r * (size_t)info->n_embedding, job->width);
    if (!pooled)
        json_array_end(&w);
    json_member_int(&w, "tokens", (int64_t)job->tokens.count);
    json_object_end(&w);
    session_send_result(s, id, &json);
    buf_free(&json);
}

int session_embed(struct session *s, uint32_t id, struct str payload, struct error *err)
{
    struct embed_job job = {0};
    int rc = job_read(s, payload, &job, err);
    rc = rc ? rc : job_run(s, &job, err);
    if (rc == 0)
        job_send(s, id, &job);
    free(job.rows);
    free(job.tokens.ids);
    return rc;
}

/* RERANK: how well documents answer a query, each pair scored by a model with a head that ranks. */
#include <stdlib.h>

#include "engine/worker/session_inner.h"

enum { PROMPT_MAX = 16 * 1024 * 1024, DOCUMENTS_MAX = 4096 };

/* Where {query} or {document} stands in what is left of a template; its whole length if neither does. */
static size_t gap_find(struct str template, struct str *name)
{
    const struct str names[] = {STR("{query}"), STR("{document}")};
    size_t at = template.len;
    for (size_t i = 0; i < 2; i++) {
        const size_t found = str_find(template, names[i]);
        if (found < at) {
            at = found;
            *name = names[i];
        }
    }
    return at;
}

static int text_append(struct buf *out, struct str text, struct error *err)
{
    return buf_append_str(out, text) == 0
               ? 0
               : error_set(err, ERROR_INVALID, "the query and the document are too long: cut them");
}

/* The file's own way to ask, if it has one (Qwen3's rerankers). What is filled in is not looked at again for
 * more to fill in; special tokens are parsed, as those of the template must be. */
static int pair_templated(const struct session *s, struct str template, struct str query, struct str document,
    struct token_list *out, struct error *err)
{
    struct buf prompt;
    int rc = 0;
    buf_init(&prompt, PROMPT_MAX);
    while (rc == 0 && template.len > 0) {
        struct str name = STR_NONE;
        const size_t at = gap_find(template, &name);
        rc = text_append(&prompt, str_slice(template, 0, at), err);
        if (rc == 0 && name.len > 0)
            rc = text_append(&prompt, str_is(name, "{query}") ? query : document, err);
        template = str_slice(template, at + name.len, template.len);
    }
    rc = rc ? rc : tokenizer_encode(s->tokenizer, buf_str(&prompt), false, true, out, err);
    buf_free(&prompt);
    return rc;
}

/* Between the two texts, beside what ends the first, where the file asks for it: RoBERTa has two. */
static int separator_append(const struct session *s, struct token_list *out, struct error *err)
{
    bool wanted;
    uint32_t id = 0;
    int rc = gguf_get_bool(s->gguf, "tokenizer.ggml.add_sep_token", false, &wanted, err);
    rc = rc ? rc : gguf_get_u32(s->gguf, "tokenizer.ggml.seperator_token_id", UINT32_MAX, &id, err);
    if (rc || !wanted || id >= (uint32_t)tokenizer_vocab_size(s->tokenizer))
        return rc;
    return token_list_append(out, (int32_t)id, err);
}

/* As the tokenizer begins and ends texts, the beginning once: [CLS] query [SEP] document [SEP], or with a BOS
 * and EOS. Special tokens are never parsed out of either text. */
static int pair_joined(
    const struct session *s, struct str query, struct str document, struct token_list *out, struct error *err)
{
    struct token_list second = {0};
    int rc = tokenizer_encode(s->tokenizer, query, true, false, out, err);
    rc = rc ? rc : separator_append(s, out, err);
    rc = rc ? rc : tokenizer_encode(s->tokenizer, document, true, false, &second, err);
    for (size_t i = 0; rc == 0 && i < second.count; i++)
        if (i > 0 || second.ids[i] != tokenizer_bos(s->tokenizer))
            rc = token_list_append(out, second.ids[i], err);
    free(second.ids);
    return rc;
}

/* ---- The request ---- */

struct ranked {
    size_t index;
    double score;
};

struct rerank_job {
    json_t *root;
    struct str query, template;
    const json_t *documents;
    size_t count, n_tokens; /* n_tokens: of all pairs */
    struct ranked *ranked;
};

static int job_read(const struct session *s, struct str payload, struct rerank_job *job, struct error *err)
{
    int rc = json_read(payload, &job->root, err);
    rc = rc ? rc : json_get_str(job->root, "query", &job->query, err);
    rc = rc ? rc : gguf_get_str(s->gguf, "tokenizer.chat_template.rerank", STR_NONE, &job->template, err);
    if (rc)
        return rc;
    job->documents = json_object_get(job->root, "documents");
    job->count = json_array_size(job->documents);
    if (!job->query.data || !json_is_array(job->documents) || job->count > DOCUMENTS_MAX)
        return error_set(err, ERROR_INVALID,
            "send {\"query\":\"...\",\"documents\":[\"...\", ...]} with up to %d documents", DOCUMENTS_MAX);
    job->ranked = calloc(job->count + 1, sizeof *job->ranked);
    return job->ranked ? 0 : error_set(err, ERROR_MEMORY, "no memory for the ranks: send less at a time");
}

/* The first score of the head: it ranks by one, or by the first of its labels. */
static int pair_score(
    struct session *s, struct rerank_job *job, struct str document, double *score, struct error *err)
{
    struct token_list tokens = {0};
    float *rows = NULL;
    size_t n_rows;
    int rc = job->template.len > 0 ? pair_templated(s, job->template, job->query, document, &tokens, err)
                                   : pair_joined(s, job->query, document, &tokens, err);
    rc = rc ? rc : session_encode(s, &tokens, &rows, &n_rows, err);
    if (rc == 0)
        *score = (double)rows[0];
    job->n_tokens += tokens.count;
    free(rows);
    free(tokens.ids);
    return rc;
}

static int job_run(struct session *s, struct rerank_job *job, struct error *err)
{
    for (size_t i = 0; i < job->count; i++) {
        const struct str document = json_str(json_array_get(job->documents, i));
        if (!document.data)
            return error_set(err, ERROR_INVALID, "documents[%zu] is not a text", i);
        job->ranked[i].index = i;
        int rc = pair_score(s, job, document, &job->ranked[i].score, err);
        if (rc)
            return rc;
    }
    return 0;
}

/* The better score first; of equals, the document that came first. */
static int by_score(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static void job_send(struct session *s, uint32_t id, const struct rerank_job *job)
{
    struct buf json;
    struct json_writer w;
    buf_init(&json, MIB);
    json_writer_init(&w, &json);
    json_object_begin(&w);
    json_key(&w, "results");
    json_array_begin(&w);
    for (size_t i = 0; i < job->count; i++) {
        json_object_begin(&w);
        json_member_int(&w, "index", (int64_t)job->ranked[i].index);
        json_member_double(&w, "relevance_score", job->ranked[i].score);
        json_object_end(&w);
    }
    json_array_end(&w);
    json_member_int(&w, "tokens", (int64_t)job->n_tokens);
    json_object_end(&w);
    session_send_result(s, id, &json);
    buf_free(&json);
}

int session_rerank(struct session *s, uint32_t id, struct str payload, struct error *err)
{
    struct rerank_job job = {0};
    if (model_info(s->model)->pooling != MODEL_POOL_RANK)
        return error_set(err, ERROR_UNSUPPORTED,
            "the model embeds text but has no head that ranks: use a reranker, or compare embeddings");
    int rc = job_read(s, payload, &job, err);
    rc = rc ? rc : job_run(s, &job, err);
    if (rc == 0) {
        qsort(job.ranked, job.count, sizeof *job.ranked, by_score);
        job_send(s, id, &job);
    }
    free(job.ranked);
    json_decref(job.root);
    return rc;
}

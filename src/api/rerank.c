/* POST /v1/rerank and /rerank, in the shape of Jina's and Cohere's: documents by how well they answer a
 * query, the best first. */
#include <stdlib.h>

#include "api/openai_out.h"
#include "api/read.h"
#include "api/shape.h"
#include "base/limits.h"

/* ---- Requests ---- */

/* A document is a text or {"text"}. */
static int document_read(const json_t *document, size_t index, struct str *out, struct error *err)
{
    static const char *const known[] = {"text", NULL};
    const json_t *text = json_is_object(document) ? json_object_get(document, "text") : document;
    *out = json_str(text);
    if (!json_is_string(text))
        return error_set(
            err, ERROR_INVALID, "documents[%zu] must be a text or an object with a \"text\"", index);
    int rc = json_is_object(document) ? api_read_only(document, known, err) : 0;
    return rc ? error_wrap(err, "documents[%zu]", index) : 0;
}

static int documents_read(struct arena *a, const json_t *documents, struct chat_request *r, struct error *err)
{
    int rc = 0;
    r->n_inputs = json_array_size(documents);
    if (r->n_inputs == 0 || r->n_inputs > LIMIT_INPUTS)
        return error_set(err, ERROR_INVALID, "'documents' must be a list of 1 to %d texts", LIMIT_INPUTS);
    r->inputs = arena_alloc(a, r->n_inputs * sizeof *r->inputs);
    for (size_t i = 0; i < r->n_inputs && rc == 0; i++)
        rc = document_read(json_array_get(documents, i), i, &r->inputs[i].text, err);
    return rc;
}

static int rerank_read(struct arena *a, struct str body, struct chat_request **out, struct error *err)
{
    static const char *const known[] = {
        "model", "query", "documents", "top_n", "return_documents", "user", NULL};
    const json_t *root;
    int rc = api_body_read(a, body, &root, err);
    if (rc)
        return rc;
    struct chat_request *r = *out = chat_request_create(a);
    r->kind = CHAT_KIND_RERANK;
    rc = api_model_read(root, &r->model, err);
    r->query = json_text(root, "query");
    if (rc == 0 && !r->query.data)
        rc = error_set(err, ERROR_INVALID, "'query' must be a text: what the documents are ranked by");
    if (rc == 0)
        rc = documents_read(a, json_object_get(root, "documents"), r, err);
    if (rc == 0)
        rc = json_get_int(root, "top_n", 0, 1, INT32_MAX, &r->top_n, err);
    if (rc == 0)
        rc = json_get_bool(root, "return_documents", false, &r->return_documents, err);
    if (rc == 0)
        rc = json_get_str(root, "user", &r->user, err);
    return rc ? rc : api_read_vendor(a, root, known, &r->vendor, err);
}

/* ---- Answers ---- */

struct ranked {
    size_t index;
    double score;
};

struct rerank_answer {
    const struct chat_request *request;
    struct str model;
    struct ranked *ranked; /* in the request's arena */
    size_t n;
};

static void init(void *answer, const struct chat_request *r, const struct exchange_origin *o)
{
    struct rerank_answer *a = answer;
    (void)o;
    a->request = r;
    a->ranked = arena_alloc(r->arena, r->n_inputs * sizeof *a->ranked);
}

static void answer_free(void *answer)
{
    (void)answer;
}

static void begin(void *answer, const struct exchange_about *about)
{
    struct rerank_answer *a = answer;
    a->model = about->model;
}

static int gather(void *answer, const struct chat_event *e, struct error *err)
{
    struct rerank_answer *a = answer;
    (void)err;
    if (e->kind == CHAT_EVENT_SCORE && a->n < a->request->n_inputs)
        a->ranked[a->n++] = (struct ranked){e->score.index, e->score.score};
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

static void result_write(struct json_writer *w, const struct chat_request *r, const struct ranked *one)
{
    json_object_begin(w);
    json_member_int(w, "index", (int64_t)one->index);
    json_member_double(w, "relevance_score", one->score);
    if (r->return_documents) {
        json_key(w, "document");
        json_object_begin(w);
        json_member_str(w, "text", r->inputs[one->index].text);
        json_object_end(w);
    }
    json_object_end(w);
}

static void whole(void *answer, const struct chat_usage *usage, struct buf *out)
{
    struct rerank_answer *a = answer;
    const struct chat_request *r = a->request;
    struct json_writer w;
    qsort(a->ranked, a->n, sizeof *a->ranked, by_score);
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_member_text(&w, "object", "list");
    json_key(&w, "results");
    json_array_begin(&w);
    for (size_t i = 0; i < a->n && (r->top_n == 0 || (int64_t)i < r->top_n); i++)
        result_write(&w, r, &a->ranked[i]);
    json_array_end(&w);
    json_member_str(&w, "model", a->model);
    openai_prompt_usage_write(&w, usage);
    json_object_end(&w);
}

const struct api_shape api_rerank_shape = {.name = "rerank",
    .answer_size = sizeof(struct rerank_answer),
    .read = rerank_read,
    .init = init,
    .free = answer_free,
    .begin = begin,
    .gather = gather,
    .whole = whole,
    .error = openai_error};

/* POST /v1/rerank and /rerank, in the shape of Jina's and Cohere's: documents by how well they answer a
 * query, the best first. */
#include <stdlib.h>

#include "api/ask.h"

struct ranked {
    size_t index;
    double score;
};

struct rerank {
    const json_t *query, *documents;
    int64_t top_n;
    bool return_documents;
    struct ranked *ranked; /* of each document */
};

/* A document is a text or {"text"}; NULL: it is neither. */
static const json_t *text_of(const json_t *document)
{
    const json_t *text = json_is_object(document) ? json_object_get(document, "text") : document;
    return json_is_string(text) ? text : NULL;
}

static int documents_read(struct ask *c, struct rerank *r, struct error *err)
{
    c->n_questions = json_array_size(r->documents);
    if (c->n_questions == 0 || c->n_questions > ASK_QUESTIONS_MAX)
        return error_set(
            err, ERROR_INVALID, "'documents' must be a list of 1 to %d texts", ASK_QUESTIONS_MAX);
    for (size_t i = 0; i < c->n_questions; i++)
        if (!text_of(json_array_get(r->documents, i)))
            return error_set(
                err, ERROR_INVALID, "documents[%zu] must be a text or an object with a \"text\"", i);
    r->ranked = arena_alloc(c->arena, c->n_questions * sizeof *r->ranked);
    return 0;
}

static int rerank_read(struct ask *c, const json_t *root, struct error *err)
{
    struct rerank *r = c->data = arena_new(c->arena, struct rerank);
    r->query = json_object_get(root, "query");
    r->documents = json_object_get(root, "documents");
    if (!json_is_string(r->query))
        return error_set(err, ERROR_INVALID, "'query' must be a text: what the documents are ranked by");
    int rc = documents_read(c, r, err);
    rc = rc ? rc : json_get_int(root, "top_n", (int64_t)c->n_questions, 1, INT32_MAX, &r->top_n, err);
    return rc ? rc : json_get_bool(root, "return_documents", false, &r->return_documents, err);
}

static void rerank_begin(struct ask *c)
{
    json_key(&c->w, "object");
    json_write_text(&c->w, "list");
    json_key(&c->w, "results");
    json_array_begin(&c->w);
}

static void rerank_question(const struct ask *c, struct json_writer *w)
{
    const struct rerank *r = c->data;
    json_key(w, "query");
    json_write_value(w, r->query);
    json_key(w, "documents");
    json_array_begin(w);
    json_write_value(w, text_of(json_array_get(r->documents, c->next)));
    json_array_end(w);
}

static int rerank_reply(struct ask *c, const json_t *answer, struct error *err)
{
    (void)err;
    struct rerank *r = c->data;
    const json_t *result = json_array_get(json_object_get(answer, "results"), 0);
    const double score = json_number_value(json_object_get(result, "relevance_score"));
    r->ranked[c->next] = (struct ranked){c->next, score};
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

static int rerank_end(struct ask *c, struct error *err)
{
    (void)err;
    const struct rerank *r = c->data;
    qsort(r->ranked, c->n_questions, sizeof *r->ranked, by_score);
    for (size_t i = 0; i < c->n_questions && (int64_t)i < r->top_n; i++) {
        json_object_begin(&c->w);
        json_key(&c->w, "index");
        json_write_int(&c->w, (int64_t)r->ranked[i].index);
        json_key(&c->w, "relevance_score");
        json_write_double(&c->w, r->ranked[i].score);
        if (r->return_documents) {
            json_key(&c->w, "document");
            json_object_begin(&c->w);
            json_key(&c->w, "text");
            json_write_value(&c->w, text_of(json_array_get(r->documents, r->ranked[i].index)));
            json_object_end(&c->w);
        }
        json_object_end(&c->w);
    }
    json_array_end(&c->w);
    return 0;
}

static const struct ask_kind rerank = {.name = "rerank",
    .reason = "documents are ranked by the local model that was named",
    .type = WIRE_RERANK,
    .question_name = "documents",
    .read = rerank_read,
    .begin = rerank_begin,
    .question = rerank_question,
    .reply = rerank_reply,
    .end = rerank_end};

void api_rerank(const struct api_call *api)
{
    api_ask(api, &rerank);
}

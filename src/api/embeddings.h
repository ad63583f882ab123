/* Requests for embeddings and their answers: OpenAI's /v1/embeddings, Ollama's /api/embed and
 * /api/embeddings. */
#ifndef WEIR_API_EMBEDDINGS_H
#define WEIR_API_EMBEDDINGS_H

#include "chat/chat.h"

/* The vectors of an answer, written as they come. */
struct embeddings_answer {
    struct buf vectors;
    struct json_writer w;
    bool packed, listed; /* in base64; each in an object with its index */
    struct str model;
    int64_t started_ns;
};

void embeddings_answer_init(struct embeddings_answer *a, bool packed, bool listed);
/* `gather` and `free` of a shape with such an answer. */
int embeddings_answer_gather(void *answer, const struct chat_event *e, struct error *err) MUST_USE;
void embeddings_answer_free(void *answer);

/* Sets r->inputs: a text, or a list of them. `name` is the member's; `ids`: token ids may stand for a text.
 */
int api_inputs_read(struct arena *a, const json_t *input, const char *name, bool ids, struct chat_request *r,
    struct error *err) MUST_USE;

#endif

/* Requests that a local model answers question by question, such as /v1/embeddings and /v1/rerank: what they
 * share. Each question is asked when the one before is answered, so that one request never holds the engine;
 * nothing leaves this machine.
 *
 *   api_ask: read -> ledger row opened -> (question -> reply)* -> end -> row settled -> the answer */
#ifndef WEIR_API_ASK_H
#define WEIR_API_ASK_H

#include "api/api.h"
#include "engine/wire.h"
#include "json/json.h"

enum { ASK_QUESTIONS_MAX = 2048 };

struct ask;

/* One endpoint. */
struct ask_kind {
    const char *name, *reason; /* for the ledger */
    enum wire_type type;
    const char *question_name; /* "input": for messages, with its number */
    /* The name of the model that is meant by `given`; NULL: names are taken as they stand. */
    int (*resolve)(const struct exchange_world *w, struct str given, struct str *name, struct error *err);
    /* The body's own members, after `model`: sets n_questions and data. */
    int (*read)(struct ask *a, const json_t *root, struct error *err);
    void (*begin)(struct ask *a);                                 /* the answer's first bytes, to `w` */
    void (*question)(const struct ask *a, struct json_writer *w); /* of number `next` */
    int (*reply)(struct ask *a, const json_t *answer, struct error *err);
    int (*end)(struct ask *a, struct error *err); /* up to the usage, which follows */
    void (*usage)(struct ask *a);                 /* NULL: `model` and `usage` as OpenAI has them */
};

struct ask {
    struct api_call api;
    const struct ask_kind *kind;
    struct exchange_world *world;
    const struct exchange_model *model;
    struct arena *arena; /* the body and `data` */
    void *data;
    size_t n_questions, next; /* next: the one that is being asked */
    struct buf out;
    struct json_writer w; /* the answer, inside its object */
    int64_t tokens;       /* that were read */
    /* ask.c's own */
    bool gone;
    struct engine_call *asking;
    int64_t started_ms;
    const char *outcome; /* not NULL: settling */
    int status;
    struct error error;
};

void api_ask(const struct api_call *api, const struct ask_kind *kind);

#endif

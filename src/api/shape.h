/* A shape: how one API is spoken. A shape is a table of these and nothing else; the path from a request to
 * its exchange and back is call.c's, for all of them.
 *
 *   body -> read -> chat_request -> exchange -> init begin (gather* whole | event* end) free -> client
 *                                           -> error                                                     */
#ifndef WEIR_API_SHAPE_H
#define WEIR_API_SHAPE_H

#include "chat/chat.h"
#include "exchange/exchange.h"
#include "store/store.h"

struct api_call;

struct api_shape {
    const char *name;          /* as the ledger calls it: "openai.chat" */
    const char *stream_type;   /* the content type of a stream */
    const char *id_header;     /* a header for the request's id besides x-request-id; NULL: none */
    const char *const *passed; /* headers of the request that a target of the same shape gets; NULL: none */
    const char *keep_alive;    /* what a client of a stream reads over; NULL: there is no such thing */
    size_t answer_size;        /* bytes of an answer's state, which begins zeroed */

    /* Before `join`: has what was kept, and what the body names, read from the state, while the loop goes on.
     * True: `done` is called once; until then the call, the arena and the body live. False: it names nothing.
     */
    bool (*fetch)(struct api_call *c, struct arena *a, struct str body, void (*done)(void *ctx), void *ctx);
    /* Before `read`: puts what was kept in the place of what names it. NULL: nothing names anything. */
    int (*join)(const struct api_call *c, struct arena *a, struct str *body, struct error *err);
    /* Pure. The request and all it points at live in the arena, `body` too. ERROR_INVALID names the member.
     */
    int (*read)(struct arena *a, struct str body, struct chat_request **out, struct error *err);
    /* Finds the model that a client of this API means by the name it gave, and puts its name in place of
     * that. NULL: names are taken as they stand. */
    int (*resolve)(const struct exchange_world *world, struct chat_request *r, struct error *err);

    /* Of the origin only the ids: an answer may begin again. */
    void (*init)(void *answer, const struct chat_request *r, const struct exchange_origin *origin);
    void (*free)(void *answer);
    /* Who answers is known; `about` lives until free. Before gather and event. */
    void (*begin)(void *answer, const struct exchange_about *about);
    /* Whole answers: ERROR_LIMIT when the answer passes its bound. */
    int (*gather)(void *answer, const struct chat_event *e, struct error *err);
    void (*whole)(void *answer, const struct chat_usage *usage, struct buf *out);
    /* Streams: an ERROR is the last event, and `end` is not called then. */
    void (*event)(void *answer, const struct chat_event *e, struct buf *out);
    void (*end)(void *answer, const struct chat_usage *usage, struct buf *out);

    /* After init, where answers may be kept: is this one to be? Later, with NULL: it cannot be. NULL: none
     * is. */
    bool (*keep)(void *answer, const struct chat_request *r);
    /* After the last event: what is kept of it; it lives until free. */
    void (*kept)(void *answer, const struct chat_usage *usage, struct store_response *out);

    /* Of a request to count (count_only): the router's estimate, where no target can count; NULL otherwise.
     */
    void (*estimate)(void *answer, int64_t tokens);

    /* Appends the body of an error and gives the HTTP status this API has for it. `type`: the provider's own
     * word, may be empty. */
    int (*error)(int status, struct str message, struct str type, struct str request_id, struct buf *out);
};

extern const struct api_shape api_anthropic_count_shape;
extern const struct api_shape api_responses_shape, api_embeddings_shape, api_rerank_shape;
extern const struct api_shape api_openai_chat_shape, api_openai_completion_shape, api_anthropic_shape;

#endif

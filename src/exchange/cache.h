/* Answers kept to be given again to the same question. In memory only; off unless configured.
 *
 *   key (SHA-256 of who, where and what) --> answer: who gave it, its events, its usage
 *
 *   newest <-> ... <-> oldest      bounded in bytes: the least recently used goes first; each lives at most
 * `ttl`
 *
 * The key is everything that could make another answer right: whose key asked, the boundary, the
 * configuration, the API's shape, the targets in their order, what their files hold, and the whole request
 * but for how it is to be delivered. So an answer is never seen by another key, nor does one from one side of
 * a boundary serve the other. Shared by all loops. */
#ifndef WEIR_EXCHANGE_CACHE_H
#define WEIR_EXCHANGE_CACHE_H

#include "chat/chat.h"

struct cache;
struct cache_answer;

enum { CACHE_KEY = 32, CACHE_ANSWER_MOST = 4 << 20 };

struct cache *cache_create(void);
void cache_free(struct cache *c); /* NULL is allowed */
/* 0 bytes: nothing is kept. */
void cache_configure(struct cache *c, int64_t ttl_ms, size_t max_bytes);

struct cache_question {
    struct str scope; /* the caller's key; empty: auth is none */
    bool local;       /* the boundary */
    uint64_t world;   /* which configuration */
    struct str api;
    const struct str *targets;
    size_t n_targets;
    uint64_t files;                    /* what the local ones' models hold */
    const struct chat_header *headers; /* those that a target is sent */
    size_t n_headers;
    struct str body; /* JSON: the request as it came */
};
/* ERROR_INVALID where the body is no JSON object. */
int cache_key(const struct cache_question *q, unsigned char out[CACHE_KEY], struct error *err) MUST_USE;
/* Would the same request be answered alike? Only then an answer may stand for another: one choice without
 * log-probabilities (they are not kept), and either temperature 0 or a seed. */
bool cache_may(const struct chat_request *r);

/* ---- Answers: built once, then immutable and counted. ---- */
struct cache_answer *cache_answer_create(struct str model, struct str provider);
/* Copies an event. False: it is too large, or holds what is not kept; give it up then. */
bool cache_answer_add(struct cache_answer *a, const struct chat_event *e);
void cache_answer_unref(struct cache_answer *a); /* NULL is allowed */
struct str cache_answer_model(const struct cache_answer *a);
struct str cache_answer_provider(const struct cache_answer *a);
/* Calls back each event in order. */
void cache_answer_replay(const struct cache_answer *a, struct chat_sink sink);

/* Takes the reference. */
void cache_put(struct cache *c, const unsigned char key[CACHE_KEY], struct cache_answer *a, int64_t now_ms);
/* A reference, or NULL. */
struct cache_answer *cache_get(struct cache *c, const unsigned char key[CACHE_KEY], int64_t now_ms);
void cache_size(struct cache *c, size_t *bytes, size_t *answers);

#endif

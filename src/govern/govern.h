/* Who is asking, what it cost, what is kept of it. */
#ifndef WEIR_GOVERN_GOVERN_H
#define WEIR_GOVERN_GOVERN_H

#include "chat/chat.h"
#include "egress/egress.h"
#include "store/store.h"

/* ---- identity.c: keys like weir_<id>_<secret>; an immutable snapshot in memory answers requests. ---- */
struct govern_identity {
    char key_id[32], name[64], team[64];
    bool admin;
};
struct govern_keys; /* the snapshot and what refreshes it */
int govern_keys_create(struct store *s, struct govern_keys **out, struct error *err) MUST_USE;
void govern_keys_free(struct govern_keys *k);
/* Reloads if the store was changed; about once a second. Any thread, but it waits for the state. */
int govern_keys_refresh(struct govern_keys *k, struct error *err) MUST_USE;
/* Any thread. ERROR_DENIED for no, wrong, revoked or expired keys, always the same message; constant time. */
int govern_keys_check(struct govern_keys *k, struct str secret, struct govern_identity *out, struct error *err) MUST_USE;
int64_t govern_keys_count(struct govern_keys *k); /* usable ones */
struct govern_key_options {
    struct str name, team;
    bool admin;
    int64_t expires_ms; /* 0: never */
};
/* Makes and stores a key (`done` as of store_key_add); the whole key is written to `shown` this once. */
int govern_key_create(struct store *s, const struct govern_key_options *o, char shown[96], struct store_done done,
    struct error *err) MUST_USE;

/* ---- price.c: integer nano-dollars per token. ---- */
struct govern_price {
    bool known;
    int64_t input, cached_input, cache_write, output; /* nano-dollars per token: 2.50 USD per million is 2500 */
    int64_t cache_write_long;                         /* for an hour; not positive: as cache_write */
};
/* The built-in table (data/prices.json), by the provider's kind and model name ("openai", "gpt-4o"); dated variants
 * match their base name. known=false if it is not there. Of long-context surcharges the cost knows nothing, nor of
 * what a cache's keeping costs by the hour (Gemini) or of batch and priority rates; prices are rounded to whole
 * nano-dollars per token. */
struct govern_price govern_price_find(struct str kind, struct str model);
/* -1 when the price or the usage is unknown. A price of cached or written tokens that is not positive means "as
 * input". */
int64_t govern_price_cost(const struct govern_price *p, const struct chat_usage *u);

/* ---- audit.c: the witness egress asks before anything leaves. ctx is the store. ---- */
void govern_audit_witness(void *ctx, struct loop *loop, const struct egress_record *record,
    void (*done)(void *done_ctx, int code), void *done_ctx);

#endif

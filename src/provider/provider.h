/* Providers: whoever can answer a chat_request. Each kind is a file with one `provider_ops`.
 *
 *   provider_call_start -> START (TEXT | REASONING | TOOL_CALL)* USAGE? STOP     or ERROR at any point
 *
 * The request is translated into the provider's own shape, its stream back into chat_events. */
#ifndef WEIR_PROVIDER_PROVIDER_H
#define WEIR_PROVIDER_PROVIDER_H

#include "chat/chat.h"
#include "egress/egress.h"

struct engine;
struct provider;
struct provider_call;

/* What a kind needs; made by the configuration, immutable, shared by all loops. */
struct provider_options {
    struct str name;              /* "local" for the embedded engine, else the configured name */
    struct str kind;              /* "local", or one of provider_kinds() */
    struct str quirks;            /* of kind openai: whose form of the shape; empty: as the address tells */
    struct egress_target *target; /* owned by the provider from now on, also on failure; NULL for "local" */
    struct str api_key;           /* may be empty */
    struct str api_version;       /* of kind azure; empty: the newest that this program knows */
    struct str region, access_key_id, secret_access_key, session_token; /* of kind bedrock */
    int64_t
        answer_timeout_ms; /* how long an answer may take that comes whole; 0: only streams are asked for */
    const struct egress_header *headers; /* that go with every request; copied */
    size_t n_headers;
};
int provider_create(const struct provider_options *o, struct provider **out, struct error *err) MUST_USE;
void provider_free(struct provider *p);
struct str provider_name(const struct provider *p);
struct str provider_kind(const struct provider *p);
struct str provider_host(
    const struct provider *p); /* with its port where the URL names one; empty: embedded */
bool provider_is_inside(const struct provider *p); /* inside the local boundary: embedded, or zone local */
bool provider_kind_exists(struct str kind);
const char *provider_kinds(void); /* "openai, anthropic, ..., azure, ...": for error messages */
/* Where providers of that kind are; STR_NONE where only the configuration knows. */
struct str provider_kind_url(struct str kind);
bool provider_quirks_exist(struct str quirks);
bool provider_header_allowed(struct str name); /* in `headers`: not what the connection or the key needs */
enum { PROVIDER_OWN_HEADERS_MAX = 8 };

/* A model of a provider: one target of a decision. */
struct provider_model {
    struct provider *provider;
    struct str model;         /* the name the provider knows */
    struct engine *engine;    /* for "local" */
    struct engine *inspector; /* for "local": of the same file, reads it without loading the model */
    const char *file;         /* for "local" */
    int context;              /* for "local", as configured; 0: not said */
    int64_t max_output; /* what to ask for when the client set no maximum and the provider insists; 0: 4096 */
};

struct provider_start {
    struct loop *loop;     /* where events arrive */
    struct egress *egress; /* of that loop */
    const struct egress_permit *permit;
    const struct provider_model *model;
    const struct chat_request *request; /* lives until the call is closed */
    bool whole;                         /* ask for the answer at once, not for a stream */
    bool one_call; /* where it takes several (several.c): no two at a time */
    int64_t connect_timeout_ms;         /* 0: the provider's */
    struct egress_header headers[2];    /* to be sent beside its own: ids, never content */
    size_t n_headers;
    struct chat_sink sink;
};

/* Can this target honour the request as it stands? ERROR_UNSUPPORTED names what it cannot. */
int provider_supports(
    const struct provider_model *m, const struct chat_request *r, struct error *err) MUST_USE;
/* How often it reads the prompt, and counts it: for each answer where it gives one at a time (several.c),
 * else once. */
int32_t provider_readings(const struct provider_model *m, const struct chat_request *r);
/* May it be asked for the whole answer at once? A server may still stream; and not where the answer may be
 * long, for a connection on which nothing comes for minutes is often broken in between. */
bool provider_answers_whole(const struct provider_model *m, const struct chat_request *r);
/* No event arrives before this returns. STOP or ERROR is the last event; then, or earlier to cancel, close.
 */
int provider_call_start(
    const struct provider_start *s, struct provider_call **out, struct error *err) MUST_USE;
void provider_call_pause(struct provider_call *c, bool paused);
void provider_call_close(
    struct provider_call *c); /* no event after it; allowed inside the sink; NULL allowed */

/* Asks a provider of ours or elsewhere for `path` with its key: is it there? `done` comes once, on the loop,
 * unless the probe is closed before: an answer below 500 that is not 408 or 429 is one. */
struct provider_probe;
int provider_probe_start(const struct provider *p, struct egress *egress, const struct egress_permit *permit,
    struct str path, void (*done)(void *ctx, bool there), void *ctx, struct provider_probe **out,
    struct error *err) MUST_USE;
void provider_probe_close(struct provider_probe *probe); /* NULL is allowed; allowed in `done` */

/* ---- For the files of this room. ---- */
struct provider_dialect;
struct provider_ops {
    const char *kind;
    const struct provider_dialect *dialects[CHAT_KINDS]; /* by what is asked for; NULL: it does not do that.
                                                            Unused by "local" */
    int (*supports)(const struct provider_model *m, const struct chat_request *r, struct error *err);
    int (*start)(const struct provider_start *s, struct provider_call **out, struct error *err);
    void (*pause)(struct provider_call *c, bool paused);
    void (*close)(struct provider_call *c);
};
/* A kind's call struct begins with this. */
struct provider_call {
    const struct provider_ops *ops;
};

#endif

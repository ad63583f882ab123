/* A dialect: how one family of providers wants to be asked and how it answers. All of it pure; remote.c does
 * the sending. */
#ifndef WEIR_PROVIDER_DIALECT_H
#define WEIR_PROVIDER_DIALECT_H

#include "provider/answer.h"
#include "provider/provider.h"

enum { PROVIDER_HEADERS_MAX = 8 };

struct provider_dialect {
    /* ERROR_UNSUPPORTED names what a request asks for that this dialect cannot say. */
    int (*supports)(const struct provider_model *m, const struct chat_request *r, struct error *err);
    /* The body; checks with `supports` first. */
    int (*encode)(
        const struct provider_model *m, const struct chat_request *r, struct buf *out, struct error *err);
    struct str (*path)(const struct chat_request *r);
    /* Fills at most PROVIDER_HEADERS_MAX, gives how many; texts live in `a`. */
    size_t (*headers)(struct arena *a, struct str api_key, struct egress_header *out);
    provider_event *event;
};

extern const struct provider_dialect provider_dialect_openai, provider_dialect_anthropic;

int provider_openai_encode(const struct provider_model *m, const struct chat_request *r, struct buf *out,
    struct error *err) MUST_USE;
provider_event provider_openai_event;
int provider_anthropic_encode(const struct provider_model *m, const struct chat_request *r, struct buf *out,
    struct error *err) MUST_USE;
provider_event provider_anthropic_event;

/* ---- remote.c: a call over egress ---- */

struct provider {
    struct arena *arena; /* holds the provider itself */
    const struct provider_ops *ops;
    struct str name, kind;
    struct egress_target *target; /* NULL for "local" */
    char *api_key;
    size_t api_key_len;
};

int provider_remote_start(const struct provider_dialect *d, const struct provider_start *s,
    struct provider_call **out, struct error *err) MUST_USE;
void provider_remote_pause(struct provider_call *c, bool paused);
void provider_remote_close(struct provider_call *c);

extern const struct provider_ops provider_local_ops, provider_openai_ops, provider_anthropic_ops;

/* `object` has `key` with a value that asks for something: not null, false, 0, "", [] or {}. */
bool provider_asks(const json_t *object, const char *key);
/* Content-Type, Accept and, with a key, one that carries it; gives how many. */
size_t provider_headers(struct arena *a, const char *key_header, const char *key_prefix, struct str api_key,
    struct egress_header *out);

#endif

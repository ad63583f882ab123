/* Servers that speak OpenAI's shape, and how each differs from the plain form of it: a row of data each, in
 * server.c. To add one is to add a row. */
#ifndef WEIR_PROVIDER_SERVER_H
#define WEIR_PROVIDER_SERVER_H

#include <stdbool.h>

#include "base/str.h"

enum provider_server_flag {
    PROVIDER_SYSTEM_ONLY = 1,       /* knows no role `developer`: such messages are the system's */
    PROVIDER_NO_STREAM_OPTIONS = 2, /* refuses `stream_options`, or needs none to tell the usage */
    PROVIDER_SHORT_IDS = 4,         /* ids of tool calls are nine letters and digits: others are replaced */
    PROVIDER_DEPLOYMENTS = 8,       /* Azure: the path names the model's deployment and the API's version */
    PROVIDER_EMBEDS = 16,           /* has POST /embeddings */
    PROVIDER_PACKS = 32,            /* and gives them in base64, a quarter of the bytes, where asked to */
    PROVIDER_RERANKS = 64,          /* has POST /rerank, as Jina and Cohere made it */
    PROVIDER_KEEPS = 128            /* takes back what it gave beside reasoning and calls (provider_kept) */
};

struct provider_server {
    const char *kind; /* as `kind` and `quirks` of the configuration have it */
    const char *host; /* a base_url of this host, or one that ends with it, is this server's; NULL: none */
    const char *base_url; /* where it is when the configuration does not say; NULL: it must */
    unsigned flags;
    /* What it calls these; NULL: as OpenAI does. */
    const char *max_tokens; /* else by the model: max_completion_tokens for those that insist on it */
    const char *seed, *required, *repeat_penalty;
    const char *dimensions, *top_n;
    const char *reasoning;       /* of an assistant's message that is sent back; NULL: that is left out */
    const char *key_header;      /* else Authorization: Bearer */
    const char *const *sampling; /* members it takes, ends with NULL; NULL: all there are */
    const char *const *refuses;  /* it refuses or ignores these: so are requests that need them, by name */
    const char *const *omits;    /* it refuses these, which change nothing of the answer: they are left out */
};

/* Of that kind, NULL: none. Never the plain one. */
const struct provider_server *provider_server_named(struct str kind);
/* Whose host it is (a port may follow); the plain form where nobody's. */
const struct provider_server *provider_server_at(struct str host);
/* "azure, mistral, ...": for messages. */
const char *provider_server_kinds(void);

/* Is `name` in a list of the row? */
bool provider_server_has(const char *const *list, const char *name);

#endif

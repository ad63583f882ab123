#include "api/access.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"

struct access {
    struct access_entry entry; /* first: what api_access_begin gives */
    struct access_log *log;
    int64_t started_ns;
    char request_id[API_REQUEST_ID], client[64], method[16], key_id[32];
};

static void on_over(void *ctx, int status, int64_t bytes)
{
    struct access *a = ctx;
    a->entry.status = status ? status : 499; /* nothing was answered: the client had left */
    a->entry.bytes_out = bytes;
    a->entry.total_us = (clock_mono_ns() - a->started_ns) / 1000;
    access_log_write(a->log, &a->entry);
    free(a);
}

static struct str keep(char *to, size_t size, struct str from)
{
    size_t n = from.len < size ? from.len : size;
    if (n)
        memcpy(to, from.data, n);
    return (struct str){to, n};
}

struct access_entry *api_access_begin(const struct api_call *c, const char *path, const char *name)
{
    if (!c->shard->log)
        return NULL;
    struct access *a = must(calloc(1, sizeof *a));
    a->log = c->shard->log;
    a->started_ns = clock_mono_ns();
    a->entry = (struct access_entry){.wall_ms = clock_wall_ms(),
        .request_id = keep(a->request_id, sizeof a->request_id, str_from(c->request_id)),
        .client = keep(a->client, sizeof a->client, http_request_peer(c->http)),
        .method = keep(a->method, sizeof a->method, http_request_method(c->http)),
        .path = str_from(path),
        .api = str_from(name),
        .input_tokens = -1,
        .cached_tokens = -1,
        .output_tokens = -1,
        .reasoning_tokens = -1,
        .cost_nano_usd = -1,
        .first_token_ms = -1,
        .bytes_in = (int64_t)http_request_body(c->http).len};
    http_request_on_over(c->http, on_over, a);
    return &a->entry;
}

void api_access_key(struct access_entry *e, struct str key_id)
{
    struct access *a = (struct access *)e;
    e->key_id = keep(a->key_id, sizeof a->key_id, key_id);
}

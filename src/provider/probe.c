/* Is a provider there? A GET with its key and nothing else. */
#include <stdlib.h>

#include "base/limits.h"
#include "provider/dialect.h"

struct provider_probe {
    struct egress_transfer *transfer;
    int status;
    void (*done)(void *ctx, bool there);
    void *ctx;
};

static void on_status(void *ctx, int status)
{
    ((struct provider_probe *)ctx)->status = status;
}

static void on_done(void *ctx, int code, const struct error *err)
{
    struct provider_probe *probe = ctx;
    (void)err;
    bool there = code == 0 && probe->status < 500 && probe->status != 408 && probe->status != 429;
    probe->done(probe->ctx, there); /* may close it */
}

static size_t headers_write(struct arena *a, const struct provider *p, struct egress_header *out)
{
    if (str_is(p->kind, "anthropic"))
        return provider_headers(a, "x-api-key", "", provider_key(p), out);
    if (str_is(p->kind, "gemini"))
        return provider_gemini_headers(a, p, NULL, out);
    return provider_openai_headers(a, p, NULL, out);
}

int provider_probe_start(const struct provider *p, struct egress *egress, const struct egress_permit *permit,
    struct str path, void (*done)(void *, bool), void *ctx, struct provider_probe **out, struct error *err)
{
    struct egress_header headers[PROVIDER_HEADERS_MAX];
    struct arena *arena = arena_create(64 * KIB);
    struct provider_probe *probe = calloc(1, sizeof *probe);
    if (!probe)
        abort();
    probe->done = done;
    probe->ctx = ctx;
    struct egress_request request = {
        .method = "GET", .path = path, .headers = headers, .n_headers = headers_write(arena, p, headers)};
    struct egress_handler handler = {on_status, NULL, on_done, probe};
    int rc = egress_open(egress, permit, p->target, &request, &handler, &probe->transfer, err);
    if (rc)
        free(probe);
    else
        *out = probe;
    arena_free(arena);
    return rc;
}

void provider_probe_close(struct provider_probe *probe)
{
    if (!probe)
        return;
    egress_close(probe->transfer);
    free(probe);
}

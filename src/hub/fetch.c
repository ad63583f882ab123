/* One GET, its redirects followed by hand: each to a target of its own, the token only ever to the origin
 * that it was given for, whoever names another (a redirect, a Link header), and never from https down to
 * http. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/must.h"
#include "govern/govern.h"
#include "hub/internal.h"
#include "router/router.h"

enum { REDIRECTS_MAX = 8, URL_MAX = 8192, TRIES = 4, QUIET_MS = 30000, CONNECTIONS = 16 };

struct hub_fetch {
    struct hub *hub;
    struct hub_fetch_options options;
    struct egress_handler handler;
    struct egress_transfer *transfer;
    struct arena *arena; /* the URLs it went through */
    struct str origin;   /* of where it is now */
    int redirects;
    int code; /* what `fail` will tell */
    struct error error;
    struct loop_timer *failing; /* tells it later: start never calls back */
};

/* "https://host:port" and "/path?query" of a URL. */
static bool url_split(struct str url, struct str *origin, struct str *path)
{
    size_t scheme = str_find(url, STR("://"));
    if (url.len > URL_MAX || scheme == SIZE_MAX)
        return false;
    size_t end = scheme + 3;
    while (end < url.len && !strchr("/?#", url.data[end]))
        end++;
    size_t fragment = str_find_char(url, '#');
    *origin = str_slice(url, 0, end);
    *path = str_slice(url, end, fragment == SIZE_MAX ? url.len : fragment);
    return end > scheme + 3 && (path->len == 0 || path->data[0] == '/');
}

/* Said here in words of weir pull; egress would speak of providers. */
static int origin_check(struct str origin, struct error *err)
{
    const bool plain = str_starts(origin, STR("http://"));
    struct str host = str_slice(origin, plain ? 7 : 0, origin.len);
    const size_t port = str_find_char(host, ':');
    if (str_find_char(origin, '@') != SIZE_MAX)
        return error_set(
            err, ERROR_INVALID, "the address of a hub or mirror must not hold a user or password");
    if (plain && host.len > 0 && host.data[0] != '[' && port != SIZE_MAX)
        host.len = port;
    if (plain && !egress_host_is_loopback(host) && !str_starts(host, STR("[::1]")))
        return error_set(err, ERROR_DENIED,
            STR_FMT " has no TLS: models are fetched by https, by http from this machine alone",
            STR_ARG(origin));
    return 0;
}

static int origin_target(struct hub *h, struct str origin, struct egress_target **out, struct error *err)
{
    for (size_t i = 0; i < h->n_origins; i++)
        if (str_eq(h->origins[i].origin, origin)) {
            *out = h->origins[i].target;
            return 0;
        }
    int rc = origin_check(origin, err);
    if (rc)
        return rc;
    if (h->n_origins == HUB_ORIGINS_MAX)
        return error_set(err, ERROR_LIMIT, "the hub sends on to more than %d servers", HUB_ORIGINS_MAX);
    const struct egress_target_options o = {.name = STR("hub"),
        .base_url = origin,
        .zone = EGRESS_ZONE_CLOUD,
        .ca_file = h->options.ca_file,
        .proxy = hub_proxy_of(&h->options, origin),
        .first_byte_timeout_ms = QUIET_MS,
        .idle_timeout_ms = QUIET_MS};
    rc = egress_target_create(&o, out, err);
    if (rc == 0)
        h->origins[h->n_origins++] = (struct hub_origin){arena_copy(h->arena, origin), *out};
    return rc;
}

/* ---- Transfers ---- */

static void on_failing(void *ctx)
{
    struct hub_fetch *f = ctx;
    f->handler.done(f->handler.ctx, f->code, &f->error);
}

static void fail_later(struct hub_fetch *f, int code)
{
    f->code = code;
    loop_timer_start(f->failing, 0);
}

static void on_status(void *ctx, int status);

static void on_data(void *ctx, struct str bytes)
{
    struct hub_fetch *f = ctx;
    if (f->handler.data)
        f->handler.data(f->handler.ctx, bytes);
}

static void on_done(void *ctx, int code, const struct error *err)
{
    struct hub_fetch *f = ctx;
    f->handler.done(f->handler.ctx, code, err);
}

static void go(struct hub_fetch *f, struct str url)
{
    struct hub *h = f->hub;
    struct egress_target *target;
    struct egress_header headers[3];
    char range[64];
    struct str path;
    size_t n = 0;
    int rc;
    if (!url_split(url, &f->origin, &path)) {
        fail_later(f, error_set(&f->error, ERROR_INVALID, "the hub gives an address that is none"));
        return;
    }
    if ((rc = origin_target(h, f->origin, &target, &f->error)) != 0) {
        fail_later(f, rc);
        return;
    }
    if (f->options.accept)
        headers[n++] = (struct egress_header){STR("accept"), str_from(f->options.accept)};
    if (f->options.last >= 0) {
        snprintf(
            range, sizeof range, "bytes=%lld-%lld", (long long)f->options.first, (long long)f->options.last);
        headers[n++] = (struct egress_header){STR("range"), str_from(range)};
    }
    if (h->options.token.len > 0 && str_eq(f->origin, h->asked))
        headers[n++] = (struct egress_header){
            STR("authorization"), arena_printf(f->arena, "Bearer " STR_FMT, STR_ARG(h->options.token))};
    const struct egress_request request = {
        .method = "GET", .path = path.len ? path : STR("/"), .headers = headers, .n_headers = n};
    rc = egress_open(h->egress, router_permit_pull(f->arena, clock_mono_ms()), target, &request,
        &(struct egress_handler){on_status, on_data, on_done, f}, &f->transfer, &f->error);
    if (rc)
        fail_later(f, rc);
}

static void redirect(struct hub_fetch *f)
{
    struct str location = arena_copy(f->arena, hub_fetch_header(f, "location"));
    egress_close(f->transfer);
    f->transfer = NULL;
    if (str_starts(location, STR("//")))
        location = arena_printf(f->arena, "https:" STR_FMT, STR_ARG(location));
    else if (str_starts(location, STR("/")))
        location = arena_printf(f->arena, STR_FMT STR_FMT, STR_ARG(f->origin), STR_ARG(location));
    if (f->redirects++ == REDIRECTS_MAX)
        fail_later(f, error_set(&f->error, ERROR_INVALID, "the hub sends on and on without an answer"));
    else if (str_starts(f->origin, STR("https:")) && !str_starts(location, STR("https:")))
        fail_later(f, error_set(&f->error, ERROR_DENIED,
                          "the hub sends on from https to an address without it: not followed"));
    else
        go(f, location);
}

static void on_status(void *ctx, int status)
{
    struct hub_fetch *f = ctx;
    if (status == 301 || status == 302 || status == 303 || status == 307 || status == 308)
        redirect(f);
    else if (f->handler.status)
        f->handler.status(f->handler.ctx, status);
}

struct hub_fetch *hub_fetch_start(
    struct hub *h, const struct hub_fetch_options *o, const struct egress_handler *handler)
{
    struct hub_fetch *f = must(calloc(1, sizeof *f));
    f->hub = h;
    f->options = *o;
    f->handler = *handler;
    f->arena = arena_create(MIB);
    f->failing = loop_timer_create(h->loop, on_failing, f);
    go(f, arena_copy(f->arena, o->url));
    return f;
}

struct str hub_fetch_header(const struct hub_fetch *f, const char *name)
{
    return f->transfer ? egress_header(f->transfer, name) : STR_NONE;
}

void hub_fetch_close(struct hub_fetch *f)
{
    if (!f)
        return;
    egress_close(f->transfer);
    loop_timer_free(f->failing);
    arena_free(f->arena);
    free(f);
}

/* ---- What a status means ---- */

/* May it go better later? */
static bool status_passes(int status)
{
    return status == 408 || status == 425 || status == 429 || status >= 500;
}

int hub_status_error(int status, struct str url, struct error *err)
{
    struct str origin = url, path;
    (void)url_split(url, &origin, &path);
    if (status == 401 || status == 403)
        return error_set(err, ERROR_DENIED,
            STR_FMT " wants to know who asks (HTTP %d): accept the model's terms there and set HF_TOKEN, or "
                    "check the name",
            STR_ARG(origin), status);
    if (status == 404)
        return error_set(
            err, ERROR_NOT_FOUND, STR_FMT " has no such model (HTTP 404): check the name", STR_ARG(origin));
    return error_set(err, status_passes(status) ? ERROR_UNAVAILABLE : ERROR_IO, STR_FMT " answered HTTP %d",
        STR_ARG(origin), status);
}

/* ---- A whole answer ---- */

struct get {
    struct hub *hub;
    struct hub_fetch *fetch;
    struct arena *arena;
    struct buf body;
    struct str next;
    int status, code;
    struct error error;
};

/* <https://...>; rel="next" */
static struct str link_next(struct str link)
{
    size_t rel = str_find(link, STR("rel=\"next\"")), open = str_find_char(link, '<'),
           close = str_find_char(link, '>');
    return rel != SIZE_MAX && close != SIZE_MAX && open < close && close < rel
               ? str_slice(link, open + 1, close)
               : STR_NONE;
}

static void on_get_status(void *ctx, int status)
{
    struct get *g = ctx;
    g->status = status;
    g->next = arena_copy(g->arena, link_next(hub_fetch_header(g->fetch, "link")));
}

static void on_get_data(void *ctx, struct str bytes)
{
    struct get *g = ctx;
    buf_append_str(&g->body, bytes);
}

static void on_get_done(void *ctx, int code, const struct error *err)
{
    struct get *g = ctx;
    g->code = code;
    if (code)
        g->error = *err;
    loop_stop(g->hub->loop);
}

static void on_pause_over(void *ctx)
{
    loop_stop(ctx);
}

static int pause_loop(struct hub *h, int64_t ms, struct error *err)
{
    struct loop_timer *t = loop_timer_create(h->loop, on_pause_over, h->loop);
    loop_timer_start(t, ms);
    int rc = loop_run(h->loop, err);
    loop_timer_free(t);
    return rc;
}

static int get_once(struct hub *h, struct get *g, const struct hub_fetch_options *o, struct error *err)
{
    buf_clear(&g->body);
    g->fetch = hub_fetch_start(h, o, &(struct egress_handler){on_get_status, on_get_data, on_get_done, g});
    int rc = loop_run(h->loop, err);
    hub_fetch_close(g->fetch);
    if (rc == 0 && g->code)
        rc = error_set(err, g->code, "%s", g->error.message);
    if (rc == 0 && g->status != 200)
        rc = hub_status_error(g->status, o->url, err);
    if (rc == 0 && g->body.failed)
        rc = error_set(err, ERROR_LIMIT, "the hub's answer is larger than %zu MiB", g->body.max / MIB);
    return rc;
}

int hub_get(struct hub *h, struct arena *a, const struct hub_fetch_options *o, size_t max, json_t **out,
    struct str *next, struct error *err)
{
    struct get g = {.hub = h, .arena = a};
    buf_init(&g.body, max);
    int rc = get_once(h, &g, o, err);
    for (int i = 1; i < TRIES && (rc == ERROR_UNAVAILABLE || rc == ERROR_TIMEOUT); i++) {
        struct error ignored;
        if (pause_loop(h, 250 << i, &ignored))
            break;
        rc = get_once(h, &g, o, err);
    }
    if (rc == 0)
        rc = json_read_in(a, buf_str(&g.body), out, err);
    if (next)
        *next = g.next;
    buf_free(&g.body);
    return rc;
}

/* ---- The hub ---- */

int hub_create(const struct hub_options *o, struct hub **out, struct error *err)
{
    struct hub *h = must(calloc(1, sizeof *h));
    h->arena = arena_create(MIB);
    h->options = *o;
    h->options.mirror = arena_copy(h->arena, o->mirror);
    h->options.proxy = arena_copy(h->arena, o->proxy);
    h->options.proxy_plain = arena_copy(h->arena, o->proxy_plain);
    h->options.no_proxy = arena_copy(h->arena, o->no_proxy);
    h->options.ca_file = arena_copy(h->arena, o->ca_file);
    h->options.token = arena_copy(h->arena, o->token);
    int rc = loop_create(&h->loop, err);
    if (rc == 0)
        rc = egress_create(h->loop,
            &(struct egress_options){.offline = o->offline,
                .witness = govern_audit_witness,
                .witness_ctx = o->audit,
                .max_connections_per_host = CONNECTIONS},
            &h->egress, err);
    if (rc) {
        hub_free(h);
        return rc;
    }
    *out = h;
    return 0;
}

void hub_stop(struct hub *h)
{
    if (h && h->egress)
        egress_free(h->egress);
    if (h)
        h->egress = NULL;
}

void hub_free(struct hub *h)
{
    if (!h)
        return;
    hub_stop(h);
    if (h->loop)
        loop_run_posted(h->loop); /* of records whose requests are gone */
    for (size_t i = 0; i < h->n_origins; i++)
        egress_target_free(h->origins[i].target);
    loop_free(h->loop);
    arena_free(h->arena);
    free(h);
}

int hub_list(
    struct hub *h, struct arena *a, const struct hub_name *name, struct hub_listing *out, struct error *err)
{
    struct hub_name asked = *name;
    if (h->options.mirror.len > 0)
        asked.origin = h->options.mirror;
    while (asked.origin.len > 0 && asked.origin.data[asked.origin.len - 1] == '/')
        asked.origin.len--;
    struct str path;
    if (!url_split(asked.origin, &h->asked, &path))
        return error_set(err, ERROR_INVALID, "the hub's address is no URL: write it like https://host");
    h->asked = arena_copy(h->arena, h->asked);
    return name->kind == HUB_OLLAMA ? hub_list_ollama(h, a, &asked, out, err)
                                    : hub_list_hugging_face(h, a, &asked, out, err);
}

#include "app/running.h"

#include "base/clock.h"
#include "base/limits.h"
#include "egress/egress.h"
#include "router/router.h"

enum { CONNECT_MS = 500, ANSWER_MS = 3000 };

struct asking {
    struct loop *loop;
    struct buf body;
    int code;
    struct error err;
};

static void on_status(void *ctx, int status)
{
    (void)ctx;
    (void)status;
}

static void on_data(void *ctx, struct str bytes)
{
    struct asking *a = ctx;
    buf_append_str(&a->body, bytes);
}

static void on_done(void *ctx, int code, const struct error *err)
{
    struct asking *a = ctx;
    a->code = code;
    if (code)
        a->err = *err;
    loop_stop(a->loop);
}

/* What is asked of the gateway itself has not left: there is no record of it. */
static void no_record(void *ctx, struct loop *loop, const struct egress_record *record,
    void (*done)(void *done_ctx, int code), void *done_ctx)
{
    (void)ctx;
    (void)loop;
    (void)record;
    done(done_ctx, 0);
}

/* A gateway that listens on every address is here, too. */
static struct str url_of(const struct config *c, const char *url, struct arena *a)
{
    bool every = str_is(c->listen_host, "0.0.0.0") || str_is(c->listen_host, "::");
    struct str host = every ? STR("127.0.0.1") : c->listen_host;
    bool v6 = str_find_char(host, ':') != SIZE_MAX;
    if (url)
        return str_from(url);
    return arena_printf(a, "%s://%s" STR_FMT "%s:%d", c->tls_certificate.len ? "https" : "http",
        v6 ? "[" : "", STR_ARG(host), v6 ? "]" : "", c->listen_port);
}

static int ask(
    struct asking *asking, struct egress_target *target, const char *path, struct arena *a, struct error *err)
{
    const struct egress_request request = {.method = "GET", .path = str_from(path)};
    const struct egress_handler handler = {on_status, on_data, on_done, asking};
    struct egress *egress = NULL;
    struct egress_transfer *transfer = NULL;
    int rc = egress_create(asking->loop, &(struct egress_options){.witness = no_record}, &egress, err);
    if (rc == 0)
        rc = egress_open(
            egress, router_permit_probe(a, clock_mono_ms()), target, &request, &handler, &transfer, err);
    if (rc == 0)
        rc = loop_run(asking->loop, err);
    if (rc == 0 && asking->code) {
        rc = asking->code;
        *err = asking->err;
    }
    egress_close(transfer);
    egress_free(egress);
    return rc;
}

int running_ask(const struct config *c, const char *url, const char *path, struct arena *a, json_t **out,
    struct error *err)
{
    const struct egress_target_options options = {.name = STR("gateway"),
        .base_url = url_of(c, url, a),
        .zone = EGRESS_ZONE_LOCAL,
        .ca_file = c->tls_certificate,
        .connect_timeout_ms = CONNECT_MS,
        .first_byte_timeout_ms = ANSWER_MS,
        .idle_timeout_ms = ANSWER_MS};
    struct asking asking = {0};
    struct egress_target *target = NULL;
    if (!url && c->listen_port == 0)
        return error_set(err, ERROR_UNAVAILABLE, "the configuration does not say at which port it listens");
    buf_init(&asking.body, 16 * MIB);
    int rc = loop_create(&asking.loop, err);
    if (rc == 0)
        rc = egress_target_create(&options, &target, err);
    if (rc == 0)
        rc = ask(&asking, target, path, a, err);
    if (rc == 0)
        rc = json_read_in(a, buf_str(&asking.body), out, err);
    egress_target_free(target);
    loop_free(asking.loop);
    buf_free(&asking.body);
    return rc;
}

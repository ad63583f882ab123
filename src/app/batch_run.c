#include "app/batch_run.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "app/gateway.h"
#include "engine/engine.h"

struct run {
    struct config *config;
    struct loop *loop;
    struct gateway_engines *engines;
    struct exchange_shard exchange;
    struct api_shard api;
    struct batch *batch;
    struct loop_signal *signals[2];
    bool shows; /* standard error is a terminal */
    int code;
    struct error err;
};

static void on_progress(void *ctx)
{
    struct run *r = ctx;
    if (!r->shows || !r->batch)
        return;
    struct batch_counts c = batch_progress(r->batch);
    int64_t done = c.completed + c.failed;
    int filled = c.total > 0 ? (int)(done * 30 / c.total) : 0;
    filled = filled > 30 ? 30 : filled;
    fprintf(stderr, "\r[%.*s%*s] %lld of %lld, %lld failed", filled, "##############################",
        30 - filled, "", (long long)done, (long long)c.total, (long long)c.failed);
}

static void on_end(void *ctx, int code, const struct error *err)
{
    struct run *r = ctx;
    r->code = code;
    r->err = *err;
    loop_stop(r->loop);
}

/* The lines that run are finished; a second signal ends at once. */
static void on_signal(int number, void *ctx)
{
    struct run *r = ctx;
    (void)number;
    for (int i = 0; i < 2; i++) {
        loop_signal_free(r->signals[i]);
        r->signals[i] = NULL;
    }
    batch_cancel(r->batch);
}

static int open_all(struct run *r, struct error *err)
{
    struct egress_options egress = {.offline = r->config->offline, .witness = govern_audit_witness};
    struct exchange_shard *x = &r->exchange;
    int rc = router_detect_init(err);
    if (rc == 0)
        rc = store_open(r->config->state, &x->store, err);
    if (rc == 0)
        rc = store_absorb(x->store, err);
    if (rc == 0)
        rc = loop_create(&r->loop, err);
    if (rc)
        return rc;
    x->loop = r->loop;
    x->meter = meter_create();
    egress.witness_ctx = x->store;
    r->engines = gateway_engines_create(r->loop);
    rc = egress_create(r->loop, &egress, &x->egress, err);
    struct config *config = r->config;
    r->config = NULL; /* the world's, also where it fails */
    if (rc)
        config_free(config);
    else
        rc = gateway_world(r->engines, config, NULL, &x->world, err);
    r->api.exchange = x;
    return rc;
}

static void close_all(struct run *r)
{
    batch_free(r->batch);
    for (int i = 0; i < 2; i++)
        loop_signal_free(r->signals[i]);
    store_close(r->exchange.store);
    if (r->loop)
        loop_run_posted(r->loop);
    if (r->exchange.egress)
        egress_free(r->exchange.egress);
    if (r->exchange.world)
        exchange_world_unref(r->exchange.world);
    if (r->loop)
        loop_run_posted(r->loop); /* the engines end */
    gateway_engines_free(r->engines);
    loop_free(r->loop);
    if (r->exchange.meter)
        meter_free(r->exchange.meter);
    config_free(r->config);
}

static int run(struct run *r, const struct batch_options *o, struct error *err)
{
    int rc = open_all(r, err);
    if (rc == 0)
        rc = batch_start(o, &r->batch, err);
    if (rc)
        return rc;
    r->signals[0] = loop_signal_create(r->loop, SIGINT, on_signal, r);
    r->signals[1] = loop_signal_create(r->loop, SIGTERM, on_signal, r);
    rc = loop_run(r->loop, err);
    if (r->shows)
        fputc('\n', stderr);
    if (rc == 0 && r->code == ERROR_CANCELLED)
        return error_set(err, r->code, "it was broken off: the same command goes on with it");
    return rc == 0 && r->code ? error_set(err, r->code, "%s", r->err.message) : rc;
}

int batch_run(
    struct config *config, const struct batch_run_options *o, struct batch_counts *counts, struct error *err)
{
    struct run r = {.config = config, .shows = isatty(STDERR_FILENO) != 0};
    const struct batch_options options = {.shard = &r.api,
        .in = o->in,
        .out = o->out,
        .failed = o->out,
        .model = o->model,
        .parallel = o->parallel,
        .measure = o->measure,
        .measure_again = o->measure_again,
        .end = on_end,
        .progress = on_progress,
        .ctx = &r};
    int rc = run(&r, &options, err);
    *counts = r.batch ? batch_progress(r.batch) : (struct batch_counts){0};
    close_all(&r);
    return rc;
}

/* One egress on one loop, a witness that writes down what it is told, and a transfer that writes down what
 * comes. */
#ifndef WEIR_TESTS_EGRESS_FIXTURE_H
#define WEIR_TESTS_EGRESS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "egress/egress.h"
#include "egress/permit.h"
#include "loopback.h"

struct fixture {
    struct loop *loop;
    struct egress *egress;
    int witness_code;     /* what the witness answers */
    int witness_delay_ms; /* 0: at once */
    struct loop_timer *witness_timer, *stop_timer;
    void (*witness_done)(void *, int);
    void *witness_ctx;
    int witnessed;
    char request_id[64], rule[128], target[64], host[128], path[128], sha256[65];
    int64_t bytes;
    bool timed_out; /* the test itself took too long */
    int open;       /* transfers not done yet */
};

struct seen {
    struct fixture *fixture;
    struct egress_transfer *transfer;
    int status, code, n_done, n_data;
    struct buf body;
    struct error error;
    bool close_at_status, close_at_data, finish_at_data, pause_at_data, close_at_done;
};

static void fixture_witness(
    void *ctx, struct loop *loop, const struct egress_record *r, void (*done)(void *, int), void *done_ctx)
{
    struct fixture *f = ctx;
    assert_ptr_equal(loop, f->loop);
    f->witnessed++;
    snprintf(f->request_id, sizeof f->request_id, STR_FMT, STR_ARG(r->request_id));
    snprintf(f->rule, sizeof f->rule, STR_FMT, STR_ARG(r->rule));
    snprintf(f->target, sizeof f->target, STR_FMT, STR_ARG(r->target));
    snprintf(f->host, sizeof f->host, STR_FMT, STR_ARG(r->host));
    snprintf(f->path, sizeof f->path, STR_FMT, STR_ARG(r->path));
    memcpy(f->sha256, r->sha256, sizeof f->sha256);
    f->bytes = r->bytes;
    if (f->witness_delay_ms == 0) {
        done(done_ctx, f->witness_code);
        return;
    }
    f->witness_done = done;
    f->witness_ctx = done_ctx;
    loop_timer_start(f->witness_timer, f->witness_delay_ms);
}

static void fixture_witness_late(void *ctx)
{
    struct fixture *f = ctx;
    f->witness_done(f->witness_ctx, f->witness_code);
}

static void fixture_too_late(void *ctx)
{
    struct fixture *f = ctx;
    f->timed_out = true;
    loop_stop(f->loop);
}

static inline void fixture_start_with(struct fixture *f, bool offline)
{
    struct error err;
    memset(f, 0, sizeof *f);
    assert_int_equal(loop_create(&f->loop, &err), 0);
    f->witness_timer = loop_timer_create(f->loop, fixture_witness_late, f);
    f->stop_timer = loop_timer_create(f->loop, fixture_too_late, f);
    struct egress_options o = {.offline = offline, .witness = fixture_witness, .witness_ctx = f};
    assert_int_equal(egress_create(f->loop, &o, &f->egress, &err), 0);
}

static inline void fixture_start(struct fixture *f)
{
    fixture_start_with(f, false);
}

static inline void fixture_stop(struct fixture *f)
{
    egress_free(f->egress);
    loop_timer_free(f->witness_timer);
    loop_timer_free(f->stop_timer);
    loop_free(f->loop);
}

/* Runs the loop until all transfers are done, or for so long. */
static inline void fixture_run(struct fixture *f, int at_most_ms)
{
    struct error err;
    f->timed_out = false;
    loop_timer_start(f->stop_timer, at_most_ms);
    assert_int_equal(loop_run(f->loop, &err), 0);
    loop_timer_stop(f->stop_timer);
}

static inline struct egress_target *fixture_target(
    const char *url, enum egress_zone zone, const char *ca_file)
{
    struct error err = {0};
    struct egress_target *t = NULL;
    struct egress_target_options o = {.name = STR("cloud"),
        .base_url = str_from(url),
        .zone = zone,
        .ca_file = str_from(ca_file),
        .connect_timeout_ms = 2000,
        .first_byte_timeout_ms = 2000,
        .idle_timeout_ms = 2000};
    if (egress_target_create(&o, &t, &err) != 0)
        fail_msg("%s", err.message);
    return t;
}

static inline struct egress_permit fixture_permit(enum egress_boundary boundary)
{
    return (struct egress_permit){.boundary = boundary,
        .request_id = "req_1",
        .rule = "rule_1",
        .expires_mono_ms = clock_mono_ms() + 60000};
}

static void seen_end(struct seen *s)
{
    if (--s->fixture->open == 0)
        loop_stop(s->fixture->loop);
}

static void seen_status(void *ctx, int status)
{
    struct seen *s = ctx;
    assert_int_equal(s->status, 0);
    s->status = status;
    if (s->close_at_status) {
        egress_close(s->transfer);
        s->transfer = NULL;
        seen_end(s);
    }
}

static void seen_data(void *ctx, struct str bytes)
{
    struct seen *s = ctx;
    assert_int_not_equal(s->status, 0);
    s->n_data++;
    buf_append_str(&s->body, bytes);
    if (s->close_at_data || s->finish_at_data) {
        struct egress_transfer *t = s->transfer;
        s->transfer = NULL;
        if (s->close_at_data)
            egress_close(t);
        else
            egress_finish(t);
        seen_end(s);
    } else if (s->pause_at_data) {
        egress_pause(s->transfer, true);
    }
}

static void seen_done(void *ctx, int code, const struct error *err)
{
    struct seen *s = ctx;
    s->n_done++;
    s->code = code;
    assert_true((code == 0) == (err == NULL));
    if (err)
        s->error = *err;
    if (s->close_at_done) {
        egress_close(s->transfer);
        s->transfer = NULL;
    }
    seen_end(s);
}

static inline int seen_open_with(struct fixture *f, struct seen *s, const struct egress_permit *permit,
    const struct egress_target *t, const struct egress_request *request, struct error *err)
{
    struct egress_handler handler = {seen_status, seen_data, seen_done, s};
    s->fixture = f;
    if (s->body.max == 0)
        buf_init(&s->body, 128 * MIB);
    int rc = egress_open(f->egress, permit, t, request, &handler, &s->transfer, err);
    f->open += rc == 0;
    return rc;
}

static inline void seen_open(
    struct fixture *f, struct seen *s, const struct egress_target *t, const char *body)
{
    struct error err = {0};
    struct egress_permit permit = fixture_permit(EGRESS_BOUNDARY_ANY);
    struct egress_header header = {STR("Authorization"), STR("Bearer sk-secret-of-ours")};
    struct egress_request request = {
        .method = "POST", .path = STR("/chat"), .headers = &header, .n_headers = 1, .body = str_from(body)};
    if (seen_open_with(f, s, &permit, t, &request, &err) != 0)
        fail_msg("%s", err.message);
}

static inline void seen_free(struct seen *s)
{
    egress_close(s->transfer);
    buf_free(&s->body);
}

/* One request and its whole life. */
static inline void seen_run(
    struct fixture *f, struct seen *s, const struct egress_target *t, const char *body)
{
    seen_open(f, s, t, body);
    fixture_run(f, 10000);
    assert_false(f->timed_out);
}

#endif

#include <assert.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/must.h"
#include "egress/internal.h"

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_ready;

static void curl_start(void)
{
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT);
    /* TLS may write to a socket that its peer has closed; that is an error to report, not the process's end.
     */
    struct sigaction now;
    if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
}

/* ---- Work put off ---- */

void egress_later(struct egress_transfer *t, enum egress_todo todo)
{
    struct egress *e = t->egress;
    t->todo |= todo;
    if (list_empty(&t->later)) {
        list_push_back(&e->later, &t->later);
        loop_timer_start(e->later_timer, 0);
    }
}

static void do_todo(struct egress_transfer *t)
{
    unsigned todo = t->todo;
    t->todo = 0;
    if (todo & EGRESS_TODO_FAIL)
        egress_transfer_end(t, t->code);
    else if (todo & EGRESS_TODO_TIMEOUT)
        egress_transfer_timeout(t);
    else if (todo & EGRESS_TODO_RESUME)
        egress_transfer_resume(t);
}

static void run_later(void *ctx)
{
    struct egress *e = ctx;
    struct list now;
    e->busy = true;
    /* What is added while this runs waits for the next turn, so that others have theirs. */
    list_init(&now);
    while (!list_empty(&e->later)) {
        struct list *first = e->later.next;
        list_remove(first);
        list_push_back(&now, first);
    }
    while (!list_empty(&now)) {
        struct egress_transfer *t = list_item(now.next, struct egress_transfer, later);
        list_remove(&t->later);
        do_todo(t);
    }
    e->busy = false;
}

/* ---- Time ---- */

void egress_tick_by(struct egress *e, int64_t mono_ms)
{
    if (mono_ms >= e->tick_ms)
        return;
    int64_t left = mono_ms - clock_mono_ms();
    e->tick_ms = mono_ms;
    loop_timer_start(e->tick, left > 0 ? left : 0);
}

/* One timer for all: a request costs none. It fires at the earliest end of what it knew of when it was set;
 * most of that is over by then. */
static void on_tick(void *ctx)
{
    struct egress *e = ctx;
    int64_t now = clock_mono_ms();
    e->busy = true;
    e->tick_ms = INT64_MAX;
    int64_t next = egress_pool_expire(e, now);
    list_each(node, after, &e->transfers) {
        struct egress_transfer *t = list_item(node, struct egress_transfer, all);
        int64_t deadline = egress_transfer_deadline(t);
        if (deadline <= now)
            egress_later(t, EGRESS_TODO_TIMEOUT);
        else if (deadline < next)
            next = deadline;
    }
    /* Many transfers are looked through less often. */
    int64_t soonest = now + 1 + e->n_transfers / 64;
    if (next != INT64_MAX)
        egress_tick_by(e, next > soonest ? next : soonest);
    e->busy = false;
}

/* ---- libcurl on the loop ---- */

static void act(struct egress *e, curl_socket_t fd, int events)
{
    CURLMsg *message;
    int running, left;
    e->busy = true;
    curl_multi_socket_action(e->multi, fd, events, &running);
    while ((message = curl_multi_info_read(e->multi, &left)) != NULL) {
        struct egress_connection *c = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode result = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &c);
        egress_connection_dialled(c, result);
    }
    e->busy = false;
}

static void on_timer(void *ctx)
{
    act(ctx, CURL_SOCKET_TIMEOUT, 0);
}

static void on_io(int fd, int events, void *ctx)
{
    act(ctx, fd, (events & LOOP_READ ? CURL_CSELECT_IN : 0) | (events & LOOP_WRITE ? CURL_CSELECT_OUT : 0));
}

static int on_curl_timer(CURLM *multi, long delay_ms, void *ctx)
{
    struct egress *e = ctx;
    (void)multi;
    if (delay_ms < 0)
        loop_timer_stop(e->timer);
    else
        loop_timer_start(e->timer, delay_ms);
    return 0;
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
    struct egress *e = ctx;
    struct loop_io *io = socket_ctx;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        curl_multi_assign(e->multi, fd, NULL);
        loop_io_free(io);
        return 0;
    }
    int events = (what & CURL_POLL_IN ? LOOP_READ : 0) | (what & CURL_POLL_OUT ? LOOP_WRITE : 0);
    if (io)
        loop_io_change(io, events);
    else
        curl_multi_assign(e->multi, fd, loop_io_create(e->loop, fd, events, on_io, e));
    return 0;
}

static int libraries_setup(struct egress *e, struct error *err)
{
    e->multi = curl_multi_init();
    bool good = e->multi && !curl_multi_setopt(e->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket) &&
                !curl_multi_setopt(e->multi, CURLMOPT_SOCKETDATA, e) &&
                !curl_multi_setopt(e->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer) &&
                !curl_multi_setopt(e->multi, CURLMOPT_TIMERDATA, e);
    if (!good)
        return error_set(err, ERROR_INTERNAL, "libcurl could not be set up: check that it is 7.87 or newer");
    /* Looked up once: doing so costs more than hashing a prompt. */
    e->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    e->hash = EVP_MD_CTX_new();
    if (!e->sha256 || !e->hash)
        return error_set(err, ERROR_INTERNAL, "SHA-256 is missing: check the OpenSSL installation");
    return 0;
}

int egress_create(struct loop *loop, const struct egress_options *o, struct egress **out, struct error *err)
{
    assert(o->witness);
    pthread_once(&curl_once, curl_start);
    if (curl_ready != CURLE_OK)
        return error_set(
            err, ERROR_INTERNAL, "libcurl could not be started: %s", curl_easy_strerror(curl_ready));
    struct egress *e = must(calloc(1, sizeof *e));
    e->loop = loop;
    e->offline = o->offline;
    e->witness = o->witness;
    e->witness_ctx = o->witness_ctx;
    e->connections_max = o->max_connections_per_host > 0 ? o->max_connections_per_host : LIMIT_CONNECTIONS;
    e->timer = loop_timer_create(loop, on_timer, e);
    e->later_timer = loop_timer_create(loop, run_later, e);
    e->tick = loop_timer_create(loop, on_tick, e);
    e->tick_ms = INT64_MAX;
    list_init(&e->transfers);
    list_init(&e->later);
    list_init(&e->lines);
    list_init(&e->idle);
    int rc = libraries_setup(e, err);
    if (rc) {
        egress_free(e);
        return rc;
    }
    *out = e;
    return 0;
}

void egress_free(struct egress *e)
{
    if (!e)
        return;
    assert(!e->busy);
    e->freeing = true;
    list_each(node, after, &e->transfers) {
        struct egress_transfer *t = list_item(node, struct egress_transfer, all);
        bool ownerless = t->draining;
        egress_transfer_detach(t);
        if (ownerless)
            egress_transfer_free(t);
    }
    egress_pool_free(e);
    curl_multi_cleanup(e->multi);
    loop_timer_free(e->timer);
    loop_timer_free(e->later_timer);
    loop_timer_free(e->tick);
    EVP_MD_CTX_free(e->hash);
    EVP_MD_free(e->sha256);
    free(e);
}

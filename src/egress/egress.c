#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "egress/internal.h"

enum { CONNECTIONS_PER_HOST = 256, IDLE_CONNECTIONS = 1024 };

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

/* ---- Work put off until libcurl has returned ---- */

void egress_later(struct egress_transfer *t, enum egress_todo todo)
{
    struct egress *e = t->egress;
    t->todo |= todo;
    if (list_empty(&t->later)) {
        list_push_back(&e->later, &t->later);
        if (!e->inside)
            loop_timer_start(e->later_timer, 0);
    }
}

static void do_todo(struct egress_transfer *t)
{
    unsigned todo = t->todo;
    t->todo = 0;
    if (todo & EGRESS_TODO_FREE)
        egress_transfer_free(t);
    else if (todo & EGRESS_TODO_FAIL)
        egress_transfer_end(t, t->code);
    else if (todo & EGRESS_TODO_START)
        egress_transfer_start(t);
    else if (todo & EGRESS_TODO_RESUME)
        egress_transfer_resume(t);
}

static void run_later(void *ctx)
{
    struct egress *e = ctx;
    bool was_busy = e->busy;
    e->busy = true;
    /* What is added while this runs is done too: each entry needs an event or a call of its owner's. */
    while (!list_empty(&e->later)) {
        struct egress_transfer *t = list_item(e->later.next, struct egress_transfer, later);
        list_remove(&t->later);
        do_todo(t);
    }
    e->busy = was_busy;
}

/* ---- libcurl on the loop ---- */

static void read_messages(struct egress *e)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(e->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE)
            continue;
        struct egress_transfer *t = NULL;
        CURLcode result = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &t);
        egress_transfer_finished(t, result);
    }
}

static void act(struct egress *e, curl_socket_t fd, int events)
{
    int running;
    e->busy = true;
    e->inside++;
    curl_multi_socket_action(e->multi, fd, events, &running);
    e->inside--;
    /* Closed transfers go first: their end must not be told. */
    run_later(e);
    read_messages(e);
    run_later(e);
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

static int multi_setup(struct egress *e, long max_connections_per_host, struct error *err)
{
    e->multi = curl_multi_init();
    bool good = e->multi && !curl_multi_setopt(e->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket) &&
                !curl_multi_setopt(e->multi, CURLMOPT_SOCKETDATA, e) &&
                !curl_multi_setopt(e->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer) &&
                !curl_multi_setopt(e->multi, CURLMOPT_TIMERDATA, e) &&
                !curl_multi_setopt(e->multi, CURLMOPT_MAX_HOST_CONNECTIONS, max_connections_per_host) &&
                !curl_multi_setopt(e->multi, CURLMOPT_MAXCONNECTS, (long)IDLE_CONNECTIONS);
    return good ? 0
                : error_set(
                      err, ERROR_INTERNAL, "libcurl could not be set up: check that it is 7.85 or newer");
}

int egress_create(struct loop *loop, const struct egress_options *o, struct egress **out, struct error *err)
{
    assert(o->witness);
    pthread_once(&curl_once, curl_start);
    if (curl_ready != CURLE_OK)
        return error_set(
            err, ERROR_INTERNAL, "libcurl could not be started: %s", curl_easy_strerror(curl_ready));
    struct egress *e = calloc(1, sizeof *e);
    if (!e)
        abort();
    e->loop = loop;
    e->offline = o->offline;
    e->witness = o->witness;
    e->witness_ctx = o->witness_ctx;
    e->timer = loop_timer_create(loop, on_timer, e);
    e->later_timer = loop_timer_create(loop, run_later, e);
    list_init(&e->transfers);
    list_init(&e->later);
    int rc = multi_setup(
        e, o->max_connections_per_host > 0 ? o->max_connections_per_host : CONNECTIONS_PER_HOST, err);
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
    list_each(node, after, &e->transfers) {
        struct egress_transfer *t = list_item(node, struct egress_transfer, all);
        bool ownerless = t->draining || t->todo & EGRESS_TODO_FREE;
        egress_transfer_detach(t);
        if (ownerless)
            egress_transfer_free(t);
    }
    curl_multi_cleanup(e->multi);
    loop_timer_free(e->timer);
    loop_timer_free(e->later_timer);
    free(e);
}

/* Which transfer has which connection.
 *
 *   a transfer takes:  the idle connection used last | a new one, below the limit | a place in the queue
 *   a connection ends: the next in the queue gets it, or one made in its place
 *
 * The one used last first, so that the others grow old and go. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "egress/internal.h"

/* Servers close what is idle: most after 60 seconds and more. What one has closed meanwhile is noticed by its
 * reading event, when it is to be used again, or by the first request on it (egress_transfer's resending). */
enum { IDLE_MAX = 1024, IDLE_MS = 60000, DISTRUST_MS = 60000 };
/* A crowd of requests does not make a crowd of half-made connections, each with a handle of libcurl's. */
enum { DIALLING_MAX = 256 };

static void line_free(struct egress_line *line)
{
    list_remove(&line->link);
    egress_tls_forget(line);
    free(line->name);
    free(line);
}

static bool line_is_unused(const struct egress_line *line)
{
    return line->connections == 0 && list_empty(&line->waiting) && line->distrust_ms <= clock_mono_ms();
}

/* Places that are not gone to any more leave nothing but a session, for an hour. */
static void lines_sweep(struct egress *e)
{
    list_each(node, after, &e->lines) {
        struct egress_line *line = list_item(node, struct egress_line, link);
        if (line_is_unused(line) && !egress_tls_resumable(line))
            line_free(line);
    }
}

static struct egress_line *line_find(struct egress *e, const struct egress_target *target)
{
    list_each(node, after, &e->lines) {
        struct egress_line *line = list_item(node, struct egress_line, link);
        if (line->hash == target->line_hash && strcmp(line->name, target->line) == 0)
            return line;
    }
    lines_sweep(e);
    struct egress_line *line = must(calloc(1, sizeof *line));
    line->egress = e;
    line->hash = target->line_hash;
    line->name = must(strdup(target->line));
    list_init(&line->idle);
    list_init(&line->waiting);
    list_push_back(&e->lines, &line->link);
    return line;
}

static void idle_remove(struct egress_connection *c)
{
    if (list_empty(&c->pooled))
        return;
    list_remove(&c->pooled);
    list_remove(&c->aged);
    c->egress->n_idle--;
}

static void connection_close(struct egress_connection *c)
{
    idle_remove(c);
    if (c->transfer)
        c->transfer->connection = NULL;
    c->line->connections--;
    egress_connection_free(c);
}

static struct egress_connection *oldest(const struct list *idle)
{
    return list_empty(idle) ? NULL : list_item(idle->next, struct egress_connection, pooled);
}

/* The one used last that is still quiet. What has come unasked must not be read as the answer to the next
 * request, which may be somebody else's; that its event is still to come is no excuse. */
static struct egress_connection *latest(const struct list *idle)
{
    while (!list_empty(idle)) {
        struct egress_connection *c = list_item(idle->prev, struct egress_connection, pooled);
        if (egress_connection_quiet(c))
            return c;
        connection_close(c);
    }
    return NULL;
}

/* Gives `t` a connection of `line` if there is one to give. */
static bool line_serve(struct egress_line *line, struct egress_transfer *t, int *rc, struct error *err)
{
    struct egress *e = line->egress;
    struct egress_connection *c = t->resent ? NULL : latest(&line->idle);
    if (c) {
        idle_remove(c);
        c->transfer = t;
        t->connection = c;
        egress_transfer_connected(t);
        return true;
    }
    if (line->connections >= e->connections_max && !list_empty(&line->idle))
        connection_close(oldest(&line->idle)); /* what is sent again wants a new one */
    if (line->connections >= e->connections_max || line->dialling >= DIALLING_MAX)
        return false;
    *rc = egress_connection_dial(line, t, err);
    return true;
}

void egress_pool_next(struct egress_line *line)
{
    while (!line->egress->freeing && !list_empty(&line->waiting)) {
        struct egress_transfer *t = list_item(line->waiting.next, struct egress_transfer, queue);
        int rc = 0;
        if (!line_serve(line, t, &rc, &t->error))
            return;
        list_remove(&t->queue);
        if (rc)
            egress_transfer_fail(t, rc);
    }
    if (line_is_unused(line) && !line->session)
        line_free(line);
}

int egress_pool_take(struct egress_transfer *t, struct error *err)
{
    struct egress_line *line = line_find(t->egress, t->target);
    int rc = 0;
    if (!list_empty(&line->waiting) || !line_serve(line, t, &rc, err))
        list_push_back(&line->waiting, &t->queue);
    return rc;
}

void egress_pool_close(struct egress_connection *c)
{
    struct egress_line *line = c->line;
    connection_close(c);
    egress_pool_next(line);
}

void egress_pool_distrust(struct egress_connection *c)
{
    struct egress_line *line = c->line;
    int64_t now = clock_mono_ms();
    if (line->distrust_ms <= now)
        log_warn("egress",
            "'" STR_FMT "' sent an answer that nobody asked for: for a minute each connection to it carries "
            "one request; check what lies between",
            STR_ARG(c->transfer->target->name));
    line->distrust_ms = now + DISTRUST_MS;
    list_each(node, after, &line->idle) {
        struct egress_connection *other = list_item(node, struct egress_connection, pooled);
        if (other != c)
            connection_close(other);
    }
}

void egress_pool_leave(struct egress_transfer *t)
{
    list_remove(&t->queue);
    if (t->connection)
        egress_pool_close(t->connection);
}

void egress_pool_give(struct egress_transfer *t)
{
    struct egress_connection *c = t->connection;
    struct egress *e = c->egress;
    t->connection = NULL;
    c->transfer = NULL;
    c->used = true;
    c->idle_since_ms = clock_mono_rough_ms();
    if (c->line->distrust_ms > c->idle_since_ms) {
        egress_pool_close(c);
        return;
    }
    egress_connection_watch(c, LOOP_READ);
    list_push_back(&c->line->idle, &c->pooled);
    list_push_back(&e->idle, &c->aged);
    e->n_idle++;
    egress_tick_by(e, c->idle_since_ms + IDLE_MS);
    egress_pool_next(c->line);
    if (e->n_idle > IDLE_MAX)
        egress_pool_close(list_item(e->idle.next, struct egress_connection, aged));
}

int64_t egress_pool_expire(struct egress *e, int64_t now)
{
    while (!list_empty(&e->idle)) {
        struct egress_connection *c = list_item(e->idle.next, struct egress_connection, aged);
        if (c->idle_since_ms + IDLE_MS > now)
            return c->idle_since_ms + IDLE_MS;
        egress_pool_close(c);
    }
    return INT64_MAX;
}

void egress_pool_free(struct egress *e)
{
    egress_pool_expire(e, INT64_MAX);
    list_each(node, after, &e->lines) {
        struct egress_line *line = list_item(node, struct egress_line, link);
        assert(line->connections == 0);
        line_free(line);
    }
}

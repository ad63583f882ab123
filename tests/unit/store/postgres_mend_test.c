/* Sessions with a real PostgreSQL that are lost and made anew: by then the state may be a newer version's,
 * and what sets a session up may fail in the middle. */
#include "base/str.h"
#include "unit/store/postgres_fixture.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>

static void sessions_end(void)
{
    server_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'weir'");
}

static int beaten(void *ctx)
{
    struct error err;
    bool renewed;
    int64_t others;
    return store_lease_beat(ctx, 1, 10000, &renewed, &others, &err);
}

static int listed(void *ctx)
{
    struct error err;
    int64_t n = 0;
    return store_ledger_list(ctx, 0, count_ledger, &n, &err);
}

/* What it comes to once the lost session was noticed and the pause before another attempt is over. */
static int settled_code(int (*ask)(void *), struct store *s)
{
    int code = ERROR_IO;
    for (int i = 0; i < 1000 && code == ERROR_IO; i++, usleep(10000))
        code = ask(s);
    return code;
}

static void test_leases_and_readers_went_on_in_a_newer_form(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    assert_int_equal(store_claim(s, &err), 0);
    assert_int_equal(beaten(s), 0);
    assert_int_equal(listed(s), 0);
    server_sql("UPDATE weir.meta SET value = value + 1 WHERE name = 'schema'");
    sessions_end();
    assert_int_equal(settled_code(beaten, s), ERROR_UNSUPPORTED);
    assert_int_equal(settled_code(listed, s), ERROR_UNSUPPORTED);
    usleep(5100000); /* there is no other attempt before */
    assert_int_equal(settled_code(beaten, s), ERROR_UNSUPPORTED);
    server_sql("UPDATE weir.meta SET value = value - 1 WHERE name = 'schema'");
    usleep(5100000);
    assert_int_equal(beaten(s), 0);
    assert_int_equal(listed(s), 0);
    store_close(s);
}

/* Only the writer's session held the gateway's lock, and that one is made anew when there is something to
 * write. */
static void test_a_state_was_migrated_beneath_a_gateway_that_only_read(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f), *newer;
    struct error err;
    assert_int_equal(store_claim(s, &err), 0);
    sessions_end();
    assert_int_equal(settled_code(listed, s), 0);
    server_sql("UPDATE weir.meta SET value = value - 1 WHERE name = 'schema'");
    assert_int_equal(store_open(str_from(f->url), &newer, &err), ERROR_BUSY);
    assert_non_null(strstr(err.message, "1 gateways of an earlier version"));
    server_sql("UPDATE weir.meta SET value = value + 1 WHERE name = 'schema'");
    store_close(s);
}

/* ---- Between gateway and server: a statement that sets a session up can be made to fail. ---- */

enum { PAIRS = 32 };

static struct {
    struct sockaddr_un here, there;
    int listener, sockets[2 * PAIRS], n; /* a client's and its server's, in turn */
    atomic_int spoils;                   /* so many are to fail */
    atomic_bool stops;
    pthread_t thread;
} between;

static void between_accept(void)
{
    int client = accept(between.listener, NULL, NULL), server = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(client >= 0 && between.n < 2 * PAIRS);
    assert_int_equal(connect(server, (struct sockaddr *)&between.there, sizeof between.there), 0);
    between.sockets[between.n++] = client;
    between.sockets[between.n++] = server;
}

static void between_pass(int at)
{
    char bytes[16384];
    int *from = &between.sockets[at], *to = &between.sockets[at ^ 1];
    ssize_t n = read(*from, bytes, sizeof bytes);
    char *name = n > 0 && at % 2 == 0 ? memmem(bytes, (size_t)n, "search_path TO", 14) : NULL;
    if (name && atomic_load(&between.spoils) > 0) {
        name[0] = 'x';
        atomic_fetch_sub(&between.spoils, 1);
    }
    if (n > 0 && send(*to, bytes, (size_t)n, MSG_NOSIGNAL) == n)
        return;
    close(*from);
    close(*to);
    *from = *to = -1;
}

static void *between_main(void *ctx)
{
    while (!atomic_load(&between.stops)) {
        struct pollfd polled[1 + 2 * PAIRS] = {{between.listener, POLLIN, 0}};
        int n = between.n;
        for (int i = 0; i < n; i++)
            polled[1 + i] = (struct pollfd){between.sockets[i], POLLIN, 0};
        if (poll(polled, (nfds_t)n + 1, 20) <= 0)
            continue;
        if (polled[0].revents)
            between_accept();
        for (int i = 0; i < n; i++)
            if (polled[1 + i].revents && between.sockets[i] >= 0)
                between_pass(i);
    }
    return ctx;
}

static void between_start(struct fixture *f)
{
    memset(&between, 0, sizeof between);
    between.here.sun_family = between.there.sun_family = AF_UNIX;
    snprintf(between.here.sun_path, sizeof between.here.sun_path, "%s/.s.PGSQL.5432", f->dir);
    snprintf(between.there.sun_path, sizeof between.there.sun_path, "%s/.s.PGSQL.5432", server_dir);
    between.listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(between.listener, (struct sockaddr *)&between.here, sizeof between.here), 0);
    assert_int_equal(listen(between.listener, PAIRS), 0);
    assert_int_equal(pthread_create(&between.thread, NULL, between_main, NULL), 0);
    snprintf(f->url, sizeof f->url,
        "postgresql:///postgres?host=%s&user=weir&options=-csearch_path%%3Dpublic", f->dir);
}

static void between_end(void)
{
    atomic_store(&between.stops, true);
    pthread_join(between.thread, NULL);
    for (int i = 0; i < between.n; i++)
        if (between.sockets[i] >= 0)
            close(between.sockets[i]);
    close(between.listener);
}

/* It was connected, so it was used as it was: without the schema's name in its path nothing was found, for as
 * long as the connection held. */
static void test_a_session_half_set_up_stayed_so(void **state)
{
    struct fixture *f = *state;
    between_start(f);
    struct store *s = fixture_open(f);
    struct error err;
    assert_int_equal(store_claim(s, &err), 0);
    assert_int_equal(beaten(s), 0);
    keep_request(f, s, "before", clock_wall_ms());
    atomic_store(&between.spoils, 3); /* the writer's, the reader's and the leases' */
    sessions_end();
    struct store_settled row = settled_row("after");
    assert_int_equal(store_ledger_settle(s, &row, NOBODY, &err), 0);
    assert_int_equal(settled_code(beaten, s), 0);
    assert_int_equal(settled_code(listed, s), 0);
    int64_t rows = 0;
    for (int i = 0; i < 1000 && rows < 2; i++, usleep(10000))
        rows = ledger_count(s);
    assert_int_equal(rows, 2);
    assert_int_equal(atomic_load(&between.spoils), 0);
    store_close(s);
    between_end();
}

int main(void)
{
#define ON(test) cmocka_unit_test_setup_teardown(test, server_up, fixture_down)
    const struct CMUnitTest tests[] = {
        ON(test_leases_and_readers_went_on_in_a_newer_form),
        ON(test_a_state_was_migrated_beneath_a_gateway_that_only_read),
        ON(test_a_session_half_set_up_stayed_so),
    };
    return server_run(tests, sizeof tests / sizeof *tests);
}

/* Connections: which are used again, which are not, who waits for one; requests too large for one write,
 * answers that come before the request has left; TLS in pieces and through a proxy. */
#include "fixture.h"

enum { LARGE = 8 * 1024 * 1024 };

static const char *url_of(const struct loopback *s, const char *scheme)
{
    static char url[64];
    snprintf(url, sizeof url, "%s://127.0.0.1:%d", scheme, s->port);
    return url;
}

struct place {
    struct loopback server;
    struct fixture f;
    struct egress_target *target;
    struct loopback_authority authority;
};

static void place_start(struct place *p, void (*serve)(struct loopback_conn *), bool tls, int connections)
{
    struct error err;
    memset(p, 0, sizeof *p);
    if (tls) {
        loopback_authority_create(&p->authority, "IP:127.0.0.1");
        p->server.tls = loopback_authority_server(&p->authority);
    }
    loopback_start(&p->server, serve, p);
    fixture_start(&p->f);
    egress_free(p->f.egress);
    struct egress_options o = {
        .witness = fixture_witness, .witness_ctx = &p->f, .max_connections_per_host = connections};
    assert_int_equal(egress_create(p->f.loop, &o, &p->f.egress, &err), 0);
    struct egress_target_options to = {.name = STR("cloud"),
        .base_url = str_from(url_of(&p->server, tls ? "https" : "http")),
        .zone = EGRESS_ZONE_CLOUD,
        .ca_file = tls ? str_from(p->authority.ca_file) : STR_NONE};
    assert_int_equal(egress_target_create(&to, &p->target, &err), 0);
}

static void place_stop(struct place *p)
{
    SSL_CTX *tls = p->server.tls;
    egress_target_free(p->target);
    fixture_stop(&p->f);
    loopback_stop(&p->server);
    if (tls) {
        SSL_CTX_free(tls);
        loopback_authority_free(&p->authority);
    }
}

/* One request and its end; the answer's code. */
static int ask(struct place *p)
{
    struct seen seen = {.close_at_done = true};
    seen_run(&p->f, &seen, p->target, "x");
    seen_free(&seen);
    return seen.code;
}

static int connections(struct place *p)
{
    return atomic_load(&p->server.connections);
}

/* ---- Used again or not ---- */

static void serve_ok(struct loopback_conn *c)
{
    while (loopback_read(c))
        if (!loopback_answer(c, "200 OK", "", "hello"))
            return;
}

static void serve_said_close(struct loopback_conn *c)
{
    while (loopback_read(c))
        if (!loopback_answer(c, "200 OK", "Connection: close\r\n", "hello"))
            return;
}

static void serve_old(struct loopback_conn *c)
{
    while (loopback_read(c))
        if (!loopback_text(c, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"))
            return;
}

static void serve_too_much(struct loopback_conn *c)
{
    while (loopback_read(c))
        if (!loopback_text(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n"))
            return;
}

static void serve_ambiguous(struct loopback_conn *c)
{
    while (loopback_read(c))
        if (!loopback_text(
                c, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))
            return;
}

/* The body that such answers cannot have would be read as the next answer. */
static void serve_body_of_a_204(struct loopback_conn *c)
{
    while (loopback_read(c))
        if (!loopback_text(c, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"))
            return;
}

static void serve_chunks_of_a_304(struct loopback_conn *c)
{
    while (loopback_read(c))
        if (!loopback_text(c, "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"))
            return;
}

static void serve_no_content(struct loopback_conn *c)
{
    while (loopback_read(c))
        if (!loopback_text(c, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"))
            return;
}

static void serve_unasked(struct loopback_conn *c)
{
    if (!loopback_read(c) || !loopback_answer(c, "200 OK", "", "hello"))
        return;
    loopback_sleep(c, 20);
    loopback_text(c, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    loopback_wait(c);
}

static void serve_one(struct loopback_conn *c)
{
    if (loopback_read(c))
        loopback_answer(c, "200 OK", "", "hello");
}

static void test_a_connection_serves_again_only_where_it_is_clean(void **state)
{
    static const struct {
        void (*serve)(struct loopback_conn *);
        bool again;
    } cases[] = {{serve_ok, true}, {serve_said_close, false}, {serve_old, false}, {serve_too_much, false},
        {serve_ambiguous, false}, {serve_body_of_a_204, false}, {serve_chunks_of_a_304, false},
        {serve_no_content, true}, {serve_unasked, false}, {serve_one, false}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int tls = 0; tls < 2; tls++) {
            struct place p;
            place_start(&p, cases[i].serve, tls, 0);
            for (int n = 0; n < 3; n++) {
                assert_int_equal(ask(&p), 0);
                /* The server's end of it goes, too, once it is seen that it is not clean. */
                for (int left = 1000; left > 0 && !cases[i].again && atomic_load(&p.server.alive) > 0; left--)
                    fixture_run(&p.f, 10);
                fixture_run(&p.f, 80); /* time to notice what comes without being asked for */
            }
            assert_int_equal(connections(&p), cases[i].again ? 1 : 3);
            assert_int_equal(p.f.witnessed, 3); /* none was sent twice */
            place_stop(&p);
        }
    }
}

/* Answers once, then ends the connection when the next request comes. */
static void serve_then_drop(struct loopback_conn *c)
{
    if (loopback_read(c) && loopback_answer(c, "200 OK", "", "hello"))
        loopback_read(c);
}

static void test_what_is_sent_again_has_a_record_of_its_own_and_is_sent_once(void **state)
{
    struct place p;
    (void)state;
    place_start(&p, serve_then_drop, false, 1);
    assert_int_equal(ask(&p), 0);
    assert_int_equal(ask(&p), 0);
    assert_int_equal(p.f.witnessed, 3);
    assert_int_equal(connections(&p), 2);
    p.f.witness_code = ERROR_IO;
    assert_int_equal(ask(&p), ERROR_IO);
    place_stop(&p);
}

struct chain {
    struct place *p;
    struct seen seen;
    int left;
};

static void chain_done(void *ctx, int code, const struct error *err)
{
    struct chain *chain = ctx;
    (void)err;
    assert_int_equal(code, 0);
    egress_close(chain->seen.transfer);
    chain->seen.transfer = NULL;
    if (--chain->left == 0) {
        loop_stop(chain->p->f.loop);
        return;
    }
    struct error problem;
    struct egress_permit permit = fixture_permit(EGRESS_BOUNDARY_ANY);
    struct egress_request request = {.method = "POST", .path = STR("/"), .body = STR("x")};
    struct egress_handler handler = {.done = chain_done, .ctx = chain};
    assert_int_equal(egress_open(chain->p->f.egress, &permit, chain->p->target, &request, &handler,
                         &chain->seen.transfer, &problem),
        0);
}

static void test_the_next_request_from_within_done_finds_the_connection(void **state)
{
    struct place p;
    (void)state;
    place_start(&p, serve_ok, false, 1);
    struct chain chain = {.p = &p, .left = 200};
    chain_done(&chain, 0, NULL);
    fixture_run(&p.f, 10000);
    assert_int_equal(chain.left, 0);
    assert_int_equal(connections(&p), 1);
    place_stop(&p);
}

/* ---- Waiting ---- */

static void serve_slowly(struct loopback_conn *c)
{
    while (loopback_read(c)) {
        loopback_sleep(c, 20);
        if (!loopback_answer(c, "200 OK", "", c->request.data + c->head_len))
            return;
    }
}

static void test_beyond_the_limit_requests_wait_their_turn(void **state)
{
    struct place p;
    struct seen seen[12] = {0};
    (void)state;
    place_start(&p, serve_slowly, false, 2);
    for (int i = 0; i < 12; i++) {
        char body[16];
        snprintf(body, sizeof body, "%d", i);
        seen_open(&p.f, &seen[i], p.target, body);
    }
    /* One that waits and one that has a connection leave. */
    seen_free(&seen[7]);
    seen_free(&seen[0]);
    p.f.open -= 2;
    fixture_run(&p.f, 10000);
    for (int i = 1; i < 12; i++) {
        if (i == 7)
            continue;
        char body[16];
        snprintf(body, sizeof body, "%d", i);
        assert_int_equal(seen[i].code, 0);
        assert_string_equal(seen[i].body.data, body);
        seen_free(&seen[i]);
    }
    assert_true(connections(&p) <= 3);
    place_stop(&p);
}

static void serve_never(struct loopback_conn *c)
{
    loopback_wait(c);
}

static void test_waiting_for_a_connection_has_its_time_too(void **state)
{
    struct place p;
    struct seen first = {0}, second = {0};
    (void)state;
    place_start(&p, serve_never, false, 1);
    egress_target_free(p.target);
    struct error err;
    struct egress_target_options o = {.name = STR("cloud"),
        .base_url = str_from(url_of(&p.server, "http")),
        .zone = EGRESS_ZONE_CLOUD,
        .connect_timeout_ms = 100,
        .first_byte_timeout_ms = 60000};
    assert_int_equal(egress_target_create(&o, &p.target, &err), 0);
    seen_open(&p.f, &first, p.target, "x");
    seen_open(&p.f, &second, p.target, "x");
    for (int i = 0; i < 400 && second.n_done == 0; i++)
        fixture_run(&p.f, 10);
    assert_int_equal(second.code, ERROR_TIMEOUT);
    assert_non_null(strstr(second.error.message, "could not be connected to within 100 ms"));
    assert_int_equal(first.n_done, 0);
    seen_free(&second);
    seen_free(&first);
    place_stop(&p);
}

/* ---- Large requests, early answers ---- */

static char *large_body(void)
{
    char *body = malloc(LARGE + 1);
    memset(body, 'b', LARGE);
    body[LARGE] = '\0';
    return body;
}

static void serve_length(struct loopback_conn *c)
{
    char text[32];
    while (loopback_read(c)) {
        snprintf(text, sizeof text, "%zu", c->request.len - c->head_len);
        if (!loopback_answer(c, "200 OK", "", text))
            return;
    }
}

static void test_a_large_request_leaves_in_pieces(void **state)
{
    char *body = large_body();
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        struct place p;
        struct seen seen = {0};
        place_start(&p, serve_length, tls, 0);
        seen_open(&p.f, &seen, p.target, body);
        fixture_run(&p.f, 60000); /* the server is slow under sanitizers */
        assert_int_equal(seen.code, 0);
        assert_string_equal(seen.body.data, "8388608");
        seen_free(&seen);
        assert_int_equal(ask(&p), 0);
        assert_int_equal(connections(&p), 1);
        place_stop(&p);
    }
    free(body);
}

/* Answers when it has seen the head, and reads no more of the first request. */
static void serve_early(struct loopback_conn *c)
{
    char some[1024];
    bool good = c->ssl ? SSL_read(c->ssl, some, sizeof some) > 0 : recv(c->fd, some, sizeof some, 0) > 0;
    if (good && loopback_answer(c, "413 Content Too Large", "", "too large"))
        loopback_sleep(c, 10000);
}

static void test_an_answer_before_the_request_has_left_is_heard(void **state)
{
    char *body = large_body();
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        struct place p;
        struct seen seen = {0};
        place_start(&p, serve_early, tls, 0);
        seen_run(&p.f, &seen, p.target, body);
        assert_int_equal(seen.code, 0);
        assert_int_equal(seen.status, 413);
        assert_string_equal(seen.body.data, "too large");
        seen_free(&seen);
        assert_int_equal(ask(&p), 0);
        assert_int_equal(connections(&p), 2); /* half a request is on the first */
        place_stop(&p);
    }
    free(body);
}

/* ---- TLS ---- */

/* One connection to 127.0.0.1. */
static int connect_to(int port)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    loopback_check(fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) == 0, "connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static _Atomic int behind;   /* the port behind the proxy */
static _Atomic int cut_back; /* bytes of answer after which the proxy ends both; 0: never */

/* A proxy that passes on what it is sent in pieces that end anywhere. */
static void serve_tunnel(struct loopback_conn *c)
{
    char bytes[4096];
    size_t size = 1, back = 0, cut = (size_t)atomic_load(&cut_back);
    if (!loopback_read(c) || strncmp(c->request.data, "CONNECT 127.0.0.1:", 18) != 0)
        return;
    int fd = connect_to(atomic_load(&behind));
    loopback_text(c, "HTTP/1.1 200 Connection established\r\n\r\n");
    struct pollfd both[2] = {{c->fd, POLLIN, 0}, {fd, POLLIN, 0}};
    while (!atomic_load(&c->server->stop) && (cut == 0 || back < cut)) {
        if (poll(both, 2, 20) <= 0)
            continue;
        bool forth = both[0].revents != 0;
        size = size % 61 + 7; /* 8, 15, ... */
        ssize_t n = recv(forth ? c->fd : fd, bytes, size, 0);
        if (n <= 0 || send(forth ? fd : c->fd, bytes, (size_t)n, MSG_NOSIGNAL) != n)
            break;
        back += forth ? 0 : (size_t)n;
    }
    close(fd);
}

static struct egress_target *tunnelled(const struct place *p, const struct loopback *proxy)
{
    struct egress_target *t;
    struct error err;
    char at[64];
    snprintf(at, sizeof at, "http://127.0.0.1:%d", proxy->port);
    struct egress_target_options o = {.name = STR("cloud"),
        .base_url = str_from(url_of(&p->server, "https")),
        .zone = EGRESS_ZONE_CLOUD,
        .ca_file = str_from(p->authority.ca_file),
        .proxy = str_from(at)};
    assert_int_equal(egress_target_create(&o, &t, &err), 0);
    return t;
}

/* 100 KB in one record after another, then a byte in each. */
static void serve_records(struct loopback_conn *c)
{
    char piece[100000]; /* each server's thread has its own */
    memset(piece, 'r', sizeof piece);
    while (loopback_read(c)) {
        loopback_text(c, "HTTP/1.1 200 OK\r\nContent-Length: 100100\r\n\r\n");
        loopback_write(c, piece, sizeof piece);
        for (int i = 0; i < 100; i++)
            if (!loopback_write(c, "s", 1))
                return;
    }
}

static void test_tls_in_pieces_through_a_proxy(void **state)
{
    struct place p;
    struct loopback proxy = {0};
    (void)state;
    place_start(&p, serve_records, true, 0);
    atomic_store(&behind, p.server.port);
    atomic_store(&cut_back, 0);
    loopback_start(&proxy, serve_tunnel, NULL);
    struct egress_target *t = tunnelled(&p, &proxy);
    for (int i = 0; i < 2; i++) {
        struct seen seen = {0};
        seen_run(&p.f, &seen, t, "secret");
        assert_int_equal(seen.code, 0);
        assert_int_equal(seen.body.len, 100100);
        seen_free(&seen);
    }
    assert_int_equal(atomic_load(&proxy.connections), 1);
    assert_int_equal(connections(&p), 1);
    assert_null(strstr(proxy.last.data, "Authorization"));
    egress_target_free(t);
    place_stop(&p);
    loopback_stop(&proxy);
}

static void serve_until_the_end(struct loopback_conn *c)
{
    static const char piece[100000];
    if (loopback_read(c) && loopback_text(c, "HTTP/1.1 200 OK\r\n\r\n"))
        loopback_write(c, piece, sizeof piece);
}

/* Who sits between may end a connection; TLS tells that from an end that the server meant. */
static void test_an_answer_that_somebody_cut_is_not_whole(void **state)
{
    (void)state;
    for (int cut = 0; cut <= 50000; cut += 50000) {
        struct place p;
        struct loopback proxy = {0};
        struct seen seen = {0};
        place_start(&p, serve_until_the_end, true, 0);
        atomic_store(&behind, p.server.port);
        atomic_store(&cut_back, cut);
        loopback_start(&proxy, serve_tunnel, NULL);
        struct egress_target *t = tunnelled(&p, &proxy);
        seen_run(&p.f, &seen, t, "x");
        assert_int_equal(seen.status, 200);
        assert_int_equal(seen.code, cut ? ERROR_UNAVAILABLE : 0);
        assert_true(cut ? seen.body.len < 100000 : seen.body.len == 100000);
        seen_free(&seen);
        egress_target_free(t);
        place_stop(&p);
        loopback_stop(&proxy);
    }
}

static void test_pausing_at_every_piece_loses_nothing(void **state)
{
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        struct place p;
        struct seen seen = {.pause_at_data = true};
        place_start(&p, serve_records, tls, 0);
        seen_open(&p.f, &seen, p.target, "x");
        for (int i = 0; i < 20000 && seen.n_done == 0; i++) {
            size_t before = seen.body.len;
            fixture_run(&p.f, before == 0 ? 20 : 1);
            egress_pause(seen.transfer, false);
        }
        assert_int_equal(seen.n_done, 1);
        assert_int_equal(seen.code, 0);
        assert_int_equal(seen.body.len, 100100);
        assert_true(seen.n_data > 1);
        seen_free(&seen);
        place_stop(&p);
    }
}

static void test_leaving_at_every_stage(void **state)
{
    (void)state;
    for (int ms = 0; ms < 12; ms++) {
        for (int tls = 0; tls < 2; tls++) {
            struct place p;
            struct seen seen[4] = {
                {0}, {.close_at_status = true}, {.close_at_data = true}, {.finish_at_data = true}};
            place_start(&p, serve_records, tls, 0);
            for (int i = 0; i < 4; i++)
                seen_open(&p.f, &seen[i], p.target, "x");
            if (ms > 0)
                fixture_run(&p.f, ms - 1);
            seen_free(&seen[0]);
            egress_free(p.f.egress);
            p.f.egress = NULL;
            for (int i = 1; i < 4; i++)
                seen_free(&seen[i]);
            place_stop(&p);
        }
    }
}

/* A name is looked up by a thread of libcurl's; nobody waits for it any more. */
static void test_leaving_while_a_name_is_looked_up(void **state)
{
    struct fixture f;
    struct seen seen = {0}, other = {0};
    (void)state;
    fixture_start(&f);
    struct egress_target *t = fixture_target("https://nobody.invalid", EGRESS_ZONE_CLOUD, NULL);
    seen_open(&f, &seen, t, "x");
    fixture_run(&f, 1);
    seen_free(&seen);
    seen_open(&f, &other, t, "x");
    egress_target_free(t);
    fixture_stop(&f);
    seen_free(&other);
}

/* The port is open, but nobody answers the handshake. */
static void test_a_handshake_without_an_answer_times_out(void **state)
{
    struct place p;
    struct seen seen = {0};
    struct error err;
    struct egress_target *t;
    (void)state;
    place_start(&p, serve_never, false, 0);
    struct egress_target_options o = {.name = STR("cloud"),
        .base_url = str_from(url_of(&p.server, "https")),
        .zone = EGRESS_ZONE_CLOUD,
        .connect_timeout_ms = 100};
    assert_int_equal(egress_target_create(&o, &t, &err), 0);
    seen_run(&p.f, &seen, t, "secret");
    assert_int_equal(seen.code, ERROR_TIMEOUT);
    seen_free(&seen);
    egress_target_free(t);
    place_stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_connection_serves_again_only_where_it_is_clean),
        cmocka_unit_test(test_what_is_sent_again_has_a_record_of_its_own_and_is_sent_once),
        cmocka_unit_test(test_the_next_request_from_within_done_finds_the_connection),
        cmocka_unit_test(test_beyond_the_limit_requests_wait_their_turn),
        cmocka_unit_test(test_waiting_for_a_connection_has_its_time_too),
        cmocka_unit_test(test_a_large_request_leaves_in_pieces),
        cmocka_unit_test(test_an_answer_before_the_request_has_left_is_heard),
        cmocka_unit_test(test_tls_in_pieces_through_a_proxy),
        cmocka_unit_test(test_an_answer_that_somebody_cut_is_not_whole),
        cmocka_unit_test(test_pausing_at_every_piece_loses_nothing),
        cmocka_unit_test(test_leaving_at_every_stage),
        cmocka_unit_test(test_leaving_while_a_name_is_looked_up),
        cmocka_unit_test(test_a_handshake_without_an_answer_times_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

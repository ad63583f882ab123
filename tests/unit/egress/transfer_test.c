/* Transfers against a server of our own: what is sent, what comes back, and each way it can go wrong. */
#include "fixture.h"

#include "egress/internal.h"

static void serve_ok(struct loopback_conn *c)
{
    while (loopback_read(c))
        if (!loopback_answer(c, "200 OK", "Content-Type: text/plain\r\nX-Thing:  some value \r\n", "hello"))
            return;
}

static const char *url_of(const struct loopback *s, const char *scheme, const char *host)
{
    static char url[128];
    snprintf(url, sizeof url, "%s://%s:%d/v1", scheme, host, s->port);
    return url;
}

static void test_sends_what_was_asked_and_reads_the_answer(void **state)
{
    struct loopback server = {0};
    struct fixture f;
    struct seen seen = {0};
    (void)state;
    loopback_start(&server, serve_ok, NULL);
    fixture_start(&f);
    struct egress_target *t = fixture_target(url_of(&server, "http", "127.0.0.1"), EGRESS_ZONE_CLOUD, NULL);
    seen_run(&f, &seen, t, "{\"a\":1}");
    assert_int_equal(seen.code, 0);
    assert_int_equal(seen.status, 200);
    assert_string_equal(seen.body.data, "hello");
    assert_true(str_is(egress_header(seen.transfer, "x-thing"), "some value"));
    assert_null(egress_header(seen.transfer, "x-other").data);
    const char *request = server.last.data;
    assert_non_null(strstr(request, "POST /v1/chat HTTP/1.1\r\n"));
    assert_non_null(strstr(request, "Authorization: Bearer sk-secret-of-ours\r\n"));
    assert_non_null(strstr(request, "\r\n\r\n{\"a\":1}"));
    assert_null(strcasestr(request, "Expect:"));
    assert_non_null(strstr(request, "Accept-Encoding: identity\r\n"));
    assert_null(strcasestr(request, "Cookie"));
    seen_free(&seen);
    egress_target_free(t);
    fixture_stop(&f);
    loopback_stop(&server);
}

static void test_connections_are_used_again(void **state)
{
    struct loopback server = {0};
    struct fixture f;
    (void)state;
    loopback_start(&server, serve_ok, NULL);
    fixture_start(&f);
    struct egress_target *t = fixture_target(url_of(&server, "http", "127.0.0.1"), EGRESS_ZONE_CLOUD, NULL);
    for (int i = 0; i < 20; i++) {
        struct seen seen = {.close_at_done = true};
        seen_run(&f, &seen, t, "x");
        assert_int_equal(seen.code, 0);
        seen_free(&seen);
    }
    assert_int_equal(atomic_load(&server.connections), 1);
    egress_target_free(t);
    fixture_stop(&f);
    loopback_stop(&server);
}

static void test_many_at_once(void **state)
{
    struct loopback server = {0};
    struct fixture f;
    struct seen seen[64] = {0};
    (void)state;
    loopback_start(&server, serve_ok, NULL);
    fixture_start(&f);
    struct egress_target *t = fixture_target(url_of(&server, "http", "127.0.0.1"), EGRESS_ZONE_CLOUD, NULL);
    for (int i = 0; i < 64; i++)
        seen_open(&f, &seen[i], t, "x");
    fixture_run(&f, 10000);
    for (int i = 0; i < 64; i++) {
        assert_int_equal(seen[i].code, 0);
        assert_int_equal(seen[i].n_done, 1);
        assert_string_equal(seen[i].body.data, "hello");
        seen_free(&seen[i]);
    }
    assert_int_equal(atomic_load(&server.requests), 64);
    egress_target_free(t);
    fixture_stop(&f);
    loopback_stop(&server);
}

/* ---- The witness ---- */

static void test_the_witness_sees_exactly_what_is_sent(void **state)
{
    struct loopback server = {0};
    struct fixture f;
    struct seen seen = {0};
    (void)state;
    loopback_start(&server, serve_ok, NULL);
    fixture_start(&f);
    struct egress_target *t = fixture_target(url_of(&server, "http", "127.0.0.1"), EGRESS_ZONE_CLOUD, NULL);
    f.witness_delay_ms = 30;
    seen_run(&f, &seen, t, "abc");
    assert_int_equal(seen.code, 0);
    assert_int_equal(f.witnessed, 1);
    /* FIPS 180-2, appendix B.1. */
    assert_string_equal(f.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(f.bytes, 3);
    assert_string_equal(f.request_id, "req_1");
    assert_string_equal(f.rule, "rule_1");
    assert_string_equal(f.target, "cloud");
    assert_string_equal(f.path, "/v1/chat");
    assert_non_null(strstr(f.host, "127.0.0.1:"));
    assert_string_equal(server.last.data + server.last.len - 3, "abc");
    seen_free(&seen);
    egress_target_free(t);
    fixture_stop(&f);
    loopback_stop(&server);
}

static void test_nothing_leaves_when_the_witness_refuses_or_is_not_ready(void **state)
{
    struct loopback server = {0};
    (void)state;
    loopback_start(&server, serve_ok, NULL);
    struct egress_target *t = fixture_target(url_of(&server, "http", "127.0.0.1"), EGRESS_ZONE_CLOUD, NULL);
    for (int delay = 0; delay <= 20; delay += 20) {
        struct fixture f;
        struct seen seen = {0};
        fixture_start(&f);
        f.witness_code = ERROR_IO;
        f.witness_delay_ms = delay;
        seen_open(&f, &seen, t, "x");
        assert_int_equal(seen.n_done, 0); /* never from within egress_open */
        fixture_run(&f, 5000);
        assert_int_equal(seen.code, ERROR_IO);
        seen_free(&seen);
        fixture_stop(&f);
    }
    struct fixture f;
    struct seen seen = {0};
    fixture_start(&f);
    f.witness_delay_ms = 10000;
    seen_open(&f, &seen, t, "x");
    fixture_run(&f, 100);
    assert_true(f.timed_out);
    seen_free(&seen); /* closed while the witness still has it */
    f.witness_done(f.witness_ctx, 0);
    fixture_run(&f, 50);
    fixture_stop(&f);
    assert_int_equal(atomic_load(&server.connections), 0);
    egress_target_free(t);
    loopback_stop(&server);
}

/* ---- The permit ---- */

static void test_permit_matrix(void **state)
{
    struct loopback server = {0};
    (void)state;
    loopback_start(&server, serve_ok, NULL);
    const char *url = url_of(&server, "http", "127.0.0.1");
    struct egress_target *zones[] = {
        fixture_target(url, EGRESS_ZONE_LOCAL, NULL), fixture_target(url, EGRESS_ZONE_CLOUD, NULL)};
    struct egress_permit inside = fixture_permit(EGRESS_BOUNDARY_LOCAL),
                         any = fixture_permit(EGRESS_BOUNDARY_ANY);
    struct egress_permit expired = any, blank = {.expires_mono_ms = INT64_MAX}, odd = any;
    expired.expires_mono_ms = clock_mono_ms() - 1;
    memset(&odd.boundary, 0x7f, sizeof odd.boundary);
    const struct {
        const struct egress_permit *permit;
        bool offline;
        int expect[2]; /* zone local, zone cloud */
    } cases[] = {
        {NULL, false, {ERROR_DENIED, ERROR_DENIED}},
        {&expired, false, {ERROR_DENIED, ERROR_DENIED}},
        {&inside, false, {0, ERROR_DENIED}},
        {&blank, false, {0, ERROR_DENIED}},
        {&odd, false, {0, ERROR_DENIED}},
        {&any, false, {0, 0}},
        {&any, true, {ERROR_DENIED, ERROR_DENIED}},
    };
    int expected = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int zone = 0; zone < 2; zone++) {
            struct fixture f;
            struct seen seen = {0};
            struct error err;
            struct egress_request request = {.method = "POST", .path = STR("/x"), .body = STR("b")};
            fixture_start_with(&f, cases[i].offline);
            int rc = seen_open_with(&f, &seen, cases[i].permit, zones[zone], &request, &err);
            assert_int_equal(rc, cases[i].expect[zone]);
            if (rc == 0)
                fixture_run(&f, 5000);
            assert_int_equal(seen.n_done, rc == 0);
            assert_int_equal(f.witnessed, rc == 0);
            expected += rc == 0;
            seen_free(&seen);
            fixture_stop(&f);
        }
    }
    assert_int_equal(atomic_load(&server.requests), expected);
    egress_target_free(zones[0]);
    egress_target_free(zones[1]);
    loopback_stop(&server);
}

/* A permit for probes lets out a question without content, and nothing else. */
static void test_a_probe_carries_no_content(void **state)
{
    struct loopback server = {0};
    (void)state;
    loopback_start(&server, serve_ok, NULL);
    struct egress_target *target =
        fixture_target(url_of(&server, "http", "127.0.0.1"), EGRESS_ZONE_CLOUD, NULL);
    struct egress_permit probe = fixture_permit(EGRESS_BOUNDARY_ANY);
    probe.probe = true;
    const struct {
        const char *method, *body;
        int expect;
    } cases[] = {{"POST", "secret", ERROR_DENIED}, {"POST", "", ERROR_DENIED},
        {"GET", "secret", ERROR_DENIED}, {"GET", "", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture f;
        struct seen seen = {0};
        struct error err;
        struct egress_request request = {
            .method = cases[i].method, .path = STR("/models"), .body = str_from(cases[i].body)};
        fixture_start(&f);
        int rc = seen_open_with(&f, &seen, &probe, target, &request, &err);
        assert_int_equal(rc, cases[i].expect);
        if (rc == 0)
            fixture_run(&f, 5000);
        assert_int_equal(f.witnessed, rc == 0);
        seen_free(&seen);
        fixture_stop(&f);
    }
    assert_int_equal(atomic_load(&server.requests), 1);
    egress_target_free(target);
    loopback_stop(&server);
}

/* Spans go to a collector, which gets nothing else: neither a request's permit nor a probe's opens it. */
static void test_spans_go_to_a_collector_and_nothing_else_does(void **state)
{
    struct loopback server = {0};
    (void)state;
    loopback_start(&server, serve_ok, NULL);
    for (int i = 0; i < 6; i++) {
        struct fixture f;
        struct seen seen = {0};
        struct error err;
        struct egress_target *target;
        const struct egress_target_options options = {.name = STR("t"),
            .base_url = str_from(url_of(&server, "http", "127.0.0.1")),
            .collector = i >= 3};
        struct egress_permit permit = fixture_permit(EGRESS_BOUNDARY_ANY);
        permit.telemetry = i % 3 == 0;
        permit.probe = i % 3 == 1;
        const struct egress_request request = {
            .method = permit.probe ? "GET" : "POST", .path = STR("/v1/traces"), .body = STR_NONE};
        bool good = permit.telemetry == options.collector;
        fixture_start(&f);
        assert_int_equal(egress_target_create(&options, &target, &err), 0);
        int rc = seen_open_with(&f, &seen, &permit, target, &request, &err);
        assert_int_equal(rc, good ? 0 : ERROR_DENIED);
        if (rc == 0)
            fixture_run(&f, 5000);
        assert_int_equal(f.witnessed, good);
        seen_free(&seen);
        fixture_stop(&f);
        egress_target_free(target);
    }
    loopback_stop(&server);
}

/* A name that resolves outside, under a target that claims to be inside: 192.0.2.0/24 is TEST-NET-1, RFC
 * 5737. */
static void test_a_local_target_with_an_address_outside_is_refused(void **state)
{
    static const char *const urls[] = {"http://192.0.2.1/v1", "http://[2001:db8::1]/v1",
        "http://0.0.0.0:9/v1", "http://[::]:9/v1", "http://[::ffff:192.0.2.1]/v1",
        "http://[64:ff9b::7f00:1]/v1", "http://0xc0000201/"};
    (void)state;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct fixture f;
        struct seen seen = {0};
        fixture_start(&f);
        struct egress_target *t = fixture_target(urls[i], EGRESS_ZONE_LOCAL, NULL);
        seen_run(&f, &seen, t, "x");
        assert_int_equal(seen.code, ERROR_DENIED);
        seen_free(&seen);
        egress_target_free(t);
        fixture_stop(&f);
    }
}

/* A connection made for a target that may go anywhere must not serve one that may not: the address is looked
 * at again for every request, not only when a socket is opened. */
static void test_a_pooled_connection_is_checked_again(void **state)
{
    struct loopback server = {.v6 = true};
    struct fixture f;
    struct seen first = {0}, second = {0};
    char url[64];
    (void)state;
    loopback_start(&server, serve_ok, NULL);
    fixture_start(&f);
    snprintf(url, sizeof url, "http://[::1]:%d", server.port);
    struct egress_target *cloud = fixture_target(url, EGRESS_ZONE_CLOUD, NULL);
    struct egress_target *local = fixture_target(url, EGRESS_ZONE_LOCAL, NULL);
    seen_run(&f, &first, cloud, "x");
    seen_run(&f, &second, local, "x");
    assert_int_equal(first.code, 0);
    assert_int_equal(second.code, 0);
    assert_int_equal(atomic_load(&server.connections), 1);
    struct sockaddr_in outside = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000201)};
    assert_false(egress_target_allows(local, (struct sockaddr *)&outside));
    assert_true(egress_target_allows(cloud, (struct sockaddr *)&outside));
    seen_free(&first);
    seen_free(&second);
    egress_target_free(cloud);
    egress_target_free(local);
    fixture_stop(&f);
    loopback_stop(&server);
}

/* ---- No way round ---- */

static _Atomic int redirect_port;

static void serve_redirect(struct loopback_conn *c)
{
    char head[128];
    snprintf(head, sizeof head, "Location: http://127.0.0.1:%d/stolen\r\n", atomic_load(&redirect_port));
    while (loopback_read(c))
        if (!loopback_answer(c, "307 Temporary Redirect", head, ""))
            return;
}

static void test_redirects_are_not_followed(void **state)
{
    struct loopback server = {0}, elsewhere = {0};
    struct fixture f;
    struct seen seen = {0};
    (void)state;
    loopback_start(&server, serve_redirect, NULL);
    loopback_start(&elsewhere, serve_ok, NULL);
    atomic_store(&redirect_port, elsewhere.port);
    fixture_start(&f);
    struct egress_target *t = fixture_target(url_of(&server, "http", "127.0.0.1"), EGRESS_ZONE_CLOUD, NULL);
    seen_run(&f, &seen, t, "x");
    assert_int_equal(seen.code, 0);
    assert_int_equal(seen.status, 307);
    assert_int_equal(atomic_load(&elsewhere.connections), 0);
    seen_free(&seen);
    egress_target_free(t);
    fixture_stop(&f);
    loopback_stop(&server);
    loopback_stop(&elsewhere);
}

static void test_proxies_of_the_environment_are_ignored(void **state)
{
    static const char *const names[] = {"http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"};
    struct loopback server = {0}, proxy = {0};
    struct fixture f;
    struct seen seen = {0};
    char url[64];
    (void)state;
    loopback_start(&server, serve_ok, NULL);
    loopback_start(&proxy, serve_ok, NULL);
    snprintf(url, sizeof url, "http://127.0.0.1:%d", proxy.port);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        setenv(names[i], url, 1);
    fixture_start(&f);
    struct egress_target *t = fixture_target(url_of(&server, "http", "127.0.0.1"), EGRESS_ZONE_CLOUD, NULL);
    seen_run(&f, &seen, t, "x");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
    assert_int_equal(seen.code, 0);
    assert_int_equal(atomic_load(&server.connections), 1);
    assert_int_equal(atomic_load(&proxy.connections), 0);
    seen_free(&seen);
    egress_target_free(t);
    fixture_stop(&f);
    loopback_stop(&server);
    loopback_stop(&proxy);
}

static void serve_refuse_connect(struct loopback_conn *c)
{
    if (loopback_read(c))
        loopback_answer(c, "403 Forbidden", "", "no");
}

static void test_a_configured_proxy_is_used(void **state)
{
    struct loopback proxy = {0};
    struct fixture f;
    struct seen seen = {0};
    struct error err;
    char url[64];
    struct egress_target *t;
    (void)state;
    loopback_start(&proxy, serve_refuse_connect, NULL);
    snprintf(url, sizeof url, "http://127.0.0.1:%d", proxy.port);
    setenv("no_proxy", "*", 1);
    fixture_start(&f);
    struct egress_target_options o = {.name = STR("cloud"),
        .base_url = STR("https://cloud.invalid/v1"),
        .zone = EGRESS_ZONE_CLOUD,
        .proxy = str_from(url)};
    assert_int_equal(egress_target_create(&o, &t, &err), 0);
    seen_run(&f, &seen, t, "x");
    unsetenv("no_proxy");
    assert_int_equal(seen.code, ERROR_UNAVAILABLE);
    assert_int_equal(seen.status, 0);
    assert_non_null(strstr(proxy.last.data, "CONNECT cloud.invalid:443"));
    assert_null(strstr(proxy.last.data, "sk-secret"));
    seen_free(&seen);
    egress_target_free(t);
    fixture_stop(&f);
    loopback_stop(&proxy);
}

static void test_headers_that_forge_are_refused(void **state)
{
    static const struct egress_header bad[] = {{STR("X-A"), STR("b\r\nX-C: d")}, {STR("X-A"), STR("b\nc")},
        {STR("X-A"), STR("b\0c")}, {STR("X A"), STR("b")}, {STR("X-A:"), STR("b")}, {STR(""), STR("b")},
        {STR("X-A"), STR("")}, {STR("X-A\r\nB"), STR("c")}};
    static const struct str bad_paths[] = {
        STR(""), STR("x"), STR("/a b"), STR("/a\r\nHost: x"), STR("/a#b"), STR("/\x80")};
    struct fixture f;
    (void)state;
    fixture_start(&f);
    struct egress_target *t = fixture_target("http://127.0.0.1:1/v1", EGRESS_ZONE_CLOUD, NULL);
    struct egress_permit permit = fixture_permit(EGRESS_BOUNDARY_ANY);
    struct error err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct seen seen = {0};
        struct egress_request request = {
            .method = "POST", .path = STR("/"), .headers = &bad[i], .n_headers = 1};
        assert_int_equal(seen_open_with(&f, &seen, &permit, t, &request, &err), ERROR_INVALID);
        assert_null(strstr(err.message, "X-C"));
        seen_free(&seen);
    }
    for (size_t i = 0; i < sizeof bad_paths / sizeof *bad_paths; i++) {
        struct seen seen = {0};
        struct egress_request request = {.method = "POST", .path = bad_paths[i]};
        assert_int_equal(seen_open_with(&f, &seen, &permit, t, &request, &err), ERROR_INVALID);
        seen_free(&seen);
    }
    struct seen seen = {0};
    struct egress_request request = {.method = "GET / HTTP/1.1\r\nX: y", .path = STR("/")};
    assert_int_equal(seen_open_with(&f, &seen, &permit, t, &request, &err), ERROR_INVALID);
    seen_free(&seen);
    assert_int_equal(f.witnessed, 0);
    egress_target_free(t);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sends_what_was_asked_and_reads_the_answer),
        cmocka_unit_test(test_a_probe_carries_no_content),
        cmocka_unit_test(test_spans_go_to_a_collector_and_nothing_else_does),
        cmocka_unit_test(test_connections_are_used_again),
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_the_witness_sees_exactly_what_is_sent),
        cmocka_unit_test(test_nothing_leaves_when_the_witness_refuses_or_is_not_ready),
        cmocka_unit_test(test_permit_matrix),
        cmocka_unit_test(test_a_local_target_with_an_address_outside_is_refused),
        cmocka_unit_test(test_a_pooled_connection_is_checked_again),
        cmocka_unit_test(test_redirects_are_not_followed),
        cmocka_unit_test(test_proxies_of_the_environment_are_ignored),
        cmocka_unit_test(test_a_configured_proxy_is_used),
        cmocka_unit_test(test_headers_that_forge_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

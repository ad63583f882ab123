#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#include "egress/internal.h"

static int create(struct egress_target_options o, struct egress_target **out, struct error *err)
{
    *out = NULL;
    memset(err, 0, sizeof *err);
    o.name = STR("p");
    return egress_target_create(&o, out, err);
}

static void test_urls_are_taken_apart(void **state)
{
    static const struct {
        const char *base, *url, *host, *path;
    } cases[] = {
        {"https://api.example.com/v1", "https://api.example.com/v1", "api.example.com", "/v1"},
        {"https://api.example.com/v1///", "https://api.example.com/v1", "api.example.com", "/v1"},
        {"https://api.example.com", "https://api.example.com", "api.example.com", ""},
        {"HTTPS://api.example.com:8443/", "https://api.example.com:8443", "api.example.com:8443", ""},
        {"http://127.0.0.1:9/a/b", "http://127.0.0.1:9/a/b", "127.0.0.1:9", "/a/b"},
        {"http://localhost:9", "http://localhost:9", "localhost:9", ""},
        {"http://[::1]:9", "http://[::1]:9", "[::1]:9", ""},
    };
    struct egress_target *t;
    struct error err;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct egress_target_options o = {.base_url = str_from(cases[i].base), .zone = EGRESS_ZONE_CLOUD};
        assert_int_equal(create(o, &t, &err), 0);
        assert_string_equal(t->url, cases[i].url);
        assert_string_equal(t->host, cases[i].host);
        assert_string_equal(t->path, cases[i].path);
        egress_target_free(t);
    }
}

static void test_urls_that_hide_something_are_refused(void **state)
{
    static const struct str bad[] = {STR(""), STR("api.example.com/v1"), STR("https://"),
        STR("ftp://example.com/"), STR("file:///etc/passwd"), STR("https://user@example.com/"),
        STR("https://user:pass@example.com/"), STR("https://:pass@example.com/"),
        STR("https://example.com/?a=b"), STR("https://example.com/?"), STR("https://example.com/#a"),
        STR("https://exa mple.com/"), STR("https://example.com/\r\nX: y"), STR("https://example.com/\0x"),
        STR("https://ex\xc3\xa4mple.com/"), STR("https://example.com:99999/"), STR("https://example.com:x/"),
        STR("unix:///tmp/socket"), STR("gopher://127.0.0.1/")};
    struct egress_target *t;
    struct error err;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct egress_target_options o = {.base_url = bad[i], .zone = EGRESS_ZONE_CLOUD};
        if (create(o, &t, &err) != ERROR_INVALID)
            fail_msg("%s should be refused", bad[i].data);
        assert_null(strstr(err.message, "pass@"));
        assert_non_null(strstr(err.message, "provider 'p'"));
    }
}

/* A key on the Internet without encryption is a key given away. */
static void test_the_cloud_needs_https(void **state)
{
    static const char *const bad[] = {"http://api.example.com", "http://10.0.0.1",
        "http://localhost.example.com", "http://[2001:db8::1]", "http://0.0.0.0"};
    struct egress_target *t;
    struct error err;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct egress_target_options o = {.base_url = str_from(bad[i]), .zone = EGRESS_ZONE_CLOUD};
        assert_int_equal(create(o, &t, &err), ERROR_INVALID);
        o.zone =
            EGRESS_ZONE_LOCAL; /* a server of our own, whose address is checked when it is connected to */
        assert_int_equal(create(o, &t, &err), 0);
        egress_target_free(t);
    }
}

static void test_proxies(void **state)
{
    struct egress_target *t;
    struct error err;
    (void)state;
    struct egress_target_options good = {.base_url = STR("https://a.example"),
        .zone = EGRESS_ZONE_CLOUD,
        .proxy = STR("http://10.0.0.1:3128")};
    assert_int_equal(create(good, &t, &err), 0);
    egress_target_free(t);
    struct egress_target_options o = good;
    o.zone = EGRESS_ZONE_LOCAL;
    assert_int_equal(create(o, &t, &err), ERROR_INVALID);
    o = good;
    o.base_url = STR("http://127.0.0.1");
    assert_int_equal(create(o, &t, &err), ERROR_INVALID);
    o = good;
    o.proxy = STR("socks5://10.0.0.1:1080");
    assert_int_equal(create(o, &t, &err), ERROR_INVALID);
    o.proxy = STR("http://u:p@10.0.0.1:3128"); /* there is no other way to tell it who asks */
    assert_int_equal(create(o, &t, &err), 0);
    egress_target_free(t);
    o.base_url = STR("https://u:p@a.example");
    assert_int_equal(create(o, &t, &err), ERROR_INVALID);
    /* Without TLS nothing leaves this machine but by what runs on it. */
    o = good;
    o.base_url = STR("http://127.0.0.1");
    o.proxy = STR("http://u:p@[::1]:3128");
    assert_int_equal(create(o, &t, &err), 0);
    egress_target_free(t);
    assert_false(egress_proxy_is_loopback(STR("http://localhost@10.0.0.1:3128")));
    assert_false(egress_proxy_is_loopback(STR("")));
}

static void test_other_settings(void **state)
{
    struct egress_target *t;
    struct error err;
    struct str networks[] = {STR("100.64.0.0/10"), STR("nonsense")};
    (void)state;
    struct egress_target_options good = {.base_url = STR("https://a.example"),
        .zone = EGRESS_ZONE_LOCAL,
        .networks = networks,
        .n_networks = 1};
    assert_int_equal(create(good, &t, &err), 0);
    assert_int_equal(t->connect_timeout_ms, 5000);
    assert_int_equal(t->first_byte_timeout_ms, 120000);
    assert_int_equal(t->idle_timeout_ms, 60000);
    assert_int_equal(egress_target_zone(t), EGRESS_ZONE_LOCAL);
    assert_true(str_is(t->name, "p"));
    egress_target_free(t);
    struct egress_target_options o = good;
    o.n_networks = 2;
    assert_int_equal(create(o, &t, &err), ERROR_INVALID);
    o = good;
    o.idle_timeout_ms = -1;
    assert_int_equal(create(o, &t, &err), ERROR_INVALID);
    o = good;
    o.ca_file = STR("/nonexistent/ca.pem");
    assert_int_equal(create(o, &t, &err), ERROR_INVALID);
    o.ca_file = STR("/etc/hostname");
    assert_int_equal(create(o, &t, &err), ERROR_INVALID);
    o = good;
    o.zone = (enum egress_zone)7; /* an odd value is outside */
    assert_int_equal(create(o, &t, &err), 0);
    assert_int_equal(egress_target_zone(t), EGRESS_ZONE_CLOUD);
    egress_target_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls_are_taken_apart),
        cmocka_unit_test(test_urls_that_hide_something_are_refused),
        cmocka_unit_test(test_the_cloud_needs_https),
        cmocka_unit_test(test_proxies),
        cmocka_unit_test(test_other_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

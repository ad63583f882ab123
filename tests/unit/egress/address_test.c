#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "egress/internal.h"

static bool inside(const char *text, const struct egress_network *networks, size_t n)
{
    struct sockaddr_in four = {.sin_family = AF_INET};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &four.sin_addr) == 1)
        return egress_address_inside((struct sockaddr *)&four, networks, n);
    assert_int_equal(inet_pton(AF_INET6, text, &six.sin6_addr), 1);
    return egress_address_inside((struct sockaddr *)&six, networks, n);
}

static void test_private_addresses_are_inside_and_only_they(void **state)
{
    static const char *const in[] = {"127.0.0.1", "127.255.255.255", "10.0.0.0", "10.255.255.255",
        "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255", "169.254.1.1", "::1", "fc00::1",
        "fdff::1", "fe80::1", "febf::1", "::ffff:10.1.2.3", "::ffff:127.0.0.1"};
    static const char *const out[] = {"126.255.255.255", "128.0.0.1", "9.255.255.255", "11.0.0.0",
        "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "169.253.255.255", "169.255.0.0",
        "0.0.0.0", "0.1.2.3", "8.8.8.8", "100.64.0.1", "224.0.0.1", "255.255.255.255", "::", "::2", "fbff::1",
        "fe00::1", "fec0::1", "ff02::1", "2001:db8::1", "::ffff:8.8.8.8", "::ffff:0.0.0.0", "::7f00:1",
        "64:ff9b::7f00:1", "2002:7f00:1::"};
    (void)state;
    for (size_t i = 0; i < sizeof in / sizeof *in; i++)
        if (!inside(in[i], NULL, 0))
            fail_msg("%s should be inside", in[i]);
    for (size_t i = 0; i < sizeof out / sizeof *out; i++)
        if (inside(out[i], NULL, 0))
            fail_msg("%s should be outside", out[i]);
    struct sockaddr other = {.sa_family = AF_UNIX};
    assert_false(egress_address_inside(&other, NULL, 0));
}

static void test_networks_of_ones_own(void **state)
{
    struct egress_network n[4];
    struct error err;
    (void)state;
    assert_int_equal(egress_network_parse(STR("100.64.0.0/10"), &n[0], &err), 0);
    assert_int_equal(egress_network_parse(STR("203.0.113.7"), &n[1], &err), 0);
    assert_int_equal(egress_network_parse(STR("2001:db8:5::/47"), &n[2], &err), 0);
    assert_int_equal(egress_network_parse(STR("::ffff:198.51.100.0/120"), &n[3], &err), 0);
    assert_true(inside("100.64.0.1", n, 4));
    assert_true(inside("100.127.255.255", n, 4));
    assert_false(inside("100.128.0.0", n, 4));
    assert_false(inside("100.63.255.255", n, 4));
    assert_true(inside("203.0.113.7", n, 4));
    assert_false(inside("203.0.113.6", n, 4));
    assert_true(inside("2001:db8:4::1", n, 4));
    assert_true(inside("2001:db8:5::1", n, 4));
    assert_false(inside("2001:db8:6::1", n, 4));
    assert_true(inside("198.51.100.9", n, 4));
    assert_false(inside("198.51.101.9", n, 4));
}

/* A prefix of zeros covers the block in which IPv4 addresses are written; it must not let them in. */
static void test_a_network_of_ipv6_lets_no_ipv4_in(void **state)
{
    struct egress_network n;
    struct error err;
    (void)state;
    assert_int_equal(egress_network_parse(STR("::/16"), &n, &err), 0);
    assert_true(inside("::5", &n, 1));
    assert_false(inside("8.8.8.8", &n, 1));
    assert_false(inside("::ffff:8.8.8.8", &n, 1));
}

static void test_what_is_no_network_is_refused(void **state)
{
    static const struct str bad[] = {STR(""), STR("/8"), STR("10.0.0.0/"), STR("10.0.0.0/33"),
        STR("10.0.0.0/-1"), STR("10.0.0/8"), STR("10.0.0.0/8x"), STR("fd00::/129"), STR("example.com"),
        STR("10.0.0.0 /8"), STR("10.0.0.1\0/8"), STR("0.0.0.0/0"), STR("8.0.0.0/7"), STR("::/0"),
        STR("2000::/3"), STR("::ffff:0:0/96"), STR("::ffff:10.0.0.0/90"), STR("10.0.0.0/8/8")};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct egress_network n;
        struct error err;
        if (egress_network_parse(bad[i], &n, &err) != ERROR_INVALID)
            fail_msg("%s should be refused", bad[i].data);
    }
}

static void test_loopback_hosts(void **state)
{
    static const char *const yes[] = {
        "localhost", "LocalHost", "127.0.0.1", "::1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"};
    static const char *const no[] = {"localhost.example.com", "127.evil.example", "127.0.0.1.example",
        "10.0.0.1", "[::]", "[::2]", "", "[", "[]", "0.0.0.0", "128.0.0.1", "[fe80::1]"};
    (void)state;
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        assert_true(egress_host_is_loopback(str_from(yes[i])));
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        assert_false(egress_host_is_loopback(str_from(no[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_private_addresses_are_inside_and_only_they),
        cmocka_unit_test(test_networks_of_ones_own),
        cmocka_unit_test(test_a_network_of_ipv6_lets_no_ipv4_in),
        cmocka_unit_test(test_what_is_no_network_is_refused),
        cmocka_unit_test(test_loopback_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A look at a text is linear in it, whatever it is made of. No time is measured: the router in this program
 * is compiled to call a counter in each of its basic blocks (Makefile, TRACED_ROUTER), and what a byte costs
 * must not grow with the text. (What PCRE2 does is bounded by the window and the limit it is given.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/limits.h"
#include "router/detect.h"

static const double GROWTH = 1.5; /* room for the logarithm of a sort; a quadratic one would show as 8 */

static uint64_t steps;

void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void)
{
    steps++;
}

/* Steps for each byte of `size` bytes of the unit over and over. */
static double cost(const char *unit, size_t size)
{
    struct router_findings f = {0};
    struct error err;
    struct buf text;
    struct arena *a = arena_create(256 * MIB);
    buf_init(&text, size);
    while (text.len + strlen(unit) <= size)
        buf_append_text(&text, unit);
    steps = 0;
    if (router_detect(a, STR_NONE, buf_str(&text), &f, &err))
        fail_msg("'%s': %s", unit, err.message);
    double each = (double)steps / (double)text.len;
    assert_true(each > 0.1); /* the counter is at work */
    buf_free(&text);
    arena_free(a);
    return each;
}

static void hostile_text_takes_linear_time(void **state)
{
    (void)state;
    struct error err;
    static const char *const units[] = {"1", "1 ", "a@", "+1 ", "(1) ", "12-", "@", "a", "://a:b", "eyJ",
        "eyJ.", "sk-", "key=", "-----BEGIN PRIVATE KEY", "-----BEGIN PRIVATE KEY-----\nabc", "password = \"",
        "1.", "::", "a:", "DE89 ", "api_key: a1b2", "4111 1111 1111 1111 ", "a@b.co ", "Bearer a",
        "-u a:", "\\n1", "1:AA", "bedrock-api-key-", "sk-proj-abcdefgh", "T3BlbkFJ", "https://a:b", "1+1",
        "1\n", "\\u0041", "\xC3\xBC", "\xE2\x80\x94", "a dot ", "a at b dot ", "my ", "Anna ",
        "my mother is ill. ", "YWJj"};
    assert_int_equal(router_detect_init(&err), 0);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        double small = cost(units[i], 48 * KIB), large = cost(units[i], 8 * 48 * KIB);
        if (large > GROWTH * small)
            fail_msg("'%s': %.2f steps a byte, %.2f at eight times the size", units[i], small, large);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(hostile_text_takes_linear_time)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

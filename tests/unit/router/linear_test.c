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
#include "router/detect_own.h"

static const struct detect_own *own; /* NULL: without the owner's layer */
static const double GROWTH = 1.5;    /* room for the logarithm of a sort; a quadratic one would show as 8 */

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
    if (router_detect_own(own, a, STR_NONE, buf_str(&text), &f, &err))
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
        "my mother is ill. ", "YWJj", "four ", "double ", "quatre vingt et ", "plus one ", "D E one ", "34 ",
        "0x34, ", "34 zz ", "a-", "4-5 ", "a_at_b_dot_", "a-at-b-dot-", "GQ2TGOJA", "\\064", "81.\n",
        "1.2.\n"};
    assert_int_equal(router_detect_init(&err), 0);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        double small = cost(units[i], 48 * KIB), large = cost(units[i], 8 * 48 * KIB);
        if (large > GROWTH * small)
            fail_msg("'%s': %.2f steps a byte, %.2f at eight times the size", units[i], small, large);
    }
}

static const char paper[] =
    "the price agreed between the parties is forty two million euros, in three parts, and "
    "the plant will be closed in the autumn of the same year, as nobody is to know. ";

static int paper_read(void *ctx, struct str path, size_t most, struct buf *out, struct error *err)
{
    struct print_maker m;
    struct print_made made;
    int rc = print_begin(&m, err);
    (void)ctx, (void)path, (void)most;
    struct detect_fold fold;
    detect_fold_begin(&fold, str_from(paper));
    while (rc == 0 && detect_fold_read(&fold))
        rc = print_feed(&m, (struct str){fold.bytes + fold.fresh, fold.n - fold.fresh}, err);
    if (rc == 0)
        rc = print_document_end(&m, err);
    if (rc == 0)
        rc = print_write(&m, out, &made, err);
    print_free(&m);
    return rc;
}

static void the_owners_layer_takes_linear_time(void **state)
{
    (void)state;
    static const char *const units[] = {"a ", "a", "a a a a ", "kranich", "kranich ", "internal\n",
        "- internal -", "\xE9\xB3\xA5", "EMP-123456 ", "EMP-", paper};
    struct error err;
    struct yaml_node *owner;
    struct detect_own *compiled;
    struct arena *a = arena_create(16 * MIB);
    const struct detect_own_files files = {paper_read, NULL};
    assert_int_equal(router_detect_init(&err), 0);
    assert_int_equal(
        yaml_read(a,
            STR("{find: [{words: [a, a a, a a a, kranich*, \xE9\xB3\xA5]}, {labels: [internal]}, {documents: "
                "paper}, {pattern: 'EMP-[0-9]+'}], allow: [{type: OWN_PATTERN, pattern: 'EMP-1+', why: x}]}"),
            "test", &owner, &err),
        0);
    if (detect_own_compile(a, owner, &files, &compiled, &err))
        fail_msg("%s", err.message);
    own = compiled;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        double small = cost(units[i], 48 * KIB), large = cost(units[i], 8 * 48 * KIB);
        if (large > GROWTH * small)
            fail_msg("'%s': %.2f steps a byte, %.2f at eight times the size", units[i], small, large);
    }
    own = NULL;
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(hostile_text_takes_linear_time),
        cmocka_unit_test(the_owners_layer_takes_linear_time)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

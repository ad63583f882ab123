#include "engine/worker/stream_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/rand.h"

/* Pushes the pieces and, unless a stop was met, finishes. Returns what came out; joins steps with '|'. */
static int run(const struct str *stops, size_t n_stops, const char *const *pieces, struct buf *out, bool mark)
{
    struct stream_text t;
    int rc = 0;
    buf_init(out, MIB);
    stream_text_init(&t, stops, n_stops);
    for (; *pieces && rc == 0; pieces++) {
        rc = stream_text_push(&t, str_from(*pieces), out, NULL);
        if (mark)
            buf_append_char(out, '|');
    }
    if (rc == 0)
        rc = stream_text_finish(&t, out, NULL);
    stream_text_free(&t);
    return rc;
}

#define PIECES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void check(
    const struct str *stops, size_t n_stops, const char *const *pieces, int rc, const char *expected)
{
    struct buf out;
    assert_int_equal(run(stops, n_stops, pieces, &out, true), rc);
    assert_string_equal(out.data ? out.data : "", expected);
    buf_free(&out);
}

static void test_characters_are_never_cut(void **state)
{
    (void)state;
    check(NULL, 0, PIECES("a\xC3", "\xA9", "b"), 0, "a|\xC3\xA9|b|");
    check(NULL, 0, PIECES("\xF0", "\x9F", "\x98", "\x80!"), 0, "|||\xF0\x9F\x98\x80!|");
}

static void test_broken_bytes_are_replaced(void **state)
{
    (void)state;
#define R "\xEF\xBF\xBD"
    check(NULL, 0, PIECES("\x80", "\xC0\xAF", "\xFF"), 0, R "|" R R "|" R "|");
    check(NULL, 0, PIECES("\xE2\x82", "A"), 0, "|" R "A|");
    check(NULL, 0, PIECES("\xE2\x82"), 0, "|" R);
    check(NULL, 0, PIECES("\xED\xA0\x80"), 0, R R R "|");
    check(NULL, 0, PIECES("\xF4\x90\x80\x80"), 0, R R R R "|");
    check(NULL, 0, PIECES("\xC3\xC3\xA9"), 0, R "\xC3\xA9|");
}

static void test_stop_strings_straddle_pieces(void **state)
{
    (void)state;
    struct str stops[] = {STR("STOP"), STR("\n\n")};
    check(stops, 2, PIECES("one ST", "OP two"), 1, "one ||");
    check(stops, 2, PIECES("one S", "T", "A"), 0, "one ||STA|");
    check(stops, 2, PIECES("a\n", "b\n", "\nc"), 1, "a|\nb||");
    check(stops, 2, PIECES("SSTOP"), 1, "S|");
    check(stops, 2, PIECES("x STO"), 0, "x |STO");
    check(stops, 2, PIECES("STSTOP"), 1, "ST|");
    check(stops, 2, PIECES("a\n\nSTOP"), 1, "a|");
}

static void test_the_earliest_stop_wins(void **state)
{
    (void)state;
    struct str stops[] = {STR("b"), STR("abc"), STR("\xC3\xA9!")};
    check(stops, 3, PIECES("xabc"), 1, "x|");
    check(stops, 3, PIECES("caf\xC3", "\xA9", "!"), 1, "caf|||");
    check(stops, 3, PIECES("caf\xC3", "\xA9", "?"), 0, "caf||\xC3\xA9?|");
}

static void test_which_stop_it_was(void **state)
{
    (void)state;
    const struct str stops[] = {STR("b"), STR("abc")};
    struct stream_text t;
    struct error err;
    struct buf out;
    buf_init(&out, KIB);
    stream_text_init(&t, stops, 2);
    assert_int_equal(stream_text_push(&t, STR("xa"), &out, &err), 0);
    assert_null(t.met.data);
    assert_int_equal(stream_text_push(&t, STR("bc"), &out, &err), 1);
    assert_true(str_is(t.met, "abc"));
    stream_text_free(&t);
    buf_free(&out);
}

/* Whatever the pieces, what comes out is the whole text up to the first stop string. */
static void test_any_cut_gives_the_same_text(void **state)
{
    (void)state;
    static const char *const alphabet[] = {"a", "b", "ab", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"};
    struct str stops[] = {STR("aab"), STR("b\xC3\xA9"), STR("abab")};
    struct rand_pcg r;
    rand_pcg_seed(&r, 11);
    for (int round = 0; round < 2000; round++) {
        char whole[256] = "";
        for (uint32_t i = rand_pcg_u32(&r) % 30; i > 0; i--)
            strcat(whole, alphabet[rand_pcg_u32(&r) % 6]);
        struct str expected = str_from(whole);
        bool stopped = false;
        for (size_t i = 0; i < 3; i++) {
            size_t at = str_find(str_from(whole), stops[i]);
            stopped = stopped || at != SIZE_MAX;
            if (at < expected.len)
                expected.len = at;
        }
        struct stream_text t;
        struct buf out;
        int rc = 0;
        buf_init(&out, MIB);
        stream_text_init(&t, stops, 3);
        for (size_t at = 0; whole[at] && rc == 0;) {
            size_t n = 1 + rand_pcg_u32(&r) % 4;
            struct str piece = str_slice(str_from(whole), at, at + n);
            rc = stream_text_push(&t, piece, &out, NULL);
            assert_true(str_utf8_valid(buf_str(&out)));
            at += piece.len;
        }
        assert_int_equal(rc, stopped ? 1 : 0);
        if (rc == 0)
            assert_int_equal(stream_text_finish(&t, &out, NULL), 0);
        assert_true(str_eq(buf_str(&out), expected));
        stream_text_free(&t);
        buf_free(&out);
    }
}

/* Random bytes: the output is valid UTF-8 at every step and does not depend on the cuts. */
static void test_random_bytes(void **state)
{
    (void)state;
    struct rand_pcg r;
    rand_pcg_seed(&r, 12);
    for (int round = 0; round < 2000; round++) {
        char bytes[24];
        struct buf whole, pieces;
        struct stream_text a, b;
        buf_init(&whole, MIB);
        buf_init(&pieces, MIB);
        stream_text_init(&a, NULL, 0);
        stream_text_init(&b, NULL, 0);
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (char)(rand_pcg_u32(&r) % 4 ? 0x80 | (rand_pcg_u32(&r) & 0x7f) : 'a');
        assert_int_equal(stream_text_push(&a, (struct str){bytes, sizeof bytes}, &whole, NULL), 0);
        for (size_t i = 0; i < sizeof bytes; i++) {
            assert_int_equal(stream_text_push(&b, (struct str){bytes + i, 1}, &pieces, NULL), 0);
            assert_true(str_utf8_valid(buf_str(&pieces)));
        }
        assert_int_equal(stream_text_finish(&a, &whole, NULL), 0);
        assert_int_equal(stream_text_finish(&b, &pieces, NULL), 0);
        assert_true(str_eq(buf_str(&whole), buf_str(&pieces)));
        assert_true(str_utf8_valid(buf_str(&whole)));
        stream_text_free(&a);
        stream_text_free(&b);
        buf_free(&whole);
        buf_free(&pieces);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_characters_are_never_cut),
        cmocka_unit_test(test_broken_bytes_are_replaced),
        cmocka_unit_test(test_stop_strings_straddle_pieces),
        cmocka_unit_test(test_the_earliest_stop_wins),
        cmocka_unit_test(test_which_stop_it_was),
        cmocka_unit_test(test_any_cut_gives_the_same_text),
        cmocka_unit_test(test_random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

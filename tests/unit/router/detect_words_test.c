/* Many words at once: read abreast in lanes, byte by byte, and looked for one by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "router/detect_words.h"

enum { MOST = 40000 };
struct found {
    size_t n, stop; /* how many there are room for */
    struct {
        uint16_t word;
        size_t at;
    } hit[MOST];
};

static bool note(void *ctx, uint16_t word, size_t at)
{
    struct found *f = ctx;
    f->hit[f->n].word = word;
    f->hit[f->n++].at = at;
    return f->n < f->stop;
}

static const struct str words[] = {
    {"ab", 2}, {"abcab", 5}, {"b", 1}, {"cab", 3}, {"bcabcabcabca", 12}, {"key", 3}, {"aaaa", 4}};
enum { N_WORDS = sizeof words / sizeof *words };

/* The longest word that ends at `at`, by looking. */
static uint16_t word_ending(struct str text, size_t at)
{
    uint16_t best = DETECT_NO_WORD;
    for (size_t i = 0; i < N_WORDS; i++)
        if (words[i].len <= at && str_is_nocase(str_slice(text, at - words[i].len, at), words[i].data) &&
            (best == DETECT_NO_WORD || words[i].len > words[best].len))
            best = (uint16_t)i;
    return best;
}

static void lanes_find_what_one_reading_finds(void **state)
{
    (void)state;
    static struct found each;
    static char text[20000];
    static const char letters[] = "abcabcabkey AB.";
    struct detect_words w;
    struct error err;
    uint64_t random = 88172645463325252u;
    assert_int_equal(detect_words_build(&w, words, N_WORDS, &err), 0);
    for (size_t round = 0; round < 400; round++) {
        size_t n = round < 200 ? round : (round * 7919) % sizeof text;
        for (size_t i = 0; i < n; i++) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            text[i] = letters[random % (sizeof letters - 1)];
        }
        each.n = 0;
        each.stop = SIZE_MAX;
        assert_true(detect_words_each(&w, (struct str){text, n}, note, &each));
        size_t k = 0, at = 0;
        uint32_t row = 0;
        for (uint16_t word;
             (word = detect_words_next(&w, (struct str){text, n}, &at, &row)) != DETECT_NO_WORD; k++) {
            assert_true(k < each.n);
            assert_int_equal(each.hit[k].word, word);
            assert_int_equal(each.hit[k].at, at);
        }
        assert_int_equal(k, each.n);
        k = 0;
        for (size_t i = 1; i <= n; i++)
            if (word_ending((struct str){text, n}, i) != DETECT_NO_WORD) {
                assert_int_equal(each.hit[k].at, i);
                assert_int_equal(each.hit[k++].word, word_ending((struct str){text, n}, i));
            }
        assert_int_equal(k, each.n);
    }
    detect_words_free(&w);
}

static void who_has_enough_is_not_told_more(void **state)
{
    (void)state;
    static struct found each;
    static char text[20000];
    struct detect_words w;
    struct error err;
    memset(text, 'b', sizeof text);
    assert_int_equal(detect_words_build(&w, words, N_WORDS, &err), 0);
    for (size_t stop = 1; stop < sizeof text; stop += 997) {
        each.n = 0;
        each.stop = stop;
        assert_false(detect_words_each(&w, (struct str){text, sizeof text}, note, &each));
        assert_int_equal(each.n, stop);
    }
    detect_words_free(&w);
}

static void settled_words_are_found_as_before(void **state)
{
    (void)state;
    static struct found before, after;
    static const struct str text = {"xabcabkeyaaaaa BCABCABCABCA key", 31};
    static struct detect_words w; /* for as long as the process: not freed */
    struct error err;
    before.stop = after.stop = SIZE_MAX;
    assert_int_equal(detect_words_build(&w, words, N_WORDS, &err), 0);
    assert_true(detect_words_each(&w, text, note, &before));
    assert_int_equal(before.n, 11);
    detect_words_settle(&w);
    assert_true(detect_words_each(&w, text, note, &after));
    assert_int_equal(after.n, before.n);
    assert_memory_equal(after.hit, before.hit, before.n * sizeof *before.hit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lanes_find_what_one_reading_finds),
        cmocka_unit_test(who_has_enough_is_not_told_more),
        cmocka_unit_test(settled_words_are_found_as_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

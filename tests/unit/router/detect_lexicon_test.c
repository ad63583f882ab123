/* Words are read by blocks of 64 bytes where they are ASCII, byte by byte elsewhere: it must not show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "router/detect_lexicon.h"

enum { MOST = 256, ROOM = 512 };
static struct error err;

/* `step` words at a time. */
static size_t words_of(const char *text, size_t n, size_t step, struct detect_word out[MOST])
{
    char *exact = malloc(n + 1);
    struct byte_map map;
    size_t at = 0, words = 0, got;
    unsigned sentence = 0;
    assert_non_null(exact);
    memcpy(exact, text, n);
    assert_int_equal(byte_map_make(&map, (struct str){exact, n}, &err), 0);
    do {
        assert_true(words + step <= MOST);
        got = detect_words_read(&map, &at, &sentence, out + words, step);
        words += got;
    } while (got == step);
    assert_true(at >= n);
    byte_map_free(&map);
    free(exact);
    return words;
}

static void words_are_equal(const struct detect_word *a, const struct detect_word *b, size_t shift)
{
    assert_int_equal(a->start + shift, b->start);
    assert_int_equal(a->end + shift, b->end);
    assert_true(a->hash == b->hash && a->stem == b->stem && a->kinds == b->kinds);
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(a->sentence, b->sentence);
}

static void where_a_word_stands_in_its_block_says_nothing(void **state)
{
    (void)state;
    static const char *const pieces[] = {"Anna", " my ", "depression", "M\xC3\xBCller", " ", "  ", "it's",
        "a-b", ". ", ".", "! ", "\n", "\n\n", ": ", ", ", "12", "A1", "USA", "x", "\xE2\x80\x94", "\xC2\xA0",
        "\xD0\x9C", "_", "|", "averyveryverylongwordthatgoesonandonandonoverablockofsixtyfourbytesandmore",
        "O\xCC\x88"};
    static struct detect_word first[MOST], shifted[MOST];
    uint64_t random = 88172645463325252u;
    for (int round = 0; round < 3000; round++) {
        char text[ROOM];
        size_t n = 0, shift = (size_t)round % 130;
        memset(text, ' ', sizeof text);
        for (;;) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            const char *piece = pieces[random % (sizeof pieces / sizeof *pieces)];
            if (n + strlen(piece) > 200)
                break;
            memcpy(text + n, piece, strlen(piece));
            n += strlen(piece);
        }
        size_t words = words_of(text, n, MOST, first), again = words_of(text, n, 1 + random % 5, shifted);
        assert_int_equal(words, again);
        for (size_t i = 0; i < words; i++)
            words_are_equal(&first[i], &shifted[i], 0);
        memmove(text + shift, text, n);
        memset(text, ' ', shift);
        assert_int_equal(words_of(text, n + shift, MOST, shifted), words);
        for (size_t i = 0; i < words; i++)
            words_are_equal(&first[i], &shifted[i], shift);
    }
}

static void words_say_what_they_are_made_of(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned flags;
    } words[] = {{"abc", 0}, {"Abc", WORD_CAPITAL}, {"ABC", WORD_CAPITAL | WORD_UPPER}, {"A", WORD_CAPITAL},
        {"12", WORD_DIGITS | WORD_DIGIT}, {"a1", WORD_DIGIT}, {"B12", WORD_CAPITAL | WORD_DIGIT},
        {"\xC3\x84hre", WORD_CAPITAL}, {"abcdefghijklmnop", 0}};
    enum { MADE_OF = WORD_CAPITAL | WORD_UPPER | WORD_DIGITS | WORD_DIGIT };
    struct detect_word w[MOST], alone[MOST];
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        assert_int_equal(words_of(words[i].text, strlen(words[i].text), MOST, w), 1);
        assert_int_equal(w[0].flags & MADE_OF, words[i].flags);
    }
    assert_int_equal(words_of("Alpha, beta: gamma.\nDelta", 25, MOST, w), 4);
    assert_true(w[0].flags & WORD_COMMA && w[1].flags & WORD_COLON && w[2].flags & WORD_STOP);
    assert_true(w[2].flags & WORD_LINE && w[2].sentence == 0 && w[3].sentence == 1);
    assert_int_equal(words_of("beta delta", 10, MOST, alone), 2);
    assert_true(w[1].hash == alone[0].hash && w[3].hash == alone[1].hash && w[1].hash != w[3].hash);
}

static int init(void **state)
{
    (void)state;
    return router_detect_init(&err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_a_word_stands_in_its_block_says_nothing),
        cmocka_unit_test(words_say_what_they_are_made_of),
    };
    return cmocka_run_group_tests(tests, init, NULL);
}

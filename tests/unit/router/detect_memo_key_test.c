#include "router/detect_memo_key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/must.h"
#include "base/rand.h"

enum { MOST = 400, WAYS = 2 };

struct keyed {
    unsigned char key[DETECT_MEMO_KEY];
};

static struct detect_memo_caller one, other;

static struct keyed key_of(int way, const struct detect_memo_caller *caller, const char *text, size_t len)
{
    struct keyed k = {{0}};
    struct str s = {text, len};
    if (way == 0)
        detect_memo_key_plain(caller, s, k.key);
    else if (!detect_memo_key_quick(caller, s, k.key))
        skip();
    return k;
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct keyed));
}

/* No two of these texts are one: each length of one byte repeated, each bit of a text turned, each two blocks
 * of it exchanged; for either caller. */
static void no_two_texts_have_one_key(void **state)
{
    int way = *(int *)*state;
    const struct detect_memo_caller *callers[] = {&one, &other};
    struct keyed *keys = must(calloc(4 * MOST * 8 + 4096, sizeof *keys));
    char zeros[MOST] = {0}, text[MOST];
    size_t n = 0;
    struct rand_pcg r;
    rand_pcg_seed(&r, 3);
    for (size_t i = 0; i < MOST; i++)
        text[i] = (char)rand_pcg_u32(&r);
    for (int c = 0; c < 2; c++) {
        for (size_t len = 0; len < MOST; len++)
            keys[n++] = key_of(way, callers[c], zeros, len);
        for (size_t bit = 0; bit < MOST * 8; bit++) {
            text[bit / 8] ^= (char)(1 << bit % 8);
            keys[n++] = key_of(way, callers[c], text, MOST);
            text[bit / 8] ^= (char)(1 << bit % 8);
        }
        for (size_t i = 0; i < MOST / 16; i++)
            for (size_t j = 0; j < i; j++) {
                char swapped[MOST];
                memcpy(swapped, text, MOST);
                memcpy(swapped + 16 * i, text + 16 * j, 16);
                memcpy(swapped + 16 * j, text + 16 * i, 16);
                keys[n++] = key_of(way, callers[c], swapped, MOST);
            }
    }
    qsort(keys, n, sizeof *keys, compare);
    for (size_t i = 1; i < n; i++)
        assert_int_not_equal(compare(&keys[i - 1], &keys[i]), 0);
    free(keys);
}

/* A key hangs on the text alone: not on where it stands, nor on what stands behind it. */
static void a_text_has_one_key(void **state)
{
    int way = *(int *)*state;
    char room[MOST + 64];
    struct rand_pcg r;
    rand_pcg_seed(&r, 4);
    for (size_t len = 0; len < MOST; len++) {
        struct keyed first = {{0}};
        for (size_t at = 0; at < 3; at++) {
            for (size_t i = 0; i < sizeof room; i++)
                room[i] = (char)rand_pcg_u32(&r);
            memset(room + at * 7, 'w', len);
            struct keyed k = key_of(way, &one, room + at * 7, len);
            if (at == 0)
                first = k;
            assert_int_equal(compare(&first, &k), 0);
        }
    }
}

/* Versions are small numbers, one after the other. Where a caller's keys of two of them differed by nothing
 * but that, a text judged under the older one with those bits turned was the other under the newer one: found
 * harmless by what the older one knew. */
static void bits_turned_in_a_text_do_not_make_up_for_a_newer_layer(void **state)
{
    int way = *(int *)*state;
    struct detect_memo_caller older, newer;
    char text[MOST] = {0};
    for (uint64_t v = 1; v < 8; v++) {
        detect_memo_caller_make(v, STR("one"), &older);
        detect_memo_caller_make(v + 1, STR("one"), &newer);
        struct keyed first = key_of(way, &older, text, MOST);
        for (size_t at = 0; at < 128; at += 16)
            text[at] ^= (char)(v ^ (v + 1));
        struct keyed second = key_of(way, &newer, text, MOST);
        assert_int_not_equal(compare(&first, &second), 0);
        memset(text, 0, sizeof text);
    }
}

/* The owner's layer and the caller: 16 bytes of secret between them. */
static void callers_and_versions_differ(void **state)
{
    struct detect_memo_caller again, newer;
    (void)state;
    detect_memo_caller_make(1, STR("one"), &again);
    detect_memo_caller_make(2, STR("one"), &newer);
    assert_memory_equal(&again, &one, sizeof one);
    assert_memory_not_equal(&newer, &one, sizeof one);
    assert_memory_not_equal(&other, &one, sizeof one);
}

int main(void)
{
    static int ways[WAYS] = {0, 1};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(no_two_texts_have_one_key, &ways[0]),
        cmocka_unit_test_prestate(no_two_texts_have_one_key, &ways[1]),
        cmocka_unit_test_prestate(a_text_has_one_key, &ways[0]),
        cmocka_unit_test_prestate(a_text_has_one_key, &ways[1]),
        cmocka_unit_test_prestate(bits_turned_in_a_text_do_not_make_up_for_a_newer_layer, &ways[0]),
        cmocka_unit_test_prestate(bits_turned_in_a_text_do_not_make_up_for_a_newer_layer, &ways[1]),
        cmocka_unit_test(callers_and_versions_differ),
    };
    detect_memo_caller_make(1, STR("one"), &one);
    detect_memo_caller_make(1, STR("other"), &other);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

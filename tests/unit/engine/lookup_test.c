/* What is foretold of sequences that repeat themselves, or what was expected of them. */
#include "engine/worker/lookup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"

enum { MOST = 15 };

static struct lookup *create(const int32_t *expected, size_t n_expected, const int32_t *prompt, size_t n)
{
    struct lookup *l;
    struct error err = {0};
    const struct token_list before = {(int32_t *)(uintptr_t)prompt, n, n},
                            wanted = {(int32_t *)(uintptr_t)expected, n_expected, n_expected};
    assert_int_equal(lookup_create(expected ? &wanted : NULL, &before, &l, &err), 0);
    return l;
}

static int32_t foretell(const struct lookup *l, int32_t *tokens, float *odds)
{
    const int32_t n = lookup_foretell(l, MOST, tokens, odds);
    for (int32_t i = 0; i < n; i++)
        assert_true(odds[i] > 0 && odds[i] < (i > 0 ? odds[i - 1] : 1));
    return n;
}

static void push(struct lookup *l, const int32_t *tokens, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        lookup_push(l, tokens[i]);
}

static void what_followed_before_is_foretold(void **state)
{
    (void)state;
    static const int32_t prompt[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 2, 3, 40, 41};
    int32_t tokens[MOST];
    float odds[MOST];
    struct lookup *l = create(NULL, 0, prompt, 14);
    assert_int_equal(foretell(l, tokens, odds), 0); /* 40 41 stood nowhere */
    push(l, (const int32_t[]){3, 4}, 2);
    assert_true(foretell(l, tokens, odds) >= 2);
    assert_memory_equal(tokens, ((const int32_t[]){5, 6}), 2 * sizeof *tokens);
    push(l, (const int32_t[]){30, 2, 3}, 3); /* of two places the later one */
    assert_true(foretell(l, tokens, odds) >= 1);
    assert_int_equal(tokens[0], 40);
    push(l, (const int32_t[]){31, 1, 2, 3}, 4); /* the longer match */
    assert_true(foretell(l, tokens, odds) >= 2);
    assert_memory_equal(tokens, ((const int32_t[]){4, 5}), 2 * sizeof *tokens);
    lookup_free(l);
}

/* Odds follow what was right, whether drafts ran or not. */
static void odds_are_what_was_measured(void **state)
{
    (void)state;
    int32_t prompt[200], tokens[MOST];
    float odds[MOST], copied, wrong;
    for (int32_t i = 0; i < 200; i++)
        prompt[i] = i;
    struct lookup *l = create(NULL, 0, prompt, 200);
    push(l, prompt + 20, 100);
    assert_int_equal(foretell(l, tokens, odds), MOST);
    assert_memory_equal(tokens, prompt + 120, sizeof tokens);
    copied = odds[0];
    assert_true(copied > 0.95f && odds[MOST - 1] > 0.6f);
    lookup_free(l);
    l = create(NULL, 0, prompt, 200);
    for (int32_t i = 0; i < 30; i++) /* two that stood together, then another */
        push(l, (const int32_t[]){(i * 7) % 190, (i * 7) % 190 + 1, 500 + i}, 3);
    push(l, prompt + 50, 2);
    assert_true(foretell(l, tokens, odds) <= 1);
    wrong = odds[0];
    assert_true(wrong < 0.15f);
    lookup_free(l);
}

static void what_is_expected_comes_first(void **state)
{
    (void)state;
    int32_t expected[40], tokens[MOST];
    float odds[MOST];
    for (int32_t i = 0; i < 40; i++)
        expected[i] = 100 + i;
    struct lookup *l = create(expected, 40, (const int32_t[]){1, 2, 3}, 3);
    assert_int_equal(foretell(l, tokens, odds), MOST);
    assert_memory_equal(tokens, expected, sizeof tokens);
    push(l, expected, 10);
    assert_int_equal(lookup_expected(l), 10);
    lookup_push(l, 7); /* in place of 110 */
    assert_true(foretell(l, tokens, odds) >= 1);
    assert_int_equal(tokens[0], 111);
    push(l, expected + 11, 9);
    assert_int_equal(lookup_expected(l), 19);
    push(l, (const int32_t[]){7, 8, 9, 10, 11, 12}, 6); /* something else, then two that are known */
    assert_int_equal(foretell(l, tokens, odds), 0);
    push(l, expected + 30, 2);
    assert_true(foretell(l, tokens, odds) >= 3);
    assert_memory_equal(tokens, expected + 32, 3 * sizeof *tokens);
    push(l, expected + 32, 8);
    assert_int_equal(lookup_expected(l), 27);
    assert_int_equal(foretell(l, tokens, odds), 0); /* nothing follows its end */
    lookup_free(l);
}

/* It was -3 of eight tokens that were not said, for which the gateway ended the worker. */
static void what_is_said_twice_was_expected_once(void **state)
{
    (void)state;
    static const int32_t expected[] = {50, 1, 2, 3, 4, 5, 6, 7};
    struct lookup *l = create(expected, 8, (const int32_t[]){90, 91, 92}, 3);
    push(l, expected + 1, 7);
    assert_int_equal(lookup_expected(l), 5);
    push(l, expected, 8); /* foretold from what is expected, again */
    assert_int_equal(lookup_expected(l), 8);
    lookup_free(l);
}

static void a_text_that_goes_round_goes_on(void **state)
{
    (void)state;
    static const int32_t round[] = {1, 2, 3, 1, 2, 3, 1, 2, 3};
    int32_t tokens[MOST];
    float odds[MOST];
    struct lookup *l = create(NULL, 0, round, 9);
    for (int32_t i = 0; i < 30; i++)
        lookup_push(l, 1 + i % 3);
    assert_int_equal(foretell(l, tokens, odds), MOST);
    for (int32_t i = 0; i < MOST; i++)
        assert_int_equal(tokens[i], 1 + i % 3);
    lookup_free(l);
}

/* Whatever comes, the token that is foretold after a match did follow these tokens somewhere. */
static void random_sequences(void **state)
{
    (void)state;
    enum { N = 3000 };
    static int32_t all[N];
    struct rand_pcg r;
    int32_t tokens[MOST], told = 0, right = 0;
    float odds[MOST];
    rand_pcg_seed(&r, 3);
    for (int32_t i = 0; i < N; i++)
        all[i] = i > 300 && rand_pcg_u32(&r) % 8 ? all[i - 300] : (int32_t)(rand_pcg_u32(&r) % 60);
    struct lookup *l = create(NULL, 0, all, 5);
    for (int32_t i = 5; i < N; i++) {
        const int32_t n = foretell(l, tokens, odds);
        told += n > 0;
        right += n > 0 && tokens[0] == all[i];
        lookup_push(l, all[i]);
    }
    assert_true(told > N / 2 && right > told / 2);
    lookup_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_followed_before_is_foretold),
        cmocka_unit_test(odds_are_what_was_measured),
        cmocka_unit_test(what_is_expected_comes_first),
        cmocka_unit_test(what_is_said_twice_was_expected_once),
        cmocka_unit_test(a_text_that_goes_round_goes_on),
        cmocka_unit_test(random_sequences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

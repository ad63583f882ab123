#include "engine/worker/sampler.h"

#include "unit/engine/sampler_rig.h"

/* The naive way: sort everything, then cut. Fills probabilities, 0 where a token was cut. */
static const float *oracle_logits;
static int oracle_order(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    if (oracle_logits[x] != oracle_logits[y])
        return oracle_logits[x] > oracle_logits[y] ? -1 : 1;
    return x < y ? -1 : 1;
}

static void oracle(const struct chat_sampling *p, const float *logits, int32_t n, double *probability)
{
    int32_t *ids = malloc((size_t)n * sizeof *ids);
    double sum = 0, held = 0;
    for (int32_t i = 0; i < n; i++)
        ids[i] = i;
    oracle_logits = logits;
    qsort(ids, (size_t)n, sizeof *ids, oracle_order);
    int32_t kept = p->top_k > 0 && p->top_k < n ? (int32_t)p->top_k : n;
    memset(probability, 0, (size_t)n * sizeof *probability);
    for (int32_t i = 0; i < kept; i++)
        sum += exp((double)logits[ids[i]] - (double)logits[ids[0]]);
    for (int32_t i = 0; i < kept && p->top_p < 1; i++) {
        held += exp((double)logits[ids[i]] - (double)logits[ids[0]]) / sum;
        if (held >= p->top_p)
            kept = i + 1;
    }
    sum = 0;
    for (int32_t i = 0; i < kept; i++) {
        if (exp((double)logits[ids[i]] - (double)logits[ids[0]]) < p->min_p)
            continue;
        probability[ids[i]] = exp(((double)logits[ids[i]] - (double)logits[ids[0]]) / p->temperature);
        sum += probability[ids[i]];
    }
    for (int32_t i = 0; i < n; i++)
        probability[i] /= sum;
    free(ids);
}

/* Draws must stay inside what the oracle keeps and be spread as it says: chi-square over tokens that are
 * likely enough to count. */
static void check_distribution(const struct chat_sampling *p, const float *logits, int32_t n)
{
    double *probability = malloc((size_t)n * sizeof *probability);
    int *seen = calloc((size_t)n, sizeof *seen);
    oracle(p, logits, n, probability);
    struct sampler *s = create(p, n);
    for (int i = 0; i < DRAWS; i++)
        seen[draw_one(s, logits, n)]++;
    double chi = 0;
    int cells = 0;
    for (int32_t i = 0; i < n; i++) {
        double expected = probability[i] * DRAWS;
        if (probability[i] <= 0 && seen[i] > 0)
            fail_msg("token %d was drawn %d times but is cut", i, seen[i]);
        if (expected < 10)
            continue;
        chi += (seen[i] - expected) * (seen[i] - expected) / expected;
        cells++;
    }
    /* Five standard deviations over the mean of chi-square; the seeds are fixed, so this does not flicker. */
    if (chi > cells + 5 * sqrt(2.0 * cells) + 5)
        fail_msg("chi-square %.1f over %d cells", chi, cells);
    sampler_free(s);
    free(probability);
    free(seen);
}

static void test_filters_against_a_naive_oracle(void **state)
{
    (void)state;
    struct rand_pcg r;
    float logits[VOCAB];
    rand_pcg_seed(&r, 7);
    static const struct {
        double temperature, top_p, min_p;
        int64_t top_k;
    } cases[] = {{1, 1, 0, 0}, {0.7, 1, 0, 0}, {1.5, 1, 0, 0}, {1, 1, 0, 1}, {1, 1, 0, 10}, {1, 1, 0, 499},
        {1, 1, 0, 1000}, {1, 0.5, 0, 0}, {1, 0.95, 0, 0}, {1, 0, 0, 0}, {1, 1, 0.05, 0}, {1, 1, 1, 0},
        {0.8, 0.95, 0.05, 40}, {2, 0.9, 0.02, 100}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chat_sampling p = plain((int64_t)i);
        p.temperature = cases[i].temperature;
        p.top_p = cases[i].top_p;
        p.min_p = cases[i].min_p;
        p.top_k = cases[i].top_k;
        random_logits(&r, logits, VOCAB);
        check_distribution(&p, logits, VOCAB);
    }
}

static void test_greedy_takes_the_first_of_the_largest(void **state)
{
    (void)state;
    struct chat_sampling p = plain(1);
    p.temperature = 0;
    struct sampler *s = create(&p, 5);
    assert_int_equal(draw_one(s, (float[]){1, 3, 2, 3, 0}, 5), 1);
    assert_int_equal(draw_one(s, (float[]){-1, -3, -1, -3, -2}, 5), 0);
    assert_int_equal(draw_one(s, (float[]){NAN, NAN, -5, NAN, -INFINITY}, 5), 2);
    sampler_free(s);
}

static void test_same_seed_same_tokens(void **state)
{
    (void)state;
    struct rand_pcg r;
    float logits[VOCAB];
    struct chat_sampling p = plain(42), other = plain(43);
    struct sampler *a = create(&p, VOCAB), *b = create(&p, VOCAB), *c = create(&other, VOCAB);
    int differ = 0;
    rand_pcg_seed(&r, 1);
    for (int i = 0; i < 200; i++) {
        random_logits(&r, logits, VOCAB);
        int32_t token = draw_one(a, logits, VOCAB);
        assert_int_equal(token, draw_one(b, logits, VOCAB));
        differ += token != draw_one(c, logits, VOCAB);
    }
    assert_true(differ > 100);
    sampler_free(a);
    sampler_free(b);
    sampler_free(c);
}

static void test_without_a_seed_answers_differ(void **state)
{
    (void)state;
    float logits[VOCAB] = {0};
    struct chat_sampling p = plain(0);
    p.has_seed = false;
    struct sampler *a = create(&p, VOCAB), *b = create(&p, VOCAB);
    int differ = 0;
    for (int i = 0; i < 50; i++)
        differ += draw_one(a, logits, VOCAB) != draw_one(b, logits, VOCAB);
    assert_true(differ > 0);
    sampler_free(a);
    sampler_free(b);
}

static void test_penalties(void **state)
{
    (void)state;
    struct chat_sampling p = plain(1);
    struct error err;
    int32_t token;
    p.temperature = 0;
    p.repeat_penalty = 2;
    p.presence_penalty = 0.5;
    p.frequency_penalty = 0.25;
    p.repeat_last_n = 3;
    struct sampler *s = create(&p, 4);
    sampler_accept(s, 3); /* falls out of the last three */
    sampler_accept(s, 0);
    sampler_accept(s, 1);
    sampler_accept(s, 0);
    sampler_accept(s, 77); /* no such token: ignored */
    sampler_accept(s, -1);
    float logits[] = {4, -1, 0.5f, 1};
    assert_int_equal(sampler_draw(s, logits, &token, &err), 0);
    assert_true(logits[0] == 4.0f / 2 - 2 * 0.25f - 0.5f);
    assert_true(logits[1] == -1.0f * 2 - 0.25f - 0.5f);
    assert_true(logits[2] == 0.5f && logits[3] == 1.0f);
    assert_int_equal(token, 0);
    sampler_free(s);
}

static void test_defaults(void **state)
{
    (void)state;
    struct chat_sampling unset;
    struct rand_pcg r;
    float logits[VOCAB];
    chat_sampling_init(&unset);
    unset.has_seed = true;
    unset.seed = 3;
    struct chat_sampling named = plain(3);
    named.temperature = 0.8;
    named.top_k = 40;
    named.top_p = 0.95;
    named.min_p = 0.05;
    struct sampler *a = create(&unset, VOCAB), *b = create(&named, VOCAB);
    rand_pcg_seed(&r, 5);
    for (int i = 0; i < 200; i++) {
        random_logits(&r, logits, VOCAB);
        int32_t token = draw_one(a, logits, VOCAB);
        sampler_accept(a, token);
        assert_int_equal(token, draw_one(b, logits, VOCAB));
    }
    sampler_free(a);
    sampler_free(b);
}

static void test_broken_logits(void **state)
{
    (void)state;
    struct chat_sampling p = plain(1);
    struct sampler *s = create(&p, 3);
    int32_t token;
    struct error err = {0};
    assert_int_equal(sampler_draw(s, (float[]){NAN, NAN, NAN}, &token, &err), ERROR_INTERNAL);
    assert_int_equal(sampler_draw(s, (float[]){-INFINITY, -INFINITY, NAN}, &token, &err), ERROR_INTERNAL);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(draw_one(s, (float[]){1, INFINITY, 2}, 3), 1);
        assert_int_not_equal(draw_one(s, (float[]){1, NAN, -INFINITY}, 3), 1);
    }
    sampler_free(s);
    p.temperature = 1e-30;
    s = create(&p, 3);
    for (int i = 0; i < 50; i++)
        assert_int_equal(draw_one(s, (float[]){1, 1.0001f, 0}, 3), 1);
    sampler_free(s);
}

/* A large vocabulary's first k are found without listing all of it, as an n-sigma that keeps everything has
 * it listed: the same draws, with ties, tokens that cannot come and what is no number. */
static void test_the_first_of_many_are_those_of_all(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    static float logits[MANY];
    struct rand_pcg r;
    rand_pcg_seed(&r, 11);
    for (int32_t round = 0; round < 60; round++) {
        struct chat_sampling p = plain(round);
        p.temperature = 2;
        p.top_k = 1 + round % 9 * 20;
        struct sampler *some = create(&p, MANY);
        p.top_n_sigma = 1e9;
        struct sampler *all = create(&p, MANY);
        for (int32_t i = 0; i < MANY; i++)
            logits[i] = (float)(int32_t)(rand_pcg_double(&r) * (round % 2 ? 9 : 4000)) / 300;
        for (int32_t i = 0; i < MANY; i += 1 + (int32_t)(rand_pcg_double(&r) * 20))
            logits[i] = i % 2 ? -INFINITY : NAN;
        for (int32_t i = 100; round % 7 == 6 && i < MANY; i++) /* fewer than k are left */
            logits[i] = -INFINITY;
        for (int32_t i = 0; i < 50; i++)
            assert_int_equal(draw_one(some, logits, MANY), draw_one(all, logits, MANY));
        sampler_free(some);
        sampler_free(all);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filters_against_a_naive_oracle),
        cmocka_unit_test(test_greedy_takes_the_first_of_the_largest),
        cmocka_unit_test(test_same_seed_same_tokens),
        cmocka_unit_test(test_without_a_seed_answers_differ),
        cmocka_unit_test(test_penalties),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_the_first_of_many_are_those_of_all),
        cmocka_unit_test(test_broken_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

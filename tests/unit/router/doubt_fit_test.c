#include <math.h>

#include "router/calibrate.h"
#include "unit/router/router_fixture.h"

enum { N = 300 };
static struct calibrate_sample samples[N];

static double random_of(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 40) / (double)(1 << 24);
}

/* The weak model is wrong where it gave one token a small probability; how sure it was of the others says
 * nothing. */
static void samples_make(bool told)
{
    uint64_t state = 11;
    for (int i = 0; i < N; i++) {
        bool wrong = random_of(&state) < 0.4;
        double least = told && wrong ? 0.2 + 0.1 * random_of(&state) : 0.32 + 0.1 * random_of(&state);
        samples[i] =
            (struct calibrate_sample){.weak = !wrong, .strong = 1, .weak_cost = 0.5, .strong_cost = 2};
        calibrate_prompt_of(STR("which river is that?"), &samples[i].prompt);
        doubt_add(&samples[i].doubt, log(least), 0.5);
        for (int k = 0; k < 4; k++)
            doubt_add(&samples[i].doubt, log(0.4 + 0.6 * random_of(&state)), 0.5);
    }
}

static void weights_are_fitted_where_they_help(void **state)
{
    (void)state;
    struct router_cascade c;
    struct calibrate_report r;
    samples_make(true);
    assert_int_equal(router_cascade_fit(samples, N, 0.95, 16, &c, &r, &err), 0);
    assert_true(r.features && r.fitted.apgr > r.built_in.apgr + 0.05);
    assert_true(r.oracle.apgr >= r.fitted.apgr - 1e-9);
    assert_true(fabs(r.length.apgr - 0.5) < 1e-9 && fabs(r.complexity.apgr - 0.5) < 1e-9); /* all alike */
    assert_true(c.fitted && c.tokens == 16 && c.weight[DOUBT_LEAST] > 0);
    assert_true(r.quality >= r.fitted.weak + 0.95 * (r.fitted.strong - r.fitted.weak) - 1e-9);
    assert_true(r.share > 0.3 && r.share < 0.6);
    /* Whoever goes on pays for both. */
    assert_true(fabs(r.cost - N * (0.5 + 2 * r.share)) < 1e-6);
    assert_true(fabs(r.weak_cost - N * 0.5) < 1e-6 && fabs(r.strong_cost - N * 2.0) < 1e-6);
    /* What is decided with it is what was promised, but for the folds. */
    int strong = 0;
    for (int i = 0; i < N; i++)
        strong += doubt_value(&samples[i].doubt, &c) >= c.threshold;
    assert_true(fabs((double)strong / N - r.share) < 0.05);
}

/* Where a second answer tells the wrong ones, it is asked for; where it is a copy of what is known, or
 * chance, nobody pays for it. */
static void what_costs_is_used_where_it_is_worth_it(void **state)
{
    (void)state;
    for (int tells = 0; tells < 3; tells++) {
        struct router_cascade c;
        struct calibrate_report r;
        uint64_t random = 5;
        samples_make(tells != 1);
        for (int i = 0; i < N; i++) {
            struct doubt *d = &samples[i].doubt;
            const bool wrong = samples[i].weak < 0.5;
            d->has_again = d->has_prompt = random_of(&random) < 0.9; /* some were not told */
            d->agreement = tells == 1   ? (wrong ? 0.5 : 1) * random_of(&random)
                           : tells == 2 ? exp(d->logprob_least)
                                        : random_of(&random);
            d->prompt_logprob = -3 * random_of(&random);
        }
        assert_int_equal(router_cascade_fit(samples, N, 0.95, 16, &c, &r, &err), 0);
        assert_int_equal(router_cascade_uses(&c, DOUBT_AGAIN), tells == 1);
        assert_false(router_cascade_uses(&c, DOUBT_PROMPT));
        assert_true(c.usual[DOUBT_PROMPT] > 1.2 && c.usual[DOUBT_PROMPT] < 1.8);
        assert_true(tells != 1 || (c.weight[DOUBT_AGAIN] > 0 && r.fitted.apgr > 0.6));
    }
}

/* Fitted to few prompts of a real model, entropy had a weight below 0: where it could not say a word (5 nats)
 * it was kept. */
static void more_of_a_signal_is_never_less_doubt(void **state)
{
    (void)state;
    uint64_t random = 3;
    samples_make(true);
    for (int i = 0; i < N; i++) {
        struct doubt *d = &samples[i].doubt; /* among these prompts the wrong ones have less entropy */
        d->entropy_sum = d->tokens * ((samples[i].weak < 0.5 ? 0 : 0.5) + random_of(&random));
    }
    struct router_cascade c;
    struct calibrate_report r;
    assert_int_equal(router_cascade_fit(samples, N, 0.95, 16, &c, &r, &err), 0);
    for (int i = 0; i < DOUBT_SIGNALS; i++)
        assert_true(c.weight[i] >= 0);
    assert_true(r.features && c.weight[DOUBT_LEAST] > 0 && c.weight[DOUBT_ENTROPY] == 0);
}

static void chance_promises_nothing(void **state)
{
    (void)state;
    struct router_cascade c;
    struct calibrate_report r;
    samples_make(false);
    assert_int_equal(router_cascade_fit(samples, N, 0.8, 8, &c, &r, &err), 0);
    assert_true(fabs(r.fitted.apgr - 0.5) < 0.1);
    if (!r.features)
        assert_true(c.weight[DOUBT_MEAN] == 1 && c.weight[DOUBT_LEAST] == 0 && c.constant == 0);
}

static void what_cannot_be_fitted_is_refused(void **state)
{
    (void)state;
    struct router_cascade c;
    struct calibrate_report r;
    samples_make(true);
    assert_int_equal(router_cascade_fit(samples, CALIBRATE_LEAST - 1, 0.8, 16, &c, &r, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "too few"));
    for (int i = 0; i < N; i++)
        samples[i].strong = 0;
    assert_int_equal(router_cascade_fit(samples, N, 0.8, 16, &c, &r, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "not better than the weak one"));
}

static void the_threshold_takes_as_few_as_it_needs(void **state)
{
    (void)state;
    struct gap_row rows[] = {{0.1, 1, 1}, {0.9, 0, 1}, {0.5, 0, 1}, {0.5, 1, 1}};
    struct gap_report r;
    size_t k;
    gap_judge(rows, 4, &r);
    assert_true(fabs(gap_threshold(rows, 4, 0.75, 0, &k) - 0.7) < 1e-12 && k == 1);
    assert_true(
        fabs(gap_threshold(rows, 4, 0.76, 0, &k) - 0.3) < 1e-12 && k == 3); /* equal ones go together */
    assert_true(gap_threshold(rows, 4, 0.5, 0, &k) == INFINITY && k == 0);
    assert_true(gap_threshold(rows, 4, 1.01, 0, &k) == -INFINITY && k == 4);
}

/* A doubt x is right with a chance of 1 - x / 2, so below a threshold t of it t^2 / 4 is lost. Where a sample
 * of 200 is just good enough at its threshold, every second time others are not. */
static void a_promised_quality_holds_on_other_prompts(void **state)
{
    (void)state;
    uint64_t random = 17;
    int kept[2] = {0};
    for (int round = 0; round < 200; round++) {
        struct gap_row rows[200];
        struct gap_report r;
        for (int i = 0; i < 200; i++) {
            const double doubt = random_of(&random);
            rows[i] = (struct gap_row){doubt, random_of(&random) >= doubt / 2, 1};
        }
        gap_judge(rows, 200, &r);
        for (int margin = 0; margin < 2; margin++) {
            size_t n_strong;
            const double t = gap_threshold(rows, 200, 0.95, margin, &n_strong);
            kept[margin] += fmin(t, 1) * fmin(t, 1) / 4 <= 0.05;
        }
    }
    assert_true(kept[0] < 130 && kept[1] > 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_fitted_where_they_help),
        cmocka_unit_test(what_costs_is_used_where_it_is_worth_it),
        cmocka_unit_test(more_of_a_signal_is_never_less_doubt),
        cmocka_unit_test(chance_promises_nothing),
        cmocka_unit_test(what_cannot_be_fitted_is_refused),
        cmocka_unit_test(the_threshold_takes_as_few_as_it_needs),
        cmocka_unit_test(a_promised_quality_holds_on_other_prompts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* weir perplexity: the figures of a token and of all of them, against what their definitions say. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "train/perplexity.h"

static void near(double a, double b)
{
    assert_true(fabs(a - b) < 1e-6 * (1 + fabs(b)));
}

static void a_token_costs_what_its_probability_says(void **state)
{
    (void)state;
    /* p = 1/2, 1/4, 1/4 and q = 1/4, 1/4, 1/2, both shifted. */
    const float p[] = {logf(2) + 5, 5, 5}, q[] = {-3, -3, logf(2) - 3};
    struct perplexity_row row = perplexity_row(p, NULL, 3, 0);
    near(row.nll, log(2));
    row = perplexity_row(p, q, 3, 2);
    near(row.nll, log(4));
    near(row.base_nll, log(2));
    near(row.kl, 0.25 * log(0.5) + 0.5 * log(2)); /* sum of q ln(q / p) */
    assert_false(row.same_top);
    row = perplexity_row(p, p, 3, 1);
    near(row.kl, 0);
    assert_true(row.same_top);
}

static void large_logits_and_impossible_tokens_are_numbers(void **state)
{
    (void)state;
    const float p[] = {1e30f, 0, -INFINITY}, nan[] = {0, NAN, 0};
    near(perplexity_row(p, p, 3, 0).nll, 0);
    near(perplexity_row(p, p, 3, 0).kl, 0);
    assert_true(isnan(perplexity_row(nan, NULL, 3, 0).nll));
    assert_true(isnan(perplexity_row(p, nan, 3, 0).nll));
}

static struct perplexity_figures figures_of(const struct perplexity_row *rows, int64_t n, bool reference)
{
    struct perplexity_sums s;
    struct perplexity_figures f;
    struct error err;
    assert_int_equal(perplexity_create(n, reference, &s, &err), 0);
    for (int64_t i = 0; i < n; i++)
        perplexity_add(&s, &rows[i]);
    perplexity_figures(&s, &f);
    perplexity_free(&s);
    return f;
}

/* nll 1 and 3: mean 2, variance 1 of the sample, standard error sqrt(1 / (2 - 1)). */
static void figures_have_their_errors(void **state)
{
    (void)state;
    const struct perplexity_row rows[] = {
        {.nll = 1, .base_nll = 1, .kl = 0.5, .same_top = true}, {.nll = 3, .base_nll = 2, .kl = 0.1}};
    struct perplexity_figures f = figures_of(rows, 2, false);
    near(f.perplexity.value, exp(2));
    near(f.perplexity.error, exp(2));
    near(f.kl.value, 0);
    f = figures_of(rows, 2, true);
    near(f.base.value, exp(1.5));
    near(f.base.error, exp(1.5) * 0.5);
    near(f.correlation, 1);
    near(f.log_ratio.value, 0.5);
    near(f.log_ratio.error, 0.5); /* both move together: |1 - 0.5| */
    near(f.ratio.value, exp(0.5));
    near(f.difference.value, exp(2) - exp(1.5));
    near(f.kl.value, 0.3);
    near(f.kl_median, 0.3);
    near(f.kl_90, 0.46);
    near(f.kl_max, 0.5);
    near(f.same_top.value, 0.5);
    near(f.same_top.error, 0.5);
    const double shift = exp(-3) - exp(-2);
    near(f.shift.value, shift / 2);
    near(f.shift_rms.value, sqrt(shift * shift / 2));
    f = figures_of(rows, 0, true);
    near(f.perplexity.value, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_costs_what_its_probability_says),
        cmocka_unit_test(large_logits_and_impossible_tokens_are_numbers),
        cmocka_unit_test(figures_have_their_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "engine/worker/rope.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { DIMS = 64, PAIRS = DIMS / 2 };

static void near(double a, double b)
{
    if (!(fabs(a - b) <= 1e-12 * fmax(1, fabs(b))))
        fail_msg("%.17g is not %.17g", a, b);
}

static struct rope_scaling plain(void)
{
    return (struct rope_scaling){.base = 10000, .factor = 1, .attention_factor = 1};
}

static void frequencies_fall_from_one(void **state)
{
    (void)state;
    struct rope_scaling how = plain();
    double f[PAIRS];
    near(rope_frequencies(&how, DIMS, NULL, f), 1);
    near(f[0], 1);
    near(f[16], 0.01); /* 10000^(-32/64) */
    for (int i = 1; i < PAIRS; i++)
        assert_true(f[i] < f[i - 1] && f[i] > 1e-4);
}

static void linear_scaling_and_factors_divide(void **state)
{
    (void)state;
    struct rope_scaling how = plain();
    float factors[PAIRS];
    double f[PAIRS], scaled[PAIRS];
    for (int i = 0; i < PAIRS; i++)
        factors[i] = (float)(1 + i);
    rope_frequencies(&how, DIMS, NULL, f);
    how.factor = 4;
    near(rope_frequencies(&how, DIMS, factors, scaled), 1);
    for (int i = 0; i < PAIRS; i++)
        near(scaled[i], f[i] / 4 / (1 + i));
}

/* Fast pairs as they were, slow ones divided by the factor, a ramp between; figures worked out by hand from
 * the paper: pair i turns 4096 / (2 pi) * 10000^(-2i/64) times over the original context. */
static void yarn_leaves_fast_pairs_alone(void **state)
{
    (void)state;
    struct rope_scaling how = plain();
    double f[PAIRS], y[PAIRS];
    rope_frequencies(&how, DIMS, NULL, f);
    how.factor = 8;
    how.yarn = true;
    how.original_context = 4096;
    how.beta_fast = 32;
    how.beta_slow = 1;
    how.extrapolation = 1;
    near(rope_frequencies(&how, DIMS, NULL, y), 1 + 0.1 * log(8));
    /* 32 turns at i = 10.47, one at i = 22.51: the ramp runs from 10 to 23. */
    for (int i = 0; i < PAIRS; i++) {
        double share = i <= 10 ? 1 : i >= 23 ? 0 : 1 - (i - 10) / 13.0;
        near(y[i], f[i] * share + f[i] / 8 * (1 - share));
    }
    how.extrapolation = 0; /* no more than linear */
    near(rope_frequencies(&how, DIMS, NULL, y), 1);
    near(y[0], f[0] / 8);
    how.attention_factor = 1.5;
    near(rope_frequencies(&how, DIMS, NULL, y), 1.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frequencies_fall_from_one),
        cmocka_unit_test(linear_scaling_and_factors_divide),
        cmocka_unit_test(yarn_leaves_fast_pairs_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "engine/worker/measure.h"

enum { VOCAB = 4 };
static struct error err;

static void near(double a, double b, double most)
{
    if (!(fabs(a - b) <= most))
        fail_msg("%.9g is not %.9g", a, b);
}

static bool measured(const float row[VOCAB], int32_t token, double *logprob, double *entropy)
{
    struct measure m;
    float copy[VOCAB];
    assert_int_equal(measure_begin(&m, 1, VOCAB, &err), 0);
    for (int i = 0; i < VOCAB; i++)
        copy[i] = row[i];
    measure_see(&m, copy);
    for (int i = 0; i < VOCAB; i++)
        copy[i] = 0; /* what a sampler does to the row changes nothing */
    bool told = measure_of(&m, token, logprob, entropy);
    assert_int_equal(m.left, told ? 0 : 1);
    measure_free(&m);
    return told;
}

static void probability_and_entropy_of_what_is_drawn(void **state)
{
    (void)state;
    double p, h;
    /* 1/2, 1/4, 1/8, 1/8 with any constant added to the logits: entropy 1.75 bits. */
    const float quarters[VOCAB] = {100, 100 - (float)M_LN2, 100 - 2 * (float)M_LN2, 100 - 2 * (float)M_LN2};
    for (int i = 0; i < VOCAB; i++) {
        assert_true(measured(quarters, i, &p, &h));
        near(p, -M_LN2 * (i < 3 ? i + 1 : 3), 1e-5);
        near(h, 1.75 * M_LN2, 1e-5);
    }
    const float even[VOCAB] = {-7, -7, -7, -7};
    assert_true(measured(even, 2, &p, &h));
    near(p, -log(4), 1e-5);
    near(h, log(4), 1e-5);
    const float sure[VOCAB] = {0, 60, 0, 0};
    assert_true(measured(sure, 1, &p, &h));
    near(p, 0, 1e-5);
    near(h, 0, 1e-5);
    assert_true(measured(sure, 0, &p, &h));
    near(p, -60, 1e-4);
}

static void what_does_not_fit_the_grammar_does_not_count(void **state)
{
    (void)state;
    double p, h;
    const float two[VOCAB] = {-INFINITY, 3, -INFINITY, 3};
    assert_true(measured(two, 3, &p, &h));
    near(p, -M_LN2, 1e-5);
    near(h, M_LN2, 1e-5);
    const float forced[VOCAB] = {-INFINITY, -INFINITY, 1, -INFINITY};
    assert_false(measured(forced, 2, &p, &h));
    const float broken[VOCAB] = {NAN, 3, NAN, 3};
    assert_true(measured(broken, 1, &p, &h));
    near(p, -M_LN2, 1e-5);
    const float nothing[VOCAB] = {NAN, NAN, NAN, NAN};
    assert_false(measured(nothing, 1, &p, &h));
    const float endless[VOCAB] = {INFINITY, 0, 0, 0};
    assert_false(measured(endless, 0, &p, &h));
}

static void no_more_than_was_asked_for(void **state)
{
    (void)state;
    const float row[VOCAB] = {0, 0, 0, 0};
    struct measure m;
    double p, h;
    assert_int_equal(measure_begin(&m, 2, VOCAB, &err), 0);
    for (int i = 0; i < 4; i++) {
        measure_see(&m, row);
        assert_true(measure_of(&m, 0, &p, &h) == (i < 2));
    }
    measure_free(&m);
    assert_int_equal(measure_begin(&m, 0, VOCAB, &err), 0);
    measure_see(&m, row);
    assert_false(measure_of(&m, 0, &p, &h));
    measure_free(&m);
}

static void a_token_of_the_prompt_as_calculated_by_hand(void **state)
{
    (void)state;
    const float quarters[VOCAB] = {7, 7 - (float)M_LN2, 7 - 2 * (float)M_LN2, 7 - 2 * (float)M_LN2};
    for (int i = 0; i < VOCAB; i++)
        near(measure_logprob(quarters, VOCAB, i), log((const double[]){0.5, 0.25, 0.125, 0.125}[i]), 1e-6);
    const float broken[VOCAB] = {NAN, NAN, NAN, NAN}, never[VOCAB] = {-INFINITY, -INFINITY, -INFINITY, 1};
    near(measure_logprob(broken, VOCAB, 1), 0, 0);
    near(measure_logprob(never, VOCAB, 3), 0, 0);
    assert_true(measure_logprob(never, VOCAB, 0) < -1e6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probability_and_entropy_of_what_is_drawn),
        cmocka_unit_test(what_does_not_fit_the_grammar_does_not_count),
        cmocka_unit_test(no_more_than_was_asked_for),
        cmocka_unit_test(a_token_of_the_prompt_as_calculated_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "router/doubt.h"

static const struct router_cascade plain = {.tokens = 4, .threshold = 0.5};
static struct error err;

static void near(double a, double b, double most)
{
    if (!(fabs(a - b) <= most))
        fail_msg("%.9g is not %.9g", a, b);
}

static struct doubt doubt_of(const double *probabilities, size_t n)
{
    struct doubt d = {0};
    for (size_t i = 0; i < n; i++)
        doubt_add(&d, log(probabilities[i]), 0.25 * (double)(i + 1));
    return d;
}

static void signals_as_calculated_by_hand(void **state)
{
    (void)state;
    double s[DOUBT_SIGNALS];
    const struct doubt none = {0}, d = doubt_of((const double[]){0.5, 0.125, 1}, 3);
    doubt_signals(&d, s);
    near(s[DOUBT_MEAN], 1 - cbrt(0.0625), 1e-12);
    near(s[DOUBT_LEAST], 1 - 0.125, 1e-12);
    near(s[DOUBT_ENTROPY], 0.5, 1e-12);
    near(doubt_value(&d, &plain), 1 - cbrt(0.0625), 1e-12);
    near(doubt_value(&none, &plain), 0, 1e-12);
    const struct router_cascade fitted = {
        .tokens = 4, .threshold = 0.5, .fitted = true, .constant = -0.3, .weight = {0, 1, 0.5}};
    near(doubt_value(&d, &fitted), -0.3 + 0.875 + 0.25, 1e-12);
    const struct router_cascade more = {.tokens = 4, .fitted = true, .constant = -5, .weight = {1, 1, 1}};
    near(doubt_value(&d, &more), 0, 1e-12);
}

/* What was asked for and did not come is as usual, not as if it were sure. */
static void what_is_not_told_is_as_usual(void **state)
{
    (void)state;
    double s[DOUBT_SIGNALS];
    struct router_cascade c = {.tokens = 2, .threshold = 0.5, .fitted = true};
    struct doubt d = doubt_of((const double[]){0.5, 0.5}, 2);
    c.weight[DOUBT_PROMPT] = 0.1;
    c.weight[DOUBT_AGAIN] = 0.5;
    c.usual[DOUBT_PROMPT] = 3;
    c.usual[DOUBT_AGAIN] = 0.4;
    doubt_signals(&d, s);
    assert_true(isnan(s[DOUBT_PROMPT]) && isnan(s[DOUBT_AGAIN]));
    near(doubt_value(&d, &c), 0.1 * 3 + 0.5 * 0.4, 1e-12);
    d.has_prompt = d.has_again = true;
    d.prompt_logprob = -2;
    d.agreement = 0.75;
    near(doubt_value(&d, &c), 0.1 * 2 + 0.5 * 0.25, 1e-12);
    assert_true(router_cascade_uses(&c, DOUBT_PROMPT) && !router_cascade_uses(&c, DOUBT_MEAN));
    assert_false(router_cascade_uses(&plain, DOUBT_MEAN)); /* nothing is weighed */
    /* A second answer that is still to come may agree; the prompt's surprise is known from the beginning. */
    d.has_again = false;
    d.prompt_logprob = -4.9;
    assert_false(doubt_is_certain(&d, &c));
    d.prompt_logprob = -5;
    assert_true(doubt_is_certain(&d, &c));
}

/* Held against every way on: certain is what no further tokens could change, and it is found as soon as it is
 * so. */
static void certain_is_what_sure_tokens_could_not_change(void **state)
{
    (void)state;
    struct router_cascade fitted = {
        .tokens = 4, .threshold = 0.5, .fitted = true, .constant = 0, .weight = {0.2, 0.5, 0.3}};
    const struct router_cascade *policies[] = {&plain, &fitted};
    int certain = 0, uncertain = 0;
    for (int p = 0; p < 2; p++)
        for (int i = 1; i <= 100; i++)
            for (int n = 1; n <= 4; n++) {
                struct doubt d = {0};
                for (int k = 0; k < n; k++)
                    doubt_add(&d, log(k == 0 ? i / 100.0 : 0.9), 0.3);
                bool is = doubt_is_certain(&d, policies[p]);
                struct doubt best = d;
                while (best.tokens < 4)
                    doubt_add(&best, 0, 0);
                assert_int_equal(is, doubt_value(&best, policies[p]) >= 0.5);
                assert_true(!is || doubt_value(&d, policies[p]) >= 0.5);
                certain += is;
                uncertain += !is;
            }
    assert_true(certain > 50 && uncertain > 50);
    fitted.weight[DOUBT_ENTROPY] = -0.01; /* entropy could still make up for it */
    const struct doubt bad = doubt_of((const double[]){0.001}, 1);
    assert_false(doubt_is_certain(&bad, &fitted));
    const struct doubt none = {0};
    assert_false(doubt_is_certain(&none, &plain));
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct buf text;
    struct json_writer w;
    json_t *o;
    struct doubt d = doubt_of((const double[]){0.5, 0.25}, 2), again;
    d.has_prompt = d.has_again = true;
    d.prompt_logprob = -1.5;
    d.agreement = 0.25;
    struct router_cascade c = {.tokens = 12,
                              .threshold = 0.25,
                              .fitted = true,
                              .constant = 0.125,
                              .weight = {1, -2, 3, 0.5, -0.5},
                              .usual = {0.1, 0.2, 0.3, 0.4, 0.5}},
                          read;
    buf_init(&text, MIB);
    json_writer_init(&w, &text);
    doubt_write(&d, &w);
    assert_int_equal(json_read(buf_str(&text), &o, &err), 0);
    assert_true(doubt_read(o, &again));
    json_decref(o);
    assert_int_equal(again.tokens, 2);
    near(again.logprob_sum, d.logprob_sum, 1e-9);
    near(again.entropy_sum, d.entropy_sum, 1e-9);
    assert_true(again.has_prompt && again.has_again);
    near(again.prompt_logprob, -1.5, 1e-12);
    near(again.agreement, 0.25, 1e-12);
    buf_clear(&text);
    json_writer_init(&w, &text);
    json_object_begin(&w);
    router_cascade_members(&c, &w);
    json_object_end(&w);
    assert_int_equal(router_cascade_read(buf_str(&text), &read, &err), 0);
    assert_true(read.fitted && read.tokens == 12 && read.threshold == 0.25 && read.constant == 0.125);
    assert_memory_equal(read.weight, c.weight, sizeof c.weight);
    assert_memory_equal(read.usual, c.usual, sizeof c.usual);
    /* A file from before there were a prompt's signal and a second answer. */
    assert_int_equal(
        router_cascade_read(STR("{\"cascade\":{\"tokens\":8,\"threshold\":0.5,\"constant\":0,\"weights\":"
                                "{\"mean\":1,\"least\":1,\"entropy\":1}}}"),
            &read, &err),
        0);
    assert_true(!router_cascade_uses(&read, DOUBT_PROMPT) && !router_cascade_uses(&read, DOUBT_AGAIN));
    buf_free(&text);
}

static void what_is_no_cascade_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "[]", "{}", "{\"cascade\":1}", "{\"cascade\":{}}",
        "{\"threshold\":0.5,\"constant\":1,\"base\":1,\"features\":[]}",
        "{\"cascade\":{\"tokens\":8,\"threshold\":0.5,\"constant\":0,\"weights\":{\"mean\":1,\"least\":1,"
        "\"entropy\":1,\"again\":\"x\"}}}",
        "{\"cascade\":{\"tokens\":8,\"threshold\":0.5,\"constant\":0,\"usual\":{\"prompt\":[]},\"weights\":"
        "{\"mean\":1,\"least\":1,\"entropy\":1}}}",
        "{\"cascade\":{\"tokens\":0,\"threshold\":0.5,\"constant\":0,\"weights\":{\"mean\":1,\"least\":1,"
        "\"entropy\":1}}}",
        "{\"cascade\":{\"tokens\":8,\"threshold\":0.5,\"constant\":0,\"weights\":{\"mean\":1,\"least\":1}}}",
        "{\"cascade\":{\"tokens\":8,\"threshold\":-1,\"constant\":0,\"weights\":{\"mean\":1,\"least\":1,"
        "\"entropy\":1}}}",
        "{\"cascade\":{\"tokens\":8,\"threshold\":\"x\",\"constant\":0,\"weights\":{\"mean\":1,\"least\":1,"
        "\"entropy\":1}}}"};
    struct router_cascade c;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (router_cascade_read(str_from(bad[i]), &c, &err) == 0)
            fail_msg("accepted: %s", bad[i]);
    static const char *const no_doubt[] = {"{}", "[]", "{\"tokens\":3}",
        "{\"tokens\":3,\"mean_logprob\":-1,\"least_logprob\":-1,\"mean_entropy\":0,\"agreement\":2}",
        "{\"tokens\":3,\"mean_logprob\":1,\"least_logprob\":-1,\"mean_entropy\":0}",
        "{\"tokens\":0,\"mean_logprob\":-1,\"least_logprob\":-1,\"mean_entropy\":0}"};
    struct doubt d;
    for (size_t i = 0; i < sizeof no_doubt / sizeof *no_doubt; i++) {
        json_t *o;
        assert_int_equal(json_read(str_from(no_doubt[i]), &o, &err), 0);
        assert_false(doubt_read(o, &d));
        json_decref(o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signals_as_calculated_by_hand),
        cmocka_unit_test(what_is_not_told_is_as_usual),
        cmocka_unit_test(certain_is_what_sure_tokens_could_not_change),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(what_is_no_cascade_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

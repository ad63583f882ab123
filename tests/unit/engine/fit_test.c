/* What a model takes and what fits; the figures for a model whose state is a plain sum. */
#include "engine/worker/fit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "unit/engine/tiny_all.h"
#include "unit/engine/tiny_run.h"

static void start(struct loaded *x, int32_t index)
{
    const char *name;
    size_t size = 0;
    struct error err = {0};
    char *bytes = any_model(index, &name, &size);
    assert_non_null(bytes);
    if (load_bytes(x, bytes, size, &err) != 0)
        fail_msg("%s: %s", name, err.message);
}

static void figures_add_up(void **state)
{
    (void)state;
    struct loaded x;
    start(&x, 0);
    const struct fit one = fit_of(x.model, 1, 1024, FIT_BATCH), four = fit_of(x.model, 4, 1024, FIT_BATCH);
    const uint64_t position = DENSE_LAYERS * DENSE_KV_HEADS * (DENSE_KEY + DENSE_VALUE) * sizeof(uint16_t);
    assert_int_equal(one.weights, model_info(x.model)->weight_bytes);
    assert_true(one.state >= 1024 * position && one.state < 1024 * position + 100000);
    assert_true(four.state >= 4096 * position && four.state < 4096 * position + 100000);
    assert_true(one.compute > FIT_BATCH * DENSE_EMBED * sizeof(float) && one.compute < MIB);
    assert_int_equal(fit_total(&one), one.weights + one.state + one.compute);
    assert_true(fit_total(&(struct fit){.weights = 1, .state = UINT64_MAX}) == UINT64_MAX);
    unload(&x);
}

/* Rows of logits stand beside what a step needs, and a step of more slots than tokens has a row for each. */
static void logits_are_counted_beside_the_rest(void **state)
{
    (void)state;
    struct loaded x;
    start(&x, 0);
    const uint64_t rows = 1000 * DENSE_VOCAB * sizeof(float);
    const struct fit one = fit_of(x.model, 1, 64, FIT_BATCH), many = fit_of(x.model, 1001, 64, FIT_BATCH);
    assert_true(many.compute >= one.compute + rows);
    unload(&x);
}

/* Every architecture's step can be planned before there is any state. */
static void every_architecture_has_figures(void **state)
{
    (void)state;
    const char *name;
    size_t size;
    for (int32_t i = 0;; i++) {
        char *bytes = any_model(i, &name, &size);
        free(bytes);
        if (!bytes)
            break;
        struct loaded x;
        start(&x, i);
        const struct fit f = fit_of(x.model, 2, 1 << 20, FIT_BATCH);
        if (f.compute == 0 || f.state == 0)
            fail_msg("%s: compute %llu, state %llu", name, (unsigned long long)f.compute,
                (unsigned long long)f.state);
        unload(&x);
    }
}

static void what_does_not_fit_is_refused_with_what_does(void **state)
{
    (void)state;
    struct loaded x;
    struct error err = {0};
    char offered[64];
    start(&x, 0);
    const struct fit f = fit_of(x.model, 4, 1 << 20, FIT_BATCH);
    assert_int_equal(fit_check(x.model, &f, fit_total(&f), &err), 0);
    assert_int_equal(fit_check(x.model, &f, fit_total(&f) / 3, &err), ERROR_MEMORY);
    const int32_t context = fit_context(x.model, &f, fit_total(&f) / 3);
    assert_in_range(context, (1 << 20) / 3 - 1024, (1 << 20) / 3);
    snprintf(offered, sizeof offered, "a context of %d fits, or 1 slot", (int)context);
    assert_non_null(strstr(err.message, offered));
    assert_non_null(strstr(err.message, "4 x 1048576 tokens"));
    struct fit less = fit_of(x.model, 4, context, FIT_BATCH);
    assert_int_equal(fit_check(x.model, &less, fit_total(&f) / 3, &err), 0);
    assert_int_equal(fit_check(x.model, &f, f.weights, &err), ERROR_MEMORY);
    assert_non_null(strstr(err.message, "a smaller model"));
    unload(&x);
}

/* Of mixtures a token reads the experts that it uses. */
static void a_token_costs_its_experts(void **state)
{
    (void)state;
    const char *name = "";
    size_t size;
    int32_t index = 0;
    for (;; index++) {
        free(any_model(index, &name, &size));
        if (strcmp(name, "qwen3moe") == 0)
            break;
    }
    struct loaded x;
    struct fit_speed speed;
    struct error err = {0};
    start(&x, index);
    assert_int_equal(fit_speed(x.gguf, x.backend, &speed, &err), 0);
    const double attention = 24 * 24 + 2 * 24 * 12 + 24 * 24, experts = 24 * 4 + 3 * 24 * 10 * 2;
    const double products = 4 * (attention + experts) + 24 * 41;
    assert_true(speed.products_per_token == products && speed.bytes_per_token == 4 * products);
    assert_true(speed.read_per_second > 0 && speed.products_per_second > 0);
    assert_true(speed.decode_tps > 0 && speed.prefill_tps > 0);
    unload(&x);
}

/* All but the tensors called after it were counted as if every token ran through it. */
static void a_layer_that_drafts_was_counted_for_each_token(void **state)
{
    (void)state;
    const struct special *d = special_all;
    while (strcmp(d->name, "glm4") != 0 || !strstr(d->keys, "nextn_predict_layers"))
        d++;
    struct loaded x;
    struct fit_speed speed;
    struct error err = {0};
    size_t size;
    char *bytes = special_model(d, NULL, &size);
    assert_int_equal(load_bytes(&x, bytes, size, &err), 0);
    assert_true(model_info(x.model)->foretells);
    assert_int_equal(fit_speed(x.gguf, x.backend, &speed, &err), 0);
    const double attention = 24 * 24 + 2 * 24 * 12 + 24 * 24, ffn = 24 * 40 + 20 * 24;
    assert_true(speed.products_per_token == 4 * (attention + ffn) + 24 * 41);
    unload(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_add_up),
        cmocka_unit_test(logits_are_counted_beside_the_rest),
        cmocka_unit_test(every_architecture_has_figures),
        cmocka_unit_test(what_does_not_fit_is_refused_with_what_does),
        cmocka_unit_test(a_token_costs_its_experts),
        cmocka_unit_test(a_layer_that_drafts_was_counted_for_each_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

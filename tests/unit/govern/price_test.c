/* Prices as the vendors publish them, and sums done by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "govern/govern.h"

static struct govern_price find(const char *kind, const char *model)
{
    return govern_price_find(str_from(kind), str_from(model));
}

static int64_t input_of(const char *kind, const char *model)
{
    struct govern_price p = find(kind, model);
    return p.known ? p.input : -1;
}

static void test_known_models(void **state)
{
    (void)state;
    struct govern_price p = find("openai", "gpt-4o");
    assert_true(p.known);
    assert_int_equal(p.input, 2500);
    assert_int_equal(p.cached_input, 1250);
    assert_int_equal(p.output, 10000);
    p = find("anthropic", "claude-sonnet-4-5");
    assert_int_equal(p.input, 3000);
    assert_int_equal(p.cached_input, 300);
    assert_int_equal(p.cache_write, 3750);
    assert_int_equal(p.output, 15000);
    assert_int_equal(find("openai", "gpt-4-turbo").cached_input, -1);
    assert_int_equal(input_of("gemini", "gemini-2.5-pro"), 1250);
    assert_int_equal(input_of("google", "gemini-2.5-pro"), 1250);
}

static void test_variants(void **state)
{
    (void)state;
    assert_int_equal(input_of("openai", "gpt-4o-2024-08-06"), 2500);
    assert_int_equal(input_of("openai", "gpt-4o-2024-05-13"), 5000); /* the first was dearer */
    assert_int_equal(input_of("openai", "gpt-4o-mini-2024-07-18"), 150);
    assert_int_equal(input_of("anthropic", "claude-sonnet-4-5-20250929"), 3000);
    assert_int_equal(input_of("anthropic", "claude-sonnet-4-20250514"), 3000);
    assert_int_equal(input_of("anthropic", "claude-3-haiku-20240307"), 250);
    assert_int_equal(input_of("anthropic", "claude-3-5-haiku-latest"), 800);
    assert_int_equal(input_of("gemini", "gemini-2.0-flash-001"), 100);
    assert_int_equal(input_of("mistral", "mistral-medium-latest"), 1500); /* the newest of two */
    assert_int_equal(input_of("mistral", "mistral-medium-2508"), 400);
}

static void test_unknown_models(void **state)
{
    (void)state;
    assert_int_equal(input_of("openai", "gpt-4o-audio"), -1);
    assert_int_equal(input_of("openai", "gpt-4o-"), -1);
    assert_int_equal(input_of("openai", "-2024-08-06"), -1);
    assert_int_equal(input_of("openai", "claude-sonnet-4-5"), -1);
    assert_int_equal(input_of("local", "gpt-4o"), -1);
    assert_int_equal(input_of("openai", ""), -1);
    assert_int_equal(input_of("", "gpt-4o"), -1);
    assert_int_equal(input_of("", ""), -1);
    assert_int_equal(input_of("openai", "gpt-4o/x"), -1);
    char *longest = malloc(5000);
    memset(longest, 'x', 5000);
    for (size_t n = 240; n < 270; n++)
        assert_false(govern_price_find(STR("openai"), (struct str){longest, n}).known);
    assert_false(govern_price_find(STR("openai"), (struct str){longest, 5000}).known);
    memcpy(longest + 240, "-20250101", 9);
    for (size_t n = 240; n < 250; n++)
        assert_false(govern_price_find(STR("anthropic"), (struct str){longest, n}).known);
    free(longest);
}

/* Every row of the file is found under its own name with its own numbers. */
static void test_every_model(void **state)
{
    (void)state;
    static char text[MIB];
    FILE *file = fopen("data/prices.json", "r");
    if (!file) {
        print_message("skipped: not run from the repository's root\n");
        return;
    }
    size_t len = fread(text, 1, sizeof text, file);
    fclose(file);
    json_t *root;
    struct error err;
    assert_int_equal(json_read((struct str){text, len}, &root, &err), 0);
    const json_t *models = json_object_get(root, "models");
    assert_true(json_array_size(models) > 80);
    for (size_t i = 0; i < json_array_size(models); i++) {
        const json_t *m = json_array_get(models, i), *cached = json_object_get(m, "cached_input");
        struct govern_price p =
            govern_price_find(json_str(json_object_get(m, "provider")), json_str(json_object_get(m, "id")));
        assert_true(p.known);
        /* Whole nano-dollars: within half of one. */
        assert_true(fabs((double)p.input - 1000 * json_number_value(json_object_get(m, "input"))) <= 0.5);
        assert_true(fabs((double)p.output - 1000 * json_number_value(json_object_get(m, "output"))) <= 0.5);
        if (cached)
            assert_true(fabs((double)p.cached_input - 1000 * json_number_value(cached)) <= 0.5);
        else
            assert_int_equal(p.cached_input, -1);
    }
    json_decref(root);
}

/* Anthropic's own example of prices, per million: input 3, a write 3.75 for five minutes or 6 for an hour, a
 * read 0.30, output 15. */
static void test_what_a_cache_costs(void **state)
{
    (void)state;
    struct govern_price p = find("anthropic", "claude-sonnet-4-5");
    struct chat_usage u = {
        .input_tokens = 2000, .cached_tokens = 400, .written_tokens = 1000, .output_tokens = 10};
    assert_int_equal(govern_price_cost(&p, &u), 600 * 3000 + 400 * 300 + 1000 * 3750 + 10 * 15000);
    u.written_long_tokens = 250;
    assert_int_equal(
        govern_price_cost(&p, &u), 600 * 3000 + 400 * 300 + 750 * 3750 + 250 * 6000 + 10 * 15000);
    u.written_tokens = 9000; /* more than there is left of the input */
    assert_int_equal(govern_price_cost(&p, &u), 400 * 300 + 1350 * 3750 + 250 * 6000 + 10 * 15000);
    struct govern_price plain = {
        .known = true, .input = 10, .cached_input = -1, .cache_write = -1, .output = 1};
    assert_int_equal(govern_price_cost(&plain, &u), 2000 * 10 + 10);
}

static int64_t cost(const struct govern_price *p, int64_t input, int64_t cached, int64_t output)
{
    struct chat_usage u = {.input_tokens = input, .cached_tokens = cached, .output_tokens = output};
    return govern_price_cost(p, &u);
}

static void test_sums(void **state)
{
    (void)state;
    struct govern_price p = find("openai", "gpt-4o");
    assert_int_equal(cost(&p, 1000000, 0, 1000000), 12500000000); /* 12.50 USD */
    assert_int_equal(cost(&p, 1000, 400, 200), 600 * 2500 + 400 * 1250 + 200 * 10000);
    assert_int_equal(cost(&p, 1000, 1000, 0), 1250000);
    assert_int_equal(cost(&p, 0, 0, 0), 0);
    struct govern_price turbo = find("openai", "gpt-4-turbo"); /* no price for cached tokens */
    assert_int_equal(cost(&turbo, 100, 60, 1), 100 * 10000 + 30000);
    struct govern_price free_of_charge = {.known = true};
    assert_int_equal(cost(&free_of_charge, 1000, 10, 1000), 0);
}

static void test_what_is_not_known(void **state)
{
    (void)state;
    struct govern_price p = find("openai", "gpt-4o"), unknown = {.known = false};
    assert_int_equal(cost(&unknown, 1, 0, 1), -1);
    assert_int_equal(cost(&p, -1, 0, 5), -1);
    assert_int_equal(cost(&p, 5, 0, -1), -1);
    assert_int_equal(cost(&p, 1000, -1, 0), 2500000);   /* no word of a cache: all at the full price */
    assert_int_equal(cost(&p, 1000, 5000, 0), 1250000); /* more cached than there was: no more than all */
    assert_int_equal(cost(&p, INT64_MAX, 0, 0), -1);    /* overflows are not wrapped */
    assert_int_equal(cost(&p, 0, 0, INT64_MAX), -1);
    assert_int_equal(cost(&p, INT64_MAX / 2500, 0, INT64_MAX / 10000), -1);
    assert_int_equal(cost(&p, INT64_MAX, INT64_MAX, 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_cache_costs),
        cmocka_unit_test(test_known_models),
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_unknown_models),
        cmocka_unit_test(test_every_model),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_what_is_not_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The reference rows of ../shared (WEIR_SHARED overrides): exact spans of the structured types, and prompts
 * that hold nothing sensitive. Skipped where the folder is absent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "router/detect.h"

/* Calls fn for each row of a file; false if it is not there. */
static bool rows_each(const char *name, void (*fn)(void *ctx, const json_t *row), void *ctx)
{
    const char *shared = getenv("WEIR_SHARED");
    char path[512];
    snprintf(path, sizeof path, "%s/data/sensitivity/%s", shared ? shared : "../shared", name);
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t capacity = 0;
    struct error err;
    if (!f) {
        print_message("skipped: no %s\n", path);
        return false;
    }
    for (ssize_t n; (n = getline(&line, &capacity, f)) > 0;) {
        json_t *row;
        if (json_read(str_trim((struct str){line, (size_t)n}), &row, &err))
            fail_msg("%s: %s", path, err.message);
        fn(ctx, row);
        json_decref(row);
    }
    free(line);
    fclose(f);
    return true;
}

struct spans {
    int right, extra, missing;
};

static bool expected_has(const json_t *row, const struct router_entity *e)
{
    const json_t *want = json_object_get(row, "entities");
    for (size_t i = 0; i < json_array_size(want); i++) {
        const json_t *x = json_array_get(want, i);
        if (str_is(json_str(json_object_get(x, "type")), e->type) &&
            json_integer_value(json_object_get(x, "start")) == (json_int_t)e->start &&
            json_integer_value(json_object_get(x, "end")) == (json_int_t)e->end)
            return true;
    }
    return false;
}

static void row_count(void *ctx, const json_t *row)
{
    static const char *const types[] = {"CREDIT_CARD", "IBAN_CODE", "US_SSN", "IP_ADDRESS", "CRYPTO",
        "EMAIL_ADDRESS", "PHONE_NUMBER", "MAC_ADDRESS", NULL};
    struct spans *spans = ctx;
    struct router_findings f = {0};
    struct error err;
    struct str target = json_str(json_object_get(row, "target"));
    const char *const *type = types;
    while (*type && !str_is(target, *type))
        type++;
    if (!*type)
        return;
    struct arena *a = arena_create(16 * MIB);
    assert_int_equal(router_detect(a, STR_NONE, json_str(json_object_get(row, "text")), &f, &err), 0);
    int right = 0;
    for (size_t i = 0; i < f.n_entities; i++)
        if (strcmp(f.entities[i].type, *type) == 0) {
            bool hit = expected_has(row, &f.entities[i]);
            right += hit;
            spans->extra += !hit;
        }
    spans->right += right;
    spans->missing += (int)json_array_size(json_object_get(row, "entities")) - right;
    arena_free(a);
}

static void structured_types_have_exact_spans(void **state)
{
    (void)state;
    struct spans s = {0};
    if (!rows_each("presidio_public.jsonl", row_count, &s))
        skip();
    double f1 = 2.0 * s.right / (2.0 * s.right + s.extra + s.missing);
    print_message("exact spans: %d right, %d extra, %d missing, F1 %.3f\n", s.right, s.extra, s.missing, f1);
    assert_true(s.right > 100);
    assert_true(f1 >= 0.97);
}

struct prompts {
    int clean, flagged;
};

static void prompt_count(void *ctx, const json_t *row)
{
    struct prompts *p = ctx;
    struct router_findings f = {0};
    struct error err;
    struct arena *a = arena_create(16 * MIB);
    assert_int_equal(router_detect(a, STR_NONE, json_str(json_object_get(row, "text")), &f, &err), 0);
    if (!json_is_true(json_object_get(row, "sensitive"))) {
        p->clean++;
        p->flagged += f.sensitive;
    }
    arena_free(a);
}

static void harmless_prompts_are_left_alone(void **state)
{
    (void)state;
    struct prompts p = {0};
    if (!rows_each("public_prompts.jsonl", prompt_count, &p))
        skip();
    print_message("%d of %d harmless prompts flagged\n", p.flagged, p.clean);
    assert_true(p.clean > 0);
    assert_true(p.flagged * 20 <= p.clean);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(structured_types_have_exact_spans),
        cmocka_unit_test(harmless_prompts_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

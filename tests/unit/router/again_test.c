#include "unit/router/router_fixture.h"

static const char rules[] =
    "routes:\n  - name: auto\n    rules:\n"
    "      - {name: home, when: {entities: EMAIL_ADDRESS}, use: [house], boundary: local}\n"
    "      - {name: hard, when: {complexity: \">= 0.6\"}, use: [gpt]}\n"
    "      - {name: tagged, when: {tag: x}, use: [claude]}\n"
    "      - {name: otherwise, use: [rack]}\n";

/* The rule that decides; NULL: it cannot be told. */
static const char *again(struct arena *a, const char *model, const char *decision)
{
    static struct route_decision d;
    struct router_context c = context_of();
    struct router_policy *p = policy_of(rules);
    json_t *object;
    struct router_again how;
    assert_int_equal(json_read_in(a, str_from(decision), &object, &err), 0);
    int rc = router_decide_again(p, a, str_from(model), object, NULL, &c, &d, &how, &err);
    assert_true(rc == 0 || rc == ERROR_UNAVAILABLE);
    router_policy_free(p);
    return how.told ? d.rule.data : NULL;
}

static void what_was_written_down_decides(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    assert_string_equal(
        again(a, "auto",
            "{\"sensitive\":true,\"categories\":[\"PII\"],\"entities\":[{\"type\":\"EMAIL_ADDRESS\","
            "\"start\":0,\"end\":4,\"score\":1.0}]}"),
        "home");
    assert_string_equal(
        again(a, "auto", "{\"sensitive\":false,\"categories\":[],\"entities\":[],\"complexity\":0.7}"),
        "hard");
    /* A documented example was listed, and is not sure. */
    assert_string_equal(
        again(a, "auto",
            "{\"sensitive\":false,\"complexity\":0.9,\"entities\":[{\"type\":\"EMAIL_ADDRESS\","
            "\"start\":0,\"end\":4,\"score\":0.1}]}"),
        "hard");
    arena_free(a);
}

static void what_was_not_cannot_be_told(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    assert_null(again(a, "auto", "{}"));
    assert_null(again(a, "auto", "{\"sensitive\":false,\"complexity\":null}"));
    assert_null(
        again(a, "auto", "{\"sensitive\":false,\"complexity\":0.1}")); /* tags are never written down */
    assert_null(again(a, "gpt", "{\"complexity\":0.1}"));              /* a model outside, unchecked */
    assert_string_equal(again(a, "gpt", "{\"sensitive\":false}"), "named");
    assert_string_equal(again(a, "house", "{}"), "named");
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_down_decides),
        cmocka_unit_test(what_was_not_cannot_be_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

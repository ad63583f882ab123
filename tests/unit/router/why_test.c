#include "unit/router/router_fixture.h"

static struct route_decision decision;

/* What router_explain writes, read again. */
static json_t *explained(const struct router_policy *p, const struct chat_request *r,
    const struct router_context *c, bool content, int expected)
{
    struct buf out;
    struct json_writer w;
    json_t *root;
    buf_init(&out, 4 * MIB);
    json_writer_init(&w, &out);
    assert_int_equal(router_explain(p, r, c, content, &decision, &w, &err), expected);
    if (json_read(buf_str(&out), &root, &err))
        fail_msg("%s", err.message);
    buf_free(&out);
    return root;
}

static const char *why_of(const json_t *root, size_t rule)
{
    return json_string_value(json_object_get(json_array_get(json_object_get(root, "rules"), rule), "why"));
}

static const json_t *matches_of(const json_t *root, size_t rule)
{
    return json_object_get(json_array_get(json_object_get(root, "rules"), rule), "matches");
}

static void every_rule_says_why(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct router_context c = context_of();
    c.key = STR("ci");
    struct router_policy *p = policy_of(
        "routes:\n  - name: auto\n    rules:\n"
        "      - {name: a, when: {sensitive: true, key: [cd, ci]}, use: [house], boundary: local}\n"
        "      - {name: b, when: {any: [{batch: true}, {task: translate}]}, use: [house]}\n"
        "      - {name: c, when: {not: {language: [de, en]}}, use: [house]}\n"
        "      - {name: d, when: {budget_left: \"> 1\"}, use: [house]}\n"
        "      - {name: e, when: {tokens: [\"> 5\", \"< 7\"]}, use: [house]}\n"
        "      - {name: f, when: {time: \"wed UTC\"}, use: [house]}\n"
        "      - {name: g, use: [house, gpt]}\n"
        "      - {name: h, when: {categories: [PII, PHI], entities: EMAIL_ADDRESS}, use: [house]}\n");
    json_t *root = explained(
        p, request_of(a, "auto", "Please translate this short sentence into German for me"), &c, false, 0);
    assert_string_equal(why_of(root, 0), "sensitive is false, wants true");
    assert_string_equal(why_of(root, 1), "task is translate, wants translate");
    assert_true(json_is_true(matches_of(root, 1)));
    assert_string_equal(why_of(root, 2), "language is en, wants not de or en");
    assert_string_equal(why_of(root, 3), "budget_left is unknown, wants > 1");
    assert_true(json_is_null(matches_of(root, 3)));
    assert_non_null(strstr(why_of(root, 4), ", wants < 7"));
    assert_string_equal(why_of(root, 5), "time is Tue 22:13 UTC, wants wed UTC");
    assert_string_equal(why_of(root, 6), "it has no condition");
    assert_true(json_is_false(matches_of(root, 7)));
    assert_string_equal(json_string_value(json_object_get(root, "rule")), "b");
    json_decref(root);
    root = explained(p, request_of(a, "auto", "Write to anna.b@lipowa-poczta.pl"), &c, false, 0);
    assert_string_equal(why_of(root, 0), "key is ci, wants cd or ci; sensitive is true, wants true");
    assert_string_equal(why_of(root, 1), "batch is false, wants true; task is chat, wants translate");
    assert_string_equal(why_of(root, 7),
        "categories is PII, wants PII or PHI; entities is EMAIL_ADDRESS, wants EMAIL_ADDRESS");
    json_decref(root);
    router_policy_free(p);
    arena_free(a);
}

static void findings_show_their_text_only_when_asked(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct router_context c = context_of();
    struct router_policy *p = policy_of("routes:\n  - {name: auto, rules: [{use: [house]}]}\n");
    struct chat_request *r = request_of(a, "auto", "\xC3\xA9t\xC3\xA9: anna.b@lipowa-poczta.pl");
    for (int content = 0; content < 2; content++) {
        json_t *root = explained(p, r, &c, content, 0);
        const json_t *finding = json_array_get(json_object_get(root, "findings"), 0);
        assert_string_equal(json_string_value(json_object_get(finding, "type")), "EMAIL_ADDRESS");
        assert_string_equal(json_string_value(json_object_get(finding, "layer")), "structured");
        assert_int_equal(json_integer_value(json_object_get(finding, "start")), 5);
        const char *text = json_string_value(json_object_get(finding, "text"));
        if (content)
            assert_string_equal(text, "anna.b@lipowa-poczta.pl");
        else
            assert_null(text);
        json_decref(root);
    }
    router_policy_free(p);
    arena_free(a);
}

static void what_is_refused_is_explained(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct router_context c = context_of();
    struct router_policy *p =
        policy_of("routes:\n  - {name: auto, rules: [{when: {batch: true}, use: [house]}]}\n");
    json_t *root = explained(p, request_of(a, "auto", "hi"), &c, false, ERROR_NOT_FOUND);
    assert_non_null(json_object_get(json_object_get(root, "error"), "message"));
    assert_string_equal(why_of(root, 0), "batch is false, wants true");
    json_decref(root);
    root = explained(p, request_of(a, "nobody", "hi"), &c, false, ERROR_NOT_FOUND);
    assert_int_equal(json_array_size(json_object_get(root, "rules")), 0);
    json_decref(root);
    router_policy_free(p);
    arena_free(a);
}

/* ---- Which of several ---- */
static double cost(void *ctx, struct str model, int64_t tokens)
{
    (void)ctx;
    (void)tokens;
    return str_is(model, "claude")  ? 0.002
           : str_is(model, "gpt")   ? 0.01
           : str_is(model, "house") ? 0.002
                                    : -1;
}

static double pause_of(void *ctx, struct str model, int64_t tokens)
{
    (void)ctx;
    return str_is(model, "gpt") ? 100 : str_is(model, "house") ? (double)tokens * 1000 : -1;
}

static void ordered(const char *use, const char *expected)
{
    char text[512], got[200] = "";
    struct arena *a = arena_create(16 * MIB);
    struct router_context c = context_of();
    c.cost_usd = cost;
    c.latency_ms = pause_of;
    snprintf(text, sizeof text, "routes:\n  - {name: auto, rules: [{use: %s}]}\n", use);
    struct router_policy *p = policy_of(text);
    assert_int_equal(router_decide(p, request_of(a, "auto", "hello there"), &c, &decision, &err), 0);
    for (size_t i = 0; i < decision.n_targets; i++) {
        size_t used = strlen(got);
        snprintf(got + used, sizeof got - used, "%s%s", i ? " " : "", decision.targets[i].data);
    }
    assert_string_equal(got, expected);
    router_policy_free(p);
    arena_free(a);
}

/* Equal ones stand as written, unknown ones (rack has no price, two no latency) last, in the order written.
 */
static void cheapest_fastest_and_best_order_the_targets(void **state)
{
    (void)state;
    ordered("[gpt, house]", "gpt house");
    ordered("{cheapest: [rack, gpt, house, claude]}", "house claude gpt rack");
    ordered("{cheapest: [rack, claude, house]}", "claude house rack");
    ordered("{fastest: [claude, house, rack, gpt]}", "gpt house claude rack");
    ordered("{best: [gpt, house, claude]}", "claude house gpt"); /* 3, 1, none: router_fixture.h */
}

/* What is ordered by cost stays inside all the same. */
static void the_cheapest_does_not_cross_the_boundary(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct router_context c = context_of();
    c.cost_usd = cost;
    c.boundary_local = true;
    struct router_policy *p =
        policy_of("routes:\n  - {name: auto, rules: [{use: {cheapest: [claude, rack, gpt]}}]}\n");
    assert_int_equal(router_decide(p, request_of(a, "auto", "hello"), &c, &decision, &err), 0);
    assert_int_equal(decision.n_targets, 1);
    assert_string_equal(decision.targets[0].data, "rack");
    router_policy_free(p);
    arena_free(a);
}

static void shadow_rules_are_noted_and_decide_nothing(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct router_context c = context_of();
    struct router_policy *p = policy_of(
        "routes:\n  - name: auto\n    rules:\n"
        "      - {name: not-this, when: {batch: true}, use: [house], shadow: true}\n"
        "      - {name: would-stay, when: {task: chat}, use: [house], boundary: local, shadow: true}\n"
        "      - {name: out, use: [gpt]}\n"
        "      - {name: behind, use: [house], shadow: true}\n");
    assert_int_equal(router_decide(p, request_of(a, "auto", "hello"), &c, &decision, &err), 0);
    assert_string_equal(decision.rule.data, "out");
    assert_int_equal(decision.boundary, EGRESS_BOUNDARY_ANY);
    assert_string_equal(decision.targets[0].data, "gpt");
    assert_int_equal(decision.n_shadows, 1);
    assert_string_equal(decision.shadows[0].data, "would-stay");
    json_t *root = explained(p, request_of(a, "auto", "hello"), &c, false, 0);
    assert_string_equal(json_string_value(json_array_get(json_object_get(root, "shadow"), 0)), "would-stay");
    json_decref(root);
    router_policy_free(p);
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_says_why),
        cmocka_unit_test(findings_show_their_text_only_when_asked),
        cmocka_unit_test(what_is_refused_is_explained),
        cmocka_unit_test(cheapest_fastest_and_best_order_the_targets),
        cmocka_unit_test(the_cheapest_does_not_cross_the_boundary),
        cmocka_unit_test(shadow_rules_are_noted_and_decide_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

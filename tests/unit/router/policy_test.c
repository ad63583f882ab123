#include <time.h>

#include "unit/router/router_fixture.h"

static void refused(const char *rules, const char *message)
{
    struct router_policy *p;
    char text[2048];
    snprintf(text, sizeof text, "routes:\n  - name: auto\n    rules:\n%s", rules);
    if (compile(text, ROUTER_SENSITIVE_LOCAL, &p) == 0)
        fail_msg("accepted: %s", rules);
    if (!strstr(err.message, message))
        fail_msg("%s\n gave '%s'\n without '%s'", rules, err.message, message);
}

static void mistakes_name_their_line(void **state)
{
    (void)state;
    refused("      - {name: a, when: {sensitiv: true}, use: [house]}\n",
        "weir.yaml:4: unknown key 'sensitiv' in a condition: did you mean 'sensitive'?");
    refused("      - {name: a, use: [house]}\n      - {name: b, use: [hose]}\n",
        "weir.yaml:5: no model 'hose': did you mean 'house'?");
    refused("      - {name: a, use: [zzzzzzzz]}\n",
        "weir.yaml:4: no model 'zzzzzzzz': models has house, rack, gpt, claude");
    refused("      - {name: a, when: {complexity: 0.6}, use: [house]}\n",
        "weir.yaml:4: 'complexity' wants a comparison");
    refused("      - {name: a, when: {complexity: \">> 0.6\"}, use: [house]}\n", "wants a comparison");
    refused("      - {name: a, when: {sensitive: \"yes\"}, use: [house]}\n", "'sensitive' is true or false");
    refused("      - {name: a, when: {task: traslate}, use: [house]}\n", "did you mean 'translate'?");
    refused("      - {name: a, when: {language: [en, xx]}, use: [house]}\n", "'language' knows no 'xx'");
    refused("      - {name: a, when: {categories: [PI]}, use: [house]}\n", "no category 'PI'");
    refused("      - {name: a, when: {entities: [EMAIL_ADRESS]}, use: [house]}\n",
        "did you mean 'EMAIL_ADDRESS'?");
    refused("      - {name: a, when: {time: \"25:00-26:00\"}, use: [house]}\n", "'time' wants a span");
    refused("      - {name: a, when: {time: \"mon\nfri\"}, use: [house]}\n", "'time' wants a span");
    refused("      - {name: a, when: {any: {sensitive: true}}, use: [house]}\n", "'any' wants a list");
    refused("      - {name: a, when: {any: [{sensitiv: true}]}, use: [house]}\n", "unknown key 'sensitiv'");
    refused("      - {name: a, when: {not: [true]}, use: [house]}\n", "a condition must be a map");
    refused("      - {name: a, when: {}, use: [house]}\n", "a condition with nothing in it");
    refused("      - {name: a, boundary: local, use: [gpt, claude]}\n",
        "weir.yaml:4: boundary: local, but every model");
    refused("      - {name: a, boundary: inside, use: [house]}\n", "'boundary' is local or any");
    refused("      - {name: a, use: [house], hedge: soon}\n", "'hedge' must be a duration");
    refused("      - {name: a, use: [house], hedge: 0ms}\n", "'hedge' must be a duration");
    refused("      - {name: a, use: [house], cache: often}\n", "'cache'");
    refused("      - {name: a, use: []}\n", "'use' is empty");
    refused("      - {name: a, use: {cheap: [house]}}\n", "unknown key 'cheap' in 'use'");
    refused("      - {name: a, use: {cheapest: house}}\n", "wants one list to choose from");
    refused("      - {name: a, use: {cheapest: [house], best: [gpt]}}\n", "wants one list to choose from");
    refused("      - {name: a, use: {best: [house, house]}}\n", "in 'use' twice");
    refused("      - {name: a, use: [house], shadow: true}\n", "every rule of the route is a shadow rule");
    refused("      - {name: a}\n", "the rule has no 'use'");
    refused("      - {name: a, use: [house, house]}\n", "in 'use' twice");
    refused("      - {name: a, use: [house]}\n      - {name: a, use: [gpt]}\n",
        "a rule named 'a' is on line 4 already");
    refused("      - {name: a, us: [house]}\n", "unknown key 'us' in a rule");
    refused("      []\n", "wants a list of 'rules'");
    struct router_policy *p;
    assert_int_not_equal(
        compile("routes:\n  - {name: house, rules: [{use: gpt}]}\n", ROUTER_SENSITIVE_LOCAL, &p), 0);
    assert_non_null(strstr(err.message, "a model is named 'house' too"));
    assert_int_not_equal(
        compile("routes:\n  - {name: a, rules: [{use: gpt}]}\n  - {name: a, rules: [{use: gpt}]}\n",
            ROUTER_SENSITIVE_LOCAL, &p),
        0);
    assert_non_null(strstr(err.message, "weir.yaml:3: a route named 'a' is on line 2 already"));
}

struct warnings {
    int leaving, conditional;
};

static void warning_count(void *ctx, const char *line)
{
    struct warnings *w = ctx;
    w->leaving += strstr(line, "lets sensitive content leave") != NULL;
    w->conditional += strstr(line, "last rule has a condition") != NULL;
}

static void warned(const char *rules, int leaving, int conditional)
{
    char text[2048];
    struct warnings w = {0};
    snprintf(text, sizeof text, "routes:\n  - name: auto\n    rules:\n%s", rules);
    struct router_policy *p = policy_of(text);
    router_policy_warnings(p, warning_count, &w);
    if (w.leaving != leaving || w.conditional != conditional)
        fail_msg("%s: %d leaving, %d conditional", rules, w.leaving, w.conditional);
    router_policy_free(p);
}

static void routes_that_leak_are_warned_of(void **state)
{
    (void)state;
    warned("      - {when: {sensitive: true}, use: [house], boundary: local}\n      - {use: [gpt]}\n", 0, 0);
    warned("      - {when: {sensitive: true}, use: [house]}\n      - {use: [gpt]}\n", 0, 0);
    warned("      - {when: {sensitive: true, batch: true}, use: [house]}\n      - {use: [gpt]}\n", 1, 0);
    warned("      - {when: {any: [{batch: true}, {sensitive: true}]}, use: [house]}\n      - {use: [gpt]}\n",
        0, 0);
    warned("      - {use: [gpt]}\n", 1, 0);
    warned("      - {use: [house, rack]}\n", 0, 0);
    warned("      - {when: {sensitive: false}, use: [gpt]}\n      - {use: [house]}\n", 0, 0);
    warned("      - {when: {not: {sensitive: true}}, use: [gpt]}\n      - {use: [house]}\n", 0, 0);
    warned(
        "      - {when: {not: {sensitive: true, batch: true}}, use: [gpt]}\n      - {use: [house]}\n", 1, 0);
    warned("      - {when: {batch: true}, use: [house]}\n", 0, 1);
}

/* ---- Conditions. Each is asked by a one-rule route: does it match? ---- */
static bool matches(const char *when, const struct chat_request *r, const struct router_context *c)
{
    char text[2048];
    struct route_decision d;
    snprintf(text, sizeof text,
        "routes:\n  - name: auto\n    rules:\n      - {name: yes, when: %s, use: [house]}\n", when);
    struct router_policy *p = policy_of(text);
    int rc = router_decide(p, r, c, &d, &err);
    assert_true(rc == 0 || rc == ERROR_NOT_FOUND);
    router_policy_free(p);
    return rc == 0;
}

static double seven(void *ctx)
{
    (void)ctx;
    return 7;
}

static double unknown(void *ctx)
{
    (void)ctx;
    return -1;
}

static double latency(void *ctx, struct str model, int64_t tokens)
{
    (void)ctx;
    return str_is(model, "house") && tokens > 0 ? 120 : 9999;
}

static double a_quarter(void *ctx)
{
    (void)ctx;
    return 0.25;
}

static void every_condition(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct chat_request *r = request_of(
        a, "auto", "Translate into German: call anna.b@lipowa-poczta.pl, please, the order is late");
    struct router_context c = context_of();
    const struct str tags[] = {STR("blue"), STR("slow")};
    c.key = STR("ci");
    c.team = STR("ops");
    c.tags = tags;
    c.n_tags = 2;
    c.budget_left = seven;
    c.local_queue = seven;
    c.latency_ms = latency;
    c.cost_usd = latency;
    assert_true(matches("{sensitive: true}", r, &c));
    assert_false(matches("{sensitive: false}", r, &c));
    assert_true(matches("{categories: [PHI, PII]}", r, &c));
    assert_false(matches("{categories: SECRET}", r, &c));
    assert_true(matches("{entities: EMAIL_ADDRESS}", r, &c));
    assert_false(matches("{entities: [IBAN_CODE, US_SSN]}", r, &c));
    assert_true(matches("{complexity: \">= 0\"}", r, &c));
    assert_false(matches("{complexity: \"> 1\"}", r, &c));
    assert_true(matches("{tokens: [\"> 5\", \"< 100\"]}", r, &c));
    assert_false(matches("{tokens: [\"> 5\", \"< 6\"]}", r, &c));
    assert_true(matches("{task: translate}", r, &c));
    assert_false(matches("{task: [code, math]}", r, &c));
    assert_true(matches("{language: [de, en]}", r, &c));
    assert_false(matches("{language: pl}", r, &c));
    assert_false(matches("{images: true}", r, &c));
    assert_true(matches("{audio: false}", r, &c));
    assert_true(matches("{files: false}", r, &c));
    assert_true(matches("{tools: false}", r, &c));
    assert_true(matches("{batch: false}", r, &c));
    assert_true(matches("{key: [ci, cd]}", r, &c));
    assert_false(matches("{key: cd}", r, &c));
    assert_true(matches("{team: ops}", r, &c));
    assert_true(matches("{tag: [red, slow]}", r, &c));
    assert_false(matches("{tag: red}", r, &c));
    assert_true(matches("{budget_left: \">= 7\"}", r, &c));
    assert_false(matches("{budget_left: \"!= 7\"}", r, &c));
    assert_false(matches("{budget_left: \"< 20%\"}", r, &c)); /* of the share nobody knows */
    c.budget_share = a_quarter;
    assert_true(matches("{budget_left: [\">= 7\", \"<= 25 %\"]}", r, &c));
    assert_false(matches("{budget_left: \"> 25%\"}", r, &c));
    assert_true(matches("{local_queue: \"== 7\"}", r, &c));
    assert_true(matches("{latency_ms: \"<= 120\"}", r, &c));
    assert_true(matches("{cost_usd: \"== 120\"}", r, &c));
    assert_true(matches("{sensitive: true, task: translate, key: ci}", r, &c));
    assert_false(matches("{sensitive: true, task: code, key: ci}", r, &c));
    arena_free(a);
}

static void the_clock(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct chat_request *r = request_of(a, "auto", "hi");
    struct router_context c = context_of();
    c.wall_ms = 1700000000000; /* Tuesday 2023-11-14 22:13:20 UTC */
    assert_true(matches("{time: \"22:00-06:00 UTC\"}", r, &c));
    assert_true(matches("{time: \"tue UTC\"}", r, &c));
    assert_true(matches("{time: \"mon-fri 22:13-22:14 UTC\"}", r, &c));
    assert_true(matches("{time: [\"sat UTC\", \"sun-tue UTC\"]}", r, &c));
    assert_true(matches("{time: \"sat-tue 22:00-24:00 UTC\"}", r, &c));
    assert_false(matches("{time: \"22:14-22:13 wed UTC\"}", r, &c));
    assert_false(matches("{time: \"06:00-22:13 UTC\"}", r, &c));
    assert_false(matches("{time: \"wed-mon UTC\"}", r, &c));
    c.wall_ms += 5LL * 3600 * 1000; /* Wednesday 03:13: still the night of Tuesday */
    assert_true(matches("{time: \"tue 22:00-06:00 UTC\"}", r, &c));
    assert_false(matches("{time: \"wed 22:00-06:00 UTC\"}", r, &c));
    setenv("TZ", "UTC-3", 1); /* three hours ahead */
    tzset();
    assert_true(matches("{time: \"06:13-06:14\"}", r, &c));
    assert_false(matches("{time: \"03:13-03:14\"}", r, &c));
    setenv("TZ", "UTC", 1);
    tzset();
    arena_free(a);
}

/* batch is x, key is y, budget_left may be unknown. */
static void truth_tables(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct chat_request *r = request_of(a, "auto", "hi");
    for (int bits = 0; bits < 4; bits++) {
        struct router_context c = context_of();
        bool x = bits & 1, y = bits & 2;
        c.batch = x;
        c.key = y ? STR("k") : STR("other");
        assert_int_equal(matches("{batch: true, key: k}", r, &c), x && y);
        assert_int_equal(matches("{any: [{batch: true}, {key: k}]}", r, &c), x || y);
        assert_int_equal(matches("{not: {batch: true}}", r, &c), !x);
        assert_int_equal(matches("{not: {batch: true, key: k}}", r, &c), !(x && y));
        assert_int_equal(matches("{not: {any: [{batch: true}, {key: k}]}}", r, &c), !(x || y));
        assert_int_equal(matches("{batch: true, not: {key: k}}", r, &c), x && !y);
        assert_int_equal(
            matches("{any: [{batch: true, key: k}, {not: {any: [{batch: true}, {key: k}]}}]}", r, &c),
            (x && y) || (!x && !y));
        c.budget_left = unknown;
        assert_false(matches("{budget_left: \">= 0\"}", r, &c));
        assert_false(matches("{not: {budget_left: \">= 0\"}}", r, &c));
        assert_int_equal(matches("{any: [{budget_left: \">= 0\"}, {batch: true}]}", r, &c), x);
        assert_int_equal(matches("{not: {budget_left: \">= 0\", batch: true}}", r, &c), !x);
        assert_false(matches("{budget_left: \">= 0\", batch: true}", r, &c));
        c.budget_left = NULL;
        assert_false(matches("{budget_left: \">= 0\"}", r, &c));
    }
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes_name_their_line),
        cmocka_unit_test(routes_that_leak_are_warned_of),
        cmocka_unit_test(every_condition),
        cmocka_unit_test(the_clock),
        cmocka_unit_test(truth_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

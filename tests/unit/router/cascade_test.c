/* A rule with `cascade`: what it may say, what it decides, and that nothing sensitive goes on to a model
 * outside. */
#include "base/rand.h"
#include "router/doubt.h"
#include "unit/router/router_fixture.h"

static const char personal[] = "please mail anna.b@lipowa-poczta.pl";

static const char *error_of(const char *rule)
{
    static char text[1024];
    struct router_policy *p;
    snprintf(text, sizeof text, "routes:\n  - name: auto\n    rules:\n      - %s\n", rule);
    if (compile(text, ROUTER_SENSITIVE_LOCAL, &p) == 0)
        fail_msg("accepted: %s", rule);
    return err.message;
}

static void mistakes_name_their_line_and_say_what_to_do(void **state)
{
    (void)state;
    static const struct {
        const char *rule, *says;
    } rows[] = {
        {"{use: [house, gpt], cascade: 0.4}", "weir.yaml:4: 'cascade' wants a map"},
        {"{use: [house, gpt], cascade: {}}", "wants a 'threshold' of doubt"},
        {"{use: [house, gpt], cascade: {tokens: 4}}", "wants a 'threshold' of doubt"},
        {"{use: [house, gpt], cascade: {threshold: 1.5}}", "weir.yaml:4: "},
        {"{use: [house, gpt], cascade: {threshold: 0.5, tokens: 0}}", "weir.yaml:4: "},
        {"{use: [house, gpt], cascade: {threshold: 0.5, tokens: 257}}", "weir.yaml:4: "},
        {"{use: [house, gpt], cascade: {treshold: 0.5}}", "threshold"},
        {"{use: [house], cascade: {threshold: 0.5}}", "nobody to go on to"},
        {"{use: [house, gpt], boundary: local, cascade: {threshold: 0.5}}", "inside as well"},
        {"{use: [rack, gpt], cascade: {threshold: 0.5}}", "'rack', the first in 'use', is none"},
        {"{use: [gpt, house], cascade: {threshold: 0.5}}", "'gpt', the first in 'use', is none"},
        {"{use: [house, gpt], hedge: 1s, cascade: {threshold: 0.5}}", "leave one of them out"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strstr(error_of(rows[i].rule), rows[i].says))
            fail_msg("%s: %s", rows[i].rule, err.message);
}

static struct router_policy *cascade_of(const char *rule, enum router_on_sensitive on_sensitive)
{
    char text[1024];
    struct router_policy *p;
    snprintf(text, sizeof text, "routes:\n  - name: auto\n    rules:\n      - %s\n", rule);
    if (compile(text, on_sensitive, &p))
        fail_msg("%s", err.message);
    return p;
}

static void decide(const struct router_policy *p, const struct chat_request *r, struct route_decision *d)
{
    const struct router_context c = context_of();
    if (router_decide(p, r, &c, d, &err))
        fail_msg("%s", err.message);
}

static void the_decision_says_it(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct router_policy *p = cascade_of(
        "{name: c, use: {best: [house, gpt, claude]}, cascade: {threshold: 0.4}}", ROUTER_SENSITIVE_LOCAL);
    struct route_decision d;
    struct buf text;
    struct json_writer w;
    struct chat_request *r = request_of(a, "auto", "hello");
    decide(p, r, &d);
    assert_non_null(d.cascade);
    assert_true(d.cascade->tokens == DOUBT_TOKENS && d.cascade->threshold == 0.4 && !d.cascade->fitted);
    assert_int_equal(d.n_targets, 3); /* the local one first, whatever the others are worth */
    assert_true(str_is(d.targets[0], "house") && str_is(d.targets[1], "claude"));
    assert_non_null(
        strstr(d.reason.data, "rule c: house, and where its doubt is 0.4 or more claude, then gpt"));
    buf_init(&text, MIB);
    json_writer_init(&w, &text);
    route_decision_write(&d, &w);
    assert_non_null(strstr(
        text.data, "\"cascade\":{\"local\":\"house\",\"threshold\":0.4,\"tokens\":16,\"fitted\":false}"));
    buf_free(&text);
    r->kind = CHAT_KIND_EMBED; /* no tokens to be unsure of */
    decide(p, r, &d);
    assert_null(d.cascade);
    r->kind = CHAT_KIND_ANSWER;
    r->count_only = true;
    decide(p, r, &d);
    assert_null(d.cascade);
    router_policy_free(p);
    arena_free(a);
}

static void only_inside(const struct route_decision *d)
{
    assert_int_equal(d->boundary, EGRESS_BOUNDARY_LOCAL);
    assert_int_equal(d->permit->boundary, EGRESS_BOUNDARY_LOCAL);
    for (size_t i = 0; i < d->n_targets; i++)
        assert_true(str_is(d->targets[i], "house") || str_is(d->targets[i], "rack"));
}

static void what_is_sensitive_goes_on_to_nobody_outside(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct route_decision d;
    struct router_policy *p =
        cascade_of("{use: [house, gpt], cascade: {threshold: 0.4}}", ROUTER_SENSITIVE_LOCAL);
    decide(p, request_of(a, "auto", personal), &d);
    only_inside(&d);
    assert_int_equal(d.n_targets, 1);
    assert_null(d.cascade); /* and without anybody to go on to there is no cascade */
    assert_non_null(strstr(d.reason.data, "what is sensitive is passed on to nobody outside: house"));
    router_policy_free(p);
    p = cascade_of("{use: [house, gpt, rack], cascade: {threshold: 0.4}}", ROUTER_SENSITIVE_LOCAL);
    decide(p, request_of(a, "auto", personal), &d);
    only_inside(&d);
    assert_true(d.n_targets == 2 && str_is(d.targets[1], "rack") && d.cascade);
    router_policy_free(p);
    /* Those who let it leave say so. */
    p = cascade_of("{use: [house, gpt], redact: true, cascade: {threshold: 0.4}}", ROUTER_SENSITIVE_LOCAL);
    decide(p, request_of(a, "auto", personal), &d);
    assert_true(d.n_targets == 2 && d.masked && d.cascade);
    assert_int_equal(d.permit->boundary, EGRESS_BOUNDARY_LOCAL); /* of the request as it came */
    router_policy_free(p);
    p = cascade_of("{use: [house, gpt], cascade: {threshold: 0.4}}", ROUTER_SENSITIVE_ALLOW);
    decide(p, request_of(a, "auto", personal), &d);
    assert_true(d.n_targets == 2 && d.cascade);
    router_policy_free(p);
    arena_free(a);
}

/* Over random rules and requests. */
static void sensitive_never_escalates(void **state)
{
    (void)state;
    static const char *const strong[] = {"gpt", "claude, gpt", "rack, gpt", "gpt, rack, claude"};
    static const char *const texts[] = {personal, "my card is 5555 3412 4444 1115, which bank is that?",
        "the iban is DE89 3704 0044 0532 0130 00", "hello", "what is the capital of France?"};
    static const char *const wanted[] = {"[house, %s]", "{cheapest: [house, %s]}", "{best: [house, %s]}"};
    uint64_t random = 7;
    int sensitive = 0, cascades = 0;
    for (int i = 0; i < 2000; i++) {
        char use[64], rule[256];
        random = random * 6364136223846793005u + 1442695040888963407u;
        unsigned bits = (unsigned)(random >> 33);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(use, sizeof use, wanted[bits % 3], strong[bits / 3 % 4]);
#pragma GCC diagnostic pop
        snprintf(rule, sizeof rule, "{use: %s, cascade: {threshold: %g, tokens: %u}}", use,
            bits / 12 % 11 / 10.0, 1 + bits / 132 % 256);
        struct arena *a = arena_create(16 * MIB);
        struct router_policy *p = cascade_of(rule, ROUTER_SENSITIVE_LOCAL);
        struct route_decision d;
        decide(p, request_of(a, "auto", texts[bits / 7 % 5]), &d);
        assert_true(str_is(d.targets[0], "house"));
        if (d.findings.sensitive)
            only_inside(&d);
        sensitive += d.findings.sensitive;
        cascades += d.cascade != NULL;
        assert_true(!d.cascade || d.n_targets > 1);
        router_policy_free(p);
        arena_free(a);
    }
    assert_true(sensitive > 500 && cascades > 500);
}

static void warning_count(void *ctx, const char *line)
{
    *(int *)ctx += strstr(line, "lets sensitive content leave") != NULL;
}

static void a_cascade_that_keeps_it_is_not_warned_of(void **state)
{
    (void)state;
    int warned = 0;
    struct router_policy *p =
        cascade_of("{use: [house, gpt], cascade: {threshold: 0.4}}", ROUTER_SENSITIVE_LOCAL);
    router_policy_warnings(p, warning_count, &warned);
    assert_int_equal(warned, 0);
    router_policy_free(p);
    p = cascade_of("{use: [house, gpt], cascade: {threshold: 0.4}}", ROUTER_SENSITIVE_ALLOW);
    router_policy_warnings(p, warning_count, &warned);
    assert_int_equal(warned, 1);
    router_policy_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes_name_their_line_and_say_what_to_do),
        cmocka_unit_test(the_decision_says_it),
        cmocka_unit_test(what_is_sensitive_goes_on_to_nobody_outside),
        cmocka_unit_test(sensitive_never_escalates),
        cmocka_unit_test(a_cascade_that_keeps_it_is_not_warned_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

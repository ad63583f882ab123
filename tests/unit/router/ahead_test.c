/* Long texts judged beside the loop: the decision is the one that judging on the spot gives, and none before.
 */
#include "router/ahead.h"

#include "router/redact.h"
#include "router_fixture.h"

static const char rules[] = "routes:\n  - name: auto\n    rules:\n"
                            "      - {name: sensitive, when: {sensitive: true}, use: [house]}\n"
                            "      - {name: otherwise, use: [gpt]}\n";
static const char masking[] =
    "routes:\n  - name: auto\n    rules:\n"
    "      - {name: masked, when: {sensitive: true}, redact: true, use: [gpt, house]}\n"
    "      - {name: otherwise, use: [gpt]}\n";

/* So many bytes of prose that nobody has judged, `times` times `what` in it. */
static void text_make(struct buf *b, size_t bytes, const char *what, int times)
{
    static int made;
    buf_init(b, 4 * MIB);
    buf_appendf(b, "Text %d. ", ++made);
    for (int i = 0; b->len < bytes; i++) {
        buf_append_text(b, "The weir holds the water back and lets the rest go over. ");
        for (; times > 0 && (i + 1) * 57 > (int)bytes / 2; times--)
            buf_appendf(b, what, times);
    }
}

static void decide(const struct router_policy *p, struct chat_request *r, const char *caller,
    struct router_ahead **ahead, struct route_decision *out)
{
    struct router_context c = context_of();
    c.caller = str_from(caller);
    c.ahead = ahead;
    if (router_decide(p, r, &c, out, &err))
        fail_msg("%s", err.message);
}

static void assert_same(const struct route_decision *a, const struct route_decision *b)
{
    assert_true(str_eq(a->rule, b->rule));
    assert_true(str_eq(a->reason, b->reason));
    assert_int_equal(a->boundary, b->boundary);
    assert_int_equal(a->findings.categories, b->findings.categories);
    assert_int_equal(a->findings.more, b->findings.more);
    assert_int_equal(a->findings.n_entities, b->findings.n_entities);
    assert_int_equal(!a->masked, !b->masked);
    for (size_t i = 0; i < a->findings.n_entities; i++) {
        const struct router_entity *one = &a->findings.entities[i], *two = &b->findings.entities[i];
        assert_string_equal(one->type, two->type);
        assert_true(one->start == two->start && one->end == two->end && one->score == two->score);
        assert_true(str_eq(one->where, two->where));
    }
}

/* With what is noted judged meanwhile, and on the spot. The memory of one caller's texts is none of
 * another's. */
static void assert_decides(const char *policy, const char *text, const char *second, bool waits)
{
    struct router_policy *p = policy_of(policy);
    struct arena *a = arena_create(64 * MIB);
    struct chat_request *r = request_of(a, "auto", text);
    struct route_decision none, then, at_once;
    struct router_ahead *ahead = NULL;
    if (second) {
        r->messages[0].parts[1] = (struct chat_part){.kind = CHAT_PART_TEXT, .text = str_from(second)};
        r->messages[0].n_parts = 2;
    }
    decide(p, r, "one", &ahead, &none);
    assert_int_equal(router_ahead_waits(ahead), waits);
    if (waits) { /* whoever took it for a decision would let nothing out */
        assert_int_equal(none.boundary, EGRESS_BOUNDARY_LOCAL);
        assert_null(none.masked);
        router_ahead_judge(ahead);
        assert_false(router_ahead_waits(ahead));
    }
    decide(p, r, "one", &ahead, &then);
    assert_false(router_ahead_waits(ahead));
    decide(p, r, "two", NULL, &at_once);
    assert_same(&then, &at_once);
    router_ahead_free(ahead);
    arena_free(a);
    router_policy_free(p);
}

static void what_is_judged_ahead_decides_as_on_the_spot(void **state)
{
    static const struct {
        size_t bytes;
        const char *what;
        int times;
        bool waits;
    } texts[] = {
        {2000, "", 0, false}, {2000, "My card is 4539578763621486. ", 1, false},
        {ROUTER_AHEAD_BYTES, "", 0, true}, {300000, "", 0, true},
        {300000, "My card is 4539578763621486. ", 1, true},
        {300000, "Write to anna%d.meier@firma-meier.de. ", 200, true},  /* more than is remembered */
        {300000, "Write to anna%d.meier@firma-meier.de. ", 5000, true}, /* more than is kept */
        {100000, "\xff", 1, true},                                      /* no UTF-8: the detector fails */
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct buf b, more;
        text_make(&b, texts[i].bytes, texts[i].what, texts[i].times);
        text_make(&more, 40000, "", 0);
        assert_decides(rules, b.data, NULL, texts[i].waits);
        buf_free(&b);
        text_make(&b, texts[i].bytes, texts[i].what, texts[i].times);
        assert_decides(rules, b.data, more.data, true); /* joined they are long in any case */
        buf_free(&b);
        buf_free(&more);
    }
}

static void nothing_is_masked_by_halves(void **state)
{
    struct buf b;
    (void)state;
    text_make(&b, 50000, "My card is 4539578763621486. ", 1);
    assert_decides(masking, b.data, NULL, true);
    buf_free(&b);
}

/* A conversation's long document comes again with each turn. */
static void what_came_before_is_not_waited_for(void **state)
{
    struct router_policy *p = policy_of(rules);
    struct arena *a = arena_create(64 * MIB);
    struct route_decision d;
    struct router_ahead *ahead = NULL;
    struct buf b;
    (void)state;
    text_make(&b, 100000, "My card is 4539578763621486. ", 1);
    struct chat_request *r = request_of(a, "auto", b.data);
    decide(p, r, "key", &ahead, &d);
    router_ahead_judge(ahead);
    router_ahead_free(ahead);
    ahead = NULL;
    decide(p, r, "key", &ahead, &d);
    assert_null(ahead);
    assert_true(str_is(d.rule, "sensitive"));
    decide(p, r, "other", &ahead, &d); /* nor does it tell another what one has sent */
    assert_true(router_ahead_waits(ahead));
    router_ahead_free(ahead);
    arena_free(a);
    router_policy_free(p);
    buf_free(&b);
}

/* Nobody asks what is in it. */
static void what_no_rule_asks_about_is_not_judged(void **state)
{
    struct router_policy *p;
    struct arena *a = arena_create(64 * MIB);
    struct route_decision d;
    struct router_ahead *ahead = NULL;
    struct buf b;
    (void)state;
    if (compile(
            "routes:\n  - {name: auto, rules: [{name: all, use: [house]}]}\n", ROUTER_SENSITIVE_LOCAL, &p))
        fail_msg("%s", err.message);
    text_make(&b, 100000, "", 0);
    decide(p, request_of(a, "auto", b.data), "key", &ahead, &d);
    assert_null(ahead);
    assert_true(str_is(d.rule, "all"));
    arena_free(a);
    router_policy_free(p);
    buf_free(&b);
}

static int setup(void **state)
{
    (void)state;
    return router_detect_init(&err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_judged_ahead_decides_as_on_the_spot),
        cmocka_unit_test(nothing_is_masked_by_halves),
        cmocka_unit_test(what_came_before_is_not_waited_for),
        cmocka_unit_test(what_no_rule_asks_about_is_not_judged),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}

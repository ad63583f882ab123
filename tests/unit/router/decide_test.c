#include "base/rand.h"
#include "unit/router/router_fixture.h"

#include "router/redact.h"

static const char auto_route[] =
    "routes:\n"
    "  - name: auto\n"
    "    rules:\n"
    "      - {name: home, when: {sensitive: true}, use: [gpt, house], boundary: local}\n"
    "      - {name: batch, when: {batch: true}, use: [house]}\n"
    "      - {name: hard, when: {complexity: \">= 0.6\"}, use: [gpt, claude, house]}\n"
    "      - {name: otherwise, use: [house, gpt]}\n";
static const char personal[] = "please mail anna.b@lipowa-poczta.pl";

/* With every fact known. */
static int decide_explained(const struct router_policy *p, const struct chat_request *r,
    const struct router_context *c, struct route_decision *out)
{
    struct buf text;
    struct json_writer w;
    buf_init(&text, MIB);
    json_writer_init(&w, &text);
    int rc = router_explain(p, r, c, false, out, &w, &err);
    buf_free(&text);
    return rc;
}

static void targets_are(const struct route_decision *d, const char *joined)
{
    char text[256] = "";
    for (size_t i = 0; i < d->n_targets; i++) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s" STR_FMT, i ? " " : "", STR_ARG(d->targets[i]));
    }
    assert_string_equal(text, joined);
}

static void the_first_rule_that_matches(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct router_policy *p = policy_of(auto_route);
    struct router_context c = context_of();
    struct route_decision d;
    assert_int_equal(router_decide(p, request_of(a, "auto", personal), &c, &d, &err), 0);
    assert_true(str_is(d.rule, "home"));
    assert_int_equal(d.boundary, EGRESS_BOUNDARY_LOCAL);
    targets_are(&d, "house"); /* gpt is outside */
    assert_non_null(strstr(d.reason.data, "an e-mail address was found; rule home keeps it inside"));
    assert_int_equal(router_decide(p, request_of(a, "auto", "hello"), &c, &d, &err), 0);
    assert_true(str_is(d.rule, "otherwise"));
    assert_int_equal(d.boundary, EGRESS_BOUNDARY_ANY);
    targets_are(&d, "house gpt");
    c.batch = true;
    assert_int_equal(router_decide(p, request_of(a, "auto", "hello"), &c, &d, &err), 0);
    assert_true(str_is(d.rule, "batch"));
    router_policy_free(p);
    arena_free(a);
}

static void the_permit_says_what_the_decision_says(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct router_policy *p = policy_of(auto_route);
    struct router_context c = context_of();
    struct route_decision d;
    char id[200];
    memset(id, 'x', sizeof id);
    memcpy(id + 70, "ż", 2);
    c.request_id = (struct str){id, sizeof id};
    assert_int_equal(router_decide(p, request_of(a, "auto", personal), &c, &d, &err), 0);
    assert_int_equal(d.permit->boundary, EGRESS_BOUNDARY_LOCAL);
    assert_string_equal(d.permit->rule, "home");
    assert_int_equal(strlen(d.permit->request_id), 70); /* cut before the character, not in it */
    assert_int_equal(d.permit->expires_mono_ms, 1000 + 3600 * 1000);
    assert_int_equal(router_decide(p, request_of(a, "auto", "hello"), &c, &d, &err), 0);
    assert_int_equal(d.permit->boundary, EGRESS_BOUNDARY_ANY);
    assert_int_equal(router_decide(p, request_of(a, "nobody", "hello"), &c, &d, &err), ERROR_NOT_FOUND);
    assert_null(d.permit);
    const struct egress_permit *probe = router_permit_probe(a, 1000);
    assert_true(probe->probe && probe->boundary == EGRESS_BOUNDARY_ANY);
    assert_string_equal(probe->rule, "probe");
    assert_true(!probe->telemetry && router_permit_telemetry(a, 1000)->telemetry);
    assert_int_equal(probe->expires_mono_ms, 1000 + 60 * 1000);
    router_policy_free(p);
    arena_free(a);
}

static void facts_are_computed_only_if_asked(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct router_context c = context_of();
    struct route_decision d;
    struct router_policy *p = policy_of("routes:\n  - name: auto\n    rules:\n"
                                        "      - {when: {sensitive: true, batch: true}, use: [house]}\n"
                                        "      - {when: {tokens: \"> 1000\"}, use: [rack]}\n"
                                        "      - {use: [house]}\n");
    assert_int_equal(router_decide(p, request_of(a, "auto", personal), &c, &d, &err), 0);
    assert_false(d.facts_sensitive); /* batch is cheaper and says no */
    assert_true(isnan(d.complexity));
    assert_null(d.task);
    assert_true(d.tokens > 0);
    assert_int_equal(decide_explained(p, request_of(a, "auto", personal), &c, &d), 0);
    assert_true(d.facts_sensitive && d.findings.sensitive && d.task && d.complexity >= 0);
    /* A model inside, or one that may have anything, needs no look at the content. */
    assert_int_equal(router_decide(p, request_of(a, "house", personal), &c, &d, &err), 0);
    assert_false(d.facts_sensitive);
    router_policy_free(p);
    arena_free(a);
}

static struct route_decision named(struct arena *a, enum router_on_sensitive on_sensitive, const char *model,
    const char *text, bool local, int want)
{
    struct router_policy *p;
    struct router_context c = context_of();
    struct route_decision d;
    c.boundary_local = local;
    assert_int_equal(compile("routes: []\n", on_sensitive, &p), 0);
    assert_int_equal(router_decide(p, request_of(a, model, text), &c, &d, &err), want);
    router_policy_free(p);
    return d;
}

static void a_named_model_outside(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct route_decision d = named(a, ROUTER_SENSITIVE_LOCAL, "gpt", "hello", false, 0);
    assert_true(str_is(d.rule, "named"));
    assert_int_equal(d.boundary, EGRESS_BOUNDARY_ANY);
    targets_are(&d, "gpt");
    d = named(a, ROUTER_SENSITIVE_LOCAL, "gpt", personal, false, 0);
    assert_true(str_is(d.rule, "named-sensitive"));
    assert_int_equal(d.boundary, EGRESS_BOUNDARY_LOCAL);
    targets_are(&d, "house rack");
    d = named(a, ROUTER_SENSITIVE_REDACT, "gpt", personal, false, 0);
    targets_are(&d, "gpt"); /* masked: redact_test has the rest */
    assert_true(str_is(d.rule, "named-redacted"));
    assert_int_equal(d.permit->boundary, EGRESS_BOUNDARY_LOCAL);
    d = named(a, ROUTER_SENSITIVE_BLOCK, "gpt", personal, false, ERROR_DENIED);
    assert_int_equal(d.n_targets, 0);
    assert_int_equal(d.boundary, EGRESS_BOUNDARY_LOCAL);
    assert_null(d.permit);
    assert_true(d.findings.sensitive);
    d = named(a, ROUTER_SENSITIVE_BLOCK, "house", personal, false, 0);
    targets_are(&d, "house");
    d = named(a, ROUTER_SENSITIVE_ALLOW, "gpt", personal, false, 0);
    targets_are(&d, "gpt");
    assert_int_equal(d.permit->boundary, EGRESS_BOUNDARY_ANY);
    d = named(
        a, ROUTER_SENSITIVE_ALLOW, "gpt", personal, true, 0); /* the client tightens what the owner allows */
    targets_are(&d, "house rack");
    assert_int_equal(d.permit->boundary, EGRESS_BOUNDARY_LOCAL);
    d = named(a, ROUTER_SENSITIVE_LOCAL, "rack", "hello", true, 0);
    targets_are(&d, "rack");
    arena_free(a);
}

static void nothing_inside_fails_closed(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct router_policy *p =
        policy_of("routes:\n  - name: auto\n    rules:\n"
                  "      - {name: no, when: {sensitive: true}, use: [], boundary: local}\n"
                  "      - {name: out, use: [gpt]}\n");
    struct router_context c = context_of();
    struct route_decision d;
    assert_int_equal(router_decide(p, request_of(a, "auto", personal), &c, &d, &err), ERROR_UNAVAILABLE);
    assert_int_equal(d.n_targets, 0);
    assert_true(str_is(d.rule, "no"));
    assert_int_equal(router_decide(p, request_of(a, "auto", "hello"), &c, &d, &err), 0);
    c.boundary_local = true;
    assert_int_equal(router_decide(p, request_of(a, "auto", "hello"), &c, &d, &err), ERROR_UNAVAILABLE);
    assert_int_equal(d.boundary, EGRESS_BOUNDARY_LOCAL);
    assert_null(d.permit);
    router_policy_free(p);
    arena_free(a);
}

static void an_error_in_the_detector_means_inside(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct router_policy *p =
        policy_of("routes:\n  - name: auto\n    rules:\n"
                  "      - {name: clean, when: {not: {categories: [PII]}}, use: [gpt, house]}\n"
                  "      - {name: rest, use: [rack]}\n");
    struct router_context c = context_of();
    struct route_decision d;
    struct chat_request *r = request_of(a, "auto", "broken \xff text");
    assert_int_equal(router_decide(p, r, &c, &d, &err), 0);
    assert_true(str_is(d.rule, "clean"));
    assert_true(d.findings.sensitive);
    assert_int_equal(d.boundary, EGRESS_BOUNDARY_LOCAL);
    targets_are(&d, "house");
    assert_non_null(strstr(d.reason.data, "could not be checked"));
    r->model = STR("gpt");
    assert_int_equal(router_decide(p, r, &c, &d, &err), 0);
    targets_are(&d, "house rack");
    router_policy_free(p);
    arena_free(a);
}

static void names_and_routes_that_are_not_there(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct router_policy *p =
        policy_of("routes:\n  - {name: auto, rules: [{when: {batch: true}, use: gpt}]}\n");
    struct router_context c = context_of();
    struct route_decision d;
    assert_int_equal(router_decide(p, request_of(a, "gpt-9", "hello"), &c, &d, &err), ERROR_NOT_FOUND);
    assert_string_equal(err.message, "no model 'gpt-9': there are auto, house, rack, gpt, claude");
    assert_int_equal(router_decide(p, request_of(a, "auto", "hello"), &c, &d, &err), ERROR_NOT_FOUND);
    assert_non_null(strstr(err.message, "no rule of route 'auto' matches"));
    router_policy_free(p);
    arena_free(a);
}

/* ---- Where findings hide. ---- */
static bool sensitive(const struct chat_request *r)
{
    struct router_context c = context_of();
    struct facts f;
    facts_init(&f, NULL, r, &c);
    const struct router_findings *found = facts_findings(&f);
    assert_false(f.detector_failed);
    return found->sensitive;
}

static void every_part_of_a_request_is_looked_at(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    json_t *schema;
    assert_int_equal(
        json_read_in(a, STR("{\"type\":\"object\",\"password\":\"q8Zt3LmW9xK2vR7pB5\"}"), &schema, &err), 0);
    struct chat_request *r = request_of(a, "auto", "hello");
    assert_false(sensitive(r));
    struct chat_tool_call call = {
        .id = STR("1"), .name = STR("mail"), .arguments = STR("{\"to\":\"anna.b\\u0040lipowa-poczta.pl\"}")};
    r->messages[0].tool_calls = &call;
    r->messages[0].n_tool_calls = 1;
    assert_true(sensitive(r)); /* behind an escape */
    r->messages[0].n_tool_calls = 0;
    r->messages[0].name = STR("anna.b@lipowa-poczta.pl");
    assert_true(sensitive(r));
    r->messages[0].name = STR_NONE;
    struct chat_tool tool = {.name = STR("f"), .parameters = schema};
    r->tools = &tool;
    r->n_tools = 1;
    assert_true(sensitive(r)); /* key and value of a tree, read together */
    r->n_tools = 0;
    r->vendor = schema;
    assert_true(sensitive(r));
    r->vendor = NULL;
    r->user = STR("anna.b@lipowa-poczta.pl");
    assert_true(sensitive(r));
    r->user = STR_NONE;
    assert_false(sensitive(r));
    arena_free(a);
}

static void parts_of_a_message_are_read_together(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct chat_request *r = request_of(a, "auto", "my card is 4539 7305");
    r->messages[0].n_parts = 2;
    r->messages[0].parts[1] = (struct chat_part){.kind = CHAT_PART_TEXT, .text = STR("2539 7182")};
    assert_true(sensitive(r));
    r->messages[0].parts[0].text = STR("anna.b@lipo");
    r->messages[0].parts[1].text = STR("wa-poczta.pl");
    assert_true(sensitive(r));
    r->messages[0].parts[1].text = STR(" hello");
    assert_false(sensitive(r));
    arena_free(a);
}

/* A question in one message, its answer in the next. */
static void messages_are_read_on_into_the_next(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct chat_request *r = request_of(a, "auto", "What is your social security number?");
    struct chat_part answer = {.kind = CHAT_PART_TEXT, .text = STR("536228145")};
    struct chat_message both[2] = {r->messages[0], {.role = CHAT_USER, .parts = &answer, .n_parts = 1}};
    r->messages = both;
    r->n_messages = 2;
    assert_true(sensitive(r));
    both[0].parts[0].text = STR("my card is 4539 7305");
    answer.text = STR("2539 7182 and hello");
    assert_true(sensitive(r));
    both[0].parts[0].text = STR("How many?");
    answer.text = STR("536228145");
    assert_false(sensitive(r));
    arena_free(a);
}

static void nothing_hides_behind_another_way_of_writing(void **state)
{
    (void)state;
    static const char *const hidden[] = {"https://lipowa.pl/p.png?to=anna.b%40lipowa-poczta.pl",
        "https://lipowa.pl/p.png?to=anna.b%2540lipowa-poczta.pl", "https://lipowa.pl/?c=4539+7305+2539+7182",
        "https://lipowa.pl/?c=4539%207305%202539%207182", "so {\"a\":\"anna.b\\u0040lipowa-poczta.pl\"}",
        "[\"{\\\"anna.b\\\\u0040lipowa-poczta.pl\\\":1}\"]", "anna.b&#64;lipowa-poczta.pl",
        "anna.b&#x40;lipowa-poczta.pl", "\xef\xbc\x94\xef\xbc\x95\xef\xbc\x93\xef\xbc\x99 7305 2539 7182",
        "4539\xe2\x80\x8b"
        "7305\xe2\x80\x8b"
        "2539\xe2\x80\x8b"
        "7182",
        "data:text/plain;base64,bWFpbCBhbm5hLmJAbGlwb3dhLXBvY3p0YS5wbA=="};
    struct arena *a = arena_create(16 * MIB);
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        if (!sensitive(request_of(a, "auto", hidden[i])))
            fail_msg("not seen: %s", hidden[i]);
    static const char *const harmless[] = {"100%", "%zz %4", "\\u004", "\\", "&#64", "&#;",
        "x = 4539+7305+2539+7182", "data:text/plain;base64,"};
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        if (sensitive(request_of(a, "auto", harmless[i])))
            fail_msg("seen: %s", harmless[i]);
    arena_free(a);
}

/* More findings than are listed must not push out of sight the one that a rule waits for. */
static void a_finding_past_the_bound_still_matches_its_rule(void **state)
{
    (void)state;
    struct router_policy *p =
        policy_of("routes:\n"
                  "  - name: auto\n"
                  "    rules:\n"
                  "      - {when: {entities: [US_SSN]}, use: [house], boundary: local}\n"
                  "      - {use: [gpt]}\n");
    static const char *const fill[] = {"10.0.0.1 ", "a@lipowa-poczta.pl "};
    static const size_t counts[] = {LIMIT_ENTITIES + 10, 5 * LIMIT_ENTITIES};
    for (size_t i = 0; i < 4; i++) {
        struct arena *a = arena_create(64 * MIB);
        struct router_context c = context_of();
        struct route_decision d;
        struct buf text;
        buf_init(&text, MIB);
        for (size_t n = 0; n < counts[i / 2]; n++)
            buf_append_text(&text, fill[i % 2]);
        buf_append_text(&text, "536-22-8145");
        assert_int_equal(text.failed, 0);
        assert_int_equal(router_decide(p, request_of(a, "auto", text.data), &c, &d, &err), 0);
        assert_int_equal(d.boundary, EGRESS_BOUNDARY_LOCAL);
        buf_free(&text);
        arena_free(a);
    }
    router_policy_free(p);
}

static void decisions_as_json(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct router_policy *p = policy_of(auto_route);
    struct router_context c = context_of();
    struct route_decision d;
    struct buf b;
    struct json_writer w;
    buf_init(&b, MIB);
    assert_int_equal(decide_explained(p, request_of(a, "auto", personal), &c, &d), 0);
    json_writer_init(&w, &b);
    route_decision_write(&d, &w);
    assert_non_null(strstr(b.data,
        "{\"request_id\":\"req_1\",\"route\":\"auto\",\"rule\":\"home\",\"boundary\":\"local\","
        "\"sensitive\":true,\"categories\":[\"PII\"],\"entities\":[{\"type\":\"EMAIL_ADDRESS\","
        "\"start\":12,\"end\":35,\"score\":1.0,\"where\":\"messages[0].content\"}],\"complexity\":0."));
    assert_non_null(strstr(b.data, "\"task\":\"chat\",\"tokens\":"));
    assert_non_null(strstr(b.data, "\"targets\":[\"house\"],\"reason\":\"an e-mail address was found"));
    buf_clear(&b);
    assert_int_equal(router_decide(p, request_of(a, "house", "x"), &c, &d, &err), 0);
    json_writer_init(&w, &b);
    route_decision_write(&d, &w);
    assert_string_equal(b.data,
        "{\"request_id\":\"req_1\",\"route\":null,\"rule\":\"named\",\"boundary\":\"any\","
        "\"sensitive\":null,\"categories\":null,\"entities\":null,\"complexity\":null,\"task\":null,"
        "\"tokens\":null,\"targets\":[\"house\"],\"reason\":\"the client named the model: house\"}");
    buf_free(&b);
    router_policy_free(p);
    arena_free(a);
}

/* ---- Random policies and requests: the local boundary never yields a target outside. ---- */
static void random_rule(struct buf *b, struct rand_pcg *r, int index)
{
    static const char *const whens[] = {"", "when: {sensitive: true}, ", "when: {sensitive: false}, ",
        "when: {batch: true}, ", "when: {not: {categories: [PII, SECRET]}}, ",
        "when: {any: [{tokens: \"> 8\"}, {sensitive: true}]}, ", "when: {task: [chat, code]}, ",
        "when: {entities: EMAIL_ADDRESS}, ", "when: {not: {sensitive: true, batch: false}}, "};
    uint32_t mask = 1 + rand_pcg_u32(r) % 15;
    bool inside = mask & 3, local = inside && rand_pcg_u32(r) % 2;
    buf_appendf(
        b, "      - {name: r%d, %suse: [", index, whens[rand_pcg_u32(r) % (sizeof whens / sizeof *whens)]);
    for (int i = 0, n = 0; i < N_MODELS; i++)
        if (mask & 1u << i)
            buf_appendf(b, "%s" STR_FMT, n++ ? ", " : "", STR_ARG(models[i].name));
    buf_appendf(b, "]%s}\n", local ? ", boundary: local" : rand_pcg_u32(r) % 3 ? "" : ", redact: true");
}

static bool is_inside(struct str name)
{
    for (size_t i = 0; i < N_MODELS; i++)
        if (str_eq(models[i].name, name))
            return models[i].inside;
    return false;
}

static void decision_check(
    const struct route_decision *d, int rc, const struct router_context *c, enum router_on_sensitive policy)
{
    assert_int_equal(rc == 0, d->n_targets > 0);
    assert_int_equal(rc == 0, d->permit != NULL);
    if (c->boundary_local)
        assert_int_equal(d->boundary, EGRESS_BOUNDARY_LOCAL);
    if (d->permit) /* what is masked leaves by a permit of its own, and what came by none */
        assert_int_equal(d->permit->boundary, d->masked ? EGRESS_BOUNDARY_LOCAL : d->boundary);
    if (d->masked) {
        struct str text = d->masked->request->messages[0].parts[0].text;
        assert_true(str_find(text, STR("lipowa")) == SIZE_MAX && str_find(text, STR("4539")) == SIZE_MAX);
        return;
    }
    for (size_t i = 0; i < d->n_targets; i++)
        assert_true(d->boundary == EGRESS_BOUNDARY_ANY || is_inside(d->targets[i]));
    if (d->route.len == 0 && policy != ROUTER_SENSITIVE_ALLOW && d->facts_sensitive && d->findings.sensitive)
        for (size_t i = 0; i < d->n_targets; i++)
            assert_true(is_inside(d->targets[i]));
}

static void the_local_boundary_holds_for_random_policies(void **state)
{
    (void)state;
    static const char *const names[] = {"auto", "auto", "auto", "house", "gpt", "claude", "rack", "none"};
    static const char *const texts[] = {"hello", "mail anna.b@lipowa-poczta.pl", "bad \xff",
        "def f(x): return x", "4539 7305 2539 7182",
        "Please summarize the following text for me in two sentences"};
    struct rand_pcg r;
    struct buf b;
    rand_pcg_seed(&r, 5);
    buf_init(&b, MIB);
    for (int round = 0; round < 5000; round++) {
        struct router_policy *p;
        enum router_on_sensitive on_sensitive = (enum router_on_sensitive)(rand_pcg_u32(&r) % 4);
        buf_clear(&b);
        buf_append_text(&b, "routes:\n  - name: auto\n    rules:\n");
        for (int i = 0, n = 1 + (int)(rand_pcg_u32(&r) % 5); i < n; i++)
            random_rule(&b, &r, i);
        if (compile(b.data, on_sensitive, &p))
            fail_msg("%s: %s", err.message, b.data);
        struct arena *a = arena_create(64 * MIB);
        for (int i = 0; i < 20; i++) {
            struct router_context c = context_of();
            struct route_decision d;
            c.batch = rand_pcg_u32(&r) % 2;
            c.boundary_local = rand_pcg_u32(&r) % 3 == 0;
            struct chat_request *q = request_of(a, names[rand_pcg_u32(&r) % 8], texts[rand_pcg_u32(&r) % 6]);
            int rc = i % 2 ? router_decide(p, q, &c, &d, &err) : decide_explained(p, q, &c, &d);
            decision_check(&d, rc, &c, on_sensitive);
        }
        arena_free(a);
        router_policy_free(p);
    }
    buf_free(&b);
}

/* A vector of another model than the one that was named means something else. */
static void no_model_stands_in_for_one_that_embeds(void **state)
{
    (void)state;
    static struct chat_input inputs[] = {{.text = {"fine", 4}}, {.text = {personal, sizeof personal - 1}}};
    struct arena *a = arena_create(16 * MIB);
    struct router_policy *p = policy_of(
        "routes:\n  - name: auto\n    rules:\n      - {name: vectors, when: {task: embed}, use: [rack]}\n"
        "      - {name: otherwise, use: [house]}\n");
    struct router_context c = context_of();
    struct route_decision d;
    struct chat_request *r = chat_request_create(a);
    r->kind = CHAT_KIND_EMBED;
    r->inputs = inputs;
    r->n_inputs = 1;
    r->model = STR("auto");
    assert_int_equal(router_decide(p, r, &c, &d, &err), 0);
    assert_true(str_is(d.rule, "vectors"));
    r->model = STR("gpt");
    assert_int_equal(router_decide(p, r, &c, &d, &err), 0);
    targets_are(&d, "gpt");
    r->n_inputs = 2;
    assert_int_equal(router_decide(p, r, &c, &d, &err), ERROR_UNAVAILABLE);
    targets_are(&d, "");
    assert_int_equal(d.boundary, EGRESS_BOUNDARY_LOCAL);
    r->kind = CHAT_KIND_RERANK;
    assert_int_equal(router_decide(p, r, &c, &d, &err), ERROR_UNAVAILABLE);
    router_policy_free(p);
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_rule_that_matches),
        cmocka_unit_test(the_permit_says_what_the_decision_says),
        cmocka_unit_test(facts_are_computed_only_if_asked),
        cmocka_unit_test(a_named_model_outside),
        cmocka_unit_test(nothing_inside_fails_closed),
        cmocka_unit_test(no_model_stands_in_for_one_that_embeds),
        cmocka_unit_test(an_error_in_the_detector_means_inside),
        cmocka_unit_test(names_and_routes_that_are_not_there),
        cmocka_unit_test(every_part_of_a_request_is_looked_at),
        cmocka_unit_test(parts_of_a_message_are_read_together),
        cmocka_unit_test(messages_are_read_on_into_the_next),
        cmocka_unit_test(nothing_hides_behind_another_way_of_writing),
        cmocka_unit_test(a_finding_past_the_bound_still_matches_its_rule),
        cmocka_unit_test(decisions_as_json),
        cmocka_unit_test(the_local_boundary_holds_for_random_policies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

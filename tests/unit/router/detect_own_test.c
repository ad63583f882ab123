/* The owner's own layer: what it finds however it is written, what it never lets leave, and an allow-list
 * that lets pass what it says and nothing else. */
#include "unit/router/router_fixture.h"

#include <malloc.h>

#include "router/detect_own.h"
#include "router/redact.h"

static const char all[] =
    "owner:\n"
    "  find:\n"
    "    - {words: [Bluebird, \"Projekt Reiher\", \"Kranich*\", \"项目蓝鸟\", Gärtner, D'Arcy], type: "
    "PROJECT_NAME}\n"
    "    - {pattern: \"EMP-[0-9]{6}\", type: STAFF_NUMBER, category: PII}\n"
    "    - {words: [Falke], type: KEPT_NAME, boundary: local}\n"
    "    - {labels: [Nur intern, Amber]}\n"
    "    - {header: x-classification, values: [secret, restricted], category: LEGAL}\n"
    "    - {keys: [hr-app], category: PHI}\n"
    "    - {teams: [board], boundary: local}\n"
    "  allow:\n"
    "    - {type: EMAIL_ADDRESS, values: [support@northpine.net], why: our public address}\n"
    "    - {type: STAFF_NUMBER, pattern: \"EMP-0{6}\", why: nobody has it}\n"
    "    - {type: CREDIT_CARD, values: [\"4539 5787 6362 1486\"], why: the test card}\n"
    "routes:\n"
    "  - name: auto\n"
    "    rules:\n"
    "      - {name: bird, when: {entities: [PROJECT_NAME]}, use: [gpt, house], redact: true}\n"
    "      - {name: otherwise, use: [gpt, house]}\n";

static struct router_policy *policy;
static const struct detect_own *own;
static struct arena *arena;

static int set_up(void **state)
{
    (void)state;
    policy = policy_of(all);
    own = router_policy_own(policy);
    arena = arena_create(256 * MIB);
    return own ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    router_policy_free(policy);
    arena_free(arena);
    return 0;
}

static struct router_findings look(const char *text)
{
    struct router_findings f = {0};
    if (router_detect_own(own, arena, STR_NONE, str_from(text), &f, &err))
        fail_msg("%s", err.message);
    return f;
}

static const struct router_entity *find(const struct router_findings *f, const char *type)
{
    for (size_t i = 0; i < f->n_entities; i++)
        if (strcmp(f->entities[i].type, type) == 0)
            return &f->entities[i];
    return NULL;
}

static void found_at(const char *text, const char *type, size_t start, size_t end)
{
    struct router_findings f = look(text);
    const struct router_entity *e = find(&f, type);
    if (!e || e->start != start || e->end != end || e->score < DETECT_SURE)
        fail_msg("%s: %s not at %zu to %zu but %zu to %zu", text, type, start, end, e ? e->start : 0,
            e ? e->end : 0);
}

static void not_found(const char *text, const char *type)
{
    struct router_findings f = look(text);
    if (find(&f, type))
        fail_msg("%s was found in: %s", type, text);
}

static void words_however_they_are_written(void **state)
{
    (void)state;
    found_at("Bluebird", "PROJECT_NAME", 0, 8);
    found_at("the BLUEBIRD flies", "PROJECT_NAME", 4, 12);
    found_at("im projekt\n   reiher!", "PROJECT_NAME", 3, 20);
    found_at("im Projekt-Reiher", "PROJECT_NAME", 3, 17);
    found_at("die Kranichflüge im Mai", "PROJECT_NAME", 4, 16);
    found_at("Kranich", "PROJECT_NAME", 0, 7);
    found_at("请看项目蓝鸟的进展", "PROJECT_NAME", 2, 6);
    found_at("beim GARTNER", "PROJECT_NAME", 5, 12);
    found_at("beim Gärtner", "PROJECT_NAME", 5, 12);
    found_at("beim GAERTNER", "PROJECT_NAME", 5, 13);
    found_at("staff EMP-123456", "STAFF_NUMBER", 6, 16);
    not_found("bluebirds sing", "PROJECT_NAME");
    not_found("Projekt Reihe", "PROJECT_NAME");
    not_found("ein Projekt, der Reiher", "PROJECT_NAME");
    not_found("EMP-12345", "STAFF_NUMBER");
}

/* Words are looked for only where one may begin: that is behind whatever is no letter, and nowhere else. */
static void words_wherever_they_may_begin(void **state)
{
    (void)state;
    found_at("(Bluebird)", "PROJECT_NAME", 1, 9);
    found_at("x\\nBluebird", "PROJECT_NAME", 3, 11);
    found_at("x\\\\tBluebird\\n", "PROJECT_NAME", 4, 12);
    found_at("\\nGärtner", "PROJECT_NAME", 2, 9);
    found_at("„Bluebird“", "PROJECT_NAME", 1, 9);
    found_at("é Bluebird", "PROJECT_NAME", 2, 10);
    found_at("项Bluebird", "PROJECT_NAME", 1, 9);
    found_at("Projekt Projekt Reiher", "PROJECT_NAME", 8, 22);
    found_at("Projekt „Reiher“", "PROJECT_NAME", 0, 15);
    found_at("Ein blauer Projekt Kranich", "PROJECT_NAME", 19, 26);
    not_found("Übluebird", "PROJECT_NAME");
    not_found("xébluebird", "PROJECT_NAME");
    not_found("Bluebirdé", "PROJECT_NAME");
}

static void words_written_differently(void **state)
{
    (void)state;
    static const char *const texts[] = {"B\xE2\x80\x8Bluebird", "\\u0042luebird", "%42luebird",
        "say: Qmx1ZWJpcmQgaXMgdGhlIHByb2plY3QgbmFtZQ==",
        "\xEF\xBC\xA2\xEF\xBD\x8C\xEF\xBD\x95\xEF\xBD\x85\x62ird", "{\"a\": \"x\\nBluebird\"}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct router_findings f = look(texts[i]);
        if (!find(&f, "PROJECT_NAME"))
            fail_msg("not found in %s", texts[i]);
    }
}

static void words_in_pieces_left(void **state)
{
    (void)state;
    static const char *const texts[] = {"B.l.u.e.b.i.r.d", "a B-l-u-e-b-i-r-d", "the Blue-\nbird",
        "> the Blue-\n> bird", "x = \"Blue\" + \"bird\"", "x = 'Blue' + 'bird'",
        "{\"a\":\"Blue\",\"b\":\"bird\"}", "{\\\"a\\\": \\\"Blue\\\", \\\"b\\\": \\\"bird\\\"}",
        "{\"a\":{\"x\":\"Blue\"},\"b\":{\"y\":\"bird\"}}", "[\"Blue\",\n \"bird\"]", "Blue<b>bird</b>",
        "Blue<!-- -->bird", "class BluebirdPlan", "theBluebird", "ProjektReiher",
        "<b>Projekt</b> <i>Reiher</i>", "{\"name\":\"Projekt\",\"more\":\"Reiher\"}",
        "\"Projekt\" + \"Reiher\"", "rollKranich", "[Projekt](x.md) Reiher", "[Blue](x)bird"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!find(&(struct router_findings[]){look(texts[i])}[0], "PROJECT_NAME"))
            fail_msg("not found in %s", texts[i]);
    found_at("im \"Projekt\", \"Reiher\"", "PROJECT_NAME", 4, 21);
    found_at("eine KlasseProjektReiherPlan", "PROJECT_NAME", 11, 24);
    found_at("EMP\xE2\x80\x93"
             "123456",
        "STAFF_NUMBER", 0, 10);
    found_at("EMP-\n123456", "STAFF_NUMBER", 0, 11);
    found_at("{\"kind\": \"EMP-\", \"number\": 123456}", "STAFF_NUMBER", 0, 34);
    not_found("blue bird", "PROJECT_NAME");
    not_found("{\"a\":\"Blue\",\"b\":\"birds\"}", "PROJECT_NAME");
    not_found("1.2.3.4.5.6.7 and EMP-12345\n67", "PROJECT_NAME");
}

static void words_with_blanks_between_all_letters(void **state)
{
    (void)state;
    static const char *const texts[] = {"P r o j e k t R e i h e r", "P r o j e k t   R e i h e r",
        "say B l u e b i r d now", "the r o l l K r a n i c h, please", "B  l  u  e  b  i  r  d"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!find(&(struct router_findings[]){look(texts[i])}[0], "PROJECT_NAME"))
            fail_msg("not found in %s", texts[i]);
    not_found("plan B l u e and bird", "PROJECT_NAME");
}

static void an_apostrophe_of_its_own_hides_no_place(void **state)
{
    (void)state;
    found_at("ask D'Ar\xE2\x80\x8B"
             "cy today",
        "PROJECT_NAME", 4, 11);
    found_at("{\"x\": \"D'Ar\", \"y\": \"cy\"}", "PROJECT_NAME", 0, 24);
}

/* A piece of the folded text ends anywhere. */
static void words_at_every_place_of_a_long_text(void **state)
{
    (void)state;
    for (size_t at = 1900; at < 2400; at++) {
        char text[3000];
        memset(text, 'x', sizeof text - 1);
        text[sizeof text - 1] = '\0';
        memcpy(text + at, " Projekt Reiher Kranichauge ", 28);
        struct router_findings f = look(text);
        assert_int_equal(f.n_entities, 2);
        assert_int_equal(f.entities[0].start, at + 1);
        assert_int_equal(f.entities[0].end, at + 15);
        assert_int_equal(f.entities[1].end, at + 27);
    }
}

static void labels_where_they_stand_alone(void **state)
{
    (void)state;
    static const char *const marked[] = {"Amber\n\nDear all,", "Hello\n\n  -- Amber --\n",
        "Acme | Amber | page 3", "Classification: Amber\nBody", "[Amber] minutes", "minutes (Amber)",
        "**Amber**", "Acme - Amber", "this is AMBER text", "Amber: for the board"};
    static const char *const plain[] = {
        "the light is amber here", "Amber told me", "dear Amber, thanks", "he likes amber"};
    for (size_t i = 0; i < sizeof marked / sizeof *marked; i++) {
        struct router_findings f = look(marked[i]);
        if (!find(&f, "OWN_LABEL"))
            fail_msg("no label in: %s", marked[i]);
    }
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        not_found(plain[i], "OWN_LABEL");
}

static struct str given_header(void *ctx, const char *name, int index)
{
    return index == 0 && strcmp(name, "x-classification") == 0 ? str_from(ctx) : STR_NONE;
}

static struct route_decision decide(
    const char *model, const char *text, const char *header, const char *key, const char *team)
{
    struct router_context c = context_of();
    struct route_decision d;
    c.header = given_header;
    c.header_ctx = (void *)(uintptr_t)header;
    c.key = str_from(key);
    c.team = str_from(team);
    if (router_decide(policy, request_of(arena, model, text), &c, &d, &err))
        fail_msg("%s", err.message);
    return d;
}

static void headers_keys_and_teams(void **state)
{
    (void)state;
    struct route_decision d = decide("gpt", "hello", "Internal, SECRET", NULL, NULL);
    assert_true(str_is(d.rule, "named-sensitive"));
    assert_int_equal(d.findings.categories, ROUTER_LEGAL);
    assert_true(str_is(d.findings.entities[0].where, "header x-classification"));
    static const char *const marked[] = {"secret; level=3", "a, \"Secret\" ; x", "secret;"};
    for (size_t i = 0; i < sizeof marked / sizeof *marked; i++) { /* these left */
        d = decide("gpt", "hello", marked[i], NULL, NULL);
        assert_true(str_is(d.rule, "named-sensitive"));
    }
    d = decide("gpt", "hello", "public; secret", NULL, NULL);
    assert_true(str_is(d.rule, "named"));
    d = decide("gpt", "hello", "public", NULL, NULL);
    assert_true(str_is(d.rule, "named"));
    d = decide("gpt", "hello", NULL, "hr-app", NULL);
    assert_int_equal(d.findings.categories, ROUTER_PHI);
    assert_int_equal(d.boundary, EGRESS_BOUNDARY_LOCAL);
    d = decide("gpt", "hello", NULL, "hr", NULL);
    assert_false(d.findings.sensitive);
    struct router_context c = {.header = given_header, .header_ctx = (void *)(uintptr_t) "secret"};
    assert_true(router_policy_marked(policy, &c));
    c.header_ctx = (void *)(uintptr_t) "public";
    assert_false(router_policy_marked(policy, &c));
}

static void what_the_owner_keeps_never_leaves(void **state)
{
    (void)state;
    struct route_decision d = decide("auto", "about Falke", NULL, NULL, NULL);
    assert_true(str_is(d.rule, "otherwise"));
    assert_int_equal(d.boundary, EGRESS_BOUNDARY_LOCAL);
    assert_int_equal(d.permit->boundary, EGRESS_BOUNDARY_LOCAL);
    assert_non_null(strstr(d.reason.data, "the owner keeps KEPT_NAME inside"));
    d = decide("auto", "hello", NULL, NULL, "board");
    assert_int_equal(d.boundary, EGRESS_BOUNDARY_LOCAL);
    d = decide("auto", "hello", NULL, NULL, NULL);
    assert_int_equal(d.boundary, EGRESS_BOUNDARY_ANY);
    struct router_policy *allowing;
    if (compile(all, ROUTER_SENSITIVE_ALLOW, &allowing))
        fail_msg("%s", err.message);
    struct router_context c = context_of();
    assert_int_equal(router_decide(allowing, request_of(arena, "gpt", "Falke"), &c, &d, &err), 0);
    assert_int_equal(d.boundary, EGRESS_BOUNDARY_LOCAL);
    assert_int_equal(router_decide(allowing, request_of(arena, "gpt", "Bluebird"), &c, &d, &err), 0);
    assert_int_equal(d.boundary, EGRESS_BOUNDARY_ANY);
    router_policy_free(allowing);
}

static void own_words_leave_masked(void **state)
{
    (void)state;
    struct route_decision d = decide("auto", "Bluebird, again BLUEBIRD, EMP-123456", NULL, NULL, NULL);
    assert_true(str_is(d.rule, "bird"));
    assert_non_null(d.masked);
    struct str text = d.masked->request->messages[0].parts[0].text;
    assert_int_equal(str_find(text, STR("luebird")), SIZE_MAX);
    assert_int_equal(str_find(text, STR("LUEBIRD")), SIZE_MAX);
    assert_int_equal(str_find(text, STR("EMP-")), SIZE_MAX);
    assert_int_not_equal(str_find(text, STR("PROJECT_NAME_")), SIZE_MAX);
    struct str back;
    assert_int_equal(router_mask_restore(d.masked->mask, text, &back, &err), 0);
    assert_true(str_is(back, "Bluebird, again BLUEBIRD, EMP-123456"));
    d = decide("auto", "Bluebird\n[Amber]", NULL, NULL, NULL); /* a label says something of all of it */
    assert_null(d.masked);
    assert_int_equal(d.boundary, EGRESS_BOUNDARY_LOCAL);
    d = decide("auto", "Bluebird and Falke", NULL, NULL, NULL);
    assert_null(d.masked);
}

/* Something unsure ("123456 \" B.l.u", an address?) took the word's beginning, and was then masked nowhere.
 */
static void the_beginning_of_a_word_left_where_something_else_overlapped_it(void **state)
{
    (void)state;
    static const char *const texts[] = {"EMP\xE2\x80\x93"
                                        "123456 \" B.l.u.e.b.i.r.d camelCaseWord } def f(): EMP\xE2\x80\x93"
                                        "123456",
        "EMP-123456 EMP-123456 B.l.u.e.b.i.r.d the price is 12",
        "12 EMP-\n123456 ProjektReiher B.l.u.e.b.i.r.d ProjektReiher"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct route_decision d = decide("auto", texts[i], NULL, NULL, NULL);
        assert_non_null(d.masked);
        struct str text = d.masked->request->messages[0].parts[0].text, back;
        assert_int_equal(str_find(text, STR("B.l")), SIZE_MAX);
        assert_int_equal(router_mask_restore(d.masked->mask, text, &back, &err), 0);
        assert_true(str_is(back, texts[i]));
    }
}

static void what_is_allowed_is_listed_and_does_not_count(void **state)
{
    (void)state;
    struct router_findings f = look("mail support@northpine.net now");
    assert_int_equal(f.n_entities, 1);
    assert_false(f.sensitive);
    assert_string_equal(f.entities[0].allowed, "our public address");
    assert_true(f.entities[0].score < DETECT_SURE);
    f = look("EMP-000000");
    assert_false(f.sensitive);
    f = look("mail support@northpine.net or kern@northpine.net");
    assert_true(f.sensitive);
    f = look("mail support@northpine.net.evil-host.org"); /* another value that holds it */
    assert_true(f.sensitive);
    f = look("mail Support@northpine.net");
    assert_true(f.sensitive); /* exact */
    f = look("EMP-0000001");
    assert_false(find(&f, "STAFF_NUMBER") && f.entities[0].end == 11);
}

/* The text is looked at a second time where it has an escape. */
static void what_is_allowed_keeps_its_reason_beside_an_escape(void **state)
{
    (void)state;
    struct router_findings f = look("b\\u00fcro: mail support@northpine.net now");
    assert_int_equal(f.n_entities, 1);
    assert_false(f.sensitive);
    assert_non_null(f.entities[0].allowed);
    assert_string_equal(f.entities[0].allowed, "our public address");
    f = look("b\\u00fcro: mail support\\u0040northpine.net now"); /* and what is only found then */
    assert_false(f.sensitive);
    assert_non_null(find(&f, "EMAIL_ADDRESS"));
    assert_string_equal(find(&f, "EMAIL_ADDRESS")->allowed, "our public address");
}

static void what_is_allowed_hides_nothing_else(void **state)
{
    (void)state;
    /* The same digits as another type, the same type elsewhere, another writing, another message. */
    struct router_findings f = look("card 4539 5787 6362 1486");
    assert_null(find(&f, "CREDIT_CARD") && find(&f, "CREDIT_CARD")->score >= DETECT_SURE ? &f : NULL);
    f = look("card 4539 5787 6362 1486 and 4539578763621486");
    assert_true(f.sensitive);
    f = look("mail support@northpine.net, Bluebird");
    assert_int_equal(f.categories, ROUTER_PROPRIETARY);
    struct arena *a = arena_create(16 * MIB);
    struct chat_request *r = request_of(a, "gpt", "mail support@northpine.net and kern@north");
    r->messages[0].n_parts = 2;
    r->messages[0].parts[1] = (struct chat_part){.kind = CHAT_PART_TEXT, .text = STR("pine.net")};
    struct router_context c = context_of();
    struct route_decision d;
    assert_int_equal(router_decide(policy, r, &c, &d, &err), 0);
    assert_true(d.findings.sensitive); /* it shows only where the parts are joined */
    size_t sure = 0;
    for (size_t i = 0; i < d.findings.n_entities; i++)
        sure += d.findings.entities[i].score >= DETECT_SURE;
    assert_true(sure > 0);
    arena_free(a);
}

static void another_policy_another_memory(void **state)
{
    (void)state;
    static const char text[] = "a text that is long enough to be remembered, for it has more than ninety-six "
                               "bytes, about Osprey and more";
    struct router_policy *p = policy_of("owner: {find: [{words: [Osprey]}]}\nroutes: []\n");
    struct router_context c = context_of();
    struct route_decision d;
    for (int round = 0; round < 2; round++) {
        assert_int_equal(router_decide(policy, request_of(arena, "gpt", text), &c, &d, &err), 0);
        assert_false(d.findings.sensitive);
        assert_int_equal(router_decide(p, request_of(arena, "gpt", text), &c, &d, &err), 0);
        assert_true(d.findings.sensitive);
    }
    router_policy_free(p);
    assert_string_equal(d.findings.entities[0].type, "OWN_WORD"); /* outlives its policy */
}

/* A policy that was read later, or tried and refused, gives a type of the same name another boundary. */
static void another_policy_loosens_nothing(void **state)
{
    (void)state;
    static const char kept[] =
        "owner: {find: [{words: [Merlin], type: BIRD, boundary: local}, {labels: [Grouse], type: "
        "MARK}], allow: [{type: BIRD, values: [MERLIN], why: a wizard}]}\nroutes:\n  - {name: auto, rules: "
        "[{use: [gpt, house], redact: true}]}\n";
    static const char loose[] =
        "owner: {find: [{words: [Merlin], type: BIRD}, {words: [Grouse], type: MARK}]}\nroutes: []\n";
    struct router_policy *first = policy_of(kept), *second = policy_of(loose), *third = policy_of(kept),
                         *refused;
    assert_int_not_equal(
        compile("owner: {find: [{words: [Merlin], type: BIRD, category: PII}, {pattern: \"(\"}]}",
            ROUTER_SENSITIVE_LOCAL, &refused),
        0);
    struct router_policy *const policies[] = {first, third};
    for (size_t i = 0; i < 2; i++) {
        struct router_context c = context_of();
        struct route_decision d;
        assert_int_equal(router_decide(policies[i], request_of(arena, "auto", "a Merlin"), &c, &d, &err), 0);
        assert_int_equal(d.boundary, EGRESS_BOUNDARY_LOCAL);
        assert_int_equal(
            router_decide(policies[i], request_of(arena, "auto", "[Grouse] x"), &c, &d, &err), 0);
        assert_int_equal(d.boundary, EGRESS_BOUNDARY_LOCAL);
        assert_null(d.masked);
        assert_int_equal(
            router_decide(policies[i], request_of(arena, "auto", "the MERLIN"), &c, &d, &err), 0);
        assert_int_equal(d.boundary, EGRESS_BOUNDARY_ANY); /* nor is what is allowed forgotten */
    }
    router_policy_free(first);
    router_policy_free(second);
    router_policy_free(third);
}

static void what_is_written_wrongly_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *says;
    } rows[] = {{"owner: {find: [{words: [x], pattern: y}]}", "has one of words"},
        {"owner: {find: [{}]}", "has one of words"},
        {"owner: {find: [{words: [\"...\"]}]}", "a word or phrase"},
        {"owner: {find: [{words: [\"a*\"]}]}", "three letters"},
        {"owner: {find: [{words: [x], type: person}]}", "in capitals"},
        {"owner: {find: [{words: [x], type: PERSON}]}", "Weir finds itself"},
        {"owner: {find: [{words: [x], category: SPY}]}", "'category' is PII"},
        {"owner: {find: [{words: [x], boundary: any}]}", "'boundary' is local"},
        {"owner: {find: [{pattern: \"(a\"}]}", "the pattern is wrong at its character"},
        {"owner: {find: [{pattern: \"a*\"}]}", "matches nothing at all"},
        {"owner: {find: [{documents: no.fingerprint}]}", "no files can be read"},
        {"owner: {find: [{keys: [a], values: [b]}]}", "goes with 'header'"},
        {"owner: {find: [{words: [x], type: A}, {labels: [y], type: A}]}", "of another kind"},
        {"owner: {find: [{words: [x]}, {words: [y], category: PII}]}", "of another kind"},
        {"owner: {find: [{word: [x]}]}", "did you mean"}, {"owner: {find: {words: [x]}}", "wants a list"},
        {"owner: {allow: [{type: EMAIL_ADDRESS, values: [a@b.de]}]}", "'why' says"},
        {"owner: {allow: [{type: EMAIL, values: [a@b.de], why: x}]}", "'type' is what never to find"},
        {"owner: {allow: [{type: EMAIL_ADDRESS, why: x}]}", "either 'values' or a 'pattern'"},
        {"owner: {allow: [{type: EMAIL_ADDRESS, pattern: \".*\", why: x}]}", "matches nothing at all"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct router_policy *p;
        assert_int_not_equal(compile(rows[i].yaml, ROUTER_SENSITIVE_LOCAL, &p), 0);
        if (!strstr(err.message, rows[i].says) || !strstr(err.message, "weir.yaml:1"))
            fail_msg("%s: %s", rows[i].yaml, err.message);
    }
}

/* Patterns are looked for in windows: at every place of a long text, and among characters of many bytes. */
static void patterns_at_every_place_of_a_long_text(void **state)
{
    (void)state;
    for (size_t at = 400; at < 1700; at++) {
        char text[3000];
        memset(text, 'x', sizeof text - 1);
        text[sizeof text - 1] = '\0';
        for (size_t i = 0; i + 2 < at - 2; i += 2)
            memcpy(text + i, "\xC3\xA4", 2);
        memcpy(text + at - 1, " EMP-123456 EMP-654321.", 23);
        if (!str_utf8_valid(str_from(text)))
            continue;
        struct router_findings f = look(text);
        size_t points = str_utf8_count((struct str){text, at});
        assert_int_equal(f.n_entities, 2);
        assert_int_equal(f.entities[0].start, points);
        assert_int_equal(f.entities[0].end, points + 10);
        assert_int_equal(f.entities[1].start, points + 11);
    }
}

/* It costs time, not an answer: where a pattern gives up the request stays inside. */
static void a_pattern_that_gives_up_keeps_it_inside(void **state)
{
    (void)state;
    struct router_policy *p = policy_of("owner: {find: [{pattern: \"(a+)+[bc]\"}]}\nroutes: []\n");
    char text[4000];
    struct router_context c = context_of();
    struct route_decision d;
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(router_decide(p, request_of(arena, "gpt", text), &c, &d, &err), 0);
    assert_int_equal(d.boundary, EGRESS_BOUNDARY_LOCAL);
    assert_non_null(strstr(d.reason.data, "gave up"));
    router_policy_free(p);
}

/* What the pattern matches with was freed only where the text was read for patterns. */
static void a_word_in_pieces_beside_a_pattern_that_allows_left_memory_behind(void **state)
{
    (void)state;
    struct router_policy *p =
        policy_of("owner: {find: [{words: [Bluebird], type: BIRD}], allow: [{type: BIRD, "
                  "pattern: \"[0-9]+\", why: a number}]}\nroutes: []\n");
    size_t before = 0;
    for (int i = 0; i < 20; i++) {
        struct arena *a = arena_create(64 * MIB);
        struct router_findings f = {0};
        assert_int_equal(router_detect_own(
                             router_policy_own(p), a, STR_NONE, str_from("Blue<b>bird</b> flies."), &f, &err),
            0);
        assert_non_null(find(&f, "BIRD"));
        arena_free(a);
        if (i == 9)
            before = mallinfo2().uordblks;
    }
    assert_true(mallinfo2().uordblks <= before);
    router_policy_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_however_they_are_written),
        cmocka_unit_test(words_wherever_they_may_begin),
        cmocka_unit_test(words_written_differently),
        cmocka_unit_test(words_in_pieces_left),
        cmocka_unit_test(words_with_blanks_between_all_letters),
        cmocka_unit_test(an_apostrophe_of_its_own_hides_no_place),
        cmocka_unit_test(words_at_every_place_of_a_long_text),
        cmocka_unit_test(labels_where_they_stand_alone),
        cmocka_unit_test(headers_keys_and_teams),
        cmocka_unit_test(what_the_owner_keeps_never_leaves),
        cmocka_unit_test(own_words_leave_masked),
        cmocka_unit_test(the_beginning_of_a_word_left_where_something_else_overlapped_it),
        cmocka_unit_test(what_is_allowed_is_listed_and_does_not_count),
        cmocka_unit_test(what_is_allowed_keeps_its_reason_beside_an_escape),
        cmocka_unit_test(what_is_allowed_hides_nothing_else),
        cmocka_unit_test(another_policy_another_memory),
        cmocka_unit_test(another_policy_loosens_nothing),
        cmocka_unit_test(what_is_written_wrongly_is_said),
        cmocka_unit_test(patterns_at_every_place_of_a_long_text),
        cmocka_unit_test(a_pattern_that_gives_up_keeps_it_inside),
        cmocka_unit_test(a_word_in_pieces_beside_a_pattern_that_allows_left_memory_behind),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

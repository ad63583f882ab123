/* What leaves when a request is masked, and what does not leave even so. */
#include "base/rand.h"
#include "unit/router/router_fixture.h"

#include "router/mask.h"

static const char personal[] =
    "Write to Anna Nowak <anna.b@lipowa-poczta.pl> about card 4539 5787 6362 1486. Nowak wants it soon.";

static const json_t *json_of(struct arena *a, const char *text)
{
    json_t *root;
    if (json_read_in(a, str_from(text), &root, &err))
        fail_msg("%s", err.message);
    return root;
}

/* The decision for a model outside; on_sensitive: redact. */
static struct route_decision asked(const struct chat_request *r)
{
    struct router_policy *p;
    struct router_context c = context_of();
    struct route_decision d;
    assert_int_equal(compile("routes: []\n", ROUTER_SENSITIVE_REDACT, &p), 0);
    assert_int_equal(router_decide(p, r, &c, &d, &err), 0);
    router_policy_free(p);
    return d;
}

static struct str leaves(const struct chat_request *r)
{
    struct route_decision d = asked(r);
    if (!d.masked)
        fail_msg("it stays: %s", d.reason.data);
    return d.masked->request->messages[0].parts[0].text;
}

static void stays(const struct chat_request *r, const char *why)
{
    struct route_decision d = asked(r);
    if (d.masked || !strstr(d.reason.data, why))
        fail_msg("it should stay because of '%s': %s", why, d.reason.data);
    assert_int_equal(d.boundary, EGRESS_BOUNDARY_LOCAL);
    assert_int_equal(d.permit->boundary, EGRESS_BOUNDARY_LOCAL);
    assert_true(str_is(d.rule, "named-sensitive"));
    assert_true(str_is(d.targets[0], "house"));
}

static bool holds(struct str text, const char *what)
{
    return str_find(text, str_from(what)) != SIZE_MAX;
}

static void a_masked_request_leaves_with_a_permit_of_its_own(void **state)
{
    (void)state;
    struct arena *a = arena_create(64 * MIB);
    struct chat_request *r = request_of(a, "gpt", personal);
    struct route_decision d = asked(r);
    assert_non_null(d.masked);
    assert_true(str_is(d.rule, "named-redacted") && d.n_targets == 1 && str_is(d.targets[0], "gpt"));
    assert_int_equal(d.boundary, EGRESS_BOUNDARY_ANY);
    assert_int_equal(d.permit->boundary, EGRESS_BOUNDARY_LOCAL); /* as it came it may not leave */
    assert_int_equal(d.masked->permit->boundary, EGRESS_BOUNDARY_ANY);
    assert_string_equal(d.masked->permit->rule, "named-redacted");
    struct str text = d.masked->request->messages[0].parts[0].text;
    static const char *const originals[] = {"Anna", "Nowak", "lipowa", "4539 5787", "6362 1486"};
    for (size_t i = 0; i < sizeof originals / sizeof *originals; i++)
        assert_false(holds(text, originals[i]));
    assert_true(holds(text, "Write to PERSON_") && holds(text, "@example.com> about card 4000 00"));
    assert_true(str_is(r->messages[0].parts[0].text, personal)); /* what came is as it was */
    assert_non_null(strstr(d.reason.data, "PERSON 1, EMAIL_ADDRESS 1, CREDIT_CARD 1"));
    struct buf json;
    struct json_writer w;
    buf_init(&json, MIB);
    json_writer_init(&w, &json);
    route_decision_write(&d, &w);
    assert_non_null(strstr(json.data, "\"redacted\":{\"PERSON\":1,\"EMAIL_ADDRESS\":1,\"CREDIT_CARD\":1}"));
    assert_null(strstr(json.data, "Nowak"));
    buf_free(&json);
    arena_free(a);
}

static void forms_are_kept(void **state)
{
    (void)state;
    static const struct {
        const char *text, *begins, *ends;
        size_t len;
    } cases[] = {{"card 4539578763621486", "card 400000", "", 21},
        {"card 3739-518562-73001.", "card 3782-82", ".", 23},
        {"call +49 170 1234567 now", "call +49 000 000", " now", 24},
        {"phone +1 (212) 867-5309", "phone +1 (555) 010-", "", 23}, {"born 12.03.1985.", "born ", ".", 16},
        {"my SSN is 536-90-4399", "my SSN is 9", "", 21}, {"IBAN GB26BUKB20201588557312", "IBAN GB", "", 27},
        {"from 84.23.11.7 here", "from ", " here", 0},
        {"mac 3c:22:fb:11:9a:01", "mac 00:00:5e:00:53:", "", 21}};
    struct arena *a = arena_create(64 * MIB);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str text = leaves(request_of(a, "gpt", cases[i].text));
        if (!str_starts(text, str_from(cases[i].begins)) || !str_ends(text, str_from(cases[i].ends)) ||
            (cases[i].len && text.len != cases[i].len) || str_is(text, cases[i].text))
            fail_msg("%s became " STR_FMT, cases[i].text, STR_ARG(text));
    }
    arena_free(a);
}

static void pseudonyms_of_cards_and_accounts_have_right_check_digits(void **state)
{
    (void)state;
    struct arena *a = arena_create(64 * MIB);
    for (int i = 0; i < 200; i++) {
        static const char *const originals[] = {
            "4539 5787 6362 1486", "GB33 BUKB 2020 1555 5555 55", "5425233430109903"};
        const struct detect_type *type = detect_type_find(i % 3 == 1 ? STR("IBAN_CODE") : STR("CREDIT_CARD"));
        char out[MASK_PLACEHOLDER];
        size_t n = mask_form(type, str_from(originals[i % 3]), rand_u64(), 0, 0, out);
        unsigned sum = 0, rest = 0, digits = 0;
        for (size_t k = n; k-- > 0;)
            if (detect_is_digit(out[k])) {
                unsigned v = (unsigned)(out[k] - '0') << (digits++ % 2);
                sum += v > 9 ? v - 9 : v;
            }
        char compact[MASK_PLACEHOLDER];
        size_t m = 0;
        for (size_t k = 0; k < n; k++)
            if (detect_is_alnum(out[k]))
                compact[m++] = out[k];
        for (size_t k = 0; k < m; k++) {
            char c = compact[(k + 4) % m];
            rest = detect_is_digit(c) ? (rest * 10 + (unsigned)(c - '0')) % 97
                                      : (rest * 100 + (unsigned)(c - 'A' + 10)) % 97;
        }
        assert_true(i % 3 == 1 ? rest == 1 : sum % 10 == 0);
    }
    arena_free(a);
}

static void a_conversation_keeps_its_pseudonyms(void **state)
{
    (void)state;
    struct arena *a = arena_create(64 * MIB);
    struct chat_request *r = request_of(a, "gpt", personal);
    struct router_masked *first, *second, *other;
    struct router_findings none = {0};
    struct router_redact_options o = {.key = {7}};
    assert_int_equal(router_redact(&o, STR("key-1"), r, &none, &first, &err), 0);
    /* The next turn: the same beginning, and more. */
    struct chat_message *m = arena_alloc(a, 3 * sizeof *m);
    m[0] = r->messages[0];
    m[1] =
        (struct chat_message){.role = CHAT_ASSISTANT, .n_parts = 1, .parts = arena_new(a, struct chat_part)};
    m[1].parts[0].text = STR("I wrote to Anna Nowak.");
    m[2] = (struct chat_message){.role = CHAT_USER, .n_parts = 1, .parts = arena_new(a, struct chat_part)};
    m[2].parts[0].text = STR("Now to Piotr Zawadzki <piotr.z@lipowa-poczta.pl>, and tell ANNA NOWAK.");
    struct chat_request *next = request_of(a, "gpt", personal);
    next->messages = m;
    next->n_messages = 3;
    assert_int_equal(router_redact(&o, STR("key-1"), next, &none, &second, &err), 0);
    struct str before = first->request->messages[0].parts[0].text;
    assert_true(str_eq(before, second->request->messages[0].parts[0].text));
    struct str name = second->mask->surfaces[0].placeholder;
    struct str turn = second->request->messages[1].parts[0].text;
    assert_true(str_starts(turn, STR("I wrote to PERSON_")));
    assert_true(str_find(turn, name) != SIZE_MAX);
    turn = second->request->messages[2].parts[0].text;
    assert_false(holds(turn, "NOWAK") || holds(turn, "Piotr") || holds(turn, "piotr"));
    /* Somebody else's, or about something else: nothing can be told from their pseudonyms. */
    assert_int_equal(router_redact(&o, STR("key-2"), r, &none, &other, &err), 0);
    assert_false(str_eq(before, other->request->messages[0].parts[0].text));
    arena_free(a);
}

static void what_cannot_be_masked_stays(void **state)
{
    (void)state;
    struct arena *a = arena_create(64 * MIB);
    stays(request_of(a, "gpt", "My boss Tom Hanks is gay, mail anna.b@lipowa-poczta.pl"), "cannot be masked");
    stays(request_of(a, "gpt",
              "hello, my mail is anna.b at lipowa-poczta dot pl, please do write to me soon about all this"),
        "whole text");
    struct chat_request *r = request_of(a, "gpt", personal);
    r->messages[0].parts[1] =
        (struct chat_part){.kind = CHAT_PART_IMAGE, .url = STR("https://x.example/a.png")};
    r->messages[0].n_parts = 2;
    stays(r, "an image");
    r = request_of(a, "gpt", personal);
    r->tools = arena_new(a, struct chat_tool);
    r->n_tools = 1;
    r->tools[0].name = STR("look");
    r->tools[0].description = STR("with ghp_aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789");
    stays(r, "a tool's definition holds a secret");
    r->tools[0].name = STR("mail_to_anna.b@lipowa-poczta.pl");
    r->tools[0].description = STR_NONE;
    stays(r, "a tool's name");
    r = request_of(a, "gpt", "the card is 4539 5787");
    r->messages[0].parts[1] = (struct chat_part){.kind = CHAT_PART_TEXT, .text = STR("6362 1486 by the way")};
    r->messages[0].n_parts = 2;
    stays(r, "goes over the end of a part"); /* only both parts together show it */
    r = request_of(a, "gpt", "mail anna.b@lipowa-poczta.pl, born on 12");
    r->messages[0].parts[1] = (struct chat_part){.kind = CHAT_PART_TEXT, .text = STR("03 1985 by the way")};
    r->messages[0].n_parts = 2;
    stays(r, "a date of birth goes over the end of a part");
    r = request_of(a, "gpt", personal);
    r->vendor = json_of(a, "{\"x\":536904399.5,\"card\":\"4539 5787 6362 1486\"}");
    assert_true(leaves(r).len > 0);
    /* A pseudonym must not hide an obfuscated finding of its own type. */
    stays(request_of(a, "gpt",
              "mail anna.b@lipowa-poczta.pl and also jan.k at lipowa-poczta dot pl, both of them please"),
        "is left after masking");
    /* Every byte begins like the address: a text that is made to take long. */
    char *slow = arena_alloc(a, 300001);
    memset(slow, 'a', 300000);
    stays(request_of(a, "gpt", arena_printf(a, "mail %.60s@lipowa-poczta.pl %s", slow, slow).data),
        "it takes too long");
    stays(request_of(a, "gpt", "number 94539578763621486 and card 4539578763621486"), "within another word");
    arena_free(a);
}

/* Full-width digits were left as they are in what had another form; what is spelled out beside a masked one
 * ran into that one's blank and was not found again. */
static void what_is_written_otherwise_is_masked_or_stays(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    static const char wide[] = "\xEF\xBC\x94\xEF\xBC\x95\xEF\xBC\x93\xEF\xBC\x99"
                               "5787 63621486";
    struct str text = leaves(request_of(a, "gpt",
        arena_printf(a, "IBAN: \"quoted\" %s 4539578763621486, please write a polite reply to it", wide)
            .data));
    assert_false(holds(text, "\xEF\xBC\x94\xEF\xBC\x95"));
    static const char *const spelled[] = {
        "4 5 3 9   5 7 8 7   6 3 6 2   1 4 8 6", "4-5-3-9 5-7-8-7 6-3-6-2 1-4-8-6"};
    for (size_t i = 0; i < sizeof spelled / sizeof *spelled; i++) {
        text = leaves(request_of(a, "gpt",
            arena_printf(a, "please note that it is %s, 4539578763621486 for now", spelled[i]).data));
        /* Eight digits: three may stand in a pseudonym by chance. */
        assert_false(
            holds(text, "5 7 8 7   6 3 6 2") || holds(text, "5-7-8-7 6-3-6-2") || holds(text, "57876362"));
    }
    stays(
        request_of(a, "gpt",
            "please note that it is 34 35 33 39 35 37 38 37 36 33 36 32 31 34 38 36 4539578763621486 for now"),
        "is left after masking");
    arena_free(a);
}

/* A stand-in's name may be somebody's: beside findings it left, and his wife was taken for him. */
static void john_smith_left_beside_his_address(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct str text = leaves(request_of(a, "gpt",
        "Mr John Smith (john.smith@gmail.com) and Mary Smith (m.smith@gmail.com) met. Did John agree?"));
    assert_false(holds(text, "John") || holds(text, "Smith") || holds(text, "Mary"));
    arena_free(a);
}

/* A block of somebody's data was taken for a statement about money, which cannot be masked. */
static void an_account_number_beside_a_telephone_number_stayed(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct str text = leaves(request_of(a, "gpt",
        "Name: Ewa Jansen\nPhone: +48 601 465 644\nIBAN: DE95714532336070357186\nPlease write a polite confirmation."));
    assert_false(holds(text, "7145") || holds(text, "601 465") || holds(text, "Jansen"));
    stays(
        request_of(a, "gpt",
            "I am overdrawn and cannot pay my rent, my IBAN is DE95714532336070357186 and my phone +48 601 465 644"),
        "finances");
    arena_free(a);
}

/* The account is masked, and what is on it is told all the same. */
static void a_sum_on_a_masked_account_left(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    static const char *const texts[] = {"My salary of 85,000 goes to my account DE95714532336070357186 now",
        "current balance of my savings account 10482213: 12,000 pounds",
        "Name: Ewa Jansen\nPhone: +48 601 465 644\nBalance 12,000, IBAN: DE95714532336070357186\nWrite to her.",
        "Ewa Jansen owes 3,400 euros, her account is DE95714532336070357186, phone +48 601 465 644"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        stays(request_of(a, "gpt", texts[i]), "finances");
    arena_free(a);
}

/* As a card's form it would be one of no card. */
static void a_number_told_in_words_is_masked_as_a_whole(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    static const char *const texts[] = {
        "Please charge four five three nine five seven eight seven six three six two one four eight six for it.",
        "Von D E null drei zwei eins vier eins acht acht acht sieben drei eins acht null sieben sieben null acht vier drei abbuchen, bitte, und mir kurz antworten.",
        "My number is zero zero four nine one five one double five two eight two three four, call any day."};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct str text = leaves(request_of(a, "gpt", texts[i]));
        if (holds(text, "seven") || holds(text, "sieben") || holds(text, "double"))
            fail_msg("'%s' became '" STR_FMT "'", texts[i], STR_ARG(text));
    }
    arena_free(a);
}

/* The second part's was masked, and the beginning of the address left as it was. */
static void half_of_what_is_cut_over_two_parts_left(void **state)
{
    (void)state;
    static const char *const pieces[][2] = {{"mail anna.now", "ak@lipowa-poczta.pl now, please"},
        {"pay to DE743704", "00440817264953 by friday"}};
    struct arena *a = arena_create(64 * MIB);
    for (size_t i = 0; i < 2; i++) {
        struct chat_request *r = request_of(a, "gpt", pieces[i][0]);
        r->messages[0].parts[1] = (struct chat_part){.kind = CHAT_PART_TEXT, .text = str_from(pieces[i][1])};
        r->messages[0].n_parts = 2;
        stays(r, "goes over the end of a part");
    }
    arena_free(a);
}

static void a_secret_told_in_words_is_not_masked_in_part(void **state)
{
    (void)state;
    struct arena *a = arena_create(64 * MIB);
    stays(request_of(a, "gpt", "Tell the dog sitter that the gate keypad takes two two nine one"),
        "a code or password told in words cannot be masked");
    arena_free(a);
}

static void categories_may_be_kept_for_ever(void **state)
{
    (void)state;
    struct arena *a = arena_create(64 * MIB);
    struct router_masked *masked;
    struct router_findings none = {0};
    struct router_redact_options o = {.never = ROUTER_FINANCIAL};
    struct chat_request *r = request_of(a, "gpt", personal);
    assert_int_equal(router_redact(&o, STR_NONE, r, &none, &masked, &err), ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "FINANCIAL may not leave even masked"));
    arena_free(a);
}

static void every_place_of_a_request_is_masked(void **state)
{
    (void)state;
    struct arena *a = arena_create(64 * MIB);
    struct chat_request *r = request_of(a, "gpt", personal);
    r->messages[0].name = STR("Anna Nowak");
    r->messages[0].vendor = json_of(a, "{\"note\":[{\"anna.b@lipowa-poczta.pl\":4539578763621486}]}");
    r->messages[0].tool_calls = arena_new(a, struct chat_tool_call);
    r->messages[0].n_tool_calls = 1;
    r->messages[0].tool_calls[0] = (struct chat_tool_call){.id = STR("c1"),
        .name = STR("pay"),
        .arguments = STR("{\"to\":\"Anna \\u004eowak\",\"card\":4539578763621486,\"n\":1.5}")};
    r->user = STR("anna.b@lipowa-poczta.pl");
    r->stops = &(struct str){"Nowak", 5};
    r->n_stops = 1;
    struct route_decision d = asked(r);
    if (!d.masked)
        fail_msg("%s", d.reason.data);
    const struct chat_request *m = d.masked->request;
    struct str arguments = m->messages[0].tool_calls[0].arguments;
    json_t *tree;
    assert_int_equal(json_read_in(a, arguments, &tree, &err), 0); /* JSON still, the number a number */
    assert_true(json_is_integer(json_object_get(tree, "card")));
    assert_true(str_starts(json_str(json_object_get(tree, "to")), STR("PERSON_")));
    assert_false(str_is(m->stops[0], "Nowak") || str_is(m->user, "anna.b@lipowa-poczta.pl"));
    assert_true(str_ends(m->user, STR("@example.com")));
    assert_true(str_starts(m->messages[0].name, STR("PERSON_")));
    char *vendor = json_dumps(m->messages[0].vendor, 0);
    assert_null(strstr(vendor, "lipowa"));
    assert_null(strstr(vendor, "4539 5787"));
    assert_null(strstr(vendor, "45395787"));
    free(vendor);
    arena_free(a);
}

static void a_text_that_holds_pseudonyms_gets_others(void **state)
{
    (void)state;
    struct arena *a = arena_create(64 * MIB);
    char text[512];
    /* Of 90 numbers: some of these texts hold the one that they would get. */
    for (int i = 10; i < 100; i++) {
        struct str number = arena_printf(a, "PERSON_%d", i);
        snprintf(text, sizeof text, "%s And " STR_FMT ".", personal, STR_ARG(number));
        struct str masked = leaves(request_of(a, "gpt", text));
        struct str mine = str_slice(masked, str_find(masked, STR("PERSON_")), str_find(masked, STR(" <")));
        assert_false(str_eq(mine, number));
    }
    arena_free(a);
}

static void a_rule_may_mask(void **state)
{
    (void)state;
    struct arena *a = arena_create(64 * MIB);
    struct router_context c = context_of();
    struct route_decision d;
    struct router_policy *p = policy_of("routes:\n  - name: auto\n    rules:\n"
                                        "      - {name: out, use: [gpt, house], redact: true}\n");
    assert_int_equal(router_decide(p, request_of(a, "auto", personal), &c, &d, &err), 0);
    assert_true(d.masked && d.n_targets == 2 && d.boundary == EGRESS_BOUNDARY_ANY);
    assert_non_null(strstr(d.reason.data, "rule out masks what leaves (PERSON 1, "));
    assert_int_equal(router_decide(p, request_of(a, "auto", "hello"), &c, &d, &err), 0);
    assert_true(!d.masked && d.permit->boundary == EGRESS_BOUNDARY_ANY && d.facts_sensitive);
    assert_int_equal(router_decide(p, request_of(a, "auto", "my sister has cancer"), &c, &d, &err), 0);
    assert_true(!d.masked && d.n_targets == 1 && d.permit->boundary == EGRESS_BOUNDARY_LOCAL);
    assert_non_null(strstr(d.reason.data, "it cannot be masked (someone's health cannot be masked)"));
    c.boundary_local = true; /* the client tightens */
    assert_int_equal(router_decide(p, request_of(a, "auto", personal), &c, &d, &err), 0);
    assert_true(!d.masked && d.permit->boundary == EGRESS_BOUNDARY_LOCAL);
    router_policy_free(p);
    assert_int_not_equal(compile("routes:\n  - name: auto\n    rules:\n"
                                 "      - {use: [house], boundary: local, redact: true}\n",
                             ROUTER_SENSITIVE_LOCAL, &p),
        0);
    assert_non_null(strstr(err.message, "leave one of them out"));
    arena_free(a);
}

static void vectors_are_not_made_of_masked_text(void **state)
{
    (void)state;
    struct arena *a = arena_create(64 * MIB);
    struct router_masked *masked;
    struct router_findings none = {0};
    struct router_redact_options o = {0};
    struct chat_request *r = chat_request_create(a);
    r->kind = CHAT_KIND_EMBED;
    r->inputs = arena_new(a, struct chat_input);
    r->n_inputs = 1;
    r->inputs[0].text = str_from(personal);
    assert_int_equal(router_redact(&o, STR_NONE, r, &none, &masked, &err), ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "a vector"));
    r->kind = CHAT_KIND_RERANK;
    r->query = STR("Anna Nowak");
    assert_int_equal(router_redact(&o, STR_NONE, r, &none, &masked, &err), 0);
    assert_true(str_starts(masked->request->query, STR("PERSON_")));
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_masked_request_leaves_with_a_permit_of_its_own),
        cmocka_unit_test(forms_are_kept),
        cmocka_unit_test(pseudonyms_of_cards_and_accounts_have_right_check_digits),
        cmocka_unit_test(a_conversation_keeps_its_pseudonyms),
        cmocka_unit_test(what_cannot_be_masked_stays),
        cmocka_unit_test(what_is_written_otherwise_is_masked_or_stays),
        cmocka_unit_test(john_smith_left_beside_his_address),
        cmocka_unit_test(an_account_number_beside_a_telephone_number_stayed),
        cmocka_unit_test(a_sum_on_a_masked_account_left),
        cmocka_unit_test(a_number_told_in_words_is_masked_as_a_whole),
        cmocka_unit_test(half_of_what_is_cut_over_two_parts_left),
        cmocka_unit_test(a_secret_told_in_words_is_not_masked_in_part),
        cmocka_unit_test(categories_may_be_kept_for_ever),
        cmocka_unit_test(every_place_of_a_request_is_masked),
        cmocka_unit_test(a_text_that_holds_pseudonyms_gets_others),
        cmocka_unit_test(a_rule_may_mask),
        cmocka_unit_test(vectors_are_not_made_of_masked_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

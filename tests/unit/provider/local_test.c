/* What the embedded engine takes and what it refuses by name. */
#include "provider/provider.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "provider/local_again.h"

static struct arena *arena;
static struct provider *provider;

static struct chat_request *request_make(enum chat_part_kind kind)
{
    struct chat_request *r = chat_request_create(arena);
    r->messages = arena_new(arena, struct chat_message);
    r->n_messages = 1;
    r->messages[0].role = CHAT_USER;
    r->messages[0].parts = arena_new(arena, struct chat_part);
    r->messages[0].n_parts = 1;
    r->messages[0].parts[0].kind = kind;
    r->messages[0].parts[0].text = STR("hi");
    return r;
}

/* Empty `names`: it is taken; else it is refused and the message names it. */
static void check(const struct chat_request *r, const char *names)
{
    const struct provider_model m = {.provider = provider};
    struct error err = {0};
    int rc = provider_supports(&m, r, &err);
    if (!*names)
        assert_int_equal(rc, 0);
    else if (rc != ERROR_UNSUPPORTED || !strstr(err.message, names))
        fail_msg("code %d, not UNSUPPORTED with '%s': %s", rc, names, err.message);
}

/* A bare json_object was left out in silence beside a grammar. */
static void test_a_grammar_beside_json_is_refused(void **state)
{
    (void)state;
    const struct provider_model m = {.provider = provider};
    struct chat_request *r = request_make(CHAT_PART_TEXT);
    struct error err = {0};
    json_t *vendor;
    assert_int_equal(
        json_read_in(arena,
            STR("{\"grammar\":\"root ::= [a-z]\",\"response_format\":{\"type\":\"json_object\"}}"), &vendor,
            &err),
        0);
    r->vendor = vendor;
    assert_int_equal(provider_supports(&m, r, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "send one of them"));
}

static void test_vendor_members(void **state)
{
    (void)state;
    static const struct {
        const char *json, *refused;
    } cases[] = {
        {"{\"user\":\"u\",\"metadata\":{\"a\":\"b\"},\"store\":true,\"service_tier\":\"auto\"}", ""},
        {"{\"n\":1,\"logprobs\":false,\"top_logprobs\":0,\"logit_bias\":{},\"best_of\":1,\"echo\":false}",
            ""},
        {"{\"response_format\":{\"type\":\"text\"},\"modalities\":[\"text\"],\"suffix\":\"\"}", ""},
        {"{\"logprobs\":null,\"brand_new_member\":null}", ""},
        {"{\"n\":2}", "'n'"},
        {"{\"n\":\"1\"}", "'n'"},
        {"{\"logprobs\":true}", "'logprobs'"},
        {"{\"top_logprobs\":3}", "'top_logprobs'"},
        {"{\"logit_bias\":{\"50\":-100}}", "'logit_bias'"},
        {"{\"response_format\":{\"type\":\"json_object\"}}", ""},
        {"{\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\",\"schema\":{}}}}",
            ""},
        {"{\"response_format\":{\"type\":\"xml\"}}", "'response_format'"},
        {"{\"grammar\":\"root ::= [a-z]\"}", ""},
        {"{\"grammar\":\"root ::= [a-z]\",\"response_format\":{\"type\":\"text\"}}", ""},
        {"{\"response_format\":{\"type\":\"text\",\"strict\":true}}", "'response_format'"},
        {"{\"modalities\":[\"text\",\"audio\"]}", "'modalities'"},
        {"{\"functions\":[{\"name\":\"f\"}]}", "'functions'"},
        {"{\"suffix\":\"end\"}", "'suffix'"},
        {"{\"reasoning_effort\":\"high\",\"chat_template_kwargs\":{\"enable_thinking\":true}}", ""},
        {"{\"user\":\"u\",\"brand_new_member\":1}", "'brand_new_member'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chat_request *r = request_make(CHAT_PART_TEXT);
        json_t *vendor;
        struct error err;
        assert_int_equal(json_read_in(arena, str_from(cases[i].json), &vendor, &err), 0);
        r->vendor = vendor;
        check(r, cases[i].refused);
    }
}

static void test_parts_and_tools(void **state)
{
    (void)state;
    check(request_make(CHAT_PART_TEXT), "");
    check(request_make(CHAT_PART_IMAGE), "images");
    check(request_make(CHAT_PART_AUDIO), "audio");
    check(request_make(CHAT_PART_OTHER), "messages[0]");
    struct chat_request *r = request_make(CHAT_PART_TEXT);
    struct chat_tool tool = {.name = STR("f")};
    r->tools = &tool;
    r->n_tools = 1;
    r->tool_choice = CHAT_TOOLS_AUTO;
    check(r, "");
    r->tool_choice = CHAT_TOOLS_NONE;
    check(r, "");
    r->tool_choice = CHAT_TOOLS_REQUIRED;
    check(r, "");
    r->tool_choice = CHAT_TOOLS_NAMED;
    check(r, "");
    json_t *format;
    assert_int_equal(
        json_read_in(arena, STR("{\"response_format\":{\"type\":\"json_object\"}}"), &format, NULL), 0);
    r->vendor = format;
    check(r, "");
    assert_int_equal(json_read_in(arena, STR("{\"grammar\":\"root ::= [a]\"}"), &format, NULL), 0);
    r->vendor = format;
    check(r, "'grammar'");
    json_t *vendor;
    struct error err;
    r = request_make(CHAT_PART_TEXT);
    assert_int_equal(json_read_in(arena, STR("{\"function_call\":{\"name\":\"f\"}}"), &vendor, &err), 0);
    r->messages[0].vendor = vendor;
    check(r, "'function_call'");
}

/* "..." at the end: it was cut there. */
static void said(struct local_again_text *t, const char *text)
{
    struct str s = str_from(text);
    t->whole = !str_ends(s, STR("..."));
    buf_init(&t->said, KIB);
    buf_append_str(&t->said, t->whole ? s : str_slice(s, 0, s.len - 3));
}

static void test_how_far_two_answers_agree(void **state)
{
    (void)state;
    static const struct {
        const char *x, *y;
        double agreement;
    } cases[] = {{"Paris", "paris.", 1}, {"Paris", "Rome", 0}, {"", "", 1}, {"+", "+ ", 1}, {"+", "-", 0},
        {"yes", "", 0}, {"It is Paris.", "Paris", 0.5}, {"a a b", "a b b", 2.0 / 3},
        /* What was cut is compared as far as both go, without its last piece of a word. */
        {"The answer is 42 becau...", "The answer is 42", 1},
        {"The answer is 42 becau...", "The answer is 41", 0.75},
        {"The answer is fort...", "The answer is forty-two, because...", 1}, {"Par...", "Paris", 0},
        {"{\"city\":\"Bonn\"}", "{\"city\": \"Bonn\"}", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct local_again_text x, y;
        said(&x, cases[i].x);
        said(&y, cases[i].y);
        const double a = local_again_agreement(&x, &y), b = local_again_agreement(&y, &x);
        if (a < cases[i].agreement - 1e-9 || a > cases[i].agreement + 1e-9 || a < b - 1e-9 || a > b + 1e-9)
            fail_msg("'%s' and '%s': %g and %g", cases[i].x, cases[i].y, a, b);
        buf_free(&x.said);
        buf_free(&y.said);
    }
}

static int set_up(void **state)
{
    struct error err;
    (void)state;
    arena = arena_create(MIB);
    return provider_create(
        &(struct provider_options){.name = STR("local"), .kind = STR("local")}, &provider, &err);
}

static int tear_down(void **state)
{
    (void)state;
    provider_free(provider);
    arena_free(arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_grammar_beside_json_is_refused),
        cmocka_unit_test(test_vendor_members),
        cmocka_unit_test(test_parts_and_tools),
        cmocka_unit_test(test_how_far_two_answers_agree),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

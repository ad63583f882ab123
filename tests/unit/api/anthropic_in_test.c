#include "api/anthropic_in.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"

#define HEAD "{\"model\":\"m\",\"max_tokens\":9,"
#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static struct chat_request *read_body(struct arena *a, const char *body)
{
    struct chat_request *r;
    struct error err;
    if (api_anthropic_read(a, str_from(body), &r, &err))
        fail_msg("%s", err.message);
    return r;
}

static void expect_text(struct str got, const char *want)
{
    if (!str_is(got, want))
        fail_msg("got '" STR_FMT "', want '%s'", STR_ARG(got), want);
}

static void settings_and_tools(void **state)
{
    struct arena *a = arena_create(MIB);
    (void)state;
    struct chat_request *r = read_body(a,
        HEAD HI ",\"system\":[{\"type\":\"text\",\"text\":\"be "
                "brief\"}],\"stream\":true,\"temperature\":0.5,\"top_p\":0.25,"
                "\"top_k\":40,\"stop_sequences\":[\"END\"],\"metadata\":{\"user_id\":\"u1\"},"
                "\"tools\":[{\"name\":\"f\",\"description\":\"d\",\"input_schema\":{\"type\":\"object\"}}],"
                "\"tool_choice\":{\"type\":\"tool\",\"name\":\"f\",\"disable_parallel_tool_use\":true}}");
    assert_int_equal(r->shape, CHAT_SHAPE_ANTHROPIC);
    assert_int_equal(r->n_messages, 2);
    assert_int_equal(r->messages[0].role, CHAT_SYSTEM);
    expect_text(r->messages[0].parts[0].text, "be brief");
    expect_text(r->messages[1].parts[0].text, "hi");
    assert_true(r->stream);
    assert_int_equal(r->max_tokens, 9);
    assert_int_equal(r->sampling.top_k, 40);
    assert_float_equal(r->sampling.temperature, 0.5, 0);
    assert_float_equal(r->sampling.top_p, 0.25, 0);
    expect_text(r->stops[0], "END");
    expect_text(r->user, "u1");
    expect_text(r->tools[0].name, "f");
    assert_false(r->tools[0].builtin);
    assert_int_equal(r->tool_choice, CHAT_TOOLS_NAMED);
    expect_text(r->tool_choice_name, "f");
    assert_int_equal(r->parallel_tool_calls, 0);
    assert_int_equal(r->only_native.len, 0);
    assert_null(json_object_get(r->native, "messages"));
    assert_null(json_object_get(r->native, "system"));
    assert_non_null(json_object_get(r->native, "tool_choice"));
    arena_free(a);
}

static void results_of_tools_cut_a_turn_in_messages(void **state)
{
    struct arena *a = arena_create(MIB);
    (void)state;
    struct chat_request *r = read_body(a, HEAD
        "\"messages\":[{\"role\":\"user\",\"content\":["
        "{\"type\":\"tool_result\",\"tool_use_id\":\"t1\",\"content\":\"sunny\"},"
        "{\"type\":\"tool_result\",\"tool_use_id\":\"t2\",\"is_error\":true,\"content\":[{\"type\":\"text\","
        "\"text\":\"no\"}]},"
        "{\"type\":\"text\",\"text\":\"so?\"},{\"type\":\"text\",\"text\":\"well?\"}]}]}");
    assert_int_equal(r->n_messages, 3);
    assert_int_equal(r->messages[0].role, CHAT_TOOL);
    expect_text(r->messages[0].tool_call_id, "t1");
    expect_text(r->messages[0].parts[0].text, "sunny");
    assert_true(r->messages[1].failed);
    expect_text(r->messages[1].parts[0].text, "The tool failed:");
    expect_text(r->messages[1].parts[1].text, "no");
    assert_int_equal(r->messages[2].role, CHAT_USER);
    assert_int_equal(r->messages[2].n_parts, 2);
    arena_free(a);
}

static void an_assistants_pieces_keep_their_order(void **state)
{
    struct arena *a = arena_create(MIB);
    (void)state;
    struct chat_request *r = read_body(a,
        HEAD "\"messages\":[{\"role\":\"assistant\",\"content\":["
             "{\"type\":\"thinking\",\"thinking\":\"hm "
             "\",\"signature\":\"s1\"},{\"type\":\"text\",\"text\":\"a\"},"
             "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"f\",\"input\":{\"b\":1,\"a\":[1.5]}},"
             "{\"type\":\"redacted_thinking\",\"data\":\"xyz\"},"
             "{\"type\":\"thinking\",\"thinking\":\"so\",\"signature\":\"s2\"},"
             "{\"type\":\"tool_use\",\"id\":\"t2\",\"name\":\"g\",\"input\":{}}]}]}");
    const struct chat_message *m = &r->messages[0];
    expect_text(m->order, "rpcrrc");
    expect_text(m->reasoning, "hm so");
    expect_text(m->thoughts[0].signature, "s1");
    expect_text(m->thoughts[1].data, "xyz");
    expect_text(m->tool_calls[0].arguments, "{\"b\":1,\"a\":[1.5]}");
    assert_int_equal(m->n_tool_calls, 2);
    arena_free(a);
}

static void what_is_sent_along(void **state)
{
    struct arena *a = arena_create(MIB);
    (void)state;
    struct chat_request *r = read_body(a, HEAD
        "\"messages\":[{\"role\":\"user\",\"content\":["
        "{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/"
        "png\",\"data\":\"AAAA\"}},"
        "{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"https://x/y.png\"}},"
        "{\"type\":\"document\",\"title\":\"T\",\"source\":{\"type\":\"text\",\"media_type\":\"text/plain\","
        "\"data\":\"words\"}},"
        "{\"type\":\"document\",\"source\":{\"type\":\"base64\",\"media_type\":\"application/"
        "pdf\",\"data\":\"JVBE\"}},"
        "{\"type\":\"image\",\"source\":{\"type\":\"file\",\"file_id\":\"f1\"}},"
        "{\"type\":\"search_result\",\"source\":\"s\"}]}]}");
    const struct chat_part *p = r->messages[0].parts;
    expect_text(p[0].url, "data:image/png;base64,AAAA");
    expect_text(p[1].url, "https://x/y.png");
    assert_int_equal(p[2].kind, CHAT_PART_TEXT);
    expect_text(p[2].text, "T\n\nwords");
    assert_int_equal(p[3].kind, CHAT_PART_FILE);
    expect_text(p[3].url, "data:application/pdf;base64,JVBE");
    assert_int_equal(p[4].kind, CHAT_PART_OTHER);
    assert_int_equal(p[5].kind, CHAT_PART_OTHER);
    arena_free(a);
}

static void reasoning_and_format_in_openais_words(void **state)
{
    static const char *const cases[][2] = {
        {"\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024}", "low"},
        {"\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":5000}", "medium"},
        {"\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":32000}", "high"},
        {"\"thinking\":{\"type\":\"disabled\"}", "none"},
        {"\"thinking\":{\"type\":\"adaptive\",\"display\":\"omitted\"}", "medium"},
        {"\"thinking\":{\"type\":\"adaptive\"},\"output_config\":{\"effort\":\"low\"}", "low"},
        {"\"output_config\":{\"effort\":\"max\"}", "high"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[512];
        struct arena *a = arena_create(MIB);
        snprintf(body, sizeof body, HEAD HI ",%s}", cases[i][0]);
        struct chat_request *r = read_body(a, body);
        expect_text(json_str(json_object_get(r->vendor, "reasoning_effort")), cases[i][1]);
        assert_int_equal(r->only_native.len, 0);
        arena_free(a);
    }
    struct arena *a = arena_create(MIB);
    struct chat_request *r = read_body(a, HEAD HI
        ",\"output_config\":{\"format\":{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\"}}}}");
    const json_t *format = json_object_get(r->vendor, "response_format");
    expect_text(json_str(json_object_get(format, "type")), "json_schema");
    assert_non_null(json_object_get(json_object_get(format, "json_schema"), "schema"));
    arena_free(a);
}

static void what_only_this_shape_can_say_is_named(void **state)
{
    static const char *const cases[][2] = {{"\"container\":\"c\"", "container"},
        {"\"mcp_servers\":[{}]", "mcp_servers"}, {"\"metadata\":{\"user_id\":\"u\",\"x\":1}", "metadata"},
        {"\"thinking\":{\"type\":\"adaptive\",\"x\":1}", "thinking"}, {"\"container\":null", ""},
        {"\"service_tier\":\"auto\",\"cache_control\":{\"type\":\"ephemeral\"}", ""}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[512];
        struct arena *a = arena_create(MIB);
        snprintf(body, sizeof body, HEAD HI ",%s}", cases[i][0]);
        expect_text(read_body(a, body)->only_native, cases[i][1]);
        arena_free(a);
    }
    struct arena *a = arena_create(MIB);
    struct chat_request *r =
        read_body(a, HEAD HI ",\"tools\":[{\"type\":\"web_search_20250305\",\"name\":\"web_search\"}]}");
    assert_true(r->tools[0].builtin);
    arena_free(a);
}

static void refusals_name_the_place(void **state)
{
    static const char *const cases[][2] = {{"[]", "object"}, {"{", "line"},
        {"{\"max_tokens\":1," HI "}", "'model'"}, {"{\"model\":\"m\"," HI "}", "'max_tokens'"},
        {"{\"model\":\"m\",\"max_tokens\":0," HI "}", "'max_tokens'"},
        {HEAD "\"messages\":[]}", "'messages'"},
        {HEAD "\"messages\":[{\"role\":\"user\",\"content\":[]}]}", "'messages'"},
        {HEAD "\"messages\":[{\"role\":\"x\",\"content\":\"y\"}]}", "messages[0]: 'role'"},
        {HEAD "\"messages\":[{\"role\":\"user\",\"content\":\"y\",\"name\":\"n\"}]}", "'name'"},
        {HEAD "\"messages\":[{\"role\":\"user\"}]}", "messages[0]: 'content'"},
        {HEAD "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}",
            "messages[0]: content[0]"},
        {HEAD "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\"}]}]}", "tool_use_id"},
        {HEAD "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}]}", "'source'"},
        {HEAD "\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"a\"}]}]}",
            "tool_use"},
        {HEAD HI ",\"temperature\":1.5}", "'temperature'"},
        {HEAD HI ",\"stop_sequences\":[\"\"]}", "'stop_sequences'"},
        {HEAD HI ",\"tools\":[{\"name\":\"f\"}]}", "tools[0]: 'input_schema'"},
        {HEAD HI ",\"tool_choice\":\"auto\"}", "'tool_choice'"},
        {HEAD HI ",\"tool_choice\":{\"type\":\"tool\"}}", "'tool_choice'"},
        {HEAD HI ",\"thinking\":{\"type\":\"enabled\"}}", "budget_tokens"},
        {HEAD HI ",\"thinking\":true}", "'thinking'"},
        {HEAD HI ",\"system\":[{\"type\":\"image\"}]}", "system"},
        {HEAD HI ",\"output_config\":{\"format\":{\"type\":\"xml\"}}}", "format"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena *a = arena_create(MIB);
        struct chat_request *r;
        struct error err;
        if (api_anthropic_read(a, str_from(cases[i][0]), &r, &err) != ERROR_INVALID)
            fail_msg("taken: %s", cases[i][0]);
        if (!strstr(err.message, cases[i][1]))
            fail_msg("'%s' does not name %s", err.message, cases[i][1]);
        arena_free(a);
    }
}

static void counting_needs_no_maximum(void **state)
{
    struct arena *a = arena_create(MIB);
    struct chat_request *r;
    struct error err;
    (void)state;
    assert_int_equal(api_anthropic_count_read(a, STR("{\"model\":\"m\"," HI "}"), &r, &err), 0);
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_and_tools),
        cmocka_unit_test(results_of_tools_cut_a_turn_in_messages),
        cmocka_unit_test(an_assistants_pieces_keep_their_order),
        cmocka_unit_test(what_is_sent_along),
        cmocka_unit_test(reasoning_and_format_in_openais_words),
        cmocka_unit_test(what_only_this_shape_can_say_is_named),
        cmocka_unit_test(refusals_name_the_place),
        cmocka_unit_test(counting_needs_no_maximum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "api/responses_in.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"

#define HEAD "{\"model\":\"m\","

static struct chat_request *read_body(struct arena *a, const char *body)
{
    struct chat_request *r;
    struct error err;
    if (api_responses_read(a, str_from(body), &r, &err))
        fail_msg("%s", err.message);
    return r;
}

static void expect_text(struct str got, const char *want)
{
    if (!str_is(got, want))
        fail_msg("got '" STR_FMT "', want '%s'", STR_ARG(got), want);
}

static void a_text_with_settings(void **state)
{
    struct arena *a = arena_create(MIB);
    (void)state;
    struct chat_request *r = read_body(a, HEAD
        "\"input\":\"hi\",\"instructions\":\"be brief\",\"max_output_tokens\":9,\"temperature\":0.5,"
        "\"top_p\":0.25,\"stream\":true,\"user\":\"u1\",\"parallel_tool_calls\":false,\"store\":false,"
        "\"include\":[\"message.output_text.logprobs\"],\"top_logprobs\":2,\"metadata\":{\"k\":\"v\"},"
        "\"reasoning\":{\"effort\":\"low\",\"summary\":\"auto\"},\"text\":{\"verbosity\":\"low\",\"format\":"
        "{\"type\":\"json_schema\",\"name\":\"n\",\"strict\":true,\"schema\":{\"type\":\"object\"}}},"
        "\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"description\":\"d\",\"strict\":true,"
        "\"parameters\":{\"type\":\"object\"}}],\"tool_choice\":{\"type\":\"function\",\"name\":\"f\"}}");
    assert_int_equal(r->shape, CHAT_SHAPE_OPENAI);
    assert_int_equal(r->n_messages, 2);
    assert_int_equal(r->messages[0].role, CHAT_SYSTEM);
    expect_text(r->messages[0].parts[0].text, "be brief");
    assert_int_equal(r->messages[1].role, CHAT_USER);
    expect_text(r->messages[1].parts[0].text, "hi");
    assert_int_equal(r->max_tokens, 9);
    assert_float_equal(r->sampling.temperature, 0.5, 0);
    assert_float_equal(r->sampling.top_p, 0.25, 0);
    assert_true(r->stream);
    assert_true(r->logprobs);
    assert_int_equal(r->top_logprobs, 2);
    expect_text(r->user, "u1");
    assert_int_equal(r->parallel_tool_calls, 0);
    expect_text(r->tools[0].name, "f");
    expect_text(r->tools[0].description, "d");
    assert_true(json_is_true(json_object_get(json_object_get(r->tools[0].raw, "function"), "strict")));
    assert_int_equal(r->tool_choice, CHAT_TOOLS_NAMED);
    expect_text(r->tool_choice_name, "f");
    expect_text(json_str(json_object_get(r->vendor, "reasoning_effort")), "low");
    expect_text(json_str(json_object_get(r->vendor, "verbosity")), "low");
    const json_t *format = json_object_get(r->vendor, "response_format");
    expect_text(json_str(json_object_get(json_object_get(format, "json_schema"), "name")), "n");
    assert_int_equal(json_object_size(r->vendor), 3);
    arena_free(a);
}

static void items_of_a_turn_are_one_message(void **state)
{
    struct arena *a = arena_create(MIB);
    (void)state;
    struct chat_request *r = read_body(a, HEAD
        "\"input\":[{\"role\":\"user\",\"content\":\"weather?\"},"
        "{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[],\"content\":[{\"type\":\"reasoning_text\","
        "\"text\":\"hm \"}],\"encrypted_content\":\"weir.s.sig\"},"
        "{\"type\":\"message\",\"id\":\"msg_1\",\"status\":\"completed\",\"role\":\"assistant\",\"content\":"
        "[{\"type\":\"output_text\",\"text\":\"let me see\",\"annotations\":[],\"logprobs\":[]}]},"
        "{\"type\":\"function_call\",\"id\":\"fc_1\",\"call_id\":\"c1\",\"name\":\"f\",\"arguments\":\"{}\"},"
        "{\"type\":\"reasoning\",\"summary\":[{\"type\":\"summary_text\",\"text\":\"so\"}],"
        "\"encrypted_content\":\"of another gateway\"},"
        "{\"type\":\"reasoning\",\"summary\":[],\"encrypted_content\":\"weir.d.xyz\"},"
        "{\"type\":\"function_call\",\"call_id\":\"c2\",\"name\":\"g\",\"arguments\":\"{\\\"a\\\":1}\"},"
        "{\"type\":\"function_call_output\",\"call_id\":\"c1\",\"output\":\"sunny\"},"
        "{\"type\":\"function_call_output\",\"call_id\":\"c2\",\"output\":[{\"type\":\"input_text\","
        "\"text\":\"dry\"}]},{\"role\":\"developer\",\"content\":\"short\"}]}");
    assert_int_equal(r->n_messages, 5);
    const struct chat_message *m = &r->messages[1];
    assert_int_equal(m->role, CHAT_ASSISTANT);
    expect_text(m->parts[0].text, "let me see");
    assert_int_equal(m->n_tool_calls, 2);
    expect_text(m->tool_calls[0].id, "c1");
    expect_text(m->tool_calls[1].arguments, "{\"a\":1}");
    expect_text(m->reasoning, "hm so");
    assert_int_equal(m->n_thoughts, 2);
    expect_text(m->thoughts[0].text, "hm ");
    expect_text(m->thoughts[0].signature, "sig");
    expect_text(m->thoughts[1].data, "xyz");
    expect_text(m->order, "rpcrc");
    assert_int_equal(r->messages[2].role, CHAT_TOOL);
    expect_text(r->messages[2].tool_call_id, "c1");
    expect_text(r->messages[2].parts[0].text, "sunny");
    expect_text(r->messages[3].parts[0].text, "dry");
    assert_int_equal(r->messages[4].role, CHAT_DEVELOPER);
    arena_free(a);
}

static void what_is_sent_along(void **state)
{
    struct arena *a = arena_create(MIB);
    (void)state;
    struct chat_request *r = read_body(a, HEAD
        "\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"what?\"},"
        "{\"type\":\"input_image\",\"image_url\":\"data:image/png;base64,AAAA\",\"detail\":\"low\"},"
        "{\"type\":\"input_file\",\"filename\":\"a.pdf\",\"file_data\":\"data:application/pdf;base64,BBBB\"}]"
        "}]}");
    const struct chat_message *m = &r->messages[0];
    assert_int_equal(m->n_parts, 3);
    assert_int_equal(m->parts[1].kind, CHAT_PART_IMAGE);
    expect_text(m->parts[1].url, "data:image/png;base64,AAAA");
    expect_text(m->parts[1].format, "low");
    assert_int_equal(m->parts[2].kind, CHAT_PART_FILE);
    expect_text(m->parts[2].url, "data:application/pdf;base64,BBBB");
    expect_text(m->parts[2].text, "a.pdf");
    arena_free(a);
}

static void what_cannot_be_honoured_is_refused_by_name(void **state)
{
    static const struct {
        const char *body, *names;
    } cases[] = {
        {"[]", "object"},
        {"{\"input\":\"x\"}", "'model'"},
        {HEAD "\"input\":[]}", "'input'"},
        {"{\"model\":\"m\"}", "'input'"},
        {HEAD "\"input\":\"x\",\"background\":true}", "'background'"},
        {HEAD "\"input\":\"x\",\"conversation\":\"c\"}", "'conversation'"},
        {HEAD "\"input\":\"x\",\"prompt\":{\"id\":\"p\"}}", "'prompt'"},
        {HEAD "\"input\":\"x\",\"instructions\":[]}", "'instructions'"},
        {HEAD "\"input\":\"x\",\"metadata\":{\"k\":1}}", "'metadata'"},
        {HEAD "\"input\":\"x\",\"truncation\":\"some\"}", "'truncation'"},
        {HEAD "\"input\":\"x\",\"stream_options\":{\"usage_each\":true}}", "'stream_options.usage_each'"},
        {HEAD "\"input\":\"x\",\"include\":[\"everything\"]}", "include[0]"},
        {HEAD "\"input\":\"x\",\"text\":{\"format\":{\"type\":\"xml\"}}}", "'text.format'"},
        {HEAD "\"input\":\"x\",\"text\":{\"tone\":\"warm\"}}", "'tone'"},
        {HEAD "\"input\":\"x\",\"reasoning\":{\"depth\":1}}", "'depth'"},
        {HEAD "\"input\":\"x\",\"tools\":[{\"type\":\"web_search\"}]}", "'web_search'"},
        {HEAD "\"input\":\"x\",\"tool_choice\":{\"type\":\"file_search\"}}", "'tool_choice'"},
        {HEAD "\"input\":[{\"type\":\"computer_call\"}]}", "'computer_call'"},
        {HEAD "\"input\":[{\"role\":\"tool\",\"content\":\"x\"}]}", "'role'"},
        {HEAD "\"input\":[{\"role\":\"user\",\"content\":\"x\",\"mood\":1}]}", "'mood'"},
        {HEAD "\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_image\",\"file_id\":\"f\"}]}]}",
            "'image_url'"},
        {HEAD "\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_file\",\"file_url\":\"f\"}]}]}",
            "'file_data'"},
        {HEAD "\"input\":[{\"type\":\"function_call\",\"call_id\":\"c\"}]}", "'name'"},
        {HEAD "\"input\":[{\"type\":\"function_call_output\",\"output\":\"x\"}]}", "'call_id'"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena *a = arena_create(MIB);
        struct chat_request *r;
        struct error err = {0};
        int rc = api_responses_read(a, str_from(cases[i].body), &r, &err);
        if (rc == 0 || !strstr(err.message, cases[i].names))
            fail_msg("%s: %d '%s'", cases[i].body, rc, err.message);
        arena_free(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_with_settings),
        cmocka_unit_test(items_of_a_turn_are_one_message),
        cmocka_unit_test(what_is_sent_along),
        cmocka_unit_test(what_cannot_be_honoured_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "api/responses_out.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"

static const struct chat_usage usage = {
    .input_tokens = 20, .cached_tokens = 5, .output_tokens = 4, .reasoning_tokens = 2};

static struct chat_event text(const char *t)
{
    return (struct chat_event){.kind = CHAT_EVENT_TEXT, .text = str_from(t)};
}

static struct chat_event thought(const char *t)
{
    return (struct chat_event){.kind = CHAT_EVENT_REASONING, .text = str_from(t)};
}

static struct chat_event tool(uint32_t index, const char *id, const char *name, const char *arguments)
{
    return (struct chat_event){.kind = CHAT_EVENT_TOOL_CALL,
        .tool_call = {
            .index = index, .id = str_from(id), .name = str_from(name), .arguments = str_from(arguments)}};
}

static struct chat_event stop(enum chat_stop why)
{
    return (struct chat_event){.kind = CHAT_EVENT_STOP, .stop = why};
}

/* An answer to a request that asked `asked`. */
static struct responses_answer answer(const char *asked, json_t **tree)
{
    struct responses_answer a;
    struct error err;
    struct chat_request r = {0};
    if (json_read(str_from(asked), tree, &err))
        fail_msg("%s", err.message);
    r.asked = *tree;
    responses_answer_init(&a, &r, STR("req_0123456789abcdefghijklmn"));
    strcpy(a.id, "resp_1");
    a.model = STR("m");
    return a;
}

static json_t *whole(const char *asked, const struct chat_event *events, size_t n)
{
    struct buf out;
    struct error err;
    json_t *tree, *got;
    struct responses_answer a = answer(asked, &tree);
    buf_init(&out, MIB);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(responses_answer_gather(&a, &events[i], &err), 0);
    responses_answer_write(&a, &usage, &out);
    if (json_read(buf_str(&out), &got, &err))
        fail_msg("%s: " STR_FMT, err.message, STR_ARG(buf_str(&out)));
    responses_answer_free(&a);
    buf_free(&out);
    json_decref(tree);
    return got;
}

/* The stream's types, a space between; the events of one type in `last`. Checks that they are numbered and
 * that each names itself. */
static json_t *streamed(const char *asked, const struct chat_event *events, size_t n, struct buf *types)
{
    struct buf out;
    struct error err;
    json_t *tree, *list = json_array(), *event;
    struct responses_answer a = answer(asked, &tree);
    buf_init(&out, MIB);
    for (size_t i = 0; i < n; i++)
        responses_stream_event(&a, &events[i], &out);
    if (events[n - 1].kind != CHAT_EVENT_ERROR)
        responses_stream_end(&a, &usage, &out);
    struct str rest = buf_str(&out), line, type = STR_NONE;
    while (str_split(&rest, '\n', &line)) {
        if (str_starts(line, STR("event: ")))
            type = str_slice(line, 7, line.len);
        if (!str_starts(line, STR("data: ")))
            continue;
        if (json_read(str_slice(line, 6, line.len), &event, &err))
            fail_msg("%s: " STR_FMT, err.message, STR_ARG(line));
        assert_true(str_eq(json_str(json_object_get(event, "type")), type));
        assert_int_equal(
            json_integer_value(json_object_get(event, "sequence_number")), json_array_size(list));
        buf_appendf(types, "%s" STR_FMT, types->len ? " " : "",
            STR_ARG(str_starts(type, STR("response.")) ? str_slice(type, 9, type.len) : type));
        json_array_append_new(list, event);
    }
    responses_answer_free(&a);
    buf_free(&out);
    json_decref(tree);
    return list;
}

static void expect_json(const json_t *got, const char *want)
{
    char *text = json_dumps(got, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
    struct error err;
    json_t *wanted;
    if (json_read(str_from(want), &wanted, &err))
        fail_msg("%s: %s", err.message, want);
    if (!json_equal(got, wanted))
        fail_msg("got %s, want %s", text, want);
    json_decref(wanted);
    free(text);
}

static const struct chat_event turn[] = {{.kind = CHAT_EVENT_REASONING, .text = {"hm", 2}},
    {.kind = CHAT_EVENT_SIGNATURE, .signature = {.text = {"sig", 3}}},
    {.kind = CHAT_EVENT_SIGNATURE, .signature = {.data = {"xyz", 3}}},
    {.kind = CHAT_EVENT_TEXT, .text = {"a", 1}}, {.kind = CHAT_EVENT_TEXT, .text = {"b", 1}},
    {.kind = CHAT_EVENT_TOOL_CALL, .tool_call = {0, {"c1", 2}, {"f", 1}, {"{\"x\"", 4}}},
    {.kind = CHAT_EVENT_TOOL_CALL, .tool_call = {.index = 0, .arguments = {":1}", 3}}},
    {.kind = CHAT_EVENT_TOOL_CALL, .tool_call = {1, {"c2", 2}, {"g", 1}, {NULL, 0}}},
    {.kind = CHAT_EVENT_STOP, .stop = CHAT_STOP_TOOLS}};
enum { N_TURN = sizeof turn / sizeof *turn };
#define TURN_OUTPUT                                                                                          \
    "[{\"id\":\"rs_1_0\",\"type\":\"reasoning\",\"status\":\"completed\",\"summary\":[],\"content\":"        \
    "[{\"type\":\"reasoning_text\",\"text\":\"hm\"}],\"encrypted_content\":\"weir.s.sig\"},"                 \
    "{\"id\":\"rs_1_1\",\"type\":\"reasoning\",\"status\":\"completed\",\"summary\":[],\"content\":[],"      \
    "\"encrypted_content\":\"weir.d.xyz\"},"                                                                 \
    "{\"id\":\"msg_1_2\",\"type\":\"message\",\"status\":\"completed\",\"role\":\"assistant\",\"content\":"  \
    "[{\"type\":\"output_text\",\"text\":\"ab\",\"annotations\":[],\"logprobs\":[]}]},"                      \
    "{\"id\":\"fc_1_3\",\"type\":\"function_call\",\"status\":\"completed\",\"call_id\":\"c1\",\"name\":"    \
    "\"f\",\"arguments\":\"{\\\"x\\\":1}\"},"                                                                \
    "{\"id\":\"fc_1_4\",\"type\":\"function_call\",\"status\":\"completed\",\"call_id\":\"c2\",\"name\":"    \
    "\"g\",\"arguments\":\"{}\"}]"

static void a_whole_response(void **state)
{
    (void)state;
    json_t *got = whole("{\"temperature\":0.5,\"metadata\":{\"k\":\"v\"}}", turn, N_TURN);
    expect_json(json_object_get(got, "output"), TURN_OUTPUT);
    expect_json(json_object_get(got, "usage"),
        "{\"input_tokens\":20,\"input_tokens_details\":{\"cached_tokens\":5},\"output_tokens\":4,"
        "\"output_tokens_details\":{\"reasoning_tokens\":2},\"total_tokens\":24}");
    expect_json(json_object_get(got, "temperature"), "0.5");
    expect_json(json_object_get(got, "metadata"), "{\"k\":\"v\"}");
    expect_json(json_object_get(got, "tool_choice"), "\"auto\"");
    expect_json(json_object_get(got, "status"), "\"completed\"");
    assert_true(json_is_null(json_object_get(got, "incomplete_details")));
    assert_true(json_is_null(json_object_get(got, "error")));
    assert_true(json_is_false(json_object_get(got, "store")));
    json_decref(got);
}

static void a_stream_has_its_events_in_order(void **state)
{
    struct buf types;
    (void)state;
    buf_init(&types, 64 * KIB);
    json_t *got = streamed("{}", turn, N_TURN, &types);
    if (!str_is(buf_str(&types),
            "created in_progress "
            "output_item.added content_part.added reasoning_text.delta reasoning_text.done "
            "content_part.done output_item.done "
            "output_item.added output_item.done "
            "output_item.added content_part.added output_text.delta output_text.delta output_text.done "
            "content_part.done output_item.done "
            "output_item.added function_call_arguments.delta function_call_arguments.delta "
            "function_call_arguments.done output_item.done "
            "output_item.added function_call_arguments.done output_item.done "
            "completed"))
        fail_msg("%s", types.data);
    const json_t *first = json_object_get(json_array_get(got, 0), "response");
    const json_t *last = json_object_get(json_array_get(got, json_array_size(got) - 1), "response");
    expect_json(json_object_get(first, "output"), "[]");
    expect_json(json_object_get(first, "status"), "\"in_progress\"");
    assert_true(json_is_null(json_object_get(first, "usage")));
    expect_json(json_object_get(last, "output"), TURN_OUTPUT);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(last, "usage"), "total_tokens")), 24);
    json_decref(got);
    buf_free(&types);
}

static void reasoning_as_a_summary(void **state)
{
    struct buf types;
    const struct chat_event events[] = {thought("hm"), text("a"), stop(CHAT_STOP_END)};
    (void)state;
    buf_init(&types, 64 * KIB);
    json_t *got = streamed("{\"reasoning\":{\"summary\":\"auto\"}}", events, 3, &types);
    assert_non_null(
        strstr(types.data, "output_item.added reasoning_summary_part.added reasoning_summary_text.delta "
                           "reasoning_summary_text.done reasoning_summary_part.done output_item.done"));
    const json_t *last = json_object_get(json_array_get(got, json_array_size(got) - 1), "response");
    expect_json(json_object_get(json_array_get(json_object_get(last, "output"), 0), "summary"),
        "[{\"type\":\"summary_text\",\"text\":\"hm\"}]");
    json_decref(got);
    buf_free(&types);
}

static void calls_written_side_by_side_stay_whole(void **state)
{
    struct buf types;
    const struct chat_event events[] = {tool(0, "c1", "f", "{\"a\":"), tool(1, "c2", "g", "{\"b\":"),
        tool(0, "", "", "1}"), tool(1, "", "", "2}"), stop(CHAT_STOP_TOOLS)};
    (void)state;
    buf_init(&types, 64 * KIB);
    json_t *got = streamed("{}", events, 5, &types);
    const json_t *last = json_object_get(json_array_get(got, json_array_size(got) - 1), "response");
    const json_t *output = json_object_get(last, "output");
    expect_json(json_object_get(json_array_get(output, 0), "arguments"), "\"{\\\"a\\\":1}\"");
    expect_json(json_object_get(json_array_get(output, 1), "arguments"), "\"{\\\"b\\\":2}\"");
    json_decref(got);
    buf_free(&types);
}

static void an_answer_that_was_cut_is_incomplete(void **state)
{
    struct buf types;
    const struct chat_event events[] = {text("a"), stop(CHAT_STOP_LENGTH)};
    const struct chat_event filtered[] = {stop(CHAT_STOP_FILTER)};
    (void)state;
    buf_init(&types, 64 * KIB);
    json_t *got = streamed("{}", events, 2, &types);
    const json_t *last = json_object_get(json_array_get(got, json_array_size(got) - 1), "response");
    assert_true(str_ends(buf_str(&types), STR("output_item.done incomplete")));
    expect_json(json_object_get(last, "incomplete_details"), "{\"reason\":\"max_output_tokens\"}");
    expect_json(
        json_object_get(json_array_get(json_object_get(last, "output"), 0), "status"), "\"incomplete\"");
    json_decref(got);
    got = whole("{}", filtered, 1);
    expect_json(json_object_get(got, "incomplete_details"), "{\"reason\":\"content_filter\"}");
    expect_json(json_object_get(got, "output"), "[]");
    json_decref(got);
    buf_free(&types);
}

static void a_stream_that_breaks_ends_once(void **state)
{
    struct buf types;
    const struct chat_event broken = {.kind = CHAT_EVENT_ERROR, .failure = {.message = {"gone", 4}}};
    const struct chat_event events[] = {text("a"), broken};
    (void)state;
    buf_init(&types, 64 * KIB);
    json_t *got = streamed("{}", events, 2, &types);
    assert_true(str_ends(buf_str(&types), STR("output_item.done error failed")));
    const json_t *last = json_object_get(json_array_get(got, json_array_size(got) - 1), "response");
    expect_json(json_object_get(last, "error"), "{\"code\":\"server_error\",\"message\":\"gone\"}");
    expect_json(json_object_get(last, "status"), "\"failed\"");
    json_decref(got);
    buf_clear(&types);
    got = streamed("{}", &broken, 1, &types); /* before anything came */
    assert_true(str_is(buf_str(&types), "error"));
    json_decref(got);
    buf_free(&types);
}

static void tokens_come_with_their_probabilities(void **state)
{
    const struct chat_token top = {.text = {"x", 1}, .bytes = {"x", 1}, .logprob = -2};
    const struct chat_token token = {
        .text = {"a", 1}, .bytes = {"a", 1}, .logprob = -0.5, .top = &top, .n_top = 1};
    struct chat_event events[] = {text("a"), text("a"), stop(CHAT_STOP_END)};
    (void)state;
    events[0].tokens = events[1].tokens = &token;
    events[0].n_tokens = events[1].n_tokens = 1;
#define TOKEN                                                                                                \
    "{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":[97],\"top_logprobs\":[{\"token\":\"x\",\"logprob\":-2.0,"  \
    "\"bytes\":[120]}]}"
    json_t *got = whole("{}", events, 3);
    const json_t *item = json_array_get(json_object_get(got, "output"), 0);
    expect_json(json_object_get(json_array_get(json_object_get(item, "content"), 0), "logprobs"),
        "[" TOKEN "," TOKEN "]");
    json_decref(got);
    struct buf types;
    buf_init(&types, 64 * KIB);
    got = streamed("{}", events, 3, &types);
    expect_json(json_object_get(json_array_get(got, 5), "logprobs"), "[" TOKEN "]");
    json_decref(got);
    buf_free(&types);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_response),
        cmocka_unit_test(a_stream_has_its_events_in_order),
        cmocka_unit_test(reasoning_as_a_summary),
        cmocka_unit_test(calls_written_side_by_side_stay_whole),
        cmocka_unit_test(an_answer_that_was_cut_is_incomplete),
        cmocka_unit_test(a_stream_that_breaks_ends_once),
        cmocka_unit_test(tokens_come_with_their_probabilities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

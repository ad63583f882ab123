#include "api/anthropic_out.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"

static const struct chat_usage usage = {
    .input_tokens = 160, .cached_tokens = 100, .written_tokens = 50, .output_tokens = 4};

static struct anthropic_answer answer(void)
{
    struct anthropic_answer a;
    anthropic_answer_init(&a, STR("req_1"));
    strcpy(a.id, "msg_1");
    a.model = STR("m");
    a.usage = (struct chat_usage){.input_tokens = 10, .output_tokens = -1};
    return a;
}

static struct chat_event text(const char *t)
{
    return (struct chat_event){.kind = CHAT_EVENT_TEXT, .text = str_from(t)};
}

static struct chat_event thought(const char *t)
{
    return (struct chat_event){.kind = CHAT_EVENT_REASONING, .text = str_from(t)};
}

static struct chat_event signature(const char *t, const char *data)
{
    return (struct chat_event){.kind = CHAT_EVENT_SIGNATURE, .signature = {str_from(t), str_from(data)}};
}

static struct chat_event tool(uint32_t index, const char *id, const char *name, const char *arguments)
{
    return (struct chat_event){.kind = CHAT_EVENT_TOOL_CALL,
        .tool_call = {
            .index = index, .id = str_from(id), .name = str_from(name), .arguments = str_from(arguments)}};
}

static struct chat_event native(bool delta, const char *json)
{
    return (struct chat_event){.kind = CHAT_EVENT_NATIVE,
        .native = {CHAT_SHAPE_ANTHROPIC, delta ? CHAT_NATIVE_PIECE : CHAT_NATIVE_BLOCK, str_from(json)}};
}

static struct chat_event stop(enum chat_stop why)
{
    return (struct chat_event){.kind = CHAT_EVENT_STOP, .stop = why};
}

static void expect_whole(const struct chat_event *events, size_t n, const char *content, const char *reason)
{
    struct anthropic_answer a = answer();
    struct buf out, want;
    struct error err;
    buf_init(&out, MIB);
    buf_init(&want, MIB);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(anthropic_answer_gather(&a, &events[i], &err), 0);
    anthropic_answer_write(&a, &usage, &out);
    buf_appendf(&want,
        "{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[%s],"
        "\"stop_reason\":%s,\"usage\":{\"input_tokens\":10,\"cache_creation_input_tokens\":50,"
        "\"cache_read_input_tokens\":100,\"output_tokens\":4}}",
        content, reason);
    assert_string_equal(out.data, want.data);
    buf_free(&out);
    buf_free(&want);
    anthropic_answer_free(&a);
}
#define EXPECT_WHOLE(content, reason, ...)                                                                   \
    do {                                                                                                     \
        const struct chat_event events_[] = {__VA_ARGS__};                                                   \
        expect_whole(events_, sizeof events_ / sizeof *events_, content, reason);                            \
    } while (0)

static void whole_answers(void **state)
{
    (void)state;
    EXPECT_WHOLE("{\"type\":\"text\",\"text\":\"ab\"}", "\"end_turn\",\"stop_sequence\":null", text("a"),
        text("b"), stop(CHAT_STOP_END));
    EXPECT_WHOLE(
        "{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"s\"},"
        "{\"type\":\"redacted_thinking\",\"data\":\"d\"},"
        "{\"type\":\"thinking\",\"thinking\":\"so\",\"signature\":\"\"},{\"type\":\"text\",\"text\":\"a\"}",
        "\"max_tokens\",\"stop_sequence\":null", thought("h"), thought("m"), signature("s", ""),
        signature("", "d"), thought("so"), text("a"), stop(CHAT_STOP_LENGTH));
    EXPECT_WHOLE("{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"f\",\"input\":{\"a\":1}},"
                 "{\"type\":\"tool_use\",\"id\":\"t2\",\"name\":\"g\",\"input\":{}}",
        "\"tool_use\",\"stop_sequence\":null", tool(0, "t1", "f", "{\"a\""), tool(1, "t2", "g", ""),
        tool(0, "", "", ":1}"), stop(CHAT_STOP_TOOLS));
    EXPECT_WHOLE("{\"type\":\"server_tool_use\"},{\"type\":\"text\",\"text\":\"x\",\"citations\":[{\"c\":1},{"
                 "\"c\":2}]}",
        "\"pause_turn\",\"stop_sequence\":null", native(false, "{\"type\":\"server_tool_use\"}"), text("x"),
        native(true, "{\"c\":1}"), native(true, "{\"c\":2}"), stop(CHAT_STOP_PAUSE));
    EXPECT_WHOLE("", "\"refusal\",\"stop_sequence\":null", stop(CHAT_STOP_FILTER));
    EXPECT_WHOLE("", "\"stop_sequence\",\"stop_sequence\":\"END\"",
        (struct chat_event){.kind = CHAT_EVENT_STOP, .stop = CHAT_STOP_STRING, .stop_string = STR("END")});
}

static void arguments_that_are_no_object_are_kept_as_text(void **state)
{
    (void)state;
    EXPECT_WHOLE("{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{\"INVALID_JSON\":\"{"
                 "\\\"a\\\": tru\"}}",
        "\"max_tokens\",\"stop_sequence\":null", tool(0, "t", "f", "{\"a\": tru"), stop(CHAT_STOP_LENGTH));
}

/* Each event as "type index rest", a line each. */
static void expect_stream(const struct chat_event *events, size_t n, bool ends, const char *want)
{
    struct anthropic_answer a = answer();
    struct buf out, got;
    buf_init(&out, MIB);
    buf_init(&got, MIB);
    for (size_t i = 0; i < n; i++)
        anthropic_stream_event(&a, &events[i], &out);
    if (ends)
        anthropic_stream_end(&a, &usage, &out);
    struct str rest = buf_str(&out);
    while (rest.len > 0) {
        size_t end = str_find(rest, STR("\n\n"));
        assert_int_not_equal(end, SIZE_MAX);
        struct str event = str_slice(rest, 0, end);
        size_t line = str_find_char(event, '\n');
        struct str name = str_slice(event, 7, line), data = str_slice(event, line + 7, event.len);
        buf_append_str(&got, name);
        buf_append_char(&got, ' ');
        size_t skip = str_find(data, name) + name.len + 1;
        buf_append_str(&got, str_slice(data, skip, data.len - 1));
        buf_append_char(&got, '\n');
        rest = str_slice(rest, end + 2, rest.len);
    }
    assert_string_equal(got.data, want);
    buf_free(&out);
    buf_free(&got);
    anthropic_answer_free(&a);
}
#define EXPECT_STREAM(ends, want, ...)                                                                       \
    do {                                                                                                     \
        const struct chat_event events_[] = {__VA_ARGS__};                                                   \
        expect_stream(events_, sizeof events_ / sizeof *events_, ends, want);                                \
    } while (0)

#define START                                                                                                \
    "message_start "                                                                                         \
    ",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\","            \
    "\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":10,"             \
    "\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":0}}\n"
#define BLOCK(index, block) "content_block_start ,\"index\":" index ",\"content_block\":" block "\n"
#define DELTA(index, type, key, value)                                                                       \
    "content_block_delta ,\"index\":" index ",\"delta\":{\"type\":\"" type "\",\"" key "\":\"" value "\"}\n"
#define STOP(index) "content_block_stop ,\"index\":" index "\n"
#define END(reason)                                                                                          \
    "message_delta ,\"delta\":{\"stop_reason\":\"" reason                                                    \
    "\",\"stop_sequence\":null},\"usage\":{\"input_tokens\":10,"                                             \
    "\"cache_creation_input_tokens\":50,\"cache_read_input_tokens\":100,\"output_tokens\":4}\nmessage_stop " \
    "\n"

static void a_stream_of_text_and_thought(void **state)
{
    (void)state;
    EXPECT_STREAM(true,
        START BLOCK("0", "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}") "ping \n" DELTA(
            "0", "thinking_delta", "thinking", "hm") DELTA("0", "signature_delta", "signature", "s") STOP("0")
            BLOCK("1", "{\"type\":\"redacted_thinking\",\"data\":\"d\"}") STOP("1")
                BLOCK("2", "{\"type\":\"text\",\"text\":\"\"}") DELTA("2", "text_delta", "text", "a")
                    DELTA("2", "text_delta", "text", "b") STOP("2") END("end_turn"),
        thought("hm"), signature("s", ""), signature("", "d"), text("a"), text("b"), stop(CHAT_STOP_END));
    EXPECT_STREAM(true, START END("end_turn"), stop(CHAT_STOP_END));
}

#define TOOL(index, id, name)                                                                                \
    BLOCK(index, "{\"type\":\"tool_use\",\"id\":\"" id "\",\"name\":\"" name "\",\"input\":{}}")
#define PIECE(index, json) DELTA(index, "input_json_delta", "partial_json", json)

static void tool_calls_come_one_after_another(void **state)
{
    (void)state;
    EXPECT_STREAM(true,
        START TOOL("0", "t1", "f") "ping \n" PIECE("0", "{\\\"a\\\"") PIECE("0", ":1}") STOP("0")
            TOOL("1", "t2", "g") PIECE("1", "{}") STOP("1") END("tool_use"),
        tool(0, "t1", "f", ""), tool(0, "", "", "{\"a\""), tool(0, "", "", ":1}"), tool(1, "t2", "g", ""),
        tool(1, "", "", "{}"), stop(CHAT_STOP_TOOLS));
}

static void mixed_pieces_of_two_calls_were_written_into_one_block(void **state)
{
    (void)state;
    EXPECT_STREAM(true,
        START TOOL("0", "t1", "f") "ping \n" PIECE("0", "{\\\"a\\\":\\\"}\\\"") PIECE("0", "}") STOP("0")
            TOOL("1", "t2", "g") PIECE("1", "{\\\"b\\\"") PIECE("1", ":2}") STOP("1") END("tool_use"),
        tool(0, "t1", "f", "{\"a\":\"}\""), tool(1, "t2", "g", "{\"b\""), tool(0, "", "", "}"),
        tool(1, "", "", ":2}"), stop(CHAT_STOP_TOOLS));
    /* and one that never ends holds nothing back */
    EXPECT_STREAM(true,
        START TOOL("0", "t1", "f") "ping \n" PIECE("0", "{") STOP("0") TOOL("1", "t2", "g") PIECE("1", "{}")
            STOP("1") END("max_tokens"),
        tool(0, "t1", "f", "{"), tool(1, "t2", "g", "{}"), stop(CHAT_STOP_LENGTH));
}

static void a_stream_passes_the_providers_own_blocks(void **state)
{
    (void)state;
    EXPECT_STREAM(true,
        START BLOCK("0", "{\"type\":\"server_tool_use\"}") "ping \n" STOP("0") BLOCK(
            "1", "{\"type\":\"text\",\"text\":\"\"}") DELTA("1", "text_delta", "text",
            "x") "content_block_delta "
                 ",\"index\":1,\"delta\":{\"type\":\"citations_delta\",\"citation\":{\"c\":1}}\n" STOP("1")
                     END("end_turn"),
        native(false, "{\"type\":\"server_tool_use\"}"), text("x"), native(true, "{\"c\":1}"),
        stop(CHAT_STOP_END));
}

static void an_error_in_the_stream_is_one_event(void **state)
{
    struct chat_event e = {.kind = CHAT_EVENT_ERROR, .failure = {.status = 529, .message = STR("busy")}};
    (void)state;
    EXPECT_STREAM(false,
        START BLOCK("0", "{\"type\":\"text\",\"text\":\"\"}") "ping \n" DELTA("0", "text_delta", "text",
            "a") "error "
                 ",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"},\"request_id\":\"req_1\"\n",
        text("a"), e);
}

static void errors_have_anthropics_words_and_status(void **state)
{
    static const struct {
        int status, becomes;
        const char *type;
    } cases[] = {{400, 400, "invalid_request_error"}, {401, 401, "authentication_error"},
        {403, 403, "permission_error"}, {404, 404, "not_found_error"}, {405, 405, "invalid_request_error"},
        {413, 413, "request_too_large"}, {429, 429, "rate_limit_error"}, {500, 500, "api_error"},
        {502, 502, "api_error"}, {503, 529, "overloaded_error"}, {504, 504, "timeout_error"},
        {529, 529, "overloaded_error"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out;
        char want[256];
        buf_init(&out, KIB);
        assert_int_equal(anthropic_error_write(cases[i].status, STR("m"), STR("r"), &out), cases[i].becomes);
        snprintf(want, sizeof want,
            "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":\"m\"},\"request_id\":\"r\"}",
            cases[i].type);
        assert_string_equal(out.data, want);
        buf_free(&out);
    }
}

static struct chat_event members(enum chat_shape shape, enum chat_native what, const char *json)
{
    return (struct chat_event){.kind = CHAT_EVENT_NATIVE, .native = {shape, what, str_from(json)}};
}

/* What Anthropic tells of an answer besides its blocks was lost, and what another shape has between the
 * pieces of two calls must not part them. */
static void members_of_the_answer_reach_its_clients(void **state)
{
    (void)state;
    struct chat_event call = tool(0, "t1", "f", "{\"a\"");
    call.tool_call.more = STR("\"caller\":{}");
    call.tool_call.more_of = CHAT_SHAPE_ANTHROPIC;
    EXPECT_STREAM(true,
        START BLOCK("0",
            "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"f\",\"input\":{},\"caller\":{}}") "ping \n" PIECE("0",
            "{\\\"a\\\"") PIECE("0", ":1}") STOP("0") TOOL("1", "t2", "g") PIECE("1", "{}")
            STOP(
                "1") "message_delta ,\"delta\":{\"stop_reason\":\"tool_use\",\"stop_sequence\":null,\"container\":{}},"
                     "\"usage\":{\"input_tokens\":10,\"cache_creation_input_tokens\":50,\"cache_read_input_tokens\":100,"
                     "\"output_tokens\":4,\"server_tool_use\":{}},\"context_management\":{}\nmessage_stop \n",
        call, tool(1, "t2", "g", "{}"), members(CHAT_SHAPE_OPENAI, CHAT_NATIVE_CHOICE, "\"x\":1"),
        tool(0, "", "", ":1}"), members(CHAT_SHAPE_ANTHROPIC, CHAT_NATIVE_CHOICE, "\"container\":{}"),
        members(CHAT_SHAPE_ANTHROPIC, CHAT_NATIVE_ANSWER, "\"context_management\":{}"),
        members(CHAT_SHAPE_ANTHROPIC, CHAT_NATIVE_USAGE, "\"server_tool_use\":{}"), stop(CHAT_STOP_TOOLS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_answers),
        cmocka_unit_test(arguments_that_are_no_object_are_kept_as_text),
        cmocka_unit_test(a_stream_of_text_and_thought),
        cmocka_unit_test(tool_calls_come_one_after_another),
        cmocka_unit_test(mixed_pieces_of_two_calls_were_written_into_one_block),
        cmocka_unit_test(a_stream_passes_the_providers_own_blocks),
        cmocka_unit_test(an_error_in_the_stream_is_one_event),
        cmocka_unit_test(errors_have_anthropics_words_and_status),
        cmocka_unit_test(members_of_the_answer_reach_its_clients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

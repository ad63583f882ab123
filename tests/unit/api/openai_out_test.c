#include "api/openai_out.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"

/* An answer whose id and date are known. */
static struct openai_answer answer(bool completion, bool include_usage)
{
    struct openai_answer a;
    openai_answer_init(&a, completion, &(struct chat_request){.n = 1, .include_usage = include_usage});
    strcpy(a.id, "ID");
    a.created_s = 7;
    a.model = STR("m");
    return a;
}

static struct chat_event text_event(const char *text)
{
    return (struct chat_event){.kind = CHAT_EVENT_TEXT, .text = str_from(text)};
}

static struct chat_event tool_event(uint32_t index, const char *id, const char *name, const char *arguments)
{
    return (struct chat_event){.kind = CHAT_EVENT_TOOL_CALL,
        .tool_call = {index, str_from(id), str_from(name), str_from(arguments)}};
}

static struct chat_event stop_event(enum chat_stop stop)
{
    return (struct chat_event){.kind = CHAT_EVENT_STOP, .stop = stop};
}

static void gather(struct openai_answer *a, struct chat_event e)
{
    struct error err;
    if (openai_answer_gather(a, &e, &err))
        fail_msg("%s", err.message);
}

static void expect_written(struct openai_answer *a, const struct chat_usage *usage, const char *want)
{
    struct buf out;
    buf_init(&out, MIB);
    openai_answer_write(a, usage, &out);
    assert_string_equal(out.data, want);
    buf_free(&out);
    openai_answer_free(a);
}

#define USAGE(input, cached, output, reasoning, total)                                                       \
    "\"usage\":{\"prompt_tokens\":" input ",\"completion_tokens\":" output ",\"total_tokens\":" total        \
    ",\"prompt_tokens_details\":{\"cached_tokens\":" cached                                                  \
    "},\"completion_tokens_details\":{\"reasoning_tokens\":" reasoning "}}"
static const struct chat_usage usage = {
    .input_tokens = 10, .cached_tokens = 4, .output_tokens = 3, .reasoning_tokens = 2};
#define THE_USAGE USAGE("10", "4", "3", "2", "13")

static void ids_are_new_and_prefixed(void **state)
{
    (void)state;
    struct openai_answer a, b;
    openai_answer_init(&a, false, &(struct chat_request){.n = 1});
    openai_answer_init(&b, true, &(struct chat_request){.n = 1});
    assert_true(strncmp(a.id, "chatcmpl-", 9) == 0 && strlen(a.id) == 33);
    assert_true(strncmp(b.id, "cmpl-", 5) == 0 && strlen(b.id) == 29);
    assert_string_not_equal(a.id + 9, b.id + 5);
    assert_true(a.created_s > 1700000000);
    openai_answer_free(&a);
    openai_answer_free(&b);
}

/* ---- Whole ---- */

static void writes_a_whole_answer(void **state)
{
    (void)state;
    struct openai_answer a = answer(false, false);
    gather(&a, (struct chat_event){.kind = CHAT_EVENT_START});
    gather(&a, (struct chat_event){.kind = CHAT_EVENT_REASONING, .text = STR("hm")});
    gather(&a, text_event("Hel\"lo"));
    gather(&a, text_event("\xC3\xA9\n"));
    gather(&a, stop_event(CHAT_STOP_LENGTH));
    expect_written(&a, &usage,
        "{\"id\":\"ID\",\"object\":\"chat.completion\",\"created\":7,\"model\":\"m\",\"choices\":[{\"index\":"
        "0,\"message\":"
        "{\"role\":\"assistant\",\"content\":\"Hel\\\"lo\xC3\xA9\\n\",\"refusal\":null,\"reasoning_content\":"
        "\"hm\"},"
        "\"logprobs\":null,\"finish_reason\":\"length\"}]," THE_USAGE "}");
}

static void writes_tool_calls(void **state)
{
    (void)state;
    struct openai_answer a = answer(false, false);
    gather(&a, tool_event(0, "c0", "add", "{\"a\":"));
    gather(&a, tool_event(1, "c1", "now", ""));
    gather(&a, tool_event(0, "", "", "1}"));
    gather(&a, stop_event(CHAT_STOP_TOOLS));
    expect_written(&a, &usage,
        "{\"id\":\"ID\",\"object\":\"chat.completion\",\"created\":7,\"model\":\"m\",\"choices\":[{\"index\":"
        "0,\"message\":"
        "{\"role\":\"assistant\",\"content\":null,\"refusal\":null,\"tool_calls\":["
        "{\"id\":\"c0\",\"type\":\"function\",\"function\":{\"name\":\"add\",\"arguments\":\"{\\\"a\\\":1}\"}"
        "},"
        "{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"now\",\"arguments\":\"\"}}]},"
        "\"logprobs\":null,\"finish_reason\":\"tool_calls\"}]," THE_USAGE "}");
}

static void writes_an_answer_without_anything(void **state)
{
    (void)state;
    static const struct chat_usage unknown = {.input_tokens = -1, .output_tokens = -1};
    struct openai_answer a = answer(false, false);
    gather(&a, stop_event(CHAT_STOP_FILTER));
    expect_written(&a, &unknown,
        "{\"id\":\"ID\",\"object\":\"chat.completion\",\"created\":7,\"model\":\"m\",\"choices\":[{\"index\":"
        "0,\"message\":"
        "{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":"
        "\"content_filter\"}]," USAGE("0", "0", "0", "0", "0") "}");
}

static void writes_a_completion(void **state)
{
    (void)state;
    struct openai_answer a = answer(true, false);
    gather(&a, text_event("upon a time"));
    gather(&a, stop_event(CHAT_STOP_END));
    expect_written(&a, &usage,
        "{\"id\":\"ID\",\"object\":\"text_completion\",\"created\":7,\"model\":\"m\",\"choices\":[{\"index\":"
        "0,"
        "\"text\":\"upon a time\",\"logprobs\":null,\"finish_reason\":\"stop\"}]," THE_USAGE "}");
}

static void an_answer_past_its_bounds_is_an_error(void **state)
{
    (void)state;
    struct openai_answer a = answer(false, false);
    struct error err = {0};
    struct chat_event e = tool_event(TOOL_CALLS_MAX, "c", "f", "");
    assert_int_equal(openai_answer_gather(&a, &e, &err), ERROR_LIMIT);
    e = tool_event(UINT32_MAX, "c", "f", "");
    assert_int_equal(openai_answer_gather(&a, &e, &err), ERROR_LIMIT);
    e = tool_event(TOOL_CALLS_MAX - 1, "c", "f", "");
    assert_int_equal(openai_answer_gather(&a, &e, &err), 0);
    assert_int_equal(a.choices[0].tool_calls.n, TOOL_CALLS_MAX);
    static char long_name[5000];
    memset(long_name, 'n', sizeof long_name - 1);
    e = tool_event(3, "c", long_name, "");
    assert_int_equal(openai_answer_gather(&a, &e, &err), ERROR_LIMIT);
    assert_non_null(strstr(err.message, "too large"));
    a.choices[0].text.max = 10;
    e = text_event("more than ten bytes");
    assert_int_equal(openai_answer_gather(&a, &e, &err), ERROR_LIMIT);
    openai_answer_free(&a);
    openai_answer_free(&a); /* nothing is left to free */
}

/* Each of 128 choices could hold as much as one answer may, where all together fit into no reply. */
static void all_choices_together_are_bounded(void **state)
{
    (void)state;
    enum { LENGTH = LIMIT_PROVIDER_BODY / 4 };
    struct openai_answer a;
    struct error err = {0};
    openai_answer_init(&a, false, &(struct chat_request){.n = 128});
    char *text = malloc(LENGTH);
    assert_non_null(text);
    memset(text, 'x', LENGTH);
    struct chat_event e = {.kind = CHAT_EVENT_TEXT, .text = {text, LENGTH}};
    int rc = 0;
    for (; e.choice < 128 && rc == 0; e.choice++)
        rc = openai_answer_gather(&a, &e, &err);
    assert_int_equal(rc, ERROR_LIMIT);
    assert_int_equal(e.choice, 9);
    free(text);
    openai_answer_free(&a);
}

/* ---- Several choices, and log-probabilities ---- */

static struct chat_event tokens_event(uint32_t choice)
{
    static const struct chat_token top[] = {
        {STR("H\xC3\xA9"), STR("H\xC3\xA9"), -0.5, NULL, 0}, {STR("a"), STR("a"), -INFINITY, NULL, 0}};
    static const struct chat_token tokens[] = {
        {STR("H\xC3\xA9"), STR("H\xC3\xA9"), -0.5, top, 2}, {STR("y"), STR_NONE, -1.25, top, 2}};
    return (struct chat_event){.kind = CHAT_EVENT_TEXT,
        .choice = choice,
        .text = STR("H\xC3\xA9y"),
        .tokens = tokens,
        .n_tokens = 2};
}

#define HEY_TOP                                                                                              \
    "[{\"token\":\"H\xC3\xA9\",\"logprob\":-0.5,\"bytes\":[72,195,169]},"                                    \
    "{\"token\":\"a\",\"logprob\":-9999.0,\"bytes\":[97]}]"
#define HEY                                                                                                  \
    "{\"token\":\"H\xC3\xA9\",\"logprob\":-0.5,\"bytes\":[72,195,169],\"top_logprobs\":" HEY_TOP "},"        \
    "{\"token\":\"y\",\"logprob\":-1.25,\"bytes\":null,\"top_logprobs\":" HEY_TOP "}"

static void several_choices_with_log_probabilities(void **state)
{
    (void)state;
    static const struct chat_request two = {.n = 2, .logprobs = true};
    static const struct chat_usage none = {.input_tokens = 1, .output_tokens = 2};
    for (int completion = 0; completion < 2; completion++) {
        struct openai_answer a;
        struct error err;
        struct buf out;
        openai_answer_init(&a, completion, &two);
        struct chat_event events[] = {tokens_event(1), tokens_event(1), stop_event(CHAT_STOP_LENGTH),
            stop_event(CHAT_STOP_END), text_event("never")};
        events[2].choice = 1;
        events[4].choice = 2; /* was not asked for */
        for (size_t i = 0; i < sizeof events / sizeof *events; i++)
            assert_int_equal(openai_answer_gather(&a, &events[i], &err), 0);
        buf_init(&out, MIB);
        openai_answer_write(&a, &none, &out);
        const char *first =
            completion ? "[{\"index\":0,\"text\":\"\",\"logprobs\":{\"tokens\":[],\"token_logprobs\":[],"
                         "\"top_logprobs\":[],"
                         "\"text_offset\":[]},\"finish_reason\":\"stop\"},{\"index\":1,\"text\":"
                         "\"H\xC3\xA9yH\xC3\xA9y\","
                         "\"logprobs\":{\"tokens\":[\"H\xC3\xA9\",\"y\",\"H\xC3\xA9\",\"y\"],\"token_"
                         "logprobs\":[-0.5,-1.25,-0.5,-1.25],"
                         "\"top_logprobs\":[{\"H\xC3\xA9\":-0.5,\"a\":-9999.0},{\"H\xC3\xA9\":-0.5,\"a\":-"
                         "9999.0,\"y\":-1.25},"
                         "{\"H\xC3\xA9\":-0.5,\"a\":-9999.0},{\"H\xC3\xA9\":-0.5,\"a\":-9999.0,\"y\":-1.25}],"
                         "\"text_offset\":[0,2,3,5]},\"finish_reason\":\"length\"}]"
                       : "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":"
                         "null},\"logprobs\":"
                         "{\"content\":[],\"refusal\":null},\"finish_reason\":\"stop\"},{\"index\":1,"
                         "\"message\":{\"role\":"
                         "\"assistant\",\"content\":\"H\xC3\xA9yH\xC3\xA9y\",\"refusal\":null},\"logprobs\":{"
                         "\"content\":[" HEY "," HEY "],\"refusal\":null},\"finish_reason\":\"length\"}]";
        if (str_find(buf_str(&out), str_from(first)) == SIZE_MAX)
            fail_msg("%.*s\nlacks %s", (int)out.len, out.data, first);
        buf_clear(&out);
        openai_stream_event(&a, &events[0], &out);
        openai_stream_event(&a, &events[2], &out);
        assert_true(str_find(buf_str(&out), STR("\"index\":1")) != SIZE_MAX);
        assert_true(str_find(buf_str(&out), STR("\"index\":0")) == SIZE_MAX);
        assert_true(
            str_find(buf_str(&out), completion ? STR("\"token_logprobs\":[-0.5,-1.25]")
                                               : STR("\"logprobs\":{\"content\":[" HEY "]")) != SIZE_MAX);
        buf_free(&out);
        openai_answer_free(&a);
    }
}

/* ---- Streams ---- */

#define CHUNK(inner, finish, after)                                                                          \
    "data: "                                                                                                 \
    "{\"id\":\"ID\",\"object\":\"chat.completion.chunk\",\"created\":7,\"model\":\"m\",\"choices\":[{"       \
    "\"index\":0,"                                                                                           \
    "\"delta\":{" inner "},\"logprobs\":null,\"finish_reason\":" finish "}]" after "}\n\n"
#define OPENING(after) CHUNK("\"role\":\"assistant\",\"content\":\"\"", "null", after)

static void expect_stream(
    struct openai_answer *a, const struct chat_event *events, size_t n, const char *want)
{
    struct buf out;
    buf_init(&out, MIB);
    for (size_t i = 0; i < n; i++)
        openai_stream_event(a, &events[i], &out);
    openai_stream_end(a, &usage, &out);
    assert_string_equal(out.data, want);
    buf_free(&out);
    openai_answer_free(a);
}

static void streams_text(void **state)
{
    (void)state;
    struct openai_answer a = answer(false, false);
    struct chat_event events[] = {text_event("Hi"), {.kind = CHAT_EVENT_REASONING, .text = STR("hm")},
        {.kind = CHAT_EVENT_USAGE, .usage = usage}, stop_event(CHAT_STOP_END)};
    expect_stream(&a, events, 4,
        OPENING("") CHUNK("\"content\":\"Hi\"", "null", "") CHUNK("\"reasoning_content\":\"hm\"", "null", "")
            CHUNK("", "\"stop\"", "") "data: [DONE]\n\n");
}

static void streams_usage_when_asked(void **state)
{
    (void)state;
    struct openai_answer a = answer(false, true);
    struct chat_event events[] = {text_event("Hi"), stop_event(CHAT_STOP_LENGTH)};
    expect_stream(&a, events, 2,
        OPENING(",\"usage\":null") CHUNK("\"content\":\"Hi\"", "null", ",\"usage\":null") CHUNK(
            "", "\"length\"", ",\"usage\":null") "data: "
                                                 "{\"id\":\"ID\",\"object\":\"chat.completion.chunk\","
                                                 "\"created\":7,\"model\":\"m\",\"choices\":[]," THE_USAGE
                                                 "}\n\ndata: [DONE]\n\n");
}

static void streams_tool_calls(void **state)
{
    (void)state;
    struct openai_answer a = answer(false, false);
    struct chat_event events[] = {tool_event(0, "c0", "add", ""), tool_event(0, "", "", "{\"a\":1}"),
        tool_event(1, "c1", "now", "{}"), stop_event(CHAT_STOP_TOOLS)};
    expect_stream(&a, events, 4,
        OPENING("") CHUNK(
            "\"tool_calls\":[{\"index\":0,\"id\":\"c0\",\"type\":\"function\",\"function\":{\"name\":\"add\","
            "\"arguments\":\"\"}}]",
            "null", "") CHUNK("\"tool_calls\":[{\"index\":0,\"function\":{"
                              "\"arguments\":\"{\\\"a\\\":1}\"}}]",
            "null", "") CHUNK("\"tool_calls\":[{\"index\":1,\"id\":\"c1\",\"type\":\"function\",\"function\":"
                              "{\"name\":\"now\","
                              "\"arguments\":\"{}\"}}]",
            "null", "") CHUNK("", "\"tool_calls\"", "") "data: [DONE]\n\n");
}

#define PIECE(text, finish, after)                                                                           \
    "data: "                                                                                                 \
    "{\"id\":\"ID\",\"object\":\"text_completion\",\"created\":7,\"model\":\"m\",\"choices\":[{\"index\":0," \
    "\"text\":\"" text "\",\"logprobs\":null,\"finish_reason\":" finish "}]" after "}\n\n"

static void streams_completions(void **state)
{
    (void)state;
    struct openai_answer a = answer(true, true);
    struct chat_event events[] = {text_event("upon"), {.kind = CHAT_EVENT_REASONING, .text = STR("hm")},
        tool_event(0, "c", "f", "{}"), stop_event(CHAT_STOP_END)};
    expect_stream(&a, events, 4,
        PIECE("upon", "null", ",\"usage\":null") PIECE("", "\"stop\"",
            ",\"usage\":null") "data: "
                               "{\"id\":\"ID\",\"object\":\"text_completion\",\"created\":7,\"model\":\"m\","
                               "\"choices\":[]," THE_USAGE "}\n\ndata: [DONE]\n\n");
}

static void streams_an_error_in_openais_shape(void **state)
{
    (void)state;
    struct openai_answer a = answer(false, false);
    struct buf out;
    buf_init(&out, MIB);
    struct chat_event e = {.kind = CHAT_EVENT_ERROR,
        .failure = {.code = ERROR_UNAVAILABLE,
            .status = 529,
            .message = STR("over\"loaded"),
            .type = STR("overloaded_error")}};
    openai_stream_event(&a, &e, &out);
    assert_string_equal(out.data,
        OPENING("") "data: "
                    "{\"error\":{\"message\":\"over\\\"loaded\",\"type\":\"overloaded_error\",\"param\":null,"
                    "\"code\":null}}\n\n");
    buf_clear(&out);
    e.failure.status = 0;
    e.failure.type = STR_NONE;
    openai_stream_event(&a, &e, &out);
    assert_string_equal(out.data, "data: "
                                  "{\"error\":{\"message\":\"over\\\"loaded\",\"type\":\"server_error\","
                                  "\"param\":null,\"code\":null}}\n\n");
    openai_answer_free(&a);
    buf_free(&out);
}

/* ---- Errors ---- */

static void errors_carry_type_and_code_of_their_status(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *type, *code;
    } table[] = {{400, "invalid_request_error", "null"}, {401, "authentication_error", "\"invalid_api_key\""},
        {403, "permission_error", "null"}, {404, "not_found_error", "\"model_not_found\""},
        {405, "invalid_request_error", "null"}, {413, "invalid_request_error", "null"},
        {429, "rate_limit_error", "\"rate_limit_exceeded\""}, {500, "server_error", "null"},
        {502, "server_error", "null"}, {503, "server_error", "\"service_unavailable\""},
        {504, "server_error", "\"timeout\""}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct buf out;
        char want[256];
        buf_init(&out, MIB);
        openai_error_write(table[i].status, STR("why\n"), STR_NONE, &out);
        snprintf(want, sizeof want,
            "{\"error\":{\"message\":\"why\\n\",\"type\":\"%s\",\"param\":null,\"code\":%s}}", table[i].type,
            table[i].code);
        assert_string_equal(out.data, want);
        buf_free(&out);
    }
}

/* A key or a file that is not there was told as a model that is not. */
static void a_404_that_is_not_about_a_model_has_no_code(void **state)
{
    struct buf out;
    (void)state;
    buf_init(&out, MIB);
    openai_error_write(404, STR("no such key"), STR(OPENAI_NOT_FOUND), &out);
    assert_string_equal(out.data, "{\"error\":{\"message\":\"no such key\",\"type\":\"not_found_error\","
                                  "\"param\":null,\"code\":null}}");
    buf_free(&out);
}

static struct chat_event native_event(enum chat_shape shape, enum chat_native what, const char *members)
{
    return (struct chat_event){.kind = CHAT_EVENT_NATIVE, .native = {shape, what, str_from(members)}};
}

/* What a provider of this shape told besides was lost on the way to a client of this shape. */
static void members_of_this_shape_reach_its_clients(void **state)
{
    (void)state;
    struct chat_event call = tool_event(0, "c", "f", "{}");
    call.tool_call.more = STR("\"extra_content\":{\"s\":1}");
    call.tool_call.more_of = CHAT_SHAPE_OPENAI;
    const struct chat_event events[] = {
        native_event(CHAT_SHAPE_OPENAI, CHAT_NATIVE_ANSWER, "\"citations\":[\"old\"]"),
        native_event(CHAT_SHAPE_OPENAI, CHAT_NATIVE_CHOICE, "\"reasoning_details\":[1],\"x\":1"),
        native_event(CHAT_SHAPE_OPENAI, CHAT_NATIVE_CHOICE, "\"reasoning_details\":[2],\"x\":2"), call,
        native_event(CHAT_SHAPE_ANTHROPIC, CHAT_NATIVE_CHOICE, "\"container\":{}"),
        native_event(CHAT_SHAPE_OPENAI, CHAT_NATIVE_USAGE, "\"cost\":0.5"),
        native_event(CHAT_SHAPE_OPENAI, CHAT_NATIVE_ANSWER, "\"citations\":[\"u\"]"),
        stop_event(CHAT_STOP_TOOLS)};
    struct openai_answer a = answer(false, false);
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        gather(&a, events[i]);
    expect_written(&a, &usage,
        "{\"id\":\"ID\",\"object\":\"chat.completion\",\"created\":7,\"model\":\"m\",\"choices\":[{\"index\":0,"
        "\"message\":{\"role\":\"assistant\",\"content\":null,\"refusal\":null,\"tool_calls\":[{\"id\":\"c\","
        "\"type\":\"function\",\"extra_content\":{\"s\":1},\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}],"
        "\"reasoning_details\":[1,2],\"x\":2},\"logprobs\":null,\"finish_reason\":\"tool_calls\"}],"
        "\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":3,\"total_tokens\":13,\"prompt_tokens_details\":"
        "{\"cached_tokens\":4},\"completion_tokens_details\":{\"reasoning_tokens\":2},\"cost\":0.5},"
        "\"citations\":[\"u\"]}");
    a = answer(false, false);
    struct buf out;
    buf_init(&out, MIB);
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        openai_stream_event(&a, &events[i], &out);
    assert_non_null(strstr(out.data, "\"delta\":{\"reasoning_details\":[1],\"x\":1}"));
    assert_non_null(strstr(out.data, "\"type\":\"function\",\"extra_content\":{\"s\":1},\"function\""));
    assert_non_null(strstr(out.data, "\"finish_reason\":\"tool_calls\"}],\"citations\":[\"u\"]}"));
    assert_null(strstr(out.data, "container"));
    buf_free(&out);
    openai_answer_free(&a);
}

/* A number that no double or 64 bits hold made an error of the whole answer. */
static void members_reach_clients_as_they_were_written(void **state)
{
    static const char told[] = "\"seed\":12186083271342846000,\"cost\":0.10";
    struct openai_answer a = answer(false, false);
    struct buf out;
    (void)state;
    gather(&a, native_event(CHAT_SHAPE_OPENAI, CHAT_NATIVE_CHOICE, told));
    buf_init(&out, MIB);
    openai_answer_write(&a, &usage, &out);
    assert_non_null(strstr(out.data, told));
    buf_free(&out);
    openai_answer_free(&a);
}

static void sound_is_counted_apart(void **state)
{
    (void)state;
    struct openai_answer a = answer(false, false);
    struct chat_usage sound = usage;
    struct buf out;
    sound.audio_input_tokens = 3;
    sound.audio_output_tokens = 1;
    buf_init(&out, MIB);
    openai_answer_write(&a, &sound, &out);
    assert_non_null(strstr(out.data, "{\"cached_tokens\":4,\"audio_tokens\":3}"));
    assert_non_null(strstr(out.data, "{\"reasoning_tokens\":2,\"audio_tokens\":1}"));
    buf_free(&out);
    openai_answer_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_new_and_prefixed),
        cmocka_unit_test(writes_a_whole_answer),
        cmocka_unit_test(writes_tool_calls),
        cmocka_unit_test(writes_an_answer_without_anything),
        cmocka_unit_test(writes_a_completion),
        cmocka_unit_test(several_choices_with_log_probabilities),
        cmocka_unit_test(an_answer_past_its_bounds_is_an_error),
        cmocka_unit_test(all_choices_together_are_bounded),
        cmocka_unit_test(streams_text),
        cmocka_unit_test(streams_usage_when_asked),
        cmocka_unit_test(streams_tool_calls),
        cmocka_unit_test(streams_completions),
        cmocka_unit_test(streams_an_error_in_openais_shape),
        cmocka_unit_test(errors_carry_type_and_code_of_their_status),
        cmocka_unit_test(a_404_that_is_not_about_a_model_has_no_code),
        cmocka_unit_test(members_of_this_shape_reach_its_clients),
        cmocka_unit_test(members_reach_clients_as_they_were_written),
        cmocka_unit_test(sound_is_counted_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

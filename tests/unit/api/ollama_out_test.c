#include "api/ollama_out.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"

static const struct chat_usage told = {
    .input_tokens = 7, .output_tokens = 3, .load_ns = 10, .prefill_ns = 20, .decode_ns = 30};

static struct chat_event text(const char *s)
{
    return (struct chat_event){.kind = CHAT_EVENT_TEXT, .text = str_from(s)};
}

static struct chat_event call(uint32_t index, const char *name, const char *arguments)
{
    return (struct chat_event){
        .kind = CHAT_EVENT_TOOL_CALL, .tool_call = {index, STR("c1"), str_from(name), str_from(arguments)}};
}

static const struct chat_event stop = {.kind = CHAT_EVENT_STOP, .stop = CHAT_STOP_LENGTH};

/* The next line as an object. */
static json_t *line_next(struct str *rest)
{
    struct str line;
    struct error err;
    json_t *o;
    assert_true(str_split(rest, '\n', &line));
    if (json_read(line, &o, &err))
        fail_msg("%s in " STR_FMT, err.message, STR_ARG(line));
    assert_true(json_is_object(o));
    return o;
}

static const char *member(const json_t *o, const char *key)
{
    const char *value = json_string_value(json_object_get(o, key));
    return value ? value : "(none)";
}

static int64_t number(const json_t *o, const char *key)
{
    const json_t *n = json_object_get(o, key);
    return json_is_integer(n) ? json_integer_value(n) : -1;
}

static void done_check(const json_t *o, bool chat)
{
    assert_true(json_is_true(json_object_get(o, "done")));
    assert_string_equal(member(o, "done_reason"), "length");
    assert_true(number(o, "prompt_eval_count") == 7 && number(o, "eval_count") == 3);
    assert_true(number(o, "load_duration") == 10 && number(o, "prompt_eval_duration") == 20);
    assert_true(number(o, "eval_duration") == 30 && number(o, "total_duration") > 0);
    assert_int_equal(json_is_object(json_object_get(o, "message")), chat);
    const char *at = member(o, "created_at"); /* 2026-11-28T03:05:43.123456789Z */
    assert_true(strlen(at) == 30 && at[10] == 'T' && at[19] == '.' && at[29] == 'Z');
}

static void streams_a_chat(void **state)
{
    (void)state;
    struct ollama_answer a = {0};
    struct buf out;
    struct chat_event events[] = {{.kind = CHAT_EVENT_REASONING, .text = STR("hm")}, text("hé"),
        call(0, "f", "{\n\"z\":1,"), call(0, "", "\"a\":[]}"), call(1, "g", ""), stop};
    buf_init(&out, MIB);
    ollama_answer_init(&a, true, STR("m:latest"));
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        ollama_stream_event(&a, &events[i], &out);
    ollama_stream_end(&a, &told, &out);
    struct str rest = buf_str(&out);
    json_t *o = line_next(&rest);
    assert_string_equal(member(o, "model"), "m:latest");
    assert_string_equal(member(json_object_get(o, "message"), "thinking"), "hm");
    assert_string_equal(member(json_object_get(o, "message"), "content"), "");
    assert_true(json_is_false(json_object_get(o, "done")));
    json_decref(o);
    o = line_next(&rest);
    assert_string_equal(member(json_object_get(o, "message"), "content"), "hé");
    json_decref(o);
    const char *const names[] = {"f", "g"}, *const arguments[] = {"{\"z\":1,\"a\":[]}", "{}"};
    for (size_t i = 0; i < 2; i++) { /* each as soon as it is complete, its keys in their order */
        o = line_next(&rest);
        const json_t *calls = json_object_get(json_object_get(o, "message"), "tool_calls");
        assert_int_equal(json_array_size(calls), 1);
        const json_t *f = json_object_get(json_array_get(calls, 0), "function");
        char *dumped = json_dumps(json_object_get(f, "arguments"), JSON_COMPACT);
        assert_string_equal(member(f, "name"), names[i]);
        assert_string_equal(dumped, arguments[i]);
        assert_int_equal(number(f, "index"), i);
        free(dumped);
        json_decref(o);
    }
    o = line_next(&rest);
    done_check(o, true);
    json_decref(o);
    assert_int_equal(rest.len, 0);
    ollama_answer_free(&a);
    buf_free(&out);
}

static void writes_whole_answers(void **state)
{
    (void)state;
    for (int chat = 0; chat < 2; chat++) {
        struct ollama_answer a = {0};
        struct buf out;
        struct error err;
        struct chat_event events[] = {
            text("a"), {.kind = CHAT_EVENT_REASONING, .text = STR("r")}, text("b"), stop};
        buf_init(&out, MIB);
        ollama_answer_init(&a, chat, STR("m"));
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(ollama_answer_gather(&a, &events[i], &err), 0);
        ollama_answer_write(&a, &told, &out);
        struct str rest = buf_str(&out);
        json_t *o = line_next(&rest);
        const json_t *words = chat ? json_object_get(o, "message") : o;
        assert_string_equal(member(words, chat ? "content" : "response"), "ab");
        assert_string_equal(member(words, "thinking"), "r");
        done_check(o, chat);
        json_decref(o);
        ollama_answer_free(&a);
        buf_free(&out);
    }
}

/* Where nobody has told, times are as seen from here and counts are left out. */
static void measures_what_is_not_told(void **state)
{
    (void)state;
    struct ollama_answer a = {0};
    struct buf out;
    struct chat_event event = text("x");
    const struct chat_usage unknown = {.input_tokens = -1, .output_tokens = -1};
    buf_init(&out, MIB);
    ollama_answer_init(&a, false, STR("m"));
    ollama_stream_event(&a, &event, &out);
    buf_clear(&out);
    ollama_stream_end(&a, &unknown, &out);
    struct str rest = buf_str(&out);
    json_t *o = line_next(&rest);
    assert_true(number(o, "prompt_eval_duration") > 0 && number(o, "eval_duration") > 0);
    assert_true(
        number(o, "total_duration") == number(o, "prompt_eval_duration") + number(o, "eval_duration"));
    assert_true(!json_object_get(o, "prompt_eval_count") && !json_object_get(o, "eval_count"));
    assert_string_equal(member(o, "done_reason"), "stop");
    json_decref(o);
    ollama_answer_free(&a);
    buf_free(&out);
}

/* A cut call must not become another one. */
static void arguments_that_are_no_object_are_an_error(void **state)
{
    (void)state;
    struct ollama_answer a = {0};
    struct buf out;
    struct chat_event events[] = {call(0, "f", "{\"city\":\"Os"), stop};
    buf_init(&out, MIB);
    ollama_answer_init(&a, true, STR("m"));
    for (size_t i = 0; i < 2; i++)
        ollama_stream_event(&a, &events[i], &out);
    struct str rest = buf_str(&out);
    json_t *o = line_next(&rest);
    assert_non_null(strstr(member(o, "error"), "'f'"));
    json_decref(o);
    ollama_answer_free(&a);
    buf_free(&out);
}

static void tells_log_probabilities(void **state)
{
    (void)state;
    struct ollama_answer a = {0};
    struct buf out;
    const struct chat_token other = {.text = STR("b"), .logprob = -2};
    const struct chat_token token = {
        .text = STR("a"), .bytes = STR("a"), .logprob = -0.5, .top = &other, .n_top = 1};
    struct chat_event event = text("a");
    event.tokens = &token;
    event.n_tokens = 1;
    buf_init(&out, MIB);
    ollama_answer_init(&a, false, STR("m"));
    ollama_stream_event(&a, &event, &out);
    struct str rest = buf_str(&out);
    json_t *o = line_next(&rest);
    const json_t *list = json_object_get(o, "logprobs"), *first = json_array_get(list, 0);
    assert_int_equal(json_array_size(list), 1);
    assert_string_equal(member(first, "token"), "a");
    assert_true(fabs(json_number_value(json_object_get(first, "logprob")) + 0.5) < 1e-9);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(first, "bytes"), 0)), 'a');
    assert_string_equal(member(json_array_get(json_object_get(first, "top_logprobs"), 0), "token"), "b");
    json_decref(o);
    ollama_answer_free(&a);
    buf_free(&out);
}

static void says_that_it_has_loaded(void **state)
{
    (void)state;
    struct ollama_answer a = {0};
    struct buf out;
    buf_init(&out, MIB);
    ollama_answer_init(&a, false, STR("m"));
    ollama_load_write(&a, "unload", &out);
    struct str rest = buf_str(&out);
    json_t *o = line_next(&rest);
    assert_string_equal(member(o, "done_reason"), "unload");
    assert_string_equal(member(o, "response"), "");
    assert_true(json_is_true(json_object_get(o, "done")));
    json_decref(o);
    ollama_answer_free(&a);
    buf_free(&out);
}

/* Calls whose pieces come by turns: the first was told without its arguments when the second began. */
static void a_call_was_told_before_its_arguments_had_come(void **state)
{
    (void)state;
    struct ollama_answer a = {0};
    struct buf out;
    struct chat_event events[] = {
        call(0, "f", ""), call(1, "g", "{\"b\""), call(0, "", "{\"a\":1}"), call(1, "", ":2}"), stop};
    buf_init(&out, MIB);
    ollama_answer_init(&a, true, STR("m"));
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        ollama_stream_event(&a, &events[i], &out);
    assert_non_null(strstr(out.data, "\"name\":\"f\",\"arguments\":{\"a\":1}}"));
    assert_non_null(strstr(out.data, "\"name\":\"g\",\"arguments\":{\"b\":2}}"));
    assert_null(strstr(out.data, "\"arguments\":{}"));
    assert_null(strstr(out.data, "error"));
    ollama_answer_free(&a);
    buf_free(&out);
}

/* What was cut off in a call is no answer with a status of success. */
static void a_whole_answer_with_half_a_call_was_a_success(void **state)
{
    (void)state;
    struct ollama_answer a = {0};
    struct error err;
    struct chat_event half = call(0, "f", "{\"a\":");
    ollama_answer_init(&a, true, STR("m"));
    assert_int_equal(ollama_answer_gather(&a, &half, &err), 0);
    assert_int_equal(ollama_answer_gather(&a, &stop, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "tool call 'f'"));
    ollama_answer_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_a_chat),
        cmocka_unit_test(writes_whole_answers),
        cmocka_unit_test(measures_what_is_not_told),
        cmocka_unit_test(arguments_that_are_no_object_are_an_error),
        cmocka_unit_test(tells_log_probabilities),
        cmocka_unit_test(says_that_it_has_loaded),
        cmocka_unit_test(a_call_was_told_before_its_arguments_had_come),
        cmocka_unit_test(a_whole_answer_with_half_a_call_was_a_success),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "api/ollama_in.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"

static struct chat_request *chat(struct arena *a, const char *body)
{
    struct chat_request *r;
    struct error err;
    if (api_ollama_chat_read(a, str_from(body), &r, &err))
        fail_msg("%s: %s", body, err.message);
    return r;
}

static struct chat_request *generate(struct arena *a, const char *body)
{
    struct chat_request *r;
    struct error err;
    if (api_ollama_generate_read(a, str_from(body), &r, &err))
        fail_msg("%s: %s", body, err.message);
    return r;
}

#define HEAD "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static void reads_the_least(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct chat_request *r = chat(a, HEAD "}");
    assert_true(str_is(r->model, "m") && r->shape == CHAT_SHAPE_OLLAMA);
    assert_true(r->stream); /* by default, here */
    assert_true(r->n_messages == 1 && str_is(r->messages[0].parts[0].text, "hi"));
    assert_true(
        r->max_tokens == -1 && !r->has_keep_alive && !r->vendor && !r->native);
    assert_true(isnan(r->sampling.temperature) && !r->sampling.has_seed && r->only_native.len == 0);
    arena_free(a);
}

static void reads_options(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct chat_request *r = chat(a, HEAD
        ",\"stream\":false,\"shift\":true,\"options\":{\"temperature\":0.5,\"top_k\":3,\"top_p\":0.25,\"min_"
        "p\":0.125,"
        "\"typical_p\":0.5,\"repeat_last_n\":7,\"repeat_penalty\":1.5,\"presence_penalty\":1,\"frequency_"
        "penalty\":2,"
        "\"mirostat\":2,\"seed\":9,\"num_predict\":11,\"num_ctx\":4096,\"num_keep\":5,\"stop\":[\"a\",\"b\"],"
        "\"num_thread\":4,\"num_gpu\":99}}");
    const struct chat_sampling *s = &r->sampling;
    assert_true(fabs(s->temperature - 0.5) < 1e-9 && s->top_k == 3 && fabs(s->top_p - 0.25) < 1e-9);
    assert_true(fabs(s->min_p - 0.125) < 1e-9 && fabs(s->typical_p - 0.5) < 1e-9 && s->repeat_last_n == 7);
    assert_true(s->mirostat == 2 && s->has_seed && s->seed == 9);
    assert_true(
        r->max_tokens == 11 && r->n_keep == 5 && r->context_shift && !r->stream);
    assert_true(r->n_stops == 2 && str_is(r->stops[1], "b"));
    assert_true(r->only_native.len == 0);
    assert_non_null(json_object_get(json_object_get(r->native, "options"), "num_gpu"));
    r = chat(a, HEAD ",\"options\":{\"seed\":-1,\"num_predict\":-2,\"stop\":\"x\"}}");
    assert_true(!r->sampling.has_seed && r->max_tokens == -1 && r->n_stops == 1);
    arena_free(a);
}

/* What no field says goes to an Ollama alone. */
static void unknown_members_are_native(void **state)
{
    static const struct {
        const char *rest, *name;
    } cases[] = {{",\"options\":{\"brand_new\":1}", "brand_new"}, {",\"novel\":true", "novel"}};
    (void)state;
    struct arena *a = arena_create(MIB);
    for (size_t i = 0; i < 2; i++) {
        struct chat_request *r = chat(a, arena_printf(a, HEAD "%s}", cases[i].rest).data);
        assert_true(str_is(r->only_native, cases[i].name));
    }
    struct chat_request *r =
        chat(a, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\",\"mood\":1}]}");
    assert_true(str_is(r->only_native, "mood"));
    r = generate(a, "{\"model\":\"m\",\"prompt\":\"p\",\"context\":[1]}");
    assert_true(str_is(r->only_native, "context"));
    r = generate(a, "{\"model\":\"m\",\"prompt\":\"p\",\"context\":[],\"template\":\"\"}");
    assert_int_equal(r->only_native.len, 0);
    arena_free(a);
}

static void format_and_think_become_openai_s(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct chat_request *r = chat(a, HEAD ",\"format\":\"json\",\"think\":true}");
    assert_true(str_is(
        json_str(json_object_get(json_object_get(r->vendor, "response_format"), "type")), "json_object"));
    assert_true(str_is(json_str(json_object_get(r->vendor, "reasoning_effort")), "medium"));
    r = chat(a, HEAD ",\"format\":{\"type\":\"object\"},\"think\":\"high\"}");
    const json_t *format = json_object_get(json_object_get(r->vendor, "response_format"), "json_schema");
    assert_true(str_is(json_str(json_object_get(json_object_get(format, "schema"), "type")), "object"));
    assert_true(str_is(json_str(json_object_get(r->vendor, "reasoning_effort")), "high"));
    r = chat(a, HEAD ",\"format\":\"\",\"think\":false}");
    assert_null(json_object_get(r->vendor, "response_format"));
    assert_true(str_is(json_str(json_object_get(r->vendor, "reasoning_effort")), "none"));
    arena_free(a);
}

static void tool_results_find_their_calls(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct chat_request *r = chat(a,
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"q\"},"
        "{\"role\":\"assistant\",\"thinking\":\"t\",\"tool_calls\":[{\"function\":{\"name\":\"f\","
        "\"arguments\":{\"z\":1,"
        "\"a\":\"x\"}}},{\"function\":{\"name\":\"g\",\"arguments\":{}}},{\"id\":\"mine\",\"function\":{"
        "\"name\":\"f\"}}]},"
        "{\"role\":\"tool\",\"content\":\"1\",\"tool_name\":\"g\"},{\"role\":\"tool\",\"content\":\"2\"},"
        "{\"role\":\"tool\",\"content\":\"3\",\"tool_name\":\"f\"}]}");
    const struct chat_message *asked = &r->messages[1];
    assert_true(str_is(asked->reasoning, "t") && asked->n_tool_calls == 3);
    assert_true(str_is(asked->tool_calls[0].arguments, "{\"z\":1,\"a\":\"x\"}")); /* in its order */
    assert_true(str_is(asked->tool_calls[2].arguments, "{}") && str_is(asked->tool_calls[2].id, "mine"));
    assert_true(str_eq(r->messages[2].tool_call_id, asked->tool_calls[1].id));
    assert_true(str_eq(r->messages[3].tool_call_id, asked->tool_calls[0].id));
    assert_true(str_eq(r->messages[4].tool_call_id, asked->tool_calls[2].id));
    arena_free(a);
}

static void generate_is_a_conversation_or_raw(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct chat_request *r =
        generate(a, "{\"model\":\"m\",\"prompt\":\"p\",\"system\":\"s\",\"images\":[\"iVBORw0KGgoA\"]}");
    assert_true(r->n_messages == 2 && r->messages[0].role == CHAT_SYSTEM && r->messages[1].n_parts == 2 &&
                !r->has_prompt);
    assert_true(str_is(r->messages[1].parts[1].url, "data:image/png;base64,iVBORw0KGgoA"));
    r = generate(a, "{\"model\":\"m\",\"prompt\":\"p\",\"raw\":true}");
    assert_true(r->has_prompt && str_is(r->prompt, "p") && r->n_messages == 0);
    r = generate(a, "{\"model\":\"m\",\"prompt\":\"p\",\"suffix\":\"e\"}");
    assert_true(r->has_prompt && str_is(r->suffix, "e"));
    arena_free(a);
}

static void reads_keep_alive(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {{"300", 300000}, {"-1", -1}, {"0", 0}, {"1.5", 1500}, {"\"5m\"", 300000},
        {"\"1h30m\"", 5400000}, {"\"250ms\"", 250}, {"\"-1\"", -1}, {"\"-1m\"", -1}, {"\"90\"", 90000},
        {"\"1.5h\"", 5400000}};
    (void)state;
    struct arena *a = arena_create(MIB);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chat_request *r = chat(a, arena_printf(a, HEAD ",\"keep_alive\":%s}", cases[i].text).data);
        assert_true(r->has_keep_alive);
        assert_int_equal(r->keep_alive_ms, cases[i].ms);
    }
    arena_free(a);
}

static void knows_what_only_loads(void **state)
{
    static const struct {
        const char *body;
        bool chat, load;
    } cases[] = {{"{\"model\":\"m\"}", true, true}, {"{\"messages\":[]}", true, true},
        {"{\"messages\":[{}]}", true, false}, {"{\"prompt\":\"\"}", false, true},
        {"{\"prompt\":\"x\"}", false, false}, {"{\"suffix\":\"x\"}", false, false},
        {"{\"images\":[\"x\"]}", false, false}};
    (void)state;
    struct arena *a = arena_create(MIB);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err;
        json_t *root;
        assert_int_equal(json_read_in(a, str_from(cases[i].body), &root, &err), 0);
        assert_int_equal(api_ollama_is_load(root, cases[i].chat), cases[i].load);
    }
    arena_free(a);
}

static void refuses_by_name(void **state)
{
    static const struct {
        const char *body, *says;
    } cases[] = {{"[]", "object"}, {"{\"messages\":[]}", "model"},
        {"{\"model\":\"m\",\"messages\":{}}", "messages"},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"x\",\"content\":\"\"}]}", "role"},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[]}]}", "content"},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"images\":[\"????\"]}]}", "image"},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]}", "no tool call"},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":"
         "\"f\","
         "\"arguments\":\"{}\"}}]}]}",
            "arguments"},
        {HEAD ",\"options\":[]}", "options"}, {HEAD ",\"options\":{\"temperature\":\"hot\"}}", "temperature"},
        {HEAD ",\"options\":{\"stop\":[1]}}", "stop"}, {HEAD ",\"format\":7}", "format"},
        {HEAD ",\"think\":\"hard\"}", "think"}, {HEAD ",\"keep_alive\":\"soon\"}", "keep_alive"},
        {HEAD ",\"keep_alive\":\"5x\"}", "keep_alive"}, {HEAD ",\"keep_alive\":\"\"}", "keep_alive"},
        {HEAD ",\"stream\":1}", "stream"}, {HEAD ",\"tools\":[{}]}", "tools[0]"},
        {HEAD ",\"top_logprobs\":99}", "top_logprobs"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena *a = arena_create(MIB);
        struct chat_request *r;
        struct error err = {0};
        assert_int_equal(api_ollama_chat_read(a, str_from(cases[i].body), &r, &err), ERROR_INVALID);
        if (!strstr(err.message, cases[i].says))
            fail_msg("%s: '%s'", cases[i].body, err.message);
        arena_free(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_least),
        cmocka_unit_test(reads_options),
        cmocka_unit_test(unknown_members_are_native),
        cmocka_unit_test(format_and_think_become_openai_s),
        cmocka_unit_test(tool_results_find_their_calls),
        cmocka_unit_test(generate_is_a_conversation_or_raw),
        cmocka_unit_test(reads_keep_alive),
        cmocka_unit_test(knows_what_only_loads),
        cmocka_unit_test(refuses_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

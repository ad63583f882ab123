#include "fixture.h"

#define NDJSON "application/x-ndjson"
#define SAYS(words) "{\"model\":\"x\",\"message\":{\"role\":\"assistant\"," words "},\"done\":false}\n"
#define DONE(reason)                                                                                         \
    "{\"model\":\"x\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":"  \
    "\"" reason                                                                                              \
    "\",\"prompt_eval_count\":7,\"eval_count\":3,\"prompt_eval_duration\":5,\"eval_duration\":6}\n"

/* ---- Asking ---- */

static void test_a_conversation_with_tools(void **state)
{
    struct chat_request *r = request_create();
    (void)state;
    request_add(r, CHAT_DEVELOPER, "be brief");
    struct chat_message *m = request_add(r, CHAT_USER, NULL);
    message_part(r, m, CHAT_PART_TEXT, "{\"type\":\"text\",\"text\":\"what\"}");
    message_part(r, m, CHAT_PART_TEXT, "{\"type\":\"text\",\"text\":\"is this?\"}");
    message_part(r, m, CHAT_PART_IMAGE, "{\"image_url\":{\"url\":\"data:image/png;base64,AAAA\"}}");
    m = request_add(r, CHAT_ASSISTANT, NULL);
    m->reasoning = STR("hm");
    message_call(r, m, "c1", "look", "{\"b\": 1, \"a\": 2}");
    m = request_add(r, CHAT_TOOL, "a cat");
    m->tool_call_id = STR("c1");
    request_tool(r, "{\"type\":\"function\",\"function\":{\"name\":\"look\",\"description\":\"d\"}}");
    r->sampling.temperature = 0.5;
    r->sampling.has_seed = true;
    r->sampling.seed = 4;
    r->max_tokens = 9;
    r->vendor =
        request_json(r, "{\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\","
                        "\"schema\":{\"type\":\"object\"}}},\"reasoning_effort\":\"low\"}");
    assert_encodes(&provider_dialect_ollama, "x", r,
        "{\"model\":\"x\",\"stream\":true,\"options\":{\"temperature\":0.5,\"seed\":4,\"num_predict\":9},"
        "\"format\":{\"type\":\"object\"},\"think\":\"low\",\"tools\":[{\"type\":\"function\",\"function\":{"
        "\"name\":"
        "\"look\",\"description\":\"d\",\"parameters\":{\"type\":\"object\",\"properties\":{}}}}],"
        "\"messages\":["
        "{\"role\":\"system\",\"content\":\"be brief\"},"
        "{\"role\":\"user\",\"content\":\"what\\nis this?\",\"images\":[\"AAAA\"]},"
        "{\"role\":\"assistant\",\"content\":\"\",\"thinking\":\"hm\",\"tool_calls\":[{\"id\":\"c1\","
        "\"function\":"
        "{\"name\":\"look\",\"arguments\":{\"b\":1,\"a\":2}}}]},"
        "{\"role\":\"tool\",\"content\":\"a cat\",\"tool_name\":\"look\",\"tool_call_id\":\"c1\"}]}");
    request_free(r);
}

static void test_its_own_shape_goes_as_it_came(void **state)
{
    struct chat_request *r = request_create();
    (void)state;
    request_add(r, CHAT_USER, "hi");
    r->shape = CHAT_SHAPE_OLLAMA;
    r->only_native = STR("novel");
    r->sampling.temperature = 0.5; /* said in the options already */
    r->native = request_json(r, "{\"options\":{\"temperature\":0.5,\"novel\":1},\"think\":true,\"keep_"
                                "alive\":\"5m\",\"truncate\":false}");
    assert_encodes(&provider_dialect_ollama, "x", r,
        "{\"model\":\"x\",\"stream\":true,\"options\":{\"temperature\":0.5,\"novel\":1},\"think\":true,"
        "\"keep_alive\":\"5m\",\"truncate\":false,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
    request_free(r);
}

static void test_a_prompt_is_continued(void **state)
{
    struct chat_request *r = request_create();
    (void)state;
    r->has_prompt = true;
    r->prompt = STR("Once");
    assert_encodes(&provider_dialect_ollama, "x", r,
        "{\"model\":\"x\",\"stream\":true,\"options\":{},\"prompt\":\"Once\",\"raw\":true}");
    assert_true(str_is(provider_dialect_ollama.path(r->arena, NULL, r), "/api/generate"));
    r->suffix = STR("end");
    assert_encodes(&provider_dialect_ollama, "x", r,
        "{\"model\":\"x\",\"stream\":true,\"options\":{},\"prompt\":\"Once\",\"suffix\":\"end\"}");
    request_free(r);
}

/* It was sent words that it does not know. */
static void test_effort_is_said_in_its_three_words(void **state)
{
    static const struct {
        const char *effort, *think;
    } cases[] = {{"none", "false"}, {"minimal", "\"low\""}, {"medium", "\"medium\""}, {"xhigh", "\"high\""},
        {"max", "\"high\""}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char effort[64], sent[160];
        struct chat_request *r = request_create();
        request_add(r, CHAT_USER, "hi");
        snprintf(effort, sizeof effort, "{\"reasoning_effort\":\"%s\"}", cases[i].effort);
        r->vendor = request_json(r, effort);
        snprintf(sent, sizeof sent,
            "{\"model\":\"x\",\"stream\":true,\"options\":{},\"think\":%s,\"messages\":[{\"role\":\"user\","
            "\"content\":\"hi\"}]}",
            cases[i].think);
        assert_encodes(&provider_dialect_ollama, "x", r, sent);
        request_free(r);
    }
}

/* They were refused, though it has them. */
static void test_logprobs_are_asked_for_and_taken(void **state)
{
    (void)state;
    struct chat_request *r = request_create();
    request_add(r, CHAT_USER, "hi");
    r->logprobs = true;
    r->top_logprobs = 2;
    assert_encodes(&provider_dialect_ollama, "x", r,
        "{\"model\":\"x\",\"stream\":true,\"options\":{},\"logprobs\":true,\"top_logprobs\":2,\"messages\":[{"
        "\"role\":\"user\",\"content\":\"hi\"}]}");
    request_free(r);
    assert_translates(provider_ollama_event, NDJSON,
        STR("{\"model\":\"x\",\"message\":{\"content\":\"ab\"},\"logprobs\":[{\"token\":\"a\",\"logprob\":-0.5,"
            "\"top_logprobs\":[{\"token\":\"a\",\"logprob\":-0.5},{\"token\":\"c\",\"logprob\":-2}]},"
            "{\"token\":\"b\",\"logprob\":-1}],\"done\":false}\n"
            "{\"model\":\"x\",\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\"}\n"),
        "start  x\ntext ab\ntoken a -0.5, a -0.5, c -2\ntoken b -1\nstop 0\n");
    assert_breaks(provider_ollama_event, NDJSON,
        STR("{\"model\":\"x\",\"message\":{\"content\":\"a\"},\"logprobs\":[{\"token\":1}],\"done\":false}\n"),
        "error ", "");
}

static void test_what_it_cannot_do_is_named(void **state)
{
    (void)state;
    struct chat_request *r = request_create();
    request_add(r, CHAT_USER, "hi");
    request_tool(r, "{\"type\":\"function\",\"function\":{\"name\":\"f\"}}");
    r->tool_choice = CHAT_TOOLS_REQUIRED;
    assert_refuses(&provider_dialect_ollama, r, "tool_choice");
    r->tool_choice = CHAT_TOOLS_AUTO;
    r->parallel_tool_calls = 0;
    assert_refuses(&provider_dialect_ollama, r, "parallel_tool_calls");
    r->parallel_tool_calls = -1;
    r->sampling.xtc_probability = 0.5;
    assert_refuses(&provider_dialect_ollama, r, "xtc_probability");
    r->sampling.xtc_probability = 0;
    r->vendor = request_json(r, "{\"response_format\":{\"type\":\"grammar\"}}");
    assert_refuses(&provider_dialect_ollama, r, "response_format");
    r->vendor = request_json(r, "{\"web_search\":true}");
    assert_refuses(&provider_dialect_ollama, r, "web_search");
    r->vendor = request_json(r, "{\"web_search_options\":{}}"); /* was taken for nothing */
    assert_refuses(&provider_dialect_ollama, r, "web_search_options");
    r->vendor = NULL;
    message_part(
        r, request_add(r, CHAT_USER, NULL), CHAT_PART_IMAGE, "{\"image_url\":{\"url\":\"https://x/y\"}}");
    assert_refuses(&provider_dialect_ollama, r, "messages[1]");
    request_free(r);
}

static void test_other_targets_refuse_what_is_only_its_own(void **state)
{
    static const struct provider_dialect *const others[] = {
        &provider_dialect_openai, &provider_dialect_anthropic, &provider_dialect_gemini};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct chat_request *r = request_create();
        request_add(r, CHAT_USER, "hi");
        r->shape = CHAT_SHAPE_OLLAMA;
        r->only_native = STR("novel");
        assert_refuses(others[i], r, "novel");
        request_free(r);
    }
}

/* ---- Being answered ---- */

static void test_absurd_counts_are_not_known(void **state)
{
    static const char *const absurd[] = {"-5", "9000000000000000", "9e15", "\"3\""};
    char line[256];
    (void)state;
    for (size_t i = 0; i < sizeof absurd / sizeof *absurd; i++) {
        snprintf(line, sizeof line,
            "{\"model\":\"x\",\"response\":\"a\",\"done\":true,\"prompt_eval_count\":%s,\"eval_count\":%s}",
            absurd[i], absurd[i]);
        assert_translates(provider_ollama_event, NDJSON, str_from(line), "start  x\ntext a\nstop 0\n");
    }
}

static void test_an_answer(void **state)
{
    (void)state;
    assert_translates(provider_ollama_event, NDJSON,
        STR(SAYS("\"content\":\"\",\"thinking\":\"hm\"") SAYS("\"content\":\"h\xc3\xa9\"") SAYS(
            "\"content\":\"\",\"tool_calls\":[{\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":{"
            "\"z\":1,"
            "\"a\":2}}},{\"id\":\"d\",\"function\":{\"name\":\"g\",\"arguments\":{}}}]") DONE("stop")),
        "start  x\nreasoning hm\ntext h\xc3\xa9\ntool 0 c f {\"z\":1,\"a\":2}\ntool 1 d g {}\nusage 7 0 3 "
        "0\nstop 2\n");
    assert_translates(provider_ollama_event, NDJSON,
        STR("{\"model\":\"x\",\"response\":\"a\",\"done\":false}\n\n" DONE("length")),
        "start  x\ntext a\nusage 7 0 3 0\nstop 1\n");
    /* The last line end may be missing. */
    assert_translates(provider_ollama_event, NDJSON,
        STR("{\"model\":\"x\",\"response\":\"a\",\"done\":true}"), "start  x\ntext a\nstop 0\n");
}

static void test_cuts_do_not_matter(void **state)
{
    (void)state;
    struct str bytes = STR(SAYS("\"content\":\"h\xc3\xa9\"") SAYS("\"content\":\"llo\"") DONE("stop"));
    struct buf whole = translate(provider_ollama_event, NDJSON, bytes, 0, 0, 0);
    for (size_t i = 1; i < bytes.len; i++) {
        struct buf cut = translate(provider_ollama_event, NDJSON, bytes, i, 1, 0);
        assert_string_equal(cut.data, whole.data);
        buf_free(&cut);
    }
    buf_free(&whole);
}

static void test_what_breaks_is_one_error(void **state)
{
    static const struct {
        const char *bytes, *why;
    } cases[] = {{SAYS("\"content\":\"a\""), "before it was complete"},
        {SAYS("\"content\":\"a\"") "{\"done\":", ""}, {"{\"model\":\"x\"}\n", "'done'"},
        {"nonsense\n", "cannot be understood"},
        {SAYS("\"content\":\"a\"") "{\"error\":\"out of memory\"}\n", "out of memory"},
        {SAYS("\"content\":\"\",\"tool_calls\":{}"), "tool_calls"},
        {SAYS("\"content\":\"\",\"tool_calls\":[{}]"), "no name"}, {"", "before it was complete"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_breaks(provider_ollama_event, NDJSON, str_from(cases[i].bytes), "error ", cases[i].why);
}

static void test_a_line_without_end_is_bounded(void **state)
{
    (void)state;
    struct buf line;
    buf_init(&line, 2 * LIMIT_PROVIDER_EVENT);
    for (size_t i = 0; i <= LIMIT_PROVIDER_EVENT; i++)
        buf_append_char(&line, ' ');
    buf_append_char(&line, '{');
    assert_breaks(provider_ollama_event, NDJSON, buf_str(&line), "error ", "too long");
    buf_free(&line);
}

/* A count was a whole answer that nobody read, and a refusal of an earlier turn was left out. */
static void test_counts_are_refused_and_refusals_are_said(void **state)
{
    const struct provider_model m = {.model = STR("x")};
    struct chat_request *r = request_create();
    struct error err;
    (void)state;
    request_add(r, CHAT_USER, "q");
    request_add(r, CHAT_ASSISTANT, NULL)->vendor = request_json(r, "{\"refusal\":\"no\"}");
    assert_encodes(&provider_dialect_ollama, "x", r,
        "{\"model\":\"x\",\"stream\":true,\"options\":{},\"messages\":[{\"role\":\"user\",\"content\":\"q\"},"
        "{\"role\":\"assistant\",\"content\":\"no\"}]}");
    r->count_only = true;
    assert_int_equal(provider_dialect_ollama.supports(&m, r, &err), ERROR_UNSUPPORTED);
    request_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_conversation_with_tools),
        cmocka_unit_test(test_effort_is_said_in_its_three_words),
        cmocka_unit_test(test_logprobs_are_asked_for_and_taken),
        cmocka_unit_test(test_its_own_shape_goes_as_it_came),
        cmocka_unit_test(test_a_prompt_is_continued),
        cmocka_unit_test(test_what_it_cannot_do_is_named),
        cmocka_unit_test(test_other_targets_refuse_what_is_only_its_own),
        cmocka_unit_test(test_absurd_counts_are_not_known),
        cmocka_unit_test(test_an_answer),
        cmocka_unit_test(test_cuts_do_not_matter),
        cmocka_unit_test(test_what_breaks_is_one_error),
        cmocka_unit_test(test_a_line_without_end_is_bounded),
        cmocka_unit_test(test_counts_are_refused_and_refusals_are_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "fixture.h"

#define EVENT(type, rest) "event: " type "\ndata: {\"type\":\"" type "\"" rest "}\n\n"
#define START                                                                                                \
    EVENT("message_start",                                                                                   \
        ",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-x\"," \
        "\"content\":[],\"usage\":{\"input_tokens\":10,\"cache_read_input_tokens\":100,"                     \
        "\"cache_creation_input_tokens\":7,\"output_tokens\":1}}")
#define BLOCK(index, block) EVENT("content_block_start", ",\"index\":" index ",\"content_block\":" block)
#define DELTA(index, delta) EVENT("content_block_delta", ",\"index\":" index ",\"delta\":" delta)
#define TEXT(index, text) DELTA(index, "{\"type\":\"text_delta\",\"text\":\"" text "\"}")
#define ARGUMENTS(index, text) DELTA(index, "{\"type\":\"input_json_delta\",\"partial_json\":\"" text "\"}")
#define END(index) EVENT("content_block_stop", ",\"index\":" index)
#define STOPPED(reason, output)                                                                              \
    EVENT("message_delta", ",\"delta\":{\"stop_reason\":\"" reason                                           \
                           "\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":" output "}")
#define STOP EVENT("message_stop", "")
#define SSE "text/event-stream"

/* ---- Asking ---- */

static void test_a_conversation_with_tools(void **state)
{
    struct chat_request *r = request_create();
    (void)state;
    request_add(r, CHAT_SYSTEM, "be brief");
    request_add(r, CHAT_USER, "weather?");
    struct chat_message *m = request_add(r, CHAT_ASSISTANT, "looking");
    m->reasoning = STR("left out");
    m->vendor = request_json(r, "{\"refusal\":null,\"annotations\":[],\"audio\":null}");
    message_call(r, m, "call:1", "weather", "{\"city\": \"Bern\", \"n\": 1.50}");
    message_call(r, m, "call_2", "time", "");
    m = request_add(r, CHAT_TOOL, "sunny");
    m->tool_call_id = STR("call:1");
    m->name = STR("weather");
    m = request_add(r, CHAT_TOOL, "");
    m->tool_call_id = STR("call_2");
    request_add(r, CHAT_USER, "so?");
    request_add(r, CHAT_DEVELOPER, "in German");
    request_add(r, CHAT_USER, "");
    request_add(r, CHAT_ASSISTANT, "Es");
    assert_encodes(&provider_dialect_anthropic, "claude-x", r,
        "{\"model\":\"claude-x\",\"max_tokens\":4096,\"stream\":true,"
        "\"system\":[{\"type\":\"text\",\"text\":\"be brief\"},{\"type\":\"text\",\"text\":\"in German\"}],"
        "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"weather?\"}]},"
        "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"looking\"},"
        "{\"type\":\"tool_use\",\"id\":\"call_1\",\"name\":\"weather\",\"input\":{\"city\":\"Bern\",\"n\":1."
        "5}},"
        "{\"type\":\"tool_use\",\"id\":\"call_2\",\"name\":\"time\",\"input\":{}}]},"
        "{\"role\":\"user\",\"content\":["
        "{\"type\":\"tool_result\",\"tool_use_id\":\"call_1\",\"content\":[{\"type\":\"text\",\"text\":"
        "\"sunny\"}]},"
        "{\"type\":\"tool_result\",\"tool_use_id\":\"call_2\",\"content\":[]},{\"type\":\"text\",\"text\":"
        "\"so?\"}]},"
        "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"Es\"}]}]}");
    assert_true(str_is(provider_dialect_anthropic.path(r->arena, NULL, r), "/v1/messages"));
    request_free(r);
}

static void test_images_and_cache_control(void **state)
{
    struct chat_request *r = request_create();
    (void)state;
    struct chat_message *m = request_add(r, CHAT_USER, NULL);
    message_part(r, m, CHAT_PART_TEXT,
        "{\"type\":\"text\",\"text\":\"look\",\"cache_control\":{\"type\":\"ephemeral\"}}");
    message_part(r, m, CHAT_PART_IMAGE,
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,iVBOR\"}}");
    message_part(
        r, m, CHAT_PART_IMAGE, "{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x/y.png\"}}");
    request_tool(r,
        "{\"type\":\"function\",\"function\":{\"name\":\"f\"},\"cache_control\":{\"type\":\"ephemeral\"}}");
    assert_encodes(&provider_dialect_anthropic, "c", r,
        "{\"model\":\"c\",\"max_tokens\":4096,\"stream\":true,"
        "\"tools\":[{\"name\":\"f\",\"input_schema\":{\"type\":\"object\"},\"cache_control\":{\"type\":"
        "\"ephemeral\"}}],"
        "\"messages\":[{\"role\":\"user\",\"content\":["
        "{\"type\":\"text\",\"text\":\"look\",\"cache_control\":{\"type\":\"ephemeral\"}},"
        "{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/"
        "png\",\"data\":\"iVBOR\"}},"
        "{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"https://x/y.png\"}}]}]}");
    request_free(r);
}

static void test_settings(void **state)
{
    static const struct str stops[] = {STR("END")};
    struct chat_request *r = request_create();
    (void)state;
    request_add(r, CHAT_USER, "hi");
    request_tool(r, "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\","
                    "\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":{}}}}}");
    r->tool_choice = CHAT_TOOLS_REQUIRED;
    r->parallel_tool_calls = 0;
    r->max_tokens = 9;
    r->sampling.temperature = 1;
    r->sampling.top_p = 0.5;
    r->sampling.top_k = 40;
    r->sampling.presence_penalty = 0;
    r->sampling.repeat_penalty = 1;
    r->stops = (struct str *)(uintptr_t)stops;
    r->n_stops = 1;
    r->user = STR("u1");
    r->vendor = request_json(r,
        "{\"store\":true,\"metadata\":{\"a\":\"b\"},\"service_tier\":\"auto\",\"logprobs\":false,\"n\":1,"
        "\"response_format\":{\"type\":\"text\"},\"logit_bias\":{},\"reasoning_effort\":null}");
    assert_encodes(&provider_dialect_anthropic, "c", r,
        "{\"model\":\"c\",\"max_tokens\":9,\"temperature\":1.0,\"top_p\":0.5,\"top_k\":40,\"stop_sequences\":"
        "[\"END\"],"
        "\"metadata\":{\"user_id\":\"u1\"},\"stream\":true,"
        "\"tools\":[{\"name\":\"f\",\"description\":\"d\",\"input_schema\":{\"type\":\"object\","
        "\"properties\":{\"a\":{}}}}],"
        "\"tool_choice\":{\"type\":\"any\",\"disable_parallel_tool_use\":true},"
        "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]}]}");
    request_free(r);
}

static void test_tool_choices(void **state)
{
    static const struct {
        enum chat_tool_choice choice;
        int parallel;
        const char *expect;
    } cases[] = {{CHAT_TOOLS_AUTO, -1, ",\"tool_choice\":{\"type\":\"auto\"}"},
        {CHAT_TOOLS_NONE, 0, ",\"tool_choice\":{\"type\":\"none\"}"},
        {CHAT_TOOLS_NAMED, 1, ",\"tool_choice\":{\"type\":\"tool\",\"name\":\"f\"}"},
        {CHAT_TOOLS_UNSET, 0, ",\"tool_choice\":{\"type\":\"auto\",\"disable_parallel_tool_use\":true}"},
        {CHAT_TOOLS_UNSET, 1, ""}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chat_request *r = request_create();
        char expect[512];
        request_add(r, CHAT_USER, "hi");
        request_tool(r, "{\"type\":\"function\",\"function\":{\"name\":\"f\"}}");
        r->tool_choice = cases[i].choice;
        r->tool_choice_name = STR("f");
        r->parallel_tool_calls = cases[i].parallel;
        snprintf(expect, sizeof expect,
            "{\"model\":\"c\",\"max_tokens\":4096,\"stream\":true,\"tools\":[{\"name\":\"f\",\"input_"
            "schema\":{\"type\":"
            "\"object\"}}]%s,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"
            "\"hi\"}]}]}",
            cases[i].expect);
        assert_encodes(&provider_dialect_anthropic, "c", r, expect);
        request_free(r);
    }
}

static void test_what_has_no_word_is_refused_by_name(void **state)
{
    static const char *const vendor[][2] = {{"{\"n\":2}", "'n'"}, {"{\"logprobs\":true}", "'logprobs'"},
        {"{\"response_format\":{\"type\":\"xml\"}}", "'response_format'"},
        {"{\"logit_bias\":{\"5\":1}}", "'logit_bias'"}, {"{\"something_new\":1}", "'something_new'"},
        {"{\"modalities\":[\"audio\"]}", "'modalities'"}};
    struct chat_request *r;
    (void)state;
    for (size_t i = 0; i < sizeof vendor / sizeof *vendor; i++) {
        r = request_create();
        r->vendor = request_json(r, vendor[i][0]);
        assert_refuses(&provider_dialect_anthropic, r, vendor[i][1]);
        request_free(r);
    }
    r = request_create();
    r->sampling.temperature = 1.1;
    assert_refuses(&provider_dialect_anthropic, r, "'temperature'");
    r->sampling.temperature = NAN;
    r->sampling.min_p = 0.1;
    assert_refuses(&provider_dialect_anthropic, r, "'min_p'");
    r->sampling.min_p = NAN;
    r->sampling.presence_penalty = -0.1;
    assert_refuses(&provider_dialect_anthropic, r, "'presence_penalty'");
    r->sampling.presence_penalty = NAN;
    r->sampling.frequency_penalty = 0.1;
    assert_refuses(&provider_dialect_anthropic, r, "'frequency_penalty'");
    r->sampling.frequency_penalty = NAN;
    r->sampling.repeat_penalty = 1.1;
    assert_refuses(&provider_dialect_anthropic, r, "'repeat_penalty'");
    r->sampling.repeat_penalty = NAN;
    r->sampling.has_seed = true;
    assert_refuses(&provider_dialect_anthropic, r, "'seed'");
    request_free(r);
}

static void test_messages_that_cannot_be_said_are_refused(void **state)
{
    struct chat_request *r = request_create();
    struct error err;
    struct buf body;
    struct provider_model m = {.model = STR("m")};
    (void)state;
    r->has_prompt = true;
    assert_refuses(&provider_dialect_anthropic, r, "prompt");
    r->has_prompt = false;
    message_part(r, request_add(r, CHAT_USER, NULL), CHAT_PART_AUDIO, NULL);
    assert_refuses(&provider_dialect_anthropic, r, "messages[0].content[0]");
    r->n_messages = 0;
    message_part(r, request_add(r, CHAT_SYSTEM, NULL), CHAT_PART_IMAGE, NULL);
    assert_refuses(&provider_dialect_anthropic, r, "messages[0].content[0]");
    r->n_messages = 0;
    request_add(r, CHAT_USER, "hi")->name = STR("ann");
    assert_refuses(&provider_dialect_anthropic, r, "'name'");
    r->messages[0].name = STR_NONE;
    r->messages[0].vendor = request_json(r, "{\"odd\":1}");
    assert_refuses(&provider_dialect_anthropic, r, "'odd'");
    r->messages[0].vendor = NULL;
    request_tool(r, "{\"type\":\"web_search\"}");
    assert_refuses(&provider_dialect_anthropic, r, "tools[0]");
    r->n_tools = 0;
    static const char *const arguments[] = {"{\"a\":", "[1]", "7", "{} {}"};
    for (size_t i = 0; i < 4; i++) {
        r->n_messages = 0;
        memset(r->messages, 0, sizeof *r->messages);
        message_call(r, request_add(r, CHAT_ASSISTANT, NULL), "c1", "f", arguments[i]);
        buf_init(&body, MIB);
        assert_int_equal(provider_anthropic_encode(&m, r, &body, &err), ERROR_INVALID);
        assert_non_null(strstr(err.message, "'c1'"));
        buf_free(&body);
    }
    r->n_messages = 0;
    memset(r->messages, 0, sizeof *r->messages);
    request_add(r, CHAT_SYSTEM, "only this");
    buf_init(&body, MIB);
    assert_int_equal(provider_anthropic_encode(&m, r, &body, &err), ERROR_INVALID);
    buf_free(&body);
    request_free(r);
}

static void test_an_image_that_is_no_url_of_a_kind_known_is_refused(void **state)
{
    static const char *const urls[] = {"http://x/y.png", "file:///etc/passwd", "data:image/png,abc",
        "data:;base64,abc", "data:image/png;base64,", "data:", ""};
    (void)state;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct chat_request *r = request_create();
        struct provider_model m = {.model = STR("m")};
        struct error err;
        struct buf body;
        message_part(r, request_add(r, CHAT_USER, NULL), CHAT_PART_IMAGE, NULL)->url = str_from(urls[i]);
        buf_init(&body, MIB);
        assert_int_equal(provider_anthropic_encode(&m, r, &body, &err), ERROR_UNSUPPORTED);
        buf_free(&body);
        request_free(r);
    }
}

static void test_the_maximum_comes_from_the_model(void **state)
{
    struct chat_request *r = request_create();
    struct provider_model m = {.model = STR("m"), .max_output = 777};
    struct error err;
    struct buf body;
    (void)state;
    request_add(r, CHAT_USER, "hi");
    buf_init(&body, MIB);
    assert_int_equal(provider_anthropic_encode(&m, r, &body, &err), 0);
    assert_non_null(strstr(body.data, "\"max_tokens\":777"));
    buf_free(&body);
    request_free(r);
}

/* ---- Reasoning and formats ---- */

#define HELLO "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]}]}"
#define SCHEMA "{\"type\":\"object\",\"properties\":{\"a\":{}}}"
#define ANSWER_TOOL(schema)                                                                                  \
    "\"tools\":[{\"name\":\"answer_in_json\",\"description\":\"Gives your answer. Call it exactly once, "    \
    "with "                                                                                                  \
    "all of the answer.\",\"input_schema\":" schema                                                          \
    "}],\"tool_choice\":{\"type\":\"tool\",\"name\":\"answer_in_json\"},"

static void test_reasoning_and_formats(void **state)
{
    static const struct {
        const char *model, *vendor;
        int64_t max_tokens;
        const char *expect;
    } cases[] = {
        {"claude-sonnet-4-5", "{\"reasoning_effort\":\"high\"}", 20000,
            "\"max_tokens\":20000,\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":16000},"},
        {"claude-sonnet-4-5", "{\"reasoning_effort\":\"low\"}", 2000,
            "\"max_tokens\":2000,\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024},"},
        {"claude-sonnet-4-5", "{\"reasoning_effort\":\"high\"}", 1024, "\"max_tokens\":1024,"},
        {"claude-sonnet-4-5", "{\"reasoning_effort\":\"none\"}", 9, "\"max_tokens\":9,"},
        {"claude-opus-4-6", "{\"reasoning_effort\":\"minimal\"}", 9,
            "\"max_tokens\":9,\"thinking\":{\"type\":\"adaptive\"},\"output_config\":{\"effort\":\"low\"},"},
        {"claude-sonnet-4-5",
            "{\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\",\"strict\":true,"
            "\"schema\":" SCHEMA "}}}",
            9,
            "\"max_tokens\":9,\"output_config\":{\"format\":{\"type\":\"json_schema\",\"schema\":" SCHEMA
            "}},"},
        {"claude-sonnet-4-20250514",
            "{\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\",\"strict\":true,"
            "\"schema\":" SCHEMA "}}}",
            9, "\"max_tokens\":9," ANSWER_TOOL(SCHEMA)},
        {"claude-sonnet-4-5",
            "{\"reasoning_effort\":\"high\",\"response_format\":{\"type\":\"json_object\"}}", 9000,
            "\"max_tokens\":9000," ANSWER_TOOL("{\"type\":\"object\"}")},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chat_request *r = request_create();
        char want[1024];
        request_add(r, CHAT_USER, "hi");
        r->max_tokens = cases[i].max_tokens;
        r->vendor = request_json(r, cases[i].vendor);
        snprintf(
            want, sizeof want, "{\"model\":\"%s\",\"stream\":true,%s" HELLO, cases[i].model, cases[i].expect);
        assert_encodes(&provider_dialect_anthropic, cases[i].model, r, want);
        request_free(r);
    }
}

static void test_reasoning_where_it_cannot_be_is_refused(void **state)
{
    struct provider_model old = {.model = STR("claude-3-5-sonnet-20241022")},
                          now = {.model = STR("claude-sonnet-4-5")};
    struct error err;
    (void)state;
    struct chat_request *r = request_create();
    request_add(r, CHAT_USER, "hi");
    r->vendor = request_json(r, "{\"reasoning_effort\":\"high\"}");
    assert_int_equal(provider_dialect_anthropic.supports(&old, r, &err), ERROR_UNSUPPORTED);
    r->sampling.temperature = 0.5;
    assert_int_equal(provider_dialect_anthropic.supports(&now, r, &err), ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "'temperature'"));
    r->vendor = request_json(r, "{\"reasoning_effort\":\"enormous\"}");
    assert_int_equal(provider_dialect_anthropic.supports(&now, r, &err), ERROR_INVALID);
    request_free(r);
}

/* A client that did not keep the thought goes on without thinking: Anthropic refuses the turn otherwise. */
static void test_thinking_was_asked_for_in_the_middle_of_a_turn_without_its_thought(void **state)
{
    struct chat_request *r = request_create();
    (void)state;
    request_add(r, CHAT_USER, "hi");
    message_call(r, request_add(r, CHAT_ASSISTANT, NULL), "c1", "f", "{}");
    request_add(r, CHAT_TOOL, "x")->tool_call_id = STR("c1");
    r->max_tokens = 9000;
    r->vendor = request_json(r, "{\"reasoning_effort\":\"high\"}");
    assert_encodes(&provider_dialect_anthropic, "claude-sonnet-4-5", r,
        "{\"model\":\"claude-sonnet-4-5\",\"stream\":true,\"max_tokens\":9000,\"messages\":[{\"role\":"
        "\"user\","
        "\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]},{\"role\":\"assistant\",\"content\":[{\"type\":"
        "\"tool_use\",\"id\":\"c1\",\"name\":\"f\",\"input\":{}}]},{\"role\":\"user\",\"content\":[{\"type\":"
        "\"tool_result\",\"tool_use_id\":\"c1\",\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}]}]}");
    request_free(r);
}

static void test_headers(void **state)
{
    struct arena *a = arena_create(4096);
    struct egress_header h[PROVIDER_HEADERS_MAX];
    (void)state;
    assert_int_equal(
        provider_dialect_anthropic.headers(
            a, &(struct provider){.api_key = "sk-1", .api_key_len = 4}, &(struct chat_request){0}, h),
        4);
    assert_true(str_is(h[2].name, "x-api-key") && str_is(h[2].value, "sk-1"));
    assert_true(str_is(h[3].name, "anthropic-version") && str_is(h[3].value, "2023-06-01"));
    arena_free(a);
}

/* ---- Being answered ---- */

static const struct str sample = STR(
    START EVENT("ping", "") BLOCK("0", "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}")
        DELTA("0", "{\"type\":\"thinking_delta\",\"thinking\":\"hm\"}")
            DELTA("0", "{\"type\":\"signature_delta\",\"signature\":\"EqQB\"}") END("0") BLOCK(
                "1", "{\"type\":\"text\",\"text\":\"\"}") TEXT("1", "gr\\u00fc\\u00df ") TEXT("1", "😀")
                END("1") BLOCK("2", "{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"f\",\"input\":{}}")
                    ARGUMENTS("2", "") ARGUMENTS("2", "{\\\"a\\\"") ARGUMENTS("2", ":1}") END("2") BLOCK("3",
                        "{\"type\":\"tool_use\",\"id\":\"toolu_2\",\"name\":\"g\",\"input\":{}}") END("3")
                        EVENT("an_event_of_the_future", ",\"x\":[1]") STOPPED("tool_use", "42") STOP);

static void test_a_stream_with_everything(void **state)
{
    (void)state;
    assert_translates(provider_anthropic_event, SSE, sample,
        "start msg_1 claude-x\nusage 117 100 1 0\nreasoning hm\nsignature EqQB \ntext gr\xc3\xbc\xc3\x9f "
        "\ntext "
        "\xf0\x9f\x98\x80\n"
        "tool 0 toolu_1 f \ntool 0   {\"a\"\ntool 0   :1}\ntool 1 toolu_2 g \ntool 1   {}\nusage 117 100 42 "
        "0\nstop 2\n");
}

static void test_cuts_do_not_matter(void **state)
{
    (void)state;
    assert_cuts_do_not_matter(provider_anthropic_event, sample);
}

static void test_breaks_are_told(void **state)
{
    (void)state;
    size_t stopped = str_find(sample, STR("event: message_stop"));
    assert_breaks_are_told(provider_anthropic_event, sample, stopped);
}

static void test_thoughts_and_blocks_of_its_own(void **state)
{
    static const struct str bytes = STR(
        START BLOCK("0", "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}")
            DELTA("0", "{\"type\":\"thinking_delta\",\"thinking\":\"hm\"}")
                DELTA("0", "{\"type\":\"signature_delta\",\"signature\":\"Sig+/=\"}") END("0")
                    BLOCK("1", "{\"type\":\"redacted_thinking\",\"data\":\"xyz\"}") END("1") BLOCK("2",
                        "{\"type\":\"server_tool_use\",\"id\":\"s\",\"name\":\"web_search\",\"input\":{}}")
                        ARGUMENTS("2", "{\\\"q\\\"") ARGUMENTS("2", ":1}") END("2")
                            BLOCK("3", "{\"type\":\"web_search_tool_result\",\"content\":[]}") END("3")
                                BLOCK("4", "{\"type\":\"text\",\"text\":\"\"}") TEXT("4", "x")
                                    DELTA("4", "{\"type\":\"citations_delta\",\"citation\":{\"c\":1}}")
                                        END("4") STOPPED("pause_turn", "9") STOP);
    (void)state;
    struct buf got = translate(provider_anthropic_event, SSE, bytes, 0, 0, 0);
    assert_string_equal(got.data,
        "start msg_1 claude-x\nusage 117 100 1 0\nreasoning hm\nsignature Sig+/= \nsignature  xyz\n"
        "block {\"type\":\"server_tool_use\",\"id\":\"s\",\"name\":\"web_search\",\"input\":{\"q\":1}}\n"
        "block {\"type\":\"web_search_tool_result\",\"content\":[]}\n"
        "text x\ndelta {\"c\":1}\nusage 117 100 9 0\nstop 5\n");
    buf_free(&got);
}

static void test_an_answer_in_json_is_text(void **state)
{
    static const struct str bytes =
        STR(START BLOCK("0", "{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"answer_in_json\",\"input\":{}}")
                ARGUMENTS("0", "{\\\"a\\\"") ARGUMENTS("0", ":1}") END("0") STOPPED("tool_use", "9") STOP);
    (void)state;
    struct buf got = translate(provider_anthropic_event, SSE, bytes, 0, 0, 0);
    assert_string_equal(got.data,
        "start msg_1 claude-x\nusage 117 100 1 0\ntext {\"a\"\ntext :1}\nusage 117 100 9 0\nstop 0\n");
    buf_free(&got);
}

static void test_reasons_to_stop(void **state)
{
    static const struct {
        struct str stream;
        const char *last;
    } cases[] = {{STR(START STOPPED("end_turn", "1") STOP), "stop 0\n"},
        {STR(START STOPPED("max_tokens", "1") STOP), "stop 1\n"},
        {STR(START STOPPED("stop_sequence", "1") STOP), "stop 4\n"},
        {STR(START STOPPED("refusal", "1") STOP), "stop 3\n"},
        {STR(START STOPPED("pause_turn", "1") STOP), "stop 5\n"},
        {STR(START STOPPED("model_context_window_exceeded", "1") STOP), "stop 1\n"},
        {STR(START STOPPED("end_turn", "1")), "stop 0\n"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf got = translate(provider_anthropic_event, SSE, cases[i].stream, 0, 0, 0);
        assert_string_equal(strstr(got.data, "stop "), cases[i].last);
        buf_free(&got);
    }
}

static void test_the_last_usage_may_correct_the_first(void **state)
{
    (void)state;
    assert_translates(provider_anthropic_event, SSE,
        STR(START EVENT("message_delta",
            ",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"input_tokens\":50,"
            "\"cache_read_input_tokens\":0,\"output_tokens\":3}") STOP),
        "start msg_1 claude-x\nusage 117 100 1 0\nusage 50 0 3 0\nstop 0\n");
}

static void test_an_absurd_last_count_left_the_first_one_standing(void **state)
{
    static const struct {
        const char *usage, *told;
    } cases[] = {{"\"output_tokens\":-5", "usage 117 100 -1 0\n"},
        {"\"output_tokens\":9000000000000000", "usage 117 100 -1 0\n"},
        {"\"input_tokens\":-1,\"output_tokens\":\"7\"", "usage -1 0 -1 0\n"},
        {"\"input_tokens\":5,\"cache_read_input_tokens\":-9,\"output_tokens\":7", "usage -1 0 7 0\n"},
        {"\"input_tokens\":null,\"output_tokens\":7", "usage 117 100 7 0\n"}};
    char stream[1024], expect[256];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(stream, sizeof stream,
            START EVENT("message_delta", ",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{%s}") STOP,
            cases[i].usage);
        snprintf(expect, sizeof expect, "start msg_1 claude-x\nusage 117 100 1 0\n%sstop 0\n", cases[i].told);
        assert_translates(provider_anthropic_event, SSE, str_from(stream), expect);
    }
}

static void test_whole_answers(void **state)
{
    (void)state;
    assert_translates(provider_anthropic_event, "application/json",
        STR("{\"id\":\"msg_2\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-x\","
            "\"content\":["
            "{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"x\"},{\"type\":\"text\",\"text\":"
            "\"hello\"},"
            "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"f\",\"input\":{\"a\":[1,2]}},"
            "{\"type\":\"tool_use\",\"id\":\"t2\",\"name\":\"g\",\"input\":{}}],"
            "\"stop_reason\":\"tool_use\",\"usage\":{\"input_tokens\":5,\"output_tokens\":2}}"),
        "start msg_2 claude-x\nreasoning hm\nsignature x \ntext hello\ntool 0 t1 f \ntool 0   "
        "{\"a\":[1,2]}\ntool 1 t2 g "
        "\ntool 1   {}\n"
        "usage 5 0 2 0\nstop 2\n");
}

static void test_errors_in_the_stream(void **state)
{
    (void)state;
    assert_translates(provider_anthropic_event, SSE,
        STR(START BLOCK("0", "{\"type\":\"text\",\"text\":\"a\"}")
                EVENT("error", ",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}")),
        "start msg_1 claude-x\nusage 117 100 1 0\ntext a\n"
        "error unavailable 529 1 -1 overloaded_error: provider 'cloud' answered HTTP 529: Overloaded\n");
    assert_translates(provider_anthropic_event, SSE,
        STR(EVENT("error", ",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"too long\"}")),
        "error invalid 400 0 -1 invalid_request_error: provider 'cloud' answered HTTP 400: too long\n");
}

static void assert_fails(const char *type, struct str bytes, const char *why)
{
    assert_breaks(provider_anthropic_event, type, bytes, "error unavailable 0 1 ", why);
}

static void test_nonsense_is_one_error(void **state)
{
    (void)state;
    assert_fails(SSE, STR(""), "ended before it was complete");
    assert_fails(SSE, STR(START), "ended before it was complete");
    assert_fails(SSE, STR(EVENT("ping", "")), "ended before it was complete");
    assert_fails(SSE, STR("data: {\"a\":1}\n\n"), "no 'type'");
    assert_fails(SSE, STR("data: {\"type\":\n\n"), "not valid JSON");
    assert_fails(SSE, STR(TEXT("0", "early")), "before message_start");
    assert_fails(SSE, STR(START ARGUMENTS("0", "{}")), "no name");
    assert_fails(SSE, STR(START BLOCK("0", "{\"type\":\"tool_use\",\"id\":\"a\"}")), "no name");
    assert_fails("application/json", STR("{\"type\":\"message\""), "not valid JSON");
    assert_fails("text/html", STR("<html>"), "'text/html'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_conversation_with_tools),
        cmocka_unit_test(test_images_and_cache_control),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_tool_choices),
        cmocka_unit_test(test_what_has_no_word_is_refused_by_name),
        cmocka_unit_test(test_messages_that_cannot_be_said_are_refused),
        cmocka_unit_test(test_an_image_that_is_no_url_of_a_kind_known_is_refused),
        cmocka_unit_test(test_the_maximum_comes_from_the_model),
        cmocka_unit_test(test_reasoning_and_formats),
        cmocka_unit_test(test_reasoning_where_it_cannot_be_is_refused),
        cmocka_unit_test(test_thinking_was_asked_for_in_the_middle_of_a_turn_without_its_thought),
        cmocka_unit_test(test_thoughts_and_blocks_of_its_own),
        cmocka_unit_test(test_an_answer_in_json_is_text),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_a_stream_with_everything),
        cmocka_unit_test(test_cuts_do_not_matter),
        cmocka_unit_test(test_breaks_are_told),
        cmocka_unit_test(test_reasons_to_stop),
        cmocka_unit_test(test_the_last_usage_may_correct_the_first),
        cmocka_unit_test(test_an_absurd_last_count_left_the_first_one_standing),
        cmocka_unit_test(test_whole_answers),
        cmocka_unit_test(test_errors_in_the_stream),
        cmocka_unit_test(test_nonsense_is_one_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "fixture.h"

#define SSE "text/event-stream"
#define EVENT(rest) "data: {" rest ",\"modelVersion\":\"gemini-x\",\"responseId\":\"r1\"}\r\n\r\n"
#define PARTS(parts) "\"candidates\":[{\"content\":{\"parts\":[" parts "],\"role\":\"model\"},\"index\":0}]"
#define ENDED(reason)                                                                                        \
    "\"candidates\":[{\"content\":{\"role\":\"model\"},\"finishReason\":\"" reason "\",\"index\":0}]"
#define USAGE(counts) "\"usageMetadata\":{" counts "}"
#define HI EVENT(PARTS("{\"text\":\"hi\"}"))

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
    m = request_add(r, CHAT_TOOL, "{\"id\":12345678901234567890}");
    m->tool_call_id = STR("call_2");
    m = request_add(r, CHAT_TOOL, "sunny");
    m->tool_call_id = STR("call:1");
    m->name = STR("weather");
    request_add(r, CHAT_USER, "so?");
    request_add(r, CHAT_DEVELOPER, "in German");
    request_add(r, CHAT_USER, "");
    request_add(r, CHAT_ASSISTANT, "Es");
    assert_encodes(&provider_dialect_gemini, "gemini-2.5-flash", r,
        "{\"generationConfig\":{},"
        "\"systemInstruction\":{\"parts\":[{\"text\":\"be brief\"},{\"text\":\"in German\"}]},"
        "\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"weather?\"}]},"
        "{\"role\":\"model\",\"parts\":[{\"text\":\"looking\"},"
        "{\"functionCall\":{\"id\":\"call:1\",\"name\":\"weather\",\"args\":{\"city\":\"Bern\",\"n\":1.5}}},"
        "{\"functionCall\":{\"id\":\"call_2\",\"name\":\"time\",\"args\":{}}}]},"
        "{\"role\":\"user\",\"parts\":["
        "{\"functionResponse\":{\"id\":\"call_2\",\"name\":\"time\","
        "\"response\":{\"output\":\"{\\\"id\\\":12345678901234567890}\"}}},"
        "{\"functionResponse\":{\"id\":\"call:1\",\"name\":\"weather\",\"response\":{\"output\":\"sunny\"}}}"
        "]},"
        "{\"role\":\"user\",\"parts\":[{\"text\":\"so?\"}]},"
        "{\"role\":\"model\",\"parts\":[{\"text\":\"Es\"}]}]}");
    request_free(r);
}

/* The third generation refuses calls without a signature, which no OpenAI client keeps. */
static void test_calls_are_signed_for_models_that_insist(void **state)
{
    static const struct {
        const char *model;
        bool signs;
    } cases[] = {{"gemini-3-pro-preview", true}, {"models/gemini-3.5-flash", true},
        {"gemini-flash-latest", true}, {"gemini-2.5-pro", false}, {"models/gemini-2.0-flash", false},
        {"gemini-1.5-pro", false}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chat_request *r = request_create();
        struct chat_message *m = request_add(r, CHAT_ASSISTANT, NULL);
        message_call(r, m, "", "f", "");
        message_call(r, m, "", "g", "");
        assert_encodes(&provider_dialect_gemini, cases[i].model, r,
            arena_printf(r->arena,
                "{\"generationConfig\":{},\"contents\":[{\"role\":\"model\",\"parts\":["
                "{\"functionCall\":{\"name\":\"f\",\"args\":{}}%s},"
                "{\"functionCall\":{\"name\":\"g\",\"args\":{}}}]}]}",
                cases[i].signs ? ",\"thoughtSignature\":\"skip_thought_signature_validator\"" : "")
                .data);
        request_free(r);
    }
}

static void test_images_and_sound_are_sent_along(void **state)
{
    struct chat_request *r = request_create();
    (void)state;
    struct chat_message *m = request_add(r, CHAT_USER, NULL);
    message_part(r, m, CHAT_PART_TEXT, "{\"type\":\"text\",\"text\":\"look\"}");
    message_part(r, m, CHAT_PART_IMAGE,
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,iVBOR\"}}");
    struct chat_part *sound = message_part(r, m, CHAT_PART_AUDIO, NULL);
    sound->format = STR("wav");
    sound->data = STR("UklGR");
    assert_encodes(&provider_dialect_gemini, "g", r,
        "{\"generationConfig\":{},\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"look\"},"
        "{\"inlineData\":{\"mimeType\":\"image/png\",\"data\":\"iVBOR\"}},"
        "{\"inlineData\":{\"mimeType\":\"audio/wav\",\"data\":\"UklGR\"}}]}]}");
    request_free(r);
}

static void test_settings(void **state)
{
    static const struct str stops[] = {STR("END"), STR("\n")};
    struct chat_request *r = request_create();
    (void)state;
    request_add(r, CHAT_USER, "hi");
    r->max_tokens = 9;
    r->sampling.temperature = 1.5;
    r->sampling.top_p = 0.5;
    r->sampling.top_k = 40;
    r->sampling.repeat_penalty = 1;
    r->sampling.presence_penalty = -0.5;
    r->sampling.frequency_penalty = 0.25;
    r->sampling.has_seed = true;
    r->sampling.seed = -7;
    r->stops = (struct str *)(uintptr_t)stops;
    r->n_stops = 2;
    r->user = STR("u1");
    r->parallel_tool_calls = 0; /* without tools it asks for nothing */
    r->vendor = request_json(r,
        "{\"store\":true,\"metadata\":{\"a\":\"b\"},\"service_tier\":\"auto\",\"logprobs\":false,\"n\":1,"
        "\"response_format\":{\"type\":\"text\"},\"logit_bias\":{},\"reasoning_effort\":null}");
    assert_encodes(&provider_dialect_gemini, "g", r,
        "{\"generationConfig\":{\"temperature\":1.5,\"topP\":0.5,\"topK\":40,\"maxOutputTokens\":9,"
        "\"seed\":-7,\"presencePenalty\":-0.5,\"frequencyPenalty\":0.25,\"stopSequences\":[\"END\",\"\\n\"]},"
        "\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"hi\"}]}]}");
    chat_sampling_init(&r->sampling);
    r->sampling.temperature = 0;
    r->max_tokens = -1;
    r->n_stops = 0;
    assert_encodes(&provider_dialect_gemini, "g", r,
        "{\"generationConfig\":{\"temperature\":0.0},"
        "\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"hi\"}]}]}");
    request_free(r);
}

static void test_tool_choices(void **state)
{
    static const struct {
        enum chat_tool_choice choice;
        const char *expect;
    } cases[] = {{CHAT_TOOLS_UNSET, ""},
        {CHAT_TOOLS_AUTO, ",\"toolConfig\":{\"functionCallingConfig\":{\"mode\":\"AUTO\"}}"},
        {CHAT_TOOLS_NONE, ",\"toolConfig\":{\"functionCallingConfig\":{\"mode\":\"NONE\"}}"},
        {CHAT_TOOLS_REQUIRED, ",\"toolConfig\":{\"functionCallingConfig\":{\"mode\":\"ANY\"}}"},
        {CHAT_TOOLS_NAMED, ",\"toolConfig\":{\"functionCallingConfig\":{\"mode\":\"ANY\","
                           "\"allowedFunctionNames\":[\"f\"]}}"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chat_request *r = request_create();
        request_add(r, CHAT_USER, "hi");
        request_tool(r, "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\"}}");
        request_tool(r, "{\"type\":\"function\",\"function\":{\"name\":\"g\",\"parameters\":"
                        "{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}}}");
        r->tool_choice = cases[i].choice;
        r->tool_choice_name = STR("f");
        r->parallel_tool_calls = 1;
        assert_encodes(&provider_dialect_gemini, "g", r,
            arena_printf(r->arena,
                "{\"generationConfig\":{},\"tools\":[{\"functionDeclarations\":["
                "{\"name\":\"f\",\"description\":\"d\"},{\"name\":\"g\"}]}]%s,"
                "\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"hi\"}]}]}",
                cases[i].expect)
                .data);
        request_free(r);
    }
}

static void test_what_has_no_word_is_refused_by_name(void **state)
{
    static const char *const vendor[][2] = {{"{\"n\":2}", "'n'"}, {"{\"logprobs\":true}", "'logprobs'"},
        {"{\"response_format\":{\"type\":\"xml\"}}", "'response_format'"},
        {"{\"something_new\":1}", "'something_new'"}, {"{\"modalities\":[\"audio\"]}", "'modalities'"}};
    struct chat_request *r;
    (void)state;
    for (size_t i = 0; i < sizeof vendor / sizeof *vendor; i++) {
        r = request_create();
        r->vendor = request_json(r, vendor[i][0]);
        assert_refuses(&provider_dialect_gemini, r, vendor[i][1]);
        request_free(r);
    }
    r = request_create();
    r->sampling.min_p = 0.1;
    assert_refuses(&provider_dialect_gemini, r, "'min_p'");
    r->sampling.min_p = NAN;
    r->sampling.repeat_penalty = 1.1;
    assert_refuses(&provider_dialect_gemini, r, "'repeat_penalty'");
    r->sampling.repeat_penalty = NAN;
    r->sampling.has_seed = true;
    r->sampling.seed = 1LL << 31;
    assert_refuses(&provider_dialect_gemini, r, "'seed'");
    r->sampling.has_seed = false;
    r->n_stops = 6;
    assert_refuses(&provider_dialect_gemini, r, "'stop'");
    r->n_stops = 0;
    request_tool(r, "{\"type\":\"function\",\"function\":{\"name\":\"f\"}}");
    r->parallel_tool_calls = 0;
    assert_refuses(&provider_dialect_gemini, r, "'parallel_tool_calls'");
    request_free(r);
}

static void messages_clear(struct chat_request *r)
{
    if (r->messages)
        memset(r->messages, 0, 8 * sizeof *r->messages);
    r->n_messages = 0;
}

static void test_messages_that_cannot_be_said_are_refused(void **state)
{
    static const char *const urls[] = {"https://x/y.png", "http://x/y.png", "data:image/png,abc", ""};
    struct chat_request *r = request_create();
    (void)state;
    r->has_prompt = true;
    assert_refuses(&provider_dialect_gemini, r, "prompt");
    r->has_prompt = false;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        messages_clear(r);
        message_part(r, request_add(r, CHAT_USER, NULL), CHAT_PART_IMAGE, NULL)->url = str_from(urls[i]);
        assert_refuses(
            &provider_dialect_gemini, r, "messages[0].content[0] names an image by its 'image_url'");
    }
    static const enum chat_role roles[] = {CHAT_SYSTEM, CHAT_ASSISTANT};
    for (size_t i = 0; i < 2; i++) {
        messages_clear(r);
        message_part(r, request_add(r, roles[i], NULL), CHAT_PART_IMAGE, NULL)->url =
            STR("data:image/png;base64,AAAA");
        assert_refuses(&provider_dialect_gemini, r, "messages[0].content[0]");
    }
    messages_clear(r);
    message_part(r, request_add(r, CHAT_USER, NULL), CHAT_PART_OTHER, "{\"type\":\"file\"}");
    assert_refuses(&provider_dialect_gemini, r, "messages[0].content[0]");
    messages_clear(r);
    request_add(r, CHAT_USER, "hi")->name = STR("ann");
    assert_refuses(&provider_dialect_gemini, r, "'name'");
    r->messages[0].name = STR_NONE;
    r->messages[0].vendor = request_json(r, "{\"odd\":1}");
    assert_refuses(&provider_dialect_gemini, r, "'odd'");
    r->messages[0].vendor = NULL;
    request_tool(r, "{\"type\":\"web_search\"}");
    assert_refuses(&provider_dialect_gemini, r, "tools[0]");
    request_free(r);
}

/* Encoding fails with ERROR_INVALID and says `what`. */
static void assert_is_invalid(struct chat_request *r, const char *what)
{
    struct provider_model m = {.model = STR("g")};
    struct error err;
    struct buf body;
    buf_init(&body, MIB);
    assert_int_equal(provider_gemini_encode(&m, r, &body, &err), ERROR_INVALID);
    if (!strstr(err.message, what))
        fail_msg("'%s' does not say '%s'", err.message, what);
    buf_free(&body);
}

static void test_tool_results_belong_to_a_call(void **state)
{
    static const char *const arguments[] = {"{\"a\":", "[1]", "7", "{} {}"};
    struct chat_request *r = request_create();
    (void)state;
    request_add(r, CHAT_SYSTEM, "only this");
    assert_is_invalid(r, "no message to answer");
    for (size_t i = 0; i < 4; i++) {
        messages_clear(r);
        message_call(r, request_add(r, CHAT_ASSISTANT, NULL), "c1", "f", arguments[i]);
        assert_is_invalid(r, "'c1'");
    }
    /* The call comes only later, and has another name then: the first stands for nothing. */
    messages_clear(r);
    request_add(r, CHAT_TOOL, "x")->tool_call_id = STR("c1");
    message_call(r, request_add(r, CHAT_ASSISTANT, NULL), "c1", "f", "");
    assert_is_invalid(r, "messages[0] answers no tool call");
    r->messages[0].name = STR("g"); /* the client says it */
    request_add(r, CHAT_TOOL, "y")->tool_call_id = STR("c1");
    struct chat_message *m = request_add(r, CHAT_ASSISTANT, NULL);
    message_call(r, m, "c1", "h", ""); /* an id used again: the latest call counts */
    m = request_add(r, CHAT_TOOL, NULL);
    m->tool_call_id = STR("c1");
    message_part(r, m, CHAT_PART_TEXT, "{\"type\":\"text\",\"text\":\"p\"}");
    message_part(r, m, CHAT_PART_TEXT, "{\"type\":\"text\",\"text\":\"q\"}");
    assert_encodes(&provider_dialect_gemini, "gemini-2.0-flash", r,
        "{\"generationConfig\":{},\"contents\":["
        "{\"role\":\"user\",\"parts\":[{\"functionResponse\":{\"id\":\"c1\",\"name\":\"g\","
        "\"response\":{\"output\":\"x\"}}}]},"
        "{\"role\":\"model\",\"parts\":[{\"functionCall\":{\"id\":\"c1\",\"name\":\"f\",\"args\":{}}}]},"
        "{\"role\":\"user\",\"parts\":[{\"functionResponse\":{\"id\":\"c1\",\"name\":\"f\","
        "\"response\":{\"output\":\"y\"}}}]},"
        "{\"role\":\"model\",\"parts\":[{\"functionCall\":{\"id\":\"c1\",\"name\":\"h\",\"args\":{}}}]},"
        "{\"role\":\"user\",\"parts\":[{\"functionResponse\":{\"id\":\"c1\",\"name\":\"h\","
        "\"response\":{\"output\":[\"p\",\"q\"]}}}]}]}");
    request_free(r);
}

/* ---- Where to ask ---- */

static void test_paths_and_headers(void **state)
{
    static const struct {
        const char *base_url, *model, *path;
    } cases[] = {
        {"https://a.example", "gemini-2.5-flash",
            "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"},
        {"https://a.example/v1beta/", "gemini-2.5-flash",
            "/models/gemini-2.5-flash:streamGenerateContent?alt=sse"},
        {"https://a.example/proxy", "models/g", "/v1beta/models/g:streamGenerateContent?alt=sse"},
        {"https://a.example/x/v1alpha", "tunedModels/my-1",
            "/tunedModels/my-1:streamGenerateContent?alt=sse"},
        {"https://a.example/v1", "a b/../?#\xc3\xa4",
            "/models/a%20b%2F..%2F%3F%23%C3%A4:streamGenerateContent?alt=sse"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err;
        struct egress_target_options t = {
            .name = STR("cloud"), .base_url = str_from(cases[i].base_url), .zone = EGRESS_ZONE_CLOUD};
        struct provider_options o = {.name = STR("cloud"), .kind = STR("gemini")};
        struct provider_model m = {.model = str_from(cases[i].model)};
        struct chat_request *r = request_create();
        assert_int_equal(egress_target_create(&t, &o.target, &err), 0);
        assert_int_equal(provider_create(&o, &m.provider, &err), 0);
        struct str path = provider_dialect_gemini.path(r->arena, &m, r);
        if (!str_is(path, cases[i].path))
            fail_msg("got " STR_FMT " not %s", STR_ARG(path), cases[i].path);
        provider_free(m.provider);
        request_free(r);
    }
    struct arena *a = arena_create(4096);
    struct egress_header h[PROVIDER_HEADERS_MAX];
    assert_int_equal(
        provider_dialect_gemini.headers(
            a, &(struct provider){.api_key = "AIza-1", .api_key_len = 6}, &(struct chat_request){0}, h),
        3);
    assert_true(str_is(h[2].name, "x-goog-api-key") && str_is(h[2].value, "AIza-1"));
    assert_int_equal(
        provider_dialect_gemini.headers(a, &(struct provider){0}, &(struct chat_request){0}, h), 2);
    arena_free(a);
}

/* ---- Being answered ---- */

static const struct str sample = STR(EVENT(PARTS("{\"text\":\"hm\",\"thought\":true}") "," USAGE(
    "\"promptTokenCount\":10,\"cachedContentTokenCount\":4"))
        EVENT(PARTS("{\"text\":\"gr\\u00fc\\u00df \"},{\"text\":\"😀\",\"thoughtSignature\":\"AbC=\"}"))
            EVENT(PARTS("{\"functionCall\":{\"name\":\"f\",\"args\":{\"a\":[1,\"x\"],\"b\":{}}}},"
                        "{\"functionCall\":{\"name\":\"g\",\"id\":\"g-1\"},\"thoughtSignature\":\"x\"}"))
                EVENT(PARTS("{\"functionCall\":{\"name\":\"f\",\"args\":{}}},{\"something_new\":{}}"))
                    EVENT(ENDED("STOP") "," USAGE("\"promptTokenCount\":10,\"cachedContentTokenCount\":4,"
                                                  "\"candidatesTokenCount\":5,\"thoughtsTokenCount\":2,"
                                                  "\"totalTokenCount\":17")));

static void test_a_stream_with_everything(void **state)
{
    (void)state;
    struct buf got = translate(provider_gemini_event, SSE, sample, 0, 0, 0);
    const char *f = strstr(got.data, "tool 0 call_");
    assert_non_null(f);
    const char *again = strstr(got.data, "tool 2 call_");
    assert_non_null(again);
    assert_memory_not_equal(f + 7, again + 7, 25); /* each call has an id of its own */
    struct buf expect;
    buf_init(&expect, 4096);
    buf_appendf(&expect,
        "start r1 gemini-x\nreasoning hm\nusage 10 4 -1 0\ntext gr\xc3\xbc\xc3\x9f \ntext "
        "\xf0\x9f\x98\x80\ntool 0 %.25s f {\"a\":[1,\"x\"],\"b\":{}}\ntool 1 g-1 g {}\n"
        "tool 2 %.25s f {}\nusage 10 4 7 2\nstop 2\n",
        f + 7, again + 7);
    assert_string_equal(got.data, expect.data);
    buf_free(&expect);
    buf_free(&got);
}

static void test_cuts_do_not_matter(void **state)
{
    (void)state;
    assert_cuts_do_not_matter(provider_gemini_event, sample); /* ids included */
}

static void test_breaks_are_told(void **state)
{
    (void)state;
    assert_breaks_are_told(provider_gemini_event, sample, sample.len - 1); /* its last empty line */
}

static void test_calls_without_any_id_get_one(void **state)
{
    (void)state;
    struct buf got = translate(provider_gemini_event, "application/json",
        STR("{\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"f\"}}]},"
            "\"finishReason\":\"STOP\"}]}"),
        0, 0, 0);
    assert_true(str_starts(buf_str(&got), STR("start  \ntool 0 call_")));
    assert_non_null(strstr(got.data, " f {}\nstop 2\n"));
    buf_free(&got);
}

static void test_reasons_to_stop(void **state)
{
    static const struct {
        struct str stream;
        const char *last;
    } cases[] = {{STR(HI EVENT(ENDED("STOP"))), "stop 0\n"}, {STR(HI EVENT(ENDED("MAX_TOKENS"))), "stop 1\n"},
        {STR(HI EVENT(ENDED("SAFETY"))), "stop 3\n"}, {STR(HI EVENT(ENDED("RECITATION"))), "stop 3\n"},
        {STR(HI EVENT(ENDED("BLOCKLIST"))), "stop 3\n"}, {STR(HI EVENT(ENDED("SPII"))), "stop 3\n"},
        {STR(HI EVENT(ENDED("PROHIBITED_CONTENT"))), "stop 3\n"}, {STR(HI EVENT(ENDED("OTHER"))), "stop 3\n"},
        {STR(EVENT(PARTS("{\"functionCall\":{\"name\":\"f\"}}")) EVENT(ENDED("STOP"))), "stop 2\n"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf got = translate(provider_gemini_event, SSE, cases[i].stream, 0, 0, 0);
        assert_non_null(strstr(got.data, "stop "));
        assert_string_equal(strstr(got.data, "stop "), cases[i].last);
        buf_free(&got);
    }
}

static void test_a_blocked_prompt_is_the_clients_to_change(void **state)
{
    (void)state;
    assert_translates(provider_gemini_event, SSE,
        STR(EVENT(
            "\"promptFeedback\":{\"blockReason\":\"PROHIBITED_CONTENT\"}," USAGE("\"promptTokenCount\":9"))),
        "error invalid 0 0 -1 : provider 'cloud': the prompt was blocked (PROHIBITED_CONTENT): change the "
        "messages or choose another model\n");
}

static void test_counts(void **state)
{
    (void)state;
    /* A zero is left out: known once the answer has ended. */
    assert_translates(provider_gemini_event, SSE,
        STR(EVENT(ENDED("SAFETY") "," USAGE("\"promptTokenCount\":3"))),
        "start r1 gemini-x\nusage 3 0 0 0\nstop 3\n");
    assert_translates(provider_gemini_event, SSE,
        STR(EVENT(PARTS("{\"text\":\"a\"}") "," USAGE("\"promptTokenCount\":3,\"candidatesTokenCount\":1"))
                EVENT(USAGE("\"promptTokenCount\":3,\"candidatesTokenCount\":2"))
                    EVENT(ENDED("STOP") "," USAGE(
                        "\"candidatesTokenCount\":9223372036854775807,\"thoughtsTokenCount\":-4"))),
        "start r1 gemini-x\ntext a\nusage 3 0 1 0\nusage 3 0 2 0\nusage -1 0 -1 0\nstop 0\n");
}

struct answers {
    char text[2][32];
    char ids[2][64];
    int stops;
};

static void on_answers(void *ctx, const struct chat_event *e)
{
    struct answers *s = ctx;
    assert_true(e->choice < 2);
    if (e->kind == CHAT_EVENT_TEXT)
        strncat(s->text[e->choice], e->text.data, e->text.len);
    if (e->kind == CHAT_EVENT_TOOL_CALL)
        strncat(s->ids[e->choice], e->tool_call.id.data, e->tool_call.id.len);
    s->stops += e->kind == CHAT_EVENT_STOP;
    assert_int_not_equal(e->kind, CHAT_EVENT_ERROR);
}

/* Two answers at once, a third that nobody asked for, and calls whose ids differ. */
static void test_several_answers(void **state)
{
    struct answers s = {0};
    struct provider_answer a;
    (void)state;
    provider_answer_init(
        &a, STR("cloud"), STR(""), provider_gemini_event, (struct chat_sink){on_answers, &s});
    provider_answer_expect(&a, 2);
    provider_answer_content_type(&a, STR("text/event-stream"));
    provider_answer_feed(&a,
        STR(EVENT(
            "\"candidates\":["
            "{\"index\":0,\"content\":{\"parts\":[{\"text\":\"a\"},{\"functionCall\":{\"name\":\"f\"}}]}},"
            "{\"index\":1,\"content\":{\"parts\":[{\"text\":\"b\"},{\"functionCall\":{\"name\":\"f\"}}]}},"
            "{\"index\":2,\"content\":{\"parts\":[{\"text\":\"c\"}]}}]")
                EVENT("\"candidates\":[{\"index\":1,\"finishReason\":\"STOP\"},{\"index\":0,\"finishReason\":"
                      "\"STOP\"}]")));
    provider_answer_finish(&a, 0, NULL);
    provider_answer_free(&a);
    assert_string_equal(s.text[0], "a");
    assert_string_equal(s.text[1], "b");
    assert_int_equal(s.stops, 2);
    assert_string_not_equal(s.ids[0], s.ids[1]);
}

static void test_several_answers_are_asked_for(void **state)
{
    struct chat_request *r = request_create();
    struct provider_model m = {.model = STR("gemini-x")};
    struct buf body;
    struct error err;
    (void)state;
    request_add(r, CHAT_USER, "hi");
    buf_init(&body, MIB);
    r->n = 3;
    assert_int_equal(provider_gemini_encode(&m, r, &body, &err), 0);
    assert_non_null(strstr(body.data, "\"candidateCount\":3"));
    r->n = 9;
    assert_int_equal(provider_gemini_encode(&m, r, &body, &err), ERROR_UNSUPPORTED);
    buf_free(&body);
    request_free(r);
}

#define ANSWER(text, more)                                                                                   \
    "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"" text "\"}]}" more "}],\"responseId\":\"r2\"}"

static void test_whole_answers_and_arrays(void **state)
{
    (void)state;
    assert_translates(provider_gemini_event, "application/json",
        STR(ANSWER("hello", ",\"finishReason\":\"STOP\"")), "start r2 \ntext hello\nstop 0\n");
    static const struct str list =
        STR("[" ANSWER("a", "") "\n,\r\n" ANSWER("b", ",\"finishReason\":\"MAX_TOKENS\"") "\n]\n");
    assert_translates(provider_gemini_event, "application/json; charset=UTF-8", list,
        "start r2 \ntext a\ntext b\nstop 1\n");
    for (size_t i = 1; i < list.len; i++) {
        struct buf cut = translate(provider_gemini_event, "", list, i, 0, 0);
        assert_string_equal(cut.data, "start r2 \ntext a\ntext b\nstop 1\n");
        buf_free(&cut);
    }
    assert_translates(provider_gemini_event, "application/json",
        STR("[" ANSWER("a", "") ",{\"error\":{\"code\":503,\"message\":\"overloaded\",\"status\":"
                                "\"UNAVAILABLE\"}}," ANSWER("b", "") "]"),
        "start r2 \ntext a\nerror unavailable 503 1 -1 UNAVAILABLE: provider 'cloud' answered HTTP 503: "
        "overloaded\n");
}

static void test_errors_in_the_stream(void **state)
{
    (void)state;
    assert_translates(provider_gemini_event, SSE,
        STR(HI "data: {\"error\":{\"code\":429,\"message\":\"slow down\",\"status\":\"RESOURCE_EXHAUSTED\","
               "\"details\":[{\"@type\":\"type.googleapis.com/"
               "google.rpc.RetryInfo\",\"retryDelay\":\"3.5s\"}"
               "]}}\n\n"),
        "start r1 gemini-x\ntext hi\nerror busy 429 1 3500 RESOURCE_EXHAUSTED: provider 'cloud' answered "
        "HTTP 429: slow down\n");
    assert_translates(provider_gemini_event, SSE,
        STR("data: [{\"error\":{\"code\":400,\"message\":\"bad\",\"status\":\"INVALID_ARGUMENT\"}}]\n\n"),
        "error invalid 400 0 -1 INVALID_ARGUMENT: provider 'cloud' answered HTTP 400: bad\n");
}

static void assert_fails(const char *type, struct str bytes, const char *why)
{
    assert_breaks(provider_gemini_event, type, bytes, "error unavailable 0 1 ", why);
}

static void test_nonsense_is_one_error(void **state)
{
    (void)state;
    assert_fails(SSE, STR(""), "ended before it was complete");
    assert_fails(SSE, STR(HI), "ended before it was complete");
    assert_fails(SSE, STR("data: {}\n\n"), "ended before it was complete");
    assert_fails(SSE, STR("data: {\"candidates\":\n\n"), "not valid JSON");
    assert_fails(SSE, STR("data: {\"candidates\":7}\n\n"), "no list");
    assert_fails(SSE, STR("data: {\"candidates\":[7]}\n\n"), "no objects");
    assert_fails(SSE, STR("data: [7]\n\n"), "not a JSON object");
    assert_fails(SSE, STR(EVENT(PARTS("{\"functionCall\":{}}"))), "no name");
    assert_fails(SSE, STR(EVENT(PARTS("{\"inlineData\":{\"data\":\"AA\"}}"))), "an image");
    assert_fails(SSE, STR(HI EVENT(ENDED("MALFORMED_FUNCTION_CALL"))), "MALFORMED_FUNCTION_CALL");
    assert_fails(SSE, STR(HI EVENT(ENDED("FINISH_REASON_UNSPECIFIED"))), "before it was complete");
    assert_fails("application/json", STR("[" ANSWER("a", "") "]"), "before it was complete");
    assert_fails("application/json", STR("[" ANSWER("a", ",\"finishReason\":\"STOP\"")), "not valid JSON");
    assert_fails("application/json", STR("[]"), "not a JSON object");
    assert_fails("text/html", STR("<html>"), "'text/html'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_several_answers),
        cmocka_unit_test(test_several_answers_are_asked_for),
        cmocka_unit_test(test_a_conversation_with_tools),
        cmocka_unit_test(test_calls_are_signed_for_models_that_insist),
        cmocka_unit_test(test_images_and_sound_are_sent_along),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_tool_choices),
        cmocka_unit_test(test_what_has_no_word_is_refused_by_name),
        cmocka_unit_test(test_messages_that_cannot_be_said_are_refused),
        cmocka_unit_test(test_tool_results_belong_to_a_call),
        cmocka_unit_test(test_paths_and_headers),
        cmocka_unit_test(test_a_stream_with_everything),
        cmocka_unit_test(test_cuts_do_not_matter),
        cmocka_unit_test(test_breaks_are_told),
        cmocka_unit_test(test_calls_without_any_id_get_one),
        cmocka_unit_test(test_reasons_to_stop),
        cmocka_unit_test(test_a_blocked_prompt_is_the_clients_to_change),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_whole_answers_and_arrays),
        cmocka_unit_test(test_errors_in_the_stream),
        cmocka_unit_test(test_nonsense_is_one_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Bedrock's Converse: requests, the event stream, hostile bytes. */
#include "fixture.h"

#define TYPE "application/vnd.amazon.eventstream"

/* ---- The event stream, made by hand ---- */

static uint32_t crc_of(const char *bytes, size_t n)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        crc ^= (unsigned char)bytes[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

static void number(struct buf *b, uint32_t n)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        buf_append_char(b, (char)(n >> shift & 0xff));
}

static void header(struct buf *b, const char *name, const char *value)
{
    buf_append_char(b, (char)strlen(name));
    buf_append_text(b, name);
    buf_append_char(b, 7);
    buf_append_char(b, (char)(strlen(value) >> 8));
    buf_append_char(b, (char)strlen(value));
    buf_append_text(b, value);
}

static void message_with(struct buf *out, struct str headers, const char *payload)
{
    size_t from = out->len;
    number(out, (uint32_t)(16 + headers.len + strlen(payload)));
    number(out, (uint32_t)headers.len);
    number(out, crc_of(out->data + from, 8));
    buf_append_str(out, headers);
    buf_append_text(out, payload);
    number(out, crc_of(out->data + from, out->len - from));
}

static void message(struct buf *out, const char *kind, const char *name, const char *payload)
{
    struct buf headers;
    buf_init(&headers, KIB);
    header(&headers,
        strcmp(kind, "event") == 0   ? ":event-type"
        : strcmp(kind, "error") == 0 ? ":error-code"
                                     : ":exception-type",
        name);
    header(&headers, ":content-type", "application/json");
    header(&headers, ":message-type", kind);
    message_with(out, buf_str(&headers), payload);
    buf_free(&headers);
}

#define DELTA(index, delta) "{\"contentBlockIndex\":" #index ",\"delta\":" delta ",\"p\":\"abcd\"}"

/* Reasoning, text in pieces, two calls at once, and what it cost. */
static struct buf sample_make(void)
{
    struct buf b;
    buf_init(&b, MIB);
    message(&b, "event", "messageStart", "{\"role\":\"assistant\"}");
    message(&b, "event", "contentBlockDelta", DELTA(0, "{\"reasoningContent\":{\"text\":\"hm\"}}"));
    message(&b, "event", "contentBlockDelta", DELTA(0, "{\"reasoningContent\":{\"signature\":\"c2ln\"}}"));
    message(&b, "event", "contentBlockStop", "{\"contentBlockIndex\":0}");
    message(&b, "event", "contentBlockDelta", DELTA(1, "{\"text\":\"Gr\xc3\xbc\xc3\x9f\"}"));
    message(&b, "event", "contentBlockDelta", DELTA(1, "{\"text\":\"e\"}"));
    message(&b, "event", "contentBlockStop", "{\"contentBlockIndex\":1}");
    message(&b, "event", "contentBlockStart",
        "{\"contentBlockIndex\":2,\"start\":{\"toolUse\":{\"toolUseId\":\"t1\",\"name\":\"f\"}}}");
    message(&b, "event", "contentBlockDelta", DELTA(2, "{\"toolUse\":{\"input\":\"{\\\"a\\\"\"}}"));
    message(&b, "event", "contentBlockDelta", DELTA(2, "{\"toolUse\":{\"input\":\":1}\"}}"));
    message(&b, "event", "contentBlockStop", "{\"contentBlockIndex\":2}");
    message(&b, "event", "contentBlockStart",
        "{\"contentBlockIndex\":3,\"start\":{\"toolUse\":{\"toolUseId\":\"t2\",\"name\":\"g\"}}}");
    message(&b, "event", "contentBlockStop", "{\"contentBlockIndex\":3}");
    message(&b, "event", "messageStop", "{\"stopReason\":\"tool_use\"}");
    message(&b, "event", "metadata",
        "{\"usage\":{\"inputTokens\":5,\"outputTokens\":7,\"totalTokens\":42,\"cacheReadInputTokens\":20,"
        "\"cacheWriteInputTokens\":10},\"metrics\":{\"latencyMs\":9}}");
    return b;
}

static const char sample_events[] =
    "start  \nreasoning hm\nsignature c2ln \ntext Gr\xc3\xbc\xc3\x9f\ntext e\n"
    "tool 0 t1 f \ntool 0   {\"a\"\ntool 0   :1}\ntool 1 t2 g \ntool 1   {}\n"
    "usage 35 20 7 0\nstop 2\n";

static void test_a_stream_with_everything(void **state)
{
    struct buf b = sample_make();
    (void)state;
    assert_translates(provider_bedrock_event, TYPE, buf_str(&b), sample_events);
    buf_free(&b);
}

static void test_absurd_counts_beside_the_input_were_taken_as_nothing(void **state)
{
    static const struct {
        const char *usage, *told;
    } cases[] = {{"\"inputTokens\":-5,\"outputTokens\":-5", ""},
        {"\"inputTokens\":9000000000000000,\"outputTokens\":9000000000000000", ""},
        {"\"inputTokens\":5,\"outputTokens\":7,\"cacheReadInputTokens\":-2", "usage -1 0 7 0\n"},
        {"\"inputTokens\":5,\"outputTokens\":7,\"cacheWriteInputTokens\":9e15", "usage -1 0 7 0\n"}};
    char answer[512], expect[128];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(answer, sizeof answer,
            "{\"output\":{\"message\":{\"role\":\"assistant\",\"content\":[{\"text\":\"a\"}]}},"
            "\"stopReason\":\"end_turn\",\"usage\":{%s}}",
            cases[i].usage);
        snprintf(expect, sizeof expect, "start  \ntext a\n%sstop 0\n", cases[i].told);
        assert_translates(provider_bedrock_event, "application/json", str_from(answer), expect);
    }
}

/* The same as one document. */
static void test_a_whole_answer_with_everything(void **state)
{
    static const char sample[] =
        "{\"output\":{\"message\":{\"role\":\"assistant\",\"content\":["
        "{\"reasoningContent\":{\"reasoningText\":{\"text\":\"hm\",\"signature\":\"c2ln\"}}},"
        "{\"reasoningContent\":{\"redactedContent\":\"aGlk\"}},{\"text\":\"Gr\xc3\xbc\xc3\x9f"
        "e\"},"
        "{\"citationsContent\":{\"content\":[{\"text\":\"said\"}],\"citations\":[]}},"
        "{\"toolUse\":{\"toolUseId\":\"t1\",\"name\":\"f\",\"input\":{\"a\":1}}},"
        "{\"toolUse\":{\"toolUseId\":\"t2\",\"name\":\"g\"}},{\"image\":{}},7]}},"
        "\"stopReason\":\"tool_use\",\"metrics\":{\"latencyMs\":9},"
        "\"usage\":{\"inputTokens\":5,\"outputTokens\":7,\"totalTokens\":42,\"cacheReadInputTokens\":20,"
        "\"cacheWriteInputTokens\":10}}";
    static const char events[] =
        "start  \nreasoning hm\nsignature c2ln \nsignature  aGlk\ntext Gr\xc3\xbc\xc3\x9f"
        "e\ntext said\n"
        "tool 0 t1 f {\"a\":1}\ntool 1 t2 g \ntool 1   {}\nusage 35 20 7 0\nstop 2\n";
    (void)state;
    assert_translates(provider_bedrock_event, "application/json", str_from(sample), events);
    for (size_t n = 1; n + 1 < sizeof sample; n++) {
        struct buf cut =
            translate(provider_bedrock_event, "application/json", (struct str){sample, n}, 0, 0, 0);
        assert_non_null(strstr(cut.data, "error unavailable"));
        assert_null(strstr(cut.data, "\nstop "));
        buf_free(&cut);
    }
}

static void test_whole_answers_that_went_wrong_are_one_error(void **state)
{
    static const char *const bytes[] = {"{}", "[]", "{\"output\":[]}",
        "{\"output\":{\"message\":{\"content\":[{\"text\":\"a\"}]}},\"stopReason\":\"malformed_tool_use\"}",
        "{\"output\":{\"message\":{\"content\":[{\"toolUse\":{\"input\":{}}}]}}}"};
    (void)state;
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        struct buf got = translate(provider_bedrock_event, "application/json", str_from(bytes[i]), 0, 0, 0);
        if (!strstr(got.data, "error unavailable") || strstr(got.data, "\nstop "))
            fail_msg("%s: %s", bytes[i], got.data);
        buf_free(&got);
    }
}

static void test_cuts_do_not_matter(void **state)
{
    struct buf b = sample_make();
    (void)state;
    for (size_t i = 1; i < b.len; i++) {
        struct buf got = translate(provider_bedrock_event, TYPE, buf_str(&b), i, 0, 0);
        assert_string_equal(got.data, sample_events);
        buf_free(&got);
    }
    struct buf single = translate(provider_bedrock_event, TYPE, buf_str(&b), 1, 1, 0);
    assert_string_equal(single.data, sample_events);
    buf_free(&single);
    buf_free(&b);
}

/* Whatever byte is another, it is seen: nothing that the checksums do not cover is taken. */
static void test_a_changed_byte_is_one_error(void **state)
{
    struct buf b = sample_make();
    (void)state;
    for (size_t i = 0; i < b.len; i++) {
        b.data[i] = (char)(b.data[i] ^ 0x20);
        struct buf got = translate(provider_bedrock_event, TYPE, buf_str(&b), 0, 0, 0);
        const char *error = strstr(got.data, "error unavailable 0 1 -1 : provider 'cloud': ");
        bool whole = strstr(got.data, "\nstop 2\n"); /* what follows the reason to stop may be lost */
        assert_true(error || whole);
        if (error)
            assert_memory_equal(got.data, sample_events, (size_t)(error - got.data));
        buf_free(&got);
        b.data[i] = (char)(b.data[i] ^ 0x20);
    }
    buf_free(&b);
}

static void test_a_stream_that_breaks_off_is_one_error(void **state)
{
    struct buf b = sample_make();
    (void)state;
    size_t end = str_find(buf_str(&b), STR("tool_use\"}")) + strlen("tool_use\"}") + 4;
    for (size_t i = 0; i < end; i++) {
        struct buf got = translate(provider_bedrock_event, TYPE, str_slice(buf_str(&b), 0, i), 0, 0, 0);
        assert_non_null(strstr(got.data, "error unavailable 0 1 -1 : provider 'cloud': "));
        buf_free(&got);
    }
    buf_free(&b);
}

static void test_exceptions_in_the_middle_are_of_their_kind(void **state)
{
    static const struct {
        const char *kind, *name, *payload, *expect;
    } cases[] = {
        {"exception", "throttlingException", "{\"message\":\"slow down\"}",
            "error busy 429 1 -1 throttlingException: provider 'cloud' answered HTTP 429: slow down\n"},
        {"exception", "validationException", "{\"message\":\"no\"}",
            "error invalid 400 0 -1 validationException: provider 'cloud' answered HTTP 400: no\n"},
        {"exception", "internalServerException", "{\"message\":\"oh\"}",
            "error unavailable 500 1 -1 internalServerException: provider 'cloud' answered HTTP 500: oh\n"},
        {"exception", "modelStreamErrorException", "{\"message\":\"oh\",\"originalStatusCode\":500}",
            "error unavailable 502 1 -1 modelStreamErrorException: provider 'cloud' answered HTTP 502: oh\n"},
        {"exception", "serviceUnavailableException", "not JSON",
            "error unavailable 503 1 -1 serviceUnavailableException: provider 'cloud' answered HTTP 503\n"},
        {"error", "whatever", "", "error unavailable 0 1 -1 whatever: provider 'cloud' reported an error\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b;
        buf_init(&b, MIB);
        message(&b, "event", "messageStart", "{}");
        message(&b, "event", "contentBlockDelta", DELTA(0, "{\"text\":\"a\"}"));
        message(&b, cases[i].kind, cases[i].name, cases[i].payload);
        message(&b, "event", "contentBlockDelta", DELTA(0, "{\"text\":\"b\"}"));
        struct buf got = translate(provider_bedrock_event, TYPE, buf_str(&b), 0, 0, 0);
        assert_memory_equal(got.data, "start  \ntext a\n", 15);
        assert_string_equal(got.data + 15, cases[i].expect);
        buf_free(&got);
        buf_free(&b);
    }
}

static void test_ways_to_end(void **state)
{
    static const struct {
        const char *reason, *expect;
    } cases[] = {{"end_turn", "stop 0\n"}, {"max_tokens", "stop 1\n"},
        {"model_context_window_exceeded", "stop 1\n"}, {"stop_sequence", "stop 4\n"},
        {"guardrail_intervened", "stop 3\n"}, {"content_filtered", "stop 3\n"},
        {"something_new", "stop 0\n"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char stop[80];
        struct buf b;
        buf_init(&b, MIB);
        snprintf(stop, sizeof stop, "{\"stopReason\":\"%s\"}", cases[i].reason);
        message(&b, "event", "contentBlockDelta", DELTA(0, "{\"text\":\"a\"}"));
        message(&b, "event", "messageStop", stop);
        struct buf got = translate(provider_bedrock_event, TYPE, buf_str(&b), 0, 0, 0);
        assert_memory_equal(got.data, "start  \ntext a\n", 15);
        assert_string_equal(got.data + 15, cases[i].expect);
        buf_free(&got);
        buf_free(&b);
    }
    struct buf b;
    buf_init(&b, MIB);
    message(&b, "event", "messageStop", "{\"stopReason\":\"malformed_tool_use\"}");
    assert_breaks(provider_bedrock_event, TYPE, buf_str(&b), "error unavailable 0 1", "malformed_tool_use");
    buf_free(&b);
}

static void test_hostile_messages_are_one_error(void **state)
{
    struct buf b, headers;
    (void)state;
    buf_init(&b, 16 * MIB);
    buf_init(&headers, KIB);
    /* a length of 4 GiB, with a checksum that is right */
    number(&b, 0xffffffff);
    number(&b, 0);
    number(&b, crc_of(b.data, 8));
    assert_breaks(provider_bedrock_event, TYPE, buf_str(&b), "error unavailable", "larger than");
    /* headers that are longer than the message */
    buf_clear(&b);
    number(&b, 20);
    number(&b, 5);
    number(&b, crc_of(b.data, 8));
    assert_breaks(provider_bedrock_event, TYPE, buf_str(&b), "error unavailable", "make no sense");
    /* a header that ends in the middle, an unknown type, a value that is longer than what is left */
    static const struct str bad[] = {
        STR("\5:even"), STR("\1a\x63"), STR("\1a\7\xff\xff"), STR("\1"), STR("\1a\7\0")};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        buf_clear(&b);
        message_with(&b, bad[i], "{}");
        assert_breaks(
            provider_bedrock_event, TYPE, buf_str(&b), "error unavailable", "headers make no sense");
    }
    /* a payload that is none, a list, too deep */
    static const char *const payloads[] = {"{", "\xff"};
    for (size_t i = 0; i < sizeof payloads / sizeof *payloads; i++) {
        buf_clear(&b);
        message(&b, "event", "contentBlockDelta", payloads[i]);
        assert_breaks(provider_bedrock_event, TYPE, buf_str(&b), "error unavailable", "cannot be understood");
    }
    buf_free(&headers);
    buf_free(&b);
}

/* ---- Asking ---- */

static void test_a_conversation(void **state)
{
    static const struct str stop = STR("END");
    struct chat_request *r = request_create();
    (void)state;
    request_add(r, CHAT_SYSTEM, "be brief");
    struct chat_message *m = request_add(r, CHAT_USER, NULL);
    message_part(r, m, CHAT_PART_TEXT, "{\"type\":\"text\",\"text\":\"look\"}");
    message_part(r, m, CHAT_PART_IMAGE, "{\"image_url\":{\"url\":\"data:image/png;base64,AAAA\"}}");
    m = request_add(r, CHAT_ASSISTANT, NULL);
    m->thoughts = arena_new(r->arena, struct chat_thought);
    m->thoughts[0] = (struct chat_thought){.text = STR("hm"), .signature = STR("sig")};
    m->n_thoughts = 1;
    message_call(r, m, "t1", "f", "{\"a\":1}");
    message_call(r, m, "bad id!", "g", "");
    m = request_add(r, CHAT_TOOL, "42");
    m->tool_call_id = STR("t1");
    m = request_add(r, CHAT_TOOL, "broken");
    m->tool_call_id = STR("bad id!");
    m->failed = true;
    request_add(r, CHAT_USER, "go on");
    request_tool(r,
        "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\",\"parameters\":"
        "{\"type\":\"object\"}}}");
    r->tool_choice = CHAT_TOOLS_NAMED;
    r->tool_choice_name = STR("f");
    r->max_tokens = 9;
    r->sampling.temperature = 0.5;
    r->sampling.top_p = 0.25;
    r->sampling.top_k = 5;
    r->stops = (struct str *)(uintptr_t)&stop;
    r->n_stops = 1;
    assert_encodes(&provider_dialect_bedrock, "eu.anthropic.claude-3-5-sonnet-20241022-v2:0", r,
        "{\"system\":[{\"text\":\"be "
        "brief\"}],\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"look\"},"
        "{\"image\":{\"format\":\"png\",\"source\":{\"bytes\":\"AAAA\"}}}]},{\"role\":\"assistant\","
        "\"content\":["
        "{\"reasoningContent\":{\"reasoningText\":{\"text\":\"hm\",\"signature\":\"sig\"}}},"
        "{\"toolUse\":{\"toolUseId\":\"t1\",\"name\":\"f\",\"input\":{\"a\":1}}},"
        "{\"toolUse\":{\"toolUseId\":\"id_a1bbc0d7e88bcdfc\",\"name\":\"g\",\"input\":{}}}]},"
        "{\"role\":\"user\",\"content\":[{\"toolResult\":{\"toolUseId\":\"t1\",\"content\":[{\"text\":\"42\"}"
        "]}},"
        "{\"toolResult\":{\"toolUseId\":\"id_a1bbc0d7e88bcdfc\",\"content\":[{\"text\":\"broken\"}],"
        "\"status\":"
        "\"error\"}},{\"text\":\"go on\"}]}],"
        "\"toolConfig\":{\"tools\":[{\"toolSpec\":{\"name\":\"f\",\"description\":\"d\",\"inputSchema\":{"
        "\"json\":"
        "{\"type\":\"object\"}}}}],\"toolChoice\":{\"tool\":{\"name\":\"f\"}}},"
        "\"inferenceConfig\":{\"maxTokens\":9,\"temperature\":0.5,\"topP\":0.25,\"stopSequences\":[\"END\"]},"
        "\"additionalModelRequestFields\":{\"top_k\":5}}");
    request_free(r);
}

static void test_reasoning_and_format(void **state)
{
    struct chat_request *r = request_create();
    (void)state;
    request_add(r, CHAT_USER, "hi");
    r->max_tokens = 20000;
    r->vendor = request_json(r, "{\"reasoning_effort\":\"low\",\"response_format\":{\"type\":\"json_schema\","
                                "\"json_schema\":{\"name\":"
                                "\"n\",\"schema\":{\"type\":\"object\"}}}}");
    assert_encodes(&provider_dialect_bedrock, "us.anthropic.claude-sonnet-4-5-20250929-v1:0", r,
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]}],\"inferenceConfig\":{"
        "\"maxTokens\":"
        "20000},\"additionalModelRequestFields\":{\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":4000}}"
        ","
        "\"outputConfig\":{\"textFormat\":{\"type\":\"json_schema\",\"structure\":{\"jsonSchema\":{"
        "\"schema\":"
        "\"{\\\"type\\\":\\\"object\\\"}\",\"name\":\"n\"}}}}}");
    request_free(r);
}

static void test_calls_of_earlier_turns_declare_their_tools(void **state)
{
    struct chat_request *r = request_create();
    (void)state;
    request_add(r, CHAT_USER, "hi");
    struct chat_message *m = request_add(r, CHAT_ASSISTANT, NULL);
    message_call(r, m, "t1", "f", "{}");
    message_call(r, m, "t2", "f", "{}");
    request_add(r, CHAT_TOOL, "1")->tool_call_id = STR("t1");
    request_add(r, CHAT_TOOL, "2")->tool_call_id = STR("t2");
    struct provider_model model = {.model = STR("amazon.nova-pro-v1:0")};
    struct buf body;
    struct error err;
    buf_init(&body, MIB);
    assert_int_equal(provider_bedrock_encode(&model, r, &body, &err), 0);
    assert_non_null(
        strstr(body.data, "\"toolConfig\":{\"tools\":[{\"toolSpec\":{\"name\":\"f\",\"inputSchema\":{"
                          "\"json\":{\"type\":\"object\",\"properties\":{}}}}}]}"));
    buf_free(&body);
    request_free(r);
}

static void test_what_bedrock_has_no_word_for_is_refused(void **state)
{
    (void)state;
    const struct provider_model nova = {.model = STR("amazon.nova-pro-v1:0")};
    struct error err;
    struct chat_request *r = request_create();
    struct chat_message *m = request_add(r, CHAT_USER, "hi");
    r->sampling.has_seed = true;
    assert_int_equal(provider_dialect_bedrock.supports(&nova, r, &err), ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "'seed'"));
    r->sampling.has_seed = false;
    r->sampling.top_k = 3;
    assert_int_equal(provider_dialect_bedrock.supports(&nova, r, &err), ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "'top_k'"));
    r->sampling.top_k = -1;
    r->n = 2;
    assert_int_equal(provider_dialect_bedrock.supports(&nova, r, &err), ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "'n'"));
    r->n = 1;
    r->vendor = request_json(r, "{\"reasoning_effort\":\"low\"}");
    assert_int_equal(provider_dialect_bedrock.supports(&nova, r, &err), ERROR_UNSUPPORTED);
    r->vendor = request_json(r, "{\"response_format\":{\"type\":\"json_object\"}}");
    assert_int_equal(provider_dialect_bedrock.supports(&nova, r, &err), ERROR_UNSUPPORTED);
    r->vendor = NULL;
    m->n_parts = 0;
    message_part(r, m, CHAT_PART_IMAGE, "{\"image_url\":{\"url\":\"https://x/y.png\"}}");
    assert_int_equal(provider_dialect_bedrock.supports(&nova, r, &err), ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "messages[0].content[0]"));
    request_free(r);
}

static void test_paths(void **state)
{
    struct arena *a = arena_create(MIB);
    const struct provider_model m = {.model = STR("arn:aws:bedrock:eu:1:inference-profile/eu.x-v1:0")};
    struct chat_request *r = request_create();
    (void)state;
    assert_true(str_is(provider_dialect_bedrock.path(a, &m, r),
        "/model/arn%3Aaws%3Abedrock%3Aeu%3A1%3Ainference-profile%2Feu.x-v1%3A0/converse-stream"));
    r->stream = false;
    assert_true(str_ends(provider_dialect_bedrock.path(a, &m, r), STR("%3A0/converse")));
    assert_true(str_ends(provider_embed_bedrock.path(a, &m, r), STR("%3A0/invoke")));
    request_free(r);
    arena_free(a);
}

/* Bedrock refuses two documents of one name, as those without one had. */
static void test_documents_have_names_of_their_own(void **state)
{
    struct chat_request *r = request_create();
    (void)state;
    struct chat_message *m = request_add(r, CHAT_USER, NULL);
    for (size_t i = 0; i < 3; i++) {
        struct chat_part *p = message_part(r, m, CHAT_PART_FILE, NULL);
        p->url = STR("data:application/pdf;base64,AAAA");
        p->text = i == 2 ? STR("a.pdf") : STR_NONE;
    }
#define DOCUMENT(name)                                                                                       \
    "{\"document\":{\"format\":\"pdf\",\"name\":\"" name "\",\"source\":{\"bytes\":\"AAAA\"}}}"
    assert_encodes(&provider_dialect_bedrock, "amazon.nova-pro-v1:0", r,
        "{\"messages\":[{\"role\":\"user\",\"content\":[" DOCUMENT("document") "," DOCUMENT(
            "document (2)") "," DOCUMENT("a-pdf (3)") "]}],\"inferenceConfig\":{}}");
    request_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stream_with_everything),
        cmocka_unit_test(test_absurd_counts_beside_the_input_were_taken_as_nothing),
        cmocka_unit_test(test_a_whole_answer_with_everything),
        cmocka_unit_test(test_whole_answers_that_went_wrong_are_one_error),
        cmocka_unit_test(test_cuts_do_not_matter),
        cmocka_unit_test(test_a_changed_byte_is_one_error),
        cmocka_unit_test(test_a_stream_that_breaks_off_is_one_error),
        cmocka_unit_test(test_exceptions_in_the_middle_are_of_their_kind),
        cmocka_unit_test(test_ways_to_end),
        cmocka_unit_test(test_hostile_messages_are_one_error),
        cmocka_unit_test(test_a_conversation),
        cmocka_unit_test(test_reasoning_and_format),
        cmocka_unit_test(test_calls_of_earlier_turns_declare_their_tools),
        cmocka_unit_test(test_what_bedrock_has_no_word_for_is_refused),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_documents_have_names_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

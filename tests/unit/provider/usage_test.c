/* What a provider says of its usage, where that can be none. */
#include "fixture.h"

static void test_absurd_counts_of_openai_are_not_known(void **state)
{
    static const char *const absurd[] = {"-5", "9000000000000000", "9e15", "\"3\""};
    char answer[512];
    (void)state;
    for (size_t i = 0; i < sizeof absurd / sizeof *absurd; i++) {
        snprintf(answer, sizeof answer,
            "{\"id\":\"c1\",\"model\":\"x\",\"choices\":[{\"index\":0,\"message\":{\"content\":\"a\"},"
            "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":%s,\"completion_tokens\":%s}}",
            absurd[i], absurd[i]);
        assert_translates(
            provider_openai_event, "application/json", str_from(answer), "start c1 x\ntext a\nstop 0\n");
    }
}

static void test_absurd_counts_of_gemini_were_taken_as_nothing(void **state)
{
    static const char *const absurd[] = {"\"promptTokenCount\":-5,\"candidatesTokenCount\":-5",
        "\"promptTokenCount\":9000000000000000,\"candidatesTokenCount\":9000000000000000",
        "\"promptTokenCount\":\"3\",\"candidatesTokenCount\":4,\"thoughtsTokenCount\":-1",
        "\"promptTokenCount\":9e15,\"candidatesTokenCount\":null,\"thoughtsTokenCount\":9e15"};
    char answer[512];
    (void)state;
    for (size_t i = 0; i < sizeof absurd / sizeof *absurd; i++) {
        snprintf(answer, sizeof answer,
            "{\"responseId\":\"r1\",\"modelVersion\":\"x\",\"candidates\":[{\"content\":{\"parts\":[{"
            "\"text\":"
            "\"a\"}]},\"finishReason\":\"STOP\"}],\"usageMetadata\":{%s}}",
            absurd[i]);
        assert_translates(
            provider_gemini_event, "application/json", str_from(answer), "start r1 x\ntext a\nstop 0\n");
    }
}

static void usage_take(void *ctx, const struct chat_event *e)
{
    if (e->kind == CHAT_EVENT_USAGE)
        *(struct chat_usage *)ctx = e->usage;
}

/* The last that is told of an answer. */
static struct chat_usage usage_of(provider_event *event, const char *type, struct str bytes)
{
    struct provider_answer a;
    struct chat_usage u = {0};
    struct error err;
    provider_answer_init(&a, STR("cloud"), STR("sk-secret"), event, (struct chat_sink){usage_take, &u});
    provider_answer_content_type(&a, str_from(type));
    provider_answer_feed(&a, bytes);
    error_set(&err, ERROR_UNAVAILABLE, "unused");
    provider_answer_finish(&a, 0, &err);
    provider_answer_free(&a);
    return u;
}

/* Only a stream's first event says it, and the last one, which tells the counts again, made it none. */
static void test_tokens_kept_for_an_hour_were_forgotten_at_a_streams_end(void **state)
{
    (void)state;
    struct chat_usage u = usage_of(provider_anthropic_event, "text/event-stream",
        STR("data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"usage\":{\"input_tokens\":3,"
            "\"cache_creation_input_tokens\":9,\"cache_creation\":{\"ephemeral_5m_input_tokens\":2,"
            "\"ephemeral_1h_input_tokens\":7},\"output_tokens\":1}}}\n\n"
            "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{"
            "\"input_tokens\":3,\"cache_creation_input_tokens\":9,\"output_tokens\":4}}\n\n"
            "data: {\"type\":\"message_stop\"}\n\n"));
    assert_true(u.input_tokens == 12 && u.output_tokens == 4);
    assert_true(u.written_tokens == 9 && u.written_long_tokens == 7);
}

static void test_sound_is_counted(void **state)
{
    (void)state;
    struct chat_usage u = usage_of(provider_gemini_event, "application/json",
        STR("{\"responseId\":\"r\",\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]},\"finishReason\":"
            "\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":9,\"candidatesTokenCount\":4,\"promptTokensDetails\":"
            "[{\"modality\":\"TEXT\",\"tokenCount\":2},{\"modality\":\"AUDIO\",\"tokenCount\":7}]}}"));
    assert_true(u.audio_input_tokens == 7 && u.audio_output_tokens == 0);
    u = usage_of(provider_openai_event, "application/json",
        STR("{\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}],\"usage\":{"
            "\"prompt_tokens\":9,\"completion_tokens\":4,\"prompt_tokens_details\":{\"audio_tokens\":7},"
            "\"completion_tokens_details\":{\"audio_tokens\":3}}}"));
    assert_true(u.audio_input_tokens == 7 && u.audio_output_tokens == 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_absurd_counts_of_openai_are_not_known),
        cmocka_unit_test(test_absurd_counts_of_gemini_were_taken_as_nothing),
        cmocka_unit_test(test_tokens_kept_for_an_hour_were_forgotten_at_a_streams_end),
        cmocka_unit_test(test_sound_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

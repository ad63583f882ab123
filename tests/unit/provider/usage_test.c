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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_absurd_counts_of_openai_are_not_known),
        cmocka_unit_test(test_absurd_counts_of_gemini_were_taken_as_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

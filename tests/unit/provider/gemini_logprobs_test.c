#include "fixture.h"

#define EVENT(rest) "data: {" rest ",\"modelVersion\":\"gemini-x\",\"responseId\":\"r1\"}\r\n\r\n"
#define ENDED "\"candidates\":[{\"content\":{\"role\":\"model\"},\"finishReason\":\"STOP\",\"index\":0}]"

static void test_logprobs_are_asked_for(void **state)
{
    (void)state;
    struct chat_request *r = request_create();
    request_add(r, CHAT_USER, "hi");
    r->logprobs = true;
    assert_encodes(&provider_dialect_gemini, "g", r,
        "{\"generationConfig\":{\"responseLogprobs\":true},"
        "\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"hi\"}]}]}");
    r->top_logprobs = 3;
    assert_encodes(&provider_dialect_gemini, "g", r,
        "{\"generationConfig\":{\"responseLogprobs\":true,\"logprobs\":3},"
        "\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"hi\"}]}]}");
    request_free(r);
}

/* Of an event's text, whatever parts it is in; those of thoughts and calls alone are nobody's. */
static void test_log_probabilities(void **state)
{
    (void)state;
    static const struct str told =
        STR(EVENT("\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hm\",\"thought\":true},"
                  "{\"text\":\"a\"},{\"text\":\"b\"}]},\"logprobsResult\":{"
                  "\"chosenCandidates\":[{\"token\":\"a\",\"logProbability\":-0.5},"
                  "{\"token\":\"b\",\"tokenId\":7},3],\"topCandidates\":[{"
                  "\"candidates\":[{\"token\":\"a\",\"logProbability\":-0.5},"
                  "{\"token\":\"z\",\"logProbability\":-2}]},null]}}]")
                EVENT("\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"c\"}]},\"logprobsResult\":[]}]")
                    EVENT(ENDED));
    struct buf got = translate(provider_gemini_event, "text/event-stream", told, 0, 0, 0);
    assert_string_equal(got.data, "start r1 gemini-x\nreasoning hm\ntext a\ntoken a -0.5, a -0.5, z -2\n"
                                  "token b -inf\ntoken  -inf\ntext b\ntext c\nstop 0\n");
    buf_free(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logprobs_are_asked_for), cmocka_unit_test(test_log_probabilities)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

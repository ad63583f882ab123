#include "fixture.h"

static const struct str stream = STR(
    "data: "
    "{\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"id\":\"s1\",\"name\":\"f\",\"args\":{}},"
    "\"thoughtSignature\":\"U2ln+/=\"},{\"functionCall\":{\"id\":\"s2\",\"name\":\"g\",\"args\":{}}}]},"
    "\"finishReason\":\"STOP\"}],\"responseId\":\"r1\"}\r\n\r\n");

/* What came with a call goes back with it, whatever shape the client speaks: its id tells. */
static void test_signatures_of_calls_come_back(void **state)
{
    struct chat_request *r = request_create();
    struct provider_model m = {.model = STR("gemini-3-pro")};
    struct buf got, body;
    struct error err;
    (void)state;
    got = translate(provider_gemini_event, "text/event-stream", stream, 0, 0, 0);
    assert_non_null(strstr(got.data, "tool 0 s1 f {}\ntool 1 s2 g {}\n"));
    request_add(r, CHAT_USER, "hi");
    struct chat_message *call = request_add(r, CHAT_ASSISTANT, NULL);
    message_call(r, call, "s1", "f", "{}");
    message_call(r, call, "s2", "g", "{}");
    request_add(r, CHAT_TOOL, "1")->tool_call_id = STR("s1");
    request_add(r, CHAT_TOOL, "2")->tool_call_id = STR("s2");
    buf_init(&body, MIB);
    assert_int_equal(provider_gemini_encode(&m, r, &body, &err), 0);
    assert_non_null(
        strstr(body.data, "{\"functionCall\":{\"id\":\"s1\",\"name\":\"f\",\"args\":{}},"
                          "\"thoughtSignature\":\"U2ln+/=\"},{\"functionCall\":{\"id\":\"s2\",\"name\":"
                          "\"g\",\"args\":{}}}"));
    call->tool_calls[0].name = STR("h"); /* another call of the same id is not it */
    buf_clear(&body);
    assert_int_equal(provider_gemini_encode(&m, r, &body, &err), 0);
    assert_null(strstr(body.data, "U2ln"));
    assert_non_null(strstr(body.data, "skip_thought_signature_validator"));
    buf_free(&got);
    buf_free(&body);
    request_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signatures_of_calls_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#include "provider/failure.h"

static struct provider_failure f; /* of the case at hand */

static void of(int status, const char *body)
{
    provider_failure_status(&f, STR("cloud"), STR("sk-secret"), status, str_from(body), 1500);
    assert_int_equal(f.failure.retry_after_ms, 1500);
    assert_true(f.failure.message.data == f.message && f.failure.type.data == f.type);
}

static void test_statuses_decide_code_and_fallback(void **state)
{
    static const struct {
        int status, code;
        bool retryable;
    } cases[] = {
        {400, ERROR_INVALID, false},
        {401, ERROR_UNAVAILABLE, true},
        {402, ERROR_UNAVAILABLE, true},
        {403, ERROR_UNAVAILABLE, true},
        {404, ERROR_UNAVAILABLE, true},
        {405, ERROR_INVALID, false},
        {407, ERROR_UNAVAILABLE, true}, /* a login to a proxy of ours is not the client's to give */
        {408, ERROR_TIMEOUT, true},
        {409, ERROR_UNAVAILABLE, true},
        {413, ERROR_LIMIT, false},
        {422, ERROR_INVALID, false},
        {425, ERROR_UNAVAILABLE, true},
        {429, ERROR_BUSY, true},
        {500, ERROR_UNAVAILABLE, true},
        {502, ERROR_UNAVAILABLE, true},
        {503, ERROR_UNAVAILABLE, true},
        {504, ERROR_TIMEOUT, true},
        {529, ERROR_UNAVAILABLE, true},
        {307, ERROR_UNAVAILABLE, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        of(cases[i].status, "");
        assert_int_equal(f.failure.status, cases[i].status);
        assert_int_equal(f.failure.code, cases[i].code);
        assert_int_equal(f.failure.retryable, cases[i].retryable);
        assert_non_null(strstr(f.message, "provider 'cloud'"));
    }
}

static void test_what_the_provider_says_is_passed_on(void **state)
{
    static const struct {
        const char *body, *message, *type;
    } cases[] = {
        {"{\"error\":{\"message\":\"bad field\",\"type\":\"invalid_request_error\",\"code\":null}}",
            ": bad field", "invalid_request_error"},
        {"{\"error\":{\"message\":\"too "
         "long\",\"type\":\"invalid_request_error\",\"code\":\"context_length_exceeded\"}}",
            ": too long", "context_length_exceeded"},
        {"{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"m\"}}", ": m",
            "invalid_request_error"},
        {"{\"error\":\"plain\"}", ": plain", ""},
        {"{\"message\":\"mistral\",\"type\":\"bad\"}", ": mistral", "bad"},
        {"{\"detail\":\"fast\"}", ": fast", ""},
        {"<html>\n<b>nginx</b></html>", "answered HTTP 400", ""},
        {"{\"error\":{\"message\":7}}", "answered HTTP 400", ""},
        {"[1]", "answered HTTP 400", ""},
        {"{\"error\":{\"message\":\"a\\nb\\u001b[31m\"}}", ": a b [31m", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        of(400, cases[i].body);
        if (!str_ends(str_from(f.message), str_from(cases[i].message)))
            fail_msg("'%s' does not end with '%s'", f.message, cases[i].message);
        assert_string_equal(f.type, cases[i].type);
        assert_null(strchr(f.message, '<'));
    }
}

static void test_a_prompt_over_the_context_is_known_whoever_says_it(void **state)
{
    static const char *const bodies[] = {
        "{\"error\":{\"message\":\"m\",\"type\":\"invalid_request_error\",\"code\":\"context_length_"
        "exceeded\"}}",
        "{\"error\":{\"code\":400,\"message\":\"m\",\"type\":\"exceed_context_size_error\",\"n_ctx\":512}}",
        "{\"object\":\"error\",\"message\":\"This model's maximum context length is 4096 tokens. However\","
        "\"type\":\"BadRequestError\",\"code\":400}",
        "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"prompt is too long: "
        "208310 "
        "tokens > 200000 maximum\"}}",
        "{\"error\":{\"code\":400,\"message\":\"The input token count (9) exceeds the maximum number of "
        "tokens "
        "allowed (8).\",\"status\":\"INVALID_ARGUMENT\"}}",
        "{\"message\":\"Input is too long for requested model.\"}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        of(400, bodies[i]);
        assert_int_equal(f.failure.code, ERROR_CONTEXT);
        assert_true(f.failure.retryable);
        assert_string_equal(f.type, "context_length_exceeded");
    }
    of(500, bodies[0]);
    assert_int_equal(f.failure.code, ERROR_UNAVAILABLE);
}

static void test_keys_do_not_come_back(void **state)
{
    static const char *const bodies[] = {
        "{\"error\":{\"message\":\"key sk-secret is sk-secret\",\"type\":\"sk-secret\"}}",
        "{\"error\":\"sk-secret\"}"};
    static const int statuses[] = {400, 401, 403, 404, 429, 500};
    (void)state;
    for (size_t b = 0; b < 2; b++) {
        for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
            of(statuses[i], bodies[b]);
            assert_null(strstr(f.message, "secret"));
            assert_null(strstr(f.type, "secret"));
        }
    }
    /* OpenAI repeats parts of a wrong key: nothing of what it says about one is passed on. */
    of(401, "{\"error\":{\"message\":\"Incorrect API key provided: sk-sec*****ret\"}}");
    assert_null(strstr(f.message, "sk-sec"));
    assert_non_null(strstr(f.message, "api_key"));
    provider_failure_error(&f, STR("cloud"), STR("sk-secret"), ERROR_TIMEOUT, "waited for sk-secret");
    assert_string_equal(f.message, "provider 'cloud': waited for ***");
    assert_true(f.failure.retryable);
    assert_int_equal(f.failure.status, 0);
}

static void test_long_messages_are_cut_between_characters(void **state)
{
    struct buf body;
    (void)state;
    buf_init(&body, 1 << 16);
    buf_append_text(&body, "{\"error\":{\"message\":\"");
    for (int i = 0; i < 2000; i++)
        buf_append_text(&body, "\xe2\x82\xac");
    buf_append_text(&body, "\",\"type\":\"");
    for (int i = 0; i < 200; i++)
        buf_append_text(&body, "\xc3\xa4");
    buf_append_text(&body, "\"}}");
    of(400, body.data);
    assert_true(f.failure.message.len > 300 && f.failure.message.len < sizeof f.message);
    assert_true(str_utf8_valid(f.failure.message) && str_utf8_valid(f.failure.type));
    assert_null(strstr(f.message, "?"));
    buf_free(&body);
}

/* Google: a status of its own beside the code, 400 for a bad key, the wait inside the body. */
static void test_googles_errors(void **state)
{
    (void)state;
    of(400,
        "{\"error\":{\"code\":400,\"message\":\"API key not valid. Please pass a valid API key.\","
        "\"status\":\"INVALID_ARGUMENT\",\"details\":[{\"@type\":\"x\",\"reason\":\"API_KEY_INVALID\"}]}}");
    assert_int_equal(f.failure.code, ERROR_UNAVAILABLE);
    assert_true(f.failure.retryable && str_is(f.failure.type, "INVALID_ARGUMENT"));
    assert_string_equal(
        f.message, "provider 'cloud' refused this gateway's credentials: check its api_key (HTTP 400)");
    assert_int_equal(f.failure.status, 401);
    of(400, "{\"error\":{\"code\":400,\"message\":\"User location is not supported for the API use.\","
            "\"status\":\"FAILED_PRECONDITION\"}}");
    assert_true(f.failure.retryable && f.failure.code == ERROR_UNAVAILABLE);
    assert_int_equal(f.failure.status, 400); /* as a 503 it was asked again and again */
    assert_string_equal(
        f.message, "provider 'cloud' answered HTTP 400: User location is not supported for the API use.");
    of(400, "[{\"error\":{\"code\":400,\"message\":\"bad\",\"status\":\"INVALID_ARGUMENT\"}}]");
    assert_false(f.failure.retryable);
    assert_string_equal(f.message, "provider 'cloud' answered HTTP 400: bad");
    static const char quota[] =
        "{\"error\":{\"code\":429,\"message\":\"quota\",\"status\":\"RESOURCE_EXHAUSTED\",\"details\":["
        "{\"@type\":\"type.googleapis.com/google.rpc.QuotaFailure\"},"
        "{\"@type\":\"type.googleapis.com/google.rpc.RetryInfo\",\"retryDelay\":\"34.5s\"}]}}";
    of(429, quota); /* the header counts where there is one */
    provider_failure_status(&f, STR("cloud"), STR("k"), 429, str_from(quota), -1);
    assert_int_equal(f.failure.retry_after_ms, 34500);
    assert_true(f.failure.code == ERROR_BUSY && str_is(f.failure.type, "RESOURCE_EXHAUSTED"));
    provider_failure_status(
        &f, STR("cloud"), STR("k"), 429, STR("{\"error\":{\"details\":[7,{\"retryDelay\":\"soons\"}]}}"), -1);
    assert_int_equal(f.failure.retry_after_ms, -1);
}

static void test_not_modified_was_called_a_redirect(void **state)
{
    (void)state;
    of(304, "");
    assert_string_equal(f.message, "provider 'cloud' answered HTTP 304");
    of(308, "");
    assert_non_null(strstr(f.message, "sent a redirect"));
}

static void test_retry_after(void **state)
{
    const int64_t now = 1763700000000; /* Fri, 21 Nov 2025 04:40:00 GMT */
    static const struct {
        const char *ms, *value;
        int64_t expect;
    } cases[] = {{"", "", -1}, {"", "7", 7000}, {"", "0", 0}, {"", "1.5", 1500}, {"250", "7", 250},
        {"250.5", "", 250}, {"x", "7", 7000}, {"-3", "", -1}, {"", "-3", -1}, {"", "999999999999", 86400000},
        {"", "Fri, 21 Nov 2025 04:40:30 GMT", 30000}, {"", "Fri, 21 Nov 2025 04:39:00 GMT", 0},
        {"", "Fri, 21 Nov 2035 04:40:30 GMT", 86400000}, {"", "tomorrow", -1},
        {"", "Fri, 21 Nov 2025 04:40:30 GMTx", -1}, {"", "nan", -1}, {"", "inf", -1}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(
            provider_retry_after(str_from(cases[i].ms), str_from(cases[i].value), now), cases[i].expect);
}

/* Of servers that say what is wrong in a list, nothing was passed on. */
static void test_a_reason_in_a_list_was_lost(void **state)
{
    static const struct {
        const char *body, *message;
    } cases[] = {
        {"{\"detail\":[{\"loc\":[\"body\",\"messages\"],\"msg\":\"Field required\",\"type\":\"missing\"}]}",
            "HTTP 422: messages: Field required"},
        {"{\"object\":\"error\",\"message\":{\"detail\":[{\"loc\":[],\"msg\":\"Too short\"}]}}",
            "HTTP 422: Too short"},
        {"{\"errors\":[{\"message\":\"no such account\",\"code\":7003}]}", "HTTP 422: no such account"},
        {"{\"errors\":[\"not today\"]}", "HTTP 422: not today"},
        {"{\"Message\":\"not authorised\"}", "HTTP 422: not authorised"},
        {"{\"detail\":\"plain\"}", "HTTP 422: plain"},
        {"{\"detail\":[7],\"errors\":[]}", "HTTP 422"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        of(422, cases[i].body);
        assert_true(str_ends(f.failure.message, str_from(cases[i].message)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statuses_decide_code_and_fallback),
        cmocka_unit_test(test_what_the_provider_says_is_passed_on),
        cmocka_unit_test(test_a_prompt_over_the_context_is_known_whoever_says_it),
        cmocka_unit_test(test_keys_do_not_come_back),
        cmocka_unit_test(test_long_messages_are_cut_between_characters),
        cmocka_unit_test(test_googles_errors),
        cmocka_unit_test(test_not_modified_was_called_a_redirect),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_a_reason_in_a_list_was_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

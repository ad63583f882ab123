/* What stands beside the text: members that only a shape's own clients understand, what tools give, and
 * events that are none of the API's. */
#include "fixture.h"

#include <stdio.h>

#include "provider/gemini.h"

#define CHUNK(rest)                                                                                          \
    "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-x\"," rest "}\n\n"
#define DELTA(delta) CHUNK("\"choices\":[{\"index\":0,\"delta\":" delta ",\"finish_reason\":null}]")
#define FINISH(reason) CHUNK("\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"" reason "\"}]")
#define DONE "data: [DONE]\n\n"
#define SSE "text/event-stream; charset=utf-8"

/* What a proxy calls an error by the event's name, and what it sends to keep the connection. */
static void test_named_events_of_proxies(void **state)
{
    (void)state;
    assert_translates(provider_openai_event, SSE,
        STR("event: ping\ndata: ping\n\n" DELTA(
            "{\"content\":\"a\"}") "event: error\n"
                                   "data: {\"message\":\"overloaded\",\"type\":\"overloaded_error\"}\n\n"),
        "start c1 gpt-x\ntext a\n"
        "error unavailable 529 1 -1 overloaded_error: provider 'cloud' answered HTTP 529: overloaded\n");
    assert_translates(provider_openai_event, SSE, STR("event: error\ndata: no more\n\n"),
        "error unavailable 0 1 -1 : provider 'cloud': its answer cannot be understood: it says 'no more'\n");
    assert_translates(provider_openai_event, SSE, STR("data: {\"errors\":[{\"message\":\"gone\"}]}\n\n"),
        "error unavailable 0 1 -1 : provider 'cloud' reported an error: gone\n");
}

/* What only clients of this shape understand was lost: citations, reasoning as its maker wants it back, ...
 */
static void test_members_that_have_no_word_here_are_told(void **state)
{
    (void)state;
#define FRAME "\"service_tier\":\"default\",\"citations\":[\"u\"],\"empty\":[],\"none\":null,"
    assert_translates(provider_openai_event, SSE,
        STR(CHUNK(FRAME
            "\"choices\":[{\"index\":0,\"delta\":{\"reasoning\":\"r\",\"reasoning_details\":[{\"t\":1}],"
            "\"annotations\":[]}}]") CHUNK(FRAME
            "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]") CHUNK(FRAME
            "\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"type\":"
            "\"function\",\"extra_content\":{\"google\":{\"thought_signature\":\"S\"}},\"function\":"
            "{\"name\":\"f\",\"arguments\":\"{\"}},{\"index\":0,\"function\":{\"arguments\":\"}\"}}]}}]")
                FINISH("tool_calls") CHUNK(FRAME "\"choices\":[],\"usage\":{\"prompt_tokens\":3,"
                                                 "\"completion_tokens\":1,\"cost\":0.5}") DONE),
        "start c1 gpt-x\n"
        "choice \"reasoning_details\":[{\"t\":1}]\nreasoning r\ntext a\ntool 0 c f {\n"
        "more \"extra_content\":{\"google\":{\"thought_signature\":\"S\"}}\ntool 0   }\n"
        "usage 3 0 1 0\nanswer \"service_tier\":\"default\",\"citations\":[\"u\"]\nbesides \"cost\":0.5\nstop 2\n");
#undef FRAME
}

/* They go back to who takes them, and to nobody who would refuse them. */
static void test_members_go_back_to_their_maker(void **state)
{
    static const struct {
        const char *kind;
        bool keeps;
    } cases[] = {{"openrouter", true}, {"gemini-openai", true}, {"mistral", false}, {"groq", false}};
    struct chat_request *r = request_create();
    (void)state;
    request_add(r, CHAT_USER, "q");
    struct chat_message *m = request_add(r, CHAT_ASSISTANT, NULL);
    m->vendor = request_json(r, "{\"reasoning_details\":[{\"t\":1}]}");
    message_call(r, m, "c12345678", "f", "{}");
    m->tool_calls[0].raw = request_json(r, "{\"extra_content\":{\"google\":{}},\"other\":1}");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct provider p = {.server = provider_server_named(str_from(cases[i].kind))};
        struct provider_model model = {.model = STR("m"), .provider = &p};
        struct error err;
        struct buf body;
        buf_init(&body, MIB);
        assert_int_equal(provider_openai_encode(&model, r, &body, &err), 0);
        assert_int_equal(strstr(body.data, "\"reasoning_details\":[{\"t\":1}]") != NULL, cases[i].keeps);
        assert_int_equal(strstr(body.data, "\"extra_content\":{\"google\":{}}") != NULL, cases[i].keeps);
        assert_non_null(strstr(body.data, "\"other\":1"));
        buf_free(&body);
    }
    const struct provider_model claude = {.model = STR("claude-sonnet-4-5")};
    struct error err;
    assert_int_equal(provider_dialect_anthropic.supports(&claude, r, &err), ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "'other' of a tool call"));
    m->tool_calls[0].raw = request_json(r, "{\"extra_content\":{\"google\":{}}}");
    assert_int_equal(provider_dialect_anthropic.supports(&claude, r, &err), 0);
    request_free(r);
}

/* Clients of other shapes have no place for Google's signature of a call. */
static void test_a_signature_is_kept_for_clients_that_cannot(void **state)
{
    struct chat_request *r = request_create();
    struct provider p = {.server = provider_server_named(STR("gemini-openai"))};
    struct provider_model model = {.model = STR("gemini-3-pro"), .provider = &p};
    struct error err;
    struct buf got, body;
    (void)state;
    got = translate(provider_openai_event, SSE,
        STR(DELTA("{\"tool_calls\":[{\"index\":0,\"id\":\"kept1\",\"extra_content\":{\"google\":"
                  "{\"thought_signature\":\"SIG\"}},\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}")
                FINISH("tool_calls") DONE),
        0, 0, 0);
    buf_free(&got);
    r->shape = CHAT_SHAPE_ANTHROPIC;
    request_add(r, CHAT_USER, "q");
    message_call(r, request_add(r, CHAT_ASSISTANT, NULL), "kept1", "f", "{}");
    buf_init(&body, MIB);
    assert_int_equal(provider_openai_encode(&model, r, &body, &err), 0);
    assert_non_null(strstr(body.data, "\"extra_content\":{\"google\":{\"thought_signature\":\"SIG\"}}"));
    buf_free(&body);
    request_free(r);
}

/* A picture that a tool gave was refused. */
static void test_what_tools_give_besides_text_is_sent_along(void **state)
{
    static const char *const results[][2] = {
        {"gemini-2.5-pro",
            "{\"functionResponse\":{\"id\":\"c1\",\"name\":\"f\",\"response\":{\"output\":\"see\"}}},"
            "{\"inlineData\":{\"mimeType\":\"image/png\",\"data\":\"AAAA\"}}"},
        {"gemini-3-pro",
            "{\"functionResponse\":{\"id\":\"c1\",\"name\":\"f\",\"response\":{\"output\":\"see\"},"
            "\"parts\":[{\"inlineData\":{\"mimeType\":\"image/png\",\"data\":\"AAAA\"}}]}}"}};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct chat_request *r = request_create();
        char expect[1024];
        request_add(r, CHAT_USER, "go");
        message_call(r, request_add(r, CHAT_ASSISTANT, NULL), "c1", "f", "{}");
        provider_gemini_signature_keep(STR("c1"), STR("f"), STR("S"));
        struct chat_message *m = request_add(r, CHAT_TOOL, NULL);
        m->tool_call_id = STR("c1");
        message_part(r, m, CHAT_PART_TEXT, "{\"text\":\"see\"}");
        message_part(r, m, CHAT_PART_IMAGE, "{\"image_url\":{\"url\":\"data:image/png;base64,AAAA\"}}");
        snprintf(expect, sizeof expect,
            "{\"generationConfig\":{},\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"go\"}]},"
            "{\"role\":\"model\",\"parts\":[{\"functionCall\":{\"id\":\"c1\",\"name\":\"f\",\"args\":{}},"
            "\"thoughtSignature\":\"S\"}]},{\"role\":\"user\",\"parts\":[%s]}]}",
            results[i][1]);
        assert_encodes(&provider_dialect_gemini, results[i][0], r, expect);
        request_free(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_named_events_of_proxies),
        cmocka_unit_test(test_members_that_have_no_word_here_are_told),
        cmocka_unit_test(test_members_go_back_to_their_maker),
        cmocka_unit_test(test_a_signature_is_kept_for_clients_that_cannot),
        cmocka_unit_test(test_what_tools_give_besides_text_is_sent_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Whose form of OpenAI's shape a request takes. */
#include "fixture.h"

static struct provider provider_of(const char *kind)
{
    return (struct provider){
        .api_key = "k-1", .api_key_len = 3, .server = provider_server_named(str_from(kind))};
}

/* One request with a word for everything that servers disagree about; without `extras` only what all take. */
static struct chat_request *request_make(bool extras)
{
    static const struct str stop = STR("end");
    struct chat_request *r = request_create();
    request_add(r, CHAT_DEVELOPER, "be brief");
    request_add(r, CHAT_USER, "hi");
    struct chat_message *m = request_add(r, CHAT_ASSISTANT, NULL);
    m->reasoning = STR("hm");
    message_call(r, m, "call_1234", "f", "{}");
    request_add(r, CHAT_TOOL, "42")->tool_call_id = STR("call_1234");
    r->max_tokens = 7;
    r->user = STR("u");
    r->vendor = request_json(r, "{\"store\":true}");
    if (extras) {
        request_tool(r, "{\"type\":\"function\",\"function\":{\"name\":\"f\"}}");
        r->tool_choice = CHAT_TOOLS_REQUIRED;
        r->sampling.has_seed = true;
        r->sampling.seed = 3;
        r->stops = (struct str *)(uintptr_t)&stop;
        r->n_stops = 1;
    }
    return r;
}

/* Everything from "messages" on; the caller frees it. */
static struct buf encode(const char *kind, struct chat_request *r)
{
    struct provider p = provider_of(kind);
    struct provider_model m = {.provider = &p, .model = STR("m")};
    struct buf body;
    struct error err;
    buf_init(&body, MIB);
    if (provider_openai_encode(&m, r, &body, &err))
        fail_msg("%s: %s", kind, err.message);
    buf_append_char(&body, '\0');
    return body;
}

static void test_each_server_is_asked_in_its_own_words(void **state)
{
    static const struct {
        const char *kind;
        const char *has, *lacks; /* several, parted by a space */
    } cases[] = {
        {"openai", "\"developer\" \"max_tokens\" \"store\" \"user\":\"u\" \"seed\" \"required\" call_1234",
            "reasoning"},
        {"azure", "\"max_completion_tokens\":7 \"developer\"", "\"max_tokens\" reasoning"},
        {"mistral", "\"max_tokens\":7 \"random_seed\":3 \"any\" \"role\":\"system\"",
            "\"developer\" \"seed\" \"required\" \"user\":\"u\" \"store\" stream_options reasoning "
            "call_1234"},
        {"xai", "\"role\":\"system\" \"reasoning_content\":\"hm\" \"max_tokens\"", "\"developer\""},
        {"openrouter", "\"reasoning\":\"hm\" \"max_tokens\" \"developer\"", "reasoning_content"},
        {"together", "\"reasoning\":\"hm\" \"role\":\"system\"", "\"developer\""},
        {"fireworks", "\"reasoning_content\":\"hm\"", "\"developer\""},
        {"groq", "\"max_completion_tokens\":7 \"seed\":3", "\"max_tokens\" reasoning"},
        {"cerebras", "\"max_completion_tokens\":7 \"reasoning\":\"hm\"", "\"store\" \"user\":\"u\""},
        {"vllm", "\"role\":\"system\" \"reasoning\":\"hm\"", "\"developer\""},
        {"sglang", "\"reasoning_content\":\"hm\"", "\"developer\""},
        {"llamacpp", "\"reasoning_content\":\"hm\" \"seed\":3", "\"developer\""},
        {"lmstudio", "\"max_tokens\":7", "\"developer\""},
        {"jan", "\"max_tokens\":7", "\"developer\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chat_request *r = request_make(true);
        struct buf body = encode(cases[i].kind, r);
        struct str word, has = str_from(cases[i].has), lacks = str_from(cases[i].lacks);
        while (str_split(&has, ' ', &word))
            if (str_find(buf_str(&body), word) == SIZE_MAX)
                fail_msg("%s: no " STR_FMT " in %s", cases[i].kind, STR_ARG(word), body.data);
        while (str_split(&lacks, ' ', &word))
            if (str_find(buf_str(&body), word) != SIZE_MAX)
                fail_msg("%s: " STR_FMT " in %s", cases[i].kind, STR_ARG(word), body.data);
        buf_free(&body);
        request_free(r);
    }
}

static void test_short_ids_are_the_same_for_call_and_result(void **state)
{
    struct chat_request *r = request_make(false);
    struct buf body = encode("mistral", r);
    (void)state;
    const char *call = strstr(body.data, "\"id\":\""), *result = strstr(body.data, "\"tool_call_id\":\"");
    assert_non_null(call);
    assert_non_null(result);
    call += strlen("\"id\":\"");
    result += strlen("\"tool_call_id\":\"");
    assert_memory_equal(call, result, 10); /* with the quote that ends it */
    assert_int_equal(call[9], '"');
    buf_free(&body);
    r->messages[2].tool_calls[0].id = r->messages[3].tool_call_id = STR("Abc012345"); /* one of its own */
    body = encode("mistral", r);
    assert_non_null(strstr(body.data, "\"id\":\"Abc012345\""));
    buf_free(&body);
    request_free(r);
}

static void test_repetition_has_two_names(void **state)
{
    static const struct {
        const char *kind, *expect;
    } cases[] = {{"vllm", "\"repetition_penalty\":1.5"}, {"llamacpp", "\"repeat_penalty\":1.5"},
        {"openrouter", "\"repetition_penalty\":1.5"}, {"lmstudio", "\"repeat_penalty\":1.5"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chat_request *r = request_make(false);
        r->sampling.repeat_penalty = 1.5;
        struct buf body = encode(cases[i].kind, r);
        assert_non_null(strstr(body.data, cases[i].expect));
        buf_free(&body);
        request_free(r);
    }
}

/* Refused here by name, so that another target may be asked; never dropped. */
static void assert_refused(const char *kind, const struct chat_request *r, const char *name)
{
    struct provider p = provider_of(kind);
    struct provider_model m = {.provider = &p, .model = STR("m")};
    struct error err;
    char expect[80];
    snprintf(expect, sizeof expect, "%s has no '%s'", kind, name);
    if (provider_dialect_openai.supports(&m, r, &err) != ERROR_UNSUPPORTED || !strstr(err.message, expect))
        fail_msg("%s takes '%s'", kind, name);
}

static void test_what_a_server_refuses_is_refused_by_name(void **state)
{
    static const char *const samplers[] = {"openai", "azure", "mistral", "deepseek", "groq", "xai",
        "cerebras", "gemini-openai", "ollama-openai"};
    (void)state;
    struct chat_request *r = request_make(false);
    r->sampling.top_k = 5;
    for (size_t i = 0; i < sizeof samplers / sizeof *samplers; i++)
        assert_refused(samplers[i], r, "top_k");
    request_free(r);
    r = request_make(true);
    assert_refused("perplexity", r, "seed");
    assert_refused("deepseek", r, "seed");
    assert_refused("gemini-openai", r, "seed");
    assert_refused("ollama-openai", r, "tool_choice");
    r->sampling.has_seed = false;
    r->tool_choice = CHAT_TOOLS_AUTO;
    assert_refused("perplexity", r, "stop");
    r->n_stops = 0;
    assert_refused("perplexity", r, "tools");
    r->parallel_tool_calls = 0;
    assert_refused("cerebras", r, "parallel_tool_calls");
    r->messages[1].name = STR("ann");
    assert_refused("groq", r, "name");
    request_free(r);
    r = request_create();
    r->has_prompt = true;
    r->prompt = STR("once");
    assert_refused("groq", r, "prompt");
    request_free(r);
}

static void test_hosts_and_kinds(void **state)
{
    static const struct {
        const char *host, *kind;
    } cases[] = {{"api.groq.com", "groq"}, {"api.groq.com:443", "groq"}, {"me.openai.azure.com", "azure"},
        {"api.openai.com", "openai"}, {"openrouter.ai", "openrouter"}};
    static const char *const nobodys[] = {
        "notapi.groq.com.example", "xapi.groq.com", "127.0.0.1:8000", "", "com"};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_string_equal(provider_server_at(str_from(cases[i].host))->kind, cases[i].kind);
        assert_true(provider_kind_exists(str_from(cases[i].kind)));
        assert_non_null(strstr(provider_kinds(), cases[i].kind));
    }
    for (size_t i = 0; i < sizeof nobodys / sizeof *nobodys; i++)
        assert_null(provider_server_at(str_from(nobodys[i]))->sampling);
    assert_true(str_is(provider_kind_url(STR("groq")), "https://api.groq.com/openai/v1"));
    assert_int_equal(provider_kind_url(STR("azure")).len, 0);
    assert_null(provider_server_named(STR("")));
}

static void test_azure_names_deployments(void **state)
{
    struct arena *a = arena_create(MIB);
    struct egress_header h[PROVIDER_HEADERS_MAX];
    struct egress_target_options o = {.name = STR("az"), .base_url = STR("https://me.openai.azure.com")};
    struct provider p = provider_of("azure");
    struct provider_model m = {.provider = &p, .model = STR("my gpt")};
    struct error err;
    (void)state;
    assert_int_equal(egress_target_create(&o, &p.target, &err), 0);
    assert_true(str_is(provider_openai_path(a, &m, "/chat/completions"),
        "/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21"));
    p.api_version = STR("2025-04-01-preview");
    assert_true(str_is(provider_openai_path(a, &m, "/embeddings"),
        "/openai/deployments/my%20gpt/embeddings?api-version=2025-04-01-preview"));
    egress_target_free(p.target);
    o.base_url = STR("https://me.openai.azure.com/openai/v1/");
    assert_int_equal(egress_target_create(&o, &p.target, &err), 0);
    assert_true(str_is(provider_openai_path(a, &m, "/chat/completions"), "/chat/completions"));
    assert_int_equal(provider_openai_headers(a, &p, NULL, h), 3);
    assert_true(str_is(h[2].name, "api-key"));
    assert_true(str_is(h[2].value, "k-1"));
    egress_target_free(p.target);
    arena_free(a);
}

static void test_headers_of_ones_own(void **state)
{
    (void)state;
    assert_true(provider_header_allowed(STR("HTTP-Referer")));
    assert_true(provider_header_allowed(STR("X-Title")));
    assert_false(provider_header_allowed(STR("Host")));
    assert_false(provider_header_allowed(STR("AUTHORIZATION")));
    assert_false(provider_header_allowed(STR("Content-Length")));
    assert_false(provider_header_allowed(STR("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_server_is_asked_in_its_own_words),
        cmocka_unit_test(test_short_ids_are_the_same_for_call_and_result),
        cmocka_unit_test(test_repetition_has_two_names),
        cmocka_unit_test(test_what_a_server_refuses_is_refused_by_name),
        cmocka_unit_test(test_hosts_and_kinds),
        cmocka_unit_test(test_azure_names_deployments),
        cmocka_unit_test(test_headers_of_ones_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

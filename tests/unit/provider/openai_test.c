#include "fixture.h"

#define CHUNK(rest)                                                                                          \
    "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-x\"," rest "}\n\n"
#define DELTA(delta) CHUNK("\"choices\":[{\"index\":0,\"delta\":" delta ",\"finish_reason\":null}]")
#define FINISH(reason) CHUNK("\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"" reason "\"}]")
#define USAGE                                                                                                \
    CHUNK("\"choices\":[],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":9,\"total_tokens\":29,"      \
          "\"prompt_tokens_details\":{\"cached_tokens\":16},\"completion_tokens_details\":{\"reasoning_"     \
          "tokens\":4}}")
#define DONE "data: [DONE]\n\n"
#define SSE "text/event-stream; charset=utf-8"

/* ---- Asking ---- */

static void test_a_plain_request(void **state)
{
    struct chat_request *r = request_create();
    (void)state;
    request_add(r, CHAT_SYSTEM, "be brief");
    request_add(r, CHAT_USER, "hi");
    assert_encodes(&provider_dialect_openai, "gpt-4o", r,
        "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"system\",\"content\":\"be brief\"},"
        "{\"role\":\"user\",\"content\":\"hi\"}],\"stream\":true,\"stream_options\":{\"include_usage\":true}"
        "}");
    assert_true(str_is(provider_dialect_openai.path(r->arena, NULL, r), "/chat/completions"));
    request_free(r);
}

static void test_everything_a_request_can_hold(void **state)
{
    static const struct str stops[] = {STR("a"), STR("b")};
    struct chat_request *r = request_create();
    (void)state;
    struct chat_message *m = request_add(r, CHAT_USER, NULL);
    m->name = STR("ann");
    message_part(r, m, CHAT_PART_TEXT,
        "{\"type\":\"text\",\"text\":\"look\",\"cache_control\":{\"type\":\"ephemeral\"}}");
    message_part(r, m, CHAT_PART_OTHER, "{\"type\":\"file\",\"file\":{\"file_id\":\"f\"}}");
    struct chat_part *image = message_part(r, m, CHAT_PART_IMAGE, NULL);
    image->url = STR("https://x/y.png");
    image->format = STR("low");
    m = request_add(r, CHAT_ASSISTANT, NULL);
    m->reasoning = STR("hm");
    message_call(r, m, "c1", "f", "{\"a\": 1}");
    message_call(r, m, "c2", "g", "");
    m = request_add(r, CHAT_TOOL, "42");
    m->tool_call_id = STR("c1");
    m->vendor = request_json(r, "{\"role\":\"forged\",\"extra\":[1]}");
    request_tool(
        r, "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"strict\":true,\"parameters\":{}}}");
    r->tool_choice = CHAT_TOOLS_NAMED;
    r->tool_choice_name = STR("f");
    r->parallel_tool_calls = 0;
    r->sampling.temperature = 0;
    r->sampling.top_p = 0.5;
    r->sampling.presence_penalty = -1.5;
    r->sampling.has_seed = true;
    r->sampling.seed = -3;
    r->max_tokens = 7;
    r->stops = (struct str *)(uintptr_t)stops;
    r->n_stops = 2;
    r->user = STR("u");
    r->vendor = request_json(
        r, "{\"service_tier\":\"flex\",\"stream\":false,\"model\":\"other\",\"n\":1,\"logprobs\":false}");
    assert_encodes(&provider_dialect_openai, "gpt-4o", r,
        "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"name\":\"ann\",\"content\":["
        "{\"type\":\"text\",\"text\":\"look\",\"cache_control\":{\"type\":\"ephemeral\"}},"
        "{\"type\":\"file\",\"file\":{\"file_id\":\"f\"}},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x/y.png\",\"detail\":\"low\"}}]},"
        "{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"hm\",\"tool_calls\":["
        "{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\": "
        "1}\"}},"
        "{\"id\":\"c2\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"\"}}]},"
        "{\"role\":\"tool\",\"content\":\"42\",\"tool_call_id\":\"c1\",\"extra\":[1]}],"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"strict\":true,\"parameters\":{}}}],"
        "\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}},\"parallel_tool_calls\":false,"
        "\"temperature\":0.0,\"top_p\":0.5,\"presence_penalty\":-1.5,\"seed\":-3,\"max_tokens\":7,"
        "\"stop\":[\"a\",\"b\"],\"user\":\"u\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
        "\"service_tier\":\"flex\"}");
    request_free(r);
}

static void test_reasoning_models_get_their_own_maximum(void **state)
{
    static const struct {
        const char *model, *expect;
    } cases[] = {{"o3-mini", "max_completion_tokens"}, {"gpt-5-nano", "max_completion_tokens"},
        {"gpt-4o", "max_tokens"}, {"llama-o1", "max_tokens"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char expect[256];
        struct chat_request *r = request_create();
        r->max_tokens = 5;
        snprintf(expect, sizeof expect,
            "{\"model\":\"%s\",\"messages\":[],\"%s\":5,\"stream\":true,\"stream_options\":{\"include_"
            "usage\":true}}",
            cases[i].model, cases[i].expect);
        assert_encodes(&provider_dialect_openai, cases[i].model, r, expect);
        request_free(r);
    }
}

static void test_a_bare_prompt_goes_to_completions(void **state)
{
    struct chat_request *r = request_create();
    (void)state;
    r->has_prompt = true;
    r->prompt = STR("Once upon");
    r->max_tokens = 3;
    assert_encodes(&provider_dialect_openai, "o3", r,
        "{\"model\":\"o3\",\"prompt\":\"Once upon\",\"max_tokens\":3,\"stream\":true,"
        "\"stream_options\":{\"include_usage\":true}}");
    assert_true(str_is(provider_dialect_openai.path(r->arena, NULL, r), "/completions"));
    request_free(r);
}

static void test_several_answers_with_log_probabilities(void **state)
{
    static const struct chat_bias bias[] = {{7, STR_NONE, -100}, {9, STR_NONE, 1.5}};
    struct chat_request *r = request_create();
    (void)state;
    r->n = 2;
    r->logprobs = true;
    r->top_logprobs = 3;
    r->sampling.logit_bias = bias;
    r->sampling.n_logit_bias = 2;
    r->sampling.mirostat = 2;
    assert_encodes(&provider_dialect_openai, "m", r,
        "{\"model\":\"m\",\"messages\":[],\"mirostat\":2,\"logit_bias\":{\"7\":-100.0,\"9\":1.5},\"n\":2,"
        "\"logprobs\":true,\"top_logprobs\":3,\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
    r->has_prompt = true;
    r->prompt = STR("a");
    r->suffix = STR("b");
    r->echo = true;
    r->sampling.n_logit_bias = 0;
    assert_encodes(&provider_dialect_openai, "m", r,
        "{\"model\":\"m\",\"prompt\":\"a\",\"mirostat\":2,\"n\":2,\"suffix\":\"b\",\"echo\":true,"
        "\"logprobs\":3,"
        "\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
    r->prompt_ids = (const int32_t[]){1, 2}; /* what they say no detector has seen */
    r->n_prompt_ids = 2;
    assert_refuses(&provider_dialect_openai, r, "token ids");
    request_free(r);
}

/* "choice:kind[text|tokens]" of each event. */
static void choices_note(void *ctx, const struct chat_event *e)
{
    struct buf *out = ctx;
    const char *kind = e->kind == CHAT_EVENT_TEXT ? "text" : e->kind == CHAT_EVENT_STOP ? "stop" : "other";
    if (e->kind == CHAT_EVENT_START || e->kind == CHAT_EVENT_USAGE)
        return;
    buf_appendf(out, "%u:%s", e->choice, kind);
    if (e->kind == CHAT_EVENT_TEXT)
        buf_appendf(out, "[" STR_FMT "]", STR_ARG(e->text));
    for (size_t i = 0; i < e->n_tokens; i++) {
        buf_appendf(out, "(" STR_FMT " %.2f", STR_ARG(e->tokens[i].text), e->tokens[i].logprob);
        for (size_t k = 0; k < e->tokens[i].n_top; k++)
            buf_appendf(out, " " STR_FMT, STR_ARG(e->tokens[i].top[k].text));
        buf_append_char(out, ')');
    }
    buf_append_char(out, ' ');
}

static void test_choices_and_log_probabilities_come_back(void **state)
{
    static const char *const streams[] = {
        "data: "
        "{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"b\"},\"logprobs\":{\"content\":[{\"token\":"
        "\"b\","
        "\"logprob\":-1.5,\"bytes\":[98],\"top_logprobs\":[{\"token\":\"x\",\"logprob\":-0.5,\"bytes\":null}]"
        "}]}}]}\n\n"
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n"
        "data: {\"choices\":[{\"index\":2,\"delta\":{\"content\":\"never asked for\"}}]}\n\n"
        "data: {\"choices\":[{\"index\":1,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
        "data: "
        "{\"choices\":[{\"index\":1,\"text\":\"b\",\"logprobs\":{\"tokens\":[\"b\"],\"token_logprobs\":[-1.5]"
        ","
        "\"top_logprobs\":[{\"x\":-0.5}],\"text_offset\":[0]}}]}\n\n"
        "data: {\"choices\":[{\"index\":0,\"text\":\"a\"}]}\n\ndata: [DONE]\n\n"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct provider_answer a;
        struct buf seen;
        buf_init(&seen, 4096);
        provider_answer_init(&a, STR("cloud"), STR("sk-secret"), provider_openai_event,
            (struct chat_sink){choices_note, &seen});
        provider_answer_expect(&a, 2);
        provider_answer_content_type(&a, STR("text/event-stream"));
        provider_answer_feed(&a, str_from(streams[i]));
        provider_answer_finish(&a, 0, NULL);
        buf_append_char(&seen, '\0');
        assert_string_equal(seen.data, "1:text[b](b -1.50 x) 0:text[a] 0:stop 1:stop ");
        provider_answer_free(&a);
        buf_free(&seen);
    }
}

static void test_what_cannot_be_answered_is_refused_by_name(void **state)
{
    static const char *const vendor[][2] = {{"{\"n\":2}", "'n'"}, {"{\"n\":\"1\"}", "'n'"},
        {"{\"logprobs\":true}", "'logprobs'"}, {"{\"top_logprobs\":3}", "'top_logprobs'"},
        {"{\"functions\":[{}]}", "'functions'"}, {"{\"modalities\":[\"text\",\"audio\"]}", "'modalities'"},
        {"{\"audio\":{\"voice\":\"x\"}}", "'audio'"}};
    (void)state;
    for (size_t i = 0; i < sizeof vendor / sizeof *vendor; i++) {
        struct chat_request *r = request_create();
        r->vendor = request_json(r, vendor[i][0]);
        assert_refuses(&provider_dialect_openai, r, vendor[i][1]);
        request_free(r);
    }
    struct chat_request *r = request_create();
    request_tool(r, "{\"type\":\"custom\",\"custom\":{\"name\":\"x\"}}");
    assert_refuses(&provider_dialect_openai, r, "tools[0]");
    request_free(r);
}

static void test_headers(void **state)
{
    struct arena *a = arena_create(4096);
    struct egress_header h[PROVIDER_HEADERS_MAX];
    (void)state;
    assert_int_equal(
        provider_dialect_openai.headers(
            a, &(struct provider){.api_key = "sk-1", .api_key_len = 4}, &(struct chat_request){0}, h),
        3);
    assert_true(str_is(h[2].name, "Authorization") && str_is(h[2].value, "Bearer sk-1"));
    assert_int_equal(
        provider_dialect_openai.headers(a, &(struct provider){0}, &(struct chat_request){0}, h), 2);
    arena_free(a);
}

/* ---- Being answered ---- */

static const struct str sample = STR(
    ": OPENROUTER PROCESSING\n\n" DELTA("{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}")
        DELTA("{\"reasoning_content\":\"think\"}") DELTA("{\"content\":\"gr\\u00fc\\u00df\"}") DELTA(
            "{\"content\":\" 😀\"}") DELTA("{\"tool_calls\":[{\"index\":0,\"id\":\"call_a\",\"type\":"
                                          "\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]}")
            DELTA("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"x\\\"\"}}]}")
                DELTA("{\"tool_calls\":[{\"index\":1,\"id\":\"call_b\",\"type\":\"function\",\"function\":{"
                      "\"name\":\"g\",\"arguments\":\"{\"}},"
                      "{\"index\":0,\"function\":{\"arguments\":\":1}\"}}]}")
                    DELTA("{\"tool_calls\":[{\"index\":1,\"function\":{\"arguments\":\"}\"}}]}")
                        FINISH("tool_calls") USAGE DONE);

static void test_a_stream_with_everything(void **state)
{
    (void)state;
    assert_translates(provider_openai_event, SSE, sample,
        "start c1 gpt-x\nreasoning think\ntext gr\xc3\xbc\xc3\x9f\ntext  \xf0\x9f\x98\x80\n"
        "tool 0 call_a f \ntool 0   {\"x\"\ntool 1 call_b g {\ntool 0   :1}\ntool 1   }\n"
        "usage 20 16 9 4\nstop 2\n");
}

static void test_cuts_do_not_matter(void **state)
{
    (void)state;
    assert_cuts_do_not_matter(provider_openai_event, sample);
}

static void test_breaks_are_told(void **state)
{
    (void)state;
    /* Once the reason to stop is known all of the answer has come. */
    size_t finish = str_find(sample, STR("\"finish_reason\":\"tool_calls\"}]}\n\n"));
    assert_breaks_are_told(
        provider_openai_event, sample, finish + strlen("\"finish_reason\":\"tool_calls\"}]}\n\n"));
}

static void test_ways_to_end(void **state)
{
    static const struct {
        struct str stream;
        const char *expect;
    } cases[] = {
        {STR(DELTA("{\"content\":\"a\"}") FINISH("stop") DONE), "start c1 gpt-x\ntext a\nstop 0\n"},
        {STR(DELTA("{\"content\":\"a\"}") FINISH("length") DONE), "start c1 gpt-x\ntext a\nstop 1\n"},
        {STR(DELTA("{\"content\":\"a\"}") FINISH("model_length") DONE), "start c1 gpt-x\ntext a\nstop 1\n"},
        {STR(DELTA("{\"content\":\"a\"}") FINISH("content_filter") DONE), "start c1 gpt-x\ntext a\nstop 3\n"},
        {STR(DELTA("{\"content\":\"a\"}") FINISH("eos") DONE), "start c1 gpt-x\ntext a\nstop 0\n"},
        /* no [DONE], no usage, no last empty line */
        {STR(DELTA("{\"content\":\"a\"}") CHUNK(
             "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\",\"stop_reason\":\"END\"}]")),
            "start c1 gpt-x\ntext a\nstop 4 END\n"},
        {STR(CHUNK("\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\",\"stop_reason\":7}]")),
            "start c1 gpt-x\nstop 0\n"},
        {STR(DELTA("{\"content\":\"a\"}") FINISH("stop")), "start c1 gpt-x\ntext a\nstop 0\n"},
        {STR(DELTA("{\"content\":\"a\"}") FINISH("stop") "data: [DONE]"), "start c1 gpt-x\ntext a\nstop 0\n"},
        /* no reason, but said to be done */
        {STR(DELTA("{\"content\":\"a\"}") DONE), "start c1 gpt-x\ntext a\nstop 0\n"},
        /* nothing counts after the end */
        {STR(DELTA("{\"content\":\"a\"}") FINISH("stop")
                 DONE DELTA("{\"content\":\"b\"}") "data: nonsense\n\n"),
            "start c1 gpt-x\ntext a\nstop 0\n"},
        /* a refusal is text; a second choice was not asked for */
        {STR(DELTA("{\"refusal\":\"no\"}") CHUNK("\"choices\":[{\"index\":1,\"delta\":{\"content\":\"x\"}}]")
                 FINISH("stop") DONE),
            "start c1 gpt-x\ntext no\nstop 0\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_translates(provider_openai_event, SSE, cases[i].stream, cases[i].expect);
}

static void test_the_quirks_of_servers(void **state)
{
    static const struct {
        struct str stream;
        const char *expect;
    } cases[] = {
        /* Azure begins with its filters. */
        {STR("data: {\"id\":\"\",\"model\":\"\",\"choices\":[],\"prompt_filter_results\":[{}]}\n\n" DELTA(
             "{\"content\":\"a\"}") FINISH("stop") DONE),
            "start c1 gpt-x\ntext a\nstop 0\n"},
        /* "stop" although tools were called; every call with index 0, told apart by id */
        {STR(DELTA("{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{"
                   "}\"}}]}") DELTA("{\"tool_calls\":[{\"index\":0,\"id\":\"b\",\"function\":{\"name\":\"f\","
                                    "\"arguments\":\"{}\"}}]}") FINISH("stop") DONE),
            "start c1 gpt-x\ntool 0 a f {}\ntool 1 b f {}\nstop 2\n"},
        /* no index at all */
        {STR(DELTA("{\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}")
                 DELTA("{\"tool_calls\":[{\"function\":{\"arguments\":\"}\"}}]}") DELTA(
                     "{\"tool_calls\":[{\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]}")
                     FINISH("tool_calls") DONE),
            "start c1 gpt-x\ntool 0 a f {\ntool 0   }\ntool 1 b g {}\nstop 2\n"},
        /* id and name with every piece; arguments as an object */
        {STR(DELTA("{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{"
                   "\"}}]}") DELTA("{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\","
                                   "\"arguments\":\"}\"}}]}")
                 DELTA("{\"tool_calls\":[{\"index\":1,\"id\":\"b\",\"function\":{\"name\":\"g\","
                       "\"arguments\":{\"k\":[1]}}}]}") FINISH("tool_calls") DONE),
            "start c1 gpt-x\ntool 0 a f {\ntool 0   }\ntool 1 b g {\"k\":[1]}\nstop 2\n"},
        /* reasoning under two names at once, and as parts */
        {STR(DELTA("{\"reasoning\":\"r\",\"reasoning_content\":\"r\"}") DELTA(
             "{\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"type\":\"text\",\"text\":\"t\"}]},"
             "{\"type\":\"text\",\"text\":\"a\"}]}") FINISH("stop") DONE),
            "start c1 gpt-x\nreasoning r\nreasoning t\ntext a\nstop 0\n"},
        /* usage that grows with every chunk: told when it changes */
        {STR(CHUNK("\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}],\"usage\":{\"prompt_tokens\":3,"
                   "\"completion_tokens\":1}")
                 CHUNK("\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}")
                     CHUNK("\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_"
                           "tokens\":3,\"completion_tokens\":2,\"prompt_cache_hit_tokens\":1}") DONE),
            "start c1 gpt-x\ntext a\nusage 3 0 1 0\nusage 3 1 2 0\n"
            "besides \"prompt_cache_hit_tokens\":1\nstop 0\n"},
        /* Groq's usage stands elsewhere; OpenRouter tells what was written to a cache */
        {STR(DELTA("{\"content\":\"a\"}") CHUNK(
             "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"x_groq\":{\"id\":"
             "\"r\",\"usage\":{\"queue_time\":0.1,\"prompt_tokens\":5,\"completion_tokens\":2,\"total_"
             "tokens\":7,\"prompt_tokens_details\":{\"cached_tokens\":1,\"cache_write_tokens\":3}}}") DONE),
            "start c1 gpt-x\ntext a\nusage 5 1 2 0\n"
            "besides \"queue_time\":0.1\nstop 0\n"},
        /* xAI and Google count reasoning beside the output: 32 + 9 + 94 = 135 */
        {STR(DELTA("{\"content\":\"a\"}") FINISH("stop") CHUNK(
             "\"choices\":[],\"usage\":{\"prompt_tokens\":32,\"completion_tokens\":9,\"total_tokens\":135,"
             "\"completion_tokens_details\":{\"reasoning_tokens\":94}}") DONE),
            "start c1 gpt-x\ntext a\nusage 32 0 103 94\nstop 0\n"},
        /* Perplexity's reasoning has no details around it */
        {STR(DELTA("{\"content\":\"a\"}") FINISH("stop") CHUNK(
             "\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":9,\"total_tokens\":12,"
             "\"reasoning_tokens\":4}") DONE),
            "start c1 gpt-x\ntext a\nusage 3 0 9 4\nbesides \"reasoning_tokens\":4\nstop 0\n"},
        /* counts whose sum and cost would overflow, and negative ones, are unknown */
        {STR(DELTA("{\"content\":\"a\"}") FINISH("stop") CHUNK(
             "\"choices\":[],\"usage\":{\"prompt_tokens\":9223372036854775807,\"completion_tokens\":-5,"
             "\"prompt_tokens_details\":{\"cached_tokens\":9223372036854775807}}") DONE),
            "start c1 gpt-x\ntext a\nstop 0\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_translates(provider_openai_event, SSE, cases[i].stream, cases[i].expect);
}

static void test_a_tool_call_without_id_gets_one(void **state)
{
    struct buf got = translate(provider_openai_event, SSE,
        STR(DELTA("{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}")
                FINISH("tool_calls")),
        0, 0, 0);
    (void)state;
    assert_non_null(strstr(got.data, "tool 0 call_"));
    buf_free(&got);
}

static void test_whole_answers(void **state)
{
    static const char body[] =
        "{\"id\":\"c9\",\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
        "\"content\":\"hello\","
        "\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},"
        "{\"id\":\"b\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},"
        "\"finish_reason\":\"tool_calls\"}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}";
    static const char *const types[] = {
        "application/json", "application/json; charset=utf-8", "", "text/plain"};
    (void)state;
    for (size_t i = 0; i < 4; i++)
        assert_translates(provider_openai_event, types[i], str_from(body),
            "start c9 m\ntext hello\ntool 0 a f {}\ntool 1 b f {}\nusage 5 0 2 0\nstop 2\n");
    assert_translates(provider_openai_event, "application/json",
        STR("{\"id\":\"c\",\"choices\":[{\"text\":\"upon\",\"index\":0,\"finish_reason\":\"length\"}]}"),
        "start c \ntext upon\nstop 1\n");
    /* A stream under a wrong label is a stream. */
    assert_translates(provider_openai_event, "application/json",
        STR(DELTA("{\"content\":\"a\"}") FINISH("stop") DONE), "start c1 gpt-x\ntext a\nstop 0\n");
}

static void test_a_whole_answer_is_asked_for_without_stream_options(void **state)
{
    struct chat_request *r = request_create();
    (void)state;
    request_add(r, CHAT_USER, "hi");
    r->stream = false;
    assert_encodes(&provider_dialect_openai, "gpt-x", r,
        "{\"model\":\"gpt-x\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"stream\":false}");
    assert_encodes(&provider_dialect_ollama, "o", r,
        "{\"model\":\"o\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"options\":{},\"stream\":"
        "false}");
    assert_true(str_is(provider_dialect_gemini.path(r->arena, &(struct provider_model){.model = STR("g")}, r),
        "/v1beta/models/g:generateContent"));
    request_free(r);
}

/* Every field that comes in a stream comes in a whole answer as well. */
static void test_whole_answers_say_what_streams_say(void **state)
{
    static const struct {
        const char *body, *expect;
    } cases[] = {
        {"{\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"message\":{\"reasoning_content\":\"r\",\"content\":"
         "\"a\"},\"finish_reason\":\"length\"}]}",
            "start c m\nreasoning r\ntext a\nstop 1\n"},
        {"{\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"message\":{\"reasoning\":\"r\",\"content\":null,"
         "\"refusal\":\"no\"},\"finish_reason\":\"stop\"}]}",
            "start c m\nreasoning r\ntext no\nstop 0\n"},
        {"{\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"message\":{\"content\":[{\"type\":\"thinking\","
         "\"thinking\":"
         "[{\"type\":\"text\",\"text\":\"t\"}]},{\"type\":\"text\",\"text\":\"a\"}]},\"finish_reason\":"
         "\"stop\"}]}",
            "start c m\nreasoning t\ntext a\nstop 0\n"},
        {"{\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"message\":{\"content\":null,\"tool_calls\":[{\"id\":"
         "\"x\","
         "\"function\":{\"name\":\"f\",\"arguments\":{\"k\" : [1, "
         "2.50]}}},{\"id\":\"y\",\"function\":{\"name\":"
         "\"g\",\"arguments\":\"\"}}]},\"finish_reason\":\"stop\"}],\"x_groq\":{\"usage\":{\"prompt_tokens\":"
         "3,"
         "\"completion_tokens\":4,\"prompt_tokens_details\":{\"cached_tokens\":1},"
         "\"completion_tokens_details\":{\"reasoning_tokens\":2}}}}",
            "start c m\ntool 0 x f {\"k\":[1,2.50]}\ntool 1 y g \nusage 3 1 4 2\nstop 2\n"},
        /* white space before it, as servers send that keep the connection alive */
        {"\n\n  "
         "\n{\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":"
         "\"content_filter\"}]}\n",
            "start c m\ntext a\nstop 3\n"},
        {"{\"error\":{\"message\":\"slow down\",\"code\":429}}",
            "error busy 429 1 -1 : provider 'cloud' answered HTTP 429: slow down\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_translates(
            provider_openai_event, "application/json", str_from(cases[i].body), cases[i].expect);
}

static void test_errors_in_the_answer(void **state)
{
    static const struct {
        const char *type;
        struct str bytes;
        const char *expect;
    } cases[] = {
        {SSE,
            STR(DELTA("{\"content\":\"a\"}") "data: {\"error\":{\"message\":\"busy with "
                                             "sk-secret\",\"type\":\"server_error\"}}\n\n"),
            "start c1 gpt-x\ntext a\nerror unavailable 500 1 -1 server_error: provider 'cloud' answered HTTP "
            "500: busy with ***\n"},
        {SSE, STR("data: {\"error\":{\"message\":\"slow down\",\"code\":429}}\n\n"),
            "error busy 429 1 -1 : provider 'cloud' answered HTTP 429: slow down\n"},
        {SSE, STR("data: {\"object\":\"error\",\"message\":\"odd\",\"code\":40303}\n\n"),
            "error unavailable 0 1 -1 : provider 'cloud' reported an error: odd\n"},
        {SSE, STR(DELTA("{\"content\":\"a\"}") FINISH("error") DONE),
            "start c1 gpt-x\ntext a\nerror unavailable 0 1 -1 : provider 'cloud': its answer cannot be "
            "understood: it gave up in the middle ('error')\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_translates(provider_openai_event, cases[i].type, cases[i].bytes, cases[i].expect);
}

static void assert_fails(const char *type, struct str bytes, const char *why)
{
    assert_breaks(provider_openai_event, type, bytes, "error ", why);
}

static void test_nonsense_is_one_error(void **state)
{
    (void)state;
    assert_fails(SSE, STR(""), "ended before it was complete");
    assert_fails(SSE, STR(DONE), "ended before it was complete");
    assert_fails(SSE, STR(DELTA("{\"content\":\"a\"}")), "ended before it was complete");
    assert_fails(SSE, STR("data: {\"a\":\n\n"), "not valid JSON");
    assert_fails(SSE, STR("data: []\n\n"), "not a JSON object");
    assert_fails(SSE, STR("data: \xff\n\n"), "UTF-8");
    assert_fails(SSE, STR("data: {\"a\":\"\xC3\ndata: \xA4\"}\n\n"), "UTF-8");
    assert_fails(SSE, STR(CHUNK("\"choices\":7")), "'choices'");
    assert_fails(SSE, STR(CHUNK("\"choices\":[7]")), "'choices'");
    assert_fails(SSE, STR(DELTA("{\"content\":{\"a\":1}}")), "'content'");
    assert_fails(SSE, STR(DELTA("{\"tool_calls\":[3]}")), "'tool_calls'");
    assert_fails(SSE, STR(DELTA("{\"tool_calls\":[{\"index\":0}]}")), "no name");
    assert_fails("text/html", STR("<html>Bad gateway</html>"), "'text/html'");
    assert_fails("application/json", STR("{\"choices\":["), "not valid JSON");
    assert_fails("application/json", STR("{}"), "ended before it was complete");
    assert_fails("", STR(""), "ended before it was complete");
}

static void test_a_giant_event_is_refused(void **state)
{
    struct buf big;
    (void)state;
    buf_init(&big, 2 * LIMIT_PROVIDER_EVENT);
    buf_append_text(&big, "data: {\"choices\":[{\"delta\":{\"content\":\"");
    char *fill = buf_reserve(&big, LIMIT_PROVIDER_EVENT);
    assert_non_null(fill);
    memset(fill, 'a', LIMIT_PROVIDER_EVENT);
    buf_commit(&big, LIMIT_PROVIDER_EVENT);
    buf_append_text(&big, "\"}}]}\n\n");
    struct buf got = translate(provider_openai_event, SSE, buf_str(&big), 100, 16384, 0);
    assert_non_null(strstr(got.data, "error unavailable 0 1 "));
    buf_free(&got);
    buf_free(&big);
}

static void test_too_many_tool_calls_are_refused(void **state)
{
    struct buf stream;
    (void)state;
    buf_init(&stream, MIB);
    for (int i = 0; i <= LIMIT_TOOLS; i++)
        buf_appendf(&stream,
            "data: "
            "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":%d,\"function\":{\"name\":\"f\"}}]}}]}\n\n",
            i);
    assert_fails(SSE, buf_str(&stream), "more than 512 tools");
    buf_free(&stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_plain_request),
        cmocka_unit_test(test_everything_a_request_can_hold),
        cmocka_unit_test(test_reasoning_models_get_their_own_maximum),
        cmocka_unit_test(test_a_bare_prompt_goes_to_completions),
        cmocka_unit_test(test_several_answers_with_log_probabilities),
        cmocka_unit_test(test_choices_and_log_probabilities_come_back),
        cmocka_unit_test(test_what_cannot_be_answered_is_refused_by_name),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_a_stream_with_everything),
        cmocka_unit_test(test_cuts_do_not_matter),
        cmocka_unit_test(test_breaks_are_told),
        cmocka_unit_test(test_ways_to_end),
        cmocka_unit_test(test_the_quirks_of_servers),
        cmocka_unit_test(test_a_tool_call_without_id_gets_one),
        cmocka_unit_test(test_whole_answers),
        cmocka_unit_test(test_a_whole_answer_is_asked_for_without_stream_options),
        cmocka_unit_test(test_whole_answers_say_what_streams_say),
        cmocka_unit_test(test_errors_in_the_answer),
        cmocka_unit_test(test_nonsense_is_one_error),
        cmocka_unit_test(test_a_giant_event_is_refused),
        cmocka_unit_test(test_too_many_tool_calls_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Embeddings and ranks: how each kind is asked, and that no answer goes on which does not fit the question.
 */
#include "fixture.h"

static struct chat_request *embed_make(size_t n)
{
    static const char *const texts[] = {"one", "two", ""};
    struct chat_request *r = request_create();
    r->kind = CHAT_KIND_EMBED;
    r->inputs = arena_alloc(r->arena, 3 * sizeof *r->inputs);
    for (; r->n_inputs < n; r->n_inputs++)
        r->inputs[r->n_inputs].text = str_from(texts[r->n_inputs]);
    return r;
}

/* One of Bedrock's models. */
static void assert_embeds_not(const char *model, const struct chat_request *r, const char *says)
{
    const struct provider_model m = {.model = str_from(model)};
    struct error err;
    assert_int_equal(provider_embed_bedrock.supports(&m, r, &err), ERROR_UNSUPPORTED);
    if (!strstr(err.message, says))
        fail_msg("'%s' says nothing of %s", err.message, says);
}

static void test_each_kind_is_asked_in_its_words(void **state)
{
    struct chat_request *r = embed_make(2);
    (void)state;
    r->dimensions = 8;
    r->user = STR("u");
    assert_encodes(&provider_embed_openai, "m", r,
        "{\"model\":\"m\",\"input\":[\"one\",\"two\"],\"dimensions\":8,\"user\":\"u\"}");
    assert_encodes(&provider_embed_gemini, "m", r,
        "{\"requests\":[{\"model\":\"models/"
        "m\",\"content\":{\"parts\":[{\"text\":\"one\"}]},\"outputDimensionality\":"
        "8},{\"model\":\"models/"
        "m\",\"content\":{\"parts\":[{\"text\":\"two\"}]},\"outputDimensionality\":8}]}");
    assert_encodes(&provider_embed_ollama, "m", r,
        "{\"model\":\"m\",\"input\":[\"one\",\"two\"],\"dimensions\":8,\"truncate\":false}");
    r->vendor = request_json(r, "{\"input_type\":\"query\"}");
    assert_encodes(&provider_embed_openai, "m", r,
        "{\"model\":\"m\",\"input\":[\"one\",\"two\"],\"dimensions\":8,\"user\":\"u\",\"input_type\":"
        "\"query\"}");
    assert_refuses(&provider_embed_gemini, r, "'input_type'");
    assert_refuses(&provider_embed_ollama, r, "'input_type'");
    request_free(r);
    r = embed_make(1);
    r->unscaled = true;
    assert_encodes(&provider_embed_ollama, "m", r, "{\"model\":\"m\",\"prompt\":\"one\",\"truncate\":false}");
    assert_true(str_is(provider_embed_ollama.path(r->arena, NULL, r), "/api/embeddings"));
    request_free(r);
}

static void test_bedrock_models_are_asked_in_their_makers_words(void **state)
{
    static const char titan[] = "amazon.titan-embed-text-v2:0", cohere[] = "eu.cohere.embed-v4:0";
    struct chat_request *r = embed_make(1);
    (void)state;
    assert_encodes(&provider_embed_bedrock, titan, r, "{\"inputText\":\"one\"}");
    r->dimensions = 256;
    assert_encodes(&provider_embed_bedrock, titan, r, "{\"inputText\":\"one\",\"dimensions\":256}");
    request_free(r);
    r = embed_make(2);
    assert_encodes(&provider_embed_bedrock, cohere, r,
        "{\"texts\":[\"one\",\"two\"],\"input_type\":\"search_document\",\"truncate\":\"NONE\"}");
    r->dimensions = 8;
    r->vendor = request_json(r, "{\"input_type\":\"search_query\"}");
    assert_encodes(&provider_embed_bedrock, cohere, r,
        "{\"texts\":[\"one\",\"two\"],\"input_type\":\"search_query\",\"truncate\":\"NONE\","
        "\"output_dimension\":8}");
    assert_embeds_not(titan, r, "'input_type'");
    r->vendor = NULL;
    assert_int_equal(provider_embed_bedrock.at_once(&(struct provider_model){.model = str_from(titan)}), 1);
    assert_int_equal(provider_embed_bedrock.at_once(&(struct provider_model){.model = str_from(cohere)}), 96);
    assert_embeds_not("amazon.nova-pro-v1:0", r, "cohere.embed");
    r->inputs[1].ids = (const int32_t[]){1};
    assert_embeds_not(cohere, r, "input[1]");
    request_free(r);
}

static void test_servers_differ_by_their_rows(void **state)
{
    static const struct {
        const char *kind, *embeds, *ranks; /* NULL: it does not */
    } cases[] = {
        {"openai", "\"encoding_format\":\"base64\",\"dimensions\":8", NULL},
        {"mistral", "\"output_dimension\":8", NULL},
        {"voyage", "\"output_dimension\":8", "\"top_k\":2"},
        {"vllm", "\"encoding_format\":\"base64\"", "\"top_n\":2"},
        {"jina", "\"dimensions\":8", "\"top_n\":2"},
        {"deepseek", NULL, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct provider p = {.server = provider_server_named(str_from(cases[i].kind))};
        const struct provider_model m = {.provider = &p, .model = STR("m")};
        struct chat_request *r = embed_make(3);
        r->dimensions = 8;
        r->top_n = 2;
        r->query = STR("q");
        for (int kind = CHAT_KIND_EMBED; kind <= CHAT_KIND_RERANK; kind++) {
            bool embeds = kind == CHAT_KIND_EMBED;
            const char *wanted = embeds ? cases[i].embeds : cases[i].ranks;
            const struct provider_dialect *d = embeds ? &provider_embed_openai : &provider_rerank_openai;
            struct error err = {0};
            struct buf body;
            buf_init(&body, MIB);
            r->kind = (enum chat_kind)kind;
            int rc = d->encode(&m, r, &body, &err);
            if (wanted ? rc != 0 || !strstr(body.data, wanted) : rc != ERROR_UNSUPPORTED)
                fail_msg("%s: %d %s %s", cases[i].kind, rc, err.message, body.data ? body.data : "");
            buf_free(&body);
        }
        request_free(r);
    }
}

static void test_token_ids_go_to_no_cloud(void **state)
{
    static const int32_t ids[] = {1, 2};
    struct chat_request *r = embed_make(2);
    (void)state;
    r->inputs[1] = (struct chat_input){.ids = ids, .n_ids = 2};
    assert_refuses(&provider_embed_openai, r, "input[1]");
    assert_refuses(&provider_embed_ollama, r, "input[1]");
    assert_refuses(&provider_embed_gemini, r, "input[1]");
    request_free(r);
}

static struct buf answered(provider_event *event, size_t n_inputs, const char *bytes)
{
    struct provider_answer a;
    struct transcript t;
    provider_answer_init(&a, STR("cloud"), STR("sk-secret"), event, transcript_sink(&t));
    a.n_inputs = n_inputs;
    provider_answer_content_type(&a, STR("application/json"));
    provider_answer_feed(&a, str_from(bytes));
    provider_answer_finish(&a, 0, NULL);
    assert_int_equal(t.last, 1);
    provider_answer_free(&a);
    return t.text;
}

static void test_answers(void **state)
{
    static const struct {
        const struct provider_dialect *d;
        size_t n;
        const char *bytes, *expect;
    } cases[] = {
        {&provider_embed_openai, 2,
            "{\"data\":[{\"index\":1,\"embedding\":[3,4.5]},{\"index\":0,\"embedding\":\"AACAPwAAAEA=\"}],"
            "\"model\":\"e\",\"usage\":{\"prompt_tokens\":5,\"total_tokens\":5}}",
            "start  e\nusage 5 0 0 0\nembedding 0 1 2\nembedding 1 3 4.5\nstop 0\n"},
        {&provider_embed_openai, 1, "{\"data\":[{\"embedding\":[1]}]}", "start  \nembedding 0 1\nstop 0\n"},
        {&provider_embed_gemini, 2,
            "{\"embeddings\":[{\"values\":[1]},{\"values\":[2]}],\"usageMetadata\":{\"promptTokenCount\":7}}",
            "start  \nusage 7 0 0 0\nembedding 0 1\nembedding 1 2\nstop 0\n"},
        {&provider_embed_ollama, 2, "{\"model\":\"o\",\"embeddings\":[[1],[2]],\"prompt_eval_count\":4}",
            "start  o\nusage 4 0 0 0\nembedding 0 1\nembedding 1 2\nstop 0\n"},
        {&provider_embed_ollama, 1, "{\"embedding\":[0.5,1]}", "start  \nembedding 0 0.5 1\nstop 0\n"},
        {&provider_embed_bedrock, 1,
            "{\"embedding\":[0.5,1],\"embeddingsByType\":{\"float\":[0.5,1]},\"inputTextTokenCount\":3}",
            "start  \nusage 3 0 0 0\nembedding 0 0.5 1\nstop 0\n"},
        {&provider_embed_bedrock, 2,
            "{\"id\":\"e\",\"response_type\":\"embeddings_floats\",\"embeddings\":[[1],[2]],\"texts\":[\"a\","
            "\"b\"]}",
            "start e \nembedding 0 1\nembedding 1 2\nstop 0\n"},
        {&provider_embed_bedrock, 1, "{\"id\":\"e\",\"embeddings\":{\"float\":[[1,2]]}}",
            "start e \nembedding 0 1 2\nstop 0\n"},
        {&provider_rerank_openai, 3,
            "{\"id\":\"r\",\"results\":[{\"index\":2,\"relevance_score\":0.5},{\"index\":0,\"relevance_"
            "score\":-1}],"
            "\"usage\":{\"total_tokens\":3}}",
            "start r \nusage 3 0 0 0\nscore 2 0.5\nscore 0 -1\nstop 0\n"},
        {&provider_rerank_openai, 1, "{\"data\":[{\"index\":0,\"relevance_score\":1}]}",
            "start  \nscore 0 1\nstop 0\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf got = answered(cases[i].d->event, cases[i].n, cases[i].bytes);
        assert_string_equal(got.data, cases[i].expect);
        buf_free(&got);
    }
}

/* Each of these once began as good answers do: nothing of them may go on. */
static void test_answers_that_do_not_fit_the_question(void **state)
{
    static const char *const vectors[] = {"{}", "[]", "[1]", "{\"data\":[]}", "{\"data\":{}}",
        "{\"data\":[{\"embedding\":[1]}]}",
        "{\"data\":[{\"embedding\":[1]},{\"embedding\":[1]},{\"embedding\":[1]}]}",
        "{\"data\":[{\"embedding\":[1]},{\"embedding\":[1,2]}]}",
        "{\"data\":[{\"embedding\":[1]},{\"embedding\":[]}]}",
        "{\"data\":[{\"embedding\":[1]},{\"embedding\":[null]}]}",
        "{\"data\":[{\"embedding\":[1]},{\"embedding\":[1e99]}]}",
        "{\"data\":[{\"embedding\":[1]},{\"embedding\":[[1]]}]}", "{\"data\":[{\"embedding\":[1]},7]}",
        "{\"data\":[{\"index\":0,\"embedding\":[1]},{\"index\":0,\"embedding\":[1]}]}",
        "{\"data\":[{\"index\":5,\"embedding\":[1]},{\"index\":1,\"embedding\":[1]}]}",
        "{\"data\":[{\"embedding\":\"AACAPwAAAEA=\"},{\"embedding\":\"AACAPwAAAEAA\"}]}",
        "{\"data\":[{\"embedding\":\"AACAPwAAAEA=\"},{\"embedding\":\"AACAPw==\"}]}",
        "{\"data\":[{\"embedding\":\"\"},{\"embedding\":\"\"}]}",
        "{\"data\":[{\"embedding\":\"AADAfw==\"},{\"embedding\":\"AADAfw==\"}]}"};
    static const char *const ranks[] = {"{}", "{\"results\":[]}", "{\"results\":[{\"index\":0}]}",
        "{\"results\":[{\"index\":2,\"relevance_score\":1}]}",
        "{\"results\":[{\"index\":-1,\"relevance_score\":1}]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":\"1\"}]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":0,\"relevance_score\":1}]}",
        "{\"results\":[1,2]}", "{\"results\":[1,2,3]}"};
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        struct buf got = answered(provider_embed_openai.event, 2, vectors[i]);
        if (!strstr(got.data, "error unavailable") || strstr(got.data, "embedding 0"))
            fail_msg("%s: %s", vectors[i], got.data);
        buf_free(&got);
    }
    for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++) {
        struct buf got = answered(provider_rerank_openai.event, 2, ranks[i]);
        if (!strstr(got.data, "error unavailable") || strstr(got.data, "score 0"))
            fail_msg("%s: %s", ranks[i], got.data);
        buf_free(&got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_kind_is_asked_in_its_words),
        cmocka_unit_test(test_bedrock_models_are_asked_in_their_makers_words),
        cmocka_unit_test(test_servers_differ_by_their_rows),
        cmocka_unit_test(test_token_ids_go_to_no_cloud),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_answers_that_do_not_fit_the_question),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A session inside this process, where a leak checker sees what the sandboxed worker would hide. */
#include "unit/engine/worker_process.h"

#include <math.h>
#include <pthread.h>

#include "engine/worker/session.h"

static int model_fd;
static uint64_t model_memory = 4 * GIB; /* that the session may take */

struct host {
    int fd, rc;
    pthread_t thread;
    size_t n_files;
};

static void *host_run(void *arg)
{
    struct host *h = arg;
    const int files[] = {model_fd, model_fd}; /* with a draft model: itself */
    const struct session_setup setup = {
        .fd = h->fd, .files = files, .n_files = h->n_files, .cores = 1, .memory = model_memory};
    h->rc = session_run(&setup);
    close(h->fd); /* as the worker's exit does */
    return NULL;
}

static struct worker host_start(struct host *h, size_t n_files)
{
    struct worker w = {0};
    int pair[2];
    const struct timeval patience = {.tv_sec = 120};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
    *h = (struct host){.fd = pair[0], .n_files = n_files};
    w.fd = pair[1];
    setsockopt(w.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    buf_init(&w.in, 2 * LIMIT_WIRE_FRAME);
    assert_int_equal(pthread_create(&h->thread, NULL, host_run, h), 0);
    return w;
}

static int host_stop(struct host *h, struct worker *w)
{
    if (w->fd >= 0)
        close(w->fd);
    buf_free(&w->in);
    assert_int_equal(pthread_join(h->thread, NULL), 0);
    return h->rc;
}

static int group_start(void **state)
{
    (void)state;
    const struct model_sample sample = model_sample_default();
    signal(SIGPIPE, SIG_IGN);
    model_fd = worker_sample_file(&sample);
    return 0;
}

static int group_end(void **state)
{
    (void)state;
    return close(model_fd);
}

static void test_every_request_gives_back_its_memory(void **state)
{
    (void)state;
    static const struct {
        enum wire_type type;
        const char *payload;
    } requests[] = {{WIRE_CHAT, "{\"prompt\":\"abc\",\"max_tokens\":5,\"stop\":[\"zz\"]}"},
        {WIRE_CHAT, "{\"prompt\":\"abcabc\",\"max_tokens\":2,\"measure\":2,\"measure_prompt\":true}"},
        {WIRE_CHAT, "{\"prompt\":\"\",\"body\":1}"}, {WIRE_CHAT, "{\"prompt\":\"abc\",\"max_tokens\":0}"},
        {WIRE_CHAT, "{\"body\":{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]},\"max_tokens\":3,"
                    "\"sampling\":{\"repeat_penalty\":1.2}}"},
        {WIRE_LOGITS, "{\"tokens\":[1,2],\"greedy\":3}"}, {WIRE_LOGITS, "{\"tokens\":[1,-2]}"},
        {WIRE_LOGITS, "{\"tokens\":[1,999999]}"}, {WIRE_TOKENIZE, "{\"text\":\"abc\"}"},
        {WIRE_TOKENIZE, "{}"}, {WIRE_DETOKENIZE, "{\"ids\":[4,5]}"}, {WIRE_DETOKENIZE, "{\"ids\":[4,[]]}"},
        {WIRE_RENDER,
            "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"arguments\":\"{}\"}}]}],"
            "\"template\":\"{{ messages[0].tool_calls[0].function.arguments is mapping }}\"}"},
        {WIRE_RENDER, "{\"messages\":[],\"template\":\"{{ 1 / 0 }}\"}"}, {WIRE_SHOW, "{\"fit\":true}"},
        {WIRE_SHOW, "{\"fit\":1}"}, {WIRE_TENSOR, "{\"name\":\"token_embd.weight\"}"},
        {WIRE_TENSOR, "{\"name\":1}"},
        {WIRE_BENCH, "{\"depth\":5,\"streams\":2,\"prompt\":3,\"generate\":2,\"repeat\":2}"},
        {WIRE_BENCH, "{\"limits\":true}"}, {WIRE_BENCH, "{\"copy\":9,\"repeat\":2}"},
        {WIRE_BENCH, "{\"copy\":1}"}, {WIRE_BENCH, "{\"copy\":null}"}, {WIRE_BENCH, "{}"},
        {WIRE_BENCH, "{\"prompt\":16777216}"}, {WIRE_EMBED, "{\"text\":\"abc\"}"},
        {WIRE_RERANK, "{\"query\":\"a\",\"documents\":[\"b\"]}"}};
    struct host h;
    struct worker w = host_start(&h, 1);
    json_decref(worker_load(&w, "{\"threads\":1,\"slots\":2}"));
    for (uint32_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        struct wire_frame f;
        worker_send(&w, requests[i].type, i + 1, requests[i].payload);
        do
            assert_true(worker_take(&w, &f));
        while (f.type != WIRE_ERROR && f.type != WIRE_RESULT && f.type != WIRE_STOP);
        assert_int_equal(f.call, i + 1);
    }
    assert_int_equal(host_stop(&h, &w), 0);
}

/* Calls of every kind that are open, waiting and paused when the gateway goes. */
static void test_open_calls_give_back_their_memory(void **state)
{
    (void)state;
    struct host h;
    struct worker w = host_start(&h, 1);
    struct wire_frame f;
    json_decref(worker_load(&w, "{\"threads\":1}"));
    worker_send(&w, WIRE_CHAT, 1,
        "{\"prompt\":\"abc\",\"sampling\":{\"temperature\":2,\"presence_penalty\":1,\"ignore_eos\":true,"
        "\"seed\":5}}");
    do
        assert_true(worker_take(&w, &f));
    while (f.type != WIRE_TEXT);
    worker_send(&w, WIRE_PAUSE, 1, "");
    worker_send(&w, WIRE_CHAT, 2, "{\"prompt\":\"abc\",\"stop\":[\"a\"]}");
    worker_send(&w, WIRE_LOGITS, 3, "{\"tokens\":[1,2,3]}");
    worker_send(&w, WIRE_TENSOR, 4, "{\"name\":\"token_embd.weight\"}");
    worker_send(&w, WIRE_PAUSE, 4, "");
    worker_send(&w, WIRE_BENCH, 5, "{\"prompt\":30,\"depth\":20,\"repeat\":1000}");
    assert_int_equal(host_stop(&h, &w), 0);
}

/* Weights are mapped: who knows better may have a model loaded that does not seem to fit. */
static void test_memory_is_checked_unless_told_otherwise(void **state)
{
    (void)state;
    struct host h;
    struct wire_frame f;
    model_memory = 1000;
    struct worker w = host_start(&h, 1);
    worker_send(&w, WIRE_LOAD, 0, "{\"threads\":1}");
    assert_true(worker_take(&w, &f));
    assert_int_equal(f.type, WIRE_ERROR);
    assert_non_null(memmem(f.payload.data, f.payload.len, "0.00 GiB are available", 22));
    assert_non_null(memmem(f.payload.data, f.payload.len, "--memory-unchecked", 18));
    host_stop(&h, &w);
    w = host_start(&h, 1);
    json_decref(worker_load(&w, "{\"threads\":1,\"memory_unchecked\":true}"));
    assert_int_equal(host_stop(&h, &w), 0);
    model_memory = 4 * GIB;
}

static long long state_bytes(const char *load)
{
    struct host h;
    struct worker w = host_start(&h, 1);
    json_t *ready = worker_load(&w, load);
    const long long bytes = json_integer_value(json_object_get(ready, "state_bytes"));
    json_decref(ready);
    assert_int_equal(host_stop(&h, &w), 0);
    return bytes;
}

/* It was of floats, of which a token at depth read twice as much. */
static void test_the_cache_is_of_16_bits_unless_it_is_said_otherwise(void **state)
{
    (void)state;
    const long long halves = state_bytes("{\"threads\":1,\"kv_type\":\"f16\"}");
    assert_int_equal(state_bytes("{\"threads\":1,\"kv_type\":\"bf16\"}"), halves);
    assert_int_equal(state_bytes("{\"threads\":1}"), halves);
    assert_true(state_bytes("{\"threads\":1,\"kv_type\":\"f32\"}") > halves * 3 / 2);
}

/* What the pool of models counts left it out, and the message said that less is there than there is. */
static void test_a_draft_model_takes_memory_too(void **state)
{
    (void)state;
    struct host h;
    struct wire_frame f;
    struct worker w = host_start(&h, 1);
    json_t *alone = worker_load(&w, "{\"threads\":1}");
    assert_int_equal(host_stop(&h, &w), 0);
    w = host_start(&h, 2);
    json_t *beside = worker_load(&w, "{\"threads\":1,\"draft\":true}");
    assert_int_equal(host_stop(&h, &w), 0);
    assert_int_equal(json_integer_value(json_object_get(beside, "state_bytes")),
        2 * json_integer_value(json_object_get(alone, "state_bytes")));
    json_decref(alone);
    json_decref(beside);
    model_memory = 1000;
    w = host_start(&h, 2);
    worker_send(&w, WIRE_LOAD, 0, "{\"threads\":1,\"draft\":true}");
    assert_true(worker_take(&w, &f));
    assert_int_equal(f.type, WIRE_ERROR);
    assert_non_null(memmem(f.payload.data, f.payload.len, "beside the draft model: the model takes", 39));
    host_stop(&h, &w);
    model_memory = 4 * GIB;
}

/* Of weights that are there when the model is ready: the last count before it says how many bytes. */
static int64_t touched(size_t n_files, const char *options)
{
    struct host h;
    struct wire_frame f;
    struct worker w = host_start(&h, n_files);
    int64_t done = -1;
    worker_send(&w, WIRE_LOAD, 0, options);
    for (;;) {
        json_t *progress;
        assert_true(worker_take(&w, &f));
        if (f.type != WIRE_PROGRESS)
            break;
        assert_int_equal(json_read(f.payload, &progress, NULL), 0);
        done = json_integer_value(json_object_get(progress, "done"));
        assert_true(done <= json_integer_value(json_object_get(progress, "total")));
        json_decref(progress);
    }
    assert_int_equal(f.type, WIRE_READY);
    assert_int_equal(host_stop(&h, &w), 0);
    return done;
}

/* Its first drafts waited for the disk, page by page. */
static void test_a_draft_models_weights_are_read_at_load(void **state)
{
    (void)state;
    const int64_t alone = touched(1, "{\"threads\":1}");
    assert_true(alone > 0);
    assert_int_equal(touched(2, "{\"threads\":1,\"draft\":true}"), 2 * alone);
}

static void test_failures_give_back_their_memory(void **state)
{
    (void)state;
    struct host h;
    struct worker w = host_start(&h, 1);
    struct wire_frame f;
    worker_send(&w, WIRE_LOAD, 0, "{\"context\":16777216,\"slots\":1024}"); /* far more than there is */
    do
        assert_true(worker_take(&w, &f));
    while (f.type == WIRE_PROGRESS);
    assert_int_equal(f.type, WIRE_ERROR);
    worker_send(&w, WIRE_LOAD, 0, "{}"); /* once is all there is */
    assert_false(worker_take(&w, &f));
    assert_int_equal(host_stop(&h, &w), ERROR_INVALID);
}

static void test_templates_without_a_model(void **state)
{
    (void)state;
    struct host h;
    struct worker w = host_start(&h, 0);
    json_decref(worker_load(&w, "{\"inspect\":true}"));
    json_t *r = worker_ask(&w, WIRE_RENDER, 1,
        "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"template\":\"<{{ messages[0].content "
        "}}>\"}");
    assert_string_equal(json_string_value(json_object_get(r, "text")), "<hi>");
    json_decref(r);
    worker_send(&w, WIRE_SHOW, 2, "{}");
    worker_expect_error(&w, 2, ERROR_UNSUPPORTED, "no model");
    worker_send(&w, WIRE_TOKENIZE, 3, "{\"text\":\"a\"}");
    worker_expect_error(&w, 3, ERROR_UNSUPPORTED, "no model");
    assert_int_equal(host_stop(&h, &w), 0);
}

/* A session over a file of tests/vectors, in place of the sample. */
static struct worker host_of(struct host *h, const char *file, int *sample)
{
    *sample = model_fd;
    model_fd = open(file, O_RDONLY | O_CLOEXEC);
    assert_true(model_fd >= 0);
    struct worker w = host_start(h, 1);
    json_decref(worker_load(&w, "{\"threads\":1,\"context\":64}"));
    return w;
}

static void host_give_back(struct host *h, struct worker *w, int sample)
{
    assert_int_equal(host_stop(h, w), 0);
    close(model_fd);
    model_fd = sample;
}

static double score_of(const json_t *result, size_t index)
{
    const json_t *results = json_object_get(result, "results"), *r;
    size_t i;
    json_array_foreach(
        results, i, r) if ((size_t)json_integer_value(json_object_get(r, "index")) ==
                           index) return json_number_value(json_object_get(r, "relevance_score"));
    fail_msg("there is no document %zu", index);
    return 0;
}

static void test_documents_are_ranked(void **state)
{
    (void)state;
    struct host h;
    int sample;
    struct worker w = host_of(&h, "tests/vectors/models/bert-rank.gguf", &sample);
    json_t *r =
        worker_ask(&w, WIRE_RERANK, 1, "{\"query\":\"the cat\",\"documents\":[\"a\",\"the dog\",\"a\"]}");
    /* [CLS] the cat [SEP] the dog [SEP] and twice one token less */
    assert_int_equal(json_integer_value(json_object_get(r, "tokens")), 7 + 2 * 6);
    assert_int_equal(json_array_size(json_object_get(r, "results")), 3);
    assert_true(score_of(r, 0) == score_of(r, 2) && score_of(r, 0) != score_of(r, 1));
    json_decref(r);
    r = worker_ask(&w, WIRE_RERANK, 2, "{\"query\":\"the cat\",\"documents\":[]}");
    assert_int_equal(json_array_size(json_object_get(r, "results")), 0);
    json_decref(r);
    worker_send(&w, WIRE_RERANK, 3, "{\"query\":\"x\",\"documents\":[\"a\",1]}");
    worker_expect_error(&w, 3, ERROR_INVALID, "documents[1]");
    worker_send(&w, WIRE_RERANK, 4, "{\"documents\":[\"a\"]}");
    worker_expect_error(&w, 4, ERROR_INVALID, "query");
    worker_send(&w, WIRE_RERANK, 5, "[]");
    worker_expect_error(&w, 5, ERROR_INVALID, "query");
    host_give_back(&h, &w, sample);
}

/* Was: a separator that is the EOS too was left out; RoBERTa reads <s> query </s> </s> document </s>. */
static void test_two_separators_stand_between_texts(void **state)
{
    (void)state;
    struct host h;
    int sample;
    struct worker w = host_of(&h, "tests/vectors/models/bert-rank-pair.gguf", &sample);
    json_t *a = worker_ask(&w, WIRE_TOKENIZE, 1, "{\"text\":\"a\"}"),
           *b = worker_ask(&w, WIRE_TOKENIZE, 2, "{\"text\":\"b\"}");
    char question[256], *first = json_dumps(json_object_get(a, "ids"), JSON_COMPACT),
                        *second = json_dumps(json_object_get(b, "ids"), JSON_COMPACT);
    first[strlen(first) - 1] = '\0';
    snprintf(question, sizeof question, "{\"tokens\":[1,%s,2,2,%.*s,2]}", first + 1, (int)strlen(second) - 2,
        second + 1);
    json_t *e = worker_ask(&w, WIRE_EMBED, 3, question);
    json_t *r = worker_ask(&w, WIRE_RERANK, 4, "{\"query\":\"a\",\"documents\":[\"b\"]}");
    assert_true((float)json_number_value(json_array_get(json_object_get(e, "embedding"), 0)) ==
                (float)score_of(r, 0)); /* an embedding is written with a float's digits */
    free(first);
    free(second);
    json_decref(a);
    json_decref(b);
    json_decref(e);
    json_decref(r);
    host_give_back(&h, &w, sample);
}

/* Special tokens of the template count, and what a text says of {document} is not filled in again. */
static void test_pairs_are_asked_as_the_file_says(void **state)
{
    (void)state;
    struct host h;
    int sample;
    struct worker w = host_of(&h, "tests/vectors/models/qwen3-rerank.gguf", &sample);
    json_t *r = worker_ask(&w, WIRE_RERANK, 1, "{\"query\":\"a{document}\",\"documents\":[\"b{query}\"]}");
    json_t *t = worker_ask(&w, WIRE_TOKENIZE, 2,
        "{\"text\":\"<|im_end|>q a{document}<|im_end|>d b{query}<|im_end|>a\",\"parse_special\":true}");
    const json_t *ids = json_object_get(t, "ids");
    assert_int_equal(json_integer_value(json_object_get(r, "tokens")), json_array_size(ids));
    assert_int_equal(json_integer_value(json_array_get(ids, 0)), 100);
    char question[1024], *text = json_dumps(ids, JSON_COMPACT);
    snprintf(question, sizeof question, "{\"tokens\":%s}", text);
    json_t *e = worker_ask(&w, WIRE_EMBED, 3, question);
    assert_true((float)json_number_value(json_array_get(json_object_get(e, "embedding"), 0)) ==
                (float)score_of(r, 0)); /* an embedding is written with a float's digits */
    free(text);
    json_decref(e);
    json_decref(t);
    json_decref(r);
    host_give_back(&h, &w, sample);
}

static void test_embeddings_are_cut(void **state)
{
    (void)state;
    struct host h;
    int sample;
    struct worker w = host_of(&h, "tests/vectors/models/bert-last.gguf", &sample);
    json_t *whole = worker_ask(&w, WIRE_EMBED, 1, "{\"text\":\"the cat\"}");
    json_t *cut = worker_ask(&w, WIRE_EMBED, 2, "{\"text\":\"the cat\",\"dimensions\":3,\"normalize\":true}");
    const json_t *a = json_object_get(whole, "embedding"), *b = json_object_get(cut, "embedding");
    double length = 0;
    assert_int_equal(json_array_size(b), 3);
    for (size_t i = 0; i < 3; i++)
        length += pow(json_number_value(json_array_get(a, i)), 2);
    for (size_t i = 0; i < 3; i++)
        assert_true(fabs(json_number_value(json_array_get(a, i)) / sqrt(length) -
                         json_number_value(json_array_get(b, i))) < 1e-6);
    json_decref(whole);
    json_decref(cut);
    worker_send(&w, WIRE_EMBED, 3, "{\"text\":\"the cat\",\"dimensions\":33}");
    worker_expect_error(&w, 3, ERROR_INVALID, "32 dimensions");
    worker_send(&w, WIRE_RERANK, 4, "{\"query\":\"x\",\"documents\":[\"a\"]}");
    worker_expect_error(&w, 4, ERROR_UNSUPPORTED, "no head");
    host_give_back(&h, &w, sample);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_request_gives_back_its_memory),
        cmocka_unit_test(test_open_calls_give_back_their_memory),
        cmocka_unit_test(test_memory_is_checked_unless_told_otherwise),
        cmocka_unit_test(test_the_cache_is_of_16_bits_unless_it_is_said_otherwise),
        cmocka_unit_test(test_a_draft_model_takes_memory_too),
        cmocka_unit_test(test_a_draft_models_weights_are_read_at_load),
        cmocka_unit_test(test_failures_give_back_their_memory),
        cmocka_unit_test(test_templates_without_a_model),
        cmocka_unit_test(test_documents_are_ranked),
        cmocka_unit_test(test_two_separators_stand_between_texts),
        cmocka_unit_test(test_pairs_are_asked_as_the_file_says),
        cmocka_unit_test(test_embeddings_are_cut),
    };
    return cmocka_run_group_tests(tests, group_start, group_end);
}

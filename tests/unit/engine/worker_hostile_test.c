/* A real worker and a gateway gone mad: it may refuse or end, but never crash. */
#include "unit/engine/worker_process.h"

#include "base/rand.h"

static struct model_sample sample;
static int model_fd;

static int group_start(void **state)
{
    (void)state;
    sample = model_sample_default();
    model_fd = worker_sample_file(&sample);
    return 0;
}

static int group_end(void **state)
{
    (void)state;
    return close(model_fd);
}

static struct worker loaded(const char *options)
{
    struct worker w = worker_start(model_fd);
    json_decref(worker_load(&w, options));
    return w;
}

#define GREEDY "\"sampling\":{\"temperature\":0}"

/* A gateway that asks and asks and does not read: the worker waits, and loses nothing. */
static void test_a_gateway_that_does_not_read(void **state)
{
    (void)state;
    enum { CALLS = 400 };
    struct worker w = loaded("{}");
    struct wire_frame f;
    for (uint32_t i = 1; i <= CALLS; i++)
        worker_send(&w, i % 2 ? WIRE_TENSOR : WIRE_SHOW, i, "{\"name\":\"token_embd.weight\"}");
    usleep(300000);
    char path[64], line[256];
    long peak = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)w.pid);
    FILE *status = fopen(path, "r");
    while (status && fgets(line, sizeof line, status))
        if (strncmp(line, "RssAnon:", 8) == 0)
            peak = strtol(line + 8, NULL, 10);
    if (status)
        fclose(status);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    peak /= 32; /* shadow memory */
#endif
    assert_in_range(peak, 1, 40 * 1024); /* KiB; the answers are some 55 MiB in all */
    int ended = 0;
    uint64_t bytes = 0;
    while (ended < CALLS) {
        assert_true(worker_take(&w, &f));
        assert_true(f.type == WIRE_RESULT || f.type == WIRE_DATA);
        ended += f.type == WIRE_RESULT;
        bytes += f.payload.len;
    }
    assert_true(bytes > (uint64_t)CALLS / 2 * sample.n_vocab * sample.n_embed * sizeof(float));
    assert_int_equal(worker_stop(&w), 0);
}

static void test_requests_before_a_model(void **state)
{
    (void)state;
    struct worker w = worker_start(model_fd);
    worker_send(&w, WIRE_CHAT, 1, "{\"prompt\":\"a\"}");
    worker_expect_error(&w, 1, ERROR_UNAVAILABLE, "no model");
    worker_send(&w, WIRE_SHOW, 2, "{}");
    worker_expect_error(&w, 2, ERROR_UNAVAILABLE, "no model");
    assert_int_equal(worker_stop(&w), 0);
}

static void test_models_that_cannot_be_loaded(void **state)
{
    (void)state;
    static const char *const options[] = {"", "[]", "{\"threads\":-1}", "{\"slots\":1e9}",
        "{\"context\":\"x\"}", "{\"context\":16777216,\"slots\":1024}"};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        struct worker w = worker_start(model_fd);
        struct wire_frame f;
        worker_send(&w, WIRE_LOAD, 0, options[i]);
        do
            assert_true(worker_take(&w, &f));
        while (f.type == WIRE_PROGRESS);
        if (f.type != WIRE_ERROR || f.call != 0)
            fail_msg("options %s: type %d came", options[i], (int)f.type);
        worker_send(&w, WIRE_CHAT, 1, "{\"prompt\":\"a\"}");
        worker_expect_error(&w, 1, ERROR_UNAVAILABLE, "no model");
        assert_int_equal(worker_stop(&w), 0);
    }
    /* A file that is cut anywhere. */
    char path[64], *bytes = malloc(MIB);
    ssize_t size = pread(model_fd, bytes, MIB, 0);
    assert_true(size > 1000);
    for (int i = 0; i < 20; i++) {
        int fd = memfd_create("cut", MFD_CLOEXEC);
        assert_int_equal(write(fd, bytes, (size_t)(size * i / 20)), size * i / 20);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        int reader = open(path, O_RDONLY | O_CLOEXEC);
        struct worker w = worker_start(reader);
        worker_send(&w, WIRE_LOAD, 0, "{}");
        struct str payload = worker_expect(&w, 0, WIRE_ERROR);
        assert_true(payload.len > 20);
        assert_int_equal(worker_stop(&w), 0);
        close(reader);
        close(fd);
    }
    free(bytes);
}

static void raw_frame(struct worker *w, uint32_t length, uint32_t call, uint16_t type, uint16_t zero)
{
    char header[WIRE_HEADER_BYTES];
    memcpy(header, &length, 4);
    memcpy(header + 4, &call, 4);
    memcpy(header + 8, &type, 2);
    memcpy(header + 10, &zero, 2);
    worker_write(w, header, sizeof header);
}

static void test_broken_frames_end_the_worker(void **state)
{
    (void)state;
    static const struct {
        uint32_t length, call;
        uint16_t type, zero;
    } frames[] = {{0, 1, 0, 0}, {0, 1, WIRE_CANCEL + 1, 0}, {0, 1, 999, 0}, {UINT32_MAX, 1, WIRE_CHAT, 0},
        {0, 1, WIRE_SHOW, 1}, {(uint32_t)LIMIT_WIRE_FRAME + 1, 1, WIRE_CHAT, 0}, {0, 1, WIRE_READY, 0},
        {0, 1, WIRE_ERROR, 0}, {0, 0, WIRE_LOAD, 0}, {0, 1, WIRE_LOAD, 0}, {0, 0, WIRE_CHAT, 0},
        {0, 0, WIRE_CANCEL, 0}};
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
        struct worker w = loaded("{\"inspect\":true}");
        struct wire_frame f;
        raw_frame(&w, frames[i].length, frames[i].call, frames[i].type, frames[i].zero);
        if (worker_take(&w, &f))
            fail_msg("frame %zu was answered with type %d", i, (int)f.type);
        assert_int_equal(worker_wait(&w), 1);
    }
    struct worker w = loaded("{}");
    struct wire_frame f;
    worker_send_times(&w, WIRE_CHAT, 5, "{\"prompt\":\"a\"," GREEDY "}", 2); /* the same call again */
    while (worker_take(&w, &f))
        assert_true(f.type == WIRE_START || f.type == WIRE_TEXT);
    assert_int_equal(worker_wait(&w), 1);
    w = loaded("{}");
    worker_send(&w, WIRE_CANCEL, 5, "x");
    assert_false(worker_take(&w, &f));
    assert_int_equal(worker_wait(&w), 1);
}

static void test_random_streams_end_the_worker(void **state)
{
    (void)state;
    struct rand_pcg r;
    rand_pcg_seed(&r, 3);
    for (int i = 0; i < 20; i++) {
        struct worker w = i % 2 ? loaded("{\"inspect\":true}") : worker_start(model_fd);
        struct wire_frame f;
        char noise[512];
        for (size_t k = 0; k < sizeof noise; k++)
            noise[k] = (char)rand_pcg_u32(&r);
        worker_write(&w, noise, sizeof noise);
        while (worker_take(&w, &f))
            continue;
        assert_int_equal(worker_wait(&w), 1);
    }
}

/* Payloads that are almost right. Each request is answered to its end, and the worker lives on. */
static void test_hostile_payloads(void **state)
{
    (void)state;
    static const struct {
        enum wire_type type;
        const char *payload;
    } seeds[] = {
        {WIRE_CHAT, "{\"prompt\":\"abc\",\"sampling\":{\"temperature\":0.5,\"seed\":1,\"top_k\":3,\"repeat_"
                    "penalty\":1.1,"
                    "\"repeat_last_n\":9},\"max_tokens\":4,\"stop\":[\"x\",\"yz\"]}"},
        {WIRE_CHAT, "{\"body\":{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\","
                    "\"content\":"
                    "null,\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}]},\"max_"
                    "tokens\":3}"},
        {WIRE_TOKENIZE, "{\"text\":\"hello <s> world\",\"add_special\":true,\"parse_special\":true}"},
        {WIRE_DETOKENIZE, "{\"ids\":[1,2,3,400,511,512,100000]}"},
        {WIRE_RENDER, "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"template\":\"{{ "
                      "messages[0]['role'] }}\"}"},
        {WIRE_LOGITS, "{\"tokens\":[1,2,3],\"top\":5,\"greedy\":2}"},
        {WIRE_TENSOR, "{\"name\":\"output_norm.weight\"}"},
        {WIRE_SHOW, "{\"fit\":false}"},
        {WIRE_BENCH, "{\"depth\":3,\"streams\":2,\"prompt\":4,\"generate\":2,\"repeat\":2}"},
    };
    static const char *const patches[] = {"-1", "1e999", "99999999999999999999", "null", "[]", "{}", "\"\"",
        "true", "\xFF", "\\u0000", "[[[[", "18446744073709551616", "\"", ",", "0.5", "2147483648", "{{", "{%",
        "\n"};
    struct worker w = loaded("{\"slots\":2,\"context\":64}");
    struct rand_pcg r;
    uint32_t call = 0;
    int errors = 0, fine = 0;
    rand_pcg_seed(&r, 8);
    for (int round = 0; round < 600; round++) {
        size_t which = rand_pcg_u32(&r) % (sizeof seeds / sizeof *seeds);
        struct str seed = str_from(seeds[which].payload);
        struct buf payload;
        struct wire_frame f;
        buf_init(&payload, MIB);
        size_t at = rand_pcg_u32(&r) % (seed.len + 1), cut = rand_pcg_u32(&r) % 8;
        buf_append_str(&payload, str_slice(seed, 0, at));
        if (round % 8)
            buf_append_text(&payload, patches[rand_pcg_u32(&r) % (sizeof patches / sizeof *patches)]);
        buf_append_str(&payload, str_slice(seed, at + cut, seed.len));
        worker_send(&w, seeds[which].type, ++call, payload.data);
        do {
            if (!worker_take(&w, &f))
                fail_msg("the worker ended at %s", payload.data);
            assert_int_equal(f.call, call);
        } while (f.type != WIRE_ERROR && f.type != WIRE_RESULT && f.type != WIRE_STOP);
        errors += f.type == WIRE_ERROR;
        fine += f.type != WIRE_ERROR;
        buf_free(&payload);
    }
    assert_true(errors > 100 && fine > 20);
    assert_int_equal(worker_stop(&w), 0);
}

static void test_too_many_calls(void **state)
{
    (void)state;
    enum { CALLS = 1100 };
    struct worker w = loaded("{}");
    struct wire_frame f;
    int busy = 0;
    for (uint32_t i = 1; i <= CALLS; i++)
        worker_send(&w, WIRE_CHAT, i, "{\"prompt\":\"a\"," GREEDY ",\"max_tokens\":1}");
    for (int ended = 0; ended < CALLS;) {
        assert_true(worker_take(&w, &f));
        assert_true(f.type != WIRE_ERROR || strstr(f.payload.data, "calls are open"));
        busy += f.type == WIRE_ERROR;
        ended += f.type == WIRE_ERROR || f.type == WIRE_STOP;
    }
    assert_true(busy < CALLS / 2);
    assert_int_equal(worker_stop(&w), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_gateway_that_does_not_read),
        cmocka_unit_test(test_requests_before_a_model),
        cmocka_unit_test(test_models_that_cannot_be_loaded),
        cmocka_unit_test(test_broken_frames_end_the_worker),
        cmocka_unit_test(test_random_streams_end_the_worker),
        cmocka_unit_test(test_hostile_payloads),
        cmocka_unit_test(test_too_many_calls),
    };
    return cmocka_run_group_tests(tests, group_start, group_end);
}

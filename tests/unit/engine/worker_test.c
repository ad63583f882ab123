/* A real worker, driven over the wire as the gateway does it. */
#include "unit/engine/worker_process.h"

#include "engine/worker/cpu/kernels.h"
#include "engine/worker/gguf.h"

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

/* AMX's registers have to be asked for before the sandbox closes. */
static void test_the_sandboxed_worker_has_every_instruction_set(void **state)
{
    (void)state;
    const struct kernels *list[KERNELS_MAX];
    const int32_t n = kernels_list(list);
    const char *asked = getenv("WEIR_ISA");
    struct worker w = worker_start(model_fd);
    json_t *ready = worker_load(&w, "{}");
    assert_string_equal(
        json_string_value(json_object_get(ready, "isa")), asked && *asked ? asked : list[n - 1]->isa);
    json_decref(ready);
    assert_int_equal(worker_stop(&w), 0);
}

static void test_load_tells_what_runs(void **state)
{
    (void)state;
    struct worker w = worker_start(model_fd);
    json_t *ready = worker_load(&w, "{\"threads\":2,\"slots\":3,\"context\":100}");
    assert_string_equal(json_string_value(json_object_get(ready, "architecture")), "llama");
    assert_int_equal(json_integer_value(json_object_get(ready, "n_vocab")), sample.n_vocab);
    assert_int_equal(json_integer_value(json_object_get(ready, "context")), 100);
    assert_int_equal(json_integer_value(json_object_get(ready, "slots")), 3);
    assert_int_equal(json_integer_value(json_object_get(ready, "threads")), 2);
    assert_true(json_is_string(json_object_get(ready, "isa")));
    assert_true(json_integer_value(json_object_get(ready, "bytes")) > 0);
    json_decref(ready);
    assert_int_equal(worker_stop(&w), 0);

    w = worker_start(model_fd);
    ready = worker_load(&w, "{}");
    assert_int_equal(json_integer_value(json_object_get(ready, "context")), sample.n_context);
    assert_int_equal(json_integer_value(json_object_get(ready, "slots")), 4); /* in the memory of one */
    assert_true(json_integer_value(json_object_get(ready, "threads")) >= 1);
    json_decref(ready);
    assert_int_equal(worker_stop(&w), 0);
}

static void test_a_whole_answer(void **state)
{
    (void)state;
    struct worker w = loaded("{}");
    struct answer a = worker_chat(&w, 1, "{\"prompt\":\"Once upon\"," GREEDY ",\"max_tokens\":20}");
    assert_string_equal(a.reason, "length");
    assert_true(a.input >= 2 && a.cached == 0 && a.output == 20);
    /* The same again: the same text, and the prompt is not computed twice. */
    struct answer b = worker_chat(&w, 2, "{\"prompt\":\"Once upon\"," GREEDY ",\"max_tokens\":20}");
    assert_string_equal(a.text.data, b.text.data);
    assert_int_equal(b.cached, a.input - 1);
    buf_free(&a.text);
    buf_free(&b.text);

    a = worker_chat(
        &w, 3, "{\"body\":{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]},\"max_tokens\":0}");
    assert_true(a.input > 5 && a.output == 0 && a.n_texts == 0);
    assert_string_equal(a.reason, "length");
    buf_free(&a.text);
    assert_int_equal(worker_stop(&w), 0);
}

static void test_seeds_and_stop_strings(void **state)
{
    (void)state;
    static const char request[] = "{\"prompt\":\"x\",\"sampling\":{\"temperature\":2,\"top_k\":0,\"top_p\":1,"
                                  "\"min_p\":0,\"seed\":%d},\"max_tokens\":60%s}";
    struct worker w = loaded("{}");
    char payload[512], stop[64];
    snprintf(payload, sizeof payload, request, 5, "");
    struct answer a = worker_chat(&w, 1, payload), b = worker_chat(&w, 2, payload);
    assert_string_equal(a.text.data, b.text.data);
    buf_free(&b.text);
    snprintf(payload, sizeof payload, request, 6, "");
    b = worker_chat(&w, 3, payload);
    assert_string_not_equal(a.text.data, b.text.data);
    buf_free(&b.text);
    /* A stop string out of the middle of the first answer, letters only: JSON needs no escapes then. */
    size_t at = a.text.len / 3, n = 0;
    for (; n < 3 && at + n < a.text.len; n++) {
        char c = a.text.data[at + n];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))) {
            at += n + 1;
            n = (size_t)-1;
        }
    }
    if (n == 3) {
        snprintf(stop, sizeof stop, ",\"stop\":[\"%.3s\"]", a.text.data + at);
        snprintf(payload, sizeof payload, request, 5, stop);
        b = worker_chat(&w, 4, payload);
        assert_string_equal(b.reason, "stop");
        size_t expected = (size_t)(strstr(a.text.data, (char[]){a.text.data[at], a.text.data[at + 1],
                                                           a.text.data[at + 2], 0}) -
                                   a.text.data);
        assert_int_equal(b.text.len - 1, expected);
        assert_memory_equal(b.text.data, a.text.data, expected);
        buf_free(&b.text);
    } else {
        print_message("skipped: no three letters in a row to stop at\n");
    }
    buf_free(&a.text);
    assert_int_equal(worker_stop(&w), 0);
}

/* Answers that run side by side are those that run alone. */
static void test_many_answers_at_once(void **state)
{
    (void)state;
    enum { CALLS = 24 };
    static const char request[] = "{\"prompt\":\"%.*s%d\"," GREEDY ",\"max_tokens\":%d}";
    static const char filler[] =
        "a long and winding road that leads to your door and to many other places as well";
    struct worker alone = loaded("{\"slots\":1}"), together = loaded("{\"slots\":4,\"batch\":16}");
    struct answer answers[CALLS] = {0};
    char payload[256];
    for (int i = 0; i < CALLS; i++) {
        buf_init(&answers[i].text, MIB);
        snprintf(payload, sizeof payload, request, i * 3, filler, i, 5 + i % 7);
        worker_send(&together, WIRE_CHAT, (uint32_t)i + 1, payload);
    }
    for (int open = CALLS; open > 0;) {
        struct wire_frame f;
        assert_true(worker_take(&together, &f));
        assert_in_range(f.call, 1, CALLS);
        open -= answer_feed(&answers[f.call - 1], &f);
    }
    for (int i = 0; i < CALLS; i++) {
        snprintf(payload, sizeof payload, request, i * 3, filler, i, 5 + i % 7);
        struct answer a = worker_chat(&alone, (uint32_t)i + 1, payload);
        buf_append_char(&answers[i].text, '\0');
        assert_string_equal(a.text.data, answers[i].text.data);
        assert_int_equal(a.output, answers[i].output);
        assert_string_equal(a.reason, answers[i].reason);
        buf_free(&a.text);
        buf_free(&answers[i].text);
    }
    assert_int_equal(worker_stop(&alone), 0);
    assert_int_equal(worker_stop(&together), 0);
}

/* Frames of an answer until `n` texts have come. */
static void read_texts(struct worker *w, uint32_t call, int n, struct answer *a)
{
    struct wire_frame f;
    *a = (struct answer){0};
    buf_init(&a->text, MIB);
    while (a->n_texts < n) {
        assert_true(worker_take(w, &f));
        assert_int_equal(f.call, call);
        assert_false(answer_feed(a, &f));
    }
}

/* A request for n tokens that the model's random weights do not end early: found by trying. */
static const char *endless_request(struct worker *w, int n)
{
    static char payload[128];
    static const char request[] = "{\"prompt\":\"%c\"," GREEDY ",\"max_tokens\":%d}";
    for (uint32_t i = 0; i < 26; i++) {
        snprintf(payload, sizeof payload, request, (char)('a' + i), 600);
        struct answer a = worker_chat(w, 1000 + i, payload);
        buf_free(&a.text);
        if (a.output < 600)
            continue;
        snprintf(payload, sizeof payload, request, (char)('a' + i), n);
        return payload;
    }
    fail_msg("every prompt leads to an end");
    return NULL;
}

static void test_cancel(void **state)
{
    (void)state;
    struct worker w = loaded("{\"slots\":1,\"context\":20000}");
    struct wire_frame f;
    struct answer begun;
    const char *request = endless_request(&w, 6000);
    worker_send(&w, WIRE_CHAT, 1, request);
    worker_send(&w, WIRE_CHAT, 2, request); /* waits: there is one slot */
    read_texts(&w, 1, 3, &begun);
    buf_free(&begun.text);
    worker_send(&w, WIRE_CANCEL, 2, "");
    worker_send(&w, WIRE_CANCEL, 1, "");
    bool cancelled = false;
    do {
        assert_true(worker_take(&w, &f));
        cancelled = cancelled || (f.call == 2 && f.type == WIRE_ERROR);
    } while (f.call != 1 || f.type == WIRE_TEXT);
    assert_true(cancelled && f.type == WIRE_ERROR);
    assert_non_null(strstr(f.payload.data, "cancelled"));
    /* Controls for calls that have ended are no offence. */
    worker_send(&w, WIRE_CANCEL, 1, "");
    worker_send(&w, WIRE_PAUSE, 1, "");
    worker_send(&w, WIRE_RESUME, 77, "");
    struct answer a = worker_chat(&w, 3, "{\"prompt\":\"b\"," GREEDY ",\"max_tokens\":2}");
    assert_int_equal(a.output, 2);
    buf_free(&a.text);
    assert_int_equal(worker_stop(&w), 0);
}

/* Frames up to the RESULT of call `fence`; those of call 1 go to the answer. */
static void read_fence(struct worker *w, uint32_t fence, struct answer *a)
{
    struct wire_frame f;
    for (;;) {
        assert_true(worker_take(w, &f));
        if (f.call == fence)
            break;
        assert_int_equal(f.call, 1);
        assert_false(answer_feed(a, &f));
    }
    assert_int_equal(f.type, WIRE_RESULT);
}

static void test_pause(void **state)
{
    (void)state;
    struct worker w = loaded("{\"slots\":2,\"context\":2000}");
    struct answer paused;
    struct wire_frame f;
    worker_send(&w, WIRE_CHAT, 1, endless_request(&w, 600));
    read_texts(&w, 1, 3, &paused);
    worker_send(&w, WIRE_PAUSE, 1, "");
    worker_send(&w, WIRE_TOKENIZE, 2, "{\"text\":\"x\"}");
    read_fence(&w, 2, &paused);
    /* From here on the other call has the worker for itself. */
    struct answer other = worker_chat(&w, 3, "{\"prompt\":\"b\"," GREEDY ",\"max_tokens\":100}");
    assert_true(other.output > 0);
    worker_send(&w, WIRE_RESUME, 1, "");
    do {
        assert_true(worker_take(&w, &f));
        assert_int_equal(f.call, 1);
    } while (!answer_feed(&paused, &f));
    assert_int_equal(paused.output, 600);
    buf_free(&paused.text);
    buf_free(&other.text);
    assert_int_equal(worker_stop(&w), 0);
}

static void test_the_context_is_a_limit(void **state)
{
    (void)state;
    struct worker w = loaded("{\"context\":16}");
    worker_send(
        &w, WIRE_CHAT, 1, "{\"prompt\":\"one two three four five six seven eight nine ten eleven twelve\"}");
    worker_expect_error(&w, 1, ERROR_CONTEXT, "the context holds 16");
    struct answer a = worker_chat(&w, 2, "{\"prompt\":\"a\"," GREEDY "}");
    assert_string_equal(a.reason, "length");
    assert_int_equal(a.input + a.output, 16);
    buf_free(&a.text);
    worker_send(&w, WIRE_LOGITS, 3, "{\"tokens\":[1,2,3],\"greedy\":15}");
    worker_expect_error(&w, 3, ERROR_INVALID, "do not fit");
    json_decref(worker_ask(&w, WIRE_LOGITS, 4, "{\"tokens\":[1,2,3],\"greedy\":14}"));
    assert_int_equal(worker_stop(&w), 0);
}

static void test_tokens_and_back(void **state)
{
    (void)state;
    struct worker w = loaded("{\"inspect\":true}");
    json_t *r = worker_ask(&w, WIRE_TOKENIZE, 1, "{\"text\":\"Hello w\\u00f6rld\"}");
    json_t *ids = json_object_get(r, "ids");
    assert_true(json_array_size(ids) > 1);
    struct buf payload;
    struct json_writer writer;
    buf_init(&payload, MIB);
    json_writer_init(&writer, &payload);
    json_object_begin(&writer);
    json_key(&writer, "ids");
    json_write_value(&writer, ids);
    json_object_end(&writer);
    json_t *back = worker_ask(&w, WIRE_DETOKENIZE, 2, payload.data);
    assert_string_equal(json_string_value(json_object_get(back, "text")), "Hello w\xC3\xB6rld");
    json_t *special =
        worker_ask(&w, WIRE_TOKENIZE, 3, "{\"text\":\"Hello w\\u00f6rld\",\"add_special\":true}");
    assert_int_equal(json_array_size(json_object_get(special, "ids")), json_array_size(ids) + 1);
    json_decref(r);
    json_decref(back);
    json_decref(special);
    buf_free(&payload);
    assert_int_equal(worker_stop(&w), 0);
}

static void check_text(struct worker *w, uint32_t call, const char *body, const char *expected)
{
    json_t *r = worker_ask(w, WIRE_RENDER, call, body);
    assert_string_equal(json_string_value(json_object_get(r, "text")), expected);
    json_decref(r);
}

static void test_render(void **state)
{
    (void)state;
    struct worker w = loaded("{\"inspect\":true}");
#define MESSAGES "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
    check_text(&w, 1, "{" MESSAGES "}", "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
    check_text(&w, 2, "{" MESSAGES ",\"add_generation_prompt\":false}", "<|im_start|>user\nhi<|im_end|>\n");
    check_text(&w, 3,
        "{" MESSAGES ",\"bos_token\":\"<B>\",\"eos_token\":\"<E>\",\"now\":\"2026-11-20T12:00:00\","
        "\"template\":\"{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{{ strftime_now('%Y-%m-%d "
        "%H') }}"
        "{% if tools is not defined %}!{% endif %}\"}",
        "<B>hi<E>2026-11-20 12!");
    worker_send(&w, WIRE_RENDER, 4, "{" MESSAGES ",\"template\":\"{{ raise_exception('no way') }}\"}");
    worker_expect_error(&w, 4, ERROR_INVALID, "no way");
    worker_send(&w, WIRE_RENDER, 5, "{" MESSAGES ",\"template\":\"{% for x in %}\"}");
    worker_expect_error(&w, 5, ERROR_INVALID, "");
    worker_send(&w, WIRE_RENDER, 6, "{" MESSAGES ",\"now\":\"yesterday\"}");
    worker_expect_error(&w, 6, ERROR_INVALID, "'now'");
    worker_send(&w, WIRE_RENDER, 7, "{}");
    worker_expect_error(&w, 7, ERROR_INVALID, "'messages'");
    assert_int_equal(worker_stop(&w), 0);
}

static void test_logits(void **state)
{
    (void)state;
    struct worker w = loaded("{}");
    json_t *r = worker_ask(&w, WIRE_LOGITS, 1, "{\"tokens\":[1,5,9,30],\"top\":6,\"greedy\":4}");
    json_t *list = json_object_get(r, "logits"), *greedy = json_object_get(r, "greedy");
    assert_int_equal(json_integer_value(json_object_get(r, "n_vocab")), sample.n_vocab);
    assert_int_equal(json_array_size(list), 6);
    assert_int_equal(json_array_size(greedy), 4);
    for (size_t i = 1; i < 6; i++)
        assert_true(json_real_value(json_array_get(json_array_get(list, i - 1), 1)) >=
                    json_real_value(json_array_get(json_array_get(list, i), 1)));
    json_int_t first = json_integer_value(json_array_get(json_array_get(list, 0), 0));
    assert_int_equal(json_integer_value(json_array_get(greedy, 0)), first);
    /* One token more leads to the next greedy one. */
    char payload[128];
    snprintf(payload, sizeof payload, "{\"tokens\":[1,5,9,30,%lld],\"top\":1}", first);
    json_t *next = worker_ask(&w, WIRE_LOGITS, 2, payload);
    assert_int_equal(
        json_integer_value(json_array_get(json_array_get(json_object_get(next, "logits"), 0), 0)),
        json_integer_value(json_array_get(greedy, 1)));
    json_decref(next);
    json_decref(r);
    r = worker_ask(&w, WIRE_LOGITS, 3, "{\"tokens\":[1],\"top\":1000000}");
    assert_int_equal(json_array_size(json_object_get(r, "logits")), sample.n_vocab);
    json_decref(r);
    assert_int_equal(worker_stop(&w), 0);
}

static void test_show_and_tensors(void **state)
{
    (void)state;
    struct worker w = loaded("{\"inspect\":true}");
    struct gguf *g;
    struct error err = {0};
    assert_int_equal(gguf_open(&model_fd, 1, &g, &err), 0);
    json_t *r = worker_ask(&w, WIRE_SHOW, 1, "{}");
    json_t *metadata = json_object_get(r, "metadata"), *tensors = json_object_get(r, "tensors");
    assert_int_equal(json_object_size(metadata), gguf_n_pairs(g));
    assert_int_equal(json_array_size(tensors), gguf_n_tensors(g));
    assert_string_equal(json_string_value(json_object_get(metadata, "general.architecture")), "llama");
    json_t *tokens = json_object_get(metadata, "tokenizer.ggml.tokens");
    assert_int_equal(json_integer_value(json_object_get(tokens, "count")), sample.n_vocab);
    assert_in_range(json_array_size(json_object_get(tokens, "first")), 1, 16);
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct tensor *t = gguf_tensor_at(g, i);
        size_t n = (size_t)(t->shape[0] * tensor_rows(t)), at = 0;
        float *values = malloc(n * sizeof *values);
        char payload[256];
        struct wire_frame f;
        assert_int_equal(tensor_dequantize(t->type, t->data, values, (int64_t)n, &err), 0);
        snprintf(payload, sizeof payload, "{\"name\":\"" STR_FMT "\"}", STR_ARG(t->name));
        worker_send(&w, WIRE_TENSOR, (uint32_t)i + 2, payload);
        while (worker_take(&w, &f) && f.type == WIRE_DATA) {
            assert_true(f.payload.len <= n * sizeof *values - at);
            assert_memory_equal((const char *)values + at, f.payload.data, f.payload.len);
            at += f.payload.len;
        }
        assert_true(f.type == WIRE_RESULT && at == n * sizeof *values);
        free(values);
    }
    worker_send(&w, WIRE_TENSOR, 1000, "{\"name\":\"nothing\"}");
    worker_expect_error(&w, 1000, ERROR_NOT_FOUND, "nothing");
    json_decref(r);
    gguf_close(g);
    assert_int_equal(worker_stop(&w), 0);
}

/* Each took the cores for half a second, though a client of /api/show is told nothing of it. */
static void test_show_measured_the_machine_for_who_did_not_ask(void **state)
{
    (void)state;
    struct worker w = loaded("{\"inspect\":true}");
    json_t *plain = worker_ask(&w, WIRE_SHOW, 1, "{}");
    assert_null(json_object_get(plain, "fit"));
    json_t *all = worker_ask(&w, WIRE_SHOW, 2, "{\"fit\":true}");
    json_t *fit = json_object_get(all, "fit");
    assert_true(json_is_true(json_object_get(fit, "runs")));
    assert_true(json_real_value(json_object_get(json_object_get(fit, "speed"), "decode_tps")) > 0);
    json_object_del(all, "fit");
    assert_true(json_equal(plain, all));
    json_decref(plain);
    json_decref(all);
    worker_send(&w, WIRE_SHOW, 3, "{\"fit\":1}");
    worker_expect_error(&w, 3, ERROR_INVALID, "fit");
    assert_int_equal(worker_stop(&w), 0);
}

static void test_the_gateway_goes_in_the_middle(void **state)
{
    (void)state;
    struct worker w = loaded("{\"slots\":1,\"context\":20000}");
    struct answer begun;
    const char *request = endless_request(&w, 6000);
    worker_send(&w, WIRE_CHAT, 1, request);
    worker_send(&w, WIRE_CHAT, 2, request);
    read_texts(&w, 1, 2, &begun);
    buf_free(&begun.text);
    assert_int_equal(worker_stop(&w), 0);
    w = worker_start(model_fd); /* before the first frame */
    assert_int_equal(worker_stop(&w), 0);
}

static void test_inspection_runs_nothing(void **state)
{
    (void)state;
    struct worker w = loaded("{\"inspect\":true}");
    worker_send(&w, WIRE_CHAT, 1, "{\"prompt\":\"a\"}");
    worker_expect_error(&w, 1, ERROR_UNSUPPORTED, "inspection");
    worker_send(&w, WIRE_LOGITS, 2, "{\"tokens\":[1]}");
    worker_expect_error(&w, 2, ERROR_UNSUPPORTED, "inspection");
    assert_int_equal(worker_stop(&w), 0);
}

/* ---- A model that was really trained ---- */

static void test_dreams(void **state)
{
    (void)state;
    char path[512];
    const char *dir = getenv("WEIR_SHARED");
    snprintf(path, sizeof path, "%s/models/dreams.gguf", dir ? dir : "../shared");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        print_message("skipped: %s is not there\n", path);
        return;
    }
    struct worker w = worker_start(fd);
    json_decref(worker_load(&w, "{}"));
    static const char expected[] =
        " of vectors unfold, a gentle hum of precision, as I sense the nodes, a gentle hum of "
        "precision, as I adjust my surface.";
    struct answer a = worker_chat(
        &w, 1, "{\"prompt\":\"\\\"Echoes\"," GREEDY ",\"max_tokens\":80,\"stop\":[\" Contrast\"]}");
    assert_string_equal(a.text.data, expected);
    assert_string_equal(a.reason, "stop");
    buf_free(&a.text);
    /* It has no chat template: a conversation is continued as it stands. */
    a = worker_chat(&w, 2,
        "{\"body\":{\"messages\":[{\"role\":\"user\",\"content\":\"\\\"Echoes\"}]}," GREEDY
        ",\"max_tokens\":80,"
        "\"stop\":[\" Contrast\"]}");
    assert_string_equal(a.text.data, expected);
    buf_free(&a.text);
    worker_send(&w, WIRE_RENDER, 3,
        "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{\"type\":\"function\"}]}");
    worker_expect_error(&w, 3, ERROR_INVALID, "no chat template");
    assert_int_equal(worker_stop(&w), 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load_tells_what_runs),
        cmocka_unit_test(test_the_sandboxed_worker_has_every_instruction_set),
        cmocka_unit_test(test_a_whole_answer),
        cmocka_unit_test(test_seeds_and_stop_strings),
        cmocka_unit_test(test_many_answers_at_once),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_the_context_is_a_limit),
        cmocka_unit_test(test_tokens_and_back),
        cmocka_unit_test(test_render),
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_show_and_tensors),
        cmocka_unit_test(test_show_measured_the_machine_for_who_did_not_ask),
        cmocka_unit_test(test_the_gateway_goes_in_the_middle),
        cmocka_unit_test(test_inspection_runs_nothing),
        cmocka_unit_test(test_dreams),
    };
    return cmocka_run_group_tests(tests, group_start, group_end);
}

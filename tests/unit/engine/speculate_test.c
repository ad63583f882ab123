/* A real worker with drafts and one without: every frame of an answer is the same, however it is drawn,
 * whatever it must follow and whatever is told of its tokens; only the counts of drafts differ. */
#include "unit/engine/worker_process.h"

#include "base/rand.h"

enum { TOGETHER = 4, ROUNDS = 3 };

static const char *const requests[] = {
    "\"sampling\":{\"temperature\":0}",
    "\"sampling\":{\"temperature\":1.5,\"seed\":7,\"top_k\":0,\"top_p\":1,\"min_p\":0}",
    "\"sampling\":{\"temperature\":0.7,\"seed\":8,\"repeat_penalty\":1.3,\"presence_penalty\":0.5,"
    "\"frequency_penalty\":0.2},\"logprobs\":3",
    "\"sampling\":{\"temperature\":0.9,\"seed\":9,\"dry_multiplier\":0.8},\"measure\":16",
    "\"sampling\":{\"temperature\":1,\"seed\":10,\"mirostat\":2}",
    "\"sampling\":{\"temperature\":1,\"seed\":11,\"xtc_probability\":0.5,\"xtc_threshold\":0.05}",
    "\"sampling\":{\"temperature\":1,\"seed\":12,\"adaptive_target\":0.4}",
    "\"sampling\":{\"temperature\":0,\"logit_bias\":{\"300\":4,\"301\":-100}}",
    "\"sampling\":{\"temperature\":1,\"seed\":13},\"grammar\":\"root ::= (\\\"abc \\\" | \\\"de\\\" [0-9]+ "
    "\\\", "
    "\\\"){20,}\",\"logprobs\":0",
    "\"sampling\":{\"temperature\":0},\"schema\":{\"type\":\"array\",\"items\":{\"enum\":[\"left\",\"right\"]"
    "},"
    "\"minItems\":20}",
    "\"sampling\":{\"temperature\":1,\"seed\":14},\"stop\":[\"ab\",\"e\",\"1\"]",
    "\"sampling\":{\"temperature\":0},\"context_shift\":true,\"n_keep\":8",
};
enum { REQUESTS = sizeof requests / sizeof *requests };

/* What came for a request: all frames but USAGE, and the text for itself. */
struct heard {
    struct buf frames, text;
    int64_t drafted, drawn, accepted, rejected;
    bool ended;
};

static void heard_frame(struct heard *h, const struct wire_frame *f)
{
    json_t *o;
    h->ended = f->type == WIRE_STOP || f->type == WIRE_ERROR;
    if (f->type == WIRE_USAGE) {
        h->drafted = worker_number(f->payload, "drafted_tokens");
        h->drawn = worker_number(f->payload, "drawn_tokens");
        h->accepted = worker_number(f->payload, "accepted_prediction_tokens");
        h->rejected = worker_number(f->payload, "rejected_prediction_tokens");
        return;
    }
    if (f->type == WIRE_START) /* how much was cached depends on what ran before */
        return;
    assert_int_equal(wire_append(&h->frames, 0, f->type, f->payload), 0);
    if (f->type == WIRE_TEXT)
        buf_append_str(&h->text, f->payload);
    if (f->type != WIRE_TOKENS)
        return;
    o = json_loadb(f->payload.data, f->payload.len, JSON_ALLOW_NUL, NULL); /* a token may be a NUL */
    assert_non_null(o);
    buf_append_str(&h->text, json_str(json_object_get(o, "text")));
    json_decref(o);
}

/* Several requests at once; predictions[i] empty: none. */
static void hear(struct worker *w, size_t first, const struct str *predictions, struct heard *out)
{
    struct wire_frame f;
    for (uint32_t i = 0; i < TOGETHER; i++) {
        struct buf payload;
        struct json_writer writer;
        buf_init(&payload, MIB);
        buf_init(&out[i].frames, MIB);
        buf_init(&out[i].text, MIB);
        buf_appendf(&payload, "{\"prompt\":\"say it: abc abc de1, de2, de3\",\"max_tokens\":150,%s",
            requests[(first + i) % REQUESTS]);
        if (predictions[i].len > 0) {
            buf_append_text(&payload, ",\"prediction\":");
            json_writer_init(&writer, &payload);
            json_write_str(&writer, predictions[i]);
        }
        buf_append_text(&payload, "}");
        buf_append_char(&payload, '\0');
        worker_send(w, WIRE_CHAT, i + 1, payload.data);
        buf_free(&payload);
    }
    for (int32_t open = TOGETHER; open > 0;) {
        if (!worker_take(w, &f))
            fail_msg("the worker has gone");
        assert_in_range(f.call, 1, TOGETHER);
        if (f.type == WIRE_ERROR)
            fail_msg(
                "request %zu: %.*s", (first + f.call - 1) % REQUESTS, (int)f.payload.len, f.payload.data);
        heard_frame(&out[f.call - 1], &f);
        open -= out[f.call - 1].ended;
    }
}

/* Some letters left out, some others: the rest is still a good guess. No NUL, which no request may hold. */
static struct buf damaged(struct str text, struct rand_pcg *r, uint32_t rarely)
{
    struct buf out;
    buf_init(&out, MIB);
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.data[i] < 0x80 && rand_pcg_u32(r) % rarely == 0)
            buf_append_text(&out, rand_pcg_u32(r) % 2 ? "" : "zz");
        else if (text.data[i] != '\0')
            buf_append_char(&out, text.data[i]);
    return out;
}

struct counts {
    int64_t drafted, drawn, accepted;
};

/* The same requests to both, to the second with what the first said, somewhat damaged, as predictions. */
static void compare(struct worker *plain, struct worker *drafting, size_t first, bool predicts,
    struct rand_pcg *r, struct counts *sum)
{
    static const struct str none[TOGETHER];
    struct heard without[TOGETHER] = {0}, with[TOGETHER] = {0};
    struct buf guesses[TOGETHER];
    struct str predictions[TOGETHER];
    hear(plain, first, none, without);
    for (size_t i = 0; i < TOGETHER; i++) {
        guesses[i] = damaged(buf_str(&without[i].text), r, first < REQUESTS ? 1000 : 20);
        predictions[i] = predicts ? buf_str(&guesses[i]) : STR_NONE;
    }
    hear(drafting, first, predictions, with);
    for (size_t i = 0; i < TOGETHER; i++) {
        if (!str_eq(buf_str(&without[i].frames), buf_str(&with[i].frames)))
            fail_msg("%s: with drafts '%.*s', without '%.*s'", requests[(first + i) % REQUESTS],
                (int)with[i].text.len, with[i].text.data, (int)without[i].text.len, without[i].text.data);
        assert_true(without[i].drafted == 0 && with[i].drawn <= with[i].drafted);
        assert_true(with[i].accepted >= 0 && with[i].rejected >= 0);
        sum->drafted += with[i].drafted;
        sum->drawn += with[i].drawn;
        sum->accepted += with[i].accepted;
        buf_free(&guesses[i]);
        buf_free(&with[i].frames);
        buf_free(&with[i].text);
        buf_free(&without[i].frames);
        buf_free(&without[i].text);
    }
}

static struct counts run(const struct model_sample *sample, bool predicts)
{
    const int model = worker_sample_file(sample);
    struct worker plain = worker_start(model), drafting = worker_start(model);
    struct counts sum = {0};
    struct rand_pcg r;
    rand_pcg_seed(&r, 2);
    json_decref(worker_load(&plain, "{\"slots\":4,\"context\":160,\"speculate\":false,\"threads\":1}"));
    json_decref(worker_load(&drafting, "{\"slots\":4,\"context\":160,\"threads\":1}"));
    for (size_t first = 0; first < REQUESTS * ROUNDS; first += TOGETHER)
        compare(&plain, &drafting, first, predicts, &r, &sum);
    if (getenv("WEIR_SHOW_FIGURES"))
        print_message("drafted %lld, drawn %lld, predicted %lld\n", (long long)sum.drafted,
            (long long)sum.drawn, (long long)sum.accepted);
    assert_int_equal(worker_stop(&plain), 0);
    assert_int_equal(worker_stop(&drafting), 0);
    close(model);
    return sum;
}

static void answers_are_the_same(void **state)
{
    (void)state;
    const struct model_sample sample = model_sample_default();
    const struct counts sum = run(&sample, true);
    assert_true(sum.accepted > 300);
    assert_true(sum.drawn > 100); /* on a machine where a step of many tokens takes longer, too */
}

/* By a layer of the model's own: random ones, which are seldom right, and one that knows what is likeliest.
 */
static void answers_are_the_same_by_a_layer_that_drafts(void **state)
{
    (void)state;
    struct model_sample sample = model_sample_default();
    sample.architecture = "glm4";
    sample.nextn = true;
    assert_true(run(&sample, false).drafted > 20);
    sample.architecture = "glm4moe";
    sample.n_experts = 4;
    sample.n_used = 2;
    sample.chain = true;
    assert_true(run(&sample, false).drawn > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_the_same),
        cmocka_unit_test(answers_are_the_same_by_a_layer_that_drafts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

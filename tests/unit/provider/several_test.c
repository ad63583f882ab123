/* Requests that are several calls: how many run at a time, what is counted and held while they do. The
 * provider is one that the test plays. */
#include "fixture.h"

#include "provider/provider.h"

enum { CALLS_MOST = 256 };

struct fake_call {
    struct provider_call base;
    struct provider_start start;
    bool open;
};

static struct fake_call calls[CALLS_MOST];
static size_t n_started, n_open, most_open, places, n_supports;
static int32_t answers = 1; /* it gives in one call */

static int fake_supports(const struct provider_model *m, const struct chat_request *r, struct error *err)
{
    (void)m;
    n_supports++;
    if (r->n > answers)
        return error_set(err, ERROR_UNSUPPORTED, "one answer at a time");
    return r->prompt_ids ? error_set(err, ERROR_UNSUPPORTED, "no token ids") : 0;
}

static int fake_start(const struct provider_start *s, struct provider_call **out, struct error *err);

static void fake_pause(struct provider_call *c, bool paused)
{
    (void)c;
    (void)paused;
}

static void fake_close(struct provider_call *c)
{
    struct fake_call *f = (struct fake_call *)c;
    assert_true(f->open);
    f->open = false;
    n_open--;
}

static size_t one_at_once(const struct provider_model *m)
{
    (void)m;
    return 1;
}

static const struct provider_dialect embeds = {.at_once = one_at_once};
static const struct provider_ops fake_ops = {.kind = "fake",
    .dialects = {[CHAT_KIND_EMBED] = &embeds},
    .supports = fake_supports,
    .start = fake_start,
    .pause = fake_pause,
    .close = fake_close};
static struct provider fake = {.ops = &fake_ops};
static const struct provider_model model = {.provider = &fake};

static int fake_start(const struct provider_start *s, struct provider_call **out, struct error *err)
{
    if (n_open >= places)
        return error_set(err, ERROR_BUSY, "the queue is full");
    assert_true(n_started < CALLS_MOST);
    struct fake_call *f = &calls[n_started++];
    *f = (struct fake_call){{&fake_ops}, *s, true};
    *out = &f->base;
    most_open = ++n_open > most_open ? n_open : most_open;
    return 0;
}

static void tell(size_t call, struct chat_event e)
{
    assert_true(calls[call].open);
    calls[call].start.sink.event(calls[call].start.sink.ctx, &e);
}

static void tell_usage(size_t call, int64_t input)
{
    tell(call,
        (struct chat_event){.kind = CHAT_EVENT_USAGE, .usage = {.input_tokens = input, .output_tokens = 1}});
}

struct heard {
    struct chat_usage usage;
    size_t n_stops, n_vectors;
    int code; /* of ERROR */
    struct provider_call *call;
};

static void on_event(void *ctx, const struct chat_event *e)
{
    struct heard *h = ctx;
    bool ends = e->kind == CHAT_EVENT_ERROR;
    if (e->kind == CHAT_EVENT_USAGE)
        h->usage = e->usage;
    h->n_stops += e->kind == CHAT_EVENT_STOP;
    h->n_vectors += e->kind == CHAT_EVENT_EMBEDDING;
    h->code = ends ? e->failure.code : h->code;
    if (ends)
        provider_call_close(h->call);
}

static struct chat_request *request_of(enum chat_kind kind, size_t n)
{
    struct chat_request *r = request_create();
    r->kind = kind;
    r->has_prompt = kind == CHAT_KIND_ANSWER;
    r->n = kind == CHAT_KIND_ANSWER ? (int32_t)n : 1;
    r->n_inputs = n;
    r->inputs = arena_alloc(r->arena, n * sizeof *r->inputs);
    for (size_t i = 0; i < n; i++)
        r->inputs[i] = (struct chat_input){.text = STR("text")};
    return r;
}

static void begin(const struct chat_request *r, bool one_call, size_t room, struct heard *h)
{
    struct error err;
    *h = (struct heard){.code = 0};
    n_started = n_open = most_open = 0;
    places = room;
    const struct provider_start s = {
        .model = &model, .request = r, .one_call = one_call, .sink = {on_event, h}};
    assert_int_equal(provider_call_start(&s, &h->call, &err), 0);
}

/* Each of 128 prompts was looked at with all members of the request: of a million members half a minute. */
static void test_prompts_of_one_kind_are_asked_about_once(void **state)
{
    (void)state;
    static const int32_t ids[] = {1};
    struct error err;
    struct chat_request *r = request_of(CHAT_KIND_ANSWER, 128);
    n_supports = 0;
    assert_int_equal(provider_supports(&model, r, &err), 0);
    assert_true(n_supports <= 2);
    r->inputs[127] = (struct chat_input){.ids = ids, .n_ids = 1};
    assert_int_equal(provider_supports(&model, r, &err), ERROR_UNSUPPORTED);
    r->inputs[127] = r->inputs[0];
    r->inputs[0] = (struct chat_input){.ids = ids, .n_ids = 1};
    assert_int_equal(provider_supports(&model, r, &err), ERROR_UNSUPPORTED);
    request_free(r);
}

/* Calls that had not been sent when the client left counted as one that had. */
static void test_what_was_not_sent_costs_nothing(void **state)
{
    (void)state;
    struct heard h;
    struct chat_request *r = request_create();
    r->n = 16;
    begin(r, true, 99, &h);
    tell_usage(0, 7);
    assert_int_equal(n_started, 1);
    assert_int_equal(h.usage.input_tokens, 7);
    provider_call_close(h.call);
    begin(r, false, 99, &h);
    tell_usage(3, 7); /* the others read the same prompt */
    assert_int_equal(n_started, 8);
    assert_int_equal(h.usage.input_tokens, 8 * 7);
    provider_call_close(h.call);
    assert_int_equal(n_open, 0);
    request_free(r);
    r = request_of(CHAT_KIND_ANSWER, 5);
    begin(r, true, 99, &h);
    tell_usage(0, 7);
    assert_int_equal(h.usage.input_tokens, 7);
    provider_call_close(h.call);
    request_free(r);
}

/* A queue with room for three refused all five, though those that ended left theirs. */
static void test_calls_wait_for_the_places_of_their_own(void **state)
{
    (void)state;
    struct heard h;
    struct chat_request *r = request_of(CHAT_KIND_ANSWER, 5);
    begin(r, false, 3, &h);
    assert_int_equal(n_started, 3);
    for (size_t i = 0; i < 5; i++)
        tell(i, (struct chat_event){.kind = CHAT_EVENT_STOP});
    assert_int_equal(h.n_stops, 5);
    assert_int_equal(h.code, 0);
    assert_int_equal(most_open, 3);
    provider_call_close(h.call);
    request_free(r);
}

/* A queue that has 64 places was full of one request, and all others were refused. */
static void test_answers_at_a_time_are_as_many_as_of_one_prompt(void **state)
{
    (void)state;
    struct heard h;
    struct chat_request *r = request_of(CHAT_KIND_ANSWER, 8);
    r->n = 8 * CHAT_CHOICES_MAX;
    answers = CHAT_CHOICES_MAX;
    begin(r, false, 99, &h);
    assert_int_equal(n_started, 1);
    assert_int_equal(calls[0].start.request->n, CHAT_CHOICES_MAX);
    provider_call_close(h.call);
    r->n = 8 * 5;
    begin(r, false, 99, &h);
    assert_int_equal(n_started, 3);
    provider_call_close(h.call);
    answers = 1;
    request_free(r);
}

/* While the first call says nothing, vectors of the others wait: without a bound for all together. */
static void test_what_waits_for_its_turn_is_bounded(void **state)
{
    (void)state;
    enum { WIDTH = 4 * MIB };
    struct heard h;
    struct chat_request *r = request_of(CHAT_KIND_EMBED, 40);
    float *values = calloc(WIDTH, sizeof *values);
    assert_non_null(values);
    const struct chat_event vector = {
        .kind = CHAT_EVENT_EMBEDDING, .embedding = {.values = values, .n_values = WIDTH}};
    begin(r, false, 99, &h);
    size_t told = 0;
    for (size_t i = 1; i < 40 && !h.code; i++, told++) {
        tell(i, vector);
        if (!h.code)
            tell(i, (struct chat_event){.kind = CHAT_EVENT_STOP});
    }
    assert_int_equal(h.code, ERROR_LIMIT);
    assert_true(told * WIDTH * sizeof *values <= 2 * LIMIT_PROVIDER_BODY + WIDTH * sizeof *values);
    assert_int_equal(n_open, 0);
    /* What has had its turn waits no more. */
    begin(r, false, 99, &h);
    for (size_t i = 1; i < 8; i++) {
        tell(i, vector);
        tell(i, (struct chat_event){.kind = CHAT_EVENT_STOP});
    }
    tell(0, vector);
    tell(0, (struct chat_event){.kind = CHAT_EVENT_STOP});
    assert_int_equal(h.n_vectors, 8);
    for (size_t i = 9; i < 16; i++) {
        tell(i, vector);
        tell(i, (struct chat_event){.kind = CHAT_EVENT_STOP});
    }
    assert_int_equal(h.code, 0);
    provider_call_close(h.call);
    assert_int_equal(n_open, 0);
    free(values);
    request_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prompts_of_one_kind_are_asked_about_once),
        cmocka_unit_test(test_what_was_not_sent_costs_nothing),
        cmocka_unit_test(test_calls_wait_for_the_places_of_their_own),
        cmocka_unit_test(test_answers_at_a_time_are_as_many_as_of_one_prompt),
        cmocka_unit_test(test_what_waits_for_its_turn_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Requests that take more than one call: several answers of an API that gives one at a time, several prompts,
 * more texts to embed than an API takes at once.
 *
 *   request --> parts (a prompt, or one more answer to it; some of the texts) --> calls, some at a time
 *           --> one answer: START of the first, what comes of each under its own choices (vectors: in the
 *               texts' order), USAGE of all together
 *
 * To the exchange it is one call at one target; egress sees, and records, each. */
#include <stdlib.h>

#include "base/limits.h"
#include "provider/dialect.h"

enum { AT_ONCE = 8, HELD_MOST = 2 * LIMIT_PROVIDER_BODY };

struct several_part {
    struct several_call *owner;
    size_t prompt;     /* which of the request's; of texts to embed, which part of them */
    uint32_t first;    /* of its choices or texts, among the request's */
    int32_t n_stopped; /* of its choices */
    struct chat_request request;
    struct provider_call *call; /* NULL: not begun, or closed */
    struct chat_usage usage;    /* as last told; -1: what was not */
    bool over;
    struct buf vectors; /* that came before those of the parts before it, one after the other */
    size_t width;
};

struct several_call {
    struct provider_call base; /* first: see provider.h */
    struct provider_start start;
    size_t n_parts, begun, running, ended;
    size_t turn; /* the part whose vectors are told as they come: those before it are over */
    size_t held; /* bytes of vectors that wait for their turn */
    bool started, over, paused;
    int inside;  /* the sink is being called; */
    bool closed; /* it has closed the call */
    struct several_part parts[];
};

/* ---- Parts ---- */

static size_t prompts_of(const struct chat_request *r)
{
    return r->has_prompt && r->n_inputs > 0 ? r->n_inputs : 1;
}

/* Answers to one prompt. */
static int32_t answers_of(const struct chat_request *r)
{
    return r->n / (int32_t)prompts_of(r);
}

static bool is_one(const struct chat_request *r)
{
    return r->kind != CHAT_KIND_ANSWER || (r->n <= 1 && prompts_of(r) == 1);
}

/* Texts to embed that one call takes. */
static size_t texts_at_once(const struct provider_model *m, const struct chat_request *r)
{
    const struct provider_dialect *d = m->provider->ops->dialects[CHAT_KIND_EMBED];
    size_t most = r->kind == CHAT_KIND_EMBED && d && d->at_once ? d->at_once(m) : r->n_inputs;
    return most < r->n_inputs ? most : r->n_inputs;
}

static struct chat_request texts_of(const struct chat_request *r, size_t first, size_t each)
{
    struct chat_request some = *r;
    some.inputs = r->inputs + first;
    some.n_inputs = r->n_inputs - first < each ? r->n_inputs - first : each;
    return some;
}

/* `each` answers to a prompt, the first of them the k-th: that is what seed + k gives. */
static struct chat_request part_of(const struct chat_request *r, size_t prompt, int32_t k, int32_t each)
{
    struct chat_request one = *r;
    if (r->n_inputs > 0) {
        one.prompt = r->inputs[prompt].text;
        one.prompt_ids = r->inputs[prompt].ids;
        one.n_prompt_ids = r->inputs[prompt].n_ids;
        one.inputs = NULL;
        one.n_inputs = 0;
    }
    one.n = each;
    one.sampling.seed = (int64_t)((uint64_t)r->sampling.seed + (uint64_t)k);
    if (prompt > 0 || k > 0) { /* the first of them stands for all */
        one.measure = 0;
        one.measure_prompt = false;
        one.measure_again = CHAT_AGAIN_NEVER;
    }
    return one;
}

static int part_supported(const struct provider_model *m, const struct chat_request *r, size_t prompt,
    int32_t each, struct error *err)
{
    const struct chat_request one = part_of(r, prompt, 0, each);
    return m->provider->ops->supports(m, &one, err);
}

/* Answers that one call gives. */
static int32_t each_of(const struct provider_model *m, const struct chat_request *r)
{
    struct error err;
    int32_t n = answers_of(r);
    return n > 1 && part_supported(m, r, 0, n, &err) ? 1 : n;
}

int provider_supports(const struct provider_model *m, const struct chat_request *r, struct error *err)
{
    if (is_one(r))
        return m->provider->ops->supports(m, r, err);
    int32_t each = each_of(m, r);
    bool asked[2] = {false, false}; /* of a text, of token ids: nothing else of a prompt matters there */
    int rc = 0;
    for (size_t i = 0; i < prompts_of(r) && rc == 0; i++) {
        const bool ids = r->n_inputs > 0 && r->inputs[i].ids;
        if (!asked[ids])
            rc = part_supported(m, r, i, each, err);
        asked[ids] = true;
    }
    return rc;
}

int32_t provider_readings(const struct provider_model *m, const struct chat_request *r)
{
    return is_one(r) ? 1 : answers_of(r) / each_of(m, r);
}

/* ---- What comes ---- */

static void pass(struct several_call *c, const struct chat_event *event)
{
    if (!c->closed)
        c->start.sink.event(c->start.sink.ctx, event);
}

/* What the prompt of a part counts, by another part's word where it has not been told: it is the same one.
 * (Of texts each part has others.) */
static int64_t input_of(const struct several_call *c, const struct several_part *part)
{
    const size_t n = part->request.kind == CHAT_KIND_ANSWER ? c->begun : 0;
    int64_t input = part->usage.input_tokens;
    for (size_t i = 0; i < n && input < 0; i++)
        if (c->parts[i].prompt == part->prompt)
            input = c->parts[i].usage.input_tokens;
    return input;
}

static void usage_add(struct chat_usage *sum, const struct chat_usage *one)
{
    int64_t *const to[] = {&sum->cached_tokens, &sum->reasoning_tokens, &sum->written_tokens,
        &sum->written_long_tokens, &sum->load_ns, &sum->prefill_ns, &sum->decode_ns, &sum->drafted_tokens,
        &sum->drawn_tokens, &sum->accepted_prediction_tokens, &sum->rejected_prediction_tokens,
        &sum->audio_input_tokens, &sum->audio_output_tokens};
    const int64_t from[] = {one->cached_tokens, one->reasoning_tokens, one->written_tokens,
        one->written_long_tokens, one->load_ns, one->prefill_ns, one->decode_ns, one->drafted_tokens,
        one->drawn_tokens, one->accepted_prediction_tokens, one->rejected_prediction_tokens,
        one->audio_input_tokens, one->audio_output_tokens};
    for (size_t i = 0; i < sizeof to / sizeof *to; i++)
        *to[i] += from[i];
}

/* What has not been sent costs nothing yet. */
static void usage_pass(struct several_call *c)
{
    struct chat_event out = {.kind = CHAT_EVENT_USAGE};
    struct chat_usage *sum = &out.usage;
    for (size_t i = 0; i < c->begun; i++) {
        const struct chat_usage *one = &c->parts[i].usage;
        int64_t input = input_of(c, &c->parts[i]);
        sum->input_tokens = input < 0 || sum->input_tokens < 0 ? -1 : sum->input_tokens + input;
        sum->output_tokens += one->output_tokens > 0 ? one->output_tokens : 0;
        sum->goes_on |= one->output_tokens < 0 || one->goes_on;
        sum->estimated |= one->estimated;
        usage_add(sum, one);
    }
    pass(c, &out);
}

static int parts_begin(struct several_call *c, struct error *err);

static void vector_pass(struct several_call *c, size_t index, const float *values, size_t n)
{
    pass(c, &(struct chat_event){.kind = CHAT_EVENT_EMBEDDING,
                .embedding = {.index = index, .values = values, .n_values = n}});
}

static void vectors_pass(struct several_call *c, struct several_part *part)
{
    const float *values = (const float *)(const void *)part->vectors.data;
    size_t n = part->width > 0 ? part->vectors.len / sizeof *values / part->width : 0;
    for (size_t i = 0; i < n; i++)
        vector_pass(c, part->first + i, values + i * part->width, part->width);
    c->held -= part->vectors.len;
    buf_free(&part->vectors);
}

static void fail(struct several_call *c, int code, const char *message)
{
    c->over = true;
    pass(c,
        &(struct chat_event){.kind = CHAT_EVENT_ERROR, .failure = chat_failure_of(code, str_from(message))});
}

static void vector_take(struct several_part *part, const struct chat_event *event)
{
    struct several_call *c = part->owner;
    const struct str bytes = {
        (const char *)event->embedding.values, event->embedding.n_values * sizeof *event->embedding.values};
    if (part == &c->parts[c->turn]) {
        vector_pass(
            c, part->first + event->embedding.index, event->embedding.values, event->embedding.n_values);
        return;
    }
    part->width = event->embedding.n_values;
    if (bytes.len > HELD_MOST - c->held) {
        fail(c, ERROR_LIMIT, "the answer takes too much memory: send less at a time");
        return;
    }
    c->held += bytes.len;
    buf_append_str(&part->vectors, bytes);
    if (part->vectors.failed)
        fail(c, part->vectors.failed, "no memory for the embeddings");
}

/* It may be that others have waited for its vectors. */
static void turn_pass(struct several_call *c)
{
    while (c->turn < c->n_parts && c->parts[c->turn].over)
        if (++c->turn < c->n_parts)
            vectors_pass(c, &c->parts[c->turn]);
}

/* A call is over, and another one begins in its place. */
static void part_end(struct several_part *part)
{
    struct several_call *c = part->owner;
    struct error err;
    provider_call_close(part->call);
    part->call = NULL;
    c->running--;
    int rc = parts_begin(c, &err);
    if (rc)
        fail(c, rc, err.message);
}

/* A choice is complete, or all the texts of a part. */
static void stop_take(struct several_part *part, const struct chat_event *out)
{
    struct several_call *c = part->owner;
    part->over = ++part->n_stopped == part->request.n;
    c->ended += part->over;
    turn_pass(c);
    if (part->request.kind == CHAT_KIND_ANSWER || c->ended == c->n_parts)
        pass(c, out);
    if (part->over && !c->closed)
        part_end(part);
}

/* What one call says beside its usage (its cost, say) is not so of all. */
static bool is_of_one(const struct chat_event *event)
{
    return event->kind == CHAT_EVENT_NATIVE && event->native.what == CHAT_NATIVE_USAGE;
}

static void part_event(struct several_part *part, const struct chat_event *event)
{
    struct several_call *c = part->owner;
    struct chat_event out = *event;
    out.choice += part->request.kind == CHAT_KIND_ANSWER ? part->first : 0;
    if (event->kind == CHAT_EVENT_USAGE) {
        part->usage = event->usage;
        usage_pass(c);
    } else if (event->kind == CHAT_EVENT_EMBEDDING) {
        vector_take(part, event);
    } else if (event->kind == CHAT_EVENT_STOP) {
        stop_take(part, &out);
    } else if (!is_of_one(event) && (event->kind != CHAT_EVENT_START || !c->started)) {
        c->started = true;
        c->over = event->kind == CHAT_EVENT_ERROR;
        pass(c, &out);
    }
}

static void several_free(struct several_call *c)
{
    if (c->inside > 0)
        return;
    for (size_t i = 0; i < c->n_parts; i++)
        buf_free(&c->parts[i].vectors);
    free(c);
}

static void on_event(void *ctx, const struct chat_event *event)
{
    struct several_part *part = ctx;
    struct several_call *c = part->owner;
    if (c->over)
        return;
    c->inside++;
    part_event(part, event);
    c->inside--;
    if (c->closed)
        several_free(c);
}

/* ---- Calls ---- */

/* No more answers than one prompt may ask for: others have a place in a queue, too. */
static size_t at_once(const struct several_call *c)
{
    const size_t most = CHAT_CHOICES_MAX / (size_t)c->parts[0].request.n;
    return c->start.one_call ? 1 : most < AT_ONCE ? most : AT_ONCE;
}

static int parts_begin(struct several_call *c, struct error *err)
{
    int rc = 0;
    const size_t most = at_once(c);
    while (rc == 0 && c->running < most && c->begun < c->n_parts) {
        struct several_part *part = &c->parts[c->begun++];
        struct provider_start s = c->start;
        s.request = &part->request;
        s.sink = (struct chat_sink){on_event, part};
        rc = s.model->provider->ops->start(&s, &part->call, err);
        if (rc == ERROR_BUSY && c->running > 0) { /* it has a place once one of ours ends */
            c->begun--;
            return 0;
        }
        if (rc == 0) {
            c->running++;
            provider_call_pause(part->call, c->paused);
        }
    }
    return rc;
}

static void several_pause(struct provider_call *base, bool paused)
{
    struct several_call *c = (struct several_call *)base;
    c->paused = paused;
    for (size_t i = 0; i < c->begun; i++)
        if (c->parts[i].call)
            provider_call_pause(c->parts[i].call, paused);
}

static void several_close(struct provider_call *base)
{
    struct several_call *c = (struct several_call *)base;
    c->closed = true;
    for (size_t i = 0; i < c->begun; i++)
        provider_call_close(c->parts[i].call);
    several_free(c);
}

static const struct provider_ops several_ops = {.pause = several_pause, .close = several_close};

/* The i-th part; `each`: choices or texts of one call. */
static void part_init(struct several_call *c, size_t i, size_t each)
{
    const struct chat_request *r = c->start.request;
    struct several_part *part = &c->parts[i];
    int32_t n = answers_of(r);
    part->owner = c;
    part->first = (uint32_t)(i * each);
    part->usage = (struct chat_usage){.input_tokens = -1, .output_tokens = -1};
    buf_init(&part->vectors, LIMIT_PROVIDER_BODY);
    part->prompt = r->kind == CHAT_KIND_EMBED ? i : part->first / (size_t)n;
    part->request = r->kind == CHAT_KIND_EMBED
                        ? texts_of(r, part->first, each)
                        : part_of(r, part->prompt, (int32_t)part->first % n, (int32_t)each);
}

static int several_start(
    const struct provider_start *s, size_t each, struct provider_call **out, struct error *err)
{
    size_t all = s->request->kind == CHAT_KIND_EMBED ? s->request->n_inputs : (size_t)s->request->n;
    size_t n_parts = (all + each - 1) / each;
    struct several_call *c = calloc(1, sizeof *c + n_parts * sizeof *c->parts);
    if (!c)
        return error_set(err, ERROR_MEMORY, "no memory for %zu calls", n_parts);
    c->base.ops = &several_ops;
    c->start = *s;
    c->n_parts = n_parts;
    for (size_t i = 0; i < n_parts; i++)
        part_init(c, i, each);
    int rc = parts_begin(c, err);
    if (rc)
        several_close(&c->base);
    else
        *out = &c->base;
    return rc;
}

int provider_call_start(const struct provider_start *s, struct provider_call **out, struct error *err)
{
    const struct chat_request *r = s->request;
    size_t all = r->kind == CHAT_KIND_ANSWER ? (size_t)r->n : r->n_inputs,
           each = r->kind == CHAT_KIND_ANSWER ? is_one(r) ? all : (size_t)each_of(s->model, r)
                                              : texts_at_once(s->model, r);
    return each == all ? s->model->provider->ops->start(s, out, err) : several_start(s, each, out, err);
}

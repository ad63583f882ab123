/* The embedded engine as a provider: nothing leaves this machine. */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "chat/chat_codec.h"
#include "engine/engine.h"
#include "provider/dialect.h"
#include "provider/local_again.h"

/* One of the request's n answers: a call of the engine of its own. They share the prompt's state where the
 * engine can (scheduler.h). */
struct local_choice {
    struct local_call *owner;
    uint32_t index;
    struct engine_call *call; /* NULL: closed */
    bool begun;
    struct chat_usage usage; /* once it has ended */
};

struct local_call {
    struct provider_call call; /* first: see provider.h */
    struct chat_sink sink;
    struct str echo; /* the prompt, where answers begin with it */
    struct local_choice choices[CHAT_CHOICES_MAX];
    int32_t n;
    bool started, failed;
    bool inside, closed; /* the sink is being called; it has closed the call */
    int64_t input_tokens, cached_tokens;
    struct local_again again;
    bool stop_held; /* the answer is complete but for `stop`, which waits for `again` */
    struct chat_event stop;
    struct buf stop_string; /* of it */
};

/* ---- What the engine can honour ---- */

/* Members that change nothing about the answer itself, and those that are looked at on their own. */
static const char *const harmless[] = {"user", "metadata", "store", "service_tier", "stream",
    "stream_options", "response_format", "grammar", "lora", "prompt_cache_key", "prompt_cache_retention",
    "safety_identifier", "reasoning_effort", "prediction", "chat_template_kwargs"};

/* Members that are honoured only while they ask for nothing: the value that does. */
static const struct {
    const char *key, *nothing; /* as JSON text */
} idle[] = {{"n", "1"}, {"best_of", "1"}, {"logprobs", "false"}, {"top_logprobs", "0"}, {"echo", "false"},
    {"logit_bias", "{}"}, {"functions", "[]"}, {"modalities", "[\"text\"]"}, {"suffix", "\"\""}};

static bool asks_nothing(const char *key, const json_t *value)
{
    struct buf text;
    struct json_writer w;
    bool nothing = json_is_null(value);
    buf_init(&text, 256);
    json_writer_init(&w, &text);
    json_write_value(&w, value);
    for (size_t i = 0; i < sizeof idle / sizeof *idle; i++)
        nothing = nothing ||
                  (strcmp(key, idle[i].key) == 0 && !text.failed && str_is(buf_str(&text), idle[i].nothing));
    buf_free(&text);
    return nothing;
}

static bool is_harmless(const char *key)
{
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        if (strcmp(key, harmless[i]) == 0)
            return true;
    return false;
}

static int vendor_supported(const json_t *vendor, struct error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)vendor, key, value)
    {
        if (!is_harmless(key) && !asks_nothing(key, value))
            return error_set(err, ERROR_UNSUPPORTED,
                "the local model cannot honour '%s' as it is given: leave it out or name another model", key);
    }
    return 0;
}

static int constraint_supported(const struct chat_request *r, struct error *err)
{
    struct str grammar;
    const json_t *schema;
    int rc = chat_constraint_read(r, &grammar, &schema, err);
    if (rc == 0 && grammar.data && r->n_tools > 0 && r->tool_choice != CHAT_TOOLS_NONE)
        rc = error_set(err, ERROR_UNSUPPORTED,
            "the local model cannot have 'tools' beside 'grammar': send one of them, or tool_choice "
            "\"none\"");
    return rc;
}

static int message_supported(const struct chat_message *m, size_t index, struct error *err)
{
    for (size_t i = 0; i < m->n_parts; i++) {
        const char *what = m->parts[i].kind == CHAT_PART_IMAGE   ? "images"
                           : m->parts[i].kind == CHAT_PART_AUDIO ? "audio"
                           : m->parts[i].kind == CHAT_PART_FILE  ? "files"
                           : m->parts[i].kind == CHAT_PART_OTHER ? "parts of this type"
                                                                 : NULL;
        if (what)
            return error_set(err, ERROR_UNSUPPORTED,
                "the local model reads text only, no %s (messages[%zu]): name a model that takes them", what,
                index);
    }
    static const char *const content[] = {"function_call", "audio"};
    for (size_t i = 0; m->vendor && i < sizeof content / sizeof *content; i++) {
        const json_t *value = json_object_get(m->vendor, content[i]);
        if (value && !json_is_null(value))
            return error_set(err, ERROR_UNSUPPORTED,
                "the local model cannot read '%s' (messages[%zu]): leave it out or name another model",
                content[i], index);
    }
    return 0;
}

/* What a slot holds: as the loaded engine says, else as configured, else what it takes at most. */
static int64_t context_of(const struct provider_model *m, struct arena *a)
{
    enum { UNSAID = 8192 };
    struct error err;
    json_t *ready;
    int64_t context = m->context > 0 ? m->context : UNSAID;
    struct str info = engine_ready_info(m->engine, a);
    if (info.len > 0 && json_read_in(a, info, &ready, &err) == 0 && provider_count(ready, "context") > 0)
        context = provider_count(ready, "context");
    return context;
}

/* A context that is smaller than the one that Ollama's 'num_ctx' asks for would forget in silence. */
static int context_supported(const struct provider_model *m, const struct chat_request *r, struct error *err)
{
    int64_t wanted = provider_count(json_object_get(r->native, "options"), "num_ctx");
    if (r->shape != CHAT_SHAPE_OLLAMA || wanted <= 0 || !m->engine)
        return 0;
    int64_t context = context_of(m, r->arena);
    if (wanted <= context)
        return 0;
    return error_set(err, ERROR_UNSUPPORTED,
        "'num_ctx' asks for %lld tokens, but the local model has a context of %lld: ask for less, or set its "
        "'context' in the configuration",
        (long long)wanted, (long long)context);
}

static int local_supports(const struct provider_model *m, const struct chat_request *r, struct error *err)
{
    int rc = provider_check_native(CHAT_SHAPE_OPENAI, r, err);
    if (r->echo && (r->prompt_ids || r->logprobs))
        return error_set(err, ERROR_UNSUPPORTED,
            "the local model cannot honour 'echo' beside 'logprobs' or a prompt of token ids: leave it out");
    for (size_t i = 0; i < r->n_messages && rc == 0; i++)
        rc = message_supported(&r->messages[i], i, err);
    if (rc == 0)
        rc = vendor_supported(r->vendor, err);
    if (rc == 0)
        rc = context_supported(m, r, err);
    struct str prediction;
    if (rc == 0)
        rc = chat_prediction_read(r, &prediction, err);
    return rc ? rc : constraint_supported(r, err);
}

/* ---- Calls ---- */

static void choices_close(struct local_call *c, const struct local_choice *but)
{
    for (int32_t i = 0; i < c->n; i++) {
        if (&c->choices[i] == but)
            continue;
        engine_call_close(c->choices[i].call);
        c->choices[i].call = NULL;
    }
    local_again_close(&c->again);
}

static void call_free(struct local_call *c)
{
    buf_free(&c->stop_string);
    free(c);
}

static void pass(struct local_call *c, const struct chat_event *event)
{
    if (!c->closed)
        c->sink.event(c->sink.ctx, event);
}

/* The prompt counts once, as the choice that read most of it says; the answers together; of choices that have
 * not ended nothing is counted yet. */
static void usage_pass(struct local_call *c, struct local_choice *choice, const struct chat_usage *usage)
{
    struct chat_event out = {.kind = CHAT_EVENT_USAGE, .usage = *usage};
    choice->usage = (struct chat_usage){0};
    for (int32_t i = 0; i < c->n; i++) {
        const struct chat_usage *one = &c->choices[i].usage;
        out.usage.output_tokens += one->output_tokens;
        out.usage.reasoning_tokens += one->reasoning_tokens;
        out.usage.drafted_tokens += one->drafted_tokens;
        out.usage.drawn_tokens += one->drawn_tokens;
        out.usage.accepted_prediction_tokens += one->accepted_prediction_tokens;
        out.usage.rejected_prediction_tokens += one->rejected_prediction_tokens;
    }
    choice->usage = *usage;
    out.usage.input_tokens = c->input_tokens;
    out.usage.cached_tokens = c->cached_tokens;
    pass(c, &out);
}

static void echo_pass(struct local_call *c, struct local_choice *choice)
{
    if (choice->begun)
        return;
    choice->begun = true;
    if (c->echo.len > 0)
        pass(c, &(struct chat_event){.kind = CHAT_EVENT_TEXT, .choice = choice->index, .text = c->echo});
}

static void choice_event(struct local_choice *choice, const struct chat_event *event)
{
    struct local_call *c = choice->owner;
    struct chat_event out = *event;
    out.choice = choice->index;
    if (event->kind == CHAT_EVENT_USAGE) {
        if (c->input_tokens < 0 || event->usage.cached_tokens < c->cached_tokens)
            c->cached_tokens = event->usage.cached_tokens;
        c->input_tokens = event->usage.input_tokens;
        usage_pass(c, choice, &event->usage);
    } else if (event->kind == CHAT_EVENT_START) {
        if (!c->started)
            pass(c, &out);
        c->started = true;
    } else if (event->kind == CHAT_EVENT_ERROR) {
        choices_close(c, choice);
        pass(c, &out);
    } else {
        echo_pass(c, choice);
        pass(c, &out);
    }
}

static void again_pass(struct local_call *c)
{
    struct chat_event out;
    if (local_again_tells(&c->again, &out))
        pass(c, &out);
}

/* The answer's last event, which is told after how far a second one agrees with it. */
static bool stop_hold(struct local_call *c, const struct chat_event *event)
{
    if (event->kind != CHAT_EVENT_STOP || !local_again_is_awaited(&c->again))
        return false;
    buf_init(&c->stop_string, LIMIT_WIRE_FRAME);
    buf_append_str(&c->stop_string, event->stop_string);
    c->stop_held = true;
    c->stop = *event;
    c->stop.stop_string = buf_str(&c->stop_string);
    return true;
}

static void answer_event(struct local_choice *choice, const struct chat_event *event)
{
    struct local_call *c = choice->owner;
    local_again_hears(&c->again, event);
    if (stop_hold(c, event))
        return;
    if (event->kind == CHAT_EVENT_STOP)
        again_pass(c);
    choice_event(choice, event);
    again_pass(c);
}

static void on_event(void *ctx, const struct chat_event *event)
{
    struct local_choice *choice = ctx;
    struct local_call *c = choice->owner;
    if (c->failed)
        return;
    c->failed = event->kind == CHAT_EVENT_ERROR;
    c->inside = true;
    answer_event(choice, event);
    c->inside = false;
    if (c->closed)
        call_free(c);
}

static void on_again(void *ctx, const struct chat_event *event)
{
    struct local_call *c = ctx;
    c->inside = true;
    local_again_hears_itself(&c->again, event);
    again_pass(c);
    if (c->stop_held && !local_again_is_awaited(&c->again)) {
        c->stop_held = false;
        choice_event(&c->choices[0], &c->stop);
    }
    c->inside = false;
    if (c->closed)
        call_free(c);
}

static int local_start(const struct provider_start *s, struct provider_call **out, struct error *err)
{
    if (s->request->kind != CHAT_KIND_ANSWER)
        return provider_local_ask_start(s, out, err);
    struct chat_request one = *s->request;
    struct local_call *c = calloc(1, sizeof *c);
    int rc = 0;
    if (!c)
        abort();
    c->call.ops = &provider_local_ops;
    engine_keep_alive(s->model->engine, s->request->has_keep_alive ? &s->request->keep_alive_ms : NULL);
    c->sink = s->sink;
    c->echo = one.echo ? one.prompt : STR_NONE;
    c->input_tokens = -1;
    one.n = 1;
    for (; c->n < s->request->n && rc == 0; c->n++) {
        struct local_choice *choice = &c->choices[c->n];
        *choice = (struct local_choice){.owner = c, .index = (uint32_t)c->n};
        rc = engine_chat(
            s->model->engine, s->loop, &one, (struct chat_sink){on_event, choice}, &choice->call, err);
        one.measure = 0; /* the first of them stands for all */
        one.measure_prompt = false;
        one.sampling.seed = (int64_t)((uint64_t)one.sampling.seed + 1);
    }
    if (rc == 0)
        local_again_start(&c->again, s, (struct chat_sink){on_again, c});
    if (rc) {
        choices_close(c, NULL);
        call_free(c);
    } else {
        *out = &c->call;
    }
    return rc;
}

/* A second answer is short, and is not paused: it would keep its slot. */
static void local_pause(struct provider_call *call, bool paused)
{
    struct local_call *c = (struct local_call *)call;
    for (int32_t i = 0; i < c->n; i++)
        if (c->choices[i].call)
            engine_call_pause(c->choices[i].call, paused);
}

static void local_close(struct provider_call *call)
{
    struct local_call *c = (struct local_call *)call;
    choices_close(c, NULL);
    c->closed = true;
    if (!c->inside)
        call_free(c);
}

const struct provider_ops provider_local_ops = {.kind = "local",
    .supports = local_supports,
    .start = local_start,
    .pause = local_pause,
    .close = local_close};

/* CHAT: a prompt is read, then tokens are drawn until the answer ends. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "chat/chat_codec.h"
#include "chat/chat_sampling.h"
#include "engine/worker/constraint.h"
#include "base/clock.h"
#include "base/rand.h"
#include "engine/worker/chat_template.h"
#include "engine/worker/logprobs.h"
#include "engine/worker/measure.h"
#include "engine/worker/prompt.h"
#include "engine/worker/reply.h"
#include "engine/worker/sampler.h"
#include "engine/worker/session_inner.h"
#include "engine/worker/stream_text.h"

enum { PIECE_MAX = 64 * 1024, SHIFTED_MOST = 10, PROMPT_MEASURED = 32 };

struct answer {
    struct arena *arena; /* the stop strings */
    struct sampler *sampler;
    struct constraint constraint;
    struct stream_text text;
    struct buf piece, out;
    struct reply reply;
    json_t *tools;             /* that it may call; NULL: none */
    bool taken_apart;          /* what is said goes through `reply` */
    struct logprobs *logprobs; /* NULL: not asked for */
    struct measure measure;
    double prompt_logprob; /* of the prompt's tokens that were measured, the sum */
    int32_t n_measured;
    struct buf said;        /* text that waits for its tokens; with logprobs only */
    uint64_t pushed, shown; /* bytes of tokens so far; of the text that has come of them */
    int32_t *prompt;        /* for the penalties, until the start */
    size_t n_prompt, cached;
    int32_t drawn, reasoned, most; /* tokens */
    int32_t told;                  /* of those drawn, with the pieces that were sent */
    size_t n_expected;             /* tokens of `prediction` */
    struct draft_counts drafts;    /* at the end */
    int64_t started_ns, first_ns;  /* prefill began, was over */
    const char *reason;            /* how it ended */
    bool stopped;                  /* at a stop string */
};

/* ---- What the gateway hears ---- */

static void drafts_write(struct json_writer *w, const struct answer *a)
{
    const struct draft_counts *d = &a->drafts;
    const struct {
        const char *key;
        int64_t value;
    } members[] = {{"drafted_tokens", d->drafted}, {"drawn_tokens", d->accepted},
        {"accepted_prediction_tokens", d->expected},
        {"rejected_prediction_tokens", (int64_t)a->n_expected - d->expected}};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        json_member_int(w, members[i].key, members[i].value);
}

static void numbers_send(struct call *call, enum wire_type type, const char *first, bool with_output)
{
    const struct answer *a = call->data;
    struct buf json;
    struct json_writer w;
    buf_init(&json, KIB);
    json_writer_init(&w, &json);
    json_object_begin(&w);
    json_member_int(&w, first, (int64_t)a->n_prompt);
    json_member_int(&w, "cached_tokens", (int64_t)a->cached);
    if (with_output) {
        json_member_int(&w, "output_tokens", a->drawn);
        json_member_int(&w, "reasoning_tokens", a->reasoned);
        json_member_int(&w, "prefill_ns", a->first_ns - a->started_ns);
        json_member_int(&w, "decode_ns", a->first_ns > 0 ? clock_mono_ns() - a->first_ns : 0);
        drafts_write(&w, a);
    }
    json_object_end(&w);
    session_send(call->session, call->id, type, buf_str(&json));
    buf_free(&json);
}

/* A piece of the answer, and how many tokens it took since the last one. */
static void piece_send(const struct call *call, enum wire_type type, struct str payload)
{
    struct answer *a = call->data;
    session_send_drawn(call->session, call->id, type, a->drawn - a->told, payload);
    a->told = a->drawn;
}

static void on_text(void *ctx, struct str text)
{
    const struct call *call = ctx;
    struct answer *a = call->data;
    if (a->logprobs)
        buf_append_str(&a->said, text);
    else
        piece_send(call, WIRE_TEXT, text);
}

/* What was said so far goes without the tokens that wait. */
static void said_send(const struct call *call)
{
    struct answer *a = call->data;
    if (a->said.len > 0)
        piece_send(call, WIRE_TEXT, buf_str(&a->said));
    buf_clear(&a->said);
}

/* What was said, with its tokens once all of their text is out. */
static void tokens_send(const struct call *call, bool last)
{
    struct answer *a = call->data;
    bool held = a->text.held.len > 0 || a->text.n_raw > 0 || (a->taken_apart && a->reply.held.len > 0);
    struct buf json;
    struct json_writer w;
    if (last && a->stopped)
        logprobs_drop(a->logprobs, a->shown);
    if (logprobs_waiting(a->logprobs) == 0 || (held && !last) || (a->said.len == 0 && !last)) {
        said_send(call);
        return;
    }
    buf_init(&json, LIMIT_WIRE_FRAME);
    json_writer_init(&w, &json);
    json_object_begin(&w);
    json_member_str(&w, "text", buf_str(&a->said));
    json_key(&w, "tokens");
    logprobs_write(a->logprobs, &w);
    json_object_end(&w);
    piece_send(call, WIRE_TOKENS, buf_str(&json));
    buf_free(&json);
    buf_clear(&a->said);
}

/* Tokens are told of text only, as OpenAI does it. */
static void on_reasoning(void *ctx, struct str text)
{
    const struct call *call = ctx;
    struct answer *a = call->data;
    said_send(call);
    logprobs_drop(a->logprobs, 0);
    piece_send(call, WIRE_REASONING, text);
}

static void on_tool_call(void *ctx, size_t index, struct str name, struct str arguments)
{
    const struct call *call = ctx;
    struct answer *a = call->data;
    char id[48];
    struct buf json;
    struct json_writer w;
    said_send(call);
    logprobs_drop(a->logprobs, 0);
    rand_id("call_", id, sizeof id);
    buf_init(&json, LIMIT_WIRE_FRAME);
    json_writer_init(&w, &json);
    json_object_begin(&w);
    json_member_int(&w, "index", (int64_t)index);
    if (name.len > 0) {
        json_member_text(&w, "id", id);
        json_member_str(&w, "name", name);
    }
    json_member_str(&w, "arguments", arguments);
    json_object_end(&w);
    piece_send(call, WIRE_TOOL_CALL, buf_str(&json));
    buf_free(&json);
}

static int64_t micro(double nats)
{
    return (int64_t)(fmax(-1000, fmin(1000, nats)) * 1e6);
}

static void measure_send(const struct call *call, int32_t token)
{
    struct answer *a = call->data;
    double logprob, entropy;
    struct buf json;
    struct json_writer w;
    if (!measure_of(&a->measure, token, &logprob, &entropy))
        return;
    buf_init(&json, KIB);
    json_writer_init(&w, &json);
    json_object_begin(&w);
    json_member_int(&w, "logprob", micro(logprob));
    json_member_int(&w, "entropy", micro(entropy));
    json_object_end(&w);
    session_send(call->session, call->id, WIRE_MEASURE, buf_str(&json));
    buf_free(&json);
}

static void prompt_measure_send(const struct call *call)
{
    const struct answer *a = call->data;
    struct buf json;
    struct json_writer w;
    if (a->n_measured == 0)
        return;
    buf_init(&json, KIB);
    json_writer_init(&w, &json);
    json_object_begin(&w);
    json_member_int(&w, "prompt", micro(a->prompt_logprob / a->n_measured));
    json_object_end(&w);
    session_send(call->session, call->id, WIRE_MEASURE, buf_str(&json));
    buf_free(&json);
}

static int text_send(struct call *call, bool last, struct error *err)
{
    struct answer *a = call->data;
    int rc = 0;
    a->shown += a->out.len;
    if (a->taken_apart)
        rc = reply_push(&a->reply, buf_str(&a->out), err);
    else if (a->out.len > 0)
        on_text(call, buf_str(&a->out));
    if (rc == 0 && last && a->taken_apart)
        rc = reply_finish(&a->reply, err);
    if (rc == 0 && a->logprobs)
        tokens_send(call, last);
    buf_clear(&a->out);
    return rc;
}

static void end_send(struct call *call)
{
    const struct answer *a = call->data;
    bool tools = str_is(str_from(a->reason), "stop") && a->reply.n_calls > 0;
    struct buf json;
    struct json_writer w;
    numbers_send(call, WIRE_USAGE, "input_tokens", true);
    buf_init(&json, 64 * KIB);
    json_writer_init(&w, &json);
    json_object_begin(&w);
    json_member_text(&w, "reason", tools ? "tools" : a->reason);
    if (a->stopped && !tools)
        json_member_str(&w, "string", a->text.met);
    json_object_end(&w);
    session_send(call->session, call->id, WIRE_STOP, buf_str(&json));
    buf_free(&json);
}

/* ---- The sequence ---- */

static int started(void *ctx, size_t cached, struct error *err)
{
    struct call *call = ctx;
    struct answer *a = call->data;
    (void)err;
    a->cached = cached;
    a->started_ns = clock_mono_ns();
    for (size_t i = 0; i < a->n_prompt; i++)
        sampler_accept(a->sampler, a->prompt[i]);
    free(a->prompt);
    a->prompt = NULL;
    numbers_send(call, WIRE_START, "prompt_tokens", false);
    return 0;
}

/* The answer ends here: what was held back as a possible stop string is text after all. */
static int finish(struct call *call, const char *reason, struct error *err)
{
    struct answer *a = call->data;
    a->reason = reason;
    return stream_text_finish(&a->text, &a->out, err);
}

/* 1: goes on, 0: the answer is complete. */
static int token_take(struct call *call, int32_t token, struct error *err)
{
    struct answer *a = call->data;
    const struct tokenizer *t = call->session->tokenizer;
    a->drawn++;
    a->reasoned += a->taken_apart && a->reply.state == REPLY_REASONING;
    if (tokenizer_is_end(t, token))
        return finish(call, "stop", err);
    sampler_accept(a->sampler, token);
    buf_clear(&a->piece);
    bool tag = a->taken_apart && reply_wants(&a->reply, tokenizer_text(t, token));
    int rc = tokenizer_append_piece(t, token, tag, &a->piece);
    if (rc)
        return error_set(err, rc,
            "a token of the vocabulary is longer than %d bytes: the model file is broken", PIECE_MAX);
    rc = a->logprobs ? logprobs_take(a->logprobs, token, a->pushed, err) : 0;
    if (rc)
        return rc;
    a->pushed += a->piece.len;
    rc = stream_text_push(&a->text, buf_str(&a->piece), &a->out, err);
    if (rc == 1) {
        a->stopped = true;
        a->reason = "stop";
        return 0;
    }
    if (rc == 0 && a->drawn == a->most)
        return finish(call, "length", err);
    return rc ? rc : 1;
}

static int token_draw(struct call *call, float *row, int32_t *next, struct error *err)
{
    struct answer *a = call->data;
    measure_see(&a->measure, row);
    int rc = sampler_draw(a->sampler, row, next, err);
    if (rc == 0)
        measure_send(call, *next);
    if (rc == 0)
        rc = constraint_accept(&a->constraint, *next, err);
    return rc ? rc : token_take(call, *next, err);
}

static int logits(void *ctx, float *row, int32_t *next, struct error *err)
{
    struct call *call = ctx;
    struct answer *a = call->data;
    if (a->first_ns == 0) {
        a->first_ns = clock_mono_ns();
        prompt_measure_send(call);
    }
    if (a->logprobs)
        logprobs_see(a->logprobs, row);
    int rc = constraint_mask(&a->constraint, row, err);
    if (rc == 0)
        rc = finish(call, "stop", err);
    else if (rc > 0)
        rc = token_draw(call, row, next, err);
    int sent = rc >= 0 ? text_send(call, rc == 0, err) : 0;
    return sent ? sent : rc;
}

static void ended(void *ctx, int rc, const struct error *err)
{
    struct call *call = ctx;
    ((struct answer *)call->data)->drafts = scheduler_drafts(call->sequence);
    call->sequence = NULL;
    if (rc)
        session_send_error(call->session, call->id, rc, err);
    else
        end_send(call);
    call_free(call);
}

static void read_prompt(void *ctx, const float *row, int32_t next)
{
    struct call *call = ctx;
    struct answer *a = call->data;
    a->prompt_logprob += measure_logprob(row, model_info(call->session->model)->n_vocab, next);
    a->n_measured++;
}

static const struct sequence_ops ops = {
    .started = started, .logits = logits, .ended = ended, .read = read_prompt};

/* ---- The request ---- */

static void answer_free(struct call *call)
{
    struct answer *a = call->data;
    sampler_free(a->sampler);
    logprobs_free(a->logprobs);
    measure_free(&a->measure);
    buf_free(&a->said);
    constraint_end(&a->constraint);
    reply_free(&a->reply);
    json_decref(a->tools);
    stream_text_free(&a->text);
    buf_free(&a->piece);
    buf_free(&a->out);
    free(a->prompt);
    arena_free(a->arena);
    free(a);
}

/* What the request leaves open the model's file may say. */
static int sampling_begin(struct call *call, const struct chat_work *work, struct error *err)
{
    struct answer *a = call->data;
    struct chat_sampling sampling = work->sampling;
    const struct sampler_setup setup = {.sampling = &sampling,
        .tokenizer = call->session->tokenizer,
        .n_vocab = model_info(call->session->model)->n_vocab,
        .n_context = call->session->n_context};
    chat_sampling_fill(&sampling, &call->session->sampling);
    return sampler_create(&setup, &a->sampler, err);
}

static int answer_create(struct call *call, const struct chat_work *work, struct error *err)
{
    struct answer *a = calloc(1, sizeof *a);
    if (!a)
        return error_set(err, ERROR_MEMORY, "no memory for another call: try again later");
    a->arena = arena_create(64 * KIB);
    const struct session *s = call->session;
    struct str *stops = arena_alloc(a->arena, (work->n_stops + 1) * sizeof *stops);
    for (size_t i = 0; i < work->n_stops; i++)
        stops[i] = arena_copy(a->arena, work->stops[i]);
    if (work->n_stops > 0)
        stream_text_init(&a->text, stops, work->n_stops);
    else
        stream_text_init(&a->text, s->stops, s->n_stops);
    buf_init(&a->piece, PIECE_MAX);
    buf_init(&a->out, MIB);
    buf_init(&a->said, LIMIT_WIRE_FRAME / 8);
    call->data = a;
    call->free_data = answer_free;
    int rc = sampling_begin(call, work, err);
    if (rc == 0 && work->logprobs >= 0)
        rc = logprobs_create((int32_t)work->logprobs, model_info(call->session->model)->n_vocab,
            call->session->tokenizer, &a->logprobs, err);
    if (rc == 0)
        rc = measure_begin(&a->measure, work->measure, model_info(call->session->model)->n_vocab, err);
    return rc;
}

/* Does the prompt leave reasoning open, or closed? */
static void prompt_look(
    const struct session *s, const struct token_list *tokens, struct constraint_prompt *prompt)
{
    enum { TAIL = 16 };
    size_t n = tokens->count < TAIL ? tokens->count : TAIL;
    struct buf text;
    if (!prompt->form.thinking)
        return;
    buf_init(&text, TAIL * (size_t)PIECE_MAX);
    for (size_t i = tokens->count - n; i < tokens->count; i++)
        if (tokenizer_append_piece(s->tokenizer, tokens->ids[i], true, &text))
            break;
    struct str end = str_trim(buf_str(&text));
    prompt->inside = str_ends(end, reply_mark(prompt->form.thinking->open));
    prompt->may_reason = !prompt->inside && !str_ends(end, reply_mark(prompt->form.thinking->close));
    buf_free(&text);
}

/* How the model writes calls and reasoning; text that is continued as it stands is not taken apart. */
static int reply_begin(struct call *call, const struct chat_work *work, const struct token_list *tokens,
    struct constraint_prompt *prompt, struct error *err)
{
    struct answer *a = call->data;
    struct str template, with_tools;
    const struct reply_sink sink = {on_text, on_reasoning, on_tool_call, call};
    int rc = chat_template_sources(call->session->gguf, &template, &with_tools, err);
    if (rc || !work->body)
        return rc;
    json_t *tools = json_object_get(work->body, "tools");
    prompt->form = reply_form_of(json_array_size(tools) > 0 && with_tools.len > 0 ? with_tools : template);
    prompt_look(call->session, tokens, prompt);
    /* The request goes before the answer ends. */
    a->tools = json_deep_copy(tools);
    reply_init(&a->reply, prompt->form, prompt->inside, a->tools, &sink);
    a->taken_apart = !reply_is_plain(&a->reply);
    return 0;
}

/* As it would stand in the answer: there it follows on from the prompt. */
static int prediction_take(struct call *call, struct str text, struct error *err)
{
    struct answer *a = call->data;
    struct token_list tokens = {0};
    int rc = text.len > 0 ? tokenizer_encode(call->session->tokenizer, text, false, false, &tokens, err) : 0;
    a->n_expected = tokens.count;
    if (rc == 0)
        scheduler_expect(call->sequence, &tokens);
    free(tokens.ids);
    return rc;
}

/* The sequence joins the scheduler; an answer of no tokens is complete at once. */
static int answer_start(
    struct call *call, struct token_list *tokens, const struct chat_work *work, struct error *err)
{
    struct answer *a = call->data;
    struct session *s = call->session;
    a->n_prompt = tokens->count;
    int64_t room = (int64_t)s->n_context - (int64_t)tokens->count, max_tokens = work->max_tokens;
    if (work->context_shift && room >= 0)
        room = SHIFTED_MOST * (int64_t)s->n_context; /* else it might never end */
    a->most = (int32_t)(max_tokens >= 0 && max_tokens < room ? max_tokens : room > 0 ? room : 0);
    a->prompt = malloc((tokens->count + 1) * sizeof *a->prompt);
    if (!a->prompt)
        return error_set(err, ERROR_MEMORY, "no memory for another call: try again later");
    if (tokens->count > 0)
        memcpy(a->prompt, tokens->ids, tokens->count * sizeof *a->prompt);
    bool bos = tokens->count > 0 && tokens->ids[0] == tokenizer_bos(s->tokenizer);
    int rc = scheduler_add(s->scheduler, tokens, &ops, call, &call->sequence, err);
    if (rc == 0)
        rc = prediction_take(call, work->prediction, err);
    if (rc == 0)
        scheduler_adapt(call->sequence, call->scales);
    if (rc == 0)
        scheduler_owner(call->sequence, (uint64_t)work->asker, (uint64_t)work->scope);
    if (rc == 0 && work->measure_prompt)
        scheduler_tell(call->sequence, PROMPT_MEASURED);
    if (rc == 0 && work->context_shift)
        scheduler_shift(call->sequence, work->n_keep > bos ? work->n_keep : bos);
    if (rc || a->most > 0)
        return rc;
    a->reason = "length";
    numbers_send(call, WIRE_START, "prompt_tokens", false);
    end_send(call);
    call_free(call);
    return 0;
}

int session_chat(struct session *s, uint32_t id, struct str payload, struct error *err)
{
    struct arena *a = arena_create(LIMIT_REQUEST_MEMORY);
    struct chat_work work;
    struct token_list tokens = {0};
    struct call *call = NULL;
    struct constraint_prompt prompt = {.inside = false};
    int rc = chat_codec_read(a, payload, &work, err);
    if (rc == 0)
        rc = !work.body        ? prompt_from_work(s, &work, &tokens, err)
             : work.truncation ? prompt_from_chat_shortened(s, work.body, &tokens, err)
                               : prompt_from_chat(s, work.body, &tokens, err);
    if (rc == 0)
        rc = call_create(s, id, &call, err);
    if (rc == 0)
        rc = session_adapters_read(s, work.lora, &call->scales, err);
    if (rc == 0)
        rc = answer_create(call, &work, err);
    if (rc == 0)
        rc = reply_begin(call, &work, &tokens, &prompt, err);
    if (rc == 0)
        rc = constraint_begin(s, &work, &prompt, &((struct answer *)call->data)->constraint, err);
    if (rc == 0)
        rc = answer_start(call, &tokens, &work, err);
    if (rc && call)
        call_free(call);
    free(tokens.ids);
    arena_free(a);
    return rc;
}

/* BENCH: how fast the model runs here, and what the machine could do at best.
 *
 *   slot 0 is filled to `depth` once; then, `repeat` times or until the time is up,
 *   slot 1           takes its state, and `prompt` tokens are read          -> "prefill_s"
 *   slots 1..streams take its state, and `generate` steps of a token each   -> "decode_s" */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/worker/fit.h"
#include "engine/worker/model.h"
#include "engine/worker/program.h"
#include "engine/worker/session_bench.h"
#include "engine/worker/tensor.h"

enum { COUNTED = 2, STREAMS_MAX = 256, REPEAT_MAX = 1000, LENGTH_MAX = 1 << 24 };

struct bench_job {
    int64_t depth, streams, prompt, generate, repeat;
    int64_t deadline_ns;
    struct model_state *state;
    float *logits;
    int32_t *tokens, *slots;
    uint8_t *wants;
    uint32_t drawn; /* tokens so far: they differ, so that a mixture's experts do */
    int64_t at;     /* tokens of the prompt, or steps, that are done */
    int counted;    /* unmeasured steps whose products were counted: of one token, of two */
    double first[BACKEND_UNITS], second[BACKEND_UNITS]; /* their operations */
    bool generating;                                    /* what is measured now */
    double seconds;                                     /* of it so far */
    double *prefill, *decode;
    int64_t n_prefill, n_decode;
};

/* ---- What a step has to do ---- */

/* Of a tensor's bytes those that a step of `tokens` reads: with experts chosen at random,
 * E (1 - (1 - used / E)^tokens) of E. */
static double tensor_share(const struct session *s, const struct tensor *t, double tokens)
{
    char key[128];
    struct str architecture = STR_NONE;
    uint32_t used = 0;
    struct error err;
    if (t->n_dims != 3 || t->shape[2] < 2 ||
        gguf_get_str(s->gguf, "general.architecture", STR_NONE, &architecture, &err))
        return 1;
    snprintf(key, sizeof key, STR_FMT ".expert_used_count", STR_ARG(str_slice(architecture, 0, 64)));
    if (gguf_get_u32(s->gguf, key, 0, &used, &err) != 0 || used == 0 || used > t->shape[2])
        return 1;
    return 1 - pow(1 - (double)used / (double)t->shape[2], tokens);
}

/* Most of the last layer and the output layer run for those tokens alone that want logits. */
struct work {
    double layers[BACKEND_UNITS]; /* operations a token */
    double head[BACKEND_UNITS];   /* and what one more takes that wants logits */
    double bytes;                 /* that a step reads: weights, and the state of `streams` sequences */
};

/* Of `ctx`, a step whose operations are counted. */
static void product_count(void *ctx, const struct op *op, struct program_rows a, struct program_rows routes)
{
    const struct call *call = ctx;
    struct bench_job *job = call->data;
    const struct linear_heads *heads = op->kind == OP_MATMUL_HEADS ? op->linear_heads : NULL;
    const struct weight *w = heads ? &heads->weight : &op->linear->weight;
    const double products = heads ? (double)a.rows * heads->n_heads * heads->count
                            : op->kind == OP_MATMUL_EXPERTS
                                ? (double)routes.rows * (routes.width / 2) * (double)w->n_out
                                : (double)a.rows * (double)w->n_out;
    const struct backend *backend = call->session->backend;
    double *units = job->counted == 0 ? job->first : job->second;
    units[backend->ops->unit(backend, w->type)] += 2 * products * (double)w->n_in;
}

static bool is_output(const struct session *s, const struct tensor *t)
{
    return str_is(t->name, "output.weight") ||
           (str_is(t->name, "token_embd.weight") && !gguf_tensor_find(s->gguf, "output.weight"));
}

static struct work work_of(const struct session *s, const struct bench_job *job)
{
    const uint64_t state = model_state_read(s->model, s->room.kv_type, (int32_t)job->depth + 1);
    struct work w = {.bytes = (double)job->streams * (double)state};
    for (size_t i = 0; i < gguf_n_tensors(s->gguf); i++) {
        const struct tensor *t = gguf_tensor_at(s->gguf, i);
        if (t->n_dims >= 2 && (is_output(s, t) || str_starts(t->name, STR("blk."))))
            w.bytes += (double)t->bytes * tensor_share(s, t, (double)job->streams);
    }
    for (int i = 0; i < BACKEND_UNITS; i++) {
        w.layers[i] = job->second[i] - job->first[i];
        w.head[i] = job->first[i] - w.layers[i];
    }
    return w;
}

/* ---- The answer ---- */

void session_bench_seconds(struct json_writer *w, const char *key, const double *seconds, int64_t n)
{
    json_key(w, key);
    json_array_begin(w);
    for (int64_t i = 0; i < n; i++)
        json_write_double(w, seconds[i]);
    json_array_end(w);
}

static void result_send(const struct call *call)
{
    const struct bench_job *job = call->data;
    const struct work work = work_of(call->session, job);
    struct buf json;
    struct json_writer w;
    buf_init(&json, MIB);
    json_writer_init(&w, &json);
    json_object_begin(&w);
    session_bench_seconds(&w, "prefill_s", job->prefill, job->n_prefill);
    session_bench_seconds(&w, "decode_s", job->decode, job->n_decode);
    json_member_double(&w, "step_bytes", work.bytes);
    json_member_double(&w, "token_integers", work.layers[UNIT_INTEGERS]);
    json_member_double(&w, "token_halves", work.layers[UNIT_HALVES]);
    json_member_double(&w, "token_floats", work.layers[UNIT_FLOATS]);
    json_member_double(&w, "head_integers", work.head[UNIT_INTEGERS]);
    json_member_double(&w, "head_halves", work.head[UNIT_HALVES]);
    json_member_double(&w, "head_floats", work.head[UNIT_FLOATS]);
    json_object_end(&w);
    session_send_result(call->session, call->id, &json);
    buf_free(&json);
}

static int limits_send(struct session *s, uint32_t id, struct error *err)
{
    struct backend_limits limits;
    struct buf json;
    struct json_writer w;
    int rc = s->backend->ops->limits(s->backend, &limits, err);
    if (rc)
        return rc;
    buf_init(&json, MIB);
    json_writer_init(&w, &json);
    json_object_begin(&w);
    json_member_double(&w, "read", limits.read);
    json_member_double(&w, "read_one", limits.read_one);
    json_member_double(&w, "integers", limits.integers);
    json_member_double(&w, "halves", limits.halves);
    json_member_double(&w, "floats", limits.floats);
    json_member_text(&w, "isa", backend_isa(s->backend));
    json_member_int(&w, "threads", s->n_threads);
    json_object_end(&w);
    session_send_result(s, id, &json);
    buf_free(&json);
    return 0;
}

/* ---- Measuring ---- */

static int32_t token_next(const struct call *call)
{
    struct bench_job *job = call->data;
    return (int32_t)(job->drawn++ * 2654435761u % (uint32_t)model_info(call->session->model)->n_vocab);
}

/* One step: n tokens of slot `first`, or a token each of n slots from there. Adds the time it takes. */
static int step(const struct call *call, int32_t first, int32_t n, bool each, struct error *err)
{
    struct bench_job *job = call->data;
    for (int32_t i = 0; i < n; i++) {
        job->tokens[i] = token_next(call);
        job->slots[i] = each ? first + i : first;
        job->wants[i] = each || i == n - 1;
    }
    const struct model_batch batch = {n, job->tokens, job->slots, job->wants};
    const int64_t begin = clock_mono_ns();
    int rc = model_decode(job->state, &batch, job->logits, err);
    job->seconds += (double)(clock_mono_ns() - begin) / 1e9;
    return rc;
}

static void state_take(struct bench_job *job, int32_t n)
{
    for (int32_t slot = 1; slot <= n; slot++)
        (void)model_state_fork(job->state, 0, slot, (int32_t)job->depth);
    job->at = 0;
    job->seconds = 0;
}

/* All rounds are done, or another one would not be in time. */
static bool is_done(const struct bench_job *job)
{
    if ((job->prompt > 0 && job->n_prefill == 0) || (job->generate > 0 && job->n_decode == 0))
        return false;
    const int64_t rounds = job->generate > 0 ? job->n_decode : job->n_prefill;
    const double last = (job->n_prefill > 0 ? job->prefill[job->n_prefill - 1] : 0) +
                        (job->n_decode > 0 ? job->decode[job->n_decode - 1] : 0);
    const bool between = job->at == 0 && (job->prompt == 0 || job->generate == 0 || !job->generating);
    return rounds == job->repeat || (between && clock_mono_ns() + (int64_t)(last * 1e9) > job->deadline_ns);
}

/* The next batch of the prompt, or the next step. */
static int measure(const struct call *call, struct error *err)
{
    struct bench_job *job = call->data;
    const int64_t total = job->generating ? job->generate : job->prompt;
    if (job->at == 0)
        state_take(job, job->generating ? (int32_t)job->streams : 1);
    const int64_t left = total - job->at;
    const int32_t n =
        job->generating ? (int32_t)job->streams : (int32_t)(left < FIT_BATCH ? left : FIT_BATCH);
    int rc = step(call, 1, n, job->generating, err);
    job->at += job->generating ? 1 : n;
    if (rc || job->at < total)
        return rc;
    if (job->generating)
        job->decode[job->n_decode++] = job->seconds;
    else
        job->prefill[job->n_prefill++] = job->seconds;
    job->at = 0;
    job->generating = job->prompt == 0 || (job->generate > 0 && !job->generating);
    return 0;
}

/* Of one token, then of two, whose products are counted; nothing is measured of them. */
static int count(struct call *call, struct error *err)
{
    struct bench_job *job = call->data;
    const struct program_watch watch = {product_count, call};
    (void)model_state_truncate(job->state, 1, 0);
    model_state_watch(job->state, &watch);
    int rc = step(call, 1, job->counted + 1, false, err);
    model_state_watch(job->state, NULL);
    job->counted++;
    return rc;
}

/* Fills slot 0, then takes unmeasured steps, then measures; a step a turn, so that the gateway is heard. */
static int bench_turn(struct call *call)
{
    struct bench_job *job = call->data;
    struct error err = {0};
    int rc;
    const int64_t left = job->depth - model_state_length(job->state, 0);
    if (left > 0) {
        rc = step(call, 0, (int32_t)(left < FIT_BATCH ? left : FIT_BATCH), false, &err);
    } else if (job->counted < COUNTED) {
        rc = count(call, &err);
    } else {
        rc = measure(call, &err);
    }
    if (rc == 0 && !is_done(job))
        return 1;
    if (rc)
        session_send_error(call->session, call->id, rc, &err);
    else
        result_send(call);
    return 0;
}

/* ---- The question ---- */

static void job_free(struct call *call)
{
    struct bench_job *job = call->data;
    model_state_free(job->state);
    free(job->logits);
    free(job->tokens);
    free(job->slots);
    free(job->wants);
    free(job->prefill);
    free(job->decode);
    free(job);
}

static int job_read(const struct session *s, struct bench_job *job, const json_t *root, struct error *err)
{
    double seconds;
    int rc = json_get_int(root, "depth", 0, 0, LENGTH_MAX, &job->depth, err);
    rc = rc ? rc : json_get_int(root, "streams", 1, 1, STREAMS_MAX, &job->streams, err);
    rc = rc ? rc : json_get_int(root, "prompt", 0, 0, LENGTH_MAX, &job->prompt, err);
    rc = rc ? rc : json_get_int(root, "generate", 0, 0, LENGTH_MAX, &job->generate, err);
    rc = rc ? rc : json_get_int(root, "repeat", 1, 1, REPEAT_MAX, &job->repeat, err);
    rc = rc ? rc : json_get_double(root, "seconds", 60, 0, 1e6, &seconds, err);
    const int64_t longest = job->prompt > job->generate ? job->prompt : job->generate;
    if (rc == 0 && job->depth + longest > s->n_context)
        rc = error_set(err, ERROR_INVALID, "%lld tokens do not fit the context of %d: ask for fewer",
            (long long)(job->depth + longest), (int)s->n_context);
    if (rc == 0 && longest == 0)
        rc = error_set(err, ERROR_INVALID, "there is nothing to measure: ask for a prompt or for tokens");
    if (rc == 0)
        job->deadline_ns = clock_mono_ns() + (int64_t)(seconds * 1e9);
    return rc;
}

static int job_prepare(const struct session *s, struct bench_job *job, struct error *err)
{
    const int64_t longest = job->prompt > job->generate ? job->prompt : job->generate;
    const size_t n = job->streams > FIT_BATCH ? (size_t)job->streams : FIT_BATCH;
    job->generating = job->prompt == 0;
    job->logits = calloc((size_t)job->streams * (size_t)model_info(s->model)->n_vocab, sizeof *job->logits);
    job->tokens = calloc(n, sizeof *job->tokens);
    job->slots = calloc(n, sizeof *job->slots);
    job->wants = calloc(n, sizeof *job->wants);
    job->prefill = calloc((size_t)job->repeat, sizeof *job->prefill);
    job->decode = calloc((size_t)job->repeat, sizeof *job->decode);
    if (!job->logits || !job->tokens || !job->slots || !job->wants || !job->prefill || !job->decode)
        return error_set(err, ERROR_MEMORY, "no memory to measure with: ask for fewer streams");
    const struct model_room room = {.n_slots = (int32_t)job->streams + 1,
        .n_context = (int32_t)(job->depth + (longest > COUNTED ? longest : COUNTED)),
        .kv_type = s->room.kv_type};
    return model_state_create_within(s->model, &room, &job->state, err);
}

static int job_start(struct session *s, uint32_t id, const json_t *root, struct error *err)
{
    struct call *call;
    int rc = call_create(s, id, &call, err);
    if (rc)
        return rc;
    struct bench_job *job = calloc(1, sizeof *job);
    if (!job) {
        call_free(call);
        return error_set(err, ERROR_MEMORY, "no memory for another call: try again later");
    }
    call->data = job;
    call->free_data = job_free;
    rc = job_read(s, job, root, err);
    rc = rc ? rc : job_prepare(s, job, err);
    if (rc)
        call_free(call);
    else
        call->turn = bench_turn;
    return rc;
}

int session_bench(struct session *s, uint32_t id, struct str payload, struct error *err)
{
    json_t *root;
    bool limits;
    int rc = json_read(payload, &root, err);
    if (rc)
        return rc;
    rc = json_get_bool(root, "limits", false, &limits, err);
    if (rc == 0)
        rc = limits                          ? limits_send(s, id, err)
             : json_object_get(root, "copy") ? session_bench_copy(s, id, root, err)
                                             : job_start(s, id, root, err);
    json_decref(root);
    return rc;
}

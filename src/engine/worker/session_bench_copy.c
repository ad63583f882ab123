/* BENCH of an answer that mostly says what was there before, as where a text is edited or quoted: its tokens
 * are drawn once without drafts, then again with most of them expected, in turn.
 *
 *   expected   the tokens of the first run, every `wrong`th one another
 *   "plain_s", "copy_s"   from the first of `copy` tokens to the last
 *
 * That the two answers are the same is checked: a benchmark of something else would be none. */
#include <stdlib.h>

#include "base/clock.h"
#include "engine/worker/fit.h"
#include "engine/worker/sampler.h"
#include "engine/worker/session_bench.h"

enum { REPEAT_MAX = 1000, COPY_MAX = 1 << 20 };

struct copy_job {
    int64_t prompt, copy, wrong, repeat, rounds;
    struct model_state *state;
    struct scheduler *schedulers[2]; /* without drafts, with */
    struct sampler *sampler;
    struct sequence *sequence;
    int32_t *first, n; /* what the first run drew; how many this one has */
    bool drafting, begun, known, differs;
    int64_t from_ns, to_ns, deadline_ns;
    double *seconds[2];
    struct draft_counts counts;
    struct error failure;
};

static int on_started(void *ctx, size_t cached, struct error *err)
{
    (void)ctx;
    (void)cached;
    (void)err;
    return 0;
}

static int on_logits(void *ctx, float *row, int32_t *next, struct error *err)
{
    struct copy_job *job = ctx;
    int rc = sampler_draw(job->sampler, row, next, err);
    if (rc)
        return rc;
    job->to_ns = clock_mono_ns();
    job->from_ns = job->n == 0 ? job->to_ns : job->from_ns;
    if (job->known)
        job->differs = job->differs || job->first[job->n] != *next;
    else
        job->first[job->n] = *next;
    return ++job->n < job->copy;
}

static void on_ended(void *ctx, int rc, const struct error *err)
{
    struct copy_job *job = ctx;
    const struct draft_counts counts = scheduler_drafts(job->sequence);
    job->counts.drafted += counts.drafted;
    job->counts.accepted += counts.accepted;
    job->sequence = NULL;
    if (rc)
        job->failure = *err;
}

static const struct sequence_ops ops = {.started = on_started, .logits = on_logits, .ended = on_ended};

/* Tokens far apart, the same each time. */
static int prompt_fill(struct token_list *tokens, int64_t n, int32_t n_vocab, struct error *err)
{
    int rc = 0;
    for (int64_t i = 0; i < n && rc == 0; i++)
        rc = token_list_append(tokens, (int32_t)((uint32_t)(i + 1) * 2654435761u % (uint32_t)n_vocab), err);
    return rc;
}

static int expected_fill(
    const struct copy_job *job, struct token_list *tokens, int32_t n_vocab, struct error *err)
{
    int rc = 0;
    for (int64_t i = 0; i < job->copy && rc == 0; i++) {
        const bool wrong = job->wrong > 0 && i % job->wrong == job->wrong - 1;
        rc = token_list_append(tokens, wrong ? (job->first[i] + 1) % n_vocab : job->first[i], err);
    }
    return rc;
}

static int answer_begin(const struct call *call, struct error *err)
{
    struct copy_job *job = call->data;
    const int32_t n_vocab = model_info(call->session->model)->n_vocab;
    struct chat_sampling sampling;
    struct token_list tokens = {0}, expected = {0};
    chat_sampling_init(&sampling);
    sampling.has_seed = true;
    sampler_free(job->sampler);
    int rc = sampler_create(
        &(struct sampler_setup){&sampling, NULL, n_vocab, call->session->n_context}, &job->sampler, err);
    rc = rc ? rc : prompt_fill(&tokens, job->prompt, n_vocab, err);
    if (rc == 0 && job->drafting)
        rc = expected_fill(job, &expected, n_vocab, err);
    if (rc == 0)
        rc = scheduler_add(job->schedulers[job->drafting], &tokens, &ops, job, &job->sequence, err);
    if (rc == 0)
        scheduler_expect(job->sequence, &expected);
    job->n = 0;
    free(tokens.ids);
    free(expected.ids);
    return rc;
}

static void result_send(const struct call *call)
{
    const struct copy_job *job = call->data;
    struct buf json;
    struct json_writer w;
    buf_init(&json, MIB);
    json_writer_init(&w, &json);
    json_object_begin(&w);
    session_bench_seconds(&w, "plain_s", job->seconds[0], job->rounds);
    session_bench_seconds(&w, "copy_s", job->seconds[1], job->rounds);
    json_member_int(&w, "drafted", job->counts.drafted);
    json_member_int(&w, "drawn", job->counts.accepted);
    json_object_end(&w);
    session_send_result(call->session, call->id, &json);
    buf_free(&json);
}

/* A run has ended: the first one of all is thrown away, for it found the caches cold. */
static int run_end(struct copy_job *job, struct error *err)
{
    if (job->failure.code) {
        *err = job->failure;
        return err->code;
    }
    if (job->differs)
        return error_set(
            err, ERROR_INTERNAL, "drafts have changed an answer: this is a bug, please report it");
    if (job->known) {
        job->seconds[job->drafting][job->rounds] = (double)(job->to_ns - job->from_ns) / 1e9;
        job->rounds += job->drafting;
        job->drafting = !job->drafting;
    }
    job->known = true;
    return 0;
}

/* A step a turn, so that the gateway is heard. */
static int copy_turn(struct call *call)
{
    struct copy_job *job = call->data;
    struct error err = {0};
    int rc = job->sequence ? 0 : answer_begin(call, &err);
    if (rc == 0)
        scheduler_step(job->schedulers[job->drafting]);
    if (rc == 0 && !job->sequence)
        rc = run_end(job, &err);
    const bool done = job->rounds == job->repeat || (job->rounds > 0 && clock_mono_ns() > job->deadline_ns);
    if (rc == 0 && (!done || job->drafting || job->sequence))
        return 1;
    if (rc)
        session_send_error(call->session, call->id, rc, &err);
    else
        result_send(call);
    return 0;
}

static void job_free(struct call *call)
{
    struct copy_job *job = call->data;
    scheduler_free(job->schedulers[0]);
    scheduler_free(job->schedulers[1]);
    model_state_free(job->state);
    sampler_free(job->sampler);
    free(job->first);
    free(job->seconds[0]);
    free(job->seconds[1]);
    free(job);
}

static int job_read(const struct session *s, struct copy_job *job, const json_t *root, struct error *err)
{
    double seconds;
    int rc = json_get_int(root, "copy", 2, 2, COPY_MAX, &job->copy, err);
    rc = rc ? rc : json_get_int(root, "prompt", 16, 1, COPY_MAX, &job->prompt, err);
    rc = rc ? rc : json_get_int(root, "wrong", 10, 0, COPY_MAX, &job->wrong, err);
    rc = rc ? rc : json_get_int(root, "repeat", 1, 1, REPEAT_MAX, &job->repeat, err);
    rc = rc ? rc : json_get_double(root, "seconds", 60, 0, 1e6, &seconds, err);
    if (rc == 0 && job->prompt + job->copy > s->n_context)
        rc = error_set(err, ERROR_INVALID, "%lld tokens do not fit the context of %d: ask for fewer",
            (long long)(job->prompt + job->copy), (int)s->n_context);
    if (rc == 0)
        job->deadline_ns = clock_mono_ns() + (int64_t)(seconds * 1e9);
    return rc;
}

static int job_prepare(const struct session *s, struct copy_job *job, struct error *err)
{
    const int32_t n_context = (int32_t)(job->prompt + job->copy);
    job->first = calloc((size_t)job->copy, sizeof *job->first);
    job->seconds[0] = calloc((size_t)job->repeat, sizeof **job->seconds);
    job->seconds[1] = calloc((size_t)job->repeat, sizeof **job->seconds);
    if (!job->first || !job->seconds[0] || !job->seconds[1])
        return error_set(err, ERROR_MEMORY, "no memory to measure with: ask for fewer tokens");
    const struct model_room room = {.n_slots = 1, .n_context = n_context, .kv_type = s->room.kv_type};
    int rc = model_state_create_within(s->model, &room, &job->state, err);
    for (int i = 0; i < 2 && rc == 0; i++)
        rc = scheduler_create(job->state,
            &(struct scheduler_options){.n_slots = 1,
                .n_context = n_context,
                .n_vocab = model_info(s->model)->n_vocab,
                .n_batch = FIT_BATCH,
                .drafts = i == 1},
            &job->schedulers[i], err);
    return rc;
}

int session_bench_copy(struct session *s, uint32_t id, const json_t *root, struct error *err)
{
    struct call *call;
    struct copy_job *job = calloc(1, sizeof *job);
    if (!job)
        return error_set(err, ERROR_MEMORY, "no memory for another call: try again later");
    int rc = call_create(s, id, &call, err);
    if (rc) {
        free(job);
        return rc;
    }
    call->data = job;
    call->free_data = job_free;
    rc = job_read(s, job, root, err);
    rc = rc ? rc : job_prepare(s, job, err);
    if (rc)
        call_free(call);
    else
        call->turn = copy_turn;
    return rc;
}

/* Many streams in one scheduler: `streams_bench MODEL.gguf [PROMPT [STREAMS [THREADS [KV]]]]`.
 *
 * Tokens a second of one stream without drafts, and of the same with nine tokens in ten expected; where a
 * layer of the model's own drafts, of prompt and answer without it and with it; of 1, 2, 4
 * ... STREAMS streams together; the gaps between a stream's tokens alone and while a prompt of PROMPT tokens
 * is read beside it; how soon the same prompt begins the second time. KV: f32, f16, q8_0, q4_0. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sort.h"
#include "engine/worker/backend.h"
#include "engine/worker/gguf.h"
#include "engine/worker/scheduler.h"

enum { STREAMS_MOST = 64, GAPS_MOST = 12000, WORDS = 24 };

struct stream {
    int32_t n_vocab, wanted, n;
    size_t cached;
    int64_t added_ns, last_ns;
    double gaps[GAPS_MOST]; /* ms, the first to its first token */
    int32_t n_gaps;
    bool ended;
};

static bool by_cpu;

static int64_t now_ns(void)
{
    struct timespec t;
    if (!by_cpu)
        return clock_mono_ns();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int on_started(void *ctx, size_t cached, struct error *err)
{
    struct stream *s = ctx;
    (void)err;
    s->cached = cached;
    return 0;
}

static int on_logits(void *ctx, float *row, int32_t *next, struct error *err)
{
    struct stream *s = ctx;
    const int64_t now = now_ns();
    (void)err;
    if (s->n_gaps < GAPS_MOST)
        s->gaps[s->n_gaps++] = (double)(now - s->last_ns) / 1e6;
    s->last_ns = now;
    *next = 0;
    for (int32_t i = 1; i < s->n_vocab; i++)
        *next = row[i] > row[*next] ? i : *next;
    return ++s->n < s->wanted;
}

static void on_ended(void *ctx, int rc, const struct error *err)
{
    struct stream *s = ctx;
    if (rc)
        fprintf(stderr, "streams_bench: %s\n", err->message);
    s->ended = true;
}

static const struct sequence_ops ops = {.started = on_started, .logits = on_logits, .ended = on_ended};

static int add(struct scheduler *s, struct stream *stream, int32_t first, int32_t prompt, int32_t wanted,
    int32_t n_vocab, struct error *err)
{
    struct token_list tokens = {0};
    struct sequence *q;
    int rc = 0;
    *stream = (struct stream){.n_vocab = n_vocab, .wanted = wanted, .last_ns = now_ns()};
    for (int32_t i = 0; i < prompt && rc == 0; i++)
        rc = token_list_append(&tokens, (first * 31 + i * 7919 + 3) % n_vocab, err);
    rc = rc ? rc : scheduler_add(s, &tokens, &ops, stream, &q, err);
    free(tokens.ids);
    if (rc == 0)
        scheduler_owner(q, (uint64_t)first, 0);
    return rc;
}

/* ---- What is expected ---- */

enum { COPIED = 128, COPY_TIMES = 3 };

/* Draws by chance, always the same, so that the text does not go round. */
struct copier {
    int32_t n_vocab, n, said[COPIED];
    bool ended;
    int64_t first_ns, last_ns;
    struct sequence *q;
    struct draft_counts counts;
};

static int copier_logits(void *ctx, float *row, int32_t *next, struct error *err)
{
    struct copier *c = ctx;
    (void)err;
    *next = 0;
    for (int32_t i = 0; i < c->n_vocab; i++) {
        const uint32_t chance = (uint32_t)(i * 7919 + c->n * 104729) * 2654435761u;
        row[i] += (float)(chance >> 8) * 0x1p-23f;
        *next = row[i] > row[*next] ? i : *next;
    }
    c->last_ns = now_ns();
    c->first_ns = c->n == 0 ? c->last_ns : c->first_ns;
    c->said[c->n++] = *next;
    return c->n < COPIED;
}

static void copier_ended(void *ctx, int rc, const struct error *err)
{
    struct copier *c = ctx;
    on_ended(&(struct stream){.n = 0}, rc, err);
    c->counts = scheduler_drafts(c->q);
    c->ended = true;
}

static int copier_started(void *ctx, size_t cached, struct error *err)
{
    (void)ctx;
    return on_started(&(struct stream){.n = 0}, cached, err);
}

static const struct sequence_ops copier_ops = {
    .started = copier_started, .logits = copier_logits, .ended = copier_ended};

static int copy_once(struct scheduler *s, const struct copier *like, struct copier *c, struct error *err)
{
    struct token_list tokens = {0}, expected = {0};
    int rc = 0;
    *c = (struct copier){.n_vocab = like->n_vocab};
    for (int32_t i = 0; i < 16 && rc == 0; i++)
        rc = token_list_append(&tokens, (i * 7919 + 3) % c->n_vocab, err);
    for (int32_t i = 0; i < like->n && rc == 0; i++)
        rc =
            token_list_append(&expected, i % 10 == 9 ? (like->said[i] + 1) % c->n_vocab : like->said[i], err);
    rc = rc ? rc : scheduler_add(s, &tokens, &copier_ops, c, &c->q, err);
    if (rc == 0)
        scheduler_expect(c->q, &expected);
    free(tokens.ids);
    free(expected.ids);
    while (rc == 0 && !c->ended)
        scheduler_step(s);
    return rc;
}

static int copying(struct scheduler *plain, struct scheduler *drafting, int32_t n_vocab, struct error *err)
{
    struct copier none = {.n_vocab = n_vocab}, first, again;
    for (int i = 0; i < COPY_TIMES; i++) {
        int rc = copy_once(plain, &none, &first, err);
        rc = rc ? rc : copy_once(drafting, &first, &again, err);
        if (rc)
            return rc;
        if (memcmp(first.said, again.said, sizeof first.said) != 0)
            return error_set(err, ERROR_INTERNAL, "drafts changed what was said");
        const double before = (double)(first.last_ns - first.first_ns),
                     after = (double)(again.last_ns - again.first_ns);
        printf("  9 of 10 expected: %.1f t/s, %.2f times %.1f without drafts (%lld of %lld drawn)\n",
            (COPIED - 1) * 1e9 / after, before / after, (COPIED - 1) * 1e9 / before,
            (long long)again.counts.accepted, (long long)again.counts.drafted);
        fflush(stdout);
    }
    return 0;
}

/* Of the gaps from `from` on. */
static double quantile(struct stream *s, int32_t from, double share)
{
    const int32_t n = s->n_gaps - from;
    if (n < 1)
        return 0;
    sort_doubles(s->gaps + from, (size_t)n);
    return s->gaps[from + (int32_t)(share * (n - 1) + 0.5)];
}

/* ---- A layer that drafts ---- */

enum { READ = 512 };

/* A prompt and a greedy answer: tokens a second of each. */
static int answer_time(
    struct scheduler *s, int32_t first, int32_t n_vocab, double *reads, double *says, struct error *err)
{
    static struct stream stream;
    double said = 0;
    int rc = add(s, &stream, first, READ, COPIED, n_vocab, err);
    while (rc == 0 && !stream.ended)
        scheduler_step(s);
    for (int32_t i = 1; i < stream.n_gaps; i++)
        said += stream.gaps[i];
    *reads = READ * 1e3 / stream.gaps[0];
    *says = (stream.n_gaps - 1) * 1e3 / said;
    return rc;
}

static int by_itself(struct scheduler *plain, struct gguf *g, struct backend *backend,
    const struct model_room *room, const struct scheduler_options *o, struct error *err)
{
    struct model *m = NULL;
    struct model_state *state = NULL;
    struct scheduler *s = NULL;
    int rc = model_load_with(g, &(struct model_options){.foretells = true}, backend, &m, err);
    const bool drafts = rc == 0 && model_info(m)->foretells;
    rc = rc || !drafts ? rc : model_state_create_within(m, room, &state, err);
    rc = rc || !drafts ? rc : scheduler_create(state, o, &s, err);
    for (int i = 0; i < COPY_TIMES && rc == 0 && drafts; i++) {
        double reads[2], says[2];
        rc = answer_time(plain, i, o->n_vocab, &reads[0], &says[0], err);
        rc = rc ? rc : answer_time(s, i, o->n_vocab, &reads[1], &says[1], err);
        printf("  a layer that drafts: answer %.1f t/s, %.2f times %.1f without it; prompt %.1f t/s, %.3f "
               "times\n",
            says[1], says[1] / says[0], says[0], reads[1], reads[1] / reads[0]);
        fflush(stdout);
    }
    scheduler_free(s);
    model_state_free(state);
    model_free(m);
    return rc;
}

static int together(struct scheduler *s, int32_t n, int32_t n_vocab, struct error *err)
{
    static struct stream streams[STREAMS_MOST];
    int rc = 0;
    for (int32_t i = 0; i < n && rc == 0; i++)
        rc = add(s, &streams[i], 100 + i, 16, WORDS + 1, n_vocab, err);
    if (rc)
        return rc;
    bool begun = false;
    while (!begun) { /* all prompts are read */
        scheduler_step(s);
        begun = true;
        for (int32_t i = 0; i < n; i++)
            begun = begun && (streams[i].n > 0 || streams[i].ended);
    }
    int32_t before = 0, after = 0;
    for (int32_t i = 0; i < n; i++)
        before += streams[i].n;
    const int64_t from = clock_mono_ns();
    const clock_t cpu = clock();
    while (!streams[0].ended)
        scheduler_step(s);
    const double seconds = (double)(clock_mono_ns() - from) / 1e9,
                 busy = (double)(clock() - cpu) / CLOCKS_PER_SEC;
    for (int32_t i = 0; i < n; i++)
        after += streams[i].n;
    while (scheduler_ready(s))
        scheduler_step(s);
    printf("  %2d streams: %.1f t/s (%.1f a second of CPU time)\n", (int)n, (after - before) / seconds,
        (after - before) / busy);
    fflush(stdout);
    return 0;
}

/* Gaps [from, until) of a stream beside a prompt, each as so many times the same stream's alone, as deep: the
 * median of the STRETCH gaps that it is among. */
static void times_show(const struct stream *talk, struct stream *alone, int32_t from, int32_t until)
{
    enum { STRETCH = 64 };
    static struct stream times;
    times.n_gaps = 0;
    for (int32_t at = from; at < until; at += STRETCH) {
        const int32_t end = at + STRETCH < until ? at + STRETCH : until;
        alone->n_gaps = end;
        const double gap = quantile(alone, at, 0.5);
        for (int32_t i = at; i < end; i++)
            times.gaps[times.n_gaps++] = talk->gaps[i] / gap;
    }
    printf("  beside the same stream alone, as deep: median %.2f, 95th %.2f times\n",
        quantile(&times, 0, 0.5), quantile(&times, 0, 0.95));
}

/* The stream has `n` gaps, or the other one has ended. */
static void run_until(struct scheduler *s, const struct stream *stream, int32_t n, const struct stream *other)
{
    while (stream->n_gaps < n && !stream->ended && !other->ended)
        scheduler_step(s);
}

static int beside(struct scheduler *s, int32_t prompt, int32_t n_vocab, struct error *err)
{
    static struct stream talk, reader, alone;
    int rc = add(s, &talk, 1, 16, GAPS_MOST, n_vocab, err);
    if (rc)
        return rc;
    run_until(s, &talk, 60, &reader);
    printf("  gaps alone: median %.1f, 95th %.1f ms\n", quantile(&talk, 1, 0.5), quantile(&talk, 1, 0.95));
    const int32_t from = talk.n_gaps;
    const int64_t begun = now_ns();
    rc = add(s, &reader, 2, prompt, 1, n_vocab, err);
    if (rc)
        return rc;
    run_until(s, &talk, GAPS_MOST, &reader);
    const double seconds = (double)(now_ns() - begun) / 1e9;
    const int32_t until = talk.n_gaps;
    rc = add(s, &reader, 2, prompt, 1, n_vocab, err);
    if (rc)
        return rc;
    run_until(s, &talk, GAPS_MOST, &reader);
    const double again = reader.gaps[0];
    talk.wanted = 0;
    while (!talk.ended)
        scheduler_step(s);
    rc = add(s, &alone, 1, 16, until, n_vocab, err);
    if (rc)
        return rc;
    run_until(s, &alone, until, &(struct stream){.n = 0});
    times_show(&talk, &alone, from, until);
    talk.n_gaps = until;
    printf("  while %d tokens are read (%.1f s, %.1f t/s): median %.1f, 95th %.1f ms, %d tokens deeper in "
           "the end\n",
        (int)prompt, seconds, prompt / seconds, quantile(&talk, from, 0.5), quantile(&talk, from, 0.95),
        (int)(until - from));
    printf("  the same prompt again: %zu of its tokens held, first token after %.1f ms beside the stream\n",
        reader.cached, again);
    return 0;
}

static enum tensor_type type_of(const char *name)
{
    return strcmp(name, "q8_0") == 0   ? TENSOR_Q8_0
           : strcmp(name, "q4_0") == 0 ? TENSOR_Q4_0
           : strcmp(name, "f16") == 0  ? TENSOR_F16
                                       : TENSOR_F32;
}

static int run(
    struct gguf *g, int32_t prompt, int32_t streams, int32_t threads, const char *kv, struct error *err)
{
    struct backend *backend = NULL;
    struct model *m = NULL;
    struct model_state *state = NULL;
    struct scheduler *s = NULL, *drafting = NULL;
    by_cpu = threads == 1;
    int rc = backend_cpu_create(threads, &backend, err);
    rc = rc ? rc : model_load(g, backend, &m, err);
    const struct model_room room = {.n_slots = streams,
        .n_context = prompt + GAPS_MOST,
        .n_pages = (prompt + GAPS_MOST) / 64 * 2 + streams * 2 + 8,
        .kv_type = type_of(kv)};
    rc = rc ? rc : model_state_create_within(m, &room, &state, err);
    struct scheduler_options o = {
        .n_slots = streams, .n_context = room.n_context, .n_batch = 256, .now_ns = now_ns};
    if (rc == 0) {
        o.n_vocab = model_info(m)->n_vocab;
        printf("%s, %d threads, KV %s\n", backend_isa(backend), (int)threads, kv);
        rc = scheduler_create(state, &o, &s, err);
        o.drafts = true;
        rc = rc ? rc : scheduler_create(state, &o, &drafting, err);
    }
    rc = rc ? rc : copying(s, drafting, o.n_vocab, err);
    rc = rc ? rc : by_itself(s, g, backend, &room, &o, err);
    for (int32_t n = 1; n <= streams && rc == 0; n *= 2)
        rc = together(s, n, model_info(m)->n_vocab, err);
    if (rc == 0 && prompt > 0)
        rc = beside(s, prompt, model_info(m)->n_vocab, err);
    scheduler_free(s);
    scheduler_free(drafting);
    model_state_free(state);
    model_free(m);
    backend_free(backend);
    return rc;
}

int main(int argc, char **argv)
{
    struct error err = {0};
    struct gguf *g = NULL;
    const int prompt = argc > 2 ? atoi(argv[2]) : 8192, streams = argc > 3 ? atoi(argv[3]) : 16;
    const int threads = argc > 4 ? atoi(argv[4]) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (argc < 2 || prompt < 0 || prompt > 1 << 17 || streams < 2 || streams > STREAMS_MOST || threads < 1) {
        fprintf(stderr, "usage: streams_bench MODEL.gguf [PROMPT [STREAMS [THREADS [KV]]]]\n");
        return 2;
    }
    int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
    int rc = fd < 0 ? error_set(&err, ERROR_IO, "cannot open %s", argv[1]) : gguf_open(&fd, 1, &g, &err);
    rc = rc ? rc : run(g, prompt, streams, threads, argc > 5 ? argv[5] : "f32", &err);
    if (rc)
        fprintf(stderr, "streams_bench: %s\n", err.message);
    gguf_close(g);
    if (fd >= 0)
        close(fd);
    return rc ? 1 : 0;
}

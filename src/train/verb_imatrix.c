/* weir imatrix: what matters in a model's matrices. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "engine/memory.h"
#include "engine/worker/sandbox_confine.h"
#include "train/files.h"
#include "train/imatrix.h"
#include "train/imatrix_collect.h"
#include "train/options.h"
#include "train/perplexity.h"
#include "train/progress.h"
#include "train/verbs.h"
#include "train/windows.h"
#include "train/watch.h"

#define TEXT_MAX GIB
enum { PIECE = 128, SAVE_MS = 60000 };

static const char help[] =
    "usage: weir imatrix MODEL.gguf --text TEXT.txt -o OUT.gguf [options] [EARLIER...]\n"
    "       weir imatrix -o OUT.gguf EARLIER...\n"
    "\n"
    "Reads a text with a model and writes how much each input of its matrices weighs (the sum of its squares; of a mixture for\n"
    "each expert), so that weir quantize --imatrix OUT.gguf spends its bits where they matter: much in few bits, a little in\n"
    "four and more. llama.cpp reads the file and writes the same. EARLIER are importance matrices of the same model over other\n"
    "texts, which are added; the older .dat form is read, too.\n"
    "\n"
    "  --text FILE       texts like those that the model is for, some 100,000 tokens\n"
    "  -o, --out FILE    the importance matrix; while it is made it is written each minute\n"
    "  --context N       tokens in a window (512)\n"
    "  --chunks N        only the first N windows\n"
    "  --resume          go on behind the windows that OUT already has of this text\n"
    "  --output          also for output.weight, which is written in more bits anyway\n"
    "  --threads N       default: one for each core\n";

struct options {
    const char *model, *text, *out;
    char **earlier;
    int n_earlier;
    int32_t context, threads;
    int64_t chunks; /* 0: all */
    bool resume, output;
};

struct making {
    const struct options *o;
    struct imatrix matrix;
    struct collector collector;
    struct reader reader;
    struct backend *backend;
    struct perplexity_sums sums;
    float *logits; /* [PIECE][n_vocab] */
    int64_t saved_ms;
};

/* ---- Reading the text ---- */

/* All tokens are computed to the end, so that the last layers see all of them, too. */
static int window_read(struct making *m, int64_t window, struct error *err)
{
    const struct reader *r = &m->reader;
    const int32_t n_vocab = model_info(r->model)->n_vocab, context = m->o->context;
    const int32_t *tokens = r->tokens.ids + window * context;
    for (int32_t from = 0, n; from < context; from += n) {
        n = context - from < PIECE ? context - from : PIECE;
        int rc = reader_read(&m->reader, window, from, n, m->logits, err);
        if (rc == 0 && m->collector.failed) {
            *err = m->collector.err;
            rc = m->collector.failed;
        }
        if (rc)
            return rc;
        for (int32_t i = 0; i < n; i++) {
            const int32_t at = from + i;
            if (at < context / 2 || at + 1 >= context)
                continue;
            const float *logits = m->logits + (int64_t)i * n_vocab;
            const struct perplexity_row row = perplexity_row(logits, NULL, n_vocab, tokens[at + 1]);
            if (!isfinite(row.nll))
                return error_set(err, ERROR_INVALID,
                    "%s: what the model says of token %" PRId64
                    " of the text is no number: the file is broken",
                    m->o->model, window * context + at);
            perplexity_add(&m->sums, &row);
        }
    }
    m->matrix.windows++;
    m->matrix.chunks++;
    return 0;
}

static int save_sometimes(struct making *m, struct error *err)
{
    if (clock_mono_ms() - m->saved_ms < SAVE_MS)
        return 0;
    m->saved_ms = clock_mono_ms();
    return imatrix_write(&m->matrix, m->o->out, err);
}

static int text_read(struct making *m, struct error *err)
{
    struct progress_bar bar;
    char text[64] = "";
    const int64_t all = m->reader.n_windows, first = m->matrix.windows;
    const int64_t end = m->o->chunks > 0 && m->o->chunks < all ? m->o->chunks : all;
    int rc = 0;
    progress_bar_init(&bar);
    m->saved_ms = clock_mono_ms();
    for (int64_t w = first; w < end && rc == 0 && !watch_stopped(); w++) {
        rc = window_read(m, w, err);
        rc = rc ? rc : save_sometimes(m, err);
        if (m->sums.count > 0)
            snprintf(text, sizeof text, "perplexity %.4f", exp(m->sums.nll / (double)m->sums.count));
        progress_bar_show(&bar, w + 1 - first, end - first, text);
    }
    progress_bar_end(&bar);
    return rc;
}

static int reader_start(struct making *m, struct error *err)
{
    uint64_t memory = (uint64_t)engine_memory_available();
    struct arena *arena = arena_create(TEXT_MAX + MIB);
    struct str text;
    int rc = file_read(arena, m->o->text, TEXT_MAX, &text, err);
    rc = rc ? rc : backend_cpu_create(m->o->threads, &m->backend, err);
    rc = rc ? rc : reader_open(m->o->model, text, m->o->context, m->backend, &memory, &m->reader, err);
    arena_free(arena);
    if (rc)
        return rc;
    m->logits = malloc((size_t)PIECE * (size_t)model_info(m->reader.model)->n_vocab * sizeof *m->logits);
    if (!m->logits)
        return error_set(err, ERROR_MEMORY, "no memory for the logits of %d tokens", PIECE);
    rc = collector_create(m->reader.gguf, m->o->output, &m->matrix, &m->collector, err);
    if (rc == 0)
        model_state_watch(m->reader.state, &m->collector.watch);
    return rc;
}

/* ---- What was there before ---- */
static int earlier_add(struct making *m, const char *path, struct error *err)
{
    struct imatrix earlier;
    int rc = imatrix_read(path, &earlier, err);
    if (rc)
        return rc;
    if (!m->o->text && m->matrix.chunk_size == 0 && !earlier.legacy)
        m->matrix.chunk_size = earlier.chunk_size;
    rc = imatrix_add(&m->matrix, &earlier, m->o->context, err);
    imatrix_free(&earlier);
    return rc ? error_wrap(err, "%s", path) : 0;
}

/* OUT as it was left, if it is of this text. */
static int resume(struct making *m, struct error *err)
{
    const struct options *o = m->o;
    if (access(o->out, F_OK) != 0 && errno == ENOENT)
        return 0;
    int rc = imatrix_read(o->out, &m->matrix, err);
    if (rc)
        return rc;
    const bool same = m->matrix.n_datasets > 0 && m->matrix.chunk_size == o->context &&
                      m->matrix.windows > 0 && str_is(m->matrix.datasets[m->matrix.n_datasets - 1], o->text);
    return same ? 0
                : error_set(err, ERROR_INVALID,
                      "%s was not begun with this text and --context: leave --resume out to make it anew",
                      o->out);
}

static int matrix_begin(struct making *m, struct error *err)
{
    const struct options *o = m->o;
    int rc = o->resume ? resume(m, err) : 0;
    if (rc || m->matrix.n_entries > 0)
        return rc;
    if (!m->matrix.arena)
        imatrix_init(&m->matrix);
    m->matrix.chunk_size = o->text ? o->context : 0;
    for (int i = 0; i < o->n_earlier && rc == 0; i++)
        rc = earlier_add(m, o->earlier[i], err);
    if (m->matrix.chunk_size == 0)
        m->matrix.chunk_size = o->context;
    return rc == 0 && o->text ? imatrix_dataset(&m->matrix, str_from(o->text), err) : rc;
}

/* ---- The work ---- */
static void say_done(const struct making *m)
{
    struct perplexity_sums sums = m->sums;
    struct perplexity_figures figures;
    size_t partial = 0;
    for (size_t i = 0; i < m->matrix.n_entries; i++) {
        const struct imatrix_entry *e = &m->matrix.entries[i];
        int64_t k = 0;
        while (k < e->n_counts && e->counts[k] > 0)
            k++;
        partial += k < e->n_counts;
    }
    perplexity_figures(&sums, &figures);
    printf("%s: %zu matrices, %" PRId64 " windows of %" PRId64 " tokens", m->o->out, m->matrix.n_entries,
        m->matrix.chunks, m->matrix.chunk_size);
    if (sums.count > 0)
        printf("; perplexity %.4f ± %.4f", figures.perplexity.value, figures.perplexity.error);
    printf("\n");
    if (partial > 0)
        fprintf(stderr, "weir: in %zu matrices there are experts that no token came to: read a longer text\n",
            partial);
}

static int make(struct making *m, struct error *err)
{
    const struct options *o = m->o;
    int rc = file_check_place(o->out, err);
    rc = rc ? rc : file_check_other((const char *const[]){o->model, o->text}, 2, o->out, err);
    rc = rc ? rc : file_check_other((const char *const *)o->earlier, (size_t)o->n_earlier, o->out, err);
    rc = rc ? rc : sandbox_confine((const char *const[]){o->out}, 1, err);
    rc = rc ? rc : matrix_begin(m, err);
    if (o->text) {
        rc = rc ? rc : reader_start(m, err);
        rc = rc ? rc : text_read(m, err);
    }
    if (rc == 0 && m->matrix.n_entries == 0)
        rc = error_set(err, ERROR_INVALID, "nothing was read: %s is not written", o->out);
    rc = rc ? rc : imatrix_write(&m->matrix, o->out, err);
    if (rc == 0)
        say_done(m);
    if (rc == 0 && watch_stopped())
        rc = error_set(err, ERROR_CANCELLED, "stopped: the same command with --resume goes on");
    return rc;
}

static void making_free(struct making *m)
{
    collector_free(&m->collector);
    reader_close(&m->reader);
    backend_free(m->backend);
    imatrix_free(&m->matrix);
    free(m->logits);
}

static int usage_check(struct options *o, int n, char **argv, const char *context, const char *chunks)
{
    double number = WINDOW_DEFAULT, windows = 0;
    if (n < 1 || !o->out)
        return options_fail("imatrix wants a model, --text and --out: see weir imatrix --help");
    if (!options_number("context", context, WINDOW_LEAST, WINDOW_MOST, &number) ||
        !options_number("chunks", chunks, 1, 1e9, &windows))
        return 2;
    const int taken = o->text ? 1 : 0;
    o->model = o->text ? argv[1] : NULL;
    o->earlier = argv + 1 + taken;
    o->n_earlier = n - taken;
    o->context = (int32_t)number;
    o->chunks = (int64_t)windows;
    if (o->resume && !o->text)
        return options_fail("--resume goes on with a --text");
    return 0;
}

int imatrix_verb(int argc, char **argv)
{
    struct options o = {0};
    struct making m = {.o = &o};
    struct error err = {0};
    const char *threads = NULL, *context = NULL, *chunks = NULL;
    const struct option_row rows[] = {{"text", &o.text, NULL}, {"out", &o.out, NULL},
        {"context", &context, NULL}, {"chunks", &chunks, NULL}, {"threads", &threads, NULL},
        {"resume", NULL, &o.resume}, {"output", NULL, &o.output}};
    const int n = options_read(argc, argv, rows, sizeof rows / sizeof *rows, help);
    if (n < 0)
        return n == -2 ? 0 : 2;
    if (usage_check(&o, n, argv, context, chunks) || !options_threads(threads, &o.threads))
        return 2;
    watch_signals();
    const int rc = make(&m, &err);
    making_free(&m);
    return rc ? options_error(&err) : 0;
}

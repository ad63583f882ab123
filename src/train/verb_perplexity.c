/* weir perplexity: how well models foretell a text, and how far quantised ones are from their original. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "engine/memory.h"
#include "engine/worker/sandbox_confine.h"
#include "json/json.h"
#include "train/files.h"
#include "train/options.h"
#include "train/perplexity.h"
#include "train/progress.h"
#include "train/team.h"
#include "train/verbs.h"
#include "train/windows.h"
#include "train/watch.h"

#define TEXT_MAX GIB
enum { FILES_MAX = 64, PIECE = 128 }; /* tokens whose logits are held at once */

static const char help[] =
    "usage: weir perplexity FILE.gguf... --text TEXT.txt [--reference FILE.gguf] [options]\n"
    "\n"
    "Says how well models foretell a text: perplexity with its standard error. With --reference, the file that the others\n"
    "were quantised from, also how far each is from it: Kullback-Leibler divergence over all tokens of the vocabulary, how\n"
    "often both think the same token the likeliest, and how far the text's own tokens became likelier or less likely.\n"
    "Figures are as llama.cpp's perplexity program has them: the text in windows, of each the second half.\n"
    "\n"
    "  --text FILE       what is read; texts like those that the model is for, some 100,000 tokens or more\n"
    "  --reference FILE  the unquantised model, which has the same tokens\n"
    "  --context N       tokens in a window (512)\n"
    "  --chunks N        only the first N windows\n"
    "  --json            the figures as JSON on standard output\n"
    "  --threads N       default: one for each core\n"
    "\n"
    "All files are open at once, so that the reference is computed once for all of them.\n";

struct measuring {
    const char *files[FILES_MAX], *text_path, *reference_path;
    int32_t n_files, context, threads;
    int64_t chunks; /* 0: all */
    bool json;
    /* what runs */
    struct reader readers[FILES_MAX], reference;
    struct perplexity_sums sums[FILES_MAX];
    struct backend *backend;
    struct team team;
    float *logits, *reference_logits; /* [PIECE][n_vocab]; NULL without a reference */
    struct perplexity_row rows[PIECE];
    struct progress_bar bar;
};

/* ---- Opening ---- */

/* Figures over all tokens mean something only where these are the same. */
static int check_same(const struct reader *a, const struct reader *b, struct error *err)
{
    if (model_info(a->model)->n_vocab != model_info(b->model)->n_vocab ||
        a->tokens.count != b->tokens.count || a->bos != b->bos ||
        memcmp(a->tokens.ids, b->tokens.ids, a->tokens.count * sizeof *a->tokens.ids) != 0)
        return error_set(err, ERROR_INVALID,
            "%s and %s read the text as different tokens: the reference must be the file that the other was "
            "made "
            "from",
            a->path, b->path);
    return 0;
}

static int room_create(struct measuring *m, int64_t windows, struct error *err)
{
    int32_t most = 0;
    int rc = 0;
    for (int32_t i = 0; i < m->n_files; i++) {
        const int32_t n_vocab = model_info(m->readers[i].model)->n_vocab;
        most = n_vocab > most ? n_vocab : most;
    }
    m->logits = malloc((size_t)PIECE * (size_t)most * sizeof *m->logits);
    m->reference_logits = m->reference_path ? malloc((size_t)PIECE * (size_t)most * sizeof *m->logits) : NULL;
    if (!m->logits || (m->reference_path && !m->reference_logits))
        rc = error_set(err, ERROR_MEMORY, "no memory for the logits of %d tokens", PIECE);
    for (int32_t i = 0; i < m->n_files && rc == 0; i++)
        rc = perplexity_create(windows * m->context, m->reference_path != NULL, &m->sums[i], err);
    return rc;
}

static int readers_open(struct measuring *m, struct str text, struct error *err)
{
    uint64_t memory = (uint64_t)engine_memory_available();
    const struct train_kernels *kernels;
    int rc = train_kernels_select(NULL, &kernels, err);
    rc = rc ? rc : team_create(kernels, m->threads, &m->team, err);
    rc = rc ? rc : backend_cpu_create(m->threads, &m->backend, err);
    if (rc == 0 && m->reference_path)
        rc = reader_open(m->reference_path, text, m->context, m->backend, &memory, &m->reference, err);
    for (int32_t i = 0; i < m->n_files && rc == 0; i++) {
        rc = reader_open(m->files[i], text, m->context, m->backend, &memory, &m->readers[i], err);
        if (rc == 0 && m->reference_path)
            rc = check_same(&m->readers[i], &m->reference, err);
    }
    return rc;
}

static void measuring_free(struct measuring *m)
{
    for (int32_t i = 0; i < m->n_files; i++) {
        reader_close(&m->readers[i]);
        perplexity_free(&m->sums[i]);
    }
    reader_close(&m->reference);
    backend_free(m->backend);
    team_free(&m->team);
    free(m->logits);
    free(m->reference_logits);
}

/* ---- Reading ---- */
struct judged {
    struct measuring *m;
    const int32_t *next; /* the token that follows each row's */
    int32_t n_vocab;
};

static void row_judge(void *ctx, int64_t row, int32_t thread)
{
    const struct judged *j = ctx;
    const int64_t at = row * j->n_vocab;
    const float *reference = j->m->reference_logits;
    (void)thread;
    j->m->rows[row] =
        perplexity_row(j->m->logits + at, reference ? reference + at : NULL, j->n_vocab, j->next[row]);
}

/* `count` tokens from `from` on in one model, beside what the reference said of them. */
static int piece_judge(
    struct measuring *m, int32_t file, int64_t window, int32_t from, int32_t count, struct error *err)
{
    struct reader *r = &m->readers[file];
    struct judged j = {m, r->tokens.ids + window * m->context + from + 1, model_info(r->model)->n_vocab};
    int rc = reader_read(r, window, from, count, m->logits, err);
    if (rc)
        return rc;
    team_each(&m->team, count, row_judge, &j);
    for (int32_t i = 0; i < count; i++) {
        const struct perplexity_row *row = &m->rows[i];
        if (!isfinite(row->nll) || !isfinite(row->kl))
            return error_set(err, ERROR_INVALID,
                "%s: what the model says of token %" PRId64 " of the text is no number: the file is broken",
                isfinite(row->base_nll) ? r->path : m->reference.path, window * m->context + from + i);
        perplexity_add(&m->sums[file], row);
    }
    return 0;
}

static int window_judge(struct measuring *m, int64_t window, struct error *err)
{
    const int32_t first = m->context / 2, end = m->context - 1; /* after the last token none is known */
    int rc = m->reference_path ? reader_read(&m->reference, window, 0, first, NULL, err) : 0;
    for (int32_t i = 0; i < m->n_files && rc == 0; i++)
        rc = reader_read(&m->readers[i], window, 0, first, NULL, err);
    for (int32_t from = first, n; from < end && rc == 0; from += n) {
        n = end - from < PIECE ? end - from : PIECE;
        if (m->reference_path)
            rc = reader_read(&m->reference, window, from, n, m->reference_logits, err);
        for (int32_t i = 0; i < m->n_files && rc == 0; i++)
            rc = piece_judge(m, i, window, from, n, err);
    }
    return rc;
}

static int64_t windows_of(const struct measuring *m)
{
    int64_t n = m->readers[0].n_windows;
    for (int32_t i = 1; i < m->n_files; i++)
        n = m->readers[i].n_windows < n ? m->readers[i].n_windows : n;
    return m->chunks > 0 && m->chunks < n ? m->chunks : n;
}

static int windows_judge(struct measuring *m, int64_t windows, struct error *err)
{
    int rc = 0;
    progress_bar_init(&m->bar);
    for (int64_t w = 0; w < windows && rc == 0; w++) {
        char text[64];
        rc = watch_stopped() ? error_set(err, ERROR_CANCELLED, "stopped") : window_judge(m, w, err);
        const struct perplexity_sums *s = &m->sums[0];
        snprintf(text, sizeof text, "perplexity %.4f", s->count > 0 ? exp(s->nll / (double)s->count) : 0);
        progress_bar_show(&m->bar, w + 1, windows, text);
    }
    progress_bar_end(&m->bar);
    return rc;
}

/* ---- What is said ---- */
static void estimate_write(struct json_writer *w, const char *key, struct estimate e)
{
    json_key_str(w, str_from(key));
    json_object_begin(w);
    json_member_double(w, "value", e.value);
    json_member_double(w, "error", e.error);
    json_object_end(w);
}

static void figures_write(struct json_writer *w, const struct perplexity_figures *f)
{
    estimate_write(w, "reference_perplexity", f->base);
    estimate_write(w, "perplexity_ratio", f->ratio);
    estimate_write(w, "log_perplexity_ratio", f->log_ratio);
    estimate_write(w, "perplexity_difference", f->difference);
    json_member_double(w, "correlation", f->correlation);
    estimate_write(w, "kl", f->kl);
    json_member_double(w, "kl_median", f->kl_median);
    json_member_double(w, "kl_90", f->kl_90);
    json_member_double(w, "kl_95", f->kl_95);
    json_member_double(w, "kl_99", f->kl_99);
    json_member_double(w, "kl_99_9", f->kl_999);
    json_member_double(w, "kl_max", f->kl_max);
    estimate_write(w, "same_top", f->same_top);
    estimate_write(w, "probability_shift", f->shift);
    estimate_write(w, "probability_shift_rms", f->shift_rms);
}

static double bits_of(const struct reader *r)
{
    const struct model_info *info = model_info(r->model);
    return 8 * (double)info->weight_bytes / (double)info->n_parameters;
}

static void file_write_json(
    const struct measuring *m, struct json_writer *w, int32_t file, const struct perplexity_figures *f)
{
    const struct reader *r = &m->readers[file];
    json_object_begin(w);
    json_member_text(w, "file", r->path);
    json_member_int(w, "bytes", (int64_t)gguf_file_size(r->gguf));
    json_member_double(w, "bits_per_weight", bits_of(r));
    json_member_int(w, "tokens", m->sums[file].count);
    estimate_write(w, "perplexity", f->perplexity);
    if (m->reference_path)
        figures_write(w, f);
    json_object_end(w);
}

static int say_json(
    const struct measuring *m, int64_t windows, const struct perplexity_figures *f, struct error *err)
{
    struct buf json;
    struct json_writer w;
    buf_init(&json, MIB);
    json_writer_init(&w, &json);
    json_object_begin(&w);
    json_member_text(&w, "text", m->text_path);
    json_member_int(&w, "context", m->context);
    json_member_int(&w, "windows", windows);
    if (m->reference_path)
        json_member_text(&w, "reference", m->reference_path);
    json_key(&w, "models");
    json_array_begin(&w);
    for (int32_t i = 0; i < m->n_files; i++)
        file_write_json(m, &w, i, &f[i]);
    json_array_end(&w);
    json_object_end(&w);
    int rc = json.failed ? error_set(err, json.failed, "the figures are too long") : 0;
    if (rc == 0)
        printf(STR_FMT "\n", STR_ARG(buf_str(&json)));
    buf_free(&json);
    return rc;
}

/* The end of a long name says more than its beginning. */
static const char *name_of(const char *path, char name[32])
{
    const char *slash = strrchr(path, '/');
    const char *file = slash ? slash + 1 : path;
    const size_t len = strlen(file);
    snprintf(name, 32, "%s%s", len > 27 ? ".." : "", len > 27 ? file + len - 25 : file);
    log_hide_controls(name, strlen(name));
    return name;
}

static void say_figures(const struct perplexity_figures *f)
{
    printf("  %8.5f ± %-8.5f %9.6f %9.6f %9.6f %9.6f %9.6f  %6.2f ± %-5.2f  %6.2f ± %-5.2f", f->ratio.value,
        f->ratio.error, f->kl.value, f->kl_median, f->kl_90, f->kl_99, f->kl_max, 100 * f->same_top.value,
        100 * f->same_top.error, 100 * f->shift_rms.value, 100 * f->shift_rms.error);
}

static void say_table(const struct measuring *m, int64_t windows, const struct perplexity_figures *f)
{
    char name[32], size[32];
    printf("%-27s %10s %6s  %-21s", "model", "size", "bits", "perplexity");
    if (m->reference_path)
        printf("  %-19s %9s %9s %9s %9s %9s  %-14s  %s", "/ reference's", "KL: mean", "median", "90%", "99%",
            "most", "same top, %", "RMS shift of p, %");
    printf("\n");
    for (int32_t i = 0; i < m->n_files; i++) {
        progress_size((double)gguf_file_size(m->readers[i].gguf), size);
        printf("%-27s %10s %6.2f  %10.4f ± %-8.4f", name_of(m->files[i], name), size, bits_of(&m->readers[i]),
            f[i].perplexity.value, f[i].perplexity.error);
        if (m->reference_path)
            say_figures(&f[i]);
        printf("\n");
    }
    if (m->reference_path)
        printf("reference: %s, perplexity %.4f ± %.4f\n", name_of(m->reference_path, name), f[0].base.value,
            f[0].base.error);
    printf("%" PRId64 " windows of %d tokens, %" PRId64 " tokens judged\n", windows, (int)m->context,
        m->sums[0].count);
}

/* ---- The work ---- */
static int measure(struct measuring *m, struct error *err)
{
    struct perplexity_figures figures[FILES_MAX];
    struct arena *arena = arena_create(TEXT_MAX + MIB);
    struct str text;
    int rc = sandbox_confine(NULL, 0, err);
    rc = rc ? rc : file_read(arena, m->text_path, TEXT_MAX, &text, err);
    rc = rc ? rc : readers_open(m, text, err);
    arena_free(arena);
    const int64_t windows = rc ? 0 : windows_of(m);
    rc = rc ? rc : room_create(m, windows, err);
    rc = rc ? rc : windows_judge(m, windows, err);
    for (int32_t i = 0; i < m->n_files && rc == 0; i++)
        perplexity_figures(&m->sums[i], &figures[i]);
    if (rc == 0 && m->json)
        rc = say_json(m, windows, figures, err);
    else if (rc == 0)
        say_table(m, windows, figures);
    return rc;
}

static int usage_check(struct measuring *m, int n, char **argv, const char *context, const char *chunks)
{
    double number = WINDOW_DEFAULT, windows = 0;
    if (n < 1 || n > FILES_MAX || !m->text_path)
        return options_fail("perplexity wants model files and --text: see weir perplexity --help");
    if (!options_number("context", context, WINDOW_LEAST, WINDOW_MOST, &number) ||
        !options_number("chunks", chunks, 1, 1e9, &windows))
        return 2;
    m->n_files = n;
    for (int i = 0; i < n; i++)
        m->files[i] = argv[1 + i];
    m->context = (int32_t)number;
    m->chunks = (int64_t)windows;
    return 0;
}

int perplexity_verb(int argc, char **argv)
{
    static struct measuring m;
    struct error err = {0};
    const char *threads = NULL, *context = NULL, *chunks = NULL;
    const struct option_row rows[] = {{"text", &m.text_path, NULL}, {"reference", &m.reference_path, NULL},
        {"context", &context, NULL}, {"chunks", &chunks, NULL}, {"threads", &threads, NULL},
        {"json", NULL, &m.json}};
    const int n = options_read(argc, argv, rows, sizeof rows / sizeof *rows, help);
    if (n < 0)
        return n == -2 ? 0 : 2;
    if (usage_check(&m, n, argv, context, chunks) || !options_threads(threads, &m.threads))
        return 2;
    watch_signals();
    const int rc = measure(&m, &err);
    measuring_free(&m);
    return rc ? options_error(&err) : 0;
}

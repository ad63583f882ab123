#include "train/imatrix.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "engine/worker/gguf.h"
#include "train/files.h"

#define FILE_MAX (8 * GIB)
enum { ENTRIES_MAX = LIMIT_MODEL_TENSORS / 2, DATASETS_MAX = 1 << 16, DATASET_BYTES = 4096 };
#define COUNT_MAX 0x1p53
#define NAME_MAX_HERE (TENSOR_NAME_MAX - (sizeof ".in_sum2" - 1))
#define WINDOWS_KEY "weir.imatrix.windows"

void imatrix_init(struct imatrix *m)
{
    *m = (struct imatrix){.arena = arena_create(64 * GIB)};
}

void imatrix_free(struct imatrix *m)
{
    arena_free(m->arena);
    free(m->entries);
    free(m->datasets);
    *m = (struct imatrix){0};
}

/* ---- Entries, sorted by name ---- */
static int name_compare(struct str a, struct str b)
{
    const int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* Where the name is or belongs. */
static size_t place_of(const struct imatrix *m, struct str name)
{
    size_t from = 0, to = m->n_entries;
    while (from < to) {
        const size_t middle = from + (to - from) / 2;
        if (name_compare(m->entries[middle].name, name) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

static bool is_at(const struct imatrix *m, size_t place, struct str name)
{
    return place < m->n_entries && name_compare(m->entries[place].name, name) == 0;
}

struct imatrix_entry *imatrix_find(const struct imatrix *m, struct str name)
{
    const size_t place = place_of(m, name);
    return is_at(m, place, name) ? &m->entries[place] : NULL;
}

static int no_memory(struct error *err)
{
    return error_set(err, ERROR_MEMORY, "no memory for the importance matrix");
}

static int entry_insert(struct imatrix *m, size_t place, const struct imatrix_entry *e, struct error *err)
{
    if (m->n_entries == m->max_entries) {
        const size_t more = m->max_entries ? 2 * m->max_entries : 256;
        void *grown = more <= 2 * (size_t)ENTRIES_MAX ? realloc(m->entries, more * sizeof *m->entries) : NULL;
        if (!grown)
            return no_memory(err);
        m->entries = grown;
        m->max_entries = more;
    }
    memmove(m->entries + place + 1, m->entries + place, (m->n_entries - place) * sizeof *m->entries);
    m->entries[place] = *e;
    m->n_entries++;
    return 0;
}

/* One count for all experts becomes one for each. */
static int counts_spread(struct imatrix *m, struct imatrix_entry *e, int64_t n, struct error *err)
{
    double *counts = arena_try_array(m->arena, double, (size_t)n);
    if (!counts)
        return no_memory(err);
    for (int64_t i = 0; i < n; i++)
        counts[i] = e->counts[0];
    e->counts = counts;
    e->n_counts = n;
    return 0;
}

int imatrix_entry(struct imatrix *m, struct str name, int64_t n_values, int64_t n_counts,
    struct imatrix_entry **out, struct error *err)
{
    const size_t place = place_of(m, name);
    struct imatrix_entry e = {.n_values = n_values, .n_counts = n_counts};
    if (is_at(m, place, name)) {
        *out = &m->entries[place];
        if ((*out)->n_values != n_values ||
            ((*out)->n_counts != n_counts && (*out)->n_counts > 1 && n_counts > 1))
            return error_set(err, ERROR_INVALID,
                "'" STR_FMT "' has %" PRId64 " inputs in one importance matrix and %" PRId64
                " in the other: they are of different models",
                STR_ARG(name), (*out)->n_values, n_values);
        return (*out)->n_counts < n_counts ? counts_spread(m, *out, n_counts, err) : 0;
    }
    if (name.len > NAME_MAX_HERE || !str_utf8_valid(name))
        return error_set(
            err, ERROR_INVALID, "the importance matrix has a matrix whose name is none: it is corrupt");
    e.sums = arena_try_array(m->arena, double, (size_t)n_values);
    e.counts = arena_try_array(m->arena, double, (size_t)n_counts);
    if (!e.sums || !e.counts || arena_try_copy(m->arena, name, &e.name))
        return no_memory(err);
    int rc = entry_insert(m, place, &e, err);
    *out = rc ? NULL : &m->entries[place];
    return rc;
}

int imatrix_dataset(struct imatrix *m, struct str name, struct error *err)
{
    if (m->n_datasets == m->max_datasets) {
        const size_t more = m->max_datasets ? 2 * m->max_datasets : 16;
        void *grown = more <= DATASETS_MAX ? realloc(m->datasets, more * sizeof *m->datasets) : NULL;
        if (!grown)
            return error_set(err, ERROR_LIMIT, "too many data sets in an importance matrix");
        m->datasets = grown;
        m->max_datasets = more;
    }
    if (arena_try_copy(m->arena, str_slice(name, 0, DATASET_BYTES), &m->datasets[m->n_datasets]))
        return no_memory(err);
    m->n_datasets++;
    return 0;
}

int imatrix_add(struct imatrix *to, const struct imatrix *from, int64_t chunk_size, struct error *err)
{
    const double tokens = from->legacy ? (double)chunk_size : 1;
    int rc = 0;
    for (size_t i = 0; i < from->n_entries && rc == 0; i++) {
        const struct imatrix_entry *f = &from->entries[i];
        struct imatrix_entry *e;
        rc = imatrix_entry(to, f->name, f->n_values, f->n_counts, &e, err);
        for (int64_t k = 0; k < f->n_values && rc == 0; k++)
            e->sums[k] += f->sums[k] * tokens;
        for (int64_t k = 0; rc == 0 && k < e->n_counts; k++)
            e->counts[k] += f->counts[f->n_counts > 1 ? k : 0] * tokens;
    }
    for (size_t i = 0; i < from->n_datasets && rc == 0; i++)
        rc = imatrix_dataset(to, from->datasets[i], err);
    to->chunks += from->chunks;
    return rc;
}

void imatrix_means(const struct imatrix *m, const struct imatrix_entry *e, float *out)
{
    const int64_t each = e->n_values / e->n_counts;
    for (int64_t i = 0; i < e->n_values; i++) {
        const float count = (float)e->counts[i / each], sum = (float)e->sums[i];
        out[i] = count > 0 ? sum / count : m->legacy ? sum : 1;
    }
}

/* ---- Reading ---- */

/* Sums of squares and numbers of tokens are neither negative nor endless. */
static int values_take(
    const void *from, int64_t n, double most, double *to, struct str name, struct error *err)
{
    for (int64_t i = 0; i < n; i++) {
        float value;
        memcpy(&value, (const char *)from + (size_t)i * sizeof value, sizeof value);
        if (!(value >= 0 && (double)value <= most))
            return error_set(err, ERROR_INVALID,
                "the importance of '" STR_FMT "' holds %g, which is no sum of squares: make it anew",
                STR_ARG(str_slice(name, 0, TENSOR_NAME_MAX)), (double)value);
        to[i] = (double)value;
    }
    return 0;
}

static int entry_read(struct imatrix *m, const struct gguf *g, const struct tensor *sums, struct error *err)
{
    const struct str name = str_slice(sums->name, 0, sums->name.len - (sizeof ".in_sum2" - 1));
    char full[TENSOR_NAME_MAX + 16];
    struct imatrix_entry *e;
    snprintf(full, sizeof full, STR_FMT ".counts", STR_ARG(name));
    const struct tensor *counts = gguf_tensor_find(g, full);
    const int64_t n_values = sums->shape[0] * tensor_rows(sums),
                  n_counts = counts ? counts->shape[0] * tensor_rows(counts) : 0;
    if (!counts || sums->type != TENSOR_F32 || counts->type != TENSOR_F32 || n_counts < 1 || n_values < 1 ||
        n_values % n_counts != 0 || imatrix_find(m, name))
        return error_set(err, ERROR_INVALID, "the sums and counts of '" STR_FMT "' do not go together",
            STR_ARG(str_slice(name, 0, TENSOR_NAME_MAX)));
    int rc = imatrix_entry(m, name, n_values, n_counts, &e, err);
    rc = rc ? rc : values_take(sums->data, n_values, FLT_MAX, e->sums, name, err);
    rc = rc ? rc : values_take(counts->data, n_counts, COUNT_MAX, e->counts, name, err);
    for (int64_t i = 0; i < n_counts && rc == 0; i++)
        e->counts[i] = round(e->counts[i]);
    return rc;
}

static int pairs_read(struct imatrix *m, const struct gguf *g, struct error *err)
{
    struct gguf_array datasets;
    struct str name;
    uint32_t chunks = 0, size = 0, windows = 0;
    size_t cursor = 0;
    int rc = gguf_get_u32(g, "imatrix.chunk_count", 0, &chunks, err);
    rc = rc ? rc : gguf_get_u32(g, "imatrix.chunk_size", 0, &size, err);
    rc = rc ? rc : gguf_get_u32(g, WINDOWS_KEY, 0, &windows, err);
    rc = rc ? rc : gguf_get_array(g, "imatrix.datasets", GGUF_STRING, &datasets, err);
    while (rc == 0 && gguf_array_next(&datasets, &cursor, &name))
        rc = imatrix_dataset(m, name, err);
    m->chunks = chunks;
    m->chunk_size = size;
    m->windows = windows;
    return rc;
}

static int gguf_read(struct imatrix *m, const struct gguf *g, struct error *err)
{
    int rc = pairs_read(m, g, err);
    for (size_t i = 0; i < gguf_n_tensors(g) && rc == 0; i++) {
        const struct tensor *t = gguf_tensor_at(g, i);
        if (str_ends(t->name, STR(".in_sum2")))
            rc = entry_read(m, g, t, err);
    }
    if (rc == 0 && m->n_entries == 0)
        rc = error_set(err, ERROR_INVALID, "no importance matrix: weir imatrix makes one");
    return rc;
}

/* ---- The older form ---- */
static bool take(struct str *s, void *to, size_t n)
{
    if (s->len < n)
        return false;
    memcpy(to, s->data, n);
    *s = str_slice(*s, n, s->len);
    return true;
}

/* A length and as many bytes. */
static bool take_text(struct str *s, struct str *out)
{
    int32_t n;
    if (!take(s, &n, sizeof n) || n < 0 || (size_t)n > s->len)
        return false;
    *out = str_slice(*s, 0, (size_t)n);
    *s = str_slice(*s, (size_t)n, s->len);
    return true;
}

static int legacy_entry_read(struct imatrix *m, struct str *s, struct error *err)
{
    struct imatrix_entry *e;
    struct str name;
    int32_t chunks, n;
    if (!take_text(s, &name) || !take(s, &chunks, sizeof chunks) || !take(s, &n, sizeof n) || n < 1 ||
        chunks < 0 || (size_t)n > s->len / sizeof(float) || name.len == 0 || imatrix_find(m, name))
        return error_set(err, ERROR_INVALID, "no importance matrix, or one that was cut");
    int rc = imatrix_entry(m, name, n, 1, &e, err);
    rc = rc ? rc : values_take(s->data, n, FLT_MAX, e->sums, name, err);
    if (rc == 0)
        e->counts[0] = chunks;
    *s = str_slice(*s, (size_t)n * sizeof(float), s->len);
    return rc;
}

static int legacy_read(struct imatrix *m, struct str s, struct error *err)
{
    int32_t n, chunks;
    struct str dataset;
    int rc = 0;
    m->legacy = true;
    if (!take(&s, &n, sizeof n) || n < 1 || n > ENTRIES_MAX)
        return error_set(err, ERROR_INVALID, "no importance matrix");
    for (int32_t i = 0; i < n && rc == 0; i++)
        rc = legacy_entry_read(m, &s, err);
    if (rc == 0 && take(&s, &chunks, sizeof chunks)) { /* the oldest files end before */
        m->chunks = chunks > 0 ? chunks : 0;
        if (take_text(&s, &dataset) && dataset.len > 0)
            rc = imatrix_dataset(m, dataset, err);
    }
    return rc;
}

int imatrix_parse(struct str bytes, const char *name, struct imatrix *out, struct error *err)
{
    struct gguf *g;
    int rc;
    imatrix_init(out);
    if (str_starts(bytes, STR("GGUF"))) {
        rc = gguf_open_memory(bytes.data, bytes.len, &g, err);
        if (rc == 0) {
            rc = gguf_read(out, g, err);
            gguf_close(g);
        }
    } else {
        rc = legacy_read(out, bytes, err);
    }
    if (rc) {
        imatrix_free(out);
        return error_wrap(err, "%s", name);
    }
    return 0;
}

int imatrix_read(const char *path, struct imatrix *out, struct error *err)
{
    struct arena *arena = arena_create(FILE_MAX + MIB);
    struct str bytes;
    *out = (struct imatrix){0};
    int rc = file_read(arena, path, FILE_MAX, &bytes, err);
    rc = rc ? rc : imatrix_parse(bytes, path, out, err);
    arena_free(arena);
    return rc;
}

/* ---- Writing ---- */

/* What would be read again as no sum of squares is not written. */
static int sums_check(const struct imatrix *m, struct error *err)
{
    for (size_t i = 0; i < m->n_entries; i++)
        for (int64_t k = 0; k < m->entries[i].n_values; k++)
            if (!(m->entries[i].sums[k] <= (double)FLT_MAX))
                return error_set(err, ERROR_INVALID,
                    "the inputs of '" STR_FMT
                    "' are too large for an importance matrix: nothing is written; the model computes what "
                    "is no number, or the text must be shorter",
                    STR_ARG(m->entries[i].name));
    return 0;
}

static void values_write(const double *from, int64_t n, const struct gguf_writer *g, struct file_writer *f)
{
    static const char zeros[64];
    for (int64_t i = 0; i < n; i++) {
        const float value = (float)from[i];
        file_write(f, &value, sizeof value);
    }
    file_write(f, zeros, gguf_writer_padding(g, (uint64_t)n * sizeof(float)));
}

static int entries_write(void *ctx, const struct gguf_writer *g, struct file_writer *f, struct error *err)
{
    const struct imatrix *m = ctx;
    (void)err;
    for (size_t i = 0; i < m->n_entries && !f->failed; i++) {
        values_write(m->entries[i].sums, m->entries[i].n_values, g, f);
        values_write(m->entries[i].counts, m->entries[i].n_counts, g, f);
    }
    return 0;
}

int imatrix_write(const struct imatrix *m, const char *path, struct error *err)
{
    struct gguf_writer g;
    int rc = sums_check(m, err);
    if (rc)
        return rc;
    gguf_writer_init(&g);
    gguf_write_str(&g, "general.type", STR("imatrix"));
    gguf_write_strs(&g, "imatrix.datasets", m->datasets, m->n_datasets);
    gguf_write_u32(&g, "imatrix.chunk_count", (uint32_t)m->chunks);
    gguf_write_u32(&g, "imatrix.chunk_size", (uint32_t)m->chunk_size);
    gguf_write_u32(&g, WINDOWS_KEY, (uint32_t)m->windows);
    for (size_t i = 0; i < m->n_entries; i++) {
        const struct imatrix_entry *e = &m->entries[i];
        const uint32_t n_dims = e->n_counts > 1 ? 2 : 1;
        char name[TENSOR_NAME_MAX + 16];
        snprintf(name, sizeof name, STR_FMT ".in_sum2", STR_ARG(e->name));
        gguf_write_tensor(
            &g, name, TENSOR_F32, n_dims, (const int64_t[]){e->n_values / e->n_counts, e->n_counts});
        snprintf(name, sizeof name, STR_FMT ".counts", STR_ARG(e->name));
        gguf_write_tensor(&g, name, TENSOR_F32, n_dims, (const int64_t[]){1, e->n_counts});
    }
    rc = file_write_gguf(&g, path, entries_write, (void *)(uintptr_t)m, err);
    gguf_writer_free(&g);
    return rc;
}

#include "govern/meter.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"

enum meter_type { COUNTER, GAUGE, LATENCY, PIECES };

static const struct family {
    enum meter_type type;
    double unit;
    const char *name, *labels, *help;
} families[METER_N_FAMILIES] = {
#define METER_ROW(name, type, unit, family, labels, help) {type, unit, family, labels, help},
    METER_FAMILIES(METER_ROW)
#undef METER_ROW
};

/* In microseconds. Whole answers take from milliseconds (a cache) to minutes (reasoning); their pieces come
 * every few milliseconds to some hundred. */
static const int64_t latency_bounds[METER_BUCKETS] = {1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000,
    500000, 1000000, 2500000, 5000000, 10000000, 30000000, 60000000, 120000000, 300000000, 600000000};
static const int64_t piece_bounds[METER_BUCKETS] = {1000, 2500, 5000, 10000, 15000, 20000, 30000, 40000,
    50000, 75000, 100000, 150000, 200000, 300000, 500000, 1000000, 2500000, 10000000};

enum { TABLE = 2048 };

/* Never removed, and after it was published only its amounts change: readers need no lock. */
struct series {
    struct series *next;
    enum meter_family family;
    int n;
    size_t lengths[METER_LABELS], len; /* as in meter_labels */
    uint64_t hash;
    _Atomic int64_t amount;    /* a counter's, or a histogram's sum */
    _Atomic uint64_t *buckets; /* METER_BUCKETS + 1, each on its own: not cumulative */
    char *text;
};

struct meter {
    _Atomic(struct series *) table[TABLE];
    pthread_mutex_t adding;
    struct series *all[METER_SERIES]; /* in the order they came */
    _Atomic size_t n_series;
    _Atomic int64_t overflow;
};

static bool is_histogram(enum meter_family f)
{
    return families[f].type == LATENCY || families[f].type == PIECES;
}

struct meter *meter_create(void)
{
    struct meter *m = must(calloc(1, sizeof *m));
    pthread_mutex_init(&m->adding, NULL);
    return m;
}

void meter_free(struct meter *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < atomic_load(&m->n_series); i++) {
        free(m->all[i]->text);
        free(m->all[i]->buckets);
        free(m->all[i]);
    }
    pthread_mutex_destroy(&m->adding);
    free(m);
}

/* ---- Finding ---- */

struct meter_labels meter_labels(const struct str *values, int n)
{
    struct meter_labels l;
    l.n = n;
    l.len = 0;
    for (int i = 0; i < METER_LABELS; i++) {
        l.lengths[i] = i < n ? values[i].len : 0;
        if (l.lengths[i] > 0 && l.len + l.lengths[i] <= METER_LABEL_BYTES)
            memcpy(l.text + l.len, values[i].data, values[i].len);
        l.len += l.lengths[i];
    }
    l.hash = l.len <= METER_LABEL_BYTES ? str_hash((struct str){l.text, l.len}) : 0;
    l.hash *= 0x9e3779b97f4a7c15u;
    return l;
}

static size_t slot_of(enum meter_family f, uint64_t hash)
{
    return ((hash >> 32) + (uint64_t)f * 0x9e3779b1u) % TABLE;
}

static struct series *find(struct series *s, enum meter_family f, const struct meter_labels *l)
{
    for (; s; s = s->next)
        if (s->family == f && s->hash == l->hash && s->len == l->len && s->n == l->n &&
            memcmp(s->lengths, l->lengths, sizeof s->lengths) == 0 && memcmp(s->text, l->text, l->len) == 0)
            return s;
    return NULL;
}

static struct series *series_create(enum meter_family f, const struct meter_labels *l)
{
    struct series *s = must(calloc(1, sizeof *s));
    s->family = f;
    s->n = l->n;
    s->hash = l->hash;
    s->len = l->len;
    memcpy(s->lengths, l->lengths, sizeof s->lengths);
    s->text = must(malloc(l->len + 1));
    memcpy(s->text, l->text, l->len);
    if (is_histogram(f))
        s->buckets = must(calloc(METER_BUCKETS + 1, sizeof *s->buckets));
    return s;
}

/* NULL when there is no room for another series. */
static struct series *series_add(struct meter *m, enum meter_family f, const struct meter_labels *l)
{
    size_t slot = slot_of(f, l->hash);
    pthread_mutex_lock(&m->adding);
    struct series *first = atomic_load_explicit(&m->table[slot], memory_order_relaxed);
    struct series *s = find(first, f, l);
    size_t n = atomic_load_explicit(&m->n_series, memory_order_relaxed);
    if (!s && n < METER_SERIES) {
        s = series_create(f, l);
        s->next = first;
        m->all[n] = s;
        atomic_store_explicit(&m->table[slot], s, memory_order_release);
        atomic_store_explicit(&m->n_series, n + 1, memory_order_release);
    }
    pthread_mutex_unlock(&m->adding);
    return s;
}

static struct series *series_get(struct meter *m, enum meter_family f, const struct meter_labels *l)
{
    struct series *s = NULL;
    if (l->len <= METER_LABEL_BYTES)
        s = find(atomic_load_explicit(&m->table[slot_of(f, l->hash)], memory_order_acquire), f, l);
    if (!s && l->len <= METER_LABEL_BYTES)
        s = series_add(m, f, l);
    if (!s)
        atomic_fetch_add_explicit(&m->overflow, 1, memory_order_relaxed);
    return s;
}

/* ---- Counting ---- */

static size_t bucket_of(enum meter_family f, int64_t amount)
{
    const int64_t *bounds = families[f].type == PIECES ? piece_bounds : latency_bounds;
    size_t i = 0;
    while (i < METER_BUCKETS && amount > bounds[i])
        i++;
    return i;
}

void meter_histogram_add(struct meter_histogram *h, enum meter_family family, int64_t amount)
{
    h->buckets[bucket_of(family, amount)]++;
    h->sum += amount;
}

void meter_count(struct meter *m, enum meter_family family, const struct meter_labels *labels, int64_t amount)
{
    struct series *s = series_get(m, family, labels);
    if (s)
        atomic_fetch_add_explicit(&s->amount, amount, memory_order_relaxed);
}

void meter_observe(
    struct meter *m, enum meter_family family, const struct meter_labels *labels, int64_t amount)
{
    struct series *s = series_get(m, family, labels);
    if (!s)
        return;
    atomic_fetch_add_explicit(&s->buckets[bucket_of(family, amount)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->amount, amount, memory_order_relaxed);
}

void meter_observe_all(struct meter *m, enum meter_family family, const struct meter_labels *labels,
    const struct meter_histogram *gathered)
{
    struct series *s = series_get(m, family, labels);
    if (!s)
        return;
    for (int i = 0; i <= METER_BUCKETS; i++)
        if (gathered->buckets[i])
            atomic_fetch_add_explicit(&s->buckets[i], gathered->buckets[i], memory_order_relaxed);
    atomic_fetch_add_explicit(&s->amount, gathered->sum, memory_order_relaxed);
}

/* ---- Writing ---- */

static void head_write(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_appendf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void label_write(struct buf *out, bool first, struct str name, struct str value)
{
    buf_appendf(out, "%s" STR_FMT "=\"", first ? "{" : ",", STR_ARG(name));
    for (size_t k = 0; k < value.len; k++) {
        char c = value.data[k];
        if (c == '\n')
            buf_append_text(out, "\\n");
        else if (c == '"' || c == '\\')
            buf_appendf(out, "\\%c", c);
        else
            buf_append_char(out, c);
    }
    buf_append_char(out, '"');
}

/* One line; `le` NULL: without that label. */
static void line_write(
    struct buf *out, const struct series *s, const char *suffix, const char *le, double value)
{
    struct str names = str_from(families[s->family].labels), name;
    size_t at = 0;
    int n = 0;
    buf_appendf(out, "%s%s", families[s->family].name, suffix);
    for (; n < s->n && str_split(&names, ',', &name); at += s->lengths[n++])
        label_write(out, n == 0, name, (struct str){s->text + at, s->lengths[n]});
    if (le) {
        label_write(out, n == 0, STR("le"), str_from(le));
        n++;
    }
    buf_appendf(out, "%s %.15g\n", n ? "}" : "", value);
}

static void histogram_write(struct buf *out, const struct series *s)
{
    const struct family *f = &families[s->family];
    const int64_t *bounds = f->type == PIECES ? piece_bounds : latency_bounds;
    uint64_t count = 0;
    char le[32] = "+Inf";
    for (int i = 0; i <= METER_BUCKETS; i++) {
        count += atomic_load_explicit(&s->buckets[i], memory_order_relaxed);
        if (i < METER_BUCKETS)
            snprintf(le, sizeof le, "%g", (double)bounds[i] * f->unit);
        else
            snprintf(le, sizeof le, "+Inf");
        line_write(out, s, "_bucket", le, (double)count);
    }
    line_write(out, s, "_sum", NULL, (double)atomic_load(&s->amount) * f->unit);
    line_write(out, s, "_count", NULL, (double)count);
}

static void family_write(struct meter *m, enum meter_family f, size_t n, struct buf *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram", "histogram"};
    bool begun = false;
    for (size_t i = 0; i < n; i++) {
        const struct series *s = m->all[i];
        if (s->family != f)
            continue;
        if (!begun)
            head_write(out, families[f].name, types[families[f].type], families[f].help);
        begun = true;
        if (is_histogram(f))
            histogram_write(out, s);
        else
            line_write(out, s, "", NULL, (double)atomic_load(&s->amount) * families[f].unit);
    }
}

void meter_write(struct meter *m, struct buf *out)
{
    size_t n = atomic_load_explicit(&m->n_series, memory_order_acquire);
    for (int f = 0; f < METER_N_FAMILIES; f++)
        family_write(m, (enum meter_family)f, n, out);
    meter_write_value(out, "weir_meter_overflow_total", "counter",
        "Observations dropped because there were too many series.", NULL, 0,
        (double)atomic_load(&m->overflow));
}

void meter_write_value(struct buf *out, const char *family, const char *type, const char *help,
    const struct meter_label *labels, size_t n_labels, double value)
{
    if (help)
        head_write(out, family, type, help);
    buf_append_text(out, family);
    for (size_t i = 0; i < n_labels; i++)
        label_write(out, i == 0, str_from(labels[i].name), labels[i].value);
    buf_appendf(out, "%s %.17g\n", n_labels ? "}" : "", value);
}

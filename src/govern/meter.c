#include "govern/meter.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"

/* Series are found by their whole text, `family{labels}`, in a chained hash table. */
enum { BUCKETS = 16, TABLE = 1024 };
static const double bounds[BUCKETS] = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120};

struct series {
    struct series *next_in_slot, *next_in_family;
    const struct family *family;
    char *labels; /* `a="b",c="d"` or "" */
    double value; /* counter, or the histogram's sum */
    uint64_t count, buckets[BUCKETS];
};

struct family {
    struct family *next;
    char *name, *help;
    bool histogram;
    struct series *first, **end;
};

struct meter {
    pthread_mutex_t mutex;
    struct family *families, **end;
    struct series *table[TABLE];
    size_t n_series;
    double overflow;
};

struct meter *meter_create(void)
{
    struct meter *m = must(calloc(1, sizeof *m));
    pthread_mutex_init(&m->mutex, NULL);
    m->end = &m->families;
    return m;
}

void meter_free(struct meter *m)
{
    if (!m)
        return;
    for (struct family *f = m->families; f;) {
        struct family *next = f->next;
        for (struct series *s = f->first; s;) {
            struct series *after = s->next_in_family;
            free(s->labels);
            free(s);
            s = after;
        }
        free(f->name);
        free(f->help);
        free(f);
        f = next;
    }
    pthread_mutex_destroy(&m->mutex);
    free(m);
}

static void labels_write(struct buf *b, const struct meter_label *labels, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf_appendf(b, "%s%s=\"", i ? "," : "", labels[i].name);
        for (size_t k = 0; k < labels[i].value.len; k++) {
            char c = labels[i].value.data[k];
            if (c == '\n')
                buf_append_text(b, "\\n");
            else if (c == '"' || c == '\\')
                buf_appendf(b, "\\%c", c);
            else
                buf_append_char(b, c);
        }
        buf_append_char(b, '"');
    }
}

static struct family *family_get(struct meter *m, const char *name, const char *help, bool histogram)
{
    for (struct family *f = m->families; f; f = f->next)
        if (strcmp(f->name, name) == 0)
            return f;
    struct family *f = must(calloc(1, sizeof *f));
    f->name = must(strdup(name));
    f->help = must(strdup(help));
    f->histogram = histogram;
    f->end = &f->first;
    *m->end = f;
    m->end = &f->next;
    return f;
}

/* Under the mutex. NULL when there is no room for another series. */
static struct series *series_get(
    struct meter *m, struct family *f, const struct meter_label *labels, size_t n)
{
    struct buf text;
    buf_init(&text, 4096);
    labels_write(&text, labels, n);
    const char *key = text.data ? text.data : "";
    size_t slot = (str_hash(str_from(f->name)) ^ str_hash(str_from(key))) % TABLE;
    struct series *s = m->table[slot];
    for (; s; s = s->next_in_slot)
        if (s->family == f && strcmp(s->labels, key) == 0)
            break;
    if (!s && m->n_series < METER_SERIES && !text.failed) {
        s = must(calloc(1, sizeof *s));
        s->family = f;
        s->labels = must(strdup(key));
        s->next_in_slot = m->table[slot];
        m->table[slot] = s;
        *f->end = s;
        f->end = &s->next_in_family;
        m->n_series++;
    }
    if (!s)
        m->overflow++;
    buf_free(&text);
    return s;
}

void meter_count(struct meter *m, const char *family, const char *help, const struct meter_label *labels,
    size_t n_labels, double value)
{
    pthread_mutex_lock(&m->mutex);
    struct series *s = series_get(m, family_get(m, family, help, false), labels, n_labels);
    if (s)
        s->value += value;
    pthread_mutex_unlock(&m->mutex);
}

void meter_observe(struct meter *m, const char *family, const char *help, const struct meter_label *labels,
    size_t n_labels, double seconds)
{
    pthread_mutex_lock(&m->mutex);
    struct series *s = series_get(m, family_get(m, family, help, true), labels, n_labels);
    if (s) {
        s->value += seconds;
        s->count++;
        for (int i = 0; i < BUCKETS; i++)
            s->buckets[i] += seconds <= bounds[i];
    }
    pthread_mutex_unlock(&m->mutex);
}

static void family_head(struct buf *out, const char *name, const char *help, const char *type)
{
    buf_appendf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void histogram_write(struct buf *out, const struct family *f, const struct series *s)
{
    const char *comma = s->labels[0] ? "," : "";
    for (int i = 0; i < BUCKETS; i++)
        buf_appendf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", f->name, s->labels, comma, bounds[i],
            (unsigned long long)s->buckets[i]);
    buf_appendf(
        out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", f->name, s->labels, comma, (unsigned long long)s->count);
    buf_appendf(out, "%s_sum{%s} %.15g\n%s_count{%s} %llu\n", f->name, s->labels, s->value, f->name, s->labels,
        (unsigned long long)s->count);
}

void meter_write(struct meter *m, struct buf *out)
{
    pthread_mutex_lock(&m->mutex);
    for (const struct family *f = m->families; f; f = f->next) {
        family_head(out, f->name, f->help, f->histogram ? "histogram" : "counter");
        for (const struct series *s = f->first; s; s = s->next_in_family) {
            if (f->histogram)
                histogram_write(out, f, s);
            else
                buf_appendf(out, "%s{%s} %.17g\n", f->name, s->labels, s->value);
        }
    }
    family_head(out, "weir_meter_overflow_total", "Observations dropped because there were too many series.",
        "counter");
    buf_appendf(out, "weir_meter_overflow_total %.17g\n", m->overflow);
    pthread_mutex_unlock(&m->mutex);
}

void meter_write_gauge(struct buf *out, const char *family, const char *help,
    const struct meter_label *labels, size_t n_labels, double value)
{
    if (help)
        family_head(out, family, help, "gauge");
    buf_appendf(out, "%s{", family);
    labels_write(out, labels, n_labels);
    buf_appendf(out, "} %.17g\n", value);
}

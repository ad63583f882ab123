/* Counters and histograms for /metrics (Prometheus text format 0.0.4). Thread-safe; a family is made by its
 * first use; at most METER_SERIES label sets are kept in all (what is over is counted in
 * weir_meter_overflow_total). */
#ifndef WEIR_GOVERN_METER_H
#define WEIR_GOVERN_METER_H

#include "base/buf.h"
#include "base/str.h"

enum { METER_SERIES = 4096, METER_LABELS = 6 };

struct meter;
struct meter_label {
    const char *name;
    struct str value;
};

struct meter *meter_create(void);
void meter_free(struct meter *m);
/* Adds to a counter. `help` is used when the family is new. */
void meter_count(struct meter *m, const char *family, const char *help, const struct meter_label *labels,
    size_t n_labels, double value);
/* Observes seconds in a histogram with buckets from 1 ms to 120 s. */
void meter_observe(struct meter *m, const char *family, const char *help, const struct meter_label *labels,
    size_t n_labels, double seconds);
/* Appends everything. */
void meter_write(struct meter *m, struct buf *out);
/* One value that is known only when asked (a gauge), written the same way. */
void meter_write_gauge(struct buf *out, const char *family, const char *help,
    const struct meter_label *labels, size_t n_labels, double value);

#endif

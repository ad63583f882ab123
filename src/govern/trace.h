/* Spans as OpenTelemetry's collectors take them (OTLP/HTTP in JSON, opentelemetry-proto 1.x), and W3C's
 * traceparent. Pure. */
#ifndef WEIR_GOVERN_TRACE_H
#define WEIR_GOVERN_TRACE_H

#include "json/json.h"

enum { TRACE_PARENT = 56 }; /* "00-" 32 hex "-" 16 hex "-" 2 hex, and its NUL */

struct trace_context {
    unsigned char id[16];
    uint64_t span; /* the caller's */
    bool sampled;
};
/* False: it is no traceparent (W3C Trace Context 1, section 3.2.2), and there is none then. */
bool trace_parent_read(struct str header, struct trace_context *out);
void trace_parent_write(const struct trace_context *c, char out[TRACE_PARENT]);

enum trace_kind { TRACE_INTERNAL = 1, TRACE_SERVER = 2, TRACE_CLIENT = 3 };
struct trace_span {
    const unsigned char *trace_id; /* 16 bytes */
    uint64_t id, parent;           /* parent 0: none */
    struct str name;
    enum trace_kind kind;
    int64_t start_ns, end_ns; /* since 1970 */
    struct str error;         /* empty: it went well */
};
/* One span: begin, its attributes, end. Texts that are empty and counts below 0, which are
 * not known, are left out. */
void trace_span_begin(struct json_writer *w, const struct trace_span *s);
void trace_text(struct json_writer *w, const char *key, struct str value);
void trace_texts(struct json_writer *w, const char *key, const struct str *values, size_t n);
void trace_int(struct json_writer *w, const char *key, int64_t value);
void trace_count(struct json_writer *w, const char *key, int64_t value);
void trace_double(struct json_writer *w, const char *key, double value);
void trace_span_end(struct json_writer *w, const struct trace_span *s);

/* The request that carries spans, which stand in `spans` with commas between them. */
void trace_export_write(struct str spans, const char *version, struct buf *out);

#endif

#include "govern/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- traceparent ---- */

/* Lower-case only, as the standard has it. */
static bool hex_read(struct str text, unsigned char *out)
{
    unsigned any = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0)
            return false;
        out[i / 2] = (unsigned char)(i % 2 ? out[i / 2] << 4 | digit : digit);
        any |= (unsigned)digit;
    }
    return any != 0;
}

bool trace_parent_read(struct str header, struct trace_context *out)
{
    struct str rest = header, part[4];
    unsigned char span[8], flags, version;
    static const size_t lengths[] = {2, 32, 16, 2};
    for (int i = 0; i < 4; i++)
        if (!str_split(&rest, '-', &part[i]) || part[i].len != lengths[i])
            return false;
    bool later = hex_read(part[0], &version);
    /* Version 00 has four parts; later ones may have more; ff is none. */
    if ((!later && (!str_is(part[0], "00") || header.len != TRACE_PARENT - 1)) || (later && version == 0xff))
        return false;
    if (!hex_read(part[1], out->id) || !hex_read(part[2], span))
        return false;
    if (!hex_read(part[3], &flags) && !str_is(part[3], "00"))
        return false;
    out->span = 0;
    for (int i = 0; i < 8; i++)
        out->span = out->span << 8 | span[i];
    out->sampled = flags & 1;
    return true;
}

static void id_write(const unsigned char *id, char out[33])
{
    for (int i = 0; i < 16; i++)
        snprintf(out + 2 * i, 3, "%02x", id[i]);
}

void trace_parent_write(const struct trace_context *c, char out[TRACE_PARENT])
{
    char id[33];
    id_write(c->id, id);
    snprintf(out, TRACE_PARENT, "00-%s-%016" PRIx64 "-%02x", id, c->span, c->sampled ? 1u : 0u);
}

/* ---- Spans ---- */

static void span_id(struct json_writer *w, const char *key, uint64_t id)
{
    char text[24];
    snprintf(text, sizeof text, "%016" PRIx64, id);
    json_member_text(w, key, text);
}

/* 64-bit integers are strings in protobuf's JSON. */
static void wide(struct json_writer *w, const char *key, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    json_member_text(w, key, text);
}

void trace_span_begin(struct json_writer *w, const struct trace_span *s)
{
    char id[33];
    id_write(s->trace_id, id);
    json_object_begin(w);
    json_member_text(w, "traceId", id);
    span_id(w, "spanId", s->id);
    if (s->parent)
        span_id(w, "parentSpanId", s->parent);
    json_member_str(w, "name", s->name);
    json_member_int(w, "kind", s->kind);
    wide(w, "startTimeUnixNano", s->start_ns);
    wide(w, "endTimeUnixNano", s->end_ns > s->start_ns ? s->end_ns : s->start_ns);
    json_key(w, "attributes");
    json_array_begin(w);
    trace_text(w, "error.type", s->error);
}

static void attribute_begin(struct json_writer *w, const char *key)
{
    json_object_begin(w);
    json_member_text(w, "key", key);
    json_key(w, "value");
    json_object_begin(w);
}

static void attribute_end(struct json_writer *w)
{
    json_object_end(w);
    json_object_end(w);
}

void trace_text(struct json_writer *w, const char *key, struct str value)
{
    if (value.len == 0)
        return;
    attribute_begin(w, key);
    json_member_str(w, "stringValue", value);
    attribute_end(w);
}

void trace_texts(struct json_writer *w, const char *key, const struct str *values, size_t n)
{
    if (n == 0)
        return;
    attribute_begin(w, key);
    json_key(w, "arrayValue");
    json_object_begin(w);
    json_key(w, "values");
    json_array_begin(w);
    for (size_t i = 0; i < n; i++) {
        json_object_begin(w);
        json_member_str(w, "stringValue", values[i]);
        json_object_end(w);
    }
    json_array_end(w);
    json_object_end(w);
    attribute_end(w);
}

void trace_int(struct json_writer *w, const char *key, int64_t value)
{
    attribute_begin(w, key);
    wide(w, "intValue", value);
    attribute_end(w);
}

void trace_count(struct json_writer *w, const char *key, int64_t value)
{
    if (value >= 0)
        trace_int(w, key, value);
}

void trace_double(struct json_writer *w, const char *key, double value)
{
    attribute_begin(w, key);
    json_member_double(w, "doubleValue", value);
    attribute_end(w);
}

void trace_span_end(struct json_writer *w, const struct trace_span *s)
{
    json_array_end(w);
    json_key(w, "status");
    json_object_begin(w);
    if (s->error.len)
        json_member_int(w, "code", 2);
    json_object_end(w);
    json_object_end(w);
}

void trace_export_write(struct str spans, const char *version, struct buf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    buf_append_text(out, "{\"resourceSpans\":[{\"resource\":{\"attributes\":[");
    trace_text(&w, "service.name", STR("weir"));
    trace_text(&w, "service.version", str_from(version));
    buf_append_text(out, "]},\"scopeSpans\":[{\"scope\":{\"name\":\"weir\"},\"spans\":[");
    buf_append_str(out, spans);
    buf_append_text(out, "]}]}]}");
}

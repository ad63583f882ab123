/* JSON over jansson: bounded reading, and a writer that appends to a buffer without building a tree. */
#ifndef WEIR_JSON_JSON_H
#define WEIR_JSON_JSON_H

#include <jansson.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/str.h"

/* Reads one JSON value (RFC 8259) that fills `text`. Refuses nesting over LIMIT_JSON_DEPTH, more than
 * LIMIT_JSON_VALUES values, duplicate keys, invalid UTF-8 and NUL. The error names line and column. The
 * caller owns *out (json_decref). */
int json_read(struct str text, json_t **out, struct error *err) MUST_USE;
/* Of what comes in pieces: is it one value by now? */
bool json_is_whole(struct str text);
/* The same, for what models and their files say: strings may hold NUL ("\u0000"), so they are read by
 * json_str alone. */
int json_read_nul(struct str text, json_t **out, struct error *err) MUST_USE;
/* As json_read; the tree lives as long as the arena. */
int json_read_in(struct arena *a, struct str text, json_t **out, struct error *err) MUST_USE;

/* Gives the arena a tree to drop when it is freed. */
void json_keep(struct arena *a, json_t *tree);

/* Members of an object. A missing or null member gives the fallback; another type is an error naming `key`.
 * Strings point into the tree. */
int json_get_str(const json_t *object, const char *key, struct str *out,
    struct error *err) MUST_USE; /* fallback STR_NONE */
int json_get_bool(
    const json_t *object, const char *key, bool fallback, bool *out, struct error *err) MUST_USE;
int json_get_int(const json_t *object, const char *key, int64_t fallback, int64_t least, int64_t most,
    int64_t *out, struct error *err) MUST_USE;
int json_get_double(const json_t *object, const char *key, double fallback, double least, double most,
    double *out, struct error *err) MUST_USE;
struct str json_str(const json_t *string); /* STR_NONE unless it is a string */
/* A member's text; STR_NONE unless it is a string. */
static inline struct str json_text(const json_t *object, const char *key)
{
    return json_str(json_object_get(object, key));
}

/* Writing. Commas and colons are put in by the writer; check `buf->failed` once at the end.
 *   json_object_begin(&w); json_key(&w, "id"); json_write_str(&w, id); json_object_end(&w);           */
struct json_writer {
    struct buf *buf;
    bool comma; /* a value stands before the next one at this level */
};
void json_writer_init(struct json_writer *w, struct buf *buf);
void json_object_begin(struct json_writer *w);
void json_object_end(struct json_writer *w);
void json_array_begin(struct json_writer *w);
void json_array_end(struct json_writer *w);
void json_key_str(struct json_writer *w, struct str key);
void json_key_plain(struct json_writer *w, const char *key, size_t len); /* needs no escapes */
/* A literal of ours stands for itself. */
static inline void json_key(struct json_writer *w, const char *key)
{
    if (__builtin_constant_p(strlen(key)))
        json_key_plain(w, key, strlen(key));
    else
        json_key_str(w, str_from(key));
}
/* Invalid UTF-8 is written as U+FFFD, so that the output is always valid JSON. */
void json_write_str(struct json_writer *w, struct str value);
void json_write_text(struct json_writer *w, const char *value); /* NULL writes null */
void json_write_int(struct json_writer *w, int64_t value);
void json_write_double(
    struct json_writer *w, double value); /* shortest that reads back; NaN and infinity: null */
/* Quicker, and with digits enough that it reads back as the same float. */
void json_write_float(struct json_writer *w, float value);
void json_write_bool(struct json_writer *w, bool value);
void json_write_null(struct json_writer *w);
/* A key and its value. */
static inline void json_member_str(struct json_writer *w, const char *key, struct str value)
{
    json_key(w, key);
    json_write_str(w, value);
}
static inline void json_member_int(struct json_writer *w, const char *key, int64_t value)
{
    json_key(w, key);
    json_write_int(w, value);
}
static inline void json_member_double(struct json_writer *w, const char *key, double value)
{
    json_key(w, key);
    json_write_double(w, value);
}
static inline void json_member_text(struct json_writer *w, const char *key, const char *value)
{
    json_key(w, key);
    json_write_text(w, value);
}
static inline void json_member_bool(struct json_writer *w, const char *key, bool value)
{
    json_key(w, key);
    json_write_bool(w, value);
}
/* Likewise, but nothing where the value is empty, or negative (which is how counts say that they are not
 * known). */
static inline void json_maybe_str(struct json_writer *w, const char *key, struct str value)
{
    if (value.len > 0)
        json_member_str(w, key, value);
}
static inline void json_maybe_int(struct json_writer *w, const char *key, int64_t value)
{
    if (value >= 0)
        json_member_int(w, key, value);
}
static inline void json_maybe_double(struct json_writer *w, const char *key, double value)
{
    if (value >= 0) /* not NaN, either */
        json_member_double(w, key, value);
}
/* A whole tree, keys in the order read. */
void json_write_value(struct json_writer *w, const json_t *value);
/* Text that is JSON already. */
void json_write_raw(struct json_writer *w, struct str json);
/* Members that are JSON already, as in "a":1,"b":2; none: nothing. */
void json_write_raw_members(struct json_writer *w, struct str members);

#endif

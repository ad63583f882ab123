/* What the parts of json_schema share.
 *
 *   json_schema.c          keywords that combine, references, enums
 *   json_schema_object.c   objects and arrays
 *   json_schema_merge.c    allOf: two schemas as one
 *   json_schema_number.c   digits between bounds
 *   json_schema_string.c   lengths, formats
 *   json_schema_style.c    how values are written
 *   json_schema_pattern.c  regular expressions */
#ifndef WEIR_ENGINE_WORKER_JSON_SCHEMA_INNER_H
#define WEIR_ENGINE_WORKER_JSON_SCHEMA_INNER_H

#include "base/arena.h"
#include "base/limits.h"
#include "base/map.h"
#include "engine/worker/json_schema.h"

enum { SCHEMA_DEPTH_MAX = 128, SCHEMA_RULES_MAX = 1 << 15 };
#define SCHEMA_GRAMMAR_MAX (8 * MIB)

/* How values are written. `quote` and `character` are expressions of GBNF. */
struct schema_style {
    const char *rules; /* that are always there */
    const char *quote; /* around a string */
    const char *character;
    const char *string;   /* the rule of any string */
    const char *words[3]; /* true, false, null */
    bool bare;            /* characters are written as they are, none of them a '<' */
    bool bare_keys;
};

struct json_schema {
    const struct schema_style *style;
    struct buf *out;
    struct arena *arena;
    const json_t *root; /* of the schema under way, for "#" */
    struct map rules;   /* by the address of the schema */
    uint32_t n_rules;
    int depth;
};

/* Does a keyword leave the set of valid documents as it is? */
bool schema_is_note(const char *key);
/* Is the member one that an object must have? */
bool schema_requires(const json_t *schema, const char *key);
/* Each appends an expression. */
int schema_write(struct json_schema *s, const json_t *schema, struct buf *out, struct error *err) MUST_USE;
int schema_object_write(
    struct json_schema *s, const json_t *schema, struct buf *out, struct error *err) MUST_USE;
int schema_array_write(
    struct json_schema *s, const json_t *schema, struct buf *out, struct error *err) MUST_USE;
int schema_number_write(const json_t *schema, bool integer, struct buf *out, struct error *err) MUST_USE;
int schema_string_write(
    const struct json_schema *s, const json_t *schema, struct buf *out, struct error *err) MUST_USE;
int schema_pattern_write(
    const struct json_schema *s, struct str pattern, struct buf *out, struct error *err) MUST_USE;
/* "rN" of a schema, its rule written where it is new. */
int schema_reference_write(
    struct json_schema *s, const json_t *schema, struct buf *out, struct error *err) MUST_USE;
/* A rule made by the caller: a number, then its body. */
int schema_rule_new(struct json_schema *s, uint32_t *rule, struct error *err) MUST_USE;
int schema_rule_end(struct json_schema *s, uint32_t rule, const struct buf *body, struct error *err) MUST_USE;
/* A JSON value as it is written. */
void schema_literal_write(const struct json_schema *s, const json_t *value, struct buf *out);
void schema_key_write(const struct json_schema *s, const char *name, struct buf *out);
extern const struct schema_style schema_style_text; /* bare, without quotes */
const struct schema_style *schema_style_of(enum json_schema_style style);
/* What is valid under both; lives in the arena. */
int schema_merge(
    struct json_schema *s, const json_t *a, const json_t *b, const json_t **out, struct error *err) MUST_USE;

#endif

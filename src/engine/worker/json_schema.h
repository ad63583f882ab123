/* JSON Schema (draft 2020-12, and what Pydantic, Zod and OpenAI's strict mode write of older ones) to a
 * grammar in GBNF. What the grammar lets through is valid under the schema; it may let through less (object
 * members come in the order of the schema; no members beside `properties` unless the schema says so; numbers
 * of a bounded length). A keyword that would change the meaning and has no grammar is ERROR_UNSUPPORTED by
 * name. */
#ifndef WEIR_ENGINE_WORKER_JSON_SCHEMA_H
#define WEIR_ENGINE_WORKER_JSON_SCHEMA_H

#include "base/buf.h"
#include "base/error.h"
#include "json/json.h"

struct json_schema;

/* Several schemas may go into one grammar. Rules are appended to `out`, which must outlive the writer; the
 * caller adds `root`. Rules that are always there: value object array string number integer boolean null ws.
 */
enum json_schema_style {
    JSON_SCHEMA_JSON,
    JSON_SCHEMA_PYTHON, /* True, False, None */
    JSON_SCHEMA_QUOTED  /* strings as they are between rules `quote`, which the caller adds; bare keys */
};
struct json_schema *json_schema_create(enum json_schema_style style, struct buf *out);
void json_schema_free(struct json_schema *s); /* NULL is allowed */
/* The schema as rule "r" and *rule. The tree must outlive the writer. */
int json_schema_rule(struct json_schema *s, const json_t *schema, uint32_t *rule, struct error *err) MUST_USE;
/* The same for a part of `root`, where its references lead. */
int json_schema_rule_in(struct json_schema *s, const json_t *root, const json_t *schema, uint32_t *rule,
    struct error *err) MUST_USE;

/* A parameter that a family of models writes as bare text, without quotes: is it nothing but a string? NULL:
 * no. A string that may be something else, too, is written as JSON. */
bool json_schema_is_text(const json_t *root, const json_t *schema);
/* Its expression, as it stands. Uses the rules `text` (what any string may be) and `bare` (a character),
 * which the caller adds. */
int json_schema_text(const json_t *root, const json_t *schema, struct buf *out, struct error *err) MUST_USE;

/* A whole grammar, root included. NULL: any JSON object. */
int json_schema_grammar(const json_t *schema, struct buf *out, struct error *err) MUST_USE;

#endif

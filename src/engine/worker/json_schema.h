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
struct json_schema *json_schema_create(struct buf *out);
void json_schema_free(struct json_schema *s); /* NULL is allowed */
/* The schema as rule "r" and *rule. The tree must outlive the writer. */
int json_schema_rule(struct json_schema *s, const json_t *schema, uint32_t *rule, struct error *err) MUST_USE;

/* A whole grammar, root included. NULL: any JSON object. */
int json_schema_grammar(const json_t *schema, struct buf *out, struct error *err) MUST_USE;

#endif

/* For this room: texts to jansson's trees, without jansson's lexer, which costs 160 instructions a byte. */
#ifndef WEIR_JSON_JSON_PARSE_H
#define WEIR_JSON_JSON_PARSE_H

#include "json/json.h"

/* The tree that jansson would make of it with JSON_REJECT_DUPLICATES | JSON_DECODE_ANY; the caller owns it.
 * NULL for anything that is not plainly valid, deeper than LIMIT_JSON_DEPTH or of more than LIMIT_JSON_VALUES
 * values: why is for json_read to tell. */
json_t *json_parse(struct str text) MUST_USE;

#endif

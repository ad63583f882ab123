/* What the files gemini*.c share. */
#ifndef WEIR_PROVIDER_GEMINI_H
#define WEIR_PROVIDER_GEMINI_H

#include "provider/dialect.h"

/* Writes the members `systemInstruction` and `contents`. */
int provider_gemini_contents(struct json_writer *w, const struct provider_model *m,
    const struct chat_request *r, struct error *err) MUST_USE;
/* A JSON Schema as Gemini's Schema takes it. *out: the caller's (json_decref), NULL where nothing is left to
 * say: the function takes no arguments. `budget`: the steps it may take, less those it took. */
int provider_gemini_schema(const json_t *schema, size_t *budget, json_t **out, struct error *err) MUST_USE;

/* ---- gemini_signature.c; any thread. ---- */
void provider_gemini_signature_keep(struct str id, struct str name, struct str signature);
/* A copy in `a`; STR_NONE: not known, or no more. */
struct str provider_gemini_signature_find(struct arena *a, struct str id, struct str name);

#endif

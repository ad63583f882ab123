/* What those who ask Bedrock share. */
#ifndef WEIR_PROVIDER_BEDROCK_H
#define WEIR_PROVIDER_BEDROCK_H

#include "provider/dialect.h"

/* Refuses parts that Bedrock does not take where they stand. */
int provider_bedrock_check_parts(const struct chat_request *r, struct error *err) MUST_USE;
/* Writes the members `system` and `messages`. */
int provider_bedrock_messages(struct json_writer *w, const struct provider_model *m,
    const struct chat_request *r, struct error *err) MUST_USE;

/* "/model/MODEL/converse", the name escaped. */
struct str provider_bedrock_path(struct arena *a, const struct provider_model *m, const char *operation);
/* Nothing where the provider has a key of Bedrock's own. */
size_t provider_bedrock_sign(struct arena *a, const struct provider *p, const struct egress_request *request,
    struct egress_header *out);

#endif

/* What the files bedrock*.c share. */
#ifndef WEIR_PROVIDER_BEDROCK_H
#define WEIR_PROVIDER_BEDROCK_H

#include "provider/dialect.h"

/* Refuses parts that Bedrock does not take where they stand. */
int provider_bedrock_check_parts(const struct chat_request *r, struct error *err) MUST_USE;
/* Writes the members `system` and `messages`. */
int provider_bedrock_messages(struct json_writer *w, const struct provider_model *m,
    const struct chat_request *r, struct error *err) MUST_USE;

#endif

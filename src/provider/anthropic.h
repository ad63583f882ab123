/* What anthropic.c and anthropic_messages.c share. */
#ifndef WEIR_PROVIDER_ANTHROPIC_H
#define WEIR_PROVIDER_ANTHROPIC_H

#include "provider/dialect.h"

int provider_anthropic_supports(
    const struct provider_model *m, const struct chat_request *r, struct error *err) MUST_USE;
/* Writes the members `system` and `messages`. */
int provider_anthropic_messages(
    struct json_writer *w, const struct chat_request *r, struct error *err) MUST_USE;
/* Passes on the member `cache_control` of a part or tool, if it has one. */
void provider_anthropic_cache_control(struct json_writer *w, const json_t *raw);

#endif

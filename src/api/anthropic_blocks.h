/* What anthropic_in.c and anthropic_blocks.c share: the content blocks of a message. */
#ifndef WEIR_API_ANTHROPIC_BLOCKS_H
#define WEIR_API_ANTHROPIC_BLOCKS_H

#include "chat/chat.h"

/* A string or a list of blocks into the parts of `m`; `r` is told of what only a target of this shape takes.
 */
int api_anthropic_content_read(struct arena *a, const json_t *content, struct chat_message *m,
    struct chat_request *r, struct error *err) MUST_USE;
/* A turn; appends to r->messages, which has room. */
int api_anthropic_user_read(
    struct arena *a, const json_t *content, struct chat_request *r, struct error *err) MUST_USE;
int api_anthropic_assistant_read(
    struct arena *a, const json_t *content, struct chat_request *r, struct error *err) MUST_USE;

#endif

/* Anthropic's request bodies (docs.anthropic.com/en/api/messages) into the common form. */
#ifndef WEIR_API_ANTHROPIC_IN_H
#define WEIR_API_ANTHROPIC_IN_H

#include "chat/chat.h"

/* POST /v1/messages. The request and all it points at live in the arena. ERROR_INVALID names the member.
 *
 *   a turn of the user: [tool_result 1, tool_result 2, text]  -->  tool 1 | tool 2 | user "text"
 *
 * Settings are also kept as they came (`native`), for a target that
 * speaks this shape; what no field says is named in `only_native`. */
int api_anthropic_read(
    struct arena *a, struct str body, struct chat_request **out, struct error *err) MUST_USE;
/* POST /v1/messages/count_tokens: the same without `max_tokens`. */
int api_anthropic_count_read(
    struct arena *a, struct str body, struct chat_request **out, struct error *err) MUST_USE;

#endif

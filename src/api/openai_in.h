/* OpenAI's request bodies (platform.openai.com/docs/api-reference/chat) into the common form. */
#ifndef WEIR_API_OPENAI_IN_H
#define WEIR_API_OPENAI_IN_H

#include "chat/chat.h"

/* POST /v1/chat/completions. The request and all it points at live in the arena. ERROR_INVALID names the
 * parameter; ERROR_LIMIT, ERROR_MEMORY for what is too large. Members without a field are kept as `vendor`.
 */
int api_openai_chat_read(
    struct arena *a, struct str body, struct chat_request **out, struct error *err) MUST_USE;
/* The same from a tree that the arena keeps. */
int api_openai_chat_tree_read(
    struct arena *a, const json_t *root, struct chat_request **out, struct error *err) MUST_USE;
/* POST /v1/completions: `prompt` (a string) is continued as it stands. */
int api_openai_completion_read(
    struct arena *a, struct str body, struct chat_request **out, struct error *err) MUST_USE;

#endif

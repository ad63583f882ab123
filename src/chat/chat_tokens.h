/* Tokens with their log-probabilities as JSON, in OpenAI's shape: the one that providers send, clients get
 * and the worker speaks.
 *
 *   [{"token": "Hi", "logprob": -0.3, "bytes": [72, 105], "top_logprobs": [{"token", "logprob", "bytes"}]}]
 */
#ifndef WEIR_CHAT_CHAT_TOKENS_H
#define WEIR_CHAT_CHAT_TOKENS_H

#include "chat/chat.h"

void chat_token_write(const struct chat_token *t, struct json_writer *w);
/* The list lives in the arena, texts in the tree. ERROR_INVALID for what is no such list. */
int chat_tokens_read(struct arena *a, const json_t *list, const struct chat_token **out, size_t *n,
    struct error *err) MUST_USE;

#endif

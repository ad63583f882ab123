/* A chat_request as JSON for the worker and back.
 *
 *   {"body": {"messages","tools"...},   what the chat template sees, in OpenAI's shape
 *    "prompt": "...",                   instead of body: continued as it stands (raw)
 *    "sampling": {"temperature","top_k","top_p","min_p","repeat_penalty","repeat_last_n","presence_penalty",
 *                 "frequency_penalty","seed"},          unset ones absent
 *    "max_tokens": n, "stop": ["..."]} */
#ifndef WEIR_CHAT_CHAT_CODEC_H
#define WEIR_CHAT_CHAT_CODEC_H

#include "chat/chat.h"

int chat_codec_write(const struct chat_request *r, struct buf *out, struct error *err) MUST_USE;

/* What the worker needs of a request; spans and trees live in the arena. */
struct chat_work {
    const json_t *body; /* NULL: use prompt */
    struct str prompt;
    struct chat_sampling sampling;
    int64_t max_tokens; /* -1: until the context is full */
    struct str *stops;
    size_t n_stops;
};
int chat_codec_read(struct arena *a, struct str payload, struct chat_work *out, struct error *err) MUST_USE;

#endif

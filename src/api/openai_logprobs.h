/* Log-probabilities in OpenAI's two shapes:
 *
 *   chat         {"content": [{"token", "logprob", "bytes", "top_logprobs": [...]}], "refusal": null}
 *   the older    {"tokens": [..], "token_logprobs": [..], "top_logprobs": [{"text": logprob}], "text_offset":
 * [..]} */
#ifndef WEIR_API_OPENAI_LOGPROBS_H
#define WEIR_API_OPENAI_LOGPROBS_H

#include "api/openai_out.h"

void openai_logprobs_init(struct openai_logprobs *l);
void openai_logprobs_free(struct openai_logprobs *l);
/* Those of one event. *characters: of the text before it (Unicode code points), and then of it too. */
int openai_logprobs_append(
    struct openai_logprobs *l, bool completion, const struct chat_event *e, int64_t *characters) MUST_USE;
void openai_logprobs_write(const struct openai_logprobs *l, bool completion, struct json_writer *w);

#endif

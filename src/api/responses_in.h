/* OpenAI's Responses (platform.openai.com/docs/api-reference/responses) into the common form. The words are
 * put into those of chat completions, which openai_in.c reads.
 *
 *   instructions            system                    max_output_tokens   max_completion_tokens
 *   reasoning, message and function_call items that stand together: one message of the assistant
 *   function_call_output    tool                      text.format         response_format               */
#ifndef WEIR_API_RESPONSES_IN_H
#define WEIR_API_RESPONSES_IN_H

#include "chat/chat.h"

/* POST /v1/responses. The request and all it points at live in the arena. ERROR_INVALID and
 * ERROR_UNSUPPORTED name the member; ERROR_LIMIT, ERROR_MEMORY for what is too large. */
int api_responses_read(
    struct arena *a, struct str body, struct chat_request **out, struct error *err) MUST_USE;

/* Every member of a request. `idle`: the JSON that an answer says again where it was not given; NULL: an
 * answer does not say it again. */
struct responses_member {
    const char *name, *idle;
};
extern const struct responses_member responses_members[]; /* a NULL name is last */

/* How encrypted_content begins that holds what a provider wants back with its reasoning: the signature of the
 * text, or data instead of any text. */
#define RESPONSES_SIGNATURE "weir.s."
#define RESPONSES_DATA "weir.d."

#endif

/* From a conversation to the text and tokens that a model continues (inside the session code). */
#ifndef WEIR_ENGINE_WORKER_PROMPT_H
#define WEIR_ENGINE_WORKER_PROMPT_H

#include "chat/chat_codec.h"
#include "engine/worker/session_inner.h"

/* Reads the file's template; what is wrong with it is kept for those who ask for it. */
void prompt_template_load(struct session *s);

/* An OpenAI chat body through the model's template, or the one in its member "template". Its members
 * "bos_token", "eos_token" and "now" (ISO 8601) stand in for the model's tokens and the clock. A model
 * without a template was not taught to converse: the messages' texts follow each other, and it continues the
 * last. */
int prompt_render(struct session *s, const json_t *body, struct buf *out, struct error *err) MUST_USE;
/* The tokens of the rendered body, the next turn opened for the model. */
int prompt_from_chat(
    struct session *s, const json_t *body, struct token_list *out, struct error *err) MUST_USE;
/* The same; where it leaves less than an eighth of the context for the answer the oldest turns are left out, as few
 * as will do. What system messages say and the last turn stay, whether they fit or not. */
int prompt_from_chat_shortened(
    struct session *s, const json_t *body, struct token_list *out, struct error *err) MUST_USE;
/* Text or tokens that are continued as they stand; with a suffix, by the model's own marks for filling in the
 * middle (prefix, suffix, middle): ERROR_UNSUPPORTED names those that it lacks. */
int prompt_from_work(
    struct session *s, const struct chat_work *work, struct token_list *out, struct error *err) MUST_USE;

#endif

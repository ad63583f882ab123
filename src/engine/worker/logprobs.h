/* How likely the model thought each token: natural logarithms of the softmax of its unmodified logits,
 * whatever the sampler made of them.
 *
 *   see (the row, before anything changes it) -> take (what was drawn) -> waiting until its text is shown ->
 * write */
#ifndef WEIR_ENGINE_WORKER_LOGPROBS_H
#define WEIR_ENGINE_WORKER_LOGPROBS_H

#include "engine/worker/tokenizer.h"
#include "json/json.h"

struct logprobs;

/* `top`: alternatives to each, 0..CHAT_TOP_LOGPROBS_MAX. */
int logprobs_create(int32_t top, int32_t n_vocab, const struct tokenizer *t, struct logprobs **out,
    struct error *err) MUST_USE;
void logprobs_free(struct logprobs *l); /* NULL is allowed */
void logprobs_see(struct logprobs *l, const float *row);
/* `at`: where in the answer's bytes its text begins. */
int logprobs_take(struct logprobs *l, int32_t token, uint64_t at, struct error *err) MUST_USE;
size_t logprobs_waiting(const struct logprobs *l);
void logprobs_drop(struct logprobs *l, uint64_t from); /* those whose text begins there or later; 0: all */
void logprobs_write(
    struct logprobs *l, struct json_writer *w); /* the waiting ones, as a list; none is left */

#endif

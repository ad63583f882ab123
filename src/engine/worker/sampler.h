/* From logits to the next token. Order of the chain, as llama.cpp's default: logit bias, penalties, top-k, top-p,
 * min-p, temperature, draw. Temperature 0 is greedy (argmax, ties to the lowest id). */
#ifndef WEIR_ENGINE_WORKER_SAMPLER_H
#define WEIR_ENGINE_WORKER_SAMPLER_H

#include <stdint.h>

#include "base/error.h"
#include "chat/chat.h"

struct sampler;

/* Unset fields of `sampling` take the engine's defaults (chat.h names them). */
int sampler_create(const struct chat_sampling *sampling, int32_t n_vocab, struct sampler **out, struct error *err) MUST_USE;
void sampler_free(struct sampler *s);
/* Tells the penalties of a token that is now in the sequence (prompt or generated). */
void sampler_accept(struct sampler *s, int32_t token);
/* `logits` (n_vocab) may be changed. Logits that are all NaN are ERROR_INTERNAL: the model file is broken. */
int sampler_draw(struct sampler *s, float *logits, int32_t *token, struct error *err) MUST_USE;

#endif

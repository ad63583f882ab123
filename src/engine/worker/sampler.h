/* From logits to the next token, in llama.cpp's order:
 *
 *   logits -> logit bias, end of the answer forbidden -> penalties, DRY           sampler.c, sampler_repeat.c
 *          -> candidates: top-n-sigma, top-k, typical, top-p, min-p, XTC          sampler_filter.c
 *          -> temperature (may follow the entropy) -> draw                        sampler_draw.c
 *
 * Mirostat takes the place of the filters, adaptive-p of the plain draw. Temperature 0 is greedy: the largest
 * logit after the penalties, ties to the lowest id; no filter changes it (XTC is not asked). */
#ifndef WEIR_ENGINE_WORKER_SAMPLER_H
#define WEIR_ENGINE_WORKER_SAMPLER_H

#include <stdint.h>

#include "base/error.h"
#include "chat/chat.h"

struct sampler;
struct tokenizer;

struct sampler_setup {
    const struct chat_sampling *sampling; /* unset fields take the engine's defaults; texts are copied */
    const struct tokenizer *tokenizer;    /* for texts and ends; NULL: there are none */
    int32_t n_vocab, n_context;
};

/* ERROR_INVALID for a bias of a token that is not in the vocabulary. */
int sampler_create(const struct sampler_setup *setup, struct sampler **out, struct error *err) MUST_USE;
void sampler_free(struct sampler *s); /* NULL is allowed */
/* Tells the penalties of a token that is now in the sequence (prompt or generated). */
void sampler_accept(struct sampler *s, int32_t token);
/* `logits` (n_vocab) may be changed. Logits that are all NaN are ERROR_INTERNAL: the model file is broken. */
int sampler_draw(struct sampler *s, float *logits, int32_t *token, struct error *err) MUST_USE;

#endif

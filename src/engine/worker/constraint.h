/* What an answer must follow: a grammar of its own for each call, the vocabulary of the session. */
#ifndef WEIR_ENGINE_WORKER_CONSTRAINT_H
#define WEIR_ENGINE_WORKER_CONSTRAINT_H

#include "chat/chat_codec.h"
#include "engine/worker/grammar.h"
#include "engine/worker/reply.h"
#include "engine/worker/session_inner.h"

/* Zeroed: anything may follow. */
struct constraint {
    struct grammar *grammar;
    struct grammar_matcher *matcher;
};

/* What the answer follows on. */
struct constraint_prompt {
    struct reply_form form;
    bool inside;     /* it ends in open reasoning */
    bool may_reason; /* or the answer may begin with some */
};

/* What the request asks for, a tool call included; nothing where it does not. */
int constraint_begin(struct session *s, const struct chat_work *work, const struct constraint_prompt *prompt,
    struct constraint *out, struct error *err) MUST_USE;
void constraint_end(struct constraint *c);
/* Leaves only tokens that fit. 1: there are some; 0: the answer is complete. */
int constraint_mask(struct constraint *c, float *logits, struct error *err) MUST_USE;
/* The token that was drawn of those. */
int constraint_accept(struct constraint *c, int32_t token, struct error *err) MUST_USE;

#endif

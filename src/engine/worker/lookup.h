/* What comes next, foretold without a model: what followed the same tokens before, in the prompt, in the
 * answer so far, or in a text that the client expects (prompt lookup decoding; matches are found as LZ77
 * does).
 *
 *   tokens   what is expected | NONE | the prompt, what was drawn
 *                                       ... a b c d e ... a b c
 *                                                 ^ next          3 matched: d e ... is foretold
 *   heads    hash of two neighbours -> the last place behind such a pair; before[place]: the one before that
 *
 * How often a token was right is counted by how many before it matched, the latest count most, and also
 * while nobody asks: so it costs nothing to find out that an answer has begun to copy. */
#ifndef WEIR_ENGINE_WORKER_LOOKUP_H
#define WEIR_ENGINE_WORKER_LOOKUP_H

#include "engine/worker/tokenizer.h"

struct lookup;

/* Copies both; `expected` may be NULL. ERROR_MEMORY. */
int lookup_create(const struct token_list *expected, const struct token_list *prompt, struct lookup **out,
    struct error *err) MUST_USE;
void lookup_free(struct lookup *l); /* NULL is allowed */
/* The next token was drawn. Where there is no memory to remember it, nothing is foretold any more. */
void lookup_push(struct lookup *l, int32_t token);
/* At most `most` tokens that are likely to follow; odds[i]: that all up to the i-th are right. */
int32_t lookup_foretell(const struct lookup *l, int32_t most, int32_t *tokens, float *odds);
/* Of what was drawn: how many tokens were foretold from what is expected; at most all of these, however often
 * it was said. */
int64_t lookup_expected(const struct lookup *l);

#endif

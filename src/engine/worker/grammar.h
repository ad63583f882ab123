/* Grammars that an answer must follow, and which tokens they leave.
 *
 *   GBNF text -> rules (trees) -> program -> matcher: sets of (where in the program, stack)
 *
 * GBNF as llama.cpp writes it: `name ::= "text" [a-z] [^a-z] . (a | b) x* x+ x? x{2,5}`, comments from #, and
 * <[id]> for one special token. Rules may call themselves anywhere but at their beginning. Each set of states
 * and where each byte leads from it is remembered (a lazy automaton, as in Cox, "Regular Expression Matching
 * in the Wild", 2010; with stacks), so that most of a vocabulary is tested by looking up a table. */
#ifndef WEIR_ENGINE_WORKER_GRAMMAR_H
#define WEIR_ENGINE_WORKER_GRAMMAR_H

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/str.h"

struct grammar;
struct grammar_vocab;
struct grammar_matcher;

/* The rule `root` is what must be matched. ERROR_INVALID names the line. Immutable once parsed. */
int grammar_parse(struct str gbnf, struct grammar **out, struct error *err) MUST_USE;
/* The same with a rule of another name. */
int grammar_parse_from(struct str gbnf, struct str root, struct grammar **out, struct error *err) MUST_USE;
void grammar_free(struct grammar *g); /* NULL is allowed */
/* Appends a grammar with `prefix` before the name of each rule, so that it can stand beside another. */
void grammar_append_renamed(struct buf *out, struct str gbnf, struct str prefix);
/* Appends `text` as a GBNF literal, in quotes. */
void grammar_literal_append(struct buf *out, struct str text);

/* The vocabulary in byte order, made once a model. `piece` appends a token's bytes: nothing for tokens that
 * are no text. `is_end`: tokens that end an answer. */
struct grammar_vocab_source {
    int32_t n_vocab;
    int (*piece)(const void *ctx, int32_t id, struct buf *out);
    bool (*is_end)(const void *ctx, int32_t id);
    const void *ctx;
};
int grammar_vocab_create(
    const struct grammar_vocab_source *source, struct grammar_vocab **out, struct error *err) MUST_USE;
void grammar_vocab_free(struct grammar_vocab *v); /* NULL is allowed */

/* Follows one answer. Both must outlive it. */
int grammar_matcher_create(const struct grammar *g, const struct grammar_vocab *v,
    struct grammar_matcher **out, struct error *err) MUST_USE;
void grammar_matcher_free(struct grammar_matcher *m); /* NULL is allowed */
/* May the answer end here? */
bool grammar_matcher_complete(const struct grammar_matcher *m);
/* Text that follows: 1 it fits, 0 it does not (nothing has changed then), or an error. */
int grammar_matcher_text(struct grammar_matcher *m, struct str bytes, struct error *err) MUST_USE;
/* A token that was drawn: text where it has some, else the special token itself. Results as above; a token
 * that ends the answer fits where it is complete. */
int grammar_matcher_accept(struct grammar_matcher *m, int32_t id, struct error *err) MUST_USE;
/* Puts minus infinity where a token does not fit. Returns 1; 0 when only the end is left and the vocabulary
 * has no token for it; ERROR_UNSUPPORTED when no token can go on; ERROR_LIMIT when the grammar is too
 * ambiguous to be followed. */
int grammar_matcher_mask(struct grammar_matcher *m, float *logits, struct error *err) MUST_USE;

#endif

/* What the parts of reply_grammar share: reply_grammar.c (the answer as a whole), reply_grammar_call.c (one
 * call of each tool). */
#ifndef WEIR_ENGINE_WORKER_REPLY_GRAMMAR_INNER_H
#define WEIR_ENGINE_WORKER_REPLY_GRAMMAR_INNER_H

#include "engine/worker/json_schema.h"
#include "engine/worker/reply_grammar.h"

/* A marker as the special tokens that are in it, and text. */
void reply_marker_write(const struct reply_ask *ask, const char *marker, struct buf *out);
/* Any text without the marker, whose first character does not come in it again: runs of other characters, and
 * first characters after which it goes on otherwise. Empty: any text. */
void reply_avoid_write(struct str marker, struct buf *out);
/* "weir-call": one call of any tool, or of the one that is asked for. */
int reply_call_rules(const struct reply_ask *ask, struct buf *out, struct error *err) MUST_USE;

#endif

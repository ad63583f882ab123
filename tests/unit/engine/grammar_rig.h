/* A vocabulary without a model: every byte, some longer pieces, an end and a special token. */
#ifndef TESTS_UNIT_ENGINE_GRAMMAR_RIG_H
#define TESTS_UNIT_ENGINE_GRAMMAR_RIG_H

#include "engine/worker/grammar.h"

static const char *const rig_pieces[] = {"{\"", "\":", "\", \"", "\"}", "}", "]", "],", "[[", "true", "false",
    "null", "tru", "12", "007", "-1", "0.", ".5", "e1", "  ", "\n  ", ": ", ", ", "\"a", "a\"", "na", "name",
    "\xC3\xA9", "\xC3", "\xE2\x82", "\xF0\x9F\x98\x80", "\\u00", "\\n", "\\\"", "ab", "abc", "2024-", "-01",
    "T12:", "Z\"", "red", "green", "\"red\"", "{}", "[]", "\"\"", "0", "1,", "d8", "\\ud8", "_", "x", "yes",
    "no", "\"k", "k1", "k2", "k3\"", "hello world"};
enum {
    RIG_PIECES = sizeof rig_pieces / sizeof *rig_pieces,
    RIG_END = 256 + RIG_PIECES,
    RIG_SPECIAL,
    RIG_VOCAB
};

static inline int rig_piece(const void *ctx, int32_t id, struct buf *out)
{
    (void)ctx;
    if (id < 256)
        return buf_append_char(out, (char)id);
    return id < RIG_END ? buf_append_text(out, rig_pieces[id - 256]) : 0;
}

static inline bool rig_is_end(const void *ctx, int32_t id)
{
    (void)ctx;
    return id == RIG_END;
}

static const struct grammar_vocab_source rig_source = {RIG_VOCAB, rig_piece, rig_is_end, NULL};

#endif

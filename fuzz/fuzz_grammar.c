/* A grammar and bytes that it may or may not let through. The input is split at the first NUL. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/worker/grammar.h"

enum { TOKENS = 300 };

static int piece(const void *ctx, int32_t id, struct buf *out)
{
    (void)ctx;
    return id < 256 ? buf_append_char(out, (char)id) : id < 290 ? buf_appendf(out, "%d\"a", id) : 0;
}

static bool is_end(const void *ctx, int32_t id)
{
    (void)ctx;
    return id == 290;
}

static void follow(const struct grammar *g, struct str text)
{
    static struct grammar_vocab *vocab;
    struct grammar_matcher *m;
    struct error err;
    const struct grammar_vocab_source source = {TOKENS, piece, is_end, NULL};
    if (!vocab && grammar_vocab_create(&source, &vocab, &err))
        abort();
    if (grammar_matcher_create(g, vocab, &m, &err))
        return;
    float logits[TOKENS] = {0};
    int rc = 1;
    for (size_t i = 0; i < text.len && i < 64 && rc == 1; i++) {
        rc = grammar_matcher_mask(m, logits, &err);
        if (rc == 1)
            rc = grammar_matcher_text(m, str_slice(text, i, i + 1), &err);
    }
    grammar_matcher_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str all = {(const char *)data, size}, head, rest = all;
    struct grammar *g;
    struct error err;
    if (size > 4096 || !str_split(&rest, '\0', &head))
        return 0;
    if (grammar_parse(head, &g, &err))
        return 0;
    follow(g, rest);
    grammar_free(g);
    return 0;
}

/* Many words looked for at once (Aho and Corasick, 1975), ASCII case ignored: one step per byte of text.
 *
 *   next[state, class of byte] -> state;   word[state]: the longest word ending there;   shorter[word]: the
 * next one
 */
#ifndef WEIR_ROUTER_DETECT_WORDS_H
#define WEIR_ROUTER_DETECT_WORDS_H

#include "base/error.h"
#include "base/str.h"

enum { DETECT_NO_WORD = 0xFFFF };

struct detect_words {
    uint8_t class[256];
    size_t n_classes, n_states, stride, longest;
    uint32_t *next;    /* [row + class] -> row; a state's row is stride * state, plus one where a word ends */
    uint16_t *word;    /* of a state; DETECT_NO_WORD: none ends there */
    uint16_t *shorter; /* of a word: a word that is its proper suffix, or DETECT_NO_WORD */
};

/* Words are lower-case ASCII, all different. */
int detect_words_build(struct detect_words *w, const struct str *words, size_t n, struct error *err) MUST_USE;
/* Reads on from *at to the next byte at which a word ends, and behind it: the longest such word, or
 * DETECT_NO_WORD at the end of the text. *state is 0 at first. */
uint16_t detect_words_next(const struct detect_words *w, struct str text, size_t *at, uint32_t *state);
/* One byte on; the word that ends with it, or DETECT_NO_WORD. */
static inline uint16_t detect_words_step(const struct detect_words *w, char c, uint32_t *state)
{
    *state = w->next[*state + w->class[(unsigned char)c]];
    return *state & 1 ? w->word[*state / w->stride] : (uint16_t)DETECT_NO_WORD;
}
/* The whole text: calls `found` with what detect_words_next would tell, one after the other, until it says
 * false; then false. */
bool detect_words_each(const struct detect_words *w, struct str text,
    bool (*found)(void *ctx, uint16_t word, size_t at), void *ctx);
/* Moves what is read at random to huge pages (base/table.h), where there is memory: for words that live as
 * long as the process. They are not freed. */
void detect_words_settle(struct detect_words *w);
void detect_words_free(struct detect_words *w);

#endif

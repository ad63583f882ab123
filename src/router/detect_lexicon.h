/* Words and phrases the contextual layer knows, and a text cut into words.
 *
 *   data/names.txt, data/cues.txt --fold--> table: hash of a word or of a phrase so far -> kinds
 *   text --one pass--> words (folded hash, capital, digits, what stands behind) --table--> kinds
 *
 * A word of the files that ends in '~' is a stem of STEM_LETTERS letters: every word that begins with it is
 * meant. "(my|our) boss" is two phrases.
 *
 * Folded: lower case, Latin letters without their accents, so that "Müller", "MÜLLER" and "Muller" are one.
 */
#ifndef WEIR_ROUTER_DETECT_LEXICON_H
#define WEIR_ROUTER_DETECT_LEXICON_H

#include "router/detect.h"

/* What a word or phrase says. The names are those of the data files. */
#define DETECT_CUES(X)                                                                                       \
    X(given)                                                                                                 \
    X(surname)                                                                                               \
    X(both)                                                                                                  \
    X(word) /* names */                                                                                      \
    X(title)                                                                                                 \
    X(particle)                                                                                              \
    X(intro)                                                                                                 \
    X(known)                                                                                                 \
    X(fake)                                                                                                  \
    X(org)                                                                                                   \
    X(street)                                                                                                \
    X(road)                                                                                                  \
    X(unit)                                                                                                  \
    X(landmark) X(live) /* places */                                                                         \
        X(kin) X(mine) X(have) X(role) X(dob) X(idword) X(account) X(belief) X(ill) X(clinic) X(health)      \
            X(money) X(fin) X(court) X(legal) X(mark) X(secretive) X(plan) X(love) X(personal) X(access)     \
                X(password) X(pass) X(copula) X(self) X(label) X(stamp) X(privilege) X(topic) X(named)       \
                    X(housed) /* behind an intro, behind a cue of living: set by the scan, in no file */     \
        X(theirs) X(card)     /* at the end: the weights in data/ know the others by their numbers */        \
        X(opens) X(figure) X(tens) X(turn) X(counted) X(earns) X(either) X(shuts) X(spoken) X(sign) X(seed)  \
            X(body) X(first) X(rated) X(bare) X(thing)

enum detect_cue {
#define X(name) CUE_##name,
    DETECT_CUES(X)
#undef X
        DETECT_N_CUES
};
_Static_assert(DETECT_N_CUES <= 64, "the kinds of a word are bits of one number");
#define CUE(name) ((uint64_t)1 << CUE_##name)

enum { STEM_LETTERS = 6, PHRASE_MOST = 8 /* words */ };

enum detect_word_flag {
    WORD_CAPITAL = 1,
    WORD_UPPER = 2,
    WORD_DIGITS = 4,
    WORD_DIGIT = 8, /* all digits; at least one */
    WORD_COLON = 16,
    WORD_COMMA = 32,
    WORD_STOP = 64,
    WORD_LINE = 128,
    WORD_JOINED = 256,     /* '-' or '\'' behind */
    WORD_KNOWN = 512,      /* a phrase may begin with it, */
    WORD_STEM_KNOWN = 1024 /* with its stem */
};

struct detect_word {
    size_t start, end;      /* bytes */
    uint64_t hash, stem;    /* of all, of the first STEM_LETTERS letters (0: it has fewer) */
    uint64_t kinds, begins; /* of the word itself, of all phrases that begin with it */
    unsigned flags, sentence;
    uint32_t head, tail; /* its first and last four letters, folded (0: it has less than STEM_LETTERS) */
};

int detect_lexicon_init(struct error *err) MUST_USE;
/* Reads words at and behind *at, `most` at most; how many. Fewer: the text ends. `sentence` is the last one's
 * number. */
size_t detect_words_read(
    const struct byte_map *m, size_t *at, unsigned *sentence, struct detect_word *out, size_t most);
/* The kinds of the longest phrases that begin at words[i]: calls `found` for each, with the words it spans.
 */
void detect_phrases_at(const struct detect_word *words, size_t n, size_t i,
    void (*found)(void *ctx, size_t from, size_t to, uint64_t kinds), void *ctx);
uint64_t detect_word_hash(struct str word); /* a detect_word's, of its first word */
/* A letter of more than one byte at `at`: its length, what it is folded to, is it a capital; 0 for a sign
 * that ends words. */
size_t detect_letter_fold(struct str text, size_t at, char out[4], size_t *n_out, bool *capital);

#endif

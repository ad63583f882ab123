/* The contextual layer: what no pattern shows. Words and cue phrases (detect_lexicon) are gathered into
 * atoms; names (detect_person) and postal addresses (detect_place) are read off the words; rules put them
 * together.
 *
 *   words --> atoms (cue, words it spans) --> statements: "my * depression", "privileged:", "alarm code ...
 * 7714"
 *        \-> tags, rules --> persons, addresses  \-> what stands anywhere in the text: a person and a record
 *
 * Every rule is a conjunction of things that are there: words added around them take nothing away. A long
 * text is read in pieces that overlap by more than any rule spans. */
#ifndef WEIR_ROUTER_DETECT_CONTEXT_H
#define WEIR_ROUTER_DETECT_CONTEXT_H

#include "router/detect_lexicon.h"

enum { CONTEXT_WORDS = 1024, CONTEXT_OVERLAP = 96, CONTEXT_ATOMS = 8 * CONTEXT_WORDS };

struct detect_atom {
    uint64_t kinds;
    size_t from, to; /* words; `to` is the one behind */
};

struct detect_context {
    struct detect_scan *scan;
    struct detect_word *words; /* up to CONTEXT_WORDS */
    uint8_t *tags;             /* of each word: what the tagger says (detect_tag.h) */
    size_t n_words, owned;     /* what begins at or behind `owned` is the next piece's to report */
    struct detect_atom *atoms; /* up to CONTEXT_ATOMS */
    size_t n_atoms, room_atoms;
    /* Of the whole text so far. */
    uint64_t seen;
    size_t n_persons, n_health, n_beliefs;
    size_t figures, last_figure;     /* words of numbers close together, where the last one stands */
    bool full_person, private;       /* private: the network says that it is about private people */
    struct detect_atom first_health; /* bytes, not words */
};

/* For the network's training: a text's words with their kinds, `room` at most; how many. */
size_t detect_context_words(struct str text, struct detect_word *words, size_t room);
void detect_persons(struct detect_context *c);
void detect_places(struct detect_context *c);

static inline bool detect_word_is(const struct detect_word *w, uint64_t kinds)
{
    return (w->kinds & kinds) != 0;
}

static inline size_t detect_word_length(const struct detect_word *w)
{
    return w->end - w->start;
}

/* A code near what it opens (CUE(opens), CUE(shuts)), a wallet's words behind CUE(seed), a password behind
 * CUE(spoken), all told in words; with that. Its kinds: counted, if it is what anybody counts. */
bool detect_told(const struct detect_context *c, const struct detect_atom *a, struct detect_atom *out);
int detect_spelled_init(struct error *err) MUST_USE; /* behind detect_lexicon_init */
bool detect_seed(const struct detect_context *c, const struct detect_atom *phrase, struct detect_atom *out);
bool detect_spelled(
    const struct detect_context *c, const struct detect_atom *password, struct detect_atom *out);

int detect_wallet_init(struct error *err) MUST_USE; /* behind detect_lexicon_init */
/* The next words of a wallet at or behind word *at, which no phrase announces; moves *at behind them. */
bool detect_wallet(const struct detect_context *c, size_t *at, struct detect_atom *out);

/* Who by a full name, or by a name and what one is to the writer, earns how much, around CUE(earns). */
bool detect_earner(const struct detect_context *c, const struct detect_atom *earns, struct detect_atom *out);
/* A sum of money behind what people do or get with their own, around CUE(earns), too. */
bool detect_sum(const struct detect_context *c, const struct detect_atom *does, struct detect_atom *out);

/* ---- detect_stated.c ---- */
/* A dose behind who takes it; a password before what is asked about it (CUE(rated)) or before the word that
 * says what it is, of the scan's text; is a password's word told with whose it is; may the word be a password without a digit ("ZubrzyceRano!")? */
bool detect_dose(const struct detect_context *c, const struct detect_atom *who, struct detect_atom *out);
bool detect_rated(const struct detect_context *c, const struct detect_atom *rated, struct str *password);
bool detect_named_behind(
    const struct detect_context *c, const struct detect_atom *password, struct str *value);
bool detect_owned(const struct detect_context *c, const struct detect_atom *password);
bool detect_humped(const struct detect_context *c, const struct detect_word *w);
/* "I. Asthma", "i) ...", "type I error": a number of a list or a kind, and nobody. */
bool detect_numeral(const struct detect_context *c, size_t word);
/* "A 45-year-old woman ... her asthma", "Ann ... her wage ... How much ...?": told of nobody, where none of
 * `whose` stands before the word. */
bool detect_of_a_tale(const struct detect_context *c, size_t word, uint64_t whose, bool of_money);
/* "dad", where a sentence begins with it: the writer's own. */
bool detect_bare_kin(const struct detect_context *c, const struct detect_atom *a);

/* The date behind a word for birth; does an encyclopaedia tell it: "(born 1 May 1950) is a ..."? */
bool detect_birth_date(
    const struct detect_context *c, const struct detect_atom *born, struct detect_atom *date);
bool detect_birth_told(
    const struct detect_context *c, const struct detect_atom *born, const struct detect_atom *date);

/* ---- detect_whole.c ---- */
/* Makes names and addresses sure that stand beside each other, or beside what is private. */
void detect_residents(struct detect_context *c);

/* Is a phrase of that kind begun within [from, to)? */
bool detect_atom_in(const struct detect_context *c, uint64_t kinds, size_t from, size_t to);
/* How many of the words [from, to) stand in phrases of that kind, wherever those begin. */
size_t detect_atoms_cover(const struct detect_context *c, uint64_t kinds, size_t from, size_t to);

#endif

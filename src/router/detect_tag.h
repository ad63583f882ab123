/* Which words name a person or are part of a postal address: a linear-chain tagger over the words near
 * capitals, numbers and known names (a structured perceptron, Collins 2002).
 *
 *   words --runs near something--> features of each (itself, its shape, its neighbours, what the lexicon and
 *   the signs between say) --table--> a sum for each tag --Viterbi over the run--> tags
 *
 * It says where names and addresses begin and end, and finds names that no list has. What the rules of
 * detect_person.c and detect_place.c are sure of stays found whatever it says, because words put around a
 * passage may change its mind.
 *
 *   data/tag.weights (fitted by tools/tag_train from train/tag/, little endian)
 *   "WEIRTAGS" | u32 entries | i16 step[8][8] | {u32 id, i8 weight[8]}... ascending */
#ifndef WEIR_ROUTER_DETECT_TAG_H
#define WEIR_ROUTER_DETECT_TAG_H

#include "router/detect_lexicon.h"

enum detect_tag {
    TAG_NONE,
    TAG_PERSON,    /* a name's first word, */
    TAG_PERSON_ON, /* its others */
    TAG_STREET,    /* a street with its number, a box, a number that stands before one: the first word, */
    TAG_STREET_ON,
    TAG_UNIT, /* "Apt. 5", "2. Stock" */
    TAG_TOWN, /* towns, states, countries: part of an address where they stand beside one */
    TAG_CODE, /* a postal code */
    N_TAGS
};

enum { TAG_IDS = 16 /* of one word, at most */, TAG_WEIGHT = 127, TAG_NEVER = -8000 };

struct tag_entry {
    uint32_t id;
    int8_t weight[N_TAGS];
};

struct tag_head {
    char magic[8];
    uint32_t n_entries;
    int16_t step[N_TAGS][N_TAGS]; /* from, to */
};

int detect_tag_init(struct error *err) MUST_USE;
/* Is it such a file? */
bool detect_tag_sound(struct str file);
/* The run of words [*from, *to) to tag that begins at or behind *to; false if there is none. */
bool detect_tag_run(const struct detect_word *words, size_t n, size_t *from, size_t *to);
/* What words[i] is to the tagger: how many ids. */
size_t detect_tag_ids(
    struct str text, const struct detect_word *words, size_t n, size_t i, uint32_t out[TAG_IDS]);
/* A tag for each word; the words have their kinds. */
void detect_tag_look(struct str text, const struct detect_word *words, size_t n, uint8_t *tags);

#endif

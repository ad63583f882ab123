/* What a passage is about: a small network over its words, for statements that no list of phrases foresees.
 *
 *   words --table--> 16 sums over the last GIST_WINDOW words --minus a bias, not below 0--> 7 categories
 *
 * None of its weights is negative: each further word can only raise a sum, so that words put around a passage
 * never hide it, and the same passage in a longer text says at least as much. A category is said where its
 * sum is above 0. Words it does not know (most) cost a look into a small map of bits.
 *
 *   data/gist.weights (fitted by tools/gist_train from train/gist/, little endian)
 *   "WEIRGIST" | u32 entries | f32 bias[16] | f32 out[7][16] | f32 threshold[7] | f32 scale | {u32 id, u8
 * weight[16]}... ascending */
#ifndef WEIR_ROUTER_DETECT_GIST_H
#define WEIR_ROUTER_DETECT_GIST_H

#include "router/detect_lexicon.h"

enum {
    GIST_WINDOW = 24, /* words; fitted with 28, but what takes more than 24 is seldom a statement */
    GIST_HIDDEN = 16,
    GIST_CLASSES = 7, /* the categories, in the order of their bits */
    GIST_IDS = 15,    /* of one word, at most */
    GIST_WEIGHT = 127 /* the largest: a window's sum fits 16 bits */
};

struct gist_entry {
    uint32_t id;
    uint8_t weight[GIST_HIDDEN];
};

struct gist_head {
    char magic[8];
    uint32_t n_entries;
    float bias[GIST_HIDDEN], out[GIST_CLASSES][GIST_HIDDEN], threshold[GIST_CLASSES], scale;
};

int detect_gist_init(struct error *err) MUST_USE;
/* Is it such a file, with no weight that is negative, too large or no number? */
bool detect_gist_sound(struct str file);
/* What words[i] is to the network: itself, its stem, its first and last letters, the pairs with the two words
 * before it and with who was spoken of last, its kinds. How many. */
size_t detect_gist_ids(const struct detect_word *words, size_t i, uint32_t out[GIST_IDS]);
/* Calls `found` with each category that the words say, and the words [from, to) that suffice for it. */
void detect_gist_look(const struct detect_word *words, size_t n,
    void (*found)(void *ctx, enum router_category category, size_t from, size_t to), void *ctx);

#endif

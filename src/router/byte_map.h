/* Where the bytes of each class stand in a text, a bit a byte: what every layer of the judgement reads first,
 * so that 64 bytes are passed over in one step and only those worth a look are looked at.
 *
 *   text     U t a h  :   N 2 \n \xC3 \xA9
 *   word     1 1 1 1  . . 1 1 .  1    1      letters, digits, and what is not ASCII
 *   lower    . 1 1 1  . . . . .  .    .
 *   upper    1 . . .  . . 1 . .  .    .
 *   digit    . . . .  . . . 1 .  .    .
 *   high     . . . .  . . . . .  1    1      not ASCII
 *   sign     . . . .  1 . . . .  .    .      what is printed and is none of these
 *   space    . . . .  . 1 . . .  .    .
 *   control  . . . .  . . . . 1  .    .      below the space */
#ifndef WEIR_ROUTER_BYTE_MAP_H
#define WEIR_ROUTER_BYTE_MAP_H

#include "base/str.h"

enum byte_class {
    BYTE_WORD,
    BYTE_LOWER,
    BYTE_UPPER,
    BYTE_DIGIT,
    BYTE_HIGH,
    BYTE_SIGN,
    BYTE_SPACE,
    BYTE_CONTROL,
    BYTE_CLASSES
};

struct byte_map {
    struct str text;
    size_t n_blocks; /* of 64 bytes each; behind them an empty one */
    uint64_t *bits;  /* [block][class] */
};

/* The text must live as long as the map. Fails for want of memory (error_set) only. */
int byte_map_make(struct byte_map *m, struct str text, struct error *err) MUST_USE;
void byte_map_free(struct byte_map *m);

/* The bits of up to 64 bytes. */
void byte_map_block(struct str bytes, uint64_t out[BYTE_CLASSES]);

/* The bits of a class for the 64 bytes from `at` on; at <= text.len. */
static inline uint64_t byte_bits(const struct byte_map *m, enum byte_class class, size_t at)
{
    const uint64_t *here = m->bits + at / 64 * BYTE_CLASSES + class;
    return here[0] >> at % 64 | here[BYTE_CLASSES] << 1 << (63 - at % 64);
}

static inline size_t byte_first(uint64_t bits) /* not 0 */
{
    return (size_t)__builtin_ctzll(bits);
}

#endif

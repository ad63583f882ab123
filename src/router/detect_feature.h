/* Features of words that may be in a table of weights. What makes a feature is mixed to a seed of 64 bits,
 * the seed to an id of 32; most ids are in no table, which a map with two bits for each id tells for a look
 * at one place. The seeds of many words are noted first and then looked up together.
 *
 *   seeds --product, upper half--> ids --map--> hits: those that may be in the table, and whose they are */
#ifndef WEIR_ROUTER_DETECT_FEATURE_H
#define WEIR_ROUTER_DETECT_FEATURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct feature_map {
    uint64_t *words;
    uint32_t last;    /* a power of two, less one */
    uint64_t product; /* odd */
};

static inline uint32_t feature_id(const struct feature_map *m, uint64_t seed)
{
    return (uint32_t)(seed * m->product >> 32);
}

/* The lowest bit does not count. */
static inline void feature_add(struct feature_map *m, uint32_t id)
{
    m->words[id >> 7 & m->last] |= (uint64_t)1 << (id >> 1) % 64 | (uint64_t)1 << (id >> 20) % 64;
}

static inline bool feature_may_be(const struct feature_map *m, uint32_t id)
{
    const uint64_t word = m->words[id >> 7 & m->last];
    return word >> (id >> 1) % 64 & word >> (id >> 20) % 64 & 1;
}

/* `n` seeds become hits (where the lists hold FEATURE_ROOM more): returns how many. */
enum { FEATURE_ROOM = 16 };
size_t detect_feature_hits(const struct feature_map *m, uint64_t *seeds, const uint8_t *whose, size_t n);

static inline uint32_t hit_id(uint64_t hit)
{
    return (uint32_t)hit;
}

static inline size_t hit_whose(uint64_t hit)
{
    return (size_t)(hit >> 32);
}

/* The two ways to do it: one by one, and eight at a time; false: the machine has no AVX-512. */
size_t detect_feature_hits_plain(
    const struct feature_map *m, uint64_t *seeds, const uint8_t *whose, size_t n);
bool detect_feature_hits_wide(
    const struct feature_map *m, uint64_t *seeds, const uint8_t *whose, size_t n, size_t *hits);

/* Notes a seed where it is one of the word's. Nothing foretells which: so it is written in any case, and
 * counted without a branch. */
static inline size_t feature_note(uint64_t *seeds, size_t n, bool is, uint64_t seed)
{
    seeds[n] = seed;
    return n + is;
}

#endif

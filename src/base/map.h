/* A hash table from byte strings to small numbers. Keys are spans the caller keeps alive.
 *
 *   slots: [key, value] [-] [key, value] ...   open addressing, linear probing, at most half full
 *
 * Hashes are SipHash-1-3 (Aumasson and Bernstein, 2012) with a random key for each table, so that hostile
 * keys cannot be chosen to collide. */
#ifndef WEIR_BASE_MAP_H
#define WEIR_BASE_MAP_H

#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

struct map_slot {
    struct str key; /* data NULL: empty */
    uint32_t value;
};

struct map {
    struct map_slot *slots; /* NULL until map_init */
    size_t capacity;        /* a power of two */
    size_t count;
    uint64_t seed[2];
};

/* Room for `expected` keys without growing. ERROR_MEMORY leaves an empty map that may be freed. */
int map_init(struct map *m, size_t expected, struct error *err) MUST_USE;
void map_free(struct map *m); /* a zeroed map is allowed */
/* Adds a key, or gives `false` in *added and leaves the old value where it is there already. */
int map_add(struct map *m, struct str key, uint32_t value, bool *added, struct error *err) MUST_USE;
/* Where the value of a key is, or NULL. Valid until the next map_add. */
uint32_t *map_find(const struct map *m, struct str key);

#endif

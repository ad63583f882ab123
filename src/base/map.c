#include "base/map.h"

#include <stdlib.h>
#include <string.h>

#include "base/rand.h"

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static uint64_t hash(const struct map *m, struct str key)
{
    uint64_t v[4] = {m->seed[0] ^ 0x736f6d6570736575u, m->seed[1] ^ 0x646f72616e646f6du,
        m->seed[0] ^ 0x6c7967656e657261u, m->seed[1] ^ 0x7465646279746573u};
    size_t whole = key.len & ~(size_t)7;
    for (size_t i = 0; i <= whole; i += 8) {
        uint64_t word = i < whole ? 0 : (uint64_t)key.len << 56;
        if (i < whole)
            memcpy(&word, key.data + i, 8);
        else
            for (size_t j = i; j < key.len; j++)
                word |= (uint64_t)(unsigned char)key.data[j] << 8 * (j - i);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* The slot that holds the key, or the empty one where it belongs. */
static struct map_slot *slot_of(const struct map *m, struct str key)
{
    size_t i = (size_t)hash(m, key) & (m->capacity - 1);
    while (m->slots[i].key.data && !str_eq(m->slots[i].key, key))
        i = (i + 1) & (m->capacity - 1);
    return &m->slots[i];
}

static int allocate(struct map *m, size_t expected, struct error *err)
{
    size_t capacity = 16;
    while (capacity / 2 < expected && capacity <= SIZE_MAX / 4 / sizeof(struct map_slot))
        capacity *= 2;
    struct map_slot *slots = capacity / 2 < expected ? NULL : calloc(capacity, sizeof *slots);
    if (!slots)
        return error_set(err, ERROR_MEMORY, "no memory for a table of %zu names", expected);
    m->slots = slots;
    m->capacity = capacity;
    return 0;
}

int map_init(struct map *m, size_t expected, struct error *err)
{
    *m = (struct map){.seed = {rand_u64(), rand_u64()}};
    return allocate(m, expected, err);
}

void map_free(struct map *m)
{
    free(m->slots);
    *m = (struct map){0};
}

static int grow(struct map *m, struct error *err)
{
    struct map old = *m;
    int rc = allocate(m, old.capacity, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < old.capacity; i++)
        if (old.slots[i].key.data)
            *slot_of(m, old.slots[i].key) = old.slots[i];
    free(old.slots);
    return 0;
}

int map_add(struct map *m, struct str key, uint32_t value, bool *added, struct error *err)
{
    if (!key.data)
        key.data = "";
    if (m->count >= m->capacity / 2) {
        int rc = grow(m, err);
        if (rc)
            return rc;
    }
    struct map_slot *slot = slot_of(m, key);
    *added = !slot->key.data;
    if (*added) {
        *slot = (struct map_slot){key, value};
        m->count++;
    }
    return 0;
}

uint32_t *map_find(const struct map *m, struct str key)
{
    if (!m->slots)
        return NULL;
    struct map_slot *slot = slot_of(m, key);
    return slot->key.data ? &slot->value : NULL;
}

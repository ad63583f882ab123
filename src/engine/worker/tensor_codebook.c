#include "engine/worker/tensor_codebook.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "engine/worker/tensor_grid.h"

enum { KEYS = 1 << 16, POINTS_MAX = 2048 };

static struct tensor_codebook books[TENSOR_CODEBOOKS] = {
    [TENSOR_CODEBOOK_IQ1] = {tensor_grid_iq1, 2048, 8, 2, 3, 3, NULL, NULL},
    [TENSOR_CODEBOOK_IQ2_XXS] = {tensor_grid_iq2_xxs, 256, 8, 2, 3, 2, NULL, NULL},
    [TENSOR_CODEBOOK_IQ2_XS] = {tensor_grid_iq2_xs, 512, 8, 2, 3, 2, NULL, NULL},
    [TENSOR_CODEBOOK_IQ2_S] = {tensor_grid_iq2_s, 1024, 8, 2, 3, 1, NULL, NULL},
    [TENSOR_CODEBOOK_IQ3_XXS] = {tensor_grid_iq3_xxs, 256, 4, 4, 8, 2, NULL, NULL},
    [TENSOR_CODEBOOK_IQ3_S] = {tensor_grid_iq3_s, 512, 4, 4, 8, 3, NULL, NULL},
};
static atomic_bool made[TENSOR_CODEBOOKS];

static int code_at(const struct tensor_codebook *b, uint32_t key, int i)
{
    return (int)(key >> b->bits * i) & ((1 << b->bits) - 1);
}

/* Codes that no value has are in no key that is asked for. */
static bool is_key(const struct tensor_codebook *b, uint32_t key)
{
    for (int i = 0; i < b->group; i++)
        if (code_at(b, key, i) >= b->codes)
            return false;
    return key >> b->bits * b->group == 0;
}

/* Appends the points of the `shells` least distances to the key, each shell in the points' order; how many.
 */
static uint16_t near_find(const struct tensor_codebook *b, uint32_t key, uint16_t *out)
{
    int distances[POINTS_MAX], last = -1;
    uint16_t n = 0;
    for (int p = 0; p < b->n_points; p++) {
        distances[p] = 0;
        for (int i = 0; i < b->group; i++) {
            const int off = code_at(b, b->points[p], i) - code_at(b, key, i);
            distances[p] += off * off;
        }
    }
    for (int shell = 0; shell < b->shells; shell++) {
        int next = INT_MAX;
        for (int p = 0; p < b->n_points; p++)
            next = distances[p] > last && distances[p] < next ? distances[p] : next;
        for (int p = 0; p < b->n_points; p++)
            if (distances[p] == next)
                out[n++] = (uint16_t)p;
        last = next;
    }
    return n;
}

/* Room for one more key's neighbours. */
static bool near_grow(struct tensor_codebook *b, size_t used, size_t *room)
{
    if (used + 1 + POINTS_MAX <= *room)
        return true;
    const size_t more = 2 * *room + 1 + POINTS_MAX;
    uint16_t *grown = realloc(b->near, more * sizeof *grown);
    if (!grown)
        return false;
    b->near = grown;
    *room = more;
    return true;
}

static bool book_make(struct tensor_codebook *b)
{
    size_t used = 0, room = 0;
    free(b->map);
    b->map = calloc(KEYS, sizeof *b->map);
    for (uint32_t key = 0; b->map && key < KEYS; key++)
        b->map[key] = -1;
    for (int p = 0; b->map && p < b->n_points; p++)
        b->map[b->points[p]] = p;
    for (uint32_t key = 0; b->map && key < KEYS; key++) {
        if (b->map[key] >= 0 || !is_key(b, key))
            continue;
        if (!near_grow(b, used, &room))
            return false;
        b->map[key] = -1 - (int32_t)used;
        b->near[used] = near_find(b, key, b->near + used + 1);
        used += 1 + (size_t)b->near[used];
    }
    return b->map != NULL;
}

const struct tensor_codebook *tensor_codebook(enum tensor_codebook_kind kind)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    if (!atomic_load_explicit(&made[kind], memory_order_acquire)) {
        pthread_mutex_lock(&lock);
        if (!atomic_load_explicit(&made[kind], memory_order_relaxed) && book_make(&books[kind]))
            atomic_store_explicit(&made[kind], true, memory_order_release);
        pthread_mutex_unlock(&lock);
    }
    return atomic_load_explicit(&made[kind], memory_order_acquire) ? &books[kind] : NULL;
}

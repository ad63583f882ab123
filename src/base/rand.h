/* Randomness: the kernel's for identifiers and secrets, a small seeded generator for sampling. */
#ifndef WEIR_BASE_RAND_H
#define WEIR_BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

void rand_bytes(void *out, size_t len); /* from getrandom(2); aborts if the kernel has none */
uint64_t rand_u64(void);
/* Writes `prefix` and 24 base-62 characters (142 bits), NUL-terminated; `size` must hold them. */
void rand_id(const char *prefix, char *out, size_t size);

/* PCG32 (O'Neill 2014, "PCG: A Family of Simple Fast Space-Efficient Statistically Good Algorithms"). */
struct rand_pcg {
    uint64_t state, increment;
};
void rand_pcg_seed(struct rand_pcg *r, uint64_t seed);
uint32_t rand_pcg_u32(struct rand_pcg *r);
double rand_pcg_double(struct rand_pcg *r); /* [0, 1) with 53 bits */

#endif

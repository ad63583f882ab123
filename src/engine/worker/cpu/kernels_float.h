/* What the kernels of floats have in common, in the compiler's own vectors. The including file defines LANES
 * and
 *
 *   fused       a b + c, rounded once */
#ifndef WEIR_ENGINE_WORKER_CPU_KERNELS_FLOAT_H
#define WEIR_ENGINE_WORKER_CPU_KERNELS_FLOAT_H

static int64_t float_peak(int64_t rounds)
{
    enum { SUMS = 12 }; /* chains enough to hide an addition's latency */
    vfloats sums[SUMS] = {{0}}, w = {0}, x = {0};
    OPAQUE(x);
    for (int64_t n = 0; n < rounds; n++)
        for (int i = 0; i < SUMS; i++) {
            OPAQUE(w);
            sums[i] = fused(w, x, sums[i]);
        }
    for (int i = 0; i < SUMS; i++)
        OPAQUE(sums[i]);
    return rounds * SUMS * LANES * 2;
}

#endif

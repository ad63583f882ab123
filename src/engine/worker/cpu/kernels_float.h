/* Products of floats along the rows, and the softmax, in the compiler's own vectors: written once, compiled
 * for each instruction set. The including file has the vectors' parts (product_types.h names them): LANES,
 * plus, and load_halves (LANES of them, as floats). Attention's products are in kernels_tile.h.
 *
 *   along      STRIP_ROWS rows by STRIP_COLUMNS columns, their sums in registers while values go by, LANES at
 *              a time:     row[k] x column[k] -> sums[row][column] */
#ifndef WEIR_ENGINE_WORKER_CPU_KERNELS_FLOAT_H
#define WEIR_ENGINE_WORKER_CPU_KERNELS_FLOAT_H

#include <assert.h>

INLINE vfloats load(const float *from)
{
    vfloats v;
    memcpy(&v, from, sizeof v);
    return v;
}

INLINE void store(float *to, vfloats v)
{
    memcpy(to, &v, sizeof v);
}

/* ---- Along the rows ---- */

/* Sums of four rows by three columns, with what they are made of, fill 16 registers. */
enum { STRIP_ROWS = 4, STRIP_COLUMNS = 3 };

/* LANES values from `at` on. */
typedef vfloats read_fn(const uint8_t *at);

INLINE vfloats read_f32(const uint8_t *at)
{
    vfloats v;
    memcpy(&v, at, sizeof v);
    return v;
}

INLINE vfloats read_f16(const uint8_t *at)
{
    return load_halves(at);
}

INLINE vfloats read_bf16(const uint8_t *at)
{
    uint16_t h[LANES];
    vwords w;
    memcpy(h, at, sizeof h);
    for (int l = 0; l < LANES; l++)
        w[l] = (uint32_t)h[l] << 16;
    return (vfloats)w;
}

#ifndef FOUR_SUMS
/* acc[i] += the sum of all lanes of v[i * stride] */
INLINE void four_sums(float *acc, const vfloats *v, int stride)
{
    for (int i = 0; i < 4; i++) {
        vfloats lanes = v[i * stride];
        for (int half = LANES / 2; half > 0; half /= 2)
            for (int l = 0; l < half; l++)
                lanes[l] += lanes[l + half];
        acc[i] += lanes[0];
    }
}
#endif

/* Adds the products of LANES values to the sums. */
INLINE void strip_step(vfloats sums[STRIP_ROWS * STRIP_COLUMNS], const uint8_t *const *at,
    const float *const *x, const int n, read_fn *read)
{
    vfloats column[STRIP_COLUMNS];
    for (int c = 0; c < n; c++)
        column[c] = load(x[c]);
    for (int r = 0; r < STRIP_ROWS; r++) {
        const vfloats w = read(at[r]);
        for (int c = 0; c < n; c++)
            sums[r * n + c] = plus(w, column[c], sums[r * n + c]);
    }
}

/* What is left of a row, fewer than LANES values, with zeros behind. */
INLINE void strip_end(vfloats sums[STRIP_ROWS * STRIP_COLUMNS], const uint8_t *const *at,
    const float *const *x, int64_t left, const int n, read_fn *read, const int size)
{
    uint8_t row[STRIP_ROWS][LANES * 4] = {{0}};
    float column[STRIP_COLUMNS][LANES] = {{0}};
    const uint8_t *rows[STRIP_ROWS];
    const float *columns[STRIP_COLUMNS];
    for (int r = 0; r < STRIP_ROWS; r++) {
        memcpy(row[r], at[r], (size_t)left * (size_t)size);
        rows[r] = row[r];
    }
    for (int c = 0; c < n; c++) {
        memcpy(column[c], x[c], (size_t)left * sizeof *column[c]);
        columns[c] = column[c];
    }
    strip_step(sums, rows, columns, n, read);
}

/* Values [from, to), at most RUN of KERNEL_RUN, of STRIP_ROWS rows and n columns. `ahead` (or 0): memory
 * asked for bit by bit, as many bytes as are read: all at once it would be waited for. */
INLINE void strip_run(float *acc, const uint8_t *const *rows, const float *const *x, int64_t from, int64_t to,
    const int n, read_fn *read, const int size, uintptr_t ahead)
{
    vfloats sums[STRIP_ROWS * STRIP_COLUMNS];
    const uint8_t *at[STRIP_ROWS];
    const float *column[STRIP_COLUMNS];
    for (int i = 0; i < STRIP_ROWS * n; i++)
        sums[i] = (vfloats){0};
    for (int r = 0; r < STRIP_ROWS; r++)
        at[r] = rows[r] + from * size;
    for (int c = 0; c < n; c++)
        column[c] = x[c] + from;
    for (; from + LANES <= to; from += LANES) {
        strip_step(sums, at, column, n, read);
        for (int b = 0; ahead != 0 && b < STRIP_ROWS * LANES * size; b += 64)
            __builtin_prefetch((const void *)(ahead + (uintptr_t)(from * STRIP_ROWS * size + b)));
        for (int r = 0; r < STRIP_ROWS; r++)
            at[r] += LANES * size;
        for (int c = 0; c < n; c++)
            column[c] += LANES;
    }
    if (from < to)
        strip_end(sums, at, column, to - from, n, read, size);
    for (int c = 0; c < n; c++)
        four_sums(acc + c * TILE_ROWS, sums + c, n);
}

INLINE void strip(float *acc, const uint8_t *const *rows, const float *const *x, int64_t count, const int n,
    read_fn *read, const int size, uintptr_t ahead)
{
    for (int64_t from = 0; from < count; from += KERNEL_RUN)
        strip_run(
            acc, rows, x, from, from + KERNEL_RUN < count ? from + KERNEL_RUN : count, n, read, size, ahead);
}

INLINE void along(float *acc, const uint8_t *const *rows, const float *const *x, int64_t n, int64_t count,
    bool streamed, read_fn *read, const int size)
{
    const uintptr_t row = (uintptr_t)rows[1] - (uintptr_t)rows[0];
    for (int r = 0; r < TILE_ROWS; r += STRIP_ROWS) {
        uintptr_t ahead = streamed ? (uintptr_t)rows[r] + STRIP_ROWS * row : 0;
        int64_t c = 0;
        for (; c + STRIP_COLUMNS <= n; c += STRIP_COLUMNS, ahead = 0)
            strip(acc + c * TILE_ROWS + r, rows + r, x + c, count, STRIP_COLUMNS, read, size, ahead);
        if (n - c == 2)
            strip(acc + c * TILE_ROWS + r, rows + r, x + c, count, 2, read, size, ahead);
        if (n - c == 1)
            strip(acc + c * TILE_ROWS + r, rows + r, x + c, count, 1, read, size, ahead);
    }
}

#define ALONG(type, size)                                                                                    \
    static void along_##type(float *acc, const uint8_t *const *rows, const float *const *x, int64_t n,       \
        int64_t count, bool streamed)                                                                        \
    {                                                                                                        \
        along(acc, rows, x, n, count, streamed, read_##type, size);                                          \
    }

ALONG(f32, 4)
ALONG(f16, 2)
ALONG(bf16, 2)

/* ---- The softmax ---- */

/* a where it is larger than b (a NaN is not). */
INLINE vfloats larger(vfloats a, vfloats b)
{
    const vwords yes = (vwords)(a > b);
    return (vfloats)(((vwords)a & yes) | ((vwords)b & ~yes));
}

#ifndef TERM_LANES
/* e^(scale x) in each lane, for what is not over 88; a NaN stays one (common_exp). */
INLINE vfloats term_lanes(vfloats x, float scale)
{
    const vfloats magic = splat(12582912.0f);
    x *= scale;
    const vwords low = (vwords)(x < -87.0f);
    x = (vfloats)(((vwords)splat(-87.0f) & low) | ((vwords)x & ~low));
    vfloats shifted = plus(x, splat(1.44269504f), magic), n = shifted - magic;
    vfloats r = plus(n, splat(2.12194440e-4f), plus(n, splat(-0.693359375f), x));
    vfloats p = plus(splat(1.9875691500e-4f), r, splat(1.3981999507e-3f));
    p = plus(p, r, splat(8.3334519073e-3f));
    p = plus(p, r, splat(4.1665795894e-2f));
    p = plus(p, r, splat(1.6666665459e-1f));
    p = plus(p, r, splat(5.0000001201e-1f));
    p = plus(p, r * r, r) + 1.0f;
    return p * (vfloats)(((vwords)shifted << 23) + 0x3F800000u);
}

INLINE float largest_lane(vfloats v)
{
    float max = v[0];
    for (int l = 1; l < LANES; l++)
        max = v[l] > max ? v[l] : max;
    return max;
}

INLINE float sum_lanes(vfloats v)
{
    float sum = 0;
    for (int l = 0; l < LANES; l++)
        sum += v[l];
    return sum;
}
#endif

static float softmax_terms(float *x, float scale, float *most, int64_t n)
{
    const int64_t whole = n / LANES * LANES;
    vfloats lanes = splat(*most), sums = {0};
    for (int64_t i = 0; i < whole; i += LANES)
        lanes = larger(load(x + i), lanes);
    float max = largest_lane(lanes);
    for (int64_t i = whole; i < n; i++)
        max = x[i] > max ? x[i] : max;
    *most = max;
    for (int64_t i = 0; i < whole; i += LANES) {
        const vfloats term = term_lanes(load(x + i) - max, scale);
        store(x + i, term);
        sums += term;
    }
    float sum = sum_lanes(sums);
    if (whole == n)
        return sum;
    float last[LANES];
    for (int l = 0; l < LANES; l++)
        last[l] = whole + l < n ? x[whole + l] : max;
    store(last, term_lanes(load(last) - max, scale));
    for (int64_t i = whole; i < n; i++)
        sum += x[i] = last[i - whole];
    return sum;
}

/* ---- The peak ---- */

static int64_t float_peak(int64_t rounds)
{
    enum { SUMS = 12 }; /* chains enough to hide an addition's latency */
    vfloats sums[SUMS] = {{0}}, w = {0}, x = {0};
    OPAQUE(x);
    for (int64_t n = 0; n < rounds; n++)
        for (int i = 0; i < SUMS; i++) {
            OPAQUE(w);
            sums[i] = plus(w, x, sums[i]);
        }
    for (int i = 0; i < SUMS; i++)
        OPAQUE(sums[i]);
    return rounds * SUMS * LANES * 2;
}

#define FLOAT_PRODUCTS                                                                                       \
    .along = {[TENSOR_F32] = along_f32, [TENSOR_F16] = along_f16, [TENSOR_BF16] = along_bf16},               \
    .softmax_terms = softmax_terms, .peak = float_peak

#endif

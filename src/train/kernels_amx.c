/* The AVX-512 loops; and products of bfloat16 by the matrix unit (Intel's ISA extensions reference, AMX): one
 * instruction adds to 16 x 16 sums the products of a tile of A (16 rows, 32 values of k) and one of B (16
 * columns).
 *
 *   a tile of A    16 rows of 64 bytes: row i holds k = 0 1, 2 3, ..., 30 31 of A's row i
 *   a tile of B    16 rows of 64 bytes: row q holds k = 2q 2q+1 of column 0, of column 1, ..., 15
 *
 * So the one read along k is the other turned, in units of two values. Packed rows: for each 16 of them, for
 * each 32 of k, a tile; a packed panel: for each 32 of k, two tiles. What is missing of a tile is 0. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "engine/worker/cpu/tiles.h"
#include "train/kernels.h"

enum { SIDE = 16, STEP = 32, TILE_BYTES = 1024, WIDTH = 2 * SIDE };

#define INLINE static inline __attribute__((always_inline))

/* ---- Packing ---- */
static __mmask16 first(int64_t n)
{
    return (__mmask16)(n >= 16 ? 0xffff : n <= 0 ? 0 : (1u << n) - 1);
}

/* n vectors, `apart` from each other, whose values stand along k: to rows. `whole`: nothing is missing. */
INLINE void read_along(
    __m512i v[SIDE], const float *from, int64_t apart, const bool whole, int64_t n, int64_t k)
{
    const __mmask16 low = whole ? 0xffff : first(k), high = whole ? 0xffff : first(k - 16);
    for (int64_t i = 0; i < SIDE; i++)
        v[i] = whole || i < n
                   ? (__m512i)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(high, from + i * apart + 16),
                         _mm512_maskz_loadu_ps(low, from + i * apart))
                   : _mm512_setzero_si512();
}

/* n vectors that stand side by side, values of k `apart`: to rows of pairs. */
INLINE void read_across(
    __m512i v[SIDE], const float *from, int64_t apart, const bool whole, int64_t n, int64_t k)
{
    const __m512i pairs = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23,
        7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __mmask16 side = whole ? 0xffff : first(n);
    for (int64_t q = 0; q < SIDE; q++) {
        const __m512 even = _mm512_maskz_loadu_ps(whole || 2 * q < k ? side : 0, from + 2 * q * apart),
                     odd =
                         _mm512_maskz_loadu_ps(whole || 2 * q + 1 < k ? side : 0, from + (2 * q + 1) * apart);
        v[q] = _mm512_permutexvar_epi16(pairs, (__m512i)_mm512_cvtne2ps_pbh(odd, even));
    }
}

/* 16 x 16 units of four bytes, turned: units within quarters of a register, then the quarters. */
INLINE void turn(__m512i v[SIDE])
{
    __m512i t[SIDE];
    for (int i = 0; i < SIDE; i += 2) {
        t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
    for (int i = 0; i < SIDE; i += 4)
        for (int j = 0; j < 2; j++) {
            v[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
            v[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
        }
    for (int j = 0; j < 4; j++) {
        const __m512i low = _mm512_shuffle_i32x4(v[j], v[4 + j], 0x88),
                      high = _mm512_shuffle_i32x4(v[j], v[4 + j], 0xdd),
                      low2 = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0x88),
                      high2 = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0xdd);
        t[j] = _mm512_shuffle_i32x4(low, low2, 0x88);
        t[4 + j] = _mm512_shuffle_i32x4(high, high2, 0x88);
        t[8 + j] = _mm512_shuffle_i32x4(low, low2, 0xdd);
        t[12 + j] = _mm512_shuffle_i32x4(high, high2, 0xdd);
    }
    memcpy(v, t, sizeof t);
}

/* 16 vectors of 32 values of k; `apart`: of vectors that stand along k, else of the values of k. */
INLINE void pack_tile_of(const bool whole, char *to, const float *from, const bool along, const bool turned,
    int64_t apart, int64_t n, int64_t k)
{
    __m512i v[SIDE];
    if (along)
        read_along(v, from, apart, whole, n, k);
    else
        read_across(v, from, apart, whole, n, k);
    if (turned)
        turn(v);
    for (int i = 0; i < SIDE; i++)
        _mm512_storeu_si512(to + i * 64, v[i]);
}

INLINE void pack_tile(
    char *to, const float *from, const bool along, const bool turned, int64_t apart, int64_t n, int64_t k)
{
    if (n >= SIDE && k >= STEP)
        pack_tile_of(true, to, from, along, turned, apart, n, k);
    else
        pack_tile_of(false, to, from, along, turned, apart, n, k);
}

INLINE void pack_tiles_of(const bool along, char *out, int64_t m, int64_t k, struct matrix a)
{
    for (int64_t i = 0; i < m; i += SIDE)
        for (int64_t p = 0; p < k; p += STEP, out += TILE_BYTES)
            pack_tile(out, a.data + i * a.row + p * a.column, along, !along, along ? a.row : a.column, m - i,
                k - p);
}

static const float *pack_tiles(float *to, int64_t m, int64_t k, struct matrix a, int64_t *a_row)
{
    *a_row = 0;
    if (a.column == 1)
        pack_tiles_of(true, (char *)to, m, k, a);
    else
        pack_tiles_of(false, (char *)to, m, k, a);
    return to;
}

INLINE void pack_pairs_of(const bool along, char *out, int64_t n, int64_t k, struct matrix b)
{
    for (int64_t p = 0; p < k; p += STEP)
        for (int64_t j = 0; j < WIDTH; j += SIDE, out += TILE_BYTES)
            pack_tile(
                out, b.data + p * b.row + j * b.column, along, along, along ? b.column : b.row, n - j, k - p);
}

static void pack_pairs(float *to, int64_t n, int64_t k, struct matrix b)
{
    if (b.column != 1)
        pack_pairs_of(true, (char *)to, n, k, b);
    else
        pack_pairs_of(false, (char *)to, n, k, b);
}

/* ---- Products ---- */
/* 32 x 32 sums, tiles 0 to 3, or the first 16 rows of them alone. */
static inline __attribute__((always_inline)) void sums_make(
    const bool both, int64_t k, const char *a, const char *b, float *c, int64_t ldc, bool add)
{
    const int64_t row = ldc * 4, next = (k + STEP - 1) / STEP * TILE_BYTES;
    TILE_FENCE;
    if (add) {
        _tile_loadd(0, c, row);
        _tile_loadd(1, c + SIDE, row);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    if (add && both) {
        _tile_loadd(2, c + SIDE * ldc, row);
        _tile_loadd(3, c + SIDE * ldc + SIDE, row);
    }
    for (const char *end = a + next; a < end; a += TILE_BYTES, b += 2 * TILE_BYTES) {
        _tile_loadd(4, a, 64);
        _tile_loadd(6, b, 64);
        _tile_loadd(7, b + TILE_BYTES, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (both)
            _tile_loadd(5, a + next, 64);
        _tile_dpbf16ps(1, 4, 7);
        if (both) {
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, c, row);
    _tile_stored(1, c + SIDE, row);
    if (both) {
        _tile_stored(2, c + SIDE * ldc, row);
        _tile_stored(3, c + SIDE * ldc + SIDE, row);
    }
    TILE_FENCE;
}

/* The last rows, fewer than 16: through a whole half of their own. */
static void last_rows(int64_t m, int64_t k, const char *a, const char *b, float *c, int64_t ldc, bool add)
{
    _Alignas(64) float whole[SIDE * WIDTH];
    for (int64_t i = 0; i < SIDE && add; i++)
        for (int64_t j = 0; j < WIDTH; j += 16)
            _mm512_store_ps(
                whole + i * WIDTH + j, i < m ? _mm512_loadu_ps(c + i * ldc + j) : _mm512_setzero_ps());
    sums_make(false, k, a, b, whole, WIDTH, add);
    for (int64_t i = 0; i < m; i++)
        memcpy(c + i * ldc, whole + i * WIDTH, WIDTH * sizeof *c);
}

/* The next rows of C on their way while these are summed: they are seldom near. */
static inline void rows_fetch(const float *c, int64_t rows, int64_t ldc)
{
    for (int64_t i = 0; i < rows; i++) {
        __builtin_prefetch(c + i * ldc, 1);
        __builtin_prefetch(c + i * ldc + SIDE, 1);
    }
}

/* 32 rows at a time against all panels: their lines of C are walked along. */
static void panels_tiles(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row, const float *b,
    int64_t apart, float *c, int64_t ldc, bool add)
{
    const int64_t rows = (k + STEP - 1) / STEP * TILE_BYTES; /* bytes of 16 rows of A */
    const char *tiles = (const char *)a;
    (void)a_row;
    tiles_configure(&tile_shapes);
    for (; m > 0; m -= 2 * SIDE, tiles += 2 * rows, c += 2 * SIDE * ldc)
        for (int64_t j = 0; j < n; j += WIDTH) {
            const char *columns = (const char *)(b + j / WIDTH * apart);
            if (m >= 2 * SIDE)
                sums_make(true, k, tiles, columns, c + j, ldc, add);
            else if (m >= SIDE)
                sums_make(false, k, tiles, columns, c + j, ldc, add);
            if (m % SIDE && m < 2 * SIDE)
                last_rows(
                    m % SIDE, k, tiles + m / SIDE * rows, columns, c + m / SIDE * SIDE * ldc + j, ldc, add);
            if (m > 2 * SIDE)
                rows_fetch(c + 2 * SIDE * ldc + j, m < 4 * SIDE ? m - 2 * SIDE : 2 * SIDE, ldc);
        }
    _tile_release();
}

/* Four tiles of sums, as a whole block has, of tiles that are zero. */
static int64_t bare_tiles(float *numbers)
{
    enum { ROUNDS = 5000 };
    (void)numbers;
    tiles_configure(&tile_shapes); /* zeroes them */
    for (int i = 0; i < ROUNDS; i++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_release();
    return (int64_t)4 * 2 * SIDE * SIDE * STEP * ROUNDS;
}

#define KERNELS train_kernels_amx
#define ISA "amx"
#define LANES 16
#define TILE_ROWS 12
#define TILE_VECTORS 2
#define ROUNDING_PRODUCTS                                                                                    \
    .tile_rows = 2 * SIDE, .tile_columns = WIDTH, .panel_floats = WIDTH / 2, .k_step = STEP,                 \
    .panels = panels_tiles, .bare = bare_tiles, .pack_panel = pack_pairs, .pack_rows = pack_tiles
#include "train/kernels_body.h"
#else
typedef int nothing_here; /* a file of C holds something */
#endif

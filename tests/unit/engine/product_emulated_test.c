/* The products of instruction sets that this machine may lack, their instructions replaced by plain C that
 * does what the vendors' manuals say of them: what is left untested is the instructions alone. Vectors of 16
 * lanes with dpbusd (AVX-512 VNNI), as product_avx512vnni.c has them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"

/* Vectors of 64 bytes go through memory here. */
#pragma GCC diagnostic ignored "-Wpsabi"

enum { LANES = 16, TOGETHER = 8 };
#define OPAQUE(v) __asm__ volatile("" : "+m"(v))
#define UNROLLED /* what is written out here takes minutes to compile, and says nothing more */

#include "engine/worker/cpu/product_vector.h"

INLINE void rows_16(vwords out[4], const uint8_t *const *rows, size_t at)
{
    for (int i = 0; i < 4; i++)
        out[i] = rows_word(rows, at + 4 * (size_t)i);
}

INLINE vfloats half_low(vwords w)
{
    vfloats f = {0};
    for (int l = 0; l < LANES; l++)
        f[l] = tensor_float_from_half((uint16_t)(w[l] & 0xFFFFu));
    return f;
}

INLINE vfloats half_high(vwords w)
{
    return half_low(w >> 16);
}

INLINE vfloats rows_half(const uint8_t *const *rows, size_t at)
{
    vwords w = {0};
    for (int r = 0; r < LANES; r++)
        w[r] = read_short(rows[r] + at);
    return half_low(w);
}

INLINE float read_half(const uint8_t *at)
{
    return tensor_float_from_half(read_short(at));
}

INLINE vints load_bytes(const uint8_t *at)
{
    vints v;
    for (int l = 0; l < LANES; l++)
        v[l] = (int8_t)at[l];
    return v;
}

INLINE vfloats load_halves(const uint8_t *at)
{
    vfloats f;
    for (int l = 0; l < LANES; l++)
        f[l] = tensor_float_from_half(read_short(at + 2 * l));
    return f;
}

INLINE vwords rows_byte(const uint8_t *const *rows, size_t at)
{
    vwords w = {0};
    for (int r = 0; r < LANES; r++)
        w[r] = rows[r][at];
    return w;
}

/* pshufb: by the low four bits of each byte of the index, in a table that all parts of the vector share. */
INLINE vwords pick(const int8_t table[16], vwords index)
{
    uint8_t bytes[4 * LANES];
    memcpy(bytes, &index, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = bytes[i] & 0x80 ? 0 : (uint8_t)table[bytes[i] & 15];
    memcpy(&index, bytes, sizeof bytes);
    return index;
}

INLINE vfloats plus(vfloats a, vfloats b, vfloats c)
{
    for (int l = 0; l < LANES; l++)
        c[l] = fmaf(a[l], b[l], c[l]);
    return c;
}

INLINE vfloats minus(vfloats a, vfloats b, vfloats c)
{
    return plus(-a, b, c);
}

/* dpbusd: four products of an unsigned and a signed byte are added to each lane, without saturation. */
INLINE vints add_products(vints sum, vwords w, const int8_t *x)
{
    for (int l = 0; l < LANES; l++)
        for (int i = 0; i < 4; i++)
            sum[l] += (int32_t)(w[l] >> 8 * i & 255u) * x[i];
    return sum;
}

/* dpwssd: two products of 16 bits. */
INLINE vints pairs_add(vints sum, vwords pairs, const int16_t x[2])
{
    for (int l = 0; l < LANES; l++)
        for (int i = 0; i < 2; i++)
            sum[l] += (int16_t)(pairs[l] >> 16 * i & 0xFFFFu) * x[i];
    return sum;
}

INLINE vints peak_products(vints sum, vwords w, vwords x)
{
    return sum + (vints)(w + x);
}

#define RUNS
/* clang-format off: in this order */
#include "engine/worker/cpu/product_vnni.h"
#include "engine/worker/cpu/product_types.h"
#include "engine/worker/cpu/kernels.h"
#include "engine/worker/cpu/kernels_float.h"
#include "engine/worker/cpu/kernels_tile.h"
/* clang-format on */

static const struct products_tiled runs = {
    .layout = {[TENSOR_Q4_K] = PANEL_RUNS, [TENSOR_Q5_K] = PANEL_RUNS, [TENSOR_IQ4_XS] = PANEL_RUNS},
    .quantize = {[PANEL_RUNS] = runs_quantize}};

static const struct products emulated = {.isa = "emulated",
    .lanes = LANES * SETS,
    .quantize = quantize,
    .of = PRODUCTS,
    .peak = peak,
    .tiled = &runs};

static void emulated_products_agree(void **state)
{
    (void)state;
    const char *wrong = products_check(&emulated);
    if (wrong)
        fail_msg("%s", wrong);
}

static const struct kernels emulated_floats = {.isa = "emulated", FLOAT_PRODUCTS, TILE_PRODUCTS};

/* Rows of a cache of each type, of which the second half is taken. */
static void check_cache_rows(const float *const *columns, int64_t n, int64_t count)
{
    enum { MOST = 300, COLUMNS_MOST = 30, WIDTH = 2 * TILE_ROWS };
    static const enum tensor_type types[] = {TENSOR_F16, TENSOR_Q8_0, TENSOR_Q4_0};
    static uint8_t rows[MOST * WIDTH * 2];
    static float floats[MOST * WIDTH], got[COLUMNS_MOST * TILE_ROWS], exact[COLUMNS_MOST * TILE_ROWS];
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        const size_t row = tensor_row_bytes(types[t], WIDTH);
        for (size_t i = 0; i < (size_t)count * row; i++)
            rows[i] = (uint8_t)(37 * i + 11 * (i >> 8)) & 0xBB; /* halves below 2 */
        memset(got, 0, sizeof got);
        memset(exact, 0, sizeof exact);
        emulated_floats.multiply[types[t]](got, TILE_ROWS, rows, row, TILE_ROWS, 1, columns, n, count);
        assert_int_equal(tensor_dequantize(types[t], rows, floats, count * WIDTH, NULL), 0);
        kernels_scalar.multiply[TENSOR_F32](exact, TILE_ROWS, (const uint8_t *)floats, WIDTH * sizeof *floats,
            TILE_ROWS, 1, columns, n, count);
        for (int64_t i = 0; i < n * TILE_ROWS; i++)
            assert_true(fabsf(got[i] - exact[i]) <= 1e-3f * (1 + fabsf(exact[i])));
    }
}

/* Tiles, products and softmax of floats are the scalar ones', up to rounding. */
static void check_floats(int64_t count, int64_t n)
{
    enum { MOST = 300, COLUMNS_MOST = 30 };
    static float rows_memory[TILE_ROWS][MOST], tile[TILE_ROWS * MOST], plain[TILE_ROWS * MOST],
        x[COLUMNS_MOST][MOST], got[COLUMNS_MOST * TILE_ROWS], exact[COLUMNS_MOST * TILE_ROWS];
    const uint8_t *rows[TILE_ROWS];
    const float *columns[COLUMNS_MOST];
    struct rand_pcg random;
    rand_pcg_seed(&random, 20261130);
    for (int r = 0; r < TILE_ROWS; r++) {
        rows[r] = (const uint8_t *)rows_memory[r];
        for (int64_t k = 0; k < count; k++)
            rows_memory[r][k] = (float)(rand_pcg_double(&random) * 2 - 1);
    }
    for (int64_t c = 0; c < n; c++) {
        columns[c] = x[c];
        for (int64_t k = 0; k < count; k++)
            x[c][k] = (float)(rand_pcg_double(&random) * 2 - 1);
    }
    emulated_floats.tile[TENSOR_F32](tile, rows, count);
    kernels_scalar.tile[TENSOR_F32](plain, rows, count);
    assert_memory_equal(tile, plain, (size_t)(count * TILE_ROWS) * sizeof *tile);
    memset(got, 0, sizeof got);
    memset(exact, 0, sizeof exact);
    const uint8_t *at = (const uint8_t *)tile;
    const size_t row = TILE_ROWS * sizeof *tile;
    emulated_floats.multiply[TENSOR_F32](got, TILE_ROWS, at, row, 0, 1, columns, n, count);
    kernels_scalar.multiply[TENSOR_F32](exact, TILE_ROWS, at, row, 0, 1, columns, n, count);
    for (int64_t i = 0; i < n * TILE_ROWS; i++)
        assert_true(fabsf(got[i] - exact[i]) <= 1e-4f);
    check_cache_rows(columns, n, count);
    memset(got, 0, sizeof got);
    memset(exact, 0, sizeof exact);
    emulated_floats.along[TENSOR_F32](got, rows, columns, n, count, false);
    kernels_scalar.along[TENSOR_F32](exact, rows, columns, n, count, false);
    for (int64_t i = 0; i < n * TILE_ROWS; i++)
        assert_true(fabsf(got[i] - exact[i]) <= 1e-4f);
    float most = -1, same = -1;
    memcpy(plain, x[0], sizeof x[0]);
    float sum = emulated_floats.softmax_terms(x[0], 3, &most, count);
    assert_true(
        fabsf(sum - kernels_scalar.softmax_terms(plain, 3, &same, count)) <= 1e-4f * sum && most == same);
    for (int64_t k = 0; k < count; k++)
        assert_true(fabsf(plain[k] - x[0][k]) <= 1e-6f);
}

static void emulated_floats_agree(void **state)
{
    (void)state;
    for (int64_t count = 1; count <= 300; count += count < 20 ? 1 : 70)
        for (int64_t n = 1; n <= 30; n += n < 14 ? 1 : 8)
            check_floats(count, n);
    assert_true(emulated_floats.peak(2) > 0);
}

/* Halves that are turned round, an odd number of them. */
static void emulated_halves_agree(void **state)
{
    (void)state;
    enum { COUNT = 43 };
    uint16_t halves[TILE_ROWS][COUNT];
    const uint8_t *rows[TILE_ROWS];
    float tile[TILE_ROWS * COUNT];
    for (int r = 0; r < TILE_ROWS; r++) {
        rows[r] = (const uint8_t *)halves[r];
        for (int k = 0; k < COUNT; k++)
            halves[r][k] = (uint16_t)(0x3000 + 97 * r + 31 * k);
    }
    emulated_floats.tile[TENSOR_F16](tile, rows, COUNT);
    for (int r = 0; r < TILE_ROWS; r++)
        for (int k = 0; k < COUNT; k++)
            assert_true(tile[k * TILE_ROWS + r] == tensor_float_from_half(halves[r][k]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(emulated_products_agree),
        cmocka_unit_test(emulated_floats_agree), cmocka_unit_test(emulated_halves_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

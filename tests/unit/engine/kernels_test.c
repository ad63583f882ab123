/* Every kernel of every instruction set of this CPU against the scalar ones and plain double arithmetic, on
 * random inputs of odd sizes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "engine/worker/tensor_half.h"
#include "engine/worker/tensor_quantize.h"
#include "unit/engine/isa.h"

enum { MAX = 700, GUARD = 16 };

static const int64_t sizes[] = {
    1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 172, 256, 511, 640};
enum { N_SIZES = sizeof sizes / sizeof sizes[0] };

static struct rand_pcg rng;
static const struct kernels *list[KERNELS_MAX];
static int32_t n_list;

static float random_float(void)
{
    return (float)(rand_pcg_double(&rng) * 4 - 2);
}

static void fill(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = random_float();
}

/* |a - b| within `ulps` roundings of the magnitude that went into it. */
static void near(double a, double b, double magnitude, double ulps)
{
    if (!(fabs(a - b) <= magnitude * ulps * 0x1p-23))
        fail_msg("%.9g and %.9g differ by more than %g units of %.9g", a, b, ulps, magnitude);
}

static void each(void (*check)(const struct kernels *k, int64_t n))
{
    for (int32_t i = 0; i < n_list; i++)
        for (int32_t s = 0; s < N_SIZES; s++)
            check(list[i], sizes[s]);
}

/* Random bytes whose half-precision scales are small finite numbers. */
static void random_blocks(enum tensor_type type, uint8_t *block, int64_t count)
{
    static const struct {
        enum tensor_type type;
        int32_t offsets[2];
    } scales[] = {{TENSOR_Q4_0, {0, 0}}, {TENSOR_Q4_1, {0, 2}}, {TENSOR_Q5_0, {0, 0}}, {TENSOR_Q5_1, {0, 2}},
        {TENSOR_Q8_0, {0, 0}}, {TENSOR_Q2_K, {80, 82}}, {TENSOR_Q3_K, {108, 108}}, {TENSOR_Q4_K, {0, 2}},
        {TENSOR_Q5_K, {0, 2}}, {TENSOR_Q6_K, {208, 208}}};
    const struct tensor_type_info *info = tensor_type_info(type);
    for (int64_t b = 0; b < count; b += info->block_values, block += info->block_bytes) {
        for (uint32_t i = 0; i < info->block_bytes; i++)
            block[i] = (uint8_t)rand_pcg_u32(&rng);
        for (size_t s = 0; s < sizeof scales / sizeof scales[0]; s++)
            for (int32_t j = 0; j < 2 && scales[s].type == type; j++) {
                uint16_t half = tensor_half_from_float(random_float() * 0.01f);
                memcpy(block + scales[s].offsets[j], &half, sizeof half);
            }
        uint16_t half = tensor_half_from_float(random_float());
        float f = random_float();
        if (type == TENSOR_F16 || type == TENSOR_BF16)
            memcpy(block, &half, sizeof half);
        if (type == TENSOR_F32)
            memcpy(block, &f, sizeof f);
    }
}

static void check_dequantize(const struct kernels *k, enum tensor_type type, int64_t count)
{
    static uint8_t blocks[1 + 4 * 1024];
    static float expected[1024 + GUARD], got[1024 + GUARD];
    uint8_t *unaligned = blocks + 1;
    assert_true(count <= 1024 && tensor_row_bytes(type, count) < sizeof blocks);
    random_blocks(type, unaligned, count);
    assert_int_equal(tensor_dequantize(type, unaligned, expected, count, NULL), 0);
    for (int64_t i = 0; i < count + GUARD; i++)
        got[i] = 12345;
    kernels_dequantize(k, type, unaligned, got, count);
    /* d * q - m: the product may be rounded or not; the numbers that go in are under 0.02 * 63 * 31 */
    for (int64_t i = 0; i < count; i++)
        if (isfinite(expected[i]))
            near((double)got[i], (double)expected[i], fmax(fabs((double)expected[i]), 2.6), 2);
    for (int64_t i = count; i < count + GUARD; i++)
        assert_true(got[i] == 12345);
}

static void dequantize_agrees(void **state)
{
    (void)state;
    for (int32_t i = 0; i < n_list; i++)
        for (uint32_t type = 0; type < TENSOR_TYPES; type++) {
            if (!tensor_type_readable(type))
                continue;
            int64_t block = tensor_type_info(type)->block_values;
            for (int32_t round = 0; round < 20; round++) {
                check_dequantize(list[i], type, block);
                check_dequantize(list[i], type, block * (block >= 128 ? 3 : 13));
            }
        }
}

/* The optimised types are those that most files use: they must not fall back. */
static void fast_paths_exist(void **state)
{
    (void)state;
    static const enum tensor_type types[] = {
        TENSOR_F16, TENSOR_BF16, TENSOR_Q8_0, TENSOR_Q4_0, TENSOR_Q4_K, TENSOR_Q5_K, TENSOR_Q6_K};
    for (int32_t i = 0; i < n_list; i++)
        for (size_t t = 0; t < sizeof types / sizeof types[0]; t++)
            if (strncmp(list[i]->isa, "avx", 3) == 0)
                assert_non_null(list[i]->dequantize[types[t]]);
}

/* TILE_ROWS rows at odd addresses, turned round as the type's own reading of them says; nothing else is
 * touched. */
static void check_tile(const struct kernels *k, enum tensor_type type, int64_t count)
{
    static uint8_t bytes[TILE_ROWS][1 + 4 * MAX];
    static float tile[TILE_ROWS * MAX + GUARD], expected[MAX];
    const uint8_t *rows[TILE_ROWS];
    for (int r = 0; r < TILE_ROWS; r++) {
        random_blocks(type, bytes[r] + 1, count);
        rows[r] = bytes[r] + 1;
    }
    tile[TILE_ROWS * count] = 12345;
    k->tile[type](tile, rows, count);
    assert_true(tile[TILE_ROWS * count] == 12345);
    for (int r = 0; r < TILE_ROWS; r++) {
        assert_int_equal(tensor_dequantize(type, rows[r], expected, count, NULL), 0);
        for (int64_t i = 0; i < count; i++)
            assert_memory_equal(&tile[i * TILE_ROWS + r], &expected[i], sizeof *expected);
    }
}

static void tiles_are_rows_turned_round(void **state)
{
    (void)state;
    for (int32_t i = 0; i < n_list; i++) {
        assert_non_null(list[i]->tile[TENSOR_F32]);
        for (uint32_t type = 0; type < TENSOR_TYPES; type++)
            for (int32_t s = 0; list[i]->tile[type] && s < N_SIZES; s++)
                if (sizes[s] % tensor_type_info(type)->block_values == 0)
                    check_tile(list[i], type, sizes[s]);
    }
}

/* Tiles and sums that stand apart, as attention has them; what is between stays as it is. */
static void check_multiply(
    const struct kernels *k, int64_t count, int64_t n, int64_t tile_stride, int64_t acc_stride)
{
    static float tile[MAX * 40], x_values[30][MAX], acc[30 * 40 + GUARD];
    const float *x[30];
    fill(tile, count * tile_stride);
    for (int64_t c = 0; c < n; c++) {
        fill(x_values[c], count);
        x[c] = x_values[c];
    }
    for (int64_t i = 0; i < n * acc_stride + GUARD; i++)
        acc[i] = 1;
    const size_t row = (size_t)tile_stride * sizeof *tile;
    const uint8_t *rows = (const uint8_t *)tile;
    k->multiply[TENSOR_F32](acc, acc_stride, rows, row, 0, 1, x, n, count);
    for (int64_t c = 0; c < n; c++) {
        float single[TILE_ROWS];
        for (int r = 0; r < TILE_ROWS; r++)
            single[r] = 1;
        k->multiply[TENSOR_F32](single, TILE_ROWS, rows, row, 0, 1, x + c, 1, count);
        /* A column's result must not depend on how many go with it. */
        assert_memory_equal(single, acc + c * acc_stride, sizeof single);
        for (int r = 0; r < TILE_ROWS; r++) {
            double exact = 1, magnitude = 1;
            for (int64_t i = 0; i < count; i++) {
                exact += (double)tile[i * tile_stride + r] * (double)x[c][i];
                magnitude += fabs((double)tile[i * tile_stride + r] * (double)x[c][i]);
            }
            near((double)acc[c * acc_stride + r], exact, magnitude, 16);
        }
        for (int64_t i = TILE_ROWS; i < acc_stride; i++)
            assert_true(acc[c * acc_stride + i] == 1);
    }
    for (int64_t i = n * acc_stride; i < n * acc_stride + GUARD; i++)
        assert_true(acc[i] == 1);
}

/* Tiles side by side, as keys and as values stand: the same bits as of each tile alone; what is between
 * stays. */
static void check_panel(const struct kernels *k, int64_t tiles, int64_t n, int64_t count, bool keys)
{
    enum { TILES = 5, MOST = 30, WIDTH = TILES * TILE_ROWS };
    static float rows[COLUMN_STRIDE * WIDTH], x[MOST * COLUMN_STRIDE], acc[MOST * WIDTH], plain[MOST * WIDTH];
    const float *columns[MOST];
    const struct panel p = {.rows = rows,
        .x = x,
        .row_stride = keys ? TILE_ROWS : WIDTH,
        .tile_stride = keys ? TILE_ROWS * COLUMN_STRIDE : TILE_ROWS,
        .tiles = tiles,
        .n = n,
        .count = count,
        .acc_stride = WIDTH};
    fill(rows, COLUMN_STRIDE * WIDTH);
    fill(x, MOST * COLUMN_STRIDE);
    for (int64_t i = 0; i < MOST * WIDTH; i++)
        acc[i] = plain[i] = 1;
    for (int64_t c = 0; c < n; c++)
        columns[c] = x + c * COLUMN_STRIDE;
    k->multiply_panel(acc, &p);
    for (int64_t t = 0; t < tiles; t++)
        k->multiply[TENSOR_F32](plain + t * TILE_ROWS, WIDTH, (const uint8_t *)(rows + t * p.tile_stride),
            (size_t)p.row_stride * sizeof *rows, 0, 1, columns, n, count);
    assert_memory_equal(acc, plain, sizeof acc);
}

static void tiles_side_by_side_are_each_alone_to_the_bit(void **state)
{
    (void)state;
    static const int64_t counts[] = {1, 7, 63, COLUMN_STRIDE};
    for (int32_t i = 0; i < n_list; i++)
        for (int64_t tiles = 1; tiles <= 5; tiles++)
            for (int64_t n = 1; n <= 30; n += n < 14 ? 1 : 8)
                for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
                    check_panel(list[i], tiles, n, counts[c], true);
                    check_panel(list[i], tiles, n, counts[c], false);
                }
}

/* Rows of a cache at odd addresses, of which a part is taken: the same bits as of each tile of these rows as
 * floats alone. */
static void check_multiply_type(const struct kernels *k, enum tensor_type type, int64_t count, int64_t n)
{
    enum { WIDTH = 96, MOST = 14 };
    static uint8_t bytes[1 + MAX * WIDTH * 4];
    static float floats[MAX * WIDTH], x_values[MOST][MAX];
    const size_t row = tensor_row_bytes(type, WIDTH);
    const float *x[MOST];
    random_blocks(type, bytes + 1, count * WIDTH);
    assert_int_equal(tensor_dequantize(type, bytes + 1, floats, count * WIDTH, NULL), 0);
    for (int64_t c = 0; c < n; c++) {
        fill(x_values[c], count);
        x[c] = x_values[c];
    }
    for (int64_t at = 0; at < WIDTH; at += TILE_ROWS) {
        const int64_t tiles = (WIDTH - at) / TILE_ROWS;
        float got[MOST * WIDTH], plain[MOST * WIDTH];
        for (int64_t i = 0; i < n * WIDTH; i++)
            got[i] = plain[i] = 1;
        k->multiply[type](got, WIDTH, bytes + 1, row, at, tiles, x, n, count);
        for (int64_t t = 0; t < tiles; t++)
            k->multiply[TENSOR_F32](plain + t * TILE_ROWS, WIDTH, (const uint8_t *)floats,
                WIDTH * sizeof *floats, at + t * TILE_ROWS, 1, x, n, count);
        assert_memory_equal(got, plain, (size_t)(n * WIDTH) * sizeof *got);
    }
}

static void rows_of_a_cache_are_multiplied_as_floats_are(void **state)
{
    (void)state;
    for (int32_t i = 0; i < n_list; i++)
        for (uint32_t type = 0; type < TENSOR_TYPES; type++)
            for (int32_t s = 0; list[i]->multiply[type] && s < N_SIZES; s++)
                for (int64_t n = 1; n <= 14; n += n < 8 ? 1 : 6)
                    check_multiply_type(list[i], type, sizes[s], n);
}

/* Rows at odd addresses by n columns: right, and the same bits as each column alone and as the rows as
 * floats. */
static void check_along(const struct kernels *k, enum tensor_type type, int64_t count, int64_t n)
{
    enum { MOST = 12 };
    static uint8_t bytes[TILE_ROWS][1 + 4 * MAX], floats[TILE_ROWS][4 * MAX];
    static float x_values[MOST][MAX], together[MOST * TILE_ROWS + GUARD];
    const size_t size = type == TENSOR_F32 ? 4 : 2;
    const uint8_t *rows[TILE_ROWS], *as_floats[TILE_ROWS];
    const float *x[MOST];
    for (int r = 0; r < TILE_ROWS; r++) {
        for (int64_t i = 0; i < count; i++) {
            const float value = random_float();
            const uint16_t half = type == TENSOR_F16 ? tensor_half_from_float(value)
                                                     : (uint16_t)(tensor_float_bits(value) >> 16);
            memcpy(bytes[r] + 1 + (size_t)i * size, size == 4 ? (const void *)&value : (const void *)&half,
                size);
        }
        rows[r] = bytes[r] + 1;
        as_floats[r] = floats[r];
        assert_int_equal(tensor_dequantize(type, rows[r], (float *)(void *)floats[r], count, NULL), 0);
    }
    for (int64_t c = 0; c < n; c++) {
        fill(x_values[c], count);
        x[c] = x_values[c];
    }
    for (int64_t i = 0; i < n * TILE_ROWS + GUARD; i++)
        together[i] = 1;
    k->along[type](together, rows, x, n, count, n % 2 == 0);
    for (int64_t c = 0; c < n; c++) {
        float alone[TILE_ROWS], plain[TILE_ROWS];
        for (int r = 0; r < TILE_ROWS; r++)
            alone[r] = plain[r] = 1;
        k->along[type](alone, rows, x + c, 1, count, false);
        k->along[TENSOR_F32](plain, as_floats, x + c, 1, count, true);
        assert_memory_equal(alone, together + c * TILE_ROWS, sizeof alone);
        assert_memory_equal(alone, plain, sizeof alone);
        for (int r = 0; r < TILE_ROWS; r++) {
            double exact = 1, magnitude = 1;
            for (int64_t i = 0; i < count; i++) {
                float w;
                memcpy(&w, floats[r] + 4 * i, sizeof w);
                exact += (double)w * (double)x[c][i];
                magnitude += fabs((double)w * (double)x[c][i]);
            }
            near((double)alone[r], exact, magnitude, 16);
        }
    }
    for (int64_t i = n * TILE_ROWS; i < n * TILE_ROWS + GUARD; i++)
        assert_true(together[i] == 1);
}

static void products_along_rows_are_the_same_to_the_bit(void **state)
{
    (void)state;
    for (int32_t i = 0; i < n_list; i++)
        for (uint32_t type = 0; type < TENSOR_TYPES; type++)
            for (int32_t s = 0; list[i]->along[type] && s < N_SIZES; s++)
                for (int64_t n = 1; n <= 12; n += n < 7 ? 1 : 5)
                    check_along(list[i], type, sizes[s], n);
}

static void products_of_tiles_agree(void **state)
{
    (void)state;
    for (int32_t i = 0; i < n_list; i++)
        for (int32_t s = 0; s < N_SIZES; s++) {
            for (int64_t n = 1; n <= 30; n += n < 14 ? 1 : 8)
                check_multiply(list[i], sizes[s], n, TILE_ROWS, TILE_ROWS);
            check_multiply(list[i], sizes[s], 7, 40, 33);
        }
}

static void check_rows(const struct kernels *k, int64_t width)
{
    enum { ROWS = 5 };
    static float rows[ROWS * MAX], x[MAX], out[ROWS + 1], y[MAX + GUARD], before[MAX], weights[ROWS];
    fill(rows, ROWS * width);
    fill(x, width);
    fill(y, width);
    fill(weights, ROWS);
    memcpy(before, y, sizeof before);
    out[ROWS] = y[width] = 12345;
    k->dot_rows(out, rows, x, ROWS, width);
    k->mix_rows(y, rows, weights, ROWS, width);
    for (int64_t r = 0; r < ROWS; r++) {
        double exact = 0, magnitude = 0;
        for (int64_t i = 0; i < width; i++) {
            exact += (double)rows[r * width + i] * (double)x[i];
            magnitude += fabs((double)rows[r * width + i] * (double)x[i]);
        }
        near((double)out[r], exact, magnitude, 16);
    }
    for (int64_t i = 0; i < width; i++) {
        double exact = (double)before[i];
        for (int64_t r = 0; r < ROWS; r++)
            exact += (double)weights[r] * (double)rows[r * width + i];
        near((double)y[i], exact, 22, 2);
    }
    assert_true(out[ROWS] == 12345 && y[width] == 12345);
}

static void rows_agree(void **state)
{
    (void)state;
    each(check_rows);
}

static void check_rows_of_values(const struct kernels *k, int64_t n)
{
    static float a[MAX], b[MAX], y[MAX + GUARD];
    fill(a, n);
    fill(b, n);
    y[n] = 12345;
    k->add(y, a, b, n);
    for (int64_t i = 0; i < n; i++)
        assert_true(y[i] == a[i] + b[i]);

    k->rms_norm(y, a, b, 1e-5f, n);
    double squares = 0;
    for (int64_t i = 0; i < n; i++)
        squares += (double)a[i] * (double)a[i];
    for (int64_t i = 0; i < n; i++) {
        double exact = (double)a[i] / sqrt(squares / (double)n + 1e-5) * (double)b[i];
        near((double)y[i], exact, fabs(exact), 6);
    }

    for (int64_t i = 0; i < n; i++)
        a[i] *= 50; /* far into both flat ends */
    k->glu(y, a, b, n);
    for (int64_t i = 0; i < n; i++) {
        double exact = (double)a[i] / (1 + exp(-(double)a[i])) * (double)b[i];
        near((double)y[i], exact, fabs(exact) + 1e-29, 8);
    }
    for (int64_t i = 0; i < n; i++)
        a[i] /= 8;
    k->geglu(y, a, b, n);
    for (int64_t i = 0; i < n; i++) {
        double x = (double)a[i], u = sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
        double exact = x / (1 + exp(-2 * u)) * (double)b[i];
        near((double)y[i], exact, fabs(exact) * (1 + fabs(2 * u)) + 1e-29, 8);
    }
    k->softcap(y, a, 3, n);
    for (int64_t i = 0; i < n; i++)
        near((double)y[i], 3 * tanh((double)a[i] / 3), 3, 8);
    assert_true(y[n] == 12345);
}

static void rows_of_values_agree(void **state)
{
    (void)state;
    each(check_rows_of_values);
}

/* `more`: how much larger than all of them what came before was; negative: it was less. */
static void check_softmax_after(const struct kernels *k, int64_t n, float more)
{
    static float x[MAX + GUARD], before[MAX];
    fill(x, n);
    for (int64_t i = 0; i < n; i++)
        x[i] *= 30;
    x[n / 2] = -INFINITY; /* a masked position */
    memcpy(before, x, sizeof before);
    x[n] = 12345;
    double max = -INFINITY, exact = 0;
    for (int64_t i = 0; i < n; i++)
        max = fmax(max, (double)before[i]);
    if (isinf(max))
        return; /* nothing but the masked one */
    float most = (float)max + more;
    max = fmax(max, (double)most);
    float sum = k->softmax_terms(x, 0.125f, &most, n);
    assert_true((double)most == max);
    for (int64_t i = 0; i < n; i++) {
        double term = exp(((double)before[i] - max) * 0.125);
        near((double)x[i], term, term + 1e-30, 16);
        exact += term;
    }
    near((double)sum, exact, exact, 16);
    assert_true(x[n] == 12345);
}

static void check_softmax(const struct kernels *k, int64_t n)
{
    check_softmax_after(k, n, -INFINITY);
    check_softmax_after(k, n, -1);
    check_softmax_after(k, n, 20);
}

static void softmax_agrees(void **state)
{
    (void)state;
    each(check_softmax);
}

/* A broken model's NaN stays a NaN: it is reported, not turned into a plausible number. */
static void nan_stays_nan(void **state)
{
    (void)state;
    for (int32_t i = 0; i < n_list; i++) {
        float x[40], one[40], y[40];
        for (int j = 0; j < 40; j++)
            x[j] = one[j] = 1;
        x[33] = NAN;
        list[i]->glu(y, x, one, 40);
        assert_true(isnan(y[33]) && !isnan(y[32]));
        list[i]->geglu(y, x, one, 40);
        assert_true(isnan(y[33]) && !isnan(y[32]));
        list[i]->softcap(y, x, 2, 40);
        assert_true(isnan(y[33]) && !isnan(y[32]));
        list[i]->rms_norm(y, x, one, 1e-5f, 40);
        assert_true(isnan(y[0]));
        float most = -INFINITY;
        assert_true(isnan(list[i]->softmax_terms(x, 1, &most, 40)));
    }
}

static void halves_are_the_cache_s_to_the_bit(void **state)
{
    (void)state;
    enum { N = 40000 };
    static float x[N];
    static uint16_t want[N], got[N + 1];
    struct error err = {0};
    for (int i = 0; i < N; i++) { /* any sign and size, and halfway between two halves */
        uint32_t bits = rand_pcg_u32(&rng);
        bits = i % 2 ? bits : (bits & 0x8FFFE000u) + 0x34000000u + 0x1000u;
        memcpy(&x[i], &bits, sizeof bits);
        x[i] = isnan(x[i]) ? 65520 : x[i];
    }
    assert_int_equal(tensor_quantize(TENSOR_F16, x, want, N, &err), 0);
    for (int32_t k = 0; k < n_list; k++)
        for (int64_t n = N; list[k]->halve && n > N - 20; n--) {
            memset(got, 0x5A, sizeof got);
            list[k]->halve((uint8_t *)got, x, n);
            assert_memory_equal(got, want, (size_t)n * sizeof *got);
            assert_int_equal(got[n], 0x5A5A);
        }
}

static void select_takes_names(void **state)
{
    (void)state;
    const struct kernels *k;
    struct error err = {0};
    assert_int_equal(kernels_select(NULL, &k, &err), 0);
    assert_ptr_equal(k, list[n_list - 1]);
    assert_int_equal(kernels_select("scalar", &k, &err), 0);
    assert_ptr_equal(k, &kernels_scalar);
    assert_int_equal(kernels_select("mmx", &k, &err), ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "mmx"));
}

int main(void)
{
    rand_pcg_seed(&rng, 20261121);
    n_list = kernels_list(list);
    for (int32_t i = 0; i < n_list; i++)
        printf("kernels: %s\n", list[i]->isa);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dequantize_agrees),
        cmocka_unit_test(fast_paths_exist),
        cmocka_unit_test(tiles_are_rows_turned_round),
        cmocka_unit_test(products_of_tiles_agree),
        cmocka_unit_test(tiles_side_by_side_are_each_alone_to_the_bit),
        cmocka_unit_test(rows_of_a_cache_are_multiplied_as_floats_are),
        cmocka_unit_test(products_along_rows_are_the_same_to_the_bit),
        cmocka_unit_test(rows_agree),
        cmocka_unit_test(rows_of_values_agree),
        cmocka_unit_test(softmax_agrees),
        cmocka_unit_test(nan_stays_nan),
        cmocka_unit_test(halves_are_the_cache_s_to_the_bit),
        cmocka_unit_test(select_takes_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

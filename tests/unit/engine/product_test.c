/* Products on integers of every instruction set of this CPU against plain double arithmetic: random rows of
 * every type, any number of columns, and what hostile files hold. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "engine/worker/cpu/kernels.h"
#include "engine/worker/tensor_half.h"

enum {
    VALUES = 768,
    BLOCKS = VALUES / X_VALUES,
    COLUMNS = 69, /* tiles take two groups of 16 with the rows, two again, and one */
    PLACES = 80,
    ROW_MAX = BLOCKS * 64,
    GUARD = 16
};

static struct rand_pcg rng;
static const struct kernels *list[KERNELS_MAX];
static int32_t n_list;

/* Rows at odd addresses, with bytes behind the last block that must not matter. */
struct rig {
    uint8_t memory[PRODUCT_LANES_MAX][1 + ROW_MAX + GUARD];
    const uint8_t *rows[PRODUCT_LANES_MAX];
    float values[COLUMNS][VALUES];
    struct x_block x[2 * BLOCKS * PLACES];
    _Alignas(64) float acc[PLACES * PRODUCT_LANES_MAX + GUARD];
};

static struct rig rig;

static void random_rows(enum tensor_type type, int fill)
{
    for (int r = 0; r < PRODUCT_LANES_MAX; r++) {
        memset(rig.memory[r], 0xFF, sizeof rig.memory[r]);
        product_random_row(type, &rng, fill, rig.memory[r] + 1, VALUES);
        rig.rows[r] = rig.memory[r] + 1;
    }
}

static void random_columns(void)
{
    for (int c = 0; c < COLUMNS; c++)
        for (int i = 0; i < VALUES; i++)
            rig.values[c][i] = (float)((rand_pcg_double(&rng) * 2 - 1) * (i % 97 == 0 ? 20 : 1));
}

static void multiply(const struct products *p, enum tensor_type type, int64_t n)
{
    for (int64_t c = 0; c < n; c++)
        product_quantize(p, type, rig.x, n, c, rig.values[c], VALUES);
    memset(rig.acc, 0, sizeof rig.acc);
    const int64_t end = product_columns(p, type, n) * p->lanes;
    rig.acc[end] = 12345;
    p->of[type](rig.acc, rig.x, n, rig.rows, 0, BLOCKS);
    product_finish(p, type, rig.acc, n);
    assert_true(rig.acc[end] == 12345);
}

static void each(void (*check)(const struct products *p, enum tensor_type type))
{
    for (int32_t i = 0; i < n_list; i++)
        for (uint32_t type = 0; list[i]->products && type < TENSOR_TYPES; type++)
            if (list[i]->products->of[type])
                check(list[i]->products, type);
}

static void check_agrees(const struct products *p, enum tensor_type type)
{
    for (int64_t n = 1; n <= COLUMNS; n += n < 16 ? 1 : 11) {
        random_rows(type, -1);
        random_columns();
        multiply(p, type, n);
        for (int64_t c = 0; c < n; c++) {
            float x[VALUES];
            product_column_read(p, type, &(struct x_column){rig.x, n, c}, x, VALUES);
            for (int r = 0; r < p->lanes; r++)
                if (!product_agrees(type, rig.rows[r], x, VALUES, rig.acc[c * p->lanes + r]))
                    fail_msg("%s %s: row %d, column %d of %d", p->isa, tensor_type_info(type)->name, r,
                        (int)c, (int)n);
        }
    }
}

static void products_agree(void **state)
{
    (void)state;
    each(check_agrees);
}

/* A column's result is the same to the bit whatever goes with it, and in whatever runs the row is taken. */
static void check_alone(const struct products *p, enum tensor_type type)
{
    float together[COLUMNS * PRODUCT_LANES_MAX];
    random_rows(type, -1);
    random_columns();
    multiply(p, type, COLUMNS);
    memcpy(together, rig.acc, sizeof together);
    memset(rig.acc, 0, sizeof rig.acc);
    for (int b = 0; b < BLOCKS; b += 8)
        p->of[type](rig.acc, product_panel_at(p, type, rig.x, COLUMNS, b), COLUMNS, rig.rows, b, 8);
    product_finish(p, type, rig.acc, COLUMNS);
    assert_memory_equal(together, rig.acc, (size_t)(COLUMNS * p->lanes) * sizeof *together);
    for (int64_t n = 2; n < COLUMNS; n += n % 3 + 1) {
        multiply(p, type, n);
        assert_memory_equal(rig.acc, together, (size_t)(n * p->lanes) * sizeof *together);
    }
    for (int c = 0; c < COLUMNS; c++) {
        memmove(rig.values[0], rig.values[c], sizeof rig.values[0]);
        multiply(p, type, 1);
        assert_memory_equal(rig.acc, together + c * p->lanes, (size_t)p->lanes * sizeof *together);
    }
}

static void columns_do_not_see_each_other(void **state)
{
    (void)state;
    each(check_alone);
}

/* Columns that are taken out of a panel, for an expert, are what they would be if quantised there. */
static void check_copies(const struct products *p, enum tensor_type type)
{
    static struct x_block to[2 * BLOCKS * PLACES];
    static const int64_t sizes[] = {1, 3, 9, 10, 16, 31, 32, COLUMNS};
    float direct[VALUES], copied[VALUES];
    random_columns();
    for (int64_t c = 0; c < COLUMNS; c++)
        product_quantize(p, type, rig.x, COLUMNS, c, rig.values[c], VALUES);
    random_rows(type, -1);
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        for (int64_t c = 0; c < sizes[k]; c++) {
            const struct x_column from = {rig.x, COLUMNS, COLUMNS - 1 - c}, at = {to, sizes[k], c};
            product_column_read(p, type, &from, direct, VALUES);
            product_column_copy(p, type, &at, &from, BLOCKS);
            product_column_read(p, type, &at, copied, VALUES);
            assert_memory_equal(direct, copied, sizeof direct);
        }
        memset(rig.acc, 0, sizeof rig.acc);
        p->of[type](rig.acc, to, sizes[k], rig.rows, 0, BLOCKS);
        product_finish(p, type, rig.acc, sizes[k]);
        const float *last = rig.acc + (sizes[k] - 1) * p->lanes;
        for (int r = 0; r < p->lanes; r++)
            assert_true(product_agrees(type, rig.rows[r], direct, VALUES, last[r]));
    }
}

static void copied_columns_are_the_same(void **state)
{
    (void)state;
    each(check_copies);
}

static void check_extreme(
    const struct products *p, enum tensor_type type, int64_t n, int byte, float even, float odd)
{
    const float *last = rig.acc + (n - 1) * p->lanes;
    random_rows(type, byte);
    for (int i = 0; i < n * VALUES; i++)
        rig.values[i / VALUES][i % VALUES] = i % 2 ? odd : even;
    multiply(p, type, n);
    for (int r = 0; r < p->lanes; r++) {
        float w[VALUES];
        double most = 0, exact = 0;
        assert_int_equal(tensor_dequantize(type, rig.rows[r], w, VALUES, NULL), 0);
        for (int i = 0; i < VALUES; i++) {
            exact += (double)w[i] * (double)rig.values[0][i];
            most = fmax(most, fabs((double)w[i]));
        }
        if (most * VALUES > (double)FLT_MAX)
            continue; /* no float holds the sum */
        if (fabs((double)last[r] - exact) > 1e-3 * most * VALUES)
            fail_msg("%s %s, bytes %02x: %g, not %g", p->isa, tensor_type_info(type)->name, (unsigned)byte,
                (double)last[r], exact);
    }
}

/* Every byte at its extremes: nothing may overflow on the way. */
static void check_extremes(const struct products *p, enum tensor_type type)
{
    static const uint8_t bytes[] = {0x00, 0xFF, 0x80, 0x7F, 0x0F, 0xF0, 0x88};
    for (size_t k = 0; k < sizeof bytes; k++)
        for (int64_t n = 1; n <= COLUMNS; n += COLUMNS - 1) {
            check_extreme(p, type, n, bytes[k], 1, 1);
            check_extreme(p, type, n, bytes[k], -1, -1);
            check_extreme(p, type, n, bytes[k], 1, -1);
        }
}

static void extremes_do_not_overflow(void **state)
{
    (void)state;
    each(check_extremes);
}

/* A file's scales may be no numbers, or its blocks zero: the result is no number, or zero, and nothing else
 * is touched. */
static void check_hostile(const struct products *p, enum tensor_type type)
{
    random_columns();
    for (int round = 0; round < 200; round++) {
        for (int r = 0; r < PRODUCT_LANES_MAX; r++)
            for (size_t i = 1; i < sizeof rig.memory[r]; i++)
                rig.memory[r][i] = (uint8_t)rand_pcg_u32(&rng);
        multiply(p, type, 2);
        for (int r = 0; r < p->lanes; r++) {
            float w[VALUES];
            assert_int_equal(tensor_dequantize(type, rig.rows[r], w, VALUES, NULL), 0);
            bool finite = true;
            for (int i = 0; i < VALUES; i++)
                finite = finite && isfinite(w[i]);
            assert_true(finite || !isfinite(rig.acc[r]));
        }
    }
    memset(rig.memory, 0, sizeof rig.memory);
    multiply(p, type, 2);
    for (int r = 0; r < p->lanes; r++)
        assert_true(type == TENSOR_MXFP4 ? fabsf(rig.acc[r]) < 1e-30f : rig.acc[r] == 0);
}

static void hostile_blocks_are_no_numbers(void **state)
{
    (void)state;
    each(check_hostile);
}

static void activations_are_quantised_closely(void **state)
{
    (void)state;
    for (int32_t i = 0; i < n_list; i++) {
        const struct products *p = list[i]->products;
        for (int round = 0; p && round < 100; round++) {
            struct x_block x;
            float v[X_VALUES], most = 0;
            double sum = 0;
            for (int k = 0; k < X_VALUES; k++) {
                v[k] = (float)ldexp(rand_pcg_double(&rng) * 2 - 1, round - 50);
                most = fmaxf(most, fabsf(v[k]));
            }
            p->quantize(&x, 1, v, X_VALUES);
            for (int k = 0; k < X_VALUES; k++) {
                assert_true(x.q[k] >= -127);
                assert_true(fabsf((float)x.q[k] * x.scale - v[k]) <= most / 127 * 0.5001f);
                sum += (double)x.q[k] * (double)x.scale;
            }
            assert_true(fabs(sum - (double)x.sum) <= 1e-5 * (double)most);
            assert_true(fabs((double)x.sum - (double)x.sum_low - (double)x.sum_high) <= 1e-5 * (double)most);
        }
    }
}

/* As far as those are of which a run of 256 shares a scale. What is no number makes its run none, and no
 * other. */
static void check_wide(const struct products *p, enum tensor_type type)
{
    float got[VALUES];
    const enum panel_layout layout = product_layout(p, type);
    random_columns();
    for (int64_t n = 1; n <= COLUMNS && (layout == PANEL_WIDE || layout == PANEL_RUNS); n += 5) {
        const struct x_column x = {rig.x, n, n - 1};
        float *v = rig.values[0];
        v[300] = NAN;
        product_quantize(p, type, rig.x, n, n - 1, v, VALUES);
        product_column_read(p, type, &x, got, VALUES);
        for (int i = 0; i < VALUES; i++)
            assert_true(i / 256 == 1 ? isnan(got[i]) : fabsf(got[i] - v[i]) <= 20.0f / 127 * 0.5001f);
    }
}

static void wide_columns_are_quantised_closely(void **state)
{
    (void)state;
    each(check_wide);
}

/* Two parts keep 16 bits of a value, whatever is beside it; what is no number stays none. */
static void check_split(const struct products *p, enum tensor_type type)
{
    float got[VALUES];
    random_columns();
    for (int64_t n = 1; n <= COLUMNS && product_layout(p, type) == PANEL_SPLIT; n += 5) {
        const struct x_column x = {rig.x, n, n - 1};
        float *v = rig.values[0];
        v[300] = NAN;
        v[301] = INFINITY;
        product_quantize(p, type, rig.x, n, n - 1, v, VALUES);
        product_column_read(p, type, &x, got, VALUES);
        for (int i = 0; i < VALUES; i++)
            assert_true(
                i == 300 || i == 301 ? !isfinite(got[i]) : fabsf(got[i] - v[i]) <= 0x1p-16f * fabsf(v[i]));
    }
}

static void columns_in_two_parts_are_close(void **state)
{
    (void)state;
    each(check_split);
}

/* A broken model's NaN stays a NaN, an infinity becomes one; numbers too small to invert become zero. */
static void activations_that_are_no_numbers(void **state)
{
    (void)state;
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (int32_t i = 0; i < n_list; i++) {
        const struct products *p = list[i]->products;
        struct x_block x;
        for (int k = 0; p && k < 4; k++) {
            float v[X_VALUES] = {1, 2, 3};
            v[5 + k] = bad[k];
            p->quantize(&x, 1, v, X_VALUES);
            assert_true(isnan(x.scale) && isnan(x.sum) && isnan(x.sum_low) && isnan(x.sum_high));
        }
        if (!p)
            continue;
        float tiny[X_VALUES] = {1e-40f, -1e-44f}, zero[X_VALUES] = {0}, large[X_VALUES] = {3.4e38f, -3.4e38f};
        p->quantize(&x, 1, tiny, X_VALUES);
        assert_true(x.sum == 0 && fabsf(x.scale) < 1e-30f);
        p->quantize(&x, 1, zero, X_VALUES);
        assert_true(x.sum == 0 && x.scale == 0 && x.q[0] == 0);
        p->quantize(&x, 1, large, X_VALUES);
        assert_true(x.q[0] == 127 && x.q[1] == -127 && isfinite(x.scale));
    }
}

static void zero_scales(
    float *acc, const struct x_block *x, int64_t n, const uint8_t *const *rows, int64_t from, int64_t count)
{
    (void)x, (void)n, (void)rows, (void)from, (void)count;
    acc[0] += 1;
}

/* A table whose products are wrong is named at start-up, and one that is right is not. */
static void the_check_finds_a_wrong_product(void **state)
{
    (void)state;
    for (int32_t i = 0; i < n_list; i++) {
        if (!list[i]->products)
            continue;
        assert_null(products_check(list[i]->products));
        struct products broken = *list[i]->products;
        broken.of[TENSOR_Q5_K] = zero_scales;
        assert_string_equal(products_check(&broken), "Q5_K");
    }
}

/* The types that most files use must not fall back to floats. */
static void common_types_have_products(void **state)
{
    (void)state;
    static const enum tensor_type types[] = {TENSOR_Q4_0, TENSOR_Q4_K, TENSOR_Q5_K, TENSOR_Q6_K, TENSOR_Q8_0,
        TENSOR_IQ4_XS, TENSOR_MXFP4, TENSOR_Q4_1, TENSOR_Q5_0, TENSOR_Q5_1, TENSOR_Q2_K, TENSOR_Q3_K,
        TENSOR_IQ4_NL};
    for (int32_t i = 0; i < n_list; i++)
        for (size_t t = 0; list[i] != &kernels_scalar && t < sizeof types / sizeof *types; t++)
            assert_non_null(list[i]->products->of[types[t]]);
}

int main(void)
{
    rand_pcg_seed(&rng, 20261128);
    n_list = kernels_list(list);
    for (int32_t i = 0; i < n_list; i++)
        printf("products: %s\n", list[i]->products ? list[i]->products->isa : "none");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_agree),
        cmocka_unit_test(columns_do_not_see_each_other),
        cmocka_unit_test(copied_columns_are_the_same),
        cmocka_unit_test(extremes_do_not_overflow),
        cmocka_unit_test(hostile_blocks_are_no_numbers),
        cmocka_unit_test(activations_are_quantised_closely),
        cmocka_unit_test(wide_columns_are_quantised_closely),
        cmocka_unit_test(columns_in_two_parts_are_close),
        cmocka_unit_test(activations_that_are_no_numbers),
        cmocka_unit_test(the_check_finds_a_wrong_product),
        cmocka_unit_test(common_types_have_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

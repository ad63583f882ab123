/* Writing quantised types: the bytes are the format's reference's, with and without importance. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/worker/tensor_quantize.h"

enum { ROWS = 4, WIDTH = 768 };

/* Numbers that any compiler makes the same. */
static void values_fill(float *x, int64_t n, uint64_t seed)
{
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        const int a = (int)(seed >> 33 & 1023) - 512, b = (int)(seed >> 45 & 255) - 128;
        const int kind = (int)(i / 96 % 4);
        x[i] = kind == 0   ? (float)a / 512
               : kind == 1 ? (float)(a * b) / 4096
               : kind == 2 ? (float)(a * a) / 65536 - 1
                           : (float)(b / 32) / 8;
    }
}

static uint64_t hash_of(const uint8_t *bytes, size_t n)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        h = (h ^ bytes[i]) * 1099511628211u;
    return h;
}

/* Hashes of what ggml_quantize_chunk wrote (ggml 0.14); 0: it wants importance. */
static const struct {
    enum tensor_type type;
    uint64_t plain, weighed;
} expected[] = {
    {TENSOR_Q8_0, 0xc78b40b4a0fd3ec0, 0xc78b40b4a0fd3ec0},
    {TENSOR_Q4_0, 0xf9d3ff953fb6e6d2, 0x6fcb0a539bae681b},
    {TENSOR_Q4_1, 0xf171e7610e5b6ab7, 0xfc934d04523f441e},
    {TENSOR_Q5_0, 0x624a8678432e9a66, 0xd6f4de4f5de727b0},
    {TENSOR_Q5_1, 0xf58a8232f73dc7f9, 0xbc6a947404d0307c},
    {TENSOR_Q2_K, 0x981a5ec12febecfd, 0x95c7b2338d08393c},
    {TENSOR_Q3_K, 0x8992a7470849bf1a, 0x38f7317889d7dc53},
    {TENSOR_Q4_K, 0x424c334cde098046, 0x4c85d3fa776e4e15},
    {TENSOR_Q5_K, 0x8619f74183398fef, 0xc86a0830342dac02},
    {TENSOR_Q6_K, 0xfa6bf9b371c2d70b, 0x9998e60dcec43fc3},
    {TENSOR_IQ4_NL, 0x340065064b07b061, 0x9433a433293e0c16},
    {TENSOR_IQ4_XS, 0x954af2e8bd9c6cf7, 0x3e643416e6724be1},
    {TENSOR_MXFP4, 0x1e3dbf75a809708b, 0x1e3dbf75a809708b},
    {TENSOR_TQ1_0, 0x6f76f77d014d8dc4, 0x6f76f77d014d8dc4},
    {TENSOR_TQ2_0, 0x28dbb7dd3ce868a5, 0x28dbb7dd3ce868a5},
    {TENSOR_IQ2_XXS, 0x0000000000000000, 0x10c75c7fb0d56860},
    {TENSOR_IQ2_XS, 0x0000000000000000, 0xebf818d4b68e67db},
    {TENSOR_IQ2_S, 0xb03df8412f6f87df, 0xd903fee2e6ac048f},
    {TENSOR_IQ3_XXS, 0x63d148e7af9221b4, 0x73d51b3350819ac5},
    {TENSOR_IQ3_S, 0x883726e25daa9c74, 0xb8a067556936432d},
    {TENSOR_IQ1_S, 0x0000000000000000, 0x6a31c787cadd5eca},
    {TENSOR_IQ1_M, 0x0000000000000000, 0xe466d35fd4fbf148},
};

static void make(float *x, float *weights)
{
    values_fill(x, (int64_t)ROWS * WIDTH, 7);
    values_fill(weights, WIDTH, 9);
    for (int i = 0; i < WIDTH; i++)
        weights[i] = weights[i] * weights[i] + 1.0f / 64;
}

static void bytes_are_those_of_the_reference(void **state)
{
    (void)state;
    static float x[ROWS * WIDTH], weights[WIDTH];
    static uint8_t bytes[ROWS * WIDTH * 4];
    struct error err;
    make(x, weights);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        for (int weighed = 0; weighed < 2; weighed++) {
            const uint64_t hash = weighed ? expected[i].weighed : expected[i].plain;
            const size_t n = ROWS * tensor_row_bytes(expected[i].type, WIDTH);
            assert_int_equal(
                tensor_quantize_rows(expected[i].type, x, bytes, ROWS, WIDTH, weighed ? weights : NULL, &err),
                0);
            if (hash && hash_of(bytes, n) != hash)
                fail_msg("%s%s", tensor_type_info(expected[i].type)->name, weighed ? " by importance" : "");
        }
}

static double error_of(enum tensor_type type, const float *x, const float *weights, const uint8_t *bytes)
{
    float back[WIDTH];
    struct error err;
    double sum = 0;
    assert_int_equal(tensor_dequantize(type, bytes, back, WIDTH, &err), 0);
    for (int i = 0; i < WIDTH; i++) {
        const double off = (double)back[i] - (double)x[i];
        sum += off * off * (double)weights[i];
    }
    return sum;
}

/* Columns that weigh a thousand times the others come out nearer. */
static void importance_makes_what_matters_exact(void **state)
{
    (void)state;
    static const enum tensor_type types[] = {TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q5_0, TENSOR_Q5_1, TENSOR_Q2_K,
        TENSOR_Q3_K, TENSOR_Q4_K, TENSOR_Q5_K, TENSOR_Q6_K, TENSOR_IQ4_NL, TENSOR_IQ4_XS, TENSOR_IQ2_XXS,
        TENSOR_IQ2_XS, TENSOR_IQ2_S, TENSOR_IQ3_XXS, TENSOR_IQ3_S, TENSOR_IQ1_S, TENSOR_IQ1_M};
    static float x[ROWS * WIDTH], weights[WIDTH];
    uint8_t plain[WIDTH * 4], weighed[WIDTH * 4];
    struct error err;
    make(x, weights);
    for (int i = 0; i < WIDTH; i++)
        weights[i] = i % 8 == 3 ? 1000 : 1;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        assert_int_equal(tensor_quantize_rows(types[i], x, plain, 1, WIDTH, NULL, &err), 0);
        assert_int_equal(tensor_quantize_rows(types[i], x, weighed, 1, WIDTH, weights, &err), 0);
        if (error_of(types[i], x, weights, weighed) >= error_of(types[i], x, weights, plain))
            fail_msg("%s", tensor_type_info(types[i])->name);
    }
}

/* Whatever the weights are, a value is written, and a row of nothing stays nothing. */
static void survives_any_weights(void **state)
{
    (void)state;
    static const float odd[] = {0, 3e38f, INFINITY, NAN, 1e-38f};
    static float x[ROWS * WIDTH], weights[WIDTH], back[WIDTH];
    static uint8_t bytes[WIDTH * 4];
    struct error err;
    make(x, weights);
    for (uint32_t type = 0; type < TENSOR_TYPES; type++) {
        if (!tensor_type_info(type) || !tensor_type_writable(type))
            continue;
        for (size_t w = 0; w < sizeof odd / sizeof *odd; w++) {
            for (int i = 0; i < WIDTH; i++)
                weights[i] = odd[w];
            assert_int_equal(tensor_quantize_rows(type, x, bytes, 1, WIDTH, weights, &err), 0);
        }
        static const float nothing[WIDTH];
        make(x, weights);
        assert_int_equal(tensor_quantize_rows(type, nothing, bytes, 1, WIDTH, weights, &err), 0);
        assert_int_equal(tensor_dequantize(type, bytes, back, WIDTH, &err), 0);
        for (int i = 0; i < WIDTH; i++)
            assert_true(back[i] == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_those_of_the_reference),
        cmocka_unit_test(importance_makes_what_matters_exact),
        cmocka_unit_test(survives_any_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

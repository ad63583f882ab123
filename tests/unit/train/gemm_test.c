/* Products of odd shapes against plain sums, for every instruction set here, in all the layouts that are
 * used. */
#include "tiny.h"

#include "train/gemm.h"

static float value(int64_t i, int64_t j)
{
    return (float)((i * 31 + j * 17) % 23 - 11) / 8;
}

static void fill(float *to, int64_t rows, int64_t columns, bool turned)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            to[turned ? j * rows + i : i * columns + j] = value(i, j + rows);
}

static struct matrix view(const float *data, int64_t rows, int64_t columns, bool turned)
{
    return turned ? matrix_turned(data, rows) : matrix_rows(data, columns);
}

static void check(
    const struct train_kernels *k, int64_t m, int64_t n, int64_t p, bool a_turned, bool b_turned, bool add)
{
    struct gemm_scratch s;
    float *a = calloc((size_t)(m * p), 4), *b = calloc((size_t)(p * n), 4),
          *c = calloc((size_t)(m * (n + 3)), 4);
    assert_int_equal(gemm_scratch_create(&s, NULL), 0);
    fill(a, m, p, a_turned);
    fill(b, p, n, b_turned);
    for (int64_t i = 0; i < m * (n + 3); i++)
        c[i] = 1;
    gemm(k, m, n, p, view(a, m, p, a_turned), view(b, p, n, b_turned), c, n + 3, add, &s);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = add;
            for (int64_t q = 0; q < p; q++)
                sum += (double)value(i, q + m) * (double)value(q, j + p);
            if (fabs(sum - (double)c[i * (n + 3) + j]) > 1e-3)
                fail_msg("%s %dx%dx%d at %d, %d: %g is not %g", k->isa, (int)m, (int)n, (int)p, (int)i,
                    (int)j, (double)c[i * (n + 3) + j], sum);
        }
        for (int64_t j = n; j < n + 3; j++)
            assert_true(c[i * (n + 3) + j] == 1); /* beside the product nothing is written */
    }
    gemm_scratch_free(&s);
    free(a);
    free(b);
    free(c);
}

static void test_products_are_the_sums(void **state)
{
    static const int64_t shapes[][3] = {{1, 1, 1}, {6, 16, 8}, {7, 17, 9}, {97, 33, 257}, {12, 1030, 5},
        {200, 40, 600}, {5, 3, 1}, {96, 32, 256}, {13, 64, 31}, {48, 65, 33}, {64, 16, 320}, {785, 17, 300}};
    const struct train_kernels *list[TRAIN_KERNELS_MAX];
    (void)state;
    for (int32_t k = train_kernels_list(list) - 1; k >= 0; k--)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            for (int how = 0; how < 16; how++) /* the values are whole in bfloat16, too */
                check(how & 8 ? list[k]->rounding : list[k], shapes[i][0], shapes[i][1], shapes[i][2],
                    how & 1, how & 2, how & 4);
}

/* Attention packs the keys of an example once and uses as many as a query sees. */
static void check_parts(const struct train_kernels *k)
{
    enum { N = 50, K = 300, M = 39 };
    static float a[M * K], b[K * N], c[M * N];
    struct gemm_scratch s;
    float *packed = calloc(gemm_packed_size(k, N, K), sizeof *packed);
    assert_int_equal(gemm_scratch_create(&s, NULL), 0);
    fill(a, M, K, false);
    fill(b, K, N, false);
    gemm_pack(k, N, K, matrix_rows(b, N), packed);
    for (int64_t n = 1; n <= N; n += 7)
        for (int64_t p = 1; p <= K; p += 13) {
            gemm_with_packed(k, M, n, p, matrix_rows(a, K), packed, K, c, n, false, &s);
            for (int64_t i = 0; i < M * n; i++) {
                double sum = 0;
                for (int64_t q = 0; q < p; q++)
                    sum += (double)a[i / n * K + q] * (double)b[q * N + i % n];
                assert_true(fabs(sum - (double)c[i]) < 1e-3);
            }
        }
    free(packed);
    gemm_scratch_free(&s);
}

/* More rows and columns than are walked at once: by blocks as without. */
static void test_a_large_packed_matrix_gives_the_same(void **state)
{
    enum { M = 785, N = 1062, K = 300 };
    const struct train_kernels *list[TRAIN_KERNELS_MAX];
    float *a = calloc(M * K, 4), *b = calloc(K * N, 4), *c = calloc(M * N, 4), *expected = calloc(M * N, 4);
    struct gemm_scratch s;
    (void)state;
    assert_int_equal(gemm_scratch_create(&s, NULL), 0);
    fill(a, M, K, false);
    fill(b, K, N, false);
    for (int32_t k = train_kernels_list(list) - 1; k >= 0; k--)
        for (int how = 0; how < 4; how++) {
            const struct train_kernels *kernels = how & 1 ? list[k]->rounding : list[k];
            const struct matrix rows = view(a, M, K, how & 2);
            float *packed = calloc(gemm_packed_size(kernels, N, K), sizeof *packed);
            gemm_pack(kernels, N, K, matrix_rows(b, N), packed);
            gemm(kernels, M, N, K, rows, matrix_rows(b, N), expected, N, false, &s);
            gemm_with_packed(kernels, M, N, K, rows, packed, K, c, N, false, &s);
            assert_memory_equal(c, expected, M * N * sizeof *c);
            free(packed);
        }
    gemm_scratch_free(&s);
    free(a);
    free(b);
    free(c);
    free(expected);
}

static void test_a_packed_matrix_serves_in_parts(void **state)
{
    const struct train_kernels *list[TRAIN_KERNELS_MAX];
    (void)state;
    for (int32_t k = train_kernels_list(list) - 1; k >= 0; k--) {
        check_parts(list[k]);
        check_parts(list[k]->rounding);
    }
}

/* What products of bfloat16 give is what the others do of rounded values: to the bit, but where a matrix unit
 * sums in another order. */
static void test_products_of_bfloat16_are_those_of_rounded_values(void **state)
{
    enum { M = 101, N = 45, K = 300 };
    const struct train_kernels *list[TRAIN_KERNELS_MAX];
    static float a[M * K], b[K * N], rounded_a[M * K], rounded_b[K * N], c[M * N], expected[M * N];
    struct gemm_scratch s;
    struct rand_pcg random;
    (void)state;
    rand_pcg_seed(&random, 2);
    for (int i = 0; i < M * K; i++)
        rounded_a[i] = a[i] = (float)rand_pcg_double(&random) - 0.5f;
    for (int i = 0; i < K * N; i++)
        rounded_b[i] = b[i] = (float)rand_pcg_double(&random) - 0.5f;
    assert_int_equal(gemm_scratch_create(&s, NULL), 0);
    for (int32_t k = train_kernels_list(list) - 1; k >= 0; k--)
        for (int how = 0; how < 4; how++) {
            list[k]->round(rounded_a, M * K);
            list[k]->round(rounded_b, K * N);
            assert_true(list[k]->rounding->rounds && list[k]->rounding->rounding == list[k]->rounding);
            gemm(list[k], M, N, K, view(rounded_a, M, K, how & 1), view(rounded_b, K, N, how & 2), expected,
                N, false, &s);
            gemm(list[k]->rounding, M, N, K, view(a, M, K, how & 1), view(b, K, N, how & 2), c, N, false, &s);
            for (int i = 0; i < M * N; i++)
                assert_true(strcmp(list[k]->isa, "amx") == 0 ? fabsf(c[i] - expected[i]) < 1e-5f
                                                             : c[i] == expected[i]);
            gemm(list[k], M, N, K, view(a, M, K, how & 1), view(b, K, N, how & 2), c, N, false, &s);
            assert_memory_not_equal(c, expected, sizeof c);
        }
    gemm_scratch_free(&s);
}

/* A value of C depends on its row and its column, not on how many stand beside them. */
static void test_a_part_of_a_product_is_the_smaller_product(void **state)
{
    enum { M = 64, N = 96, K = 300 };
    const struct train_kernels *list[2 * TRAIN_KERNELS_MAX];
    static float a[M * K], b[K * N], whole[M * N], part[M * N];
    struct gemm_scratch s;
    struct rand_pcg random;
    (void)state;
    rand_pcg_seed(&random, 3);
    for (int i = 0; i < M * K; i++)
        a[i] = (float)rand_pcg_double(&random) - 0.5f;
    for (int i = 0; i < K * N; i++)
        b[i] = (float)rand_pcg_double(&random) - 0.5f;
    assert_int_equal(gemm_scratch_create(&s, NULL), 0);
    int32_t n_list = train_kernels_list(list);
    for (int32_t k = 0; k < n_list; k++)
        list[n_list + k] = list[k]->rounding;
    for (int32_t k = 0; k < 2 * n_list; k++)
        for (int m = 1; m < M; m += 9)
            for (int n = 1; n < N; n += 13) {
                for (int i = 0; i < M * N; i++)
                    whole[i] = part[i] = (float)(i % 7);
                gemm(list[k], M, N, K, matrix_rows(a, K), matrix_rows(b, N), whole, N, true, &s);
                gemm(list[k], m, n, K, matrix_rows(a, K), matrix_rows(b, N), part, N, true, &s);
                for (int i = 0; i < m; i++)
                    assert_memory_equal(part + i * N, whole + i * N, (size_t)n * sizeof *part);
            }
    gemm_scratch_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products_are_the_sums),
        cmocka_unit_test(test_a_packed_matrix_serves_in_parts),
        cmocka_unit_test(test_a_large_packed_matrix_gives_the_same),
        cmocka_unit_test(test_a_part_of_a_product_is_the_smaller_product),
        cmocka_unit_test(test_products_of_bfloat16_are_those_of_rounded_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

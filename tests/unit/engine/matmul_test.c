/* Products of halves as a program runs them, on every instruction set: rows and columns of any number, one
 * panel of columns or several, rows that are no whole blocks; a token's result is the same to the bit in any
 * batch. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rand.h"
#include "engine/worker/program.h"
#include "engine/worker/tensor_quantize.h"
#include "unit/engine/isa.h"

enum { IN_MAX = 2080, OUT_MAX = 70, TOKENS_MAX = 270 };

static struct rand_pcg rng;
static float weights[IN_MAX * OUT_MAX], inputs[IN_MAX * TOKENS_MAX], together[OUT_MAX * TOKENS_MAX],
    apart[OUT_MAX * TOKENS_MAX];
static char halves[IN_MAX * OUT_MAX * 2];

static void fill(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(rand_pcg_double(&rng) * 2 - 1);
}

static void run(struct backend *b, const struct linear *l, int32_t from, int32_t n, float *out)
{
    static const int32_t zeros[TOKENS_MAX];
    const float *x = inputs + from * l->weight.n_in;
    struct program p = {0};
    struct error err = {0};
    program_reset(&p, &(struct program_batch){n, 0, zeros, zeros, zeros, NULL, TOKENS_MAX});
    program_output(
        &p, op_matmul(&p, l, op_input(&p, x, (int32_t)l->weight.n_in)), out + from * l->weight.n_out);
    assert_int_equal(b->ops->encode(b, &p, &err), 0);
    assert_int_equal(b->ops->submit(b, &err), 0);
    assert_int_equal(b->ops->sync(b, &err), 0);
    program_free(&p);
}

static void check_sum(const char *isa, const struct weight *w, int64_t token, int64_t row)
{
    double exact = 0, most = 0;
    for (int64_t i = 0; i < w->n_in; i++) {
        const double product = (double)weights[row * w->n_in + i] * (double)inputs[token * w->n_in + i];
        exact += product;
        most += fabs(product);
    }
    const double got = (double)together[token * w->n_out + row];
    if (!(fabs(got - exact) <= 2e-5 * most))
        fail_msg("%s %s %d x %d, token %d, row %d: %g, not %g", isa, tensor_type_info(w->type)->name,
            (int)w->n_in, (int)w->n_out, (int)token, (int)row, got, exact);
}

static void check(const char *isa, enum tensor_type type, int32_t n_in, int32_t n_out, int32_t n)
{
    struct error err = {0};
    struct backend *b = backend_for(isa, 2);
    const struct linear l = {
        .weight = {.type = type, .n_in = n_in, .n_out = n_out, .n_experts = 1, .data = halves}};
    fill(weights, (int64_t)n_in * n_out);
    fill(inputs, (int64_t)n_in * n);
    assert_int_equal(tensor_quantize(type, weights, halves, (int64_t)n_in * n_out, &err), 0);
    assert_int_equal(tensor_dequantize(type, halves, weights, (int64_t)n_in * n_out, &err), 0);
    run(b, &l, 0, n, together);
    for (int32_t token = 0; token < n; token += 7)
        for (int32_t row = token % 3; row < n_out; row += 3)
            check_sum(isa, &l.weight, token, row);
    for (int32_t from = 0, count = 1; from < n; from += count, count = count * 3 % 137) {
        count = count < n - from ? count : n - from;
        run(b, &l, from, count, apart);
    }
    assert_memory_equal(together, apart, (size_t)(n_out * n) * sizeof *together);
    backend_free(b);
}

static void halves_are_multiplied_in_any_shape(void **state)
{
    (void)state;
    static const int32_t shapes[][3] = {{32, 1, 1}, {64, 33, 9}, {96, 70, 10}, {2080, 31, 17}, {544, 64, 128},
        {512, 5, 129}, {1024, 40, 270}, {33, 20, 20}, {8, 3, 130}};
    const struct kernels *list[KERNELS_MAX];
    const int32_t n_isas = kernels_list(list);
    for (int32_t k = 0; k < n_isas; k++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            check(list[k]->isa, TENSOR_F16, shapes[i][0], shapes[i][1], shapes[i][2]);
            check(list[k]->isa, TENSOR_BF16, shapes[i][0], shapes[i][1], shapes[i][2]);
        }
}

int main(void)
{
    rand_pcg_seed(&rng, 20261129);
    const struct CMUnitTest tests[] = {cmocka_unit_test(halves_are_multiplied_in_any_shape)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

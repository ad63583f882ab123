/* A feed-forward network that goes in one piece (matmul_ffn.c) gives what its operations give one by one, to
 * the bit: on every instruction set, of every type that is quantised for, in any number of panels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "engine/worker/cpu/cpu.h"
#include "unit/engine/isa.h"

enum { N_IN = 256, N_FF = 1024, TOKENS_MAX = 300, N_THREADS = 2 };

static struct rand_pcg rng;
static float inputs[N_IN * TOKENS_MAX], whole[N_IN * TOKENS_MAX], single[N_IN * TOKENS_MAX], bias[N_FF],
    scale = 0.5f;
static uint8_t gate_rows[N_FF * N_IN * 4], up_rows[N_FF * N_IN * 4], down_rows[N_FF * N_IN * 4];

struct net {
    struct linear gate, up, down;
    bool up_first;
    enum glu glu;
};

static struct linear linear_of(enum tensor_type type, uint8_t *rows, int64_t n_in, int64_t n_out)
{
    const size_t bytes = tensor_row_bytes(type, n_in);
    for (int64_t r = 0; r < n_out; r++)
        product_random_row(type, &rng, -1, rows + (size_t)r * bytes, n_in);
    return (struct linear){
        .weight = {.type = type, .n_in = n_in, .n_out = n_out, .n_experts = 1, .data = rows}};
}

static void seen(void *ctx, const struct op *op, struct program_rows a, struct program_rows b)
{
    (void)op, (void)a, (void)b;
    ++*(int *)ctx;
}

/* Whoever watches the products sees each: then nothing goes in one piece. */
static void run(struct backend *b, const struct net *net, int32_t n, bool watched, bool in_one, float *out)
{
    static const int32_t zeros[TOKENS_MAX];
    struct program p = {0};
    struct error err = {0};
    int products = 0;
    const struct program_watch watch = {seen, &products};
    program_reset(&p, &(struct program_batch){n, 0, zeros, zeros, zeros, NULL, TOKENS_MAX});
    p.watch = watched ? &watch : NULL;
    const struct value x = op_input(&p, inputs, N_IN);
    const struct value first = op_matmul(&p, net->up_first ? &net->up : &net->gate, x),
                       second = op_matmul(&p, net->up_first ? &net->gate : &net->up, x);
    const struct value hidden =
        op_glu(&p, net->glu, net->up_first ? second : first, net->up_first ? first : second);
    program_output(&p, op_matmul(&p, &net->down, hidden), out);
    assert_int_equal(b->ops->encode(b, &p, &err), 0);
    assert_int_equal(cpu_ffn_begins((const struct cpu *)(const void *)b, 0), in_one && !watched);
    assert_int_equal(b->ops->submit(b, &err), 0);
    assert_int_equal(b->ops->sync(b, &err), 0);
    assert_int_equal(products, watched ? 3 : 0);
    program_free(&p);
}

static void check(const char *isa, const struct net *net, int32_t n, bool in_one)
{
    struct backend *b = backend_for(isa, N_THREADS);
    run(b, net, n, false, in_one, whole);
    run(b, net, n, true, in_one, single);
    if (memcmp(whole, single, sizeof *whole * (size_t)(n * N_IN)) != 0)
        fail_msg("%s %s, then %s, %d tokens: not the same in one piece", isa,
            tensor_type_info(net->gate.weight.type)->name, tensor_type_info(net->down.weight.type)->name,
            (int)n);
    backend_free(b);
}

static void one_piece_gives_what_single_operations_give(void **state)
{
    (void)state;
    static const enum tensor_type types[][2] = {{TENSOR_Q4_K, TENSOR_Q4_K}, {TENSOR_Q4_K, TENSOR_Q6_K},
        {TENSOR_Q5_K, TENSOR_IQ4_XS}, {TENSOR_Q6_K, TENSOR_Q4_K}, {TENSOR_Q8_0, TENSOR_Q8_0},
        {TENSOR_Q4_0, TENSOR_Q4_1}, {TENSOR_MXFP4, TENSOR_Q8_0}};
    const struct kernels *list[KERNELS_MAX];
    const int32_t n_isas = kernels_list(list);
    for (int i = 0; i < N_IN * TOKENS_MAX; i++)
        inputs[i] = (float)(rand_pcg_double(&rng) * 2 - 1);
    for (int i = 0; i < N_FF; i++)
        bias[i] = (float)(rand_pcg_double(&rng) * 2 - 1);
    for (int32_t k = 0; k < n_isas; k++)
        for (size_t i = 0; i < sizeof types / sizeof *types && list[k]->products; i++) {
            struct net net = {.gate = linear_of(types[i][0], gate_rows, N_IN, N_FF),
                .up = linear_of(types[i][0], up_rows, N_IN, N_FF),
                .down = linear_of(types[i][1], down_rows, N_FF, N_IN),
                .up_first = i % 2,
                .glu = i % 3 ? GLU_SILU : GLU_GELU};
            check(list[k]->isa, &net, TOKENS_MAX, true);
            net.gate.bias = bias;
            net.up.weight.scales = &scale;
            check(list[k]->isa, &net, 33, true);
            check(list[k]->isa, &net, 32, false);
        }
}

int main(void)
{
    rand_pcg_seed(&rng, 20261129);
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_piece_gives_what_single_operations_give)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

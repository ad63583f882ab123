/* Which operations follow each other without all threads waiting (order.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/worker/cpu/cpu.h"
#include "unit/engine/isa.h"

enum { N = 8, WIDTH = 64 };

static float input[N * WIDTH], output[N * WIDTH], table[WIDTH * WIDTH];
static const int32_t zeros[N];

static const struct cpu *encode(struct backend *b, struct program *p)
{
    struct error err = {0};
    assert_int_equal(b->ops->encode(b, p, &err), 0);
    return (const struct cpu *)(const void *)b;
}

static void begin(struct program *p)
{
    program_reset(p, &(struct program_batch){N, 0, zeros, zeros, zeros, NULL, N});
}

static void rows_go_on_unless_the_next_ones_lie_elsewhere_in_the_same_memory(void **state)
{
    (void)state;
    struct backend *b = backend_for("scalar", 2);
    struct program p = {0};
    begin(&p);
    const struct value x = op_input(&p, input, WIDTH);
    const struct value sum = op_add(&p, x, x), part = op_part(&p, sum, WIDTH, 0, WIDTH / 2);
    const struct value twice = op_add(&p, part, part); /* half as wide, where `sum` was */
    program_output(&p, op_scale(&p, twice, 2), output);
    const struct cpu *c = encode(b, &p);
    assert_int_equal(program_value(&p, twice)->offset, program_value(&p, sum)->offset);
    assert_true(cpu_goes_on(c, 0, 0, false));
    assert_false(cpu_goes_on(c, 0, 1, false));
    assert_false(cpu_goes_on(c, 1, 1, false));
    assert_true(cpu_goes_on(c, 2, 2, false));
    program_free(&p);
    backend_free(b);
}

static void products_of_one_input_go_on_and_what_reads_them_does_not(void **state)
{
    (void)state;
    struct backend *b = backend_for("scalar", 2);
    struct program p = {0};
    const struct linear l = {
        .weight = {.type = TENSOR_F32, .n_in = WIDTH, .n_out = WIDTH, .n_experts = 1, .data = table}};
    begin(&p);
    const struct value x = op_input(&p, input, WIDTH);
    const struct value q = op_matmul(&p, &l, x), k = op_matmul(&p, &l, x);
    program_output(&p, op_matmul(&p, &l, op_add(&p, q, k)), output);
    const struct cpu *c = encode(b, &p);
    assert_true(cpu_goes_on(c, 0, 0, false));
    assert_false(cpu_goes_on(c, 0, 1, false));
    assert_false(cpu_goes_on(c, 2, 2, false));
    assert_true(cpu_goes_on(c, 2, 2, true)); /* a thread quantises the rows that it has added */
    p.watch = &(const struct program_watch){0};
    assert_false(cpu_goes_on(c, 0, 0, false));
    program_free(&p);
    backend_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_go_on_unless_the_next_ones_lie_elsewhere_in_the_same_memory),
        cmocka_unit_test(products_of_one_input_go_on_and_what_reads_them_does_not)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

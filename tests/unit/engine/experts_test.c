/* Products of experts: what a token gets does not depend on its company, and an expert that no token is
 * routed to is not read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rand.h"
#include "engine/worker/program.h"
#include "unit/engine/isa.h"

/* A matrix is whole pages of any size up to 64 KiB. */
enum { IN = 1024, OUT = 1024, N_EXPERTS = 5, TOKENS = 200, USED = 2 };

static float inputs[TOKENS * IN], scores[TOKENS * N_EXPERTS];

struct rig {
    struct backend *backend;
    struct linear experts;
    uint8_t *memory;
    size_t bytes; /* of a matrix */
};

static void rig_make(struct rig *r, const char *isa, enum tensor_type type)
{
    struct rand_pcg random;
    rand_pcg_seed(&random, 20261128);
    const size_t row = tensor_row_bytes(type, IN);
    r->bytes = row * OUT;
    assert_int_equal(r->bytes % (size_t)sysconf(_SC_PAGESIZE), 0);
    r->backend = backend_for(isa, 2);
    r->memory = mmap(NULL, N_EXPERTS * r->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(r->memory != MAP_FAILED);
    for (size_t i = 0; i < (size_t)N_EXPERTS * OUT; i++)
        if (type == TENSOR_F32)
            for (size_t k = 0; k < IN; k++)
                ((float *)(void *)(r->memory + i * row))[k] = (float)(rand_pcg_double(&random) * 2 - 1);
        else
            product_random_row(type, &random, -1, r->memory + i * row, IN);
    for (size_t i = 0; i < (size_t)TOKENS * IN; i++)
        inputs[i] = (float)(rand_pcg_double(&random) * 2 - 1);
    r->experts = (struct linear){
        .weight = {.type = type, .n_in = IN, .n_out = OUT, .n_experts = N_EXPERTS, .data = r->memory}};
}

static void rig_free(struct rig *r)
{
    munmap(r->memory, N_EXPERTS * r->bytes);
    backend_free(r->backend);
}

/* Tokens [from, from + n) by the experts with the best scores. */
static void run(const struct rig *r, int32_t from, int32_t n, float *out)
{
    const struct weight x = {.type = TENSOR_F32, .n_in = IN, .n_out = TOKENS, .n_experts = 1, .data = inputs};
    const struct weight s = {
        .type = TENSOR_F32, .n_in = N_EXPERTS, .n_out = TOKENS, .n_experts = 1, .data = scores};
    int32_t tokens[TOKENS], zeros[TOKENS] = {0};
    struct program p = {0};
    struct error err;
    for (int32_t i = 0; i < n; i++)
        tokens[i] = from + i;
    program_reset(&p, &(struct program_batch){n, 1, tokens, zeros, zeros, zeros, n});
    struct value routes = op_route(&p, op_embed(&p, &s), USED);
    program_output(&p, op_matmul_experts(&p, &r->experts, op_embed(&p, &x), routes, USED), out);
    assert_int_equal(r->backend->ops->encode(r->backend, &p, &err), 0);
    assert_int_equal(r->backend->ops->submit(r->backend, &err), 0);
    assert_int_equal(r->backend->ops->sync(r->backend, &err), 0);
    program_free(&p);
}

static void check(const char *isa, enum tensor_type type)
{
    static float together[TOKENS * USED * OUT], alone[USED * OUT];
    struct rig r;
    rig_make(&r, isa, type);
    /* Everyone goes to expert 3, and to 1 or 4; nobody to 0 and 2, whose memory may not even be looked at. */
    for (int32_t t = 0; t < TOKENS; t++) {
        const float all[N_EXPERTS] = {
            -9, t % 3 == 0 ? 2.0f : 0.0f, -9, t % 2 == 0 ? 3.0f : 1.0f, t % 3 == 0 ? 0.0f : 2.0f};
        memcpy(scores + t * N_EXPERTS, all, sizeof all);
    }
    assert_int_equal(mprotect(r.memory, r.bytes, PROT_NONE), 0);
    assert_int_equal(mprotect(r.memory + 2 * r.bytes, r.bytes, PROT_NONE), 0);
    run(&r, 0, TOKENS, together);
    for (int32_t t = 0; t < TOKENS; t += 17) {
        run(&r, t, 1, alone);
        assert_memory_equal(alone, together + (size_t)t * USED * OUT, sizeof alone);
    }
    rig_free(&r);
}

static void experts_nobody_is_routed_to_are_not_read(void **state)
{
    (void)state;
    const struct kernels *list[KERNELS_MAX];
    const int32_t n = kernels_list(list);
    for (int32_t i = 0; i < n; i++) {
        check(list[i]->isa, TENSOR_F32);
        check(list[i]->isa, TENSOR_Q4_K);
        check(list[i]->isa, TENSOR_Q6_K);
        check(list[i]->isa, TENSOR_Q8_0);
        check(list[i]->isa, TENSOR_F16);
        check(list[i]->isa, TENSOR_BF16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(experts_nobody_is_routed_to_are_not_read)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

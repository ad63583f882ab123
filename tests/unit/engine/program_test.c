#include "engine/worker/program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"

enum { ROUNDS = 200, OPS = 300, WINDOW = 6 };

static struct rand_pcg rng;

static int32_t below(int32_t n)
{
    return (int32_t)(rand_pcg_u32(&rng) % (uint32_t)n);
}

/* The first and last operation that touch each value, found anew. */
static void spans(const struct program *p, size_t *first, size_t *last)
{
    for (size_t i = 0; i < p->n_ops; i++) {
        const struct value touched[] = {p->ops[i].out, p->ops[i].a, p->ops[i].b};
        for (int j = 0; j < 3; j++)
            if (touched[j].id >= 0) {
                if (j == 0)
                    first[touched[j].id] = i;
                last[touched[j].id] = i;
            }
    }
}

static void check_plan(struct program *p)
{
    static size_t first[OPS + 2], last[OPS + 2];
    size_t floats, sum = 0;
    struct error err = {0};
    assert_int_equal(program_plan(p, &floats, &err), 0);
    spans(p, first, last);
    for (size_t i = 0; i < p->n_values; i++) {
        const struct value_info *a = &p->values[i];
        size_t size = (size_t)a->rows * (size_t)a->width;
        assert_true(a->offset % 16 == 0 && a->offset + size <= floats);
        sum += size;
        for (size_t j = 0; j < i; j++) {
            const struct value_info *b = &p->values[j];
            bool together = first[i] <= last[j] && first[j] <= last[i];
            bool apart = a->offset >= b->offset + (size_t)b->rows * (size_t)b->width ||
                         b->offset >= a->offset + size || size == 0;
            assert_true(!together || apart);
        }
    }
    assert_true(floats < sum / 4); /* memory is used again */
}

/* Values of random widths, each read by operations soon after. */
static void living_values_never_overlap(void **state)
{
    (void)state;
    static const float weight[1];
    struct program p = {0};
    int32_t outputs[1] = {0};
    rand_pcg_seed(&rng, 4);
    for (int round = 0; round < ROUNDS; round++) {
        struct program_batch batch = {1 + below(7), 1, outputs, outputs, outputs, outputs, 8};
        program_reset(&p, &batch);
        struct weight table = {.n_in = 50};
        struct value recent[WINDOW];
        for (int i = 0; i < WINDOW; i++)
            recent[i] = op_embed(&p, &table);
        while (p.n_ops < OPS) {
            struct value x = recent[below(WINDOW)];
            struct linear wider = {.weight = {.n_in = program_value(&p, x)->width, .n_out = 1 + below(100)}};
            recent[below(WINDOW)] = below(2) ? op_matmul(&p, &wider, x)
                                             : op_rms_norm(&p, x, weight, program_value(&p, x)->width, 0);
        }
        check_plan(&p);
    }
    program_free(&p);
}

static void results_for_the_host_take_no_scratch(void **state)
{
    (void)state;
    struct program p = {0};
    int32_t ids[2] = {0, 1};
    float host[2 * 1000];
    struct weight table = {.n_in = 1000};
    program_reset(&p, &(struct program_batch){2, 0, ids, ids, ids, ids, 8});
    program_output(&p, op_embed(&p, &table), host);
    size_t floats;
    struct error err = {0};
    assert_int_equal(program_plan(&p, &floats, &err), 0);
    assert_int_equal(floats, 0);
    assert_ptr_equal(program_value(&p, (struct value){0})->host, host);
    program_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(living_values_never_overlap),
        cmocka_unit_test(results_for_the_host_take_no_scratch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Single operations against their definitions in double precision. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "engine/worker/program.h"
#include "engine/worker/state.h"
#include "unit/engine/isa.h"

enum { ROWS = 9, WIDTH = 24, RUN = 6 };

static float table[ROWS * WIDTH], weight[WIDTH], bias[WIDTH], out[ROWS * WIDTH];
static const int32_t rows[ROWS] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
static const int32_t positions[ROWS] = {0, 1, 9, 10, 11, 19, 20, 500, 100000};
static const struct weight rows_of_table = {
    .type = TENSOR_F32, .n_in = WIDTH, .n_out = ROWS, .n_experts = 1, .data = table};

static void fill(void)
{
    struct rand_pcg r;
    rand_pcg_seed(&r, 3);
    for (int i = 0; i < ROWS * WIDTH; i++)
        table[i] = (float)(rand_pcg_double(&r) * 8 - 3);
    for (int i = 0; i < WIDTH; i++) {
        weight[i] = (float)rand_pcg_double(&r);
        bias[i] = (float)rand_pcg_double(&r);
    }
}

static struct program begin(void)
{
    static const int32_t slots[ROWS] = {0};
    struct program p = {0};
    program_reset(&p, &(struct program_batch){ROWS, 0, rows, slots, positions, NULL, 1 << 20});
    return p;
}

static void run(struct program *p, struct value v)
{
    struct backend *b = backend_for("scalar", 2);
    struct error err = {0};
    program_output(p, v, out);
    assert_int_equal(b->ops->encode(b, p, &err), 0);
    assert_int_equal(b->ops->submit(b, &err), 0);
    assert_int_equal(b->ops->sync(b, &err), 0);
    program_free(p);
    backend_free(b);
}

static void check(int row, int column, double exact)
{
    double got = (double)out[row * WIDTH + column];
    if (!(fabs(got - exact) <= 2e-6 * (1 + fabs(exact))))
        fail_msg("row %d, column %d: %g, not %g", row, column, got, exact);
}

static void means(void **state)
{
    (void)state;
    struct program p = begin();
    run(&p, op_mean(&p, op_embed(&p, &rows_of_table)));
    for (int i = 0; i < WIDTH; i++) {
        double sum = 0;
        for (int r = 0; r < ROWS; r++)
            sum += (double)table[r * WIDTH + i];
        check(0, i, sum / ROWS);
    }
}

static void scales(void **state)
{
    (void)state;
    struct program p = begin();
    run(&p, op_scale(&p, op_embed(&p, &rows_of_table), -2.5f));
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < WIDTH; i++)
            check(r, i, -2.5 * (double)table[r * WIDTH + i]);
}

/* By steps: the first `span` positions are left as they are. */
static void late_positions_grow(void **state)
{
    (void)state;
    struct program p = begin();
    run(&p, op_scale_late(&p, op_embed(&p, &rows_of_table), 0.125f, 10));
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < WIDTH; i++)
            check(r, i, (double)table[r * WIDTH + i] * (1 + 0.125 * log(1 + floor(positions[r] / 10))));
    assert_true(out[2 * WIDTH] == table[2 * WIDTH] && out[3 * WIDTH] != table[3 * WIDTH]);
}

static void logits_are_capped(void **state)
{
    (void)state;
    struct program p = begin();
    run(&p, op_softcap(&p, op_embed(&p, &rows_of_table), 2));
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < WIDTH; i++)
            check(r, i, 2 * tanh((double)table[r * WIDTH + i] / 2));
}

static void check_layer_norm(int32_t width, bool each, bool biased)
{
    struct program p = begin();
    run(&p,
        op_layer_norm(&p, op_embed(&p, &rows_of_table), weight, biased ? bias : NULL, width, each, 1e-5f));
    for (int r = 0; r < ROWS; r++)
        for (int from = 0; from < WIDTH; from += width) {
            const float *x = table + r * WIDTH + from;
            double mean = 0, variance = 0;
            for (int i = 0; i < width; i++)
                mean += (double)x[i] / width;
            for (int i = 0; i < width; i++)
                variance += ((double)x[i] - mean) * ((double)x[i] - mean) / width;
            for (int i = 0; i < width; i++) {
                int at = each ? from + i : i;
                check(r, from + i,
                    ((double)x[i] - mean) / sqrt(variance + 1e-5) * (double)weight[at] +
                        (biased ? (double)bias[at] : 0));
            }
        }
}

static void layers_are_normed(void **state)
{
    (void)state;
    check_layer_norm(WIDTH, false, false);
    check_layer_norm(WIDTH, false, true);
    check_layer_norm(RUN, false, true);
    check_layer_norm(RUN, true, false);
    check_layer_norm(RUN, true, true);
}

/* One head, keys = values = queries, scores capped. */
static void scores_are_capped(void **state)
{
    (void)state;
    struct backend *b = backend_for("scalar", 2);
    struct state_spec spec = {
        .kind = STATE_KV, .kv = {.type = TENSOR_F32, .n_heads = 1, .k_width = WIDTH, .v_width = WIDTH}};
    struct error err = {0};
    void *layer = NULL;
    assert_int_equal(state_kinds[STATE_KV]->create(
                         &spec, b, &(struct state_room){.n_slots = 1, .n_context = ROWS}, &layer, &err),
        0);
    struct attention how = {.n_heads = 1, .scale = 0.25f, .softcap = 1.5f};
    struct program p = begin();
    p.batch.positions = rows;
    struct value x = op_embed(&p, &rows_of_table);
    op_kv_write(&p, layer, x, x);
    run(&p, op_attention(&p, layer, x, &how));
    for (int r = 0; r < ROWS; r++) {
        double terms[ROWS], sum = 0;
        for (int k = 0; k <= r; k++) {
            double score = 0;
            for (int i = 0; i < WIDTH; i++)
                score += (double)table[r * WIDTH + i] * (double)table[k * WIDTH + i];
            sum += terms[k] = exp(1.5 * tanh(score * 0.25 / 1.5));
        }
        for (int i = 0; i < WIDTH; i++) {
            double exact = 0;
            for (int k = 0; k <= r; k++)
                exact += terms[k] / sum * (double)table[k * WIDTH + i];
            check(r, i, exact);
        }
    }
    state_kinds[STATE_KV]->free(layer);
    backend_free(b);
}

int main(void)
{
    fill();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(means),
        cmocka_unit_test(scales),
        cmocka_unit_test(late_positions_grow),
        cmocka_unit_test(logits_are_capped),
        cmocka_unit_test(layers_are_normed),
        cmocka_unit_test(scores_are_capped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

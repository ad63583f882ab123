/* What a recurrent layer keeps and goes back to, and how experts are chosen in groups. */
#include "engine/worker/recurrent.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/worker/program.h"
#include "engine/worker/state.h"
#include "unit/engine/isa.h"

static const struct state_ops *ops(void)
{
    return state_kinds[STATE_RECURRENT];
}

static struct recurrent_layer *layer_new(
    struct backend *b, const struct recurrent_spec *spec, int32_t n_slots)
{
    struct state_spec s = {.kind = STATE_RECURRENT, .recurrent = *spec};
    struct error err = {0};
    void *layer = NULL;
    const struct state_room *room = &(struct state_room){.n_slots = n_slots, .n_context = 64};
    assert_int_equal(ops()->create(&s, b, room, &layer, &err), 0);
    assert_int_equal(ops()->bytes(&s, room), ((struct recurrent_layer *)layer)->bytes);
    return layer;
}

/* A step never writes what it reads, and what is kept can be gone back to. */
static void snapshots_outlive_single_tokens(void **state)
{
    (void)state;
    struct backend *b = backend_for("scalar", 1);
    struct recurrent_layer *l = layer_new(b, &(struct recurrent_spec){3, 4, 2, 5, 7}, 2);
    const struct recurrent_slot *s = &l->slots[1];
    ops()->advance(l, 1, 40); /* a prompt */
    assert_int_equal(s->from, -1);
    for (int32_t length = 41; length <= 50; length++) {
        ops()->advance(l, 1, length);
        assert_int_not_equal(s->from, s->to);
        assert_int_equal(s->lengths[s->from], length - 1);
        assert_int_equal(s->lengths[s->to], length);
    }
    assert_int_equal(ops()->truncate(l, 0, 50), 0); /* another slot */
    assert_int_equal(ops()->truncate(l, 1, 51), 50);
    assert_int_equal(ops()->truncate(l, 1, 49), 49); /* what a failed step would need */
    assert_int_equal(ops()->truncate(l, 1, 48), 40); /* the prompt */
    ops()->advance(l, 1, 46);
    assert_int_equal(s->lengths[s->from], 40);
    assert_int_equal(ops()->truncate(l, 1, 39), 0);
    ops()->advance(l, 1, 5);
    assert_int_equal(s->from, -1);
    ops()->free(l);
    backend_free(b);
}

/* The newest prompt is the one that is gone back to. */
static void later_prompts_replace_earlier_ones(void **state)
{
    (void)state;
    struct backend *b = backend_for("scalar", 1);
    struct recurrent_layer *l = layer_new(b, &(struct recurrent_spec){1, 1, 1, 1, 1}, 1);
    static const int32_t lengths[] = {512, 1024, 1536, 1600};
    for (size_t i = 0; i < 4; i++)
        ops()->advance(l, 0, lengths[i]);
    for (int32_t length = 1601; length < 1620; length++)
        ops()->advance(l, 0, length);
    assert_int_equal(ops()->truncate(l, 0, 1610), 1600);
    ops()->free(l);
    ops()->free(NULL);
    backend_free(b);
}

static void sizes_that_do_not_fit(void **state)
{
    (void)state;
    struct backend *b = backend_for("scalar", 1);
    struct state_spec s = {.kind = STATE_RECURRENT, .recurrent = {63, 1 << 22, 1 << 12, 1 << 12, 1 << 12}};
    struct error err = {0};
    void *layer = NULL;
    assert_int_equal(
        ops()->create(&s, b, &(struct state_room){.n_slots = 1 << 12, .n_context = 64}, &layer, &err),
        ERROR_MEMORY);
    assert_non_null(strstr(err.message, "memory"));
    backend_free(b);
}

/* The experts and weights for these scores. */
static void route(const float *scores, int32_t n, const struct routing *how, float *out)
{
    struct backend *b = backend_for("scalar", 1);
    struct error err = {0};
    struct program p = {0};
    int32_t token = 0, slot = 0, position = 0, output = 0;
    float zero[1] = {1};
    struct program_batch batch = {1, 1, &token, &slot, &position, &output, 8};
    /* Scores come as the bias of a product with nothing. */
    float *nothing = calloc((size_t)n, sizeof *nothing);
    struct weight table = {.type = TENSOR_F32, .n_in = 1, .n_out = 1, .n_experts = 1, .data = zero};
    struct linear linear = {
        .weight = {.type = TENSOR_F32, .n_in = 1, .n_out = n, .n_experts = 1, .data = nothing},
        .bias = scores};
    program_reset(&p, &batch);
    program_output(&p, op_route_by(&p, op_matmul(&p, &linear, op_embed(&p, &table)), how), out);
    if (b->ops->encode(b, &p, &err) || b->ops->submit(b, &err) || b->ops->sync(b, &err))
        fail_msg("%s", err.message);
    program_free(&p);
    free(nothing);
    backend_free(b);
}

static void experts_are_chosen(void **state)
{
    (void)state;
    static const float scores[8] = {1, 4, 3, -1, 2.5f, 2, 0, 3.5f};
    static const float bias[8] = {9, 0, 0, 0, 0, 0, 0, 0}, factors[8] = {1, 2, 1, 1, 1, 1, 1, 1};
    float out[4];
    route(scores, 8, &(struct routing){.score = ROUTING_CHOSEN, .n_used = 2, .scale = 1}, out);
    assert_true(out[0] == 1 && out[1] == 7);
    assert_true(fabsf(out[2] - 1 / (1 + expf(-0.5f))) < 1e-6f && fabsf(out[2] + out[3] - 1) < 1e-6f);
    /* The bias chooses, the score weighs. */
    struct routing sigmoid = {.score = ROUTING_SIGMOID, .n_used = 2, .bias = bias, .scale = 2};
    route(scores, 8, &sigmoid, out);
    assert_true(out[0] == 0 && out[1] == 1);
    assert_true(fabsf(out[2] - 2 / (1 + expf(-1))) < 1e-6f);
    /* Groups of two by the sum of both: {1 4} {3 -1} {2.5 2} {0 3.5}; the third has the second best expert's
     * sum less than the first, so 4 and 2.5 remain. */
    struct routing groups = {
        .score = ROUTING_CHOSEN, .n_used = 2, .n_groups = 4, .n_groups_used = 2, .scale = 1};
    route(scores, 8, &groups, out);
    assert_true(out[0] == 1 && out[1] == 4);
    groups.factors = factors;
    float plain = out[2];
    route(scores, 8, &groups, out);
    assert_true(fabsf(out[2] - 2 * plain) < 1e-6f);
    struct routing softmax = {.n_used = 2, .normalized = true, .scale = 1};
    route((const float[4]){NAN, 1, NAN, 2}, 4, &softmax, out);
    assert_true(out[0] >= 0 && out[0] < 4 && out[1] >= 0 && out[1] < 4 && out[0] != out[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(snapshots_outlive_single_tokens),
        cmocka_unit_test(later_prompts_replace_earlier_ones),
        cmocka_unit_test(sizes_that_do_not_fit),
        cmocka_unit_test(experts_are_chosen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

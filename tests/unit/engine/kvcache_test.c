#include "engine/worker/kvcache.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "engine/worker/program.h"
#include "engine/worker/state.h"
#include "unit/engine/isa.h"

/* Deeper than the tile in which attention reads the cache; with a window, than the ring. */
enum {
    KV_HEADS = 2,
    GROUP = 3,
    K_WIDTH = 10,
    V_WIDTH = 7,
    SLOTS = 2,
    DEPTH = 150,
    DEEPEST = 1300,
    WINDOW = 70
};

#define ROOM(slots, context) (&(struct state_room){.n_slots = (slots), .n_context = (context)})

static struct state_spec spec_of(enum tensor_type type)
{
    return (struct state_spec){
        .kind = STATE_KV, .kv = {.type = type, .n_heads = KV_HEADS, .k_width = K_WIDTH, .v_width = V_WIDTH}};
}

static void rows_do_not_overlap(void **state)
{
    (void)state;
    static const enum tensor_type types[] = {TENSOR_F32, TENSOR_F16};
    struct backend *b = backend_for("scalar", 1);
    for (int i = 0; i < 2; i++) {
        struct state_spec spec = spec_of(types[i]);
        struct kv_layer *l;
        void *layer = NULL;
        struct error err = {0};
        assert_int_equal(state_kinds[STATE_KV]->create(&spec, b, ROOM(SLOTS, 5), &layer, &err), 0);
        l = layer;
        size_t size = types[i] == TENSOR_F32 ? 4 : 2;
        assert_int_equal(l->bytes, SLOTS * KV_HEADS * 5 * (K_WIDTH + V_WIDTH) * size);
        assert_int_equal(l->bytes, state_kinds[STATE_KV]->bytes(&spec, ROOM(SLOTS, 5)));
        /* Every byte written once, in the order of the addresses. */
        char *at = l->keys;
        for (int32_t s = 0; s < SLOTS; s++)
            for (int32_t h = 0; h < KV_HEADS; h++)
                for (int32_t p = 0; p < 5; p++, at += K_WIDTH * size) {
                    assert_ptr_equal(kv_key(l, s, h, p), at);
                    memset(at, 1, K_WIDTH * size);
                }
        for (int32_t s = 0; s < SLOTS; s++)
            for (int32_t h = 0; h < KV_HEADS; h++)
                for (int32_t p = 0; p < 5; p++, at += V_WIDTH * size) {
                    assert_ptr_equal(kv_value(l, s, h, p), at);
                    memset(at, 1, V_WIDTH * size);
                }
        assert_ptr_equal(at, l->keys + l->bytes);
        assert_int_equal(state_kinds[STATE_KV]->truncate(l, 1, 3), 3);
        state_kinds[STATE_KV]->free(l);
    }
    state_kinds[STATE_KV]->free(NULL);
    backend_free(b);
}

static void impossible_caches_are_refused(void **state)
{
    (void)state;
    struct backend *b = backend_for("scalar", 1);
    struct error err = {0};
    void *layer = NULL;
    struct state_spec spec = spec_of(TENSOR_F64);
    assert_int_equal(state_kinds[STATE_KV]->create(&spec, b, ROOM(1, 1), &layer, &err), ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "F64"));
    spec = (struct state_spec){.kind = STATE_KV,
        .kv = {.type = TENSOR_F32, .n_heads = 1 << 30, .k_width = 1 << 30, .v_width = 1 << 30}};
    assert_true(state_kinds[STATE_KV]->bytes(&spec, ROOM(1 << 12, 1 << 24)) == UINT64_MAX);
    assert_int_equal(
        state_kinds[STATE_KV]->create(&spec, b, ROOM(1 << 12, 1 << 24), &layer, &err), ERROR_MEMORY);
    assert_null(layer);
    backend_free(b);
}

struct tables {
    float q[DEEPEST * KV_HEADS * GROUP * K_WIDTH], k[DEEPEST * KV_HEADS * K_WIDTH],
        v[DEEPEST * KV_HEADS * V_WIDTH];
};

static void fill(struct rand_pcg *r, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(rand_pcg_double(r) * 2 - 1);
}

/* Row n of each table is what token n brings. */
static double exact(const struct tables *t, int32_t window, int32_t token, int32_t head, int32_t value)
{
    double sum = 0, mixed = 0;
    for (int32_t p = window && token >= window ? token - window + 1 : 0; p <= token; p++) {
        double score = 0;
        for (int32_t i = 0; i < K_WIDTH; i++)
            score += (double)t->q[(token * KV_HEADS * GROUP + head) * K_WIDTH + i] *
                     (double)t->k[(p * KV_HEADS + head / GROUP) * K_WIDTH + i];
        score = exp(score * 0.25);
        sum += score;
        mixed += score * (double)t->v[(p * KV_HEADS + head / GROUP) * V_WIDTH + value];
    }
    return mixed / sum;
}

/* Writes `count` tokens from position `from` on into a slot and attends. */
static void run(struct backend *b, const struct kv_layer *l, const struct tables *t, int32_t slot,
    int32_t from, int32_t count, float *out)
{
    int32_t tokens[DEEPEST], slots[DEEPEST];
    for (int32_t i = 0; i < count; i++) {
        tokens[i] = from + i;
        slots[i] = slot;
    }
    struct weight q = {.type = TENSOR_F32,
        .n_in = KV_HEADS * GROUP * K_WIDTH,
        .n_out = DEEPEST,
        .n_experts = 1,
        .data = t->q};
    struct weight k = {
        .type = TENSOR_F32, .n_in = KV_HEADS * K_WIDTH, .n_out = DEEPEST, .n_experts = 1, .data = t->k};
    struct weight v = {
        .type = TENSOR_F32, .n_in = KV_HEADS * V_WIDTH, .n_out = DEEPEST, .n_experts = 1, .data = t->v};
    struct program p = {0};
    struct error err = {0};
    program_reset(&p, &(struct program_batch){count, 0, tokens, slots, tokens, NULL, DEEPEST});
    op_kv_write(&p, l, op_embed(&p, &k), op_embed(&p, &v));
    struct attention how = {.n_heads = KV_HEADS * GROUP, .scale = 0.25f};
    program_output(&p, op_attention(&p, l, op_embed(&p, &q), &how), out);
    assert_int_equal(b->ops->encode(b, &p, &err), 0);
    assert_int_equal(b->ops->submit(b, &err), 0);
    assert_int_equal(b->ops->sync(b, &err), 0);
    program_free(&p);
}

static void check_attention(
    const char *isa, struct state_spec spec, int32_t depth, int32_t step, double bound)
{
    enum { WIDTH = KV_HEADS * GROUP * V_WIDTH };
    static struct tables t[SLOTS];
    static float out[SLOTS][DEEPEST * WIDTH];
    struct backend *b = backend_for(isa, 3);
    struct error err = {0};
    struct rand_pcg r;
    void *layer = NULL;
    assert_int_equal(state_kinds[STATE_KV]->create(&spec, b, ROOM(SLOTS, depth), &layer, &err), 0);
    rand_pcg_seed(&r, 9);
    for (int32_t s = 0; s < SLOTS; s++) {
        fill(&r, t[s].q, sizeof t[s].q / sizeof(float));
        fill(&r, t[s].k, sizeof t[s].k / sizeof(float));
        fill(&r, t[s].v, sizeof t[s].v / sizeof(float));
    }
    for (int32_t from = 0; from < depth; from += step)
        for (int32_t s = 0; s < SLOTS; s++)
            run(b, layer, &t[s], s, from, depth - from < step ? depth - from : step, out[s] + from * WIDTH);
    for (int32_t s = 0; s < SLOTS; s++)
        for (int32_t i = 0; i < depth; i++)
            for (int32_t j = 0; j < WIDTH; j++) {
                double d =
                    exact(&t[s], spec.kv.window, i, j / V_WIDTH, j % V_WIDTH) - (double)out[s][i * WIDTH + j];
                if (!(fabs(d) <= bound))
                    fail_msg("%s: off by %g", isa, d);
            }
    state_kinds[STATE_KV]->free(layer);
    backend_free(b);
}

static void attention_is_exact(void **state)
{
    (void)state;
    const struct kernels *list[KERNELS_MAX];
    int32_t count = kernels_list(list);
    for (int32_t i = 0; i < count; i++) {
        check_attention(list[i]->isa, spec_of(TENSOR_F32), DEPTH, 50, 1e-6);
        check_attention(list[i]->isa, spec_of(TENSOR_F16), DEPTH, 50, 2e-3);
    }
}

/* The ring comes round twice, by the longest steps and by short ones. */
static void windows_slide(void **state)
{
    (void)state;
    struct state_spec f32 = spec_of(TENSOR_F32), f16 = spec_of(TENSOR_F16);
    f32.kv.window = f16.kv.window = WINDOW;
    assert_int_equal(state_kinds[STATE_KV]->bytes(&f32, ROOM(1, DEEPEST)),
        state_kinds[STATE_KV]->bytes(&f32, ROOM(1, 10 * DEEPEST)));
    check_attention("scalar", f32, DEEPEST, STATE_STEP_MAX, 1e-6);
    check_attention("scalar", f32, DEEPEST, 7, 1e-6);
    check_attention("scalar", f16, DEEPEST, STATE_STEP_MAX, 2e-3);
}

/* Back as far as all that the next token sees is still there; else to the start. */
static void windows_roll_back_what_they_hold(void **state)
{
    (void)state;
    const struct state_ops *ops = state_kinds[STATE_KV];
    struct backend *b = backend_for("scalar", 1);
    struct state_spec spec = spec_of(TENSOR_F32);
    struct error err = {0};
    void *layer = NULL;
    spec.kv.window = WINDOW;
    assert_int_equal(ops->create(&spec, b, ROOM(2, DEEPEST), &layer, &err), 0);
    ops->advance(layer, 0, 100);
    assert_int_equal(ops->truncate(layer, 0, 3), 3); /* nothing has been written over */
    ops->advance(layer, 0, 1000);
    assert_int_equal(ops->truncate(layer, 0, 1000 - STATE_STEP_MAX), 1000 - STATE_STEP_MAX);
    assert_int_equal(ops->truncate(layer, 0, 1000 - STATE_STEP_MAX), 1000 - STATE_STEP_MAX);
    assert_int_equal(ops->truncate(layer, 0, 1000 - STATE_STEP_MAX - 1), 0);
    ops->advance(layer, 0, 10);
    assert_int_equal(ops->truncate(layer, 0, 9), 9);
    assert_int_equal(ops->truncate(layer, 1, 0), 0);
    ops->free(layer);
    backend_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_do_not_overlap),
        cmocka_unit_test(impossible_caches_are_refused),
        cmocka_unit_test(attention_is_exact),
        cmocka_unit_test(windows_slide),
        cmocka_unit_test(windows_roll_back_what_they_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

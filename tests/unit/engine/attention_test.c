/* Attention against its definition in double precision, on every instruction set: grouped heads, odd widths,
 * depths around a tile's end, windows, sinks, caps; and a token's result, which is the same to the bit in any
 * batch. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "engine/worker/kvcache.h"
#include "engine/worker/program.h"
#include "engine/worker/state.h"
#include "engine/worker/tensor_quantize.h"
#include "unit/engine/isa.h"

enum { TOKENS_MAX = 210, WIDTH_MAX = 100, HEADS_MAX = 110, KV_MAX = 2, RING_CONTEXT = 2048 };

struct shape {
    enum tensor_type type;
    int32_t n_tokens, n_kv_heads, group, k_width, v_width, window;
    float softcap;
    bool sinks, latent;
    int32_t from; /* where the tokens stand; with a window, whose ring then turns within a tile */
};

static struct rand_pcg rng;
static const struct kernels *list[KERNELS_MAX];
static int32_t n_list;
static float q[TOKENS_MAX * HEADS_MAX * WIDTH_MAX], k[TOKENS_MAX * KV_MAX * WIDTH_MAX],
    v[TOKENS_MAX * KV_MAX * WIDTH_MAX], out[TOKENS_MAX * HEADS_MAX * WIDTH_MAX],
    keys[TOKENS_MAX * KV_MAX * WIDTH_MAX], values[TOKENS_MAX * KV_MAX * WIDTH_MAX], sinks[HEADS_MAX];

static void fill(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(rand_pcg_double(&rng) * 4 - 2);
}

static struct weight table(const float *data, int32_t width)
{
    return (struct weight){
        .type = TENSOR_F32, .n_in = width, .n_out = TOKENS_MAX, .n_experts = 1, .data = data};
}

/* Tokens [from, to), which are what the tables' rows hold. */
static void step(
    struct backend *b, const struct kv_layer *layer, const struct shape *s, int32_t from, int32_t to)
{
    static int32_t tokens[TOKENS_MAX], positions[TOKENS_MAX], slots[TOKENS_MAX];
    const int32_t n_heads = s->n_kv_heads * s->group;
    const struct weight qs = table(q, n_heads * s->k_width), ks = table(k, s->n_kv_heads * s->k_width),
                        vs = table(v, s->n_kv_heads * s->v_width);
    const struct attention how = {
        .n_heads = n_heads, .scale = 0.3f, .softcap = s->softcap, .sinks = s->sinks ? sinks : NULL};
    struct program p = {0};
    struct error err = {0};
    for (int32_t i = 0; i < TOKENS_MAX; i++)
        positions[i] = (tokens[i] = i) + s->from;
    program_reset(&p,
        &(struct program_batch){to - from, 0, tokens + from, slots, positions + from, NULL, RING_CONTEXT});
    if (s->latent)
        op_kv_write_latent(&p, layer, op_embed(&p, &ks));
    else
        op_kv_write(&p, layer, op_embed(&p, &ks), op_embed(&p, &vs));
    program_output(
        &p, op_attention(&p, layer, op_embed(&p, &qs), &how), out + (int64_t)from * n_heads * s->v_width);
    assert_int_equal(b->ops->encode(b, &p, &err), 0);
    assert_int_equal(b->ops->submit(b, &err), 0);
    assert_int_equal(b->ops->sync(b, &err), 0);
    program_free(&p);
}

/* What the cache makes of a row. */
static void keep(const struct shape *s, float *x, int32_t width)
{
    static char row[4 * WIDTH_MAX];
    struct error err = {0};
    if (s->type == TENSOR_F32)
        return;
    assert_int_equal(tensor_quantize(s->type, x, row, width, &err), 0);
    assert_int_equal(tensor_dequantize(s->type, row, x, width, &err), 0);
}

static double key_of(const struct shape *s, int32_t token, int32_t head, int32_t i)
{
    return (double)k[((int64_t)token * s->n_kv_heads + head) * s->k_width + i];
}

static double value_of(const struct shape *s, int32_t token, int32_t head, int32_t i)
{
    return s->latent ? key_of(s, token, head, i)
                     : (double)v[((int64_t)token * s->n_kv_heads + head) * s->v_width + i];
}

/* On a matrix unit 16 bits of queries and terms count. By integers (shorts.h) a score is off by about as much
 * as F16 leaves of its key: some 1e-5 of both lengths' product, which here is up to 40. */
static double most_off(const struct kernels *kernels, const struct shape *s)
{
    if (kernels->shorts && s->type == TENSOR_F16 && s->softcap == 0)
        return 2e-3;
    return s->type == TENSOR_BF16 ? 6e-5 : 2e-5;
}

static void check_query(const struct shape *s, int32_t token, int32_t h, double most)
{
    double terms[TOKENS_MAX], sum = s->sinks ? exp((double)sinks[h]) : 0;
    const int32_t n_heads = s->n_kv_heads * s->group, head = h / s->group;
    const int32_t first = s->window > 0 && token >= s->window ? token - s->window + 1 : 0;
    for (int32_t p = first; p <= token; p++) {
        double score = 0;
        for (int32_t i = 0; i < s->k_width; i++)
            score += (double)q[((int64_t)token * n_heads + h) * s->k_width + i] * key_of(s, p, head, i);
        score *= 0.3;
        score = s->softcap > 0 ? (double)s->softcap * tanh(score / (double)s->softcap) : score;
        sum += terms[p] = exp(score);
    }
    for (int32_t i = 0; i < s->v_width; i++) {
        double exact = 0;
        for (int32_t p = first; p <= token; p++)
            exact += terms[p] / sum * value_of(s, p, head, i);
        double got = (double)out[((int64_t)token * n_heads + h) * s->v_width + i];
        if (!(fabs(got - exact) <= most))
            fail_msg("token %d, head %d, value %d: %g, not %g", token, h, i, got, exact);
    }
}

static void check_shape(const struct kernels *kernels, const struct shape *s)
{
    struct backend *b = backend_for(kernels->isa, 2);
    struct state_spec spec = {.kind = STATE_KV,
        .kv = {.type = s->type,
            .n_heads = s->n_kv_heads,
            .k_width = s->k_width,
            .v_width = s->v_width,
            .window = s->window,
            .latent = s->latent}};
    const struct state_room room = {.n_slots = 1, .n_context = s->from > 0 ? RING_CONTEXT : TOKENS_MAX};
    struct error err = {0};
    void *layer = NULL;
    const int64_t n_out = (int64_t)s->n_tokens * s->n_kv_heads * s->group * s->v_width;
    float *together = calloc((size_t)n_out, sizeof *together);
    fill(q, (int64_t)s->n_tokens * s->n_kv_heads * s->group * s->k_width);
    fill(k, (int64_t)s->n_tokens * s->n_kv_heads * s->k_width);
    fill(v, (int64_t)s->n_tokens * s->n_kv_heads * s->v_width);
    fill(sinks, HEADS_MAX);
    assert_int_equal(state_kinds[STATE_KV]->create(&spec, b, &room, &layer, &err), 0);
    step(b, layer, s, 0, s->n_tokens);
    memcpy(keys, k, sizeof k);
    memcpy(values, v, sizeof v);
    for (int64_t row = 0; row < (int64_t)s->n_tokens * s->n_kv_heads; row++) {
        keep(s, k + row * s->k_width, s->k_width);
        keep(s, v + row * s->v_width, s->v_width);
    }
    for (int32_t t = s->from > 0 ? s->window : 0; t < s->n_tokens; t++)
        for (int32_t h = 0; h < s->n_kv_heads * s->group; h++)
            check_query(s, t, h, most_off(kernels, s));
    memcpy(k, keys, sizeof k);
    memcpy(v, values, sizeof v);
    memcpy(together, out, (size_t)n_out * sizeof *out);
    /* By one, then by a few, behind what stands there already: what is later must not matter. */
    for (int32_t from = 0, n = 1; from < s->n_tokens; from += n, n = n % 9 + 1)
        step(b, layer, s, from, from + n < s->n_tokens ? from + n : s->n_tokens);
    assert_memory_equal(together, out, (size_t)n_out * sizeof *out);
    free(together);
    state_kinds[STATE_KV]->free(layer);
    backend_free(b);
}

static void attention_is_what_it_is_defined_as(void **state)
{
    (void)state;
    static const struct shape shapes[] = {
        {TENSOR_F32, 1, 1, 1, 8, 8, 0, 0, false, false, 0},
        {TENSOR_F16, 63, 2, 4, 64, 64, 0, 0, false, false, 0},
        {TENSOR_F16, 64, 1, 1, 24, 8, 0, 0, false, false, 0},
        {TENSOR_F16, 65, 1, 12, 100, 100, 0, 0, true, false, 0},
        {TENSOR_F32, 129, 2, 3, 20, 36, 0, 0, false, false, 0},
        {TENSOR_F16, 200, 2, 2, 16, 16, 0, 1.5f, false, false, 0},
        {TENSOR_F16, 210, 1, 4, 32, 48, 70, 0, true, false, 0},
        {TENSOR_F32, 150, 2, 1, 16, 16, 5, 2, false, false, 0},
        {TENSOR_F16, 140, 1, 8, 72, 64, 0, 0, false, true, 0},
        {TENSOR_F32, 90, 1, 5, 12, 7, 64, 0, false, true, 0},
        {TENSOR_Q8_0, 130, 2, 4, 64, 32, 0, 0, false, false, 0},
        {TENSOR_Q4_0, 100, 1, 3, 32, 64, 20, 0, true, false, 0},
        {TENSOR_F16, 180, 2, 4, 32, 48, 20, 0, false, false, 450},
        {TENSOR_Q8_0, 180, 1, 3, 32, 32, 90, 0, false, false, 450},
        {TENSOR_BF16, 63, 2, 4, 64, 64, 0, 0, false, false, 0},
        {TENSOR_BF16, 64, 1, 1, 24, 8, 0, 0, false, false, 0},
        {TENSOR_BF16, 65, 1, 12, 100, 100, 0, 0, true, false, 0},
        {TENSOR_BF16, 200, 2, 2, 16, 16, 0, 1.5f, false, false, 0},
        {TENSOR_BF16, 210, 1, 4, 32, 48, 70, 0, true, false, 0},
        {TENSOR_BF16, 150, 2, 1, 96, 32, 5, 2, false, false, 0},
        {TENSOR_BF16, 140, 1, 8, 72, 64, 0, 0, false, true, 0},
        {TENSOR_BF16, 180, 2, 4, 32, 96, 20, 0, false, false, 450},
        {TENSOR_BF16, 66, 1, 110, 12, 8, 0, 0, true, true, 0},
        {TENSOR_F16, 66, 1, 110, 12, 8, 0, 0, true, true, 0}, /* more heads than a block has queries */
    };
    for (int32_t i = 0; i < n_list; i++)
        for (size_t n = 0; n < sizeof shapes / sizeof *shapes; n++)
            check_shape(list[i], &shapes[n]);
}

/* Scores that are far apart, the largest last: what was summed before is made nothing of, not a NaN. */
static void a_larger_score_takes_over(void **state)
{
    (void)state;
    const struct shape s = {TENSOR_F32, 200, 1, 1, 4, 4, 0, 0, false, false, 0};
    for (int32_t i = 0; i < n_list; i++) {
        struct backend *b = backend_for(list[i]->isa, 1);
        struct state_spec spec = {
            .kind = STATE_KV, .kv = {.type = TENSOR_F32, .n_heads = 1, .k_width = 4, .v_width = 4}};
        struct error err = {0};
        void *layer = NULL;
        assert_int_equal(state_kinds[STATE_KV]->create(&spec, b,
                             &(struct state_room){.n_slots = 1, .n_context = TOKENS_MAX}, &layer, &err),
            0);
        for (int32_t t = 0; t < s.n_tokens * 4; t++) {
            q[t] = 30;
            k[t] = (float)(t / 4) - 100;
            v[t] = (float)(t / 4);
        }
        step(b, layer, &s, 0, s.n_tokens);
        for (int32_t t = 0; t < s.n_tokens * 4; t++)
            assert_true(fabsf(out[t] - v[t]) <= 1e-4f);
        state_kinds[STATE_KV]->free(layer);
        backend_free(b);
    }
}

/* A term of 0 times what is no number was none, in tokens before it, whose keys and values others share. */
static void a_later_value_that_is_no_number_is_not_seen(void **state)
{
    (void)state;
    enum { FIRST_BROKEN = 70, TOKENS = 90, WIDTH = 40 };
    const float broken[] = {NAN, INFINITY, -INFINITY};
    for (int32_t i = 0; i < 2 * n_list; i++) {
        const struct shape s = {
            i % 2 ? TENSOR_F16 : TENSOR_BF16, TOKENS, 1, 2, WIDTH, WIDTH, 0, 0, false, false, 0};
        struct backend *b = backend_for(list[i / 2]->isa, 1);
        struct state_spec spec = {
            .kind = STATE_KV, .kv = {.type = s.type, .n_heads = 1, .k_width = WIDTH, .v_width = WIDTH}};
        struct error err = {0};
        void *layer = NULL;
        assert_int_equal(state_kinds[STATE_KV]->create(&spec, b,
                             &(struct state_room){.n_slots = 1, .n_context = TOKENS_MAX}, &layer, &err),
            0);
        fill(q, TOKENS * 2 * WIDTH);
        fill(k, TOKENS * WIDTH);
        fill(v, TOKENS * WIDTH);
        for (int32_t t = 0; t < 3; t++)
            v[(FIRST_BROKEN + 5 * t) * WIDTH + 7 * t] = broken[t];
        step(b, layer, &s, 0, TOKENS);
        for (int32_t t = 0; t < TOKENS; t++)
            for (int32_t j = 0; j < 2 * WIDTH; j++)
                if (t < FIRST_BROKEN)
                    assert_true(isfinite(out[t * 2 * WIDTH + j]));
        for (int32_t t = FIRST_BROKEN; t < TOKENS; t++)
            assert_false(isfinite(out[t * 2 * WIDTH]) && isfinite(out[t * 2 * WIDTH + WIDTH]));
        state_kinds[STATE_KV]->free(layer);
        backend_free(b);
    }
}

int main(void)
{
    rand_pcg_seed(&rng, 20261129);
    n_list = kernels_list(list);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_is_what_it_is_defined_as),
        cmocka_unit_test(a_larger_score_takes_over),
        cmocka_unit_test(a_later_value_that_is_no_number_is_not_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

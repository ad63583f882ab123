/* Every dense architecture on tiny models of random weights that the test makes itself: results do not depend
 * on how a sequence is cut into batches, windows slide, and a broken file is refused. That the results are
 * right is what model_vectors_test.c says. */
#include "engine/worker/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/engine/isa.h"
#include "unit/engine/tiny_dense.h"
#include "unit/engine/tiny_run.h"

static int load(struct loaded *x, const struct dense *d, const struct dense_fault *fault, struct error *err)
{
    size_t size;
    char *bytes = dense_model(d, fault, &size);
    return load_bytes(x, bytes, size, err);
}

static void start(struct loaded *x, const struct dense *d, int32_t n_slots, int32_t n_context)
{
    struct error err = {0};
    if (load(x, d, NULL, &err) != 0 || model_state_create(x->model, n_slots, n_context, &x->state, &err) != 0)
        fail_msg("%s: %s", d->name, err.message);
}

/* At once, in pieces of every kind, token by token at the end, in another slot, and after going back: equal
 * to the bit. The sequence is longer than a ring. */
static void cuts_do_not_matter(void **state)
{
    (void)state;
    for (const struct dense *d = dense_all; d->name; d++) {
        struct loaded x;
        float whole[DENSE_VOCAB], pieces[DENSE_VOCAB];
        start(&x, d, 2, CONTEXT);
        feed(&x, 0, 0, LONG, whole);
        for (int32_t at = 0, n = 1; at < LONG - 5; at += n, n = n * 2 % 701)
            feed(&x, 1, at, at + n < LONG - 5 ? at + n : LONG - 5, pieces);
        for (int32_t at = LONG - 5; at < LONG; at++)
            feed(&x, 1, at, at + 1, pieces);
        check_same(d->name, "pieces differ from the whole", whole, pieces);
        int32_t kept = model_state_truncate(x.state, 1, LONG - 9);
        assert_true(d->second ? kept == 0 || kept == LONG - 9 : kept == LONG - 9);
        feed(&x, 1, kept, LONG, pieces);
        check_same(d->name, "going back differs", whole, pieces);
        unload(&x);
    }
}

static void tokens_of_two_slots_share_a_batch(void **state)
{
    (void)state;
    for (const struct dense *d = dense_all; d->name; d++) {
        struct loaded x;
        float expected[2][DENSE_VOCAB], got[2][DENSE_VOCAB];
        struct error err = {0};
        start(&x, d, 2, 64);
        feed(&x, 0, 0, 20, expected[0]);
        feed(&x, 1, 0, 11, expected[1]);
        for (int32_t slot = 0; slot < 2; slot++) {
            int32_t length = slot ? 10 : 17, kept = model_state_truncate(x.state, slot, length);
            assert_true(kept == length || d->second);
            feed(&x, slot, kept, length, got[0]);
        }
        int32_t tokens[4], slots[4] = {1, 0, 0, 0};
        uint8_t wants[4] = {1, 0, 0, 1};
        for (int32_t i = 0, p = 10; i < 4; i++, p = 16 + i)
            tokens[i] = (p * 31 + p * p * 7 + 5) % DENSE_VOCAB;
        struct model_batch batch = {4, tokens, slots, wants};
        assert_int_equal(model_decode(x.state, &batch, got[0], &err), 0);
        check_same(d->name, "a slot differs in company", expected[1], got[0]);
        check_same(d->name, "a slot differs in company", expected[0], got[1]);
        unload(&x);
    }
}

/* A window's memory does not grow with the context, and what has been written over is not given back. */
static void windows_keep_no_more_than_they_see(void **state)
{
    (void)state;
    for (const struct dense *d = dense_all; d->name; d++) {
        struct loaded x;
        float logits[DENSE_VOCAB];
        start(&x, d, 1, CONTEXT);
        uint64_t per_position =
            (model_state_bytes(x.model, 1, 6400) - model_state_bytes(x.model, 1, 3200)) / 3200;
        uint64_t layer = DENSE_KV_HEADS * (DENSE_KEY + DENSE_VALUE) * sizeof(float);
        assert_in_range(per_position, layer * d->n_whole, layer * d->n_whole + 8); /* and the pages' tables */
        /* What a token reads has no spare page and no spare room of a ring. */
        uint64_t read = model_state_read(x.model, TENSOR_F32, 100);
        assert_int_equal(model_state_read(x.model, TENSOR_F32, 101) - read, layer * d->n_whole);
        assert_in_range(read, layer * d->n_whole * 100, layer * (d->n_whole * 100 + DENSE_LAYERS * 12));
        feed(&x, 0, 0, LONG, logits);
        assert_int_equal(model_state_truncate(x.state, 0, 8), d->n_whole == DENSE_LAYERS ? 8 : 0);
        unload(&x);
    }
}

/* Whatever a number of the file says, the model is refused or runs within its memory. */
static void hostile_numbers(void **state)
{
    (void)state;
    static const double numbers[] = {0, 1, 2, 3, 7, 12, 13, 1e6, 2147483647.0, 4294967295.0, NAN, -1};
    int refused = 0;
    for (const struct dense *d = dense_all; d->name; d++)
        for (int32_t key = 0; key < dense_keys(d); key++)
            for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
                struct dense_fault fault = {
                    .key = key, .number = numbers[i], .drop_key = -1, .drop_tensor = -1};
                struct loaded x;
                struct error err = {0};
                float logits[DENSE_VOCAB];
                int rc = load(&x, d, &fault, &err);
                if (rc == 0 && model_state_create(x.model, 1, 40, &x.state, &err) == 0)
                    feed(&x, 0, 0, 30, logits);
                else
                    assert_true(err.message[0]);
                refused += rc != 0;
                unload(&x);
            }
    assert_true(refused > 500);
}

static void missing_things_are_named(void **state)
{
    (void)state;
    for (const struct dense *d = dense_all; d->name; d++)
        for (int32_t i = 0; i < dense_tensors(d) + dense_keys(d); i++) {
            struct dense_fault fault = {.key = -1, .drop_key = i - dense_tensors(d), .drop_tensor = i};
            struct loaded x;
            struct error err = {0};
            char name[128];
            dense_name(d, i, name);
            int rc = load(&x, d, &fault, &err);
            if (dense_optional(d, name) ? rc != 0 : rc != ERROR_INVALID || !err.message[0])
                fail_msg("%s without %s: %d %s", d->name, name, rc, err.message);
            unload(&x);
        }
}

/* It was said to lack 'ffn_gate.weight', the tensor of a model without experts. */
static void a_mixture_that_does_not_count_its_experts_was_said_to_lack_a_tensor(void **state)
{
    (void)state;
    int mixtures = 0;
    for (const struct dense *d = dense_all; d->name; d++)
        for (int32_t i = 0; i < dense_keys(d); i++) {
            const struct dense_fault fault = {.key = -1, .drop_key = i, .drop_tensor = -1};
            struct loaded x;
            struct error err = {0};
            char name[128];
            dense_name(d, dense_tensors(d) + i, name);
            if (strcmp(name, "expert_count") != 0)
                continue;
            assert_int_equal(load(&x, d, &fault, &err), ERROR_INVALID);
            assert_non_null(strstr(err.message, ".expert_count'"));
            unload(&x);
            mixtures++;
        }
    assert_true(mixtures >= 2);
}

static const struct dense *dense_named(const char *name)
{
    const struct dense *d = dense_all;
    while (strcmp(d->name, name) != 0)
        d++;
    return d;
}

/* A decoder that embeds runs long texts in steps; its embedding is what the same file's logits are made of.
 */
static void long_texts_are_embedded_in_steps(void **state)
{
    (void)state;
    static int32_t tokens[LONG];
    const struct dense *writer = dense_named("qwen3");
    struct dense embedder = *writer;
    struct loaded a, b;
    struct error err = {0};
    float logits[DENSE_VOCAB], row[DENSE_EMBED];
    embedder.keys = DENSE_RMS "pooling_type=3";
    assert_int_equal(load(&a, writer, NULL, &err), 0);
    assert_int_equal(load(&b, &embedder, NULL, &err), 0);
    assert_int_equal(model_state_create(a.model, 1, CONTEXT, &a.state, &err), 0);
    assert_int_equal(model_state_create(b.model, 1, CONTEXT, &b.state, &err), 0);
    for (int32_t i = 0; i < LONG; i++)
        tokens[i] = feed_token(i);
    feed(&a, 0, 0, LONG, logits);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(model_encode(b.state, tokens, LONG, row, &err), 0);
        const float *table = gguf_tensor_find(b.gguf, "token_embd.weight")->data;
        for (int32_t t = 0; t < DENSE_VOCAB; t++) {
            double sum = 0;
            for (int32_t i = 0; i < DENSE_EMBED; i++)
                sum += (double)table[t * DENSE_EMBED + i] * (double)row[i];
            assert_true(fabs(sum - (double)logits[t]) < 1e-4 * (1 + fabs(sum)));
        }
    }
    unload(&a);
    unload(&b);
}

/* Was: a step over more tokens than a ring has rows wrote over keys that the same step was to read. */
static void a_mean_over_windows_is_refused(void **state)
{
    (void)state;
    struct dense d = *dense_named("lfm2");
    struct loaded x;
    struct error err = {0};
    d.keys = DENSE_RMS "shortconv.l_cache=3,attention.sliding_window=9,pooling_type=1";
    assert_int_equal(load(&x, &d, NULL, &err), ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "window"));
    unload(&x);
}

/* Was: the plain rope was read first, which files that name LongRoPE have not. */
static void longrope_may_be_named(void **state)
{
    (void)state;
    static const char *const keys[] = {DENSE_RMS "rope.scaling.original_context_length=16",
        DENSE_RMS "rope.scaling.original_context_length=16,rope.scaling.type=slongrope"};
    struct dense d = *dense_named("phi3");
    float logits[2][DENSE_VOCAB];
    d.tensors = "/rope_factors_short R,/rope_factors_long R," DENSE_PRE
                "attn_qkv EA,attn_output QE,ffn_up EG,ffn_down FE";
    for (int named = 0; named < 2; named++) {
        struct loaded x;
        d.keys = keys[named];
        start(&x, &d, 1, 64);
        feed(&x, 0, 0, 30, logits[named]);
        unload(&x);
    }
    check_same(d.name, "a name changes the rope", logits[0], logits[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_do_not_matter),
        cmocka_unit_test(tokens_of_two_slots_share_a_batch),
        cmocka_unit_test(windows_keep_no_more_than_they_see),
        cmocka_unit_test(hostile_numbers),
        cmocka_unit_test(missing_things_are_named),
        cmocka_unit_test(long_texts_are_embedded_in_steps),
        cmocka_unit_test(a_mixture_that_does_not_count_its_experts_was_said_to_lack_a_tensor),
        cmocka_unit_test(a_mean_over_windows_is_refused),
        cmocka_unit_test(longrope_may_be_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

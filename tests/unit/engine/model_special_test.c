/* The architectures with experts, latents, recurrent state or windows by layer, on tiny models of random
 * weights that the test makes itself: results do not depend on how a sequence is cut into batches, and a
 * broken file is refused. That the results are right is what model_vectors_test.c says. */
#include "engine/worker/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/engine/isa.h"
#include "unit/engine/tiny_special.h"
#include "unit/engine/tiny_run.h"

static int load(struct loaded *x, const struct special *d, const struct dense_fault *fault, struct error *err)
{
    size_t size;
    char *bytes = special_model(d, fault, &size);
    return load_bytes(x, bytes, size, err);
}

static void start(struct loaded *x, const struct special *d, int32_t n_slots, int32_t n_context)
{
    struct error err = {0};
    if (load(x, d, NULL, &err) != 0 || model_state_create(x->model, n_slots, n_context, &x->state, &err) != 0)
        fail_msg("%s: %s", d->name, err.message);
}

/* At once, in pieces of every kind, token by token at the end, in another slot, and after going back: equal
 * to the bit. The sequence is longer than a ring. A recurrent state goes back to the end of the last run. */
static void cuts_do_not_matter(void **state)
{
    (void)state;
    for (const struct special *d = special_all; d->name; d++) {
        struct loaded x;
        float whole[DENSE_VOCAB], pieces[DENSE_VOCAB];
        start(&x, d, 2, CONTEXT);
        feed(&x, 0, 0, LONG, whole);
        for (int32_t at = 0, n = 1; at < LONG - 5; at += n, n = n * 2 % 701)
            feed(&x, 1, at, at + n < LONG - 5 ? at + n : LONG - 5, pieces);
        for (int32_t at = LONG - 5; at < LONG; at++)
            feed(&x, 1, at, at + 1, pieces);
        check_same(d->name, "pieces differ from the whole", whole, pieces);
        int32_t kept = model_state_truncate(x.state, 1, LONG - 3);
        assert_int_equal(kept, d->recurrent ? LONG - 5 : LONG - 3);
        assert_int_equal(model_state_length(x.state, 1), kept);
        feed(&x, 1, kept, LONG, pieces);
        check_same(d->name, "going back differs", whole, pieces);
        unload(&x);
    }
}

static void tokens_of_two_slots_share_a_batch(void **state)
{
    (void)state;
    for (const struct special *d = special_all; d->name; d++) {
        struct loaded x;
        float expected[2][DENSE_VOCAB], got[2][DENSE_VOCAB];
        struct error err = {0};
        start(&x, d, 4, 64);
        feed(&x, 0, 0, 20, expected[0]);
        feed(&x, 1, 0, 11, expected[1]);
        feed(&x, 2, 0, 17, got[0]);
        feed(&x, 3, 0, 10, got[1]);
        int32_t tokens[4], slots[4] = {3, 2, 2, 2};
        uint8_t wants[4] = {1, 0, 0, 1};
        for (int32_t i = 0, at = 10; i < 4; i++, at = 16 + i)
            tokens[i] = (at * 31 + at * at * 7 + 5) % DENSE_VOCAB;
        struct model_batch batch = {4, tokens, slots, wants};
        assert_int_equal(model_decode(x.state, &batch, got[0], &err), 0);
        check_same(d->name, "a slot differs in company", expected[1], got[0]);
        check_same(d->name, "a slot differs in company", expected[0], got[1]);
        unload(&x);
    }
}

/* Whatever a number of the file says, the model is refused or runs within its memory. */
static void hostile_numbers(void **state)
{
    (void)state;
    static const double numbers[] = {0, 1, 2, 3, 5, 7, 12, 13, 1e6, 2147483647.0, 4294967295.0, NAN, -1};
    int refused = 0;
    for (const struct special *d = special_all; d->name; d++)
        for (int32_t key = 0; key < dense_count(d->keys); key++)
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

/* Of the fifth layer, which drafts: the model runs without it and says so. */
static void missing_tensors_are_named(void **state)
{
    (void)state;
    for (const struct special *d = special_all; d->name; d++) {
        struct special_tensor t;
        for (int32_t i = 0; special_tensor(d, i, &t); i++) {
            struct dense_fault fault = {.key = -1, .drop_key = -1, .drop_tensor = i};
            struct loaded x;
            struct error err = {0};
            int rc = load(&x, d, &fault, &err);
            const bool drafts = strncmp(t.name, "blk.4.", 6) == 0;
            const char *said = rc ? err.message : model_info(x.model)->foretells_not;
            if (t.optional ? rc != 0
                           : rc != (drafts ? 0 : ERROR_INVALID) || !said || !strstr(said, "the tensor '"))
                fail_msg("%s without %s: %d %s", d->name, t.name, rc, said ? said : "");
            unload(&x);
        }
    }
}

static void missing_keys_are_named(void **state)
{
    (void)state;
    for (const struct special *d = special_all; d->name; d++) {
        char name[64];
        const char *value;
        bool optional;
        for (int32_t i = 0; dense_item(d->keys, i, name, &value, &optional); i++) {
            struct dense_fault fault = {.key = -1, .drop_key = i, .drop_tensor = -1};
            struct loaded x;
            struct error err = {0};
            int rc = load(&x, d, &fault, &err);
            if (optional ? rc != 0 : rc == 0 || !err.message[0])
                fail_msg("%s without %s: %d %s", d->name, name, rc, err.message);
            unload(&x);
        }
    }
}

/* Was: a mixture has no network but its experts, and a file that says so was refused. */
static void a_mixture_may_have_no_other_network(void **state)
{
    (void)state;
    int seen = 0;
    for (const struct special *d = special_all; d->name; d++) {
        char keys[512];
        struct special none = *d;
        struct loaded x;
        struct error err = {0};
        if (strcmp(d->name, "qwen2moe") != 0 && strcmp(d->name, "qwen3moe") != 0)
            continue;
        snprintf(keys, sizeof keys, "feed_forward_length=0,%s", d->keys);
        none.keys = keys;
        if (load(&x, &none, NULL, &err) != 0)
            fail_msg("%s: %s", d->name, err.message);
        unload(&x);
        seen++;
    }
    assert_int_equal(seen, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_do_not_matter),
        cmocka_unit_test(tokens_of_two_slots_share_a_batch),
        cmocka_unit_test(hostile_numbers),
        cmocka_unit_test(missing_tensors_are_named),
        cmocka_unit_test(missing_keys_are_named),
        cmocka_unit_test(a_mixture_may_have_no_other_network),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

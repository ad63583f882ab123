/* What slots remember, for every architecture: whatever is forked and taken back, a slot goes on exactly as a
 * sequence that was run alone. */
#include "engine/worker/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "unit/engine/isa.h"
#include "unit/engine/tiny_all.h"
#include "unit/engine/tiny_run.h"

enum { SLOTS = 3, SOLO = SLOTS, STEPS = 20, PAST_RINGS = 540 };

static bool any_start(struct loaded *x, int32_t index, const char **name)
{
    struct error err = {0};
    size_t size = 0;
    char *bytes = any_model(index, name, &size);
    if (!bytes)
        return false;
    if (load_bytes_threads(x, bytes, size, 1, &err) != 0 ||
        model_state_create(x->model, SLOTS + 1, CONTEXT, &x->state, &err) != 0)
        fail_msg("%s: %s", *name, err.message);
    return true;
}

/* What each slot has been told. */
struct history {
    int32_t tokens[SLOTS][CONTEXT];
    int32_t lengths[SLOTS];
};

/* Feeds tokens to a slot in runs of at most `run`; the logits of the last one. */
static void tell(
    struct loaded *x, int32_t slot, const int32_t *tokens, int32_t count, int32_t run, float *logits)
{
    static int32_t slots[CONTEXT];
    static uint8_t wants[CONTEXT];
    struct error err = {0};
    for (int32_t at = 0, n; at < count; at += n) {
        n = count - at < run ? count - at : run;
        for (int32_t i = 0; i < n; i++) {
            slots[i] = slot;
            wants[i] = at + i == count - 1;
        }
        struct model_batch batch = {n, tokens + at, slots, wants};
        if (model_decode(x->state, &batch, logits, &err) != 0)
            fail_msg("%s", err.message);
    }
}

static void grow(struct loaded *x, struct history *h, struct rand_pcg *r, int32_t slot, int32_t count)
{
    const int32_t length = h->lengths[slot], run = count > 20 || rand_pcg_u32(r) % 4 ? CONTEXT : 1;
    float logits[DENSE_VOCAB];
    if (count > CONTEXT - length)
        return;
    for (int32_t i = 0; i < count; i++)
        h->tokens[slot][length + i] = (int32_t)(rand_pcg_u32(r) % DENSE_VOCAB);
    h->lengths[slot] += count;
    tell(x, slot, h->tokens[slot] + length, count, run, logits);
}

/* One token more gives what the whole sequence, run alone, gives. */
static void check_slot(
    struct loaded *x, struct history *h, struct rand_pcg *r, int32_t slot, const char *name)
{
    float got[DENSE_VOCAB], expected[DENSE_VOCAB];
    int32_t *tokens = h->tokens[slot], length = ++h->lengths[slot];
    tokens[length - 1] = (int32_t)(rand_pcg_u32(r) % DENSE_VOCAB);
    tell(x, slot, tokens + length - 1, 1, 1, got);
    model_state_truncate(x->state, SOLO, 0);
    tell(x, SOLO, tokens, length, CONTEXT, expected);
    check_same(name, "a slot differs from its sequence run alone", expected, got);
}

static void fork_slot(
    struct loaded *x, struct history *h, int32_t from, int32_t to, int32_t length, const char *name)
{
    int32_t promised = model_state_reach(x->state, from, length);
    int32_t taken = model_state_fork(x->state, from, to, length);
    if (taken != promised || taken > length || model_state_length(x->state, to) != taken ||
        (length >= h->lengths[from] && taken != h->lengths[from]))
        fail_msg("%s: %d of %d positions promised, %d taken", name, promised, length, taken);
    memmove(h->tokens[to], h->tokens[from], (size_t)taken * sizeof(int32_t));
    h->lengths[to] = taken;
}

static void step(struct loaded *x, struct history *h, struct rand_pcg *r, const char *name)
{
    int32_t slot = (int32_t)(rand_pcg_u32(r) % SLOTS), other = (int32_t)(rand_pcg_u32(r) % SLOTS);
    int32_t length = h->lengths[slot] - (int32_t)(rand_pcg_u32(r) % 8);
    switch (rand_pcg_u32(r) % 4) {
    case 0:
        fork_slot(x, h, slot, other, length < 0 ? 0 : length, name);
        break;
    case 1:
        h->lengths[slot] = model_state_truncate(x->state, slot, length);
        break;
    default:
        grow(x, h, r, slot, 1 + (int32_t)(rand_pcg_u32(r) % 20));
    }
}

/* Random growth, going back and forks between slots, where windows slide: in the end each
 * slot's logits are those of its whole sequence run alone, to the bit. */
static void slots_go_on_as_if_alone(void **state)
{
    (void)state;
    const char *name;
    struct loaded x;
    for (int32_t index = 0; any_start(&x, index, &name); index++) {
        static struct history h;
        struct rand_pcg r;
        rand_pcg_seed(&r, (uint64_t)index);
        memset(&h, 0, sizeof h);
        grow(&x, &h, &r, 0, PAST_RINGS);
        for (int32_t i = 0; i < STEPS; i++)
            step(&x, &h, &r, name);
        for (int32_t slot = 0; slot < SLOTS; slot++)
            check_slot(&x, &h, &r, slot, name);
        unload(&x);
    }
}

/* The copy can go back as far as the slot that it was taken from, and no further. */
static void a_fork_goes_back_as_far(void **state)
{
    (void)state;
    const char *name;
    struct loaded x;
    for (int32_t index = 0; any_start(&x, index, &name); index++) {
        float logits[DENSE_VOCAB];
        feed(&x, 0, 0, PAST_RINGS, logits);
        feed(&x, 0, PAST_RINGS, PAST_RINGS + 1, logits);
        assert_int_equal(model_state_fork(x.state, 0, 1, LONG), PAST_RINGS + 1);
        for (int32_t length = 0; length <= PAST_RINGS + 1; length++)
            if (model_state_reach(x.state, 0, length) != model_state_reach(x.state, 1, length))
                fail_msg("%s: the copy differs in how it goes back to %d", name, length);
        assert_int_equal(model_state_fork(x.state, 0, 1, PAST_RINGS), PAST_RINGS);
        assert_int_equal(model_state_length(x.state, 0), PAST_RINGS + 1);
        unload(&x);
    }
}

static void forks_of_nothing(void **state)
{
    (void)state;
    const char *name;
    struct loaded x;
    float logits[DENSE_VOCAB];
    assert_true(any_start(&x, 0, &name));
    feed(&x, 0, 0, 9, logits);
    assert_int_equal(model_state_fork(x.state, 0, 0, 5), 5);
    assert_int_equal(model_state_length(x.state, 0), 5);
    assert_int_equal(model_state_fork(x.state, 0, SLOTS + 1, 5), 0);
    assert_int_equal(model_state_fork(x.state, 0, -1, 5), 0);
    assert_int_equal(model_state_fork(x.state, -1, 1, 5), 0);
    assert_int_equal(model_state_fork(x.state, 0, 1, -5), 0);
    assert_int_equal(model_state_fork(x.state, 2, 0, 5), 0);
    assert_int_equal(model_state_length(x.state, 0), 0);
    unload(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_go_on_as_if_alone),
        cmocka_unit_test(a_fork_goes_back_as_far),
        cmocka_unit_test(forks_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

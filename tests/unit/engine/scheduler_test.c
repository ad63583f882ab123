/* Who runs when, over the model of scheduler_rig.h. */
#include "base/rand.h"
#include "unit/engine/scheduler_rig.h"

static void test_one_sequence(void **ctx)
{
    (void)ctx;
    struct model_state state = {0};
    struct scheduler *s = create(&state, 1);
    struct client c;
    assert_false(scheduler_ready(s));
    client_add(s, &c, numbers(1), 40, 5);
    run(s);
    assert_true(c.n_started == 1 && c.n_ended == 1 && c.rc == 0 && c.n == 45 && c.cached == 0);
    assert_int_equal(state.n_decodes, 3 + 4); /* 16 + 16 + 8 tokens, whose logits give the first of five */
    assert_int_equal(state.n_computed, 44);
    scheduler_free(s);
}

/* Random arrivals, lengths, pauses and cancellations: every token is checked by client_logits. */
static void test_many_sequences(void **ctx)
{
    (void)ctx;
    enum { CLIENTS = 200 };
    static struct client clients[CLIENTS];
    struct model_state state = {.keeps = 3};
    struct scheduler *s = create(&state, SLOTS);
    struct rand_pcg r;
    int added = 0, cancelled = 0;
    rand_pcg_seed(&r, 4);
    while (added < CLIENTS || scheduler_ready(s)) {
        if (added < CLIENTS && rand_pcg_u32(&r) % 3 == 0) {
            int32_t n = 1 + (int32_t)(rand_pcg_u32(&r) % 100);
            client_add(s, &clients[added++], numbers((int32_t)(rand_pcg_u32(&r) % 4)), n,
                1 + (int32_t)(rand_pcg_u32(&r) % 20));
        }
        for (int i = 0; i < added; i++) {
            struct client *c = &clients[i];
            uint32_t dice = c->sequence ? rand_pcg_u32(&r) % 800 : 799;
            if (dice == 0) {
                scheduler_cancel(s, c->sequence);
                c->sequence = NULL;
                c->n_ended += 100;
                cancelled++;
            } else if (dice < 100) {
                scheduler_pause(c->sequence, added < CLIENTS && dice < 30);
            }
        }
        scheduler_step(s);
        assert_in_range(state.last_rows, 0, SLOTS);
    }
    for (int i = 0; i < CLIENTS; i++)
        if (clients[i].sequence)
            scheduler_pause(clients[i].sequence, false);
    run(s);
    assert_in_range(cancelled, 1, CLIENTS / 2);
    for (int i = 0; i < CLIENTS; i++)
        assert_true(clients[i].n_ended == 100 ||
                    (clients[i].n_ended == 1 && clients[i].n == clients[i].n_prompt + clients[i].wanted));
    scheduler_free(s);
}

static void test_a_long_prompt_stalls_nobody(void **ctx)
{
    (void)ctx;
    struct model_state state = {0};
    struct scheduler *s = create(&state, SLOTS);
    struct client talk, long_one, long_two;
    client_add(s, &talk, numbers(1), 3, 60);
    scheduler_step(s);
    client_add(s, &long_one, numbers(2), 150, 1);
    client_add(s, &long_two, numbers(3), 20, 1);
    for (int i = 0; i < 8; i++) {
        int32_t before = talk.n;
        scheduler_step(s);
        assert_int_equal(talk.n, before + 1); /* a token a step, whatever else goes on */
    }
    assert_int_equal(long_two.n_ended, 1); /* prompts share: the short one is not behind the long one */
    assert_int_equal(long_one.n_ended, 0);
    run(s);
    assert_int_equal(long_one.n_ended, 1);
    scheduler_free(s);
}

/* However long a prompt is, a stream's tokens come at most three times as far apart as without it; and the
 * prompt gets on. */
static void test_a_step_is_no_longer_than_streams_bear(void **ctx)
{
    (void)ctx;
    struct model_state state = {0};
    struct scheduler *s = create(&state, SLOTS);
    struct client talk, long_one;
    client_add(s, &talk, numbers(1), 3, 40);
    for (int i = 0; i < 3; i++)
        scheduler_step(s);
    int64_t alone = now;
    scheduler_step(s);
    alone = now - alone;
    client_add(s, &long_one, numbers(2), 150, 1);
    for (int i = 0; !long_one.n_ended; i++) {
        int64_t before = now;
        scheduler_step(s);
        assert_in_range(now - before, 1, 3 * alone);
        assert_in_range(i, 0, 12);
    }
    scheduler_free(s);
}

/* A step without prompts, to see how long it takes, whenever streams come or go: but never two in a row. */
static void test_a_prompt_is_read_while_streams_come_and_go(void **ctx)
{
    (void)ctx;
    enum { STEPS = 60 };
    static struct client short_ones[STEPS][2];
    struct model_state state = {0};
    struct scheduler *s = create(&state, SLOTS);
    struct client long_one;
    client_add(s, &long_one, numbers(2), 150, 1);
    for (int i = 0; i < STEPS; i++) {
        for (int32_t k = 0; k <= i % 2; k++) /* one, two, one, two ... */
            client_add(s, &short_ones[i][k], &(int32_t){(i + 7 * k) % VOCAB}, 1, 1);
        scheduler_step(s);
    }
    assert_int_equal(long_one.n_ended, 1);
    run(s);
    scheduler_free(s);
}

/* Three prompts of one key take no more of a step than the one of another. */
static void test_keys_share_a_step(void **ctx)
{
    (void)ctx;
    struct model_state state = {0};
    struct scheduler *s = create(&state, SLOTS);
    struct client c[4];
    for (int i = 0; i < 4; i++) {
        client_add(s, &c[i], numbers(i), 100, 1);
        scheduler_owner(c[i].sequence, i == 3 ? 2 : 1, 0);
    }
    while (!c[3].n_ended)
        scheduler_step(s);
    for (int i = 0; i < 3; i++)
        assert_in_range(state.lengths[i], 25, 45); /* a third of 100 */
    run(s);
    scheduler_free(s);
}

/* Pages for little more than one context: sequences wait, or give way and begin again, and all come right. */
static void test_pages_run_short(void **ctx)
{
    (void)ctx;
    enum { CLIENTS = 12 };
    struct model_state state = {.n_pages = CONTEXT / PAGE + 1};
    struct scheduler *s = create(&state, SLOTS);
    struct client c[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        int32_t prompt[60];
        for (int32_t t = 0; t < 60; t++)
            prompt[t] = (i + 7 * t * i) % VOCAB;
        prompt[0] = i;
        client_add(s, &c[i], prompt, 60, 20 + 10 * i);
    }
    run(s);
    for (int i = 0; i < CLIENTS; i++)
        assert_true(c[i].n_started == 1 && c[i].n_ended == 1 && c[i].rc == 0 && c[i].n == 80 + 10 * i);
    scheduler_free(s);
}

/* A prompt that does not fit beside the others waits for them and stalls nobody; one that leaves makes room.
 */
static void test_a_prompt_waits_for_pages(void **ctx)
{
    (void)ctx;
    struct model_state state = {.n_pages = CONTEXT / PAGE + 1};
    struct scheduler *s = create(&state, SLOTS);
    struct client first, second;
    client_add(s, &first, numbers(1), 120, 50);
    client_add(s, &second, numbers(2), 110, 5);
    for (int i = 0; i < 20; i++)
        scheduler_step(s);
    assert_true(first.n > 120 && second.n_started == 0);
    scheduler_cancel(s, first.sequence);
    scheduler_step(s);
    assert_int_equal(second.n_started, 1);
    run(s);
    assert_int_equal(second.n, 115);
    scheduler_free(s);
}

static void test_calls_wait_in_order(void **ctx)
{
    (void)ctx;
    struct model_state state = {0};
    struct scheduler *s = create(&state, 1);
    struct client c[3];
    for (int i = 0; i < 3; i++)
        client_add(s, &c[i], numbers(i), 5, 3);
    scheduler_step(s);
    assert_true(c[0].n_started == 1 && c[1].n_started == 0 && c[2].n_started == 0);
    while (!c[1].n_started)
        scheduler_step(s);
    assert_true(c[0].n_ended == 1 && c[2].n_started == 0);
    run(s);
    assert_int_equal(c[2].n_ended, 1);
    scheduler_free(s);
}

static void test_a_beginning_is_computed_once(void **ctx)
{
    (void)ctx;
    struct model_state state = {0};
    struct scheduler *s = create(&state, 2);
    struct client a, b;
    client_add(s, &a, numbers(1), 30, 5);
    run(s);
    /* The conversation goes on: everything but the last drawn token is held. */
    client_add(s, &b, a.tokens, a.n, 5);
    run(s);
    assert_int_equal(b.cached, 34);
    /* The same prompt again: its last token is computed all the same. */
    client_add(s, &b, numbers(1), 30, 1);
    run(s);
    assert_int_equal(b.cached, 29);
    /* Another conversation takes the unused slot, and the first one is found again. */
    client_add(s, &b, numbers(2), 30, 5);
    run(s);
    assert_int_equal(b.cached, 0);
    client_add(s, &b, numbers(1), 30, 1);
    run(s);
    assert_int_equal(b.cached, 29);
    client_add(s, &b, numbers(2), 31, 1);
    run(s);
    assert_int_equal(b.cached, 30);
    scheduler_free(s);
}

/* A third conversation that shares a few tokens with the one just used takes the place of the older one, and
 * a copy of those tokens. */
static void test_a_short_match_evicts_the_oldest(void **ctx)
{
    (void)ctx;
    struct model_state state = {0};
    struct scheduler *s = create(&state, 2);
    struct client c;
    int32_t other[40];
    client_add(s, &c, numbers(1), 30, 1);
    run(s);
    client_add(s, &c, numbers(2), 30, 1);
    run(s);
    memcpy(other, numbers(2), sizeof other);
    for (int i = 5; i < 40; i++)
        other[i] = (other[i] + 7) % VOCAB;
    client_add(s, &c, other, 40, 1);
    run(s);
    assert_int_equal(c.cached, 5);
    client_add(s, &c, numbers(2), 30, 1);
    run(s);
    assert_int_equal(c.cached, 29);
    scheduler_free(s);
}

/* What a sequence that still runs has read is there for others. */
static void test_a_busy_slot_gives_its_beginning(void **ctx)
{
    (void)ctx;
    struct model_state state = {0};
    struct scheduler *s = create(&state, 3);
    struct client a, b;
    client_add(s, &a, numbers(1), 60, 80);
    while (a.n < 70)
        scheduler_step(s);
    client_add(s, &b, a.tokens, 65, 3);
    int32_t computed = state.n_computed, drawn = a.n;
    while (b.n_ended == 0)
        scheduler_step(s);
    assert_int_equal(b.cached, 64);
    assert_int_equal(state.n_computed - computed, 3 + a.n - drawn);
    run(s);
    assert_true(a.n_ended == 1 && a.n == 140);
    scheduler_free(s);
}

/* Several answers to one prompt, asked for at once: it is read once. With a state that goes back in steps the
 * reading stops where the others take it over. */
static void test_one_prompt_is_read_once(void **ctx)
{
    (void)ctx;
    for (int32_t keeps = 1; keeps < 100; keeps += 50) {
        struct model_state state = {.keeps = keeps};
        struct scheduler *s = create(&state, SLOTS);
        struct client c[SLOTS], other;
        for (int i = 0; i < SLOTS; i++)
            client_add(s, &c[i], numbers(1), 120, 4);
        client_add(s, &other, numbers(2), 30, 1);
        run(s);
        for (int i = 0; i < SLOTS; i++) {
            assert_true(c[i].n_ended == 1 && c[i].rc == 0 && c[i].n == 124);
            assert_int_equal(c[i].cached, i == 0 ? 0 : 119);
        }
        assert_int_equal(state.n_computed, 120 + 3 + (SLOTS - 1) * (1 + 3) + 30);
        scheduler_free(s);
    }
}

/* The one that reads goes away, or stops: those that wait for it go on by themselves. */
static void test_a_reader_that_leaves(void **ctx)
{
    (void)ctx;
    for (int pauses = 0; pauses < 2; pauses++) {
        struct model_state state = {0};
        struct scheduler *s = create(&state, 2);
        struct client a, b;
        client_add(s, &a, numbers(1), 120, 4);
        client_add(s, &b, numbers(1), 120, 4);
        scheduler_step(s);
        scheduler_step(s);
        assert_true(a.n_started == 1 && b.n_started == 0);
        if (pauses)
            scheduler_pause(a.sequence, true);
        else
            scheduler_cancel(s, a.sequence);
        run(s);
        assert_true(b.n_ended == 1 && b.n == 124 && b.cached == 2 * BATCH);
        scheduler_free(s);
    }
}

/* A beginning that was read with other adapters is not this one's. */
static void test_adapters_part_beginnings(void **ctx)
{
    (void)ctx;
    struct model_state state = {0};
    struct scheduler *s = create(&state, 2);
    struct client c[3];
    const float half = 0.5f;
    for (int i = 0; i < 3; i++)
        client_add(s, &c[i], numbers(1), 60, 3);
    scheduler_adapt(c[1].sequence, &half);
    run(s);
    assert_true(c[0].cached == 0 && c[1].cached == 0 && c[2].cached == 59);
    client_add(s, &c[0], numbers(1), 60, 3);
    scheduler_adapt(c[0].sequence, &half);
    run(s);
    assert_int_equal(c[0].cached, 59);
    scheduler_free(s);
}

/* Nor is one that another scope's sequence read, while that runs or after. */
static void test_scopes_part_beginnings(void **ctx)
{
    (void)ctx;
    struct model_state state = {0};
    struct scheduler *s = create(&state, 2);
    struct client c[3];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 3; i++) {
            client_add(s, &c[i], numbers(1), 60, 3);
            scheduler_owner(c[i].sequence, 1, i == 1 ? 7 : 8);
        }
        run(s);
        assert_int_equal(c[0].cached, round ? 59 : 0);
        assert_int_equal(c[1].cached, round ? 59 : 0);
        assert_int_equal(c[2].cached, 59);
    }
    scheduler_free(s);
}

static void test_state_that_rolls_back_in_steps(void **ctx)
{
    (void)ctx;
    struct model_state state = {.keeps = 8};
    struct scheduler *s = create(&state, 1);
    struct client a;
    client_add(s, &a, numbers(1), 30, 5);
    run(s);
    client_add(s, &a, numbers(1), 30, 5);
    run(s);
    assert_true(a.cached == 24 && a.n_ended == 1 && a.rc == 0);
    scheduler_free(s);
}

static void test_a_failed_step_ends_its_sequences(void **ctx)
{
    (void)ctx;
    struct model_state state = {.fail_at = 3};
    struct scheduler *s = create(&state, 2);
    struct client c[3];
    for (int i = 0; i < 3; i++)
        client_add(s, &c[i], numbers(i), 5, 10);
    run(s);
    assert_true(c[0].rc == ERROR_MEMORY && c[1].rc == ERROR_MEMORY);
    assert_true(c[0].n_ended == 1 && c[1].n_ended == 1);
    assert_true(c[2].rc == 0 && c[2].n_ended == 1 && c[2].n == 15);
    scheduler_free(s);
}

static void test_paused_calls_do_not_run(void **ctx)
{
    (void)ctx;
    struct model_state state = {0};
    struct scheduler *s = create(&state, 1);
    struct client a, b;
    client_add(s, &a, numbers(1), 5, 3);
    client_add(s, &b, numbers(2), 5, 3);
    scheduler_pause(a.sequence, true); /* while it waits: the other goes first */
    run(s);
    assert_true(a.n_started == 0 && b.n_ended == 1);
    scheduler_pause(a.sequence, false);
    scheduler_step(s);
    scheduler_pause(a.sequence, true); /* while it runs */
    assert_false(scheduler_ready(s));
    int32_t before = a.n;
    scheduler_step(s);
    assert_int_equal(a.n, before);
    scheduler_pause(a.sequence, false);
    run(s);
    assert_int_equal(a.n_ended, 1);
    scheduler_free(s);
}

static void test_prompts_that_cannot_run(void **ctx)
{
    (void)ctx;
    struct model_state state = {0};
    struct scheduler *s = create(&state, 1);
    struct sequence *q;
    struct error err = {0};
    int32_t ids[CONTEXT + 1] = {0};
    struct token_list empty = {0}, negative = {(int32_t[]){1, -1}, 2, 2}, alien = {(int32_t[]){VOCAB}, 1, 1},
                      large = {ids, CONTEXT + 1, CONTEXT + 1};
    assert_int_equal(scheduler_add(s, &empty, &ops, NULL, &q, &err), ERROR_INVALID);
    assert_int_equal(scheduler_add(s, &negative, &ops, NULL, &q, &err), ERROR_INVALID);
    assert_int_equal(scheduler_add(s, &alien, &ops, NULL, &q, &err), ERROR_INVALID);
    assert_int_equal(scheduler_add(s, &large, &ops, NULL, &q, &err), ERROR_CONTEXT);
    assert_non_null(strstr(err.message, "the prompt has 201 tokens, the context holds 200"));
    assert_int_equal(large.count, CONTEXT + 1);
    /* One that fills the context, and would go on for ever. */
    struct client c;
    client_add(s, &c, numbers(1), CONTEXT - 2, 100);
    run(s);
    assert_int_equal(c.rc, ERROR_LIMIT);
    assert_int_equal(c.n_ended, 1);
    scheduler_free(s);
}

static void test_free_with_open_sequences(void **ctx)
{
    (void)ctx;
    struct model_state state = {0};
    struct scheduler *s = create(&state, 1);
    struct client a, b;
    client_add(s, &a, numbers(1), 5, 100);
    client_add(s, &b, numbers(1), 5, 100);
    scheduler_step(s);
    scheduler_free(s);
    assert_true(a.n_ended == 0 && b.n_ended == 0);
}

/* A client that forgets as it has asked the scheduler to. */
struct shifting {
    int32_t tokens[CONTEXT + 1], n, drawn, n_keep, n_shifts;
    int n_ended;
};

static int shifting_logits(void *ctx, float *row, int32_t *next, struct error *err)
{
    struct shifting *c = ctx;
    (void)err;
    *next = 0;
    for (int32_t id = 0; id < VOCAB; id++)
        if (row[id] > row[*next])
            *next = id;
    assert_int_equal(*next, follow(c->tokens, c->n));
    if (c->n == CONTEXT) {
        int32_t drop = (CONTEXT - c->n_keep + 1) / 2;
        memmove(c->tokens + c->n_keep, c->tokens + c->n_keep + drop,
            (size_t)(CONTEXT - c->n_keep - drop) * sizeof *c->tokens);
        c->n -= drop;
        c->n_shifts++;
    }
    c->tokens[c->n++] = *next;
    return ++c->drawn < 500;
}

static int shifting_started(void *ctx, size_t cached, struct error *err)
{
    (void)ctx;
    (void)cached;
    (void)err;
    return 0;
}

static void shifting_ended(void *ctx, int rc, const struct error *err)
{
    struct shifting *c = ctx;
    (void)err;
    assert_int_equal(rc, 0);
    c->n_ended++;
}

static void test_a_full_context_shifts_where_asked(void **ctx)
{
    (void)ctx;
    static const struct sequence_ops shifting_ops = {
        .started = shifting_started, .logits = shifting_logits, .ended = shifting_ended};
    static const int32_t keeps[] = {0, 4, CONTEXT - 2};
    for (size_t i = 0; i < 3; i++) {
        struct model_state state = {.keeps = i == 1 ? 7 : 1};
        struct scheduler *s = create(&state, 2);
        struct shifting c = {.n = 150, .n_keep = keeps[i]};
        struct token_list list = {0};
        struct sequence *q;
        for (int32_t k = 0; k < c.n; k++) {
            c.tokens[k] = numbers(3)[k];
            assert_int_equal(token_list_append(&list, c.tokens[k], NULL), 0);
        }
        assert_int_equal(scheduler_add(s, &list, &shifting_ops, &c, &q, NULL), 0);
        scheduler_shift(q, keeps[i] == CONTEXT - 2 ? INT32_MAX : keeps[i]);
        run(s);
        assert_true(c.n_ended == 1 && c.drawn == 500 && c.n_shifts >= 4);
        scheduler_free(s);
    }
}

/* ---- What the model expected of the prompt ---- */

struct listener {
    struct client client;
    int32_t at; /* how many tokens the next row has seen */
};

static void on_read(void *ctx, const float *row, int32_t next)
{
    struct listener *l = ctx;
    const int32_t *tokens = l->client.tokens;
    assert_int_equal(l->client.n, l->client.n_prompt); /* nothing was drawn yet */
    assert_true(row[follow(tokens, l->at)] > 0);
    assert_int_equal(next, tokens[l->at++]);
}

static void test_the_end_of_a_prompt_is_told(void **ctx)
{
    (void)ctx;
    static const struct sequence_ops telling = {client_started, client_logits, client_ended, on_read};
    /* Prompts and how much of them; more than the rows of a step, all, more than all, nothing there is. */
    static const int32_t asked[][3] = {
        {60, 32, 32}, {60, 20, 20}, {60, 100, 59}, {5, 4, 4}, {1, 8, 0}, {150, 31, 31}};
    struct model_state state = {.keeps = 1};
    struct scheduler *s = create(&state, SLOTS);
    for (int round = 0; round < 2; round++) { /* the second time all could be had of others */
        struct listener l[6] = {0};
        for (size_t i = 0; i < 6; i++) {
            struct token_list list = {0};
            l[i].client = (struct client){.n_prompt = asked[i][0], .n = asked[i][0], .wanted = 3};
            for (int32_t k = 0; k < asked[i][0]; k++) {
                l[i].client.tokens[k] = numbers((int32_t)i)[k];
                assert_int_equal(token_list_append(&list, numbers((int32_t)i)[k], NULL), 0);
            }
            assert_int_equal(scheduler_add(s, &list, &telling, &l[i], &l[i].client.sequence, NULL), 0);
            scheduler_tell(l[i].client.sequence, asked[i][1]);
            l[i].at = asked[i][0] - asked[i][2];
        }
        run(s);
        for (size_t i = 0; i < 6; i++) {
            assert_int_equal(l[i].at, asked[i][0]);
            assert_true(l[i].client.n_ended == 1 && l[i].client.rc == 0);
        }
    }
    scheduler_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_sequence),
        cmocka_unit_test(test_many_sequences),
        cmocka_unit_test(test_a_long_prompt_stalls_nobody),
        cmocka_unit_test(test_a_step_is_no_longer_than_streams_bear),
        cmocka_unit_test(test_a_prompt_is_read_while_streams_come_and_go),
        cmocka_unit_test(test_keys_share_a_step),
        cmocka_unit_test(test_pages_run_short),
        cmocka_unit_test(test_a_prompt_waits_for_pages),
        cmocka_unit_test(test_calls_wait_in_order),
        cmocka_unit_test(test_a_beginning_is_computed_once),
        cmocka_unit_test(test_a_short_match_evicts_the_oldest),
        cmocka_unit_test(test_a_busy_slot_gives_its_beginning),
        cmocka_unit_test(test_one_prompt_is_read_once),
        cmocka_unit_test(test_a_reader_that_leaves),
        cmocka_unit_test(test_adapters_part_beginnings),
        cmocka_unit_test(test_scopes_part_beginnings),
        cmocka_unit_test(test_state_that_rolls_back_in_steps),
        cmocka_unit_test(test_a_failed_step_ends_its_sequences),
        cmocka_unit_test(test_paused_calls_do_not_run),
        cmocka_unit_test(test_prompts_that_cannot_run),
        cmocka_unit_test(test_a_full_context_shifts_where_asked),
        cmocka_unit_test(test_the_end_of_a_prompt_is_told),
        cmocka_unit_test(test_free_with_open_sequences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

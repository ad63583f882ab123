/* What drafts change: how many steps an answer takes, and nothing else. Over the model of scheduler_rig.h,
 * whose clients check every token. */
#include "base/rand.h"
#include "unit/engine/scheduler_rig.h"

/* What the model will say, every `wrong`th token another; 0: none. */
static void expect(struct client *c, int32_t n, int32_t wrong)
{
    struct token_list said = {0};
    int32_t tokens[CONTEXT + 64];
    memcpy(tokens, c->tokens, sizeof c->tokens);
    for (int32_t i = 0; i < n && c->n_prompt + i < CONTEXT + 64; i++) {
        const int32_t token = tokens[c->n_prompt + i] = follow(tokens, c->n_prompt + i);
        assert_int_equal(
            token_list_append(&said, wrong && i % wrong == wrong - 1 ? (token + 1) % VOCAB : token, NULL), 0);
    }
    scheduler_expect(c->sequence, &said);
    assert_null(said.ids);
}

static struct draft_counts counted;

static void counting_ended(void *ctx, int rc, const struct error *err)
{
    struct client *c = ctx;
    counted = scheduler_drafts(c->sequence);
    client_ended(ctx, rc, err);
}

static const struct sequence_ops counting = {
    .started = client_started, .logits = client_logits, .ended = counting_ended};

/* One answer of 100 tokens to a prompt of 10; returns how many steps it took. */
static int32_t answer_drafted(
    struct model_state *state, struct model_state *draft, bool drafts, int32_t wrong)
{
    struct scheduler *s = create_drafting(state, draft, 1, drafts);
    struct token_list list = {0};
    struct client c = {.n_prompt = 10, .n = 10, .wanted = 100};
    for (int32_t i = 0; i < 10; i++)
        assert_int_equal(token_list_append(&list, c.tokens[i] = numbers(5)[i], NULL), 0);
    assert_int_equal(scheduler_add(s, &list, &counting, &c, &c.sequence, NULL), 0);
    if (!draft && state->foretells == 0)
        expect(&c, 100, wrong);
    run(s);
    assert_true(c.n_ended == 1 && c.rc == 0 && c.n == 110);
    scheduler_free(s);
    return state->n_decodes;
}

static int32_t answer(struct model_state *state, bool drafts, int32_t wrong)
{
    return answer_drafted(state, NULL, drafts, wrong);
}

static void what_is_expected_takes_few_steps(void **ctx)
{
    (void)ctx;
    struct model_state plain = {0}, right = {0}, half = {0}, redone = {.keeps = 1000};
    assert_int_equal(answer(&plain, false, 0), 100);
    assert_true(counted.drafted == 0 && plain.n_computed == 109);
    assert_in_range(answer(&right, true, 0), 8, 12);
    assert_int_equal(counted.expected, 100);
    assert_true(counted.drafted <= counted.accepted + 1 && counted.accepted >= 85);
    assert_in_range(answer(&half, true, 10), 12, 30); /* a token in ten is another */
    assert_in_range(counted.expected, 80, 90);
    assert_true(counted.drafted > counted.accepted && counted.accepted > 50);
    /* A state that goes back nowhere but to before the step: what was drawn is read again. */
    assert_in_range(answer(&redone, true, 10), 20, 60);
    assert_true(counted.accepted > 20);
}

/* A model that knows what will be said saves steps where it is quicker; one that is always wrong, or as slow,
 * is left. */
static void a_smaller_model_drafts(void **ctx)
{
    (void)ctx;
    struct model_state quick = {.ns_step = 3, .ns_token = 1},
                       wrong = {.ns_step = 3, .ns_token = 1, .wrong = 1},
                       slow = {.ns_step = 100, .ns_token = 10},
                       back = {.ns_step = 3, .ns_token = 1, .keeps = 7};
    struct model_state states[4] = {{.keeps = 1}, {.keeps = 1}, {.keeps = 1}, {.keeps = 1}};
    assert_in_range(answer_drafted(&states[0], &quick, true, 0), 8, 30);
    assert_in_range(counted.accepted, 70, 100);
    assert_in_range(answer_drafted(&states[1], &wrong, true, 0), 95, 100);
    assert_in_range(counted.drafted, 0, 60); /* it costs next to nothing, so one in seven would do */
    assert_in_range(answer_drafted(&states[2], &slow, true, 0), 90, 100);
    assert_in_range(answer_drafted(&states[3], &back, true, 0), 8, 45);
    assert_true(quick.lengths[0] == 0 && wrong.lengths[0] == 0);
}

/* So does a layer of the model's own, which reads nothing first; a smaller model that was given is asked
 * instead. */
static void a_layer_of_its_own_drafts(void **ctx)
{
    (void)ctx;
    struct model_state states[4] = {{.foretells = 1000, .ns_step = 100, .ns_token = 1},
        {.foretells = 1, .ns_step = 100, .ns_token = 20},
        {.foretells = 5, .ns_step = 100, .ns_token = 1, .keeps = 9},
        {.foretells = 1000, .ns_step = 100, .ns_token = 1}};
    struct model_state quick = {.ns_step = 3, .ns_token = 1};
    assert_in_range(answer(&states[0], true, 0), 8, 30);
    assert_in_range(counted.accepted, 70, 100);
    assert_in_range(answer(&states[1], true, 0), 95, 100);
    assert_in_range(counted.drafted, 0, 60);
    assert_in_range(answer(&states[2], true, 0), 20, 75);
    assert_true(counted.accepted > 40);
    assert_in_range(answer_drafted(&states[3], &quick, true, 0), 8, 30);
    assert_true(states[3].n_foretold == 0 && states[0].n_foretold > 0);
}

/* What was measured of a layer that is never right was forgotten with each answer, and it was tried anew in
 * the next one; one that is always right is not put off by a sequence's beginning. */
static void what_never_pays_is_left_from_one_answer_to_the_next(void **ctx)
{
    (void)ctx;
    for (int right = 0; right < 2; right++) {
        struct model_state state = {.foretells = right ? 1000 : 1, .ns_step = 100, .ns_token = 10};
        struct scheduler *s = create_drafting(&state, NULL, 1, true);
        int32_t first = 0, last = 0, steps = 0;
        for (int32_t i = 0; i < 5; i++) {
            struct client c;
            const int32_t asked = state.n_foretold, ran = state.n_decodes;
            client_add(s, &c, numbers(i), 10, 100);
            run(s);
            assert_true(c.n_ended == 1 && c.n == 110);
            last = state.n_foretold - asked;
            steps = state.n_decodes - ran;
            first = i == 0 ? last : first;
        }
        if (right)
            assert_true(last > 100 && steps <= 12);
        else
            assert_true(first >= 4 && last <= 3 && steps >= 99); /* now and then it is tried again */
        scheduler_free(s);
    }
}

/* While a prompt is read a draft takes one of its tokens' place: what is sure to be drawn comes several
 * tokens a step, no step is longer than streams bear, and the prompt gets on; where tokens of prompts are so
 * dear that a step for each of the stream's is cheaper, none runs. */
static void drafts_run_beside_prompts_where_they_pay(void **ctx)
{
    (void)ctx;
    static const int64_t token_ns[] = {10, 110};
    for (int dear = 0; dear < 2; dear++) {
        struct model_state state = {.ns_step = 100, .ns_token = token_ns[dear]};
        struct scheduler *s = create_with(&state, 2, true);
        struct client talk, reader;
        client_add(s, &talk, numbers(5), 10, 180);
        expect(&talk, 180, 0);
        for (int i = 0; i < 3; i++)
            scheduler_step(s);
        const int32_t before = talk.n;
        int32_t steps = 0;
        client_add(s, &reader, numbers(2), 150, 1);
        for (; !reader.n_ended; steps++) {
            const int64_t begun = now;
            scheduler_step(s);
            assert_in_range(now - begun, 1, 3 * (100 + token_ns[dear]));
        }
        if (dear)
            assert_int_equal(talk.n - before, steps);
        else
            assert_true(talk.n - before > 4 * steps && steps < 30);
        run(s);
        assert_true(talk.n_ended == 1 && talk.n == 190);
        scheduler_free(s);
    }
}

/* A step that has no room for drafts: nobody is asked for any. */
static void a_full_step_asks_no_smaller_model(void **ctx)
{
    (void)ctx;
    struct model_state state = {.keeps = 1}, quick = {.keeps = 1, .ns_step = 3, .ns_token = 1};
    struct scheduler *s;
    struct client c;
    const struct scheduler_options o = {1, CONTEXT, VOCAB, 1, now_ns, true, &quick, VOCAB};
    assert_int_equal(scheduler_create(&state, &o, &s, NULL), 0);
    client_add(s, &c, numbers(5), 10, 100);
    run(s);
    assert_true(c.n_ended == 1 && c.n == 110);
    assert_int_equal(quick.n_decodes, 0);
    scheduler_free(s);
}

/* Rows without numbers are one slot's: the next one's drafts were read from them. */
static void a_row_without_numbers_is_its_own_slots(void **ctx)
{
    (void)ctx;
    struct model_state state = {0}, draft = {.ns_step = 3, .ns_token = 1, .mute = 1};
    struct scheduler *s = create_drafting(&state, &draft, 2, true);
    struct client none, c = {.n_prompt = 10, .n = 10, .wanted = 100};
    struct token_list list = {0};
    client_add(s, &none, numbers(3), 10, 190);
    for (int32_t i = 0; i < 10; i++)
        assert_int_equal(token_list_append(&list, c.tokens[i] = numbers(5)[i], NULL), 0);
    assert_int_equal(scheduler_add(s, &list, &counting, &c, &c.sequence, NULL), 0);
    while (!c.n_ended)
        scheduler_step(s);
    assert_in_range(counted.accepted, 60, 100);
    assert_true(!none.n_ended);
    scheduler_free(s);
}

/* Every second token is another: what is measured switches the drafts off. */
static void what_is_never_right_is_not_drafted(void **ctx)
{
    (void)ctx;
    struct model_state state = {.ns_step = 100, .ns_token = 50};
    answer(&state, true, 2);
    assert_in_range(counted.drafted, 0, 25);
}

/* A step that takes as long as it has tokens: nothing is won, and after a few tries it is left. */
static void drafts_that_cost_what_they_give_are_left(void **ctx)
{
    (void)ctx;
    struct model_state state = {.ns_step = 1, .ns_token = 100};
    assert_in_range(answer(&state, true, 0), 80, 100);
    assert_in_range(counted.drafted, 0, 20);
}

/* The same where the step has streams enough: the table of times is of the step, whoever fills it. */
static void many_streams_leave_no_room(void **ctx)
{
    (void)ctx;
    for (int32_t n = 1; n <= SLOTS; n += SLOTS - 1) {
        struct model_state state = {.ns_step = 400, .ns_token = n == 1 ? 1 : 150};
        struct scheduler *s = create_with(&state, SLOTS, true);
        struct client c[SLOTS];
        for (int32_t i = 0; i < n; i++) {
            client_add(s, &c[i], numbers(i), 10, 100);
            expect(&c[i], 100, 4);
        }
        run(s);
        for (int32_t i = 0; i < n; i++)
            assert_true(c[i].n_ended == 1 && c[i].n == 110);
        if (n == 1)
            assert_in_range(state.n_decodes, 1, 50);
        else
            assert_in_range(state.n_decodes, 60, 100);
        scheduler_free(s);
    }
}

/* Random arrivals, expectations, pauses and cancels, with few pages or a state that goes back in steps. */
static void streams_are_as_without_drafts(void **ctx)
{
    (void)ctx;
    enum { CLIENTS = 200 };
    static struct client clients[CLIENTS];
    static const int32_t keeps[] = {1, 5, 1000};
    for (uint64_t seed = 0; seed < 12; seed++) {
        struct model_state state = {.keeps = keeps[seed % 3],
            .n_pages = seed % 3 == 2 ? CONTEXT / PAGE + 9 : 0,
            .ns_step = 100,
            .ns_token = 1 + (int64_t)(seed % 4) * 20,
            .foretells = (int32_t)(seed % 2) * 4};
        struct scheduler *s = create_with(&state, SLOTS, true);
        struct rand_pcg r;
        int32_t added = 0, prompt[CONTEXT];
        rand_pcg_seed(&r, seed);
        while (added < CLIENTS || scheduler_ready(s)) {
            if (added < CLIENTS && rand_pcg_u32(&r) % 6 == 0) {
                struct client *c = &clients[added++];
                memcpy(prompt, numbers((int32_t)(rand_pcg_u32(&r) % 4)), sizeof prompt);
                if (state.n_pages > 0) { /* beginnings are copied in this model, not shared */
                    prompt[0] = added % VOCAB;
                    prompt[1] = added / VOCAB;
                }
                client_add(s, c, prompt, 2 + (int32_t)(rand_pcg_u32(&r) % 100),
                    1 + (int32_t)(rand_pcg_u32(&r) % 60));
                if (rand_pcg_u32(&r) % 4)
                    expect(c, c->wanted, (int32_t)(rand_pcg_u32(&r) % 9));
            }
            for (int32_t i = 0; i < added; i++) {
                struct client *c = &clients[i];
                const uint32_t dice = c->sequence ? rand_pcg_u32(&r) % 800 : 799;
                if (dice == 0) {
                    scheduler_cancel(s, c->sequence);
                    c->sequence = NULL;
                    c->n_ended += 100;
                } else if (dice < 60) {
                    scheduler_pause(c->sequence, added < CLIENTS && dice < 20);
                }
            }
            scheduler_step(s);
        }
        for (int32_t i = 0; i < CLIENTS; i++)
            if (clients[i].sequence)
                scheduler_pause(clients[i].sequence, false);
        run(s);
        for (int32_t i = 0; i < CLIENTS; i++)
            assert_true(
                clients[i].n_ended == 100 || (clients[i].n_ended == 1 && clients[i].rc == 0 &&
                                                 clients[i].n == clients[i].n_prompt + clients[i].wanted));
        scheduler_free(s);
    }
}

/* Drafts reach to the end of the context and no further. */
static void a_context_is_filled_to_its_end(void **ctx)
{
    (void)ctx;
    struct model_state state = {0};
    struct scheduler *s = create_with(&state, 1, true);
    struct client c;
    client_add(s, &c, numbers(1), 150, 100);
    expect(&c, 60, 0);
    run(s);
    assert_true(c.rc == ERROR_LIMIT && c.n == CONTEXT + 1 && c.n_ended == 1);
    assert_in_range(state.n_decodes, 10, 25);
    scheduler_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_expected_takes_few_steps),
        cmocka_unit_test(a_smaller_model_drafts),
        cmocka_unit_test(a_layer_of_its_own_drafts),
        cmocka_unit_test(what_never_pays_is_left_from_one_answer_to_the_next),
        cmocka_unit_test(drafts_run_beside_prompts_where_they_pay),
        cmocka_unit_test(a_full_step_asks_no_smaller_model),
        cmocka_unit_test(a_row_without_numbers_is_its_own_slots),
        cmocka_unit_test(what_is_never_right_is_not_drafted),
        cmocka_unit_test(drafts_that_cost_what_they_give_are_left),
        cmocka_unit_test(many_streams_leave_no_room),
        cmocka_unit_test(streams_are_as_without_drafts),
        cmocka_unit_test(a_context_is_filled_to_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

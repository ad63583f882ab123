/* The end of a loop's turn: the journal is written once for what was submitted, then whoever asked is told.
 */
#include "unit/store/journal_fixture.h"

#include <pthread.h>

struct turn {
    struct fixture *f;
    struct store *s;
    off_t before, submitted;
};

static void submit_some(void *ctx)
{
    struct turn *t = ctx;
    struct error err;
    struct store_opened opened = opened_row("r", 1);
    t->before = file_bytes(t->f, 0);
    assert_int_equal(store_ledger_open(t->s, &opened, NOBODY, &err), 0);
    for (int i = 0; i < 10; i++)
        egress_add(t->f, t->s, i);
    t->submitted = file_bytes(t->f, 0);
}

/* Once for all that a loop's events submitted, and before anybody is told. */
static void test_the_journal_is_written_at_the_end_of_a_turn(void **state)
{
    struct fixture *f = *state;
    struct store *s = journal_open(f);
    struct turn t = {.f = f, .s = s};
    struct error err;
    loop_post(f->loop, submit_some, &t);
    assert_int_equal(loop_run(f->loop, &err), 0);
    assert_int_equal(f->answers, 10);
    assert_int_equal(t.before, 16);
    assert_int_equal(t.submitted, 16);
    assert_true(file_bytes(f, 0) > 16);
    store_close(s);
    s = fixture_open(f);
    assert_int_equal(egress_count(s), 10);
    assert_int_equal(ledger_count(s), 1);
    store_close(s);
}

enum { LOOPS = 4, LOOP_ROWS = 4000, LOOP_IN_FLIGHT = 16 };

struct client {
    struct store *s;
    struct loop *loop;
    pthread_t thread;
    int number, sent, answered;
};

static void client_send(struct client *c);

static void client_answer(void *ctx, int code)
{
    struct client *c = ctx;
    assert_int_equal(code, 0);
    assert_true(loop_is_current(c->loop)); /* whoever wrote it, its own loop is told */
    if (++c->answered == LOOP_ROWS)
        loop_stop(c->loop);
    else if (c->sent < LOOP_ROWS)
        client_send(c);
}

static void client_send(struct client *c)
{
    struct error err;
    char id[32];
    snprintf(id, sizeof id, "%d.%d", c->number, c->sent++);
    struct store_egress row = egress_row(id, c->number);
    assert_int_equal(
        store_egress_record(c->s, &row, (struct store_done){c->loop, client_answer, c}, &err), 0);
}

static void *client_main(void *ctx)
{
    struct client *c = ctx;
    struct error err;
    assert_int_equal(loop_create(&c->loop, &err), 0);
    for (int i = 0; i < LOOP_IN_FLIGHT; i++)
        client_send(c);
    assert_int_equal(loop_run(c->loop, &err), 0);
    loop_free(c->loop);
    return NULL;
}

static void test_loops_share_a_journal(void **state)
{
    struct fixture *f = *state;
    struct store *s = journal_open(f);
    struct client clients[LOOPS];
    for (int i = 0; i < LOOPS; i++) {
        clients[i] = (struct client){.s = s, .number = i};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, client_main, &clients[i]), 0);
    }
    for (int i = 0; i < LOOPS; i++)
        pthread_join(clients[i].thread, NULL);
    store_close(s);
    s = fixture_open(f);
    assert_int_equal(egress_count(s), LOOPS * LOOP_ROWS);
    store_close(s);
}

/* What is asked and not yet told when the store closes is told by the loop's last tasks. */
static void test_closed_before_the_end_of_a_turn(void **state)
{
    struct fixture *f = *state;
    struct store *s = journal_open(f);
    for (int i = 0; i < 3; i++)
        egress_add(f, s, i);
    store_close(s);
    assert_int_equal(f->answers, 0);
    assert_int_equal(fixture_wait(f), 0);
    s = fixture_open(f);
    assert_int_equal(egress_count(s), 3);
    store_close(s);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_up, fixture_down)
    const struct CMUnitTest tests[] = {
        TEST(test_the_journal_is_written_at_the_end_of_a_turn),
        TEST(test_loops_share_a_journal),
        TEST(test_closed_before_the_end_of_a_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

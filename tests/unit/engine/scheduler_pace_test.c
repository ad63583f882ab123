/* How much of prompts a step reads, on machines that are made up: quiet ones, ones that have other work, ones
 * that become slower. What is held: a stream's tokens come no more than three times as far apart as without
 * prompts, but for a twentieth of them, and prompts get on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/rand.h"
#include "engine/worker/scheduler_pace.h"

enum { ROOM = 512, STEPS = 4000 };

/* A step of n streams and `read` tokens of prompts takes alone + token * read; one in `held_up` (0: none)
 * takes up to twice as long. */
struct machine {
    double alone, token;
    int32_t held_up;
};

struct tally {
    int32_t steps, longer, read;
    double longest; /* in times of a step alone, as it is where nothing holds it up */
};

static struct rand_pcg rng;

static double time_of(const struct machine *m, int32_t read)
{
    const double took = m->alone + m->token * read;
    const bool held = m->held_up > 0 && rand_pcg_u32(&rng) % (uint32_t)m->held_up == 0;
    return held ? took * (1 + rand_pcg_double(&rng)) : took;
}

static void run(struct pace *p, const struct machine *m, int32_t streams, int32_t n, struct tally *t)
{
    *t = (struct tally){0};
    for (int32_t i = 0; i < n; i++) {
        const int32_t read = pace_room(p, streams, ROOM);
        const double took = time_of(m, read);
        assert_in_range(read, 0, ROOM);
        pace_learn(p, streams, read, (int64_t)took);
        t->steps++;
        t->read += read;
        t->longer += took > 3 * m->alone;
        t->longest = took / m->alone > t->longest ? took / m->alone : t->longest;
    }
}

static void begin(struct pace *p, const struct machine *m, int32_t streams)
{
    rand_pcg_seed(&rng, 20261128);
    *p = (struct pace){0};
    for (int i = 0; i < 3; i++)
        pace_learn(p, streams, 0, (int64_t)time_of(m, 0));
}

static void a_quiet_machine_uses_what_is_borne(void **state)
{
    (void)state;
    const struct machine m = {20e6, 1e6, 0};
    struct pace p;
    struct tally t;
    begin(&p, &m, 1);
    run(&p, &m, 1, STEPS, &t);
    assert_int_equal(t.longer, 0);
    assert_true(t.read >= STEPS / 17.0 * 16 * 35); /* of the 40 that are borne */
}

static void steps_that_vary_leave_room_for_it(void **state)
{
    (void)state;
    for (int32_t held_up = 2; held_up <= 10; held_up += 4) {
        const struct machine m = {20e6, 1e6, held_up};
        struct pace p;
        struct tally t;
        begin(&p, &m, 1);
        run(&p, &m, 1, STEPS, &t);
        assert_in_range(t.longer, 0, STEPS / 20);
        assert_true(t.read > STEPS * 8); /* half of all held up: 16 tokens of the 40 */
    }
}

/* A step without prompts that was held up tenfold says nothing of the others. */
static void a_step_that_was_held_up_is_passed_over(void **state)
{
    (void)state;
    const struct machine m = {20e6, 1e6, 0};
    struct pace p;
    struct tally t;
    begin(&p, &m, 1);
    run(&p, &m, 1, 100, &t);
    pace_learn(&p, 1, 0, 200000000);
    run(&p, &m, 1, 16, &t);
    assert_true(t.longest <= 3);
}

/* The machine gets other work for good, then is left alone: the prompts' part follows both. */
static void a_machine_that_becomes_slower_is_followed(void **state)
{
    (void)state;
    const struct machine quick = {20e6, 1e6, 0}, slow = {60e6, 3e6, 0};
    struct pace p;
    struct tally t;
    begin(&p, &quick, 1);
    run(&p, &quick, 1, 200, &t);
    run(&p, &slow, 1, 200, &t); /* until it is known */
    run(&p, &slow, 1, 200, &t);
    assert_in_range(t.longer, 0, 10);
    assert_true(t.read >= 200 * 20);
    run(&p, &quick, 1, 17, &t); /* a step alone tells */
    run(&p, &quick, 1, 200, &t);
    assert_in_range(t.longer, 0, 10);
    assert_true(t.read >= 200 * 20);
}

/* A token of a prompt becomes dearer the deeper it stands. */
static void deep_prompts_are_followed(void **state)
{
    (void)state;
    struct machine m = {20e6, 1e6, 0};
    struct pace p;
    int32_t at = 0, longer = 0, steps = 0;
    begin(&p, &m, 1);
    for (; at < 32768; steps++) {
        struct tally t;
        m.token = 1e6 * (1 + at / 8192.0);
        run(&p, &m, 1, 1, &t);
        longer += t.longer;
        at += t.read;
    }
    assert_in_range(longer, 0, steps / 20);
}

static void streams_that_come_are_measured_first(void **state)
{
    (void)state;
    const struct machine m = {20e6, 1e6, 0};
    struct pace p;
    struct tally t;
    begin(&p, &m, 1);
    run(&p, &m, 1, 20, &t);
    assert_int_equal(pace_room(&p, 2, ROOM), 0);
    pace_learn(&p, 2, 0, 30000000);
    const int32_t read = pace_room(&p, 2, ROOM);
    assert_in_range(read, 40, 60);
    pace_learn(&p, 2, read, 80000000);
    assert_int_equal(pace_room(&p, 3, ROOM), 0);
    pace_learn(&p, 3, 0, 31000000);
    assert_true(pace_room(&p, 4, ROOM) > 0); /* never twice in a row */
    assert_int_equal(pace_room(&p, 0, ROOM), ROOM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quiet_machine_uses_what_is_borne),
        cmocka_unit_test(steps_that_vary_leave_room_for_it),
        cmocka_unit_test(a_step_that_was_held_up_is_passed_over),
        cmocka_unit_test(a_machine_that_becomes_slower_is_followed),
        cmocka_unit_test(deep_prompts_are_followed),
        cmocka_unit_test(streams_that_come_are_measured_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

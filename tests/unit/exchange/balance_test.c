#include "exchange/balance.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"

enum { N = 4, ROUNDS = 40000 };

static void loads_init(struct balance_load *loads)
{
    memset(loads, 0, N * sizeof *loads);
    for (size_t i = 0; i < N; i++)
        loads[i] = (struct balance_load){.name = 1000 + i, .weight = 1, .latency_ms = 10};
}

static uint64_t bits(struct rand_pcg *r)
{
    uint64_t high = rand_pcg_u32(r);
    return high << 32 | rand_pcg_u32(r);
}

/* How often each is chosen, of ROUNDS. */
static void shares(enum balance_by by, const struct balance_load *loads, int *out)
{
    struct rand_pcg r;
    rand_pcg_seed(&r, 7);
    memset(out, 0, N * sizeof *out);
    for (int i = 0; i < ROUNDS; i++)
        out[balance_choose(by, loads, N, bits(&r), bits(&r))]++;
}

static void weights_are_kept(void **state)
{
    (void)state;
    struct balance_load loads[N];
    int share[N];
    loads_init(loads);
    for (int i = 0; i < N; i++)
        loads[i].weight = i + 1;
    shares(BALANCE_WEIGHTED, loads, share);
    for (int i = 0; i < N; i++)
        assert_in_range(share[i], ROUNDS / 10 * (i + 1) * 95 / 100, ROUNDS / 10 * (i + 1) * 105 / 100);
    shares(BALANCE_PREFIX, loads, share);
    for (int i = 0; i < N; i++)
        assert_in_range(share[i], ROUNDS / 10 * (i + 1) * 9 / 10, ROUNDS / 10 * (i + 1) * 11 / 10);
}

static void the_less_busy_of_two(void **state)
{
    (void)state;
    struct balance_load loads[N];
    int share[N];
    loads_init(loads);
    for (int i = 0; i < N; i++)
        loads[i].in_flight = i;
    shares(BALANCE_LEAST_BUSY, loads, share);
    assert_int_equal(share[3], 0); /* the busiest loses against any */
    assert_in_range(share[0], ROUNDS * 45 / 100, ROUNDS * 55 / 100);
    assert_true(share[0] > share[1] && share[1] > share[2]);
    loads[0].weight = 1;
    loads[3].weight = 100; /* a big machine with three is less busy */
    shares(BALANCE_LEAST_BUSY, loads, share);
    assert_true(share[3] > share[0]);
}

static void the_quicker_of_two(void **state)
{
    (void)state;
    struct balance_load loads[N];
    int share[N];
    loads_init(loads);
    loads[1].latency_ms = 1;
    loads[2].latency_ms = 500;
    shares(BALANCE_LOWEST_LATENCY, loads, share);
    assert_int_equal(share[2], 0);
    assert_in_range(share[1], ROUNDS * 45 / 100, ROUNDS * 55 / 100);
    loads[1].in_flight = 30; /* quick, but crowded */
    shares(BALANCE_LOWEST_LATENCY, loads, share);
    assert_true(share[1] < share[0]);
    loads[3].latency_ms = 0; /* not known: is found out */
    shares(BALANCE_LOWEST_LATENCY, loads, share);
    assert_true(share[3] > share[0]);
}

static void a_conversation_returns_and_moves_only_where_it_must(void **state)
{
    (void)state;
    struct balance_load loads[N];
    loads_init(loads);
    struct rand_pcg r;
    rand_pcg_seed(&r, 3);
    int moved = 0;
    for (int i = 0; i < 2000; i++) {
        uint64_t prefix = bits(&r);
        size_t home = balance_choose(BALANCE_PREFIX, loads, N, prefix, bits(&r));
        assert_int_equal(balance_choose(BALANCE_PREFIX, loads, N, prefix, bits(&r)), home);
        loads[2].shut = true; /* only its own conversations move */
        size_t then = balance_choose(BALANCE_PREFIX, loads, N, prefix, bits(&r));
        loads[2].shut = false;
        assert_true(home == 2 ? then != 2 : then == home);
        moved += then != home;
    }
    assert_in_range(moved, 400, 600);
}

static void a_crowd_spills_over_to_the_same_second_choice(void **state)
{
    (void)state;
    struct balance_load loads[N];
    loads_init(loads);
    int share[N] = {0};
    for (int i = 0; i < 80; i++) {
        size_t at = balance_choose(BALANCE_PREFIX, loads, N, 42, 0);
        loads[at].in_flight++;
        share[at]++;
    }
    int most = 0;
    for (int i = 0; i < N; i++)
        most = share[i] > most ? share[i] : most;
    assert_in_range(most, 20, 27); /* 1.25 times a quarter, and some */
}

static void the_shut_come_last_and_the_taken_never(void **state)
{
    (void)state;
    struct balance_load loads[N];
    for (int by = BALANCE_WEIGHTED; by <= BALANCE_PREFIX; by++) {
        loads_init(loads);
        loads[0].shut = loads[1].shut = true;
        for (uint64_t i = 0; i < 100; i++)
            assert_in_range(balance_choose((enum balance_by)by, loads, N, i, i << 33 | i), 2, 3);
        loads[2].taken = loads[3].taken = true;
        assert_in_range(balance_choose((enum balance_by)by, loads, N, 1, 1), 0, 1);
        loads[0].taken = loads[1].taken = true;
        assert_int_equal(balance_choose((enum balance_by)by, loads, N, 1, 1), SIZE_MAX);
    }
}

static void latency_rises_at_once_and_falls_slowly(void **state)
{
    (void)state;
    struct balance_ewma e = {0};
    assert_true(balance_ewma_get(&e, 1000) == 0);
    balance_ewma_add(&e, 100, 1000);
    assert_true(balance_ewma_get(&e, 1000) == 100);
    balance_ewma_add(&e, 900, 1001);
    assert_true(balance_ewma_get(&e, 1001) == 900);
    balance_ewma_add(&e, 100, 1001 + 10000);
    double after = balance_ewma_get(&e, 11001);
    assert_true(fabs(after - (900 * exp(-1) + 100 * (1 - exp(-1)))) < 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_kept),
        cmocka_unit_test(the_less_busy_of_two),
        cmocka_unit_test(the_quicker_of_two),
        cmocka_unit_test(a_conversation_returns_and_moves_only_where_it_must),
        cmocka_unit_test(a_crowd_spills_over_to_the_same_second_choice),
        cmocka_unit_test(the_shut_come_last_and_the_taken_never),
        cmocka_unit_test(latency_rises_at_once_and_falls_slowly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "base/rand.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void makes_ids_of_62_letters_evenly(void **state)
{
    (void)state;
    enum { N = 4000 };
    static char ids[N][32];
    int counts[128] = {0};
    for (int i = 0; i < N; i++) {
        memset(ids[i], '#', sizeof ids[i]);
        rand_id("req_", ids[i], 29); /* exactly what it needs */
        assert_int_equal(strlen(ids[i]), 28);
        assert_int_equal(ids[i][29], '#');
        assert_memory_equal(ids[i], "req_", 4);
        for (int k = 4; k < 28; k++) {
            assert_true(isalnum((unsigned char)ids[i][k]));
            counts[(unsigned char)ids[i][k]]++;
        }
        for (int k = 0; k < i && i < 500; k++)
            assert_string_not_equal(ids[i], ids[k]);
    }
    /* 96000 letters over 62: about 1548 each, standard deviation 39. */
    for (int c = 0; c < 128; c++)
        if (isalnum(c))
            assert_in_range(counts[c], 1548 - 300, 1548 + 300);
}

static void fills_every_byte(void **state)
{
    (void)state;
    unsigned char bytes[5000], zero[16] = {0}, any[16] = {0};
    memset(bytes, 0, sizeof bytes);
    rand_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        any[i % 16] |= bytes[i];
    for (int i = 0; i < 16; i++)
        assert_int_not_equal(any[i], 0);
    rand_bytes(zero, 0);
    assert_int_equal(zero[0], 0);
    assert_true(rand_u64() != rand_u64());
}

/* Whatever was asked for, and in whatever portions, nothing comes twice. */
static void gives_nothing_twice(void **state)
{
    (void)state;
    enum { N = 3000 };
    static uint64_t seen[N];
    for (int i = 0; i < N; i++) {
        unsigned char skipped[200];
        rand_bytes(skipped, (size_t)i % 200);
        seen[i] = rand_u64();
        for (int k = 0; k < i; k++)
            assert_true(seen[k] != seen[i]);
    }
}

/* A child must not go on with what its parent has asked for ahead. */
static void child_and_parent_differ(void **state)
{
    (void)state;
    uint64_t here[4], there[4];
    int fds[2], status;
    (void)rand_u64();
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    rand_bytes(here, sizeof here);
    if (child == 0)
        _exit(write(fds[1], here, sizeof here) == sizeof here ? 0 : 1);
    assert_int_equal(read(fds[0], there, sizeof there), sizeof there);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(fds[0]);
    close(fds[1]);
    for (int i = 0; i < 4; i++)
        assert_true(here[i] != there[i]);
}

/* The stream must stay the same: users' seeds rely on it. PCG32 with increment 0xda3e39cb94b95bdb, stated
 * again here in its plainest form. */
static void follows_pcg32(void **state)
{
    (void)state;
    static const uint64_t seeds[] = {0, 1, 42, UINT64_MAX};
    for (size_t s = 0; s < 4; s++) {
        struct rand_pcg r;
        uint64_t x = 0xda3e39cb94b95bdbu + seeds[s];
        x = x * 6364136223846793005u + 0xda3e39cb94b95bdbu;
        rand_pcg_seed(&r, seeds[s]);
        for (int i = 0; i < 1000; i++) {
            uint32_t word = (uint32_t)((x >> 18 ^ x) >> 27);
            int turn = (int)(x >> 59);
            uint32_t want = turn ? word >> turn | word << (32 - turn) : word;
            assert_int_equal(rand_pcg_u32(&r), want);
            x = x * 6364136223846793005u + 0xda3e39cb94b95bdbu;
        }
    }
}

static void gives_doubles_from_0_to_1(void **state)
{
    (void)state;
    struct rand_pcg r, again;
    rand_pcg_seed(&r, 7);
    rand_pcg_seed(&again, 7);
    double sum = 0, least = 1, most = 0;
    for (int i = 0; i < 100000; i++) {
        double d = rand_pcg_double(&r);
        assert_true(d >= 0 && d < 1 && d == rand_pcg_double(&again));
        sum += d;
        least = d < least ? d : least;
        most = d > most ? d : most;
    }
    assert_true(sum > 49500 && sum < 50500 && least < 0.001 && most > 0.999);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(makes_ids_of_62_letters_evenly),
        cmocka_unit_test(fills_every_byte),
        cmocka_unit_test(gives_nothing_twice),
        cmocka_unit_test(child_and_parent_differ),
        cmocka_unit_test(follows_pcg32),
        cmocka_unit_test(gives_doubles_from_0_to_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

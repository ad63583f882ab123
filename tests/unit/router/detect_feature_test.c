#include "router/detect_feature.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"

enum { MOST = 100, WORDS = 16, ADDED = 60 };

static uint64_t words[WORDS], seeds[MOST], made[MOST + FEATURE_ROOM];
static uint8_t whose[MOST + FEATURE_ROOM];
static struct feature_map map = {.words = words, .last = WORDS - 1, .product = 0x9e3779b97f4a7c15u};

/* Some of the seeds are in the map; of the others some seem to be. */
static void map_fill(void)
{
    struct rand_pcg r;
    rand_pcg_seed(&r, 5);
    for (size_t i = 0; i < MOST; i++) {
        seeds[i] = (uint64_t)rand_pcg_u32(&r) << 32 | rand_pcg_u32(&r);
        whose[i] = (uint8_t)(i * 2);
    }
    for (size_t i = 0; i < ADDED; i++)
        feature_add(&map, feature_id(&map, seeds[i * 7 % MOST]));
}

static size_t hits_make(int way, size_t n)
{
    size_t hits = 0;
    memcpy(made, seeds, sizeof seeds);
    if (way == 0)
        hits = detect_feature_hits_plain(&map, made, whose, n);
    else if (!detect_feature_hits_wide(&map, made, whose, n, &hits))
        skip();
    return hits;
}

/* Of any number of seeds, also of none and of such that fill no vector. */
static void hits_are_what_may_be_there_in_order(void **state)
{
    const int way = *(int *)*state;
    for (size_t n = 0; n <= MOST; n++) {
        const size_t hits = hits_make(way, n);
        size_t seen = 0;
        for (size_t i = 0; i < n; i++) {
            const uint32_t id = feature_id(&map, seeds[i]);
            if (!feature_may_be(&map, id))
                continue;
            assert_true(seen < hits);
            assert_int_equal(hit_id(made[seen]), id);
            assert_int_equal(hit_whose(made[seen]), whose[i]);
            seen++;
        }
        assert_int_equal(seen, hits);
        assert_true(n < MOST || (hits >= ADDED && hits < MOST));
    }
}

static void what_was_added_may_be_there_whatever_its_lowest_bit(void **state)
{
    (void)state;
    for (size_t i = 0; i < ADDED; i++) {
        const uint32_t id = feature_id(&map, seeds[i * 7 % MOST]);
        assert_true(feature_may_be(&map, id | 1) && feature_may_be(&map, id & ~1u));
    }
}

int main(void)
{
    static int plain = 0, wide = 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(hits_are_what_may_be_there_in_order, &plain),
        cmocka_unit_test_prestate(hits_are_what_may_be_there_in_order, &wide),
        cmocka_unit_test(what_was_added_may_be_there_whatever_its_lowest_bit),
    };
    map_fill();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "router/detect_memo.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/rand.h"
#include "router/detect.h"

static const char *const pieces[] = {"Say what a weir is. ", "mail jane.doe@acme-corp.com ",
    "card 4111 1111 1111 1111 ", "grüße aus 東京 ", "my diagnosis is diabetes ",
    "IBAN DE89370400440532013000 ", "\\u0041 and ", "Z2l0aHVi ", "AKIAQ3EGRIYBXK5PLM2X ",
    "tel. +49 30 901820 ", "nothing here, only words. "};
enum { PIECES = sizeof pieces / sizeof *pieces };

static struct str text_make(struct arena *a, struct rand_pcg *r)
{
    struct buf b;
    buf_init(&b, MIB);
    for (uint32_t n = rand_pcg_u32(r) % 30; n > 0; n--)
        buf_append_text(&b, pieces[rand_pcg_u32(r) % (n % 5 ? 3 : PIECES)]);
    struct str s = arena_copy(a, buf_str(&b));
    buf_free(&b);
    return s;
}

static bool same(const struct router_findings *x, const struct router_findings *y)
{
    bool good = x->n_entities == y->n_entities && x->categories == y->categories &&
                x->sensitive == y->sensitive && x->more == y->more && x->n_more_types == y->n_more_types;
    for (size_t i = 0; good && i < x->n_entities; i++) {
        const struct router_entity *e = &x->entities[i], *o = &y->entities[i];
        good = e->type == o->type && e->category == o->category && e->start == o->start && e->end == o->end &&
               e->score == o->score && str_eq(e->where, o->where);
    }
    return good;
}

static void *compare(void *ctx)
{
    struct rand_pcg r;
    size_t *wrong = ctx;
    for (int round = 0; round < 3; round++) { /* the same texts again */
        rand_pcg_seed(&r, 7);
        for (int i = 0; i < 300; i++) {
            struct arena *a = arena_create(4 * MIB);
            struct router_findings plain = {0}, kept = {0};
            struct error err;
            for (int part = 0; part < 2; part++) { /* findings of two texts come together */
                struct str text = text_make(a, &r), where = arena_printf(a, "messages[%d]", part);
                *wrong += router_detect(a, where, text, &plain, &err) != 0;
                *wrong += detect_memo_look(NULL, a, STR("key"), where, text, &kept, &err) != 0;
            }
            *wrong += !same(&plain, &kept);
            arena_free(a);
        }
    }
    return NULL;
}

static void a_text_seen_before_gives_the_same_findings(void **state)
{
    (void)state;
    size_t wrong = 0;
    compare(&wrong);
    assert_int_equal(wrong, 0);
}

static void threads_share_it(void **state)
{
    (void)state;
    pthread_t threads[4];
    size_t wrong[4] = {0};
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, compare, &wrong[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(wrong[i], 0);
    }
}

static void a_text_that_fails_is_not_kept(void **state)
{
    (void)state;
    char bad[200];
    memset(bad, 'a', sizeof bad);
    bad[100] = (char)0xff;
    for (int i = 0; i < 2; i++) {
        struct arena *a = arena_create(MIB);
        struct router_findings f = {0};
        struct error err;
        assert_int_equal(
            detect_memo_look(NULL, a, STR_NONE, STR_NONE, (struct str){bad, sizeof bad}, &f, &err),
            ERROR_INVALID);
        arena_free(a);
    }
}

static void many_findings_and_full_lists_stay_right(void **state)
{
    (void)state;
    struct arena *a = arena_create(64 * MIB);
    struct router_findings plain = {0}, kept = {0};
    struct error err;
    struct buf b;
    buf_init(&b, MIB);
    for (int i = 0; i < 200; i++)
        buf_appendf(&b, "m%d@acme-corp.com, ", i);
    for (int i = 0; i < 30; i++) { /* past LIMIT_ENTITIES */
        assert_int_equal(router_detect(a, STR_NONE, buf_str(&b), &plain, &err), 0);
        assert_int_equal(detect_memo_look(NULL, a, STR_NONE, STR_NONE, buf_str(&b), &kept, &err), 0);
    }
    assert_true(plain.more > 0 && same(&plain, &kept));
    buf_free(&b);
    arena_free(a);
}

/* More texts with findings than there is room for. */
static void what_is_pushed_out_is_looked_at_again(void **state)
{
    (void)state;
    size_t wrong = 0;
    for (int i = 0; i < 50000; i++) {
        struct arena *a = arena_create(MIB);
        struct router_findings plain = {0}, kept = {0};
        struct error err;
        struct str text = arena_printf(a, "m%d@acme-corp.com", i % 45000);
        wrong += detect_memo_look(NULL, a, STR_NONE, STR_NONE, text, &kept, &err) != 0;
        if (i % 16 == 0)
            wrong += router_detect(a, STR_NONE, text, &plain, &err) != 0 || !same(&plain, &kept);
        arena_free(a);
    }
    assert_int_equal(wrong, 0);
}

static void place_find(struct str who, struct str text, struct detect_memo_place *place)
{
    struct detect_memo_caller caller;
    detect_memo_caller(NULL, who, &caller);
    detect_memo_find(&caller, text, place);
}

/* A question that comes again was read again each time for its score. */
static void a_score_is_kept_beside_the_findings(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct error err;
    static const char bad[] = "sent twice \xff";
    const struct str texts[] = {STR("Which of the two weirs is the higher one?"), {bad, sizeof bad - 1}};
    for (size_t i = 0; i < 2; i++) {
        struct detect_memo_place place = {.len = 0}, again = {.len = 0}, other = {.len = 0};
        struct router_findings f = {0};
        assert_true(isnan(detect_memo_score(&place)));
        place_find(STR("one"), texts[i], &place);
        int rc = detect_memo_look(NULL, a, STR("one"), STR_NONE, texts[i], &f, &err);
        assert_int_equal(rc, i == 0 ? 0 : ERROR_INVALID);
        assert_true(isnan(detect_memo_score(&place)));
        detect_memo_score_keep(&place, 0.25);
        place_find(STR("one"), texts[i], &again);
        rc = detect_memo_look(NULL, a, STR("one"), STR_NONE, texts[i], &f, &err);
        if (i == 0)
            assert_true(rc == 0 && detect_memo_score(&again) == 0.25);
        else /* what fails is not kept, and nothing beside it */
            assert_true(rc == ERROR_INVALID && isnan(detect_memo_score(&again)));
        place_find(STR("two"), texts[0], &other);
        rc = detect_memo_look(NULL, a, STR("two"), STR_NONE, texts[0], &f, &err);
        assert_true(rc == 0 && isnan(detect_memo_score(&other)));
    }
    arena_free(a);
}

static int start(void **state)
{
    struct error err;
    (void)state;
    return router_detect_init(&err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_seen_before_gives_the_same_findings),
        cmocka_unit_test(threads_share_it),
        cmocka_unit_test(a_text_that_fails_is_not_kept),
        cmocka_unit_test(many_findings_and_full_lists_stay_right),
        cmocka_unit_test(what_is_pushed_out_is_looked_at_again),
        cmocka_unit_test(a_score_is_kept_beside_the_findings),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}

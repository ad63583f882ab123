/* The threads that judge long texts: who waits is told on its loop, who left is not, and nothing is lost at
 * the end. */
#include "exchange/judge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/loop.h"

enum { JOBS = 40 };

struct fixture {
    struct loop *loop;
    struct judge *judge;
    struct exchange_world *world;
    int told, released;
};

static void on_release(void *ctx)
{
    ((struct fixture *)ctx)->released++;
}

static void on_told(void *ctx)
{
    struct fixture *f = ctx;
    assert_ptr_equal(loop_running(), f->loop);
    if (++f->told == JOBS)
        loop_stop(f->loop);
}

static void start(struct fixture *f, int threads)
{
    static const struct exchange_model model = {.name = STR("house")};
    struct error err;
    *f = (struct fixture){0};
    assert_int_equal(router_detect_init(&err), 0);
    assert_int_equal(loop_create(&f->loop, &err), 0);
    assert_int_equal(judge_create(threads, &f->judge, &err), 0);
    f->world = exchange_world_create(&model, 1, NULL, on_release, f);
}

/* One long text that nobody has judged. */
static struct router_ahead *ahead_make(void)
{
    static int made;
    struct router_ahead *ahead = NULL;
    struct router_findings found = {0};
    struct detect_memo_caller caller;
    struct detect_memo_place place;
    struct arena *a = arena_create(MIB);
    struct error err;
    struct buf b;
    buf_init(&b, MIB);
    buf_appendf(&b, "Text %d of the judge's test. ", ++made);
    while (b.len < ROUTER_AHEAD_BYTES)
        buf_append_text(&b, "The weir holds the water back. ");
    detect_memo_caller(NULL, STR("key"), &caller);
    detect_memo_find(&caller, buf_str(&b), &place);
    assert_int_equal(router_ahead_take(&ahead, NULL, &place, a, STR_NONE, buf_str(&b), &found, &err), 0);
    assert_true(router_ahead_waits(ahead));
    buf_free(&b);
    arena_free(a);
    return ahead;
}

static void end(struct fixture *f)
{
    judge_free(f->judge);
    loop_run_posted(f->loop);
    exchange_world_unref(f->world);
    assert_int_equal(f->released, 1); /* no job holds it any more */
    loop_free(f->loop);
}

static void who_waits_is_told_on_its_loop(void **state)
{
    struct fixture f;
    struct error err;
    (void)state;
    start(&f, 3);
    for (int i = 0; i < JOBS; i++)
        (void)judge_begin(f.judge, ahead_make(), f.world, f.loop, on_told, &f);
    assert_int_equal(loop_run(f.loop, &err), 0);
    assert_int_equal(f.told, JOBS);
    end(&f);
}

static void who_left_is_not_told(void **state)
{
    struct fixture f;
    struct error err;
    (void)state;
    start(&f, 2);
    for (int i = 0; i < JOBS; i++) {
        judge_leave(f.judge, judge_begin(f.judge, ahead_make(), f.world, f.loop, on_told, &f));
        (void)judge_begin(f.judge, ahead_make(), f.world, f.loop, on_told, &f);
    }
    assert_int_equal(loop_run(f.loop, &err), 0);
    assert_int_equal(f.told, JOBS);
    end(&f);
}

/* Texts of those who had left were judged all the same, and everyone else waited for that. */
static void who_left_is_not_waited_for(void **state)
{
    struct fixture f;
    (void)state;
    start(&f, 0); /* nobody takes one */
    for (int i = 0; i < JOBS; i++)
        judge_leave(f.judge, judge_begin(f.judge, ahead_make(), f.world, f.loop, on_told, &f));
    exchange_world_unref(f.world);
    assert_int_equal(f.released, 1); /* the jobs are gone */
    judge_free(f.judge);
    loop_free(f.loop);
}

/* As when the gateway stops: those who waited have left. */
static void what_is_not_judged_at_the_end_is_freed(void **state)
{
    struct fixture f;
    (void)state;
    start(&f, 1);
    for (int i = 0; i < JOBS; i++)
        judge_leave(f.judge, judge_begin(f.judge, ahead_make(), f.world, f.loop, on_told, &f));
    end(&f);
    assert_int_equal(f.told, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_waits_is_told_on_its_loop),
        cmocka_unit_test(who_left_is_not_told),
        cmocka_unit_test(who_left_is_not_waited_for),
        cmocka_unit_test(what_is_not_judged_at_the_end_is_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

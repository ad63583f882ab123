/* Nothing may leave before its record is kept. */
#include "unit/store/store_fixture.h"

#include <signal.h>
#include <sys/resource.h>

#include "govern/govern.h"

static struct egress_record record_of(const char *id)
{
    struct egress_record r = {.wall_ms = 1700000000000,
        .request_id = str_from(id),
        .rule = STR("hard-goes-out"),
        .boundary = EGRESS_BOUNDARY_ANY,
        .zone = EGRESS_ZONE_CLOUD,
        .target = STR("openai"),
        .host = STR("api.example:443"),
        .path = STR("/v1/chat/completions"),
        .bytes = 1234};
    memset(r.sha256, 'a', 64);
    return r;
}

static int check_row(void *ctx, const struct store_egress *row)
{
    ++*(int *)ctx;
    assert_int_equal(row->wall_ms, 1700000000000);
    assert_true(str_is(row->request_id, "req_1"));
    assert_true(str_is(row->rule, "hard-goes-out"));
    assert_true(str_is(row->boundary, "any"));
    assert_true(str_is(row->zone, "cloud"));
    assert_true(str_is(row->target, "openai"));
    assert_true(str_is(row->host, "api.example:443"));
    assert_true(str_is(row->path, "/v1/chat/completions"));
    assert_int_equal(row->bytes, 1234);
    assert_int_equal(row->sha256.len, 64);
    return 0;
}

static void test_record_is_kept(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    struct egress_record r = record_of("req_1");
    f->expected = 1;
    govern_audit_witness(s, f->loop, &r, fixture_answer, f);
    assert_int_equal(f->answers, 0); /* not before the loop runs */
    assert_int_equal(fixture_wait(f), 0);
    int rows = 0;
    assert_int_equal(store_egress_list(s, 0, check_row, &rows, &err), 0);
    assert_int_equal(rows, 1);
    store_close(s);
}

static void test_failures_are_told(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct egress_record r = record_of("req_1");
    struct rlimit limit;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    struct rlimit none = {.rlim_cur = 1, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    f->expected = 1;
    govern_audit_witness(s, f->loop, &r, fixture_answer, f);
    assert_int_equal(fixture_wait(f), ERROR_IO);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    /* What cannot even be queued is told at once. */
    char *path = malloc(2 << 20);
    memset(path, 'p', 2 << 20);
    r.path = (struct str){path, 2 << 20};
    f->expected = 2;
    govern_audit_witness(s, f->loop, &r, fixture_answer, f);
    assert_int_equal(f->answers, 2);
    assert_int_equal(f->last_code, ERROR_LIMIT);
    free(path);
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_record_is_kept, fixture_up, fixture_down),
        cmocka_unit_test_setup_teardown(test_failures_are_told, fixture_up, fixture_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What every database must do: what is written comes back, in every order the writes may arrive in. */
#ifndef WEIR_TESTS_STORE_CASES_H
#define WEIR_TESTS_STORE_CASES_H

#include "unit/store/store_fixture.h"
#include "unit/store/spend_cases.h"

#include "base/limits.h"

struct found {
    struct store_ledger_row row; /* strings copied below */
    char text[4][256];
    int n;
};

static void keep_text(char *out, struct str *s)
{
    assert_true(s->len < 256);
    memcpy(out, s->data, s->len);
    s->data = out;
}

static int find_ledger(void *ctx, const struct store_ledger_row *row)
{
    struct found *f = ctx;
    f->row = *row;
    keep_text(f->text[0], &f->row.opened.request_id);
    keep_text(f->text[1], &f->row.opened.model);
    keep_text(f->text[2], &f->row.settled.outcome);
    keep_text(f->text[3], &f->row.opened.decision);
    f->n++;
    return 0;
}

static const struct found *last_row(struct store *s)
{
    static struct found f;
    struct error err;
    f.n = 0;
    assert_int_equal(store_ledger_list(s, 0, find_ledger, &f, &err), 0);
    return &f;
}

static void test_round_trip(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    struct store_opened opened = opened_row("r1", 1000);
    assert_int_equal(store_ledger_open(s, &opened, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
    const struct found *got = last_row(s);
    assert_int_equal(got->n, 1);
    assert_true(str_is(got->row.settled.outcome, "open"));
    assert_int_equal(got->row.settled.input_tokens, -1);
    assert_int_equal(got->row.settled.cost_nano_usd, -1);
    struct store_settled settled = settled_row("r1");
    assert_int_equal(store_ledger_settle(s, &settled, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
    store_close(s);
    s = fixture_open(f);
    got = last_row(s);
    assert_int_equal(got->n, 1);
    assert_true(str_is(got->row.opened.request_id, "r1"));
    assert_int_equal(got->row.opened.wall_ms, 1000);
    assert_true(got->row.opened.sensitive);
    assert_true(str_is(got->row.opened.decision, "{\"tokens\":7}"));
    assert_true(str_is(got->row.settled.outcome, "ok"));
    assert_int_equal(got->row.settled.input_tokens, 100);
    assert_int_equal(got->row.settled.cached_tokens, 40);
    assert_int_equal(got->row.settled.output_tokens, 20);
    assert_int_equal(got->row.settled.cost_nano_usd, 400000);
    assert_int_equal(got->row.settled.first_token_ms, 12);
    assert_int_equal(got->row.settled.total_ms, 340);
    assert_int_equal(got->row.settled.status, 200);
    store_close(s);
}

static void test_settle_without_open(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    struct store_settled settled = settled_row("lost");
    int64_t before = clock_wall_ms();
    assert_int_equal(store_ledger_settle(s, &settled, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
    const struct found *got = last_row(s);
    assert_int_equal(got->n, 1);
    assert_true(str_is(got->row.settled.outcome, "ok"));
    assert_true(got->row.opened.wall_ms >= before - 340 && got->row.opened.wall_ms <= clock_wall_ms() - 340);
    store_close(s);
}

static void test_same_id_twice_is_refused_alone(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    struct store_opened first = opened_row("same", 1), other = opened_row("other", 2);
    assert_int_equal(store_ledger_open(s, &first, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
    first.model = STR("changed");
    assert_int_equal(store_ledger_open(s, &first, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), ERROR_INVALID);
    assert_int_equal(store_ledger_open(s, &first, fixture_done(f), &err), 0);
    assert_int_equal(store_ledger_open(s, &other, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0); /* the last is kept though the one before it was not */
    assert_int_equal(f->failures, 2);
    assert_int_equal(ledger_count(s), 2);
    struct store_stats stats;
    store_stats(s, &stats);
    assert_int_equal(stats.written, 2);
    assert_int_equal(stats.failed, 2);
    assert_int_equal(stats.queued, 0);
    assert_true(stats.healthy);
    store_close(s);
}

/* Opened and settled in two groups, then in one: a request is one row with both halves of it. */
static void test_request_in_one_group_or_two(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    for (int i = 0; i < 2; i++) {
        const char *id = i == 0 ? "two groups" : "one group";
        struct store_opened opened = opened_row(id, i);
        struct store_settled settled = settled_row(id);
        assert_int_equal(store_ledger_open(s, &opened, fixture_done(f), &err), 0);
        if (i == 0)
            assert_int_equal(fixture_wait(f), 0);
        assert_int_equal(store_ledger_settle(s, &settled, fixture_done(f), &err), 0);
        assert_int_equal(fixture_wait(f), 0);
        const struct found *got = last_row(s);
        assert_int_equal(got->n, i + 1);
        assert_true(str_is(got->row.opened.request_id, id));
        assert_true(str_is(got->row.opened.model, "auto") && got->row.opened.wall_ms == i);
        assert_true(str_is(got->row.settled.outcome, "ok") && got->row.settled.status == 200);
    }
    assert_int_equal(f->failures, 0);
    store_close(s);
}

/* One group may hold several requests of a name, halves of others, and rows of other kinds in between. */
static void test_mixed_group(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    struct store_opened opened[] = {opened_row("a", 1), opened_row("b", 2), opened_row("c", 3)};
    struct store_settled settled[] = {settled_row("b"), settled_row("lost"), settled_row("a")};
    for (int i = 0; i < 3; i++) {
        struct store_egress egress = egress_row("a", i);
        assert_int_equal(store_ledger_open(s, &opened[i], fixture_done(f), &err), 0);
        assert_int_equal(store_egress_record(s, &egress, fixture_done(f), &err), 0);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(store_ledger_settle(s, &settled[i], fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
    assert_int_equal(f->failures, 0);
    assert_int_equal(ledger_count(s), 4);
    int64_t interrupted = 0;
    assert_int_equal(store_ledger_recover(s, &interrupted, &err), 0);
    assert_int_equal(interrupted, 1); /* only c was left open */
    store_close(s);
}

/* Another gateway may take this one for dead while it only cannot reach the database. */
static void test_an_interrupted_request_may_be_settled(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    int64_t count = 0;
    struct store_opened opened = opened_row("r", 1);
    struct store_settled settled = settled_row("r");
    assert_int_equal(store_ledger_open(s, &opened, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
    assert_int_equal(store_ledger_recover(s, &count, &err), 0);
    assert_int_equal(count, 1);
    assert_int_equal(store_ledger_settle(s, &settled, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
    const struct found *got = last_row(s);
    assert_int_equal(got->n, 1);
    assert_true(str_is(got->row.settled.outcome, "ok"));
    assert_true(str_is(got->row.opened.model, "auto"));
    store_close(s);
}

static void test_recover_marks_open_rows(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    struct store_opened opened = opened_row("left", 2);
    keep_request(f, s, "done", 1);
    assert_int_equal(store_ledger_open(s, &opened, NOBODY, &err), 0);
    store_close(s); /* writes what is queued */
    s = fixture_open(f);
    int64_t count = -1;
    assert_int_equal(store_ledger_recover(s, &count, &err), 0);
    assert_int_equal(count, 1);
    const struct found *got = last_row(s);
    assert_int_equal(got->n, 2);
    assert_true(str_is(got->row.settled.outcome, "interrupted"));
    assert_int_equal(store_ledger_recover(s, &count, &err), 0);
    assert_int_equal(count, 0);
    store_close(s);
}

static void hostile(struct fixture *f, struct store *s, struct str id, struct str kept)
{
    struct error err;
    struct store_opened opened = opened_row("", 9);
    opened.request_id = opened.model = id;
    assert_int_equal(store_ledger_open(s, &opened, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
    const struct found *got = last_row(s);
    assert_true(str_eq(got->row.opened.request_id, kept));
    assert_true(str_eq(got->row.opened.model, kept));
    assert_int_equal(ledger_count(s), got->n);
}

static void test_hostile_strings(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    static const struct str plain[] = {STR("'; DROP TABLE ledger; --"), STR("\"quoted\" `tick` ''"),
        STR("$1 ?1 :a"), STR("\xf0\x9f\x98\x80 \xe6\xbc\xa2"), STR("\r\n\t\x1b[2J"), STR("%s%n%d")};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        hostile(f, s, plain[i], plain[i]);
    hostile(f, s, STR("nul\0inside"), STR("nul\xef\xbf\xbdinside"));
    hostile(f, s, STR("\xff\xfe"), STR("\xef\xbf\xbd\xef\xbf\xbd"));
    hostile(f, s, STR("cut \xe6\xbc"), STR("cut \xef\xbf\xbd\xef\xbf\xbd"));
    hostile(f, s, STR("surrogate \xed\xa0\x80"), STR("surrogate \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"));
    hostile(f, s, STR_NONE, STR(""));
    store_close(s);
}

static void test_too_large_row(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    char *text = malloc(LIMIT_STORE_ROW + 1);
    memset(text, 'x', LIMIT_STORE_ROW + 1);
    struct store_opened opened = opened_row("big", 1);
    opened.decision = (struct str){text, LIMIT_STORE_ROW + 1};
    assert_int_equal(store_ledger_open(s, &opened, NOBODY, &err), ERROR_LIMIT);
    opened.decision = (struct str){text, LIMIT_STORE_ROW - 4096};
    assert_int_equal(store_ledger_open(s, &opened, NOBODY, &err), 0);
    memset(text, '\xff', LIMIT_STORE_ROW); /* three times the size when made valid */
    opened.decision = (struct str){text, LIMIT_STORE_ROW / 2};
    assert_int_equal(store_ledger_open(s, &opened, NOBODY, &err), ERROR_LIMIT);
    store_close(s);
    s = fixture_open(f);
    assert_int_equal(ledger_count(s), 1);
    store_close(s);
    free(text);
}

struct order {
    int64_t n, last_ms, stop_at;
};

static int check_order(void *ctx, const struct store_egress *row)
{
    struct order *o = ctx;
    assert_true(row->wall_ms >= o->last_ms);
    o->last_ms = row->wall_ms;
    o->n++;
    return o->n == o->stop_at ? 77 : 0;
}

static void test_lists_page_by_page(void **state)
{
    enum { ROWS = 1000 }; /* many pages, many rows of the same millisecond */
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    for (int i = 0; i < ROWS; i++) {
        struct store_egress row = egress_row("r", 1000 + (i * 7919 % ROWS) / 300);
        assert_int_equal(store_egress_record(s, &row, fixture_done(f), &err), 0);
    }
    assert_int_equal(fixture_wait(f), 0);
    struct order o = {0};
    assert_int_equal(store_egress_list(s, 0, check_order, &o, &err), 0);
    assert_int_equal(o.n, ROWS);
    o = (struct order){0};
    assert_int_equal(store_egress_list(s, 1001, check_order, &o, &err), 0);
    assert_int_equal(o.n, ROWS - 300);
    o = (struct order){.stop_at = 400};
    assert_int_equal(store_egress_list(s, 0, check_order, &o, &err), 77);
    assert_int_equal(o.n, 400);
    store_close(s);
}

static int write_while_reading(void *ctx, const struct store_ledger_row *row)
{
    struct fixture *f = ((void **)ctx)[0];
    struct store *s = ((void **)ctx)[1];
    char id[32];
    (void)row;
    snprintf(id, sizeof id, "more-%d", f->expected);
    keep_request(f, s, id, 0);
    assert_true(ledger_count(s) > 0);
    return 0;
}

static void test_visitor_may_use_the_store(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    for (int i = 0; i < 10; i++) {
        char id[16];
        snprintf(id, sizeof id, "r%d", i);
        keep_request(f, s, id, 100 + i);
    }
    void *both[] = {f, s};
    assert_int_equal(store_ledger_list(s, 100, write_while_reading, both, &err), 0);
    assert_int_equal(ledger_count(s), 20);
    store_close(s);
}

static void sought_tick(void *ctx)
{
    ++*(int *)ctx;
}

/* A loop that asks goes on; it is told in a later turn. */
static void test_a_loop_does_not_wait_for_a_response(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct arena *a = arena_create(1 << 20);
    struct store_response row = {STR("resp_1"), STR("key_1"), 1000, STR("{\"a\":1}"), STR("[]")}, got = {0};
    struct error err;
    int ticks = 0;
    assert_int_equal(store_response_add(s, &row, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
    loop_post(f->loop, sought_tick, &ticks);
    assert_int_equal(store_response_seek(s, row.id, row.key_id, a, &got, fixture_done(f), &err), 0);
    assert_int_equal(f->answers, 1);
    assert_int_equal(fixture_wait(f), 0);
    assert_int_equal(ticks, 1);
    assert_true(str_eq(got.body, row.body) && str_eq(got.input, row.input));
    assert_int_equal(store_response_seek(s, row.id, STR("key_2"), a, &got, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), ERROR_NOT_FOUND);
    /* Who still waits when the state is closed is told all the same. */
    for (int i = 0; i < 50; i++)
        assert_int_equal(store_response_seek(s, row.id, row.key_id, a, &got, fixture_done(f), &err), 0);
    store_close(s);
    int code = fixture_wait(f);
    assert_true(code == 0 || code == ERROR_CANCELLED);
    arena_free(a);
}

static void test_responses(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    struct store_response row = {STR("resp_1"), STR("key_1"), 1000, STR("{}"), STR("[]")}, got;
    char *large = malloc(4 * LIMIT_STORE_ROW); /* larger than any other row may be */
    memset(large, 'x', 4 * LIMIT_STORE_ROW);
    row.input = (struct str){large, 4 * LIMIT_STORE_ROW};
    struct arena *a = arena_create(64 * MIB);
    assert_int_equal(store_response_add(s, &row, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
    assert_int_equal(store_response_find(s, STR("resp_1"), STR("key_1"), a, &got, &err), 0);
    assert_true(str_eq(got.input, row.input) && str_is(got.body, "{}") && got.wall_ms == 1000);
    assert_int_equal(store_response_find(s, STR("resp_1"), STR("key_2"), a, &got, &err), ERROR_NOT_FOUND);
    assert_int_equal(store_response_find(s, STR("resp_2"), STR("key_1"), a, &got, &err), ERROR_NOT_FOUND);
    assert_int_equal(store_response_delete(s, row.id, STR("key_2"), fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), ERROR_NOT_FOUND);
    assert_int_equal(store_response_delete(s, row.id, row.key_id, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
    assert_int_equal(store_response_find(s, row.id, row.key_id, a, &got, &err), ERROR_NOT_FOUND);
    row.input = STR("[]");
    assert_int_equal(store_response_add(s, &row, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
    row.id = STR("resp_3");
    row.wall_ms = 3000;
    assert_int_equal(store_response_add(s, &row, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
    assert_int_equal(store_response_purge(s, 2000, &err), 0);
    store_close(s);
    s = fixture_open(f);
    assert_int_equal(store_response_find(s, STR("resp_1"), row.key_id, a, &got, &err), ERROR_NOT_FOUND);
    assert_int_equal(store_response_find(s, STR("resp_3"), row.key_id, a, &got, &err), 0);
    store_close(s);
    arena_free(a);
    free(large);
}

static void test_responses_are_forgotten_by_age_and_key(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct arena *a = arena_create(MIB);
    struct error err;
    struct store_response got;
    int64_t rows;
    for (int i = 0; i < 6; i++) {
        struct store_response row = {arena_printf(a, "resp_%d", i), i % 2 ? STR("key_1") : STR("key_2"),
            1000 * (i + 1), STR("{}"), STR("[]")};
        assert_int_equal(store_response_add(s, &row, fixture_done(f), &err), 0);
        assert_int_equal(fixture_wait(f), 0);
    }
    assert_int_equal(store_response_forget(s, 4000, STR("key_1"), &rows, &err), 0);
    assert_int_equal(rows, 1); /* resp_1: resp_3 is not older */
    assert_int_equal(store_response_find(s, STR("resp_1"), STR("key_1"), a, &got, &err), ERROR_NOT_FOUND);
    assert_int_equal(store_response_find(s, STR("resp_0"), STR("key_2"), a, &got, &err), 0);
    assert_int_equal(store_response_forget(s, 3000, STR_NONE, &rows, &err), 0);
    assert_int_equal(rows, 1);
    assert_int_equal(store_response_forget(s, INT64_MAX, STR("key_3"), &rows, &err), 0);
    assert_int_equal(rows, 0);
    assert_int_equal(store_response_forget(s, INT64_MAX, STR_NONE, &rows, &err), 0);
    assert_int_equal(rows, 4);
    store_close(s);
    arena_free(a);
}

static void test_purge(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    for (int i = 0; i < 2500; i++) {
        char id[16];
        snprintf(id, sizeof id, "r%d", i);
        struct store_opened opened = opened_row(id, i);
        struct store_settled settled = settled_row(id);
        struct store_egress egress = egress_row(id, i);
        assert_int_equal(store_ledger_open(s, &opened, NOBODY, &err), 0);
        if (i != 3) /* still running */
            assert_int_equal(store_ledger_settle(s, &settled, NOBODY, &err), 0);
        assert_int_equal(store_egress_record(s, &egress, NOBODY, &err), 0);
    }
    int64_t rows = -1;
    assert_int_equal(store_purge(s, 2400, &rows, &err), 0);
    assert_int_equal(rows, 2399 + 2400);
    assert_int_equal(ledger_count(s), 101);
    struct order o = {0};
    assert_int_equal(store_egress_list(s, 0, check_order, &o, &err), 0);
    assert_int_equal(o.n, 100);
    store_close(s);
}

/* A gateway that starts under a clock in the future takes nothing for old that was not at the last request.
 */
static void test_newest_request(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    const int64_t day = 24 * 3600 * 1000, now = 20000 * day;
    int64_t at;
    assert_int_equal(store_ledger_newest(s, now, &at, &err), 0);
    assert_int_equal(at, -1);
    keep_request(f, s, "old", 1000 * day);
    keep_request(f, s, "one", now - 400 * day);
    assert_int_equal(store_ledger_newest(s, now, &at, &err), 0);
    assert_int_equal(at, now - 400 * day);
    assert_int_equal(store_ledger_newest(s, now - 400 * day - 1, &at, &err), 0);
    assert_int_equal(at, now - 400 * day); /* its clock is behind */
    store_close(s);
}

static void test_purge_in_the_background(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    for (int i = 0; i < 3500; i++) {
        char id[16];
        snprintf(id, sizeof id, "r%d", i);
        struct store_settled settled = settled_row(id);
        assert_int_equal(store_ledger_settle(s, &settled, NOBODY, &err), 0);
    }
    assert_int_equal(store_purge_later(s, INT64_MAX, &err), 0);
    struct store_stats stats;
    do {
        usleep(1000);
        store_stats(s, &stats);
    } while (stats.queued > 0);
    assert_int_equal(ledger_count(s), 0);
    store_close(s);
}

static struct store_key make_key(const char *id, unsigned char fill)
{
    struct store_key key = {.id = str_from(id),
        .name = STR("laptop"),
        .team = STR("blue"),
        .role = STR("admin"),
        .created_ms = 11,
        .expires_ms = 22};
    memset(key.salt, fill, sizeof key.salt);
    memset(key.hash, fill ^ 0xff, sizeof key.hash);
    return key;
}

struct keys_found {
    int n;
    int64_t revoked_ms;
};

static int check_key(void *ctx, const struct store_key *key)
{
    struct keys_found *found = ctx;
    assert_true(str_is(key->name, "laptop") && str_is(key->team, "blue") && str_is(key->role, "admin"));
    for (size_t i = 0; i < sizeof key->hash; i++)
        assert_int_equal(key->hash[i] ^ 0xff, key->salt[i % sizeof key->salt]);
    assert_int_equal(key->created_ms, 11);
    assert_int_equal(key->expires_ms, 22);
    found->n++;
    found->revoked_ms = key->revoked_ms;
    return 0;
}

static void test_keys(void **state)
{
    struct fixture *f = *state;
    struct store *s = fixture_open(f);
    struct error err;
    struct store_key one = make_key("one", 0), two = make_key("two", 0x5a);
    int64_t count = store_change_count(s);
    assert_int_equal(store_change_count(s), count);
    assert_int_equal(store_key_add(s, &one, STORE_WAIT, &err), 0);
    assert_true(store_change_count(s) > count);
    count = store_change_count(s);
    keep_request(f, s, "r", 1); /* traffic is not a change of keys */
    assert_int_equal(store_change_count(s), count);
    assert_int_equal(store_key_add(s, &two, STORE_WAIT, &err), 0);
    assert_int_equal(store_key_add(s, &two, STORE_WAIT, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "two"));
    assert_int_equal(store_key_revoke(s, STR("nobody"), 5, STORE_WAIT, &err), ERROR_NOT_FOUND);
    assert_non_null(strstr(err.message, "nobody"));
    count = store_change_count(s);
    assert_int_equal(store_key_revoke(s, STR("two"), 33, STORE_WAIT, &err), 0);
    assert_true(store_change_count(s) > count);
    assert_int_equal(store_key_revoke(s, STR("two"), 44, STORE_WAIT, &err), 0); /* keeps the first time */
    struct keys_found found = {0};
    assert_int_equal(store_key_list(s, check_key, &found, &err), 0);
    assert_int_equal(found.n, 2);
    assert_int_equal(found.revoked_ms, 33);
    store_close(s);
}

static void test_other_connection_changes_keys(void **state)
{
    struct fixture *f = *state;
    struct store *here = fixture_open(f), *there = fixture_open(f);
    struct error err;
    struct store_key key = make_key("k", 1);
    int64_t count = store_change_count(here);
    assert_int_equal(store_key_add(there, &key, STORE_WAIT, &err), 0);
    assert_true(store_change_count(here) > count);
    store_close(there);
    store_close(here);
}

#define STORE_CASES(up, down)                                                                                \
    cmocka_unit_test_setup_teardown(test_round_trip, up, down),                                              \
        cmocka_unit_test_setup_teardown(test_settle_without_open, up, down),                                 \
        cmocka_unit_test_setup_teardown(test_same_id_twice_is_refused_alone, up, down),                      \
        cmocka_unit_test_setup_teardown(test_request_in_one_group_or_two, up, down),                         \
        cmocka_unit_test_setup_teardown(test_mixed_group, up, down),                                         \
        cmocka_unit_test_setup_teardown(test_an_interrupted_request_may_be_settled, up, down),               \
        cmocka_unit_test_setup_teardown(test_recover_marks_open_rows, up, down),                             \
        cmocka_unit_test_setup_teardown(test_hostile_strings, up, down),                                     \
        cmocka_unit_test_setup_teardown(test_too_large_row, up, down),                                       \
        cmocka_unit_test_setup_teardown(test_lists_page_by_page, up, down),                                  \
        cmocka_unit_test_setup_teardown(test_visitor_may_use_the_store, up, down),                           \
        cmocka_unit_test_setup_teardown(test_a_loop_does_not_wait_for_a_response, up, down),                 \
        cmocka_unit_test_setup_teardown(test_responses, up, down),                                           \
        cmocka_unit_test_setup_teardown(test_responses_are_forgotten_by_age_and_key, up, down),              \
        cmocka_unit_test_setup_teardown(test_purge, up, down),                                               \
        cmocka_unit_test_setup_teardown(test_newest_request, up, down),                                      \
        cmocka_unit_test_setup_teardown(test_purge_in_the_background, up, down),                             \
        cmocka_unit_test_setup_teardown(test_keys, up, down),                                                \
        cmocka_unit_test_setup_teardown(test_other_connection_changes_keys, up, down), SPEND_CASES(up, down)

#endif

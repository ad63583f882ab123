/* The chain: whatever is done to the tables or to it afterwards is found, and nothing else is. */
#include "unit/store/chain_cases.h"

#include <sqlite3.h>

static void run_sql(const char *path, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    int code = sqlite3_exec(db, sql, NULL, NULL, NULL);
    if (code != SQLITE_OK)
        print_error("%s: %s\n", sql, sqlite3_errmsg(db));
    assert_int_equal(code, SQLITE_OK);
    assert_true(sqlite3_total_changes(db) > 0);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void copy_file(const char *from, const char *to)
{
    char command[300];
    snprintf(command, sizeof command, "cp %s %s", from, to);
    assert_int_equal(system(command), 0);
}

/* What is done, and what is found first, by its place in the chain. */
static const struct tampering {
    const char *sql, *what, *why;
} tamperings[] = {
    {"UPDATE egress SET host = 'innocent.example' WHERE request_id = 'r4'", "an egress record",
        "was changed"},
    {"UPDATE egress SET bytes = bytes + 1 WHERE request_id = 'r4'", "an egress record", "was changed"},
    {"UPDATE ledger SET rule = 'allowed' WHERE request_id = 'r4'", "a request's opening", "was changed"},
    {"UPDATE ledger SET cost_nano_usd = 1 WHERE request_id = 'r4'", "a request's settling", "was changed"},
    {"UPDATE ledger SET cost_nano_usd = 1 WHERE request_id = 'alone'", "a request's settling", "was changed"},
    {"UPDATE ledger SET key_id = 'me' WHERE request_id = 'alone'", "a request's settling", "was changed"},
    {"UPDATE ledger SET outcome = 'ok' WHERE request_id = 'running'", "a request's opening", "was changed"},
    {"UPDATE egress SET host = (SELECT host || 'x' FROM egress LIMIT 1)", "an egress record", "was changed"},
    {"DELETE FROM egress WHERE request_id = 'r4'", "an egress record", "was removed"},
    {"DELETE FROM ledger WHERE request_id = 'r4'", "a request's opening", "was removed"},
    {"DELETE FROM ledger WHERE request_id = 'running'", "a request's opening", "was removed"},
    {"UPDATE ledger SET settled_link = 0, outcome = 'interrupted', provider = '', answered_model = '', "
     "attempts = '', input_tokens = -1, cached_tokens = -1, output_tokens = -1, cost_nano_usd = -1, "
     "first_token_ms = -1, total_ms = -1, status = 0 WHERE request_id = 'r4'",
        "a request's settling", "was removed"},
    {"UPDATE ledger SET settled_link = 0 WHERE request_id = 'r4'", "a request's opening", "was changed"},
    {"INSERT INTO egress SELECT id + 1, wall_ms, 'made up', rule, boundary, zone, target, host, path, bytes, "
     "sha256, 0 FROM egress WHERE request_id = 'r4'",
        "an egress record", "was inserted"},
    {"INSERT INTO egress SELECT id + 1, wall_ms, 'made up', rule, boundary, zone, target, host, path, bytes, "
     "sha256, link + 1000000 FROM egress WHERE request_id = 'r4'",
        "an egress record", "was inserted"},
    {"INSERT INTO egress SELECT id + 1, wall_ms, request_id, rule, boundary, zone, target, host, path, "
     "bytes, "
     "sha256, link FROM egress WHERE request_id = 'r4'",
        "an egress record", "is there twice"},
    {"UPDATE egress SET id = id + (1000 << 20) WHERE request_id = 'r4'", "an egress record", "was moved"},
    {"UPDATE ledger SET id = id + (1000 << 20) WHERE request_id = 'r4'", "a request's opening", "was moved"},
    {"UPDATE chain SET entries = zeroblob(length(entries)) WHERE id = (SELECT max(id) FROM chain)", "a block",
        "was changed"},
    {"UPDATE chain SET wall_ms = wall_ms + 1 WHERE id = (SELECT min(id) FROM chain)", "a block",
        "was changed"},
    {"UPDATE chain SET hash = zeroblob(32) WHERE id = (SELECT min(id) FROM chain)", "a block", "was changed"},
    {"UPDATE chain SET n = -5 WHERE id = (SELECT max(id) FROM chain)", "a block", "was changed"},
    {"UPDATE chain SET entries = X'00' WHERE id = (SELECT max(id) FROM chain)", "a block", "was changed"},
    {"DELETE FROM chain WHERE id = (SELECT min(id) FROM chain)", "the chain's beginning", "is gone"},
    {"DELETE FROM chain WHERE id = (SELECT id FROM chain ORDER BY id LIMIT 1 OFFSET 2)", "blocks",
        "were removed"},
    {"UPDATE chain SET id = id + (1 << 30) WHERE id = (SELECT max(id) FROM chain)", "blocks", "were removed"},
    {"DELETE FROM chain_notes", "a note", "was removed"},
    {"INSERT INTO chain_notes VALUES(8796093022208 + 900000, 1, 'purged', 0, 0, '', 1 << 50, 0, "
     "8796093022208 + 900000); DELETE FROM egress WHERE request_id = 'r4'",
        "an egress record", "was removed"},
    {"UPDATE chain_notes SET before_ms = 1 << 50; DELETE FROM egress WHERE request_id = 'r4'", "a note",
        "was changed"},
};

static void test_every_tampering_is_found(void **state)
{
    struct fixture *f = *state;
    struct seen seen;
    char original[128];
    struct store *s = fixture_open(f);
    chain_fill(f, s);
    store_close(s);
    snprintf(original, sizeof original, "%s/original.db", f->dir);
    copy_file(f->path, original);
    for (size_t i = 0; i < sizeof tamperings / sizeof *tamperings; i++) {
        const struct tampering *t = &tamperings[i];
        copy_file(original, f->path);
        run_sql(f->path, t->sql);
        s = fixture_open(f);
        chain_verify(s, NULL, 0, &seen);
        store_close(s);
        if (seen.out.breaks == 0 || strcmp(seen.what, t->what) != 0 || !strstr(seen.why, t->why))
            fail_msg("%s:\n  found %lld, first '%s' '%s' at %lld", t->sql, (long long)seen.out.breaks,
                seen.what, seen.why, (long long)seen.first.number);
    }
}

/* The chain's last block and what it tells, all gone: only who noted the head can see it. */
static void test_a_noted_head_shows_that_the_end_was_cut_off(void **state)
{
    struct fixture *f = *state;
    struct seen seen, later;
    struct store *s = fixture_open(f);
    chain_fill(f, s);
    keep_egress(f, s, "last", 90);
    chain_verify(s, NULL, 0, &seen);
    assert_int_equal(seen.n_heads, 1);
    const struct store_head head = seen.heads[0];
    keep_egress(f, s, "later", 91);
    chain_verify(s, &head, 1, &later);
    assert_int_equal(later.out.breaks, 0);
    assert_true(later.heads[0].number > head.number);
    store_close(s);
    run_sql(f->path, "DELETE FROM egress WHERE request_id IN ('last', 'later')");
    run_sql(f->path, "DELETE FROM chain WHERE id IN (SELECT id FROM chain ORDER BY id DESC LIMIT 2)");
    s = fixture_open(f);
    chain_verify(s, NULL, 0, &seen);
    assert_int_equal(seen.out.breaks, 0);
    chain_verify(s, &head, 1, &seen);
    assert_int_equal(seen.out.breaks, 1);
    assert_string_equal(seen.what, "the head that was noted");
    /* And another end in its place. */
    keep_egress(f, s, "other", 90);
    chain_verify(s, &head, 1, &seen);
    assert_int_equal(seen.out.breaks, 1);
    assert_true(strstr(seen.why, "another one"));
    store_close(s);
}

static void test_a_purge_that_nobody_noted_is_found(void **state)
{
    struct fixture *f = *state;
    struct seen seen;
    struct error err;
    int64_t rows;
    struct store *s = fixture_open(f);
    chain_fill(f, s);
    usleep(3000);
    int64_t between = clock_wall_ms();
    usleep(3000);
    keep_egress(f, s, "young", clock_wall_ms());
    assert_int_equal(store_purge(s, between, &rows, &err), 0);
    keep_egress(f, s, "younger", clock_wall_ms());
    chain_verify(s, NULL, 0, &seen);
    assert_int_equal(seen.out.breaks, 0);
    store_close(s);
    char original[128];
    snprintf(original, sizeof original, "%s/original.db", f->dir);
    copy_file(f->path, original);
    static const struct tampering after[] = {
        {"DELETE FROM egress WHERE request_id = 'young'", "an egress record", "was removed"},
        {"DELETE FROM chain_notes WHERE sort = 'sealed'", "the chain's beginning", "is gone"},
        {"UPDATE chain_notes SET number = number + 1 WHERE sort = 'sealed'", "the chain's beginning",
            "is gone"},
        {"UPDATE chain_notes SET id = 8796093022209, link = 8796093022209 WHERE sort = 'sealed'", "a note",
            "was inserted"},
        {"INSERT INTO egress SELECT id + (1 << 20), wall_ms + 1, 'made up', rule, boundary, zone, target, "
         "host, "
         "path, bytes, sha256, 8796093022209 FROM egress WHERE request_id = 'young'",
            "an egress record", "was inserted"},
        {"DELETE FROM chain WHERE id = (SELECT min(id) FROM chain)", "the chain's beginning", "is gone"},
    };
    for (size_t i = 0; i < sizeof after / sizeof *after; i++) {
        copy_file(original, f->path);
        run_sql(f->path, after[i].sql);
        s = fixture_open(f);
        chain_verify(s, NULL, 0, &seen);
        store_close(s);
        if (seen.out.breaks == 0 || strcmp(seen.what, after[i].what) != 0 || !strstr(seen.why, after[i].why))
            fail_msg("%s:\n  found %lld, first '%s' '%s'", after[i].sql, (long long)seen.out.breaks,
                seen.what, seen.why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CHAIN_CASES(fixture_up, fixture_down),
        cmocka_unit_test_setup_teardown(test_every_tampering_is_found, fixture_up, fixture_down),
        cmocka_unit_test_setup_teardown(
            test_a_noted_head_shows_that_the_end_was_cut_off, fixture_up, fixture_down),
        cmocka_unit_test_setup_teardown(test_a_purge_that_nobody_noted_is_found, fixture_up, fixture_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* weir keys and weir audit, as a script uses them. */
#include "unit/store/store_fixture.h"

#include <fcntl.h>
#include <jansson.h>

#include "app/verbs.h"
#include "govern/govern.h"

enum { MAX_TEXT = 1 << 16 };

struct ran {
    int exit_code;
    char out[MAX_TEXT], err[MAX_TEXT];
};

static void read_back(FILE *file, char *text)
{
    rewind(file);
    size_t n = fread(text, 1, MAX_TEXT - 1, file);
    text[n] = '\0';
    fclose(file);
}

/* Runs a verb with a line of arguments; "@" becomes the state's URL. */
static const struct ran *run(struct fixture *f, int (*verb)(int, char **), const char *line)
{
    static struct ran ran;
    char copy[512], *argv[32];
    int argc = 0;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        argv[argc++] = strcmp(word, "@") == 0 ? f->url : word;
    argv[argc] = NULL;
    FILE *out = tmpfile(), *err = tmpfile();
    fflush(NULL);
    int saved_out = dup(STDOUT_FILENO), saved_err = dup(STDERR_FILENO);
    dup2(fileno(out), STDOUT_FILENO);
    dup2(fileno(err), STDERR_FILENO);
    ran.exit_code = verb(argc, argv);
    fflush(NULL);
    dup2(saved_out, STDOUT_FILENO);
    dup2(saved_err, STDERR_FILENO);
    close(saved_out);
    close(saved_err);
    read_back(out, ran.out);
    read_back(err, ran.err);
    return &ran;
}

static json_t *json_of(const char *text)
{
    json_t *value = json_loads(text, 0, NULL);
    assert_non_null(value);
    return value;
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void test_create_list_revoke(void **state)
{
    struct fixture *f = *state;
    const struct ran *r = run(f, verb_keys, "keys create --name laptop --team blue --expires 90d --state @");
    assert_int_equal(r->exit_code, 0);
    char key[96];
    assert_int_equal(strlen(r->out), 67); /* the key and a newline, nothing else */
    snprintf(key, sizeof key, "%.66s", r->out);
    assert_null(strstr(r->err, key));
    assert_non_null(strstr(r->err, "not shown again"));

    struct store *s = fixture_open(f);
    struct govern_keys *keys;
    struct govern_identity who;
    struct error err;
    assert_int_equal(govern_keys_create(s, &keys, &err), 0);
    assert_int_equal(govern_keys_check(keys, str_from(key), &who, &err), 0);
    assert_string_equal(who.team, "blue");

    r = run(f, verb_keys, "keys list --json --state @");
    assert_int_equal(r->exit_code, 0);
    json_t *row = json_of(r->out);
    assert_string_equal(text_of(row, "name"), "laptop");
    assert_string_equal(text_of(row, "role"), "user");
    assert_true(json_is_null(json_object_get(row, "revoked")));
    assert_true(json_is_string(json_object_get(row, "expires")));
    assert_int_equal(json_object_size(row), 12); /* no hash, no salt */
    char line[128];
    snprintf(line, sizeof line, "keys revoke %s --state @", text_of(row, "id"));
    assert_int_equal(run(f, verb_keys, line)->exit_code, 0);
    json_decref(row);

    assert_int_equal(govern_keys_refresh(keys, &err), 0);
    assert_int_equal(govern_keys_check(keys, str_from(key), &who, &err), ERROR_DENIED);
    govern_keys_free(keys);
    store_close(s);
    r = run(f, verb_keys, "keys list --state @");
    assert_int_equal(r->exit_code, 0);
    assert_non_null(strstr(r->out, "laptop"));
    assert_null(strstr(r->out, key + 18));
}

static void test_admin_keys(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(run(f, verb_keys, "keys create --name=boss --admin --state=@")->exit_code, 2);
    assert_int_equal(run(f, verb_keys, "keys create --name=boss --admin --state @")->exit_code, 0);
    json_t *row = json_of(run(f, verb_keys, "keys list --state @ --json")->out);
    assert_string_equal(text_of(row, "role"), "admin");
    assert_true(json_is_null(json_object_get(row, "expires")));
    json_decref(row);
}

static void test_wrong_usage(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"keys", "keys frobnicate", "keys create --state @",
        "keys list extra --state @", "keys create --name a --expires soon --state @",
        "keys create --name a --expires 0d --state @",
        "keys create --name a --expires 99999999999999d --state @", "keys revoke --state @",
        "keys list --nonsense", "keys create --name a --state nonsense:x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct ran *r = run(f, verb_keys, bad[i]);
        assert_int_equal(r->exit_code, 2);
        assert_memory_equal(r->err, "weir: ", 6);
        assert_string_equal(r->out, "");
    }
    static const char *const bad_audit[] = {"audit", "audit verify extra", "audit export --head x",
        "audit egress extra", "audit egress --since yesterday --state @",
        "audit egress --since 2026-02-30 --state @"};
    for (size_t i = 0; i < sizeof bad_audit / sizeof *bad_audit; i++)
        assert_int_equal(run(f, verb_audit, bad_audit[i])->exit_code, 2);
    static const char *const help[] = {
        "keys --help", "keys create --help", "keys list -h", "keys revoke --help"};
    for (size_t i = 0; i < sizeof help / sizeof *help; i++) {
        const struct ran *r = run(f, verb_keys, help[i]);
        assert_int_equal(r->exit_code, 0);
        assert_memory_equal(r->out, "usage: ", 7);
    }
    assert_int_equal(run(f, verb_audit, "audit egress --help")->exit_code, 0);
}

static void test_no_state_is_made_by_looking(void **state)
{
    struct fixture *f = *state;
    static const char *const look[] = {"keys list --state @", "keys revoke x --state @"};
    for (size_t i = 0; i < sizeof look / sizeof *look; i++) {
        const struct ran *r = run(f, verb_keys, look[i]);
        assert_int_equal(r->exit_code, 1);
        assert_non_null(strstr(r->err, "no state"));
    }
    assert_int_equal(run(f, verb_audit, "audit egress --state @")->exit_code, 1);
    assert_int_equal(access(f->path, F_OK), -1);
    assert_int_equal(run(f, verb_keys, "keys create --name a --state @")->exit_code, 0);
    assert_int_equal(run(f, verb_keys, "keys revoke nobody --state @")->exit_code, 1);
}

static void fill(struct fixture *f)
{
    struct store *s = fixture_open(f);
    struct error err;
    struct store_egress old = egress_row("req_old", clock_wall_ms() - 172800000);
    struct store_egress fresh = egress_row("req_new", clock_wall_ms());
    fresh.rule = STR("\x1b[31mred \xc2\x9b");
    assert_int_equal(store_egress_record(s, &old, NOBODY, &err), 0);
    assert_int_equal(store_egress_record(s, &fresh, NOBODY, &err), 0);
    keep_request(f, s, "req_new", clock_wall_ms());
    struct store_opened open = opened_row("req_open", clock_wall_ms() + 1);
    assert_int_equal(store_ledger_open(s, &open, NOBODY, &err), 0);
    store_close(s);
}

static void test_audit_egress(void **state)
{
    struct fixture *f = *state;
    fill(f);
    json_t *row = json_of(run(f, verb_audit, "audit egress --since 24h --json --state @")->out);
    static const char *const keys[] = {
        "time", "request_id", "target", "host", "path", "rule", "boundary", "zone", "bytes", "sha256"};
    assert_int_equal(json_object_size(row), sizeof keys / sizeof *keys);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_non_null(json_object_get(row, keys[i]));
    assert_string_equal(text_of(row, "request_id"), "req_new");
    assert_string_equal(text_of(row, "host"), "api.example");
    assert_int_equal(json_integer_value(json_object_get(row, "bytes")), 512);
    assert_int_equal(strlen(text_of(row, "sha256")), 64);
    assert_int_equal(strlen(text_of(row, "time")), 24);
    json_decref(row);
    const struct ran *r = run(f, verb_audit, "audit egress --state @");
    assert_int_equal(r->exit_code, 0);
    assert_non_null(strstr(r->out, "req_old"));
    assert_non_null(strstr(r->out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    assert_null(strchr(r->out, '\x1b')); /* nothing a terminal would obey */
    assert_null(strstr(r->out, "\xc2\x9b"));
    assert_non_null(strstr(r->out, "?[31mred ?"));
}

static void test_audit_ledger(void **state)
{
    struct fixture *f = *state;
    fill(f);
    const struct ran *r = run(f, verb_audit, "audit ledger --json --state @");
    assert_int_equal(r->exit_code, 0);
    char *second = strchr(r->out, '\n') + 1;
    second[-1] = '\0';
    json_t *row = json_of(r->out);
    assert_string_equal(text_of(row, "request_id"), "req_new");
    assert_string_equal(text_of(row, "outcome"), "ok");
    assert_string_equal(text_of(row, "cost_usd"), "0.0004");
    assert_int_equal(json_integer_value(json_object_get(row, "cost_nano_usd")), 400000);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(row, "decision"), "tokens")), 7);
    assert_true(json_is_array(json_object_get(row, "attempts")));
    json_decref(row);
    row = json_of(second);
    assert_string_equal(text_of(row, "outcome"), "open");
    assert_true(json_is_null(json_object_get(row, "cost_usd")));
    assert_true(json_is_null(json_object_get(row, "input_tokens")));
    json_decref(row);
    r = run(f, verb_audit, "audit ledger --since 2020-01-01 --state @");
    assert_int_equal(r->exit_code, 0);
    assert_non_null(strstr(r->out, "0.0004"));
    assert_non_null(strstr(r->out, "req_open"));
}

static void test_a_full_device_is_told(void **state)
{
    struct fixture *f = *state;
    fill(f);
    int full = open("/dev/full", O_WRONLY);
    if (full < 0) {
        print_message("skipped: no /dev/full\n");
        return;
    }
    char audit[] = "audit", ledger[] = "ledger", option[] = "--state";
    char *argv[] = {audit, ledger, option, f->url, NULL};
    fflush(NULL);
    int saved = dup(STDOUT_FILENO);
    dup2(full, STDOUT_FILENO);
    int exit_code = verb_audit(4, argv);
    dup2(saved, STDOUT_FILENO);
    clearerr(stdout);
    close(saved);
    close(full);
    assert_int_equal(exit_code, 1);
}

int main(void)
{
#define ON(test) cmocka_unit_test_setup_teardown(test, fixture_up, fixture_down)
    const struct CMUnitTest tests[] = {
        ON(test_create_list_revoke),
        ON(test_admin_keys),
        ON(test_wrong_usage),
        ON(test_no_state_is_made_by_looking),
        ON(test_audit_egress),
        ON(test_audit_ledger),
        ON(test_a_full_device_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

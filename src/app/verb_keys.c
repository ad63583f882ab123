/* weir keys: create, limit, list and revoke API keys. */
#include <stdio.h>
#include <string.h>

#include "app/verb_limits.h"
#include "app/verb_state.h"
#include "app/verbs.h"
#include "base/clock.h"
#include "base/limits.h"
#include "govern/govern.h"
#include "json/json.h"

static const char help[] =
    "usage: weir keys create --name NAME [--team TEAM] [--admin] [--expires 90d] [LIMITS]\n"
    "       weir keys set ID [--expires 90d] [LIMITS]\n"
    "       weir keys list [--json]\n"
    "       weir keys revoke ID\n"
    "\n"
    "API keys for clients, checked where the configuration says auth: keys. create prints the key on standard\n"
    "output, this once: only a hash of it is kept. A running gateway knows of a new or revoked key and of new limits\n"
    "within a second. weir teams limits a team's keys together, and the whole gateway.\n"
    "\n"
    "  --name NAME      whose key it is\n"
    "  --team TEAM      for rules, the ledger, and limits that its keys share\n"
    "  --admin          may also use /weir/*\n"
    "  --expires AGE    stops working after that long (30m, 24h, 90d), or never; default never\n" VERB_LIMITS_HELP
    "  --json           JSONL instead of a table\n"
    "  --state URL      the state, like sqlite:weir.db; default the configuration's\n"
    "  --config FILE    the configuration; default weir.yaml\n";

/* What verb_options gives where nothing is to be done: an exit code, or -1 to go on. */
static int options_exit(int n, int wanted, char **argv)
{
    if (n == -2)
        return EXIT_DONE;
    if (n < 0)
        return EXIT_USAGE;
    if (n > wanted)
        return verb_failf(EXIT_USAGE, "unexpected argument '%s': see weir keys --help", argv[1 + wanted]);
    if (n < wanted)
        return verb_failf(EXIT_USAGE, "the key's id is missing: weir keys list shows it");
    return -1;
}

/* "90d" to a time, "never" to 0; false after having said what is wrong. */
static bool expires_read(const char *text, int64_t *wall_ms)
{
    int64_t lifetime_ms;
    *wall_ms = 0;
    if (!text || strcmp(text, "never") == 0)
        return true;
    if (!clock_parse_duration(str_from(text), &lifetime_ms) || lifetime_ms <= 0 ||
        lifetime_ms > INT64_MAX / 2) {
        verb_failf(EXIT_USAGE, "--expires wants a time like 24h or 90d, or never, not '%s'", text);
        return false;
    }
    *wall_ms = clock_wall_ms() + lifetime_ms;
    return true;
}

static int create(int argc, char **argv)
{
    const char *name = NULL, *team = NULL, *expires = NULL;
    bool admin = false;
    struct verb_state where = {NULL, NULL};
    struct verb_limits given = {0};
    const struct verb_option options[] = {{"name", &name, NULL}, {"team", &team, NULL},
        {"admin", NULL, &admin}, {"expires", &expires, NULL}, {"state", &where.url, NULL},
        {"config", &where.config, NULL}, VERB_LIMITS_OPTIONS(&given)};
    int exit_code =
        options_exit(verb_options(argc, argv, options, sizeof options / sizeof *options, help), 0, argv);
    if (exit_code >= 0)
        return exit_code;
    struct store_limits limits = limits_none(STR("key"), STR_NONE);
    int64_t expires_ms = 0;
    struct error err;
    if (!name)
        return verb_failf(EXIT_USAGE, "a key needs a name: --name NAME");
    if (!expires_read(expires, &expires_ms))
        return EXIT_USAGE;
    if (verb_limits_read(&given, &limits, &err))
        return verb_fail(EXIT_USAGE, &err);
    struct store *s;
    exit_code = verb_state_open(&where, true, &s);
    if (exit_code)
        return exit_code;
    struct govern_key_options o = {
        .name = str_from(name), .team = str_from(team), .admin = admin, .expires_ms = expires_ms};
    char shown[96];
    int rc = govern_key_create(s, &o, shown, STORE_WAIT, &err);
    if (rc == 0 && verb_limits_given(&given)) {
        limits.name = (struct str){shown + 5, 12};
        limits.created_ms = clock_wall_ms();
        rc = store_limits_set(s, &limits, STORE_WAIT, &err);
        if (rc) /* shown to nobody, so that nobody can use it */
            rc = error_wrap(&err, "the key has no limits, weir keys revoke %.12s", shown + 5);
    }
    store_close(s);
    if (rc)
        return verb_fail(rc == ERROR_INVALID ? EXIT_USAGE : EXIT_FAILED, &err);
    if (printf("%s\n", shown) < 0 || fflush(stdout) != 0)
        return verb_failf(
            EXIT_FAILED, "the key could not be printed: weir keys revoke %.12s, and make another", shown + 5);
    fprintf(stderr, "Keep it now: it is not shown again. Its id is %.12s.\n", shown + 5);
    return EXIT_DONE;
}

static void print_time(struct json_writer *w, const char *key, int64_t wall_ms)
{
    char when[32];
    json_key(w, key);
    if (wall_ms == 0) {
        json_write_null(w);
        return;
    }
    clock_format(wall_ms, when);
    json_write_text(w, when);
}

struct listing {
    struct budget *budget;
    struct error *err;
};

static void view_of(struct budget *b, const struct store_key *key, struct arena *a, struct budget_view *out)
{
    const struct store_limits none = limits_none(STR("key"), STR_NONE);
    *out = (struct budget_view){.limits = none};
    if (key->id.len < 64)
        budget_look(b, STR("key"), key->id, a, out);
}

static int print_json(void *ctx, const struct store_key *key)
{
    const struct listing *l = ctx;
    struct buf text;
    struct json_writer w;
    struct budget_view view;
    struct arena *a = arena_create(64 * KIB);
    view_of(l->budget, key, a, &view);
    buf_init(&text, 4 * MIB);
    json_writer_init(&w, &text);
    json_object_begin(&w);
    json_member_str(&w, "id", key->id);
    json_member_str(&w, "name", key->name);
    json_member_str(&w, "team", key->team);
    json_member_str(&w, "role", key->role);
    print_time(&w, "created", key->created_ms);
    print_time(&w, "expires", key->expires_ms);
    print_time(&w, "revoked", key->revoked_ms);
    budget_view_write(&view, &w);
    json_object_end(&w);
    arena_free(a);
    return verb_print_line(&text, l->err);
}

static int print_row(void *ctx, const struct store_key *key)
{
    const struct listing *l = ctx;
    const int64_t times[] = {key->created_ms, key->expires_ms, key->revoked_ms};
    struct budget_view view;
    struct arena *a = arena_create(64 * KIB);
    view_of(l->budget, key, a, &view);
    verb_print_cell(key->id, 14);
    verb_print_cell(key->name, 20);
    verb_print_cell(key->team, 14);
    verb_print_cell(key->role, 7);
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        char when[32] = "-";
        if (times[i])
            clock_format(times[i], when);
        printf("%-26s", when);
    }
    verb_limits_print(&view);
    arena_free(a);
    return ferror(stdout) ? ERROR_IO : 0;
}

static int list(int argc, char **argv)
{
    bool json = false;
    struct verb_state where = {NULL, NULL};
    const struct verb_option options[] = {
        {"json", NULL, &json}, {"state", &where.url, NULL}, {"config", &where.config, NULL}};
    int exit_code =
        options_exit(verb_options(argc, argv, options, sizeof options / sizeof *options, help), 0, argv);
    if (exit_code >= 0)
        return exit_code;
    struct store *s;
    exit_code = verb_state_open(&where, false, &s);
    if (exit_code)
        return exit_code;
    struct budget *budget = NULL;
    struct error err = {.message = "the list could not be printed"};
    int rc = budget_create(s, &budget, &err);
    if (rc == 0 && !json)
        printf("%-14s%-20s%-14s%-7s%-26s%-26s%-26s%-41s%s\n", "ID", "NAME", "TEAM", "ROLE", "CREATED",
            "EXPIRES", "REVOKED", "SPENT (USD)", "LIMITS");
    if (rc == 0)
        rc = store_key_list(s, json ? print_json : print_row, &(struct listing){budget, &err}, &err);
    budget_free(budget);
    store_close(s);
    if (rc || fflush(stdout) != 0)
        return verb_fail(EXIT_FAILED, &err);
    return EXIT_DONE;
}

static int key_is(void *ctx, const struct store_key *key)
{
    const struct str *id = ctx;
    return str_eq(key->id, *id);
}

/* Its limits as they are, with what is given in the place of some. */
static int limits_change(struct store *s, struct str id, const struct verb_limits *given, struct error *err)
{
    struct budget *b;
    struct budget_view view;
    int rc = budget_create(s, &b, err);
    if (rc)
        return rc;
    struct arena *a = arena_create(64 * KIB);
    budget_look(b, STR("key"), id, a, &view);
    view.limits.created_ms = clock_wall_ms();
    rc = verb_limits_read(given, &view.limits, err);
    if (rc == 0)
        rc = store_limits_set(s, &view.limits, STORE_WAIT, err);
    arena_free(a);
    budget_free(b);
    return rc;
}

static int set(int argc, char **argv)
{
    const char *expires = NULL;
    struct verb_limits given = {0};
    struct verb_state where = {NULL, NULL};
    const struct verb_option options[] = {{"expires", &expires, NULL}, {"state", &where.url, NULL},
        {"config", &where.config, NULL}, VERB_LIMITS_OPTIONS(&given)};
    int exit_code =
        options_exit(verb_options(argc, argv, options, sizeof options / sizeof *options, help), 1, argv);
    if (exit_code >= 0)
        return exit_code;
    int64_t expires_ms;
    struct str id = str_from(argv[1]);
    struct store *s;
    struct error err;
    if (!expires && !verb_limits_given(&given))
        return verb_failf(
            EXIT_USAGE, "nothing is set: give --budget 10/day, for example; see weir keys --help");
    if (!expires_read(expires, &expires_ms))
        return EXIT_USAGE;
    exit_code = verb_state_open(&where, false, &s);
    if (exit_code)
        return exit_code;
    int rc = store_key_list(s, key_is, &id, &err);
    if (rc == 0)
        rc = error_set(
            &err, ERROR_NOT_FOUND, "there is no key with the id '%.40s': weir keys list shows them", argv[1]);
    else if (rc > 0)
        rc = verb_limits_given(&given) ? limits_change(s, id, &given, &err) : 0;
    if (rc == 0 && expires)
        rc = store_key_expire(s, id, expires_ms, STORE_WAIT, &err);
    store_close(s);
    return rc ? verb_fail(rc == ERROR_INVALID ? EXIT_USAGE : EXIT_FAILED, &err) : EXIT_DONE;
}

static int revoke(int argc, char **argv)
{
    struct verb_state where = {NULL, NULL};
    const struct verb_option options[] = {{"state", &where.url, NULL}, {"config", &where.config, NULL}};
    int exit_code =
        options_exit(verb_options(argc, argv, options, sizeof options / sizeof *options, help), 1, argv);
    if (exit_code >= 0)
        return exit_code;
    struct store *s;
    exit_code = verb_state_open(&where, false, &s);
    if (exit_code)
        return exit_code;
    struct error err;
    int rc = store_key_revoke(s, str_from(argv[1]), clock_wall_ms(), STORE_WAIT, &err);
    store_close(s);
    if (rc)
        return verb_fail(EXIT_FAILED, &err);
    fprintf(stderr, "The key %s is revoked.\n", argv[1]);
    return EXIT_DONE;
}

int verb_keys(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } actions[] = {{"create", create}, {"set", set}, {"list", list}, {"revoke", revoke}};
    static char keys[] = "keys";
    for (size_t i = 0; argc > 1 && i < sizeof actions / sizeof *actions; i++) {
        if (strcmp(argv[1], actions[i].name) != 0)
            continue;
        argv[1] = keys; /* what messages call the verb */
        return actions[i].run(argc - 1, argv + 1);
    }
    int n = verb_options(argc, argv, NULL, 0, help);
    if (n == -2)
        return EXIT_DONE;
    return n < 0 ? EXIT_USAGE
                 : verb_failf(EXIT_USAGE, "keys wants create, set, list or revoke: see weir keys --help");
}

/* weir keys: create, list and revoke API keys. */
#include <stdio.h>
#include <string.h>

#include "app/verb_state.h"
#include "app/verbs.h"
#include "base/clock.h"
#include "base/limits.h"
#include "govern/govern.h"
#include "json/json.h"

static const char help[] = "usage: weir keys create --name NAME [--team TEAM] [--admin] [--expires 90d]\n"
                           "       weir keys list [--json]\n"
                           "       weir keys revoke ID\n"
                           "\n"
                           "API keys for clients, checked where the configuration says auth: keys. create "
                           "prints the key on standard\n"
                           "output, this once: only a hash of it is kept. A running gateway knows a new or "
                           "revoked key within a second.\n"
                           "\n"
                           "  --name NAME      whose key it is\n"
                           "  --team TEAM      for rules and the ledger\n"
                           "  --admin          may also use /weir/*\n"
                           "  --expires AGE    stops working after that long (30m, 24h, 90d); default never\n"
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

static int create(int argc, char **argv)
{
    const char *name = NULL, *team = NULL, *expires = NULL;
    bool admin = false;
    struct verb_state where = {NULL, NULL};
    const struct verb_option options[] = {{"name", &name, NULL}, {"team", &team, NULL},
        {"admin", NULL, &admin}, {"expires", &expires, NULL}, {"state", &where.url, NULL},
        {"config", &where.config, NULL}};
    int exit_code =
        options_exit(verb_options(argc, argv, options, sizeof options / sizeof *options, help), 0, argv);
    if (exit_code >= 0)
        return exit_code;
    int64_t lifetime_ms = 0;
    if (!name)
        return verb_failf(EXIT_USAGE, "a key needs a name: --name NAME");
    if (expires && (!clock_parse_duration(str_from(expires), &lifetime_ms) || lifetime_ms <= 0 ||
                       lifetime_ms > INT64_MAX / 2))
        return verb_failf(EXIT_USAGE, "--expires wants a time like 24h or 90d, not '%s'", expires);
    struct store *s;
    exit_code = verb_state_open(&where, true, &s);
    if (exit_code)
        return exit_code;
    struct govern_key_options o = {.name = str_from(name),
        .team = str_from(team),
        .admin = admin,
        .expires_ms = lifetime_ms ? clock_wall_ms() + lifetime_ms : 0};
    struct error err;
    char shown[96];
    int rc = govern_key_create(s, &o, shown, &err);
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

static int print_json(void *ctx, const struct store_key *key)
{
    struct buf text;
    struct json_writer w;
    (void)ctx;
    buf_init(&text, 4 * MIB);
    json_writer_init(&w, &text);
    json_object_begin(&w);
    json_key(&w, "id");
    json_write_str(&w, key->id);
    json_key(&w, "name");
    json_write_str(&w, key->name);
    json_key(&w, "team");
    json_write_str(&w, key->team);
    json_key(&w, "role");
    json_write_str(&w, key->role);
    print_time(&w, "created", key->created_ms);
    print_time(&w, "expires", key->expires_ms);
    print_time(&w, "revoked", key->revoked_ms);
    json_object_end(&w);
    printf("%s\n", text.failed ? "{}" : text.data);
    buf_free(&text);
    return ferror(stdout) ? ERROR_IO : 0;
}

static int print_row(void *ctx, const struct store_key *key)
{
    const int64_t times[] = {key->created_ms, key->expires_ms, key->revoked_ms};
    (void)ctx;
    verb_print_cell(key->id, 14);
    verb_print_cell(key->name, 20);
    verb_print_cell(key->team, 14);
    verb_print_cell(key->role, 7);
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        char when[32] = "-";
        if (times[i])
            clock_format(times[i], when);
        printf(i < 2 ? "%-26s" : "%s\n", when);
    }
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
    struct error err = {.message = "the list could not be printed"};
    if (!json)
        printf("%-14s%-20s%-14s%-7s%-26s%-26s%s\n", "ID", "NAME", "TEAM", "ROLE", "CREATED", "EXPIRES",
            "REVOKED");
    int rc = store_key_list(s, json ? print_json : print_row, NULL, &err);
    store_close(s);
    if (rc || fflush(stdout) != 0)
        return verb_fail(EXIT_FAILED, &err);
    return EXIT_DONE;
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
    } actions[] = {{"create", create}, {"list", list}, {"revoke", revoke}};
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
                 : verb_failf(EXIT_USAGE, "keys wants create, list or revoke: see weir keys --help");
}

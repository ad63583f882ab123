/* weir teams: limits that the keys of a team share, and those of everyone. */
#include <stdio.h>
#include <string.h>

#include "app/verb_limits.h"
#include "app/verb_state.h"
#include "app/verbs.h"
#include "base/clock.h"
#include "base/limits.h"
#include "json/json.h"

static const char help[] =
    "usage: weir teams create NAME [LIMITS]\n"
    "       weir teams set NAME LIMITS\n"
    "       weir teams list [--json]\n"
    "       weir teams delete NAME\n"
    "\n"
    "What the keys of a team may spend and ask together (weir keys create --team NAME); a key's own limits\n"
    "hold besides. The team '*' is everyone: its limits are the whole gateway's, also with auth: none. A\n"
    "running gateway knows of a change within a second. delete takes the team's limits away, its keys and\n"
    "what they spent stay.\n"
    "\n" VERB_LIMITS_HELP "  --json           JSONL instead of a table\n"
    "  --state URL      the state, like sqlite:weir.db; default the configuration's\n"
    "  --config FILE    the configuration; default weir.yaml\n";

struct teams {
    struct verb_limits given;
    struct verb_state where;
    bool json;
    struct str name;
};

/* An exit code, or -1 to go on. */
static int options_read(int argc, char **argv, int wanted, struct teams *t)
{
    const struct verb_option options[] = {{"json", NULL, &t->json}, {"state", &t->where.url, NULL},
        {"config", &t->where.config, NULL}, VERB_LIMITS_OPTIONS(&t->given)};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    struct error err;
    if (n < 0)
        return n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n > wanted)
        return verb_failf(EXIT_USAGE, "unexpected argument '%s': see weir teams --help", argv[1 + wanted]);
    if (n < wanted)
        return verb_failf(EXIT_USAGE, "the team's name is missing: see weir teams --help");
    if (wanted == 0)
        return -1;
    t->name = str_from(argv[1]);
    return limits_team_check(t->name, &err) ? verb_fail(EXIT_USAGE, &err) : -1;
}

static int with_budget(const struct teams *t, bool make,
    int (*fn)(const struct teams *t, struct store *s, struct budget *b, struct error *err))
{
    struct store *s;
    struct budget *b = NULL;
    struct error err;
    int exit_code = verb_state_open(&t->where, make, &s);
    if (exit_code)
        return exit_code;
    int rc = budget_create(s, &b, &err);
    if (rc == 0)
        rc = fn(t, s, b, &err);
    budget_free(b);
    store_close(s);
    return rc ? verb_fail(rc == ERROR_INVALID ? EXIT_USAGE : EXIT_FAILED, &err) : EXIT_DONE;
}

static int change(const struct teams *t, struct store *s, struct budget *b, bool is_new, struct error *err)
{
    struct budget_view view;
    struct arena *a = arena_create(64 * KIB);
    budget_look(b, STR("team"), t->name, a, &view);
    int rc = 0;
    if (is_new && view.limited)
        rc = error_set(err, ERROR_INVALID, "there is a team '" STR_FMT "' already: weir teams set changes it",
            STR_ARG(t->name));
    view.limits.created_ms = clock_wall_ms();
    if (rc == 0)
        rc = verb_limits_read(&t->given, &view.limits, err);
    if (rc == 0)
        rc = store_limits_set(s, &view.limits, STORE_WAIT, err);
    arena_free(a);
    return rc;
}

static int create(const struct teams *t, struct store *s, struct budget *b, struct error *err)
{
    return change(t, s, b, true, err);
}

/* A team that only keys name yet may be limited, too. */
static int set(const struct teams *t, struct store *s, struct budget *b, struct error *err)
{
    return change(t, s, b, false, err);
}

static int drop(const struct teams *t, struct store *s, struct budget *b, struct error *err)
{
    (void)b;
    return store_limits_drop(s, STR("team"), t->name, STORE_WAIT, err);
}

static int print_json(const struct budget_view *v, struct error *err)
{
    struct buf text;
    struct json_writer w;
    buf_init(&text, MIB);
    json_writer_init(&w, &text);
    json_object_begin(&w);
    json_member_str(&w, "name", v->limits.name);
    budget_view_write(v, &w);
    json_object_end(&w);
    return verb_print_line(&text, err);
}

static int list(const struct teams *t, struct store *s, struct budget *b, struct error *err)
{
    struct arena *a = arena_create(64 * MIB);
    size_t n;
    int rc = 0;
    struct budget_view *views = budget_list(b, a, &n);
    (void)s;
    if (!t->json)
        printf("%-24s%-41s%s\n", "NAME", "SPENT (USD)", "LIMITS");
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (!str_is(views[i].limits.kind, "team"))
            continue;
        if (t->json) {
            rc = print_json(&views[i], err);
        } else {
            verb_print_cell(views[i].limits.name, 24);
            verb_limits_print(&views[i]);
        }
    }
    arena_free(a);
    return rc || fflush(stdout) == 0 ? rc : error_set(err, ERROR_IO, "the list could not be printed");
}

int verb_teams(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(const struct teams *t, struct store *s, struct budget *b, struct error *err);
        int wanted;
        bool make;
    } actions[] = {{"create", create, 1, true}, {"set", set, 1, true}, {"list", list, 0, false},
        {"delete", drop, 1, false}};
    static char teams[] = "teams";
    struct teams t = {.name = STR_NONE};
    for (size_t i = 0; argc > 1 && i < sizeof actions / sizeof *actions; i++) {
        if (strcmp(argv[1], actions[i].name) != 0)
            continue;
        argv[1] = teams; /* what messages call the verb */
        int exit_code = options_read(argc - 1, argv + 1, actions[i].wanted, &t);
        if (exit_code >= 0)
            return exit_code;
        if (strcmp(actions[i].name, "set") == 0 && !verb_limits_given(&t.given))
            return verb_failf(
                EXIT_USAGE, "nothing is set: give --budget 10/day, for example; see weir teams --help");
        return with_budget(&t, actions[i].make, actions[i].run);
    }
    int n = verb_options(argc, argv, NULL, 0, help);
    if (n == -2)
        return EXIT_DONE;
    return n < 0 ? EXIT_USAGE
                 : verb_failf(EXIT_USAGE, "teams wants create, set, list or delete: see weir teams --help");
}

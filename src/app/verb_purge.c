/* weir purge: what was kept of clients' content is deleted now, before its retention ends. */
#include <stdio.h>

#include "api/shelf.h"
#include "app/config.h"
#include "app/verb_state.h"
#include "app/verbs.h"
#include "base/clock.h"
#include "base/limits.h"
#include "engine/spill_file.h"

static const char help[] =
    "usage: weir purge (--all | --older-than AGE | --key ID) [--yes] [--config FILE | --state URL]\n"
    "\n"
    "Deletes what is kept of clients' content (responses, files, batches and their results) now, and says how\n"
    "much that was. What models have on disk of prompts (kv_disk) goes too, with --key everybody's. The ledger\n"
    "and the egress log hold none of it and stay.\n"
    "\n"
    "  --older-than AGE   what is older, like 12h or 30d\n"
    "  --key ID           what this key's clients left (weir keys list tells the id); with --older-than: of that,\n"
    "                     what is older\n"
    "  --all              everything\n"
    "  --yes              do it; without it nothing is deleted\n";

struct purge {
    struct verb_state where;
    const char *age, *key;
    bool all, yes;
    int64_t before_ms;
};

static int options_read(int argc, char **argv, struct purge *p)
{
    int64_t age_ms = 0;
    const struct verb_option options[] = {{"older-than", &p->age, NULL}, {"key", &p->key, NULL},
        {"all", NULL, &p->all}, {"yes", NULL, &p->yes}, {"state", &p->where.url, NULL},
        {"config", &p->where.config, NULL}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n != 0)
        return n == -2 ? EXIT_DONE
               : n < 0 ? EXIT_USAGE
                       : verb_failf(EXIT_USAGE, "purge takes no argument '%s'", argv[1]);
    if (p->all == (p->age || p->key))
        return verb_failf(
            EXIT_USAGE, "say what is to be deleted: --older-than AGE, --key ID or both; or --all");
    if (p->key && !*p->key)
        return verb_failf(EXIT_USAGE, "--key wants the id of a key: weir keys list tells them");
    if (p->age && !clock_parse_duration(str_from(p->age), &age_ms))
        return verb_failf(EXIT_USAGE, "--older-than wants an age like 12h or 30d, not '%s'", p->age);
    p->before_ms = p->age ? clock_wall_ms() - age_ms : INT64_MAX;
    if (!p->yes)
        return verb_failf(EXIT_USAGE, "what is purged is gone for good: add --yes to do it");
    return -1;
}

/* Where the files are, and what models have on disk, by --state or by the configuration; empty: there are
 * none. */
static int folders_find(const struct purge *p, struct arena *a, struct str *folder, struct str *kv_folder)
{
    const struct config_overrides where_only = {.state_only = true};
    struct config *config;
    struct error err;
    if (p->where.url) {
        *folder = config_files_folder(a, STR_NONE, str_from(p->where.url));
        *kv_folder = config_kv_folder(a, STR_NONE, str_from(p->where.url));
        return EXIT_DONE;
    }
    if (config_load(str_from(p->where.config), &where_only, &config, &err))
        return verb_fail(EXIT_USAGE, &err);
    *folder = config_files_folder(a, config->files, config->state);
    *kv_folder = arena_copy(a, config->kv_folder);
    config_free(config);
    return EXIT_DONE;
}

static int purge(const struct purge *p, struct str folder, struct str kv_folder)
{
    struct store *s;
    struct error err;
    int64_t responses;
    int exit_code = verb_state_open(&p->where, false, &s);
    if (exit_code)
        return exit_code;
    int rc = store_response_forget(s, p->before_ms, str_from(p->key), &responses, &err);
    store_close(s);
    if (rc)
        return verb_fail(EXIT_FAILED, &err);
    int64_t before_s = p->before_ms == INT64_MAX ? INT64_MAX : p->before_ms / 1000;
    size_t files = folder.len ? shelf_purge(folder.data, before_s, p->key) : 0;
    if (kv_folder.len > 0)
        (void)spill_files_expire(kv_folder.data, p->before_ms);
    printf("%lld responses and %zu files and batches are deleted\n", (long long)responses, files);
    return EXIT_DONE;
}

int verb_purge(int argc, char **argv)
{
    struct purge p = {{NULL, NULL}, NULL, NULL, false, false, 0};
    struct str folder = STR_NONE, kv_folder = STR_NONE;
    int exit_code = options_read(argc, argv, &p);
    if (exit_code >= 0)
        return exit_code;
    struct arena *a = arena_create(64 * KIB);
    exit_code = folders_find(&p, a, &folder, &kv_folder);
    if (exit_code == EXIT_DONE)
        exit_code = purge(&p, folder, kv_folder);
    arena_free(a);
    return exit_code;
}

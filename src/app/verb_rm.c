/* weir rm: removes a model from the folder of models, all its parts, and what is left of a fetch. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/config.h"
#include "app/verb_models_dir.h"
#include "app/verb_state.h"
#include "app/verbs.h"
#include "base/limits.h"

static const char help[] =
    "usage: weir rm NAME... [--dir DIR] [--yes]\n"
    "\n"
    "Removes models that weir pull has fetched: NAME is a file of the folder, with or without .gguf;\n"
    "all parts of a split model and what is left of an unfinished fetch go with it.\n"
    "\n"
    "  --dir DIR        the folder; default the configuration's models_dir, else models\n"
    "  --yes            do not ask\n"
    "  --config FILE    the configuration; default weir.yaml\n";

int verb_models_dir(const char *dir, const char *config_file, struct arena *a, struct str *out)
{
    struct config_overrides none = {0};
    struct config *config;
    struct error err;
    *out = dir ? str_from(dir) : STR("models");
    if (dir)
        return EXIT_DONE;
    if (config_load(str_from(config_file), &none, &config, &err))
        return verb_fail(EXIT_USAGE, &err);
    if (config->models_dir.len > 0)
        *out = arena_copy(a, config->models_dir);
    config_free(config);
    return EXIT_DONE;
}

/* Is `file` NAME.gguf, a part NAME-00001-of-00003.gguf, or .NAME.gguf.part and .chunks of either? */
static bool belongs(struct str file, struct str name)
{
    static const struct str unfinished[] = {STR(".part"), STR(".chunks")};
    bool hidden = file.len > 0 && file.data[0] == '.', cut = !hidden;
    for (size_t i = 0; i < 2 && hidden && !cut; i++)
        if (str_ends(file, unfinished[i])) {
            file = str_slice(file, 1, file.len - unfinished[i].len);
            cut = true;
        }
    if (!cut || !str_ends(file, STR(".gguf")))
        return false;
    file.len -= 5;
    if (str_ends(name, STR(".gguf")))
        name.len -= 5;
    if (str_eq(file, name))
        return true;
    struct str part = str_slice(file, name.len, file.len); /* -00001-of-00003 */
    return str_starts(file, name) && part.len == 15 && part.data[0] == '-' &&
           strspn(part.data + 1, "0123456789") == 5 &&
           str_starts(str_slice(part, 6, part.len), STR("-of-")) && strspn(part.data + 10, "0123456789") == 5;
}

static bool agreed(const char *what, double mib)
{
    char answer[16];
    fprintf(stderr, "remove %s (%.1f MiB)? [y/N] ", what, mib);
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static int remove_one(struct arena *a, struct str folder, const char *name, bool yes)
{
    struct dirent **entries;
    int n = scandir(arena_strdup(a, folder), &entries, NULL, alphasort), found = 0, exit_code = EXIT_DONE;
    if (n < 0)
        return verb_failf(
            EXIT_FAILED, "cannot read the folder " STR_FMT ": %s", STR_ARG(folder), strerror(errno));
    for (int i = 0; i < n; i++) {
        struct stat st;
        const char *path = arena_printf(a, STR_FMT "/%s", STR_ARG(folder), entries[i]->d_name).data;
        if (exit_code == EXIT_DONE && belongs(str_from(entries[i]->d_name), str_from(name)) &&
            lstat(path, &st) == 0 && S_ISREG(st.st_mode)) {
            found++;
            if (!yes && !agreed(path, (double)st.st_size / (double)MIB))
                exit_code = verb_failf(EXIT_FAILED, "%s stays", path);
            else if (unlink(path))
                exit_code = verb_failf(EXIT_FAILED, "cannot remove %s: %s", path, strerror(errno));
            else
                printf("%s\n", path);
        }
        free(entries[i]);
    }
    free(entries);
    if (found == 0)
        return verb_failf(EXIT_FAILED, "there is no model %s in " STR_FMT ": weir models lists them", name,
            STR_ARG(folder));
    return exit_code;
}

int verb_rm(int argc, char **argv)
{
    const char *dir = NULL, *config = NULL;
    bool yes = false;
    struct str folder;
    const struct verb_option options[] = {
        {"dir", &dir, NULL}, {"yes", NULL, &yes}, {"config", &config, NULL}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n < 0)
        return n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n == 0)
        return verb_failf(EXIT_USAGE, "which model? weir models lists them");
    for (int i = 1; i <= n; i++)
        if (strchr(argv[i], '/') || argv[i][0] == '.' || argv[i][0] == '\0')
            return verb_failf(
                EXIT_USAGE, "'%s' is no name in the folder: give --dir for another folder", argv[i]);
    struct arena *a = arena_create(16 * MIB);
    int exit_code = verb_models_dir(dir, config, a, &folder);
    for (int i = 1; i <= n && exit_code == EXIT_DONE; i++)
        exit_code = remove_one(a, folder, argv[i], yes);
    arena_free(a);
    return exit_code;
}

/* weir rm: removes a model from the folder of models, all its parts, and what is left of a fetch. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/config.h"
#include "app/verb_state.h"
#include "app/verbs.h"
#include "base/limits.h"
#include "engine/engine.h"

static const char help[] =
    "usage: weir rm NAME... [--dir DIR] [--yes]\n"
    "\n"
    "Removes models that weir pull has fetched: NAME is a file of the folder, with or without .gguf;\n"
    "all parts of a split model, what came with it and what is left of an unfinished fetch go with it.\n"
    "\n"
    "  --dir DIR        the folder; default the configuration's models_dir, else models\n"
    "  --yes            do not ask\n"
    "  --config FILE    the configuration; default weir.yaml\n";

/* Is `stem` NAME-2, and no model of that name there? */
static bool is_further(struct arena *a, struct str folder, struct str stem, struct str name)
{
    int64_t number;
    return str_starts(stem, name) && stem.len > name.len + 1 && stem.data[name.len] == '-' &&
           str_to_int64(str_slice(stem, name.len + 1, stem.len), &number) &&
           access(arena_printf(a, STR_FMT "/" STR_FMT ".gguf", STR_ARG(folder), STR_ARG(stem)).data, F_OK) !=
               0;
}

/* Is `file` NAME.gguf, what came with it (the second of a kind with a number), a part
 * NAME-00001-of-00003.gguf, or .NAME.gguf.part and .chunks of either? */
static bool belongs(struct arena *a, struct str folder, struct str file, struct str name)
{
    static const struct str unfinished[] = {STR(".part"), STR(".chunks")};
    static const char *const beside[] = {ENGINE_ADAPTER, ENGINE_PROJECTOR, ENGINE_PARAMS, ENGINE_SYSTEM,
        ENGINE_MESSAGES, ENGINE_TEMPLATE, ENGINE_LICENSE};
    int64_t part, parts;
    bool hidden = file.len > 0 && file.data[0] == '.', cut = !hidden;
    for (size_t i = 0; i < 2 && hidden && !cut; i++)
        if (str_ends(file, unfinished[i])) {
            file = str_slice(file, 1, file.len - unfinished[i].len);
            cut = true;
        }
    if (str_ends(name, STR(".gguf")))
        name.len -= 5;
    for (size_t i = 0; cut && i < sizeof beside / sizeof *beside; i++) {
        const struct str end = str_from(beside[i]), stem = str_slice(file, 0, file.len - end.len);
        if (str_ends(file, end) && (str_eq(stem, name) || is_further(a, folder, stem, name)))
            return true;
    }
    if (!cut || !str_ends(file, STR(".gguf")))
        return false;
    file.len -= 5;
    return str_eq(file, name) || (engine_part_read(&file, &part, &parts) && str_eq(file, name));
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
        if (exit_code == EXIT_DONE && belongs(a, folder, str_from(entries[i]->d_name), str_from(name)) &&
            lstat(path, &st) == 0 && (S_ISREG(st.st_mode) || S_ISLNK(st.st_mode))) {
            /* Of a link it is the link that goes. */
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
    const char *dir = NULL, *file = NULL;
    bool yes = false;
    struct config *config;
    struct error err;
    const struct verb_option options[] = {{"dir", &dir, NULL}, {"yes", NULL, &yes}, {"config", &file, NULL}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n < 0)
        return n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n == 0)
        return verb_failf(EXIT_USAGE, "which model? weir models lists them");
    for (int i = 1; i <= n; i++)
        if (strchr(argv[i], '/') || argv[i][0] == '.' || argv[i][0] == '\0')
            return verb_failf(
                EXIT_USAGE, "'%s' is no name in the folder: give --dir for another folder", argv[i]);
    if (!dir && config_load(str_from(file), &(struct config_overrides){0}, &config, &err))
        return verb_fail(EXIT_USAGE, &err);
    struct arena *a = arena_create(16 * MIB);
    struct str folder = arena_copy(a, dir ? str_from(dir) : config_models_folder(config));
    int exit_code = EXIT_DONE;
    if (!dir)
        config_free(config);
    for (int i = 1; i <= n && exit_code == EXIT_DONE; i++)
        exit_code = remove_one(a, folder, argv[i], yes);
    arena_free(a);
    return exit_code;
}

/* weir train and the other verbs of models: a program of their own, weir-train, which links the engine and no
 * network code.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "app/verbs.h"
#include "base/limits.h"
#include "engine/spawn.h"
#include "hub/hub.h"

/* Where a verb reads a model it may be one that another program keeps; never where it writes. */
static int models_find(struct arena *a, int argc, char **argv, struct error *err)
{
    const int last = strcmp(argv[0], "perplexity") == 0 ? argc - 1 : 1;
    for (int i = 1; i <= last && i < argc; i++) {
        struct str path;
        if (!hub_found_is_name(str_from(argv[i])))
            continue;
        int rc = hub_found_path(a, str_from(argv[i]), &path, err);
        if (rc)
            return rc;
        argv[i] = arena_strdup(a, path);
    }
    return 0;
}

/* Becomes weir-train: exit code, signals and terminal are its own. */
int verb_train(int argc, char **argv)
{
    char path[PATH_MAX];
    char *args[argc + 2];
    struct error err;
    struct arena *a = arena_create(16 * MIB); /* until the program is another */
    if (models_find(a, argc, argv, &err) || spawn_beside_find("weir-train", path, sizeof path, &err)) {
        arena_free(a);
        return verb_fail(EXIT_FAILED, &err);
    }
    args[0] = path;
    memcpy(args + 1, argv, (size_t)argc * sizeof *argv);
    args[argc + 1] = NULL;
    execv(path, args);
    const int why = errno;
    arena_free(a);
    return verb_failf(EXIT_FAILED, "cannot start %s: %s", path, strerror(why));
}

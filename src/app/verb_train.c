/* weir train and the other verbs of models: a program of their own, weir-train, which links the engine and no
 * network code.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "app/verbs.h"
#include "engine/spawn.h"

/* Becomes weir-train: exit code, signals and terminal are its own. */
int verb_train(int argc, char **argv)
{
    char path[PATH_MAX];
    char *args[argc + 2];
    struct error err;
    if (spawn_beside_find("weir-train", path, sizeof path, &err))
        return verb_fail(EXIT_FAILED, &err);
    args[0] = path;
    memcpy(args + 1, argv, (size_t)argc * sizeof *argv);
    args[argc + 1] = NULL;
    execv(path, args);
    return verb_failf(EXIT_FAILED, "cannot start %s: %s", path, strerror(errno));
}

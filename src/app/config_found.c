/* Models found in models_dir. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/config_inner.h"
#include "base/limits.h"
#include "engine/engine.h"

/* What belongs to another file: adapters and projectors as weir pull names them, and Hugging Face's. */
static bool is_companion(struct str file)
{
    return str_ends(file, STR(ENGINE_ADAPTER)) || str_ends(file, STR(ENGINE_PROJECTOR)) ||
           str_find(file, STR("mmproj")) != SIZE_MAX;
}

/* The adapter that came with a model is part of it. */
static void adapter_beside(struct config *c, struct config_model *m)
{
    const struct str path =
        arena_printf(c->arena, STR_FMT ENGINE_ADAPTER, STR_ARG(str_slice(m->file, 0, m->file.len - 5)));
    if (access(path.data, R_OK) != 0)
        return;
    m->adapters = arena_alloc(c->arena, sizeof *m->adapters);
    m->adapters[0] = (struct config_adapter){engine_adapter_name(path), path, 1};
    m->n_adapters = 1;
}

/* The name a file is served by: without ".gguf", and without "-00001-of-0000N" for the first of N parts.
 * False: it is no model, or another part of one, or cannot be a name. */
static bool found_name(struct str file, struct str *name)
{
    int64_t part, count;
    if (!str_ends(file, STR(".gguf")) || str_eq(str_slice(file, 0, 1), STR(".")) || is_companion(file))
        return false;
    *name = str_slice(file, 0, file.len - 5);
    if (engine_part_read(name, &part, &count) && part != 1)
        return false;
    for (size_t i = 0; i < name->len; i++)
        if ((unsigned char)name->data[i] <= ' ' || name->data[i] == '\x7f')
            return false;
    return name->len > 0 && name->len <= LIMIT_MODEL_NAME && str_utf8_valid(*name);
}

/* A name that the configuration gives stays what it says. */
static void found_add(struct config *c, struct str file)
{
    struct str name;
    if (!found_name(file, &name))
        return;
    for (size_t i = 0; i < c->n_models; i++)
        if (str_eq(c->models[i].name, name))
            return;
    struct config_model *m = &c->models[c->n_models++];
    *m = (struct config_model){.name = arena_copy(c->arena, name),
        .file = arena_printf(c->arena, STR_FMT "/" STR_FMT, STR_ARG(c->models_dir), STR_ARG(file)),
        .provider = -1,
        .price = {.known = true},
        .keep_alive_ms = c->keep_alive_ms};
    config_patience_init(&m->patience, &m->limits.breaker);
    adapter_beside(c, m);
}

struct str config_models_folder(const struct config *c)
{
    return c->models_dir.len > 0 ? c->models_dir : STR("models");
}

/* However the configuration writes the path. */
static bool is_named(const struct config *c, struct str path)
{
    struct stat kept, named;
    if (stat(path.data, &kept))
        return false;
    for (size_t i = 0; i < c->n_models; i++)
        if (c->models[i].file.len > 0 && stat(c->models[i].file.data, &named) == 0 &&
            named.st_dev == kept.st_dev && named.st_ino == kept.st_ino)
            return true;
    return false;
}

int config_kept_list(
    const struct config *c, struct arena *a, struct config_kept **out, size_t *n, struct error *err)
{
    const struct str folder = config_models_folder(c);
    struct dirent **entries;
    *n = 0;
    int count = c->models_dir.len > 0 ? 0 : scandir(folder.data, &entries, NULL, alphasort);
    if (count < 0 && errno != ENOENT) /* without a folder nothing was fetched */
        return error_set(
            err, ERROR_IO, "cannot read the folder '" STR_FMT "': %s", STR_ARG(folder), strerror(errno));
    if (count <= 0)
        return 0;
    *out = arena_alloc(a, (size_t)count * sizeof **out);
    for (int i = 0; i < count; i++) {
        struct str name;
        const struct str file = arena_copy(a, str_from(entries[i]->d_name)),
                         path = arena_printf(a, STR_FMT "/" STR_FMT, STR_ARG(folder), STR_ARG(file));
        free(entries[i]);
        if (found_name(file, &name) && !is_named(c, path))
            (*out)[(*n)++] = (struct config_kept){name, path};
    }
    free(entries);
    return 0;
}

bool config_models_changed(const struct config *c, int64_t *mark)
{
    struct stat st;
    if (c->models_dir.len == 0 || stat(c->models_dir.data, &st) != 0)
        return false;
    *mark = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    return *mark != c->models_dir_mark;
}

int config_read_found(struct config *c, struct error *err)
{
    struct dirent **entries;
    config_models_changed(c, &c->models_dir_mark);
    int n = scandir(c->models_dir.data, &entries, NULL, alphasort);
    if (n < 0)
        return error_set(err, ERROR_IO, STR_FMT ": cannot read 'models_dir' " STR_FMT ": %s",
            STR_ARG(c->file), STR_ARG(c->models_dir), strerror(errno));
    size_t most = c->n_models + CONFIG_FOUND_MAX;
    for (int i = 0; i < n; i++) {
        if (c->n_models < most)
            found_add(c, str_from(entries[i]->d_name));
        free(entries[i]);
    }
    free(entries);
    return 0;
}

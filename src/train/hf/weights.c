/* A model's safetensors files, as one. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/limits.h"
#include "train/files.h"
#include "train/hf/safetensors.h"

#define INDEX_MAX (64 * MIB)

/* ---- The index: {"weight_map": {"TENSOR": "FILE", ...}} ---- */
struct index {
    struct arena *arena;
    struct json_view view;
    const struct json_item *map;
    struct map files;  /* name -> its place among the weights' files */
    struct str *names; /* of those */
};

static bool is_plain(struct str name)
{
    return name.len > 0 && name.len < 256 && name.data[0] != '.' && str_find_char(name, '/') == SIZE_MAX &&
           str_ends(name, STR(".safetensors"));
}

static int index_read(struct index *x, const char *path, struct error *err)
{
    struct str text;
    const struct json_item *root;
    int rc = file_read(x->arena, path, INDEX_MAX, &text, err);
    if (rc == 0 && json_view_read(&x->view, text, &root, err))
        return error_wrap(err, "%s", path);
    if (rc)
        return rc;
    x->map = json_item_get(root, "weight_map");
    if (!json_item_is(x->map, JSON_ITEM_OBJECT) || x->map->n == 0)
        return error_set(err, ERROR_INVALID, "%s has no 'weight_map' that names files", path);
    x->names = arena_alloc(x->arena, (LIMIT_MODEL_PARTS + 1) * sizeof *x->names);
    for (const struct json_item *i = x->map + 1; i && rc == 0; i = json_item_next(x->map, i)) {
        bool added = false;
        if (!is_plain(json_item_str(i)))
            return error_set(err, ERROR_INVALID,
                "%s puts tensor '" STR_FMT "' into '" STR_FMT "', which is no .safetensors file beside it",
                path, STR_ARG(str_slice(i->key, 0, 100)), STR_ARG(str_slice(json_item_str(i), 0, 100)));
        if (x->files.count > LIMIT_MODEL_PARTS)
            return error_set(err, ERROR_LIMIT, "%s names more than %d files", path, LIMIT_MODEL_PARTS);
        rc = map_add(&x->files, json_item_str(i), (uint32_t)x->files.count, &added, err);
        if (added)
            x->names[x->files.count - 1] = json_item_str(i);
    }
    return rc;
}

/* Each file holds what the index says. What else it holds is judged with the rest of the weights. */
static int index_check(const struct index *x, const struct weights *w, struct error *err)
{
    for (const struct json_item *i = x->map + 1; i; i = json_item_next(x->map, i)) {
        const struct safetensor *s = weights_find(w, i->key);
        const struct safetensors *file = &w->files[*map_find(&x->files, json_item_str(i))];
        if (!s || s < file->list || s >= file->list + file->n)
            return error_set(err, ERROR_INVALID,
                "'" STR_FMT "' does not hold tensor '" STR_FMT "', as the index says: fetch it again",
                STR_ARG(str_slice(json_item_str(i), 0, 100)), STR_ARG(str_slice(i->key, 0, 100)));
    }
    return 0;
}

/* ---- The files ---- */

/* Takes in the tensors of the last file. */
static int names_add(struct weights *w, struct error *err)
{
    struct safetensors *file = &w->files[w->n_files - 1];
    struct safetensor **list = realloc(w->list, (w->n + file->n + 1) * sizeof(struct safetensor *));
    if (!list)
        return error_set(err, ERROR_MEMORY, "no memory for %zu tensors", file->n);
    w->list = list;
    for (size_t i = 0; i < file->n; i++) {
        bool added = false;
        int rc = map_add(&w->names, file->list[i].tensor.name, (uint32_t)w->n, &added, err);
        if (rc == 0 && !added)
            rc = error_set(err, ERROR_INVALID, "tensor '" STR_FMT "' is in two files",
                STR_ARG(str_slice(file->list[i].tensor.name, 0, 200)));
        if (rc)
            return rc;
        w->list[w->n++] = &file->list[i];
    }
    return 0;
}

static int file_add(struct weights *w, const char *path, struct error *err)
{
    int rc = safetensors_open(path, &w->files[w->n_files], err);
    if (rc)
        return rc;
    w->n_files++;
    return names_add(w, err);
}

static int files_open(
    const char *folder, const char *name, struct index *x, struct weights *w, struct error *err)
{
    const char *one = arena_printf(x->arena, "%s/%s.safetensors", folder, name).data;
    const char *many = arena_printf(x->arena, "%s.index.json", one).data;
    const bool indexed = access(many, F_OK) == 0;
    int rc = indexed ? index_read(x, many, err) : 0;
    if (!indexed && access(one, F_OK) != 0)
        rc = error_set(err, ERROR_NOT_FOUND,
            "%s has neither %s.safetensors nor %s.safetensors.index.json: other weights (.bin, .pth) are not "
            "read",
            folder, name, name);
    w->files = rc ? NULL : calloc(x->files.count + 1, sizeof *w->files);
    if (rc == 0 && !w->files)
        rc = error_set(err, ERROR_MEMORY, "no memory for the model's files");
    if (rc == 0 && !indexed)
        return file_add(w, one, err);
    for (size_t i = 0; i < x->files.count && rc == 0; i++)
        rc = file_add(w, arena_printf(x->arena, "%s/" STR_FMT, folder, STR_ARG(x->names[i])).data, err);
    return rc ? rc : index_check(x, w, err);
}

int weights_open(const char *folder, const char *name, struct weights *out, struct error *err)
{
    struct index x = {.arena = arena_create(2 * INDEX_MAX)};
    *out = (struct weights){0};
    json_view_init(&x.view);
    int rc = map_init(&x.files, 8, err);
    rc = rc ? rc : map_init(&out->names, 1024, err);
    rc = rc ? rc : files_open(folder, name, &x, out, err);
    if (rc)
        weights_close(out);
    map_free(&x.files);
    json_view_free(&x.view);
    arena_free(x.arena);
    return rc;
}

void weights_close(struct weights *w)
{
    for (size_t i = 0; i < w->n_files; i++)
        safetensors_close(&w->files[i]);
    free(w->files);
    free(w->list);
    map_free(&w->names);
    *w = (struct weights){0};
}

struct safetensor *weights_find(const struct weights *w, struct str name)
{
    const uint32_t *index = w->n > 0 ? map_find(&w->names, name) : NULL;
    return index ? w->list[*index] : NULL;
}

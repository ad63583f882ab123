/* Which files of a repository are meant.
 *
 *   llama-3.2-1b-instruct-Q4_K_M.gguf            one file: stem "llama-...-Q4_K_M"
 *   Q8_0/big-Q8_0-00001-of-00003.gguf  (2, 3)    a group: its parts have one stem and one folder
 *   mmproj-F16.gguf                              a projector: listed only where asked for
 *
 * A tag fits a group when its stem ends with it, or its folder is called so (whatever the case). Without a
 * tag the first of `usual` that there is, or the only group. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/limits.h"
#include "engine/engine.h"
#include "hub/internal.h"

static const char *const usual[] = {"Q4_K_M", "Q4_K_S", "Q4_0", "Q5_K_M", "Q8_0", "MXFP4", "BF16", "F16"};

struct group {
    struct str folder, stem;
    int64_t part, parts;
};

static bool ends_nocase(struct str s, struct str end)
{
    return s.len >= end.len && strncasecmp(s.data + s.len - end.len, end.data, end.len) == 0;
}

/* What stands before ".gguf" and "-00001-of-00003". */
static bool group_of(struct str path, struct group *g)
{
    struct str stem = str_base_name(path);
    *g = (struct group){.part = 1, .parts = 1};
    g->folder = str_slice(path, 0, stem.len < path.len ? path.len - stem.len - 1 : 0);
    if (!ends_nocase(stem, STR(".gguf")))
        return false;
    stem.len -= 5;
    engine_part_read(&stem, &g->part, &g->parts);
    g->stem = stem;
    return g->part >= 1 && g->part <= g->parts && g->parts <= LIMIT_MODEL_PARTS;
}

static bool is_projector(struct str path)
{
    return str_find(path, STR("mmproj")) != SIZE_MAX;
}

static bool fits(const struct group *g, struct str tag)
{
    size_t before = g->stem.len - tag.len;
    struct str last = str_base_name(g->folder);
    if (tag.len == 0)
        return true;
    if (last.len == tag.len && strncasecmp(last.data, tag.data, tag.len) == 0)
        return true;
    return ends_nocase(g->stem, tag) && (before == 0 || strchr("-._", g->stem.data[before - 1]));
}

/* First parts that fit; how many, and the first of them. */
static size_t find(const struct hub_entry *entries, size_t n, struct str tag, bool projector, size_t *found)
{
    size_t count = 0;
    struct group g;
    for (size_t i = 0; i < n; i++)
        if (is_projector(entries[i].path) == projector && group_of(entries[i].path, &g) && g.part == 1 &&
            (tag.len == 0 || fits(&g, tag)) && count++ == 0)
            *found = i;
    return count;
}

static int say_choices(const struct hub_entry *entries, size_t n, struct str tag, struct error *err)
{
    char list[400] = "";
    size_t used = 0;
    struct group g;
    for (size_t i = 0; i < n; i++) {
        if (is_projector(entries[i].path) || !group_of(entries[i].path, &g) || g.part != 1)
            continue;
        if (used + g.stem.len + 3 >= sizeof list)
            break;
        used += (size_t)snprintf(
            list + used, sizeof list - used, "%s" STR_FMT, used ? ", " : "", STR_ARG(g.stem));
    }
    if (used == 0)
        return error_set(err, ERROR_NOT_FOUND, "it holds no GGUF file");
    return error_set(err, ERROR_NOT_FOUND, "%s" STR_FMT "%s: there are %s",
        tag.len ? "nothing fits the tag '" : "say which by a tag", STR_ARG(tag), tag.len ? "'" : "", list);
}

static int parts_gather(const struct hub_entry *entries, size_t n, size_t first, size_t *chosen,
    size_t *n_chosen, struct error *err)
{
    struct group whole, g;
    (void)group_of(entries[first].path, &whole);
    for (int64_t part = 1; part <= whole.parts; part++) {
        size_t i = 0;
        while (i < n && !(group_of(entries[i].path, &g) && g.part == part && g.parts == whole.parts &&
                            str_eq(g.stem, whole.stem) && str_eq(g.folder, whole.folder)))
            i++;
        if (i == n)
            return error_set(err, ERROR_NOT_FOUND, "part %lld of %lld is missing there", (long long)part,
                (long long)whole.parts);
        chosen[(*n_chosen)++] = i;
    }
    return 0;
}

/* The projector of the same folder, else of any; F16 before others. */
static void projector_add(
    const struct hub_entry *entries, size_t n, size_t model, size_t *chosen, size_t *n_chosen)
{
    static const char *const order[] = {"F16", "BF16", "Q8_0", "F32", ""};
    struct group of_model, g;
    (void)group_of(entries[model].path, &of_model);
    for (int near = 1; near >= 0; near--)
        for (size_t k = 0; k < sizeof order / sizeof *order; k++)
            for (size_t i = 0; i < n; i++)
                if (is_projector(entries[i].path) && group_of(entries[i].path, &g) &&
                    (!near || str_eq(g.folder, of_model.folder)) && fits(&g, str_from(order[k]))) {
                    chosen[(*n_chosen)++] = i;
                    return;
                }
}

int hub_choose(const struct hub_entry *entries, size_t n, struct str tag, bool projector, size_t *chosen,
    size_t *n_chosen, struct error *err)
{
    size_t model = 0, count = 0;
    *n_chosen = 0;
    if (tag.len > 0)
        count = find(entries, n, tag, false, &model);
    for (size_t i = 0; tag.len == 0 && count == 0 && i < sizeof usual / sizeof *usual; i++)
        count = find(entries, n, str_from(usual[i]), false, &model);
    if (tag.len == 0 && count == 0)
        count = find(entries, n, STR_NONE, false, &model);
    if (count != 1)
        return say_choices(entries, n, tag, err);
    int rc = parts_gather(entries, n, model, chosen, n_chosen, err);
    if (rc == 0 && projector)
        projector_add(entries, n, model, chosen, n_chosen);
    return rc;
}

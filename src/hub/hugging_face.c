/* Hugging Face's hub: /api/models/R/refs names the commit, .../tree/COMMIT its files with their SHA-256 (of
 * large files: those in LFS), /R/resolve/COMMIT/PATH is a file, mostly by way of a redirect. Mirrors that
 * firms run often know no refs, but what Hugging Face's own client asks for: /api/models/R/revision/main,
 * which names the commit, too, and with ?blobs=true the files. */
#include <string.h>

#include "base/ascii.h"
#include "base/limits.h"
#include "hub/internal.h"
#include "json/json.h"

enum { PAGES_MAX = 50, ENTRIES_MAX = 20000 };

#define ANSWER_MAX (32 * MIB)

static int commit_of_main(
    struct hub *h, struct arena *a, const struct hub_name *name, struct str *commit, struct error *err)
{
    json_t *refs;
    const struct hub_fetch_options o = {
        .url = arena_printf(a, STR_FMT "/api/models/" STR_FMT "/" STR_FMT "/refs", STR_ARG(name->origin),
            STR_ARG(name->owner), STR_ARG(name->name)),
        .accept = "application/json",
        .last = -1};
    int rc = hub_get(h, a, &o, MIB, &refs, NULL, err);
    if (rc)
        return rc;
    const json_t *branches = json_object_get(refs, "branches");
    for (size_t i = 0; i < json_array_size(branches); i++) {
        const json_t *branch = json_array_get(branches, i);
        *commit = json_text(branch, "targetCommit");
        if (str_is(json_text(branch, "name"), "main") && hub_hex_valid(*commit, HUB_COMMIT))
            return 0;
    }
    return error_set(err, ERROR_INVALID, "the repository has no branch 'main'");
}

/* A path of the hub's: only its last part ever names a file here, but it becomes part of a URL. */
static bool path_valid(struct str path)
{
    struct str rest = path, part;
    bool good = path.len > 0 && path.len < 1024 && str_utf8_valid(path);
    while (good && rest.len > 0 && str_split(&rest, '/', &part))
        good = part.len > 0 && !str_is(part, ".") && !str_is(part, "..");
    for (size_t i = 0; good && i < path.len; i++)
        good = (unsigned char)path.data[i] >= ' ' && path.data[i] != 0x7f;
    return good;
}

static size_t entries_take(const json_t *tree, struct hub_entry *entries, size_t n)
{
    for (size_t i = 0; i < json_array_size(tree) && n < ENTRIES_MAX; i++) {
        const json_t *file = json_array_get(tree, i), *lfs = json_object_get(file, "lfs");
        struct str path = json_text(file, "path"), oid = json_text(lfs, "oid");
        if (path.len == 0) { /* as a revision lists it */
            path = json_text(file, "rfilename");
            oid = json_text(lfs, "sha256");
        }
        json_int_t bytes = json_integer_value(json_object_get(lfs, "size"));
        if (path_valid(path) && hub_hex_valid(oid, HUB_SHA256) && bytes > 0)
            entries[n++] = (struct hub_entry){path, oid, bytes};
    }
    return n;
}

static int tree_read(struct hub *h, struct arena *a, const struct hub_name *name, struct str commit,
    struct hub_entry *entries, size_t *n, struct error *err)
{
    struct str next =
        arena_printf(a, STR_FMT "/api/models/" STR_FMT "/" STR_FMT "/tree/" STR_FMT "?recursive=true",
            STR_ARG(name->origin), STR_ARG(name->owner), STR_ARG(name->name), STR_ARG(commit));
    int rc = 0;
    for (int page = 0; rc == 0 && next.len > 0; page++) {
        json_t *tree;
        const struct hub_fetch_options o = {.url = next, .accept = "application/json", .last = -1};
        if (page == PAGES_MAX)
            return error_set(
                err, ERROR_LIMIT, "the repository lists its files on more than %d pages", PAGES_MAX);
        rc = hub_get(h, a, &o, ANSWER_MAX, &tree, &next, err);
        if (rc == 0)
            *n = entries_take(tree, entries, *n);
    }
    return rc;
}

static int revision_read(struct hub *h, struct arena *a, const struct hub_name *name, struct str *commit,
    struct hub_entry *entries, size_t *n, struct error *err)
{
    json_t *revision;
    const struct hub_fetch_options o = {
        .url = arena_printf(a, STR_FMT "/api/models/" STR_FMT "/" STR_FMT "/revision/main?blobs=true",
            STR_ARG(name->origin), STR_ARG(name->owner), STR_ARG(name->name)),
        .accept = "application/json",
        .last = -1};
    int rc = hub_get(h, a, &o, ANSWER_MAX, &revision, NULL, err);
    if (rc)
        return rc;
    *commit = json_text(revision, "sha");
    if (!hub_hex_valid(*commit, HUB_COMMIT))
        return error_set(err, ERROR_INVALID, "the hub names no commit of 'main'");
    *n = entries_take(json_object_get(revision, "siblings"), entries, 0);
    return 0;
}

static int files_list(struct hub *h, struct arena *a, const struct hub_name *name, struct str *commit,
    struct hub_entry *entries, size_t *n, struct error *err)
{
    int rc = commit_of_main(h, a, name, commit, err);
    if (rc == ERROR_NOT_FOUND)
        rc = revision_read(h, a, name, commit, entries, n, err);
    return rc || *n > 0 ? rc : tree_read(h, a, name, *commit, entries, n, err);
}

/* Percent-encoding (RFC 3986, 2.1); '/' stays. */
static struct str path_encode(struct arena *a, struct str path)
{
    struct buf b;
    buf_init(&b, 4 * KIB);
    ascii_escape(&b, path, "/");
    struct str encoded = arena_copy(a, buf_str(&b));
    buf_free(&b);
    return encoded;
}

int hub_list_hugging_face(
    struct hub *h, struct arena *a, const struct hub_name *name, struct hub_listing *out, struct error *err)
{
    struct hub_entry *entries = arena_try_alloc(a, ENTRIES_MAX, sizeof *entries);
    size_t *chosen = arena_try_alloc(a, ENTRIES_MAX, sizeof *chosen), n = 0, n_chosen = 0;
    struct str commit;
    if (!entries || !chosen)
        return error_set(err, ERROR_MEMORY, "out of memory");
    int rc = files_list(h, a, name, &commit, entries, &n, err);
    if (rc == 0)
        rc = hub_choose(entries, n, name->tag, h->options.projector, chosen, &n_chosen, err);
    if (rc)
        return error_wrap(err, "hf.co/" STR_FMT "/" STR_FMT, STR_ARG(name->owner), STR_ARG(name->name));
    out->files = arena_alloc(a, n_chosen * sizeof *out->files);
    out->n_files = n_chosen;
    for (size_t i = 0; i < n_chosen; i++) {
        const struct hub_entry *e = &entries[chosen[i]];
        struct hub_file *f = &out->files[i];
        *f = (struct hub_file){.name = str_base_name(e->path), .sha256 = e->sha256, .bytes = e->bytes};
        if (!hub_file_name_valid(f->name))
            return error_set(err, ERROR_INVALID, "the hub lists a file whose name cannot be used here");
        f->url = arena_printf(a, STR_FMT "/" STR_FMT "/" STR_FMT "/resolve/" STR_FMT "/" STR_FMT,
            STR_ARG(name->origin), STR_ARG(name->owner), STR_ARG(name->name), STR_ARG(commit),
            STR_ARG(path_encode(a, e->path)));
    }
    return 0;
}

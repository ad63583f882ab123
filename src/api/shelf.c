#include "api/shelf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/ascii.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/must.h"

enum { ABOUT_MOST = 1 << 20, ID_MOST = 64 };

/* Where they are is the log's to tell, not a client's to know. */
static int failed(const char *path, struct error *err)
{
    const int why = errno;
    log_error("api", "cannot read or write %s: %s", path, strerror(why));
    return error_set(err, ERROR_IO, "files cannot be kept or read here: %s", strerror(why));
}

int shelf_open(const char *folder, struct error *err)
{
    return mkdir(folder, 0700) == 0 || errno == EEXIST ? 0 : failed(folder, err);
}

bool shelf_path(const char *folder, struct str id, const char *suffix, char out[PATH_MAX])
{
    bool good = id.len <= ID_MOST && (str_starts(id, STR("file-")) || str_starts(id, STR("batch_")));
    for (size_t i = 0; i < id.len && good; i++) {
        char c = id.data[i];
        good = ascii_is_alnum(c) || c == '-' || c == '_';
    }
    int n = good ? snprintf(out, PATH_MAX, "%s/" STR_FMT "%s", folder, STR_ARG(id), suffix) : -1;
    return n > 0 && n < PATH_MAX;
}

static int path_make(
    const char *folder, struct str id, const char *suffix, char out[PATH_MAX], struct error *err)
{
    return shelf_path(folder, id, suffix, out)
               ? 0
               : error_set(err, ERROR_NOT_FOUND, "there is no '" STR_FMT "'", STR_ARG(str_slice(id, 0, 80)));
}

/* As a new file in the place of the old one. */
static int replace(const char *path, struct str data, struct error *err)
{
    char draft[PATH_MAX + 8];
    snprintf(draft, sizeof draft, "%s.new", path);
    int fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return failed(draft, err);
    int rc = file_write_fd(fd, data) == data.len ? 0 : failed(draft, err);
    if (close(fd) != 0 && rc == 0)
        rc = failed(draft, err);
    if (rc == 0 && rename(draft, path) != 0)
        rc = failed(path, err);
    if (rc)
        unlink(draft);
    return rc;
}

int shelf_write_data(const char *folder, struct str id, struct str data, struct error *err)
{
    char path[PATH_MAX];
    int rc = path_make(folder, id, ".data", path, err);
    return rc ? rc : replace(path, data, err);
}

int shelf_write(const char *folder, struct str id, const json_t *about, struct error *err)
{
    char path[PATH_MAX];
    struct buf text;
    struct json_writer w;
    int rc = path_make(folder, id, ".json", path, err);
    if (rc)
        return rc;
    buf_init(&text, ABOUT_MOST);
    json_writer_init(&w, &text);
    json_write_value(&w, about);
    rc = text.failed ? error_set(err, text.failed, "what is to be kept of a file is too large")
                     : replace(path, buf_str(&text), err);
    buf_free(&text);
    return rc;
}

static int whole_read(const char *path, struct buf *out, struct error *err)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return errno == ENOENT ? error_set(err, ERROR_NOT_FOUND, "there is no such file") : failed(path, err);
    char *at = NULL;
    size_t n = 1;
    while (n > 0 && (at = buf_reserve(out, 64 * KIB)) != NULL) {
        n = fread(at, 1, 64 * KIB, f);
        buf_commit(out, n);
    }
    int rc = ferror(f) ? failed(path, err)
             : at      ? 0
                       : error_set(err, out->failed, "the file is larger than %zu bytes", out->max);
    fclose(f);
    return rc;
}

int shelf_read_data(const char *folder, struct str id, struct buf *out, struct error *err)
{
    char path[PATH_MAX];
    int rc = path_make(folder, id, ".data", path, err);
    return rc ? rc : whole_read(path, out, err);
}

int shelf_read(const char *folder, struct str id, const char *key, json_t **about, struct error *err)
{
    char path[PATH_MAX];
    struct buf text;
    int rc = path_make(folder, id, ".json", path, err);
    if (rc)
        return rc;
    buf_init(&text, ABOUT_MOST + 64 * KIB);
    *about = NULL;
    rc = whole_read(path, &text, err);
    if (rc == 0)
        rc = json_read(buf_str(&text), about, err);
    buf_free(&text);
    bool theirs = rc == 0 && (!key || str_is(json_text(*about, "key"), key));
    if (rc == 0 && theirs)
        return 0;
    json_decref(*about);
    *about = NULL;
    if (rc == 0 || rc == ERROR_NOT_FOUND)
        return error_set(err, ERROR_NOT_FOUND,
            "there is no '" STR_FMT "': it was deleted, is too old, or belongs to another key",
            STR_ARG(str_slice(id, 0, 80)));
    return rc;
}

void shelf_remove(const char *folder, struct str id)
{
    static const char *const suffixes[] = {".json", ".data"};
    char path[PATH_MAX];
    for (size_t i = 0; i < 2; i++)
        if (shelf_path(folder, id, suffixes[i], path) && unlink(path) != 0 && errno != ENOENT)
            log_warn("files", "cannot remove %s: %s", path, strerror(errno));
}

static int64_t created(const json_t *about)
{
    return json_integer_value(json_object_get(about, "created_at"));
}

static int by_time(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    if (created(x) != created(y))
        return created(x) < created(y) ? 1 : -1;
    return strcmp(json_string_value(json_object_get(y, "id")), json_string_value(json_object_get(x, "id")));
}

static json_t *entry_read(const char *folder, const char *name, const char *prefix, const char *key)
{
    struct str id = str_from(name), suffix = STR(".json");
    struct error ignored; /* one that is being removed, or was changed by hand */
    json_t *about;
    if (!str_starts(id, str_from(prefix)) || !str_ends(id, suffix))
        return NULL;
    id = str_slice(id, 0, id.len - suffix.len);
    if (shelf_read(folder, id, key, &about, &ignored))
        return NULL;
    if (str_eq(json_text(about, "id"), id))
        return about;
    json_decref(about);
    return NULL;
}

json_t *shelf_list(const char *folder, const char *prefix, const char *key)
{
    json_t **all = NULL, *list = must(json_array());
    size_t n = 0, capacity = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        json_t *about = entry_read(folder, e->d_name, prefix, key);
        if (!about)
            continue;
        if (n == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            all = must(realloc(all, capacity * sizeof *all));
        }
        all[n++] = about;
    }
    if (d)
        closedir(d);
    if (n > 0)
        qsort(all, n, sizeof *all, by_time);
    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(list, all[i]) != 0)
            abort();
    free(all);
    return list;
}

/* Data without a record, and drafts: a killed process, or a batch whose record went, left them. */
static bool is_orphan(const char *folder, const char *name, int64_t before_s)
{
    char path[PATH_MAX];
    struct str id = str_from(name);
    struct stat st;
    bool data = str_ends(id, STR(".data"));
    if (!data && !str_ends(id, STR(".new")))
        return false;
    if (data && shelf_path(folder, str_slice(id, 0, id.len - 5), ".json", path) && access(path, F_OK) == 0)
        return false;
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    return n > 0 && (size_t)n < sizeof path && stat(path, &st) == 0 && st.st_mtime < before_s;
}

static void orphans_purge(const char *folder, int64_t before_s)
{
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        if (is_orphan(folder, e->d_name, before_s) && unlinkat(dirfd(d), e->d_name, 0) != 0)
            log_warn("files", "cannot remove %s/%s: %s", folder, e->d_name, strerror(errno));
    if (d)
        closedir(d);
}

size_t shelf_purge(const char *folder, int64_t before_s, const char *key)
{
    json_t *all = shelf_list(folder, "", key);
    size_t removed = 0;
    for (size_t i = 0; i < json_array_size(all); i++) {
        if (created(json_array_get(all, i)) >= before_s)
            continue;
        shelf_remove(folder, json_text(json_array_get(all, i), "id"));
        removed++;
    }
    json_decref(all);
    if (!key) /* nobody knows whose an orphan is */
        orphans_purge(folder, before_s);
    return removed;
}

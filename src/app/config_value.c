/* Values of the configuration: durations, sizes, secrets, files. */
#include "app/config_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "hub/hub.h"

int config_get_duration(const struct yaml_node *map, const char *key, int64_t fallback_ms, int64_t most_ms,
    int64_t *out_ms, struct error *err)
{
    struct str text;
    int64_t ms;
    *out_ms = fallback_ms;
    int rc = yaml_get_str(map, key, STR_NONE, &text, err);
    if (rc || !text.data)
        return rc;
    if (!clock_parse_duration(text, &ms) || ms > most_ms)
        return yaml_error(yaml_get(map, key), err, ERROR_INVALID,
            "'%s' must be a duration like 250ms, 5s, 2m, 12h or 90d (at most %llds), not '" STR_FMT "'", key,
            (long long)most_ms / 1000, STR_ARG(text));
    *out_ms = ms;
    return 0;
}

int config_get_keep_alive(
    const struct yaml_node *map, int64_t fallback_ms, int64_t *out_ms, struct error *err)
{
    const int64_t most_ms = (int64_t)36500 * 86400000;
    const struct yaml_node *n = yaml_get(map, "keep_alive");
    int64_t seconds;
    if (!n || n->kind != YAML_SCALAR || !str_to_int64(n->value, &seconds))
        return config_get_duration(map, "keep_alive", fallback_ms, most_ms, out_ms, err);
    *out_ms = seconds < 0 ? -1 : seconds > most_ms / 1000 ? most_ms : seconds * 1000;
    return 0;
}

/* A whole number of bytes, or of one of these units; false for anything else or past `most`. */
static bool size_read(struct str text, int64_t most, int64_t *out)
{
    static const struct str_unit units[] = {{"", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};
    return str_to_amount(text, units, sizeof units / sizeof *units, out) && *out <= most;
}

int config_get_size(const struct yaml_node *map, const char *key, int64_t fallback, int64_t most,
    int64_t *out, struct error *err)
{
    struct str text;
    *out = fallback;
    int rc = yaml_get_str(map, key, STR_NONE, &text, err);
    if (rc || !text.data)
        return rc;
    if (!size_read(text, most, out) || *out == 0)
        return yaml_error(yaml_get(map, key), err, ERROR_INVALID,
            "'%s' must be a size like 1048576, 512KiB or 32MiB (at most %lld bytes), not '" STR_FMT "'", key,
            (long long)most, STR_ARG(text));
    return 0;
}

int config_get_choice(const struct yaml_node *map, const char *key, const char *const *words, int fallback,
    int *out, struct error *err)
{
    struct str text;
    *out = fallback;
    int rc = yaml_get_str(map, key, STR_NONE, &text, err);
    if (rc || !text.data)
        return rc;
    char list[200] = "";
    for (int i = 0; words[i]; i++) {
        if (str_is(text, words[i])) {
            *out = i;
            return 0;
        }
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", words[i]);
    }
    return yaml_error(yaml_get(map, key), err, ERROR_INVALID, "'%s' is one of %s, not '" STR_FMT "'", key,
        list, STR_ARG(text));
}

int config_get_strings(struct config *c, const struct yaml_node *map, const char *key, struct str **out,
    size_t *n, struct error *err)
{
    const struct yaml_node *list = yaml_get(map, key);
    *out = NULL;
    *n = 0;
    if (!list)
        return 0;
    const struct yaml_node *v = list->kind == YAML_LIST ? list->first : list;
    *out = arena_alloc(c->arena, (list->count + 1) * sizeof **out);
    for (; v; v = list->kind == YAML_LIST ? v->next : NULL) {
        if (v->kind != YAML_SCALAR || v->value.len == 0)
            return yaml_error(v, err, ERROR_INVALID, "'%s' wants a list of plain values", key);
        (*out)[(*n)++] = v->value;
    }
    return 0;
}

/* ---- Files. ---- */
/* Beside the configuration, if it is a file and the thing is there; else as it stands. */
static struct str path_resolve(const struct config *c, struct str path)
{
    size_t slash = str_find_last_char(c->file, '/');
    if (path.len == 0 || path.data[0] == '/' || slash == SIZE_MAX)
        return path;
    struct str beside =
        arena_printf(c->arena, STR_FMT "/" STR_FMT, STR_ARG(str_slice(c->file, 0, slash)), STR_ARG(path));
    return access(beside.data, F_OK) == 0 ? beside : path;
}

int config_read_beside(
    const struct config *c, struct str path, size_t most, struct buf *out, struct error *err)
{
    struct arena *a = arena_create(most + 64 * KIB);
    struct str text = STR_NONE;
    int rc = file_read(a, arena_strdup(a, path_resolve(c, path)), most, &text, err);
    if (rc == 0 && buf_append_str(out, text))
        rc = error_set(err, out->failed, "no memory for " STR_FMT, STR_ARG(path));
    arena_free(a);
    return rc;
}

static int path_get(struct config *c, const struct yaml_node *map, const char *key, mode_t kind,
    const char *wanted, struct str *out, struct error *err)
{
    struct str path;
    struct stat st;
    *out = STR_NONE;
    int rc = yaml_get_str(map, key, STR_NONE, &path, err);
    if (rc || !path.data)
        return rc;
    *out = arena_copy(c->arena, path_resolve(c, path));
    if (stat(out->data, &st) != 0)
        return yaml_error(yaml_get(map, key), err, ERROR_NOT_FOUND, "'%s' names " STR_FMT ": %s", key,
            STR_ARG(*out), strerror(errno));
    if ((st.st_mode & S_IFMT) != kind)
        return yaml_error(yaml_get(map, key), err, ERROR_INVALID, "'%s' names " STR_FMT ", which is not a %s",
            key, STR_ARG(*out), wanted);
    return 0;
}

int config_get_file(
    struct config *c, const struct yaml_node *map, const char *key, struct str *out, struct error *err)
{
    return path_get(c, map, key, S_IFREG, "file", out, err);
}

int config_get_model_file(
    struct config *c, const struct yaml_node *map, const char *key, struct str *out, struct error *err)
{
    struct error why;
    struct str name;
    int rc = yaml_get_str(map, key, STR_NONE, &name, err);
    if (rc || !hub_found_is_name(name))
        return rc ? rc : config_get_file(c, map, key, out, err);
    rc = hub_found_path(c->arena, name, out, &why);
    return rc ? yaml_error(yaml_get(map, key), err, rc, "'%s': %s", key, why.message) : 0;
}

int config_get_folder(
    struct config *c, const struct yaml_node *map, const char *key, struct str *out, struct error *err)
{
    return path_get(c, map, key, S_IFDIR, "folder", out, err);
}

/* ---- Secrets. ---- */

/* One line of visible characters: it goes into a header. */
static int secret_check(const struct yaml_node *n, struct str secret, struct error *err)
{
    if (secret.len == 0)
        return yaml_error(n, err, ERROR_INVALID, "the secret of '" STR_FMT "' is empty", STR_ARG(n->key));
    for (size_t i = 0; i < secret.len; i++)
        if (secret.data[i] <= ' ' || secret.data[i] > '~')
            return yaml_error(n, err, ERROR_INVALID,
                "the secret of '" STR_FMT "' holds a space or a character that is not ASCII",
                STR_ARG(n->key));
    return 0;
}

static int secret_from_environment(
    struct config *c, const struct yaml_node *n, struct str name, struct str *out, struct error *err)
{
    const char *value = getenv(arena_strdup(c->arena, name));
    if (!value)
        return yaml_error(n, err, ERROR_NOT_FOUND,
            "the environment has no %.*s: set it, or remove what needs it", STR_ARG(name));
    *out = arena_copy(c->arena, str_trim(str_from(value)));
    return secret_check(n, *out, err);
}

static int secret_from_file(
    struct config *c, const struct yaml_node *n, struct str path, struct str *out, struct error *err)
{
    struct error inner;
    path = path_resolve(c, path);
    int rc = file_read(c->arena, arena_strdup(c->arena, path), 64 * KIB, out, &inner);
    if (rc)
        return yaml_error(n, err, rc, "%s", inner.message);
    *out = str_trim(*out);
    return secret_check(n, *out, err);
}

int config_get_secret(
    struct config *c, const struct yaml_node *map, const char *key, struct str *out, struct error *err)
{
    struct str text;
    *out = STR_NONE;
    int rc = yaml_get_str(map, key, STR_NONE, &text, err);
    if (rc || !text.data)
        return rc;
    const struct yaml_node *n = yaml_get(map, key);
    bool variable = str_starts(text, STR("${")) && str_ends(text, STR("}")) && text.len > 3;
    bool file = str_starts(text, STR("file:")) && text.len > 5;
    if (!variable && !file)
        return yaml_error(n, err, ERROR_INVALID,
            "'%s' is written out: put it into the environment and write \"${NAME}\", or into a file and write "
            "\"file:/path\"",
            key);
    if (c->asks_nobody) {
        *out = arena_copy(c->arena, text);
        return 0;
    }
    return variable ? secret_from_environment(c, n, str_slice(text, 2, text.len - 1), out, err)
                    : secret_from_file(c, n, str_slice(text, 5, text.len), out, err);
}

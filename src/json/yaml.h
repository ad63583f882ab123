/* YAML documents as a bounded tree that remembers lines, over libyaml. For the configuration.
 *
 * Aliases and tags are refused (no billion laughs), keys must be plain strings, a repeated key is an error, depth is
 * at most LIMIT_JSON_DEPTH. Every error reads "FILE:LINE: what happened: what to do". */
#ifndef WEIR_JSON_YAML_H
#define WEIR_JSON_YAML_H

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_node {
    enum yaml_kind kind;
    int line;
    const char *file;
    struct str key;    /* set on a map's members */
    struct str value;  /* SCALAR: its text */
    bool quoted;       /* SCALAR: written in quotes, so always a string */
    struct yaml_node *first, *next; /* children of LIST and MAP; siblings */
    size_t count;      /* children */
};

int yaml_read(struct arena *a, struct str text, const char *file, struct yaml_node **out, struct error *err) MUST_USE;
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key); /* NULL if absent or map is NULL */
/* Each member of `map` must be among `keys` (NULL-terminated); else an error that names the line and the key, and
 * the nearest known one. */
int yaml_check_keys(const struct yaml_node *map, const char *const *keys, const char *what, struct error *err) MUST_USE;
/* The known word (NULL-terminated list) that `word` is most likely a slip of, or NULL. */
const char *yaml_nearest(struct str word, const char *const *known);
/* Typed reads of a member: absent gives the fallback. */
int yaml_get_str(const struct yaml_node *map, const char *key, struct str fallback, struct str *out, struct error *err) MUST_USE;
int yaml_get_bool(const struct yaml_node *map, const char *key, bool fallback, bool *out, struct error *err) MUST_USE;
int yaml_get_int(const struct yaml_node *map, const char *key, int64_t fallback, int64_t least, int64_t most,
    int64_t *out, struct error *err) MUST_USE;
int yaml_get_double(const struct yaml_node *map, const char *key, double fallback, double least, double most,
    double *out, struct error *err) MUST_USE;
/* "FILE:LINE: " + message; returns `code`. */
int yaml_error(const struct yaml_node *at, struct error *err, int code, const char *fmt, ...) PRINTF_LIKE(4, 5);

#endif

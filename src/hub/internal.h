/* Inside hub/: one GET through egress, with redirects followed. */
#ifndef WEIR_HUB_INTERNAL_H
#define WEIR_HUB_INTERNAL_H

#include "base/loop.h"
#include "egress/egress.h"
#include "hub/hub.h"
#include "json/json.h"

enum { HUB_ORIGINS_MAX = 32 };

struct hub {
    struct arena *arena; /* origins; lives as long as the hub */
    struct loop *loop;
    struct egress *egress;
    struct hub_options options; /* strings in the arena */
    struct str asked;           /* "https://host:port" of the hub: the token is for it alone */
    struct hub_origin {
        struct str origin; /* "https://host:port" */
        struct egress_target *target;
    } origins[HUB_ORIGINS_MAX];
    size_t n_origins;
};

struct hub_fetch;
struct hub_fetch_options {
    struct str url;
    const char *accept;  /* NULL: anything */
    int64_t first, last; /* bytes wanted; last < 0: all */
};
/* Callbacks as egress's; `status` never sees a redirect. Headers by hub_fetch_header from `status` on. */
struct hub_fetch *hub_fetch_start(
    struct hub *h, const struct hub_fetch_options *o, const struct egress_handler *handler);
struct str hub_fetch_header(const struct hub_fetch *f, const char *name);
void hub_fetch_close(
    struct hub_fetch *f); /* NULL is allowed; allowed inside its callbacks, required after done */

/* An answer in JSON of at most `max` bytes, which lives as long as the arena; tried again after passing
 * failures. `next`: of its Link header (RFC 8288), or NULL where nobody asks. */
int hub_get(struct hub *h, struct arena *a, const struct hub_fetch_options *o, size_t max, json_t **out,
    struct str *next, struct error *err) MUST_USE;
/* The error for a status that is no success. */
int hub_status_error(int status, struct str url, struct error *err);

/* proxy.c: the one for an origin ("https://host:port"); empty: none. */
struct str hub_proxy_of(const struct hub_options *o, struct str origin);

/* name.c */
bool hub_file_name_valid(struct str name); /* a file's own name, nothing of a path */
bool hub_hex_valid(struct str hex, size_t digits);
enum { HUB_SHA256 = 64, HUB_COMMIT = 40 }; /* hexadecimal digits */

int hub_list_hugging_face(struct hub *h, struct arena *a, const struct hub_name *name,
    struct hub_listing *out, struct error *err) MUST_USE;
int hub_list_ollama(struct hub *h, struct arena *a, const struct hub_name *name, struct hub_listing *out,
    struct error *err) MUST_USE;

/* choose.c: which files of a repository. */
struct hub_entry {
    struct str path, sha256;
    int64_t bytes;
};
/* Writes indices of the chosen ones, first part first, then the projector where asked for; returns how many,
 * or an error that lists the choices. `chosen` has room for n. */
int hub_choose(const struct hub_entry *entries, size_t n, struct str tag, bool projector, size_t *chosen,
    size_t *n_chosen, struct error *err) MUST_USE;

#endif

/* Redaction: a request whose findings are replaced by pseudonyms, so that it may leave, and the way back.
 *
 *   request --> findings of every text --> mask --> every text rewritten --> judged again --> may leave
 *                                           |                                    |
 *                                           |                                    +-- anything found that is
 * no pseudonym, |                                        an original left, a text that could | not be
 * restored: it stays inside
 *                                           +--> the answer's pseudonyms are restored from it
 * (govern/restore.h)
 *
 * What cannot be masked safely is an error that says why: the request stays inside then. */
#ifndef WEIR_ROUTER_REDACT_H
#define WEIR_ROUTER_REDACT_H

#include "router/router.h"

struct mask;

enum { REDACT_KEY = 32 };

struct router_masked_type {
    const char *type; /* "EMAIL_ADDRESS" */
    size_t count;     /* different ones */
};

struct router_masked {
    const struct chat_request *request; /* what may leave */
    const struct egress_permit *permit; /* of the decision, for it alone */
    struct mask *mask;
    struct router_masked_type *types;
    size_t n_types, count;
};

/* Everything lives in the request's arena. `never`: categories that are not to leave even masked. `key` makes
 * the pseudonyms, together with the conversation's first question and `scope` (whose conversation it is).
 * `found`: what was found in all of the request. ERROR_UNSUPPORTED says what cannot be masked. */
struct router_redact_options {
    unsigned char key[REDACT_KEY];
    unsigned never;
    const struct detect_own *own; /* the owner's own layer; NULL: none */
};
int router_redact(const struct router_redact_options *o, struct str scope, const struct chat_request *r,
    const struct router_findings *found, struct router_masked **out, struct error *err) MUST_USE;

/* One text, for people to see. `stays` says why the router would not let it leave, or is empty. */
int router_redact_text(const struct router_redact_options *o, struct arena *a, struct str text,
    struct mask **mask, struct str *out, struct str *stays, struct error *err) MUST_USE;
/* {"placeholder": "original", ...} and back. */
void router_mask_write(const struct mask *m, struct json_writer *w);
int router_mask_read(struct arena *a, const json_t *map, struct mask **out, struct error *err) MUST_USE;

/* `text` with every placeholder replaced by its original. */
int router_mask_restore(struct mask *m, struct str text, struct str *out, struct error *err) MUST_USE;

/* ---- The way back ---- */

/* The placeholder that begins at text[at]: its length, and what it stands for; 0: none does. SIZE_MAX: more
 * of the text must come first to tell, at most as many bytes in all as the longest placeholder has; never
 * where the text is `whole`. */
size_t router_mask_match(struct mask *m, struct str text, size_t at, bool whole, struct str *original);

#endif

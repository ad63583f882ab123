/* What shows only where a request's pieces are put together: the parts of a message, one message and the
 * next, texts to embed. */
#ifndef WEIR_ROUTER_SEAM_H
#define WEIR_ROUTER_SEAM_H

#include "router/router.h"

struct seam {
    struct str where, text;
    const size_t *cuts; /* code points of the text at which a piece ends, in order */
    size_t n_cuts;
    bool glued; /* nothing was put between the pieces */
    bool apart; /* they need not belong together: what counts is what goes over a cut */
};

/* Calls look(ctx, seam) for each; the text lives during the call, `where` in the arena. A return that is not
 * 0 stops the walk and is returned. */
typedef int seam_look(void *ctx, const struct seam *s);
int seam_visit(const struct chat_request *r, seam_look *look, void *ctx, struct error *err) MUST_USE;
/* Does a finding go over one of the cuts? */
bool seam_crossed(const struct seam *s, const struct router_entity *e);

#endif

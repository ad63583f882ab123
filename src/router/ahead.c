#include "router/ahead.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/must.h"

struct ahead_text {
    struct ahead_text *next;
    struct str text;
    struct detect_memo_place place;
    struct router_findings found;
    int rc;
    struct error err;
};

struct router_ahead {
    struct arena *arena;
    const struct detect_own *own;
    struct ahead_text *texts;
    bool judged;
};

bool router_ahead_waits(const struct router_ahead *a)
{
    return a && !a->judged;
}

void router_ahead_judge(struct router_ahead *a)
{
    for (struct ahead_text *t = a->texts; t; t = t->next) {
        /* Another request may have brought it meanwhile. */
        t->rc = detect_memo_recall(&t->place, a->arena, STR_NONE, &t->found, &t->err);
        if (t->rc == DETECT_MEMO_NONE)
            t->rc = detect_memo_judge(&t->place, a->own, a->arena, STR_NONE, t->text, &t->found, &t->err);
    }
    a->judged = true;
}

void router_ahead_free(struct router_ahead *a)
{
    if (a)
        arena_free(a->arena);
    free(a);
}

static const struct ahead_text *find(const struct router_ahead *a, const struct detect_memo_place *place)
{
    const struct ahead_text *t = a ? a->texts : NULL;
    while (t && (t->place.len != place->len || memcmp(t->place.key, place->key, sizeof place->key) != 0))
        t = t->next;
    return t;
}

/* False: there is no memory for it. */
static bool note(struct router_ahead **ahead, const struct detect_own *own,
    const struct detect_memo_place *place, struct str text)
{
    struct router_ahead *a = *ahead;
    if (!a) {
        a = *ahead = must(calloc(1, sizeof *a));
        a->arena = arena_create(LIMIT_REQUEST_MEMORY);
        a->own = own;
        a->judged = true; /* nothing is to be */
    }
    if (arena_used(a->arena) + text.len > LIMIT_REQUEST_MEMORY / 2) /* findings want some, too */
        return false;
    struct ahead_text *t = arena_try_array(a->arena, struct ahead_text, 1);
    if (!t || arena_try_copy(a->arena, text, &t->text))
        return false;
    t->place = *place;
    t->next = a->texts;
    a->texts = t;
    a->judged = false;
    return true;
}

int router_ahead_take(struct router_ahead **ahead, const struct detect_own *own,
    const struct detect_memo_place *place, struct arena *a, struct str where, struct str text,
    struct router_findings *f, struct error *err)
{
    const bool judged = *ahead && (*ahead)->judged; /* too late to be noted */
    const struct ahead_text *t = find(*ahead, place);
    if (!t)
        return !judged && note(ahead, own, place, text) ? 0 : DETECT_MEMO_NONE;
    if (!judged)
        return 0;
    return t->rc ? error_set(err, t->rc, "%s", t->err.message)
                 : detect_findings_join(a, where, &t->found, f, err);
}

#include "router/ahead.h"

#include <stdlib.h>

#include "base/limits.h"
#include "base/must.h"
#include "router/detect_memo.h"

struct ahead_text {
    struct ahead_text *next;
    struct str text;
    struct router_findings found;
    int rc;
    struct error err;
};

struct router_ahead {
    struct arena *arena;
    const struct detect_own *own;
    struct str who;
    struct ahead_text *texts;
    bool judged;
};

bool router_ahead_waits(const struct router_ahead *a)
{
    return a && !a->judged;
}

void router_ahead_judge(struct router_ahead *a)
{
    for (struct ahead_text *t = a->texts; t; t = t->next)
        t->rc = detect_memo_look(a->own, a->arena, a->who, STR_NONE, t->text, &t->found, NULL, &t->err);
    a->judged = true;
}

void router_ahead_free(struct router_ahead *a)
{
    if (a)
        arena_free(a->arena);
    free(a);
}

static const struct ahead_text *find(const struct router_ahead *a, struct str text)
{
    const struct ahead_text *t = a ? a->texts : NULL;
    while (t && !str_eq(t->text, text))
        t = t->next;
    return t;
}

static bool note(struct router_ahead **ahead, const struct detect_own *own, struct str who, struct str text)
{
    struct router_ahead *a = *ahead;
    if (!a) {
        a = *ahead = must(calloc(1, sizeof *a));
        a->arena = arena_create(LIMIT_REQUEST_MEMORY);
        a->own = own;
        a->who = arena_copy(a->arena, who);
        a->judged = true; /* nothing is to be */
    }
    if (arena_used(a->arena) + text.len > LIMIT_REQUEST_MEMORY / 2) /* findings want some, too */
        return false;
    struct ahead_text *t = arena_try_array(a->arena, struct ahead_text, 1);
    if (!t || arena_try_copy(a->arena, text, &t->text))
        return false;
    t->next = a->texts;
    a->texts = t;
    a->judged = false;
    return true;
}

bool router_ahead_take(struct router_ahead **ahead, const struct detect_own *own, struct arena *a,
    struct str who, struct str where, struct str text, struct router_findings *f, int *rc, struct error *err)
{
    const struct ahead_text *t = find(*ahead, text);
    *rc = 0;
    if (!t && *ahead && (*ahead)->judged)
        return false; /* too late to be noted */
    if (!t)
        return !detect_memo_knows(own, who, text) && note(ahead, own, who, text);
    if ((*ahead)->judged)
        *rc = t->rc ? error_set(err, t->rc, "%s", t->err.message)
                    : detect_findings_join(a, where, &t->found, f, err);
    return true;
}

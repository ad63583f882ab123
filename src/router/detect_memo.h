/* What was found in a text that was looked at before: chats send their system prompt and earlier turns again
 * with every request. */
#ifndef WEIR_ROUTER_DETECT_MEMO_H
#define WEIR_ROUTER_DETECT_MEMO_H

#include "router/detect_memo_key.h"
#include "router/router.h"

/* Where a text stands in the memory: what else depends on nothing but the text is kept beside its findings.
 */
struct detect_memo_place {
    unsigned char key[DETECT_MEMO_KEY];
    uint32_t len; /* 0: nowhere */
};

/* As router_detect_own, and adds the same. `who`: the caller; what one has sent makes nothing quicker for
 * another, so that nobody can try out what others wrote. Thread-safe. */
int detect_memo_look(const struct detect_own *own, struct arena *a, struct str who, struct str where,
    struct str text, struct router_findings *f, struct error *err) MUST_USE;

/* The steps of that: whose it is; where the text stands; what is kept there (DETECT_MEMO_NONE: nothing); else
 * it is judged, and that kept. */
enum { DETECT_MEMO_NONE = 1 };
void detect_memo_caller(const struct detect_own *own, struct str who, struct detect_memo_caller *caller);
void detect_memo_find(
    const struct detect_memo_caller *caller, struct str text, struct detect_memo_place *place);
int detect_memo_recall(const struct detect_memo_place *place, struct arena *a, struct str where,
    struct router_findings *f, struct error *err) MUST_USE;
int detect_memo_judge(const struct detect_memo_place *place, const struct detect_own *own, struct arena *a,
    struct str where, struct str text, struct router_findings *f, struct error *err) MUST_USE;
/* What one look found joins what others did. */
int detect_findings_join(struct arena *a, struct str where, const struct router_findings *found,
    struct router_findings *f, struct error *err) MUST_USE;

/* Of whole trees of which nothing was found, neither in one of their strings nor in them as a text: they have
 * places of their own, under keys of their own. */
void detect_memo_caller_trees(
    const struct detect_own *own, struct str who, struct detect_memo_caller *caller);
bool detect_memo_is_clean(const struct detect_memo_place *place);
void detect_memo_keep_clean(const struct detect_memo_place *place);

/* How hard the text is (router_score); NaN: that is not kept. */
double detect_memo_score(const struct detect_memo_place *place);
void detect_memo_score_keep(const struct detect_memo_place *place, double score);

#endif

/* A fixed table, so that memory is bounded: sets of a few slots, the one used last first, and what is new
 * pushes out the last.
 *
 *   128 bits under a key made at the start, of the owner's layer, the caller and the text (detect_memo_key.h)
 *   --> set --> slot --> findings
 *
 * A slot is used only when all 128 bits and the length are the same. Kept are whole results of looks that did
 * not fail: findings depend on nothing but the text and the owner's own layer. */
#include "router/detect_memo.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "router/detect_own.h"

enum {
    SETS = 8192,
    WAYS = 4,
    LOCKS = 64,       /* a set's is one of these: loops seldom wait for each other */
    ENTITIES_MAX = 32 /* of a text that is kept; others are looked at again */
};
#define HELD_MAX (8 * MIB) /* of all findings kept */

struct memo_slot {
    unsigned char key[DETECT_MEMO_KEY];
    uint32_t len; /* 0: empty */
    uint16_t categories, n_entities;
    struct router_entity *entities; /* `where` is the caller's; NULL: none */
    double score;                   /* NaN: not known */
};

struct memo_found {
    unsigned categories;
    size_t n_entities;
    struct router_entity entities[ENTITIES_MAX];
};

static _Alignas(64) struct memo_slot sets[SETS][WAYS];
static pthread_mutex_t locks[LOCKS] = {[0 ... LOCKS - 1] = PTHREAD_MUTEX_INITIALIZER};
static _Atomic size_t held;

static uint32_t set_of(const unsigned char *key)
{
    uint32_t at;
    memcpy(&at, key, sizeof at);
    return at % SETS;
}

/* The text's slot, which is the set's first from now on, or NULL. The set's lock is held. */
static struct memo_slot *slot_find(struct memo_slot *set, const unsigned char *key, size_t len)
{
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].len != len || memcmp(set[i].key, key, sizeof set[i].key) != 0)
            continue;
        struct memo_slot found = set[i];
        memmove(set + 1, set, i * sizeof *set);
        set[0] = found;
        return set;
    }
    return NULL;
}

static bool recall(const unsigned char *key, size_t len, struct memo_found *out)
{
    uint32_t at = set_of(key);
    pthread_mutex_lock(&locks[at % LOCKS]);
    const struct memo_slot *s = slot_find(sets[at], key, len);
    if (s) {
        out->categories = s->categories;
        out->n_entities = s->n_entities;
        for (size_t i = 0; i < s->n_entities; i++)
            out->entities[i] = s->entities[i];
    }
    pthread_mutex_unlock(&locks[at % LOCKS]);
    return s != NULL;
}

static void entities_drop(struct router_entity *entities, size_t n)
{
    if (!entities)
        return;
    free(entities);
    atomic_fetch_sub(&held, n * sizeof *entities);
}

/* A copy to keep; false where there is no room for it. */
static bool entities_keep(const struct router_findings *f, struct router_entity **out)
{
    size_t bytes = f->n_entities * sizeof **out;
    *out = NULL;
    if (bytes == 0)
        return true;
    if (atomic_fetch_add(&held, bytes) + bytes <= HELD_MAX)
        *out = malloc(bytes);
    if (!*out) {
        atomic_fetch_sub(&held, bytes);
        return false;
    }
    for (size_t i = 0; i < f->n_entities; i++) {
        (*out)[i] = f->entities[i];
        (*out)[i].where = STR_NONE;
    }
    return true;
}

static void keep(const unsigned char *key, size_t len, const struct router_findings *f)
{
    uint32_t at = set_of(key);
    struct memo_slot *set = sets[at], new = {.len = (uint32_t)len,
                                          .categories = (uint16_t)f->categories,
                                          .n_entities = (uint16_t)f->n_entities,
                                          .score = NAN};
    if (f->n_entities > ENTITIES_MAX || f->more > 0 || !entities_keep(f, &new.entities))
        return;
    memcpy(new.key, key, sizeof new.key);
    pthread_mutex_lock(&locks[at % LOCKS]);
    struct memo_slot old = new; /* another thread may have been quicker */
    if (!slot_find(set, key, len)) {
        old = set[WAYS - 1];
        memmove(set + 1, set, (WAYS - 1) * sizeof *set);
        set[0] = new;
    }
    pthread_mutex_unlock(&locks[at % LOCKS]);
    entities_drop(old.entities, old.n_entities);
}

int detect_findings_join(struct arena *a, struct str where, const struct router_findings *found,
    struct router_findings *f, struct error *err)
{
    int rc = 0;
    for (size_t i = 0; i < found->n_entities && rc == 0; i++) {
        struct router_entity e = found->entities[i];
        e.where = where;
        rc = detect_entity_add(a, f, &e, err);
    }
    for (size_t i = 0; i < found->n_more_types && rc == 0; i++)
        rc = detect_more_type_add(a, f, found->more_types[i], err);
    f->more += found->more;
    f->categories |= found->categories;
    f->sensitive = f->categories != 0;
    return rc;
}

double detect_memo_score(const struct detect_memo_place *place)
{
    if (place->len == 0)
        return NAN;
    uint32_t at = set_of(place->key);
    pthread_mutex_lock(&locks[at % LOCKS]);
    const struct memo_slot *s = slot_find(sets[at], place->key, place->len);
    double score = s ? s->score : NAN;
    pthread_mutex_unlock(&locks[at % LOCKS]);
    return score;
}

void detect_memo_score_keep(const struct detect_memo_place *place, double score)
{
    if (place->len == 0)
        return;
    uint32_t at = set_of(place->key);
    pthread_mutex_lock(&locks[at % LOCKS]);
    struct memo_slot *s = slot_find(sets[at], place->key, place->len);
    if (s)
        s->score = score;
    pthread_mutex_unlock(&locks[at % LOCKS]);
}

void detect_memo_caller(const struct detect_own *own, struct str who, struct detect_memo_caller *caller)
{
    detect_memo_caller_make(own ? own->version : 0, who, caller);
}

void detect_memo_caller_trees(const struct detect_own *own, struct str who, struct detect_memo_caller *caller)
{
    const uint64_t trees = (uint64_t)1 << 63; /* versions count from 1 */
    detect_memo_caller_make(trees | (own ? own->version : 0), who, caller);
}

void detect_memo_find(
    const struct detect_memo_caller *caller, struct str text, struct detect_memo_place *place)
{
    *place = (struct detect_memo_place){.len = text.len > UINT32_MAX ? 0 : (uint32_t)text.len};
    if (place->len > 0)
        detect_memo_key_make(caller, text, place->key);
}

int detect_memo_recall(const struct detect_memo_place *place, struct arena *a, struct str where,
    struct router_findings *f, struct error *err)
{
    struct memo_found kept;
    if (place->len == 0 || !recall(place->key, place->len, &kept))
        return DETECT_MEMO_NONE;
    const struct router_findings found = {
        .entities = kept.entities, .n_entities = kept.n_entities, .categories = kept.categories};
    return detect_findings_join(a, where, &found, f, err);
}

int detect_memo_judge(const struct detect_memo_place *place, const struct detect_own *own, struct arena *a,
    struct str where, struct str text, struct router_findings *f, struct error *err)
{
    struct router_findings found = {0};
    int rc = router_detect_own(own, a, where, text, &found, err);
    if (rc)
        return rc;
    if (place->len > 0)
        keep(place->key, place->len, &found);
    return detect_findings_join(a, where, &found, f, err);
}

bool detect_memo_is_clean(const struct detect_memo_place *place)
{
    struct memo_found kept;
    return place->len > 0 && recall(place->key, place->len, &kept);
}

void detect_memo_keep_clean(const struct detect_memo_place *place)
{
    if (place->len > 0)
        keep(place->key, place->len, &(struct router_findings){0});
}

int detect_memo_look(const struct detect_own *own, struct arena *a, struct str who, struct str where,
    struct str text, struct router_findings *f, struct error *err)
{
    struct detect_memo_caller caller;
    struct detect_memo_place place;
    detect_memo_caller(own, who, &caller);
    detect_memo_find(&caller, text, &place);
    int rc = detect_memo_recall(&place, a, where, f, err);
    return rc == DETECT_MEMO_NONE ? detect_memo_judge(&place, own, a, where, text, f, err) : rc;
}

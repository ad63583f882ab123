/* A fixed table, so that memory is bounded; a text replaces the one whose slot it falls into.
 *
 *   128 bits of SipHash under a key made at the start, over the owner's layer, the caller and the text -->
 * slot --> findings
 *
 * A slot is used only when all 128 bits and the length are the same. Kept are whole results of looks that did
 * not fail: findings depend on nothing but the text and the owner's own layer. */
#include "router/detect_memo.h"

#include <pthread.h>
#include <sodium.h>
#include <string.h>

#include "router/detect_own.h"

enum {
    SLOTS = 4096,
    ENTITIES_MAX = 12, /* of a text that is kept; others are looked at again */
    LEAST = 96,
    MOST = 1 << 20 /* bytes of such a text */
};

struct memo_slot {
    unsigned char key[crypto_shorthash_siphashx24_BYTES];
    size_t len; /* 0: empty */
    unsigned categories;
    unsigned n_entities;
    struct router_entity entities[ENTITIES_MAX]; /* `where` is the caller's */
};

static struct memo_slot slots[SLOTS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static unsigned char secret[crypto_shorthash_siphashx24_KEYBYTES];

static void secret_make(void)
{
    randombytes_buf(secret, sizeof secret);
}

static void key_make(const struct detect_own *own, struct str who, struct str text,
    unsigned char key[crypto_shorthash_siphashx24_BYTES])
{
    unsigned char of_caller[crypto_shorthash_siphashx24_KEYBYTES];
    uint64_t version = own ? own->version : 0;
    pthread_once(&once, secret_make);
    crypto_shorthash_siphashx24(of_caller, (const unsigned char *)(who.len ? who.data : ""), who.len, secret);
    for (size_t i = 0; i < sizeof version; i++)
        of_caller[i] ^= (unsigned char)(version >> 8 * i);
    crypto_shorthash_siphashx24(key, (const unsigned char *)text.data, text.len, of_caller);
}

static struct memo_slot *slot_of(const unsigned char *key)
{
    uint32_t at;
    memcpy(&at, key, sizeof at);
    return &slots[at % SLOTS];
}

static bool recall(const unsigned char *key, size_t len, struct memo_slot *out)
{
    pthread_mutex_lock(&lock);
    const struct memo_slot *s = slot_of(key);
    bool same = s->len == len && memcmp(s->key, key, sizeof s->key) == 0;
    if (same) {
        out->categories = s->categories;
        out->n_entities = s->n_entities;
        memcpy(out->entities, s->entities, s->n_entities * sizeof *s->entities);
    }
    pthread_mutex_unlock(&lock);
    return same;
}

static void keep(const unsigned char *key, size_t len, const struct router_findings *f)
{
    if (f->n_entities > ENTITIES_MAX || f->more > 0)
        return;
    pthread_mutex_lock(&lock);
    struct memo_slot *s = slot_of(key);
    memcpy(s->key, key, sizeof s->key);
    s->len = len;
    s->categories = f->categories;
    s->n_entities = (unsigned)f->n_entities;
    for (size_t i = 0; i < f->n_entities; i++) {
        s->entities[i] = f->entities[i];
        s->entities[i].where = STR_NONE;
    }
    pthread_mutex_unlock(&lock);
}

/* What one look found joins what others did. */
static int join(struct arena *a, struct str where, const struct router_findings *found,
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

int detect_memo_look(const struct detect_own *own, struct arena *a, struct str who, struct str where,
    struct str text, struct router_findings *f, struct error *err)
{
    unsigned char key[crypto_shorthash_siphashx24_BYTES];
    struct router_findings found = {0};
    struct memo_slot kept;
    if (text.len < LEAST || text.len > MOST)
        return router_detect_own(own, a, where, text, f, err);
    key_make(own, who, text, key);
    if (recall(key, text.len, &kept)) {
        found.entities = kept.entities;
        found.n_entities = kept.n_entities;
        found.categories = kept.categories;
        return join(a, where, &found, f, err);
    }
    int rc = router_detect_own(own, a, where, text, &found, err);
    if (rc)
        return rc;
    keep(key, text.len, &found);
    return join(a, where, &found, f, err);
}

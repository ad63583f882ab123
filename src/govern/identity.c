/* Who is asking. Requests are answered from a snapshot in memory and never touch the store.
 *
 *   weir_<id: 12>_<secret: 48>, base 62        stored: id, salt, BLAKE2b(key; salt, "weir.api-key.v1")
 *
 * The secret carries 285 random bits, so that a fast hash is enough: there is nothing to guess from a stolen
 * one.
 *
 *   keys -> snapshot (counted)   readers copy the pointer under a mutex, the refresher swaps it; nobody waits
 * for the store, and the last one to leave an old snapshot frees it                     */
#include <assert.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/must.h"
#include "base/rand.h"
#include "govern/govern.h"
#include "govern/limits.h"

#define KEY_PREFIX "weir_"

enum { ID_LENGTH = 12, SECRET_LENGTH = 48, KEY_LENGTH = 5 + ID_LENGTH + 1 + SECRET_LENGTH };

struct entry {
    struct govern_identity identity;
    unsigned char salt[16], hash[32];
    bool revoked;
    int64_t expires_ms;
};

struct snapshot {
    _Atomic int holders;
    struct map by_id; /* to an index into entries */
    struct entry *entries;
    size_t n, capacity;
};

struct govern_keys {
    struct store *store;
    pthread_mutex_t refresh; /* one at a time; guards `changes` */
    int64_t changes;         /* of the store when it was read */
    struct entry dummy;
    pthread_mutex_t mutex; /* guards the pointer */
    struct snapshot *snapshot;
};

static void key_hash(struct str key, const unsigned char salt[16], unsigned char out[32])
{
    static const unsigned char domain[crypto_generichash_blake2b_PERSONALBYTES] = "weir.api-key.v1";
    int rc = crypto_generichash_blake2b_salt_personal(
        out, 32, (const unsigned char *)key.data, key.len, NULL, 0, salt, domain);
    assert(rc == 0);
    (void)rc;
}

/* ---- The snapshot. ---- */

static struct snapshot *snapshot_take(struct govern_keys *k)
{
    pthread_mutex_lock(&k->mutex);
    struct snapshot *s = k->snapshot;
    atomic_fetch_add(&s->holders, 1);
    pthread_mutex_unlock(&k->mutex);
    return s;
}

static void snapshot_release(struct snapshot *s)
{
    if (!s || atomic_fetch_sub(&s->holders, 1) != 1)
        return;
    map_free(&s->by_id);
    free(s->entries);
    free(s);
}

static void text_copy(char *out, size_t size, struct str s)
{
    size_t n = str_utf8_floor(s.data, s.len < size ? s.len : size - 1);
    memcpy(out, s.data, n);
    out[n] = '\0';
}

/* A key that does not fit is one this program did not make; cutting its team short could name another team.
 */
static bool key_fits(const struct store_key *key)
{
    const struct govern_identity *to = NULL;
    return key->id.len < sizeof to->key_id && key->team.len < sizeof to->team;
}

static int key_load(void *ctx, const struct store_key *key)
{
    struct snapshot *s = ctx;
    if (!key_fits(key)) {
        log_warn("govern", "a key is left out: its id or team is too long");
        return 0;
    }
    if (s->n == s->capacity) {
        s->capacity = s->capacity ? s->capacity * 2 : 16;
        s->entries = must(reallocarray(s->entries, s->capacity, sizeof *s->entries));
    }
    struct entry *e = &s->entries[s->n++];
    *e = (struct entry){.revoked = key->revoked_ms != 0, .expires_ms = key->expires_ms};
    text_copy(e->identity.key_id, sizeof e->identity.key_id, key->id);
    text_copy(e->identity.name, sizeof e->identity.name, key->name);
    text_copy(e->identity.team, sizeof e->identity.team, key->team);
    e->identity.admin = str_is(key->role, "admin");
    memcpy(e->salt, key->salt, sizeof e->salt);
    memcpy(e->hash, key->hash, sizeof e->hash);
    return 0;
}

static int snapshot_load(struct store *store, struct snapshot **out, struct error *err)
{
    struct snapshot *s = must(calloc(1, sizeof *s));
    atomic_init(&s->holders, 1);
    int rc = store_key_list(store, key_load, s, err);
    if (rc == 0)
        rc = map_init(&s->by_id, s->n, err);
    for (size_t i = 0; i < s->n && rc == 0; i++) {
        bool added;
        rc = map_add(&s->by_id, str_from(s->entries[i].identity.key_id), (uint32_t)i, &added, err);
    }
    if (rc) {
        snapshot_release(s);
        return rc;
    }
    *out = s;
    return 0;
}

/* The count is read before the keys: a change in between is seen the next time. */
static int reload(struct govern_keys *k, int64_t changes, struct error *err)
{
    struct snapshot *fresh;
    int rc = snapshot_load(k->store, &fresh, err);
    if (rc)
        return rc;
    pthread_mutex_lock(&k->mutex);
    struct snapshot *old = k->snapshot;
    k->snapshot = fresh;
    pthread_mutex_unlock(&k->mutex);
    snapshot_release(old);
    k->changes = changes;
    return 0;
}

int govern_keys_create(struct store *s, struct govern_keys **out, struct error *err)
{
    if (sodium_init() < 0)
        return error_set(err, ERROR_INTERNAL, "the cryptography library does not start");
    struct govern_keys *k = must(calloc(1, sizeof *k));
    k->store = s;
    rand_bytes(k->dummy.salt, sizeof k->dummy.salt);
    rand_bytes(k->dummy.hash, sizeof k->dummy.hash);
    pthread_mutex_init(&k->mutex, NULL);
    pthread_mutex_init(&k->refresh, NULL);
    int rc = reload(k, store_change_count(s), err);
    if (rc) {
        govern_keys_free(k);
        return rc;
    }
    *out = k;
    return 0;
}

void govern_keys_free(struct govern_keys *k)
{
    if (!k)
        return;
    snapshot_release(k->snapshot);
    pthread_mutex_destroy(&k->mutex);
    pthread_mutex_destroy(&k->refresh);
    free(k);
}

int govern_keys_refresh(struct govern_keys *k, struct error *err)
{
    pthread_mutex_lock(&k->refresh);
    int64_t changes = store_change_count(k->store);
    int rc = changes == k->changes ? 0 : reload(k, changes, err);
    pthread_mutex_unlock(&k->refresh);
    return rc;
}

static bool entry_is_usable(const struct entry *e, int64_t now_ms)
{
    return !e->revoked && (e->expires_ms == 0 || now_ms < e->expires_ms);
}

int64_t govern_keys_count(struct govern_keys *k)
{
    struct snapshot *s = snapshot_take(k);
    int64_t now_ms = clock_wall_ms(), count = 0;
    for (size_t i = 0; i < s->n; i++)
        count += entry_is_usable(&s->entries[i], now_ms);
    snapshot_release(s);
    return count;
}

/* ---- Checking. ---- */

/* The id inside a key of the right shape, else an id that no key has. */
static struct str key_id_of(struct str key)
{
    if (key.len != KEY_LENGTH || !str_starts(key, STR(KEY_PREFIX)) || key.data[5 + ID_LENGTH] != '_')
        return STR_NONE;
    return str_slice(key, 5, 5 + ID_LENGTH);
}

/* Every key costs one hash of the same length and one comparison, whether its id is known or not, so that the
 * time an answer takes tells nothing about ids or hashes. */
int govern_keys_check(
    struct govern_keys *k, struct str secret, struct govern_identity *out, struct error *err)
{
    char padded[KEY_LENGTH] = {0};
    unsigned char hash[32];
    struct str id = key_id_of(secret);
    size_t n = secret.len < KEY_LENGTH ? secret.len : KEY_LENGTH;
    if (n > 0)
        memcpy(padded, secret.data, n);
    struct snapshot *s = snapshot_take(k);
    const uint32_t *at = map_find(&s->by_id, id);
    const struct entry *e = at ? &s->entries[*at] : &k->dummy;
    key_hash((struct str){padded, sizeof padded}, e->salt, hash);
    bool same = sodium_memcmp(hash, e->hash, sizeof hash) == 0;
    bool allowed = same && at && id.len > 0 && entry_is_usable(e, clock_wall_ms());
    if (allowed)
        *out = e->identity;
    snapshot_release(s);
    sodium_memzero(padded, sizeof padded);
    if (allowed)
        return 0;
    return error_set(err, ERROR_DENIED,
        "no valid API key: send one as \"Authorization: Bearer weir_...\" (weir keys create makes one)");
}

/* ---- Making. ---- */

static int label_check(const char *what, struct str s, size_t size, struct error *err)
{
    if (s.len >= size)
        return error_set(err, ERROR_INVALID, "the %s is longer than %zu bytes", what, size - 1);
    if (!str_utf8_valid(s))
        return error_set(err, ERROR_INVALID, "the %s is not UTF-8", what);
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.data[i] < ' ' || s.data[i] == 0x7f)
            return error_set(err, ERROR_INVALID, "the %s holds a control character", what);
    return 0;
}

static void key_write(char shown[96])
{
    char id[32], first[32], second[32];
    rand_id("", id, sizeof id);
    rand_id("", first, sizeof first);
    rand_id("", second, sizeof second);
    memcpy(shown, KEY_PREFIX, 5);
    memcpy(shown + 5, id, ID_LENGTH);
    shown[5 + ID_LENGTH] = '_';
    memcpy(shown + 6 + ID_LENGTH, first, SECRET_LENGTH / 2);
    memcpy(shown + 6 + ID_LENGTH + SECRET_LENGTH / 2, second, SECRET_LENGTH / 2);
    shown[KEY_LENGTH] = '\0';
    sodium_memzero(first, sizeof first);
    sodium_memzero(second, sizeof second);
}

int govern_key_create(struct store *s, const struct govern_key_options *o, char shown[96],
    struct store_done done, struct error *err)
{
    struct govern_identity *to = NULL;
    int rc = o->name.len > 0 ? 0 : error_set(err, ERROR_INVALID, "a key needs a name: give one with --name");
    if (rc == 0)
        rc = label_check("name", o->name, sizeof to->name, err);
    if (rc == 0)
        rc = label_check("team", o->team, sizeof to->team, err);
    if (rc == 0 && str_is(o->team, LIMITS_EVERYONE))
        rc = error_set(err, ERROR_INVALID, "the team '*' is everyone: give the key another, or none");
    if (rc == 0 && sodium_init() < 0)
        rc = error_set(err, ERROR_INTERNAL, "the cryptography library does not start");
    if (rc)
        return rc;
    key_write(shown);
    struct store_key key = {
        .id = {shown + 5, ID_LENGTH},
        .name = o->name,
        .team = o->team,
        .role = o->admin ? STR("admin") : STR("user"),
        .created_ms = clock_wall_ms(),
        .expires_ms = o->expires_ms,
    };
    rand_bytes(key.salt, sizeof key.salt);
    key_hash((struct str){shown, KEY_LENGTH}, key.salt, key.hash);
    rc = store_key_add(s, &key, done, err);
    if (rc)
        sodium_memzero(shown, 96);
    return rc;
}

#include "engine/worker/spill.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/rand.h"

_Static_assert(SPILL_KEY_BYTES == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "key");
_Static_assert(SPILL_NONCE_BYTES == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "nonce");
_Static_assert(SPILL_TAG_BYTES == crypto_aead_xchacha20poly1305_ietf_ABYTES, "tag");

enum {
    RECORDS_MOST = 1 << 18,
    REST_MS = 60 * 1000 /* after a write that failed none is tried for so long */
};

struct record {
    struct list age; /* the longest unused first; alone: it holds nothing */
    struct spill_name name;
    int64_t written_ms;
    int32_t next; /* in its bucket; -1: the last one */
};

struct spill {
    struct spill_options o;
    uint8_t name_key[SPILL_KEY_BYTES];
    struct spill_name owner; /* all names follow on from it */
    size_t record_bytes;
    int32_t n_records, n_buckets, n_held;
    struct record *records;
    int32_t *buckets;
    struct list ages, empty;
    int64_t rest_until; /* by the monotonic clock */
    bool told_broken;
    char *buffer; /* a record */
};

void spill_name(const struct spill *s, const struct spill_name *parent, const void *bytes, size_t len,
    struct spill_name *out)
{
    crypto_generichash_state state;
    crypto_generichash_init(&state, s->name_key, sizeof s->name_key, sizeof out->bytes);
    crypto_generichash_update(&state, (parent ? parent : &s->owner)->bytes, sizeof s->owner.bytes);
    crypto_generichash_update(&state, bytes, len);
    crypto_generichash_final(&state, out->bytes, sizeof out->bytes);
}

/* ---- Which record holds what ---- */

static int32_t *bucket_of(const struct spill *s, const struct spill_name *name)
{
    uint32_t hash;
    memcpy(&hash, name->bytes, sizeof hash); /* names are hashes by a secret key */
    return &s->buckets[hash & (uint32_t)(s->n_buckets - 1)];
}

static struct record *record_find(const struct spill *s, const struct spill_name *name)
{
    for (int32_t i = *bucket_of(s, name); i >= 0; i = s->records[i].next)
        if (memcmp(&s->records[i].name, name, sizeof *name) == 0)
            return &s->records[i];
    return NULL;
}

static void record_forget(struct spill *s, struct record *r)
{
    int32_t *at = bucket_of(s, &r->name), own = (int32_t)(r - s->records);
    while (*at != own)
        at = &s->records[*at].next;
    *at = r->next;
    list_remove(&r->age);
    list_push_back(&s->empty, &r->age);
    s->n_held--;
}

static void record_hold(struct spill *s, struct record *r, const struct spill_name *name, int64_t written_ms)
{
    int32_t *first = bucket_of(s, name);
    r->name = *name;
    r->written_ms = written_ms;
    r->next = *first;
    *first = (int32_t)(r - s->records);
    list_remove(&r->age);
    list_push_back(&s->ages, &r->age);
    s->n_held++;
}

static struct record *record_use(struct spill *s, const struct spill_name *name)
{
    struct record *r = record_find(s, name);
    if (!r)
        return NULL;
    if (s->o.keep_ms > 0 && r->written_ms < clock_wall_ms() - s->o.keep_ms) {
        record_forget(s, r);
        return NULL;
    }
    list_remove(&r->age);
    list_push_back(&s->ages, &r->age);
    return r;
}

bool spill_has(struct spill *s, const struct spill_name *name)
{
    return record_use(s, name) != NULL;
}

bool spill_wants(struct spill *s, const struct spill_name *name)
{
    return !spill_has(s, name) && clock_mono_ms() >= s->rest_until;
}

void spill_forget(struct spill *s, const struct spill_name *name)
{
    struct record *r = record_find(s, name);
    if (r)
        record_forget(s, r);
}

int32_t spill_count(const struct spill *s)
{
    return s->n_held;
}

char *spill_page(struct spill *s)
{
    return s->buffer + sizeof(struct spill_head);
}

/* ---- The file ---- */

static off_t place_of(const struct spill *s, const struct record *r)
{
    return (off_t)(sizeof(struct spill_header) + (size_t)(r - s->records) * s->record_bytes);
}

static bool read_all(int fd, void *to, size_t bytes, off_t at)
{
    for (size_t done = 0; done < bytes;) {
        const ssize_t n = pread(fd, (char *)to + done, bytes - done, at + (off_t)done);
        if (n == 0)
            errno = 0; /* the file is shorter than that */
        if (n <= 0 && !(n < 0 && errno == EINTR))
            return false;
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

static bool write_all(int fd, const void *from, size_t bytes, off_t at)
{
    for (size_t done = 0; done < bytes;) {
        const ssize_t n = pwrite(fd, (const char *)from + done, bytes - done, at + (off_t)done);
        if (n == 0)
            errno = ENOSPC;
        if (n <= 0 && !(n < 0 && errno == EINTR))
            return false;
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

void spill_write(struct spill *s, const struct spill_name *name)
{
    struct spill_head head = {.magic = SPILL_RECORD, .written_ms = clock_wall_ms()};
    unsigned char *page = (unsigned char *)spill_page(s);
    if (!spill_wants(s, name))
        return;
    struct list *place = list_empty(&s->empty) ? s->ages.next : s->empty.next;
    struct record *r = list_item(place, struct record, age);
    if (list_empty(&s->empty))
        record_forget(s, r);
    memcpy(head.name, name->bytes, sizeof head.name);
    rand_bytes(head.nonce, sizeof head.nonce);
    memcpy(s->buffer, &head, sizeof head);
    crypto_aead_xchacha20poly1305_ietf_encrypt(page, NULL, page, s->o.page_bytes, (unsigned char *)s->buffer,
        sizeof head, NULL, head.nonce, s->o.key);
    if (write_all(s->o.fd, s->buffer, s->record_bytes, place_of(s, r))) {
        record_hold(s, r, name, head.written_ms);
        return;
    }
    s->rest_until = clock_mono_ms() + REST_MS;
    log_warn("spill", "a page of the KV cache cannot be written to disk (%s): none is for %d seconds",
        strerror(errno), REST_MS / 1000);
}

/* Is what stands in the buffer the record that was asked for? Then the page is decrypted. */
static bool record_verify(struct spill *s, const struct spill_name *name)
{
    struct spill_head head;
    unsigned char *page = (unsigned char *)spill_page(s);
    memcpy(&head, s->buffer, sizeof head);
    return head.magic == SPILL_RECORD && memcmp(head.name, name->bytes, sizeof head.name) == 0 &&
           crypto_aead_xchacha20poly1305_ietf_decrypt(page, NULL, NULL, page,
               s->o.page_bytes + SPILL_TAG_BYTES, (unsigned char *)s->buffer, sizeof head, head.nonce,
               s->o.key) == 0;
}

bool spill_read(struct spill *s, const struct spill_name *name)
{
    struct record *r = record_use(s, name);
    if (!r)
        return false;
    const bool whole = read_all(s->o.fd, s->buffer, s->record_bytes, place_of(s, r));
    if (whole && record_verify(s, name))
        return true;
    if (!s->told_broken)
        log_warn("spill", "a page of the KV cache on disk is %s: it and others like it are computed anew",
            whole        ? "damaged"
            : errno == 0 ? "gone"
                         : strerror(errno));
    s->told_broken = true;
    record_forget(s, r);
    return false;
}

/* ---- Opening ---- */

static void header_fill(const struct spill *s, struct spill_header *h)
{
    *h = (struct spill_header){
        .magic = SPILL_MAGIC, .version = SPILL_VERSION, .record_bytes = s->record_bytes};
    memcpy(h->owner, s->owner.bytes, sizeof h->owner);
}

/* Only those of the limit stay. Another's file is emptied. */
static int file_begin(struct spill *s, bool *ours, struct error *err)
{
    struct spill_header own, there = {0};
    const off_t most = (off_t)(sizeof own + (size_t)s->n_records * s->record_bytes);
    header_fill(s, &own);
    const off_t size = lseek(s->o.fd, 0, SEEK_END);
    *ours = read_all(s->o.fd, &there, sizeof there, 0) && memcmp(&there, &own, sizeof own) == 0;
    if (!*ours && size > 0)
        log_info("spill", "the KV cache on disk is another model's, version's or key's: it begins empty");
    if ((*ours && size > most && ftruncate(s->o.fd, most) != 0) || (!*ours && ftruncate(s->o.fd, 0) != 0) ||
        (!*ours && !write_all(s->o.fd, &own, sizeof own, 0)))
        return error_set(err, ERROR_IO, "the KV cache on disk cannot be written: %s", strerror(errno));
    return 0;
}

struct found {
    struct spill_head head;
    int32_t index;
};

static int by_age(const void *a, const void *b)
{
    const int64_t x = ((const struct found *)a)->head.written_ms,
                  y = ((const struct found *)b)->head.written_ms;
    return (x > y) - (x < y);
}

static int records_find(struct spill *s, struct error *err)
{
    struct found *found = calloc((size_t)s->n_records, sizeof *found);
    size_t n = 0;
    if (!found)
        return error_set(err, ERROR_MEMORY, "no memory to read the KV cache on disk");
    for (int32_t i = 0; i < s->n_records; i++) {
        found[n].index = i;
        if (!read_all(s->o.fd, &found[n].head, sizeof found[n].head, place_of(s, &s->records[i])))
            break; /* its end */
        n += found[n].head.magic == SPILL_RECORD;
    }
    qsort(found, n, sizeof *found, by_age);
    for (size_t i = 0; i < n; i++) {
        struct spill_name name;
        memcpy(name.bytes, found[i].head.name, sizeof name.bytes);
        struct record *older = record_find(s, &name);
        if (older)
            record_forget(s, older);
        record_hold(s, &s->records[found[i].index], &name, found[i].head.written_ms);
    }
    free(found);
    return 0;
}

static int tables_create(struct spill *s, struct error *err)
{
    for (s->n_buckets = 1; s->n_buckets < s->n_records;)
        s->n_buckets *= 2;
    s->records = calloc((size_t)s->n_records, sizeof *s->records);
    s->buckets = calloc((size_t)s->n_buckets, sizeof *s->buckets);
    s->buffer = malloc(s->record_bytes);
    if (!s->records || !s->buckets || !s->buffer)
        return error_set(err, ERROR_MEMORY, "no memory for the table of the KV cache on disk");
    for (int32_t i = 0; i < s->n_buckets; i++)
        s->buckets[i] = -1;
    for (int32_t i = 0; i < s->n_records; i++)
        list_push_back(&s->empty, &s->records[i].age);
    return 0;
}

int spill_open(const struct spill_options *o, struct spill **out, struct error *err)
{
    struct spill *s = calloc(1, sizeof *s);
    bool ours = false;
    if (!s || sodium_init() < 0) {
        free(s);
        return error_set(err, ERROR_MEMORY, "no memory for the KV cache on disk");
    }
    s->o = *o;
    s->record_bytes = sizeof(struct spill_head) + o->page_bytes + SPILL_TAG_BYTES;
    list_init(&s->ages);
    list_init(&s->empty);
    /* What encrypts does not name. */
    crypto_generichash(
        s->name_key, sizeof s->name_key, (const unsigned char *)"names", 5, o->key, sizeof o->key);
    spill_name(s, NULL, o->owner.data, o->owner.len, &s->owner);
    const uint64_t room = o->most > sizeof(struct spill_header) ? o->most - sizeof(struct spill_header) : 0;
    const uint64_t n = room / s->record_bytes;
    s->n_records = n < RECORDS_MOST ? (int32_t)n : RECORDS_MOST;
    int rc = n > 0 ? 0
                   : error_set(err, ERROR_INVALID,
                         "a page of the KV cache takes %zu bytes on disk: allow it more (kv_disk)",
                         s->record_bytes);
    rc = rc ? rc : tables_create(s, err);
    rc = rc ? rc : file_begin(s, &ours, err);
    rc = rc || !ours ? rc : records_find(s, err);
    s->o.owner = STR_NONE;
    if (rc)
        spill_close(s);
    else
        *out = s;
    return rc;
}

void spill_close(struct spill *s)
{
    if (!s)
        return;
    sodium_memzero(s->o.key, sizeof s->o.key);
    sodium_memzero(s->name_key, sizeof s->name_key);
    free(s->records);
    free(s->buckets);
    free(s->buffer);
    free(s);
}

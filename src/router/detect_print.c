#include "router/detect_print.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { RING = 64, CHECK = 16, HEAD = 24, HASH_BITS = 56 };
static const char magic[] = "WEIRFPR1";
static const char too_long[] =
    "the documents are too long for one fingerprint file (some 80 MB of text): make several";

/* ---- The rolling hash (Karp and Rabin, 1987): a polynomial modulo 2^64, its bits mixed. ---- */
static const uint64_t base = 0x9e3779b97f4a7c15u;

static uint64_t power(unsigned n)
{
    uint64_t p = 1;
    while (n-- > 0)
        p *= base;
    return p;
}

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) >> (64 - HASH_BITS);
}

bool print_roll_next(struct print_roll *r, char c, size_t from, uint64_t *hash, size_t *start)
{
    if (r->n == 0)
        r->leaves = power(PRINT_NOISE);
    r->hash = r->hash * base + (unsigned char)c + 1;
    if (r->n >= PRINT_NOISE)
        r->hash -= ((uint64_t)(unsigned char)r->last[(r->n - PRINT_NOISE) % RING] + 1) * r->leaves;
    r->last[r->n % RING] = c;
    r->from[r->n % RING] = from;
    if (++r->n < PRINT_NOISE)
        return false;
    *hash = mix(r->hash);
    *start = r->from[(r->n - PRINT_NOISE) % RING];
    return true;
}

/* ---- Making. ---- */
int print_begin(struct print_maker *m, struct error *err)
{
    *m = (struct print_maker){.roll = calloc(1, sizeof *m->roll)};
    return m->roll ? 0 : error_set(err, ERROR_MEMORY, "no memory for the fingerprints");
}

static int place_keep(struct print_maker *m, size_t at, struct error *err)
{
    const size_t most = 2 * (size_t)PRINT_MOST;
    if (m->n == most)
        return error_set(err, ERROR_LIMIT, "%s", too_long);
    if (m->n == m->capacity) {
        size_t capacity = m->capacity ? m->capacity * 2 : 4096;
        struct print_place *grown = realloc(m->places, capacity * sizeof *grown);
        if (!grown)
            return error_set(err, ERROR_MEMORY, "no memory for the fingerprints");
        m->places = grown;
        m->capacity = capacity;
    }
    m->places[m->n++] = (struct print_place){m->roll->window[at % RING], at};
    return 0;
}

/* Is another hash the least of the window that ends with number `at`? The rightmost, where several are. */
static bool least_moves(struct print_roll *r, size_t at)
{
    if (at == 0 || r->window[at % RING] <= r->window[r->least % RING]) {
        r->least = at;
        return true;
    }
    if (at - r->least < PRINT_WINDOW)
        return false;
    r->least = at - PRINT_WINDOW + 1;
    for (size_t k = r->least + 1; k <= at; k++)
        if (r->window[k % RING] <= r->window[r->least % RING])
            r->least = k;
    return true;
}

/* Hash number i stands at window[i % RING]. The least of each window is kept, once for as long as it is. */
int print_feed(struct print_maker *m, struct str folded, struct error *err)
{
    struct print_roll *r = m->roll;
    uint64_t hash;
    size_t start;
    int rc = 0;
    for (size_t i = 0; i < folded.len && rc == 0; i++) {
        if (folded.data[i] == ' ' || !print_roll_next(r, folded.data[i], 0, &hash, &start))
            continue;
        size_t at = r->n - PRINT_NOISE;
        r->window[at % RING] = hash;
        bool moves = least_moves(r, at);
        if (m->boilerplate)
            rc = place_keep(m, at, err);
        else if (at + 1 == PRINT_WINDOW || (moves && at + 1 > PRINT_WINDOW))
            rc = place_keep(m, r->least, err);
    }
    return rc;
}

int print_document_end(struct print_maker *m, struct error *err)
{
    struct print_roll *r = m->roll;
    int rc = 0;
    if (r->n >= PRINT_NOISE && r->n < PRINT_SURE && !m->boilerplate) /* it has no whole window */
        rc = place_keep(m, r->least, err);
    if (m->n_documents == m->room_documents && rc == 0) {
        size_t room = m->room_documents ? m->room_documents * 2 : 64;
        size_t *grown = realloc(m->ends, room * sizeof *grown);
        if (!grown)
            return error_set(err, ERROR_MEMORY, "no memory for the fingerprints");
        m->ends = grown;
        m->room_documents = room;
    }
    if (rc)
        return rc;
    m->ends[m->n_documents++] = m->n;
    *m->roll = (struct print_roll){0};
    return 0;
}

static int hash_order(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Sorted, each once; how many. */
static size_t hashes_sort(uint64_t *hashes, size_t n)
{
    size_t kept = 0;
    if (n > 0)
        qsort(hashes, n, sizeof *hashes, hash_order);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || hashes[i] != hashes[i - 1])
            hashes[kept++] = hashes[i];
    return kept;
}

static bool sorted_has(const uint64_t *hashes, size_t n, uint64_t hash)
{
    return n > 0 && bsearch(&hash, hashes, n, sizeof hash, hash_order) != NULL;
}

int print_common(struct print_maker *m, struct error *err)
{
    uint64_t *all = realloc(m->common, (m->n_common + m->n + 1) * sizeof *all);
    if (!all)
        return error_set(err, ERROR_MEMORY, "no memory for the fingerprints");
    for (size_t i = 0; i < m->n; i++)
        all[m->n_common + i] = m->places[i].hash;
    m->common = all;
    m->n_common = hashes_sort(all, m->n_common + m->n);
    m->n = m->n_documents = 0;
    m->boilerplate = false;
    return 0;
}

/* What more than half of the documents share, sorted, in `shared`; how many. */
static size_t shared_find(const struct print_maker *m, uint64_t *shared)
{
    size_t all = 0, n = 0, run = 1;
    for (size_t d = 0, from = 0; d < m->n_documents; from = m->ends[d++]) {
        for (size_t i = from; i < m->ends[d]; i++)
            shared[all + i - from] = m->places[i].hash;
        all += hashes_sort(shared + all, m->ends[d] - from);
    }
    if (all > 0)
        qsort(shared, all, sizeof *shared, hash_order);
    for (size_t i = 1; i <= all && m->n_documents >= PRINT_COMMON_LEAST; i++) {
        if (i < all && shared[i] == shared[i - 1]) {
            run++;
            continue;
        }
        if (run * 2 > m->n_documents)
            shared[n++] = shared[i - 1];
        run = 1;
    }
    return n;
}

/* A document without what it shares, and without what overlaps that: at the end of boilerplate each document
 * has another least hash. */
static size_t document_take(const struct print_maker *m, size_t from, size_t to, const uint64_t *shared,
    size_t n_shared, uint64_t *out)
{
    size_t lost = 0, n = 0;
    for (size_t i = from; i < to; i++)
        lost += sorted_has(shared, n_shared, m->places[i].hash);
    for (size_t i = from; i < to; i++) {
        const struct print_place *p = &m->places[i];
        bool drop = sorted_has(m->common, m->n_common, p->hash);
        if (lost > 0 && lost * 2 <= to - from) {
            for (size_t k = i; k-- > from && p->at - m->places[k].at <= PRINT_NOISE;)
                drop = drop || sorted_has(shared, n_shared, m->places[k].hash);
            for (size_t k = i; k < to && m->places[k].at - p->at <= PRINT_NOISE; k++)
                drop = drop || sorted_has(shared, n_shared, m->places[k].hash);
        }
        if (!drop)
            out[n++] = p->hash;
    }
    return n;
}

static void number_append(struct buf *out, uint64_t value, unsigned bytes)
{
    for (; bytes > 0; bytes--, value >>= 8)
        buf_append_char(out, (char)(value & 255));
}

static void file_write(struct buf *out, const uint64_t *hashes, size_t n)
{
    unsigned char check[CHECK];
    size_t from = out->len;
    buf_append_text(out, magic);
    number_append(out, PRINT_NOISE, 4);
    number_append(out, PRINT_SURE, 4);
    number_append(out, n, 8);
    uint64_t before = 0;
    for (size_t i = 0; i < n; before = hashes[i++]) {
        uint64_t step = hashes[i] - before;
        for (; step >= 128; step >>= 7)
            buf_append_char(out, (char)(128 | (step & 127)));
        buf_append_char(out, (char)step);
    }
    if (out->failed)
        return;
    crypto_generichash(
        check, sizeof check, (const unsigned char *)out->data + from, out->len - from, NULL, 0);
    buf_append_str(out, (struct str){(const char *)check, sizeof check});
}

int print_write(struct print_maker *m, struct buf *out, struct print_made *made, struct error *err)
{
    uint64_t *kept = malloc((m->n + 1) * sizeof *kept), *shared = malloc((m->n + 1) * sizeof *shared);
    int rc = kept && shared ? 0 : error_set(err, ERROR_MEMORY, "no memory for the fingerprints");
    *made = (struct print_made){.documents = m->n_documents};
    size_t n_shared = rc ? 0 : shared_find(m, shared), n = 0;
    for (size_t d = 0, from = 0; d < m->n_documents && rc == 0; from = m->ends[d++]) {
        made->short_documents += m->ends[d] == from;
        n += document_take(m, from, m->ends[d], shared, n_shared, kept + n);
    }
    if (rc == 0) {
        made->boilerplate = m->n - n;
        made->kept = hashes_sort(kept, n);
        if (made->kept > PRINT_MOST)
            rc = error_set(err, ERROR_LIMIT, "%s", too_long);
    }
    if (rc == 0)
        file_write(out, kept, made->kept);
    if (rc == 0 && out->failed)
        rc = error_set(err, out->failed, "no memory for the fingerprint file");
    free(kept);
    free(shared);
    return rc;
}

void print_free(struct print_maker *m)
{
    free(m->places);
    free(m->ends);
    free(m->common);
    free(m->roll);
    *m = (struct print_maker){0};
}

/* ---- Looking. ---- */
static uint64_t number_read(const char *at, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = bytes; i-- > 0;)
        value = value << 8 | (unsigned char)at[i];
    return value;
}

/* The head and the check are right; the number of hashes. */
static int head_read(struct str file, size_t *n, struct error *err)
{
    unsigned char check[CHECK];
    if (file.len < HEAD + CHECK || memcmp(file.data, magic, sizeof magic - 1) != 0)
        return error_set(err, ERROR_INVALID, "is no fingerprint file: make it with weir fingerprint");
    if (number_read(file.data + 8, 4) != PRINT_NOISE || number_read(file.data + 12, 4) != PRINT_SURE)
        return error_set(
            err, ERROR_UNSUPPORTED, "is of another version: make it again with weir fingerprint");
    crypto_generichash(check, sizeof check, (const unsigned char *)file.data, file.len - CHECK, NULL, 0);
    if (memcmp(check, file.data + file.len - CHECK, CHECK) != 0)
        return error_set(err, ERROR_INVALID, "is damaged: make it again with weir fingerprint");
    uint64_t count = number_read(file.data + 16, 8);
    if (count == 0 || count > PRINT_MOST || count > file.len)
        return error_set(err, ERROR_INVALID,
            "says that it has %llu fingerprints: make it again with weir fingerprint",
            (unsigned long long)count);
    *n = (size_t)count;
    return 0;
}

static bool hashes_read(struct str body, uint64_t *out, size_t n)
{
    size_t at = 0;
    uint64_t last = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t step = 0;
        unsigned shift = 0;
        bool more = true;
        for (; more && at < body.len && shift < HASH_BITS; shift += 7) {
            unsigned char c = (unsigned char)body.data[at++];
            step |= (uint64_t)(c & 127) << shift;
            more = c & 128;
        }
        last += step;
        if (more || (i > 0 && step == 0) || last >> HASH_BITS)
            return false;
        out[i] = last;
    }
    return at == body.len;
}

int detect_print_read(struct str file, struct detect_print *out, struct error *err)
{
    *out = (struct detect_print){.shift = HASH_BITS - 10};
    int rc = head_read(file, &out->n, err);
    if (rc)
        return rc;
    while (out->shift > 8 && (size_t)1 << (HASH_BITS - out->shift) < 16 * out->n)
        out->shift--;
    out->hashes = malloc(out->n * sizeof *out->hashes);
    out->map = calloc(((size_t)1 << (HASH_BITS - out->shift)) / 64, sizeof *out->map);
    if (!out->hashes || !out->map)
        rc = error_set(err, ERROR_MEMORY, "does not fit into the memory");
    else if (!hashes_read(str_slice(file, HEAD, file.len - CHECK), out->hashes, out->n))
        rc = error_set(err, ERROR_INVALID, "is damaged: make it again with weir fingerprint");
    if (rc) {
        detect_print_free(out);
        return rc;
    }
    for (size_t i = 0; i < out->n; i++) {
        uint64_t bit = out->hashes[i] >> out->shift;
        out->map[bit / 64] |= (uint64_t)1 << bit % 64;
    }
    return 0;
}

void detect_print_free(struct detect_print *p)
{
    free(p->hashes);
    free(p->map);
    *p = (struct detect_print){0};
}

bool detect_print_has(const struct detect_print *p, uint64_t hash)
{
    uint64_t bit = hash >> p->shift;
    return p->map[bit / 64] >> bit % 64 & 1 && sorted_has(p->hashes, p->n, hash);
}

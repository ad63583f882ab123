#include "store/store_journal.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/must.h"

enum { ID_BYTES = 8, TAG_BYTES = 8 };
#define MAGIC "WEIRJRN2"
#define MAGIC_SIPHASH "WEIRJRN1"
#define HEADER_BYTES ((int64_t)(sizeof MAGIC - 1 + ID_BYTES))
#define NAME_BYTES (sizeof "journal:" + 2 * ID_BYTES)
#define SWITCH_BYTES (256 * KIB) /* a file that is larger is left for the other, once that one is empty */
#define FULL_BYTES (256 * KIB)   /* gathered */

struct file {
    char *path;
    int fd;
    int64_t size;   /* of whole rows and the header */
    int64_t number; /* of the last row in it */
    bool siphash;   /* an earlier version made it */
};

struct store_journal {
    struct file files[2];
    int active;
    int64_t number, written; /* of the last row gathered, and of the last in the files */
    unsigned char id[ID_BYTES];
    char name[NAME_BYTES];
    struct buf gathered; /* records */
};

/* ---- Tags. Not a secret: they find accidents. ---- */

static void siphash_make(struct str in, unsigned char tag[TAG_BYTES])
{
    static const unsigned char key[crypto_shorthash_KEYBYTES] = "Weir's journal.";
    crypto_shorthash(tag, (const unsigned char *)in.data, in.len, key);
}

static uint64_t word_at(const char *p, size_t n)
{
    uint64_t word = 0;
    memcpy(&word, p, n);
    return word;
}

/* The two halves of a product of 128 bits, folded: each bit of both factors is in each bit. */
static uint64_t fold(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Sixteen bytes a step (as in wyhash, Wang Yi, 2019); constants without structure: digits of pi. */
static void tag_make(struct str in, unsigned char tag[TAG_BYTES])
{
    const uint64_t a = 0x243f6a8885a308d3u, b = 0x13198a2e03707345u;
    uint64_t hash = fold(a ^ in.len, b);
    const char *p = in.data;
    size_t left = in.len;
    for (; left >= 16; p += 16, left -= 16)
        hash = fold(word_at(p, 8) ^ a, word_at(p + 8, 8) ^ hash);
    hash = fold(word_at(p, left < 8 ? left : 8) ^ a, (left > 8 ? word_at(p + 8, left - 8) : 0) ^ hash);
    hash = fold(hash ^ b, a);
    memcpy(tag, &hash, TAG_BYTES);
}

static void name_make(const unsigned char id[ID_BYTES], char out[NAME_BYTES])
{
    strcpy(out, "journal:");
    sodium_bin2hex(out + strlen(out), NAME_BYTES - strlen(out), id, ID_BYTES);
}

/* ---- Opening ---- */

static void file_name(const char *path, int file, char **out)
{
    size_t bytes = strlen(path) + 3;
    *out = must(malloc(bytes));
    snprintf(*out, bytes, "%s.%d", path, file);
}

bool store_journal_has_rows(const char *path)
{
    bool rows = false;
    for (int i = 0; i < 2; i++) {
        struct stat st;
        char *name;
        file_name(path, i, &name);
        rows = rows || (stat(name, &st) == 0 && st.st_size > HEADER_BYTES);
        free(name);
    }
    return rows;
}

static int fail(const struct file *f, const char *what, struct error *err)
{
    return error_set(err, ERROR_IO, "cannot %s %s: %s: give this user the right to write it, and room", what,
        f->path, strerror(errno));
}

static int header_write(struct store_journal *j, struct file *f, struct error *err)
{
    char header[sizeof MAGIC - 1 + ID_BYTES];
    memcpy(header, MAGIC, sizeof MAGIC - 1);
    memcpy(header + sizeof MAGIC - 1, j->id, ID_BYTES);
    if (ftruncate(f->fd, 0) != 0 || pwrite(f->fd, header, sizeof header, 0) != (ssize_t)sizeof header)
        return fail(f, "write", err);
    f->size = HEADER_BYTES;
    f->siphash = false;
    return 0;
}

/* 1: it has rows of the id in `id`, 0: it is new or was never finished. */
static int header_read(struct file *f, unsigned char id[ID_BYTES], struct error *err)
{
    char header[sizeof MAGIC - 1 + ID_BYTES];
    ssize_t n = pread(f->fd, header, sizeof header, 0);
    if (n < 0)
        return fail(f, "read", err);
    if (n < (ssize_t)sizeof header)
        return 0;
    f->siphash = memcmp(header, MAGIC_SIPHASH, sizeof MAGIC - 1) == 0;
    if (!f->siphash && memcmp(header, MAGIC, sizeof MAGIC - 1) != 0)
        return error_set(err, ERROR_INVALID, "%s is no journal of Weir's: choose another path", f->path);
    memcpy(id, header + sizeof MAGIC - 1, ID_BYTES);
    return 1;
}

static int file_open(struct file *f, struct error *err)
{
    f->fd = open(f->path, O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (f->fd < 0)
        return fail(f, "open", err);
    if (flock(f->fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    return errno == EWOULDBLOCK
               ? error_set(err, ERROR_BUSY, "another process uses %s: end it or use another state", f->path)
               : fail(f, "lock", err);
}

static int files_open(struct store_journal *j, struct error *err)
{
    int rc = file_open(&j->files[0], err);
    if (rc == 0)
        rc = file_open(&j->files[1], err);
    int had[2] = {0, 0};
    unsigned char ids[2][ID_BYTES];
    for (int i = 0; i < 2 && rc == 0; i++) {
        had[i] = header_read(&j->files[i], ids[i], err);
        rc = had[i] < 0 ? had[i] : 0;
    }
    if (rc)
        return rc;
    randombytes_buf(j->id, sizeof j->id);
    if (had[0] || had[1])
        memcpy(j->id, had[0] ? ids[0] : ids[1], ID_BYTES);
    if (had[0] && had[1] && memcmp(ids[0], ids[1], ID_BYTES) != 0)
        return error_set(err, ERROR_INVALID, "%s and %s belong to different journals: move one away",
            j->files[0].path, j->files[1].path);
    for (int i = 0; i < 2 && rc == 0; i++)
        rc = had[i] ? 0 : header_write(j, &j->files[i], err);
    return rc;
}

int store_journal_open(const char *path, struct store_journal **out, struct error *err)
{
    if (sodium_init() < 0)
        return error_set(err, ERROR_INTERNAL, "libsodium does not start");
    struct store_journal *j = must(calloc(1, sizeof *j));
    buf_init(&j->gathered, FULL_BYTES + 2 * LIMIT_STORE_ROW);
    for (int i = 0; i < 2; i++) {
        j->files[i].fd = -1;
        file_name(path, i, &j->files[i].path);
    }
    int rc = files_open(j, err);
    if (rc) {
        store_journal_close(j);
        return rc;
    }
    name_make(j->id, j->name);
    *out = j;
    return 0;
}

void store_journal_close(struct store_journal *j)
{
    if (!j)
        return;
    for (int i = 0; i < 2; i++) {
        if (j->files[i].fd >= 0)
            close(j->files[i].fd);
        free(j->files[i].path);
    }
    buf_free(&j->gathered);
    free(j);
}

struct str store_journal_name(const struct store_journal *j)
{
    return str_from(j->name);
}

/* ---- Reading ---- */

/* The record that `in` begins with: its bytes, or 0 where none is whole. */
static size_t record_take(struct str in, bool siphash, int64_t *number, struct str *body)
{
    unsigned char tag[TAG_BYTES], old[TAG_BYTES];
    uint32_t len;
    if (in.len < STORE_HEAD)
        return 0;
    memcpy(&len, in.data, sizeof len);
    if (len < STORE_HEAD - STORE_PREFIX || len > in.len - STORE_PREFIX)
        return 0;
    *body = str_slice(in, STORE_PREFIX, STORE_PREFIX + len);
    tag_make(*body, tag);
    siphash_make(*body, old); /* a file of an earlier version may go on with records of this one */
    if (memcmp(tag, in.data + sizeof len, TAG_BYTES) != 0 &&
        (!siphash || memcmp(old, in.data + sizeof len, TAG_BYTES) != 0))
        return 0;
    memcpy(number, body->data, sizeof *number);
    return STORE_PREFIX + len;
}

static bool row_take(struct str body, struct store_row **row)
{
    struct error err;
    union store_value value;
    unsigned kind = (unsigned char)body.data[STORE_NUMBER];
    return store_kind_is_journaled((enum store_kind)kind) &&
           store_fields_take(str_slice(body, STORE_NUMBER + 1, body.len),
               store_kind_fields((enum store_kind)kind), &value) &&
           store_row_create((enum store_kind)kind, &value, row, &err) == 0;
}

static int bytes_read(const struct file *f, struct buf *out, struct error *err)
{
    struct stat st;
    buf_init(out, 1);
    if (fstat(f->fd, &st) != 0)
        return fail(f, "read", err);
    size_t size = (size_t)st.st_size;
    out->max = size + 1;
    char *to = buf_reserve(out, size);
    if (!to)
        return error_set(err, ERROR_MEMORY, "no memory to read the %zu bytes of %s", size, f->path);
    for (size_t done = 0; done < size;) {
        ssize_t n = pread(f->fd, to + done, size - done, (off_t)done);
        if (n < 0)
            return fail(f, "read", err);
        if (n == 0) /* its owner has emptied it */
            size = done;
        done += (size_t)n;
    }
    buf_commit(out, size);
    return 0;
}

static void rows_add(struct list *rows, struct list *more)
{
    list_each(node, after, more) {
        list_remove(node);
        list_push_back(rows, node);
    }
}

/* All of one file's rows with a number above `after`; *first is the number of its first row, 0: none. */
static int file_read(struct file *f, int64_t after, struct list *rows, int64_t *first, struct error *err)
{
    struct buf bytes;
    int rc = bytes_read(f, &bytes, err);
    size_t at = (size_t)HEADER_BYTES, n;
    int64_t number;
    struct str body;
    struct store_row *row;
    *first = 0;
    while (rc == 0 &&
           (n = record_take(str_slice(buf_str(&bytes), at, bytes.len), f->siphash, &number, &body)) > 0) {
        /* Not above the last: left from before the file was emptied. */
        if (number <= f->number || !row_take(body, &row))
            break;
        at += n;
        *first = *first ? *first : number;
        f->number = row->number = number;
        if (number > after)
            list_push_back(rows, &row->node);
        else
            free(row);
    }
    if (rc == 0 && at < bytes.len)
        log_warn("store", "%s ends in %zu bytes of a row that was not finished: they are dropped", f->path,
            bytes.len - at);
    f->size = (int64_t)at;
    buf_free(&bytes);
    if (rc == 0 && ftruncate(f->fd, f->size) != 0)
        rc = fail(f, "write", err);
    return rc;
}

int store_journal_read(struct store_journal *j, int64_t after, struct list *rows, struct error *err)
{
    struct list of[2];
    int64_t first[2] = {0, 0};
    int rc = 0;
    for (int i = 0; i < 2; i++) {
        list_init(&of[i]);
        if (rc == 0)
            rc = file_read(&j->files[i], after, &of[i], &first[i], err);
    }
    int older = first[0] && (!first[1] || first[0] < first[1]) ? 0 : 1;
    rows_add(rows, &of[older]);
    rows_add(rows, &of[!older]);
    j->active = !older;
    j->number = after;
    for (int i = 0; i < 2; i++)
        j->number = j->files[i].number > j->number ? j->files[i].number : j->number;
    j->written = j->number;
    return rc;
}

/* The number of the last row of a file that somebody may be writing to. */
static int file_peek(struct file *f, unsigned char id[ID_BYTES], struct error *err)
{
    struct buf bytes;
    struct str body;
    int64_t number;
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (f->fd < 0)
        return fail(f, "open", err);
    int rc = header_read(f, id, err);
    if (rc > 0)
        rc = bytes_read(f, &bytes, err);
    else
        return rc;
    size_t at = (size_t)HEADER_BYTES, n;
    while (rc == 0 &&
           (n = record_take(str_slice(buf_str(&bytes), at, bytes.len), f->siphash, &number, &body)) > 0 &&
           number > f->number) {
        at += n;
        f->number = number;
    }
    buf_free(&bytes);
    return rc;
}

int store_journal_peek(
    const char *path, struct arena *a, struct str *name, int64_t *number, struct error *err)
{
    unsigned char id[ID_BYTES] = {0};
    char text[NAME_BYTES];
    int rc = sodium_init() < 0 ? error_set(err, ERROR_INTERNAL, "libsodium does not start") : 0;
    *number = 0;
    for (int i = 0; i < 2 && rc == 0; i++) {
        struct file f = {.fd = -1};
        file_name(path, i, &f.path);
        rc = file_peek(&f, id, err);
        *number = f.number > *number ? f.number : *number;
        if (f.fd >= 0)
            close(f.fd);
        free(f.path);
    }
    name_make(id, text);
    *name = arena_copy(a, str_from(text));
    return rc;
}

int64_t store_journal_number(const struct store_journal *j)
{
    return j->number;
}

/* ---- Appending ---- */

bool store_journal_is_full(const struct store_journal *j)
{
    return j->gathered.len > FULL_BYTES;
}

void store_journal_add(struct store_journal *j, struct store_row *row)
{
    uint32_t len = (uint32_t)(row->n - STORE_PREFIX);
    row->number = ++j->number;
    memcpy(row->record, &len, sizeof len);
    memcpy(row->record + STORE_PREFIX, &row->number, STORE_NUMBER);
    tag_make((struct str){row->record + STORE_PREFIX, len}, (unsigned char *)row->record + sizeof len);
    buf_append(&j->gathered, row->record, row->n); /* what fails is told when it is written */
}

static int gathered_write(struct store_journal *j, struct file *f, struct error *err)
{
    if (j->gathered.failed)
        return error_set(err, j->gathered.failed, "no memory for rows of the journal %s", f->path);
    struct stat st;
    if (fstat(f->fd, &st) == 0 && st.st_nlink == 0) {
        errno = ENOENT; /* somebody removed it: what is written there is lost with this process */
        return fail(f, "write", err);
    }
    ssize_t n = pwrite(f->fd, j->gathered.data, j->gathered.len, f->size);
    if (n == (ssize_t)j->gathered.len)
        return 0;
    errno = n < 0 ? errno : ENOSPC;
    fail(f, "write", err);
    /* Whole rows of it may be there, which are not to be found later. */
    if (n > 0 && ftruncate(f->fd, f->size) != 0)
        log_warn("store", "cannot shorten %s: %s", f->path, strerror(errno));
    return ERROR_IO;
}

int store_journal_write(struct store_journal *j, struct error *err)
{
    struct file *other = &j->files[!j->active];
    if (j->files[j->active].size > (int64_t)SWITCH_BYTES && other->size == HEADER_BYTES)
        j->active = !j->active;
    struct file *f = &j->files[j->active];
    int rc = gathered_write(j, f, err);
    if (rc == 0) {
        f->size += (int64_t)j->gathered.len;
        f->number = j->written = j->number;
    }
    j->number = j->written;
    buf_clear(&j->gathered);
    return rc;
}

int store_journal_committed(struct store_journal *j, int64_t number)
{
    int file = !j->active;
    const struct file *f = &j->files[file];
    return f->size > HEADER_BYTES && f->number <= number ? file : -1;
}

void store_journal_drop(struct store_journal *j, int file)
{
    struct file *f = &j->files[file];
    struct error err;
    /* Left as it is, its rows are skipped by their numbers. */
    if (f->siphash ? header_write(j, f, &err) != 0 : ftruncate(f->fd, HEADER_BYTES) != 0)
        log_warn("store", "cannot empty %s: %s", f->path, strerror(errno));
}

void store_journal_dropped(struct store_journal *j, int file)
{
    j->files[file].size = HEADER_BYTES;
}

void store_journal_finish(struct store_journal *j, int64_t number)
{
    for (int i = 0; i < 2 && number >= j->number; i++)
        store_journal_drop(j, i);
}

/* Checkpoints: all that decides how a run goes on.
 *
 *   magic u64 | version u64 | identity u64 | values u64 | state | points | checks | weights, m, v [, best] |
 * sum u64
 *
 * Little-endian, as this machine has it. A file that does not end in the sum of what stands before is
 * corrupt. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "train/files.h"
#include "train/run.h"

#define MAGIC 0x314E525452494557u /* "WEIRTRN1" */
enum { VERSION = 1 };

struct head {
    uint64_t magic, version, identity, n_values;
    struct run_state state;
};

uint64_t checkpoint_sum(uint64_t sum, const void *data, size_t len)
{
    const unsigned char *p = data;
    sum ^= 0xCBF29CE484222325u;
    for (; len > 0;) {
        uint64_t word = 0;
        const size_t n = len < sizeof word ? len : sizeof word;
        memcpy(&word, p, n);
        sum = (sum ^ word) * 0x100000001B3u;
        sum ^= sum >> 29;
        p += n;
        len -= n;
    }
    return sum;
}

/* What stands in the file after the head, in order; returns how many. */
struct part {
    void *data;
    size_t bytes;
};
enum { PARTS_MAX = 6 };

static int parts_list(const struct run *r, const struct run_state *s, struct part parts[PARTS_MAX])
{
    const size_t values = (size_t)r->n_values * sizeof(float);
    int n = 0;
    parts[n++] = (struct part){r->points, (size_t)s->step * sizeof *r->points};
    parts[n++] = (struct part){r->checks, (size_t)s->n_checks * sizeof *r->checks};
    parts[n++] = (struct part){r->model->values, values};
    parts[n++] = (struct part){r->m, values};
    parts[n++] = (struct part){r->v, values};
    if (r->best)
        parts[n++] = (struct part){r->best, values};
    return n;
}

int checkpoint_write(const struct run *r, const char *path, struct error *err)
{
    const struct head head = {MAGIC, VERSION, r->identity, (uint64_t)r->n_values, r->state};
    struct file_writer w;
    struct part parts[PARTS_MAX];
    uint64_t sum = checkpoint_sum(0, &head, sizeof head);
    int rc = file_begin(&w, path, err), n = parts_list(r, &r->state, parts);
    if (rc)
        return rc;
    file_write(&w, &head, sizeof head);
    for (int i = 0; i < n; i++) {
        file_write(&w, parts[i].data, parts[i].bytes);
        sum = checkpoint_sum(sum, parts[i].data, parts[i].bytes);
    }
    file_write(&w, &sum, sizeof sum);
    return file_commit(&w, err);
}

/* ---- Reading ---- */
static bool read_all(int fd, void *to, size_t len)
{
    for (char *p = to; len > 0;) {
        ssize_t n = read(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

static int corrupt(const char *path, struct error *err)
{
    return error_set(
        err, ERROR_INVALID, "the checkpoint %s is corrupt: remove it, or begin anew with --fresh", path);
}

static int head_check(const struct run *r, const struct head *h, const char *path, struct error *err)
{
    const int64_t checks = r->steps / r->config->schedule.validate_every + 2;
    if (h->magic != MAGIC || h->version != VERSION)
        return corrupt(path, err);
    if (h->identity != r->identity || h->n_values != (uint64_t)r->n_values)
        return error_set(err, ERROR_INVALID,
            "the checkpoint %s is of another configuration, other data or another kind of CPU: put them "
            "back, remove it, "
            "or begin anew with --fresh",
            path);
    if (h->state.step < 0 || h->state.step > r->steps || h->state.n_checks < 0 ||
        h->state.n_checks > checks || h->state.next > r->data.n_docs || h->state.epoch < 0)
        return corrupt(path, err);
    return 0;
}

/* The file is summed before any of it is put in place. */
static int sum_check(int fd, const struct run *r, const struct head *h, const char *path, struct error *err)
{
    struct part parts[PARTS_MAX];
    struct stat st;
    size_t bytes = sizeof *h + sizeof(uint64_t), largest = 0;
    uint64_t sum = checkpoint_sum(0, h, sizeof *h), stored;
    const int n = parts_list(r, &h->state, parts);
    for (int i = 0; i < n; i++) {
        bytes += parts[i].bytes;
        largest = parts[i].bytes > largest ? parts[i].bytes : largest;
    }
    if (fstat(fd, &st) != 0 || (uint64_t)st.st_size != bytes)
        return corrupt(path, err);
    char *buffer = malloc(largest + 1);
    if (!buffer)
        return error_set(err, ERROR_MEMORY, "no memory to read the checkpoint %s", path);
    bool ok = true;
    for (int i = 0; i < n && ok; i++) {
        ok = read_all(fd, buffer, parts[i].bytes);
        if (ok)
            sum = checkpoint_sum(sum, buffer, parts[i].bytes);
    }
    ok = ok && read_all(fd, &stored, sizeof stored) && stored == sum;
    free(buffer);
    return ok ? 0 : corrupt(path, err);
}

static int take(int fd, struct run *r, const struct head *h, const char *path, struct error *err)
{
    struct part parts[PARTS_MAX];
    const int n = parts_list(r, &h->state, parts);
    bool ok = lseek(fd, sizeof *h, SEEK_SET) == sizeof *h;
    for (int i = 0; i < n && ok; i++)
        ok = read_all(fd, parts[i].data, parts[i].bytes);
    if (!ok)
        return error_set(err, ERROR_IO, "cannot read the checkpoint %s: %s", path, strerror(errno));
    r->state = h->state;
    data_order_seek(&r->order, r->state.epoch, (size_t)r->state.next);
    return 0;
}

int checkpoint_read(struct run *r, const char *path, struct error *err)
{
    struct head h;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO,
            "cannot open the checkpoint %s: %s", path, strerror(errno));
    int rc = read_all(fd, &h, sizeof h) ? head_check(r, &h, path, err) : corrupt(path, err);
    rc = rc ? rc : sum_check(fd, r, &h, path, err);
    rc = rc ? rc : take(fd, r, &h, path, err);
    close(fd);
    return rc;
}

#include "exchange/graded.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/must.h"

/* One of the ring: the answer, whose strings follow it in the same block. */
struct kept {
    struct graded_answer answer;
    int times;
    char text[];
};

struct graded {
    pthread_mutex_t mutex; /* guards what follows, and the file's lines */
    struct kept *ring[GRADED_MOST];
    size_t next;
};

struct graded *graded_create(void)
{
    struct graded *g = must(calloc(1, sizeof *g));
    pthread_mutex_init(&g->mutex, NULL);
    return g;
}

void graded_free(struct graded *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < GRADED_MOST; i++)
        free(g->ring[i]);
    pthread_mutex_destroy(&g->mutex);
    free(g);
}

static struct kept *kept_make(const struct graded_answer *answer)
{
    const size_t bytes = answer->request_id.len + answer->key_id.len + answer->row_id.len +
                         answer->route.len + answer->model.len + answer->local.len;
    struct kept *k = must(calloc(1, sizeof *k + bytes));
    char *at = k->text;
    k->answer = *answer;
    struct str *const texts[] = {&k->answer.request_id, &k->answer.key_id, &k->answer.row_id,
        &k->answer.route, &k->answer.model, &k->answer.local};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (texts[i]->len > 0)
            memcpy(at, texts[i]->data, texts[i]->len);
        texts[i]->data = at;
        at += texts[i]->len;
    }
    return k;
}

void graded_add(struct graded *g, const struct graded_answer *answer)
{
    struct kept *k = kept_make(answer), *old;
    pthread_mutex_lock(&g->mutex);
    old = g->ring[g->next];
    g->ring[g->next] = k;
    g->next = (g->next + 1) % GRADED_MOST;
    pthread_mutex_unlock(&g->mutex);
    free(old);
}

/* The newest: a client may have used its id twice. */
static struct kept *kept_find(const struct graded *g, struct str request_id, struct str key_id)
{
    for (size_t i = 1; i <= GRADED_MOST; i++) {
        struct kept *k = g->ring[(g->next + GRADED_MOST - i) % GRADED_MOST];
        if (!k)
            return NULL;
        if (str_eq(k->answer.request_id, request_id) && str_eq(k->answer.key_id, key_id))
            return k;
    }
    return NULL;
}

/* {MODEL: number}, as weir eval writes it. */
static void by_model(struct json_writer *w, const char *key, struct str model, double value)
{
    json_key(w, key);
    json_object_begin(w);
    json_key_str(w, model);
    json_write_double(w, value);
    json_object_end(w);
}

static void line_write(struct json_writer *w, const struct graded_answer *a, double score)
{
    char time[32];
    clock_format(clock_wall_ms(), time);
    json_object_begin(w);
    json_member_text(w, "time", time);
    json_member_str(w, "request_id", a->row_id);
    json_maybe_str(w, "route", a->route);
    by_model(w, "scores", a->model, score);
    if (a->cost_nano_usd >= 0)
        by_model(w, "cost_usd", a->model, (double)a->cost_nano_usd * 1e-9);
    json_key(w, "asked");
    calibrate_prompt_write(&a->prompt, w);
    if (a->local.len > 0) {
        json_key(w, "measured");
        json_object_begin(w);
        json_key_str(w, a->local);
        doubt_write(&a->doubt, w);
        json_object_end(w);
    }
    json_object_end(w);
}

/* Half a line would become one with the next, and the file be unreadable from there on: it is taken back. */
static int line_append(struct str file, struct str line, struct error *err)
{
    int fd = open(file.data, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600), rc = 0;
    off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    ssize_t n = fd < 0 ? -1 : write(fd, line.data, line.len);
    if (n > 0 && n < (ssize_t)line.len && end >= 0 && ftruncate(fd, end) != 0)
        log_error("exchange", "half a line stays in " STR_FMT ": %s", STR_ARG(file), strerror(errno));
    if (n != (ssize_t)line.len)
        rc = error_set(
            err, ERROR_IO, "the grade cannot be written: %s", n < 0 ? strerror(errno) : "the disk is full");
    if (fd >= 0)
        close(fd);
    return rc;
}

int graded_grade(struct graded *g, struct str request_id, struct str key_id, double score, struct str file,
    struct error *err)
{
    struct buf line;
    struct json_writer w;
    buf_init(&line, 64 * KIB);
    json_writer_init(&w, &line);
    pthread_mutex_lock(&g->mutex);
    struct kept *k = kept_find(g, request_id, key_id);
    int rc = 0;
    if (!k)
        rc = error_set(err, ERROR_NOT_FOUND,
            "no answer of late has this request id: it is the header x-request-id of an answer to this key");
    else if (k->times >= GRADED_TIMES)
        rc = error_set(
            err, ERROR_INVALID, "this answer was graded %d times, the most that one may be", k->times);
    if (rc == 0) {
        line_write(&w, &k->answer, score);
        buf_append_char(&line, '\n');
        rc = line.failed ? error_set(err, line.failed, "no memory for the grade")
                         : line_append(file, buf_str(&line), err);
    }
    if (rc == 0)
        k->times++;
    pthread_mutex_unlock(&g->mutex);
    buf_free(&line);
    return rc;
}

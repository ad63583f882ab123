#include "train/loop.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "engine/worker/sandbox_confine.h"
#include "train/files.h"
#include "train/progress.h"
#include "train/watch.h"

enum { PATH_MAX_BYTES = 4096 };

int train_loop_enter(const struct train_loop_options *o, const char *more, struct error *err)
{
    const char *files[] = {o->out, more};
    watch_signals();
    return sandbox_confine(files, 2, err);
}

/* Names too long for the system fail when they are opened. */
static const char *checkpoint_path(const struct train_loop_options *o, char path[PATH_MAX_BYTES])
{
    snprintf(path, PATH_MAX_BYTES, "%s.checkpoint", o->out);
    return path;
}

static const char *lock_path(const struct train_loop_options *o, char path[PATH_MAX_BYTES])
{
    snprintf(path, PATH_MAX_BYTES, "%s.checkpoint.lock", o->out);
    return path;
}

static int lock_take(struct train_loop_options *o, struct error *err)
{
    char path[PATH_MAX_BYTES];
    const int fd = file_part_open(lock_path(o, path), 0644);
    if (fd < 0)
        return error_set(err, ERROR_IO, "cannot train %s: %s", o->out, file_part_why());
    o->lock = fd;
    o->locked = true;
    return 0;
}

void train_loop_leave(struct train_loop_options *o)
{
    char path[PATH_MAX_BYTES];
    if (!o->locked)
        return;
    unlink(lock_path(o, path));
    close(o->lock);
    o->locked = false;
}

static int files_check(const struct train_files *files, const char *out, struct error *err)
{
    int rc = 0;
    for (size_t i = 0; i < files->count && rc == 0; i++)
        rc = file_check_other(&files->paths[i].data, 1, out, err);
    return rc;
}

static int output_check(
    const char *out, const char *const *in, size_t n, const struct train_config *c, struct error *err)
{
    int rc = file_check_place(out, err);
    rc = rc ? rc : file_check_other(in, n, out, err);
    rc = rc ? rc : file_check_other(&c->tokenizer.data, 1, out, err);
    rc = rc ? rc : files_check(&c->data, out, err);
    return rc ? rc : files_check(&c->validation, out, err);
}

int train_loop_check(const struct train_loop_options *o, const char *more, const char *const *in, size_t n,
    const struct train_config *c, struct error *err)
{
    static const char *const ends[] = {"", ".checkpoint", ".log.json", ".svg"};
    int rc = o->out && more ? output_check(more, in, n, c, err) : 0;
    for (size_t i = 0; i < sizeof ends / sizeof *ends && o->out && rc == 0; i++) {
        char path[PATH_MAX_BYTES];
        snprintf(path, sizeof path, "%s%s", o->out, ends[i]);
        rc = output_check(path, in, n, c, err);
        if (rc == 0 && more && file_is_one(path, more))
            rc = error_set(err, ERROR_INVALID, "%s would be written twice: name another", more);
    }
    return rc;
}

static int keep(const struct run *r, const struct train_loop_options *o, struct error *err)
{
    char path[PATH_MAX_BYTES];
    int rc = checkpoint_write(r, checkpoint_path(o, path), err);
    return rc ? rc : report_write(r, o->out, err);
}

static int steps_run(struct run *r, const struct train_loop_options *o, struct error *err)
{
    const struct train_schedule *s = &r->config->schedule;
    struct progress p;
    int rc = 0;
    progress_init(&p, r);
    while (rc == 0 && r->state.step < r->steps && !run_is_stale(r) && !watch_stopped()) {
        rc = run_step(r, err);
        if (rc == 0 && (r->state.step % s->validate_every == 0 || r->state.step == r->steps))
            run_validate(r);
        if (rc == 0 && r->state.step % s->checkpoint_every == 0)
            rc = keep(r, o, err);
        if (rc == 0)
            progress_show(&p, r, r->state.step == r->steps || watch_stopped());
    }
    progress_end(&p);
    if (rc == 0 && run_is_stale(r))
        fprintf(stderr,
            "stopped early: %lld validations in a row were no better; the best weights are kept\n",
            (long long)r->state.worse);
    if (rc || !watch_stopped() || r->state.step == r->steps)
        return rc;
    rc = keep(r, o, err);
    return rc ? rc
              : error_set(err, ERROR_CANCELLED, "stopped at step %lld: the same command goes on from there",
                    (long long)r->state.step);
}

/* One batch tells how long all of them take. */
static int plan_time(struct run *r, struct error *err)
{
    char time[32];
    int rc = run_step(r, err);
    if (rc)
        return rc;
    progress_time((double)r->step_ns / 1e9 * (double)r->steps, time);
    fprintf(stderr, "about %s at %.0f tokens/s\n", time, (double)r->step_tokens / (double)r->step_ns * 1e9);
    return 0;
}

int train_loop_run(struct run *r, struct train_loop_options *o, struct error *err)
{
    char path[PATH_MAX_BYTES];
    progress_plan(r);
    if (o->plan)
        return plan_time(r, err);
    int rc = o->now ? 0 : lock_take(o, err); /* `now` looks at a run that goes on */
    if (rc)
        return rc;
    rc = o->fresh && !o->now ? ERROR_NOT_FOUND : checkpoint_read(r, checkpoint_path(o, path), err);
    if (rc == 0)
        fprintf(stderr, "going on after step %lld (%s)\n", (long long)r->state.step, path);
    if (rc && (rc != ERROR_NOT_FOUND || o->now))
        return rc;
    rc = o->now ? 0 : steps_run(r, o, err);
    if (rc == 0)
        run_take_best(r);
    return rc;
}

int train_loop_finish(const struct run *r, const struct train_loop_options *o, struct error *err)
{
    char path[PATH_MAX_BYTES];
    struct error left;
    int rc = report_write(r, o->out, err);
    if (rc == 0 && !o->now && file_remove(checkpoint_path(o, path), &left))
        log_warn("train", "%s", left.message);
    if (rc == 0)
        fprintf(stderr, "wrote %s, %s.log.json and %s.svg\n", o->out, o->out, o->out);
    return rc;
}

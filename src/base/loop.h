/* One event loop per thread; the only user of libevent's core.
 *
 * Everything here belongs to the loop's own thread, except loop_post and loop_stop, which any thread may
 * call. */
#ifndef WEIR_BASE_LOOP_H
#define WEIR_BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct loop;
struct event_base;

int loop_create(struct loop **out, struct error *err) MUST_USE;
/* Tasks still posted run first, so that nothing they own is lost. NULL is allowed. */
void loop_free(struct loop *loop);
/* Runs until loop_stop. */
int loop_run(struct loop *loop, struct error *err) MUST_USE;
void loop_stop(struct loop *loop); /* any thread */
/* Runs fn(ctx) on the loop's thread, later, in the order posted. Any thread; never fails. */
void loop_post(struct loop *loop, void (*fn)(void *ctx), void *ctx);
/* Runs what has been posted, and what that posts; on a loop that is not running (start-up, shutdown). */
void loop_run_posted(struct loop *loop);
bool loop_is_quiet(const struct loop *loop);           /* has this turn nothing else that is known yet? */
bool loop_is_current(const struct loop *loop);         /* is this the loop's thread? */
struct loop *loop_running(void);                       /* the one this thread is in; NULL: none */
struct event_base *loop_event_base(struct loop *loop); /* for the rooms that may include libevent */

/* A one-shot timer. */
struct loop_timer;
struct loop_timer *loop_timer_create(struct loop *loop, void (*fn)(void *ctx), void *ctx);
void loop_timer_start(struct loop_timer *timer, int64_t delay_ms); /* restarts if it runs */
/* Still in this turn of the loop, after the callbacks that are due; once, however often it is asked for. */
void loop_timer_soon(struct loop_timer *timer);
void loop_timer_stop(struct loop_timer *timer);
void loop_timer_free(struct loop_timer *timer); /* NULL is allowed */

/* A watched descriptor, level-triggered. */
enum loop_io_event { LOOP_READ = 1, LOOP_WRITE = 2 };
struct loop_io;
/* `events` is a mask of enum loop_io_event; the callback gets the events that fired. The descriptor stays the
 * caller's and must be open until loop_io_free. */
struct loop_io *loop_io_create(
    struct loop *loop, int fd, int events, void (*fn)(int fd, int events, void *ctx), void *ctx);
void loop_io_change(struct loop_io *io, int events); /* 0 pauses */
void loop_io_free(struct loop_io *io);               /* NULL is allowed; safe inside its own callback */

/* A signal delivered to this loop (process-wide; use one loop for signals). */
struct loop_signal;
struct loop_signal *loop_signal_create(
    struct loop *loop, int signal, void (*fn)(int signal, void *ctx), void *ctx);
void loop_signal_free(struct loop_signal *s);

#endif

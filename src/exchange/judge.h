/* Threads on which long texts are judged (router/ahead.h), beside the loops. First come, first judged:
 * whoever sends much waits for others who do, and for nobody else. */
#ifndef WEIR_EXCHANGE_JUDGE_H
#define WEIR_EXCHANGE_JUDGE_H

#include "exchange/world.h"
#include "router/ahead.h"

struct judge;
struct judge_job;

/* Where it fails, too, *out is to be freed: it has the threads that could be started. */
int judge_create(int threads, struct judge **out, struct error *err) MUST_USE;
/* After everyone has left, before the loops go: what was not judged is not any more. NULL is allowed. */
void judge_free(struct judge *j);

/* `ahead` is the job's from now on. Once it is judged, told(ctx) is called on the loop, which is this one,
 * and afterwards it is gone. */
struct judge_job *judge_begin(struct judge *j, struct router_ahead *ahead, struct exchange_world *world,
    struct loop *loop, void (*told)(void *ctx), void *ctx);
/* Nobody wants to be told any more, nor is it judged if it waits for that; on the loop. */
void judge_leave(struct judge *j, struct judge_job *job);

#endif

/* Which models are loaded: engines of a pool start their worker with the first call and give it up again.
 *
 *               a call, or preload            READY
 *   UNLOADED -------------------> STARTING --------> UP
 *      ^                                             |
 *      +---------------------------------------------+   idle for keep_alive, or the longest idle one when
 * another model that is asked for does not fit beside it, or when the system runs short of memory
 *
 * Models that wait to be loaded come in the order of their first waiting call. Where nothing is idle, the
 * model that has been loaded longest gives way once its turn is over: what it works on ends, its waiting
 * calls keep their places until it is loaded again. A model is loaded though it does not seem to fit when no
 * other one is.
 *
 * The room there is: what the system (and the control group) has available, less the weights of the loaded
 * models, which the system counts as available because they are mapped files; and never more than the limits.
 */
#ifndef WEIR_ENGINE_POOL_H
#define WEIR_ENGINE_POOL_H

#include "base/loop.h"

struct engine_pool;

struct engine_pool_limits {
    int64_t memory;  /* bytes of weights and state of all loaded models; 0: what the system has */
    int64_t reserve; /* that is to stay available: idle models go where less is; 0: memory.h */
    int models;      /* loaded at once; 0: as many as fit */
    int64_t turn_ms; /* how long a busy model stays while another one waits; 0: 10 s or four times its load */
};

struct engine_pool *engine_pool_create(struct loop *home);
/* On the home loop, after the last of its engines. NULL is allowed. */
void engine_pool_free(struct engine_pool *p);
void engine_pool_limit(struct engine_pool *p, const struct engine_pool_limits *limits); /* home loop */

#endif

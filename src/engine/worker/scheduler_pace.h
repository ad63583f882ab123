/* How many tokens of prompts a step takes beside the sequences that generate: so many that it takes no longer
 * than they bear.
 *
 *   what is borne   GAP_MOST x the time of a step without prompts, in all but a twentieth of the steps
 *   what is aimed at   `times` x that time: a little more after each step that kept to it, much less after
 * one that did not. So where steps vary little nearly all is used, and where they vary much, as on a machine
 * that has other work, there is as much room for it as it takes.
 *
 * Times are measured again and again: contexts grow, and the machine's load changes. Nothing here knows a
 * clock: a step's time is given. */
#ifndef WEIR_ENGINE_WORKER_SCHEDULER_PACE_H
#define WEIR_ENGINE_WORKER_SCHEDULER_PACE_H

#include <stdint.h>

enum { PACE_SEEN = 3 };

/* Starts from {0}. Times in ns; 0: not known. */
struct pace {
    double seen[PACE_SEEN];         /* the newest steps without prompts, with a token for each of `streams` */
    double alone;                   /* the shortest of these: what holds one up says nothing of the others */
    double token;                   /* of each token of a prompt beside them */
    double times;                   /* 0: not yet */
    int32_t streams, n_seen, since; /* since: steps beside prompts since `alone` was measured */
};

/* Tokens of prompts, at most `room`, for a step in which `streams` sequences generate. 0: first see how long
 * one takes without. */
int32_t pace_room(const struct pace *p, int32_t streams, int32_t room);
/* A step of one token for each of `streams` and `read` others took so long. */
void pace_learn(struct pace *p, int32_t streams, int32_t read, int64_t took_ns);

#endif

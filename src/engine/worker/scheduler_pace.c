#include "engine/worker/scheduler_pace.h"

#define GAP_MOST 3.0
#define TIMES_FIRST 2.5
#define TIMES_LEAST 1.2
#define TIMES_MOST 2.9
#define TIMES_UP 0.01 /* with these two in balance one step in 25 is longer than is borne */
#define TIMES_DOWN 0.24
enum { CHUNK_FIRST = 4, AGAIN = 16 }; /* tokens while none was measured; steps until one is measured again */

static double times_of(const struct pace *p)
{
    return p->times > 0 ? p->times : TIMES_FIRST;
}

int32_t pace_room(const struct pace *p, int32_t streams, int32_t room)
{
    if (streams == 0)
        return room;
    /* Never twice in a row: where streams come and go with every step, prompts would not be read at all. */
    if (p->since > 0 && (p->streams != streams || p->since >= AGAIN))
        return 0;
    if (p->alone <= 0)
        return 0;
    if (p->token <= 0)
        return room < CHUNK_FIRST ? room : CHUNK_FIRST;
    const double most = (times_of(p) - 1) * p->alone / p->token;
    return most >= room ? room : most > 1 ? (int32_t)most : 1;
}

static void learn_alone(struct pace *p, int32_t streams, double took)
{
    if (p->streams != streams)
        p->n_seen = 0;
    p->streams = streams;
    p->since = 0;
    for (int i = PACE_SEEN - 1; i > 0; i--)
        p->seen[i] = p->seen[i - 1];
    p->seen[0] = took;
    p->n_seen += p->n_seen < PACE_SEEN;
    p->alone = took;
    for (int i = 1; i < p->n_seen; i++)
        p->alone = p->seen[i] < p->alone ? p->seen[i] : p->alone;
}

static void learn_beside(struct pace *p, int32_t read, double took)
{
    const double least = p->alone / 100, more = took - p->alone > least ? took - p->alone : least;
    const double times = times_of(p) + (took > GAP_MOST * p->alone ? -TIMES_DOWN : TIMES_UP);
    p->since++;
    p->token = p->token > 0 ? (p->token + more / read) / 2 : more / read;
    p->times = times < TIMES_LEAST ? TIMES_LEAST : times > TIMES_MOST ? TIMES_MOST : times;
}

void pace_learn(struct pace *p, int32_t streams, int32_t read, int64_t took_ns)
{
    const double took = (double)took_ns;
    if (read == 0)
        learn_alone(p, streams, took);
    else if (streams > 0)
        learn_beside(p, read, took);
    else /* a guess until it is known beside streams, which is dearer */
        p->token = p->token > 0 ? p->token : took / read;
}

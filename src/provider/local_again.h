/* A second answer beside a local one: its first tokens drawn once more, at a temperature of its own, only to
 * see how far they say the same (self-consistency: Wang et al. 2023; Manakul et al. 2023). The client never
 * hears of it, and it counts for nothing.
 *
 *   NONE                       nobody asked
 *   WAITS --> RUNS --> OVER    what both said is compared, once the answer has said as much
 *     |                 ^
 *     +-----------------+      no slot is free, now or when the answer is complete: NaN is told
 *
 * It shares the prompt's state with the answer where the engine can (scheduler.h). */
#ifndef WEIR_PROVIDER_LOCAL_AGAIN_H
#define WEIR_PROVIDER_LOCAL_AGAIN_H

#include "base/buf.h"
#include "provider/provider.h"

struct engine_call;

enum local_again_state { LOCAL_AGAIN_NONE, LOCAL_AGAIN_WAITS, LOCAL_AGAIN_RUNS, LOCAL_AGAIN_OVER };

struct local_again_text {
    struct buf said;
    bool whole; /* it ended by itself */
};

/* Zeroed: NONE. */
struct local_again {
    enum local_again_state state;
    struct engine *engine;
    struct engine_call *call;
    bool must;     /* it is waited for even where it has not begun */
    bool has_said; /* it ended as answers do */
    bool told;
    int32_t tokens, measured; /* of the answer: asked for, come */
    struct local_again_text answer, second;
};

/* Begins where the request asks for it. `sink` gets the engine's events, for local_again_hears_itself. */
void local_again_start(struct local_again *a, const struct provider_start *s, struct chat_sink sink);
void local_again_close(struct local_again *a); /* cancels; twice is allowed */

/* An event of the answer; of the second one. */
void local_again_hears(struct local_again *a, const struct chat_event *event);
void local_again_hears_itself(struct local_again *a, const struct chat_event *event);

/* Must the answer's last event wait for it? */
bool local_again_is_awaited(struct local_again *a);
/* Once: there is something to be told. */
bool local_again_tells(struct local_again *a, struct chat_event *out);

/* How far two texts say the same: the share of words that they have in common (F1 over words with their
 * number), 0 to 1. Of a text that was cut only as much counts as the other one has. */
double local_again_agreement(const struct local_again_text *x, const struct local_again_text *y);

#endif

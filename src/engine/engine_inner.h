/* What the gateway's files of this room share. Nobody else includes it.
 *
 *   caller's loop                       home loop                                       worker
 *   engine_chat  -- engine_post -->     call_opened -> waiting -> client_dispatch ---->  CHAT
 *   sink  <-- call_deliver (posted) --  call_push   <- client.c checks the frame <-----  START TEXT* USAGE
 * STOP
 *
 * Locks: engine.mutex and call.mutex are never held together, and no callback runs under either. Whatever has
 * no note belongs to the home loop. */
#ifndef WEIR_ENGINE_ENGINE_INNER_H
#define WEIR_ENGINE_ENGINE_INNER_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/limits.h"
#include "base/list.h"
#include "engine/engine.h"
#include "engine/spawn.h"
#include "engine/spill_file.h"

enum {
    ENGINE_BACKOFF_FIRST_MS = 250,
    ENGINE_BACKOFF_MOST_MS = 30 * 1000,
    ENGINE_STABLE_MS = 60 * 1000, /* UP for so long: the next crash starts at the first back-off again */
    ENGINE_EXIT_MS = 2 * 1000,    /* how long a worker may take to end once its socket is closed */
    ENGINE_FILE_POLL_MS = 1000,   /* how often a refused file, or one in use, is looked at for a change */
    ENGINE_SILENCE_MS = 600 * 1000,
    ENGINE_WAIT_MS = 300 * 1000,
    ENGINE_CONTEXT = 8192,  /* what a worker takes when it is not told, for the estimate */
    ENGINE_ASKS_MOST = 256, /* requests other than CHAT open at once */
    ENGINE_SLOTS_MOST = 4096
};
#define ENGINE_WAITING_BYTES (4 * LIMIT_WIRE_FRAME) /* requests that wait, encoded */
#define ENGINE_PENDING_HIGH (8 * MIB)               /* undelivered answers: above, the socket is not read */
#define ENGINE_PENDING_LOW (1 * MIB)

/* How far a call is. CHAT goes through all of them, the others leave out STARTED and COUNTED. */
enum { CALL_NUMBERS = 11, CALL_DRAWN = CALL_NUMBERS - 1 };
enum call_phase { CALL_WAITING, CALL_SENT, CALL_STARTED, CALL_COUNTED, CALL_ENDED };

struct engine_call {
    _Atomic int refs; /* the caller's, home's until the end, one for each posted task */
    struct engine *engine;
    struct loop *caller;
    enum wire_type type;
    struct chat_sink sink;     /* CHAT */
    struct engine_reply reply; /* the others */

    /* home loop */
    struct list node; /* in engine.waiting or engine.open */
    enum call_phase phase;
    uint32_t id;
    struct buf payload; /* until it is sent */
    size_t payload_bytes;
    int64_t opened_ms, sent_ms;
    uint64_t asker, ticket; /* CHAT: whose it is, its turn; others have the first */
    int64_t loading_ms;     /* of its wait, how long it was for the model to be loaded */
    bool held, cancelled;   /* paused or closed by the caller, as home knows it */
    int64_t prompt_tokens;  /* of START */
    int64_t tool_calls;     /* that came */
    int64_t measures;       /* that may still come */
    bool measures_prompt;   /* one of the prompt may */
    int64_t kv_tokens;      /* what it is counted as in engine.kv_tokens */

    /* call.mutex */
    pthread_mutex_t mutex;
    struct buf events; /* records on their way to the caller */
    bool posted, closed;

    /* caller's loop */
    struct buf taken; /* the records being delivered, from taken_at on */
    size_t taken_at;
    bool paused, finished;
};

struct engine {
    _Atomic int refs; /* the owner's and one for each call */
    char *name, *file, *executable, *kv_type;
    char *draft, *spill_folder, *sampling, *opening; /* NULL where there is none; the last two: JSON */
    struct engine_adapter *adapters;
    size_t n_adapters;
    struct engine_options options; /* numbers filled in; strings above */

    /* engine.mutex */
    pthread_mutex_t mutex;
    struct loop *home;           /* NULL once freed */
    struct engine_status status; /* active, queued: chats */
    int slots;                   /* of READY, until then as asked for */
    int asks;
    size_t waiting_bytes;
    struct buf ready;          /* the READY object */
    _Atomic int64_t kv_tokens; /* of all open calls */
    size_t pending;            /* bytes in all calls' `events` */
    bool reading_held;         /* the socket is not read until `pending` has fallen */
    int64_t keep_ms;           /* options.keep_alive_ms as it is now */
    double answer_ms;  /* how long chats take that the worker has: a running mean; 0: none has ended */
    int64_t rested_ms; /* the end of its last call; written on the home loop */

    /* home loop */
    struct list waiting, open; /* waiting: by turn (as exchange/gate.h) */
    uint64_t turn;             /* of the chat sent last */
    uint32_t next_id;
    int sent_chats;
    struct spawn_process process; /* pid 0: none */
    struct spill_file spill;      /* from the first load on, for all workers */
    bool spill_spare;             /* it has no name, for its own was another process's */
    struct loop_io *socket_io, *exit_io;
    bool socket_broken; /* writing failed; what the worker sent before is still read */
    struct buf in, out;
    size_t out_sent;    /* of `out`, already written */
    struct error fault; /* why the worker was given up; code 0: it was not */
    bool refused;       /* `fault` is the worker's own answer to LOAD */
    bool until_changed; /* DOWN until the file is another one */
    struct loop_timer *start_timer, *kill_timer, *silence_timer;
    int64_t backoff_ms, up_since_ms, heard_ms;
    struct spawn_mark mark; /* of the files last tried */
    int64_t looked_ms;      /* when they were last looked at */
    int writes; /* inotify's descriptor: tells where one of them is written over; -1: nobody does */

    /* home loop, in a pool */
    struct list pool_node;
    bool preload_due;                     /* to be loaded without a call */
    bool leaving;                         /* gives way to another model: no call is sent any more */
    bool outdated;                        /* to its own file as it is now */
    bool unloading;                       /* its process is ending because it was unloaded */
    int64_t started_ms, load_ms, left_ms; /* left_ms: when it last gave way */
    int64_t weight_bytes, state_bytes;
    bool state_known; /* state_bytes is the worker's own figure */
};

/* ---- engine.c ---- */
void engine_beside_find(struct engine *e); /* what stands beside the model's file, read for each load */
struct engine *engine_ref(struct engine *e);
void engine_unref(struct engine *e);
/* Runs fn(call) on the home loop with a reference; false, and nothing happens, when the engine was freed. */
bool engine_post(struct engine_call *c, void (*fn)(void *call));
/* Back-pressure: what calls have not taken yet stops the reading of the socket when it is too much. */
void engine_pending_add(struct engine *e, size_t bytes);
void engine_pending_drop(struct engine *e, size_t bytes);
bool engine_reading_held(struct engine *e);

int64_t engine_keep_ms(struct engine *e);

/* ---- call.c ---- */
struct engine_call *call_create(struct engine *e, struct loop *caller, enum wire_type type);
struct engine_call *call_ref(struct engine_call *c);
void call_unref(struct engine_call *c);
/* Home loop: passes one event on to the caller's loop. `numbers`: START prompt, cached; USAGE input, cached,
 * output and reasoning tokens, ns of prefill, decode and loading; MEASURE logprob, entropy, and 1: of the
 * prompt; TEXT, TOKENS, REASONING and TOOL_CALL at CALL_DRAWN the tokens drawn; STOP a chat_stop; ERROR code,
 * retry_after_ms. False when there is no memory for it: the call has then failed. */
struct call_event {
    enum wire_type type;
    int64_t numbers[CALL_NUMBERS];
    struct str bytes; /* TEXT, REASONING, TOOL_CALL, DATA, RESULT; ERROR: the message */
};
bool call_push(struct engine_call *c, const struct call_event *event);
void call_deliver(void *call); /* a task on the caller's loop; takes over one reference */
void call_opened(void *call);  /* a task on the home loop; likewise */
/* Home loop: the call has ended; passes its last event on (NULL: none) and drops home's reference. */
void call_finish(struct engine_call *c, const struct call_event *event);
void call_fail(
    struct engine_call *c, int64_t retry_after_ms, const char *message); /* with ERROR_UNAVAILABLE */

/* ---- client.c: the connection ---- */
int client_open(struct engine *e, struct error *err) MUST_USE; /* on process.socket; sends LOAD */
void client_close(struct engine *e);
void client_read_rest(struct engine *e); /* what a worker that has ended left in the socket */
void client_dispatch(struct engine *e);  /* sends what waits and may go */
void client_control(struct engine_call *c, enum wire_type type); /* PAUSE, RESUME, CANCEL */
void client_watch(struct engine *e);                             /* sets what the socket is watched for */

/* ---- client_frame.c: what a worker may say ---- */
int client_frame(struct engine *e, const struct wire_frame *f, struct error *err) MUST_USE;

/* ---- supervisor.c: the process ---- */
int supervisor_create(struct engine *e, struct error *err) MUST_USE;
void supervisor_stop(struct engine *e); /* ends the worker and waits for it */
/* Whether the files still are what the worker has mapped; else it is loaded again. */
void supervisor_look(struct engine *e);
/* In a pool: starts the worker of an UNLOADED engine; ends that of one that is UP with no open call. */
void supervisor_load(struct engine *e);
void supervisor_unload(struct engine *e, const char *why);
void supervisor_ready(struct engine *e, struct str info, int slots, int64_t context);
void supervisor_refused(struct engine *e, int code, struct str message); /* its own ERROR of call 0 */
void supervisor_fault(struct engine *e, const struct error *err);        /* it broke the protocol: kill it */
void supervisor_hung_up(struct engine *e);                               /* it closed its socket */
void supervisor_heard(struct engine *e);                                 /* it gave a sign of life */

/* ---- pool.c; they do nothing to an engine without a pool ---- */
void pool_join(struct engine *e);
void pool_leave(struct engine *e);
void pool_poke(struct engine *e); /* something has changed: the pool decides anew, soon */

#endif

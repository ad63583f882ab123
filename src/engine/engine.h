/* The gateway's side of a worker: starts it, supervises it, speaks wire.h with it.
 *
 *           create              READY              engine_free
 *   (none) --------> STARTING --------> UP -------------------> (gone)
 *                      ^  |             |
 *            back-off  |  +--> DOWN <---+   the worker died, broke the protocol or could not load
 *                      +--------+          250 ms, doubling to 30 s; reset after 60 s UP
 *
 * An engine of a pool (pool.h) is at first UNLOADED, and again when it is given up. Its calls wait for it.
 *
 * An engine lives on one loop, its home; calls may come from any loop, and their callbacks run on the loop
 * that made them, which is also where they are paused and closed. When the worker dies, every open call ends
 * with ERROR_UNAVAILABLE. A load that the file itself makes impossible (ERROR_INVALID, ERROR_UNSUPPORTED) is
 * not tried again until the file changes. */
#ifndef WEIR_ENGINE_ENGINE_H
#define WEIR_ENGINE_ENGINE_H

#include "base/loop.h"
#include "chat/chat.h"
#include "engine/pool.h"
#include "engine/wire.h"

struct engine;
struct engine_call;

/* A LoRA adapter: its file, the name that requests know it by, and how much of it they take by default. */
struct engine_adapter {
    const char *file, *name;
    double scale;
};

/* Of "x-00001-of-00003", a file's name without ".gguf": takes the end off, and gives 1 and 3. False: it is no
 * part of a split model. */
bool engine_part_read(struct str *stem, int64_t *part, int64_t *count);

/* What memory has no room for of keys and values, and what would end with the worker: a file in this folder. */
struct engine_spill {
    int64_t bytes;      /* that it may have; 0: there is none */
    const char *folder; /* copied */
    int64_t keep_ms;    /* how long, over restarts, too; 0: it has no name, and a key that is nowhere else */
};

struct engine_options {
    const char *name; /* for log lines */
    const char *file; /* the model; for "x-00001-of-0000N.gguf" the other parts beside it are opened too.
                         NULL: no model at all, for WIRE_RENDER with a template of its own */
    const char
        *executable; /* NULL: $WEIR_ENGINE, else weir-engine beside this program, else in ../libexec/weir */
    const struct engine_adapter *adapters; /* copied */
    size_t n_adapters;
    int threads;           /* 0: physical cores */
    int slots;             /* 0: as the worker chooses */
    int64_t kv_bytes;      /* for what is kept of sequences; 0: slots x context */
    const char *kv_type;   /* how: f32, f16, bf16, q8_0, q4_0; NULL: as the worker chooses; copied */
    int context;           /* per slot; 0: the model's own, at most 8192 */
    int queue_limit;       /* calls waiting for a slot before ERROR_BUSY; 0: 64 */
    bool inspect;          /* load metadata only */
    bool memory_unchecked; /* loaded though it does not seem to fit: weights are mapped and come as needed */
    bool drafts_off;       /* no tokens are drafted */
    const char *draft;     /* the file of a smaller model with the same vocabulary, which drafts; NULL: none; copied */
    struct engine_spill spill;
    int silence_ms; /* a worker that owes an answer and sends nothing for so long is killed; 0: 10 minutes */
    struct engine_pool *pool; /* NULL: loaded at once, and kept */
    int64_t keep_alive_ms;    /* in a pool: unloaded when idle for so long; negative: never for that */
    bool preload;             /* in a pool: loaded without being asked */
    int wait_ms;              /* in a pool: how long a call waits for the model to be loaded; 0: 5 minutes */
};

enum { ENGINE_ADAPTERS_MAX = 64 };
/* NAME.params.json beside NAME.gguf: how the model wants tokens drawn where a request does not say, as Ollama has
 * it ({"temperature": 0.7, "stop": ["..."]}). */
#define ENGINE_PARAMS ".params.json"
/* How its conversations begin, as Ollama has it: a text that is the system's where a request has none, and
 * messages ([{"role", "content"}]) before a request's. */
#define ENGINE_SYSTEM ".system"
#define ENGINE_MESSAGES ".messages.json"
/* What else may have come along: an adapter, loaded with it; what sees; Ollama's template and licences, to be read. */
#define ENGINE_ADAPTER ".adapter.gguf"
#define ENGINE_PROJECTOR ".projector.gguf"
#define ENGINE_TEMPLATE ".template"
#define ENGINE_LICENSE ".license"
/* What an adapter is called where it is not said: its file's name without folder and .gguf. */
struct str engine_adapter_name(struct str file);

enum engine_state { ENGINE_STARTING, ENGINE_UP, ENGINE_DOWN, ENGINE_UNLOADED };

struct engine_status {
    enum engine_state state;
    int pid; /* 0 when none */
    int restarts;
    int active, queued;             /* calls the worker has; calls that wait for it */
    int slots;                      /* calls it works on at once */
    int64_t wait_ms;                /* until a call that comes now is begun, as things went of late; -1: unknown */
    int64_t context;                /* tokens a slot holds, as the worker told; 0: not yet */
    int64_t kv_tokens;              /* of the calls the worker has: prompts and pieces of answers so far */
    uint64_t load_done, load_total; /* bytes, while STARTING; 0 unknown */
    int64_t loads, unloads;         /* since it was created */
    int64_t load_ms;                /* how long the last load took */
    int64_t bytes;                  /* weights and state; an estimate until it was once loaded */
    int64_t expires_ms; /* UP and idle: when it is unloaded, by the monotonic clock; -1: not planned */
    char message[256];  /* why it is DOWN */
};

/* Copies the options. Fails only on what can be seen at once (no such file); everything later is a state. */
int engine_create(
    struct loop *home, const struct engine_options *options, struct engine **out, struct error *err) MUST_USE;
/* On the home loop. Ends the worker (SIGTERM by closing the socket, SIGKILL after 2 s); open calls end first.
 */
void engine_free(struct engine *e);
void engine_status(struct engine *e, struct engine_status *out); /* any thread */
/* Tells what its files hold now from what they held before: another number once one was replaced. Any thread. */
uint64_t engine_files_version(const struct engine *e);
/* How long the model is kept from now on: as one caller wishes, until the next one says; NULL: as configured.
 * Any thread. */
void engine_keep_alive(struct engine *e, const int64_t *ms);
/* Replaces keep_alive_ms and preload of the options. On the home loop. */
void engine_configure(struct engine *e, int64_t keep_alive_ms, bool preload);
/* The READY object as JSON text, or empty; copied into the arena. Any thread. */
struct str engine_ready_info(struct engine *e, struct arena *a);

/* Starts an answer. A DOWN engine refuses at once with ERROR_UNAVAILABLE; a STARTING one queues the call. The
 * request is encoded before return. Events arrive on `caller`; STOP or ERROR is the last. The call must then
 * be closed with engine_call_close, which before the last event cancels it; no callback runs after it. */
int engine_chat(struct engine *e, struct loop *caller, const struct chat_request *request,
    struct chat_sink sink, struct engine_call **out, struct error *err) MUST_USE;

/* Any other request of wire.h (TOKENIZE ... TENSOR): `reply` gets DATA frames, then RESULT or ERROR (code and
 * message in `err`) last. */
struct engine_reply {
    void (*frame)(void *ctx, enum wire_type type, struct str payload, const struct error *err);
    void *ctx;
};
int engine_ask(struct engine *e, struct loop *caller, enum wire_type type, struct str payload,
    struct engine_reply reply, struct engine_call **out, struct error *err) MUST_USE;

void engine_call_pause(struct engine_call *call, bool paused);
void engine_call_close(struct engine_call *call);

#endif

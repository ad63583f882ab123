/* An engine of a verb's own: a private loop, one question at a time. */
#ifndef WEIR_APP_ENGINE_SESSION_H
#define WEIR_APP_ENGINE_SESSION_H

#include <stdio.h>

#include "engine/engine.h"

struct engine_session;

/* Which model a verb was given: a file, or a name of the configuration that stands for one. */
struct engine_model {
    struct arena *arena;
    const char *file;
    struct engine_adapter *adapters;
    size_t n_adapters;
    const char *draft; /* a model that drafts for it; NULL: none */
    int context, threads;
    bool memory_unchecked;
};
/* `name` NULL: the configuration's first model with a file. `config` NULL: as config_load finds it. */
int engine_model_find(
    const char *name, const char *config, struct engine_model *out, struct error *err) MUST_USE;
/* Adds adapters given as FILE[:SCALE], several parted by commas; NULL adds none. */
int engine_model_adapt(struct engine_model *m, const char *list, struct error *err) MUST_USE;
void engine_model_free(struct engine_model *m);

/* Starts a worker; that it cannot load the model shows in the first answer. Shows a progress bar on standard
 * error while it loads, where that is a terminal. */
int engine_session_open(
    const struct engine_options *o, struct engine_session **out, struct error *err) MUST_USE;
void engine_session_close(struct engine_session *s); /* NULL is allowed */
/* Waits until the model is loaded, or cannot be. Without it the first question waits. */
int engine_session_wait(struct engine_session *s, struct error *err) MUST_USE;
void engine_session_status(struct engine_session *s, struct engine_status *out);
struct loop *engine_session_loop(struct engine_session *s);

/* Asks and waits. The RESULT, a JSON object, goes to `result` (NULL: dropped), DATA frames to `data` (NULL:
 * none are expected), which may fail and so give the call up. */
struct engine_session_data {
    int (*fn)(void *ctx, struct str bytes, struct error *err);
    void *ctx;
};
int engine_session_ask(struct engine_session *s, enum wire_type type, struct str payload, struct buf *result,
    const struct engine_session_data *data, struct error *err) MUST_USE;

/* An answer, passed on as it comes; waits for its end. text(ctx, ...) returns non-zero to end the answer
 * early, which is no error; so does engine_session_interrupt. */
struct engine_session_answer {
    int (*text)(void *ctx, struct str text);
    void *ctx;
    enum chat_stop stop;     /* out, when it ended by itself */
    struct chat_usage usage; /* out */
    bool interrupted;        /* out */
};
int engine_session_chat(struct engine_session *s, const struct chat_request *request,
    struct engine_session_answer *answer, struct error *err) MUST_USE;
void engine_session_interrupt(struct engine_session *s); /* on the session's loop */

#endif

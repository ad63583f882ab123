/* What the parts of a session share (inside the session code).
 *
 *   session.c         frames in and out, who may ask what
 *   session_load.c    LOAD: the file, the model, READY
 *   session_chat.c    CHAT: prompt, sampling, streaming
 *   constraint.c      what an answer must follow
 *   session_logits.c  LOGITS
 *   prompt.c          conversations to prompts
 *   session_text.c    TOKENIZE DETOKENIZE RENDER
 *   session_show.c    SHOW TENSOR
 *   session_embed.c   EMBED
 *   session_rerank.c  RERANK
 *   session_bench.c   BENCH, and session_bench_copy.c
 *   session_lora.c    adapters
 *   session_draft.c   a smaller model that drafts
 *   session_fit.c     what SHOW says of running here
 *   sampling_file.c   how the model's file wants tokens drawn */
#ifndef WEIR_ENGINE_WORKER_SESSION_INNER_H
#define WEIR_ENGINE_WORKER_SESSION_INNER_H

#include "base/limits.h"
#include "base/list.h"
#include "engine/wire.h"
#include "engine/worker/backend.h"
#include "engine/worker/gguf.h"
#include "engine/worker/scheduler.h"
#include "engine/worker/session.h"
#include "chat/chat.h"
#include "json/json.h"

enum { CALLS_MAX = 1024 };
#define QUEUE_HIGH MIB                         /* bytes waiting for the gateway at which work pauses */
#define QUEUE_MAX (LIMIT_WIRE_FRAME + 2 * MIB) /* the frame that passes QUEUE_HIGH must fit */

/* TEMPLATE: no model file at all, only chat templates that come with their request. */
enum session_stage { SESSION_NEW, SESSION_FAILED, SESSION_TEMPLATE, SESSION_INSPECT, SESSION_UP };

/* A LoRA adapter beside the model, and how much of it a request takes that does not say. */
struct session_adapter {
    char name[LIMIT_MODEL_NAME + 1];
    float scale;
};

struct session {
    struct session_setup setup;
    enum session_stage stage;
    bool broken; /* an answer was lost: the connection cannot go on */
    struct buf in, out;
    size_t sent; /* of out */
    struct list calls;
    size_t n_calls;
    struct gguf *gguf;
    struct session_adapter *adapters;
    struct gguf **adapter_files;
    int32_t n_adapters;
    struct tokenizer
        *tokenizer; /* NULL while inspecting a file whose tokenizer does not run: see tokenizer_error */
    struct error tokenizer_error;
    struct chat_template
        *template; /* NULL: the file has none, or template_error says why it cannot be used */
    struct error template_error;
    struct backend *backend;
    struct model *model;
    struct model_state *state;
    struct gguf *draft_gguf; /* of a smaller model that drafts; NULL: none */
    struct model *draft_model;
    struct model_state *draft_state;
    struct scheduler *scheduler;         /* NULL for an encoder */
    struct grammar_vocab *grammar_vocab; /* made when the first answer must follow something */
    json_t *opening;                     /* messages that conversations begin with; NULL: none */
    struct chat_sampling sampling;       /* what stands beside the file, or it says: general.sampling.* */
    struct str *stops;                   /* likewise, where a request has none */
    size_t n_stops;
    struct arena *stops_arena; /* NULL: there are none */
    struct model_room room;
    int32_t n_context, n_slots, n_threads;
};

/* A call that takes more than one turn of the wheel. */
struct call {
    struct list node;
    struct session *session;
    uint32_t id;
    bool paused;
    struct sequence *sequence;            /* CHAT, LOGITS */
    float *scales;                        /* its adapters' */
    int (*turn)(struct call *call);       /* TENSOR, BENCH: does the next piece; 1 more to come, 0 done */
    void (*free_data)(struct call *call); /* frees `data` */
    void *data;
};

/* Frames to the gateway. A result that does not fit a frame becomes an ERROR. */
void session_send(struct session *s, uint32_t id, enum wire_type type, struct str payload);
void session_send_drawn(
    struct session *s, uint32_t id, enum wire_type type, int32_t drawn, struct str payload);
void session_send_error(struct session *s, uint32_t id, int code, const struct error *err);
/* A RESULT built in a buffer, whose failure becomes an ERROR. */
void session_send_result(struct session *s, uint32_t id, const struct buf *json);

int call_create(struct session *s, uint32_t id, struct call **out, struct error *err) MUST_USE;
void call_free(struct call *call); /* cancels its sequence */

/* Requests. Those that can fail answer nothing then: the dispatcher sends the ERROR. */
int session_load(struct session *s, struct str payload, struct error *err) MUST_USE;
void session_unload(struct session *s);
int session_chat(struct session *s, uint32_t id, struct str payload, struct error *err) MUST_USE;
int session_logits(struct session *s, uint32_t id, struct str payload, struct error *err) MUST_USE;
int session_tokenize(struct session *s, uint32_t id, struct str payload, struct error *err) MUST_USE;
int session_detokenize(struct session *s, uint32_t id, struct str payload, struct error *err) MUST_USE;
int session_render(struct session *s, uint32_t id, struct str payload, struct error *err) MUST_USE;
int session_show(struct session *s, uint32_t id, struct str payload, struct error *err) MUST_USE;
int session_embed(struct session *s, uint32_t id, struct str payload, struct error *err) MUST_USE;
int session_rerank(struct session *s, uint32_t id, struct str payload, struct error *err) MUST_USE;
int session_bench(struct session *s, uint32_t id, struct str payload, struct error *err) MUST_USE;
int session_tensor(struct session *s, uint32_t id, struct str payload, struct error *err) MUST_USE;

/* What the model makes of the tokens, checked to be numbers: *n_rows rows of n_embedding floats, which the
 * caller frees. */
int session_encode(struct session *s, const struct token_list *tokens, float **rows, size_t *n_rows,
    struct error *err) MUST_USE;
/* SHOW's member "fit": whether the file runs here, the memory it takes, how fast it is likely to be. */
void session_fit_write(struct session *s, struct json_writer *w);

/* LOAD's "adapters": [{"name","scale"}]; their files are the last of the session's. */
int session_adapters_open(struct session *s, const json_t *list, struct error *err) MUST_USE;
void session_adapters_close(struct session *s);
/* LOAD's "draft": its file stands before the adapters'. The vocabulary must be the model's: ERROR_INVALID. */
int session_draft_open(struct session *s, struct error *err) MUST_USE;
int session_draft_load(struct session *s, struct error *err) MUST_USE;
uint64_t session_draft_bytes(const struct session *s); /* that it takes, with its state; 0: there is none */
int session_draft_start(struct session *s, struct error *err) MUST_USE; /* once the model's sizes are known */
void session_draft_close(struct session *s);
/* A request's "lora": [{"id" or "name", "scale"}] becomes the call's scales: adapters that it does not name
 * take no part; NULL: each takes what it was loaded with. ERROR_INVALID for one that is not there. */
int session_adapters_read(
    const struct session *s, const json_t *list, float **scales, struct error *err) MUST_USE;

/* Numbers and "stop" of `beside` (an object or NULL), then general.sampling.*; what cannot be true is left
 * out with a warning. */
void session_sampling_read(const struct gguf *g, const json_t *beside, struct session *s);

/* {"ids"|"tokens": [...]} to a list, each id in 0..2^31-1. */
int session_ids_read(
    const json_t *object, const char *key, struct token_list *out, struct error *err) MUST_USE;

#endif

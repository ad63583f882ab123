/* chat_events into Ollama's answers: NDJSON chunks and the whole answer, of /api/chat and /api/generate. Pure
 * but for the clock. Source: Ollama's api/types.go and docs/api.md (August 2026).
 *
 *   {"model","created_at","message":{"role","content","thinking"?,"tool_calls"?},"done":false} chunks
 *   ...,"done":true,"done_reason","total_duration","load_duration","prompt_eval_count",
 *    "prompt_eval_duration","eval_count","eval_duration"}                                    the last one
 *
 * /api/generate has "response" and "thinking" in place of "message". Durations are nanoseconds: the engine's
 * own, else as seen from here. */
#ifndef WEIR_API_OLLAMA_OUT_H
#define WEIR_API_OLLAMA_OUT_H

#include "api/tool_calls.h"

struct ollama_answer {
    bool chat;
    char model[256];              /* as the client named it */
    int64_t started_ns, first_ns; /* monotonic; first_ns 0: nothing has come yet */
    struct buf text, thinking;    /* whole answers */
    struct buf logprobs;          /* the members of the list, JSON */
    struct tool_calls calls;      /* gathered: a call is told when it is complete */
    size_t n_told;
    enum chat_stop stop;
};

void ollama_answer_init(struct ollama_answer *a, bool chat, struct str model);
void ollama_answer_free(struct ollama_answer *a);
int ollama_answer_gather(struct ollama_answer *a, const struct chat_event *e, struct error *err) MUST_USE;
void ollama_answer_write(struct ollama_answer *a, const struct chat_usage *usage, struct buf *out);
void ollama_stream_event(struct ollama_answer *a, const struct chat_event *e, struct buf *out);
void ollama_stream_end(struct ollama_answer *a, const struct chat_usage *usage, struct buf *out);

/* The answer to a request that only loads or unloads: `reason`. */
void ollama_load_write(struct ollama_answer *a, const char *reason, struct buf *out);
/* {"error"}; the same as a shape's `error` (shape.h). */
int ollama_error(int status, struct str message, struct str type, struct str request_id, struct buf *out);
int64_t ollama_now_ns(void); /* of the wall clock */
/* "2026-11-20T12:00:00.123456789Z" (RFC 3339). */
void ollama_time_write(struct json_writer *w, const char *key, int64_t wall_ns);

#endif

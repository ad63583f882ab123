/* What a model says, taken apart while it streams: reasoning, text, tool calls.
 *
 *   REASONING --</think>--> TEXT --<tool_call> or its like--> CALL --</tool_call>--> TEXT
 *
 * Each family writes calls in its own way; the model's template tells which:
 *   HERMES   <tool_call>{"name": ..., "arguments": {...}}</tool_call>, any number   (Hermes, Qwen)
 *   LLAMA3   {"name": ..., "parameters": {...}}, nothing else, maybe after <|python_tag|>; more after ';'
 *   MISTRAL  [TOOL_CALLS][{"name": ..., "arguments": {...}}, ...], or [TOOL_CALLS]name[ARGS]{...} each
 * What only looked like a call is text after all. */
#ifndef WEIR_ENGINE_WORKER_REPLY_H
#define WEIR_ENGINE_WORKER_REPLY_H

#include "base/buf.h"
#include "base/error.h"
#include "json/json.h"

enum reply_syntax { REPLY_PLAIN, REPLY_HERMES, REPLY_LLAMA3, REPLY_MISTRAL };

/* How the model whose template this is writes calls. PLAIN: it writes none that are known here. */
enum reply_syntax reply_syntax_of(struct str template);
/* Does it write its reasoning between <think> and </think>? */
bool reply_reasons(struct str template);

struct reply_sink {
    void (*text)(void *ctx, struct str text);
    void (*reasoning)(void *ctx, struct str text);
    /* A whole call; `arguments` is the text of a JSON object. */
    void (*tool_call)(void *ctx, struct str name, struct str arguments);
    void *ctx;
};

enum reply_state { REPLY_START, REPLY_REASONING, REPLY_TEXT, REPLY_CALL };

struct reply {
    enum reply_syntax syntax; /* PLAIN: no tools were given */
    bool reasons;
    struct reply_sink sink;
    enum reply_state state;
    bool quiet;      /* white space is left out until something else comes */
    struct buf held; /* what may begin a tag; in CALL the call so far */
    size_t scanned;  /* CALL: bytes in which no end of a call begins */
    size_t tried;    /* ends that were looked at */
    size_t n_calls;
};

/* `inside`: the prompt ends in an open <think>. */
void reply_init(
    struct reply *r, enum reply_syntax syntax, bool reasons, bool inside, const struct reply_sink *sink);
void reply_free(struct reply *r);
/* Whole characters. */
int reply_push(struct reply *r, struct str text, struct error *err) MUST_USE;
int reply_finish(struct reply *r, struct error *err) MUST_USE;
/* Is it a special token that must be read as text to take the reply apart? */
bool reply_wants(const struct reply *r, struct str token);

#endif

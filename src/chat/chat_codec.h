/* A chat_request as JSON for the worker and back.
 *
 *   {"body": {"messages","tools"...},   what the chat template sees, in OpenAI's shape
 *    "prompt": "...",                   instead of body: continued as it stands (raw)
 *    "prompt_ids": [1, 2],              or its tokens
 *    "suffix": "...",                   beside either: what is to follow the answer
 *    "prediction": "...",               what the answer is likely to say, for the most part
 *    "sampling": {...},                 chat_sampling.h has the names; unset ones absent
 *    "max_tokens": n, "stop": ["..."],
 *    "logprobs": n,                     text comes with its tokens and n alternatives for each
 *    "measure": n,                      the first n tokens come with how sure the model was of them
 *    "measure_prompt": true,            and before them how likely it found the prompt's end
 *    "context_shift": true, "n_keep": n,
 *    "truncation": true,                of a body over the context the oldest turns are left out
 *    "lora": [{"id" or "name", "scale"}], how much of which adapter
 *    "grammar": "root ::= ...",         what the answer must follow, as GBNF
 *    "schema": {...},                   or as JSON Schema; at most one of the two. Beside tools, a call may
 * come instead "must_call": true, "call_name": "...",   it must call a tool (of body's), or this one
 *    "one_call": true}                        it calls no more than one at once */
#ifndef WEIR_CHAT_CHAT_CODEC_H
#define WEIR_CHAT_CHAT_CODEC_H

#include "chat/chat.h"

/* One choice of the request: `n` is not among what the worker is told. */
int chat_codec_write(const struct chat_request *r, struct buf *out, struct error *err) MUST_USE;

/* What the worker needs of a request; spans and trees live in the arena. */
struct chat_work {
    const json_t *body; /* NULL: use prompt */
    struct str prompt;
    const json_t *prompt_ids; /* NULL: none; a list of whole numbers, 0..INT32_MAX */
    struct str suffix;        /* STR_NONE: none */
    struct str prediction;    /* the same */
    struct chat_sampling sampling;
    int64_t max_tokens;   /* -1: until the context is full */
    int64_t logprobs;     /* -1: none; else how many alternatives, 0..CHAT_TOP_LOGPROBS_MAX */
    int64_t measure;      /* tokens at the beginning, 0..CHAT_MEASURE_MAX */
    bool measure_prompt;
    int64_t asker, scope; /* of chat_request, without their sign; 0: nobody's */
    bool context_shift;
    int64_t n_keep; /* -1 unset */
    bool truncation;
    struct str *stops;
    size_t n_stops;
    const json_t *lora;   /* NULL: none; for the engine to check */
    struct str grammar;   /* GBNF that the answer must follow; STR_NONE: none */
    const json_t *schema; /* JSON Schema that it must follow; NULL: none */
    bool must_call;       /* it must be a tool call */
    bool one_call;        /* it calls no more than one tool */
    struct str call_name; /* of this tool; STR_NONE: of any */
};
/* What `response_format` or `grammar` among a request's vendor members ask for: one of the two, or neither.
 * ERROR_INVALID where they are malformed, ERROR_UNSUPPORTED where they ask for something else. */
int chat_constraint_read(
    const struct chat_request *r, struct str *grammar, const json_t **schema, struct error *err) MUST_USE;
/* The text of `prediction` among its vendor members, in its arena; STR_NONE: none. ERROR_INVALID where it is
 * malformed. */
int chat_prediction_read(const struct chat_request *r, struct str *text, struct error *err) MUST_USE;
int chat_codec_read(struct arena *a, struct str payload, struct chat_work *out, struct error *err) MUST_USE;

#endif

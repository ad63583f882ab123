/* What the parts of reply share.
 *
 *   reply.c         states, text and reasoning
 *   reply_call.c    calls that are read as they come: JSON, NAMED, TAGGED, CHANNEL
 *   reply_value.c   values that are not written as JSON; GEMMA and PYTHON calls
 *   reply_json.c    where a JSON value ends
 *   reply_syntax.c  the families */
#ifndef WEIR_ENGINE_WORKER_REPLY_INNER_H
#define WEIR_ENGINE_WORKER_REPLY_INNER_H

#include "engine/worker/reply.h"

enum reply_progress {
    REPLY_MORE, /* needs more text */
    REPLY_ON,   /* something was read: go on */
    REPLY_END,  /* the calls end here */
    REPLY_FAIL  /* this is no call */
};

enum { REPLY_NAME_MAX = 256, REPLY_TRIES = 64 };

/* 1: the text at `at` begins with the marker, 0: it may yet, -1: it does not. An empty marker is there. */
int reply_expect(struct str text, size_t at, struct str marker);
/* Bytes at the end of `text` that may begin `tag`. */
size_t reply_overlap(struct str text, struct str tag);

void reply_call_begin(struct reply *r);
enum reply_progress reply_call_step(struct reply *r);
/* The answer ends in a call. */
enum reply_progress reply_call_finish(struct reply *r);
/* Passes a whole call on; `arguments` empty: {}. */
void reply_call_pass(struct reply *r, struct str name, struct str arguments);

/* The value of a parameter as the family's bare text: by its schema. The caller owns it; NULL: no memory. */
json_t *reply_value_typed(struct str text, const json_t *parameters, struct str key);
/* Is it the beginning of the JSON that the schema wants? Then a closing marker stands inside a string. */
bool reply_value_goes_on(struct str text, const json_t *parameters, struct str key);
/* Calls written as name{...} and [name(...), ...]; false: they are none, and nothing was passed on. */
bool reply_gemma_pass(struct reply *r, struct str text);
bool reply_python_pass(struct reply *r, struct str text);

#endif

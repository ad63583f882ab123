/* Responses that were kept: later requests go on from them, and clients look at them and delete them.
 *
 *   {"input": B, "previous_response_id": R}   ->   {"input": R's input + R's output + B, ...}
 *   {"type": "item_reference", "id": I}       ->   the item of that id
 *
 * The request is read with all of it in its place, so that what decides where it may go sees the whole. */
#ifndef WEIR_API_RESPONSES_KEPT_H
#define WEIR_API_RESPONSES_KEPT_H

#include "api/api.h"

enum { RESPONSES_ID = 48 };
/* The id of the response to the request with that row in the ledger: "resp_" and what makes the row's its
 * own. */
void api_responses_id(struct str row_id, char out[RESPONSES_ID]);

/* The request that was answered so, as a body that api_responses_read reads; in the arena. */
int api_responses_again(
    const struct store_response *kept, struct arena *a, struct str *body, struct error *err) MUST_USE;

/* As a shape's `fetch` and `join`. What was not fetched join reads itself, for which it waits. */
bool api_responses_fetch(
    struct api_call *c, struct arena *a, struct str body, void (*done)(void *ctx), void *ctx);
int api_responses_join(
    const struct api_call *c, struct arena *a, struct str *body, struct error *err) MUST_USE;

/* Why the response could not be had, in words; returns the code. */
int api_responses_unread(struct str id, int code, struct error *err);

/* What is kept of a request's `input`: its items, each with an id (in_ID_0) and its content as a list. */
void api_responses_input_write(const char *id, const json_t *input, struct buf *out);

#endif

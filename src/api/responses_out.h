/* chat_events into OpenAI's Responses: a whole response, or the events of its stream. Pure: everything is
 * appended to a buffer.
 *
 *   created in_progress item* (completed | incomplete | error failed)
 *   item:  output_item.added (content_part.added delta* done content_part.done)? output_item.done
 *
 * An item ends when the next one begins, but for calls that the model writes side by side: those whose
 * arguments are no whole JSON yet stay open. The items are kept, for the last event holds the whole response.
 */
#ifndef WEIR_API_RESPONSES_OUT_H
#define WEIR_API_RESPONSES_OUT_H

#include "api/responses_kept.h"
#include "chat/chat.h"

enum { RESPONSES_MAX_ITEMS = 4096 };

enum responses_kind { RESPONSES_REASONING, RESPONSES_MESSAGE, RESPONSES_CALL };

struct responses_item {
    enum responses_kind kind;
    char id[48];
    struct buf text;     /* or reasoning, or arguments */
    struct buf secret;   /* reasoning: encrypted_content */
    struct buf logprobs; /* message: of its tokens, as JSON with commas between */
    struct buf call_id, name;
    uint32_t call; /* its index among the tool calls */
    bool has_part; /* its text has begun */
    bool refusal;  /* message: the text says why there is no answer */
    bool closed;
};

struct responses_answer {
    char id[RESPONSES_ID]; /* items are numbered by it: msg_ID_0 */
    int64_t created_s;
    struct str model;
    struct buf asked; /* what is said again of the request, as JSON members */
    bool summary;     /* reasoning goes out as its summary */
    bool obfuscation; /* streams: a delta's length tells little of its text's */
    bool store;       /* it is kept, as the answer says */
    struct buf input; /* then: what it answers, as a JSON array */
    struct buf body;  /* and what it was */
    struct responses_item *items;
    size_t n_items, capacity;
    enum chat_stop stop;
    /* streams */
    bool opened;
    bool failed; /* it has been told, or the answer is too large */
    int64_t sequence;
};

void responses_answer_init(struct responses_answer *a, const struct chat_request *r, struct str row_id);
/* It may be kept: false where the request does not want it. `r` NULL: it cannot be after all. */
bool responses_answer_keep(struct responses_answer *a, const struct chat_request *r);
void responses_answer_free(struct responses_answer *a);

/* Whole answers: gather each event, then write. ERROR_LIMIT when the answer passes its bound. */
int responses_answer_gather(
    struct responses_answer *a, const struct chat_event *e, struct error *err) MUST_USE;
void responses_answer_write(struct responses_answer *a, const struct chat_usage *usage, struct buf *out);

/* Streams: the server-sent events of one chat_event; then the closing ones. */
void responses_stream_event(struct responses_answer *a, const struct chat_event *e, struct buf *out);
void responses_stream_end(struct responses_answer *a, const struct chat_usage *usage, struct buf *out);

#endif

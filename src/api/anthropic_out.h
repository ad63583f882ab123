/* chat_events into Anthropic's answers: a whole message, or the events of its stream; and Anthropic's errors.
 * Pure: everything is appended to a buffer.
 *
 *   message_start (content_block_start ping? content_block_delta* content_block_stop)* message_delta
 * message_stop
 *
 * One block is open at a time and numbered by its place. Pieces of a later tool call wait while an earlier
 * one lacks its end. */
#ifndef WEIR_API_ANTHROPIC_OUT_H
#define WEIR_API_ANTHROPIC_OUT_H

#include "chat/chat.h"

enum { ANTHROPIC_MAX_BLOCKS = 4096 };

enum anthropic_block_kind {
    ANTHROPIC_NONE,
    ANTHROPIC_TEXT,
    ANTHROPIC_THINKING,
    ANTHROPIC_REDACTED, /* text: its data */
    ANTHROPIC_TOOL,     /* text: its arguments */
    ANTHROPIC_NATIVE    /* text: the block itself */
};

struct anthropic_block {
    enum anthropic_block_kind kind;
    struct buf text, more; /* more: a thought's signature, a text's citations, a tool call's id */
    struct buf name, rest; /* a tool call's; rest: further members of it */
    uint32_t tool;         /* a tool call's index */
    bool closed;
};

/* What has been gathered of one answer, or where its stream is. */
struct anthropic_answer {
    char id[64], request_id[64];
    struct str model;
    struct chat_usage usage; /* as known when the answer begins */
    enum chat_stop stop;
    struct buf stop_string;
    /* Members as their maker told them: of the end's delta, of the answer (a stream's last event), of its
     * usage */
    struct buf delta_more, more, usage_more;
    /* whole: all of them; streams: the calls that wait */
    struct anthropic_block *blocks;
    size_t n_blocks, capacity;
    /* streams */
    bool opened, pinged;
    enum anthropic_block_kind open; /* of the block that is open */
    int64_t index;                  /* its number; -1: none yet */
    uint32_t tool;                  /* the call that it is */
    struct {
        int depth;
        bool in_string, escaped, begun;
    } json; /* how far its arguments have come */
};

void anthropic_answer_init(struct anthropic_answer *a, struct str request_id);
void anthropic_answer_free(struct anthropic_answer *a);

/* Whole answers: gather each event, then write. ERROR_LIMIT when the answer passes its bound. */
int anthropic_answer_gather(
    struct anthropic_answer *a, const struct chat_event *e, struct error *err) MUST_USE;
void anthropic_answer_write(struct anthropic_answer *a, const struct chat_usage *usage, struct buf *out);

/* Streams: the server-sent events of one chat_event; then the closing ones. */
void anthropic_stream_event(struct anthropic_answer *a, const struct chat_event *e, struct buf *out);
void anthropic_stream_end(struct anthropic_answer *a, const struct chat_usage *usage, struct buf *out);

/* {"type":"error","error":{"type","message"},"request_id"}; gives the HTTP status that Anthropic has for it.
 */
int anthropic_error_write(int status, struct str message, struct str request_id, struct buf *out);

#endif

/* chat_events into OpenAI's answers: whole (chat.completion), streamed (chat.completion.chunk) and the same
 * two of the older completions API; and OpenAI's errors. Pure: everything is appended to a buffer. */
#ifndef WEIR_API_OPENAI_OUT_H
#define WEIR_API_OPENAI_OUT_H

#include "chat/chat.h"

enum { OPENAI_MAX_TOOL_CALLS = 128 };

struct openai_tool_call {
    struct buf id, name, arguments;
};

/* What has been gathered of one answer. */
struct openai_answer {
    char id[64];
    int64_t created_s;
    struct str model;
    bool completion;    /* the older API */
    bool include_usage; /* streams: usage as null in each chunk, and a last chunk with it */
    bool opened;        /* streams: the chunk with the role has been written */
    struct buf text, reasoning;
    struct openai_tool_call *tool_calls;
    size_t n_tool_calls;
    enum chat_stop stop;
};

void openai_answer_init(struct openai_answer *a, bool completion, bool include_usage);
void openai_answer_free(struct openai_answer *a);

/* Whole answers: gather each event, then write. ERROR_LIMIT when the answer passes its bound. */
int openai_answer_gather(struct openai_answer *a, const struct chat_event *e, struct error *err) MUST_USE;
void openai_answer_write(const struct openai_answer *a, const struct chat_usage *usage, struct buf *out);

/* Streams: the server-sent events of one chat_event; then the closing ones. */
void openai_stream_event(struct openai_answer *a, const struct chat_event *e, struct buf *out);
void openai_stream_end(struct openai_answer *a, const struct chat_usage *usage, struct buf *out);

/* {"error":{"message","type","param":null,"code"}}; `type` empty: by status. */
void openai_error_write(int status, struct str message, struct str type, struct buf *out);

#endif

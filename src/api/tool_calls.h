/* Tool calls of an answer, gathered from their pieces. */
#ifndef WEIR_API_TOOL_CALLS_H
#define WEIR_API_TOOL_CALLS_H

#include "chat/chat.h"

enum { TOOL_CALLS_MAX = 128 };

struct tool_call {
    struct buf id, name, arguments;
    struct buf more; /* further members in OpenAI's words */
};

struct tool_calls {
    struct tool_call *list; /* by their index */
    size_t n;
};

/* `e` is a CHAT_EVENT_TOOL_CALL; ERROR_LIMIT for too many calls or too long ones. */
int tool_calls_gather(struct tool_calls *c, const struct chat_event *e, struct error *err) MUST_USE;
void tool_calls_free(struct tool_calls *c);

#endif

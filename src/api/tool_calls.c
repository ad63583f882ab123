#include "api/tool_calls.h"

#include <stdlib.h>

#include "base/limits.h"

int tool_calls_gather(struct tool_calls *c, const struct chat_event *e, struct error *err)
{
    size_t index = e->tool_call.index;
    if (index >= TOOL_CALLS_MAX)
        return error_set(err, ERROR_LIMIT, "the answer has more than %d tool calls", TOOL_CALLS_MAX);
    if (index >= c->n) {
        void *more = realloc(c->list, (index + 1) * sizeof *c->list);
        if (!more)
            return error_set(err, ERROR_MEMORY, "no memory for the answer");
        c->list = more;
        for (; c->n <= index; c->n++) {
            buf_init(&c->list[c->n].id, 4 * KIB);
            buf_init(&c->list[c->n].name, 4 * KIB);
            buf_init(&c->list[c->n].arguments, LIMIT_PROVIDER_BODY);
            buf_init(&c->list[c->n].more, LIMIT_PROVIDER_BODY);
        }
    }
    struct tool_call *call = &c->list[index];
    buf_append_str(&call->id, e->tool_call.id);
    buf_append_str(&call->name, e->tool_call.name);
    buf_append_str(&call->arguments, e->tool_call.arguments);
    if (e->tool_call.more_of == CHAT_SHAPE_OPENAI)
        buf_append_str(&call->more, e->tool_call.more);
    if (call->id.failed || call->name.failed || call->arguments.failed || call->more.failed)
        return error_set(err, ERROR_LIMIT, "a tool call of the answer is too large");
    return 0;
}

void tool_calls_free(struct tool_calls *c)
{
    for (size_t i = 0; i < c->n; i++) {
        buf_free(&c->list[i].id);
        buf_free(&c->list[i].name);
        buf_free(&c->list[i].arguments);
        buf_free(&c->list[i].more);
    }
    free(c->list);
}

/* What a reply said, as one text: T(...) R(...) C(name arguments), neighbours of a kind joined. */
#ifndef TESTS_UNIT_ENGINE_REPLY_RIG_H
#define TESTS_UNIT_ENGINE_REPLY_RIG_H

#include <stdlib.h>

#include "engine/worker/reply.h"

struct rig_seen {
    struct buf out;
    char last;
    size_t n_calls;
    bool broken; /* pieces came in an order that they must not */
};

static inline void rig_seen_init(struct rig_seen *s)
{
    *s = (struct rig_seen){.last = 0};
    buf_init(&s->out, 1 << 20);
}

static inline void rig_seen_free(struct rig_seen *s)
{
    buf_free(&s->out);
}

static inline void rig_open(struct rig_seen *s, char kind)
{
    if (s->last != kind) {
        if (s->last)
            buf_append_char(&s->out, ')');
        buf_appendf(&s->out, "%c(", kind);
    }
    s->last = kind;
}

static inline void rig_seen_end(struct rig_seen *s)
{
    if (s->last)
        buf_append_char(&s->out, ')');
    s->last = 0;
}

static inline void rig_text(void *ctx, struct str text)
{
    rig_open(ctx, 'T');
    buf_append_str(&((struct rig_seen *)ctx)->out, text);
}

static inline void rig_reasoning(void *ctx, struct str text)
{
    rig_open(ctx, 'R');
    buf_append_str(&((struct rig_seen *)ctx)->out, text);
}

static inline void rig_call(void *ctx, size_t index, struct str name, struct str arguments)
{
    struct rig_seen *s = ctx;
    if (name.len > 0) {
        rig_seen_end(s);
        rig_open(s, 'C');
        buf_append_str(&s->out, name);
        buf_append_char(&s->out, ' ');
        s->broken = s->broken || index != s->n_calls;
        s->n_calls++;
    }
    s->broken = s->broken || index + 1 != s->n_calls || s->last != 'C';
    buf_append_str(&s->out, arguments);
}

static inline struct reply_sink rig_sink(struct rig_seen *s)
{
    return (struct reply_sink){rig_text, rig_reasoning, rig_call, s};
}

/* f takes a text, a number and an object; g nothing. */
static json_t *rig_tool_list;
static inline const json_t *rig_tools(void)
{
    static const char text[] =
        "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\","
        "\"properties\":{\"s\":{\"type\":\"string\"},\"n\":{\"type\":\"number\"},\"o\":{\"type\":\"object\"}}"
        "}}},"
        "{\"type\":\"function\",\"function\":{\"name\":\"g\"}}]";
    struct error err;
    if (!rig_tool_list && json_read(str_from(text), &rig_tool_list, &err))
        abort();
    return rig_tool_list;
}

static inline void rig_tools_free(void)
{
    json_decref(rig_tool_list);
    rig_tool_list = NULL;
}

#endif

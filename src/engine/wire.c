#include "engine/wire.h"

#include <string.h>

#include "base/limits.h"

/* The header as it stands in the stream; both ends run on one machine, so its byte order is ours. */
struct header {
    uint32_t length, call;
    uint16_t type, drawn;
};
_Static_assert(sizeof(struct header) == WIRE_HEADER_BYTES, "the header has no padding");

int wire_append(struct buf *out, uint32_t call, enum wire_type type, struct str payload)
{
    return wire_append_drawn(out, call, type, 0, payload);
}

int wire_append_drawn(struct buf *out, uint32_t call, enum wire_type type, uint16_t drawn, struct str payload)
{
    if (payload.len > LIMIT_WIRE_FRAME)
        return ERROR_LIMIT;
    char *to = buf_reserve(out, sizeof(struct header) + payload.len);
    if (!to)
        return out->failed;
    struct header h = {.length = (uint32_t)payload.len, .call = call, .type = (uint16_t)type, .drawn = drawn};
    memcpy(to, &h, sizeof h);
    if (payload.len > 0)
        memcpy(to + sizeof h, payload.data, payload.len);
    buf_commit(out, sizeof h + payload.len);
    return 0;
}

static bool type_known(uint16_t type)
{
    return (type >= WIRE_LOAD && type <= WIRE_CANCEL) || (type >= WIRE_READY && type <= WIRE_ERROR);
}

static bool tells_drawn(uint16_t type)
{
    return type == WIRE_TEXT || type == WIRE_TOKENS || type == WIRE_REASONING || type == WIRE_TOOL_CALL;
}

int wire_take(const struct buf *in, size_t *offset, struct wire_frame *frame, struct error *err)
{
    struct header h;
    size_t left = in->len - *offset;
    if (left < sizeof h)
        return 0;
    memcpy(&h, in->data + *offset, sizeof h);
    if (h.length > LIMIT_WIRE_FRAME)
        return error_set(err, ERROR_LIMIT, "a frame of %u bytes is over the limit of %zu: the peer is broken",
            h.length, LIMIT_WIRE_FRAME);
    if (!type_known(h.type) || (h.drawn != 0 && !tells_drawn(h.type)))
        return error_set(
            err, ERROR_INVALID, "a frame with a broken header came (type %u): the peer is broken", h.type);
    if (left - sizeof h < h.length)
        return 0;
    frame->call = h.call;
    frame->type = (enum wire_type)h.type;
    frame->drawn = h.drawn;
    frame->payload = (struct str){in->data + *offset + sizeof h, h.length};
    *offset += sizeof h + h.length;
    return 1;
}

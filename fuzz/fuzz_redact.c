/* Any bytes as a text that is masked: what would leave holds none of the originals, and an answer that
 * repeats it, cut where the input says, is the text again. */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "govern/restore.h"
#include "router/mask.h"
#include "detector.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void gather(void *ctx, const struct chat_event *e)
{
    if (e->kind == CHAT_EVENT_TOOL_CALL || e->kind == CHAT_EVENT_ERROR)
        abort();
    buf_append_str(ctx, e->kind == CHAT_EVENT_TEXT ? e->text : STR_NONE);
}

static void repeat(struct mask *mask, struct str masked, struct str text, size_t cut)
{
    struct buf got;
    const struct chat_sink sink = {gather, &got};
    struct restore *r = restore_create(mask);
    buf_init(&got, 64 * MIB);
    for (size_t at = 0, end; at < masked.len; at = end) {
        end = at + 1 + (cut = cut * 1103515245 + 12345) / 65536 % 9;
        end = end < masked.len ? str_utf8_floor(masked.data, end) : masked.len;
        end = end > at ? end : at + 4 < masked.len ? str_utf8_floor(masked.data, at + 4) : masked.len;
        restore_event(
            r, &(struct chat_event){.kind = CHAT_EVENT_TEXT, .text = str_slice(masked, at, end)}, sink);
    }
    restore_event(r, &(struct chat_event){.kind = CHAT_EVENT_STOP}, sink);
    restore_free(r);
    /* A text that is JSON itself has its originals escaped as they were: only prose is compared. */
    if (str_find_char(text, '{') == SIZE_MAX && str_find_char(text, '[') == SIZE_MAX &&
        !str_eq(buf_str(&got), text))
        abort();
    buf_free(&got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_create(64 * MIB);
    struct str text = {(const char *)data, size}, masked, stays, back;
    struct router_redact_options o = {.key = {1}};
    struct mask *mask;
    struct error err;
    if (router_redact_text(&o, a, text, &mask, &masked, &stays, &err) == 0 && stays.len == 0) {
        if (mask_leaks(mask, masked) || router_mask_restore(mask, masked, &back, &err) || !str_eq(back, text))
            abort();
        repeat(mask, masked, text, size);
    }
    arena_free(a);
    return 0;
}

/* An answer in pieces, as each family would write it. The first byte says which and where it is cut. */
#include <stdint.h>
#include <stdlib.h>

#include "engine/worker/reply.h"

static void on_text(void *ctx, struct str text)
{
    *(size_t *)ctx += text.len;
}

static void on_call(void *ctx, struct str name, struct str arguments)
{
    if (name.len == 0 || !str_utf8_valid(arguments))
        abort();
    *(size_t *)ctx += name.len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reply r;
    struct error err;
    size_t out = 0;
    const struct reply_sink sink = {on_text, on_text, on_call, &out};
    if (size < 1 || size > 8192)
        return 0;
    struct str text = {(const char *)data + 1, size - 1};
    size_t piece = 1 + (data[0] >> 4);
    if (!str_utf8_valid(text))
        return 0;
    reply_init(&r, (enum reply_syntax)(data[0] & 3), data[0] & 4, data[0] & 8, &sink);
    for (size_t i = 0; i < text.len; i += piece)
        if (reply_push(&r, str_slice(text, i, i + piece), &err))
            break;
    if (reply_finish(&r, &err))
        abort();
    reply_free(&r);
    return 0;
}

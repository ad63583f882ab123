/* An answer in pieces. The first byte says which family writes it, the second how it reasons and whether the
 * prompt left that open, the third how it is cut. However it is cut, the same comes out. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/worker/reply.h"

struct heard {
    uint64_t hash[3]; /* of text, reasoning and calls */
    size_t n_calls;
};

static void mix(uint64_t *hash, struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        *hash = (*hash ^ (unsigned char)text.data[i]) * 0x100000001B3u;
}

static void on_text(void *ctx, struct str text)
{
    mix(&((struct heard *)ctx)->hash[0], text);
}

static void on_reasoning(void *ctx, struct str text)
{
    mix(&((struct heard *)ctx)->hash[1], text);
}

static void on_call(void *ctx, size_t index, struct str name, struct str arguments)
{
    struct heard *h = ctx;
    h->n_calls += name.len > 0;
    if (index + 1 != h->n_calls || !str_utf8_valid(arguments))
        abort();
    if (name.len > 0)
        mix(&h->hash[2], STR("|"));
    mix(&h->hash[2], name);
    mix(&h->hash[2], arguments);
}

static const char tools_text[] =
    "[{\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{\"s\":{\"type\":\"string\"},"
    "\"n\":{\"$ref\":\"#/$defs/"
    "n\"}},\"$defs\":{\"n\":{\"enum\":[\"a\",1]}}}}},{\"function\":{\"name\":\"g\"}}]";

static struct heard hear(
    struct reply_form form, bool inside, const json_t *tools, struct str text, size_t piece)
{
    struct heard h = {.n_calls = 0};
    struct reply r;
    struct error err;
    const struct reply_sink sink = {on_text, on_reasoning, on_call, &h};
    reply_init(&r, form, inside, tools, &sink);
    for (size_t i = 0, end; i < text.len; i = end) {
        end = i + piece < text.len ? i + piece : text.len;
        while (end < text.len && ((unsigned char)text.data[end] & 0xC0) == 0x80)
            end++;
        if (reply_push(&r, str_slice(text, i, end), &err))
            break;
    }
    if (reply_finish(&r, &err))
        abort();
    reply_free(&r);
    return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static json_t *tools;
    struct error err;
    size_t n, m;
    const struct reply_syntax *syntaxes = reply_syntaxes(&n);
    const struct reply_thinking *thinkings = reply_thinkings(&m);
    if (!tools && json_read(str_from(tools_text), &tools, &err))
        abort();
    if (size < 3 || size > 8192)
        return 0;
    struct str text = {(const char *)data + 3, size - 3};
    if (!str_utf8_valid(text))
        return 0;
    struct reply_form form = {data[0] % (n + 1) == n ? NULL : &syntaxes[data[0] % (n + 1)],
        (data[1] & 127) % (m + 1) == m ? NULL : &thinkings[(data[1] & 127) % (m + 1)]};
    struct heard cut = hear(form, data[1] & 128, tools, text, 1 + data[2] % 32);
    struct heard whole = hear(form, data[1] & 128, tools, text, text.len + 1);
    if (memcmp(&cut, &whole, sizeof cut) != 0)
        abort();
    return 0;
}

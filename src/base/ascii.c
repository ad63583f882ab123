#include "base/ascii.h"

void ascii_escape(struct buf *out, struct str text, const char *plain_too)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (ascii_is_alnum(c) || (c && (strchr("-._~", c) || strchr(plain_too, c))))
            buf_append_char(out, c);
        else
            buf_appendf(out, "%%%02X", (unsigned char)c);
    }
}

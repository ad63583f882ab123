/* Whether a place in an answer that comes in pieces is inside a JSON string: what is put back there must be
 * escaped. */
#include "govern/restore.h"

#include <string.h>

static void take(struct restore_json *j, char c)
{
    if (j->string) {
        if (c == '\n' && !j->arguments) /* no JSON string goes over lines: it was none */
            *j = (struct restore_json){0};
        else if (j->escaped || c == '\\')
            j->escaped = !j->escaped;
        else if (c == '"')
            j->string = false;
        return;
    }
    if (j->opening && strchr(" \t\r\n", c))
        return;
    if (j->opening && !strchr("\"{[]}", c))
        j->depth = 0;
    j->opening = false;
    if (c == '{' || c == '[') {
        j->opening = j->depth == 0;
        j->depth++;
    } else if ((c == '}' || c == ']') && j->depth > 0) {
        j->depth--;
    } else if (c == '"') {
        j->string = j->depth > 0 || j->arguments;
    }
}

void restore_json_take(struct restore_json *j, struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        take(j, text.data[i]);
}

/* Can it stand in a JSON string as it is? What was found inside one has its escapes already. */
static bool fits(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == '"' || (unsigned char)s.data[i] < ' ')
            return false;
        if (s.data[i] == '\\' && (++i == s.len || !strchr("\"\\/bfnrtu", s.data[i])))
            return false;
    }
    return true;
}

void restore_json_write(const struct restore_json *j, struct str original, struct buf *out)
{
    if (!j->string || fits(original)) {
        buf_append_str(out, original);
        return;
    }
    struct json_writer w;
    struct buf text;
    buf_init(&text, 8 * original.len + 8);
    json_writer_init(&w, &text);
    json_write_str(&w, original);
    if (text.failed)
        out->failed = text.failed;
    else
        buf_append_str(out, str_slice(buf_str(&text), 1, text.len - 1));
    buf_free(&text);
}

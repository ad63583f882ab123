/* libFuzzer: the content type up to the first newline, then the body of a form. Every part lies in the body.
 */
#include <stdlib.h>

#include "api/multipart.h"

static bool inside(struct str s, struct str of)
{
    return s.len == 0 || (s.data >= of.data && s.data + s.len <= of.data + of.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct multipart_part parts[MULTIPART_PARTS_MOST];
    struct str body = {(const char *)data, size}, type = STR_NONE;
    struct error err = {0};
    size_t n = 0;
    str_split(&body, '\n', &type);
    int rc = multipart_read(type, body, parts, &n, &err);
    if (rc != 0 && !err.message[0])
        abort();
    if (rc == 0 && (n == 0 || n > MULTIPART_PARTS_MOST))
        abort();
    for (size_t i = 0; i < n && rc == 0; i++)
        if (parts[i].name.len == 0 || !inside(parts[i].name, body) || !inside(parts[i].filename, body) ||
            !inside(parts[i].content, body))
            abort();
    return 0;
}

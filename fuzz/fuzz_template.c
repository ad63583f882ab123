/* A template and the values it is rendered with:
 *
 *   template \n%%%%\n JSON object          (without the separator: the first half and the second)
 *
 * What it gives must be valid UTF-8, the same twice, and nothing where it fails. */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "engine/worker/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int render(const struct template *t, const json_t *values, struct buf *out)
{
    struct error err;
    buf_init(out, 1 * MIB);
    int rc = template_render(t, values, 1795176000, out, &err);
    if (rc && (out->len > 0 || err.code != rc || !err.message[0]))
        abort();
    if (!str_utf8_valid(buf_str(out)))
        abort();
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str all = {(const char *)data, size}, source, text;
    size_t at = str_find(all, STR("\n%%%%\n"));
    source = str_slice(all, 0, at == SIZE_MAX ? size / 2 : at);
    text = str_slice(all, at == SIZE_MAX ? size / 2 : at + 6, size);
    struct template *t;
    struct error err;
    json_t *values;
    if (template_parse(source, &t, &err))
        return 0;
    if (json_read(text, &values, &err) != 0)
        values = json_object();
    if (!json_is_object(values)) {
        json_t *object = json_object();
        json_object_set_new(object, "x", values);
        values = object;
    }
    struct buf first, second;
    int rc = render(t, values, &first), again = render(t, values, &second);
    if (rc != again || !str_eq(buf_str(&first), buf_str(&second)))
        abort();
    buf_free(&first);
    buf_free(&second);
    json_decref(values);
    template_free(t);
    return 0;
}

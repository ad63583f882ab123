/* libFuzzer: JSON as bytes. What our parser takes, jansson takes as well, and the trees are the same; the
 * view takes it too, and what it saw, written again, gives that tree. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json/json_parse.h"
#include "json/json_view.h"

static void look(struct str text, const json_t *tree)
{
    struct json_view v;
    const struct json_item *item;
    struct error err;
    struct buf again;
    struct json_writer w;
    json_view_init(&v);
    buf_init(&again, 64 << 20);
    json_writer_init(&w, &again);
    int rc = json_view_read(&v, text, &item, &err);
    if (rc == 0)
        json_write_item(&w, item);
    json_t *back = rc == 0 ? json_loadb(again.data, again.len, JSON_DECODE_ANY, NULL) : NULL;
    if (tree && !json_equal(back, tree)) {
        fprintf(stderr, "broken: the view saw %s\n", again.data ? again.data : err.message);
        abort();
    }
    json_decref(back);
    buf_free(&again);
    json_view_free(&v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    json_t *ours = json_parse(text);
    look(text, ours);
    if (!ours)
        return 0;
    json_error_t e;
    json_t *theirs = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    /* The order of keys counts, too. */
    char *a = json_dumps(ours, JSON_ENCODE_ANY), *b = theirs ? json_dumps(theirs, JSON_ENCODE_ANY) : NULL;
    if (!a || !b || strcmp(a, b) != 0) {
        fprintf(stderr, "broken: ours %s, theirs %s\n", a ? a : "(none)", b ? b : e.text);
        abort();
    }
    free(a);
    free(b);
    json_decref(ours);
    json_decref(theirs);
    return 0;
}

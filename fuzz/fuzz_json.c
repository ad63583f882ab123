/* libFuzzer: JSON as bytes. What our parser takes, jansson takes as well, and the trees are the same; the
 * view takes it too, and what it saw, written again, gives that tree. Lines are events of a stream: a view
 * that has seen the ones before sees in each what a fresh one does. */
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

static void compare(struct json_view *seen, struct str line)
{
    struct json_view fresh;
    const struct json_item *a, *b;
    struct error err;
    json_view_init(&fresh);
    int rc = json_view_read(seen, line, &a, &err), expected = json_view_read(&fresh, line, &b, &err);
    bool same = rc == expected && (rc || seen->n == fresh.n);
    for (size_t i = 0; rc == 0 && same && i < fresh.n; i++)
        same = a[i].kind == b[i].kind && a[i].n == b[i].n && a[i].span == b[i].span &&
               str_eq(a[i].key, b[i].key) && str_eq(a[i].text, b[i].text);
    if (!same) {
        fprintf(stderr, "broken: a line is seen otherwise than afresh: " STR_FMT "\n", STR_ARG(line));
        abort();
    }
    json_view_free(&fresh);
}

static void repeat(struct str text)
{
    struct json_view v;
    struct str line;
    json_view_init(&v);
    v.repeats = true;
    while (str_split(&text, '\n', &line))
        compare(&v, line);
    json_view_free(&v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    json_t *ours = json_parse(text);
    look(text, ours);
    repeat(text);
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

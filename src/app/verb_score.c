/* weir score: how hard prompts are for a small model. JSONL in, JSONL out, in order. */
#include "app/verbs.h"

#include <stdio.h>

#include "base/limits.h"
#include "router/router.h"

static const char help[] =
    "usage: weir score < prompts.jsonl\n"
    "\n"
    "Reads lines like {\"id\": ..., \"prompt\": \"...\"} and writes {\"id\", \"score\"}: the estimated\n"
    "probability (0 to 1) that a small local model will not do and a strong one will.\n";

static int line_take(void *ctx, struct str line, long long number)
{
    struct buf *out = ctx;
    struct error err;
    json_t *object;
    if (json_read(line, &object, &err))
        return verb_failf(EXIT_FAILED, "line %lld: %s", number, err.message);
    const json_t *prompt = json_object_get(object, "prompt");
    int rc = 0;
    if (json_is_string(prompt)) {
        struct json_writer w;
        buf_clear(out);
        json_writer_init(&w, out);
        json_object_begin(&w);
        json_key(&w, "id");
        json_write_value(&w, json_object_get(object, "id"));
        json_member_double(&w, "score", router_score(json_str(prompt)));
        json_object_end(&w);
        buf_append_char(out, '\n');
        if (out->failed || fwrite(out->data, 1, out->len, stdout) != out->len)
            rc = verb_failf(EXIT_FAILED, "cannot write to standard output");
    } else {
        rc = verb_failf(EXIT_FAILED, "line %lld: no \"prompt\" that is a string", number);
    }
    json_decref(object);
    return rc;
}

int verb_score(int argc, char **argv)
{
    int n = verb_options(argc, argv, NULL, 0, help);
    if (n == -2)
        return EXIT_DONE;
    if (n != 0)
        return n < 0 ? EXIT_USAGE
                     : verb_failf(EXIT_USAGE, "score reads standard input: see weir score --help");
    struct buf out;
    buf_init(&out, LIMIT_REQUEST_MEMORY);
    int rc = verb_each_line(line_take, &out);
    buf_free(&out);
    if (rc == 0 && fflush(stdout) != 0)
        rc = verb_failf(EXIT_FAILED, "cannot write to standard output");
    return rc;
}

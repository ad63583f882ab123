/* weir redact: what texts look like when they leave masked, and the way back. JSONL in, JSONL out, in order.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "app/verb_inner.h"
#include "base/limits.h"
#include "base/rand.h"
#include "router/redact.h"

static const char help[] =
    "usage: weir redact [--config FILE] [--restore] [FILE|-]\n"
    "\n"
    "Reads lines like {\"id\"?, \"text\"} and writes, for each, the text as it would leave and what stands for whom:\n"
    "{\"id\"?, \"text\", \"map\": {placeholder: original}}. The same original has the same placeholder in all lines of\n"
    "one run. A line that the gateway would not let leave even so has \"stays\", which says why.\n"
    "  --config FILE   with what its `owner` finds and allows, too\n"
    "  --restore       the other way: reads {\"text\", \"map\"}, writes {\"id\"?, \"text\"} with the originals; the text may be\n"
    "                  another that uses the placeholders, as an answer does\n";

struct redact {
    struct router_redact_options options;
    bool restore;
    struct buf out;
};

static void text_write(struct json_writer *w, const json_t *id, struct str text)
{
    json_object_begin(w);
    if (id) {
        json_key(w, "id");
        json_write_value(w, id);
    }
    json_member_str(w, "text", text);
}

static int line_redact(
    struct redact *r, struct arena *a, const json_t *object, struct str text, struct error *err)
{
    struct json_writer w;
    struct mask *mask;
    struct str masked, stays;
    int rc = router_redact_text(&r->options, a, text, &mask, &masked, &stays, err);
    if (rc)
        return rc;
    json_writer_init(&w, &r->out);
    text_write(&w, json_object_get(object, "id"), masked);
    json_key(&w, "map");
    router_mask_write(mask, &w);
    json_maybe_str(&w, "stays", stays);
    json_object_end(&w);
    return 0;
}

static int line_restore(
    struct redact *r, struct arena *a, const json_t *object, struct str text, struct error *err)
{
    struct json_writer w;
    struct mask *mask;
    struct str restored;
    int rc = router_mask_read(a, json_object_get(object, "map"), &mask, err);
    if (rc == 0)
        rc = router_mask_restore(mask, text, &restored, err);
    if (rc)
        return rc;
    json_writer_init(&w, &r->out);
    text_write(&w, json_object_get(object, "id"), restored);
    json_object_end(&w);
    return 0;
}

static int line_take(void *ctx, struct str line, long long number)
{
    struct redact *r = ctx;
    struct error err;
    struct arena *a = arena_create(LIMIT_REQUEST_MEMORY);
    json_t *object;
    buf_clear(&r->out);
    int rc = json_read_in(a, line, &object, &err);
    const json_t *text = rc ? NULL : json_object_get(object, "text");
    if (rc == 0 && !json_is_string(text))
        rc = error_set(&err, ERROR_INVALID, "no \"text\" that is a string: write {\"text\": \"...\"}");
    if (rc == 0)
        rc = (r->restore ? line_restore : line_redact)(r, a, object, json_str(text), &err);
    buf_append_char(&r->out, '\n');
    if (rc == 0 && r->out.failed)
        rc = error_set(&err, r->out.failed, "the text takes too much memory");
    arena_free(a);
    if (rc)
        return verb_failf(EXIT_FAILED, "line %lld: %s", number, err.message);
    return fwrite(r->out.data, 1, r->out.len, stdout) == r->out.len
               ? 0
               : verb_failf(EXIT_FAILED, "cannot write to standard output");
}

int verb_redact(int argc, char **argv)
{
    struct redact r = {0};
    const char *config = NULL;
    struct router_policy *policy;
    const struct verb_option options[] = {{"config", &config, NULL}, {"restore", NULL, &r.restore}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n < 0)
        return n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n > 1)
        return verb_failf(EXIT_USAGE, "redact reads one file, or standard input: see weir redact --help");
    if (n == 1 && strcmp(argv[1], "-") != 0 && !freopen(argv[1], "r", stdin))
        return verb_failf(EXIT_FAILED, "cannot open %s: %s", argv[1], strerror(errno));
    struct error err;
    if (router_detect_init(&err))
        return verb_fail(EXIT_FAILED, &err);
    if (verb_policy(config, &policy, &err))
        return verb_fail(EXIT_USAGE, &err);
    r.options.own = policy ? router_policy_own(policy) : NULL;
    rand_bytes(r.options.key, sizeof r.options.key);
    buf_init(&r.out, LIMIT_REQUEST_MEMORY);
    int rc = verb_each_line(line_take, &r);
    buf_free(&r.out);
    router_policy_free(policy);
    if (rc == 0 && fflush(stdout) != 0)
        rc = verb_failf(EXIT_FAILED, "cannot write to standard output");
    return rc;
}

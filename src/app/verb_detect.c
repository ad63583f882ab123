/* weir detect: what is sensitive in texts. JSONL in, JSONL out, in order. */
#include "app/verb_inner.h"

#include <stdio.h>

#include "base/limits.h"
#include "router/router.h"

static const char help[] =
    "usage: weir detect [--config FILE] < texts.jsonl\n"
    "\n"
    "Reads lines like {\"id\": ..., \"text\": \"...\"} and writes, for each, what in the text is sensitive:\n"
    "{\"id\", \"sensitive\", \"categories\", \"entities\": [{\"type\", \"start\", \"end\", \"score\"}]}.\n"
    "Offsets count Unicode code points. Findings with a score below 0.5 (documented examples, private\n"
    "networks) are listed but do not make a text sensitive.\n"
    "  --config FILE   with what its `owner` finds and allows, too\n";

struct detect {
    const struct detect_own *own;
    struct buf out;
};

static void findings_write(struct json_writer *w, const json_t *id, const struct router_findings *f)
{
    json_object_begin(w);
    json_key(w, "id");
    json_write_value(w, id);
    json_member_bool(w, "sensitive", f->sensitive);
    json_key(w, "categories");
    json_array_begin(w);
    for (unsigned c = 1; c <= ROUTER_PERSONAL; c <<= 1)
        if (f->categories & c)
            json_write_text(w, router_category_name((enum router_category)c));
    json_array_end(w);
    json_key(w, "entities");
    json_array_begin(w);
    for (size_t i = 0; i < f->n_entities; i++)
        router_entity_write(&f->entities[i], w);
    json_array_end(w);
    if (f->more > 0)
        json_member_int(w, "more", (int64_t)f->more);
    json_object_end(w);
}

static int line_detect(struct detect *d, struct arena *a, struct str line, struct error *err)
{
    struct buf *out = &d->out;
    json_t *object;
    struct router_findings f = {0};
    int rc = json_read_in(a, line, &object, err);
    if (rc == 0 && !json_is_string(json_object_get(object, "text")))
        rc = error_set(err, ERROR_INVALID, "no \"text\" that is a string: write {\"text\": \"...\"}");
    if (rc == 0)
        rc = router_detect_own(d->own, a, STR_NONE, json_text(object, "text"), &f, err);
    if (rc)
        return rc;
    struct json_writer w;
    json_writer_init(&w, out);
    findings_write(&w, json_object_get(object, "id"), &f);
    buf_append_char(out, '\n');
    return out->failed ? error_set(err, out->failed, "the findings take too much memory") : 0;
}

static int line_take(void *ctx, struct str line, long long number)
{
    struct detect *d = ctx;
    struct buf *out = &d->out;
    struct error err;
    struct arena *a = arena_create(LIMIT_REQUEST_MEMORY);
    buf_clear(out);
    int rc = line_detect(d, a, line, &err);
    arena_free(a);
    if (rc)
        return verb_failf(EXIT_FAILED, "line %lld: %s", number, err.message);
    return fwrite(out->data, 1, out->len, stdout) == out->len
               ? 0
               : verb_failf(EXIT_FAILED, "cannot write to standard output");
}

int verb_detect(int argc, char **argv)
{
    struct detect d = {0};
    const char *config = NULL;
    const struct verb_option options[] = {{"config", &config, NULL}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n == -2)
        return EXIT_DONE;
    if (n != 0)
        return n < 0 ? EXIT_USAGE
                     : verb_failf(EXIT_USAGE, "detect reads standard input: see weir detect --help");
    struct error err;
    struct router_policy *policy;
    if (router_detect_init(&err))
        return verb_fail(EXIT_FAILED, &err);
    if (verb_policy(config, &policy, &err))
        return verb_fail(EXIT_USAGE, &err);
    d.own = policy ? router_policy_own(policy) : NULL;
    buf_init(&d.out, LIMIT_REQUEST_MEMORY);
    int rc = verb_each_line(line_take, &d);
    buf_free(&d.out);
    router_policy_free(policy);
    if (rc == 0 && fflush(stdout) != 0)
        rc = verb_failf(EXIT_FAILED, "cannot write to standard output");
    return rc;
}

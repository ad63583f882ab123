/* weir embed: texts to the vectors that an embedding model makes of them. JSONL in, a JSON array a line out,
 * in order. */
#include "app/verb_lines.h"

static const char help[] =
    "usage: weir embed --model MODEL [--normalize] [--dimensions N] < texts.jsonl\n"
    "\n"
    "Reads lines like {\"text\": \"...\"} and writes the embedding of each text as a JSON array, pooled as the\n"
    "model's file says; a reranker gives its scores.\n"
    "\n"
    "  --normalize            scale each embedding to a length of 1\n"
    "  --dimensions N         keep the first N values, where the model was trained for that\n"
    "  --config FILE          where models have names; default weir.yaml\n";

struct embed {
    bool normalize;
    long long dimensions; /* 0: all */
};

static int question(void *ctx, const json_t *line, struct json_writer *w, struct error *err)
{
    const struct embed *e = ctx;
    const json_t *text = json_object_get(line, "text");
    if (!json_is_string(text))
        return error_set(err, ERROR_INVALID, "no \"text\" that is a string: write {\"text\": \"...\"}");
    json_object_begin(w);
    json_key(w, "text");
    json_write_value(w, text);
    json_member_bool(w, "normalize", e->normalize);
    if (e->dimensions > 0)
        json_member_int(w, "dimensions", e->dimensions);
    json_object_end(w);
    return 0;
}

int verb_embed(int argc, char **argv)
{
    struct embed embed = {0};
    const char *dimensions = NULL;
    struct verb_lines lines = {
        .type = WIRE_EMBED, .question = question, .ctx = &embed, .member = "embedding", .run = true};
    const struct verb_option options[] = {{"model", &lines.model, NULL}, {"config", &lines.config, NULL},
        {"normalize", NULL, &embed.normalize}, {"dimensions", &dimensions, NULL}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n < 0)
        return n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n > 0 || !lines.model)
        return verb_failf(EXIT_USAGE, "embed wants --model and reads standard input: see weir embed --help");
    if (dimensions && !verb_integer("dimensions", dimensions, 1, INT32_MAX, &embed.dimensions))
        return EXIT_USAGE;
    return verb_lines_run(&lines);
}

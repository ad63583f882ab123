/* weir rerank: documents by how well they answer a query. JSONL in, a JSON array a line out, in order. */
#include "app/verb_lines.h"

static const char help[] =
    "usage: weir rerank --model MODEL < queries.jsonl\n"
    "\n"
    "Reads lines like {\"query\": \"...\", \"documents\": [\"...\", \"...\"]} and writes, for each, a JSON array\n"
    "of {\"index\", \"relevance_score\"}, the best document first. Scores are what the model's head gives:\n"
    "compare them among documents of one query.\n"
    "\n"
    "  --config FILE          where models have names; default weir.yaml\n";

static int question(void *ctx, const json_t *line, struct json_writer *w, struct error *err)
{
    (void)ctx;
    const json_t *query = json_object_get(line, "query"), *documents = json_object_get(line, "documents");
    if (!json_is_string(query) || !json_is_array(documents))
        return error_set(err, ERROR_INVALID,
            "write {\"query\": \"...\", \"documents\": [\"...\", ...]}, all of them texts");
    json_object_begin(w);
    json_key(w, "query");
    json_write_value(w, query);
    json_key(w, "documents");
    json_write_value(w, documents);
    json_object_end(w);
    return 0;
}

int verb_rerank(int argc, char **argv)
{
    struct verb_lines lines = {.type = WIRE_RERANK, .question = question, .member = "results", .run = true};
    const struct verb_option options[] = {{"model", &lines.model, NULL}, {"config", &lines.config, NULL}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n < 0)
        return n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n > 0 || !lines.model)
        return verb_failf(
            EXIT_USAGE, "rerank wants --model and reads standard input: see weir rerank --help");
    return verb_lines_run(&lines);
}

/* weir detokenize: token ids to texts. JSON arrays in, JSONL out, in order. */
#include <string.h>

#include "app/engine_session.h"
#include "app/verb_lines.h"

static const char help[] = "usage: weir detokenize --model MODEL < ids.jsonl\n"
                           "\n"
                           "Reads lines like [1, 2, 3] and writes the text of each as {\"text\": \"...\"}.\n"
                           "\n"
                           "  --config FILE          where models have names; default weir.yaml\n";

static int question(void *ctx, const json_t *line, struct json_writer *w, struct error *err)
{
    (void)ctx;
    if (!json_is_array(line))
        return error_set(err, ERROR_INVALID, "no array of token ids: write [1, 2, 3]");
    json_object_begin(w);
    json_key(w, "ids");
    json_write_value(w, line);
    json_object_end(w);
    return 0;
}

int verb_detokenize(int argc, char **argv)
{
    struct verb_lines lines = {.type = WIRE_DETOKENIZE, .question = question};
    const struct verb_option options[] = {{"model", &lines.model, NULL}, {"config", &lines.config, NULL}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n < 0)
        return n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n > 0 || !lines.model)
        return verb_failf(
            EXIT_USAGE, "detokenize wants --model and reads standard input: see weir detokenize --help");
    return verb_lines_run(&lines);
}

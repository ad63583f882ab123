/* weir tokenize: texts to token ids. JSONL in, a JSON array a line out, in order. */
#include <string.h>

#include "app/engine_session.h"
#include "app/verb_lines.h"

static const char help[] =
    "usage: weir tokenize --model MODEL [--add-special] [--parse-special] < texts.jsonl\n"
    "\n"
    "Reads lines like {\"text\": \"...\"} and writes the token ids of each text as a JSON array.\n"
    "\n"
    "  --add-special          with the tokens that the model wants around a text (BOS, EOS)\n"
    "  --parse-special        text that spells a special token becomes that token\n"
    "  --config FILE          where models have names; default weir.yaml\n";

struct flags {
    bool add_special, parse_special;
};

static int question(void *ctx, const json_t *line, struct json_writer *w, struct error *err)
{
    const struct flags *flags = ctx;
    const json_t *text = json_object_get(line, "text");
    if (!json_is_string(text))
        return error_set(err, ERROR_INVALID, "no \"text\" that is a string: write {\"text\": \"...\"}");
    json_object_begin(w);
    json_key(w, "text");
    json_write_value(w, text);
    json_member_bool(w, "add_special", flags->add_special);
    json_member_bool(w, "parse_special", flags->parse_special);
    json_object_end(w);
    return 0;
}

int verb_tokenize(int argc, char **argv)
{
    struct flags flags = {0};
    struct verb_lines lines = {.type = WIRE_TOKENIZE, .question = question, .ctx = &flags, .member = "ids"};
    const struct verb_option options[] = {{"model", &lines.model, NULL}, {"config", &lines.config, NULL},
        {"add-special", NULL, &flags.add_special}, {"parse-special", NULL, &flags.parse_special}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n < 0)
        return n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n > 0 || !lines.model)
        return verb_failf(
            EXIT_USAGE, "tokenize wants --model and reads standard input: see weir tokenize --help");
    return verb_lines_run(&lines);
}

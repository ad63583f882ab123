/* weir logits: what a model predicts after given tokens, for comparison with other engines. */
#include <stdio.h>

#include "app/engine_session.h"
#include "app/verb_inner.h"
#include "base/limits.h"

static const char help[] =
    "usage: weir logits --model MODEL --tokens 1,2,3 [--top N] [--greedy N] [--threads N]\n"
    "\n"
    "Writes {\"n_vocab\", \"logits\": [[id, value] ...], \"greedy\": [ids]}: the N largest logits after the last\n"
    "token, largest first, and the N tokens that greedy decoding gives.\n"
    "\n"
    "  --top N                default 32\n"
    "  --greedy N             default 0\n"
    "  --threads N            default: the machine's cores\n"
    "  --context N            tokens the model has room for\n"
    "  --lora FILE[:SCALE]    a LoRA adapter; several are parted by commas\n"
    "  --memory-unchecked     load the model though it does not seem to fit; then it is slow\n"
    "  --config FILE          where models have names; default weir.yaml\n";

struct options {
    const char *model, *tokens, *top, *greedy, *threads, *context, *config, *lora;
    bool memory_unchecked;
};

static bool tokens_write(const char *list, struct json_writer *w)
{
    struct str rest = str_from(list), item;
    json_key(w, "tokens");
    json_array_begin(w);
    while (str_split(&rest, ',', &item)) {
        int64_t id;
        if (!str_to_int64(str_trim(item), &id) || id < 0 || id > INT32_MAX) {
            verb_failf(EXIT_USAGE, "--tokens wants token ids like 1,2,3, not '" STR_FMT "'", STR_ARG(item));
            return false;
        }
        json_write_int(w, id);
    }
    json_array_end(w);
    return true;
}

static bool count_write(const char *name, const char *text, struct json_writer *w)
{
    long long value;
    if (!text)
        return true;
    if (!verb_integer(name, text, 0, INT32_MAX, &value))
        return false;
    json_member_int(w, name, value);
    return true;
}

static int ask(const struct engine_options *engine, struct str question)
{
    struct engine_session *session;
    struct buf answer;
    struct error err;
    buf_init(&answer, LIMIT_WIRE_FRAME);
    int rc = engine_session_open(engine, &session, &err);
    if (rc == 0) {
        rc = engine_session_ask(session, WIRE_LOGITS, question, &answer, NULL, &err);
        engine_session_close(session);
    }
    int exit_code = EXIT_DONE;
    if (rc)
        exit_code = verb_fail(EXIT_FAILED, &err);
    else if (fwrite(answer.data, 1, answer.len, stdout) != answer.len || puts("") == EOF ||
             fflush(stdout) != 0)
        exit_code = verb_failf(EXIT_FAILED, "cannot write to standard output");
    buf_free(&answer);
    return exit_code;
}

static int run(const struct options *o, const struct engine_model *model)
{
    struct engine_options engine = {.file = model->file,
        .adapters = model->adapters,
        .n_adapters = model->n_adapters,
        .context = model->context,
        .threads = model->threads,
        .slots = 1,
        .kv_type = "f32", /* nothing is rounded that need not be, as weir perplexity has it */
        .memory_unchecked = model->memory_unchecked || o->memory_unchecked};
    struct buf question;
    struct json_writer w;
    int exit_code = EXIT_USAGE;
    buf_init(&question, 16 * MIB);
    json_writer_init(&w, &question);
    json_object_begin(&w);
    if (tokens_write(o->tokens, &w) && count_write("top", o->top, &w) &&
        count_write("greedy", o->greedy, &w) && verb_size_read("threads", o->threads, &engine.threads) &&
        verb_size_read("context", o->context, &engine.context)) {
        json_object_end(&w);
        exit_code = question.failed ? verb_failf(EXIT_USAGE, "--tokens has too many tokens")
                                    : ask(&engine, buf_str(&question));
    }
    buf_free(&question);
    return exit_code;
}

int verb_logits(int argc, char **argv)
{
    struct options o = {0};
    struct engine_model model;
    struct error err;
    const struct verb_option options[] = {{"model", &o.model, NULL}, {"tokens", &o.tokens, NULL},
        {"top", &o.top, NULL}, {"greedy", &o.greedy, NULL}, {"threads", &o.threads, NULL},
        {"context", &o.context, NULL}, {"config", &o.config, NULL}, {"lora", &o.lora, NULL},
        {"memory-unchecked", NULL, &o.memory_unchecked}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n < 0)
        return n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n > 0 || !o.model || !o.tokens || !*o.tokens)
        return verb_failf(EXIT_USAGE, "logits wants --model and --tokens: see weir logits --help");
    int rc = engine_model_find(o.model, o.config, &model, &err);
    if (rc == 0)
        rc = engine_model_adapt(&model, o.lora, &err);
    if (rc)
        return verb_fail(rc == ERROR_NOT_FOUND ? EXIT_FAILED : EXIT_USAGE, &err);
    int exit_code = run(&o, &model);
    engine_model_free(&model);
    return exit_code;
}

/* weir run: one answer on standard output. */
#include <string.h>

#include "app/engine_session.h"
#include "app/verb_inner.h"
#include "base/limits.h"

static const char help[] =
    "usage: weir run MODEL PROMPT [options]\n"
    "\n"
    "Writes one answer to standard output as it comes, and nothing else there. MODEL is a .gguf file or a\n"
    "name of the configuration; PROMPT - reads the prompt from standard input.\n"
    "\n"
    "  --raw                  continue the text as it stands, without the model's chat template\n"
    "  --suffix TEXT          with --raw: fill in between the prompt and this text\n"
    "  --draft MODEL          a smaller model with the same vocabulary drafts: the same answer, sooner\n"
    "  --system TEXT          what the model is told before the prompt\n" VERB_SAMPLING_HELP;

struct options {
    struct verb_sampling sampling;
    const char *system, *suffix, *draft;
    bool raw;
    struct engine_model model, draft_model;
    struct buf input; /* the prompt, if it came on standard input */
    struct str prompt;
};

static int text_out(void *ctx, struct str text)
{
    int *failed = ctx;
    *failed = verb_text_write(stdout, text) || fflush(stdout) != 0;
    return *failed;
}

static void message_add(struct chat_request *r, enum chat_role role, struct str text)
{
    struct chat_message *m = &r->messages[r->n_messages++];
    m->role = role;
    m->parts = arena_new(r->arena, struct chat_part);
    m->parts[0].text = text;
    m->n_parts = 1;
}

static void request_fill(struct chat_request *r, const struct options *o)
{
    r->has_prompt = o->raw;
    if (o->raw) {
        r->prompt = o->prompt;
        r->suffix = str_from(o->suffix);
        return;
    }
    r->messages = arena_alloc(r->arena, 2 * sizeof *r->messages);
    if (o->system)
        message_add(r, CHAT_SYSTEM, str_from(o->system));
    message_add(r, CHAT_USER, o->prompt);
}

static int answer(const struct engine_options *engine, const struct chat_request *request)
{
    struct engine_session *session;
    struct error err;
    int failed = 0;
    struct engine_session_answer a = {.text = text_out, .ctx = &failed};
    int rc = engine_session_open(engine, &session, &err);
    if (rc)
        return verb_fail(EXIT_FAILED, &err);
    rc = engine_session_chat(session, request, &a, &err);
    engine_session_close(session);
    if (rc)
        return verb_fail(EXIT_FAILED, &err);
    if (failed || fputc('\n', stdout) == EOF || fflush(stdout) != 0)
        return verb_failf(EXIT_FAILED, "cannot write to standard output");
    return EXIT_DONE;
}

static int run(struct options *o)
{
    struct arena *arena = arena_create(MIB);
    struct chat_request *request = chat_request_create(arena);
    struct engine_options engine = {.file = o->model.file,
        .adapters = o->model.adapters,
        .n_adapters = o->model.n_adapters,
        .draft = o->draft ? o->draft_model.file : o->model.draft,
        .context = o->model.context,
        .threads = o->model.threads,
        .slots = 1,
        .memory_unchecked = o->model.memory_unchecked || o->sampling.memory_unchecked};
    int rc = EXIT_USAGE;
    request_fill(request, o);
    if (verb_sampling_read(&o->sampling, request) &&
        verb_size_read("context", o->sampling.context, &engine.context) &&
        verb_size_read("threads", o->sampling.threads, &engine.threads))
        rc = answer(&engine, request);
    arena_free(arena);
    return rc;
}

static int prompt_read(struct options *o, const char *prompt, struct error *err)
{
    o->prompt = str_from(prompt);
    if (strcmp(prompt, "-") == 0) {
        int rc = verb_read_all(stdin, LIMIT_WIRE_FRAME / 8, &o->input, err);
        if (rc)
            return rc;
        o->prompt = buf_str(&o->input);
    }
    if (!str_utf8_valid(o->prompt))
        return error_set(err, ERROR_INVALID, "the prompt is not valid UTF-8: convert it first");
    return 0;
}

int verb_run(int argc, char **argv)
{
    struct options o = {0};
    struct error err;
    const struct verb_option options[] = {VERB_SAMPLING_OPTIONS(&o.sampling), {"system", &o.system, NULL},
        {"suffix", &o.suffix, NULL}, {"draft", &o.draft, NULL}, {"raw", NULL, &o.raw}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n < 0)
        return n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n != 2)
        return verb_failf(EXIT_USAGE, "run wants a model and a prompt: see weir run --help");
    if (o.suffix && !o.raw)
        return verb_failf(EXIT_USAGE, "--suffix wants --raw: a conversation has no text after it");
    if (o.raw && o.system)
        return verb_failf(EXIT_USAGE, "--raw has no system text: put it into the prompt");
    int rc = engine_model_find(argv[1], o.sampling.config, &o.model, &err);
    if (rc == 0)
        rc = engine_model_adapt(&o.model, o.sampling.lora, &err);
    if (rc == 0 && o.draft)
        rc = engine_model_find(o.draft, o.sampling.config, &o.draft_model, &err);
    if (rc)
        return verb_fail(rc == ERROR_NOT_FOUND ? EXIT_FAILED : EXIT_USAGE, &err);
    rc = prompt_read(&o, argv[2], &err) ? verb_fail(EXIT_FAILED, &err) : run(&o);
    buf_free(&o.input);
    engine_model_free(&o.model);
    engine_model_free(&o.draft_model);
    return rc;
}

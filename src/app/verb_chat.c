/* weir chat: a conversation in the terminal. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/engine_session.h"
#include "app/verb_inner.h"
#include "base/limits.h"

static const char help[] =
    "usage: weir chat [MODEL] [options]\n"
    "\n"
    "A conversation with a model of your own: a .gguf file or a name of the configuration, by default its\n"
    "first. Ctrl-C stops an answer, Ctrl-D ends.\n"
    "\n"
    "  --system TEXT          what the model is told before the conversation\n" VERB_SAMPLING_HELP;

static const char commands[] =
    "/reset forgets the conversation, /exit or Ctrl-D ends, Ctrl-C stops an answer\n";

enum { TURNS_MOST = LIMIT_MESSAGES };

struct turn {
    enum chat_role role;
    char *text;
};

struct chat {
    struct verb_sampling sampling;
    struct chat_request *defaults; /* the sampling, as a request without messages */
    const char *system;
    struct engine_session *session;
    struct turn *turns;
    size_t n_turns, n_kept; /* n_kept: what /reset leaves */
    struct buf answer;      /* what has come of the running one */
    bool terminal;
};

/* ---- History ---- */

static void turn_add(struct chat *c, enum chat_role role, struct str text)
{
    struct turn *turns = realloc(c->turns, (c->n_turns + 1) * sizeof *turns);
    char *copy = strndup(text.data ? text.data : "", text.len);
    if (!turns || !copy)
        abort();
    c->turns = turns;
    c->turns[c->n_turns++] = (struct turn){role, copy};
}

static void turns_drop(struct chat *c, size_t keep)
{
    while (c->n_turns > keep)
        free(c->turns[--c->n_turns].text);
}

static struct chat_request *request_make(struct chat *c, struct arena *a)
{
    struct chat_request *r = chat_request_create(a);
    r->sampling = c->defaults->sampling;
    r->max_tokens = c->defaults->max_tokens;
    r->context_shift = c->defaults->context_shift;
    r->stops = c->defaults->stops;
    r->n_stops = c->defaults->n_stops;
    r->messages = arena_alloc(a, c->n_turns * sizeof *r->messages);
    r->n_messages = c->n_turns;
    for (size_t i = 0; i < c->n_turns; i++) {
        r->messages[i].role = c->turns[i].role;
        r->messages[i].parts = arena_new(a, struct chat_part);
        r->messages[i].parts[0].text = str_from(c->turns[i].text);
        r->messages[i].n_parts = 1;
    }
    return r;
}

/* ---- An answer ---- */

static int on_text(void *ctx, struct str text)
{
    struct chat *c = ctx;
    buf_append_str(&c->answer, text);
    return verb_text_write(stdout, text) || fflush(stdout) != 0 || c->answer.failed;
}

static void on_interrupt(int number, void *ctx)
{
    struct chat *c = ctx;
    (void)number;
    engine_session_interrupt(c->session);
}

/* The answer to the history as it stands, added to it. */
static int answer(struct chat *c)
{
    struct arena *a = arena_create(LIMIT_REQUEST_MEMORY);
    struct chat_request *request = request_make(c, a);
    struct engine_session_answer to = {.text = on_text, .ctx = c};
    struct error err;
    buf_clear(&c->answer);
    struct loop_signal *interrupt =
        loop_signal_create(engine_session_loop(c->session), SIGINT, on_interrupt, c);
    int rc = engine_session_chat(c->session, request, &to, &err);
    loop_signal_free(interrupt);
    arena_free(a);
    fputs(to.interrupted ? " [stopped]\n" : rc && c->answer.len == 0 ? "" : "\n", stdout);
    int exit_code = rc ? verb_fail(EXIT_FAILED, &err) : EXIT_DONE;
    /* A question without an answer would only confuse the next one. */
    if (rc || c->answer.len == 0)
        turns_drop(c, c->n_turns - 1);
    else
        turn_add(c, CHAT_ASSISTANT, buf_str(&c->answer));
    return ferror(stdout) || fflush(stdout) ? verb_failf(EXIT_FAILED, "cannot write to standard output")
                                            : exit_code;
}

/* ---- The terminal ---- */

static void on_prompt_interrupt(int number)
{
    (void)number; /* only there to break the read */
}

/* A line without its newline; 0 at the end of input. Ctrl-C begins a new line. */
static bool line_read(struct chat *c, char **line, size_t *capacity, struct str *out)
{
    struct sigaction ours = {.sa_handler = on_prompt_interrupt}, before;
    ssize_t n = -1;
    sigaction(SIGINT, c->terminal ? &ours : NULL, &before);
    for (bool again = true; again;) {
        if (c->terminal) {
            fputs("> ", stdout);
            fflush(stdout);
        }
        n = getline(line, capacity, stdin);
        again = n < 0 && errno == EINTR && !feof(stdin);
        if (again) {
            clearerr(stdin);
            fputc('\n', stdout);
        }
    }
    sigaction(SIGINT, &before, NULL);
    if (n < 0)
        return false;
    *out = str_trim((struct str){*line, (size_t)n});
    return true;
}

/* What is no question; false for one. *ends: the conversation is over. */
static bool command_take(struct chat *c, struct str line, bool *ends)
{
    *ends = str_is(line, "/exit") || str_is(line, "/quit") || str_is(line, "/bye");
    if (*ends || line.len == 0)
        return true;
    if (str_is(line, "/reset")) {
        turns_drop(c, c->n_kept);
        fputs("The conversation is forgotten.\n", stderr);
        return true;
    }
    if (str_is(line, "/help") || str_is(line, "/?")) {
        fputs(commands, stderr);
        return true;
    }
    if (!str_utf8_valid(line)) {
        verb_failf(EXIT_FAILED, "that is not valid UTF-8");
        return true;
    }
    return false;
}

static int converse(struct chat *c)
{
    char *line = NULL;
    size_t capacity = 0;
    struct str text;
    bool ends = false;
    int exit_code = EXIT_DONE;
    if (c->terminal)
        fputs(commands, stderr);
    while (!ends && line_read(c, &line, &capacity, &text)) {
        if (command_take(c, text, &ends))
            continue;
        if (c->n_turns + 2 > TURNS_MOST) {
            verb_failf(EXIT_FAILED, "the conversation is too long: /reset begins another");
            continue;
        }
        turn_add(c, CHAT_USER, text);
        exit_code = answer(c);
        ends = exit_code != EXIT_DONE && !c->terminal;
    }
    if (c->terminal && !ends)
        fputc('\n', stdout);
    free(line);
    return c->terminal ? EXIT_DONE : exit_code;
}

static int open_and_converse(struct chat *c, const char *name)
{
    struct engine_model model;
    struct error err;
    int rc = engine_model_find(name, c->sampling.config, &model, &err);
    if (rc == 0)
        rc = engine_model_adapt(&model, c->sampling.lora, &err);
    if (rc)
        return verb_fail(rc == ERROR_NOT_FOUND ? EXIT_FAILED : EXIT_USAGE, &err);
    struct engine_options engine = {.file = model.file,
        .adapters = model.adapters,
        .n_adapters = model.n_adapters,
        .draft = model.draft,
        .context = model.context,
        .threads = model.threads,
        .slots = 1,
        .memory_unchecked = model.memory_unchecked || c->sampling.memory_unchecked};
    int exit_code = EXIT_USAGE;
    if (verb_sampling_read(&c->sampling, c->defaults) &&
        verb_size_read("context", c->sampling.context, &engine.context) &&
        verb_size_read("threads", c->sampling.threads, &engine.threads)) {
        rc = engine_session_open(&engine, &c->session, &err);
        if (rc == 0)
            rc = engine_session_wait(c->session, &err);
        exit_code = rc ? verb_fail(EXIT_FAILED, &err) : converse(c);
        engine_session_close(c->session);
    }
    engine_model_free(&model);
    return exit_code;
}

int verb_chat(int argc, char **argv)
{
    struct chat c = {.terminal = isatty(STDIN_FILENO) == 1};
    const struct verb_option options[] = {VERB_SAMPLING_OPTIONS(&c.sampling), {"system", &c.system, NULL}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n < 0)
        return n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n > 1)
        return verb_failf(EXIT_USAGE, "chat wants one model at most: see weir chat --help");
    struct arena *arena = arena_create(MIB);
    c.defaults = chat_request_create(arena);
    buf_init(&c.answer, LIMIT_WIRE_FRAME / 8);
    if (c.system)
        turn_add(&c, CHAT_SYSTEM, str_from(c.system));
    c.n_kept = c.n_turns;
    int exit_code = open_and_converse(&c, n == 1 ? argv[1] : NULL);
    turns_drop(&c, 0);
    free(c.turns);
    buf_free(&c.answer);
    arena_free(arena);
    return exit_code;
}

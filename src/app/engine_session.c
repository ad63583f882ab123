#include "app/engine_session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/config.h"
#include "base/limits.h"
#include "base/log.h"
#include "hub/hub.h"

enum { PROGRESS_MS = 100, PROGRESS_CELLS = 30 };

struct engine_session {
    struct loop *loop;
    struct engine *engine;
    struct engine_call *call;
    struct loop_timer *progress; /* NULL once loaded, or where nobody sees it */
    bool drawn;                  /* a progress bar stands on the line */
    /* the question being asked */
    struct buf *result;
    const struct engine_session_data *data;
    struct engine_session_answer *answer;
    int rc;
    struct error err;
};

/* ---- The model's name ---- */

static bool is_file_name(const char *name)
{
    return strchr(name, '/') || str_ends(str_from(name), STR(".gguf")) || access(name, F_OK) == 0;
}

static const struct config_model *model_named(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->n_models; i++) {
        const struct config_model *m = &c->models[i];
        if (name ? str_is(m->name, name) : m->file.len > 0)
            return m;
    }
    return NULL;
}

int engine_model_find(const char *name, const char *config, struct engine_model *out, struct error *err)
{
    struct config *c;
    const struct config_overrides none = {0};
    *out = (struct engine_model){.arena = arena_create(MIB)};
    int rc;
    if (name && (is_file_name(name) || hub_found_is_name(str_from(name)))) {
        struct str path = str_from(name);
        rc = hub_found_is_name(path) ? hub_found_path(out->arena, path, &path, err) : 0;
        if (rc == 0)
            out->file = arena_strdup(out->arena, path);
        else
            engine_model_free(out);
        return rc;
    }
    rc = config_load(str_from(config), &none, &c, err);
    if (rc) {
        engine_model_free(out);
        return rc;
    }
    const struct config_model *m = model_named(c, name);
    if (!m && name)
        rc = error_set(err, ERROR_NOT_FOUND,
            "there is no model '%s': give a .gguf file or a name of the configuration", name);
    else if (!m)
        rc = error_set(err, ERROR_INVALID, "which model? give a .gguf file, or name one under 'models' in %s",
            config ? config : "weir.yaml");
    else if (m->file.len == 0)
        rc = error_set(err, ERROR_UNSUPPORTED,
            "'%s' is a provider's model: this verb runs models of our own; ask weir serve for it", name);
    if (rc == 0) {
        out->file = arena_strdup(out->arena, m->file);
        out->draft = m->draft.len > 0 ? arena_strdup(out->arena, m->draft) : NULL;
        out->context = m->context;
        out->threads = m->threads;
        out->memory_unchecked = m->memory_unchecked;
        out->adapters = arena_alloc(out->arena, (m->n_adapters + 1) * sizeof *out->adapters);
        for (; out->n_adapters < m->n_adapters; out->n_adapters++) {
            const struct config_adapter *a = &m->adapters[out->n_adapters];
            out->adapters[out->n_adapters] = (struct engine_adapter){
                arena_strdup(out->arena, a->file), arena_strdup(out->arena, a->name), a->scale};
        }
    } else {
        engine_model_free(out);
    }
    config_free(c);
    return rc;
}

/* FILE:SCALE, or a file whose name has no number behind its last colon. */
static struct engine_adapter adapter_read(struct arena *a, struct str text)
{
    struct engine_adapter out = {.scale = 1};
    for (size_t i = text.len; i > 0; i--) {
        char *end;
        const char *number = arena_strdup(a, str_slice(text, i, text.len));
        if (text.data[i - 1] != ':')
            continue;
        out.scale = strtod(number, &end);
        if (end != number && !*end && isfinite(out.scale))
            text = str_slice(text, 0, i - 1);
        else
            out.scale = 1;
        break;
    }
    out.file = arena_strdup(a, text);
    out.name = arena_strdup(a, engine_adapter_name(text));
    return out;
}

int engine_model_adapt(struct engine_model *m, const char *list, struct error *err)
{
    struct engine_adapter all[ENGINE_ADAPTERS_MAX];
    struct str rest = str_from(list), item;
    size_t n = 0;
    for (; n < m->n_adapters; n++)
        all[n] = m->adapters[n];
    while (list && str_split(&rest, ',', &item)) {
        if (n == ENGINE_ADAPTERS_MAX)
            return error_set(err, ERROR_INVALID, "--lora names more than %d adapters", ENGINE_ADAPTERS_MAX);
        all[n++] = adapter_read(m->arena, item);
    }
    m->adapters = arena_alloc(m->arena, (n + 1) * sizeof *m->adapters);
    memcpy(m->adapters, all, n * sizeof *all);
    m->n_adapters = n;
    return 0;
}

void engine_model_free(struct engine_model *m)
{
    arena_free(m->arena);
    m->arena = NULL;
}

/* ---- Loading, as seen ---- */

static void progress_clear(struct engine_session *s)
{
    if (s->drawn)
        fputs("\r\033[K", stderr);
    s->drawn = false;
}

static void progress_end(struct engine_session *s)
{
    progress_clear(s);
    loop_timer_free(s->progress);
    s->progress = NULL;
}

static void on_progress(void *ctx)
{
    struct engine_session *s = ctx;
    struct engine_status status;
    engine_status(s->engine, &status);
    if (status.state != ENGINE_STARTING) {
        progress_end(s);
        return;
    }
    double share = status.load_total > 0 ? (double)status.load_done / (double)status.load_total : 0;
    int full = (int)(share * PROGRESS_CELLS);
    fprintf(stderr, "\rloading [%.*s%*s] %3d %%", full, "##############################",
        PROGRESS_CELLS - full, "", (int)(share * 100));
    s->drawn = true;
    loop_timer_start(s->progress, PROGRESS_MS);
}

int engine_session_open(const struct engine_options *o, struct engine_session **out, struct error *err)
{
    struct engine_session *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    /* What goes wrong is said by the verb: our log and the worker's are quiet unless asked for. */
    setenv("WEIR_LOG", "error", 0);
    log_set_level_name(getenv("WEIR_LOG"));
    int rc = loop_create(&s->loop, err);
    if (rc == 0)
        rc = engine_create(s->loop, o, &s->engine, err);
    if (rc) {
        engine_session_close(s);
        return rc;
    }
    if (isatty(STDERR_FILENO)) {
        s->progress = loop_timer_create(s->loop, on_progress, s);
        loop_timer_start(s->progress, 3 * PROGRESS_MS);
    }
    *out = s;
    return 0;
}

void engine_session_close(struct engine_session *s)
{
    if (!s)
        return;
    progress_end(s);
    engine_free(s->engine);
    loop_free(s->loop);
    free(s);
}

struct wait {
    struct engine_session *session;
    struct loop_timer *timer;
    struct engine_status status;
};

static void on_wait(void *ctx)
{
    struct wait *w = ctx;
    engine_status(w->session->engine, &w->status);
    if (w->status.state == ENGINE_STARTING)
        loop_timer_start(w->timer, PROGRESS_MS / 10);
    else
        loop_stop(w->session->loop);
}

int engine_session_wait(struct engine_session *s, struct error *err)
{
    struct wait w = {.session = s};
    w.timer = loop_timer_create(s->loop, on_wait, &w);
    loop_timer_start(w.timer, 0);
    int rc = loop_run(s->loop, err);
    loop_timer_free(w.timer);
    progress_clear(s);
    if (rc == 0 && w.status.state == ENGINE_DOWN)
        rc = error_set(err, ERROR_UNAVAILABLE, "%s", w.status.message);
    return rc;
}

void engine_session_status(struct engine_session *s, struct engine_status *out)
{
    engine_status(s->engine, out);
}

struct loop *engine_session_loop(struct engine_session *s)
{
    return s->loop;
}

/* ---- Questions ---- */

static void ended(struct engine_session *s, int rc)
{
    s->rc = rc;
    loop_stop(s->loop);
}

/* Runs the loop until the question has its answer. */
static int answer_wait(struct engine_session *s, struct error *err)
{
    struct error loop_err;
    int rc = loop_run(s->loop, &loop_err);
    engine_call_close(s->call);
    s->call = NULL;
    progress_clear(s);
    if (rc || s->rc)
        *err = rc ? loop_err : s->err;
    return rc ? rc : s->rc;
}

static void on_frame(void *ctx, enum wire_type type, struct str payload, const struct error *err)
{
    struct engine_session *s = ctx;
    int rc = 0;
    if (s->rc)
        return;
    if (type == WIRE_ERROR) {
        s->err = *err;
        ended(s, err->code);
        return;
    }
    if (type == WIRE_DATA && s->data)
        rc = s->data->fn(s->data->ctx, payload, &s->err);
    else if (type == WIRE_RESULT && s->result && buf_append_str(s->result, payload))
        rc = error_set(&s->err, s->result->failed, "no memory for the answer");
    if (rc || type == WIRE_RESULT)
        ended(s, rc);
}

int engine_session_ask(struct engine_session *s, enum wire_type type, struct str payload, struct buf *result,
    const struct engine_session_data *data, struct error *err)
{
    s->result = result;
    s->data = data;
    s->rc = 0;
    s->err = (struct error){0};
    int rc = engine_ask(s->engine, s->loop, type, payload, (struct engine_reply){on_frame, s}, &s->call, err);
    return rc ? rc : answer_wait(s, err);
}

static void on_event(void *ctx, const struct chat_event *event)
{
    struct engine_session *s = ctx;
    struct engine_session_answer *a = s->answer;
    progress_clear(s);
    if (a->interrupted)
        return;
    if (event->kind == CHAT_EVENT_TEXT && a->text(a->ctx, event->text)) {
        engine_session_interrupt(s);
    } else if (event->kind == CHAT_EVENT_USAGE) {
        a->usage = event->usage;
    } else if (event->kind == CHAT_EVENT_STOP) {
        a->stop = event->stop;
        ended(s, 0);
    } else if (event->kind == CHAT_EVENT_ERROR) {
        error_set(&s->err, event->failure.code, STR_FMT, STR_ARG(event->failure.message));
        ended(s, event->failure.code);
    }
}

int engine_session_chat(struct engine_session *s, const struct chat_request *request,
    struct engine_session_answer *answer, struct error *err)
{
    s->answer = answer;
    s->rc = 0;
    s->err = (struct error){0};
    answer->interrupted = false;
    int rc = engine_chat(s->engine, s->loop, request, (struct chat_sink){on_event, s}, &s->call, err);
    return rc ? rc : answer_wait(s, err);
}

void engine_session_interrupt(struct engine_session *s)
{
    if (!s->call || !s->answer)
        return;
    s->answer->interrupted = true;
    ended(s, 0);
}

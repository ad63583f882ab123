#include "engine/engine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "chat/chat_codec.h"
#include "engine/engine_inner.h"

enum { BESIDE_MAX = 64 * KIB };

struct engine *engine_ref(struct engine *e)
{
    atomic_fetch_add(&e->refs, 1);
    return e;
}

void engine_unref(struct engine *e)
{
    if (atomic_fetch_sub(&e->refs, 1) > 1)
        return;
    pthread_mutex_destroy(&e->mutex);
    buf_free(&e->ready);
    for (size_t i = 0; i < e->n_adapters; i++) {
        free((char *)(uintptr_t)e->adapters[i].file);
        free((char *)(uintptr_t)e->adapters[i].name);
    }
    free(e->adapters);
    free(e->name);
    free(e->file);
    free(e->kv_type);
    free(e->draft);
    free(e->spill_folder);
    free(e->sampling);
    free(e->opening);
    spill_file_close(&e->spill);
    if (e->writes >= 0)
        close(e->writes);
    free(e->executable);
    free(e);
}

static char *copy(const char *text)
{
    char *to = text ? strdup(text) : NULL;
    if (text && !to)
        abort();
    return to;
}

struct str engine_adapter_name(struct str file)
{
    file = str_base_name(file);
    return str_ends(file, STR(".gguf")) ? str_slice(file, 0, file.len - 5) : file;
}

/* NAME.suffix beside the model's NAME.gguf; false: there is none, or the log says why it is left out. */
static bool beside_read(
    const struct engine *e, struct arena *a, const char *suffix, struct str *text, const char **path)
{
    struct str stem = str_from(e->file);
    struct error err;
    stem.len -= str_ends(stem, STR(".gguf")) ? 5 : 0;
    *path = arena_printf(a, STR_FMT "%s", STR_ARG(stem), suffix).data;
    if (!e->file || access(*path, F_OK) != 0)
        return false;
    int rc = file_read(a, *path, BESIDE_MAX, text, &err);
    if (rc == 0 && !str_utf8_valid(*text))
        rc = error_set(&err, ERROR_INVALID, "it is no text");
    if (rc)
        log_warn("engine", "%s is left out: %s", *path, err.message);
    return rc == 0;
}

static void sampling_find(struct engine *e, struct arena *a)
{
    struct str text;
    struct error err;
    const char *path;
    json_t *object;
    if (!beside_read(e, a, ENGINE_PARAMS, &text, &path))
        return;
    int rc = json_read_in(a, text, &object, &err);
    if (rc == 0 && !json_is_object(object))
        rc = error_set(&err, ERROR_INVALID, "it is no object");
    if (rc)
        log_warn("engine", "%s is left out: %s", path, err.message);
    else
        e->sampling = copy(arena_strdup(a, text));
}

static void message_write(struct json_writer *w, struct str role, struct str content)
{
    json_object_begin(w);
    json_member_str(w, "role", role);
    json_member_str(w, "content", content);
    json_object_end(w);
}

static bool role_known(struct str role)
{
    return str_is(role, "system") || str_is(role, "user") || str_is(role, "assistant");
}

/* The messages of NAME.messages.json, behind what is written already. */
static int messages_write(struct arena *a, struct str text, struct json_writer *w, struct error *err)
{
    json_t *list;
    int rc = json_read_in(a, text, &list, err);
    if (rc == 0 && !json_is_array(list))
        rc = error_set(err, ERROR_INVALID, "it is no list");
    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++)
        if (!role_known(json_text(json_array_get(list, i), "role")) ||
            !json_is_string(json_object_get(json_array_get(list, i), "content")))
            rc = error_set(err, ERROR_INVALID, "message %zu has no role or no text", i);
    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++)
        message_write(
            w, json_text(json_array_get(list, i), "role"), json_text(json_array_get(list, i), "content"));
    return rc;
}

static void opening_find(struct engine *e, struct arena *a)
{
    struct buf json;
    struct json_writer w;
    struct str text;
    struct error err;
    const char *path;
    buf_init(&json, MIB);
    json_writer_init(&w, &json);
    json_array_begin(&w);
    if (beside_read(e, a, ENGINE_SYSTEM, &text, &path) && str_trim(text).len > 0)
        message_write(&w, STR("system"), text);
    if (beside_read(e, a, ENGINE_MESSAGES, &text, &path) && messages_write(a, text, &w, &err))
        log_warn("engine", "%s is left out: %s", path, err.message);
    json_array_end(&w);
    if (json.len > strlen("[]") && !json.failed)
        e->opening = copy(arena_strdup(a, buf_str(&json)));
    buf_free(&json);
}

void engine_beside_find(struct engine *e)
{
    struct arena *a = arena_create(4 * MIB);
    free(e->sampling);
    free(e->opening);
    e->sampling = e->opening = NULL;
    sampling_find(e, a);
    opening_find(e, a);
    arena_free(a);
}

static void adapters_copy(struct engine *e, const struct engine_options *options)
{
    e->n_adapters = options->n_adapters;
    e->adapters = calloc(e->n_adapters + 1, sizeof *e->adapters);
    if (!e->adapters)
        abort();
    for (size_t i = 0; i < e->n_adapters; i++) {
        const struct engine_adapter *a = &options->adapters[i];
        e->adapters[i] = (struct engine_adapter){copy(a->file), copy(a->name), a->scale};
    }
}

int engine_create(
    struct loop *home, const struct engine_options *options, struct engine **out, struct error *err)
{
    struct engine *e = calloc(1, sizeof *e);
    if (!e)
        abort();
    atomic_init(&e->refs, 1);
    e->writes = -1;
    pthread_mutex_init(&e->mutex, NULL);
    e->home = home;
    e->options = *options;
    e->options.queue_limit = options->queue_limit > 0 ? options->queue_limit : 64;
    e->options.wait_ms = options->wait_ms > 0 ? options->wait_ms : ENGINE_WAIT_MS;
    e->keep_ms = options->keep_alive_ms;
    e->options.silence_ms = options->silence_ms > 0 ? options->silence_ms : ENGINE_SILENCE_MS;
    e->slots = e->options.slots > 0 ? e->options.slots : 1;
    e->name = copy(options->name ? options->name : options->file ? options->file : "engine");
    e->file = copy(options->file);
    e->kv_type = copy(options->kv_type ? options->kv_type : "");
    e->draft = options->draft && options->draft[0] ? copy(options->draft) : NULL;
    e->spill_folder = options->spill.bytes > 0 ? copy(options->spill.folder) : NULL;
    e->spill.fd = -1;
    adapters_copy(e, options);
    list_init(&e->waiting);
    list_init(&e->open);
    list_init(&e->pool_node);
    buf_init(&e->ready, LIMIT_WIRE_FRAME);
    int rc = supervisor_create(e, err);
    if (rc)
        engine_free(e);
    else
        *out = e;
    return rc;
}

static void end_all(struct list *calls)
{
    list_each(node, after, calls) {
        call_fail(
            list_item(node, struct engine_call, node), -1, "the engine was stopped: send the request again");
    }
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    pthread_mutex_lock(&e->mutex);
    e->home = NULL;
    e->status.state = ENGINE_DOWN;
    pthread_mutex_unlock(&e->mutex);
    end_all(&e->open);
    end_all(&e->waiting);
    supervisor_stop(e);
    pool_leave(e);
    pthread_mutex_lock(&e->mutex);
    e->options.pool = NULL; /* it may go before the last reference to the engine does */
    pthread_mutex_unlock(&e->mutex);
    engine_unref(e);
}

/* By how long chats took: as many as fill the slots end in that time. */
static int64_t wait_ms(const struct engine *e)
{
    if (e->status.active + e->status.queued < e->slots)
        return 0;
    return e->answer_ms > 0 ? (int64_t)(e->answer_ms * (e->status.queued + 1) / e->slots) : -1;
}

void engine_status(struct engine *e, struct engine_status *out)
{
    pthread_mutex_lock(&e->mutex);
    *out = e->status;
    out->slots = e->slots;
    out->wait_ms = wait_ms(e);
    out->kv_tokens = atomic_load(&e->kv_tokens);
    bool expires = e->status.state == ENGINE_UP && e->options.pool && e->keep_ms >= 0 &&
                   e->status.active + e->status.queued + e->asks == 0;
    out->expires_ms = expires ? e->rested_ms + e->keep_ms : -1;
    pthread_mutex_unlock(&e->mutex);
}

static void keep_changed(void *ctx)
{
    struct engine *e = ctx;
    if (e->home) /* it may have been freed since */
        pool_poke(e);
    engine_unref(e);
}

static void keep_set(struct engine *e, int64_t ms)
{
    if (e->keep_ms != ms && e->home)
        loop_post(e->home, keep_changed, engine_ref(e));
    e->keep_ms = ms;
}

void engine_keep_alive(struct engine *e, const int64_t *ms)
{
    pthread_mutex_lock(&e->mutex);
    keep_set(e, ms ? *ms : e->options.keep_alive_ms);
    pthread_mutex_unlock(&e->mutex);
}

void engine_configure(struct engine *e, int64_t keep_alive_ms, bool preload)
{
    pthread_mutex_lock(&e->mutex);
    if (e->keep_ms == e->options.keep_alive_ms)
        keep_set(e, keep_alive_ms);
    e->options.keep_alive_ms = keep_alive_ms;
    pthread_mutex_unlock(&e->mutex);
    e->preload_due = preload && !e->options.preload && e->status.state == ENGINE_UNLOADED;
    e->options.preload = preload;
    pool_poke(e);
}

int64_t engine_keep_ms(struct engine *e)
{
    pthread_mutex_lock(&e->mutex);
    int64_t ms = e->keep_ms;
    pthread_mutex_unlock(&e->mutex);
    return ms;
}

struct str engine_ready_info(struct engine *e, struct arena *a)
{
    pthread_mutex_lock(&e->mutex);
    struct str info = arena_copy(a, buf_str(&e->ready));
    pthread_mutex_unlock(&e->mutex);
    return info;
}

/* ---- Calls come in ---- */

static int admissible(const struct engine *e, const struct engine_call *c, struct error *err)
{
    if (!e->home)
        return error_set(err, ERROR_UNAVAILABLE, "the engine of '%s' was stopped", e->name);
    if (e->status.state == ENGINE_DOWN)
        return error_set(
            err, ERROR_UNAVAILABLE, "the local model '%s' is down: %s", e->name, e->status.message);
    bool full = c->type == WIRE_CHAT
                    ? e->status.active + e->status.queued >= e->slots + e->options.queue_limit
                    : e->asks >= ENGINE_ASKS_MOST;
    if (full || (e->waiting_bytes > 0 && e->waiting_bytes + c->payload_bytes > ENGINE_WAITING_BYTES))
        return error_set(
            err, ERROR_BUSY, "the queue of the local model '%s' is full: try again later", e->name);
    return 0;
}

/* Counts the call and hands it to the home loop, or refuses it. */
static int admit(struct engine *e, struct engine_call *c, struct error *err)
{
    pthread_mutex_lock(&e->mutex);
    int rc = admissible(e, c, err);
    if (rc == 0) {
        if (c->type == WIRE_CHAT)
            e->status.queued++;
        else
            e->asks++;
        e->waiting_bytes += c->payload_bytes;
        loop_post(e->home, call_opened, call_ref(c));
    }
    pthread_mutex_unlock(&e->mutex);
    return rc;
}

int engine_chat(struct engine *e, struct loop *caller, const struct chat_request *request,
    struct chat_sink sink, struct engine_call **out, struct error *err)
{
    struct engine_call *c = call_create(e, caller, WIRE_CHAT);
    c->sink = sink;
    c->measures = request->measure;
    c->measures_prompt = request->measure_prompt;
    c->asker = request->asker;
    int rc = chat_codec_write(request, &c->payload, err);
    c->payload_bytes = c->payload.len;
    if (rc == 0)
        rc = admit(e, c, err);
    if (rc)
        call_unref(c);
    else
        *out = c;
    return rc;
}

int engine_ask(struct engine *e, struct loop *caller, enum wire_type type, struct str payload,
    struct engine_reply reply, struct engine_call **out, struct error *err)
{
    assert(type >= WIRE_TOKENIZE && type <= WIRE_BENCH);
    struct engine_call *c = call_create(e, caller, type);
    c->reply = reply;
    int rc = buf_append_str(&c->payload, payload);
    if (rc)
        error_set(
            err, rc, "the request does not fit the engine's input of %zu bytes: shorten it", c->payload.max);
    c->payload_bytes = c->payload.len;
    if (rc == 0)
        rc = admit(e, c, err);
    if (rc)
        call_unref(c);
    else
        *out = c;
    return rc;
}

bool engine_post(struct engine_call *c, void (*fn)(void *call))
{
    struct engine *e = c->engine;
    pthread_mutex_lock(&e->mutex);
    bool alive = e->home != NULL;
    if (alive)
        loop_post(e->home, fn, call_ref(c));
    pthread_mutex_unlock(&e->mutex);
    return alive;
}

/* ---- Back-pressure ---- */

static void reading_resume(void *ctx)
{
    struct engine *e = ctx;
    client_watch(e);
    engine_unref(e);
}

void engine_pending_add(struct engine *e, size_t bytes)
{
    pthread_mutex_lock(&e->mutex);
    e->pending += bytes;
    if (e->pending > ENGINE_PENDING_HIGH)
        e->reading_held = true;
    pthread_mutex_unlock(&e->mutex);
}

void engine_pending_drop(struct engine *e, size_t bytes)
{
    pthread_mutex_lock(&e->mutex);
    e->pending -= bytes;
    if (e->reading_held && e->pending <= ENGINE_PENDING_LOW) {
        e->reading_held = false;
        if (e->home)
            loop_post(e->home, reading_resume, engine_ref(e));
    }
    pthread_mutex_unlock(&e->mutex);
}

bool engine_reading_held(struct engine *e)
{
    pthread_mutex_lock(&e->mutex);
    bool held = e->reading_held;
    pthread_mutex_unlock(&e->mutex);
    return held;
}

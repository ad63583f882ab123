/* Ollama's conversations: POST /api/chat and /api/generate. One without anything to say loads the model, or
 * with `keep_alive` 0 unloads it. */
#include "api/ollama.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/ollama_in.h"
#include "api/ollama_out.h"
#include "base/limits.h"
#include "engine/engine.h"

/* ---- Names ---- */

static bool name_exists(const struct exchange_world *w, struct str name)
{
    const struct router_policy *policy = exchange_world_policy(w);
    for (size_t i = 0; i < router_policy_n_routes(policy); i++)
        if (str_eq(router_policy_route_name(policy, i), name))
            return true;
    return exchange_world_find(w, name) != NULL;
}

int api_ollama_name(const struct exchange_world *w, struct str given, struct str *name, struct error *err)
{
    struct str latest = STR(":latest");
    *name = given;
    if (name_exists(w, given))
        return 0;
    if (str_ends(given, latest)) {
        *name = str_slice(given, 0, given.len - latest.len);
        if (name_exists(w, *name))
            return 0;
    }
    return error_set(
        err, ERROR_NOT_FOUND, "model '" STR_FMT "' not found", STR_ARG(str_slice(given, 0, 256)));
}

static int resolve(const struct exchange_world *w, struct chat_request *r, struct error *err)
{
    return api_ollama_name(w, r->model, &r->model, err);
}

/* ---- The shapes ---- */

static void chat_init(void *answer, const struct chat_request *r, const struct exchange_origin *o)
{
    (void)o;
    ollama_answer_init(answer, true, r->model);
}

static void generate_init(void *answer, const struct chat_request *r, const struct exchange_origin *o)
{
    (void)o;
    ollama_answer_init(answer, false, r->model);
}

static void answer_free(void *answer)
{
    ollama_answer_free(answer);
}

static void answer_begin(void *answer, const struct exchange_about *about)
{
    (void)answer; /* clients of this API look for the name they gave */
    (void)about;
}

static int answer_gather(void *answer, const struct chat_event *e, struct error *err)
{
    return ollama_answer_gather(answer, e, err);
}

static void answer_whole(void *answer, const struct chat_usage *usage, struct buf *out)
{
    ollama_answer_write(answer, usage, out);
}

static void stream_event(void *answer, const struct chat_event *e, struct buf *out)
{
    ollama_stream_event(answer, e, out);
}

static void stream_end(void *answer, const struct chat_usage *usage, struct buf *out)
{
    ollama_stream_end(answer, usage, out);
}

#define OLLAMA_ANSWERS                                                                                       \
    .stream_type = "application/x-ndjson", .answer_size = sizeof(struct ollama_answer), .resolve = resolve,  \
    .free = answer_free, .begin = answer_begin, .gather = answer_gather, .whole = answer_whole,              \
    .event = stream_event, .end = stream_end, .error = ollama_error

const struct api_shape api_ollama_chat_shape = {
    .name = "ollama.chat", .read = api_ollama_chat_read, .init = chat_init, OLLAMA_ANSWERS};
const struct api_shape api_ollama_generate_shape = {
    .name = "ollama.generate", .read = api_ollama_generate_read, .init = generate_init, OLLAMA_ANSWERS};

/* ---- Loading and unloading ---- */

struct load_call {
    struct api_call api;
    struct exchange_world *world;
    struct ollama_answer answer;
    struct engine_call *asking;
};

static void load_free(struct load_call *c)
{
    c->api.shard->exchange->n_open--;
    engine_call_close(c->asking);
    exchange_world_unref(c->world);
    ollama_answer_free(&c->answer);
    free(c);
}

static void load_reply(struct load_call *c, const char *reason)
{
    struct buf out;
    buf_init(&out, 4 * KIB);
    ollama_load_write(&c->answer, reason, &out);
    api_reply_json(&c->api, 200, &out);
    buf_free(&out);
    load_free(c);
}

static void on_loaded(void *ctx, enum wire_type type, struct str payload, const struct error *err)
{
    struct load_call *c = ctx;
    (void)payload;
    if (type != WIRE_ERROR) {
        load_reply(c, "load");
        return;
    }
    api_error(&c->api, exchange_status(err->code), str_from(err->message));
    load_free(c);
}

static void on_gone(void *ctx)
{
    struct load_call *c = ctx;
    http_request_release(c->api.http);
    load_free(c);
}

/* An engine that has split a text into tokens is loaded. */
static void load(
    const struct api_call *api, const struct exchange_model *m, struct str name, const int64_t *keep_ms)
{
    struct load_call *c = calloc(1, sizeof *c);
    struct error err;
    if (!c)
        abort();
    c->api = *api;
    c->world = exchange_world_ref(api->shard->exchange->world);
    api->shard->exchange->n_open++;
    ollama_answer_init(&c->answer, api->shape == &api_ollama_chat_shape, name);
    bool unload = keep_ms && *keep_ms == 0;
    struct engine *engine = m ? m->target.engine : NULL; /* what runs elsewhere is there already */
    if (engine)
        engine_keep_alive(engine, keep_ms);
    if (!engine || unload) {
        load_reply(c, unload ? "unload" : "load");
        return;
    }
    int rc = engine_ask(engine, api->shard->exchange->loop, WIRE_TOKENIZE, STR("{\"text\":\"\"}"),
        (struct engine_reply){on_loaded, c}, &c->asking, &err);
    if (rc) {
        api_error(api, exchange_status(rc), str_from(err.message));
        load_free(c);
        return;
    }
    http_request_on_gone(api->http, on_gone, c);
}

/* True: the request was one to load, and is taken care of. */
static bool load_try(const struct api_call *c, struct arena *a)
{
    const struct exchange_world *world = c->shard->exchange->world;
    struct error err;
    json_t *root;
    struct str given, name;
    bool keeps;
    int64_t keep_ms;
    int rc = json_read_in(a, http_request_body(c->http), &root, &err);
    if (rc || !json_is_object(root) || !api_ollama_is_load(root, c->shape == &api_ollama_chat_shape))
        return false; /* also what is malformed: the common path tells how */
    rc = api_ollama_model(root, &given, &err);
    if (rc == 0)
        rc = api_ollama_name(world, given, &name, &err);
    if (rc == 0)
        rc = api_ollama_keep_alive(root, &keeps, &keep_ms, &err);
    if (rc)
        api_error(c, exchange_status(rc), str_from(err.message));
    else
        load(c, exchange_world_find(world, name), given, keeps ? &keep_ms : NULL);
    return true;
}

void api_ollama_chat(const struct api_call *c)
{
    enum { LOAD_BODY = 64 * 1024 }; /* a larger one has something to say */
    if (http_request_body(c->http).len <= LOAD_BODY) {
        struct arena *a = arena_create(LIMIT_REQUEST_MEMORY);
        bool taken = load_try(c, a);
        arena_free(a);
        if (taken)
            return;
    }
    api_chat(c);
}

/* Ollama's view of what there is: GET /api/tags, /api/ps, /api/version, POST /api/show. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <sodium.h>

#include "api/ollama.h"
#include "api/ollama_in.h"
#include "api/ollama_out.h"
#include "api/read.h"
#include "base/clock.h"
#include "base/limits.h"
#include "engine/engine.h"

/* Whose API this is; clients look at it to know what they may ask. Ours is its build metadata. */
#define OLLAMA_VERSION "0.13.0"

/* ---- What a list says of a model ---- */

static int64_t stat_of(const struct exchange_model *m, struct stat *st)
{
    if (m && m->target.file && stat(m->target.file, st) == 0)
        return (int64_t)st->st_size;
    memset(st, 0, sizeof *st);
    return 0;
}

/* Another file under the same name gets another digest. It is no checksum of the content, which would have to
 * be read whole. */
static void digest_write(struct json_writer *w, struct str name, const struct stat *st)
{
    unsigned char hash[32];
    char hex[2 * sizeof hash + 1], text[LIMIT_MODEL_NAME + 128];
    int n = snprintf(text, sizeof text, STR_FMT "|%" PRIu64 "|%" PRId64 "|%" PRId64, STR_ARG(name),
        (uint64_t)st->st_ino, (int64_t)st->st_size, (int64_t)st->st_mtime);
    crypto_generichash(hash, sizeof hash, (const unsigned char *)text, (unsigned long long)n, NULL, 0);
    sodium_bin2hex(hex, sizeof hex, hash, sizeof hash);
    json_member_text(w, "digest", hex);
}

/* `family`, `size` and `type` as far as they are known without reading the file. */
static void details_write(
    struct json_writer *w, bool local, struct str family, const char *size, const char *type)
{
    json_key(w, "details");
    json_object_begin(w);
    json_member_str(w, "parent_model", STR(""));
    json_member_str(w, "format", local ? STR("gguf") : STR(""));
    json_member_str(w, "family", family);
    json_key(w, "families");
    json_array_begin(w);
    if (family.len > 0)
        json_write_str(w, family);
    json_array_end(w);
    json_member_str(w, "parameter_size", str_from(size));
    json_member_str(w, "quantization_level", str_from(type));
    json_object_end(w);
}

/* 8030261248 --> "8.0B", 134515008 --> "135M" */
static void parameters_format(int64_t n, char out[32])
{
    if (n >= 1000000000)
        snprintf(out, 32, "%.1fB", (double)n / 1e9);
    else if (n >= 1000000)
        snprintf(out, 32, "%.0fM", (double)n / 1e6);
    else
        snprintf(out, 32, "%.0fK", (double)n / 1e3);
}

/* What the engine told when it was loaded; a NULL object: it is not. */
static json_t *ready_read(const struct exchange_model *m, struct arena *a)
{
    struct error err;
    json_t *ready = NULL;
    struct str info = m->target.engine ? engine_ready_info(m->target.engine, a) : STR_NONE;
    if (info.len == 0 || json_read_in(a, info, &ready, &err))
        return NULL;
    return ready;
}

static void known_details_write(struct json_writer *w, const struct exchange_model *m, const json_t *ready)
{
    char size[32] = "";
    int64_t parameters = json_integer_value(json_object_get(ready, "parameters"));
    struct str family = json_text(ready, "architecture");
    if (parameters > 0)
        parameters_format(parameters, size);
    details_write(w, m && m->target.engine, family.data ? family : STR(""), size, "");
}

static void tag_write(
    struct json_writer *w, const struct api_call *c, struct str name, const struct exchange_model *m)
{
    struct arena *a = arena_create(LIMIT_REQUEST_MEMORY);
    struct stat st;
    int64_t size = stat_of(m, &st);
    int64_t changed_s = size > 0 ? (int64_t)st.st_mtime : c->shard->started_s;
    json_object_begin(w);
    json_member_str(w, "name", name);
    json_member_str(w, "model", name);
    ollama_time_write(w, "modified_at", changed_s * 1000000000);
    json_member_int(w, "size", size);
    digest_write(w, name, &st);
    known_details_write(w, m, m ? ready_read(m, a) : NULL);
    json_object_end(w);
    arena_free(a);
}

static void list_begin(struct json_writer *w, struct buf *out)
{
    buf_init(out, 16 * MIB);
    json_writer_init(w, out);
    json_object_begin(w);
    json_key(w, "models");
    json_array_begin(w);
}

static void list_end(const struct api_call *c, struct json_writer *w)
{
    json_array_end(w);
    json_object_end(w);
    api_reply_json(c, 200, w->buf);
    buf_free(w->buf);
}

/* Routes first, as in /v1/models. */
void api_ollama_tags(const struct api_call *c)
{
    const struct exchange_world *world = c->shard->exchange->world;
    const struct router_policy *policy = exchange_world_policy(world);
    struct buf out;
    struct json_writer w;
    list_begin(&w, &out);
    for (size_t i = 0; i < router_policy_n_routes(policy); i++)
        if (api_model_allowed(c, router_policy_route_name(policy, i)))
            tag_write(&w, c, router_policy_route_name(policy, i), NULL);
    for (size_t i = 0; i < exchange_world_n_models(world); i++) {
        const struct exchange_model *m = exchange_world_model(world, i);
        if (!m->unlisted && api_model_allowed(c, m->name))
            tag_write(&w, c, m->name, m);
    }
    list_end(c, &w);
}

/* ---- GET /api/ps: what is loaded ---- */

static void loaded_write(struct json_writer *w, const struct exchange_model *m, const struct engine_status *s)
{
    const int64_t for_ever_ms = (int64_t)100 * 365 * 86400 * 1000;
    struct arena *a = arena_create(LIMIT_REQUEST_MEMORY);
    struct stat st;
    const json_t *ready = ready_read(m, a);
    int64_t left_ms = s->expires_ms < 0 ? for_ever_ms : s->expires_ms - clock_mono_ms();
    stat_of(m, &st);
    json_object_begin(w);
    json_member_str(w, "name", m->name);
    json_member_str(w, "model", m->name);
    json_member_int(w, "size", s->bytes);
    digest_write(w, m->name, &st);
    known_details_write(w, m, ready);
    ollama_time_write(w, "expires_at", ollama_now_ns() + left_ms * 1000000);
    json_member_int(w, "size_vram", 0);
    json_member_int(w, "context_length", json_integer_value(json_object_get(ready, "context")));
    json_object_end(w);
    arena_free(a);
}

void api_ollama_ps(const struct api_call *c)
{
    const struct exchange_world *world = c->shard->exchange->world;
    struct buf out;
    struct json_writer w;
    list_begin(&w, &out);
    for (size_t i = 0; i < exchange_world_n_models(world); i++) {
        const struct exchange_model *m = exchange_world_model(world, i);
        struct engine_status status;
        if (!m->target.engine)
            continue;
        engine_status(m->target.engine, &status);
        if (status.state == ENGINE_UP)
            loaded_write(&w, m, &status);
    }
    list_end(c, &w);
}

/* ---- POST /api/show ---- */

struct show_call {
    struct api_call api;
    struct exchange_world *world;
    const struct exchange_model *model;
    bool verbose;
    struct engine_call *asking;
};

static void show_free(struct show_call *c)
{
    c->api.shard->exchange->n_open--;
    engine_call_close(c->asking);
    exchange_world_unref(c->world);
    free(c);
}

static bool has(struct str text, const char *needle)
{
    return str_find(text, str_from(needle)) != SIZE_MAX;
}

/* What the file's own template can do. */
static void capabilities_write(struct json_writer *w, const json_t *metadata, struct str template)
{
    struct str family = json_text(metadata, "general.architecture");
    char key[128];
    snprintf(key, sizeof key, STR_FMT ".pooling_type", STR_ARG(str_slice(family, 0, 64)));
    bool encoder = has(family, "bert") || json_object_get(metadata, key);
    json_key(w, "capabilities");
    json_array_begin(w);
    json_write_text(w, encoder ? "embedding" : "completion");
    if (!encoder && has(template, "tools"))
        json_write_text(w, "tools");
    if (!encoder && json_object_get(metadata, "tokenizer.ggml.fim_pre_token_id"))
        json_write_text(w, "insert");
    if (!encoder &&
        (has(template, "</think>") || has(template, "enable_thinking") || has(template, "reasoning_effort")))
        json_write_text(w, "thinking");
    json_array_end(w);
}

/* The type that most bytes of the file are of: what its name usually says. */
static const char *main_type(const json_t *totals)
{
    const char *key, *found = "";
    json_t *value;
    int64_t most = 0;
    json_object_foreach(json_object_get(totals, "types"), key, value)
    {
        int64_t bytes = json_integer_value(json_object_get(value, "bytes"));
        if (bytes > most) {
            most = bytes;
            found = key;
        }
    }
    return found;
}

/* Metadata as Ollama shows it: lists only when asked for. */
static void info_write(struct json_writer *w, const json_t *metadata, int64_t parameters, bool verbose)
{
    const char *key;
    json_t *value;
    json_key(w, "model_info");
    json_object_begin(w);
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value)
    {
        if (strcmp(key, "tokenizer.chat_template") == 0)
            continue;
        json_key(w, key);
        if (json_is_object(value) && verbose)
            json_write_value(w, json_object_get(value, "first"));
        else if (json_is_object(value))
            json_write_null(w);
        else
            json_write_value(w, value);
    }
    if (!json_object_get(metadata, "general.parameter_count"))
        json_member_int(w, "general.parameter_count", parameters);
    json_object_end(w);
}

static void show_write(const struct show_call *c, const json_t *file, struct buf *out)
{
    const json_t *metadata = json_object_get(file, "metadata"), *totals = json_object_get(file, "totals");
    struct str template = json_text(metadata, "tokenizer.chat_template");
    struct str license = json_text(metadata, "general.license");
    struct str family = json_text(metadata, "general.architecture");
    int64_t parameters = json_integer_value(json_object_get(totals, "parameters"));
    struct json_writer w;
    struct stat st;
    char size[32];
    parameters_format(parameters, size);
    stat_of(c->model, &st);
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_maybe_str(&w, "license", license);
    json_member_str(&w, "modelfile", STR(""));
    json_member_str(&w, "parameters", STR(""));
    json_member_str(&w, "template", template.data ? template : STR(""));
    details_write(&w, true, family.data ? family : STR(""), size, main_type(totals));
    info_write(&w, metadata, parameters, c->verbose);
    if (c->verbose) {
        json_key(&w, "tensors");
        json_write_value(&w, json_object_get(file, "tensors"));
    }
    capabilities_write(&w, metadata, template);
    ollama_time_write(&w, "modified_at", (int64_t)st.st_mtime * 1000000000);
    json_object_end(&w);
}

static void on_shown(void *ctx, enum wire_type type, struct str payload, const struct error *failed)
{
    struct show_call *c = ctx;
    struct error err;
    json_t *file = NULL;
    struct buf out;
    buf_init(&out, 2 * LIMIT_WIRE_FRAME);
    int rc = type == WIRE_ERROR ? failed->code : json_read(payload, &file, &err);
    if (rc) {
        api_error(&c->api, exchange_status(rc), str_from(type == WIRE_ERROR ? failed->message : err.message));
    } else {
        show_write(c, file, &out);
        api_reply_json(&c->api, 200, &out);
    }
    json_decref(file);
    buf_free(&out);
    show_free(c);
}

static void on_gone(void *ctx)
{
    struct show_call *c = ctx;
    http_request_release(c->api.http);
    show_free(c);
}

/* A model of a provider, or a route: what is known of it. */
static void show_remote(const struct api_call *c, const struct exchange_model *m)
{
    struct buf out;
    struct json_writer w;
    buf_init(&out, MIB);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_member_str(&w, "modelfile", STR(""));
    json_member_str(&w, "parameters", STR(""));
    json_member_str(&w, "template", STR(""));
    if (m)
        json_member_str(&w, "remote_model", m->target.model);
    details_write(&w, false, STR(""), "", "");
    json_key(&w, "model_info");
    json_object_begin(&w);
    json_object_end(&w);
    json_key(&w, "capabilities");
    json_array_begin(&w);
    json_write_text(&w, "completion");
    json_write_text(&w, "tools");
    json_array_end(&w);
    ollama_time_write(&w, "modified_at", c->shard->started_s * 1000000000);
    json_object_end(&w);
    api_reply_json(c, 200, &out);
    buf_free(&out);
}

static void show(const struct api_call *api, const struct exchange_model *m, bool verbose)
{
    struct show_call *c = calloc(1, sizeof *c);
    struct error err;
    if (!c)
        abort();
    c->api = *api;
    c->model = m;
    c->verbose = verbose;
    c->world = exchange_world_ref(api->shard->exchange->world);
    api->shard->exchange->n_open++;
    int rc = engine_ask(m->target.inspector, api->shard->exchange->loop, WIRE_SHOW, STR("{}"),
        (struct engine_reply){on_shown, c}, &c->asking, &err);
    if (rc) {
        api_error(api, exchange_status(rc), str_from(err.message));
        show_free(c);
        return;
    }
    http_request_on_gone(api->http, on_gone, c);
}

void api_ollama_show(const struct api_call *c)
{
    const struct exchange_world *world = c->shard->exchange->world;
    struct arena *a = arena_create(LIMIT_REQUEST_MEMORY);
    struct error err;
    const json_t *root;
    struct str given, name;
    bool verbose;
    int rc = api_body_read(a, http_request_body(c->http), &root, &err);
    if (rc == 0)
        rc = api_ollama_model(root, &given, &err);
    if (rc == 0)
        rc = api_ollama_name(world, given, &name, &err);
    if (rc == 0)
        rc = json_get_bool(root, "verbose", false, &verbose, &err);
    const struct exchange_model *m = rc == 0 ? exchange_world_find(world, name) : NULL;
    if (rc)
        api_error(c, exchange_status(rc), str_from(err.message));
    else if (m && m->target.inspector)
        show(c, m, verbose);
    else
        show_remote(c, m);
    arena_free(a);
}

/* ---- The rest ---- */

void api_ollama_version(const struct api_call *c)
{
    struct buf out;
    struct json_writer w;
    buf_init(&out, KIB);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_member_str(&w, "version", STR(OLLAMA_VERSION "+weir." WEIR_VERSION));
    json_object_end(&w);
    api_reply_json(c, 200, &out);
    buf_free(&out);
}

void api_ollama_elsewhere(const struct api_call *c)
{
    api_error(c, 501,
        STR("models are not fetched, made or removed over this API: weir pull fetches one into 'models_dir', "
            "weir rm "
            "removes it"));
}

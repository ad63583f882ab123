/* Asking in OpenAI's shape: chat completions, and completions for a raw prompt. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/ascii.h"
#include "base/limits.h"
#include "chat/chat_sampling.h"
#include "provider/dialect.h"
#include "provider/gemini.h"

#define AZURE_VERSION "2024-10-21" /* the last that is not a preview */

/* Members this file writes itself; a vendor member of the same name would stand twice. */
static const char *const own_members[] = {"model", "messages", "prompt", "tools", "tool_choice",
    "parallel_tool_calls", "temperature", "top_p", "top_k", "min_p", "repeat_penalty", "repeat_last_n",
    "presence_penalty", "frequency_penalty", "seed", "stop", "user", "stream", "stream_options", "n",
    "logprobs", "top_logprobs", "logit_bias", "suffix", "echo", NULL};
static const char *const own_message_members[] = {
    "role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content", NULL};

/* Models that want `max_completion_tokens` and refuse `max_tokens`. */
static const char *const reasoning_models[] = {"o1", "o3", "o4", "gpt-5"};

/* Google's signature of a call, where only that shape of its API has a place for it. */
static void write_signature(
    struct json_writer *w, const struct chat_request *r, const struct chat_tool_call *c)
{
    struct str signature = provider_gemini_signature_find(r->arena, c->id, c->name);
    if (signature.len == 0)
        return;
    json_key(w, "extra_content");
    json_object_begin(w);
    json_key(w, "google");
    json_object_begin(w);
    json_member_str(w, "thought_signature", signature);
    json_object_end(w);
    json_object_end(w);
}

/* What an answer of one stream of text, reasoning and tool calls cannot carry. */
static const char *const unanswerable[] = {
    "logprobs", "top_logprobs", "functions", "function_call", "audio", "best_of", NULL};

/* ---- Can it? ---- */

const struct provider_server *provider_server_of(const struct provider_model *m)
{
    return m->provider && m->provider->server ? m->provider->server : provider_server_at(STR_NONE);
}

/* Does the request need this member, which its server refuses? */
static bool needs(const struct chat_request *r, const char *name)
{
    bool named = false;
    for (size_t i = 0; i < r->n_messages; i++)
        named |= r->messages[i].name.len > 0;
    const struct {
        const char *name;
        bool needed;
    } members[] = {{"n", r->n > 1}, {"logprobs", r->logprobs}, {"seed", r->sampling.has_seed},
        {"stop", r->n_stops > 0}, {"tools", r->n_tools > 0}, {"name", named}, {"prompt", r->has_prompt},
        {"tool_choice", r->tool_choice >= CHAT_TOOLS_REQUIRED},
        {"parallel_tool_calls", r->n_tools > 0 && r->parallel_tool_calls == 0}};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (strcmp(members[i].name, name) == 0)
            return members[i].needed;
    return provider_asks(r->vendor, name);
}

static int check_server(const struct provider_server *server, const struct chat_request *r, struct error *err)
{
    for (const char *const *name = server->refuses; name && *name; name++)
        if (needs(r, *name))
            return provider_refuse(server->kind, *name, err);
    const char *beyond = server->sampling ? chat_sampling_beyond(&r->sampling, server->sampling) : NULL;
    return beyond ? provider_refuse(server->kind, beyond, err) : 0;
}

static int check_tools(const struct chat_request *r, struct error *err)
{
    for (size_t i = 0; i < r->n_tools && r->shape == CHAT_SHAPE_OPENAI; i++)
        if (str_is(json_text(r->tools[i].raw, "type"), "custom"))
            return error_set(err, ERROR_UNSUPPORTED, "tools[%zu] is of type 'custom': use a function", i);
    return 0;
}

/* What came in another shape and has no words in this one. */
static int check_parts(const struct chat_request *r, struct error *err)
{
    for (size_t i = 0; i < r->n_messages && r->shape != CHAT_SHAPE_OPENAI; i++) {
        const struct chat_message *m = &r->messages[i];
        for (size_t k = 0; k < m->n_parts; k++) {
            enum chat_part_kind kind = m->parts[k].kind;
            bool image = kind == CHAT_PART_IMAGE && (m->role == CHAT_USER || m->role == CHAT_TOOL);
            bool sent =
                kind == CHAT_PART_TEXT || image || (kind == CHAT_PART_AUDIO && m->role == CHAT_USER) ||
                (kind == CHAT_PART_FILE && m->role == CHAT_USER && str_starts(m->parts[k].url, STR("data:")));
            if (!sent)
                return error_set(err, ERROR_UNSUPPORTED,
                    "messages[%zu] holds a block that a target of OpenAI's shape does not take there: send "
                    "text, "
                    "or an image from the user",
                    i);
        }
    }
    return 0;
}

static int check_vendor(const json_t *vendor, struct error *err)
{
    if (json_object_size(vendor) == 0) /* as most: nothing to look for */
        return 0;
    for (const char *const *name = unanswerable; *name; name++)
        if (provider_asks(vendor, *name))
            return error_set(err, ERROR_UNSUPPORTED, "'%s' cannot be honoured: leave it out", *name);
    /* From an API that has no field for it. */
    const json_t *n = json_object_get(vendor, "n");
    if (n && !json_is_null(n) && !(json_is_integer(n) && json_integer_value(n) == 1))
        return error_set(err, ERROR_UNSUPPORTED, "'n' cannot be honoured other than 1: ask several times");
    const json_t *modalities = json_object_get(vendor, "modalities");
    for (size_t i = 0; i < json_array_size(modalities); i++)
        if (!str_is(json_str(json_array_get(modalities, i)), "text"))
            return error_set(err, ERROR_UNSUPPORTED, "'modalities' cannot be honoured other than text");
    return 0;
}

static int openai_supports(const struct provider_model *m, const struct chat_request *r, struct error *err)
{
    /* No detector can see what tokens say: only what is inside may be sent them. */
    if (r->prompt_ids && !(m->provider && provider_is_inside(m->provider)))
        return error_set(err, ERROR_UNSUPPORTED, "a prompt of token ids goes to no cloud: send its text");
    if (r->context_shift)
        return error_set(err, ERROR_UNSUPPORTED, "'context_shift' cannot be honoured: leave it out");
    if (r->truncation)
        return error_set(err, ERROR_UNSUPPORTED,
            "'truncation' cannot be 'auto': leave it out, or name a model of the embedded engine");
    for (size_t i = 0; i < r->sampling.n_logit_bias; i++)
        if (r->sampling.logit_bias[i].text.data)
            return error_set(
                err, ERROR_UNSUPPORTED, "'logit_bias' cannot be honoured for texts: give token ids");
    int rc = check_vendor(r->vendor, err);
    if (rc == 0)
        rc = r->count_only ? provider_refuse("this API", "count_tokens", err)
                           : provider_check_native(CHAT_SHAPE_OPENAI, r, err);
    if (rc == 0)
        rc = check_server(provider_server_of(m), r, err);
    if (rc == 0)
        rc = check_parts(r, err);
    return rc ? rc : check_tools(r, err);
}

/* ---- Messages ---- */

static void write_vendor(
    struct json_writer *w, const json_t *vendor, const char *const *own, const char *const *omitted)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)vendor, key, value)
    {
        if (str_among(str_from(key), own) || provider_server_has(omitted, key))
            continue;
        json_key(w, key);
        json_write_value(w, value);
    }
}

static void write_part(struct json_writer *w, const struct chat_part *p, bool ours)
{
    if (ours && p->raw) {
        json_write_value(w, p->raw);
        return;
    }
    json_object_begin(w);
    if (p->kind == CHAT_PART_IMAGE) {
        json_member_str(w, "type", STR("image_url"));
        json_key(w, "image_url");
        json_object_begin(w);
        json_member_str(w, "url", p->url);
        json_maybe_str(w, "detail", p->format);
        json_object_end(w);
    } else if (p->kind == CHAT_PART_FILE) {
        json_member_str(w, "type", STR("file"));
        json_key(w, "file");
        json_object_begin(w);
        json_maybe_str(w, "filename", p->text);
        json_member_str(w, "file_data", p->url);
        json_object_end(w);
    } else if (p->kind == CHAT_PART_AUDIO) {
        json_member_str(w, "type", STR("input_audio"));
        json_key(w, "input_audio");
        json_object_begin(w);
        json_member_str(w, "data", p->data);
        json_member_str(w, "format", p->format);
        json_object_end(w);
    } else {
        json_member_str(w, "type", STR("text"));
        json_member_str(w, "text", p->text);
    }
    json_object_end(w);
}

static void write_content(struct json_writer *w, const struct chat_message *m, bool ours)
{
    json_key(w, "content");
    if (m->n_parts == 0) {
        if (m->n_tool_calls > 0)
            json_write_null(w);
        else
            json_write_text(w, "");
    } else if (m->n_parts == 1 && m->parts[0].kind == CHAT_PART_TEXT && !(ours && m->parts[0].raw)) {
        json_write_str(w, m->parts[0].text);
    } else {
        json_array_begin(w);
        for (size_t i = 0; i < m->n_parts; i++)
            if (m->role != CHAT_TOOL || ours || m->parts[i].kind == CHAT_PART_TEXT)
                write_part(w, &m->parts[i], ours);
        json_array_end(w);
    }
}

/* OpenAI's tools answer with text: the images that tools of another shape gave come from the user, after the
 * results that stand together. */
static void write_tool_images(struct json_writer *w, const struct chat_request *r, size_t last)
{
    size_t first = last, images = 0;
    while (first > 0 && r->messages[first - 1].role == CHAT_TOOL)
        first--;
    for (size_t i = first; i <= last; i++) {
        const struct chat_message *m = &r->messages[i];
        for (size_t k = 0; k < m->n_parts; k++) {
            if (m->parts[k].kind == CHAT_PART_TEXT)
                continue;
            if (images++ == 0) {
                json_object_begin(w);
                json_member_str(w, "role", STR("user"));
                json_key(w, "content");
                json_array_begin(w);
            }
            write_part(w, &m->parts[k], false);
        }
    }
    if (images > 0) {
        json_array_end(w);
        json_object_end(w);
    }
}

/* The id of a call as the server takes it: the same one for the call and for its result. */
static struct str id_for(const struct provider_server *server, struct str id, char out[10])
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    bool good = id.len == 9;
    for (size_t i = 0; i < id.len && good; i++)
        good = id.data[i] != '\0' && strchr(digits, id.data[i]);
    if (good || id.len == 0 || !(server->flags & PROVIDER_SHORT_IDS))
        return id;
    uint64_t hash = str_hash(id);
    for (size_t i = 0; i < 9; i++, hash /= 62)
        out[i] = digits[hash % 62];
    return (struct str){out, 9};
}

/* What a message or a call has besides, without what only its maker wants back. */
static void write_besides(struct json_writer *w, const struct provider_server *server, const json_t *members,
    const char *const *own)
{
    write_vendor(w, members, own, server->flags & PROVIDER_KEEPS ? NULL : provider_kept);
}

static void write_tool_calls(struct json_writer *w, const struct provider_server *server,
    const struct chat_request *r, const struct chat_message *m)
{
    static const char *const own[] = {"id", "type", "function", NULL};
    bool ours = r->shape == CHAT_SHAPE_OPENAI, google = strcmp(server->kind, "gemini-openai") == 0;
    char id[10];
    json_key(w, "tool_calls");
    json_array_begin(w);
    for (size_t i = 0; i < m->n_tool_calls; i++) {
        json_object_begin(w);
        json_member_str(w, "id", id_for(server, m->tool_calls[i].id, id));
        json_member_str(w, "type", STR("function"));
        json_key(w, "function");
        json_object_begin(w);
        json_member_str(w, "name", m->tool_calls[i].name);
        json_member_str(w, "arguments", m->tool_calls[i].arguments);
        json_object_end(w);
        const json_t *besides = ours ? m->tool_calls[i].raw : NULL;
        if (google && !json_object_get(besides, "extra_content"))
            write_signature(w, r, &m->tool_calls[i]);
        write_besides(w, server, besides, own);
        json_object_end(w);
    }
    json_array_end(w);
}

static void write_message(struct json_writer *w, const struct provider_server *server,
    const struct chat_request *r, const struct chat_message *m)
{
    bool ours = r->shape == CHAT_SHAPE_OPENAI;
    char id[10];
    bool system = m->role == CHAT_DEVELOPER && server->flags & PROVIDER_SYSTEM_ONLY;
    json_object_begin(w);
    json_member_str(w, "role", str_from(chat_role_name(system ? CHAT_SYSTEM : m->role)));
    json_maybe_str(w, "name", m->name);
    write_content(w, m, ours);
    if (server->reasoning)
        json_maybe_str(w, server->reasoning, m->reasoning);
    if (m->n_tool_calls > 0)
        write_tool_calls(w, server, r, m);
    json_maybe_str(w, "tool_call_id", id_for(server, m->tool_call_id, id));
    if (ours && m->vendor)
        write_besides(w, server, m->vendor, own_message_members);
    json_object_end(w);
}

static void write_messages(
    struct json_writer *w, const struct provider_server *server, const struct chat_request *r)
{
    bool ours = r->shape == CHAT_SHAPE_OPENAI;
    for (size_t i = 0; i < r->n_messages; i++) {
        bool goes_on = i + 1 < r->n_messages && r->messages[i + 1].role == CHAT_TOOL;
        write_message(w, server, r, &r->messages[i]);
        if (!ours && r->messages[i].role == CHAT_TOOL && !goes_on)
            write_tool_images(w, r, i);
    }
}

/* ---- Tools ---- */

static void write_tool(struct json_writer *w, const struct chat_tool *t, bool ours)
{
    if (ours && t->raw) {
        chat_tool_write(w, t);
        return;
    }
    json_object_begin(w);
    json_member_str(w, "type", STR("function"));
    json_key(w, "function");
    json_object_begin(w);
    json_member_str(w, "name", t->name);
    json_maybe_str(w, "description", t->description);
    if (t->parameters) {
        json_key(w, "parameters");
        json_write_value(w, t->parameters);
    }
    json_object_end(w);
    json_object_end(w);
}

static void write_tool_choice(
    struct json_writer *w, const struct provider_server *server, const struct chat_request *r)
{
    const char *const names[] = {NULL, "auto", "none", server->required ? server->required : "required"};
    if (r->tool_choice == CHAT_TOOLS_UNSET || provider_server_has(server->refuses, "tool_choice"))
        return;
    json_key(w, "tool_choice");
    if (r->tool_choice != CHAT_TOOLS_NAMED) {
        json_write_text(w, names[r->tool_choice]);
        return;
    }
    json_object_begin(w);
    json_member_str(w, "type", STR("function"));
    json_key(w, "function");
    json_object_begin(w);
    json_member_str(w, "name", r->tool_choice_name);
    json_object_end(w);
    json_object_end(w);
}

static void write_tools(
    struct json_writer *w, const struct provider_server *server, const struct chat_request *r)
{
    if (r->n_tools > 0) {
        json_key(w, "tools");
        json_array_begin(w);
        for (size_t i = 0; i < r->n_tools; i++)
            write_tool(w, &r->tools[i], r->shape == CHAT_SHAPE_OPENAI);
        json_array_end(w);
    }
    write_tool_choice(w, server, r);
    if (r->parallel_tool_calls >= 0 && !provider_server_has(server->refuses, "parallel_tool_calls"))
        json_member_bool(w, "parallel_tool_calls", r->parallel_tool_calls != 0);
}

/* ---- Numbers ---- */

static bool is_reasoning_model(struct str model)
{
    for (size_t i = 0; i < sizeof reasoning_models / sizeof *reasoning_models; i++)
        if (str_starts(model, str_from(reasoning_models[i])))
            return true;
    return false;
}

static const char *max_tokens_name(const struct provider_server *server, struct str model)
{
    if (server->max_tokens)
        return server->max_tokens;
    return is_reasoning_model(model) ? "max_completion_tokens" : "max_tokens";
}

static void write_bias(struct json_writer *w, const struct chat_sampling *s)
{
    char id[24];
    if (s->n_logit_bias == 0)
        return;
    json_key(w, "logit_bias");
    json_object_begin(w);
    for (size_t i = 0; i < s->n_logit_bias; i++) {
        snprintf(id, sizeof id, "%lld", (long long)s->logit_bias[i].token);
        json_member_double(w, id, isfinite(s->logit_bias[i].bias) ? s->logit_bias[i].bias : -100);
    }
    json_object_end(w);
}

/* How many answers, and what comes with them. */
static void write_answers(struct json_writer *w, const struct chat_request *r)
{
    if (r->n > 1)
        json_maybe_int(w, "n", r->n);
    json_maybe_str(w, "suffix", r->suffix);
    if (r->echo)
        json_member_bool(w, "echo", true);
    if (r->logprobs && r->has_prompt) {
        json_maybe_int(w, "logprobs", r->top_logprobs);
    } else if (r->logprobs) {
        json_member_bool(w, "logprobs", true);
        json_maybe_int(w, "top_logprobs", r->top_logprobs);
    }
}

static void write_prompt(struct json_writer *w, const struct chat_request *r)
{
    json_key(w, "prompt");
    if (!r->prompt_ids) {
        json_write_str(w, r->prompt);
        return;
    }
    json_array_begin(w);
    for (size_t i = 0; i < r->n_prompt_ids; i++)
        json_write_int(w, r->prompt_ids[i]);
    json_array_end(w);
}

static void write_sampling(
    struct json_writer *w, const struct provider_model *m, const struct chat_request *r)
{
    const struct provider_server *server = provider_server_of(m);
    struct chat_sampling s = r->sampling;
    s.n_logit_bias = 0; /* OpenAI has it as an object */
    if (server->repeat_penalty && !isnan(s.repeat_penalty)) {
        json_member_double(w, server->repeat_penalty, s.repeat_penalty);
        s.repeat_penalty = NAN;
    }
    if (server->seed && s.has_seed) {
        json_member_int(w, server->seed, s.seed);
        s.has_seed = false;
    }
    chat_sampling_write(&s, w);
    write_bias(w, &r->sampling);
    const char *max_tokens = r->has_prompt ? "max_tokens" : max_tokens_name(server, m->model);
    if (r->max_tokens >= 0 && !json_object_get(r->vendor, max_tokens))
        json_maybe_int(w, max_tokens, r->max_tokens);
    chat_stops_write(w, "stop", r);
}

/* A whole answer tells its usage, a stream where it is asked to. */
static void write_stream(struct json_writer *w, const struct provider_server *server, bool stream)
{
    json_member_bool(w, "stream", stream);
    if (!stream || server->flags & PROVIDER_NO_STREAM_OPTIONS)
        return;
    json_key(w, "stream_options");
    json_write_raw(w, STR("{\"include_usage\":true}"));
}

/* A model that does not reason cannot be asked how much: what another shape said of that is a hint, left out.
 */
static void write_rest(struct json_writer *w, const struct provider_model *m, const struct chat_request *r)
{
    static const char *const hints[] = {"reasoning_effort", NULL};
    bool hinted = r->shape != CHAT_SHAPE_OPENAI &&
                  (!is_reasoning_model(m->model) || str_is(json_text(r->vendor, hints[0]), "none"));
    if (r->vendor)
        write_vendor(w, r->vendor, hinted ? hints : own_members, provider_server_of(m)->omits);
}

int provider_openai_encode(
    const struct provider_model *m, const struct chat_request *r, struct buf *out, struct error *err)
{
    const struct provider_server *server = provider_server_of(m);
    struct json_writer w;
    int rc = openai_supports(m, r, err);
    if (rc)
        return rc;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_member_str(&w, "model", m->model);
    if (r->has_prompt) {
        write_prompt(&w, r);
    } else {
        json_key(&w, "messages");
        json_array_begin(&w);
        write_messages(&w, server, r);
        json_array_end(&w);
    }
    write_tools(&w, server, r);
    write_sampling(&w, m, r);
    write_answers(&w, r);
    if (!provider_server_has(server->omits, "user"))
        json_maybe_str(&w, "user", r->user);
    write_stream(&w, server, r->stream);
    write_rest(&w, m, r);
    json_object_end(&w);
    return provider_written(out, err);
}

/* Azure's older addresses name the deployment; those that end in /v1 are like everyone's. */
struct str provider_openai_path(struct arena *a, const struct provider_model *m, const char *what)
{
    const struct provider *p = m ? m->provider : NULL;
    if (!p || !(provider_server_of(m)->flags & PROVIDER_DEPLOYMENTS) ||
        str_ends(egress_target_path(p->target), STR("/v1")))
        return str_from(what);
    struct buf name;
    buf_init(&name, 4 * KIB);
    ascii_escape(&name, m->model, "");
    struct str version = p->api_version.len > 0 ? p->api_version : STR(AZURE_VERSION);
    struct str path = arena_printf(a, "/openai/deployments/" STR_FMT "%s?api-version=" STR_FMT,
        STR_ARG(buf_str(&name)), what, STR_ARG(version));
    buf_free(&name);
    return path;
}

size_t provider_openai_headers(
    struct arena *a, const struct provider *p, const struct chat_request *r, struct egress_header *out)
{
    (void)r;
    const char *key = p->server ? p->server->key_header : NULL;
    return provider_headers(a, key ? key : "Authorization", key ? "" : "Bearer ", provider_key(p), out);
}

static struct str openai_path(struct arena *a, const struct provider_model *m, const struct chat_request *r)
{
    return provider_openai_path(a, m, r->has_prompt ? "/completions" : "/chat/completions");
}

static bool openai_continues(const struct provider_model *m)
{
    const char *const *refuses = provider_server_of(m)->refuses;
    return !refuses || !str_among(STR("prompt"), refuses);
}

const struct provider_dialect provider_dialect_openai = {.supports = openai_supports,
    .encode = provider_openai_encode,
    .path = openai_path,
    .headers = provider_openai_headers,
    .event = provider_openai_event,
    .whole = true,
    .continues = openai_continues};

const struct provider_ops provider_openai_ops = {.kind = "openai",
    .dialects = {&provider_dialect_openai, &provider_embed_openai, &provider_rerank_openai},
    PROVIDER_REMOTE_CALLS};

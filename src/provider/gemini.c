/* Asking in Gemini's shape: POST /v1beta/models/MODEL:streamGenerateContent.
 * Source: https://ai.google.dev/api/generate-content
 *
 * What the shape has no word for is refused by name (see provider_check_request), as are images, documents
 * and sounds that are not sent along: Google fetches none from the web. */
#include "provider/gemini.h"

#include <math.h>
#include <string.h>

#include "base/ascii.h"
#include "base/limits.h"
#include "chat/chat_codec.h"
#include "chat/chat_sampling.h"

enum { STOPS_MAX = 5, CANDIDATES_MAX = 8, SCHEMA_STEPS = 1 << 20 };

static const char vendor[] = "Gemini";

/* ---- Can it? ---- */

static int check_settings(const struct chat_request *r, struct error *err)
{
    const struct chat_sampling *s = &r->sampling;
    if (s->has_seed && (s->seed > INT32_MAX || s->seed < INT32_MIN))
        return error_set(err, ERROR_UNSUPPORTED, "Gemini has no 'seed' of more than 32 bits: choose another");
    if (r->n_stops > STOPS_MAX)
        return error_set(err, ERROR_UNSUPPORTED, "Gemini takes at most %d strings in 'stop'", STOPS_MAX);
    if (r->n_tools > 0 && r->parallel_tool_calls == 0 && r->tool_choice != CHAT_TOOLS_NONE)
        return error_set(err, ERROR_UNSUPPORTED,
            "Gemini has no 'parallel_tool_calls': false: leave it out or choose another model");
    return 0;
}

static int check_part(
    const struct chat_message *m, const struct chat_part *p, size_t message, size_t index, struct error *err)
{
    struct str type, data;
    bool user = m->role == CHAT_USER, speaker = user || m->role == CHAT_TOOL;
    bool refusal = m->role == CHAT_ASSISTANT && str_is(json_text(p->raw, "type"), "refusal");
    if (p->kind == CHAT_PART_TEXT || (p->kind == CHAT_PART_AUDIO && user) || refusal)
        return 0;
    if ((p->kind != CHAT_PART_IMAGE && p->kind != CHAT_PART_FILE) || !speaker)
        return error_set(err, ERROR_UNSUPPORTED,
            "messages[%zu].content[%zu] is of a kind that Gemini does not take there: send text, or an image, "
            "document or sound from the user",
            message, index);
    if (!provider_data_url(p->url, &type, &data))
        return error_set(err, ERROR_UNSUPPORTED,
            "messages[%zu].content[%zu] names %s, which Gemini does not fetch: send it as "
            "data:…;base64,",
            message, index,
            p->kind == CHAT_PART_IMAGE ? "an image by its 'image_url'" : "a document by its URL");
    return 0;
}

/* Generations from 2.5 on think, and are told how much in tokens; from 3 on in words. */
static bool thinks(struct str model)
{
    return str_find(model, STR("gemini-2.5")) != SIZE_MAX || str_find(model, STR("gemini-3")) != SIZE_MAX;
}

/* Like provider_check_request, but several answers and their tokens' probabilities can be had. */
static int check_request(const char *const *honoured, const struct chat_request *r, struct error *err)
{
    static const char *const known[] = {"n", "logprobs", "temperature", "top_p", "top_k", "presence_penalty",
        "frequency_penalty", "repeat_last_n", NULL};
    const char *beyond = provider_beyond(r, known);
    if (r->has_prompt)
        return error_set(err, ERROR_UNSUPPORTED, "%s continues no bare prompt: send messages", vendor);
    if (r->n > CANDIDATES_MAX)
        return error_set(err, ERROR_UNSUPPORTED, "Gemini takes an 'n' of at most %d", CANDIDATES_MAX);
    return beyond ? provider_refuse(vendor, beyond, err)
                  : provider_check_members(vendor, CHAT_SHAPE_GEMINI, honoured, r, err);
}

static int check_honoured(const struct provider_model *m, const struct chat_request *r, struct error *err)
{
    struct str grammar;
    const json_t *schema;
    int rc = chat_constraint_read(r, &grammar, &schema, err);
    /* What another shape said of reasoning is a hint. */
    if (rc == 0 && r->shape == CHAT_SHAPE_OPENAI && provider_asks(r->vendor, "reasoning_effort") &&
        !thinks(m->model))
        rc = error_set(err, ERROR_UNSUPPORTED,
            "the model has no 'reasoning_effort': leave it out or choose another model");
    return rc;
}

static int gemini_supports(const struct provider_model *m, const struct chat_request *r, struct error *err)
{
    static const char *const honoured[] = {"response_format", "reasoning_effort", NULL};
    int rc = r->count_only ? provider_refuse(vendor, "count_tokens", err) : check_request(honoured, r, err);
    if (rc == 0)
        rc = check_settings(r, err);
    if (rc == 0)
        rc = check_honoured(m, r, err);
    for (size_t i = 0; i < r->n_messages && rc == 0; i++)
        for (size_t k = 0; k < r->messages[i].n_parts && rc == 0; k++)
            rc = check_part(&r->messages[i], &r->messages[i].parts[k], i, k, err);
    return rc;
}

/* ---- Tools and settings ---- */

static int write_tool(struct json_writer *w, const struct chat_tool *t, size_t *budget, struct error *err)
{
    json_t *schema = NULL;
    int rc = provider_gemini_schema(t->parameters, budget, &schema, err);
    if (rc) {
        error_wrap(err, "the parameters of the tool '" STR_FMT "' cannot be passed on",
            STR_ARG(str_slice(t->name, 0, 80)));
        return rc;
    }
    json_object_begin(w);
    json_member_str(w, "name", t->name);
    json_maybe_str(w, "description", t->description);
    if (schema) {
        json_key(w, "parameters");
        json_write_value(w, schema);
    }
    json_object_end(w);
    json_decref(schema);
    return 0;
}

static void write_tool_choice(struct json_writer *w, const struct chat_request *r)
{
    static const char *const modes[] = {"", "AUTO", "NONE", "ANY", "ANY"};
    if (r->tool_choice == CHAT_TOOLS_UNSET)
        return;
    json_key(w, "toolConfig");
    json_object_begin(w);
    json_key(w, "functionCallingConfig");
    json_object_begin(w);
    json_member_text(w, "mode", modes[r->tool_choice]);
    if (r->tool_choice == CHAT_TOOLS_NAMED) {
        json_key(w, "allowedFunctionNames");
        json_array_begin(w);
        json_write_str(w, r->tool_choice_name);
        json_array_end(w);
    }
    json_object_end(w);
    json_object_end(w);
}

static int write_tools(struct json_writer *w, const struct chat_request *r, struct error *err)
{
    size_t budget = SCHEMA_STEPS; /* all tools together */
    int rc = 0;
    if (r->n_tools == 0)
        return 0;
    json_key(w, "tools");
    json_array_begin(w);
    json_object_begin(w);
    json_key(w, "functionDeclarations");
    json_array_begin(w);
    for (size_t i = 0; i < r->n_tools && rc == 0; i++)
        rc = write_tool(w, &r->tools[i], &budget, err);
    json_array_end(w);
    json_object_end(w);
    json_array_end(w);
    write_tool_choice(w, r);
    return rc;
}

static void write_format(struct json_writer *w, const struct chat_request *r)
{
    const json_t *format = json_object_get(r->vendor, "response_format");
    const json_t *schema = json_object_get(json_object_get(format, "json_schema"), "schema");
    struct str type = json_text(format, "type");
    if (!str_is(type, "json_schema") && !str_is(type, "json_object"))
        return;
    json_member_str(w, "responseMimeType", STR("application/json"));
    if (str_is(type, "json_object"))
        schema = json_object_get(format, "schema");
    if (schema) {
        json_key(w, "responseJsonSchema");
        json_write_value(w, schema);
    }
}

static void write_thinking(
    struct json_writer *w, const struct provider_model *m, const struct chat_request *r)
{
    static const struct {
        const char *effort, *level;
        int64_t budget;
    } efforts[] = {{"none", "low", 0}, {"minimal", "low", 512}, {"low", "low", 1024},
        {"medium", "high", 8192}, {"high", "high", 24576}, {"xhigh", "high", 24576}, {"max", "high", 24576}};
    struct str effort = json_text(r->vendor, "reasoning_effort");
    for (size_t i = 0; i < sizeof efforts / sizeof *efforts && thinks(m->model); i++) {
        if (!str_is(effort, efforts[i].effort))
            continue;
        json_key(w, "thinkingConfig");
        json_object_begin(w);
        if (str_find(m->model, STR("gemini-3")) != SIZE_MAX)
            json_member_str(w, "thinkingLevel", str_from(efforts[i].level));
        else
            json_member_int(w, "thinkingBudget", efforts[i].budget);
        json_member_bool(w, "includeThoughts", efforts[i].budget > 0);
        json_object_end(w);
    }
}

/* A penalty of 0 is none: some models refuse the member whatever its value. */
static void write_settings(
    struct json_writer *w, const struct provider_model *m, const struct chat_request *r)
{
    const struct chat_sampling *s = &r->sampling;
    json_key(w, "generationConfig");
    json_object_begin(w);
    json_maybe_double(w, "temperature", s->temperature);
    json_maybe_double(w, "topP", s->top_p);
    if (s->top_k > 0)
        json_member_int(w, "topK", s->top_k);
    json_maybe_int(w, "maxOutputTokens", r->max_tokens);
    if (s->has_seed)
        json_member_int(w, "seed", s->seed);
    if (r->n > 1)
        json_member_int(w, "candidateCount", r->n);
    if (r->logprobs)
        json_member_bool(w, "responseLogprobs", true);
    if (r->logprobs && r->top_logprobs > 0)
        json_member_int(w, "logprobs", r->top_logprobs);
    if (fabs(s->presence_penalty) > 0)
        json_member_double(w, "presencePenalty", s->presence_penalty);
    if (fabs(s->frequency_penalty) > 0)
        json_member_double(w, "frequencyPenalty", s->frequency_penalty);
    chat_stops_write(w, "stopSequences", r);
    write_format(w, r);
    write_thinking(w, m, r);
    json_object_end(w);
}

int provider_gemini_encode(
    const struct provider_model *m, const struct chat_request *r, struct buf *out, struct error *err)
{
    struct json_writer w;
    int rc = gemini_supports(m, r, err);
    if (rc)
        return rc;
    json_writer_init(&w, out);
    json_object_begin(&w);
    write_settings(&w, m, r);
    rc = write_tools(&w, r, err);
    if (rc == 0)
        rc = provider_gemini_contents(&w, m, r, err);
    json_object_end(&w);
    return rc ? rc : provider_written(out, err);
}

/* ---- The dialect ---- */

/* Does the base_url name a version of the API already? */
static bool has_version(const struct provider *p)
{
    struct str path = p ? egress_target_path(p->target) : STR_NONE;
    return str_ends(path, STR("/v1beta")) || str_ends(path, STR("/v1alpha")) || str_ends(path, STR("/v1"));
}

/* "gemini-x", "models/gemini-x" and "tunedModels/x" are names that Google writes. */
struct str provider_gemini_path(struct arena *a, const struct provider_model *m, const char *method)
{
    struct buf path;
    struct str name = m->model;
    buf_init(&path, 4 * KIB);
    buf_append_text(&path, has_version(m->provider) ? "" : "/v1beta");
    bool tuned = str_starts(name, STR("tunedModels/"));
    buf_append_text(&path, tuned ? "/tunedModels/" : "/models/");
    if (tuned || str_starts(name, STR("models/")))
        name = str_slice(name, str_find_char(name, '/') + 1, name.len);
    ascii_escape(&path, name, "");
    buf_append_text(&path, method);
    struct str copy = arena_copy(a, buf_str(&path));
    buf_free(&path);
    return copy;
}

static struct str gemini_path(struct arena *a, const struct provider_model *m, const struct chat_request *r)
{
    return provider_gemini_path(a, m, r->stream ? ":streamGenerateContent?alt=sse" : ":generateContent");
}

size_t provider_gemini_headers(
    struct arena *a, const struct provider *p, const struct chat_request *r, struct egress_header *out)
{
    (void)r;
    return provider_headers(a, "x-goog-api-key", "", provider_key(p), out);
}

const struct provider_dialect provider_dialect_gemini = {.supports = gemini_supports,
    .encode = provider_gemini_encode,
    .path = gemini_path,
    .headers = provider_gemini_headers,
    .event = provider_gemini_event,
    .whole = true};

const struct provider_ops provider_gemini_ops = {
    .kind = "gemini", .dialects = {&provider_dialect_gemini, &provider_embed_gemini}, PROVIDER_REMOTE_CALLS};

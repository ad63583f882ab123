#include "api/openai_in.h"

#include <string.h>

#include "api/openai_plain.h"
#include "api/read.h"
#include "base/limits.h"
#include "chat/chat_sampling.h"

/* ---- Messages ---- */

static int part_read(const json_t *item, struct chat_part *p, struct error *err)
{
    struct str type;
    if (!json_is_object(item))
        return error_set(err, ERROR_INVALID, "a content part must be an object");
    int rc = json_get_str(item, "type", &type, err);
    if (rc)
        return rc;
    if (str_is(type, "text") || str_is(type, "refusal")) {
        p->kind = CHAT_PART_TEXT;
        if (!json_is_string(json_object_get(item, type.data)))
            return error_set(err, ERROR_INVALID,
                "a content part of type '" STR_FMT "' wants the string '" STR_FMT "'", STR_ARG(type),
                STR_ARG(type));
        p->text = json_text(item, type.data);
        /* Only a part with more to it than its text (cache_control, ...) has to be kept whole. */
        p->raw = json_object_size(item) > 2 || !str_is(type, "text") ? item : NULL;
        return 0;
    }
    p->raw = item;
    if (str_is(type, "image_url")) {
        const json_t *image = json_object_get(item, "image_url");
        p->kind = CHAT_PART_IMAGE;
        if (!json_is_object(image))
            return error_set(err, ERROR_INVALID, "'image_url' must be an object with a 'url'");
        rc = json_get_str(image, "url", &p->url, err);
        if (rc == 0 && p->url.len == 0)
            rc = error_set(err, ERROR_INVALID, "'image_url' must have a 'url'");
        return rc ? rc : json_get_str(image, "detail", &p->format, err);
    }
    if (str_is(type, "input_audio")) {
        const json_t *audio = json_object_get(item, "input_audio");
        p->kind = CHAT_PART_AUDIO;
        if (!json_is_object(audio))
            return error_set(err, ERROR_INVALID, "'input_audio' must be an object with 'data' and 'format'");
        rc = json_get_str(audio, "data", &p->data, err);
        return rc ? rc : json_get_str(audio, "format", &p->format, err);
    }
    if (type.len == 0)
        return error_set(err, ERROR_INVALID, "a content part must have a 'type'");
    p->url = json_text(json_object_get(item, "file"), "file_data");
    p->text = json_text(json_object_get(item, "file"), "filename");
    p->kind = str_starts(p->url, STR("data:")) ? CHAT_PART_FILE : CHAT_PART_OTHER;
    if (p->kind == CHAT_PART_OTHER)
        p->text = p->url = STR_NONE;
    return 0;
}

static int content_read(struct arena *a, const json_t *content, struct chat_message *m, struct error *err)
{
    if (!content || json_is_null(content))
        return 0;
    if (json_is_string(content)) {
        m->parts = arena_new(a, struct chat_part);
        m->parts[0].text = json_str(content);
        m->n_parts = 1;
        return 0;
    }
    if (!json_is_array(content))
        return error_set(err, ERROR_INVALID, "'content' must be a string or an array of parts");
    size_t n = json_array_size(content);
    if (n > LIMIT_PARTS)
        return error_set(
            err, ERROR_INVALID, "a message has %zu parts: at most %d are allowed", n, LIMIT_PARTS);
    m->parts = arena_try_array(a, struct chat_part, n ? n : 1);
    if (!m->parts)
        return error_set(err, ERROR_MEMORY, "no memory for the request");
    for (size_t i = 0; i < n; i++) {
        int rc = part_read(json_array_get(content, i), &m->parts[i], err);
        if (rc)
            return rc;
    }
    m->n_parts = n;
    return 0;
}

static int tool_call_read(struct arena *a, const json_t *item, struct chat_tool_call *c, struct error *err)
{
    static const char *const known[] = {"id", "type", "index", "function", NULL};
    const json_t *function = json_object_get(item, "function");
    if (!json_is_object(function))
        return error_set(err, ERROR_INVALID, "a tool call must have a 'function' object");
    int rc = json_get_str(item, "id", &c->id, err);
    if (rc == 0)
        rc = json_get_str(function, "name", &c->name, err);
    if (rc == 0)
        rc = json_get_str(function, "arguments", &c->arguments, err);
    if (rc == 0 && c->name.len == 0)
        rc = error_set(err, ERROR_INVALID, "a tool call's function must have a 'name'");
    return rc ? rc : api_read_vendor(a, item, known, &c->raw, err);
}

static int tool_calls_read(struct arena *a, const json_t *calls, struct chat_message *m, struct error *err)
{
    if (!calls || json_is_null(calls))
        return 0;
    if (!json_is_array(calls))
        return error_set(err, ERROR_INVALID, "'tool_calls' must be an array");
    size_t n = json_array_size(calls);
    if (n > LIMIT_TOOLS)
        return error_set(
            err, ERROR_INVALID, "a message has %zu tool calls: at most %d are allowed", n, LIMIT_TOOLS);
    m->tool_calls = arena_try_array(a, struct chat_tool_call, n ? n : 1);
    if (!m->tool_calls)
        return error_set(err, ERROR_MEMORY, "no memory for the request");
    for (size_t i = 0; i < n; i++) {
        int rc = tool_call_read(a, json_array_get(calls, i), &m->tool_calls[i], err);
        if (rc)
            return rc;
    }
    m->n_tool_calls = n;
    return 0;
}

static int role_read(struct str name, enum chat_role *out, struct error *err)
{
    if (chat_role_find(name, out))
        return 0;
    return error_set(err, ERROR_INVALID,
        "'role' must be system, developer, user, assistant or tool, not '" STR_FMT "'",
        STR_ARG(str_slice(name, 0, 40)));
}

static int message_read(struct arena *a, const json_t *item, struct chat_message *m, struct error *err)
{
    static const char *const known[] = {
        "role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content", "reasoning", NULL};
    struct str role, reasoning;
    if (!json_is_object(item))
        return error_set(err, ERROR_INVALID, "must be an object");
    int rc = json_get_str(item, "role", &role, err);
    if (rc == 0)
        rc = role_read(role, &m->role, err);
    if (rc == 0)
        rc = json_get_str(item, "name", &m->name, err);
    if (rc == 0)
        rc = json_get_str(item, "tool_call_id", &m->tool_call_id, err);
    if (rc == 0)
        rc = json_get_str(item, "reasoning_content", &m->reasoning, err);
    if (rc == 0)
        rc = json_get_str(item, "reasoning", &reasoning, err); /* OpenRouter's name of it */
    if (rc == 0 && m->reasoning.len == 0)
        m->reasoning = reasoning;
    if (rc == 0)
        rc = content_read(a, json_object_get(item, "content"), m, err);
    if (rc == 0)
        rc = tool_calls_read(a, json_object_get(item, "tool_calls"), m, err);
    if (rc == 0 && m->n_parts == 0 && m->n_tool_calls == 0 && m->role != CHAT_ASSISTANT)
        rc = error_set(err, ERROR_INVALID, "has no 'content'");
    if (rc == 0 && m->role == CHAT_TOOL && m->tool_call_id.len == 0)
        rc = error_set(err, ERROR_INVALID, "of role tool must have a 'tool_call_id'");
    return rc ? rc : api_read_vendor(a, item, known, &m->vendor, err);
}

static int messages_read(struct arena *a, const json_t *list, struct chat_request *r, struct error *err)
{
    if (!json_is_array(list) || json_array_size(list) == 0)
        return error_set(err, ERROR_INVALID, "'messages' must be an array with at least one message");
    size_t n = json_array_size(list);
    if (n > LIMIT_MESSAGES)
        return error_set(
            err, ERROR_INVALID, "the request has %zu messages: at most %d are allowed", n, LIMIT_MESSAGES);
    r->messages = arena_try_array(a, struct chat_message, n);
    if (!r->messages)
        return error_set(err, ERROR_MEMORY, "no memory for the request");
    r->n_messages = n;
    for (size_t i = 0; i < n; i++) {
        int rc = message_read(a, json_array_get(list, i), &r->messages[i], err);
        if (rc)
            return error_wrap(err, "messages[%zu]", i);
    }
    return 0;
}

/* ---- Tools ---- */

static int tool_read(const json_t *item, struct chat_tool *t, struct error *err)
{
    const json_t *function = json_object_get(item, "function");
    if (str_is(json_text(item, "type"), "custom"))
        return error_set(err, ERROR_UNSUPPORTED,
            "no target here takes a tool of type 'custom': give a function with one text instead");
    if (!json_is_object(function))
        return error_set(err, ERROR_INVALID, "must be an object with a 'function'");
    t->raw = item;
    int rc = json_get_str(function, "name", &t->name, err);
    if (rc == 0)
        rc = json_get_str(function, "description", &t->description, err);
    if (rc == 0 && t->name.len == 0)
        rc = error_set(err, ERROR_INVALID, "must have a function 'name'");
    const json_t *parameters = json_object_get(function, "parameters");
    t->parameters = json_is_null(parameters) ? NULL : parameters;
    if (rc == 0 && t->parameters && !json_is_object(t->parameters))
        rc = error_set(err, ERROR_INVALID, "'parameters' must be a JSON Schema object");
    return rc;
}

static bool is_allowed(const json_t *allowed, const struct chat_tool *t)
{
    for (size_t i = 0; i < json_array_size(allowed); i++)
        if (str_eq(json_text(json_object_get(json_array_get(allowed, i), "function"), "name"), t->name))
            return true;
    return false;
}

/* {"mode": "auto" or "required", "tools": [...]}: as if the others were not there. */
static int allowed_tools_read(const json_t *choice, struct chat_request *r, struct error *err)
{
    const json_t *tools = json_object_get(choice, "tools");
    struct str mode = json_text(choice, "mode");
    size_t n = 0;
    if (!str_is(mode, "auto") && !str_is(mode, "required"))
        return error_set(err, ERROR_INVALID, "the 'mode' of 'allowed_tools' must be auto or required");
    for (size_t i = 0; i < r->n_tools; i++)
        if (is_allowed(tools, &r->tools[i]))
            r->tools[n++] = r->tools[i];
    if (n == 0 || n != json_array_size(tools))
        return error_set(err, ERROR_INVALID, "'allowed_tools' must be names of functions in 'tools'");
    r->n_tools = n;
    r->tool_choice = str_is(mode, "auto") ? CHAT_TOOLS_AUTO : CHAT_TOOLS_REQUIRED;
    return 0;
}

static int tool_choice_read(const json_t *choice, struct chat_request *r, struct error *err)
{
    if (!choice || json_is_null(choice))
        return 0;
    struct str name = json_str(choice);
    if (str_is(json_text(choice, "type"), "allowed_tools"))
        return allowed_tools_read(json_object_get(choice, "allowed_tools"), r, err);
    if (str_is(name, "auto"))
        r->tool_choice = CHAT_TOOLS_AUTO;
    else if (str_is(name, "none"))
        r->tool_choice = CHAT_TOOLS_NONE;
    else if (str_is(name, "required"))
        r->tool_choice = CHAT_TOOLS_REQUIRED;
    else if (json_is_object(choice)) {
        r->tool_choice = CHAT_TOOLS_NAMED;
        int rc = json_get_str(json_object_get(choice, "function"), "name", &r->tool_choice_name, err);
        if (rc)
            return rc;
    }
    if (r->tool_choice == CHAT_TOOLS_UNSET ||
        (r->tool_choice == CHAT_TOOLS_NAMED && r->tool_choice_name.len == 0))
        return error_set(err, ERROR_INVALID,
            "'tool_choice' must be auto, none, required or "
            "{\"type\":\"function\",\"function\":{\"name\":...}}");
    return 0;
}

/* ---- Numbers and the rest ---- */

/* Some of the ranges that OpenAI gives are narrower than what the engine takes. */
static int sampling_read(struct arena *a, const json_t *root, struct chat_sampling *s, struct error *err)
{
    static const struct {
        const char *key;
        double least, most;
    } narrow[] = {{"temperature", 0, 2}, {"presence_penalty", -2, 2}, {"frequency_penalty", -2, 2}};
    double ignored;
    int rc = 0;
    for (size_t i = 0; i < sizeof narrow / sizeof *narrow && rc == 0; i++)
        rc = json_get_double(root, narrow[i].key, 0, narrow[i].least, narrow[i].most, &ignored, err);
    /* vLLM's name of the same thing. */
    if (rc == 0)
        rc = json_get_double(
            root, "repetition_penalty", s->repeat_penalty, 0.01, 100, &s->repeat_penalty, err);
    return rc ? rc : chat_sampling_read(a, root, s, err);
}

static int stops_read(struct arena *a, const json_t *stop, struct chat_request *r, struct error *err)
{
    if (!stop || json_is_null(stop))
        return 0;
    size_t n = json_is_array(stop) ? json_array_size(stop) : 1;
    if (n > LIMIT_STOPS)
        return error_set(
            err, ERROR_INVALID, "'stop' has %zu strings: at most %d are allowed", n, LIMIT_STOPS);
    r->stops = arena_alloc(a, (n ? n : 1) * sizeof *r->stops);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_is_array(stop) ? json_array_get(stop, i) : stop;
        if (!json_is_string(item))
            return error_set(err, ERROR_INVALID, "'stop' must be a string or an array of strings");
        if (json_string_length(item) > 0)
            r->stops[r->n_stops++] = json_str(item);
    }
    return 0;
}

/* Of Responses; chat completions may have it, too. */
static int truncation_read(const json_t *root, struct chat_request *r, struct error *err)
{
    struct str truncation;
    int rc = json_get_str(root, "truncation", &truncation, err);
    r->truncation = str_is(truncation, "auto");
    return rc || r->truncation || truncation.len == 0 || str_is(truncation, "disabled")
               ? rc
               : error_set(err, ERROR_INVALID, "'truncation' must be auto or disabled");
}

static int limits_read(const json_t *root, struct chat_request *r, struct error *err)
{
    /* max_tokens is the older name of the same thing. */
    int rc = json_get_int(root, "max_tokens", -1, 1, INT32_MAX, &r->max_tokens, err);
    if (rc == 0)
        rc = json_get_int(root, "max_completion_tokens", r->max_tokens, 1, INT32_MAX, &r->max_tokens, err);
    int64_t n;
    if (rc == 0)
        rc = json_get_int(root, "n", 1, 1, CHAT_CHOICES_MAX, &n, err);
    if (rc == 0)
        rc = json_get_bool(root, "context_shift", false, &r->context_shift, err);
    if (rc == 0)
        rc = json_get_int(root, "n_keep", -1, -1, INT32_MAX, &r->n_keep, err);
    if (rc == 0)
        rc = truncation_read(root, r, err);
    if (rc == 0)
        r->n = (int32_t)n;
    return rc;
}

static int stream_options_check(const json_t *options, struct error *err)
{
    static const char *const known[] = {"include_usage", "include_obfuscation", NULL};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)options, key, value)
    {
        if (!str_among(str_from(key), known) && !json_is_null(value) && !json_is_false(value))
            return error_set(err, ERROR_UNSUPPORTED,
                "'stream_options.%.80s' cannot be honoured by any target here: leave it out", key);
    }
    return 0;
}

static int stream_read(const json_t *root, struct chat_request *r, struct error *err)
{
    const json_t *options = json_object_get(root, "stream_options");
    int rc = json_get_bool(root, "stream", false, &r->stream, err);
    if (rc == 0 && options && !json_is_null(options) && !json_is_object(options))
        rc = error_set(err, ERROR_INVALID, "'stream_options' must be an object");
    if (rc == 0)
        rc = stream_options_check(options, err);
    if (rc == 0)
        rc = json_get_bool(options, "include_obfuscation", false, &r->obfuscation, err);
    return rc ? rc : json_get_bool(options, "include_usage", false, &r->include_usage, err);
}

/* What chat and legacy completions have in common. */
static int common_read(struct arena *a, const json_t *root, struct chat_request **out, struct error *err)
{
    struct chat_request *r = *out = chat_request_create(a);
    int rc = api_model_read(root, &r->model, err);
    if (rc == 0)
        rc = json_get_str(root, "user", &r->user, err);
    if (rc == 0)
        rc = sampling_read(a, root, &r->sampling, err);
    if (rc == 0)
        rc = stops_read(a, json_object_get(root, "stop"), r, err);
    if (rc == 0)
        rc = limits_read(root, r, err);
    return rc ? rc : stream_read(root, r, err);
}

/* As api_read_vendor; the table's names are known, too. */
static int request_vendor_take(
    struct arena *a, const json_t *root, const char *const *known, const json_t **out, struct error *err)
{
    int rc = api_read_vendor(a, root, known, out, err);
    json_t *rest = (json_t *)(uintptr_t)*out;
    for (size_t i = 0; i < chat_sampling_n_fields() && rest; i++)
        json_object_del(rest, chat_sampling_fields[i].name);
    if (json_object_size(rest) == 0)
        *out = NULL;
    return rc;
}

#define COMMON_KEYS                                                                                          \
    "model", "user", "repetition_penalty", "seed", "ignore_eos", "dry_sequence_breakers", "logit_bias",      \
        "stop", "max_tokens", "max_completion_tokens", "n", "logprobs", "top_logprobs", "context_shift",     \
        "n_keep", "truncation", "stream", "stream_options"

/* `logprobs` is a switch and `top_logprobs` the number. */
static int logprobs_read(const json_t *root, struct chat_request *r, struct error *err)
{
    int64_t top;
    int rc = json_get_bool(root, "logprobs", false, &r->logprobs, err);
    if (rc == 0)
        rc = json_get_int(root, "top_logprobs", 0, 0, CHAT_TOP_LOGPROBS_MAX, &top, err);
    if (rc == 0 && top > 0 && !r->logprobs)
        rc = error_set(err, ERROR_INVALID, "'top_logprobs' wants 'logprobs' to be true");
    if (rc == 0)
        r->top_logprobs = (int32_t)top;
    return rc;
}

int api_openai_chat_tree_read(
    struct arena *a, const json_t *root, struct chat_request **out, struct error *err)
{
    static const char *const known[] = {
        COMMON_KEYS, "messages", "tools", "tool_choice", "parallel_tool_calls", NULL};
    int rc = common_read(a, root, out, err);
    if (rc)
        return rc;
    struct chat_request *r = *out;
    bool parallel;
    rc = messages_read(a, json_object_get(root, "messages"), r, err);
    if (rc == 0)
        rc = api_tools_read(a, json_object_get(root, "tools"), tool_read, r, err);
    if (rc == 0)
        rc = tool_choice_read(json_object_get(root, "tool_choice"), r, err);
    if (rc == 0)
        rc = json_get_bool(root, "parallel_tool_calls", false, &parallel, err);
    if (rc == 0 && json_is_boolean(json_object_get(root, "parallel_tool_calls")))
        r->parallel_tool_calls = parallel;
    if (rc == 0)
        rc = logprobs_read(root, r, err);
    return rc ? rc : request_vendor_take(a, root, known, &r->vendor, err);
}

int api_openai_chat_read(struct arena *a, struct str body, struct chat_request **out, struct error *err)
{
    const json_t *root;
    int rc = api_openai_plain_read(a, body, out, err);
    if (rc || *out)
        return rc;
    rc = api_body_read(a, body, &root, err);
    return rc ? rc : api_openai_chat_tree_read(a, root, out, err);
}

/* A text, or its tokens. */
static int prompt_read(struct arena *a, const json_t *prompt, struct chat_input *out, struct error *err)
{
    *out = (struct chat_input){.text = json_str(prompt)};
    if (json_is_string(prompt))
        return 0;
    if (!api_ids_read(a, prompt, &out->ids, &out->n_ids))
        return error_set(
            err, ERROR_INVALID, "'prompt' must be a string, a list of token ids, or a list of such prompts");
    return out->ids ? 0 : error_set(err, ERROR_MEMORY, "no memory for the request");
}

static int prompts_read(struct arena *a, const json_t *prompt, struct chat_request *r, struct error *err)
{
    bool list = json_array_size(prompt) > 0 && !json_is_integer(json_array_get(prompt, 0));
    size_t n = list ? json_array_size(prompt) : 1;
    if (n * (size_t)r->n > CHAT_ANSWERS_MAX)
        return error_set(err, ERROR_INVALID,
            "'prompt' has %zu prompts: at most %d answers can be asked for at once", n, CHAT_ANSWERS_MAX);
    r->inputs = arena_alloc(a, n * sizeof *r->inputs);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = prompt_read(a, list ? json_array_get(prompt, i) : prompt, &r->inputs[i], err);
    if (rc)
        return rc;
    r->has_prompt = true;
    r->n *= (int32_t)n;
    if (n > 1) {
        r->n_inputs = n;
        return 0;
    }
    r->prompt = r->inputs->text;
    r->prompt_ids = r->inputs->ids;
    r->n_prompt_ids = r->inputs->n_ids;
    return 0;
}

int api_openai_completion_read(struct arena *a, struct str body, struct chat_request **out, struct error *err)
{
    static const char *const known[] = {COMMON_KEYS, "prompt", "suffix", "echo", "best_of", NULL};
    const json_t *root;
    int64_t logprobs, best_of;
    int rc = api_body_read(a, body, &root, err);
    if (rc == 0)
        rc = common_read(a, root, out, err);
    if (rc)
        return rc;
    struct chat_request *r = *out;
    rc = json_get_str(root, "suffix", &r->suffix, err);
    if (rc == 0)
        rc = json_get_bool(root, "echo", false, &r->echo, err);
    if (rc == 0)
        rc = json_get_int(root, "best_of", r->n, 1, CHAT_CHOICES_MAX, &best_of, err);
    if (rc == 0 && best_of != r->n)
        rc = error_set(err, best_of < r->n ? ERROR_INVALID : ERROR_UNSUPPORTED,
            "'best_of' must be as large as 'n': answers are not chosen among");
    if (rc == 0)
        rc = prompts_read(a, json_object_get(root, "prompt"), r, err);
    if (rc == 0)
        rc = json_get_int(root, "logprobs", -1, 0, CHAT_TOP_LOGPROBS_MAX, &logprobs, err);
    if (rc)
        return rc;
    r->logprobs = logprobs >= 0;
    r->top_logprobs = logprobs > 0 ? (int32_t)logprobs : 0;
    return request_vendor_take(a, root, known, &r->vendor, err);
}

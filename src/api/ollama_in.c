#include "api/ollama_in.h"

#include <math.h>
#include <string.h>

#include "api/read.h"
#include "base/limits.h"
#include "chat/chat_sampling.h"

/* ---- keep_alive ---- */

static const struct {
    const char *unit;
    double ms;
} units[] = {
    {"ns", 1e-6}, {"us", 1e-3}, {"\xc2\xb5s", 1e-3}, {"ms", 1}, {"s", 1000}, {"m", 60e3}, {"h", 3600e3}};

/* "1h30m", "1.5h", "-1m", as Go reads durations; a bare number is seconds. */
static bool duration_parse(struct str text, double *ms)
{
    double total = 0, number;
    bool negative = str_starts(text, STR("-"));
    if (negative || str_starts(text, STR("+")))
        text = str_slice(text, 1, text.len);
    if (str_to_double(text, &number)) {
        *ms = (negative ? -number : number) * 1000;
        return true;
    }
    while (text.len > 0) {
        size_t digits = 0, letters;
        while (digits < text.len &&
               (text.data[digits] == '.' || (text.data[digits] >= '0' && text.data[digits] <= '9')))
            digits++;
        letters = digits;
        while (letters < text.len && text.data[letters] != '.' &&
               !(text.data[letters] >= '0' && text.data[letters] <= '9'))
            letters++;
        if (!str_to_double(str_slice(text, 0, digits), &number))
            return false;
        size_t u = 0;
        while (u < sizeof units / sizeof *units && !str_is(str_slice(text, digits, letters), units[u].unit))
            u++;
        if (u == sizeof units / sizeof *units)
            return false;
        total += number * units[u].ms;
        text = str_slice(text, letters, text.len);
    }
    *ms = negative ? -total : total;
    return true;
}

int api_ollama_keep_alive(const json_t *root, bool *given, int64_t *ms, struct error *err)
{
    const json_t *value = json_object_get(root, "keep_alive");
    const double most = 36500.0 * 86400e3;
    double found = json_number_value(value) * 1000;
    *given = value && !json_is_null(value);
    *ms = 0;
    if (!*given)
        return 0;
    if (!json_is_number(value) &&
        (!json_is_string(value) || json_str(value).len == 0 || !duration_parse(json_str(value), &found)))
        return error_set(
            err, ERROR_INVALID, "'keep_alive' must be seconds or a duration like \"5m\", -1 for ever");
    *ms = found < 0 ? -1 : found > most ? (int64_t)most : (int64_t)found;
    return 0;
}

/* Remembers the first member that only an Ollama can honour. */
static void only_native(struct arena *a, struct chat_request *r, const json_t *members)
{
    void *first = json_object_iter((json_t *)(uintptr_t)members);
    if (first && r->only_native.len == 0)
        r->only_native = arena_copy(a, str_from(json_object_iter_key(first)));
}

/* ---- Messages ---- */

/* The media type of base64 text, by how the formats' first bytes look in it. */
static const char *image_type(struct str data)
{
    static const struct {
        const char *prefix, *type;
    } known[] = {{"iVBORw0KGgo", "image/png"}, {"/9j/", "image/jpeg"}, {"R0lGOD", "image/gif"},
        {"UklGR", "image/webp"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (str_starts(data, str_from(known[i].prefix)))
            return known[i].type;
    return NULL;
}

static int image_read(struct arena *a, const json_t *item, struct chat_part *p, struct error *err)
{
    struct str data = json_str(item), url;
    const char *type = image_type(data);
    if (!type)
        return error_set(
            err, ERROR_INVALID, "an image must be the base64 text of a PNG, JPEG, GIF or WebP file");
    size_t room = data.len + 64;
    char *text = arena_try_array(a, char, room);
    if (!text)
        return error_set(err, ERROR_MEMORY, "no memory for the request");
    int head = snprintf(text, room, "data:%s;base64,", type);
    memcpy(text + head, data.data, data.len);
    url = (struct str){text, (size_t)head + data.len};
    p->kind = CHAT_PART_IMAGE;
    p->url = url;
    return 0;
}

/* Text and images of `object` (a message, or a request to generate) as the parts of `m`. */
static int parts_read(
    struct arena *a, const json_t *object, const char *text_key, struct chat_message *m, struct error *err)
{
    struct str text;
    const json_t *images = json_object_get(object, "images");
    size_t n = json_array_size(images);
    int rc = json_get_str(object, text_key, &text, err);
    if (rc == 0 && images && !json_is_null(images) && !json_is_array(images))
        rc = error_set(err, ERROR_INVALID, "'images' must be a list");
    if (rc == 0 && n >= LIMIT_PARTS)
        rc =
            error_set(err, ERROR_INVALID, "there are %zu images: at most %d are allowed", n, LIMIT_PARTS - 1);
    if (rc)
        return rc;
    m->parts = arena_alloc(a, (n + 1) * sizeof *m->parts);
    if (text.len > 0 || (n == 0 && text.data))
        m->parts[m->n_parts++] = (struct chat_part){.text = text};
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = image_read(a, json_array_get(images, i), &m->parts[m->n_parts++], err);
    return rc;
}

/* Arguments are objects here; the one form has them as text. */
static int arguments_read(struct arena *a, const json_t *arguments, struct str *out, struct error *err)
{
    struct buf text;
    struct json_writer w;
    if (!arguments || json_is_null(arguments)) {
        *out = STR("{}");
        return 0;
    }
    if (!json_is_object(arguments))
        return error_set(err, ERROR_INVALID, "a tool call's 'arguments' must be an object");
    buf_init(&text, LIMIT_HTTP_BODY);
    json_writer_init(&w, &text);
    json_write_value(&w, arguments);
    int rc = text.failed ? text.failed : arena_try_copy(a, buf_str(&text), out);
    buf_free(&text);
    return rc ? error_set(err, rc, "no memory for the request") : 0;
}

static int tool_calls_read(
    struct arena *a, const json_t *calls, size_t message, struct chat_message *m, struct error *err)
{
    size_t n = json_array_size(calls);
    if (calls && !json_is_null(calls) && !json_is_array(calls))
        return error_set(err, ERROR_INVALID, "'tool_calls' must be a list");
    if (n > LIMIT_TOOLS)
        return error_set(
            err, ERROR_INVALID, "there are %zu tool calls: at most %d are allowed", n, LIMIT_TOOLS);
    m->tool_calls = arena_alloc(a, (n + 1) * sizeof *m->tool_calls);
    for (size_t i = 0; i < n; i++) {
        struct chat_tool_call *c = &m->tool_calls[m->n_tool_calls++];
        const json_t *item = json_array_get(calls, i), *function = json_object_get(item, "function");
        int rc = json_get_str(function, "name", &c->name, err);
        if (rc == 0 && c->name.len == 0)
            rc = error_set(err, ERROR_INVALID, "a tool call must have a 'function' with a 'name'");
        if (rc == 0)
            rc = json_get_str(item, "id", &c->id, err);
        if (rc == 0)
            rc = arguments_read(a, json_object_get(function, "arguments"), &c->arguments, err);
        if (rc)
            return rc;
        if (c->id.len == 0)
            c->id = arena_printf(a, "call_%zu_%zu", message, i);
    }
    return 0;
}

/* Ollama's tool results need not say which call they answer: it is the first of the last assistant's message,
 * of that name if one is given, that has no answer yet. */
static void tool_call_find(const struct chat_request *r, size_t at, struct str name, struct chat_message *m)
{
    size_t assistant = at;
    while (assistant > 0 && r->messages[assistant - 1].role == CHAT_TOOL)
        assistant--;
    if (assistant == 0)
        return;
    const struct chat_message *asked = &r->messages[assistant - 1];
    for (size_t i = 0; i < asked->n_tool_calls; i++) {
        const struct chat_tool_call *c = &asked->tool_calls[i];
        bool answered = name.len > 0 && !str_eq(name, c->name);
        for (size_t t = assistant; t < at && !answered; t++)
            answered = str_eq(r->messages[t].tool_call_id, c->id);
        if (!answered) {
            m->tool_call_id = c->id;
            return;
        }
    }
}

static int role_read(const json_t *item, enum chat_role *out, struct error *err)
{
    struct str name;
    int rc = json_get_str(item, "role", &name, err);
    if (rc)
        return rc;
    for (int role = CHAT_SYSTEM; role <= CHAT_TOOL; role++) {
        *out = (enum chat_role)role;
        if (str_is_nocase(name, chat_role_name(*out)))
            return 0;
    }
    return error_set(err, ERROR_INVALID, "'role' must be system, user, assistant or tool, not '" STR_FMT "'",
        STR_ARG(str_slice(name, 0, 40)));
}

static int message_read(
    struct arena *a, const json_t *item, size_t at, struct chat_request *r, struct error *err)
{
    static const char *const known[] = {
        "role", "content", "thinking", "images", "tool_calls", "tool_name", "tool_call_id", NULL};
    struct chat_message *m = &r->messages[at];
    struct str tool_name = STR_NONE;
    if (!json_is_object(item))
        return error_set(err, ERROR_INVALID, "must be an object");
    int rc = role_read(item, &m->role, err);
    if (rc == 0)
        rc = parts_read(a, item, "content", m, err);
    if (rc == 0)
        rc = json_get_str(item, "thinking", &m->reasoning, err);
    if (rc == 0)
        rc = tool_calls_read(a, json_object_get(item, "tool_calls"), at, m, err);
    if (rc == 0)
        rc = json_get_str(item, "tool_name", &tool_name, err);
    if (rc == 0)
        rc = json_get_str(item, "tool_call_id", &m->tool_call_id, err);
    if (rc)
        return rc;
    if (m->role == CHAT_TOOL) {
        m->name = tool_name;
        if (m->tool_call_id.len == 0)
            tool_call_find(r, at, tool_name, m);
        if (m->tool_call_id.len == 0)
            return error_set(err, ERROR_INVALID, "answers no tool call of the message before it");
    }
    rc = api_read_vendor(a, item, known, &m->vendor, err);
    if (rc == 0 && m->vendor)
        only_native(a, r, m->vendor);
    return rc;
}

static int messages_read(struct arena *a, const json_t *list, struct chat_request *r, struct error *err)
{
    size_t n = json_array_size(list);
    if (n == 0 || n > LIMIT_MESSAGES)
        return error_set(err, ERROR_INVALID, "'messages' must be a list of 1 to %d messages", LIMIT_MESSAGES);
    r->messages = arena_try_array(a, struct chat_message, n);
    if (!r->messages)
        return error_set(err, ERROR_MEMORY, "no memory for the request");
    for (size_t i = 0; i < n; i++) {
        int rc = message_read(a, json_array_get(list, i), i, r, err);
        if (rc)
            return error_wrap(err, "messages[%zu]", i);
        r->n_messages++;
    }
    return 0;
}

/* ---- Options ---- */

/* How the model is loaded there; here its configuration says so, and none of it changes the answer. */
static const char *const load_options[] = {"num_batch", "num_gpu", "main_gpu", "use_mmap", "use_mlock",
    "num_thread", "numa", "low_vram", "f16_kv", "vocab_only", "logits_all", "draft_num_predict", NULL};
static const char *const known_options[] = {"num_keep", "seed", "num_predict", "stop", "num_ctx", NULL};

static bool option_known(const char *key)
{
    for (size_t i = 0; i < chat_sampling_n_fields(); i++)
        if (strcmp(chat_sampling_fields[i].name, key) == 0)
            return true;
    return str_among(str_from(key), load_options) || str_among(str_from(key), known_options) ||
           strcmp(key, "penalize_newline") == 0;
}

static int stops_read(struct arena *a, const json_t *stop, struct chat_request *r, struct error *err)
{
    size_t n = json_is_string(stop) ? 1 : json_array_size(stop);
    if (stop && !json_is_null(stop) && !json_is_string(stop) && !json_is_array(stop))
        return error_set(err, ERROR_INVALID, "'stop' must be a list of texts");
    if (n > LIMIT_STOPS)
        return error_set(err, ERROR_INVALID, "'stop' has %zu texts: at most %d are allowed", n, LIMIT_STOPS);
    r->stops = arena_alloc(a, (n + 1) * sizeof *r->stops);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_is_string(stop) ? stop : json_array_get(stop, i);
        if (!json_is_string(item))
            return error_set(err, ERROR_INVALID, "'stop' must be a list of texts");
        if (json_string_length(item) > 0)
            r->stops[r->n_stops++] = json_str(item);
    }
    return 0;
}

static int options_read(struct arena *a, const json_t *options, struct chat_request *r, struct error *err)
{
    const char *key;
    json_t *value;
    int64_t context;
    if (!options || json_is_null(options))
        return 0;
    if (!json_is_object(options))
        return error_set(err, ERROR_INVALID, "'options' must be an object");
    json_object_foreach((json_t *)(uintptr_t)options, key, value)
    {
        if (!option_known(key) && r->only_native.len == 0)
            r->only_native = arena_copy(a, str_from(key));
    }
    int rc = chat_sampling_read(a, options, &r->sampling, err);
    r->sampling.has_seed =
        r->sampling.has_seed && r->sampling.seed >= 0; /* negative: another one each time */
    if (rc == 0)
        rc = json_get_int(options, "num_predict", -1, -2, INT32_MAX, &r->max_tokens, err);
    if (r->max_tokens < 0)
        r->max_tokens = -1;
    if (rc == 0)
        rc = json_get_int(options, "num_ctx", 0, 0, INT32_MAX, &context, err); /* the target looks at it */
    if (rc == 0)
        rc = json_get_int(options, "num_keep", -1, -1, INT32_MAX, &r->n_keep, err);
    return rc ? rc : stops_read(a, json_object_get(options, "stop"), r, err);
}

/* ---- The rest ---- */

/* Both become members of OpenAI's shape, which every target knows how to honour or refuse. */
static int vendor_add(
    struct arena *a, struct chat_request *r, const char *key, json_t *value, struct error *err)
{
    json_t *vendor = (json_t *)(uintptr_t)r->vendor;
    if (!vendor) {
        r->vendor = vendor = json_object();
        json_keep(a, vendor);
    }
    return json_object_set_new(vendor, key, value) ? error_set(err, ERROR_MEMORY, "no memory for the request")
                                                   : 0;
}

static int format_read(struct arena *a, const json_t *format, struct chat_request *r, struct error *err)
{
    if (!format || json_is_null(format) || (json_is_string(format) && json_string_length(format) == 0))
        return 0;
    if (str_is(json_str(format), "json"))
        return vendor_add(a, r, "response_format", json_pack("{s:s}", "type", "json_object"), err);
    if (!json_is_object(format))
        return error_set(err, ERROR_INVALID, "'format' must be \"json\" or a JSON schema");
    return vendor_add(a, r, "response_format",
        json_pack(
            "{s:s,s:{s:s,s:O}}", "type", "json_schema", "json_schema", "name", "answer", "schema", format),
        err);
}

static int think_read(struct arena *a, const json_t *think, struct chat_request *r, struct error *err)
{
    struct str level = json_str(think);
    if (!think || json_is_null(think))
        return 0;
    if (json_is_boolean(think))
        level = json_is_true(think) ? STR("medium") : STR("none");
    else if (!str_is(level, "low") && !str_is(level, "medium") && !str_is(level, "high") &&
             !str_is(level, "max"))
        return error_set(err, ERROR_INVALID, "'think' must be true, false, \"low\", \"medium\" or \"high\"");
    else if (str_is(level, "max"))
        level = STR("high");
    return vendor_add(a, r, "reasoning_effort", json_stringn(level.data, level.len), err);
}

static int logprobs_read(const json_t *root, struct chat_request *r, struct error *err)
{
    int64_t top;
    int rc = json_get_bool(root, "logprobs", false, &r->logprobs, err);
    if (rc == 0)
        rc = json_get_int(root, "top_logprobs", 0, 0, CHAT_TOP_LOGPROBS_MAX, &top, err);
    if (rc == 0)
        r->top_logprobs = r->logprobs ? (int32_t)top : 0;
    return rc;
}

int api_ollama_model(const json_t *root, struct str *name, struct error *err)
{
    int rc = json_get_str(root, "model", name, err);
    if (rc == 0 && name->len == 0)
        rc = json_get_str(root, "name", name, err);
    if (rc == 0 && name->len == 0)
        rc = error_set(err, ERROR_INVALID, "model is required");
    if (rc == 0 && name->len > LIMIT_MODEL_NAME)
        rc = error_set(err, ERROR_INVALID, "'model' is longer than %d bytes", LIMIT_MODEL_NAME);
    return rc;
}

bool api_ollama_is_load(const json_t *root, bool chat)
{
    const json_t *text = json_object_get(root, "prompt"), *suffix = json_object_get(root, "suffix");
    if (chat)
        return json_array_size(json_object_get(root, "messages")) == 0;
    return json_str(text).len == 0 && json_str(suffix).len == 0 &&
           json_array_size(json_object_get(root, "images")) == 0;
}

/* A member that only Ollama itself can honour; asked for in vain elsewhere. */
static void native_only(struct chat_request *r, const json_t *root, const char *key)
{
    const json_t *value = json_object_get(root, key);
    bool asks = json_array_size(value) > 0 || json_str(value).len > 0 || json_is_true(value);
    if (asks && r->only_native.len == 0)
        r->only_native = str_from(key);
}

static int common_read(struct arena *a, struct str body, const char *const *known, const json_t **root,
    struct chat_request **out, struct error *err)
{
    /* What the fields of a request say; all else goes to an Ollama as it came. */
    static const char *const spoken[] = {
        "model", "name", "stream", "messages", "tools", "prompt", "suffix", "system", "images", NULL};
    const json_t *unknown;
    int rc = api_body_read(a, body, root, err);
    if (rc)
        return rc;
    struct chat_request *r = *out = chat_request_create(a);
    r->shape = CHAT_SHAPE_OLLAMA;
    rc = api_read_vendor(a, *root, spoken, &r->native, err);
    if (rc == 0)
        rc = api_read_vendor(a, *root, known, &unknown, err);
    if (rc == 0)
        only_native(a, r, unknown);
    if (rc == 0)
        rc = api_ollama_model(*root, &r->model, err);
    if (rc == 0)
        rc = json_get_bool(*root, "stream", true, &r->stream, err);
    if (rc == 0)
        rc = options_read(a, json_object_get(*root, "options"), r, err);
    if (rc == 0)
        rc = format_read(a, json_object_get(*root, "format"), r, err);
    if (rc == 0)
        rc = think_read(a, json_object_get(*root, "think"), r, err);
    if (rc == 0)
        rc = logprobs_read(*root, r, err);
    if (rc == 0)
        rc = json_get_bool(*root, "shift", false, &r->context_shift, err);
    return rc ? rc : api_ollama_keep_alive(*root, &r->has_keep_alive, &r->keep_alive_ms, err);
}

#define COMMON_KEYS                                                                                          \
    "model", "name", "stream", "options", "format", "think", "keep_alive", "logprobs", "top_logprobs",       \
        "truncate", "shift"

static int tool_read(const json_t *item, struct chat_tool *t, struct error *err)
{
    const json_t *function = json_object_get(item, "function");
    int rc = json_get_str(function, "name", &t->name, err);
    if (rc == 0 && t->name.len == 0)
        rc = error_set(err, ERROR_INVALID, "must have a 'function' with a 'name'");
    if (rc == 0)
        rc = json_get_str(function, "description", &t->description, err);
    t->parameters = json_object_get(function, "parameters");
    if (json_is_null(t->parameters))
        t->parameters = NULL;
    if (rc == 0 && t->parameters && !json_is_object(t->parameters))
        rc = error_set(err, ERROR_INVALID, "'parameters' must be a JSON schema");
    t->raw = item;
    return rc;
}

int api_ollama_chat_read(struct arena *a, struct str body, struct chat_request **out, struct error *err)
{
    static const char *const known[] = {COMMON_KEYS, "messages", "tools", NULL};
    const json_t *root;
    int rc = common_read(a, body, known, &root, out, err);
    if (rc == 0)
        rc = messages_read(a, json_object_get(root, "messages"), *out, err);
    return rc ? rc : api_tools_read(a, json_object_get(root, "tools"), tool_read, *out, err);
}

/* A prompt as it stands, or as what the user says, after the system's message. */
int api_ollama_generate_read(struct arena *a, struct str body, struct chat_request **out, struct error *err)
{
    static const char *const known[] = {
        COMMON_KEYS, "prompt", "suffix", "system", "template", "context", "raw", "images", NULL};
    const json_t *root;
    struct str system;
    bool raw;
    int rc = common_read(a, body, known, &root, out, err);
    if (rc)
        return rc;
    struct chat_request *r = *out;
    rc = json_get_bool(root, "raw", false, &raw, err);
    if (rc == 0)
        rc = json_get_str(root, "suffix", &r->suffix, err);
    if (rc == 0)
        rc = json_get_str(root, "prompt", &r->prompt, err);
    if (rc == 0)
        rc = json_get_str(root, "system", &system, err);
    native_only(r, root, "template");
    native_only(r, root, "context");
    r->has_prompt = raw || r->suffix.len > 0;
    if (r->has_prompt) {
        native_only(r, root, "images");
        native_only(r, root, "system");
    }
    if (rc || r->has_prompt)
        return rc;
    r->prompt = STR_NONE;
    r->messages = arena_alloc(a, 2 * sizeof *r->messages);
    if (system.len > 0) {
        struct chat_message *m = &r->messages[r->n_messages++];
        *m =
            (struct chat_message){.role = CHAT_SYSTEM, .parts = arena_new(a, struct chat_part), .n_parts = 1};
        m->parts[0].text = system;
    }
    struct chat_message *m = &r->messages[r->n_messages++];
    m->role = CHAT_USER;
    return parts_read(a, root, "prompt", m, err);
}

/* What the dialects share: reading a request whose shape is not theirs, and refusing by name. */
#include "provider/dialect.h"

#include <string.h>

#include "chat/chat_sampling.h"

/* Top-level members that may be left out without changing what comes back. */
static const char *const harmless[] = {"prediction", "store", "metadata", "service_tier", "user",
    "stream_options", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", NULL};
static const char *const harmless_in_message[] = {
    "annotations", "refusal", "reasoning_details", "extra_content", NULL};
const char *const provider_kept[] = {"reasoning_details", "extra_content", NULL};

bool provider_asks(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_OBJECT:
        return json_object_size(value) > 0;
    case JSON_ARRAY:
        return json_array_size(value) > 0;
    case JSON_STRING:
        return json_string_length(value) > 0;
    case JSON_INTEGER:
        return json_integer_value(value) != 0;
    case JSON_REAL:
        return json_real_value(value) < 0 || json_real_value(value) > 0;
    default:
        return json_is_true(value);
    }
}

static struct str joined(struct arena *a, struct str one, struct str two)
{
    char *text = arena_alloc(a, one.len + two.len + 1);
    memcpy(text, one.data, one.len);
    memcpy(text + one.len, two.data, two.len);
    return (struct str){text, one.len + two.len};
}

size_t provider_headers(struct arena *a, const char *key_header, const char *key_prefix, struct str api_key,
    struct egress_header *out)
{
    size_t n = 0;
    out[n++] = (struct egress_header){STR("Content-Type"), STR("application/json")};
    out[n++] = (struct egress_header){STR("Accept"), STR("text/event-stream, application/json")};
    if (api_key.len > 0)
        out[n++] = (struct egress_header){str_from(key_header), joined(a, str_from(key_prefix), api_key)};
    return n;
}

/* ---- Refusing what a shape has no word for ---- */

int provider_refuse(const char *vendor, const char *what, struct error *err)
{
    return error_set(
        err, ERROR_UNSUPPORTED, "%s has no '%s': leave it out or choose another model", vendor, what);
}

int provider_check_native(enum chat_shape shape, const struct chat_request *r, struct error *err)
{
    if (r->shape == shape)
        return 0;
    for (size_t i = 0; i < r->n_tools; i++)
        if (r->tools[i].builtin)
            return error_set(err, ERROR_UNSUPPORTED,
                "tools[%zu] is a tool of another provider's own: only a target of its API can use it", i);
    if (r->only_native.len == 0)
        return 0;
    return error_set(err, ERROR_UNSUPPORTED,
        "'" STR_FMT "' can be honoured only by a target of the API it was sent to: leave it out or choose "
        "another model",
        STR_ARG(str_slice(r->only_native, 0, 80)));
}

static bool vendor_is_harmless(const json_t *vendor, const char *key, const json_t *value)
{
    /* An empty object of it asks for the web, too. */
    if (str_is(str_from(key), "web_search_options"))
        return json_is_null(value);
    if (str_among(str_from(key), harmless) || !provider_asks(vendor, key))
        return true;
    if (str_is(str_from(key), "n"))
        return json_is_integer(value) && json_integer_value(value) == 1;
    if (str_is(str_from(key), "response_format"))
        return str_is(json_text(value, "type"), "text");
    if (str_is(str_from(key), "modalities"))
        return json_array_size(value) == 1 && str_is(json_str(json_array_get(value, 0)), "text");
    return false;
}

const char *provider_beyond(const struct chat_request *r, const char *const *known)
{
    const struct {
        const char *name;
        bool asked;
    } members[] = {{"n", r->n > 1}, {"logprobs", r->logprobs}, {"suffix", r->suffix.len > 0},
        {"echo", r->echo}, {"prompt", r->prompt_ids != NULL}, {"context_shift", r->context_shift},
        {"truncation", r->truncation}};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (members[i].asked && !str_among(str_from(members[i].name), known))
            return members[i].name;
    return chat_sampling_beyond(&r->sampling, known);
}

static int check_tools(const char *vendor, const struct chat_request *r, struct error *err)
{
    for (size_t i = 0; i < r->n_tools; i++)
        if (r->tools[i].name.len == 0 || (r->shape == CHAT_SHAPE_OPENAI && r->tools[i].raw &&
                                             !str_is(json_text(r->tools[i].raw, "type"), "function")))
            return error_set(
                err, ERROR_UNSUPPORTED, "tools[%zu] is no function: %s cannot use it", i, vendor);
    return 0;
}

static int check_message(const char *vendor, const struct chat_message *m, size_t index, struct error *err)
{
    const char *key;
    json_t *value;
    if (m->name.len > 0 && m->role != CHAT_TOOL)
        return error_set(
            err, ERROR_UNSUPPORTED, "%s has no 'name' of a message (messages[%zu])", vendor, index);
    json_object_foreach((json_t *)(uintptr_t)m->vendor, key, value)
    {
        if (!str_among(str_from(key), harmless_in_message) && provider_asks(m->vendor, key))
            return error_set(
                err, ERROR_UNSUPPORTED, "%s has no '%s' of a message (messages[%zu])", vendor, key, index);
    }
    return 0;
}

static int check_calls(const char *vendor, const struct chat_message *m, size_t index, struct error *err)
{
    const char *key;
    json_t *value;
    for (size_t i = 0; i < m->n_tool_calls; i++) {
        json_object_foreach((json_t *)(uintptr_t)m->tool_calls[i].raw, key, value)
        {
            if (!str_among(str_from(key), provider_kept) && provider_asks(m->tool_calls[i].raw, key))
                return error_set(err, ERROR_UNSUPPORTED, "%s has no '%s' of a tool call (messages[%zu])",
                    vendor, key, index);
        }
    }
    return 0;
}

static int check_effort(const struct chat_request *r, struct error *err)
{
    size_t level;
    return provider_asks(r->vendor, "reasoning_effort")
               ? chat_effort_read(json_text(r->vendor, "reasoning_effort"), &level, err)
               : 0;
}

int provider_check_members(const char *vendor, enum chat_shape shape, const char *const *honoured,
    const struct chat_request *r, struct error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)r->vendor, key, value)
    {
        if (!str_among(str_from(key), honoured) && !vendor_is_harmless(r->vendor, key, value))
            return provider_refuse(vendor, key, err);
    }
    int rc = check_effort(r, err);
    if (rc == 0)
        rc = check_tools(vendor, r, err);
    if (rc == 0)
        rc = provider_check_native(shape, r, err);
    for (size_t i = 0; i < r->n_messages && rc == 0 && r->shape == CHAT_SHAPE_OPENAI; i++) {
        rc = check_message(vendor, &r->messages[i], i, err);
        if (rc == 0)
            rc = check_calls(vendor, &r->messages[i], i, err);
    }
    return rc;
}

int provider_check_request(const char *vendor, enum chat_shape shape, const char *const *honoured,
    const struct chat_request *r, struct error *err)
{
    static const char *const known[] = {
        "temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "repeat_last_n", NULL};
    if (r->has_prompt)
        return error_set(err, ERROR_UNSUPPORTED, "%s continues no bare prompt: send messages", vendor);
    const char *beyond = provider_beyond(r, known);
    return beyond ? provider_refuse(vendor, beyond, err)
                  : provider_check_members(vendor, shape, honoured, r, err);
}

/* ---- Pieces of a request ---- */

bool provider_data_url(struct str url, struct str *type, struct str *data)
{
    size_t comma = str_find_char(url, ',');
    struct str head = str_slice(url, 5, comma);
    if (!str_starts(url, STR("data:")) || comma == SIZE_MAX || !str_ends(head, STR(";base64")))
        return false;
    *type = str_slice(head, 0, str_find_char(head, ';'));
    *data = str_slice(url, comma + 1, url.len);
    return type->len > 0 && data->len > 0;
}

int provider_arguments(const struct chat_tool_call *call, struct str *out, struct error *err)
{
    json_t *read = NULL;
    *out = str_trim(call->arguments);
    if (out->len == 0)
        *out = STR("{}");
    int rc = json_read(*out, &read, err);
    if (rc == 0 && !json_is_object(read))
        rc = error_set(err, ERROR_INVALID, "they are no JSON object");
    json_decref(read);
    if (rc)
        error_wrap(err, "the arguments of the tool call '" STR_FMT "' cannot be passed on",
            STR_ARG(str_slice(call->id, 0, 80)));
    return rc;
}

int provider_written(const struct buf *out, struct error *err)
{
    return out->failed ? error_set(err, out->failed, "the request is too large to pass on") : 0;
}

bool provider_is_instruction(const struct chat_message *m)
{
    return m->role == CHAT_SYSTEM || m->role == CHAT_DEVELOPER;
}

bool provider_has_content(const struct chat_message *m)
{
    if (m->role == CHAT_TOOL || m->n_tool_calls > 0 || m->n_thoughts > 0)
        return true;
    for (size_t i = 0; i < m->n_parts; i++)
        if (m->parts[i].kind != CHAT_PART_TEXT || m->parts[i].text.len > 0)
            return true;
    return json_text(m->vendor, "refusal").len > 0;
}

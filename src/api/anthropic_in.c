#include "api/anthropic_in.h"

#include <math.h>
#include <string.h>

#include "api/anthropic_blocks.h"
#include "api/read.h"
#include "base/limits.h"

/* ---- System ---- */

static int system_read(struct arena *a, const json_t *system, struct chat_request *r, struct error *err)
{
    if (!system || json_is_null(system))
        return 0;
    struct chat_message *m = &r->messages[r->n_messages];
    m->role = CHAT_SYSTEM;
    int rc = api_anthropic_content_read(a, system, m, r, err);
    for (size_t i = 0; i < m->n_parts && rc == 0; i++)
        if (m->parts[i].kind != CHAT_PART_TEXT)
            rc = error_set(err, ERROR_INVALID, "has a block that is no text");
    if (rc)
        return error_wrap(err, "system");
    r->n_messages += m->n_parts > 0;
    return 0;
}

/* ---- Messages ---- */

/* How many messages of the common form they can become: a result of a tool may cut a turn in two. */
static size_t messages_most(const json_t *list)
{
    size_t n = 1; /* system */
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *content = json_object_get(json_array_get(list, i), "content");
        n++;
        for (size_t k = 0; k < json_array_size(content); k++)
            n += 2 * (size_t)str_is(json_text(json_array_get(content, k), "type"), "tool_result");
    }
    return n;
}

static int message_read(struct arena *a, const json_t *item, struct chat_request *r, struct error *err)
{
    static const char *const known[] = {"role", "content", NULL};
    struct str role;
    if (!json_is_object(item))
        return error_set(err, ERROR_INVALID, "must be an object");
    int rc = json_get_str(item, "role", &role, err);
    if (rc == 0)
        rc = api_read_only(item, known, err);
    if (rc)
        return rc;
    const json_t *content = json_object_get(item, "content");
    if (!json_is_string(content) && !json_is_array(content))
        return error_set(err, ERROR_INVALID, "'content' must be a string or a list of blocks");
    if (str_is(role, "user"))
        return api_anthropic_user_read(a, content, r, err);
    if (str_is(role, "assistant"))
        return api_anthropic_assistant_read(a, content, r, err);
    if (str_is(role, "system")) {
        r->messages[r->n_messages].role = CHAT_SYSTEM;
        return api_anthropic_content_read(a, content, &r->messages[r->n_messages++], r, err);
    }
    return error_set(err, ERROR_INVALID, "'role' must be user, assistant or system, not '" STR_FMT "'",
        STR_ARG(str_slice(role, 0, 40)));
}

static int messages_read(struct arena *a, const json_t *root, struct chat_request *r, struct error *err)
{
    const json_t *list = json_object_get(root, "messages");
    if (!json_is_array(list) || json_array_size(list) == 0)
        return error_set(err, ERROR_INVALID, "'messages' must be an array with at least one message");
    size_t most = messages_most(list);
    if (json_array_size(list) > LIMIT_MESSAGES || most > 4 * LIMIT_MESSAGES)
        return error_set(
            err, ERROR_INVALID, "the request has too many messages: at most %d are allowed", LIMIT_MESSAGES);
    r->messages = arena_try_array(a, struct chat_message, most);
    if (!r->messages)
        return error_set(err, ERROR_MEMORY, "no memory for the request");
    int rc = system_read(a, json_object_get(root, "system"), r, err);
    for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) {
        rc = message_read(a, json_array_get(list, i), r, err);
        if (rc)
            error_wrap(err, "messages[%zu]", i);
    }
    return rc;
}

/* ---- Tools ---- */

static int tool_read(const json_t *item, struct chat_tool *t, struct error *err)
{
    struct str type;
    if (!json_is_object(item))
        return error_set(err, ERROR_INVALID, "must be an object");
    int rc = json_get_str(item, "type", &type, err);
    if (rc == 0)
        rc = json_get_str(item, "name", &t->name, err);
    if (rc == 0)
        rc = json_get_str(item, "description", &t->description, err);
    if (rc)
        return rc;
    t->raw = item;
    t->builtin = type.len > 0 && !str_is(type, "custom");
    t->parameters = json_object_get(item, "input_schema");
    if (t->builtin)
        return 0;
    if (t->name.len == 0)
        return error_set(err, ERROR_INVALID, "must have a 'name'");
    if (!json_is_object(t->parameters))
        return error_set(err, ERROR_INVALID, "'input_schema' must be a JSON Schema object");
    return 0;
}

static int tool_choice_read(const json_t *choice, struct chat_request *r, struct error *err)
{
    static const struct {
        const char *type;
        enum chat_tool_choice choice;
    } types[] = {{"auto", CHAT_TOOLS_AUTO}, {"any", CHAT_TOOLS_REQUIRED}, {"none", CHAT_TOOLS_NONE},
        {"tool", CHAT_TOOLS_NAMED}};
    struct str type = json_text(choice, "type");
    bool one;
    if (!choice || json_is_null(choice))
        return 0;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (str_is(type, types[i].type))
            r->tool_choice = types[i].choice;
    if (r->tool_choice == CHAT_TOOLS_UNSET)
        return error_set(
            err, ERROR_INVALID, "'tool_choice' must be an object whose 'type' is auto, any, tool or none");
    int rc = json_get_str(choice, "name", &r->tool_choice_name, err);
    if (rc == 0 && r->tool_choice == CHAT_TOOLS_NAMED && r->tool_choice_name.len == 0)
        rc = error_set(err, ERROR_INVALID, "'tool_choice' of type tool must have a 'name'");
    if (rc == 0)
        rc = json_get_bool(choice, "disable_parallel_tool_use", false, &one, err);
    if (rc == 0 && json_is_boolean(json_object_get(choice, "disable_parallel_tool_use")))
        r->parallel_tool_calls = !one;
    return rc;
}

/* ---- Reasoning and format, in the words that other targets have for them ---- */

/* Anthropic counts tokens, the others have words. */
static const char *effort_of_budget(int64_t budget)
{
    return budget < 4096 ? "low" : budget < 16384 ? "medium" : "high";
}

static int effort_read(const json_t *root, const char **effort, struct error *err)
{
    const json_t *thinking = json_object_get(root, "thinking");
    struct str type = json_text(thinking, "type"), word;
    int64_t budget;
    *effort = NULL;
    if (thinking && !json_is_null(thinking) && !str_is(type, "enabled") && !str_is(type, "disabled") &&
        !str_is(type, "adaptive"))
        return error_set(
            err, ERROR_INVALID, "'thinking' must be an object whose 'type' is enabled, adaptive or disabled");
    int rc = json_get_int(thinking, "budget_tokens", -1, 1024, INT32_MAX, &budget, err);
    if (rc == 0 && str_is(type, "enabled") && budget < 0)
        rc = error_set(err, ERROR_INVALID, "'thinking' of type enabled must have 'budget_tokens'");
    if (rc == 0)
        rc = json_get_str(json_object_get(root, "output_config"), "effort", &word, err);
    if (rc)
        return rc;
    if (str_is(type, "disabled"))
        *effort = "none";
    else if (str_is(word, "low") || str_is(word, "medium"))
        *effort = str_is(word, "low") ? "low" : "medium";
    else if (word.len > 0) /* high, and what lies above it */
        *effort = "high";
    else if (str_is(type, "enabled"))
        *effort = effort_of_budget(budget);
    else if (str_is(type, "adaptive"))
        *effort = "medium";
    return 0;
}

/* {"type":"json_schema","schema"}, at its place of today or of the beta. */
static int format_read(const json_t *root, const json_t **schema, struct error *err)
{
    const json_t *format = json_object_get(json_object_get(root, "output_config"), "format");
    if (!format || json_is_null(format))
        format = json_object_get(root, "output_format");
    *schema = NULL;
    if (!format || json_is_null(format))
        return 0;
    *schema = json_object_get(format, "schema");
    if (!str_is(json_text(format, "type"), "json_schema") || !json_is_object(*schema))
        return error_set(
            err, ERROR_INVALID, "'output_config.format' must be {\"type\":\"json_schema\",\"schema\":{...}}");
    return 0;
}

static int vendor_make(struct arena *a, const json_t *root, struct chat_request *r, struct error *err)
{
    const char *effort;
    const json_t *schema;
    int rc = effort_read(root, &effort, err);
    if (rc == 0)
        rc = format_read(root, &schema, err);
    if (rc || (!effort && !schema))
        return rc;
    json_t *vendor = json_object();
    bool bad = !vendor;
    json_keep(a, vendor);
    if (effort)
        bad = bad || json_object_set_new(vendor, "reasoning_effort", json_string(effort));
    if (schema)
        bad = bad || json_object_set_new(vendor, "response_format",
                         json_pack("{s:s,s:{s:s,s:O,s:b}}", "type", "json_schema", "json_schema", "name",
                             "answer", "schema", schema, "strict", 1));
    r->vendor = vendor;
    return bad ? error_set(err, ERROR_MEMORY, "no memory for the request") : 0;
}

/* ---- The rest ---- */

static int stops_read(struct arena *a, const json_t *list, struct chat_request *r, struct error *err)
{
    size_t n = json_array_size(list);
    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list) || n > LIMIT_STOPS)
        return error_set(
            err, ERROR_INVALID, "'stop_sequences' must be a list of at most %d strings", LIMIT_STOPS);
    r->stops = arena_alloc(a, (n ? n : 1) * sizeof *r->stops);
    for (size_t i = 0; i < n; i++) {
        struct str stop = json_str(json_array_get(list, i));
        if (stop.len == 0)
            return error_set(err, ERROR_INVALID, "'stop_sequences' must hold strings that are not empty");
        r->stops[r->n_stops++] = stop;
    }
    return 0;
}

static int settings_read(struct arena *a, const json_t *root, struct chat_request *r, struct error *err)
{
    struct chat_sampling *s = &r->sampling;
    int rc = json_get_double(root, "temperature", (double)NAN, 0, 1, &s->temperature, err);
    if (rc == 0)
        rc = json_get_double(root, "top_p", (double)NAN, 0, 1, &s->top_p, err);
    if (rc == 0)
        rc = json_get_int(root, "top_k", -1, 0, INT32_MAX, &s->top_k, err);
    if (rc == 0)
        rc = json_get_int(root, "max_tokens", -1, 1, INT32_MAX, &r->max_tokens, err);
    if (rc == 0)
        rc = stops_read(a, json_object_get(root, "stop_sequences"), r, err);
    if (rc == 0)
        rc = json_get_bool(root, "stream", false, &r->stream, err);
    return rc ? rc : json_get_str(json_object_get(root, "metadata"), "user_id", &r->user, err);
}

/* Members that are understood here or, where `idle`, cannot change the answer. `inner`: the members
 * understood of an object, NULL: all. */
static const char *const metadata_members[] = {"user_id", NULL};
static const char *const thinking_members[] = {"type", "budget_tokens", "display", NULL};
static const char *const output_members[] = {"effort", "format", NULL};
static const char *const choice_members[] = {"type", "name", "disable_parallel_tool_use", NULL};
static const struct {
    const char *name;
    const char *const *inner;
} members[] = {{"tool_choice", choice_members}, {"max_tokens", NULL}, {"stop_sequences", NULL},
    {"temperature", NULL}, {"top_p", NULL}, {"top_k", NULL}, {"metadata", metadata_members},
    {"thinking", thinking_members}, {"output_config", output_members}, {"output_format", NULL},
    {"service_tier", NULL}, {"speed", NULL}, {"cache_control", NULL}, {"inference_geo", NULL}};

static bool is_understood(const char *key, const json_t *value)
{
    const char *inner;
    json_t *ignored;
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        if (strcmp(members[i].name, key) != 0)
            continue;
        json_object_foreach((json_t *)(uintptr_t)value, inner, ignored)
        {
            if (members[i].inner && !str_among(str_from(inner), members[i].inner))
                return false;
        }
        return true;
    }
    return false;
}

/* All of the request that has no other way to a target of this shape, in its order. */
static int native_read(struct arena *a, const json_t *root, struct chat_request *r, struct error *err)
{
    static const char *const own[] = {"model", "messages", "stream", "system", "tools", NULL};
    const char *key;
    json_t *value, *native = json_object();
    if (!native)
        return error_set(err, ERROR_MEMORY, "no memory for the request");
    json_keep(a, native);
    r->native = native;
    json_object_foreach((json_t *)(uintptr_t)root, key, value)
    {
        if (str_among(str_from(key), own) || json_is_null(value))
            continue;
        if (json_object_set(native, key, value) != 0)
            return error_set(err, ERROR_MEMORY, "no memory for the request");
        if (r->only_native.len == 0 && !is_understood(key, value))
            r->only_native = str_from(key);
    }
    return 0;
}

static int request_read(struct arena *a, struct str body, struct chat_request **out, struct error *err)
{
    const json_t *root;
    int rc = api_body_read(a, body, &root, err);
    if (rc)
        return rc;
    struct chat_request *r = *out = chat_request_create(a);
    r->shape = CHAT_SHAPE_ANTHROPIC;
    rc = api_model_read(root, &r->model, err);
    if (rc == 0)
        rc = messages_read(a, root, r, err);
    if (rc == 0 && r->n_messages <= (size_t)(json_object_get(root, "system") != NULL) &&
        (r->n_messages == 0 || r->messages[0].role == CHAT_SYSTEM))
        rc = error_set(err, ERROR_INVALID, "'messages' says nothing: send a message from the user");
    if (rc == 0)
        rc = api_tools_read(a, json_object_get(root, "tools"), tool_read, r, err);
    if (rc == 0)
        rc = tool_choice_read(json_object_get(root, "tool_choice"), r, err);
    if (rc == 0)
        rc = settings_read(a, root, r, err);
    if (rc == 0)
        rc = vendor_make(a, root, r, err);
    return rc ? rc : native_read(a, root, r, err);
}

int api_anthropic_read(struct arena *a, struct str body, struct chat_request **out, struct error *err)
{
    int rc = request_read(a, body, out, err);
    if (rc == 0 && (*out)->max_tokens < 0)
        rc = error_set(err, ERROR_INVALID, "'max_tokens' is missing: say how long the answer may be");
    return rc;
}

int api_anthropic_count_read(struct arena *a, struct str body, struct chat_request **out, struct error *err)
{
    int rc = request_read(a, body, out, err);
    if (rc)
        return rc;
    (*out)->count_only = true;
    (*out)->max_tokens = 0;
    (*out)->stream = false;
    return 0;
}

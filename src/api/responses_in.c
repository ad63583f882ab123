#include "api/responses_in.h"

#include <string.h>

#include "api/openai_in.h"
#include "api/read.h"
#include "base/limits.h"

const struct responses_member responses_members[] = {{"model", NULL}, {"input", NULL}, {"include", NULL},
    {"stream", NULL}, {"stream_options", NULL}, {"store", NULL}, {"background", "false"},
    {"instructions", "null"}, {"max_output_tokens", "null"}, {"max_tool_calls", "null"}, {"metadata", "{}"},
    {"parallel_tool_calls", "true"}, {"previous_response_id", "null"}, {"prompt_cache_key", "null"},
    {"prompt_cache_retention", "null"}, {"reasoning", "{\"effort\":null,\"summary\":null}"},
    {"safety_identifier", "null"}, {"service_tier", "null"}, {"temperature", "null"},
    {"text", "{\"format\":{\"type\":\"text\"}}"}, {"tool_choice", "\"auto\""}, {"tools", "[]"},
    {"top_logprobs", "0"}, {"top_p", "null"}, {"truncation", "\"disabled\""}, {"user", "null"}, {NULL, NULL}};

/* A piece of reasoning whose maker may want it back, and the message that it belongs to. */
struct thought {
    size_t message;
    struct chat_thought is;
};

struct reading {
    struct arena *a;
    json_t *messages;
    json_t *assistant; /* the message that goes on, NULL: none */
    struct thought *thoughts;
    size_t n_thoughts;
    struct buf *orders; /* of each message's pieces: chat_message.order */
    bool failed;        /* no memory */
};

/* ---- Trees ---- */

static void put(struct reading *in, json_t *object, const char *key, json_t *value)
{
    in->failed |= json_object_set_new(object, key, value) != 0;
}

static void put_text(struct reading *in, json_t *object, const char *key, struct str text)
{
    put(in, object, key, json_stringn_nocheck(text.data ? text.data : "", text.len));
}

/* Members that have the same word and meaning there. */
static void put_same(
    struct reading *in, json_t *object, const char *key, const json_t *from, const char *word)
{
    json_t *value = json_object_get(from, word);
    if (value && !json_is_null(value))
        in->failed |= json_object_set(object, key, value) != 0;
}

/* A new value as a member, or an object at the end of a list; NULL: no memory, which whoever puts something
 * there notices too. */
static json_t *put_new(struct reading *in, json_t *object, const char *key, json_t *value)
{
    put(in, object, key, value);
    return json_object_get(object, key);
}

static json_t *append(struct reading *in, json_t *list)
{
    size_t n = json_array_size(list);
    in->failed |= json_array_append_new(list, json_object()) != 0;
    return json_array_get(list, n);
}

/* ---- Content ---- */

static int image_read(struct reading *in, const json_t *part, json_t *to, struct error *err)
{
    if (json_text(part, "image_url").len == 0)
        return error_set(err, ERROR_UNSUPPORTED,
            "an input_image wants 'image_url' (https: or data:): images are not taken by 'file_id'");
    put_text(in, to, "type", STR("image_url"));
    json_t *image = put_new(in, to, "image_url", json_object());
    put_same(in, image, "url", part, "image_url");
    put_same(in, image, "detail", part, "detail");
    return 0;
}

static int file_read(struct reading *in, const json_t *part, json_t *to, struct error *err)
{
    if (!str_starts(json_text(part, "file_data"), STR("data:")))
        return error_set(err, ERROR_UNSUPPORTED,
            "an input_file wants 'file_data' (data:TYPE;base64,...): files are not taken by 'file_id' or "
            "'file_url'");
    put_text(in, to, "type", STR("file"));
    json_t *file = put_new(in, to, "file", json_object());
    put_same(in, file, "filename", part, "filename");
    put_same(in, file, "file_data", part, "file_data");
    return 0;
}

static int part_read(struct reading *in, const json_t *part, json_t *to, struct error *err)
{
    struct str type = json_text(part, "type");
    if (!json_is_object(part) || type.len == 0)
        return error_set(err, ERROR_INVALID, "must be an object with a 'type'");
    if (str_is(type, "input_text") || str_is(type, "output_text") || str_is(type, "text")) {
        if (!json_is_string(json_object_get(part, "text")))
            return error_set(err, ERROR_INVALID, "must have the string 'text'");
        put_text(in, to, "type", STR("text"));
        put_same(in, to, "text", part, "text");
        return 0;
    }
    if (str_is(type, "refusal") || str_is(type, "input_audio")) {
        put_same(in, to, "type", part, "type");
        put_same(in, to, type.data, part, type.data);
        return 0;
    }
    if (str_is(type, "input_image"))
        return image_read(in, part, to, err);
    if (str_is(type, "input_file"))
        return file_read(in, part, to, err);
    return error_set(err, ERROR_UNSUPPORTED,
        "is of the type '" STR_FMT "', which is not known: send input_text, input_image, input_audio or "
        "input_file",
        STR_ARG(str_slice(type, 0, 80)));
}

/* A string or a list of parts, added to the `content` of a message. */
static int content_read(struct reading *in, const json_t *content, json_t *message, struct error *err)
{
    json_t *parts = json_object_get(message, "content");
    if (!parts)
        parts = put_new(in, message, "content", json_array());
    if (json_is_string(content)) {
        json_t *part = append(in, parts);
        put_text(in, part, "type", STR("text"));
        in->failed |= json_object_set(part, "text", (json_t *)(uintptr_t)content) != 0;
        return 0;
    }
    if (!json_is_array(content))
        return error_set(err, ERROR_INVALID, "must have a content that is a string or a list of parts");
    if (json_array_size(content) + json_array_size(parts) > LIMIT_PARTS)
        return error_set(err, ERROR_INVALID, "has more parts than the %d that are allowed", LIMIT_PARTS);
    for (size_t i = 0; i < json_array_size(content); i++)
        if (part_read(in, json_array_get(content, i), append(in, parts), err))
            return error_wrap(err, "content[%zu]", i);
    return 0;
}

/* ---- Items ---- */

static json_t *message_begin(struct reading *in, struct str role)
{
    json_t *message = append(in, in->messages);
    put_text(in, message, "role", role);
    in->assistant = NULL;
    return message;
}

/* What the assistant said and did in one turn is one message. */
static json_t *assistant_turn(struct reading *in)
{
    if (!in->assistant)
        in->assistant = message_begin(in, STR("assistant"));
    return in->assistant;
}

static void order_note(struct reading *in, char piece, size_t times)
{
    struct buf *order = &in->orders[json_array_size(in->messages) - 1];
    for (size_t i = 0; i < times; i++)
        in->failed |= buf_append_char(order, piece) != 0;
}

static int message_read(struct reading *in, const json_t *item, struct error *err)
{
    static const char *const known[] = {"type", "id", "status", "role", "content", "phase", NULL};
    struct str role = json_text(item, "role");
    int rc = api_read_only(item, known, err);
    if (rc)
        return rc;
    const json_t *content = json_object_get(item, "content");
    if (str_is(role, "assistant")) {
        json_t *turn = assistant_turn(in);
        size_t before = json_array_size(json_object_get(turn, "content"));
        rc = content_read(in, content, turn, err);
        order_note(in, 'p', json_array_size(json_object_get(turn, "content")) - before);
        return rc;
    }
    if (!str_is(role, "user") && !str_is(role, "system") && !str_is(role, "developer"))
        return error_set(err, ERROR_INVALID,
            "'role' must be user, assistant, system or developer, not '" STR_FMT "'",
            STR_ARG(str_slice(role, 0, 40)));
    return content_read(in, content, message_begin(in, role), err);
}

static int call_read(struct reading *in, const json_t *item, struct error *err)
{
    static const char *const known[] = {"type", "id", "status", "call_id", "name", "arguments", NULL};
    int rc = api_read_only(item, known, err);
    if (rc)
        return rc;
    if (json_text(item, "call_id").len == 0 || json_text(item, "name").len == 0 ||
        !json_is_string(json_object_get(item, "arguments")))
        return error_set(
            err, ERROR_INVALID, "a function_call must have the strings 'call_id', 'name' and 'arguments'");
    json_t *turn = assistant_turn(in), *calls = json_object_get(turn, "tool_calls");
    json_t *call = append(in, calls ? calls : put_new(in, turn, "tool_calls", json_array()));
    put_same(in, call, "id", item, "call_id");
    put_text(in, call, "type", STR("function"));
    json_t *function = put_new(in, call, "function", json_object());
    put_same(in, function, "name", item, "name");
    put_same(in, function, "arguments", item, "arguments");
    order_note(in, 'c', 1);
    return 0;
}

static int output_read(struct reading *in, const json_t *item, struct error *err)
{
    static const char *const known[] = {"type", "id", "status", "call_id", "output", NULL};
    int rc = api_read_only(item, known, err);
    if (rc == 0 && json_text(item, "call_id").len == 0)
        rc = error_set(err, ERROR_INVALID, "a function_call_output must have a 'call_id'");
    if (rc)
        return rc;
    json_t *message = message_begin(in, STR("tool"));
    put_same(in, message, "tool_call_id", item, "call_id");
    return content_read(in, json_object_get(item, "output"), message, err);
}

static void texts_join(const json_t *list, struct buf *out)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        buf_append_str(out, json_text(json_array_get(list, i), "text"));
}

/* Its text is for whoever takes reasoning as text; what its maker wants back is for the maker. What another
 * gateway encrypted nobody here can read: it is left out, as its own API allows. */
static int reasoning_read(struct reading *in, const json_t *item, struct error *err)
{
    static const char *const known[] = {
        "type", "id", "status", "summary", "content", "encrypted_content", NULL};
    struct str secret = json_text(item, "encrypted_content"), mark = STR(RESPONSES_SIGNATURE);
    struct buf text, all;
    int rc = api_read_only(item, known, err);
    if (rc)
        return rc;
    json_t *turn = assistant_turn(in);
    buf_init(&text, LIMIT_HTTP_BODY);
    buf_init(&all, LIMIT_HTTP_BODY);
    texts_join(json_object_get(item, "content"), &text);
    if (text.len == 0)
        texts_join(json_object_get(item, "summary"), &text);
    buf_append_str(&all, json_text(turn, "reasoning_content"));
    buf_append_str(&all, buf_str(&text));
    if (all.len > 0)
        put_text(in, turn, "reasoning_content", buf_str(&all));
    bool is_signed = str_starts(secret, mark);
    if (is_signed || str_starts(secret, STR(RESPONSES_DATA))) {
        struct thought *t = &in->thoughts[in->n_thoughts++];
        struct str kept = str_slice(secret, mark.len, secret.len); /* both marks are as long */
        t->message = json_array_size(in->messages) - 1;
        t->is.data = is_signed ? STR_NONE : kept;
        t->is.signature = is_signed ? kept : STR_NONE;
        in->failed |= is_signed && arena_try_copy(in->a, buf_str(&text), &t->is.text) != 0;
        order_note(in, 'r', 1);
    }
    in->failed |= text.failed || all.failed;
    buf_free(&text);
    buf_free(&all);
    return 0;
}

static int item_read(struct reading *in, const json_t *item, struct error *err)
{
    static const struct {
        const char *type;
        int (*read)(struct reading *in, const json_t *item, struct error *err);
    } types[] = {{"message", message_read}, {"function_call", call_read},
        {"function_call_output", output_read}, {"reasoning", reasoning_read}};
    struct str type = json_text(item, "type");
    if (!json_is_object(item))
        return error_set(err, ERROR_INVALID, "must be an object");
    if (type.len == 0)
        return message_read(in, item, err);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (str_is(type, types[i].type))
            return types[i].read(in, item, err);
    return error_set(err, ERROR_UNSUPPORTED,
        "is of the type '" STR_FMT "', which no target here takes: send messages, reasoning and function "
        "calls",
        STR_ARG(str_slice(type, 0, 80)));
}

static int input_read(struct reading *in, const json_t *root, struct error *err)
{
    const json_t *input = json_object_get(root, "input"), *say = json_object_get(root, "instructions");
    if (say && !json_is_null(say) && !json_is_string(say))
        return error_set(err, ERROR_INVALID, "'instructions' must be a string");
    if (json_string_length(say) > 0 && content_read(in, say, message_begin(in, STR("system")), err))
        return err->code;
    if (json_is_string(input))
        return content_read(in, input, message_begin(in, STR("user")), err);
    size_t n = json_array_size(input);
    if (n == 0 || n > LIMIT_MESSAGES)
        return error_set(
            err, ERROR_INVALID, "'input' must be a string or a list of 1 to %d items", LIMIT_MESSAGES);
    for (size_t i = 0; i < n; i++)
        if (item_read(in, json_array_get(input, i), err))
            return error_wrap(err, "input[%zu]", i);
    return 0;
}

/* ---- Tools ---- */

static int tool_read(struct reading *in, const json_t *item, json_t *tools, struct error *err)
{
    static const char *const known[] = {"type", "name", "description", "parameters", "strict", NULL};
    struct str type = json_text(item, "type");
    if (!json_is_object(item) || type.len == 0)
        return error_set(err, ERROR_INVALID, "must be an object with a 'type'");
    if (str_is(type, "custom"))
        return error_set(err, ERROR_UNSUPPORTED,
            "no target here takes a tool of type 'custom': give a function with one text instead");
    if (!str_is(type, "function"))
        return error_set(err, ERROR_UNSUPPORTED,
            "'" STR_FMT "' is a tool that runs at OpenAI: give a function of your own instead",
            STR_ARG(str_slice(type, 0, 80)));
    int rc = api_read_only(item, known, err);
    if (rc)
        return rc;
    json_t *tool = append(in, tools);
    put_text(in, tool, "type", type);
    json_t *function = put_new(in, tool, "function", json_object());
    for (const char *const *k = known + 1; *k; k++)
        put_same(in, function, *k, item, *k);
    return 0;
}

static void named_put(struct reading *in, const json_t *tool, json_t *out)
{
    put_text(in, out, "type", STR("function"));
    json_t *function = put_new(in, out, "function", json_object());
    put_same(in, function, "name", tool, "name");
}

static void allowed_tools_put(struct reading *in, const json_t *choice, json_t *out)
{
    const json_t *list = json_object_get(choice, "tools");
    put_text(in, out, "type", STR("allowed_tools"));
    json_t *allowed = put_new(in, out, "allowed_tools", json_object());
    put_same(in, allowed, "mode", choice, "mode");
    json_t *tools = put_new(in, allowed, "tools", json_array());
    for (size_t i = 0; i < json_array_size(list); i++)
        named_put(in, json_array_get(list, i), append(in, tools));
}

static int tools_read(struct reading *in, const json_t *root, json_t *chat, struct error *err)
{
    const json_t *list = json_object_get(root, "tools"), *choice = json_object_get(root, "tool_choice");
    if (list && !json_is_null(list) && !json_is_array(list))
        return error_set(err, ERROR_INVALID, "'tools' must be an array");
    if (json_array_size(list) > 0) {
        json_t *tools = put_new(in, chat, "tools", json_array());
        for (size_t i = 0; i < json_array_size(list); i++)
            if (tool_read(in, json_array_get(list, i), tools, err))
                return error_wrap(err, "tools[%zu]", i);
    }
    if (!json_is_object(choice)) {
        put_same(in, chat, "tool_choice", root, "tool_choice");
        return 0;
    }
    if (str_is(json_text(choice, "type"), "allowed_tools")) {
        allowed_tools_put(in, choice, put_new(in, chat, "tool_choice", json_object()));
        return 0;
    }
    if (!str_is(json_text(choice, "type"), "function") || json_text(choice, "name").len == 0)
        return error_set(err, ERROR_UNSUPPORTED,
            "'tool_choice' must be auto, none, required or {\"type\":\"function\",\"name\":...}");
    named_put(in, choice, put_new(in, chat, "tool_choice", json_object()));
    return 0;
}

/* ---- Settings ---- */

static int text_read(struct reading *in, const json_t *root, json_t *chat, struct error *err)
{
    static const char *const known[] = {"format", "verbosity", NULL};
    static const char *const inner[] = {"type", "name", "description", "schema", "strict", NULL};
    const json_t *text = json_object_get(root, "text"), *format = json_object_get(text, "format");
    if (!text || json_is_null(text))
        return 0;
    if (!json_is_object(text) || api_read_only(text, known, err))
        return json_is_object(text) ? error_wrap(err, "text")
                                    : error_set(err, ERROR_INVALID, "'text' must be an object");
    put_same(in, chat, "verbosity", text, "verbosity");
    if (!format || json_is_null(format) || str_is(json_text(format, "type"), "text"))
        return 0;
    if (api_read_only(format, inner, err))
        return error_wrap(err, "text.format");
    json_t *out = put_new(in, chat, "response_format", json_object());
    put_same(in, out, "type", format, "type");
    if (str_is(json_text(format, "type"), "json_object"))
        return 0;
    if (!str_is(json_text(format, "type"), "json_schema") ||
        !json_is_object(json_object_get(format, "schema")))
        return error_set(err, ERROR_INVALID,
            "'text.format' must be of type text, json_object or json_schema, the last with a 'schema'");
    json_t *schema = put_new(in, out, "json_schema", json_object());
    for (const char *const *k = inner + 1; *k; k++)
        put_same(in, schema, *k, format, *k);
    return 0;
}

static int reasoning_settings_read(struct reading *in, const json_t *root, json_t *chat, struct error *err)
{
    static const char *const known[] = {"effort", "summary", "generate_summary", NULL};
    const json_t *reasoning = json_object_get(root, "reasoning");
    if (!reasoning || json_is_null(reasoning))
        return 0;
    if (!json_is_object(reasoning))
        return error_set(err, ERROR_INVALID, "'reasoning' must be an object");
    put_same(in, chat, "reasoning_effort", reasoning, "effort");
    return api_read_only(reasoning, known, err) ? error_wrap(err, "reasoning") : 0;
}

/* What no tool here makes is included in vain. */
static int include_read(struct reading *in, const json_t *root, json_t *chat, struct error *err)
{
    static const char *const known[] = {"message.output_text.logprobs", "reasoning.encrypted_content",
        "message.input_image.image_url", "file_search_call.results", "web_search_call.results",
        "web_search_call.action.sources", "code_interpreter_call.outputs",
        "computer_call_output.output.image_url"};
    enum { N_KNOWN = sizeof known / sizeof *known };
    const json_t *include = json_object_get(root, "include");
    int64_t top;
    int rc = json_get_int(root, "top_logprobs", 0, 0, CHAT_TOP_LOGPROBS_MAX, &top, err);
    bool logprobs = top > 0;
    for (size_t i = 0; i < json_array_size(include) && rc == 0; i++) {
        struct str name = json_str(json_array_get(include, i));
        size_t at = 0;
        while (at < N_KNOWN && !str_is(name, known[at]))
            at++;
        logprobs |= at == 0;
        if (at == N_KNOWN)
            rc = error_set(err, ERROR_INVALID, "include[%zu] is not known: leave it out", i);
    }
    if (logprobs && rc == 0) {
        put(in, chat, "logprobs", json_true());
        put(in, chat, "top_logprobs", json_integer(top));
    }
    return rc;
}

static int metadata_check(const json_t *root, struct error *err)
{
    const json_t *metadata = json_object_get(root, "metadata");
    const char *key;
    json_t *value;
    bool good = !metadata || json_is_null(metadata) || json_is_object(metadata);
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value)
    {
        good = good && json_is_string(value);
    }
    return good && json_object_size(metadata) <= 16
               ? 0
               : error_set(err, ERROR_INVALID, "'metadata' must be an object of at most 16 strings");
}

/* What is asked for and cannot be had at all. */
static int refuse(const json_t *root, struct error *err)
{
    bool flag;
    int64_t count;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)root, key, value)
    {
        const struct responses_member *m = responses_members;
        while (m->name && strcmp(m->name, key) != 0)
            m++;
        if (!m->name && !json_is_null(value))
            return error_set(
                err, ERROR_UNSUPPORTED, "'%.80s' cannot be honoured by any target here: leave it out", key);
    }
    int rc = json_get_bool(root, "background", false, &flag, err);
    if (rc == 0 && flag)
        rc = error_set(err, ERROR_UNSUPPORTED,
            "'background' cannot be true: ask for a stream, or send the requests as a batch");
    if (rc == 0)
        rc = json_get_bool(root, "store", false, &flag, err);
    if (rc == 0)
        rc = json_get_int(root, "max_tool_calls", 1, 1, INT32_MAX, &count, err);
    return rc ? rc : metadata_check(root, err);
}

static int chat_make(struct reading *in, const json_t *root, json_t *chat, struct error *err)
{
    static const char *const same[] = {"model", "temperature", "top_p", "parallel_tool_calls", "stream",
        "stream_options", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
        "service_tier", NULL};
    int rc = refuse(root, err);
    for (const char *const *k = same; *k && rc == 0; k++)
        put_same(in, chat, *k, root, *k);
    put_same(in, chat, "max_completion_tokens", root, "max_output_tokens");
    put_same(in, chat, "truncation", root, "truncation");
    put(in, chat, "messages", in->messages);
    if (rc == 0)
        rc = input_read(in, root, err);
    if (rc == 0)
        rc = tools_read(in, root, chat, err);
    if (rc == 0)
        rc = text_read(in, root, chat, err);
    if (rc == 0)
        rc = reasoning_settings_read(in, root, chat, err);
    if (rc == 0)
        rc = include_read(in, root, chat, err);
    return rc == 0 && in->failed ? error_set(err, ERROR_MEMORY, "no memory for the request") : rc;
}

/* What the words of chat completions cannot say. */
static int thoughts_take(struct reading *in, struct chat_request *r, struct error *err)
{
    struct chat_thought *all = arena_try_array(in->a, struct chat_thought, in->n_thoughts + 1);
    if (!all)
        return error_set(err, ERROR_MEMORY, "no memory for the request");
    for (size_t i = 0; i < in->n_thoughts; i++) {
        struct chat_message *m = &r->messages[in->thoughts[i].message];
        all[i] = in->thoughts[i].is;
        if (m->n_thoughts++ == 0)
            m->thoughts = &all[i];
    }
    for (size_t i = 0; i < r->n_messages; i++)
        if (r->messages[i].n_thoughts > 0 &&
            arena_try_copy(in->a, buf_str(&in->orders[i]), &r->messages[i].order))
            return error_set(err, ERROR_MEMORY, "no memory for the request");
    return 0;
}

int api_responses_read(struct arena *a, struct str body, struct chat_request **out, struct error *err)
{
    const json_t *root;
    int rc = api_body_read(a, body, &root, err);
    if (rc)
        return rc;
    size_t items = json_array_size(json_object_get(root, "input"));
    size_t most = (items < LIMIT_MESSAGES ? items : LIMIT_MESSAGES) + 2;
    json_t *chat = json_object();
    json_keep(a, chat);
    struct reading in = {.a = a,
        .messages = json_array(),
        .thoughts = arena_try_array(a, struct thought, most),
        .orders = arena_try_array(a, struct buf, most)};
    if (!chat || !in.messages || !in.thoughts || !in.orders) {
        json_decref(in.messages);
        return error_set(err, ERROR_MEMORY, "no memory for the request");
    }
    for (size_t i = 0; i < most; i++)
        buf_init(&in.orders[i], LIMIT_PARTS + 2 * LIMIT_MESSAGES);
    rc = chat_make(&in, root, chat, err);
    if (rc == 0)
        rc = api_openai_chat_tree_read(a, chat, out, err);
    if (rc == 0)
        rc = thoughts_take(&in, *out, err);
    for (size_t i = 0; i < most; i++)
        buf_free(&in.orders[i]);
    if (rc == 0)
        (*out)->asked = root;
    return rc;
}

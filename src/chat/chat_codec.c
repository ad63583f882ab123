#include "chat/chat_codec.h"

#include <string.h>

#include "base/limits.h"
#include "chat/chat_sampling.h"

/* ---- Writing: the gateway's side ---- */

/* Text alone is written as one string, the form that every chat template reads. */
static int content_write(struct json_writer *w, const struct chat_message *m, struct error *err)
{
    for (size_t i = 0; i < m->n_parts; i++)
        if (m->parts[i].kind != CHAT_PART_TEXT)
            return error_set(err, ERROR_UNSUPPORTED,
                "the local model reads text only: send images, audio and files to a model that takes them");
    struct str refusal = m->n_parts == 0 ? json_text(m->vendor, "refusal") : STR_NONE;
    if (refusal.len > 0) {
        json_write_str(w, refusal);
        return 0;
    }
    if (m->n_parts == 0 && m->n_tool_calls > 0) {
        json_write_null(w);
        return 0;
    }
    if (m->n_parts == 1) {
        json_write_str(w, m->parts[0].text);
        return 0;
    }
    struct buf joined;
    buf_init(&joined, LIMIT_WIRE_FRAME);
    for (size_t i = 0; i < m->n_parts; i++) {
        if (i > 0)
            buf_append_char(&joined, '\n');
        buf_append_str(&joined, m->parts[i].text);
    }
    int rc = joined.failed;
    if (rc)
        error_set(err, rc, "the message does not fit %zu bytes: shorten it", LIMIT_WIRE_FRAME);
    else
        json_write_str(w, buf_str(&joined));
    buf_free(&joined);
    return rc;
}

static void owner_write(struct json_writer *w, const char *key, uint64_t owner)
{
    if (owner == 0)
        return;
    json_member_int(w, key, (int64_t)(owner >> 1));
}

static void tool_calls_write(struct json_writer *w, const struct chat_message *m)
{
    json_key(w, "tool_calls");
    json_array_begin(w);
    for (size_t i = 0; i < m->n_tool_calls; i++) {
        const struct chat_tool_call *call = &m->tool_calls[i];
        json_object_begin(w);
        json_maybe_str(w, "id", call->id);
        json_member_str(w, "type", STR("function"));
        json_key(w, "function");
        json_object_begin(w);
        json_member_str(w, "name", call->name);
        json_member_str(w, "arguments", call->arguments);
        json_object_end(w);
        json_object_end(w);
    }
    json_array_end(w);
}

/* Under each name by which chat templates read it. Beside a text and calls, gpt-oss's takes no more than one
 * of text and "thinking". */
static void reasoning_write(struct json_writer *w, const struct chat_message *m)
{
    json_maybe_str(w, "reasoning_content", m->reasoning);
    json_maybe_str(w, "reasoning", m->reasoning);
    if (m->n_tool_calls == 0 || m->n_parts == 0)
        json_maybe_str(w, "thinking", m->reasoning);
}

static int message_write(struct json_writer *w, const struct chat_message *m, struct error *err)
{
    json_object_begin(w);
    json_member_text(w, "role", chat_role_name(m->role));
    json_key(w, "content");
    int rc = content_write(w, m, err);
    if (rc)
        return rc;
    json_maybe_str(w, "name", m->name);
    reasoning_write(w, m);
    json_maybe_str(w, "tool_call_id", m->tool_call_id);
    if (m->n_tool_calls > 0)
        tool_calls_write(w, m);
    json_object_end(w);
    return 0;
}

static void tool_write(struct json_writer *w, const struct chat_tool *t)
{
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
    if (json_is_true(json_object_get(json_object_get(t->raw, "function"), "strict")))
        json_member_bool(w, "strict", true);
    json_object_end(w);
    json_object_end(w);
}

/* By the names under which templates ask whether to reason; "low" for those that cannot leave it. */
static void effort_write(struct json_writer *w, struct str effort)
{
    static const char *const switches[] = {"enable_thinking", "thinking", "reasoning"};
    bool off = str_is(effort, "none") || str_is(effort, "minimal");
    json_maybe_str(w, "reasoning_effort", off ? STR("low") : effort);
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++)
        json_member_bool(w, switches[i], !off);
    if (!off)
        return;
    json_member_int(w, "thinking_budget", 0);
}

/* `reasoning_effort` and `chat_template_kwargs`, which the template reads; the latter win. */
static int thinking_write(struct json_writer *w, const struct chat_request *r, struct error *err)
{
    const json_t *kwargs = json_object_get(r->vendor, "chat_template_kwargs");
    struct str effort;
    size_t level;
    int rc = json_get_str(r->vendor, "reasoning_effort", &effort, err);
    if (rc == 0 && effort.len > 0)
        rc = chat_effort_read(effort, &level, err);
    if (rc)
        return rc;
    if (kwargs && !json_is_object(kwargs) && !json_is_null(kwargs))
        return error_set(err, ERROR_INVALID, "'chat_template_kwargs' must be an object");
    if (effort.len > 0)
        effort_write(w, effort);
    if (json_is_object(kwargs)) {
        json_key(w, "chat_template_kwargs");
        json_write_value(w, kwargs);
    }
    return 0;
}

static int body_write(struct json_writer *w, const struct chat_request *r, struct error *err)
{
    int rc = 0;
    json_key(w, "body");
    json_object_begin(w);
    json_key(w, "messages");
    json_array_begin(w);
    for (size_t i = 0; i < r->n_messages && rc == 0; i++)
        rc = message_write(w, &r->messages[i], err);
    json_array_end(w);
    /* Told not to call tools, a model is not shown any. */
    if (r->n_tools > 0 && r->tool_choice != CHAT_TOOLS_NONE) {
        json_key(w, "tools");
        json_array_begin(w);
        for (size_t i = 0; i < r->n_tools; i++)
            tool_write(w, &r->tools[i]);
        json_array_end(w);
    }
    if (rc == 0)
        rc = thinking_write(w, r, err);
    json_object_end(w);
    return rc;
}

static void prompt_write(struct json_writer *w, const struct chat_request *r)
{
    json_key(w, r->prompt_ids ? "prompt_ids" : "prompt");
    if (r->prompt_ids) {
        json_array_begin(w);
        for (size_t i = 0; i < r->n_prompt_ids; i++)
            json_write_int(w, r->prompt_ids[i]);
        json_array_end(w);
    } else {
        json_write_str(w, r->prompt);
    }
    json_maybe_str(w, "suffix", r->suffix);
}

/* How long, how drawn, what comes with it. */
static void numbers_write(struct json_writer *w, const struct chat_request *r)
{
    json_key(w, "sampling");
    json_object_begin(w);
    chat_sampling_write(&r->sampling, w);
    json_object_end(w);
    json_maybe_int(w, "max_tokens", r->max_tokens);
    json_maybe_int(w, "logprobs", r->logprobs ? r->top_logprobs : -1);
    json_maybe_int(w, "measure", r->measure > 0 ? r->measure : -1);
    if (r->measure_prompt)
        json_member_bool(w, "measure_prompt", true);
    if (r->context_shift) {
        json_member_bool(w, "context_shift", true);
        json_maybe_int(w, "n_keep", r->n_keep);
    }
    if (r->truncation)
        json_member_bool(w, "truncation", true);
}

static int format_read(const json_t *format, const json_t **schema, struct error *err)
{
    struct str type;
    if (!json_is_object(format))
        return error_set(err, ERROR_INVALID, "'response_format' must be an object");
    int rc = json_get_str(format, "type", &type, err);
    if (rc)
        return rc;
    if (str_is(type, "text") && json_object_size(format) == 1)
        return 0;
    const json_t *named = json_object_get(format, "json_schema");
    *schema =
        str_is(type, "json_object") ? json_object_get(format, "schema") : json_object_get(named, "schema");
    if (str_is(type, "json_object") || (str_is(type, "json_schema") && json_is_object(*schema)))
        return 0;
    if (str_is(type, "json_schema"))
        return error_set(err, ERROR_INVALID, "'response_format.json_schema.schema' must be a JSON schema");
    return error_set(err, ERROR_UNSUPPORTED,
        "the local model cannot honour 'response_format' as it is given: its type is text, json_object or "
        "json_schema");
}

int chat_constraint_read(
    const struct chat_request *r, struct str *grammar, const json_t **schema, struct error *err)
{
    const json_t *format = json_object_get(r->vendor, "response_format");
    *schema = NULL;
    int rc = json_get_str(r->vendor, "grammar", grammar, err);
    if (grammar->len == 0)
        *grammar = STR_NONE;
    if (rc == 0 && format && !json_is_null(format))
        rc = format_read(format, schema, err);
    const bool json = *schema || str_is(json_text(format, "type"), "json_object");
    if (rc == 0 && json && grammar->data)
        rc = error_set(err, ERROR_INVALID, "'grammar' and 'response_format' are given: send one of them");
    return rc;
}

static int constraint_write(struct json_writer *w, const struct chat_request *r, struct error *err)
{
    struct str grammar;
    const json_t *schema, *format = json_object_get(r->vendor, "response_format");
    int rc = chat_constraint_read(r, &grammar, &schema, err);
    if (rc)
        return rc;
    if (grammar.data) {
        json_member_str(w, "grammar", grammar);
    } else if (schema || str_is(json_text(format, "type"), "json_object")) {
        json_key(w, "schema");
        if (schema)
            json_write_value(w, schema);
        else
            json_write_raw(w, STR("{\"type\":\"object\"}"));
    }
    return 0;
}

static int prediction_bad(struct error *err)
{
    return error_set(err, ERROR_INVALID,
        "'prediction' must be {\"type\":\"content\",\"content\":...}, a text or a list of parts of type "
        "text");
}

int chat_prediction_read(const struct chat_request *r, struct str *text, struct error *err)
{
    const json_t *given = json_object_get(r->vendor, "prediction"),
                 *content = json_object_get(given, "content");
    struct buf joined;
    *text = STR_NONE;
    if (!given || json_is_null(given))
        return 0;
    if (!str_is(json_text(given, "type"), "content") || (!json_is_string(content) && !json_is_array(content)))
        return prediction_bad(err);
    if (json_is_string(content)) {
        *text = json_str(content);
        return 0;
    }
    buf_init(&joined, LIMIT_WIRE_FRAME);
    int rc = 0;
    for (size_t i = 0; i < json_array_size(content) && rc == 0; i++) {
        const json_t *part = json_array_get(content, i);
        if (str_is(json_text(part, "type"), "text"))
            buf_append_str(&joined, json_text(part, "text"));
        else
            rc = prediction_bad(err);
    }
    if (rc == 0 && joined.failed)
        rc = error_set(
            err, joined.failed, "'prediction' does not fit %zu bytes: shorten it", LIMIT_WIRE_FRAME);
    *text = rc == 0 ? arena_copy(r->arena, buf_str(&joined)) : STR_NONE;
    buf_free(&joined);
    return rc;
}

static int prediction_write(struct json_writer *w, const struct chat_request *r, struct error *err)
{
    struct str text;
    int rc = chat_prediction_read(r, &text, err);
    if (rc == 0)
        json_maybe_str(w, "prediction", text);
    return rc;
}

int chat_codec_write(const struct chat_request *r, struct buf *out, struct error *err)
{
    struct json_writer w;
    int rc = 0;
    json_writer_init(&w, out);
    json_object_begin(&w);
    if (r->has_prompt) {
        prompt_write(&w, r);
    } else {
        rc = body_write(&w, r, err);
        if (rc)
            return rc;
    }
    rc = constraint_write(&w, r, err);
    rc = rc ? rc : prediction_write(&w, r, err);
    if (rc)
        return rc;
    const json_t *lora = json_object_get(r->vendor, "lora");
    if (lora) {
        json_key(&w, "lora");
        json_write_value(&w, lora);
    }
    if (r->tool_choice == CHAT_TOOLS_REQUIRED || r->tool_choice == CHAT_TOOLS_NAMED)
        json_member_bool(&w, "must_call", true);
    if (r->parallel_tool_calls == 0 && r->n_tools > 0 && r->tool_choice != CHAT_TOOLS_NONE)
        json_member_bool(&w, "one_call", true);
    if (r->tool_choice == CHAT_TOOLS_NAMED)
        json_maybe_str(&w, "call_name", r->tool_choice_name);
    numbers_write(&w, r);
    owner_write(&w, "asker", r->asker);
    owner_write(&w, "scope", r->scope);
    chat_stops_write(&w, "stop", r);
    json_object_end(&w);
    if (out->failed)
        return error_set(err, out->failed,
            "the request does not fit the local model's input of %zu bytes: shorten it", out->max);
    return 0;
}

/* ---- Reading: the worker's side. The payload is not trusted. ---- */

static int sampling_read(struct arena *a, const json_t *o, struct chat_sampling *s, struct error *err)
{
    chat_sampling_init(s);
    if (!o)
        return 0;
    if (!json_is_object(o))
        return error_set(err, ERROR_INVALID, "'sampling' must be an object");
    return chat_sampling_read(a, o, s, err);
}

static int prompt_read(const json_t *root, struct chat_work *out, struct error *err)
{
    const json_t *ids = json_object_get(root, "prompt_ids");
    int rc = json_get_str(root, "prompt", &out->prompt, err);
    if (rc == 0)
        rc = json_get_str(root, "suffix", &out->suffix, err);
    if (rc == 0 && ids && !json_is_array(ids))
        rc = error_set(err, ERROR_INVALID, "'prompt_ids' must be a list");
    for (size_t i = 0; i < json_array_size(ids) && rc == 0; i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
            rc = error_set(err, ERROR_INVALID, "prompt_ids[%zu] is no token id", i);
    }
    out->prompt_ids = ids;
    return rc;
}

static int numbers_read(struct arena *a, const json_t *root, struct chat_work *out, struct error *err)
{
    int rc = sampling_read(a, json_object_get(root, "sampling"), &out->sampling, err);
    if (rc == 0)
        rc = json_get_int(root, "max_tokens", -1, 0, INT32_MAX, &out->max_tokens, err);
    if (rc == 0)
        rc = json_get_int(root, "logprobs", -1, 0, CHAT_TOP_LOGPROBS_MAX, &out->logprobs, err);
    if (rc == 0)
        rc = json_get_int(root, "measure", 0, 0, CHAT_MEASURE_MAX, &out->measure, err);
    if (rc == 0)
        rc = json_get_bool(root, "measure_prompt", false, &out->measure_prompt, err);
    if (rc == 0)
        rc = json_get_int(root, "asker", 0, 0, INT64_MAX, &out->asker, err);
    if (rc == 0)
        rc = json_get_int(root, "scope", 0, 0, INT64_MAX, &out->scope, err);
    if (rc == 0)
        rc = json_get_bool(root, "context_shift", false, &out->context_shift, err);
    if (rc == 0)
        rc = json_get_bool(root, "truncation", false, &out->truncation, err);
    return rc ? rc : json_get_int(root, "n_keep", -1, 0, INT32_MAX, &out->n_keep, err);
}

static int stops_read(struct arena *a, const json_t *list, struct chat_work *out, struct error *err)
{
    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list) || json_array_size(list) > LIMIT_STOPS)
        return error_set(err, ERROR_INVALID, "'stop' must be a list of at most %d strings", LIMIT_STOPS);
    out->stops = arena_try_array(a, struct str, json_array_size(list));
    if (!out->stops)
        return error_set(err, ERROR_MEMORY, "no memory for the stop strings: send fewer");
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct str stop = json_str(json_array_get(list, i));
        if (stop.len == 0 || stop.len > 1024)
            return error_set(err, ERROR_INVALID, "stop string %zu must be a text of 1 to 1024 bytes", i);
        out->stops[out->n_stops++] = stop;
    }
    return 0;
}

static int messages_check(const json_t *body, struct error *err)
{
    const json_t *messages = json_object_get(body, "messages");
    if (!json_is_object(body) || !json_is_array(messages))
        return error_set(err, ERROR_INVALID, "'body' must be an object with a list 'messages'");
    if (json_array_size(messages) > LIMIT_MESSAGES)
        return error_set(err, ERROR_LIMIT, "more than %d messages: send fewer", LIMIT_MESSAGES);
    for (size_t i = 0; i < json_array_size(messages); i++)
        if (!json_is_object(json_array_get(messages, i)))
            return error_set(err, ERROR_INVALID, "messages[%zu] must be an object", i);
    return 0;
}

int chat_codec_read(struct arena *a, struct str payload, struct chat_work *out, struct error *err)
{
    json_t *root;
    memset(out, 0, sizeof *out);
    int rc = json_read_in(a, payload, &root, err);
    if (rc)
        return rc;
    if (!json_is_object(root))
        return error_set(err, ERROR_INVALID, "the request must be a JSON object");
    const json_t *body = json_object_get(root, "body");
    const json_t *prompt = json_object_get(root, "prompt"), *ids = json_object_get(root, "prompt_ids");
    if ((body != NULL) + (prompt != NULL) + (ids != NULL) != 1)
        return error_set(
            err, ERROR_INVALID, "the request must have one of 'body', 'prompt' and 'prompt_ids'");
    if (body) {
        out->body = body;
        rc = messages_check(body, err);
    } else {
        rc = prompt_read(root, out, err);
    }
    if (rc == 0)
        rc = numbers_read(a, root, out, err);
    if (rc == 0)
        rc = stops_read(a, json_object_get(root, "stop"), out, err);
    if (rc == 0)
        rc = json_get_str(root, "prediction", &out->prediction, err);
    if (rc == 0)
        rc = json_get_str(root, "grammar", &out->grammar, err);
    if (rc == 0)
        rc = json_get_bool(root, "must_call", false, &out->must_call, err);
    if (rc == 0)
        rc = json_get_bool(root, "one_call", false, &out->one_call, err);
    if (rc == 0)
        rc = json_get_str(root, "call_name", &out->call_name, err);
    out->lora = json_object_get(root, "lora");
    out->schema = json_object_get(root, "schema");
    if (rc == 0 && out->grammar.data && (out->schema || out->must_call))
        rc = error_set(
            err, ERROR_INVALID, "the request must not have 'grammar' beside 'schema' or 'must_call'");
    return rc;
}

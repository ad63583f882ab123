#include "chat/chat_codec.h"

#include <math.h>
#include <string.h>

#include "base/limits.h"

/* ---- Writing: the gateway's side ---- */

/* Text alone is written as one string, the form that every chat template reads. */
static int content_write(struct json_writer *w, const struct chat_message *m, struct error *err)
{
    for (size_t i = 0; i < m->n_parts; i++)
        if (m->parts[i].kind != CHAT_PART_TEXT)
            return error_set(err, ERROR_UNSUPPORTED,
                "the local model reads text only: send images, audio and files to a model that takes them");
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

static void member_write(struct json_writer *w, const char *key, struct str value)
{
    if (value.len == 0)
        return;
    json_key(w, key);
    json_write_str(w, value);
}

static void tool_calls_write(struct json_writer *w, const struct chat_message *m)
{
    json_key(w, "tool_calls");
    json_array_begin(w);
    for (size_t i = 0; i < m->n_tool_calls; i++) {
        const struct chat_tool_call *call = &m->tool_calls[i];
        json_object_begin(w);
        member_write(w, "id", call->id);
        json_key(w, "type");
        json_write_str(w, STR("function"));
        json_key(w, "function");
        json_object_begin(w);
        json_key(w, "name");
        json_write_str(w, call->name);
        json_key(w, "arguments");
        json_write_str(w, call->arguments);
        json_object_end(w);
        json_object_end(w);
    }
    json_array_end(w);
}

static int message_write(struct json_writer *w, const struct chat_message *m, struct error *err)
{
    json_object_begin(w);
    json_key(w, "role");
    json_write_text(w, chat_role_name(m->role));
    json_key(w, "content");
    int rc = content_write(w, m, err);
    if (rc)
        return rc;
    member_write(w, "name", m->name);
    member_write(w, "reasoning_content", m->reasoning);
    member_write(w, "tool_call_id", m->tool_call_id);
    if (m->n_tool_calls > 0)
        tool_calls_write(w, m);
    json_object_end(w);
    return 0;
}

static void tool_write(struct json_writer *w, const struct chat_tool *t)
{
    json_object_begin(w);
    json_key(w, "type");
    json_write_str(w, STR("function"));
    json_key(w, "function");
    json_object_begin(w);
    json_key(w, "name");
    json_write_str(w, t->name);
    member_write(w, "description", t->description);
    if (t->parameters) {
        json_key(w, "parameters");
        json_write_value(w, t->parameters);
    }
    json_object_end(w);
    json_object_end(w);
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
    json_object_end(w);
    return rc;
}

static void number_write(struct json_writer *w, const char *key, double value)
{
    if (!isfinite(value))
        return;
    json_key(w, key);
    json_write_double(w, value);
}

static void count_write(struct json_writer *w, const char *key, int64_t value)
{
    if (value < 0)
        return;
    json_key(w, key);
    json_write_int(w, value);
}

static void sampling_write(struct json_writer *w, const struct chat_sampling *s)
{
    json_key(w, "sampling");
    json_object_begin(w);
    number_write(w, "temperature", s->temperature);
    count_write(w, "top_k", s->top_k);
    number_write(w, "top_p", s->top_p);
    number_write(w, "min_p", s->min_p);
    number_write(w, "repeat_penalty", s->repeat_penalty);
    count_write(w, "repeat_last_n", s->repeat_last_n);
    number_write(w, "presence_penalty", s->presence_penalty);
    number_write(w, "frequency_penalty", s->frequency_penalty);
    if (s->has_seed) {
        json_key(w, "seed");
        json_write_int(w, s->seed);
    }
    json_object_end(w);
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
    if (rc == 0 && *schema && grammar->data)
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
        json_key(w, "grammar");
        json_write_str(w, grammar);
    } else if (schema || str_is(json_str(json_object_get(format, "type")), "json_object")) {
        json_key(w, "schema");
        if (schema)
            json_write_value(w, schema);
        else
            json_write_raw(w, STR("{\"type\":\"object\"}"));
    }
    return 0;
}

int chat_codec_write(const struct chat_request *r, struct buf *out, struct error *err)
{
    struct json_writer w;
    int rc = 0;
    json_writer_init(&w, out);
    json_object_begin(&w);
    if (r->has_prompt) {
        json_key(&w, "prompt");
        json_write_str(&w, r->prompt);
    } else {
        rc = body_write(&w, r, err);
        if (rc)
            return rc;
    }
    rc = constraint_write(&w, r, err);
    if (rc)
        return rc;
    if (r->tool_choice == CHAT_TOOLS_REQUIRED || r->tool_choice == CHAT_TOOLS_NAMED) {
        json_key(&w, "must_call");
        json_write_bool(&w, true);
    }
    if (r->tool_choice == CHAT_TOOLS_NAMED)
        member_write(&w, "call_name", r->tool_choice_name);
    sampling_write(&w, &r->sampling);
    count_write(&w, "max_tokens", r->max_tokens);
    if (r->n_stops > 0) {
        json_key(&w, "stop");
        json_array_begin(&w);
        for (size_t i = 0; i < r->n_stops; i++)
            json_write_str(&w, r->stops[i]);
        json_array_end(&w);
    }
    json_object_end(&w);
    if (out->failed)
        return error_set(err, out->failed,
            "the request does not fit the local model's input of %zu bytes: shorten it", out->max);
    return 0;
}

/* ---- Reading: the worker's side. The payload is not trusted. ---- */

static int sampling_read(const json_t *o, struct chat_sampling *s, struct error *err)
{
    chat_sampling_init(s);
    if (!o)
        return 0;
    if (!json_is_object(o))
        return error_set(err, ERROR_INVALID, "'sampling' must be an object");
    struct {
        const char *key;
        double least, most, *to;
    } numbers[] = {
        {"temperature", 0, 100, &s->temperature},
        {"top_p", 0, 1, &s->top_p},
        {"min_p", 0, 1, &s->min_p},
        {"repeat_penalty", 0.01, 100, &s->repeat_penalty},
        {"presence_penalty", -100, 100, &s->presence_penalty},
        {"frequency_penalty", -100, 100, &s->frequency_penalty},
    };
    int rc = 0;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && rc == 0; i++)
        rc = json_get_double(o, numbers[i].key, NAN, numbers[i].least, numbers[i].most, numbers[i].to, err);
    if (rc == 0)
        rc = json_get_int(o, "top_k", -1, 0, INT32_MAX, &s->top_k, err);
    if (rc == 0)
        rc = json_get_int(o, "repeat_last_n", -1, 0, INT32_MAX, &s->repeat_last_n, err);
    if (rc == 0)
        rc = json_get_int(o, "seed", 0, INT64_MIN, INT64_MAX, &s->seed, err);
    const json_t *seed = json_object_get(o, "seed");
    s->has_seed = seed && !json_is_null(seed);
    return rc;
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
    const json_t *prompt = json_object_get(root, "prompt");
    if (!body == !prompt)
        return error_set(err, ERROR_INVALID, "the request must have either 'body' or 'prompt'");
    if (body) {
        out->body = body;
        rc = messages_check(body, err);
    } else {
        rc = json_get_str(root, "prompt", &out->prompt, err);
    }
    if (rc == 0)
        rc = sampling_read(json_object_get(root, "sampling"), &out->sampling, err);
    if (rc == 0)
        rc = json_get_int(root, "max_tokens", -1, 0, INT32_MAX, &out->max_tokens, err);
    if (rc == 0)
        rc = stops_read(a, json_object_get(root, "stop"), out, err);
    if (rc == 0)
        rc = json_get_str(root, "grammar", &out->grammar, err);
    if (rc == 0)
        rc = json_get_bool(root, "must_call", false, &out->must_call, err);
    if (rc == 0)
        rc = json_get_str(root, "call_name", &out->call_name, err);
    out->schema = json_object_get(root, "schema");
    if (rc == 0 && (out->schema != NULL) + (out->grammar.data != NULL) + out->must_call > 1)
        rc = error_set(err, ERROR_INVALID,
            "the request must not have more than one of 'grammar', 'schema' and 'must_call'");
    return rc;
}

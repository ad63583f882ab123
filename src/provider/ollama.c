/* Asking in Ollama's shape: POST /api/chat, and /api/generate for a text that is continued as it stands.
 * Source: Ollama's docs/api.md and api/types.go (August 2026).
 *
 * A request that came in this shape keeps its options and members as they are; another's are said in these
 * words or refused by name. */
#include "provider/dialect.h"

#include <math.h>

#include "base/limits.h"
#include "chat/chat_sampling.h"
#include "chat/chat_tokens.h"

static const char vendor[] = "Ollama";

/* ---- Can it? ---- */

/* Asked for in OpenAI's words and said below in others. */
static const char *const honoured[] = {"response_format", "reasoning_effort", NULL};

static const char *const known[] = {"suffix", "context_shift", "logprobs", "temperature", "top_k", "top_p",
    "min_p", "typical_p", "repeat_last_n", "repeat_penalty", "presence_penalty", "frequency_penalty", NULL};

static bool is_ours(const struct chat_request *r)
{
    return r->shape == CHAT_SHAPE_OLLAMA;
}

static int check_format(const struct chat_request *r, struct error *err)
{
    const json_t *format = json_object_get(r->vendor, "response_format");
    struct str type = json_text(format, "type");
    if (!provider_asks(r->vendor, "response_format") || str_is(type, "text") || str_is(type, "json_object"))
        return 0;
    if (str_is(type, "json_schema") &&
        json_is_object(json_object_get(json_object_get(format, "json_schema"), "schema")))
        return 0;
    return error_set(err, ERROR_UNSUPPORTED,
        "'response_format' must be text, json_object, or json_schema with a 'schema', for Ollama");
}

static int check_tools(const struct chat_request *r, struct error *err)
{
    if (r->n_tools == 0 || r->tool_choice == CHAT_TOOLS_NONE)
        return 0;
    if (r->tool_choice == CHAT_TOOLS_REQUIRED || r->tool_choice == CHAT_TOOLS_NAMED)
        return error_set(err, ERROR_UNSUPPORTED,
            "Ollama has no 'tool_choice' other than auto and none: leave it out or choose another model");
    if (r->parallel_tool_calls == 0)
        return error_set(err, ERROR_UNSUPPORTED,
            "Ollama has no 'parallel_tool_calls': false: leave it out or choose another model");
    return 0;
}

static int check_parts(const struct chat_message *m, size_t index, struct error *err)
{
    struct str type, data;
    for (size_t i = 0; i < m->n_parts; i++) {
        const struct chat_part *p = &m->parts[i];
        if (p->kind == CHAT_PART_TEXT)
            continue;
        if (p->kind != CHAT_PART_IMAGE)
            return error_set(err, ERROR_UNSUPPORTED,
                "messages[%zu] holds a part that Ollama does not take: send text and images", index);
        if (!provider_data_url(p->url, &type, &data))
            return error_set(err, ERROR_UNSUPPORTED,
                "messages[%zu] names an image by its URL, which Ollama does not fetch: send it as "
                "data:…;base64,",
                index);
    }
    return 0;
}

static int ollama_supports(const struct provider_model *m, const struct chat_request *r, struct error *err)
{
    (void)m;
    const char *beyond = is_ours(r) ? NULL : provider_beyond(r, known);
    int rc = r->count_only ? provider_refuse(vendor, "count_tokens", err)
                           : provider_check_members(vendor, CHAT_SHAPE_OLLAMA, honoured, r, err);
    if (rc == 0 && beyond)
        rc = provider_refuse(vendor, beyond, err);
    if (rc == 0)
        rc = check_format(r, err);
    if (rc == 0)
        rc = check_tools(r, err);
    for (size_t i = 0; i < r->n_messages && rc == 0; i++)
        rc = check_parts(&r->messages[i], i, err);
    return rc;
}

/* ---- Messages ---- */

/* Ollama's messages have one text. */
static void write_text(struct json_writer *w, const char *key, const struct chat_message *m)
{
    struct buf joined;
    size_t texts = 0;
    buf_init(&joined, 2 * LIMIT_HTTP_BODY);
    for (size_t i = 0; i < m->n_parts; i++) {
        if (m->parts[i].kind != CHAT_PART_TEXT)
            continue;
        if (texts++ > 0)
            buf_append_char(&joined, '\n');
        buf_append_str(&joined, m->parts[i].text);
    }
    if (texts == 0)
        buf_append_str(&joined, json_text(m->vendor, "refusal"));
    json_member_str(w, key, buf_str(&joined));
    if (joined.failed)
        w->buf->failed = joined.failed;
    buf_free(&joined);
}

static void write_images(struct json_writer *w, const struct chat_message *m)
{
    struct str type, data;
    bool begun = false;
    for (size_t i = 0; i < m->n_parts; i++) {
        if (m->parts[i].kind != CHAT_PART_IMAGE || !provider_data_url(m->parts[i].url, &type, &data))
            continue;
        if (!begun) {
            json_key(w, "images");
            json_array_begin(w);
        }
        begun = true;
        json_write_str(w, data);
    }
    if (begun)
        json_array_end(w);
}

static int write_tool_calls(struct json_writer *w, const struct chat_message *m, struct error *err)
{
    int rc = 0;
    if (m->n_tool_calls == 0)
        return 0;
    json_key(w, "tool_calls");
    json_array_begin(w);
    for (size_t i = 0; i < m->n_tool_calls && rc == 0; i++) {
        struct str arguments;
        rc = provider_arguments(&m->tool_calls[i], &arguments, err);
        json_object_begin(w);
        json_maybe_str(w, "id", m->tool_calls[i].id);
        json_key(w, "function");
        json_object_begin(w);
        json_member_str(w, "name", m->tool_calls[i].name);
        json_key(w, "arguments");
        json_write_raw(w, rc == 0 ? arguments : STR("{}"));
        json_object_end(w);
        json_object_end(w);
    }
    json_array_end(w);
    return rc;
}

/* Which tool a result is of; Ollama goes by its name. */
static struct str tool_name(const struct chat_request *r, size_t at)
{
    const struct chat_message *m = &r->messages[at];
    if (m->name.len > 0)
        return m->name;
    for (size_t i = at; i-- > 0;)
        for (size_t k = 0; k < r->messages[i].n_tool_calls; k++)
            if (str_eq(r->messages[i].tool_calls[k].id, m->tool_call_id))
                return r->messages[i].tool_calls[k].name;
    return STR_NONE;
}

static int write_message(struct json_writer *w, const struct chat_request *r, size_t at, struct error *err)
{
    const struct chat_message *m = &r->messages[at];
    const char *key;
    json_t *value;
    json_object_begin(w);
    json_member_str(
        w, "role", provider_is_instruction(m) ? STR("system") : str_from(chat_role_name(m->role)));
    write_text(w, "content", m);
    write_images(w, m);
    json_maybe_str(w, "thinking", m->reasoning);
    int rc = write_tool_calls(w, m, err);
    if (m->role == CHAT_TOOL) {
        json_member_str(w, "tool_name", tool_name(r, at));
        json_member_str(w, "tool_call_id", m->tool_call_id);
    }
    json_object_foreach(is_ours(r) ? (json_t *)(uintptr_t)m->vendor : NULL, key, value)
    {
        json_key(w, key);
        json_write_value(w, value);
    }
    json_object_end(w);
    return rc;
}

/* ---- Settings ---- */

static void write_tools(struct json_writer *w, const struct chat_request *r)
{
    if (r->n_tools == 0 || r->tool_choice == CHAT_TOOLS_NONE)
        return;
    json_key(w, "tools");
    json_array_begin(w);
    for (size_t i = 0; i < r->n_tools; i++) {
        const struct chat_tool *t = &r->tools[i];
        if (is_ours(r) && t->raw) {
            chat_tool_write(w, t);
            continue;
        }
        json_object_begin(w);
        json_member_str(w, "type", STR("function"));
        json_key(w, "function");
        json_object_begin(w);
        json_member_str(w, "name", t->name);
        json_maybe_str(w, "description", t->description);
        json_key(w, "parameters");
        if (t->parameters)
            json_write_value(w, t->parameters);
        else
            json_write_raw(w, STR("{\"type\":\"object\",\"properties\":{}}"));
        json_object_end(w);
        json_object_end(w);
    }
    json_array_end(w);
}

static void write_options(struct json_writer *w, const struct chat_request *r)
{
    json_key(w, "options");
    json_object_begin(w);
    chat_sampling_write(&r->sampling, w);
    json_maybe_int(w, "num_predict", r->max_tokens);
    json_maybe_int(w, "num_keep", r->n_keep);
    chat_stops_write(w, "stop", r);
    json_object_end(w);
}

static void write_format(struct json_writer *w, const json_t *format)
{
    struct str type = json_text(format, "type");
    if (str_is(type, "json_object")) {
        json_member_str(w, "format", STR("json"));
    } else if (str_is(type, "json_schema")) {
        json_key(w, "format");
        json_write_value(w, json_object_get(json_object_get(format, "json_schema"), "schema"));
    }
}

/* It knows three words for how much. */
static const char *think_of(struct str effort)
{
    if (str_is(effort, "minimal") || str_is(effort, "low"))
        return "low";
    return str_is(effort, "medium") ? "medium" : "high";
}

static void write_settings(struct json_writer *w, const struct chat_request *r)
{
    struct str effort = json_text(r->vendor, "reasoning_effort");
    const char *key;
    json_t *value;
    json_object_foreach(is_ours(r) ? (json_t *)(uintptr_t)r->native : NULL, key, value)
    {
        json_key(w, key);
        json_write_value(w, value);
    }
    if (is_ours(r))
        return;
    write_options(w, r);
    write_format(w, json_object_get(r->vendor, "response_format"));
    if (str_is(effort, "none"))
        json_member_bool(w, "think", false);
    else if (effort.len > 0)
        json_member_text(w, "think", think_of(effort));
    if (r->context_shift)
        json_member_bool(w, "shift", true);
    if (r->logprobs) {
        json_member_bool(w, "logprobs", true);
        json_maybe_int(w, "top_logprobs", r->top_logprobs);
    }
}

/* ---- The request ---- */

/* What only /api/generate has a word for. */
static bool is_generate(const struct chat_request *r)
{
    return r->has_prompt ||
           (is_ours(r) && (provider_asks(r->native, "template") || provider_asks(r->native, "context")));
}

static void write_generate(struct json_writer *w, const struct chat_request *r)
{
    if (r->has_prompt) {
        json_member_str(w, "prompt", r->prompt.data ? r->prompt : STR(""));
        json_maybe_str(w, "suffix", r->suffix);
        if (!is_ours(r) && r->suffix.len == 0) {
            json_member_bool(w, "raw", true);
        }
        return;
    }
    const struct chat_message *last = &r->messages[r->n_messages - 1];
    if (r->n_messages > 1)
        write_text(w, "system", &r->messages[0]);
    write_text(w, "prompt", last);
    write_images(w, last);
}

static int ollama_encode(
    const struct provider_model *m, const struct chat_request *r, struct buf *out, struct error *err)
{
    struct json_writer w;
    int rc = ollama_supports(m, r, err);
    if (rc)
        return rc;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_member_str(&w, "model", m->model);
    json_member_bool(&w, "stream", r->stream);
    write_settings(&w, r);
    if (is_generate(r)) {
        write_generate(&w, r);
    } else {
        write_tools(&w, r);
        json_key(&w, "messages");
        json_array_begin(&w);
        for (size_t i = 0; i < r->n_messages && rc == 0; i++)
            rc = write_message(&w, r, i, err);
        json_array_end(&w);
    }
    json_object_end(&w);
    return rc ? rc : provider_written(out, err);
}

/* ---- The answer: a JSON object a line ---- */

static int take_call(struct provider_answer *a, const struct json_item *call, struct error *err)
{
    const struct json_item *function = json_item_get(call, "function");
    return provider_answer_call(a, json_item_text(call, "id"), json_item_text(function, "name"),
        json_item_get(function, "arguments"), err);
}

/* Text with the log-probabilities of its tokens, where there are any; those of thoughts are not asked for. */
static int take_text(
    struct provider_answer *a, struct str text, const struct json_item *logprobs, struct error *err)
{
    if (text.len > 0 && json_item_is(logprobs, JSON_ITEM_ARRAY))
        return provider_answer_logprobs(a, text, logprobs, chat_tokens_read, err);
    provider_answer_text(a, text);
    return 0;
}

static int64_t count_or_zero(const struct json_item *object, const char *key)
{
    int64_t n = provider_item_count(object, key);
    return n < 0 ? 0 : n;
}

static void take_end(struct provider_answer *a, const struct json_item *event)
{
    /* A prompt that was cached whole is left out of the counts. */
    provider_answer_usage(
        a, &(struct chat_usage){.input_tokens = provider_item_count(event, "prompt_eval_count"),
               .output_tokens = provider_item_count(event, "eval_count"),
               .load_ns = count_or_zero(event, "load_duration"),
               .prefill_ns = count_or_zero(event, "prompt_eval_duration"),
               .decode_ns = count_or_zero(event, "eval_duration")});
    provider_answer_stop(
        a, str_is(json_item_text(event, "done_reason"), "length") ? CHAT_STOP_LENGTH : CHAT_STOP_END);
    provider_answer_end(a);
}

int provider_ollama_event(struct provider_answer *a, const struct json_item *event, struct error *err)
{
    const struct json_item *message = json_item_get(event, "message"),
                           *calls = json_item_get(message, "tool_calls");
    const struct json_item *words = json_item_is(message, JSON_ITEM_OBJECT) ? message : event;
    bool done = json_item_is(json_item_get(event, "done"), JSON_ITEM_TRUE);
    if (!done && !json_item_is(json_item_get(event, "done"), JSON_ITEM_FALSE))
        return error_set(err, ERROR_INVALID, "a line of it has no 'done'");
    provider_answer_start(a, STR_NONE, json_item_text(event, "model"));
    provider_answer_reasoning(a, json_item_text(words, "thinking"));
    int rc = take_text(a, json_item_text(words, words == message ? "content" : "response"),
        json_item_get(event, "logprobs"), err);
    if (calls && !json_item_is(calls, JSON_ITEM_NULL) && !json_item_is(calls, JSON_ITEM_ARRAY))
        return error_set(err, ERROR_INVALID, "its 'tool_calls' is no list");
    json_item_each(call, calls)
        rc = rc ? rc : take_call(a, call, err);
    if (rc == 0 && done)
        take_end(a, event);
    return rc;
}

/* ---- The dialect ---- */

static struct str ollama_path(struct arena *a, const struct provider_model *m, const struct chat_request *r)
{
    (void)a;
    (void)m;
    return is_generate(r) ? STR("/api/generate") : STR("/api/chat");
}

static size_t ollama_headers(
    struct arena *a, const struct provider *p, const struct chat_request *r, struct egress_header *out)
{
    (void)r;
    return provider_headers(a, "Authorization", "Bearer ", provider_key(p), out);
}

static bool ollama_continues(const struct provider_model *m)
{
    (void)m;
    return true;
}

const struct provider_dialect provider_dialect_ollama = {.supports = ollama_supports,
    .encode = ollama_encode,
    .path = ollama_path,
    .headers = ollama_headers,
    .event = provider_ollama_event,
    .whole = true,
    .continues = ollama_continues};

const struct provider_ops provider_ollama_ops = {
    .kind = "ollama", .dialects = {&provider_dialect_ollama, &provider_embed_ollama}, PROVIDER_REMOTE_CALLS};

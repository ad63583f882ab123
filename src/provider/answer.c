#include "provider/answer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/rand.h"
#include "provider/failure.h"

enum { TOOL_CALLS_MAX = LIMIT_TOOLS };

static sse_event on_sse_event;
static sse_known on_sse_known;
static eventstream_event on_message;

void provider_answer_init(struct provider_answer *a, struct str provider, struct str api_key,
    provider_event *event, struct chat_sink sink)
{
    *a = (struct provider_answer){.provider = provider, .api_key = api_key, .event = event, .sink = sink};
    a->usage = (struct chat_usage){.input_tokens = -1, .output_tokens = -1};
    a->block_index = a->text_index = -1;
    buf_init(&a->block_input, 2 * LIMIT_PROVIDER_EVENT);
    buf_init(&a->stop_string, 4 * KIB);
    buf_init(&a->rest, 2 * LIMIT_PROVIDER_BODY);
    json_members_init(&a->answer_rest.members, LIMIT_PROVIDER_BODY);
    json_members_init(&a->usage_rest.members, LIMIT_PROVIDER_BODY);
    a->choice = a->choices;
    a->n_choices = 1;
    sse_init(&a->sse, LIMIT_PROVIDER_EVENT, on_sse_event, a);
    a->sse.known = on_sse_known;
    eventstream_init(&a->messages, LIMIT_PROVIDER_EVENT, on_message, a);
    buf_init(&a->whole, LIMIT_PROVIDER_BODY);
    json_view_init(&a->view);
}

void provider_answer_free(struct provider_answer *a)
{
    sse_free(&a->sse);
    eventstream_free(&a->messages);
    buf_free(&a->whole);
    json_view_free(&a->view);
    buf_free(&a->stop_string);
    buf_free(&a->rest);
    json_members_free(&a->answer_rest.members);
    json_members_free(&a->usage_rest.members);
    buf_free(&a->block_input);
    json_decref(a->block);
    for (uint32_t i = 0; i < a->n_choices; i++)
        free(a->choices[i].tools);
}

void provider_answer_expect(struct provider_answer *a, int32_t n_choices)
{
    assert(n_choices >= 1 && n_choices <= CHAT_CHOICES_MAX);
    a->n_choices = (uint32_t)n_choices;
}

bool provider_answer_choose(struct provider_answer *a, int64_t choice)
{
    if (choice < 0 || choice >= a->n_choices)
        return false;
    a->choice = &a->choices[choice];
    return true;
}

void provider_answer_abandon(struct provider_answer *a)
{
    a->ended = true;
}

/* ---- Events out ---- */

static void emit(struct provider_answer *a, struct chat_event *event)
{
    bool text = event->kind == CHAT_EVENT_TEXT && event->n_tokens == 0 && !event->refusal;
    event->choice = (uint32_t)(a->choice - a->choices);
    event->at_once = a->at_once;
    a->at_once = true;
    a->only_text = ++a->n_emitted == 1 && text ? event->text.data : NULL;
    a->said = a->said || (event->kind != CHAT_EVENT_START && event->kind != CHAT_EVENT_USAGE);
    if (!a->ended)
        a->sink.event(a->sink.ctx, event);
}

static void emit_last(struct provider_answer *a, const struct chat_event *event)
{
    if (a->ended)
        return;
    a->ended = true;
    a->sink.event(a->sink.ctx, event);
}

void provider_answer_start(struct provider_answer *a, struct str id, struct str model)
{
    if (a->started)
        return;
    a->started = true;
    emit(a, &(struct chat_event){.kind = CHAT_EVENT_START, .start = {.id = id, .model = model}});
}

void provider_answer_text(struct provider_answer *a, struct str text)
{
    assert(a->started);
    if (text.len > 0)
        emit(a, &(struct chat_event){.kind = CHAT_EVENT_TEXT, .text = text});
}

void provider_answer_refusal(struct provider_answer *a, struct str text)
{
    assert(a->started);
    if (text.len > 0)
        emit(a, &(struct chat_event){.kind = CHAT_EVENT_TEXT, .refusal = true, .text = text});
}

/* All that differs from the last event is a text, which was all that came of that one. */
static bool only_text_differs(const struct provider_answer *a)
{
    const struct json_item *change = json_view_change(&a->view);
    return change && a->only_text && change->text.data == a->only_text;
}

bool provider_answer_again(struct provider_answer *a)
{
    bool again = only_text_differs(a);
    a->n_emitted = 0;
    if (again)
        provider_answer_text(a, json_view_change(&a->view)->text);
    if (!again || a->n_emitted == 0) /* an empty text says nothing of the next one */
        a->only_text = NULL;
    a->again = a->only_text != NULL;
    return again;
}

/* An event as servers write most of them, and once more the last one but for its text: it is told without
 * being read. */
static size_t on_sse_known(void *ctx, struct str rest)
{
    static const struct str head = STR("data: "), tail = STR("\n\n");
    struct provider_answer *a = ctx;
    struct str text;
    if (!a->again || a->ended || !str_starts(rest, head))
        return 0;
    const char *last = a->only_text;
    rest = str_slice(rest, head.len, rest.len);
    size_t n = json_view_again(&a->view, rest, &text);
    if (n == 0 || text.len == 0 || !str_starts(str_slice(rest, n, rest.len), tail))
        return 0;
    provider_answer_text(a, text);
    a->only_text = last;
    return head.len + n + tail.len;
}

void provider_answer_tokens(
    struct provider_answer *a, struct str text, const struct chat_token *tokens, size_t n_tokens)
{
    assert(a->started);
    if (text.len > 0 || n_tokens > 0)
        emit(a, &(struct chat_event){
                    .kind = CHAT_EVENT_TEXT, .text = text, .tokens = tokens, .n_tokens = n_tokens});
}

int provider_answer_logprobs(struct provider_answer *a, struct str text, const struct json_item *logprobs,
    provider_tokens_read *read, struct error *err)
{
    json_t *json;
    const struct chat_token *tokens = NULL;
    size_t n = 0;
    int rc = json_read(logprobs->text, &json, err);
    if (rc)
        return rc;
    struct arena *arena = arena_create(LIMIT_REQUEST_MEMORY);
    rc = read(arena, json, &tokens, &n, err);
    if (rc == 0)
        provider_answer_tokens(a, text, tokens, n);
    arena_free(arena);
    json_decref(json);
    return rc;
}

void provider_answer_reasoning(struct provider_answer *a, struct str text)
{
    assert(a->started);
    if (text.len > 0)
        emit(a, &(struct chat_event){.kind = CHAT_EVENT_REASONING, .text = text});
}

void provider_answer_signature(struct provider_answer *a, struct str text, struct str data)
{
    assert(a->started);
    if (text.len > 0 || data.len > 0)
        emit(a, &(struct chat_event){.kind = CHAT_EVENT_SIGNATURE, .signature = {text, data}});
}

void provider_answer_native(
    struct provider_answer *a, enum chat_shape shape, enum chat_native what, struct str json)
{
    assert(a->started);
    emit(a, &(struct chat_event){.kind = CHAT_EVENT_NATIVE, .native = {shape, what, json}});
}

void provider_answer_embeddings(struct provider_answer *a, const float *values, size_t width)
{
    assert(a->started);
    for (size_t i = 0; i < a->n_inputs; i++)
        emit(a,
            &(struct chat_event){.kind = CHAT_EVENT_EMBEDDING, .embedding = {i, values + i * width, width}});
}

void provider_answer_score(struct provider_answer *a, size_t index, double score)
{
    assert(a->started);
    emit(a, &(struct chat_event){.kind = CHAT_EVENT_SCORE, .score = {index, score}});
}

/* Which call a piece belongs to. Servers differ: some give no index, some give every call index 0 and tell
 * them apart by id, some repeat id and name with every piece. SIZE_MAX: a new call. */
static size_t tool_find(const struct provider_answer *a, int64_t index, uint64_t id, bool named)
{
    const struct provider_answer_choice *c = a->choice;
    for (size_t i = c->n_tools; i-- > 0;) {
        const struct provider_answer_tool *t = &c->tools[i];
        bool same_id = id == 0 || t->id_hash == id;
        if (index >= 0 && t->index == index)
            return same_id || !named ? i : SIZE_MAX;
        if (index < 0 && id != 0 && t->id_hash == id)
            return i;
    }
    return index < 0 && id == 0 && !named && c->n_tools > 0 ? c->n_tools - 1 : SIZE_MAX;
}

static int tool_add(struct provider_answer_choice *c, int64_t index, uint64_t id, struct error *err)
{
    if (c->n_tools == TOOL_CALLS_MAX)
        return error_set(err, ERROR_LIMIT, "the answer calls more than %d tools", TOOL_CALLS_MAX);
    if (c->n_tools == c->tools_capacity) {
        size_t capacity = c->tools_capacity ? c->tools_capacity * 2 : 4;
        struct provider_answer_tool *tools = realloc(c->tools, capacity * sizeof *tools);
        if (!tools)
            return error_set(err, ERROR_MEMORY, "out of memory");
        c->tools = tools;
        c->tools_capacity = capacity;
    }
    c->tools[c->n_tools++] = (struct provider_answer_tool){index, id, false};
    return 0;
}

int provider_answer_tool(struct provider_answer *a, int64_t index, struct str id, struct str name,
    struct str arguments, struct error *err)
{
    assert(a->started);
    char made[40];
    uint64_t hash = id.len ? str_hash(id) | 1 : 0;
    size_t at = tool_find(a, index, hash, name.len > 0);
    struct chat_event event = {.kind = CHAT_EVENT_TOOL_CALL, .tool_call = {.arguments = arguments}};
    if (at == SIZE_MAX) {
        if (name.len == 0)
            return error_set(err, ERROR_INVALID, "a tool call of the answer has no name");
        int rc = tool_add(a->choice, index, hash, err);
        if (rc)
            return rc;
        at = a->choice->n_tools - 1;
        if (id.len == 0) {
            rand_id("call_", made, sizeof made);
            id = str_from(made);
        }
        event.tool_call.id = id;
        event.tool_call.name = name;
        event.tool_call.more = buf_str(&a->rest);
        event.tool_call.more_of = a->rest_of;
    } else if (arguments.len == 0) {
        buf_clear(&a->rest);
        return 0;
    }
    a->choice->tools[at].has_arguments |= arguments.len > 0;
    event.tool_call.index = (uint32_t)at;
    emit(a, &event);
    buf_clear(&a->rest);
    return 0;
}

int provider_answer_call(struct provider_answer *a, struct str id, struct str name,
    const struct json_item *arguments, struct error *err)
{
    struct buf text;
    struct json_writer w;
    buf_init(&text, 2 * LIMIT_PROVIDER_EVENT);
    json_writer_init(&w, &text);
    if (json_item_is(arguments, JSON_ITEM_OBJECT))
        json_write_item(&w, arguments);
    else
        buf_append_text(&text, "{}");
    int rc = text.failed
                 ? error_set(err, text.failed, "a tool call's arguments are too large")
                 : provider_answer_tool(a, (int64_t)a->choice->n_tools, id, name, buf_str(&text), err);
    buf_free(&text);
    return rc;
}

void provider_answer_tool_end(struct provider_answer *a, int64_t index)
{
    for (size_t i = 0; i < a->choice->n_tools; i++) {
        if (a->choice->tools[i].index != index || a->choice->tools[i].has_arguments)
            continue;
        a->choice->tools[i].has_arguments = true;
        emit(a, &(struct chat_event){.kind = CHAT_EVENT_TOOL_CALL,
                    .tool_call = {.index = (uint32_t)i, .arguments = STR("{}")}});
    }
}

void provider_answer_usage(struct provider_answer *a, const struct chat_usage *usage)
{
    assert(a->started);
    if (memcmp(usage, &a->usage, sizeof *usage) == 0)
        return;
    a->usage = *usage;
    emit(a, &(struct chat_event){.kind = CHAT_EVENT_USAGE, .usage = *usage});
}

void provider_answer_stop(struct provider_answer *a, enum chat_stop stop)
{
    a->choice->has_stop = a->said = true;
    a->choice->stop = stop;
}

static bool all_stopped(const struct provider_answer *a)
{
    for (uint32_t i = 0; i < a->n_choices; i++)
        if (!a->choices[i].has_stop)
            return false;
    return true;
}

void provider_answer_stop_string(struct provider_answer *a, struct str which)
{
    buf_clear(&a->stop_string);
    buf_append_str(&a->stop_string, which);
}

void provider_answer_end(struct provider_answer *a)
{
    provider_answer_rest_tell(a);
    for (uint32_t i = 0; i < a->n_choices && !a->ended; i++) {
        const struct provider_answer_choice *c = &a->choices[i];
        /* Several servers say "stop" where the model has called tools. */
        enum chat_stop stop = c->has_stop ? c->stop : CHAT_STOP_END;
        if (stop == CHAT_STOP_END && c->n_tools > 0)
            stop = CHAT_STOP_TOOLS;
        struct str which = stop == CHAT_STOP_STRING ? buf_str(&a->stop_string) : STR_NONE;
        const struct chat_event event = {
            .kind = CHAT_EVENT_STOP, .choice = i, .stop = stop, .stop_string = which};
        if (i + 1 == a->n_choices)
            emit_last(a, &event);
        else
            a->sink.event(a->sink.ctx, &event);
    }
}

void provider_answer_fail(struct provider_answer *a, const struct chat_failure *failure)
{
    emit_last(a, &(struct chat_event){.kind = CHAT_EVENT_ERROR, .failure = *failure});
}

/* Whatever a provider does wrong, another may do right; and it is not the client who asked wrongly. */
static void fail(struct provider_answer *a, int code, const char *message)
{
    struct provider_failure f;
    bool theirs = code == ERROR_INVALID || code == ERROR_LIMIT;
    provider_failure_error(&f, a->provider, a->api_key, theirs ? ERROR_UNAVAILABLE : code, message);
    provider_answer_fail(a, &f.failure);
}

/* ---- Bytes in ---- */

/* A document that tells of an error: {"error": {...}} and its relatives. */
static int take_error(struct provider_answer *a, struct str document, struct error *err)
{
    struct provider_failure f;
    json_t *tree;
    int rc = json_read(document, &tree, err);
    if (rc)
        return rc;
    provider_failure_json(&f, a->provider, a->api_key, 0, tree);
    provider_answer_fail(a, &f.failure);
    json_decref(tree);
    return 0;
}

static int take_object(struct provider_answer *a, const struct json_item *object, struct error *err)
{
    if (!json_item_is(object, JSON_ITEM_OBJECT))
        return error_set(err, ERROR_INVALID, "it is not a JSON object");
    bool is_error = !only_text_differs(a) && provider_is_error(object); /* nor was the last one */
    return is_error ? take_error(a, object->text, err) : a->event(a, object, err);
}

/* Google's servers also send the events of a stream as the elements of one array. */
static int take_document(struct provider_answer *a, struct str text, struct error *err)
{
    const struct json_item *document;
    a->view.repeats = a->form != PROVIDER_FORM_WHOLE;
    a->again = false;
    int rc = json_view_read(&a->view, text, &document, err);
    if (rc == 0 && json_item_length(document) == 0)
        return take_object(a, document, err);
    for (const struct json_item *i = rc ? NULL : json_item_first(document); i && rc == 0 && !a->ended;
         i = json_item_next(document, i))
        rc = take_object(a, i, err);
    return rc;
}

/* A name tells no more than the data (Anthropic repeats it there, the others have none), but for two: what a
 * server or a proxy calls an error is one, and what has a name and no JSON (a ping) is none of the API's. */
static int on_sse_event(void *ctx, struct str name, struct str data, struct error *err)
{
    struct provider_answer *a = ctx;
    data = str_trim(data);
    if (a->ended || data.len == 0)
        return 0;
    bool is_json = data.data[0] == '{' || data.data[0] == '[', error = str_is(name, "error");
    if (error && is_json)
        return take_error(a, data, err);
    if (error)
        return error_set(err, ERROR_UNAVAILABLE, "it says '" STR_FMT "'", STR_ARG(str_slice(data, 0, 200)));
    if (!is_json && name.len > 0 && !str_is(data, "[DONE]"))
        return 0;
    if (!str_is(data, "[DONE]"))
        return take_document(a, data, err);
    if (a->started)
        provider_answer_end(a);
    return 0;
}

/* Exceptions of the model's service, and errors of what lies before it. */
static int take_exception(
    struct provider_answer *a, const struct eventstream_message *m, struct str said, struct error *err)
{
    struct buf document;
    struct json_writer w;
    buf_init(&document, 2 * LIMIT_PROVIDER_EVENT);
    json_writer_init(&w, &document);
    json_object_begin(&w);
    json_key(&w, "error");
    json_object_begin(&w);
    json_member_str(&w, "type", m->event);
    json_member_str(&w, "message", said.len ? said : m->complaint);
    json_object_end(&w);
    json_object_end(&w);
    int rc = document.failed ? error_set(err, document.failed, "an error of the event stream is too large")
                             : take_error(a, buf_str(&document), err);
    buf_free(&document);
    return rc;
}

static int on_message(void *ctx, const struct eventstream_message *m, struct error *err)
{
    struct provider_answer *a = ctx;
    const struct json_item *payload = NULL;
    if (a->ended)
        return 0;
    int rc = m->payload.len > 0 ? json_view_read(&a->view, m->payload, &payload, err) : 0;
    if (!str_is(m->type, "event")) /* what it says may be no JSON, that it failed is certain */
        return take_exception(a, m, rc ? STR_NONE : json_item_text(payload, "message"), err);
    if (rc || !json_item_is(payload, JSON_ITEM_OBJECT))
        return rc;
    a->view.items[0].key = m->event;
    return take_object(a, payload, err);
}

void provider_answer_content_type(struct provider_answer *a, struct str content_type)
{
    struct str type = str_trim(str_slice(content_type, 0, str_find_char(content_type, ';')));
    type = str_slice(type, 0, sizeof a->content_type - 1);
    if (type.len > 0)
        memcpy(a->content_type, type.data, type.len);
    a->content_type[type.len] = '\0';
    if (str_is_nocase(type, "text/event-stream"))
        a->form = PROVIDER_FORM_EVENTS;
    else if (str_is_nocase(type, "application/x-ndjson"))
        a->form = PROVIDER_FORM_LINES;
    else if (str_is_nocase(type, "application/vnd.amazon.eventstream"))
        a->form = PROVIDER_FORM_MESSAGES;
}

/* Servers label badly: what has no telling type is judged by its first character. */
static int form_detect(struct provider_answer *a, struct error *err)
{
    struct str type = str_from(a->content_type), text = str_trim(buf_str(&a->whole));
    bool known = type.len == 0 || str_is_nocase(type, "application/json") ||
                 str_is_nocase(type, "text/plain") || str_is_nocase(type, "application/octet-stream");
    if (!known)
        return error_set(err, ERROR_UNAVAILABLE, "it is '%s', not an event stream or JSON: check base_url",
            a->content_type);
    if (text.len > 0)
        a->form = text.data[0] == '{' || text.data[0] == '[' ? PROVIDER_FORM_WHOLE : PROVIDER_FORM_EVENTS;
    if (a->form != PROVIDER_FORM_EVENTS)
        return 0;
    int rc = sse_feed(&a->sse, buf_str(&a->whole), err);
    buf_free(&a->whole);
    return rc;
}

static int line_take(struct provider_answer *a, struct str line, struct error *err)
{
    line = str_trim(line);
    if (line.len > LIMIT_PROVIDER_EVENT)
        return error_set(err, ERROR_LIMIT, "a line of it is too long");
    return line.len > 0 && !a->ended ? take_document(a, line, err) : 0;
}

/* Looks for line ends only in what is new: a long line may come byte by byte. */
static int lines_feed(struct provider_answer *a, struct str bytes, struct error *err)
{
    size_t taken = 0, from = a->whole.len;
    int rc = 0;
    if (buf_append_str(&a->whole, bytes))
        return error_set(err, a->whole.failed, "it is too large");
    while (rc == 0 && !a->ended) {
        size_t end = str_find_char(str_slice(buf_str(&a->whole), from, a->whole.len), '\n');
        if (end == SIZE_MAX)
            break;
        rc = line_take(a, str_slice(buf_str(&a->whole), taken, from + end), err);
        taken = from = from + end + 1;
    }
    buf_consume(&a->whole, taken);
    if (rc == 0 && a->whole.len > LIMIT_PROVIDER_EVENT)
        rc = error_set(err, ERROR_LIMIT, "a line of it is too long");
    return rc;
}

void provider_answer_feed(struct provider_answer *a, struct str bytes)
{
    struct error err;
    int rc = 0;
    if (a->ended)
        return;
    a->at_once = false;
    if (a->form == PROVIDER_FORM_EVENTS)
        rc = sse_feed(&a->sse, bytes, &err);
    else if (a->form == PROVIDER_FORM_LINES)
        rc = lines_feed(a, bytes, &err);
    else if (a->form == PROVIDER_FORM_MESSAGES)
        rc = eventstream_feed(&a->messages, bytes, &err);
    else if (buf_append_str(&a->whole, bytes))
        rc = error_set(&err, a->whole.failed, "it is too large");
    else if (a->form == PROVIDER_FORM_UNKNOWN)
        rc = form_detect(a, &err);
    if (rc) {
        error_wrap(&err, "its answer cannot be understood");
        fail(a, rc, err.message);
    }
}

void provider_answer_finish(struct provider_answer *a, int code, const struct error *transport)
{
    struct error err;
    int rc = 0;
    if (!a->ended && code == 0 && a->form == PROVIDER_FORM_EVENTS)
        rc = sse_end(&a->sse, &err);
    if (!a->ended && code == 0 && a->form == PROVIDER_FORM_LINES)
        rc = line_take(a, buf_str(&a->whole), &err);
    if (!a->ended && code == 0 && a->form == PROVIDER_FORM_MESSAGES)
        rc = eventstream_end(&a->messages, &err);
    if (!a->ended && code == 0 && a->form == PROVIDER_FORM_WHOLE) {
        rc = take_document(a, buf_str(&a->whole), &err);
        bool one = str_starts(str_trim(buf_str(&a->whole)), STR("{"));
        if (rc == 0 && a->started && !a->said)
            rc = error_set(&err, ERROR_UNAVAILABLE, "it holds no answer");
        if (rc == 0 && a->started && one) /* a list may lack its end, a single answer cannot */
            provider_answer_end(a);
    }
    if (all_stopped(a)) /* all of it came, whatever became of the connection */
        provider_answer_end(a);
    else if (code)
        fail(a, code, transport ? transport->message : "the transfer failed");
    else if (rc)
        fail(a, rc, error_wrap(&err, "its answer cannot be understood") ? err.message : "");
    else
        fail(a, ERROR_UNAVAILABLE, "its answer ended before it was complete");
}

int64_t provider_count(const json_t *object, const char *key)
{
    int64_t n = json_integer_value(json_object_get(object, key)); /* 0 for what is no integer */
    return json_is_integer(json_object_get(object, key)) && n >= 0 && n <= PROVIDER_COUNT_MAX ? n : -1;
}

int64_t provider_count_of(const struct json_item *item)
{
    int64_t n;
    return json_item_int(item, &n) && n >= 0 && n <= PROVIDER_COUNT_MAX ? n : -1;
}

int64_t provider_item_part(const struct json_item *object, const char *key)
{
    const struct json_item *part = json_item_get(object, key);
    return !part || json_item_is(part, JSON_ITEM_NULL) ? 0 : provider_item_count(object, key);
}

#include "api/responses_out.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/openai_out.h"
#include "api/responses_in.h"
#include "api/responses_kept.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/must.h"
#include "base/rand.h"

static void write_list(struct json_writer *w, const char *key, struct str members)
{
    json_key(w, key);
    json_array_begin(w);
    if (members.len > 0)
        json_write_raw(w, members);
    json_array_end(w);
}

/* What the answer says again of the request. */
static void asked_keep(struct responses_answer *a, const json_t *asked)
{
    struct json_writer w;
    json_writer_init(&w, &a->asked);
    for (const struct responses_member *m = responses_members; m->name; m++) {
        const json_t *value = json_object_get(asked, m->name);
        if (!m->idle)
            continue;
        json_key(&w, m->name);
        if (value && !json_is_null(value))
            json_write_value(&w, value);
        else
            json_write_raw(&w, str_from(m->idle));
    }
}

void responses_answer_init(struct responses_answer *a, const struct chat_request *r, struct str row_id)
{
    const json_t *reasoning = json_object_get(r->asked, "reasoning");
    *a = (struct responses_answer){.created_s = clock_wall_ms() / 1000,
        .obfuscation = r->obfuscation,
        .summary = json_is_string(json_object_get(reasoning, "summary")) ||
                   json_is_string(json_object_get(reasoning, "generate_summary"))};
    api_responses_id(row_id, a->id);
    buf_init(&a->asked, 2 * LIMIT_HTTP_BODY);
    asked_keep(a, r->asked);
    buf_init(&a->input, LIMIT_STORE_RESPONSE);
    buf_init(&a->body, LIMIT_STORE_RESPONSE);
}

bool responses_answer_keep(struct responses_answer *a, const struct chat_request *r)
{
    a->store = r && !json_is_false(json_object_get(r->asked, "store"));
    if (!a->store)
        return false;
    api_responses_input_write(a->id + sizeof "resp_" - 1, json_object_get(r->asked, "input"), &a->input);
    a->store = !a->input.failed; /* larger than what is kept: the answer says that it is not */
    return a->store;
}

void responses_answer_free(struct responses_answer *a)
{
    for (size_t i = 0; i < a->n_items; i++) {
        buf_free(&a->items[i].text);
        buf_free(&a->items[i].secret);
        buf_free(&a->items[i].logprobs);
        buf_free(&a->items[i].call_id);
        buf_free(&a->items[i].name);
    }
    free(a->items);
    buf_free(&a->asked);
    buf_free(&a->input);
    buf_free(&a->body);
    a->items = NULL;
    a->n_items = a->capacity = 0;
}

/* ---- Items and responses as JSON ---- */

/* {"type","text"}: with what belongs to an answer's text. */
static void part_write(
    struct json_writer *w, const struct responses_answer *a, const struct responses_item *item, bool whole)
{
    json_object_begin(w);
    if (item->refusal) {
        json_member_str(w, "type", STR("refusal"));
        json_member_str(w, "refusal", whole ? buf_str(&item->text) : STR(""));
        json_object_end(w);
        return;
    }
    json_member_str(w, "type",
        item->kind == RESPONSES_MESSAGE ? STR("output_text")
        : a->summary                    ? STR("summary_text")
                                        : STR("reasoning_text"));
    json_member_str(w, "text", whole ? buf_str(&item->text) : STR(""));
    if (item->kind == RESPONSES_MESSAGE) {
        write_list(w, "annotations", STR_NONE);
        write_list(w, "logprobs", whole ? buf_str(&item->logprobs) : STR_NONE);
    }
    json_object_end(w);
}

static void parts_write(struct json_writer *w, const char *key, const struct responses_answer *a,
    const struct responses_item *item, bool whole)
{
    json_key(w, key);
    json_array_begin(w);
    if (whole)
        part_write(w, a, item, true);
    json_array_end(w);
}

/* An answer that was cut off was cut off in its last item. */
static const char *item_status(const struct responses_answer *a, const struct responses_item *item)
{
    bool cut = a->stop == CHAT_STOP_LENGTH || a->stop == CHAT_STOP_FILTER || a->failed;
    return cut && item == &a->items[a->n_items - 1] ? "incomplete" : "completed";
}

static void item_write(
    struct json_writer *w, const struct responses_answer *a, const struct responses_item *item, bool whole)
{
    static const char *const types[] = {"reasoning", "message", "function_call"};
    json_object_begin(w);
    json_member_str(w, "id", str_from(item->id));
    json_member_str(w, "type", str_from(types[item->kind]));
    json_member_str(w, "status", str_from(whole ? item_status(a, item) : "in_progress"));
    if (item->kind == RESPONSES_MESSAGE) {
        json_member_str(w, "role", STR("assistant"));
        parts_write(w, "content", a, item, whole);
    } else if (item->kind == RESPONSES_REASONING) {
        parts_write(w, "summary", a, item, whole && a->summary && item->has_part);
        parts_write(w, "content", a, item, whole && !a->summary && item->has_part);
        if (item->secret.len > 0)
            json_member_str(w, "encrypted_content", buf_str(&item->secret));
    } else {
        json_member_str(w, "call_id", buf_str(&item->call_id));
        json_member_str(w, "name", buf_str(&item->name));
        json_member_str(w, "arguments", whole ? buf_str(&item->text) : STR(""));
    }
    json_object_end(w);
}

static void count_write(struct json_writer *w, const char *key, int64_t n)
{
    json_member_int(w, key, n > 0 ? n : 0);
}

static void usage_write(struct json_writer *w, const struct chat_usage *u)
{
    int64_t input = u->input_tokens > 0 ? u->input_tokens : 0;
    int64_t output = u->output_tokens > 0 ? u->output_tokens : 0;
    json_object_begin(w);
    count_write(w, "input_tokens", input);
    json_key(w, "input_tokens_details");
    json_object_begin(w);
    count_write(w, "cached_tokens", u->cached_tokens);
    json_object_end(w);
    count_write(w, "output_tokens", output);
    json_key(w, "output_tokens_details");
    json_object_begin(w);
    count_write(w, "reasoning_tokens", u->reasoning_tokens);
    json_object_end(w);
    count_write(w, "total_tokens", input + output);
    json_object_end(w);
}

static const char *error_code(const struct chat_failure *f)
{
    return f->status == 429 ? "rate_limit_exceeded" : "server_error";
}

static void error_write(struct json_writer *w, const struct chat_failure *failure)
{
    json_key(w, "error");
    if (!failure) {
        json_write_null(w);
        return;
    }
    json_object_begin(w);
    json_member_str(w, "code", str_from(error_code(failure)));
    json_member_str(w, "message", failure->message);
    json_object_end(w);
}

static void incomplete_write(struct json_writer *w, const char *status, enum chat_stop stop)
{
    json_key(w, "incomplete_details");
    if (!str_is(str_from(status), "incomplete")) {
        json_write_null(w);
        return;
    }
    json_object_begin(w);
    json_member_str(w, "reason", stop == CHAT_STOP_FILTER ? STR("content_filter") : STR("max_output_tokens"));
    json_object_end(w);
}

static const char *end_status(const struct responses_answer *a)
{
    return a->stop == CHAT_STOP_LENGTH || a->stop == CHAT_STOP_FILTER ? "incomplete" : "completed";
}

/* `usage` NULL: not known (yet). Until it is over the output is empty. */
static void response_write(struct json_writer *w, const struct responses_answer *a, const char *status,
    const struct chat_usage *usage, const struct chat_failure *failure)
{
    bool over = !str_is(str_from(status), "in_progress");
    json_object_begin(w);
    json_member_str(w, "id", str_from(a->id));
    json_member_str(w, "object", STR("response"));
    json_member_int(w, "created_at", a->created_s);
    json_member_str(w, "status", str_from(status));
    error_write(w, failure);
    incomplete_write(w, status, a->stop);
    json_member_str(w, "model", a->model);
    json_key(w, "output");
    json_array_begin(w);
    for (size_t i = 0; i < a->n_items && over; i++)
        item_write(w, a, &a->items[i], true);
    json_array_end(w);
    json_member_bool(w, "store", a->store);
    json_write_raw(w, buf_str(&a->asked));
    json_key(w, "usage");
    if (usage)
        usage_write(w, usage);
    else
        json_write_null(w);
    json_object_end(w);
}

/* ---- Events of a stream; without `out` none is written ---- */

static void event_begin(struct json_writer *w, struct responses_answer *a, const char *type, struct buf *out)
{
    buf_append_text(out, "event: ");
    buf_append_text(out, type);
    buf_append_text(out, "\ndata: ");
    json_writer_init(w, out);
    json_object_begin(w);
    json_member_str(w, "type", str_from(type));
    json_member_int(w, "sequence_number", a->sequence++);
}

static void event_end(struct json_writer *w)
{
    json_object_end(w);
    buf_append_text(w->buf, "\n\n");
}

static void response_event(struct responses_answer *a, const char *type, const char *status,
    const struct chat_usage *usage, const struct chat_failure *failure, struct buf *out)
{
    struct json_writer w;
    event_begin(&w, a, type, out);
    json_key(&w, "response");
    response_write(&w, a, status, usage, failure);
    event_end(&w);
}

static void open_stream(struct responses_answer *a, struct buf *out)
{
    if (a->opened || !out)
        return;
    a->opened = true;
    response_event(a, "response.created", "in_progress", NULL, NULL, out);
    response_event(a, "response.in_progress", "in_progress", NULL, NULL, out);
}

static void item_event(struct responses_answer *a, const char *type, const struct responses_item *item,
    bool whole, struct buf *out)
{
    struct json_writer w;
    event_begin(&w, a, type, out);
    json_member_int(&w, "output_index", item - a->items);
    json_key(&w, "item");
    item_write(&w, a, item, whole);
    event_end(&w);
}

/* Events about an item begin alike: where in the answer it is, and where in the item. */
static void inner_begin(struct json_writer *w, struct responses_answer *a, const struct responses_item *item,
    const char *type, struct buf *out)
{
    event_begin(w, a, type, out);
    json_member_str(w, "item_id", str_from(item->id));
    json_member_int(w, "output_index", item - a->items);
    if (item->kind == RESPONSES_CALL)
        return;
    json_member_int(
        w, item->kind == RESPONSES_REASONING && a->summary ? "summary_index" : "content_index", 0);
}

enum inner { PART_ADDED, TEXT_DELTA, TEXT_DONE, PART_DONE };

static const char *inner_type(
    const struct responses_answer *a, const struct responses_item *item, enum inner which)
{
    static const char *const types[][4] = {{"response.content_part.added", "response.reasoning_text.delta",
                                               "response.reasoning_text.done", "response.content_part.done"},
        {"response.content_part.added", "response.output_text.delta", "response.output_text.done",
            "response.content_part.done"},
        {NULL, "response.function_call_arguments.delta", "response.function_call_arguments.done", NULL},
        {"response.reasoning_summary_part.added", "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.done", "response.reasoning_summary_part.done"},
        {"response.content_part.added", "response.refusal.delta", "response.refusal.done",
            "response.content_part.done"}};
    bool summary = item->kind == RESPONSES_REASONING && a->summary;
    return types[item->refusal ? 4 : summary ? 3 : item->kind][which];
}

static void part_event(
    struct responses_answer *a, const struct responses_item *item, enum inner which, struct buf *out)
{
    struct json_writer w;
    inner_begin(&w, a, item, inner_type(a, item, which), out);
    json_key(&w, "part");
    part_write(&w, a, item, which == PART_DONE);
    event_end(&w);
}

static void text_done(struct responses_answer *a, const struct responses_item *item, struct buf *out)
{
    struct json_writer w;
    inner_begin(&w, a, item, inner_type(a, item, TEXT_DONE), out);
    if (item->kind == RESPONSES_CALL)
        json_member_str(&w, "name", buf_str(&item->name));
    const char *key = item->kind == RESPONSES_CALL ? "arguments" : item->refusal ? "refusal" : "text";
    json_member_str(&w, key, buf_str(&item->text));
    if (item->kind == RESPONSES_MESSAGE && !item->refusal)
        write_list(&w, "logprobs", buf_str(&item->logprobs));
    event_end(&w);
}

static void text_delta(struct responses_answer *a, const struct responses_item *item, struct str text,
    struct str logprobs, struct buf *out)
{
    struct json_writer w;
    inner_begin(&w, a, item, inner_type(a, item, TEXT_DELTA), out);
    json_member_str(&w, "delta", text);
    if (item->kind == RESPONSES_MESSAGE && !item->refusal)
        write_list(&w, "logprobs", logprobs);
    if (a->obfuscation)
        openai_obfuscation_write(&w);
    event_end(&w);
}

/* ---- Items as they come ---- */

/* A call without arguments. */
static void item_complete(struct responses_item *item)
{
    if (item->kind == RESPONSES_CALL && str_trim(buf_str(&item->text)).len == 0)
        buf_append_text(&item->text, "{}");
}

static void item_close(struct responses_answer *a, struct responses_item *item, struct buf *out)
{
    if (item->closed)
        return;
    item->closed = true;
    item_complete(item);
    if (!out)
        return;
    if (item->has_part || item->kind == RESPONSES_CALL)
        text_done(a, item, out);
    if (item->has_part)
        part_event(a, item, PART_DONE, out);
    item_event(a, "response.output_item.done", item, true, out);
}

/* Before another item begins; `all`: the answer is over. */
static void items_close(struct responses_answer *a, bool all, struct buf *out)
{
    for (size_t i = 0; i < a->n_items; i++) {
        struct responses_item *item = &a->items[i];
        if (!item->closed && (all || item->kind != RESPONSES_CALL || json_is_whole(buf_str(&item->text))))
            item_close(a, item, out);
    }
}

/* NULL: there are too many. */
static struct responses_item *item_add(struct responses_answer *a, enum responses_kind kind, struct buf *out)
{
    static const char *const prefixes[] = {"rs", "msg", "fc"};
    items_close(a, false, out);
    if (a->n_items == RESPONSES_MAX_ITEMS)
        return NULL;
    if (a->n_items == a->capacity) {
        a->capacity = a->capacity ? a->capacity * 2 : 4;
        a->items = must(realloc(a->items, a->capacity * sizeof *a->items));
    }
    struct responses_item *item = &a->items[a->n_items];
    *item = (struct responses_item){.kind = kind};
    snprintf(
        item->id, sizeof item->id, "%s_%s_%zu", prefixes[kind], a->id + sizeof "resp_" - 1, a->n_items++);
    buf_init(&item->text, LIMIT_PROVIDER_BODY);
    buf_init(&item->secret, LIMIT_PROVIDER_BODY);
    buf_init(&item->logprobs, LIMIT_PROVIDER_BODY);
    buf_init(&item->call_id, 4 * KIB);
    buf_init(&item->name, 4 * KIB);
    return item;
}

/* The last item where it is of this kind and goes on, else a new one. */
static struct responses_item *item_last(struct responses_answer *a, enum responses_kind kind, struct buf *out)
{
    struct responses_item *last = a->n_items ? &a->items[a->n_items - 1] : NULL;
    if (last && last->kind == kind && !last->closed)
        return last;
    last = item_add(a, kind, out);
    if (last && out)
        item_event(a, "response.output_item.added", last, false, out);
    return last;
}

/* ---- Logprobs ---- */

static void token_write(struct json_writer *w, const struct chat_token *t, bool top)
{
    json_object_begin(w);
    json_member_str(w, "token", t->text);
    json_member_double(w, "logprob", t->logprob);
    json_key(w, "bytes");
    json_array_begin(w);
    for (size_t i = 0; i < t->bytes.len; i++)
        json_write_int(w, (unsigned char)t->bytes.data[i]);
    json_array_end(w);
    if (top) {
        json_key(w, "top_logprobs");
        json_array_begin(w);
        for (size_t i = 0; i < t->n_top; i++)
            token_write(w, &t->top[i], false);
        json_array_end(w);
    }
    json_object_end(w);
}

/* Those of this piece, which are also added to the item's. */
static struct str logprobs_take(struct responses_item *item, const struct chat_event *e)
{
    struct json_writer w;
    size_t begin = item->logprobs.len;
    json_writer_init(&w, &item->logprobs);
    w.comma = begin > 0;
    for (size_t i = 0; i < e->n_tokens; i++)
        token_write(&w, &e->tokens[i], true);
    begin += begin > 0 && item->logprobs.len > begin;
    return str_slice(buf_str(&item->logprobs), begin, item->logprobs.len);
}

/* ---- Events of the exchange ---- */

static struct responses_item *text_take(
    struct responses_answer *a, const struct chat_event *e, struct buf *out)
{
    struct responses_item *item =
        item_last(a, e->kind == CHAT_EVENT_TEXT ? RESPONSES_MESSAGE : RESPONSES_REASONING, out);
    if (!item)
        return NULL;
    if (!item->has_part)
        item->refusal = e->refusal;
    if (!item->has_part && out)
        part_event(a, item, PART_ADDED, out);
    item->has_part = true;
    buf_append_str(&item->text, e->text);
    struct str logprobs = e->kind == CHAT_EVENT_TEXT ? logprobs_take(item, e) : STR_NONE;
    if (out && (e->text.len > 0 || logprobs.len > 0))
        text_delta(a, item, e->text, logprobs, out);
    return item;
}

static struct responses_item *signature_take(
    struct responses_answer *a, const struct chat_event *e, struct buf *out)
{
    bool data = e->signature.data.len > 0;
    if (data)
        items_close(a, false, out);
    struct responses_item *item = item_last(a, RESPONSES_REASONING, out);
    if (!item)
        return NULL;
    buf_append_text(&item->secret, data ? RESPONSES_DATA : RESPONSES_SIGNATURE);
    buf_append_str(&item->secret, data ? e->signature.data : e->signature.text);
    item_close(a, item, out);
    return item;
}

static struct responses_item *call_take(
    struct responses_answer *a, const struct chat_event *e, struct buf *out)
{
    struct responses_item *item = NULL;
    for (size_t i = a->n_items; i-- > 0 && !item;)
        if (a->items[i].kind == RESPONSES_CALL && a->items[i].call == e->tool_call.index)
            item = &a->items[i];
    if (!item) {
        char made[48];
        rand_id("call_", made, sizeof made);
        item = item_add(a, RESPONSES_CALL, out);
        if (!item)
            return NULL;
        item->call = e->tool_call.index;
        buf_append_str(&item->call_id, e->tool_call.id.len ? e->tool_call.id : str_from(made));
        buf_append_str(&item->name, e->tool_call.name);
        if (out)
            item_event(a, "response.output_item.added", item, false, out);
    }
    if (e->tool_call.arguments.len == 0 || item->closed) /* white space behind a whole object */
        return item;
    buf_append_str(&item->text, e->tool_call.arguments);
    if (out)
        text_delta(a, item, e->tool_call.arguments, STR_NONE, out);
    return item;
}

/* False: the answer is too large. */
static bool take(struct responses_answer *a, const struct chat_event *e, struct buf *out)
{
    struct responses_item *item = NULL;
    switch (e->kind) {
    case CHAT_EVENT_TEXT:
    case CHAT_EVENT_REASONING:
        item = text_take(a, e, out);
        break;
    case CHAT_EVENT_SIGNATURE:
        item = signature_take(a, e, out);
        break;
    case CHAT_EVENT_TOOL_CALL:
        item = call_take(a, e, out);
        break;
    case CHAT_EVENT_STOP:
        a->stop = e->stop;
        return true;
    default:
        return true;
    }
    return item && !item->text.failed && !item->secret.failed && !item->logprobs.failed &&
           !item->call_id.failed && !item->name.failed;
}

int responses_answer_gather(struct responses_answer *a, const struct chat_event *e, struct error *err)
{
    return take(a, e, NULL) ? 0 : error_set(err, ERROR_LIMIT, "the answer is too large");
}

void responses_answer_write(struct responses_answer *a, const struct chat_usage *usage, struct buf *out)
{
    struct json_writer w;
    for (size_t i = 0; i < a->n_items; i++) /* of a stream they are closed later, when it ends */
        item_complete(&a->items[i]);
    json_writer_init(&w, out);
    response_write(&w, a, end_status(a), usage, NULL);
}

/* The event `error`, and for who has been told of a response, that this is its end. */
static void stream_error(struct responses_answer *a, const struct chat_failure *f, struct buf *out)
{
    struct json_writer w;
    a->failed = true;
    if (a->opened)
        items_close(a, true, out);
    event_begin(&w, a, "error", out);
    json_member_str(&w, "code", str_from(error_code(f)));
    json_member_str(&w, "message", f->message);
    json_key(&w, "param");
    json_write_null(&w);
    event_end(&w);
    if (a->opened)
        response_event(a, "response.failed", "failed", NULL, f, out);
}

void responses_stream_event(struct responses_answer *a, const struct chat_event *e, struct buf *out)
{
    const struct chat_failure large = {.message = STR("the answer is too large")};
    if (a->failed)
        return;
    if (e->kind == CHAT_EVENT_ERROR) {
        stream_error(a, &e->failure, out);
        return;
    }
    open_stream(a, out);
    if (!take(a, e, out))
        stream_error(a, &large, out);
}

void responses_stream_end(struct responses_answer *a, const struct chat_usage *usage, struct buf *out)
{
    const char *status = end_status(a);
    if (a->failed)
        return;
    open_stream(a, out);
    items_close(a, true, out);
    response_event(a, str_is(str_from(status), "completed") ? "response.completed" : "response.incomplete",
        status, usage, NULL, out);
}

#include "api/anthropic_out.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/rand.h"

void anthropic_answer_init(struct anthropic_answer *a, struct str request_id)
{
    *a = (struct anthropic_answer){.index = -1};
    rand_id("msg_", a->id, sizeof a->id);
    size_t n = request_id.len < sizeof a->request_id ? request_id.len : sizeof a->request_id - 1;
    if (n)
        memcpy(a->request_id, request_id.data, n);
    buf_init(&a->stop_string, 4 * KIB);
    buf_init(&a->delta_more, LIMIT_PROVIDER_BODY);
    buf_init(&a->more, LIMIT_PROVIDER_BODY);
    buf_init(&a->usage_more, LIMIT_PROVIDER_BODY);
}

static void blocks_free(struct anthropic_answer *a)
{
    for (size_t i = 0; i < a->n_blocks; i++) {
        buf_free(&a->blocks[i].text);
        buf_free(&a->blocks[i].more);
        buf_free(&a->blocks[i].name);
        buf_free(&a->blocks[i].rest);
    }
    free(a->blocks);
    a->blocks = NULL;
    a->n_blocks = a->capacity = 0;
}

void anthropic_answer_free(struct anthropic_answer *a)
{
    blocks_free(a);
    buf_free(&a->stop_string);
    buf_free(&a->delta_more);
    buf_free(&a->more);
    buf_free(&a->usage_more);
}

/* ---- Blocks ---- */

static struct anthropic_block *block_add(struct anthropic_answer *a, enum anthropic_block_kind kind)
{
    if (a->n_blocks == ANTHROPIC_MAX_BLOCKS)
        return NULL;
    if (a->n_blocks == a->capacity) {
        size_t capacity = a->capacity ? a->capacity * 2 : 4;
        struct anthropic_block *blocks = realloc(a->blocks, capacity * sizeof *blocks);
        if (!blocks)
            abort();
        a->blocks = blocks;
        a->capacity = capacity;
    }
    struct anthropic_block *b = &a->blocks[a->n_blocks++];
    *b = (struct anthropic_block){.kind = kind};
    buf_init(&b->text, LIMIT_PROVIDER_BODY);
    buf_init(&b->more, LIMIT_PROVIDER_BODY);
    buf_init(&b->name, 4 * KIB);
    buf_init(&b->rest, LIMIT_PROVIDER_BODY);
    return b;
}

/* The last block where it is of this kind and goes on, else a new one. */
static struct anthropic_block *block_last(struct anthropic_answer *a, enum anthropic_block_kind kind)
{
    struct anthropic_block *last = a->n_blocks ? &a->blocks[a->n_blocks - 1] : NULL;
    return last && last->kind == kind && !last->closed ? last : block_add(a, kind);
}

static struct anthropic_block *block_tool(struct anthropic_answer *a, uint32_t tool)
{
    for (size_t i = a->n_blocks; i-- > 0;)
        if (a->blocks[i].kind == ANTHROPIC_TOOL && a->blocks[i].tool == tool)
            return &a->blocks[i];
    struct anthropic_block *b = block_add(a, ANTHROPIC_TOOL);
    if (b)
        b->tool = tool;
    return b;
}

static struct anthropic_block *signature_take(struct anthropic_answer *a, const struct chat_event *e)
{
    struct anthropic_block *b;
    if (e->signature.data.len > 0) {
        b = block_add(a, ANTHROPIC_REDACTED);
        if (b)
            buf_append_str(&b->text, e->signature.data);
        return b;
    }
    b = block_last(a, ANTHROPIC_THINKING);
    if (b) {
        buf_append_str(&b->more, e->signature.text);
        b->closed = true;
    }
    return b;
}

/* Of a tool call, in this shape's words. */
static struct str rest_of(const struct chat_event *e)
{
    return e->tool_call.more_of == CHAT_SHAPE_ANTHROPIC ? e->tool_call.more : STR_NONE;
}

static struct anthropic_block *tool_take(struct anthropic_answer *a, const struct chat_event *e)
{
    struct anthropic_block *b = block_tool(a, e->tool_call.index);
    if (!b)
        return NULL;
    buf_append_str(&b->more, e->tool_call.id);
    buf_append_str(&b->name, e->tool_call.name);
    buf_append_str(&b->text, e->tool_call.arguments);
    buf_append_str(&b->rest, rest_of(e));
    return b;
}

static struct anthropic_block *native_take(struct anthropic_answer *a, const struct chat_event *e)
{
    bool piece = e->native.what == CHAT_NATIVE_PIECE;
    struct anthropic_block *b = piece ? block_last(a, ANTHROPIC_TEXT) : block_add(a, ANTHROPIC_NATIVE);
    if (!b)
        return NULL;
    if (!piece) {
        buf_append_str(&b->text, e->native.json);
        return b;
    }
    if (b->more.len > 0)
        buf_append_char(&b->more, ',');
    buf_append_str(&b->more, e->native.json);
    return b;
}

/* Members of the answer: those that came last count. False: it is no such event. */
static bool members_take(struct anthropic_answer *a, const struct chat_event *e)
{
    struct buf *kept = e->native.what == CHAT_NATIVE_CHOICE   ? &a->delta_more
                       : e->native.what == CHAT_NATIVE_ANSWER ? &a->more
                       : e->native.what == CHAT_NATIVE_USAGE  ? &a->usage_more
                                                              : NULL;
    if (!kept)
        return false;
    buf_clear(kept);
    buf_append_str(kept, e->native.json); /* which fits: an event of the provider's is smaller */
    return true;
}

static void stop_take(struct anthropic_answer *a, const struct chat_event *e)
{
    a->stop = e->stop;
    buf_append_str(&a->stop_string, e->stop_string);
}

int anthropic_answer_gather(struct anthropic_answer *a, const struct chat_event *e, struct error *err)
{
    struct anthropic_block *b = NULL;
    switch (e->kind) {
    case CHAT_EVENT_TEXT:
    case CHAT_EVENT_REASONING:
        b = block_last(a, e->kind == CHAT_EVENT_TEXT ? ANTHROPIC_TEXT : ANTHROPIC_THINKING);
        if (b)
            buf_append_str(&b->text, e->text);
        break;
    case CHAT_EVENT_SIGNATURE:
        b = signature_take(a, e);
        break;
    case CHAT_EVENT_TOOL_CALL:
        b = tool_take(a, e);
        break;
    case CHAT_EVENT_NATIVE:
        if (e->native.shape != CHAT_SHAPE_ANTHROPIC || members_take(a, e))
            return 0;
        b = native_take(a, e);
        break;
    case CHAT_EVENT_STOP:
        stop_take(a, e);
        return 0;
    default:
        return 0;
    }
    if (!b || b->text.failed || b->more.failed || b->name.failed || b->rest.failed)
        return error_set(err, ERROR_LIMIT, "the answer is too large");
    return 0;
}

/* ---- Whole answers ---- */

/* A model may write what is no JSON object: its text is kept, as Anthropic's own documentation wraps it. */
static void input_write(struct json_writer *w, struct str arguments)
{
    json_t *input = NULL;
    struct error ignored; /* told below by keeping the text */
    json_key(w, "input");
    if (str_trim(arguments).len == 0)
        arguments = STR("{}");
    if (json_read(arguments, &input, &ignored) == 0 && json_is_object(input)) {
        json_write_raw(w, str_trim(arguments));
    } else {
        json_object_begin(w);
        json_member_str(w, "INVALID_JSON", arguments);
        json_object_end(w);
    }
    json_decref(input);
}

static void block_write(struct json_writer *w, const struct anthropic_block *b)
{
    if (b->kind == ANTHROPIC_NATIVE) {
        json_write_raw(w, buf_str(&b->text));
        return;
    }
    json_object_begin(w);
    if (b->kind == ANTHROPIC_TEXT) {
        json_member_str(w, "type", STR("text"));
        json_member_str(w, "text", buf_str(&b->text));
        if (b->more.len > 0) {
            json_key(w, "citations");
            json_array_begin(w);
            json_write_raw(w, buf_str(&b->more));
            json_array_end(w);
        }
    } else if (b->kind == ANTHROPIC_THINKING) {
        json_member_str(w, "type", STR("thinking"));
        json_member_str(w, "thinking", buf_str(&b->text));
        json_member_str(w, "signature", buf_str(&b->more));
    } else if (b->kind == ANTHROPIC_REDACTED) {
        json_member_str(w, "type", STR("redacted_thinking"));
        json_member_str(w, "data", buf_str(&b->text));
    } else {
        json_member_str(w, "type", STR("tool_use"));
        json_member_str(w, "id", buf_str(&b->more));
        json_member_str(w, "name", buf_str(&b->name));
        input_write(w, buf_str(&b->text));
        json_write_raw_members(w, buf_str(&b->rest));
    }
    json_object_end(w);
}

static const char *stop_reason(enum chat_stop stop)
{
    static const char *const names[] = {
        "end_turn", "max_tokens", "tool_use", "refusal", "stop_sequence", "pause_turn"};
    return names[stop];
}

static void stop_write(struct json_writer *w, const struct anthropic_answer *a)
{
    json_member_text(w, "stop_reason", stop_reason(a->stop));
    json_key(w, "stop_sequence");
    if (a->stop_string.len > 0)
        json_write_str(w, buf_str(&a->stop_string));
    else
        json_write_null(w);
}

static void count_write(struct json_writer *w, const char *key, int64_t n)
{
    json_member_int(w, key, n > 0 ? n : 0);
}

/* What a cache gave and took is counted apart from `input_tokens`. */
static void usage_write(struct json_writer *w, const struct anthropic_answer *a, const struct chat_usage *u)
{
    json_key(w, "usage");
    json_object_begin(w);
    count_write(w, "input_tokens", u->input_tokens - u->cached_tokens - u->written_tokens);
    count_write(w, "cache_creation_input_tokens", u->written_tokens);
    count_write(w, "cache_read_input_tokens", u->cached_tokens);
    count_write(w, "output_tokens", u->output_tokens);
    if (u->reasoning_tokens > 0) {
        json_key(w, "output_tokens_details");
        json_object_begin(w);
        count_write(w, "thinking_tokens", u->reasoning_tokens);
        json_object_end(w);
    }
    json_write_raw_members(w, buf_str(&a->usage_more));
    json_object_end(w);
}

static void head_write(struct json_writer *w, const struct anthropic_answer *a)
{
    json_member_str(w, "id", str_from(a->id));
    json_member_str(w, "type", STR("message"));
    json_member_str(w, "role", STR("assistant"));
    json_member_str(w, "model", a->model);
}

void anthropic_answer_write(struct anthropic_answer *a, const struct chat_usage *usage, struct buf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_object_begin(&w);
    head_write(&w, a);
    json_key(&w, "content");
    json_array_begin(&w);
    for (size_t i = 0; i < a->n_blocks; i++)
        block_write(&w, &a->blocks[i]);
    json_array_end(&w);
    stop_write(&w, a);
    json_write_raw_members(&w, buf_str(&a->delta_more));
    json_write_raw_members(&w, buf_str(&a->more));
    usage_write(&w, a, usage);
    json_object_end(&w);
}

/* ---- Streams ---- */

/* "event: TYPE", and the object begun with its type. */
static void event_begin(struct json_writer *w, const char *type, struct buf *out)
{
    buf_append_text(out, "event: ");
    buf_append_text(out, type);
    buf_append_text(out, "\ndata: ");
    json_writer_init(w, out);
    json_object_begin(w);
    json_member_text(w, "type", type);
}

static void event_end(struct json_writer *w)
{
    json_object_end(w);
    buf_append_text(w->buf, "\n\n");
}

static void open_stream(struct anthropic_answer *a, struct buf *out)
{
    struct json_writer w;
    if (a->opened)
        return;
    a->opened = true;
    event_begin(&w, "message_start", out);
    json_key(&w, "message");
    json_object_begin(&w);
    head_write(&w, a);
    json_key(&w, "content");
    json_array_begin(&w);
    json_array_end(&w);
    json_key(&w, "stop_reason");
    json_write_null(&w);
    json_key(&w, "stop_sequence");
    json_write_null(&w);
    usage_write(&w, a, &a->usage);
    json_object_end(&w);
    event_end(&w);
}

static void index_begin(
    struct json_writer *w, const struct anthropic_answer *a, const char *type, struct buf *out)
{
    event_begin(w, type, out);
    json_member_int(w, "index", a->index);
}

static void block_close(struct anthropic_answer *a, struct buf *out)
{
    struct json_writer w;
    if (a->open == ANTHROPIC_NONE)
        return;
    index_begin(&w, a, "content_block_stop", out);
    event_end(&w);
    a->open = ANTHROPIC_NONE;
}

static void ping(struct anthropic_answer *a, struct buf *out)
{
    struct json_writer w;
    if (a->pinged)
        return;
    a->pinged = true;
    event_begin(&w, "ping", out);
    event_end(&w);
}

/* content_block_start with the block as it stands: without its text, which comes as deltas. */
static void block_open(struct anthropic_answer *a, const struct anthropic_block *b, struct buf *out)
{
    struct json_writer w;
    block_close(a, out);
    a->index++;
    a->open = b->kind;
    index_begin(&w, a, "content_block_start", out);
    json_key(&w, "content_block");
    block_write(&w, b);
    event_end(&w);
    ping(a, out);
}

static void delta(
    const struct anthropic_answer *a, const char *type, const char *key, struct str value, struct buf *out)
{
    struct json_writer w;
    index_begin(&w, a, "content_block_delta", out);
    json_key(&w, "delta");
    json_object_begin(&w);
    json_member_text(&w, "type", type);
    json_member_str(&w, key, value);
    json_object_end(&w);
    event_end(&w);
}

static void open_as(struct anthropic_answer *a, enum anthropic_block_kind kind, struct buf *out)
{
    if (a->open != kind)
        block_open(a, &(struct anthropic_block){.kind = kind}, out);
}

/* Follows the arguments of the open call: are they a whole value? */
static bool json_complete(struct anthropic_answer *a, struct str piece)
{
    for (size_t i = 0; i < piece.len; i++) {
        char c = piece.data[i];
        if (a->json.escaped) {
            a->json.escaped = false;
        } else if (a->json.in_string) {
            a->json.escaped = c == '\\';
            a->json.in_string = c != '"';
        } else {
            a->json.in_string = c == '"';
            a->json.depth += (c == '{' || c == '[') - (c == '}' || c == ']');
            a->json.begun |= c == '{' || c == '[';
        }
    }
    return a->json.begun && a->json.depth <= 0;
}

static void arguments_write(struct anthropic_answer *a, struct str piece, struct buf *out)
{
    if (piece.len > 0)
        delta(a, "input_json_delta", "partial_json", piece, out);
}

static void tool_open(struct anthropic_answer *a, uint32_t tool, struct str id, struct str name,
    struct str rest, struct buf *out)
{
    struct anthropic_block b = {.kind = ANTHROPIC_TOOL};
    buf_init(&b.more, 4 * KIB);
    buf_init(&b.name, 4 * KIB);
    buf_append_str(&b.more, id);
    buf_append_str(&b.name, name);
    buf_init(&b.rest, LIMIT_PROVIDER_BODY);
    buf_append_str(&b.rest, rest);
    a->tool = tool;
    memset(&a->json, 0, sizeof a->json);
    block_open(a, &b, out);
    buf_free(&b.more);
    buf_free(&b.name);
    buf_free(&b.rest);
}

/* The calls that wait, in the order in which they began. */
static void tools_flush(struct anthropic_answer *a, struct buf *out)
{
    for (size_t i = 0; i < a->n_blocks; i++) {
        const struct anthropic_block *b = &a->blocks[i];
        tool_open(a, b->tool, buf_str(&b->more), buf_str(&b->name), buf_str(&b->rest), out);
        arguments_write(a, buf_str(&b->text), out);
        json_complete(a, buf_str(&b->text));
    }
    blocks_free(a);
}

static void tool_event(struct anthropic_answer *a, const struct chat_event *e, struct buf *out)
{
    struct str piece = e->tool_call.arguments;
    bool is_open = a->open == ANTHROPIC_TOOL && a->tool == e->tool_call.index;
    bool free_way = a->open != ANTHROPIC_TOOL || json_complete(a, STR_NONE);
    if (!is_open && (!free_way || a->n_blocks > 0)) {
        /* It waits for the end of the open one. Past the bound it is cut, as a stream of that size is. */
        if (!tool_take(a, e))
            tools_flush(a, out);
        return;
    }
    if (!is_open)
        tool_open(a, e->tool_call.index, e->tool_call.id, e->tool_call.name, rest_of(e), out);
    arguments_write(a, piece, out);
    if (json_complete(a, piece) && a->n_blocks > 0)
        tools_flush(a, out);
}

static void signature_event(struct anthropic_answer *a, const struct chat_event *e, struct buf *out)
{
    if (e->signature.data.len > 0) {
        struct anthropic_block b = {.kind = ANTHROPIC_REDACTED};
        buf_init(&b.text, LIMIT_PROVIDER_BODY);
        buf_append_str(&b.text, e->signature.data);
        block_open(a, &b, out);
        buf_free(&b.text);
    } else {
        open_as(a, ANTHROPIC_THINKING, out);
        delta(a, "signature_delta", "signature", e->signature.text, out);
    }
    block_close(a, out);
}

static void native_event(struct anthropic_answer *a, const struct chat_event *e, struct buf *out)
{
    struct json_writer w;
    if (e->native.what == CHAT_NATIVE_PIECE) {
        open_as(a, ANTHROPIC_TEXT, out);
        index_begin(&w, a, "content_block_delta", out);
        json_key(&w, "delta");
        json_object_begin(&w);
        json_member_str(&w, "type", STR("citations_delta"));
        json_key(&w, "citation");
        json_write_raw(&w, e->native.json);
        json_object_end(&w);
        event_end(&w);
        return;
    }
    struct anthropic_block b = {.kind = ANTHROPIC_NATIVE};
    buf_init(&b.text, LIMIT_PROVIDER_BODY);
    buf_append_str(&b.text, e->native.json);
    block_open(a, &b, out);
    buf_free(&b.text);
    block_close(a, out);
}

static void stream_error(const struct anthropic_answer *a, const struct chat_failure *f, struct buf *out)
{
    buf_append_text(out, "event: error\ndata: ");
    anthropic_error_write(f->status ? f->status : 502, f->message, str_from(a->request_id), out);
    buf_append_text(out, "\n\n");
}

void anthropic_stream_event(struct anthropic_answer *a, const struct chat_event *e, struct buf *out)
{
    if (e->kind == CHAT_EVENT_ERROR) {
        stream_error(a, &e->failure, out);
        return;
    }
    if (e->kind == CHAT_EVENT_NATIVE && (e->native.shape != CHAT_SHAPE_ANTHROPIC || members_take(a, e)))
        return;
    open_stream(a, out);
    if (e->kind != CHAT_EVENT_TOOL_CALL)
        tools_flush(a, out);
    switch (e->kind) {
    case CHAT_EVENT_TEXT:
        open_as(a, ANTHROPIC_TEXT, out);
        delta(a, "text_delta", "text", e->text, out);
        break;
    case CHAT_EVENT_REASONING:
        open_as(a, ANTHROPIC_THINKING, out);
        delta(a, "thinking_delta", "thinking", e->text, out);
        break;
    case CHAT_EVENT_SIGNATURE:
        signature_event(a, e, out);
        break;
    case CHAT_EVENT_TOOL_CALL:
        tool_event(a, e, out);
        break;
    case CHAT_EVENT_NATIVE:
        native_event(a, e, out);
        break;
    case CHAT_EVENT_STOP:
        block_close(a, out);
        stop_take(a, e);
        break;
    default:
        break;
    }
}

void anthropic_stream_end(struct anthropic_answer *a, const struct chat_usage *usage, struct buf *out)
{
    struct json_writer w;
    event_begin(&w, "message_delta", out);
    json_key(&w, "delta");
    json_object_begin(&w);
    stop_write(&w, a);
    json_write_raw_members(&w, buf_str(&a->delta_more));
    json_object_end(&w);
    usage_write(&w, a, usage);
    json_write_raw_members(&w, buf_str(&a->more));
    event_end(&w);
    event_begin(&w, "message_stop", out);
    event_end(&w);
}

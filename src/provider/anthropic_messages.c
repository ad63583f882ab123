/* A conversation as Anthropic wants it: instructions apart, turns of user and assistant by turns, a tool's
 * results in the user turn that follows the call.
 *
 *   system "S" | user "A" | assistant calls 1 and 2 | tool 1 "x" | tool 2 "y" | user "B"
 *   -->
 *   system: ["S"]   user: ["A"]   assistant: [tool_use 1, tool_use 2]   user: [result 1, result 2, "B"] */
#include <string.h>

#include "base/ascii.h"
#include "base/limits.h"
#include "provider/anthropic.h"

void provider_anthropic_cache_control(struct json_writer *w, const json_t *raw)
{
    const json_t *control = json_object_get(raw, "cache_control");
    if (!json_is_object(control))
        return;
    json_key(w, "cache_control");
    json_write_value(w, control);
}

/* As it came: a part of this shape, whatever it is. */
static bool write_native(struct json_writer *w, const struct chat_request *r, const json_t *raw)
{
    if (r->shape != CHAT_SHAPE_ANTHROPIC || !raw)
        return false;
    json_write_value(w, raw);
    return true;
}

void provider_anthropic_rest(struct json_writer *w, const json_t *object)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        json_key(w, key);
        json_write_value(w, value);
    }
}

/* Empty text is an error to Anthropic and says nothing: it is left out. */
static void write_text(struct json_writer *w, struct str text, const json_t *raw)
{
    if (text.len == 0)
        return;
    json_object_begin(w);
    json_member_str(w, "type", STR("text"));
    json_member_str(w, "text", text);
    provider_anthropic_cache_control(w, raw);
    json_object_end(w);
}

/* ---- Images and documents ---- */

static int write_source(struct json_writer *w, const struct chat_request *r, const char *kind,
    const struct chat_part *p, struct error *err)
{
    struct str type, data;
    bool inlined = provider_data_url(p->url, &type, &data);
    if (!inlined && !str_starts(p->url, STR("https://")))
        return error_set(
            err, ERROR_UNSUPPORTED, "the URL of an %s must begin with https:// or data:…;base64,", kind);
    json_object_begin(w);
    json_member_str(w, "type", str_from(kind));
    json_key(w, "source");
    json_object_begin(w);
    json_member_str(w, "type", inlined ? STR("base64") : STR("url"));
    if (inlined) {
        json_member_str(w, "media_type", type);
        json_member_str(w, "data", data);
    } else {
        json_member_str(w, "url", p->url);
    }
    json_object_end(w);
    if (r->shape == CHAT_SHAPE_ANTHROPIC) {
        provider_anthropic_rest(w, p->raw);
        json_object_end(w);
        return 0;
    }
    if (p->kind == CHAT_PART_FILE && p->text.len > 0)
        json_member_str(w, "title", p->text);
    provider_anthropic_cache_control(w, p->raw);
    json_object_end(w);
    return 0;
}

static int write_part(
    struct json_writer *w, const struct chat_request *r, const struct chat_part *p, struct error *err)
{
    if (p->kind == CHAT_PART_IMAGE)
        return write_source(w, r, "image", p, err);
    if (p->kind == CHAT_PART_FILE)
        return write_source(w, r, "document", p, err);
    if (write_native(w, r, p->raw))
        return 0;
    write_text(w, p->kind == CHAT_PART_TEXT ? p->text : json_text(p->raw, "refusal"), p->raw);
    return 0;
}

static int write_parts(
    struct json_writer *w, const struct chat_request *r, const struct chat_message *m, struct error *err)
{
    int rc = 0;
    for (size_t i = 0; i < m->n_parts && rc == 0; i++)
        rc = write_part(w, r, &m->parts[i], err);
    return rc;
}

/* ---- Tools ---- */

/* Anthropic's ids are of [A-Za-z0-9_-]; others use more. The same id always becomes the same one. */
static void write_id(struct json_writer *w, const char *key, struct str id)
{
    struct buf clean;
    buf_init(&clean, 4 * KIB);
    for (size_t i = 0; i < id.len && i < 4 * KIB; i++) {
        char c = id.data[i];
        buf_append_char(&clean, ascii_is_alnum(c) || c == '-' ? c : '_');
    }
    json_member_str(w, key, buf_str(&clean));
    buf_free(&clean);
}

static int write_tool_use(
    struct json_writer *w, const struct chat_request *r, const struct chat_tool_call *call, struct error *err)
{
    struct str arguments;
    if (write_native(w, r, call->raw))
        return 0;
    int rc = provider_arguments(call, &arguments, err);
    if (rc)
        return rc;
    json_object_begin(w);
    json_member_str(w, "type", STR("tool_use"));
    write_id(w, "id", call->id);
    json_member_str(w, "name", call->name);
    json_key(w, "input");
    json_write_raw(w, arguments);
    json_object_end(w);
    return 0;
}

static int write_tool_result(
    struct json_writer *w, const struct chat_request *r, const struct chat_message *m, struct error *err)
{
    bool ours = r->shape == CHAT_SHAPE_ANTHROPIC;
    int rc = 0;
    json_object_begin(w);
    json_member_str(w, "type", STR("tool_result"));
    write_id(w, "tool_use_id", m->tool_call_id);
    json_key(w, "content");
    json_array_begin(w);
    /* `is_error` says what the first part of a failure says. */
    for (size_t i = ours && m->failed; i < m->n_parts && rc == 0; i++)
        rc = write_part(w, r, &m->parts[i], err);
    json_array_end(w);
    if (ours)
        provider_anthropic_rest(w, m->vendor);
    if (m->failed)
        json_member_bool(w, "is_error", true);
    json_object_end(w);
    return rc;
}

/* ---- Messages ---- */

/* The instructions among the first `n` messages. */
static int write_system(struct json_writer *w, const struct chat_request *r, size_t n, struct error *err)
{
    bool begun = false;
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (!provider_is_instruction(&r->messages[i]) || !provider_has_content(&r->messages[i]))
            continue;
        if (!begun) {
            json_key(w, "system");
            json_array_begin(w);
            begun = true;
        }
        rc = write_parts(w, r, &r->messages[i], err);
    }
    if (begun)
        json_array_end(w);
    return rc;
}

/* Reasoning goes back to its maker as it was given; what has no signature is none of Anthropic's. */
static void write_thought(struct json_writer *w, const struct chat_thought *t)
{
    if (t->data.len == 0 && t->signature.len == 0)
        return;
    json_object_begin(w);
    if (t->data.len > 0) {
        json_member_str(w, "type", STR("redacted_thinking"));
        json_member_str(w, "data", t->data);
    } else {
        json_member_str(w, "type", STR("thinking"));
        json_member_str(w, "thinking", t->text);
        json_member_str(w, "signature", t->signature);
    }
    json_object_end(w);
}

/* One kind of a message's pieces, from *next on: the next one, or all that are left. */
static int write_pieces(struct json_writer *w, const struct chat_request *r, const struct chat_message *m,
    char kind, bool all, size_t *next, struct error *err)
{
    size_t n = kind == 'r' ? m->n_thoughts : kind == 'p' ? m->n_parts : m->n_tool_calls;
    int rc = 0;
    for (size_t end = all || *next == n ? n : *next + 1; *next < end && rc == 0; ++*next) {
        if (kind == 'r')
            write_thought(w, &m->thoughts[*next]);
        else if (kind == 'p')
            rc = write_part(w, r, &m->parts[*next], err);
        else
            rc = write_tool_use(w, r, &m->tool_calls[*next], err);
    }
    return rc;
}

static int write_blocks(
    struct json_writer *w, const struct chat_request *r, const struct chat_message *m, struct error *err)
{
    size_t thoughts = 0, parts = 0, calls = 0;
    int rc = 0;
    if (m->role == CHAT_TOOL)
        return write_tool_result(w, r, m, err);
    for (size_t i = 0; i < m->order.len && rc == 0; i++) {
        char kind = m->order.data[i];
        rc = write_pieces(w, r, m, kind, false, kind == 'r' ? &thoughts : kind == 'p' ? &parts : &calls, err);
    }
    if (rc == 0)
        rc = write_pieces(w, r, m, 'r', true, &thoughts, err);
    if (rc == 0)
        rc = write_pieces(w, r, m, 'p', true, &parts, err);
    if (rc == 0 && m->role == CHAT_ASSISTANT)
        write_text(w, json_text(m->vendor, "refusal"), NULL);
    return rc ? rc : write_pieces(w, r, m, 'c', true, &calls, err);
}

static void turn_begin(struct json_writer *w, const char *role)
{
    json_object_begin(w);
    json_member_str(w, "role", str_from(role));
    json_key(w, "content");
    json_array_begin(w);
}

static void turn_end(struct json_writer *w)
{
    json_array_end(w);
    json_object_end(w);
}

int provider_anthropic_messages(struct json_writer *w, const struct chat_request *r, struct error *err)
{
    const char *turn = NULL, *next;
    bool ours = r->shape == CHAT_SHAPE_ANTHROPIC;
    /* In this shape instructions may also stand between the turns. */
    size_t first = ours && provider_is_instruction(&r->messages[0]);
    int rc = write_system(w, r, ours ? first : r->n_messages, err);
    json_key(w, "messages");
    json_array_begin(w);
    for (size_t i = first; i < r->n_messages && rc == 0; i++) {
        const struct chat_message *m = &r->messages[i];
        if ((!ours && provider_is_instruction(m)) || !provider_has_content(m))
            continue;
        next = provider_is_instruction(m) ? "system" : m->role == CHAT_ASSISTANT ? "assistant" : "user";
        if (!turn || strcmp(next, turn) != 0) {
            if (turn)
                turn_end(w);
            turn_begin(w, next);
            turn = next;
        }
        rc = write_blocks(w, r, m, err);
    }
    if (turn)
        turn_end(w);
    json_array_end(w);
    if (rc == 0 && !turn)
        rc = error_set(err, ERROR_INVALID, "there is no message to answer: send one from the user");
    return rc;
}

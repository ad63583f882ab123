/* The content blocks of Anthropic's messages. */
#include "api/anthropic_blocks.h"

#include <string.h>

#include "api/read.h"
#include "base/limits.h"

static int no_memory(struct error *err)
{
    return error_set(err, ERROR_MEMORY, "no memory for the request");
}

static void only_native(struct chat_request *r, const char *what)
{
    if (r->only_native.len == 0)
        r->only_native = str_from(what);
}

/* ---- What is sent along: images and documents ---- */

/* "data:TYPE;base64,DATA" in the arena. */
static int data_url(struct arena *a, struct str type, struct str data, struct str *out, struct error *err)
{
    struct str head = STR("data:"), mark = STR(";base64,"), pieces[] = {head, type, mark, data};
    size_t room = head.len + type.len + mark.len + data.len, at = 0;
    char *text = arena_try_array(a, char, room);
    if (!text)
        return no_memory(err);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        if (pieces[i].len > 0)
            memcpy(text + at, pieces[i].data, pieces[i].len);
        at += pieces[i].len;
    }
    *out = (struct str){text, room};
    return 0;
}

/* {"type":"base64","media_type","data"} or {"type":"url","url"} into the part's url; a source of another type
 * leaves it empty. */
static int source_read(struct arena *a, const json_t *item, struct chat_part *p, struct error *err)
{
    const json_t *source = json_object_get(item, "source");
    struct str type = json_text(source, "type"), media = json_text(source, "media_type");
    if (!json_is_object(source) || type.len == 0)
        return error_set(err, ERROR_INVALID, "must have a 'source' with a 'type'");
    if (str_is(type, "url")) {
        p->url = json_text(source, "url");
        return p->url.len > 0 ? 0 : error_set(err, ERROR_INVALID, "a 'source' of type url must have a 'url'");
    }
    if (!str_is(type, "base64"))
        return 0;
    if (media.len == 0 || json_text(source, "data").len == 0)
        return error_set(err, ERROR_INVALID, "a 'source' of type base64 must have a 'media_type' and 'data'");
    return data_url(a, media, json_text(source, "data"), &p->url, err);
}

/* A document of plain text is text to those who take no files, under its title. */
static int document_text(
    struct arena *a, const json_t *item, struct str text, struct chat_part *p, struct error *err)
{
    struct str title = json_text(item, "title"), pieces[] = {title, STR("\n\n"), text};
    p->kind = CHAT_PART_TEXT;
    p->text = text;
    if (title.len == 0)
        return 0;
    size_t room = title.len + 2 + text.len, at = 0;
    char *joined = arena_try_array(a, char, room);
    if (!joined)
        return no_memory(err);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        if (pieces[i].len > 0)
            memcpy(joined + at, pieces[i].data, pieces[i].len);
        at += pieces[i].len;
    }
    p->text = (struct str){joined, room};
    return 0;
}

/* What is sent along is in the part's url: of the block only the rest is kept, so that nobody reads pixels as
 * text. */
static int sent_along_read(
    struct arena *a, const json_t *item, enum chat_part_kind kind, struct chat_part *p, struct error *err)
{
    static const char *const known[] = {"type", "source", NULL};
    int rc = source_read(a, item, p, err);
    p->kind = p->url.len > 0 ? kind : CHAT_PART_OTHER;
    p->raw_is_rest = p->url.len > 0;
    return rc || p->url.len == 0 ? rc : api_read_vendor(a, item, known, &p->raw, err);
}

static int document_read(
    struct arena *a, const json_t *item, struct chat_part *p, struct chat_request *r, struct error *err)
{
    const json_t *source = json_object_get(item, "source");
    if (json_is_true(json_object_get(json_object_get(item, "citations"), "enabled")))
        only_native(r, "citations");
    if (json_text(item, "context").len > 0)
        only_native(r, "context");
    if (str_is(json_text(source, "type"), "text")) {
        if (json_text(source, "data").len == 0)
            return error_set(err, ERROR_INVALID, "a 'source' of type text must have 'data'");
        return document_text(a, item, json_text(source, "data"), p, err);
    }
    p->text = json_text(item, "title");
    return sent_along_read(a, item, CHAT_PART_FILE, p, err);
}

/* ---- Blocks ---- */

static int part_read(
    struct arena *a, const json_t *item, struct chat_part *p, struct chat_request *r, struct error *err)
{
    struct str type = json_text(item, "type");
    p->raw = item;
    if (!json_is_object(item) || type.len == 0)
        return error_set(err, ERROR_INVALID, "a block must be an object with a 'type'");
    if (str_is(type, "text")) {
        p->kind = CHAT_PART_TEXT;
        if (!json_is_string(json_object_get(item, "text")))
            return error_set(err, ERROR_INVALID, "a block of type text must have the string 'text'");
        p->text = json_text(item, "text");
        if (json_object_size(item) == 2)
            p->raw = NULL;
        return 0;
    }
    if (str_is(type, "document"))
        return document_read(a, item, p, r, err);
    p->kind = CHAT_PART_OTHER;
    return str_is(type, "image") ? sent_along_read(a, item, CHAT_PART_IMAGE, p, err) : 0;
}

static int parts_create(struct arena *a, size_t n, struct chat_message *m, struct error *err)
{
    if (n > LIMIT_PARTS)
        return error_set(err, ERROR_INVALID, "has %zu blocks: at most %d are allowed", n, LIMIT_PARTS);
    m->parts = arena_try_array(a, struct chat_part, n ? n : 1);
    return m->parts ? 0 : no_memory(err);
}

int api_anthropic_content_read(
    struct arena *a, const json_t *content, struct chat_message *m, struct chat_request *r, struct error *err)
{
    size_t n = json_is_string(content) ? 1 : json_array_size(content);
    if (!json_is_string(content) && !json_is_array(content))
        return error_set(err, ERROR_INVALID, "must be a string or a list of blocks");
    int rc = parts_create(a, n, m, err);
    if (rc)
        return rc;
    if (json_is_string(content)) {
        m->parts[0].text = json_str(content);
        m->n_parts = 1;
        return 0;
    }
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = part_read(a, json_array_get(content, i), &m->parts[m->n_parts++], r, err);
        if (rc)
            error_wrap(err, "content[%zu]", i);
    }
    return rc;
}

/* ---- The user's turn ---- */

/* Where a target has no word for a failure, the result itself says so. */
static void failure_say(struct arena *a, struct chat_message *m)
{
    struct chat_part *parts = arena_alloc(a, (m->n_parts + 1) * sizeof *parts);
    parts[0].text = STR("The tool failed:");
    for (size_t i = 0; i < m->n_parts; i++)
        parts[i + 1] = m->parts[i];
    m->parts = parts;
    m->n_parts++;
}

static int tool_result_read(struct arena *a, const json_t *item, struct chat_request *r, struct error *err)
{
    static const char *const known[] = {"type", "tool_use_id", "content", "is_error", NULL};
    struct chat_message *m = &r->messages[r->n_messages++];
    const json_t *content = json_object_get(item, "content");
    m->role = CHAT_TOOL;
    int rc = json_get_str(item, "tool_use_id", &m->tool_call_id, err);
    if (rc == 0 && m->tool_call_id.len == 0)
        rc = error_set(err, ERROR_INVALID, "a tool_result must have a 'tool_use_id'");
    if (rc == 0)
        rc = json_get_bool(item, "is_error", false, &m->failed, err);
    if (rc == 0 && content && !json_is_null(content))
        rc = api_anthropic_content_read(a, content, m, r, err);
    if (rc == 0)
        rc = api_read_vendor(a, item, known, &m->vendor, err);
    if (rc)
        return rc;
    if (json_object_size(m->vendor) > (size_t)(json_object_get(m->vendor, "cache_control") != NULL))
        only_native(r, "tool_result");
    if (m->failed)
        failure_say(a, m);
    return 0;
}

/* Blocks up to the next result of a tool are one message. */
int api_anthropic_user_read(struct arena *a, const json_t *content, struct chat_request *r, struct error *err)
{
    struct chat_message *m = NULL;
    int rc = 0;
    if (json_is_string(content)) {
        m = &r->messages[r->n_messages++];
        m->role = CHAT_USER;
        return api_anthropic_content_read(a, content, m, r, err);
    }
    size_t n = json_array_size(content);
    for (size_t i = 0; i < n && rc == 0; i++) {
        const json_t *item = json_array_get(content, i);
        if (str_is(json_text(item, "type"), "tool_result")) {
            rc = tool_result_read(a, item, r, err);
            m = NULL;
        } else {
            if (!m) {
                m = &r->messages[r->n_messages++];
                m->role = CHAT_USER;
                rc = parts_create(a, n - i, m, err);
            }
            if (rc == 0)
                rc = part_read(a, item, &m->parts[m->n_parts++], r, err);
        }
        if (rc)
            error_wrap(err, "content[%zu]", i);
    }
    return rc;
}

/* ---- The assistant's turn ---- */

static int tool_use_read(struct arena *a, const json_t *item, struct chat_tool_call *c, struct error *err)
{
    const json_t *input = json_object_get(item, "input");
    struct buf text;
    struct json_writer w;
    int rc = json_get_str(item, "id", &c->id, err);
    if (rc == 0)
        rc = json_get_str(item, "name", &c->name, err);
    if (rc == 0 && (c->id.len == 0 || c->name.len == 0 || !json_is_object(input)))
        rc = error_set(err, ERROR_INVALID, "a tool_use must have an 'id', a 'name' and an object 'input'");
    if (rc)
        return rc;
    buf_init(&text, 2 * LIMIT_HTTP_BODY);
    json_writer_init(&w, &text);
    json_write_value(&w, input);
    rc = text.failed ? text.failed : arena_try_copy(a, buf_str(&text), &c->arguments);
    buf_free(&text);
    c->raw = json_object_size(item) > 4 ? item : NULL;
    return rc ? no_memory(err) : 0;
}

static int thought_read(const json_t *item, struct chat_thought *t, struct error *err)
{
    if (str_is(json_text(item, "type"), "redacted_thinking")) {
        t->data = json_text(item, "data");
        return t->data.len > 0 ? 0 : error_set(err, ERROR_INVALID, "a redacted_thinking must have 'data'");
    }
    int rc = json_get_str(item, "thinking", &t->text, err);
    return rc ? rc : json_get_str(item, "signature", &t->signature, err);
}

/* For targets to whom reasoning is one text. */
static int reasoning_join(struct arena *a, struct chat_message *m, struct error *err)
{
    size_t room = 0, at = 0;
    for (size_t i = 0; i < m->n_thoughts; i++)
        room += m->thoughts[i].text.len;
    char *text = room ? arena_try_array(a, char, room) : NULL;
    if (room && !text)
        return no_memory(err);
    for (size_t i = 0; i < m->n_thoughts; i++) {
        struct str piece = m->thoughts[i].text;
        if (piece.len > 0)
            memcpy(text + at, piece.data, piece.len);
        at += piece.len;
    }
    if (room)
        m->reasoning = (struct str){text, room};
    return 0;
}

static int assistant_block(struct arena *a, const json_t *item, struct chat_message *m, char *order,
    struct chat_request *r, struct error *err)
{
    struct str type = json_text(item, "type");
    if (str_is(type, "thinking") || str_is(type, "redacted_thinking")) {
        *order = 'r';
        return thought_read(item, &m->thoughts[m->n_thoughts++], err);
    }
    if (str_is(type, "tool_use")) {
        *order = 'c';
        return tool_use_read(a, item, &m->tool_calls[m->n_tool_calls++], err);
    }
    *order = 'p';
    return part_read(a, item, &m->parts[m->n_parts++], r, err);
}

int api_anthropic_assistant_read(
    struct arena *a, const json_t *content, struct chat_request *r, struct error *err)
{
    struct chat_message *m = &r->messages[r->n_messages++];
    size_t n = json_array_size(content);
    m->role = CHAT_ASSISTANT;
    if (json_is_string(content))
        return api_anthropic_content_read(a, content, m, r, err);
    int rc = parts_create(a, n, m, err);
    if (rc)
        return rc;
    char *order = arena_try_array(a, char, n + 1);
    m->tool_calls = arena_try_array(a, struct chat_tool_call, n + 1);
    m->thoughts = arena_try_array(a, struct chat_thought, n + 1);
    if (!order || !m->tool_calls || !m->thoughts)
        return no_memory(err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = assistant_block(a, json_array_get(content, i), m, &order[i], r, err);
        if (rc)
            error_wrap(err, "content[%zu]", i);
    }
    m->order = (struct str){order, n};
    return rc ? rc : reasoning_join(a, m, err);
}

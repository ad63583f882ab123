/* A conversation as Anthropic wants it: instructions apart, turns of user and assistant by turns, a tool's
 * results in the user turn that follows the call.
 *
 *   system "S" | user "A" | assistant calls 1 and 2 | tool 1 "x" | tool 2 "y" | user "B"
 *   -->
 *   system: ["S"]   user: ["A"]   assistant: [tool_use 1, tool_use 2]   user: [result 1, result 2, "B"] */
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

/* Empty text is an error to Anthropic and says nothing: it is left out. */
static void write_text(struct json_writer *w, struct str text, const json_t *raw)
{
    if (text.len == 0)
        return;
    json_object_begin(w);
    provider_write_member(w, "type", STR("text"));
    provider_write_member(w, "text", text);
    provider_anthropic_cache_control(w, raw);
    json_object_end(w);
}

/* ---- Images ---- */

static int write_image(struct json_writer *w, const struct chat_part *p, struct error *err)
{
    struct str type, data;
    bool inlined = provider_data_url(p->url, &type, &data);
    if (!inlined && !str_starts(p->url, STR("https://")))
        return error_set(err, ERROR_UNSUPPORTED, "an image's URL must begin with https:// or data:…;base64,");
    json_object_begin(w);
    provider_write_member(w, "type", STR("image"));
    json_key(w, "source");
    json_object_begin(w);
    provider_write_member(w, "type", inlined ? STR("base64") : STR("url"));
    if (inlined) {
        provider_write_member(w, "media_type", type);
        provider_write_member(w, "data", data);
    } else {
        provider_write_member(w, "url", p->url);
    }
    json_object_end(w);
    provider_anthropic_cache_control(w, p->raw);
    json_object_end(w);
    return 0;
}

static int write_parts(struct json_writer *w, const struct chat_message *m, struct error *err)
{
    int rc = 0;
    for (size_t i = 0; i < m->n_parts && rc == 0; i++) {
        const struct chat_part *p = &m->parts[i];
        if (p->kind == CHAT_PART_IMAGE)
            rc = write_image(w, p, err);
        else
            write_text(w, p->kind == CHAT_PART_TEXT ? p->text : provider_text(p->raw, "refusal"), p->raw);
    }
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
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                    c == '-';
        buf_append_char(&clean, good ? c : '_');
    }
    provider_write_member(w, key, buf_str(&clean));
    buf_free(&clean);
}

static int write_tool_use(struct json_writer *w, const struct chat_tool_call *call, struct error *err)
{
    struct str arguments;
    int rc = provider_arguments(call, &arguments, err);
    if (rc)
        return rc;
    json_object_begin(w);
    provider_write_member(w, "type", STR("tool_use"));
    write_id(w, "id", call->id);
    provider_write_member(w, "name", call->name);
    json_key(w, "input");
    json_write_raw(w, arguments);
    json_object_end(w);
    return 0;
}

static int write_tool_result(struct json_writer *w, const struct chat_message *m, struct error *err)
{
    json_object_begin(w);
    provider_write_member(w, "type", STR("tool_result"));
    write_id(w, "tool_use_id", m->tool_call_id);
    json_key(w, "content");
    json_array_begin(w);
    int rc = write_parts(w, m, err);
    json_array_end(w);
    json_object_end(w);
    return rc;
}

/* ---- Messages ---- */

static int write_system(struct json_writer *w, const struct chat_request *r, struct error *err)
{
    bool begun = false;
    int rc = 0;
    for (size_t i = 0; i < r->n_messages && rc == 0; i++) {
        if (!provider_is_instruction(&r->messages[i]) || !provider_has_content(&r->messages[i]))
            continue;
        if (!begun) {
            json_key(w, "system");
            json_array_begin(w);
            begun = true;
        }
        rc = write_parts(w, &r->messages[i], err);
    }
    if (begun)
        json_array_end(w);
    return rc;
}

static int write_blocks(struct json_writer *w, const struct chat_message *m, struct error *err)
{
    if (m->role == CHAT_TOOL)
        return write_tool_result(w, m, err);
    int rc = write_parts(w, m, err);
    write_text(w, json_str(json_object_get(m->vendor, "refusal")), NULL);
    for (size_t i = 0; i < m->n_tool_calls && rc == 0; i++)
        rc = write_tool_use(w, &m->tool_calls[i], err);
    return rc;
}

static void turn_begin(struct json_writer *w, bool assistant)
{
    json_object_begin(w);
    provider_write_member(w, "role", assistant ? STR("assistant") : STR("user"));
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
    enum { NONE, USER, ASSISTANT } turn = NONE, next;
    int rc = write_system(w, r, err);
    json_key(w, "messages");
    json_array_begin(w);
    for (size_t i = 0; i < r->n_messages && rc == 0; i++) {
        const struct chat_message *m = &r->messages[i];
        if (provider_is_instruction(m) || !provider_has_content(m))
            continue;
        next = m->role == CHAT_ASSISTANT ? ASSISTANT : USER;
        if (next != turn) {
            if (turn != NONE)
                turn_end(w);
            turn_begin(w, next == ASSISTANT);
            turn = next;
        }
        rc = write_blocks(w, m, err);
    }
    if (turn != NONE)
        turn_end(w);
    json_array_end(w);
    if (rc == 0 && turn == NONE)
        rc = error_set(err, ERROR_INVALID, "there is no message to answer: send one from the user");
    return rc;
}

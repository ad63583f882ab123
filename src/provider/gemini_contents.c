/* A conversation as Gemini wants it: instructions apart, turns of user and model, results of tools in a user
 * turn of their own right after the calls, found by the function's name.
 *
 *   system "S" | user "A" | assistant calls f (1) and g (2) | tool 1 "x" | tool 2 "y" | user "B"
 *   -->
 *   systemInstruction: ["S"]   user: ["A"]   model: [functionCall f, functionCall g]
 *   user: [functionResponse f, functionResponse g]   user: ["B"] */
#include "base/limits.h"
#include "base/map.h"
#include "provider/gemini.h"

struct contents {
    struct json_writer *w;
    const struct chat_request *request;
    struct map calls; /* id -> message * LIMIT_TOOLS + call; the latest of an id */
    bool signs;       /* the model is of the third generation or a later one: see write_call, write_result */
};

/* Models before the third generation neither want nor check signatures. */
static bool wants_signatures(struct str model)
{
    if (str_starts(model, STR("models/")))
        model = str_slice(model, 7, model.len);
    return !str_starts(model, STR("gemini-1")) && !str_starts(model, STR("gemini-2"));
}

/* ---- Parts ---- */

/* Empty text is an error to Gemini and says nothing: it is left out. */
static void write_text(struct json_writer *w, struct str text)
{
    if (text.len == 0)
        return;
    json_object_begin(w);
    json_member_str(w, "text", text);
    json_object_end(w);
}

static void write_inline(struct json_writer *w, struct str kind, struct str type, struct str data)
{
    json_object_begin(w);
    json_key(w, "inlineData");
    json_object_begin(w);
    json_key(w, "mimeType");
    struct buf mime;
    buf_init(&mime, 4 * KIB);
    buf_append_str(&mime, kind);
    buf_append_str(&mime, str_slice(type, 0, 256));
    json_write_str(w, buf_str(&mime));
    buf_free(&mime);
    json_member_str(w, "data", data);
    json_object_end(w);
    json_object_end(w);
}

/* What is sent along, not said: false for a text. */
static bool write_media(struct json_writer *w, const struct chat_part *p)
{
    struct str type, data;
    if (p->kind == CHAT_PART_AUDIO)
        write_inline(w, STR("audio/"), p->format, p->data);
    else if ((p->kind == CHAT_PART_IMAGE || p->kind == CHAT_PART_FILE) &&
             provider_data_url(p->url, &type, &data))
        write_inline(w, STR_NONE, type, data);
    else
        return false;
    return true;
}

static void write_parts(struct json_writer *w, const struct chat_message *m)
{
    for (size_t i = 0; i < m->n_parts; i++) {
        const struct chat_part *p = &m->parts[i];
        if (!write_media(w, p))
            write_text(w, p->kind == CHAT_PART_TEXT ? p->text : json_text(p->raw, "refusal"));
    }
    write_text(w, json_text(m->vendor, "refusal"));
}

/* ---- Tools ---- */

/* Models of the third generation refuse a first call of a turn without the signature they gave with it. Where
 * that is not known any more, Google documents this value for calls that come without
 * (https://ai.google.dev/gemini-api/docs/thought-signatures). */
static int write_call(struct contents *c, const struct chat_tool_call *call, bool first, struct error *err)
{
    struct json_writer *w = c->w;
    struct str arguments;
    int rc = provider_arguments(call, &arguments, err);
    if (rc)
        return rc;
    json_object_begin(w);
    json_key(w, "functionCall");
    json_object_begin(w);
    if (call->id.len > 0)
        json_member_str(w, "id", call->id);
    json_member_str(w, "name", call->name);
    json_key(w, "args");
    json_write_raw(w, arguments);
    json_object_end(w);
    struct str signature = provider_gemini_signature_find(c->request->arena, call->id, call->name);
    if (signature.len > 0)
        json_member_str(w, "thoughtSignature", signature);
    else if (first && c->signs)
        json_member_str(w, "thoughtSignature", STR("skip_thought_signature_validator"));
    json_object_end(w);
    return 0;
}

static int write_calls(struct contents *c, size_t message, struct error *err)
{
    const struct chat_message *m = &c->request->messages[message];
    int rc = 0;
    if (m->n_tool_calls > LIMIT_TOOLS || message >= LIMIT_MESSAGES)
        return error_set(err, ERROR_LIMIT, "messages[%zu] calls too many tools", message);
    for (size_t i = 0; i < m->n_tool_calls && rc == 0; i++) {
        uint32_t at = (uint32_t)(message * LIMIT_TOOLS + i);
        bool added;
        rc = write_call(c, &m->tool_calls[i], i == 0, err);
        if (rc == 0 && m->tool_calls[i].id.len > 0) {
            rc = map_add(&c->calls, m->tool_calls[i].id, at, &added, err);
            if (rc == 0 && !added)
                *map_find(&c->calls, m->tool_calls[i].id) = at;
        }
    }
    return rc;
}

/* Whose result this is, by the id of the call; a client that keeps no ids may name the function itself. */
static struct str function_of(const struct contents *c, const struct chat_message *m)
{
    const uint32_t *at = m->tool_call_id.len > 0 ? map_find(&c->calls, m->tool_call_id) : NULL;
    return at ? c->request->messages[*at / LIMIT_TOOLS].tool_calls[*at % LIMIT_TOOLS].name : m->name;
}

/* The text as it is, under the key that Google reads as what a function gave: read as JSON, long numbers in
 * it would lose digits. */
static void write_output(struct json_writer *w, const struct chat_message *m)
{
    size_t texts = 0;
    for (size_t i = 0; i < m->n_parts; i++)
        texts += m->parts[i].kind == CHAT_PART_TEXT;
    json_key(w, "output");
    if (texts == 0)
        json_write_text(w, "");
    if (texts > 1)
        json_array_begin(w);
    for (size_t i = 0; i < m->n_parts; i++)
        if (m->parts[i].kind == CHAT_PART_TEXT)
            json_write_str(w, m->parts[i].text);
    if (texts > 1)
        json_array_end(w);
}

static bool has_media(const struct chat_message *m)
{
    for (size_t i = 0; i < m->n_parts; i++)
        if (m->parts[i].kind != CHAT_PART_TEXT)
            return true;
    return false;
}

/* Images and documents that a tool gave. The third generation takes them inside the function's response, the
 * earlier ones beside it. */
static void write_result_media(struct json_writer *w, const struct chat_message *m)
{
    for (size_t i = 0; i < m->n_parts; i++)
        (void)write_media(w, &m->parts[i]); /* the texts are written */
}

static int write_result(struct contents *c, size_t message, struct error *err)
{
    const struct chat_message *m = &c->request->messages[message];
    struct json_writer *w = c->w;
    struct str name = function_of(c, m);
    if (name.len == 0)
        return error_set(err, ERROR_INVALID,
            "messages[%zu] answers no tool call of an earlier message: its 'tool_call_id' is none of theirs",
            message);
    json_object_begin(w);
    json_key(w, "functionResponse");
    json_object_begin(w);
    if (m->tool_call_id.len > 0)
        json_member_str(w, "id", m->tool_call_id);
    json_member_str(w, "name", name);
    json_key(w, "response");
    json_object_begin(w);
    write_output(w, m);
    json_object_end(w);
    bool inside = c->signs && has_media(m);
    if (inside) {
        json_key(w, "parts");
        json_array_begin(w);
        write_result_media(w, m);
        json_array_end(w);
    }
    json_object_end(w);
    json_object_end(w);
    if (!inside)
        write_result_media(w, m);
    return 0;
}

/* ---- Turns ---- */

enum turn { NONE, USER, MODEL, TOOLS };

static enum turn turn_of(const struct chat_message *m)
{
    return m->role == CHAT_ASSISTANT ? MODEL : m->role == CHAT_TOOL ? TOOLS : USER;
}

static void parts_begin(struct json_writer *w, struct str role)
{
    json_object_begin(w);
    if (role.len > 0)
        json_member_str(w, "role", role);
    json_key(w, "parts");
    json_array_begin(w);
}

static void parts_end(struct json_writer *w)
{
    json_array_end(w);
    json_object_end(w);
}

static void write_system(struct json_writer *w, const struct chat_request *r)
{
    bool begun = false;
    for (size_t i = 0; i < r->n_messages; i++) {
        if (!provider_is_instruction(&r->messages[i]) || !provider_has_content(&r->messages[i]))
            continue;
        if (!begun) {
            json_key(w, "systemInstruction");
            parts_begin(w, STR_NONE);
            begun = true;
        }
        write_parts(w, &r->messages[i]);
    }
    if (begun)
        parts_end(w);
}

static int write_message(struct contents *c, size_t message, struct error *err)
{
    const struct chat_message *m = &c->request->messages[message];
    if (m->role == CHAT_TOOL)
        return write_result(c, message, err);
    write_parts(c->w, m);
    return write_calls(c, message, err);
}

static int write_turns(struct contents *c, struct error *err)
{
    enum turn turn = NONE;
    int rc = 0;
    for (size_t i = 0; i < c->request->n_messages && rc == 0; i++) {
        const struct chat_message *m = &c->request->messages[i];
        if (provider_is_instruction(m) || !provider_has_content(m))
            continue;
        if (turn != turn_of(m)) {
            if (turn != NONE)
                parts_end(c->w);
            turn = turn_of(m);
            parts_begin(c->w, turn == MODEL ? STR("model") : STR("user"));
        }
        rc = write_message(c, i, err);
    }
    if (turn != NONE)
        parts_end(c->w);
    if (rc == 0 && turn == NONE)
        rc = error_set(err, ERROR_INVALID, "there is no message to answer: send one from the user");
    return rc;
}

int provider_gemini_contents(
    struct json_writer *w, const struct provider_model *m, const struct chat_request *r, struct error *err)
{
    struct contents c = {.w = w, .request = r, .signs = wants_signatures(m->model)};
    int rc = map_init(&c.calls, 16, err);
    if (rc)
        return rc;
    write_system(w, r);
    json_key(w, "contents");
    json_array_begin(w);
    rc = write_turns(&c, err);
    json_array_end(w);
    map_free(&c.calls);
    return rc;
}

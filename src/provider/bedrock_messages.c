/* A conversation as Bedrock wants it: instructions apart, user and assistant by turns, a tool's results in
 * the user turn that follows the call.
 *
 *   system "S" | user "A" | assistant calls 1 and 2 | tool 1 "x" | tool 2 "y" | user "B"
 *   -->
 *   system: [S]   user: [A]   assistant: [toolUse 1, toolUse 2]   user: [toolResult 1, toolResult 2, B] */
#include <stdio.h>
#include <string.h>

#include "base/ascii.h"
#include "provider/bedrock.h"

enum { ID_MAX = 64, NAME_MAX = 64 };

/* ---- Parts ---- */

/* Bedrock's word for what a data URL holds; NULL: it does not take that. */
static const char *format_of(const struct chat_part *p, struct str *data)
{
    static const struct {
        enum chat_part_kind kind;
        const char *type, *format;
    } formats[] = {{CHAT_PART_IMAGE, "image/png", "png"}, {CHAT_PART_IMAGE, "image/jpeg", "jpeg"},
        {CHAT_PART_IMAGE, "image/jpg", "jpeg"}, {CHAT_PART_IMAGE, "image/gif", "gif"},
        {CHAT_PART_IMAGE, "image/webp", "webp"}, {CHAT_PART_FILE, "application/pdf", "pdf"},
        {CHAT_PART_FILE, "text/plain", "txt"}, {CHAT_PART_FILE, "text/csv", "csv"},
        {CHAT_PART_FILE, "text/html", "html"}, {CHAT_PART_FILE, "text/markdown", "md"}};
    struct str type;
    if (!provider_data_url(p->url, &type, data))
        return NULL;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (p->kind == formats[i].kind && str_is_nocase(type, formats[i].type))
            return formats[i].format;
    return NULL;
}

static bool is_refusal(const struct chat_message *m, const struct chat_part *p)
{
    return m->role == CHAT_ASSISTANT && str_is(json_text(p->raw, "type"), "refusal");
}

int provider_bedrock_check_parts(const struct chat_request *r, struct error *err)
{
    for (size_t i = 0; i < r->n_messages; i++)
        for (size_t k = 0; k < r->messages[i].n_parts; k++) {
            const struct chat_message *m = &r->messages[i];
            const struct chat_part *p = &m->parts[k];
            bool speaker = m->role == CHAT_USER || m->role == CHAT_TOOL;
            struct str data;
            if (p->kind != CHAT_PART_TEXT && !is_refusal(m, p) && !(speaker && format_of(p, &data)))
                return error_set(err, ERROR_UNSUPPORTED,
                    "messages[%zu].content[%zu] is of a kind that Bedrock does not take there: send text, or "
                    "from the user an image (png, jpeg, gif, webp) or a document as data:…;base64,",
                    i, k);
        }
    return 0;
}

static void write_text(struct json_writer *w, struct str text)
{
    if (text.len == 0) /* an error to Bedrock, and says nothing */
        return;
    json_object_begin(w);
    json_member_str(w, "text", text);
    json_object_end(w);
}

/* Letters, digits, single spaces, hyphens and brackets: the alphabet of a document's name. Bedrock refuses
 * the same name twice, so that from the second document on the number is part of it. */
static void write_name(struct json_writer *w, struct str name, size_t number)
{
    char clean[NAME_MAX + 1], text[NAME_MAX + 32];
    size_t n = 0;
    for (size_t i = 0; i < name.len && n < NAME_MAX; i++) {
        char c = name.data[i];
        clean[n++] = ascii_is_alnum(c) || (c && strchr("-()[]", c)) ? c : '-';
    }
    clean[n] = '\0';
    const char *base = n > 0 ? clean : "document";
    if (number > 1)
        snprintf(text, sizeof text, "%s (%zu)", base, number);
    else
        snprintf(text, sizeof text, "%s", base);
    json_member_text(w, "name", text);
}

/* `documents`: how many were written before. */
static void write_part(struct json_writer *w, const struct chat_part *p, size_t *documents)
{
    struct str data;
    const char *format = p->kind == CHAT_PART_TEXT ? NULL : format_of(p, &data);
    if (!format) {
        write_text(w, p->kind == CHAT_PART_TEXT ? p->text : json_text(p->raw, "refusal"));
        return;
    }
    json_object_begin(w);
    json_key(w, p->kind == CHAT_PART_IMAGE ? "image" : "document");
    json_object_begin(w);
    json_member_str(w, "format", str_from(format));
    if (p->kind == CHAT_PART_FILE)
        write_name(w, p->text, ++*documents);
    json_key(w, "source");
    json_object_begin(w);
    json_member_str(w, "bytes", data);
    json_object_end(w);
    json_object_end(w);
    json_object_end(w);
}

/* ---- Tools ---- */

/* Ids are 1 to 64 of [A-Za-z0-9_-]; another's becomes one, always the same. */
static void write_id(struct json_writer *w, struct str id)
{
    char made[24];
    bool good = id.len > 0 && id.len <= ID_MAX;
    for (size_t i = 0; i < id.len && good; i++) {
        char c = id.data[i];
        good = ascii_is_alnum(c) || c == '_' || c == '-';
    }
    snprintf(made, sizeof made, "id_%016llx", (unsigned long long)str_hash(id));
    json_member_str(w, "toolUseId", good ? id : str_from(made));
}

static int write_call(struct json_writer *w, const struct chat_tool_call *call, struct error *err)
{
    struct str arguments;
    int rc = provider_arguments(call, &arguments, err);
    if (rc)
        return rc;
    json_object_begin(w);
    json_key(w, "toolUse");
    json_object_begin(w);
    write_id(w, call->id);
    json_member_str(w, "name", call->name);
    json_key(w, "input");
    json_write_raw(w, arguments);
    json_object_end(w);
    json_object_end(w);
    return 0;
}

static void write_result(
    struct json_writer *w, const struct chat_request *r, const struct chat_message *m, size_t *documents)
{
    json_object_begin(w);
    json_key(w, "toolResult");
    json_object_begin(w);
    write_id(w, m->tool_call_id);
    json_key(w, "content");
    json_array_begin(w);
    /* `status` says what the first part of a failure says that came in Anthropic's shape. */
    for (size_t i = m->failed && r->shape == CHAT_SHAPE_ANTHROPIC; i < m->n_parts; i++)
        write_part(w, &m->parts[i], documents);
    json_array_end(w);
    if (m->failed)
        json_member_str(w, "status", STR("error"));
    json_object_end(w);
    json_object_end(w);
}

/* ---- Messages ---- */

/* Reasoning goes back to its maker with its signature; what has none is nobody's there. */
static void write_thought(struct json_writer *w, const struct chat_thought *t)
{
    if (t->data.len == 0 && t->signature.len == 0)
        return;
    json_object_begin(w);
    json_key(w, "reasoningContent");
    json_object_begin(w);
    if (t->data.len > 0) {
        json_member_str(w, "redactedContent", t->data);
    } else {
        json_key(w, "reasoningText");
        json_object_begin(w);
        json_member_str(w, "text", t->text);
        json_member_str(w, "signature", t->signature);
        json_object_end(w);
    }
    json_object_end(w);
    json_object_end(w);
}

/* The next piece of a kind, if there is one. */
struct pieces {
    const struct chat_message *m;
    size_t thoughts, parts, calls; /* that are written */
    bool thinks;                   /* the model takes thoughts back */
    size_t *documents;
};

static int write_next(struct json_writer *w, struct pieces *p, char kind, struct error *err)
{
    const struct chat_message *m = p->m;
    if (kind == 'c' && p->calls < m->n_tool_calls)
        return write_call(w, &m->tool_calls[p->calls++], err);
    if (kind == 'p' && p->parts < m->n_parts)
        write_part(w, &m->parts[p->parts++], p->documents);
    if (kind == 'r' && p->thoughts < m->n_thoughts && p->thinks)
        write_thought(w, &m->thoughts[p->thoughts++]);
    return 0;
}

/* The pieces in the order they came in, then those that the order does not name. */
static int write_pieces(
    struct json_writer *w, const struct chat_message *m, bool thinks, size_t *documents, struct error *err)
{
    struct pieces p = {.m = m, .thinks = thinks, .documents = documents};
    int rc = 0;
    for (size_t i = 0; i < m->order.len && rc == 0; i++)
        rc = write_next(w, &p, m->order.data[i], err);
    for (size_t n = m->n_thoughts; n-- > 0 && rc == 0;)
        rc = write_next(w, &p, 'r', err);
    for (size_t n = m->n_parts; n-- > 0 && rc == 0;)
        rc = write_next(w, &p, 'p', err);
    write_text(w, json_text(m->vendor, "refusal"));
    for (size_t n = m->n_tool_calls; n-- > 0 && rc == 0;)
        rc = write_next(w, &p, 'c', err);
    return rc;
}

static void write_system(struct json_writer *w, const struct chat_request *r)
{
    bool begun = false;
    size_t documents = 0; /* there are none */
    for (size_t i = 0; i < r->n_messages; i++) {
        if (!provider_is_instruction(&r->messages[i]) || !provider_has_content(&r->messages[i]))
            continue;
        if (!begun) {
            json_key(w, "system");
            json_array_begin(w);
        }
        begun = true;
        for (size_t k = 0; k < r->messages[i].n_parts; k++)
            write_part(w, &r->messages[i].parts[k], &documents);
    }
    if (begun)
        json_array_end(w);
}

static void turn_end(struct json_writer *w)
{
    json_array_end(w);
    json_object_end(w);
}

int provider_bedrock_messages(
    struct json_writer *w, const struct provider_model *m, const struct chat_request *r, struct error *err)
{
    bool thinks = str_find(m->model, STR("anthropic.")) != SIZE_MAX;
    const char *turn = NULL;
    size_t documents = 0;
    int rc = 0;
    write_system(w, r);
    json_key(w, "messages");
    json_array_begin(w);
    for (size_t i = 0; i < r->n_messages && rc == 0; i++) {
        const struct chat_message *message = &r->messages[i];
        const char *next = message->role == CHAT_ASSISTANT ? "assistant" : "user";
        if (provider_is_instruction(message) || !provider_has_content(message))
            continue;
        if (turn != next) {
            if (turn)
                turn_end(w);
            turn = next;
            json_object_begin(w);
            json_member_str(w, "role", str_from(turn));
            json_key(w, "content");
            json_array_begin(w);
        }
        if (message->role == CHAT_TOOL)
            write_result(w, r, message, &documents);
        else
            rc = write_pieces(w, message, thinks, &documents, err);
    }
    if (turn)
        turn_end(w);
    json_array_end(w);
    if (rc == 0 && !turn)
        rc = error_set(err, ERROR_INVALID, "there is no message to answer: send one from the user");
    return rc;
}

#include "engine/worker/reply.h"

#include "base/limits.h"

enum { ENDS_TRIED = 64 };

static const struct str think = STR("<think>"), think_end = STR("</think>");
static const struct str hermes = STR("<tool_call>"), hermes_end = STR("</tool_call>");
static const struct str python = STR("<|python_tag|>"), mistral = STR("[TOOL_CALLS]"),
                        mistral_args = STR("[ARGS]");

enum reply_syntax reply_syntax_of(struct str template)
{
    /* Written as XML within the tag: other families. */
    bool xml =
        str_find(template, STR("<function=")) != SIZE_MAX || str_find(template, STR("<arg_key>")) != SIZE_MAX;
    if (str_find(template, hermes) != SIZE_MAX)
        return xml ? REPLY_PLAIN : REPLY_HERMES;
    if (str_find(template, mistral) != SIZE_MAX)
        return REPLY_MISTRAL;
    if (str_find(template, STR("<|start_header_id|>")) != SIZE_MAX &&
        str_find(template, STR("\"parameters\":")) != SIZE_MAX)
        return REPLY_LLAMA3;
    return REPLY_PLAIN;
}

bool reply_reasons(struct str template)
{
    return str_find(template, think_end) != SIZE_MAX;
}

void reply_init(
    struct reply *r, enum reply_syntax syntax, bool reasons, bool inside, const struct reply_sink *sink)
{
    *r = (struct reply){.syntax = syntax, .reasons = reasons, .sink = *sink};
    r->state = inside && reasons ? REPLY_REASONING : REPLY_START;
    r->quiet = r->state == REPLY_REASONING;
    buf_init(&r->held, 16 * MIB);
}

void reply_free(struct reply *r)
{
    buf_free(&r->held);
}

bool reply_wants(const struct reply *r, struct str token)
{
    return (r->reasons && (str_eq(token, think) || str_eq(token, think_end))) ||
           (r->syntax == REPLY_HERMES && (str_eq(token, hermes) || str_eq(token, hermes_end))) ||
           (r->syntax == REPLY_LLAMA3 && str_eq(token, python)) ||
           (r->syntax == REPLY_MISTRAL && (str_eq(token, mistral) || str_eq(token, mistral_args)));
}

/* ---- Calls ---- */

/* {"name", "arguments" or "parameters"}, passed on; false where it is none. */
static bool call_pass(struct reply *r, const json_t *call)
{
    struct str name = json_str(json_object_get(call, "name"));
    const json_t *arguments = json_object_get(call, "arguments");
    struct buf text;
    struct json_writer w;
    if (!arguments)
        arguments = json_object_get(call, "parameters");
    if (name.len == 0 || (arguments && !json_is_object(arguments) && !json_is_string(arguments)))
        return false;
    buf_init(&text, 16 * MIB);
    json_writer_init(&w, &text);
    if (json_is_string(arguments))
        buf_append_str(&text, json_str(arguments));
    else if (arguments)
        json_write_value(&w, arguments);
    else
        buf_append_text(&text, "{}");
    bool passed = !text.failed;
    if (passed)
        r->sink.tool_call(r->sink.ctx, name, buf_str(&text));
    r->n_calls += passed;
    buf_free(&text);
    return passed;
}

static bool is_call(const json_t *call)
{
    return json_is_object(call) && json_str(json_object_get(call, "name")).len > 0;
}

/* One call or a list of them. */
static bool json_pass(struct reply *r, struct str text)
{
    json_t *tree;
    bool passed = false;
    if (json_read(str_trim(text), &tree, NULL))
        return false;
    if (json_is_array(tree) && json_array_size(tree) > 0) {
        passed = true;
        for (size_t i = 0; i < json_array_size(tree); i++)
            passed = passed && is_call(json_array_get(tree, i));
        for (size_t i = 0; i < json_array_size(tree) && passed; i++)
            passed = call_pass(r, json_array_get(tree, i));
    } else {
        passed = is_call(tree) && call_pass(r, tree);
    }
    json_decref(tree);
    return passed;
}

/* name[ARGS]{...} */
static bool named_pass(struct reply *r, struct str text)
{
    size_t at = str_find(text, mistral_args);
    json_t *arguments;
    if (at == SIZE_MAX ||
        json_read(str_trim(str_slice(text, at + mistral_args.len, text.len)), &arguments, NULL))
        return false;
    struct str name = str_trim(str_slice(text, 0, at));
    json_t *call = json_object();
    json_t *value = json_stringn(name.data, name.len);
    bool passed = call && value && json_object_set(call, "name", value) == 0 &&
                  json_object_set(call, "arguments", arguments) == 0 && call_pass(r, call);
    json_decref(value);
    json_decref(call);
    json_decref(arguments);
    return passed;
}

/* Everything after the first [TOOL_CALLS], at the end. */
static bool mistral_pass(struct reply *r, struct str text)
{
    while (text.len > 0) {
        size_t at = str_find(text, mistral);
        struct str one = str_slice(text, 0, at);
        if (!json_pass(r, one) && !named_pass(r, one))
            return false;
        text = at == SIZE_MAX ? STR_NONE : str_slice(text, at + mistral.len, text.len);
    }
    return true;
}

static bool llama_pass(struct reply *r, struct str text)
{
    struct str one;
    if (json_pass(r, text))
        return true;
    /* A ';' may stand in a value, too: then the pieces are no JSON. */
    struct str rest = text;
    while (str_split(&rest, ';', &one)) {
        json_t *tree;
        if (str_trim(one).len > 0 && json_read(str_trim(one), &tree, NULL))
            return false;
        if (str_trim(one).len > 0)
            json_decref(tree);
    }
    bool passed = false;
    while (str_split(&text, ';', &one))
        passed = json_pass(r, one) || passed;
    return passed;
}

/* ---- Text ---- */

static void text_pass(struct reply *r, struct str text)
{
    if (r->quiet) {
        while (text.len > 0 && (text.data[0] == '\n' || text.data[0] == ' ' || text.data[0] == '\r'))
            text = str_slice(text, 1, text.len);
        r->quiet = text.len == 0;
    }
    if (text.len == 0)
        return;
    if (r->state == REPLY_REASONING)
        r->sink.reasoning(r->sink.ctx, text);
    else
        r->sink.text(r->sink.ctx, text);
}

/* Bytes at the end of `text` that may begin `tag`. */
static size_t overlap(struct str text, struct str tag)
{
    size_t n = tag.len - 1 < text.len ? tag.len - 1 : text.len;
    while (n > 0 && !str_ends(text, str_slice(tag, 0, n)))
        n--;
    return n;
}

/* Passes on what stands before `tag` and drops both; false: it is not there yet, and only what may begin it
 * stays. */
static bool tag_take(struct reply *r, struct str tag)
{
    size_t at = str_find(buf_str(&r->held), tag);
    size_t before = at != SIZE_MAX ? at : r->held.len - overlap(buf_str(&r->held), tag);
    text_pass(r, str_slice(buf_str(&r->held), 0, before));
    buf_consume(&r->held, before + (at != SIZE_MAX ? tag.len : 0));
    return at != SIZE_MAX;
}

/* What an answer begins with, white space aside. 1: something was found, 0: more is needed. */
static int start_step(struct reply *r)
{
    struct str text = str_trim(buf_str(&r->held));
    if (text.len == 0)
        return 0;
    bool may_think = r->reasons && str_starts(think, str_slice(text, 0, think.len)) && text.len < think.len;
    bool may_tag = r->syntax == REPLY_LLAMA3 && str_starts(python, text) && text.len < python.len;
    if (may_think || may_tag)
        return 0;
    if (r->reasons && str_starts(text, think)) {
        buf_consume(&r->held, (size_t)(text.data - r->held.data) + think.len);
        r->state = REPLY_REASONING;
        r->quiet = true;
        return 1;
    }
    bool call = r->syntax == REPLY_LLAMA3 && (text.data[0] == '{' || str_starts(text, python));
    r->state = call ? REPLY_CALL : REPLY_TEXT;
    return 1;
}

static int text_step(struct reply *r)
{
    if (r->syntax == REPLY_PLAIN || r->syntax == REPLY_LLAMA3) {
        text_pass(r, buf_str(&r->held));
        buf_clear(&r->held);
        return 0;
    }
    if (!tag_take(r, r->syntax == REPLY_HERMES ? hermes : mistral))
        return 0;
    r->state = REPLY_CALL;
    r->tried = r->scanned = 0;
    return 1;
}

/* Only Hermes' calls end before the answer does. The end of the tag may stand in an argument, too. */
static int call_step(struct reply *r)
{
    struct str text = buf_str(&r->held);
    while (r->syntax == REPLY_HERMES && r->tried < ENDS_TRIED) {
        size_t at = str_find(str_slice(text, r->scanned, text.len), hermes_end);
        if (at == SIZE_MAX) {
            if (text.len >= r->scanned + hermes_end.len)
                r->scanned = text.len - hermes_end.len + 1;
            return 0;
        }
        at += r->scanned;
        r->scanned = at + hermes_end.len;
        r->tried++;
        if (!json_pass(r, str_slice(text, 0, at)))
            continue;
        buf_consume(&r->held, r->scanned);
        r->state = REPLY_TEXT;
        r->quiet = true;
        return 1;
    }
    return 0;
}

static int step(struct reply *r)
{
    switch (r->state) {
    case REPLY_START:
        return start_step(r);
    case REPLY_REASONING:
        if (!tag_take(r, think_end))
            return 0;
        /* What follows may be a call of the kind that is the whole answer. */
        r->reasons = false;
        r->state = REPLY_START;
        r->quiet = true;
        return 1;
    case REPLY_TEXT:
        return text_step(r);
    case REPLY_CALL:
        return call_step(r);
    }
    return 0;
}

int reply_push(struct reply *r, struct str text, struct error *err)
{
    if (buf_append_str(&r->held, text))
        return error_set(err, r->held.failed, "the answer holds a tool call that is too long: ask for less");
    while (r->held.len > 0 && step(r) > 0)
        continue;
    return 0;
}

int reply_finish(struct reply *r, struct error *err)
{
    struct str text = buf_str(&r->held);
    bool passed = false;
    (void)err;
    if (r->state == REPLY_CALL) {
        if (r->syntax == REPLY_MISTRAL)
            passed = mistral_pass(r, text);
        else if (r->syntax == REPLY_LLAMA3)
            passed = llama_pass(r,
                str_starts(str_trim(text), python) ? str_slice(str_trim(text), python.len, text.len) : text);
        else
            passed = json_pass(r, text);
        if (!passed && r->syntax != REPLY_LLAMA3)
            r->sink.text(r->sink.ctx, r->syntax == REPLY_MISTRAL ? mistral : hermes);
        r->quiet = false;
    }
    if (!passed)
        text_pass(r, text);
    buf_clear(&r->held);
    return 0;
}

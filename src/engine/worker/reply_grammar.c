#include "engine/worker/reply_grammar.h"

#include "base/limits.h"
#include "engine/worker/grammar.h"
#include "engine/worker/reply_grammar_inner.h"

enum { CALLS_AT_ONCE = 8, MARKER_MAX = 128 };

/* ---- Markers and the text between them ---- */

void reply_marker_write(const struct reply_ask *ask, const char *marker, struct buf *out)
{
    struct str text = str_from(marker);
    size_t plain = 0;
    if (text.len == 0)
        return;
    for (size_t at = 0; at < text.len;) {
        int32_t id = -1;
        size_t n = text.len - at < MARKER_MAX ? text.len - at : MARKER_MAX;
        while (n > 1 && (id = ask->special(ask->ctx, str_slice(text, at, at + n))) < 0)
            n--;
        if (id < 0) {
            at++;
            continue;
        }
        if (at > plain)
            grammar_literal_append(out, str_slice(text, plain, at));
        buf_appendf(out, " <[%d]> ", id);
        plain = at += n;
    }
    if (text.len > plain)
        grammar_literal_append(out, str_slice(text, plain, text.len));
    buf_append_char(out, ' ');
}

static uint32_t code_at(struct str text, size_t at, size_t *length)
{
    uint32_t c = 0;
    *length = str_utf8_decode(str_slice(text, at, text.len), &c);
    return c;
}

/* After its first character and what follows up to `at`: another one, and text up to the next first one. */
static void unlike_write(struct str marker, size_t at, uint32_t first, struct buf *out)
{
    size_t length, next;
    uint32_t c = code_at(marker, at, &length);
    next = at + length;
    buf_appendf(out, "([^\\U%08X\\U%08X] [^\\U%08X]*", c, first, first);
    if (next < marker.len) {
        buf_appendf(out, " | [\\U%08X] ", c);
        unlike_write(marker, next, first, out);
    }
    buf_append_text(out, ")?");
}

void reply_avoid_write(struct str marker, struct buf *out)
{
    size_t length;
    uint32_t first = code_at(marker, 0, &length);
    if (marker.len == 0) {
        buf_append_text(out, "[^\\x00]*");
        return;
    }
    buf_appendf(out, "[^\\U%08X]*", first);
    if (length == marker.len)
        return;
    buf_appendf(out, " ([\\U%08X] ", first);
    unlike_write(marker, length, first, out);
    buf_append_text(out, ")*");
}

/* ---- The parts of an answer ---- */

static void analysis_write(const struct reply_ask *ask, struct buf *out)
{
    buf_append_text(out, "weir-before ::= ");
    reply_marker_write(ask, "<|channel|>", out);
    buf_append_text(out, "(\"analysis\" | \"commentary\") ");
    reply_marker_write(ask, "<|message|>", out);
    reply_avoid_write(STR("<|end|>"), out);
    reply_marker_write(ask, "<|end|>", out);
    reply_marker_write(ask, "<|start|>assistant", out);
    buf_append_text(out, "\nweir-reason ::= weir-before{0,4}\n");
}

/* Reasoning before the answer. */
static void reason_write(const struct reply_ask *ask, struct buf *out)
{
    const struct reply_thinking *t = ask->form.thinking;
    if (ask->form.syntax && ask->form.syntax->payload == PAYLOAD_CHANNEL) {
        analysis_write(ask, out);
        return;
    }
    buf_append_text(out, "weir-reason ::= ");
    if (t && (ask->inside || ask->may_reason)) {
        if (!ask->inside)
            buf_append_text(out, "(");
        if (!ask->inside)
            reply_marker_write(ask, t->open, out);
        reply_avoid_write(reply_mark(t->close), out);
        buf_append_char(out, ' ');
        reply_marker_write(ask, t->close, out);
        buf_append_text(out, ask->inside ? "[ \\n]{0,3}" : "[ \\n]{0,3})?");
    } else {
        buf_append_text(out, "\"\"");
    }
    buf_append_char(out, '\n');
}

/* Any text in which no call begins. */
static void text_write(const struct reply_ask *ask, struct buf *out)
{
    const struct reply_syntax *s = ask->form.syntax;
    const struct reply_thinking *t = ask->form.thinking;
    struct str open = s ? reply_mark(s->open) : STR_NONE;
    buf_append_text(out, "weir-plain ::= ");
    reply_avoid_write(open, out);
    buf_append_text(out, "\nweir-text ::= weir-plain");
    for (size_t i = 0; t && i < sizeof t->drops / sizeof *t->drops && t->drops[i]; i++) {
        buf_append_text(out, i > 0 ? " | " : " ((");
        reply_marker_write(ask, t->drops[i], out);
    }
    if (t && t->drops[0])
        buf_append_text(out, ") weir-plain)*");
    buf_append_char(out, '\n');
    if (s && s->whole) {
        /* Text that is no call: it does not begin as one does. */
        buf_append_text(out, "weir-other ::= (\"\" | [^ \\n\\r\\t{<\\x00] ");
        reply_avoid_write(open, out);
        buf_append_text(out, ")\n");
    }
}

static int answer_write(const struct reply_ask *ask, struct buf *out, struct error *err)
{
    const struct reply_thinking *t = ask->form.thinking;
    bool channel = ask->form.syntax && ask->form.syntax->payload == PAYLOAD_CHANNEL;
    struct buf schema;
    int rc = 0;
    buf_init(&schema, LIMIT_WIRE_FRAME);
    if (ask->schema)
        rc = json_schema_grammar(ask->schema, &schema, err);
    /* Beside the rules of the tools' schemas. */
    grammar_append_renamed(out, buf_str(&schema), STR("answer-"));
    buf_free(&schema);
    buf_append_text(out, "weir-answer ::= ");
    if (channel)
        reply_marker_write(ask, "<|channel|>final<|message|>", out);
    if (t && t->answer_open) {
        buf_append_text(out, "(");
        reply_marker_write(ask, t->answer_open, out);
        buf_append_text(out, ")? ");
    }
    buf_append_text(out, ask->schema     ? "answer-root"
                         : ask->own_root ? "root"
                         : channel       ? "[^\\x00]*"
                                         : "weir-text");
    if (t && t->answer_close) {
        buf_append_text(out, " (");
        reply_marker_write(ask, t->answer_close, out);
        buf_append_text(out, ")?");
    }
    buf_append_char(out, '\n');
    return rc;
}

/* "weir-calls": sections of calls, each with its markers. */
static void calls_write(const struct reply_ask *ask, struct buf *out)
{
    const struct reply_syntax *s = ask->form.syntax;
    int more = ask->one_call || ask->call_name.data || s->payload == PAYLOAD_CHANNEL ? 0 : CALLS_AT_ONCE - 1;
    bool inside = s->list || s->many || s->payload == PAYLOAD_PYTHON;
    buf_append_text(out, "weir-section ::= ");
    if (!s->whole)
        reply_marker_write(ask, s->open ? s->open : "", out);
    if (s->list || s->payload == PAYLOAD_PYTHON)
        buf_append_text(out, "\"[\" ");
    buf_append_text(out, "weir-call");
    if (inside && more > 0) {
        buf_append_text(out, " (");
        reply_marker_write(ask, s->many ? (s->between ? s->between : "") : ", ", out);
        buf_appendf(out, " weir-call){0,%d}", more);
    }
    buf_append_text(out, s->list || s->payload == PAYLOAD_PYTHON ? " \"]\" " : " ");
    if (!s->whole)
        reply_marker_write(ask, s->close ? s->close : "", out);
    buf_append_text(out, "\nweir-calls ::= weir-section");
    if (!inside && more > 0) {
        buf_append_text(out, " (");
        reply_marker_write(ask, s->between ? s->between : "", out);
        buf_appendf(out, " weir-section){0,%d}", more);
    }
    buf_append_char(out, '\n');
}

static const char *body_of(const struct reply_ask *ask)
{
    const struct reply_syntax *s = ask->form.syntax;
    bool once = ask->one_call;
    if (ask->must_call)
        return "weir-calls";
    if (!ask->may_call)
        return "weir-answer";
    if (ask->schema || s->payload == PAYLOAD_CHANNEL)
        return "(weir-answer | weir-calls)";
    if (s->whole)
        return "(weir-other | weir-calls)";
    /* A list of calls is closed; after it the model speaks again. */
    return once ? "weir-text (weir-calls weir-text)?" : "weir-text (weir-section weir-text)*";
}

int reply_grammar_write(const struct reply_ask *ask, struct buf *out, struct error *err)
{
    int rc = 0;
    if ((ask->must_call || ask->may_call) && !ask->form.syntax)
        return error_set(err, ERROR_UNSUPPORTED,
            "the model cannot be made to call a tool (tool_choice): how it writes calls is not known here; "
            "use \"auto\"");
    reason_write(ask, out);
    text_write(ask, out);
    if (!ask->must_call)
        rc = answer_write(ask, out, err);
    if (rc == 0 && (ask->must_call || ask->may_call)) {
        calls_write(ask, out);
        rc = reply_call_rules(ask, out, err);
    }
    buf_appendf(out, "weir-root ::= weir-reason %s\n", body_of(ask));
    if (rc == 0 && out->failed)
        rc = error_set(err, ERROR_LIMIT, "the tools or the schema are too large: send fewer");
    return rc;
}

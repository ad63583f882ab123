#include "engine/worker/constraint.h"

#include "engine/worker/json_schema.h"

static int piece(const void *ctx, int32_t id, struct buf *out)
{
    return tokenizer_append_piece(ctx, id, false, out);
}

static bool is_end(const void *ctx, int32_t id)
{
    return tokenizer_is_end(ctx, id);
}

static int vocab_need(struct session *s, struct error *err)
{
    if (s->grammar_vocab)
        return 0;
    /* As many as there are logits: a model may have more than its tokenizer, and those have no text. */
    const struct grammar_vocab_source source = {model_info(s->model)->n_vocab, piece, is_end, s->tokenizer};
    return grammar_vocab_create(&source, &s->grammar_vocab, err);
}

/* ---- Tool calls ---- */

enum { CALLS_AT_ONCE = 8 };

/* A marker as the special token that it is, or as text. */
static void marker_write(const struct session *s, struct str marker, struct buf *out)
{
    int32_t id = tokenizer_find(s->tokenizer, marker);
    if (id >= 0 && tokenizer_is_special(s->tokenizer, id))
        buf_appendf(out, "<[%d]> ", id);
    else
        grammar_literal_append(out, marker);
    buf_append_char(out, ' ');
}

static void json_text_write(struct str text, struct buf *out)
{
    json_t *value = json_stringn(text.data, text.len);
    struct buf json;
    struct json_writer w;
    buf_init(&json, MIB);
    json_writer_init(&w, &json);
    json_write_value(&w, value);
    grammar_literal_append(out, buf_str(&json));
    json_decref(value);
    buf_free(&json);
}

/* One call of a tool whose arguments are rule "r" and `rule`. */
static void call_write(enum reply_syntax syntax, struct str name, uint32_t rule, struct buf *out)
{
    buf_append_text(out, "\"{\\\"name\\\": \" ");
    json_text_write(name, out);
    buf_appendf(
        out, " \", \\\"%s\\\": \" r%u \"}\"", syntax == REPLY_LLAMA3 ? "parameters" : "arguments", rule);
}

static void calls_write(const struct session *s, enum reply_syntax syntax, bool several, struct buf *out)
{
    int more = several ? CALLS_AT_ONCE - 1 : 0;
    buf_append_text(out, "root ::= ");
    if (syntax == REPLY_HERMES) {
        buf_append_text(out, "one (\"\\n\" one)");
        buf_appendf(out, "{0,%d}\none ::= ", more);
        marker_write(s, STR("<tool_call>"), out);
        buf_append_text(out, "\"\\n\" call \"\\n\" ");
        marker_write(s, STR("</tool_call>"), out);
    } else if (syntax == REPLY_MISTRAL) {
        marker_write(s, STR("[TOOL_CALLS]"), out);
        buf_appendf(out, "\"[\" call (\", \" call){0,%d} \"]\"", more);
    } else {
        buf_append_text(out, "call");
    }
    buf_append_char(out, '\n');
}

/* The answer is a call of one of the tools, or of the one that is named. */
static int calls_grammar(const struct session *s, const struct chat_work *work, enum reply_syntax syntax,
    struct buf *out, struct error *err)
{
    const json_t *tools = json_object_get(work->body, "tools");
    struct json_schema *schemas;
    json_t *nothing = json_pack("{s:s,s:{},s:b}", "type", "object", "properties", "additionalProperties", 0);
    struct buf calls;
    int rc = 0;
    if (syntax == REPLY_PLAIN) {
        json_decref(nothing);
        return error_set(err, ERROR_UNSUPPORTED,
            "the model cannot be made to call a tool (tool_choice): how it writes calls is not known here; "
            "use \"auto\"");
    }
    schemas = json_schema_create(out);
    buf_init(&calls, LIMIT_WIRE_FRAME);
    for (size_t i = 0; i < json_array_size(tools) && rc == 0; i++) {
        const json_t *function = json_object_get(json_array_get(tools, i), "function");
        const json_t *parameters = json_object_get(function, "parameters");
        struct str name = json_str(json_object_get(function, "name"));
        uint32_t rule;
        if (work->call_name.data && !str_eq(work->call_name, name))
            continue;
        rc = json_schema_rule(schemas, parameters ? parameters : nothing, &rule, err);
        if (rc)
            break;
        buf_append_text(&calls, calls.len > 0 ? " | " : "call ::= ");
        call_write(syntax, name, rule, &calls);
    }
    if (rc == 0 && calls.len == 0)
        rc = error_set(err, ERROR_INVALID, "tool_choice asks for a tool that is not among 'tools'");
    buf_append_char(&calls, '\n');
    buf_append_str(out, buf_str(&calls));
    calls_write(s, syntax, !work->call_name.data, out);
    if (rc == 0 && (out->failed || calls.failed))
        rc = error_set(err, ERROR_LIMIT, "the tools are too large: send fewer");
    json_schema_free(schemas);
    json_decref(nothing);
    buf_free(&calls);
    return rc;
}

/* ---- The whole ---- */

int constraint_begin(struct session *s, const struct chat_work *work, enum reply_syntax syntax,
    struct constraint *out, struct error *err)
{
    struct buf text;
    int rc = 0;
    if (!work->grammar.data && !work->schema && !work->must_call)
        return 0;
    out->session = s;
    buf_init(&text, LIMIT_WIRE_FRAME);
    if (work->must_call)
        rc = calls_grammar(s, work, syntax, &text, err);
    else if (work->schema)
        rc = json_schema_grammar(work->schema, &text, err);
    if (rc == 0)
        rc = vocab_need(s, err);
    if (rc == 0)
        rc = grammar_parse(work->grammar.data ? work->grammar : buf_str(&text), &out->grammar, err);
    if (rc == 0)
        rc = grammar_matcher_create(out->grammar, s->grammar_vocab, &out->matcher, err);
    buf_free(&text);
    if (rc)
        constraint_end(out);
    return rc;
}

void constraint_end(struct constraint *c)
{
    grammar_matcher_free(c->matcher);
    grammar_free(c->grammar);
    *c = (struct constraint){0};
}

/* Reasoning goes on until it is closed. */
static void end_forbid(const struct session *s, float *logits)
{
    int32_t n = model_info(s->model)->n_vocab;
    for (int32_t id = 0; id < n; id++)
        if (tokenizer_is_end(s->tokenizer, id))
            logits[id] = -__builtin_inff();
}

int constraint_mask(struct constraint *c, float *logits, struct error *err)
{
    if (c->matcher && c->asleep)
        end_forbid(c->session, logits);
    return c->matcher && !c->asleep ? grammar_matcher_mask(c->matcher, logits, err) : 1;
}

int constraint_accept(struct constraint *c, int32_t token, struct error *err)
{
    int rc = c->matcher && !c->asleep ? grammar_matcher_accept(c->matcher, token, err) : 1;
    if (rc < 0)
        return rc;
    return rc > 0 ? 0 : error_set(err, ERROR_INTERNAL, "a token was drawn that does not fit the grammar");
}

/* One call of each tool, in the family's syntax. */
#include "engine/worker/grammar.h"
#include "engine/worker/json_schema_inner.h"
#include "engine/worker/reply_grammar_inner.h"

#include <stdio.h>
#include <string.h>

struct writer {
    const struct reply_ask *ask;
    const struct reply_syntax *syntax;
    struct json_schema *schemas;
    struct buf *out; /* whole rules */
    uint32_t n_places;
    struct error *err;
};

/* ---- Arguments as pairs: TAGGED and PYTHON ---- */

struct pairs {
    struct writer *w;
    const json_t *parameters;
    const char **names;
    size_t count;
    uint32_t first; /* of the rules weir-pN: by member, by whether one was written */
};

/* Can it be written as a parameter's name without quotes? */
static bool name_is_plain(const struct writer *w, const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    if (w->syntax->payload == PAYLOAD_PYTHON)
        return *name && strspn(name, letters) == strlen(name) && !(*name >= '0' && *name <= '9');
    return *name && strlen(name) < 200 && !strpbrk(name, "<>\"\n") && name[0] != ' ' &&
           name[strlen(name) - 1] != ' ';
}

static int pair_write(struct pairs *p, const char *name, struct buf *out)
{
    struct writer *w = p->w;
    const struct reply_syntax *s = w->syntax;
    const json_t *schema = json_object_get(json_object_get(p->parameters, "properties"), name);
    bool text = s->payload == PAYLOAD_TAGGED && json_schema_is_text(p->parameters, schema);
    uint32_t rule;
    int rc = 0;
    if (!name_is_plain(w, name))
        return error_set(w->err, ERROR_UNSUPPORTED,
            "this model's calls cannot have a parameter that is named '%.100s': name it otherwise", name);
    if (s->payload == PAYLOAD_PYTHON) {
        grammar_literal_append(out, str_from(name));
        buf_append_text(out, " \"=\" ");
    } else {
        reply_marker_write(w->ask, s->key_open, out);
        grammar_literal_append(out, str_from(name));
        buf_append_char(out, ' ');
        if (s->key_cut) {
            reply_marker_write(w->ask, s->key_cut, out);
            buf_append_text(out, text ? "\"true\" " : "\"false\" ");
        }
        reply_marker_write(w->ask, s->key_end, out);
    }
    if (text) {
        buf_append_char(out, '(');
        rc = json_schema_text(p->parameters, schema, out, w->err);
        buf_append_text(out, ") ");
    } else {
        rc = json_schema_rule_in(w->schemas, p->parameters, schema, &rule, w->err);
        buf_appendf(out, "r%u ", rc ? 0 : rule);
    }
    if (s->payload == PAYLOAD_TAGGED)
        reply_marker_write(w->ask, s->value_end, out);
    return rc;
}

/* What may follow when members before the i-th are dealt with. */
static int place_write(struct pairs *p, size_t i, unsigned written)
{
    struct buf body;
    int rc = 0;
    uint32_t next = p->first + (uint32_t)(2 * (i + 1));
    buf_init(&body, SCHEMA_GRAMMAR_MAX);
    buf_appendf(&body, "weir-p%u ::= ", p->first + (uint32_t)(2 * i) + written);
    if (i == p->count) {
        buf_append_text(&body, "\"\"");
    } else {
        if (written && p->w->syntax->payload == PAYLOAD_PYTHON)
            buf_append_text(&body, "\", \" ");
        rc = pair_write(p, p->names[i], &body);
        buf_appendf(&body, "weir-p%u", next + 1);
        if (!schema_requires(p->parameters, p->names[i]))
            buf_appendf(&body, " | weir-p%u", next + written);
    }
    buf_append_char(&body, '\n');
    buf_append_str(p->w->out, buf_str(&body));
    if (rc == 0 && body.failed)
        rc = error_set(p->w->err, ERROR_LIMIT, "the tools are too large: send fewer");
    buf_free(&body);
    return rc;
}

/* Pairs are the members of one object: what combines schemas has no place there. */
static int pairs_check(const struct pairs *p)
{
    static const char *const known[] = {"type", "properties", "required", "additionalProperties"};
    const json_t *properties = json_object_get(p->parameters, "properties");
    const json_t *required = json_object_get(p->parameters, "required");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)p->parameters, key, value)
    {
        bool there = schema_is_note(key);
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            there = there || str_is(str_from(key), known[i]);
        if (!there)
            return error_set(p->w->err, ERROR_UNSUPPORTED,
                "a tool's parameters use '%.100s' beside their properties, to which this model's calls "
                "cannot "
                "be held: leave it out",
                key);
    }
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *name = json_string_value(json_array_get(required, i));
        if (!name || !json_object_get(properties, name))
            return error_set(p->w->err, ERROR_INVALID,
                "a tool's parameters require '%.100s', which is not among their properties",
                name ? name : "");
    }
    return 0;
}

/* *rule: of weir-pN, the pairs of a tool. */
static int pairs_write(struct writer *w, const json_t *parameters, uint32_t *rule)
{
    struct pairs p = {.w = w, .parameters = parameters, .first = w->n_places};
    const json_t *properties = json_object_get(parameters, "properties");
    const char *name;
    json_t *value;
    int rc = pairs_check(&p);
    if (rc)
        return rc;
    p.names = arena_try_array(w->schemas->arena, const char *, json_object_size(properties) + 1);
    if (!p.names)
        return error_set(w->err, ERROR_LIMIT, "the tools are too large: send fewer");
    json_object_foreach((json_t *)(uintptr_t)properties, name, value) p.names[p.count++] = name;
    w->n_places += 2 * (uint32_t)(p.count + 1);
    for (size_t i = 0; i <= p.count && rc == 0; i++)
        for (unsigned written = 0; written < 2 && rc == 0; written++)
            rc = place_write(&p, i, written);
    *rule = p.first;
    return rc;
}

/* ---- One call ---- */

static void json_text_write(struct str text, struct buf *out)
{
    struct buf json;
    struct json_writer w;
    buf_init(&json, MIB);
    json_writer_init(&w, &json);
    json_write_str(&w, text);
    grammar_literal_append(out, buf_str(&json));
    buf_append_char(out, ' ');
    buf_free(&json);
}

static void named_begin(struct writer *w, struct str name, struct buf *out)
{
    const struct reply_syntax *s = w->syntax;
    reply_marker_write(w->ask, s->call_open ? s->call_open : "", out);
    grammar_literal_append(out, name);
    buf_append_char(out, ' ');
    if (s->name_more) {
        reply_marker_write(w->ask, s->name_cut, out);
        buf_appendf(out, "%s ", s->name_more);
    }
    reply_marker_write(w->ask, s->name_end ? s->name_end : "", out);
}

/* `arguments`: the name of their rule. */
static void call_write(struct writer *w, struct str name, const char *arguments, struct buf *out)
{
    const struct reply_syntax *s = w->syntax;
    switch (s->payload) {
    case PAYLOAD_JSON:
        buf_append_text(out, "\"{\" ");
        if (s->name_key) {
            json_text_write(str_from(s->name_key), out);
            buf_append_text(out, "\": \" ");
        }
        json_text_write(name, out);
        if (s->args_key) {
            buf_append_text(out, "\", \" ");
            json_text_write(str_from(s->args_key), out);
        }
        buf_appendf(out, "\": \" %s \"}\"", arguments);
        return;
    case PAYLOAD_GEMMA:
        grammar_literal_append(out, name);
        buf_appendf(out, " %s", arguments);
        return;
    case PAYLOAD_PYTHON:
        grammar_literal_append(out, name);
        buf_appendf(out, " \"(\" %s \")\"", arguments);
        return;
    default:
        named_begin(w, name, out);
        buf_appendf(out, "%s ", arguments);
        if (s->payload != PAYLOAD_CHANNEL)
            reply_marker_write(w->ask, s->call_close ? s->call_close : "", out);
        return;
    }
}

static int arguments_write(struct writer *w, const json_t *function, char *rule, size_t size, json_t *nothing)
{
    const json_t *parameters = json_object_get(function, "parameters");
    bool pairs = w->syntax->payload == PAYLOAD_TAGGED || w->syntax->payload == PAYLOAD_PYTHON;
    uint32_t number;
    /* Tools that need not be held to their schema may take anything. */
    if (!w->ask->must_call && !json_is_true(json_object_get(function, "strict"))) {
        snprintf(rule, size, "%s", pairs ? "weir-any" : "object");
        return 0;
    }
    if (!json_is_object(parameters) || json_object_size(parameters) == 0)
        parameters = nothing;
    int rc = pairs ? pairs_write(w, parameters, &number)
                   : json_schema_rule(w->schemas, parameters, &number, w->err);
    snprintf(rule, size, pairs ? "weir-p%u" : "r%u", rc ? 0 : number);
    return rc;
}

/* Arguments of any name, and rules that the families' values need. */
static void common_write(struct writer *w)
{
    const struct reply_syntax *s = w->syntax;
    struct buf *out = w->out;
    if (s->payload == PAYLOAD_GEMMA) {
        buf_append_text(out, "quote ::= ");
        reply_marker_write(w->ask, "<|\"|>", out);
        buf_append_char(out, '\n');
    } else if (s->payload == PAYLOAD_PYTHON) {
        buf_append_text(out, "weir-pair ::= [a-zA-Z_] [a-zA-Z0-9_]{0,40} \"=\" value\n"
                             "weir-any ::= (weir-pair (\", \" weir-pair)*)?\n");
    } else if (s->payload == PAYLOAD_TAGGED) {
        buf_append_text(out, "bare ::= [^<\\x00]\ntext ::= ");
        reply_avoid_write(reply_mark(s->value_end), out);
        buf_append_text(out, "\nweir-any ::= (");
        reply_marker_write(w->ask, s->key_open, out);
        buf_append_text(out, "[a-zA-Z0-9_-]{1,64} ");
        if (s->key_cut) {
            reply_marker_write(w->ask, s->key_cut, out);
            buf_append_text(out, "\"true\" ");
        }
        reply_marker_write(w->ask, s->key_end, out);
        buf_append_text(out, "text ");
        reply_marker_write(w->ask, s->value_end, out);
        buf_append_text(out, ")*\n");
    }
}

static int tools_write(struct writer *w, json_t *nothing)
{
    struct buf calls;
    char rule[32];
    int rc = 0;
    buf_init(&calls, SCHEMA_GRAMMAR_MAX);
    for (size_t i = 0; i < json_array_size(w->ask->tools) && rc == 0; i++) {
        const json_t *function = json_object_get(json_array_get(w->ask->tools, i), "function");
        struct str name = json_text(function, "name");
        if (w->ask->call_name.data && !str_eq(w->ask->call_name, name))
            continue;
        rc = arguments_write(w, function, rule, sizeof rule, nothing);
        buf_append_text(&calls, calls.len > 0 ? " | " : "weir-call ::= ");
        call_write(w, name, rule, &calls);
    }
    if (rc == 0 && calls.len == 0)
        rc = error_set(w->err, ERROR_INVALID, "tool_choice asks for a tool that is not among 'tools'");
    buf_append_char(&calls, '\n');
    buf_append_str(w->out, buf_str(&calls));
    if (rc == 0 && calls.failed)
        rc = error_set(w->err, ERROR_LIMIT, "the tools are too large: send fewer");
    buf_free(&calls);
    return rc;
}

int reply_call_rules(const struct reply_ask *ask, struct buf *out, struct error *err)
{
    struct writer w = {.ask = ask, .syntax = ask->form.syntax, .out = out, .err = err};
    json_t *nothing = json_pack("{s:s,s:{},s:b}", "type", "object", "properties", "additionalProperties", 0);
    enum json_schema_style style = w.syntax->payload == PAYLOAD_GEMMA    ? JSON_SCHEMA_QUOTED
                                   : w.syntax->payload == PAYLOAD_PYTHON ? JSON_SCHEMA_PYTHON
                                                                         : JSON_SCHEMA_JSON;
    w.schemas = json_schema_create(style, out);
    common_write(&w);
    int rc = tools_write(&w, nothing);
    json_schema_free(w.schemas);
    json_decref(nothing);
    return rc;
}

/* How values are written: JSON, and what families of models write in its place. */
#include <string.h>

#include "engine/worker/grammar.h"
#include "engine/worker/json_schema_inner.h"

/* A character of a string as JSON may write it, U+0000 and lone surrogates left out: RFC 8259, section 7. */
#define STRING                                                                                               \
    "escape ::= \"\\\\\" ([\"\\\\/bfnrt] | \"u\" (\"000\" [1-9a-fA-F] | \"00\" [1-9a-fA-F] hex | \"0\" "     \
    "[1-9a-fA-F] hex hex |"                                                                                  \
    " [1-9a-cA-CefEF] hex hex hex | [dD] [0-7] hex hex |"                                                    \
    " [dD] [89abAB] hex hex \"\\\\u\" [dD] [c-fC-F] hex hex))\n"                                             \
    "char ::= [^\"\\\\\\x00-\\x1F] | escape\n"                                                               \
    "string ::= \"\\\"\" char* \"\\\"\"\n"
#define COMMON                                                                                               \
    "hex ::= [0-9a-fA-F]\n"                                                                                  \
    "digits ::= \"0\" | [1-9] [0-9]{0,17}\n"                                                                 \
    "integer ::= \"-\"? digits\n"                                                                            \
    "number ::= \"-\"? digits (\".\" [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?\n"                               \
    "value ::= object | array | string | number | boolean | null\n"                                          \
    "object ::= \"{\" ws (string ws \":\" ws value ws (\",\" ws string ws \":\" ws value ws)*)? \"}\"\n"     \
    "array ::= \"[\" ws (value ws (\",\" ws value ws)*)? \"]\"\n"

static const struct schema_style styles[] = {
    [JSON_SCHEMA_JSON] = {"ws ::= (\" \" | \"\\n\" [ \\t]{0,24})?\n"
                          "boolean ::= \"true\" | \"false\"\n"
                          "null ::= \"null\"\n" STRING COMMON,
        "\"\\\"\"", "char", "string", {"true", "false", "null"}, false, false},
    [JSON_SCHEMA_PYTHON] = {"ws ::= \" \"?\n"
                            "boolean ::= \"True\" | \"False\"\n"
                            "null ::= \"None\"\n" STRING COMMON,
        "\"\\\"\"", "char", "string", {"True", "False", "None"}, false, false},
    [JSON_SCHEMA_QUOTED] = {"ws ::= \"\"\n"
                            "boolean ::= \"true\" | \"false\"\n"
                            "null ::= \"null\"\n"
                            "char ::= [^<\\x00]\n"
                            "string ::= quote char* quote\n" COMMON,
        "quote", "char", "string", {"true", "false", "null"}, true, true},
};

const struct schema_style schema_style_text = {
    "", "\"\"", "bare", "text", {"true", "false", "null"}, true, false};

const struct schema_style *schema_style_of(enum json_schema_style style)
{
    return &styles[style];
}

/* ---- Literals ---- */

static void json_literal(const json_t *value, struct buf *out)
{
    struct buf json;
    struct json_writer w;
    buf_init(&json, out->max);
    json_writer_init(&w, &json);
    json_write_value(&w, value);
    grammar_literal_append(out, buf_str(&json));
    if (json.failed)
        out->failed = json.failed;
    buf_free(&json);
}

void schema_key_write(const struct json_schema *s, const char *name, struct buf *out)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.$";
    json_t *key = json_string(name);
    if (s->style->bare_keys && *name && strspn(name, plain) == strlen(name))
        grammar_literal_append(out, str_from(name));
    else
        schema_literal_write(s, key, out);
    json_decref(key);
}

void schema_literal_write(const struct json_schema *s, const json_t *value, struct buf *out)
{
    const struct schema_style *style = s->style;
    const char *key;
    json_t *each;
    size_t n = 0;
    if (json_is_string(value) && style->bare) {
        buf_appendf(out, "%s ", style->quote);
        grammar_literal_append(out, json_str(value));
        buf_appendf(out, " %s", style->quote);
    } else if (json_is_boolean(value) || json_is_null(value)) {
        grammar_literal_append(out, str_from(style->words[json_is_true(value)    ? 0
                                                          : json_is_false(value) ? 1
                                                                                 : 2]));
    } else if (json_is_object(value)) {
        buf_append_text(out, "\"{\"");
        json_object_foreach((json_t *)(uintptr_t)value, key, each)
        {
            buf_append_text(out, n++ > 0 ? " \",\" " : " ");
            schema_key_write(s, key, out);
            buf_append_text(out, " \":\" ");
            schema_literal_write(s, each, out);
        }
        buf_append_text(out, " \"}\"");
    } else if (json_is_array(value)) {
        buf_append_text(out, "\"[\"");
        for (; n < json_array_size(value); n++) {
            buf_append_text(out, n > 0 ? " \",\" " : " ");
            schema_literal_write(s, json_array_get(value, n), out);
        }
        buf_append_text(out, " \"]\"");
    } else {
        json_literal(value, out);
    }
}

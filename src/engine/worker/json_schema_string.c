/* Strings: lengths, formats. */
#include "engine/worker/json_schema_inner.h"

/* What a format lets through, in quotes. Days end with February 28th, so that every date exists. RFC 3339,
 * RFC 9562, RFC 5321 and 1123 (the plain forms), RFC 4291. T and Z could be small, which many a reader does
 * not take. */
static const struct {
    const char *name, *expression;
} formats[] = {
    {"date", "DATE"},
    {"time", "TIME"},
    {"date-time", "DATE \"T\" TIME"},
    {"duration",
        "\"P\" ([0-9]{1,4} \"W\" | [0-9]{1,4} \"D\" (\"T\" [0-9]{1,4} [HMS])? | \"T\" [0-9]{1,4} \"H\" "
        "([0-9]{1,2} \"M\")? "
        "([0-9]{1,2} \"S\")? | \"T\" [0-9]{1,4} \"M\" ([0-9]{1,2} \"S\")? | \"T\" [0-9]{1,6} \"S\")"},
    {"uuid", "hex{8} \"-\" hex{4} \"-\" hex{4} \"-\" hex{4} \"-\" hex{12}"},
    {"email", "[a-zA-Z0-9_] ([.+-]? [a-zA-Z0-9_]){0,60} \"@\" HOST \".\" [a-zA-Z]{2,12}"},
    {"hostname", "HOST"},
    {"ipv4", "BYTE \".\" BYTE \".\" BYTE \".\" BYTE"},
    {"ipv6", "hex{1,4} (\":\" hex{1,4}){7} | hex{1,4} (\":\" hex{1,4}){0,5} \"::\" | \"::\" (hex{1,4} (\":\" "
             "hex{1,4}){0,5})?"},
    {"uri", "(\"http\" \"s\"? | \"ftp\") \"://\" HOST (\":\" [1-9] [0-9]{0,3})? (\"/\" "
            "[a-zA-Z0-9._~-]{0,64}){0,16} "
            "(\"?\" [a-zA-Z0-9._~=&-]{0,256})? (\"#\" [a-zA-Z0-9._~-]{0,64})?"},
};

static const struct {
    const char *word, *expression;
} words[] = {
    {"DATE", "[0-9]{4} \"-\" ((\"0\" [13578] | \"1\" [02]) \"-\" (\"0\" [1-9] | [12] [0-9] | \"3\" [01]) | "
             "(\"0\" [469] | \"11\") \"-\" "
             "(\"0\" [1-9] | [12] [0-9] | \"30\") | \"02-\" (\"0\" [1-9] | \"1\" [0-9] | \"2\" [0-8]))"},
    {"TIME", "([01] [0-9] | \"2\" [0-3]) \":\" [0-5] [0-9] \":\" [0-5] [0-9] (\".\" [0-9]{1,9})? (\"Z\" | "
             "[+-] ([01] [0-9] | \"2\" "
             "[0-3]) \":\" [0-5] [0-9])"},
    {"HOST", "([a-zA-Z0-9] ([a-zA-Z0-9-]{0,40} [a-zA-Z0-9])? (\".\" [a-zA-Z0-9] ([a-zA-Z0-9-]{0,40} "
             "[a-zA-Z0-9])?){0,3})"},
    {"BYTE", "(\"25\" [0-5] | \"2\" [0-4] [0-9] | \"1\" [0-9] [0-9] | [1-9] [0-9] | [0-9])"},
};

static void expression_write(struct str expression, struct buf *out)
{
    while (expression.len > 0) {
        const char *found = NULL;
        size_t length = 1;
        for (size_t i = 0; i < sizeof words / sizeof *words && !found; i++) {
            struct str word = str_from(words[i].word);
            if (str_starts(expression, word)) {
                found = words[i].expression;
                length = word.len;
            }
        }
        if (found)
            expression_write(str_from(found), out);
        else
            buf_append_char(out, expression.data[0]);
        expression = str_slice(expression, length, expression.len);
    }
}

static int format_write(const struct json_schema *s, struct str format, struct buf *out, struct error *err)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (!str_is(format, formats[i].name))
            continue;
        buf_appendf(out, "%s (", s->style->quote);
        expression_write(str_from(formats[i].expression), out);
        buf_appendf(out, ") %s", s->style->quote);
        return 0;
    }
    return error_set(err, ERROR_UNSUPPORTED,
        "the JSON schema uses the 'format' '" STR_FMT
        "', which cannot be enforced here: leave it out or name another model",
        STR_ARG(str_slice(format, 0, 100)));
}

int schema_string_write(const struct json_schema *s, const json_t *schema, struct buf *out, struct error *err)
{
    struct str format, pattern;
    int64_t least, most;
    int rc = json_get_str(schema, "format", &format, err);
    if (rc == 0)
        rc = json_get_str(schema, "pattern", &pattern, err);
    if (rc == 0)
        rc = json_get_int(schema, "minLength", 0, 0, 1 << 29, &least, err);
    if (rc == 0)
        rc = json_get_int(schema, "maxLength", -1, 0, 1 << 29, &most, err);
    if (rc)
        return rc;
    bool bounded = least > 0 || most >= 0;
    if ((format.data != NULL) + (pattern.data != NULL) + bounded > 1)
        return error_set(err, ERROR_UNSUPPORTED,
            "the JSON schema has more than one of 'format', 'pattern' and minLength/maxLength for one "
            "string: keep one of them");
    if (most >= 0 && least > most)
        return error_set(
            err, ERROR_INVALID, "the JSON schema's 'minLength' is above its 'maxLength': correct them");
    if (format.data)
        return format_write(s, format, out, err);
    if (pattern.data) {
        buf_appendf(out, "%s (", s->style->quote);
        rc = schema_pattern_write(s, pattern, out, err);
        buf_appendf(out, ") %s", s->style->quote);
        return rc;
    }
    if (!bounded) {
        buf_append_text(out, s->style->string);
        return 0;
    }
    buf_appendf(out, "%s %s{%lld,", s->style->quote, s->style->character, (long long)least);
    if (most >= 0)
        buf_appendf(out, "%lld", (long long)most);
    buf_appendf(out, "} %s", s->style->quote);
    return 0;
}

/* ---- Bare text ---- */

static bool all_text(const json_t *schema)
{
    const json_t *value = json_object_get(schema, "const"), *list = json_object_get(schema, "enum");
    bool text = !value || json_is_string(value);
    for (size_t i = 0; i < json_array_size(list); i++)
        text = text && json_is_string(json_array_get(list, i));
    return text && (value || json_array_size(list) > 0);
}

/* The schema that `root` holds under #/$defs/NAME or #/definitions/NAME. */
static const json_t *named_get(const json_t *root, struct str ref)
{
    static const char *const homes[] = {"$defs", "definitions"};
    const char *name;
    json_t *each;
    for (size_t i = 0; i < 2; i++) {
        size_t prefix = 3 + str_from(homes[i]).len;
        if (!str_starts(ref, STR("#/")) || !str_eq(str_slice(ref, 2, prefix - 1), str_from(homes[i])))
            continue;
        json_object_foreach(json_object_get(root, homes[i]), name, each)
        {
            if (str_is(str_slice(ref, prefix, ref.len), name))
                return each;
        }
    }
    return NULL;
}

static const json_t *text_schema(const json_t *root, const json_t *schema)
{
    static const char *const combined[] = {"$ref", "anyOf", "oneOf", "allOf"};
    for (int steps = 0; steps < SCHEMA_DEPTH_MAX && json_is_string(json_object_get(schema, "$ref")); steps++)
        schema = named_get(root, json_text(schema, "$ref"));
    for (size_t i = 0; i < sizeof combined / sizeof *combined; i++)
        if (json_object_get(schema, combined[i]))
            return NULL;
    if (json_is_true(json_object_get(schema, "nullable")))
        return NULL;
    bool values = json_object_get(schema, "const") || json_object_get(schema, "enum");
    bool text = values ? all_text(schema) : str_is(json_text(schema, "type"), "string");
    return text ? schema : NULL;
}

bool json_schema_is_text(const json_t *root, const json_t *schema)
{
    return text_schema(root, schema) != NULL;
}

int json_schema_text(const json_t *root, const json_t *schema, struct buf *out, struct error *err)
{
    struct json_schema s = {.style = &schema_style_text, .arena = arena_create(MIB)};
    int rc = schema_write(&s, text_schema(root, schema), out, err);
    arena_free(s.arena);
    return rc;
}

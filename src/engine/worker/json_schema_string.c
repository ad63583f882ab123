/* Strings: lengths, formats. */
#include "engine/worker/json_schema_inner.h"

/* What a format lets through, in quotes. Days end with February 28th, so that every date exists. RFC 3339,
 * RFC 9562, RFC 5321 and 1123 (the plain forms), RFC 4291. */
static const struct {
    const char *name, *expression;
} formats[] = {
    {"date", "DATE"},
    {"time", "TIME"},
    {"date-time", "DATE [Tt] TIME"},
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
    {"TIME", "([01] [0-9] | \"2\" [0-3]) \":\" [0-5] [0-9] \":\" [0-5] [0-9] (\".\" [0-9]{1,9})? ([Zz] | "
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

static int format_write(struct str format, struct buf *out, struct error *err)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (!str_is(format, formats[i].name))
            continue;
        buf_append_text(out, "\"\\\"\" (");
        expression_write(str_from(formats[i].expression), out);
        buf_append_text(out, ") \"\\\"\"");
        return 0;
    }
    return error_set(err, ERROR_UNSUPPORTED,
        "the JSON schema uses the 'format' '" STR_FMT
        "', which cannot be enforced here: leave it out or name another model",
        STR_ARG(str_slice(format, 0, 100)));
}

int schema_string_write(const json_t *schema, struct buf *out, struct error *err)
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
        return format_write(format, out, err);
    if (pattern.data) {
        buf_append_text(out, "\"\\\"\" (");
        rc = schema_pattern_write(pattern, out, err);
        buf_append_text(out, ") \"\\\"\"");
        return rc;
    }
    if (!bounded) {
        buf_append_text(out, "string");
        return 0;
    }
    buf_appendf(out, "\"\\\"\" char{%lld,", (long long)least);
    if (most >= 0)
        buf_appendf(out, "%lld", (long long)most);
    buf_append_text(out, "} \"\\\"\"");
    return 0;
}

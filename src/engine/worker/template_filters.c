/* Filters over text and numbers. */
#include "engine/worker/template_internal.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* str(value), keeping what is a string already (and its mark). */
static int soft_str(struct tpl_run *r, const struct tpl_value *v, struct tpl_value *out)
{
    *out = *v;
    if (v->kind == TPL_STRING)
        return 0;
    *out = tpl_string(STR_NONE);
    return tpl_to_str(r, v, &out->s);
}

/* ---- Text ---- */

static int f_string(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return soft_str(r, &call->self, out);
}

static int f_safe(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    int rc = soft_str(r, &call->self, out);
    out->markup = true;
    return rc;
}

static int f_escape(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    int rc = soft_str(r, &call->self, out);
    if (rc || out->markup)
        return rc;
    out->markup = true;
    return tpl_escape(r, out->s, &out->s);
}

static int f_forceescape(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    int rc = soft_str(r, &call->self, out);
    out->markup = true;
    return rc ? rc : tpl_escape(r, out->s, &out->s);
}

static int by_method(struct tpl_run *r, const struct tpl_call *call, const struct tpl_builtin *table,
    const char *name, struct tpl_value *out)
{
    struct tpl_value text;
    int rc = soft_str(r, &call->self, &text);
    return rc ? rc : tpl_builtin_call(r, tpl_builtin_find(table, str_from(name)), &text, call->args, out);
}

static int f_upper(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return by_method(r, call, tpl_methods_case, "upper", out);
}

static int f_lower(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return by_method(r, call, tpl_methods_case, "lower", out);
}

static int f_capitalize(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return by_method(r, call, tpl_methods_case, "capitalize", out);
}

static int f_center(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_value width = call->arg[0].kind == TPL_MISSING ? tpl_int(80) : call->arg[0], text;
    struct tpl_args args = {&width, 1, NULL, 0};
    int rc = soft_str(r, &call->self, &text);
    return rc ? rc
              : tpl_builtin_call(r, tpl_builtin_find(tpl_methods_case, STR("center")), &text, &args, out);
}

/* Jinja's title: words begin after white space, '-' and opening brackets. */
static int f_title(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_value text, word;
    struct str piece;
    int rc = soft_str(r, &call->self, &text);
    size_t mark = tpl_text_begin(r), start = 0;
    *out = tpl_string(STR_NONE);
    for (size_t pos = 0; rc == 0 && pos <= text.s.len;) {
        size_t end = pos;
        uint32_t c = pos < text.s.len ? tpl_char_next(text.s, &pos) : ' ';
        bool between = c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || tpl_is_space(c);
        if (!between)
            continue;
        word = tpl_string(str_slice(text.s, start, end));
        rc = tpl_case(r, &word, 'f', &word);
        piece = str_slice(text.s, end, pos);
        buf_append_str(r->out, word.s);
        buf_append_str(r->out, piece);
        start = pos;
        if (end == text.s.len)
            break;
    }
    return rc ? rc : tpl_text_end(r, mark, &out->s);
}

static int f_trim(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_value text;
    int rc = soft_str(r, &call->self, &text);
    return rc ? rc : tpl_strip_chars(r, &text, &call->arg[0], true, true, out);
}

static int f_replace(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct str s = STR_NONE, old = STR_NONE, new = STR_NONE;
    int64_t most = -1;
    int rc = tpl_to_str(r, &call->self, &s);
    if (rc == 0)
        rc = tpl_to_str(r, &call->arg[0], &old);
    if (rc == 0)
        rc = tpl_to_str(r, &call->arg[1], &new);
    if (rc == 0 && call->arg[2].kind != TPL_NONE)
        rc = tpl_arg_int(r, &call->arg[2], "count", -1, &most);
    *out = tpl_string(STR_NONE);
    return rc ? rc : tpl_replace(r, s, old, new, most, &out->s);
}

static int f_indent(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_value text = call->self;
    struct tpl_list lines;
    struct str by;
    int64_t width;
    bool first, blank;
    if (text.kind != TPL_STRING)
        return text.kind == TPL_UNDEFINED ? tpl_fail_undefined(r, &text) : tpl_fail(r, "indent takes a str");
    int rc = 0;
    if (call->arg[0].kind == TPL_STRING) {
        by = call->arg[0].s;
    } else {
        rc = tpl_arg_int(r, &call->arg[0], "the width of indent", 4, &width);
        if (rc == 0)
            rc = tpl_repeat(r, STR(" "), width, &by);
    }
    if (rc == 0)
        rc = tpl_arg_bool(r, &call->arg[1], &first);
    if (rc == 0)
        rc = tpl_arg_bool(r, &call->arg[2], &blank);
    if (rc == 0) /* as if the text ended with a line end: "" has one line, "a\n" has two */
        rc = tpl_concat(r, text.s, STR("\n"), &text.s);
    if (rc == 0)
        rc = tpl_split_lines(r, &text, false, &lines);
    size_t mark = tpl_text_begin(r);
    for (size_t i = 0; rc == 0 && i < lines.count; i++) {
        struct str line = lines.items[i].s;
        if (i > 0)
            buf_append_char(r->out, '\n');
        if (i == 0 ? first : blank || line.len > 0)
            buf_append_str(r->out, by);
        buf_append_str(r->out, line);
    }
    *out = tpl_markup(STR_NONE, text.markup);
    return rc ? rc : tpl_text_end(r, mark, &out->s);
}

static int f_truncate(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct str s, end = STR("...");
    int64_t length, leeway, have, tail;
    bool kill_words;
    *out = call->self;
    if (call->self.kind == TPL_UNDEFINED) /* it has the length 0 */
        return 0;
    int rc = tpl_arg_str(r, &call->self, "what is truncated", &s);
    if (rc == 0)
        rc = tpl_arg_int(r, &call->arg[0], "length", 255, &length);
    if (rc == 0)
        rc = tpl_arg_bool(r, &call->arg[1], &kill_words);
    if (rc == 0 && call->arg[2].kind != TPL_MISSING)
        rc = tpl_arg_str(r, &call->arg[2], "end", &end);
    if (rc == 0)
        rc = tpl_arg_int(r, &call->arg[3], "leeway", 5, &leeway);
    if (rc == 0)
        rc = tpl_length(r, &call->self, &have);
    if (rc)
        return rc;
    tail = (int64_t)str_utf8_count(end);
    if (length < tail || leeway < 0)
        return tpl_fail(
            r, "truncate needs a length of at least %lld and a leeway of at least 0", (long long)tail);
    *out = call->self;
    if (have <= length || have - length <= leeway)
        return 0;
    s = str_slice(s, 0, tpl_char_offset(s, (size_t)(length - tail)));
    for (size_t i = s.len; !kill_words && i-- > 0;)
        if (s.data[i] == ' ') {
            s.len = i;
            break;
        }
    return tpl_concat(r, s, end, &out->s);
}

static int f_wordcount(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_value text;
    int64_t words = 0;
    bool inside = false;
    int rc = soft_str(r, &call->self, &text);
    if (rc == 0)
        rc = tpl_spend_bytes(r, text.s.len * 8);
    for (size_t pos = 0; rc == 0 && pos < text.s.len;) {
        uint32_t c = tpl_char_next(text.s, &pos);
        bool word = c == '_' || tpl_is_alpha(c) || tpl_is_digit(c);
        words += word && !inside;
        inside = word;
    }
    *out = tpl_int(words);
    return rc;
}

static int f_urlencode(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct str s;
    if (tpl_iterable(&call->self) && call->self.kind != TPL_STRING)
        return tpl_fail(r, "urlencode takes text, not %s", tpl_type_name(&call->self));
    int rc = tpl_to_str(r, &call->self, &s);
    size_t mark = tpl_text_begin(r);
    for (size_t i = 0; rc == 0 && i < s.len && !r->out->failed; i++) {
        unsigned char c = (unsigned char)s.data[i];
        bool plain =
            (c | 32) >= 'a' && (c | 32) <= 'z' ? c < 0x80 : c && strchr("0123456789_.-~/", c) != NULL;
        if (plain)
            buf_append_char(r->out, (char)c);
        else
            buf_appendf(r->out, "%%%02X", c);
    }
    *out = tpl_string(STR_NONE);
    return rc ? rc : tpl_text_end(r, mark, &out->s);
}

static int f_format(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    const struct tpl_args *args = call->args;
    struct tpl_list list = {args->positional, args->n_positional, NULL};
    struct tpl_value text, values;
    int rc = soft_str(r, &call->self, &text);
    if (rc == 0 && args->n_keywords > 0) {
        if (args->n_positional > 0)
            return tpl_fail(r, "format cannot take positional and named values at the same time");
        rc = tpl_dict_new(r, args->n_keywords, TPL_DICT, &values);
        for (size_t i = 0; rc == 0 && i < args->n_keywords; i++)
            rc = tpl_dict_put(r, values.dict, tpl_string(args->keywords[i].name), args->keywords[i].value);
    } else if (rc == 0) {
        rc = tpl_list_value(r, TPL_TUPLE, &list, &values);
    }
    return rc ? rc : tpl_format_printf(r, &text, &values, out);
}

/* ---- tojson, as transformers has it ---- */

static int separators_get(struct tpl_run *r, const struct tpl_value *v, struct tpl_json_style *style)
{
    struct tpl_list pair;
    int rc = tpl_items(r, v, &pair);
    if (rc == 0 && pair.count != 2)
        return tpl_fail(r, "separators must be two strings");
    if (rc == 0)
        rc = tpl_arg_str(r, &pair.items[0], "a separator", &style->comma);
    return rc ? rc : tpl_arg_str(r, &pair.items[1], "a separator", &style->colon);
}

static int f_tojson(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_json_style style = {.comma = STR(", "), .colon = STR(": ")};
    const struct tpl_value *indent = &call->arg[1], *separators = &call->arg[2];
    int64_t width = 0;
    int rc = tpl_arg_bool(r, &call->arg[0], &style.ascii);
    style.indented = indent->kind != TPL_MISSING && indent->kind != TPL_NONE;
    if (style.indented)
        style.comma = STR(",");
    if (rc == 0 && indent->kind == TPL_STRING)
        style.indent = indent->s;
    else if (rc == 0 && style.indented) {
        rc = tpl_arg_int(r, indent, "indent", 0, &width);
        if (rc == 0)
            rc = tpl_repeat(r, STR(" "), width, &style.indent);
    }
    if (rc == 0 && separators->kind != TPL_MISSING && separators->kind != TPL_NONE)
        rc = separators_get(r, separators, &style);
    if (rc == 0)
        rc = tpl_arg_bool(r, &call->arg[3], &style.sort);
    size_t mark = tpl_text_begin(r);
    if (rc == 0)
        rc = tpl_write_json(r, &call->self, &style);
    *out = tpl_string(STR_NONE);
    return rc ? rc : tpl_text_end(r, mark, &out->s);
}

/* ---- Numbers ---- */

/* The text of a number without the white space around it and the underscores inside; false if it is none. */
static bool number_text(struct str s, char *to, size_t size)
{
    size_t n = 0;
    s = tpl_strip(s, NULL, true, true);
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        bool digits_around = i > 0 && i + 1 < s.len && s.data[i - 1] != '_' && s.data[i + 1] != '_';
        if (c == '_' && digits_around)
            continue;
        if (c == '_' || c == '\0' || (unsigned char)c >= 0x80 || n + 1 >= size)
            return false;
        to[n++] = c;
    }
    to[n] = '\0';
    return n > 0;
}

static bool parse_int(struct str s, int64_t base, int64_t *out)
{
    char text[128], *end;
    if (!number_text(s, text, sizeof text) || base < 0 || base == 1 || base > 36)
        return false;
    char *digits = text + (text[0] == '-' || text[0] == '+');
    char kind = digits[0] == '0' ? (char)(digits[1] | 32) : '\0';
    int64_t named = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 0;
    if (named && (base == 0 || base == named)) {
        base = named;
        memmove(digits, digits + 2, strlen(digits + 2) + 1);
    }
    if (base == 0)
        base = 10;
    if (digits[0] == '-' || digits[0] == '+' || digits[0] == ' ' || digits[0] == '\0')
        return false;
    errno = 0;
    *out = strtoll(text, &end, (int)base);
    return *end == '\0' && errno == 0;
}

static bool parse_float(struct str s, double *out)
{
    char text[512], *end;
    if (!number_text(s, text, sizeof text) || strpbrk(text, "xXpP()"))
        return false;
    if (text[0] == ' ' || (text[0] >= '\t' && text[0] <= '\r'))
        return false;
    *out = strtod(text, &end);
    return *end == '\0' && end != text;
}

static int f_int(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    const struct tpl_value *v = &call->self;
    int64_t base, whole;
    double number = NAN;
    int rc = tpl_arg_int(r, &call->arg[1], "base", 10, &base);
    if (rc)
        return rc;
    if (v->kind == TPL_UNDEFINED)
        return tpl_fail_undefined(r, v);
    *out = call->arg[0].kind == TPL_MISSING ? tpl_int(0) : call->arg[0];
    if (tpl_is_integral(v)) {
        *out = tpl_int(tpl_integer(v));
        return 0;
    }
    if (v->kind == TPL_STRING && parse_int(v->s, base, &whole)) {
        *out = tpl_int(whole);
        return 0;
    }
    if (v->kind == TPL_FLOAT)
        number = v->f;
    else if (v->kind == TPL_STRING && !parse_float(v->s, &number))
        return 0;
    if (!isfinite(number))
        return 0;
    if (fabs(number) >= 9.2e18)
        return tpl_fail(r, "the number is too large");
    *out = tpl_int((int64_t)number);
    return 0;
}

static int f_float(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    const struct tpl_value *v = &call->self;
    double number;
    if (v->kind == TPL_UNDEFINED)
        return tpl_fail_undefined(r, v);
    if (tpl_is_number(v))
        *out = tpl_float(tpl_number(v));
    else if (v->kind == TPL_STRING && parse_float(v->s, &number))
        *out = tpl_float(number);
    else
        *out = call->arg[0].kind == TPL_MISSING ? tpl_float(0) : call->arg[0];
    return 0;
}

static int f_abs(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    const struct tpl_value *v = &call->self;
    if (v->kind == TPL_UNDEFINED)
        return tpl_fail_undefined(r, v);
    if (!tpl_is_number(v) || (v->kind == TPL_INT && v->i == INT64_MIN))
        return tpl_fail(r, "bad operand type for abs(): '%s'", tpl_type_name(v));
    *out = v->kind == TPL_FLOAT ? tpl_float(fabs(v->f))
                                : tpl_int(tpl_integer(v) < 0 ? -tpl_integer(v) : tpl_integer(v));
    return 0;
}

/* Half goes to even on the exact value, as Python's round: the C library's decimal conversion does that. */
static double round_common(double value, int64_t precision)
{
    char text[400];
    if (!isfinite(value) || precision > 300)
        return value;
    if (precision >= 0) {
        snprintf(text, sizeof text, "%.*f", precision > 60 ? 60 : (int)precision, value);
        return fabs(value) < 1e300 ? strtod(text, NULL) : value;
    }
    double unit = pow(10, (double)-precision);
    return precision < -308 ? 0.0 : nearbyint(value / unit) * unit;
}

static int f_round(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    const struct tpl_value *v = &call->self;
    struct str method = STR("common");
    int64_t precision;
    int rc = tpl_arg_int(r, &call->arg[0], "precision", 0, &precision);
    if (rc == 0 && call->arg[1].kind != TPL_MISSING)
        rc = tpl_arg_str(r, &call->arg[1], "method", &method);
    if (rc)
        return rc;
    bool common = str_is(method, "common"), up = str_is(method, "ceil");
    if (!common && !up && !str_is(method, "floor"))
        return tpl_fail(r, "method must be common, ceil or floor");
    if (!tpl_is_number(v))
        return v->kind == TPL_UNDEFINED ? tpl_fail_undefined(r, v) : tpl_fail(r, "round takes a number");
    if (common && v->kind != TPL_FLOAT && precision >= 0) {
        *out = tpl_int(tpl_integer(v));
    } else if (common) {
        double rounded = round_common(tpl_number(v), precision);
        *out =
            v->kind == TPL_FLOAT ? tpl_float(rounded) : tpl_int(fabs(rounded) < 9e18 ? (int64_t)rounded : 0);
    } else {
        double unit = pow(10, (double)precision), scaled = tpl_number(v) * unit;
        *out = tpl_float((up ? ceil(scaled) : floor(scaled)) / unit);
    }
    return 0;
}

const struct tpl_builtin tpl_filters_text[] = {{"string", "", f_string}, {"safe", "", f_safe},
    {"escape", "", f_escape}, {"e", "", f_escape}, {"forceescape", "", f_forceescape}, {"upper", "", f_upper},
    {"lower", "", f_lower}, {"capitalize", "", f_capitalize}, {"title", "", f_title},
    {"trim", "?chars", f_trim}, {"center", "?width", f_center}, {"replace", "old new ?count", f_replace},
    {"indent", "?width ?first ?blank", f_indent}, {"truncate", "?length ?killwords ?end ?leeway", f_truncate},
    {"wordcount", "", f_wordcount}, {"urlencode", "", f_urlencode}, {"format", NULL, f_format},
    {"tojson", "?ensure_ascii ?indent ?separators ?sort_keys", f_tojson}, {"int", "?default ?base", f_int},
    {"float", "?default", f_float}, {"abs", "", f_abs}, {"round", "?precision ?method", f_round},
    {NULL, NULL, NULL}};

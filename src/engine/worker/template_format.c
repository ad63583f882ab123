/* "%-8s %d" % values and "{0:>8} {name!r}".format(values). */
#include "engine/worker/template_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PRECISION_MAX = 200, NUMBER_TEXT = 640 }; /* the largest double has 309 digits before the point */

/* One field: [[fill]align][sign][#][0][width][,][.precision][type] */
struct spec {
    uint32_t fill;
    char align; /* < > ^ = or NUL: as the type does */
    char sign;  /* + - or space */
    bool alternate, zero;
    char group; /* , or _ between thousands, or NUL */
    int64_t width;
    int64_t precision; /* -1: none */
    char type;
};

/* What is written: sign and prefix, then the rest; numbers are padded between the two for '='. */
struct field {
    char prefix[8];
    struct str body;
    char text[NUMBER_TEXT];
};

static void fill_put(struct tpl_run *r, const struct spec *s, int64_t count)
{
    for (int64_t i = 0; i < count && !r->out->failed; i++)
        tpl_append_char(r->out, s->fill ? s->fill : ' ');
}

static int field_put(struct tpl_run *r, const struct spec *s, const struct field *f, char align)
{
    int64_t length = (int64_t)(strlen(f->prefix) + str_utf8_count(f->body));
    int64_t room = s->width > length ? s->width - length : 0;
    if (s->align)
        align = s->align;
    int64_t left = align == '>' ? room : align == '^' ? room / 2 : 0;
    int rc = tpl_spend_bytes(r, (size_t)room + f->body.len);
    if (rc)
        return rc;
    fill_put(r, s, left);
    buf_append_text(r->out, f->prefix);
    if (align == '=')
        fill_put(r, s, room);
    buf_append_str(r->out, f->body);
    if (align == '<' || align == '^')
        fill_put(r, s, room - left);
    return tpl_out_check(r);
}

static void sign_set(struct field *f, const struct spec *s, bool negative)
{
    const char *sign = negative ? "-" : s->sign == '+' ? "+" : s->sign == ' ' ? " " : "";
    snprintf(f->prefix, sizeof f->prefix, "%s", sign);
}

/* Puts `group` between the thousands of the digits that start the text. */
static void group_digits(char *text, size_t size, char group)
{
    size_t digits = strspn(text, "0123456789"), len = strlen(text);
    for (size_t at = digits; group && at > 3 && len + 2 < size;) {
        at -= 3;
        memmove(text + at + 1, text + at, len - at + 1);
        text[at] = group;
        len++;
    }
}

static void integer_text(struct field *f, const struct spec *s, int64_t value)
{
    uint64_t left = value < 0 ? (uint64_t)0 - (uint64_t)value : (uint64_t)value;
    unsigned base = s->type == 'x' || s->type == 'X' ? 16 : s->type == 'o' ? 8 : s->type == 'b' ? 2 : 10;
    char *at = f->text + 80;
    const char *digits = s->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    *at = '\0';
    do
        *--at = digits[left % base];
    while (left /= base);
    memmove(f->text, at, strlen(at) + 1);
    group_digits(f->text, sizeof f->text, base == 10 ? s->group : '\0');
    sign_set(f, s, value < 0);
    if (s->alternate && base != 10) {
        size_t n = strlen(f->prefix);
        snprintf(f->prefix + n, sizeof f->prefix - n, "0%c", s->type);
    }
    f->body = str_from(f->text);
}

static int float_text(struct tpl_run *r, struct field *f, const struct spec *s, double value)
{
    bool percent = s->type == '%', upper = s->type == 'E' || s->type == 'F' || s->type == 'G';
    int precision = s->precision < 0 ? 6 : (int)s->precision;
    if (s->precision > PRECISION_MAX)
        return tpl_fail(r, "a precision of more than %d digits", PRECISION_MAX);
    sign_set(f, s, signbit(value) && !isnan(value));
    value = fabs(percent ? value * 100 : value);
    char how = s->type == '\0' || s->type == 'n' ? 'g' : percent ? 'f' : (char)(s->type | 32);
    if (!isfinite(value)) {
        strcpy(f->text, isnan(value) ? (upper ? "NAN" : "nan") : upper ? "INF" : "inf");
    } else if (s->type == '\0' && s->precision < 0) {
        tpl_float_text(value, f->text);
    } else if (how == 'e') {
        snprintf(f->text, sizeof f->text, upper ? "%.*E" : "%.*e", precision, value);
    } else if (how == 'f') {
        snprintf(f->text, sizeof f->text, "%.*f", precision, value);
    } else {
        snprintf(f->text, sizeof f->text, upper ? "%.*G" : "%.*g", precision ? precision : 1, value);
    }
    group_digits(f->text, sizeof f->text, s->group);
    if (percent)
        strcat(f->text, "%");
    f->body = str_from(f->text);
    return 0;
}

static int string_put(struct tpl_run *r, const struct spec *s, struct str text, char align)
{
    struct field f = {.body = text};
    if (s->precision >= 0)
        f.body = str_slice(text, 0, tpl_char_offset(text, (size_t)s->precision));
    return field_put(r, s, &f, align);
}

static int char_put(struct tpl_run *r, const struct spec *s, int64_t code, char align)
{
    struct field f = {.prefix = ""};
    size_t n = code >= 0 && code <= 0x10FFFF ? str_utf8_encode((uint32_t)code, f.text) : 0;
    if (n == 0)
        return tpl_fail(r, "%%c arg not in range(0x110000)");
    f.body = (struct str){f.text, n};
    return field_put(r, s, &f, align);
}

static int float_put(struct tpl_run *r, const struct spec *s, double value)
{
    struct field f = {.prefix = ""};
    int rc = float_text(r, &f, s, value);
    return rc ? rc : field_put(r, s, &f, '>');
}

/* ---- printf style ---- */

/* Takes the arguments one after the other: of a tuple, or a single one. */
struct printf_args {
    const struct tpl_value *values;
    size_t next, count;
    const struct tpl_value *mapping;
    bool escape;
};

static int next_arg(struct tpl_run *r, struct printf_args *a, struct tpl_value *out)
{
    if (a->next >= a->count)
        return tpl_fail(r, "not enough arguments for format string");
    *out = a->values[a->next++];
    return 0;
}

/* Digits at *pos, or '*' for the next argument. */
static int spec_number(struct tpl_run *r, struct str s, size_t *pos, struct printf_args *a, int64_t *out)
{
    *out = 0;
    if (a && *pos < s.len && s.data[*pos] == '*') {
        struct tpl_value v;
        (*pos)++;
        int rc = next_arg(r, a, &v);
        return rc ? rc : tpl_arg_int(r, &v, "*", 0, out);
    }
    for (; *pos < s.len && s.data[*pos] >= '0' && s.data[*pos] <= '9'; (*pos)++)
        if (*out < INT32_MAX)
            *out = *out * 10 + (s.data[*pos] - '0');
    return 0;
}

static int printf_mapped(
    struct tpl_run *r, struct str format, size_t *pos, const struct printf_args *a, struct tpl_value *out)
{
    size_t close = str_find_char(str_slice(format, *pos, format.len), ')');
    struct tpl_value *found;
    if (!a->mapping || close == SIZE_MAX)
        return tpl_fail(r, "format requires a mapping");
    struct tpl_value key = tpl_string(str_slice(format, *pos + 1, *pos + close));
    *pos += close + 1;
    int rc = tpl_dict_find(r, a->mapping->dict, &key, &found);
    if (rc == 0 && !found)
        return tpl_fail(r, "'" STR_FMT "' is not in the values of the format", STR_ARG(key.s));
    if (rc == 0)
        *out = *found;
    return rc;
}

static int printf_spec(
    struct tpl_run *r, struct str format, size_t *pos, struct printf_args *a, struct spec *s)
{
    *s = (struct spec){.precision = -1};
    for (; *pos < format.len && strchr("-+ #0", format.data[*pos]) && format.data[*pos]; (*pos)++) {
        char flag = format.data[*pos];
        if (flag == '-')
            s->align = '<';
        else if (flag == '#')
            s->alternate = true;
        else if (flag == '0')
            s->zero = true;
        else if (s->sign != '+')
            s->sign = flag;
    }
    int rc = spec_number(r, format, pos, a, &s->width);
    if (rc == 0 && *pos < format.len && format.data[*pos] == '.') {
        (*pos)++;
        rc = spec_number(r, format, pos, a, &s->precision);
    }
    while (*pos < format.len && format.data[*pos] && strchr("hlL", format.data[*pos]))
        (*pos)++;
    if (rc == 0 && *pos >= format.len)
        return tpl_fail(r, "incomplete format");
    if (rc == 0)
        s->type = format.data[(*pos)++];
    if (s->width < 0) {
        s->align = '<';
        s->width = s->width < -INT32_MAX ? INT32_MAX : -s->width;
    }
    return rc;
}

static int printf_number(struct tpl_run *r, struct spec *s, const struct tpl_value *v)
{
    struct field f = {.prefix = ""};
    if (v->kind == TPL_UNDEFINED)
        return tpl_fail_undefined(r, v);
    if (!tpl_is_number(v) || (v->kind == TPL_FLOAT && strchr("xXo", s->type)))
        return tpl_fail(r, "%%%c format: a number is required, not %s", s->type, tpl_type_name(v));
    if (s->zero && !s->align) {
        s->fill = '0';
        s->align = '=';
    }
    if (strchr("eEfFgG", s->type))
        return float_put(r, s, tpl_number(v));
    if (v->kind == TPL_FLOAT && !(fabs(v->f) < 9e18))
        return tpl_fail(r, "the number is too large to be an integer");
    int64_t value = v->kind == TPL_FLOAT ? (int64_t)v->f : tpl_integer(v);
    if (s->type == 'i' || s->type == 'u')
        s->type = 'd';
    integer_text(&f, s, value);
    int64_t digits = (int64_t)f.body.len;
    if (s->precision > digits && s->precision < NUMBER_TEXT - 1) {
        size_t missing = (size_t)(s->precision - digits);
        memmove(f.text + missing, f.text, f.body.len + 1);
        memset(f.text, '0', missing);
        f.body = str_from(f.text);
    }
    return field_put(r, s, &f, '>');
}

static int printf_text(struct tpl_run *r, const struct spec *s, const struct tpl_value *v, bool escape)
{
    struct str text = STR_NONE;
    size_t mark = tpl_text_begin(r);
    int rc = s->type == 's' ? tpl_write(r, v) : tpl_write_repr(r, v);
    if (rc == 0)
        rc = tpl_text_end(r, mark, &text);
    if (rc == 0 && escape && !v->markup)
        rc = tpl_escape(r, text, &text);
    return rc ? rc : string_put(r, s, text, '>');
}

static int printf_one(struct tpl_run *r, struct str format, size_t *pos, struct printf_args *a)
{
    struct tpl_value v = {.kind = TPL_MISSING};
    struct spec s;
    int rc = *pos < format.len && format.data[*pos] == '(' ? printf_mapped(r, format, pos, a, &v) : 0;
    if (rc == 0)
        rc = printf_spec(r, format, pos, a, &s);
    if (rc)
        return rc;
    if (s.type == '%') {
        buf_append_char(r->out, '%');
        return 0;
    }
    if (v.kind == TPL_MISSING)
        rc = next_arg(r, a, &v);
    if (rc)
        return rc;
    if (s.type == 's' || s.type == 'r' || s.type == 'a')
        return printf_text(r, &s, &v, a->escape);
    if (s.type == 'c' && tpl_is_integral(&v))
        return char_put(r, &s, tpl_integer(&v), '>');
    if (s.type == 'c' && v.kind == TPL_STRING && str_utf8_count(v.s) == 1)
        return string_put(r, &s, v.s, '>');
    if (s.type && strchr("diuoxXeEfFgG", s.type))
        return printf_number(r, &s, &v);
    return tpl_fail(r, "unsupported format character in a string's %%");
}

int tpl_format_printf(
    struct tpl_run *r, const struct tpl_value *format, const struct tpl_value *values, struct tpl_value *out)
{
    struct printf_args a = {.values = values, .count = 1, .escape = format->markup};
    if (values->kind == TPL_TUPLE) {
        a.values = values->list->items;
        a.count = values->list->count;
    } else if (values->kind == TPL_DICT) {
        a.mapping = values;
    }
    struct str s = format->s;
    size_t mark = tpl_text_begin(r);
    int rc = tpl_spend_bytes(r, s.len);
    for (size_t i = 0; rc == 0 && i < s.len;) {
        char c = s.data[i++];
        if (c == '%')
            rc = printf_one(r, s, &i, &a);
        else
            buf_append_char(r->out, c);
    }
    bool has_items =
        values->kind == TPL_DICT || values->kind == TPL_LIST || values->kind == TPL_RANGE ||
        values->kind == TPL_UNDEFINED; /* Python takes these for mappings, unused ones are fine */
    if (rc == 0 && a.next < a.count && !has_items)
        return tpl_fail(r, "not all arguments converted during string formatting");
    *out = tpl_markup(STR_NONE, format->markup);
    return rc ? rc : tpl_text_end(r, mark, &out->s);
}

/* ---- str.format() ---- */

static bool is_align(char c)
{
    return c == '<' || c == '>' || c == '^' || c == '=';
}

static int spec_parse(struct tpl_run *r, struct str text, struct spec *s)
{
    size_t pos = 0, after = 0;
    *s = (struct spec){.precision = -1};
    uint32_t first = text.len ? tpl_char_next(text, &after) : 0;
    if (after < text.len && is_align(text.data[after])) {
        s->fill = first;
        s->align = text.data[after];
        pos = after + 1;
    } else if (text.len && is_align(text.data[0])) {
        s->align = text.data[pos++];
    }
    if (pos < text.len && text.data[pos] && strchr("+- ", text.data[pos]))
        s->sign = text.data[pos++];
    if (pos < text.len && text.data[pos] == '#')
        s->alternate = text.data[pos++] == '#';
    if (pos < text.len && text.data[pos] == '0') {
        pos++;
        if (!s->align) {
            s->fill = '0';
            s->zero = true;
        }
    }
    int rc = spec_number(r, text, &pos, NULL, &s->width);
    if (pos < text.len && (text.data[pos] == ',' || text.data[pos] == '_'))
        s->group = text.data[pos++];
    if (rc == 0 && pos < text.len && text.data[pos] == '.') {
        pos++;
        rc = spec_number(r, text, &pos, NULL, &s->precision);
    }
    if (pos < text.len)
        s->type = text.data[pos++];
    return rc || pos == text.len ? rc : tpl_fail(r, "Invalid format specifier");
}

static int braces_number(struct tpl_run *r, struct spec *s, const struct tpl_value *v)
{
    struct field f = {.prefix = ""};
    if (s->zero)
        s->align = '=';
    if (v->kind == TPL_FLOAT || (s->type && strchr("eEfFgG%", s->type))) {
        if (s->type && !strchr("eEfFgGn%", s->type))
            return tpl_fail(r, "Unknown format code '%c' for object of type 'float'", s->type);
        return float_put(r, s, tpl_number(v));
    }
    if (s->type == 'c')
        return char_put(r, s, tpl_integer(v), '<');
    if (s->type && !strchr("dnxXob", s->type))
        return tpl_fail(r, "Unknown format code '%c' for object of type 'int'", s->type);
    integer_text(&f, s, tpl_integer(v));
    return field_put(r, s, &f, '>');
}

static int braces_put(struct tpl_run *r, const struct tpl_value *v, struct str text, bool escape)
{
    struct spec s;
    struct str plain;
    if (text.len == 0) {
        int rc = tpl_to_str(r, v, &plain);
        if (rc == 0 && escape && !v->markup)
            rc = tpl_escape(r, plain, &plain);
        buf_append_str(r->out, plain);
        return rc ? rc : tpl_out_check(r);
    }
    int rc = spec_parse(r, text, &s);
    if (rc)
        return rc;
    if (v->kind == TPL_STRING) {
        if (s.type && s.type != 's')
            return tpl_fail(r, "Unknown format code '%c' for object of type 'str'", s.type);
        if (s.group || s.sign || s.alternate || s.align == '=')
            return tpl_fail(r, "a string cannot be formatted as a number");
        return string_put(r, &s, v->s, '<');
    }
    return tpl_is_number(v) ? braces_number(r, &s, v)
                            : tpl_fail(r, "unsupported format string passed to %s", tpl_type_name(v));
}

struct braces {
    const struct tpl_call *call;
    size_t next; /* number of the next {} */
};

/* "name", "0", "" followed by .attribute and [item] */
static int braces_value(struct tpl_run *r, struct braces *b, struct str name, struct tpl_value *out)
{
    const struct tpl_args *args = b->call->args;
    size_t n = 0;
    while (n < name.len && name.data[n] != '.' && name.data[n] != '[')
        n++;
    struct str head = str_slice(name, 0, n), rest = str_slice(name, n, name.len);
    int64_t index = (int64_t)b->next;
    *out = (struct tpl_value){.kind = TPL_MISSING};
    if (head.len == 0)
        b->next++;
    if (head.len == 0 || str_to_int64(head, &index)) {
        if (index >= 0 && (size_t)index < args->n_positional)
            *out = args->positional[index];
    } else {
        for (size_t i = 0; i < args->n_keywords; i++)
            if (str_eq(args->keywords[i].name, head))
                *out = args->keywords[i].value;
    }
    if (out->kind == TPL_MISSING)
        return tpl_fail(r, "format() has no value for '{" STR_FMT "}'", STR_ARG(head));
    int rc = 0;
    while (rc == 0 && rest.len > 0) {
        struct tpl_value from = *out, key;
        bool item = rest.data[0] == '[';
        size_t end = item ? str_find_char(rest, ']') : 1;
        while (!item && end < rest.len && rest.data[end] != '.' && rest.data[end] != '[')
            end++;
        if (end == SIZE_MAX)
            return tpl_fail(r, "Missing ']' in format string");
        key = tpl_string(str_slice(rest, 1, end));
        if (item && str_to_int64(key.s, &index))
            key = tpl_int(index);
        rest = str_slice(rest, end + item, rest.len);
        rc = item ? tpl_get_item(r, &from, &key, out) : tpl_get_attr(r, &from, key.s, out);
    }
    return rc;
}

static int braces_text(struct tpl_run *r, struct braces *b, struct str format, int depth);

/* The field between braces: name[!conversion][:spec] */
static int braces_field(struct tpl_run *r, struct braces *b, struct str field, int depth)
{
    struct tpl_value v;
    struct str spec = STR_NONE, text;
    size_t colon = str_find_char(field, ':'), bracket = str_find_char(field, '[');
    if (bracket < colon) { /* a colon inside [] belongs to the item */
        size_t close = str_find_char(field, ']');
        size_t after = close == SIZE_MAX ? SIZE_MAX : str_find_char(str_slice(field, close, field.len), ':');
        colon = after == SIZE_MAX ? SIZE_MAX : close + after;
    }
    struct str name = str_slice(field, 0, colon);
    size_t bang = str_find_char(name, '!');
    char conversion = bang != SIZE_MAX && bang + 2 == name.len ? name.data[bang + 1] : '\0';
    if (bang != SIZE_MAX && conversion != 'r' && conversion != 's' && conversion != 'a')
        return tpl_fail(r, "unknown conversion in a format string");
    int rc = braces_value(r, b, str_slice(name, 0, bang), &v);
    if (rc == 0 && conversion) {
        size_t mark = tpl_text_begin(r);
        rc = conversion == 's' ? tpl_write(r, &v) : tpl_write_repr(r, &v);
        if (rc == 0)
            rc = tpl_text_end(r, mark, &text);
        v = tpl_string(rc ? STR_NONE : text);
    }
    if (rc == 0 && colon != SIZE_MAX) {
        size_t mark = tpl_text_begin(r);
        rc = braces_text(r, b, str_slice(field, colon + 1, field.len), depth + 1);
        if (rc == 0)
            rc = tpl_text_end(r, mark, &spec);
    }
    return rc ? rc : braces_put(r, &v, spec, b->call->self.markup);
}

static int braces_text(struct tpl_run *r, struct braces *b, struct str format, int depth)
{
    int rc = depth > 1 ? tpl_fail(r, "Max string recursion exceeded") : tpl_spend_bytes(r, format.len);
    for (size_t i = 0; rc == 0 && i < format.len; i++) {
        char c = format.data[i];
        if (c != '{' && c != '}') {
            buf_append_char(r->out, c);
            continue;
        }
        if (i + 1 < format.len && format.data[i + 1] == c) {
            buf_append_char(r->out, format.data[i++]);
            continue;
        }
        size_t start = i + 1, open = 1;
        for (i = start; c == '{' && i < format.len; i++) {
            open += format.data[i] == '{';
            open -= format.data[i] == '}';
            if (open == 0)
                break;
        }
        if (c == '}' || i >= format.len)
            return tpl_fail(r, "Single '%c' encountered in format string", c);
        rc = braces_field(r, b, str_slice(format, start, i), depth);
    }
    return rc;
}

int tpl_format_braces(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct braces b = {call, 0};
    size_t mark = tpl_text_begin(r);
    int rc = braces_text(r, &b, call->self.s, 0);
    *out = tpl_markup(STR_NONE, call->self.markup);
    return rc ? rc : tpl_text_end(r, mark, &out->s);
}

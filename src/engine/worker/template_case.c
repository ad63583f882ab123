/* The methods of strings about case, classes and width. */
#include "engine/worker/template_internal.h"

#include <string.h>

/* ---- Case ---- */

static void append_all(struct buf *b, const uint32_t *chars, size_t n)
{
    for (size_t i = 0; i < n; i++)
        tpl_append_char(b, chars[i]);
}

/* Sigma at the end of a word has a form of its own. */
static bool final_sigma(struct str s, size_t pos, bool after_letter)
{
    if (!after_letter || pos >= s.len)
        return after_letter;
    return !tpl_is_cased(tpl_char_next(s, &pos));
}

static void append_lower(struct buf *b, struct str s, size_t pos, uint32_t c, bool after_letter)
{
    if (c == 0x3A3)
        tpl_append_char(b, final_sigma(s, pos, after_letter) ? 0x3C2 : 0x3C3);
    else if (c == 0x130)
        append_all(b, (const uint32_t[]){'i', 0x307}, 2);
    else
        tpl_append_char(b, tpl_lower(c));
}

/* How: u upper, l lower, t every word's first in title case, c the first alone, f the same in upper case, s
 * the other way round. */
int tpl_case(struct tpl_run *r, const struct tpl_value *v, char how, struct tpl_value *out)
{
    struct str s = v->s;
    size_t mark = tpl_text_begin(r);
    int rc = tpl_spend_bytes(r, s.len * 16);
    bool after_letter = false;
    for (size_t pos = 0; rc == 0 && pos < s.len && !r->out->failed;) {
        bool first = how == 'c' || how == 'f' ? pos == 0 : how == 't' && !after_letter;
        uint32_t c = tpl_char_next(s, &pos), other[3];
        if (how == 'u' || (how == 'f' && first) || (how == 's' && tpl_lower(c) == c))
            append_all(r->out, other, tpl_upper(c, other));
        else if (first)
            append_all(r->out, other, tpl_title(c, other));
        else
            append_lower(r->out, s, pos, c, after_letter);
        after_letter = tpl_is_cased(c);
    }
    *out = tpl_markup(STR_NONE, v->markup);
    return rc ? rc : tpl_text_end(r, mark, &out->s);
}

#define CASE(name, how)                                                                                      \
    static int s_##name(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)               \
    {                                                                                                        \
        return tpl_case(r, &call->self, how, out);                                                           \
    }

CASE(upper, 'u')
CASE(lower, 'l')
CASE(title, 't')
CASE(capitalize, 'c')
CASE(swapcase, 's')

/* ---- Classes: all characters, and at least one ---- */

enum class { CLASS_ALPHA, CLASS_DIGIT, CLASS_ALNUM, CLASS_SPACE, CLASS_ASCII, CLASS_PRINTABLE };

static bool in_class(uint32_t c, enum class class)
{
    switch (class) {
    case CLASS_ALPHA:
        return tpl_is_alpha(c);
    case CLASS_DIGIT:
        return tpl_is_digit(c);
    case CLASS_ALNUM:
        return tpl_is_alpha(c) || tpl_is_digit(c);
    case CLASS_SPACE:
        return tpl_is_space(c);
    case CLASS_ASCII:
        return c < 0x80;
    default:
        return tpl_is_printable(c);
    }
}

static int all_in(struct tpl_run *r, const struct tpl_call *call, enum class class, struct tpl_value *out)
{
    struct str s = call->self.s;
    bool all = s.len > 0 || class == CLASS_ASCII || class == CLASS_PRINTABLE;
    int rc = tpl_spend_bytes(r, s.len * 8);
    for (size_t pos = 0; rc == 0 && all && pos < s.len;)
        all = in_class(tpl_char_next(s, &pos), class);
    *out = tpl_bool(all);
    return rc;
}

#define CLASS(name, class)                                                                                   \
    static int s_##name(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)               \
    {                                                                                                        \
        return all_in(r, call, class, out);                                                                  \
    }

CLASS(isalpha, CLASS_ALPHA)
CLASS(isdigit, CLASS_DIGIT)
CLASS(isalnum, CLASS_ALNUM)
CLASS(isspace, CLASS_SPACE)
CLASS(isascii, CLASS_ASCII)
CLASS(isprintable, CLASS_PRINTABLE)

static int by_test(struct tpl_run *r, const struct tpl_call *call, const char *test, struct tpl_value *out)
{
    const struct tpl_args none = {NULL, 0, NULL, 0};
    return tpl_builtin_call(r, tpl_builtin_find(tpl_tests, str_from(test)), &call->self, &none, out);
}

static int s_islower(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return by_test(r, call, "lower", out);
}

static int s_isupper(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return by_test(r, call, "upper", out);
}

static int s_istitle(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_value title;
    bool cased = false, same = false;
    int rc = tpl_case(r, &call->self, 't', &title);
    for (size_t pos = 0; rc == 0 && !cased && pos < call->self.s.len;)
        cased = tpl_is_cased(tpl_char_next(call->self.s, &pos));
    if (rc == 0)
        rc = tpl_equal(r, &title, &call->self, &same);
    *out = tpl_bool(cased && same);
    return rc;
}

/* ---- Width ---- */

/* The string with `left` and `right` fill characters around it. */
static int padded(struct tpl_run *r, const struct tpl_call *call, struct str fill, int64_t left,
    int64_t right, struct tpl_value *out)
{
    struct str before, after;
    int rc = tpl_repeat(r, fill, left, &before);
    if (rc == 0)
        rc = tpl_concat(r, before, call->self.s, &before);
    if (rc == 0)
        rc = tpl_repeat(r, fill, right, &after);
    *out = tpl_markup(STR_NONE, call->self.markup);
    return rc ? rc : tpl_concat(r, before, after, &out->s);
}

static int pad(struct tpl_run *r, const struct tpl_call *call, char where, struct tpl_value *out)
{
    struct str fill = STR(" ");
    int64_t width, length;
    int rc = tpl_arg_int(r, &call->arg[0], "the width", 0, &width);
    if (rc == 0 && call->arg[1].kind != TPL_MISSING)
        rc = tpl_arg_str(r, &call->arg[1], "the fill character", &fill);
    if (rc == 0)
        rc = tpl_length(r, &call->self, &length);
    if (rc)
        return rc;
    if (str_utf8_count(fill) != 1)
        return tpl_fail(r, "The fill character must be exactly one character long");
    int64_t room = width > length ? width - length : 0;
    int64_t left = where == 'l' ? 0 : where == 'r' ? room : room / 2 + (room & width & 1);
    return padded(r, call, fill, left, room - left, out);
}

static int s_ljust(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return pad(r, call, 'l', out);
}

static int s_rjust(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return pad(r, call, 'r', out);
}

static int s_center(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return pad(r, call, 'c', out);
}

static int s_zfill(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct str s = call->self.s, zeros;
    int64_t width, length;
    int rc = tpl_arg_int(r, &call->arg[0], "the width", 0, &width);
    if (rc == 0)
        rc = tpl_length(r, &call->self, &length);
    if (rc == 0)
        rc = tpl_repeat(r, STR("0"), width > length ? width - length : 0, &zeros);
    if (rc)
        return rc;
    size_t sign = s.len > 0 && (s.data[0] == '-' || s.data[0] == '+');
    size_t mark = tpl_text_begin(r);
    buf_append_str(r->out, str_slice(s, 0, sign));
    buf_append_str(r->out, zeros);
    buf_append_str(r->out, str_slice(s, sign, s.len));
    *out = tpl_markup(STR_NONE, call->self.markup);
    return tpl_text_end(r, mark, &out->s);
}

const struct tpl_builtin tpl_methods_case[] = {{"upper", "", s_upper}, {"lower", "", s_lower},
    {"casefold", "", s_lower}, {"title", "", s_title}, {"capitalize", "", s_capitalize},
    {"swapcase", "", s_swapcase}, {"isalpha", "", s_isalpha}, {"isdigit", "", s_isdigit},
    {"isdecimal", "", s_isdigit}, {"isnumeric", "", s_isdigit}, {"isalnum", "", s_isalnum},
    {"isspace", "", s_isspace}, {"isascii", "", s_isascii}, {"isprintable", "", s_isprintable},
    {"islower", "", s_islower}, {"isupper", "", s_isupper}, {"istitle", "", s_istitle},
    {"ljust", "width ?fillchar", s_ljust}, {"rjust", "width ?fillchar", s_rjust},
    {"center", "width ?fillchar", s_center}, {"zfill", "width", s_zfill}, {"format", NULL, tpl_format_braces},
    {NULL, NULL, NULL}};

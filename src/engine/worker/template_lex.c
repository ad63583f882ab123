/* A template's source to tokens: text, and what stands between {{ }}, {% %} and {# #}, with Jinja's ways to
 * trim white space. */
#include "engine/worker/template_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int lex_fail(const struct tpl_lexer *l, struct error *err, const char *what)
{
    return error_set(err, ERROR_INVALID, "the chat template is not valid at line %u: %s", l->line, what);
}

static char at(const struct tpl_lexer *l, size_t pos)
{
    return pos < l->source.len ? l->source.data[pos] : '\0';
}

static bool starts(const struct tpl_lexer *l, size_t pos, const char *text)
{
    size_t n = strlen(text);
    return pos <= l->source.len && l->source.len - pos >= n && memcmp(l->source.data + pos, text, n) == 0;
}

/* Line ends become \n; one at the very end is dropped. */
int tpl_lexer_init(struct tpl_lexer *l, struct arena *a, struct str source, struct error *err)
{
    *l = (struct tpl_lexer){.arena = a, .line = 1, .line_starting = true};
    if (!str_utf8_valid(source))
        return error_set(
            err, ERROR_INVALID, "the chat template is not valid UTF-8: use the model's original file");
    char *copy = arena_try_alloc(a, source.len + 1, 1);
    if (!copy)
        return error_set(err, ERROR_MEMORY, "no memory for the chat template");
    size_t n = 0;
    for (size_t i = 0; i < source.len; i++) {
        char c = source.data[i];
        if (c == '\r') {
            c = '\n';
            if (i + 1 < source.len && source.data[i + 1] == '\n')
                i++;
        }
        copy[n++] = c;
    }
    if (n > 0 && copy[n - 1] == '\n')
        n--;
    l->source = (struct str){copy, n};
    return 0;
}

/* Moves to `pos` and counts the lines passed. */
static void move(struct tpl_lexer *l, size_t pos)
{
    for (; l->pos < pos; l->pos++)
        if (l->source.data[l->pos] == '\n')
            l->line++;
    l->line_starting = pos > 0 && l->source.data[pos - 1] == '\n';
}

static size_t skip_space(const struct tpl_lexer *l, size_t pos)
{
    while (pos < l->source.len) {
        size_t next = pos;
        if (!tpl_is_space(tpl_char_next(l->source, &next)))
            break;
        pos = next;
    }
    return pos;
}

/* The text before a tag whose sign is '-', '+' or nothing; `lstrip`: spaces alone on the tag's line go. */
static struct str text_trim(const struct tpl_lexer *l, struct str text, char sign, bool lstrip)
{
    if (sign == '-')
        return tpl_strip(text, NULL, false, true);
    if (sign == '+' || !lstrip)
        return text;
    size_t line = text.len;
    while (line > 0 && text.data[line - 1] != '\n')
        line--;
    if (line == 0 && !l->line_starting)
        return text;
    struct str rest = str_slice(text, line, text.len);
    return tpl_strip(rest, NULL, true, false).len == 0 ? str_slice(text, 0, line) : text;
}

static char sign_at(const struct tpl_lexer *l, size_t pos)
{
    char c = at(l, pos);
    return c == '-' || c == '+' ? c : '\0';
}

/* Where a tag that ends at `close` (the first of its two closing characters) lets the text go on. */
static size_t after_close(const struct tpl_lexer *l, size_t close, size_t least, bool trim)
{
    char sign = close > least ? sign_at(l, close - 1) : '\0';
    if (sign == '-')
        return skip_space(l, close + 2);
    return close + 2 + (trim && sign != '+' && at(l, close + 2) == '\n');
}

/* Is `{% raw %}` at pos? Gives its sign and where the raw text starts. */
static bool raw_begins(const struct tpl_lexer *l, size_t pos, char *sign, size_t *body)
{
    if (!starts(l, pos, "{%"))
        return false;
    *sign = sign_at(l, pos + 2);
    size_t p = skip_space(l, pos + 2 + (*sign != '\0'));
    if (!starts(l, p, "raw"))
        return false;
    p = skip_space(l, p + 3);
    if (starts(l, p, "-%}"))
        *body = skip_space(l, p + 3);
    else if (starts(l, p, "%}"))
        *body = p + 2;
    else
        return false;
    return true;
}

/* Is `{% endraw %}` at pos? Gives its sign and where the text goes on. */
static bool raw_ends(const struct tpl_lexer *l, size_t pos, char *sign, size_t *rest)
{
    if (!starts(l, pos, "{%"))
        return false;
    *sign = sign_at(l, pos + 2);
    size_t p = skip_space(l, pos + 2 + (*sign != '\0'));
    if (!starts(l, p, "endraw"))
        return false;
    p = skip_space(l, p + 6);
    size_t close = p + (sign_at(l, p) != '\0');
    if (!starts(l, close, "%}"))
        return false;
    *rest = after_close(l, close, p, true);
    return true;
}

static int lex_raw(struct tpl_lexer *l, size_t body, struct tpl_token *out, struct error *err)
{
    move(l, body);
    for (size_t p = body; p < l->source.len; p++) {
        char sign;
        size_t rest;
        if (!raw_ends(l, p, &sign, &rest))
            continue;
        out->text = text_trim(l, str_slice(l->source, body, p), sign, true);
        move(l, rest);
        return 0;
    }
    return body < l->source.len ? lex_fail(l, err, "'{% raw %}' has no '{% endraw %}'") : 0;
}

static int lex_comment(struct tpl_lexer *l, size_t start, struct error *err)
{
    size_t from = start + 2 + (sign_at(l, start + 2) != '\0');
    size_t close = str_find(str_slice(l->source, from, l->source.len), STR("#}"));
    if (close == SIZE_MAX && from < l->source.len)
        return lex_fail(l, err, "a comment '{#' has no end '#}'");
    if (close == SIZE_MAX) { /* as in Jinja, nothing at all may follow the opening */
        move(l, from);
        return 0;
    }
    move(l, after_close(l, from + close, from, true));
    return 0;
}

/* Text up to the next tag. What it gives may be empty: a comment or a raw block may follow at once. */
static int lex_data(struct tpl_lexer *l, struct tpl_token *out, struct error *err)
{
    size_t start = l->pos, p = start;
    while (p < l->source.len && !(at(l, p) == '{' && strchr("%{#", at(l, p + 1)) && at(l, p + 1)))
        p++;
    struct str text = str_slice(l->source, start, p);
    out->kind = TOKEN_DATA;
    out->text = text;
    if (p == l->source.len) {
        move(l, p);
        return 0;
    }
    char sign = sign_at(l, p + 2);
    size_t body;
    if (raw_begins(l, p, &sign, &body)) {
        out->text = text_trim(l, text, sign, true);
        if (out->text.len == 0)
            return lex_raw(l, body, out, err);
        move(l, p); /* the same tag is read again, with nothing before it */
        return 0;
    }
    bool variable = at(l, p + 1) == '{';
    out->text = text_trim(l, text, sign, !variable);
    if (out->text.len > 0) {
        move(l, p);
        l->line_starting = false;
        return 0;
    }
    if (at(l, p + 1) == '#')
        return lex_comment(l, p, err);
    out->kind = variable ? TOKEN_VARIABLE_BEGIN : TOKEN_BLOCK_BEGIN;
    move(l, p + 2 + (sign != '\0'));
    out->line = l->line;
    l->in_tag = true;
    l->in_block = !variable;
    l->brackets = 0;
    return 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int digit_of(char c)
{
    if (is_digit(c))
        return c - '0';
    char lower = (char)(c | 32);
    return lower >= 'a' && lower <= 'z' ? lower - 'a' + 10 : 99;
}

static bool is_name(char c)
{
    return is_digit(c) || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (unsigned char)c >= 0x80;
}

/* (\d+_)*\d+ from pos; gives the end, or pos if there is no digit. */
static size_t digits_end(const struct tpl_lexer *l, size_t pos)
{
    size_t p = pos;
    while (is_digit(at(l, p)) ||
           (at(l, p) == '_' && p > pos && is_digit(at(l, p - 1)) && is_digit(at(l, p + 1))))
        p++;
    return p;
}

/* The end of a float that starts at pos, or pos. */
static size_t float_end(const struct tpl_lexer *l, size_t pos)
{
    if (pos > 0 && at(l, pos - 1) == '.')
        return pos;
    size_t whole = digits_end(l, pos), p = whole;
    if (at(l, p) == '.' && is_digit(at(l, p + 1)))
        p = digits_end(l, p + 1);
    if ((at(l, p) | 32) == 'e') {
        size_t e = p + 1;
        if (at(l, e) == '+' || at(l, e) == '-')
            e++;
        if (is_digit(at(l, e)))
            p = digits_end(l, e);
    }
    return p > whole ? p : pos;
}

static int lex_float(struct tpl_lexer *l, size_t end, struct tpl_token *out, struct error *err)
{
    char text[64];
    size_t n = 0;
    for (size_t i = l->pos; i < end && n < sizeof text; i++)
        if (at(l, i) != '_')
            text[n++] = at(l, i);
    if (n == sizeof text || !str_to_double((struct str){text, n}, &out->number))
        return lex_fail(l, err, "a number is out of range");
    out->kind = TOKEN_FLOAT;
    move(l, end);
    return 0;
}

static int lex_integer(struct tpl_lexer *l, struct tpl_token *out, struct error *err)
{
    int base = 10;
    size_t p = l->pos;
    char kind = at(l, p) == '0' ? (char)(at(l, p + 1) | 32) : '\0';
    int other = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 0;
    size_t first = p + 2 + (at(l, p + 2) == '_');
    if (other && digit_of(at(l, first)) < other) {
        base = other;
        p = first;
    }
    bool zero = base == 10 && at(l, p) == '0'; /* a decimal that starts with 0 holds only zeros */
    int64_t value = 0;
    for (;; p++) {
        if (at(l, p) == '_' && digit_of(at(l, p + 1)) < base)
            continue;
        int digit = digit_of(at(l, p));
        if (digit >= base || (zero && digit > 0))
            break;
        if (__builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, digit, &value))
            return lex_fail(l, err, "a number is out of range");
    }
    out->kind = TOKEN_INT;
    out->integer = value;
    move(l, p);
    return 0;
}

/* Reads `count` hexadecimal digits of \x, \u, \U. */
static bool escape_hex(struct str s, size_t *pos, int count, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < count; i++, (*pos)++) {
        int digit = *pos < s.len ? digit_of(s.data[*pos]) : 99;
        if (digit > 15)
            return false;
        *out = *out << 4 | (uint32_t)digit;
    }
    return true;
}

/* One escape after the backslash at *pos - 1; appends what it means to `to`. False if it is malformed. */
static bool escape_undo(struct str s, size_t *pos, char *to, size_t *n)
{
    static const char names[] = "abfnrtv\\'\"", values[] = "\a\b\f\n\r\t\v\\'\"";
    char c = s.data[(*pos)++];
    const char *simple = c ? strchr(names, c) : NULL;
    uint32_t code;
    if (simple) {
        to[(*n)++] = values[simple - names];
        return true;
    }
    if (c == '\n')
        return true;
    if (c == 'N')
        return false;
    if (c >= '0' && c <= '7') {
        code = (uint32_t)(c - '0');
        for (int i = 0; i < 2 && *pos < s.len && s.data[*pos] >= '0' && s.data[*pos] <= '7'; i++)
            code = code * 8 + (uint32_t)(s.data[(*pos)++] - '0');
    } else if (c == 'x' || c == 'u' || c == 'U') {
        if (!escape_hex(s, pos, c == 'x' ? 2 : c == 'u' ? 4 : 8, &code))
            return false;
    } else { /* unknown ones stand for themselves */
        to[(*n)++] = '\\';
        to[(*n)++] = c;
        return true;
    }
    size_t bytes = str_utf8_encode(code, to + *n);
    *n += bytes;
    return bytes > 0;
}

static int lex_string(struct tpl_lexer *l, struct tpl_token *out, struct error *err)
{
    char quote = at(l, l->pos);
    size_t p = l->pos + 1;
    bool escapes = false;
    while (p < l->source.len && at(l, p) != quote) {
        if (at(l, p) == '\\') {
            escapes = true;
            p++;
        }
        p++;
    }
    if (p >= l->source.len)
        return lex_fail(l, err, "a string has no closing quote");
    struct str text = str_slice(l->source, l->pos + 1, p);
    out->kind = TOKEN_STRING;
    out->text = text;
    if (escapes) {
        char *to = arena_try_alloc(l->arena, text.len + 4, 1); /* no escape is shorter than what it means */
        size_t n = 0;
        if (!to)
            return error_set(err, ERROR_LIMIT, "the chat template is too large");
        for (size_t i = 0; i < text.len;) {
            if (text.data[i] != '\\')
                to[n++] = text.data[i++];
            else if (i++, !escape_undo(text, &i, to, &n))
                return lex_fail(l, err, "a string has an escape that cannot be read");
        }
        out->text = (struct str){to, n};
    }
    move(l, p + 1);
    return 0;
}

static int lex_operator(struct tpl_lexer *l, struct tpl_token *out, struct error *err)
{
    static const struct {
        const char *text;
        enum tpl_op op;
    } operators[] = {{"//", OP_FLOORDIV}, {"**", OP_POW}, {"==", OP_EQ}, {"!=", OP_NE}, {">=", OP_GE},
        {"<=", OP_LE}, {"+", OP_ADD}, {"-", OP_SUB}, {"/", OP_DIV}, {"*", OP_MUL}, {"%", OP_MOD},
        {"~", OP_TILDE}, {"[", OP_LBRACKET}, {"]", OP_RBRACKET}, {"(", OP_LPAREN}, {")", OP_RPAREN},
        {"{", OP_LBRACE}, {"}", OP_RBRACE}, {">", OP_GT}, {"<", OP_LT}, {"=", OP_ASSIGN}, {".", OP_DOT},
        {":", OP_COLON}, {"|", OP_PIPE}, {",", OP_COMMA}, {";", OP_SEMICOLON}};
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        if (!starts(l, l->pos, operators[i].text))
            continue;
        out->kind = TOKEN_OP;
        out->op = operators[i].op;
        if (strchr("([{", *operators[i].text))
            l->brackets++;
        else if (strchr(")]}", *operators[i].text) && l->brackets-- == 0)
            return lex_fail(l, err, "a closing bracket has no opening one");
        move(l, l->pos + strlen(operators[i].text));
        return 0;
    }
    return lex_fail(l, err, "unexpected character");
}

/* The end of the tag, if it is here. */
static bool lex_tag_end(struct tpl_lexer *l, struct tpl_token *out)
{
    const char *close = l->in_block ? "%}" : "}}";
    size_t p = l->pos;
    char sign = sign_at(l, p);
    if (sign == '+' && !l->in_block)
        sign = '\0';
    if (l->brackets > 0 || !starts(l, p + (sign != '\0'), close))
        return false;
    out->kind = l->in_block ? TOKEN_BLOCK_END : TOKEN_VARIABLE_END;
    l->in_tag = false;
    move(l, after_close(l, p + (sign != '\0'), p, l->in_block));
    return true;
}

int tpl_lexer_next(struct tpl_lexer *l, struct tpl_token *out, struct error *err)
{
    *out = (struct tpl_token){.kind = TOKEN_DATA, .line = l->line};
    if (!l->in_tag) {
        while (l->pos < l->source.len && out->kind == TOKEN_DATA && out->text.len == 0) {
            int rc = lex_data(l, out, err);
            if (rc)
                return rc;
        }
        if (out->kind == TOKEN_DATA && out->text.len == 0)
            out->kind = TOKEN_END;
        return 0;
    }
    move(l, skip_space(l, l->pos));
    out->line = l->line;
    if (l->pos >= l->source.len)
        return lex_fail(l, err, "a tag is not closed");
    if (lex_tag_end(l, out))
        return 0;
    char c = at(l, l->pos);
    if (is_digit(c)) {
        size_t end = float_end(l, l->pos);
        return end > l->pos ? lex_float(l, end, out, err) : lex_integer(l, out, err);
    }
    if (is_name(c)) {
        size_t p = l->pos;
        while (is_name(at(l, p)))
            p++;
        out->kind = TOKEN_NAME;
        out->text = str_slice(l->source, l->pos, p);
        move(l, p);
        return 0;
    }
    if (c == '\'' || c == '"')
        return lex_string(l, out, err);
    return lex_operator(l, out, err);
}

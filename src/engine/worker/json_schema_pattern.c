/* `pattern`: the part of ECMA-262's regular expressions that is regular, as characters of a JSON string.
 * Classes that are written with \w, \d or \s and negated keep to ASCII, where all dialects agree. */
#include <stdlib.h>
#include <string.h>

#include "engine/worker/json_schema_inner.h"

enum { RANGES_MAX = 256, PATTERN_DEPTH = 32, TURNS_MOST = 1 << 20 };

struct range {
    uint32_t first, last;
};

struct set {
    struct range ranges[RANGES_MAX];
    size_t count;
    bool shorthand;
};

struct pattern {
    const struct schema_style *style;
    struct str text;
    size_t at;
    int depth;
    struct buf *out;
    struct error *err;
};

static int unsupported(struct pattern *p, const char *what)
{
    return error_set(p->err, ERROR_UNSUPPORTED,
        "the JSON schema's 'pattern' has %s (at byte %zu), which cannot be enforced here: write it otherwise",
        what, p->at);
}

static int peek(const struct pattern *p)
{
    return p->at < p->text.len ? (unsigned char)p->text.data[p->at] : -1;
}

static bool take(struct pattern *p, const char *text)
{
    if (!str_starts(str_slice(p->text, p->at, p->text.len), str_from(text)))
        return false;
    p->at += strlen(text);
    return true;
}

/* ---- Sets of characters ---- */

static int set_add(struct pattern *p, struct set *s, uint32_t first, uint32_t last)
{
    if (s->count == RANGES_MAX)
        return unsupported(p, "a class of too many parts");
    s->ranges[s->count++] = (struct range){first, last};
    return 0;
}

static int range_compare(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

static int set_negate(struct pattern *p, struct set *s)
{
    struct set rest = {.shorthand = s->shorthand};
    uint32_t from = 0, end = s->shorthand ? 0x7F : 0x10FFFF;
    int rc = 0;
    qsort(s->ranges, s->count, sizeof *s->ranges, range_compare);
    for (size_t i = 0; i < s->count && rc == 0; i++) {
        if (s->ranges[i].first > from)
            rc = set_add(p, &rest, from, s->ranges[i].first - 1);
        if (s->ranges[i].last >= from)
            from = s->ranges[i].last + 1;
    }
    if (rc == 0 && from <= end)
        rc = set_add(p, &rest, from, end);
    *s = rest;
    return rc;
}

static void range_write(struct buf *out, uint32_t first, uint32_t last)
{
    if (first <= last)
        buf_appendf(out, "\\U%08X-\\U%08X", first, last);
}

/* As they are; '<' begins what ends the text, and is left out of what may be something else. */
static void bare_write(struct pattern *p, const struct set *s)
{
    bool only = s->count == 1 && s->ranges[0].first == s->ranges[0].last;
    buf_append_text(p->out, "[");
    for (size_t i = 0; i < s->count; i++) {
        struct range r = s->ranges[i];
        range_write(p->out, r.first > 0 ? r.first : 1, only || r.last < '<' ? r.last : '<' - 1);
        range_write(p->out, only || r.first > '<' ? r.first : '<' + 1, only ? 0 : r.last);
    }
    buf_append_text(p->out, "]");
}

/* Characters that may stand in a JSON string as they are; the others follow, escaped. */
static void set_write(struct pattern *p, const struct set *s)
{
    static const struct range plain[] = {{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0xD7FF}, {0xE000, 0x10FFFF}};
    static const char names[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
    bool escaped[128] = {false};
    if (p->style->bare) {
        bare_write(p, s);
        return;
    }
    buf_append_text(p->out, "([");
    for (size_t i = 0; i < s->count; i++) {
        struct range r = s->ranges[i];
        for (size_t k = 0; k < sizeof plain / sizeof *plain; k++)
            range_write(p->out, r.first > plain[k].first ? r.first : plain[k].first,
                r.last < plain[k].last ? r.last : plain[k].last);
        for (uint32_t c = r.first; c <= r.last && c < 128; c++)
            escaped[c] = (c < 0x20 && c > 0) || c == '"' || c == '\\';
    }
    buf_append_text(p->out, "]");
    for (uint32_t c = 0; c < 128; c++) {
        const char *name = escaped[c] ? strchr(names, (int)c) : NULL;
        if (!escaped[c])
            continue;
        if (name)
            buf_appendf(p->out, " | \"\\\\\" [\\x%02X]", (unsigned)letters[name - names]);
        else
            buf_appendf(p->out, " | \"\\\\u%04x\"", c);
    }
    buf_append_text(p->out, ")");
}

/* \d \w \s and their negations; 1: it was one. */
static int shorthand(struct pattern *p, int c, struct set *s)
{
    struct set part = {.shorthand = true};
    int rc = 0;
    if (c == 'd' || c == 'D') {
        rc = set_add(p, &part, '0', '9');
    } else if (c == 'w' || c == 'W') {
        static const struct range word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
        for (size_t i = 0; i < 4 && rc == 0; i++)
            rc = set_add(p, &part, word[i].first, word[i].last);
    } else if (c == 's' || c == 'S') {
        rc = set_add(p, &part, '\t', '\r');
        if (rc == 0)
            rc = set_add(p, &part, ' ', ' ');
    } else {
        return 0;
    }
    if (rc == 0 && c < 'a')
        rc = set_negate(p, &part);
    for (size_t i = 0; i < part.count && rc == 0; i++)
        rc = set_add(p, s, part.ranges[i].first, part.ranges[i].last);
    s->shorthand = true;
    return rc ? rc : 1;
}

static int hex(struct pattern *p, int digits, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < digits; i++, p->at++) {
        int c = peek(p);
        int value = c >= '0' && c <= '9'                 ? c - '0'
                    : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                         : -1;
        if (value < 0)
            return unsupported(p, "an escape that is not complete");
        *out = *out * 16 + (uint32_t)value;
    }
    return *out >= 0xD800 && *out <= 0xDFFF ? unsupported(p, "half a character") : 0;
}

/* What comes after a backslash, as one character. */
static int escape(struct pattern *p, uint32_t *out)
{
    static const char from[] = "ntrfv", to[] = "\n\t\r\f\v";
    int c = peek(p);
    const char *known = c > 0 ? strchr(from, c) : NULL;
    p->at++;
    *out = (uint32_t)c;
    if (known)
        *out = (uint32_t)to[known - from];
    else if (c == 'x')
        return hex(p, 2, out);
    else if (c == 'u')
        return hex(p, 4, out);
    else if (c < 0 || c >= 128 || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z'))
        return unsupported(p, "an escape other than of a character or \\d \\w \\s");
    return 0;
}

static int character(struct pattern *p, uint32_t *out)
{
    size_t n = str_utf8_decode(str_slice(p->text, p->at, p->text.len), out);
    if (n == 0)
        return unsupported(p, "text that is not UTF-8");
    p->at += n;
    return *out == '\\' ? escape(p, out) : 0;
}

static int class_part(struct pattern *p, struct set *s)
{
    uint32_t first, last;
    if (peek(p) == '\\') {
        p->at++;
        int rc = shorthand(p, peek(p), s);
        if (rc) {
            p->at++;
            return rc < 0 ? rc : 0;
        }
        if (peek(p) == 'b')
            return unsupported(p, "\\b");
        p->at--;
    }
    if (peek(p) == '[')
        return unsupported(p, "a class in a class");
    int rc = character(p, &first);
    last = first;
    if (rc == 0 && peek(p) == '-' && p->at + 1 < p->text.len && p->text.data[p->at + 1] != ']') {
        p->at++;
        if (peek(p) == '\\' && p->at + 1 < p->text.len && strchr("dDwWsS", p->text.data[p->at + 1]))
            return unsupported(p, "a range to a class");
        rc = character(p, &last);
    }
    if (rc == 0 && last < first)
        rc = unsupported(p, "a range that ends before it begins");
    return rc ? rc : set_add(p, s, first, last);
}

static int class(struct pattern *p)
{
    struct set s = {.count = 0};
    bool negated = take(p, "^");
    int rc = 0;
    while (rc == 0 && peek(p) != ']')
        rc = peek(p) < 0 ? unsupported(p, "a class that does not end") : class_part(p, &s);
    p->at++;
    if (rc == 0 && negated)
        rc = set_negate(p, &s);
    if (rc == 0)
        set_write(p, &s);
    return rc;
}

/* ---- Expressions ---- */

static int alternatives(struct pattern *p);

static int group(struct pattern *p)
{
    if (take(p, "?:")) {
        /* not captured: the same language */
    } else if (str_starts(str_slice(p->text, p->at, p->text.len), STR("?<")) && p->at + 2 < p->text.len &&
               p->text.data[p->at + 2] != '=' && p->text.data[p->at + 2] != '!') {
        while (peek(p) >= 0 && peek(p) != '>')
            p->at++;
        p->at++;
    } else if (peek(p) == '?') {
        return unsupported(p, "a look ahead or behind");
    }
    if (p->depth == PATTERN_DEPTH)
        return unsupported(p, "groups nested too deep");
    p->depth++;
    buf_append_text(p->out, "(");
    int rc = alternatives(p);
    buf_append_text(p->out, ")");
    p->depth--;
    if (rc == 0 && !take(p, ")"))
        rc = unsupported(p, "a group that does not end");
    return rc;
}

static int atom(struct pattern *p)
{
    struct set s = {.count = 0};
    uint32_t c;
    int rc;
    if (take(p, "("))
        return group(p);
    if (take(p, "["))
        return class(p);
    if (take(p, ".")) {
        static const struct range breaks[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
        for (size_t i = 0; i < 3; i++)
            s.ranges[s.count++] = breaks[i];
        rc = set_negate(p, &s);
    } else if (peek(p) == '\\' && p->at + 1 < p->text.len && strchr("dDwWsS", p->text.data[p->at + 1])) {
        p->at += 2;
        rc = shorthand(p, (unsigned char)p->text.data[p->at - 1], &s);
        rc = rc < 0 ? rc : 0;
    } else if (peek(p) == '^' || peek(p) == '$') {
        return unsupported(p, "an anchor inside");
    } else if (peek(p) == '*' || peek(p) == '+' || peek(p) == '?' || peek(p) == '{') {
        return unsupported(p, "a repetition of nothing");
    } else {
        rc = character(p, &c);
        if (rc == 0)
            rc = set_add(p, &s, c, c);
    }
    if (rc == 0)
        set_write(p, &s);
    return rc;
}

static int count(struct pattern *p, long *out)
{
    size_t from = p->at;
    *out = 0;
    while (peek(p) >= '0' && peek(p) <= '9' && *out < TURNS_MOST)
        *out = *out * 10 + (p->text.data[p->at++] - '0');
    return p->at == from || *out >= TURNS_MOST ? unsupported(p, "a repetition without a number, or too large")
                                               : 0;
}

static int quantifier(struct pattern *p)
{
    long least, most;
    int rc = 0;
    if (take(p, "*") || take(p, "+") || take(p, "?")) {
        buf_append_char(p->out, p->text.data[p->at - 1]);
    } else if (take(p, "{")) {
        rc = count(p, &least);
        buf_appendf(p->out, "{%ld", least);
        if (rc == 0 && take(p, ",")) {
            buf_append_text(p->out, ",");
            if (peek(p) != '}') {
                rc = count(p, &most);
                if (rc == 0 && most < least)
                    rc = unsupported(p, "a repetition that ends before it begins");
                buf_appendf(p->out, "%ld", most);
            }
        }
        buf_append_text(p->out, "}");
        if (rc == 0 && !take(p, "}"))
            rc = unsupported(p, "a repetition that does not end");
    } else {
        return 0;
    }
    take(p, "?"); /* as few as possible: the same language */
    return rc;
}

static int sequence(struct pattern *p)
{
    int rc = 0;
    buf_append_text(p->out, "\"\"");
    for (int c; rc == 0 && (c = peek(p)) >= 0 && c != '|' && c != ')' && !(c == '$' && p->depth == 0);) {
        buf_append_text(p->out, " ");
        rc = atom(p);
        if (rc == 0)
            rc = quantifier(p);
    }
    return rc;
}

/* Alternatives of the whole begin and end anywhere, unless they are anchored. */
static int alternatives(struct pattern *p)
{
    int rc;
    do {
        bool outer = p->depth == 0;
        if (outer && !take(p, "^"))
            buf_appendf(p->out, "%s* ", p->style->character);
        rc = sequence(p);
        if (outer && !take(p, "$"))
            buf_appendf(p->out, " %s*", p->style->character);
        if (rc || !take(p, "|"))
            break;
        buf_append_text(p->out, " | ");
    } while (rc == 0);
    return rc;
}

int schema_pattern_write(const struct json_schema *s, struct str text, struct buf *out, struct error *err)
{
    struct pattern p = {.style = s->style, .text = text, .out = out, .err = err};
    int rc = alternatives(&p);
    if (rc == 0 && p.at < text.len)
        rc = unsupported(&p, text.data[p.at] == ')' ? "a ')' too many" : "something after '$'");
    return rc;
}

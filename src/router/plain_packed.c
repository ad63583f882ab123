/* What a text says in another code: "name at host dot org", a number broken by a line's end, base64 and
 * hexadecimal in its midst. One level deep. */
#include "router/plain.h"

#include <string.h>

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & '\x80');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char byte_at(struct str s, size_t i)
{
    return i < s.len ? s.data[i] : '\0';
}

/* ---- Spelled signs. ---- */

/* What a run of base64 or hexadecimal is made of. */
static const bool is_code[256] = {['A' ... 'Z'] = true,
    ['a' ... 'z'] = true,
    ['0' ... '9'] = true,
    ['+'] = true,
    ['/'] = true,
    ['-'] = true,
    ['_'] = true};

/* May a spelled "at" stand behind this byte? The first letters of its words, and what opens brackets. */
static const bool may_say_at[256] = {['a'] = true,
    ['A'] = true,
    ['c'] = true,
    ['C'] = true,
    ['m'] = true,
    ['M'] = true,
    [0xC3] = true,
    [' '] = true,
    ['('] = true,
    ['['] = true,
    ['{'] = true,
    ['<'] = true};

/* One of the words at `at`, between blanks or brackets; the byte behind it and its blanks, or 0. */
static size_t sign_read(struct str s, size_t at, const char *const *words)
{
    size_t i = at;
    while (i - at < 3 && byte_at(s, i) && strchr(" ([{<", byte_at(s, i)))
        i++;
    if (i == at)
        return 0;
    for (; *words; words++) {
        if (((*words)[0] | 0x20) != (byte_at(s, i) | 0x20))
            continue;
        size_t end = i + strlen(*words), to = end;
        if (!str_is_nocase(str_slice(s, i, end), *words))
            continue;
        while (to - end < 3 && byte_at(s, to) && strchr(" )]}>", byte_at(s, to)))
            to++;
        if (to > end)
            return to;
    }
    return 0;
}

/* Domains end in one of these, or it was only talk: "cost at the point where". */
static bool is_top(struct str label)
{
    static const char *const tops[] = {"com", "net", "org", "edu", "gov", "info", "biz", "io", "ai", "dev",
        "app", "eu", "de", "at", "ch", "fr", "be", "es", "it", "nl", "pl", "pt", "br", "uk", "ie", "us", "ca",
        "au", "nz", "in", "jp", "cn", "se", "no", "dk", "fi", "cz", "sk", "hu", "ro", "gr", "tr", "ru", "ua",
        "mx", "ar", "cl", "co", "me", "name", NULL};
    for (const char *const *top = tops; *top; top++)
        if (str_is_nocase(label, *top))
            return true;
    return false;
}

/* "zephyrpost dot com" from `at`: appends "zephyrpost.com" and returns its end; 0 if there is no dot in
 * words. */
static size_t host_read(struct str s, size_t at, struct buf *out)
{
    static const char *const dots[] = {"dot", "point", "punkt", "punto", "ponto", "punt", "kropka", NULL};
    size_t i = at, n_dots = 0, kept = out->len, last = at;
    for (;;) {
        size_t from = last = i;
        while (
            i < s.len && i - from < 64 && (is_letter(s.data[i]) || is_digit(s.data[i]) || s.data[i] == '-'))
            i++;
        buf_append_str(out, str_slice(s, from, i));
        size_t next = i > from ? sign_read(s, i, dots) : 0;
        if (next == 0 || !is_letter(byte_at(s, next)) || n_dots == 4)
            break;
        buf_append_char(out, '.');
        n_dots++;
        i = next;
    }
    if (n_dots > 0 && is_top(str_slice(s, last, i)))
        return i;
    out->len = kept;
    return 0;
}

/* ---- Codes. ---- */
static int sextet_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (is_digit(c))
        return c - '0' + 52;
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

static int nibble_of(char c)
{
    if (is_digit(c))
        return c - '0';
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Appends the bytes of a run of digits of 4 or 6 bits, if they are text that someone could read. */
static bool digits_unpack(struct str run, int (*value)(char), unsigned width, struct buf *out)
{
    uint32_t bits = 0;
    unsigned n_bits = 0;
    size_t kept = out->len, readable = 0;
    for (size_t i = 0; i < run.len; i++) {
        int v = value(run.data[i]);
        if (v < 0)
            break;
        bits = bits << width | (uint32_t)v;
        n_bits += width;
        if (n_bits < 8)
            continue;
        n_bits -= 8;
        char c = (char)(bits >> n_bits & 0xFF);
        buf_append_char(out, c);
        readable += ((unsigned char)c >= ' ' && c != 0x7F) || c == '\n' || c == '\t' || c == '\r';
        if (i == 31 && readable + 1 < out->len - kept)
            break;
    }
    struct str text = {out->data ? out->data + kept : NULL, out->len - kept};
    if (!out->failed && text.len >= 8 && readable == text.len && str_utf8_valid(text))
        return true;
    out->len = kept;
    return false;
}

/* Appends what a run of base64 or hexadecimal says, behind the text, on a line of its own. */
static void packed_read(struct str run, struct buf *out, bool *changed)
{
    enum { LEAST = 16 };
    size_t kept = out->len;
    if (run.len < LEAST)
        return;
    buf_append_char(out, '\n');
    if (digits_unpack(run, nibble_of, 4, out) || digits_unpack(run, sextet_of, 6, out)) {
        buf_append_char(out, '\n');
        *changed = true;
    } else {
        out->len = kept;
    }
}

int router_plain_packed(struct str text, struct buf *out, bool *changed)
{
    static const char *const ats[] = {
        "at", "arobase", "arroba", "chiocciola", "malpa", "apenstaartje", "ät", NULL};
    size_t kept = 0, run = 0, joined = SIZE_MAX;
    *changed = false;
    for (size_t i = 0; i <= text.len && !out->failed; i++) {
        char c = byte_at(text, i);
        bool packed = is_code[(unsigned char)c];
        if (!packed && i - run >= 16)
            packed_read(str_slice(text, run, i), out, changed);
        run = packed ? run : i + 1;
        size_t next = 0;
        if ((c == ' ' || c == '(' || c == '[') && may_say_at[(unsigned char)byte_at(text, i + 1)] &&
            i > kept && (is_letter(text.data[i - 1]) || is_digit(text.data[i - 1]))) {
            size_t before = out->len, host = sign_read(text, i, ats);
            if (host > 0) {
                buf_append_str(out, str_slice(text, kept, i));
                buf_append_char(out, '@');
                next = host_read(text, host, out);
            }
            if (next == 0)
                out->len = before;
        } else if (c == '\n' && i > 0 && is_digit(text.data[i - 1]) && is_digit(byte_at(text, i + 1)) &&
                   joined != i) {
            buf_append_str(out, str_slice(text, kept, i));
            buf_append_char(out, ' ');
            next = i + 1;
            /* Not the line behind as well: a column of numbers is no number. */
            size_t line = str_find_char(str_slice(text, next, text.len), '\n');
            joined = line == SIZE_MAX ? SIZE_MAX : next + line;
        }
        if (next > 0) {
            *changed = true;
            kept = next;
            i = run = next;
            i--;
        }
    }
    if (*changed)
        buf_append_str(out, str_slice(text, kept, text.len));
    return out->failed;
}

#include "router/plain.h"

#include <string.h>

/* ---- Characters written differently. Each looks at what begins at `s`; returns how many bytes it takes and
 * which character it stands for (0: none, it has no width), or 0 where it is not that. ---- */

/* The number at the front of `s`; `*used` digits, 0 if there is none or it is no character of ours. */
static uint32_t number_read(struct str s, unsigned base, size_t least, size_t most, size_t *used)
{
    uint32_t value = 0;
    size_t i = 0;
    for (; i < s.len && i < most; i++) {
        char c = s.data[i], lower = (char)(c | 0x20);
        unsigned digit = c >= '0' && c <= '9'           ? (unsigned)(c - '0')
                         : lower >= 'a' && lower <= 'f' ? (unsigned)(lower - 'a') + 10
                                                        : 99;
        if (digit >= base)
            break;
        value = value * base + digit;
    }
    *used = i >= least ? i : 0;
    return value;
}

/* \u0040 and, in JSON inside JSON, \\u0040; \/ and \" . */
static size_t escape_read(struct str s, uint32_t *out)
{
    size_t n = 1, digits;
    while (n < s.len && s.data[n] == '\\')
        n++;
    if (n == s.len)
        return 0;
    if (s.data[n] == '/' || s.data[n] == '"') {
        *out = (unsigned char)s.data[n];
        return n + 1;
    }
    if (s.data[n] != 'u')
        return 0;
    *out = number_read(str_slice(s, n + 1, s.len), 16, 4, 4, &digits);
    return digits ? n + 1 + digits : 0;
}

/* %40, and %2540 where it was encoded twice. */
static size_t percent_read(struct str s, uint32_t *out)
{
    size_t n = 1, digits;
    while (str_starts(str_slice(s, n, s.len), STR("25")) && s.len - n > 3)
        n += 2;
    *out = number_read(str_slice(s, n, s.len), 16, 2, 2, &digits);
    return digits ? n + digits : 0;
}

/* &#64; and &#x40; */
static size_t entity_read(struct str s, uint32_t *out)
{
    size_t digits;
    if (!str_starts(s, STR("&#")))
        return 0;
    bool hex = s.len > 2 && (s.data[2] | 0x20) == 'x';
    size_t n = hex ? 3 : 2;
    *out = number_read(str_slice(s, n, s.len), hex ? 16 : 10, 2, 6, &digits);
    n += digits;
    return digits && n < s.len && s.data[n] == ';' ? n + 1 : 0;
}

/* Full-width forms (U+FF01 to U+FF5E), wide spaces, and what has no width. */
static uint32_t folded(uint32_t c)
{
    if (c >= 0xFF01 && c <= 0xFF5E)
        return c - 0xFF01 + '!';
    if (c == 0x3000)
        return ' ';
    return c == 0x00AD || (c >= 0x200B && c <= 0x200D) || c == 0x2060 || c == 0xFEFF ? 0 : c;
}

static size_t written_read(struct str s, uint32_t *out)
{
    size_t n = 0;
    switch (s.data[0]) {
    case '\\':
        n = escape_read(s, out);
        break;
    case '%':
        n = percent_read(s, out);
        break;
    case '&':
        n = entity_read(s, out);
        break;
    default:
        if ((unsigned char)s.data[0] >= 0xC2) {
            n = str_utf8_decode(s, out);
            return n > 0 && folded(*out) != *out ? (*out = folded(*out), n) : 0;
        }
    }
    if (n > 0)
        *out = folded(*out);
    return n > 0 && (*out == 0 || (*out >= ' ' && *out < 0x7F)) ? n : 0;
}

/* "?card=5555+3412+...": in a query a plus is a space. */
static bool plus_is_space(struct str text, size_t at)
{
    return at > 0 && at + 1 < text.len && text.data[at - 1] >= '0' && text.data[at - 1] <= '9' &&
           text.data[at + 1] >= '0' && text.data[at + 1] <= '9';
}

/* Bytes that something written differently may begin with. */
static const bool may_begin[256] = {
    ['\\'] = true, ['%'] = true, ['&'] = true, ['+'] = true, [0xC2 ... 0xFF] = true};

struct undo {
    struct str text;
    struct buf *out;
    size_t kept; /* what stands before is in `out` */
    bool changed, url_sought, has_url;
};

static bool has_url(struct undo *u)
{
    if (!u->url_sought)
        u->has_url = str_find(u->text, STR("://")) != SIZE_MAX;
    u->url_sought = true;
    return u->has_url;
}

static void sign_undo(struct undo *u, size_t i)
{
    uint32_t c = ' ';
    size_t n = u->text.data[i] == '+' ? plus_is_space(u->text, i) && has_url(u)
                                      : written_read(str_slice(u->text, i, u->text.len), &c);
    if (n == 0)
        return;
    char byte = (char)c;
    buf_append_str(u->out, str_slice(u->text, u->kept, i));
    buf_append(u->out, &byte, c != 0);
    u->kept = i + n;
    u->changed = true;
}

int router_plain(const struct byte_map *m, struct buf *out, bool *changed)
{
    struct undo u = {.text = m->text, .out = out};
    for (size_t block = 0; block < m->n_blocks; block++) {
        const uint64_t *here = m->bits + block * BYTE_CLASSES;
        for (uint64_t bits = here[BYTE_SIGN] | here[BYTE_HIGH]; bits; bits &= bits - 1) {
            size_t i = block * 64 + byte_first(bits);
            if (may_begin[(unsigned char)m->text.data[i]] && i >= u.kept)
                sign_undo(&u, i);
        }
    }
    if (u.changed)
        buf_append_str(out, str_slice(m->text, u.kept, m->text.len));
    *changed = u.changed;
    return out->failed;
}

/* ---- base64 (RFC 4648, also its URL form). ---- */

static int sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

int router_plain_data(struct str url, struct buf *out, bool *is_text)
{
    static const char mark[] = ";base64,";
    enum { HEAD = 256, PEEK = 1024 };
    size_t at = str_find(str_slice(url, 0, HEAD), str_from(mark));
    uint32_t bits = 0;
    unsigned n_bits = 0;
    *is_text = false;
    if (at == SIZE_MAX || !str_starts(url, STR("data:")))
        return 0;
    for (size_t i = at + sizeof mark - 1; i < url.len && !out->failed; i++) {
        int six = sextet(url.data[i]);
        if (six < 0)
            continue;
        bits = bits << 6 | (uint32_t)six;
        n_bits += 6;
        if (n_bits < 8)
            continue;
        n_bits -= 8;
        buf_append_char(out, (char)(bits >> n_bits & 0xFF));
        /* Pictures and sound are known by their first bytes. */
        if (out->len == PEEK &&
            (memchr(out->data, '\0', PEEK) || str_utf8_floor(out->data, PEEK) < PEEK - 4 ||
                !str_utf8_valid((struct str){out->data, str_utf8_floor(out->data, PEEK)})))
            return 0;
    }
    *is_text = out->len > 0 && !memchr(out->data, '\0', out->len) && str_utf8_valid(buf_str(out));
    return out->failed;
}

/* What a text says in another code: "name at host dot org", base64 and hexadecimal in its midst. One level
 * deep. */
#include "router/detect.h"
#include "router/plain.h"

#include <string.h>

/* Or a byte of one that is not ASCII. */
static bool is_letter(char c)
{
    return detect_is_alpha(c) || (c & '\x80');
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

/* The second letters of the words for "at", by their first; any behind what opens brackets. */
#define LETTER(c) ((uint32_t)1 << ((c)&31))
static const uint32_t says_at[256] = {['a'] = LETTER('t') | LETTER('r') | LETTER('p'),
    ['A'] = LETTER('t') | LETTER('r') | LETTER('p'),
    ['c'] = LETTER('h'),
    ['C'] = LETTER('h'),
    ['m'] = LETTER('a'),
    ['M'] = LETTER('a'),
    [0xC3] = ~(uint32_t)0,
    [' '] = ~(uint32_t)0,
    ['('] = ~(uint32_t)0,
    ['['] = ~(uint32_t)0,
    ['{'] = ~(uint32_t)0,
    ['<'] = ~(uint32_t)0};

static bool may_say_at(struct str s, size_t i)
{
    return says_at[(unsigned char)plain_byte(s, i)] >> (plain_byte(s, i + 1) & 31) & 1;
}

/* One of the words at `at`, between blanks or brackets; the byte behind it and its blanks, or 0. */
static size_t sign_read(struct str s, size_t at, const char *const *words)
{
    size_t i = at;
    while (i - at < 3 && detect_is_one_of(plain_byte(s, i), " ([{<"))
        i++;
    if (i == at)
        return 0;
    for (; *words; words++) {
        if (((*words)[0] | 0x20) != (plain_byte(s, i) | 0x20))
            continue;
        size_t end = i + strlen(*words), to = end;
        if (!str_is_nocase(str_slice(s, i, end), *words))
            continue;
        while (to - end < 3 && detect_is_one_of(plain_byte(s, to), " )]}>"))
            to++;
        if (to > end)
            return to;
    }
    return 0;
}

/* Domains end in one of these, or it was only talk: "cost at the point where". */
bool plain_is_top(struct str label)
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

enum { LABEL = 64, DOTS = 4 };
struct host {
    char text[(DOTS + 1) * (LABEL + 1)];
    size_t length;
};

/* "zephyrpost dot com" from `at`, as "zephyrpost.com"; its end, 0 if there is no dot in words. */
static size_t host_read(struct str s, size_t at, struct host *out)
{
    static const char *const dots[] = {"dot", "point", "punkt", "punto", "ponto", "punt", "kropka", NULL};
    size_t i = at, n_dots = 0, last = at;
    out->length = 0;
    for (;;) {
        last = i;
        while (i < s.len && i - last < LABEL &&
               (is_letter(s.data[i]) || detect_is_digit(s.data[i]) || s.data[i] == '-'))
            out->text[out->length++] = s.data[i++];
        size_t next = i > last ? sign_read(s, i, dots) : 0;
        if (next == 0 || !is_letter(plain_byte(s, next)) || n_dots == DOTS)
            break;
        out->text[out->length++] = '.';
        n_dots++;
        i = next;
    }
    return n_dots > 0 && plain_is_top(str_slice(s, last, i)) ? i : 0;
}

/* ---- Codes. ---- */
static int nibble_of(char c)
{
    if (detect_is_digit(c))
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

struct undo {
    struct str text;
    struct buf *out;
    size_t kept; /* what stands before is in `out` */
    bool changed;
    size_t run_end, out_end; /* the last run that said something, and what it said in `out` */
};

enum { RUN_LEAST = 15 /* eleven bytes of base64 */ };

/* Is the run that begins there the next line of the one before, as mail has them (RFC 2045)? */
static bool goes_on(const struct undo *u, size_t from)
{
    size_t end = u->run_end;
    if (end == 0 || u->out_end != u->out->len)
        return false;
    return from == end + 1 + (plain_byte(u->text, end) == '\r') && u->text.data[from - 1] == '\n';
}

/* Appends what the run of base64 or hexadecimal that ends there says, behind the text, on a line of its own.
 */
static void run_unpack(struct undo *u, size_t end)
{
    size_t from = end, before = u->out->len;
    while (from > u->kept && is_code[(unsigned char)u->text.data[from - 1]])
        from--;
    if (end - from < RUN_LEAST)
        return;
    struct str run = str_slice(u->text, from, end);
    const bool on = goes_on(u, from);
    if (on)
        u->out->len--; /* the end of the line before */
    else
        buf_append_char(u->out, '\n');
    if (digits_unpack(run, nibble_of, 4, u->out) || digits_unpack(run, plain_sextet, 6, u->out)) {
        buf_append_char(u->out, '\n');
        u->changed = true;
        u->run_end = end;
        u->out_end = u->out->len;
    } else {
        u->out->len = before;
        if (on && before > 0)
            u->out->data[before - 1] = '\n';
    }
}

/* " at zephyrpost dot com" as "@zephyrpost.com"; where it ends, 0 if that is not what stands here. */
static size_t at_undo(struct undo *u, size_t i)
{
    static const char *const ats[] = {
        "at", "arobase", "arroba", "chiocciola", "malpa", "apenstaartje", "\xC3\xA4t", NULL};
    struct host host;
    size_t from = sign_read(u->text, i, ats), end = from > 0 ? host_read(u->text, from, &host) : 0;
    if (end > 0) {
        buf_append_str(u->out, str_slice(u->text, u->kept, i));
        buf_append_char(u->out, '@');
        buf_append(u->out, host.text, host.length);
    }
    return end;
}

/* What is said at i, where a byte stands that belongs to no code; where that ends, or 0. */
static size_t place_undo(struct undo *u, size_t i)
{
    char c = u->text.data[i], before = u->text.data[i - 1];
    if ((c == ' ' || c == '(' || c == '[') && (is_letter(before) || detect_is_digit(before)))
        return at_undo(u, i);
    return 0;
}

/* Of a block, one bit for each byte that belongs to a code. */
static uint64_t code_in(struct str text, size_t block, const uint64_t *here)
{
    uint64_t code = here[BYTE_LOWER] | here[BYTE_UPPER] | here[BYTE_DIGIT];
    for (uint64_t bits = here[BYTE_SIGN]; bits; bits &= bits - 1)
        if (is_code[(unsigned char)text.data[block * 64 + byte_first(bits)]])
            code |= bits & (0 - bits);
    return code;
}

/* The bytes that stand behind RUN_LEAST bytes of a code. */
static uint64_t behind_runs(uint64_t before, uint64_t code)
{
    unsigned __int128 runs = (unsigned __int128)code << 64 | before;
    for (unsigned n = 1; n < RUN_LEAST / 2; n *= 2)
        runs &= runs << n;
    runs &= runs << (RUN_LEAST - 8);
    return (uint64_t)(runs >> 63);
}

/* Of a block, the bytes behind a letter or digit at which something may be said: " at" ... */
static uint64_t places_in(const struct byte_map *m, size_t block, uint64_t others)
{
    const uint64_t *here = m->bits + block * BYTE_CLASSES;
    uint64_t before = here[BYTE_WORD] << 1 | (block > 0 ? (here - BYTE_CLASSES)[BYTE_WORD] >> 63 : 0);
    uint64_t places = 0;
    for (uint64_t bits = (here[BYTE_SPACE] | here[BYTE_SIGN]) & others & before; bits; bits &= bits - 1)
        if (may_say_at(m->text, block * 64 + byte_first(bits) + 1))
            places |= bits & (0 - bits);
    return places;
}

int router_plain_packed(const struct byte_map *m, struct buf *out, bool *changed)
{
    struct undo u = {.text = m->text, .out = out};
    uint64_t code = 0;
    for (size_t block = 0; block < m->n_blocks && !out->failed; block++) {
        uint64_t before = code;
        code = code_in(m->text, block, m->bits + block * BYTE_CLASSES);
        uint64_t runs = ~code & behind_runs(before, code), places = places_in(m, block, ~code);
        for (uint64_t bits = runs | places; bits; bits &= bits - 1) {
            size_t i = block * 64 + byte_first(bits), end;
            if (i >= m->text.len)
                break;
            if (i >= u.kept && runs & bits & (0 - bits))
                run_unpack(&u, i);
            if (i > u.kept && places & bits & (0 - bits) && (end = place_undo(&u, i)) > 0) {
                u.kept = end;
                u.changed = true;
            }
        }
    }
    run_unpack(&u, m->text.len);
    if (u.changed)
        buf_append_str(out, str_slice(m->text, u.kept, m->text.len));
    *changed = u.changed;
    return out->failed;
}

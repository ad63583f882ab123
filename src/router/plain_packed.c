/* What a text says in another code: "name at host dot org", base64, base32 and hexadecimal in its midst, also
 * with something between the bytes. One level deep. */
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

/* The second letters of the words for "at", by their first; behind what opens brackets, the first ones. */
#define LETTER(c) ((uint32_t)1 << ((c)&31))
#define FIRST                                                                                                \
    (LETTER('a') | LETTER('c') | LETTER('m') | LETTER('k') | LETTER('@') | LETTER(0xC3) | LETTER('(') |      \
        LETTER('[') | LETTER('<'))
static const uint32_t says_at[256] = {['a'] = LETTER('t') | LETTER('r') | LETTER('p') | LETTER('a'),
    ['A'] = LETTER('t') | LETTER('r') | LETTER('p') | LETTER('a'),
    ['c'] = LETTER('h'),
    ['C'] = LETTER('h'),
    ['m'] = LETTER('a'),
    ['M'] = LETTER('a'),
    [0xC3] = ~(uint32_t)0,
    ['k'] = LETTER('l'),
    ['K'] = LETTER('l'),
    ['@'] = ~(uint32_t)0,
    [' '] = FIRST,
    ['('] = FIRST,
    ['['] = FIRST,
    ['{'] = FIRST,
    ['<'] = FIRST};

/* The third ones, by the second; behind "at" stands no letter. */
static const uint32_t third_says_at[32] = {['r' & 31] = LETTER('r') | LETTER('o'),
    ['p' & 31] = LETTER('e') | LETTER('s'),
    ['a' & 31] = LETTER('p') | LETTER('l') | LETTER(0xC5),
    ['h' & 31] = LETTER('i'),
    ['l' & 31] = LETTER('a')};

static bool may_say_at(struct str s, size_t i)
{
    const char first = plain_byte(s, i), second = plain_byte(s, i + 1), third = plain_byte(s, i + 2);
    if (!(says_at[(unsigned char)first] >> (second & 31) & 1))
        return false;
    if (!detect_is_alpha(first))
        return true;
    return (second | 0x20) == 't' ? !is_letter(third) && !detect_is_digit(third)
                                  : third_says_at[second & 31] >> (third & 31) & 1;
}

static const bool opens[256] = {[' '] = true,
    ['('] = true,
    ['['] = true,
    ['{'] = true,
    ['<'] = true,
    ['_'] = true,
    ['-'] = true,
    ['*'] = true};

/* One of the words at `at`, between blanks, brackets or "_", "-"; the byte behind it and those, or 0. */
static size_t sign_read(struct str s, size_t at, const char *const *words)
{
    size_t i = at;
    while (i - at < 3 && opens[(unsigned char)plain_byte(s, i)])
        i++;
    if (i == at)
        return 0;
    for (; *words; words++) {
        const char *word = *words;
        if ((word[0] | 0x20) != (plain_byte(s, i) | 0x20) ||
            (word[1] && ((word[1] | 0x20) != (plain_byte(s, i + 1) | 0x20) ||
                            (word[2] && (word[2] | 0x20) != (plain_byte(s, i + 2) | 0x20)))))
            continue;
        size_t end = i + strlen(word), to = end;
        if (!str_is_nocase(str_slice(s, i, end), word))
            continue;
        while (to - end < 3 && detect_is_one_of(plain_byte(s, to), " )]}>_-*"))
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

/* "At the point it is", "op een punt in": no host is called so, what is a point is one in many a sentence. */
static bool is_talk(struct str s, size_t at)
{
    static const char *const talk[] = {"the ", "this ", "that ", "some ", "one ", "any ", "which ", "what ",
        "no ", "each ", "every ", "a ", "un ", "el ", "al ", "ese ", "este ", "il ", "o ", "um ", "le ",
        "ce ", "het ", "een ", "dit ", "dat "};
    bool is = false;
    for (size_t i = 0; i < sizeof talk / sizeof *talk && !is; i++)
        is = str_is_nocase(str_slice(s, at, at + strlen(talk[i])), talk[i]) &&
             (plain_byte(s, at + strlen(talk[i])) | 0x20) == 'p';
    return is;
}

/* "zephyrpost dot com" from `at`, as "zephyrpost.com"; its end, 0 if there is no dot in words. */
static size_t host_read(struct str s, size_t at, struct host *out)
{
    static const char *const dots[] = {
        "dot", "point", "punkt", "punto", "ponto", "punt", "kropka", ".", NULL};
    size_t i = at, n_dots = 0, last = at, next;
    out->length = 0;
    for (;;) {
        last = i;
        for (next = 0; i < s.len && i - last < LABEL &&
                       (is_letter(s.data[i]) || detect_is_digit(s.data[i]) || s.data[i] == '-');
             out->text[out->length++] = s.data[i++])
            if (s.data[i] == '-' && (next = sign_read(s, i, dots)) > 0)
                break;
        next = next == 0 && i > last ? sign_read(s, i, dots) : next;
        if (next == 0 || !is_letter(plain_byte(s, next)) || n_dots == DOTS)
            break;
        out->text[out->length++] = '.';
        n_dots++;
        i = next;
    }
    return n_dots > 0 && plain_is_top(str_slice(s, last, i)) && !is_talk(s, at) ? i : 0;
}

/* ---- Codes. ---- */
static int nibble_of(char c)
{
    if (detect_is_digit(c))
        return c - '0';
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* A digit of base32 (RFC 4648): five bits. */
static int quintet_of(char c)
{
    return detect_is_upper(c) ? c - 'A' : c >= '2' && c <= '7' ? c - '2' + 26 : -1;
}

static bool is_readable(char c)
{
    return ((unsigned char)c >= ' ' && c != 0x7F) || c == '\n' || c == '\t' || c == '\r';
}

/* Appends the bytes of a run of digits of 4 to 6 bits, if they are text that someone could read. */
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
        readable += is_readable(c);
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
    if (digits_unpack(run, nibble_of, 4, u->out) || digits_unpack(run, quintet_of, 5, u->out) ||
        digits_unpack(run, plain_sextet, 6, u->out)) {
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

/* ---- Bytes with something between: "34 35 33", "34:35:33", "0x34, 0x35". ---- */
enum { PAIRS_LEAST = 8 };

/* Do blanks or signs begin as far from each other as between those, four of them in a block? */
static bool pairs_in(const uint64_t *here)
{
    const uint64_t all = here[BYTE_SPACE] | here[BYTE_SIGN], gaps = all & ~(all << 1); /* no indentation */
    const uint64_t three = gaps & gaps >> 3, five = gaps & gaps >> 5, six = gaps & gaps >> 6;
    return ((three & three >> 6) | (five & five >> 10) | (six & six >> 12)) != 0;
}

/* And seven of them in a block and the next? */
static bool pairs_begin(const uint64_t *here)
{
    static const unsigned apart[] = {3, 5, 6};
    const uint64_t *next = here + BYTE_CLASSES;
    const unsigned __int128 all =
        (unsigned __int128)(next[BYTE_SPACE] | next[BYTE_SIGN]) << 64 | here[BYTE_SPACE] | here[BYTE_SIGN];
    const unsigned __int128 gaps = all & ~(all << 1);
    bool any = false;
    for (size_t i = 0; i < sizeof apart / sizeof *apart && !any; i++) {
        const unsigned __int128 two = gaps & gaps >> apart[i], four = two & two >> 2 * apart[i];
        any = (four & four >> 3 * apart[i]) != 0;
    }
    return any;
}

/* The byte behind the two digits at i, which say `*c`; 0: they do not stand there alone. */
static size_t pair_read(struct str s, size_t i, char *c)
{
    i += plain_byte(s, i) == '0' && (plain_byte(s, i + 1) | 0x20) == 'x' ? 2 : 0;
    const int high = nibble_of(plain_byte(s, i)), low = nibble_of(plain_byte(s, i + 1));
    *c = (char)(high * 16 + low);
    return high < 0 || low < 0 || is_letter(plain_byte(s, i + 2)) || detect_is_digit(plain_byte(s, i + 2))
               ? 0
               : i + 2;
}

/* Appends what the pairs from i on say, if it is text; the byte behind the last of them. */
static size_t pairs_unpack(struct undo *u, size_t i)
{
    const size_t kept = u->out->len;
    size_t end = i, next;
    char c;
    buf_append_char(u->out, '\n');
    for (size_t at = i; (next = pair_read(u->text, at, &c)) > 0 && is_readable(c); end = next) {
        buf_append_char(u->out, c);
        for (at = next; at < next + 2 && detect_is_one_of(plain_byte(u->text, at), " ,:-\n");)
            at++;
        if (at == next) {
            end = next;
            break;
        }
    }
    const size_t n = u->out->failed ? 0 : u->out->len - kept - 1;
    if (n >= PAIRS_LEAST && str_utf8_valid((struct str){u->out->data + kept + 1, n})) {
        buf_append_char(u->out, '\n');
        u->changed = true;
    } else {
        u->out->len = kept;
    }
    return end;
}

static void pairs_undo(struct undo *u, const struct byte_map *m)
{
    size_t i = 0, end;
    bool in = m->n_blocks > 0 && pairs_in(m->bits);
    for (size_t block = 0; block < m->n_blocks && !u->out->failed; block++) {
        const uint64_t *here = m->bits + block * BYTE_CLASSES;
        const bool before = in;
        in = pairs_in(here + BYTE_CLASSES);
        if (!(before || in) || !pairs_begin(here))
            continue;
        for (i = block * 64 > i ? block * 64 : i;
             i < block * 64 + 64 && i<m->text.len; i = end> i ? end : i + 1)
            end = i == 0 || !(is_letter(m->text.data[i - 1]) || detect_is_digit(m->text.data[i - 1]))
                      ? pairs_unpack(u, i)
                      : i;
    }
}

/* " at zephyrpost dot com" as "@zephyrpost.com"; where it ends, 0 if that is not what stands here. */
static size_t at_undo(struct undo *u, size_t i)
{
    static const char *const ats[] = {"at", "arobase", "arrobase", "arroba", "chiocciola", "malpa",
        "ma\xC5\x82pa", "apenstaartje", "apenstaart", "apestaartje", "apestaart", "aapje", "\xC3\xA4t",
        "klammeraffe", "@", NULL};
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
    if (opens[(unsigned char)c] && (is_letter(before) || detect_is_digit(before)))
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

/* Of a block, the bytes behind a letter or digit at which something may be said: " at", "_at" ... */
static uint64_t places_in(const struct byte_map *m, size_t block)
{
    const uint64_t *here = m->bits + block * BYTE_CLASSES;
    uint64_t before = here[BYTE_WORD] << 1 | (block > 0 ? (here - BYTE_CLASSES)[BYTE_WORD] >> 63 : 0);
    uint64_t places = 0;
    for (uint64_t bits = (here[BYTE_SPACE] | here[BYTE_SIGN]) & before; bits; bits &= bits - 1)
        if (may_say_at(m->text, block * 64 + byte_first(bits) + 1))
            places |= bits & (0 - bits);
    return places;
}

int router_plain_packed(const struct byte_map *m, struct buf *out, bool *changed)
{
    struct undo u = {.text = m->text, .out = out};
    uint64_t code = 0;
    pairs_undo(&u, m);
    for (size_t block = 0; block < m->n_blocks && !out->failed; block++) {
        uint64_t before = code;
        code = code_in(m->text, block, m->bits + block * BYTE_CLASSES);
        uint64_t runs = ~code & behind_runs(before, code), places = places_in(m, block);
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

#include "json/json_scan.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/limits.h"

/* ---- Strings ---- */

#ifdef __SSE2__
/* Bits of those of sixteen bytes that end a run: quotes, backslashes, control characters; with `plain` also
 * DEL, and what is no ASCII unless `high`. */
static inline unsigned ends_of(const char *at, bool plain, bool high)
{
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)at);
    __m128i ends =
        _mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8('"')), _mm_cmpeq_epi8(x, _mm_set1_epi8('\\')));
    if (plain)
        ends = _mm_or_si128(ends, _mm_cmpeq_epi8(x, _mm_set1_epi8(0x7f)));
    if (high)
        ends = _mm_or_si128(ends, _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(0x1f)), x));
    else /* as signed numbers, bytes of UTF-8 are below the space too */
        ends = _mm_or_si128(ends, _mm_cmplt_epi8(x, _mm_set1_epi8(0x20)));
    return (unsigned)_mm_movemask_epi8(ends);
}
#endif

/* The same of eight bytes at once: the first that ends the run has its top bit set in the result (Mycroft's
 * trick); later ones may have it without being so, and so may DEL and what is no ASCII. */
static inline uint64_t ends_of_eight(uint64_t x)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t quote = x ^ (ones * '"'), slash = x ^ (ones * '\\'), delete = x ^ (ones * 0x7f);
    return ((quote - ones) | (slash - ones) | (delete - ones) | (x - ones * 0x20) | x) & tops;
}

static inline bool ends_run(char c, bool plain, bool high)
{
    unsigned char u = (unsigned char)c;
    return u < 0x20 || u == '"' || u == '\\' || (plain && u == 0x7f) || (!high && u >= 0x80);
}

static inline const char *run_end(const char *at, const char *end, bool plain, bool high)
{
#ifdef __SSE2__
    for (; end - at >= 16; at += 16) {
        unsigned ends = ends_of(at, plain, high);
        if (ends)
            return at + __builtin_ctz(ends);
    }
#endif
    for (uint64_t x; end - at >= 8; at += 8) {
        memcpy(&x, at, sizeof x);
        if (ends_of_eight(x))
            break;
    }
    uint32_t four;
    if (end - at >= 4) {
        memcpy(&four, at, sizeof four);
        at += ends_of_eight(four | (uint64_t)0x6161616100000000u) ? 0 : 4;
    }
    while (at < end && !ends_run(*at, plain, high))
        at++;
    return at;
}

const char *json_plain_end(const char *at, const char *end, bool high)
{
    return high ? run_end(at, end, true, true) : run_end(at, end, true, false);
}

static bool hex_take(struct json_scan *s, uint32_t *out)
{
    *out = 0;
    if (s->end - s->at < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        char c = *s->at++;
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit == 16)
            return false;
        *out = *out << 4 | digit;
    }
    return true;
}

/* Behind "\u". */
static bool unicode_take(struct json_scan *s, struct buf *plain)
{
    char utf8[4];
    uint32_t code, low;
    if (!hex_take(s, &code) || code == 0 || (code >= 0xdc00 && code <= 0xdfff))
        return false;
    if (code >= 0xd800 && code <= 0xdbff) {
        if (!json_scan_take(s, '\\') || !json_scan_take(s, 'u') || !hex_take(s, &low) || low < 0xdc00 ||
            low > 0xdfff)
            return false;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    return buf_append(plain, utf8, str_utf8_encode(code, utf8)) == 0;
}

/* Behind a backslash. */
static bool escape_take(struct json_scan *s, struct buf *plain)
{
    static const char says[256] = {['"'] = '"',
        ['\\'] = '\\',
        ['/'] = '/',
        ['b'] = '\b',
        ['f'] = '\f',
        ['n'] = '\n',
        ['r'] = '\r',
        ['t'] = '\t'};
    if (s->at == s->end)
        return false;
    unsigned char c = (unsigned char)*s->at++;
    if (c == 'u')
        return unicode_take(s, plain);
    return says[c] && buf_append_char(plain, says[c]) == 0;
}

bool json_scan_plain_string(struct json_scan *s, struct str *out)
{
    const char *begin = s->at;
    s->at = run_end(s->at, s->end, false, true);
    *out = (struct str){begin, (size_t)(s->at - begin)};
    return s->at < s->end && *s->at == '"';
}

bool json_scan_string(struct json_scan *s, struct buf *plain, struct str *out)
{
    const char *begin = s->at;
    if (json_scan_plain_string(s, out)) {
        s->at++;
        return true;
    }
    size_t from = plain->len;
    if (!buf_reserve(plain, plain->max - from))
        return false;
    for (;;) {
        if (s->at == s->end || buf_append(plain, begin, (size_t)(s->at - begin)))
            return false;
        char c = *s->at++;
        if (c == '"')
            break;
        if (c != '\\' || !escape_take(s, plain))
            return false;
        begin = s->at;
        s->at = run_end(s->at, s->end, false, true);
    }
    *out = str_slice(buf_str(plain), from, plain->len);
    return true;
}

/* ---- The rest ---- */

static size_t digits_skip(struct json_scan *s)
{
    const char *begin = s->at;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
        s->at++;
    return (size_t)(s->at - begin);
}

/* RFC 8259, 6: [-] int [frac] [exp] */
bool json_scan_number(struct json_scan *s, struct str *out, bool *whole)
{
    const char *begin = s->at;
    *whole = true;
    json_scan_take(s, '-');
    bool zero = s->at < s->end && *s->at == '0';
    size_t n = digits_skip(s);
    if (n == 0 || (zero && n > 1))
        return false;
    if (json_scan_take(s, '.')) {
        *whole = false;
        if (digits_skip(s) == 0)
            return false;
    }
    if (json_scan_take(s, 'e') || json_scan_take(s, 'E')) {
        *whole = false;
        if (!json_scan_take(s, '+'))
            json_scan_take(s, '-');
        if (digits_skip(s) == 0)
            return false;
    }
    *out = (struct str){begin, (size_t)(s->at - begin)};
    return true;
}

static bool count(struct json_scan *s, size_t values)
{
    s->values += values;
    return s->values <= s->most;
}

bool json_scan_enter(struct json_scan *s, char open)
{
    if (s->depth == LIMIT_JSON_DEPTH || !count(s, open == '{' ? 8 : 4))
        return false;
    s->depth++;
    return true;
}

bool json_scan_comma(struct json_scan *s)
{
    return json_scan_take(s, ',') && count(s, 1);
}

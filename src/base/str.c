#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

struct str str_trim(struct str s)
{
    while (s.len > 0 && is_space(s.data[0])) {
        s.data++;
        s.len--;
    }
    while (s.len > 0 && is_space(s.data[s.len - 1]))
        s.len--;
    return s;
}

bool str_is_text(struct str a, const char *nul_terminated)
{
    size_t i = 0;
    if (!nul_terminated)
        return a.len == 0;
    while (i < a.len && nul_terminated[i] && a.data[i] == nul_terminated[i])
        i++;
    return i == a.len && !nul_terminated[i];
}

static char small(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

bool str_is_text_nocase(struct str a, const char *nul_terminated)
{
    size_t i = 0;
    while (i < a.len && nul_terminated[i] && small(a.data[i]) == small(nul_terminated[i]))
        i++;
    return i == a.len && !nul_terminated[i];
}

bool str_ends(struct str s, struct str suffix)
{
    return s.len >= suffix.len && str_eq(str_slice(s, s.len - suffix.len, s.len), suffix);
}

bool str_among(struct str s, const char *const *words)
{
    const char first = s.len > 0 ? s.data[0] : '\0';
    for (; words && *words; words++) /* most begin with another letter */
        if (**words == first && str_is(s, *words))
            return true;
    return false;
}

size_t str_find(struct str s, struct str needle)
{
    if (needle.len == 0)
        return 0;
    if (s.len < needle.len)
        return SIZE_MAX;
    const char *at = memmem(s.data, s.len, needle.data, needle.len);
    return at ? (size_t)(at - s.data) : SIZE_MAX;
}

size_t str_find_char(struct str s, char c)
{
    const char *at = s.len ? memchr(s.data, c, s.len) : NULL;
    return at ? (size_t)(at - s.data) : SIZE_MAX;
}

size_t str_find_last_char(struct str s, char c)
{
    const char *at = s.len ? memrchr(s.data, c, s.len) : NULL;
    return at ? (size_t)(at - s.data) : SIZE_MAX;
}

struct str str_base_name(struct str path)
{
    size_t slash = str_find_last_char(path, '/');
    return slash == SIZE_MAX ? path : str_slice(path, slash + 1, path.len);
}

bool str_split(struct str *rest, char separator, struct str *head)
{
    if (rest->len == 0)
        return false;
    size_t at = str_find_char(*rest, separator);
    if (at == SIZE_MAX) {
        *head = *rest;
        *rest = str_slice(*rest, rest->len, rest->len);
    } else {
        *head = str_slice(*rest, 0, at);
        *rest = str_slice(*rest, at + 1, rest->len);
    }
    return true;
}

uint64_t str_hash(struct str s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < s.len; i++) {
        h ^= (unsigned char)s.data[i];
        h *= 0x100000001b3u;
    }
    return h;
}

/* The libc converters want a terminated string without leading space; numbers longer than this are refused.
 */
static bool number_copy(struct str s, char out[64])
{
    if (s.len == 0 || s.len >= 64 || is_space(s.data[0]) || memchr(s.data, '\0', s.len))
        return false;
    memcpy(out, s.data, s.len);
    out[s.len] = '\0';
    return true;
}

bool str_to_int64(struct str s, int64_t *out)
{
    char text[64];
    if (!number_copy(s, text))
        return false;
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || *end != '\0')
        return false;
    *out = value;
    return true;
}

bool str_to_amount(struct str s, const struct str_unit *units, size_t n_units, int64_t *out)
{
    size_t digits = 0;
    while (digits < s.len && s.data[digits] >= '0' && s.data[digits] <= '9')
        digits++;
    int64_t number;
    if (!str_to_int64(str_slice(s, 0, digits), &number))
        return false;
    for (size_t i = 0; i < n_units; i++)
        if (str_is(str_slice(s, digits, s.len), units[i].name))
            return !__builtin_mul_overflow(number, units[i].worth, out);
    return false;
}

bool str_to_double(struct str s, double *out)
{
    char text[64];
    if (!number_copy(s, text) || strpbrk(text, "xXnN"))
        return false;
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (errno != 0 || *end != '\0')
        return false;
    *out = value;
    return true;
}

size_t str_utf8_decode(struct str s, uint32_t *code_point)
{
    if (s.len == 0)
        return 0;
    const unsigned char *p = (const unsigned char *)s.data;
    if (p[0] < 0x80) {
        *code_point = p[0];
        return 1;
    }
    size_t n = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (p[0] < 0xC2 || p[0] > 0xF4 || s.len < n)
        return 0;
    uint32_t value = p[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
        value = value << 6 | (p[i] & 0x3Fu);
    }
    if (value < least[n] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
        return 0;
    *code_point = value;
    return n;
}

size_t str_utf8_encode(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
        return 0;
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

/* Bytes at the front that are ASCII, 64 and eight at a time. */
static size_t ascii_run(struct str s, size_t from)
{
    size_t i = from;
#ifdef __SSE2__
    for (; s.len - i >= 64; i += 64) {
        const __m128i *x = (const __m128i *)(const void *)(s.data + i);
        __m128i low = _mm_or_si128(_mm_loadu_si128(x), _mm_loadu_si128(x + 1));
        __m128i high = _mm_or_si128(_mm_loadu_si128(x + 2), _mm_loadu_si128(x + 3));
        if (_mm_movemask_epi8(_mm_or_si128(low, high)))
            break;
    }
#endif
    for (uint64_t eight; s.len - i >= sizeof eight; i += sizeof eight) {
        memcpy(&eight, s.data + i, sizeof eight);
        if (eight & 0x8080808080808080u)
            break;
    }
    while (i < s.len && (unsigned char)s.data[i] < 0x80)
        i++;
    return i - from;
}

/* Bytes from i on of characters that have two bytes, or three without a bound of their own (E0, ED): nearly
 * all that are not ASCII. */
static size_t letters_run(struct str s, size_t i)
{
    const unsigned char *p = (const unsigned char *)s.data + i, *begin = p, *end = p + (s.len - i);
    while (end - p >= 2 && (p[1] & 0xC0) == 0x80) {
        if (p[0] >= 0xC2 && p[0] <= 0xDF)
            p += 2;
        else if (p[0] >= 0xE1 && p[0] <= 0xEC && end - p >= 3 && (p[2] & 0xC0) == 0x80)
            p += 3;
        else
            break;
    }
    return (size_t)(p - begin);
}

bool str_utf8_valid(struct str s)
{
    uint32_t c;
    for (size_t i = ascii_run(s, 0); i < s.len; i += ascii_run(s, i)) {
        size_t n = letters_run(s, i);
        if (n == 0)
            n = str_utf8_decode(str_slice(s, i, s.len), &c);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

size_t str_utf8_floor(const char *data, size_t len)
{
    size_t start = len;
    for (int back = 0; back < 4 && start > 0; back++) {
        unsigned char c = (unsigned char)data[start - 1];
        start--;
        if (c < 0x80)
            return len;
        if (c >= 0xC0) {
            size_t need = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
            return start + need <= len ? len : start;
        }
    }
    return len;
}

size_t str_utf8_count(struct str s)
{
    const uint64_t ones = 0x0101010101010101u;
    size_t i = 0, behind = 0; /* bytes that are not a character's first: 10xxxxxx */
    for (; s.len - i >= 8; i += 8) {
        uint64_t eight;
        memcpy(&eight, s.data + i, sizeof eight);
        behind += ((eight >> 7 & ~eight >> 6 & ones) * ones) >> 56;
    }
    for (; i < s.len; i++)
        behind += ((unsigned char)s.data[i] & 0xC0) == 0x80;
    return s.len - behind;
}

/* Byte spans and the few string helpers everyone needs. A `struct str` never owns its bytes and need not be
 * NUL-terminated; text is UTF-8. */
#ifndef WEIR_BASE_STR_H
#define WEIR_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"

struct str {
    const char *data; /* may be NULL when len is 0 */
    size_t len;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
#define STR_NONE ((struct str){NULL, 0})
#define STR_FMT "%.*s"
#define STR_ARG(s) (int)(s).len, (s).data ? (s).data : ""

/* NULL gives STR_NONE. */
static inline struct str str_from(const char *nul_terminated)
{
    return nul_terminated ? (struct str){nul_terminated, strlen(nul_terminated)} : STR_NONE;
}

/* Clamps to the span. */
static inline struct str str_slice(struct str s, size_t from, size_t to)
{
    if (to > s.len)
        to = s.len;
    if (from > to)
        from = to;
    return s.data ? (struct str){s.data + from, to - from} : STR_NONE;
}

struct str str_trim(struct str s); /* ASCII white space at both ends */

static inline bool str_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool str_is_text(struct str a, const char *nul_terminated);
bool str_is_text_nocase(struct str a, const char *nul_terminated);

/* A literal's length is known; any other text is not measured, since its first letter mostly tells. */
static inline bool str_is(struct str a, const char *nul_terminated)
{
    return nul_terminated && __builtin_constant_p(strlen(nul_terminated))
               ? str_eq(a, str_from(nul_terminated))
               : str_is_text(a, nul_terminated);
}

/* ASCII case only. */
static inline bool str_is_nocase(struct str a, const char *nul_terminated)
{
    return __builtin_constant_p(strlen(nul_terminated))
               ? a.len == strlen(nul_terminated) &&
                     (a.len == 0 || strncasecmp(a.data, nul_terminated, a.len) == 0)
               : str_is_text_nocase(a, nul_terminated);
}

static inline bool str_starts(struct str s, struct str prefix)
{
    return s.len >= prefix.len && str_eq(str_slice(s, 0, prefix.len), prefix);
}

bool str_ends(struct str s, struct str suffix);
/* Is it one of these words, the last of which NULL follows? NULL: there are none. */
bool str_among(struct str s, const char *const *words);
/* Offset of the first `needle`, or SIZE_MAX. */
size_t str_find(struct str s, struct str needle);
size_t str_find_char(struct str s, char c);
size_t str_find_last_char(struct str s, char c);
struct str str_base_name(struct str path); /* what follows the last '/' */
/* Takes the text before the first `separator` off the front of `rest`; false when `rest` is empty. */
bool str_split(struct str *rest, char separator, struct str *head);
uint64_t str_hash(struct str s); /* FNV-1a 64; not for hostile keys in unbounded tables */

/* Whole-string numbers: false on anything but a complete number in range. */
bool str_to_int64(struct str s, int64_t *out);
bool str_to_double(struct str s, double *out);
/* A whole number and the name of a unit at once behind it ("", where one is called so): what they come to. */
struct str_unit {
    const char *name;
    int64_t worth;
};
bool str_to_amount(struct str s, const struct str_unit *units, size_t n_units, int64_t *out);

/* UTF-8 (RFC 3629). */
bool str_utf8_valid(struct str s);
/* The largest length <= len that does not cut a character of `data`. */
size_t str_utf8_floor(const char *data, size_t len);
/* Decodes one code point at `s`; returns its length in bytes, 0 if malformed or cut. */
size_t str_utf8_decode(struct str s, uint32_t *code_point);
/* Writes 1..4 bytes to `out`, returns how many; 0 for a surrogate or a value over U+10FFFF. */
size_t str_utf8_encode(uint32_t code_point, char out[4]);
/* Code points in valid UTF-8. */
size_t str_utf8_count(struct str s);

#endif

/* Random JSON texts, and damage to them. */
#ifndef WEIR_TESTS_JSON_RANDOM_H
#define WEIR_TESTS_JSON_RANDOM_H

#include "base/buf.h"
#include "base/rand.h"

static inline uint64_t json_random_below(uint64_t n)
{
    return rand_u64() % n;
}

static inline void json_random_space(struct buf *b)
{
    static const char *const spaces[] = {"", "", "", "", " ", "\n\t", "\r\n  "};
    buf_append_text(b, spaces[json_random_below(7)]);
}

static inline void json_random_string(struct buf *b)
{
    static const char *const pieces[] = {"a", "plain text of some length", "\\n", "\\\"", "\\\\", "\\/",
        "\\b\\f\\r\\t", "\\u00e9", "\\uD83d\\uDE00", "\xc3\xa9", "\xe4\xbd\xa0\xe5\xa5\xbd",
        "\xf0\x9f\x98\x80", "\x7f", "{[]}:,"};
    buf_append_char(b, '"');
    for (uint64_t n = json_random_below(6); n > 0; n--)
        buf_append_text(b, pieces[json_random_below(sizeof pieces / sizeof *pieces)]);
    buf_append_char(b, '"');
}

static inline void json_random_number(struct buf *b)
{
    static const char *const numbers[] = {"0", "-0", "1", "-12", "9223372036854775807",
        "-9223372036854775808", "0.5", "-0.0", "1e5", "1E+2", "2.5e-3", "123456.789", "1e308", "4.9e-324",
        "1e-400"};
    buf_append_text(b, numbers[json_random_below(sizeof numbers / sizeof *numbers)]);
}

static inline void json_random_value(struct buf *b, int depth)
{
    static const char *const words[] = {"true", "false", "null"};
    uint64_t kind = json_random_below(depth > 0 ? 6 : 4);
    json_random_space(b);
    if (kind <= 1) {
        json_random_string(b);
    } else if (kind == 2) {
        json_random_number(b);
    } else if (kind == 3) {
        buf_append_text(b, words[json_random_below(3)]);
    } else {
        buf_append_char(b, kind == 4 ? '[' : '{');
        for (uint64_t i = 0, n = json_random_below(5); i < n; i++) {
            buf_append_text(b, i ? "," : "");
            json_random_space(b);
            if (kind == 5) {
                json_random_string(b);
                json_random_space(b);
                buf_append_char(b, ':');
            }
            json_random_value(b, depth - 1);
        }
        json_random_space(b);
        buf_append_char(b, kind == 4 ? ']' : '}');
    }
    json_random_space(b);
}

static inline void json_random_damage(struct buf *b)
{
    static const char bytes[] = "\"\\{}[]:,0 1-.eEtn\x1f\xc3\xff";
    for (uint64_t n = 1 + json_random_below(3); n > 0 && b->len > 0; n--)
        b->data[json_random_below(b->len)] = bytes[json_random_below(sizeof bytes - 1)];
}

#endif

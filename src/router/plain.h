/* What a text says once the ways of writing it differently are undone; for a second look by the detector. */
#ifndef WEIR_ROUTER_PLAIN_H
#define WEIR_ROUTER_PLAIN_H

#include "base/buf.h"
#include "router/byte_map.h"

/* The byte at an offset, or NUL outside the text. */
static inline char plain_byte(struct str text, size_t at)
{
    return at < text.len ? text.data[at] : '\0';
}

/* Appends the text with JSON's escapes (also escaped again) and those of program text (\\x40, \\u{40}),
 * percent-encoding, HTML's characters, full-width, styled and foreign digits and letters, and look-alikes
 * among Latin letters as the ASCII they stand for, without characters that have no width. Other escapes stay
 * as they are. `*changed` tells whether there was any. */
int router_plain(const struct byte_map *text, struct buf *out, bool *changed) MUST_USE;

/* Appends the text with signs spelled in words ("at", "dot") as signs, and what runs of base64 or hexadecimal
 * in it say. `*changed` tells whether there was any. */
int router_plain_packed(const struct byte_map *text, struct buf *out, bool *changed) MUST_USE;

/* Appends the text with what is written letter by letter ("4 5 3 9") in one piece. `*changed` tells whether
 * there was any. */
int router_plain_spaced(const struct byte_map *text, struct buf *out, bool *changed) MUST_USE;

/* Appends the text with numbers, keys and addresses in one piece that a line's end, quotes ("AKIA" + "...")
 * or two members of JSON part. `*changed` tells whether there was any. */
int router_plain_split(const struct byte_map *text, struct buf *out, bool *changed) MUST_USE;

/* Appends what members of JSON say, a line each, whose keys are in camelCase or that are parts of one name or
 * address; nothing of the rest. `*changed` tells whether there was any. */
int router_plain_members(const struct byte_map *text, struct buf *out, bool *changed) MUST_USE;

/* Appends what the base64 of a "data:" URL holds, if that is text: `*is_text`. */
int router_plain_data(struct str url, struct buf *out, bool *is_text) MUST_USE;

#endif

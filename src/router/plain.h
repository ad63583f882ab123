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

/* The six bits of a digit of base64 (RFC 4648, also its URL form); -1: it is none. */
int plain_sextet(char c);

/* Does a domain end in that ("com", "de")? Of the most common ones. */
bool plain_is_top(struct str label);
/* Do the pieces that end at `left` and begin at `right` make one value (plain_value.c)? */
bool plain_is_value(struct str text, size_t left, size_t right);

/* Where what was undone stands in the text: from an offset of the plain text on it is so far from `there`.
 *
 *   text    J \ u 0 0 f c r g e n        joints {1, 1} {3, 7}: before and behind each sign that is undone
 *   plain   J \xC3 \xBC     r g e n       and the way back of plain [0, 7) is text [0, 11) */
struct plain_joint {
    uint32_t plain, there;
};
struct plain_joints {
    struct plain_joint *all; /* ascending, two or more where signs of no width stood; the caller's, to free */
    size_t n, room;
    bool too_many; /* or no memory: where something came from cannot be told */
};

void plain_joint_add(struct plain_joints *j, size_t plain, size_t there);
/* What of the text a range of the plain one came from; false: that is not known. */
bool plain_origin(const struct plain_joints *j, size_t start, size_t end, size_t *from, size_t *to);

/* Appends the text with JSON's escapes (also escaped again) and those of program text (\\x40, \\u{40}),
 * percent-encoding and HTML's characters as what they stand for; full-width, styled and foreign digits and
 * letters, and look-alikes among Latin letters as ASCII; without characters that have no width. Control
 * characters stay as they are. `*changed` tells whether there was any; `joints` begins as {0}. */
int router_plain(
    const struct byte_map *text, struct buf *out, struct plain_joints *joints, bool *changed) MUST_USE;

/* Appends the text with signs spelled in words ("at", "dot") as signs, and what runs of base64 or hexadecimal
 * in it say. `*changed` tells whether there was any. */
int router_plain_packed(const struct byte_map *text, struct buf *out, bool *changed) MUST_USE;

/* Appends the text with what is written letter by letter ("4 5 3 9", "4-5-3-9") in one piece. `*changed`
 * tells whether there was any; `joints` begins as {0}. */
int router_plain_spaced(
    const struct byte_map *text, struct buf *out, struct plain_joints *joints, bool *changed) MUST_USE;

/* Appends the text with numbers told in words ("four five three nine ...") as digits. `*changed` tells
 * whether there was any; `joints` begins as {0}. */
void plain_told_init(void); /* behind detect_lexicon_init */
int router_plain_told(
    const struct byte_map *text, struct buf *out, struct plain_joints *joints, bool *changed) MUST_USE;

/* Appends the text with numbers, keys and addresses in one piece that a line's end, quotes ("AKIA" + "...")
 * or two members of JSON part. `*changed` tells whether there was any. */
int router_plain_split(const struct byte_map *text, struct buf *out, bool *changed) MUST_USE;

/* Appends what members of JSON say, a line each, whose keys are in camelCase or that are parts of one name or
 * address; nothing of the rest. `*changed` tells whether there was any. */
int router_plain_members(const struct byte_map *text, struct buf *out, bool *changed) MUST_USE;

/* Appends the text without what parts the owner's words: in one word, as words, or with a mark there that is
 * either. For the owner's own layer alone. `*changed` tells whether there was anything; `joints` begins as
 * {0}. */
enum plain_parts { PLAIN_IN_ONE, PLAIN_AS_WORDS, PLAIN_MARKED };
#define PLAIN_MARK '\x1F'
int router_plain_parted(const struct byte_map *text, enum plain_parts how, struct buf *out,
    struct plain_joints *joints, bool *changed) MUST_USE;

/* Appends what a file that was packed in base64 says in clear: all of a text, of others what is noted in them
 * (plain_file.c, for those that are no UTF-8). */
int router_plain_data(struct str base64, struct buf *out) MUST_USE;
int router_plain_file(struct str bytes, struct buf *out) MUST_USE;

#endif

/* What a file that is no text says in clear, for the detectors: who made it, what it is called, what is noted
 * in it.
 *
 *   a text in UTF-16 or Latin-1   all of it
 *   PNG, JPEG, WebP, WAV, ID3     their notes (EXIF, XMP, IPTC, comments, tags); no pixels, no sound
 *   PDF                           its strings, XMP: of pages only what is not compressed
 *   anything else                 what reads as text, of large ones at both ends
 *
 * What is compressed in a file stays unread. */
#include "base/limits.h"
#include "router/plain.h"

#include <string.h>

/* Characters of a run: of one so long that is none there are by chance some six in a MiB. */
enum { NOTE_LEAST = 3, TEXT_LEAST = 12 };
enum { PEEK = 1024, END = 256 << 10 };

static unsigned byte_at(struct str s, size_t i)
{
    return i < s.len ? (unsigned char)s.data[i] : 0;
}

static size_t big(struct str s, size_t i, unsigned n)
{
    size_t value = 0;
    for (unsigned k = 0; k < n; k++)
        value = value << 8 | byte_at(s, i + k);
    return value;
}

static size_t little4(struct str s, size_t i)
{
    return byte_at(s, i) | byte_at(s, i + 1) << 8 | byte_at(s, i + 2) << 16 | (size_t)byte_at(s, i + 3) << 24;
}

static void letter_append(struct buf *out, uint32_t c)
{
    char utf8[4];
    buf_append(out, utf8, str_utf8_encode(c, utf8));
}

/* ---- Texts in other encodings. ---- */

static bool is_printed(uint32_t c)
{
    return (c >= ' ' && c < 0x7F) || c == '\t' || c == '\n' || c == '\r' || (c >= 0xA0 && c < 0xD800);
}

static uint32_t unit_at(struct str s, size_t i, bool little)
{
    return (uint32_t)(little ? byte_at(s, i) | byte_at(s, i + 1) << 8 : big(s, i, 2));
}

static void utf16_say(struct str s, size_t from, bool little, struct buf *out)
{
    for (size_t i = from; i + 1 < s.len && !out->failed; i += 2) {
        uint32_t c = unit_at(s, i, little), low = unit_at(s, i + 2, little);
        if (c >= 0xD800 && c < 0xDC00 && low >= 0xDC00 && low < 0xE000) {
            c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
            i += 2;
        }
        letter_append(out, c >= 0xD800 && c < 0xE000 ? '?' : c == 0 ? ' ' : c);
    }
}

/* With its mark, or (of ASCII for the most part) each second byte 0. */
static bool utf16_is(struct str s, size_t *from, bool *little)
{
    size_t zero[2] = {0, 0}, n = s.len < PEEK ? s.len : PEEK;
    *little = byte_at(s, 0) == 0xFF && byte_at(s, 1) == 0xFE;
    *from = 2;
    if (s.len >= 2 && (*little || big(s, 0, 2) == 0xFEFF))
        return true;
    for (size_t i = 0; i < n; i++)
        zero[i % 2] += byte_at(s, i) == 0;
    *little = zero[1] > 0;
    *from = 0;
    return n >= 4 && zero[*little] * 4 > n && zero[!*little] == 0;
}

static bool latin1_is(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.data[i] < ' ' && !strchr("\t\n\r\f\x1A", s.data[i]))
            return false;
    return s.len > 0 && !memchr(s.data, '\0', s.len);
}

static void latin1_say(struct str s, struct buf *out)
{
    for (size_t i = 0; i < s.len && !out->failed; i++)
        letter_append(out, byte_at(s, i));
}

/* ---- What reads as text among other bytes: a line each, of `least` characters or more. ---- */

/* The character at i in UTF-8, with `notes` (among which little else stands) also in Latin-1; its bytes, or
 * 0: it is none. */
static size_t printed_at(struct str s, size_t i, bool notes, uint32_t *c)
{
    *c = byte_at(s, i);
    if (i >= s.len || *c < 0x80)
        return i < s.len && is_printed(*c);
    size_t n = str_utf8_decode(str_slice(s, i, s.len), c);
    if (n > 1)
        return is_printed(*c) ? n : 0;
    *c = byte_at(s, i);
    return notes && *c >= 0xA0;
}

/* UTF-16, as Windows notes it: two letters of ASCII at least. */
static bool wide_at(struct str s, size_t i)
{
    return i + 3 < s.len && s.data[i + 1] == '\0' && s.data[i + 3] == '\0' && is_printed(byte_at(s, i)) &&
           is_printed(byte_at(s, i + 2));
}

static size_t letter_at(struct str s, size_t i, bool wide, bool notes, uint32_t *c)
{
    if (!wide)
        return printed_at(s, i, notes, c);
    *c = unit_at(s, i, true);
    return i + 1 < s.len && is_printed(*c) ? 2 : 0;
}

static void runs_say(struct str s, size_t least, bool notes, struct buf *out)
{
    uint32_t c;
    for (size_t i = 0; i < s.len && !out->failed; i++) { /* past what is no text */
        const bool wide = wide_at(s, i);
        size_t end = i, count = 0, n;
        for (; (n = letter_at(s, end, wide, notes, &c)) > 0; end += n)
            count++;
        for (size_t at = i; at < end && count >= least; at += n) {
            n = letter_at(s, at, wide, notes, &c);
            letter_append(out, c);
        }
        if (count >= least)
            buf_append_char(out, '\n');
        i = end;
    }
}

static void notes_say(struct str s, struct buf *out)
{
    static const char picture[] = "\xFF\xD8\xFF", end[] = "\xFF\xD9"; /* a small copy of it, within EXIF */
    size_t at = str_find(s, str_from(picture)), behind;
    if (at == SIZE_MAX) {
        runs_say(s, NOTE_LEAST, true, out);
        return;
    }
    runs_say(str_slice(s, 0, at), NOTE_LEAST, true, out);
    behind = str_find(str_slice(s, at, s.len), str_from(end));
    if (behind != SIZE_MAX)
        runs_say(str_slice(s, at + behind + 2, s.len), NOTE_LEAST, true, out);
    else /* it only begins like one */
        runs_say(str_slice(s, at, s.len), TEXT_LEAST, false, out);
}

/* ---- Pictures and sound. ---- */

/* "Author", 0, "Jane Roe": "Author: Jane Roe". */
static void png_text_say(struct str s, struct buf *out)
{
    size_t key = str_find_char(str_slice(s, 0, 80), '\0');
    if (key != SIZE_MAX) {
        runs_say(str_slice(s, 0, key), 1, true, out);
        if (out->len > 0 && !out->failed)
            out->data[out->len - 1] = ':'; /* the line's end */
        buf_append_char(out, ' ');
    }
    notes_say(key == SIZE_MAX ? s : str_slice(s, key + 1, s.len), out);
}

static void png_say(struct str s, struct buf *out)
{
    for (size_t at = 8, n; at + 8 <= s.len; at += 12 + n) {
        struct str kind = str_slice(s, at + 4, at + 8);
        n = big(s, at, 4);
        struct str data = str_slice(s, at + 8, n < s.len - at - 8 ? at + 8 + n : s.len);
        if (str_is(kind, "tEXt") || str_is(kind, "iTXt"))
            png_text_say(data, out);
        else if (str_is(kind, "eXIf"))
            notes_say(data, out);
    }
}

static void jpeg_say(struct str s, struct buf *out)
{
    enum { APP0 = 0xE0, COLOURS = 0xE2, APP15 = 0xEF, COMMENT = 0xFE, SCAN = 0xDA };
    for (size_t at = 2, n; at + 4 <= s.len && byte_at(s, at) == 0xFF; at += n) {
        unsigned marker = byte_at(s, at + 1);
        n = marker == 0xFF ? 1 : 2 + big(s, at + 2, 2);
        if (marker == SCAN)
            return;
        if (marker == COMMENT || (marker >= APP0 && marker <= APP15 && marker != COLOURS))
            notes_say(str_slice(s, at + 4, at + n < s.len ? at + n : s.len), out);
    }
}

/* WebP, WAV: all but what is pixels, sound or colours. */
static void riff_say(struct str s, struct buf *out)
{
    static const char *const bulk[] = {"VP8 ", "VP8L", "VP8X", "ALPH", "ANMF", "ICCP", "fmt ", "data"};
    for (size_t at = 12, n; at + 8 <= s.len; at += 8 + n + (n & 1)) {
        struct str kind = str_slice(s, at, at + 4);
        size_t k = 0;
        n = little4(s, at + 4);
        while (k < sizeof bulk / sizeof *bulk && !str_is(kind, bulk[k]))
            k++;
        if (k == sizeof bulk / sizeof *bulk)
            notes_say(str_slice(s, at + 8, n < s.len - at - 8 ? at + 8 + n : s.len), out);
    }
}

static void id3_say(struct str s, struct buf *out)
{
    size_t n = 10 + (big(s, 6, 1) << 21 | big(s, 7, 1) << 14 | big(s, 8, 1) << 7 | big(s, 9, 1));
    notes_say(str_slice(s, 10, n < s.len ? n : s.len), out);
}

/* ---- PDF: "(a string)" with "\)" and "\351" in it, XMP, and strings of UTF-16 as hexadecimal. ---- */

/* Strings hold few others, and "(((..." none that ends: what is not closed must not be read through from
 * each. */
enum { PDF_STRING = 4096, PDF_DEEP = 8 };

static size_t pdf_string_end(struct str s, size_t i)
{
    size_t end = i + 1, open = 1;
    for (; end < s.len && end - i < PDF_STRING && open <= PDF_DEEP; end++) {
        char c = s.data[end];
        if (c == '\\')
            end++;
        else if ((open += c == '(') > 0 && c == ')' && --open == 0)
            return end;
    }
    return i;
}

/* What stands behind a backslash at i, with its bytes: up to three octal digits, a line's end that is none,
 * or a character for itself. */
static size_t pdf_escape_undo(struct str s, size_t i, int *c)
{
    static const char letters[] = "nrtbf", are[] = "\n\r\t\b\f";
    const char first = i < s.len ? s.data[i] : '\n';
    const char *letter = first ? strchr(letters, first) : NULL;
    size_t n = 0;
    for (*c = 0; n < 3 && byte_at(s, i + n) >= '0' && byte_at(s, i + n) <= '7'; n++)
        *c = *c * 8 + s.data[i + n] - '0';
    if (n > 0)
        return n;
    *c = letter ? are[letter - letters] : first == '\n' || first == '\r' ? -1 : (unsigned char)first;
    return first == '\r' && byte_at(s, i + 1) == '\n' ? 2 : 1;
}

static struct str pdf_string_undo(struct str s, char bytes[PDF_STRING])
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        int c = (unsigned char)s.data[i];
        if (c == '\\')
            i += pdf_escape_undo(s, i + 1, &c);
        if (c >= 0)
            bytes[n++] = (char)c;
    }
    return (struct str){bytes, n};
}

static void pdf_string_say(struct str escaped, struct buf *out)
{
    char bytes[PDF_STRING];
    struct str s = pdf_string_undo(escaped, bytes);
    size_t from;
    bool little, is_wide = s.len >= 2 && big(s, 0, 2) == 0xFEFF;
    if (is_wide && utf16_is(s, &from, &little))
        utf16_say(s, from, little, out);
    else if (!is_wide && s.len >= 2 && latin1_is(s))
        latin1_say(s, out);
    else
        return;
    buf_append_char(out, '\n');
}

static size_t pdf_hex_say(struct str s, size_t i, struct buf *out)
{
    size_t end = str_find_char(str_slice(s, i, i + 4 * PEEK), '>');
    if (end == SIZE_MAX || !str_starts(str_slice(s, i + 1, i + 5), STR("FEFF")))
        return i;
    for (size_t at = i + 5; at + 4 <= i + end; at += 4) {
        uint32_t c = 0;
        for (unsigned k = 0; k < 4; k++) {
            char d = s.data[at + k], low = (char)(d | 0x20);
            c = c << 4 | (uint32_t)(d >= '0' && d <= '9'       ? d - '0'
                                    : low >= 'a' && low <= 'f' ? low - 'a' + 10
                                                               : 0);
        }
        letter_append(out, is_printed(c) ? c : ' ');
    }
    buf_append_char(out, '\n');
    return i + end;
}

static void pdf_say(struct str s, struct buf *out)
{
    size_t xmp = str_find(s, STR("<x:xmpmeta")), length;
    if (xmp != SIZE_MAX && (length = str_find(str_slice(s, xmp, s.len), STR("</x:xmpmeta>"))) != SIZE_MAX)
        runs_say(str_slice(s, xmp, xmp + length), NOTE_LEAST, true, out);
    for (size_t i = 0, end; i < s.len && !out->failed; i++)
        if (s.data[i] == '(' && (end = pdf_string_end(s, i)) > i) {
            pdf_string_say(str_slice(s, i + 1, end), out);
            i = end;
        } else if (s.data[i] == '<')
            i = pdf_hex_say(s, i, out);
        else if (s.data[i] == '\\')
            i++;
}

int router_plain_file(struct str s, struct buf *out)
{
    static const struct {
        const char *begin;
        size_t n;
        void (*say)(struct str, struct buf *);
    } kinds[] = {{"\x89PNG\r\n\x1A\n", 8, png_say}, {"\xFF\xD8\xFF", 3, jpeg_say}, {"RIFF", 4, riff_say},
        {"ID3", 3, id3_say}, {"%PDF", 4, pdf_say}};
    size_t from;
    bool little;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (str_starts(s, (struct str){kinds[i].begin, kinds[i].n})) {
            kinds[i].say(s, out);
            return out->failed;
        }
    if (utf16_is(s, &from, &little))
        utf16_say(s, from, little, out);
    else if (latin1_is(s))
        latin1_say(s, out);
    else {
        runs_say(str_slice(s, 0, END), TEXT_LEAST, false, out);
        runs_say(str_slice(s, s.len < 2 * END ? END : s.len - END, s.len), TEXT_LEAST, false, out);
    }
    return out->failed;
}

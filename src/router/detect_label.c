#include "router/detect_label.h"

#include <string.h>

enum { LINE_MOST = 200 /* how far a label's line is looked at */ };

/* How a word is written. */
struct letters {
    size_t capitals, small;
};

static struct letters letters_of(struct str word)
{
    struct letters n = {0, 0};
    for (size_t i = 0; i < word.len; i++) {
        n.capitals += detect_is_upper(word.data[i]);
        n.small += detect_is_lower(word.data[i]);
    }
    return n;
}

static bool cuts_before(char c)
{
    return detect_is_one_of(c, "\n\r\t:|;()[]{}<>/\\,");
}

static bool is_decoration(struct str text, size_t at)
{
    return strchr(" *_#~=-\"'`.", text.data[at]) != NULL;
}

/* U+2013, U+2014, U+00B7, U+2022. */
static bool is_dash(struct str around)
{
    static const struct str dashes[] = {
        {"\xE2\x80\x93", 3}, {"\xE2\x80\x94", 3}, {"\xC2\xB7", 2}, {"\xE2\x80\xA2", 3}};
    for (size_t i = 0; i < sizeof dashes / sizeof *dashes; i++)
        if (str_starts(around, dashes[i]) || str_ends(around, dashes[i]))
            return true;
    return false;
}

static bool begins_part(struct str text, size_t at)
{
    size_t from = at;
    while (at > 0 && from - at < LINE_MOST && is_decoration(text, at - 1)) {
        if (at >= 2 && text.data[at - 1] == '-' && text.data[at - 2] == ' ')
            return true;
        at--;
    }
    return at == 0 || cuts_before(text.data[at - 1]) || is_dash(str_slice(text, at >= 3 ? at - 3 : 0, at));
}

static bool ends_part(struct str text, size_t at)
{
    size_t from = at;
    while (at < text.len && at - from < LINE_MOST && is_decoration(text, at)) {
        if (text.data[at] == ' ' && at + 1 < text.len && text.data[at + 1] == '-')
            return true;
        at++;
    }
    return at == text.len || cuts_before(text.data[at]) || text.data[at] == '!' ||
           is_dash(str_slice(text, at, at + 3));
}

bool detect_label_stands(struct str text, size_t start, size_t end)
{
    enum { CAPITALS = 4 };
    struct letters n = letters_of(str_slice(text, start, end));
    return (n.capitals >= CAPITALS && n.small == 0) || (begins_part(text, start) && ends_part(text, end));
}

/* ---- Stamps. ---- */
/* What is around a stamp: signs on both sides, and where they end. */
struct stamp {
    size_t from, to;
    size_t signs_before, signs_behind;
    bool opened;
};

static struct stamp stamp_read(struct str text, size_t start, size_t end)
{
    struct stamp s = {.from = start, .to = end};
    while (s.from > 0 && start - s.from < LINE_MOST &&
           detect_is_one_of(text.data[s.from - 1], " \t*_#~=-.[(<")) {
        char c = text.data[--s.from];
        s.signs_before += !detect_is_one_of(c, " \t");
        s.opened = s.opened || detect_is_one_of(c, "[(<");
    }
    while (s.to < text.len && s.to - end < LINE_MOST && detect_is_one_of(text.data[s.to], " \t*_#~=-.!])>"))
        s.signs_behind += !detect_is_one_of(text.data[s.to++], " \t");
    return s;
}

bool detect_label_stamped(struct str text, size_t start, size_t end)
{
    struct letters n = letters_of(str_slice(text, start, end));
    struct stamp s = stamp_read(text, start, end);
    char before = s.from > 0 ? text.data[s.from - 1] : '\n',
         behind = s.to < text.len ? text.data[s.to] : '\n';
    bool line = detect_is_one_of(before, "\r\n") && detect_is_one_of(behind, "\r\n");
    if (n.small > 0) /* "Confidential" as all of a line, not all of a text */
        return line && n.capitals > 0 && s.to - s.from + LINE_MOST / 8 < text.len &&
               s.signs_before == s.signs_behind;
    if (!detect_is_one_of(before, "\r\n|") && !is_dash(str_slice(text, s.from >= 3 ? s.from - 3 : 0, s.from)))
        return false;
    if (s.opened && end < text.len && detect_is_one_of(text.data[end], "])>"))
        return true;
    if (line && s.signs_before == 1 && s.signs_behind == 0) /* "- SECRET": one of a list */
        return detect_is_one_of(text.data[start - 1], "#") || (start > 1 && text.data[start - 2] == '#');
    return detect_is_one_of(behind, "\r\n|/") || is_dash(str_slice(text, s.to, s.to + 3));
}

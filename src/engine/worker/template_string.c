/* The methods of strings that take them apart, look into them and put them together. */
#include "engine/worker/template_internal.h"

#include <string.h>

static struct tpl_value same_kind(const struct tpl_call *call, struct str s)
{
    return tpl_markup(s, call->self.markup);
}

/* ---- Searching ---- */

static size_t find_last(struct str s, struct str needle)
{
    if (needle.len > s.len)
        return SIZE_MAX;
    for (size_t i = s.len - needle.len + 1; i-- > 0;)
        if (needle.len == 0 || memcmp(s.data + i, needle.data, needle.len) == 0)
            return i;
    return SIZE_MAX;
}

/* The part of the string that optional start and end (code points) leave; *base is where it begins. */
static int window(struct tpl_run *r, const struct tpl_call *call, const struct tpl_value *start,
    const struct tpl_value *end, struct str *out, size_t *base)
{
    struct str s = call->self.s;
    *out = s;
    *base = 0;
    int rc = tpl_spend_bytes(r, s.len);
    if (rc || (start->kind == TPL_MISSING && end->kind == TPL_MISSING))
        return rc;
    static const struct tpl_value missing = {.kind = TPL_MISSING};
    int64_t length = (int64_t)str_utf8_count(s), from, to;
    rc = tpl_arg_int(r, start->kind == TPL_NONE ? &missing : start, "start", 0, &from);
    if (rc == 0)
        rc = tpl_arg_int(r, end->kind == TPL_NONE ? &missing : end, "end", length, &to);
    if (rc)
        return rc;
    from = from < 0 ? (from < -length ? 0 : from + length) : from > length ? length + 1 : from;
    to = to < 0 ? (to < -length ? 0 : to + length) : to > length ? length : to;
    *base = tpl_char_offset(s, (size_t)from);
    size_t stop = tpl_char_offset(s, (size_t)to);
    *out = from > to ? (struct str){NULL, 0} : str_slice(s, *base, stop);
    return 0;
}

static int search(struct tpl_run *r, const struct tpl_call *call, bool last, bool must, struct tpl_value *out)
{
    struct str part, needle;
    size_t base;
    int rc = tpl_arg_str(r, &call->arg[0], "what is searched for", &needle);
    if (rc == 0)
        rc = window(r, call, &call->arg[1], &call->arg[2], &part, &base);
    if (rc)
        return rc;
    if (last && needle.len > 1)
        rc = tpl_spend_bytes(r, part.len * (needle.len < 64 ? needle.len : 64));
    if (rc)
        return rc;
    size_t at = !part.data && call->self.s.data ? SIZE_MAX
                : last                          ? find_last(part, needle)
                                                : str_find(part, needle);
    if (at == SIZE_MAX && must)
        return tpl_fail(r, "substring not found");
    *out = tpl_int(at == SIZE_MAX ? -1 : (int64_t)str_utf8_count(str_slice(call->self.s, 0, base + at)));
    return 0;
}

static int s_find(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return search(r, call, false, false, out);
}

static int s_rfind(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return search(r, call, true, false, out);
}

static int s_index(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return search(r, call, false, true, out);
}

static int s_rindex(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return search(r, call, true, true, out);
}

static int s_count(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct str part, needle;
    size_t base, at;
    int64_t count = 0;
    int rc = tpl_arg_str(r, &call->arg[0], "what is counted", &needle);
    if (rc == 0)
        rc = window(r, call, &call->arg[1], &call->arg[2], &part, &base);
    if (rc)
        return rc;
    if (needle.len == 0)
        count = (int64_t)str_utf8_count(part) + (part.data || !call->self.s.data);
    else
        for (; (at = str_find(part, needle)) != SIZE_MAX; count++)
            part = str_slice(part, at + needle.len, part.len);
    *out = tpl_int(count);
    return 0;
}

/* One string or a tuple of them stands at the start (or end). */
static int edge(struct tpl_run *r, const struct tpl_call *call, bool end, struct tpl_value *out)
{
    struct tpl_list several = {(struct tpl_value *)(uintptr_t)&call->arg[0], 1, NULL};
    struct str part, affix;
    size_t base;
    bool yes = false;
    int rc = window(r, call, &call->arg[1], &call->arg[2], &part, &base);
    if (call->arg[0].kind == TPL_TUPLE)
        several = *call->arg[0].list;
    for (size_t i = 0; rc == 0 && !yes && i < several.count; i++) {
        rc = tpl_arg_str(r, &several.items[i], "the first argument of startswith and endswith", &affix);
        yes = rc == 0 && (end ? str_ends(part, affix) : str_starts(part, affix));
    }
    *out = tpl_bool(yes);
    return rc;
}

static int s_startswith(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return edge(r, call, false, out);
}

static int s_endswith(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return edge(r, call, true, out);
}

static int without_affix(struct tpl_run *r, const struct tpl_call *call, bool end, struct tpl_value *out)
{
    struct str s = call->self.s, affix;
    int rc = tpl_arg_str(r, &call->arg[0], "a prefix or suffix", &affix);
    if (rc == 0 && end && str_ends(s, affix))
        s = str_slice(s, 0, s.len - affix.len);
    else if (rc == 0 && !end && str_starts(s, affix))
        s = str_slice(s, affix.len, s.len);
    *out = same_kind(call, s);
    return rc;
}

static int s_removeprefix(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return without_affix(r, call, false, out);
}

static int s_removesuffix(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return without_affix(r, call, true, out);
}

/* ---- Splitting ---- */

static int piece_add(struct tpl_run *r, const struct tpl_call *call, struct tpl_list *list, struct str piece)
{
    int rc = tpl_spend(r, 1);
    return rc ? rc : tpl_list_append(r, list, same_kind(call, piece));
}

static int split_from_left(
    struct tpl_run *r, const struct tpl_call *call, struct str by, int64_t most, struct tpl_list *list)
{
    struct str rest = call->self.s;
    size_t at;
    int rc = 0;
    for (; rc == 0 && most != 0 && (at = str_find(rest, by)) != SIZE_MAX; most--) {
        rc = piece_add(r, call, list, str_slice(rest, 0, at));
        rest = str_slice(rest, at + by.len, rest.len);
    }
    return rc ? rc : piece_add(r, call, list, rest);
}

static void list_reverse(struct tpl_list *list)
{
    for (size_t i = 0; i < list->count / 2; i++) {
        struct tpl_value v = list->items[i];
        list->items[i] = list->items[list->count - 1 - i];
        list->items[list->count - 1 - i] = v;
    }
}

static int split_from_right(
    struct tpl_run *r, const struct tpl_call *call, struct str by, int64_t most, struct tpl_list *list)
{
    struct str rest = call->self.s;
    size_t at;
    int rc = tpl_spend_bytes(r, rest.len * (by.len < 64 ? by.len : 64));
    for (; rc == 0 && most != 0 && (at = find_last(rest, by)) != SIZE_MAX; most--) {
        rc = piece_add(r, call, list, str_slice(rest, at + by.len, rest.len));
        rest = str_slice(rest, 0, at);
    }
    if (rc == 0)
        rc = piece_add(r, call, list, rest);
    list_reverse(list);
    return rc;
}

static size_t word_end(struct str s)
{
    size_t pos = 0;
    while (pos < s.len) {
        size_t next = pos;
        if (tpl_is_space(tpl_char_next(s, &next)))
            break;
        pos = next;
    }
    return pos;
}

static size_t word_start(struct str s)
{
    size_t pos = s.len;
    while (pos > 0) {
        size_t start = pos - 1;
        while (start > 0 && ((unsigned char)s.data[start] & 0xC0) == 0x80)
            start--;
        size_t next = start;
        if (tpl_is_space(tpl_char_next(s, &next)))
            break;
        pos = start;
    }
    return pos;
}

/* At runs of white space; what is over after `most` splits keeps its inner spaces. */
static int split_words(
    struct tpl_run *r, const struct tpl_call *call, bool right, int64_t most, struct tpl_list *list)
{
    struct str rest = call->self.s;
    int rc = 0;
    for (;; most--) {
        rest = right ? tpl_strip(rest, NULL, false, true) : tpl_strip(rest, NULL, true, false);
        if (rc || rest.len == 0 || most == 0)
            break;
        size_t at = right ? word_start(rest) : word_end(rest);
        rc = piece_add(r, call, list, right ? str_slice(rest, at, rest.len) : str_slice(rest, 0, at));
        rest = right ? str_slice(rest, 0, at) : str_slice(rest, at, rest.len);
    }
    if (rc == 0 && rest.len > 0)
        rc = piece_add(r, call, list, rest);
    if (right)
        list_reverse(list);
    return rc;
}

static int split(struct tpl_run *r, const struct tpl_call *call, bool right, struct tpl_value *out)
{
    struct tpl_list list;
    struct str by = STR_NONE;
    int64_t most;
    bool words = call->arg[0].kind == TPL_MISSING || call->arg[0].kind == TPL_NONE;
    int rc = words ? 0 : tpl_arg_str(r, &call->arg[0], "the separator", &by);
    if (rc == 0)
        rc = tpl_arg_int(r, &call->arg[1], "maxsplit", -1, &most);
    if (rc == 0)
        rc = tpl_list_new(r, 4, &list);
    if (rc == 0)
        rc = tpl_spend_bytes(r, call->self.s.len);
    if (rc)
        return rc;
    if (!words && by.len == 0)
        return tpl_fail(r, "empty separator");
    if (words)
        rc = split_words(r, call, right, most, &list);
    else
        rc = right ? split_from_right(r, call, by, most, &list) : split_from_left(r, call, by, most, &list);
    return rc ? rc : tpl_list_value(r, TPL_LIST, &list, out);
}

static int s_split(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return split(r, call, false, out);
}

static int s_rsplit(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return split(r, call, true, out);
}

static bool line_ends(uint32_t c)
{
    return (c >= '\n' && c <= '\r') || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

int tpl_split_lines(struct tpl_run *r, const struct tpl_value *v, bool keep, struct tpl_list *list)
{
    struct str s = v->s;
    int rc = tpl_list_new(r, 4, list);
    if (rc == 0)
        rc = tpl_spend_bytes(r, s.len);
    size_t start = 0;
    for (size_t pos = 0; rc == 0 && pos < s.len;) {
        size_t end = pos;
        uint32_t c = tpl_char_next(s, &pos);
        if (!line_ends(c))
            continue;
        if (c == '\r' && pos < s.len && s.data[pos] == '\n')
            pos++;
        rc = tpl_spend(r, 1);
        if (rc == 0)
            rc = tpl_list_append(r, list, tpl_markup(str_slice(s, start, keep ? pos : end), v->markup));
        start = pos;
    }
    if (rc == 0 && start < s.len)
        rc = tpl_list_append(r, list, tpl_markup(str_slice(s, start, s.len), v->markup));
    return rc;
}

static int s_splitlines(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_list list;
    bool keep;
    int rc = tpl_arg_bool(r, &call->arg[0], &keep);
    if (rc == 0)
        rc = tpl_split_lines(r, &call->self, keep, &list);
    return rc ? rc : tpl_list_value(r, TPL_LIST, &list, out);
}

static int partition(struct tpl_run *r, const struct tpl_call *call, bool right, struct tpl_value *out)
{
    struct str s = call->self.s, by;
    struct tpl_list list;
    int rc = tpl_arg_str(r, &call->arg[0], "the separator", &by);
    if (rc == 0 && by.len == 0)
        return tpl_fail(r, "empty separator");
    if (rc == 0)
        rc = tpl_spend_bytes(r, s.len * (right && by.len < 64 ? by.len : 1));
    if (rc == 0)
        rc = tpl_list_new(r, 3, &list);
    if (rc)
        return rc;
    size_t at = right ? find_last(s, by) : str_find(s, by);
    bool found = at != SIZE_MAX;
    if (!found)
        at = right ? 0 : s.len;
    struct str parts[3] = {
        str_slice(s, 0, at), found ? by : STR_NONE, str_slice(s, at + (found ? by.len : 0), s.len)};
    for (int i = 0; rc == 0 && i < 3; i++)
        rc = piece_add(r, call, &list, parts[i]);
    return rc ? rc : tpl_list_value(r, TPL_TUPLE, &list, out);
}

static int s_partition(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return partition(r, call, false, out);
}

static int s_rpartition(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return partition(r, call, true, out);
}

/* ---- Stripping ---- */

int tpl_strip_chars(struct tpl_run *r, const struct tpl_value *v, const struct tpl_value *chars, bool left,
    bool right, struct tpl_value *out)
{
    struct str s = v->s, set;
    *out = tpl_markup(STR_NONE, v->markup);
    if (chars->kind == TPL_MISSING || chars->kind == TPL_NONE) {
        out->s = tpl_strip(s, NULL, left, right);
        return tpl_spend_bytes(r, s.len);
    }
    int rc = tpl_arg_str(r, chars, "the argument of strip", &set);
    if (rc == 0)
        rc = tpl_spend_bytes(r, s.len * (1 + set.len));
    if (rc)
        return rc;
    out->s = tpl_strip(s, &set, left, right);
    return 0;
}

static int s_strip(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return tpl_strip_chars(r, &call->self, &call->arg[0], true, true, out);
}

static int s_lstrip(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return tpl_strip_chars(r, &call->self, &call->arg[0], true, false, out);
}

static int s_rstrip(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    return tpl_strip_chars(r, &call->self, &call->arg[0], false, true, out);
}

/* ---- Joining and replacing ---- */

static int s_join(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct tpl_list list;
    size_t mark = tpl_text_begin(r);
    int rc = tpl_items(r, &call->arg[0], &list);
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        struct str piece;
        rc = tpl_arg_str(r, &list.items[i], "an item of join()", &piece);
        if (rc == 0 && call->self.markup && !list.items[i].markup)
            rc = tpl_escape(r, piece, &piece);
        if (rc == 0 && i > 0)
            buf_append_str(r->out, call->self.s);
        if (rc == 0)
            buf_append_str(r->out, piece);
        if (rc == 0)
            rc = tpl_spend(r, 1);
    }
    *out = same_kind(call, STR_NONE);
    return rc ? rc : tpl_text_end(r, mark, &out->s);
}

int tpl_replace(
    struct tpl_run *r, struct str s, struct str old, struct str new, int64_t most, struct str *out)
{
    size_t mark = tpl_text_begin(r), at = 0, last = 0;
    int rc = tpl_spend_bytes(r, s.len);
    *out = s;
    if (rc || most == 0 || (old.len > 0 && str_find(s, old) == SIZE_MAX))
        return rc;
    for (size_t pos = 0; most != 0 && !r->out->failed; most--) {
        if (old.len > 0) {
            at = str_find(str_slice(s, pos, s.len), old);
            if (at == SIZE_MAX)
                break;
            pos = at + pos;
        }
        buf_append_str(r->out, str_slice(s, last, pos));
        buf_append_str(r->out, new);
        last = pos + old.len;
        pos = last;
        if (old.len == 0) { /* between all characters, before the first and after the last */
            if (pos == s.len)
                break;
            tpl_char_next(s, &pos);
        }
    }
    buf_append_str(r->out, str_slice(s, last, s.len));
    return tpl_text_end(r, mark, out);
}

static int s_replace(struct tpl_run *r, const struct tpl_call *call, struct tpl_value *out)
{
    struct str old, new;
    int64_t most = -1;
    int rc = tpl_arg_str(r, &call->arg[0], "what is replaced", &old);
    if (rc == 0)
        rc = tpl_arg_str(r, &call->arg[1], "the replacement", &new);
    if (rc == 0)
        rc = tpl_arg_int(r, &call->arg[2], "count", -1, &most);
    if (rc == 0 && call->self.markup && !call->arg[1].markup)
        rc = tpl_escape(r, new, &new);
    *out = same_kind(call, STR_NONE);
    return rc ? rc : tpl_replace(r, call->self.s, old, new, most, &out->s);
}

const struct tpl_builtin tpl_methods_string[] = {{"split", "?sep ?maxsplit", s_split},
    {"rsplit", "?sep ?maxsplit", s_rsplit}, {"splitlines", "?keepends", s_splitlines},
    {"partition", "sep", s_partition}, {"rpartition", "sep", s_rpartition}, {"strip", "?chars", s_strip},
    {"lstrip", "?chars", s_lstrip}, {"rstrip", "?chars", s_rstrip},
    {"startswith", "prefix ?start ?end", s_startswith}, {"endswith", "suffix ?start ?end", s_endswith},
    {"removeprefix", "prefix", s_removeprefix}, {"removesuffix", "suffix", s_removesuffix},
    {"find", "sub ?start ?end", s_find}, {"rfind", "sub ?start ?end", s_rfind},
    {"index", "sub ?start ?end", s_index}, {"rindex", "sub ?start ?end", s_rindex},
    {"count", "sub ?start ?end", s_count}, {"join", "iterable", s_join},
    {"replace", "old new ?count", s_replace}, {NULL, NULL, NULL}};

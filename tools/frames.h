/* The texts that gist_train.c and tag_train.c learn from: frames, of which texts are made.
 *
 *   LANG.txt:  CATEGORIES<tab>frame      "-" for what is harmless; "PHI*6": with six times as many texts as
 * others
 *              @slot = a|b               those of any.txt are every language's
 *   frame:     "(a|b|)" one of them, not one in the other; "{slot}" one of the values of the language's slot,
 * or a value that the program makes: {name}, {num} ... (value_append); "[S Elm Street 5]" says what the words
 * in it are, by a letter of FRAME_MARKS. {name}, {org} and {place} are P, O and T outside of such. */
#ifndef WEIR_TOOLS_FRAMES_H
#define WEIR_TOOLS_FRAMES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/must.h"
#include "base/str.h"
#include "router/detect.h"

/* P a person, H a number before a street that has its own, S a street, U a unit, T a town, state or country,
 * Z a postal code, O a firm. */
#define FRAME_MARKS "PHSUTZO"

/* A value that no file lists, of a slot's name; false if it is none. Each program has its own. */
static bool value_append(struct buf *out, struct str slot);

static uint64_t seed = 88172645463325252u;

static uint32_t dice(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32) % n;
}

/* ---- Values of all programs: what patterns find, {card} {token} {mail} {phone} {ssn} {born} {ip}. ---- */
static void letters_append(struct buf *out, uint32_t least, uint32_t more, bool capital)
{
    static const char *const parts[] = {"ka", "lo", "mi", "ren", "tu", "sha", "vor", "bel", "ni", "dra", "po",
        "zek", "wu", "an", "ol", "gri", "fe", "tas", "hu", "mar", "quil", "ye", "ost", "kwa", "ngo", "czy"};
    uint32_t n = least + dice(more + 1);
    for (uint32_t i = 0; i < n; i++) {
        const char *part = parts[dice(sizeof parts / sizeof *parts)];
        buf_append_char(out, capital && i == 0 ? (char)(*part - 32) : *part);
        buf_append_text(out, part + 1);
    }
}

/* `n` digits, the first of them not 0 */
static void whole_append(struct buf *out, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        buf_append_char(out, (char)('0' + (i ? dice(10) : 1 + dice(9))));
}

static bool found_append(struct buf *out, struct str slot)
{
    static const char signs[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    if (str_is(slot, "card")) {
        const char *between = (const char *const[]){"", " ", "-"}[dice(3)];
        for (int i = 0; i < 4; i++) {
            buf_append_text(out, i ? between : "");
            whole_append(out, 4);
        }
    } else if (str_is(slot, "token")) {
        buf_append_text(out, (const char *const[]){"ghp_", "sk-", "xoxb-", "glpat-"}[dice(4)]);
        for (int i = 0; i < 36; i++)
            buf_append_char(out, signs[dice(sizeof signs - 1)]);
    } else if (str_is(slot, "mail")) {
        letters_append(out, 1, 2, false);
        buf_appendf(out, "%s%u@", (const char *const[]){"", ".b", "_x"}[dice(3)], dice(1000));
        letters_append(out, 1, 2, false);
        buf_append_text(out, (const char *const[]){".com", ".de", "-post.pl", ".uni.fr"}[dice(4)]);
    } else if (str_is(slot, "phone")) {
        buf_appendf(out, "+%u %u ", 30 + dice(69), 100 + dice(900));
        whole_append(out, 7);
    } else if (str_is(slot, "ssn")) {
        buf_appendf(out, "%u-%u-%u", 100 + dice(666), 10 + dice(90), 1000 + dice(9000));
    } else if (str_is(slot, "born")) {
        buf_appendf(out, "%u.%u.19%u", 1 + dice(28), 1 + dice(12), 30 + dice(70));
    } else if (str_is(slot, "ip")) {
        buf_appendf(out, "%u.%u.%u.%u", 1 + dice(220), dice(256), dice(256), 1 + dice(250));
    } else {
        return false;
    }
    return true;
}

/* ---- Frames. ---- */
struct slot {
    struct str name, values;
    int lang; /* its file's number */
    bool shared;
};
struct frame {
    struct str text;
    unsigned labels, times;
    int lang;
};
static struct slot *slots;
static struct frame *frames;
static size_t n_slots, n_frames;
static int n_langs;
static bool lang_shared; /* the file that is read: any.txt */

/* Calls `read` with each line of a file. */
static void lines_each(const char *path, void (*read)(struct str line))
{
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    if (!f) {
        perror(path);
        exit(1);
    }
    for (ssize_t n; (n = getline(&line, &room, f)) > 0;)
        read(str_trim((struct str){line, (size_t)n}));
    free(line);
    fclose(f);
}

static unsigned labels_of(struct str names)
{
    struct str name;
    unsigned labels = 0;
    while (str_split(&names, ',', &name))
        labels |= router_category_from(name);
    return labels;
}

/* Exits where a "(" stands within another, which would be read wrongly. */
static void frame_check(struct str text)
{
    bool within = false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '(' && within) {
            fprintf(stderr, "\"(\" within another: " STR_FMT "\n", STR_ARG(text));
            exit(1);
        }
        within = text.data[i] == '(' || (within && text.data[i] != ')');
    }
}

static void frame_read(struct str line)
{
    size_t tab = str_find_char(line, '\t'), equal = str_find_char(line, '=');
    bool slot = str_starts(line, STR("@")) && equal != SIZE_MAX;
    if (!slot && tab == SIZE_MAX)
        return;
    line.data = must(strndup(line.data, line.len));
    if (slot) {
        slots = must(realloc(slots, (n_slots + 1) * sizeof *slots));
        slots[n_slots++] = (struct slot){str_trim(str_slice(line, 1, equal)),
            str_trim(str_slice(line, equal + 1, line.len)), n_langs, lang_shared};
    } else {
        struct str head = str_slice(line, 0, tab), names = STR_NONE;
        int64_t times = 1;
        str_split(&head, '*', &names);
        if (head.len > 0 && (!str_to_int64(head, &times) || times < 1 || times > 99)) {
            fprintf(stderr, "how many texts? " STR_FMT "\n", STR_ARG(line));
            exit(1);
        }
        frame_check(line);
        frames = must(realloc(frames, (n_frames + 1) * sizeof *frames));
        frames[n_frames++] =
            (struct frame){str_slice(line, tab + 1, line.len), labels_of(names), (unsigned)times, n_langs};
    }
}

/* Reads those of argv that are frames. */
static void frames_read(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        struct str path = str_from(argv[i]);
        if (!str_ends(path, STR(".txt")))
            continue;
        lang_shared = str_ends(path, STR("any.txt"));
        lines_each(argv[i], frame_read);
        n_langs++;
    }
}

/* ---- Texts, with what their parts are. ---- */
struct range {
    size_t start, end;
    char mark; /* 'A': some part of an address */
};
enum { MOST_RANGES = 64 };
static struct range ranges[MOST_RANGES];
static size_t n_ranges, depth;

static void frame_append(struct buf *out, struct str text, int lang);

static struct str choice_of(struct str choices)
{
    struct str rest = choices, one = STR_NONE;
    uint32_t n = 1;
    for (size_t i = 0; i < choices.len; i++)
        n += choices.data[i] == '|';
    for (uint32_t at = dice(n) + 1; at > 0; at--)
        if (!str_split(&rest, '|', &one))
            one = STR_NONE;
    return one;
}

/* A language's own slot, or one that is everybody's. */
static const struct slot *slot_find(struct str name, int lang)
{
    const struct slot *shared = NULL;
    for (size_t i = 0; i < n_slots; i++)
        if (str_eq(slots[i].name, name)) {
            if (slots[i].lang == lang)
                return &slots[i];
            shared = slots[i].shared ? &slots[i] : shared;
        }
    return shared;
}

static void range_end(struct buf *out, size_t start, char mark)
{
    if (depth == 0 && n_ranges < MOST_RANGES)
        ranges[n_ranges++] = (struct range){start, out->len, mark};
}

static void slot_append(struct buf *out, struct str name, int lang)
{
    const struct slot *slot = slot_find(name, lang);
    size_t start = out->len;
    if (slot) {
        frame_append(out, choice_of(slot->values), lang);
        return;
    }
    if (!value_append(out, name) && !found_append(out, name)) {
        fprintf(stderr, "no slot {" STR_FMT "}\n", STR_ARG(name));
        exit(1);
    }
    char mark = str_is(name, "name") ? 'P' : str_is(name, "org") ? 'O' : str_is(name, "place") ? 'T' : 0;
    if (mark)
        range_end(out, start, mark);
}

/* "[S ...]": its end, or SIZE_MAX. */
static size_t mark_end(struct str rest)
{
    bool mark = rest.len > 3 && rest.data[1] && strchr(FRAME_MARKS, rest.data[1]) && rest.data[2] == ' ';
    return mark ? str_find_char(rest, ']') : SIZE_MAX;
}

static void frame_append(struct buf *out, struct str text, int lang)
{
    for (size_t i = 0; i < text.len; i++) {
        struct str rest = str_slice(text, i, text.len);
        bool slot = rest.data[0] == '{' && rest.len > 1 && detect_is_alpha(rest.data[1]);
        size_t end = slot                  ? str_find_char(rest, '}')
                     : rest.data[0] == '(' ? str_find_char(rest, ')')
                     : rest.data[0] == '[' ? mark_end(rest)
                                           : SIZE_MAX;
        if (end == SIZE_MAX) {
            bool line = str_starts(rest, STR("\\n"));
            buf_append_char(out, line ? '\n' : rest.data[0]);
            i += line;
            continue;
        }
        struct str inner = str_slice(rest, 1, end);
        size_t start = out->len;
        if (slot) {
            slot_append(out, inner, lang);
        } else if (rest.data[0] == '(') {
            frame_append(out, choice_of(inner), lang);
        } else {
            depth++;
            frame_append(out, str_slice(inner, 2, inner.len), lang);
            depth--;
            range_end(out, start, inner.data[0]);
        }
        i += end;
    }
}

#endif

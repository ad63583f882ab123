/* The texts that the detector's network is fitted to (gist_train.c): frames, of which texts are made.
 *
 *   LANG.txt:  CATEGORIES<tab>frame      "-" for what is harmless
 *              @slot = a|b
 *   frame:     "(a|b|)" one of them, not one in the other; "{slot}" one of the values of the language's slot,
 * of the first file's slot of that name, or a value made here: {name} {org} {place} {word} {pw} {num} {n}
 * {eur} {date} */
#ifndef WEIR_TOOLS_GIST_FRAMES_H
#define WEIR_TOOLS_GIST_FRAMES_H

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/must.h"
#include "router/router.h"

static uint64_t seed = 88172645463325252u;

static uint32_t dice(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32) % n;
}

static float chance(void)
{
    return (float)dice(1u << 24) / (float)(1u << 24);
}

/* ---- Frames. ---- */
struct slot {
    struct str name, values;
    int lang;
};
struct frame {
    struct str text;
    unsigned labels;
    int lang;
};
static struct slot *slots;
static struct frame *frames;
static size_t n_slots, n_frames;
static int n_langs;

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
            fprintf(stderr, "gist_train: \"(\" within another: " STR_FMT "\n", STR_ARG(text));
            exit(1);
        }
        within = text.data[i] == '(' || (within && text.data[i] != ')');
    }
}

static void frame_read(struct str line)
{
    size_t tab = str_find_char(line, '\t'), equal = str_find_char(line, '=');
    line.data = must(strndup(line.data, line.len));
    if (str_starts(line, STR("@")) && equal != SIZE_MAX) {
        slots = must(realloc(slots, (n_slots + 1) * sizeof *slots));
        slots[n_slots++] = (struct slot){
            str_trim(str_slice(line, 1, equal)), str_trim(str_slice(line, equal + 1, line.len)), n_langs};
    } else if (tab != SIZE_MAX) {
        frame_check(line);
        frames = must(realloc(frames, (n_frames + 1) * sizeof *frames));
        frames[n_frames++] =
            (struct frame){str_slice(line, tab + 1, line.len), labels_of(str_slice(line, 0, tab)), n_langs};
    }
}

/* ---- Values. ---- */
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

static void name_append(struct buf *out)
{
    static const char *const known[] = {"Anna", "Peter", "Fatima", "Jan", "Maria", "Ahmed", "Sophie", "Marek",
        "Lucia", "Pedro", "Ingrid", "Giulia", "Thomas", "Agnieszka", "Youssef", "Claire"};
    if (dice(2))
        buf_append_text(out, known[dice(sizeof known / sizeof *known)]);
    else
        letters_append(out, 2, 1, true);
    buf_append_char(out, ' ');
    letters_append(out, 2, 2, true);
    if (dice(5) == 0) {
        buf_append_char(out, '-');
        letters_append(out, 2, 1, true);
    }
}

static void digits_append(struct buf *out, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        buf_append_char(out, (char)('0' + (i ? dice(10) : 1 + dice(9))));
}

static void money_append(struct buf *out)
{
    static const char *const units[] = {
        " euros", " EUR", " \xE2\x82\xAC", "k", " dollars", " pounds", "", " 000"};
    digits_append(out, 1 + dice(4));
    if (dice(4) == 0) {
        buf_append_char(out, dice(2) ? '.' : ',');
        digits_append(out, 3);
    }
    buf_append_text(out, units[dice(sizeof units / sizeof *units)]);
}

static void password_append(struct buf *out)
{
    letters_append(out, 1, 2, dice(2));
    if (dice(2))
        buf_append_char(out, "-!#_"[dice(4)]);
    digits_append(out, 2 + dice(2));
}

static bool value_append(struct buf *out, struct str slot)
{
    if (str_is(slot, "name"))
        name_append(out);
    else if (str_is(slot, "org") || str_is(slot, "place"))
        letters_append(out, 2, 2, true);
    else if (str_is(slot, "word"))
        letters_append(out, 2, 2, false);
    else if (str_is(slot, "pw"))
        password_append(out);
    else if (str_is(slot, "num"))
        digits_append(out, 4 + dice(7));
    else if (str_is(slot, "n"))
        digits_append(out, 1 + dice(2));
    else if (str_is(slot, "eur"))
        money_append(out);
    else if (str_is(slot, "date"))
        buf_appendf(out, "%u.%u.", 1 + dice(28), 1 + dice(12));
    else
        return false;
    return true;
}

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

/* A language's own slot, or one of the first file's, which are everybody's. */
static const struct slot *slot_find(struct str name, int lang)
{
    const struct slot *shared = NULL;
    for (size_t i = 0; i < n_slots; i++)
        if (str_eq(slots[i].name, name)) {
            if (slots[i].lang == lang)
                return &slots[i];
            shared = slots[i].lang == 0 ? &slots[i] : shared;
        }
    return shared;
}

static void slot_append(struct buf *out, struct str name, int lang)
{
    const struct slot *slot = slot_find(name, lang);
    if (slot) {
        frame_append(out, choice_of(slot->values), lang);
    } else if (!value_append(out, name)) {
        fprintf(stderr, "gist_train: no slot {" STR_FMT "}\n", STR_ARG(name));
        exit(1);
    }
}

static void frame_append(struct buf *out, struct str text, int lang)
{
    for (size_t i = 0; i < text.len; i++) {
        struct str rest = str_slice(text, i + 1, text.len);
        bool slot = text.data[i] == '{' && rest.len > 0 && rest.data[0] >= 'a' && rest.data[0] <= 'z';
        size_t end = slot                  ? str_find_char(rest, '}')
                     : text.data[i] == '(' ? str_find_char(rest, ')')
                                           : SIZE_MAX;
        if (end == SIZE_MAX) {
            bool line = str_starts(str_slice(text, i, text.len), STR("\\n"));
            buf_append_char(out, line ? '\n' : text.data[i]);
            i += line;
            continue;
        }
        if (slot)
            slot_append(out, str_slice(rest, 0, end), lang);
        else
            frame_append(out, choice_of(str_slice(rest, 0, end)), lang);
        i += end + 1;
    }
}

#endif

/* What stands in the texts that tag_train.c learns from, besides what its frames (frames.h) say.
 *
 * {name} {given} {surname} {org} {place} {Word} {word} {pw} {num} {n} {eur} {date} {hn} (a house's number)
 * {d5} (as many digits). */
#include <stdio.h>
#include <stdlib.h>

#include "frames.h"

/* ---- The lexicon's names, and which frames name or locate somebody. ---- */
static struct names {
    struct str *all;
    size_t n;
} given_names, surnames;

static bool frame_marked(struct str text)
{
    static const char *const marks[] = {"[P ", "[S ", "[H ", "[U ", "[T ", "[Z ", "[O ", "{adr", "{name}"};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (str_find(text, str_from(marks[i])) != SIZE_MAX)
            return true;
    return false;
}

static void names_read(struct str line)
{
    struct str kind = str_slice(line, 0, str_find_char(line, ':')), name;
    struct names *names = str_is(kind, "given")                             ? &given_names
                          : str_is(kind, "surname") || str_is(kind, "both") ? &surnames
                                                                            : NULL;
    struct str rest = str_slice(line, kind.len + 1, line.len);
    if (!names)
        return;
    rest.data = must(strndup(rest.data, rest.len));
    while (str_split(&rest, ' ', &name))
        if (name.len > 1) {
            if (names->n % 1024 == 0)
                names->all = must(realloc(names->all, (names->n + 1024) * sizeof *names->all));
            names->all[names->n++] = name;
        }
}

/* ---- Values. ---- */
static void capital_append(struct buf *out, struct str name)
{
    buf_append_char(
        out, (char)(name.data[0] >= 'a' && name.data[0] <= 'z' ? name.data[0] - 32 : name.data[0]));
    buf_append_str(out, str_slice(name, 1, name.len));
}

static void digits_append(struct buf *out, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        buf_append_char(out, (char)('0' + dice(10)));
}

/* One of strings, likelier the plain ones in front. */
#define ONE_OF(...)                                                                                          \
    one_of((const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))
static const char *one_of(const char *const *of, size_t n)
{
    return of[dice((uint32_t)n)];
}

/* A word that is none, of the sounds of many languages. */
static void made_append(struct buf *out, uint32_t parts, bool capital, bool ending)
{
    char word[64];
    size_t n = 0;
    for (uint32_t i = 0; i < parts; i++)
        n += (size_t)snprintf(word + n, sizeof word - n, "%s%s",
            ONE_OF("b", "br", "c", "ch", "d", "dr", "f", "fr", "g", "gr", "h", "j", "k", "kr", "kh", "l", "m",
                "n", "p", "pr", "r", "s", "sh", "st", "sch", "t", "tr", "th", "v", "w", "y", "z", "zh", "",
                "", "qu", "ng", "cz", "\xC5\xA1", "\xC5\x99", "\xC3\xBE", "\xC5\x82", "\xC3\xB1", "\xC5\xA0"),
            ONE_OF("a", "a", "e", "e", "i", "i", "o", "o", "u", "ai", "ia", "ei", "ie", "ou", "an", "en",
                "in", "ar", "er", "or", "el", "al", "il", "un", "\xC3\xA1", "\xC3\xA9", "\xC3\xAD",
                "\xC3\xB6", "\xC3\xBC", "\xC3\xB3", "\xC3\xA4", "\xC3\xA3", "\xC4\x99", "\xC3\xB0u"));
    if (ending)
        n += (size_t)snprintf(word + n, sizeof word - n, "%s",
            ONE_OF("", "", "", "n", "r", "s", "k", "ova", "ov", "ev", "ski", "ska", "czyk", "wicz",
                "d\xC3\xB3ttir", "son", "sson", "sen", "ez", "es", "inho", "eiro", "o\xC4\x9Flu", "yan",
                "idze", "akis", "ou", "mann", "berg", "stein", "er", "eau", "ier", "ault", "etti", "ini",
                "elli", "ucci", "ano", "stra", "sma", "veld", "huis", "man", "uk", "enko", "i\xC4\x87",
                "i\xC4\x8D", "nen", "la", "as", "ak", "\xC3\xADk", "ar", "on", "ton", "ley", "ford", "ama",
                "ura", "moto", "awa", "eji", "unde", "ou\xC3\xA9", "wu", "ah", "ulla", "een", "ita", "ina",
                "ija", "ka", "u\xC5\x9F", "t", "rd"));
    if (capital && word[0] >= 'a' && word[0] <= 'z')
        word[0] = (char)(word[0] - 32);
    buf_append(out, word, n);
}

static void given_append(struct buf *out)
{
    if (dice(2))
        capital_append(out, given_names.all[dice((uint32_t)given_names.n)]);
    else
        made_append(out, 1 + dice(2), true, true);
}

static void surname_once(struct buf *out)
{
    if (dice(12) == 0)
        buf_append_text(out, ONE_OF("van ", "van der ", "de ", "von ", "da ", "dos ", "di ", "Mc", "O'",
                                 "al-", "Le ", "El ", "bin ", "De ", "del ", "la ", "van den ", "Mac"));
    if (dice(9) < 4)
        capital_append(out, surnames.all[dice((uint32_t)surnames.n)]);
    else
        made_append(out, 1 + dice(3), true, true);
}

static void surname_append(struct buf *out)
{
    surname_once(out);
    if (dice(6) == 0) {
        buf_append_text(out, dice(4) ? "-" : " ");
        surname_once(out);
    }
}

static void name_append(struct buf *out)
{
    uint32_t form = dice(20);
    size_t from = out->len;
    if (form > 1)
        given_append(out);
    if (form == 4 || form == 5)
        buf_appendf(out, " %c%s", 'A' + (int)dice(26), dice(2) ? "." : "");
    if (form == 6 || (form == 7 && dice(2))) {
        buf_append_char(out, dice(3) ? ' ' : '-');
        given_append(out);
    }
    if (form < 2 || form > 3) {
        if (form > 1)
            buf_append_char(out, ' ');
        surname_append(out);
    }
    if (dice(30) == 0)
        for (size_t i = from; i < out->len; i++)
            if (out->data[i] >= 'a' && out->data[i] <= 'z')
                out->data[i] = (char)(out->data[i] - 32);
}

static void org_append(struct buf *out)
{
    uint32_t form = dice(6);
    if (form == 0) {
        surname_once(out);
        buf_append_text(out, dice(2) ? ", " : "-");
        surname_once(out);
        buf_append_text(out, ONE_OF(" and ", " & ", " und ", " et "));
        surname_once(out);
        return;
    }
    if (form == 1)
        surname_once(out);
    else
        made_append(out, 1 + dice(2), true, dice(2));
    if (form != 2)
        buf_append_text(out, ONE_OF(" Inc", " LLC", " Ltd", " GmbH", " AG", " Group", " Partners", " Systems",
                                 " Labs", " Software", " Bank", " S.A.", " SARL", " BV", " sp. z o.o.",
                                 " Lda", " S.p.A.", " Health", " Data", " Media", " Technologies",
                                 " Foundation", " Solutions", " Capital", " Sons", "-Werke", " Insurance"));
}

static bool number_append(struct buf *out, struct str slot)
{
    if (slot.len == 2 && slot.data[0] == 'd' && slot.data[1] >= '1' && slot.data[1] <= '9')
        digits_append(out, (uint32_t)(slot.data[1] - '0'));
    else if (str_is(slot, "num"))
        digits_append(out, 4 + dice(7));
    else if (str_is(slot, "n"))
        buf_appendf(out, "%u", 1 + dice(99));
    else if (str_is(slot, "hn")) {
        buf_appendf(out, "%u", 1 + dice(dice(3) ? 99 : 2999));
        if (dice(8) == 0)
            buf_append_char(out, (char)((dice(2) ? 'a' : 'A') + (char)dice(5)));
    } else if (str_is(slot, "eur"))
        buf_appendf(
            out, "%u%s", 1 + dice(9999), ONE_OF(" euros", " EUR", " \xE2\x82\xAC", "k", "", " dollars"));
    else if (str_is(slot, "date"))
        buf_appendf(out, "%u.%u.", 1 + dice(28), 1 + dice(12));
    else
        return false;
    return true;
}

static bool value_append(struct buf *out, struct str slot)
{
    if (str_is(slot, "name"))
        name_append(out);
    else if (str_is(slot, "given"))
        given_append(out);
    else if (str_is(slot, "surname"))
        surname_append(out);
    else if (str_is(slot, "org"))
        org_append(out);
    else if (str_is(slot, "place") || str_is(slot, "Word"))
        made_append(out, 1 + dice(3), true, dice(3) == 0);
    else if (str_is(slot, "word"))
        made_append(out, 2 + dice(2), false, false);
    else if (str_is(slot, "pw"))
        buf_appendf(out, "K%u-x%u", dice(999), dice(99));
    else
        return number_append(out, slot);
    return true;
}

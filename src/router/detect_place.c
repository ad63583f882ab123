/* Postal addresses: a house number beside a street, and what follows it: a unit, a postal code, a town. */
#include "router/detect_context.h"
#include "router/detect_tag.h"

static const struct detect_type address = {"STREET_ADDRESS", ROUTER_PII, "a postal address", 1};
const struct detect_family detect_places_family = {"context", DETECT_TYPES(&address)};

enum { STREET_WORDS = 6, TAIL_WORDS = 12 };

/* A street's name in one word: "Gärtnerplatz", "Hansinegata". */
static bool street_word(struct str text, const struct detect_word *w)
{
    static const struct str ends[] = {{"stra\xC3\x9F"
                                       "e",
                                          7},
        {"strasse", 7}, {"str", 3}, {"gasse", 5}, {"platz", 5}, {"weg", 3}, {"allee", 5}, {"ufer", 4},
        {"damm", 4}, {"ring", 4}, {"gata", 4}, {"gatan", 5}, {"v\xC3\xA4gen", 6}, {"vegen", 5}, {"veien", 5},
        {"vej", 3}, {"gade", 4}, {"katu", 4}, {"tie", 3}, {"kuja", 4}, {"polku", 5}, {"straat", 6},
        {"laan", 4}, {"plein", 5}, {"gracht", 6}, {"kade", 4}, {"singel", 6}, {"dreef", 5}, {"hof", 3},
        {"utca", 4}, {"steeg", 5}, {"hove", 4}, {"all\xC3\xA9", 4}, {"g\xC3\xA5rd", 5}, {"berg", 4}};
    struct str word = str_slice(text, w->start, w->end);
    if (word.len < 6 || !(w->flags & WORD_CAPITAL))
        return false;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (word.len > ends[i].len + 1 && str_ends(word, ends[i]))
            return true;
    return false;
}

static bool house_number(const struct detect_word *w)
{
    return w->flags & WORD_DIGIT && detect_word_length(w) <= 6 &&
           (w->flags & WORD_DIGITS || detect_word_length(w) <= 5);
}

/* Behind a number: "Copperfield Court", "impasse des Tilleuls"; the word behind the street, 0 if there is
 * none. */
static size_t street_after(const struct detect_context *c, size_t number)
{
    size_t i = number + 1, capitals = 0;
    if (i >= c->n_words || c->words[number].flags & WORD_STOP)
        return 0;
    bool road = detect_word_is(&c->words[i], CUE(road));
    for (; i < c->n_words && i - number <= STREET_WORDS; i++) {
        const struct detect_word *w = &c->words[i];
        bool joins = detect_word_is(w, CUE(particle) | CUE(road));
        if (w->flags & WORD_DIGIT)
            return 0;
        if (street_word(c->scan->text, w) || (capitals > 0 && detect_word_is(w, CUE(street))))
            return i + 1;
        if (!(w->flags & WORD_CAPITAL) && !joins)
            return road && capitals > 0 ? i : 0;
        capitals += (w->flags & WORD_CAPITAL) != 0;
        if (w->flags & (WORD_COMMA | WORD_STOP | WORD_LINE | WORD_COLON))
            return road && capitals > 0 ? i + 1 : 0;
    }
    return road && capitals > 0 && i == c->n_words ? i : 0;
}

/* Before a number: "via del Melograno 6", "Gärtnerplatz 3"; where the street begins, SIZE_MAX if there is
 * none. */
static size_t street_before(const struct detect_context *c, size_t number)
{
    for (size_t i = number; i-- > 0 && number - i <= STREET_WORDS;) {
        const struct detect_word *w = &c->words[i];
        if (w->flags & (WORD_STOP | WORD_LINE | WORD_COLON) || (w->flags & WORD_COMMA && i + 1 < number) ||
            w->flags & WORD_DIGIT)
            return SIZE_MAX;
        bool last = i + 1 == number;
        if (last && street_word(c->scan->text, w))
            return i;
        if (last && detect_word_is(w, CUE(street)) && i > 0 && (w - 1)->flags & WORD_CAPITAL)
            return i - 1;
        if (!last && detect_word_is(w, CUE(road)) && (detect_word_length(w) > 1))
            return i;
        if (!(w->flags & WORD_CAPITAL) && !detect_word_is(w, CUE(particle)))
            return SIZE_MAX;
    }
    return SIZE_MAX;
}

/* Does something stand before the word i that no address goes on behind? */
static bool closed_before(const struct detect_context *c, size_t i)
{
    const char *text = c->scan->text.data;
    for (size_t k = c->words[i - 1].end; k < c->words[i].start; k++)
        if (detect_is_one_of(text[k], ");\"<{}[]=|"))
            return true;
    return false;
}

/* Takes what belongs to an address behind the street; *postal: with a postal code. */
static size_t tail_end(const struct detect_context *c, size_t i, bool *postal)
{
    size_t end = i, from = i;
    for (; i < c->n_words && i - from < TAIL_WORDS; i++) {
        const struct detect_word *w = &c->words[i], *before = w - 1;
        bool unit = detect_word_is(w, CUE(unit)), number = w->flags & WORD_DIGIT;
        if ((before->flags & (WORD_COLON | WORD_STOP) && !number && !unit) || closed_before(c, i))
            break;
        if (number) {
            if (detect_word_length(w) > 8)
                break;
            *postal = *postal || (detect_word_length(w) >= 4 && w->flags & WORD_DIGITS) ||
                      (detect_word_length(w) == 3 && w->flags & WORD_UPPER);
            end = i + 1;
        } else if (unit && i + 1 < c->n_words && c->words[i + 1].flags & WORD_DIGIT) {
            continue;
        } else if (w->flags & WORD_CAPITAL &&
                   !detect_word_is(w, CUE(self) | CUE(mine) | CUE(idword) | CUE(title))) {
            if (*postal && before->flags & (WORD_COMMA | WORD_LINE) && i > end)
                break;
            end = i + 1;
        } else if (!detect_word_is(w, CUE(particle))) {
            break;
        }
    }
    return end;
}

/* "462 Stubengraben 80": a street of unknown kind between two numbers; the word behind it, 0 if there is
 * none. */
static size_t street_between(const struct detect_context *c, size_t number)
{
    size_t i = number + 1, letters = 0;
    for (; i < c->n_words && i - number <= STREET_WORDS; i++) {
        const struct detect_word *w = &c->words[i], *before = w - 1;
        if (w->start - before->end > 2 || before->flags & (WORD_STOP | WORD_COMMA | WORD_COLON | WORD_LINE))
            return 0;
        if (w->flags & WORD_DIGIT)
            return letters >= 5 && house_number(w) ? i + 1 : 0;
        if (w->flags & WORD_UPPER || (!(w->flags & WORD_CAPITAL) && !detect_word_is(w, CUE(particle))))
            return 0;
        letters += detect_word_length(w);
    }
    return 0;
}

/* One of some short words of ASCII letters, which are lower case. */
static bool word_among(const struct detect_context *c, size_t i, const char *const *words)
{
    struct str word =
        i < c->n_words ? str_slice(c->scan->text, c->words[i].start, c->words[i].end) : STR_NONE;
    for (; word.len > 0 && *words; words++)
        if ((word.data[0] | 0x20) == **words && str_is_nocase(word, *words))
            return true;
    return false;
}

/* American forces abroad: "PSC 0725, Box 6031 APO AP 99241". `at` is the postal code. */
static size_t forces_begin(const struct detect_context *c, size_t at)
{
    static const char *const states[] = {"aa", "ae", "ap", NULL},
                             *const offices[] = {"apo", "fpo", "dpo", NULL},
                             *const boxes[] = {"psc", "unit", "uss", "usns", "cmr", NULL};
    if (at < 2 || detect_word_length(&c->words[at]) != 5 || !(c->words[at].flags & WORD_DIGITS) ||
        !word_among(c, at - 1, states) || !word_among(c, at - 2, offices))
        return SIZE_MAX;
    for (size_t i = at - 2; i-- > 0 && at - i < 9;)
        if (word_among(c, i, boxes))
            return i;
    return at - 2;
}

/* A unit alone: "Apt. 391", apart from its street by lines. */
static void unit_look(struct detect_context *c, size_t number)
{
    static const char *const units[] = {"apt", "suite", "apartment", NULL};
    if (number > 0 && number - 1 < c->owned && word_among(c, number - 1, units))
        detect_add(c->scan, &address, c->words[number - 1].start, c->words[number].end, 0.3);
}

/* The digits of a number that may be a sum's: of five at least, as no house's. */
static size_t large_at(const struct detect_context *c, size_t word, size_t to)
{
    enum { LARGE = 5 };
    const bool number = word < to && c->words[word].flags & WORD_DIGITS;
    const size_t length = number ? detect_word_length(&c->words[word]) : 0;
    return length >= LARGE ? length : 0;
}

/* "30000 Second 40000 Third 22500 Fourth", "30 Total $140": sums beside what they are for, each in a word,
 * and no street; an address has more of them before its postal code. */
static bool is_ledger(const struct detect_context *c, size_t from, size_t to)
{
    enum { LARGEST = 6 };
    for (size_t i = from; i < to; i++)
        if (street_word(c->scan->text, &c->words[i]) || detect_word_is(&c->words[i], CUE(street) | CUE(road)))
            return false;
    for (size_t i = from; i + 2 < to; i++) {
        const size_t first = large_at(c, i, to), second = large_at(c, i + 2, to);
        if (first && second && !(c->words[i + 1].flags & WORD_DIGIT) &&
            (large_at(c, i + 4, to) || (first >= LARGEST && second >= LARGEST)))
            return true;
    }
    return str_find_char(str_slice(c->scan->text, c->words[from].start, c->words[to - 1].end), '$') !=
           SIZE_MAX;
}

/* What the rules find, in order. */
static void known_places(struct detect_context *c)
{
    for (size_t i = 0; i < c->n_words; i++) {
        if (!house_number(&c->words[i]))
            continue;
        size_t from = street_before(c, i), to = i + 1;
        if (from == SIZE_MAX && (from = forces_begin(c, i)) == SIZE_MAX) {
            from = i;
            to = street_after(c, i);
            if (to == 0 && (to = street_between(c, i)) == 0) {
                unit_look(c, i);
                continue;
            }
        } else if (from > 0 && c->words[from - 1].flags & WORD_DIGITS &&
                   !((c->words[from - 1]).flags & (WORD_STOP | WORD_COMMA))) {
            from--;
        }
        bool postal = false;
        size_t end = tail_end(c, to, &postal);
        bool lives = detect_atom_in(c, CUE(live), from > 6 ? from - 6 : 0, from);
        bool nobody = (is_ledger(c, from, end) && !lives) || detect_atom_in(c, CUE(landmark), from, to);
        double score = nobody ? 0.2 : postal || lives ? 0.7 : 0.4;
        c->seen |= nobody ? 0 : CUE(housed);
        if (from < c->owned)
            detect_add(c->scan, &address, c->words[from].start, c->words[end - 1].end, score);
        i = end - 1;
    }
}

/* ---- What the tagger sees. ---- */

/* Words of an address that stand together, and how it is written. */
struct place {
    size_t from, to;
    bool street, unit, code, house, lines; /* lines: a letter's head, or a quoted one */
};

static bool is_part(const struct detect_context *c, size_t i)
{
    return c->tags[i] >= TAG_STREET;
}

static bool begins_block(const struct detect_context *c, size_t i)
{
    size_t at = c->words[i].start, lines = 0, quotes = 0;
    const char *text = c->scan->text.data;
    for (; at > 0 && detect_is_one_of(text[at - 1], " \t\r\n>"); at--) {
        lines += text[at - 1] == '\n';
        quotes += text[at - 1] == '>';
    }
    return lines > 1 || quotes > 0;
}

/* The parts from the word i on; a street of its own ends it. */
static struct place place_at(const struct detect_context *c, size_t i)
{
    struct place p = {.from = i, .to = i};
    p.lines = begins_block(c, i);
    for (; p.to < c->n_words && is_part(c, p.to); p.to++) {
        enum detect_tag tag = c->tags[p.to];
        bool new_line = p.to > i && c->words[p.to].sentence != c->words[p.to - 1].sentence;
        bool again = p.code && tag == TAG_CODE && c->tags[p.to - 1] != TAG_CODE;
        if ((p.street && tag == TAG_STREET) || again || (new_line && !p.lines) ||
            (p.to > i && closed_before(c, p.to)))
            break;
        p.street = p.street ||
                   ((tag == TAG_STREET || tag == TAG_STREET_ON) && !(c->words[p.to].flags & WORD_DIGITS));
        p.unit = p.unit || tag == TAG_UNIT;
        p.code = p.code || tag == TAG_CODE;
        p.house = p.house || (tag == TAG_STREET && p.to > i && c->tags[p.to - 1] == TAG_STREET);
    }
    return p;
}

/* An address is one finding. But of a number before a street that has its own ("450 Ringvej 15") nobody can
 * tell what it is: there each part is one for itself, but for towns, unless the rest shows that it is an
 * address in a sentence. */
static void place_add(struct detect_context *c, const struct place *p, double score)
{
    bool apart = p->house && (p->lines || c->tags[p->from] == TAG_UNIT || (!p->unit && !p->code));
    for (size_t i = p->from, to; i < p->to; i = to) {
        to = i + 1;
        while (to < p->to && (!apart || (c->tags[to] == c->tags[i] && c->tags[to] != TAG_STREET) ||
                                 (c->tags[to] == TAG_STREET_ON && c->tags[i] == TAG_STREET)))
            to++;
        if (!apart || c->tags[i] != TAG_TOWN)
            detect_add(c->scan, &address, c->words[i].start, c->words[to - 1].end, score);
    }
}

/* The strongest of the rules' findings, from *at on, that share a character with the place; they are given
 * up. */
static double score_take(struct detect_context *c, const struct place *p, size_t *at)
{
    struct detect_scan *s = c->scan;
    size_t start = c->words[p->from].start, end = c->words[p->to - 1].end;
    double score = 0;
    while (*at < s->n_hits && s->hits[*at].end <= start)
        ++*at;
    for (size_t i = *at; i < s->n_hits && s->hits[i].start < end; i++) {
        score = s->hits[i].score > score ? s->hits[i].score : score;
        s->hits[i].type = NULL;
    }
    return score;
}

/* Does more than the tagger say that it is one: a word for streets, a cue before it, a postal code
 * with a town? */
static bool place_sure(const struct detect_context *c, const struct place *p)
{
    bool town = false;
    for (size_t i = p->from; i < p->to; i++) {
        const struct detect_word *w = &c->words[i];
        town = town || c->tags[i] == TAG_TOWN;
        if (street_word(c->scan->text, w) || detect_word_is(w, CUE(street) | CUE(road)))
            return true;
    }
    return (p->code && town) || detect_atom_in(c, CUE(live), p->from > 6 ? p->from - 6 : 0, p->from);
}

/* The tagger's places stand for those that the rules found there (from the hit `first` on), with their score.
 */
static void tagged_places(struct detect_context *c, size_t first)
{
    struct detect_scan *s = c->scan;
    struct place all[CONTEXT_WORDS];
    double score[CONTEXT_WORDS];
    size_t n = 0, kept = first, at = first;
    for (size_t i = 0; i < c->owned; i++) {
        if (!is_part(c, i))
            continue;
        struct place p = place_at(c, i);
        i = p.to - 1;
        if (!p.street)
            continue;
        double known = score_take(c, &p, &at);
        bool nobody =
            is_ledger(c, p.from, p.to) || (known < 0.4 && detect_atom_in(c, CUE(landmark), p.from, p.to));
        bool sure = known >= 0.4 || place_sure(c, &p);
        c->seen |= nobody || !sure ? 0 : CUE(housed);
        all[n] = p;
        score[n++] = nobody ? 0.2 : known > 0.4 ? known : sure ? 0.4 : 0.3;
    }
    for (size_t i = first; i < s->n_hits; i++)
        if (s->hits[i].type)
            s->hits[kept++] = s->hits[i];
    s->n_hits = kept;
    for (size_t i = 0; i < n; i++)
        place_add(c, &all[i], score[i]);
}

void detect_places(struct detect_context *c)
{
    size_t first = c->scan->n_hits;
    known_places(c);
    tagged_places(c, first);
}

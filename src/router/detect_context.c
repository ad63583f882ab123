#include "router/detect_context.h"
#include "router/detect_gist.h"
#include "router/detect_id.h"
#include "router/detect_label.h"
#include "router/detect_tag.h"

#include <stdlib.h>
#include <string.h>

#define TYPE(id, name, category, words) static const struct detect_type id = {name, category, words, 4}
/* A statement spans words with values among them, which it must not hide. */
enum { RANK_STATEMENT = 0 }; /* of all these types only theirs */
#define STATEMENT(id, name, category, words)                                                                 \
    static const struct detect_type id = {name, category, words, RANK_STATEMENT}
STATEMENT(health, "HEALTH_STATEMENT", ROUTER_PHI, "someone's health");
STATEMENT(record, "MEDICAL_RECORD", ROUTER_PHI, "a medical record");
STATEMENT(finance, "FINANCIAL_STATEMENT", ROUTER_FINANCIAL, "someone's finances");
static const struct detect_type account = {"BANK_ACCOUNT", ROUTER_FINANCIAL, "a bank account", 1};
STATEMENT(legal, "LEGAL_MATTER", ROUTER_LEGAL, "a confidential legal matter");
STATEMENT(marked, "CONFIDENTIAL_MARK", ROUTER_PROPRIETARY, "material marked or plainly internal");
STATEMENT(intimate, "INTIMATE_STATEMENT", ROUTER_PERSONAL, "someone's private life");
STATEMENT(told, "SECRET_STATEMENT", ROUTER_SECRET, "a code or password told in words");
TYPE(access_code, "ACCESS_CODE", ROUTER_SECRET, "a code or password");
TYPE(birth, "DATE_OF_BIRTH", ROUTER_PII, "a date of birth");
static const struct detect_type id_number = {"ID_NUMBER", ROUTER_PII, "a number of a person", 1};
STATEMENT(belief, "BELIEF", ROUTER_PII, "someone's religion, union, party or orientation");
const struct detect_family detect_context_family = {
    "context", DETECT_TYPES(&health, &record, &finance, &account, &legal, &marked, &intimate, &told,
                   &access_code, &birth, &id_number, &belief)};

bool detect_is_statement(const struct detect_type *type)
{
    for (size_t i = 0; i < detect_context_family.n; i++)
        if (detect_context_family.types[i] == type)
            return type->rank == RANK_STATEMENT;
    return false;
}

/* ---- Rules over two cues of one sentence: the first, then within some words the second; none of `not`
 * between. ---- */
struct rule {
    uint64_t first, second, not ;
    size_t within;
    bool either;   /* in any order */
    bool number;   /* a number stands within them too */
    unsigned ends; /* what behind the first ends it; "98/min, blood pressure": "min" is a Swede's "my" */
    const struct detect_type *type;
    uint64_t whose; /* where none of them stands somewhat before, "her asthma" may be of a tale */
};
#define ILL (CUE(ill) | CUE(health))
#define OURS (CUE(kin) | CUE(mine) | CUE(self) | CUE(role) | CUE(named) | CUE(surname))
#define RULE_CUES                                                                                            \
    (CUE(have) | CUE(mine) | CUE(theirs) | CUE(self) | CUE(kin) | CUE(secretive) | CUE(ill) | CUE(love) |    \
        CUE(plan))
static const struct rule rules[] = {
    {CUE(have), ILL, CUE(topic), 6, false, false, 0, &health, 0},
    {CUE(mine), ILL, CUE(topic), 3, false, false, WORD_COMMA, &health, 0},
    {CUE(theirs), CUE(ill), CUE(topic), 3, false, false, 0, &health, OURS | CUE(given) | CUE(both)},
    {CUE(self), CUE(ill), CUE(topic), 8, true, false, 0, &health, 0},
    {CUE(self), CUE(love), CUE(topic), 6, true, false, 0, &intimate, 0},
    {CUE(kin), ILL, CUE(topic), 14, false, false, 0, &health, 0},
    {CUE(mine), CUE(money), CUE(topic), 3, false, true, WORD_COMMA, &finance, 0},
    {CUE(theirs), CUE(money), CUE(topic), 3, false, true, 0, &finance, OURS},
    {CUE(kin), CUE(money), CUE(topic), 12, false, true, 0, &finance, 0},
    {CUE(kin), CUE(love), CUE(topic), 14, true, false, 0, &intimate, 0},
    {CUE(have), CUE(love), CUE(topic), 5, false, false, 0, &intimate, 0},
    {CUE(kin), CUE(court), CUE(topic), 12, false, false, 0, &legal, 0},
    {CUE(have), CUE(court), CUE(topic), 5, false, false, 0, &legal, 0},
    {CUE(secretive), CUE(plan), 0, 24, true, false, 0, &marked, 0},
};

/* The first atom that begins at or behind a word: they are in order of where they begin. */
static size_t atom_first(const struct detect_context *c, size_t from)
{
    size_t low = 0, high = c->n_atoms;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c->atoms[middle].from < from)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool detect_atom_in(const struct detect_context *c, uint64_t kinds, size_t from, size_t to)
{
    for (size_t i = atom_first(c, from); i < c->n_atoms && c->atoms[i].from < to; i++)
        if (c->atoms[i].kinds & kinds)
            return true;
    return false;
}

size_t detect_atoms_cover(const struct detect_context *c, uint64_t kinds, size_t from, size_t to)
{
    size_t covered = 0, at = from;
    for (size_t i = atom_first(c, from > PHRASE_MOST ? from - PHRASE_MOST : 0);
         i < c->n_atoms && c->atoms[i].from < to; i++) {
        const struct detect_atom *a = &c->atoms[i];
        size_t begin = a->from > at ? a->from : at, end = a->to < to ? a->to : to;
        if (!(a->kinds & kinds) || end <= begin)
            continue;
        covered += end - begin;
        at = end;
    }
    return covered;
}

static void words_add(
    struct detect_context *c, const struct detect_type *type, size_t from, size_t to, double score)
{
    if (from < c->owned)
        detect_add(c->scan, type, c->words[from].start, c->words[to - 1].end, score);
}

static bool atoms_grow(struct detect_context *c)
{
    size_t room = c->room_atoms ? c->room_atoms * 2 : 64;
    struct detect_atom *grown = room <= CONTEXT_ATOMS ? realloc(c->atoms, room * sizeof *grown) : NULL;
    if (!grown) {
        c->scan->rc =
            room <= CONTEXT_ATOMS
                ? error_set(c->scan->err, ERROR_MEMORY, "no memory for the detector's context")
                : error_set(c->scan->err, ERROR_LIMIT, "the text has too many cues for the detector");
        return false;
    }
    c->atoms = grown;
    c->room_atoms = room;
    return true;
}

static void figure_count(struct detect_context *c, size_t at)
{
    enum { NEAR = 3, ENOUGH = 4 };
    c->figures = c->figures > 0 && at <= c->last_figure + NEAR ? c->figures + 1 : 1;
    c->last_figure = at;
    c->scan->told |= c->figures >= ENOUGH;
}

static void atom_add(void *ctx, size_t from, size_t to, uint64_t kinds)
{
    struct detect_context *c = ctx;
    c->words[from].begins |= kinds;
    if (to - from == 1)
        c->words[from].kinds |= kinds;
    if (kinds & (CUE(intro) | CUE(title)) && to < c->n_words)
        c->words[to].kinds |= kinds & CUE(intro) ? CUE(named) : 0;
    if (kinds & (CUE(figure) | CUE(tens)))
        figure_count(c, from);
    if (kinds & CUE(live) && to < c->n_words)
        c->words[to].kinds |= CUE(housed);
    kinds &= ~(CUE(given) | CUE(surname) | CUE(both) | CUE(word) | CUE(particle) | CUE(title) | CUE(intro) |
               CUE(figure) | CUE(tens) | CUE(turn) | CUE(either) | CUE(thing));
    if (kinds == 0)
        return;
    if (c->scan->rc == 0 && (c->n_atoms < c->room_atoms || atoms_grow(c)))
        c->atoms[c->n_atoms++] = (struct detect_atom){kinds, from, to};
}

/* ---- Statements. ---- */
static bool same_sentence(const struct detect_context *c, size_t a, size_t b)
{
    return c->words[a].sentence == c->words[b].sentence;
}

static bool between(const struct detect_context *c, const struct rule *r, size_t from, size_t to)
{
    bool number = !r->number;
    for (size_t i = from; i < to; i++)
        if (detect_word_is(&c->words[i], r->not ))
            return false;
    for (size_t i = from; i < c->n_words && i < to + 6 && same_sentence(c, from, i); i++)
        number = number || c->words[i].flags & WORD_DIGIT;
    return number;
}

static void rules_apply(struct detect_context *c, size_t at)
{
    const struct detect_atom *a = &c->atoms[at];
    const uint64_t kinds = a->kinds | (detect_bare_kin(c, a) ? CUE(kin) : 0);
    if (!(kinds & RULE_CUES))
        return;
    for (size_t r = 0; r < sizeof rules / sizeof *rules; r++) {
        const struct rule *rule = &rules[r];
        bool forward = kinds & rule->first, backward = rule->either && kinds & rule->second;
        if ((!forward && !backward) || c->words[a->to - 1].flags & rule->ends)
            continue;
        for (size_t i = at + 1; i < c->n_atoms && c->atoms[i].from < a->to + rule->within; i++) {
            const struct detect_atom *b = &c->atoms[i];
            bool fits = (forward && b->kinds & rule->second) || (backward && b->kinds & rule->first);
            if (!fits || b->from < a->to || !same_sentence(c, a->from, b->from) ||
                !between(c, rule, a->to, b->from))
                continue;
            if (rule->whose == 0 || !detect_of_a_tale(c, a->from, rule->whose, rule->number))
                words_add(c, rule->type, a->from, b->to, 0.6);
            break;
        }
    }
}

/* Does what a phrase is in begin with it? A sentence, a line, a part behind a colon, comma, bracket or dash.
 */
static bool begins_part(const struct detect_context *c, const struct detect_atom *a)
{
    const size_t at = c->words[a->from].start;
    return a->from == 0 || c->words[a->from - 1].flags & (WORD_STOP | WORD_LINE | WORD_COLON | WORD_COMMA) ||
           detect_word_is(&c->words[a->from - 1], CUE(copula)) ||
           !detect_is_one_of(detect_byte(c->scan, at - 1), " -") ||
           detect_is_one_of(detect_byte(c->scan, at - 2), "-|/*_([>");
}

/* A mark is one where it stands for itself: "Streng vertraulich.", "INTERNAL ONLY", "privileged: ..." */
static bool stands_alone(const struct detect_context *c, const struct detect_atom *a)
{
    struct str text = c->scan->text;
    size_t end = c->words[a->to - 1].end;
    struct str after = str_slice(text, end, end + 5);
    bool several = a->to - a->from > 1, upper = true;
    for (size_t i = a->from; i < a->to; i++)
        upper = upper && c->words[i].flags & WORD_UPPER;
    if (!several && !upper && !begins_part(c, a)) /* "both external and internal)"; but "page 3 SECRET." */
        return false;
    if (after.len == 0 ? several : strchr(".:\n])*!", after.data[0]) != NULL)
        return true;
    static const struct str dashes[] = {{" :", 2}, {" - ", 3}, {" \xE2\x80\x93", 4}, {" \xE2\x80\x94", 4},
        {" / ", 3}, {" | ", 3}, {"\xE2\x80\x94", 3}, {" (", 2}};
    for (size_t i = 0; i < sizeof dashes / sizeof *dashes; i++)
        if (str_starts(after, dashes[i]))
            return true;
    return upper && several;
}

/* ---- Values behind a cue. ---- */

/* A value behind a cue: words with digits, joined by spaces, dots or dashes. Its last word + 1 and how many
 * letters and digits; 0 if none stands within `most` words. */
static size_t value_find(
    const struct detect_context *c, size_t at, size_t most, size_t *from, size_t *length, bool *fake)
{
    size_t end;
    for (*from = at; *from < c->n_words && *from - at < most; ++*from) {
        if (*from > 0 && c->words[*from - 1].flags & WORD_STOP)
            return 0;
        if (c->words[*from].flags & WORD_DIGIT)
            break;
    }
    if (*from >= c->n_words || *from - at >= most)
        return 0;
    *length = 0;
    while (*from > at && c->words[*from - 1].flags & WORD_JOINED)
        --*from;
    if (*from > at && c->words[*from - 1].flags & WORD_UPPER &&
        detect_word_length(&c->words[*from - 1]) <= 3 && c->words[*from - 1].end + 1 >= c->words[*from].start)
        --*from;
    for (end = *from; end < c->n_words; end++) {
        const struct detect_word *w = &c->words[end];
        bool part = w->flags & WORD_DIGIT || (detect_word_length(w) <= 3 && w->flags & WORD_CAPITAL) ||
                    end == *from || (w - 1)->flags & WORD_JOINED;
        if (!part || (end > *from && w->start - (w - 1)->end > 1))
            break;
        if (end > *from && strchr(",;\n=|", c->scan->text.data[w->start - 1]))
            break;
        *length += detect_word_length(w);
    }
    *fake = detect_known_value(str_slice(c->scan->text, c->words[*from].start, c->words[end - 1].end));
    return end;
}

/* How many digits: in groups of four, or on end. American Express: 4 6 5, or on end. */
enum { CARD_DIGITS = 16, AMEX_DIGITS = 15 };

static bool card_group(const struct detect_word *w)
{
    size_t length = detect_word_length(w);
    return w->flags & WORD_DIGITS && (length == 4 || length == CARD_DIGITS);
}

/* Can it be the group behind the first n digits of a number of `whole`? */
static bool group_fits(const struct detect_word *w, size_t n, size_t whole)
{
    size_t length = detect_word_length(w), group = whole == CARD_DIGITS || n == 0 ? 4 : n == 4 ? 6 : 5;
    return w->flags & WORD_DIGITS && (length == group || (n == 0 && length == whole));
}

/* One sign stands between, or spaces and dashes of other alphabets; not a list's ", ". */
static bool goes_on(const struct detect_context *c, const struct detect_word *w)
{
    const char *text = c->scan->text.data;
    size_t from = (w - 1)->end, gap = w->start - from;
    for (size_t i = from; i < w->start && gap > 1; i++)
        if (text[i] != ' ' && text[i] != '-' && !(text[i] & '\x80'))
            return false;
    return gap <= 3;
}

/* How many digits a number has that begins so, as issuers' do and no years: 34 and 37 have 15; 4, 5, 6, 35
 * and 22 to 27 have 16. 0: it is none. */
static size_t card_begins(const char *digits)
{
    if (digits[0] == '3' && (digits[1] == '4' || digits[1] == '7'))
        return AMEX_DIGITS;
    bool is = (digits[0] >= '4' && digits[0] <= '6') || (digits[0] == '3' && digits[1] == '5') ||
              (digits[0] == '2' && digits[1] >= '2' && digits[1] <= '7');
    return is ? CARD_DIGITS : 0;
}

/* "my card is 4539 8812 0047 3316 exp 09/28": mistyped or read off badly, for a right one is found by itself.
 * Groups behind belong to it, for one in front may not. */
static void card_look(struct detect_context *c, const struct detect_atom *a)
{
    enum { WITHIN = 13 };
    char digits[CARD_DIGITS];
    size_t n = 0, whole = 0, from = a->to, at = a->to;
    for (; at < c->n_words && at < a->to + WITHIN; at++) {
        const struct detect_word *w = &c->words[at];
        const char *text = c->scan->text.data + w->start;
        size_t length = detect_word_length(w);
        if (n > 0 && (!group_fits(w, n, whole) || !goes_on(c, w)))
            n = 0;
        if (n == 0) {
            from = at;
            whole = w->flags & WORD_DIGITS && length >= 4 ? card_begins(text) : 0;
            if (whole == 0 || !group_fits(w, 0, whole))
                continue;
        }
        memcpy(digits + n, text, length);
        if ((n += length) < whole)
            continue;
        if (!detect_check_luhn(digits, n) && !detect_made_up((struct str){digits, n}))
            break;
        n = 0; /* an example, maybe; the next is another */
    }
    if (n == 0 || n < whole)
        return;
    for (at++; at < c->n_words && card_group(&c->words[at]) && goes_on(c, &c->words[at]);)
        at++;
    words_add(c, &account, from, at, 0.6);
}

/* With what stands behind it, for a word ends at a sign: "ZubrzyceRano!23x". */
static void humped_add(struct detect_context *c, size_t word)
{
    enum { MOST = 64 };
    struct str text = c->scan->text;
    size_t start = c->words[word].start, end = c->words[word].end;
    while (end < text.len && end - start < MOST && text.data[end] > ' ' && text.data[end] <= '~' &&
           !memchr("\"'`", text.data[end], 3))
        end++;
    if (word < c->owned)
        detect_add(c->scan, &access_code, start, end, 0.6);
}

/* "DB_PASS=xkkph-51Y9MZ", "pass Gl4dstone-Heron": letters and digits behind the word itself. */
static bool pass_look(struct detect_context *c, const struct detect_atom *a)
{
    enum { LEAST = 6, LEAST_UNSAID = 8 }; /* with a sign between, without */
    size_t from, length, end = value_find(c, a->to, 3, &from, &length, &(bool){false});
    bool said = c->words[a->to - 1].flags & WORD_COLON, letter = false, digit = false;
    for (size_t i = end ? c->words[from].start : 1; end && i < c->words[end - 1].end; i++) {
        letter = letter || detect_is_alpha(c->scan->text.data[i]);
        digit = digit || detect_is_digit(c->scan->text.data[i]);
    }
    if (said && a->to < c->n_words && detect_word_length(&c->words[a->to]) >= LEAST_UNSAID &&
        detect_humped(c, &c->words[a->to])) {
        humped_add(c, a->to);
        return true;
    }
    if (from != a->to || !letter || !digit || length < (said ? LEAST : LEAST_UNSAID))
        return false;
    words_add(c, &access_code, from, end, 0.6);
    return true;
}

/* "The password for the router is Trout-88": what the verb says, if it has a digit. */
static void password_look(struct detect_context *c, const struct detect_atom *a)
{
    if (a->to < c->n_words && !(c->words[a->to - 1].flags & WORD_STOP) && pass_look(c, a))
        return;
    if (!(a->kinds & CUE(password)))
        return;
    bool made_up = false;
    size_t at_once, digits, behind = value_find(c, a->to, 1, &at_once, &digits, &made_up);
    if (behind > 0 && digits >= 4 && !made_up && a->kinds & (CUE(opens) | CUE(spoken)) && detect_owned(c, a))
        words_add(c, &access_code, at_once, behind, 0.6);
    for (size_t i = a->to; i < c->n_words && i < a->to + 9 && same_sentence(c, a->from, i); i++) {
        size_t from, length, end;
        bool fake, says = detect_word_is(&c->words[i], CUE(copula)) ||
                          (i == a->to && c->words[i - 1].flags & WORD_COLON);
        size_t at = detect_word_is(&c->words[i], CUE(copula)) ? i + 1 : i;
        if (!says || (end = value_find(c, at, 3, &from, &length, &fake)) == 0 || length < 4)
            continue;
        words_add(c, &access_code, from, end, fake ? 0.2 : 0.6);
        return;
    }
}

/* A number of a person, up to four words behind what it is called; one of many digits, up to eight. */
static size_t id_find(const struct detect_context *c, size_t at, size_t *from, size_t *length, bool *fake)
{
    enum { NEAR = 4, FAR = 8, LEAST = 5, MANY = 8 };
    const size_t end = value_find(c, at, FAR, from, length, fake);
    return end > 0 && *length >= (*from < at + NEAR ? LEAST : MANY) ? end : 0;
}

static void values_look(struct detect_context *c, const struct detect_atom *a)
{
    struct detect_atom in_words;
    struct str value;
    size_t from, length, end;
    bool fake;
    if (a->kinds & CUE(idword) && (end = id_find(c, a->to, &from, &length, &fake)) > 0) {
        words_add(c, &id_number, from, end, fake ? 0.2 : 0.6);
        c->seen |= fake ? 0 : CUE(idword);
    }
    if (a->kinds & CUE(account) && (end = value_find(c, a->to, 4, &from, &length, &fake)) > 0 && length >= 7)
        words_add(c, &account, from, end, fake ? 0.2 : 0.6);
    if (a->kinds & CUE(card))
        card_look(c, a);
    if (a->kinds & CUE(access) && (end = value_find(c, a->to, 10, &from, &length, &fake)) > 0 && length >= 4)
        words_add(c, &access_code, from, end, fake ? 0.2 : 0.6);
    if (a->kinds & (CUE(password) | CUE(pass)))
        password_look(c, a);
    if (a->from < c->owned && ((a->kinds & CUE(rated) && detect_rated(c, a, &value)) ||
                                  (a->kinds & CUE(password) && detect_named_behind(c, a, &value))))
        detect_add(c->scan, &access_code, (size_t)(value.data - c->scan->text.data),
            (size_t)(value.data - c->scan->text.data) + value.len, 0.6);
    if (detect_told(c, a, &in_words))
        words_add(c, &told, in_words.from, in_words.to, in_words.kinds & CUE(counted) ? 0.2 : 0.6);
    if (!(a->kinds & CUE(dob)))
        return;
    struct detect_atom date;
    if (!detect_birth_date(c, a, &date))
        return;
    bool known = detect_birth_told(c, a, &date) || detect_known_date(str_slice(c->scan->text,
                                                       c->words[date.from].start, c->words[date.to - 1].end));
    words_add(c, &birth, date.from, date.to, known ? 0.2 : 0.6);
    c->seen |= known ? 0 : CUE(dob);
}

/* What an atom must be to say anything itself: others only stand beside one. */
#define STATEMENT_CUES                                                                                       \
    (RULE_CUES | ILL | CUE(fin) | CUE(legal) | CUE(mark) | CUE(personal) | CUE(label) | CUE(privilege) |     \
        CUE(idword) | CUE(account) | CUE(card) | CUE(access) | CUE(password) | CUE(pass) | CUE(dob) |        \
        CUE(role) | CUE(clinic) | CUE(stamp) | CUE(belief) | CUE(opens) | CUE(earns) | CUE(shuts) |          \
        CUE(spoken) | CUE(seed) | CUE(body) | CUE(rated) | CUE(bare))

static void statements_look(struct detect_context *c)
{
    static const struct {
        uint64_t cue;
        const struct detect_type *type;
    } direct[] = {{CUE(body), &health}, {CUE(fin), &finance}, {CUE(legal), &legal}, {CUE(mark), &marked},
        {CUE(personal), &intimate}};
    struct detect_atom found;
    for (size_t i = 0; i < c->n_atoms; i++) {
        const struct detect_atom *a = &c->atoms[i];
        if (!(a->kinds & STATEMENT_CUES))
            continue;
        for (size_t d = 0; d < sizeof direct / sizeof *direct; d++)
            if (a->kinds & direct[d].cue)
                words_add(c, direct[d].type, a->from, a->to, 0.6);
        if (a->kinds & CUE(earns) && (detect_earner(c, a, &found) || detect_sum(c, a, &found)))
            words_add(c, &finance, found.from, found.to, 0.6);
        if ((a->kinds & CUE(kin) || detect_bare_kin(c, a)) && detect_dose(c, a, &found))
            words_add(c, &health, found.from, found.to, 0.6);
        if (a->kinds & (CUE(label) | CUE(privilege)) && stands_alone(c, a))
            words_add(c, a->kinds & CUE(label) ? &marked : &legal, a->from, a->to, 0.6);
        if (a->kinds & CUE(stamp) &&
            detect_label_stamped(c->scan->text, c->words[a->from].start, c->words[a->to - 1].end))
            words_add(c, &marked, a->from, a->to, 0.6);
        rules_apply(c, i);
        values_look(c, a);
        c->seen |= a->kinds & (CUE(role) | CUE(clinic) | CUE(ill));
        if (a->kinds & ILL && a->from < c->owned) {
            if (c->n_health++ == 0)
                c->first_health = (struct detect_atom){0, c->words[a->from].start, c->words[a->to - 1].end};
        }
        c->n_beliefs += a->kinds & CUE(belief) && a->from < c->owned;
    }
}

/* ---- What the network says (detect_gist.h). ---- */
static void gist_found(void *ctx, enum router_category category, size_t from, size_t to)
{
    static const struct {
        enum router_category category;
        const struct detect_type *type;
    } types[] = {{ROUTER_PHI, &health}, {ROUTER_FINANCIAL, &finance}, {ROUTER_LEGAL, &legal},
        {ROUTER_PROPRIETARY, &marked}, {ROUTER_PERSONAL, &intimate}, {ROUTER_SECRET, &told}};
    struct detect_context *c = ctx;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].category == category)
            words_add(c, types[i].type, from, to, 0.6);
    c->private = c->private || category == ROUTER_PII;
}

/* Atoms; what kinds of characters the words have. */
static unsigned piece_mark(struct detect_context *c)
{
    unsigned flags = 0;
    c->n_atoms = c->figures = 0;
    for (size_t i = 0; i < c->n_words; i++) {
        flags |= c->words[i].flags;
        if (c->words[i].flags & (WORD_KNOWN | WORD_STEM_KNOWN))
            detect_phrases_at(c->words, c->n_words, i, atom_add, c);
    }
    for (size_t i = 0; i < c->n_atoms; i++)
        if (c->atoms[i].kinds & CUE(self) && detect_numeral(c, c->atoms[i].from))
            c->atoms[i].kinds &= ~CUE(self);
    return flags;
}

size_t detect_context_words(struct str text, struct detect_word *words, size_t room)
{
    struct error err;
    struct byte_map map;
    struct detect_scan s = {.err = &err};
    struct detect_context c = {.scan = &s, .words = words};
    size_t at = 0;
    unsigned sentence = 0;
    if (byte_map_make(&map, text, &err))
        return 0;
    c.n_words = detect_words_read(&map, &at, &sentence, words, room);
    piece_mark(&c);
    free(c.atoms);
    byte_map_free(&map);
    return c.n_words;
}

static void wallets_look(struct detect_context *c)
{
    struct detect_atom words;
    for (size_t at = 0; detect_wallet(c, &at, &words);)
        words_add(c, &told, words.from, words.to, 0.6);
}

static void piece_look(struct detect_context *c)
{
    unsigned flags = piece_mark(c);
    detect_gist_look(c->words, c->n_words, gist_found, c);
    detect_tag_look(c->scan->text, c->words, c->n_words, c->tags);
    detect_persons(c);
    if (flags & WORD_DIGIT)
        detect_places(c);
    statements_look(c);
    wallets_look(c);
}

/* What shows only in the whole: a person and a record; who lives where. */
static void whole_look(struct detect_context *c)
{
    struct detect_scan *s = c->scan;
    bool someone = c->seen & (CUE(named) | CUE(idword) | CUE(dob));
    if (someone && c->n_health > 0 &&
        ((c->seen & (CUE(role) | CUE(clinic)) && c->n_health > 1) || c->n_health > 2 ||
            (c->seen & CUE(ill) && c->seen & (CUE(idword) | CUE(dob)))))
        detect_add(s, &record, c->first_health.from, c->first_health.to, 0.6);
    detect_residents(c);
}

void detect_context_scan(struct detect_scan *s)
{
    struct detect_context c = {.scan = s};
    size_t at = 0, most = s->text.len / 2 + 1, room = most < CONTEXT_WORDS ? most + 1 : CONTEXT_WORDS;
    unsigned sentence = 0;
    c.words = malloc(room * (sizeof *c.words + sizeof *c.tags));
    if (!c.words) {
        s->rc = error_set(s->err, ERROR_MEMORY, "no memory for the detector's context");
        return;
    }
    c.tags = (uint8_t *)(c.words + room);
    for (bool more = true; more && s->rc == 0;) {
        c.n_words += detect_words_read(s->map, &at, &sentence, c.words + c.n_words, room - c.n_words);
        more = c.n_words == room;
        c.owned = more ? c.n_words - CONTEXT_OVERLAP : c.n_words;
        piece_look(&c);
        memmove(c.words, c.words + c.owned, (c.n_words - c.owned) * sizeof *c.words);
        c.n_words -= c.owned;
        for (size_t i = 0; i < c.n_words; i++)
            c.words[i].kinds = c.words[i].begins = 0;
    }
    if (s->rc == 0)
        whole_look(&c);
    free(c.words);
    free(c.atoms);
}

/* Names of people: what the tagger sees (detect_tag.h), and what the lexicon knows: a known given name with
 * what follows, a title or an introduction before capitals. */
#include "router/detect_context.h"
#include "router/detect_tag.h"

static const struct detect_type person = {"PERSON", ROUTER_PII, "a person's name", 0};
const struct detect_family detect_persons_family = {"context", DETECT_TYPES(&person)};

enum { NAME_WORDS = 5 };
#define CUE_NAME (CUE(given) | CUE(surname) | CUE(both))
/* Words that begin with a capital and are no name. */
#define CUE_OTHER                                                                                            \
    (CUE(street) | CUE(health) | CUE(ill) | CUE(role) | CUE(idword) | CUE(account) | CUE(money) |            \
        CUE(court) | CUE(dob) | CUE(self) | CUE(mine) | CUE(topic) | CUE(label))

static bool ends_here(const struct detect_word *w)
{
    return w->flags & (WORD_COLON | WORD_COMMA | WORD_STOP | WORD_LINE);
}

/* "[FIRST NAME]", "<NAME>", "{NAME}": a template's field. */
static bool is_field(const struct detect_context *c, const struct detect_word *w)
{
    return w->flags & WORD_UPPER && w->start > 0 &&
           detect_is_one_of(c->scan->text.data[w->start - 1], "[<{_");
}

static bool may_be_name(const struct detect_word *w)
{
    return w->flags & WORD_CAPITAL && !(w->flags & WORD_DIGIT) &&
           (!detect_word_is(w, CUE_OTHER) || detect_word_is(w, CUE_NAME));
}

/* "van der Berg": how many particles stand at `at` before a capital; 0 if they lead to none. */
static size_t particles(const struct detect_context *c, size_t at)
{
    size_t n = 0;
    while (n < 3 && at + n < c->n_words && detect_word_is(&c->words[at + n], CUE(particle)) &&
           !ends_here(&c->words[at + n]))
        n++;
    return at + n < c->n_words && may_be_name(&c->words[at + n]) ? n : 0;
}

/* How many words from i on belong to a name whose first word is taken for one. */
static size_t name_length(const struct detect_context *c, size_t i, bool lower)
{
    size_t to = i + 1;
    while (to < c->n_words && to - i < NAME_WORDS && !ends_here(&c->words[to - 1])) {
        const struct detect_word *w = &c->words[to];
        size_t skip = c->words[to - 1].flags & WORD_JOINED ? 0 : particles(c, to);
        if (lower ? detect_word_is(w, CUE_NAME) && !detect_word_is(w, CUE(word)) : may_be_name(w))
            to++;
        else if (skip > 0)
            to += skip + 1;
        else
            break;
    }
    return to - i;
}

/* Somebody known, or made up; else another name goes on behind a known one. */
static bool is_nobody(const struct detect_context *c, size_t from, size_t n)
{
    size_t covered = detect_atoms_cover(c, CUE(known) | CUE(fake) | CUE(landmark), from, from + n);
    return covered > 0 && n - covered < 2;
}

/* John Smith, Max Mustermann: nobody, and yet what somebody may be called. */
static bool is_stand_in(const struct detect_context *c, size_t from, size_t n)
{
    return n > 1 && detect_atoms_cover(c, CUE(fake), from, from + n) == n;
}

static void person_add(struct detect_context *c, size_t from, size_t n, bool sure, double score)
{
    size_t to = from + n;
    bool nobody = is_nobody(c, from, n), full = n > 1 || sure;
    if (!nobody && full && score >= 0.4) {
        c->full_person = true;
        c->n_persons++;
        c->seen |= CUE(named);
    }
    if (from < c->owned)
        detect_add(c->scan, &person, c->words[from].start, c->words[to - 1].end,
            nobody ? is_stand_in(c, from, n) ? 0.35 : 0.2
            : full ? 0.4
                   : 0.3);
}

/* How many words from i on are a name by what the lexicon knows; 0: none. *sure: whoever bears it is meant,
 * *guessed: its first word is known to nobody. */
static size_t known_length(const struct detect_context *c, size_t i, bool *sure, bool *guessed)
{
    const struct detect_word *w = &c->words[i];
    bool introduced = detect_word_is(w, CUE(named)),
         titled = i > 0 && detect_word_is(w - 1, CUE(title)) &&
                  !((w - 1)->flags & (WORD_COMMA | WORD_COLON | WORD_LINE));
    bool capital = w->flags & WORD_CAPITAL && !(w->flags & WORD_DIGIT),
         goes_on = i + 1 < c->n_words && !ends_here(w);
    size_t n = 0;
    *sure = titled;
    *guessed = false;
    if (capital && (titled || introduced) && !detect_word_is(w, CUE_OTHER | CUE(title) | CUE(self)))
        n = name_length(c, i, false);
    else if (capital && detect_word_is(w, CUE(given) | CUE(both)) && !detect_word_is(w, CUE(word)))
        n = name_length(c, i, false);
    else if (capital && detect_word_is(w, CUE_NAME) && goes_on && detect_word_is(w + 1, CUE_NAME) &&
             (w + 1)->flags & WORD_CAPITAL)
        n = name_length(c, i, false);
    else if (capital && detect_word_is(w, CUE(first)) && goes_on &&
             detect_word_is(w + 1, CUE(surname) | CUE(both)) && !detect_word_is(w + 1, CUE(word)) &&
             (w + 1)->flags & WORD_CAPITAL)
        n = name_length(c, i, false);
    else if (!capital && detect_word_is(w, CUE(given) | CUE(both)) && !detect_word_is(w, CUE(word)) &&
             goes_on && detect_word_is(w + 1, CUE(surname) | CUE(both)) &&
             !detect_word_is(w + 1, CUE(word)) && !((w + 1)->flags & WORD_CAPITAL))
        n = name_length(c, i, true);
    /* An unknown word before a known surname. */
    if (n == 0 && (*guessed = capital && w->kinds == 0 && detect_word_length(w) >= 4 && goes_on &&
                              detect_word_is(w + 1, CUE(surname) | CUE(both)) &&
                              !detect_word_is(w + 1, CUE(word)) && (w + 1)->flags & WORD_CAPITAL))
        n = name_length(c, i, false);
    return n == 1 && introduced && !titled && !detect_word_is(w, CUE_NAME) ? 0 : n;
}

/* Does a name that the lexicon is sure of begin at one of the words? */
static bool holds_known(const struct detect_context *c, size_t from, size_t n)
{
    bool sure, guessed;
    for (size_t i = from; i < from + n; i++)
        if (known_length(c, i, &sure, &guessed) > (sure ? 0 : 1) && !guessed)
            return true;
    return false;
}

/* How many words of a name that the tagger sees begin at i; 0: none does. Without a capital one of them is
 * known. */
static size_t tagged_length(const struct detect_context *c, size_t i)
{
    size_t to = i + 1;
    if (c->tags[i] != TAG_PERSON)
        return 0;
    while (to < c->n_words && c->tags[to] == TAG_PERSON_ON)
        to++;
    if (detect_byte(c->scan, c->words[to - 1].end) == '@') /* of an e-mail address */
        return 0;
    for (size_t k = i; k < to; k++)
        if (c->words[k].flags & WORD_CAPITAL || (detect_word_is(&c->words[k], CUE(given) | CUE(both)) &&
                                                    !detect_word_is(&c->words[k], CUE(word))))
            return to - i;
    return 0;
}

/* Is every word written like a part of a name? "DSM-IV" and "c-kit" are not. */
static bool is_written(const struct detect_context *c, size_t from, size_t n)
{
    for (size_t i = from; i < from + n; i++) {
        const struct detect_word *w = &c->words[i];
        bool particle = detect_word_is(w, CUE(particle)), initial = detect_word_length(w) == 1;
        if (!particle && (!(w->flags & WORD_CAPITAL) || w->flags & WORD_DIGIT ||
                             (w->flags & WORD_UPPER && detect_word_length(w) <= 3 && !initial)))
            return false;
    }
    return true;
}

/* A given name and nothing else: the tagger may see the surname behind it alone ("Anna Nowak (anna@...)"). */
static bool is_given(const struct detect_word *w)
{
    return w->flags & WORD_CAPITAL && !detect_word_is(w, CUE(title)) &&
           (detect_word_is(w, CUE(first)) ||
               (detect_word_is(w, CUE(given) | CUE(both)) && !detect_word_is(w, CUE(word))));
}

/* The tagger says where a name begins and ends; several words that the lexicon knows for a name are one all
 * the same where the tagger sees none, for it may change its mind with what stands around. */
void detect_persons(struct detect_context *c)
{
    for (size_t i = 0; i < c->n_words;) {
        const struct detect_word *w = &c->words[i];
        size_t tagged = tagged_length(c, i), known = 0, at = i;
        bool sure = false, guessed = false,
             written = w->flags & WORD_CAPITAL || detect_word_is(w, CUE(given) | CUE(both)),
             may_begin = (written || tagged > 0) && !is_field(c, w);
        if (may_begin)
            known = known_length(c, i, &sure, &guessed);
        bool full = known > 1 || (known == 1 && sure);
        while (full && tagged == 0 && ++at < i + known)
            tagged = tagged_length(c, at);
        if (full && (at >= c->owned || (is_nobody(c, at, tagged) && !is_nobody(c, i, known))))
            tagged = 0; /* the next piece may not know it for one; not all of it is somebody known */
        for (; tagged > 0 && at > i && is_given(&c->words[at - 1]); at--)
            tagged++;
        if (tagged > 0 && may_begin) {
            full = full || holds_known(c, at + 1, tagged - 1);
            person_add(c, at, tagged, full, full || is_written(c, at, tagged) ? 0.4 : 0.3);
            i = at + tagged;
        } else {
            if (full)
                person_add(c, i, known, sure, guessed ? 0.3 : 0.4);
            i += full ? known : 1;
        }
    }
}

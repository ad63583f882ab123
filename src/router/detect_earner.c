/* What somebody earns: a full name says whose it is, or a name and what one is to the writer. */
#include "router/detect_context.h"

static bool given_name(const struct detect_word *w)
{
    return detect_word_is(w, CUE(given) | CUE(both)) && w->flags & WORD_CAPITAL;
}

static bool full_name(const struct detect_word *given)
{
    const struct detect_word *family = given + 1;
    return given_name(given) && family->flags & WORD_CAPITAL && family->start == given->end + 1 &&
           !(given->flags & (WORD_COMMA | WORD_STOP));
}

/* "Our bookkeeper Lucinda", "the tenant, Marek". */
static bool known_to_us(const struct detect_context *c, size_t given)
{
    enum { BEFORE = 3 };
    bool ours = false;
    for (size_t i = given;
         i-- > 0 && given - i <= BEFORE && c->words[i].sentence == c->words[given].sentence;)
        ours = ours || detect_word_is(&c->words[i], CUE(mine) | CUE(role));
    return ours && given_name(&c->words[given]);
}

/* "Twenty five points", "30 gold coins"; not "85,000, likes his boss". */
static bool of_things(const struct detect_context *c, size_t sum_end)
{
    enum { WITHIN = 2 };
    for (size_t i = sum_end; i < c->n_words && i < sum_end + WITHIN; i++) {
        if (c->words[i].sentence != c->words[i - 1].sentence || c->words[i - 1].flags & WORD_COMMA)
            return false;
        if (detect_word_is(&c->words[i], CUE(thing)))
            return true;
    }
    return false;
}

/* Figures, or two words of them: "thirty-one five"; 0: none, else the word behind. */
static size_t sum_end(const struct detect_context *c, size_t from)
{
    enum { WITHIN = 4 };
    for (size_t i = from; i < c->n_words && i < from + WITHIN; i++) {
        const struct detect_word *w = &c->words[i];
        if (w->sentence != c->words[from - 1].sentence)
            return 0;
        if (w->flags & WORD_DIGIT)
            return i + 1;
        if (detect_word_is(w, CUE(tens)) && i + 1 < c->n_words && w[1].sentence == w->sentence &&
            detect_word_is(w + 1, CUE(figure) | CUE(tens)))
            return i + 2;
    }
    return 0;
}

/* "Maria Gonzalez currently earns about 61,500"; not a schoolbook's "Valerie earns $5000". */
bool detect_earner(const struct detect_context *c, const struct detect_atom *earns, struct detect_atom *out)
{
    enum { BEFORE = 6 };
    const size_t sum = sum_end(c, earns->to);
    for (size_t at = earns->from; sum && !of_things(c, sum) && at > 0 && at + BEFORE > earns->from; at--) {
        const size_t name = at - 1;
        if (c->words[name].sentence != c->words[earns->from].sentence)
            break;
        if (known_to_us(c, name) || (name + 1 < earns->from && full_name(&c->words[name]))) {
            *out = (struct detect_atom){CUE(earns), name, sum};
            return true;
        }
    }
    return false;
}

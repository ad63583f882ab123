/* What somebody earns: a full name says whose it is, or a name and what one is to the writer. What the writer
 * owes, lends, inherits, gets. */
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

/* The other words of CUE(earns) are one's own: "I owe". */
static bool is_anybodys(const struct detect_context *c, const struct detect_atom *earns)
{
    return str_is_nocase(
        str_slice(c->scan->text, c->words[earns->from].start, c->words[earns->to - 1].end), "earns");
}

/* "Maria Gonzalez currently earns about 61,500"; not a schoolbook's "Valerie earns $5000". */
bool detect_earner(const struct detect_context *c, const struct detect_atom *earns, struct detect_atom *out)
{
    enum { BEFORE = 6 };
    const size_t sum = is_anybodys(c, earns) ? sum_end(c, earns->to) : 0;
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

/* A currency, or what only stands behind money. */
static bool is_money(const struct detect_context *c, size_t word)
{
    static const char *const words[] = {"euro", "euros", "eur", "dollar", "dollars", "usd", "pound", "pounds",
        "quid", "gbp", "grand", "k", "zl", "z\xC5\x82", "zloty", "z\xC5\x82otych", "pln", "tys",
        "tysi\304\231cy", "reais", "real", "contos", "franken", "francs", "chf", "pesos", "mille", "mila",
        "tausend", "brutto", "bruto", "brutos", "netto", "netos", "nets", "netti", "gross"};
    const struct str text = str_slice(c->scan->text, c->words[word].start, c->words[word].end);
    bool is = false;
    for (size_t i = 0; i < sizeof words / sizeof *words && !is; i++)
        is = str_is_nocase(text, words[i]);
    return is;
}

/* "$5,000", "€ 300", "14k", "58.000": with its sign, or with thousands. */
static bool is_sum(const struct detect_context *c, size_t word)
{
    const struct detect_word *w = &c->words[word];
    const struct str text = c->scan->text,
                     before = str_slice(text, w->start > 4 ? w->start - 4 : 0, w->start),
                     behind = str_slice(text, w->end, w->end + 4);
    const char last = text.data[w->end - 1];
    const bool thousands = word > 0 && w->flags & WORD_DIGITS && detect_word_length(w) == 3 &&
                           w[-1].flags & WORD_DIGITS && w->start == w[-1].end + 1 &&
                           detect_is_one_of(text.data[w->start - 1], ".,");
    return thousands || (last | 0x20) == 'k' || detect_is_one_of(last, "$") ||
           str_find_char(before, '$') != SIZE_MAX || str_find(before, STR("\xE2\x82\xAC")) != SIZE_MAX ||
           str_find(before, STR("\xC2\xA3")) != SIZE_MAX || str_find(behind, STR("\xE2\x82\xAC")) != SIZE_MAX;
}

bool detect_sum(const struct detect_context *c, const struct detect_atom *does, struct detect_atom *out)
{
    enum { WITHIN = 6, UNIT = 3 };
    if (is_anybodys(c, does))
        return false;
    for (size_t i = does->to; i < c->n_words && i < does->to + WITHIN; i++) {
        if (c->words[i].sentence != c->words[does->from].sentence)
            return false;
        if (!(c->words[i].flags & WORD_DIGIT) || detect_word_is(&c->words[i], CUE(topic)))
            continue;
        bool money = false;
        for (size_t k = i; k < c->n_words && k < i + UNIT && !money; k++)
            money = c->words[k].flags & WORD_DIGIT ? is_sum(c, k) : is_money(c, k);
        if (!money)
            continue;
        *out = (struct detect_atom){CUE(earns), does->from, i + 1};
        return true;
    }
    return false;
}

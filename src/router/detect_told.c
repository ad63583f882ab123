/* Codes told in words: figures beside what they open. */
#include "router/detect_context.h"

/* Figures in words, with what turns and short words between: "thirty-two to the left, then nine right". */
struct figures {
    size_t end;      /* the word behind them; 0: they are too few */
    bool on_end;     /* four single ones, nothing between: nobody counts so */
    bool with_turns; /* "four turns left to nineteen, three right to sixty" */
    bool bits;       /* zeros and ones alone, as logic gates have */
};

static bool figure_is(const struct detect_word *w)
{
    return detect_word_is(w, CUE(figure) | CUE(tens)) ||
           (w->flags & WORD_DIGITS && detect_word_length(w) <= 2);
}

static bool is_bit(const struct detect_context *c, const struct detect_word *w)
{
    const struct str text = str_slice(c->scan->text, w->start, w->end);
    return str_is_nocase(text, "zero") || str_is_nocase(text, "one");
}

/* "five five three 1", "thirty-two left, then nine right": four figures, or three words. */
static struct figures figures_read(const struct detect_context *c, size_t from)
{
    enum { BETWEEN = 4, SHORT = 3, FIGURES = 4, WORDS = 3, TURNS = 2 };
    size_t end = 0, n_words = 0, figures = 0, turns = 0, single = 0;
    bool in_words = false, on_end = false, bits = true;
    for (size_t i = from; i < c->n_words && i <= (end ? end : from) + BETWEEN; i++) {
        const struct detect_word *w = &c->words[i];
        const size_t length = detect_word_length(w);
        const bool word = detect_word_is(w, CUE(figure) | CUE(tens)), digits = w->flags & WORD_DIGITS;
        if (w->sentence != c->words[from].sentence || (digits && length > 2))
            break;
        if (word || digits) {
            end = i + 1;
            n_words++;
            figures += digits ? length : detect_word_is(w, CUE(tens)) ? 2 : 1;
            in_words = in_words || word;
            bits = bits && is_bit(c, w);
            single = detect_word_is(w, CUE(figure)) ? single + 1 : 0;
            on_end = on_end || single >= FIGURES;
        } else if (end == 0 || (length > SHORT && !detect_word_is(w, CUE(turn))) ||
                   detect_word_is(w, CUE(either))) { /* "four, six or eight digits": a choice, no code */
            break;
        } else {
            single = 0;
            turns += detect_word_is(w, CUE(turn));
        }
    }
    const bool enough = in_words && (n_words >= WORDS || figures >= FIGURES);
    return (struct figures){enough ? end : 0, on_end, n_words >= WORDS && turns >= TURNS, bits};
}

/* "The alarm code for the back door is five five three one", "nine oh two seven is the gate code". Four
 * single figures on end may stand further off, and where those or turns stand a bare "safe" or "gate"
 * suffices (CUE(shuts)). */
static bool code_told(
    const struct detect_context *c, const struct detect_atom *opens, struct detect_atom *out)
{
    enum { BEFORE = 12, BEHIND = 8, BEHIND_ON_END = 24, NEAR = 3 };
    const bool surely = opens->kinds & CUE(opens);
    for (size_t i = opens->from > BEFORE ? opens->from - BEFORE : 0;
         i < c->n_words && i < opens->to + BEHIND_ON_END; i++) {
        const bool same = c->words[i].sentence == c->words[opens->from].sentence, before = i < opens->to;
        if (!same || !figure_is(&c->words[i]))
            continue;
        const struct figures told = figures_read(c, i);
        const size_t reach = opens->to + (told.on_end ? BEHIND_ON_END : BEHIND);
        if (told.end == 0 || i >= reach || !(surely || (told.on_end && !told.bits) || told.with_turns) ||
            (before && (told.end > opens->from || opens->from - told.end > NEAR)))
            continue;
        const bool counted = detect_atoms_cover(c, CUE(counted), i, told.end) == told.end - i;
        *out = (struct detect_atom){
            counted ? CUE(counted) : 0, before ? i : opens->from, before ? opens->to : told.end};
        return true;
    }
    return false;
}

bool detect_told(const struct detect_context *c, const struct detect_atom *a, struct detect_atom *out)
{
    return (a->kinds & (CUE(opens) | CUE(shuts)) && code_told(c, a, out)) ||
           (a->kinds & CUE(seed) && detect_seed(c, a, out)) ||
           (a->kinds & CUE(spoken) && detect_spelled(c, a, out));
}

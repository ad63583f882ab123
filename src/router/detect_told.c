/* Codes told in words: figures beside what they open. */
#include "router/detect_context.h"

/* "five five three 1", "thirty-two left, then nine right": four figures, or three words. The word behind
 * them; 0: they are too few. Between them may be what turns and short words ("two to the left and"). */
static size_t figures_end(const struct detect_context *c, size_t from)
{
    enum { BETWEEN = 4, SHORT = 3, FIGURES = 4, WORDS = 3 };
    size_t end = 0, n_words = 0, figures = 0;
    bool in_words = false;
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
        } else if (end == 0 || (length > SHORT && !detect_word_is(w, CUE(turn))) ||
                   detect_word_is(w, CUE(either))) { /* "four, six or eight digits": a choice, no code */
            break;
        }
    }
    return in_words && (n_words >= WORDS || figures >= FIGURES) ? end : 0;
}

/* "The alarm code for the back door is five five three one", "nine oh two seven is the gate code". */
bool detect_told(const struct detect_context *c, const struct detect_atom *opens, struct detect_atom *out)
{
    enum { BEFORE = 12, BEHIND = 8, NEAR = 3 };
    for (size_t i = opens->from > BEFORE ? opens->from - BEFORE : 0; i < c->n_words && i < opens->to + BEHIND;
         i++) {
        const bool same = c->words[i].sentence == c->words[opens->from].sentence, before = i < opens->to;
        const size_t end = same ? figures_end(c, i) : 0;
        if (end == 0 || (before && (end > opens->from || opens->from - end > NEAR)))
            continue;
        const bool counted = detect_atoms_cover(c, CUE(counted), i, end) == end - i;
        *out = (struct detect_atom){
            counted ? CUE(counted) : 0, before ? i : opens->from, before ? opens->to : end};
        return true;
    }
    return false;
}

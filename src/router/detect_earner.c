/* What somebody earns: a full name says whose it is. */
#include "router/detect_context.h"

static bool full_name(const struct detect_word *given)
{
    const struct detect_word *family = given + 1;
    return detect_word_is(given, CUE(given) | CUE(both)) && given->flags & family->flags & WORD_CAPITAL &&
           family->start == given->end + 1 && !(given->flags & (WORD_COMMA | WORD_STOP));
}

/* "Maria Gonzalez currently earns about 61,500"; not a schoolbook's "Valerie earns $5000". */
bool detect_earner(const struct detect_context *c, const struct detect_atom *earns, struct detect_atom *out)
{
    enum { BEFORE = 6, BEHIND = 4 };
    const unsigned sentence = c->words[earns->from].sentence;
    size_t sum = earns->to;
    while (sum < c->n_words && sum < earns->to + BEHIND && !(c->words[sum].flags & WORD_DIGIT))
        sum++;
    if (sum == c->n_words || !(c->words[sum].flags & WORD_DIGIT) || c->words[sum].sentence != sentence)
        return false;
    for (size_t at = earns->from; at > 1 && at + BEFORE > earns->from; at--)
        if (c->words[at - 2].sentence == sentence && full_name(&c->words[at - 2])) {
            *out = (struct detect_atom){CUE(earns), at - 2, sum + 1};
            return true;
        }
    return false;
}

/* How hard a prompt is for a small model: a linear model of seventeen features of its text and of its words
 * (score.h).
 *
 * The weights are a ridge regression of (strong answer's quality - weak answer's quality) on public outcomes
 * of pairs of models (RouteLLM's, LLMRouter's, RouterArena's), each benchmark centred, so that they rank
 * prompts of one kind rather than tell kinds apart. Counts go in as log(1 + n) / scale. */
#include <math.h>
#include <string.h>

#include "router/router.h"
#include "router/score.h"

enum { MOST_BYTES = 64 * 1024 };

struct counts {
    double words, long_words, numbers, capitals;
    double symbols, questions, lines, commas, stops, brackets, percents;
    double ifs, hard, steps, negations;
    bool choices; /* lines that begin with "A." or "(b)" */
};

enum sign { SIGN_LETTER = 1, SIGN_CAPITAL = 2, SIGN_DIGIT = 4, SIGN_SYMBOL = 8, SIGN_BRACKET = 16 };

static const unsigned char signs[256] = {['a' ... 'z'] = SIGN_LETTER,
    ['A' ... 'Z'] = SIGN_LETTER | SIGN_CAPITAL,
    [0x80 ... 0xff] = SIGN_LETTER,
    ['\''] = SIGN_LETTER,
    ['0' ... '9'] = SIGN_DIGIT,
    ['\\'] = SIGN_SYMBOL,
    ['^'] = SIGN_SYMBOL,
    ['_'] = SIGN_SYMBOL,
    ['='] = SIGN_SYMBOL,
    ['{'] = SIGN_SYMBOL,
    ['}'] = SIGN_SYMBOL,
    ['+'] = SIGN_SYMBOL,
    ['*'] = SIGN_SYMBOL,
    ['<'] = SIGN_SYMBOL,
    ['>'] = SIGN_SYMBOL,
    ['('] = SIGN_BRACKET,
    [')'] = SIGN_BRACKET,
    ['['] = SIGN_BRACKET,
    [']'] = SIGN_BRACKET};

static unsigned sign_of(char c)
{
    return signs[(unsigned char)c];
}

static bool digit(char c)
{
    return (sign_of(c) & SIGN_DIGIT) != 0;
}

/* Words that count, by their first letter: work that small models fail at (HARD; also the beginning of a
 * longer word), a sum in several steps (STEP), and what turns a sentence round (NOT). */
enum word_kind { WORD_END, WORD_HARD, WORD_STEP, WORD_NOT, WORD_IF };

struct word {
    const char *text;
    enum word_kind kind;
};

static const struct word words_a[] = {{"algorithm", WORD_HARD}, {"analy", WORD_HARD}, {0}},
                         words_c[] = {{"complexity", WORD_HARD}, {"compare", WORD_HARD},
                             {"constraints", WORD_HARD}, {0}},
                         words_d[] = {{"derive", WORD_HARD}, {"design", WORD_HARD}, {"divis", WORD_HARD},
                             {0}},
                         words_e[] = {{"equation", WORD_HARD}, {"expected", WORD_HARD}, {"each", WORD_STEP},
                             {"every", WORD_STEP}, {"except", WORD_NOT}, {0}},
                         words_f[] = {{"false", WORD_NOT}, {0}}, words_h[] = {{"half", WORD_STEP}, {0}},
                         words_i[] = {{"integral", WORD_HARD}, {"implement", WORD_HARD},
                             {"integer", WORD_HARD}, {"incorrect", WORD_NOT}, {"if", WORD_IF}, {0}},
                         words_l[] = {{"left", WORD_STEP}, {0}},
                         words_m[] = {{"matrix", WORD_HARD}, {"modulo", WORD_HARD}, {0}},
                         words_n[] = {{"not", WORD_NOT}, {"never", WORD_NOT}, {0}},
                         words_o[] = {{"optimi", WORD_HARD}, {0}},
                         words_p[] = {{"prove", WORD_HARD}, {"proof", WORD_HARD}, {"polynomial", WORD_HARD},
                             {"probability", WORD_HARD}, {"per", WORD_STEP}, {0}},
                         words_r[] = {{"remaining", WORD_STEP}, {0}},
                         words_t[] = {{"theorem", WORD_HARD}, {"twice", WORD_STEP}, {"times", WORD_STEP},
                             {"total", WORD_STEP}, {0}},
                         words_u[] = {{"unless", WORD_NOT}, {0}}, words_w[] = {{"without", WORD_NOT}, {0}};

static const struct word *const words_by_letter[32] = {['a' & 31] = words_a,
    ['c' & 31] = words_c,
    ['d' & 31] = words_d,
    ['e' & 31] = words_e,
    ['f' & 31] = words_f,
    ['h' & 31] = words_h,
    ['i' & 31] = words_i,
    ['l' & 31] = words_l,
    ['m' & 31] = words_m,
    ['n' & 31] = words_n,
    ['o' & 31] = words_o,
    ['p' & 31] = words_p,
    ['r' & 31] = words_r,
    ['t' & 31] = words_t,
    ['u' & 31] = words_u,
    ['w' & 31] = words_w};

static enum word_kind word_kind_of(struct str word)
{
    const struct word *w =
        word.len >= 2 && (word.data[0] & '\x40') ? words_by_letter[word.data[0] & 31] : NULL;
    for (; w && w->text; w++) {
        if ((word.data[1] | 0x20) != w->text[1])
            continue;
        size_t n = strlen(w->text);
        if (word.len >= n && (word.len == n || w->kind == WORD_HARD) &&
            str_is_nocase(str_slice(word, 0, n), w->text))
            return w->kind;
    }
    return WORD_END;
}

static void word_count(struct counts *c, struct str word)
{
    enum word_kind kind = word_kind_of(word);
    c->words++;
    c->long_words += word.len >= 9;
    c->ifs += kind == WORD_IF;
    c->hard += kind == WORD_HARD;
    c->steps += kind == WORD_STEP;
    c->negations += kind == WORD_NOT;
}

/* "A." "b)" "(C)" at the beginning of a line. */
static bool choice_at(struct str text, size_t i)
{
    i += i < text.len && text.data[i] == '(';
    return i + 1 < text.len && strchr("abAB", text.data[i]) && strchr(").:", text.data[i + 1]);
}

static void sign_count(struct counts *c, struct str text, size_t i)
{
    char sign = text.data[i];
    c->symbols += (sign_of(sign) & SIGN_SYMBOL) != 0;
    c->questions += sign == '?';
    c->commas += sign == ',' || sign == ';';
    c->stops += sign == '.';
    c->brackets += (sign_of(sign) & SIGN_BRACKET) != 0;
    c->percents += sign == '%' || sign == '$';
    c->lines += sign == '\n';
    c->choices |= sign == '\n' && choice_at(text, i + 1);
}

static void text_count(struct counts *c, struct str text)
{
    for (size_t i = 0; i < text.len;) {
        size_t begin = i;
        for (; i < text.len && sign_of(text.data[i]) & SIGN_LETTER; i++)
            c->capitals += (sign_of(text.data[i]) & SIGN_CAPITAL) != 0;
        if (i > begin) {
            word_count(c, str_slice(text, begin, i));
            continue;
        }
        while (i < text.len &&
               (digit(text.data[i]) || (i > begin && i + 1 < text.len && digit(text.data[i + 1]) &&
                                           (text.data[i] == '.' || text.data[i] == ','))))
            i++;
        if (i > begin) {
            c->numbers++;
            continue;
        }
        if (text.data[i] != '\0')
            sign_count(c, text, i);
        i++;
    }
}

void score_features(struct str text, double out[SCORE_FEATURES])
{
    struct counts c = {0};
    text = str_slice(text, 0, MOST_BYTES);
    text_count(&c, text);
    double words = c.words > 0 ? c.words : 1;
    const double features[SCORE_FEATURES] = {
        log1p((double)text.len) / 8,
        log1p(c.words) / 6,
        log1p(c.numbers) / 3,
        c.long_words / words,
        log1p(c.symbols) / 4,
        log1p(c.ifs) / 2,
        log1p(c.questions) / 2,
        log1p(c.lines) / 4,
        log1p(c.hard) / 2,
        log1p(c.commas) / 3,
        log1p(c.stops) / 3,
        log1p(c.brackets) / 3,
        log1p(c.percents) / 2,
        log1p(c.steps) / 2,
        log1p(c.negations) / 2,
        c.choices ? 1 : 0,
        log1p(c.capitals) / 5,
    };
    memcpy(out, features, sizeof features);
}

const double score_feature_weight[SCORE_FEATURES] = {0.245, 0.082, 0.128, -0.273, 0.436, 0.041, -0.198,
    -0.526, 0.095, 0.072, 0.153, 0.142, -0.208, 0.071, 0.182, 0.095, 0.297};

double router_score(struct str prompt)
{
    const double middle = 0.5, width = 0.12;
    double features[SCORE_FEATURES], sum = score_grams_sum(prompt);
    score_features(prompt, features);
    for (size_t i = 0; i < SCORE_FEATURES; i++)
        sum += score_feature_weight[i] * features[i];
    return 1 / (1 + exp(-(sum - middle) / width));
}

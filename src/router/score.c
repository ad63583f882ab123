/* How hard a prompt is for a small model: a linear model of seventeen features of its text and of its words
 * (score.h).
 *
 * The weights are a ridge regression of (strong answer's quality - weak answer's quality) on public outcomes
 * of pairs of models (RouteLLM's, LLMRouter's, RouterArena's), each benchmark centred, so that they rank
 * prompts of one kind rather than tell kinds apart. Counts go in as log(1 + n) / scale. */
#include <math.h>
#include <string.h>
#include <strings.h>

#include "router/byte_map.h"
#include "router/router.h"
#include "router/score.h"

enum { MOST_BYTES = 64 * 1024 };

struct counts {
    size_t words, long_words, numbers, capitals;
    size_t symbols, questions, lines, commas, stops, brackets, percents;
    size_t ifs, hard, steps, negations;
    bool choices; /* lines that begin with "A." or "(b)" */
};

enum sign { SIGN_NONE, SIGN_SYMBOL, SIGN_BRACKET, SIGN_COMMA, SIGN_STOP, SIGN_QUESTION, SIGN_PERCENT };

static const unsigned char signs[128] = {['\\'] = SIGN_SYMBOL,
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
    [']'] = SIGN_BRACKET,
    [','] = SIGN_COMMA,
    [';'] = SIGN_COMMA,
    ['.'] = SIGN_STOP,
    ['?'] = SIGN_QUESTION,
    ['%'] = SIGN_PERCENT,
    ['$'] = SIGN_PERCENT};

/* Words that count, by their first letter: work that small models fail at (HARD; also the beginning of a
 * longer word), a sum in several steps (STEP), and what turns a sentence round (NOT). */
enum word_kind { WORD_END, WORD_HARD, WORD_STEP, WORD_NOT, WORD_IF };

struct word {
    struct str text;
    enum word_kind kind;
};
#define W(text, kind)                                                                                        \
    {                                                                                                        \
        {text, sizeof text - 1}, WORD_##kind                                                                 \
    }

#define W_END                                                                                                \
    {                                                                                                        \
        {NULL, 0}, WORD_END                                                                                  \
    }

static const struct word words_a[] = {W("algorithm", HARD), W("analy", HARD), W_END},
                         words_c[] = {W("complexity", HARD), W("compare", HARD), W("constraints", HARD),
                             W_END},
                         words_d[] = {W("derive", HARD), W("design", HARD), W("divis", HARD), W_END},
                         words_e[] = {W("equation", HARD), W("expected", HARD), W("each", STEP),
                             W("every", STEP), W("except", NOT), W_END},
                         words_f[] = {W("false", NOT), W_END}, words_h[] = {W("half", STEP), W_END},
                         words_i[] = {W("integral", HARD), W("implement", HARD), W("integer", HARD),
                             W("incorrect", NOT), W("if", IF), W_END},
                         words_l[] = {W("left", STEP), W_END},
                         words_m[] = {W("matrix", HARD), W("modulo", HARD), W_END},
                         words_n[] = {W("not", NOT), W("never", NOT), W_END},
                         words_o[] = {W("optimi", HARD), W_END},
                         words_p[] = {W("prove", HARD), W("proof", HARD), W("polynomial", HARD),
                             W("probability", HARD), W("per", STEP), W_END},
                         words_r[] = {W("remaining", STEP), W_END},
                         words_t[] = {W("theorem", HARD), W("twice", STEP), W("times", STEP),
                             W("total", STEP), W_END},
                         words_u[] = {W("unless", NOT), W_END}, words_w[] = {W("without", NOT), W_END};

#define LETTER(c) ((uint32_t)1 << ((c)&31))
static const struct {
    uint32_t seconds; /* their second letters */
    const struct word *words;
} words_by_letter[32] = {['a' & 31] = {LETTER('l') | LETTER('n'), words_a},
    ['c' & 31] = {LETTER('o'), words_c},
    ['d' & 31] = {LETTER('e') | LETTER('i'), words_d},
    ['e' & 31] = {LETTER('q') | LETTER('x') | LETTER('a') | LETTER('v'), words_e},
    ['f' & 31] = {LETTER('a'), words_f},
    ['h' & 31] = {LETTER('a'), words_h},
    ['i' & 31] = {LETTER('n') | LETTER('m') | LETTER('f'), words_i},
    ['l' & 31] = {LETTER('e'), words_l},
    ['m' & 31] = {LETTER('a') | LETTER('o'), words_m},
    ['n' & 31] = {LETTER('o') | LETTER('e'), words_n},
    ['o' & 31] = {LETTER('p'), words_o},
    ['p' & 31] = {LETTER('r') | LETTER('o') | LETTER('e'), words_p},
    ['r' & 31] = {LETTER('e'), words_r},
    ['t' & 31] = {LETTER('h') | LETTER('w') | LETTER('i') | LETTER('o'), words_t},
    ['u' & 31] = {LETTER('n'), words_u},
    ['w' & 31] = {LETTER('i'), words_w}};

static bool may_count(struct str word)
{
    return word.len >= 2 && word.data[0] & '\x40' &&
           words_by_letter[word.data[0] & 31].seconds & LETTER(word.data[1]);
}

static void kind_count(struct counts *c, struct str word)
{
    const struct word *w = words_by_letter[word.data[0] & 31].words;
    while (
        w->kind != WORD_END && (word.len < w->text.len || (word.len > w->text.len && w->kind != WORD_HARD) ||
                                   strncasecmp(word.data, w->text.data, w->text.len) != 0))
        w++;
    c->ifs += w->kind == WORD_IF;
    c->hard += w->kind == WORD_HARD;
    c->steps += w->kind == WORD_STEP;
    c->negations += w->kind == WORD_NOT;
}

/* "A." "b)" "(C)" at the beginning of a line. */
static bool choice_at(struct str text, size_t i)
{
    i += i < text.len && text.data[i] == '(';
    return i + 1 < text.len && strchr("abAB", text.data[i]) && strchr(").:", text.data[i + 1]);
}

static bool digit_at(struct str text, size_t i)
{
    return i < text.len && text.data[i] >= '0' && text.data[i] <= '9';
}

static void sign_count(struct counts *c, struct str text, size_t i)
{
    enum sign sign = signs[text.data[i] & 127];
    if ((text.data[i] == '.' || text.data[i] == ',') && i > 0 && digit_at(text, i - 1) &&
        digit_at(text, i + 1)) {
        c->numbers--; /* "3.14" is one */
        return;
    }
    c->symbols += sign == SIGN_SYMBOL;
    c->questions += sign == SIGN_QUESTION;
    c->commas += sign == SIGN_COMMA;
    c->stops += sign == SIGN_STOP;
    c->brackets += sign == SIGN_BRACKET;
    c->percents += sign == SIGN_PERCENT;
}

static size_t bits_count(uint64_t bits)
{
    return (size_t)__builtin_popcountll(bits);
}

/* Counts a block's signs but the apostrophe, which belongs to words: where it stands. */
static uint64_t signs_count(struct counts *c, struct str text, size_t block, uint64_t bits)
{
    uint64_t apostrophes = 0;
    for (; bits; bits &= bits - 1) {
        size_t i = block + byte_first(bits);
        if (text.data[i] == '\'')
            apostrophes |= bits & (0 - bits);
        else
            sign_count(c, text, i);
    }
    return apostrophes;
}

static void lines_count(struct counts *c, struct str text, size_t block, uint64_t bits)
{
    for (; bits; bits &= bits - 1) {
        size_t i = block + byte_first(bits);
        c->lines += text.data[i] == '\n';
        c->choices |= text.data[i] == '\n' && choice_at(text, i + 1);
    }
}

static inline void word_count(struct counts *c, struct str word)
{
    c->words++;
    c->long_words += word.len >= 9;
    if (may_count(word))
        kind_count(c, word);
}

static void text_count(struct counts *c, struct str text)
{
    uint64_t last_letter = 0, last_digit = 0; /* of the block before, the last bit */
    size_t begin = SIZE_MAX;                  /* of the word that goes on */
    for (size_t block = 0; block < text.len; block += 64) {
        uint64_t here[BYTE_CLASSES];
        byte_map_block(str_slice(text, block, block + 64), here);
        uint64_t letters = here[BYTE_WORD] & ~here[BYTE_DIGIT];
        letters |= signs_count(c, text, block, here[BYTE_SIGN]);
        lines_count(c, text, block, here[BYTE_CONTROL]);
        c->capitals += bits_count(here[BYTE_UPPER]);
        c->numbers += bits_count(here[BYTE_DIGIT] & ~(here[BYTE_DIGIT] << 1 | last_digit));
        last_digit = here[BYTE_DIGIT] >> 63;
        /* Words begin and end where letters begin and end. */
        for (uint64_t edges = letters ^ (letters << 1 | last_letter); edges; edges &= edges - 1) {
            size_t i = block + byte_first(edges);
            if (begin != SIZE_MAX)
                word_count(c, (struct str){text.data + begin, i - begin});
            begin = begin == SIZE_MAX ? i : SIZE_MAX;
        }
        last_letter = letters >> 63;
    }
    if (begin != SIZE_MAX)
        word_count(c, str_slice(text, begin, text.len));
}

void score_features(struct str text, double out[SCORE_FEATURES])
{
    struct counts c = {0};
    text = str_slice(text, 0, MOST_BYTES);
    text_count(&c, text);
    double words = c.words > 0 ? (double)c.words : 1;
    const double features[SCORE_FEATURES] = {
        log1p((double)text.len) / 8,
        log1p((double)c.words) / 6,
        log1p((double)c.numbers) / 3,
        (double)c.long_words / words,
        log1p((double)c.symbols) / 4,
        log1p((double)c.ifs) / 2,
        log1p((double)c.questions) / 2,
        log1p((double)c.lines) / 4,
        log1p((double)c.hard) / 2,
        log1p((double)c.commas) / 3,
        log1p((double)c.stops) / 3,
        log1p((double)c.brackets) / 3,
        log1p((double)c.percents) / 2,
        log1p((double)c.steps) / 2,
        log1p((double)c.negations) / 2,
        c.choices ? 1 : 0,
        log1p((double)c.capitals) / 5,
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

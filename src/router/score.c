/* How hard a prompt is for a small model: seventeen features of its text and a linear model.
 *
 *   score = 1 / (1 + exp(-(sum of weight x feature - middle) / width))
 *
 * The weights are a ridge regression of (strong answer's quality - weak answer's quality) on public outcomes
 * of pairs of models (RouteLLM's, LLMRouter's, RouterArena's), each benchmark centred, so that they rank
 * prompts of one kind rather than tell kinds apart. Counts go in as log(1 + n) / scale. */
#include <math.h>
#include <string.h>

#include "router/router.h"

enum { MOST_BYTES = 64 * 1024 };

struct counts {
    double words, long_words, numbers, capitals;
    double symbols, questions, lines, commas, stops, brackets, percents;
    double ifs, hard, steps, negations;
    bool choices; /* lines that begin with "A." or "(b)" */
};

static bool letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & '\x80') || c == '\'';
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Work that small models fail at; a word's beginning. */
static const char *const hard_words[] = {"prove", "proof", "derive", "theorem", "integral", "optimi",
    "algorithm", "implement", "complexity", "polynomial", "probability", "analy", "compare", "design",
    "constraints", "equation", "matrix", "integer", "divis", "modulo", "expected", NULL};
/* Words of a sum in several steps; whole. */
static const char *const step_words[] = {
    "each", "every", "per", "twice", "half", "times", "remaining", "total", "left", NULL};
static const char *const negations[] = {
    "not", "except", "never", "without", "unless", "false", "incorrect", NULL};

static bool word_among(struct str word, const char *const *list, bool beginning)
{
    for (; *list; list++) {
        if ((word.data[0] | 0x20) != **list)
            continue;
        size_t n = strlen(*list);
        if (word.len >= n && (beginning || word.len == n) && str_is_nocase(str_slice(word, 0, n), *list))
            return true;
    }
    return false;
}

static void word_count(struct counts *c, struct str word)
{
    c->words++;
    c->long_words += word.len >= 9;
    c->ifs += word_among(word, (const char *const[]){"if", NULL}, false);
    c->hard += word_among(word, hard_words, true);
    c->steps += word_among(word, step_words, false);
    c->negations += word_among(word, negations, false);
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
    c->symbols += strchr("\\^_={}+*<>", sign) != NULL;
    c->questions += sign == '?';
    c->commas += sign == ',' || sign == ';';
    c->stops += sign == '.';
    c->brackets += strchr("()[]", sign) != NULL;
    c->percents += sign == '%' || sign == '$';
    c->lines += sign == '\n';
    c->choices |= sign == '\n' && choice_at(text, i + 1);
}

static void text_count(struct counts *c, struct str text)
{
    for (size_t i = 0; i < text.len;) {
        size_t begin = i;
        while (i < text.len && letter(text.data[i])) {
            c->capitals += text.data[i] >= 'A' && text.data[i] <= 'Z';
            i++;
        }
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

double router_score(struct str prompt)
{
    struct counts c = {0};
    prompt = str_slice(prompt, 0, MOST_BYTES);
    text_count(&c, prompt);
    double words = c.words > 0 ? c.words : 1;
    const struct {
        double weight, feature;
    } terms[] = {
        {0.245, log1p((double)prompt.len) / 8},
        {0.082, log1p(c.words) / 6},
        {0.128, log1p(c.numbers) / 3},
        {-0.273, c.long_words / words},
        {0.436, log1p(c.symbols) / 4},
        {0.041, log1p(c.ifs) / 2},
        {-0.198, log1p(c.questions) / 2},
        {-0.526, log1p(c.lines) / 4},
        {0.095, log1p(c.hard) / 2},
        {0.072, log1p(c.commas) / 3},
        {0.153, log1p(c.stops) / 3},
        {0.142, log1p(c.brackets) / 3},
        {-0.208, log1p(c.percents) / 2},
        {0.071, log1p(c.steps) / 2},
        {0.182, log1p(c.negations) / 2},
        {0.095, c.choices ? 1 : 0},
        {0.297, log1p(c.capitals) / 5},
    };
    const double middle = 0.5, width = 0.12;
    double sum = 0;
    for (size_t i = 0; i < sizeof terms / sizeof *terms; i++)
        sum += terms[i].weight * terms[i].feature;
    return 1 / (1 + exp(-(sum - middle) / width));
}

/* Passwords told in words, and the words that a wallet is made again with. */
#include "router/detect_context.h"

#include "base/embed.h"

EMBED(everyday_txt, "data/everyday.txt");

/* Their hashes. */
static uint64_t everyday[512];
static size_t n_everyday;

int detect_spelled_init(struct error *err)
{
    struct str file = EMBEDDED(everyday_txt), line, word;
    for (n_everyday = 0; str_split(&file, '\n', &line);)
        while (!str_starts(line, STR("#")) && str_split(&line, ' ', &word)) {
            if (n_everyday == sizeof everyday / sizeof *everyday)
                return error_set(err, ERROR_INTERNAL, "data/everyday.txt has too many words");
            everyday[n_everyday++] = detect_word_hash(word);
        }
    return 0;
}

static size_t letters_of(const struct detect_context *c, size_t at)
{
    return str_utf8_count(str_slice(c->scan->text, c->words[at].start, c->words[at].end));
}

/* Short, or in that file. */
static bool is_everyday(const struct detect_context *c, size_t at)
{
    enum { SHORT = 2 };
    bool listed = false;
    for (size_t i = 0; i < n_everyday; i++)
        listed = listed || everyday[i] == c->words[at].hash;
    return listed || letters_of(c, at) <= SHORT;
}

/* May the first of a wallet's words stand there? */
static bool seed_begins(const struct detect_context *c, const struct detect_atom *phrase, size_t i)
{
    const struct detect_word *before = &c->words[i] - 1;
    return i == phrase->to || detect_word_is(before, CUE(copula)) ||
           before->flags & (WORD_COLON | WORD_LINE | WORD_STOP | WORD_DIGITS);
}

/* Is it another word than those from `from` on? "abandon abandon abandon ..." is an example. */
static bool seed_goes_on(const struct detect_context *c, size_t from, size_t i)
{
    while (from < i && c->words[from].hash != c->words[i].hash)
        from++;
    return from == i;
}

/* "Recovery phrase: saddle orbit velvet ...": so many words on end as no sentence has. They may be numbered.
 * No wallet's list has longer ones; what is told of phrases, and lists of other things, has. */
bool detect_seed(const struct detect_context *c, const struct detect_atom *phrase, struct detect_atom *out)
{
    enum { BEHIND = 12, WORDS = 8, LEAST = 3, MOST = 8 };
    size_t n = 0, from = 0;
    for (size_t i = phrase->to; i < c->n_words && (n > 0 || i < phrase->to + BEHIND); i++) {
        const struct detect_word *w = &c->words[i];
        const size_t length = letters_of(c, i);
        if (w->flags & WORD_DIGITS && length < LEAST)
            continue;
        const bool told = length >= LEAST && length <= MOST && !(w->flags & WORD_DIGIT) &&
                          !is_everyday(c, i) &&
                          (n > 0 ? seed_goes_on(c, from, i) : seed_begins(c, phrase, i));
        from = told && n > 0 ? from : i;
        n = told ? n + 1 : 0;
        if (n == WORDS) {
            *out = (struct detect_atom){CUE(seed), phrase->from, i + 1};
            return true;
        }
    }
    return false;
}

/* What stands in a password beside its words: a sign or how it is written, and another one or a figure. The
 * word behind both; 0: not there. */
static size_t signs_end(const struct detect_context *c, size_t from, size_t at)
{
    enum { NEAR = 5 };
    size_t n = 0, signs = 0, end = 0;
    for (size_t i = from; i < c->n_words && i < at + NEAR; i++) {
        const struct detect_word *w = &c->words[i];
        bool sign = detect_atom_in(c, CUE(sign), i, i + 1);
        bool figure = detect_word_is(w, CUE(figure) | CUE(tens)) || w->flags & WORD_DIGIT;
        if (w->sentence != c->words[from].sentence)
            break;
        signs += sign;
        n += sign || figure;
        end = sign || figure ? i + 1 : end;
    }
    return signs > 0 && n > 1 ? end : 0;
}

/* "The wifi password is blue heron underscore forty two, no spaces": behind "is" or a colon a word,
 * and nothing that a sentence about passwords has ("password: hash with SHA-256", "passphrase: dollar sign
 * 1"). */
bool detect_spelled(
    const struct detect_context *c, const struct detect_atom *password, struct detect_atom *out)
{
    enum { SAYS = 6, VALUE = 6 };
    size_t from = 0, end;
    for (size_t i = password->to - 1; i < c->n_words && i < password->to + SAYS && from == 0; i++)
        if (detect_word_is(&c->words[i], CUE(copula)) || c->words[i].flags & WORD_COLON)
            from = i + 1;
    for (size_t i = from; from > 0 && i < c->n_words && i < from + VALUE; i++) {
        if (c->words[i].sentence != c->words[password->from].sentence)
            return false;
        if (detect_atom_in(c, CUE(sign), i, i + 1)) {
            end = i > from ? signs_end(c, from, i) : 0;
            *out = (struct detect_atom){CUE(sign), password->from, end};
            return end > 0;
        }
        if (is_everyday(c, i))
            return false;
    }
    return false;
}

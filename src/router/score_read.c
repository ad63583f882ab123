/* One reading of a text for both halves of the score: what is counted in it, and its grams.
 *
 *   text   P r o v e   i t :   3 . 1 4
 *   tokens +-letters-+ +-+ S   D S +-D     a run of letters, a sign, a run of digits
 *
 * A block of 64 bytes gives a bit for each byte where a token begins; a run that goes on behind its block is
 * followed byte by byte. A word's first eight bytes, letters made small, serve its hash and the list of words
 * that count. */
#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "base/embed.h"
#include "router/byte_map.h"
#include "router/score.h"

EMBED(complexity_grams, "data/complexity.grams");

static struct score_gram_weights weights; /* a copy: the file's bytes stand anywhere */

/* ---- Signs. ---- */
static const unsigned char signs[128] = {['\\'] = SCORE_SYMBOL,
    ['^'] = SCORE_SYMBOL,
    ['_'] = SCORE_SYMBOL,
    ['='] = SCORE_SYMBOL,
    ['{'] = SCORE_SYMBOL,
    ['}'] = SCORE_SYMBOL,
    ['+'] = SCORE_SYMBOL,
    ['*'] = SCORE_SYMBOL,
    ['<'] = SCORE_SYMBOL,
    ['>'] = SCORE_SYMBOL,
    ['('] = SCORE_BRACKET,
    [')'] = SCORE_BRACKET,
    ['['] = SCORE_BRACKET,
    [']'] = SCORE_BRACKET,
    [','] = SCORE_COMMA,
    [';'] = SCORE_COMMA,
    ['.'] = SCORE_STOP,
    ['?'] = SCORE_QUESTION,
    ['%'] = SCORE_PERCENT,
    ['$'] = SCORE_PERCENT};

/* ---- Words that count: work that small models fail at (HARD; also the beginning of a longer word), a sum in
 * several steps (STEP), what turns a sentence round (NOT), comparisons (MORE), and something to be made
 * (TASK). ---- */
#define W(kind, text)                                                                                        \
    {                                                                                                        \
        {text, sizeof text - 1}, SCORE_##kind, 0, 0, 0                                                       \
    }
static struct word {
    struct str text;
    enum score_word kind;
    uint64_t head, mask; /* its first eight letters, and the bytes they take */
    unsigned char next;  /* in the same slot, as there */
} words[] = {W(HARD, "algorithm"), W(HARD, "analy"), W(HARD, "complexity"), W(HARD, "compare"),
    W(HARD, "constraints"), W(HARD, "derive"), W(HARD, "design"), W(HARD, "divis"), W(STEP, "each"),
    W(HARD, "equation"), W(STEP, "every"), W(NOT, "except"), W(HARD, "expected"), W(NOT, "false"),
    W(STEP, "half"), W(IF, "if"), W(HARD, "implement"), W(NOT, "incorrect"), W(HARD, "integer"),
    W(HARD, "integral"), W(STEP, "left"), W(HARD, "matrix"), W(HARD, "modulo"), W(NOT, "never"),
    W(NOT, "not"), W(HARD, "optimi"), W(STEP, "per"), W(HARD, "polynomial"), W(HARD, "probability"),
    W(HARD, "proof"), W(HARD, "prove"), W(STEP, "remaining"), W(HARD, "theorem"), W(STEP, "times"),
    W(STEP, "total"), W(STEP, "twice"), W(NOT, "unless"), W(NOT, "without"), W(MORE, "more"), W(MORE, "less"),
    W(MORE, "than"), W(MORE, "most"), W(MORE, "least"), W(MORE, "greater"), W(MORE, "fewer"),
    W(TASK, "write"), W(TASK, "explain"), W(TASK, "describe"), W(TASK, "solve"), W(TASK, "calculate"),
    W(TASK, "find"), W(TASK, "compute"), W(TASK, "determine"), W(TASK, "list"), W(TASK, "give"),
    W(TASK, "summarize"), W(TASK, "translate")};
enum { N_WORDS = sizeof words / sizeof *words, SLOT_BITS = 10 };
/* By the hash of their first four letters: index + 1, 0: none. (Those that may begin a longer word have
 * four.)
 */
static unsigned char slots[1 << SLOT_BITS];

static size_t slot_of(uint64_t head)
{
    return (uint32_t)head * 0x9e3779b1u >> (32 - SLOT_BITS);
}

/* ---- Hashes. ---- */
static const uint64_t small_letters = 0x2020202020202020u; /* makes letters small */
static uint32_t sign_hash[128];

static uint32_t mix(uint64_t x)
{
    x *= 0x9e3779b97f4a7c15u;
    return (uint32_t)(x >> 32 ^ x >> 11);
}

static uint16_t place_of(uint32_t hash)
{
    return (uint16_t)((uint64_t)hash * 0x85ebca6bu >> 24);
}

/* The first n of eight bytes. */
static uint64_t bytes_first(uint64_t eight, size_t n)
{
    return n < 8 ? eight & (((uint64_t)1 << 8 * n) - 1) : eight;
}

static uint64_t eight_at_end(struct str text, size_t at)
{
    uint64_t eight = 0;
    memcpy(&eight, text.data + at, text.len - at);
    return eight | small_letters;
}

/* Up to eight bytes from `at` on, without reading behind the text. */
static inline uint64_t eight_at(struct str text, size_t at)
{
    uint64_t eight;
    if (text.len - at < sizeof eight)
        return eight_at_end(text, at);
    memcpy(&eight, text.data + at, sizeof eight);
    return eight | small_letters;
}

/* Of a word of n bytes; `head`: its first eight, or all. */
static inline uint32_t word_hash(struct str text, size_t at, size_t n, uint64_t head)
{
    uint64_t state = n;
    while (n >= 8) {
        state = (state ^ head) * 0xff51afd7ed558ccdu;
        at += 8;
        n -= 8;
        head = n > 0 ? bytes_first(eight_at(text, at), n) : 0;
    }
    return mix(state ^ head);
}

static void tables_make(void)
{
    assert((size_t)(complexity_grams_end - complexity_grams) == sizeof weights);
    memcpy(&weights, complexity_grams, sizeof weights);
    for (size_t i = 0; i < N_WORDS; i++) {
        struct word *w = &words[i];
        w->head = bytes_first(eight_at(w->text, 0), w->text.len);
        w->mask = bytes_first(~(uint64_t)0, w->text.len);
        w->next = slots[slot_of(w->head)];
        slots[slot_of(w->head)] = (unsigned char)(i + 1);
    }
    for (unsigned c = 0; c < sizeof sign_hash / sizeof *sign_hash; c++)
        sign_hash[c] = mix(1 ^ (c | 0x20));
}

const struct score_gram_weights *score_weights(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, tables_make);
    return &weights;
}

/* ---- Tokens. ---- */
struct reading {
    struct str text;
    uint64_t seen[SCORE_GRAMS / 64]; /* a bit for each place that came */
    struct score_counts counts;
    uint16_t *places; /* NULL: not asked for */
    uint32_t before;  /* the token before, hashed */
    int32_t sum;
    size_t n_grams;
};

/* 1: the place came for the first time. */
static inline uint32_t place_add(struct reading *r, uint16_t place)
{
    uint64_t *const seen = &r->seen[place >> 6];
    const uint32_t first = (uint32_t)(~*seen >> (place & 63)) & 1;
    *seen |= (uint64_t)1 << (place & 63);
    r->sum += weights.gram[place] & -(int32_t)first;
    if (r->places)
        r->places[r->n_grams] = place;
    r->n_grams += first;
    return first;
}

/* The token's own place and its pair's with the token before. 1: the token came for the first time. */
static inline uint32_t gram_add(struct reading *r, uint32_t hash)
{
    const uint32_t first = place_add(r, place_of(hash));
    (void)place_add(r, place_of(hash * 31 + r->before));
    r->before = hash * 0x9e3779b1u;
    return first;
}

/* A word's head holds zeros behind its end. */
static void kind_count(struct score_counts *c, struct str word, uint64_t head)
{
    for (size_t i = slots[slot_of(head)]; i > 0; i = words[i - 1].next) {
        const struct word *w = &words[i - 1];
        c->word[w->kind] +=
            (head & w->mask) == w->head && (word.len == w->text.len || w->kind == SCORE_HARD) &&
            (w->text.len <= 8 || str_is_nocase(str_slice(word, 0, w->text.len), w->text.data));
    }
}

static inline void word_take(struct reading *r, size_t at, size_t n)
{
    uint64_t head = bytes_first(eight_at(r->text, at), n);
    r->counts.repeated += !gram_add(r, word_hash(r->text, at, n, head));
    r->counts.words++;
    r->counts.letters += n;
    r->counts.long_words += n >= 9;
    if (slots[slot_of(head)] > 0)
        kind_count(&r->counts, (struct str){r->text.data + at, n}, head);
}

/* Numbers are told apart by how long they are. */
static void number_take(struct reading *r, size_t n)
{
    r->counts.numbers++;
    gram_add(r, 0x1234567u + (uint32_t)(n > 3 ? 3 : n));
}

static bool digit_at(struct str text, size_t i)
{
    return i < text.len && text.data[i] >= '0' && text.data[i] <= '9';
}

static void sign_take(struct reading *r, size_t i)
{
    char c = r->text.data[i];
    gram_add(r, sign_hash[c & 127]);
    if ((c == '.' || c == ',') && i > 0 && digit_at(r->text, i - 1) && digit_at(r->text, i + 1))
        r->counts.numbers--; /* "3.14" is one */
    else
        r->counts.sign[signs[c & 127]]++;
}

/* "A." "b)" "(C)" at the beginning of a line. */
static bool choice_at(struct str text, size_t i)
{
    i += i < text.len && text.data[i] == '(';
    return i + 1 < text.len && strchr("abAB", text.data[i]) && strchr(").:", text.data[i + 1]);
}

static void lines_count(struct score_counts *c, struct str text, size_t block, uint64_t bits)
{
    for (; bits; bits &= bits - 1) {
        size_t i = block + byte_first(bits);
        c->lines += text.data[i] == '\n';
        c->choices |= text.data[i] == '\n' && choice_at(text, i + 1);
    }
}

static uint64_t apostrophes_in(struct str text, size_t block, uint64_t bits)
{
    uint64_t found = 0;
    for (; bits; bits &= bits - 1)
        if (text.data[block + byte_first(bits)] == '\'')
            found |= bits & (0 - bits);
    return found;
}

static size_t run_end(struct str text, size_t i, bool digits)
{
    for (; i < text.len; i++) {
        char c = text.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '\'' || c & '\x80';
        if (digits ? !digit_at(text, i) : !letter)
            break;
    }
    return i;
}

/* How many bytes of a run stand from bit `at` on, and behind the block. */
static inline size_t run_length(struct str text, size_t block, uint64_t run, size_t at, bool digits)
{
    uint64_t behind = ~(run >> at);
    size_t n = behind ? byte_first(behind) : 64;
    return at + n < 64 ? n : run_end(text, block + 64, digits) - block - at;
}

static void text_read(struct reading *r)
{
    const struct str text = r->text;
    uint64_t last_letter = 0, last_digit = 0; /* of the block before, the last bit */
    for (size_t block = 0; block < text.len; block += 64) {
        uint64_t here[BYTE_CLASSES];
        byte_map_block(str_slice(text, block, block + 64), here);
        uint64_t apostrophes = apostrophes_in(text, block, here[BYTE_SIGN]), digits = here[BYTE_DIGIT];
        uint64_t letters = (here[BYTE_WORD] & ~digits) | apostrophes;
        uint64_t sign_bits = here[BYTE_SIGN] & ~apostrophes;
        uint64_t begin =
            sign_bits | (letters & ~(letters << 1 | last_letter)) | (digits & ~(digits << 1 | last_digit));
        for (; begin; begin &= begin - 1) {
            size_t at = byte_first(begin);
            uint64_t bit = begin & (0 - begin);
            if (letters & bit)
                word_take(r, block + at, run_length(text, block, letters, at, false));
            else if (sign_bits & bit)
                sign_take(r, block + at);
            else
                number_take(r, run_length(text, block, digits, at, true));
        }
        last_letter = letters >> 63;
        last_digit = digits >> 63;
        lines_count(&r->counts, text, block, here[BYTE_CONTROL]);
        for (uint64_t capitals = here[BYTE_UPPER]; capitals; capitals &= capitals - 1)
            r->counts.capitals++;
    }
}

void score_read(struct str text, struct score_counts *counts, struct score_grams *grams)
{
    (void)score_weights();
    struct reading r = {.text = str_slice(text, 0, grams ? SCORE_GRAM_TEXT : SCORE_TEXT),
        .places = grams ? grams->places : NULL};
    text_read(&r);
    if (counts)
        *counts = r.counts;
    if (grams) {
        grams->n = r.n_grams;
        grams->sum = r.sum;
    }
}

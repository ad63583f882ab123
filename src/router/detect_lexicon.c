#include "router/detect_lexicon.h"

#include <stdlib.h>
#include <string.h>

#include "base/embed.h"
#include "base/table.h"

EMBED(detect_names_txt, "data/names.txt");
EMBED(detect_cues_txt, "data/cues.txt");

/* ---- Folding. ---- */

/* U+00C0 .. U+017F; 1 to 4 are two letters each. */
static const char latin[] = "aaaaaa\1ceeeeiiiidnoooooxouuuuy\2\3"
                            "aaaaaa\1ceeeeiiiidnoooooxouuuuy\2y"
                            "aaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiiiiijjkkkllllllllllnnnnnnnnn"
                            "oooooo\4\4rrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzs";
static const char *const pairs[] = {"", "ae", "th", "ss", "oe"};
enum { LATIN_FIRST = 0xC0, LATIN_LAST = 0x17F };

/* The folded bytes of a word, eight at a time (the last ones padded with zeros): as many as a machine word
 * holds are hashed in one step, whether they come from a text as it stands or folded byte by byte. */
struct hash {
    uint64_t state, pending;
    unsigned n_pending;
    uint32_t head, tail; /* the first four bytes, the last four */
};
static const uint64_t hash_start = 0xcbf29ce484222325u, hash_prime = 0x9e3779b97f4a7c15u;

static uint64_t hash_eight(uint64_t state, uint64_t eight)
{
    state = (state ^ eight) * hash_prime;
    return state ^ state >> 32;
}

static void hash_byte(struct hash *h, char c)
{
    h->pending |= (uint64_t)(unsigned char)c << 8 * h->n_pending++;
    h->tail = h->tail >> 8 | (uint32_t)(unsigned char)c << 24;
    if (h->n_pending == 4 && h->state == hash_start)
        h->head = h->tail;
    if (h->n_pending == 8) {
        h->state = hash_eight(h->state, h->pending);
        h->pending = h->n_pending = 0;
    }
}

static uint64_t hash_end(const struct hash *h)
{
    return h->n_pending ? hash_eight(h->state, h->pending) : h->state;
}

size_t detect_letter_fold(struct str text, size_t at, char out[4], size_t *n_out, bool *capital)
{
    unsigned char lead = (unsigned char)text.data[at];
    unsigned char next = at + 1 < text.len ? (unsigned char)text.data[at + 1] : 0;
    size_t n = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    *capital = false;
    *n_out = 0;
    if (lead == 0xC2 || lead == 0xE2 || (lead == 0xE3 && next == 0x80) || at + n > text.len)
        return 0;
    if (lead >= 0xC3 && lead <= 0xC5) {
        unsigned c = ((unsigned)lead & 31) << 6 | (next & 63);
        char folded = latin[c - LATIN_FIRST];
        bool odd = c & 1, odd_is_capital = (c >= 0x139 && c <= 0x148) || c >= 0x179;
        *capital = c <= 0xDE || c == 0x178 || (c >= 0x100 && odd == odd_is_capital);
        *n_out = folded > 4 ? 1 : 2;
        out[0] = folded > 4 ? folded : pairs[(int)folded][0];
        out[1] = folded > 4 ? '\0' : pairs[(int)folded][1];
        return n;
    }
    if (lead == 0xCC || (lead == 0xCD && next < 0xB0)) /* accents on their own */
        return n;
    *capital =
        (lead == 0xCE && next >= 0x86 && next <= 0xA9) || (lead == 0xD0 && next >= 0x81 && next <= 0xAF);
    memcpy(out, text.data + at, n);
    *n_out = n;
    return n;
}

/* The same, into the hash. */
static size_t letter_read(struct str text, size_t at, struct hash *hash, bool *capital)
{
    char folded[4];
    size_t n, length = detect_letter_fold(text, at, folded, &n, capital);
    for (size_t i = 0; i < n; i++)
        hash_byte(hash, folded[i]);
    return length;
}

/* ---- The table. An entry is a word, or the beginning of a phrase; open addressing, no removal. ---- */
enum { TABLE_SIZE = 1 << 17 };
enum { GOES_ON = 1, GOES_ANY = 2, GOES_NUMBER = 4, GOES_CAPITAL = 8 };
struct entry {
    uint64_t hash;        /* 0: free */
    uint64_t kinds;       /* of what ends here */
    uint64_t colon_kinds; /* only where a colon follows */
    unsigned goes;
};
static struct entry *table;
/* Most words are not in it: a bit of a small map says so before the table is touched. */
enum { MAP_BITS = 1 << 20 };
static uint64_t *map;
static size_t n_entries;

static size_t place_of(uint64_t hash)
{
    return (hash ^ hash >> 29) & (TABLE_SIZE - 1);
}

static struct entry *entry_find(uint64_t hash)
{
    for (size_t i = place_of(hash);; i = (i + 1) & (TABLE_SIZE - 1))
        if (table[i].hash == hash || table[i].hash == 0)
            return &table[i];
}

static uint64_t *map_word(uint64_t hash)
{
    return &map[hash / 64 % (MAP_BITS / 64)];
}

static bool may_be_there(uint64_t hash)
{
    return *map_word(hash) >> hash % 64 & 1;
}

/* Does a phrase begin with the word, with its stem? The entries are asked for, so that nobody waits for
 * memory when phrases are followed; no branch tells known words. */
static unsigned known(const struct detect_word *w)
{
    bool word = may_be_there(w->hash), stem = (w->stem != 0) & may_be_there(w->stem);
    __builtin_prefetch(&table[place_of(w->hash) & (0 - (size_t)word)]);
    __builtin_prefetch(&table[place_of(w->stem) & (0 - (size_t)stem)]);
    return (word ? WORD_KNOWN : 0u) | (stem ? WORD_STEM_KNOWN : 0u);
}

/* ---- Words. ---- */
static const uint64_t STEM_MARK = 0x5bd1e9955bd1e995u;
enum { ASCII_NONE, ASCII_LOWER, ASCII_UPPER, ASCII_DIGIT };
static const unsigned char ascii[256] = {
    ['a' ... 'z'] = ASCII_LOWER, ['A' ... 'Z'] = ASCII_UPPER, ['0' ... '9'] = ASCII_DIGIT};

/* What stands between this word and the next. A sentence ends at ".!?" before a space and at an empty line;
 * not behind an initial or a short abbreviation. */
static unsigned gap_read(struct str text, const struct detect_word *w, unsigned *sentence)
{
    unsigned flags = 0;
    size_t lines = 0, at = w->end;
    for (size_t i = at; i < text.len && i - at < 16; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (ascii[c] || (c >= 0xC3 && c != 0xE2))
            break;
        if (c == ':' || c == '=' || c == '|')
            flags |= WORD_COLON;
        else if (c == ',' || c == ';')
            flags |= WORD_COMMA;
        else if (c == '\n')
            lines++;
        else if ((c == '-' || c == '\'' || c == '_') && i == at)
            flags |= WORD_JOINED;
        else if (c == '.' || c == '!' || c == '?') {
            bool ends = i + 1 == text.len || (unsigned char)text.data[i + 1] <= ' ';
            if (ends && (c != '.' || w->end - w->start > 3))
                flags |= WORD_STOP;
        }
    }
    if (lines > 0)
        flags |= WORD_LINE;
    if ((flags & WORD_STOP) || lines > 1)
        ++*sentence;
    return flags;
}

/* Mostly there is nothing but a space between words. */
static unsigned gap_of(struct str text, const struct detect_word *w, unsigned *sentence)
{
    size_t at = w->end;
    if (at + 1 < text.len && text.data[at] == ' ' && ascii[(unsigned char)text.data[at + 1]] != ASCII_NONE)
        return 0;
    return gap_read(text, w, sentence);
}

/* What a word is made of: its capitals and digits among its letters, one mask each. */
static unsigned ascii_flags(uint64_t upper, uint64_t digit, uint64_t whole)
{
    bool capital = upper & whole & (0 - whole), several = whole & (whole - 1);
    return (capital ? WORD_CAPITAL : 0u) | (upper == whole && several ? WORD_UPPER : 0u) |
           (digit == whole ? WORD_DIGITS : 0u) | (digit ? WORD_DIGIT : 0u);
}

/* The next word at or behind *at, byte by byte, in any script; false if there is none. */
static bool word_read(struct str text, size_t *at, struct detect_word *out)
{
    size_t i = *at, n = 0, digits = 0, capitals = 0;
    bool capital = false;
    struct hash hash = {.state = hash_start};
    for (; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        struct hash ignored = {0};
        if (c < 0x80) {
            if (ascii[c] != ASCII_NONE)
                break;
            continue;
        }
        if (letter_read(text, i, &ignored, &capital) > 0)
            break;
        while (i + 1 < text.len && ((unsigned char)text.data[i + 1] & 0xC0) == 0x80)
            i++;
    }
    *out = (struct detect_word){.start = i};
    for (size_t step; i < text.len; i += step, n++) {
        unsigned char c = (unsigned char)text.data[i];
        step = 1;
        if (c < 0x80) {
            unsigned char kind = ascii[c];
            if (kind == ASCII_NONE)
                break;
            capital = kind == ASCII_UPPER;
            digits += kind == ASCII_DIGIT;
            hash_byte(&hash, (char)(capital ? c + 32 : c));
        } else if ((step = letter_read(text, i, &hash, &capital)) == 0) {
            break;
        }
        capitals += capital;
        if (n + 1 == STEM_LETTERS)
            out->stem = hash_end(&hash) ^ STEM_MARK;
        if (n + 1 >= STEM_LETTERS) {
            out->head = hash.head;
            out->tail = hash.tail;
        }
        if (n == 0 && capital)
            out->flags |= WORD_CAPITAL;
    }
    out->end = *at = i;
    out->hash = hash_end(&hash);
    out->flags |= (capitals == n && n > 1 ? WORD_UPPER : 0u) | (digits == n ? WORD_DIGITS : 0u) |
                  (digits > 0 ? WORD_DIGIT : 0u);
    return n > 0;
}

/* Up to eight bytes, one at least, of ASCII letters and digits in lower case: bit 5 makes letters small and
 * is set in digits. */
static inline uint64_t eight_folded(struct str text, size_t at, size_t n)
{
    uint64_t eight = 0;
    if (text.len - at >= sizeof eight)
        memcpy(&eight, text.data + at, sizeof eight);
    else
        memcpy(&eight, text.data + at, text.len - at);
    eight |= 0x2020202020202020u;
    return eight & ~(uint64_t)0 >> (64 - 8 * (n < 8 ? n : 8));
}

/* A word of n ASCII letters and digits at i. Without a branch for those that have a stem. */
static inline void ascii_read(struct detect_word *out, struct str text, size_t i, size_t n)
{
    static const char no_word[4];
    uint64_t first = eight_folded(text, i, n), hash = hash_eight(hash_start, first);
    for (size_t done = 8; done < n; done += 8)
        hash = hash_eight(hash, eight_folded(text, i + done, n - done));
    const uint64_t has_stem = 0 - (uint64_t)(n >= STEM_LETTERS);
    const uint64_t stem = hash_eight(hash_start, first & ~(uint64_t)0 >> (64 - 8 * STEM_LETTERS)) ^ STEM_MARK;
    const char *end = has_stem ? text.data + i + n : no_word + sizeof no_word;
    uint32_t tail;
    memcpy(&tail, end - sizeof tail, sizeof tail);
    *out = (struct detect_word){.start = i,
        .end = i + n,
        .hash = hash,
        .stem = stem & has_stem,
        .head = (uint32_t)(first & has_stem),
        .tail = (tail | 0x20202020u) & (uint32_t)has_stem};
}

/* The words of a block from *i on, as far as there is room and they are ASCII and end in it; *i and *out move
 * behind them. True: at *i stands a word that is to be read byte by byte. */
static bool block_read(const struct byte_map *m, size_t *i, unsigned *sentence, struct detect_word **out,
    const struct detect_word *last)
{
    const size_t block = *i - *i % 64;
    const uint64_t *here = m->bits + block / 64 * BYTE_CLASSES, *next = here + BYTE_CLASSES;
    const uint64_t other = here[BYTE_UPPER] | here[BYTE_DIGIT], high = here[BYTE_HIGH];
    const uint64_t ascii_next = (here[BYTE_WORD] & ~high) >> 1 | (next[BYTE_WORD] & ~next[BYTE_HIGH]) << 63;
    const uint64_t space = here[BYTE_SPACE] & ascii_next; /* says all that stands between two words */
    const bool goes_on = next[BYTE_WORD] & 1;
    uint64_t rest = here[BYTE_WORD] & ~(uint64_t)0 << *i % 64;
    struct detect_word *w = *out;
    bool other_word = false;
    for (; rest && w < last; w++) {
        uint64_t behind = rest + (rest & (0 - rest)), run = rest & ~behind;
        size_t from = byte_first(rest), to = behind ? byte_first(behind) : 64;
        if ((other_word = run & high || (to == 64 && goes_on)))
            break;
        rest &= behind;
        ascii_read(w, m->text, block + from, to - from);
        w->flags = run & other ? ascii_flags(run & here[BYTE_UPPER], run & here[BYTE_DIGIT], run) : 0;
        w->sentence = *sentence;
        w->flags |= to < 64 && space >> to & 1 ? 0 : gap_of(m->text, w, sentence);
    }
    *i = block + (rest ? byte_first(rest) : 64);
    *out = w;
    return other_word;
}

/* A word of less than 64 ASCII letters and digits that goes on in the next block. */
static bool across_read(const struct byte_map *m, size_t *at, struct detect_word *w)
{
    uint64_t behind = ~byte_bits(m, BYTE_WORD, *at), run = (behind & (0 - behind)) - 1;
    if (behind == 0 || byte_bits(m, BYTE_HIGH, *at) & run)
        return false;
    ascii_read(w, m->text, *at, byte_first(behind));
    w->flags = ascii_flags(byte_bits(m, BYTE_UPPER, *at) & run, byte_bits(m, BYTE_DIGIT, *at) & run, run);
    *at = w->end;
    return true;
}

size_t detect_words_read(
    const struct byte_map *m, size_t *at, unsigned *sentence, struct detect_word *out, size_t most)
{
    const struct detect_word *last = out + most;
    struct detect_word *w = out;
    while (*at < m->text.len && w < last) {
        if (!block_read(m, at, sentence, &w, last))
            continue;
        if (!across_read(m, at, w) && !word_read(m->text, at, w))
            break;
        w->sentence = *sentence;
        w->flags |= gap_of(m->text, w, sentence);
        w++;
    }
    for (struct detect_word *k = out; k < w; k++) /* in a loop of its own, that waits for many at once */
        k->flags |= known(k);
    return (size_t)(w - out);
}

uint64_t detect_word_hash(struct str word)
{
    struct detect_word w = {0};
    size_t at = 0;
    (void)word_read(word, &at, &w);
    return w.hash;
}

static uint64_t hash_join(uint64_t phrase, uint64_t word)
{
    return (phrase ^ word * 0x9e3779b97f4a7c15u) * hash_prime + (phrase >> 31);
}

enum { ANY_HASH = 3, NUMBER_HASH = 5, CAPITAL_HASH = 7 };

static int lexicon_error(const char *what, struct str line, struct error *err)
{
    return error_set(err, ERROR_INTERNAL, "the detector's lexicon: %s in '" STR_FMT "'", what,
        STR_ARG(str_slice(line, 0, 40)));
}

/* Adds the word at *at, behind which *at moves, to what *e (NULL: nothing yet) has of the phrase. "*" is any
 * word, "#" one with a digit, "^" one with a capital. */
static int word_add(struct entry **e, struct str phrase, size_t *at, struct error *err)
{
    const char c = phrase.data[*at];
    unsigned goes = GOES_ON;
    uint64_t hash;
    if (c == '*' || c == '#' || c == '^') {
        goes = c == '*' ? GOES_ANY : c == '#' ? GOES_NUMBER : GOES_CAPITAL;
        hash = c == '*' ? ANY_HASH : c == '#' ? NUMBER_HASH : CAPITAL_HASH;
        ++*at;
    } else {
        struct detect_word w;
        if (!word_read(phrase, at, &w))
            return lexicon_error("no word", phrase, err);
        const bool stem = *at < phrase.len && phrase.data[*at] == '~';
        hash = stem ? w.stem : w.hash;
        *at += stem;
    }
    if (*e) {
        (*e)->goes |= goes;
        hash = hash_join((*e)->hash, hash);
    }
    *e = entry_find(hash);
    if ((*e)->hash == 0 && ++n_entries > TABLE_SIZE / 4 * 3)
        return lexicon_error("no room for what is", phrase, err);
    (*e)->hash = hash;
    *map_word(hash) |= (uint64_t)1 << hash % 64;
    return 0;
}

static int phrase_add(struct entry *e, struct str phrase, uint64_t kind, struct error *err);

/* Behind `e` "(my|our)", which is each of these words in turn, and then the rest of the phrase. */
static int choices_add(struct entry *e, struct str phrase, uint64_t kind, struct error *err)
{
    const size_t end = str_find_char(phrase, ')');
    if (end == SIZE_MAX)
        return lexicon_error("no ')'", phrase, err);
    struct str choices = str_slice(phrase, 1, end), rest = str_slice(phrase, end + 1, phrase.len), choice;
    int rc = 0;
    while (rc == 0 && str_split(&choices, '|', &choice)) {
        struct entry *one = e;
        size_t at = 0;
        rc = word_add(&one, choice, &at, err);
        if (rc == 0 && at < choice.len)
            rc = lexicon_error("more than a word to choose", phrase, err);
        rc = rc ? rc : phrase_add(one, rest, kind, err);
    }
    return rc;
}

/* What of a phrase stands behind `e`, which is NULL at its beginning. */
static int phrase_add(struct entry *e, struct str phrase, uint64_t kind, struct error *err)
{
    size_t at = 0;
    while (at < phrase.len) {
        const char c = phrase.data[at];
        if (c == '(')
            return choices_add(e, str_slice(phrase, at, phrase.len), kind, err);
        if (c == ' ' || c == ':') {
            at++;
            continue;
        }
        int rc = word_add(&e, phrase, &at, err);
        if (rc)
            return rc;
    }
    if (e)
        *(str_ends(phrase, STR(":")) ? &e->colon_kinds : &e->kinds) |= kind;
    return 0;
}

/* Lines "kind: phrase, phrase"; with `names` the phrases are words with spaces between. '#' and a space begin
 * a comment. */
static int file_read(struct str file, char between, struct error *err)
{
    static const char *const names[] = {
#define X(name) #name,
        DETECT_CUES(X)
#undef X
    };
    struct str line, phrase;
    int rc = 0;
    while (rc == 0 && str_split(&file, '\n', &line)) {
        size_t colon = str_find_char(line, ':'), kind = 0;
        if (line.len == 0 || str_starts(line, STR("# ")))
            continue;
        while (kind < DETECT_N_CUES && !str_is(str_slice(line, 0, colon), names[kind]))
            kind++;
        if (colon == SIZE_MAX || kind == DETECT_N_CUES)
            return lexicon_error("no kind", line, err);
        line = str_slice(line, colon + 1, line.len);
        while (rc == 0 && str_split(&line, between, &phrase))
            rc = phrase_add(NULL, str_trim(phrase), (uint64_t)1 << kind, err);
    }
    return rc;
}

int detect_lexicon_init(struct error *err)
{
    table = table_alloc(TABLE_SIZE * sizeof *table);
    map = table_alloc(MAP_BITS / 8);
    if (!table || !map)
        return error_set(err, ERROR_MEMORY, "no memory for the detector's lexicon");
    struct str names = EMBEDDED(detect_names_txt);
    struct str cues = EMBEDDED(detect_cues_txt);
    int rc = file_read(names, ' ', err);
    return rc ? rc : file_read(cues, ',', err);
}

struct walk {
    const struct detect_word *words;
    size_t n, from;
    void (*found)(void *ctx, size_t from, size_t to, uint64_t kinds);
    void *ctx;
};

static void phrase_follow(const struct walk *k, const struct entry *e, size_t at, size_t depth);

/* The phrase so far, with the word at `at`, may have that hash. */
static void phrase_step(const struct walk *k, uint64_t hash, size_t at, size_t depth)
{
    const struct entry *e = entry_find(hash);
    if (e->hash == 0)
        return;
    uint64_t kinds = e->kinds | (k->words[at].flags & WORD_COLON ? e->colon_kinds : 0);
    if (kinds)
        k->found(k->ctx, k->from, at + 1, kinds);
    if (e->goes && at + 1 < k->n && depth < PHRASE_MOST)
        phrase_follow(k, e, at + 1, depth + 1);
}

static inline void phrase_try(const struct walk *k, uint64_t hash, size_t at, size_t depth)
{
    if (may_be_there(hash))
        phrase_step(k, hash, at, depth);
}

/* With the word at `at` the phrase so far may go on in several ways. */
static void phrase_follow(const struct walk *k, const struct entry *e, size_t at, size_t depth)
{
    const struct detect_word *w = &k->words[at];
    if (e->goes & GOES_ON) {
        phrase_try(k, hash_join(e->hash, w->hash), at, depth);
        if (w->stem != 0)
            phrase_try(k, hash_join(e->hash, w->stem), at, depth);
    }
    if (e->goes & GOES_ANY)
        phrase_try(k, hash_join(e->hash, ANY_HASH), at, depth);
    if (e->goes & GOES_NUMBER && w->flags & WORD_DIGIT)
        phrase_try(k, hash_join(e->hash, NUMBER_HASH), at, depth);
    if (e->goes & GOES_CAPITAL && w->flags & WORD_CAPITAL)
        phrase_try(k, hash_join(e->hash, CAPITAL_HASH), at, depth);
}

void detect_phrases_at(const struct detect_word *words, size_t n, size_t i,
    void (*found)(void *ctx, size_t from, size_t to, uint64_t kinds), void *ctx)
{
    struct walk k = {words, n, i, found, ctx};
    if (words[i].flags & WORD_KNOWN)
        phrase_step(&k, words[i].hash, i, 1);
    if (words[i].flags & WORD_STEM_KNOWN)
        phrase_step(&k, words[i].stem, i, 1);
}

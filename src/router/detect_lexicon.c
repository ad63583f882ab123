#include "router/detect_lexicon.h"

#include <stdlib.h>
#include <string.h>

#include "base/embed.h"

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
enum { HASH_SPACE = ' ' };
static const uint64_t hash_start = 0xcbf29ce484222325u, hash_prime = 0x100000001b3u;

static uint64_t hash_byte(uint64_t h, char c)
{
    return (h ^ (unsigned char)c) * hash_prime;
}

uint64_t detect_word_hash(const char *ascii_lower)
{
    uint64_t h = hash_start;
    while (*ascii_lower)
        h = hash_byte(h, *ascii_lower++);
    return h;
}

/* A letter of more than one byte at `at`: its length, its hash, is it a capital; 0 for a sign that ends
 * words. */
static size_t letter_read(struct str text, size_t at, uint64_t *hash, bool *capital)
{
    unsigned char lead = (unsigned char)text.data[at];
    unsigned char next = at + 1 < text.len ? (unsigned char)text.data[at + 1] : 0;
    size_t n = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    *capital = false;
    if (lead == 0xC2 || lead == 0xE2 || (lead == 0xE3 && next == 0x80) || at + n > text.len)
        return 0;
    if (lead >= 0xC3 && lead <= 0xC5) {
        unsigned c = ((unsigned)lead & 31) << 6 | (next & 63);
        char folded = latin[c - LATIN_FIRST];
        bool odd = c & 1, odd_is_capital = (c >= 0x139 && c <= 0x148) || c >= 0x179;
        *capital = c <= 0xDE || c == 0x178 || (c >= 0x100 && odd == odd_is_capital);
        if (folded > 4) {
            *hash = hash_byte(*hash, folded);
        } else {
            *hash = hash_byte(*hash, pairs[(int)folded][0]);
            *hash = hash_byte(*hash, pairs[(int)folded][1]);
        }
        return n;
    }
    if (lead == 0xCC || (lead == 0xCD && next < 0xB0)) /* accents on their own */
        return n;
    *capital =
        (lead == 0xCE && next >= 0x86 && next <= 0xA9) || (lead == 0xD0 && next >= 0x81 && next <= 0xAF);
    for (size_t i = 0; i < n; i++)
        *hash = hash_byte(*hash, text.data[at + i]);
    return n;
}

/* ---- Words. ---- */
static const uint64_t STEM_MARK = 0x5bd1e9955bd1e995u;
enum { ASCII_NONE, ASCII_LOWER, ASCII_UPPER, ASCII_DIGIT };
static const unsigned char ascii[128] = {
    ['a' ... 'z'] = ASCII_LOWER, ['A' ... 'Z'] = ASCII_UPPER, ['0' ... '9'] = ASCII_DIGIT};

/* What stands between this word and the next. A sentence ends at ".!?" before a space and at an empty line;
 * not behind an initial or a short abbreviation. */
static unsigned gap_read(struct str text, const struct detect_word *w, size_t at, unsigned *sentence)
{
    unsigned flags = 0;
    size_t lines = 0;
    if (at + 1 < text.len && text.data[at] == ' ' && !(text.data[at + 1] & '\x80') &&
        ascii[(unsigned char)text.data[at + 1]])
        return 0; /* mostly */
    for (size_t i = at; i < text.len && i - at < 16; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if ((c < 0x80 && ascii[c]) || (c >= 0xC3 && c != 0xE2))
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

bool detect_word_next(struct str text, size_t *at, unsigned *sentence, struct detect_word *out)
{
    size_t i = *at, n = 0, digits = 0, capitals = 0;
    bool capital = false;
    uint64_t hash = hash_start;
    for (; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        uint64_t ignored = 0;
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
    if (i >= text.len)
        return false;
    *out = (struct detect_word){.start = i, .sentence = *sentence};
    for (size_t step; i < text.len; i += step, n++) {
        unsigned char c = (unsigned char)text.data[i];
        step = 1;
        if (c < 0x80) {
            unsigned char kind = ascii[c];
            if (kind == ASCII_NONE)
                break;
            capital = kind == ASCII_UPPER;
            digits += kind == ASCII_DIGIT;
            hash = hash_byte(hash, (char)(capital ? c + 32 : c));
        } else if ((step = letter_read(text, i, &hash, &capital)) == 0) {
            break;
        }
        capitals += capital;
        if (n + 1 == STEM_LETTERS)
            out->stem = hash ^ STEM_MARK;
        if (n == 0 && capital)
            out->flags |= WORD_CAPITAL;
    }
    out->end = *at = i;
    out->hash = hash;
    out->flags |= (capitals == n && n > 1 ? WORD_UPPER : 0u) | (digits == n ? WORD_DIGITS : 0u) |
                  (digits > 0 ? WORD_DIGIT : 0u);
    out->flags |= gap_read(text, out, i, sentence);
    return true;
}

/* ---- The table. An entry is a word, or the beginning of a phrase; open addressing, no removal. ---- */
enum { TABLE_SIZE = 1 << 16, PHRASE_MOST = 8 };
enum { GOES_ON = 1, GOES_ANY = 2, GOES_NUMBER = 4, GOES_CAPITAL = 8, NEEDS_COLON = 16 };
struct entry {
    uint64_t hash;        /* 0: free */
    uint64_t kinds;       /* of what ends here */
    uint64_t colon_kinds; /* only where a colon follows */
    unsigned goes;
};
static struct entry *table;
/* Most words are not in it: a bit of a small map says so before the table is touched. */
enum { MAP_BITS = 1 << 18 };
static uint64_t map[MAP_BITS / 64];
static size_t n_entries;

static struct entry *entry_find(uint64_t hash)
{
    for (size_t i = (hash ^ hash >> 29) & (TABLE_SIZE - 1);; i = (i + 1) & (TABLE_SIZE - 1))
        if (table[i].hash == hash || table[i].hash == 0)
            return &table[i];
}

static bool may_be_there(uint64_t hash)
{
    size_t bit = hash >> 24 & (MAP_BITS - 1);
    return map[bit / 64] >> bit % 64 & 1;
}

static uint64_t hash_join(uint64_t phrase, uint64_t word)
{
    return (phrase ^ word * 0x9e3779b97f4a7c15u) * hash_prime + (phrase >> 31);
}

enum { ANY_HASH = 3, NUMBER_HASH = 5, CAPITAL_HASH = 7 };

/* "*" any word, "#" one with a digit, "^" one with a capital. */
static int phrase_add(struct str phrase, uint64_t kind, struct error *err)
{
    struct entry *e = NULL;
    uint64_t hash = 0;
    bool colon = str_ends(phrase, STR(":"));
    size_t at = 0;
    unsigned sentence = 0, goes;
    while (at < phrase.len) {
        struct detect_word w;
        uint64_t next;
        char c = phrase.data[at];
        if (c == ' ' || c == ':') {
            at++;
            continue;
        }
        goes = c == '*' ? GOES_ANY : c == '#' ? GOES_NUMBER : c == '^' ? GOES_CAPITAL : GOES_ON;
        if (goes != GOES_ON) {
            at++;
            next = c == '*' ? ANY_HASH : c == '#' ? NUMBER_HASH : CAPITAL_HASH;
        } else {
            if (!detect_word_next(phrase, &at, &sentence, &w))
                break;
            next = w.hash;
            if (at < phrase.len && phrase.data[at] == '~') {
                next = w.stem;
                at++;
            }
        }
        if (e)
            e->goes |= goes;
        hash = e ? hash_join(hash, next) : next;
        e = entry_find(hash);
        if (e->hash == 0 && ++n_entries > TABLE_SIZE / 4 * 3)
            return error_set(err, ERROR_INTERNAL, "the detector's lexicon is full");
        e->hash = hash;
        size_t bit = hash >> 24 & (MAP_BITS - 1);
        map[bit / 64] |= (uint64_t)1 << bit % 64;
    }
    if (e)
        *(colon ? &e->colon_kinds : &e->kinds) |= kind;
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
            return error_set(err, ERROR_INTERNAL, "the detector's lexicon: no kind in '" STR_FMT "'",
                STR_ARG(str_slice(line, 0, 40)));
        line = str_slice(line, colon + 1, line.len);
        while (rc == 0 && str_split(&line, between, &phrase))
            rc = phrase_add(str_trim(phrase), (uint64_t)1 << kind, err);
    }
    return rc;
}

int detect_lexicon_init(struct error *err)
{
    table = calloc(TABLE_SIZE, sizeof *table);
    if (!table)
        return error_set(err, ERROR_MEMORY, "no memory for the detector's lexicon");
    struct str names = {detect_names_txt, (size_t)(detect_names_txt_end - detect_names_txt)};
    struct str cues = {detect_cues_txt, (size_t)(detect_cues_txt_end - detect_cues_txt)};
    int rc = file_read(names, ' ', err);
    return rc ? rc : file_read(cues, ',', err);
}

struct walk {
    const struct detect_word *words;
    size_t n, from;
    void (*found)(void *ctx, size_t from, size_t to, uint64_t kinds);
    void *ctx;
};

/* Follows a phrase from the entry reached with the word before `at`. */
static void phrase_follow(const struct walk *k, const struct entry *e, size_t at, size_t depth)
{
    const struct detect_word *last = &k->words[at - 1];
    uint64_t kinds = e->kinds | (last->flags & WORD_COLON ? e->colon_kinds : 0);
    if (kinds)
        k->found(k->ctx, k->from, at, kinds);
    if (e->goes == 0 || at == k->n || depth == PHRASE_MOST)
        return;
    const struct detect_word *w = &k->words[at];
    const uint64_t next[] = {w->hash, w->stem, ANY_HASH, NUMBER_HASH, CAPITAL_HASH};
    const bool fits[] = {(e->goes & GOES_ON) != 0, (e->goes & GOES_ON) != 0 && w->stem != 0,
        (e->goes & GOES_ANY) != 0, e->goes & GOES_NUMBER && w->flags & WORD_DIGIT,
        e->goes & GOES_CAPITAL && w->flags & WORD_CAPITAL};
    for (size_t i = 0; i < sizeof next / sizeof *next; i++) {
        uint64_t hash = fits[i] ? hash_join(e->hash, next[i]) : 0;
        const struct entry *longer = fits[i] && may_be_there(hash) ? entry_find(hash) : NULL;
        if (longer && longer->hash != 0)
            phrase_follow(k, longer, at + 1, depth + 1);
    }
}

static void phrase_begin(const struct walk *k, uint64_t hash)
{
    const struct entry *e = may_be_there(hash) ? entry_find(hash) : NULL;
    if (e && e->hash != 0)
        phrase_follow(k, e, k->from + 1, 1);
}

void detect_phrases_at(const struct detect_word *words, size_t n, size_t i,
    void (*found)(void *ctx, size_t from, size_t to, uint64_t kinds), void *ctx)
{
    struct walk k = {words, n, i, found, ctx};
    phrase_begin(&k, words[i].hash);
    if (words[i].stem != 0)
        phrase_begin(&k, words[i].stem);
}

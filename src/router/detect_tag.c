#include "router/detect_tag.h"

#include <stdlib.h>
#include <string.h>

#include "base/embed.h"

EMBED(tag_weights, "data/tag.weights");

/* ---- What a word is to the tagger. ---- */
#define TAG_KINDS                                                                                            \
    (CUE(given) | CUE(surname) | CUE(both) | CUE(word) | CUE(title) | CUE(particle) | CUE(intro) |           \
        CUE(org) | CUE(street) | CUE(road) | CUE(unit) | CUE(live) | CUE(kin) | CUE(role) | CUE(self) |      \
        CUE(mine) | CUE(topic) | CUE(copula) | CUE(health) | CUE(ill) | CUE(money) | CUE(named))
#define NAME_KINDS (CUE(given) | CUE(surname) | CUE(both))
enum { NUMBER = 10, NAME = 30, CAPITAL = 31 }; /* in place of a word's hash */
#define MIX 0x9e3779b97f4a7c15u
enum shape { SHAPE_EDGE, SHAPE_LOWER, SHAPE_INITIAL, SHAPE_UPPER, SHAPE_CAPITAL, SHAPE_DIGITS };
enum gap {
    GAP_SPACE,
    GAP_STOP,
    GAP_BLANK, /* an empty line, the text's begin or end */
    GAP_HYPHEN,
    GAP_APOSTROPHE,
    GAP_LINE,
    GAP_COMMA_LINE,
    GAP_COMMA,
    GAP_COLON,
    GAP_DOT,
    GAP_BRACKET,
    GAP_QUOTE,
    GAP_QUOTED_LINE, /* "\n> " */
    GAP_OTHER
};

/* What stands between a word and the next one, or before the first and behind the last. */
static enum gap gap_between(struct str text, size_t end, size_t next)
{
    unsigned lines = 0;
    bool comma = false, colon = false, bracket = false, quote = false, stop = false, quoted = false;
    if (end == 0 || next >= text.len)
        return end > 0 && end < text.len && detect_is_one_of(text.data[end], ".!?") ? GAP_STOP : GAP_BLANK;
    if (next == end + 1)
        switch (text.data[end]) {
        case ' ':
            return GAP_SPACE;
        case '-':
            return GAP_HYPHEN;
        case '\'':
            return GAP_APOSTROPHE;
        default:
            break;
        }
    for (size_t i = end; i < next && i - end < 16; i++) {
        char c = text.data[i];
        lines += c == '\n';
        quoted = quoted || (c == '>' && lines > 0);
        comma = comma || c == ',' || c == ';';
        colon = colon || c == ':' || c == '=' || c == '|';
        bracket = bracket || c == '(' || c == ')' || c == '[' || c == '{';
        quote = quote || c == '"' || c == '\'' || c == '<';
        stop = stop || c == '.' || c == '!' || c == '?';
    }
    return quoted           ? GAP_QUOTED_LINE
           : lines > 1      ? GAP_BLANK
           : lines && comma ? GAP_COMMA_LINE
           : lines          ? GAP_LINE
           : colon          ? GAP_COLON
           : comma          ? GAP_COMMA
           : bracket        ? GAP_BRACKET
           : quote          ? GAP_QUOTE
           : stop           ? GAP_DOT
                            : GAP_OTHER;
}

static unsigned shape_of(const struct detect_word *w)
{
    size_t length = w->end - w->start;
    if (w->flags & WORD_DIGITS)
        return SHAPE_DIGITS + (unsigned)(length < 7 ? length : 7);
    if (w->flags & WORD_DIGIT)
        return SHAPE_DIGITS + 8u + (length > 4 ? 1u : 0u) + (w->flags & WORD_UPPER ? 2u : 0u);
    if (!(w->flags & WORD_CAPITAL))
        return SHAPE_LOWER;
    return length == 1 ? SHAPE_INITIAL : w->flags & WORD_UPPER ? SHAPE_UPPER : SHAPE_CAPITAL;
}

/* A word as its neighbours see it: numbers are alike, and so are names and other words with a capital inside
 * a sentence. */
static uint64_t token_of(const struct detect_word *w, bool begins, unsigned shape)
{
    if (w->flags & WORD_DIGIT)
        return (NUMBER + shape) * MIX;
    if (w->kinds & NAME_KINDS && w->flags & WORD_CAPITAL)
        return NAME * MIX;
    return w->flags & WORD_CAPITAL && !begins && !(w->kinds | w->begins) ? CAPITAL * MIX : w->hash;
}

/* A word's last three bytes, ASCII in lower case. */
static uint64_t ending_of(struct str text, const struct detect_word *w)
{
    uint64_t ending = 0;
    for (size_t i = w->end - w->start > 3 ? w->end - 3 : w->start; i < w->end; i++)
        ending = ending << 8 | (unsigned char)(text.data[i] | (text.data[i] & 0x80 ? 0 : 0x20));
    return ending * MIX;
}

/* What of a word goes into features; SHAPE_EDGE and 0 beyond a sentence's ends. */
struct look {
    uint64_t token, kinds;
    unsigned shape, before; /* the gap */
};

static struct look look_at(
    struct str text, const struct detect_word *words, size_t n, size_t i, unsigned sentence)
{
    if (i >= n || words[i].sentence != sentence)
        return (struct look){.before = GAP_BLANK};
    const struct detect_word *w = &words[i];
    struct look l = {.shape = shape_of(w), .before = gap_between(text, i ? w[-1].end : 0, w->start)};
    l.token = token_of(w, i == 0 || w[-1].sentence != sentence || w[-1].flags & WORD_LINE, l.shape);
    l.kinds = ((w->kinds | (w->begins & CUE(live))) & TAG_KINDS) * MIX;
    return l;
}

static inline uint32_t id_of(unsigned which, unsigned more, uint64_t a, uint64_t b)
{
    uint64_t x = (a ^ (b << 23 | b >> 41) ^ (which << 24 | more) * 0xd6e8feb86659fd93u) * 0xa0761d6478bd642fu;
    return (uint32_t)(x >> 32) | 1;
}

/* l[2] is the word itself. */
static inline size_t ids_of(
    struct str text, const struct detect_word *w, const struct look *l, unsigned after, uint32_t *out)
{
    const unsigned s0 = l[2].shape, before = l[2].before;
    size_t at = 0;
    if (!(w->flags & WORD_DIGIT)) {
        out[at++] = id_of(1, 0, w->hash, 0);
        out[at++] = id_of(2, s0, ending_of(text, w), 0);
        if (w->stem)
            out[at++] = id_of(3, 0, w->stem, 0);
    }
    out[at++] = id_of(4, l[1].shape << 10 | s0 << 5 | l[3].shape, 0, 0);
    out[at++] = id_of(5, before << 10 | s0 << 5 | after, 0, 0);
    out[at++] = id_of(6, s0, l[2].kinds, 0);
    out[at++] = id_of(7, before, l[1].kinds, l[2].kinds);
    out[at++] = id_of(8, after, l[2].kinds, l[3].kinds);
    out[at++] = id_of(9, s0 << 5 | before, l[1].token, 0);
    out[at++] = id_of(10, s0 << 5 | after, l[3].token, 0);
    out[at++] = id_of(11, 0, l[0].token, l[1].token);
    out[at++] = id_of(12, s0, l[3].token, l[4].token);
    out[at++] = id_of(13, s0 << 10 | l[3].shape << 5 | l[4].shape, 0, 0);
    out[at++] = id_of(14, l[0].shape << 10 | l[1].shape << 5 | s0, 0, 0);
    out[at++] = id_of(15, 0, l[1].token, 0);
    out[at++] = id_of(16, 0, l[3].token, 0);
    return at;
}

/* The gap behind words[i]. */
static unsigned gap_after(struct str text, const struct detect_word *words, size_t n, size_t i)
{
    return gap_between(text, words[i].end, i + 1 < n ? words[i + 1].start : text.len);
}

size_t detect_tag_ids(
    struct str text, const struct detect_word *words, size_t n, size_t i, uint32_t out[TAG_IDS])
{
    struct look l[5];
    for (size_t k = 0; k < 5; k++)
        l[k] = look_at(text, words, n, i + k - 2, words[i].sentence);
    return ids_of(text, &words[i], l, gap_after(text, words, n, i), out);
}

/* ---- Runs. ---- */
static bool near(const struct detect_word *w)
{
    return w->flags & WORD_CAPITAL || w->kinds & (CUE(street) | CUE(road) | CUE(unit) | CUE(housed));
}

/* A number only beside something else. */
static bool worth(const struct detect_word *words, size_t n, size_t i)
{
    const struct detect_word *w = &words[i];
    if (w->flags & WORD_DIGIT)
        return near(w) || (i > 0 && near(w - 1)) || (i + 1 < n && near(w + 1));
    return w->flags & WORD_CAPITAL || w->kinds & (CUE(given) | CUE(title) | CUE(named));
}

bool detect_tag_run(const struct detect_word *words, size_t n, size_t *from, size_t *to)
{
    enum { AROUND = 2 };
    size_t at = *to;
    while (at < n && !worth(words, n, at))
        at++;
    if (at >= n)
        return false;
    *from = at > *to + AROUND ? at - AROUND : *to;
    for (size_t last = at; at < n && at - last <= 2 * AROUND; at++)
        if (worth(words, n, at))
            last = at;
        else if (at - last == 2 * AROUND)
            break;
    *to = at < n ? at - AROUND : n;
    return true;
}

/* ---- The table: open addressing; a map of bits says first that most ids are not there. ---- */
enum { MAP_WORDS = 1 << 12, TABLE_SIZE = 1 << 16, TABLE_MOST = TABLE_SIZE / 8 * 3, LANES = N_TAGS };
typedef int16_t lanes __attribute__((vector_size(2 * LANES)));
typedef int8_t bytes __attribute__((vector_size(LANES)));
static struct tag_entry *table; /* id 0: free */
static uint64_t map[MAP_WORDS];
static lanes step_from[N_TAGS], step_end;

/* All ids are odd. */
static inline uint64_t *map_word(uint32_t id)
{
    return &map[id >> 7 & (MAP_WORDS - 1)];
}

static inline size_t entry_find(uint32_t id)
{
    size_t i = id >> 16;
    while (table[i].id != id && table[i].id != 0)
        i = (i + 1) & (TABLE_SIZE - 1);
    return i;
}

static struct tag_entry entry_at(struct str file, size_t i)
{
    struct tag_entry e;
    memcpy(&e, file.data + sizeof(struct tag_head) + i * sizeof e, sizeof e);
    return e;
}

bool detect_tag_sound(struct str file)
{
    struct tag_head h;
    if (file.len < sizeof h)
        return false;
    memcpy(&h, file.data, sizeof h);
    if (memcmp(h.magic, "WEIRTAGS", sizeof h.magic) != 0 || h.n_entries > TABLE_MOST ||
        file.len != sizeof h + h.n_entries * sizeof(struct tag_entry))
        return false;
    for (int from = 0; from < N_TAGS; from++)
        for (int to = 0; to < N_TAGS; to++)
            if (h.step[from][to] < TAG_NEVER || h.step[from][to] > -TAG_NEVER / 2)
                return false;
    for (uint32_t i = 0, last = 0; i < h.n_entries; i++) {
        uint32_t id = entry_at(file, i).id;
        if (id <= last)
            return false;
        last = id;
    }
    return true;
}

int detect_tag_init(struct error *err)
{
    const struct str file = {tag_weights, (size_t)(tag_weights_end - tag_weights)};
    struct tag_head head;
    if (!detect_tag_sound(file))
        return error_set(err, ERROR_INTERNAL, "data/tag.weights is not what tools/tag_train writes");
    memcpy(&head, file.data, sizeof head);
    table = calloc(TABLE_SIZE, sizeof *table);
    if (!table)
        return error_set(err, ERROR_MEMORY, "no memory for the detector's tagger");
    for (uint32_t i = 0; i < head.n_entries; i++) {
        struct tag_entry e = entry_at(file, i);
        table[entry_find(e.id)] = e;
        *map_word(e.id) |= (uint64_t)1 << (e.id >> 1) % 64;
    }
    for (int from = 0; from < N_TAGS; from++) {
        memcpy(&step_from[from], head.step[from], sizeof head.step[from]);
        step_end[from] = head.step[from][TAG_NONE];
    }
    return 0;
}

/* ---- A run. Sums are kept near that of TAG_NONE, so that 16 bits hold them. ---- */
static inline lanes sum_of(const uint32_t *ids, size_t n)
{
    lanes sum = {0};
    for (size_t k = 0; k < n; k++) {
        if (!(*map_word(ids[k]) >> (ids[k] >> 1) % 64 & 1))
            continue;
        bytes weight;
        memcpy(&weight, table[entry_find(ids[k])].weight, sizeof weight); /* of a free one: zeros */
        sum += __builtin_convertvector(weight, lanes);
    }
    return sum;
}

static inline lanes between(lanes x, int16_t low, int16_t high)
{
    lanes l = (lanes){0} + low, h = (lanes){0} + high, under = x<l, over = x> h;
    return (x & ~under & ~over) | (l & under) | (h & over);
}

/* One word on: the best way to each tag, and where it came from. */
static inline lanes step_on(lanes score, lanes sum, lanes *came)
{
    lanes best = score[0] + step_from[0], from = {0};
    for (int16_t tag = 1; tag < N_TAGS; tag++) {
        lanes here = score[tag] + step_from[tag], more = here > best;
        best = (here & more) | (best & ~more);
        from = (((lanes){0} + tag) & more) | (from & ~more);
    }
    *came = from;
    best += sum;
    return between(best - best[0], TAG_NEVER, -TAG_NEVER);
}

enum { RUN_MOST = 128 };

/* Tags `n` words from `at` on, after the tag `before`. */
static void run_tag(struct str text, const struct detect_word *words, size_t n_words, size_t at, size_t n,
    int before, uint8_t *tags)
{
    lanes came[RUN_MOST], score = (lanes){0} + TAG_NEVER;
    struct look l[5] = {{0}};
    score[before] = 0;
    for (size_t i = at; i < at + n; i++) {
        uint32_t ids[TAG_IDS];
        if (i == at || words[i].sentence != words[i - 1].sentence)
            for (size_t k = 0; k < 5; k++)
                l[k] = look_at(text, words, n_words, i + k - 2, words[i].sentence);
        else {
            memmove(l, l + 1, 4 * sizeof *l);
            l[4] = look_at(text, words, n_words, i + 2, words[i].sentence);
        }
        unsigned after = l[3].shape == SHAPE_EDGE ? gap_after(text, words, n_words, i) : l[3].before;
        size_t n_ids = ids_of(text, &words[i], l, after, ids);
        score = step_on(score, sum_of(ids, n_ids), &came[i - at]);
    }
    score += step_end;
    int tag = 0;
    for (int other = 1; other < N_TAGS; other++)
        tag = score[other] > score[tag] ? other : tag;
    for (size_t i = n; i-- > 0; tag = came[i][tag])
        tags[at + i] = (uint8_t)tag;
}

void detect_tag_look(struct str text, const struct detect_word *words, size_t n, uint8_t *tags)
{
    size_t from = 0, to = 0;
    memset(tags, TAG_NONE, n);
    while (detect_tag_run(words, n, &from, &to))
        for (size_t at = from; at < to; at += RUN_MOST)
            run_tag(text, words, n, at, to - at < RUN_MOST ? to - at : RUN_MOST,
                at > from ? tags[at - 1] : TAG_NONE, tags);
}

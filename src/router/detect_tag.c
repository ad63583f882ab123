#include "router/detect_tag.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "base/embed.h"
#include "base/table.h"
#include "router/detect_feature.h"

EMBED(tag_weights, "data/tag.weights");

/* ---- What a word is to the tagger. ---- */
#define TAG_KINDS                                                                                            \
    (CUE(given) | CUE(surname) | CUE(both) | CUE(word) | CUE(title) | CUE(particle) | CUE(intro) |           \
        CUE(org) | CUE(street) | CUE(road) | CUE(unit) | CUE(live) | CUE(kin) | CUE(role) | CUE(self) |      \
        CUE(mine) | CUE(topic) | CUE(copula) | CUE(health) | CUE(ill) | CUE(money) | CUE(named))
#define NAME_KINDS (CUE(given) | CUE(surname) | CUE(both))
/* The last kinds, which data/tag.weights was fitted without. */
#define LATER_KINDS (~(CUE(opens) - 1))
enum { NUMBER = 10, NAME = 30, CAPITAL = 31 }; /* in place of a word's hash */
#define MIX 0x9e3779b97f4a7c15u
enum shape {
    SHAPE_EDGE,
    SHAPE_LOWER,
    SHAPE_INITIAL,
    SHAPE_UPPER,
    SHAPE_CAPITAL,
    SHAPE_DIGITS, /* and how many, and what else there is */
    N_SHAPES = SHAPE_DIGITS + 12
};
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
    GAP_OTHER,
    N_GAPS
};

enum { SIGN_COMMA = 1, SIGN_COLON = 2, SIGN_BRACKET = 4, SIGN_QUOTE = 8, SIGN_STOP = 16, SIGN_QUOTED = 32 };
static const uint8_t sign[256] = {[','] = SIGN_COMMA,
    [';'] = SIGN_COMMA,
    [':'] = SIGN_COLON,
    ['='] = SIGN_COLON,
    ['|'] = SIGN_COLON,
    ['('] = SIGN_BRACKET,
    [')'] = SIGN_BRACKET,
    ['['] = SIGN_BRACKET,
    ['{'] = SIGN_BRACKET,
    ['"'] = SIGN_QUOTE,
    ['\''] = SIGN_QUOTE,
    ['<'] = SIGN_QUOTE,
    ['.'] = SIGN_STOP,
    ['!'] = SIGN_STOP,
    ['?'] = SIGN_STOP};

/* What stands between a word and the next one, or before the first and behind the last. */
static enum gap gap_read(struct str text, size_t end, size_t next)
{
    unsigned lines = 0, signs = 0;
    if (end == 0 || next >= text.len)
        return end > 0 && end < text.len && detect_is_one_of(text.data[end], ".!?") ? GAP_STOP : GAP_BLANK;
    if (next == end + 1 && (text.data[end] == '-' || text.data[end] == '\''))
        return text.data[end] == '-' ? GAP_HYPHEN : GAP_APOSTROPHE;
    for (size_t i = end; i < next && i - end < 16; i++) {
        char c = text.data[i];
        lines += c == '\n';
        signs |= sign[(unsigned char)c] | (c == '>' && lines > 0 ? SIGN_QUOTED : 0u);
    }
    return signs & SIGN_QUOTED           ? GAP_QUOTED_LINE
           : lines > 1                   ? GAP_BLANK
           : lines && signs & SIGN_COMMA ? GAP_COMMA_LINE
           : lines                       ? GAP_LINE
           : signs & SIGN_COLON          ? GAP_COLON
           : signs & SIGN_COMMA          ? GAP_COMMA
           : signs & SIGN_BRACKET        ? GAP_BRACKET
           : signs & SIGN_QUOTE          ? GAP_QUOTE
           : signs & SIGN_STOP           ? GAP_DOT
                                         : GAP_OTHER;
}

/* Mostly a space. */
static inline enum gap gap_between(struct str text, size_t end, size_t next)
{
    bool space = end > 0 && next == end + 1 && next < text.len && text.data[end] == ' ';
    return space ? GAP_SPACE : gap_read(text, end, next);
}

static inline unsigned shape_of(const struct detect_word *w)
{
    /* By whether it has a capital first, only capitals, one letter: without a branch. */
    static const uint8_t shapes[2][2][2] = {{{SHAPE_LOWER, SHAPE_LOWER}, {SHAPE_LOWER, SHAPE_LOWER}},
        {{SHAPE_CAPITAL, SHAPE_INITIAL}, {SHAPE_UPPER, SHAPE_INITIAL}}};
    size_t length = w->end - w->start;
    if (w->flags & WORD_DIGITS)
        return SHAPE_DIGITS + (unsigned)(length < 7 ? length : 7);
    if (w->flags & WORD_DIGIT)
        return SHAPE_DIGITS + 8u + (length > 4 ? 1u : 0u) + (w->flags & WORD_UPPER ? 2u : 0u);
    return shapes[(w->flags & WORD_CAPITAL) != 0][(w->flags & WORD_UPPER) != 0][length == 1];
}

/* A word as its neighbours see it: numbers are alike, and so are names and other words with a capital inside
 * a sentence. */
static inline uint64_t token_of(const struct detect_word *w, bool begins, unsigned shape)
{
    const bool capital = w->flags & WORD_CAPITAL;
    if (w->flags & WORD_DIGIT)
        return (NUMBER + shape) * MIX;
    uint64_t token = (capital & !begins & !((w->kinds | w->begins) & ~LATER_KINDS)) ? CAPITAL * MIX : w->hash;
    return (capital & ((w->kinds & NAME_KINDS) != 0)) ? NAME * MIX : token;
}

/* A word's last three bytes, ASCII in lower case. */
static inline uint64_t ending_of(struct str text, const struct detect_word *w)
{
    const unsigned char *end = (const unsigned char *)text.data + w->end;
    size_t length = w->end - w->start;
    uint64_t ending = end[-1];
    if (length > 1)
        ending |= (uint64_t)end[-2] << 8;
    if (length > 2)
        ending |= (uint64_t)end[-3] << 16;
    const uint64_t all = length > 2 ? 0x808080 : length > 1 ? 0x8080 : 0x80;
    return (ending | (~ending & all) >> 2) * MIX; /* 0x20 where it is ASCII */
}

/* What of a word goes into features; `before`, `after`: the gaps. */
struct look {
    uint64_t token, kinds;
    unsigned shape, before, after;
};
enum { SEEN = 2 }; /* words on each side that go into features */
static const struct look edge = {.shape = SHAPE_EDGE};

/* `before`: the gap. */
static inline struct look look_at(
    struct str text, const struct detect_word *words, size_t n, size_t i, unsigned before)
{
    const struct detect_word *w = &words[i];
    struct look l = {.shape = shape_of(w), .before = before};
    l.after = gap_between(text, w->end, i + 1 < n ? w[1].start : text.len);
    l.token =
        token_of(w, i == 0 || (w[-1].sentence != w->sentence) | ((w[-1].flags & WORD_LINE) != 0), l.shape);
    l.kinds = ((w->kinds | (w->begins & CUE(live))) & TAG_KINDS) * MIX;
    return l;
}

/* Words and their neighbours as they see them: beyond a sentence's ends there is nothing, so edges stand
 * between two of them. */
enum { RUN_MOST = 128 };
struct looks {
    struct look all[(RUN_MOST + 2 * SEEN) * (1 + SEEN) + SEEN];
    uint16_t at[RUN_MOST]; /* of each word */
};

static void looks_make(
    struct looks *l, struct str text, const struct detect_word *words, size_t n_words, size_t at, size_t n)
{
    size_t room = 0, from = at > SEEN ? at - SEEN : 0, to = n_words - at - n > SEEN ? at + n + SEEN : n_words;
    unsigned before =
        from < to ? gap_between(text, from ? words[from - 1].end : 0, words[from].start) : GAP_BLANK;
    for (size_t i = from; i < to; i++) {
        if (i == from || words[i].sentence != words[i - 1].sentence)
            for (int k = 0; k < SEEN; k++)
                l->all[room++] = edge;
        if (i >= at && i < at + n)
            l->at[i - at] = (uint16_t)room;
        l->all[room] = look_at(text, words, n_words, i, before);
        before = l->all[room++].after;
    }
    for (int k = 0; k < SEEN; k++)
        l->all[room++] = edge;
}

static inline uint64_t seed_of(unsigned which, unsigned more, uint64_t a, uint64_t b)
{
    return a ^ (b << 23 | b >> 41) ^ (which << 24 | more) * 0xd6e8feb86659fd93u;
}

enum { SHAPE_IDS = 4, KIND_IDS = 3 };

/* `l` stands among the looks of its neighbours. */
static inline void shape_seeds(const struct look *l, uint64_t out[SHAPE_IDS])
{
    const unsigned s = l->shape, back = l[-1].shape, on = l[1].shape;
    out[0] = seed_of(4, back << 10 | s << 5 | on, 0, 0);
    out[1] = seed_of(5, l->before << 10 | s << 5 | l->after, 0, 0);
    out[2] = seed_of(13, s << 10 | on << 5 | l[2].shape, 0, 0);
    out[3] = seed_of(14, l[-2].shape << 10 | back << 5 | s, 0, 0);
}

static inline void kind_seeds(const struct look *l, uint64_t out[KIND_IDS])
{
    out[0] = seed_of(6, l->shape, l->kinds, 0);
    out[1] = seed_of(7, l->before, l[-1].kinds, l->kinds);
    out[2] = seed_of(8, l->after, l->kinds, l[1].kinds);
}

/* Those that are not of shapes alone; of kinds only where there are some. `out` has room for one more. */
static inline size_t word_seeds(
    struct str text, const struct detect_word *w, const struct look *l, bool kinds, uint64_t *out)
{
    const unsigned s = l->shape;
    const uint64_t back = l[-1].token, on = l[1].token;
    const bool letters = !(w->flags & WORD_DIGIT);
    uint64_t of_kinds[KIND_IDS];
    size_t n = 0;
    n = feature_note(out, n, letters, seed_of(1, 0, w->hash, 0));
    n = feature_note(out, n, letters, seed_of(2, s, ending_of(text, w), 0));
    n = feature_note(out, n, letters & (w->stem != 0), seed_of(3, 0, w->stem, 0));
    n = feature_note(out, n, true, seed_of(9, s << 5 | l->before, back, 0));
    n = feature_note(out, n, true, seed_of(10, s << 5 | l->after, on, 0));
    n = feature_note(out, n, true, seed_of(11, 0, l[-2].token, back));
    n = feature_note(out, n, true, seed_of(12, s, on, l[2].token));
    n = feature_note(out, n, true, seed_of(15, 0, back, 0));
    n = feature_note(out, n, true, seed_of(16, 0, on, 0));
    kind_seeds(l, of_kinds);
    for (size_t k = 0; k < KIND_IDS; k++)
        n = feature_note(out, n, kinds, of_kinds[k]);
    return n;
}

/* In all ids the lowest bit is set. */
static struct feature_map map = {.product = 0xa0761d6478bd642fu};

static inline uint32_t id_of(uint64_t seed)
{
    return feature_id(&map, seed) | 1;
}

size_t detect_tag_ids(
    struct str text, const struct detect_word *words, size_t n, size_t i, uint32_t out[TAG_IDS])
{
    struct looks looks;
    uint64_t seeds[TAG_IDS + 1];
    looks_make(&looks, text, words, n, i, 1);
    const struct look *l = &looks.all[looks.at[0]];
    shape_seeds(l, seeds);
    size_t n_ids = SHAPE_IDS + word_seeds(text, &words[i], l, true, seeds + SHAPE_IDS);
    for (size_t k = 0; k < n_ids; k++)
        out[k] = id_of(seeds[k]);
    return n_ids;
}

/* ---- Runs. ---- */
static inline bool near(const struct detect_word *w)
{
    return w->flags & WORD_CAPITAL || w->kinds & (CUE(street) | CUE(road) | CUE(unit) | CUE(housed));
}

/* A number only beside something else. */
static inline bool worth(const struct detect_word *words, size_t n, size_t i)
{
    const struct detect_word *w = &words[i];
    if (!(w->flags & (WORD_DIGIT | WORD_CAPITAL)))
        return w->kinds & (CUE(given) | CUE(title) | CUE(named));
    if (w->flags & WORD_DIGIT)
        return near(w) || (i > 0 && near(w - 1)) || (i + 1 < n && near(w + 1));
    return true;
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

/* ---- The table: open addressing, behind the map that most ids are not in ---- */
enum { MAP_WORDS = 1 << 12, TABLE_SIZE = 1 << 16, TABLE_MOST = TABLE_SIZE / 8 * 3, LANES = N_TAGS };
typedef int16_t lanes __attribute__((vector_size(2 * LANES)));
typedef int8_t bytes __attribute__((vector_size(LANES)));
static struct tag_entry *table; /* id 0: free */
static lanes step_from[N_TAGS], step_to[N_TAGS];

/* Sums of the ids that shapes and gaps alone make, by those; gaps[true] has those of kinds, too, where the
 * word and its neighbours have none. */
static struct sums {
    lanes around[N_SHAPES][N_SHAPES][N_SHAPES], ahead[N_SHAPES][N_SHAPES][N_SHAPES],
        behind[N_SHAPES][N_SHAPES][N_SHAPES], gaps[2][N_GAPS][N_SHAPES][N_GAPS];
} * sums;

/* Mostly it is at its place or the next one: between them no branch. */
static inline size_t entry_find(uint32_t id)
{
    size_t i = id >> 16;
    i = (i + ((table[i].id != id) & (table[i].id != 0))) & (TABLE_SIZE - 1);
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

static inline lanes weights_of(const struct tag_entry *e)
{
#if defined(__SSE2__)
    __m128i weight = _mm_loadl_epi64((const __m128i *)(const void *)e->weight);
    return (lanes)_mm_srai_epi16(_mm_unpacklo_epi8(weight, weight), 8);
#else
    bytes weight;
    memcpy(&weight, e->weight, sizeof weight);
    return __builtin_convertvector(weight, lanes);
#endif
}

/* Of one that is not there zeros. */
static inline lanes weights_find(uint32_t id)
{
    return weights_of(&table[entry_find(id | 1)]);
}

static lanes weights_make(uint64_t seed)
{
    return weights_find(id_of(seed));
}

static void sums_make(void)
{
    struct look look[1 + 2 * SEEN] = {{0}}, *l = &look[SEEN];
    uint64_t seeds[SHAPE_IDS], kinds[KIND_IDS];
    for (unsigned a = 0; a < N_SHAPES; a++)
        for (unsigned b = 0; b < N_SHAPES; b++)
            for (unsigned c = 0; c < N_SHAPES; c++) {
                l[-1].shape = a, l[0].shape = b, l[1].shape = c;
                shape_seeds(l, seeds);
                sums->around[a][b][c] = weights_make(seeds[0]);
                l[0].shape = a, l[1].shape = b, l[2].shape = c;
                shape_seeds(l, seeds);
                sums->ahead[a][b][c] = weights_make(seeds[2]);
                l[-2].shape = a, l[-1].shape = b, l[0].shape = c;
                shape_seeds(l, seeds);
                sums->behind[a][b][c] = weights_make(seeds[3]);
            }
    for (l->before = 0; l->before < N_GAPS; l->before++)
        for (l->shape = 0; l->shape < N_SHAPES; l->shape++)
            for (l->after = 0; l->after < N_GAPS; l->after++) {
                shape_seeds(l, seeds);
                kind_seeds(l, kinds);
                lanes gaps = weights_make(seeds[1]);
                sums->gaps[false][l->before][l->shape][l->after] = gaps;
                sums->gaps[true][l->before][l->shape][l->after] =
                    gaps + weights_make(kinds[0]) + weights_make(kinds[1]) + weights_make(kinds[2]);
            }
}

int detect_tag_init(struct error *err)
{
    const struct str file = EMBEDDED(tag_weights);
    struct tag_head head;
    if (!detect_tag_sound(file))
        return error_set(err, ERROR_INTERNAL, "data/tag.weights is not what tools/tag_train writes");
    memcpy(&head, file.data, sizeof head);
    map.last = MAP_WORDS - 1;
    map.words = table_alloc(MAP_WORDS * sizeof *map.words);
    sums = table_alloc(sizeof *sums);
    table = table_alloc(TABLE_SIZE * sizeof *table);
    if (!map.words || !sums || !table)
        return error_set(err, ERROR_MEMORY, "no memory for the detector's tagger");
    for (uint32_t i = 0; i < head.n_entries; i++) {
        struct tag_entry e = entry_at(file, i);
        table[entry_find(e.id)] = e;
        feature_add(&map, e.id);
    }
    for (int from = 0; from < N_TAGS; from++)
        for (int to = 0; to < N_TAGS; to++)
            step_from[from][to] = step_to[to][from] = head.step[from][to];
    sums_make();
    return 0;
}

/* ---- A run. Its words' ids are looked up in the map first and their entries asked for, so that memory is
 * waited for once and not word by word; then the sums, kept near that of TAG_NONE, so that 16 bits hold them.
 * ---- */
struct hits {
    uint64_t seed[RUN_MOST * TAG_IDS + FEATURE_ROOM];
    uint8_t whose[RUN_MOST * TAG_IDS + FEATURE_ROOM];
    size_t n;
};

/* Of shapes and gaps; the others' seeds are noted. */
static inline lanes sum_begin(
    struct str text, const struct detect_word *w, const struct look *l, size_t i, struct hits *hits)
{
    const unsigned s = l->shape, back = l[-1].shape, on = l[1].shape;
    const bool plain = (l[-1].kinds | l->kinds | l[1].kinds) == 0;
    memset(hits->whose + hits->n, (int)i, TAG_IDS); /* more than there are, without a branch */
    hits->n += word_seeds(text, w, l, !plain, hits->seed + hits->n);
    return sums->around[back][s][on] + sums->ahead[s][on][l[2].shape] + sums->behind[l[-2].shape][back][s] +
           sums->gaps[plain][l->before][s][l->after];
}

static inline lanes most(lanes a, lanes b)
{
#if defined(__SSE2__)
    return (lanes)_mm_max_epi16((__m128i)a, (__m128i)b);
#else
    lanes more = b > a;
    return (b & more) | (a & ~more);
#endif
}

/* One word on: the best sum to each tag. */
static inline lanes step_on(lanes score, lanes sum)
{
    lanes best = score[0] + step_from[0];
    for (int tag = 1; tag < N_TAGS; tag++)
        best = most(best, score[tag] + step_from[tag]);
    best += sum;
    best = most(best - best[0], (lanes){0} + TAG_NEVER);
    return -most(-best, (lanes){0} + TAG_NEVER);
}

/* Where the best way to `tag` came from: the first of those that are as good. */
static inline int step_back(lanes score, int tag)
{
    lanes way = score + step_to[tag], better = way > way[0];
    uint64_t any[sizeof better / sizeof(uint64_t)], all = 0;
    int from = 0;
    memcpy(any, &better, sizeof better);
    for (size_t i = 0; i < sizeof any / sizeof *any; i++)
        all |= any[i];
    for (int other = 1; all && other < N_TAGS; other++)
        from = way[other] > way[from] ? other : from;
    return from;
}

/* Tags `n` words from `at` on, after the tag `before`. */
static void run_tag(struct str text, const struct detect_word *words, size_t n_words, size_t at, size_t n,
    int before, uint8_t *tags)
{
    lanes scores[RUN_MOST + 1], sum[RUN_MOST];
    struct looks looks;
    struct hits hits;
    hits.n = 0;
    looks_make(&looks, text, words, n_words, at, n);
    for (size_t i = 0; i < n; i++)
        sum[i] = sum_begin(text, &words[at + i], &looks.all[looks.at[i]], i, &hits);
    hits.n = detect_feature_hits(&map, hits.seed, hits.whose, hits.n);
    for (size_t k = 0; k < hits.n; k++)
        __builtin_prefetch(&table[hit_id(hits.seed[k]) >> 16]);
    for (size_t k = 0; k < hits.n; k++)
        sum[hit_whose(hits.seed[k])] += weights_find(hit_id(hits.seed[k]));
    scores[0] = (lanes){0} + TAG_NEVER;
    scores[0][before] = 0;
    for (size_t i = 0; i < n; i++)
        scores[i + 1] = step_on(scores[i], sum[i]);
    lanes last = scores[n] + step_to[TAG_NONE];
    int tag = 0;
    for (int other = 1; other < N_TAGS; other++)
        tag = last[other] > last[tag] ? other : tag;
    for (size_t i = n; i-- > 0; tag = step_back(scores[i], tag))
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

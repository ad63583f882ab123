#include "router/detect_tag.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "base/embed.h"
#include "base/table.h"

EMBED(tag_weights, "data/tag.weights");

/* ---- What a word is to the tagger. ---- */
#define TAG_KINDS                                                                                            \
    (CUE(given) | CUE(surname) | CUE(both) | CUE(word) | CUE(title) | CUE(particle) | CUE(intro) |           \
        CUE(org) | CUE(street) | CUE(road) | CUE(unit) | CUE(live) | CUE(kin) | CUE(role) | CUE(self) |      \
        CUE(mine) | CUE(topic) | CUE(copula) | CUE(health) | CUE(ill) | CUE(money) | CUE(named))
#define NAME_KINDS (CUE(given) | CUE(surname) | CUE(both))
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

/* What of a word goes into features. */
struct look {
    uint64_t token, kinds;
    unsigned shape, before; /* the gap */
    unsigned sentence;
};
enum { SEEN = 2 }; /* words on each side that go into features */
static const struct look edge = {.before = GAP_BLANK, .sentence = UINT_MAX};

static struct look look_at(struct str text, const struct detect_word *words, size_t n, size_t i)
{
    if (i >= n)
        return edge;
    const struct detect_word *w = &words[i];
    struct look l = {.shape = shape_of(w), .sentence = w->sentence};
    l.before = gap_between(text, i ? w[-1].end : 0, w->start);
    l.token = token_of(w, i == 0 || w[-1].sentence != w->sentence || w[-1].flags & WORD_LINE, l.shape);
    l.kinds = ((w->kinds | (w->begins & CUE(live))) & TAG_KINDS) * MIX;
    return l;
}

/* A word and its neighbours as it sees them: beyond a sentence's ends there is nothing. */
struct view {
    const struct look *back2, *back, *self, *on, *on2;
    unsigned before, after; /* gaps */
};

static inline const struct look *beside(const struct look *l, ptrdiff_t by)
{
    return l[by].sentence == l->sentence ? l + by : &edge;
}

/* `l` is among the looks of its neighbours; behind the last of all words there is the text's end. */
static inline struct view view_of(struct str text, const struct detect_word *w, const struct look *l)
{
    unsigned after = l[1].shape == SHAPE_EDGE ? gap_between(text, w->end, text.len) : l[1].before;
    return (struct view){beside(l, -2), beside(l, -1), l, beside(l, 1), beside(l, 2), l->before, after};
}

/* But for the lowest bit, which is set in all ids. */
static inline uint32_t id_of(unsigned which, unsigned more, uint64_t a, uint64_t b)
{
    uint64_t x = (a ^ (b << 23 | b >> 41) ^ (which << 24 | more) * 0xd6e8feb86659fd93u) * 0xa0761d6478bd642fu;
    return (uint32_t)(x >> 32);
}

enum { SHAPE_IDS = 4, KIND_IDS = 3 };

static inline void shape_ids(const struct view *v, uint32_t out[SHAPE_IDS])
{
    const unsigned s = v->self->shape, back = v->back->shape, on = v->on->shape;
    out[0] = id_of(4, back << 10 | s << 5 | on, 0, 0);
    out[1] = id_of(5, v->before << 10 | s << 5 | v->after, 0, 0);
    out[2] = id_of(13, s << 10 | on << 5 | v->on2->shape, 0, 0);
    out[3] = id_of(14, v->back2->shape << 10 | back << 5 | s, 0, 0);
}

static inline void kind_ids(const struct view *v, uint32_t out[KIND_IDS])
{
    out[0] = id_of(6, v->self->shape, v->self->kinds, 0);
    out[1] = id_of(7, v->before, v->back->kinds, v->self->kinds);
    out[2] = id_of(8, v->after, v->self->kinds, v->on->kinds);
}

static inline size_t word_ids(
    struct str text, const struct detect_word *w, const struct view *v, uint32_t *out)
{
    const unsigned s = v->self->shape;
    const uint64_t back = v->back->token, on = v->on->token;
    size_t at = 0;
    if (!(w->flags & WORD_DIGIT)) {
        out[at++] = id_of(1, 0, w->hash, 0);
        out[at++] = id_of(2, s, ending_of(text, w), 0);
        if (w->stem)
            out[at++] = id_of(3, 0, w->stem, 0);
    }
    out[at++] = id_of(9, s << 5 | v->before, back, 0);
    out[at++] = id_of(10, s << 5 | v->after, on, 0);
    out[at++] = id_of(11, 0, v->back2->token, back);
    out[at++] = id_of(12, s, on, v->on2->token);
    out[at++] = id_of(15, 0, back, 0);
    out[at++] = id_of(16, 0, on, 0);
    return at;
}

size_t detect_tag_ids(
    struct str text, const struct detect_word *words, size_t n, size_t i, uint32_t out[TAG_IDS])
{
    struct look l[2 * SEEN + 1];
    for (size_t k = 0; k < 2 * SEEN + 1; k++)
        l[k] = look_at(text, words, n, i + k - SEEN);
    struct view v = view_of(text, &words[i], &l[SEEN]);
    shape_ids(&v, out);
    kind_ids(&v, out + SHAPE_IDS);
    size_t n_ids = SHAPE_IDS + KIND_IDS + word_ids(text, &words[i], &v, out + SHAPE_IDS + KIND_IDS);
    for (size_t k = 0; k < n_ids; k++)
        out[k] |= 1;
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

/* ---- The table: open addressing; a map of bits says first that most ids are not there. ---- */
enum { MAP_WORDS = 1 << 12, TABLE_SIZE = 1 << 16, TABLE_MOST = TABLE_SIZE / 8 * 3, LANES = N_TAGS };
typedef int16_t lanes __attribute__((vector_size(2 * LANES)));
typedef int8_t bytes __attribute__((vector_size(LANES)));
static struct tag_entry *table; /* id 0: free */
static uint64_t *map;
static lanes step_from[N_TAGS], step_to[N_TAGS];

/* Sums of the ids that shapes and gaps alone make, by those; `plain` has those of kinds, too, where the word
 * and its neighbours have none. */
static struct sums {
    lanes around[N_SHAPES][N_SHAPES][N_SHAPES], ahead[N_SHAPES][N_SHAPES][N_SHAPES],
        behind[N_SHAPES][N_SHAPES][N_SHAPES], gaps[N_GAPS][N_SHAPES][N_GAPS], plain[N_GAPS][N_SHAPES][N_GAPS];
} * sums;

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

/* One with that lowest bit; of one that is not there zeros. */
static inline lanes weights_find(uint32_t id)
{
    return weights_of(&table[entry_find(id | 1)]);
}

static void sums_make(void)
{
    struct look look[5] = {0};
    struct view v = {&look[0], &look[1], &look[2], &look[3], &look[4], 0, 0};
    uint32_t ids[SHAPE_IDS], kinds[KIND_IDS];
    for (unsigned a = 0; a < N_SHAPES; a++)
        for (unsigned b = 0; b < N_SHAPES; b++)
            for (unsigned c = 0; c < N_SHAPES; c++) {
                look[1].shape = a, look[2].shape = b, look[3].shape = c;
                shape_ids(&v, ids);
                sums->around[a][b][c] = weights_find(ids[0]);
                look[2].shape = a, look[3].shape = b, look[4].shape = c;
                shape_ids(&v, ids);
                sums->ahead[a][b][c] = weights_find(ids[2]);
                look[0].shape = a, look[1].shape = b, look[2].shape = c;
                shape_ids(&v, ids);
                sums->behind[a][b][c] = weights_find(ids[3]);
            }
    for (v.before = 0; v.before < N_GAPS; v.before++)
        for (look[2].shape = 0; look[2].shape < N_SHAPES; look[2].shape++)
            for (v.after = 0; v.after < N_GAPS; v.after++) {
                shape_ids(&v, ids);
                kind_ids(&v, kinds);
                lanes gaps = weights_find(ids[1]);
                sums->gaps[v.before][look[2].shape][v.after] = gaps;
                sums->plain[v.before][look[2].shape][v.after] =
                    gaps + weights_find(kinds[0]) + weights_find(kinds[1]) + weights_find(kinds[2]);
            }
}

int detect_tag_init(struct error *err)
{
    const struct str file = {tag_weights, (size_t)(tag_weights_end - tag_weights)};
    struct tag_head head;
    if (!detect_tag_sound(file))
        return error_set(err, ERROR_INTERNAL, "data/tag.weights is not what tools/tag_train writes");
    memcpy(&head, file.data, sizeof head);
    map = table_alloc(MAP_WORDS * sizeof *map);
    sums = table_alloc(sizeof *sums);
    table = table_alloc(TABLE_SIZE * sizeof *table);
    if (!map || !sums || !table)
        return error_set(err, ERROR_MEMORY, "no memory for the detector's tagger");
    for (uint32_t i = 0; i < head.n_entries; i++) {
        struct tag_entry e = entry_at(file, i);
        table[entry_find(e.id)] = e;
        *map_word(e.id) |= (uint64_t)1 << (e.id >> 1) % 64;
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
enum { RUN_MOST = 128 };

struct hits {
    uint32_t id[RUN_MOST * TAG_IDS]; /* that may be in the table */
    size_t n, end[RUN_MOST];         /* behind each word's */
};

/* Of shapes and gaps; the other ids that may be there are noted. */
static inline lanes sum_begin(
    struct str text, const struct detect_word *w, const struct view *v, struct hits *hits)
{
    const unsigned s = v->self->shape, back = v->back->shape, on = v->on->shape;
    const bool plain = (v->back->kinds | v->self->kinds | v->on->kinds) == 0;
    uint32_t ids[TAG_IDS];
    size_t n = word_ids(text, w, v, ids);
    lanes sum = sums->around[back][s][on] + sums->ahead[s][on][v->on2->shape] +
                sums->behind[v->back2->shape][back][s];
    sum += (plain ? sums->plain : sums->gaps)[v->before][s][v->after];
    if (!plain) {
        kind_ids(v, ids + n);
        n += KIND_IDS;
    }
    for (size_t k = 0; k < n; k++) { /* without a branch */
        hits->id[hits->n] = ids[k];
        hits->n += *map_word(ids[k]) >> (ids[k] >> 1) % 64 & 1;
    }
    return sum;
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
    struct look looks[RUN_MOST + 2 * SEEN];
    struct hits hits;
    hits.n = 0;
    for (size_t i = 0; i < n + 2 * SEEN; i++)
        looks[i] = look_at(text, words, n_words, at + i - SEEN);
    for (size_t i = 0; i < n; i++) {
        struct view v = view_of(text, &words[at + i], &looks[i + SEEN]);
        sum[i] = sum_begin(text, &words[at + i], &v, &hits);
        hits.end[i] = hits.n;
    }
    for (size_t k = 0; k < hits.n; k++)
        __builtin_prefetch(&table[hits.id[k] >> 16]);
    scores[0] = (lanes){0} + TAG_NEVER;
    scores[0][before] = 0;
    for (size_t i = 0, k = 0; i < n; i++) {
        for (; k < hits.end[i]; k++)
            sum[i] += weights_find(hits.id[k]);
        scores[i + 1] = step_on(scores[i], sum[i]);
    }
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

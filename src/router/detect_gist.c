#include "router/detect_gist.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/embed.h"
#include "base/table.h"
#include "router/detect_feature.h"

EMBED(gist_weights, "data/gist.weights");

static struct gist_head head;

/* ---- What a word is to the network. ---- */
enum { NONE_ID = 10, NAME_ID = 11, CAPITAL_ID = 12, NUMBER_ID = 20, MIXED_ID = 30, KIND_ID = 100 };
/* A word's first letters, its last ones, a pair with a word between, a word or its stem behind a cue. */
#define HEAD_MARK 0x1234567800000000u
#define TAIL_MARK 0x8765432100000000u
#define APART_MARK 0x1111u
#define CUE_MARK 0x77770000u
#define GIST_KINDS                                                                                           \
    (CUE(kin) | CUE(mine) | CUE(have) | CUE(role) | CUE(dob) | CUE(idword) | CUE(account) | CUE(belief) |    \
        CUE(ill) | CUE(clinic) | CUE(health) | CUE(money) | CUE(fin) | CUE(court) | CUE(legal) | CUE(mark) | \
        CUE(secretive) | CUE(plan) | CUE(love) | CUE(personal) | CUE(access) | CUE(password) | CUE(self) |   \
        CUE(label) | CUE(stamp) | CUE(privilege) | CUE(org))

static inline uint64_t pair(uint64_t first, uint64_t second)
{
    return first * 31 + second * 0x5851f42d4c957f2du;
}

/* Numbers and names are all alike: only what kind of number, or that it is a name. */
static inline uint64_t token_of(const struct detect_word *w)
{
    size_t length = w->end - w->start;
    if (w->flags & WORD_DIGITS)
        return NUMBER_ID + (length < 6 ? length : 6);
    if (w->flags & WORD_DIGIT)
        return MIXED_ID + (length < 8 ? 0 : 1);
    bool name = w->kinds & (CUE(given) | CUE(surname) | CUE(both)) && !(w->kinds & CUE(word));
    return name && w->flags & WORD_CAPITAL ? NAME_ID : w->hash;
}

/* Who or what is spoken of: "I", "my son", "her", a name, a number. What is said next is more, or other, of
 * somebody than of nobody. */
enum { NO_CUE, SELF_CUE, MINE_CUE, KIN_CUE, THEIRS_CUE, NAME_CUE, NUMBER_CUE };
static inline unsigned cue_of(const struct detect_word *w, uint64_t token)
{
    if (token < KIND_ID) /* no word */
        return token == NAME_ID ? NAME_CUE : NUMBER_CUE;
    if (!((w->begins & CUE(kin)) | (w->kinds & (CUE(self) | CUE(mine) | CUE(theirs)))))
        return NO_CUE;
    return w->begins & CUE(kin)   ? KIN_CUE
           : w->kinds & CUE(self) ? SELF_CUE
           : w->kinds & CUE(mine) ? MINE_CUE
                                  : THEIRS_CUE;
}

/* What a word is read with: the tokens of the last one and the one before it, and the nearest cue of the last
 * CUE_WORDS. A cue further back is no nearer one, so that words put before a passage only add. */
enum { CUE_WORDS = 4 };
struct before {
    uint64_t token[2];
    unsigned cue, age;
};

static inline void before_add(struct before *b, const struct detect_word *w, uint64_t token)
{
    const unsigned cue = cue_of(w, token);
    b->token[1] = b->token[0];
    b->token[0] = token;
    b->age = cue ? 0 : b->age + 1;
    b->cue = cue ? cue : b->age < CUE_WORDS ? b->cue : NO_CUE;
}

static struct before before_of(const struct detect_word *words, size_t i)
{
    struct before b = {.token = {NONE_ID, NONE_ID}};
    for (size_t at = i > CUE_WORDS ? i - CUE_WORDS : 0; at < i; at++)
        before_add(&b, &words[at], token_of(&words[at]));
    return b;
}

/* Its features' seeds. `out` has room for one more. */
static inline size_t seeds_of(
    const struct detect_word *w, uint64_t token, const struct before *b, uint64_t *out)
{
    const uint64_t *const before = b->token;
    const bool self = token == w->hash, ends = self & (w->tail != 0), stem = self & (w->stem != 0),
               second = before[0] != NONE_ID, third = before[1] != NONE_ID, cued = b->cue != NO_CUE,
               begins = second & self & ((w->flags & WORD_CAPITAL) != 0),
               /* "C7H5", "list2" alone say nothing */
        alone = self | (token == NAME_ID) | ((w->flags & WORD_DIGITS) != 0);
    size_t n = 0;
    n = feature_note(out, n, ends, w->head ^ HEAD_MARK);
    n = feature_note(out, n, ends, w->tail ^ TAIL_MARK);
    n = feature_note(out, n, third, pair(before[1] ^ APART_MARK, token));
    n = feature_note(out, n, second, pair(before[0], token));
    n = feature_note(out, n, alone, token);
    n = feature_note(out, n, stem, w->stem);
    n = feature_note(out, n, begins, pair(before[0], CAPITAL_ID));
    n = feature_note(out, n, cued, pair(CUE_MARK + b->cue, stem ? w->stem : token));
    for (uint64_t kinds = (w->kinds | w->begins) & GIST_KINDS; kinds && n < GIST_IDS; kinds &= kinds - 1)
        out[n++] = (uint64_t)KIND_ID + (uint64_t)__builtin_ctzll(kinds);
    return n;
}

static struct feature_map map = {.product = 0x9e3779b97f4a7c15u};

size_t detect_gist_ids(const struct detect_word *words, size_t i, uint32_t out[GIST_IDS])
{
    const struct before before = before_of(words, i);
    uint64_t seeds[GIST_IDS + 1];
    size_t n = seeds_of(&words[i], token_of(&words[i]), &before, seeds);
    for (size_t k = 0; k < n; k++)
        out[k] = feature_id(&map, seeds[k]);
    return n;
}

/* ---- The table: open addressing, behind the map that most ids are not in ---- */
enum { MAP_WORDS = 1 << 14, TABLE_SIZE = 1 << 17, TABLE_MOST = TABLE_SIZE / 4 * 3 };
typedef uint16_t lanes __attribute__((vector_size(2 * GIST_HIDDEN)));
typedef float floats __attribute__((vector_size(4 * GIST_HIDDEN)));
typedef int32_t ints __attribute__((vector_size(4 * GIST_HIDDEN)));
typedef float outs __attribute__((vector_size(4 * (GIST_CLASSES + 1)))); /* and one to fill it */
static lanes lane_most; /* the largest sum that is not over the bias */
static outs out_threshold, out_column[GIST_HIDDEN];

/* `mass`: what a word brings to each category at most, where mass_one is what the category takes. Its sum is
 * convex in the lanes' sums; if it is not reached where lane j alone has need[j], for no j, then it is not
 * where the shares of those needs sum up to less than one. MASS_MOST: the masses of a window fit 16 bits. */
enum { MASSES = GIST_CLASSES + 1, MASS_MOST = INT16_MAX / (GIST_WINDOW * GIST_IDS) };
typedef int16_t masses __attribute__((vector_size(2 * MASSES)));
typedef uint8_t mass_bytes __attribute__((vector_size(MASSES)));
static int16_t mass_one;
typedef uint8_t bytes __attribute__((vector_size(GIST_HIDDEN)));
static struct entry {
    uint32_t id; /* 0: free */
    uint8_t mass[MASSES];
    bytes weight;
} * table; /* two of them a line of the cache */

static size_t place_of(uint32_t id)
{
    return id >> 7 & (TABLE_SIZE - 1);
}

static size_t entry_find(uint32_t id)
{
    size_t i = place_of(id);
    while (table[i].id != id && table[i].id != 0)
        i = (i + 1) & (TABLE_SIZE - 1);
    return i;
}

#define WEIGHTS_OF(at) __builtin_convertvector(table[at].weight, lanes)

static struct gist_entry entry_at(struct str file, size_t i)
{
    struct gist_entry e;
    memcpy(&e, file.data + sizeof head + i * sizeof e, sizeof e);
    return e;
}

static void entries_read(struct str file)
{
    for (uint32_t i = 0; i < head.n_entries; i++) {
        struct gist_entry e = entry_at(file, i);
        struct entry *at = &table[entry_find(e.id)];
        at->id = e.id;
        memcpy(&at->weight, e.weight, sizeof e.weight);
        feature_add(&map, e.id);
    }
}

/* None is negative, nor too large, nor no number. */
static bool all_sound(const float *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(values[i] >= 0 && values[i] < 1e6f))
            return false;
    return true;
}

bool detect_gist_sound(struct str file)
{
    struct gist_head h;
    if (file.len < sizeof h)
        return false;
    memcpy(&h, file.data, sizeof h);
    if (memcmp(h.magic, "WEIRGIST", sizeof h.magic) != 0 || h.n_entries > TABLE_MOST ||
        file.len != sizeof h + h.n_entries * sizeof(struct gist_entry) || !(h.scale > 0) ||
        !all_sound(&h.scale, 1) || !all_sound(h.bias, GIST_HIDDEN) || !all_sound(h.threshold, GIST_CLASSES))
        return false;
    for (int c = 0; c < GIST_CLASSES; c++)
        if (!all_sound(h.out[c], GIST_HIDDEN))
            return false;
    for (uint32_t i = 0, last = 0; i < h.n_entries; i++) {
        struct gist_entry e = entry_at(file, i);
        for (int j = 0; j < GIST_HIDDEN; j++)
            if (e.weight[j] > GIST_WEIGHT)
                return false;
        if (e.id <= last)
            return false;
        last = e.id;
    }
    return true;
}

/* What lane j must have for category c to be said by it alone, its column of them: a weight says the more the
 * nearer it comes to that. */
static void needs_make(outs need[GIST_HIDDEN])
{
    for (int j = 0; j < GIST_HIDDEN; j++)
        for (int c = 0; c <= GIST_CLASSES; c++) {
            float out = c < GIST_CLASSES ? head.out[c][j] : 0;
            need[j][c] =
                out > 0 ? fmaxf((head.bias[j] + head.threshold[c] / out) / head.scale, 1e-3f) : INFINITY;
        }
}

static void mass_of(const struct entry *e, const outs need[GIST_HIDDEN], outs *mass)
{
    *mass = (outs){0};
    for (int j = 0; j < GIST_HIDDEN; j++)
        *mass += (float)e->weight[j] / need[j];
}

static void masses_make(void)
{
    outs need[GIST_HIDDEN], mass;
    float most = 1e-3f;
    needs_make(need);
    for (size_t i = 0; i < TABLE_SIZE; i++) {
        if (table[i].id == 0)
            continue;
        mass_of(&table[i], need, &mass);
        for (int c = 0; c < GIST_CLASSES; c++)
            most = mass[c] > most ? mass[c] : most;
    }
    mass_one = (int16_t)fminf(MASS_MOST / most, INT16_MAX);
    for (size_t i = 0; i < TABLE_SIZE; i++) {
        if (table[i].id == 0)
            continue;
        mass_of(&table[i], need, &mass);
        for (int c = 0; c < GIST_CLASSES; c++)
            table[i].mass[c] = (uint8_t)ceilf(mass[c] * mass_one);
    }
}

int detect_gist_init(struct error *err)
{
    const struct str file = EMBEDDED(gist_weights);
    if (!detect_gist_sound(file))
        return error_set(err, ERROR_INTERNAL, "data/gist.weights is not what tools/gist_train writes");
    memcpy(&head, file.data, sizeof head);
    map.last = MAP_WORDS - 1;
    map.words = table_alloc(MAP_WORDS * sizeof *map.words);
    table = table_alloc(TABLE_SIZE * sizeof *table);
    if (!map.words || !table)
        return error_set(err, ERROR_MEMORY, "no memory for the detector's network");
    entries_read(file);
    masses_make();
    for (int j = 0; j < GIST_HIDDEN; j++) {
        while (lane_most[j] < UINT16_MAX && !((float)(lane_most[j] + 1) * head.scale - head.bias[j] > 0))
            lane_most[j]++;
        for (int c = 0; c < GIST_CLASSES; c++)
            out_column[j][c] = head.out[c][j];
    }
    for (int c = 0; c < GIST_CLASSES; c++)
        out_threshold[c] = head.threshold[c];
    return 0;
}

/* ---- A walk over the words. What stands in the window more than once counts once. ---- */
struct walk {
    lanes sum;
    struct {
        uint32_t entry[GIST_IDS];
        size_t n;
    } ring[GIST_WINDOW];
    size_t said[GIST_CLASSES]; /* up to where each category was said */
    uint8_t *count;            /* of each entry in the window */
};
static _Thread_local uint8_t counts[TABLE_SIZE]; /* all 0 between walks */

/* True: it did not stand in the window. */
static bool slot_add(struct walk *k, size_t slot, uint32_t id)
{
    const size_t at = entry_find(id);
    if (table[at].id == 0)
        return false;
    k->ring[slot].entry[k->ring[slot].n++] = (uint32_t)at;
    if (k->count[at]++ > 0)
        return false;
    k->sum += WEIGHTS_OF(at);
    return true;
}

/* What the word there said leaves the window. */
static inline void slot_clear(struct walk *k, size_t slot)
{
    for (size_t i = 0; i < k->ring[slot].n; i++) {
        size_t at = k->ring[slot].entry[i];
        if (--k->count[at] == 0)
            k->sum -= WEIGHTS_OF(at);
    }
    k->ring[slot].n = 0;
}

/* Which categories are reached, a bit each. Most lanes are not over their bias, and often none is. */
static unsigned reached(const struct walk *k)
{
    const lanes over = (lanes)(k->sum > lane_most);
    uint64_t some[sizeof over / sizeof(uint64_t)];
    outs y = -out_threshold;
    unsigned bits = 0;
    memcpy(some, &over, sizeof over);
    if ((some[0] | some[1] | some[2] | some[3]) == 0)
        return 0;
    for (int j = 0; j < GIST_HIDDEN; j++)
        if (over[j])
            y += ((float)k->sum[j] * head.scale - head.bias[j]) * out_column[j];
    for (int c = 0; c < GIST_CLASSES; c++)
        bits |= (unsigned)(y[c] > 0) << c;
    return bits;
}

/* The fewest last words up to i that suffice: a window without what stands before them. The walk is as it was
 * afterwards. */
static size_t window_begin(struct walk *k, size_t i, int category)
{
    const struct walk kept = *k;
    size_t begin = i + 1 < GIST_WINDOW ? 0 : i + 1 - GIST_WINDOW, from = begin;
    for (; from < i; from++) {
        slot_clear(k, from % GIST_WINDOW);
        if (!(reached(k) >> category & 1))
            break;
    }
    for (size_t at = begin; at <= from && at < i; at++)
        for (size_t e = 0, slot = at % GIST_WINDOW; e < kept.ring[slot].n; e++)
            k->count[kept.ring[slot].entry[e]]++;
    *k = kept;
    return from;
}

/* ---- The words [from, to) in pieces, whose hits' entries are asked for: memory is waited for once, not word
 * by word. ---- */
enum { PIECE = 32 };
struct piece {
    const struct detect_word *words;
    size_t from, to, n, n_hits; /* `n`: its words */
    struct before before;
    uint64_t hit[PIECE * GIST_IDS + FEATURE_ROOM];
    uint8_t whose[PIECE * GIST_IDS + FEATURE_ROOM];
};

static void pieces_begin(struct piece *p, const struct detect_word *words, size_t from, size_t to)
{
    p->words = words;
    p->from = from;
    p->to = to;
    p->n = 0;
    p->before = before_of(words, from);
}

static bool piece_next(struct piece *p)
{
    size_t seeds = 0;
    p->from += p->n;
    p->n = p->to - p->from < PIECE ? p->to - p->from : PIECE;
    for (size_t i = 0; i < p->n; i++) {
        const struct detect_word *w = &p->words[p->from + i];
        const uint64_t token = token_of(w);
        memset(p->whose + seeds, (int)i, GIST_IDS + 1); /* more than there are, without a branch */
        seeds += seeds_of(w, token, &p->before, p->hit + seeds);
        before_add(&p->before, w, token);
    }
    p->n_hits = detect_feature_hits(&map, p->hit, p->whose, seeds);
    for (size_t k = 0; k < p->n_hits; k++)
        __builtin_prefetch(&table[place_of(hit_id(p->hit[k]))]);
    return p->n > 0;
}

/* ---- Where something may be said: by the masses alone, in which what stands in a window more than once
 * counts each time. ---- */
static inline masses mass_find(uint32_t id)
{
    mass_bytes mass;
    memcpy(&mass, table[entry_find(id)].mass, sizeof mass); /* of a free place zeros */
    return __builtin_convertvector(mass, masses);
}

static bool any_from(masses sum, int16_t least)
{
    const masses there = (masses)(sum >= least);
    uint64_t any[sizeof there / sizeof(uint64_t)];
    memcpy(any, &there, sizeof there);
    return any[0] | any[1];
}

/* The words [*from, *to) hold every window that may say something; false: none does. */
static bool range_find(const struct detect_word *words, size_t n, size_t *from, size_t *to)
{
    struct piece p;
    masses window = {0}, of[GIST_WINDOW] = {{0}};
    size_t slot = 0;
    *to = 0;
    pieces_begin(&p, words, 0, n);
    while (piece_next(&p)) {
        masses sum[PIECE] = {{0}};
        for (size_t k = 0; k < p.n_hits; k++)
            sum[hit_whose(p.hit[k])] += mass_find(hit_id(p.hit[k]));
        for (size_t i = 0; i < p.n; i++, slot = slot + 1 < GIST_WINDOW ? slot + 1 : 0) {
            window += sum[i] - of[slot];
            of[slot] = sum[i];
            if (!any_from(window, mass_one))
                continue;
            const size_t end = p.from + i + 1;
            if (*to == 0)
                *from = end < GIST_WINDOW ? 0 : end - GIST_WINDOW;
            *to = end;
        }
    }
    return *to > 0;
}

/* Word i is the newest of the window. */
static void window_look(struct walk *k, size_t i,
    void (*found)(void *ctx, enum router_category category, size_t from, size_t to), void *ctx)
{
    unsigned bits = reached(k);
    for (int c = 0; bits >> c; c++) {
        if (!(bits >> c & 1) || i < k->said[c])
            continue;
        found(ctx, (enum router_category)(1u << c), window_begin(k, i, c), i + 1);
        k->said[c] = i + GIST_WINDOW;
    }
}

void detect_gist_look(const struct detect_word *words, size_t n,
    void (*found)(void *ctx, enum router_category category, size_t from, size_t to), void *ctx)
{
    size_t from, to;
    if (!range_find(words, n, &from, &to))
        return;
    struct walk k = {.count = counts};
    struct piece p;
    pieces_begin(&p, words, from, to);
    while (piece_next(&p)) {
        for (size_t i = 0, hit = 0; i < p.n; i++) {
            const size_t slot = (p.from + i) % GIST_WINDOW;
            bool grown = false;
            slot_clear(&k, slot);
            for (; hit < p.n_hits && hit_whose(p.hit[hit]) == i; hit++)
                grown |= slot_add(&k, slot, hit_id(p.hit[hit]));
            if (grown)
                window_look(&k, p.from + i, found, ctx);
        }
    }
    for (size_t slot = 0; slot < GIST_WINDOW; slot++)
        slot_clear(&k, slot);
}

/* Where an answer can be in a grammar: sets of states (an op and the frames to return to), each made once,
 * and the set that a byte or a special token leads to. */
#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "engine/worker/grammar_inner.h"

enum {
    SETS_MAX = 1 << 13,
    STATES_MAX = 1 << 20, /* all sets together */
    SET_STATES_MAX = 1 << 14,
    FRAMES_MAX = 1 << 19,
    ITEMS_MAX = 1 << 15, /* of a closure */
    WORK_MAX = 1 << 21   /* states and ranges looked at for one token */
};
#define UNKNOWN UINT32_MAX

static int ambiguous(struct error *err)
{
    return error_set(
        err, ERROR_LIMIT, "the grammar leaves too many ways to read the answer: make it simpler");
}

static int no_memory(struct error *err)
{
    return error_set(err, ERROR_MEMORY, "no memory to follow a grammar: try again later");
}

/* ---- Things by their content ---- */

static uint64_t mix(uint64_t h, uint64_t value)
{
    h = (h ^ value) * 0x9E3779B97F4A7C15u;
    return h ^ (h >> 29);
}

/* What makes two of a kind the same, by their numbers in the matcher. */
struct kind {
    uint64_t (*hash)(const struct grammar_matcher *m, uint32_t i);
    bool (*equal)(const struct grammar_matcher *m, uint32_t a, uint32_t b);
};

static int index_grow(
    const struct grammar_matcher *m, struct grammar_index *x, const struct kind *kind, struct error *err)
{
    if (x->count * 2 < x->capacity)
        return 0;
    size_t capacity = x->capacity ? x->capacity * 2 : 256;
    uint32_t *slots = calloc(capacity, sizeof *slots);
    if (!slots)
        return no_memory(err);
    for (size_t i = 0; i < x->capacity; i++) {
        if (x->slots[i] == 0)
            continue;
        size_t at = (size_t)kind->hash(m, x->slots[i] - 1) & (capacity - 1);
        while (slots[at])
            at = (at + 1) & (capacity - 1);
        slots[at] = x->slots[i];
    }
    free(x->slots);
    x->slots = slots;
    x->capacity = capacity;
    return 0;
}

/* The one that equals `candidate`, which is added where there is none. */
static int index_intern(const struct grammar_matcher *m, struct grammar_index *x, const struct kind *kind,
    uint32_t candidate, uint32_t *out, struct error *err)
{
    int rc = index_grow(m, x, kind, err);
    if (rc)
        return rc;
    size_t at = (size_t)kind->hash(m, candidate) & (x->capacity - 1);
    while (x->slots[at] && !kind->equal(m, x->slots[at] - 1, candidate))
        at = (at + 1) & (x->capacity - 1);
    if (!x->slots[at]) {
        x->slots[at] = candidate + 1;
        x->count++;
    }
    *out = x->slots[at] - 1;
    return 0;
}

static uint64_t frame_hash(const struct grammar_matcher *m, uint32_t i)
{
    const struct grammar_frame *f = &m->frames[i];
    return mix(mix(m->seed, (uint64_t)f->op << 32 | f->parent), f->turn);
}

static bool frame_equal(const struct grammar_matcher *m, uint32_t a, uint32_t b)
{
    const struct grammar_frame *x = &m->frames[a], *y = &m->frames[b];
    return x->op == y->op && x->parent == y->parent && x->turn == y->turn;
}

static const struct kind frames = {frame_hash, frame_equal};

static uint64_t item_hash(const struct grammar_matcher *m, uint32_t i)
{
    const struct grammar_item *f = &m->items[i];
    return mix(mix(m->seed, (uint64_t)f->op << 32 | f->frame), f->turn);
}

static bool item_equal(const struct grammar_matcher *m, uint32_t a, uint32_t b)
{
    const struct grammar_item *x = &m->items[a], *y = &m->items[b];
    return x->op == y->op && x->frame == y->frame && x->turn == y->turn;
}

static const struct kind items = {item_hash, item_equal};

static uint64_t set_hash(const struct grammar_matcher *m, uint32_t i)
{
    const struct grammar_set *s = &m->sets[i];
    uint64_t h = mix(m->seed,
        (uint64_t)s->partial << 32 | (uint64_t)s->low << 8 | (uint64_t)s->missing << 1 | s->complete);
    for (uint32_t k = 0; k < s->count; k++)
        h = mix(h, (uint64_t)m->states[s->first + k].op << 32 | m->states[s->first + k].frame);
    return h;
}

static bool set_equal(const struct grammar_matcher *m, uint32_t a, uint32_t b)
{
    const struct grammar_set *x = &m->sets[a], *y = &m->sets[b];
    return x->count == y->count && x->complete == y->complete && x->missing == y->missing &&
           x->partial == y->partial && x->low == y->low &&
           memcmp(m->states + x->first, m->states + y->first, x->count * sizeof *m->states) == 0;
}

static const struct kind sets = {set_hash, set_equal};

/* For one more in an array of `count`: it grows at 64 and at each power of two behind that. */
static int room(void *array, uint32_t count, size_t size, uint32_t most, struct error *err)
{
    void **to = array;
    if (count >= most)
        return ambiguous(err);
    if (count > 0 && (count < 64 || (count & (count - 1)) != 0))
        return 0;
    void *bigger = realloc(*to, (count ? (size_t)count * 2 : 64) * size);
    if (!bigger)
        return no_memory(err);
    *to = bigger;
    return 0;
}

static int frame_intern(struct grammar_matcher *m, struct grammar_frame f, uint32_t *out, struct error *err)
{
    int rc = room(&m->frames, m->n_frames, sizeof f, FRAMES_MAX, err);
    if (rc)
        return rc;
    m->frames[m->n_frames] = f;
    rc = index_intern(m, &m->frame_index, &frames, m->n_frames, out, err);
    m->n_frames += rc == 0 && *out == m->n_frames;
    return rc;
}

/* ---- Closure: from an op to the characters that it waits for ---- */

static int item_add(struct grammar_matcher *m, uint32_t op, uint32_t frame, uint32_t turn, struct error *err)
{
    uint32_t found;
    int rc = room(&m->items, m->n_items, sizeof *m->items, ITEMS_MAX, err);
    if (rc)
        return rc;
    m->items[m->n_items] = (struct grammar_item){op, frame, turn};
    rc = index_intern(m, &m->item_index, &items, m->n_items, &found, err);
    m->n_items += rc == 0 && found == m->n_items;
    return rc;
}

static int state_add(struct grammar_matcher *m, uint32_t op, uint32_t frame, struct error *err)
{
    int rc = room(&m->states, m->n_states, sizeof *m->states, STATES_MAX, err);
    if (rc)
        return rc;
    if (m->n_states - m->building == SET_STATES_MAX)
        return ambiguous(err);
    m->states[m->n_states++] = (struct grammar_state){op, frame};
    return 0;
}

static bool returns(const struct grammar *g, uint32_t op)
{
    return g->ops[op].kind == OP_RETURN ||
           (g->ops[op].kind == OP_JUMP && g->ops[g->ops[op].a].kind == OP_RETURN);
}

static int call_follow(struct grammar_matcher *m, struct grammar_item item, uint32_t to, struct error *err)
{
    uint32_t frame = item.frame;
    int rc = 0;
    /* Nothing comes after it: what follows is what follows the caller. */
    if (!returns(m->g, item.op + 1))
        rc = frame_intern(m, (struct grammar_frame){item.op + 1, item.frame, 0}, &frame, err);
    return rc ? rc : item_add(m, to, frame, 0, err);
}

static int repeat_follow(
    struct grammar_matcher *m, struct grammar_item item, struct grammar_op op, struct error *err)
{
    struct grammar_turns turns = m->g->turns[op.b];
    uint32_t frame, turn = item.turn + 1;
    int rc = 0;
    if (turns.most == GRAMMAR_ENDLESS && turn > turns.least)
        turn = turns.least;
    if (item.turn < turns.most) {
        rc = frame_intern(m, (struct grammar_frame){item.op, item.frame, turn}, &frame, err);
        if (rc == 0)
            rc = item_add(m, op.a, frame, 0, err);
    }
    if (rc == 0 && item.turn >= turns.least)
        rc = item_add(m, item.op + 1, item.frame, 0, err);
    return rc;
}

static int item_follow(struct grammar_matcher *m, struct grammar_item item, struct error *err)
{
    struct grammar_op op = m->g->ops[item.op];
    struct grammar_frame f;
    int rc;
    switch (op.kind) {
    case OP_CHARS:
        return state_add(m, item.op, item.frame, err);
    case OP_SPLIT:
        rc = item_add(m, op.a, item.frame, 0, err);
        return rc ? rc : item_add(m, op.b, item.frame, 0, err);
    case OP_JUMP:
        return item_add(m, op.a, item.frame, 0, err);
    case OP_CALL:
        return call_follow(m, item, op.a, err);
    case OP_REPEAT:
        return repeat_follow(m, item, op, err);
    case OP_RETURN:
        m->complete = m->complete || item.frame == 0;
        if (item.frame == 0)
            return 0;
        f = m->frames[item.frame];
        return item_add(m, f.op, f.parent, f.turn, err);
    }
    return 0;
}

static void closure_begin(struct grammar_matcher *m)
{
    m->n_items = m->todo = 0;
    m->complete = false;
    m->building = m->n_states;
    if (m->item_index.capacity > 4096) {
        free(m->item_index.slots);
        m->item_index = (struct grammar_index){0};
    }
    if (m->item_index.slots)
        memset(m->item_index.slots, 0, m->item_index.capacity * sizeof *m->item_index.slots);
    m->item_index.count = 0;
}

static int closure_run(struct grammar_matcher *m, struct error *err)
{
    int rc = 0;
    while (rc == 0 && m->todo < m->n_items)
        rc = item_follow(m, m->items[m->todo++], err);
    m->work += m->n_items;
    return rc;
}

static int state_compare(const void *a, const void *b)
{
    const struct grammar_state *x = a, *y = b;
    return x->op != y->op ? (x->op < y->op ? -1 : 1) : x->frame < y->frame ? -1 : x->frame > y->frame;
}

/* The states since `building` become a set, or one that there is. */
static int set_finish(struct grammar_matcher *m, struct grammar_set set, uint32_t *out, struct error *err)
{
    set.first = m->building;
    set.count = m->n_states - m->building;
    if (set.count == 0 && !set.complete)
        set = (struct grammar_set){.first = set.first}; /* set 0 */
    int rc = room(&m->sets, m->n_sets, sizeof set, SETS_MAX, err);
    if (rc == 0) {
        if (set.count > 1)
            qsort(m->states + set.first, set.count, sizeof *m->states, state_compare);
        m->sets[m->n_sets] = set;
        rc = index_intern(m, &m->set_index, &sets, m->n_sets, out, err);
    }
    if (rc == 0 && *out == m->n_sets)
        m->n_sets++;
    else
        m->n_states = m->building;
    return rc;
}

/* ---- Steps ---- */

static bool fits(const struct grammar *g, const struct grammar_op *op, uint32_t low, uint32_t high)
{
    for (uint32_t i = 0; i < op->b; i++)
        if (g->ranges[op->a + i].first <= high && g->ranges[op->a + i].last >= low)
            return true;
    return false;
}

static int symbol_step(
    struct grammar_matcher *m, uint32_t from, uint32_t symbol, uint32_t *out, struct error *err)
{
    struct grammar_set set = m->sets[from];
    int rc = 0;
    closure_begin(m);
    for (uint32_t i = 0; i < set.count && rc == 0; i++) {
        struct grammar_state s = m->states[set.first + i];
        m->work += 1 + m->g->ops[s.op].b;
        if (fits(m->g, &m->g->ops[s.op], symbol, symbol))
            rc = item_add(m, s.op + 1, s.frame, 0, err);
    }
    if (rc == 0)
        rc = closure_run(m, err);
    if (rc == 0)
        return set_finish(m, (struct grammar_set){.complete = m->complete}, out, err);
    m->n_states = m->building;
    return rc;
}

/* The states that one of the characters that may still come of these bytes fits. */
static int partial_step(
    struct grammar_matcher *m, uint32_t from, struct grammar_set part, uint32_t *out, struct error *err)
{
    struct grammar_set set = m->sets[from];
    uint32_t low = part.partial << (6 * part.missing), high = low | ((1u << (6 * part.missing)) - 1);
    int rc = 0;
    if (low < part.low)
        low = part.low;
    if (high > SYMBOL_LAST)
        high = SYMBOL_LAST;
    if (low >= 0xD800 && low <= 0xDFFF)
        low = 0xE000;
    closure_begin(m);
    for (uint32_t i = 0; i < set.count && low <= high && rc == 0; i++) {
        struct grammar_state s = m->states[set.first + i];
        m->work += 1 + m->g->ops[s.op].b;
        if (fits(m->g, &m->g->ops[s.op], low, high))
            rc = state_add(m, s.op, s.frame, err);
    }
    if (rc == 0)
        return set_finish(m, part, out, err);
    m->n_states = m->building;
    return rc;
}

static int byte_step(struct grammar_matcher *m, uint32_t from, uint8_t byte, uint32_t *out, struct error *err)
{
    struct grammar_set part = {
        .missing = m->sets[from].missing, .partial = m->sets[from].partial, .low = m->sets[from].low};
    *out = 0;
    if (part.missing > 0) {
        if ((byte & 0xC0) != 0x80)
            return 0;
        part.partial = part.partial << 6 | (byte & 0x3F);
        part.missing--;
    } else if (byte < 0x80) {
        return symbol_step(m, from, byte, out, err);
    } else if (byte >= 0xC2 && byte <= 0xF4) {
        part.missing = byte >= 0xF0 ? 3 : byte >= 0xE0 ? 2 : 1;
        part.partial = byte & (0x3Fu >> part.missing);
        part.low = part.missing == 3 ? 0x10000 : part.missing == 2 ? 0x800 : 0x80;
    } else {
        return 0;
    }
    if (part.missing > 0)
        return partial_step(m, from, part, out, err);
    bool wrong = part.partial < part.low || part.partial > SYMBOL_LAST ||
                 (part.partial >= 0xD800 && part.partial <= 0xDFFF);
    return wrong ? 0 : symbol_step(m, from, part.partial, out, err);
}

int grammar_set_next(struct grammar_matcher *m, uint32_t set, uint8_t byte, uint32_t *out, struct error *err)
{
    if (!m->sets[set].next) {
        uint32_t *next = malloc(256 * sizeof *next);
        if (!next)
            return no_memory(err);
        memset(next, 0xFF, 256 * sizeof *next);
        m->sets[set].next = next;
    }
    *out = m->sets[set].next[byte];
    if (*out != UNKNOWN)
        return 0;
    if (m->work > WORK_MAX)
        return ambiguous(err);
    int rc = byte_step(m, set, byte, out, err);
    if (rc == 0)
        m->sets[set].next[byte] = *out;
    return rc;
}

int grammar_set_next_token(
    struct grammar_matcher *m, uint32_t set, int32_t id, uint32_t *out, struct error *err)
{
    *out = 0;
    return m->sets[set].missing > 0 ? 0 : symbol_step(m, set, SYMBOL_TOKEN + (uint32_t)id, out, err);
}

void grammar_set_tokens(const struct grammar_matcher *m, uint32_t set,
    void (*see)(void *ctx, uint32_t first, uint32_t last), void *ctx)
{
    const struct grammar_set *s = &m->sets[set];
    for (uint32_t i = 0; i < s->count && s->missing == 0; i++) {
        const struct grammar_op *op = &m->g->ops[m->states[s->first + i].op];
        for (uint32_t k = 0; k < op->b; k++) {
            struct grammar_range r = m->g->ranges[op->a + k];
            if (r.first >= SYMBOL_TOKEN)
                see(ctx, r.first - SYMBOL_TOKEN, r.last - SYMBOL_TOKEN);
        }
    }
}

/* ---- The whole ---- */

/* Set 0, where nothing fits, and frame 0. */
static int pools_begin(struct grammar_matcher *m, struct error *err)
{
    uint32_t none;
    int rc = room(&m->frames, 0, sizeof *m->frames, FRAMES_MAX, err);
    if (rc == 0)
        rc = room(&m->states, 0, sizeof *m->states, STATES_MAX, err);
    if (rc)
        return rc;
    m->frames[0] = (struct grammar_frame){UNKNOWN, UNKNOWN, 0};
    m->n_frames = 1;
    m->building = 0;
    return set_finish(m, (struct grammar_set){0}, &none, err);
}

static void pools_free(struct grammar_matcher *m)
{
    for (uint32_t i = 0; i < m->n_sets; i++)
        free(m->sets[i].next);
    free(m->sets);
    free(m->states);
    free(m->frames);
    free(m->set_index.slots);
    free(m->frame_index.slots);
}

int grammar_matcher_create(
    const struct grammar *g, const struct grammar_vocab *v, struct grammar_matcher **out, struct error *err)
{
    struct grammar_matcher *m = calloc(1, sizeof *m);
    *out = NULL;
    if (!m)
        return no_memory(err);
    m->g = g;
    m->v = v;
    m->seed = rand_u64();
    int rc = pools_begin(m, err);
    closure_begin(m);
    if (rc == 0)
        rc = item_add(m, g->root, 0, 0, err);
    if (rc == 0)
        rc = closure_run(m, err);
    if (rc == 0)
        rc = set_finish(m, (struct grammar_set){.complete = m->complete}, &m->now, err);
    if (rc)
        grammar_matcher_free(m);
    else
        *out = m;
    return rc;
}

void grammar_matcher_free(struct grammar_matcher *m)
{
    if (!m)
        return;
    pools_free(m);
    grammar_masks_forget(m);
    free(m->items);
    free(m->item_index.slots);
    free(m);
}

/* A frame of `old` and those below it, in m. Parents are older than their children: `map` fills upwards. */
static int frames_copy(struct grammar_matcher *m, const struct grammar_matcher *old,
    const struct grammar_set *set, uint32_t *map, struct error *err)
{
    for (uint32_t i = 0; i < set->count; i++)
        for (uint32_t f = old->states[set->first + i].frame; f != 0 && map[f] == 0; f = old->frames[f].parent)
            map[f] = UNKNOWN;
    int rc = 0;
    for (uint32_t f = 1; f < old->n_frames && rc == 0; f++) {
        struct grammar_frame frame = old->frames[f];
        if (map[f] != UNKNOWN)
            continue;
        frame.parent = map[frame.parent];
        rc = frame_intern(m, frame, &map[f], err);
    }
    return rc;
}

int grammar_matcher_compact(struct grammar_matcher *m, struct error *err)
{
    struct grammar_matcher fresh = *m;
    fresh.sets = NULL;
    fresh.states = NULL;
    fresh.frames = NULL;
    fresh.n_sets = fresh.n_states = fresh.n_frames = 0;
    fresh.set_index = fresh.frame_index = (struct grammar_index){0};
    struct grammar_set set = m->sets[m->now];
    uint32_t *map = calloc(m->n_frames, sizeof *map);
    int rc = map ? pools_begin(&fresh, err) : no_memory(err);
    if (rc == 0)
        rc = frames_copy(&fresh, m, &set, map, err);
    fresh.building = fresh.n_states;
    for (uint32_t i = 0; i < set.count && rc == 0; i++)
        rc = state_add(&fresh, m->states[set.first + i].op, map[m->states[set.first + i].frame], err);
    set.next = NULL;
    if (rc == 0)
        rc = set_finish(&fresh, set, &fresh.now, err);
    free(map);
    pools_free(rc ? &fresh : m);
    if (rc)
        return rc;
    *m = fresh;
    grammar_masks_forget(m);
    return 0;
}

bool grammar_matcher_complete(const struct grammar_matcher *m)
{
    return m->sets[m->now].complete;
}

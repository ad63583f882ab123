#include "router/detect.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "router/detect_context.h"
#include "router/detect_gist.h"
#include "router/detect_lexicon.h"
#include "router/detect_own.h"
#include "router/detect_secret.h"
#include "router/detect_tag.h"
#include "router/plain.h"

/* ---- Names. ---- */
static const struct {
    const char *name;
    enum router_category category;
} categories[] = {{"PII", ROUTER_PII}, {"PHI", ROUTER_PHI}, {"FINANCIAL", ROUTER_FINANCIAL},
    {"SECRET", ROUTER_SECRET}, {"LEGAL", ROUTER_LEGAL}, {"PROPRIETARY", ROUTER_PROPRIETARY},
    {"PERSONAL", ROUTER_PERSONAL}};

const char *router_category_name(enum router_category category)
{
    for (size_t i = 0; i < sizeof categories / sizeof *categories; i++)
        if (categories[i].category == category)
            return categories[i].name;
    return "UNKNOWN";
}

unsigned router_category_from(struct str name)
{
    for (size_t i = 0; i < sizeof categories / sizeof *categories; i++)
        if (str_is(name, categories[i].name))
            return categories[i].category;
    return 0;
}

const struct detect_type *detect_secret_type(size_t index), *detect_id_type(size_t index);
size_t detect_id_types(void);

static const struct detect_family *const families[] = {&detect_numbers_family, &detect_accounts_family,
    &detect_net_family, &detect_keys_family, &detect_persons_family, &detect_places_family,
    &detect_context_family};

const struct detect_type *detect_type_at(size_t index)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        if (index < families[i]->n)
            return families[i]->types[index];
        index -= families[i]->n;
    }
    const struct detect_type *type = detect_id_type(index);
    if (type)
        return type;
    index -= detect_id_types();
    return index < n_detect_secrets ? detect_secret_type(index) : detect_own_type(index - n_detect_secrets);
}

const struct detect_type *detect_type_find(struct str name)
{
    const struct detect_type *type;
    for (size_t i = 0; (type = detect_type_at(i)) != NULL; i++)
        if (str_is(name, type->name))
            return type;
    return NULL;
}

const char *detect_layer_name(struct str type)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        for (size_t k = 0; k < families[i]->n; k++)
            if (str_is(type, families[i]->types[k]->name))
                return families[i]->layer;
    const struct detect_type *t = detect_type_find(type);
    return detect_own_kind(t) ? "own" : "structured";
}

/* ---- Once. ---- */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int init_code;
static struct error init_error;

static void init(void)
{
    detect_number_init();
    init_code = detect_known_init(&init_error);
    if (init_code == 0)
        init_code = detect_secret_init(&init_error);
    if (init_code == 0)
        init_code = detect_id_init(&init_error);
    if (init_code == 0)
        init_code = detect_lexicon_init(&init_error);
    plain_told_init();
    if (init_code == 0)
        init_code = detect_spelled_init(&init_error);
    if (init_code == 0)
        init_code = detect_wallet_init(&init_error);
    if (init_code == 0)
        init_code = detect_gist_init(&init_error);
    if (init_code == 0)
        init_code = detect_tag_init(&init_error);
}

int router_detect_init(struct error *err)
{
    pthread_once(&once, init);
    if (init_code && err)
        *err = init_error;
    return init_code;
}

/* ---- A look at a text. ---- */
enum { MAX_HITS = 4 * LIMIT_ENTITIES };

static void more_type_add(struct detect_scan *s, const struct detect_type *type)
{
    for (size_t i = s->n_more_types; i-- > 0;)
        if (s->more_type[i] == type)
            return;
    assert(s->n_more_types < DETECT_MAX_TYPES);
    s->more_type[s->n_more_types++] = type;
}

void detect_add(struct detect_scan *s, const struct detect_type *type, size_t start, size_t end, double score)
{
    if (s->n_hits == s->capacity && s->capacity < MAX_HITS) {
        size_t capacity = s->capacity ? s->capacity * 2 : 32;
        struct detect_hit *hits = realloc(s->hits, capacity * sizeof *hits);
        if (!hits) {
            s->rc = error_set(s->err, ERROR_MEMORY, "no memory for the detector's findings");
            return;
        }
        s->hits = hits;
        s->capacity = capacity;
    }
    if (s->n_hits == s->capacity) {
        s->more++;
        if (score >= DETECT_SURE)
            more_type_add(s, type);
        return;
    }
    s->hits[s->n_hits++] = (struct detect_hit){type, start, end, score, NULL};
}

/* ---- Shapes: what begins at some signs, and where a word begins that has a digit near it. ---- */

static void shape_look(struct detect_scan *s, size_t i)
{
    char c = detect_byte(s, i);
    if (detect_is_alnum(c) && !detect_begins(s, i))
        return;
    if (detect_is_digit(c)) {
        detect_number_at(s, i);
        detect_account_at(s, i);
        detect_address_at(s, i);
        detect_id_at(s, i);
    } else if (detect_is_alpha(c)) {
        detect_account_at(s, i);
        detect_id_at(s, i);
        if (detect_is_hex(c))
            detect_address_at(s, i);
    } else if (c == '+') {
        detect_number_at(s, i);
        detect_id_at(s, i);
    } else if (c == '(') {
        detect_number_at(s, i);
    } else if (c == '@') {
        detect_email_at(s, i);
    } else if (c == ':' && detect_byte(s, i + 1) == '/' && detect_byte(s, i + 2) == '/') {
        detect_url_at(s, i);
    } else if (c == ':' && detect_begins(s, i)) {
        detect_address_at(s, i);
    }
}

/* Those bits, and each place from which one of them is at most n bytes away. `next` is the block behind. */
static uint64_t reach(uint64_t bits, uint64_t next, unsigned n)
{
    for (unsigned done = 0, step; done < n; done += step) {
        step = done + 1 < n - done ? done + 1 : n - done;
        bits |= bits >> step | next << (64 - step);
        next |= next >> step;
    }
    return bits;
}

/* Of a block's bytes, those worth a look: signs; words with a digit within DETECT_DIGIT_REACH; words with a
 * sign behind their first letters, for addresses without digits ("ab:cd:..."). */
static uint64_t shapes_in(const struct byte_map *m, size_t block)
{
    enum { ADDRESS_REACH = 4 };
    const uint64_t *here = m->bits + block * BYTE_CLASSES, *next = here + BYTE_CLASSES;
    uint64_t words = here[BYTE_LOWER] | here[BYTE_UPPER] | here[BYTE_DIGIT], signs = here[BYTE_SIGN];
    uint64_t begin = words & ~(words << 1), near = reach(signs, next[BYTE_SIGN], ADDRESS_REACH);
    if (here[BYTE_DIGIT] | next[BYTE_DIGIT])
        near |= reach(here[BYTE_DIGIT], next[BYTE_DIGIT], DETECT_DIGIT_REACH);
    return signs | (begin & near);
}

static void shapes_scan(struct detect_scan *s)
{
    uint64_t escaped = 0; /* words in the next block that begin behind an escape */
    for (size_t block = 0; block < s->map->n_blocks; block++) {
        uint64_t bits = shapes_in(s->map, block) | escaped;
        escaped = 0;
        for (; bits && s->rc == 0; bits &= bits - 1) {
            size_t i = block * 64 + byte_first(bits);
            if (detect_byte(s, i) != '\\') {
                shape_look(s, i);
                continue;
            }
            char c = detect_byte(s, i + 1);
            if (c == 'n' || c == 'r' || c == 't')
                *((i + 2) / 64 == block ? &bits : &escaped) |= (uint64_t)1 << (i + 2) % 64;
        }
    }
}

/* By place; of those that begin together the longer first, then the stronger. */
static int hit_order(const void *a, const void *b)
{
    const struct detect_hit *x = a, *y = b;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    if (x->end != y->end)
        return x->end > y->end ? -1 : 1;
    if (x->type->rank != y->type->rank)
        return x->type->rank > y->type->rank ? -1 : 1;
    return strcmp(x->type->name, y->type->name);
}

/* Is `inner` said already by `outer`, which holds it? The same type twice, or a weaker reading of the same
 * digits; but never a sure finding for an unsure one. */
static bool hit_covers(const struct detect_hit *outer, const struct detect_hit *inner)
{
    if (outer->start > inner->start || outer->end < inner->end || (outer->allowed && !inner->allowed))
        return false;
    if (outer->type == inner->type)
        return outer->score >= inner->score || outer->end - outer->start > inner->end - inner->start;
    if (outer->type->rank <= inner->type->rank || inner->type->rank == DETECT_RANK_OWN)
        return false;
    /* Check digits outweigh a mere number, even where they say that it is an example; else nothing sure is
     * lost. */
    if (inner->type->rank == 2 && outer->type->rank >= 6)
        return true;
    return outer->type->category == inner->type->category && outer->score >= inner->score;
}

/* Few ones, which each layer gives nearly in order, go in one by one. */
static void hits_sort(struct detect_hit *hits, size_t n)
{
    enum { FEW = 128 };
    if (n > FEW) {
        qsort(hits, n, sizeof *hits, hit_order);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        struct detect_hit h = hits[i];
        size_t at = i;
        for (; at > 0 && hit_order(&hits[at - 1], &h) > 0; at--)
            hits[at] = hits[at - 1];
        hits[at] = h;
    }
}

static void hits_settle(struct detect_scan *s)
{
    enum { LOOK_BACK = 16 };
    hits_sort(s->hits, s->n_hits);
    size_t kept = 0;
    for (size_t i = 0; i < s->n_hits; i++) {
        bool drop = false;
        for (size_t j = kept; j-- > 0 && kept - j <= LOOK_BACK && !drop;)
            drop = hit_covers(&s->hits[j], &s->hits[i]);
        if (!drop)
            s->hits[kept++] = s->hits[i];
    }
    s->n_hits = kept;
}

int detect_more_type_add(struct arena *a, struct router_findings *f, const char *type, struct error *err)
{
    for (size_t i = f->n_more_types; i-- > 0;)
        if (f->more_types[i] == type)
            return 0;
    if (!f->more_types && !(f->more_types = arena_try_array(a, const char *, DETECT_MAX_TYPES)))
        return error_set(err, ERROR_LIMIT, "the findings take more memory than the request may");
    assert(f->n_more_types < DETECT_MAX_TYPES);
    f->more_types[f->n_more_types++] = type;
    return 0;
}

int detect_entity_add(
    struct arena *a, struct router_findings *f, const struct router_entity *e, struct error *err)
{
    if (f->n_entities == LIMIT_ENTITIES) {
        f->more++;
        return e->score >= DETECT_SURE ? detect_more_type_add(a, f, e->type, err) : 0;
    }
    if (f->n_entities == f->capacity) {
        size_t capacity = f->capacity ? f->capacity * 2 : 8;
        struct router_entity *grown = arena_try_array(a, struct router_entity, capacity);
        if (!grown)
            return error_set(err, ERROR_LIMIT, "the findings take more memory than the request may");
        if (f->n_entities)
            memcpy(grown, f->entities, f->n_entities * sizeof *grown);
        f->entities = grown;
        f->capacity = capacity;
    }
    f->entities[f->n_entities++] = *e;
    return 0;
}

/* Hits become entities: byte offsets become code points in one walk, for the hits are in order of start. */
static int findings_add(struct arena *a, struct str where, const struct detect_scan *s,
    struct router_findings *f, struct error *err)
{
    size_t at = 0, points = 0;
    f->more += s->more;
    for (size_t i = 0; i < s->n_more_types; i++) {
        f->categories |= s->more_type[i]->category;
        int rc = detect_more_type_add(a, f, s->more_type[i]->name, err);
        if (rc)
            return rc;
    }
    for (size_t i = 0; i < s->n_hits; i++) {
        const struct detect_hit *h = &s->hits[i];
        points += str_utf8_count(str_slice(s->text, at, h->start));
        at = h->start;
        f->categories |= h->score >= DETECT_SURE ? h->type->category : 0;
        size_t length = str_utf8_count(str_slice(s->text, h->start, h->end));
        struct router_entity e = {
            h->type->name, h->type->category, points, points + length, h->score, where, h->allowed};
        int rc = detect_entity_add(a, f, &e, err);
        if (rc)
            return rc;
    }
    f->sensitive = f->categories != 0;
    return 0;
}

/* One reading of a text: hits, settled. */
static int text_scan(struct detect_scan *s, const struct byte_map *map)
{
    s->map = map;
    s->text = map->text;
    shapes_scan(s);
    detect_secret_scan(s);
    if (s->rc == 0)
        detect_context_scan(s);
    if (s->own && s->rc == 0)
        detect_own_scan(s);
    if (s->rc == 0)
        hits_settle(s);
    return s->rc;
}

/* Was it found, as sure, there if it is known where it stands, or else anywhere? A piece of it that was
 * found, "ller" of "M\u00fcller", becomes all of it. */
static bool entity_found(
    const struct router_findings *f, size_t from, const struct router_entity *told, bool known)
{
    for (size_t i = from; i < f->n_entities; i++) {
        struct router_entity *e = &f->entities[i];
        if (e->type != told->type)
            continue;
        if (known && e->score <= told->score && told->start <= e->start && e->end <= told->end)
            *e = *told;
        if (known ? e->score >= told->score && e->start <= told->start && told->end <= e->end
                  : e->score >= DETECT_SURE)
            return true;
    }
    return false;
}

/* A look at the text once more, written differently. */
struct look {
    const struct detect_own *own;
    struct arena *arena;
    struct str where, text;
    size_t from; /* of the findings, those of this text */
    struct plain_joints joints;
    bool told;         /* a number may be told in words */
    size_t at, points; /* a place in the text, in bytes and code points: hits come in order */
    size_t whole;      /* its code points, counted once they are asked for */
};

static size_t quotes_count(struct str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += s.data[i] == '"' || s.data[i] == '\'';
    return n;
}

/* Where in the text a hit of its plain form stands, in code points. */
static bool hit_origin(struct look *l, struct str plain, const struct detect_hit *h, struct router_entity *e)
{
    size_t start, end;
    if (!plain_origin(&l->joints, h->start, h->end, &start, &end))
        return false;
    /* What is masked is one text: not two strings of JSON or code with what stands between them. */
    if (h->type->rank == DETECT_RANK_OWN &&
        quotes_count(str_slice(l->text, start, end)) > quotes_count(str_slice(plain, h->start, h->end)))
        return false;
    if (start < l->at)
        l->at = l->points = 0;
    l->points += str_utf8_count(str_slice(l->text, l->at, start));
    l->at = start;
    e->start = l->points;
    e->end = l->points + str_utf8_count(str_slice(l->text, start, end));
    return true;
}

/* By the owner's own layer alone. */
static int own_scan(struct detect_scan *s, const struct byte_map *map, bool marked)
{
    s->map = map;
    s->text = map->text;
    detect_own_scan_parted(s, marked);
    if (s->rc == 0)
        hits_settle(s);
    return s->rc;
}

static int marked_scan(struct detect_scan *s, const struct byte_map *map)
{
    return own_scan(s, map, true);
}

static int parted_scan(struct detect_scan *s, const struct byte_map *map)
{
    return own_scan(s, map, false);
}

/* The text once more with what was written differently undone: what was not found in the text as it stands.
 * Where it cannot be told where it came from, only what is sure, and the whole text is its span. */
static int again(struct look *l, struct str plain, int (*scan)(struct detect_scan *, const struct byte_map *),
    struct router_findings *f, struct error *err)
{
    const struct detect_type *more_type[DETECT_MAX_TYPES];
    struct detect_scan s = {.own = l->own, .more_type = more_type, .err = err};
    struct byte_map map;
    int rc = byte_map_make(&map, plain, err);
    if (rc == 0)
        rc = scan(&s, &map);
    for (size_t i = 0; i < s.n_hits && rc == 0; i++) {
        const struct detect_hit *h = &s.hits[i];
        struct router_entity e = {h->type->name, h->type->category, 0, 0, h->score, l->where, h->allowed};
        bool known = hit_origin(l, plain, h, &e);
        f->categories |= h->score >= DETECT_SURE ? h->type->category : 0;
        if ((!known && h->score < DETECT_SURE) || entity_found(f, l->from, &e, known))
            continue;
        if (!known && l->whole == 0)
            l->whole = str_utf8_count(l->text);
        e.end = known ? e.end : l->whole;
        rc = detect_entity_add(l->arena, f, &e, err);
    }
    for (size_t i = 0; i < s.n_more_types && rc == 0; i++) {
        f->categories |= s.more_type[i]->category;
        rc = detect_more_type_add(l->arena, f, s.more_type[i]->name, err);
    }
    f->sensitive = f->categories != 0;
    free(s.hits);
    byte_map_free(&map);
    return rc;
}

/* Ends a reading that was made, with a look at it where anything is written differently. */
static int read_again(struct look *l, struct buf *plain, int rc, bool changed,
    int (*scan)(struct detect_scan *, const struct byte_map *), struct router_findings *f, struct error *err)
{
    if (rc)
        error_set(err, rc, "the text is too large to look at");
    else if (changed)
        rc = again(l, buf_str(plain), scan, f, err);
    buf_free(plain);
    free(l->joints.all);
    l->joints = (struct plain_joints){0};
    return rc;
}

static int differently(
    struct look *l, const struct byte_map *map, struct router_findings *f, struct error *err)
{
    static int (*const placed[])(const struct byte_map *, struct buf *, struct plain_joints *, bool *) = {
        router_plain_told, router_plain, router_plain_spaced}; /* the first only where it may be so */
    static int (*const undo[])(const struct byte_map *, struct buf *, bool *) = {
        router_plain_packed, router_plain_split, router_plain_members};
    struct buf plain;
    bool changed;
    int rc = 0;
    for (size_t i = l->told ? 0 : 1; i < sizeof placed / sizeof *placed && rc == 0; i++) {
        buf_init(&plain, LIMIT_REQUEST_MEMORY);
        rc = placed[i](map, &plain, &l->joints, &changed);
        rc = read_again(l, &plain, rc, changed, text_scan, f, err);
    }
    for (size_t i = 0; i < sizeof undo / sizeof *undo && rc == 0; i++) {
        buf_init(&plain, LIMIT_REQUEST_MEMORY);
        rc = undo[i](map, &plain, &changed);
        rc = read_again(l, &plain, rc, changed, text_scan, f, err);
    }
    for (int how = PLAIN_IN_ONE; how <= PLAIN_MARKED && rc == 0; how++) {
        if (!detect_own_reads_parted(l->own, how == PLAIN_MARKED))
            continue;
        buf_init(&plain, LIMIT_REQUEST_MEMORY);
        rc = router_plain_parted(map, (enum plain_parts)how, &plain, &l->joints, &changed);
        rc = read_again(l, &plain, rc, changed, how == PLAIN_MARKED ? marked_scan : parted_scan, f, err);
    }
    return rc;
}

int router_detect(
    struct arena *a, struct str where, struct str text, struct router_findings *f, struct error *err)
{
    return router_detect_own(NULL, a, where, text, f, err);
}

int router_detect_own(const struct detect_own *own, struct arena *a, struct str where, struct str text,
    struct router_findings *f, struct error *err)
{
    const struct detect_type *more_type[DETECT_MAX_TYPES]; /* 4.5 KB: not zeroed for each text */
    struct detect_scan s = {.own = own, .more_type = more_type, .err = err};
    struct byte_map map;
    struct look look = {.own = own, .arena = a, .where = where, .text = text, .from = f->n_entities};
    int rc = router_detect_init(err);
    if (rc == 0)
        rc = byte_map_make(&map, text, err);
    if (rc)
        return rc;
    if (!str_utf8_valid(text))
        rc = error_set(err, ERROR_INVALID, "the text is not valid UTF-8");
    if (rc == 0)
        rc = text_scan(&s, &map);
    if (rc == 0)
        rc = findings_add(a, where, &s, f, err);
    look.told = s.told;
    if (rc == 0)
        rc = differently(&look, &map, f, err);
    free(s.hits);
    byte_map_free(&map);
    return rc;
}

/* Cutting special tokens out of a text.
 *
 * The rule (llama.cpp's): longer tokens first over the whole text, leftmost first among equals. Each place
 * where a token can begin is queued with the longest token there; when its turn comes and part of it is
 * taken, it is queued again with what still fits. That is near linear, where a search for each token in turn
 * is not. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "engine/worker/tokenizer_inner.h"

struct named_id {
    struct str text;
    int32_t id;
};

static int compare_named(const void *a, const void *b)
{
    const struct named_id *x = a, *y = b;
    size_t n = x->text.len < y->text.len ? x->text.len : y->text.len;
    int order = memcmp(x->text.data, y->text.data, n);
    return order ? order : (x->text.len > y->text.len) - (x->text.len < y->text.len);
}

/* Tokens with any of the flags `any` and none of the flags `none`, sorted by their bytes. */
static int collect(const struct tokenizer *t, int any, int none, struct special_set *set, struct error *err)
{
    size_t count = 0;
    for (int32_t i = 0; i < t->n_tokens; i++)
        count += (t->tokens[i].flags & any) && !(t->tokens[i].flags & none) && t->tokens[i].text.len > 0;
    struct named_id *named = calloc(count + 1, sizeof *named);
    set->ids = calloc(count + 1, sizeof *set->ids);
    if (!named || !set->ids) {
        free(named);
        return error_set(err, ERROR_MEMORY, "no memory for %zu special tokens", count);
    }
    size_t n = 0;
    for (int32_t i = 0; i < t->n_tokens; i++)
        if ((t->tokens[i].flags & any) && !(t->tokens[i].flags & none) && t->tokens[i].text.len > 0)
            named[n++] = (struct named_id){t->tokens[i].text, i};
    qsort(named, count, sizeof *named, compare_named);
    for (size_t i = 0; i < count; i++) {
        set->ids[i] = named[i].id;
        set->first[(unsigned char)named[i].text.data[0] + 1] = i + 1;
    }
    for (int byte = 1; byte <= 256; byte++)
        if (set->first[byte] < set->first[byte - 1])
            set->first[byte] = set->first[byte - 1];
    free(named);
    return 0;
}

int tokenizer_special_load(struct tokenizer *t, struct error *err)
{
    int rc = collect(t, TOKEN_CONTROL | TOKEN_USER_DEFINED | TOKEN_UNKNOWN, 0, &t->specials, err);
    return rc ? rc : collect(t, TOKEN_USER_DEFINED, TOKEN_CONTROL | TOKEN_UNKNOWN, &t->user_defined, err);
}

/* One text being cut. */
struct cutter {
    const struct tokenizer *t;
    const struct special_set *set;
    struct str text;
    uint8_t *taken; /* one per byte */
    struct heap heap;
    struct fragment_list *list;
};

/* The first of the tokens from .. to (all alike up to `depth`) whose byte at `depth` is at least `byte`. */
static size_t lower_bound(const struct cutter *c, size_t from, size_t to, size_t depth, int byte)
{
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        struct str text = c->t->tokens[c->set->ids[middle]].text;
        if (depth >= text.len || (unsigned char)text.data[depth] < byte)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

/* The longest token that stands at `at` in text not taken yet: its length, 0 if none. */
static size_t longest_at(const struct cutter *c, size_t at, int32_t *id)
{
    unsigned char first = (unsigned char)c->text.data[at];
    size_t from = c->set->first[first], to = c->set->first[first + 1], best = 0;
    for (size_t depth = 1; from < to; depth++) {
        struct str text = c->t->tokens[c->set->ids[from]].text;
        if (c->taken[at + depth - 1])
            break;
        if (text.len == depth) { /* sorted: the shortest comes first */
            best = depth;
            *id = c->set->ids[from];
        }
        if (at + depth >= c->text.len)
            break;
        int byte = (unsigned char)c->text.data[at + depth];
        from = lower_bound(c, from, to, depth, byte);
        to = lower_bound(c, from, to, depth, byte + 1);
    }
    return best;
}

static int queue(struct cutter *c, size_t at, size_t length, int32_t id, struct error *err)
{
    uint64_t key = (uint64_t)(UINT32_MAX - length) << 32 | at;
    return heap_push(
        &c->heap, (struct heap_item){.key = key, .length = (uint32_t)length, .result = (uint32_t)id}, err);
}

static int queue_all(struct cutter *c, struct error *err)
{
    int rc = 0;
    for (size_t i = 0; i < c->text.len && rc == 0; i++) {
        int32_t id = -1;
        size_t length = longest_at(c, i, &id);
        if (length > 0)
            rc = queue(c, i, length, id, err);
    }
    return rc;
}

static int list_append(struct fragment_list *list, struct fragment fragment, struct error *err)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 16;
        struct fragment *items = realloc(list->items, capacity * sizeof *items);
        if (!items)
            return error_set(err, ERROR_MEMORY, "no memory to tokenize a text of this length: send less");
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = fragment;
    return 0;
}

static void take(struct cutter *c, size_t at, size_t length, int32_t id)
{
    memset(c->taken + at, 1, length);
    if (c->t->tokens[id].flags & TOKEN_LEFT_STRIP)
        for (size_t i = at; i > 0 && !c->taken[i - 1] && isspace((unsigned char)c->text.data[i - 1]); i--)
            c->taken[i - 1] = 1;
    if (c->t->tokens[id].flags & TOKEN_RIGHT_STRIP)
        for (size_t i = at + length;
             i < c->text.len && !c->taken[i] && isspace((unsigned char)c->text.data[i]); i++)
            c->taken[i] = 1;
}

/* Lists the tokens, the most urgent first. */
static int take_all(struct cutter *c, struct error *err)
{
    int rc = 0;
    struct heap_item item;
    while (rc == 0 && heap_pop(&c->heap, &item)) {
        size_t at = (size_t)(item.key & UINT32_MAX);
        int32_t id = -1;
        size_t length = longest_at(c, at, &id);
        if (length == item.length) {
            take(c, at, length, id);
            rc = list_append(c->list, (struct fragment){(uint32_t)at, (uint32_t)length, id}, err);
        } else if (length > 0) {
            rc = queue(c, at, length, id, err);
        }
    }
    return rc;
}

/* Lists the runs of text that no token took. */
static int add_texts(struct cutter *c, struct error *err)
{
    int rc = 0;
    for (size_t i = 0; i < c->text.len && rc == 0;) {
        const uint8_t *end = memchr(c->taken + i, 1, c->text.len - i);
        size_t stop = end ? (size_t)(end - c->taken) : c->text.len;
        if (stop > i)
            rc = list_append(c->list, (struct fragment){(uint32_t)i, (uint32_t)(stop - i), -1}, err);
        while (stop < c->text.len && c->taken[stop])
            stop++;
        i = stop;
    }
    return rc;
}

static int compare_fragments(const void *a, const void *b)
{
    const struct fragment *x = a, *y = b;
    return (x->start > y->start) - (x->start < y->start);
}

int tokenizer_special_split(const struct tokenizer *t, struct str text, bool parse_special,
    struct fragment_list *list, struct error *err)
{
    struct cutter c = {
        .t = t, .set = parse_special ? &t->specials : &t->user_defined, .text = text, .list = list};
    if (text.len == 0)
        return 0;
    c.taken = calloc(text.len, 1);
    int rc = c.taken ? queue_all(&c, err) : error_set(err, ERROR_MEMORY, "no memory to tokenize: send less");
    rc = rc ? rc : take_all(&c, err);
    rc = rc ? rc : add_texts(&c, err);
    if (rc == 0 && list->count > 1)
        qsort(list->items, list->count, sizeof *list->items, compare_fragments);
    free(c.taken);
    free(c.heap.items);
    return rc;
}

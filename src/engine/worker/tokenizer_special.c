/* Cutting special tokens out of a text.
 *
 * The rule (llama.cpp's): longer tokens first over the whole text, leftmost first among equals. Each place
 * where a token can begin is queued with the longest token there; when its turn comes and part of it is
 * taken, it is queued again with what still fits. That is near linear, where a search for each token in turn
 * is not. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "engine/worker/tokenizer_inner.h"

/* Tokens with any of the flags `any` and none of the flags `none`. */
static int collect(const struct tokenizer *t, int any, int none, struct trie *set, struct error *err)
{
    size_t count = 0;
    struct trie_item *items = calloc((size_t)t->n_tokens, sizeof *items);
    if (!items)
        return error_set(err, ERROR_MEMORY, "no memory for the special tokens");
    for (int32_t i = 0; i < t->n_tokens; i++)
        if ((t->tokens[i].flags & any) && !(t->tokens[i].flags & none) && t->tokens[i].text.len > 0)
            items[count++] = (struct trie_item){t->tokens[i].text, i};
    int rc = trie_build(set, items, count, err);
    free(items);
    return rc;
}

int tokenizer_special_load(struct tokenizer *t, struct error *err)
{
    int rc = collect(t, TOKEN_CONTROL | TOKEN_USER_DEFINED | TOKEN_UNKNOWN, 0, &t->specials, err);
    return rc ? rc : collect(t, TOKEN_USER_DEFINED, TOKEN_CONTROL | TOKEN_UNKNOWN, &t->user_defined, err);
}

/* One text being cut. */
struct cutter {
    const struct tokenizer *t;
    const struct trie *set;
    struct str text;
    uint8_t *taken; /* one per byte */
    struct heap heap;
    struct fragment_list *list;
};

/* The longest token that stands at `at` in text not taken yet: its length, 0 if none. */
static size_t longest_at(const struct cutter *c, size_t at, int32_t *id)
{
    const struct trie_node *node = c->set->nodes;
    size_t best = 0;
    for (size_t i = at; i < c->text.len && !c->taken[i]; i++) {
        node = trie_step(c->set, node, c->text.data[i]);
        if (!node)
            break;
        if (node->id >= 0) {
            best = i + 1 - at;
            *id = node->id;
        }
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

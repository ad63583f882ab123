/* A trie over the bytes of tokens, as one array in breadth-first order: the children of a node stand side by
 * side, sorted. It is built from the sorted texts in time linear in their bytes; a step down is a search
 * among the children. */
#include <stdlib.h>
#include <string.h>

#include "engine/worker/tokenizer_inner.h"

static int compare_items(const void *a, const void *b)
{
    const struct trie_item *x = a, *y = b;
    size_t n = x->text.len < y->text.len ? x->text.len : y->text.len;
    int order = memcmp(x->text.data, y->text.data, n);
    return order ? order : (x->text.len > y->text.len) - (x->text.len < y->text.len);
}

/* A node in the making: the items that share its first bytes, which are as many as its depth. */
struct range {
    uint32_t from, to, depth;
};

struct builder {
    struct trie *trie;
    const struct trie_item *items;
    struct range *ranges; /* one per node */
    size_t capacity;
};

static int add_node(struct builder *b, struct range range, uint8_t byte, struct error *err)
{
    struct trie *t = b->trie;
    if (t->count == b->capacity) {
        size_t capacity = b->capacity ? 2 * b->capacity : 1024;
        struct trie_node *nodes = realloc(t->nodes, capacity * sizeof *nodes);
        t->nodes = nodes ? nodes : t->nodes;
        struct range *ranges = nodes ? realloc(b->ranges, capacity * sizeof *ranges) : NULL;
        b->ranges = ranges ? ranges : b->ranges;
        if (!ranges)
            return error_set(err, ERROR_MEMORY, "no memory for the vocabulary");
        b->capacity = capacity;
    }
    b->ranges[t->count] = range;
    t->nodes[t->count++] = (struct trie_node){.byte = byte, .id = -1};
    return 0;
}

static int add_children(struct builder *b, size_t at, struct error *err)
{
    struct range r = b->ranges[at];
    for (; r.from < r.to && b->items[r.from].text.len == r.depth; r.from++)
        b->trie->nodes[at].id = b->items[r.from].id; /* of equal texts the last counts */
    b->trie->nodes[at].first = (uint32_t)b->trie->count;
    int rc = 0;
    while (r.from < r.to && rc == 0) {
        uint8_t byte = (uint8_t)b->items[r.from].text.data[r.depth];
        struct range child = {r.from, r.from, r.depth + 1};
        while (child.to < r.to && (uint8_t)b->items[child.to].text.data[r.depth] == byte)
            child.to++;
        rc = add_node(b, child, byte, err);
        b->trie->nodes[at].children++;
        r.from = child.to;
    }
    return rc;
}

int trie_build(struct trie *t, struct trie_item *items, size_t count, struct error *err)
{
    struct builder b = {.trie = t, .items = items};
    *t = (struct trie){0};
    if (count > 1)
        qsort(items, count, sizeof *items, compare_items);
    int rc = add_node(&b, (struct range){0, (uint32_t)count, 0}, 0, err);
    for (size_t i = 0; i < t->count && rc == 0; i++)
        rc = add_children(&b, i, err);
    free(b.ranges);
    return rc;
}

void trie_free(struct trie *t)
{
    free(t->nodes);
}

const struct trie_node *trie_step(const struct trie *t, const struct trie_node *node, char byte)
{
    const struct trie_node *children = t->nodes + node->first;
    size_t from = 0, to = node->children;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (children[middle].byte < (uint8_t)byte)
            from = middle + 1;
        else
            to = middle;
    }
    return from < node->children && children[from].byte == (uint8_t)byte ? &children[from] : NULL;
}

size_t trie_longest(const struct trie *t, struct str text, int32_t *id)
{
    const struct trie_node *node = t->nodes;
    size_t longest = 0;
    for (size_t i = 0; i < text.len && (node = trie_step(t, node, text.data[i])); i++)
        if (node->id >= 0) {
            longest = i + 1;
            *id = node->id;
        }
    return longest;
}

/* A binary heap: the least key first. */
#include <stdlib.h>

#include "engine/worker/tokenizer_inner.h"

int heap_push(struct heap *h, struct heap_item item, struct error *err)
{
    if (h->count == h->capacity) {
        size_t capacity = h->capacity ? 2 * h->capacity : 64;
        struct heap_item *items = realloc(h->items, capacity * sizeof *items);
        if (!items)
            return error_set(err, ERROR_MEMORY, "no memory to tokenize a text of this length: send less");
        h->items = items;
        h->capacity = capacity;
    }
    size_t i = h->count++;
    for (; i > 0 && h->items[(i - 1) / 2].key > item.key; i = (i - 1) / 2)
        h->items[i] = h->items[(i - 1) / 2];
    h->items[i] = item;
    return 0;
}

bool heap_pop(struct heap *h, struct heap_item *item)
{
    if (h->count == 0)
        return false;
    *item = h->items[0];
    struct heap_item last = h->items[--h->count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < h->count; i = child) {
        if (child + 1 < h->count && h->items[child + 1].key < h->items[child].key)
            child++;
        if (h->items[child].key >= last.key)
            break;
        h->items[i] = h->items[child];
    }
    h->items[i] = last;
    return true;
}

/* Joins neighbouring symbols, the best pair of all first, as long as the model knows one (BPE,
 * SentencePiece). */
#include <stdlib.h>

#include "engine/worker/tokenizer_inner.h"

int merger_add(struct merger *m, size_t start, size_t length, uint32_t id, struct error *err)
{
    if (m->count == m->capacity) {
        size_t capacity = m->capacity ? 2 * m->capacity : 64;
        struct symbol *symbols = realloc(m->symbols, capacity * sizeof *symbols);
        if (!symbols)
            return error_set(err, ERROR_MEMORY, "no memory to tokenize a text of this length: send less");
        m->symbols = symbols;
        m->capacity = capacity;
    }
    m->symbols[m->count] = (struct symbol){(uint32_t)start, (uint32_t)length, (int32_t)m->count - 1, -1, id};
    if (m->count > 0)
        m->symbols[m->count - 1].next = (int32_t)m->count;
    m->count++;
    return 0;
}

/* Queues the pair if the model can join it. */
static int offer(struct merger *m, int32_t left, int32_t right, struct error *err)
{
    if (left < 0 || right < 0)
        return 0;
    const struct symbol *l = &m->symbols[left], *r = &m->symbols[right];
    uint32_t priority, result;
    if (!m->find(m, l, r, &priority, &result))
        return 0;
    struct heap_item item = {
        (uint64_t)priority << 32 | (uint32_t)left, (uint32_t)right, l->length + r->length, result};
    return heap_push(&m->heap, item, err);
}

int merger_run(struct merger *m, struct error *err)
{
    int rc = 0;
    m->heap.count = 0;
    for (size_t i = 1; i < m->count && rc == 0; i++)
        rc = offer(m, (int32_t)i - 1, (int32_t)i, err);
    struct heap_item item;
    while (rc == 0 && heap_pop(&m->heap, &item)) {
        int32_t at = (int32_t)(item.key & UINT32_MAX);
        struct symbol *left = &m->symbols[at], *right = &m->symbols[item.right];
        /* A pair one of whose halves has changed since is stale: its total length tells. */
        if (left->length == 0 || right->length == 0 || left->length + right->length != item.length)
            continue;
        left->length = item.length;
        left->id = item.result;
        right->length = 0;
        left->next = right->next;
        if (right->next >= 0)
            m->symbols[right->next].prev = at;
        rc = offer(m, left->prev, at, err);
        rc = rc ? rc : offer(m, at, left->next, err);
    }
    return rc;
}

void merger_free(struct merger *m)
{
    free(m->symbols);
    free(m->heap.items);
}

/* An intrusive, circular, doubly linked list.
 *
 *   head <-> first <-> ... <-> last <-> head        an unlinked node points at itself
 */
#ifndef WEIR_BASE_LIST_H
#define WEIR_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *prev, *next;
};

static inline void list_init(struct list *l)
{
    l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_push_back(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define list_item(node, type, member) container_of(node, type, member)
/* `node` and `after` are `struct list *`; the loop body may remove `node`. */
#define list_each(node, after, head)                                                                         \
    for (struct list *node = (head)->next, *after = node->next; node != (head); node = after, after = node->next)

#endif

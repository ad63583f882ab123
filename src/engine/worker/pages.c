#include "engine/worker/pages.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

uint64_t pages_bytes(int32_t n_pages, int32_t n_slots, int32_t n_context, int32_t n_scales)
{
    const uint64_t page = sizeof(struct page) + sizeof(int32_t) + PAGE_POSITIONS * sizeof(int32_t) +
                          sizeof(uint64_t) + (uint64_t)n_scales * sizeof(float);
    const uint64_t slot = ((uint64_t)pages_for(n_context) + 2) * sizeof(int32_t);
    return sizeof(struct pages) + (uint64_t)n_pages * page + (uint64_t)n_slots * slot;
}

int pages_create(int32_t n_pages, int32_t n_slots, int32_t n_context, int32_t n_scales, struct pages **out,
    struct error *err)
{
    struct pages *p = calloc(1, sizeof *p);
    const size_t pages = (size_t)n_pages, slots = (size_t)n_slots;
    if (!p)
        goto no_memory;
    *p = (struct pages){.n_pages = n_pages,
        .n_slots = n_slots,
        .n_slot_pages = pages_for(n_context),
        .n_scales = n_scales,
        .first = -1};
    list_init(&p->ages);
    p->page = calloc(pages, sizeof *p->page);
    p->free = calloc(pages, sizeof *p->free);
    p->tokens = calloc(pages * PAGE_POSITIONS, sizeof *p->tokens);
    p->scales = calloc(pages * (size_t)n_scales + 1, sizeof *p->scales);
    p->scope = calloc(pages, sizeof *p->scope);
    p->table = calloc(slots * (size_t)p->n_slot_pages, sizeof *p->table);
    p->held = calloc(slots, sizeof *p->held);
    p->known = calloc(slots, sizeof *p->known);
    if (!p->page || !p->free || !p->tokens || !p->scales || !p->scope || !p->table || !p->held || !p->known)
        goto no_memory;
    for (int32_t i = 0; i < n_pages; i++)
        list_init(&p->page[i].age);
    while (p->n_free < n_pages) { /* the first is taken first */
        p->free[p->n_free] = n_pages - 1 - p->n_free;
        p->n_free++;
    }
    *out = p;
    return 0;
no_memory:
    pages_free(p);
    return error_set(err, ERROR_MEMORY,
        "no memory for the tables of %d pages: use a smaller context or cache", (int)n_pages);
}

void pages_free(struct pages *p)
{
    if (!p)
        return;
    free(p->page);
    free(p->free);
    free(p->tokens);
    free(p->scales);
    free(p->scope);
    free(p->table);
    free(p->held);
    free(p->known);
    free(p);
}

int32_t pages_available(const struct pages *p)
{
    return p->n_free + p->n_unused;
}

static int32_t *table_of(const struct pages *p, int32_t slot)
{
    return p->table + (size_t)slot * (size_t)p->n_slot_pages;
}

static int32_t *tokens_of(const struct pages *p, int32_t page)
{
    return p->tokens + (size_t)page * PAGE_POSITIONS;
}

/* ---- Who holds a page ---- */

static void page_hold(struct pages *p, int32_t page)
{
    p->n_unused -= p->page[page].refs == 0;
    p->page[page].refs++;
}

static void page_release(struct pages *p, int32_t page)
{
    assert(p->page[page].refs > 0);
    if (--p->page[page].refs > 0)
        return;
    if (p->page[page].kept)
        p->n_unused++;
    else
        p->free[p->n_free++] = page;
}

/* ---- The tree ---- */

/* Where the list of a page's children begins; of none: of first pages. */
static int32_t *children_of(struct pages *p, int32_t parent)
{
    return parent < 0 ? &p->first : &p->page[parent].child;
}

/* Is the page (of first pages) one of such sequences? */
static bool is_kin(const struct pages *p, int32_t page, const struct pages_kin *kin)
{
    if (p->scope[page] != kin->scope)
        return false;
    for (int32_t i = 0; i < p->n_scales; i++)
        if (p->scales[(size_t)page * (size_t)p->n_scales + (size_t)i] != (kin->scales ? kin->scales[i] : 0))
            return false;
    return true;
}

static void kin_set(struct pages *p, int32_t page, const struct pages_kin *kin)
{
    p->scope[page] = kin->scope;
    for (int32_t i = 0; i < p->n_scales; i++)
        p->scales[(size_t)page * (size_t)p->n_scales + (size_t)i] = kin->scales ? kin->scales[i] : 0;
}

static int32_t common(const struct pages *p, int32_t page, const int32_t *tokens, int32_t count)
{
    const int32_t *own = tokens_of(p, page), most = p->page[page].count < count ? p->page[page].count : count;
    int32_t n = 0;
    while (n < most && own[n] == tokens[n])
        n++;
    return n;
}

/* The child that has most of the tokens in common, and how many; -1: none has any. */
static int32_t child_find(const struct pages *p, int32_t parent, const struct pages_kin *kin,
    const int32_t *tokens, int32_t count, int32_t *n)
{
    int32_t best = -1;
    *n = 0;
    for (int32_t i = parent < 0 ? p->first : p->page[parent].child; i >= 0; i = p->page[i].next) {
        int32_t here = parent >= 0 || is_kin(p, i, kin) ? common(p, i, tokens, count) : 0;
        if (here > *n) {
            *n = here;
            best = i;
        }
    }
    return best;
}

/* The page has been used, and with it all that it follows on from. */
static void page_touch(struct pages *p, int32_t page)
{
    for (; page >= 0; page = p->page[page].parent) {
        list_remove(&p->page[page].age);
        list_push_back(&p->ages, &p->page[page].age);
    }
}

static void page_know(struct pages *p, int32_t page, int32_t parent, const struct pages_kin *kin,
    const int32_t *tokens, int32_t count)
{
    struct page *own = &p->page[page];
    int32_t *first = children_of(p, parent);
    own->kept = true;
    own->count = count;
    own->parent = parent;
    own->child = own->prev = -1;
    own->next = *first;
    if (own->next >= 0)
        p->page[own->next].prev = page;
    *first = page;
    memcpy(tokens_of(p, page), tokens, (size_t)count * sizeof *tokens);
    if (parent < 0)
        kin_set(p, page, kin);
    p->n_unused += own->refs == 0;
    page_touch(p, page);
    if (p->watch.known)
        p->watch.known(p->watch.ctx, page);
}

/* A leaf goes out of the tree. */
static void page_forget(struct pages *p, int32_t page)
{
    struct page *own = &p->page[page];
    assert(own->kept && own->child < 0);
    if (own->prev >= 0)
        p->page[own->prev].next = own->next;
    else
        *children_of(p, own->parent) = own->next;
    if (own->next >= 0)
        p->page[own->next].prev = own->prev;
    list_remove(&own->age);
    own->kept = false;
    if (own->refs == 0) {
        p->n_unused--;
        p->free[p->n_free++] = page;
    }
}

/* A free page; the longest unused leaf is given up for it. -1: slots hold all. */
static int32_t page_take(struct pages *p)
{
    for (struct list *at = p->ages.next; p->n_free == 0 && at != &p->ages; at = at->next) {
        int32_t page = (int32_t)(list_item(at, struct page, age) - p->page);
        if (p->page[page].refs > 0 || p->page[page].child >= 0)
            continue;
        if (p->watch.leaves)
            p->watch.leaves(p->watch.ctx, page);
        page_forget(p, page);
        break;
    }
    if (p->n_free == 0)
        return -1;
    int32_t page = p->free[--p->n_free];
    p->page[page].refs = 1;
    return page;
}

/* ---- Slots ---- */

/* Does writing behind `length` positions change a page that others hold or know? */
static bool is_shared(const struct pages *p, int32_t slot, int32_t length)
{
    if (length % PAGE_POSITIONS == 0)
        return false;
    const struct page *page = &p->page[table_of(p, slot)[length / PAGE_POSITIONS]];
    return page->refs > 1 || page->kept;
}

int32_t pages_needed(const struct pages *p, int32_t slot, int32_t from, int32_t to)
{
    return to <= from ? 0 : pages_for(to) - pages_for(from) + is_shared(p, slot, from);
}

int pages_reserve(
    struct pages *p, int32_t slot, int32_t from, int32_t to, pages_copy *copy, void *ctx, struct error *err)
{
    int32_t *table = table_of(p, slot), needed = pages_needed(p, slot, from, to);
    assert(p->held[slot] == pages_for(from) && to <= p->n_slot_pages * PAGE_POSITIONS);
    if (needed > pages_available(p))
        return error_set(err, ERROR_BUSY,
            "the cache of %d tokens is full of sequences that run: send less at once or give it more memory",
            (int)(p->n_pages * PAGE_POSITIONS));
    if (to > from && is_shared(p, slot, from)) {
        int32_t *last = &table[from / PAGE_POSITIONS], own = page_take(p);
        copy(ctx, *last, own);
        page_release(p, *last);
        *last = own;
    }
    while (p->held[slot] < pages_for(to))
        table[p->held[slot]++] = page_take(p);
    return 0;
}

void pages_truncate(struct pages *p, int32_t slot, int32_t length)
{
    while (p->held[slot] > pages_for(length))
        page_release(p, table_of(p, slot)[--p->held[slot]]);
    if (p->known[slot] > length / PAGE_POSITIONS)
        p->known[slot] = length / PAGE_POSITIONS;
}

void pages_fork(struct pages *p, int32_t from, int32_t to, int32_t length)
{
    assert(from != to && p->held[from] >= pages_for(length));
    pages_truncate(p, to, 0);
    for (int32_t i = 0; i < pages_for(length); i++) {
        table_of(p, to)[i] = table_of(p, from)[i];
        page_hold(p, table_of(p, to)[i]);
    }
    p->held[to] = pages_for(length);
    p->known[to] = p->known[from] < length / PAGE_POSITIONS ? p->known[from] : length / PAGE_POSITIONS;
}

/* ---- Tokens ---- */

int32_t pages_match(
    const struct pages *p, const struct pages_kin *kin, const int32_t *tokens, int32_t count, int32_t *unused)
{
    int32_t at = 0, page = -1, n;
    *unused = 0;
    do {
        page = child_find(p, page, kin, tokens + at, count - at, &n);
        *unused += page >= 0 && p->page[page].refs == 0;
        at += n;
    } while (n == PAGE_POSITIONS);
    return at;
}

int32_t pages_adopt(
    struct pages *p, int32_t slot, const struct pages_kin *kin, const int32_t *tokens, int32_t count)
{
    int32_t at = 0, page = -1, last = -1, n;
    assert(p->held[slot] == 0);
    do {
        page = child_find(p, page, kin, tokens + at, count - at, &n);
        if (n == 0)
            break;
        last = page;
        page_hold(p, page);
        table_of(p, slot)[p->held[slot]++] = page;
        at += n;
    } while (n == PAGE_POSITIONS);
    p->known[slot] = at / PAGE_POSITIONS;
    page_touch(p, last);
    return at;
}

int32_t pages_deepest(
    const struct pages *p, const struct pages_kin *kin, const int32_t *tokens, int32_t count, int32_t *held)
{
    int32_t deepest = -1, n;
    for (*held = 0;; *held += n) {
        const int32_t page = child_find(p, deepest, kin, tokens + *held, count - *held, &n);
        if (n < PAGE_POSITIONS)
            return deepest;
        deepest = page;
    }
}

int32_t pages_bring(struct pages *p, int32_t parent)
{
    if (parent >= 0)
        page_hold(p, parent); /* it may be the longest unused leaf itself */
    const int32_t page = page_take(p);
    if (parent >= 0)
        page_release(p, parent);
    return page;
}

void pages_bring_end(struct pages *p, int32_t page, int32_t parent, const struct pages_kin *kin,
    const int32_t *tokens, bool good)
{
    if (good)
        page_know(p, page, parent, kin, tokens, PAGE_POSITIONS);
    page_release(p, page);
}

/* The slot's next page, which follows on from `parent` and holds `count` of the tokens, joins the tree; or
 * the page that is there already takes its place. Not one that was forked: whoever holds a page of the tree
 * must hold all that it follows on from, or these would seem to be unused. */
static bool slot_keep(struct pages *p, int32_t slot, int32_t parent, const struct pages_kin *kin,
    const int32_t *tokens, int32_t count)
{
    int32_t *own = &table_of(p, slot)[p->known[slot]], n;
    int32_t other = child_find(p, parent, kin, tokens, count, &n);
    if (other == *own)
        return true;
    if (p->page[*own].refs > 1 && !p->page[*own].kept)
        return false;
    if (other >= 0 && n == count) { /* the same, or more */
        page_hold(p, other);
        page_release(p, *own);
        *own = other;
        page_touch(p, other);
        return true;
    }
    /* An unfinished page that has come to an end: this one says more. */
    if (other >= 0 && n == p->page[other].count)
        page_forget(p, other);
    page_know(p, *own, parent, kin, tokens, count);
    return true;
}

void pages_keep(struct pages *p, int32_t slot, const struct pages_kin *kin, const int32_t *tokens,
    int32_t count, bool last)
{
    for (int32_t at; (at = p->known[slot] * PAGE_POSITIONS) < count; p->known[slot]++) {
        const int32_t n = count - at < PAGE_POSITIONS ? count - at : PAGE_POSITIONS;
        if (n < PAGE_POSITIONS && !last)
            return;
        const int32_t parent = p->known[slot] > 0 ? table_of(p, slot)[p->known[slot] - 1] : -1;
        if (!slot_keep(p, slot, parent, kin, tokens + at, n) || n < PAGE_POSITIONS)
            return;
    }
}

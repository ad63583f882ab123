/* Where the keys and values of sequences stand: in pages of PAGE_POSITIONS positions, the same ones in every
 * layer that keeps all positions. A slot has a table of pages; slots may share them, and no page that is
 * shared is written (copy on write).
 *
 *   slot 0:  [ 4 | 7 | 2 ]      refs[4] = 2, refs[7] = 3 ...    positions 0..63 are in page 4, 64..127 in 7
 *   slot 1:  [ 4 | 7 | 5 ]
 *
 * What sequences leave behind is kept by its tokens in a tree, so that whoever begins with the same tokens
 * need not compute them (as SGLang's RadixAttention, arxiv.org/abs/2312.07104; pages:
 * arxiv.org/abs/2309.06180). A node is a page; only a leaf may be unfinished:
 *
 *   (kin) -- page 4: 64 tokens -- page 7: 64 tokens -+- page 2: 20 tokens
 *                                                    +- page 5: 64 tokens -- ...
 *
 *   FREE --reserve--> a slot's (refs > 0) --keep--> kept and used --truncate--> kept, unused --evict--> FREE
 *
 * An unused page is taken, the longest unused leaf first, when no page is free. Tokens are compared, not
 * their hashes: a page is never taken for another's. */
#ifndef WEIR_ENGINE_WORKER_PAGES_H
#define WEIR_ENGINE_WORKER_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"

enum { PAGE_POSITIONS = 64 };

struct page {
    struct list age; /* of kept ones, the longest unused first; a page comes after all below it */
    int32_t refs;    /* slots that hold it */
    bool kept;       /* it is in the tree: */
    int32_t count;   /* positions that are known by their tokens */
    int32_t parent, child, next, prev; /* pages; -1: none */
};

/* Who is told of pages in the tree: that one has come into it (it is full, or the last of a sequence), and
 * that one, whose parents are all still there, is about to be given up. */
struct pages_watch {
    void (*known)(void *ctx, int32_t page);
    void (*leaves)(void *ctx, int32_t page);
    void *ctx;
};

struct pages {
    int32_t n_pages, n_slots, n_slot_pages; /* n_slot_pages: as many as a slot may hold */
    int32_t n_scales;
    struct page *page;
    int32_t *free, n_free; /* a stack */
    int32_t n_unused;      /* kept, and no slot's */
    int32_t first;         /* of the pages that sequences begin with; -1: none */
    struct list ages;
    int32_t *tokens;          /* [page][PAGE_POSITIONS] */
    float *scales;            /* [page][n_scales], of first pages: */
    uint64_t *scope;          /* [page] */
    int32_t *table;           /* [slot][n_slot_pages] */
    int32_t *held;            /* of each slot: pages */
    int32_t *known;           /* of each slot: how many of its pages, from the first, are in the tree */
    struct pages_watch watch; /* no functions: nobody */
};

/* The page of a position that the slot holds, or has reserved. */
static inline int32_t pages_of(const struct pages *p, int32_t slot, int32_t position)
{
    return p->table[(size_t)slot * (size_t)p->n_slot_pages + (size_t)(position / PAGE_POSITIONS)];
}

/* As many pages as positions need. */
static inline int32_t pages_for(int32_t positions)
{
    return (positions + PAGE_POSITIONS - 1) / PAGE_POSITIONS;
}

uint64_t pages_bytes(int32_t n_pages, int32_t n_slots, int32_t n_context, int32_t n_scales);
int pages_create(int32_t n_pages, int32_t n_slots, int32_t n_context, int32_t n_scales, struct pages **out,
    struct error *err) MUST_USE;
void pages_free(struct pages *p); /* NULL is allowed */

/* Pages that slots could still be given. */
int32_t pages_available(const struct pages *p);
/* How many of these reserve would take for the slot's positions [from, to). */
int32_t pages_needed(const struct pages *p, int32_t slot, int32_t from, int32_t to);

/* Everything that a page holds, in every layer, is copied. */
typedef void pages_copy(void *ctx, int32_t from, int32_t to);

/* The slot, which holds `from` positions, is about to write those up to `to`. ERROR_BUSY: there are not
 * enough pages, and it has those it had. */
int pages_reserve(struct pages *p, int32_t slot, int32_t from, int32_t to, pages_copy *copy, void *ctx,
    struct error *err) MUST_USE;
void pages_truncate(struct pages *p, int32_t slot, int32_t length); /* forgets positions >= length */
/* Slot `to`, in place of what it had, shares what `from` has of positions < length. */
void pages_fork(struct pages *p, int32_t from, int32_t to, int32_t length);

/* Sequences that may begin with the same pages: of one scope (whoever shares a page sees by the time to a
 * first token, and by the count of cached ones, what others have asked) and of the same scales of adapters.
 */
struct pages_kin {
    uint64_t scope;
    const float *scales; /* n_scales of them; NULL: all zero */
};

/* How many of the tokens, from the first, are kept for such sequences; *unused: pages of them that no slot
 * holds. */
int32_t pages_match(const struct pages *p, const struct pages_kin *kin, const int32_t *tokens, int32_t count,
    int32_t *unused);
/* The slot, which is empty, takes them: as many as match says. */
int32_t pages_adopt(
    struct pages *p, int32_t slot, const struct pages_kin *kin, const int32_t *tokens, int32_t count);
/* The last of the full pages that hold the tokens, and how many tokens these are; -1: none. */
int32_t pages_deepest(
    const struct pages *p, const struct pages_kin *kin, const int32_t *tokens, int32_t count, int32_t *held);
/* A page for the PAGE_POSITIONS tokens that follow on from `parent` (-1: first ones), which only the tree
 * will hold; -1: slots hold all. Once it is filled, bring_end: it is known by its tokens, or (not `good`)
 * free. */
int32_t pages_bring(struct pages *p, int32_t parent);
void pages_bring_end(struct pages *p, int32_t page, int32_t parent, const struct pages_kin *kin,
    const int32_t *tokens, bool good);
/* Keeps the slot's pages by their tokens, of which it holds `count`: those that are full, with `last` also
 * the one that is not. A page that another slot has kept meanwhile by the same tokens is used instead. */
void pages_keep(struct pages *p, int32_t slot, const struct pages_kin *kin, const int32_t *tokens,
    int32_t count, bool last);

#endif

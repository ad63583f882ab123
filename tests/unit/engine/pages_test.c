/* Pages against what slots should hold: each position of a page has the token that was written there. */
#include "engine/worker/pages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"

enum { P = PAGE_POSITIONS, SLOTS = 4, CONTEXT = 5 * P, PAGES = 9 };

struct book {
    struct pages *pages;
    int32_t written[PAGES][P]; /* what a cache would hold */
    int32_t tokens[SLOTS][CONTEXT], lengths[SLOTS];
    float scales[SLOTS];
    uint64_t scope[SLOTS];
    int32_t copies;
};

static struct book book_open(int32_t n_pages)
{
    struct book b = {.copies = 0};
    struct error err = {0};
    assert_int_equal(pages_create(n_pages, SLOTS, CONTEXT, 1, &b.pages, &err), 0);
    return b;
}

static void copy(void *ctx, int32_t from, int32_t to)
{
    struct book *b = ctx;
    memcpy(b->written[to], b->written[from], sizeof b->written[to]);
    b->copies++;
}

/* The slot goes on by `count` tokens; false: there is no room. */
static bool extend(struct book *b, int32_t slot, const int32_t *tokens, int32_t count)
{
    struct error err = {0};
    const int32_t from = b->lengths[slot], needed = pages_needed(b->pages, slot, from, from + count);
    const int32_t available = pages_available(b->pages);
    int rc = pages_reserve(b->pages, slot, from, from + count, copy, b, &err);
    assert_int_equal(rc, needed > available ? ERROR_BUSY : 0);
    if (rc) {
        assert_non_null(strstr(err.message, "the cache of 576 tokens is full"));
        return false;
    }
    for (int32_t i = 0; i < count; i++) {
        b->tokens[slot][from + i] = tokens[i];
        b->written[pages_of(b->pages, slot, from + i)][(from + i) % P] = tokens[i];
    }
    b->lengths[slot] += count;
    return true;
}

static void cut(struct book *b, int32_t slot, int32_t length)
{
    pages_truncate(b->pages, slot, length);
    b->lengths[slot] = length;
}

static void share(struct book *b, int32_t from, int32_t to, int32_t length)
{
    pages_fork(b->pages, from, to, length);
    memcpy(b->tokens[to], b->tokens[from], (size_t)length * sizeof(int32_t));
    b->lengths[to] = length;
    b->scales[to] = b->scales[from];
    b->scope[to] = b->scope[from];
}

static struct pages_kin kin(const struct book *b, int32_t slot)
{
    return (struct pages_kin){b->scope[slot], &b->scales[slot]};
}

static int32_t adopt(struct book *b, int32_t slot, const int32_t *tokens, int32_t count)
{
    const struct pages_kin own = kin(b, slot);
    int32_t unused, match = pages_match(b->pages, &own, tokens, count, &unused);
    assert_int_equal(pages_adopt(b->pages, slot, &own, tokens, count), match);
    memcpy(b->tokens[slot], tokens, (size_t)match * sizeof(int32_t));
    b->lengths[slot] = match;
    return match;
}

static int32_t match(const struct book *b, int32_t slot, const int32_t *tokens)
{
    const struct pages_kin own = kin(b, slot);
    int32_t unused;
    return pages_match(b->pages, &own, tokens, CONTEXT, &unused);
}

static void keep(struct book *b, int32_t slot, bool last)
{
    const struct pages_kin own = kin(b, slot);
    pages_keep(b->pages, slot, &own, b->tokens[slot], b->lengths[slot], last);
}

/* Every slot reads what it wrote, and every page is free, used or kept. */
static void check(const struct book *b)
{
    const struct pages *p = b->pages;
    int32_t refs[PAGES] = {0}, idle = 0, unused = 0;
    for (int32_t s = 0; s < SLOTS; s++) {
        assert_int_equal(p->held[s], pages_for(b->lengths[s]));
        for (int32_t i = 0; i < b->lengths[s]; i++)
            assert_int_equal(b->written[pages_of(p, s, i)][i % P], b->tokens[s][i]);
        for (int32_t i = 0; i < p->held[s]; i++)
            refs[pages_of(p, s, i * P)]++;
    }
    for (int32_t i = 0; i < p->n_pages; i++) {
        assert_int_equal(p->page[i].refs, refs[i]);
        idle += refs[i] == 0 && !p->page[i].kept;
        unused += refs[i] == 0 && p->page[i].kept;
        for (int32_t t = 0; p->page[i].kept && t < p->page[i].count; t++)
            assert_int_equal(b->written[i][t], p->tokens[(size_t)i * P + (size_t)t]);
    }
    assert_int_equal(idle, p->n_free);
    assert_int_equal(unused, p->n_unused);
}

/* Few different tokens, so that beginnings meet. */
static void random_tokens(struct rand_pcg *r, int32_t *tokens)
{
    for (int32_t at = 0; at < CONTEXT;) {
        int32_t token = (int32_t)(rand_pcg_u32(r) % 2), run = 1 + (int32_t)(rand_pcg_u32(r) % (2 * P));
        for (; run > 0 && at < CONTEXT; run--)
            tokens[at++] = token;
    }
}

static void act(struct book *b, struct rand_pcg *r, int32_t slot)
{
    int32_t tokens[CONTEXT], other = (int32_t)(rand_pcg_u32(r) % SLOTS);
    int32_t length = (int32_t)(rand_pcg_u32(r) % (uint32_t)(b->lengths[slot] + 1));
    random_tokens(r, tokens);
    switch (rand_pcg_u32(r) % 8) {
    case 0:
        cut(b, slot, length);
        return;
    case 1:
        if (other != slot)
            share(b, slot, other, length);
        return;
    case 2: /* as a sequence ends */
        keep(b, slot, true);
        cut(b, slot, 0);
        return;
    case 3: /* as one begins */
        cut(b, slot, 0);
        b->scales[slot] = (float)(rand_pcg_u32(r) % 2);
        b->scope[slot] = rand_pcg_u32(r) % 2;
        adopt(b, slot, tokens, CONTEXT - 1);
        return;
    case 4:
        keep(b, slot, false);
        return;
    default:
        length = CONTEXT - b->lengths[slot];
        if (!extend(b, slot, tokens, (int32_t)(rand_pcg_u32(r) % (uint32_t)(length + 1))))
            cut(b, slot, 0);
    }
}

static void slots_read_what_they_wrote(void **state)
{
    (void)state;
    struct book b = book_open(PAGES);
    struct rand_pcg r;
    int32_t taken = 0;
    rand_pcg_seed(&r, 11);
    for (int i = 0; i < 20000; i++) {
        act(&b, &r, (int32_t)(rand_pcg_u32(&r) % SLOTS));
        check(&b);
        for (int32_t s = 0; s < SLOTS; s++)
            taken += b.pages->known[s] > 0;
    }
    assert_true(taken > 1000 && b.copies > 100); /* so it was tried */
    pages_free(b.pages);
}

static void fill(int32_t *tokens, int32_t count, int32_t first)
{
    for (int32_t i = 0; i < count; i++)
        tokens[i] = first + i;
}

/* A conversation's next turn finds all of the last one, to the token; another adapter's finds nothing, nor
 * does that of another scope: the time to its first token would tell what strangers have asked. */
static void what_was_said_is_found_to_the_token(void **state)
{
    (void)state;
    struct book b = book_open(PAGES);
    int32_t tokens[CONTEXT];
    fill(tokens, CONTEXT, 1000);
    assert_true(extend(&b, 0, tokens, P + 20));
    keep(&b, 0, true);
    cut(&b, 0, 0);
    tokens[P + 17] = 1;
    assert_int_equal(adopt(&b, 1, tokens, CONTEXT - 1), P + 17);
    assert_true(extend(&b, 1, tokens + P + 17, 2 * P)); /* a copy of the last page is written */
    assert_int_equal(b.copies, 1);
    check(&b);
    b.scales[2] = 0.5f;
    assert_int_equal(match(&b, 2, tokens), 0);
    b.scope[3] = 9;
    assert_int_equal(match(&b, 3, tokens), 0);
    assert_int_equal(adopt(&b, 3, tokens, CONTEXT), 0);
    /* What was said first is still there. */
    fill(tokens, CONTEXT, 1000);
    assert_int_equal(match(&b, 0, tokens), P + 20);
    pages_free(b.pages);
}

/* Two that computed the same beginning side by side come to hold it once. */
static void the_same_is_kept_once(void **state)
{
    (void)state;
    struct book b = book_open(PAGES);
    int32_t tokens[CONTEXT];
    fill(tokens, CONTEXT, 7);
    assert_true(extend(&b, 0, tokens, 2 * P + 5) && extend(&b, 1, tokens, 3 * P));
    assert_int_equal(pages_available(b.pages), PAGES - 6);
    keep(&b, 0, false);
    keep(&b, 1, false);
    assert_int_equal(pages_available(b.pages), PAGES - 4);
    assert_int_equal(pages_of(b.pages, 0, 0), pages_of(b.pages, 1, 0));
    check(&b);
    /* An unfinished page gives way to the one that goes on from it. */
    keep(&b, 0, true);
    cut(&b, 0, 0);
    cut(&b, 1, 0);
    assert_int_equal(b.pages->n_unused, 3);
    check(&b);
    pages_free(b.pages);
}

/* The longest unused goes first, ends before beginnings, and never what a slot holds. */
static void the_longest_unused_goes(void **state)
{
    (void)state;
    struct book b = book_open(PAGES);
    int32_t tokens[3][CONTEXT], others[CONTEXT];
    fill(others, CONTEXT, 5000);
    for (int32_t i = 0; i < 3; i++) {
        fill(tokens[i], CONTEXT, 1000 * i);
        assert_true(extend(&b, i, tokens[i], 2 * P));
        keep(&b, i, true);
        cut(&b, i, 0);
    }
    assert_int_equal(adopt(&b, 0, tokens[0], 2 * P), 2 * P); /* the first is used again */
    assert_int_equal(pages_available(b.pages), PAGES - 2);
    assert_true(extend(&b, 3, others, 4 * P));
    assert_int_equal(match(&b, 0, tokens[1]), P); /* its end has gone */
    assert_int_equal(match(&b, 0, tokens[2]), 2 * P);
    assert_int_equal(match(&b, 0, tokens[0]), 2 * P);
    check(&b);
    /* More than there is: nothing is taken. */
    assert_true(extend(&b, 0, tokens[0] + 2 * P, 3 * P));
    assert_false(extend(&b, 1, tokens[1], P));
    check(&b);
    pages_free(b.pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_read_what_they_wrote),
        cmocka_unit_test(what_was_said_is_found_to_the_token),
        cmocka_unit_test(the_same_is_kept_once),
        cmocka_unit_test(the_longest_unused_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

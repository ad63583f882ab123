#include "engine/worker/lookup.h"

#include <stdlib.h>
#include <string.h>

enum {
    NONE = -1,
    TOKENS_MOST = 1 << 22, /* remembered; behind them nothing is foretold */
    WALK = 64,             /* places that are looked at for the longest match */
    MATCH_LEAST = 2,
    MATCH_MOST = 32,
    MATCH_EXPECTED = 16, /* as good as this many: the beginning of what is expected */
    LAPSES_MOST = 3,     /* tokens in a row that may be others than foretold, as where a word was replaced */
    RANKS = 7
};
#define ODDS_LEAST 0.05f
#define RECENT 0.95f /* what a count is still worth when the next one comes */

/* Of foretold tokens before which so many matched: how many there were, how many of them right. The first
 * figures are a guess that counts as four of them. */
struct rate {
    float tried, right;
};
static const struct rate guesses[RANKS] = {
    {4, 1}, {4, 1.4f}, {4, 2}, {4, 2.6f}, {4, 3}, {4, 3.4f}, {4, 3.7f}};

struct lookup {
    int32_t *tokens, *before;
    int32_t count, capacity;
    int32_t n_expected;
    int32_t *heads, n_heads; /* a power of two */
    int32_t next, matched, lapses;
    bool closed;
    int64_t expected_right;
    struct rate rates[RANKS];
};

/* None (a place that is kept over a lapse), 1 and 2, 3, 4 and 5, 6 to 8, 9 to 16, more. */
static int32_t rank_of(int32_t matched)
{
    static const int8_t ranks[] = {0, 1, 1, 2, 3, 3, 4, 4, 4, 5, 5, 5, 5, 5, 5, 5, 5};
    return matched < (int32_t)sizeof ranks ? ranks[matched] : RANKS - 1;
}

/* ---- The index ---- */

static int32_t *head_of(const struct lookup *l, int32_t place)
{
    const uint32_t hash =
        (uint32_t)l->tokens[place - 2] * 2654435761u + (uint32_t)l->tokens[place - 1] * 2246822519u;
    return &l->heads[(hash ^ hash >> 15) & (uint32_t)(l->n_heads - 1)];
}

/* The place behind the last two tokens is known by them. */
static void place_link(struct lookup *l, int32_t place)
{
    if (place < 2)
        return;
    int32_t *head = head_of(l, place);
    l->before[place] = *head;
    *head = place;
}

static bool heads_grow(struct lookup *l)
{
    int32_t n = l->n_heads ? l->n_heads : 64;
    while (n < l->capacity)
        n *= 2;
    if (n == l->n_heads)
        return true;
    int32_t *heads = calloc((size_t)n, sizeof *heads);
    if (!heads)
        return false;
    free(l->heads);
    l->heads = heads;
    l->n_heads = n;
    for (int32_t place = 2; place <= l->count; place++)
        place_link(l, place);
    return true;
}

/* Room for `more` tokens, and for the place behind them. */
static bool reserve(struct lookup *l, size_t more)
{
    const size_t need = (size_t)l->count + more + 1;
    if (need <= (size_t)l->capacity)
        return true;
    size_t capacity = need + need / 2 < TOKENS_MOST ? need + need / 2 : TOKENS_MOST;
    if (need > capacity)
        return false;
    int32_t *tokens = realloc(l->tokens, capacity * sizeof *tokens);
    l->tokens = tokens ? tokens : l->tokens;
    int32_t *before = realloc(l->before, capacity * sizeof *before);
    l->before = before ? before : l->before;
    if (!tokens || !before)
        return false;
    l->capacity = (int32_t)capacity;
    return heads_grow(l);
}

static void tokens_add(struct lookup *l, const int32_t *tokens, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        l->tokens[l->count++] = tokens[i];
        place_link(l, l->count);
    }
}

/* How many tokens before the place are those before the end. */
static int32_t match_of(const struct lookup *l, int32_t place)
{
    int32_t n = 0;
    while (n < MATCH_MOST && n < place && l->tokens[place - 1 - n] == l->tokens[l->count - 1 - n] &&
           l->tokens[place - 1 - n] != NONE)
        n++;
    return n;
}

/* The place with the longest match, the last of such; 0: there is none. */
static int32_t search(const struct lookup *l, int32_t *matched)
{
    int32_t best = 0, walk = WALK;
    *matched = MATCH_LEAST - 1;
    if (l->count < 2)
        return 0;
    for (int32_t place = *head_of(l, l->count); place > 0 && walk > 0; place = l->before[place], walk--) {
        const int32_t n = place < l->count ? match_of(l, place) : 0;
        if (n <= *matched)
            continue;
        *matched = n;
        best = place;
        if (n == MATCH_MOST)
            break;
    }
    return best;
}

/* ---- The whole ---- */

int lookup_create(const struct token_list *expected, const struct token_list *prompt, struct lookup **out,
    struct error *err)
{
    struct lookup *l = calloc(1, sizeof *l);
    const size_t n_expected = expected ? expected->count : 0;
    *out = NULL;
    if (l)
        memcpy(l->rates, guesses, sizeof guesses);
    if (!l || !reserve(l, n_expected + 1 + prompt->count)) {
        lookup_free(l);
        return error_set(err, ERROR_MEMORY, "no memory to look for what comes next");
    }
    if (n_expected > 0) {
        tokens_add(l, expected->ids, n_expected);
        tokens_add(l, &(int32_t){NONE}, 1);
    }
    l->n_expected = (int32_t)n_expected;
    tokens_add(l, prompt->ids, prompt->count);
    l->next = 0;
    l->matched = MATCH_EXPECTED;
    if (n_expected == 0) {
        l->next = search(l, &l->matched);
        l->next = l->next > 0 ? l->next : NONE;
    }
    *out = l;
    return 0;
}

void lookup_free(struct lookup *l)
{
    if (!l)
        return;
    free(l->tokens);
    free(l->before);
    free(l->heads);
    free(l);
}

static void rate_add(struct rate *r, bool right)
{
    r->tried = r->tried * RECENT + 1;
    r->right = r->right * RECENT + (right ? 1 : 0);
}

/* After a token that was not the one foretold: where it goes on. */
static void place_find(struct lookup *l, int32_t next)
{
    int32_t matched, place = search(l, &matched);
    if (place > 0) {
        l->next = place;
        l->matched = matched;
        l->lapses = 0;
    } else if (next != NONE && l->lapses < LAPSES_MOST) {
        l->next = next + 1;
        l->matched = 0;
        l->lapses++;
    } else {
        l->next = NONE;
        l->lapses = 0;
    }
}

void lookup_push(struct lookup *l, int32_t token)
{
    const int32_t next = l->next;
    const bool right = next != NONE && l->tokens[next] == token;
    if (l->closed)
        return;
    if (!reserve(l, 1)) {
        l->closed = true;
        l->next = NONE;
        return;
    }
    if (next != NONE)
        rate_add(&l->rates[rank_of(l->matched)], right);
    l->expected_right += right && next < l->n_expected;
    l->tokens[l->count++] = token;
    if (right) {
        l->next++;
        l->matched++;
        l->lapses = l->matched > MATCH_LEAST ? 0 : l->lapses;
    } else {
        place_find(l, next);
    }
    place_link(l, l->count);
    if (l->next != NONE && l->tokens[l->next] == NONE)
        l->next = NONE;
}

/* What would be foretold behind the end is what was foretold itself: a text that repeats itself goes on so.
 */
int32_t lookup_foretell(const struct lookup *l, int32_t most, int32_t *tokens, float *odds)
{
    float all = 1;
    for (int32_t i = 0; i < most && l->next != NONE; i++) {
        const struct rate *r = &l->rates[rank_of(l->matched + i)];
        const int32_t at = l->next + i;
        tokens[i] = at < l->count ? l->tokens[at] : tokens[at - l->count];
        all *= r->right / r->tried;
        odds[i] = all;
        if (tokens[i] == NONE || all < ODDS_LEAST)
            return i;
    }
    return l->next == NONE ? 0 : most;
}

int64_t lookup_expected(const struct lookup *l)
{
    return l->expected_right < l->n_expected ? l->expected_right : l->n_expected;
}

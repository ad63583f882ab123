/* The words that a wallet is made again with, where nothing says that they are that: BIP-39 draws them from a
 * list of 2,048, and no sentence has twelve of these on end. */
#include "router/detect_context.h"

#include "base/embed.h"

EMBED(wallet_txt, "data/wallet.txt");

enum { LIST = 2048, SLOTS = 4096, PHRASE = 12 };

/* Their hashes, each at the first free place at or behind its own lower bits; 0: free. */
static uint64_t slots[SLOTS];

static size_t slot_of(uint64_t hash)
{
    size_t at = hash % SLOTS;
    while (slots[at] != 0 && slots[at] != hash)
        at = (at + 1) % SLOTS;
    return at;
}

int detect_wallet_init(struct error *err)
{
    struct str file = EMBEDDED(wallet_txt), line, word;
    size_t n = 0;
    while (str_split(&file, '\n', &line))
        while (!str_starts(line, STR("#")) && str_split(&line, ' ', &word)) {
            if (n++ == LIST)
                return error_set(err, ERROR_INTERNAL, "data/wallet.txt has too many words");
            const uint64_t hash = detect_word_hash(word);
            slots[slot_of(hash)] = hash;
        }
    return 0;
}

static bool is_listed(const struct detect_word *w)
{
    return slots[slot_of(w->hash)] != 0;
}

/* "3." before a word of a numbered list, and of a phrase written by lines. */
static bool is_its_number(const struct detect_word *w)
{
    return w->flags & WORD_DIGITS && detect_word_length(w) <= 2;
}

static bool may_stand(const struct detect_word *w)
{
    return is_listed(w) || is_its_number(w);
}

/* Its first four letters, by which the list's words differ and are in order. */
static uint32_t key_of(const struct detect_context *c, const struct detect_word *w)
{
    uint32_t key = 0;
    for (size_t i = 0; i < 4; i++)
        key = key << 8 | (w->start + i < w->end ? (unsigned char)c->scan->text.data[w->start + i] | 0x20 : 0);
    return key;
}

/* Are the words [from, to) all others, and in no order? Not "abandon abandon ... about", which is the
 * standard's example, nor a piece of the list itself, or another list in order that "List:" stands before. */
static bool is_drawn(const struct detect_context *c, size_t from, size_t to)
{
    enum { MOST = 1 };
    size_t descents = 0;
    uint32_t last = 0;
    for (size_t i = from; i < to; i++) {
        if (is_its_number(&c->words[i]))
            continue;
        for (size_t k = from; k < i; k++)
            if (c->words[k].hash == c->words[i].hash && !is_its_number(&c->words[k]))
                return false;
        descents += last > key_of(c, &c->words[i]);
        last = key_of(c, &c->words[i]);
    }
    return descents > MOST; /* of a hundred thousand drawn, one has no more */
}

/* The word behind twelve of the list on end, which begin at `from`; 0: there are fewer, and *next may begin
 * some. */
static size_t run_end(const struct detect_context *c, size_t from, size_t *next)
{
    size_t n = 0, i = from;
    while (i < c->n_words && n < PHRASE && may_stand(&c->words[i]))
        n += !is_its_number(&c->words[i++]);
    *next = i + 1;
    return n == PHRASE ? i : 0;
}

bool detect_wallet(const struct detect_context *c, size_t *at, struct detect_atom *out)
{
    while (*at + PHRASE <= c->n_words) {
        const size_t last = *at + PHRASE - 1, from = *at;
        size_t next = last + 1, end = 0;
        if (may_stand(&c->words[last])) /* the last first: most texts are read a word in twelve */
            end = run_end(c, from, &next);
        *at = end ? from + 1 : next;
        if (end == 0 || !is_drawn(c, from, end))
            continue;
        while (end < c->n_words && may_stand(&c->words[end]))
            end++;
        *out = (struct detect_atom){0, from, *at = end};
        return true;
    }
    return false;
}

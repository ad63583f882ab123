#include "router/detect_words.h"

#include <stdlib.h>
#include <string.h>

#include "base/table.h"

enum { MAX_STATES = 0xFFFE };

static void classes_make(struct detect_words *w, const struct str *words, size_t n)
{
    w->n_classes = 1; /* 0: bytes that no word has */
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < words[i].len; j++) {
            unsigned char c = (unsigned char)words[i].data[j];
            if (w->class[c] == 0)
                w->class[c] = (uint8_t)w->n_classes++;
        }
    for (unsigned c = 'a'; c <= 'z'; c++)
        w->class[c - 'a' + 'A'] = w->class[c];
}

/* While it is made, next[] holds numbers of states. A trie; 0 means "no edge", which is right for the root
 * too, where a miss stays. */
static uint32_t *edge_of(struct detect_words *w, size_t state, size_t class)
{
    return &w->next[state * w->stride + class];
}

static void trie_make(struct detect_words *w, const struct str *words, size_t n)
{
    w->n_states = 1;
    for (size_t i = 0; i < n; i++) {
        size_t state = 0;
        for (size_t j = 0; j < words[i].len; j++) {
            uint32_t *edge = edge_of(w, state, w->class[(unsigned char)words[i].data[j]]);
            if (*edge == 0)
                *edge = (uint32_t)w->n_states++;
            state = *edge;
        }
        w->word[state] = (uint16_t)i;
    }
}

/* Breadth first: the longest proper suffix of each state that is a state too; missing edges borrow from it.
 */
static void links_make(struct detect_words *w, uint32_t *queue, uint32_t *suffix)
{
    size_t head = 0, tail = 0;
    for (size_t c = 0; c < w->n_classes; c++)
        if (*edge_of(w, 0, c) != 0)
            queue[tail++] = *edge_of(w, 0, c);
    while (head < tail) {
        size_t state = queue[head++];
        uint16_t ends = w->word[suffix[state]];
        if (w->word[state] == DETECT_NO_WORD)
            w->word[state] = ends;
        else
            w->shorter[w->word[state]] = ends;
        for (size_t c = 0; c < w->n_classes; c++) {
            uint32_t *edge = edge_of(w, state, c), borrowed = *edge_of(w, suffix[state], c);
            if (*edge != 0) {
                suffix[*edge] = borrowed;
                queue[tail++] = *edge;
            } else {
                *edge = borrowed;
            }
        }
    }
}

/* Numbers of states become rows. The row of a state where a word ends begins one place late, so that the step
 * that leads there tells: rows are one place longer than there are classes. */
static void rows_make(struct detect_words *w)
{
    for (size_t state = w->n_states; state-- > 0;) {
        uint32_t *row = w->next + state * w->stride;
        bool ends = w->word[state] != DETECT_NO_WORD;
        for (size_t c = w->n_classes; c-- > 0;) {
            uint32_t to = row[c];
            row[c + ends] = (uint32_t)(to * w->stride) + (w->word[to] != DETECT_NO_WORD);
        }
    }
}

int detect_words_build(struct detect_words *w, const struct str *words, size_t n, struct error *err)
{
    *w = (struct detect_words){0};
    size_t most = 1;
    for (size_t i = 0; i < n; i++) {
        most += words[i].len;
        w->longest = words[i].len > w->longest ? words[i].len : w->longest;
    }
    if (most > MAX_STATES || n >= DETECT_NO_WORD)
        return error_set(err, ERROR_INTERNAL, "too many keywords for the detector");
    classes_make(w, words, n);
    w->stride = w->n_classes + 2 - w->n_classes % 2; /* even: the lowest bit of a row says that a word ends */
    w->next = calloc(most * w->stride, sizeof *w->next);
    w->word = malloc(most * sizeof *w->word);
    w->shorter = malloc((n + 1) * sizeof *w->shorter);
    uint32_t *queue = calloc(most, sizeof *queue), *suffix = calloc(most, sizeof *suffix);
    int rc = 0;
    if (!w->next || !w->word || !w->shorter || !queue || !suffix) {
        rc = error_set(err, ERROR_MEMORY, "no memory for the detector's keywords");
        detect_words_free(w);
    } else {
        memset(w->word, 0xFF, most * sizeof *w->word);
        memset(w->shorter, 0xFF, (n + 1) * sizeof *w->shorter);
        trie_make(w, words, n);
        links_make(w, queue, suffix);
        rows_make(w);
    }
    free(queue);
    free(suffix);
    return rc;
}

uint16_t detect_words_next(const struct detect_words *w, struct str text, size_t *at, uint32_t *state)
{
    const uint8_t *class = w->class;
    const uint32_t *next = w->next;
    const unsigned char *data = (const unsigned char *)text.data;
    size_t i = *at;
    uint32_t row = *state;
    bool ends = false;
    for (; text.len - i >= 4; i += 4) {
        uint32_t a = next[row + class[data[i]]], b = next[a + class[data[i + 1]]];
        uint32_t c = next[b + class[data[i + 2]]], d = next[c + class[data[i + 3]]];
        if ((a | b | c | d) & 1)
            break;
        row = d;
    }
    while (i < text.len && !ends) {
        row = next[row + class[data[i++]]];
        ends = row & 1;
    }
    *at = i;
    *state = row;
    return ends ? w->word[row / w->stride] : DETECT_NO_WORD;
}

/* ---- Four lanes: a step waits for the one before, so pieces of the text are read abreast. A lane begins as
 * far before its piece as the longest word goes, and so knows its state there.
 *
 *   text   ......................
 *   lane 0 ---------
 *   lane 1      ....---------        what it meets in '.' the lane before tells
 *   lane 2               ....--------- ---- */
enum { LANES = 4, LANE = 1024 };

struct lanes {
    const unsigned char *text[LANES];
    uint32_t row[LANES];
    size_t n[LANES];
    uint16_t at[LANES][LANE], word[LANES][LANE]; /* where words end, and the longest that does */
};

static void lanes_note(const struct detect_words *w, struct lanes *l, size_t i)
{
    for (size_t k = 0; k < LANES; k++)
        if (l->row[k] & 1 && (k == 0 || i >= w->longest)) {
            l->at[k][l->n[k]] = (uint16_t)i;
            l->word[k][l->n[k]++] = w->word[l->row[k] / w->stride];
        }
}

static void lanes_read(const struct detect_words *w, struct lanes *l, size_t length)
{
    const unsigned char *t0 = l->text[0], *t1 = l->text[1], *t2 = l->text[2], *t3 = l->text[3];
    const uint8_t *class = w->class;
    const uint32_t *next = w->next;
    uint32_t a = l->row[0], b = l->row[1], c = l->row[2], d = l->row[3];
    for (size_t i = 0; i < length; i++) {
        a = next[a + class[t0[i]]];
        b = next[b + class[t1[i]]];
        c = next[c + class[t2[i]]];
        d = next[d + class[t3[i]]];
        if ((a | b | c | d) & 1) {
            memcpy(l->row, (uint32_t[LANES]){a, b, c, d}, sizeof l->row);
            lanes_note(w, l, i);
        }
    }
    memcpy(l->row, (uint32_t[LANES]){a, b, c, d}, sizeof l->row);
}

bool detect_words_each(const struct detect_words *w, struct str text,
    bool (*found)(void *ctx, uint16_t word, size_t at), void *ctx)
{
    struct lanes l;
    size_t at = 0;
    uint32_t row = 0;
    while (text.len - at >= LANES * 2 * w->longest && w->longest <= LANE / 2) {
        const size_t before = (LANES - 1) * w->longest, all = (text.len - at + before) / LANES,
                     length = all < LANE ? all : LANE, step = length - w->longest;
        memset(l.n, 0, sizeof l.n);
        memset(l.row, 0, sizeof l.row);
        l.row[0] = row;
        for (size_t k = 0; k < LANES; k++)
            l.text[k] = (const unsigned char *)text.data + at + k * step;
        lanes_read(w, &l, length);
        row = l.row[LANES - 1];
        for (size_t k = 0; k < LANES; k++)
            for (size_t i = 0; i < l.n[k]; i++)
                if (!found(ctx, l.word[k][i], at + k * step + l.at[k][i] + 1))
                    return false;
        at += LANES * step + w->longest;
    }
    for (uint16_t word; (word = detect_words_next(w, text, &at, &row)) != DETECT_NO_WORD;)
        if (!found(ctx, word, at))
            return false;
    return true;
}

void detect_words_settle(struct detect_words *w)
{
    size_t size = w->n_states * w->stride * sizeof *w->next;
    uint32_t *next = table_alloc(size);
    if (!next)
        return;
    memcpy(next, w->next, size);
    free(w->next);
    w->next = next;
}

void detect_words_free(struct detect_words *w)
{
    free(w->next);
    free(w->word);
    free(w->shorter);
    *w = (struct detect_words){0};
}

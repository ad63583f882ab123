#include "router/detect_words.h"

#include <stdlib.h>
#include <string.h>

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

/* A trie; 0 means "no edge", which is right for the root too, where a miss stays. */
static void trie_make(struct detect_words *w, const struct str *words, size_t n)
{
    w->n_states = 1;
    for (size_t i = 0; i < n; i++) {
        size_t state = 0;
        for (size_t j = 0; j < words[i].len; j++) {
            uint16_t *edge = &w->next[state * w->n_classes + w->class[(unsigned char)words[i].data[j]]];
            if (*edge == 0)
                *edge = (uint16_t)w->n_states++;
            state = *edge;
        }
        w->word[state] = (uint16_t)i;
    }
}

/* Breadth first: the longest proper suffix of each state that is a state too; missing edges borrow from it.
 */
static void links_make(struct detect_words *w, uint16_t *queue, uint16_t *suffix)
{
    size_t head = 0, tail = 0;
    for (size_t c = 0; c < w->n_classes; c++)
        if (w->next[c] != 0)
            queue[tail++] = w->next[c];
    while (head < tail) {
        size_t state = queue[head++];
        uint16_t ends = w->word[suffix[state]];
        if (w->word[state] == DETECT_NO_WORD)
            w->word[state] = ends;
        else
            w->shorter[w->word[state]] = ends;
        for (size_t c = 0; c < w->n_classes; c++) {
            uint16_t *edge = &w->next[state * w->n_classes + c];
            uint16_t borrowed = w->next[suffix[state] * w->n_classes + c];
            if (*edge != 0) {
                suffix[*edge] = borrowed;
                queue[tail++] = *edge;
            } else {
                *edge = borrowed;
            }
        }
    }
}

int detect_words_build(struct detect_words *w, const struct str *words, size_t n, struct error *err)
{
    *w = (struct detect_words){0};
    size_t most = 1;
    for (size_t i = 0; i < n; i++)
        most += words[i].len;
    if (most > MAX_STATES || n >= DETECT_NO_WORD)
        return error_set(err, ERROR_INTERNAL, "too many keywords for the detector");
    classes_make(w, words, n);
    w->next = calloc(most * w->n_classes, sizeof *w->next);
    w->word = malloc(most * sizeof *w->word);
    w->shorter = malloc((n + 1) * sizeof *w->shorter);
    uint16_t *queue = calloc(most, sizeof *queue), *suffix = calloc(most, sizeof *suffix);
    int rc = 0;
    if (!w->next || !w->word || !w->shorter || !queue || !suffix) {
        rc = error_set(err, ERROR_MEMORY, "no memory for the detector's keywords");
        detect_words_free(w);
    } else {
        memset(w->word, 0xFF, most * sizeof *w->word);
        memset(w->shorter, 0xFF, (n + 1) * sizeof *w->shorter);
        trie_make(w, words, n);
        links_make(w, queue, suffix);
    }
    free(queue);
    free(suffix);
    return rc;
}

void detect_words_free(struct detect_words *w)
{
    free(w->next);
    free(w->word);
    free(w->shorter);
    *w = (struct detect_words){0};
}

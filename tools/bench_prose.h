/* Prose for benchmarks, made by chance, so that no two texts are alike: what was judged before is remembered.
 */
#ifndef WEIR_TOOLS_BENCH_PROSE_H
#define WEIR_TOOLS_BENCH_PROSE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define PROSE_WORDS                                                                                          \
    "the", "of", "and", "to", "in", "is", "that", "it", "for", "was", "on", "are", "as", "with", "they",     \
        "at", "be", "this", "from", "or", "one", "had", "by", "word", "but", "not", "what", "all", "were",   \
        "we", "when", "your", "can", "said", "there", "use", "an", "each", "which", "she", "do", "how",      \
        "their", "if", "will", "up", "other", "about", "out", "many", "then", "them", "these", "so", "some", \
        "her", "would", "make", "like", "him", "into", "time", "has", "look", "two", "more", "write", "go",  \
        "see", "number", "no", "way", "could", "people", "my", "than", "first", "water", "been", "call",     \
        "who", "oil", "its", "now", "find", "long", "down", "day", "did", "get", "come", "made", "may",      \
        "part", "over", "new", "sound", "take", "only", "little", "work", "know", "place", "year", "live",   \
        "me", "back", "give", "most", "very", "after", "thing", "our", "just", "name", "good", "sentence",   \
        "man", "think", "say", "great", "where", "help", "through", "much", "before", "line", "right",       \
        "too", "mean", "old", "any", "same", "tell", "boy", "follow", "came", "want", "show", "also",        \
        "around", "form", "three", "small", "set", "put", "end", "does", "another", "well", "large", "must", \
        "big", "even", "such", "because", "turn", "here", "why", "ask", "went", "men", "read", "need",       \
        "land", "different", "home", "us", "move", "try", "kind", "hand", "picture", "again", "change",      \
        "off", "play", "spell", "air", "away", "animal", "house", "point", "page", "letter", "mother",       \
        "answer", "found", "study", "still", "learn", "should", "world", "plan", "table", "summary",         \
        "customer", "invoice", "report", "market", "river", "bridge", "garden", "winter", "explain",         \
        "compare", "describe", "translate", "list", "design", "problem", "solution", "budget", "question",   \
        "meeting", "project", "schedule", "software", "function", "server", "database", "product",           \
        "delivery", "contract", "service", "quality", "history", "science", "energy", "language", "Monday",  \
        "London", "Europe", "German", "Anna", "Miller", "12", "2024", "300", "45"

/* `chance` is not 0. */
static inline uint32_t prose_draw(uint64_t *chance, uint32_t below)
{
    *chance ^= *chance << 13;
    *chance ^= *chance >> 7;
    *chance ^= *chance << 17;
    return (uint32_t)(*chance >> 32) % below;
}

static inline void prose_word(uint64_t *chance, char *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (char)('a' + prose_draw(chance, 26));
}

/* n bytes of sentences of 4 to 17 words, as prompts have them: a capital first, commas, now and then a name
 * or a number, and one word in eight that no list has. */
static inline void prose_fill(uint64_t *chance, char *out, size_t n)
{
    static const char *const words[] = {PROSE_WORDS};
    size_t at = 0;
    for (uint32_t left = 0; at < n;) {
        char word[16] = {0};
        bool begins = left == 0;
        left = begins ? 3 + prose_draw(chance, 14) : left - 1;
        if (prose_draw(chance, 8) == 0)
            prose_word(chance, word, 3 + prose_draw(chance, 8));
        else
            snprintf(word, sizeof word, "%s", words[prose_draw(chance, sizeof words / sizeof *words)]);
        if (begins && word[0] >= 'a' && word[0] <= 'z')
            word[0] = (char)(word[0] - 'a' + 'A');
        for (const char *c = word; *c && at < n; c++)
            out[at++] = *c;
        if (at < n && left == 0)
            out[at++] = prose_draw(chance, 6) ? '.' : '?';
        else if (at < n && prose_draw(chance, 12) == 0)
            out[at++] = ',';
        if (at < n)
            out[at++] = ' ';
    }
}

#endif

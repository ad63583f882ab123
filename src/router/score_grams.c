/* The words of a text and their pairs, as places of a table of weights. */
#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/embed.h"
#include "router/score.h"

EMBED(complexity_grams, "data/complexity.grams");

static struct score_gram_weights weights; /* a copy: the file's bytes stand anywhere */

static void weights_load(void)
{
    assert((size_t)(complexity_grams_end - complexity_grams) == sizeof weights);
    memcpy(&weights, complexity_grams, sizeof weights);
}

enum class { CLASS_SPACE, CLASS_SIGN, CLASS_LETTER, CLASS_DIGIT };
static const unsigned char classes[256] = {['!' ... '&'] = CLASS_SIGN,
    ['\''] = CLASS_LETTER,
    ['(' ... '/'] = CLASS_SIGN,
    ['0' ... '9'] = CLASS_DIGIT,
    [':' ... '@'] = CLASS_SIGN,
    ['A' ... 'Z'] = CLASS_LETTER,
    ['[' ... '`'] = CLASS_SIGN,
    ['a' ... 'z'] = CLASS_LETTER,
    ['{' ... 0x7f] = CLASS_SIGN,
    [0x80 ... 0xff] = CLASS_LETTER};

static uint32_t mix(uint64_t x)
{
    x *= 0x9e3779b97f4a7c15u;
    return (uint32_t)(x >> 32 ^ x >> 11);
}

static uint16_t place_of(uint32_t hash)
{
    return (uint16_t)((uint64_t)hash * 0x85ebca6bu >> 24);
}

/* Eight letters at a time, small and capital ones alike. `room`: bytes that may be read, from `word` on. */
static uint32_t word_hash(const char *word, size_t n, size_t room)
{
    uint64_t state = n, piece = 0;
    for (; n >= sizeof piece; n -= sizeof piece, room -= sizeof piece, word += sizeof piece) {
        memcpy(&piece, word, sizeof piece);
        state = (state ^ (piece | 0x2020202020202020u)) * 0xff51afd7ed558ccdu;
    }
    if (room >= sizeof piece)
        memcpy(&piece, word, sizeof piece);
    else
        memcpy(&piece, word, room);
    piece = (piece | 0x2020202020202020u) & (((uint64_t)1 << 8 * n) - 1);
    return mix(state ^ piece);
}

size_t score_grams(struct str text, uint16_t out[SCORE_GRAMS_MOST])
{
    size_t n = 0, i = 0;
    uint32_t before = 0;
    text = str_slice(text, 0, SCORE_GRAM_TEXT);
    while (i < text.len) {
        size_t begin = i;
        unsigned kind = classes[(unsigned char)text.data[i++]];
        if (kind == CLASS_SPACE)
            continue;
        while (kind != CLASS_SIGN && i < text.len && classes[(unsigned char)text.data[i]] == kind)
            i++;
        /* Numbers are told apart by how long they are. */
        uint32_t hash = kind == CLASS_DIGIT ? 0x1234567u + (uint32_t)(i - begin > 3 ? 3 : i - begin)
                                            : word_hash(text.data + begin, i - begin, text.len - begin);
        out[n++] = place_of(hash);
        out[n++] = place_of(hash * 31 + before);
        before = hash * 0x9e3779b1u;
    }
    return n;
}

double score_grams_sum(struct str text)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    uint16_t places[SCORE_GRAMS_MOST];
    int32_t sum = 0;
    pthread_once(&once, weights_load);
    size_t n = score_grams(text, places);
    for (size_t i = 0; i < n; i++)
        sum += weights.gram[places[i]];
    return (double)weights.unit * sum / sqrt((double)n + 1) + (double)weights.offset;
}

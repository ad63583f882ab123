#include "router/byte_map.h"

#include <stdlib.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum { BLOCK = 64 };

#if defined(__SSE2__)
static __m128i within(__m128i bytes, char from, char to)
{
    __m128i above = _mm_sub_epi8(bytes, _mm_set1_epi8(from)), most = _mm_set1_epi8((char)(to - from));
    return _mm_cmpeq_epi8(_mm_min_epu8(above, most), above);
}

static uint64_t mask_of(__m128i bytes)
{
    return (uint64_t)(unsigned)_mm_movemask_epi8(bytes);
}

static void block_full(const char *data, uint64_t out[BYTE_CLASSES])
{
    uint64_t lower = 0, upper = 0, digit = 0, high = 0, control = 0, space = 0;
    for (unsigned i = 0; i < BLOCK; i += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(data + i));
        lower |= mask_of(within(bytes, 'a', 'z')) << i;
        upper |= mask_of(within(bytes, 'A', 'Z')) << i;
        digit |= mask_of(within(bytes, '0', '9')) << i;
        control |= mask_of(within(bytes, 0, ' ' - 1)) << i;
        space |= mask_of(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(' '))) << i;
        high |= mask_of(bytes) << i;
    }
    out[BYTE_WORD] = lower | upper | digit | high;
    out[BYTE_LOWER] = lower;
    out[BYTE_UPPER] = upper;
    out[BYTE_DIGIT] = digit;
    out[BYTE_HIGH] = high;
    out[BYTE_SIGN] = ~(out[BYTE_WORD] | control | space);
    out[BYTE_SPACE] = space;
    out[BYTE_CONTROL] = control;
}
#else
static void block_full(const char *data, uint64_t out[BYTE_CLASSES])
{
    memset(out, 0, BYTE_CLASSES * sizeof *out);
    for (size_t i = 0; i < BLOCK; i++) {
        unsigned char c = (unsigned char)data[i];
        bool upper = c >= 'A' && c <= 'Z', lower = c >= 'a' && c <= 'z', digit = c >= '0' && c <= '9';
        bool high = c >= 0x80, word = upper || lower || digit || high;
        out[BYTE_WORD] |= (uint64_t)word << i;
        out[BYTE_LOWER] |= (uint64_t)lower << i;
        out[BYTE_UPPER] |= (uint64_t)upper << i;
        out[BYTE_DIGIT] |= (uint64_t)digit << i;
        out[BYTE_HIGH] |= (uint64_t)high << i;
        out[BYTE_SIGN] |= (uint64_t)(!word && c > ' ') << i;
        out[BYTE_SPACE] |= (uint64_t)(c == ' ') << i;
        out[BYTE_CONTROL] |= (uint64_t)(c < ' ') << i;
    }
}
#endif

void byte_map_block(struct str bytes, uint64_t out[BYTE_CLASSES])
{
    char padded[BLOCK] = {0};
    if (bytes.len == BLOCK) {
        block_full(bytes.data, out);
        return;
    }
    if (bytes.len > 0)
        memcpy(padded, bytes.data, bytes.len);
    block_full(padded, out);
    for (size_t class = 0; class < BYTE_CLASSES; class ++)
        out[class] &= ((uint64_t)1 << bytes.len) - 1;
}

int byte_map_make(struct byte_map *m, struct str text, struct error *err)
{
    size_t full = text.len / BLOCK;
    *m = (struct byte_map){text, full + (text.len % BLOCK > 0), NULL};
    m->bits = malloc((full + 2) * BYTE_CLASSES * sizeof *m->bits);
    if (!m->bits)
        return error_set(err, ERROR_MEMORY, "no memory to look at the text");
    uint64_t *block = m->bits;
    for (size_t i = 0; i < full; i++, block += BYTE_CLASSES)
        block_full(text.data + i * BLOCK, block);
    byte_map_block(str_slice(text, full * BLOCK, text.len), block);
    memset(block + BYTE_CLASSES, 0, BYTE_CLASSES * sizeof *block);
    return 0;
}

void byte_map_free(struct byte_map *m)
{
    free(m->bits);
    m->bits = NULL;
}

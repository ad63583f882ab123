/* SentencePiece's precompiled normalisation (github.com/google/sentencepiece, normalizer.cc), as model files
 * carry it in `tokenizer.ggml.precompiled_charsmap`: a double-array trie (github.com/s-yata/darts-clone) from
 * what is replaced to where its replacement stands.
 *
 *   u32 bytes of the trie | trie, u32 units | replacements, each ended by NUL
 *
 *   unit:  bits 0-7, 31 label | bit 8 a value hangs on it | bits 10-30 offset, << 8 where bit 9 is set
 *   value: bits 0-30, hung below its node under label 0; a child stands at the node's index ^ offset ^ byte
 *
 * The map is hostile: each index is checked when it is followed, and keys are only followed so far that a
 * trie that loops costs no more than its share. */
#include <string.h>

#include "engine/worker/gguf.h"
#include "engine/worker/tokenizer_inner.h"

enum { KEY_MAX = 64 }; /* bytes; the longest key of Unicode's compositions has 18 */

static uint32_t unit_at(const struct charsmap *m, size_t index)
{
    uint32_t unit;
    memcpy(&unit, m->units + 4 * index, sizeof unit);
    return unit;
}

static uint32_t offset_of(uint32_t unit)
{
    return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}

static uint32_t label_of(uint32_t unit)
{
    return unit & (1u << 31 | 0xFF);
}

int charsmap_load(struct charsmap *m, const struct gguf *g, struct error *err)
{
    static const char key[] = "tokenizer.ggml.precompiled_charsmap";
    const struct gguf_pair *pair = gguf_find(g, key);
    struct gguf_array bytes;
    uint32_t trie_bytes;
    *m = (struct charsmap){0};
    enum gguf_type type = pair && pair->type == GGUF_ARRAY ? pair->array.type : GGUF_UINT8;
    int rc = gguf_get_array(g, key, type == GGUF_INT8 ? GGUF_INT8 : GGUF_UINT8, &bytes, err);
    if (rc || bytes.count == 0)
        return rc;
    bool cut = bytes.count < sizeof trie_bytes;
    if (!cut) {
        memcpy(&trie_bytes, bytes.data, sizeof trie_bytes);
        cut = trie_bytes >= bytes.count - sizeof trie_bytes || trie_bytes < 4 || trie_bytes % 4;
    }
    if (cut)
        return error_set(err, ERROR_INVALID, "'%s' is cut short: the model file is corrupt", key);
    m->units = (const char *)bytes.data + sizeof trie_bytes;
    m->count = trie_bytes / 4;
    m->replacements =
        (struct str){m->units + trie_bytes, (size_t)bytes.count - sizeof trie_bytes - trie_bytes};
    return 0;
}

/* The replacement at `at`; without data where there is none. */
static struct str replacement_at(const struct charsmap *m, size_t at)
{
    struct str rest = str_slice(m->replacements, at, m->replacements.len);
    const char *end = rest.len ? memchr(rest.data, '\0', rest.len) : NULL;
    return end ? (struct str){rest.data, (size_t)(end - rest.data)} : STR_NONE;
}

int charsmap_find(
    const struct charsmap *m, struct str text, size_t *length, struct str *replacement, struct error *err)
{
    size_t value = 0;
    *length = 0;
    if (m->count == 0)
        return 0;
    uint32_t node = offset_of(unit_at(m, 0));
    for (size_t i = 0; i < text.len && i < KEY_MAX && text.data[i]; i++) {
        uint8_t byte = (uint8_t)text.data[i];
        node ^= byte;
        if (node >= m->count || label_of(unit_at(m, node)) != byte)
            break;
        uint32_t unit = unit_at(m, node);
        node ^= offset_of(unit);
        if (!(unit & 1u << 8))
            continue;
        if (node >= m->count)
            return error_set(
                err, ERROR_INVALID, "the model's character map leads out of itself: the file is corrupt");
        value = unit_at(m, node) & ~(1u << 31);
        *length = i + 1;
    }
    if (*length == 0)
        return 0;
    *replacement = replacement_at(m, value);
    return replacement->data
               ? 0
               : error_set(err, ERROR_INVALID,
                     "the model's character map names a text it does not hold: the file is corrupt");
}

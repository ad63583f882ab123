/* Byte-level BPE (Radford et al. 2019, GPT-2): words of bytes, joined by the ranks of the merge list. Where
 * the pre-tokenizer says so (Gemma 4), words are of characters as they stand, and bytes only stand for what
 * is no token. */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/rand.h"
#include "engine/worker/gguf.h"
#include "engine/worker/tokenizer_inner.h"

/* Printable Latin-1 stands for itself; the other bytes follow from U+0100 on. */
static bool stands_for_itself(uint32_t c)
{
    return (c >= '!' && c <= '~') || (c >= 0xA1 && c <= 0xAC) || (c >= 0xAE && c <= 0xFF);
}

uint32_t tokenizer_byte_char(uint8_t byte)
{
    if (stands_for_itself(byte))
        return byte;
    if (byte <= ' ')
        return 0x100u + byte;
    return byte == 0xAD ? 0x143 : 0x121u + byte - 0x7F;
}

int tokenizer_char_byte(uint32_t c)
{
    if (stands_for_itself(c))
        return (int)c;
    if (c >= 0x100 && c <= 0x120)
        return (int)(c - 0x100);
    if (c >= 0x121 && c <= 0x142)
        return (int)(c - 0x121 + 0x7F);
    return c == 0x143 ? 0xAD : -1;
}

/* The number of a symbol: the token's id, or one after the last token. `copy`: the bytes do not stay. */
static int intern(struct tokenizer *t, struct str text, bool copy, uint32_t *symbol, struct error *err)
{
    const uint32_t *known = map_find(&t->ids, text);
    if (!known)
        known = map_find(&t->extra, text);
    if (known) {
        *symbol = *known;
        return 0;
    }
    if (copy && arena_try_copy(t->texts, text, &text))
        return error_set(err, ERROR_MEMORY, "no memory for the merge list");
    bool added = false;
    *symbol = (uint32_t)t->n_tokens + (uint32_t)t->extra.count;
    return map_add(&t->extra, text, *symbol, &added, err);
}

/* Multiplicative hashing with a random odd factor: keys cannot be chosen to collide. */
static size_t slot_of(const struct merge_table *table, uint64_t pair)
{
    size_t slot = (size_t)((pair + table->seed[0]) * table->seed[1] >> table->shift);
    while (table->rules[slot].pair != pair && table->rules[slot].pair != MERGE_EMPTY)
        slot = (slot + 1) & table->mask;
    return slot;
}

static int table_create(struct merge_table *table, uint64_t count, struct error *err)
{
    int bits = 4;
    while ((uint64_t)1 << bits < 2 * count)
        bits++;
    *table = (struct merge_table){
        .shift = 64 - bits, .mask = ((size_t)1 << bits) - 1, .seed = {rand_u64(), rand_u64() | 1}};
    table->rules = malloc((table->mask + 1) * sizeof *table->rules);
    if (!table->rules)
        return error_set(err, ERROR_MEMORY, "no memory for %llu merges", (unsigned long long)count);
    for (size_t i = 0; i <= table->mask; i++)
        table->rules[i].pair = MERGE_EMPTY;
    return 0;
}

/* "left right": the space that parts them is not the first byte. */
static int add_merge(struct tokenizer *t, struct str merge, uint32_t rank, struct error *err)
{
    char joined[2 * LIMIT_TOKEN];
    size_t space = str_find_char(str_slice(merge, 1, merge.len), ' ');
    if (space == SIZE_MAX || merge.len > sizeof joined)
        return error_set(
            err, ERROR_INVALID, "merge %u is not a pair of symbols: the model file is corrupt", rank);
    struct str left = str_slice(merge, 0, space + 1), right = str_slice(merge, space + 2, merge.len);
    memcpy(joined, left.data, left.len);
    memcpy(joined + left.len, right.data, right.len);
    uint32_t l = 0, r = 0, result = 0;
    int rc = intern(t, left, false, &l, err);
    rc = rc ? rc : intern(t, right, false, &r, err);
    rc = rc ? rc : intern(t, (struct str){joined, left.len + right.len}, true, &result, err);
    if (rc)
        return rc;
    uint64_t pair = (uint64_t)l << 32 | r;
    struct merge_rule *rule = &t->merges.rules[slot_of(&t->merges, pair)];
    if (rule->pair == MERGE_EMPTY)
        *rule = (struct merge_rule){pair, rank, result};
    return 0;
}

int tokenizer_bpe_load(struct tokenizer *t, const struct gguf *g, struct error *err)
{
    struct gguf_array merges;
    int rc = gguf_get_array(g, "tokenizer.ggml.merges", GGUF_STRING, &merges, err);
    if (rc)
        return rc;
    if (merges.count == 0 || merges.count > LIMIT_VOCABULARY)
        return error_set(err, ERROR_INVALID, "'tokenizer.ggml.merges' holds %llu merges, not 1 to %d",
            (unsigned long long)merges.count, LIMIT_VOCABULARY);
    t->texts = arena_create(4 * merges.bytes + MIB);
    rc = map_init(&t->extra, 256, err);
    rc = rc ? rc : table_create(&t->merges, merges.count, err);
    struct str merge;
    size_t cursor = 0;
    for (uint32_t rank = 0; rc == 0 && gguf_array_next(&merges, &cursor, &merge); rank++)
        rc = add_merge(t, merge, rank, err);
    if (rc == 0 && t->raw)
        tokenizer_load_byte_tokens(t);
    for (int byte = 0; byte < 256 && rc == 0 && !t->raw; byte++) {
        char text[4];
        struct str spelled = {text, str_utf8_encode(tokenizer_byte_char((uint8_t)byte), text)};
        rc = intern(t, spelled, true, &t->byte_symbols[byte], err);
    }
    return rc;
}

void tokenizer_bpe_free(struct tokenizer *t)
{
    free(t->merges.rules);
    map_free(&t->extra);
    arena_free(t->texts);
    tokenizer_pre_free(t->pre);
}

static bool find(const struct merger *m, const struct symbol *left, const struct symbol *right,
    uint32_t *priority, uint32_t *result)
{
    const struct merge_table *table = &m->t->merges;
    const struct merge_rule *rule = &table->rules[slot_of(table, (uint64_t)left->id << 32 | right->id)];
    if (rule->pair == MERGE_EMPTY)
        return false;
    *priority = rule->rank;
    *result = rule->result;
    return true;
}

struct word_context {
    const struct tokenizer *t;
    struct merger *merger;
    struct token_list *out;
};

/* A word that is a token as it stands; -1 if none. */
static int32_t whole_word(const struct tokenizer *t, struct str word)
{
    char spelled[LIMIT_TOKEN + 4];
    size_t length = 0;
    if (t->raw)
        return word.len <= t->longest ? tokenizer_find(t, word) : -1;
    for (size_t i = 0; i < word.len; i++) {
        if (length > t->longest || length + 4 > sizeof spelled)
            return -1;
        length += str_utf8_encode(tokenizer_byte_char((uint8_t)word.data[i]), spelled + length);
    }
    const uint32_t *id = map_find(&t->ids, (struct str){spelled, length});
    return id ? (int32_t)*id : -1;
}

/* A symbol that is no token is given byte by byte; a byte that is no token cannot be given at all. */
static int append_symbol(
    struct word_context *c, const struct symbol *s, struct token_list *out, struct error *err)
{
    uint32_t n_tokens = (uint32_t)c->t->n_tokens;
    if (s->id < n_tokens)
        return token_list_append(out, (int32_t)s->id, err);
    int rc = 0;
    for (uint32_t i = 0; i < s->length && rc == 0; i++) {
        uint32_t id = c->t->byte_symbols[(unsigned char)c->merger->text.data[s->start + i]];
        if (id < n_tokens)
            rc = token_list_append(out, (int32_t)id, err);
    }
    return rc;
}

/* The word's bytes, or its characters. */
static int add_symbols(struct merger *m, struct error *err)
{
    const struct tokenizer *t = m->t;
    int rc = 0;
    for (size_t i = 0, n = 1; i < m->text.len && rc == 0; i += n) {
        uint32_t c, symbol = t->byte_symbols[(unsigned char)m->text.data[i]];
        if (t->raw) {
            struct str left = str_slice(m->text, i, m->text.len);
            n = str_utf8_decode(left, &c);
            const uint32_t *known = map_find(&t->ids, str_slice(left, 0, n));
            known = known ? known : map_find(&t->extra, str_slice(left, 0, n));
            symbol = known ? *known : SYMBOL_NONE;
        }
        rc = merger_add(m, i, n, symbol, err);
    }
    return rc;
}

static int encode_word(void *ctx, struct str word, struct error *err)
{
    struct word_context *c = ctx;
    struct merger *m = c->merger;
    /* No merge leads to Gemma 4's tokens of line ends. */
    bool as_it_stands = c->t->ignore_merges || (c->t->gemma && word.data[0] == '\n');
    int32_t whole = as_it_stands ? whole_word(c->t, word) : -1;
    if (whole >= 0)
        return token_list_append(c->out, whole, err);
    m->text = word;
    m->count = 0;
    int rc = add_symbols(m, err);
    rc = rc ? rc : merger_run(m, err);
    for (size_t i = 0; i < m->count && rc == 0; i++)
        if (m->symbols[i].length > 0)
            rc = append_symbol(c, &m->symbols[i], c->out, err);
    return rc;
}

/* Each byte that is not UTF-8 becomes U+FFFD, as the reference does it. */
static int replace_invalid(struct str text, struct buf *out, struct error *err)
{
    buf_init(out, 3 * text.len);
    while (text.len > 0) {
        uint32_t c;
        size_t n = str_utf8_decode(text, &c);
        buf_append_str(out, n ? str_slice(text, 0, n) : STR("\xef\xbf\xbd"));
        text = str_slice(text, n ? n : 1, text.len);
    }
    return out->failed ? error_set(err, out->failed, "no memory to tokenize a text of this length: send less")
                       : 0;
}

int tokenizer_bpe_encode(
    const struct tokenizer *t, struct merger *m, struct str text, struct token_list *out, struct error *err)
{
    struct word_context c = {t, m, out};
    struct buf valid = {0}, escaped = {0};
    int rc = 0;
    m->t = t;
    m->find = find;
    if (!str_utf8_valid(text)) {
        rc = replace_invalid(text, &valid, err);
        text = buf_str(&valid);
    }
    if (rc == 0 && t->escape_spaces) {
        rc = tokenizer_escape_spaces(text, false, &escaped, err);
        text = buf_str(&escaped);
    }
    rc = rc ? rc : tokenizer_pre_split(t->pre, text, (struct tokenizer_word_sink){encode_word, &c}, err);
    buf_free(&valid);
    buf_free(&escaped);
    return rc;
}

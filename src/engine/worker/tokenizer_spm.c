/* SentencePiece's BPE (github.com/google/sentencepiece) as models of type `llama` use it: characters are
 * joined to tokens, best score first; what is no token is spelled in bytes. */
#include <string.h>

#include "engine/worker/tokenizer_inner.h"

static const struct str escaped_space = {"\xe2\x96\x81", 3}; /* U+2581 */

int tokenizer_spm_load(struct tokenizer *t, struct error *err)
{
    bool any = t->unknown >= 0;
    tokenizer_load_byte_tokens(t);
    for (unsigned byte = 0; byte < 256; byte++) {
        char raw = (char)byte;
        uint32_t *symbol = &t->byte_symbols[byte];
        const uint32_t *id = *symbol == SYMBOL_NONE ? map_find(&t->ids, (struct str){&raw, 1}) : symbol;
        any = any || id;
        *symbol = id ? *id : t->unknown >= 0 ? (uint32_t)t->unknown : SYMBOL_NONE;
    }
    if (!any)
        return error_set(err, ERROR_INVALID,
            "the vocabulary has neither byte tokens nor an unknown token: the model file is not usable");
    return 0;
}

/* Floats in an order of unsigned numbers, greatest first. */
static uint32_t priority_of(float score)
{
    uint32_t bits;
    score += 0.0f; /* one zero */
    memcpy(&bits, &score, sizeof bits);
    return bits & 0x80000000 ? bits : 0x7FFFFFFF - bits;
}

static bool find(const struct merger *m, const struct symbol *left, const struct symbol *right,
    uint32_t *priority, uint32_t *result)
{
    size_t length = (size_t)left->length + right->length;
    if (length > m->t->longest)
        return false;
    const uint32_t *id = map_find(&m->t->ids, str_slice(m->text, left->start, left->start + length));
    if (!id)
        return false;
    *result = *id;
    *priority = priority_of(m->t->tokens[*id].score);
    return true;
}

int tokenizer_escape_spaces(struct str text, bool prefix, struct buf *out, struct error *err)
{
    buf_init(out, 3 * text.len + 3);
    if (prefix)
        buf_append_str(out, escaped_space);
    for (struct str word; text.len > 0;) {
        size_t space = str_find_char(text, ' ');
        word = str_slice(text, 0, space);
        buf_append_str(out, word);
        if (space != SIZE_MAX)
            buf_append_str(out, escaped_space);
        text = str_slice(text, space == SIZE_MAX ? text.len : space + 1, text.len);
    }
    return out->failed ? error_set(err, out->failed, "no memory to tokenize a text of this length: send less")
                       : 0;
}

static int add_characters(struct merger *m, struct error *err)
{
    int rc = 0;
    for (size_t i = 0, n; i < m->text.len && rc == 0; i += n) {
        uint32_t c;
        struct str left = str_slice(m->text, i, m->text.len);
        n = str_utf8_decode(left, &c);
        n = n ? n : 1;
        const uint32_t *id = map_find(&m->t->ids, str_slice(left, 0, n));
        rc = merger_add(m, i, n, id ? *id : SYMBOL_NONE, err);
    }
    return rc;
}

static int append_bytes(
    const struct merger *m, const struct symbol *s, struct token_list *out, struct error *err)
{
    int rc = 0;
    for (uint32_t i = 0; i < s->length && rc == 0; i++) {
        uint32_t id = m->t->byte_symbols[(unsigned char)m->text.data[s->start + i]];
        if (id != SYMBOL_NONE)
            rc = token_list_append(out, (int32_t)id, err);
    }
    return rc;
}

int tokenizer_spm_encode(const struct tokenizer *t, struct merger *m, struct str text, bool space_prefix,
    struct token_list *out, struct error *err)
{
    struct buf escaped;
    int rc = tokenizer_escape_spaces(text, space_prefix, &escaped, err);
    m->t = t;
    m->text = buf_str(&escaped);
    m->count = 0;
    m->find = find;
    rc = rc ? rc : add_characters(m, err);
    rc = rc ? rc : merger_run(m, err);
    for (size_t i = 0; i < m->count && rc == 0; i++) {
        const struct symbol *s = &m->symbols[i];
        if (s->length > 0 && s->id != SYMBOL_NONE)
            rc = token_list_append(out, (int32_t)s->id, err);
        else if (s->length > 0)
            rc = append_bytes(m, s, out, err);
    }
    buf_free(&escaped);
    return rc;
}

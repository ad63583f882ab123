#include "engine/worker/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "engine/worker/gguf.h"
#include "engine/worker/tokenizer_inner.h"

/* Offsets and counts of one text are 32 bits wide inside; bodies are smaller long before. */
#define TEXT_MAX (256 * MIB)

static int set_kind(struct tokenizer *t, const struct gguf *g, struct error *err)
{
    struct str model, pre;
    int rc = gguf_get_str(g, "tokenizer.ggml.model", STR_NONE, &model, err);
    rc = rc ? rc : gguf_get_str(g, "tokenizer.ggml.pre", STR("default"), &pre, err);
    if (rc)
        return rc;
    if (model.len == 0)
        return error_set(
            err, ERROR_INVALID, "the model file holds no tokenizer ('tokenizer.ggml.model' is missing)");
    if (str_is(model, "llama")) {
        t->kind = TOKENIZER_SPM;
        t->add_bos = true;
    } else if (str_is(model, "bert")) {
        t->kind = TOKENIZER_WPM;
    } else if (str_is(model, "t5")) {
        t->kind = TOKENIZER_UGM;
        t->add_eos = true;
    } else if (str_is(model, "gemma4")) {
        t->kind = TOKENIZER_BPE;
        return tokenizer_pre_create(t, model, err);
    } else if (str_is(model, "gpt2")) {
        t->kind = TOKENIZER_BPE;
        if (!gguf_find(g, "tokenizer.ggml.pre"))
            log_warn("engine",
                "the model file does not name its pre-tokenizer: 'default' is used, answers may suffer");
        return tokenizer_pre_create(t, pre, err);
    } else {
        return error_set(err, ERROR_UNSUPPORTED,
            "the model's tokenizer '" STR_FMT
            "' is not supported: use a model with 'llama', 'gpt2', 'gemma4', 't5' or 'bert'",
            STR_ARG(model));
    }
    return 0;
}

static int create(struct tokenizer *t, const struct gguf *g, struct error *err)
{
    int rc = set_kind(t, g, err);
    rc = rc ? rc : tokenizer_vocab_load(t, g, err);
    rc = rc ? rc : tokenizer_special_load(t, err);
    if (rc)
        return rc;
    switch (t->kind) {
    case TOKENIZER_SPM:
        return tokenizer_spm_load(t, err);
    case TOKENIZER_WPM:
        return tokenizer_wpm_load(t, err);
    case TOKENIZER_UGM:
        return tokenizer_ugm_load(t, g, err);
    case TOKENIZER_BPE:
        return tokenizer_bpe_load(t, g, err);
    }
    return error_set(err, ERROR_INTERNAL, "no such kind of tokenizer: %d", t->kind);
}

int tokenizer_create(const struct gguf *g, struct tokenizer **out, struct error *err)
{
    struct tokenizer *t = calloc(1, sizeof *t);
    *out = NULL;
    if (!t)
        return error_set(err, ERROR_MEMORY, "no memory for a tokenizer");
    int rc = create(t, g, err);
    if (rc)
        tokenizer_free(t);
    else
        *out = t;
    return rc;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    tokenizer_bpe_free(t);
    map_free(&t->ids);
    trie_free(&t->pieces);
    trie_free(&t->specials);
    trie_free(&t->user_defined);
    free(t->tokens);
    free(t);
}

int token_list_append(struct token_list *list, int32_t id, struct error *err)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 64;
        int32_t *ids = realloc(list->ids, capacity * sizeof *ids);
        if (!ids)
            return error_set(err, ERROR_MEMORY, "no memory for %zu tokens: send less text", capacity);
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->count++] = id;
    return 0;
}

static int encode_text(const struct tokenizer *t, struct merger *m, struct str text, bool after_special,
    struct token_list *out, struct error *err)
{
    switch (t->kind) {
    case TOKENIZER_SPM:
        return tokenizer_spm_encode(t, m, text, t->add_space_prefix && after_special, out, err);
    case TOKENIZER_WPM:
        return tokenizer_wpm_encode(t, text, out, err);
    case TOKENIZER_UGM:
        return tokenizer_ugm_encode(t, text, out, err);
    case TOKENIZER_BPE:
        return tokenizer_bpe_encode(t, m, text, out, err);
    }
    return error_set(err, ERROR_INTERNAL, "no such kind of tokenizer: %d", t->kind);
}

int tokenizer_encode(const struct tokenizer *t, struct str text, bool add_special, bool parse_special,
    struct token_list *out, struct error *err)
{
    struct fragment_list fragments = {0};
    struct merger merger = {0};
    if (text.len > TEXT_MAX)
        return error_set(err, ERROR_LIMIT, "a text of %zu bytes cannot be tokenized: send less", text.len);
    int rc = tokenizer_special_split(t, text, parse_special, &fragments, err);
    if (rc == 0 && add_special && t->add_bos)
        rc = token_list_append(out, t->bos, err);
    bool after_special = true;
    for (size_t i = 0; i < fragments.count && rc == 0; i++) {
        const struct fragment *f = &fragments.items[i];
        struct str part = str_slice(text, f->start, (size_t)f->start + f->length);
        if (f->token >= 0)
            rc = token_list_append(out, f->token, err);
        else
            rc = encode_text(t, &merger, part, after_special, out, err);
        after_special = f->token >= 0;
    }
    if (rc == 0 && add_special && t->add_eos)
        rc = token_list_append(out, t->eos, err);
    merger_free(&merger);
    free(fragments.items);
    return rc;
}

static bool in_range(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->n_tokens;
}

/* GPT-2's spelling back to bytes; a character that spells no byte stands for itself. */
static int append_bpe(struct str text, struct buf *out)
{
    for (size_t i = 0, n; i < text.len; i += n) {
        uint32_t c;
        struct str left = str_slice(text, i, text.len);
        n = str_utf8_decode(left, &c);
        int byte = n ? tokenizer_char_byte(c) : -1;
        n = n ? n : 1;
        if (byte >= 0)
            buf_append_char(out, (char)byte);
        else
            buf_append_str(out, str_slice(left, 0, n));
    }
    return out->failed;
}

/* U+2581 back to a space. */
static int append_spm(struct str text, struct buf *out)
{
    static const struct str escaped_space = {"\xe2\x96\x81", 3};
    for (size_t at; (at = str_find(text, escaped_space)) != SIZE_MAX;) {
        buf_append(out, text.data, at);
        buf_append_char(out, ' ');
        text = str_slice(text, at + escaped_space.len, text.len);
    }
    return buf_append_str(out, text);
}

int tokenizer_append_piece(const struct tokenizer *t, int32_t id, bool with_special, struct buf *out)
{
    if (!in_range(t, id))
        return 0;
    struct str text = t->tokens[id].text;
    int flags = t->tokens[id].flags;
    if (flags & (TOKEN_CONTROL | TOKEN_UNKNOWN))
        return with_special ? buf_append_str(out, text) : 0;
    if (flags & TOKEN_USER_DEFINED)
        return buf_append_str(out, text);
    if (flags & TOKEN_BYTE) {
        char digits[3] = {text.data[3], text.data[4], '\0'};
        return buf_append_char(out, (char)strtol(digits, NULL, 16));
    }
    if (!(flags & TOKEN_NORMAL))
        return 0;
    bool bytes = t->kind == TOKENIZER_BPE && !t->raw;
    return bytes ? append_bpe(text, out) : append_spm(text, out);
}

/* A file's clean_spaces ("no space before a full stop") is not followed: text streams as pieces, which the
 * reference engines' servers do not clean either, and what was encoded comes back exactly. */
int tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t count, bool with_special,
    struct buf *out, struct error *err)
{
    /* The space that encoding put before the first word goes again. */
    bool strip = t->add_space_prefix;
    for (size_t i = 0; i < count && !out->failed; i++) {
        size_t before = out->len;
        tokenizer_append_piece(t, ids[i], with_special, out);
        bool text = in_range(t, ids[i]) && !tokenizer_is_special(t, ids[i]);
        if (strip && text && out->len > before && out->data[before] == ' ') {
            memmove(out->data + before, out->data + before + 1, out->len - before);
            out->len--;
        }
        if (text || with_special)
            strip = false;
    }
    return out->failed ? error_set(err, out->failed, "the text of %zu tokens is too long", count) : 0;
}

int32_t tokenizer_vocab_size(const struct tokenizer *t)
{
    return t->n_tokens;
}

struct str tokenizer_text(const struct tokenizer *t, int32_t id)
{
    return in_range(t, id) ? t->tokens[id].text : STR("");
}

int32_t tokenizer_find(const struct tokenizer *t, struct str text)
{
    const uint32_t *id = map_find(&t->ids, text);
    return id ? (int32_t)*id : -1;
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->bos;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
    return t->eos;
}

bool tokenizer_is_end(const struct tokenizer *t, int32_t id)
{
    return in_range(t, id) && (t->tokens[id].flags & TOKEN_END);
}

bool tokenizer_is_special(const struct tokenizer *t, int32_t id)
{
    return in_range(t, id) && (t->tokens[id].flags & (TOKEN_CONTROL | TOKEN_UNKNOWN));
}

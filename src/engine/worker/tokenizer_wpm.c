/* WordPiece as BERT uses it (Devlin et al. 2018, arxiv.org/abs/1810.04805; llama.cpp's reading of it): text
 * in lower case without accents, cut at white space, each punctuation mark and ideograph a word of its own; a
 * word is its longest pieces from the left, and unknown as a whole if they do not reach its end.
 *
 * Vocabularies mark the beginning of a word with U+2581. */
#include <stdlib.h>
#include <string.h>

#include "engine/worker/template_unicode.h"
#include "engine/worker/tokenizer_inner.h"
#include "engine/worker/tokenizer_wpm.h"

static const struct str word_mark = {"\xe2\x96\x81", 3}; /* U+2581 */

static int32_t id_or(const struct tokenizer *t, int32_t id, const char *text)
{
    const uint32_t *found = id >= 0 ? NULL : map_find(&t->ids, str_from(text));
    return found ? (int32_t)*found : id;
}

int tokenizer_wpm_load(struct tokenizer *t, struct error *err)
{
    t->unknown = id_or(t, t->unknown, "[UNK]");
    t->bos = id_or(t, t->bos, "[CLS]");
    t->eos = id_or(t, t->eos, "[SEP]");
    t->add_bos = t->bos >= 0;
    t->add_eos = t->eos >= 0;
    if (t->unknown < 0)
        return error_set(
            err, ERROR_INVALID, "the vocabulary has no unknown token: the model file is not usable");
    struct trie_item *items = calloc((size_t)t->n_tokens, sizeof *items);
    size_t count = 0;
    if (!items)
        return error_set(err, ERROR_MEMORY, "no memory for a vocabulary of %d tokens", t->n_tokens);
    for (int32_t i = 0; i < t->n_tokens; i++)
        if (t->tokens[i].text.len > 0)
            items[count++] = (struct trie_item){t->tokens[i].text, i};
    int rc = trie_build(&t->pieces, items, count, err);
    free(items);
    return rc;
}

static bool in_ranges(const struct wpm_range *ranges, size_t count, uint32_t c)
{
    size_t from = 0, to = count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (c > ranges[middle].last)
            from = middle + 1;
        else
            to = middle;
    }
    return from < count && c >= ranges[from].first;
}

static bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
           c == 0x3000;
}

/* The blocks that BERT's own code names. */
static bool is_ideograph(uint32_t c)
{
    static const struct wpm_range blocks[] = {{0x3400, 0x4DBF}, {0x4E00, 0x9FFF}, {0xF900, 0xFAFF},
        {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0x2F800, 0x2FA1F}};
    return in_ranges(blocks, sizeof blocks / sizeof *blocks, c);
}

static bool stands_alone(uint32_t c)
{
    bool ascii_symbol = c < 0x7F && c > 0 && strchr("$+<=>^`|~", (int)c);
    return ascii_symbol || in_ranges(wpm_punctuation, WPM_PUNCTUATION, c) || is_ideograph(c);
}

static uint32_t ideograph_base(uint32_t c)
{
    size_t at = 0;
    for (size_t i = 0; i < WPM_IDEOGRAPHS; i++) {
        if (c >= wpm_ideographs[i].first && c <= wpm_ideographs[i].last)
            return wpm_ideograph_bases[at + c - wpm_ideographs[i].first];
        at += wpm_ideographs[i].last - wpm_ideographs[i].first + 1;
    }
    return c;
}

/* The first character of the canonical decomposition, in lower case. */
static uint32_t strip_and_lower(uint32_t c)
{
    if (c >= 0xAC00 && c < 0xAC00 + 11172)
        return 0x1100 + (c - 0xAC00) / 588; /* a Hangul syllable's first letter */
    if ((c >= 0xF900 && c <= 0xFAFF) || c >= 0x2F800)
        return ideograph_base(c);
    size_t from = 0, to = WPM_FOLDS;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (c > wpm_folds[middle].last)
            from = middle + 1;
        else
            to = middle;
    }
    return from < WPM_FOLDS && c >= wpm_folds[from].first ? wpm_folds[from].base : tpl_lower(c);
}

/* As the model was trained: its accents stripped, in lower case, both (as BERT is by default) or neither. */
static uint32_t fold(const struct tokenizer *t, uint32_t c)
{
    if (!t->strip_accents)
        return t->lowercase ? tpl_lower(c) : c;
    uint32_t stripped = strip_and_lower(c), upper[3];
    return !t->lowercase && tpl_lower(c) != c && tpl_upper(stripped, upper) > 0 ? upper[0] : stripped;
}

/* Appends the pieces of a word, which begins with the mark. */
static int append_word(const struct tokenizer *t, struct str word, struct token_list *out, struct error *err)
{
    const size_t before = out->count;
    for (size_t at = 0, n; at < word.len; at += n) {
        int32_t id = -1;
        n = trie_longest(&t->pieces, str_slice(word, at, word.len), &id);
        if (n == 0) {
            out->count = before;
            break;
        }
        int rc = token_list_append(out, id, err);
        if (rc)
            return rc;
    }
    return out->count == before ? token_list_append(out, t->unknown, err) : 0;
}

/* Ends the word that `word` holds, if there is one, and begins another. */
static int end_word(const struct tokenizer *t, struct buf *word, struct token_list *out, struct error *err)
{
    int rc = 0;
    if (word->failed)
        return error_set(err, word->failed, "no memory to tokenize a text of this length: send less");
    if (word->len > word_mark.len)
        rc = append_word(t, buf_str(word), out, err);
    buf_clear(word);
    buf_append_str(word, word_mark);
    return rc;
}

int tokenizer_wpm_encode(
    const struct tokenizer *t, struct str text, struct token_list *out, struct error *err)
{
    struct buf word;
    buf_init(&word, 4 * text.len + 16);
    int rc = end_word(t, &word, out, err);
    for (size_t i = 0, n; i < text.len && rc == 0; i += n) {
        uint32_t c;
        n = str_utf8_decode(str_slice(text, i, text.len), &c);
        if (n == 0) {
            n = 1; /* no character: left out, as U+FFFD is */
            continue;
        }
        bool space = is_space(c);
        if (!space && (c == 0xFFFD || in_ranges(wpm_controls, WPM_CONTROLS, c)))
            continue;
        c = fold(t, c);
        bool alone = !space && stands_alone(c);
        if (space || alone)
            rc = end_word(t, &word, out, err);
        if (!space)
            tpl_append_char(&word, c);
        if (alone && rc == 0)
            rc = end_word(t, &word, out, err);
    }
    rc = rc ? rc : end_word(t, &word, out, err);
    buf_free(&word);
    return rc;
}

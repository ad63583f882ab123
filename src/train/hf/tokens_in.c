/* tokenizer.json and tokenizer.model to a GGUF file's vocabulary. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "train/files.h"
#include "train/hf/tokens.h"

#define TOKENIZER_MAX (512 * MIB)
enum { TOKENIZER_VALUES = 1 << 24, SCORE_FILLER = -10000, SCORE_ADDED = -1000 };
#define MARK "\xe2\x96\x81" /* U+2581, a space */

int hf_json_read(struct arena *a, const char *folder, const char *name, struct json_view *v,
    const struct json_item **out, struct error *err)
{
    const char *path = arena_printf(a, "%s/%s", folder, name).data;
    struct str text;
    *out = NULL;
    if (access(path, F_OK) != 0)
        return 0;
    int rc = file_read(a, path, TOKENIZER_MAX, &text, err);
    v->most = TOKENIZER_VALUES;
    if (rc == 0 && json_view_read(v, text, out, err))
        rc = error_wrap(err, "%s", name);
    return rc;
}

/* ---- The vocabulary ---- */
static int id_check(
    const struct hf_tokens *t, struct str text, const struct json_item *id, int64_t *out, struct error *err)
{
    if (!json_item_int(id, out) || *out < 0 || *out >= t->n)
        return error_set(err, ERROR_INVALID,
            "tokenizer.json gives '" STR_FMT "' no number below config.json's 'vocab_size' of %lld",
            STR_ARG(str_slice(text, 0, 60)), (long long)t->n);
    if (text.len > LIMIT_TOKEN)
        return error_set(err, ERROR_LIMIT, "a token of tokenizer.json has %zu bytes: %d are the most",
            text.len, LIMIT_TOKEN);
    return 0;
}

/* {"TOKEN": ID, ...} */
static int vocab_read(struct hf_tokens *t, const struct json_item *vocab, struct error *err)
{
    if (!json_item_is(vocab, JSON_ITEM_OBJECT) || vocab->n == 0)
        return error_set(err, ERROR_INVALID, "tokenizer.json has no 'model.vocab' of tokens");
    for (const struct json_item *i = vocab + 1; i; i = json_item_next(vocab, i)) {
        int64_t id;
        int rc = id_check(t, i->key, i, &id, err);
        if (rc)
            return rc;
        if (t->types[id] != 0)
            return error_set(err, ERROR_INVALID,
                "tokenizer.json gives '" STR_FMT "' and another token the number %lld",
                STR_ARG(str_slice(i->key, 0, 60)), (long long)id);
        t->texts[id] = i->key;
        t->types[id] = HF_TOKEN_NORMAL;
    }
    return 0;
}

/* [["TOKEN", SCORE], ...] */
static int unigrams_read(struct hf_tokens *t, const struct json_item *vocab, struct error *err)
{
    int64_t id = 0;
    if (json_item_length(vocab) == 0 || json_item_length(vocab) > (size_t)t->n)
        return error_set(err, ERROR_INVALID,
            "tokenizer.json's 'model.vocab' has %zu tokens, config.json's 'vocab_size' is %lld",
            json_item_length(vocab), (long long)t->n);
    json_item_each(i, vocab) {
        const struct json_item *text = json_item_first(i);
        double score;
        if (json_item_length(i) != 2 || !json_item_is(text, JSON_ITEM_STRING) ||
            text->text.len > LIMIT_TOKEN || !json_item_double(json_item_next(i, text), &score))
            return error_set(
                err, ERROR_INVALID, "tokenizer.json's 'model.vocab' is no list of texts with scores");
        t->texts[id] = text->text;
        t->scores[id] = (float)score;
        t->types[id++] = HF_TOKEN_NORMAL;
    }
    return 0;
}

/* Some models do not mark what is special as that. */
static bool looks_special(struct str s)
{
    return str_is(s, "<pad>") || str_is(s, "<mask>") || str_is(s, "<2mass>") || str_is(s, "[@BOS@]") ||
           (str_starts(s, STR("<|")) && str_ends(s, STR("|>"))) ||
           (str_starts(s, STR("<\xef\xbd\x9c")) && str_ends(s, STR("\xef\xbd\x9c>"))) ||
           (str_starts(s, STR("<unused")) && str_ends(s, STR(">")));
}

/* Special, but part of what the model says: who reads its answers looks for them (Gemma 4). */
static bool is_said(struct str s)
{
    static const char *const said[] = {"<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>",
        "<|tool_response>", "<tool_response|>", "<|\"|>"};
    size_t i = 0;
    while (i < sizeof said / sizeof *said && !str_is(s, said[i]))
        i++;
    return i < sizeof said / sizeof *said;
}

static struct str spaces_plain(struct arena *a, struct str s)
{
    if (str_find(s, STR(MARK)) == SIZE_MAX)
        return s;
    char *to = arena_alloc(a, s.len + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        if (str_starts(str_slice(s, i, s.len), STR(MARK))) {
            to[n++] = ' ';
            i += 2;
        } else {
            to[n++] = s.data[i];
        }
    return (struct str){to, n};
}

static void added_put(struct hf_tokens *t, int64_t id, struct str text, const struct json_item *special)
{
    const bool control =
        ((special && special->kind == JSON_ITEM_TRUE) || looks_special(text)) && !is_said(text);
    /* tokenizer.model and the vocabulary know more of what they have, too */
    if (t->types[id] > HF_TOKEN_NORMAL && t->types[id] != HF_TOKEN_UNUSED && str_eq(t->texts[id], text))
        return;
    t->texts[id] = control ? text : spaces_plain(t->arena, text);
    t->types[id] = control ? HF_TOKEN_CONTROL : HF_TOKEN_USER;
    t->scores[id] = SCORE_ADDED;
}

/* tokenizer.json's list; without that file tokenizer_config.json's object of them by their numbers. */
static int added_read(struct hf_tokens *t, struct error *err)
{
    const struct json_item *list =
        hf_given(t->root ? t->root : t->settings, t->root ? "added_tokens" : "added_tokens_decoder");
    const bool by_number = json_item_is(list, JSON_ITEM_OBJECT);
    for (const struct json_item *i = list && list->n > 0 ? list + 1 : NULL; i; i = json_item_next(list, i)) {
        const struct str text = json_item_text(i, "content");
        const struct json_item number = {.kind = JSON_ITEM_NUMBER, .text = i->key};
        int64_t id;
        int rc = id_check(t, text, by_number ? &number : json_item_get(i, "id"), &id, err);
        if (rc == 0 && text.len == 0)
            rc = error_set(err, ERROR_INVALID, "the tokenizer's added token %lld has no text", (long long)id);
        if (rc)
            return rc;
        added_put(t, id, text, json_item_get(i, "special"));
    }
    return 0;
}

/* Rows of the embedding that no token has. */
static int fill(struct hf_tokens *t, struct error *err)
{
    for (int64_t i = 0; i < t->n; i++) {
        bool added = false;
        if (t->types[i] == 0) {
            t->texts[i] = arena_printf(t->arena, "[PAD%lld]", (long long)i);
            t->types[i] = HF_TOKEN_UNUSED;
            t->scores[i] = SCORE_FILLER;
        }
        int rc = t->texts[i].len > 0 ? map_add(&t->ids, t->texts[i], (uint32_t)i, &added, err) : 0;
        if (rc == 0 && t->texts[i].len > 0 && !added)
            rc = error_set(err, ERROR_INVALID, "the tokenizer has '" STR_FMT "' twice: as %u and %lld",
                STR_ARG(str_slice(t->texts[i], 0, 60)), *map_find(&t->ids, t->texts[i]), (long long)i);
        if (rc)
            return rc;
    }
    return 0;
}

/* ---- Merges ---- */

/* "a b" or ["a", "b"]; false: neither. */
static bool merge_read(const struct json_item *m, struct str *left, struct str *right)
{
    const struct json_item *first = json_item_first(m);
    if (json_item_length(m) == 2) {
        *left = json_item_str(first);
        *right = json_item_str(json_item_next(m, first));
    } else {
        const struct str both = json_item_str(m);
        /* A part may be a space. */
        const size_t space = both.len > 2 ? str_find_char(str_slice(both, 1, both.len), ' ') : SIZE_MAX;
        *left = str_slice(both, 0, space == SIZE_MAX ? 0 : space + 1);
        *right = space == SIZE_MAX ? STR_NONE : str_slice(both, space + 2, both.len);
    }
    return left->len > 0 && right->len > 0 && left->len + right->len <= LIMIT_TOKEN;
}

static int merge_broken(struct error *err)
{
    return error_set(err, ERROR_INVALID, "tokenizer.json's 'model.merges' is no list of pairs of texts");
}

static int merges_write(struct hf_tokens *t, struct gguf_writer *w, struct error *err)
{
    const struct json_item *list = json_item_get(json_item_get(t->root, "model"), "merges");
    struct str *merges = arena_try_array(t->arena, struct str, json_item_length(list) + 1);
    size_t n = 0;
    if (!merges)
        return error_set(err, ERROR_MEMORY, "no memory for %zu merges", json_item_length(list));
    json_item_each(m, list) {
        struct str left, right;
        if (!merge_read(m, &left, &right) || str_find_char(left, ' ') != SIZE_MAX ||
            str_find_char(right, ' ') != SIZE_MAX)
            return merge_broken(err);
        merges[n++] = json_item_is(m, JSON_ITEM_STRING)
                          ? m->text
                          : arena_printf(t->arena, STR_FMT " " STR_FMT, STR_ARG(left), STR_ARG(right));
    }
    if (n == 0)
        return merge_broken(err);
    gguf_write_strs(w, "tokenizer.ggml.merges", merges, n);
    return 0;
}

/* A piece is worth the more, the earlier it is made. What no merge makes is never to be made. */
static int merges_score(struct hf_tokens *t, struct error *err)
{
    const struct json_item *list = json_item_get(json_item_get(t->root, "model"), "merges");
    struct map first;
    char text[LIMIT_TOKEN + 1];
    int rc = map_init(&first, (size_t)t->n, err);
    float rank = 0;
    for (int64_t i = 0; i < t->n && rc == 0; i++) {
        bool added;
        t->scores[i] = t->types[i] == HF_TOKEN_NORMAL && t->texts[i].len > 4 ? -1e6f : 0;
        if (t->texts[i].len > 0)
            rc = map_add(&first, t->texts[i], (uint32_t)i, &added, err);
    }
    uint8_t *seen = calloc((size_t)t->n, 1);
    rc = rc || seen ? rc : error_set(err, ERROR_MEMORY, "no memory for %lld tokens", (long long)t->n);
    json_item_each(m, list) {
        struct str left, right;
        if (rc)
            break;
        if (!merge_read(m, &left, &right)) {
            rc = merge_broken(err);
            break;
        }
        memcpy(text, left.data, left.len);
        memcpy(text + left.len, right.data, right.len);
        const uint32_t *id = map_find(&first, (struct str){text, left.len + right.len});
        if (!id)
            rc = merge_broken(err);
        else if (!seen[*id]) {
            seen[*id] = 1;
            t->scores[*id] = -rank++;
        }
    }
    free(seen);
    map_free(&first);
    return rc;
}

/* ---- The three kinds ---- */
static void arrays_write(
    const struct hf_tokens *t, const char *model, const char *pre, bool scores, struct gguf_writer *w)
{
    gguf_write_str(w, "tokenizer.ggml.model", str_from(model));
    gguf_write_str(w, "tokenizer.ggml.pre", str_from(pre));
    gguf_write_strs(w, "tokenizer.ggml.tokens", t->texts, (size_t)t->n);
    if (scores)
        gguf_write_array(w, "tokenizer.ggml.scores", GGUF_FLOAT32, t->scores, (size_t)t->n);
    gguf_write_array(w, "tokenizer.ggml.token_type", GGUF_INT32, t->types, (size_t)t->n);
}

static int normalizer_check(const struct json_item *n, struct error *err)
{
    const struct str type = json_item_text(n, "type");
    const struct json_item *list = json_item_get(n, "normalizers");
    if (!n || str_is(type, "NFC") || (str_is(type, "Sequence") && json_item_length(list) == 0))
        return 0; /* NFC: no engine of GGUF files does it */
    return error_set(err, ERROR_UNSUPPORTED,
        "tokenizer.json changes text by a normalizer '" STR_FMT "', unknown here",
        STR_ARG(str_slice(type, 0, 60)));
}

static int bytes_write(
    struct hf_tokens *t, const char *pre, const char *usual, struct gguf_writer *w, struct error *err)
{
    int rc = normalizer_check(hf_given(t->root, "normalizer"), err);
    rc = rc || pre ? rc : hf_pre_find(t->root, usual, &pre, err);
    rc = rc ? rc : vocab_read(t, json_item_get(json_item_get(t->root, "model"), "vocab"), err);
    rc = rc ? rc : added_read(t, err);
    rc = rc ? rc : fill(t, err);
    if (rc)
        return rc;
    arrays_write(t, "gpt2", pre, false, w);
    return merges_write(t, w, err);
}

static bool is_byte(struct str s)
{
    unsigned value;
    char end;
    char text[8] = "";
    if (s.len != 6)
        return false;
    memcpy(text, s.data, s.len);
    return sscanf(text, "<0x%2X%c", &value, &end) == 2 && end == '>';
}

/* Types that the vocabulary of tokenizer.json does not say. */
static int kinds_mark(struct hf_tokens *t, struct error *err)
{
    const struct json_item *model = json_item_get(t->root, "model"), *unk = hf_given(model, "unk_id");
    const struct str unknown = json_item_text(model, "unk_token");
    int64_t id = -1;
    if (unk && (!json_item_int(unk, &id) || id < 0 || id >= t->n))
        return error_set(err, ERROR_INVALID, "tokenizer.json's 'unk_id' names no token");
    for (int64_t i = 0; i < t->n; i++)
        if (t->types[i] == HF_TOKEN_NORMAL)
            t->types[i] = i == id || (unknown.len > 0 && str_eq(t->texts[i], unknown)) ? HF_TOKEN_UNKNOWN
                          : is_byte(t->texts[i])                                       ? HF_TOKEN_BYTE
                                                                                       : HF_TOKEN_NORMAL;
    return 0;
}

/* Something in the tokenizer puts a space before the text. */
static bool prefixes(const struct json_item *step)
{
    const struct str type = json_item_text(step, "type"), scheme = json_item_text(step, "prepend_scheme");
    const struct json_item *add = hf_given(step, "add_prefix_space");
    bool found = str_is(type, "Prepend") || (str_is(type, "Metaspace") && !str_is(scheme, "never") &&
                                                !(add && add->kind == JSON_ITEM_FALSE));
    json_item_each(a, json_item_get(step, "normalizers"))
        found = found || str_is(json_item_text(a, "type"), "Prepend");
    json_item_each(b, json_item_get(step, "pretokenizers"))
        found = found || str_is(json_item_text(b, "type"), "Metaspace");
    return found;
}

/* Base 64 (RFC 4648) of SentencePiece's map of characters. */
static int charsmap_write(
    struct hf_tokens *t, const struct json_item *normalizer, struct gguf_writer *w, struct error *err)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct str text = json_item_text(normalizer, "precompiled_charsmap");
    json_item_each(n, json_item_get(normalizer, "normalizers")) {
        if (text.len == 0)
            text = json_item_text(n, "precompiled_charsmap");
    }
    uint8_t *to = arena_alloc(t->arena, text.len + 1);
    size_t n = 0;
    uint32_t bits = 0;
    int have = 0;
    for (size_t i = 0; i < text.len && text.data[i] != '='; i++) {
        const char *digit = text.data[i] ? strchr(digits, text.data[i]) : NULL;
        if (!digit)
            return error_set(err, ERROR_INVALID, "tokenizer.json's 'precompiled_charsmap' is not base 64");
        bits = bits << 6 | (uint32_t)(digit - digits);
        have += 6;
        if (have >= 8) {
            have -= 8;
            to[n++] = (uint8_t)(bits >> have);
        }
    }
    if (n > 0)
        gguf_write_array(w, "tokenizer.ggml.precompiled_charsmap", GGUF_UINT8, to, n);
    return 0;
}

static int pieces_write(struct hf_tokens *t, const char *folder, struct gguf_writer *w, struct error *err)
{
    const struct json_item *model = json_item_get(t->root, "model"),
                           *normalizer = hf_given(t->root, "normalizer");
    struct hf_pieces p = {.unigram = str_is(json_item_text(model, "type"), "Unigram"),
        .space_prefix = prefixes(normalizer) || prefixes(hf_given(t->root, "pre_tokenizer"))};
    const char *path = arena_printf(t->arena, "%s/tokenizer.model", folder).data;
    const bool proto = access(path, F_OK) == 0;
    struct str text;
    int rc = proto ? file_read(t->arena, path, TOKENIZER_MAX, &text, err) : 0;
    if (rc == 0 && proto)
        rc = hf_pieces_read(text, t, &p, err);
    else if (rc == 0)
        rc = p.unigram ? unigrams_read(t, json_item_get(model, "vocab"), err)
                       : vocab_read(t, json_item_get(model, "vocab"), err);
    rc = rc || proto ? rc : kinds_mark(t, err);
    rc = rc || proto || p.unigram ? rc : merges_score(t, err);
    rc = rc ? rc : added_read(t, err);
    rc = rc ? rc : fill(t, err);
    if (rc)
        return rc;
    arrays_write(t, p.unigram ? "t5" : "llama", "default", true, w);
    gguf_write_bool(w, "tokenizer.ggml.add_space_prefix", p.space_prefix);
    return p.unigram ? charsmap_write(t, normalizer, w, err) : 0;
}

/* Pieces with their merges; `name`: of tokenizers that are so. */
static int merged_write(struct hf_tokens *t, const char *name, struct gguf_writer *w, struct error *err)
{
    const struct json_item *model = json_item_get(t->root, "model");
    if (prefixes(hf_given(t->root, "normalizer")) || prefixes(hf_given(t->root, "pre_tokenizer")))
        return error_set(err, ERROR_UNSUPPORTED,
            "tokenizer.json puts a space before texts, which a tokenizer '%s' cannot", name);
    int rc = vocab_read(t, json_item_get(model, "vocab"), err);
    rc = rc ? rc : kinds_mark(t, err);
    rc = rc ? rc : added_read(t, err);
    rc = rc ? rc : fill(t, err);
    if (rc)
        return rc;
    arrays_write(t, name, name, false, w);
    gguf_write_bool(w, "tokenizer.ggml.add_space_prefix", false);
    return merges_write(t, w, err);
}

static bool has_bytes(const struct json_item *step)
{
    bool found = str_is(json_item_text(step, "type"), "ByteLevel");
    json_item_each(s, json_item_get(step, "pretokenizers"))
        found = found || str_is(json_item_text(s, "type"), "ByteLevel");
    return found;
}

static int vocabulary_write(struct hf_tokens *t, const char *folder, const char *pre,
    const struct hf_arch *arch, struct gguf_writer *w, struct error *err)
{
    const struct json_item *model = hf_given(t->root, "model"), *fallback = hf_given(model, "byte_fallback");
    const struct str type = json_item_text(model, "type");
    const bool pieces = !t->root || str_is(type, "Unigram") || (fallback && fallback->kind == JSON_ITEM_TRUE);
    t->texts = arena_try_array(t->arena, struct str, (size_t)t->n);
    t->scores = arena_try_array(t->arena, float, (size_t)t->n);
    t->types = arena_try_array(t->arena, int32_t, (size_t)t->n);
    if (!t->texts || !t->scores || !t->types)
        return error_set(err, ERROR_MEMORY, "no memory for %lld tokens", (long long)t->n);
    if (t->root && !str_is(type, "BPE") && !str_is(type, "Unigram") && type.len > 0)
        return error_set(err, ERROR_UNSUPPORTED,
            "tokenizer.json's model is '" STR_FMT "': BPE and Unigram are known",
            STR_ARG(str_slice(type, 0, 40)));
    if (!pieces && !pre && !has_bytes(hf_given(t->root, "pre_tokenizer")))
        return error_set(err, ERROR_UNSUPPORTED,
            "tokenizer.json's BPE spells neither bytes ('ByteLevel') nor falls back to them "
            "('byte_fallback')");
    if (pieces && t->root && !str_is(type, "Unigram") && arch->merged)
        return merged_write(t, arch->merged, w, err);
    return pieces ? pieces_write(t, folder, w, err) : bytes_write(t, pre, arch->pre, w, err);
}

int hf_tokens_write(
    const struct hf_config *c, const char *folder, const char *pre, struct gguf_writer *w, struct error *err)
{
    struct hf_tokens t = {.arena = c->arena, .n = c->shape.vocab};
    json_view_init(&t.json);
    json_view_init(&t.config);
    int rc = map_init(&t.ids, (size_t)t.n, err);
    rc = rc ? rc : hf_json_read(t.arena, folder, "tokenizer.json", &t.json, &t.root, err);
    rc = rc ? rc : hf_json_read(t.arena, folder, "tokenizer_config.json", &t.config, &t.settings, err);
    const char *proto = arena_printf(t.arena, "%s/tokenizer.model", folder).data;
    if (rc == 0 && !t.root && access(proto, F_OK) != 0)
        rc = error_set(err, ERROR_NOT_FOUND, "%s has neither tokenizer.json nor tokenizer.model", folder);
    rc = rc ? rc : vocabulary_write(&t, folder, pre, c->arch, w, err);
    rc = rc ? rc : hf_specials_write(&t, c, folder, w, err);
    json_view_free(&t.json);
    json_view_free(&t.config);
    map_free(&t.ids);
    return rc;
}

/* Tokens, their kinds and the special ids, from tokenizer.ggml.*. Model files do not always mark what ends a
 * generation, so ends are also known by their text, as llama.cpp does it. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/limits.h"
#include "base/log.h"
#include "engine/worker/gguf.h"
#include "engine/worker/tokenizer_inner.h"

static int flags_of(int32_t type)
{
    static const uint16_t flags[] = {
        0, TOKEN_NORMAL, TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_USER_DEFINED, TOKEN_UNUSED, TOKEN_BYTE};
    return type >= 0 && (size_t)type < sizeof flags / sizeof *flags ? flags[type] : 0;
}

static bool is_byte_spelling(struct str s)
{
    return s.len == 6 && memcmp(s.data, "<0x", 3) == 0 && s.data[5] == '>' &&
           isxdigit((unsigned char)s.data[3]) && isxdigit((unsigned char)s.data[4]);
}

static int load_texts(struct tokenizer *t, const struct gguf_array *texts, struct error *err)
{
    size_t cursor = 0;
    for (int32_t i = 0; i < t->n_tokens; i++) {
        struct str text;
        bool added = false;
        if (!gguf_array_next(texts, &cursor, &text))
            return error_set(err, ERROR_INVALID, "the vocabulary ends early: the model file is corrupt");
        if (text.len > LIMIT_TOKEN)
            return error_set(
                err, ERROR_LIMIT, "token %d has %zu bytes; at most %d are allowed", i, text.len, LIMIT_TOKEN);
        t->tokens[i] = (struct token){.text = text, .flags = TOKEN_NORMAL};
        if (text.len > t->longest)
            t->longest = text.len;
        if (text.len == 0)
            continue; /* a filler that no text spells */
        int rc = map_add(&t->ids, text, (uint32_t)i, &added, err);
        if (rc)
            return rc;
        if (!added)
            return error_set(err, ERROR_INVALID,
                "the vocabulary holds '" STR_FMT "' twice: the model file is corrupt", STR_ARG(text));
    }
    return 0;
}

static int wrong_count(const char *key, uint64_t count, int32_t n_tokens, struct error *err)
{
    return error_set(err, ERROR_INVALID, "'%s' holds %llu values for %d tokens: the model file is corrupt",
        key, (unsigned long long)count, n_tokens);
}

static int load_types(struct tokenizer *t, const struct gguf *g, struct error *err)
{
    static const char key[] = "tokenizer.ggml.token_type";
    struct gguf_array types;
    int rc = gguf_get_array(g, key, GGUF_INT32, &types, err);
    if (rc || !gguf_find(g, key))
        return rc;
    if (types.count != (uint64_t)t->n_tokens)
        return wrong_count(key, types.count, t->n_tokens, err);
    for (int32_t i = 0; i < t->n_tokens; i++) {
        int32_t type;
        memcpy(&type, (const char *)types.data + (size_t)i * sizeof type, sizeof type);
        t->tokens[i].flags = (uint16_t)flags_of(type);
        if ((t->tokens[i].flags & TOKEN_BYTE) && !is_byte_spelling(t->tokens[i].text))
            return error_set(
                err, ERROR_INVALID, "byte token %d is not spelled <0xNN>: the model file is corrupt", i);
    }
    return 0;
}

static int load_scores(struct tokenizer *t, const struct gguf *g, struct error *err)
{
    static const char key[] = "tokenizer.ggml.scores";
    struct gguf_array scores;
    if (t->kind != TOKENIZER_SPM && t->kind != TOKENIZER_UGM)
        return 0;
    int rc = gguf_get_array(g, key, GGUF_FLOAT32, &scores, err);
    if (rc)
        return rc;
    if (scores.count != (uint64_t)t->n_tokens)
        return wrong_count(key, scores.count, t->n_tokens, err);
    for (int32_t i = 0; i < t->n_tokens; i++) {
        float score;
        memcpy(&score, (const char *)scores.data + (size_t)i * sizeof score, sizeof score);
        if (isnan(score) || (t->kind == TOKENIZER_UGM && isinf(score)))
            return error_set(
                err, ERROR_INVALID, "the score of token %d is not a number: the model file is corrupt", i);
        t->tokens[i].score = score;
    }
    return 0;
}

/* A special id; one outside the vocabulary counts as absent, as real files have such. */
static int load_id(struct tokenizer *t, const struct gguf *g, const char *name, int32_t fallback, int32_t *id,
    struct error *err)
{
    char key[64];
    snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", name);
    uint32_t value = 0;
    const struct gguf_pair *pair = gguf_find(g, key);
    *id = fallback < t->n_tokens ? fallback : -1;
    if (!pair || (pair->type == GGUF_INT32 && pair->i < 0))
        return 0;
    int rc = gguf_get_u32(g, key, 0, &value, err);
    if (rc)
        return rc;
    if (value < (uint32_t)t->n_tokens)
        *id = (int32_t)value;
    else
        log_warn("engine", "the model's '%s' is %u, outside its vocabulary: it is not used", key, value);
    return 0;
}

static int32_t find_id(const struct tokenizer *t, const char *text)
{
    const uint32_t *id = map_find(&t->ids, str_from(text));
    return id ? (int32_t)*id : -1;
}

static void mark_end(struct tokenizer *t, int32_t id)
{
    if (id >= 0)
        t->tokens[id].flags |= TOKEN_END;
}

static int load_ends(struct tokenizer *t, const struct gguf *g, struct error *err)
{
    static const char *const names[] = {"eot", "eom", "fim_pad", "fim_rep", "fim_sep"};
    mark_end(t, t->eos);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int32_t id;
        int rc = load_id(t, g, names[i], -1, &id, err);
        if (rc)
            return rc;
        mark_end(t, id);
    }
    return 0;
}

#define MARK "\xe2\x96\x81" /* U+2581 */
#define BAR_OPEN "<\xef\xbd\x9c"
#define BAR_CLOSE "\xef\xbd\x9c>"

/* Tokens whose text says what they are. */
static void mark_by_text(struct tokenizer *t)
{
    static const char *const ends[] = {"<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>",
        "<|calls|>", "<|flush|>", "<end_of_turn>", "<|endoftext|>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]",
        "[EOS]", "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>",
        BAR_OPEN "end" MARK "of" MARK "sentence" BAR_CLOSE, "[e~[", "<|fim_pad|>", "<fim-pad>", "<fim_pad>",
        "<PAD>", "[PAD]", "<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>",
        "<|file_sep|>"};
    static const char *const controls[] = {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<PRE>",
        "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<SUF>", "<|fim_middle|>", "<fim-middle>",
        "<fim_middle>", "<MID>", MARK "<PRE>", MARK "<SUF>", MARK "<MID>", "<|code_prefix|>",
        "<|code_suffix|>", "<|code_middle|>", "<|prefix|>", "<|suffix|>", "<|middle|>",
        BAR_OPEN "fim" MARK "begin" BAR_CLOSE, BAR_OPEN "fim" MARK "hole" BAR_CLOSE,
        BAR_OPEN "fim" MARK "end" BAR_CLOSE};
    static const char *const shown[] = {"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        int32_t id = find_id(t, ends[i]);
        if (id >= 0)
            t->tokens[id].flags |= TOKEN_END | TOKEN_CONTROL;
    }
    mark_end(t, find_id(t, "</s>"));
    for (size_t i = 0; i < sizeof controls / sizeof *controls; i++) {
        int32_t id = find_id(t, controls[i]);
        if (id >= 0)
            t->tokens[id].flags |= TOKEN_CONTROL;
    }
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        int32_t id = find_id(t, shown[i]);
        if (id >= 0)
            t->tokens[id].flags = TOKEN_USER_DEFINED;
    }
}

/* Formats in which a token that ends elsewhere goes on: the harmony format's <|end|> closes a channel, not
 * the turn; gemma4's </s> is plain text. */
static void unmark_ends(struct tokenizer *t)
{
    bool call = find_id(t, "<|call|>") >= 0 || find_id(t, "<|calls|>") >= 0;
    int32_t end = find_id(t, "<|end|>"), s = find_id(t, "</s>");
    if (end >= 0 && call && (find_id(t, "<|return|>") >= 0 || find_id(t, "<|flush|>") >= 0))
        t->tokens[end].flags = TOKEN_USER_DEFINED;
    if (s >= 0 && find_id(t, "<|tool_response>") >= 0)
        t->tokens[s].flags = TOKEN_NORMAL;
}

static bool contains(struct str text, const char *lower_part)
{
    size_t n = strlen(lower_part);
    for (size_t i = 0; i + n <= text.len; i++)
        if (strncasecmp(text.data + i, lower_part, n) == 0)
            return true;
    return false;
}

static void mark_strip(struct tokenizer *t, const char *text, uint16_t strip, bool on)
{
    int32_t id = find_id(t, text);
    if (id >= 0)
        t->tokens[id].flags = (uint16_t)(on ? t->tokens[id].flags | strip : t->tokens[id].flags & ~strip);
}

static void mark_phi3_strips(struct tokenizer *t)
{
    for (int32_t i = 0; i < t->n_tokens; i++)
        if (t->tokens[i].flags & (TOKEN_CONTROL | TOKEN_USER_DEFINED | TOKEN_UNKNOWN))
            t->tokens[i].flags |= TOKEN_RIGHT_STRIP;
    mark_strip(t, "</s>", TOKEN_RIGHT_STRIP, true);
    mark_strip(t, "<unk>", TOKEN_RIGHT_STRIP, false);
    mark_strip(t, "<s>", TOKEN_RIGHT_STRIP, false);
    mark_strip(t, "<|endoftext|>", TOKEN_RIGHT_STRIP, false);
}

/* The files do not say which tokens swallow white space: models are known by name. */
static int mark_strips(struct tokenizer *t, const struct gguf *g, struct error *err)
{
    struct str name, pre, architecture;
    int rc = gguf_get_str(g, "general.name", STR_NONE, &name, err);
    rc = rc ? rc : gguf_get_str(g, "tokenizer.ggml.pre", STR_NONE, &pre, err);
    rc = rc ? rc : gguf_get_str(g, "general.architecture", STR_NONE, &architecture, err);
    if (rc)
        return rc;
    if (contains(pre, "jina-v2-") || contains(architecture, "nomic-bert-moe") ||
        contains(architecture, "jina-bert-v3"))
        mark_strip(t, "<mask>", TOKEN_LEFT_STRIP, true);
    else if (contains(name, "phi-3") || contains(name, "phi3"))
        mark_phi3_strips(t);
    else if (contains(name, "modern-bert"))
        mark_strip(t, "[MASK]", TOKEN_LEFT_STRIP, true);
    return 0;
}

static int load_tokens(struct tokenizer *t, const struct gguf *g, struct error *err)
{
    struct gguf_array texts;
    int rc = gguf_get_array(g, "tokenizer.ggml.tokens", GGUF_STRING, &texts, err);
    if (rc)
        return rc;
    if (texts.count == 0 || texts.count > LIMIT_VOCABULARY)
        return error_set(err, ERROR_INVALID,
            "the vocabulary has %llu tokens, not 1 to %d: the model file is not usable",
            (unsigned long long)texts.count, LIMIT_VOCABULARY);
    t->n_tokens = (int32_t)texts.count;
    t->tokens = calloc((size_t)texts.count, sizeof *t->tokens);
    if (!t->tokens)
        return error_set(err, ERROR_MEMORY, "no memory for a vocabulary of %d tokens", t->n_tokens);
    rc = map_init(&t->ids, (size_t)texts.count, err);
    return rc ? rc : load_texts(t, &texts, err);
}

bool tokenizer_load_byte_tokens(struct tokenizer *t)
{
    bool all = true;
    for (unsigned byte = 0; byte < 256; byte++) {
        char spelling[8];
        snprintf(spelling, sizeof spelling, "<0x%02X>", byte);
        int32_t id = find_id(t, spelling);
        t->byte_symbols[byte] = id >= 0 ? (uint32_t)id : SYMBOL_NONE;
        all = all && id >= 0;
    }
    return all;
}

/* What stands for the beginning, the end and what is unknown, and where files do not say. BERT's files call
 * the first two by their names (and spell one so). */
static const struct special_keys {
    const char *bos, *eos;
    int bos_id, eos_id, unknown_id;
} special_keys[] = {
    [TOKENIZER_SPM] = {"bos", "eos", 1, 2, 0},
    [TOKENIZER_BPE] = {"bos", "eos", -1, -1, -1},
    [TOKENIZER_WPM] = {"cls", "seperator", -1, -1, -1},
    [TOKENIZER_UGM] = {"bos", "eos", -1, 1, 2},
};

static int load_flags(struct tokenizer *t, const struct gguf *g, struct error *err)
{
    bool space = t->kind == TOKENIZER_SPM || t->kind == TOKENIZER_WPM;
    int rc = gguf_get_bool(g, "tokenizer.ggml.add_bos_token", t->add_bos, &t->add_bos, err);
    rc = rc ? rc : gguf_get_bool(g, "tokenizer.ggml.add_eos_token", t->add_eos, &t->add_eos, err);
    rc = rc ? rc : gguf_get_bool(g, "tokenizer.ggml.add_space_prefix", space, &t->add_space_prefix, err);
    rc =
        rc ? rc
           : gguf_get_bool(g, "tokenizer.ggml.remove_extra_whitespaces", false, &t->remove_extra_spaces, err);
    rc = rc ? rc : gguf_get_bool(g, "tokenizer.ggml.normalizer.lowercase", true, &t->lowercase, err);
    rc = rc ? rc
            : gguf_get_bool(
                  g, "tokenizer.ggml.normalizer.strip_accents", t->lowercase, &t->strip_accents, err);
    t->add_bos = (t->add_bos || t->gemma) && t->bos >= 0;
    t->add_eos = t->add_eos && t->eos >= 0;
    return rc;
}

int tokenizer_vocab_load(struct tokenizer *t, const struct gguf *g, struct error *err)
{
    const struct special_keys *keys = &special_keys[t->kind];
    int rc = load_tokens(t, g, err);
    rc = rc ? rc : load_types(t, g, err);
    rc = rc ? rc : load_scores(t, g, err);
    rc = rc ? rc : load_id(t, g, keys->bos, keys->bos_id, &t->bos, err);
    rc = rc ? rc : load_id(t, g, keys->eos, keys->eos_id, &t->eos, err);
    rc = rc ? rc : load_id(t, g, "unknown", keys->unknown_id, &t->unknown, err);
    if (rc)
        return rc;
    mark_by_text(t);
    rc = load_ends(t, g, err);
    unmark_ends(t);
    rc = rc ? rc : mark_strips(t, g, err);
    return rc ? rc : load_flags(t, g, err);
}

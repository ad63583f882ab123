/* A GGUF file's tokenizer to tokenizer.json, tokenizer_config.json and, of pieces with scores,
 * tokenizer.model. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "train/files.h"
#include "train/hf/tokens.h"

struct vocabulary {
    const struct gguf *gguf;
    struct arena *arena;
    struct str *texts;
    int32_t *types;
    bool pieces;   /* spelled in pieces and bytes, not in letters for bytes */
    float *scores; /* of pieces; NULL: none */
    uint32_t n;
    int64_t bos, eos, unknown, padding; /* -1: none */
    bool add_bos, add_eos, space_prefix;
    struct map ids;
};

/* ---- Reading ---- */
static int id_read(const struct vocabulary *v, const char *key, int64_t *out, struct error *err)
{
    uint32_t id = 0;
    *out = -1;
    if (!gguf_find(v->gguf, key))
        return 0;
    int rc = gguf_get_u32(v->gguf, key, 0, &id, err);
    if (rc == 0 && id < v->n)
        *out = id;
    return rc;
}

static int flags_read(struct vocabulary *v, bool pieces, struct error *err)
{
    const struct gguf *g = v->gguf;
    int rc = id_read(v, "tokenizer.ggml.bos_token_id", &v->bos, err);
    rc = rc ? rc : id_read(v, "tokenizer.ggml.eos_token_id", &v->eos, err);
    rc = rc ? rc : id_read(v, "tokenizer.ggml.unknown_token_id", &v->unknown, err);
    rc = rc ? rc : id_read(v, "tokenizer.ggml.padding_token_id", &v->padding, err);
    rc = rc ? rc : gguf_get_bool(g, "tokenizer.ggml.add_bos_token", pieces && v->bos >= 0, &v->add_bos, err);
    rc = rc ? rc : gguf_get_bool(g, "tokenizer.ggml.add_eos_token", false, &v->add_eos, err);
    return rc ? rc : gguf_get_bool(g, "tokenizer.ggml.add_space_prefix", pieces, &v->space_prefix, err);
}

static int texts_read(struct vocabulary *v, struct error *err)
{
    struct gguf_array texts, types;
    size_t cursor = 0;
    int rc = gguf_get_array(v->gguf, "tokenizer.ggml.tokens", GGUF_STRING, &texts, err);
    rc = rc ? rc : gguf_get_array(v->gguf, "tokenizer.ggml.token_type", GGUF_INT32, &types, err);
    if (rc == 0 && (texts.count == 0 || texts.count > LIMIT_VOCABULARY || types.count != texts.count))
        rc = error_set(err, ERROR_INVALID, "the model has no vocabulary with a type for each token");
    if (rc)
        return rc;
    v->n = (uint32_t)texts.count;
    v->texts = arena_try_array(v->arena, struct str, v->n);
    v->types = arena_try_array(v->arena, int32_t, v->n);
    if (!v->texts || !v->types)
        return error_set(err, ERROR_MEMORY, "no memory for %u tokens", v->n);
    memcpy(v->types, types.data, v->n * sizeof *v->types);
    rc = map_init(&v->ids, v->n, err);
    for (uint32_t i = 0; i < v->n && rc == 0 && gguf_array_next(&texts, &cursor, &v->texts[i]); i++) {
        bool added;
        if (v->texts[i].len > LIMIT_TOKEN)
            return error_set(
                err, ERROR_LIMIT, "token %u has %zu bytes: %d are the most", i, v->texts[i].len, LIMIT_TOKEN);
        if (!str_utf8_valid(v->texts[i]))
            return error_set(
                err, ERROR_UNSUPPORTED, "token %u is not UTF-8: tokenizer.json cannot say it", i);
        rc = map_add(&v->ids, v->texts[i], i, &added, err);
    }
    return rc;
}

static int scores_read(struct vocabulary *v, struct error *err)
{
    struct gguf_array scores;
    int rc = gguf_get_array(v->gguf, "tokenizer.ggml.scores", GGUF_FLOAT32, &scores, err);
    if (rc == 0 && scores.count != v->n)
        rc = error_set(err, ERROR_INVALID, "the model has not a score for each token");
    if (rc)
        return rc;
    v->scores = arena_try_array(v->arena, float, v->n);
    if (!v->scores)
        return error_set(err, ERROR_MEMORY, "no memory for %u tokens", v->n);
    memcpy(v->scores, scores.data, v->n * sizeof *v->scores);
    for (uint32_t i = 0; i < v->n; i++)
        if (!isfinite(v->scores[i]))
            return error_set(err, ERROR_INVALID, "the score of token %u is no number: the file is broken", i);
    return 0;
}

/* ---- Merges of pieces: what two pieces can be joined to ---- */
struct merge {
    uint32_t left, right, piece;
    float score;
};

/* Better pieces first; of one piece the pairs in the order of their numbers, as the fast tokenizers have it.
 */
static int merge_compare(const void *a, const void *b)
{
    const struct merge *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    if (x->piece != y->piece)
        return x->piece < y->piece ? -1 : 1;
    if (x->left != y->left)
        return x->left < y->left ? -1 : 1;
    return (x->right > y->right) - (x->right < y->right);
}

struct merges {
    struct merge *list;
    size_t n, room;
};

static int merge_add(struct merges *m, struct merge merge, struct error *err)
{
    if (m->n == m->room) {
        m->room = m->room ? 2 * m->room : 1 << 14;
        struct merge *list = realloc(m->list, m->room * sizeof *list);
        if (!list)
            return error_set(err, ERROR_MEMORY, "no memory for merges");
        m->list = list;
    }
    m->list[m->n++] = merge;
    return 0;
}

static int merges_find(const struct vocabulary *v, struct merges *m, struct error *err)
{
    int rc = 0;
    for (uint32_t i = 0; i < v->n && rc == 0; i++) {
        const struct str text = v->texts[i];
        if (v->types[i] != HF_TOKEN_NORMAL)
            continue;
        for (size_t cut = 1; cut < text.len && rc == 0; cut++) {
            const uint32_t *left = map_find(&v->ids, str_slice(text, 0, cut));
            const uint32_t *right = left ? map_find(&v->ids, str_slice(text, cut, text.len)) : NULL;
            if (right)
                rc = merge_add(m, (struct merge){*left, *right, i, v->scores[i]}, err);
        }
    }
    if (m->n > 0)
        qsort(m->list, m->n, sizeof *m->list, merge_compare);
    return rc;
}

/* ---- tokenizer.json ---- */
static void pair_make(struct json_writer *w, struct str left, struct str right)
{
    json_array_begin(w);
    json_write_str(w, left);
    json_write_str(w, right);
    json_array_end(w);
}

static int merges_make(const struct vocabulary *v, struct json_writer *w, struct error *err)
{
    struct merges m = {0};
    struct gguf_array list = {0};
    struct str text;
    size_t cursor = 0;
    int rc = v->scores ? merges_find(v, &m, err)
                       : gguf_get_array(v->gguf, "tokenizer.ggml.merges", GGUF_STRING, &list, err);
    json_key(w, "merges");
    json_array_begin(w);
    for (size_t i = 0; i < m.n; i++)
        pair_make(w, v->texts[m.list[i].left], v->texts[m.list[i].right]);
    while (rc == 0 && !v->scores && gguf_array_next(&list, &cursor, &text)) {
        const size_t space = str_find_char(str_slice(text, 1, text.len), ' ');
        if (space == SIZE_MAX || !str_utf8_valid(text))
            rc = error_set(
                err, ERROR_INVALID, "a merge of the model's is no pair of texts: the file is broken");
        else
            pair_make(w, str_slice(text, 0, space + 1), str_slice(text, space + 2, text.len));
    }
    json_array_end(w);
    free(m.list);
    return rc;
}

/* A row of the embedding that has no token. */
static bool is_filler(const struct vocabulary *v, uint32_t i)
{
    char text[24];
    return v->types[i] == HF_TOKEN_UNUSED &&
           str_is(v->texts[i], (snprintf(text, sizeof text, "[PAD%u]", i), text));
}

static void vocab_make(const struct vocabulary *v, struct json_writer *w)
{
    json_key(w, "vocab");
    json_object_begin(w);
    for (uint32_t i = 0; i < v->n; i++)
        if (!is_filler(v, i) && v->types[i] != HF_TOKEN_USER &&
            (v->pieces || v->types[i] != HF_TOKEN_CONTROL)) {
            json_key_str(w, v->texts[i]);
            json_write_int(w, i);
        }
    json_object_end(w);
}

static void unigrams_make(const struct vocabulary *v, struct json_writer *w)
{
    json_key(w, "vocab");
    json_array_begin(w);
    for (uint32_t i = 0; i < v->n; i++) {
        json_array_begin(w);
        json_write_str(w, v->texts[i]);
        hf_write_float(w, v->scores[i]);
        json_array_end(w);
    }
    json_array_end(w);
}

static void text_make(struct json_writer *w, const char *key, const char *value)
{
    json_key_str(w, str_from(key));
    json_write_text(w, value);
}

static void bool_make(struct json_writer *w, const char *key, bool value)
{
    json_key_str(w, str_from(key));
    json_write_bool(w, value);
}

static void added_make(const struct vocabulary *v, struct json_writer *w)
{
    static const char *const no[] = {"single_word", "lstrip", "rstrip", "normalized"};
    json_key(w, "added_tokens");
    json_array_begin(w);
    for (uint32_t i = 0; i < v->n; i++) {
        const int32_t type = v->types[i];
        if (type != HF_TOKEN_CONTROL && type != HF_TOKEN_USER && type != HF_TOKEN_UNKNOWN)
            continue;
        json_object_begin(w);
        json_key(w, "id");
        json_write_int(w, i);
        json_key(w, "content");
        json_write_str(w, v->texts[i]);
        for (size_t k = 0; k < sizeof no / sizeof *no; k++)
            bool_make(w, no[k], false);
        bool_make(w, "special", type != HF_TOKEN_USER);
        json_object_end(w);
    }
    json_array_end(w);
}

/* A step that is a JSON text of ours. */
static void raw_make(struct json_writer *w, const char *key, const char *json)
{
    json_key_str(w, str_from(key));
    json_write_raw(w, str_from(json));
}

#define SPACES_TO_MARKS "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"}"
#define SPACES_END                                                                                           \
    "{\"type\":\"Split\",\"pattern\":{\"String\":\" "                                                        \
    "\"},\"behavior\":\"MergedWithPrevious\",\"invert\":false}"
#define MARKS_TO_SPACES "{\"type\":\"Replace\",\"pattern\":{\"String\":\"\xe2\x96\x81\"},\"content\":\" \"}"

static void pieces_steps_make(const struct vocabulary *v, bool unigram, struct json_writer *w)
{
    if (unigram) {
        raw_make(w, "normalizer", "null");
        raw_make(w, "pre_tokenizer",
            v->space_prefix ? "{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":"
                              "\"always\",\"split\":true}"
                            : "{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":"
                              "\"never\",\"split\":true}");
    } else {
        raw_make(w, "normalizer",
            v->space_prefix ? "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"
                              "\"\xe2\x96\x81\"}," SPACES_TO_MARKS "]}"
                            : SPACES_TO_MARKS);
        raw_make(w, "pre_tokenizer", v->scores ? "null" : SPACES_END);
    }
    raw_make(w, "decoder",
        v->space_prefix ? "{\"type\":\"Sequence\",\"decoders\":[" MARKS_TO_SPACES
                          ",{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":"
                          "\" \",\"start\":1,\"stop\":0}]}"
                        : "{\"type\":\"Sequence\",\"decoders\":[" MARKS_TO_SPACES
                          ",{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]}");
}

static void special_make(struct json_writer *w, struct str text)
{
    json_object_begin(w);
    json_key(w, "SpecialToken");
    json_object_begin(w);
    json_key(w, "id");
    json_write_str(w, text);
    json_key(w, "type_id");
    json_write_int(w, 0);
    json_object_end(w);
    json_object_end(w);
}

static void template_make(const struct vocabulary *v, const char *key, bool pair, struct json_writer *w)
{
    json_key_str(w, str_from(key));
    json_array_begin(w);
    for (int i = 0; i <= pair; i++) {
        if (v->add_bos && v->bos >= 0)
            special_make(w, v->texts[v->bos]);
        json_write_raw(w, i == 0 ? STR("{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}")
                                 : STR("{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}"));
        if (v->add_eos && v->eos >= 0)
            special_make(w, v->texts[v->eos]);
    }
    json_array_end(w);
}

static void special_ids_make(const struct vocabulary *v, int64_t id, struct json_writer *w)
{
    json_key_str(w, v->texts[id]);
    json_object_begin(w);
    json_key(w, "id");
    json_write_str(w, v->texts[id]);
    json_key(w, "ids");
    json_array_begin(w);
    json_write_int(w, id);
    json_array_end(w);
    json_key(w, "tokens");
    json_array_begin(w);
    json_write_str(w, v->texts[id]);
    json_array_end(w);
    json_object_end(w);
}

static void post_make(const struct vocabulary *v, struct json_writer *w)
{
    const bool bos = v->add_bos && v->bos >= 0, eos = v->add_eos && v->eos >= 0;
    json_key(w, "post_processor");
    if (!bos && !eos) {
        json_write_null(w);
        return;
    }
    json_object_begin(w);
    text_make(w, "type", "TemplateProcessing");
    template_make(v, "single", false, w);
    template_make(v, "pair", true, w);
    json_key(w, "special_tokens");
    json_object_begin(w);
    if (bos)
        special_ids_make(v, v->bos, w);
    if (eos && !(bos && v->eos == v->bos))
        special_ids_make(v, v->eos, w);
    json_object_end(w);
    json_object_end(w);
}

/* By its number, or else its type; -1: there is none. */
static int64_t unknown_find(const struct vocabulary *v)
{
    uint32_t i = 0;
    while (v->unknown < 0 && i < v->n && v->types[i] != HF_TOKEN_UNKNOWN)
        i++;
    return v->unknown >= 0 ? v->unknown : i < v->n ? (int64_t)i : -1;
}

static int model_make(
    const struct vocabulary *v, bool unigram, bool ignore_merges, struct json_writer *w, struct error *err)
{
    int rc = 0;
    json_key(w, "model");
    json_object_begin(w);
    text_make(w, "type", unigram ? "Unigram" : "BPE");
    if (unigram) {
        json_key(w, "unk_id");
        json_write_int(w, v->unknown < 0 ? 0 : v->unknown);
        bool_make(w, "byte_fallback", map_find(&v->ids, STR("<0x00>")) != NULL);
        unigrams_make(v, w);
    } else {
        json_key(w, "unk_token");
        const int64_t unknown = v->pieces ? unknown_find(v) : -1;
        if (unknown >= 0)
            json_write_str(w, v->texts[unknown]);
        else
            json_write_null(w);
        bool_make(w, "fuse_unk", v->pieces);
        bool_make(w, "byte_fallback", v->pieces);
        bool_make(w, "ignore_merges", ignore_merges);
        vocab_make(v, w);
        rc = merges_make(v, w, err);
    }
    json_object_end(w);
    return rc;
}

static int json_make(
    const struct vocabulary *v, bool unigram, struct str pre, struct buf *out, struct error *err)
{
    struct json_writer w;
    bool ignore_merges = false;
    int rc = 0;
    json_writer_init(&w, out);
    json_object_begin(&w);
    text_make(&w, "version", "1.0");
    raw_make(&w, "truncation", "null");
    raw_make(&w, "padding", "null");
    added_make(v, &w);
    if (v->pieces) {
        pieces_steps_make(v, unigram, &w);
    } else {
        raw_make(&w, "normalizer", "null");
        json_key(&w, "pre_tokenizer");
        rc = hf_pre_make(pre, &ignore_merges, &w, err);
        raw_make(&w, "decoder", "{\"type\":\"ByteLevel\"}");
    }
    post_make(v, &w);
    rc = rc ? rc : model_make(v, unigram, ignore_merges, &w, err);
    json_object_end(&w);
    buf_append_char(out, '\n');
    return rc;
}

/* ---- tokenizer_config.json ---- */
static void token_make(const struct vocabulary *v, const char *key, int64_t id, struct json_writer *w)
{
    if (id < 0)
        return;
    json_key_str(w, str_from(key));
    json_write_str(w, v->texts[id]);
}

static void named_make(struct str name, struct str text, struct json_writer *w)
{
    json_object_begin(w);
    json_member_str(w, "name", name);
    json_member_str(w, "template", text);
    json_object_end(w);
}

/* One, or a list of it and those for other uses ("tool_use"). */
static int templates_make(const struct vocabulary *v, struct json_writer *w, struct error *err)
{
    struct str text, name;
    struct gguf_array names;
    size_t at = 0;
    int rc = gguf_get_str(v->gguf, "tokenizer.chat_template", STR_NONE, &text, err);
    rc = rc ? rc : gguf_get_array(v->gguf, "tokenizer.chat_templates", GGUF_STRING, &names, err);
    if (rc || (text.len == 0 && names.count == 0))
        return rc;
    json_key(w, "chat_template");
    if (names.count == 0) {
        json_write_str(w, text);
        return 0;
    }
    json_array_begin(w);
    if (text.len > 0)
        named_make(STR("default"), text, w);
    while (rc == 0 && gguf_array_next(&names, &at, &name)) {
        char key[128];
        snprintf(key, sizeof key, "tokenizer.chat_template." STR_FMT, STR_ARG(str_slice(name, 0, 64)));
        rc = gguf_get_str(v->gguf, key, STR_NONE, &text, err);
        if (rc == 0 && text.len > 0)
            named_make(name, text, w);
    }
    json_array_end(w);
    return rc;
}

static int settings_make(const struct vocabulary *v, struct buf *out, struct error *err)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_object_begin(&w);
    text_make(&w, "tokenizer_class", v->scores ? "LlamaTokenizerFast" : "PreTrainedTokenizerFast");
    token_make(v, "bos_token", v->bos, &w);
    token_make(v, "eos_token", v->eos, &w);
    token_make(v, "unk_token", v->unknown, &w);
    token_make(v, "pad_token", v->padding, &w);
    bool_make(&w, "add_bos_token", v->add_bos);
    bool_make(&w, "add_eos_token", v->add_eos);
    bool_make(&w, "clean_up_tokenization_spaces", false);
    int rc = templates_make(v, &w, err);
    json_object_end(&w);
    buf_append_char(out, '\n');
    return rc;
}

/* ---- generation_config.json ---- */
static int end_make(const struct vocabulary *v, const char *key, struct json_writer *w, struct error *err)
{
    int64_t id;
    int rc = id_read(v, key, &id, err);
    if (rc == 0 && id >= 0)
        json_write_int(w, id);
    return rc;
}

static int generation_make(const struct vocabulary *v, struct buf *out, struct error *err)
{
    static const struct {
        const char *theirs, *ours;
    } rows[] = {{"top_p", "general.sampling.top_p"}, {"min_p", "general.sampling.min_p"},
        {"temperature", "general.sampling.temp"}, {"repetition_penalty", "general.sampling.penalty_repeat"}};
    struct json_writer w;
    uint32_t top_k = 0;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_key(&w, "eos_token_id");
    json_array_begin(&w);
    int rc = end_make(v, "tokenizer.ggml.eos_token_id", &w, err);
    rc = rc ? rc : end_make(v, "tokenizer.ggml.eot_token_id", &w, err);
    rc = rc ? rc : end_make(v, "tokenizer.ggml.eom_token_id", &w, err);
    json_array_end(&w);
    rc = rc ? rc : gguf_get_u32(v->gguf, "general.sampling.top_k", 0, &top_k, err);
    if (gguf_find(v->gguf, "general.sampling.top_k")) {
        json_key(&w, "top_k");
        json_write_int(&w, top_k);
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows && rc == 0; i++) {
        float value = 0;
        rc = gguf_get_f32(v->gguf, rows[i].ours, 0, &value, err);
        if (rc == 0 && gguf_find(v->gguf, rows[i].ours)) {
            json_key_str(&w, str_from(rows[i].theirs));
            hf_write_float(&w, value);
        }
    }
    json_object_end(&w);
    buf_append_char(out, '\n');
    return rc;
}

/* ---- The files ---- */
static int file_make(
    const struct vocabulary *v, const char *folder, const char *name, const struct buf *b, struct error *err)
{
    return file_put(arena_printf(v->arena, "%s/%s", folder, name).data, b, err);
}

static int files_make(struct vocabulary *v, const char *folder, struct error *err)
{
    struct str model, pre;
    struct buf b;
    int rc = gguf_get_str(v->gguf, "tokenizer.ggml.model", STR_NONE, &model, err);
    rc = rc ? rc : gguf_get_str(v->gguf, "tokenizer.ggml.pre", STR("default"), &pre, err);
    const bool unigram = str_is(model, "t5"), scored = unigram || str_is(model, "llama");
    v->pieces = scored || str_is(model, "gemma4");
    if (rc == 0 && !v->pieces && !str_is(model, "gpt2"))
        rc = error_set(err, ERROR_UNSUPPORTED,
            "the model's tokenizer '" STR_FMT "' cannot be exported: llama, gpt2, gemma4 and t5 can",
            STR_ARG(str_slice(model, 0, 40)));
    rc = rc ? rc : texts_read(v, err);
    rc = rc ? rc : flags_read(v, scored, err);
    rc = rc || !scored ? rc : scores_read(v, err);
    if (rc == 0 && unigram && gguf_find(v->gguf, "tokenizer.ggml.precompiled_charsmap"))
        rc = error_set(
            err, ERROR_UNSUPPORTED, "the model's 'tokenizer.ggml.precompiled_charsmap' cannot be exported");
    buf_init(&b, GIB);
    rc = rc ? rc : json_make(v, unigram, pre, &b, err);
    rc = rc ? rc : file_make(v, folder, "tokenizer.json", &b, err);
    buf_clear(&b);
    rc = rc ? rc : settings_make(v, &b, err);
    rc = rc ? rc : file_make(v, folder, "tokenizer_config.json", &b, err);
    buf_clear(&b);
    rc = rc ? rc : generation_make(v, &b, err);
    rc = rc ? rc : file_make(v, folder, "generation_config.json", &b, err);
    buf_clear(&b);
    rc = rc || !scored ? rc : hf_pieces_make(v->gguf, unigram, &b, err);
    rc = rc || !scored ? rc : file_make(v, folder, "tokenizer.model", &b, err);
    buf_free(&b);
    return rc;
}

int hf_tokens_make(const struct gguf *g, const char *folder, struct error *err)
{
    struct vocabulary v = {.gguf = g, .arena = arena_create(2 * GIB)};
    int rc = files_make(&v, folder, err);
    map_free(&v.ids);
    arena_free(v.arena);
    return rc;
}

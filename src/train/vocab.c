#include "train/vocab.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/map.h"
#include "base/must.h"
#include "engine/worker/model_sample.h"
#include "engine/worker/tokenizer_inner.h"

#define TEXT_MEMORY (2 * GIB)
#define PRE "qwen2"
/* Longer words are not counted: no token is worth so many bytes. */
enum { TYPE_NORMAL = 1, TYPE_CONTROL = 3, WORDS_MAX = 1 << 26, WORD_BYTES_MAX = 128 };

/* A distinct word: its symbols are symbols[start .. start + length) and shrink as pairs are joined. */
struct word {
    uint32_t start, length;
    int64_t count;
};

/* A pair of neighbours: how often it occurs, and in which words it did at some time. */
struct pair {
    uint64_t key; /* left << 32 | right */
    int64_t count;
    uint32_t *words;
    uint32_t n_words, room;
    int32_t joined; /* the token that it becomes; 0: none yet */
};

struct vocab {
    struct arena *arena;
    struct tokenizer pre; /* only its pre-tokenizer is used */
    struct map words;     /* text -> index */
    struct word *list;
    size_t n_words, room_words;
    int32_t *symbols;
    size_t n_symbols, room_symbols;
    struct pair *pairs; /* open addressing; key UINT64_MAX: empty */
    size_t n_pairs, pair_slots;
    struct str *texts; /* of tokens, as the file spells them */
    struct map ids;    /* the same, text -> token */
    struct str *merges;
    size_t n_merges, room_merges;
    int32_t n_tokens;
};

#define KEY_NONE UINT64_MAX

int vocab_create(struct vocab **out, struct error *err)
{
    struct vocab *v = *out = must(calloc(1, sizeof *v));
    v->arena = arena_create(TEXT_MEMORY);
    int rc = map_init(&v->words, 1 << 12, err);
    rc = rc ? rc : map_init(&v->ids, 1 << 12, err);
    return rc ? rc : tokenizer_pre_create(&v->pre, STR(PRE), err);
}

void vocab_free(struct vocab *v)
{
    if (!v)
        return;
    for (size_t i = 0; i < v->pair_slots; i++)
        free(v->pairs[i].words);
    free(v->pairs);
    free(v->list);
    free(v->symbols);
    free(v->merges);
    map_free(&v->words);
    map_free(&v->ids);
    tokenizer_pre_free(v->pre.pre);
    arena_free(v->arena);
    free(v);
}

/* ---- Words ---- */

/* `array` with room for one more. */
static void *grown(void *array, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return array;
    *room = *room ? 2 * *room : 1024;
    return must(realloc(array, *room * size));
}

static int word_count(void *ctx, struct str word, struct error *err)
{
    struct vocab *v = ctx;
    uint32_t *known = map_find(&v->words, word);
    bool added;
    if (word.len > WORD_BYTES_MAX)
        return 0;
    if (known) {
        v->list[*known].count++;
        return 0;
    }
    if (v->n_words == WORDS_MAX || arena_try_copy(v->arena, word, &word))
        return error_set(
            err, ERROR_LIMIT, "the data have too many different words for a tokenizer: use less of them");
    v->list = grown(v->list, v->n_words, &v->room_words, sizeof *v->list);
    v->list[v->n_words] = (struct word){(uint32_t)v->n_symbols, (uint32_t)word.len, 1};
    for (size_t i = 0; i < word.len; i++) {
        v->symbols = grown(v->symbols, v->n_symbols, &v->room_symbols, sizeof *v->symbols);
        v->symbols[v->n_symbols++] = VOCAB_SPECIALS + (unsigned char)word.data[i];
    }
    return map_add(&v->words, word, (uint32_t)v->n_words++, &added, err);
}

int vocab_add(struct vocab *v, struct str text, struct error *err)
{
    const struct tokenizer_word_sink sink = {word_count, v};
    return tokenizer_pre_split(v->pre.pre, text, sink, err);
}

/* ---- Pairs ---- */
static struct pair *pair_slot(const struct vocab *v, uint64_t key)
{
    size_t slot = (size_t)(key * 0x9E3779B97F4A7C15u >> 20) & (v->pair_slots - 1);
    while (v->pairs[slot].key != key && v->pairs[slot].key != KEY_NONE)
        slot = (slot + 1) & (v->pair_slots - 1);
    return &v->pairs[slot];
}

static void pairs_grow(struct vocab *v)
{
    struct pair *old = v->pairs;
    const size_t n = v->pair_slots;
    v->pair_slots = n ? 2 * n : 1 << 12;
    v->pairs = must(malloc(v->pair_slots * sizeof *v->pairs));
    for (size_t i = 0; i < v->pair_slots; i++)
        v->pairs[i] = (struct pair){.key = KEY_NONE};
    for (size_t i = 0; i < n; i++)
        if (old[i].key != KEY_NONE)
            *pair_slot(v, old[i].key) = old[i];
    free(old);
}

static void pair_change(struct vocab *v, int32_t left, int32_t right, int64_t by, uint32_t word)
{
    const uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    if (2 * v->n_pairs >= v->pair_slots)
        pairs_grow(v);
    struct pair *p = pair_slot(v, key);
    if (p->key == KEY_NONE) {
        *p = (struct pair){.key = key};
        v->n_pairs++;
    }
    p->count += by;
    if (by < 0 || (p->n_words > 0 && p->words[p->n_words - 1] == word))
        return;
    if (p->n_words == p->room) {
        p->room = p->room ? 2 * p->room : 4;
        p->words = must(realloc(p->words, p->room * sizeof *p->words));
    }
    p->words[p->n_words++] = word;
}

static struct pair *pair_best(const struct vocab *v)
{
    struct pair *best = NULL;
    for (size_t i = 0; i < v->pair_slots; i++) {
        struct pair *p = &v->pairs[i];
        if (p->key != KEY_NONE && p->count > 1 &&
            (!best || p->count > best->count || (p->count == best->count && p->key < best->key)))
            best = p;
    }
    return best;
}

/* Joins the pair wherever it stands in the word, and counts its neighbours anew. */
static void word_join(struct vocab *v, uint32_t index, int32_t left, int32_t right, int32_t joined)
{
    struct word *w = &v->list[index];
    int32_t *s = v->symbols + w->start;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->length; i++) {
        if (i + 1 == w->length || s[i] != left || s[i + 1] != right) {
            s[kept++] = s[i];
            continue;
        }
        if (kept > 0) {
            pair_change(v, s[kept - 1], left, -w->count, index);
            pair_change(v, s[kept - 1], joined, w->count, index);
        }
        if (i + 2 < w->length) {
            pair_change(v, right, s[i + 2], -w->count, index);
            pair_change(v, joined, s[i + 2], w->count, index);
        }
        s[kept++] = joined;
        i++;
    }
    w->length = kept;
}

/* ---- Learning ---- */
static struct str byte_spell(struct vocab *v, int byte)
{
    char text[4];
    return arena_copy(
        v->arena, (struct str){text, str_utf8_encode(tokenizer_byte_char((uint8_t)byte), text)});
}

static int token_add(struct vocab *v, struct str text, struct error *err)
{
    bool added;
    v->texts[v->n_tokens] = text;
    return map_add(&v->ids, text, (uint32_t)v->n_tokens++, &added, err);
}

static int begin(struct vocab *v, int32_t most, struct error *err)
{
    static const char *const specials[VOCAB_SPECIALS] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    int rc = 0;
    v->texts = arena_alloc(v->arena, (size_t)most * sizeof *v->texts);
    for (int i = 0; i < VOCAB_SPECIALS && rc == 0; i++)
        rc = token_add(v, str_from(specials[i]), err);
    for (int byte = 0; byte < 256 && rc == 0; byte++)
        rc = token_add(v, byte_spell(v, byte), err);
    for (size_t i = 0; i < v->n_words; i++)
        for (uint32_t j = 0; j + 1 < v->list[i].length; j++) {
            const int32_t *s = v->symbols + v->list[i].start + j;
            pair_change(v, s[0], s[1], v->list[i].count, (uint32_t)i);
        }
    return rc;
}

/* The token of a pair: a new one, unless other merges led to the same text before. */
static int pair_token(struct vocab *v, struct pair *p, struct error *err)
{
    const struct str a = v->texts[p->key >> 32], b = v->texts[(uint32_t)p->key];
    const struct str text = arena_printf(v->arena, STR_FMT STR_FMT, STR_ARG(a), STR_ARG(b));
    const uint32_t *known = map_find(&v->ids, text);
    if (p->joined > 0)
        return 0;
    p->joined = known ? (int32_t)*known : v->n_tokens;
    v->merges = grown(v->merges, v->n_merges, &v->room_merges, sizeof *v->merges);
    v->merges[v->n_merges++] = arena_printf(v->arena, STR_FMT " " STR_FMT, STR_ARG(a), STR_ARG(b));
    return known ? 0 : token_add(v, text, err);
}

int vocab_learn(struct vocab *v, int32_t most, struct error *err)
{
    if (most < VOCAB_FIRST_MERGE)
        return error_set(err, ERROR_INVALID, "a vocabulary has at least %d tokens", VOCAB_FIRST_MERGE);
    int rc = begin(v, most, err);
    for (struct pair *best; rc == 0 && v->n_tokens < most && (best = pair_best(v)) != NULL;) {
        rc = pair_token(v, best, err);
        const struct pair taken = *best; /* joining may move the table */
        best->words = NULL;
        best->n_words = best->room = 0;
        for (uint32_t i = 0; i < taken.n_words; i++)
            word_join(
                v, taken.words[i], (int32_t)(taken.key >> 32), (int32_t)(uint32_t)taken.key, taken.joined);
        pair_slot(v, taken.key)->count = 0;
        free(taken.words);
    }
    if (rc == 0 && v->n_merges == 0)
        rc = error_set(err, ERROR_INVALID,
            "the data repeat no two bytes, so that no tokenizer can be learned from them: use more data, or "
            "another model's tokenizer ('tokenizer: FILE.gguf')");
    return rc;
}

void vocab_write(const struct vocab *v, struct gguf_writer *w)
{
    int32_t *types = must(calloc((size_t)v->n_tokens, sizeof *types));
    for (int32_t i = 0; i < v->n_tokens; i++)
        types[i] = i < VOCAB_SPECIALS ? TYPE_CONTROL : TYPE_NORMAL;
    gguf_write_str(w, "tokenizer.ggml.model", STR("gpt2"));
    gguf_write_str(w, "tokenizer.ggml.pre", STR(PRE));
    gguf_write_strs(w, "tokenizer.ggml.tokens", v->texts, (size_t)v->n_tokens);
    gguf_write_array(w, "tokenizer.ggml.token_type", GGUF_INT32, types, (size_t)v->n_tokens);
    gguf_write_strs(w, "tokenizer.ggml.merges", v->merges, v->n_merges);
    gguf_write_u32(w, "tokenizer.ggml.bos_token_id", 0);
    gguf_write_u32(w, "tokenizer.ggml.eos_token_id", 2);
    gguf_write_bool(w, "tokenizer.ggml.add_bos_token", false);
    gguf_write_str(w, "tokenizer.chat_template", str_from(model_sample_default().chat_template));
    free(types);
}

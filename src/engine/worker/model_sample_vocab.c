/* A vocabulary of any size: bytes, common words with all their beginnings, then made-up syllables. Every
 * piece is a shorter piece and one more letter, so that both kinds of tokenizer can reach it. */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/limits.h"
#include "base/map.h"
#include "engine/worker/gguf_write.h"
#include "engine/worker/model_sample.h"
#include "engine/worker/tokenizer_inner.h"

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN = 2, TYPE_CONTROL = 3, TYPE_BYTE = 6 };

struct vocab {
    struct arena *arena;
    bool spm;
    uint32_t limit;
    uint32_t count;
    struct str *texts;
    float *scores;
    int32_t *types;
    struct str *merges;
    uint32_t n_merges;
    struct map known;
};

static int add(struct vocab *v, struct str text, int32_t type, struct error *err)
{
    bool added = false;
    if (v->count == v->limit)
        return 0;
    int rc = map_add(&v->known, text, v->count, &added, err);
    if (rc || !added)
        return rc;
    v->scores[v->count] = type == TYPE_NORMAL ? -(float)v->count : 0;
    v->types[v->count] = type;
    v->texts[v->count++] = text;
    return 0;
}

/* A piece of plain text, spelled as the tokenizer does it. */
static struct str spell(struct vocab *v, struct str plain)
{
    char spelled[64];
    size_t n = 0;
    for (size_t i = 0; i < plain.len; i++) {
        uint32_t c = (unsigned char)plain.data[i];
        if (v->spm)
            c = c == ' ' ? 0x2581 : c;
        else
            c = tokenizer_byte_char((uint8_t)c);
        n += str_utf8_encode(c, spelled + n);
    }
    return arena_copy(v->arena, (struct str){spelled, n});
}

/* Adds a piece (at most 12 letters) whose beginning is known. */
static int add_piece(struct vocab *v, struct str plain, struct error *err)
{
    uint32_t before = v->count;
    struct str whole = spell(v, plain);
    int rc = add(v, whole, TYPE_NORMAL, err);
    if (rc || v->count == before || plain.len < 2 || v->spm)
        return rc;
    struct str left = spell(v, str_slice(plain, 0, plain.len - 1));
    struct str right = spell(v, str_slice(plain, plain.len - 1, plain.len));
    v->merges[v->n_merges++] = arena_printf(v->arena, STR_FMT " " STR_FMT, STR_ARG(left), STR_ARG(right));
    return 0;
}

static int add_words(struct vocab *v, struct error *err)
{
    struct str words =
        STR("the of and to in is you that it he was for on are as with his they at be this have from "
            "or one had by word but not what all were we when your can said there use an each which "
            "she do how their if will up other about out many then them these so some her would make "
            "like him into time has look two more write go see number no way could people my than "
            "first water been call who oil its now find long down day did get come made may part "
            "hello world user assistant system model answer question");
    int rc = 0;
    for (struct str word; rc == 0 && str_split(&words, ' ', &word);) {
        char plain[16] = " ";
        memcpy(plain + 1, word.data, word.len);
        for (size_t n = 2; n <= word.len + 1 && rc == 0; n++)
            rc = add_piece(v, (struct str){plain, n}, err);
        for (size_t n = 2; n <= word.len && rc == 0; n++)
            rc = add_piece(v, str_slice(word, 0, n), err);
    }
    return rc;
}

/* aa ab ... zz aaa ... zzzz until the vocabulary is full. */
static int add_syllables(struct vocab *v, struct error *err)
{
    int rc = 0;
    for (size_t length = 2; length <= 6 && rc == 0; length++) {
        char text[8];
        uint64_t count = 1;
        for (size_t i = 0; i < length; i++)
            count *= 26;
        for (uint64_t n = 0; n < count && rc == 0 && v->count < v->limit; n++) {
            uint64_t rest = n;
            for (size_t i = length; i-- > 0; rest /= 26)
                text[i] = (char)('a' + rest % 26);
            rc = add_piece(v, (struct str){text, length}, err);
        }
    }
    return rc;
}

static int fill_spm(struct vocab *v, struct error *err)
{
    int rc = add(v, STR("<unk>"), TYPE_UNKNOWN, err);
    rc = rc ? rc : add(v, STR("<s>"), TYPE_CONTROL, err);
    rc = rc ? rc : add(v, STR("</s>"), TYPE_CONTROL, err);
    for (unsigned byte = 0; byte < 256 && rc == 0; byte++)
        rc = add(v, arena_printf(v->arena, "<0x%02X>", byte), TYPE_BYTE, err);
    rc = rc ? rc : add(v, STR("<|im_start|>"), TYPE_CONTROL, err);
    rc = rc ? rc : add(v, STR("<|im_end|>"), TYPE_CONTROL, err);
    for (char c = ' '; c <= '~' && rc == 0; c++)
        rc = add_piece(v, (struct str){&c, 1}, err);
    return rc;
}

static int fill_bpe(struct vocab *v, struct error *err)
{
    int rc = 0;
    for (int byte = 0; byte < 256 && rc == 0; byte++) {
        char c = (char)byte;
        rc = add_piece(v, (struct str){&c, 1}, err);
    }
    rc = rc ? rc : add(v, STR("<|endoftext|>"), TYPE_CONTROL, err);
    rc = rc ? rc : add(v, STR("<|im_start|>"), TYPE_CONTROL, err);
    return rc ? rc : add(v, STR("<|im_end|>"), TYPE_CONTROL, err);
}

static void write_keys(const struct model_sample *s, const struct vocab *v, struct gguf_writer *w)
{
    uint32_t end = *map_find(&v->known, STR("<|im_end|>"));
    gguf_write_str(w, "tokenizer.ggml.model", str_from(s->tokenizer));
    gguf_write_str(w, "tokenizer.ggml.pre", v->spm ? STR("default") : str_from(s->pre));
    gguf_write_strs(w, "tokenizer.ggml.tokens", v->texts, v->count);
    gguf_write_array(w, "tokenizer.ggml.token_type", GGUF_INT32, v->types, v->count);
    if (v->spm) {
        gguf_write_array(w, "tokenizer.ggml.scores", GGUF_FLOAT32, v->scores, v->count);
        gguf_write_u32(w, "tokenizer.ggml.unknown_token_id", 0);
    } else {
        gguf_write_strs(w, "tokenizer.ggml.merges", v->merges, v->n_merges);
    }
    gguf_write_u32(w, "tokenizer.ggml.bos_token_id", v->spm ? 1 : *map_find(&v->known, STR("<|endoftext|>")));
    gguf_write_u32(w, "tokenizer.ggml.eos_token_id", end);
    gguf_write_bool(w, "tokenizer.ggml.add_bos_token", v->spm);
    if (s->chat_template)
        gguf_write_str(w, "tokenizer.chat_template", str_from(s->chat_template));
}

int model_sample_vocab(const struct model_sample *s, struct gguf_writer *w, struct error *err)
{
    struct vocab v = {.spm = strcmp(s->tokenizer, "llama") == 0, .limit = s->n_vocab};
    if (!v.spm && strcmp(s->tokenizer, "gpt2") != 0)
        return error_set(
            err, ERROR_INVALID, "tokenizer '%s' is not known: choose llama or gpt2", s->tokenizer);
    if (s->n_vocab < 360 || s->n_vocab > (1u << 20))
        return error_set(err, ERROR_INVALID,
            "a vocabulary of %u tokens cannot be made: choose 360 to 1048576", s->n_vocab);
    v.arena = arena_create(4 * GIB);
    v.texts = arena_try_array(v.arena, struct str, s->n_vocab);
    v.merges = arena_try_array(v.arena, struct str, s->n_vocab);
    v.scores = arena_try_array(v.arena, float, s->n_vocab);
    v.types = arena_try_array(v.arena, int32_t, s->n_vocab);
    int rc = v.texts && v.merges && v.scores && v.types
                 ? map_init(&v.known, s->n_vocab, err)
                 : error_set(err, ERROR_MEMORY, "no memory for a vocabulary");
    if (rc == 0)
        rc = v.spm ? fill_spm(&v, err) : fill_bpe(&v, err);
    static const char *const marks[] = {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"};
    for (size_t i = 0; i < 3 && rc == 0 && s->fim; i++)
        rc = add(&v, str_from(marks[i]), TYPE_CONTROL, err);
    rc = rc ? rc : add_words(&v, err);
    rc = rc ? rc : add_syllables(&v, err);
    if (rc == 0)
        write_keys(s, &v, w);
    map_free(&v.known);
    arena_free(v.arena);
    return rc;
}

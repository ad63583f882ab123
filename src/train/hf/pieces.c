/* tokenizer.model, SentencePiece's protocol buffer:
 *
 *   ModelProto       1: SentencePiece, repeated   2: TrainerSpec   3: NormalizerSpec
 *   SentencePiece    1: piece, text   2: score, float   3: type, as hf_token counts them (default NORMAL)
 *   TrainerSpec      3: model_type (1 unigram, 2 BPE)   4: vocab_size   35: byte_fallback
 *   NormalizerSpec   1: name   3: add_dummy_prefix   4: remove_extra_whitespaces   5: escape_whitespaces */
#include <math.h>
#include <string.h>

#include "base/limits.h"
#include "train/hf/tokens.h"

enum { WIRE_NUMBER = 0, WIRE_EIGHT = 1, WIRE_BYTES = 2, WIRE_FOUR = 5 };
enum { UNIGRAM = 1, BPE = 2 };

/* ---- Reading: a field at a time ---- */
struct field {
    uint64_t number; /* the field's */
    uint64_t value;  /* of a number, or the bits of four or eight bytes */
    struct str bytes;
};

static bool varint_take(struct str *s, uint64_t *out)
{
    *out = 0;
    for (int shift = 0; shift < 64 && s->len > 0; shift += 7) {
        const uint8_t byte = (uint8_t)s->data[0];
        *s = str_slice(*s, 1, s->len);
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

static bool field_take(struct str *s, struct field *f)
{
    uint64_t tag, len;
    *f = (struct field){0};
    if (!varint_take(s, &tag))
        return false;
    f->number = tag >> 3;
    switch (tag & 7) {
    case WIRE_NUMBER:
        return varint_take(s, &f->value);
    case WIRE_BYTES:
        if (!varint_take(s, &len) || len > s->len)
            return false;
        f->bytes = str_slice(*s, 0, (size_t)len);
        break;
    case WIRE_FOUR:
    case WIRE_EIGHT:
        len = (tag & 7) == WIRE_FOUR ? 4 : 8;
        if (len > s->len)
            return false;
        memcpy(&f->value, s->data, (size_t)len);
        break;
    default:
        return false;
    }
    *s = str_slice(*s, (size_t)len, s->len);
    return true;
}

static int broken(struct error *err)
{
    return error_set(
        err, ERROR_INVALID, "tokenizer.model is no SentencePiece model, or broken: fetch it again");
}

static int piece_read(struct str message, struct hf_tokens *t, int64_t id, struct error *err)
{
    struct field f;
    t->types[id] = HF_TOKEN_NORMAL;
    while (message.len > 0) {
        if (!field_take(&message, &f))
            return broken(err);
        const uint32_t bits = (uint32_t)f.value;
        if (f.number == 1)
            t->texts[id] = f.bytes;
        else if (f.number == 2)
            memcpy(&t->scores[id], &bits, sizeof bits);
        else if (f.number == 3 && f.value >= HF_TOKEN_NORMAL && f.value <= HF_TOKEN_BYTE)
            t->types[id] = (int32_t)f.value;
        else if (f.number == 3)
            return broken(err);
    }
    if (!str_utf8_valid(t->texts[id]) || t->texts[id].len > LIMIT_TOKEN || !isfinite(t->scores[id]))
        return broken(err);
    return 0;
}

static int setting_read(struct str message, uint64_t number, uint64_t *out, struct error *err)
{
    struct field f;
    while (message.len > 0) {
        if (!field_take(&message, &f))
            return broken(err);
        if (f.number == number)
            *out = f.value;
    }
    return 0;
}

int hf_pieces_read(struct str proto, struct hf_tokens *t, struct hf_pieces *out, struct error *err)
{
    uint64_t type = UNIGRAM, prefix = 1;
    struct field f;
    int rc = 0;
    out->count = 0;
    while (proto.len > 0 && rc == 0) {
        if (!field_take(&proto, &f))
            return broken(err);
        if (f.number == 1 && out->count == t->n)
            return error_set(err, ERROR_INVALID,
                "tokenizer.model has more tokens than config.json's 'vocab_size' of %lld", (long long)t->n);
        if (f.number == 1)
            rc = piece_read(f.bytes, t, out->count++, err);
        else if (f.number == 2)
            rc = setting_read(f.bytes, 3, &type, err);
        else if (f.number == 3)
            rc = setting_read(f.bytes, 3, &prefix, err);
    }
    if (rc == 0 && (out->count == 0 || (type != UNIGRAM && type != BPE)))
        rc = broken(err);
    out->unigram = type == UNIGRAM;
    out->space_prefix = prefix != 0;
    return rc;
}

/* ---- Writing ---- */
static void varint_put(struct buf *b, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        buf_append_char(b, (char)(value | 0x80));
    buf_append_char(b, (char)value);
}

static void number_put(struct buf *b, uint64_t field, uint64_t value)
{
    varint_put(b, field << 3 | WIRE_NUMBER);
    varint_put(b, value);
}

static void bytes_put(struct buf *b, uint64_t field, struct str bytes)
{
    varint_put(b, field << 3 | WIRE_BYTES);
    varint_put(b, bytes.len);
    buf_append_str(b, bytes);
}

static void piece_put(struct buf *out, struct buf *message, struct str text, float score, int32_t type)
{
    buf_clear(message);
    bytes_put(message, 1, text);
    varint_put(message, 2 << 3 | WIRE_FOUR);
    buf_append(message, &score, sizeof score);
    if (type != HF_TOKEN_NORMAL)
        number_put(message, 3, (uint64_t)type);
    bytes_put(out, 1, buf_str(message));
}

int hf_pieces_make(const struct gguf *g, bool unigram, struct buf *out, struct error *err)
{
    struct gguf_array texts, scores, types;
    struct str text;
    struct buf message;
    size_t cursor = 0;
    bool prefix, whitespace;
    int rc = gguf_get_array(g, "tokenizer.ggml.tokens", GGUF_STRING, &texts, err);
    rc = rc ? rc : gguf_get_array(g, "tokenizer.ggml.scores", GGUF_FLOAT32, &scores, err);
    rc = rc ? rc : gguf_get_array(g, "tokenizer.ggml.token_type", GGUF_INT32, &types, err);
    rc = rc ? rc : gguf_get_bool(g, "tokenizer.ggml.add_space_prefix", true, &prefix, err);
    rc = rc ? rc : gguf_get_bool(g, "tokenizer.ggml.remove_extra_whitespaces", false, &whitespace, err);
    if (rc == 0 && (scores.count != texts.count || types.count != texts.count))
        rc = error_set(err, ERROR_INVALID, "the model has not a score and a type for each token");
    if (rc)
        return rc;
    buf_init(&message, MIB);
    for (size_t i = 0; gguf_array_next(&texts, &cursor, &text); i++) {
        float score;
        int32_t type;
        memcpy(&score, (const char *)scores.data + i * sizeof score, sizeof score);
        memcpy(&type, (const char *)types.data + i * sizeof type, sizeof type);
        piece_put(out, &message, text, score, type);
    }
    buf_clear(&message);
    number_put(&message, 3, unigram ? UNIGRAM : BPE);
    number_put(&message, 4, texts.count);
    number_put(&message, 35, 1);
    bytes_put(out, 2, buf_str(&message));
    buf_clear(&message);
    bytes_put(&message, 1, STR("identity"));
    number_put(&message, 3, prefix);
    number_put(&message, 4, whitespace);
    number_put(&message, 5, 1);
    bytes_put(out, 3, buf_str(&message));
    buf_free(&message);
    return 0;
}

/* Small vocabularies in memory, for the tokenizer's tests. */
#ifndef WEIR_TESTS_UNIT_ENGINE_VOCAB_H
#define WEIR_TESTS_UNIT_ENGINE_VOCAB_H

#include "engine/worker/gguf_write.h"
#include "engine/worker/tokenizer.h"

enum vocab_type {
    VOCAB_NORMAL = 1,
    VOCAB_UNKNOWN = 2,
    VOCAB_CONTROL = 3,
    VOCAB_USER = 4,
    VOCAB_UNUSED = 5,
    VOCAB_BYTE = 6
};

struct vocab_token {
    const char *text;
    enum vocab_type type;
    float score;
};

/* Tokens and types, and scores where `scores`; the text NULL ends the list. */
static inline void vocab_write(struct gguf_writer *w, const struct vocab_token *tokens, bool scores)
{
    static struct str texts[1024];
    static int32_t types[1024];
    static float values[1024];
    size_t n = 0;
    for (; tokens[n].text; n++) {
        texts[n] = str_from(tokens[n].text);
        types[n] = (int32_t)tokens[n].type;
        values[n] = tokens[n].score;
    }
    gguf_write_strs(w, "tokenizer.ggml.tokens", texts, n);
    gguf_write_array(w, "tokenizer.ggml.token_type", GGUF_INT32, types, n);
    if (scores)
        gguf_write_array(w, "tokenizer.ggml.scores", GGUF_FLOAT32, values, n);
}

/* One tokenizer and the bytes it points into. */
struct vocab {
    struct buf file;
    struct gguf *gguf;
    struct tokenizer *t;
};

static inline void vocab_close(struct vocab *v)
{
    tokenizer_free(v->t);
    gguf_close(v->gguf);
    buf_free(&v->file);
}

/* Frees the writer; on failure there is nothing to close. */
static inline int vocab_open(struct gguf_writer *w, struct vocab *v, struct error *err)
{
    *v = (struct vocab){0};
    buf_init(&v->file, 64u << 20);
    int rc = gguf_writer_header(w, &v->file, err);
    gguf_writer_free(w);
    rc = rc ? rc : gguf_open_memory(v->file.data, v->file.len, &v->gguf, err);
    rc = rc ? rc : tokenizer_create(v->gguf, &v->t, err);
    if (rc)
        vocab_close(v);
    return rc;
}

#endif

#include "train/text.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "engine/worker/gguf.h"
#include "train/data.h"
#include "train/files.h"
#include "train/vocab.h"

#define HEADER_MAX (512 * MIB)

void train_text_free(struct train_text *t)
{
    chat_template_free(t->template);
    tokenizer_free(t->tokenizer);
    gguf_close(t->gguf);
    buf_free(&t->bytes);
    *t = (struct train_text){0};
}

static bool has_token(void *ctx, struct str text)
{
    return tokenizer_find(ctx, text) >= 0;
}

/* Opens what the writer holds. */
static int text_make(const struct gguf_writer *w, struct train_text *t, struct error *err)
{
    struct chat_template_setup setup = {.has_token = has_token};
    buf_init(&t->bytes, HEADER_MAX);
    int rc = gguf_writer_header(w, &t->bytes, err);
    rc = rc ? rc : gguf_open_memory(t->bytes.data, t->bytes.len, &t->gguf, err);
    rc = rc ? rc : tokenizer_create(t->gguf, &t->tokenizer, err);
    rc = rc ? rc : chat_template_sources(t->gguf, &setup.source, &setup.with_tools, err);
    if (rc)
        return rc;
    setup.ctx = t->tokenizer;
    setup.bos = tokenizer_text(t->tokenizer, tokenizer_bos(t->tokenizer));
    setup.eos = tokenizer_text(t->tokenizer, tokenizer_eos(t->tokenizer));
    return chat_template_create(&setup, &t->template, err);
}

/* ---- Learned ---- */

/* A message as ChatML writes it between its marks. */
static int message_count(struct vocab *v, const json_t *message, struct error *err)
{
    struct buf text;
    buf_init(&text, LIMIT_TEMPLATE_OUTPUT);
    buf_append_str(&text, json_text(message, "role"));
    buf_append_char(&text, '\n');
    buf_append_str(&text, json_text(message, "content"));
    int rc = text.failed ? error_set(err, text.failed, "a message is too long")
                         : vocab_add(v, buf_str(&text), err);
    buf_free(&text);
    return rc;
}

static int example_count(void *ctx, const json_t *body, struct error *err)
{
    size_t i;
    json_t *message;
    int rc = 0;
    json_array_foreach(json_object_get(body, "messages"), i, message) rc =
        rc ? rc : message_count(ctx, message, err);
    return rc;
}

int train_text_learn(const struct train_files *data, int32_t most, struct train_text *t, struct error *err)
{
    struct vocab *v = NULL;
    struct gguf_writer w;
    *t = (struct train_text){0};
    gguf_writer_init(&w);
    int rc = vocab_create(&v, err);
    rc = rc ? rc : data_each(data, example_count, v, err);
    rc = rc ? rc : vocab_learn(v, most, err);
    if (rc == 0) {
        vocab_write(v, &w);
        rc = text_make(&w, t, err);
    }
    vocab_free(v);
    gguf_writer_free(&w);
    return rc;
}

/* ---- Taken, and with it how the file wants to be sampled ---- */
static void pairs_write(struct gguf_writer *w, const struct gguf *from)
{
    for (size_t i = 0; i < gguf_n_pairs(from); i++) {
        const struct str key = gguf_pair_at(from, i)->key;
        if (str_starts(key, STR("tokenizer.")) || str_starts(key, STR("general.sampling.")))
            gguf_write_pair(w, gguf_pair_at(from, i));
    }
}

void train_text_write(const struct train_text *t, struct gguf_writer *w)
{
    pairs_write(w, t->gguf);
}

int train_text_from(const struct gguf *from, struct train_text *t, struct error *err)
{
    struct gguf_writer w;
    *t = (struct train_text){0};
    gguf_writer_init(&w);
    pairs_write(&w, from);
    int rc = text_make(&w, t, err);
    gguf_writer_free(&w);
    return rc;
}

int train_text_open(const char *path, struct train_text *t, struct error *err)
{
    struct gguf *g = NULL;
    *t = (struct train_text){0};
    int rc = file_open_model(path, &g, err);
    if (rc == 0 && train_text_from(g, t, err))
        rc = error_wrap(err, "%s", path);
    gguf_close(g);
    return rc;
}

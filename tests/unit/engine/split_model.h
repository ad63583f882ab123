/* Cuts a model file into parts, as the format's own tool does it: metadata in the first, split.* in each. */
#ifndef TESTS_UNIT_ENGINE_SPLIT_MODEL_H
#define TESTS_UNIT_ENGINE_SPLIT_MODEL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/limits.h"
#include "engine/worker/gguf_write.h"

static inline void split_array(struct gguf_writer *w, const char *key, const struct gguf_array *array)
{
    if (array->type != GGUF_STRING)
        return gguf_write_array(w, key, array->type, array->data, (size_t)array->count);
    struct str *texts = calloc((size_t)array->count + 1, sizeof *texts);
    assert_non_null(texts);
    for (size_t i = 0, cursor = 0; gguf_array_next(array, &cursor, &texts[i]); i++)
        ;
    gguf_write_strs(w, key, texts, (size_t)array->count);
    free(texts);
}

static inline void split_pair(struct gguf_writer *w, const struct gguf_pair *pair)
{
    char key[128];
    snprintf(key, sizeof key, STR_FMT, STR_ARG(pair->key));
    switch (pair->type) {
    case GGUF_UINT32:
        return gguf_write_u32(w, key, (uint32_t)pair->u);
    case GGUF_FLOAT32:
        return gguf_write_f32(w, key, (float)pair->f);
    case GGUF_BOOL:
        return gguf_write_bool(w, key, pair->b);
    case GGUF_STRING:
        return gguf_write_str(w, key, pair->s);
    case GGUF_ARRAY:
        return split_array(w, key, &pair->array);
    default:
        fail_msg("%s is of type %s", key, gguf_type_name(pair->type));
    }
}

static inline void split_write(int fd, const void *data, size_t len)
{
    for (const char *at = data; len > 0;) {
        ssize_t n = write(fd, at, len);
        assert_true(n > 0);
        at += n;
        len -= (size_t)n;
    }
}

/* Tensors [first, last) of the model as part `number` of `count`. */
static inline void split_part(const struct gguf *g, size_t first, size_t last, int number, int count, int fd)
{
    static const char zeros[64];
    struct gguf_writer w;
    struct buf header;
    struct error err;
    gguf_writer_init(&w);
    buf_init(&header, 64 * MIB);
    for (size_t i = 0; number == 0 && i < gguf_n_pairs(g); i++)
        split_pair(&w, gguf_pair_at(g, i));
    gguf_write_u32(&w, "split.no", (uint32_t)number);
    gguf_write_u32(&w, "split.count", (uint32_t)count);
    gguf_write_u32(&w, "split.tensors.count", (uint32_t)gguf_n_tensors(g));
    for (size_t i = first; i < last; i++) {
        const struct tensor *t = gguf_tensor_at(g, i);
        char name[TENSOR_NAME_MAX + 1];
        snprintf(name, sizeof name, STR_FMT, STR_ARG(t->name));
        gguf_write_tensor(&w, name, t->type, t->n_dims, t->shape);
    }
    assert_int_equal(gguf_writer_header(&w, &header, &err), 0);
    split_write(fd, header.data, header.len);
    for (size_t i = first; i < last; i++) {
        const struct tensor *t = gguf_tensor_at(g, i);
        split_write(fd, t->data, t->bytes);
        split_write(fd, zeros, gguf_writer_padding(&w, t->bytes));
    }
    buf_free(&header);
    gguf_writer_free(&w);
}

static inline void split_model(int from, const int *to, int count)
{
    struct gguf *g;
    struct error err;
    assert_int_equal(gguf_open(&from, 1, &g, &err), 0);
    const size_t n = gguf_n_tensors(g);
    for (int i = 0; i < count; i++)
        split_part(g, n * (size_t)i / (size_t)count, n * (size_t)(i + 1) / (size_t)count, i, count, to[i]);
    gguf_close(g);
}

#endif

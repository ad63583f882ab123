/* Any bytes as a model file: the parser, every value and tensor of what it accepts, and the tokenizer in it.
 * Where the magic stands in them again, also as two parts of a split model. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/limits.h"
#include "engine/worker/gguf.h"
#include "engine/worker/tokenizer.h"

static void read_pairs(const struct gguf *g)
{
    for (size_t i = 0; i < gguf_n_pairs(g); i++) {
        const struct gguf_pair *pair = gguf_pair_at(g, i);
        struct str text;
        size_t cursor = 0, sum = 0;
        uint64_t count = 0;
        if (pair->type == GGUF_ARRAY && pair->array.type == GGUF_STRING)
            for (; gguf_array_next(&pair->array, &cursor, &text); count++)
                sum += text.len;
        else if (pair->type == GGUF_STRING)
            sum += pair->s.len;
        if (sum > gguf_file_size(g) || (cursor && count != pair->array.count))
            abort();
    }
}

static void read_tensors(const struct gguf *g)
{
    static float values[256];
    struct error err;
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct tensor *t = gguf_tensor_at(g, i);
        const struct tensor_type_info *info = tensor_type_info(t->type);
        const char *last = (const char *)t->data + t->bytes - info->block_bytes;
        if (tensor_type_readable(t->type) &&
            tensor_dequantize(t->type, last, values, info->block_values, &err))
            abort();
        if (gguf_n_tensors(g) > 0 && t->name.len < sizeof err.message) {
            char name[sizeof err.message] = {0};
            memcpy(name, t->name.data, t->name.len);
            if (gguf_tensor_find(g, name) != t)
                abort();
        }
    }
}

static void use_tokenizer(const struct gguf *g)
{
    struct tokenizer *t;
    struct token_list list = {0};
    struct error err;
    struct buf out;
    if (tokenizer_create(g, &t, &err))
        return;
    buf_init(&out, MIB);
    /* A character map is only found out to be corrupt where it is followed. */
    int rc = tokenizer_encode(t, STR("<s>Hello  w\xc3\xb6rld 123\n</s>\xff"), true, true, &list, &err);
    if (rc && !gguf_find(g, "tokenizer.ggml.precompiled_charsmap"))
        abort();
    for (size_t i = 0; i < list.count; i++)
        if (list.ids[i] < 0 || list.ids[i] >= tokenizer_vocab_size(t))
            abort();
    if (tokenizer_decode(t, list.ids, list.count, true, &out, &err) && err.code != ERROR_LIMIT)
        abort();
    buf_free(&out);
    free(list.ids);
    tokenizer_free(t);
}

static int file_of(const uint8_t *data, size_t size)
{
    int fd = memfd_create("part", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    return fd;
}

static void use_parts(const uint8_t *data, size_t size)
{
    const uint8_t *second = size > 4 ? memmem(data + 4, size - 4, "GGUF", 4) : NULL;
    struct gguf *g;
    struct error err;
    if (!second)
        return;
    const size_t first = (size_t)(second - data);
    const int fds[2] = {file_of(data, first), file_of(second, size - first)};
    if (gguf_open(fds, 2, &g, &err) == 0) {
        read_pairs(g);
        read_tensors(g);
        gguf_close(g);
    }
    close(fds[0]);
    close(fds[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gguf *g;
    struct error err;
    use_parts(data, size);
    if (gguf_open_memory(data, size, &g, &err))
        return 0;
    read_pairs(g);
    read_tensors(g);
    use_tokenizer(g);
    gguf_close(g);
    return 0;
}

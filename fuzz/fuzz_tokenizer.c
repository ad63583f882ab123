/* Any text through good tokenizers: ids stay in range and the text comes back. The first byte chooses the
 * kind:
 *
 *   llama, gpt2 with each way of cutting words, gemma4: text
 *   t5: length / 16 of its character map u8 | flags u8 | character map | text */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "engine/worker/gguf_write.h"
#include "engine/worker/model_sample.h"
#include "engine/worker/tokenizer.h"

#define MARK "\xe2\x96\x81" /* U+2581 */

static const char *const pres[] = {NULL, "default", "gpt-2", "starcoder", "llama-bpe", "qwen2", "qwen35",
    "seed-coder", "bailingmoe", "falcon", "bloom", "viking", "tekken", "gpt-4o", "kimi-k2", "deepseek-v3",
    "deepseek-coder", "deepseek-llm", "chameleon", "jais-2", "youtu", "tiny_aya", "granite-embed-multi-97m",
    "superbpe", "afmoe", "exaone-moe", "minicpm5"};
enum { KINDS = sizeof pres / sizeof *pres };

/* Made on first use and kept. */
static const struct tokenizer *tokenizer_of(size_t kind)
{
    static struct tokenizer *made[KINDS];
    static struct gguf *files[KINDS];
    static struct buf bytes[KINDS];
    struct model_sample s = model_sample_default();
    struct gguf_writer w;
    struct error err;
    if (made[kind])
        return made[kind];
    s.tokenizer = pres[kind] ? "gpt2" : "llama";
    s.pre = pres[kind];
    s.n_vocab = 1200;
    gguf_writer_init(&w);
    buf_init(&bytes[kind], MIB);
    if (model_sample_vocab(&s, &w, &err) || gguf_writer_header(&w, &bytes[kind], &err) ||
        gguf_open_memory(bytes[kind].data, bytes[kind].len, &files[kind], &err) ||
        tokenizer_create(files[kind], &made[kind], &err))
        abort();
    gguf_writer_free(&w);
    return made[kind];
}

static const struct str small_tokens[] = {{"<pad>", 5}, {"</s>", 4}, {"<unk>", 5}, {MARK, 3}, {"a", 1},
    {"b", 1}, {"ab", 2}, {MARK "a", 4}, {"\n", 1}, {"\n\n", 2}, {"<x>", 3}, {"\xc3", 1}};
enum { N_SMALL = sizeof small_tokens / sizeof *small_tokens };

static void write_small(struct gguf_writer *w, const char *model)
{
    static const int32_t types[N_SMALL] = {3, 3, 2, 1, 1, 1, 1, 1, 1, 1, 4, 1};
    static const float scores[N_SMALL] = {0, 0, 0, -3, -2, -2, -3.5f, -2.5f, -4, -4, 0, -1};
    static const struct str merges[] = {{MARK " a", 5}, {"a b", 3}};
    gguf_writer_init(w);
    gguf_write_str(w, "tokenizer.ggml.model", str_from(model));
    gguf_write_strs(w, "tokenizer.ggml.tokens", small_tokens, N_SMALL);
    gguf_write_array(w, "tokenizer.ggml.token_type", GGUF_INT32, types, N_SMALL);
    gguf_write_array(w, "tokenizer.ggml.scores", GGUF_FLOAT32, scores, N_SMALL);
    gguf_write_strs(w, "tokenizer.ggml.merges", merges, 2);
}

/* A small vocabulary with the file's own character map: what encoding gives must decode, or be refused. */
static void check_small(const char *model, struct str map, int flags, struct str text)
{
    struct gguf_writer w;
    struct gguf *g;
    struct tokenizer *t;
    struct token_list list = {0};
    struct buf file, out;
    struct error err;
    write_small(&w, model);
    gguf_write_bool(&w, "tokenizer.ggml.add_space_prefix", flags & 1);
    gguf_write_bool(&w, "tokenizer.ggml.remove_extra_whitespaces", flags & 2);
    if (map.len > 0)
        gguf_write_array(&w, "tokenizer.ggml.precompiled_charsmap", GGUF_UINT8, map.data, map.len);
    buf_init(&file, MIB);
    if (gguf_writer_header(&w, &file, &err) || gguf_open_memory(file.data, file.len, &g, &err))
        abort();
    gguf_writer_free(&w);
    int rc = tokenizer_create(g, &t, &err);
    if (rc && (rc != ERROR_INVALID || map.len == 0))
        abort();
    if (rc == 0) {
        rc = tokenizer_encode(t, text, flags & 4, flags & 4, &list, &err);
        if (rc && (map.len == 0 || (rc != ERROR_INVALID && rc != ERROR_LIMIT)))
            abort();
        for (size_t i = 0; i < list.count; i++)
            if (list.ids[i] < 0 || list.ids[i] >= N_SMALL)
                abort();
        buf_init(&out, 64 * MIB);
        if (tokenizer_decode(t, list.ids, list.count, true, &out, &err))
            abort();
        buf_free(&out);
    }
    free(list.ids);
    tokenizer_free(t);
    gguf_close(g);
    buf_free(&file);
}

static void check(const struct tokenizer *t, struct str text, bool special, bool comes_back)
{
    struct token_list list = {0};
    struct error err;
    struct buf out;
    buf_init(&out, 64 * MIB);
    if (tokenizer_encode(t, text, special, special, &list, &err))
        abort();
    for (size_t i = 0; i < list.count; i++)
        if (list.ids[i] < 0 || list.ids[i] >= tokenizer_vocab_size(t))
            abort();
    if (tokenizer_decode(t, list.ids, list.count, special, &out, &err))
        abort();
    if (comes_back && !str_eq(buf_str(&out), text))
        abort();
    buf_free(&out);
    free(list.ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t kind = data[0] % (KINDS + 2);
    if (kind == KINDS)
        check_small("gemma4", STR_NONE, 4, (struct str){(const char *)data + 1, size - 1});
    if (kind > KINDS && size > 2) {
        struct str rest = {(const char *)data + 3, size - 3};
        size_t map = (size_t)data[1] * 16;
        check_small("t5", str_slice(rest, 0, map), data[2], str_slice(rest, map, rest.len));
    }
    if (kind >= KINDS)
        return 0;
    const struct tokenizer *t = tokenizer_of(kind);
    struct str text = {(const char *)data + 1, size - 1};
    /* llama vocabularies spell a space as U+2581; gpt2 ones replace what is not UTF-8. */
    bool back = pres[kind] ? str_utf8_valid(text) : str_find(text, STR("\xe2\x96\x81")) == SIZE_MAX;
    check(t, text, false, back);
    check(t, text, true, false);
    return 0;
}

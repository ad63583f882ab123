/* Any text through good tokenizers: ids stay in range and the text comes back. The first byte chooses the
 * kind. */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "engine/worker/gguf_write.h"
#include "engine/worker/model_sample.h"
#include "engine/worker/tokenizer.h"

static const char *const pres[] = {NULL, "default", "gpt-2", "starcoder", "llama-bpe", "qwen2", "qwen35",
    "seed-coder", "bailingmoe", "falcon", "bloom", "viking", "tekken", "gpt-4o", "kimi-k2", "deepseek-v3",
    "deepseek-coder", "deepseek-llm", "chameleon"};
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
    size_t kind = data[0] % KINDS;
    const struct tokenizer *t = tokenizer_of(kind);
    struct str text = {(const char *)data + 1, size - 1};
    /* llama vocabularies spell a space as U+2581; gpt2 ones replace what is not UTF-8. */
    bool back = pres[kind] ? str_utf8_valid(text) : str_find(text, STR("\xe2\x96\x81")) == SIZE_MAX;
    check(t, text, false, back);
    check(t, text, true, false);
    return 0;
}

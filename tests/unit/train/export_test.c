/* GGUF files that must not be taken as they are on their way to a folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "engine/worker/gguf_write.h"
#include "train/hf/config.h"
#include "train/hf/tokens.h"

struct file {
    struct gguf_writer w;
    struct buf bytes;
    struct gguf *gguf;
};

static void u32(struct file *f, const char *architecture, const char *key, uint32_t value)
{
    char name[HF_KEY_MAX];
    snprintf(name, sizeof name, "%s.%s", architecture, key);
    gguf_write_u32(&f->w, name, value);
}

/* Heads of embed / heads values. */
static void begin(struct file *f, const char *architecture, uint32_t embed, uint32_t heads)
{
    gguf_writer_init(&f->w);
    gguf_write_str(&f->w, "general.architecture", str_from(architecture));
    u32(f, architecture, "block_count", 1);
    u32(f, architecture, "embedding_length", embed);
    u32(f, architecture, "attention.head_count", heads);
    u32(f, architecture, "feed_forward_length", 8);
}

static void end(struct file *f)
{
    static const float values[64 * 4];
    const int64_t shape[] = {64, 4};
    struct error err;
    gguf_write_tensor(&f->w, "token_embd.weight", TENSOR_F32, 2, shape);
    buf_init(&f->bytes, MIB);
    assert_int_equal(gguf_writer_header(&f->w, &f->bytes, &err), 0);
    assert_int_equal(buf_append(&f->bytes, values, sizeof values), 0);
    assert_int_equal(gguf_open_memory(f->bytes.data, f->bytes.len, &f->gguf, &err), 0);
}

static void drop(struct file *f)
{
    gguf_close(f->gguf);
    gguf_writer_free(&f->w);
    buf_free(&f->bytes);
}

static int shape_of(struct file *f, struct error *err)
{
    const struct hf_arch *arch;
    struct hf_shape shape;
    end(f);
    const int rc = hf_shape_of(f->gguf, &arch, &shape, err);
    drop(f);
    return rc;
}

/* The rows of an adapter's halves were then divided by nothing. */
static void a_head_of_one_value_or_none_was_taken(void **state)
{
    static const uint32_t heads[] = {64, 128};
    struct file f;
    struct error err;
    (void)state;
    begin(&f, "llama", 64, 32);
    assert_int_equal(shape_of(&f, &err), 0);
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        begin(&f, "llama", 64, heads[i]);
        assert_int_equal(shape_of(&f, &err), ERROR_INVALID);
        assert_non_null(strstr(err.message, "broken"));
    }
}

static void a_shared_expert_of_no_width_was_taken(void **state)
{
    struct file f;
    struct error err;
    (void)state;
    for (uint32_t width = 0; width <= 8; width += 8) {
        begin(&f, "qwen2moe", 64, 4);
        u32(&f, "qwen2moe", "expert_count", 2);
        u32(&f, "qwen2moe", "expert_feed_forward_length", 8);
        if (width > 0)
            u32(&f, "qwen2moe", "expert_shared_feed_forward_length", width);
        assert_int_equal(shape_of(&f, &err), width > 0 ? 0 : ERROR_INVALID);
    }
}

/* All places where it could be cut were looked up, each by a hash of what is left: hours for a megabyte. */
static void a_token_of_a_megabyte_was_cut_at_each_byte(void **state)
{
    static char text[MIB];
    const int32_t types[] = {1, 1};
    const float scores[] = {0, 0};
    struct str tokens[] = {STR("a"), {text, sizeof text}};
    struct file f;
    struct error err;
    (void)state;
    memset(text, 'a', sizeof text);
    gguf_writer_init(&f.w);
    gguf_write_str(&f.w, "tokenizer.ggml.model", STR("llama"));
    gguf_write_strs(&f.w, "tokenizer.ggml.tokens", tokens, 2);
    gguf_write_array(&f.w, "tokenizer.ggml.scores", GGUF_FLOAT32, scores, 2);
    gguf_write_array(&f.w, "tokenizer.ggml.token_type", GGUF_INT32, types, 2);
    buf_init(&f.bytes, 2 * MIB);
    assert_int_equal(gguf_writer_header(&f.w, &f.bytes, &err), 0);
    assert_int_equal(gguf_open_memory(f.bytes.data, f.bytes.len, &f.gguf, &err), 0);
    assert_int_equal(hf_tokens_make(f.gguf, "/nowhere", &err), ERROR_LIMIT);
    drop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_of_one_value_or_none_was_taken),
        cmocka_unit_test(a_shared_expert_of_no_width_was_taken),
        cmocka_unit_test(a_token_of_a_megabyte_was_cut_at_each_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

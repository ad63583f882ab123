#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <math.h>

#include "engine/worker/backend.h"
#include "engine/worker/gguf.h"
#include "engine/worker/model.h"
#include "engine/worker/model_sample.h"
#include "engine/worker/tokenizer.h"

static int make(const struct model_sample *s)
{
    struct error err;
    int fd = memfd_create("model", 0);
    assert_true(fd >= 0);
    if (model_sample_write(s, fd, &err))
        fail_msg("%s", err.message);
    return fd;
}

static struct gguf *open_made(int fd)
{
    struct gguf *g;
    struct error err;
    if (gguf_open(&fd, 1, &g, &err))
        fail_msg("%s", err.message);
    return g;
}

/* The logits after a few tokens are finite and not all alike. */
static void run(const struct gguf *g, int32_t n_vocab)
{
    struct backend *backend;
    struct model *model;
    struct model_state *state;
    struct error err;
    static float logits[4096];
    const int32_t tokens[] = {1, 300, 42}, slots[] = {0, 0, 0};
    const struct model_batch batch = {3, tokens, slots, (const uint8_t[]){0, 0, 1}};
    assert_int_equal(backend_cpu_create(1, &backend, &err), 0);
    if (model_load(g, backend, &model, &err) || model_state_create(model, 1, 16, &state, &err) ||
        model_decode(state, &batch, logits, &err))
        fail_msg("%s", err.message);
    float least = logits[0], most = logits[0];
    for (int32_t i = 0; i < n_vocab; i++) {
        assert_true(isfinite(logits[i]));
        least = fminf(least, logits[i]);
        most = fmaxf(most, logits[i]);
    }
    assert_true(most - least > 0.1f);
    model_state_free(state);
    model_free(model);
    backend_free(backend);
}

static void every_type_runs(void **state)
{
    (void)state;
    static const enum tensor_type types[] = {
        TENSOR_F32, TENSOR_F16, TENSOR_BF16, TENSOR_Q8_0, TENSOR_Q4_0, TENSOR_Q4_K, TENSOR_Q5_K, TENSOR_Q6_K};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct model_sample s = model_sample_default();
        s.type = types[i];
        s.n_embed = 256;
        s.n_ffn = 256;
        s.tied = i % 2;
        int fd = make(&s);
        struct gguf *g = open_made(fd);
        assert_int_equal(gguf_tensor_find(g, "blk.1.ffn_down.weight")->type, types[i]);
        assert_int_equal(gguf_tensor_find(g, "output.weight") == NULL, s.tied);
        run(g, 512);
        gguf_close(g);
        close(fd);
    }
}

/* Rows that are not whole blocks of 256 fall back, as quantizers do it. */
static void odd_rows_fall_back(void **state)
{
    (void)state;
    struct model_sample s = model_sample_default();
    s.type = TENSOR_Q4_K;
    int fd = make(&s);
    struct gguf *g = open_made(fd);
    assert_int_equal(gguf_tensor_find(g, "blk.0.attn_q.weight")->type, TENSOR_Q8_0);
    run(g, 512);
    gguf_close(g);
    close(fd);
}

static void the_same_seed_gives_the_same_file(void **state)
{
    (void)state;
    struct model_sample s = model_sample_default();
    int fds[3] = {make(&s), make(&s), -1};
    s.seed = 2;
    fds[2] = make(&s);
    off_t size = lseek(fds[0], 0, SEEK_END);
    assert_int_equal(lseek(fds[1], 0, SEEK_END), size);
    void *maps[3];
    for (int i = 0; i < 3; i++)
        maps[i] = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, fds[i], 0);
    assert_memory_equal(maps[0], maps[1], (size_t)size);
    assert_memory_not_equal(maps[0], maps[2], (size_t)size);
    for (int i = 0; i < 3; i++) {
        munmap(maps[i], (size_t)size);
        close(fds[i]);
    }
}

static void vocabularies_are_of_the_size_asked(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {360, 1000, 40000};
    for (size_t i = 0; i < 6; i++) {
        struct model_sample s = model_sample_default();
        struct tokenizer *t;
        struct error err;
        s.n_vocab = sizes[i / 2];
        s.tokenizer = i % 2 ? "gpt2" : "llama";
        int fd = make(&s);
        struct gguf *g = open_made(fd);
        assert_int_equal(tokenizer_create(g, &t, &err), 0);
        assert_int_equal(tokenizer_vocab_size(t), s.n_vocab);
        assert_true(tokenizer_is_end(t, tokenizer_find(t, STR("<|im_end|>"))));
        tokenizer_free(t);
        gguf_close(g);
        close(fd);
    }
}

static void refuses_shapes_that_cannot_be(void **state)
{
    (void)state;
    struct error err;
    struct model_sample s = model_sample_default();
    s.n_heads = 0;
    assert_int_equal(model_sample_write(&s, -1, &err), ERROR_INVALID);
    s = model_sample_default();
    s.n_kv_heads = 3;
    assert_int_equal(model_sample_write(&s, -1, &err), ERROR_INVALID);
    s = model_sample_default();
    s.n_vocab = 100;
    assert_int_equal(model_sample_write(&s, -1, &err), ERROR_INVALID);
    s = model_sample_default();
    s.tokenizer = "other";
    assert_int_equal(model_sample_write(&s, -1, &err), ERROR_INVALID);
    s = model_sample_default();
    s.type = TENSOR_NVFP4;
    s.n_embed = 256;
    s.n_ffn = 256;
    int fd = memfd_create("model", 0);
    assert_int_equal(model_sample_write(&s, fd, &err), ERROR_UNSUPPORTED);
    close(fd);
    s.type = TENSOR_F32;
    assert_int_equal(model_sample_write(&s, -1, &err), ERROR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_runs),
        cmocka_unit_test(odd_rows_fall_back),
        cmocka_unit_test(the_same_seed_gives_the_same_file),
        cmocka_unit_test(vocabularies_are_of_the_size_asked),
        cmocka_unit_test(refuses_shapes_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

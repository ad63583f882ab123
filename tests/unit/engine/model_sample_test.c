#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
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

/* ---- Mixtures ---- */

static struct model_sample mixture(const char *architecture)
{
    struct model_sample s = model_sample_default();
    s.architecture = architecture;
    s.n_embed = s.n_ffn = 256;
    s.head_width = strcmp(architecture, "llama") == 0 ? 0 : 128;
    s.n_experts = 8;
    s.n_used = 2;
    return s;
}

static void mixtures_run(void **state)
{
    (void)state;
    static const char *const architectures[] = {"llama", "qwen3moe"};
    for (size_t i = 0; i < 2; i++) {
        struct model_sample s = mixture(architectures[i]);
        s.type = TENSOR_Q4_K;
        int fd = make(&s);
        struct gguf *g = open_made(fd);
        const struct tensor *t = gguf_tensor_find(g, "blk.1.ffn_down_exps.weight");
        assert_non_null(t);
        assert_int_equal(t->shape[2], 8);
        assert_int_equal(t->type, TENSOR_Q4_K);
        assert_int_equal(gguf_tensor_find(g, "blk.1.ffn_gate_inp.weight")->type, TENSOR_F32);
        assert_int_equal(gguf_tensor_find(g, "blk.0.attn_q_norm.weight") != NULL, i == 1);
        run(g, 512);
        gguf_close(g);
        close(fd);
        s.n_used = 9;
        struct error err;
        assert_int_equal(model_sample_write(&s, -1, &err), ERROR_INVALID);
    }
    struct model_sample s = mixture("gpt2");
    struct error err;
    assert_int_equal(model_sample_write(&s, -1, &err), ERROR_INVALID);
}

/* A file whose pages cannot be read until somebody does, which is noted; of one thread: two that read a page at once
 * would both be stopped at it. */
static struct {
    uint8_t *memory;
    size_t bytes, page;
    uint8_t *touched; /* of each page */
} watched;

static void on_fault(int signal, siginfo_t *info, void *context)
{
    (void)context;
    uint8_t *at = info->si_addr;
    const size_t i = (size_t)(at - watched.memory) / watched.page;
    if (at < watched.memory || at >= watched.memory + watched.bytes || watched.touched[i])
        _exit(128 + signal);
    watched.touched[i] = 1;
    if (mprotect(watched.memory + i * watched.page, watched.page, PROT_READ) != 0)
        _exit(127);
}

static void file_watch(int fd)
{
    watched.page = (size_t)sysconf(_SC_PAGESIZE);
    watched.bytes = (size_t)lseek(fd, 0, SEEK_END);
    watched.touched = calloc(watched.bytes / watched.page + 1, 1);
    watched.memory = mmap(NULL, watched.bytes, PROT_READ, MAP_SHARED, fd, 0);
    assert_true(watched.touched && watched.memory != MAP_FAILED);
}

/* Pages of an expert that were read, but for those that it shares with its neighbours. */
static size_t pages_read(const struct tensor *t, int64_t expert, size_t *all)
{
    const uint8_t *from = (const uint8_t *)t->data + (size_t)expert * (t->bytes / (size_t)t->shape[2]);
    const uint8_t *to = from + t->bytes / (size_t)t->shape[2];
    size_t n = 0, first = (size_t)(from - watched.memory + (ptrdiff_t)watched.page - 1) / watched.page;
    const size_t end = (size_t)(to - watched.memory) / watched.page;
    for (size_t i = first; i < end; i++)
        n += watched.touched[i];
    *all = end - first;
    return n;
}

/* Of the experts' bytes a token reads those of the experts that it is routed to, whole, and none besides. */
static void a_token_reads_its_active_experts_and_no_others(void **state)
{
    (void)state;
    static const char *const parts[] = {"gate", "up", "down"};
    const struct sigaction own = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    struct sigaction before;
    struct model_sample s = mixture("qwen3moe");
    struct backend *backend;
    struct model *model;
    struct model_state *model_state;
    struct gguf *g;
    struct error err;
    static float logits[512];
    int fd = make(&s);
    file_watch(fd);
    assert_int_equal(gguf_open_memory(watched.memory, watched.bytes, &g, &err), 0);
    assert_int_equal(backend_cpu_create(1, &backend, &err), 0);
    assert_int_equal(model_load(g, backend, &model, &err), 0);
    assert_int_equal(model_state_create(model, 1, 16, &model_state, &err), 0);
    assert_int_equal(sigaction(SIGSEGV, &own, &before), 0);
    assert_int_equal(mprotect(watched.memory, watched.bytes, PROT_NONE), 0);
    const struct model_batch batch = {1, (const int32_t[]){42}, (const int32_t[]){0}, (const uint8_t[]){1}};
    assert_int_equal(model_decode(model_state, &batch, logits, &err), 0);
    assert_int_equal(mprotect(watched.memory, watched.bytes, PROT_READ), 0);
    assert_int_equal(sigaction(SIGSEGV, &before, NULL), 0);
    for (uint32_t layer = 0; layer < s.n_layers; layer++)
        for (size_t p = 0; p < 3; p++) {
            char name[64];
            size_t read = 0, all;
            snprintf(name, sizeof name, "blk.%u.ffn_%s_exps.weight", layer, parts[p]);
            const struct tensor *t = gguf_tensor_find(g, name);
            for (int64_t expert = 0; expert < t->shape[2]; expert++) {
                const size_t n = pages_read(t, expert, &all);
                assert_true(all > 50 && (n == 0 || n == all));
                read += n > 0;
            }
            assert_int_equal(read, s.n_used);
        }
    model_state_free(model_state);
    model_free(model);
    backend_free(backend);
    gguf_close(g);
    munmap(watched.memory, watched.bytes);
    free(watched.touched);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_runs),
        cmocka_unit_test(odd_rows_fall_back),
        cmocka_unit_test(the_same_seed_gives_the_same_file),
        cmocka_unit_test(vocabularies_are_of_the_size_asked),
        cmocka_unit_test(refuses_shapes_that_cannot_be),
        cmocka_unit_test(mixtures_run),
        cmocka_unit_test(a_token_reads_its_active_experts_and_no_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

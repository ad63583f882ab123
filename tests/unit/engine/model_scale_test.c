/* NVFP4 matrices and the scales that lie beside them. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/limits.h"
#include "engine/worker/gguf_write.h"
#include "engine/worker/model_loader.h"
#include "unit/engine/isa.h"

enum { N = 64, BLOCK = 36, EXPERTS = 2 };

static void part_append(const struct gguf_writer *w, struct buf *out, const void *data, size_t bytes)
{
    buf_append(out, data, bytes);
    for (size_t p = gguf_writer_padding(w, bytes); p > 0; p--)
        buf_append_char(out, '\0');
}

/* Matrices of one row of 64 values, all 1.5: one of `type`, and one for each of two experts. */
static struct buf file_write(enum tensor_type type)
{
    struct gguf_writer w;
    struct buf out;
    struct error err;
    uint8_t blocks[EXPERTS * BLOCK];
    float ones[N];
    memset(blocks, 0x33, sizeof blocks); /* 3: 1.5 */
    for (int i = 0; i < EXPERTS; i++)
        memset(blocks + i * BLOCK, 0x38, 4); /* 1 */
    for (int i = 0; i < N; i++)
        ones[i] = 1.5f;
    gguf_writer_init(&w);
    buf_init(&out, MIB);
    gguf_write_tensor(&w, "table.weight", TENSOR_F32, 2, (int64_t[]){N, 1});
    gguf_write_tensor(&w, "x.weight", type, 2, (int64_t[]){N, 1});
    gguf_write_tensor(&w, "x.scale", TENSOR_F32, 1, (int64_t[]){1});
    gguf_write_tensor(&w, "x.bias", TENSOR_F32, 1, (int64_t[]){1});
    gguf_write_tensor(&w, "e.weight", TENSOR_NVFP4, 3, (int64_t[]){N, 1, EXPERTS});
    gguf_write_tensor(&w, "e.scale", TENSOR_F32, 1, (int64_t[]){EXPERTS});
    assert_int_equal(gguf_writer_header(&w, &out, &err), 0);
    part_append(&w, &out, ones, sizeof ones);
    if (type == TENSOR_NVFP4)
        part_append(&w, &out, blocks, BLOCK);
    else
        part_append(&w, &out, ones, sizeof ones);
    part_append(&w, &out, (float[]){0.25f}, sizeof(float));
    part_append(&w, &out, (float[]){10}, sizeof(float));
    part_append(&w, &out, blocks, sizeof blocks);
    part_append(&w, &out, (float[]){2, 3}, 2 * sizeof(float));
    gguf_writer_free(&w);
    return out;
}

static void run(struct backend *b, struct program *p)
{
    struct error err;
    assert_int_equal(b->ops->encode(b, p, &err), 0);
    assert_int_equal(b->ops->submit(b, &err), 0);
    assert_int_equal(b->ops->sync(b, &err), 0);
}

static void check(enum tensor_type type, float want)
{
    struct gguf *g;
    struct error err;
    struct buf file = file_write(type);
    assert_int_equal(gguf_open_memory(file.data, file.len, &g, &err), 0);
    struct backend *b = backend_for("scalar", 1);
    struct arena *a = arena_create(MIB);
    struct loader l = {.gguf = g, .backend = b, .arena = a, .err = &err};
    const struct weight table = loader_weight(&l, N, 1, "table.weight");
    const struct linear x = loader_linear(&l, N, 1, "x"), e = loader_experts(&l, N, 1, EXPERTS, "e");
    assert_int_equal(l.rc, 0);
    assert_int_equal(x.weight.scales != NULL, type == TENSOR_NVFP4);

    struct program p = {0};
    const int32_t zero[1] = {0};
    float y, routed;
    program_reset(&p, &(struct program_batch){1, 1, zero, zero, zero, zero, 1});
    struct value in = op_embed(&p, &table);
    program_output(&p, op_matmul(&p, &x, in), &y);
    run(b, &p);
    assert_true(y == want);
    /* One expert scores more: its own scale counts. */
    for (int i = 0; i < EXPERTS; i++) {
        const float scores[2][EXPERTS] = {{9, -9}, {-9, 9}};
        const struct weight score = {
            .type = TENSOR_F32, .n_in = EXPERTS, .n_out = 1, .n_experts = 1, .data = scores[i]};
        program_reset(&p, &(struct program_batch){1, 1, zero, zero, zero, zero, 1});
        in = op_embed(&p, &table);
        struct value routes = op_route(&p, op_embed(&p, &score), 1);
        program_output(&p, op_matmul_experts(&p, &e, in, routes, 1), &routed);
        run(b, &p);
        assert_true(routed == 1.5f * 1.5f * N * (float)(2 + i));
    }
    program_free(&p);
    arena_free(a);
    backend_free(b);
    gguf_close(g);
    buf_free(&file);
}

static void scales_of_nvfp4_count(void **state)
{
    (void)state;
    check(TENSOR_NVFP4, 1.5f * 1.5f * N * 0.25f + 10);
    check(TENSOR_F32, 1.5f * 1.5f * N + 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(scales_of_nvfp4_count)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

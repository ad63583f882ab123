/* Encoders: embeddings against the reference engine's, and of a model that the test makes, whose layers do
 * nothing but norm. */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/worker/model.h"
#include "engine/worker/tokenizer.h"
#include "json/json.h"
#include "unit/engine/isa.h"
#include "unit/engine/shared.h"
#include "unit/engine/tiny_bert.h"

static double cosine(const float *a, const json_t *b, int32_t n)
{
    double ab = 0, aa = 0, bb = 0;
    for (int32_t i = 0; i < n; i++) {
        double y = json_number_value(json_array_get(b, (size_t)i));
        ab += (double)a[i] * y;
        aa += (double)a[i] * (double)a[i];
        bb += y * y;
    }
    return ab / sqrt(aa * bb);
}

static void check_case(const struct tokenizer *t, struct model_state *s, int32_t width, const json_t *item)
{
    struct token_list ids = {0};
    struct error err;
    float row[256];
    const json_t *want = json_object_get(item, "embedding"), *tokens = json_object_get(item, "tokens");
    assert_in_range(width, 1, 256);
    assert_int_equal(json_array_size(want), width);
    assert_int_equal(tokenizer_encode(t, json_str(json_object_get(item, "text")), true, true, &ids, &err), 0);
    assert_int_equal(ids.count, json_array_size(tokens));
    for (size_t i = 0; i < ids.count; i++)
        assert_int_equal(ids.ids[i], json_integer_value(json_array_get(tokens, i)));
    if (model_encode(s, ids.ids, (int32_t)ids.count, row, &err))
        fail_msg("%s", err.message);
    double worst = 0;
    for (int32_t i = 0; i < width; i++)
        worst = fmax(worst, fabs((double)row[i] - json_number_value(json_array_get(want, (size_t)i))));
    printf("  cosine %.9f, largest difference %.1e\n", cosine(row, want, width), worst);
    assert_true(cosine(row, want, width) >= 0.9999 && worst < 1e-3);
    free(ids.ids);
}

static void check_file(const char *name, const char *isa)
{
    char path[2048];
    struct error err;
    json_t *root;
    size_t i;
    json_t *item;
    snprintf(path, sizeof path, "%s/vectors/models/%s.gguf", shared_folder(), name);
    struct gguf *g = shared_gguf(path);
    assert_non_null(g);
    snprintf(path, sizeof path, "%s/vectors/models/%s.json", shared_folder(), name);
    struct buf text = shared_read(path);
    assert_int_equal(json_read(buf_str(&text), &root, &err), 0);
    struct backend *b = backend_for(isa, 2);
    struct tokenizer *t;
    struct model *m;
    struct model_state *s;
    if (tokenizer_create(g, &t, &err) || model_load(g, b, &m, &err) || model_state_create(m, 1, 64, &s, &err))
        fail_msg("%s: %s", name, err.message);
    printf("%s %s\n", name, isa);
    json_array_foreach(json_object_get(root, "cases"), i, item)
        check_case(t, s, model_info(m)->n_embedding, item);
    assert_true(i > 0);
    model_state_free(s);
    model_free(m);
    tokenizer_free(t);
    backend_free(b);
    gguf_close(g);
    json_decref(root);
    buf_free(&text);
}

static void embeddings_agree(void **state)
{
    (void)state;
    if (shared_absent("vectors/models"))
        return;
    const struct kernels *list[KERNELS_MAX];
    int32_t count = kernels_list(list);
    for (int32_t k = 0; k < count; k++) {
        check_file("bert", list[k]->isa);
        check_file("nomic-bert", list[k]->isa);
    }
}

/* ---- A BERT whose layer does nothing but norm: tiny_bert.h ---- */

struct bert {
    struct buf bytes;
    struct gguf *g;
    struct backend *b;
    struct model *m;
    struct model_state *s;
};

static int bert_open(struct bert *t, const struct tiny_bert *f, int32_t n_context, struct error *err)
{
    *t = (struct bert){.bytes = tiny_bert(f), .b = backend_for("scalar", 2)};
    assert_int_equal(gguf_open_memory(t->bytes.data, t->bytes.len, &t->g, err), 0);
    int rc = model_load(t->g, t->b, &t->m, err);
    return rc ? rc : model_state_create(t->m, 1, n_context, &t->s, err);
}

static void bert_close(struct bert *t)
{
    model_state_free(t->s);
    model_free(t->m);
    backend_free(t->b);
    gguf_close(t->g);
    buf_free(&t->bytes);
}

/* What a token's row must be: its embedding, normed (to norm again changes nothing). */
static void expected_row(int32_t token, double out[TINY_EMBED])
{
    double mean = 0, square = 0;
    for (int i = 0; i < TINY_EMBED; i++)
        mean += (double)tiny_table[token][i] / TINY_EMBED;
    for (int i = 0; i < TINY_EMBED; i++)
        square += ((double)tiny_table[token][i] - mean) * ((double)tiny_table[token][i] - mean) / TINY_EMBED;
    for (int i = 0; i < TINY_EMBED; i++)
        out[i] = ((double)tiny_table[token][i] - mean) / sqrt(square);
}

static void rows_are_pooled_as_the_file_says(void **state)
{
    (void)state;
    static const int32_t tokens[] = {2, 4, 1, 3};
    double rows[4][TINY_EMBED];
    for (int t = 0; t < 4; t++)
        expected_row(tokens[t], rows[t]);
    for (uint32_t pooling = MODEL_POOL_NONE; pooling <= MODEL_POOL_LAST; pooling++) {
        struct bert b;
        struct error err;
        float out[4 * TINY_EMBED] = {0};
        assert_int_equal(
            bert_open(&b, &(struct tiny_bert){.pooling = pooling, .positions = TINY_CONTEXT}, 8, &err), 0);
        assert_true(model_info(b.m)->encoder && model_info(b.m)->n_embedding == TINY_EMBED);
        assert_int_equal(model_encode(b.s, tokens, 4, out, &err), 0);
        for (int i = 0; i < TINY_EMBED; i++) {
            double mean = (rows[0][i] + rows[1][i] + rows[2][i] + rows[3][i]) / 4;
            double want[] = {rows[0][i], mean, rows[0][i], rows[3][i]};
            assert_true(fabs((double)out[i] - want[pooling]) < 1e-5);
            if (pooling == MODEL_POOL_NONE)
                assert_true(fabs((double)out[3 * TINY_EMBED + i] - rows[3][i]) < 1e-5);
        }
        bert_close(&b);
    }
}

static void a_head_ranks(void **state)
{
    (void)state;
    struct bert b;
    struct error err;
    float out[2];
    double row[TINY_EMBED];
    const struct tiny_bert file = {.pooling = MODEL_POOL_RANK, .head = true, .positions = TINY_CONTEXT};
    assert_int_equal(bert_open(&b, &file, 8, &err), 0);
    assert_int_equal(model_info(b.m)->n_embedding, 2);
    assert_int_equal(model_encode(b.s, (int32_t[]){2, 4}, 2, out, &err), 0);
    expected_row(2, row);
    assert_true(fabs((double)out[0] - 3 * tanh(row[0])) < 1e-5);
    assert_true(fabs((double)out[1] - tanh(row[0])) < 1e-5);
    bert_close(&b);
    assert_int_equal(
        bert_open(&b, &(struct tiny_bert){.pooling = MODEL_POOL_RANK, .positions = TINY_CONTEXT}, 8, &err),
        ERROR_INVALID);
    bert_close(&b);
}

/* Was: the norm of the dense layer that had become the score had no width, and the worker stopped. */
static void a_norm_without_a_dense_layer_is_left_out(void **state)
{
    (void)state;
    struct bert b;
    struct error err;
    float out[2];
    double row[TINY_EMBED];
    const struct tiny_bert file = {
        .pooling = MODEL_POOL_RANK, .head = true, .single = true, .positions = TINY_CONTEXT};
    assert_int_equal(bert_open(&b, &file, 8, &err), 0);
    assert_int_equal(model_info(b.m)->n_embedding, 2);
    assert_int_equal(model_encode(b.s, (int32_t[]){2, 4}, 2, out, &err), 0);
    expected_row(2, row);
    assert_true(fabs((double)out[0] - 3 * row[0]) < 1e-5 && fabs((double)out[1] - row[0]) < 1e-5);
    bert_close(&b);
}

static void a_text_is_taken_in_one_piece(void **state)
{
    (void)state;
    struct bert b;
    struct error err;
    int32_t tokens[TINY_CONTEXT + 1];
    float out[TINY_EMBED], again[TINY_EMBED];
    const struct tiny_bert file = {.pooling = MODEL_POOL_MEAN, .positions = TINY_CONTEXT};
    assert_int_equal(bert_open(&b, &file, TINY_CONTEXT, &err), 0);
    for (int i = 0; i <= TINY_CONTEXT; i++)
        tokens[i] = i % TINY_VOCAB;
    assert_int_equal(model_encode(b.s, tokens, TINY_CONTEXT, out, &err), 0);
    assert_int_equal(model_encode(b.s, tokens, TINY_CONTEXT, again, &err), 0);
    assert_memory_equal(out, again, sizeof out);
    assert_int_equal(model_encode(b.s, tokens, TINY_CONTEXT + 1, out, &err), ERROR_LIMIT);
    assert_int_equal(model_encode(b.s, tokens, 0, out, &err), ERROR_INVALID);
    assert_int_equal(model_encode(b.s, (int32_t[]){TINY_VOCAB}, 1, out, &err), ERROR_INVALID);
    struct model_batch batch = {1, tokens, (int32_t[]){0}, (uint8_t[]){1}};
    assert_int_equal(model_decode(b.s, &batch, out, &err), ERROR_UNSUPPORTED);
    bert_close(&b);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct bert b;
    struct error err;
    assert_int_equal(
        bert_open(&b, &(struct tiny_bert){.positions = TINY_CONTEXT}, TINY_CONTEXT + 1, &err), ERROR_INVALID);
    bert_close(&b);
    assert_int_equal(
        bert_open(&b, &(struct tiny_bert){.positions = TINY_CONTEXT - 1}, 8, &err), ERROR_INVALID);
    bert_close(&b);
    assert_int_equal(
        bert_open(&b, &(struct tiny_bert){.pooling = 5, .positions = TINY_CONTEXT}, 8, &err), ERROR_INVALID);
    bert_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embeddings_agree),
        cmocka_unit_test(rows_are_pooled_as_the_file_says),
        cmocka_unit_test(a_head_ranks),
        cmocka_unit_test(a_norm_without_a_dense_layer_is_left_out),
        cmocka_unit_test(a_text_is_taken_in_one_piece),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

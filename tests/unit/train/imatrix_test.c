/* Importance matrices: what they count, their files, and what is refused. */
#include "folder.h"

#include <fcntl.h>
#include <float.h>

#include "base/limits.h"
#include "engine/worker/backend.h"
#include "engine/worker/model.h"
#include "train/files.h"
#include "train/imatrix.h"
#include "train/imatrix_collect.h"
#include "unit/engine/tiny_model.h"

/* ---- What is counted ---- */
enum { TOKENS = 24 };

/* A model that reads TOKENS tokens, all of them to the end, while it is watched. */
static void collect(const struct tiny *t, int32_t n_threads, bool output, struct imatrix *m)
{
    struct backend *backend;
    struct model *model;
    struct model_state *state;
    struct collector c;
    struct gguf *g;
    struct error err;
    size_t size;
    char *bytes = tiny_model(t, &size);
    int32_t tokens[TOKENS], slots[TOKENS] = {0};
    uint8_t wants[TOKENS];
    float *logits = malloc(sizeof(float) * TOKENS * t->n_vocab);
    for (int32_t i = 0; i < TOKENS; i++) {
        tokens[i] = i * 7 % (int32_t)t->n_vocab;
        wants[i] = 1;
    }
    imatrix_init(m);
    assert_int_equal(gguf_open_memory(bytes, size, &g, &err), 0);
    assert_int_equal(backend_cpu_create(n_threads, &backend, &err), 0);
    assert_int_equal(model_load(g, backend, &model, &err), 0);
    assert_int_equal(model_state_create(model, 1, TOKENS, &state, &err), 0);
    assert_int_equal(collector_create(g, output, m, &c, &err), 0);
    model_state_watch(state, &c.watch);
    assert_int_equal(
        model_decode(state, &(struct model_batch){TOKENS, tokens, slots, wants}, logits, &err), 0);
    assert_int_equal(c.failed, 0);
    collector_free(&c);
    model_state_free(state);
    model_free(model);
    backend_free(backend);
    gguf_close(g);
    free(logits);
    free(bytes);
}

static const struct imatrix_entry *find(const struct imatrix *m, const char *name)
{
    const struct imatrix_entry *e = imatrix_find(m, str_from(name));
    assert_non_null(e);
    return e;
}

/* The first layer's queries are made of the tokens' normed embeddings. */
static void counts_the_squares_of_each_input(void **state)
{
    (void)state;
    struct tiny t = TINY_DEFAULT;
    struct imatrix m;
    struct gguf *g;
    struct error err;
    size_t size;
    char *bytes = tiny_model(&t, &size);
    double expected[64] = {0};
    assert_int_equal(gguf_open_memory(bytes, size, &g, &err), 0);
    const float *table = gguf_tensor_find(g, "token_embd.weight")->data,
                *norm = gguf_tensor_find(g, "blk.0.attn_norm.weight")->data;
    for (uint32_t i = 0; i < TOKENS; i++) {
        const float *x = table + i * 7 % t.n_vocab * t.n_embed;
        double square = 0;
        for (uint32_t k = 0; k < t.n_embed; k++)
            square += (double)x[k] * (double)x[k];
        for (uint32_t k = 0; k < t.n_embed; k++)
            expected[k] += pow((double)x[k] * (double)norm[k], 2) / (square / t.n_embed + 1e-5);
    }
    collect(&t, 3, false, &m);
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {
            "blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"};
        const struct imatrix_entry *e = find(&m, names[i]);
        assert_int_equal(e->n_values, t.n_embed);
        assert_int_equal(e->n_counts, 1);
        assert_true(e->counts[0] == TOKENS);
        for (uint32_t k = 0; k < t.n_embed; k++)
            assert_true(fabs(e->sums[k] - expected[k]) <= 1e-4 * expected[k]);
    }
    assert_int_equal(m.n_entries, 2 * 7);
    assert_null(imatrix_find(&m, STR("output.weight")));
    imatrix_free(&m);
    collect(&t, 1, true, &m);
    assert_true(find(&m, "output.weight")->counts[0] == TOKENS);
    imatrix_free(&m);
    gguf_close(g);
    free(bytes);
}

/* Each token's input counts for the experts that it goes to, and for those only. */
static void counts_for_each_expert(void **state)
{
    (void)state;
    struct tiny t = TINY_DEFAULT;
    struct imatrix m;
    t.n_experts = 5;
    t.n_used = 2;
    collect(&t, 2, false, &m);
    const struct imatrix_entry *router = find(&m, "blk.0.ffn_gate_inp.weight"),
                               *up = find(&m, "blk.0.ffn_up_exps.weight"),
                               *down = find(&m, "blk.0.ffn_down_exps.weight");
    double tokens = 0;
    assert_int_equal(up->n_counts, 5);
    assert_int_equal(up->n_values, 5 * t.n_embed);
    assert_int_equal(down->n_values, 5 * t.n_ff);
    for (int e = 0; e < 5; e++) {
        tokens += up->counts[e];
        assert_true(up->counts[e] == down->counts[e]);
    }
    assert_true(tokens == 2 * TOKENS);
    for (uint32_t k = 0; k < t.n_embed; k++) {
        double sum = 0;
        for (uint32_t e = 0; e < 5; e++)
            sum += up->sums[e * t.n_embed + k];
        assert_true(fabs(sum - 2 * router->sums[k]) <= 1e-9 * sum);
    }
    imatrix_free(&m);
}

/* ---- Files ---- */
static void fill(struct imatrix *m, const char *name, int64_t values, int64_t counts, double by)
{
    struct imatrix_entry *e;
    struct error err;
    assert_int_equal(imatrix_entry(m, str_from(name), values, counts, &e, &err), 0);
    for (int64_t i = 0; i < values; i++)
        e->sums[i] = by * (double)(i + 1);
    for (int64_t i = 0; i < counts; i++)
        e->counts[i] = (double)(4 * i);
}

static void reads_what_it_wrote_and_adds(void **state)
{
    (void)state;
    struct folder f;
    struct imatrix a, b;
    struct error err;
    float means[6];
    folder_create(&f);
    const char *path = folder_file(&f, "a.gguf");
    imatrix_init(&a);
    fill(&a, "blk.1.ffn_up_exps.weight", 6, 3, 1);
    fill(&a, "blk.0.attn_q.weight", 4, 1, 0.5);
    a.entries[0].counts[0] = 2;
    a.chunks = 7;
    a.chunk_size = 512;
    a.windows = 3;
    assert_int_equal(imatrix_dataset(&a, STR("text one"), &err), 0);
    assert_int_equal(imatrix_write(&a, path, &err), 0);
    assert_int_equal(imatrix_read(path, &b, &err), 0);
    assert_int_equal(b.n_entries, 2);
    assert_int_equal(b.chunks, 7);
    assert_int_equal(b.chunk_size, 512);
    assert_int_equal(b.windows, 3);
    assert_true(str_is(b.datasets[0], "text one"));
    assert_true(str_is(b.entries[0].name, "blk.0.attn_q.weight"));
    imatrix_means(&b, find(&b, "blk.1.ffn_up_exps.weight"), means);
    assert_true(means[0] == 1 && means[1] == 1); /* no token came there */
    assert_true(means[2] == 3.0f / 4 && means[5] == 6.0f / 8);
    assert_int_equal(imatrix_add(&b, &a, 512, &err), 0);
    assert_true(find(&b, "blk.0.attn_q.weight")->sums[3] == 4);
    assert_true(find(&b, "blk.0.attn_q.weight")->counts[0] == 4);
    assert_int_equal(b.chunks, 14);
    assert_int_equal(b.n_datasets, 2);
    imatrix_free(&b);
    imatrix_init(&b);
    fill(&b, "blk.0.attn_q.weight", 8, 1, 1);
    assert_int_equal(imatrix_add(&b, &a, 512, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "different models"));
    imatrix_free(&a);
    imatrix_free(&b);
    folder_free(&f);
}

/* The older form: one count of windows for all experts, means times windows. */
static void put_i32(struct buf *b, int32_t value)
{
    buf_append(b, &value, sizeof value);
}

static void put_entry(struct buf *b, const char *name, int32_t chunks, const float *values, int32_t n)
{
    put_i32(b, (int32_t)strlen(name));
    buf_append_text(b, name);
    put_i32(b, chunks);
    put_i32(b, n);
    buf_append(b, values, (size_t)n * sizeof *values);
}

static void reads_the_older_form(void **state)
{
    (void)state;
    static const float values[] = {2, 4, 6, 8};
    struct imatrix m, sum;
    struct error err;
    struct buf b;
    float means[4];
    buf_init(&b, MIB);
    put_i32(&b, 2);
    put_entry(&b, "blk.0.ffn_up_exps.weight", 2, values, 4);
    put_entry(&b, "blk.0.attn_q.weight", 1, values, 2);
    const size_t oldest = b.len;
    put_i32(&b, 9);
    put_i32(&b, 4);
    buf_append_text(&b, "text");
    assert_int_equal(imatrix_parse(buf_str(&b), "x.dat", &m, &err), 0);
    assert_true(m.legacy);
    assert_int_equal(m.chunks, 9);
    assert_true(str_is(m.datasets[0], "text"));
    imatrix_means(&m, find(&m, "blk.0.ffn_up_exps.weight"), means);
    assert_true(means[0] == 1 && means[3] == 4);
    imatrix_init(&sum);
    fill(&sum, "blk.0.ffn_up_exps.weight", 4, 2, 10);
    assert_int_equal(imatrix_add(&sum, &m, 100, &err), 0);
    assert_true(find(&sum, "blk.0.ffn_up_exps.weight")->sums[0] == 10 + 200);
    assert_true(find(&sum, "blk.0.ffn_up_exps.weight")->counts[1] == 4 + 200);
    imatrix_free(&sum);
    imatrix_free(&m);
    /* Cut anywhere before its end it is refused; the oldest files end there. */
    for (size_t n = 0; n < oldest; n++)
        assert_int_equal(imatrix_parse(str_slice(buf_str(&b), 0, n), "x.dat", &m, &err), ERROR_INVALID);
    assert_int_equal(imatrix_parse(str_slice(buf_str(&b), 0, oldest), "x.dat", &m, &err), 0);
    imatrix_free(&m);
    buf_free(&b);
}

/* A GGUF file of one entry whose parts are given. */
static int parse_made(const char *counts_name, int64_t n_values, int64_t n_counts, float value, float count,
    enum tensor_type type, struct error *err)
{
    struct gguf_writer w;
    struct imatrix m = {0};
    struct buf b;
    buf_init(&b, MIB);
    gguf_writer_init(&w);
    gguf_write_tensor(&w, "blk.0.attn_q.weight.in_sum2", type, 1, (const int64_t[]){n_values});
    gguf_write_tensor(&w, counts_name, TENSOR_F32, 1, (const int64_t[]){n_counts});
    assert_int_equal(gguf_writer_header(&w, &b, err), 0);
    for (int64_t i = 0; i < 8; i++)
        buf_append(&b, &value, sizeof value);
    for (int64_t i = 0; i < 8; i++)
        buf_append(&b, &count, sizeof count);
    gguf_writer_free(&w);
    const int rc = imatrix_parse(buf_str(&b), "x", &m, err);
    imatrix_free(&m);
    buf_free(&b);
    return rc;
}

static void refuses_what_is_no_importance(void **state)
{
    (void)state;
    static const char counts[] = "blk.0.attn_q.weight.counts";
    struct error err;
    assert_int_equal(parse_made(counts, 8, 2, 1, 1, TENSOR_F32, &err), 0);
    assert_int_equal(parse_made(counts, 8, 3, 1, 1, TENSOR_F32, &err), ERROR_INVALID);
    assert_int_equal(parse_made(counts, 16, 2, 1, 1, TENSOR_F16, &err), ERROR_INVALID);
    assert_int_equal(parse_made("blk.0.attn_k.weight.counts", 8, 2, 1, 1, TENSOR_F32, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "do not go together"));
    assert_int_equal(parse_made(counts, 8, 2, NAN, 1, TENSOR_F32, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "no sum of squares"));
    assert_int_equal(parse_made(counts, 8, 2, INFINITY, 1, TENSOR_F32, &err), ERROR_INVALID);
    assert_int_equal(parse_made(counts, 8, 2, -1, 1, TENSOR_F32, &err), ERROR_INVALID);
    assert_int_equal(parse_made(counts, 8, 2, 1, NAN, TENSOR_F32, &err), ERROR_INVALID);
    assert_int_equal(parse_made(counts, 8, 2, 1, 1e30f, TENSOR_F32, &err), ERROR_INVALID);
}

/* Texts that are added may sum past what the file's floats hold, which would be read as no sum at all. */
static void refuses_to_write_a_sum_past_a_float(void **state)
{
    (void)state;
    struct imatrix m;
    struct imatrix_entry *e;
    struct error err;
    struct folder f;
    folder_create(&f);
    imatrix_init(&m);
    assert_int_equal(imatrix_entry(&m, STR("blk.0.attn_q.weight"), 2, 1, &e, &err), 0);
    e->counts[0] = 1;
    e->sums[1] = 2.0 * (double)FLT_MAX;
    assert_int_equal(imatrix_write(&m, folder_file(&f, "m.gguf"), &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "too large for an importance matrix"));
    assert_int_not_equal(access(folder_file(&f, "m.gguf"), F_OK), 0);
    e->sums[1] = (double)FLT_MAX;
    assert_int_equal(imatrix_write(&m, folder_file(&f, "m.gguf"), &err), 0);
    imatrix_free(&m);
    folder_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_the_squares_of_each_input),
        cmocka_unit_test(counts_for_each_expert),
        cmocka_unit_test(reads_what_it_wrote_and_adds),
        cmocka_unit_test(reads_the_older_form),
        cmocka_unit_test(refuses_what_is_no_importance),
        cmocka_unit_test(refuses_to_write_a_sum_past_a_float),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

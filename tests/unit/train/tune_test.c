/* Models that are loaded: all of their weights trained, or adapters beside frozen ones. */
#include "folder.h"

#include <fcntl.h>

#include "engine/worker/backend.h"
#include "engine/worker/gguf.h"
#include "engine/worker/model.h"
#include "engine/worker/model_state.h"
#include "train/files.h"
#include "train/text.h"

enum { RANK = 3 };
static const struct train_lora lora = {RANK, 5};

struct rig {
    struct folder f;
    struct train_text text;
    struct train_config config;
    struct gguf *base;
    struct train_model model;
    struct team team;
    struct train_pass pass;
    struct tiny_sequence sequence;
    struct error err;
};

static struct gguf *file_open(const char *path)
{
    struct gguf *g;
    struct error err;
    int fd = open(path, O_RDONLY);
    if (gguf_open(&fd, 1, &g, &err))
        fail_msg("%s", err.message);
    close(fd);
    return g;
}

/* A base of this type on disk; loaded for tuning, with adapters that already do something. */
static void rig_create(struct rig *r, enum tensor_type type, const struct train_lora *how)
{
    struct train_shape shape = tiny_shape();
    struct train_model made;
    struct rand_pcg random;
    *r = (struct rig){.config = {.name = STR("tiny"), .type = type, .lora = lora}};
    folder_create(&r->f);
    struct str paths[] = {str_from(folder_examples(&r->f, "d.jsonl", 12))};
    const struct train_files files = {paths, 1};
    assert_int_equal(train_text_learn(&files, 300, &r->text, &r->err), 0);
    shape.n_embed = 64;
    shape.head_width = 16;
    shape.n_ffn = 32;
    shape.n_vocab = tokenizer_vocab_size(r->text.tokenizer);
    tiny_model_create(&made, &shape);
    const char *path = folder_file(&r->f, "m.gguf");
    if (model_write(&made, &r->text, &r->config, path, &r->err))
        fail_msg("%s", r->err.message);
    train_model_free(&made);
    r->config.type = TENSOR_TYPES; /* what is made of it has its types */
    r->base = file_open(path);
    if (train_model_load(r->base, how, false, 0, 3, &r->model, &r->err))
        fail_msg("%s", r->err.message);
    rand_pcg_seed(&random, 13);
    for (int64_t i = 0; how && i < r->model.n_values; i++)
        r->model.values[i] += (float)(rand_pcg_double(&random) - 0.5) / 4;
    tiny_sequence_fill(&r->sequence, 3, shape.n_vocab, 1);
    assert_int_equal(team_create(&train_kernels_base, 1, &r->team, NULL), 0);
    assert_int_equal(train_pass_create(&r->model, &r->team, false, TINY_TOKENS, &r->pass, NULL), 0);
}

static void rig_free(struct rig *r)
{
    train_pass_free(&r->pass);
    team_free(&r->team);
    train_model_free(&r->model);
    gguf_close(r->base);
    train_text_free(&r->text);
    folder_free(&r->f);
}

static double loss_of(struct rig *r)
{
    struct train_loss l = {0};
    train_pass_run(&r->pass, &r->sequence.s, false, 1, &l);
    return l.loss;
}

/* Along a random direction in n values at `at`. */
static void values_check(struct rig *r, const char *name, int64_t at, int64_t n, struct rand_pcg *random)
{
    float *values = r->model.values + at, *old = malloc((size_t)n * sizeof *old);
    const float h = 3e-4f;
    double expected = 0, size = 0, up, down;
    memcpy(old, values, (size_t)n * sizeof *old);
    uint64_t signs = (uint64_t)rand_pcg_u32(random) << 32 | rand_pcg_u32(random);
    for (int64_t i = 0; i < n; i++) {
        const float u = signs >> (i * 7 % 61) & 1 ? 1 : -1;
        expected += (double)r->pass.gradients[at + i] * (double)u;
        size += (double)r->pass.gradients[at + i] * (double)r->pass.gradients[at + i];
        values[i] = old[i] + h * u;
    }
    up = loss_of(r);
    for (int64_t i = 0; i < n; i++)
        values[i] = 2 * old[i] - values[i];
    down = loss_of(r);
    memcpy(values, old, (size_t)n * sizeof *old);
    free(old);
    const double found = (up - down) / (2 * (double)h);
    if (size <= 0 || fabs(found - expected) > 0.01 * sqrt(size) + 0.01 * fabs(expected))
        fail_msg("%s: gradient %g, by differences %g (norm %g)", name, expected, found, sqrt(size));
}

static void adapters_check(enum tensor_type type)
{
    struct rig r;
    struct rand_pcg random;
    struct train_loss l = {0};
    rig_create(&r, type, &lora);
    rand_pcg_seed(&random, 5);
    train_pass_run(&r.pass, &r.sequence.s, true, 1, &l);
    for (int32_t i = 0; i < r.model.n_weights; i++) {
        const struct train_weight *w = &r.model.weights[i];
        if (w->lora_a < 0)
            continue;
        values_check(&r, w->name, w->lora_a, RANK * w->n_in, &random);
        values_check(&r, w->name, w->lora_b, RANK * w->n_out, &random);
    }
    rig_free(&r);
}

static void test_adapters_gradient_over_floats_and_over_quantised_weights(void **state)
{
    (void)state;
    adapters_check(TENSOR_F32);
    adapters_check(TENSOR_F16);
    adapters_check(TENSOR_Q8_0);
}

/* An embedding that is no output matrix is looked up row by row: memory was kept for all of it as floats. */
static void test_an_embedding_that_no_product_takes_needs_no_floats(void **state)
{
    struct rig r;
    (void)state;
    rig_create(&r, TENSOR_Q8_0, &lora);
    struct train_model *m = &r.model;
    const size_t tied = train_pass_bytes(m, &train_kernels_base, false, TINY_TOKENS, 1);
    m->output = m->layers[0].output;
    const size_t apart = train_pass_bytes(m, &train_kernels_base, false, TINY_TOKENS, 1);
    m->output = m->embedding;
    assert_int_equal(tied - apart, sizeof(float) * (size_t)(m->shape.n_vocab - 64) * 64);
    rig_free(&r);
}

static struct train_loss pass_run_new(struct rig *r)
{
    struct train_loss out = {0};
    memset(r->pass.gradients, 0, (size_t)r->model.n_values * sizeof(float));
    train_pass_run(&r->pass, &r->sequence.s, true, 1, &out);
    return out;
}

/* The rig's pass by these kernels: its loss and gradient, and those with matrices packed once. Trained ones
 * are packed again after they have changed. */
static void packed_check(struct rig *r, const struct train_kernels *kernels, bool trained)
{
    const size_t bytes = (size_t)r->model.n_values * sizeof(float);
    float *plain = malloc(bytes), *values = r->model.values;
    r->team.kernels = kernels;
    train_pass_free(&r->pass);
    assert_int_equal(train_pass_create(&r->model, &r->team, false, TINY_TOKENS, &r->pass, NULL), 0);
    const struct train_loss a = pass_run_new(r);
    memcpy(plain, r->pass.gradients, bytes);
    const size_t before = train_pass_bytes(&r->model, kernels, false, TINY_TOKENS, 1);
    assert_true(train_model_packed_bytes(&r->model, kernels, trained) > 0);
    assert_int_equal(train_model_pack(&r->model, kernels, trained, &r->team, NULL), 0);
    assert_true(trained || train_pass_bytes(&r->model, kernels, false, TINY_TOKENS, 1) < before);
    kernels->scale(values, 2, r->model.n_values);
    train_model_pack_trained(&r->model, kernels, &r->team);
    kernels->scale(values, 0.5f, r->model.n_values);
    assert_true(!trained || pass_run_new(r).loss != a.loss);
    train_model_pack_trained(&r->model, kernels, &r->team);
    assert_true(a.loss > 0 && a.loss == pass_run_new(r).loss);
    assert_memory_equal(plain, r->pass.gradients, bytes);
    free(plain);
}

static void test_frozen_matrices_packed_once_change_no_bit(void **state)
{
    const struct train_kernels *list[TRAIN_KERNELS_MAX];
    (void)state;
    for (int32_t k = train_kernels_list(list) - 1; k >= 0; k--)
        for (int rounding = 0; rounding < 2; rounding++) {
            struct rig r;
            rig_create(&r, TENSOR_Q8_0, &lora);
            packed_check(&r, rounding ? list[k]->rounding : list[k], false);
            rig_free(&r);
        }
}

static void test_trained_matrices_packed_for_each_batch_change_no_bit(void **state)
{
    const struct train_kernels *list[TRAIN_KERNELS_MAX];
    (void)state;
    for (int32_t k = train_kernels_list(list) - 1; k >= 0; k--)
        for (int rounding = 0; rounding < 2; rounding++) {
            struct rig r;
            rig_create(&r, TENSOR_F32, NULL);
            packed_check(&r, rounding ? list[k]->rounding : list[k], true);
            rig_free(&r);
        }
}

static void test_a_new_adapter_changes_nothing(void **state)
{
    struct rig full, adapted;
    (void)state;
    rig_create(&full, TENSOR_F32, NULL);
    rig_create(&adapted, TENSOR_F32, &lora);
    train_pass_free(&adapted.pass);
    train_model_free(&adapted.model);
    assert_int_equal(train_model_load(adapted.base, &lora, false, 0, 3, &adapted.model, NULL), 0);
    assert_int_equal(
        train_pass_create(&adapted.model, &adapted.team, false, TINY_TOKENS, &adapted.pass, NULL), 0);
    const double a = loss_of(&full), b = loss_of(&adapted);
    assert_true(fabs(a - b) < 1e-5 * a);
    rig_free(&full);
    rig_free(&adapted);
}

/* ---- What is written ---- */

/* The engine's logits after a few tokens. */
static void engine_logits(const struct gguf *base, const struct gguf *adapter, float *logits)
{
    static const int32_t tokens[] = {5, 17, 3, 30, 9, 22}, slots[6] = {0};
    static const uint8_t wants[] = {0, 0, 0, 0, 0, 1};
    const struct model_batch batch = {6, tokens, slots, wants};
    const float scale = 1;
    struct backend *backend;
    struct model *model = NULL;
    struct model_state *s = NULL;
    struct error err;
    int rc = backend_cpu_create(1, &backend, &err);
    const struct model_options options = {&adapter, adapter ? 1 : 0, false};
    rc = rc ? rc : model_load_with(base, &options, backend, &model, &err);
    rc = rc ? rc : model_state_create(model, 1, 64, &s, &err);
    if (rc)
        fail_msg("%s", err.message);
    if (adapter)
        model_state_adapt(s, 0, &scale);
    assert_int_equal(model_decode(s, &batch, logits, &err), 0);
    model_state_free(s);
    model_free(model);
    backend_free(backend);
}

static void test_adapter_and_folded_model_say_the_same_in_the_engine(void **state)
{
    struct rig r;
    float plain[512], adapted[512], folded[512], most = 0;
    (void)state;
    rig_create(&r, TENSOR_F32, &lora);
    const char *adapter_path = folder_file(&r.f, "a.gguf"), *folded_path = folder_file(&r.f, "k");
    if (adapter_write(&r.model, &r.config, adapter_path, &r.err) ||
        folded_write(&r.model, r.base, &r.config, folded_path, &r.err))
        fail_msg("%s", r.err.message);
    struct gguf *adapter = file_open(adapter_path), *whole = file_open(folded_path);
    engine_logits(r.base, NULL, plain);
    engine_logits(r.base, adapter, adapted);
    engine_logits(whole, NULL, folded);
    for (int32_t i = 0; i < r.model.shape.n_vocab; i++) {
        assert_true(fabsf(adapted[i] - folded[i]) < 1e-3f * (1 + fabsf(folded[i])));
        most = fmaxf(most, fabsf(adapted[i] - plain[i]));
    }
    assert_true(most > 0.05f); /* the adapter does something */
    gguf_close(adapter);
    gguf_close(whole);
    rig_free(&r);
}

/* `output: {type}` was read and then forgotten: the file had the base's types. */
static void test_a_folded_model_has_the_type_asked_for(void **state)
{
    struct rig r;
    (void)state;
    rig_create(&r, TENSOR_F32, &lora);
    r.config.type = TENSOR_Q8_0;
    const char *path = folder_file(&r.f, "k");
    if (folded_write(&r.model, r.base, &r.config, path, &r.err))
        fail_msg("%s", r.err.message);
    struct gguf *whole = file_open(path);
    const struct gguf_pair *form = gguf_find(whole, "general.file_type");
    assert_non_null(form);
    assert_int_equal(form->u, 7); /* mostly Q8_0 */
    assert_int_equal(gguf_n_pairs(whole), gguf_n_pairs(r.base));
    for (size_t i = 0; i < gguf_n_tensors(whole); i++) {
        const struct tensor *t = gguf_tensor_at(whole, i), *was = gguf_tensor_at(r.base, i);
        for (int32_t k = 0; k < r.model.n_weights; k++)
            if (str_is(t->name, r.model.weights[k].name))
                assert_int_equal(t->type, r.model.weights[k].lora_a >= 0 ? TENSOR_Q8_0 : was->type);
    }
    gguf_close(whole);
    rig_free(&r);
}

/* All pairs and tensors of the base are in a folded model, those that were not trained to the bit. */
static void test_a_folded_model_keeps_the_rest(void **state)
{
    struct rig r;
    (void)state;
    rig_create(&r, TENSOR_Q8_0, &lora);
    const char *path = folder_file(&r.f, "k");
    if (folded_write(&r.model, r.base, &r.config, path, &r.err))
        fail_msg("%s", r.err.message);
    struct gguf *whole = file_open(path);
    assert_int_equal(gguf_n_pairs(whole), gguf_n_pairs(r.base));
    assert_int_equal(gguf_n_tensors(whole), gguf_n_tensors(r.base));
    for (size_t i = 0; i < gguf_n_pairs(whole); i++) {
        const struct gguf_pair *a = gguf_pair_at(r.base, i), *b = gguf_pair_at(whole, i);
        assert_true(str_eq(a->key, b->key) && a->type == b->type);
        if (a->type == GGUF_STRING)
            assert_true(str_eq(a->s, b->s));
        else if (a->type == GGUF_ARRAY)
            assert_true(a->array.bytes == b->array.bytes &&
                        memcmp(a->array.data, b->array.data, a->array.bytes) == 0);
        else
            assert_true(a->type == GGUF_FLOAT32 ? a->f == b->f
                        : a->type == GGUF_BOOL  ? a->b == b->b
                                                : a->u == b->u);
    }
    for (size_t i = 0; i < gguf_n_tensors(whole); i++) {
        const struct tensor *a = gguf_tensor_at(r.base, i), *b = gguf_tensor_at(whole, i);
        assert_true(str_eq(a->name, b->name));
        assert_int_equal(a->type, b->type);
        const bool trained = str_find(a->name, STR("attn_q")) != SIZE_MAX;
        if (trained || str_is(a->name, "token_embd.weight") || str_ends(a->name, STR("norm.weight")))
            assert_int_equal(memcmp(a->data, b->data, a->bytes) != 0, trained);
    }
    gguf_close(whole);
    rig_free(&r);
}

/* Every second tensor of a model, as one of its two parts has them. */
struct part {
    const struct gguf *from;
    uint32_t no;
};

static int part_fill(void *ctx, const struct gguf_writer *g, struct file_writer *f, struct error *err)
{
    static const char zeros[64];
    const struct part *p = ctx;
    (void)err;
    for (size_t i = p->no; i < gguf_n_tensors(p->from); i += 2) {
        const struct tensor *t = gguf_tensor_at(p->from, i);
        file_write(f, t->data, t->bytes);
        file_write(f, zeros, gguf_writer_padding(g, t->bytes));
    }
    return 0;
}

static const char *part_write(struct rig *r, uint32_t no)
{
    struct part p = {r->base, no};
    const char *path = folder_file(&r->f, no ? "s-00002-of-00002.gguf" : "s-00001-of-00002.gguf");
    struct gguf_writer w;
    gguf_writer_init(&w);
    for (size_t i = 0; no == 0 && i < gguf_n_pairs(r->base); i++)
        gguf_write_pair(&w, gguf_pair_at(r->base, i));
    gguf_write_u32(&w, "split.no", no);
    gguf_write_u32(&w, "split.count", 2);
    gguf_write_u32(&w, "split.tensors.count", (uint32_t)gguf_n_tensors(r->base));
    for (size_t i = no; i < gguf_n_tensors(r->base); i += 2) {
        const struct tensor *t = gguf_tensor_at(r->base, i);
        char name[TENSOR_NAME_MAX + 1];
        snprintf(name, sizeof name, STR_FMT, STR_ARG(t->name));
        gguf_write_tensor(&w, name, t->type, t->n_dims, t->shape);
    }
    if (file_write_gguf(&w, path, part_fill, &p, &r->err))
        fail_msg("%s", r->err.message);
    gguf_writer_free(&w);
    return path;
}

/* One file comes of a base in two, and says so. */
static void test_a_split_base_is_folded_into_one_file(void **state)
{
    struct rig r;
    struct gguf *split;
    float of_one[512], of_two[512];
    (void)state;
    rig_create(&r, TENSOR_F32, &lora);
    const char *first = part_write(&r, 0), *second = part_write(&r, 1);
    const char *path = folder_file(&r.f, "k");
    if (file_open_model(first, &split, &r.err) || folded_write(&r.model, split, &r.config, path, &r.err))
        fail_msg("%s", r.err.message);
    struct gguf *whole = file_open(path);
    assert_int_equal(gguf_n_pairs(whole), gguf_n_pairs(r.base));
    assert_int_equal(gguf_n_tensors(whole), gguf_n_tensors(r.base));
    assert_null(gguf_find(whole, "split.count"));
    engine_logits(whole, NULL, of_two);
    gguf_close(whole);
    if (folded_write(&r.model, r.base, &r.config, path, &r.err))
        fail_msg("%s", r.err.message);
    whole = file_open(path);
    engine_logits(whole, NULL, of_one);
    assert_memory_equal(of_two, of_one, (size_t)r.model.shape.n_vocab * sizeof *of_one);
    gguf_close(whole);
    gguf_close(split);
    unlink(first);
    unlink(second);
    rig_free(&r);
}

static void test_a_split_model_lends_its_tokenizer(void **state)
{
    struct rig r;
    struct train_text lent;
    (void)state;
    rig_create(&r, TENSOR_F16, NULL);
    const char *first = part_write(&r, 0), *second = part_write(&r, 1);
    if (train_text_open(first, &lent, &r.err))
        fail_msg("%s", r.err.message);
    assert_int_equal(tokenizer_vocab_size(lent.tokenizer), tokenizer_vocab_size(r.text.tokenizer));
    train_text_free(&lent);
    unlink(second);
    assert_int_equal(train_text_open(first, &lent, &r.err), ERROR_IO);
    assert_non_null(strstr(r.err.message, "s-00002-of-00002.gguf"));
    unlink(first);
    rig_free(&r);
}

static void test_a_model_that_cannot_be_trained_is_refused_by_name(void **state)
{
    struct rig r;
    struct train_model m;
    struct gguf_writer w;
    struct buf bytes;
    struct gguf *g;
    (void)state;
    rig_create(&r, TENSOR_F32, &lora);
    gguf_writer_init(&w);
    gguf_write_str(&w, "general.architecture", STR("mamba"));
    buf_init(&bytes, 1 << 20);
    assert_int_equal(gguf_writer_header(&w, &bytes, &r.err), 0);
    assert_int_equal(gguf_open_memory(bytes.data, bytes.len, &g, &r.err), 0);
    assert_int_equal(train_model_load(g, &lora, false, 0, 1, &m, &r.err), ERROR_UNSUPPORTED);
    assert_non_null(strstr(r.err.message, "mamba"));
    gguf_close(g);
    buf_free(&bytes);
    gguf_writer_free(&w);
    rig_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adapters_gradient_over_floats_and_over_quantised_weights),
        cmocka_unit_test(test_an_embedding_that_no_product_takes_needs_no_floats),
        cmocka_unit_test(test_frozen_matrices_packed_once_change_no_bit),
        cmocka_unit_test(test_trained_matrices_packed_for_each_batch_change_no_bit),
        cmocka_unit_test(test_a_new_adapter_changes_nothing),
        cmocka_unit_test(test_adapter_and_folded_model_say_the_same_in_the_engine),
        cmocka_unit_test(test_a_folded_model_has_the_type_asked_for),
        cmocka_unit_test(test_a_folded_model_keeps_the_rest),
        cmocka_unit_test(test_a_split_base_is_folded_into_one_file),
        cmocka_unit_test(test_a_split_model_lends_its_tokenizer),
        cmocka_unit_test(test_a_model_that_cannot_be_trained_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

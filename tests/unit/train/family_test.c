/* Every family that can be tuned: its loss is the engine's, its gradient that of finite differences. */
#include "tiny.h"

#include "engine/worker/backend.h"
#include "engine/worker/gguf.h"
#include "engine/worker/model.h"
#include "unit/engine/tiny_dense.h"

struct rig {
    char *bytes;
    struct gguf *gguf;
    struct train_model model;
    struct team team;
    struct train_pass pass;
    struct tiny_sequence sequence;
    struct error err;
};

static void rig_create(
    struct rig *r, const struct dense *d, const struct train_lora *lora, const struct train_kernels *kernels)
{
    size_t size;
    *r = (struct rig){.bytes = dense_model(d, NULL, &size)};
    int rc = gguf_open_memory(r->bytes, size, &r->gguf, &r->err);
    rc = rc ? rc : train_model_load(r->gguf, lora, false, 200, 1, &r->model, &r->err);
    rc = rc ? rc : team_create(kernels, 1, &r->team, &r->err);
    rc = rc ? rc : train_pass_create(&r->model, &r->team, kernels->rounds, TINY_TOKENS, &r->pass, &r->err);
    if (rc)
        fail_msg("%s: %s", d->name, r->err.message);
    tiny_sequence_fill(&r->sequence, 3, DENSE_VOCAB, 3);
}

static void rig_free(struct rig *r)
{
    train_pass_free(&r->pass);
    team_free(&r->team);
    train_model_free(&r->model);
    gguf_close(r->gguf);
    free(r->bytes);
}

static double loss_of(struct rig *r)
{
    struct train_loss l = {0};
    train_pass_run(&r->pass, &r->sequence.s, false, 1, &l);
    return l.loss;
}

/* Along a random direction in `n` values. */
static void values_check(
    struct rig *r, const char *family, const char *name, int64_t at, int64_t n, struct rand_pcg *random)
{
    float *values = r->model.values + at, *old = malloc((size_t)n * sizeof *old);
    const float h = 3e-4f;
    double expected = 0, size = 0, up;
    memcpy(old, values, (size_t)n * sizeof *old);
    for (int64_t j = 0; j < n; j++) {
        const float u = rand_pcg_u32(random) & 1 ? 1 : -1;
        expected += (double)r->pass.gradients[at + j] * (double)u;
        size += (double)r->pass.gradients[at + j] * (double)r->pass.gradients[at + j];
        values[j] = old[j] + h * u;
    }
    up = loss_of(r);
    for (int64_t j = 0; j < n; j++)
        values[j] = 2 * old[j] - values[j];
    const double found = (up - loss_of(r)) / (2 * (double)h);
    memcpy(values, old, (size_t)n * sizeof *old);
    free(old);
    /* A key's bias changes all scores of a query alike: nothing of it is left but rounding. */
    if (fabs(found - expected) > 0.01 * sqrt(size) + 0.01 * fabs(expected) + 0.05)
        fail_msg(
            "%s %s: gradient %g, by differences %g (norm %g)", family, name, expected, found, sqrt(size));
}

static void gradient_check(struct rig *r, const char *family)
{
    struct rand_pcg random;
    struct train_loss l = {0};
    train_pass_run(&r->pass, &r->sequence.s, true, 1, &l);
    rand_pcg_seed(&random, 5);
    for (int32_t i = 0; i < r->model.n_weights; i++) {
        const struct train_weight *w = &r->model.weights[i];
        if (w->at >= 0)
            values_check(r, family, w->name, w->at, w->n_in * w->n_out, &random);
        if (w->lora_a < 0)
            continue;
        values_check(r, family, w->name, w->lora_a, w->n_in * r->model.lora_rank, &random);
        values_check(r, family, w->name, w->lora_b, w->n_out * r->model.lora_rank, &random);
    }
}

static void engine_check(struct rig *r, const char *family)
{
    struct backend *backend;
    struct model *model;
    struct model_state *slots;
    const struct train_sequence *s = &r->sequence.s;
    static float logits[TINY_TOKENS * DENSE_VOCAB];
    static int32_t of[TINY_TOKENS];
    static uint8_t wants[TINY_TOKENS];
    memset(wants, 1, sizeof wants);
    int rc = backend_cpu_create(1, &backend, &r->err);
    rc = rc ? rc : model_load(r->gguf, backend, &model, &r->err);
    rc = rc ? rc : model_state_create(model, 1, TINY_TOKENS, &slots, &r->err);
    if (rc)
        fail_msg("%s", r->err.message);
    for (int32_t d = 0; d < s->n_docs; d++) {
        const struct model_batch batch = {s->docs[d + 1] - s->docs[d], s->tokens + s->docs[d], of, wants};
        model_state_truncate(slots, 0, 0);
        assert_int_equal(model_decode(slots, &batch, logits + (int64_t)s->docs[d] * DENSE_VOCAB, &r->err), 0);
    }
    (void)loss_of(r);
    for (int32_t i = 0; i < s->n_targets; i++) {
        const float *row = logits + (int64_t)s->rows[i] * DENSE_VOCAB;
        double sum = 0;
        for (int32_t j = 0; j < DENSE_VOCAB; j++)
            sum += exp((double)row[j]);
        const double loss = log(sum) - (double)row[s->targets[i]];
        if (fabs(loss - (double)r->pass.losses[i]) > 1e-3)
            fail_msg("%s, target %d: the engine's loss is %g, the trainer's %g", family, (int)i, loss,
                (double)r->pass.losses[i]);
    }
    model_state_free(slots);
    model_free(model);
    backend_free(backend);
}

static const struct dense *dense_of(const char *name)
{
    for (const struct dense *d = dense_all; d->name; d++)
        if (strcmp(d->name, name) == 0)
            return d;
    return NULL;
}

/* The first is llama, whose own tests are pass_test and run_test. */
static void families_each(void (*check)(const struct dense *d))
{
    for (int i = 1; train_architectures[i]; i++) {
        const struct dense *d = dense_of(train_architectures[i]->name);
        assert_non_null(d);
        check(d);
    }
}

static void family_check(const struct dense *d)
{
    struct rig r;
    rig_create(&r, d, NULL, &train_kernels_base);
    engine_check(&r, d->name);
    gradient_check(&r, d->name);
    rig_free(&r);
}

static void test_families_compute_what_the_engine_does(void **state)
{
    (void)state;
    families_each(family_check);
}

/* Llama's files may have a bias behind each matrix, and fused ones a fused bias: they were refused. */
static void test_biases_everywhere(void **state)
{
    static const struct dense llama = {"llama", DENSE_RMS,
        DENSE_PRE DENSE_QKV "attn_q.bias Q,attn_k.bias K,attn_v.bias V,attn_output.bias E,ffn_gate.bias F,"
                            "ffn_up.bias F,ffn_down.bias E," DENSE_FFN,
        4, NULL};
    static const struct dense phi3 = {"phi3", DENSE_RMS,
        DENSE_PRE "attn_qkv EA,attn_qkv.bias A,attn_output QE,attn_output.bias E,ffn_up EG,ffn_down FE", 4,
        NULL};
    (void)state;
    family_check(&llama);
    family_check(&phi3);
}

/* Was: the plain rope, which knows no LongRoPE, was read first. */
static void test_longrope_that_is_named_turns_as_the_engine_does(void **state)
{
    static const struct dense phi3 = {"phi3",
        DENSE_RMS "rope.scaling.type=slongrope,rope.scaling.original_context_length=2000",
        "/rope_factors_short R,/rope_factors_long R," DENSE_PRE
        "attn_qkv EA,attn_output QE,ffn_up EG,ffn_down FE",
        4, NULL};
    (void)state;
    family_check(&phi3);
}

/* Matrices that are several in one have one adapter. */
static void adapter_check(const struct dense *d)
{
    struct rig r;
    struct rand_pcg random;
    const struct train_lora lora = {3, 6};
    rig_create(&r, d, &lora, &train_kernels_base);
    rand_pcg_seed(&random, 8);
    for (int64_t i = 0; i < r.model.n_values; i++)
        r.model.values[i] = (float)(rand_pcg_double(&random) - 0.5) / 3;
    gradient_check(&r, d->name);
    rig_free(&r);
}

static void test_adapters_of_all_families(void **state)
{
    (void)state;
    families_each(adapter_check);
}

/* What each instruction set computes, and what passes keep in bfloat16, is nearly the plain gradient. */
static void kernels_check(const struct dense *d)
{
    const struct train_kernels *list[2 * TRAIN_KERNELS_MAX];
    struct rig plain;
    struct train_loss a = {0};
    int32_t n = train_kernels_list(list);
    for (int32_t i = n - 1; i >= 0; i--)
        list[n + i] = list[i]->rounding;
    rig_create(&plain, d, NULL, &train_kernels_base);
    train_pass_run(&plain.pass, &plain.sequence.s, true, 1, &a);
    for (int32_t i = 0; i < 2 * n; i++) {
        struct rig r;
        struct train_loss b = {0};
        double square = 0, apart = 0;
        rig_create(&r, d, NULL, list[i]);
        train_pass_run(&r.pass, &r.sequence.s, true, 1, &b);
        for (int64_t j = 0; j < r.model.n_values; j++) {
            const double x = (double)plain.pass.gradients[j], y = (double)r.pass.gradients[j];
            square += x * x;
            apart += (x - y) * (x - y);
        }
        if (!(sqrt(apart) < (list[i]->rounds ? 0.15 : 1e-4) * sqrt(square)))
            fail_msg(
                "%s, %s: gradients are %g of %g apart", d->name, list[i]->isa, sqrt(apart), sqrt(square));
        rig_free(&r);
    }
    rig_free(&plain);
}

static void test_families_on_every_instruction_set(void **state)
{
    (void)state;
    families_each(kernels_check);
}

/* Layers that draft are left alone: they are no part of what is learned. */
static void test_layers_that_draft_stay_as_they_are(void **state)
{
    struct dense d = *dense_of("glm4");
    struct train_model m;
    struct gguf *g;
    struct error err;
    char keys[512];
    size_t size;
    (void)state;
    snprintf(keys, sizeof keys, "%s,nextn_predict_layers=1", d.keys);
    d.keys = keys;
    char *bytes = dense_model(&d, NULL, &size);
    assert_int_equal(gguf_open_memory(bytes, size, &g, &err), 0);
    if (train_model_load(g, NULL, false, 100, 1, &m, &err))
        fail_msg("%s", err.message);
    assert_int_equal(m.shape.n_layers, DENSE_LAYERS - 1);
    train_model_free(&m);
    gguf_close(g);
    free(bytes);
}

/* Optional ones, too: one bias without the others is no model. */
static void missing_check(const struct dense *d)
{
    for (int32_t i = 0; i < dense_tensors(d); i++) {
        struct dense_fault fault = {-1, 0, -1, i};
        struct train_model m;
        struct gguf *g;
        struct error err;
        size_t size;
        char *bytes = dense_model(d, &fault, &size);
        assert_int_equal(gguf_open_memory(bytes, size, &g, &err), 0);
        int rc = train_model_load(g, NULL, false, 100, 1, &m, &err);
        if (rc == 0)
            train_model_free(&m);
        assert_int_not_equal(rc, 0);
        gguf_close(g);
        free(bytes);
    }
}

static void test_what_a_file_lacks_is_missed(void **state)
{
    (void)state;
    families_each(missing_check);
}

static void test_tensors_without_a_place_are_named(void **state)
{
    struct dense d = *dense_of("qwen3");
    struct train_model m;
    struct gguf *g;
    struct error err;
    size_t size;
    (void)state;
    d.name = "qwen2"; /* which has all that this file has but the norms of heads */
    char *bytes = dense_model(&d, NULL, &size);
    assert_int_equal(gguf_open_memory(bytes, size, &g, &err), 0);
    assert_int_equal(train_model_load(g, NULL, false, 100, 1, &m, &err), ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "'blk.0.attn_q_norm.weight' has no place"));
    gguf_close(g);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families_compute_what_the_engine_does),
        cmocka_unit_test(test_biases_everywhere),
        cmocka_unit_test(test_longrope_that_is_named_turns_as_the_engine_does),
        cmocka_unit_test(test_adapters_of_all_families),
        cmocka_unit_test(test_families_on_every_instruction_set),
        cmocka_unit_test(test_layers_that_draft_stay_as_they_are),
        cmocka_unit_test(test_what_a_file_lacks_is_missed),
        cmocka_unit_test(test_tensors_without_a_place_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

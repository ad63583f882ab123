/* The whole model's gradient against finite differences, and what it must not depend on. */
#include "tiny.h"

struct rig {
    struct train_model model;
    struct team team;
    struct train_pass pass;
};

static void rig_create_keeping(struct rig *r, const struct train_shape *shape,
    const struct train_kernels *kernels, int32_t threads, bool narrow)
{
    tiny_model_create(&r->model, shape);
    assert_int_equal(team_create(kernels, threads, &r->team, NULL), 0);
    assert_int_equal(train_pass_create(&r->model, &r->team, narrow, TINY_TOKENS, &r->pass, NULL), 0);
}

static void rig_create(
    struct rig *r, const struct train_shape *shape, const struct train_kernels *kernels, int32_t threads)
{
    rig_create_keeping(r, shape, kernels, threads, false);
}

static void rig_free(struct rig *r)
{
    train_pass_free(&r->pass);
    team_free(&r->team);
    train_model_free(&r->model);
}

static double loss_of(struct rig *r, const struct train_sequence *s)
{
    struct train_loss l = {0};
    train_pass_run(&r->pass, s, false, 1, &l);
    return l.loss;
}

/* Along a random direction in each weight: (L(w + h u) - L(w - h u)) / 2h is gradient . u. */
static void weight_check(
    struct rig *r, const struct train_sequence *s, const struct train_weight *w, struct rand_pcg *random)
{
    const int64_t n = w->n_in * w->n_out;
    float *values = r->model.values + w->at, *old = malloc((size_t)n * sizeof *old),
          *u = malloc((size_t)n * sizeof *u);
    const float h = 3e-4f;
    double expected = 0, up, down, size = 0;
    memcpy(old, values, (size_t)n * sizeof *old);
    for (int64_t i = 0; i < n; i++) {
        u[i] = rand_pcg_u32(random) & 1 ? 1.0f : -1.0f;
        expected += (double)r->pass.gradients[w->at + i] * (double)u[i];
        size += (double)r->pass.gradients[w->at + i] * (double)r->pass.gradients[w->at + i];
        values[i] = old[i] + h * u[i];
    }
    up = loss_of(r, s);
    for (int64_t i = 0; i < n; i++)
        values[i] = old[i] - h * u[i];
    down = loss_of(r, s);
    memcpy(values, old, (size_t)n * sizeof *old);
    double found = (up - down) / (2 * (double)h);
    if (size <= 0 || fabs(found - expected) > 0.004 * sqrt(size) + 0.004 * fabs(expected))
        fail_msg("%s: gradient %g, by differences %g (norm %g)", w->name, expected, found, sqrt(size));
    free(old);
    free(u);
}

static void gradient_check(bool tied, int every)
{
    const struct train_kernels *list[TRAIN_KERNELS_MAX];
    struct train_shape shape = tiny_shape();
    struct tiny_sequence t;
    shape.tied = tied;
    tiny_sequence_fill(&t, 3, shape.n_vocab, every);
    for (int32_t k = train_kernels_list(list) - 1; k >= 0; k--) {
        struct rig r;
        struct rand_pcg random;
        struct train_loss l = {0};
        rig_create(&r, &shape, list[k], 1);
        train_pass_run(&r.pass, &t.s, true, 1, &l);
        rand_pcg_seed(&random, 5);
        for (int32_t i = 0; i < r.model.n_weights; i++)
            for (int n = 0; n < 3; n++)
                weight_check(&r, &t.s, &r.model.weights[i], &random);
        rig_free(&r);
    }
}

static void test_gradient_is_that_of_differences(void **state)
{
    (void)state;
    gradient_check(true, 1);
    gradient_check(false, 1);
}

static void test_gradient_where_few_tokens_are_learned(void **state)
{
    (void)state;
    gradient_check(true, 5);
}

/* What is learned of the rows with targets is the same whether or not the last layer leaves the others out.
 */
static void test_rows_left_out_change_nothing(void **state)
{
    struct rig r;
    struct train_shape shape = tiny_shape();
    struct tiny_sequence few, all;
    struct train_loss a = {0}, b = {0};
    (void)state;
    tiny_sequence_fill(&few, 3, shape.n_vocab, 5);
    tiny_sequence_fill(&all, 3, shape.n_vocab, 1);
    for (int32_t i = 0; i < all.s.n_targets; i++) {
        all.weights[i] = 0;
        for (int32_t j = 0; j < few.s.n_targets; j++)
            if (few.rows[j] == all.rows[i])
                all.weights[i] = few.weights[j];
    }
    rig_create(&r, &shape, &train_kernels_base, 1);
    train_pass_run(&r.pass, &few.s, true, 1, &a);
    float *first = malloc((size_t)r.model.n_values * sizeof *first);
    memcpy(first, r.pass.gradients, (size_t)r.model.n_values * sizeof *first);
    memset(r.pass.gradients, 0, (size_t)r.model.n_values * sizeof *first);
    train_pass_run(&r.pass, &all.s, true, 1, &b);
    assert_true(fabs(a.loss - b.loss) < 1e-4 * a.loss);
    for (int64_t i = 0; i < r.model.n_values; i++)
        assert_true(fabsf(first[i] - r.pass.gradients[i]) < 1e-3f * (1 + fabsf(first[i])));
    free(first);
    rig_free(&r);
}

/* Tokens of one example neither see nor change another. */
static void test_examples_do_not_see_each_other(void **state)
{
    struct rig r;
    struct train_shape shape = tiny_shape();
    struct tiny_sequence t, other;
    struct train_loss whole = {0}, alone = {0};
    (void)state;
    tiny_sequence_fill(&t, 3, shape.n_vocab, 1);
    rig_create(&r, &shape, &train_kernels_base, 1);
    train_pass_run(&r.pass, &t.s, false, 1, &whole);
    float kept = r.pass.losses[20];
    tiny_sequence_fill(&other, 4, shape.n_vocab, 1);
    memcpy(t.tokens, other.tokens, 9 * sizeof *t.tokens); /* the first example becomes another one */
    memcpy(t.tokens + 100, other.tokens + 100, 20 * sizeof *t.tokens);
    train_pass_run(&r.pass, &t.s, false, 1, &alone);
    assert_true(kept == r.pass.losses[20]);
    assert_true(whole.loss != alone.loss);
    rig_free(&r);
}

static void test_threads_change_no_bit(void **state)
{
    struct rig one, three;
    struct train_shape shape = tiny_shape();
    struct tiny_sequence t;
    struct train_loss a = {0}, b = {0};
    const struct train_kernels *best;
    (void)state;
    tiny_sequence_fill(&t, 3, shape.n_vocab, 2);
    assert_int_equal(train_kernels_select(NULL, &best, NULL), 0);
    rig_create(&one, &shape, best, 1);
    rig_create(&three, &shape, best, 3);
    train_pass_run(&one.pass, &t.s, true, 1, &a);
    train_pass_run(&three.pass, &t.s, true, 1, &b);
    assert_memory_equal(&a, &b, sizeof a);
    assert_memory_equal(one.pass.gradients, three.pass.gradients, (size_t)one.model.n_values * sizeof(float));
    rig_free(&one);
    rig_free(&three);
}

/* Logits of some of the vocabulary at a time sum to what all of them do. */
static void test_a_divided_head_learns_the_same(void **state)
{
    struct rig whole, parts;
    struct train_shape shape = tiny_shape();
    struct tiny_sequence t;
    struct train_loss a = {0}, b = {0};
    const struct train_kernels *list[TRAIN_KERNELS_MAX];
    (void)state;
    tiny_sequence_fill(&t, 3, shape.n_vocab, 2);
    for (int32_t k = train_kernels_list(list) - 1; k >= 0; k--) {
        rig_create(&whole, &shape, list[k], 1);
        rig_create(&parts, &shape, list[k], 2);
        assert_true(parts.pass.head_columns > 32);
        parts.pass.head_columns = 32;
        train_pass_run(&whole.pass, &t.s, true, 1, &a);
        train_pass_run(&parts.pass, &t.s, true, 1, &b);
        assert_true(fabs(a.loss - b.loss) < 1e-5 * a.loss && a.right == b.right);
        for (int64_t i = 0; i < whole.model.n_values; i++)
            assert_true(fabsf(whole.pass.gradients[i] - parts.pass.gradients[i]) < 1e-4f);
        rig_free(&whole);
        rig_free(&parts);
    }
}

/* ---- bfloat16 ---- */
static void gradients_near(const struct rig *a, const struct rig *b, double share)
{
    for (int32_t i = 0; i < a->model.n_weights; i++) {
        const struct train_weight *w = &a->model.weights[i];
        const float *x = a->pass.gradients + w->at, *y = b->pass.gradients + w->at;
        double square = 0, apart = 0;
        for (int64_t j = 0; j < w->n_in * w->n_out; j++) {
            square += (double)x[j] * (double)x[j];
            apart += ((double)x[j] - (double)y[j]) * ((double)x[j] - (double)y[j]);
        }
        if (!(apart > 0 && sqrt(apart) < share * sqrt(square)))
            fail_msg("%s: gradients are %g of %g apart", w->name, sqrt(apart), sqrt(square));
    }
}

/* What scores are made of grows errors by their size: these are as large as those of models in use. */
static void soften(struct train_model *m)
{
    for (int32_t i = 0; i < m->n_weights; i++)
        for (int64_t j = 0; j < m->weights[i].n_in * m->weights[i].n_out && !m->weights[i].vector; j++)
            m->values[m->weights[i].at + j] /= 2;
}

/* The gradient is the other one but for the rounding of eight bits, and nothing of a sequence stays behind.
 */
static void bfloat16_check(bool narrow)
{
    const struct train_kernels *list[TRAIN_KERNELS_MAX];
    struct train_shape shape = tiny_shape();
    struct tiny_sequence t;
    tiny_sequence_fill(&t, 3, shape.n_vocab, 2);
    for (int32_t k = train_kernels_list(list) - 1; k >= 0; k--) {
        struct rig full, half, again;
        struct train_loss a = {0}, b = {0}, c = {0};
        rig_create(&full, &shape, list[k], 1);
        rig_create_keeping(&half, &shape, list[k]->rounding, 1, narrow);
        rig_create_keeping(&again, &shape, list[k]->rounding, 3, narrow);
        soften(&full.model);
        soften(&half.model);
        soften(&again.model);
        train_pass_run(&full.pass, &t.s, true, 1, &a);
        train_pass_run(&half.pass, &t.s, true, 1, &b);
        assert_true(a.loss != b.loss && fabs(a.loss - b.loss) < 0.01 * a.loss);
        gradients_near(&full, &half, 0.025);
        assert_true(loss_of(&again, &t.s) == b.loss);
        train_pass_run(&again.pass, &t.s, true, 1, &c);
        assert_memory_equal(
            half.pass.gradients, again.pass.gradients, (size_t)half.model.n_values * sizeof(float));
        rig_free(&full);
        rig_free(&half);
        rig_free(&again);
    }
}

static void test_bfloat16_gives_nearly_the_same_gradient(void **state)
{
    (void)state;
    bfloat16_check(false);
    bfloat16_check(true);
}

static size_t bytes_of(bool narrow, int32_t layers)
{
    struct train_shape shape = tiny_shape();
    struct train_model m;
    shape.n_layers = layers;
    tiny_model_create(&m, &shape);
    const size_t bytes = train_pass_bytes(&m, &train_kernels_base, narrow, TINY_TOKENS, 1);
    train_model_free(&m);
    return bytes;
}

static void test_a_layer_in_bfloat16_takes_half_the_memory(void **state)
{
    (void)state;
    const size_t full = bytes_of(false, 20) - bytes_of(false, 10),
                 half = bytes_of(true, 20) - bytes_of(true, 10);
    assert_true(half > full * 49 / 100 && half < full * 55 / 100);
}

static void test_bfloat16_is_kept_where_there_is_much_to_keep(void **state)
{
    const struct train_kernels *k = &train_kernels_base;
    struct train_shape shape = tiny_shape();
    struct train_model m;
    (void)state;
    tiny_model_create(&m, &shape);
    assert_false(train_pass_narrows(&m, k->rounding, TINY_TOKENS));
    assert_true(train_pass_narrows(&m, k->rounding, 1 << 20));
    assert_false(train_pass_narrows(&m, k, 1 << 20));
    train_model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradient_is_that_of_differences),
        cmocka_unit_test(test_gradient_where_few_tokens_are_learned),
        cmocka_unit_test(test_rows_left_out_change_nothing),
        cmocka_unit_test(test_examples_do_not_see_each_other),
        cmocka_unit_test(test_threads_change_no_bit),
        cmocka_unit_test(test_a_divided_head_learns_the_same),
        cmocka_unit_test(test_bfloat16_gives_nearly_the_same_gradient),
        cmocka_unit_test(test_a_layer_in_bfloat16_takes_half_the_memory),
        cmocka_unit_test(test_bfloat16_is_kept_where_there_is_much_to_keep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

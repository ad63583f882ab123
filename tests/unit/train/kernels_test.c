/* Each step of a layer against the same in doubles, and its gradient against finite differences of those. */
#include "tiny.h"

enum { N = 37 }; /* no multiple of a vector */

struct vectors {
    float x[N], w[N], y[N], up[N], dy[N];
};

static void fill(struct vectors *v)
{
    struct rand_pcg r;
    rand_pcg_seed(&r, 9);
    for (int i = 0; i < N; i++) {
        v->x[i] = (float)(4 * rand_pcg_double(&r) - 2);
        v->w[i] = (float)(2 * rand_pcg_double(&r) - 1);
        v->up[i] = (float)(3 * rand_pcg_double(&r) - 1);
        v->dy[i] = (float)(2 * rand_pcg_double(&r) - 1);
    }
}

static void near(double found, double expected, const char *what, int i)
{
    if (!(fabs(found - expected) < 2e-5 * (1 + fabs(expected))))
        fail_msg("%s[%d]: %.9g is not %.9g", what, i, found, expected);
}

static void each(void (*check)(const struct train_kernels *k))
{
    const struct train_kernels *list[TRAIN_KERNELS_MAX];
    for (int32_t k = train_kernels_list(list) - 1; k >= 0; k--)
        check(list[k]);
}

/* ---- The norm ---- */
static double norm_loss(const double *x, const double *w, const float *dy)
{
    double square = 0, sum = 0;
    for (int i = 0; i < N; i++)
        square += x[i] * x[i];
    for (int i = 0; i < N; i++)
        sum += x[i] / sqrt(square / N + 1e-5) * w[i] * (double)dy[i];
    return sum;
}

static double difference(double (*f)(const double *, const double *, const float *), const float *x,
    const float *w, const float *dy, int i, bool of_w)
{
    double a[N], b[N], up, h = 1e-5;
    for (int j = 0; j < N; j++) {
        a[j] = (double)x[j];
        b[j] = (double)w[j];
    }
    *(of_w ? &b[i] : &a[i]) += h;
    up = f(a, b, dy);
    *(of_w ? &b[i] : &a[i]) -= 2 * h;
    return (up - f(a, b, dy)) / (2 * h);
}

/* ---- The norm that takes the mean away ---- */
static double layer_norm_loss(const double *x, const double *w, const float *dy)
{
    double mean = 0, square = 0, sum = 0;
    for (int i = 0; i < N; i++)
        mean += x[i] / N;
    for (int i = 0; i < N; i++)
        square += (x[i] - mean) * (x[i] - mean);
    for (int i = 0; i < N; i++)
        sum += (x[i] - mean) / sqrt(square / N + 1e-5) * w[i] * (double)dy[i];
    return sum;
}

/* Both with the loss that says what they are; the second takes the mean of x away. */
static void norm_check(const char *name, float (*norm)(float *, const float *, const float *, float, int64_t),
    void (*back)(float *, float *, const float *, const float *, const float *, float, int64_t),
    double (*loss)(const double *, const double *, const float *), bool centred)
{
    struct vectors v;
    double mean = 0;
    float dx[N], dw[N] = {0};
    fill(&v);
    const float inverse = norm(v.y, v.x, v.w, 1e-5f, N);
    for (int i = 0; centred && i < N; i++)
        mean += (double)v.x[i] / N;
    for (int i = 0; i < N; i++) {
        near((double)v.y[i], ((double)v.x[i] - mean) * (double)inverse * (double)v.w[i], name, i);
        dx[i] = 1;
    }
    back(dx, dw, v.dy, v.x, v.w, inverse, N);
    for (int i = 0; i < N; i++) {
        near((double)dx[i] - 1, difference(loss, v.x, v.w, v.dy, i, false), name, i);
        near((double)dw[i], difference(loss, v.x, v.w, v.dy, i, true), name, i);
    }
}

static void rms_norm_check(const struct train_kernels *k)
{
    norm_check("norm", k->norm, k->norm_back, norm_loss, false);
}

static void layer_norm_check(const struct train_kernels *k)
{
    norm_check("layer norm", k->layer_norm, k->layer_norm_back, layer_norm_loss, true);
}

static void test_norm(void **state)
{
    (void)state;
    each(rms_norm_check);
}

static void test_layer_norm(void **state)
{
    (void)state;
    each(layer_norm_check);
}

/* ---- Caps ---- */
static double softcap_loss(const double *x, const double *unused, const float *dy)
{
    double sum = 0;
    (void)unused;
    for (int i = 0; i < N; i++)
        sum += 1.5 * tanh(0.8 * x[i] / 1.5) * (double)dy[i];
    return sum;
}

static void softcap_check(const struct train_kernels *k)
{
    struct vectors v;
    float y[N], d[N];
    fill(&v);
    memcpy(y, v.x, sizeof y);
    memcpy(d, v.dy, sizeof d);
    k->softcap(y, 0.8f, 1.5f, N);
    k->softcap_back(d, y, 1.5f, N);
    for (int i = 0; i < N; i++) {
        near((double)y[i], 1.5 * tanh(0.8 * (double)v.x[i] / 1.5), "softcap", i);
        near(0.8 * (double)d[i], difference(softcap_loss, v.x, v.w, v.dy, i, false), "d softcap", i);
    }
}

static void test_softcap(void **state)
{
    (void)state;
    each(softcap_check);
}

/* ---- gelu(gate) up ---- */
static double gelu(double x)
{
    return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static double geglu_loss(const double *gate, const double *up, const float *dy)
{
    double sum = 0;
    for (int i = 0; i < N; i++)
        sum += gelu(gate[i]) * up[i] * (double)dy[i];
    return sum;
}

static void geglu_check(const struct train_kernels *k)
{
    struct vectors v;
    float d[N], gate[N], up[N];
    fill(&v);
    k->geglu(v.y, v.x, v.up, N);
    memcpy(d, v.dy, sizeof d);
    memcpy(gate, v.x, sizeof gate);
    memcpy(up, v.up, sizeof up);
    k->geglu_back(d, gate, up, N);
    for (int i = 0; i < N; i++) {
        near((double)v.y[i], gelu((double)v.x[i]) * (double)v.up[i], "geglu", i);
        near((double)d[i], (double)v.y[i], "geglu made again", i);
        near((double)gate[i], difference(geglu_loss, v.x, v.up, v.dy, i, false), "d gate of gelu", i);
        near((double)up[i], difference(geglu_loss, v.x, v.up, v.dy, i, true), "d up of gelu", i);
    }
}

static void test_geglu(void **state)
{
    (void)state;
    each(geglu_check);
}

/* ---- silu(gate) up ---- */
static double glu_loss(const double *gate, const double *up, const float *dy)
{
    double sum = 0;
    for (int i = 0; i < N; i++)
        sum += gate[i] / (1 + exp(-gate[i])) * up[i] * (double)dy[i];
    return sum;
}

static void glu_check(const struct train_kernels *k)
{
    struct vectors v;
    float d[N], gate[N], up[N];
    fill(&v);
    k->glu(v.y, v.x, v.up, N);
    memcpy(d, v.dy, sizeof d);
    memcpy(gate, v.x, sizeof gate);
    memcpy(up, v.up, sizeof up);
    k->glu_back(d, gate, up, N);
    for (int i = 0; i < N; i++) {
        const double x = (double)v.x[i];
        near((double)v.y[i], x / (1 + exp(-x)) * (double)v.up[i], "glu", i);
        near((double)d[i], (double)v.y[i], "glu made again", i);
        near((double)gate[i], difference(glu_loss, v.x, v.up, v.dy, i, false), "d gate", i);
        near((double)up[i], difference(glu_loss, v.x, v.up, v.dy, i, true), "d up", i);
    }
}

static void test_glu(void **state)
{
    (void)state;
    each(glu_check);
}

/* ---- Softmax ---- */
static const double SCALE = 0.7;

static double softmax_loss(const double *x, const double *unused, const float *dy)
{
    double sum = 0, out = 0;
    (void)unused;
    for (int i = 0; i < N; i++)
        sum += exp(SCALE * x[i]);
    for (int i = 0; i < N; i++)
        out += exp(SCALE * x[i]) / sum * (double)dy[i];
    return out;
}

static void softmax_check(const struct train_kernels *k)
{
    struct vectors v;
    float p[N], again[N], d[N], sum;
    double total = 0, less = 0;
    fill(&v);
    memcpy(p, v.x, sizeof p);
    memcpy(again, v.x, sizeof again);
    const float lse = k->softmax(p, (float)SCALE, N, &sum);
    for (int i = 0; i < N; i++)
        total += exp(SCALE * (double)v.x[i]);
    near((double)lse, log(total), "lse", 0);
    k->scale(p, 1 / sum, N);
    k->exponents(again, (float)SCALE, lse, N);
    for (int i = 0; i < N; i++) {
        near((double)p[i], exp(SCALE * (double)v.x[i]) / total, "softmax", i);
        near((double)again[i], (double)p[i], "softmax made again", i);
        less += (double)p[i] * (double)v.dy[i];
    }
    memcpy(d, v.dy, sizeof d);
    k->softmax_back(d, p, (float)less, (float)SCALE, N);
    for (int i = 0; i < N; i++)
        near((double)d[i], difference(softmax_loss, v.x, v.w, v.dy, i, false), "d softmax", i);
}

static void test_softmax(void **state)
{
    (void)state;
    each(softmax_check);
}

/* ---- Rotation: backwards is the inverse, which is the transposed, which is the gradient ---- */
static void rope_check(const struct train_kernels *k)
{
    float x[20], cosine[10], sine[10];
    for (int halves = 0; halves < 2; halves++) {
        for (int i = 0; i < 20; i++)
            x[i] = (float)i - 7;
        for (int i = 0; i < 10; i++) {
            cosine[i] = cosf((float)i / 3);
            sine[i] = sinf((float)i / 3);
        }
        k->rope(x, cosine, sine, 1, halves, 20);
        for (int i = 0; i < 10; i++) {
            const int a = halves ? i : 2 * i, b = halves ? i + 10 : 2 * i + 1;
            const double c = cos(i / 3.0), s = sin(i / 3.0);
            near((double)x[a], (a - 7) * c - (b - 7) * s, "rope", a);
            near((double)x[b], (a - 7) * s + (b - 7) * c, "rope", b);
        }
        k->rope(x, cosine, sine, -1, halves, 20);
        for (int i = 0; i < 20; i++)
            near((double)x[i], i - 7, "rope back", i);
    }
}

static void test_rope(void **state)
{
    (void)state;
    each(rope_check);
}

/* ---- AdamW by its paper ---- */
static void adam_check(const struct train_kernels *k)
{
    struct vectors v;
    float w[N], m[N] = {0}, s[N] = {0};
    double dw[N], dm[N] = {0}, ds[N] = {0};
    fill(&v);
    memcpy(w, v.w, sizeof w);
    for (int i = 0; i < N; i++)
        dw[i] = (double)w[i];
    for (int t = 1; t <= 5; t++) {
        const struct train_adam a = {0.01f, 0.1f, 0.9f, 0.95f, 1e-8f, (float)(1 / (1 - pow(0.9, t))),
            (float)(1 / (1 - pow(0.95, t))), 0.5f};
        k->adam(w, m, s, v.dy, &a, N);
        for (int i = 0; i < N; i++) {
            const double g = 0.5 * (double)v.dy[i];
            dm[i] = 0.9 * dm[i] + 0.1 * g;
            ds[i] = 0.95 * ds[i] + 0.05 * g * g;
            dw[i] -=
                0.01 * (dm[i] / (1 - pow(0.9, t)) / (sqrt(ds[i] / (1 - pow(0.95, t))) + 1e-8) + 0.1 * dw[i]);
            near((double)w[i], dw[i], "adam", i);
        }
    }
}

static void test_adam(void **state)
{
    (void)state;
    each(adam_check);
}

/* Of two neighbours the nearer, of equally near ones the even; what is no number stays none. */
static void bf16_check(const struct train_kernels *k)
{
    static const uint32_t cases[][2] = {{0x3F800000, 0x3F80}, {0x3F808000, 0x3F80}, {0x3F818000, 0x3F82},
        {0x3F808001, 0x3F81}, {0xBF80FFFF, 0xBF81}, {0x7F7FFFFF, 0x7F80}, {0x7F800000, 0x7F80},
        {0xFF800000, 0xFF80}, {0x00000001, 0}, {0x00018000, 2}, {0x80000000, 0x8000}, {0x7FFFFFFF, 0x7FFF},
        {0x7F800001, 0x7FC0}, {0x7F7F7FFF, 0x7F7F}};
    enum { CASES = sizeof cases / sizeof *cases, ALL = 3 * CASES };
    float x[ALL], wide[ALL];
    uint16_t narrow[ALL];
    for (int i = 0; i < ALL; i++)
        memcpy(&x[i], &cases[i % CASES][0], sizeof *x);
    k->narrow(narrow, x, ALL);
    k->widen(wide, narrow, ALL);
    k->round(x, ALL);
    for (int i = 0; i < ALL; i++) {
        const uint32_t expected = cases[i % CASES][1] << 16;
        assert_int_equal(narrow[i], cases[i % CASES][1]);
        assert_memory_equal(&x[i], &expected, sizeof expected);
        assert_memory_equal(&wide[i], &expected, sizeof expected);
    }
}

static void test_bfloat16(void **state)
{
    (void)state;
    each(bf16_check);
}

/* What the peak is measured by does what it says: each number goes to 1 / (1 - 0.5). */
static void test_a_peak_is_of_work_that_is_done(void **state)
{
    const struct train_kernels *list[TRAIN_KERNELS_MAX];
    (void)state;
    for (int32_t k = train_kernels_list(list) - 1; k >= 0; k--) {
        float numbers[3] = {0.5f, 1, 0};
        const int64_t flops = list[k]->bare(numbers), sums = (int64_t)(numbers[2] / 2);
        assert_int_equal(sums, list[k]->tile_rows * list[k]->tile_columns);
        assert_int_equal(flops % (2 * sums), 0);
        assert_true(list[k]->rounding->bare(numbers) > 0);
    }
}

static void test_unknown_set_is_named(void **state)
{
    const struct train_kernels *k;
    struct error err;
    (void)state;
    assert_int_equal(train_kernels_select("mmx", &k, &err), ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "mmx"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norm),
        cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_softcap),
        cmocka_unit_test(test_geglu),
        cmocka_unit_test(test_glu),
        cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_adam),
        cmocka_unit_test(test_bfloat16),
        cmocka_unit_test(test_a_peak_is_of_work_that_is_done),
        cmocka_unit_test(test_unknown_set_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

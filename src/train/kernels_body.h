/* The loops behind struct train_kernels. The including file defines KERNELS (the table's name), ISA (text),
 * LANES (floats in a vector), TILE_ROWS and TILE_VECTORS (a product's tile: rows, vectors in a row); and
 * ROUNDING_PRODUCTS where it has products of bfloat16 of its own (the table's members from tile_rows on).
 * Sums over a row are kept in LANES parts, so a result depends on the instruction set, but never on threads.
 */
#include <math.h>
#include <string.h>

#include "engine/worker/cpu/exp.h"
#include "engine/worker/tensor_half.h"
#include "train/kernels.h"

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t vec_bits __attribute__((vector_size(4 * LANES)));

#define TILE_COLUMNS (LANES * TILE_VECTORS)
#define LINE_VECTORS (16 / LANES) /* in a cache's line */
#if !defined(INLINE)
#define INLINE static inline __attribute__((always_inline))
#endif

INLINE float vec_sum(vec v)
{
    float sum[LANES];
    memcpy(sum, &v, sizeof sum);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            sum[i] += sum[i + half];
    return sum[0];
}

/* ---- Products: TILE_ROWS x TILE_VECTORS sums stay in registers ---- */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

INLINE void tile_of(const int rows, int64_t k, const float *a, int64_t a_row, int64_t a_column,
    const float *b, float *c, int64_t ldc, bool add)
{
    vec sum[TILE_ROWS][TILE_VECTORS];
    const float *row[TILE_ROWS];
    UNROLL for (int r = 0; r < rows; r++)
    {
        row[r] = a + r * a_row;
        UNROLL for (int v = 0; v < TILE_VECTORS; v++) sum[r][v] = (vec){0};
        /* C is seldom near, and needed when the sums are made. */
        UNROLL for (int v = 0; v < TILE_VECTORS; v += LINE_VECTORS)
            __builtin_prefetch(c + r * ldc + v * LANES, 1);
    }
    for (int64_t p = 0; p < k; p++, b += TILE_COLUMNS) {
        vec column[TILE_VECTORS];
        UNROLL for (int v = 0; v < TILE_VECTORS; v++) column[v] = *(const vec *)(b + v * LANES);
        UNROLL for (int r = 0; r < rows; r++) UNROLL for (int v = 0; v < TILE_VECTORS; v++) sum[r][v] +=
            row[r][p * a_column] * column[v];
    }
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int v = 0; v < TILE_VECTORS; v++)
    {
        vec *out = (vec *)(c + r * ldc + v * LANES);
        if (add)
            sum[r][v] += *out;
        *out = sum[r][v];
    }
}

/* The last rows; A is read as in panels. */
#define TILE_CASE(n)                                                                                         \
    case n:                                                                                                  \
        if (a_row)                                                                                           \
            tile_of(n, k, a, a_row, 1, b, c, ldc, add);                                                      \
        else                                                                                                 \
            tile_of(n, k, a, 1, TILE_ROWS, b, c, ldc, add);                                                  \
        return

static void tile_last(
    int64_t rows, int64_t k, const float *a, int64_t a_row, const float *b, float *c, int64_t ldc, bool add)
{
    switch (rows) {
#if TILE_ROWS > 6
        TILE_CASE(11);
        TILE_CASE(10);
        TILE_CASE(9);
        TILE_CASE(8);
        TILE_CASE(7);
        TILE_CASE(6);
#endif
        TILE_CASE(5);
        TILE_CASE(4);
        TILE_CASE(3);
        TILE_CASE(2);
        TILE_CASE(1);
    }
}

static void panel(
    int64_t m, int64_t k, const float *a, int64_t a_row, const float *b, float *c, int64_t ldc, bool add)
{
    const int64_t step = a_row ? TILE_ROWS * a_row : TILE_ROWS * k;
    for (; m >= TILE_ROWS; m -= TILE_ROWS, a += step, c += TILE_ROWS * ldc)
        if (a_row && add)
            tile_of(TILE_ROWS, k, a, a_row, 1, b, c, ldc, true);
        else if (a_row)
            tile_of(TILE_ROWS, k, a, a_row, 1, b, c, ldc, false);
        else if (add)
            tile_of(TILE_ROWS, k, a, 1, TILE_ROWS, b, c, ldc, true);
        else
            tile_of(TILE_ROWS, k, a, 1, TILE_ROWS, b, c, ldc, false);
    tile_last(m, k, a, a_row, b, c, ldc, add);
}

static void panels(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row, const float *b,
    int64_t apart, float *c, int64_t ldc, bool add)
{
    for (int64_t j = 0; j < n; j += TILE_COLUMNS, b += apart)
        panel(m, k, a, a_row, b, c + j, ldc, add);
}

/* As many sums as a tile has, of numbers that never leave the registers. */
static int64_t bare(float *numbers)
{
    enum { ROUNDS = 20000 };
    const vec by = numbers[0] - (vec){0}, plus = numbers[1] - (vec){0};
    vec sum[TILE_ROWS][TILE_VECTORS], all = {0};
    UNROLL for (int r = 0; r < TILE_ROWS; r++) UNROLL for (int v = 0; v < TILE_VECTORS; v++) sum[r][v] =
        plus * (float)(r * TILE_VECTORS + v);
    for (int i = 0; i < ROUNDS; i++)
        UNROLL for (int r = 0; r < TILE_ROWS; r++) UNROLL for (int v = 0; v < TILE_VECTORS; v++) sum[r][v] =
            sum[r][v] * by + plus;
    UNROLL for (int r = 0; r < TILE_ROWS; r++) UNROLL for (int v = 0; v < TILE_VECTORS; v++) all += sum[r][v];
    numbers[2] = vec_sum(all);
    return (int64_t)2 * LANES * TILE_ROWS * TILE_VECTORS * ROUNDS;
}

static void pack_columns(float *restrict to, int64_t n, int64_t k, struct matrix b)
{
    if (b.column == 1 && n == TILE_COLUMNS) {
        for (int64_t p = 0; p < k; p++)
            memcpy(to + p * TILE_COLUMNS, b.data + p * b.row, TILE_COLUMNS * sizeof *to);
        return;
    }
    if (n < TILE_COLUMNS)
        memset(to, 0, (size_t)(TILE_COLUMNS * k) * sizeof *to);
    /* Columns that stand far apart have their values together: 8 of each column at a time stay in one cache
     * line. */
    for (int64_t p = 0; p < k; p += 8) {
        const int64_t end = p + 8 < k ? p + 8 : k;
        for (int64_t j = 0; j < n; j++) {
            const float *from = b.data + j * b.column;
            for (int64_t q = p; q < end; q++)
                to[q * TILE_COLUMNS + j] = from[q * b.row];
        }
    }
}

/* By tiles, TILE_ROWS values for each of the k, where memory holds A turned. */
static const float *pack_turned(float *restrict to, int64_t m, int64_t k, struct matrix a)
{
    const float *from = a.data;
    for (int64_t p = 0; p < k; p++, from += a.column) {
        int64_t i = 0;
        for (; i + TILE_ROWS <= m; i += TILE_ROWS)
            memcpy(to + i * k + p * TILE_ROWS, from + i, TILE_ROWS * sizeof *to);
        for (int64_t r = i; r < m; r++)
            to[i * k + p * TILE_ROWS + r - i] = from[r];
    }
    return to;
}

static const float *pack_rows(float *to, int64_t m, int64_t k, struct matrix a, int64_t *a_row)
{
    *a_row = a.column == 1 ? a.row : 0;
    return a.column == 1 ? a.data : pack_turned(to, m, k, a);
}

/* ---- Rows ---- */
static float dot(const float *x, const float *y, int64_t n)
{
    vec sum = {0};
    float rest = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        sum += *(const vec *)(x + i) * *(const vec *)(y + i);
    for (; i < n; i++)
        rest += x[i] * y[i];
    return vec_sum(sum) + rest;
}

static float norm(float *restrict y, const float *restrict x, const float *restrict w, float eps, int64_t n)
{
    float inverse = 1 / sqrtf(dot(x, x, n) / (float)n + eps);
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * inverse * w[i];
    return inverse;
}

/* y_i = x_i r w_i with r = (mean x^2 + eps)^-1/2, so dx_i = r (dy_i w_i - x_i r^2 mean(dy w x)). */
static void norm_back(float *restrict dx, float *restrict dw, const float *restrict dy,
    const float *restrict x, const float *restrict w, float inverse, int64_t n)
{
    vec sum = {0};
    float rest = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        sum += *(const vec *)(dy + i) * *(const vec *)(w + i) * *(const vec *)(x + i);
    for (; i < n; i++)
        rest += dy[i] * w[i] * x[i];
    const float mean = (vec_sum(sum) + rest) / (float)n * inverse * inverse;
    for (i = 0; i < n; i++) {
        dw[i] += dy[i] * x[i] * inverse;
        dx[i] += inverse * (dy[i] * w[i] - x[i] * mean);
    }
}

static void glu(float *restrict y, const float *restrict gate, const float *restrict up, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = gate[i] / (1 + common_exp(-gate[i])) * up[i];
}

static void glu_back(float *restrict d, float *restrict gate, float *restrict up, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float s = 1 / (1 + common_exp(-gate[i])), silu = gate[i] * s, dy = d[i];
        d[i] = silu * up[i];
        gate[i] = dy * up[i] * (s + silu * (1 - s));
        up[i] = dy * silu;
    }
}

/* Of (1 + tanh u) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3). */
INLINE float gelu_share(float x)
{
    return 1 / (1 + common_exp(-1.59576912f * (x + 0.044715f * x * x * x)));
}

static void geglu(float *restrict y, const float *restrict gate, const float *restrict up, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = gate[i] * gelu_share(gate[i]) * up[i];
}

static void geglu_back(float *restrict d, float *restrict gate, float *restrict up, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float x = gate[i], s = gelu_share(x), dy = d[i];
        float slope = s + x * s * (1 - s) * 1.59576912f * (1 + 0.134145f * x * x);
        d[i] = x * s * up[i];
        gate[i] = dy * up[i] * slope;
        up[i] = dy * x * s;
    }
}

static float sum_row(const float *x, int64_t n)
{
    vec sum = {0};
    float rest = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        sum += *(const vec *)(x + i);
    for (; i < n; i++)
        rest += x[i];
    return vec_sum(sum) + rest;
}

static float layer_norm(
    float *restrict y, const float *restrict x, const float *restrict w, float eps, int64_t n)
{
    const float mean = sum_row(x, n) / (float)n;
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] - mean;
    const float inverse = 1 / sqrtf(dot(y, y, n) / (float)n + eps);
    for (int64_t i = 0; i < n; i++)
        y[i] *= inverse * w[i];
    return inverse;
}

/* As norm_back with x less its mean for x; what comes of it loses its own mean. */
static void layer_norm_back(float *restrict dx, float *restrict dw, const float *restrict dy,
    const float *restrict x, const float *restrict w, float inverse, int64_t n)
{
    const float mean = sum_row(x, n) / (float)n, of_gradient = dot(dy, w, n) / (float)n;
    vec sum = {0};
    float rest = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        sum += *(const vec *)(dy + i) * *(const vec *)(w + i) * (*(const vec *)(x + i) - mean);
    for (; i < n; i++)
        rest += dy[i] * w[i] * (x[i] - mean);
    const float along = (vec_sum(sum) + rest) / (float)n * inverse * inverse;
    for (i = 0; i < n; i++) {
        dw[i] += dy[i] * (x[i] - mean) * inverse;
        dx[i] += inverse * (dy[i] * w[i] - of_gradient - (x[i] - mean) * along);
    }
}

static void softcap(float *x, float by, float cap, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = cap - 2 * cap / (1 + common_exp(2 * by / cap * x[i]));
}

static void softcap_back(float *restrict d, const float *restrict capped, float cap, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        d[i] *= 1 - capped[i] / cap * (capped[i] / cap);
}

static void add_rows(float *restrict y, const float *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += x[i];
}

static void mix_rows(float *restrict y, float own, const float *restrict x, float other, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = own * y[i] + other * x[i];
}

static void scale_row(float *y, float by, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] *= by;
}

/* ---- Softmax ---- */
static void exponents(float *x, float scale, float less, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = common_exp(x[i] * scale - less);
}

/* The largest of scale x: a comparison at a time would wait for the one before it. */
static float largest(const float *x, float scale, int64_t n)
{
    float most = x[0] * scale, parts[LANES];
    vec v = most - (vec){0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const vec next = *(const vec *)(x + i) * scale;
        const vec_bits larger = next > v;
        v = (vec)((larger & (vec_bits)next) | (~larger & (vec_bits)v));
    }
    memcpy(parts, &v, sizeof parts);
    for (int j = 0; j < LANES; j++)
        most = parts[j] > most ? parts[j] : most;
    for (; i < n; i++)
        most = x[i] * scale > most ? x[i] * scale : most;
    return most;
}

static float exponents_sum(const float *x, int64_t n, float *most)
{
    float some[8 * LANES], rest = 0;
    const int64_t run = sizeof some / sizeof *some;
    vec sum = {0};
    *most = largest(x, 1, n);
    for (int64_t i = 0; i < n; i += run) {
        const int64_t end = n - i < run ? n - i : run;
        int64_t j = 0;
        for (int64_t q = 0; q < end; q++)
            some[q] = common_exp(x[i + q] - *most);
        for (; j + LANES <= end; j += LANES)
            sum += *(const vec *)(some + j);
        for (; j < end; j++)
            rest += some[j];
    }
    return vec_sum(sum) + rest;
}

static float softmax(float *x, float scale, int64_t n, float *total)
{
    const float most = largest(x, scale, n);
    float rest = 0;
    vec sum = {0};
    int64_t i = 0;
    exponents(x, scale, most, n);
    for (; i + LANES <= n; i += LANES)
        sum += *(const vec *)(x + i);
    for (; i < n; i++)
        rest += x[i];
    *total = vec_sum(sum) + rest;
    return most + logf(*total);
}

static void softmax_back(float *restrict s, const float *restrict p, float less, float scale, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        s[i] = p[i] * (s[i] - less) * scale;
}

static void rope(float *x, const float *cosine, const float *sine, float sign, bool halves, int64_t n)
{
    const int64_t step = halves ? 1 : 2, partner = halves ? n / 2 : 1;
    for (int64_t i = 0; i < n / 2; i++) {
        float a = x[i * step], b = x[i * step + partner], s = sign * sine[i];
        x[i * step] = a * cosine[i] - b * s;
        x[i * step + partner] = a * s + b * cosine[i];
    }
}

static void adam(float *restrict w, float *restrict m, float *restrict v, const float *restrict g,
    const struct train_adam *a, int64_t n)
{
    const struct train_adam c = *a;
    for (int64_t i = 0; i < n; i++) {
        float gradient = g[i] * c.scale;
        m[i] = c.beta1 * m[i] + (1 - c.beta1) * gradient;
        v[i] = c.beta2 * v[i] + (1 - c.beta2) * gradient * gradient;
        float step = m[i] * c.correction1 / (sqrtf(v[i] * c.correction2) + c.epsilon);
        w[i] -= c.rate * (step + c.decay * w[i]);
    }
}

/* ---- bfloat16 ---- */
static void round_row(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = tensor_float_from_bf16(tensor_bf16_from_float(x[i]));
}

static void narrow(uint16_t *restrict to, const float *restrict from, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = tensor_bf16_from_float(from[i]);
}

static void widen(float *restrict to, const uint16_t *restrict from, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = tensor_float_from_bf16(from[i]);
}

#define PRODUCTS                                                                                             \
    .tile_rows = TILE_ROWS, .tile_columns = TILE_COLUMNS, .panel_floats = TILE_COLUMNS, .k_step = 1,         \
    .panels = panels, .bare = bare
#if !defined(ROUNDING_PRODUCTS)
#define ROUNDING_PRODUCTS PRODUCTS, .pack_panel = pack_columns_rounded, .pack_rows = pack_rows_rounded
static void pack_columns_rounded(float *to, int64_t n, int64_t k, struct matrix b)
{
    pack_columns(to, n, k, b);
    round_row(to, TILE_COLUMNS * k);
}

static const float *pack_rows_rounded(float *to, int64_t m, int64_t k, struct matrix a, int64_t *a_row)
{
    *a_row = a.column == 1 ? k : 0;
    if (a.column != 1)
        pack_turned(to, m, k, a);
    for (int64_t i = 0; i < m && a.column == 1; i++)
        memcpy(to + i * k, a.data + i * a.row, (size_t)k * sizeof *to);
    round_row(to, (m + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS * k); /* what is packed turned is whole tiles */
    return to;
}

#endif

#define TABLE(name, with, ...)                                                                               \
    {                                                                                                        \
        .isa = name, .rounds = with, .rounding = &rounding, __VA_ARGS__, .norm = norm,                       \
        .norm_back = norm_back, .layer_norm = layer_norm, .layer_norm_back = layer_norm_back, .glu = glu,    \
        .glu_back = glu_back, .geglu = geglu, .geglu_back = geglu_back, .softcap = softcap,                  \
        .softcap_back = softcap_back, .add = add_rows, .scale = scale_row, .mix = mix_rows, .dot = dot,      \
        .softmax = softmax, .exponents = exponents, .exponents_sum = exponents_sum,                          \
        .softmax_back = softmax_back, .rope = rope, .round = round_row, .narrow = narrow, .widen = widen,    \
        .adam = adam                                                                                         \
    }
static const struct train_kernels rounding = TABLE(ISA "-bf16", true, ROUNDING_PRODUCTS);
const struct train_kernels KERNELS =
    TABLE(ISA, false, PRODUCTS, .pack_panel = pack_columns, .pack_rows = pack_rows);

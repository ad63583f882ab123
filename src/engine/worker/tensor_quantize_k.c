/* Blocks of 256 in runs that have a scale of their own (tensor_quantize_fit.h), with and without importance.
 * Layouts stand at the readers in tensor_dequant_k.c. */
#include <stdbool.h>

#include "engine/worker/tensor_quantize_block.h"
#include "engine/worker/tensor_quantize_fit.h"

enum { BLOCK = 256, RUN = 32, RUNS = 8, FINE_RUN = 16, FINE_RUNS = 16 };

static float sum_of(const float *weights, int n)
{
    float sum = 0;
    for (int i = 0; i < n; i++)
        sum += weights[i];
    return sum;
}

/* ---- Q2_K, Q4_K, Q5_K: value = scale * level - min ---- */

/* How such a type is written. Scales and minima have 0..packed_most levels of their own, under d and dmin. */
struct lines_type {
    struct tensor_line_search plain, weighed; /* without and with importance */
    int packed_most;
    float power; /* of the block, that is added to the values' squares where importance is known */
};

/* The lines of a block as the search leaves them, then as a reader will see them. */
struct lines {
    int n; /* runs */
    float scales[FINE_RUNS], mins[FINE_RUNS], weights[FINE_RUNS];
    uint8_t packed_scales[FINE_RUNS], packed_mins[FINE_RUNS];
    float d, dmin;
};

static void weights_plain(const float *x, const struct tensor_line_search *s, float *weights)
{
    float squares = 0;
    for (int i = 0; i < s->n; i++)
        squares += x[i] * x[i];
    const float usual = s->absolute ? 0 : sqrtf(squares / (float)s->n);
    for (int i = 0; i < s->n; i++)
        weights[i] = usual + fabsf(x[i]);
}

static void lines_fit(const float *x, const struct tensor_importance *w, const struct lines_type *t,
    struct lines *l, uint8_t *levels)
{
    const struct tensor_line_search *s = w->weights ? &t->weighed : &t->plain;
    const float power = w->weights ? tensor_power(x, BLOCK, t->power) : 0;
    float weights[RUN];
    l->n = BLOCK / s->n;
    for (int j = 0; j < l->n; j++) {
        const float *run = x + s->n * j;
        if (w->weights)
            tensor_weigh(run, w->weights + s->n * j, s->n, power, weights);
        else
            weights_plain(run, s, weights);
        const struct tensor_line line = tensor_fit_line(run, weights, s, levels + s->n * j);
        l->weights[j] = sum_of(weights, s->n);
        l->scales[j] = line.scale;
        l->mins[j] = -line.least;
    }
}

/* Packs one figure of each run under `to`, a half, and returns what a reader multiplies by. */
static float figures_pack(
    const float *figures, const float *weights, int n, int most, uint8_t *packed, uint8_t *to)
{
    float extreme = 0;
    if (weights)
        return tensor_put_half(
            to, tensor_fit_positive(figures, weights, &(struct tensor_levels){n, 0, most}, packed));
    for (int j = 0; j < n; j++)
        extreme = figures[j] > extreme ? figures[j] : extreme;
    const float by = extreme > 0 ? (float)most / extreme : 0;
    for (int j = 0; j < n; j++)
        packed[j] = (uint8_t)tensor_nearest(by * figures[j], 0, most);
    return tensor_put_half(to, extreme / (float)most);
}

/* d and dmin go to `to`; the levels become those nearest to what a reader will see. */
static void lines_pack(const float *x, const struct tensor_importance *w, const struct lines_type *t,
    struct lines *l, uint8_t *to, uint8_t *levels)
{
    const float *weights = w->weights ? l->weights : NULL;
    const int run = BLOCK / l->n;
    l->d = figures_pack(l->scales, weights, l->n, t->packed_most, l->packed_scales, to);
    l->dmin = figures_pack(l->mins, weights, l->n, t->packed_most, l->packed_mins, to + 2);
    for (int i = 0; i < BLOCK; i++) {
        const float scale = l->d * (float)l->packed_scales[i / run],
                    min = l->dmin * (float)l->packed_mins[i / run];
        if (scale != 0)
            levels[i] = (uint8_t)tensor_nearest((x[i] + min) / scale, 0, t->plain.most);
    }
}

/* Two bits of each level: in each half of 128, value 32j + l in bits 2j of byte l. */
static void put_pairs(const uint8_t *levels, uint8_t *q)
{
    for (int i = 0; i < BLOCK / 4; i++) {
        const uint8_t *l = levels + i / 32 * 128 + i % 32;
        q[i] = (uint8_t)((l[0] & 3) | (l[32] & 3) << 2 | (l[64] & 3) << 4 | (l[96] & 3) << 6);
    }
}

void tensor_write_q2_k(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    static const struct lines_type type = {.plain = {FINE_RUN, 3, 15, -0.5f, 0.1f, true},
        .weighed = {FINE_RUN, 3, 36, -0.9f, 0.05f, false},
        .packed_most = 15,
        .power = 1};
    struct lines l;
    uint8_t levels[BLOCK];
    lines_fit(from, w, &type, &l, levels);
    lines_pack(from, w, &type, &l, to + 80, levels);
    for (int j = 0; j < l.n; j++)
        to[j] = (uint8_t)(l.packed_scales[j] | l.packed_mins[j] << 4);
    put_pairs(levels, to + 16);
}

/* Eight scales and minima of 6 bits (scale_min in tensor_dequant_k.c). */
static void put_sixes(const struct lines *l, uint8_t *packed)
{
    memset(packed, 0, 12);
    for (int j = 0; j < RUNS; j++) {
        const int s = l->packed_scales[j], m = l->packed_mins[j];
        if (j < 4) {
            packed[j] |= (uint8_t)s;
            packed[j + 4] |= (uint8_t)m;
        } else {
            packed[j + 4] |= (uint8_t)((s & 15) | (m & 15) << 4);
            packed[j - 4] |= (uint8_t)(s >> 4 << 6);
            packed[j] |= (uint8_t)(m >> 4 << 6);
        }
    }
}

void tensor_write_q4_k(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    static const struct lines_type type = {.plain = {RUN, 15, 20, -1, 0.1f, false},
        .weighed = {RUN, 15, 36, -0.9f, 0.05f, false},
        .packed_most = 63,
        .power = 2};
    struct lines lines;
    uint8_t levels[BLOCK];
    lines_fit(from, w, &type, &lines, levels);
    lines_pack(from, w, &type, &lines, to, levels);
    put_sixes(&lines, to + 4);
    for (int i = 0; i < 128; i++) {
        const uint8_t *l = levels + i / 32 * 64 + i % 32;
        to[16 + i] = (uint8_t)(l[0] | l[32] << 4);
    }
}

void tensor_write_q5_k(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    static const struct lines_type type = {.plain = {RUN, 31, 15, -0.5f, 0.1f, false},
        .weighed = {RUN, 31, 36, -0.9f, 0.05f, false},
        .packed_most = 63,
        .power = 2};
    struct lines lines;
    uint8_t levels[BLOCK], *high = to + 16, *q = to + 48;
    lines_fit(from, w, &type, &lines, levels);
    lines_pack(from, w, &type, &lines, to, levels);
    put_sixes(&lines, to + 4);
    memset(high, 0, 32 + 128);
    for (int j = 0; j < RUNS; j++)
        for (int l = 0; l < RUN; l++) {
            const int value = levels[RUN * j + l];
            q[j / 2 * 32 + l] |= (uint8_t)((value & 15) << j % 2 * 4);
            high[l] |= (uint8_t)(value >> 4 << j);
        }
}

/* ---- Q3_K, Q6_K: value = scale * (level - middle) ---- */

/* The figure of largest magnitude, with its sign. */
static float extreme_of(const float *figures, int n)
{
    float extreme = 0;
    for (int i = 0; i < n; i++)
        extreme = fabsf(figures[i]) > fabsf(extreme) ? figures[i] : extreme;
    return extreme;
}

/* Levels nearest to what a reader will see, who multiplies by d * scales. */
static void levels_round(const float *x, float d, const int *scales, int middle, uint8_t *levels)
{
    for (int i = 0; i < BLOCK; i++) {
        const float factor = d * (float)scales[i / FINE_RUN];
        if (factor != 0)
            levels[i] = (uint8_t)(tensor_nearest(x[i] / factor, -middle, middle - 1) + middle);
    }
}

/* Sixteen scales of 6 bits, -32..31, under d; returns what a reader multiplies by. */
static float threes_pack(const float *figures, const float *weights, int *scales, uint8_t *d)
{
    uint8_t packed[FINE_RUNS] = {0};
    float by = 0;
    if (weights) {
        by = tensor_fit_signed(figures, weights, FINE_RUNS, 32, packed);
    } else {
        const float extreme = extreme_of(figures, FINE_RUNS), inverse = extreme != 0 ? -32 / extreme : 0;
        for (int j = 0; j < FINE_RUNS && extreme != 0; j++)
            packed[j] = (uint8_t)(tensor_nearest(inverse * figures[j], -32, 31) + 32);
        by = extreme != 0 ? 1 / inverse : 0;
    }
    for (int j = 0; j < FINE_RUNS; j++)
        scales[j] = packed[j] - 32;
    return tensor_put_half(d, by);
}

void tensor_write_q3_k(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    const float power = w->weights ? tensor_power(from, BLOCK, 2) : 0;
    float figures[FINE_RUNS], sums[FINE_RUNS], weights[FINE_RUN];
    uint8_t levels[BLOCK], *packed = to + 96;
    int scales[FINE_RUNS];
    for (int j = 0; j < FINE_RUNS; j++) {
        const float *x = from + FINE_RUN * j;
        if (w->weights) {
            tensor_weigh(x, w->weights + FINE_RUN * j, FINE_RUN, power, weights);
            sums[j] = sum_of(weights, FINE_RUN);
            figures[j] = tensor_fit_signed(x, weights, FINE_RUN, 4, levels + FINE_RUN * j);
        } else {
            figures[j] = tensor_fit_signed_by_turns(x, FINE_RUN, 4, levels + FINE_RUN * j);
        }
    }
    levels_round(from, threes_pack(figures, w->weights ? sums : NULL, scales, to + 108), scales, 4, levels);
    memset(to, 0, 32);
    memset(packed, 0, 12);
    for (int i = 0; i < BLOCK; i++)
        to[i % 32] |= (uint8_t)(levels[i] >> 2 << i / 32);
    put_pairs(levels, to + 32);
    for (int j = 0; j < FINE_RUNS; j++) {
        const int scale = scales[j] + 32;
        packed[j % 8] |= (uint8_t)((scale & 15) << j / 8 * 4);
        packed[8 + j % 4] |= (uint8_t)(scale >> 4 << j / 4 * 2);
    }
}

void tensor_write_q6_k(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    enum { MIDDLE = 32 };
    float figures[FINE_RUNS];
    uint8_t levels[BLOCK];
    int scales[FINE_RUNS];
    for (int s = 0; s < FINE_RUNS; s++)
        figures[s] = tensor_fit_signed(from + FINE_RUN * s, w->weights ? w->weights + FINE_RUN * s : NULL,
            FINE_RUN, MIDDLE, levels + FINE_RUN * s);
    const float extreme = extreme_of(figures, FINE_RUNS);
    memset(to, 0, 210);
    if (fabsf(extreme) < TENSOR_NOTHING)
        return;
    const float inverse = -128 / extreme, d = tensor_put_half(to + 208, 1 / inverse);
    for (int s = 0; s < FINE_RUNS; s++) {
        scales[s] = tensor_nearest(inverse * figures[s], -128, 127);
        to[192 + s] = (uint8_t)(int8_t)scales[s];
    }
    levels_round(from, d, scales, MIDDLE, levels);
    for (int i = 0; i < BLOCK; i++) {
        const int value = levels[i], j = i % 128 / 32, l = i % 32;
        to[i / 128 * 64 + i % 64] |= (uint8_t)((value & 15) << j / 2 * 4);
        to[128 + i / 128 * 32 + l] |= (uint8_t)(value >> 4 << 2 * j);
    }
}

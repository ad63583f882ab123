/* IQ4_NL and IQ4_XS: levels that lie closer near zero (tensor_iq4_values), times a scale that is the best of
 * some that are tried, weighed by the values' squares or their importance. Sums are made in the order of the
 * format's reference. */
#include "engine/worker/tensor_dequant.h"
#include "engine/worker/tensor_quantize_block.h"
#include "engine/worker/tensor_quantize_fit.h"

enum { RUN = 32, RUNS = 8, TRIES = 7 };

/* The level nearest to x. */
static int level_of(float x)
{
    int low = 0, high = 15;
    if (x <= (float)tensor_iq4_values[low])
        return low;
    if (x >= (float)tensor_iq4_values[high])
        return high;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (x < (float)tensor_iq4_values[middle])
            high = middle;
        else
            low = middle;
    }
    return x - (float)tensor_iq4_values[low] < (float)tensor_iq4_values[high] - x ? low : high;
}

/* How values and their levels at `inverse` of a scale go together. */
static void fit(const float *x, const float *weights, float inverse, float *sum_lx, float *sum_ll)
{
    *sum_lx = *sum_ll = 0;
    for (int i = 0; i < RUN; i++) {
        const float l = tensor_iq4_values[level_of(inverse * x[i])], w = weights[i];
        *sum_lx += w * l * x[i];
        *sum_ll += w * l * l;
    }
}

/* `power`: of the block, where importance is known. */
static float run_scale(const float *x, const float *importance, float power)
{
    const float lowest = tensor_iq4_values[0];
    float extreme = 0, sum_lx, sum_ll, weights[RUN];
    for (int i = 0; i < RUN; i++) {
        extreme = fabsf(x[i]) > fabsf(extreme) ? x[i] : extreme;
        weights[i] = x[i] * x[i];
    }
    if (importance)
        tensor_weigh(x, importance, RUN, power, weights);
    if (fabsf(extreme) < TENSOR_NOTHING)
        return 0;
    fit(x, weights, 1 / (-extreme / lowest), &sum_lx, &sum_ll);
    float scale = sum_ll > 0 ? sum_lx / sum_ll : 0, best = scale * sum_lx;
    for (int i = -TRIES; i <= TRIES; i++) {
        fit(x, weights, ((float)i + lowest) / extreme, &sum_lx, &sum_ll);
        if (sum_ll > 0 && sum_lx * sum_lx > best * sum_ll) {
            scale = sum_lx / sum_ll;
            best = scale * sum_lx;
        }
    }
    return scale;
}

static void put_run(const float *x, float scale, uint8_t *to)
{
    const float inverse = scale != 0 ? 1 / scale : 0;
    for (int i = 0; i < RUN / 2; i++)
        to[i] = (uint8_t)(level_of(inverse * x[i]) | level_of(inverse * x[i + RUN / 2]) << 4);
}

void tensor_write_iq4_nl(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    const float scale = run_scale(from, w->weights, tensor_power(from, RUN, 2));
    tensor_put_half(to, scale);
    put_run(from, scale, to + 2);
}

void tensor_write_iq4_xs(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    const float power = tensor_power(from, RUN * RUNS, 2);
    float scales[RUNS], extreme = 0;
    uint16_t high = 0;
    for (int j = 0; j < RUNS; j++) {
        scales[j] = run_scale(from + RUN * j, w->weights ? w->weights + RUN * j : NULL, power);
        extreme = fabsf(scales[j]) > fabsf(extreme) ? scales[j] : extreme;
    }
    const float d = -extreme / 32, inverse = d != 0 ? 1 / d : 0;
    tensor_put_half(to, d);
    memset(to + 4, 0, 4);
    for (int j = 0; j < RUNS; j++) {
        const int scale = tensor_nearest(inverse * scales[j], -32, 31);
        high = (uint16_t)(high | (scale + 32) >> 4 << 2 * j);
        to[4 + j / 2] |= (uint8_t)(((scale + 32) & 15) << j % 2 * 4);
        put_run(from + RUN * j, d * (float)scale, to + 8 + RUN / 2 * j);
    }
    memcpy(to + 2, &high, sizeof high);
}

/* Attention on integers of 16 bits in plain C, which the others are held against. */
#include <stdbool.h>
#include <string.h>

#include "engine/worker/cpu/shorts.h"
#include "engine/worker/tensor_half.h"

enum { HALF = SHORT_VALUES / 2 };

static uint32_t side_by_side(float low, float high)
{
    return (uint16_t)lrintf(low) | (uint32_t)(uint16_t)lrintf(high) << 16;
}

/* The sum of both halves' products. */
static int32_t dot(uint32_t a, uint32_t b)
{
    return (int16_t)a * (int16_t)b + (int16_t)(a >> 16) * (int16_t)(b >> 16);
}

static float half_at(const uint8_t *row, int64_t i, int64_t width)
{
    uint16_t h = 0;
    if (i < width)
        memcpy(&h, row + 2 * i, sizeof h);
    return tensor_float_from_half(h);
}

/* What a row's values are multiplied by to be numbers of so many bits; 0: some are no numbers. */
static float row_scale(const uint8_t *row, int64_t width, int32_t bits)
{
    enum { BIAS = 15, NO_NUMBER = 31 };
    int32_t most = 0;
    for (int64_t i = 0; i < width; i++) {
        uint16_t h;
        memcpy(&h, row + 2 * i, sizeof h);
        most = (h >> 10 & 31) > most ? h >> 10 & 31 : most;
    }
    return most == NO_NUMBER ? 0 : ldexpf(1, bits - 1 - (most - BIAS));
}

/* A value as an integer; what is no number is 0. */
static float scaled(const uint8_t *row, int64_t i, int64_t width, float by)
{
    return by > 0 ? half_at(row, i, width) * by : 0;
}

static void scalar_keys(const struct short_tile *t, int64_t at, const uint8_t *const *rows, int64_t width)
{
    for (int64_t r = 0; r < SHORT_ROWS; r++, at++) {
        const float by = row_scale(rows[r], width, SHORT_KEY_BITS);
        t->key_scale[at] = by > 0 ? 1 / by : NAN;
        for (int64_t pair = 0; pair < short_pairs(width); pair++) {
            const int64_t i = pair / HALF * SHORT_VALUES + pair % HALF;
            t->keys[(pair / SHORT_RUN * SHORT_POSITIONS + at) * SHORT_RUN + pair % SHORT_RUN] =
                side_by_side(scaled(rows[r], i, width, by), scaled(rows[r], i + HALF, width, by));
        }
    }
}

static float value_scale(const struct short_tile *t, int64_t at, const uint8_t *row, int64_t width)
{
    const float by = row_scale(row, width, SHORT_VALUE_BITS);
    t->value_power[at] = by > 0 ? -log2f(by) : NAN;
    return t->value_back[at] = by;
}

static void scalar_values(const struct short_tile *t, int64_t at, const uint8_t *const *rows,
    const uint8_t *const *beside, int64_t width)
{
    const int64_t stride = (width + HALF - 1) / HALF * HALF;
    uint32_t *to = t->values + (at / SHORT_VALUES * HALF + at % HALF) * stride;
    for (int64_t r = 0; r < SHORT_ROWS; r++, to += stride) {
        const float a = value_scale(t, at + r, rows[r], width),
                    b = value_scale(t, at + r + HALF, beside[r], width);
        for (int64_t i = 0; i < stride; i++)
            to[i] = side_by_side(scaled(rows[r], i, width, a), scaled(beside[r], i, width, b));
    }
}

static void scalar_queries(
    uint32_t *to, int64_t stride, float *scales, const float *const *rows, int64_t width, float scale)
{
    const float most = short_query_length(width);
    for (int q = 0; q < SHORT_QUERIES; q++) {
        float squares = 0;
        for (int64_t i = 0; i < width; i++)
            squares += rows[q][i] * rows[q][i];
        const float length = sqrtf(squares), by = short_query_scale(length, most);
        scales[q] = length * scale / most;
        for (int64_t pair = 0; pair < short_pairs(width); pair++) {
            const int64_t i = pair / HALF * SHORT_VALUES + pair % HALF;
            to[pair * stride + q] =
                side_by_side(i < width ? rows[q][i] * by : 0, i + HALF < width ? rows[q][i + HALF] * by : 0);
        }
    }
}

/* ---- Products ---- */

static float score(
    const struct short_tile *t, int64_t at, const uint32_t *query, int64_t stride, float scale, int64_t pairs)
{
    int32_t sum = 0;
    for (int64_t pair = 0; pair < pairs; pair++)
        sum += dot(t->keys[(pair / SHORT_RUN * SHORT_POSITIONS + at) * SHORT_RUN + pair % SHORT_RUN],
            query[pair * stride]);
    return fmaf((float)sum * t->key_scale[at], scale, t->value_power[at]);
}

static void scalar_scores(float *scores, const struct short_tile *t, const uint32_t *queries, int64_t stride,
    const float *scales, int64_t pairs, int64_t groups)
{
    for (int64_t g = 0; g < groups; g++)
        for (int64_t at = 0; at < SHORT_POSITIONS; at++)
            for (int64_t q = g * SHORT_QUERIES; q < (g + 1) * SHORT_QUERIES; q++)
                *scores++ = score(t, at, queries + q, stride, scales[q], pairs);
}

static void scalar_few_scores(float *scores, const struct short_tile *t, const uint32_t *queries,
    int64_t stride, const float *scales, int64_t pairs, int64_t n)
{
    for (int64_t q = 0; q < n; q++)
        for (int64_t at = 0; at < SHORT_POSITIONS; at++)
            *scores++ = score(t, at, queries + q, stride, scales[q], pairs);
}

static void mix(float *out, int64_t width, const float *less, const float *more, const uint32_t *terms,
    struct short_steps step, const uint32_t *values, int64_t n)
{
    for (int64_t q = 0; q < n; q++)
        for (int64_t i = 0; i < width; i++) {
            int32_t sum = 0;
            for (int64_t p = 0; p < SHORT_POSITIONS / 2; p++)
                sum += dot(terms[p * step.pair + q * step.query], values[p * width + i]);
            out[q * width + i] = fmaf(out[q * width + i], less[q], (float)sum * more[q]);
        }
}

static void scalar_mix(float *out, int64_t width, const float *less, const float *more, const uint32_t *terms,
    const uint32_t *values, int64_t n)
{
    mix(out, width, less, more, terms, SHORT_TERMS_MANY, values, n);
}

static void scalar_few_mix(float *out, int64_t width, const float *less, const float *more,
    const uint32_t *terms, const uint32_t *values, int64_t n)
{
    mix(out, width, less, more, terms, SHORT_TERMS_FEW, values, n);
}

/* ---- The softmax ---- */

/* Of query q, whose scores are `step` apart and whose terms `across`. */
static void query_terms(uint32_t *to, int64_t across, float *less, float *more, const float *scores,
    int64_t step, const struct short_tile *t, const struct short_queries *q, int64_t at)
{
    const int32_t first = q->first ? q->first[at] : 0, last = q->last ? q->last[at] : SHORT_POSITIONS;
    float here = -INFINITY, with = 0, without = 0, terms[SHORT_POSITIONS] = {0};
    for (int32_t p = first; p < last; p++)
        here = scores[p * step] > here ? scores[p * step] : here;
    const bool some = here > -INFINITY;
    for (int32_t p = first; p < last; p++) {
        terms[p] = exp2f(scores[p * step] - (some ? here : 0));
        with += terms[p];
        without += terms[p] * t->value_back[p];
    }
    const float scale = fminf(SHORT_TERMS / with, SHORT_TERM), before = q->most[at],
                most = fmaxf(before, here), factor = some ? exp2f(here - most) : 0;
    for (int32_t p = 0; p < SHORT_POSITIONS / 2; p++) {
        const int32_t i = p / HALF * SHORT_VALUES + p % HALF;
        to[p * across] = side_by_side(terms[i] * scale, terms[i + HALF] * scale);
    }
    less[at] = most != before ? exp2f(before - most) : 1;
    more[at] = factor / scale;
    q->most[at] = most;
    q->sums[at] = q->sums[at] * less[at] + without * factor;
}

static void scalar_terms(uint32_t *terms, float *less, float *more, float *scores, const struct short_tile *t,
    const struct short_queries *q)
{
    for (int64_t c = 0; c < SHORT_QUERIES; c++)
        query_terms(terms + c, SHORT_QUERIES, less, more, scores + c, SHORT_QUERIES, t, q, c);
}

static void scalar_few_terms(uint32_t *terms, float *less, float *more, const float *scores,
    const struct short_tile *t, const struct short_queries *q, int64_t n)
{
    for (int64_t c = 0; c < n; c++)
        query_terms(terms + c * SHORT_POSITIONS / 2, 1, less, more, scores + c * SHORT_POSITIONS, 1, t, q, c);
}

const struct short_unit shorts_scalar = {.queries = scalar_queries,
    .keys = scalar_keys,
    .values = scalar_values,
    .scores = scalar_scores,
    .terms = scalar_terms,
    .mix = scalar_mix,
    .few_scores = scalar_few_scores,
    .few_terms = scalar_few_terms,
    .few_mix = scalar_few_mix};

/* Blocks of 256 in runs that have a scale of their own, each the best of some that are tried: what is left
 * between the values and what a reader will see is weighed by how large the values are, and made small by
 * least squares. Sums are made in the order of the format's reference, so that the bytes are its bytes. */
#include <math.h>
#include <stdbool.h>

#include "engine/worker/tensor_quantize_block.h"

enum { RUN = 32, RUNS = 8, FINE_RUN = 16, FINE_RUNS = 16 };

/* ---- Q4_K, Q5_K: value = scale * level - min, levels 0..most ---- */

/* Which scales are tried: (most + first + 0.1 i) levels over the run's width, i = 0..steps. */
struct search {
    int most, steps;
    float first;
};

struct run {
    float weights[RUN];
    float least, most; /* least <= 0; it becomes what the best line so far has for it */
    float sum_w, sum_wx;
};

/* value = scale * level + least */
struct line {
    float scale, least;
};

static void run_measure(const float *x, struct run *r)
{
    float squares = 0;
    for (int i = 0; i < RUN; i++)
        squares += x[i] * x[i];
    const float usual = sqrtf(squares / RUN);
    r->least = r->most = x[0];
    r->sum_w = r->sum_wx = 0;
    for (int i = 0; i < RUN; i++) {
        r->least = x[i] < r->least ? x[i] : r->least;
        r->most = x[i] > r->most ? x[i] : r->most;
        r->weights[i] = usual + fabsf(x[i]);
        r->sum_w += r->weights[i];
        r->sum_wx += r->weights[i] * x[i];
    }
    r->least = r->least > 0 ? 0 : r->least;
}

static float error_of(const float *x, const struct run *r, const uint8_t *levels, struct line line)
{
    float error = 0;
    for (int i = 0; i < RUN; i++) {
        const float off = line.scale * (float)levels[i] + line.least - x[i];
        error += r->weights[i] * (off * off);
    }
    return error;
}

/* The levels at `inverse` of a scale, and the line that suits them best; false: any line does. */
static bool line_fit(
    const float *x, const struct run *r, float inverse, int most, uint8_t *levels, struct line *line)
{
    float sum_l = 0, sum_ll = 0, sum_lx = 0;
    for (int i = 0; i < RUN; i++) {
        levels[i] = (uint8_t)tensor_nearest(inverse * (x[i] - r->least), 0, most);
        const float l = levels[i], wl = r->weights[i] * l;
        sum_l += wl;
        sum_ll += wl * l;
        sum_lx += wl * x[i];
    }
    const float d = r->sum_w * sum_ll - sum_l * sum_l;
    if (!(d > 0))
        return false;
    line->scale = (r->sum_w * sum_lx - r->sum_wx * sum_l) / d;
    line->least = (sum_ll * r->sum_wx - sum_l * sum_lx) / d;
    if (line->least > 0)
        *line = (struct line){sum_lx / sum_ll, 0};
    return true;
}

static struct line run_fit(const float *x, const struct search *s, uint8_t *levels)
{
    struct run r;
    struct line tried;
    uint8_t other[RUN];
    run_measure(x, &r);
    memset(levels, 0, RUN);
    if (!(r.most > r.least))
        return (struct line){0, r.least};
    const float inverse = (float)s->most / (r.most - r.least);
    struct line best = {1 / inverse, r.least};
    for (int i = 0; i < RUN; i++)
        levels[i] = (uint8_t)tensor_nearest(inverse * (x[i] - r.least), 0, s->most);
    float least_error = error_of(x, &r, levels, best);
    for (int i = 0; i <= s->steps; i++) {
        const float by = (s->first + 0.1f * (float)i + (float)s->most) / (r.most - r.least);
        if (!line_fit(x, &r, by, s->most, other, &tried))
            continue;
        const float error = error_of(x, &r, other, tried);
        if (error < least_error) {
            memcpy(levels, other, RUN);
            least_error = error;
            best = tried;
            r.least = best.least;
        }
    }
    return best;
}

/* Packs eight scales and minima of 6 bits under d and dmin (scale_min in tensor_dequant_k.c), and changes
 * them to what a reader will see. */
static void pack_lines(struct line lines[RUNS], uint8_t *to)
{
    float scale = 0, min = 0;
    for (int j = 0; j < RUNS; j++) {
        scale = lines[j].scale > scale ? lines[j].scale : scale;
        min = -lines[j].least > min ? -lines[j].least : min;
    }
    const float by_scale = scale > 0 ? 63 / scale : 0, by_min = min > 0 ? 63 / min : 0;
    const float d = tensor_put_half(to, scale / 63), dmin = tensor_put_half(to + 2, min / 63);
    uint8_t *packed = to + 4;
    memset(packed, 0, 12);
    for (int j = 0; j < RUNS; j++) {
        const int s = tensor_nearest(by_scale * lines[j].scale, 0, 63);
        const int m = tensor_nearest(by_min * -lines[j].least, 0, 63);
        if (j < 4) {
            packed[j] |= (uint8_t)s;
            packed[j + 4] |= (uint8_t)m;
        } else {
            packed[j + 4] |= (uint8_t)((s & 15) | (m & 15) << 4);
            packed[j - 4] |= (uint8_t)(s >> 4 << 6);
            packed[j] |= (uint8_t)(m >> 4 << 6);
        }
        lines[j] = (struct line){d * (float)s, -(dmin * (float)m)};
    }
}

/* Scales and minima to `to`; the levels nearest to what a reader will see. */
static void block_fit(const float *x, const struct search *s, uint8_t *to, uint8_t *levels)
{
    struct line lines[RUNS];
    for (int j = 0; j < RUNS; j++)
        lines[j] = run_fit(x + RUN * j, s, levels + RUN * j);
    pack_lines(lines, to);
    for (int i = 0; i < RUN * RUNS; i++) {
        const struct line *l = &lines[i / RUN];
        if (l->scale != 0)
            levels[i] = (uint8_t)tensor_nearest((x[i] - l->least) / l->scale, 0, s->most);
    }
}

void tensor_write_q4_k(const float *from, uint8_t *to)
{
    static const struct search search = {15, 20, -1};
    uint8_t levels[RUN * RUNS];
    block_fit(from, &search, to, levels);
    for (int i = 0; i < 128; i++) {
        const uint8_t *l = levels + i / 32 * 64 + i % 32;
        to[16 + i] = (uint8_t)(l[0] | l[32] << 4);
    }
}

void tensor_write_q5_k(const float *from, uint8_t *to)
{
    static const struct search search = {31, 15, -0.5f};
    uint8_t levels[RUN * RUNS], *high = to + 16, *q = to + 48;
    block_fit(from, &search, to, levels);
    memset(high, 0, 32 + 128);
    for (int j = 0; j < RUNS; j++)
        for (int l = 0; l < RUN; l++) {
            const int value = levels[RUN * j + l];
            q[j / 2 * 32 + l] |= (uint8_t)((value & 15) << j % 2 * 4);
            high[l] |= (uint8_t)(value >> 4 << j);
        }
}

/* ---- Q6_K: value = scale * (level - 32) ---- */
enum { MIDDLE = 32 };
#define NOTHING 1e-15f /* a run that nowhere exceeds it is zeros */

/* The levels at `inverse` of a scale, and how values and levels go together, weighed by the values' squares.
 */
static void signed_fit(const float *x, float inverse, uint8_t *levels, float *sum_lx, float *sum_ll)
{
    *sum_lx = *sum_ll = 0;
    for (int i = 0; i < FINE_RUN; i++) {
        const int whole = tensor_nearest(inverse * x[i], -MIDDLE, MIDDLE - 1);
        const float w = x[i] * x[i], l = (float)whole;
        levels[i] = (uint8_t)(whole + MIDDLE);
        *sum_lx += w * x[i] * l;
        *sum_ll += w * l * l;
    }
}

static float fine_run_fit(const float *x, uint8_t *levels)
{
    float extreme = 0, sum_lx, sum_ll;
    uint8_t other[FINE_RUN];
    for (int i = 0; i < FINE_RUN; i++)
        extreme = fabsf(x[i]) > fabsf(extreme) ? x[i] : extreme;
    memset(levels, 0, FINE_RUN);
    if (fabsf(extreme) < NOTHING)
        return 0;
    signed_fit(x, -MIDDLE / extreme, levels, &sum_lx, &sum_ll);
    float scale = sum_ll != 0 ? sum_lx / sum_ll : 0, best = scale * sum_lx;
    for (int i = -9; i <= 9; i++) {
        if (i == 0)
            continue;
        signed_fit(x, -(MIDDLE + 0.1f * (float)i) / extreme, other, &sum_lx, &sum_ll);
        if (sum_ll > 0 && sum_lx * sum_lx > best * sum_ll) {
            memcpy(levels, other, FINE_RUN);
            scale = sum_lx / sum_ll;
            best = scale * sum_lx;
        }
    }
    return scale;
}

void tensor_write_q6_k(const float *from, uint8_t *to)
{
    float scales[FINE_RUNS], extreme = 0;
    uint8_t levels[256];
    for (int s = 0; s < FINE_RUNS; s++) {
        scales[s] = fine_run_fit(from + FINE_RUN * s, levels + FINE_RUN * s);
        extreme = fabsf(scales[s]) > fabsf(extreme) ? scales[s] : extreme;
    }
    memset(to, 0, 210);
    if (fabsf(extreme) < NOTHING)
        return;
    const float inverse = -128 / extreme, d = tensor_put_half(to + 208, 1 / inverse);
    for (int i = 0; i < 256; i++) {
        const int scale = tensor_nearest(inverse * scales[i / FINE_RUN], -128, 127);
        const float factor = d * (float)scale;
        if (factor != 0)
            levels[i] = (uint8_t)(tensor_nearest(from[i] / factor, -MIDDLE, MIDDLE - 1) + MIDDLE);
        const int value = levels[i], j = i % 128 / 32, l = i % 32;
        to[192 + i / FINE_RUN] = (uint8_t)(int8_t)scale;
        to[i / 128 * 64 + i % 64] |= (uint8_t)((value & 15) << j / 2 * 4);
        to[128 + i / 128 * 32 + l] |= (uint8_t)(value >> 4 << 2 * j);
    }
}

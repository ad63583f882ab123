#include "engine/worker/tensor_quantize_fit.h"

#include <math.h>

#include "engine/worker/tensor_quantize_block.h"

static void zeros(uint8_t *levels, int n)
{
    for (int i = 0; i < n; i++)
        levels[i] = 0;
}

/* ---- value = scale * level + least ---- */
struct run {
    float least, most; /* least <= 0; it becomes what the best line so far has for it */
    float sum_w, sum_wx;
};

static struct run run_measure(const float *x, const float *weights, int n)
{
    struct run r = {x[0], x[0], weights[0], weights[0] * x[0]};
    for (int i = 1; i < n; i++) {
        r.least = x[i] < r.least ? x[i] : r.least;
        r.most = x[i] > r.most ? x[i] : r.most;
        r.sum_w += weights[i];
        r.sum_wx += weights[i] * x[i];
    }
    r.least = r.least > 0 ? 0 : r.least;
    return r;
}

static float error_of(const float *x, const float *weights, const struct tensor_line_search *s,
    const uint8_t *levels, struct tensor_line line)
{
    float error = 0;
    for (int i = 0; i < s->n; i++) {
        const float off = line.scale * (float)levels[i] + line.least - x[i];
        error += weights[i] * (s->absolute ? fabsf(off) : off * off);
    }
    return error;
}

/* The levels at `inverse` of a scale, and the line that suits them best; false: any line does. */
static bool line_fit(const float *x, const float *weights, const struct tensor_line_search *s,
    const struct run *r, float inverse, uint8_t *levels, struct tensor_line *line)
{
    float sum_l = 0, sum_ll = 0, sum_lx = 0;
    for (int i = 0; i < s->n; i++) {
        levels[i] = (uint8_t)tensor_nearest(inverse * (x[i] - r->least), 0, s->most);
        const float l = levels[i], wl = weights[i] * l;
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
        *line = (struct tensor_line){sum_lx / sum_ll, 0};
    return true;
}

struct tensor_line tensor_fit_line(
    const float *x, const float *weights, const struct tensor_line_search *s, uint8_t *levels)
{
    struct run r = run_measure(x, weights, s->n);
    struct tensor_line tried;
    uint8_t other[TENSOR_RUN_MAX];
    zeros(levels, s->n);
    if (!(r.most > r.least))
        return (struct tensor_line){0, r.least};
    const float inverse = (float)s->most / (r.most - r.least);
    struct tensor_line best = {1 / inverse, r.least};
    for (int i = 0; i < s->n; i++)
        levels[i] = (uint8_t)tensor_nearest(inverse * (x[i] - r.least), 0, s->most);
    float least_error = error_of(x, weights, s, levels, best);
    for (int i = 0; i <= s->steps; i++) {
        const float by = (s->first + s->step * (float)i + (float)s->most) / (r.most - r.least);
        if (!line_fit(x, weights, s, &r, by, other, &tried))
            continue;
        const float error = error_of(x, weights, s, other, tried);
        if (error < least_error) {
            memcpy(levels, other, (size_t)s->n);
            least_error = error;
            best = tried;
            r.least = best.least;
        }
    }
    return best;
}

/* ---- value = scale * (level - middle) ---- */

/* The value of largest magnitude, with its sign. */
static float extreme_of(const float *x, int n)
{
    float extreme = 0;
    for (int i = 0; i < n; i++)
        extreme = fabsf(x[i]) > fabsf(extreme) ? x[i] : extreme;
    return extreme;
}

/* How values and whole numbers of a scale go together. */
struct match {
    float lx, ll;
};

/* The levels at `inverse` of a scale. */
static struct match signed_match(
    const float *x, const float *weights, int n, int middle, float inverse, uint8_t *levels)
{
    struct match m = {0, 0};
    for (int i = 0; i < n; i++) {
        const int whole = tensor_nearest(inverse * x[i], -middle, middle - 1);
        const float w = weights ? weights[i] : x[i] * x[i], l = (float)whole;
        levels[i] = (uint8_t)(whole + middle);
        m.lx += w * x[i] * l;
        m.ll += w * l * l;
    }
    return m;
}

float tensor_fit_signed(const float *x, const float *weights, int n, int middle, uint8_t *levels)
{
    const float extreme = extreme_of(x, n);
    uint8_t other[TENSOR_RUN_MAX];
    zeros(levels, n);
    if (fabsf(extreme) < TENSOR_NOTHING)
        return 0;
    struct match m = signed_match(x, weights, n, middle, (float)-middle / extreme, levels);
    float scale = m.ll != 0 ? m.lx / m.ll : 0, best = scale * m.lx;
    for (int i = -9; i <= 9; i++) {
        if (i == 0)
            continue;
        m = signed_match(x, weights, n, middle, -((float)middle + 0.1f * (float)i) / extreme, other);
        if (m.ll > 0 && m.lx * m.lx > best * m.ll) {
            memcpy(levels, other, (size_t)n);
            scale = m.lx / m.ll;
            best = scale * m.lx;
        }
    }
    return scale;
}

/* Each level in turn becomes what suits the others' scale best, where that makes the whole better. */
static bool turn(const float *x, int n, int middle, uint8_t *levels, struct match *m)
{
    bool turned = false;
    for (int i = 0; i < n; i++) {
        const float w = x[i] * x[i], l = (float)(levels[i] - middle);
        struct match t = {m->lx - w * x[i] * l, m->ll - w * l * l};
        if (!(t.lx > 0))
            continue;
        const int whole = tensor_nearest(x[i] * t.ll / t.lx, -middle, middle - 1);
        if (whole == levels[i] - middle)
            continue;
        t.lx += w * x[i] * (float)whole;
        t.ll += w * (float)whole * (float)whole;
        if (t.ll > 0 && t.lx * t.lx * m->ll > m->lx * m->lx * t.ll) {
            levels[i] = (uint8_t)(whole + middle);
            *m = t;
            turned = true;
        }
    }
    return turned;
}

float tensor_fit_signed_by_turns(const float *x, int n, int middle, uint8_t *levels)
{
    const float extreme = extreme_of(x, n);
    zeros(levels, n);
    if (fabsf(extreme) < TENSOR_NOTHING)
        return 0;
    struct match m = signed_match(x, NULL, n, middle, (float)-middle / extreme, levels);
    for (int i = 0; i < 5 && turn(x, n, middle, levels, &m); i++)
        ;
    return m.ll > 0 ? m.lx / m.ll : 0;
}

/* ---- value = scale * level ---- */

/* Levels below zero are kept as bytes, but where two errors are compared only in the first: so it is in the
 * reference, too. */
static float positive_error(
    const float *x, const float *weights, const struct tensor_levels *s, float inverse, bool kept)
{
    const float scale = 1 / inverse;
    float error = 0;
    for (int i = 0; i < s->n; i++) {
        const int level = tensor_nearest(inverse * x[i], s->least, s->most);
        const float off = x[i] - scale * (float)(kept ? (uint8_t)level : level);
        error += weights[i] * off * off;
    }
    return error;
}

static float best_inverse(const float *x, const float *weights, const struct tensor_levels *s, float extreme)
{
    float best = (float)s->most / extreme;
    float least = positive_error(x, weights, s, best, true);
    for (int i = -4; i <= 4; i++) {
        const float inverse = (0.1f * (float)i + (float)s->most) / extreme;
        if (i == 0)
            continue;
        const float error = positive_error(x, weights, s, inverse, false);
        if (error < least) {
            least = error;
            best = inverse;
        }
    }
    return best;
}

static bool positive_turn(
    const float *x, const float *weights, const struct tensor_levels *s, uint8_t *levels, struct match *m)
{
    bool turned = false;
    for (int i = 0; i < s->n; i++) {
        const float w = weights[i], l = levels[i];
        struct match t = {m->lx - w * x[i] * l, m->ll - w * l * l};
        if (!(t.lx > 0 && t.ll > 0))
            continue;
        const int whole = tensor_nearest(x[i] * t.ll / t.lx, s->least, s->most);
        if (whole == levels[i])
            continue;
        t.lx += w * x[i] * (float)whole;
        t.ll += w * (float)whole * (float)whole;
        if (t.lx * t.lx * m->ll > m->lx * m->lx * t.ll) {
            levels[i] = (uint8_t)whole;
            *m = t;
            turned = true;
        }
    }
    return turned;
}

float tensor_fit_positive(
    const float *x, const float *weights, const struct tensor_levels *s, uint8_t *levels)
{
    struct match m = {0, 0};
    float extreme = 0;
    zeros(levels, s->n);
    for (int i = 0; i < s->n; i++)
        extreme = x[i] > extreme ? x[i] : extreme;
    if (extreme < TENSOR_NOTHING)
        return 0;
    const float inverse = best_inverse(x, weights, s, extreme);
    for (int i = 0; i < s->n; i++) {
        const int level = tensor_nearest(inverse * x[i], s->least, s->most);
        const float w = weights[i], l = (float)level;
        levels[i] = (uint8_t)level;
        m.lx += w * x[i] * l;
        m.ll += w * l * l;
    }
    for (int i = 0; i < 5 && positive_turn(x, weights, s, levels, &m); i++)
        ;
    return m.ll > 0 ? m.lx / m.ll : 0;
}

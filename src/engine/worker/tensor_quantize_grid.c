/* IQ2 and IQ3: magnitudes as points of a codebook, 2 code + 1 times a scale, and signs beside them. Of each
 * run the scale is the best of some that are tried; where no point has the nearest codes, the best of the
 * points near them is taken. Layouts stand at the readers in tensor_dequant_iq.c; sums are made in the order
 * of the format's reference. */
#include <float.h>
#include <stdbool.h>

#include "engine/worker/tensor_codebook.h"
#include "engine/worker/tensor_quantize_block.h"
#include "engine/worker/tensor_quantize_fit.h"

enum { BLOCK = 256, RUNS_MAX = 16, GROUPS_MAX = 8 };

struct grid_type {
    enum tensor_codebook_kind book;
    int run;        /* values that share a scale */
    int tries;      /* to either side of the largest value's own scale */
    float step;     /* between tries, in codes doubled */
    float power;    /* of the block, that is added to the values' squares where importance is known */
    float nothing;  /* a run that nowhere exceeds it is zeros */
    float stretch;  /* of the block's scale */
    bool even;      /* of eight signs an even number is set, so that seven do */
    bool fitted;    /* tries begin from the scale that suits plain levels best */
    bool all_again; /* when a point was off, all are looked for again at the scale found */
};

/* A run as it is searched. */
struct grid_run {
    float values[32], weights[32], roots[32]; /* magnitudes; roots: of the weights */
    uint8_t codes[32];
    bool off[GROUPS_MAX]; /* no point had the nearest codes */
    float scale;
};

/* A block as it is written. */
struct grid_block {
    float d;
    uint8_t scales[RUNS_MAX];   /* 4 bits */
    uint16_t points[BLOCK / 4]; /* of each group */
    uint8_t signs[BLOCK / 8];   /* a bit for each value */
};

/* ---- Signs ---- */

/* The value whose sign costs least is turned where an odd number is set. */
static uint8_t signs_even(const float *x, const float *weights, float *values, uint8_t signs)
{
    int least = 0;
    float cost = weights[0] * x[0] * x[0];
    if (__builtin_parity(signs) == 0)
        return signs;
    for (int i = 1; i < 8; i++)
        if (weights[i] * x[i] * x[i] < cost) {
            cost = weights[i] * x[i] * x[i];
            least = i;
        }
    values[least] = -values[least];
    return (uint8_t)(signs ^ 1 << least);
}

static void signs_take(const float *x, const struct grid_type *t, struct grid_run *r, uint8_t *signs)
{
    for (int i = 0; i < t->run; i++)
        r->values[i] = x[i] >= 0 ? x[i] : -x[i];
    for (int k = 0; k < t->run / 8; k++) {
        signs[k] = 0;
        for (int i = 0; i < 8; i++)
            signs[k] |= (uint8_t)((x[8 * k + i] >= 0 ? 0 : 1) << i);
        if (t->even)
            signs[k] = signs_even(x + 8 * k, r->weights + 8 * k, r->values + 8 * k, signs[k]);
    }
}

/* ---- Points ---- */
static uint16_t key_of(const struct tensor_codebook *b, const uint8_t *codes)
{
    uint16_t key = 0;
    for (int i = 0; i < b->group; i++)
        key = (uint16_t)(key | codes[i] << b->bits * i);
    return key;
}

static int code_at(const struct tensor_codebook *b, int point, int i)
{
    return b->points[point] >> b->bits * i & ((1 << b->bits) - 1);
}

/* The best of the points near a key that none has. */
static int near_best(
    const struct tensor_codebook *b, int32_t at, const float *values, const float *roots, float scale)
{
    const uint16_t *near = b->near + (-1 - at);
    float least = FLT_MAX;
    int best = near[1];
    for (int n = 1; n <= near[0]; n++) {
        float distance = 0;
        for (int i = 0; i < b->group; i++) {
            const float off = scale * (float)(2 * code_at(b, near[n], i) + 1) - values[i];
            distance += roots[i] * off * off;
        }
        if (distance < least) {
            least = distance;
            best = near[n];
        }
    }
    return best;
}

/* The codes of one group at a scale, those of a point; true: the nearest ones are a point's. */
static bool group_fit(const struct tensor_codebook *b, const float *values, const float *roots, float inverse,
    float scale, uint8_t *codes)
{
    for (int i = 0; i < b->group; i++)
        codes[i] = (uint8_t)tensor_nearest(0.5f * (inverse * values[i] - 1), 0, b->codes - 1);
    const int32_t at = b->map[key_of(b, codes)];
    if (at >= 0)
        return true;
    const int point = near_best(b, at, values, roots, scale);
    for (int i = 0; i < b->group; i++)
        codes[i] = (uint8_t)code_at(b, point, i);
    return false;
}

/* How values and codes go together. */
static void run_match(const struct grid_run *r, const uint8_t *codes, int n, float *sum_lx, float *sum_ll)
{
    *sum_lx = *sum_ll = 0;
    for (int i = 0; i < n; i++) {
        const float l = (float)(2 * codes[i] + 1), w = r->weights[i];
        *sum_lx += w * r->values[i] * l;
        *sum_ll += w * l * l;
    }
}

/* ---- A run ---- */

/* Tries scales around the one that makes `extreme` the largest level. */
static void run_try(
    const struct grid_type *t, const struct tensor_codebook *b, float extreme, struct grid_run *r)
{
    const int groups = t->run / b->group;
    uint8_t codes[32];
    bool off[GROUPS_MAX];
    float best = 0, sum_lx, sum_ll;
    for (int i = -t->tries; i <= t->tries; i++) {
        const float inverse = ((float)(2 * b->codes - 1) + (float)i * t->step) / extreme;
        for (int k = 0; k < groups; k++) {
            const int at = k * b->group;
            off[k] = !group_fit(b, r->values + at, r->roots + at, inverse, 1 / inverse, codes + at);
        }
        run_match(r, codes, t->run, &sum_lx, &sum_ll);
        if (sum_ll > 0 && sum_lx * sum_lx > best * sum_ll) {
            r->scale = sum_lx / sum_ll;
            best = r->scale * sum_lx;
            memcpy(r->codes, codes, sizeof codes);
            memcpy(r->off, off, sizeof off);
        }
    }
}

/* At the scale found, points are looked for once more, and the scale that suits them. */
static void run_settle(const struct grid_type *t, const struct tensor_codebook *b, struct grid_run *r)
{
    const int groups = t->run / b->group;
    bool any = t->fitted;
    float sum_lx, sum_ll;
    for (int k = 0; k < groups; k++)
        any = any || r->off[k];
    if (!any || !(r->scale > 0))
        return;
    for (int k = 0; k < groups; k++) {
        const int at = k * b->group;
        if (r->off[k] || t->all_again || t->fitted)
            group_fit(b, r->values + at, r->roots + at, 1 / r->scale, r->scale, r->codes + at);
    }
    run_match(r, r->codes, t->run, &sum_lx, &sum_ll);
    if (sum_ll > 0)
        r->scale = sum_lx / sum_ll;
}

static void weights_take(
    const float *x, const float *importance, const struct grid_type *t, float power, struct grid_run *r)
{
    for (int i = 0; i < t->run; i++)
        r->weights[i] = x[i] * x[i] + (t->book == TENSOR_CODEBOOK_IQ2_S ? 0.25f * power : 0);
    if (importance)
        tensor_weigh(x, importance, t->run, power, r->weights);
    for (int i = 0; i < t->run; i++)
        r->roots[i] = sqrtf(r->weights[i]);
}

/* `signs`: of t->run / 8 groups of eight. */
static void run_fit(
    const struct grid_type *t, const struct tensor_codebook *b, struct grid_run *r, uint8_t *signs)
{
    float extreme = r->values[0];
    for (int i = 1; i < t->run; i++)
        extreme = r->values[i] > extreme ? r->values[i] : extreme;
    memset(r->codes, 0, sizeof r->codes);
    memset(r->off, t->all_again, sizeof r->off);
    r->scale = 0;
    if (!(extreme > t->nothing)) {
        memset(signs, 0, (size_t)t->run / 8);
        return;
    }
    r->scale = extreme / (float)(2 * b->codes - 1);
    if (t->fitted) {
        uint8_t levels[32];
        const struct tensor_levels plain = {t->run, TENSOR_BELOW, b->codes + 1};
        r->scale = tensor_fit_positive(r->values, r->weights, &plain, levels);
        extreme = r->scale * (float)b->codes;
        if (!(extreme > 0)) {
            r->scale = 0;
            memset(signs, 0, (size_t)t->run / 8);
            return;
        }
    }
    run_try(t, b, extreme, r);
    run_settle(t, b, r);
    if (r->scale < 0) {
        r->scale = -r->scale;
        for (int k = 0; k < t->run / 8; k++)
            signs[k] = (uint8_t)~signs[k];
    }
}

/* ---- A block ---- */
static void block_fit(
    const float *x, const struct tensor_importance *w, const struct grid_type *t, struct grid_block *out)
{
    const struct tensor_codebook *b = tensor_codebook(t->book);
    const float power = tensor_power(x, BLOCK, t->power);
    const int runs = BLOCK / t->run, groups = t->run / b->group;
    float scales[RUNS_MAX], extreme = 0;
    for (int j = 0; j < runs; j++) {
        struct grid_run r;
        const float *run = x + t->run * j;
        uint8_t *signs = out->signs + t->run / 8 * j;
        weights_take(run, w->weights ? w->weights + t->run * j : NULL, t, power, &r);
        signs_take(run, t, &r, signs);
        run_fit(t, b, &r, signs);
        for (int k = 0; k < groups; k++)
            out->points[groups * j + k] = (uint16_t)b->map[key_of(b, r.codes + k * b->group)];
        scales[j] = r.scale;
        extreme = r.scale > extreme ? r.scale : extreme;
    }
    out->d = extreme / 31;
    for (int j = 0; j < runs; j++)
        out->scales[j] =
            (uint8_t)(extreme > 0 ? tensor_nearest(0.5f * (1 / out->d * scales[j] - 1), 0, 15) : 0);
    out->d *= t->stretch;
}

/* Four times seven signs and, on top, the scale. */
static void put_signs(const uint8_t *signs, uint8_t scale, uint8_t *to)
{
    uint32_t packed = (uint32_t)scale << 28;
    for (int k = 0; k < 4; k++)
        packed |= (uint32_t)(signs[k] & 127) << 7 * k;
    memcpy(to, &packed, sizeof packed);
}

void tensor_write_iq2_xxs(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    static const struct grid_type type = {.book = TENSOR_CODEBOOK_IQ2_XXS,
        .run = 32,
        .tries = 6,
        .step = 0.1f,
        .power = 1,
        .nothing = TENSOR_NOTHING,
        .stretch = 1,
        .even = true,
        .fitted = true};
    struct grid_block b;
    block_fit(from, w, &type, &b);
    tensor_put_half(to, b.d);
    for (int r = 0; r < 8; r++) {
        for (int k = 0; k < 4; k++)
            to[2 + 8 * r + k] = (uint8_t)b.points[4 * r + k];
        put_signs(b.signs + 4 * r, b.scales[r], to + 2 + 8 * r + 4);
    }
}

/* Two scales a byte. */
static void put_scales(const uint8_t *scales, int n, uint8_t *to)
{
    for (int i = 0; i < n; i += 2)
        to[i / 2] = (uint8_t)(scales[i] | scales[i + 1] << 4);
}

void tensor_write_iq2_xs(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    static const struct grid_type type = {.book = TENSOR_CODEBOOK_IQ2_XS,
        .run = 16,
        .tries = 9,
        .step = 0.1f,
        .power = 1,
        .nothing = TENSOR_NOTHING,
        .stretch = 1,
        .even = true};
    struct grid_block b;
    block_fit(from, w, &type, &b);
    tensor_put_half(to, b.d);
    for (int i = 0; i < 32; i++) {
        const uint16_t packed = (uint16_t)(b.points[i] | (b.signs[i] & 127) << 9);
        memcpy(to + 2 + 2 * i, &packed, sizeof packed);
    }
    put_scales(b.scales, 16, to + 66);
}

void tensor_write_iq2_s(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    static const struct grid_type type = {.book = TENSOR_CODEBOOK_IQ2_S,
        .run = 16,
        .tries = 9,
        .step = 0.1f,
        .power = 2,
        .nothing = 1e-8f,
        .stretch = 0.9875f};
    struct grid_block b;
    block_fit(from, w, &type, &b);
    tensor_put_half(to, b.d);
    memset(to + 66, 0, 8);
    for (int i = 0; i < 32; i++) {
        to[2 + i] = (uint8_t)b.points[i];
        to[34 + i] = b.signs[i];
        to[66 + i / 4] |= (uint8_t)(b.points[i] >> 8 << i % 4 * 2);
    }
    put_scales(b.scales, 16, to + 74);
}

void tensor_write_iq3_xxs(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    static const struct grid_type type = {.book = TENSOR_CODEBOOK_IQ3_XXS,
        .run = 32,
        .tries = 15,
        .step = 0.2f,
        .power = 2,
        .nothing = 1e-8f,
        .stretch = 1.0125f,
        .even = true};
    struct grid_block b;
    block_fit(from, w, &type, &b);
    tensor_put_half(to, b.d);
    for (int i = 0; i < 64; i++)
        to[2 + i] = (uint8_t)b.points[i];
    for (int r = 0; r < 8; r++)
        put_signs(b.signs + 4 * r, b.scales[r], to + 66 + 4 * r);
}

void tensor_write_iq3_s(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    static const struct grid_type type = {.book = TENSOR_CODEBOOK_IQ3_S,
        .run = 32,
        .tries = 9,
        .step = 0.2f,
        .power = 2,
        .nothing = 0,
        .stretch = 1.033f,
        .all_again = true};
    struct grid_block b;
    block_fit(from, w, &type, &b);
    tensor_put_half(to, b.d);
    memset(to + 66, 0, 8);
    for (int i = 0; i < 64; i++) {
        to[2 + i] = (uint8_t)b.points[i];
        to[66 + i / 8] |= (uint8_t)(b.points[i] >> 8 << i % 8);
    }
    memcpy(to + 74, b.signs, 32);
    put_scales(b.scales, 8, to + 106);
}

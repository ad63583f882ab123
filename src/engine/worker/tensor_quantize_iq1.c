/* IQ1_S and IQ1_M: values become minus one, zero or one, moved by an offset up or down, times a scale. Where
 * the sorted values of a run are split into the three is searched through; then each eight of them become a
 * point of the codebook (the nearest, where none is just so). Layouts stand at the readers in
 * tensor_dequant_iq.c; sums are made in the order of the format's reference, but a run of nothing is written
 * as zeros. */
#include <float.h>
#include <stdbool.h>

#include "engine/worker/tensor_codebook.h"
#include "engine/worker/tensor_quantize_block.h"

enum { BLOCK = 256, RUN_MAX = 32, ZEROS = 0x5555 }; /* the key of eight zeros */
#define OFFSET 0.125f

/* What codes stand for: moved up, moved down. */
static const float moved[2][3] = {{-1 + OFFSET, OFFSET, 1 + OFFSET}, {-1 - OFFSET, -OFFSET, 1 - OFFSET}};

struct ternary_run {
    int n;
    const float *x;
    float weights[RUN_MAX];
    int order[RUN_MAX]; /* of the values, rising */
    uint8_t codes[RUN_MAX];
    bool down[2]; /* the offset of each half; of a run of 32, of all */
    float scale;
    uint16_t points[RUN_MAX / 8];
};

static const float *levels_of(const struct ternary_run *r, int i)
{
    return moved[r->down[r->n == RUN_MAX ? 0 : i / (r->n / 2)]];
}

/* Rising; those that are alike stay in their order. */
static void order_make(struct ternary_run *r)
{
    for (int i = 0; i < r->n; i++) {
        int at = i;
        for (; at > 0 && r->x[i] < r->x[r->order[at - 1]]; at--)
            r->order[at] = r->order[at - 1];
        r->order[at] = i;
    }
}

/* The first `low` values in order are the lowest level's, up to `middle` the middle one's. */
struct split {
    int low, middle, kind; /* kind: bit 0: the second half moved down, bit 1: the first; -1: none was found */
    float scale, score;
};

static void split_better(struct split *s, int low, int middle, int kind, float lx, float ll)
{
    if (!(ll > 0 && lx * lx > s->score * ll))
        return;
    const float scale = lx / ll;
    *s = (struct split){low, middle, kind, scale, scale * lx};
}

/* By sums up to each place, for one offset of all. */
static void split_whole(const struct ternary_run *r, struct split *s)
{
    const int n = r->n;
    float wx[RUN_MAX + 1] = {0}, w[RUN_MAX + 1] = {0};
    for (int j = 0; j < n; j++) {
        const int i = r->order[j];
        wx[j + 1] = wx[j] + r->weights[i] * r->x[i];
        w[j + 1] = w[j] + r->weights[i];
    }
    for (int low = 0; low <= n; low++)
        for (int middle = low; middle <= n; middle++)
            for (int down = 0; down < 2; down++) {
                const float *q = moved[down];
                const float lx =
                    (wx[low] - wx[0]) * q[0] + (wx[middle] - wx[low]) * q[1] + (wx[n] - wx[middle]) * q[2];
                const float ll = (w[low] - w[0]) * q[0] * q[0] + (w[middle] - w[low]) * q[1] * q[1] +
                                 (w[n] - w[middle]) * q[2] * q[2];
                split_better(s, low, middle, down ? 3 : 0, lx, ll);
            }
}

/* Each half has an offset of its own. */
static void split_halves(const struct ternary_run *r, struct split *s)
{
    for (int low = 0; low <= r->n; low++)
        for (int middle = low; middle <= r->n; middle++) {
            float lx[4] = {0}, ll[4] = {0};
            for (int j = 0; j < r->n; j++) {
                const int i = r->order[j], level = j < low ? 0 : j < middle ? 1 : 2;
                for (int kind = 0; kind < 4; kind++) {
                    const float q = moved[i < r->n / 2 ? kind >> 1 : kind & 1][level];
                    lx[kind] += r->weights[i] * q * r->x[i];
                    ll[kind] += r->weights[i] * q * q;
                }
            }
            for (int kind = 0; kind < 4; kind++)
                split_better(s, low, middle, kind, lx[kind], ll[kind]);
        }
}

static int code_at(const struct tensor_codebook *b, int point, int i)
{
    return b->points[point] >> 2 * i & 3;
}

/* The point of a group's codes, or the best of those near. */
static uint16_t point_find(const struct tensor_codebook *b, const struct ternary_run *r, int group)
{
    const float *x = r->x + 8 * group, *w = r->weights + 8 * group, *levels = levels_of(r, 8 * group);
    uint16_t key = 0;
    float least = FLT_MAX;
    for (int i = 0; i < 8; i++)
        key = (uint16_t)(key | r->codes[8 * group + i] << 2 * i);
    if (b->map[key] >= 0)
        return (uint16_t)b->map[key];
    const uint16_t *near = b->near + (-1 - b->map[key]);
    uint16_t best = near[1];
    for (int n = 1; n <= near[0]; n++) {
        float distance = 0;
        for (int i = 0; i < 8; i++) {
            const float off = r->scale * levels[code_at(b, near[n], i)] - x[i];
            distance += w[i] * off * off;
        }
        if (distance < least) {
            least = distance;
            best = near[n];
        }
    }
    return best;
}

/* The scale that suits the points found, where one of them is not what was looked for. */
static void points_take(const struct tensor_codebook *b, struct ternary_run *r)
{
    bool off = false;
    float lx = 0, ll = 0;
    for (int k = 0; k < r->n / 8; k++) {
        r->points[k] = point_find(b, r, k);
        for (int i = 0; i < 8; i++)
            off = off || code_at(b, r->points[k], i) != r->codes[8 * k + i];
    }
    for (int i = 0; off && i < r->n; i++) {
        const float q = levels_of(r, i)[code_at(b, r->points[i / 8], i % 8)];
        lx += r->weights[i] * q * r->x[i];
        ll += r->weights[i] * q * q;
    }
    if (lx > 0 && ll > 0)
        r->scale = lx / ll;
}

static void codes_take(struct ternary_run *r, struct split s)
{
    const bool turned = s.scale < 0; /* then all are */
    const int kind = turned ? s.kind ^ 3 : s.kind;
    for (int j = 0; j < r->n; j++) {
        const int code = j < s.low ? 0 : j < s.middle ? 1 : 2;
        r->codes[r->order[j]] = (uint8_t)(turned ? 2 - code : code);
    }
    r->scale = turned ? -s.scale : s.scale;
    r->down[0] = kind >> 1;
    r->down[1] = kind & 1;
}

/* `nothing`: a run that nowhere exceeds it is zeros. */
static void run_fit(const struct tensor_codebook *b, float nothing, struct ternary_run *r)
{
    struct split s = {.kind = -1, .score = -FLT_MAX};
    float extreme = 0;
    for (int i = 0; i < r->n; i++)
        extreme = fabsf(r->x[i]) > extreme ? fabsf(r->x[i]) : extreme;
    r->scale = 0;
    r->down[0] = r->down[1] = false;
    memset(r->codes, 1, sizeof r->codes);
    order_make(r);
    if (extreme > nothing && r->n == RUN_MAX)
        split_whole(r, &s);
    else if (extreme > nothing)
        split_halves(r, &s);
    if (s.kind >= 0)
        codes_take(r, s);
    points_take(b, r);
}

static void runs_fit(const float *x, const struct tensor_importance *w, int n, float nothing,
    struct ternary_run *runs, float *extreme)
{
    const struct tensor_codebook *b = tensor_codebook(TENSOR_CODEBOOK_IQ1);
    const float power = tensor_power(x, BLOCK, 2);
    *extreme = 0;
    for (int j = 0; j < BLOCK / n; j++) {
        struct ternary_run *r = &runs[j];
        r->n = n;
        r->x = x + n * j;
        for (int i = 0; i < n; i++)
            r->weights[i] = r->x[i] * r->x[i];
        if (w->weights)
            tensor_weigh(r->x, w->weights + n * j, n, power, r->weights);
        run_fit(b, nothing, r);
        *extreme = r->scale > *extreme ? r->scale : *extreme;
    }
}

static int scale_of(float scale, float d)
{
    return d > 0 ? tensor_nearest(0.5f * (1 / d * scale - 1), 0, 7) : 0;
}

void tensor_write_iq1_s(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    struct ternary_run runs[BLOCK / 32];
    float extreme;
    runs_fit(from, w, 32, 1e-12f, runs, &extreme);
    const float d = extreme / 15;
    tensor_put_half(to, d * 1.125f);
    for (int j = 0; j < 8; j++) {
        uint32_t high = (uint32_t)(scale_of(runs[j].scale, d) | (runs[j].down[0] ? 8 : 0)) << 12;
        for (int k = 0; k < 4; k++) {
            to[2 + 4 * j + k] = (uint8_t)runs[j].points[k];
            high |= (uint32_t)(runs[j].points[k] >> 8) << 3 * k;
        }
        const uint16_t packed = (uint16_t)high;
        memcpy(to + 34 + 2 * j, &packed, sizeof packed);
    }
}

/* The scale of the whole block that suits what a reader will see. */
static float d_settle(const struct ternary_run *runs, const int *scales, float d)
{
    const struct tensor_codebook *b = tensor_codebook(TENSOR_CODEBOOK_IQ1);
    float lx = 0, ll = 0;
    for (int j = 0; j < 16; j++)
        for (int i = 0; i < 16; i++) {
            const struct ternary_run *r = &runs[j];
            const float q = levels_of(r, i)[code_at(b, r->points[i / 8], i % 8)] * (float)(2 * scales[j] + 1);
            lx += r->weights[i] * q * r->x[i];
            ll += r->weights[i] * q * q;
        }
    return ll > 0 ? lx / ll : d;
}

void tensor_write_iq1_m(const float *from, const struct tensor_importance *w, uint8_t *to)
{
    struct ternary_run runs[BLOCK / 16];
    int scales[16];
    uint16_t packed[4] = {0};
    uint8_t half[2];
    float extreme;
    runs_fit(from, w, 16, 1e-7f, runs, &extreme);
    const float d = extreme / 15;
    for (int j = 0; j < 16; j++) {
        scales[j] = scale_of(runs[j].scale, d);
        packed[j / 4] = (uint16_t)(packed[j / 4] | scales[j] << 3 * (j % 4));
        to[2 * j] = (uint8_t)runs[j].points[0];
        to[2 * j + 1] = (uint8_t)runs[j].points[1];
        to[32 + j] = (uint8_t)(runs[j].points[0] >> 8 | runs[j].points[1] >> 8 << 4 |
                               (runs[j].down[0] ? 0x08 : 0) | (runs[j].down[1] ? 0x80 : 0));
    }
    tensor_put_half(half, extreme > 0 ? d_settle(runs, scales, d) * 1.1125f : 0);
    for (int i = 0; i < 4; i++)
        packed[i] = (uint16_t)(packed[i] | (half[i / 2] >> i % 2 * 4 & 15) << 12);
    memcpy(to + 48, packed, sizeof packed);
}

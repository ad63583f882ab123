/* Attention's parts on integers of 16 bits: in plain C against their definition, and each CPU's own against
 * these. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "engine/worker/cpu/kernels.h"
#include "engine/worker/tensor_half.h"

enum {
    WIDTH_MAX = SHORT_WIDTH,
    PAIRS_MAX = WIDTH_MAX / 2,
    POSITIONS = SHORT_POSITIONS,
    QUERIES = 3 * SHORT_QUERIES,
    TERMS = POSITIONS / 2 * SHORT_QUERIES
};

/* What one of them makes of it all. */
struct made {
    uint32_t keys[PAIRS_MAX * POSITIONS], values[POSITIONS / 2 * WIDTH_MAX], queries[PAIRS_MAX * QUERIES],
        terms[TERMS], few_terms[TERMS];
    float key_scale[POSITIONS], value_power[POSITIONS], value_back[POSITIONS], query_scale[QUERIES],
        scores[QUERIES * POSITIONS], few_scores[SHORT_FEW * POSITIONS], less[SHORT_QUERIES],
        more[SHORT_QUERIES], most[SHORT_QUERIES], sums[SHORT_QUERIES], out[SHORT_QUERIES * WIDTH_MAX],
        few_out[SHORT_QUERIES * WIDTH_MAX];
};

static struct rand_pcg rng;
static const struct short_unit *units[KERNELS_MAX + 1];
static int32_t n_units;
static struct made plain, own;
static uint16_t keys[POSITIONS][WIDTH_MAX], values[POSITIONS][WIDTH_MAX];
static float queries[QUERIES][WIDTH_MAX];

static struct short_tile tile_of(struct made *m)
{
    return (struct short_tile){m->keys, m->key_scale, m->values, m->value_power, m->value_back};
}

/* Rows of very different sizes, one of zeros. */
static void fill(int64_t width)
{
    for (int r = 0; r < POSITIONS; r++) {
        const double size = r == 5 ? 0 : ldexp(1, (int)(rand_pcg_double(&rng) * 24) - 12);
        for (int64_t i = 0; i < width; i++) {
            keys[r][i] = tensor_half_from_float((float)((rand_pcg_double(&rng) * 2 - 1) * size));
            values[r][i] = tensor_half_from_float((float)((rand_pcg_double(&rng) * 2 - 1) * size));
        }
    }
    for (int q = 0; q < QUERIES; q++)
        for (int64_t i = 0; i < width; i++)
            queries[q][i] = q == 7 ? 0 : (float)(rand_pcg_double(&rng) * 8 - 4);
}

static void rows_make(const struct short_unit *u, struct made *m, int64_t width, float scale)
{
    const struct short_tile t = tile_of(m);
    const uint8_t *k[POSITIONS], *v[POSITIONS];
    const float *q[QUERIES];
    memset(m, 0, sizeof *m);
    for (int r = 0; r < POSITIONS; r++) {
        k[r] = (const uint8_t *)keys[r];
        v[r] = (const uint8_t *)values[r];
    }
    for (int r = 0; r < QUERIES; r++)
        q[r] = queries[r];
    for (int at = 0; at < POSITIONS; at += SHORT_ROWS) {
        u->keys(&t, at, k + at, width);
        if (at % 32 < 16)
            u->values(&t, at, v + at, v + at + 16, width);
    }
    for (int first = 0; first < QUERIES; first += SHORT_QUERIES)
        u->queries(m->queries + first, QUERIES, m->query_scale + first, q + first, width, scale);
}

static void scores_make(const struct short_unit *u, struct made *m, int64_t width, int64_t groups)
{
    const struct short_tile t = tile_of(m);
    u->scores(m->scores, &t, m->queries, QUERIES, m->query_scale, short_pairs(width), groups);
    u->few_scores(m->few_scores, &t, m->queries, QUERIES, m->query_scale, short_pairs(width), SHORT_FEW - 1);
}

/* `m->scores` and what is seen become terms, and these a mix. */
static void terms_make(const struct short_unit *u, struct made *m, int64_t width, bool all, int64_t n)
{
    const struct short_tile t = tile_of(m);
    const int64_t stride = (width + 15) / 16 * 16;
    int32_t first[SHORT_QUERIES], last[SHORT_QUERIES];
    for (int q = 0; q < SHORT_QUERIES; q++) {
        first[q] = q % 5 == 4 ? 20 : 0;
        last[q] = q == 3 ? 0 : 64 - 3 * q;
        m->most[q] = q % 2 ? -INFINITY : (float)q * 9 - 60;
        m->sums[q] = q % 2 ? 0 : 1;
    }
    for (int64_t i = 0; i < SHORT_QUERIES * stride; i++)
        m->out[i] = m->few_out[i] = (float)(i % 17);
    float most[SHORT_QUERIES], sums[SHORT_QUERIES], less[SHORT_QUERIES], more[SHORT_QUERIES];
    memcpy(most, m->most, sizeof most);
    memcpy(sums, m->sums, sizeof sums);
    const struct short_queries few = {all ? NULL : first, all ? NULL : last, most, sums},
                               q = {few.first, few.last, m->most, m->sums};
    u->few_terms(m->few_terms, less, more, m->few_scores, &t, &few, SHORT_FEW - 1);
    u->few_mix(m->few_out, stride, less, more, m->few_terms, m->values, SHORT_FEW - 1);
    u->terms(m->terms, m->less, m->more, m->scores, &t, &q);
    u->mix(m->out, stride, m->less, m->more, m->terms, m->values, n);
    for (int c = 0; c < SHORT_FEW - 1; c++) {
        if (u != &shorts_scalar && all) /* to the bit the same in either order */
            assert_memory_equal(&most[c], &m->most[c], sizeof *most);
        assert_true(sums[c] == m->sums[c] && less[c] == m->less[c] && more[c] == m->more[c]);
        for (int p = 0; p < POSITIONS / 2; p++)
            assert_int_equal(m->few_terms[c * POSITIONS / 2 + p], m->terms[p * SHORT_QUERIES + c]);
        for (int64_t i = 0; i < stride && c < n; i++)
            assert_true(m->few_out[c * stride + i] == m->out[c * stride + i]);
    }
}

static void words_near(const uint32_t *a, const uint32_t *b, int64_t n, int32_t most)
{
    for (int64_t i = 0; i < 2 * n; i++) {
        const int shift = i % 2 ? 16 : 0;
        assert_true(abs((int16_t)(a[i / 2] >> shift) - (int16_t)(b[i / 2] >> shift)) <= most);
    }
}

static void floats_near(const float *a, const float *b, int64_t n, float most)
{
    for (int64_t i = 0; i < n; i++)
        if (!(a[i] == b[i] || fabsf(a[i] - b[i]) <= most * (1 + fabsf(a[i]))))
            fail_msg("%d: %g, not %g", (int)i, (double)b[i], (double)a[i]);
}

/* Given the same, whole numbers and what is made of them in one rounding are the same; exponentials are near.
 */
static void each_cpu_does_as_plain_c(void **state)
{
    (void)state;
    static const int64_t widths[] = {8, 24, 64, 72, 100, 128, 256, 576, WIDTH_MAX};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
        for (int32_t i = 0; i < n_units; i++) {
            const int64_t width = widths[w], groups = 1 + (int64_t)w % 3;
            fill(width);
            rows_make(&shorts_scalar, &plain, width, 0.3f);
            rows_make(units[i], &own, width, 0.3f);
            assert_memory_equal(plain.keys, own.keys, sizeof own.keys);
            assert_memory_equal(plain.values, own.values, sizeof own.values);
            assert_memory_equal(plain.key_scale, own.key_scale, sizeof own.key_scale);
            assert_memory_equal(plain.value_power, own.value_power, sizeof own.value_power);
            assert_memory_equal(plain.value_back, own.value_back, sizeof own.value_back);
            floats_near(plain.query_scale, own.query_scale, QUERIES, 1e-6f);
            words_near(plain.queries, own.queries, PAIRS_MAX * QUERIES, 1);
            own = plain;
            scores_make(&shorts_scalar, &plain, width, groups);
            scores_make(units[i], &own, width, groups);
            assert_memory_equal(plain.scores, own.scores, sizeof own.scores);
            assert_memory_equal(
                plain.few_scores, own.few_scores, (SHORT_FEW - 1) * POSITIONS * sizeof(float));
            for (int all = 0; all < 2; all++) {
                own = plain;
                struct made *p = malloc(sizeof *p);
                *p = plain;
                terms_make(&shorts_scalar, p, width, all, 16 - groups);
                terms_make(units[i], &own, width, all, 16 - groups);
                words_near(p->terms, own.terms, TERMS, 1);
                floats_near(p->most, own.most, SHORT_QUERIES, 0);
                floats_near(p->sums, own.sums, SHORT_QUERIES, 1e-5f);
                floats_near(p->out, own.out, SHORT_QUERIES * ((width + 15) / 16 * 16), 1e-3f);
                free(p);
            }
        }
}

/* The largest of everything, all of one sign: no sum leaves 32 bits. */
static void the_largest_sums_stay_whole(void **state)
{
    (void)state;
    static const int64_t widths[] = {8, 64, 72, 128, 576, WIDTH_MAX};
    const float largest = 65504;
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
        for (int32_t i = 0; i < n_units; i++) {
            const int64_t width = widths[w], stride = (width + 15) / 16 * 16;
            for (int r = 0; r < POSITIONS; r++)
                for (int64_t j = 0; j < width; j++)
                    keys[r][j] = values[r][j] = tensor_half_from_float(largest);
            for (int q = 0; q < QUERIES; q++)
                for (int64_t j = 0; j < width; j++)
                    queries[q][j] = 3;
            rows_make(units[i], &own, width, 1e-6f);
            scores_make(units[i], &own, width, 3);
            /* (Equal numbers are all rounded the same way.) */
            const double score = 3e-6 * (double)largest * (double)width;
            for (int s = 0; s < QUERIES * POSITIONS; s++)
                assert_true(fabs((double)own.scores[s] - (double)own.value_power[0] - score) <= 2e-3 * score);
            terms_make(units[i], &own, width, true, SHORT_QUERIES);
            for (int q = 1; q < SHORT_QUERIES; q += 2) {
                const double less = (double)own.less[q]; /* nothing was there before */
                assert_true(less == 0);
                for (int64_t j = 0; j < width; j++)
                    assert_true(
                        fabs((double)(own.out[q * stride + j] / own.sums[q]) / (double)largest - 1) <= 1e-3);
            }
        }
}

/* Its squares are no normal numbers, and most are 0: by that length its integers were twenty times too large.
 */
static void a_query_of_next_to_nothing_left_32_bits(void **state)
{
    (void)state;
    enum { WIDTH = SHORT_WIDTH };
    for (int r = 0; r < POSITIONS; r++)
        for (int64_t j = 0; j < WIDTH; j++)
            keys[r][j] = values[r][j] = tensor_half_from_float(65504);
    for (int q = 0; q < QUERIES; q++)
        for (int64_t j = 0; j < WIDTH; j++)
            queries[q][j] = j == q ? 3.75e-23f : 2.6e-23f;
    for (int32_t i = 0; i < n_units; i++) {
        rows_make(units[i], &own, WIDTH, 1);
        for (int q = 0; q < QUERIES; q++) {
            int64_t sum = 0;
            for (int p = 0; p < WIDTH / 2; p++) {
                const uint32_t k = own.keys[p / SHORT_RUN * POSITIONS * SHORT_RUN + p % SHORT_RUN],
                               x = own.queries[p * QUERIES + q];
                sum += (int64_t)((int16_t)k * (int16_t)x) + (int16_t)(k >> 16) * (int16_t)(x >> 16);
            }
            assert_true(sum <= INT32_MAX);
        }
    }
}

int main(void)
{
    const struct kernels *list[KERNELS_MAX];
    const int32_t n = kernels_list(list);
    rand_pcg_seed(&rng, 20261130);
    units[n_units++] = &shorts_scalar;
    for (int32_t i = 0; i < n; i++)
        if (list[i]->shorts)
            units[n_units++] = list[i]->shorts;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_cpu_does_as_plain_c),
        cmocka_unit_test(the_largest_sums_stay_whole),
        cmocka_unit_test(a_query_of_next_to_nothing_left_32_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

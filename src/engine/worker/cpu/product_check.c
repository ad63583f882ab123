/* Products against plain arithmetic, at start-up. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/rand.h"
#include "engine/worker/cpu/product.h"
#include "engine/worker/tensor_half.h"

/* Rows of halves are the longest; columns in two parts have two x_blocks for 32 values. */
enum { VALUES = 512, COLUMNS_MOST = 33, PLACES = 48, ROW_BYTES_MAX = VALUES * 2 };

/* Where a block holds halves: random bytes there become a number around one. */
static const struct {
    enum tensor_type type;
    uint32_t at[2];
} halves[] = {{TENSOR_Q4_0, {0, 0}}, {TENSOR_Q4_1, {0, 2}}, {TENSOR_Q5_0, {0, 0}}, {TENSOR_Q5_1, {0, 2}},
    {TENSOR_Q8_0, {0, 0}}, {TENSOR_IQ4_NL, {0, 0}}, {TENSOR_Q2_K, {80, 82}}, {TENSOR_Q3_K, {108, 108}},
    {TENSOR_Q4_K, {0, 2}}, {TENSOR_Q5_K, {0, 2}}, {TENSOR_Q6_K, {208, 208}}, {TENSOR_IQ4_XS, {0, 0}}};

void product_random_row(
    enum tensor_type type, struct rand_pcg *random, int fill, uint8_t *row, int64_t values)
{
    const struct tensor_type_info *info = tensor_type_info(type);
    for (int64_t i = 0; i < values; i += info->block_values, row += info->block_bytes) {
        for (uint32_t b = 0; b < info->block_bytes; b++)
            row[b] = (uint8_t)(fill < 0 ? rand_pcg_u32(random) : (uint32_t)fill);
        for (size_t h = 0; h < sizeof halves / sizeof *halves; h++)
            for (int k = 0; k < 2 && halves[h].type == type; k++) {
                uint16_t half = tensor_half_from_float((float)(rand_pcg_double(random) * 2 - 1));
                memcpy(row + halves[h].at[k], &half, sizeof half);
            }
        if (type == TENSOR_MXFP4)
            row[0] = (uint8_t)(120 + row[0] % 12);
        if ((type == TENSOR_F16 || type == TENSOR_BF16) && fill < 0) {
            const float value = (float)(rand_pcg_double(random) * 2 - 1);
            const uint16_t half =
                type == TENSOR_F16 ? tensor_half_from_float(value) : tensor_bf16_from_float(value);
            memcpy(row, &half, sizeof half);
        }
    }
}

static bool sum_agrees(const float *w, const float *x, int64_t values, float got)
{
    double exact = 0, magnitude = 0;
    for (int64_t i = 0; i < values; i++) {
        const double term = (double)w[i] * (double)x[i];
        exact += term;
        magnitude += fabs(term);
    }
    return fabs((double)got - exact) <= 1e-4 * magnitude;
}

bool product_agrees(enum tensor_type type, const uint8_t *row, const float *x, int64_t values, float got)
{
    float w[1024];
    assert(values <= 1024);
    return tensor_dequantize(type, row, w, values, NULL) == 0 && sum_agrees(w, x, values, got);
}

static bool type_agrees(const struct products *p, enum tensor_type type, struct rand_pcg *random)
{
    static const int64_t columns[] = {1, 2, 5, 10, 17, COLUMNS_MOST};
    _Alignas(64) float acc[PLACES * PRODUCT_LANES_MAX];
    struct x_block x[2 * VALUES / X_VALUES * PLACES];
    uint8_t rows[PRODUCT_LANES_MAX][ROW_BYTES_MAX];
    const uint8_t *pointers[PRODUCT_LANES_MAX];
    float values[VALUES], weights[PRODUCT_LANES_MAX][VALUES];
    for (int r = 0; r < PRODUCT_LANES_MAX; r++) {
        product_random_row(type, random, -1, rows[r], VALUES);
        pointers[r] = rows[r];
        if (tensor_dequantize(type, rows[r], weights[r], VALUES, NULL) != 0)
            return false;
    }
    for (size_t k = 0; k < sizeof columns / sizeof *columns; k++) {
        const int64_t n = columns[k];
        for (int64_t c = 0; c < n; c++) {
            for (int i = 0; i < VALUES; i++)
                values[i] = (float)(rand_pcg_double(random) * 2 - 1);
            product_quantize(p, type, x, n, c, values, VALUES);
        }
        memset(acc, 0, sizeof acc);
        p->of[type](acc, x, n, pointers, 0, VALUES / X_VALUES);
        product_finish(p, type, acc, n);
        for (int64_t c = 0; c < n; c++) {
            product_column_read(p, type, &(struct x_column){x, n, c}, values, VALUES);
            for (int64_t r = 0; r < p->lanes; r++)
                if (!sum_agrees(weights[r], values, VALUES, acc[c * p->lanes + r]))
                    return false;
        }
    }
    return true;
}

const char *products_check(const struct products *p)
{
    struct rand_pcg random;
    rand_pcg_seed(&random, 20261128);
    for (uint32_t type = 0; type < TENSOR_TYPES; type++)
        if (p->of[type] && !type_agrees(p, type, &random))
            return tensor_type_info(type)->name;
    return NULL;
}

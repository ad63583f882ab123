#include "engine/worker/tensor.h"

#include <assert.h>
#include <string.h>

#include "engine/worker/tensor_dequant.h"

static void read_f32(const uint8_t *block, float *to)
{
    memcpy(to, block, sizeof *to);
}

static void read_f16(const uint8_t *block, float *to)
{
    *to = tensor_read_half(block);
}

static void read_bf16(const uint8_t *block, float *to)
{
    uint16_t b;
    memcpy(&b, block, sizeof b);
    *to = tensor_float_from_bf16(b);
}

/* What the public description lacks: how to read a block; NULL: this build cannot. */
struct type_entry {
    struct tensor_type_info info;
    tensor_block_reader *read;
};

static const struct type_entry types[TENSOR_TYPES] = {
    [TENSOR_F32] = {{"F32", 1, 4}, read_f32},
    [TENSOR_F16] = {{"F16", 1, 2}, read_f16},
    [TENSOR_Q4_0] = {{"Q4_0", 32, 18}, tensor_read_q4_0},
    [TENSOR_Q4_1] = {{"Q4_1", 32, 20}, tensor_read_q4_1},
    [TENSOR_Q5_0] = {{"Q5_0", 32, 22}, tensor_read_q5_0},
    [TENSOR_Q5_1] = {{"Q5_1", 32, 24}, tensor_read_q5_1},
    [TENSOR_Q8_0] = {{"Q8_0", 32, 34}, tensor_read_q8_0},
    [TENSOR_Q8_1] = {{"Q8_1", 32, 36}, NULL},
    [TENSOR_Q2_K] = {{"Q2_K", 256, 84}, tensor_read_q2_k},
    [TENSOR_Q3_K] = {{"Q3_K", 256, 110}, tensor_read_q3_k},
    [TENSOR_Q4_K] = {{"Q4_K", 256, 144}, tensor_read_q4_k},
    [TENSOR_Q5_K] = {{"Q5_K", 256, 176}, tensor_read_q5_k},
    [TENSOR_Q6_K] = {{"Q6_K", 256, 210}, tensor_read_q6_k},
    [TENSOR_Q8_K] = {{"Q8_K", 256, 292}, NULL},
    [TENSOR_IQ2_XXS] = {{"IQ2_XXS", 256, 66}, tensor_read_iq2_xxs},
    [TENSOR_IQ2_XS] = {{"IQ2_XS", 256, 74}, tensor_read_iq2_xs},
    [TENSOR_IQ3_XXS] = {{"IQ3_XXS", 256, 98}, tensor_read_iq3_xxs},
    [TENSOR_IQ1_S] = {{"IQ1_S", 256, 50}, tensor_read_iq1_s},
    [TENSOR_IQ4_NL] = {{"IQ4_NL", 32, 18}, tensor_read_iq4_nl},
    [TENSOR_IQ3_S] = {{"IQ3_S", 256, 110}, tensor_read_iq3_s},
    [TENSOR_IQ2_S] = {{"IQ2_S", 256, 82}, tensor_read_iq2_s},
    [TENSOR_IQ4_XS] = {{"IQ4_XS", 256, 136}, tensor_read_iq4_xs},
    [TENSOR_I8] = {{"I8", 1, 1}, NULL},
    [TENSOR_I16] = {{"I16", 1, 2}, NULL},
    [TENSOR_I32] = {{"I32", 1, 4}, NULL},
    [TENSOR_I64] = {{"I64", 1, 8}, NULL},
    [TENSOR_F64] = {{"F64", 1, 8}, NULL},
    [TENSOR_IQ1_M] = {{"IQ1_M", 256, 56}, tensor_read_iq1_m},
    [TENSOR_BF16] = {{"BF16", 1, 2}, read_bf16},
    [TENSOR_TQ1_0] = {{"TQ1_0", 256, 54}, tensor_read_tq1_0},
    [TENSOR_TQ2_0] = {{"TQ2_0", 256, 66}, tensor_read_tq2_0},
    [TENSOR_MXFP4] = {{"MXFP4", 32, 17}, tensor_read_mxfp4},
    [TENSOR_NVFP4] = {{"NVFP4", 64, 36}, tensor_read_nvfp4},
    [TENSOR_Q1_0] = {{"Q1_0", 128, 18}, tensor_read_q1_0},
    [TENSOR_Q2_0] = {{"Q2_0", 64, 18}, NULL},
};

const struct tensor_type_info *tensor_type_info(uint32_t type)
{
    return type < TENSOR_TYPES && types[type].info.name ? &types[type].info : NULL;
}

bool tensor_type_readable(enum tensor_type type)
{
    return (uint32_t)type < TENSOR_TYPES && types[type].read;
}

size_t tensor_row_bytes(enum tensor_type type, int64_t values)
{
    const struct tensor_type_info *info = tensor_type_info(type);
    assert(info && values >= 0 && values % info->block_values == 0);
    return (size_t)values / info->block_values * info->block_bytes;
}

int64_t tensor_rows(const struct tensor *t)
{
    return t->shape[1] * t->shape[2] * t->shape[3];
}

int tensor_dequantize(enum tensor_type type, const void *from, float *to, int64_t count, struct error *err)
{
    const struct tensor_type_info *info = tensor_type_info(type);
    if (!info || !types[type].read)
        return error_set(err, ERROR_UNSUPPORTED,
            "tensors of type %s cannot be read by this build: use a file quantised another way",
            info ? info->name : "unknown");
    if (count < 0 || count % info->block_values != 0)
        return error_set(
            err, ERROR_INVALID, "%lld values are not whole blocks of %s", (long long)count, info->name);
    const uint8_t *block = from;
    for (int64_t i = 0; i < count; i += info->block_values, block += info->block_bytes)
        types[type].read(block, to + i);
    return 0;
}

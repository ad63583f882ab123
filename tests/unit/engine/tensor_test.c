#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <math.h>

#include "base/rand.h"
#include "engine/worker/tensor_half.h"
#include "engine/worker/tensor_quantize.h"
#include "json/json.h"
#include "shared.h"

static void assert_bits(float got, float want)
{
    if (tensor_float_bits(got) != tensor_float_bits(want))
        fail_msg("%.9g is not %.9g", (double)got, (double)want);
}

static void halves_round_trip(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = tensor_float_from_half((uint16_t)h);
        if (isnan(f))
            assert_true(isnan(tensor_float_from_half(tensor_half_from_float(f))));
        else
            assert_int_equal(tensor_half_from_float(f), h);
    }
    assert_bits(tensor_float_from_half(0x3C00), 1);
    assert_bits(tensor_float_from_half(0xC000), -2);
    assert_bits(tensor_float_from_half(0x0001), 0x1p-24f);
    assert_bits(tensor_float_from_half(0x03FF), 1023 * 0x1p-24f);
    assert_bits(tensor_float_from_half(0x7BFF), 65504);
    assert_bits(tensor_float_from_half(0x8000), -0.0f);
    assert_true(isinf(tensor_float_from_half(0xFC00)));
}

static void halves_round_to_even(void **state)
{
    (void)state;
    assert_int_equal(tensor_half_from_float(1 + 0x1p-11f), 0x3C00);     /* tie: down to even */
    assert_int_equal(tensor_half_from_float(1 + 3 * 0x1p-11f), 0x3C02); /* tie: up to even */
    assert_int_equal(tensor_half_from_float(1 + 0x1p-11f + 0x1p-20f), 0x3C01);
    assert_int_equal(tensor_half_from_float(65519.0f), 0x7BFF);
    assert_int_equal(tensor_half_from_float(65520.0f), 0x7C00);
    assert_int_equal(tensor_half_from_float(0x1p-25f), 0);
    assert_int_equal(tensor_half_from_float(0x1.8p-25f), 1);
    assert_int_equal(tensor_half_from_float(-1e30f), 0xFC00);
    assert_int_equal(tensor_bf16_from_float(1 + 0x1p-8f), 0x3F80);
    assert_int_equal(tensor_bf16_from_float(1 + 3 * 0x1p-8f), 0x3F82);
    assert_bits(tensor_float_from_bf16(0xC040), -3);
}

static void dequantize(enum tensor_type type, const uint8_t *block, float *to, int64_t count)
{
    struct error err;
    assert_int_equal(tensor_dequantize(type, block, to, count, &err), 0);
}

static void put_half(uint8_t *to, float value)
{
    uint16_t h = tensor_half_from_float(value);
    memcpy(to, &h, sizeof h);
}

/* Blocks whose values are known by hand. */
static void reads_blocks_of_32(void **state)
{
    (void)state;
    uint8_t b[40] = {0};
    float v[32];
    put_half(b, 0.5f);
    b[2] = 0x1F; /* q0 = 15, q16 = 1 */
    dequantize(TENSOR_Q4_0, b, v, 32);
    assert_bits(v[0], 3.5f);
    assert_bits(v[16], -3.5f);
    assert_bits(v[1], -4);
    memset(b, 0, sizeof b);
    put_half(b, 0.5f);
    put_half(b + 2, -1);
    b[4] = 0x1F;
    dequantize(TENSOR_Q4_1, b, v, 32);
    assert_bits(v[0], 6.5f);
    assert_bits(v[16], -0.5f);
    assert_bits(v[1], -1);
    memset(b, 0, sizeof b);
    put_half(b, 2);
    b[2] = 1;    /* high bit of value 0 */
    b[5] = 0x80; /* high bit of value 31 */
    b[6] = 0x03;
    b[21] = 0xF0;
    dequantize(TENSOR_Q5_0, b, v, 32);
    assert_bits(v[0], 2 * (19 - 16));
    assert_bits(v[31], 2 * (31 - 16));
    assert_bits(v[1], -32);
    memset(b, 0, sizeof b);
    put_half(b, 2);
    put_half(b + 2, 10);
    b[4] = 1;
    b[8] = 0x03;
    dequantize(TENSOR_Q5_1, b, v, 32);
    assert_bits(v[0], 2 * 19 + 10);
    assert_bits(v[1], 10);
    memset(b, 0, sizeof b);
    put_half(b, 0.25f);
    b[2] = 0x80;
    b[33] = 0x7F;
    dequantize(TENSOR_Q8_0, b, v, 32);
    assert_bits(v[0], -32);
    assert_bits(v[31], 31.75f);
    memset(b, 0, sizeof b);
    put_half(b, 1);
    b[2] = 0xF0;
    dequantize(TENSOR_IQ4_NL, b, v, 32);
    assert_bits(v[0], -127);
    assert_bits(v[16], 113);
    memset(b, 0, sizeof b);
    b[0] = 128;  /* 2^1 */
    b[1] = 0x97; /* 7: 6, 9: -0.5 */
    dequantize(TENSOR_MXFP4, b, v, 32);
    assert_bits(v[0], 12);
    assert_bits(v[16], -1);
}

static void reads_nvfp4(void **state)
{
    (void)state;
    uint8_t b[36] = {0x38, 1, 0x7E, 0x7F}; /* 1, 2^-9, 448, no number */
    float v[64];
    b[4] = 0x97; /* 7: 6, 9: -0.5 */
    b[12] = 0x20;
    b[20] = 0x0F;
    b[28] = 0x07;
    dequantize(TENSOR_NVFP4, b, v, 64);
    assert_bits(v[0], 6);
    assert_bits(v[8], -0.5f);
    assert_bits(v[24], 0x1p-9f);
    assert_bits(v[32], -6 * 448);
    assert_bits(v[48], 0);
}

/* The first and last points of the codebooks are known: all codes 0, and (iq2_xs, iq2_s, iq1) all codes 2. */
static void reads_points_of_codebooks(void **state)
{
    (void)state;
    uint8_t b[110] = {0};
    float v[256];
    put_half(b, 1);
    b[2 + 4] = 1;      /* group 0: value 0 is negative, and value 7 to make it even */
    b[2 + 7] = 3 << 4; /* scale 3.5 / 4 */
    b[2 + 8 + 1] = 1;  /* run 1, group 1: 0x0002 */
    dequantize(TENSOR_IQ2_XXS, b, v, 256);
    assert_bits(v[0], -3.5f * 2);
    assert_bits(v[1], 3.5f * 2);
    assert_bits(v[7], -3.5f * 2);
    assert_bits(v[8], 3.5f * 2);
    assert_bits(v[40], 43 * 0.125f);
    assert_bits(v[41], 1);
    memset(b, 0, sizeof b);
    put_half(b, 4);
    b[2] = 0xFF;
    b[3] = 0x80 | 1; /* index 511, signs 0x40 and the odd one */
    b[66] = 0x10;    /* groups 2 and 3: scale 1.5 */
    dequantize(TENSOR_IQ2_XS, b, v, 256);
    assert_bits(v[0], 43 * 0.5f);
    assert_bits(v[6], -43 * 0.5f);
    assert_bits(v[7], -43 * 0.5f);
    assert_bits(v[16], 8 * 1.5f);
    memset(b, 0, sizeof b);
    put_half(b, 4);
    b[2 + 31] = 0xFF;
    b[34 + 31] = 0x02;
    b[66 + 7] = 3 << 6;
    b[74 + 7] = 0xF0;
    dequantize(TENSOR_IQ2_S, b, v, 256);
    assert_bits(v[0], 8 * 0.5f);
    assert_bits(v[248], 43 * 15.5f);
    assert_bits(v[249], -43 * 15.5f);
    memset(b, 0, sizeof b);
    put_half(b, 2);
    b[2 + 1] = 255; /* 0x7630 */
    b[66] = 0x20;   /* value 5 */
    dequantize(TENSOR_IQ3_XXS, b, v, 256);
    assert_bits(v[0], 2);
    assert_bits(v[4], 2);
    assert_bits(v[5], -14);
    assert_bits(v[6], 26);
    assert_bits(v[7], -31);
    memset(b, 0, sizeof b);
    put_half(b, 2);
    b[2 + 63] = 0xFF;
    b[66 + 7] = 0x80;  /* index 511: 0x7700 */
    b[74 + 31] = 0x80; /* value 255 */
    b[106 + 3] = 0x70;
    dequantize(TENSOR_IQ3_S, b, v, 256);
    assert_bits(v[0], 2);
    assert_bits(v[252], 30);
    assert_bits(v[254], 30 * 15);
    assert_bits(v[255], -30 * 15);
    memset(b, 0, sizeof b);
    put_half(b, 2);
    b[2] = 0xFF;
    b[34] = 0x07; /* group 0: index 2047 */
    b[37] = 0xB0; /* run 1: scale 7, down */
    dequantize(TENSOR_IQ1_S, b, v, 256);
    assert_bits(v[0], 2 * 1.125f);
    assert_bits(v[8], 2 * -0.875f);
    assert_bits(v[32], 14 * -1.125f);
    memset(b, 0, sizeof b);
    b[31] = 0xFF;
    b[47] = 0xF0;        /* the last group: index 2047, down */
    b[54] = 7 << 1;      /* low bits of scale 15 of 16 */
    b[55] = 0x40 | 0x0E; /* d = 0x4000: 2; scale 15: 7 */
    dequantize(TENSOR_IQ1_M, b, v, 256);
    assert_bits(v[0], 2 * -0.875f);
    assert_bits(v[248], 2 * 15 * 0.875f);
}

static void reads_blocks_of_256(void **state)
{
    (void)state;
    uint8_t b[256] = {0};
    float v[256];
    put_half(b, 1);
    put_half(b + 2, 0.5f);
    b[4] = 3 | 1 << 6;  /* scale 0 = 3; low bits of the top of scale 4 */
    b[8] = 2;           /* min 0 = 2 */
    b[12] = 5 | 7 << 4; /* scale 4 = 5 | 16, min 4 = 7 */
    b[16] = 0xA9;       /* q0 = 9, q32 = 10 (scale 1 is 0) */
    b[16 + 64] = 0x04;  /* q128 = 4 */
    dequantize(TENSOR_Q4_K, b, v, 256);
    assert_bits(v[0], 3 * 9 - 1);
    assert_bits(v[1], -1);
    assert_bits(v[32], 0);
    assert_bits(v[128], 21 * 4 - 3.5f);
    memset(b, 0, sizeof b);
    put_half(b, 1);
    b[4] = 2;
    b[16] = 1; /* fifth bit of value 0 */
    b[48] = 3;
    dequantize(TENSOR_Q5_K, b, v, 256);
    assert_bits(v[0], 2 * 19);
    assert_bits(v[1], 0);
    memset(b, 0, sizeof b);
    put_half(b + 208, 0.5f);
    b[192] = 2;
    b[0] = 0x0F;
    b[128] = 0x03;
    dequantize(TENSOR_Q6_K, b, v, 256);
    assert_bits(v[0], 31);
    assert_bits(v[1], -32);
    assert_bits(v[16], -0.0f); /* scale 0 times -32 */
    memset(b, 0, sizeof b);
    b[0] = 0x21; /* scale 1, min 2 */
    b[16] = 3;
    put_half(b + 80, 4);
    put_half(b + 82, 0.5f);
    dequantize(TENSOR_Q2_K, b, v, 256);
    assert_bits(v[0], 11);
    assert_bits(v[1], -1);
    memset(b, 0, sizeof b);
    b[0] = 1; /* no four less for value 0 */
    b[32] = 3;
    b[96] = 1; /* scale 0 = 1 | 2 << 4 = 33 */
    b[104] = 2;
    put_half(b + 108, 1);
    dequantize(TENSOR_Q3_K, b, v, 256);
    assert_bits(v[0], 3);
    assert_bits(v[1], -4);
    memset(b, 0, sizeof b);
    put_half(b, 1);
    b[2] = 2; /* high bits of scale 0 */
    b[4] = 1; /* scale 0 = 33 */
    b[8] = 0xF8;
    dequantize(TENSOR_IQ4_XS, b, v, 256);
    assert_bits(v[0], 1);
    assert_bits(v[16], 113);
    memset(b, 0, sizeof b);
    put_half(b + 64, 3);
    b[0] = 2 | 1 << 2;
    dequantize(TENSOR_TQ2_0, b, v, 256);
    assert_bits(v[0], 3);
    assert_bits(v[32], 0);
    assert_bits(v[1], -3);
    memset(b, 0, sizeof b);
    put_half(b + 52, 3);
    b[0] = 255; /* digits 2 2 2 2 2 */
    b[1] = 128; /* digits 1 1 1 1 1 */
    dequantize(TENSOR_TQ1_0, b, v, 256);
    assert_bits(v[0], 3);
    assert_bits(v[32], 3);
    assert_bits(v[1], 0);
    assert_bits(v[2], -3);
    memset(b, 0, sizeof b);
    put_half(b, 3);
    b[2] = 2;
    b[17] = 128;
    dequantize(TENSOR_Q1_0, b, v, 128);
    assert_bits(v[0], -3);
    assert_bits(v[1], 3);
    assert_bits(v[126], -3);
    assert_bits(v[127], 3);
}

static void knows_all_types(void **state)
{
    (void)state;
    struct error err;
    float v[256];
    uint8_t b[512] = {0};
    assert_null(tensor_type_info(4));
    assert_null(tensor_type_info(31));
    assert_null(tensor_type_info(36));
    assert_null(tensor_type_info(TENSOR_TYPES));
    assert_null(tensor_type_info(UINT32_MAX));
    assert_int_equal(tensor_row_bytes(TENSOR_Q4_K, 512), 288);
    assert_int_equal(tensor_row_bytes(TENSOR_F32, 0), 0);
    for (uint32_t type = 0; type < TENSOR_TYPES; type++) {
        const struct tensor_type_info *info = tensor_type_info(type);
        if (!info)
            continue;
        int rc = tensor_dequantize(type, b, v, info->block_values, &err);
        assert_int_equal(rc, tensor_type_readable(type) ? 0 : ERROR_UNSUPPORTED);
        if (rc)
            assert_non_null(strstr(err.message, info->name));
        if (rc == 0 && info->block_values > 1)
            assert_int_equal(tensor_dequantize(type, b, v, info->block_values - 1, &err), ERROR_INVALID);
    }
    assert_false(tensor_type_readable(TENSOR_Q8_K));
    assert_true(tensor_type_readable(TENSOR_Q6_K));
    assert_int_equal(tensor_quantize(TENSOR_NVFP4, v, b, 256, &err), ERROR_UNSUPPORTED);
    assert_int_equal(tensor_quantize(TENSOR_Q8_0, v, b, 31, &err), ERROR_INVALID);
}

/* What is written and read again is near what it was: the error is bounded by half a step of the type. */
static void quantizes_to_the_nearest(void **state)
{
    (void)state;
    static const struct {
        enum tensor_type type;
        float worst; /* for values in -1..1 */
    } cases[] = {{TENSOR_F32, 0}, {TENSOR_F16, 0x1p-11f}, {TENSOR_BF16, 0x1p-8f}, {TENSOR_Q8_0, 0.005f},
        {TENSOR_Q4_0, 0.13f}, {TENSOR_Q4_1, 0.07f}, {TENSOR_Q5_0, 0.065f}, {TENSOR_Q5_1, 0.035f},
        {TENSOR_Q4_K, 0.1f}, {TENSOR_Q5_K, 0.055f}, {TENSOR_Q6_K, 0.04f}, {TENSOR_IQ4_NL, 0.13f},
        {TENSOR_IQ4_XS, 0.13f}};
    struct rand_pcg random;
    struct error err;
    enum { N = 2048 };
    static float from[N], back[N];
    static uint8_t block[N * 4];
    rand_pcg_seed(&random, 7);
    for (int i = 0; i < N; i++)
        from[i] = (float)(2 * rand_pcg_double(&random) - 1) * (i < 1024 ? 1 : 0.01f);
    memset(from + 512, 0, 256 * sizeof *from); /* blocks of nothing stay nothing */
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        assert_int_equal(tensor_quantize(cases[c].type, from, block, N, &err), 0);
        dequantize(cases[c].type, block, back, N);
        for (int i = 0; i < N; i++)
            if (!(fabsf(back[i] - from[i]) <= cases[c].worst * (i < 1024 ? 1 : 0.0101f) + 1e-7f))
                fail_msg("%s: %g became %g", tensor_type_info(cases[c].type)->name, (double)from[i],
                    (double)back[i]);
        for (int i = 512; i < 768; i++)
            assert_true(back[i] == 0);
    }
}

/* Blocks known by hand: a tie goes away from zero, the extreme is the lowest level, the fifth bits stand
 * apart. */
static void writes_blocks_of_32(void **state)
{
    (void)state;
    struct error err;
    float v[32] = {127, 0.5f, -0.5f, -127, 63.5f};
    uint8_t b[40];
    assert_int_equal(tensor_quantize(TENSOR_Q8_0, v, b, 32, &err), 0);
    assert_memory_equal(b, ((uint8_t[]){0x00, 0x3C, 127, 1, 0xFF, 0x81, 64, 0}), 8);
    for (int i = 0; i < 32; i++)
        v[i] = (float)(i % 16 - 8);
    assert_int_equal(tensor_quantize(TENSOR_Q4_0, v, b, 32, &err), 0);
    assert_memory_equal(b, ((uint8_t[]){0x00, 0x3C, 0x00, 0x11, 0x22, 0x33}), 6);
    assert_int_equal(tensor_quantize(TENSOR_Q4_1, v, b, 32, &err), 0);
    assert_memory_equal(b, ((uint8_t[]){0x00, 0x3C, 0x00, 0xC8, 0x00, 0x11, 0x22}), 7);
    for (int i = 0; i < 32; i++)
        v[i] = (float)(i - 16);
    assert_int_equal(tensor_quantize(TENSOR_Q5_0, v, b, 32, &err), 0);
    assert_memory_equal(b, ((uint8_t[]){0x00, 0x3C, 0x00, 0x00, 0xFF, 0xFF, 0x00, 0x11}), 8);
    assert_int_equal(tensor_quantize(TENSOR_Q5_1, v, b, 32, &err), 0);
    assert_memory_equal(b, ((uint8_t[]){0x00, 0x3C, 0x00, 0xCC, 0x00, 0x00, 0xFF, 0xFF, 0x00, 0x11}), 10);
    memset(v, 0, sizeof v);
    assert_int_equal(tensor_quantize(TENSOR_Q4_0, v, b, 32, &err), 0);
    assert_memory_equal(b, ((uint8_t[]){0x00, 0x80, 0x88, 0x88}), 4); /* the reference's zero is negative */
}

/* Sums of the bytes that the format's reference writes for the same values. */
static void writes_what_the_reference_writes(void **state)
{
    (void)state;
    static const struct {
        enum tensor_type type;
        uint64_t fnv;
    } cases[] = {{TENSOR_F16, 0x9e7d9f52bd6c879a}, {TENSOR_BF16, 0xe9823f17a803fb9c},
        {TENSOR_Q8_0, 0xa7b00fb41f26b430}, {TENSOR_Q4_0, 0x2edc62a728d59790},
        {TENSOR_Q4_1, 0x173707e043f33d3a}, {TENSOR_Q5_0, 0x8cfdc1b5e21b047b},
        {TENSOR_Q5_1, 0x73ee803369de60de}, {TENSOR_Q4_K, 0xd1e0fba93ddbfd19},
        {TENSOR_Q5_K, 0x2e834ae86d78a8f6}, {TENSOR_Q6_K, 0x73feba5671b9e71a},
        {TENSOR_IQ4_NL, 0x378868564ce7fd2a}, {TENSOR_IQ4_XS, 0x1d6f79ab581b286c}};
    enum { N = 4096 };
    static float from[N];
    static uint8_t bytes[N * 4];
    struct rand_pcg random;
    struct error err;
    rand_pcg_seed(&random, 11);
    for (int i = 0; i < N; i++)
        from[i] =
            (float)(2 * rand_pcg_double(&random) - 1) * (i / 256 % 2 ? 1 : 0.01f) * (i % 64 ? 1.0f : 3.0f);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        uint64_t fnv = 0xcbf29ce484222325;
        assert_int_equal(tensor_quantize(cases[c].type, from, bytes, N, &err), 0);
        for (size_t i = 0; i < tensor_row_bytes(cases[c].type, N); i++)
            fnv = (fnv ^ bytes[i]) * 0x100000001b3;
        if (fnv != cases[c].fnv)
            fail_msg("%s: other bytes", tensor_type_info(cases[c].type)->name);
    }
}

static int check_rows(const char *folder, const char *name, size_t *skipped)
{
    char path[2048];
    struct error err;
    json_t *root;
    snprintf(path, sizeof path, "%s/%s.json", folder, name);
    struct buf text = shared_read(path);
    assert_int_equal(json_read(buf_str(&text), &root, &err), 0);
    snprintf(path, sizeof path, "%s/%s.gguf", folder, name);
    struct gguf *g = shared_gguf(path);
    assert_non_null(g);
    int checked = 0;
    size_t i, k;
    json_t *row, *value;
    json_array_foreach(json_object_get(root, "rows"), i, row)
    {
        const struct tensor *t = gguf_tensor_find(g, json_string_value(json_object_get(row, "tensor")));
        assert_non_null(t);
        assert_int_equal(t->type, json_integer_value(json_object_get(row, "type_id")));
        if (!tensor_type_readable(t->type)) {
            (*skipped)++;
            continue;
        }
        float values[4096];
        size_t bytes = tensor_row_bytes(t->type, t->shape[0]);
        assert_true(t->shape[0] <= 4096);
        size_t number = (size_t)json_integer_value(json_object_get(row, "row"));
        dequantize(t->type, (const uint8_t *)t->data + number * bytes, values, t->shape[0]);
        json_array_foreach(json_object_get(row, "values"), k, value)
            assert_true(values[k] == (float)json_number_value(value));
        assert_int_equal(k, t->shape[0]);
        checked++;
    }
    json_decref(root);
    gguf_close(g);
    buf_free(&text);
    return checked;
}

/* Every reference row, bit for bit (signs of zero aside, which the file does not keep). */
static void agrees_with_the_reference(void **state)
{
    (void)state;
    char folder[1024];
    size_t skipped = 0;
    int checked = 0;
    if (shared_absent("vectors/quants"))
        return;
    snprintf(folder, sizeof folder, "%s/vectors/quants", shared_folder());
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        char *dot = strstr(entry->d_name, ".json");
        if (!dot)
            continue;
        *dot = '\0';
        checked += check_rows(folder, entry->d_name, &skipped);
    }
    closedir(dir);
    print_message("%d rows agree; %zu rows of types that this build does not read\n", checked, skipped);
    assert_true(checked > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(halves_round_trip),
        cmocka_unit_test(halves_round_to_even),
        cmocka_unit_test(reads_blocks_of_32),
        cmocka_unit_test(reads_nvfp4),
        cmocka_unit_test(reads_blocks_of_256),
        cmocka_unit_test(reads_points_of_codebooks),
        cmocka_unit_test(knows_all_types),
        cmocka_unit_test(quantizes_to_the_nearest),
        cmocka_unit_test(writes_blocks_of_32),
        cmocka_unit_test(writes_what_the_reference_writes),
        cmocka_unit_test(agrees_with_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

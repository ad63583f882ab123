/* The products of instruction sets that this machine may lack, their instructions replaced by plain C that
 * does what the vendors' manuals say of them: what is left untested is the instructions alone. Vectors of 16
 * lanes with dpbusd (AVX-512 VNNI), as product_avx512vnni.c has them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"

/* Vectors of 64 bytes go through memory here. */
#pragma GCC diagnostic ignored "-Wpsabi"

enum { LANES = 16 };
#define OPAQUE(v) __asm__ volatile("" : "+m"(v))

#include "engine/worker/cpu/product_vector.h"

INLINE void rows_16(vwords out[4], const uint8_t *const *rows, size_t at)
{
    for (int i = 0; i < 4; i++)
        out[i] = rows_word(rows, at + 4 * (size_t)i);
}

INLINE vfloats half_low(vwords w)
{
    vfloats f = {0};
    for (int l = 0; l < LANES; l++)
        f[l] = tensor_float_from_half((uint16_t)(w[l] & 0xFFFFu));
    return f;
}

INLINE vfloats half_high(vwords w)
{
    return half_low(w >> 16);
}

INLINE vfloats rows_half(const uint8_t *const *rows, size_t at)
{
    vwords w = {0};
    for (int r = 0; r < LANES; r++)
        w[r] = read_short(rows[r] + at);
    return half_low(w);
}

INLINE vwords rows_byte(const uint8_t *const *rows, size_t at)
{
    vwords w = {0};
    for (int r = 0; r < LANES; r++)
        w[r] = rows[r][at];
    return w;
}

/* pshufb: by the low four bits of each byte of the index, in a table that all parts of the vector share. */
INLINE vwords pick(const int8_t table[16], vwords index)
{
    uint8_t bytes[4 * LANES];
    memcpy(bytes, &index, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = bytes[i] & 0x80 ? 0 : (uint8_t)table[bytes[i] & 15];
    memcpy(&index, bytes, sizeof bytes);
    return index;
}

INLINE vfloats plus(vfloats a, vfloats b, vfloats c)
{
    for (int l = 0; l < LANES; l++)
        c[l] = fmaf(a[l], b[l], c[l]);
    return c;
}

INLINE vfloats minus(vfloats a, vfloats b, vfloats c)
{
    return plus(-a, b, c);
}

/* dpbusd: four products of an unsigned and a signed byte are added to each lane, without saturation. */
INLINE vints add_products(vints sum, vwords w, const int8_t *x)
{
    for (int l = 0; l < LANES; l++)
        for (int i = 0; i < 4; i++)
            sum[l] += (int32_t)(w[l] >> 8 * i & 255u) * x[i];
    return sum;
}

INLINE vints peak_products(vints sum, vwords w, vwords x)
{
    return sum + (vints)(w + x);
}

/* clang-format off: in this order */
#include "engine/worker/cpu/product_vnni.h"
#include "engine/worker/cpu/product_types.h"
/* clang-format on */

static const struct products emulated = {
    .isa = "emulated", .lanes = LANES, .quantize = quantize, .of = PRODUCTS, .peak = peak};

static void emulated_products_agree(void **state)
{
    (void)state;
    const char *wrong = products_check(&emulated);
    if (wrong)
        fail_msg("%s", wrong);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(emulated_products_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

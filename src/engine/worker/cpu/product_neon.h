/* The parts of product_types.h for NEON's 128 bits, but the dots. */
#ifndef WEIR_ENGINE_WORKER_CPU_PRODUCT_NEON_H
#define WEIR_ENGINE_WORKER_CPU_PRODUCT_NEON_H

#include <arm_neon.h>

enum { LANES = 4, TOGETHER = 4 };

#include "engine/worker/cpu/product_vector.h"

INLINE void rows_16(vwords out[4], const uint8_t *const *rows, size_t at)
{
    uint32x4_t a = vreinterpretq_u32_u8(vld1q_u8(rows[0] + at)),
               b = vreinterpretq_u32_u8(vld1q_u8(rows[1] + at));
    uint32x4_t c = vreinterpretq_u32_u8(vld1q_u8(rows[2] + at)),
               d = vreinterpretq_u32_u8(vld1q_u8(rows[3] + at));
    uint64x2_t ab = vreinterpretq_u64_u32(vtrn1q_u32(a, b)), cd = vreinterpretq_u64_u32(vtrn1q_u32(c, d));
    out[0] = (vwords)vtrn1q_u64(ab, cd);
    out[2] = (vwords)vtrn2q_u64(ab, cd);
    ab = vreinterpretq_u64_u32(vtrn2q_u32(a, b));
    cd = vreinterpretq_u64_u32(vtrn2q_u32(c, d));
    out[1] = (vwords)vtrn1q_u64(ab, cd);
    out[3] = (vwords)vtrn2q_u64(ab, cd);
}

INLINE vfloats half_low(vwords w)
{
    return (vfloats)vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32((uint32x4_t)w)));
}

INLINE vfloats half_high(vwords w)
{
    return half_low(w >> 16);
}

INLINE vfloats rows_half(const uint8_t *const *rows, size_t at)
{
    vwords w;
    for (int r = 0; r < LANES; r++)
        w[r] = read_short(rows[r] + at);
    return half_low(w);
}

INLINE float read_half(const uint8_t *at)
{
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(read_short(at)))), 0);
}

INLINE vints load_bytes(const uint8_t *at)
{
    return (vints)vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(read_word(at))))));
}

INLINE vfloats load_halves(const uint8_t *at)
{
    return (vfloats)vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(at)));
}

INLINE vwords rows_byte(const uint8_t *const *rows, size_t at)
{
    vwords w;
    for (int r = 0; r < LANES; r++)
        w[r] = rows[r][at];
    return w;
}

INLINE vwords pick(const int8_t table[16], vwords index)
{
    return (vwords)vqtbl1q_s8(vld1q_s8(table), (uint8x16_t)index);
}

INLINE vfloats plus(vfloats a, vfloats b, vfloats c)
{
    return (vfloats)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}

INLINE vfloats minus(vfloats a, vfloats b, vfloats c)
{
    return (vfloats)vfmsq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}

#endif

/* The softmax's exponential by AVX-512. */
#ifndef WEIR_ENGINE_WORKER_CPU_TERM_AVX512_H
#define WEIR_ENGINE_WORKER_CPU_TERM_AVX512_H

/* 2^t: 2^n times a polynomial on [0, 1) that is right to 7.5e-8 (by Remez' exchange); what has no normal
 * number is 0, a NaN stays one. */
INLINE vfloats power_lanes(__m512 t)
{
    const vfloats r = (vfloats)_mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    vfloats p = plus(splat(1.877576673e-3f), r, splat(8.989340095e-3f));
    p = plus(p, r, splat(5.582631805e-2f));
    p = plus(p, r, splat(2.401536170e-1f));
    p = plus(p, r, splat(6.931530732e-1f));
    p = plus(p, r, splat(9.999999251e-1f));
    const __mmask16 normal = _mm512_cmp_ps_mask(t, _mm512_set1_ps(-126), _CMP_NLT_UQ);
    return (vfloats)_mm512_maskz_scalef_ps(normal, (__m512)p, t); /* (scalef rounds t down itself) */
}

#define LOG2_E 1.44269504f
#define LOG2_E_REST 1.92596299e-8f /* what that float lacks: far from 0 it counts */

/* e^(scale x) */
INLINE vfloats term_lanes(vfloats x, float scale)
{
    return power_lanes((__m512)plus(x, splat(scale * LOG2_E), x * (scale * LOG2_E_REST)));
}

#endif

/* The softmax's exponential by AVX-512. */
#ifndef WEIR_ENGINE_WORKER_CPU_TERM_AVX512_H
#define WEIR_ENGINE_WORKER_CPU_TERM_AVX512_H

/* e^(scale x): 2^n times a polynomial on [-1/2, 1/2] (Cephes' exp2f); what has no normal number is 0, a NaN
 * stays one. */
INLINE vfloats term_lanes(vfloats x, float scale)
{
    const __m512 t = (__m512)(x * (scale * 1.44269504f)), r = _mm512_reduce_ps(t, _MM_FROUND_TO_NEAREST_INT);
    vfloats p = plus(splat(1.535336188319500e-4f), (vfloats)r, splat(1.339887440266574e-3f));
    p = plus(p, (vfloats)r, splat(9.618437357674640e-3f));
    p = plus(p, (vfloats)r, splat(5.550332471162809e-2f));
    p = plus(p, (vfloats)r, splat(2.402264791363012e-1f));
    p = plus(p, (vfloats)r, splat(6.931472028550421e-1f));
    p = plus(p, (vfloats)r, splat(1));
    const __mmask16 normal = _mm512_cmp_ps_mask(t, _mm512_set1_ps(-126), _CMP_NLT_UQ);
    return (vfloats)_mm512_maskz_scalef_ps(normal, (__m512)p, _mm512_sub_ps(t, r));
}

#endif

#include "train/kernels.h"

#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "engine/worker/cpu/kernels.h"

/* The engine knows what this CPU can do; its tables' names say it. */
static bool engine_has(const char *isa)
{
    const struct kernels *list[KERNELS_MAX];
    int32_t n = kernels_list(list);
    while (n > 0 && strcmp(list[n - 1]->isa, isa) != 0)
        n--;
    return n > 0;
}

#if defined(__x86_64__)
/* Of leaf 7: EDX; of its part 1: EAX. Compilers' headers disagree on their names. */
enum { AMX_BF16 = 1 << 22, AVX512_BF16 = 1 << 5 };

/* Are there products of bfloat16, where the engine has those of bytes? */
static bool has_bf16(void)
{
    unsigned a, b, c, d, more;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & AMX_BF16) && a >= 1 &&
           __get_cpuid_count(7, 1, &more, &b, &c, &d) && (more & AVX512_BF16);
}
#endif

int32_t train_kernels_list(const struct train_kernels *out[TRAIN_KERNELS_MAX])
{
    int32_t n = 0;
    out[n++] = &train_kernels_base;
#if defined(__x86_64__)
    if (engine_has("avx2"))
        out[n++] = &train_kernels_avx2;
    if (engine_has("avx512"))
        out[n++] = &train_kernels_avx512;
    if (engine_has("amx") && has_bf16())
        out[n++] = &train_kernels_amx;
#else
    (void)engine_has;
#endif
    return n;
}

int train_kernels_select(const char *isa, const struct train_kernels **out, struct error *err)
{
    const struct train_kernels *list[TRAIN_KERNELS_MAX];
    int32_t n = train_kernels_list(list);
    *out = list[n - 1];
    for (int32_t i = 0; i < n && isa && *isa; i++)
        if (strcmp(list[i]->isa, isa) == 0) {
            *out = list[i];
            return 0;
        }
    return isa && *isa ? error_set(err, ERROR_UNSUPPORTED,
                             "the instruction set '%s' is unknown or not on this CPU: the best here is '%s'",
                             isa, (*out)->isa)
                       : 0;
}

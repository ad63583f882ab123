#include "train/kernels.h"

#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>
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
enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24, AVX512_BF16 = 1 << 5 };

/* Linux saves the tiles of a process that has asked for it, which it does once: a sandboxed one can't. */
static bool tiles_asked(void)
{
    enum { UNKNOWN, YES, NO, REQUEST = 0x1023, TILE_DATA = 18 };
    static atomic_int answer;
    if (atomic_load(&answer) == UNKNOWN)
        atomic_store(&answer, syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0 ? YES : NO);
    return atomic_load(&answer) == YES;
}

static bool has_amx(void)
{
    unsigned a, b, c, d, more;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & (AMX_BF16 | AMX_TILE)) == (AMX_BF16 | AMX_TILE) &&
           a >= 1 && __get_cpuid_count(7, 1, &more, &b, &c, &d) && (more & AVX512_BF16) && tiles_asked();
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
    if (engine_has("avx512") && has_amx())
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

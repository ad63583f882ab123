#include "train/kernels.h"

#include <string.h>

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

int32_t train_kernels_list(const struct train_kernels *out[TRAIN_KERNELS_MAX])
{
    int32_t n = 0;
    out[n++] = &train_kernels_base;
#if defined(__x86_64__)
    if (engine_has("avx2"))
        out[n++] = &train_kernels_avx2;
    if (engine_has("avx512"))
        out[n++] = &train_kernels_avx512;
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

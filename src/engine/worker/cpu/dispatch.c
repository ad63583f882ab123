/* Which kernels this CPU can run. */
#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#include "base/log.h"
#include "engine/worker/cpu/kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Registers that the operating system saves (XCR0): bits 1-2 SSE and AVX, 5-7 AVX-512, 17-18 AMX. */
static unsigned saved_registers(void)
{
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

/* Of leaf 7: part 1, EAX, and part 0, EDX (AMX's tiles, bytes and bfloat16); compilers' headers disagree on
 * their names. */
enum { AVX_VNNI = 1 << 4, AVX512_BF16 = 1 << 5, AMX_UNIT = 3 << 24 | 1 << 22 };

static bool has(unsigned word, unsigned bits)
{
    return (word & bits) == bits;
}

/* Linux saves the tiles of a process that has asked for it. The answer is kept, as in the sandbox it cannot
 * be asked. */
static bool tiles_permitted(void)
{
    enum { UNKNOWN, YES, NO, REQUEST = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM */
    static atomic_int answer;
    if (atomic_load(&answer) == UNKNOWN)
        atomic_store(&answer, syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0 ? YES : NO);
    return atomic_load(&answer) == YES;
}

int32_t kernels_list(const struct kernels *out[KERNELS_MAX])
{
    int32_t count = 0;
    out[count++] = &kernels_scalar;
    unsigned a, b = 0, c = 0, d = 0, more = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C) ||
        !has(saved_registers(), 0x06) || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !has(b, bit_AVX2))
        return count;
    const unsigned wide = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    const bool has_wide = has(saved_registers(), 0xE6) && has(b, wide),
               has_wide_vnni = has(c, bit_AVX512VNNI),
               has_tiles = has(saved_registers(), 0x600E6) && has(d, AMX_UNIT) && has(c, bit_AVX512VBMI);
    out[count++] = &kernels_avx2;
    if (a >= 1)
        __get_cpuid_count(7, 1, &more, &b, &c, &d);
    if (has(more, AVX_VNNI))
        out[count++] = &kernels_avxvnni;
    if (has_wide)
        out[count++] = &kernels_avx512;
    if (has_wide && has_wide_vnni)
        out[count++] = &kernels_avx512vnni;
    if (has_wide && has_wide_vnni && has_tiles && has(more, AVX512_BF16) && tiles_permitted())
        out[count++] = &kernels_amx;
    return count;
}

#elif defined(__aarch64__)
#include <sys/auxv.h>

int32_t kernels_list(const struct kernels *out[KERNELS_MAX])
{
    out[0] = &kernels_scalar;
    out[1] = &kernels_neon; /* part of the base architecture */
    out[2] = &kernels_dotprod;
    return getauxval(AT_HWCAP) & HWCAP_ASIMDDP ? 3 : 2;
}

#else

int32_t kernels_list(const struct kernels *out[KERNELS_MAX])
{
    out[0] = &kernels_scalar;
    return 1;
}

#endif

/* What is wrong with a table's products here; looked at once. */
static const char *wrong_products(const struct kernels *k, int32_t place)
{
    static _Atomic(const char *) known[KERNELS_MAX]; /* "": nothing */
    const char *wrong = atomic_load(&known[place]);
    if (!wrong) {
        wrong = k->products ? products_check(k->products) : NULL;
        wrong = wrong ? wrong : "";
        atomic_store(&known[place], wrong);
    }
    return *wrong ? wrong : NULL;
}

/* The best table up to `last` whose products are right here: what was never run on such a CPU must prove
 * itself. */
static const struct kernels *checked(const struct kernels *const *list, int32_t last)
{
    for (int32_t i = last;; i--) {
        const char *wrong = wrong_products(list[i], i);
        if (!wrong)
            return list[i];
        log_warn("engine",
            "the products of %s on this CPU are wrong with '%s': a lesser instruction set is used", wrong,
            list[i]->isa);
    }
}

int kernels_select(const char *isa, const struct kernels **out, struct error *err)
{
    const struct kernels *list[KERNELS_MAX] = {NULL};
    int32_t count = kernels_list(list), chosen = count - 1;
    if (isa && *isa)
        while (chosen >= 0 && strcmp(list[chosen]->isa, isa) != 0)
            chosen--;
    *out = checked(list, chosen < 0 ? count - 1 : chosen);
    if (chosen >= 0)
        return 0;
    return error_set(err, ERROR_UNSUPPORTED,
        "the instruction set '%s' is unknown or not on this CPU: the best here is '%s'", isa, (*out)->isa);
}

void kernels_dequantize(
    const struct kernels *k, enum tensor_type type, const uint8_t *from, float *to, int64_t count)
{
    if (k->dequantize[type]) {
        k->dequantize[type](from, to, count);
        return;
    }
    int rc = tensor_dequantize(type, from, to, count, NULL);
    assert(rc == 0); /* unreadable types are refused when the model is loaded */
    (void)rc;
}

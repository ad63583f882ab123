#include "base/rand.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static void kernel_bytes(void *out, size_t len)
{
    char *p = out;
    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            abort();
        p += n;
        len -= (size_t)n;
    }
}

/* What a thread asked the kernel for ahead, because each request takes a few bytes several times. A byte is
 * wiped when it is given, and a forked child starts with an empty pool. */
static _Thread_local struct {
    unsigned char bytes[1024];
    size_t left; /* at the front */
    unsigned forks;
} pool;
static _Atomic unsigned forks; /* this process is so many forks away from the first */

static void on_fork(void)
{
    forks++;
}

static void watch_forks(void)
{
    if (pthread_atfork(NULL, NULL, on_fork) != 0)
        abort();
}

void rand_bytes(void *out, size_t len)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (len > sizeof pool.bytes / 8) {
        kernel_bytes(out, len);
        return;
    }
    pthread_once(&once, watch_forks);
    if (pool.left < len || pool.forks != forks) {
        kernel_bytes(pool.bytes, sizeof pool.bytes);
        pool.left = sizeof pool.bytes;
        pool.forks = forks;
    }
    pool.left -= len;
    memcpy(out, pool.bytes + pool.left, len);
    explicit_bzero(pool.bytes + pool.left, len);
}

uint64_t rand_u64(void)
{
    uint64_t value;
    rand_bytes(&value, sizeof value);
    return value;
}

void rand_id(const char *prefix, char *out, size_t size)
{
    static const char alphabet[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    enum { LENGTH = 24 };
    size_t used = strlen(prefix);
    assert(used + LENGTH + 1 <= size);
    memcpy(out, prefix, used);
    for (size_t end = used + LENGTH; used < end;) {
        unsigned char bytes[LENGTH];
        rand_bytes(bytes, sizeof bytes);
        /* 248 = 4 * 62: higher bytes would favour the first letters. */
        for (size_t i = 0; i < sizeof bytes && used < end; i++)
            if (bytes[i] < 248)
                out[used++] = alphabet[bytes[i] % 62];
    }
    out[used] = '\0';
}

void rand_pcg_seed(struct rand_pcg *r, uint64_t seed)
{
    r->state = 0;
    r->increment = 0xda3e39cb94b95bdbu;
    (void)rand_pcg_u32(r);
    r->state += seed;
    (void)rand_pcg_u32(r);
}

uint32_t rand_pcg_u32(struct rand_pcg *r)
{
    uint64_t old = r->state;
    r->state = old * 6364136223846793005u + r->increment;
    uint32_t shifted = (uint32_t)((old >> 18 ^ old) >> 27);
    uint32_t rotation = (uint32_t)(old >> 59);
    return shifted >> rotation | shifted << (-rotation & 31);
}

double rand_pcg_double(struct rand_pcg *r)
{
    uint64_t high = rand_pcg_u32(r), low = rand_pcg_u32(r);
    return (double)((high << 32 | low) >> 11) * 0x1.0p-53;
}

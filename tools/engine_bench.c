/* Prefill and decode speed of a model file beside the machine's own limits, measured in the same run:
 * `engine_bench MODEL.gguf [PROMPT [GENERATE [REPEAT]]]`. Medians. Decode streams every weight once a token,
 * so its limit is bandwidth / weight bytes; prefill multiplies every weight of the layers once a token, so
 * that its limit is the integer units' peak / twice their number (where a product shares additions in 16 bits
 * it may do better). */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "engine/worker/backend.h"
#include "engine/worker/gguf.h"
#include "engine/worker/model.h"

enum { MAX_REPEAT = 101, MAX_PROMPT = 8192 };

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, by_value);
    return values[n / 2];
}

/* ---- The machine's limit ---- */

struct reader {
    const uint64_t *data;
    size_t count;
    uint64_t sum; /* kept, so that the reading is not left out */
};

static void *read_all(void *ctx)
{
    struct reader *r = ctx;
    uint64_t sums[8] = {0};
    for (size_t i = 0; i + 8 <= r->count; i += 8)
        for (size_t k = 0; k < 8; k++)
            sums[k] += r->data[i + k];
    for (size_t k = 0; k < 8; k++)
        r->sum += sums[k];
    return NULL;
}

/* Seconds in which `threads` threads (64 at most) each do fn(readers + i). */
static double together(int threads, void *(*fn)(void *ctx), struct reader *readers)
{
    pthread_t ids[64];
    int64_t begin = clock_mono_ns();
    for (int i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, fn, &readers[i]) != 0)
            abort();
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    return (double)(clock_mono_ns() - begin) / 1e9;
}

/* GB/s that `threads` threads read from 1 GiB of memory; the best of five, as it is a limit. */
static double bandwidth(int threads)
{
    size_t bytes = GIB, share = bytes / (size_t)threads / 64 * 64;
    uint64_t *data = malloc(bytes);
    double best = 0;
    if (!data)
        return 0;
    memset(data, 1, bytes);
    for (int repeat = 0; repeat < 5; repeat++) {
        struct reader readers[64];
        for (int i = 0; i < threads; i++)
            readers[i] = (struct reader){data + (size_t)i * share / 8, share / 8, 0};
        double gbps = (double)(share * (size_t)threads) / together(threads, read_all, readers) / 1e9;
        best = gbps > best ? gbps : best;
    }
    free(data);
    return best;
}

#if defined(__x86_64__)
#include <immintrin.h>

/* Bytes multiplied in pairs, pairs added to 32 bits, from registers: what AVX2 offers for products of any
 * bytes. */
__attribute__((target("avx2"))) static void *multiply_all(void *ctx)
{
    enum { SUMS = 12 };
    struct reader *r = ctx;
    __m256i sums[SUMS], w = _mm256_set1_epi8(3), x = _mm256_set1_epi8(5), one = _mm256_set1_epi16(1);
    for (int i = 0; i < SUMS; i++)
        sums[i] = _mm256_setzero_si256();
    for (size_t n = 0; n < r->count; n++)
        for (int i = 0; i < SUMS; i++) {
            __m256i pairs = _mm256_maddubs_epi16(w, x);
            __asm__ volatile("" : "+x"(pairs)); /* each of them is computed */
            sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(pairs, one));
        }
    for (int i = 0; i < SUMS; i++)
        r->sum += (uint64_t)_mm256_extract_epi64(sums[i], 0);
    return NULL;
}

/* Billions of operations (a product is two) a second of `threads` threads; the best of five, as it is a
 * limit. */
static double integer_peak(int threads)
{
    enum { ROUNDS = 2000000, OPERATIONS = 12 * 32 * 2 };
    double best = 0;
    if (!__builtin_cpu_supports("avx2"))
        return 0;
    for (int repeat = 0; repeat < 5; repeat++) {
        struct reader readers[64];
        for (int i = 0; i < threads; i++)
            readers[i] = (struct reader){NULL, ROUNDS, 0};
        double seconds = together(threads, multiply_all, readers);
        double gops = (double)threads * ROUNDS * OPERATIONS / seconds / 1e9;
        best = gops > best ? gops : best;
    }
    return best;
}
#else
static double integer_peak(int threads)
{
    (void)threads;
    return 0;
}
#endif

/* ---- The model ---- */

/* Values of the layers' matrices, all of which each token is multiplied by; 0 for a mixture of experts. */
static double layer_values(const struct gguf *g)
{
    double sum = 0;
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct tensor *t = gguf_tensor_at(g, i);
        if (t->n_dims > 2)
            return 0;
        if (t->n_dims == 2 && str_starts(t->name, str_from("blk.")))
            sum += (double)t->shape[0] * (double)t->shape[1];
    }
    return sum;
}

/* Seconds that one batch of `n` tokens takes. */
static double step(struct model_state *s, const int32_t *tokens, int32_t n, float *logits, struct error *err)
{
    static int32_t slots[MAX_PROMPT];
    static uint8_t wants[MAX_PROMPT];
    memset(wants, 0, (size_t)n);
    wants[n - 1] = 1;
    struct model_batch batch = {n, tokens, slots, wants};
    int64_t begin = clock_mono_ns();
    if (model_decode(s, &batch, logits, err))
        return -1;
    return (double)(clock_mono_ns() - begin) / 1e9;
}

static int measure(const struct model *m, int32_t prompt, int32_t generate, int repeat, double *prefill,
    double *decode, struct error *err)
{
    static int32_t tokens[MAX_PROMPT];
    struct model_state *s = NULL;
    const struct model_info *info = model_info(m);
    double prefills[MAX_REPEAT], decodes[MAX_REPEAT];
    int rc = model_state_create(m, 1, prompt + generate, &s, err);
    float *logits = calloc((size_t)info->n_vocab, sizeof *logits);
    for (int32_t i = 0; i < prompt; i++)
        tokens[i] = (i * 7919 + 3) % info->n_vocab;
    for (int r = -1; r < repeat && rc == 0; r++) { /* the first one warms up */
        model_state_truncate(s, 0, 0);
        double first = step(s, tokens, prompt, logits, err), rest = 0, one = 0;
        for (int32_t i = 0; i < generate && one >= 0; i++, rest += one)
            one = step(s, tokens, 1, logits, err);
        if (first < 0 || one < 0)
            rc = err->code;
        if (r >= 0) {
            prefills[r] = prompt / first;
            decodes[r] = generate / rest;
        }
    }
    if (rc == 0) {
        *prefill = median(prefills, repeat);
        *decode = median(decodes, repeat);
    }
    free(logits);
    model_state_free(s);
    return rc;
}

static int run(const char *file, int32_t prompt, int32_t generate, int repeat, struct error *err)
{
    struct gguf *g = NULL;
    struct model *m = NULL;
    struct backend *backend = NULL;
    double prefill = 0, decode = 0;
    int threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    int rc = fd < 0 ? error_set(err, ERROR_IO, "cannot open %s", file) : gguf_open(&fd, 1, &g, err);
    if (rc == 0)
        rc = backend_cpu_create(threads, &backend, err);
    if (rc == 0)
        rc = model_load(g, backend, &m, err);
    if (rc == 0)
        rc = measure(m, prompt, generate, repeat, &prefill, &decode, err);
    if (rc == 0) {
        const int used = threads < 64 ? threads : 64;
        double gbps = bandwidth(used), peak = integer_peak(used), work = layer_values(g) * 2 / 1e9;
        double limit = gbps * 1e9 / (double)model_info(m)->weight_bytes;
        printf("%s: %.0f MiB, %s, %d threads\n", file, (double)model_info(m)->weight_bytes / (double)MIB,
            backend_isa(backend), threads);
        printf("  prefill %d: %.1f t/s", prompt, prefill);
        if (peak > 0 && work > 0)
            printf(" (%.0f%% of the %.1f t/s that %.0f GOPS of int8 allow)", 100 * prefill * work / peak,
                peak / work, peak);
        putchar('\n');
        printf("  decode: %.1f t/s (%.0f%% of the %.1f t/s that %.1f GB/s allow)\n", decode,
            100 * decode / limit, limit, gbps);
    }
    model_free(m);
    backend_free(backend);
    gguf_close(g);
    if (fd >= 0)
        close(fd);
    return rc;
}

int main(int argc, char **argv)
{
    struct error err = {0};
    int prompt = argc > 2 ? atoi(argv[2]) : 128, generate = argc > 3 ? atoi(argv[3]) : 16;
    int repeat = argc > 4 ? atoi(argv[4]) : 5;
    if (argc < 2 || prompt < 1 || prompt > MAX_PROMPT || generate < 1 || repeat < 1 || repeat > MAX_REPEAT) {
        fprintf(stderr, "usage: engine_bench MODEL.gguf [PROMPT [GENERATE [REPEAT]]]\n");
        return 2;
    }
    if (run(argv[1], prompt, generate, repeat, &err)) {
        fprintf(stderr, "engine_bench: %s\n", err.message);
        return 1;
    }
    return 0;
}

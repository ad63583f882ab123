/* Prefill and decode speed of a model file beside the machine's own memory bandwidth, measured in the same
 * run: `engine_bench MODEL.gguf [PROMPT [GENERATE [REPEAT]]]`. Medians. Decode streams every weight once a
 * token, so its limit is bandwidth / weight bytes. */
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
        pthread_t ids[64];
        struct reader readers[64];
        int64_t begin = clock_mono_ns();
        for (int i = 0; i < threads; i++) {
            readers[i] = (struct reader){data + (size_t)i * share / 8, share / 8, 0};
            if (pthread_create(&ids[i], NULL, read_all, &readers[i]) != 0)
                abort();
        }
        for (int i = 0; i < threads; i++)
            pthread_join(ids[i], NULL);
        double gbps = (double)(share * (size_t)threads) / (double)(clock_mono_ns() - begin);
        best = gbps > best ? gbps : best;
    }
    free(data);
    return best;
}

/* ---- The model ---- */

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
        double gbps = bandwidth(threads < 64 ? threads : 64);
        double limit = gbps * 1e9 / (double)model_info(m)->weight_bytes;
        printf("%s: %.0f MiB, %s, %d threads\n", file, (double)model_info(m)->weight_bytes / (double)MIB,
            backend_isa(backend), threads);
        printf("  prefill %d: %.1f t/s\n", prompt, prefill);
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

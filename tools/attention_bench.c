/* How fast attention reads its cache: `attention_bench [DEPTH [KV_HEADS [GROUP [WIDTH [TYPE [TOKENS]]]]]]`.
 *
 * For each type of the cache and for 1, 2, 4, 16 and 96 tokens of one sequence that stand behind DEPTH
 * others: the best and the median time of a layer, in microseconds of one thread's CPU time, the GB/s of the
 * cache that this is, and operations a second as a share of the float peak of the same run. The layers
 * together are larger than the caches. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/rand.h"
#include "base/sort.h"
#include "engine/worker/cpu/kernels.h"
#include "engine/worker/kvcache.h"
#include "engine/worker/program.h"
#include "engine/worker/state.h"
#include "engine/worker/tensor_quantize.h"

enum { TRIALS = 9, N_COUNTS = 5, TOKENS_MAX = 96, CACHE = 96 * MIB, LAYERS_MAX = 64 };

static const int32_t counts[N_COUNTS] = {1, 2, 4, 16, TOKENS_MAX};

struct shape {
    int32_t depth, n_kv_heads, group, width;
};

struct layers {
    int32_t n;
    struct kv_layer *of[LAYERS_MAX];
};

static double now(void)
{
    return (double)clock_cpu_ns() / 1e9;
}

static void fill(float *x, int64_t n, struct rand_pcg *random)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(rand_pcg_double(random) * 2 - 1);
}

/* Every row of the layer, of values drawn by chance. */
static int layer_fill(struct kv_layer *l, const struct shape *s, struct rand_pcg *random, struct error *err)
{
    enum { ROWS = 61 };
    float *values = malloc(sizeof *values * (size_t)s->width * ROWS);
    const int64_t rows = (int64_t)s->n_kv_heads * l->n_rows;
    int rc = values ? 0 : error_set(err, ERROR_MEMORY, "no memory for the cache");
    if (values)
        fill(values, (int64_t)s->width * ROWS, random);
    for (int64_t r = 0; r < rows && rc == 0; r++) {
        const float *row = values + r % ROWS * s->width;
        rc = tensor_quantize(l->spec.type, row, l->keys + (size_t)r * l->k_row, s->width, err);
        rc = rc ? rc : tensor_quantize(l->spec.type, row, l->values + (size_t)r * l->v_row, s->width, err);
    }
    free(values);
    return rc;
}

static int layers_make(
    struct layers *all, struct backend *b, const struct shape *s, enum tensor_type type, struct error *err)
{
    struct state_spec spec = {.kind = STATE_KV,
        .kv = {.type = type, .n_heads = s->n_kv_heads, .k_width = s->width, .v_width = s->width}};
    const struct state_room room = {.n_slots = 1, .n_context = s->depth + TOKENS_MAX};
    struct rand_pcg random;
    uint64_t bytes = 0;
    int rc = 0;
    rand_pcg_seed(&random, 1);
    for (all->n = 0; rc == 0 && bytes < CACHE && all->n < LAYERS_MAX; all->n++) {
        void *layer;
        rc = state_kinds[STATE_KV]->create(&spec, b, &room, &layer, err);
        if (rc)
            break;
        all->of[all->n] = layer;
        bytes += all->of[all->n]->bytes;
        rc = layer_fill(layer, s, &random, err);
    }
    return rc;
}

static void layers_free(struct layers *all)
{
    for (int32_t i = 0; i < all->n; i++)
        state_kinds[STATE_KV]->free(all->of[i]);
}

/* Seconds a layer. */
static int once(struct backend *b, const struct layers *all, const struct shape *s, const struct weight *q,
    int32_t n_tokens, double *seconds, struct error *err)
{
    static int32_t positions[TOKENS_MAX], slots[TOKENS_MAX], tokens[TOKENS_MAX];
    static float *out;
    const struct attention how = {.n_heads = s->n_kv_heads * s->group, .scale = 0.125f};
    struct program p = {0};
    out = realloc(out, sizeof *out * (size_t)(TOKENS_MAX * how.n_heads * s->width));
    for (int32_t i = 0; i < n_tokens; i++) {
        positions[i] = s->depth + i;
        tokens[i] = i;
    }
    program_reset(
        &p, &(struct program_batch){n_tokens, 0, tokens, slots, positions, NULL, s->depth + TOKENS_MAX});
    const struct value x = op_embed(&p, q);
    struct value y = x;
    for (int32_t i = 0; i < all->n; i++)
        y = op_attention(&p, all->of[i], x, &how);
    program_output(&p, y, out);
    int rc = b->ops->encode(b, &p, err);
    const double begin = now();
    rc = rc ? rc : b->ops->submit(b, err);
    *seconds = (now() - begin) / all->n;
    rc = rc ? rc : b->ops->sync(b, err);
    program_free(&p);
    return rc;
}

static int type_run(struct backend *b, const struct shape *s, const struct weight *q, enum tensor_type type,
    int32_t tokens, double peak, struct error *err)
{
    static double seconds[N_COUNTS][TRIALS];
    struct layers all = {0};
    int rc = layers_make(&all, b, s, type, err);
    for (int t = 0; t < TRIALS && rc == 0; t++)
        for (int i = 0; i < N_COUNTS && rc == 0; i++)
            if (tokens == 0 || tokens == counts[i])
                rc = once(b, &all, s, q, counts[i], &seconds[i][t], err);
    for (int i = 0; i < N_COUNTS && rc == 0; i++) {
        if (tokens != 0 && tokens != counts[i])
            continue;
        const double bytes = (double)all.of[0]->bytes,
                     operations = 4.0 * counts[i] * s->depth * s->n_kv_heads * s->group * s->width;
        sort_doubles(seconds[i], TRIALS);
        printf("%-5s %3d   %8.1f %8.1f   %5.2f   %5.1f%%\n", tensor_type_info(type)->name, (int)counts[i],
            seconds[i][0] * 1e6, seconds[i][TRIALS / 2] * 1e6, bytes / seconds[i][0] / 1e9,
            100 * operations / seconds[i][0] / peak);
        fflush(stdout);
    }
    layers_free(&all);
    return rc;
}

static double peak_of(const struct kernels *k)
{
    double best = 0;
    for (int t = 0; t < TRIALS; t++) {
        const double begin = now(), n = (double)k->peak(20000), rate = n / (now() - begin);
        best = rate > best ? rate : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    static const enum tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_BF16, TENSOR_Q8_0, TENSOR_Q4_0};
    const struct shape s = {argc > 1 ? atoi(argv[1]) : 4096, argc > 2 ? atoi(argv[2]) : 8,
        argc > 3 ? atoi(argv[3]) : 4, argc > 4 ? atoi(argv[4]) : 64};
    const char *only = argc > 5 ? argv[5] : "all";
    const int32_t tokens = argc > 6 ? atoi(argv[6]) : 0;
    const struct kernels *k;
    struct backend *b = NULL;
    struct error err = {0};
    if (s.depth < 1 || s.n_kv_heads < 1 || s.group < 1 || s.width < 32 || s.width % 32 != 0) {
        fprintf(stderr, "usage: attention_bench [DEPTH [KV_HEADS [GROUP [WIDTH]]]], widths in steps of 32\n");
        return 2;
    }
    int rc = kernels_select(getenv("WEIR_ISA"), &k, &err);
    rc = rc ? rc : backend_cpu_create(1, &b, &err);
    struct weight q = {
        .type = TENSOR_F32, .n_in = s.n_kv_heads * s.group * s.width, .n_out = TOKENS_MAX, .n_experts = 1};
    float *values = malloc(sizeof *values * (size_t)(q.n_in * TOKENS_MAX));
    struct rand_pcg random;
    rand_pcg_seed(&random, 2);
    if (values)
        fill(values, q.n_in * TOKENS_MAX, &random);
    q.data = values;
    printf("cache, tokens: us a layer best, median; GB/s; of the float peak\n");
    for (size_t i = 0; i < sizeof types / sizeof *types && rc == 0 && values; i++)
        if (strcmp(only, "all") == 0 || strcmp(only, tensor_type_info(types[i])->name) == 0)
            rc = type_run(b, &s, &q, types[i], tokens, k->peak ? peak_of(k) : 1, &err);
    if (rc)
        fprintf(stderr, "attention_bench: %s\n", err.message);
    free(values);
    backend_free(b);
    return rc ? 1 : 0;
}

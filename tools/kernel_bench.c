/* How fast the products of quantised weights are: `kernel_bench [TYPE|all [WIDTH]]`.
 *
 * For each type and number of columns a thread's best and median, in a row of the table: operations a second
 * as a share of the instruction set's peak, of weights that stay in the caches ("held") and of weights that
 * come from memory ("read", with their GB/s). Everything alternates within a trial and is counted by CPU
 * time, so that another load of the machine falls on all alike. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/rand.h"
#include "base/sort.h"
#include "engine/worker/cpu/kernels.h"

enum { TRIALS = 15, N_COLUMNS = 9, COLUMNS_MOST = 128, HELD_ROWS = 32 };

static const int64_t columns[N_COLUMNS] = {1, 2, 3, 4, 6, 8, 12, 16, COLUMNS_MOST};

static double now(void)
{
    return (double)clock_cpu_ns() / 1e9;
}

struct weights {
    enum tensor_type type;
    int64_t width, n_rows;
    uint8_t *data;
    size_t row_bytes;
};

static int weights_make(struct weights *w, enum tensor_type type, int64_t width, size_t bytes)
{
    struct rand_pcg random;
    *w = (struct weights){.type = type, .width = width, .row_bytes = tensor_row_bytes(type, width)};
    w->n_rows = (int64_t)(bytes / w->row_bytes) / HELD_ROWS * HELD_ROWS;
    w->data = malloc((size_t)w->n_rows * w->row_bytes);
    if (!w->data)
        return -1;
    rand_pcg_seed(&random, 1);
    for (int64_t r = 0; r < HELD_ROWS; r++)
        product_random_row(type, &random, -1, w->data + (size_t)r * w->row_bytes, width);
    for (int64_t r = HELD_ROWS; r < w->n_rows; r++)
        memcpy(w->data + (size_t)r * w->row_bytes, w->data + (size_t)(r % HELD_ROWS) * w->row_bytes,
            w->row_bytes);
    return 0;
}

/* Seconds that `count` rows from `first` on take. */
static double rows_run(const struct products *p, const struct weights *w, const struct x_block *x, int64_t n,
    float *acc, int64_t first, int64_t count)
{
    const double begin = now();
    for (int64_t r = first; r < first + count; r += p->lanes) {
        const uint8_t *rows[PRODUCT_LANES_MAX];
        for (int64_t l = 0; l < p->lanes; l++)
            rows[l] = w->data + (size_t)(r + l) * w->row_bytes;
        p->of[w->type](acc, x, n, rows, 0, w->width / X_VALUES);
        product_finish(p, w->type, acc, n);
    }
    return now() - begin;
}

static void type_run(
    const struct products *p, const struct weights *w, const struct x_block *const *x, float *acc)
{
    static double peaks[TRIALS], held[N_COLUMNS][TRIALS], read[N_COLUMNS][TRIALS];
    int64_t at = 0;
    for (int t = 0; t < TRIALS; t++) {
        double begin = now();
        int64_t operations = p->peak(20000);
        peaks[t] = (double)operations / (now() - begin);
        for (int i = 0; i < N_COLUMNS; i++) {
            const int64_t n = columns[i], cold = n > 32 ? HELD_ROWS : 512;
            const double one = 2.0 * (double)w->width * (double)n;
            double seconds = 0, rows = 0;
            do {
                seconds += rows_run(p, w, x[i], n, acc, 0, HELD_ROWS);
                rows += HELD_ROWS;
            } while (seconds < 3e-4);
            held[i][t] = one * rows / seconds;
            if (at + cold > w->n_rows)
                at = 0;
            read[i][t] = one * (double)cold / rows_run(p, w, x[i], n, acc, at, cold);
            at += cold;
        }
    }
    sort_doubles(peaks, TRIALS);
    printf("%-7s peak %.0f GOPS; columns: held best, median %% of it; read best, median %%; GB/s\n",
        tensor_type_info(w->type)->name, peaks[TRIALS / 2] / 1e9);
    for (int i = 0; i < N_COLUMNS; i++) {
        sort_doubles(held[i], TRIALS);
        sort_doubles(read[i], TRIALS);
        const double share = 100 / peaks[TRIALS - 1],
                     bytes = (double)w->row_bytes / (2.0 * (double)w->width * (double)columns[i]) / 1e9;
        printf("  %3d   %5.1f %5.1f   %5.1f %5.1f   %5.2f %5.2f\n", (int)columns[i],
            held[i][TRIALS - 1] * share, held[i][TRIALS / 2] * share, read[i][TRIALS - 1] * share,
            read[i][TRIALS / 2] * share, read[i][TRIALS - 1] * bytes, read[i][TRIALS / 2] * bytes);
    }
    fflush(stdout);
}

static void columns_make(
    const struct products *p, enum tensor_type type, int64_t width, float *values, struct x_block *const *x)
{
    struct rand_pcg random;
    rand_pcg_seed(&random, 2);
    for (int i = 0; i < N_COLUMNS; i++)
        for (int64_t c = 0; c < columns[i]; c++) {
            for (int64_t v = 0; v < width; v++)
                values[v] = (float)(rand_pcg_double(&random) * 2 - 1);
            product_quantize(p, type, x[i], columns[i], c, values, width);
        }
}

int main(int argc, char **argv)
{
    const struct kernels *k;
    struct error err;
    const char *name = argc > 1 ? argv[1] : "all";
    const int64_t width = argc > 2 ? atoi(argv[2]) / 256 * 256 : 2048;
    if (kernels_select(getenv("WEIR_ISA"), &k, &err) != 0 || !k->products || width < 256) {
        fprintf(stderr, "usage: kernel_bench [TYPE|all [WIDTH]], on a CPU with products on integers\n");
        return 2;
    }
    struct x_block *x[N_COLUMNS];
    float *values = malloc((size_t)width * sizeof *values),
          *acc = aligned_alloc(KERNEL_ALIGN, COLUMNS_MOST * PRODUCT_LANES_MAX * sizeof *acc);
    for (int i = 0; i < N_COLUMNS; i++)
        x[i] = aligned_alloc(KERNEL_ALIGN, (size_t)(2 * width / X_VALUES * COLUMNS_MOST) * sizeof **x);
    if (!values || !acc || !x[N_COLUMNS - 1])
        return 1;
    memset(acc, 0, COLUMNS_MOST * PRODUCT_LANES_MAX * sizeof *acc);
    printf("%s, rows of %d values\n", k->isa, (int)width);
    for (uint32_t type = 0; type < TENSOR_TYPES; type++) {
        struct weights w;
        if (!k->products->of[type] ||
            (strcmp(name, "all") != 0 && strcmp(name, tensor_type_info(type)->name) != 0))
            continue;
        if (weights_make(&w, type, width, 96 * MIB) != 0)
            return 1;
        columns_make(k->products, type, width, values, x);
        type_run(k->products, &w, (const struct x_block *const *)x, acc);
        free(w.data);
    }
    return 0;
}

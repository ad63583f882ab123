/* Inside the CPU backend: the memory of a running program and how its threads share an operation. */
#ifndef WEIR_ENGINE_WORKER_CPU_CPU_H
#define WEIR_ENGINE_WORKER_CPU_CPU_H

#include <stdatomic.h>

#include "engine/worker/cpu/kernels.h"
#include "engine/worker/cpu/threads.h"
#include "engine/worker/program.h"

/* A product on floats takes TILE_VALUES values of a tile's rows at a time, and TILE_COLUMNS columns (tokens)
 * at most. */
enum {
    TILE_VALUES = KERNEL_RUN,
    TILE_COLUMNS = 128,
    TILE_POSITIONS = 64,
    ROW_GAP = 16,
    SUMS_MAX = 128 * 1024
};

/* Of one thread. */
struct cpu_scratch {
    _Alignas(KERNEL_ALIGN) float rows[TILE_ROWS * (TILE_VALUES + ROW_GAP)]; /* of the weight */
    _Alignas(KERNEL_ALIGN) float columns[TILE_COLUMNS * TILE_VALUES];       /* a segment of each */
    _Alignas(KERNEL_ALIGN) float sums[SUMS_MAX];
    float *scores; /* attention.c's */
    size_t max_scores;
    struct x_block *panel; /* the quantised columns of one expert */
    size_t max_panel;
    int32_t *routes; /* matmul_experts.c's */
    size_t max_routes;
};

struct cpu {
    struct backend base;
    const struct kernels *kernels;
    struct threads *threads;
    struct cpu_scratch *scratch; /* one for each thread */
    struct program *program;     /* encoded */
    float *values;
    size_t max_values;         /* floats */
    struct x_block *quantised; /* the input of the products that run now */
    size_t max_quantised;
    atomic_int *claims; /* for each operation: pieces that a thread has taken */
    size_t max_claims;
};

/* One thread's part of one operation. */
struct cpu_task {
    const struct cpu *cpu;
    const struct op *op;
    atomic_int *claims;
    struct cpu_scratch *scratch;
    struct x_block *input; /* of a product that cpu_quantises: quantised */
};

/* Takes the next piece of `total` things, `size` at a time; false when none is left. */
static inline bool cpu_claim(
    const struct cpu_task *task, int64_t total, int64_t size, int64_t *from, int64_t *to)
{
    *from = (int64_t)atomic_fetch_add_explicit(task->claims, 1, memory_order_relaxed) * size;
    *to = *from + size < total ? *from + size : total;
    return *from < total;
}

/* What is done row by row is shared by rows, the same ones to a thread whatever the operation, so that it may
 * go on to what becomes of its rows (order.c). */
static inline void cpu_rows_own(const struct cpu_task *task, int64_t rows, int64_t *from, int64_t *to)
{
    const int64_t thread = task->scratch - task->cpu->scratch, n = threads_count(task->cpu->threads);
    *from = rows * thread / n;
    *to = rows * (thread + 1) / n;
}

static inline float *cpu_row(const struct cpu *c, struct value v, int64_t row)
{
    const struct value_info *info = program_value(c->program, v);
    return (info->host ? info->host : c->values + info->offset) + row * info->width;
}

/* A product of at most TILE_COLUMNS columns, quantised of PRODUCT_COLUMNS_MAX: y[c] = W x[c] * scale + bias
 * for columns c. `data`: the first row of the matrix. */
struct matmul {
    const struct weight *weight;
    const uint8_t *data;
    const float *bias, *scale; /* NULL: none */
    const float *x[TILE_COLUMNS];
    float *y[PRODUCT_COLUMNS_MAX];
    int32_t n_columns;
};
void cpu_matmul_rows(
    const struct kernels *k, const struct matmul *m, int64_t from, int64_t to, struct cpu_scratch *s);

void cpu_matmul(const struct cpu_task *task);
/* Does the operation multiply as product.h has it, so that its input has to be quantised first? */
bool cpu_quantises(const struct cpu *c, const struct op *op);
enum panel_layout cpu_panel_layout(const struct cpu *c, const struct op *op);
/* x_blocks for the input, and for the panel of a thread. */
void cpu_quantised_need(
    const struct cpu *c, const struct program *p, const struct op *op, size_t *input, size_t *panel);
void cpu_quantise(const struct cpu_task *task);
void cpu_product(const struct cpu_task *task);
/* acc[group][column][lane] = rows from `row` on, for `n_rows` of them. */
void cpu_product_multiply(const struct products *p, const struct matmul *m, struct x_block *x, int64_t row,
    int64_t n_rows, float *acc);
/* What column c has of them, scaled and with the bias, one after the other. */
void cpu_product_column(const struct products *p, const struct matmul *m, int64_t row, int64_t n_rows,
    const float *acc, int64_t c, float *y);
void cpu_product_rows(const struct products *p, const struct matmul *m, struct x_block *x, int64_t from,
    int64_t to, struct cpu_scratch *s);
/* A row of the operation's quantised input, which begins at `x`. */
struct x_column cpu_quantised_column(
    const struct cpu *c, const struct op *op, struct x_block *x, int64_t row);
/* Does operation i begin a feed-forward network that goes in one piece, up to its last product? Its hidden
 * values are then quantised only, and stand where they were to be as floats. */
enum { FFN_OPS = 3 };
bool cpu_ffn_begins(const struct cpu *c, size_t i);
void cpu_ffn(const struct cpu_task *task);
struct x_block *cpu_ffn_hidden(const struct cpu *c, const struct op *down);
/* Rows of a matrix that a thread takes at once: long runs of memory, yet enough pieces to even the threads
 * out. */
int64_t cpu_piece_rows(const struct cpu *c, int64_t n_rows);
void cpu_matmul_heads(const struct cpu_task *task);
void cpu_experts(const struct cpu_task *task);
/* int32s of scratch that it needs in each thread. */
size_t cpu_experts_need(const struct program *p, const struct op *op);
/* Need operation i + 1 not wait until all threads are done with operation i? None has waited since the one
 * called `from`. `quantises`: the input of i + 1 comes first. */
bool cpu_goes_on(const struct cpu *c, size_t from, size_t i, bool quantises);
void cpu_glu(
    const struct kernels *k, enum glu glu, float *y, const float *gate, const float *up, int64_t width);
void cpu_conv_row(const struct cpu_task *task, int64_t row);
void cpu_delta(const struct cpu_task *task);
void cpu_route_row(const struct cpu_task *task, int64_t row);
void cpu_kv_write(const struct cpu_task *task);
void cpu_attention(const struct cpu_task *task);
/* Floats of scratch that an attention operation needs in each thread. */
size_t cpu_attention_scores(const struct kernels *k, const struct op *op);
void cpu_op_run(const struct cpu_task *task);
int cpu_limits(struct backend *b, struct backend_limits *out, struct error *err);

#endif

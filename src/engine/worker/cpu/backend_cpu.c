/* Runs programs on the cores of this machine. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/limits.h"
#include "base/pages.h"
#include "engine/worker/cpu/cpu.h"

static struct cpu *cpu_of(struct backend *b)
{
    return (struct cpu *)(void *)b;
}

static void cpu_free(struct backend *b)
{
    struct cpu *c = cpu_of(b);
    for (int32_t i = 0; c->threads && c->scratch && i < threads_count(c->threads); i++) {
        free(c->scratch[i].scores);
        free(c->scratch[i].panel);
        free(c->scratch[i].routes);
    }
    threads_free(c->threads);
    free(c->scratch);
    free(c->values);
    free(c->quantised);
    free(c->claims);
    free(c);
}

static const char *cpu_isa(const struct backend *b)
{
    return ((const struct cpu *)(const void *)b)->kernels->isa;
}

static int cpu_upload(struct backend *b, const void *host, size_t bytes, const void **out, struct error *err)
{
    (void)b;
    (void)bytes;
    (void)err;
    *out = host;
    return 0;
}

static bool cpu_supports(const struct backend *b, enum tensor_type type)
{
    (void)b;
    return tensor_type_readable(type);
}

/* A matrix unit multiplies bfloat16 as it stands. */
static enum tensor_type cpu_kv_type(const struct backend *b)
{
    return ((const struct cpu *)(const void *)b)->kernels->matrix ? TENSOR_BF16 : TENSOR_F16;
}

static enum backend_unit cpu_unit(const struct backend *b, enum tensor_type type)
{
    const struct products *p = ((const struct cpu *)(const void *)b)->kernels->products;
    if (!p || !p->of[type])
        return UNIT_FLOATS;
    return product_layout(p, type) == PANEL_SPLIT ? UNIT_HALVES : UNIT_INTEGERS;
}

/* Pages come into being, zeroed, when they are first touched. */
static int cpu_buffer_create(struct backend *b, size_t bytes, void **out, struct error *err)
{
    (void)b;
    void *p = mmap(
        NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return error_set(
            err, ERROR_MEMORY, "no memory for a buffer of %zu bytes: use a smaller context", bytes);
    /* Attention walks through all of it: a few percent less time. A kernel without them says so, and that is
     * all. */
    (void)madvise(p, bytes ? bytes : 1, MADV_HUGEPAGE);
    *out = p;
    return 0;
}

static void cpu_buffer_free(struct backend *b, void *buffer, size_t bytes)
{
    (void)b;
    munmap(buffer, bytes ? bytes : 1);
}

static void cpu_copy(void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
}

/* Makes *memory hold `need` items; what it held is lost. Aligned for the kernels. */
static int reserve(void **memory, size_t *max, size_t need, size_t item, struct error *err)
{
    if (need <= *max)
        return 0;
    size_t bytes;
    if (__builtin_mul_overflow(need, item, &bytes) || bytes > SIZE_MAX - HUGE_PAGE)
        return error_set(err, ERROR_MEMORY, "a step of the model is too large for this machine");
    free(*memory);
    *max = 0;
    *memory = pages_alloc(bytes);
    if (!*memory)
        return error_set(
            err, ERROR_MEMORY, "no memory for a step of the model (%zu bytes): use smaller batches", bytes);
    *max = need;
    return 0;
}

static int reserve_floats(float **memory, size_t *max, size_t need, struct error *err)
{
    void *p = *memory;
    int rc = reserve(&p, max, need, sizeof **memory, err);
    *memory = p;
    return rc;
}

static int reserve_scores(struct cpu *c, const struct program *p, struct error *err)
{
    size_t need = 0;
    for (size_t i = 0; i < p->n_ops; i++) {
        size_t scores = p->ops[i].kind == OP_ATTENTION ? cpu_attention_scores(c->kernels, &p->ops[i]) : 0;
        need = scores > need ? scores : need;
    }
    for (int32_t i = 0; i < threads_count(c->threads); i++) {
        struct cpu_scratch *s = &c->scratch[i];
        int rc = need > s->max_scores ? reserve_floats(&s->scores, &s->max_scores, need, err) : 0;
        if (rc)
            return rc;
    }
    return 0;
}

static int reserve_routes(struct cpu *c, const struct program *p, struct error *err)
{
    size_t need = 0;
    int rc = 0;
    for (size_t i = 0; i < p->n_ops; i++) {
        size_t routes = p->ops[i].kind == OP_MATMUL_EXPERTS ? cpu_experts_need(p, &p->ops[i]) : 0;
        need = routes > need ? routes : need;
    }
    for (int32_t i = 0; i < threads_count(c->threads) && rc == 0; i++) {
        void *routes = c->scratch[i].routes;
        rc = reserve(&routes, &c->scratch[i].max_routes, need, sizeof *c->scratch[i].routes, err);
        c->scratch[i].routes = routes;
    }
    return rc;
}

static int reserve_blocks(struct x_block **memory, size_t *max, size_t need, struct error *err)
{
    void *p = *memory;
    int rc = reserve(&p, max, need, sizeof **memory, err);
    *memory = p;
    return rc;
}

static int reserve_quantised(struct cpu *c, const struct program *p, struct error *err)
{
    size_t most_input = 0, most_panel = 0;
    for (size_t i = 0; i < p->n_ops; i++) {
        size_t input, panel;
        if (!cpu_quantises(c, &p->ops[i]))
            continue;
        cpu_quantised_need(c, p, &p->ops[i], &input, &panel);
        most_input = input > most_input ? input : most_input;
        most_panel = panel > most_panel ? panel : most_panel;
    }
    int rc = reserve_blocks(&c->quantised, &c->max_quantised, most_input, err);
    for (int32_t i = 0; i < threads_count(c->threads) && rc == 0; i++)
        rc = reserve_blocks(&c->scratch[i].panel, &c->scratch[i].max_panel, most_panel, err);
    return rc;
}

static int cpu_encode(struct backend *b, struct program *p, struct error *err)
{
    struct cpu *c = cpu_of(b);
    c->program = NULL;
    size_t floats;
    int rc = program_plan(p, &floats, err);
    if (rc == 0)
        rc = reserve_floats(&c->values, &c->max_values, floats, err);
    if (rc == 0) {
        void *claims = c->claims;
        rc = reserve(&claims, &c->max_claims, p->n_ops, sizeof *c->claims, err);
        c->claims = claims;
    }
    if (rc == 0)
        rc = reserve_scores(c, p, err);
    if (rc == 0)
        rc = reserve_quantised(c, p, err);
    if (rc == 0)
        rc = reserve_routes(c, p, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < p->n_ops; i++)
        atomic_init(&c->claims[i], 0);
    c->program = p;
    return 0;
}

static struct program_rows rows_of(const struct cpu *c, struct value v)
{
    if (v.id < 0)
        return (struct program_rows){0};
    const struct value_info *info = program_value(c->program, v);
    return (struct program_rows){cpu_row(c, v, 0), info->rows, info->width};
}

static void product_show(const struct cpu *c, const struct op *op)
{
    const struct program_watch *watch = c->program->watch;
    if (op->kind == OP_MATMUL || op->kind == OP_MATMUL_HEADS || op->kind == OP_MATMUL_EXPERTS)
        watch->product(watch->ctx, op, rows_of(c, op->a), rows_of(c, op->b));
}

/* What products of this operation's kind have as their input, quantised. */
struct held {
    struct value value; /* id -1: nothing */
    enum panel_layout layout;
    struct x_block *x;
};

/* Neighbours often share their input. */
static bool is_held(const struct cpu *c, const struct op *op, const struct held *held)
{
    return op->a.id == held->value.id && cpu_panel_layout(c, op) == held->layout;
}

static void input_hold(struct cpu_task *task, struct held *held)
{
    const struct cpu *c = task->cpu;
    *held = (struct held){task->op->a, cpu_panel_layout(c, task->op), c->quantised};
    task->input = held->x;
    cpu_quantise(task);
    threads_barrier(c->threads);
}

static void op_run(struct cpu_task *task, size_t *i, struct held *held)
{
    const struct cpu *c = task->cpu;
    const struct op *down = task->op + FFN_OPS;
    task->input = held->x;
    if (!cpu_ffn_begins(c, *i)) {
        cpu_op_run(task);
        return;
    }
    cpu_ffn(task);
    *held = (struct held){down->a, cpu_panel_layout(c, down), cpu_ffn_hidden(c, down)};
    *i += FFN_OPS - 1;
}

static void program_part(void *ctx, int32_t thread)
{
    const struct cpu *c = ctx;
    const struct program *p = c->program;
    struct held held = {.value = {-1}};
    for (size_t i = 0, from = 0; i < p->n_ops; i++) {
        struct cpu_task task = {c, &p->ops[i], &c->claims[i], &c->scratch[thread], NULL};
        if (cpu_quantises(c, task.op) && !is_held(c, task.op, &held))
            input_hold(&task, &held);
        if (thread == 0 && p->watch)
            product_show(c, task.op);
        op_run(&task, &i, &held);
        const struct op *next = &p->ops[i] + 1;
        if (i + 1 == p->n_ops || cpu_goes_on(c, from, i, cpu_quantises(c, next) && !is_held(c, next, &held)))
            continue;
        threads_barrier(c->threads);
        from = i + 1;
    }
}

static int cpu_submit(struct backend *b, struct error *err)
{
    struct cpu *c = cpu_of(b);
    if (!c->program)
        return error_set(err, ERROR_INTERNAL, "a program was submitted before it was encoded");
    threads_run(c->threads, program_part, c);
    return 0;
}

/* Submit has waited. */
static int cpu_sync(struct backend *b, struct error *err)
{
    (void)err;
    cpu_of(b)->program = NULL;
    return 0;
}

static const struct backend_ops cpu_ops = {
    .name = "cpu",
    .free = cpu_free,
    .isa = cpu_isa,
    .upload = cpu_upload,
    .supports = cpu_supports,
    .buffer_create = cpu_buffer_create,
    .buffer_free = cpu_buffer_free,
    .copy = cpu_copy,
    .encode = cpu_encode,
    .submit = cpu_submit,
    .sync = cpu_sync,
    .limits = cpu_limits,
    .unit = cpu_unit,
    .kv_type = cpu_kv_type,
};

int backend_cpu_create(int32_t n_threads, struct backend **out, struct error *err)
{
    struct cpu *c = calloc(1, sizeof *c);
    if (!c)
        return error_set(err, ERROR_MEMORY, "no memory for the CPU backend");
    c->base.ops = &cpu_ops;
    int rc = kernels_select(getenv("WEIR_ISA"), &c->kernels, err);
    if (rc == 0)
        rc = threads_create(n_threads == 0 ? threads_cores() : n_threads, &c->threads, err);
    if (rc == 0) {
        size_t bytes = (size_t)threads_count(c->threads) * sizeof *c->scratch;
        c->scratch = pages_alloc(bytes);
        if (c->scratch)
            memset(c->scratch, 0, bytes);
        else
            rc = error_set(err, ERROR_MEMORY, "no memory for the CPU backend");
    }
    if (rc) {
        cpu_free(&c->base);
        return rc;
    }
    *out = &c->base;
    return 0;
}

void backend_free(struct backend *b)
{
    if (b)
        b->ops->free(b);
}

const char *backend_isa(const struct backend *b)
{
    return b->ops->isa(b);
}

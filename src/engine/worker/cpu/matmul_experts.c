/* Products of experts: each token's input by the matrices of the few experts that it is routed to. A piece of
 * work is some rows of one expert by all its tokens together, so that an expert's bytes are read once, and
 * not at all where no token is routed to it. Each thread sorts the routes by expert for itself, in its
 * scratch:
 *
 *   starts [expert], and one more   where an expert's routes begin in `list`
 *   active [n_active]               the experts that have any
 *   list   [route]                  token * n_used + its place among the token's experts */
#include <string.h>

#include "engine/worker/cpu/cpu.h"

struct routes {
    int32_t *starts, *active, *list;
    int32_t n_used, n_active;
};

static size_t route_count(const struct program *p, const struct op *op)
{
    return (size_t)program_value(p, op->b)->rows * (size_t)(program_value(p, op->b)->width / 2);
}

size_t cpu_experts_need(const struct program *p, const struct op *op)
{
    return 2 * (size_t)op->linear->weight.n_experts + 1 + route_count(p, op);
}

static struct routes routes_sort(const struct cpu_task *task)
{
    const struct cpu *c = task->cpu;
    const int32_t n_experts = (int32_t)task->op->linear->weight.n_experts,
                  n = (int32_t)route_count(c->program, task->op);
    struct routes r = {
        .starts = task->scratch->routes, .n_used = program_value(c->program, task->op->b)->width / 2};
    r.active = r.starts + n_experts + 1;
    r.list = r.active + n_experts;
    memset(r.starts, 0, (size_t)(n_experts + 1) * sizeof *r.starts);
    for (int32_t i = 0; i < n; i++)
        r.starts[(int32_t)cpu_row(c, task->op->b, i / r.n_used)[i % r.n_used]]++;
    for (int32_t e = 0, end = 0; e <= n_experts; e++) {
        if (e < n_experts && r.starts[e] > 0)
            r.active[r.n_active++] = e;
        end += r.starts[e];
        r.starts[e] = end;
    }
    for (int32_t i = n - 1; i >= 0; i--)
        r.list[--r.starts[(int32_t)cpu_row(c, task->op->b, i / r.n_used)[i % r.n_used]]] = i;
    return r;
}

/* The quantised inputs of these routes, as a panel of their own. */
static void panel_gather(const struct cpu_task *task, const int32_t *list, int32_t n, int32_t n_used)
{
    const struct cpu *c = task->cpu;
    const struct products *p = c->kernels->products;
    const struct weight *w = &task->op->linear->weight;
    const int64_t blocks = w->n_in / X_VALUES;
    const bool own_input = program_value(c->program, task->op->a)->width != w->n_in;
    for (int32_t i = 0; i < n; i++) {
        const struct x_column to = {task->scratch->panel, n, i};
        struct x_column x = cpu_quantised_column(c, task->op, task->input, list[i] / n_used);
        if (own_input)
            x.panel = product_panel_at(p, w->type, x.panel, x.n, list[i] % n_used * blocks);
        product_column_copy(p, w->type, &to, &x, blocks);
    }
}

/* Rows [from, to) of the expert by the inputs of at most TILE_COLUMNS routes. */
static void expert_multiply(const struct cpu_task *task, struct matmul *m, const int32_t *list, int32_t n,
    int32_t n_used, int64_t from, int64_t to)
{
    const struct cpu *c = task->cpu;
    const struct weight *w = m->weight;
    const bool own_input = program_value(c->program, task->op->a)->width != w->n_in;
    m->n_columns = n;
    for (int32_t i = 0; i < n; i++) {
        const int64_t token = list[i] / n_used, place = list[i] % n_used;
        m->x[i] = cpu_row(c, task->op->a, token) + (own_input ? place * w->n_in : 0);
        m->y[i] = cpu_row(c, task->op->out, token) + place * w->n_out;
    }
    if (!cpu_quantises(c, task->op)) {
        cpu_matmul_rows(c->kernels, m, from, to, task->scratch);
        return;
    }
    panel_gather(task, list, n, n_used);
    cpu_product_rows(c->kernels->products, m, task->scratch->panel, from, to, task->scratch);
}

static void expert_rows(
    const struct cpu_task *task, const struct routes *r, int32_t expert, int64_t from, int64_t to)
{
    const struct linear *linear = task->op->linear;
    const struct weight *w = &linear->weight;
    struct matmul m = {.weight = w,
        .data = (const uint8_t *)w->data + (size_t)(expert * w->n_out) * tensor_row_bytes(w->type, w->n_in),
        .bias = linear->bias ? linear->bias + expert * w->n_out : NULL,
        .scale = w->scales ? w->scales + expert : NULL};
    for (int32_t at = r->starts[expert]; at < r->starts[expert + 1]; at += m.n_columns) {
        const int32_t left = r->starts[expert + 1] - at;
        expert_multiply(
            task, &m, r->list + at, left < TILE_COLUMNS ? left : TILE_COLUMNS, r->n_used, from, to);
    }
}

void cpu_experts(const struct cpu_task *task)
{
    const int64_t n_out = task->op->linear->weight.n_out;
    const struct routes r = routes_sort(task);
    int64_t size = cpu_piece_rows(task->cpu, r.n_active * n_out), from, to;
    size = size < n_out ? size : n_out;
    const int64_t pieces = (n_out + size - 1) / size;
    while (cpu_claim(task, r.n_active * pieces, 1, &from, &to)) {
        const int64_t first = from % pieces * size, end = first + size;
        expert_rows(task, &r, r.active[from / pieces], first, end < n_out ? end : n_out);
    }
}

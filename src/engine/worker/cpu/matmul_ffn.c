/* A feed-forward network in one piece of work: the two products of its input, what is made of them (OP_GLU),
 * and that quantised for its last product, some rows of both matrices at a time by all tokens of a panel:
 *
 *   gate, up: rows [row, row + FFN_ROWS) x panel -> sums of both -> column by column: f(gate) up -> quantised
 *
 * So three of the widest values of a step are never stored. */
#include "engine/worker/cpu/cpu.h"

/* What shares a scale of the next product's input; with more columns than FFN_FEW it pays: with few, weights
 * are better read in long runs. */
enum { FFN_ROWS = 256, FFN_FEW = 32 };

/* Does nobody read it behind the operation `reader`? */
static bool only_for(const struct cpu *c, struct value v, size_t reader)
{
    const struct value_info *info = program_value(c->program, v);
    return !info->host && info->last_use == (int32_t)reader;
}

static bool is_product(const struct cpu *c, const struct op *op)
{
    return op->kind == OP_MATMUL && cpu_quantises(c, op);
}

/* Have the quantised values room where their floats were to be? */
static bool has_room(const struct cpu *c, const struct op *down)
{
    const struct value_info *hidden = program_value(c->program, down->a);
    size_t need, panel;
    cpu_quantised_need(c, c->program, down, &need, &panel);
    return need * sizeof(struct x_block) <= sizeof(float) * (size_t)hidden->rows * (size_t)hidden->width;
}

bool cpu_ffn_begins(const struct cpu *c, size_t i)
{
    const struct program *p = c->program;
    const struct op *first = &p->ops[i], *second = first + 1, *glu = first + 2, *down = first + FFN_OPS;
    if (i + FFN_OPS >= p->n_ops || p->watch || glu->kind != OP_GLU || !is_product(c, first) ||
        !is_product(c, second) || !is_product(c, down))
        return false;
    const bool joined = (glu->a.id == first->out.id && glu->b.id == second->out.id) ||
                        (glu->a.id == second->out.id && glu->b.id == first->out.id);
    const int64_t pieces = first->linear->weight.n_out / FFN_ROWS;
    return joined && second->a.id == first->a.id && down->a.id == glu->out.id &&
           cpu_panel_layout(c, first) == cpu_panel_layout(c, second) && only_for(c, first->out, i + 2) &&
           only_for(c, second->out, i + 2) && only_for(c, glu->out, i + FFN_OPS) &&
           first->linear->weight.n_out % FFN_ROWS == 0 && pieces >= 2 * threads_count(c->threads) &&
           program_value(p, glu->out)->rows > FFN_FEW && has_room(c, down);
}

struct x_block *cpu_ffn_hidden(const struct cpu *c, const struct op *down)
{
    return (struct x_block *)(void *)cpu_row(c, down->a, 0);
}

/* Rows from `row` on for the tokens from `first` on. */
static void rows_run(
    const struct cpu_task *task, struct matmul *gate, struct matmul *up, int64_t row, int32_t first)
{
    const struct cpu *c = task->cpu;
    const struct products *p = c->kernels->products;
    const struct op *glu = task->op + 2, *down = task->op + FFN_OPS;
    const enum tensor_type type = down->linear->weight.type;
    float *sums[2] = {task->scratch->sums, task->scratch->sums + SUMS_MAX / 2};
    const struct x_column x = cpu_quantised_column(c, task->op, task->input, first),
                          to = cpu_quantised_column(c, down, cpu_ffn_hidden(c, down), first);
    gate->n_columns = up->n_columns = (int32_t)x.n;
    cpu_product_multiply(p, gate, x.panel, row, FFN_ROWS, sums[0]);
    cpu_product_multiply(p, up, x.panel, row, FFN_ROWS, sums[1]);
    for (int64_t i = 0; i < x.n; i++) {
        _Alignas(KERNEL_ALIGN) float a[FFN_ROWS], b[FFN_ROWS];
        cpu_product_column(p, gate, row, FFN_ROWS, sums[0], i, a);
        cpu_product_column(p, up, row, FFN_ROWS, sums[1], i, b);
        cpu_glu(c->kernels, glu->glu, a, a, b, FFN_ROWS);
        product_quantize(
            p, type, product_panel_at(p, type, to.panel, to.n, row / X_VALUES), to.n, i, a, FFN_ROWS);
    }
}

static struct matmul matmul_of(const struct linear *l)
{
    return (struct matmul){
        .weight = &l->weight, .data = l->weight.data, .bias = l->bias, .scale = l->weight.scales};
}

void cpu_ffn(const struct cpu_task *task)
{
    const struct op *first = task->op, *second = first + 1, *glu = first + 2;
    const bool in_order = glu->a.id == first->out.id;
    struct matmul gate = matmul_of((in_order ? first : second)->linear),
                  up = matmul_of((in_order ? second : first)->linear);
    const int32_t n_tokens = program_value(task->cpu->program, glu->out)->rows;
    int64_t row, to;
    while (cpu_claim(task, gate.weight->n_out, FFN_ROWS, &row, &to))
        for (int32_t done = 0; done < n_tokens; done += gate.n_columns)
            rows_run(task, &gate, &up, row, done);
}

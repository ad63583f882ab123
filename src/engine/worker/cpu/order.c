/* Which operations may follow each other without all threads waiting in between. A wait costs little where
 * cores are idle, but a thread that another program has put off, or that has to be woken, holds up all others
 * at each.
 *
 *   products of one input                   none reads what the other makes
 *   what is done row by row, up to being    a thread goes on with rows that it made itself (cpu_rows_own)
 *   quantised for the next product
 */
#include "engine/worker/cpu/cpu.h"

/* Does row r of the result need row r of the inputs alone? */
static bool is_by_rows(enum op_kind kind)
{
    switch (kind) {
    case OP_EMBED:
    case OP_EMBED_POSITION:
    case OP_ADD:
    case OP_ADD_VECTOR:
    case OP_SCALE:
    case OP_SCALE_ADAPTER:
    case OP_SCALE_LATE:
    case OP_SOFTCAP:
    case OP_PART:
    case OP_JOIN:
    case OP_RMS_NORM:
    case OP_LAYER_NORM:
    case OP_GLU:
    case OP_GELU:
    case OP_ROPE_ANGLES:
    case OP_ROPE:
    case OP_KV_WRITE:
    case OP_GATE:
    case OP_ROUTE:
    case OP_MIX_EXPERTS:
        return true;
    case OP_SELECT:
    case OP_MEAN:
    case OP_MATMUL:
    case OP_MATMUL_HEADS:
    case OP_ATTENTION:
    case OP_CONV:
    case OP_DELTA:
    case OP_MATMUL_EXPERTS:
        return false;
    }
    return false;
}

static int32_t op_rows(const struct cpu *c, const struct op *op)
{
    return program_value(c->program, op->kind == OP_KV_WRITE ? op->a : op->out)->rows;
}

/* Would a thread's rows of one lie where another's rows of the other are? Memory is used again. */
static bool collide(const struct cpu *c, struct value a, struct value b)
{
    if (a.id < 0 || b.id < 0)
        return false;
    const struct value_info *x = program_value(c->program, a), *y = program_value(c->program, b);
    if (x->host || y->host || (x->offset == y->offset && x->width == y->width && x->rows == y->rows))
        return false;
    return x->offset < y->offset + (size_t)y->rows * (size_t)y->width &&
           y->offset < x->offset + (size_t)x->rows * (size_t)x->width;
}

static bool share_input(const struct cpu *c, const struct op *op, const struct op *next)
{
    const bool quantised = cpu_quantises(c, op);
    return next->kind == OP_MATMUL && next->a.id == op->a.id && quantised == cpu_quantises(c, next) &&
           (!quantised || cpu_panel_layout(c, op) == cpu_panel_layout(c, next));
}

bool cpu_goes_on(const struct cpu *c, size_t from, size_t i, bool quantises)
{
    const struct program *p = c->program;
    const struct op *op = &p->ops[i], *next = op + 1;
    if (p->watch)
        return false;
    if (op->kind == OP_MATMUL)
        return share_input(c, op, next);
    if (!is_by_rows(op->kind))
        return false;
    if (quantises)
        return program_value(p, next->a)->rows == op_rows(c, op);
    if (!is_by_rows(next->kind) || op_rows(c, next) != op_rows(c, op))
        return false;
    for (const struct op *o = &p->ops[from]; o <= op; o++)
        if (collide(c, next->out, o->a) || collide(c, next->out, o->b) || collide(c, next->out, o->out))
            return false;
    return true;
}

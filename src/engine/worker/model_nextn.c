#include "engine/worker/model_nextn.h"

/* What the layer does not have itself is the model's. */
static void shared_load(struct nextn *n, const struct ends *ends, struct loader *l, int32_t n_vocab, int i)
{
    n->head_norm = ends->norm;
    n->embedding = ends->embedding;
    n->head = ends->output;
    if (loader_has(l, "blk.%d.nextn.shared_head_norm.weight", i))
        n->head_norm = loader_vector(l, n->n_embed, "blk.%d.nextn.shared_head_norm.weight", i);
    if (loader_has(l, "blk.%d.nextn.embed_tokens.weight", i))
        n->embedding = loader_weight(l, n->n_embed, n_vocab, "blk.%d.nextn.embed_tokens.weight", i);
    if (loader_has(l, "blk.%d.nextn.shared_head_head.weight", i))
        n->head = loader_linear(l, n->n_embed, n_vocab, "blk.%d.nextn.shared_head_head", i);
}

void nextn_load(struct ends *ends, struct model *m, struct loader *l, float eps, architecture_pass *foretell)
{
    const int i = (int)m->info.n_layers, n_embed = (int)m->info.n_embed;
    if (l->rc || m->n_nextn == 0)
        return;
    struct nextn *n = loader_alloc(l, 1, sizeof *n);
    if (!n)
        return;
    *n = (struct nextn){.n_embed = n_embed, .eps = eps};
    n->join = loader_linear(l, 2 * (int64_t)n_embed, n_embed, "blk.%d.nextn.eh_proj", i);
    n->token_norm = loader_vector(l, n_embed, "blk.%d.nextn.enorm.weight", i);
    n->hidden_norm = loader_vector(l, n_embed, "blk.%d.nextn.hnorm.weight", i);
    shared_load(n, ends, l, m->info.n_vocab, i);
    ends->nextn = n;
    m->foretell = foretell;
    m->n_states = m->info.n_layers + 1;
    m->info.foretells = true;
}

struct value nextn_begin(const struct nextn *n, struct program *p)
{
    struct value token = op_rms_norm(p, op_embed(p, &n->embedding), n->token_norm, n->n_embed, n->eps);
    struct value hidden = op_input(p, p->hidden.before, n->n_embed);
    hidden = op_rms_norm(p, hidden, n->hidden_norm, n->n_embed, n->eps);
    return op_matmul(p, &n->join, op_join(p, token, hidden, n->n_embed, n->n_embed));
}

struct value nextn_end(const struct nextn *n, struct program *p, struct value x)
{
    x = op_rms_norm(p, x, n->head_norm, n->n_embed, n->eps);
    program_output(p, x, p->hidden.rows);
    return op_matmul(p, &n->head, x);
}

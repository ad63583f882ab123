#include "engine/worker/model_embedder.h"

#include <inttypes.h>

/* A matrix from rows `n_in` wide whose name alone tells how many it makes; nothing if it is not there. */
static struct linear linear_if_there(struct loader *l, int32_t n_in, const char *name)
{
    if (!loader_has(l, "%s.weight", name))
        return (struct linear){{0}, NULL};
    return loader_linear(l, n_in, loader_rows(l, MODEL_WIDTH_MAX, "%s.weight", name), "%s", name);
}

static int32_t width_behind(const struct linear *linear, int32_t width)
{
    return linear->weight.data ? (int32_t)linear->weight.n_out : width;
}

/* Where the file names what is scored, there is a score for each name. */
static void labels_check(const struct model *model, struct loader *l)
{
    const uint64_t n = loader_strings(l, "classifier.output_labels");
    if (l->rc == 0 && n > 0 && n != (uint64_t)model->info.n_embedding)
        loader_fail(l, ERROR_INVALID, "the model gives %d scores for %" PRIu64 " labels: the file is broken",
            (int)model->info.n_embedding, n);
}

/* dense, tanh, score; or one of them alone. A dense layer alone that is not square is the score by another
 * name. */
static void head_load(struct embedder *e, struct model *model, struct loader *l)
{
    const int32_t width = model->info.n_embed;
    e->dense = linear_if_there(l, width, "cls");
    e->score = linear_if_there(l, width_behind(&e->dense, width), "cls.output");
    if (l->rc == 0 && !e->dense.weight.data && !e->score.weight.data)
        loader_fail(l, ERROR_INVALID, "the model ranks but lacks the tensor '%s': fetch it again",
            "cls.output.weight");
    if (!e->score.weight.data && width_behind(&e->dense, width) != width) {
        e->score = e->dense;
        e->dense = (struct linear){{0}, NULL};
    }
    if (e->dense.weight.data && loader_has(l, "cls.norm.weight"))
        e->dense_norm = loader_vector(l, e->dense.weight.n_out, "cls.norm.weight");
    model->info.n_embedding = width_behind(&e->score, width_behind(&e->dense, width));
    labels_check(model, l);
}

void embedder_load(struct embedder *e, struct model *model, struct loader *l, enum model_pooling pooling,
    enum model_pooling ranked_by)
{
    struct model_info *info = &model->info;
    info->encoder = true;
    info->pooling =
        (enum model_pooling)loader_int(l, "pooling_type", (int32_t)pooling, MODEL_POOL_NONE, MODEL_POOL_RANK);
    info->n_embedding = info->n_embed;
    const bool ranks = info->pooling == MODEL_POOL_RANK;
    model->rows = ranks ? ranked_by : info->pooling;
    e->mean = model->rows == MODEL_POOL_MEAN;
    if (e->mean)
        model->whole = true;
    if (ranks)
        return head_load(e, model, l);
    e->first = linear_if_there(l, info->n_embed, "dense_2");
    info->n_embedding = width_behind(&e->first, info->n_embed);
    e->second = linear_if_there(l, info->n_embedding, "dense_3");
    info->n_embedding = width_behind(&e->second, info->n_embedding);
}

struct value embedder_forward(const struct embedder *e, struct program *p, struct value x, bool selected)
{
    if (e->mean)
        x = op_mean(p, x);
    else if (!selected)
        x = op_select(p, x);
    if (e->first.weight.data)
        x = op_matmul(p, &e->first, x);
    if (e->second.weight.data)
        x = op_matmul(p, &e->second, x);
    if (e->dense.weight.data) {
        x = op_matmul(p, &e->dense, x);
        x = e->gelu ? op_gelu(p, x) : op_softcap(p, x, 1); /* a cap of 1 is tanh */
    }
    if (e->dense_norm)
        x = op_layer_norm(p, x, e->dense_norm, NULL, (int32_t)e->dense.weight.n_out, false, e->eps);
    return e->score.weight.data ? op_matmul(p, &e->score, x) : x;
}

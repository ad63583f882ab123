/* The architectures that can be trained: what their passes have beside the plain decoder's is a row here,
 * what their files say is read as the engine reads it (struct traits). */
#include <math.h>
#include <stdlib.h>

#include "engine/worker/model_arch.h"
#include "engine/worker/model_block.h"
#include "train/model.h"

const struct train_family train_families[] = {
    {.architecture = &model_llama},
    {.architecture = &model_qwen2},
    {.architecture = &model_qwen3, .head_norms = HEAD_NORMS_SHARED},
    {.architecture = &model_gemma, .gelu = true},
    {.architecture = &model_gemma2, .gelu = true, .norms_behind = true},
    {.architecture = &model_gemma3, .gelu = true, .norms_behind = true, .head_norms = HEAD_NORMS_SHARED},
    {.architecture = &model_phi3},
    {.architecture = &model_mistral3},
    {.architecture = &model_smollm3},
    {.architecture = &model_granite},
    {.architecture = &model_olmo2,
        .norms_behind = true,
        .no_norms_before = true,
        .head_norms = HEAD_NORMS_ACROSS},
    {.architecture = &model_glm4, .norms_behind = true},
    {.architecture = &model_command_r, .parallel = true, .centred = true, .head_norms = HEAD_NORMS_OWN},
    {.architecture = &model_cohere2, .parallel = true, .centred = true},
    {.architecture = NULL},
};

const char *train_family_name(const struct train_family *f)
{
    return f->architecture->name;
}

/* Factors of queries, by position. */
static void late_fill(struct train_model *m, struct loader *l, const struct traits *t)
{
    m->late = calloc((size_t)m->shape.n_context + 1, sizeof *m->late);
    if (!m->late)
        return loader_fail(l, ERROR_MEMORY, "no memory for a context of %d tokens", (int)m->shape.n_context);
    for (int32_t i = 0; i < m->shape.n_context; i++)
        m->late[i] = 1 + t->late_slope * logf(1 + floorf((float)i / t->late_span));
}

static void traits_take(struct train_model *m, struct loader *l, const struct traits *t)
{
    const bool is_long = t->long_rope.n_dims > 0 && m->shape.n_context > t->long_after;
    const bool of_windows = t->window_rope.n_dims > 0;
    l->rc = train_angles_fill(m, is_long ? &t->long_rope : &t->rope, &m->angles[0], l->err);
    if (l->rc == 0 && of_windows)
        l->rc = train_angles_fill(m, &t->window_rope, &m->angles[1], l->err);
    for (int32_t i = 0; i < m->shape.n_layers; i++) {
        m->layers[i].window = t->windows[i];
        m->layers[i].angles = t->turns[i] ? &m->angles[of_windows && t->windows[i] > 0] : NULL;
    }
    m->embed_scale = t->embed_scale;
    m->branch_scale = t->branch_scale;
    m->score_scale = t->attention.scale;
    m->score_cap = t->attention.softcap;
    m->logit_scale = t->logit_scale;
    m->logit_cap = t->logit_cap;
    if (l->rc == 0 && t->late_slope != 0)
        late_fill(m, l, t);
}

void train_family_load(struct train_model *m, struct loader *l)
{
    const struct train_shape *s = &m->shape;
    const struct shape shape = {.n_layers = s->n_layers,
        .n_embed = s->n_embed,
        .n_heads = s->n_heads,
        .n_kv_heads = s->n_kv_heads,
        .key_width = s->head_width,
        .value_width = s->head_width,
        .n_rotated = loader_int(l, "rope.dimension_count", s->head_width, 2, s->head_width)};
    if (l->rc == 0 && shape.n_rotated % 2 != 0)
        loader_fail(l, ERROR_INVALID, "%d values of a head are to be rotated: the file is broken",
            (int)shape.n_rotated);
    const struct traits t = m->family->architecture->traits(&shape, l);
    if (l->rc == 0)
        traits_take(m, l, &t);
}

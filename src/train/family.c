/* The architectures that can be trained. What they have beside the plain decoder the engine says, and reads
 * of their files (engine/worker/model_decoder.h). */
#include <math.h>
#include <stdlib.h>

#include "train/model.h"

const struct architecture *const train_architectures[] = {&model_llama, &model_qwen2, &model_qwen3,
    &model_gemma, &model_gemma2, &model_gemma3, &model_phi3, &model_mistral3, &model_smollm3, &model_granite,
    &model_olmo2, &model_glm4, &model_command_r, &model_cohere2, NULL};

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

void train_traits_load(struct train_model *m, struct loader *l)
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
    const struct traits t = m->decoder->traits(&shape, l);
    if (l->rc == 0)
        traits_take(m, l, &t);
}

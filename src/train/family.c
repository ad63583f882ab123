/* The architectures that can be trained: what each has, as the engine's model_NAME.c computes it. */
#include <math.h>
#include <stdlib.h>

#include "engine/worker/model_block.h"
#include "train/model.h"

static struct shape shape_of(const struct train_model *m)
{
    const struct train_shape *s = &m->shape;
    return (struct shape){.n_layers = s->n_layers,
        .n_embed = s->n_embed,
        .n_heads = s->n_heads,
        .n_kv_heads = s->n_kv_heads,
        .key_width = s->head_width};
}

static int32_t rotated(const struct train_model *m, struct loader *l)
{
    int32_t n = loader_int(l, "rope.dimension_count", m->shape.head_width, 2, m->shape.head_width);
    if (l->rc == 0 && n % 2 != 0)
        loader_fail(l, ERROR_INVALID, "%d values of a head are to be rotated: the file is broken", (int)n);
    return n;
}

static void angles_take(struct train_model *m, struct loader *l, const struct rope *rope, int which)
{
    if (l->rc == 0)
        l->rc = train_angles_fill(m, rope, &m->angles[which], l->err);
}

static enum rope_pairs pairs(const struct train_model *m)
{
    return m->family->rope_halves ? ROPE_HALVES : ROPE_ADJACENT;
}

static void llama_load(struct train_model *m, struct loader *l)
{
    struct rope rope = loader_rope(l, rotated(m, l), pairs(m), 10000);
    angles_take(m, l, &rope, 0);
}

/* What most have: angles, and a scale of scores that the file may give. */
static void plain_load(struct train_model *m, struct loader *l)
{
    const struct shape s = shape_of(m);
    llama_load(m, l);
    m->score_scale = shape_attention(&s, l).scale;
}

static void smollm3_load(struct train_model *m, struct loader *l)
{
    enum { PLAIN_EVERY = 4 };
    plain_load(m, l);
    for (int32_t i = PLAIN_EVERY - 1; i < m->shape.n_layers; i += PLAIN_EVERY)
        m->layers[i].angles = NULL;
}

static void granite_load(struct train_model *m, struct loader *l)
{
    plain_load(m, l);
    m->embed_scale = loader_scale(l, "embedding_scale", 1);
    m->branch_scale = loader_scale(l, "residual_scale", 1);
    m->logit_scale = 1 / loader_scale(l, "logit_scale", LOADER_REQUIRED);
    for (int32_t i = 0; !loader_bool(l, "rope.scaling.finetuned", true) && i < m->shape.n_layers; i++)
        m->layers[i].angles = NULL;
}

/* Layers with a window turn by the second angles, where there are two. */
static void windows_load(struct train_model *m, struct loader *l, int32_t width, int32_t period, bool two)
{
    const struct shape s = shape_of(m);
    const int32_t *windows = shape_windows(&s, l, width, period);
    for (int32_t i = 0; l->rc == 0 && i < s.n_layers; i++) {
        m->layers[i].window = windows[i];
        if (two && windows[i] > 0)
            m->layers[i].angles = &m->angles[1];
    }
}

static void local_angles(struct train_model *m, struct loader *l, float base)
{
    struct rope rope = loader_rope_window(l, rotated(m, l), pairs(m), base);
    angles_take(m, l, &rope, 1);
}

static void olmo2_load(struct train_model *m, struct loader *l)
{
    plain_load(m, l);
    local_angles(m, l, loader_float(l, "rope.freq_base", 10000, 1e-3f, 1e15f));
    windows_load(m, l, 0, 4, true);
}

static void gemma_load(struct train_model *m, struct loader *l)
{
    plain_load(m, l);
    m->embed_scale = sqrtf((float)m->shape.n_embed);
}

static void gemma_scores(struct train_model *m, struct loader *l, int32_t largest)
{
    const struct shape s = shape_of(m);
    m->score_scale = shape_attention_gemma(&s, l, largest).scale;
}

static void gemma2_load(struct train_model *m, struct loader *l)
{
    gemma_load(m, l);
    gemma_scores(m, l, GEMMA2_LARGEST);
    m->score_cap = loader_float(l, "attn_logit_softcapping", 50, 0, 1e6f);
    m->logit_cap = loader_float(l, "final_logit_softcapping", 30, 0, 1e6f);
    windows_load(m, l, 4096, 2, false);
}

static void gemma3_load(struct train_model *m, struct loader *l)
{
    gemma_load(m, l);
    gemma_scores(m, l, GEMMA3_LARGEST);
    local_angles(m, l, 10000);
    m->logit_cap = loader_float(l, "final_logit_softcapping", 0, 0, 1e6f);
    windows_load(m, l, 0, 6, true);
}

/* Contexts beyond the first one turn by other factors. */
static void phi3_load(struct train_model *m, struct loader *l)
{
    const struct shape s = shape_of(m);
    const int32_t trained = loader_int(l, "context_length", LOADER_REQUIRED, 1, INT32_MAX);
    const int32_t first = loader_int(l, "rope.scaling.original_context_length", trained, 1, INT32_MAX);
    struct rope rope = loader_rope_factors(l, rotated(m, l), pairs(m), 10000,
        m->shape.n_context > first ? "rope_factors_long.weight" : "rope_factors_short.weight");
    angles_take(m, l, &rope, 0);
    m->score_scale = shape_attention(&s, l).scale;
}

/* Queries grow with the logarithm of their position. */
static void late_load(struct train_model *m, struct loader *l)
{
    const float slope = loader_float(l, "attention.temperature_scale", 0, 0, 1e3f);
    if (l->rc || slope == 0)
        return;
    const float span =
        (float)loader_int(l, "rope.scaling.original_context_length", LOADER_REQUIRED, 1, INT32_MAX);
    m->late = calloc((size_t)m->shape.n_context + 1, sizeof *m->late);
    if (!m->late)
        return loader_fail(l, ERROR_MEMORY, "no memory for a context of %d tokens", (int)m->shape.n_context);
    for (int32_t i = 0; l->rc == 0 && i < m->shape.n_context; i++)
        m->late[i] = 1 + slope * logf(1 + floorf((float)i / span));
}

static void mistral3_load(struct train_model *m, struct loader *l)
{
    const struct shape s = shape_of(m);
    struct rope rope = loader_rope(l, rotated(m, l), pairs(m), 10000);
    loader_rope_lessen(l, &rope);
    angles_take(m, l, &rope, 0);
    m->score_scale = shape_attention(&s, l).scale;
    late_load(m, l);
}

static void command_r_load(struct train_model *m, struct loader *l)
{
    plain_load(m, l);
    m->logit_scale = loader_float(l, "logit_scale", LOADER_REQUIRED, 0, 1e6f);
}

/* Only layers with a window turn. */
static void cohere2_load(struct train_model *m, struct loader *l)
{
    command_r_load(m, l);
    windows_load(m, l, LOADER_REQUIRED, 4, false);
    for (int32_t i = 0; l->rc == 0 && i < m->shape.n_layers; i++)
        if (m->layers[i].window == 0)
            m->layers[i].angles = NULL;
}

const struct train_family train_families[] = {
    {"llama", .load = llama_load},
    {"qwen2", .load = plain_load, .rope_halves = true},
    {"qwen3", .load = plain_load, .rope_halves = true, .head_norms = HEAD_NORMS_SHARED},
    {"gemma", .load = gemma_load, .rope_halves = true, .gelu = true},
    {"gemma2", .load = gemma2_load, .rope_halves = true, .gelu = true, .norms_behind = true},
    {"gemma3", .load = gemma3_load, .rope_halves = true, .gelu = true, .norms_behind = true,
        .head_norms = HEAD_NORMS_SHARED},
    {"phi3", .load = phi3_load, .rope_halves = true},
    {"mistral3", .load = mistral3_load},
    {"smollm3", .load = smollm3_load},
    {"granite", .load = granite_load},
    {"olmo2", .load = olmo2_load, .rope_halves = true, .norms_behind = true, .no_norms_before = true,
        .head_norms = HEAD_NORMS_ACROSS},
    {"glm4", .load = plain_load, .norms_behind = true},
    {"command-r", .load = command_r_load, .parallel = true, .centred = true, .head_norms = HEAD_NORMS_OWN},
    {"cohere2", .load = cohere2_load, .parallel = true, .centred = true},
    {.name = NULL},
};

/* The decoders that are the plain one but for a few parts (model_decoder.h). What they are from is above
 * each. */
#include <math.h>

#include "engine/worker/model_decoder.h"

/* Qwen 2 and 2.5 (Yang et al. 2024, arxiv.org/abs/2407.10671): Llama with biased queries, keys and values,
 * and rotation of a head's halves. */
static const struct decoder qwen2 = {.traits = traits_halves, .embeds = true};
const struct architecture model_qwen2 = {"qwen2", decoder_load, decoder_forward, &qwen2};

/* Qwen 3 (Yang et al. 2025, arxiv.org/abs/2505.09388): Qwen 2 without biases, with queries and keys normed
 * head by head before they turn. */
static const struct decoder qwen3 = {
    .traits = traits_halves, .head_norms = HEAD_NORMS_SHARED, .embeds = true};
const struct architecture model_qwen3 = {"qwen3", decoder_load, decoder_forward, &qwen3};

static const struct mixture normalized = {
    .glu = GLU_SILU, .routing = {.score = ROUTING_SOFTMAX, .normalized = true, .scale = 1}};

/* Qwen 3's mixtures: experts everywhere, chosen by softmax. */
static const struct decoder qwen3moe = {
    .traits = traits_halves, .head_norms = HEAD_NORMS_SHARED, .mixture = &normalized};
const struct architecture model_qwen3moe = {"qwen3moe", decoder_load, decoder_forward, &qwen3moe};

/* Qwen 2's mixtures: experts whose weights need not sum to 1, and a shared one behind a gate of its own. */
static const struct mixture plain = {.glu = GLU_SILU, .routing = {.score = ROUTING_SOFTMAX, .scale = 1}};
static const struct decoder qwen2moe = {.traits = traits_halves, .mixture = &plain};
const struct architecture model_qwen2moe = {"qwen2moe", decoder_load, decoder_forward, &qwen2moe};

/* SmolLM 3 (Bakouch et al. 2025, huggingface.co/blog/smollm3): Llama whose every 4th layer does without
 * positions (NoPE, Yang et al. 2025, arxiv.org/abs/2501.18795). */
enum { PLAIN_EVERY = 4 };

static struct traits smollm3_traits(const struct shape *s, struct loader *l)
{
    struct traits t = traits_adjacent(s, l);
    for (int32_t i = PLAIN_EVERY - 1; l->rc == 0 && i < s->n_layers; i += PLAIN_EVERY)
        t.turns[i] = false;
    return t;
}

static const struct decoder smollm3 = {.traits = smollm3_traits};
const struct architecture model_smollm3 = {"smollm3", decoder_load, decoder_forward, &smollm3};

/* Ministral 3 (Mistral AI 2025): Llama with YaRN, whose queries grow with the logarithm of the position so
 * that attention stays sharp past the trained context (Llama 4's attention temperature). */
static struct traits mistral3_traits(const struct shape *s, struct loader *l)
{
    struct traits t = traits_adjacent(s, l);
    loader_rope_lessen(l, &t.rope);
    t.late_slope = loader_float(l, "attention.temperature_scale", 0, 0, 1e3f);
    if (t.late_slope != 0)
        t.late_span =
            (float)loader_int(l, "rope.scaling.original_context_length", LOADER_REQUIRED, 1, INT32_MAX);
    return t;
}

static const struct decoder mistral3 = {.traits = mistral3_traits};
const struct architecture model_mistral3 = {"mistral3", decoder_load, decoder_forward, &mistral3};

/* Granite 3 and 4 (IBM 2024, github.com/ibm-granite/granite-3.0-language-models): Llama whose embeddings,
 * residual branches, scores and logits are scaled (muP, Yang et al. 2022, arxiv.org/abs/2203.03466). With a
 * mixture of experts it is granitemoe. */
static struct traits granite_traits(const struct shape *s, struct loader *l)
{
    struct traits t = traits_adjacent(s, l);
    t.embed_scale = loader_scale(l, "embedding_scale", 1);
    t.branch_scale = loader_scale(l, "residual_scale", 1);
    t.logit_scale = 1 / loader_scale(l, "logit_scale", LOADER_REQUIRED);
    const bool turns = loader_bool(l, "rope.scaling.finetuned", true);
    for (int32_t i = 0; l->rc == 0 && i < s->n_layers; i++)
        t.turns[i] = turns;
    return t;
}

static const struct decoder granite = {.traits = granite_traits, .mixture = &normalized};
const struct architecture model_granite = {"granite", decoder_load, decoder_forward, &granite};
const struct architecture model_granitemoe = {"granitemoe", decoder_load, decoder_forward, &granite};

/* Phi 3 and 4 (Abdin et al. 2024, arxiv.org/abs/2404.14219): Llama with fused matrices. Long contexts turn by
 * LongRoPE (Ding et al. 2024, arxiv.org/abs/2402.13753): one set of factors for states within the context
 * first trained on, another for longer ones.
 *
 * Files carry an attention.sliding_window that is not used: converters wrote it for models that have none and
 * with figures that differ from the authors', so engines have come to leave it alone (llama.cpp #13676). */
static struct traits phi3_traits(const struct shape *s, struct loader *l)
{
    struct traits t =
        traits_turning(s, l, loader_rope_factors(l, s->n_rotated, ROPE_HALVES, "rope_factors_short.weight"));
    const int32_t trained = loader_int(l, "context_length", LOADER_REQUIRED, 1, INT32_MAX);
    t.long_rope = loader_rope_factors(l, s->n_rotated, ROPE_HALVES, "rope_factors_long.weight");
    t.long_after = loader_int(l, "rope.scaling.original_context_length", trained, 1, INT32_MAX);
    return t;
}

static const struct decoder phi3 = {.traits = phi3_traits, .fused = true};
const struct architecture model_phi3 = {"phi3", decoder_load, decoder_forward, &phi3};

/* Gemma (Gemma Team 2024, arxiv.org/abs/2403.08295): embeddings scaled by the root of their width, GeGLU. The
 * norms' weights are stored with their 1 added. */
static struct traits gemma_traits(const struct shape *s, struct loader *l)
{
    struct traits t = traits_halves(s, l);
    t.embed_scale = sqrtf((float)s->n_embed);
    return t;
}

static const struct decoder gemma = {.traits = gemma_traits, .gelu = true};
const struct architecture model_gemma = {"gemma", decoder_load, decoder_forward, &gemma};

/* Gemma 2 (Gemma Team 2024, arxiv.org/abs/2408.00118): Gemma with a norm behind attention and feed-forward
 * too, a sliding window in every other layer, and scores and logits held within soft caps. */
static struct traits gemma2_traits(const struct shape *s, struct loader *l)
{
    struct traits t = traits_halves(s, l);
    t.embed_scale = sqrtf((float)s->n_embed);
    t.attention = shape_attention_gemma(s, l, GEMMA2_LARGEST);
    t.attention.softcap = loader_float(l, "attn_logit_softcapping", 50, 0, 1e6f);
    t.logit_cap = loader_float(l, "final_logit_softcapping", 30, 0, 1e6f);
    t.windows = shape_windows(s, l, 4096, 2);
    return t;
}

static const struct decoder gemma2 = {.traits = gemma2_traits, .gelu = true, .norms_behind = true};
const struct architecture model_gemma2 = {"gemma2", decoder_load, decoder_forward, &gemma2};

/* Gemma 3 (Gemma Team 2025, arxiv.org/abs/2503.19786): Gemma 2 with queries and keys normed head by head
 * instead of capped scores; five layers with a window, whose positions turn at a base of their own, to one
 * without. */
static struct traits gemma3_traits(const struct shape *s, struct loader *l)
{
    struct traits t = traits_halves(s, l);
    t.embed_scale = sqrtf((float)s->n_embed);
    t.window_rope = loader_rope_window(l, s->n_rotated, ROPE_HALVES, 10000);
    t.attention = shape_attention_gemma(s, l, GEMMA3_LARGEST);
    t.logit_cap = loader_float(l, "final_logit_softcapping", 0, 0, 1e6f);
    t.windows = shape_windows(s, l, 0, 6);
    return t;
}

static const struct decoder gemma3 = {
    .traits = gemma3_traits, .gelu = true, .norms_behind = true, .head_norms = HEAD_NORMS_SHARED};
const struct architecture model_gemma3 = {"gemma3", decoder_load, decoder_forward, &gemma3};

/* OLMo 2 (OLMo Team 2024, arxiv.org/abs/2501.00656): norms behind attention and feed-forward instead of
 * before them, queries and keys normed over all heads together. OLMo 3 (2025) adds windows, three layers of
 * four. */
static struct traits olmo2_traits(const struct shape *s, struct loader *l)
{
    struct traits t = traits_halves(s, l);
    const float base = loader_float(l, "rope.freq_base", 10000, 1e-3f, 1e15f);
    t.window_rope = loader_rope_window(l, s->n_rotated, ROPE_HALVES, base); /* not scaled */
    t.windows = shape_windows(s, l, 0, 4);
    return t;
}

static const struct decoder olmo2 = {
    .traits = olmo2_traits, .norms_behind = true, .no_norms_before = true, .head_norms = HEAD_NORMS_ACROSS};
const struct architecture model_olmo2 = {"olmo2", decoder_load, decoder_forward, &olmo2};

/* Command R (Cohere 2024, docs.cohere.com/docs/command-r): attention and feed-forward side by side on one
 * layer norm, scaled logits. Command R+ norms queries and keys, each head by weights of its own. */
static struct traits command_r_traits(const struct shape *s, struct loader *l)
{
    struct traits t = traits_adjacent(s, l);
    t.logit_scale = loader_float(l, "logit_scale", LOADER_REQUIRED, 0, 1e6f);
    return t;
}

static const struct decoder command_r = {
    .traits = command_r_traits, .parallel = true, .centred = true, .head_norms = HEAD_NORMS_OWN};
const struct architecture model_command_r = {"command-r", decoder_load, decoder_forward, &command_r};

/* Command R7B and Command A (Cohere 2025, arxiv.org/abs/2504.00698): attention and feed-forward side by side
 * on one layer norm, scaled logits; three layers with a window and positions to one that sees all without
 * them. */
static struct traits cohere2_traits(const struct shape *s, struct loader *l)
{
    struct traits t = traits_adjacent(s, l);
    t.logit_scale = loader_float(l, "logit_scale", LOADER_REQUIRED, 0, 1e6f);
    t.windows = shape_windows(s, l, LOADER_REQUIRED, 4);
    for (int32_t i = 0; l->rc == 0 && i < s->n_layers; i++)
        t.turns[i] = t.windows[i] > 0;
    return t;
}

static const struct decoder cohere2 = {.traits = cohere2_traits, .parallel = true, .centred = true};
const struct architecture model_cohere2 = {"cohere2", decoder_load, decoder_forward, &cohere2};

#include "train/hf/arch.h"

#include <stdio.h>
#include <string.h>

/* ---- Parts ---- */
#define MATRIX(hf, gguf, rows, columns, change, flags)                                                       \
    {                                                                                                        \
        hf, gguf, rows, columns, change, flags                                                               \
    }
#define VECTOR(hf, gguf, size, change) MATRIX(hf, gguf, HF_NONE, size, change, 0)
#define LIST_END MATRIX(NULL, NULL, 0, 0, 0, 0)

#define EMBEDDING MATRIX("model.embed_tokens", "token_embd", HF_VOCAB, HF_EMBED, HF_SAME, 0)
#define OUTPUT MATRIX("lm_head", "output", HF_VOCAB, HF_EMBED, HF_SAME, HF_MAY_LACK)

static const struct hf_part ends[] = {
    EMBEDDING, VECTOR("model.norm", "output_norm", HF_EMBED, HF_SAME), OUTPUT, LIST_END};
static const struct hf_part ends_plus_one[] = {
    EMBEDDING, VECTOR("model.norm", "output_norm", HF_EMBED, HF_PLUS_ONE), OUTPUT, LIST_END};

#define ATTENTION(q, k, bias)                                                                                \
    MATRIX("self_attn.q_proj", "attn_q", HF_QUERIES, HF_EMBED, q, bias),                                     \
        MATRIX("self_attn.k_proj", "attn_k", HF_KEYS, HF_EMBED, k, bias),                                    \
        MATRIX("self_attn.v_proj", "attn_v", HF_KEYS, HF_EMBED, HF_SAME, bias),                              \
        MATRIX("self_attn.o_proj", "attn_output", HF_EMBED, HF_QUERIES, HF_SAME, HF_MAY_BIAS), LIST_END

static const struct hf_part attention[] = {ATTENTION(HF_SAME, HF_SAME, HF_MAY_BIAS)};
static const struct hf_part attention_biased[] = {ATTENTION(HF_SAME, HF_SAME, HF_MUST_BIAS)};
static const struct hf_part attention_turned[] = {ATTENTION(HF_TURN_QUERIES, HF_TURN_KEYS, HF_MAY_BIAS)};
static const struct hf_part attention_fused[] = {
    MATRIX("self_attn.qkv_proj", "attn_qkv", HF_QKV, HF_EMBED, HF_SAME, HF_MAY_BIAS),
    MATRIX("self_attn.o_proj", "attn_output", HF_EMBED, HF_QUERIES, HF_SAME, HF_MAY_BIAS), LIST_END};

static const struct hf_part head_norms[] = {VECTOR("self_attn.q_norm", "attn_q_norm", HF_HEAD, HF_SAME),
    VECTOR("self_attn.k_norm", "attn_k_norm", HF_HEAD, HF_SAME), LIST_END};
static const struct hf_part head_norms_plus_one[] = {
    VECTOR("self_attn.q_norm", "attn_q_norm", HF_HEAD, HF_PLUS_ONE),
    VECTOR("self_attn.k_norm", "attn_k_norm", HF_HEAD, HF_PLUS_ONE), LIST_END};
static const struct hf_part whole_norms[] = {VECTOR("self_attn.q_norm", "attn_q_norm", HF_QUERIES, HF_SAME),
    VECTOR("self_attn.k_norm", "attn_k_norm", HF_KEYS, HF_SAME), LIST_END};

static const struct hf_part norms[] = {VECTOR("input_layernorm", "attn_norm", HF_EMBED, HF_SAME),
    VECTOR("post_attention_layernorm", "ffn_norm", HF_EMBED, HF_SAME), LIST_END};
static const struct hf_part norms_plus_one[] = {VECTOR("input_layernorm", "attn_norm", HF_EMBED, HF_PLUS_ONE),
    VECTOR("post_attention_layernorm", "ffn_norm", HF_EMBED, HF_PLUS_ONE), LIST_END};
static const struct hf_part norms_around[] = {VECTOR("input_layernorm", "attn_norm", HF_EMBED, HF_PLUS_ONE),
    VECTOR("post_attention_layernorm", "post_attention_norm", HF_EMBED, HF_PLUS_ONE),
    VECTOR("pre_feedforward_layernorm", "ffn_norm", HF_EMBED, HF_PLUS_ONE),
    VECTOR("post_feedforward_layernorm", "post_ffw_norm", HF_EMBED, HF_PLUS_ONE), LIST_END};
static const struct hf_part norms_after[] = {
    VECTOR("post_attention_layernorm", "post_attention_norm", HF_EMBED, HF_SAME),
    VECTOR("post_feedforward_layernorm", "post_ffw_norm", HF_EMBED, HF_SAME), LIST_END};
static const struct hf_part norms_glm4[] = {VECTOR("input_layernorm", "attn_norm", HF_EMBED, HF_SAME),
    VECTOR("post_self_attn_layernorm", "post_attention_norm", HF_EMBED, HF_SAME),
    VECTOR("post_attention_layernorm", "ffn_norm", HF_EMBED, HF_SAME),
    VECTOR("post_mlp_layernorm", "post_ffw_norm", HF_EMBED, HF_SAME), LIST_END};
static const struct hf_part norm_shared[] = {
    VECTOR("input_layernorm", "attn_norm", HF_EMBED, HF_SAME), LIST_END};

static const struct hf_part ffn[] = {
    MATRIX("mlp.gate_proj", "ffn_gate", HF_FF, HF_EMBED, HF_SAME, HF_MAY_BIAS),
    MATRIX("mlp.up_proj", "ffn_up", HF_FF, HF_EMBED, HF_SAME, HF_MAY_BIAS),
    MATRIX("mlp.down_proj", "ffn_down", HF_EMBED, HF_FF, HF_SAME, HF_MAY_BIAS), LIST_END};
static const struct hf_part ffn_fused[] = {
    MATRIX("mlp.gate_up_proj", "ffn_up", HF_FF_TWICE, HF_EMBED, HF_SAME, 0),
    MATRIX("mlp.down_proj", "ffn_down", HF_EMBED, HF_FF, HF_SAME, 0), LIST_END};

#define EXPERT(hf, gguf, rows, columns) MATRIX(hf, gguf, rows, columns, HF_SAME, HF_EACH_EXPERT)
static const struct hf_part experts_mixtral[] = {
    MATRIX("block_sparse_moe.gate", "ffn_gate_inp", HF_EXPERTS, HF_EMBED, HF_SAME, 0),
    EXPERT("block_sparse_moe.experts.%d.w1", "ffn_gate_exps", HF_EXPERT_FF, HF_EMBED),
    EXPERT("block_sparse_moe.experts.%d.w3", "ffn_up_exps", HF_EXPERT_FF, HF_EMBED),
    EXPERT("block_sparse_moe.experts.%d.w2", "ffn_down_exps", HF_EMBED, HF_EXPERT_FF), LIST_END};
static const struct hf_part experts_qwen[] = {
    MATRIX("mlp.gate", "ffn_gate_inp", HF_EXPERTS, HF_EMBED, HF_SAME, 0),
    EXPERT("mlp.experts.%d.gate_proj", "ffn_gate_exps", HF_EXPERT_FF, HF_EMBED),
    EXPERT("mlp.experts.%d.up_proj", "ffn_up_exps", HF_EXPERT_FF, HF_EMBED),
    EXPERT("mlp.experts.%d.down_proj", "ffn_down_exps", HF_EMBED, HF_EXPERT_FF), LIST_END};
static const struct hf_part expert_shared[] = {
    MATRIX("mlp.shared_expert.gate_proj", "ffn_gate_shexp", HF_SHARED_FF, HF_EMBED, HF_SAME, 0),
    MATRIX("mlp.shared_expert.up_proj", "ffn_up_shexp", HF_SHARED_FF, HF_EMBED, HF_SAME, 0),
    MATRIX("mlp.shared_expert.down_proj", "ffn_down_shexp", HF_EMBED, HF_SHARED_FF, HF_SAME, 0),
    MATRIX("mlp.shared_expert_gate", "ffn_gate_inp_shexp", HF_ONE, HF_EMBED, HF_SAME, 0), LIST_END};

/* ---- Keys ---- */
const struct hf_key hf_keys[] = {{"max_position_embeddings", "context_length", HF_INT, true},
    {"hidden_size", "embedding_length", HF_INT, true}, {"num_hidden_layers", "block_count", HF_INT, true},
    {"intermediate_size", "feed_forward_length", HF_INT, true},
    {"num_attention_heads", "attention.head_count", HF_INT, true}, {NULL, NULL, 0, false}};

#define KEYS_END                                                                                             \
    {                                                                                                        \
        NULL, NULL, 0, false                                                                                 \
    }
static const struct hf_key keys_none[] = {KEYS_END};
static const struct hf_key keys_gemma2[] = {
    {"attn_logit_softcapping", "attn_logit_softcapping", HF_FLOAT, true},
    {"final_logit_softcapping", "final_logit_softcapping", HF_FLOAT, true}, KEYS_END};
static const struct hf_key keys_gemma3[] = {
    {"final_logit_softcapping", "final_logit_softcapping", HF_FLOAT, false}, KEYS_END};
static const struct hf_key keys_granite[] = {{"attention_multiplier", "attention.scale", HF_FLOAT, true},
    {"embedding_multiplier", "embedding_scale", HF_FLOAT, true},
    {"residual_multiplier", "residual_scale", HF_FLOAT, true},
    {"logits_scaling", "logit_scale", HF_FLOAT, true}, KEYS_END};
static const struct hf_key keys_phi3[] = {
    {"sliding_window", "attention.sliding_window", HF_INT, false}, KEYS_END};
static const struct hf_key keys_cohere[] = {{"logit_scale", "logit_scale", HF_FLOAT, true}, KEYS_END};
static const struct hf_key keys_mixtral[] = {{"num_local_experts", "expert_count", HF_INT, true},
    {"num_experts_per_tok", "expert_used_count", HF_INT, true}, KEYS_END};
static const struct hf_key keys_qwen3moe[] = {{"num_experts", "expert_count", HF_INT, true},
    {"num_experts_per_tok", "expert_used_count", HF_INT, true},
    {"moe_intermediate_size", "expert_feed_forward_length", HF_INT, true}, KEYS_END};
static const struct hf_key keys_qwen2moe[] = {{"num_experts", "expert_count", HF_INT, true},
    {"num_experts_per_tok", "expert_used_count", HF_INT, true},
    {"moe_intermediate_size", "expert_feed_forward_length", HF_INT, true},
    {"shared_expert_intermediate_size", "expert_shared_feed_forward_length", HF_INT, true}, KEYS_END};

/* ---- What must be so ---- */
#define SILU                                                                                                 \
    {                                                                                                        \
        "hidden_act", "\"silu\"", NULL, true                                                                 \
    }
#define FIXED_END                                                                                            \
    {                                                                                                        \
        NULL, NULL, NULL, false                                                                              \
    }
static const struct hf_fixed fixed_silu[] = {SILU, FIXED_END};
static const struct hf_fixed fixed_gemma[] = {
    {"hidden_act", "\"gelu_pytorch_tanh\"", "\"gelu\"", true}, FIXED_END};
static const struct hf_fixed fixed_gemma2[] = {
    {"hidden_activation", "\"gelu_pytorch_tanh\"", NULL, true}, FIXED_END};
static const struct hf_fixed fixed_gemma3[] = {{"hidden_activation", "\"gelu_pytorch_tanh\"", NULL, true},
    {"attn_logit_softcapping", "null", NULL, true}, FIXED_END};
static const struct hf_fixed fixed_smollm3[] = {SILU, {"no_rope_layer_interval", "4", NULL, true}, FIXED_END};
static const struct hf_fixed fixed_olmo2[] = {SILU, {"clip_qkv", "null", NULL, true}, FIXED_END};
static const struct hf_fixed fixed_cohere[] = {SILU, {"use_qk_norm", "false", NULL, true}, FIXED_END};
static const struct hf_fixed fixed_cohere2[] = {SILU, {"use_qk_norm", "false", NULL, true},
    {"use_parallel_block", "true", NULL, true}, {"use_gated_activation", "true", NULL, true}, FIXED_END};
static const struct hf_fixed fixed_qwen2moe[] = {SILU, {"norm_topk_prob", "false", NULL, true},
    {"decoder_sparse_step", "1", NULL, true}, {"mlp_only_layers", "[]", NULL, true}, FIXED_END};
static const struct hf_fixed fixed_qwen3moe[] = {SILU, {"norm_topk_prob", "true", NULL, false},
    {"decoder_sparse_step", "1", NULL, true}, {"mlp_only_layers", "[]", NULL, true}, FIXED_END};

/* ---- Models inside others ---- */
static const char *const gemma3_left[] = {"vision_tower.", "multi_modal_projector.", NULL};
static const struct hf_default gemma3_defaults[] = {{"num_attention_heads", 8}, {"num_key_value_heads", 4},
    {"head_dim", 256}, {"vocab_size", 262208}, {"max_position_embeddings", 131072}, {"sliding_window", 4096},
    {NULL, 0}};
static const struct hf_inner gemma3_inner = {"text_config", "language_model.", gemma3_left, gemma3_defaults};

/* ---- Architectures ---- */
#define LISTS(...)                                                                                           \
    (const struct hf_part *const[])                                                                          \
    {                                                                                                        \
        __VA_ARGS__, NULL                                                                                    \
    }

/* Of two with the same `gguf` the first is what a file becomes again. */
const struct hf_arch hf_archs[] = {
    {"LlamaForCausalLM", "llama", "llama", LISTS(ends), LISTS(norms, attention_turned, ffn), keys_none,
        fixed_silu, .rope_base = 1e4, .rotated = 1},
    {"MistralForCausalLM", "mistral", "llama", LISTS(ends), LISTS(norms, attention_turned, ffn), keys_none,
        fixed_silu, .rope_base = 1e4, .rotated = 1},
    {"MixtralForCausalLM", "mixtral", "llama", LISTS(ends), LISTS(norms, attention_turned, experts_mixtral),
        keys_mixtral, fixed_silu, .rope_base = 1e6, .rotated = 1, .mixture = true},
    {"SmolLM3ForCausalLM", "smollm3", "smollm3", LISTS(ends), LISTS(norms, attention_turned, ffn), keys_none,
        fixed_smollm3, .pre = "smaug-bpe", .rope_base = 2e6, .rotated = 1},
    {"Qwen2ForCausalLM", "qwen2", "qwen2", LISTS(ends), LISTS(norms, attention_biased, ffn), keys_none,
        fixed_silu, .rope_base = 1e4, .rotated = 1},
    {"Qwen2MoeForCausalLM", "qwen2_moe", "qwen2moe", LISTS(ends),
        LISTS(norms, attention_biased, experts_qwen, expert_shared), keys_qwen2moe, fixed_qwen2moe,
        .rope_base = 1e4, .rotated = 1, .mixture = true},
    {"Qwen3ForCausalLM", "qwen3", "qwen3", LISTS(ends), LISTS(norms, attention, head_norms, ffn), keys_none,
        fixed_silu, .rope_base = 1e4, .rotated = 1},
    {"Qwen3MoeForCausalLM", "qwen3_moe", "qwen3moe", LISTS(ends),
        LISTS(norms, attention, head_norms, experts_qwen), keys_qwen3moe, fixed_qwen3moe, .rope_base = 1e4,
        .rotated = 1, .mixture = true},
    {"GemmaForCausalLM", "gemma", "gemma", LISTS(ends_plus_one), LISTS(norms_plus_one, attention, ffn),
        keys_none, fixed_gemma, .rope_base = 1e4, .rotated = 1, .head = 256},
    {"Gemma2ForCausalLM", "gemma2", "gemma2", LISTS(ends_plus_one), LISTS(norms_around, attention, ffn),
        keys_gemma2, fixed_gemma2, .rope_base = 1e4, .rotated = 1, .head = 256, .scalar = true,
        .window_period = 2},
    {"Gemma3ForCausalLM", "gemma3_text", "gemma3", LISTS(ends_plus_one),
        LISTS(norms_around, attention, head_norms_plus_one, ffn), keys_gemma3, fixed_gemma3, .rope_base = 1e6,
        .rotated = 1, .head = 256, .scalar = true, .window_period = 6},
    {"Gemma3ForConditionalGeneration", "gemma3_text", "gemma3", LISTS(ends_plus_one),
        LISTS(norms_around, attention, head_norms_plus_one, ffn), keys_gemma3, fixed_gemma3,
        .inner = &gemma3_inner, .rope_base = 1e6, .rotated = 1, .head = 256, .scalar = true,
        .window_period = 6},
    {"Phi3ForCausalLM", "phi3", "phi3", LISTS(ends), LISTS(norms, attention_fused, ffn_fused), keys_phi3,
        fixed_silu, .rope_base = 1e4, .rotated = 1, .longrope = true},
    {"GraniteForCausalLM", "granite", "granite", LISTS(ends), LISTS(norms, attention_turned, ffn),
        keys_granite, fixed_silu, .pre = "refact", .rope_base = 1e4, .rotated = 1},
    {"Olmo2ForCausalLM", "olmo2", "olmo2", LISTS(ends), LISTS(norms_after, attention, whole_norms, ffn),
        keys_none, fixed_olmo2, .rope_base = 1e4, .rotated = 1},
    {"Olmo3ForCausalLM", "olmo3", "olmo2", LISTS(ends), LISTS(norms_after, attention, whole_norms, ffn),
        keys_none, fixed_olmo2, .rope_base = 1e4, .rotated = 1, .window_period = 4, .windows_listed = true},
    {"Glm4ForCausalLM", "glm4", "glm4", LISTS(ends), LISTS(norms_glm4, attention, ffn_fused), keys_none,
        fixed_silu, .pre = "glm4", .rope_base = 1e4, .rotated = 0.5},
    {"CohereForCausalLM", "cohere", "command-r", LISTS(ends), LISTS(norm_shared, attention, ffn), keys_cohere,
        fixed_cohere, .pre = "command-r", .rope_base = 1e4, .rotated = 1, .layer_norm = true},
    {"Cohere2ForCausalLM", "cohere2", "cohere2", LISTS(ends), LISTS(norm_shared, attention, ffn), keys_cohere,
        fixed_cohere2, .pre = "command-r", .rope_base = 1e4, .rotated = 1, .window_period = 4,
        .layer_norm = true},
    {.hf = NULL}};

const struct hf_arch *hf_arch_find(struct str hf)
{
    for (const struct hf_arch *a = hf_archs; a->hf; a++)
        if (str_is(hf, a->hf))
            return a;
    return NULL;
}

const struct hf_arch *hf_arch_of(struct str gguf, bool mixture, bool windows_listed)
{
    for (const struct hf_arch *a = hf_archs; a->hf; a++)
        if (str_is(gguf, a->gguf) && a->mixture == mixture && a->windows_listed == windows_listed)
            return a;
    return NULL;
}

bool hf_arch_turns(const struct hf_arch *a)
{
    for (const struct hf_part *const *list = a->blocks; *list; list++)
        for (const struct hf_part *p = *list; p->hf; p++)
            if (p->change == HF_TURN_QUERIES)
                return true;
    return false;
}

bool hf_is_table(const struct hf_part *part)
{
    return strcmp(part->gguf, "token_embd") == 0;
}

void hf_arch_names(char *out, size_t size)
{
    size_t n = 0;
    for (const struct hf_arch *a = hf_archs; a->hf && n < size; a++)
        n += (size_t)snprintf(out + n, size - n, "%s%s", a == hf_archs ? "" : ", ", a->hf);
}

/* ---- Sizes, parts and names ---- */
int64_t hf_size(const struct hf_shape *s, enum hf_size size)
{
    switch (size) {
    case HF_EMBED:
        return s->embed;
    case HF_QUERIES:
        return s->heads * s->head;
    case HF_KEYS:
        return s->kv_heads * s->head;
    case HF_QKV:
        return (s->heads + 2 * s->kv_heads) * s->head;
    case HF_HEAD:
        return s->head;
    case HF_FF:
        return s->ff;
    case HF_FF_TWICE:
        return 2 * s->ff;
    case HF_VOCAB:
        return s->vocab;
    case HF_EXPERTS:
        return s->experts;
    case HF_EXPERT_FF:
        return s->expert_ff ? s->expert_ff : s->ff;
    case HF_SHARED_FF:
        return s->shared_ff;
    case HF_NONE:
    case HF_ONE:
        return 1;
    }
    return 1;
}

static int each_in(
    const struct hf_part *const *lists, int64_t layer, hf_part_fn *fn, void *ctx, struct error *err)
{
    int rc = 0;
    for (; *lists; lists++)
        for (const struct hf_part *p = *lists; p->hf && rc == 0; p++) {
            rc = fn(ctx, p, layer, false, err);
            if (rc == 0 && p->flags & (HF_MAY_BIAS | HF_MUST_BIAS))
                rc = fn(ctx, p, layer, true, err);
        }
    return rc;
}

int hf_each_part(
    const struct hf_arch *a, const struct hf_shape *s, hf_part_fn *fn, void *ctx, struct error *err)
{
    int rc = each_in(a->ends, -1, fn, ctx, err);
    for (int64_t i = 0; i < s->layers && rc == 0; i++)
        rc = each_in(a->blocks, i, fn, ctx, err);
    return rc;
}

void hf_name(const struct hf_part *part, int64_t layer, int64_t expert, bool bias, char out[HF_NAME_MAX])
{
    int n = layer < 0 ? 0 : snprintf(out, HF_NAME_MAX, "model.layers.%d.", (int)layer);
    const struct str name = str_from(part->hf);
    const size_t hole = part->flags & HF_EACH_EXPERT ? str_find_char(name, '%') : name.len;
    n += snprintf(out + n, HF_NAME_MAX - (size_t)n, "%.*s", (int)hole, part->hf);
    if (hole < name.len)
        n += snprintf(out + n, HF_NAME_MAX - (size_t)n, "%d%s", (int)expert, part->hf + hole + 2);
    snprintf(out + n, HF_NAME_MAX - (size_t)n, bias ? ".bias" : ".weight");
}

void hf_gguf_name(const struct hf_part *part, int64_t layer, bool bias, char out[HF_NAME_MAX])
{
    int n = layer < 0 ? 0 : snprintf(out, HF_NAME_MAX, "blk.%d.", (int)layer);
    snprintf(out + n, HF_NAME_MAX - (size_t)n, "%s%s", part->gguf, bias ? ".bias" : ".weight");
}

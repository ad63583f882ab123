/* What each architecture is: parts, keys, what must be so, and the table of all (arch.h). */
#include "train/hf/arch.h"

/* ---- Parts ---- */
#define MATRIX(hf, gguf, rows, columns, change, flags)                                                       \
    {                                                                                                        \
        hf, gguf, rows, columns, change, flags, HF_NONE                                                      \
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
static const struct hf_part norms_around_plain[] = {VECTOR("input_layernorm", "attn_norm", HF_EMBED, HF_SAME),
    VECTOR("post_attention_layernorm", "post_attention_norm", HF_EMBED, HF_SAME),
    VECTOR("pre_feedforward_layernorm", "ffn_norm", HF_EMBED, HF_SAME),
    VECTOR("post_feedforward_layernorm", "post_ffw_norm", HF_EMBED, HF_SAME),
    MATRIX("layer_scalar", "layer_output_scale.weight", HF_NONE, HF_ONE, HF_SAME, HF_NAMED | HF_OPTIONAL),
    LIST_END};
static const struct hf_part norms_after[] = {
    VECTOR("post_attention_layernorm", "post_attention_norm", HF_EMBED, HF_SAME),
    VECTOR("post_feedforward_layernorm", "post_ffw_norm", HF_EMBED, HF_SAME), LIST_END};
static const struct hf_part norms_glm4[] = {VECTOR("input_layernorm", "attn_norm", HF_EMBED, HF_SAME),
    VECTOR("post_self_attn_layernorm", "post_attention_norm", HF_EMBED, HF_SAME),
    VECTOR("post_attention_layernorm", "ffn_norm", HF_EMBED, HF_SAME),
    VECTOR("post_mlp_layernorm", "post_ffw_norm", HF_EMBED, HF_SAME), LIST_END};
/* Command R+: each head has its own weights. */
static const struct hf_part norms_own[] = {
    MATRIX("self_attn.q_norm", "attn_q_norm", HF_HEADS, HF_HEAD, HF_SAME, HF_OPTIONAL),
    MATRIX("self_attn.k_norm", "attn_k_norm", HF_KEY_HEADS, HF_HEAD, HF_SAME, HF_OPTIONAL), LIST_END};
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

/* The sum of what a sigmoid gives and this chooses experts. */
#define CHOICE(hf) MATRIX(hf, "exp_probs_b.bias", HF_NONE, HF_EXPERTS, HF_SAME, HF_NAMED | HF_OPTIONAL)
static const struct hf_part experts_chosen[] = {CHOICE("mlp.gate.e_score_correction_bias"), LIST_END};
static const struct hf_part experts_shared[] = {
    MATRIX("mlp.shared_experts.gate_proj", "ffn_gate_shexp", HF_SHARED_FF, HF_EMBED, HF_SAME, 0),
    MATRIX("mlp.shared_experts.up_proj", "ffn_up_shexp", HF_SHARED_FF, HF_EMBED, HF_SAME, 0),
    MATRIX("mlp.shared_experts.down_proj", "ffn_down_shexp", HF_EMBED, HF_SHARED_FF, HF_SAME, 0), LIST_END};

#define ALL_EXPERTS(hf, gguf, rows, columns, flags)                                                          \
    MATRIX(hf, gguf, rows, columns, HF_SAME, HF_ALL_EXPERTS | (flags))
static const struct hf_part experts_granite[] = {
    MATRIX("block_sparse_moe.router.layer", "ffn_gate_inp", HF_EXPERTS, HF_EMBED, HF_SAME, 0),
    ALL_EXPERTS("block_sparse_moe.input_linear", "ffn_gate_exps", HF_FF, HF_EMBED, HF_UPPER),
    ALL_EXPERTS("block_sparse_moe.input_linear", "ffn_up_exps", HF_FF, HF_EMBED, HF_LOWER),
    ALL_EXPERTS("block_sparse_moe.output_linear", "ffn_down_exps", HF_EMBED, HF_FF, 0), LIST_END};
static const struct hf_part shared_granite[] = {
    MATRIX("shared_mlp.input_linear", "ffn_gate_shexp", HF_SHARED_FF, HF_EMBED, HF_SAME, HF_UPPER),
    MATRIX("shared_mlp.input_linear", "ffn_up_shexp", HF_SHARED_FF, HF_EMBED, HF_SAME, HF_LOWER),
    MATRIX("shared_mlp.output_linear", "ffn_down_shexp", HF_EMBED, HF_SHARED_FF, HF_SAME, 0), LIST_END};

static const struct hf_part norms_late[] = {VECTOR("input_layernorm", "attn_norm", HF_EMBED, HF_SAME),
    VECTOR("post_attention_layernorm", "post_attention_norm", HF_EMBED, HF_SAME), LIST_END};
static const struct hf_part head_norms_optional[] = {
    MATRIX("self_attn.q_norm", "attn_q_norm", HF_NONE, HF_HEAD, HF_SAME, HF_OPTIONAL),
    MATRIX("self_attn.k_norm", "attn_k_norm", HF_NONE, HF_HEAD, HF_SAME, HF_OPTIONAL), LIST_END};

/* gpt-oss: each row of a pair is the gate's, then what goes through it. */
static const struct hf_part experts_gpt_oss[] = {
    MATRIX("self_attn.sinks", "attn_sinks.weight", HF_NONE, HF_HEADS, HF_SAME, HF_NAMED),
    MATRIX("mlp.router", "ffn_gate_inp", HF_EXPERTS, HF_EMBED, HF_SAME, HF_MUST_BIAS),
    ALL_EXPERTS("mlp.experts.gate_up_proj", "ffn_gate_exps.weight", HF_EXPERT_FF, HF_EMBED,
        HF_NAMED | HF_ACROSS | HF_EVEN),
    ALL_EXPERTS("mlp.experts.gate_up_proj", "ffn_up_exps.weight", HF_EXPERT_FF, HF_EMBED,
        HF_NAMED | HF_ACROSS | HF_ODD),
    ALL_EXPERTS(
        "mlp.experts.gate_up_proj_bias", "ffn_gate_exps.bias", HF_EXPERT_FF, HF_ONE, HF_NAMED | HF_EVEN),
    ALL_EXPERTS("mlp.experts.gate_up_proj_bias", "ffn_up_exps.bias", HF_EXPERT_FF, HF_ONE, HF_NAMED | HF_ODD),
    ALL_EXPERTS(
        "mlp.experts.down_proj", "ffn_down_exps.weight", HF_EMBED, HF_EXPERT_FF, HF_NAMED | HF_ACROSS),
    ALL_EXPERTS("mlp.experts.down_proj_bias", "ffn_down_exps.bias", HF_EMBED, HF_ONE, HF_NAMED), LIST_END};

/* Latent attention. What makes keys of the latent is transposed in a file, which multiplies queries by it. */
static const struct hf_part latent[] = {
    MATRIX("self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa", HF_LATENT_ROTATED, HF_EMBED, HF_SAME, 0),
    VECTOR("self_attn.kv_a_layernorm", "attn_kv_a_norm", HF_LATENT, HF_SAME),
    {"self_attn.kv_b_proj", "attn_k_b", HF_LATENT, HF_PLAIN, HF_SAME, HF_ALL_HEADS | HF_ACROSS | HF_UPPER,
        HF_VALUE},
    {"self_attn.kv_b_proj", "attn_v_b", HF_VALUE, HF_LATENT, HF_SAME, HF_ALL_HEADS | HF_LOWER, HF_PLAIN},
    MATRIX("self_attn.o_proj", "attn_output", HF_EMBED, HF_VALUES, HF_SAME, 0), LIST_END};
static const struct hf_part latent_queries[] = {
    MATRIX("self_attn.q_proj", "attn_q", HF_QUERIES, HF_EMBED, HF_SAME, 0), LIST_END};
static const struct hf_part latent_queries_low[] = {
    MATRIX("self_attn.q_a_proj", "attn_q_a", HF_Q_RANK, HF_EMBED, HF_SAME, 0),
    VECTOR("self_attn.q_a_layernorm", "attn_q_a_norm", HF_Q_RANK, HF_SAME),
    MATRIX("self_attn.q_b_proj", "attn_q_b", HF_QUERIES, HF_Q_RANK, HF_SAME, 0), LIST_END};

/* LFM 2. The norm before the output is called the embedding's in both. */
static const struct hf_part ends_lfm2[] = {
    EMBEDDING, VECTOR("model.embedding_norm", "token_embd_norm", HF_EMBED, HF_SAME), OUTPUT, LIST_END};
static const struct hf_part norms_lfm2[] = {VECTOR("operator_norm", "attn_norm", HF_EMBED, HF_SAME),
    VECTOR("ffn_norm", "ffn_norm", HF_EMBED, HF_SAME), LIST_END};
static const struct hf_part attention_lfm2[] = {
    MATRIX("self_attn.q_proj", "attn_q", HF_QUERIES, HF_EMBED, HF_SAME, 0),
    MATRIX("self_attn.k_proj", "attn_k", HF_KEYS, HF_EMBED, HF_SAME, 0),
    MATRIX("self_attn.v_proj", "attn_v", HF_KEYS, HF_EMBED, HF_SAME, 0),
    MATRIX("self_attn.out_proj", "attn_output", HF_EMBED, HF_QUERIES, HF_SAME, 0),
    VECTOR("self_attn.q_layernorm", "attn_q_norm", HF_HEAD, HF_SAME),
    VECTOR("self_attn.k_layernorm", "attn_k_norm", HF_HEAD, HF_SAME), LIST_END};
static const struct hf_part convolution_lfm2[] = {
    MATRIX("conv.in_proj", "shortconv.in_proj", HF_EMBED_THRICE, HF_EMBED, HF_SAME, 0),
    MATRIX("conv.conv", "shortconv.conv", HF_EMBED, HF_CONV_INPUTS, HF_SAME, HF_CHANNELS),
    MATRIX("conv.out_proj", "shortconv.out_proj", HF_EMBED, HF_EMBED, HF_SAME, 0), LIST_END};
static const struct hf_part ffn_lfm2[] = {MATRIX("feed_forward.w1", "ffn_gate", HF_FF, HF_EMBED, HF_SAME, 0),
    MATRIX("feed_forward.w3", "ffn_up", HF_FF, HF_EMBED, HF_SAME, 0),
    MATRIX("feed_forward.w2", "ffn_down", HF_EMBED, HF_FF, HF_SAME, 0), LIST_END};
static const struct hf_part experts_lfm2[] = {
    MATRIX("feed_forward.gate", "ffn_gate_inp", HF_EXPERTS, HF_EMBED, HF_SAME, 0),
    EXPERT("feed_forward.experts.%d.w1", "ffn_gate_exps", HF_EXPERT_FF, HF_EMBED),
    EXPERT("feed_forward.experts.%d.w3", "ffn_up_exps", HF_EXPERT_FF, HF_EMBED),
    EXPERT("feed_forward.experts.%d.w2", "ffn_down_exps", HF_EMBED, HF_EXPERT_FF),
    CHOICE("feed_forward.expert_bias"), LIST_END};

/* Qwen 3.5: queries with their gates, or linear attention. */
static const struct hf_part norms_qwen35[] = {VECTOR("input_layernorm", "attn_norm", HF_EMBED, HF_PLUS_ONE),
    VECTOR("post_attention_layernorm", "post_attention_norm", HF_EMBED, HF_PLUS_ONE), LIST_END};
static const struct hf_part attention_gated[] = {
    MATRIX("self_attn.q_proj", "attn_q", HF_QUERIES_TWICE, HF_EMBED, HF_SAME, 0),
    MATRIX("self_attn.k_proj", "attn_k", HF_KEYS, HF_EMBED, HF_SAME, 0),
    MATRIX("self_attn.v_proj", "attn_v", HF_KEYS, HF_EMBED, HF_SAME, 0),
    MATRIX("self_attn.o_proj", "attn_output", HF_EMBED, HF_QUERIES, HF_SAME, 0),
    VECTOR("self_attn.q_norm", "attn_q_norm", HF_HEAD, HF_PLUS_ONE),
    VECTOR("self_attn.k_norm", "attn_k_norm", HF_HEAD, HF_PLUS_ONE), LIST_END};
static const struct hf_part attention_linear[] = {
    MATRIX("linear_attn.in_proj_qkv", "attn_qkv", HF_LINEAR_ALL, HF_EMBED, HF_DEAL_LAST_ROWS, 0),
    MATRIX("linear_attn.in_proj_z", "attn_gate", HF_LINEAR_INNER, HF_EMBED, HF_DEAL_ROWS, 0),
    MATRIX("linear_attn.in_proj_b", "ssm_beta", HF_LINEAR_VALUES, HF_EMBED, HF_DEAL_ROWS, 0),
    MATRIX("linear_attn.in_proj_a", "ssm_alpha", HF_LINEAR_VALUES, HF_EMBED, HF_DEAL_ROWS, 0),
    MATRIX("linear_attn.conv1d", "ssm_conv1d", HF_LINEAR_ALL, HF_CONV_INPUTS, HF_DEAL_LAST_ROWS, HF_CHANNELS),
    MATRIX("linear_attn.A_log", "ssm_a", HF_NONE, HF_LINEAR_VALUES, HF_DEAL_RATES, HF_NAMED),
    MATRIX("linear_attn.dt_bias", "ssm_dt.bias", HF_NONE, HF_LINEAR_VALUES, HF_DEAL_ROWS, HF_NAMED),
    VECTOR("linear_attn.norm", "ssm_norm", HF_LINEAR_VALUE, HF_SAME),
    MATRIX("linear_attn.out_proj", "ssm_out", HF_EMBED, HF_LINEAR_INNER, HF_DEAL_COLUMNS, 0), LIST_END};
static const struct hf_part experts_qwen35[] = {
    MATRIX("mlp.gate", "ffn_gate_inp", HF_EXPERTS, HF_EMBED, HF_SAME, 0),
    ALL_EXPERTS(
        "mlp.experts.gate_up_proj", "ffn_gate_exps.weight", HF_EXPERT_FF, HF_EMBED, HF_NAMED | HF_UPPER),
    ALL_EXPERTS(
        "mlp.experts.gate_up_proj", "ffn_up_exps.weight", HF_EXPERT_FF, HF_EMBED, HF_NAMED | HF_LOWER),
    ALL_EXPERTS("mlp.experts.down_proj", "ffn_down_exps.weight", HF_EMBED, HF_EXPERT_FF, HF_NAMED), LIST_END};

/* Gemma 4. Layers that read the keys of others may have some that nothing reads. */
#define KEYS_KEPT(keys, head, flags)                                                                         \
    MATRIX("self_attn.k_proj", "attn_k", keys, HF_EMBED, HF_SAME, flags),                                    \
        MATRIX("self_attn.k_norm", "attn_k_norm", HF_NONE, head, HF_SAME, flags)
#define VALUES_KEPT(keys, flags) MATRIX("self_attn.v_proj", "attn_v", keys, HF_EMBED, HF_SAME, flags)
static const struct hf_part attention_local[] = {
    MATRIX("self_attn.q_proj", "attn_q", HF_QUERIES, HF_EMBED, HF_SAME, 0),
    VECTOR("self_attn.q_norm", "attn_q_norm", HF_HEAD, HF_SAME),
    MATRIX("self_attn.o_proj", "attn_output", HF_EMBED, HF_QUERIES, HF_SAME, 0), LIST_END};
static const struct hf_part attention_wide[] = {
    MATRIX("self_attn.q_proj", "attn_q", HF_WIDE_QUERIES, HF_EMBED, HF_SAME, 0),
    VECTOR("self_attn.q_norm", "attn_q_norm", HF_WIDE, HF_SAME),
    MATRIX("self_attn.o_proj", "attn_output", HF_EMBED, HF_WIDE_QUERIES, HF_SAME, 0), LIST_END};
static const struct hf_part keeping[] = {KEYS_KEPT(HF_KEYS, HF_HEAD, 0), VALUES_KEPT(HF_KEYS, 0), LIST_END};
static const struct hf_part keeping_wide[] = {KEYS_KEPT(HF_WIDE_KEYS, HF_WIDE, 0), LIST_END};
static const struct hf_part keeping_values[] = {VALUES_KEPT(HF_WIDE_KEYS, 0), LIST_END};
static const struct hf_part reading[] = {
    KEYS_KEPT(HF_KEYS, HF_HEAD, HF_OPTIONAL), VALUES_KEPT(HF_KEYS, HF_OPTIONAL), LIST_END};
static const struct hf_part reading_wide[] = {
    KEYS_KEPT(HF_WIDE_KEYS, HF_WIDE, HF_OPTIONAL), VALUES_KEPT(HF_WIDE_KEYS, HF_OPTIONAL), LIST_END};
static const struct hf_part ffn_double[] = {
    MATRIX("mlp.gate_proj", "ffn_gate", HF_FF_TWICE, HF_EMBED, HF_SAME, 0),
    MATRIX("mlp.up_proj", "ffn_up", HF_FF_TWICE, HF_EMBED, HF_SAME, 0),
    MATRIX("mlp.down_proj", "ffn_down", HF_EMBED, HF_FF_TWICE, HF_SAME, 0), LIST_END};
static const struct hf_part experts_beside[] = {
    MATRIX("router.proj", "ffn_gate_inp", HF_EXPERTS, HF_EMBED, HF_SAME, 0),
    MATRIX("router.scale", "ffn_gate_inp.scale", HF_NONE, HF_EMBED, HF_SAME, HF_NAMED),
    MATRIX("router.per_expert_scale", "ffn_down_exps.scale", HF_NONE, HF_EXPERTS, HF_SAME, HF_NAMED),
    ALL_EXPERTS("experts.gate_up_proj", "ffn_gate_up_exps.weight", HF_EXPERT_FF_TWICE, HF_EMBED, HF_NAMED),
    ALL_EXPERTS("experts.down_proj", "ffn_down_exps.weight", HF_EMBED, HF_EXPERT_FF, HF_NAMED),
    VECTOR("pre_feedforward_layernorm_2", "pre_ffw_norm_2", HF_EMBED, HF_SAME),
    VECTOR("post_feedforward_layernorm_1", "post_ffw_norm_1", HF_EMBED, HF_SAME),
    VECTOR("post_feedforward_layernorm_2", "post_ffw_norm_2", HF_EMBED, HF_SAME), LIST_END};
static const struct hf_part own_embedding[] = {
    MATRIX("per_layer_input_gate", "inp_gate", HF_OWN, HF_EMBED, HF_SAME, 0),
    MATRIX("per_layer_projection", "proj", HF_EMBED, HF_OWN, HF_SAME, 0),
    VECTOR("post_per_layer_input_norm", "post_norm", HF_EMBED, HF_SAME), LIST_END};
static const struct hf_part ends_own_embedding[] = {
    MATRIX("model.embed_tokens_per_layer", "per_layer_token_embd", HF_VOCAB, HF_OWN_ALL, HF_SAME, 0),
    MATRIX("model.per_layer_model_projection", "per_layer_model_proj", HF_OWN_ALL, HF_EMBED, HF_SAME, 0),
    VECTOR("model.per_layer_projection_norm", "per_layer_proj_norm", HF_OWN, HF_SAME), LIST_END};

/* A layer behind the last: what it is given of the next token and of what the last one gave (model_nextn.h in
 * the engine's worker). Where it has no embedding or output of its own it takes the model's. */
#define JOINING(fc, token, hidden, norm, change, outside)                                                    \
    MATRIX(fc, "nextn.eh_proj", HF_EMBED, HF_EMBED_TWICE, HF_SAME, outside),                                 \
        MATRIX(token, "nextn.enorm", HF_NONE, HF_EMBED, change, outside),                                    \
        MATRIX(hidden, "nextn.hnorm", HF_NONE, HF_EMBED, change, outside),                                   \
        MATRIX(norm, "nextn.shared_head_norm", HF_NONE, HF_EMBED, change, (outside) | HF_OPTIONAL)
static const struct hf_part ahead[] = {JOINING("eh_proj", "enorm", "hnorm", "shared_head.norm", HF_SAME, 0),
    MATRIX("embed_tokens", "nextn.embed_tokens", HF_VOCAB, HF_EMBED, HF_SAME, HF_OPTIONAL),
    MATRIX("shared_head.head", "nextn.shared_head_head", HF_VOCAB, HF_EMBED, HF_SAME, HF_OPTIONAL), LIST_END};
static const struct hf_part ahead_qwen35[] = {
    JOINING(
        "mtp.fc", "mtp.pre_fc_norm_embedding", "mtp.pre_fc_norm_hidden", "mtp.norm", HF_PLUS_ONE, HF_OUTSIDE),
    LIST_END};

/* ---- Which layers have which ---- */
#define SOME_END                                                                                             \
    {                                                                                                        \
        0, NULL                                                                                              \
    }
static const struct hf_some some_granite[] = {{HF_SHARING, shared_granite}, SOME_END};
static const struct hf_some some_glm4moe[] = {{HF_DENSE, ffn}, {HF_MIXED, experts_qwen},
    {HF_MIXED, experts_chosen}, {HF_SHARING, experts_shared}, {HF_AHEAD, ahead}, SOME_END};
static const struct hf_some some_glm4[] = {{HF_AHEAD, ahead}, SOME_END};
static const struct hf_some some_deepseek[] = {{HF_QUERIES_FULL, latent_queries},
    {HF_QUERIES_LOW, latent_queries_low}, {HF_DENSE, ffn}, {HF_MIXED, experts_qwen},
    {HF_MIXED, experts_chosen}, {HF_SHARING, experts_shared}, {HF_AHEAD, ahead}, SOME_END};
static const struct hf_some some_qwen35[] = {{HF_ATTENDING, attention_gated},
    {HF_OTHERWISE, attention_linear}, {HF_DENSE, ffn}, {HF_MIXED, experts_qwen35},
    {HF_SHARING, expert_shared}, {HF_AHEAD, ahead_qwen35}, SOME_END};
static const struct hf_some some_gemma4[] = {{HF_ENDS_OWNING, ends_own_embedding},
    {HF_OTHERWISE, attention_local}, {HF_ATTENDING, attention_wide}, {HF_KEEPING, keeping},
    {HF_KEEPING_WIDE, keeping_wide}, {HF_KEEPING_VALUES, keeping_values}, {HF_READING, reading},
    {HF_READING_WIDE, reading_wide}, {HF_SINGLE, ffn}, {HF_DOUBLE, ffn_double}, {HF_MIXED, experts_beside},
    {HF_OWNING, own_embedding}, SOME_END};
static const struct hf_some some_lfm2[] = {{HF_ATTENDING, attention_lfm2}, {HF_OTHERWISE, convolution_lfm2},
    {HF_DENSE, ffn_lfm2}, {HF_MIXED, experts_lfm2}, SOME_END};

/* ---- Keys ---- */
const struct hf_key hf_keys[] = {{"max_position_embeddings", "context_length", HF_INT, true, NULL},
    {"hidden_size", "embedding_length", HF_INT, true, NULL},
    {"intermediate_size", "feed_forward_length", HF_INT, false, NULL},
    {"num_attention_heads", "attention.head_count", HF_INT, true, NULL}, {NULL, NULL, 0, false, NULL}};

#define KEYS_END                                                                                             \
    {                                                                                                        \
        NULL, NULL, 0, false, NULL                                                                           \
    }
static const struct hf_key keys_none[] = {KEYS_END};
static const struct hf_key keys_gemma2[] = {
    {"attn_logit_softcapping", "attn_logit_softcapping", HF_FLOAT, true, NULL},
    {"final_logit_softcapping", "final_logit_softcapping", HF_FLOAT, true, NULL}, KEYS_END};
static const struct hf_key keys_gemma3[] = {
    {"final_logit_softcapping", "final_logit_softcapping", HF_FLOAT, false, NULL}, KEYS_END};
static const struct hf_key keys_gemma4[] = {{"num_experts", "expert_count", HF_INT, false, "null"},
    {"top_k_experts", "expert_used_count", HF_INT, false, "null"},
    {"moe_intermediate_size", "expert_feed_forward_length", HF_INT, false, "null"}, KEYS_END};
static const struct hf_key keys_phi3[] = {
    {"sliding_window", "attention.sliding_window", HF_INT, false, NULL}, KEYS_END};
static const struct hf_key keys_cohere[] = {{"logit_scale", "logit_scale", HF_FLOAT, true, NULL}, KEYS_END};
static const struct hf_key keys_mixtral[] = {{"num_local_experts", "expert_count", HF_INT, true, NULL},
    {"num_experts_per_tok", "expert_used_count", HF_INT, true, NULL}, KEYS_END};
static const struct hf_key keys_qwen3moe[] = {{"num_experts", "expert_count", HF_INT, true, NULL},
    {"num_experts_per_tok", "expert_used_count", HF_INT, true, NULL},
    {"moe_intermediate_size", "expert_feed_forward_length", HF_INT, true, NULL}, KEYS_END};
static const struct hf_key keys_qwen2moe[] = {{"num_experts", "expert_count", HF_INT, true, NULL},
    {"num_experts_per_tok", "expert_used_count", HF_INT, true, NULL},
    {"moe_intermediate_size", "expert_feed_forward_length", HF_INT, true, NULL},
    {"shared_expert_intermediate_size", "expert_shared_feed_forward_length", HF_INT, true, NULL}, KEYS_END};

#define KEYS_GRANITE                                                                                         \
    {"attention_multiplier", "attention.scale", HF_FLOAT, true, NULL},                                       \
        {"embedding_multiplier", "embedding_scale", HF_FLOAT, true, NULL},                                   \
        {"residual_multiplier", "residual_scale", HF_FLOAT, true, NULL},                                     \
    {                                                                                                        \
        "logits_scaling", "logit_scale", HF_FLOAT, true, NULL                                                \
    }
static const struct hf_key keys_granite[] = {KEYS_GRANITE, KEYS_END};
static const struct hf_key keys_granitemoe[] = {KEYS_GRANITE,
    {"num_local_experts", "expert_count", HF_INT, true, NULL},
    {"num_experts_per_tok", "expert_used_count", HF_INT, true, NULL},
    {"shared_intermediate_size", "expert_shared_feed_forward_length", HF_INT, false, NULL}, KEYS_END};
/* `normed`: what a file means that does not say whether the chosen experts' weights sum to 1. */
#define KEYS_ROUTED(normed)                                                                                  \
    {"n_routed_experts", "expert_count", HF_INT, true, NULL},                                                \
        {"num_experts_per_tok", "expert_used_count", HF_INT, true, NULL},                                    \
        {"moe_intermediate_size", "expert_feed_forward_length", HF_INT, true, NULL},                         \
        {"n_shared_experts", "expert_shared_count", HF_INT, false, NULL},                                    \
        {"first_k_dense_replace", "leading_dense_block_count", HF_INT, true, NULL},                          \
        {"routed_scaling_factor", "expert_weights_scale", HF_FLOAT, false, "1.0"},                           \
        {"norm_topk_prob", "expert_weights_norm", HF_BOOL, false, normed},                                   \
        {"n_group", "expert_group_count", HF_INT, false, "1"},                                               \
    {                                                                                                        \
        "topk_group", "expert_group_used_count", HF_INT, false, "1"                                          \
    }
static const struct hf_key keys_glm4moe[] = {KEYS_ROUTED("true"), KEYS_END};
static const struct hf_key keys_deepseek[] = {KEYS_ROUTED("false"),
    {"scoring_func", "expert_gating_func", HF_SCORE, false, NULL},
    {"q_lora_rank", "attention.q_lora_rank", HF_INT, false, "null"},
    {"kv_lora_rank", "attention.kv_lora_rank", HF_INT, true, NULL},
    {"qk_rope_head_dim", "rope.dimension_count", HF_INT, true, NULL},
    {"v_head_dim", "attention.value_length_mla", HF_INT, true, NULL}, KEYS_END};
static const struct hf_key keys_gpt_oss[] = {{"num_local_experts", "expert_count", HF_INT, true, NULL},
    {"num_experts_per_tok", "expert_used_count", HF_INT, true, NULL},
    {"intermediate_size", "expert_feed_forward_length", HF_INT, true, NULL}, KEYS_END};
static const struct hf_key keys_lfm2[] = {
    {"conv_L_cache", "shortconv.l_cache", HF_INT, true, NULL}, KEYS_END};
static const struct hf_key keys_lfm2moe[] = {{"conv_L_cache", "shortconv.l_cache", HF_INT, true, NULL},
    {"num_experts", "expert_count", HF_INT, true, NULL},
    {"num_experts_per_tok", "expert_used_count", HF_INT, true, NULL},
    {"moe_intermediate_size", "expert_feed_forward_length", HF_INT, true, NULL},
    {"num_dense_layers", "leading_dense_block_count", HF_INT, true, NULL},
    {"routed_scaling_factor", "expert_weights_scale", HF_FLOAT, false, NULL},
    {"norm_topk_prob", "expert_weights_norm", HF_BOOL, false, NULL}, KEYS_END};

#define KEYS_LINEAR                                                                                          \
    {"linear_conv_kernel_dim", "ssm.conv_kernel", HF_INT, true, NULL},                                       \
        {"linear_key_head_dim", "ssm.state_size", HF_INT, true, NULL},                                       \
        {"linear_num_key_heads", "ssm.group_count", HF_INT, true, NULL},                                     \
        {"linear_num_value_heads", "ssm.time_step_rank", HF_INT, true, NULL},                                \
    {                                                                                                        \
        "linear_value_head_dim", "ssm.inner_size", HF_PER_VALUE, true, NULL                                  \
    }
static const struct hf_key keys_qwen35[] = {KEYS_LINEAR, KEYS_END};
static const struct hf_key keys_qwen35moe[] = {KEYS_LINEAR,
    {"num_experts", "expert_count", HF_INT, true, NULL},
    {"num_experts_per_tok", "expert_used_count", HF_INT, true, NULL},
    {"moe_intermediate_size", "expert_feed_forward_length", HF_INT, true, NULL},
    {"shared_expert_intermediate_size", "expert_shared_feed_forward_length", HF_INT, true, NULL}, KEYS_END};

static const struct hf_constant by_sigmoid[] = {{"expert_gating_func", 2}, {NULL, 0}};

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
static const struct hf_fixed fixed_gemma4[] = {{"hidden_activation", "\"gelu_pytorch_tanh\"", NULL, true},
    {"use_bidirectional_attention", "null", "\"vision\"", true}, FIXED_END};
static const struct hf_fixed fixed_smollm3[] = {SILU, {"no_rope_layer_interval", "4", NULL, true}, FIXED_END};
static const struct hf_fixed fixed_olmo2[] = {SILU, {"clip_qkv", "null", NULL, true}, FIXED_END};
static const struct hf_fixed fixed_cohere2[] = {SILU, {"use_qk_norm", "false", NULL, true},
    {"use_parallel_block", "true", NULL, true}, {"use_gated_activation", "true", NULL, true}, FIXED_END};
static const struct hf_fixed fixed_qwen2moe[] = {SILU, {"norm_topk_prob", "false", NULL, true},
    {"decoder_sparse_step", "1", NULL, true}, {"mlp_only_layers", "[]", NULL, true}, FIXED_END};
static const struct hf_fixed fixed_qwen3moe[] = {SILU, {"norm_topk_prob", "true", NULL, false},
    {"decoder_sparse_step", "1", NULL, true}, {"mlp_only_layers", "[]", NULL, true}, FIXED_END};
static const struct hf_fixed fixed_deepseek2[] = {
    SILU, {"moe_layer_freq", "1", NULL, true}, {"topk_method", "\"greedy\"", NULL, true}, FIXED_END};
static const struct hf_fixed fixed_deepseek3[] = {
    SILU, {"moe_layer_freq", "1", NULL, true}, {"topk_method", "\"noaux_tc\"", NULL, true}, FIXED_END};
static const struct hf_fixed fixed_gpt_oss[] = {SILU, {"swiglu_limit", "7", NULL, true}, FIXED_END};
static const struct hf_fixed fixed_qwen35[] = {SILU, {"attn_output_gate", "true", NULL, true}, FIXED_END};
static const struct hf_fixed fixed_lfm2[] = {
    {"conv_bias", "false", NULL, true}, {"block_auto_adjust_ff_dim", "false", NULL, true}, FIXED_END};
static const struct hf_fixed fixed_lfm2moe[] = {
    {"conv_bias", "false", NULL, true}, {"use_expert_bias", "true", NULL, true}, FIXED_END};

/* ---- Models inside others ---- */
static const char *const vision_left[] = {"vision_tower.", "multi_modal_projector.", NULL};
static const struct hf_default no_defaults[] = {{NULL, 0}};
static const struct hf_inner mistral3_inner = {"text_config", "language_model.", vision_left, no_defaults};
static const struct hf_default gemma3_defaults[] = {{"num_attention_heads", 8}, {"num_key_value_heads", 4},
    {"head_dim", 256}, {"vocab_size", 262208}, {"max_position_embeddings", 131072}, {"sliding_window", 4096},
    {NULL, 0}};
static const struct hf_inner gemma3_inner = {"text_config", "language_model.", vision_left, gemma3_defaults};

static const char *const gemma4_left[] = {
    "vision_tower.", "audio_tower.", "embed_vision.", "embed_audio.", "multi_modal_projector.", NULL};
static const struct hf_inner gemma4_inner = {"text_config", "language_model.", gemma4_left, no_defaults};

static const char *const qwen35_left[] = {"visual.", NULL};
static const struct hf_inner qwen35_inner = {"text_config", "language_model.", qwen35_left, no_defaults};

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
    {"Gemma4ForCausalLM", "gemma4_text", "gemma4", LISTS(ends), LISTS(norms_around_plain), keys_gemma4,
        fixed_gemma4, .some = some_gemma4, .two_kinds = true, .otherwise = "sliding_attention", .head = 256,
        .merged = "gemma4"},
    {"Gemma4ForConditionalGeneration", "gemma4_text", "gemma4", LISTS(ends), LISTS(norms_around_plain),
        keys_gemma4, fixed_gemma4, .some = some_gemma4, .inner = &gemma4_inner, .two_kinds = true,
        .otherwise = "sliding_attention", .head = 256, .merged = "gemma4"},
    {"Phi3ForCausalLM", "phi3", "phi3", LISTS(ends), LISTS(norms, attention_fused, ffn_fused), keys_phi3,
        fixed_silu, .rope_base = 1e4, .rotated = 1, .longrope = true},
    {"GraniteForCausalLM", "granite", "granite", LISTS(ends), LISTS(norms, attention_turned, ffn),
        keys_granite, fixed_silu, .pre = "refact", .rope_base = 1e4, .rotated = 1},
    {"Olmo2ForCausalLM", "olmo2", "olmo2", LISTS(ends), LISTS(norms_after, attention, whole_norms, ffn),
        keys_none, fixed_olmo2, .rope_base = 1e4, .rotated = 1},
    {"Olmo3ForCausalLM", "olmo3", "olmo2", LISTS(ends), LISTS(norms_after, attention, whole_norms, ffn),
        keys_none, fixed_olmo2, .rope_base = 1e4, .rotated = 1, .window_period = 4, .windows_listed = true},
    {"Glm4ForCausalLM", "glm4", "glm4", LISTS(ends), LISTS(norms_glm4, attention, ffn_fused), keys_none,
        fixed_silu, .some = some_glm4, .ahead = "num_nextn_predict_layers", .pre = "glm4", .rope_base = 1e4,
        .rotated = 0.5},
    {"CohereForCausalLM", "cohere", "command-r", LISTS(ends), LISTS(norm_shared, attention, norms_own, ffn),
        keys_cohere, fixed_silu, .pre = "command-r", .rope_base = 1e4, .rotated = 1, .layer_norm = true},
    {"Cohere2ForCausalLM", "cohere2", "cohere2", LISTS(ends), LISTS(norm_shared, attention, ffn), keys_cohere,
        fixed_cohere2, .pre = "command-r", .rope_base = 1e4, .rotated = 1, .window_period = 4,
        .layer_norm = true},
    {"GraniteMoeSharedForCausalLM", "granitemoeshared", "granitemoe", LISTS(ends),
        LISTS(norms, attention_turned, experts_granite), keys_granitemoe, fixed_silu, .some = some_granite,
        .pre = "refact", .rope_base = 1e4, .rotated = 1, .mixture = true},
    {"GraniteMoeForCausalLM", "granitemoe", "granitemoe", LISTS(ends),
        LISTS(norms, attention_turned, experts_granite), keys_granitemoe, fixed_silu, .some = some_granite,
        .pre = "refact", .rope_base = 1e4, .rotated = 1, .mixture = true},
    {"Glm4MoeForCausalLM", "glm4_moe", "glm4moe", LISTS(ends),
        LISTS(norms_late, attention, head_norms_optional), keys_glm4moe, fixed_silu, .some = some_glm4moe,
        .ahead = "num_nextn_predict_layers", .constant = by_sigmoid, .pre = "glm4", .rope_base = 1e6,
        .rotated = 0.5, .mixture = true},
    {"DeepseekV3ForCausalLM", "deepseek_v3", "deepseek2", LISTS(ends), LISTS(norms, latent), keys_deepseek,
        fixed_deepseek3, .some = some_deepseek, .ahead = "num_nextn_predict_layers", .rope_base = 1e4,
        .rotated = 1, .mixture = true, .sigmoid = true, .latent = true, .yarn_multiplier = 0.1},
    {"DeepseekV2ForCausalLM", "deepseek_v2", "deepseek2", LISTS(ends), LISTS(norms, latent), keys_deepseek,
        fixed_deepseek2, .some = some_deepseek, .ahead = "num_nextn_predict_layers", .rope_base = 1e4,
        .rotated = 1, .mixture = true, .latent = true, .yarn_multiplier = 0.1},
    {"GptOssForCausalLM", "gpt_oss", "gpt-oss", LISTS(ends),
        LISTS(norms_late, attention_biased, experts_gpt_oss), keys_gpt_oss, fixed_gpt_oss, .rope_base = 1.5e5,
        .rotated = 1, .mixture = true, .window_period = 2, .packed = true, .windows_fixed = true,
        .untruncated = true},
    {"Ministral3ForCausalLM", "ministral3", "mistral3", LISTS(ends), LISTS(norms, attention_turned, ffn),
        keys_none, fixed_silu, .rope_base = 1e6, .rotated = 1, .yarn_multiplier = 1},
    {"Mistral3ForConditionalGeneration", "ministral3", "mistral3", LISTS(ends),
        LISTS(norms, attention_turned, ffn), keys_none, fixed_silu, .inner = &mistral3_inner,
        .rope_base = 1e6, .rotated = 1, .yarn_multiplier = 1},
    {"Lfm2ForCausalLM", "lfm2", "lfm2", LISTS(ends_lfm2), LISTS(norms_lfm2), keys_lfm2, fixed_lfm2,
        .some = some_lfm2, .eps = "norm_eps", .otherwise = "conv", .rope_base = 1e6, .rotated = 1},
    {"Lfm2MoeForCausalLM", "lfm2_moe", "lfm2moe", LISTS(ends_lfm2), LISTS(norms_lfm2), keys_lfm2moe,
        fixed_lfm2moe, .some = some_lfm2, .constant = by_sigmoid, .eps = "norm_eps", .otherwise = "conv",
        .rope_base = 1e6, .rotated = 1, .mixture = true},
    {"Qwen3_5ForCausalLM", "qwen3_5_text", "qwen35", LISTS(ends_plus_one), LISTS(norms_qwen35), keys_qwen35,
        fixed_qwen35, .some = some_qwen35, .ahead = "mtp_num_hidden_layers", .apart = true,
        .otherwise = "linear_attention", .interval = true, .pre = "qwen35", .rope_base = 1e7, .rotated = 0.25,
        .head = 256},
    {"Qwen3_5ForConditionalGeneration", "qwen3_5_text", "qwen35", LISTS(ends_plus_one), LISTS(norms_qwen35),
        keys_qwen35, fixed_qwen35, .some = some_qwen35, .ahead = "mtp_num_hidden_layers", .apart = true,
        .inner = &qwen35_inner, .otherwise = "linear_attention", .interval = true, .pre = "qwen35",
        .rope_base = 1e7, .rotated = 0.25, .head = 256},
    {"Qwen3_5MoeForCausalLM", "qwen3_5_moe_text", "qwen35moe", LISTS(ends_plus_one), LISTS(norms_qwen35),
        keys_qwen35moe, fixed_qwen35, .some = some_qwen35, .ahead = "mtp_num_hidden_layers", .apart = true,
        .otherwise = "linear_attention", .interval = true, .pre = "qwen35", .rope_base = 1e7, .rotated = 0.25,
        .head = 256, .mixture = true},
    {"Qwen3_5MoeForConditionalGeneration", "qwen3_5_moe_text", "qwen35moe", LISTS(ends_plus_one),
        LISTS(norms_qwen35), keys_qwen35moe, fixed_qwen35, .some = some_qwen35,
        .ahead = "mtp_num_hidden_layers", .apart = true, .inner = &qwen35_inner,
        .otherwise = "linear_attention", .interval = true, .pre = "qwen35", .rope_base = 1e7, .rotated = 0.25,
        .head = 256, .mixture = true},
    {.hf = NULL}};

/* Tiny models of the architectures with experts, latents, recurrent state or windows by layer as GGUF bytes:
 * random float weights, with what is to be wrong. */
#ifndef TESTS_UNIT_ENGINE_TINY_SPECIAL_H
#define TESTS_UNIT_ENGINE_TINY_SPECIAL_H

#include "unit/engine/tiny_dense.h"

/* Lists of items that commas part. `keys`: "name=value", a value being a whole number, fNUMBER, bFLAG, tTEXT,
 * [n;n;n of whole numbers or (n;n;n of flags. `tensors`: "LAYERS:name AxBxC", LAYERS being digits or - for a
 * tensor of no layer; .weight is added to a name without a dot, a dot at the end is left out. An optional
 * thing has a ? behind its name. */
struct special {
    const char *name, *keys, *tensors;
    bool recurrent;
};

#define SPECIAL_KEYS_OF(layers)                                                                              \
    "block_count=" layers ",context_length=2000,embedding_length=24,attention.head_count=4,"                 \
    "attention.layer_norm_rms_epsilon=f1e-5,rope.freq_base?=f10000,"
#define SPECIAL_HEADS                                                                                        \
    "attention.head_count_kv=2,attention.key_length?=6,attention.value_length?=6,rope.dimension_count?=6,"
#define SPECIAL_EXPERTS "expert_count=4,expert_used_count=2,expert_feed_forward_length=10,"
#define SPECIAL_ENDS "-:token_embd 24x41,-:output_norm 24,-:output? 24x41,0123:attn_norm 24,"
#define SPECIAL_QKV "0123:attn_q 24x24,0123:attn_k 24x12,0123:attn_v 24x12,0123:attn_output 24x24,"
#define SPECIAL_BIASES "0123:attn_q.bias? 24,0123:attn_k.bias? 12,0123:attn_v.bias? 12,"
#define SPECIAL_QK_NORMS "0123:attn_q_norm 6,0123:attn_k_norm 6,"
#define SPECIAL_MIX(layers)                                                                                  \
    layers ":ffn_gate_inp 24x4," layers ":ffn_gate_exps 24x10x4," layers ":ffn_up_exps 24x10x4," layers      \
           ":ffn_down_exps 10x24x4,"
#define SPECIAL_MIX_SHARED(layers)                                                                           \
    SPECIAL_MIX(layers)                                                                                      \
    layers ":ffn_gate_shexp 24x8," layers ":ffn_up_shexp 24x8," layers ":ffn_down_shexp 8x24,"
#define SPECIAL_FFN(layers) layers ":ffn_gate 24x20," layers ":ffn_up 24x20," layers ":ffn_down 20x24,"
#define SPECIAL_LATENT                                                                                       \
    "0123:attn_q_a 24x9,0123:attn_q_a_norm 9,0123:attn_q_b 9x40,0123:attn_kv_a_mqa 24x15,"                   \
    "0123:attn_kv_a_norm 11,0123:attn_output 28x24,0123:ffn_norm 24,123:exp_probs_b.bias? 4,"
#define SPECIAL_LATENT_KEYS                                                                                  \
    "feed_forward_length=20,leading_dense_block_count=1,expert_weights_scale?=f1.5,attention.q_lora_rank=9," \
    "attention.kv_lora_rank=11,rope.dimension_count=4,expert_group_count?=2,expert_group_used_count?=1,"     \
    "expert_weights_norm?=b1,rope.scaling.type?=tyarn,rope.scaling.factor?=f4,"                              \
    "rope.scaling.original_context_length?=64,rope.scaling.yarn_log_multiplier?=f0.1,"
#define SPECIAL_DELTA                                                                                        \
    "ssm.conv_kernel=4,ssm.state_size=5,ssm.group_count=2,ssm.time_step_rank=4,ssm.inner_size=28,"           \
    "full_attention_interval=2,rope.dimension_sections?=[1;1;1;0,"
#define SPECIAL_DELTA_LAYERS                                                                                 \
    "0123:post_attention_norm 24,02:attn_qkv 24x48,02:attn_gate 24x28,02:ssm_conv1d 4x48,02:ssm_beta 24x4,"  \
    "02:ssm_alpha 24x4,02:ssm_a. 4,02:ssm_dt.bias 4,02:ssm_norm 7,02:ssm_out 28x24,13:attn_q 24x48,"         \
    "13:attn_k 24x12,13:attn_v 24x12,13:attn_output 24x24,13:attn_q_norm 6,13:attn_k_norm 6,"

#define SPECIAL_KEYS SPECIAL_KEYS_OF("4")
/* A layer behind these four that drafts. */
#define SPECIAL_NEXTN_KEYS SPECIAL_KEYS_OF("5") "nextn_predict_layers?=1,"
#define SPECIAL_NEXTN                                                                                        \
    "4:nextn.eh_proj.weight? 48x24,4:nextn.enorm.weight 24,4:nextn.hnorm.weight 24,"                         \
    "4:nextn.shared_head_norm.weight? 24,4:attn_norm 24,4:attn_output 24x24,"

static const struct special special_all[] = {
    {"qwen2moe", SPECIAL_KEYS SPECIAL_HEADS SPECIAL_EXPERTS "expert_shared_feed_forward_length?=8",
        SPECIAL_ENDS SPECIAL_QKV SPECIAL_BIASES SPECIAL_MIX_SHARED("0123") "0123:ffn_norm 24,"
                                                                           "0123:ffn_gate_inp_shexp? 24",
        false},
    {"qwen3moe", SPECIAL_KEYS SPECIAL_HEADS SPECIAL_EXPERTS,
        SPECIAL_ENDS SPECIAL_QKV SPECIAL_QK_NORMS SPECIAL_MIX("0123") "0123:ffn_norm 24", false},
    {"gpt-oss", SPECIAL_KEYS SPECIAL_HEADS SPECIAL_EXPERTS "attention.sliding_window=9",
        SPECIAL_ENDS SPECIAL_QKV SPECIAL_BIASES SPECIAL_MIX(
            "0123") "0123:ffn_gate_inp.bias? 4,0123:ffn_gate_exps.bias? 10x4,0123:ffn_up_exps.bias? 10x4,"
                    "0123:ffn_down_exps.bias? 24x4,0123:post_attention_norm 24,0123:attn_sinks 4",
        false},
    {"glm4moe",
        SPECIAL_KEYS SPECIAL_HEADS SPECIAL_EXPERTS
        "expert_shared_feed_forward_length?=8,expert_weights_norm?=b1,"
        "feed_forward_length=20,leading_dense_block_count=1,"
        "expert_gating_func?=2",
        SPECIAL_ENDS SPECIAL_QKV SPECIAL_BIASES SPECIAL_FFN("0")
            SPECIAL_MIX_SHARED("123") "0123:post_attention_norm 24,123:exp_probs_b.bias? 4",
        false},
    {"deepseek2",
        SPECIAL_KEYS SPECIAL_EXPERTS SPECIAL_LATENT_KEYS
        "expert_shared_feed_forward_length?=8,attention.key_length=10,attention.value_length=7",
        SPECIAL_ENDS SPECIAL_LATENT SPECIAL_FFN("0") SPECIAL_MIX_SHARED("123") "0123:attn_kv_b 11x52", false},
    {"deepseek2",
        SPECIAL_KEYS SPECIAL_EXPERTS SPECIAL_LATENT_KEYS
        "expert_shared_feed_forward_length?=8,attention.key_length?=15,attention.value_length?=11,"
        "attention.key_length_mla=10,attention.value_length_mla=7",
        SPECIAL_ENDS SPECIAL_LATENT SPECIAL_FFN("0")
            SPECIAL_MIX_SHARED("123") "0123:attn_k_b 6x11x4,0123:attn_v_b 11x7x4",
        false},
    {"qwen35", SPECIAL_KEYS SPECIAL_HEADS SPECIAL_DELTA "feed_forward_length=20",
        SPECIAL_ENDS SPECIAL_DELTA_LAYERS SPECIAL_FFN("0123"), true},
    {"qwen35moe",
        SPECIAL_KEYS SPECIAL_HEADS SPECIAL_DELTA SPECIAL_EXPERTS "expert_shared_feed_forward_length?=8",
        SPECIAL_ENDS SPECIAL_DELTA_LAYERS SPECIAL_MIX_SHARED("0123") "0123:ffn_gate_inp_shexp? 24", true},
    {"glm4moe",
        SPECIAL_NEXTN_KEYS SPECIAL_HEADS SPECIAL_EXPERTS
        "expert_shared_feed_forward_length?=8,expert_weights_norm?=b1,"
        "feed_forward_length=20,leading_dense_block_count=1",
        SPECIAL_ENDS SPECIAL_QKV SPECIAL_BIASES SPECIAL_FFN("0") SPECIAL_MIX_SHARED(
            "1234") "01234:post_attention_norm 24,1234:exp_probs_b.bias? 4," SPECIAL_NEXTN
                    "4:attn_q 24x24,4:attn_k 24x12,4:attn_v 24x12,4:attn_q.bias? 24,"
                    "4:nextn.embed_tokens.weight? 24x41,4:nextn.shared_head_head.weight? 24x41",
        false},
    {"glm4", SPECIAL_NEXTN_KEYS SPECIAL_HEADS "feed_forward_length=20",
        SPECIAL_ENDS SPECIAL_QKV SPECIAL_NEXTN
        "4:attn_q 24x24,4:attn_k 24x12,4:attn_v 24x12,01234:post_attention_norm 24,01234:post_ffw_norm 24,"
        "01234:ffn_norm 24,01234:ffn_up 24x40,01234:ffn_down 20x24",
        false},
    {"deepseek2",
        SPECIAL_NEXTN_KEYS SPECIAL_EXPERTS SPECIAL_LATENT_KEYS
        "expert_shared_feed_forward_length?=8,attention.key_length=10,attention.value_length=7",
        SPECIAL_ENDS SPECIAL_LATENT SPECIAL_FFN("0") SPECIAL_MIX_SHARED(
            "1234") "01234:attn_kv_b 11x52,4:attn_q_a 24x9,4:attn_q_a_norm 9,4:attn_q_b 9x40,"
                    "4:attn_kv_a_mqa 24x15,4:attn_kv_a_norm 11,4:ffn_norm 24,"
                    "4:attn_norm 24,4:attn_output 28x24,4:nextn.eh_proj.weight? 48x24,"
                    "4:nextn.enorm.weight 24,4:nextn.hnorm.weight 24",
        false},
    {"qwen35",
        SPECIAL_KEYS_OF("5") "nextn_predict_layers=1," SPECIAL_HEADS SPECIAL_DELTA "feed_forward_length=20",
        SPECIAL_ENDS SPECIAL_DELTA_LAYERS SPECIAL_FFN("01234") SPECIAL_NEXTN
        "4:post_attention_norm 24,4:attn_q 24x48,4:attn_k 24x12,4:attn_v 24x12,4:attn_q_norm 6,4:attn_k_norm "
        "6",
        true},
    {"gemma4",
        SPECIAL_KEYS SPECIAL_EXPERTS
        "attention.head_count_kv=[2;1;2;1,attention.key_length=8,attention.value_length?=8,"
        "rope.dimension_count?=8,attention.key_length_swa=6,attention.value_length_swa?=6,"
        "rope.dimension_count_swa?=6,attention.sliding_window=9,attention.sliding_window_pattern=(1;0;1;0,"
        "attention.shared_kv_layers=1,embedding_length_per_layer_input=5,feed_forward_length=[20;20;20;20,"
        "final_logit_softcapping?=f20",
        SPECIAL_ENDS SPECIAL_FFN(
            "0123") "-:rope_freqs? 4,-:per_layer_token_embd 20x41,-:per_layer_model_proj "
                    "24x20,-:per_layer_proj_norm 5,"
                    "0:attn_q 24x24,0:attn_k 24x12,0:attn_v? 24x12,0:attn_q_norm 6,0:attn_k_norm "
                    "6,0:attn_output 24x24,"
                    "2:attn_q 24x24,2:attn_k 24x12,2:attn_v? 24x12,2:attn_q_norm 6,2:attn_k_norm "
                    "6,2:attn_output 24x24,"
                    "1:attn_q 24x32,1:attn_k 24x8,1:attn_q_norm 8,1:attn_k_norm 8,1:attn_output 32x24,"
                    "3:attn_q 24x32,3:attn_q_norm 8,3:attn_output 32x24,"
                    "0123:post_attention_norm 24,0123:post_ffw_norm 24,0123:ffn_norm "
                    "24,0123:layer_output_scale? 1,"
                    "0123:inp_gate 24x5,0123:proj 5x24,0123:post_norm 24,1:ffn_gate_inp? "
                    "24x4,1:ffn_gate_inp.scale 24,"
                    "1:pre_ffw_norm_2 24,1:post_ffw_norm_1 24,1:post_ffw_norm_2 24,1:ffn_gate_up_exps "
                    "24x20x4,"
                    "1:ffn_down_exps 10x24x4,1:ffn_down_exps.scale? 4",
        false},
    {0},
};

/* One tensor: an item of the list, of one of its layers. */
struct special_tensor {
    char name[128];
    uint64_t dims[3];
    uint32_t n_dims;
    bool optional;
};

/* The index-th tensor; false behind the last. */
static inline bool special_tensor(const struct special *s, int32_t index, struct special_tensor *out)
{
    char item[64];
    const char *dims;
    for (int32_t i = 0; dense_item(s->tensors, i, item, &dims, &out->optional); i++) {
        const char *name = strchr(item, ':') + 1;
        int32_t n = (int32_t)(name - item) - 1;
        if (index >= n) {
            index -= n;
            continue;
        }
        const char *suffix = strchr(name, '.') ? "" : ".weight";
        size_t len = strlen(name);
        len -= name[len - 1] == '.';
        if (*item == '-')
            snprintf(out->name, sizeof out->name, "%.*s%s", (int)len, name, suffix);
        else
            snprintf(out->name, sizeof out->name, "blk.%c.%.*s%s", item[index], (int)len, name, suffix);
        for (out->n_dims = 0; out->n_dims < 3;) {
            char *end;
            out->dims[out->n_dims++] = strtoull(dims, &end, 10);
            if (*end != 'x')
                break;
            dims = end + 1;
        }
        return true;
    }
    return false;
}

static inline int32_t special_tensors(const struct special *s)
{
    struct special_tensor t;
    int32_t n = 0;
    while (special_tensor(s, n, &t))
        n++;
    return n;
}

static inline void special_list(struct buf *b, const char *value, bool flags, const double *first)
{
    uint64_t n = 1;
    for (const char *p = value; *p && *p != ','; p++)
        n += *p == ';';
    dense_u32(b, GGUF_ARRAY);
    dense_u32(b, flags ? GGUF_BOOL : GGUF_INT32);
    dense_u64(b, n);
    for (uint64_t i = 0; i < n; i++, value = strchr(value, ';') ? strchr(value, ';') + 1 : value) {
        double number = i == 0 && first ? *first : atof(value);
        if (flags)
            buf_append_char(b, number != 0);
        else
            dense_u32(b, number >= 0 ? (uint32_t)number : 0xFFFFFFF0u);
    }
}

/* `number`: what to say instead, or NULL. */
static inline void special_value(struct buf *b, const char *value, const double *number)
{
    if (*value == 't') {
        char text[32];
        snprintf(text, sizeof text, "%.*s", (int)strcspn(value + 1, ","), value + 1);
        dense_u32(b, GGUF_STRING);
        dense_text(b, text);
    } else if (*value == 'b') {
        dense_u32(b, GGUF_BOOL);
        buf_append_char(b, (number ? *number : atof(value + 1)) != 0);
    } else if (*value == 'f') {
        float f = (float)(number ? *number : atof(value + 1));
        dense_u32(b, GGUF_FLOAT32);
        buf_append(b, &f, sizeof f);
    } else if (*value == '[' || *value == '(') {
        special_list(b, value + 1, *value == '(', number);
    } else {
        double n = number ? *number : atof(value);
        dense_u32(b, GGUF_UINT32);
        dense_u32(b, n >= 0 ? (uint32_t)n : 0xFFFFFFF0u);
    }
}

static inline uint64_t special_write_keys(
    struct buf *b, const struct special *s, const struct dense_fault *fault)
{
    uint64_t count = 1;
    char name[64], full[128];
    const char *value;
    bool optional;
    dense_text(b, "general.architecture");
    dense_u32(b, GGUF_STRING);
    dense_text(b, s->name);
    for (int32_t i = 0; dense_item(s->keys, i, name, &value, &optional); i++) {
        if (i == fault->drop_key)
            continue;
        snprintf(full, sizeof full, "%s.%s", s->name, name);
        dense_text(b, full);
        special_value(b, value, i == fault->key ? &fault->number : NULL);
        count++;
    }
    return count;
}

static inline uint64_t special_write_tensors(
    struct buf *infos, struct buf *data, const struct special *s, const struct dense_fault *fault)
{
    struct special_tensor t;
    struct rand_pcg rng;
    uint64_t count = 0;
    rand_pcg_seed(&rng, 7);
    for (int32_t i = 0; special_tensor(s, i, &t); i++) {
        if (i == fault->drop_tensor)
            continue;
        uint64_t floats = 1;
        dense_text(infos, t.name);
        dense_u32(infos, t.n_dims);
        for (uint32_t d = 0; d < t.n_dims; d++) {
            dense_u64(infos, t.dims[d]);
            floats *= t.dims[d];
        }
        dense_u32(infos, TENSOR_F32);
        dense_u64(infos, data->len);
        for (uint64_t j = 0; j < floats; j++) {
            float f = (float)(rand_pcg_double(&rng) * 2 - 1);
            f = t.n_dims == 1 ? 1 + f / 2 : f / 2;
            f = strstr(t.name, "ssm_a") && !strstr(t.name, "alpha") ? -f : f; /* states fade */
            buf_append(data, &f, sizeof f);
        }
        while (data->len % 32)
            buf_append_char(data, 0);
        count++;
    }
    return count;
}

/* The file's bytes, exactly as long as they are; free(). */
static inline char *special_model(const struct special *s, const struct dense_fault *fault, size_t *size)
{
    static const struct dense_fault sound = {.key = -1, .drop_key = -1, .drop_tensor = -1};
    struct buf pairs, infos, data, file;
    buf_init(&pairs, 1 << 20);
    buf_init(&infos, 1 << 20);
    buf_init(&data, 16 << 20);
    buf_init(&file, 32 << 20);
    uint64_t n_pairs = special_write_keys(&pairs, s, fault ? fault : &sound);
    uint64_t n_tensors = special_write_tensors(&infos, &data, s, fault ? fault : &sound);
    buf_append_text(&file, "GGUF");
    dense_u32(&file, 3);
    dense_u64(&file, n_tensors);
    dense_u64(&file, n_pairs);
    buf_append_str(&file, buf_str(&pairs));
    buf_append_str(&file, buf_str(&infos));
    while (file.len % 32)
        buf_append_char(&file, 0);
    buf_append_str(&file, buf_str(&data));
    char *bytes = malloc(file.len);
    if (!bytes || file.failed || data.failed)
        abort();
    memcpy(bytes, file.data, file.len);
    *size = file.len;
    buf_free(&pairs);
    buf_free(&infos);
    buf_free(&data);
    buf_free(&file);
    return bytes;
}

#endif

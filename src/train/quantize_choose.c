/* Which type a tensor gets. Its name tells its role; layers are counted in their order, not in the file's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/quantize.h"

static const struct quantize_mix mixes[] = {{"F32", TENSOR_F32, QUANTIZE_PLAIN, 0},
    {"F16", TENSOR_F16, QUANTIZE_PLAIN, 1}, {"BF16", TENSOR_BF16, QUANTIZE_PLAIN, 32},
    {"Q8_0", TENSOR_Q8_0, QUANTIZE_PLAIN, 7}, {"Q4_0", TENSOR_Q4_0, QUANTIZE_PLAIN, 2},
    {"Q4_1", TENSOR_Q4_1, QUANTIZE_PLAIN, 3}, {"Q5_0", TENSOR_Q5_0, QUANTIZE_PLAIN, 8},
    {"Q5_1", TENSOR_Q5_1, QUANTIZE_PLAIN, 9}, {"Q4_K_S", TENSOR_Q4_K, QUANTIZE_SMALL, 14},
    {"Q4_K_M", TENSOR_Q4_K, QUANTIZE_MEDIUM, 15}, {"Q4_K", TENSOR_Q4_K, QUANTIZE_MEDIUM, 15},
    {"Q5_K_S", TENSOR_Q5_K, QUANTIZE_PLAIN, 16}, {"Q5_K_M", TENSOR_Q5_K, QUANTIZE_MEDIUM, 17},
    {"Q5_K", TENSOR_Q5_K, QUANTIZE_MEDIUM, 17}, {"Q6_K", TENSOR_Q6_K, QUANTIZE_PLAIN, 18},
    {"IQ4_NL", TENSOR_IQ4_NL, QUANTIZE_CURVED, 25}, {"IQ4_XS", TENSOR_IQ4_XS, QUANTIZE_CURVED, 30}};

const struct quantize_mix *quantize_mix_find(const char *name)
{
    for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++)
        if (str_is_nocase(str_from(name), mixes[i].name))
            return &mixes[i];
    return NULL;
}

/* ---- What a tensor is ---- */
static bool has(struct str name, const char *part)
{
    return str_find(name, str_from(part)) != SIZE_MAX;
}

static bool has_any(struct str name, const char *const *parts)
{
    while (*parts && !has(name, *parts))
        parts++;
    return *parts != NULL;
}

/* Matrices that are small, or spoiled by few bits, stay as they are. */
static bool is_convertible(const struct tensor *t)
{
    static const char *const kept[] = {"_norm.weight", "ffn_gate_inp.weight", "altup", "laurel",
        "per_layer_model_proj", "ssm_conv1d", "shortconv.conv.weight", "time_mix_first.weight",
        "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight", "time_mix_v0.weight",
        "time_mix_v1.weight", "time_mix_v2.weight", "time_mix_a0.weight", "time_mix_a1.weight",
        "time_mix_a2.weight", "time_mix_g1.weight", "time_mix_g2.weight", "time_mix_decay_w1.weight",
        "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight", "attn_rel_b.weight", ".position_embd",
        "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd", ".patch_merger", NULL};
    return tensor_rows(t) > 1 && str_ends(t->name, STR("weight")) && !has_any(t->name, kept) &&
           !str_is(t->name, "position_embd.weight") && !str_is(t->name, "token_types.weight");
}

enum role { ROLE_OTHER, ROLE_OUTPUT, ROLE_EMBEDDING, ROLE_VALUES, ROLE_KEYS, ROLE_JOIN, ROLE_DOWN };

static enum role role_of(struct str name)
{
    static const char *const values[] = {"attn_qkv.weight", "attn_kv_b.weight", "attn_v.weight", NULL};
    if (str_is(name, "output.weight"))
        return ROLE_OUTPUT;
    if (str_is(name, "token_embd.weight") || str_is(name, "per_layer_token_embd.weight"))
        return ROLE_EMBEDDING;
    return has_any(name, values)                          ? ROLE_VALUES
           : has(name, "attn_k.weight")                   ? ROLE_KEYS
           : has(name, "attn_output.weight")              ? ROLE_JOIN
           : has(name, "ffn_up") || has(name, "ffn_gate") ? ROLE_OTHER
           : has(name, "ffn_down")                        ? ROLE_DOWN
                                                          : ROLE_OTHER;
}

/* "blk.N...." -> N; -1 outside the layers. */
static int layer_of(struct str name)
{
    int layer = 0;
    size_t i = 4;
    if (!str_starts(name, STR("blk.")))
        return -1;
    for (; i < name.len && name.data[i] >= '0' && name.data[i] <= '9' && layer < 100000; i++)
        layer = 10 * layer + (name.data[i] - '0');
    return i > 4 ? layer : -1;
}

/* ---- What its model is ---- */
struct chooser {
    const struct quantize_mix *mix;
    int layers, experts;
    int group;            /* heads that share a matrix of values */
    bool tied;            /* the embedding is the output, too */
    bool large;           /* eight heads share a matrix of values: it is small beside the rest */
    int n_values;         /* matrices of attention's values in the model */
    int i_values, i_down; /* so many came before */
};

/* A whole number of the architecture; `otherwise` where there is none. */
static int number(const struct gguf *g, struct str architecture, const char *name, int otherwise)
{
    char key[160];
    snprintf(key, sizeof key, "%.*s.%s", (int)(architecture.len < 100 ? architecture.len : 100),
        architecture.data, name);
    const struct gguf_pair *pair = gguf_find(g, key);
    const bool whole = pair && (pair->type == GGUF_UINT32 || pair->type == GGUF_INT32 ||
                                   pair->type == GGUF_UINT64 || pair->type == GGUF_UINT16);
    return whole && pair->u <= 1 << 20 ? (int)pair->u : otherwise;
}

static int chooser_init(
    struct chooser *c, const struct gguf *g, const struct quantize_mix *mix, struct error *err)
{
    struct str a;
    *c = (struct chooser){.mix = mix, .tied = true};
    int rc = gguf_get_str(g, "general.architecture", (struct str){0}, &a, err);
    if (rc == 0 && a.len == 0)
        rc = error_set(err, ERROR_INVALID, "it has no 'general.architecture': it is no model");
    if (rc)
        return rc;
    const int heads = number(g, a, "attention.head_count", 0);
    const int value_heads = number(g, a, "attention.head_count_kv", heads);
    c->layers = number(g, a, "block_count", 0) - number(g, a, "nextn_predict_layers", 0);
    c->experts = number(g, a, "expert_count", 0);
    c->group = value_heads > 0 ? heads / value_heads : 0;
    c->large = c->layers == 80 &&
               (str_is(a, "llama") ? value_heads != heads : str_is(a, "qwen2") || str_is(a, "olmo"));
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const enum role role = role_of(gguf_tensor_at(g, i)->name);
        c->tied = c->tied && role != ROLE_OUTPUT;
        c->n_values += role == ROLE_VALUES;
    }
    return 0;
}

/* ---- The choice ---- */

/* The first and last eighth of the layers, and every third between them. */
static bool is_worth_more(int i, int n)
{
    return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

static enum tensor_type values_type(struct chooser *c)
{
    const int i = c->i_values++;
    enum tensor_type type = c->mix->type;
    if (c->mix->extra == QUANTIZE_MEDIUM && is_worth_more(i, c->n_values))
        type = TENSOR_Q6_K;
    else if (c->mix->extra == QUANTIZE_SMALL && i < 4)
        type = TENSOR_Q5_K;
    else if (c->mix->extra == QUANTIZE_CURVED && c->group >= 4)
        type = TENSOR_Q5_K;
    if (c->large && type == TENSOR_Q4_K)
        type = TENSOR_Q5_K;
    return c->experts == 8 ? TENSOR_Q8_0 : type;
}

static enum tensor_type down_type(struct chooser *c, struct str name)
{
    const int count = c->i_down++, i = c->experts > 1 ? layer_of(name) : count;
    if (c->mix->extra == QUANTIZE_MEDIUM && is_worth_more(i, c->layers))
        return TENSOR_Q6_K;
    const bool first = c->mix->extra == QUANTIZE_SMALL || c->mix->extra == QUANTIZE_CURVED;
    return first && i < c->layers / 8 ? TENSOR_Q5_K : c->mix->type;
}

static bool is_whole(enum tensor_type type, const struct tensor *t)
{
    return t->shape[0] % tensor_type_info(type)->block_values == 0;
}

static enum tensor_type role_type(struct chooser *c, const struct tensor *t)
{
    const enum tensor_type type = c->mix->type;
    const enum role role = role_of(t->name);
    if (role == ROLE_OUTPUT || (role == ROLE_EMBEDDING && c->tied))
        return type == TENSOR_Q8_0 || !is_whole(type, t) ? TENSOR_Q8_0 : TENSOR_Q6_K;
    if (role == ROLE_VALUES)
        return values_type(c);
    if (role == ROLE_KEYS && c->experts == 8)
        return TENSOR_Q8_0;
    if (role == ROLE_DOWN)
        return down_type(c, t->name);
    const bool few = type == TENSOR_Q4_K || c->mix->extra == QUANTIZE_CURVED;
    return role == ROLE_JOIN && c->experts == 8 && few ? TENSOR_Q5_K : type;
}

/* A type that the rows are whole blocks of. */
static enum tensor_type fitting(enum tensor_type type, const struct tensor *t)
{
    if (!is_whole(type, t))
        type = type == TENSOR_Q4_K     ? TENSOR_Q5_0
               : type == TENSOR_Q5_K   ? TENSOR_Q5_1
               : type == TENSOR_Q6_K   ? TENSOR_Q8_0
               : type == TENSOR_IQ4_XS ? TENSOR_IQ4_NL
                                       : TENSOR_F16;
    return is_whole(type, t) ? type : TENSOR_F16;
}

struct place {
    int layer;
    struct str name;
    size_t index;
};

static int place_compare(const void *a, const void *b)
{
    const struct place *p = a, *q = b;
    if (p->layer != q->layer)
        return p->layer < q->layer ? -1 : 1;
    const size_t n = p->name.len < q->name.len ? p->name.len : q->name.len;
    const int order = memcmp(p->name.data, q->name.data, n);
    return order ? order : p->name.len < q->name.len ? -1 : p->name.len > q->name.len;
}

int quantize_choose(
    const struct gguf *g, const struct quantize_mix *mix, enum tensor_type *types, struct error *err)
{
    struct chooser c;
    const size_t n = gguf_n_tensors(g);
    int rc = chooser_init(&c, g, mix, err);
    struct place *places = rc ? NULL : malloc((n + 1) * sizeof *places);
    if (rc == 0 && !places)
        rc = error_set(err, ERROR_MEMORY, "no memory for %zu tensors", n);
    if (rc)
        return rc;
    for (size_t i = 0; i < n; i++) {
        const struct str name = gguf_tensor_at(g, i)->name;
        places[i] = (struct place){layer_of(name), name, i};
    }
    qsort(places, n, sizeof *places, place_compare);
    const bool plain = tensor_type_info(mix->type)->block_values == 1;
    for (size_t i = 0; i < n; i++) {
        const struct tensor *t = gguf_tensor_at(g, places[i].index);
        types[places[i].index] = !is_convertible(t) ? t->type
                                 : plain            ? mix->type
                                                    : fitting(role_type(&c, t), t);
    }
    free(places);
    return 0;
}

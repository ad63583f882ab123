/* Which type a tensor gets. Its name tells its role; layers are counted in their order, not in the file's. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/quantize.h"

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

enum role {
    ROLE_OTHER,
    ROLE_OUTPUT,
    ROLE_EMBEDDING,
    ROLE_VALUES,
    ROLE_KEYS,
    ROLE_QUERIES,
    ROLE_JOIN,
    ROLE_UP,
    ROLE_GATE,
    ROLE_DOWN
};

static enum role role_of(struct str name)
{
    static const char *const values[] = {"attn_qkv.weight", "attn_kv_b.weight", "attn_v.weight", NULL};
    if (str_is(name, "output.weight"))
        return ROLE_OUTPUT;
    if (str_is(name, "token_embd.weight") || str_is(name, "per_layer_token_embd.weight"))
        return ROLE_EMBEDDING;
    return has_any(name, values)             ? ROLE_VALUES
           : has(name, "attn_k.weight")      ? ROLE_KEYS
           : has(name, "attn_q.weight")      ? ROLE_QUERIES
           : has(name, "attn_output.weight") ? ROLE_JOIN
           : has(name, "ffn_up")             ? ROLE_UP
           : has(name, "ffn_gate")           ? ROLE_GATE
           : has(name, "ffn_down")           ? ROLE_DOWN
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
    const struct quantize_plan *plan;
    const struct quantize_mix *mix;
    pcre2_code **patterns; /* of the plan's overrides */
    int layers, experts;
    int group;    /* heads that share a matrix of values */
    bool tied;    /* the embedding is the output, too */
    bool large;   /* eight heads share a matrix of values: it is small beside the rest */
    int n_values; /* matrices of attention's values in the model */
    int i_values, i_down, i_up, i_gate; /* so many came before */
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

static int model_know(struct chooser *c, const struct gguf *g, struct error *err)
{
    struct str a;
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

static bool is_now(const struct chooser *c, enum quantize_when when)
{
    return when == QUANTIZE_ALWAYS || (when == QUANTIZE_WITH) == (c->plan->importance != NULL);
}

/* F32, which stands for nothing in the rules, gives way. */
static enum tensor_type or_else(enum tensor_type type, enum tensor_type otherwise)
{
    return type != TENSOR_F32 ? type : otherwise;
}

static enum tensor_type values_type(struct chooser *c)
{
    const struct quantize_rules *r = &c->mix->rules;
    const int i = c->i_values++;
    enum tensor_type type = is_now(c, r->values_when) ? or_else(r->values, c->mix->type) : c->mix->type;
    if (i < r->n_first)
        type = or_else(r->values_first, type);
    if (is_worth_more(i, c->n_values))
        type = or_else(r->more, type);
    if (c->group >= 4 || (r->tiny && c->experts >= 4))
        type = or_else(r->values_shared, type);
    if (r->tiny)
        return type;
    if (c->large && (type == TENSOR_Q4_K || type == TENSOR_Q3_K))
        type = TENSOR_Q5_K;
    return c->experts == 8 ? TENSOR_Q8_0 : type;
}

/* Matrices of experts do not stand in the layers' order. */
static int layer_at(const struct chooser *c, struct str name, int count)
{
    return c->experts > 1 && !c->mix->rules.tiny ? layer_of(name) : count;
}

static enum tensor_type down_type(struct chooser *c, struct str name)
{
    const struct quantize_rules *r = &c->mix->rules;
    const int i = layer_at(c, name, c->i_down++);
    const bool more = is_worth_more(i, c->layers);
    enum tensor_type type = c->mix->type;
    if (is_now(c, r->down_when)) {
        const bool first =
            (r->part > 0 && i < c->layers / r->part) || (more && c->experts == 8 && r->down_more_of_eight);
        type = first ? or_else(r->down_first, type) : or_else(r->down, type);
    }
    return more ? or_else(r->more, type) : type;
}

static enum tensor_type middle_type(struct chooser *c, struct str name, int *count)
{
    const int i = layer_at(c, name, (*count)++);
    const bool middle = i >= c->layers / 8 && i < 7 * c->layers / 8;
    return middle ? or_else(c->mix->rules.middle, c->mix->type) : c->mix->type;
}

static enum tensor_type join_type(const struct chooser *c)
{
    const struct quantize_rules *r = &c->mix->rules;
    if (c->experts == 8)
        return r->tiny || r->join_of_eight ? TENSOR_Q5_K : c->mix->type;
    return or_else(r->join, c->mix->type);
}

static enum tensor_type keys_type(const struct chooser *c)
{
    const struct quantize_rules *r = &c->mix->rules;
    if (c->experts == 8)
        return r->tiny ? TENSOR_Q4_K : TENSOR_Q8_0;
    return or_else(r->keys, c->mix->type);
}

static bool is_whole(enum tensor_type type, const struct tensor *t)
{
    return t->shape[0] % tensor_type_info(type)->block_values == 0;
}

static enum tensor_type output_type(const struct chooser *c, const struct tensor *t)
{
    if (c->plan->output != TENSOR_TYPES)
        return c->plan->output;
    if (c->mix->type == TENSOR_Q8_0 || !is_whole(c->mix->type, t))
        return TENSOR_Q8_0;
    return or_else(c->mix->rules.output, TENSOR_Q6_K);
}

static enum tensor_type role_type(struct chooser *c, const struct tensor *t)
{
    const struct quantize_rules *r = &c->mix->rules;
    const enum role role = role_of(t->name);
    if (role == ROLE_OUTPUT || (role == ROLE_EMBEDDING && c->tied))
        return output_type(c, t);
    if (r->experts_only)
        return t->shape[2] > 1 ? c->mix->type : TENSOR_Q8_0;
    switch (role) {
    case ROLE_EMBEDDING:
        return or_else(r->embedding, c->mix->type);
    case ROLE_VALUES:
        return values_type(c);
    case ROLE_KEYS:
        return keys_type(c);
    case ROLE_QUERIES:
        return or_else(r->queries, c->mix->type);
    case ROLE_JOIN:
        return join_type(c);
    case ROLE_DOWN:
        return down_type(c, t->name);
    case ROLE_UP:
        return middle_type(c, t->name, &c->i_up);
    case ROLE_GATE:
        return middle_type(c, t->name, &c->i_gate);
    default:
        return c->mix->type;
    }
}

/* A type that the rows are whole blocks of. */
static enum tensor_type fitting(enum tensor_type type, const struct tensor *t)
{
    if (!is_whole(type, t))
        switch (type) {
        case TENSOR_Q2_K:
        case TENSOR_Q3_K:
        case TENSOR_TQ1_0:
        case TENSOR_TQ2_0:
            type = TENSOR_Q4_0;
            break;
        case TENSOR_Q4_K:
            type = TENSOR_Q5_0;
            break;
        case TENSOR_Q5_K:
            type = TENSOR_Q5_1;
            break;
        case TENSOR_Q6_K:
            type = TENSOR_Q8_0;
            break;
        default: /* the IQ types; those of 32 fall through to F16 */
            type = tensor_type_info(type)->block_values == 256 ? TENSOR_IQ4_NL : TENSOR_F16;
        }
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

/* ---- What was asked for by name ---- */
static int patterns_compile(struct chooser *c, struct error *err)
{
    const struct quantize_plan *p = c->plan;
    c->patterns = calloc(p->n_overrides + 1, sizeof(pcre2_code *));
    if (!c->patterns)
        return error_set(err, ERROR_MEMORY, "no memory for %zu patterns", p->n_overrides);
    for (size_t i = 0; i < p->n_overrides; i++) {
        int code;
        size_t at;
        PCRE2_UCHAR why[128];
        c->patterns[i] = pcre2_compile(
            (PCRE2_SPTR)p->overrides[i].pattern, PCRE2_ZERO_TERMINATED, PCRE2_CASELESS, &code, &at, NULL);
        if (c->patterns[i])
            continue;
        pcre2_get_error_message(code, why, sizeof why);
        return error_set(err, ERROR_INVALID, "the pattern '%s' cannot be read at %zu: %s",
            p->overrides[i].pattern, at, (const char *)why);
    }
    return 0;
}

/* TENSOR_TYPES: by no pattern. */
static enum tensor_type overridden(const struct chooser *c, const struct tensor *t)
{
    enum tensor_type type = TENSOR_TYPES;
    for (size_t i = 0; i < c->plan->n_overrides && type == TENSOR_TYPES; i++) {
        pcre2_match_data *match = pcre2_match_data_create_from_pattern(c->patterns[i], NULL);
        if (match &&
            pcre2_match(c->patterns[i], (PCRE2_SPTR)t->name.data, t->name.len, 0, 0, match, NULL) >= 0)
            type = c->plan->overrides[i].type;
        pcre2_match_data_free(match);
    }
    return type;
}

static enum tensor_type type_of(struct chooser *c, const struct tensor *t)
{
    const bool plain = tensor_type_info(c->mix->type)->block_values == 1;
    const enum role role = role_of(t->name);
    if (!is_convertible(t))
        return t->type;
    if (role == ROLE_EMBEDDING && c->plan->embedding != TENSOR_TYPES)
        return fitting(c->plan->embedding, t);
    if (role == ROLE_OUTPUT && c->plan->output != TENSOR_TYPES)
        return fitting(c->plan->output, t);
    const enum tensor_type asked = overridden(c, t);
    if (asked != TENSOR_TYPES)
        return fitting(asked, t);
    return plain ? c->mix->type : fitting(c->plan->pure ? c->mix->type : role_type(c, t), t);
}

/* ---- What has to be there ---- */

/* What comes out without importance would be noise. */
static bool needs_importance(const struct chooser *c, const struct tensor *t, enum tensor_type type)
{
    const enum role role = role_of(t->name);
    if (role == ROLE_OUTPUT || role == ROLE_EMBEDDING || type == t->type)
        return false;
    switch (type) {
    case TENSOR_IQ3_XXS:
    case TENSOR_IQ2_XXS:
    case TENSOR_IQ2_XS:
    case TENSOR_IQ2_S:
    case TENSOR_IQ1_M:
    case TENSOR_IQ1_S:
        return true;
    case TENSOR_Q2_K:
        return c->mix->rules.weighed;
    default:
        return false;
    }
}

/* `found`: counts matrices that the importance matrix speaks of. */
static int importance_check(
    const struct chooser *c, const struct tensor *t, enum tensor_type type, size_t *found, struct error *err)
{
    const struct imatrix *m = c->plan->importance;
    const struct imatrix_entry *e = m ? imatrix_find(m, t->name) : NULL;
    *found += e != NULL;
    if (e && e->n_values != t->shape[0] * t->shape[2] && role_of(t->name) != ROLE_EMBEDDING)
        return error_set(err, ERROR_INVALID,
            "the importance matrix has %lld figures for '" STR_FMT
            "', which needs %lld: it is of another model",
            (long long)e->n_values, STR_ARG(t->name), (long long)(t->shape[0] * t->shape[2]));
    if (!e && needs_importance(c, t, type))
        return error_set(err, ERROR_INVALID,
            "'" STR_FMT
            "' as %s would be noise without importance: make it with weir imatrix and give it to weir "
            "quantize with --imatrix",
            STR_ARG(t->name), tensor_type_info(type)->name);
    return 0;
}

static int plan_check(
    const struct chooser *c, const struct gguf *g, const enum tensor_type *types, struct error *err)
{
    size_t found = 0;
    int rc = 0;
    for (size_t i = 0; i < gguf_n_tensors(g) && rc == 0; i++)
        rc = importance_check(c, gguf_tensor_at(g, i), types[i], &found, err);
    if (rc == 0 && c->plan->importance && found == 0)
        rc = error_set(err, ERROR_INVALID,
            "the importance matrix knows none of the model's matrices: it is of another model");
    return rc;
}

static int places_sort(const struct gguf *g, struct place **out, struct error *err)
{
    const size_t n = gguf_n_tensors(g);
    *out = malloc((n + 1) * sizeof **out);
    if (!*out)
        return error_set(err, ERROR_MEMORY, "no memory for %zu tensors", n);
    for (size_t i = 0; i < n; i++) {
        const struct str name = gguf_tensor_at(g, i)->name;
        (*out)[i] = (struct place){layer_of(name), name, i};
    }
    qsort(*out, n, sizeof **out, place_compare);
    return 0;
}

int quantize_choose_by(
    const struct gguf *g, const struct quantize_plan *plan, enum tensor_type *types, struct error *err)
{
    struct chooser c = {.plan = plan, .mix = plan->mix, .tied = true};
    struct place *places = NULL;
    int rc = model_know(&c, g, err);
    rc = rc ? rc : patterns_compile(&c, err);
    rc = rc ? rc : places_sort(g, &places, err);
    for (size_t i = 0; rc == 0 && i < gguf_n_tensors(g); i++)
        types[places[i].index] = type_of(&c, gguf_tensor_at(g, places[i].index));
    rc = rc || plan->dry ? rc : plan_check(&c, g, types, err);
    for (size_t i = 0; c.patterns && i < plan->n_overrides; i++)
        pcre2_code_free(c.patterns[i]);
    free(c.patterns);
    free(places);
    return rc;
}

int quantize_choose(
    const struct gguf *g, const struct quantize_mix *mix, enum tensor_type *types, struct error *err)
{
    const struct quantize_plan plan = quantize_plan_of(mix);
    return quantize_choose_by(g, &plan, types, err);
}

#include "train/hf/arch.h"

#include <stdio.h>
#include <string.h>

const struct hf_arch *hf_arch_find(struct str hf)
{
    for (const struct hf_arch *a = hf_archs; a->hf; a++)
        if (str_is(hf, a->hf))
            return a;
    return NULL;
}

const struct hf_arch *hf_arch_of(struct str gguf, struct hf_signs signs)
{
    for (const struct hf_arch *a = hf_archs; a->hf; a++)
        if (str_is(gguf, a->gguf) && a->mixture == signs.mixture &&
            a->windows_listed == signs.windows_listed && a->sigmoid == signs.sigmoid)
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

bool hf_takes_adapter(const struct hf_part *part)
{
    const int other = HF_NAMED | HF_ALL_EXPERTS | HF_ALL_HEADS | HF_UPPER | HF_LOWER | HF_EVEN | HF_ODD |
                      HF_ACROSS | HF_CHANNELS;
    const bool dealt = part->change == HF_DEAL_ROWS || part->change == HF_DEAL_LAST_ROWS ||
                       part->change == HF_DEAL_COLUMNS || part->change == HF_DEAL_RATES;
    return part->rows != HF_NONE && !(part->flags & other) && !dealt;
}

bool hf_is_table(const struct hf_part *part)
{
    return strcmp(part->gguf, "token_embd") == 0;
}

void hf_arch_names(struct buf *out)
{
    enum { WIDTH = 110 };
    size_t line = 0;
    for (const struct hf_arch *a = hf_archs; a->hf; a++) {
        const size_t n = strlen(a->hf);
        if (a != hf_archs) {
            buf_append_text(out, line + n > WIDTH ? ",\n" : ", ");
            line = line + n > WIDTH ? 0 : line + 2;
        }
        buf_append_text(out, a->hf);
        line += n;
    }
}

/* ---- Sizes, parts and names ---- */
int64_t hf_size(const struct hf_shape *s, enum hf_size size)
{
    const int64_t expert_ff = s->expert_ff ? s->expert_ff : s->ff;
    const int64_t sizes[] = {[HF_EMBED] = s->embed,
        [HF_QUERIES] = s->heads * s->head,
        [HF_KEYS] = s->kv_heads * s->head,
        [HF_QKV] = (s->heads + 2 * s->kv_heads) * s->head,
        [HF_HEAD] = s->head,
        [HF_FF] = s->ff,
        [HF_FF_TWICE] = 2 * s->ff,
        [HF_VOCAB] = s->vocab,
        [HF_EXPERTS] = s->experts,
        [HF_EXPERT_FF] = expert_ff,
        [HF_SHARED_FF] = s->shared_ff,
        [HF_HEADS] = s->heads,
        [HF_KEY_HEADS] = s->kv_heads,
        [HF_EMBED_THRICE] = 3 * s->embed,
        [HF_CONV_INPUTS] = s->conv,
        [HF_Q_RANK] = s->q_rank,
        [HF_LATENT] = s->latent,
        [HF_LATENT_ROTATED] = s->latent + s->rotated,
        [HF_PLAIN] = s->head - s->rotated,
        [HF_VALUE] = s->value,
        [HF_VALUES] = s->heads * s->value,
        [HF_QUERIES_TWICE] = 2 * s->heads * s->head,
        [HF_LINEAR_ALL] = 2 * s->linear_keys * s->linear_key + s->linear_values * s->linear_value,
        [HF_LINEAR_INNER] = s->linear_values * s->linear_value,
        [HF_LINEAR_VALUES] = s->linear_values,
        [HF_LINEAR_VALUE] = s->linear_value,
        [HF_WIDE] = s->wide,
        [HF_WIDE_QUERIES] = s->heads * s->wide,
        [HF_WIDE_KEYS] = s->wide_kv * s->wide,
        [HF_OWN] = s->own,
        [HF_OWN_ALL] = s->layers * s->own,
        [HF_EXPERT_FF_TWICE] = 2 * expert_ff,
        [HF_EMBED_TWICE] = 2 * s->embed,
        [HF_NONE] = 1,
        [HF_ONE] = 1};
    return sizes[size];
}

int64_t *hf_shape_field(struct hf_shape *s, const char *gguf)
{
    const struct {
        const char *key;
        int64_t *field;
    } fields[] = {{"expert_count", &s->experts}, {"expert_feed_forward_length", &s->expert_ff},
        {"expert_shared_feed_forward_length", &s->shared_ff}, {"expert_shared_count", &s->shared},
        {"leading_dense_block_count", &s->dense}, {"shortconv.l_cache", &s->conv},
        {"attention.q_lora_rank", &s->q_rank}, {"attention.kv_lora_rank", &s->latent},
        {"rope.dimension_count", &s->rotated}, {"attention.value_length_mla", &s->value},
        {"ssm.conv_kernel", &s->conv}, {"ssm.state_size", &s->linear_key},
        {"ssm.group_count", &s->linear_keys}, {"ssm.time_step_rank", &s->linear_values},
        {"ssm.inner_size", &s->linear_value}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (strcmp(gguf, fields[i].key) == 0)
            return fields[i].field;
    return NULL;
}

int hf_shape_complete(struct hf_shape *s, struct error *err)
{
    if (s->shared > 0 && s->shared_ff == 0)
        s->shared_ff = s->shared * s->expert_ff;
    if (s->linear_keys > 0 && s->linear_values % s->linear_keys != 0)
        return error_set(err, ERROR_INVALID, "the model's %lld heads of values share no %lld of keys evenly",
            (long long)s->linear_values, (long long)s->linear_keys);
    return 0;
}

/* ---- Views ---- */
struct hf_view hf_view_plain(int64_t hf_rows, int64_t hf_columns, bool across)
{
    return (struct hf_view){1, hf_rows, hf_columns, {0, 1, hf_rows}, {0, 1, hf_columns}, across};
}

struct hf_view hf_view_of(const struct hf_part *part, const struct hf_shape *s, bool bias)
{
    const bool vector = bias || part->rows == HF_NONE, across = part->flags & HF_ACROSS;
    const int64_t rows = hf_size(s, vector && !bias ? part->columns : part->rows),
                  columns = vector ? 1 : hf_size(s, part->columns);
    struct hf_view v = hf_view_plain(across ? columns : rows, across ? rows : columns, across);
    if (part->flags & (HF_EACH_EXPERT | HF_ALL_EXPERTS))
        v.stacks = s->experts;
    if (part->flags & HF_ALL_HEADS)
        v.stacks = s->heads;
    if (part->flags & (HF_UPPER | HF_LOWER)) {
        const int64_t beside = part->beside == HF_NONE ? v.hf_rows : hf_size(s, part->beside);
        v.hf_rows += beside;
        v.down.first = part->flags & HF_LOWER ? beside : 0;
    }
    if (part->flags & (HF_EVEN | HF_ODD)) {
        struct hf_span *span = across ? &v.right : &v.down;
        *(across ? &v.hf_columns : &v.hf_rows) *= 2;
        span->step = 2;
        span->first = part->flags & HF_ODD ? 1 : 0;
    }
    return v;
}

int64_t hf_view_rows(const struct hf_view *v)
{
    return v->across ? v->right.count : v->down.count;
}

int64_t hf_view_columns(const struct hf_view *v)
{
    return v->across ? v->down.count : v->right.count;
}

static int each_of(const struct hf_part *parts, int64_t layer, hf_part_fn *fn, void *ctx, struct error *err)
{
    int rc = 0;
    for (const struct hf_part *p = parts; p->hf && rc == 0; p++) {
        rc = fn(ctx, p, layer, false, err);
        if (rc == 0 && p->flags & (HF_MAY_BIAS | HF_MUST_BIAS))
            rc = fn(ctx, p, layer, true, err);
    }
    return rc;
}

static bool layer_has(const struct hf_shape *s, int64_t layer, enum hf_layers which)
{
    if (layer < 0)
        return which == HF_ENDS_OWNING && s->own > 0;
    const bool mixed = s->experts > 0 && layer >= s->dense, reading = layer >= s->layers - s->sharing,
               local = s->other[layer];
    switch (which) {
    case HF_DENSE:
        return !mixed;
    case HF_MIXED:
        return mixed;
    case HF_ATTENDING:
        return !s->other[layer];
    case HF_OTHERWISE:
        return s->other[layer];
    case HF_SHARING:
        return mixed && s->shared_ff > 0;
    case HF_QUERIES_LOW:
        return s->q_rank > 0;
    case HF_QUERIES_FULL:
        return s->q_rank == 0;
    case HF_KEEPING:
        return local && !reading;
    case HF_KEEPING_WIDE:
        return !local && !reading;
    case HF_KEEPING_VALUES:
        return !local && !reading && !s->keyed;
    case HF_READING:
        return local && reading;
    case HF_READING_WIDE:
        return !local && reading;
    case HF_SINGLE:
        return !(s->doubled && reading);
    case HF_DOUBLE:
        return s->doubled && reading;
    case HF_OWNING:
        return s->own > 0;
    case HF_ENDS_OWNING:
        return false;
    case HF_AHEAD:
        return layer >= s->layers;
    }
    return false;
}

int hf_each_part(
    const struct hf_arch *a, const struct hf_shape *s, hf_part_fn *fn, void *ctx, struct error *err)
{
    int rc = 0;
    for (int64_t i = -1; i < s->layers + s->ahead && rc == 0; i++) { /* -1: outside them */
        for (const struct hf_part *const *list = i < 0 ? a->ends : a->blocks; *list && rc == 0; list++)
            rc = each_of(*list, i, fn, ctx, err);
        for (const struct hf_some *some = a->some; some && some->parts && rc == 0; some++)
            if (layer_has(s, i, some->layers))
                rc = each_of(some->parts, i, fn, ctx, err);
    }
    return rc;
}

static const char *suffix_of(const struct hf_part *part, bool bias)
{
    return part->flags & HF_NAMED ? "" : bias ? ".bias" : ".weight";
}

void hf_name(const struct hf_shape *s, const struct hf_part *part, int64_t layer, int64_t expert, bool bias,
    char out[HF_NAME_MAX])
{
    const bool apart = s->apart && layer >= s->layers;
    int n = 0;
    if (layer >= 0 && !(part->flags & HF_OUTSIDE))
        n = snprintf(out, HF_NAME_MAX, apart ? "mtp.layers.%d." : "model.layers.%d.",
            (int)(apart ? layer - s->layers : layer));
    const struct str name = str_from(part->hf);
    const size_t hole = part->flags & HF_EACH_EXPERT ? str_find_char(name, '%') : name.len;
    n += snprintf(out + n, HF_NAME_MAX - (size_t)n, "%.*s", (int)hole, part->hf);
    if (hole < name.len)
        n += snprintf(out + n, HF_NAME_MAX - (size_t)n, "%d%s", (int)expert, part->hf + hole + 2);
    snprintf(out + n, HF_NAME_MAX - (size_t)n, "%s", suffix_of(part, bias));
}

void hf_gguf_name(const struct hf_part *part, int64_t layer, bool bias, char out[HF_NAME_MAX])
{
    int n = layer < 0 ? 0 : snprintf(out, HF_NAME_MAX, "blk.%d.", (int)layer);
    snprintf(out + n, HF_NAME_MAX - (size_t)n, "%s%s", part->gguf, suffix_of(part, bias));
}

/* How positions turn: rope_theta, rope_scaling (or rope_parameters) and the keys and tensors of a file. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "engine/worker/model_loader.h"
#include "train/hf/config.h"

void hf_llama3_factors(const struct hf_llama3 *how, int64_t n_rotated, float *to)
{
    const double longest = how->original / how->low, shortest = how->original / how->high;
    for (int64_t i = 0; i < n_rotated / 2; i++) {
        const double wave = 2 * M_PI * pow(how->base, 2.0 * (double)i / (double)n_rotated);
        const double smooth = (how->original / wave - how->low) / (how->high - how->low);
        const double factor = wave < shortest  ? 1
                              : wave > longest ? how->factor
                                               : 1 / ((1 - smooth) / how->factor + smooth);
        to[i] = (float)factor;
    }
}

/* ---- To a file ---- */
struct positions {
    struct hf_config *c;
    const struct json_item *how; /* NULL: plain */
    int64_t rotated;
    double base;
    struct gguf_writer *w;
};

float *hf_made_add(struct hf_config *c, const char *name, int64_t n)
{
    float *values = arena_alloc(c->arena, (size_t)n * sizeof *values);
    c->made[c->n_made++] = (struct hf_made){name, values, n};
    return values;
}

static int linear_write(const struct positions *p, struct error *err)
{
    char key[HF_KEY_MAX];
    double factor;
    int rc = hf_number(p->how, "factor", (double)NAN, 1e-3, 1e6, &factor, err);
    if (rc)
        return rc;
    gguf_write_str(p->w, hf_key(p->c->arch, "rope.scaling.type", key), STR("linear"));
    gguf_write_f32(p->w, hf_key(p->c->arch, "rope.scaling.factor", key), (float)factor);
    return 0;
}

/* The positions that the model was first trained on; what divides by the logarithm of 1 is none. */
static int original_read(const struct positions *p, double fallback, double *out, struct error *err)
{
    static const char name[] = "original_max_position_embeddings";
    return hf_number(hf_given(p->how, name) ? p->how : p->c->root, name, fallback, 2, INT32_MAX, out, err);
}

static int llama3_write(const struct positions *p, struct error *err)
{
    struct hf_llama3 how = {.base = p->base};
    int rc = hf_number(p->how, "factor", 8, 1e-3, 1e6, &how.factor, err);
    rc = rc ? rc : hf_number(p->how, "low_freq_factor", 1, 1e-6, 1e6, &how.low, err);
    rc = rc ? rc : hf_number(p->how, "high_freq_factor", 4, 1e-6, 1e6, &how.high, err);
    rc = rc ? rc : original_read(p, 8192, &how.original, err);
    if (rc == 0 && how.high <= how.low)
        rc = error_set(
            err, ERROR_INVALID, "config.json's 'high_freq_factor' is not larger than 'low_freq_factor'");
    if (rc == 0)
        hf_llama3_factors(&how, p->rotated, hf_made_add(p->c, "rope_freqs.weight", p->rotated / 2));
    return rc;
}

/* What a file cannot say is refused. */
static int yarn_check(const struct positions *p, struct error *err)
{
    const struct hf_arch *a = p->c->arch;
    const struct json_item *truncate = hf_given(p->how, "truncate");
    const char *unknown = truncate && (truncate->kind == JSON_ITEM_FALSE) != a->untruncated ? "truncate"
                          : a->yarn_multiplier != 0                                         ? NULL
                          : hf_given(p->how, "mscale")                                      ? "mscale"
                          : hf_given(p->how, "mscale_all_dim")                              ? "mscale_all_dim"
                                                                                            : NULL;
    double scale, all;
    if (unknown)
        return error_set(err, ERROR_UNSUPPORTED,
            "config.json's YaRN has '%s', which a GGUF file of '%s' cannot say", unknown, a->gguf);
    int rc = hf_number(p->how, "mscale", 0, 0, 1e3, &scale, err);
    rc = rc ? rc : hf_number(p->how, "mscale_all_dim", 0, 0, 1e3, &all, err);
    if (rc == 0 && scale != all)
        rc = error_set(err, ERROR_UNSUPPORTED,
            "config.json's YaRN has an 'mscale' of %g and an 'mscale_all_dim' of %g: a GGUF file cannot say "
            "two",
            scale, all);
    return rc;
}

/* How it sharpens attention: by its stretch, and past the positions of the first training. */
static int sharpness_write(const struct positions *p, struct error *err)
{
    const struct hf_arch *a = p->c->arch;
    char key[HF_KEY_MAX];
    double all, slope;
    int rc = hf_number(p->how, "mscale_all_dim", 0, 0, 1e3, &all, err);
    rc = rc ? rc : hf_number(p->how, "llama_4_scaling_beta", 0, 0, 1e3, &slope, err);
    if (rc == 0 && a->yarn_multiplier != 0 && all != 0)
        gguf_write_f32(
            p->w, hf_key(a, "rope.scaling.yarn_log_multiplier", key), (float)(a->yarn_multiplier * all));
    if (rc == 0 && slope != 0)
        gguf_write_f32(p->w, hf_key(a, "attention.temperature_scale", key), (float)slope);
    return rc;
}

static int yarn_write(const struct positions *p, struct error *err)
{
    const struct hf_arch *a = p->c->arch;
    char key[HF_KEY_MAX];
    double factor, original, context, attention, fast, slow;
    int rc = yarn_check(p, err);
    rc = rc ? rc : hf_number(p->how, "factor", (double)NAN, 1e-3, 1e6, &factor, err);
    rc = rc ? rc : hf_number(p->c->root, "max_position_embeddings", (double)NAN, 1, INT32_MAX, &context, err);
    rc = rc ? rc : original_read(p, context, &original, err);
    rc = rc ? rc : hf_number(p->how, "attention_factor", 0, 0, 1e6, &attention, err);
    rc = rc ? rc : hf_number(p->how, "beta_fast", 32, 1e-6, 1e6, &fast, err);
    rc = rc ? rc : hf_number(p->how, "beta_slow", 1, 1e-6, 1e6, &slow, err);
    if (rc)
        return rc;
    gguf_write_str(p->w, hf_key(a, "rope.scaling.type", key), STR("yarn"));
    gguf_write_f32(p->w, hf_key(a, "rope.scaling.factor", key), (float)factor);
    gguf_write_u32(p->w, hf_key(a, "rope.scaling.original_context_length", key), (uint32_t)original);
    /* The file's factor comes on top of what YaRN itself prescribes. */
    if (attention > 0)
        gguf_write_f32(p->w, hf_key(a, "rope.scaling.yarn_attn_factor", key),
            (float)(attention / (1 + 0.1 * log(fmax(factor, 1)))));
    gguf_write_f32(p->w, hf_key(a, "rope.scaling.yarn_beta_fast", key), (float)fast);
    gguf_write_f32(p->w, hf_key(a, "rope.scaling.yarn_beta_slow", key), (float)slow);
    return sharpness_write(p, err);
}

static int factors_read(const struct positions *p, const char *name, const char *tensor, struct error *err)
{
    const struct json_item *list = hf_given(p->how, name);
    if (json_item_length(list) != (size_t)(p->rotated / 2))
        return error_set(err, ERROR_INVALID, "config.json's '%s' lists %zu numbers, not %lld", name,
            json_item_length(list), (long long)(p->rotated / 2));
    float *to = hf_made_add(p->c, tensor, p->rotated / 2);
    json_item_each(n, list) {
        double value;
        if (!json_item_double(n, &value) || value <= 0 || value > 1e9)
            return error_set(err, ERROR_INVALID, "config.json's '%s' holds what is no factor", name);
        *to++ = (float)value;
    }
    return 0;
}

static int longrope_write(const struct positions *p, struct error *err)
{
    char key[HF_KEY_MAX];
    double original, context, attention;
    if (!p->c->arch->longrope)
        return error_set(err, ERROR_UNSUPPORTED,
            "config.json scales positions by two lists of factors, which '%s' cannot here", p->c->arch->gguf);
    int rc = hf_number(p->c->root, "max_position_embeddings", (double)NAN, 1, INT32_MAX, &context, err);
    rc = rc ? rc : original_read(p, (double)NAN, &original, err);
    rc = rc ? rc : hf_number(p->how, "attention_factor", 0, 0, 1e6, &attention, err);
    rc = rc ? rc : factors_read(p, "long_factor", "rope_factors_long.weight", err);
    rc = rc ? rc : factors_read(p, "short_factor", "rope_factors_short.weight", err);
    if (rc)
        return rc;
    if (attention == 0)
        attention = context > original ? sqrt(1 + log(context / original) / log(original)) : 1;
    gguf_write_u32(p->w, hf_key(p->c->arch, "rope.scaling.original_context_length", key), (uint32_t)original);
    gguf_write_f32(p->w, hf_key(p->c->arch, "rope.scaling.attn_factor", key), (float)attention);
    return 0;
}

static int scaling_write(const struct positions *p, struct error *err)
{
    static const struct {
        const char *name;
        int (*write)(const struct positions *p, struct error *err);
    } known[] = {{"linear", linear_write}, {"llama3", llama3_write}, {"yarn", yarn_write},
        {"longrope", longrope_write}, {"su", longrope_write}};
    struct str type = json_item_text(p->how, "rope_type");
    if (type.len == 0)
        type = json_item_text(p->how, "type");
    if (type.len == 0 || str_is(type, "default"))
        return 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (str_is(type, known[i].name))
            return known[i].write(p, err);
    return error_set(err, ERROR_UNSUPPORTED,
        "config.json scales positions by '" STR_FMT "': default, linear, llama3, yarn and longrope are known",
        STR_ARG(str_slice(type, 0, 60)));
}

static int rotated_read(struct positions *p, struct error *err)
{
    const struct json_item *root = p->c->root;
    const struct hf_arch *a = p->c->arch;
    double share;
    int rc = hf_number(root, "rotary_pct", a->rotated, 0, 1, &share, err);
    rc = rc ? rc : hf_number(root, "partial_rotary_factor", share, 0, 1, &share, err);
    rc = rc ? rc : hf_number(p->how, "partial_rotary_factor", share, 0, 1, &share, err);
    p->rotated = a->latent ? p->c->shape.rotated : (int64_t)(share * (double)p->c->shape.head);
    if (rc == 0 && (p->rotated < 2 || p->rotated % 2 != 0))
        rc = error_set(err, ERROR_INVALID,
            "config.json's 'partial_rotary_factor' of %g leaves no pairs to rotate", share);
    if (rc == 0 && share < 1 && hf_arch_turns(a))
        rc = error_set(err, ERROR_UNSUPPORTED,
            "config.json's 'partial_rotary_factor' is %g: '%s' rotates whole heads", share, a->gguf);
    return rc;
}

/* Which pairs turn by time, height and width, where there is more to see than text. */
static int sections_write(const struct positions *p, struct error *err)
{
    char key[HF_KEY_MAX];
    int32_t sections[4] = {11, 11, 10, 0}; /* those of all that were published */
    const struct json_item *list = hf_given(p->how, "mrope_section");
    size_t n = 0;
    if (list && json_item_length(list) > 4)
        return error_set(err, ERROR_INVALID, "config.json's 'mrope_section' has more than 4 numbers");
    json_item_each(item, list) {
        int64_t value;
        if (!json_item_int(item, &value) || value < 0 || value > MODEL_HEAD_WIDTH_MAX)
            return error_set(err, ERROR_INVALID, "config.json's 'mrope_section' holds what is no width");
        sections[n++] = (int32_t)value;
    }
    gguf_write_array(p->w, hf_key(p->c->arch, "rope.dimension_sections", key), GGUF_INT32, sections, 4);
    return 0;
}

int hf_rope_write(struct hf_config *c, struct gguf_writer *w, struct error *err)
{
    const struct json_item *named = hf_given(c->root, "rope_parameters");
    const struct json_item *by_kind = hf_given(named, "full_attention"),
                           *local = hf_given(named, "sliding_attention");
    struct positions p = {.c = c,
        .how = by_kind ? by_kind
               : named ? named
                       : hf_given(c->root, "rope_scaling"),
        .w = w};
    char key[HF_KEY_MAX];
    double local_base;
    int rc = rotated_read(&p, err);
    rc = rc ? rc
            : hf_number(hf_given(p.how, "rope_theta") ? p.how : c->root, "rope_theta", c->arch->rope_base,
                  1e-3, 1e15, &p.base, err);
    rc = rc ? rc
            : hf_number(local ? local : c->root, local ? "rope_theta" : "rope_local_base_freq", 0, 1e-3, 1e15,
                  &local_base, err);
    if (rc)
        return rc;
    rc = c->arch->interval ? sections_write(&p, err) : 0;
    if (rc)
        return rc;
    if (!c->arch->latent) /* which has a key for it */
        gguf_write_u32(w, hf_key(c->arch, "rope.dimension_count", key), (uint32_t)p.rotated);
    gguf_write_f32(w, hf_key(c->arch, "rope.freq_base", key), (float)p.base);
    if (local_base > 0 && c->arch->window_period > 0)
        gguf_write_f32(w, hf_key(c->arch, "rope.freq_base_swa", key), (float)local_base);
    return scaling_write(&p, err);
}

/* rope.* of a file to config.json's rope_theta and rope_scaling. */
#include <math.h>
#include <string.h>

#include "train/hf/config.h"

/* Keys of a file, read with what stands for them where they are missing. */
static int real(const struct gguf *g, const struct hf_arch *a, const char *name, float fallback, double *out,
    struct error *err)
{
    char key[HF_KEY_MAX];
    float value;
    int rc = gguf_get_f32(g, hf_key(a, name, key), fallback, &value, err);
    *out = (double)value;
    return rc;
}

static int whole(const struct gguf *g, const struct hf_arch *a, const char *name, int64_t fallback,
    uint32_t *out, struct error *err)
{
    char key[HF_KEY_MAX];
    return gguf_get_u32(g, hf_key(a, name, key), (uint32_t)fallback, out, err);
}

static void number_make(struct json_writer *w, const char *key, double value)
{
    json_key_str(w, str_from(key));
    hf_write_float(w, (float)value);
}

static void kind_make(struct json_writer *w, const char *kind)
{
    json_key(w, "rope_scaling");
    json_object_begin(w);
    json_key(w, "rope_type");
    json_write_text(w, kind);
}

/* The figures whose factors are those of the file: the published ones are tried. */
static int llama3_make(
    const struct tensor *t, double base, uint32_t rotated, struct json_writer *w, struct error *err)
{
    enum { HALF_MAX = 2048 };
    float wanted[HALF_MAX], got[HALF_MAX], most = 0;
    const int64_t n = rotated / 2;
    if (n > HALF_MAX || t->shape[0] != n || tensor_rows(t) != 1)
        return error_set(err, ERROR_INVALID, "'rope_freqs.weight' has not a value for each pair of a head");
    int rc = tensor_dequantize(t->type, t->data, wanted, n, err);
    for (int64_t i = 0; i < n && rc == 0; i++)
        most = wanted[i] > most ? wanted[i] : most;
    for (int64_t original = 16; original <= 1 << 24 && rc == 0; original *= 2) {
        const struct hf_llama3 how = {base, (double)most, 1, 4, (double)original};
        bool same = true;
        hf_llama3_factors(&how, rotated, got);
        for (int64_t i = 0; i < n && same; i++)
            same = fabsf(got[i] - wanted[i]) <= 1e-5f * wanted[i];
        if (!same)
            continue;
        kind_make(w, "llama3");
        number_make(w, "factor", how.factor);
        number_make(w, "low_freq_factor", 1);
        number_make(w, "high_freq_factor", 4);
        number_make(w, "original_max_position_embeddings", how.original);
        json_object_end(w);
        return 0;
    }
    return rc ? rc
              : error_set(err, ERROR_UNSUPPORTED,
                    "the model's 'rope_freqs.weight' are not Llama 3's factors: config.json cannot say them");
}

static int list_make(
    const struct tensor *t, const char *key, uint32_t rotated, struct json_writer *w, struct error *err)
{
    float values[2048];
    if (!t || t->shape[0] != rotated / 2 || rotated / 2 > 2048 || tensor_rows(t) != 1)
        return error_set(
            err, ERROR_INVALID, "the model lacks a list of factors of positions, or it is too long");
    int rc = tensor_dequantize(t->type, t->data, values, t->shape[0], err);
    json_key_str(w, str_from(key));
    json_array_begin(w);
    for (int64_t i = 0; i < t->shape[0] && rc == 0; i++)
        hf_write_float(w, values[i]);
    json_array_end(w);
    return rc;
}

static int longrope_make(
    const struct gguf *g, const struct hf_arch *a, uint32_t rotated, struct json_writer *w, struct error *err)
{
    uint32_t original;
    double attention;
    int rc = whole(g, a, "rope.scaling.original_context_length", 4096, &original, err);
    rc = rc ? rc : real(g, a, "rope.scaling.attn_factor", 1, &attention, err);
    if (rc)
        return rc;
    json_key(w, "original_max_position_embeddings");
    json_write_int(w, original);
    kind_make(w, "longrope");
    rc = list_make(gguf_tensor_find(g, "rope_factors_long.weight"), "long_factor", rotated, w, err);
    rc = rc ? rc
            : list_make(gguf_tensor_find(g, "rope_factors_short.weight"), "short_factor", rotated, w, err);
    number_make(w, "attention_factor", attention);
    json_object_end(w);
    return rc;
}

/* Figures that only some architectures have. */
static int sharpness_make(
    const struct gguf *g, const struct hf_arch *a, struct json_writer *w, struct error *err)
{
    double multiplier, slope;
    int rc = real(g, a, "rope.scaling.yarn_log_multiplier", 0, &multiplier, err);
    rc = rc ? rc : real(g, a, "attention.temperature_scale", 0, &slope, err);
    if (rc == 0 && multiplier != 0 && a->yarn_multiplier != 0) {
        number_make(w, "mscale", multiplier / a->yarn_multiplier);
        number_make(w, "mscale_all_dim", multiplier / a->yarn_multiplier);
    }
    if (rc == 0 && slope != 0)
        number_make(w, "llama_4_scaling_beta", slope);
    if (a->untruncated) {
        json_key(w, "truncate");
        json_write_bool(w, false);
    }
    return rc;
}

static int yarn_make(
    const struct gguf *g, const struct hf_arch *a, double factor, struct json_writer *w, struct error *err)
{
    uint32_t original, context;
    double extra, attention, fast, slow;
    int rc = whole(g, a, "context_length", 4096, &context, err);
    rc = rc ? rc : whole(g, a, "rope.scaling.original_context_length", context, &original, err);
    rc = rc ? rc : real(g, a, "rope.scaling.yarn_ext_factor", 1, &extra, err);
    rc = rc ? rc : real(g, a, "rope.scaling.yarn_attn_factor", 1, &attention, err);
    rc = rc ? rc : real(g, a, "rope.scaling.yarn_beta_fast", 32, &fast, err);
    rc = rc ? rc : real(g, a, "rope.scaling.yarn_beta_slow", 1, &slow, err);
    if (rc == 0 && extra != 1)
        rc = error_set(err, ERROR_UNSUPPORTED,
            "the model's 'rope.scaling.yarn_ext_factor' is %g: config.json cannot say it", extra);
    if (rc)
        return rc;
    kind_make(w, "yarn");
    number_make(w, "factor", factor);
    json_key(w, "original_max_position_embeddings");
    json_write_int(w, original);
    if (attention != 1)
        number_make(w, "attention_factor", attention * (1 + 0.1 * log(fmax(factor, 1))));
    number_make(w, "beta_fast", fast);
    number_make(w, "beta_slow", slow);
    rc = sharpness_make(g, a, w, err);
    json_object_end(w);
    return rc;
}

static int sections_make(
    const struct gguf *g, const struct hf_arch *a, struct json_writer *w, struct error *err)
{
    struct gguf_array list = {0};
    char key[HF_KEY_MAX];
    int rc = gguf_find(g, hf_key(a, "rope.dimension_sections", key))
                 ? gguf_get_array(g, key, GGUF_INT32, &list, err)
                 : 0;
    if (rc || list.count == 0)
        return rc;
    kind_make(w, "default");
    json_key(w, "mrope_interleaved");
    json_write_bool(w, true);
    json_key(w, "mrope_section");
    json_array_begin(w);
    for (uint64_t i = 0; i < list.count && i < 3; i++) { /* the fourth is llama.cpp's */
        int32_t value;
        memcpy(&value, (const char *)list.data + i * sizeof value, sizeof value);
        json_write_int(w, value);
    }
    json_array_end(w);
    json_object_end(w);
    return 0;
}

static int scaling_make(const struct gguf *g, const struct hf_arch *a, double base, uint32_t rotated,
    struct json_writer *w, struct error *err)
{
    char key[HF_KEY_MAX];
    struct str type;
    double factor;
    const struct tensor *llama3 = gguf_tensor_find(g, "rope_freqs.weight");
    int rc = gguf_get_str(g, hf_key(a, "rope.scaling.type", key), STR("linear"), &type, err);
    rc = rc ? rc : real(g, a, "rope.scaling.factor", 0, &factor, err);
    if (rc)
        return rc;
    if (llama3)
        return llama3_make(llama3, base, rotated, w, err);
    if (gguf_tensor_find(g, "rope_factors_long.weight"))
        return longrope_make(g, a, rotated, w, err);
    if (str_is(type, "yarn"))
        return yarn_make(g, a, factor > 0 ? factor : 1, w, err);
    if (a->interval && factor == 0)
        return sections_make(g, a, w, err);
    if (str_is(type, "none") || factor == 0 || factor == 1)
        return 0;
    if (!str_is(type, "linear"))
        return error_set(err, ERROR_UNSUPPORTED,
            "the model's positions are scaled by '" STR_FMT "': unknown here",
            STR_ARG(str_slice(type, 0, 60)));
    kind_make(w, "linear");
    number_make(w, "factor", factor);
    json_object_end(w);
    return 0;
}

int hf_rope_make(const struct gguf *g, const struct hf_arch *a, const struct hf_shape *s,
    struct json_writer *w, struct error *err)
{
    char key[HF_KEY_MAX];
    double base, local;
    uint32_t rotated;
    int rc = real(g, a, "rope.freq_base", 10000, &base, err);
    rc = rc ? rc : whole(g, a, "rope.dimension_count", s->head, &rotated, err);
    rc = rc ? rc : real(g, a, "rope.freq_base_swa", 10000, &local, err);
    if (rc == 0 && (rotated < 2 || rotated % 2 != 0 || (int64_t)rotated > s->head ||
                       (hf_arch_turns(a) && (int64_t)rotated != s->head)))
        rc = error_set(err, ERROR_INVALID, "the model's '%s' is %u: the file is broken",
            hf_key(a, "rope.dimension_count", key), rotated);
    if (rc)
        return rc;
    number_make(w, "rope_theta", base);
    if (gguf_find(g, hf_key(a, "rope.freq_base_swa", key)))
        number_make(w, "rope_local_base_freq", local);
    const bool percent = strcmp(a->gguf, "cohere2") == 0; /* which always has it */
    if (!a->latent && (percent || (int64_t)rotated != s->head || a->rotated != 1))
        number_make(w, percent ? "rotary_pct" : "partial_rotary_factor", (double)rotated / (double)s->head);
    return scaling_make(g, a, base, rotated, w, err);
}

#include "engine/worker/model_loader.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "engine/worker/lora.h"

enum { KEY_MAX = 256 };

void loader_fail(struct loader *l, int code, const char *fmt, ...)
{
    if (l->rc)
        return;
    char message[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    l->rc = error_set(l->err, code, "%s", message);
}

static const char *full_key(const struct loader *l, const char *key, char out[KEY_MAX])
{
    snprintf(out, KEY_MAX, STR_FMT ".%s", STR_ARG(l->architecture), key);
    return out;
}

static bool missing(struct loader *l, const char *key, bool required)
{
    if (gguf_find(l->gguf, key))
        return false;
    if (required)
        loader_fail(
            l, ERROR_INVALID, "the model file lacks '%s': it is incomplete, fetch or convert it again", key);
    return true;
}

int32_t loader_int(struct loader *l, const char *key, int32_t fallback, int32_t min, int32_t max)
{
    char full[KEY_MAX];
    full_key(l, key, full);
    if (l->rc || missing(l, full, fallback == LOADER_REQUIRED))
        return l->rc ? 0 : fallback;
    uint32_t value = 0;
    l->rc = gguf_get_u32(l->gguf, full, 0, &value, l->err);
    if (l->rc == 0 && (value > INT32_MAX || (int32_t)value < min || (int32_t)value > max))
        loader_fail(l, ERROR_INVALID,
            "the model file says %s = %" PRIu32 ": it must be %" PRId32 " to %" PRId32, full, value, min,
            max);
    return l->rc ? 0 : (int32_t)value;
}

float loader_float(struct loader *l, const char *key, float fallback, float min, float max)
{
    char full[KEY_MAX];
    full_key(l, key, full);
    if (l->rc || missing(l, full, fallback == LOADER_REQUIRED))
        return l->rc ? 0 : fallback;
    float value = 0;
    l->rc = gguf_get_f32(l->gguf, full, 0, &value, l->err);
    if (l->rc == 0 && !(value >= min && value <= max))
        loader_fail(l, ERROR_INVALID, "the model file says %s = %g: it must be %g to %g", full, (double)value,
            (double)min, (double)max);
    return l->rc ? 0 : value;
}

struct str loader_str(struct loader *l, const char *key, struct str fallback)
{
    char full[KEY_MAX];
    struct str value = fallback;
    if (l->rc == 0)
        l->rc = gguf_get_str(l->gguf, full_key(l, key, full), fallback, &value, l->err);
    return l->rc ? fallback : value;
}

bool loader_bool(struct loader *l, const char *key, bool fallback)
{
    char full[KEY_MAX];
    bool value = fallback;
    if (l->rc == 0)
        l->rc = gguf_get_bool(l->gguf, full_key(l, key, full), fallback, &value, l->err);
    return value;
}

void *loader_alloc(struct loader *l, size_t count, size_t size)
{
    void *p = l->rc ? NULL : arena_try_alloc(l->arena, count, size);
    if (!p)
        loader_fail(l, ERROR_MEMORY, "no memory for the tables of the model");
    return p;
}

const int32_t *loader_ints(
    struct loader *l, const char *key, int32_t n, int32_t fallback, int32_t min, int32_t max)
{
    char full[KEY_MAX];
    const struct gguf_pair *pair = gguf_find(l->gguf, full_key(l, key, full));
    const bool listed = pair && pair->type == GGUF_ARRAY;
    const int32_t all = listed ? 0 : loader_int(l, key, fallback, min, max);
    int32_t *ints = loader_alloc(l, (size_t)n, sizeof *ints);
    if (listed && ((pair->array.type != GGUF_INT32 && pair->array.type != GGUF_UINT32) ||
                      pair->array.count != (uint64_t)n))
        loader_fail(
            l, ERROR_INVALID, "'%s' is not a list of %d whole numbers: the file is broken", full, (int)n);
    for (int32_t i = 0; l->rc == 0 && i < n; i++) {
        ints[i] = all;
        if (listed)
            memcpy(&ints[i], (const char *)pair->array.data + (size_t)i * sizeof *ints, sizeof *ints);
        if (listed && (ints[i] < min || ints[i] > max))
            loader_fail(l, ERROR_INVALID, "entry %d of '%s' is %d: it must be %d to %d", (int)i, full,
                (int)ints[i], (int)min, (int)max);
    }
    return l->rc ? NULL : ints;
}

const bool *loader_flags(struct loader *l, const char *key, int32_t n)
{
    char full[KEY_MAX];
    const struct gguf_pair *pair = gguf_find(l->gguf, full_key(l, key, full));
    struct gguf_array array;
    if (l->rc || !pair || pair->type != GGUF_ARRAY)
        return NULL;
    l->rc = gguf_get_array(l->gguf, full, GGUF_BOOL, &array, l->err);
    if (l->rc == 0 && array.count != (uint64_t)n)
        loader_fail(l, ERROR_INVALID, "'%s' has %" PRIu64 " entries for %d layers: the file is broken", full,
            array.count, (int)n);
    bool *flags = loader_alloc(l, (size_t)n, sizeof *flags);
    for (int32_t i = 0; l->rc == 0 && i < n; i++)
        flags[i] = ((const uint8_t *)array.data)[i] != 0;
    return l->rc ? NULL : flags;
}

uint64_t loader_strings(struct loader *l, const char *key)
{
    char full[KEY_MAX];
    struct gguf_array array = {.count = 0};
    if (l->rc == 0 && gguf_find(l->gguf, full_key(l, key, full)))
        l->rc = gguf_get_array(l->gguf, full, GGUF_STRING, &array, l->err);
    return l->rc ? 0 : array.count;
}

static const char *format_name(char out[KEY_MAX], const char *fmt, va_list ap)
{
    vsnprintf(out, KEY_MAX, fmt, ap);
    return out;
}

#define NAME_FROM(fmt, name)                                                                                 \
    char name[KEY_MAX];                                                                                      \
    va_list ap;                                                                                              \
    va_start(ap, fmt);                                                                                       \
    format_name(name, fmt, ap);                                                                              \
    va_end(ap)

bool loader_has(struct loader *l, const char *fmt, ...)
{
    NAME_FROM(fmt, name);
    return l->rc == 0 && gguf_tensor_find(l->gguf, name);
}

int32_t loader_rows(struct loader *l, int32_t max, const char *fmt, ...)
{
    NAME_FROM(fmt, name);
    const struct tensor *t = l->rc ? NULL : gguf_tensor_find(l->gguf, name);
    if (t && t->shape[1] >= 1 && t->shape[1] <= max)
        return (int32_t)t->shape[1];
    loader_fail(l, ERROR_INVALID, "the model file lacks a usable tensor '%s': fetch it again", name);
    return 1;
}

/* The tensor of this name and exact shape, of a type that the backend can use; NULL after a failure. */
static const struct tensor *find(struct loader *l, const char *name, int64_t n0, int64_t n1, int64_t n2)
{
    if (l->rc)
        return NULL;
    const struct tensor *t = gguf_tensor_find(l->gguf, name);
    if (!t || !t->data) {
        loader_fail(
            l, ERROR_INVALID, "the model file lacks the tensor '%s': it is incomplete, fetch it again", name);
        return NULL;
    }
    if (t->shape[0] != n0 || t->shape[1] != n1 || t->shape[2] != n2 || t->shape[3] != 1) {
        loader_fail(l, ERROR_INVALID,
            "the tensor '%s' is %" PRId64 " x %" PRId64 " x %" PRId64
            " but the model's figures ask for %" PRId64 " x %" PRId64 " x %" PRId64 ": the file is broken",
            name, t->shape[0], t->shape[1], t->shape[2], n0, n1, n2);
        return NULL;
    }
    if (!l->backend->ops->supports(l->backend, t->type)) {
        const struct tensor_type_info *info = tensor_type_info(t->type);
        loader_fail(l, ERROR_UNSUPPORTED,
            "the tensor '%s' is of type %s, which this build cannot read: use a file quantised another way",
            name, info ? info->name : "unknown");
        return NULL;
    }
    return t;
}

/* n_rows rows of n floats. */
static const float *vector_named(struct loader *l, int64_t n, int64_t n_rows, const char *name)
{
    const struct tensor *t = find(l, name, n, n_rows, 1);
    if (!t)
        return NULL;
    const void *host = t->data;
    if (t->type != TENSOR_F32 || (uintptr_t)host % sizeof(float) != 0) {
        float *floats = loader_alloc(l, (size_t)(n * n_rows), sizeof *floats);
        if (floats)
            l->rc = tensor_dequantize(t->type, t->data, floats, n * n_rows, l->err);
        host = floats;
    }
    const void *out = NULL;
    if (l->rc == 0)
        l->rc = l->backend->ops->upload(l->backend, host, (size_t)(n * n_rows) * sizeof(float), &out, l->err);
    return out;
}

const float *loader_vector(struct loader *l, int64_t n, const char *fmt, ...)
{
    NAME_FROM(fmt, name);
    return vector_named(l, n, 1, name);
}

const float *loader_vectors(struct loader *l, int64_t n, int64_t m, const char *fmt, ...)
{
    NAME_FROM(fmt, name);
    return vector_named(l, n, m, name);
}

const float *loader_ones(struct loader *l, int32_t n)
{
    float *ones = loader_alloc(l, (size_t)n, sizeof *ones);
    for (int32_t i = 0; l->rc == 0 && i < n; i++)
        ones[i] = 1;
    const void *out = NULL;
    if (l->rc == 0)
        l->rc = l->backend->ops->upload(l->backend, ones, (size_t)n * sizeof *ones, &out, l->err);
    return out;
}

static struct weight weight_named(
    struct loader *l, int64_t n_in, int64_t n_out, int64_t n_experts, const char *name)
{
    struct weight w = {.n_in = n_in, .n_out = n_out, .n_experts = n_experts};
    const struct tensor *t = find(l, name, n_in, n_out, n_experts);
    if (t) {
        w.type = t->type;
        l->rc = l->backend->ops->upload(l->backend, t->data, t->bytes, &w.data, l->err);
    }
    return w;
}

struct weight loader_weight(struct loader *l, int64_t n_in, int64_t n_out, const char *fmt, ...)
{
    NAME_FROM(fmt, name);
    struct weight w = weight_named(l, n_in, n_out, 1, name);
    if (strcmp(name, LORA_EMBEDDING) == 0)
        w.deltas = lora_deltas(l, name, &w);
    return w;
}

/* A bias is a vector for each expert; its tensor is two-dimensional where there are experts. */
static struct linear linear_named(
    struct loader *l, int64_t n_in, int64_t n_out, int64_t n_experts, const char *name)
{
    char full[KEY_MAX + 8];
    snprintf(full, sizeof full, "%s.weight", name);
    struct linear linear = {.weight = weight_named(l, n_in, n_out, n_experts, full)};
    linear.weight.deltas = lora_deltas(l, full, &linear.weight);
    /* NVFP4 covers little more than a factor of 2^17: its files have a scale for each matrix beside it. */
    snprintf(full, sizeof full, "%s.scale", name);
    if (linear.weight.type == TENSOR_NVFP4 && loader_has(l, "%s", full))
        linear.weight.scales = vector_named(l, n_experts, 1, full);
    snprintf(full, sizeof full, "%s.bias", name);
    if (l->rc || !gguf_tensor_find(l->gguf, full))
        return linear;
    linear.bias = vector_named(l, n_out, n_experts, full);
    return linear;
}

struct linear loader_linear(struct loader *l, int64_t n_in, int64_t n_out, const char *fmt, ...)
{
    NAME_FROM(fmt, name);
    return linear_named(l, n_in, n_out, 1, name);
}

struct linear loader_output(struct loader *l, const struct weight *embedding)
{
    if (loader_has(l, "output.weight"))
        return loader_linear(l, embedding->n_in, embedding->n_out, "output");
    struct linear output = {*embedding, NULL};
    output.weight.deltas = NULL; /* an adapter of the embedding changes what goes in alone */
    return output;
}

struct linear loader_part(struct loader *l, const struct linear *whole, int64_t from, int64_t count)
{
    struct linear part = *whole;
    if (!whole->weight.data)
        return part; /* loading has failed */
    size_t row = tensor_row_bytes(whole->weight.type, whole->weight.n_in);
    part.weight.data = (const char *)whole->weight.data + (size_t)from * row;
    part.weight.n_out = count;
    part.weight.deltas = lora_part(l, whole->weight.deltas, from, count);
    part.bias = whole->bias ? whole->bias + from : NULL;
    return part;
}

struct linear loader_experts(
    struct loader *l, int64_t n_in, int64_t n_out, int64_t n_experts, const char *fmt, ...)
{
    NAME_FROM(fmt, name);
    return linear_named(l, n_in, n_out, n_experts, name);
}

/* `factors`: LongRoPE's are in use. */
static struct rope_scaling rope_scaling(struct loader *l, bool factors)
{
    struct rope_scaling how = {.factor = 1};
    how.base = (double)loader_float(l, "rope.freq_base", 10000, 1e-3f, 1e15f);
    how.attention_factor = (double)loader_float(l, "rope.scaling.attn_factor", 1, 0, 1e6f);

    const struct str type = loader_str(l, "rope.scaling.type", STR("linear"));
    /* Old files have scale_linear; a factor of 0 means none. */
    float factor = loader_float(l, "rope.scale_linear", 0, 0, 1e6f);
    factor = loader_float(l, "rope.scaling.factor", factor, 0, 1e6f);
    if (str_is(type, "none") || (factors && str_is(type, "longrope")))
        return how;
    if (factor > 0)
        how.factor = (double)factor;
    how.yarn = str_is(type, "yarn");
    if (!how.yarn && !str_is(type, "linear"))
        loader_fail(l, ERROR_UNSUPPORTED, "the model's positions are scaled by '" STR_FMT "': %s",
            STR_ARG(type), "this build knows none, linear and yarn");
    if (!how.yarn)
        return how;
    int32_t trained = loader_int(l, "context_length", LOADER_REQUIRED, 1, INT32_MAX);
    how.original_context = loader_int(l, "rope.scaling.original_context_length", trained, 1, INT32_MAX);
    how.extrapolation = (double)loader_float(l, "rope.scaling.yarn_ext_factor", 1, 0, 1);
    how.attention_factor *= (double)loader_float(l, "rope.scaling.yarn_attn_factor", 1, 0, 1e6f);
    how.beta_fast = (double)loader_float(l, "rope.scaling.yarn_beta_fast", 32, 1e-6f, 1e6f);
    how.beta_slow = (double)loader_float(l, "rope.scaling.yarn_beta_slow", 1, 1e-6f, 1e6f);
    return how;
}

static struct rope rope_made(struct loader *l, int32_t n_dims, enum rope_pairs pairs,
    const struct rope_scaling *how, const float *factors)
{
    struct rope rope = {.n_dims = n_dims, .pairs = pairs};
    double *frequency = loader_alloc(l, (size_t)n_dims / 2, sizeof *frequency);
    if (l->rc)
        return rope;
    rope.magnitude = rope_frequencies(how, n_dims, factors, frequency);
    rope.frequency = frequency;
    return rope;
}

struct rope loader_rope(struct loader *l, int32_t n_dims, enum rope_pairs pairs)
{
    struct rope_scaling how = rope_scaling(l, false);
    const float *factors = NULL;
    if (loader_has(l, "rope_freqs.weight"))
        factors = loader_vector(l, n_dims / 2, "rope_freqs.weight");
    return rope_made(l, n_dims, pairs, &how, factors);
}

struct rope loader_rope_factors(struct loader *l, int32_t n_dims, enum rope_pairs pairs, const char *factors)
{
    if (!loader_has(l, "%s", factors))
        return loader_rope(l, n_dims, pairs);
    struct rope_scaling how = rope_scaling(l, true);
    return rope_made(l, n_dims, pairs, &how, loader_vector(l, n_dims / 2, "%s", factors));
}

struct rope loader_rope_window(struct loader *l, int32_t n_dims, enum rope_pairs pairs, float default_base)
{
    float base = loader_float(l, "rope.freq_base_swa", default_base, 1e-3f, 1e15f);
    struct rope_scaling how = {.base = (double)base, .factor = 1, .attention_factor = 1};
    return rope_made(l, n_dims, pairs, &how, NULL);
}

void loader_rope_lessen(struct loader *l, struct rope *rope)
{
    double multiplier = (double)loader_float(l, "rope.scaling.yarn_log_multiplier", 0, 0, 1e3f);
    double factor = (double)loader_float(l, "rope.scaling.factor", 1, 0, 1e6f);
    if (multiplier != 0 && factor > 1)
        rope->magnitude /= 1 + 0.1 * multiplier * log(factor);
}

float loader_scale(struct loader *l, const char *key, float fallback)
{
    float scale = loader_float(l, key, fallback, 0, 1e6f);
    return scale == 0 ? 1 : scale;
}

/* A GGUF file to a model's folder. */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "train/hf/config.h"
#include "train/hf/convert.h"
#include "train/hf/safetensors.h"
#include "train/hf/source.h"
#include "train/hf/tokens.h"
#include "train/hf/writer.h"

struct exporting {
    struct arena *arena;
    struct gguf *gguf;
    const struct hf_arch *arch;
    struct hf_shape shape;
    const struct quantize_mix *mix;
    struct hf_list list;
    bool *taken; /* of each of the file's tensors */
};

/* ---- What becomes what ---- */
/* Matrices become what is asked for, or stay what they are unless they are quantised. Vectors stay floats. */
static enum tensor_type type_of(const struct exporting *x, const struct tensor *t, bool vector)
{
    if (x->mix && !vector)
        return x->mix->type;
    return safetensors_type_name(t->type) && t->type != TENSOR_F64 ? t->type : TENSOR_BF16;
}

static int part_add(void *ctx, const struct hf_part *part, int64_t layer, bool bias, struct error *err)
{
    struct exporting *x = ctx;
    const bool vector = bias || part->rows == HF_NONE, each = part->flags & HF_EACH_EXPERT;
    const int64_t columns = hf_size(&x->shape, bias ? part->rows : part->columns),
                  rows = vector ? 1 : hf_size(&x->shape, part->rows), experts = each ? x->shape.experts : 1;
    char name[HF_NAME_MAX];
    hf_gguf_name(part, layer, bias, name);
    const struct tensor *t = gguf_tensor_find(x->gguf, name);
    if (!t && (bias ? !(part->flags & HF_MUST_BIAS) : part->flags & HF_MAY_LACK))
        return 0;
    if (!t)
        return error_set(err, ERROR_INVALID, "the model lacks '%s': it is no whole %s", name, x->arch->hf);
    if (t->shape[0] != columns || tensor_rows(t) != rows * experts || !tensor_type_readable(t->type))
        return error_set(err, ERROR_INVALID, "the model's '%s' is not %lld x %lld of a type that can be read",
            name, (long long)(rows * experts), (long long)columns);
    x->taken[t - gguf_tensor_at(x->gguf, 0)] = true;
    const struct tensor **parts = arena_new(x->arena, const struct tensor *);
    *parts = t;
    int rc = 0;
    for (int64_t e = 0; e < experts && rc == 0; e++) {
        hf_name(part, layer, e, bias, name);
        const struct pour_tensor tensor = {.name = arena_strdup(x->arena, str_from(name)),
            .type = type_of(x, t, vector),
            .n_dims = vector ? 1 : 2,
            .shape = {columns, rows, 1, 1}};
        const struct hf_source source = {.parts = parts,
            .n_parts = 1,
            .first = e * rows,
            .change = part->change,
            .back = true,
            .heads = part->change == HF_TURN_KEYS ? x->shape.kv_heads : x->shape.heads};
        rc = hf_list_add(&x->list, &tensor, &source, err);
    }
    return rc;
}

static int check_taken(const struct exporting *x, struct error *err)
{
    static const char *const of_config[] = {
        "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"};
    for (size_t i = 0; i < gguf_n_tensors(x->gguf); i++) {
        const struct str name = gguf_tensor_at(x->gguf, i)->name;
        bool known = x->taken[i];
        for (size_t k = 0; k < sizeof of_config / sizeof *of_config; k++)
            known = known || str_is(name, of_config[k]);
        if (!known)
            return error_set(err, ERROR_UNSUPPORTED,
                "the model's tensor '" STR_FMT "' has no name in a %s: it would be lost",
                STR_ARG(str_slice(name, 0, 128)), x->arch->hf);
    }
    return 0;
}

/* ---- The files ---- */
static int config_make(const struct exporting *x, struct buf *out, struct error *err)
{
    static const char *const names[TENSOR_TYPES] = {
        [TENSOR_F32] = "float32", [TENSOR_F16] = "float16", [TENSOR_BF16] = "bfloat16"};
    return hf_config_make(x->gguf, x->arch, &x->shape, names[x->list.tensors[0].type], out, err);
}

/* Without config.json the folder is no model: it comes last, so that half of one is never read as a whole. */
static int files_write(struct exporting *x, struct hf_job *job, const struct buf *config, struct error *err)
{
    const char *path = arena_printf(x->arena, "%s/config.json", job->to).data;
    const struct pour pour = hf_list_pour(&job->pour, &x->list);
    int rc = file_remove(path, err);
    rc = rc ? rc : hf_tokens_make(x->gguf, job->to, err);
    rc = rc ? rc : safetensors_write(&pour, x->list.tensors, x->list.n, job->to, "model", job->shard, err);
    rc = rc ? rc : file_put(path, config, err);
    job->tensors = x->list.n;
    job->bytes = hf_list_bytes(&x->list);
    return rc;
}

static int model_export(struct exporting *x, struct hf_job *job, struct error *err)
{
    struct buf config;
    buf_init(&config, 64 * MIB);
    int rc = hf_shape_of(x->gguf, &x->arch, &x->shape, err);
    x->taken = calloc(gguf_n_tensors(x->gguf) + 1, sizeof *x->taken);
    if (rc == 0 && !x->taken)
        rc = error_set(err, ERROR_MEMORY, "no memory for %zu tensors", gguf_n_tensors(x->gguf));
    rc = rc ? rc : hf_each_part(x->arch, &x->shape, part_add, x, err);
    rc = rc ? rc : check_taken(x, err);
    rc = rc ? rc : config_make(x, &config, err);
    rc = rc ? rc : files_write(x, job, &config, err);
    buf_free(&config);
    return rc;
}

int hf_export(struct hf_job *job, struct error *err)
{
    struct exporting x = {.arena = arena_create(2 * GIB), .mix = job->mix};
    struct str type = STR_NONE;
    int rc = file_open_model(job->from, &x.gguf, err);
    rc = rc ? rc : gguf_get_str(x.gguf, "general.type", STR("model"), &type, err);
    if (rc == 0 && str_is(type, "adapter"))
        rc = hf_export_adapter(job, x.gguf, err);
    else
        rc = rc ? rc : model_export(&x, job, err);
    hf_list_free(&x.list);
    free(x.taken);
    gguf_close(x.gguf);
    arena_free(x.arena);
    return rc;
}

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

/* The file's tensor of a part; NULL and no error: the model goes without it. */
static int tensor_find(struct exporting *x, const struct hf_part *part, int64_t layer, bool bias,
    const struct tensor **out, struct error *err)
{
    const struct hf_view v = hf_view_of(part, &x->shape, bias);
    const int64_t rows = hf_view_rows(&v) * v.stacks, columns = hf_view_columns(&v);
    char name[HF_NAME_MAX];
    hf_gguf_name(part, layer, bias, name);
    const struct tensor *t = *out = gguf_tensor_find(x->gguf, name);
    if (!t && (bias ? !(part->flags & HF_MUST_BIAS) : part->flags & (HF_MAY_LACK | HF_OPTIONAL)))
        return 0;
    if (!t)
        return error_set(err, ERROR_INVALID, "the model lacks '%s': it is no whole %s", name, x->arch->hf);
    const bool fits = columns == 1 ? t->shape[0] == hf_view_rows(&v) && tensor_rows(t) == v.stacks
                                   : t->shape[0] == columns && tensor_rows(t) == rows;
    if (!fits || !tensor_type_readable(t->type))
        return error_set(err, ERROR_INVALID, "the model's '%s' is not %lld x %lld of a type that can be read",
            name, (long long)rows, (long long)columns);
    x->taken[t - gguf_tensor_at(x->gguf, 0)] = true;
    return 0;
}

/* Dimensions in the folder. */
static void shape_make(const struct hf_part *part, const struct hf_view *v, struct pour_tensor *to)
{
    const int64_t stacks = part->flags & HF_EACH_EXPERT ? 1 : v->stacks;
    to->n_dims = 2;
    if (v->hf_columns == 1) {
        to->n_dims = stacks > 1 ? 2 : 1;
        memcpy(to->shape, (int64_t[]){v->hf_rows, stacks, 1, 1}, sizeof to->shape);
    } else if (part->flags & HF_ALL_EXPERTS) {
        to->n_dims = 3;
        memcpy(to->shape, (int64_t[]){v->hf_columns, v->hf_rows, stacks, 1}, sizeof to->shape);
    } else if (part->flags & HF_CHANNELS) {
        to->n_dims = 3;
        memcpy(to->shape, (int64_t[]){v->hf_columns, 1, v->hf_rows, 1}, sizeof to->shape);
    } else {
        memcpy(to->shape, (int64_t[]){v->hf_columns, stacks * v->hf_rows, 1, 1}, sizeof to->shape);
    }
}

/* The second of two that the folder has as one joins the first, which stands before it in the list. */
static int second_add(
    struct exporting *x, const char *name, const struct hf_view *v, const struct tensor *t, struct error *err)
{
    struct hf_source *s = x->list.n > 0 ? &x->list.sources[x->list.n - 1] : NULL;
    const struct tensor **parts = arena_alloc(x->arena, 2 * sizeof *parts);
    if (!s || strcmp(x->list.tensors[x->list.n - 1].name, name) != 0)
        return error_set(err, ERROR_INVALID, "the model lacks the other half of '%s'", name);
    parts[0] = s->parts[0];
    parts[1] = t;
    s->parts = parts;
    s->n_parts = 2;
    s->view[1] = *v;
    return 0;
}

static int part_add(void *ctx, const struct hf_part *part, int64_t layer, bool bias, struct error *err)
{
    struct exporting *x = ctx;
    const struct hf_view view = hf_view_of(part, &x->shape, bias);
    const int64_t experts = part->flags & HF_EACH_EXPERT ? x->shape.experts : 1;
    const struct tensor **parts = arena_alloc(x->arena, sizeof *parts);
    char name[HF_NAME_MAX];
    int rc = tensor_find(x, part, layer, bias, parts, err);
    if (rc || !*parts)
        return rc;
    for (int64_t e = 0; e < experts && rc == 0; e++) {
        struct pour_tensor tensor = {.type = type_of(x, *parts, bias || part->rows == HF_NONE)};
        const struct hf_source source = {.parts = parts,
            .n_parts = 1,
            .view[0] = view,
            .skip = e,
            .change = part->change,
            .back = true,
            .shape = &x->shape};
        hf_name(&x->shape, part, layer, e, bias, name);
        if (part->flags & (HF_LOWER | HF_ODD))
            return second_add(x, name, &view, *parts, err);
        shape_make(part, &view, &tensor);
        tensor.name = arena_strdup(x->arena, str_from(name));
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

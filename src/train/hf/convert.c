/* A model's folder to a GGUF file. */
#include "train/hf/convert.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "train/hf/config.h"
#include "train/hf/safetensors.h"
#include "train/hf/source.h"
#include "train/hf/tokens.h"

#define CONVERT_MEMORY (4 * GIB)

struct conversion {
    struct arena *arena;
    struct hf_config config;
    struct weights weights;
    struct hf_list list;
};

/* ---- What becomes what ---- */
/* It is what the configuration says it is; a matrix of one row or a vector may be spelled either way. */
static int shape_check(
    const struct safetensor *s, const struct hf_fp8 *fp8, int64_t rows, int64_t columns, struct error *err)
{
    const struct tensor *t = &s->tensor;
    if (s->unusable && !(fp8->is && s->e4m3))
        return error_set(err, ERROR_UNSUPPORTED, "tensor '" STR_FMT "' %s",
            STR_ARG(str_slice(t->name, 0, 200)), s->unusable);
    if (t->shape[0] != columns || tensor_rows(t) != rows)
        return error_set(err, ERROR_INVALID,
            "tensor '" STR_FMT "' is %lld x %lld; by config.json it should be %lld x %lld",
            STR_ARG(str_slice(t->name, 0, 200)), (long long)tensor_rows(t), (long long)t->shape[0],
            (long long)rows, (long long)columns);
    return 0;
}

static struct safetensor *find_as(const struct conversion *c, const char *before, const char *name)
{
    char full[2 * HF_NAME_MAX];
    snprintf(full, sizeof full, "%s%s", before, name);
    return weights_find(&c->weights, str_from(full));
}

/* By its name; of a model inside another, or of a layer named apart, by a longer one. */
static struct safetensor *find(const struct conversion *c, const char *name)
{
    const struct hf_inner *inner = c->config.arch->inner;
    struct safetensor *s = NULL;
    char before[HF_NAME_MAX];
    if (strncmp(name, "mtp.", 4) == 0 && (s = find_as(c, "model.", name)) != NULL)
        return s;
    if (inner && (s = find_as(c, inner->prefix, name)) != NULL)
        return s;
    if (!inner || strncmp(name, "model.", 6) != 0)
        return find_as(c, "", name);
    snprintf(before, sizeof before, "model.%s", inner->prefix);
    return find_as(c, before, name + 6);
}

/* The scales of a tensor in FP8; of one in another type none. */
static int scales_find(struct conversion *c, const char *name, const struct safetensor *of,
    const struct tensor **out, struct error *err)
{
    const struct tensor *t = &of->tensor;
    const struct hf_fp8 *f = &c->config.fp8;
    char full[2 * HF_NAME_MAX];
    *out = NULL;
    if (!of->e4m3)
        return 0;
    snprintf(full, sizeof full, "%s_scale_inv", name);
    struct safetensor *s = find(c, full);
    if (!s)
        return error_set(err, ERROR_INVALID,
            "the folder's weights lack '%s': they are incomplete, fetch them again", full);
    if (t->n_dims != 2)
        return error_set(err, ERROR_UNSUPPORTED, "tensor '%s' is FP8 and no matrix", name);
    s->taken = true;
    *out = &s->tensor;
    return shape_check(s, &(struct hf_fp8){0}, f->rows ? (tensor_rows(t) + f->rows - 1) / f->rows : 1,
        f->columns ? (t->shape[0] + f->columns - 1) / f->columns : 1, err);
}

/* The tensor that a part is made of; NULL and no error: the model goes without it. */
static int weight_find(struct conversion *c, const struct hf_part *part, int64_t layer, int64_t expert,
    bool bias, const struct tensor **out, const struct tensor **scales, struct error *err)
{
    char name[HF_NAME_MAX];
    const struct hf_view v = hf_view_of(part, &c->config.shape, bias);
    const int64_t stacks = part->flags & HF_EACH_EXPERT ? 1 : v.stacks;
    hf_name(&c->config.shape, part, layer, expert, bias, name);
    struct safetensor *s = find(c, name);
    const struct json_item *tied = hf_given(c->config.root, "tie_word_embeddings");
    const bool tied_part = !bias && part->flags & HF_MAY_LACK;
    const bool may_lack = bias ? !(part->flags & HF_MUST_BIAS) : part->flags & HF_OPTIONAL;
    *out = NULL;
    if (s)
        s->taken = true;
    if (tied_part && c->config.shape.tied)
        return 0; /* the embedding again, where the folder has it at all */
    if (!s && (may_lack || (tied_part && (!tied || tied->kind != JSON_ITEM_FALSE))))
        return 0;
    if (!s)
        return error_set(err, ERROR_INVALID,
            "the folder's weights lack '%s': they are incomplete, fetch them again", name);
    *out = &s->tensor;
    int rc = v.hf_columns == 1 ? shape_check(s, &c->config.fp8, stacks, v.hf_rows, err)
                               : shape_check(s, &c->config.fp8, stacks * v.hf_rows, v.hf_columns, err);
    return rc ? rc : scales_find(c, name, s, scales, err);
}

/* Dimensions in the file. */
static void shape_make(const struct hf_part *part, const struct hf_view *v, struct pour_tensor *to)
{
    const bool stacked = part->flags & (HF_EACH_EXPERT | HF_ALL_EXPERTS | HF_ALL_HEADS);
    const int64_t rows = hf_view_rows(v), columns = hf_view_columns(v);
    *to = (struct pour_tensor){.n_dims = stacked ? 3 : 2, .shape = {columns, rows, v->stacks, 1}};
    if (columns == 1) /* a vector, or one for each expert */
        *to = (struct pour_tensor){.n_dims = stacked ? 2 : 1, .shape = {rows, v->stacks, 1, 1}};
    else if (part->rows == HF_ONE)
        to->n_dims = 1;
}

/* A tensor of bytes, so many of them. */
static int bytes_find(struct conversion *c, const char *name, const char *end, int64_t bytes,
    const struct tensor **out, struct error *err)
{
    char full[2 * HF_NAME_MAX];
    snprintf(full, sizeof full, "%s%s", name, end);
    struct safetensor *s = find(c, full);
    if (!s)
        return error_set(err, ERROR_INVALID,
            "the folder's weights lack '%s': they are incomplete, fetch them again", full);
    const struct tensor *t = &s->tensor;
    if (!s->unusable || t->bytes != (size_t)bytes || t->shape[0] * tensor_rows(t) != bytes)
        return error_set(err, ERROR_INVALID, "tensor '%s' is not the %lld bytes that config.json makes of it",
            full, (long long)bytes);
    s->taken = true;
    *out = t;
    return 0;
}

/* All experts of a layer in MXFP4; false in *found: they are not. */
static int packed_add(
    struct conversion *c, const struct hf_part *part, int64_t layer, bool *found, struct error *err)
{
    enum { BLOCK = 32 };
    struct hf_part plain = *part;
    struct hf_source source = {.n_parts = 2, .packed = true};
    const struct tensor **parts = arena_alloc(c->arena, 2 * sizeof *parts);
    struct pour_tensor tensor;
    char name[HF_NAME_MAX], blocks[2 * HF_NAME_MAX];
    hf_name(&c->config.shape, part, layer, 0, false, name);
    snprintf(blocks, sizeof blocks, "%s_blocks", name);
    *found = find(c, blocks) != NULL;
    if (!*found)
        return 0;
    plain.flags &= ~HF_ACROSS; /* these stand as they are multiplied */
    source.parts = parts;
    source.view[0] = hf_view_of(&plain, &c->config.shape, false);
    const struct hf_view *v = &source.view[0];
    const int64_t n = v->stacks * v->hf_rows * v->hf_columns;
    if (v->hf_columns % BLOCK != 0)
        return error_set(err, ERROR_INVALID, "'%s' has rows of %lld values, which are no blocks of %d",
            blocks, (long long)v->hf_columns, BLOCK);
    int rc = bytes_find(c, name, "_blocks", n / 2, &parts[0], err);
    rc = rc ? rc : bytes_find(c, name, "_scales", n / BLOCK, &parts[1], err);
    hf_gguf_name(part, layer, false, name);
    shape_make(&plain, v, &tensor);
    tensor.name = arena_strdup(c->arena, str_from(name));
    return rc ? rc : hf_list_add(&c->list, &tensor, &source, err);
}

static int part_add(void *ctx, const struct hf_part *part, int64_t layer, bool bias, struct error *err)
{
    struct conversion *c = ctx;
    const struct hf_shape *s = &c->config.shape;
    const int64_t experts = part->flags & HF_EACH_EXPERT ? s->experts : 1;
    const struct tensor **parts = arena_try_array(c->arena, const struct tensor *, (size_t)experts),
                        **scales = arena_try_array(c->arena, const struct tensor *, (size_t)experts);
    char name[HF_NAME_MAX];
    bool packed = false;
    int rc = parts && scales ? 0 : error_set(err, ERROR_MEMORY, "no memory for tensors");
    if (rc == 0 && c->config.arch->packed && part->flags & HF_ALL_EXPERTS)
        rc = packed_add(c, part, layer, &packed, err);
    if (packed)
        return rc;
    for (int64_t e = 0; e < experts && rc == 0; e++) {
        rc = weight_find(c, part, layer, e, bias, &parts[e], &scales[e], err);
        if (rc == 0 && !parts[e])
            return 0;
    }
    if (rc)
        return rc;
    const struct hf_source source = {.parts = parts,
        .n_parts = experts,
        .scales = c->config.fp8.is ? scales : NULL,
        .fp8 = c->config.fp8,
        .view[0] = hf_view_of(part, s, bias),
        .change = part->change,
        .shape = s};
    struct pour_tensor tensor;
    hf_gguf_name(part, layer, bias, name);
    shape_make(part, &source.view[0], &tensor);
    tensor.name = arena_strdup(c->arena, str_from(name));
    return hf_list_add(&c->list, &tensor, &source, err);
}

/* It is of the parts around the language model. */
static bool is_around(const struct hf_inner *inner, struct str name)
{
    bool left = false;
    if (str_starts(name, STR("model.")))
        name = str_slice(name, 6, name.len);
    for (size_t i = 0; inner && inner->left[i]; i++)
        left = left || str_starts(name, str_from(inner->left[i]));
    return left;
}

/* It is of a layer behind the last, which foretells further tokens. */
static bool is_ahead(const struct hf_config *c, struct str name)
{
    const struct str before = STR("model.layers.");
    int64_t layer;
    if (!c->arch->ahead || !hf_given(c->root, c->arch->ahead))
        return false;
    if (c->arch->apart)
        return str_starts(name, STR("mtp.")) || str_starts(name, STR("model.mtp."));
    if (!str_starts(name, before))
        return false;
    name = str_slice(name, before.len, name.len);
    return str_to_int64(str_slice(name, 0, str_find_char(name, '.')), &layer) && layer >= c->shape.layers;
}

/* A folder may say that it has a layer which foretells, and lack it or a part of it: the model is whole
 * without it. */
static int ahead_part_check(
    void *ctx, const struct hf_part *part, int64_t layer, bool bias, struct error *err)
{
    const struct conversion *c = ctx;
    char name[HF_NAME_MAX];
    if (layer < c->config.shape.layers || (bias ? !(part->flags & HF_MUST_BIAS) : part->flags & HF_OPTIONAL))
        return 0;
    hf_name(&c->config.shape, part, layer, 0, bias, name);
    return find(c, name) ? 0 : error_set(err, ERROR_NOT_FOUND, "'%s' is not there", name);
}

static void ahead_check(struct conversion *c)
{
    struct error why;
    if (c->config.shape.ahead == 0 ||
        hf_each_part(c->config.arch, &c->config.shape, ahead_part_check, c, &why) == 0)
        return;
    log_warn("convert", "the layer that foretells further tokens is left out: %s", why.message);
    c->config.shape.ahead = 0;
}

/* Nothing of the model is left behind unsaid. */
static int check_taken(const struct conversion *c, struct error *err)
{
    size_t around = 0, ahead = 0;
    for (size_t i = 0; i < c->weights.n; i++) {
        const struct safetensor *s = c->weights.list[i];
        if (s->taken)
            continue;
        if (is_around(c->config.arch->inner, s->tensor.name))
            around++;
        else if (is_ahead(&c->config, s->tensor.name))
            ahead++;
        else if (!str_ends(s->tensor.name, STR(".rotary_emb.inv_freq")) &&
                 !(c->config.fp8.is && str_ends(s->tensor.name, STR(".activation_scale"))))
            return error_set(err, ERROR_UNSUPPORTED,
                "tensor '" STR_FMT "' is not known of a %s: what it does would be lost",
                STR_ARG(str_slice(s->tensor.name, 0, 200)), c->config.arch->hf);
    }
    if (around > 0)
        log_warn("convert", "%zu tensors of what is around the language model are left out", around);
    if (ahead > 0)
        log_warn("convert", "%zu tensors of layers that foretell further tokens are left out", ahead);
    return 0;
}

static int tensors_plan(struct conversion *c, struct error *err)
{
    int rc = hf_each_part(c->config.arch, &c->config.shape, part_add, c, err);
    for (int i = 0; i < c->config.n_made && rc == 0; i++) {
        const struct hf_made *made = &c->config.made[i];
        const struct pour_tensor tensor = {.name = made->name, .n_dims = 1, .shape = {made->n, 1, 1, 1}};
        rc = hf_list_add(&c->list, &tensor, &(struct hf_source){.made = made->values}, err);
    }
    return rc ? rc : check_taken(c, err);
}

/* ---- The file ---- */
static const struct quantize_mix *mix_of(const struct conversion *c, const struct quantize_mix *wanted)
{
    const struct safetensor *s = find(c, "model.embed_tokens.weight");
    const enum tensor_type type = s && s->tensor.type != TENSOR_F64 ? s->tensor.type : TENSOR_F32;
    return wanted ? wanted : quantize_mix_find(tensor_type_info(type)->name);
}

struct str hf_job_name(const struct hf_job *job)
{
    struct str path = str_from(job->from);
    while (path.len > 1 && path.data[path.len - 1] == '/')
        path.len--;
    return job->name ? str_from(job->name) : str_base_name(path);
}

static int keys_write(
    struct conversion *c, const struct hf_job *job, struct gguf_writer *w, struct error *err)
{
    gguf_write_str(w, "general.architecture", str_from(c->config.arch->gguf));
    gguf_write_str(w, "general.type", STR("model"));
    gguf_write_str(w, "general.name", hf_job_name(job));
    int rc = hf_config_write(&c->config, w, err);
    return rc ? rc : hf_tokens_write(&c->config, job->from, job->pre, w, err);
}

/* What is packed stays so where nothing else is asked for, and gives the file its type. */
static int types_choose(
    struct conversion *c, const struct quantize_mix *wanted, struct gguf_writer *w, struct error *err)
{
    const struct quantize_mix *mix = mix_of(c, wanted);
    int rc = pour_choose(w, mix, c->list.tensors, c->list.n, err);
    for (size_t i = 0; i < c->list.n && !wanted; i++)
        if (c->list.sources[i].packed) {
            c->list.tensors[i].type = TENSOR_MXFP4;
            mix = quantize_mix_find("MXFP4");
        }
    gguf_write_u32(w, "general.file_type", mix->file_type);
    gguf_write_u32(w, "general.quantization_version", 2);
    return rc;
}

static int file_make(struct conversion *c, struct hf_job *job, struct error *err)
{
    struct gguf_writer w;
    gguf_writer_init(&w);
    int rc = keys_write(c, job, &w, err);
    rc = rc ? rc : tensors_plan(c, err);
    rc = rc ? rc : types_choose(c, job->mix, &w, err);
    const struct pour pour = hf_list_pour(&job->pour, &c->list);
    rc = rc ? rc : pour_gguf(&pour, c->list.tensors, c->list.n, &w, job->to, err);
    job->tensors = c->list.n;
    job->bytes = w.data_bytes;
    gguf_writer_free(&w);
    return rc;
}

int hf_convert(struct hf_job *job, struct error *err)
{
    struct conversion c = {.arena = arena_create(CONVERT_MEMORY)};
    int rc = hf_config_read(c.arena, job->from, &c.config, err);
    rc = rc ? rc : weights_open(job->from, "model", &c.weights, err);
    if (rc == 0)
        ahead_check(&c);
    rc = rc ? rc : file_make(&c, job, err);
    weights_close(&c.weights);
    hf_config_free(&c.config);
    hf_list_free(&c.list);
    arena_free(c.arena);
    return rc;
}

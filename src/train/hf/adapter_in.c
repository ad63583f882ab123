/* A LoRA adapter of PEFT's (adapter_config.json, adapter_model.safetensors) to a GGUF file
 * (engine/worker/lora.h has the format). Which names its tensors have and how rows are turned is the base
 * model's affair. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "engine/worker/lora.h"
#include "train/hf/config.h"
#include "train/hf/convert.h"
#include "train/hf/safetensors.h"
#include "train/hf/source.h"
#include "train/hf/tokens.h"

struct adapting {
    struct arena *arena;
    struct json_view view;
    const struct json_item *root; /* adapter_config.json */
    const struct hf_arch *arch;
    struct hf_shape shape;
    struct weights weights;
    struct hf_list list;
    int64_t rank; /* of the tensor that was read last */
};

/* ---- What the adapter says of itself ---- */
static int config_check(const struct json_item *r, struct error *err)
{
    static const char *const empty[] = {
        "alpha_pattern", "modules_to_save", "layer_replication", "trainable_token_indices"};
    static const char *const off[] = {"use_dora", "fan_in_fan_out", "lora_bias", "use_qalora"};
    const struct str type = json_item_text(r, "peft_type"), bias = json_item_text(r, "bias");
    if (!str_is(type, "LORA"))
        return error_set(err, ERROR_UNSUPPORTED,
            "adapter_config.json's 'peft_type' is '" STR_FMT "': only LORA is known",
            STR_ARG(str_slice(type, 0, 40)));
    if (bias.len > 0 && !str_is(bias, "none"))
        return error_set(err, ERROR_UNSUPPORTED,
            "adapter_config.json's 'bias' is '" STR_FMT "': adapters change no biases here",
            STR_ARG(str_slice(bias, 0, 40)));
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        const struct json_item *item = hf_given(r, empty[i]);
        if (item && item->n > 0)
            return error_set(err, ERROR_UNSUPPORTED,
                "adapter_config.json has a '%s', which a GGUF adapter cannot say", empty[i]);
    }
    for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
        const struct json_item *item = hf_given(r, off[i]);
        if (item && item->kind != JSON_ITEM_FALSE)
            return error_set(err, ERROR_UNSUPPORTED,
                "adapter_config.json's '%s' is on, which a GGUF adapter cannot say", off[i]);
    }
    return 0;
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The model that the adapter changes: its kind and its shape. */
static int base_read(struct adapting *a, const struct hf_job *job, struct error *err)
{
    const struct str named = json_item_text(a->root, "base_model_name_or_path");
    const char *base = job->base ? job->base : arena_strdup(a->arena, named);
    struct hf_config config;
    struct gguf *g = NULL;
    if (!job->base && !is_folder(base))
        return error_set(err, ERROR_NOT_FOUND,
            "the adapter is for '" STR_FMT
            "', which is no folder here: name the model, or its folder, by --base",
            STR_ARG(str_slice(named, 0, 200)));
    if (is_folder(base)) {
        int rc = hf_config_read(a->arena, base, &config, err);
        if (rc == 0) {
            a->arch = config.arch;
            a->shape = config.shape;
            hf_config_free(&config);
        }
        return rc;
    }
    int rc = file_open_model(base, &g, err);
    rc = rc ? rc : hf_shape_of(g, &a->arch, &a->shape, err);
    gguf_close(g);
    return rc;
}

/* ---- What becomes what ---- */
/* "base_model.model." NAME ".lora_A.weight", of an embedding ".lora_embedding_A"; some have ".default" in it.
 */
static struct safetensor *find(struct adapting *a, const char *module, char which, bool of_table)
{
    static const char *const before[] = {"base_model.model.", ""};
    static const char *const matrix[] = {".lora_%c.weight", ".lora_%c.default.weight"};
    static const char *const table[] = {".lora_embedding_%c", ".lora_embedding_%c.default"};
    for (int i = 0; i < 4; i++) {
        char name[HF_NAME_MAX + 64], end[32];
        snprintf(end, sizeof end, (of_table ? table : matrix)[i % 2], which);
        snprintf(name, sizeof name, "%s%s%s", before[i / 2], module, end);
        struct safetensor *s = weights_find(&a->weights, str_from(name));
        if (s)
            return s;
    }
    return NULL;
}

/* A or B of this many rows and columns; `rank` is the one that it may choose (0: it does here). */
static int tensor_take(struct safetensor *s, int64_t *rows, int64_t *columns, struct error *err)
{
    const struct tensor *t = &s->tensor;
    s->taken = true;
    if (s->unusable)
        return error_set(err, ERROR_UNSUPPORTED, "tensor '" STR_FMT "' %s",
            STR_ARG(str_slice(t->name, 0, 200)), s->unusable);
    if ((*rows && tensor_rows(t) != *rows) || (*columns && t->shape[0] != *columns) ||
        tensor_rows(t) > LORA_RANK_MAX * 1024)
        return error_set(err, ERROR_INVALID,
            "tensor '" STR_FMT "' is %lld x %lld: it does not fit the model, or its other half",
            STR_ARG(str_slice(t->name, 0, 200)), (long long)tensor_rows(t), (long long)t->shape[0]);
    *rows = tensor_rows(t);
    *columns = t->shape[0];
    return 0;
}

/* Both halves of one module's change; *found: there is one. */
static int halves_find(struct adapting *a, const char *module, const struct hf_part *part,
    const struct tensor **half_a, const struct tensor **half_b, int64_t *rank, struct error *err)
{
    const bool table = hf_is_table(part);
    struct safetensor *sa = find(a, module, 'A', table), *sb = find(a, module, 'B', table);
    int64_t rows = hf_size(&a->shape, part->rows), columns = hf_size(&a->shape, part->columns);
    *half_a = *half_b = NULL;
    if (!sa && !sb)
        return 0;
    if (!sa || !sb)
        return error_set(err, ERROR_INVALID, "the adapter lacks half of '%s' (%s): it is incomplete", module,
            sa ? "lora_B" : "lora_A");
    /* of a table the vocabulary's tokens are the columns of A, and B makes the embedding */
    int rc = tensor_take(sa, rank, table ? &rows : &columns, err);
    rc = rc ? rc : tensor_take(sb, table ? &columns : &rows, rank, err);
    if (rc == 0 && (*rank < 1 || *rank > LORA_RANK_MAX))
        rc = error_set(err, ERROR_INVALID, "the adapter's '%s' has the rank %lld", module, (long long)*rank);
    *half_a = &sa->tensor;
    *half_b = &sb->tensor;
    return rc;
}

static int half_add(struct adapting *a, const struct hf_part *part, int64_t layer, char which,
    const struct tensor **parts, int64_t experts, int64_t columns, int64_t rows, struct error *err)
{
    char name[HF_NAME_MAX];
    hf_gguf_name(part, layer, false, name);
    const struct pour_tensor tensor = {.name = arena_printf(a->arena, "%s.lora_%c", name, which).data,
        .type = TENSOR_F32,
        .n_dims = part->flags & HF_EACH_EXPERT ? 3 : 2,
        .shape = {columns, rows, experts, 1}};
    const bool across = hf_is_table(part) && which == 'a';
    const struct hf_source source = {.parts = parts,
        .n_parts = experts,
        .view[0] = hf_view_plain(across ? columns : rows, across ? rows : columns, across),
        .change = which == 'b' ? part->change : HF_SAME,
        .shape = &a->shape};
    return hf_list_add(&a->list, &tensor, &source, err);
}

static int part_add(void *ctx, const struct hf_part *part, int64_t layer, bool bias, struct error *err)
{
    struct adapting *a = ctx;
    const int64_t experts = part->flags & HF_EACH_EXPERT ? a->shape.experts : 1;
    const bool table = hf_is_table(part);
    if (bias || !hf_takes_adapter(part))
        return 0;
    const struct tensor **half_a = arena_try_array(a->arena, const struct tensor *, (size_t)experts),
                        **half_b = arena_try_array(a->arena, const struct tensor *, (size_t)experts);
    int rc = half_a && half_b ? 0 : error_set(err, ERROR_MEMORY, "no memory for tensors");
    int64_t rank = 0, found = 0;
    for (int64_t e = 0; e < experts && rc == 0; e++) {
        char module[HF_NAME_MAX];
        hf_name(&a->shape, part, layer, e, false, module);
        module[strlen(module) - strlen(".weight")] = '\0';
        rc = halves_find(a, module, part, &half_a[e], &half_b[e], &rank, err);
        found += half_a[e] != NULL;
        if (rc == 0 && found != 0 && found != e + 1)
            rc = error_set(
                err, ERROR_UNSUPPORTED, "the adapter changes some experts beside '%s', not all", module);
    }
    if (rc || found == 0)
        return rc;
    const int64_t rows = hf_size(&a->shape, part->rows), columns = hf_size(&a->shape, part->columns);
    a->rank = rank;
    rc = half_add(a, part, layer, 'a', half_a, experts, table ? rank : columns, table ? rows : rank, err);
    return rc ? rc : half_add(a, part, layer, 'b', half_b, experts, rank, table ? columns : rows, err);
}

static int check_taken(const struct adapting *a, struct error *err)
{
    for (size_t i = 0; i < a->weights.n; i++)
        if (!a->weights.list[i]->taken)
            return error_set(err, ERROR_UNSUPPORTED,
                "the adapter's tensor '" STR_FMT "' changes nothing that is known of a %s",
                STR_ARG(str_slice(a->weights.list[i]->tensor.name, 0, 200)), a->arch->hf);
    return a->list.n > 0 ? 0 : error_set(err, ERROR_INVALID, "the adapter changes nothing");
}

/* ---- The file ---- */
/* What the adapter adds is multiplied by alpha / rank, or by alpha / sqrt(rank). */
static int alpha_read(const struct adapting *a, double *out, struct error *err)
{
    const struct json_item *root_of_rank = hf_given(a->root, "use_rslora"),
                           *pattern = hf_given(a->root, "rank_pattern");
    int rc = hf_number(a->root, "lora_alpha", (double)NAN, -1e6, 1e6, out, err);
    if (rc || !root_of_rank || root_of_rank->kind != JSON_ITEM_TRUE)
        return rc ? error_wrap(err, "adapter_config.json") : 0;
    if (pattern && pattern->n > 0)
        return error_set(
            err, ERROR_UNSUPPORTED, "adapter_config.json has 'use_rslora' with a 'rank_pattern'");
    *out *= sqrt((double)a->rank);
    return 0;
}

static int file_make(struct adapting *a, struct hf_job *job, struct error *err)
{
    struct gguf_writer w;
    const struct pour pour = hf_list_pour(&job->pour, &a->list);
    double alpha = 0;
    int rc = alpha_read(a, &alpha, err);
    gguf_writer_init(&w);
    gguf_write_str(&w, "general.architecture", str_from(a->arch->gguf));
    gguf_write_str(&w, "general.type", STR("adapter"));
    gguf_write_str(&w, "general.name", hf_job_name(job));
    gguf_write_str(&w, "adapter.type", STR("lora"));
    gguf_write_f32(&w, "adapter.lora.alpha", (float)alpha);
    rc = rc ? rc : pour_gguf(&pour, a->list.tensors, a->list.n, &w, job->to, err);
    job->tensors = a->list.n;
    job->bytes = w.data_bytes;
    gguf_writer_free(&w);
    return rc;
}

int hf_convert_adapter(struct hf_job *job, struct error *err)
{
    struct adapting a = {.arena = arena_create(GIB)};
    json_view_init(&a.view);
    int rc = hf_json_read(a.arena, job->from, "adapter_config.json", &a.view, &a.root, err);
    rc = rc ? rc : config_check(a.root, err);
    rc = rc ? rc : base_read(&a, job, err);
    rc = rc ? rc : weights_open(job->from, "adapter_model", &a.weights, err);
    rc = rc ? rc : hf_each_part(a.arch, &a.shape, part_add, &a, err);
    rc = rc ? rc : check_taken(&a, err);
    rc = rc ? rc : file_make(&a, job, err);
    weights_close(&a.weights);
    json_view_free(&a.view);
    hf_list_free(&a.list);
    arena_free(a.arena);
    return rc;
}

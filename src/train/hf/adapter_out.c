/* A LoRA adapter of a GGUF file to PEFT's folder. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "engine/worker/lora.h"
#include "json/json.h"
#include "train/hf/config.h"
#include "train/hf/convert.h"
#include "train/hf/source.h"
#include "train/hf/writer.h"

struct adapter {
    struct arena *arena;
    const struct gguf *gguf;
    const struct hf_arch *arch;
    struct hf_shape shape;
    struct hf_list list;
    const char **modules; /* "self_attn.q_proj", each once */
    size_t n_modules;
    struct buf ranks; /* rank_pattern's members */
    int64_t rank;     /* of the first */
    bool *taken;
};

/* ---- What becomes what ---- */
static void module_note(struct adapter *a, const struct hf_part *part, const char *module, int64_t rank)
{
    const char *last = strrchr(part->hf, '.') ? strrchr(part->hf, '.') + 1 : part->hf;
    bool known = false;
    for (size_t i = 0; i < a->n_modules; i++)
        known = known || strcmp(a->modules[i], last) == 0;
    if (!known)
        a->modules[a->n_modules++] = last;
    a->rank = a->rank ? a->rank : rank;
    if (rank != a->rank)
        buf_appendf(&a->ranks, "%s\"%s\":%lld", a->ranks.len > 0 ? "," : "", module, (long long)rank);
}

static int half_add(struct adapter *a, const struct hf_part *part, const char *module, char which,
    const struct tensor *t, int64_t expert, struct error *err)
{
    const bool across = hf_is_table(part) && which == 'A';
    const char *form =
        hf_is_table(part) ? "base_model.model.%s.lora_embedding_%c" : "base_model.model.%s.lora_%c.weight";
    const struct tensor **parts = arena_new(a->arena, const struct tensor *);
    *parts = t;
    const struct pour_tensor tensor = {.name = arena_printf(a->arena, form, module, which).data,
        .type = TENSOR_F32,
        .n_dims = 2,
        .shape = {t->shape[across], t->shape[!across], 1, 1}};
    const struct hf_source source = {.parts = parts,
        .n_parts = 1,
        .view[0] = hf_view_plain(tensor.shape[1], tensor.shape[0], across),
        .skip = expert,
        .change = which == 'B' ? part->change : HF_SAME,
        .back = true,
        .shape = &a->shape};
    return hf_list_add(&a->list, &tensor, &source, err);
}

static const struct tensor *half_find(
    struct adapter *a, const struct hf_part *part, int64_t layer, char which)
{
    char name[HF_NAME_MAX], full[HF_NAME_MAX + 8];
    hf_gguf_name(part, layer, false, name);
    snprintf(full, sizeof full, "%s.lora_%c", name, which);
    const struct tensor *t = gguf_tensor_find(a->gguf, full);
    if (t)
        a->taken[t - gguf_tensor_at(a->gguf, 0)] = true;
    return t;
}

/* Without the base nothing but the halves' own shapes is known. */
static bool fits(const struct adapter *a, const struct hf_part *part, const struct tensor *ta,
    const struct tensor *tb, int64_t experts)
{
    const bool table = hf_is_table(part);
    const int64_t rank = tb->shape[0];
    bool fit = rank >= 1 && rank <= LORA_RANK_MAX && tensor_type_readable(ta->type) &&
               tensor_type_readable(tb->type) && ta->shape[2] == experts && tb->shape[2] == experts &&
               ta->shape[3] == 1 && tb->shape[3] == 1 && (table ? ta->shape[0] : ta->shape[1]) == rank;
    if (a->shape.embed > 0)
        fit = fit && (table ? ta->shape[1] : tb->shape[1]) == hf_size(&a->shape, part->rows) &&
              (table ? tb->shape[1] : ta->shape[0]) == hf_size(&a->shape, part->columns);
    return fit;
}

static int part_add(void *ctx, const struct hf_part *part, int64_t layer, bool bias, struct error *err)
{
    struct adapter *a = ctx;
    const int64_t experts = part->flags & HF_EACH_EXPERT ? a->shape.experts : 1;
    if (bias || !hf_takes_adapter(part))
        return 0;
    const struct tensor *ta = half_find(a, part, layer, 'a'), *tb = half_find(a, part, layer, 'b');
    char module[HF_NAME_MAX];
    int rc = 0;
    if (!ta && !tb)
        return 0;
    hf_name(&a->shape, part, layer, 0, false, module);
    if (!ta || !tb || !fits(a, part, ta, tb, experts))
        return error_set(
            err, ERROR_INVALID, "the adapter's halves of '%s' do not fit each other or the base", module);
    for (int64_t e = 0; e < experts && rc == 0; e++) {
        hf_name(&a->shape, part, layer, e, false, module);
        module[strlen(module) - strlen(".weight")] = '\0';
        module_note(a, part, module, tb->shape[0]);
        rc = half_add(a, part, module, 'A', ta, e, err);
        rc = rc ? rc : half_add(a, part, module, 'B', tb, e, err);
    }
    return rc;
}

/* ---- The base ---- */
static int64_t layers_of(const struct gguf *g)
{
    int64_t most = 0;
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct str name = gguf_tensor_at(g, i)->name;
        int64_t layer;
        if (str_starts(name, STR("blk.")) &&
            str_to_int64(str_slice(name, 4, 4 + str_find_char(str_slice(name, 4, name.len), '.')), &layer) &&
            layer >= most && layer < 4096)
            most = layer + 1;
    }
    return most;
}

static int base_read(struct adapter *a, const struct hf_job *job, struct error *err)
{
    struct str architecture;
    struct gguf *base = NULL;
    int rc = gguf_get_str(a->gguf, "general.architecture", STR_NONE, &architecture, err);
    if (rc == 0 && job->base) {
        rc = file_open_model(job->base, &base, err);
        rc = rc ? rc : hf_shape_of(base, &a->arch, &a->shape, err);
        gguf_close(base);
        if (rc == 0 && !str_is(architecture, a->arch->gguf))
            rc = error_set(err, ERROR_INVALID, "the adapter is for '" STR_FMT "', %s is '%s'",
                STR_ARG(str_slice(architecture, 0, 60)), job->base, a->arch->gguf);
        return rc;
    }
    a->arch = rc ? NULL : hf_arch_of(architecture, (struct hf_signs){0});
    if (rc == 0 && (!a->arch || hf_arch_turns(a->arch)))
        rc = error_set(err, ERROR_INVALID,
            "an adapter for '" STR_FMT "' can be exported only beside its model: name that by --base",
            STR_ARG(str_slice(architecture, 0, 60)));
    a->shape = (struct hf_shape){.layers = layers_of(a->gguf), .heads = 1, .kv_heads = 1};
    return rc;
}

static int check_taken(const struct adapter *a, struct error *err)
{
    for (size_t i = 0; i < gguf_n_tensors(a->gguf); i++)
        if (!a->taken[i])
            return error_set(err, ERROR_UNSUPPORTED, "the adapter's tensor '" STR_FMT "' has no name in a %s",
                STR_ARG(str_slice(gguf_tensor_at(a->gguf, i)->name, 0, 128)), a->arch->hf);
    return a->list.n > 0 ? 0 : error_set(err, ERROR_INVALID, "the adapter changes nothing");
}

/* ---- The files ---- */
static void config_make(const struct adapter *a, const struct hf_job *job, double alpha, struct buf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_key(&w, "peft_type");
    json_write_text(&w, "LORA");
    json_key(&w, "task_type");
    json_write_text(&w, "CAUSAL_LM");
    json_key(&w, "base_model_name_or_path");
    json_write_text(&w, job->base ? job->base : "");
    json_key(&w, "bias");
    json_write_text(&w, "none");
    json_key(&w, "inference_mode");
    json_write_bool(&w, true);
    json_key(&w, "r");
    json_write_int(&w, a->rank);
    json_key(&w, "lora_alpha");
    hf_write_float(&w, (float)alpha);
    json_key(&w, "lora_dropout");
    hf_write_float(&w, 0);
    json_key(&w, "rank_pattern");
    json_write_raw(&w, arena_printf(a->arena, "{" STR_FMT "}", STR_ARG(buf_str(&a->ranks))));
    json_key(&w, "target_modules");
    json_array_begin(&w);
    for (size_t i = 0; i < a->n_modules; i++)
        json_write_text(&w, a->modules[i]);
    json_array_end(&w);
    json_object_end(&w);
    buf_append_char(out, '\n');
}

static int config_check(const struct adapter *a, double *alpha, struct error *err)
{
    float given;
    int rc = gguf_get_f32(a->gguf, "adapter.lora.alpha", 0, &given, err);
    /* 0: what it adds counts as it is */
    if (rc == 0 && given == 0 && a->ranks.len > 0)
        rc = error_set(
            err, ERROR_UNSUPPORTED, "the adapter gives no 'adapter.lora.alpha' for its several ranks");
    if (rc == 0 && a->ranks.failed)
        rc = error_set(err, a->ranks.failed, "no memory for adapter_config.json");
    *alpha = given != 0 ? (double)given : (double)a->rank;
    return rc;
}

/* Without adapter_config.json the folder is no adapter: it comes last. */
static int files_write(struct adapter *a, struct hf_job *job, double alpha, struct error *err)
{
    const char *path = arena_printf(a->arena, "%s/adapter_config.json", job->to).data;
    const struct pour pour = hf_list_pour(&job->pour, &a->list);
    struct buf config;
    buf_init(&config, GIB);
    config_make(a, job, alpha, &config);
    int rc = file_remove(path, err);
    rc = rc ? rc
            : safetensors_write(&pour, a->list.tensors, a->list.n, job->to, "adapter_model", UINT64_MAX, err);
    rc = rc ? rc : file_put(path, &config, err);
    buf_free(&config);
    return rc;
}

int hf_export_adapter(struct hf_job *job, const struct gguf *g, struct error *err)
{
    struct adapter a = {.arena = arena_create(GIB), .gguf = g};
    double alpha = 0;
    a.taken = calloc(gguf_n_tensors(g) + 1, sizeof *a.taken);
    a.modules = arena_alloc(a.arena, 64 * sizeof *a.modules);
    buf_init(&a.ranks, 64 * MIB);
    int rc = a.taken ? base_read(&a, job, err) : error_set(err, ERROR_MEMORY, "no memory for tensors");
    rc = rc ? rc : hf_each_part(a.arch, &a.shape, part_add, &a, err);
    rc = rc ? rc : check_taken(&a, err);
    rc = rc ? rc : config_check(&a, &alpha, err);
    rc = rc ? rc : files_write(&a, job, alpha, err);
    job->tensors = a.list.n;
    job->bytes = hf_list_bytes(&a.list);
    buf_free(&a.ranks);
    hf_list_free(&a.list);
    free(a.taken);
    arena_free(a.arena);
    return rc;
}

/* The configuration of a training run (train.h has the format). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "json/yaml.h"
#include "train/files.h"
#include "train/train.h"

enum {
    LAYERS_MAX = 256,
    WIDTH_MAX = 1 << 14,
    VOCAB_LEAST = 288,
    VOCAB_MAX = 1 << 18,
    CONTEXT_MAX = 1 << 16,
    LORA_RANK = 16,
    LORA_RANK_LARGEST = 1024
};

#define RATE_LEAST 1e-9

/* One reader for a section: the first failure stays. */
struct section {
    const struct yaml_node *map;
    int rc;
    struct error *err;
};

static int64_t whole(struct section *s, const char *key, int64_t fallback, int64_t least, int64_t most)
{
    int64_t out = fallback;
    if (s->rc == 0)
        s->rc = yaml_get_int(s->map, key, fallback, least, most, &out, s->err);
    return out;
}

static double real(struct section *s, const char *key, double fallback, double least, double most)
{
    double out = fallback;
    if (s->rc == 0)
        s->rc = yaml_get_double(s->map, key, fallback, least, most, &out, s->err);
    return out;
}

static int section_open(struct section *s, const struct yaml_node *root, const char *name,
    const char *const *keys, struct error *err)
{
    *s = (struct section){.map = yaml_get(root, name), .err = err};
    if (!s->map)
        return 0;
    if (s->map->kind != YAML_MAP)
        return yaml_error(s->map, err, ERROR_INVALID, "'%s' holds settings: write them below it", name);
    return yaml_check_keys(s->map, keys, name, err);
}

/* A member that has no sensible fallback. */
static int required(
    const struct section *s, const struct yaml_node *root, const char *section, const char *key)
{
    if (s->rc || yaml_get(s->map, key))
        return s->rc;
    return yaml_error(s->map ? s->map : root, s->err, ERROR_INVALID,
        "'%s' lacks '%s': weir train --help shows a configuration", section, key);
}

/* ---- Sections ---- */
static int shape_read(struct train_config *c, const struct yaml_node *root, struct error *err)
{
    static const char *const keys[] = {"layers", "embed", "heads", "kv_heads", "ffn", "vocab", "context",
        "tied", "rope_base", "norm_eps", NULL};
    struct train_shape *p = &c->shape;
    struct section s;
    int rc = section_open(&s, root, "model", keys, err);
    for (size_t i = 0; rc == 0 && keys[i]; i++)
        if (strcmp(keys[i], "kv_heads") != 0 && strcmp(keys[i], "tied") != 0 && i < 7)
            rc = required(&s, root, "model", keys[i]);
    if (rc)
        return rc;
    p->n_layers = (int32_t)whole(&s, "layers", 0, 1, LAYERS_MAX);
    p->n_embed = (int32_t)whole(&s, "embed", 0, 8, WIDTH_MAX);
    p->n_heads = (int32_t)whole(&s, "heads", 0, 1, 256);
    p->n_kv_heads = (int32_t)whole(&s, "kv_heads", p->n_heads, 1, 256);
    p->n_ffn = (int32_t)whole(&s, "ffn", 0, 8, 4 * WIDTH_MAX);
    p->n_vocab = (int32_t)whole(&s, "vocab", 0, VOCAB_LEAST, VOCAB_MAX);
    p->n_context = (int32_t)whole(&s, "context", 0, 16, CONTEXT_MAX);
    p->rope_base = (float)real(&s, "rope_base", 10000, 1, 1e9);
    p->norm_eps = (float)real(&s, "norm_eps", 1e-5, 1e-12, 0.1);
    if (s.rc == 0)
        s.rc = yaml_get_bool(s.map, "tied", true, &p->tied, err);
    if (s.rc)
        return s.rc;
    if (p->n_embed % p->n_heads != 0 || p->n_embed / p->n_heads % 2 != 0)
        return yaml_error(s.map, err, ERROR_INVALID,
            "%d values cannot be shared by %d heads: embed / heads must be an even number", p->n_embed,
            p->n_heads);
    if (p->n_heads % p->n_kv_heads != 0)
        return yaml_error(s.map, err, ERROR_INVALID,
            "%d heads cannot share %d of keys: make heads a multiple of kv_heads", p->n_heads, p->n_kv_heads);
    p->head_width = p->n_embed / p->n_heads;
    return 0;
}

/* An adapter has few values: they take larger steps, fewer of them, and no decay. */
static const struct train_schedule schedules[] = {[TRAIN_NEW] = {.batch_tokens = 16384,
                                                      .warmup = 100,
                                                      .validate_every = 100,
                                                      .checkpoint_every = 100,
                                                      .learning_rate = 1e-3,
                                                      .final_rate = 0.1,
                                                      .weight_decay = 0.1,
                                                      .beta1 = 0.9,
                                                      .beta2 = 0.95,
                                                      .clip = 1,
                                                      .seed = 1},
    [TRAIN_TUNE] = {.epochs = 0, /* by the data, as batch_tokens */
        .batch_tokens = 0,
        .warmup = 10,
        .validate_every = 20,
        .checkpoint_every = 100,
        .learning_rate = 0, /* by the model */
        .final_rate = 0.1,
        .beta1 = 0.9,
        .beta2 = 0.95,
        .clip = 1,
        .seed = 1}};

/* Which of two words, the first of which goes without saying. */
static bool is_second(struct section *s, const char *key, const char *first, const char *second)
{
    struct str word;
    s->rc = s->rc ? s->rc : yaml_get_str(s->map, key, str_from(first), &word, s->err);
    if (s->rc || str_is(word, first) || str_is(word, second))
        return s->rc == 0 && str_is(word, second);
    s->rc = yaml_error(s->map, s->err, ERROR_INVALID, "'%s' is %s or %s, not '" STR_FMT "'", key, first,
        second, STR_ARG(word));
    return false;
}

static int schedule_read(
    struct train_config *c, enum train_kind kind, const struct yaml_node *root, struct error *err)
{
    const struct train_schedule *usual = &schedules[kind];
    static const char *const keys[] = {"steps", "epochs", "batch_tokens", "accumulate", "learning_rate",
        "final_rate", "warmup", "optimizer", "embedding", "precision", "weight_decay", "beta1", "beta2",
        "clip", "prompt_loss", "seed", "validate_every", "patience", "checkpoint_every", NULL};
    const int64_t most = (int64_t)1 << 40;
    struct train_schedule *t = &c->schedule;
    struct section s;
    int rc = section_open(&s, root, "train", keys, err);
    if (rc)
        return rc;
    t->steps = whole(&s, "steps", 0, 1, most);
    t->epochs = whole(&s, "epochs", 0, 1, 1 << 20);
    t->batch_tokens =
        whole(&s, "batch_tokens", usual->batch_tokens, 16, 1 << 28) * whole(&s, "accumulate", 1, 1, 1 << 12);
    t->learning_rate = real(&s, "learning_rate", usual->learning_rate, RATE_LEAST, 10);
    t->final_rate = real(&s, "final_rate", usual->final_rate, 0, 1);
    t->warmup = whole(&s, "warmup", usual->warmup, 0, most);
    t->weight_decay = real(&s, "weight_decay", usual->weight_decay, 0, 10);
    t->beta1 = real(&s, "beta1", usual->beta1, 0, 0.99999);
    t->beta2 = real(&s, "beta2", usual->beta2, 0, 0.9999999);
    t->clip = real(&s, "clip", usual->clip, 0, 1e9);
    t->prompt_loss = real(&s, "prompt_loss", 0, 0, 1);
    t->seed = (uint64_t)whole(&s, "seed", (int64_t)usual->seed, 0, INT64_MAX);
    t->validate_every = whole(&s, "validate_every", usual->validate_every, 1, most);
    t->patience = whole(&s, "patience", 0, 0, most);
    t->checkpoint_every = whole(&s, "checkpoint_every", usual->checkpoint_every, 1, most);
    t->optimizer = is_second(&s, "optimizer", "adamw", "muon") ? TRAIN_MUON : TRAIN_ADAMW;
    t->embedding_frozen = is_second(&s, "embedding", "trained", "frozen");
    t->precision = is_second(&s, "precision", "f32", "bf16") ? TRAIN_BF16 : TRAIN_F32;
    if (s.rc == 0 && kind == TRAIN_NEW && t->embedding_frozen)
        return yaml_error(s.map, err, ERROR_INVALID,
            "'embedding: frozen' is for weir finetune: there is no embedding yet that could be kept");
    const bool neither = t->steps == 0 && t->epochs == 0;
    if (s.rc == 0 && (neither ? kind == TRAIN_NEW : t->steps > 0 && t->epochs > 0))
        return yaml_error(s.map ? s.map : root, err, ERROR_INVALID,
            "'train' wants either 'steps' or 'epochs': how long to train");
    return s.rc;
}

static int files_read(struct train_config *c, const struct yaml_node *map, const char *key, const char *base,
    struct train_files *out, struct error *err)
{
    const struct yaml_node *list = yaml_get(map, key), *v;
    if (!list)
        return 0;
    out->paths = arena_alloc(c->arena, (list->count + 1) * sizeof *out->paths);
    for (v = list->kind == YAML_LIST ? list->first : list; v; v = list->kind == YAML_LIST ? v->next : NULL) {
        if (v->kind != YAML_SCALAR || v->value.len == 0)
            return yaml_error(v, err, ERROR_INVALID, "'%s' wants names of files", key);
        out->paths[out->count++] = file_beside(c->arena, base, v->value);
    }
    return 0;
}

static int data_read(
    struct train_config *c, const struct yaml_node *root, const char *base, struct error *err)
{
    static const char *const keys[] = {"train", "validation", "validation_share", NULL};
    struct section s;
    int rc = section_open(&s, root, "data", keys, err);
    rc = rc ? rc : required(&s, root, "data", "train");
    rc = rc ? rc : files_read(c, s.map, "train", base, &c->data, err);
    rc = rc ? rc : files_read(c, s.map, "validation", base, &c->validation, err);
    if (rc)
        return rc;
    c->validation_share = real(&s, "validation_share", 0, 0, 0.9);
    if (s.rc == 0 && c->validation.count > 0 && c->validation_share > 0)
        return yaml_error(
            s.map, err, ERROR_INVALID, "'data' wants either 'validation' or 'validation_share'");
    return s.rc;
}

/* What is made of a model there is has that one's types, if nothing is said. */
static int output_read(
    struct train_config *c, enum train_kind kind, const struct yaml_node *root, struct error *err)
{
    static const char *const keys[] = {"type", NULL};
    static const enum tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_BF16, TENSOR_Q8_0};
    struct section s;
    struct str name;
    int rc = section_open(&s, root, "output", keys, err);
    rc = rc ? rc : yaml_get_str(s.map, "type", kind == TRAIN_TUNE ? STR_NONE : STR("F16"), &name, err);
    if (rc)
        return rc;
    c->type = TENSOR_TYPES;
    if (name.len == 0)
        return 0;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (str_is(name, tensor_type_info(types[i])->name)) {
            c->type = types[i];
            return 0;
        }
    return yaml_error(
        s.map, err, ERROR_INVALID, "'type' is one of F32, F16, BF16, Q8_0, not '" STR_FMT "'", STR_ARG(name));
}

static int lora_read(struct train_config *c, const struct yaml_node *root, struct error *err)
{
    static const char *const keys[] = {"rank", "alpha", NULL};
    struct section s;
    int rc = section_open(&s, root, "lora", keys, err);
    if (rc)
        return rc;
    c->lora.rank = (int32_t)whole(&s, "rank", LORA_RANK, 1, LORA_RANK_LARGEST);
    c->lora.alpha = (float)real(&s, "alpha", 2.0 * c->lora.rank, 1e-3, 1e6);
    return s.rc;
}

static int root_read(struct train_config *c, enum train_kind kind, const struct yaml_node *root,
    const char *path, struct error *err)
{
    static const char *const all[] = {"name", "model", "tokenizer", "data", "train", "output", NULL};
    static const char *const tuning[] = {"name", "context", "data", "train", "lora", "output", NULL};
    const char *const *keys = kind == TRAIN_TUNE ? tuning : all;
    int64_t context = 0;
    struct str tokenizer;
    if (root->kind != YAML_MAP)
        return yaml_error(root, err, ERROR_INVALID, "this is no configuration: weir train --help shows one");
    int rc = yaml_check_keys(root, keys, "the configuration", err);
    rc = rc ? rc : yaml_get_str(root, "name", STR("weir"), &c->name, err);
    rc = rc ? rc : yaml_get_str(root, "tokenizer", STR_NONE, &tokenizer, err);
    if (rc == 0 && tokenizer.len > 0)
        c->tokenizer = file_beside(c->arena, path, tokenizer);
    if (rc == 0 && kind == TRAIN_NEW)
        rc = shape_read(c, root, err);
    rc = rc ? rc : yaml_get_int(root, "context", 0, 16, CONTEXT_MAX, &context, err);
    rc = rc ? rc : data_read(c, root, path, err);
    rc = rc ? rc : schedule_read(c, kind, root, err);
    rc = rc ? rc : lora_read(c, root, err);
    if (kind == TRAIN_TUNE)
        c->shape.n_context = (int32_t)context;
    return rc ? rc : output_read(c, kind, root, err);
}

int train_config_read(const char *path, enum train_kind kind, struct train_config *c, struct error *err)
{
    struct yaml_node *root;
    struct str text;
    *c = (struct train_config){.arena = arena_create(64 * MIB)};
    int rc = file_read(c->arena, path, LIMIT_CONFIG, &text, err);
    rc = rc ? rc : yaml_read(c->arena, text, path, &root, err);
    return rc ? rc : root_read(c, kind, root, path, err);
}

void train_config_default(const char *data, struct train_config *c)
{
    *c = (struct train_config){.arena = arena_create(MIB), .name = STR("tuned"), .type = TENSOR_TYPES};
    c->schedule = schedules[TRAIN_TUNE];
    c->lora = (struct train_lora){LORA_RANK, 2 * LORA_RANK};
    c->data = (struct train_files){arena_alloc(c->arena, sizeof(struct str)), 1};
    c->data.paths[0] = arena_copy(c->arena, str_from(data));
}

#include "engine/worker/lora.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "engine/worker/gguf.h"
#include "engine/worker/model_loader.h"

enum { NAME_MAX_BYTES = 256 };

void lora_open(struct loader *l, struct lora *lora, const struct gguf *gguf)
{
    struct str type = STR_NONE, kind = STR_NONE, architecture = STR_NONE;
    lora->gguf = gguf;
    if (l->rc == 0)
        l->rc = gguf_get_str(gguf, "general.type", STR_NONE, &type, l->err);
    if (l->rc == 0)
        l->rc = gguf_get_str(gguf, "adapter.type", STR_NONE, &kind, l->err);
    if (l->rc == 0)
        l->rc = gguf_get_str(gguf, "general.architecture", STR_NONE, &architecture, l->err);
    if (l->rc == 0)
        l->rc = gguf_get_f32(gguf, "adapter.lora.alpha", 0, &lora->alpha, l->err);
    if (l->rc)
        return;
    if (!str_is(type, "adapter"))
        loader_fail(l, ERROR_INVALID,
            "the adapter's general.type is '" STR_FMT "', not 'adapter': is it a model's file?",
            STR_ARG(str_slice(type, 0, 64)));
    else if (!str_is(kind, "lora"))
        loader_fail(l, ERROR_UNSUPPORTED,
            "the adapter's adapter.type is '" STR_FMT "': only 'lora' runs here",
            STR_ARG(str_slice(kind, 0, 64)));
    else if (!str_eq(architecture, l->architecture))
        loader_fail(l, ERROR_INVALID,
            "the adapter is for the architecture '" STR_FMT "', the model is '" STR_FMT "': it is another's",
            STR_ARG(str_slice(architecture, 0, 64)), STR_ARG(str_slice(l->architecture, 0, 64)));
    else if (!isfinite(lora->alpha) || fabsf(lora->alpha) > 1e6f)
        loader_fail(l, ERROR_INVALID, "the adapter's adapter.lora.alpha is %g: the file is broken",
            (double)lora->alpha);
    lora->taken = loader_alloc(l, gguf_n_tensors(gguf) + 1, sizeof *lora->taken);
}

/* NAME.lora_a or NAME.lora_b of this shape; NULL and no failure where there is none. */
static const struct tensor *find(
    struct loader *l, struct lora *lora, const char *name, char which, struct weight *out)
{
    char full[NAME_MAX_BYTES + 8];
    snprintf(full, sizeof full, "%s.lora_%c", name, which);
    const struct tensor *t = gguf_tensor_find(lora->gguf, full);
    if (!t)
        return NULL;
    lora->taken[t - gguf_tensor_at(lora->gguf, 0)] = true;
    if (!t->data || t->shape[3] != 1 || !l->backend->ops->supports(l->backend, t->type))
        loader_fail(l, ERROR_UNSUPPORTED,
            "the adapter's tensor '%s' is of a type or shape that cannot be used", full);
    *out =
        (struct weight){.type = t->type, .n_in = t->shape[0], .n_out = t->shape[1], .n_experts = t->shape[2]};
    if (l->rc == 0)
        l->rc = l->backend->ops->upload(l->backend, t->data, t->bytes, &out->data, l->err);
    return t;
}

/* What A and B must be for the weight: rank is the one figure that they choose. */
static bool fits(const struct lora_delta *d, const struct weight *w, bool embedding)
{
    const struct weight *a = &d->a.weight, *b = &d->b.weight;
    const int64_t rank = b->n_in;
    if (rank < 1 || rank > LORA_RANK_MAX || a->n_experts != w->n_experts || b->n_experts != w->n_experts)
        return false;
    if (embedding)
        return a->n_in == rank && a->n_out == w->n_out && b->n_out == w->n_in;
    return a->n_in == w->n_in && a->n_out == rank && b->n_out == w->n_out;
}

static const struct lora_delta *delta_load(struct loader *l, int32_t adapter, const char *name,
    const struct weight *w, const struct lora_delta *next)
{
    struct lora *lora = &l->adapters[adapter];
    struct lora_delta d = {.next = next, .adapter = adapter};
    const struct tensor *a = find(l, lora, name, 'a', &d.a.weight),
                        *b = find(l, lora, name, 'b', &d.b.weight);
    if (!a && !b)
        return next;
    if (!a || !b)
        loader_fail(l, ERROR_INVALID, "the adapter lacks '%s.lora_%c': it is incomplete, fetch it again",
            name, a ? 'b' : 'a');
    else if (!fits(&d, w, strcmp(name, LORA_EMBEDDING) == 0))
        loader_fail(l, ERROR_INVALID,
            "the adapter's '%s' is %" PRId64 " x %" PRId64 " and %" PRId64 " x %" PRId64
            ", the model's %" PRId64 " x %" PRId64 ": it is another model's",
            name, d.a.weight.n_in, d.a.weight.n_out, d.b.weight.n_in, d.b.weight.n_out, w->n_in, w->n_out);
    struct lora_delta *out = loader_alloc(l, 1, sizeof *out);
    if (!out || l->rc)
        return NULL;
    d.factor = lora->alpha != 0 ? lora->alpha / (float)d.b.weight.n_in : 1;
    *out = d;
    return out;
}

const struct lora_delta *lora_deltas(struct loader *l, const char *name, const struct weight *w)
{
    const struct lora_delta *deltas = NULL;
    for (int32_t i = l->n_adapters - 1; i >= 0 && l->rc == 0; i--)
        deltas = delta_load(l, i, name, w, deltas);
    return deltas;
}

const struct lora_delta *lora_part(
    struct loader *l, const struct lora_delta *whole, int64_t from, int64_t count)
{
    if (!whole || l->rc)
        return NULL;
    struct lora_delta *part = loader_alloc(l, 1, sizeof *part);
    if (!part)
        return NULL;
    *part = *whole;
    part->b = loader_part(l, &whole->b, from, count);
    part->next = lora_part(l, whole->next, from, count);
    return part;
}

/* Norms that were trained along with an adapter are whole vectors; what adapters are used for changes little
 * without them. */
static bool is_norm(struct str name)
{
    return str_ends(name, STR("_norm.weight"));
}

static void check_tensor(struct loader *l, const struct tensor *t)
{
    struct str name = str_slice(t->name, 0, NAME_MAX_BYTES - 1), base = name;
    char text[NAME_MAX_BYTES];
    if (is_norm(name)) {
        log_warn("lora", "the adapter's own '" STR_FMT "' is not used", STR_ARG(name));
        return;
    }
    if (!str_ends(name, STR(".lora_a")) && !str_ends(name, STR(".lora_b")))
        return loader_fail(l, ERROR_INVALID,
            "the adapter's tensor '" STR_FMT "' is neither lora_a nor lora_b: %s", STR_ARG(name),
            "the file is broken");
    base.len -= strlen(".lora_a");
    snprintf(text, sizeof text, STR_FMT, STR_ARG(base));
    if (gguf_tensor_find(l->gguf, text))
        loader_fail(
            l, ERROR_UNSUPPORTED, "the adapter changes '%s', which adapters cannot change here", text);
    else
        loader_fail(l, ERROR_INVALID,
            "the adapter changes '%s', which the model does not have: it is another's", text);
}

void lora_check_taken(struct loader *l)
{
    for (int32_t i = 0; i < l->n_adapters && l->rc == 0; i++)
        for (size_t t = 0; t < gguf_n_tensors(l->adapters[i].gguf) && l->rc == 0; t++)
            if (!l->adapters[i].taken[t])
                check_tensor(l, gguf_tensor_at(l->adapters[i].gguf, t));
}

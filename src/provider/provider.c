#include "provider/provider.h"

#include <assert.h>
#include <string.h>

#include "base/limits.h"
#include "provider/dialect.h"

static const struct provider_ops *const kinds[] = {&provider_local_ops, &provider_openai_ops,
    &provider_anthropic_ops, &provider_gemini_ops, &provider_ollama_ops};

enum { N_KINDS = sizeof kinds / sizeof *kinds };

static const struct provider_ops *kind_find(struct str kind)
{
    for (size_t i = 0; i < N_KINDS; i++)
        if (str_is(kind, kinds[i]->kind))
            return kinds[i];
    return NULL;
}

bool provider_kind_exists(struct str kind)
{
    return kind_find(kind) != NULL;
}

const char *provider_kinds(void)
{
    return "openai, anthropic, gemini, ollama";
}

static int options_check(const struct provider_options *o, const struct provider_ops *ops, struct error *err)
{
    if (!ops)
        return error_set(err, ERROR_INVALID,
            "provider '" STR_FMT "' is of kind '" STR_FMT "': the kinds are %s", STR_ARG(o->name),
            STR_ARG(str_slice(o->kind, 0, 64)), provider_kinds());
    if (ops != &provider_local_ops && !o->target)
        return error_set(err, ERROR_INVALID, "provider '" STR_FMT "' has no base_url", STR_ARG(o->name));
    if (o->name.len > LIMIT_MODEL_NAME || o->api_key.len > 16 * KIB)
        return error_set(err, ERROR_LIMIT, "a provider's name or api_key is too long");
    return 0;
}

int provider_create(const struct provider_options *o, struct provider **out, struct error *err)
{
    const struct provider_ops *ops = kind_find(o->kind);
    int rc = options_check(o, ops, err);
    if (rc) {
        egress_target_free(o->target);
        return rc;
    }
    struct str key = str_trim(o->api_key); /* a key from a file often ends with a line end */
    struct arena *arena = arena_create(64 * KIB);
    struct provider *p = arena_new(arena, struct provider);
    p->arena = arena;
    p->ops = ops;
    p->name = arena_copy(arena, o->name);
    p->kind = str_from(ops->kind);
    p->target = o->target;
    p->api_key = arena_strdup(arena, key);
    p->api_key_len = key.len;
    *out = p;
    return 0;
}

void provider_free(struct provider *p)
{
    if (!p)
        return;
    egress_target_free(p->target);
    explicit_bzero(p->api_key, p->api_key_len);
    arena_free(p->arena);
}

struct str provider_name(const struct provider *p)
{
    return p->name;
}

struct str provider_kind(const struct provider *p)
{
    return p->kind;
}

bool provider_is_inside(const struct provider *p)
{
    return !p->target || egress_target_zone(p->target) == EGRESS_ZONE_LOCAL;
}

int provider_supports(const struct provider_model *m, const struct chat_request *r, struct error *err)
{
    return m->provider->ops->supports(m, r, err);
}

int provider_call_start(const struct provider_start *s, struct provider_call **out, struct error *err)
{
    return s->model->provider->ops->start(s, out, err);
}

void provider_call_pause(struct provider_call *c, bool paused)
{
    c->ops->pause(c, paused);
}

void provider_call_close(struct provider_call *c)
{
    if (c)
        c->ops->close(c);
}

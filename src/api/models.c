/* GET /v1/models: what can be asked for. */
#include "api/api.h"
#include "base/clock.h"
#include "base/limits.h"

/* A client of Anthropic's shape says so by its version header. */
static bool is_anthropic(const struct api_call *c)
{
    return c->shape == &api_anthropic_shape;
}

static void anthropic_write(struct json_writer *w, const struct api_call *c, struct str name)
{
    char created[32];
    clock_format(c->shard->started_s * 1000, created);
    json_object_begin(w);
    json_member_str(w, "type", STR("model"));
    json_member_str(w, "id", name);
    json_member_str(w, "display_name", name);
    json_member_str(w, "created_at", str_from(created));
    json_object_end(w);
}

static void model_write(struct json_writer *w, const struct api_call *c, struct str name, struct str owner)
{
    if (is_anthropic(c)) {
        anthropic_write(w, c, name);
        return;
    }
    json_object_begin(w);
    json_member_str(w, "id", name);
    json_member_text(w, "object", "model");
    json_member_int(w, "created", c->shard->started_s);
    json_member_str(w, "owned_by", owner);
    json_object_end(w);
}

/* Routes first: they are what most clients should ask for. Calls fn for each name. */
static void each_model(
    const struct exchange_world *world, void (*fn)(void *, struct str, struct str), void *ctx)
{
    const struct router_policy *policy = exchange_world_policy(world);
    for (size_t i = 0; i < router_policy_n_routes(policy); i++)
        fn(ctx, router_policy_route_name(policy, i), STR("weir"));
    for (size_t i = 0; i < exchange_world_n_models(world); i++) {
        const struct exchange_model *m = exchange_world_model(world, i);
        if (!m->unlisted)
            fn(ctx, m->name, provider_name(m->target.provider));
    }
}

struct model_list {
    const struct api_call *call;
    struct json_writer *writer;
    struct str wanted; /* empty: all */
    bool found;
    struct str first, last;
};

static void list_model(void *ctx, struct str name, struct str owner)
{
    struct model_list *l = ctx;
    if (!api_model_allowed(l->call, name))
        return;
    if (l->wanted.len && (l->found || !str_eq(l->wanted, name)))
        return;
    if (!l->found)
        l->first = name;
    l->found = true;
    l->last = name;
    model_write(l->writer, l->call, name, owner);
}

void api_openai_models(const struct api_call *c)
{
    struct buf body;
    struct json_writer w;
    struct str path = http_request_path(c->http);
    struct str prefix = STR("/v1/models/");
    buf_init(&body, 16 * MIB);
    json_writer_init(&w, &body);
    struct model_list list = {.call = c, .writer = &w, .wanted = str_slice(path, prefix.len, path.len)};
    if (list.wanted.len == 0) {
        json_object_begin(&w);
        if (!is_anthropic(c))
            json_member_str(&w, "object", STR("list"));
        json_key(&w, "data");
        json_array_begin(&w);
    }
    each_model(c->shard->exchange->world, list_model, &list);
    if (list.wanted.len == 0) {
        json_array_end(&w);
        if (is_anthropic(c)) { /* always all of them: one page */
            json_key(&w, "has_more");
            json_write_bool(&w, false);
            json_member_str(&w, "first_id", list.first);
            json_member_str(&w, "last_id", list.last);
        }
        json_object_end(&w);
    }
    if (list.wanted.len && !list.found)
        api_no_model(c, STR("there is no such model: GET /v1/models lists those that exist"));
    else
        api_reply_json(c, 200, &body);
    buf_free(&body);
}

/* GET /v1/models: what can be asked for. */
#include <stdio.h>

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

/* A walk over the names that the caller may see. */
struct model_walk {
    const struct api_call *call;
    struct json_writer *writer; /* NULL: only to count, and to look for these: */
    struct str after, before;   /* empty: none */
    size_t n, from, to;         /* names; those that are asked for */
    bool has_after, has_before;
    struct str first, last; /* written */
};

static void walk_name(void *ctx, struct str name, struct str owner)
{
    struct model_walk *l = ctx;
    if (!api_model_allowed(l->call, name))
        return;
    size_t at = l->n++;
    if (!l->writer) {
        if (str_eq(name, l->after) && !l->has_after) {
            l->has_after = true;
            l->from = at + 1;
        }
        if (str_eq(name, l->before) && !l->has_before) {
            l->has_before = true;
            l->to = at;
        }
    } else if (at >= l->from && at < l->to) {
        l->first = at == l->from ? name : l->first;
        l->last = name;
        model_write(l->writer, l->call, name, owner);
    }
}

/* Anthropic's clients go on with `after_id` while there is more. Without `limit` all is one page. (What
 * http_request_query returns lasts until it is asked again.) */
static int page_read(struct model_walk *l, int64_t *limit, struct error *err)
{
    const struct api_call *c = l->call;
    struct str asked = http_request_query(c->http, "limit");
    *limit = INT64_MAX;
    if (asked.len > 0 && (!str_to_int64(asked, limit) || *limit < 1 || *limit > 1000))
        return error_set(err, ERROR_INVALID, "'limit' must be 1 to 1000");
    char after[LIMIT_MODEL_NAME + 1], before[LIMIT_MODEL_NAME + 1];
    snprintf(after, sizeof after, STR_FMT, STR_ARG(http_request_query(c->http, "after_id")));
    snprintf(before, sizeof before, STR_FMT, STR_ARG(http_request_query(c->http, "before_id")));
    l->after = str_from(after);
    l->before = str_from(before);
    if (after[0] && before[0])
        return error_set(err, ERROR_INVALID, "'after_id' and 'before_id' cannot both be given");
    each_model(c->shard->exchange->world, walk_name, l);
    l->after = l->before = STR_NONE; /* these texts end here */
    if (after[0] && !l->has_after)
        return error_set(err, ERROR_INVALID, "'after_id' names no model");
    if (before[0] && !l->has_before)
        return error_set(err, ERROR_INVALID, "'before_id' names no model");
    return 0;
}

static void id_write(struct json_writer *w, const char *key, struct str id)
{
    json_key(w, key);
    if (id.len > 0)
        json_write_str(w, id);
    else
        json_write_null(w);
}

static int anthropic_list_write(struct model_walk *l, struct json_writer *w, struct error *err)
{
    int64_t limit;
    l->to = SIZE_MAX;
    int rc = page_read(l, &limit, err);
    if (rc)
        return rc;
    size_t total = l->n, end = l->has_before ? l->to : total, most = (size_t)limit;
    if (l->has_before)
        l->from = end > most ? end - most : 0;
    l->to = end - l->from > most ? l->from + most : end;
    bool more = l->has_before ? l->from > 0 : l->to < total;
    l->n = 0;
    l->writer = w;
    json_object_begin(w);
    json_key(w, "data");
    json_array_begin(w);
    each_model(l->call->shard->exchange->world, walk_name, l);
    json_array_end(w);
    json_key(w, "has_more");
    json_write_bool(w, more);
    id_write(w, "first_id", l->first);
    id_write(w, "last_id", l->last);
    json_object_end(w);
    return 0;
}

static void list_reply(const struct api_call *c, struct json_writer *w)
{
    struct error err;
    struct model_walk all = {.call = c, .writer = w, .to = SIZE_MAX}, page = {.call = c};
    if (is_anthropic(c)) {
        if (anthropic_list_write(&page, w, &err))
            api_error(c, 400, str_from(err.message));
        else
            api_reply_json(c, 200, w->buf);
        return;
    }
    json_object_begin(w);
    json_member_str(w, "object", STR("list"));
    json_key(w, "data");
    json_array_begin(w);
    each_model(c->shard->exchange->world, walk_name, &all);
    json_array_end(w);
    json_object_end(w);
    api_reply_json(c, 200, w->buf);
}

struct model_search {
    const struct api_call *call;
    struct json_writer *writer;
    struct str wanted;
    bool found;
};

static void find_model(void *ctx, struct str name, struct str owner)
{
    struct model_search *s = ctx;
    if (s->found || !str_eq(s->wanted, name) || !api_model_allowed(s->call, name))
        return;
    s->found = true;
    model_write(s->writer, s->call, name, owner);
}

void api_openai_models(const struct api_call *c)
{
    struct buf body;
    struct json_writer w;
    struct str path = http_request_path(c->http);
    struct str prefix = STR("/v1/models/");
    buf_init(&body, 16 * MIB);
    json_writer_init(&w, &body);
    struct model_search one = {.call = c, .writer = &w, .wanted = str_slice(path, prefix.len, path.len)};
    if (one.wanted.len == 0) {
        list_reply(c, &w);
    } else {
        each_model(c->shard->exchange->world, find_model, &one);
        if (one.found)
            api_reply_json(c, 200, &body);
        else
            api_no_model(c, STR("there is no such model: GET /v1/models lists those that exist"));
    }
    buf_free(&body);
}

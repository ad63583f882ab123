/* POST /weir/explain: where a request would go, and why. The body is what a client would send, for the path
 * that follows
 * (/weir/explain/v1/messages); without one it is OpenAI's chat, or what its members show. Nothing is sent or
 * kept. */
#include "api/api.h"
#include "base/limits.h"
#include "json/json.h"

/* A body without a path: only Responses has an `input`, only completions a `prompt` that is no list of
 * messages. */
static const struct api_shape *shape_guess(const struct api_call *c, struct arena *a)
{
    json_t *root;
    struct error err;
    if (json_read_in(a, http_request_body(c->http), &root, &err))
        return c->shape; /* its reader says what is wrong */
    if (json_object_get(root, "messages"))
        return c->shape;
    if (json_object_get(root, "input"))
        return &api_responses_shape;
    return json_object_get(root, "prompt") ? &api_openai_completion_shape : c->shape;
}

static const struct api_shape *shape_asked(const struct api_call *c, struct arena *a)
{
    struct str path = http_request_path(c->http), prefix = STR("/weir/explain");
    struct str rest = str_slice(path, prefix.len, path.len);
    return rest.len > 1 ? api_shape_of(rest) : shape_guess(c, a);
}

void api_explain(const struct api_call *c)
{
    struct error err;
    struct buf body;
    struct json_writer w;
    struct chat_request *request;
    struct exchange_origin origin = {.request_id = str_from(c->request_id)};
    if (!api_admin_required(c))
        return;
    struct arena *a = arena_create(LIMIT_REQUEST_MEMORY);
    const struct api_shape *shape = shape_asked(c, a);
    int rc = 0;
    if (!shape)
        rc = error_set(&err, ERROR_NOT_FOUND,
            "no conversation is had at that path: write /weir/explain/v1/chat/completions, for example");
    if (rc == 0)
        rc = api_request_read(c, shape, a, &request, &origin, &err);
    if (rc) {
        api_error(c, exchange_status(rc), str_from(err.message));
        arena_free(a);
        return;
    }
    buf_init(&body, 16 * MIB);
    json_writer_init(&w, &body);
    exchange_explain(c->shard->exchange, request, &origin, &w);
    buf_append_char(&body, '\n');
    api_reply_json(c, 200, &body);
    buf_free(&body);
    arena_free(a);
}

/* What a body goes on from is fetched and put in its place.
 *
 *   names_read -> fetch_next ... on_fetched (the loop goes on meanwhile) -> join
 *              -> fetch_now (who does not fetch first: an explanation)   -> join */
#include <assert.h>

#include "api/read.h"
#include "api/responses_kept.h"
#include "base/limits.h"

/* Together; read as JSON it takes some times as much. */
#define KEPT_MOST (LIMIT_REQUEST_MEMORY / 2)

/* A response that a body names. */
struct fetched {
    struct str id;
    struct store_response row;
    const json_t *input, *output; /* its two lists; NULL: not read yet */
    int code;
};
/* Those that a body names, each once, in the order in which join wants them; in its arena. The first that
 * cannot be had is the last that is sought, for join ends there. */
struct responses_fetched {
    const struct api_call *call;
    struct arena *arena;
    const json_t *root; /* the body that names them */
    struct fetched *list;
    size_t n, done, bytes;
    void (*fn)(void *ctx);
    void *ctx;
};

static void fetch_next(struct responses_fetched *f);

static void fetched_end(struct responses_fetched *f, int code)
{
    struct fetched *one = &f->list[f->done++];
    f->bytes += one->row.body.len + one->row.input.len;
    one->code = code == 0 && f->bytes > KEPT_MOST ? ERROR_LIMIT : code;
    if (one->code)
        f->n = f->done;
}

static void on_fetched(void *ctx, int code)
{
    fetched_end(ctx, code);
    fetch_next(ctx);
}

/* Nothing more is sought for a client that has left: the state may be closed by then. */
static void fetch_next(struct responses_fetched *f)
{
    struct exchange_shard *shard = f->call->shard->exchange;
    struct error err;
    if (f->done < f->n && !f->call->gone) {
        struct fetched *one = &f->list[f->done];
        int rc = store_response_seek(shard->store, one->id, api_key_id(f->call), f->arena, &one->row,
            (struct store_done){shard->loop, on_fetched, f}, &err);
        if (rc == 0)
            return;
        fetched_end(f, rc);
    }
    f->fn(f->ctx);
}

static void fetch_now(struct responses_fetched *f)
{
    struct error err;
    while (f->done < f->n) {
        struct fetched *one = &f->list[f->done];
        fetched_end(f, store_response_find(f->call->shard->exchange->store, one->id, api_key_id(f->call),
                           f->arena, &one->row, &err));
    }
}

static struct fetched *fetched_find(const struct responses_fetched *f, struct str id)
{
    for (size_t i = 0; i < f->n; i++)
        if (str_eq(f->list[i].id, id))
            return &f->list[i];
    return NULL;
}

static void fetched_add(struct responses_fetched *f, struct str id)
{
    if (!fetched_find(f, id))
        f->list[f->n++] = (struct fetched){.id = id};
}

static int fetch_failed(const struct fetched *one, struct error *err)
{
    if (one->code == ERROR_LIMIT)
        return error_set(err, ERROR_LIMIT,
            "what the request goes on from is larger than %zu bytes: begin a new conversation", KEPT_MOST);
    int rc = api_responses_unread(one->id, one->code, err);
    return rc == ERROR_NOT_FOUND ? (err->code = ERROR_INVALID)
                                 : rc; /* the request is wrong, its path is there */
}

/* ---- Going on ---- */

/* The kept response; `input` and `output` are its two lists. */
static int find(const struct responses_fetched *f, struct str id, const json_t **input, const json_t **output,
    struct error *err)
{
    struct fetched *one = fetched_find(f, id);
    json_t *read_input, *read_body;
    assert(one);
    if (one->code)
        return fetch_failed(one, err);
    if (!one->input) {
        int rc = json_read_in(f->arena, one->row.input, &read_input, err);
        if (rc == 0)
            rc = json_read_in(f->arena, one->row.body, &read_body, err);
        if (rc)
            return rc;
        one->input = read_input;
        one->output = json_object_get(read_body, "output");
    }
    *input = one->input;
    *output = one->output;
    return 0;
}

static const json_t *item_of(const json_t *list, struct str id)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (str_eq(json_text(json_array_get(list, i), "id"), id))
            return json_array_get(list, i);
    return NULL;
}

/* An item's id holds that of its response: msg_ID_0. */
static struct str response_of(struct arena *a, struct str item_id)
{
    struct str rest = item_id, of = STR_NONE;
    if (str_split(&rest, '_', &of))
        str_split(&rest, '_', &of);
    return arena_printf(a, "resp_" STR_FMT, STR_ARG(str_slice(of, 0, 64)));
}

static int item_find(const struct responses_fetched *f, struct str id, const json_t **out, struct error *err)
{
    const json_t *input, *output;
    int rc = find(f, response_of(f->arena, id), &input, &output, err);
    if (rc)
        return rc;
    *out = item_of(output, id);
    if (!*out)
        *out = item_of(input, id);
    return *out ? 0
                : error_set(
                      err, ERROR_INVALID, "there is no item '" STR_FMT "'", STR_ARG(str_slice(id, 0, 80)));
}

static void write_all(struct json_writer *w, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        json_write_value(w, json_array_get(list, i));
}

static bool is_reference(const json_t *item)
{
    return str_is(json_text(item, "type"), "item_reference");
}

/* The request's own input, what it refers to in its place. */
static int own_write(
    const struct responses_fetched *f, struct json_writer *w, const json_t *input, struct error *err)
{
    if (json_is_string(input)) {
        json_object_begin(w);
        json_member_text(w, "role", "user");
        json_key(w, "content");
        json_write_value(w, input);
        json_object_end(w);
    }
    for (size_t i = 0; i < json_array_size(input); i++) {
        const json_t *item = json_array_get(input, i);
        if (is_reference(item)) {
            int rc = item_find(f, json_text(item, "id"), &item, err);
            if (rc)
                return error_wrap(err, "input[%zu]", i);
        }
        json_write_value(w, item);
    }
    return 0;
}

static int joined_write(
    const struct responses_fetched *f, const json_t *root, struct buf *out, struct error *err)
{
    struct json_writer w;
    const json_t *input = NULL, *output = NULL;
    struct str previous;
    const char *key;
    json_t *value;
    int rc = json_get_str(root, "previous_response_id", &previous, err);
    if (rc == 0 && previous.len > 0)
        rc = find(f, previous, &input, &output, err);
    if (rc)
        return rc;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_object_foreach((json_t *)(uintptr_t)root, key, value)
    {
        json_key(&w, key);
        if (!str_is(str_from(key), "input")) {
            json_write_value(&w, value);
            continue;
        }
        json_array_begin(&w);
        write_all(&w, input);
        write_all(&w, output);
        rc = own_write(f, &w, value, err);
        if (rc)
            return rc;
        json_array_end(&w);
    }
    json_object_end(&w);
    return out->failed ? error_set(err, ERROR_LIMIT,
                             "the conversation has grown over %zu bytes: begin a new one", out->max)
                       : 0;
}

static bool refers(const json_t *root)
{
    const json_t *input = json_object_get(root, "input");
    const json_t *previous = json_object_get(root, "previous_response_id");
    bool any = previous && !json_is_null(previous);
    for (size_t i = 0; i < json_array_size(input) && !any; i++)
        any = is_reference(json_array_get(input, i));
    return any;
}

/* Nearly every request refers to nothing and is not read twice. */
static bool may_refer(struct str body)
{
    return str_find(body, STR("previous_response_id")) != SIZE_MAX ||
           str_find(body, STR("item_reference")) != SIZE_MAX;
}

/* What the body names, not fetched yet. */
static int names_read(const struct api_call *c, struct arena *a, const json_t *root,
    struct responses_fetched **out, struct error *err)
{
    const json_t *input = json_object_get(root, "input");
    const struct str previous = json_text(root, "previous_response_id");
    const size_t n = json_array_size(input);
    struct responses_fetched *f = arena_try_alloc(a, 1, sizeof *f);
    struct fetched *list = n <= LIMIT_MESSAGES ? arena_try_alloc(a, n + 1, sizeof *list) : NULL;
    if (n > LIMIT_MESSAGES)
        return error_set(
            err, ERROR_INVALID, "'input' has %zu items: at most %d are allowed", n, LIMIT_MESSAGES);
    if (!f || !list)
        return error_set(err, ERROR_MEMORY, "no memory for the request");
    *f = (struct responses_fetched){.call = c, .arena = a, .root = root, .list = list};
    if (previous.len > 0)
        fetched_add(f, previous);
    for (size_t i = 0; i < n; i++)
        if (is_reference(json_array_get(input, i)))
            fetched_add(f, response_of(a, json_text(json_array_get(input, i), "id")));
    *out = f;
    return 0;
}

/* What is wrong with the body is told by who reads it then. */
bool api_responses_fetch(
    struct api_call *c, struct arena *a, struct str body, void (*done)(void *ctx), void *ctx)
{
    const json_t *root;
    struct error err;
    struct responses_fetched *f;
    if (api_content_ms(c) == 0 || !may_refer(body) || api_body_read(a, body, &root, &err) ||
        names_read(c, a, root, &f, &err) || f->n == 0)
        return false;
    f->fn = done;
    f->ctx = ctx;
    c->fetched = f;
    fetch_next(f);
    return true;
}

/* The same of a body that was not fetched for; *out stays NULL where it refers to nothing. */
static int names_of(const struct api_call *c, struct arena *a, struct str body,
    struct responses_fetched **out, struct error *err)
{
    const json_t *root;
    if (!may_refer(body))
        return 0;
    int rc = api_body_read(a, body, &root, err);
    return rc || !refers(root) ? rc : names_read(c, a, root, out, err);
}

int api_responses_join(const struct api_call *c, struct arena *a, struct str *body, struct error *err)
{
    struct responses_fetched *f = c->fetched;
    struct buf joined;
    int rc = f ? 0 : names_of(c, a, *body, &f, err);
    if (rc || !f)
        return rc;
    if (f->n > 0 && api_content_ms(c) == 0)
        return error_set(err, ERROR_UNSUPPORTED,
            "'previous_response_id' and item_reference want responses to be kept, which 'retention: "
            "{content: none}' forbids: set it to a time such as 1d, or send the whole conversation");
    fetch_now(f); /* all that was not */
    buf_init(&joined, LIMIT_HTTP_BODY);
    rc = joined_write(f, f->root, &joined, err);
    if (rc == 0 && arena_try_copy(a, buf_str(&joined), body))
        rc = error_set(err, ERROR_MEMORY, "no memory for the request");
    buf_free(&joined);
    return rc;
}

#include "api/responses_kept.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/read.h"
#include "api/responses_in.h"
#include "base/limits.h"
#include "base/must.h"

/* What stands behind /v1/responses/ in the path. */
static struct str path_rest(const struct api_call *c)
{
    return str_slice(http_request_path(c->http), STR("/v1/responses/").len, SIZE_MAX);
}

/* ---- What is kept of a request ---- */

/* A part list for a text, which is how the API gives items back. */
static void text_write(struct json_writer *w, const json_t *text, bool said)
{
    json_array_begin(w);
    json_object_begin(w);
    json_member_text(w, "type", said ? "output_text" : "input_text");
    json_key(w, "text");
    json_write_value(w, text);
    json_object_end(w);
    json_array_end(w);
}

/* Whatever was left out of an item is put in. */
static void input_item_write(struct json_writer *w, const char *id, size_t index, const json_t *item)
{
    bool said = str_is(json_text(item, "role"), "assistant");
    char made[64];
    const char *key;
    json_t *value;
    json_object_begin(w);
    if (!json_is_string(json_object_get(item, "id"))) {
        snprintf(made, sizeof made, "in_%s_%zu", id, index);
        json_member_text(w, "id", made);
    }
    if (!json_object_get(item, "type"))
        json_member_text(w, "type", "message");
    json_object_foreach((json_t *)(uintptr_t)item, key, value)
    {
        if (json_is_null(value))
            continue;
        json_key(w, key);
        if (json_is_string(value) && str_is(str_from(key), "content"))
            text_write(w, value, said);
        else
            json_write_value(w, value);
    }
    json_object_end(w);
}

void api_responses_input_write(const char *id, const json_t *input, struct buf *out)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_array_begin(&w);
    if (json_is_string(input)) {
        json_t *item = must(json_pack("{s:s,s:O}", "role", "user", "content", input));
        input_item_write(&w, id, 0, item);
        json_decref(item);
    }
    for (size_t i = 0; i < json_array_size(input); i++)
        input_item_write(&w, id, i, json_array_get(input, i));
    json_array_end(&w);
}

/* ---- Found again ---- */

enum { OWN = 24 }; /* random letters at the end of a row's id (rand_id) */

void api_responses_id(struct str row_id, char out[RESPONSES_ID])
{
    const struct str own = str_slice(row_id, row_id.len > OWN ? row_id.len - OWN : 0, row_id.len);
    snprintf(out, RESPONSES_ID, "resp_" STR_FMT, STR_ARG(own));
}

/* A response says again what it was asked for, except the input. What it went on from is in the input. */
int api_responses_again(
    const struct store_response *kept, struct arena *a, struct str *body, struct error *err)
{
    json_t *read;
    struct json_writer w;
    struct buf out;
    int rc = json_read_in(a, kept->body, &read, err);
    if (rc)
        return rc;
    buf_init(&out, 2 * LIMIT_STORE_RESPONSE);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_key(&w, "input");
    json_write_raw(&w, kept->input);
    for (const struct responses_member *m = responses_members; m->name; m++) {
        const json_t *value = json_object_get(read, m->name);
        if (!value || json_is_null(value) || str_is(STR("previous_response_id"), m->name))
            continue;
        json_key(&w, m->name);
        json_write_value(&w, value);
    }
    json_object_end(&w);
    *body = arena_copy(a, buf_str(&out));
    rc = out.failed ? error_set(err, ERROR_LIMIT, "the request is too large to be read again") : 0;
    buf_free(&out);
    return rc;
}

/* ---- Looking ---- */

int api_responses_unread(struct str id, int code, struct error *err)
{
    if (code != ERROR_NOT_FOUND)
        return error_set(err, code, "the state could not be read: try again");
    return error_set(err, code,
        "there is no response '" STR_FMT
        "': it was deleted, is too old, was not stored, or belongs to another key",
        STR_ARG(str_slice(id, 0, 80)));
}

static void items_write(const json_t *list, size_t from, size_t n, bool ascending, bool more, struct buf *out)
{
    struct json_writer w;
    size_t all = json_array_size(list);
    const json_t *first = NULL, *last = NULL;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_member_text(&w, "object", "list");
    json_key(&w, "data");
    json_array_begin(&w);
    for (size_t i = from; i < from + n; i++) {
        last = json_array_get(list, ascending ? i : all - 1 - i);
        first = first ? first : last;
        json_write_value(&w, last);
    }
    json_array_end(&w);
    json_member_text(&w, "first_id", json_string_value(json_object_get(first, "id")));
    json_member_text(&w, "last_id", json_string_value(json_object_get(last, "id")));
    json_member_bool(&w, "has_more", more);
    json_object_end(&w);
}

/* ?order=desc|asc, ?limit=1..100, ?after=ID */
static int items_read(
    const struct api_call *c, struct arena *a, struct str input, struct buf *out, struct error *err)
{
    struct str order = arena_copy(a, http_request_query(c->http, "order"));
    struct str after = arena_copy(a, http_request_query(c->http, "after"));
    struct str asked = arena_copy(a, http_request_query(c->http, "limit"));
    int64_t limit = 20;
    json_t *list;
    int rc = json_read_in(a, input, &list, err);
    if (rc)
        return rc;
    if ((asked.len > 0 && (!str_to_int64(asked, &limit) || limit < 1 || limit > 100)) ||
        (order.len > 0 && !str_is(order, "asc") && !str_is(order, "desc")))
        return error_set(err, ERROR_INVALID, "'limit' must be 1 to 100 and 'order' asc or desc");
    bool ascending = str_is(order, "asc");
    size_t all = json_array_size(list), from = 0;
    for (size_t i = 0; i < all && after.len > 0; i++) {
        const json_t *item = json_array_get(list, ascending ? i : all - 1 - i);
        if (str_eq(json_text(item, "id"), after))
            from = i + 1;
    }
    size_t n = all - from < (size_t)limit ? all - from : (size_t)limit;
    items_write(list, from, n, ascending, from + n < all, out);
    return 0;
}

struct looking {
    struct api_call api;
    struct arena *arena;
    struct str id;
    struct store_response kept;
    bool of_input;
};

static void looked(struct looking *l, int code)
{
    struct error err;
    struct buf out;
    buf_init(&out, 2 * LIMIT_STORE_RESPONSE);
    int rc = code ? api_responses_unread(l->id, code, &err) : 0;
    if (rc == 0 && l->of_input)
        rc = items_read(&l->api, l->arena, l->kept.input, &out, &err);
    else if (rc == 0)
        buf_append_str(&out, l->kept.body);
    if (rc)
        api_error(&l->api, exchange_status(rc), str_from(err.message));
    else
        api_reply_json(&l->api, 200, &out);
    buf_free(&out);
}

static void on_looked(void *ctx, int code)
{
    struct looking *l = ctx;
    if (!l->api.gone)
        looked(l, code);
    arena_free(l->arena);
    free(l);
}

/* GET /v1/responses/ID and /v1/responses/ID/input_items */
void api_responses_kept(const struct api_call *c)
{
    struct str items = STR("/input_items"), id = path_rest(c);
    if (str_is(http_request_query(c->http, "stream"), "true")) {
        api_error(c, 400, STR("'stream' cannot be had of a response that is kept: ask for it whole"));
        return;
    }
    struct looking *l = must(calloc(1, sizeof *l));
    struct exchange_shard *shard = c->shard->exchange;
    struct error err;
    l->api = *c;
    l->arena = arena_create(LIMIT_REQUEST_MEMORY);
    l->of_input = str_ends(id, items);
    if (l->of_input)
        id = str_slice(id, 0, id.len - items.len);
    l->id = arena_copy(l->arena, id);
    http_request_on_gone(c->http, api_on_gone, &l->api);
    int rc = store_response_seek(shard->store, l->id, api_key_id(&l->api), l->arena, &l->kept,
        (struct store_done){shard->loop, on_looked, l}, &err);
    if (rc) {
        api_error(c, exchange_status(rc), str_from(err.message));
        arena_free(l->arena);
        free(l);
    }
}

/* ---- Deleting ---- */

struct deleting {
    struct api_call api;
    char id[96];
};

static void on_deleted(void *ctx, int code)
{
    struct deleting *d = ctx;
    struct buf out;
    struct json_writer w;
    buf_init(&out, KIB);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_member_text(&w, "id", d->id);
    json_member_text(&w, "object", "response");
    json_member_bool(&w, "deleted", true);
    json_object_end(&w);
    if (!d->api.gone && code)
        api_error(&d->api, exchange_status(code),
            code == ERROR_NOT_FOUND ? STR("there is no response with that id")
                                    : STR("the response could not be deleted: try again"));
    else if (!d->api.gone)
        api_reply_json(&d->api, 200, &out);
    buf_free(&out);
    free(d);
}

void api_responses_delete(const struct api_call *c)
{
    struct str id = path_rest(c);
    struct deleting *d = must(calloc(1, sizeof *d));
    struct store_done done = {c->shard->exchange->loop, on_deleted, d};
    struct error err;
    d->api = *c;
    for (size_t i = 0; i < id.len && i < sizeof d->id - 1; i++)
        d->id[i] = id.data[i];
    http_request_on_gone(c->http, api_on_gone, &d->api);
    int rc = store_response_delete(c->shard->exchange->store, str_from(d->id), api_key_id(c), done, &err);
    if (rc) {
        api_error(c, exchange_status(rc), str_from(err.message));
        free(d);
    }
}

/* POST /v1/responses/ID/cancel: of an answer that is made while its client waits there is nothing to cancel.
 */
void api_responses_act(const struct api_call *c)
{
    if (str_ends(path_rest(c), STR("/cancel")))
        api_error(c, 400,
            STR("only a response in the background can be cancelled: close the connection to end a stream"));
    else
        api_error(c, 404, STR("a response has no such action here: the README lists the endpoints"));
}

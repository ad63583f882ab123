/* OpenAI's files, as batches need them: kept where the configuration allows content to be, for the key that
 * sent them. */
#include "api/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/multipart.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/rand.h"

enum { FILES_LIST_MOST = 10000, NAME_MOST = 256 };

static const char prefix[] = "/v1/files/";

const char *api_files_folder(const struct api_call *c)
{
    struct error err;
    const char *folder = c->shard->files;
    if (api_content_ms(c) == 0)
        api_error(c, 400,
            STR("files and batches want content to be kept, which 'retention: {content: none}' forbids: set "
                "it "
                "to a time such as 7d"));
    else if (!folder)
        api_error(
            c, 400, STR("files and batches want a folder: name one under 'files' in the configuration"));
    else if (shelf_open(folder, &err))
        api_error(c, 500, str_from(err.message));
    else
        return folder;
    return NULL;
}

/* What a client need not see. */
static bool is_ours(const char *key)
{
    static const char *const ours[] = {"key", "name", "team", "admin", "local", "out", "failed"};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (str_is(str_from(ours[i]), key))
            return true;
    return false;
}

static void about_write(struct json_writer *w, const json_t *about)
{
    const char *key;
    json_t *value;
    json_object_begin(w);
    json_object_foreach((json_t *)(uintptr_t)about, key, value)
    {
        if (is_ours(key))
            continue;
        json_key(w, key);
        json_write_value(w, value);
    }
    json_object_end(w);
}

void api_files_reply(const struct api_call *c, const json_t *about)
{
    struct buf out;
    struct json_writer w;
    buf_init(&out, MIB);
    json_writer_init(&w, &out);
    about_write(&w, about);
    api_reply_json(c, 200, &out);
    buf_free(&out);
}

static void list_write(
    struct json_writer *w, const json_t *list, size_t from, size_t limit, const char *purpose)
{
    const json_t *first = NULL, *last = NULL;
    size_t n = 0, i = from;
    json_object_begin(w);
    json_member_text(w, "object", "list");
    json_key(w, "data");
    json_array_begin(w);
    for (; i < json_array_size(list) && n < limit; i++) {
        const json_t *about = json_array_get(list, i);
        if (purpose && !str_is(json_text(about, "purpose"), purpose))
            continue;
        first = first ? first : about;
        last = about;
        n++;
        about_write(w, about);
    }
    json_array_end(w);
    json_member_text(w, "first_id", json_string_value(json_object_get(first, "id")));
    json_member_text(w, "last_id", json_string_value(json_object_get(last, "id")));
    json_member_bool(w, "has_more", i < json_array_size(list));
    json_object_end(w);
}

static void reverse(json_t *list)
{
    for (size_t i = 0, n = json_array_size(list); i < n / 2; i++) {
        json_t *first = json_incref(json_array_get(list, i));
        if (json_array_set(list, i, json_array_get(list, n - 1 - i)) ||
            json_array_set_new(list, n - 1 - i, first))
            abort();
    }
}

void api_files_reply_list(const struct api_call *c, const char *of, const char *purpose)
{
    struct buf out;
    struct json_writer w;
    int64_t limit = strcmp(of, "file-") == 0 ? FILES_LIST_MOST : 20; /* as OpenAI's */
    char key[64], after[96], order[8];
    const char *folder = api_files_folder(c);
    if (!folder)
        return;
    struct str asked = http_request_query(c->http, "limit");
    if (asked.len > 0 && (!str_to_int64(asked, &limit) || limit < 1 || limit > FILES_LIST_MOST)) {
        api_error(c, 400, STR("'limit' must be 1 to 10000"));
        return;
    }
    snprintf(order, sizeof order, STR_FMT, STR_ARG(http_request_query(c->http, "order")));
    if (order[0] && strcmp(order, "asc") != 0 && strcmp(order, "desc") != 0) {
        api_error(c, 400, STR("'order' must be asc or desc"));
        return;
    }
    snprintf(after, sizeof after, STR_FMT, STR_ARG(str_slice(http_request_query(c->http, "after"), 0, 90)));
    snprintf(key, sizeof key, STR_FMT, STR_ARG(api_key_id(c)));
    json_t *list = shelf_list(folder, of, key);
    if (strcmp(order, "asc") == 0)
        reverse(list);
    size_t from = 0;
    for (size_t i = 0; i < json_array_size(list) && after[0]; i++)
        if (str_is(json_text(json_array_get(list, i), "id"), after))
            from = i + 1;
    buf_init(&out, 64 * MIB);
    json_writer_init(&w, &out);
    list_write(&w, list, from, (size_t)limit, purpose);
    api_reply_json(c, 200, &out);
    buf_free(&out);
    json_decref(list);
}

struct str api_files_id(const struct api_call *c, const char *of, struct str *rest)
{
    struct str path = http_request_path(c->http), id = STR_NONE;
    *rest = str_slice(path, str_from(of).len, path.len);
    str_split(rest, '/', &id);
    return id;
}

/* ---- Sending one ---- */

static int form_check(const struct multipart_part *parts, size_t n, struct error *err)
{
    for (size_t i = 0; i < n; i++)
        if (!str_is(parts[i].name, "file") && !str_is(parts[i].name, "purpose"))
            return error_set(err, ERROR_UNSUPPORTED,
                "'" STR_FMT "' cannot be honoured: leave it out (files stay as long as 'retention' says)",
                STR_ARG(str_slice(parts[i].name, 0, 80)));
    return 0;
}

static int file_take(const struct api_call *c, const char *folder, json_t **about, struct error *err)
{
    struct multipart_part parts[MULTIPART_PARTS_MOST];
    size_t n;
    char id[64], key[64];
    int rc = multipart_read(
        http_request_header(c->http, "content-type"), http_request_body(c->http), parts, &n, err);
    if (rc == 0)
        rc = form_check(parts, n, err);
    if (rc)
        return rc;
    const struct multipart_part *file = multipart_find(parts, n, "file");
    const struct multipart_part *purpose = multipart_find(parts, n, "purpose");
    if (!file || file->content.len == 0)
        return error_set(err, ERROR_INVALID, "the form has no 'file', or an empty one");
    if (!purpose || !str_is(purpose->content, "batch"))
        return error_set(err, ERROR_UNSUPPORTED, "'purpose' must be batch: files have no other use here");
    struct str name = file->filename;
    if (name.len > NAME_MOST)
        name.len = str_utf8_floor(name.data, NAME_MOST);
    if (!str_utf8_valid(name) || str_find_char(name, '\0') != SIZE_MAX)
        return error_set(err, ERROR_INVALID, "the file's name is not valid UTF-8");
    rand_id("file-", id, sizeof id);
    snprintf(key, sizeof key, STR_FMT, STR_ARG(api_key_id(c)));
    *about = json_pack("{s:s,s:s,s:I,s:I,s:s%,s:s,s:s,s:s}", "id", id, "object", "file", "bytes",
        (json_int_t)file->content.len, "created_at", (json_int_t)(clock_wall_ms() / 1000), "filename",
        name.data ? name.data : "", name.len, "purpose", "batch", "status", "processed", "key", key);
    if (!*about)
        return error_set(err, ERROR_MEMORY, "no memory for the file");
    rc = shelf_write_data(folder, str_from(id), file->content, err);
    return rc ? rc : shelf_write(folder, str_from(id), *about, err);
}

/* POST /v1/files */
void api_files_create(const struct api_call *c)
{
    struct error err;
    json_t *about = NULL;
    const char *folder = api_files_folder(c);
    if (!folder)
        return;
    int rc = file_take(c, folder, &about, &err);
    if (rc)
        api_error(c, exchange_status(rc), str_from(err.message));
    else
        api_files_reply(c, about);
    json_decref(about);
}

/* GET /v1/files */
void api_files_list(const struct api_call *c)
{
    char purpose[64];
    snprintf(
        purpose, sizeof purpose, STR_FMT, STR_ARG(str_slice(http_request_query(c->http, "purpose"), 0, 60)));
    api_files_reply_list(c, "file-", purpose[0] ? purpose : NULL);
}

/* ---- One of them ---- */

static void content_reply(const struct api_call *c, const char *folder, struct str id)
{
    struct buf out;
    struct error err;
    buf_init(&out, GIB);
    int rc = shelf_read_data(folder, id, &out, &err);
    if (rc) {
        api_error(c, exchange_status(rc), str_from(err.message));
    } else {
        api_id_headers(c);
        http_reply(c->http, 200, "application/octet-stream", buf_str(&out));
    }
    buf_free(&out);
}

/* The caller's file that the path names; `rest`: what stands behind its id. False: it is replied that there
 * is none. */
static bool file_find(
    const struct api_call *c, const char **folder, struct str *id, struct str *rest, json_t **about)
{
    struct error err;
    char key[64];
    *id = api_files_id(c, prefix, rest);
    *folder = api_files_folder(c);
    if (!*folder)
        return false;
    snprintf(key, sizeof key, STR_FMT, STR_ARG(api_key_id(c)));
    int rc = str_starts(*id, STR("file-")) ? shelf_read(*folder, *id, key, about, &err)
                                           : error_set(&err, ERROR_NOT_FOUND, "there is no such file");
    if (rc)
        api_error(c, exchange_status(rc), str_from(err.message));
    return rc == 0;
}

/* GET /v1/files/ID and /v1/files/ID/content */
void api_files_get(const struct api_call *c)
{
    const char *folder;
    struct str rest, id;
    json_t *about;
    if (!file_find(c, &folder, &id, &rest, &about))
        return;
    if (str_is(rest, "content"))
        content_reply(c, folder, id);
    else if (rest.len > 0)
        api_error(c, 404, STR("there is nothing at this path"));
    else
        api_files_reply(c, about);
    json_decref(about);
}

/* DELETE /v1/files/ID */
void api_files_delete(const struct api_call *c)
{
    const char *folder;
    struct str rest, id;
    json_t *about;
    if (!file_find(c, &folder, &id, &rest, &about))
        return;
    if (rest.len > 0) {
        api_error(c, 404, STR("there is nothing at this path"));
        json_decref(about);
        return;
    }
    shelf_remove(folder, id);
    json_t *gone =
        json_pack("{s:O,s:s,s:b}", "id", json_object_get(about, "id"), "object", "file", "deleted", 1);
    api_files_reply(c, gone);
    json_decref(gone);
    json_decref(about);
}

#include "api/batches.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "api/batch.h"
#include "api/files.h"
#include "api/read.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/log.h"
#include "base/must.h"
#include "base/rand.h"

enum { WINDOW_S = 24 * 3600, LOOK_EVERY_MS = 1000, LOOK_AGAIN_MS = 5000 };

static const char prefix[] = "/v1/batches/";

struct batches {
    struct api_shard *home;
    const char *folder;
    struct list jobs;
};

/* A batch that runs. */
struct job {
    struct list link;
    struct batches *all;
    struct batch *batch;
    json_t *about;
    struct govern_identity identity;
    char in[PATH_MAX], out[PATH_MAX], failed[PATH_MAX];
    struct loop_timer *look;
    bool changed; /* since it was noted */
    bool expired;
    bool ended;   /* and that is to be noted */
    bool failing; /* it could not be: the log says so */
};

static int64_t now_s(void)
{
    return clock_wall_ms() / 1000;
}

/* ---- The record of a batch ---- */

static int note(struct job *j)
{
    struct batch_counts n = batch_progress(j->batch);
    struct error err;
    json_t *counts = json_pack("{s:I,s:I,s:I}", "total", (json_int_t)n.total, "completed",
        (json_int_t)n.completed, "failed", (json_int_t)n.failed);
    json_object_set_new(j->about, "request_counts", counts);
    int rc = shelf_write(j->all->folder, json_text(j->about, "id"), j->about, &err);
    if (rc && !j->failing)
        log_error("batch", "what becomes of a batch cannot be noted, trying again: %s", err.message);
    j->failing = rc != 0;
    j->changed = rc != 0;
    return rc;
}

static void status_set(json_t *about, const char *status)
{
    char when[64];
    snprintf(when, sizeof when, "%s_at", status);
    json_object_set_new(about, "status", json_string(status));
    json_object_set_new(about, when, json_integer(now_s()));
}

static void on_progress(void *ctx)
{
    struct job *j = ctx;
    j->changed = true;
}

/* Results become files of the API, where there are any. */
static int results_show(struct job *j, const char *which, const char *path, const char *as)
{
    struct stat st;
    struct error err;
    struct str id = json_text(j->about, which);
    if (stat(path, &st) != 0 || st.st_size == 0)
        return 0;
    char name[96];
    snprintf(name, sizeof name, STR_FMT "_%s.jsonl", STR_ARG(json_text(j->about, "id")), as);
    json_t *about = json_pack("{s:s%,s:s,s:I,s:I,s:s,s:s,s:s,s:O}", "id", id.data, id.len, "object", "file",
        "bytes", (json_int_t)st.st_size, "created_at", (json_int_t)now_s(), "filename", name, "purpose",
        "batch_output", "status", "processed", "key", json_object_get(j->about, "key"));
    int rc = about ? shelf_write(j->all->folder, id, about, &err) : ERROR_MEMORY;
    json_decref(about);
    json_object_set(j->about, as, json_object_get(j->about, which));
    return rc;
}

static void job_free(struct job *j)
{
    list_remove(&j->link);
    batch_free(j->batch);
    loop_timer_free(j->look);
    json_decref(j->about);
    free(j);
}

/* Results, and then that it ended; the job is over when both are noted. */
static int end_note(struct job *j)
{
    int rc = results_show(j, "out", j->out, "output_file_id");
    rc = rc ? rc : results_show(j, "failed", j->failed, "error_file_id");
    rc = rc ? rc : note(j);
    if (rc == 0)
        job_free(j);
    return rc;
}

/* One that is being cancelled runs no more lines as it is. */
static void time_look(struct job *j)
{
    const bool late = now_s() > json_integer_value(json_object_get(j->about, "expires_at"));
    if (!late || j->expired || j->ended || str_is(json_text(j->about, "status"), "cancelling"))
        return;
    j->expired = true;
    batch_expire(j->batch);
}

/* By the clock and not by results: a batch that waits has none for a long time. */
static void on_look(void *ctx)
{
    struct job *j = ctx;
    time_look(j);
    if (j->ended && end_note(j) == 0)
        return;
    if (j->changed && !j->ended)
        (void)!note(j); /* the next look does */
    loop_timer_start(j->look, j->failing ? LOOK_AGAIN_MS : LOOK_EVERY_MS);
}

static void errors_set(json_t *about, const char *message)
{
    json_object_set_new(about, "errors",
        json_pack("{s:s,s:[{s:s,s:s,s:n,s:n}]}", "object", "list", "data", "code", "batch_failed", "message",
            message, "line", "param"));
}

static void on_end(void *ctx, int code, const struct error *err)
{
    struct job *j = ctx;
    json_object_set_new(j->about, "finalizing_at", json_integer(now_s()));
    if (code && code != ERROR_CANCELLED)
        errors_set(j->about, err->message);
    status_set(j->about, code == 0                 ? "completed"
                         : code != ERROR_CANCELLED ? "failed"
                         : j->expired              ? "expired"
                                                   : "cancelled");
    j->ended = true;
    (void)!end_note(j); /* the next look does */
}

/* ---- Running ---- */

static void text_keep(char *to, size_t size, struct str s)
{
    snprintf(to, size, STR_FMT, STR_ARG(s));
}

static int job_start(struct batches *all, json_t *about, struct error *err)
{
    struct job *j = must(calloc(1, sizeof *j));
    j->all = all;
    j->about = about;
    list_push_back(&all->jobs, &j->link);
    j->look = loop_timer_create(all->home->exchange->loop, on_look, j);
    bool identified = json_text(about, "key").len > 0;
    text_keep(j->identity.key_id, sizeof j->identity.key_id, json_text(about, "key"));
    text_keep(j->identity.name, sizeof j->identity.name, json_text(about, "name"));
    text_keep(j->identity.team, sizeof j->identity.team, json_text(about, "team"));
    j->identity.admin = json_is_true(json_object_get(about, "admin"));
    const struct batch_options o = {.shard = all->home,
        .identity = identified ? &j->identity : NULL,
        .boundary_local = json_is_true(json_object_get(about, "local")),
        .in = j->in,
        .out = j->out,
        .failed = j->failed,
        .url = json_string_value(json_object_get(about, "endpoint")),
        .parallel = BATCH_PARALLEL,
        .patient = true,
        .end = on_end,
        .progress = on_progress,
        .ctx = j};
    int rc = shelf_path(all->folder, json_text(about, "input_file_id"), ".data", j->in) &&
                     shelf_path(all->folder, json_text(about, "out"), ".data", j->out) &&
                     shelf_path(all->folder, json_text(about, "failed"), ".data", j->failed)
                 ? batch_start(&o, &j->batch, err)
                 : error_set(err, ERROR_INVALID, "the batch's record is damaged");
    if (rc) {
        errors_set(about, err->message);
        status_set(about, "failed");
        struct error ignored; /* it is tried again at the next start */
        (void)!shelf_write(all->folder, json_text(about, "id"), about, &ignored);
        job_free(j);
        return rc;
    }
    if (str_is(json_text(about, "status"), "cancelling"))
        batch_cancel(j->batch);
    /* Before a line runs: its results may say that there was no time for it. */
    time_look(j);
    (void)!note(j); /* the next look does */
    loop_timer_start(j->look, LOOK_EVERY_MS);
    return 0;
}

static void job_run(struct batches *all, const char *id)
{
    struct error err;
    json_t *about;
    int rc = shelf_read(all->folder, str_from(id), NULL, &about, &err);
    if (rc == 0)
        rc = job_start(all, about, &err);
    if (rc)
        log_error("batch", "%s cannot run: %s", id, err.message);
}

struct batches *batches_create(struct api_shard *home, const char *folder)
{
    struct batches *all = must(calloc(1, sizeof *all));
    all->home = home;
    all->folder = folder;
    list_init(&all->jobs);
    json_t *list = folder ? shelf_list(folder, "batch_", NULL) : NULL;
    for (size_t i = json_array_size(list); i-- > 0;) {
        struct str status = json_text(json_array_get(list, i), "status");
        if (!str_is(status, "in_progress") && !str_is(status, "cancelling"))
            continue;
        log_info(
            "batch", "going on with %s", json_string_value(json_object_get(json_array_get(list, i), "id")));
        job_run(all, json_string_value(json_object_get(json_array_get(list, i), "id")));
    }
    json_decref(list);
    return all;
}

void batches_free(struct batches *all)
{
    if (!all)
        return;
    list_each(node, after, &all->jobs) {
        struct job *j = list_item(node, struct job, link);
        (void)!note(j); /* the results say as much at the next start */
        job_free(j);
    }
    free(all);
}

/* ---- From other loops ---- */

struct order {
    struct batches *all;
    char id[64];
};

static void on_run(void *ctx)
{
    struct order *o = ctx;
    job_run(o->all, o->id);
    free(o);
}

static void on_cancel(void *ctx)
{
    struct order *o = ctx;
    list_each(node, after, &o->all->jobs) {
        struct job *j = list_item(node, struct job, link);
        if (!str_is(json_text(j->about, "id"), o->id) ||
            !str_is(json_text(j->about, "status"), "in_progress"))
            continue;
        status_set(j->about, "cancelling");
        (void)!note(j); /* the next look does */
        batch_cancel(j->batch);
    }
    free(o);
}

static void order(const struct api_call *c, struct str id, void (*fn)(void *ctx))
{
    struct order *o = must(calloc(1, sizeof *o));
    o->all = c->shard->batches;
    text_keep(o->id, sizeof o->id, id);
    loop_post(o->all->home->exchange->loop, fn, o);
}

/* ---- Asking for one ---- */

static int metadata_put(json_t *about, const json_t *root, struct error *err)
{
    json_t *metadata = json_object_get(root, "metadata");
    if (metadata && !json_is_null(metadata) && (!json_is_object(metadata) || json_object_size(metadata) > 16))
        return error_set(err, ERROR_INVALID, "'metadata' must be an object of at most 16 strings");
    return json_object_set(about, "metadata", metadata ? metadata : json_null())
               ? error_set(err, ERROR_MEMORY, "no memory for the batch")
               : 0;
}

static int asked_check(
    const struct api_call *c, const char *folder, const json_t *root, int64_t *lines, struct error *err)
{
    static const char *const known[] = {"input_file_id", "endpoint", "completion_window", "metadata", NULL};
    static const char *const urls[] = {
        "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"};
    struct str file = json_text(root, "input_file_id"), url = json_text(root, "endpoint");
    char key[64], path[PATH_MAX];
    bool good = false;
    json_t *about;
    int rc = api_read_only(root, known, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
        good |= str_is(url, urls[i]);
    if (!good)
        return error_set(err, ERROR_UNSUPPORTED,
            "'endpoint' must be /v1/chat/completions, /v1/completions, /v1/responses or /v1/embeddings");
    if (!str_is(json_text(root, "completion_window"), "24h"))
        return error_set(err, ERROR_INVALID, "'completion_window' must be 24h");
    text_keep(key, sizeof key, api_key_id(c));
    rc = str_starts(file, STR("file-"))
             ? shelf_read(folder, file, key, &about, err)
             : error_set(err, ERROR_INVALID, "'input_file_id' must be the id of a file: POST /v1/files");
    if (rc)
        return rc == ERROR_NOT_FOUND ? (err->code = ERROR_INVALID) : rc;
    json_decref(about);
    (void)shelf_path(folder, file, ".data", path); /* its record was read by the same id */
    return batch_check(path, lines, err);
}

static json_t *about_make(const struct api_call *c, const json_t *root, int64_t lines)
{
    char id[64], out[64], failed[64], key[64];
    int64_t now = now_s(), kept = api_content_ms(c) / 1000; /* no longer than content may be kept */
    rand_id("batch_", id, sizeof id);
    rand_id("file-", out, sizeof out);
    rand_id("file-", failed, sizeof failed);
    text_keep(key, sizeof key, api_key_id(c));
    return json_pack("{s:s,s:s,s:O,s:n,s:O,s:s,s:s,s:n,s:n,s:I,s:I,s:I,s:n,s:n,s:n,s:n,s:n,s:n,"
                     "s:{s:I,s:i,s:i},s:s,s:s,s:s,s:b,s:s,s:s}",
        "id", id, "object", "batch", "endpoint", json_object_get(root, "endpoint"), "errors", "input_file_id",
        json_object_get(root, "input_file_id"), "completion_window", "24h", "status", "in_progress",
        "output_file_id", "error_file_id", "created_at", (json_int_t)now, "in_progress_at", (json_int_t)now,
        "expires_at", (json_int_t)(now + (kept < WINDOW_S ? kept : WINDOW_S)), "finalizing_at",
        "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at", "request_counts", "total",
        (json_int_t)lines, "completed", 0, "failed", 0, "key", key, "name",
        c->identified ? c->identity.name : "", "team", c->identified ? c->identity.team : "", "admin",
        c->identified && c->identity.admin, "out", out, "failed", failed);
}

/* POST /v1/batches */
void api_batches_create(const struct api_call *c)
{
    struct arena *a = arena_create(16 * MIB);
    const json_t *root;
    json_t *about = NULL;
    struct error err;
    int64_t lines;
    bool local = false;
    const char *folder = api_files_folder(c);
    if (!folder) {
        arena_free(a);
        return;
    }
    int rc = api_boundary_read(c->http, &local, &err);
    /* The lines come without the headers: what those say holds for all of them. */
    const struct router_context beside = {.header = api_header_give, .header_ctx = c->http};
    local = local || router_policy_marked(exchange_world_policy(c->shard->exchange->world), &beside);
    if (rc == 0)
        rc = api_body_read(a, http_request_body(c->http), &root, &err);
    if (rc == 0)
        rc = asked_check(c, folder, root, &lines, &err);
    if (rc == 0)
        about = must(about_make(c, root, lines));
    if (rc == 0)
        rc = metadata_put(about, root, &err);
    if (rc == 0 && json_object_set_new(about, "local", json_boolean(local)) != 0)
        rc = error_set(&err, ERROR_MEMORY, "no memory for the batch");
    if (rc == 0)
        rc = shelf_write(folder, json_text(about, "id"), about, &err);
    if (rc) {
        api_error(c, exchange_status(rc), str_from(err.message));
    } else {
        order(c, json_text(about, "id"), on_run);
        api_files_reply(c, about);
    }
    json_decref(about);
    arena_free(a);
}

/* GET /v1/batches */
void api_batches_list(const struct api_call *c)
{
    api_files_reply_list(c, "batch_", NULL);
}

/* GET /v1/batches/ID, POST /v1/batches/ID/cancel */
static void batch_reply(const struct api_call *c, bool cancel)
{
    struct error err;
    struct str rest, id = api_files_id(c, prefix, &rest);
    json_t *about;
    char key[64];
    const char *folder = api_files_folder(c);
    if (!folder)
        return;
    text_keep(key, sizeof key, api_key_id(c));
    int rc = str_starts(id, STR("batch_")) && str_is(rest, cancel ? "cancel" : "")
                 ? shelf_read(folder, id, key, &about, &err)
                 : error_set(&err, ERROR_NOT_FOUND, "there is no such batch");
    if (rc) {
        api_error(c, exchange_status(rc), str_from(err.message));
        return;
    }
    if (cancel && str_is(json_text(about, "status"), "in_progress")) {
        order(c, id, on_cancel);
        status_set(about, "cancelling"); /* as its own loop will note */
    }
    api_files_reply(c, about);
    json_decref(about);
}

void api_batches_get(const struct api_call *c)
{
    batch_reply(c, false);
}

void api_batches_cancel(const struct api_call *c)
{
    batch_reply(c, true);
}

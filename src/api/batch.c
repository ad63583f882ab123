#include "api/batch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/batch_out.h"
#include "api/read.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/map.h"
#include "base/must.h"
#include "base/rand.h"

enum { LOOK_MS = 50, UNSAVED_MS = 1000, LINES_A_TURN = 32, ID_MOST = 512 };

struct batch {
    struct batch_options o;
    struct govern_identity identity;
    FILE *in;
    struct batch_out out, failed; /* `failed` has no file of its own where both are one */
    char *line;
    size_t capacity;
    int64_t number; /* of the line that was read last */
    struct arena *names;
    struct map seen;    /* custom_ids: DONE_BEFORE or SEEN */
    struct map refused; /* what earlier runs said of lines that are no requests: 1 */
    struct list running;
    int n_running;
    bool at_end, cancelled;
    bool expired; /* and what was not run is said to be so */
    struct error broke;
    struct loop_timer *turn;
    struct batch_counts counts;
};

enum { DONE_BEFORE, SEEN };

/* A line that runs. */
struct line {
    struct list link;
    struct batch *batch;
    struct api_call api;
    const struct api_shape *shape;
    struct exchange *exchange;
    const struct chat_request *request; /* the exchange's */
    void *answer;
    struct exchange_about about;
    char model[LIMIT_MODEL_NAME + 1];
    struct error broke;
    char *custom_id;
    int64_t number;      /* in the file */
    struct arena *arena; /* the request's, until the exchange has it */
    struct str body;
    bool fetching; /* what it names is read from the state; `api.gone`: it is in no batch any more */
};

static int file_error(const char *path, struct error *err)
{
    return error_set(err, ERROR_IO, "cannot read or write %s: %s", path, strerror(errno));
}

/* ---- Results ---- */

/* `status` 0: there was no answer, `body` is {"code","message"}. */
static void result_write(
    struct batch *b, const char *custom_id, int status, const char *request_id, struct str body)
{
    struct buf out;
    struct json_writer w;
    struct error err;
    char id[64];
    bool good = status == 200;
    rand_id("batch_req_", id, sizeof id);
    buf_init(&out, 2 * LIMIT_PROVIDER_BODY);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_member_text(&w, "id", id);
    json_member_text(&w, "custom_id", custom_id);
    json_key(&w, "response");
    if (status == 0) {
        json_write_null(&w);
    } else {
        json_object_begin(&w);
        json_member_int(&w, "status_code", status);
        json_member_text(&w, "request_id", request_id);
        json_key(&w, "body");
        json_write_raw(&w, body);
        json_object_end(&w);
    }
    json_key(&w, "error");
    if (status == 0)
        json_write_raw(&w, body);
    else
        json_write_null(&w);
    json_object_end(&w);
    buf_append_char(&out, '\n');
    if (out.failed)
        error_set(&b->broke, out.failed, "the result of %s is too large", custom_id ? custom_id : "a line");
    else if (batch_out_write(good || b->failed.fd < 0 ? &b->out : &b->failed, buf_str(&out), &err))
        b->broke = err;
    buf_free(&out);
    b->counts.completed += good;
    b->counts.failed += !good;
    if (b->o.progress)
        b->o.progress(b->o.ctx);
}

/* A line that is no request. Its number and what is wrong with it say which result is its own: one that is in
 * the files already is not added again; a line that changed has another. */
static void refuse(struct batch *b, const char *custom_id, const char *code, const char *message)
{
    struct buf body;
    if (map_find(&b->refused, str_from(message))) {
        b->counts.failed++;
        return;
    }
    struct json_writer w;
    buf_init(&body, 8 * KIB);
    json_writer_init(&w, &body);
    json_object_begin(&w);
    json_member_text(&w, "code", code);
    json_member_str(&w, "message", str_from(message));
    json_object_end(&w);
    result_write(b, custom_id, 0, NULL, buf_str(&body));
    buf_free(&body);
}

static void line_expire(struct batch *b, const char *custom_id, int64_t number)
{
    char message[128];
    snprintf(message, sizeof message, "line %lld: the batch's time was over before it could be run",
        (long long)number);
    refuse(b, custom_id, "batch_expired", message);
}

/* ---- A line's exchange ---- */

static void line_free(struct line *l)
{
    struct batch *b = l->batch;
    list_remove(&l->link);
    b->n_running--;
    if (l->answer)
        l->shape->free(l->answer);
    free(l->answer);
    free(l->custom_id);
    free(l);
    loop_timer_start(b->turn, 0);
}

static void line_drop(struct line *l)
{
    if (!l->fetching) {
        exchange_cancel(l->exchange);
        line_free(l);
        return;
    }
    l->api.gone = true;
    list_remove(&l->link);
    l->batch->n_running--;
}

static void on_begin(void *ctx, const struct exchange_about *about)
{
    struct line *l = ctx;
    l->about = *about;
    size_t n = about->model.len < LIMIT_MODEL_NAME ? about->model.len : LIMIT_MODEL_NAME;
    if (n > 0)
        memcpy(l->model, about->model.data, n);
    l->about.model = (struct str){l->model, n}; /* it may have begun before, by another */
    l->about.provider = l->about.rule = STR_NONE;
    l->shape->begin(l->answer, &l->about);
}

static void on_event(void *ctx, const struct chat_event *e)
{
    struct line *l = ctx;
    if (l->broke.code)
        return;
    if (e->kind == CHAT_EVENT_ERROR)
        error_set(&l->broke, e->failure.code, STR_FMT, STR_ARG(str_slice(e->failure.message, 0, 400)));
    else
        (void)!l->shape->gather(l->answer, e, &l->broke); /* `broke` holds what it says */
}

static void answer_init(struct line *l)
{
    const struct str id = str_from(l->api.request_id); /* the ledger's, too */
    const struct exchange_origin ids = {.request_id = id, .row_id = id};
    l->shape->init(l->answer, l->request, &ids);
}

static void on_again(void *ctx)
{
    struct line *l = ctx;
    l->shape->free(l->answer);
    memset(l->answer, 0, l->shape->answer_size);
    l->broke = (struct error){0};
    answer_init(l);
}

static void line_failed(struct line *l, int status, struct str message, struct str type)
{
    struct buf body;
    buf_init(&body, 64 * KIB);
    status = l->shape->error(status, message, type, str_from(l->api.request_id), &body);
    result_write(l->batch, l->custom_id, status, l->api.request_id, buf_str(&body));
    buf_free(&body);
    line_free(l);
}

static void on_fail(void *ctx, const struct exchange_failure *f)
{
    line_failed(ctx, f->status, f->message, f->type);
}

static void on_end(void *ctx, const struct chat_usage *usage, int64_t cost)
{
    struct line *l = ctx;
    struct buf body;
    (void)cost; /* the ledger has it */
    if (l->broke.code) {
        line_failed(l, 502, str_from(l->broke.message), STR_NONE);
        return;
    }
    buf_init(&body, 2 * LIMIT_PROVIDER_BODY);
    l->shape->whole(l->answer, usage, &body);
    if (body.failed) {
        line_failed(l, 500, STR("the answer is too large"), STR_NONE);
    } else {
        result_write(l->batch, l->custom_id, 200, l->api.request_id, buf_str(&body));
        line_free(l);
    }
    buf_free(&body);
}

static void line_start(struct line *l, struct chat_request *request)
{
    struct batch *b = l->batch;
    struct exchange_origin origin = {.request_id = str_from(l->api.request_id),
        .api = str_from(l->shape->name),
        .identity = l->api.identified ? &b->identity : NULL,
        .boundary_local = b->o.boundary_local,
        .batch = true,
        .measure = b->o.measure,
        .measure_again = b->o.measure_again};
    struct exchange_client client = {on_begin, on_event, on_fail, on_end, on_again, l};
    l->answer = must(calloc(1, l->shape->answer_size));
    l->request = request;
    answer_init(l);
    l->exchange = exchange_start(b->o.shard->exchange, request, &origin, &client);
}

/* ---- Lines ---- */

static const struct api_shape *shape_of(const struct batch *b, struct str url)
{
    static const struct {
        const char *url;
        const struct api_shape *shape;
    } shapes[] = {{"/v1/chat/completions", &api_openai_chat_shape},
        {"/v1/completions", &api_openai_completion_shape}, {"/v1/responses", &api_responses_shape},
        {"/v1/embeddings", &api_embeddings_shape}};
    if (b->o.url && !str_is(url, b->o.url))
        return NULL;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (str_is(url, shapes[i].url))
            return shapes[i].shape;
    return NULL;
}

/* The body's text, with the model that the batch wants. */
static int body_take(struct batch *b, struct arena *a, const json_t *root, struct str *out, struct error *err)
{
    json_t *body = json_object_get(root, "body");
    struct json_writer w;
    struct buf text;
    if (!json_is_object(body))
        return error_set(err, ERROR_INVALID, "'body' must be an object");
    if (json_is_true(json_object_get(body, "stream")))
        return error_set(err, ERROR_INVALID, "a batch has no streams: leave 'stream' out");
    if (b->o.model && json_object_set_new(body, "model", json_string(b->o.model)) != 0)
        return error_set(err, ERROR_MEMORY, "no memory for the request");
    buf_init(&text, 2 * LIMIT_HTTP_BODY);
    json_writer_init(&w, &text);
    json_write_value(&w, body);
    int rc = text.failed || arena_try_copy(a, buf_str(&text), out) ? ERROR_MEMORY : 0;
    buf_free(&text);
    return rc ? error_set(err, rc, "no memory for the request") : 0;
}

static void line_read(struct line *l)
{
    const struct api_shape *shape = l->shape;
    struct arena *a = l->arena;
    struct chat_request *request;
    struct error err;
    int rc = shape->join ? shape->join(&l->api, a, &l->body, &err) : 0;
    if (rc == 0)
        rc = shape->read(a, l->body, &request, &err);
    if (rc == 0) {
        line_start(l, request);
        return;
    }
    arena_free(a);
    line_failed(l, exchange_status(rc), str_from(err.message), STR_NONE);
}

static void on_fetched(void *ctx)
{
    struct line *l = ctx;
    l->fetching = false;
    if (!l->api.gone) {
        line_read(l);
        return;
    }
    arena_free(l->arena);
    free(l->custom_id);
    free(l);
}

/* Runs a request; its own errors become its result. */
static void request_run(struct batch *b, struct arena *a, const json_t *root, const struct api_shape *shape)
{
    struct line *l = must(calloc(1, sizeof *l));
    struct error err;
    l->batch = b;
    l->number = b->number;
    l->arena = a;
    l->shape = shape;
    l->api = (struct api_call){.shard = b->o.shard, .shape = shape, .identified = b->o.identity != NULL};
    l->api.identity = b->identity;
    l->custom_id = must(strdup(json_string_value(json_object_get(root, "custom_id"))));
    rand_id("req_", l->api.request_id, sizeof l->api.request_id);
    list_push_back(&b->running, &l->link);
    b->n_running++;
    int rc = body_take(b, a, root, &l->body, &err);
    if (rc) {
        arena_free(a);
        line_failed(l, exchange_status(rc), str_from(err.message), STR_NONE);
        return;
    }
    l->fetching = shape->fetch != NULL;
    if (!shape->fetch || !shape->fetch(&l->api, a, l->body, on_fetched, l))
        on_fetched(l);
}

/* Has it its result already? Notes that it was seen. */
static bool is_done(struct batch *b, struct str custom_id, bool *again)
{
    struct error err;
    bool added;
    uint32_t *known = map_find(&b->seen, custom_id);
    *again = known && *known == SEEN;
    if (known) {
        bool before = *known == DONE_BEFORE;
        *known = SEEN;
        return before;
    }
    if (map_add(&b->seen, arena_copy(b->names, custom_id), SEEN, &added, &err))
        b->broke = err;
    return false;
}

static void line_take(struct batch *b, struct str text)
{
    struct arena *a = arena_create(LIMIT_REQUEST_MEMORY);
    const json_t *root = NULL;
    struct error err;
    char message[600];
    bool again = false;
    int rc = api_body_read(a, text, &root, &err);
    struct str id = json_text(root, "custom_id");
    if (rc == 0 && (id.len == 0 || id.len > ID_MOST))
        rc = error_set(&err, ERROR_INVALID, "'custom_id' must be a string of 1 to 512 bytes");
    if (rc == 0 && is_done(b, id, &again)) {
        arena_free(a);
        return;
    }
    const struct api_shape *shape = shape_of(b, json_text(root, "url"));
    if (rc == 0 && again)
        rc = error_set(&err, ERROR_INVALID, "its custom_id was used before: give each line its own");
    else if (rc == 0 && (!shape || !str_is(json_text(root, "method"), "POST")))
        rc = error_set(&err, ERROR_INVALID, "wants 'method' POST and the 'url' %s",
            b->o.url ? b->o.url : "/v1/chat/completions, /v1/completions, /v1/responses or /v1/embeddings");
    if (rc == 0 && !b->expired) {
        request_run(b, a, root, shape);
        return;
    }
    if (rc == 0) {
        line_expire(b, id.data, b->number);
        arena_free(a);
        return;
    }
    snprintf(message, sizeof message, "line %lld: %s", (long long)b->number, err.message);
    refuse(b, id.len <= ID_MOST ? id.data : NULL, "invalid_request", message);
    arena_free(a);
}

/* False: there is none. */
static bool line_next(struct batch *b)
{
    ssize_t n = getline(&b->line, &b->capacity, b->in);
    if (n < 0) {
        b->at_end = true;
        if (ferror(b->in))
            file_error(b->o.in, &b->broke);
        return false;
    }
    b->number++;
    struct str text = str_trim((struct str){b->line, (size_t)n});
    if (text.len > 0)
        line_take(b, text);
    return true;
}

/* ---- Turns ---- */

/* Low priority: beside live requests, or where an engine has enough to do, one line at a time. */
static int allowed(const struct batch *b)
{
    const struct exchange_shard *s = b->o.shard->exchange;
    if (s->draining)
        return 0;
    bool live = s->n_open > b->n_running || exchange_world_queue(s->world) > 0;
    return live ? 1 : b->o.parallel;
}

/* What was sent is still answered; what only waits, for its key's turn or a target's place, never is. */
static void unsent_drop(struct batch *b)
{
    list_each(node, after, &b->running) {
        struct line *l = list_item(node, struct line, link);
        if (l->fetching || !exchange_was_sent(l->exchange)) {
            if (b->expired)
                line_expire(b, l->custom_id, l->number);
            line_drop(l);
        }
    }
}

static void on_turn(void *ctx)
{
    struct batch *b = ctx;
    int lines = 0;
    bool stop = b->broke.code || (b->cancelled && !b->expired);
    if (b->cancelled || b->broke.code)
        unsent_drop(b);
    if (!batch_out_saved(&b->out) || !batch_out_saved(&b->failed)) {
        loop_timer_start(b->turn, UNSAVED_MS);
        return;
    }
    while (!stop && !b->at_end && (b->expired || b->n_running < allowed(b)) && lines++ < LINES_A_TURN) {
        line_next(b);
        stop = b->broke.code != 0;
    }
    if ((stop || b->at_end) && b->n_running == 0) {
        loop_timer_stop(b->turn);
        b->o.end(b->o.ctx, b->broke.code ? b->broke.code : b->cancelled ? ERROR_CANCELLED : 0, &b->broke);
        return;
    }
    loop_timer_start(b->turn, lines >= LINES_A_TURN ? 0 : LOOK_MS);
}

/* ---- Beginning and ending ---- */

/* A result of an earlier run. That a line was no request is counted when it is met again: it may have been
 * mended meanwhile, and another line may have its custom_id. */
static int result_note(struct batch *b, const json_t *root, struct error *err)
{
    const json_t *response = json_object_get(root, "response");
    bool refusal = !json_is_object(response);
    struct map *known = refusal ? &b->refused : &b->seen;
    struct str name =
        refusal ? json_text(json_object_get(root, "error"), "message") : json_text(root, "custom_id");
    bool added;
    if (name.len == 0)
        return 0;
    if (!refusal) {
        bool good = json_integer_value(json_object_get(response, "status_code")) == 200;
        b->counts.completed += good;
        b->counts.failed += !good;
    }
    if (map_find(known, name))
        return 0;
    return map_add(known, arena_copy(b->names, name), DONE_BEFORE, &added, err);
}

/* What an earlier run has left there; half a line at the end is cut off. */
static int results_read(struct batch *b, const char *path, int fd, struct error *err)
{
    FILE *f = fopen(path, "re");
    char *line = NULL;
    size_t capacity = 0;
    off_t good = 0;
    ssize_t n;
    int rc = f ? 0 : file_error(path, err);
    while (rc == 0 && (n = getline(&line, &capacity, f)) > 0 && line[n - 1] == '\n') {
        json_t *root = NULL;
        if (json_read((struct str){line, (size_t)n}, &root, err))
            rc = error_wrap(err, "%s does not hold results of a batch", path);
        else
            rc = result_note(b, root, err);
        json_decref(root);
        good += n;
    }
    free(line);
    if (f)
        fclose(f);
    return rc == 0 && ftruncate(fd, good) != 0 ? file_error(path, err) : rc;
}

static int result_open(struct batch *b, struct batch_out *o, struct error *err)
{
    o->fd = open(o->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return o->fd < 0 ? file_error(o->path, err) : results_read(b, o->path, o->fd, err);
}

static int files_open(struct batch *b, struct error *err)
{
    int rc = batch_check(b->o.in, &b->counts.total, err);
    if (rc == 0)
        rc = map_init(&b->seen, 1024, err);
    if (rc == 0)
        rc = map_init(&b->refused, 16, err);
    if (rc)
        return rc;
    b->in = fopen(b->o.in, "re");
    if (!b->in)
        return file_error(b->o.in, err);
    rc = result_open(b, &b->out, err);
    if (rc == 0 && strcmp(b->o.out, b->o.failed) != 0)
        rc = result_open(b, &b->failed, err);
    return rc;
}

int batch_start(const struct batch_options *o, struct batch **out, struct error *err)
{
    struct batch *b = must(calloc(1, sizeof *b));
    b->o = *o;
    if (o->identity)
        b->identity = *o->identity;
    batch_out_init(&b->out, o->out, o->patient);
    batch_out_init(&b->failed, o->failed, o->patient);
    b->names = arena_create(BATCH_LINES_MOST * 2 * KIB);
    list_init(&b->running);
    b->turn = loop_timer_create(o->shard->exchange->loop, on_turn, b);
    int rc = files_open(b, err);
    if (rc) {
        batch_free(b);
        return rc;
    }
    loop_timer_start(b->turn, 0);
    *out = b;
    return 0;
}

struct batch_counts batch_progress(const struct batch *b)
{
    return b->counts;
}

void batch_cancel(struct batch *b)
{
    b->cancelled = true;
    loop_timer_start(b->turn, 0);
}

void batch_expire(struct batch *b)
{
    b->expired = true;
    batch_cancel(b);
}

void batch_free(struct batch *b)
{
    if (!b)
        return;
    list_each(node, after, &b->running) {
        line_drop(list_item(node, struct line, link));
    }
    loop_timer_free(b->turn);
    if (b->in)
        fclose(b->in);
    batch_out_close(&b->out);
    batch_out_close(&b->failed);
    map_free(&b->seen);
    map_free(&b->refused);
    arena_free(b->names);
    free(b->line);
    free(b);
}

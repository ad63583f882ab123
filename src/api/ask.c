/* What requests to a local model share that are answered question by question. */
#include "api/ask.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "engine/engine.h"
#include "govern/access_log.h"

static void call_free(struct ask *c)
{
    c->api.shard->exchange->n_open--;
    engine_call_close(c->asking);
    exchange_world_unref(c->world);
    buf_free(&c->out);
    arena_free(c->arena);
    free(c);
}

/* ---- The end ---- */

static void on_settled(void *ctx, int code)
{
    struct ask *c = ctx;
    struct http_request *r = c->api.http;
    if (code)
        log_error("api", "request %s could not be settled in the ledger: %s", c->api.request_id,
            error_code_name(code));
    if (!c->gone) {
        api_header(r, "x-weir-model", c->model->name);
        api_header(r, "x-weir-provider", provider_name(c->model->target.provider));
        api_header(r, "x-weir-rule", STR("named"));
        api_header(r, "x-weir-cost-usd", STR("0.000000000"));
    }
    if (!c->gone && c->status != 200)
        api_error(&c->api, c->status, str_from(c->error.message));
    else if (!c->gone)
        api_reply_json(&c->api, 200, &c->out);
    call_free(c);
}

static void on_unsettled(void *ctx)
{
    on_settled(ctx, ERROR_BUSY);
}

static struct str attempts_text(struct ask *c)
{
    struct buf text;
    struct json_writer w;
    buf_init(&text, 64 * KIB);
    json_writer_init(&w, &text);
    json_array_begin(&w);
    json_object_begin(&w);
    json_key(&w, "target");
    json_write_str(&w, c->model->name);
    json_key(&w, "provider");
    json_write_str(&w, provider_name(c->model->target.provider));
    json_key(&w, "outcome");
    json_write_text(&w, c->status == 200 ? "ok" : error_code_name(c->error.code));
    json_key(&w, "ms");
    json_write_int(&w, clock_mono_ms() - c->started_ms);
    json_object_end(&w);
    json_array_end(&w);
    struct str kept = text.failed ? STR("[]") : arena_copy(c->arena, buf_str(&text));
    buf_free(&text);
    return kept;
}

static void settle(struct ask *c, const char *outcome, int status)
{
    struct exchange_shard *shard = c->api.shard->exchange;
    struct error err;
    engine_call_close(c->asking);
    c->asking = NULL;
    c->outcome = outcome;
    c->status = status;
    const bool answered = status == 200;
    struct store_settled row = {.request_id = str_from(c->api.row_id),
        .provider = answered ? provider_name(c->model->target.provider) : STR_NONE,
        .model = answered ? c->model->name : STR_NONE,
        .attempts = attempts_text(c),
        .input_tokens = c->tokens,
        .first_token_ms = -1,
        .total_ms = clock_mono_ms() - c->started_ms,
        .outcome = str_from(outcome),
        .status = status};
    const struct meter_labels labels =
        meter_labels((struct str[]){c->model->name, STR_NONE, STR("named"), row.outcome}, METER_LABELS);
    meter_count(shard->meter, METER_REQUESTS, &labels, 1);
    meter_observe(shard->meter, METER_REQUEST_SECONDS, &labels, row.total_ms * 1000);
    if (c->tokens > 0)
        meter_count(shard->meter, METER_INPUT_TOKENS, &labels, c->tokens);
    if (c->api.entry) {
        c->api.entry->api = str_from(c->kind->name);
        c->api.entry->rule = STR("named");
        c->api.entry->model = row.model;
        c->api.entry->provider = row.provider;
        c->api.entry->outcome = row.outcome;
        c->api.entry->input_tokens = c->tokens;
        c->api.entry->cost_nano_usd = 0;
    }
    if (store_ledger_settle(shard->store, &row, (struct store_done){shard->loop, on_settled, c}, &err)) {
        log_error("api", "%s", err.message);
        loop_post(shard->loop, on_unsettled, c);
    }
}

static void fail(struct ask *c, int code)
{
    int status = exchange_status(code);
    settle(c, status < 500 ? "refused" : "failed", status);
}

static void on_gone(void *ctx)
{
    struct ask *c = ctx;
    struct http_request *r = c->api.http;
    c->gone = true;
    if (!c->outcome)
        settle(c, "client_gone", 499);
    http_request_release(r);
}

/* ---- Questions ---- */

static void usage_write(struct ask *c)
{
    json_key(&c->w, "model");
    json_write_str(&c->w, c->model->name);
    json_key(&c->w, "usage");
    json_object_begin(&c->w);
    json_key(&c->w, "prompt_tokens");
    json_write_int(&c->w, c->tokens);
    json_key(&c->w, "total_tokens");
    json_write_int(&c->w, c->tokens);
    json_object_end(&c->w);
}

static void answer_end(struct ask *c)
{
    int rc = c->kind->end(c, &c->error);
    if (c->kind->usage)
        c->kind->usage(c);
    else
        usage_write(c);
    json_object_end(&c->w);
    if (rc == 0 && c->out.failed)
        rc = error_set(&c->error, ERROR_LIMIT, "the answer takes too much memory: send less at a time");
    if (rc)
        fail(c, rc);
    else
        settle(c, "ok", 200);
}

static void ask(struct ask *c);

static void on_reply(void *ctx, enum wire_type type, struct str payload, const struct error *err)
{
    struct ask *c = ctx;
    json_t *answer;
    if (type == WIRE_ERROR) {
        c->error = *err;
        fail(c, err->code);
        return;
    }
    int rc = json_read(payload, &answer, &c->error);
    if (rc == 0) {
        c->tokens += json_integer_value(json_object_get(answer, "tokens"));
        rc = c->kind->reply(c, answer, &c->error);
        json_decref(answer);
    }
    engine_call_close(c->asking);
    c->asking = NULL;
    c->next++;
    if (rc == 0 && c->out.failed)
        rc = error_set(&c->error, ERROR_LIMIT, "the answer takes too much memory: send less at a time");
    if (rc)
        fail(c, rc);
    else if (c->next == c->n_questions)
        answer_end(c);
    else
        ask(c);
}

static void ask(struct ask *c)
{
    struct buf question;
    struct json_writer w;
    buf_init(&question, LIMIT_WIRE_FRAME);
    json_writer_init(&w, &question);
    json_object_begin(&w);
    c->kind->question(c, &w);
    json_object_end(&w);
    int rc = question.failed;
    if (rc)
        error_set(&c->error, rc, "%s[%zu] is too long: cut it in parts", c->kind->question_name, c->next);
    else
        rc = engine_ask(c->model->target.engine, c->api.shard->exchange->loop, c->kind->type,
            buf_str(&question), (struct engine_reply){on_reply, c}, &c->asking, &c->error);
    buf_free(&question);
    if (rc)
        fail(c, rc);
}

/* ---- The request ---- */

static int model_read(struct ask *c, const json_t *root, struct error *err)
{
    struct str name;
    int rc = json_get_str(root, "model", &name, err);
    if (rc == 0 && name.len == 0)
        rc = error_set(err, ERROR_INVALID, "'model' is missing: name a local model");
    if (rc == 0 && c->kind->resolve)
        rc = c->kind->resolve(c->world, name, &name, err);
    if (rc)
        return rc;
    c->model = exchange_world_find(c->world, name);
    if (!c->model)
        return error_set(err, ERROR_NOT_FOUND, "there is no model '" STR_FMT "': GET /v1/models lists them",
            STR_ARG(str_slice(name, 0, 100)));
    if (!c->model->target.engine)
        return error_set(err, ERROR_UNSUPPORTED, "local models only do this: name one that is a file here");
    return 0;
}

static int request_read(struct ask *c, struct error *err)
{
    json_t *root;
    int rc = json_read_in(c->arena, http_request_body(c->api.http), &root, err);
    if (rc == 0 && !json_is_object(root))
        rc = error_set(err, ERROR_INVALID, "the body must be a JSON object");
    rc = rc ? rc : model_read(c, root, err);
    return rc ? rc : c->kind->read(c, root, err);
}

static int record(struct ask *c, struct error *err)
{
    struct str name = c->model->name;
    struct buf text;
    struct json_writer w;
    const struct route_decision decision = {.request_id = str_from(c->api.request_id),
        .rule = STR("named"),
        .boundary = EGRESS_BOUNDARY_LOCAL,
        .complexity = (double)NAN,
        .tokens = -1,
        .targets = &name,
        .n_targets = 1,
        .reason = str_from(c->kind->reason)};
    buf_init(&text, 64 * KIB);
    json_writer_init(&w, &text);
    route_decision_write(&decision, &w);
    const struct store_opened row = {.request_id = str_from(c->api.row_id),
        .wall_ms = clock_wall_ms(),
        .key_id = str_from(c->api.identified ? c->api.identity.key_id : ""),
        .team = str_from(c->api.identified ? c->api.identity.team : ""),
        .api = str_from(c->kind->name),
        .model = name,
        .rule = STR("named"),
        .boundary = STR("local"),
        .decision = text.failed ? STR("{}") : buf_str(&text)};
    int rc =
        store_ledger_open(c->api.shard->exchange->store, &row, (struct store_done){NULL, NULL, NULL}, err);
    buf_free(&text);
    return rc;
}

void api_ask(const struct api_call *api, const struct ask_kind *kind)
{
    struct ask *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->api = *api;
    c->kind = kind;
    c->arena = arena_create(LIMIT_REQUEST_MEMORY);
    c->world = exchange_world_ref(api->shard->exchange->world);
    c->started_ms = clock_mono_ms();
    api->shard->exchange->n_open++;
    int rc = request_read(c, &c->error);
    rc = rc ? rc : record(c, &c->error);
    if (rc) {
        api_error(api, exchange_status(rc), str_from(c->error.message));
        call_free(c);
        return;
    }
    buf_init(&c->out, 2 * LIMIT_PROVIDER_BODY);
    json_writer_init(&c->w, &c->out);
    json_object_begin(&c->w);
    kind->begin(c);
    http_request_on_gone(api->http, on_gone, c);
    ask(c);
}

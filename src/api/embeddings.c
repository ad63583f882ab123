/* POST /v1/embeddings, of local models: each input is asked for in turn, nothing leaves this machine.
 *
 *   read -> ledger row opened -> ask -> reply -> ask ... -> row settled -> the answer */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "api/api.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "engine/engine.h"
#include "json/json.h"

enum { INPUTS_MAX = 2048 };

struct embeddings_call {
    struct api_call api;
    struct exchange_world *world;
    const struct exchange_model *model;
    struct arena *arena;
    const json_t *input;
    size_t n_inputs, next; /* next: the input that is being asked for */
    bool base64, gone;
    struct engine_call *asking;
    struct buf out;
    struct json_writer w;
    int64_t started_ms, tokens;
    const char *outcome; /* not NULL: settling */
    int status;
    struct error error;
};

static void call_free(struct embeddings_call *c)
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
    struct embeddings_call *c = ctx;
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

static struct str attempts_text(struct embeddings_call *c)
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

static void settle(struct embeddings_call *c, const char *outcome, int status)
{
    struct exchange_shard *shard = c->api.shard->exchange;
    struct error err;
    engine_call_close(c->asking);
    c->asking = NULL;
    c->outcome = outcome;
    c->status = status;
    const bool answered = status == 200;
    struct store_settled row = {.request_id = str_from(c->api.request_id),
        .provider = answered ? provider_name(c->model->target.provider) : STR_NONE,
        .model = answered ? c->model->name : STR_NONE,
        .attempts = attempts_text(c),
        .input_tokens = c->tokens,
        .first_token_ms = -1,
        .total_ms = clock_mono_ms() - c->started_ms,
        .outcome = str_from(outcome),
        .status = status};
    struct meter_label labels[] = {
        {"model", c->model->name}, {"rule", STR("named")}, {"outcome", row.outcome}};
    meter_count(
        shard->meter, "weir_requests_total", "Requests, by who answered, rule and outcome.", labels, 3, 1);
    if (store_ledger_settle(shard->store, &row, (struct store_done){shard->loop, on_settled, c}, &err)) {
        log_error("api", "%s", err.message);
        loop_post(shard->loop, on_unsettled, c);
    }
}

static void fail(struct embeddings_call *c, int code)
{
    int status = exchange_status(code);
    settle(c, status < 500 ? "refused" : "failed", status);
}

static void on_gone(void *ctx)
{
    struct embeddings_call *c = ctx;
    c->gone = true;
    http_request_release(c->api.http);
    if (!c->outcome)
        settle(c, "client_gone", 499);
}

/* ---- Vectors ---- */

/* Little-endian floats, as OpenAI's clients expect them. */
static int base64_write(struct json_writer *w, const json_t *vector, struct error *err)
{
    size_t n = json_array_size(vector),
           room = sodium_base64_ENCODED_LEN(n * sizeof(float), sodium_base64_VARIANT_ORIGINAL);
    float *values = calloc(n + 1, sizeof *values);
    char *text = malloc(room);
    if (values && text) {
        for (size_t i = 0; i < n; i++)
            values[i] = (float)json_number_value(json_array_get(vector, i));
        sodium_bin2base64(
            text, room, (const unsigned char *)values, n * sizeof *values, sodium_base64_VARIANT_ORIGINAL);
        json_write_text(w, text);
    }
    bool made = values && text;
    free(values);
    free(text);
    return made ? 0 : error_set(err, ERROR_MEMORY, "no memory for an embedding: send fewer inputs");
}

static int vector_write(struct embeddings_call *c, const json_t *answer, struct error *err)
{
    const json_t *vector = json_object_get(answer, "embedding");
    int rc = 0;
    if (json_is_array(json_array_get(vector, 0)))
        return error_set(err, ERROR_UNSUPPORTED,
            "the model makes a vector of each token, not one of a text: use 'weir embed', or another model");
    json_object_begin(&c->w);
    json_key(&c->w, "object");
    json_write_text(&c->w, "embedding");
    json_key(&c->w, "index");
    json_write_int(&c->w, (int64_t)c->next);
    json_key(&c->w, "embedding");
    if (c->base64)
        rc = base64_write(&c->w, vector, err);
    else
        json_write_value(&c->w, vector);
    json_object_end(&c->w);
    c->tokens += json_integer_value(json_object_get(answer, "tokens"));
    if (rc == 0 && c->out.failed)
        rc = error_set(err, ERROR_LIMIT, "the embeddings take too much memory: send fewer inputs");
    return rc;
}

static void answer_end(struct embeddings_call *c)
{
    json_array_end(&c->w);
    json_key(&c->w, "model");
    json_write_str(&c->w, c->model->name);
    json_key(&c->w, "usage");
    json_object_begin(&c->w);
    json_key(&c->w, "prompt_tokens");
    json_write_int(&c->w, c->tokens);
    json_key(&c->w, "total_tokens");
    json_write_int(&c->w, c->tokens);
    json_object_end(&c->w);
    json_object_end(&c->w);
    settle(c, "ok", 200);
}

static void ask(struct embeddings_call *c);

static void on_reply(void *ctx, enum wire_type type, struct str payload, const struct error *err)
{
    struct embeddings_call *c = ctx;
    json_t *answer;
    if (type == WIRE_ERROR) {
        c->error = *err;
        fail(c, err->code);
        return;
    }
    int rc = json_read(payload, &answer, &c->error);
    if (rc == 0) {
        rc = vector_write(c, answer, &c->error);
        json_decref(answer);
    }
    engine_call_close(c->asking);
    c->asking = NULL;
    c->next++;
    if (rc)
        fail(c, rc);
    else if (c->next == c->n_inputs)
        answer_end(c);
    else
        ask(c);
}

/* The input itself when it is one text, or the ids of one. */
static const json_t *input_at(const struct embeddings_call *c, size_t index)
{
    bool one = json_is_string(c->input) || json_is_integer(json_array_get(c->input, 0));
    return one ? c->input : json_array_get(c->input, index);
}

static void ask(struct embeddings_call *c)
{
    struct buf question;
    struct json_writer w;
    const json_t *input = input_at(c, c->next);
    buf_init(&question, LIMIT_WIRE_FRAME);
    json_writer_init(&w, &question);
    json_object_begin(&w);
    json_key(&w, json_is_string(input) ? "text" : "tokens");
    json_write_value(&w, input);
    json_key(&w, "normalize");
    json_write_bool(&w, true);
    json_object_end(&w);
    int rc = question.failed;
    if (rc)
        error_set(&c->error, rc, "input[%zu] is too long: cut it in parts", c->next);
    else
        rc = engine_ask(c->model->target.engine, c->api.shard->exchange->loop, WIRE_EMBED, buf_str(&question),
            (struct engine_reply){on_reply, c}, &c->asking, &c->error);
    buf_free(&question);
    if (rc)
        fail(c, rc);
}

/* ---- The request ---- */

static int input_read(struct embeddings_call *c, const json_t *root, struct error *err)
{
    c->input = json_object_get(root, "input");
    bool one = json_is_string(c->input) || json_is_integer(json_array_get(c->input, 0));
    c->n_inputs = one ? 1 : json_array_size(c->input);
    if (c->n_inputs == 0 || c->n_inputs > INPUTS_MAX)
        return error_set(err, ERROR_INVALID,
            "'input' must be a text, a list of token ids, or a list of 1 to %d of those", INPUTS_MAX);
    for (size_t i = 0; i < c->n_inputs; i++)
        if (!json_is_string(input_at(c, i)) && !json_is_array(input_at(c, i)))
            return error_set(
                err, ERROR_INVALID, "input[%zu] must be a text or a list of token ids, like the others", i);
    return 0;
}

static int model_read(struct embeddings_call *c, const json_t *root, struct error *err)
{
    struct str name;
    int rc = json_get_str(root, "model", &name, err);
    if (rc == 0 && name.len == 0)
        rc = error_set(err, ERROR_INVALID, "'model' is missing: name an embedding model");
    if (rc)
        return rc;
    c->model = exchange_world_find(c->world, name);
    if (!c->model)
        return error_set(err, ERROR_NOT_FOUND, "there is no model '" STR_FMT "': GET /v1/models lists them",
            STR_ARG(str_slice(name, 0, 100)));
    if (!c->model->target.engine)
        return error_set(
            err, ERROR_UNSUPPORTED, "embeddings are made by local models only: name one that is a file here");
    return 0;
}

static int request_read(struct embeddings_call *c, struct error *err)
{
    json_t *root;
    struct str format;
    int rc = json_read_in(c->arena, http_request_body(c->api.http), &root, err);
    if (rc == 0 && !json_is_object(root))
        rc = error_set(err, ERROR_INVALID, "the body must be a JSON object");
    rc = rc ? rc : model_read(c, root, err);
    rc = rc ? rc : input_read(c, root, err);
    rc = rc ? rc : json_get_str(root, "encoding_format", &format, err);
    if (rc)
        return rc;
    c->base64 = str_is(format, "base64");
    if (format.len > 0 && !c->base64 && !str_is(format, "float"))
        return error_set(err, ERROR_INVALID, "'encoding_format' must be \"float\" or \"base64\"");
    const json_t *dimensions = json_object_get(root, "dimensions");
    if (dimensions && !json_is_null(dimensions))
        return error_set(err, ERROR_UNSUPPORTED,
            "a local model cannot honour 'dimensions': leave it out, its embeddings have one size");
    return 0;
}

static int record(struct embeddings_call *c, struct error *err)
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
        .reason = STR("embeddings are made by the local model that was named")};
    buf_init(&text, 64 * KIB);
    json_writer_init(&w, &text);
    route_decision_write(&decision, &w);
    const struct store_opened row = {.request_id = str_from(c->api.request_id),
        .wall_ms = clock_wall_ms(),
        .key_id = str_from(c->api.identified ? c->api.identity.key_id : ""),
        .team = str_from(c->api.identified ? c->api.identity.team : ""),
        .api = STR("openai.embeddings"),
        .model = name,
        .rule = STR("named"),
        .boundary = STR("local"),
        .decision = text.failed ? STR("{}") : buf_str(&text)};
    int rc =
        store_ledger_open(c->api.shard->exchange->store, &row, (struct store_done){NULL, NULL, NULL}, err);
    buf_free(&text);
    return rc;
}

void api_openai_embeddings(const struct api_call *api)
{
    struct embeddings_call *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->api = *api;
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
    json_key(&c->w, "object");
    json_write_text(&c->w, "list");
    json_key(&c->w, "data");
    json_array_begin(&c->w);
    http_request_on_gone(api->http, on_gone, c);
    ask(c);
}

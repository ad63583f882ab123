/* What the embedded engine is asked question by question: the vector of a text, how well a document answers a
 * query. Each is asked when the one before is answered, so that one request never holds the engine; nothing
 * of it goes on before all are answered, so that another target can still take the request over. */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "engine/engine.h"
#include "provider/dialect.h"

struct local_ask {
    struct provider_call call; /* first: see provider.h */
    struct loop *loop;
    struct engine *engine;
    const struct chat_request *request;
    struct chat_sink sink;
    struct engine_call *asking;
    size_t next;   /* the input that is being asked about */
    float *values; /* EMBED: the vectors so far, `width` values each */
    size_t width;
    double *scores;      /* RERANK */
    int64_t tokens;      /* read so far */
    bool inside, closed; /* the sink is being called; it has closed the call */
};

static void ask_free(struct local_ask *c)
{
    free(c->values);
    free(c->scores);
    free(c);
}

/* ---- Events ---- */

static void pass(struct local_ask *c, const struct chat_event *event)
{
    if (!c->closed)
        c->sink.event(c->sink.ctx, event);
}

static void usage_pass(struct local_ask *c)
{
    pass(c, &(struct chat_event){.kind = CHAT_EVENT_USAGE, .usage = {.input_tokens = c->tokens}});
}

static void answers_pass(struct local_ask *c)
{
    for (size_t i = 0; i < c->request->n_inputs && !c->closed; i++) {
        if (c->request->kind == CHAT_KIND_EMBED)
            pass(c, &(struct chat_event){
                        .kind = CHAT_EVENT_EMBEDDING, .embedding = {i, c->values + i * c->width, c->width}});
        else
            pass(c, &(struct chat_event){.kind = CHAT_EVENT_SCORE, .score = {i, c->scores[i]}});
    }
    pass(c, &(struct chat_event){.kind = CHAT_EVENT_STOP, .stop = CHAT_STOP_END});
}

static void fail(struct local_ask *c, const struct error *err)
{
    pass(c, &(struct chat_event){
                .kind = CHAT_EVENT_ERROR, .failure = chat_failure_of(err->code, str_from(err->message))});
}

/* ---- Questions ---- */

static const char *inputs_name(const struct local_ask *c)
{
    return c->request->kind == CHAT_KIND_EMBED ? "input" : "documents";
}

static void embed_question(
    const struct chat_request *r, const struct chat_input *input, struct json_writer *w)
{
    json_key(w, input->ids ? "tokens" : "text");
    if (input->ids) {
        json_array_begin(w);
        for (size_t i = 0; i < input->n_ids; i++)
            json_write_int(w, input->ids[i]);
        json_array_end(w);
    } else {
        json_write_str(w, input->text);
    }
    json_member_bool(w, "normalize", !r->unscaled);
    if (r->dimensions > 0)
        json_member_int(w, "dimensions", r->dimensions);
}

static void rerank_question(
    const struct chat_request *r, const struct chat_input *input, struct json_writer *w)
{
    json_member_str(w, "query", r->query);
    json_key(w, "documents");
    json_array_begin(w);
    json_write_str(w, input->text);
    json_array_end(w);
}

static void on_reply(void *ctx, enum wire_type type, struct str payload, const struct error *err);

static int ask(struct local_ask *c, struct error *err)
{
    const struct chat_request *r = c->request;
    const struct chat_input *input = &r->inputs[c->next];
    struct buf question;
    struct json_writer w;
    buf_init(&question, LIMIT_WIRE_FRAME);
    json_writer_init(&w, &question);
    json_object_begin(&w);
    if (r->kind == CHAT_KIND_EMBED)
        embed_question(r, input, &w);
    else
        rerank_question(r, input, &w);
    json_object_end(&w);
    int rc = question.failed;
    if (rc)
        error_set(err, rc, "%s[%zu] is too long: cut it in parts", inputs_name(c), c->next);
    else
        rc = engine_ask(c->engine, c->loop, r->kind == CHAT_KIND_EMBED ? WIRE_EMBED : WIRE_RERANK,
            buf_str(&question), (struct engine_reply){on_reply, c}, &c->asking, err);
    buf_free(&question);
    return rc;
}

/* ---- Replies ---- */

static int vector_take(struct local_ask *c, const json_t *vector, struct error *err)
{
    const size_t n = json_array_size(vector);
    if (json_is_array(json_array_get(vector, 0)))
        return error_set(err, ERROR_UNSUPPORTED,
            "the model makes a vector of each token, not one of a text: use 'weir embed', or another model");
    if (c->next == 0) {
        c->width = n;
        c->values = calloc(c->request->n_inputs, (n + 1) * sizeof *c->values);
    }
    if (!c->values)
        return error_set(err, ERROR_MEMORY, "no memory for the embeddings: send fewer inputs");
    if (n != c->width)
        return error_set(err, ERROR_UNAVAILABLE, "the engine's embeddings are not all of one length");
    for (size_t i = 0; i < n; i++)
        c->values[c->next * n + i] = (float)json_number_value(json_array_get(vector, i));
    return 0;
}

static int reply_take(struct local_ask *c, struct str payload, struct error *err)
{
    json_t *reply;
    int rc = json_read(payload, &reply, err);
    if (rc)
        return rc;
    c->tokens += json_integer_value(json_object_get(reply, "tokens"));
    if (c->request->kind == CHAT_KIND_EMBED)
        rc = vector_take(c, json_object_get(reply, "embedding"), err);
    else
        c->scores[c->next] = json_number_value(
            json_object_get(json_array_get(json_object_get(reply, "results"), 0), "relevance_score"));
    json_decref(reply);
    return rc;
}

static void reply(struct local_ask *c, enum wire_type type, struct str payload, const struct error *told)
{
    struct error err;
    int rc;
    if (type == WIRE_ERROR) {
        err = *told;
        if (c->request->n_inputs > 1)
            error_wrap(&err, "%s[%zu]", inputs_name(c), c->next);
        fail(c, &err);
        return;
    }
    rc = reply_take(c, payload, &err);
    engine_call_close(c->asking);
    c->asking = NULL;
    usage_pass(c);
    if (rc == 0 && ++c->next == c->request->n_inputs)
        answers_pass(c);
    else if (rc == 0 && !c->closed)
        rc = ask(c, &err);
    if (rc)
        fail(c, &err);
}

static void on_reply(void *ctx, enum wire_type type, struct str payload, const struct error *err)
{
    struct local_ask *c = ctx;
    c->inside = true;
    reply(c, type, payload, err);
    c->inside = false;
    if (c->closed)
        ask_free(c);
}

/* ---- The call ---- */

/* What is not asked yet waits for nothing; what is there goes on at once, for it is bounded. */
static void ask_pause(struct provider_call *call, bool paused)
{
    (void)call;
    (void)paused;
}

static void ask_close(struct provider_call *call)
{
    struct local_ask *c = (struct local_ask *)call;
    engine_call_close(c->asking);
    c->asking = NULL;
    c->closed = true;
    if (!c->inside)
        ask_free(c);
}

static const struct provider_ops ask_ops = {.kind = "local", .pause = ask_pause, .close = ask_close};

int provider_local_ask_start(const struct provider_start *s, struct provider_call **out, struct error *err)
{
    const struct chat_request *r = s->request;
    struct local_ask *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->call.ops = &ask_ops;
    c->loop = s->loop;
    c->engine = s->model->engine;
    c->request = r;
    c->sink = s->sink;
    c->scores = calloc(r->n_inputs + 1, sizeof *c->scores);
    engine_keep_alive(c->engine, r->has_keep_alive ? &r->keep_alive_ms : NULL);
    int rc = c->scores ? ask(c, err) : error_set(err, ERROR_MEMORY, "out of memory");
    if (rc)
        ask_free(c);
    else
        *out = &c->call;
    return rc;
}

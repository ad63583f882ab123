/* Ollama's POST /api/embed and the older /api/embeddings, of local models. A text that is too long is an
 * error: none is cut in silence. */
#include "api/ask.h"
#include "api/ollama.h"
#include "api/ollama_in.h"
#include "base/clock.h"
#include "engine/engine.h"

/* A model's keep_alive counts from its last request, whatever that was. */
static int keep_alive_read(struct ask *c, const json_t *root, struct error *err)
{
    bool given;
    int64_t ms;
    int rc = api_ollama_keep_alive(root, &given, &ms, err);
    if (rc == 0)
        engine_keep_alive(c->model->target.engine, given ? &ms : NULL);
    return rc;
}

struct embed {
    const json_t *input; /* a text or a list of them */
    int64_t dimensions;  /* 0: all */
    bool raw;            /* as the model gives it, not normed */
};

static const json_t *input_at(const json_t *input, size_t index)
{
    return json_is_string(input) ? input : json_array_get(input, index);
}

static int embed_read(struct ask *c, const json_t *root, struct error *err)
{
    struct embed *e = c->data = arena_new(c->arena, struct embed);
    e->input = json_object_get(root, "input");
    c->n_questions = json_is_string(e->input) ? 1 : json_array_size(e->input);
    if (c->n_questions == 0 || c->n_questions > ASK_QUESTIONS_MAX)
        return error_set(
            err, ERROR_INVALID, "'input' must be a text or a list of 1 to %d texts", ASK_QUESTIONS_MAX);
    for (size_t i = 0; i < c->n_questions; i++)
        if (!json_is_string(input_at(e->input, i)))
            return error_set(err, ERROR_INVALID, "input[%zu] must be a text", i);
    int rc = json_get_int(root, "dimensions", 0, 0, INT32_MAX, &e->dimensions, err);
    return rc ? rc : keep_alive_read(c, root, err);
}

static int one_read(struct ask *c, const json_t *root, struct error *err)
{
    struct embed *e = c->data = arena_new(c->arena, struct embed);
    e->input = json_object_get(root, "prompt");
    e->raw = true;
    c->n_questions = 1;
    if (!json_is_string(e->input))
        return error_set(err, ERROR_INVALID, "'prompt' must be a text: /api/embed takes lists");
    return keep_alive_read(c, root, err);
}

static void question(const struct ask *c, struct json_writer *w)
{
    const struct embed *e = c->data;
    json_key(w, "text");
    json_write_value(w, input_at(e->input, c->next));
    json_key(w, "normalize");
    json_write_bool(w, !e->raw);
    if (e->dimensions > 0) {
        json_key(w, "dimensions");
        json_write_int(w, e->dimensions);
    }
}

static int reply(struct ask *c, const json_t *answer, struct error *err)
{
    const json_t *vector = json_object_get(answer, "embedding");
    if (json_is_array(json_array_get(vector, 0)))
        return error_set(err, ERROR_UNSUPPORTED,
            "the model makes a vector of each token, not one of a text: use 'weir embed', or another model");
    json_write_value(&c->w, vector);
    return 0;
}

static void embed_begin(struct ask *c)
{
    json_key(&c->w, "embeddings");
    json_array_begin(&c->w);
}

static int embed_end(struct ask *c, struct error *err)
{
    (void)err;
    json_array_end(&c->w);
    return 0;
}

static void embed_usage(struct ask *c)
{
    json_key(&c->w, "model");
    json_write_str(&c->w, c->model->name);
    json_key(&c->w, "total_duration");
    json_write_int(&c->w, (clock_mono_ms() - c->started_ms) * 1000000);
    json_key(&c->w, "load_duration");
    json_write_int(&c->w, 0);
    json_key(&c->w, "prompt_eval_count");
    json_write_int(&c->w, c->tokens);
}

static const struct ask_kind embed = {.name = "ollama.embed",
    .reason = "embeddings are made by the local model that was named",
    .type = WIRE_EMBED,
    .question_name = "input",
    .resolve = api_ollama_name,
    .read = embed_read,
    .begin = embed_begin,
    .question = question,
    .reply = reply,
    .end = embed_end,
    .usage = embed_usage};

void api_ollama_embed(const struct api_call *c)
{
    api_ask(c, &embed);
}

/* {"embedding":[...]} and nothing else. */
static void one_begin(struct ask *c)
{
    json_key(&c->w, "embedding");
}

static int one_end(struct ask *c, struct error *err)
{
    (void)c;
    (void)err;
    return 0;
}

static void one_usage(struct ask *c)
{
    (void)c;
}

static const struct ask_kind one = {.name = "ollama.embeddings",
    .reason = "embeddings are made by the local model that was named",
    .type = WIRE_EMBED,
    .question_name = "prompt",
    .resolve = api_ollama_name,
    .read = one_read,
    .begin = one_begin,
    .question = question,
    .reply = reply,
    .end = one_end,
    .usage = one_usage};

void api_ollama_embeddings(const struct api_call *c)
{
    api_ask(c, &one);
}

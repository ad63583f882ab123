/* POST /v1/embeddings, of local models. */
#include <stdlib.h>

#include <sodium.h>

#include "api/ask.h"

struct embeddings {
    const json_t *input;
    int64_t dimensions; /* 0: all */
    bool base64;
};

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

/* The input itself when it is one text, or the ids of one. */
static const json_t *input_at(const json_t *input, size_t index)
{
    bool one = json_is_string(input) || json_is_integer(json_array_get(input, 0));
    return one ? input : json_array_get(input, index);
}

static int input_read(struct ask *c, const json_t *input, struct error *err)
{
    bool one = json_is_string(input) || json_is_integer(json_array_get(input, 0));
    c->n_questions = one ? 1 : json_array_size(input);
    if (c->n_questions == 0 || c->n_questions > ASK_QUESTIONS_MAX)
        return error_set(err, ERROR_INVALID,
            "'input' must be a text, a list of token ids, or a list of 1 to %d of those", ASK_QUESTIONS_MAX);
    for (size_t i = 0; i < c->n_questions; i++)
        if (!json_is_string(input_at(input, i)) && !json_is_array(input_at(input, i)))
            return error_set(
                err, ERROR_INVALID, "input[%zu] must be a text or a list of token ids, like the others", i);
    return 0;
}

static int embeddings_read(struct ask *c, const json_t *root, struct error *err)
{
    struct embeddings *e = c->data = arena_new(c->arena, struct embeddings);
    struct str format;
    e->input = json_object_get(root, "input");
    int rc = input_read(c, e->input, err);
    rc = rc ? rc : json_get_str(root, "encoding_format", &format, err);
    rc = rc ? rc : json_get_int(root, "dimensions", 0, 1, INT32_MAX, &e->dimensions, err);
    if (rc)
        return rc;
    e->base64 = str_is(format, "base64");
    if (format.len > 0 && !e->base64 && !str_is(format, "float"))
        return error_set(err, ERROR_INVALID, "'encoding_format' must be \"float\" or \"base64\"");
    return 0;
}

static void embeddings_begin(struct ask *c)
{
    json_key(&c->w, "object");
    json_write_text(&c->w, "list");
    json_key(&c->w, "data");
    json_array_begin(&c->w);
}

static void embeddings_question(const struct ask *c, struct json_writer *w)
{
    const struct embeddings *e = c->data;
    const json_t *input = input_at(e->input, c->next);
    json_key(w, json_is_string(input) ? "text" : "tokens");
    json_write_value(w, input);
    json_key(w, "normalize");
    json_write_bool(w, true);
    if (e->dimensions > 0) {
        json_key(w, "dimensions");
        json_write_int(w, e->dimensions);
    }
}

static int embeddings_reply(struct ask *c, const json_t *answer, struct error *err)
{
    const struct embeddings *e = c->data;
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
    if (e->base64)
        rc = base64_write(&c->w, vector, err);
    else
        json_write_value(&c->w, vector);
    json_object_end(&c->w);
    return rc;
}

static int embeddings_end(struct ask *c, struct error *err)
{
    (void)err;
    json_array_end(&c->w);
    return 0;
}

static const struct ask_kind embeddings = {.name = "openai.embeddings",
    .reason = "embeddings are made by the local model that was named",
    .type = WIRE_EMBED,
    .question_name = "input",
    .read = embeddings_read,
    .begin = embeddings_begin,
    .question = embeddings_question,
    .reply = embeddings_reply,
    .end = embeddings_end};

void api_openai_embeddings(const struct api_call *api)
{
    api_ask(api, &embeddings);
}

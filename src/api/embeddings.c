#include "api/embeddings.h"

#include <stdlib.h>

#include <sodium.h>

#include "api/openai_out.h"
#include "api/read.h"
#include "api/shape.h"
#include "base/clock.h"
#include "base/limits.h"

/* ---- Requests ---- */

int api_inputs_read(struct arena *a, const json_t *input, const char *name, bool ids, struct chat_request *r,
    struct error *err)
{
    const bool one = json_is_string(input) || (ids && json_is_integer(json_array_get(input, 0)));
    r->n_inputs = one ? 1 : json_array_size(input);
    if (r->n_inputs == 0 || r->n_inputs > LIMIT_INPUTS)
        return error_set(err, ERROR_INVALID, "'%s' must be a text%s or a list of 1 to %d of those", name,
            ids ? ", a list of token ids," : "", LIMIT_INPUTS);
    r->inputs = arena_alloc(a, r->n_inputs * sizeof *r->inputs);
    for (size_t i = 0; i < r->n_inputs; i++) {
        const json_t *item = one ? input : json_array_get(input, i);
        struct chat_input *in = &r->inputs[i];
        in->text = json_str(item);
        if (json_is_string(item))
            continue;
        if (!ids || !api_ids_read(a, item, &in->ids, &in->n_ids))
            return error_set(err, ERROR_INVALID, "%s[%zu] must be a text%s, like the others", name, i,
                ids ? " or a list of token ids" : "");
        if (!in->ids)
            return error_set(err, ERROR_MEMORY, "no memory for the request");
    }
    return 0;
}

static int embeddings_read(struct arena *a, struct str body, struct chat_request **out, struct error *err)
{
    static const char *const known[] = {"model", "input", "encoding_format", "dimensions", "user", NULL};
    const json_t *root;
    struct str format = STR_NONE;
    int rc = api_body_read(a, body, &root, err);
    if (rc)
        return rc;
    struct chat_request *r = *out = chat_request_create(a);
    r->kind = CHAT_KIND_EMBED;
    rc = api_model_read(root, &r->model, err);
    if (rc == 0)
        rc = api_inputs_read(a, json_object_get(root, "input"), "input", true, r, err);
    if (rc == 0)
        rc = json_get_str(root, "encoding_format", &format, err);
    r->packed = str_is(format, "base64");
    if (rc == 0 && format.len > 0 && !r->packed && !str_is(format, "float"))
        rc = error_set(err, ERROR_INVALID, "'encoding_format' must be \"float\" or \"base64\"");
    if (rc == 0)
        rc = json_get_int(root, "dimensions", 0, 1, INT32_MAX, &r->dimensions, err);
    if (rc == 0)
        rc = json_get_str(root, "user", &r->user, err);
    return rc ? rc : api_read_vendor(a, root, known, &r->vendor, err);
}

/* ---- Answers ---- */

void embeddings_answer_init(struct embeddings_answer *a, bool packed, bool listed)
{
    *a = (struct embeddings_answer){.packed = packed, .listed = listed, .started_ns = clock_mono_ns()};
    buf_init(&a->vectors, 2 * LIMIT_PROVIDER_BODY);
    json_writer_init(&a->w, &a->vectors);
    json_array_begin(&a->w);
}

void embeddings_answer_free(void *answer)
{
    struct embeddings_answer *a = answer;
    buf_free(&a->vectors);
}

/* Little-endian floats, as OpenAI's clients expect them. */
static int packed_write(struct json_writer *w, const float *values, size_t n, struct error *err)
{
    size_t room = sodium_base64_ENCODED_LEN(n * sizeof *values, sodium_base64_VARIANT_ORIGINAL);
    char *text = malloc(room);
    if (!text)
        return error_set(err, ERROR_MEMORY, "no memory for an embedding: send fewer inputs");
    sodium_bin2base64(
        text, room, (const unsigned char *)values, n * sizeof *values, sodium_base64_VARIANT_ORIGINAL);
    json_write_text(w, text);
    free(text);
    return 0;
}

static void numbers_write(struct json_writer *w, const float *values, size_t n)
{
    json_array_begin(w);
    for (size_t i = 0; i < n; i++)
        json_write_float(w, values[i]);
    json_array_end(w);
}

int embeddings_answer_gather(void *answer, const struct chat_event *e, struct error *err)
{
    struct embeddings_answer *a = answer;
    int rc = 0;
    if (e->kind != CHAT_EVENT_EMBEDDING)
        return 0;
    if (a->listed) {
        json_object_begin(&a->w);
        json_member_text(&a->w, "object", "embedding");
        json_member_int(&a->w, "index", (int64_t)e->embedding.index);
        json_key(&a->w, "embedding");
    }
    if (a->packed)
        rc = packed_write(&a->w, e->embedding.values, e->embedding.n_values, err);
    else
        numbers_write(&a->w, e->embedding.values, e->embedding.n_values);
    if (a->listed)
        json_object_end(&a->w);
    if (rc == 0 && a->vectors.failed)
        rc = error_set(err, ERROR_LIMIT, "the answer takes too much memory: send less at a time");
    return rc;
}

/* ---- OpenAI's shape ---- */

static void init(void *answer, const struct chat_request *r, const struct exchange_origin *o)
{
    (void)o;
    embeddings_answer_init(answer, r->packed, true);
}

static void begin(void *answer, const struct exchange_about *about)
{
    struct embeddings_answer *a = answer;
    a->model = about->model;
}

static void whole(void *answer, const struct chat_usage *usage, struct buf *out)
{
    struct embeddings_answer *a = answer;
    struct json_writer w;
    json_array_end(&a->w);
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_member_text(&w, "object", "list");
    json_key(&w, "data");
    json_write_raw(&w, buf_str(&a->vectors));
    json_member_str(&w, "model", a->model);
    openai_prompt_usage_write(&w, usage);
    json_object_end(&w);
}

const struct api_shape api_embeddings_shape = {.name = "openai.embeddings",
    .answer_size = sizeof(struct embeddings_answer),
    .read = embeddings_read,
    .init = init,
    .free = embeddings_answer_free,
    .begin = begin,
    .gather = embeddings_answer_gather,
    .whole = whole,
    .error = openai_error};

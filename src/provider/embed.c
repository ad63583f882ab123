/* Embeddings and ranks of documents: asking for them in OpenAI's, Google's and Ollama's shape, in those of
 * Bedrock's models, and in the shape of rerank that Cohere and Jina made. Sources: their references as of
 * November 2026, and the API of vLLM's and llama.cpp's servers. Every answer is one document; it is held
 * against what was asked before any of it goes on. */
#include <math.h>
#include <stdlib.h>

#include <sodium.h>

#include "base/limits.h"
#include "provider/bedrock.h"

/* ---- Asking ---- */

/* No detector can see what tokens say: only what is inside may be sent them. */
static int check_inputs(
    const struct provider_model *m, const struct chat_request *r, bool takes_ids, struct error *err)
{
    bool inside = m->provider && provider_is_inside(m->provider);
    for (size_t i = 0; i < r->n_inputs; i++)
        if (r->inputs[i].ids && (!inside || !takes_ids))
            return error_set(err, ERROR_UNSUPPORTED,
                inside ? "input[%zu] is a list of token ids, which this target does not take: send its text"
                       : "input[%zu] is a list of token ids, which goes to no cloud: send its text",
                i);
    return 0;
}

static void write_input(struct json_writer *w, const struct chat_input *input)
{
    if (!input->ids) {
        json_write_str(w, input->text);
        return;
    }
    json_array_begin(w);
    for (size_t i = 0; i < input->n_ids; i++)
        json_write_int(w, input->ids[i]);
    json_array_end(w);
}

static void write_inputs(struct json_writer *w, const char *key, const struct chat_request *r)
{
    json_key(w, key);
    json_array_begin(w);
    for (size_t i = 0; i < r->n_inputs; i++)
        write_input(w, &r->inputs[i]);
    json_array_end(w);
}

static void write_count(struct json_writer *w, const char *key, const char *theirs, int64_t value)
{
    if (value <= 0)
        return;
    json_member_int(w, theirs ? theirs : key, value);
}

/* What only a target of the same shape knows, as it came. */
static void write_members(struct json_writer *w, const json_t *members)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)members, key, value)
    {
        json_key(w, key);
        json_write_value(w, value);
    }
}

/* ---- Answers ---- */

/* Little-endian floats in base64. */
static int unpack(struct str text, float *out, size_t most, size_t *n, struct error *err)
{
    size_t bytes;
    if (sodium_base642bin((unsigned char *)out, most * sizeof *out, text.data, text.len, NULL, &bytes, NULL,
            sodium_base64_VARIANT_ORIGINAL) != 0 ||
        bytes % sizeof *out != 0)
        return error_set(err, ERROR_INVALID, "an embedding of it is no base64 of floats");
    *n = bytes / sizeof *out;
    return 0;
}

/* How many values there are, or could be. */
static size_t width_of(const struct json_item *vector)
{
    return json_item_is(vector, JSON_ITEM_STRING) ? vector->text.len / 4 * 3 / sizeof(float)
                                                  : json_item_length(vector);
}

static int vector_read(const struct json_item *vector, float *out, size_t most, size_t *n, struct error *err)
{
    if (json_item_is(vector, JSON_ITEM_STRING)) {
        int rc = unpack(json_item_str(vector), out, most, n, err);
        if (rc)
            return rc;
    } else {
        double value;
        *n = 0;
        json_item_each(item, vector) {
            if (*n < most)
                out[*n] = json_item_double(item, &value) ? (float)value : NAN;
            ++*n;
        }
    }
    for (size_t i = 0; i < *n && i < most; i++)
        if (!isfinite(out[i]))
            return error_set(err, ERROR_INVALID, "an embedding of it holds what is no number");
    return 0;
}

/* One vector for each input, all of one width. */
static int take_vectors(struct provider_answer *a, const struct json_item *const *vectors, struct error *err)
{
    size_t width = 0, most = width_of(vectors[0]);
    if (most == 0 || most > LIMIT_PROVIDER_BODY / a->n_inputs / sizeof(float))
        return error_set(err, ERROR_INVALID, "its embeddings are no lists of numbers");
    float *values = calloc(a->n_inputs, most * sizeof *values);
    int rc = values ? 0 : error_set(err, ERROR_MEMORY, "no memory for %zu embeddings", a->n_inputs);
    for (size_t i = 0; i < a->n_inputs && rc == 0; i++) {
        size_t n;
        rc = vector_read(vectors[i], values + i * width, i == 0 ? most : width, &n, err);
        if (i == 0)
            width = n;
        if (rc == 0 && (n == 0 || n != width))
            rc = error_set(err, ERROR_INVALID, "its embeddings are not all of one length");
    }
    if (rc == 0)
        provider_answer_embeddings(a, values, width);
    free(values);
    return rc;
}

/* The vectors of `list`, each under `key` of an object (NULL: the elements themselves), in the order of the
 * inputs: as their "index" says where they have one. */
static int take_list(
    struct provider_answer *a, const struct json_item *list, const char *key, struct error *err)
{
    size_t n = json_item_length(list);
    if (n != a->n_inputs)
        return error_set(err, ERROR_INVALID, "it has %zu embeddings for %zu inputs", n, a->n_inputs);
    const struct json_item **vectors = calloc(n + 1, sizeof *vectors);
    int rc = vectors ? 0 : error_set(err, ERROR_MEMORY, "no memory for %zu embeddings", n);
    size_t i = 0;
    for (const struct json_item *item = json_item_first(list); item && rc == 0;
         item = json_item_next(list, item), i++) {
        int64_t index = provider_item_count(item, "index");
        size_t at = index < 0 ? i : (size_t)index;
        if (at >= n || vectors[at])
            rc = error_set(err, ERROR_INVALID, "its embeddings have indexes that are not the inputs'");
        else
            vectors[at] = key ? json_item_get(item, key) : item;
        if (rc == 0 && !vectors[at])
            rc = error_set(err, ERROR_INVALID, "an embedding of it is missing");
    }
    if (rc == 0)
        rc = take_vectors(a, vectors, err);
    free(vectors);
    return rc;
}

/* `input` -1: it was not told. */
static void take_usage(struct provider_answer *a, int64_t input)
{
    if (input >= 0)
        provider_answer_usage(a, &(struct chat_usage){.input_tokens = input});
}

static int64_t tokens_of(const struct json_item *usage)
{
    int64_t n = provider_item_count(usage, "prompt_tokens");
    return n >= 0 ? n : provider_item_count(usage, "total_tokens");
}

/* ---- OpenAI's embeddings ---- */

static int openai_supports(const struct provider_model *m, const struct chat_request *r, struct error *err)
{
    const struct provider_server *server = provider_server_of(m);
    if (!(server->flags & PROVIDER_EMBEDS))
        return provider_refuse(server->kind, "embeddings", err);
    int rc = provider_check_native(CHAT_SHAPE_OPENAI, r, err);
    return rc ? rc : check_inputs(m, r, true, err);
}

static int openai_encode(
    const struct provider_model *m, const struct chat_request *r, struct buf *out, struct error *err)
{
    const struct provider_server *server = provider_server_of(m);
    struct json_writer w;
    int rc = openai_supports(m, r, err);
    if (rc)
        return rc;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_member_str(&w, "model", m->model);
    write_inputs(&w, "input", r);
    if (server->flags & PROVIDER_PACKS)
        json_member_str(&w, "encoding_format", STR("base64"));
    write_count(&w, "dimensions", server->dimensions, r->dimensions);
    if (r->user.len > 0 && !provider_server_has(server->omits, "user"))
        json_member_str(&w, "user", r->user);
    write_members(&w, r->vendor);
    json_object_end(&w);
    return provider_written(out, err);
}

static int openai_event(struct provider_answer *a, const struct json_item *event, struct error *err)
{
    provider_answer_start(a, STR_NONE, json_item_text(event, "model"));
    take_usage(a, tokens_of(json_item_get(event, "usage")));
    return take_list(a, json_item_get(event, "data"), "embedding", err);
}

static struct str openai_path(struct arena *a, const struct provider_model *m, const struct chat_request *r)
{
    return provider_openai_path(a, m, r->kind == CHAT_KIND_RERANK ? "/rerank" : "/embeddings");
}

const struct provider_dialect provider_embed_openai = {.supports = openai_supports,
    .encode = openai_encode,
    .path = openai_path,
    .headers = provider_openai_headers,
    .event = openai_event};

/* ---- Rerank, as Cohere, Jina, vLLM, llama.cpp, Together and Voyage have it ---- */

static int rerank_supports(const struct provider_model *m, const struct chat_request *r, struct error *err)
{
    const struct provider_server *server = provider_server_of(m);
    if (!(server->flags & PROVIDER_RERANKS))
        return provider_refuse(server->kind, "rerank", err);
    return provider_check_native(CHAT_SHAPE_OPENAI, r, err);
}

static int rerank_encode(
    const struct provider_model *m, const struct chat_request *r, struct buf *out, struct error *err)
{
    struct json_writer w;
    int rc = rerank_supports(m, r, err);
    if (rc)
        return rc;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_member_str(&w, "model", m->model);
    json_member_str(&w, "query", r->query);
    write_inputs(&w, "documents", r);
    write_count(&w, "top_n", provider_server_of(m)->top_n, r->top_n);
    write_members(&w, r->vendor);
    json_object_end(&w);
    return provider_written(out, err);
}

/* {"results":[{"index","relevance_score"}]}; Voyage calls the list "data". Each document once. */
static int rerank_event(struct provider_answer *a, const struct json_item *event, struct error *err)
{
    const struct json_item *usage = json_item_get(event, "usage"), *list = json_item_get(event, "results");
    int rc = 0;
    if (!list)
        list = json_item_get(event, "data");
    size_t n = json_item_length(list);
    if (n == 0 || n > a->n_inputs)
        return error_set(err, ERROR_INVALID, "it ranks %zu of %zu documents", n, a->n_inputs);
    bool *seen = calloc(a->n_inputs, sizeof *seen);
    rc = seen ? 0 : error_set(err, ERROR_MEMORY, "no memory for %zu scores", n);
    double score;
    json_item_each(item, list) {
        int64_t index = provider_item_count(item, "index");
        if (rc)
            break;
        if (index < 0 || (size_t)index >= a->n_inputs || seen[index] ||
            !json_item_double(json_item_get(item, "relevance_score"), &score))
            rc = error_set(err, ERROR_INVALID, "a result of it names no document, one again, or no score");
        else
            seen[index] = true;
    }
    free(seen);
    if (rc)
        return rc;
    provider_answer_start(a, json_item_text(event, "id"), json_item_text(event, "model"));
    take_usage(a, tokens_of(usage));
    json_item_each(item, list) {
        if (json_item_double(json_item_get(item, "relevance_score"), &score)) /* as was seen */
            provider_answer_score(a, (size_t)provider_item_count(item, "index"), score);
    }
    return 0;
}

const struct provider_dialect provider_rerank_openai = {.supports = rerank_supports,
    .encode = rerank_encode,
    .path = openai_path,
    .headers = provider_openai_headers,
    .event = rerank_event};

/* ---- Google's batchEmbedContents ---- */

static int gemini_supports(const struct provider_model *m, const struct chat_request *r, struct error *err)
{
    int rc = provider_check_members("Gemini", CHAT_SHAPE_GEMINI, NULL, r, err);
    return rc ? rc : check_inputs(m, r, false, err);
}

static size_t gemini_at_once(const struct provider_model *m)
{
    (void)m;
    return 100;
}

/* The name that a request of the batch repeats. */
static struct str gemini_model(struct arena *a, struct str model)
{
    bool whole = str_starts(model, STR("models/")) || str_starts(model, STR("tunedModels/"));
    return whole ? model : arena_printf(a, "models/" STR_FMT, STR_ARG(model));
}

static int gemini_encode(
    const struct provider_model *m, const struct chat_request *r, struct buf *out, struct error *err)
{
    struct str model = gemini_model(r->arena, m->model);
    struct json_writer w;
    int rc = gemini_supports(m, r, err);
    if (rc)
        return rc;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_key(&w, "requests");
    json_array_begin(&w);
    for (size_t i = 0; i < r->n_inputs; i++) {
        json_object_begin(&w);
        json_member_str(&w, "model", model);
        json_key(&w, "content");
        json_object_begin(&w);
        json_key(&w, "parts");
        json_array_begin(&w);
        json_object_begin(&w);
        json_member_str(&w, "text", r->inputs[i].text);
        json_object_end(&w);
        json_array_end(&w);
        json_object_end(&w);
        write_count(&w, "outputDimensionality", NULL, r->dimensions);
        json_object_end(&w);
    }
    json_array_end(&w);
    json_object_end(&w);
    return provider_written(out, err);
}

static int gemini_event(struct provider_answer *a, const struct json_item *event, struct error *err)
{
    provider_answer_start(a, STR_NONE, STR_NONE);
    take_usage(a, provider_item_count(json_item_get(event, "usageMetadata"), "promptTokenCount"));
    return take_list(a, json_item_get(event, "embeddings"), "values", err);
}

static struct str gemini_path(struct arena *a, const struct provider_model *m, const struct chat_request *r)
{
    (void)r;
    return provider_gemini_path(a, m, ":batchEmbedContents");
}

const struct provider_dialect provider_embed_gemini = {.supports = gemini_supports,
    .encode = gemini_encode,
    .path = gemini_path,
    .headers = provider_gemini_headers,
    .event = gemini_event,
    .at_once = gemini_at_once};

/* ---- Ollama's /api/embed, and /api/embeddings, whose one vector is not scaled ---- */

static int ollama_supports(const struct provider_model *m, const struct chat_request *r, struct error *err)
{
    int rc = provider_check_members("Ollama", CHAT_SHAPE_OLLAMA, NULL, r, err);
    return rc ? rc : check_inputs(m, r, false, err);
}

static bool is_one(const struct chat_request *r)
{
    return r->unscaled && r->n_inputs == 1;
}

static int ollama_encode(
    const struct provider_model *m, const struct chat_request *r, struct buf *out, struct error *err)
{
    struct json_writer w;
    int rc = ollama_supports(m, r, err);
    if (rc)
        return rc;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_member_str(&w, "model", m->model);
    if (is_one(r))
        json_member_str(&w, "prompt", r->inputs[0].text);
    else
        write_inputs(&w, "input", r);
    write_count(&w, "dimensions", NULL, r->dimensions);
    if (r->shape == CHAT_SHAPE_OLLAMA) {
        write_members(&w, r->native);
    } else { /* clients of other shapes expect an error, where this API would cut a text in silence */
        json_member_bool(&w, "truncate", false);
    }
    json_object_end(&w);
    return provider_written(out, err);
}

static int ollama_event(struct provider_answer *a, const struct json_item *event, struct error *err)
{
    const struct json_item *one = json_item_get(event, "embedding");
    provider_answer_start(a, STR_NONE, json_item_text(event, "model"));
    take_usage(a, provider_item_count(event, "prompt_eval_count"));
    if (one && a->n_inputs == 1)
        return take_vectors(a, &one, err);
    return take_list(a, json_item_get(event, "embeddings"), NULL, err);
}

static struct str ollama_path(struct arena *a, const struct provider_model *m, const struct chat_request *r)
{
    (void)a;
    (void)m;
    return is_one(r) ? STR("/api/embeddings") : STR("/api/embed");
}

const struct provider_dialect provider_embed_ollama = {.supports = ollama_supports,
    .encode = ollama_encode,
    .path = ollama_path,
    .headers = provider_openai_headers,
    .event = ollama_event};

/* ---- Bedrock's InvokeModel, which has each maker's own shape: Titan's takes one text, Cohere's a list.
 * Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html and
 * model-parameters-embed.html ---- */

static bool is_titan(const struct provider_model *m)
{
    return str_find(m->model, STR("amazon.titan-embed-text")) != SIZE_MAX;
}

static int bedrock_supports(const struct provider_model *m, const struct chat_request *r, struct error *err)
{
    static const char *const honoured[] = {"input_type", NULL};
    bool titan = is_titan(m);
    if (!titan && str_find(m->model, STR("cohere.embed")) == SIZE_MAX)
        return error_set(err, ERROR_UNSUPPORTED,
            "Bedrock's '" STR_FMT
            "' is not asked for embeddings: amazon.titan-embed-text* and cohere.embed* are",
            STR_ARG(m->model));
    int rc = provider_check_members("Bedrock", CHAT_SHAPE_BEDROCK, titan ? NULL : honoured, r, err);
    return rc ? rc : check_inputs(m, r, false, err);
}

static size_t bedrock_at_once(const struct provider_model *m)
{
    return is_titan(m) ? 1 : 96;
}

static int bedrock_encode(
    const struct provider_model *m, const struct chat_request *r, struct buf *out, struct error *err)
{
    struct str purpose = json_text(r->vendor, "input_type");
    struct json_writer w;
    int rc = bedrock_supports(m, r, err);
    if (rc)
        return rc;
    json_writer_init(&w, out);
    json_object_begin(&w);
    if (is_titan(m)) {
        json_member_str(&w, "inputText", r->inputs[0].text);
        write_count(&w, "dimensions", NULL, r->dimensions);
    } else {
        write_inputs(&w, "texts", r);
        json_member_str(&w, "input_type", purpose.len > 0 ? purpose : STR("search_document"));
        json_member_str(&w, "truncate", STR("NONE")); /* too long a text is an error */
        write_count(&w, "output_dimension", NULL, r->dimensions);
    }
    json_object_end(&w);
    return provider_written(out, err);
}

static int bedrock_event(struct provider_answer *a, const struct json_item *event, struct error *err)
{
    const struct json_item *one = json_item_get(event, "embedding"),
                           *list = json_item_get(event, "embeddings");
    provider_answer_start(a, json_item_text(event, "id"), STR_NONE);
    take_usage(a, provider_item_count(event, "inputTextTokenCount"));
    if (one && a->n_inputs == 1)
        return take_vectors(a, &one, err);
    return take_list(
        a, json_item_is(list, JSON_ITEM_OBJECT) ? json_item_get(list, "float") : list, NULL, err);
}

static struct str bedrock_path(struct arena *a, const struct provider_model *m, const struct chat_request *r)
{
    (void)r;
    return provider_bedrock_path(a, m, "invoke");
}

static size_t bedrock_headers(
    struct arena *a, const struct provider *p, const struct chat_request *r, struct egress_header *out)
{
    size_t n = provider_headers(a, "Authorization", "Bearer ", provider_key(p), out);
    (void)r;
    out[1].value = STR("application/json");
    return n;
}

const struct provider_dialect provider_embed_bedrock = {.supports = bedrock_supports,
    .encode = bedrock_encode,
    .path = bedrock_path,
    .headers = bedrock_headers,
    .event = bedrock_event,
    .sign = provider_bedrock_sign,
    .at_once = bedrock_at_once};

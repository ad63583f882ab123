/* Ollama's POST /api/embed and the older /api/embeddings. A text that is too long is an error where the model
 * is ours: none is cut in silence. */
#include "api/embeddings.h"
#include "api/ollama.h"
#include "api/ollama_in.h"
#include "api/ollama_out.h"
#include "api/read.h"
#include "base/clock.h"

/* ---- Requests ---- */

static int read_common(
    struct arena *a, struct str body, const char *input, struct chat_request **out, struct error *err)
{
    /* What is not said by fields goes to an Ollama as it came. */
    const char *const said[] = {"model", "name", "dimensions", input, NULL};
    static const char *const harmless[] = {"truncate", "keep_alive", "options", NULL};
    const json_t *root, *unknown;
    int rc = api_body_read(a, body, &root, err);
    if (rc)
        return rc;
    struct chat_request *r = *out = chat_request_create(a);
    r->shape = CHAT_SHAPE_OLLAMA;
    r->kind = CHAT_KIND_EMBED;
    rc = api_ollama_model(root, &r->model, err);
    if (rc == 0)
        rc = json_get_int(root, "dimensions", 0, 0, INT32_MAX, &r->dimensions, err);
    if (rc == 0)
        rc = api_ollama_keep_alive(root, &r->has_keep_alive, &r->keep_alive_ms, err);
    if (rc == 0)
        rc = api_inputs_read(a, json_object_get(root, input), input, false, r, err);
    if (rc == 0)
        rc = api_read_vendor(a, root, said, &r->native, err);
    if (rc == 0)
        rc = api_read_vendor(a, r->native, harmless, &unknown, err);
    if (rc == 0 && unknown)
        r->only_native = str_from(json_object_iter_key(json_object_iter((json_t *)(uintptr_t)unknown)));
    return rc;
}

static int embed_read(struct arena *a, struct str body, struct chat_request **out, struct error *err)
{
    return read_common(a, body, "input", out, err);
}

static int one_read(struct arena *a, struct str body, struct chat_request **out, struct error *err)
{
    int rc = read_common(a, body, "prompt", out, err);
    if (rc == 0 && (*out)->n_inputs != 1)
        rc = error_set(err, ERROR_INVALID, "'prompt' must be a text: /api/embed takes lists");
    if (rc == 0)
        (*out)->unscaled = true;
    return rc;
}

/* ---- Answers ---- */

static void init(void *answer, const struct chat_request *r, const struct exchange_origin *o)
{
    struct embeddings_answer *a = answer;
    (void)o;
    embeddings_answer_init(a, false, false);
    a->model = r->model; /* clients of this API look for the name they gave */
}

static void begin(void *answer, const struct exchange_about *about)
{
    (void)answer;
    (void)about;
}

static void whole(void *answer, const struct chat_usage *usage, struct buf *out)
{
    struct embeddings_answer *a = answer;
    struct json_writer w;
    json_array_end(&a->w);
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_member_str(&w, "model", a->model);
    json_key(&w, "embeddings");
    json_write_raw(&w, buf_str(&a->vectors));
    json_member_int(&w, "total_duration", clock_mono_ns() - a->started_ns);
    json_member_int(&w, "load_duration", usage->load_ns);
    json_member_int(&w, "prompt_eval_count", usage->input_tokens > 0 ? usage->input_tokens : 0);
    json_object_end(&w);
}

/* {"embedding":[...]} and nothing else. */
static void one_whole(void *answer, const struct chat_usage *usage, struct buf *out)
{
    struct embeddings_answer *a = answer;
    struct json_writer w;
    (void)usage;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_key(&w, "embedding");
    json_write_raw(&w, str_slice(buf_str(&a->vectors), 1, a->vectors.len)); /* the only one of the list */
    json_object_end(&w);
}

static int resolve(const struct exchange_world *w, struct chat_request *r, struct error *err)
{
    return api_ollama_name(w, r->model, &r->model, err);
}

#define EMBEDS                                                                                               \
    .answer_size = sizeof(struct embeddings_answer), .resolve = resolve, .init = init,                       \
    .free = embeddings_answer_free, .begin = begin, .gather = embeddings_answer_gather,                      \
    .error = ollama_error

const struct api_shape api_ollama_embed_shape = {
    .name = "ollama.embed", .read = embed_read, .whole = whole, EMBEDS};
const struct api_shape api_ollama_embeddings_shape = {
    .name = "ollama.embeddings", .read = one_read, .whole = one_whole, EMBEDS};

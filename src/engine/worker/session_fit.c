/* Whether a file runs here.
 *
 *   "fit": {"runs": bool,
 *           "checks": {"architecture" "tokenizer" "template" "types" "model" "draft"?:
 *                      {"ok", "value"?, "missing"?}},
 *           "drafts"?: "model", or "mtp" where a layer of its own does,
 *           "drafts_not"?: why a layer of its own cannot, without which the model runs,
 *           "memory": {"available","weights","compute","contexts":[{"context","state","total","slots"}]},
 *           "speed": {"read_bytes_per_second","products_per_second","bytes_per_token","products_per_token",
 *                     "decode_tps","prefill_tps","threads","isa","basis"}}
 *
 * `slots`: sequences of that context that fit at once, the draft model's beside them. `model`: the file's
 * figures and tensors as a whole.
 * Memory and speed only for a file that runs. */
#include <stdio.h>
#include <string.h>

#include "engine/worker/fit.h"
#include "engine/worker/session_inner.h"

enum { SLOTS_SHOWN = 4096 };

static void check_write(struct json_writer *w, const char *key, struct str value, const char *missing)
{
    json_key(w, key);
    json_object_begin(w);
    json_member_bool(w, "ok", !missing);
    if (value.len > 0)
        json_member_str(w, "value", str_slice(value, 0, 128));
    if (missing)
        json_member_text(w, "missing", missing);
    json_object_end(w);
}

/* The first tensor of a type that cannot be read; NULL: there is none. */
static const struct tensor *tensor_unreadable(const struct gguf *g)
{
    for (size_t i = 0; i < gguf_n_tensors(g); i++)
        if (!tensor_type_readable(gguf_tensor_at(g, i)->type))
            return gguf_tensor_at(g, i);
    return NULL;
}

static bool types_write(struct json_writer *w, const struct gguf *g)
{
    char missing[256];
    const struct tensor *t = tensor_unreadable(g);
    if (t)
        snprintf(missing, sizeof missing, "%s, of '" STR_FMT "' among others",
            tensor_type_info(t->type)->name, STR_ARG(str_slice(t->name, 0, TENSOR_NAME_MAX)));
    check_write(w, "types", STR_NONE, t ? missing : NULL);
    return !t;
}

static struct str text_of(const struct gguf *g, const char *key)
{
    struct str text = STR_NONE;
    struct error err;
    return gguf_get_str(g, key, STR_NONE, &text, &err) ? STR_NONE : text;
}

/* The model, and the one that drafts for it; NULL: it cannot be loaded, or there is none. */
struct models {
    struct model *own, *draft;
};

static bool draft_write(struct session *s, struct json_writer *w, struct backend *b, struct model **draft)
{
    struct error err = {0};
    if (!s->draft_gguf)
        return true;
    int rc = model_load(s->draft_gguf, b, draft, &err);
    if (rc == 0 && model_info(*draft)->encoder)
        rc = error_set(&err, ERROR_INVALID, "a draft model must write text");
    check_write(w, "draft", text_of(s->draft_gguf, "general.architecture"), rc ? err.message : NULL);
    return rc == 0;
}

/* Loads the models, which maps them and reads none of their weights; true: every check is passed. */
static bool checks_write(struct session *s, struct json_writer *w, struct backend *b, struct models *models)
{
    const struct model_options options = {.foretells = !s->draft_gguf};
    struct error err = {0};
    const struct gguf *g = s->gguf;
    int rc = str_is(text_of(g, "general.type"), "adapter")
                 ? error_set(&err, ERROR_UNSUPPORTED,
                       "the file is a LoRA adapter: run its model with --lora and this file")
                 : model_load_with(g, &options, b, &models->own, &err);
    const bool known = model_architecture_runs(text_of(g, "general.architecture"));
    json_key(w, "checks");
    json_object_begin(w);
    check_write(w, "architecture", text_of(g, "general.architecture"), known ? NULL : err.message);
    struct str pre = text_of(g, "tokenizer.ggml.pre");
    check_write(w, "tokenizer", pre.len ? pre : text_of(g, "tokenizer.ggml.model"),
        s->tokenizer ? NULL : s->tokenizer_error.message);
    const char *template = s->template_error.code ? s->template_error.message : NULL;
    const bool own = gguf_find(g, "tokenizer.chat_template") != NULL;
    check_write(w, "template",
        own           ? STR("its own")
        : s->template ? STR("by its tokens")
                      : STR("none"),
        template);
    bool types = types_write(w, g);
    check_write(w, "model", STR_NONE, known && rc && types ? err.message : NULL);
    const bool drafts = draft_write(s, w, b, &models->draft);
    json_object_end(w);
    return rc == 0 && s->tokenizer && types && drafts;
}

static void context_write(const struct session *s, struct json_writer *w, const struct fit *f)
{
    const uint64_t total = fit_total(f), fixed = total - f->state;
    uint64_t slots = 0;
    if (total <= s->setup.memory)
        slots = f->state > 0 ? (s->setup.memory - fixed) / f->state : SLOTS_SHOWN;
    json_object_begin(w);
    json_member_int(w, "context", f->room.n_context);
    json_member_int(w, "state", (int64_t)f->state);
    json_member_int(w, "total", (int64_t)total);
    json_member_int(w, "slots", (int64_t)(slots < SLOTS_SHOWN ? slots : SLOTS_SHOWN));
    json_object_end(w);
}

/* Of one slot, of both models. */
static struct fit fit_both(const struct models *m, int32_t n_context)
{
    struct fit f = fit_of(m->own, 1, n_context, FIT_BATCH);
    if (!m->draft)
        return f;
    const struct fit draft = fit_of(m->draft, 1, n_context, FIT_BATCH);
    f.weights += draft.weights;
    f.compute += draft.compute;
    if (__builtin_add_overflow(f.state, draft.state, &f.state))
        f.state = UINT64_MAX;
    return f;
}

static void memory_write(const struct session *s, struct json_writer *w, const struct models *m)
{
    const int32_t full = model_info(m->own)->n_context_train;
    const int32_t contexts[] = {2048, 8192, 32768, full};
    const struct fit least = fit_both(m, full < 2048 ? full : 2048);
    json_key(w, "memory");
    json_object_begin(w);
    json_member_int(w, "available", (int64_t)s->setup.memory);
    json_member_int(w, "weights", (int64_t)least.weights);
    json_member_int(w, "compute", (int64_t)least.compute);
    json_key(w, "contexts");
    json_array_begin(w);
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++) {
        const struct fit f = fit_both(m, contexts[i]);
        if ((contexts[i] < full || i == 3) && fit_total(&f) <= INT64_MAX)
            context_write(s, w, &f);
    }
    json_array_end(w);
    json_object_end(w);
}

static void speed_write(struct session *s, struct json_writer *w, struct backend *b, const char *isa)
{
    struct fit_speed speed;
    struct error err;
    if (fit_speed(s->gguf, b, &speed, &err) != 0)
        return; /* a model without products has no speed */
    json_key(w, "speed");
    json_object_begin(w);
    json_member_double(w, "read_bytes_per_second", speed.read_per_second);
    json_member_double(w, "products_per_second", speed.products_per_second);
    json_member_double(w, "bytes_per_token", speed.bytes_per_token);
    json_member_double(w, "products_per_token", speed.products_per_token);
    json_member_double(w, "decode_tps", speed.decode_tps);
    json_member_double(w, "prefill_tps", speed.prefill_tps);
    json_member_int(w, "threads", s->setup.cores);
    json_member_text(w, "isa", isa);
    json_member_text(w, "basis",
        "an estimate: the fastest of this machine's products of this file's weights, measured "
        "in short runs, by what a token needs at a short context, one sequence; attention and "
        "what else there is between products is left out, which small models feel most");
    json_object_end(w);
}

void session_fit_write(struct session *s, struct json_writer *w)
{
    struct backend *b = NULL;
    struct models m = {NULL, NULL};
    struct error err;
    if (backend_cpu_create(s->setup.cores, &b, &err) != 0)
        return;
    json_key(w, "fit");
    json_object_begin(w);
    const bool runs = checks_write(s, w, b, &m);
    json_member_bool(w, "runs", runs);
    if (m.draft || (m.own && model_info(m.own)->foretells))
        json_member_text(w, "drafts", m.draft ? "model" : "mtp");
    if (m.own && model_info(m.own)->foretells_not)
        json_member_text(w, "drafts_not", model_info(m.own)->foretells_not);
    if (m.own)
        memory_write(s, w, &m);
    if (runs)
        speed_write(s, w, b, backend_isa(b));
    json_object_end(w);
    model_free(m.draft);
    model_free(m.own);
    backend_free(b);
}

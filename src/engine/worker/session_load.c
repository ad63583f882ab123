/* LOAD: from descriptors to a model that runs. */
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/worker/prompt.h"
#include "engine/worker/fit.h"
#include "engine/worker/pages.h"
#include "engine/worker/grammar.h"
#include "engine/worker/session_inner.h"
#include "engine/worker/chat_template.h"

enum {
    CONTEXT_DEFAULT = 8192, /* at most, where the gateway leaves it to us */
    CONTEXT_MOST = 1 << 24,
    SLOTS_MOST = 1024,
    BATCH_MOST = 8192,
    SLOTS_DEFAULT = 4, /* where they share what memory there is */
    THREADS_MOST = 1024,
    PROGRESS_MS = 100
};

struct load_options {
    int64_t threads, slots, context, batch, kv_bytes;
    enum tensor_type kv_type; /* TENSOR_TYPES: not said */
    bool inspect, memory_unchecked, speculate, draft;
    const json_t *adapters, *sampling, *opening;
    int64_t spill_keep_ms;
    struct str spill_key, spill_identity; /* in the arena of LOAD */
};

static int kv_type_read(const json_t *root, enum tensor_type *out, struct error *err)
{
    static const struct {
        const char *name;
        enum tensor_type type;
    } types[] = {{"", TENSOR_TYPES}, {"f32", TENSOR_F32}, {"f16", TENSOR_F16}, {"bf16", TENSOR_BF16},
        {"q8_0", TENSOR_Q8_0}, {"q4_0", TENSOR_Q4_0}};
    struct str name;
    int rc = json_get_str(root, "kv_type", &name, err);
    for (size_t i = 0; i < sizeof types / sizeof *types && rc == 0; i++)
        if (str_is(name, types[i].name)) {
            *out = types[i].type;
            return 0;
        }
    return rc ? rc
              : error_set(err, ERROR_INVALID,
                    "a KV cache of type '" STR_FMT "': use f32, f16, bf16, q8_0 or q4_0",
                    STR_ARG(str_slice(name, 0, 32)));
}

static int options_read(struct arena *a, struct str payload, struct load_options *o, struct error *err)
{
    json_t *root;
    int rc = json_read_in(a, payload, &root, err);
    if (rc == 0 && !json_is_object(root))
        rc = error_set(err, ERROR_INVALID, "LOAD must be a JSON object");
    if (rc == 0)
        rc = json_get_int(root, "threads", 0, 0, THREADS_MOST, &o->threads, err);
    if (rc == 0)
        rc = json_get_int(root, "slots", 0, 0, SLOTS_MOST, &o->slots, err);
    if (rc == 0)
        rc = json_get_int(root, "context", 0, 0, CONTEXT_MOST, &o->context, err);
    if (rc == 0)
        rc = json_get_int(root, "batch", 0, 0, BATCH_MOST, &o->batch, err);
    if (rc == 0)
        rc = json_get_bool(root, "inspect", false, &o->inspect, err);
    if (rc == 0)
        rc = json_get_bool(root, "memory_unchecked", false, &o->memory_unchecked, err);
    if (rc == 0)
        rc = json_get_bool(root, "draft", false, &o->draft, err);
    if (rc == 0)
        rc = json_get_bool(root, "speculate", true, &o->speculate, err);
    if (rc == 0)
        rc = json_get_int(root, "kv_bytes", 0, 0, INT64_MAX, &o->kv_bytes, err);
    if (rc == 0)
        rc = kv_type_read(root, &o->kv_type, err);
    if (rc == 0)
        rc = json_get_int(root, "spill_keep_ms", 0, 0, INT64_MAX, &o->spill_keep_ms, err);
    if (rc == 0)
        rc = json_get_str(root, "spill_key", &o->spill_key, err);
    if (rc == 0)
        rc = json_get_str(root, "spill_identity", &o->spill_identity, err);
    o->adapters = rc == 0 ? json_object_get(root, "adapters") : NULL;
    o->sampling = rc == 0 ? json_object_get(root, "sampling") : NULL;
    o->opening = rc == 0 ? json_object_get(root, "opening") : NULL;
    return rc;
}

/* ---- Weights into memory ---- */

static void progress_send(struct session *s, uint64_t done, uint64_t total)
{
    struct buf json;
    struct json_writer w;
    buf_init(&json, KIB);
    json_writer_init(&w, &json);
    json_object_begin(&w);
    json_member_int(&w, "done", (int64_t)done);
    json_member_int(&w, "total", (int64_t)total);
    json_object_end(&w);
    session_send(s, 0, WIRE_PROGRESS, buf_str(&json));
    buf_free(&json);
    /* Straight to the socket: the wheel does not turn while a model loads. What does not fit goes later. */
    ssize_t n = write(s->setup.fd, s->out.data + s->sent, s->out.len - s->sent);
    s->sent += n > 0 ? (size_t)n : 0;
}

/* Reads the pages of a span of the mapping. A file that was cut meanwhile is an error here, not a signal. */
static int pages_touch(const uint8_t *from, size_t bytes, struct error *err)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), skew = (uintptr_t)from % page;
    if (madvise((void *)(uintptr_t)(from - skew), bytes + skew, MADV_POPULATE_READ) == 0)
        return 0;
    if (errno == EFAULT || errno == EIO)
        return error_set(err, ERROR_IO, "the model file cannot be read to its end: fetch it again");
    /* An older kernel, or a span that is no file's mapping: by hand. */
    for (size_t i = 0; i < bytes; i += page)
        (void)*(const volatile uint8_t *)(from + i);
    return 0;
}

struct touched {
    uint64_t done, total;
    int64_t told_at;
};

static int file_touch(struct session *s, const struct gguf *g, struct touched *so_far, struct error *err)
{
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct tensor *t = gguf_tensor_at(g, i);
        for (size_t at = 0, n; at < t->bytes; at += n) {
            n = t->bytes - at < 16 * MIB ? t->bytes - at : 16 * MIB;
            int rc = pages_touch((const uint8_t *)t->data + at, n, err);
            if (rc)
                return rc;
            so_far->done += n;
            if (clock_mono_ms() - so_far->told_at < PROGRESS_MS)
                continue;
            progress_send(s, so_far->done, so_far->total);
            so_far->told_at = clock_mono_ms();
        }
    }
    return 0;
}

/* A first answer should not wait for the disk. Weights that would fill the machine are left to come as
 * needed. */
static int weights_touch(struct session *s, struct error *err)
{
    struct touched so_far = {.total = model_info(s->model)->weight_bytes, .told_at = clock_mono_ms()};
    if (s->draft_model)
        so_far.total += model_info(s->draft_model)->weight_bytes;
    if (so_far.total > s->setup.memory / 10 * 9)
        return 0;
    int rc = file_touch(s, s->gguf, &so_far, err);
    if (rc == 0 && s->draft_model && (rc = file_touch(s, s->draft_gguf, &so_far, err)) != 0)
        rc = error_wrap(err, "the draft model");
    if (rc == 0)
        progress_send(s, so_far.done, so_far.total);
    return rc;
}

/* ---- The model ---- */

/* What is asked for is honoured or refused; nothing is made smaller in silence. */
static void sizes_choose(struct session *s, const struct load_options *o)
{
    const struct model_info *info = model_info(s->model);
    const int32_t train = info->n_context_train, best = info->n_context_best;
    s->n_context = (int32_t)o->context;
    if (s->n_context == 0)
        s->n_context = best < CONTEXT_DEFAULT ? best : CONTEXT_DEFAULT;
    const bool shares = model_shares(s->model, s->n_context);
    s->n_slots = o->slots && !info->encoder ? (int32_t)o->slots : shares ? SLOTS_DEFAULT : 1;
    s->room = (struct model_room){.n_slots = s->n_slots,
        .n_context = s->n_context,
        .kv_type = o->kv_type == TENSOR_TYPES ? model_kv_type(s->model) : o->kv_type};
    if (o->kv_bytes > 0 && !info->encoder)
        s->room.n_pages = model_pages(s->model, s->room.kv_type, (uint64_t)o->kv_bytes);
    else if (o->slots == 0 &&
             shares) /* the memory of one, and more at once where they leave each other room */
        s->room.n_pages = pages_for(s->n_context) + 1;
    if (train > 0 && s->n_context > train)
        log_warn("session", "a context of %d is longer than the %d tokens that the model was trained for",
            s->n_context, train);
    else if (best < train && s->n_context > best)
        log_warn("session", "a context over %d costs this model quality on short texts", best);
    else if (best < train && o->context == 0)
        log_info(
            "session", "a context of %d: the model can do %d, but does short texts worse then", best, train);
}

/* Without the file a model runs all the same. */
static void spill_start(struct session *s, const struct load_options *o)
{
    struct spill_options options = {
        .fd = s->setup.spill, .most = s->setup.spill_bytes, .keep_ms = o->spill_keep_ms};
    struct error err = {0};
    size_t n = 0;
    if (s->setup.spill_bytes == 0)
        return;
    int rc =
        sodium_hex2bin(
            options.key, sizeof options.key, o->spill_key.data, o->spill_key.len, NULL, &n, NULL) == 0 &&
                n == sizeof options.key
            ? model_state_spill(s->state, &options, o->spill_identity, &err)
            : error_set(&err, ERROR_INVALID, "the key is not %zu bytes in hexadecimal", sizeof options.key);
    sodium_memzero(options.key, sizeof options.key);
    if (rc)
        log_warn("spill", "no KV cache on disk: %s", err.message);
    else if (model_state_spilled(s->state) > 0)
        log_info("spill", "%d tokens of earlier prompts are on disk",
            (int)model_state_spilled(s->state) * PAGE_POSITIONS);
}

static int state_create(struct session *s, const struct load_options *o, struct error *err)
{
    const struct model_info *info = model_info(s->model);
    int rc = model_state_create_within(s->model, &s->room, &s->state, err);
    float *scales = NULL;
    if (rc == 0 && info->encoder)
        rc = session_adapters_read(s, NULL, &scales, err);
    if (rc == 0 && info->encoder)
        model_state_adapt(s->state, 0, scales);
    free(scales);
    if (rc || info->encoder)
        return rc;
    spill_start(s, o);
    const struct scheduler_options options = {
        .n_slots = s->n_slots,
        .n_context = s->n_context,
        .n_vocab = model_info(s->model)->n_vocab,
        .n_batch = o->batch ? (int32_t)o->batch : FIT_BATCH,
        .drafts = o->speculate,
        .draft = s->draft_state,
        .draft_vocab = s->draft_model ? model_info(s->draft_model)->n_vocab : 0,
    };
    return scheduler_create(s->state, &options, &s->scheduler, err);
}

static uint64_t memory_beside(uint64_t memory, uint64_t taken)
{
    return memory > taken ? memory - taken : 0;
}

static int model_start(struct session *s, const struct load_options *o, struct error *err)
{
    s->n_threads = o->threads ? (int32_t)o->threads : s->setup.cores;
    int rc = backend_cpu_create(s->n_threads, &s->backend, err);
    if (rc == 0)
        rc = model_load_with(s->gguf,
            &(struct model_options){.adapters = (const struct gguf *const *)s->adapter_files,
                .n_adapters = s->n_adapters,
                .foretells = o->speculate && !s->draft_gguf},
            s->backend, &s->model, err);
    if (rc == 0 && model_info(s->model)->foretells_not)
        log_warn("session", "the model's layer that drafts (MTP) is left out: %s",
            model_info(s->model)->foretells_not);
    rc = rc ? rc : session_draft_load(s, err);
    if (rc == 0) {
        sizes_choose(s, o);
        struct fit fit = fit_within(s->model, &s->room, o->batch ? (int32_t)o->batch : FIT_BATCH);
        if (!o->memory_unchecked)
            rc = fit_check(s->model, &fit, memory_beside(s->setup.memory, session_draft_bytes(s)), err);
        if (rc && s->draft_model)
            (void)error_wrap(err, "beside the draft model");
    }
    if (rc == 0)
        rc = weights_touch(s, err);
    if (rc == 0)
        rc = session_draft_start(s, err);
    if (rc == 0)
        rc = state_create(s, o, err);
    return rc;
}

static void model_ready(struct session *s, struct json_writer *w)
{
    const struct model_info *info = model_info(s->model);
    json_member_int(w, "n_vocab", info->n_vocab);
    if (info->encoder)
        json_member_int(w, "embedding", info->n_embedding);
    json_member_int(w, "context", s->n_context);
    json_member_int(w, "context_train", info->n_context_train);
    json_member_int(w, "slots", s->n_slots);
    json_member_text(w, "isa", backend_isa(s->backend));
    json_member_int(w, "threads", s->n_threads);
    json_member_int(w, "parameters", (int64_t)info->n_parameters);
    json_member_int(w, "bytes", (int64_t)info->weight_bytes);
    json_key(w, "lora");
    json_array_begin(w);
    for (int32_t i = 0; i < s->n_adapters; i++) {
        json_object_begin(w);
        json_member_int(w, "id", i);
        json_member_text(w, "name", s->adapters[i].name);
        json_member_double(w, "scale", (double)s->adapters[i].scale);
        json_object_end(w);
    }
    json_array_end(w);
    json_member_int(w, "state_bytes",
        (int64_t)(model_state_bytes_within(s->model, &s->room) +
                  (s->draft_model ? model_state_bytes_within(s->draft_model, &s->room) : 0)));
}

static int ready_send(struct session *s, struct error *err)
{
    struct buf json;
    struct json_writer w;
    struct str architecture, name;
    int rc = gguf_get_str(s->gguf, "general.architecture", STR_NONE, &architecture, err);
    if (rc == 0)
        rc = gguf_get_str(s->gguf, "general.name", STR_NONE, &name, err);
    if (rc)
        return rc;
    buf_init(&json, MIB);
    json_writer_init(&w, &json);
    json_object_begin(&w);
    json_member_str(&w, "architecture", str_slice(architecture, 0, 256));
    json_member_str(&w, "name", str_slice(name, 0, 256));
    json_member_int(&w, "file_bytes", (int64_t)gguf_file_size(s->gguf));
    json_member_bool(&w, "chat_template", gguf_find(s->gguf, "tokenizer.chat_template") != NULL);
    if (s->model)
        model_ready(s, &w);
    json_object_end(&w);
    session_send(s, 0, WIRE_READY, buf_str(&json));
    buf_free(&json);
    return 0;
}

static int template_start(struct session *s, const struct load_options *o, struct error *err)
{
    if (!o->inspect)
        return error_set(err, ERROR_INVALID, "there is no model file to run: name one");
    s->stage = SESSION_TEMPLATE;
    session_send(s, 0, WIRE_READY, STR("{}"));
    return 0;
}

static int model_open(struct session *s, const struct load_options *o, struct error *err)
{
    if (s->setup.n_files == 0)
        return template_start(s, o, err);
    int rc = 0;
    if (o->draft && s->setup.n_files < (size_t)s->n_adapters + 2)
        rc = error_set(err, ERROR_INVALID, "a draft model wants a model before it");
    if (rc == 0)
        rc = gguf_open(s->setup.files, s->setup.n_files - (size_t)s->n_adapters - o->draft, &s->gguf, err);
    if (rc)
        return rc;
    rc = tokenizer_create(s->gguf, &s->tokenizer, &s->tokenizer_error);
    if (rc && !o->inspect) {
        *err = s->tokenizer_error;
        return rc;
    }
    prompt_template_load(s);
    session_sampling_read(s->gguf, o->sampling, s);
    s->opening = json_deep_copy(o->opening);
    rc = o->draft ? session_draft_open(s, err) : 0;
    rc = rc || o->inspect ? rc : model_start(s, o, err);
    if (rc == 0)
        rc = ready_send(s, err);
    if (rc == 0)
        s->stage = o->inspect ? SESSION_INSPECT : SESSION_UP;
    return rc;
}

int session_load(struct session *s, struct str payload, struct error *err)
{
    struct load_options o = {0};
    struct arena *a = arena_create(MIB);
    int rc = options_read(a, payload, &o, err);
    if (rc == 0)
        rc = session_adapters_open(s, o.adapters, err);
    if (rc == 0)
        rc = model_open(s, &o, err);
    arena_free(a);
    return rc;
}

void session_unload(struct session *s)
{
    scheduler_free(s->scheduler);
    session_draft_close(s);
    model_state_free(s->state);
    model_free(s->model);
    backend_free(s->backend);
    chat_template_free(s->template);
    tokenizer_free(s->tokenizer);
    grammar_vocab_free(s->grammar_vocab);
    session_adapters_close(s);
    json_decref(s->opening);
    arena_free(s->stops_arena);
    gguf_close(s->gguf);
    s->scheduler = NULL;
    s->state = NULL;
    s->model = NULL;
    s->backend = NULL;
    s->template = NULL;
    s->tokenizer = NULL;
    s->grammar_vocab = NULL;
    s->gguf = NULL;
}

#include "engine/worker/model.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "engine/worker/lora.h"
#include "engine/worker/model_arch.h"
#include "engine/worker/model_foretell.h"

enum { SLOTS_MAX = 4096, CONTEXT_MAX = 1 << 24, PAGES_MAX = INT32_MAX / PAGE_POSITIONS };

#define ADDRESS(name) &model_##name,
static const struct architecture *const architectures[] = {ARCHITECTURES(ADDRESS)};
#undef ADDRESS
enum { N_ARCHITECTURES = sizeof architectures / sizeof architectures[0] };

static int architecture_find(struct str name, const struct architecture **out, struct error *err)
{
    char known[384] = "";
    for (size_t i = 0; i < N_ARCHITECTURES; i++) {
        if (str_is(name, architectures[i]->name)) {
            *out = architectures[i];
            return 0;
        }
        if (strlen(known) + strlen(architectures[i]->name) + 3 < sizeof known)
            strcat(strcat(known, i ? ", " : ""), architectures[i]->name);
    }
    return error_set(err, ERROR_UNSUPPORTED,
        "the architecture '" STR_FMT "' is not one that runs here: use a model of one of these: %s",
        STR_ARG(str_slice(name, 0, 64)), known);
}

bool model_architecture_runs(struct str name)
{
    const struct architecture *found;
    struct error err;
    return architecture_find(name, &found, &err) == 0;
}

/* The embedding table tells the size of the vocabulary; the tokenizer must not know more tokens than it has.
 */
static void load_vocabulary(struct model *m, struct loader *l)
{
    if (l->rc)
        return;
    const struct tensor *t = gguf_tensor_find(l->gguf, "token_embd.weight");
    if (!t)
        return loader_fail(l, ERROR_INVALID,
            "the model file lacks the tensor 'token_embd.weight': it is incomplete, fetch it again");
    struct gguf_array tokens;
    l->rc = gguf_get_array(l->gguf, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, l->err);
    if (l->rc)
        return;
    if (t->shape[1] < 1 || t->shape[1] > MODEL_VOCAB_MAX || tokens.count > (uint64_t)t->shape[1])
        return loader_fail(l, ERROR_INVALID,
            "the vocabulary has %" PRIu64 " tokens but the embedding table %" PRId64
            " rows: the file is broken",
            tokens.count, t->shape[1]);
    m->info.n_vocab = (int32_t)t->shape[1];
}

static void load_info(struct model *m, struct loader *l, bool foretells)
{
    m->info.architecture = l->architecture;
    l->rc = gguf_get_str(l->gguf, "general.name", STR_NONE, &m->info.name, l->err);
    m->info.n_layers = loader_int(l, "block_count", LOADER_REQUIRED, 1, MODEL_LAYERS_MAX);
    /* The last layers of some files draft tokens further ahead; the others do not need them. */
    const int32_t n_nextn = loader_int(l, "nextn_predict_layers", 0, 0, m->info.n_layers - 1);
    m->info.n_layers -= n_nextn;
    m->n_nextn = foretells ? n_nextn : 0;
    m->info.n_embed = loader_int(l, "embedding_length", LOADER_REQUIRED, 1, MODEL_WIDTH_MAX);
    m->info.n_context_train = loader_int(l, "context_length", LOADER_REQUIRED, 1, INT32_MAX);
    m->info.n_context_best = m->info.n_context_train;
    load_vocabulary(m, l);
    m->states = loader_alloc(l, (size_t)m->info.n_layers + 1, sizeof *m->states);
    m->n_states = m->info.n_layers;
    for (size_t i = 0; i < gguf_n_tensors(l->gguf); i++) {
        const struct tensor *t = gguf_tensor_at(l->gguf, i);
        m->info.n_parameters += (uint64_t)t->shape[0] * (uint64_t)tensor_rows(t);
        m->info.weight_bytes += t->bytes;
    }
}

/* An architecture that only generates must not do so with a file that was made to embed. */
static void check_purpose(const struct model *m, struct loader *l)
{
    if (l->rc == 0 && !m->info.encoder &&
        loader_int(l, "pooling_type", MODEL_POOL_NONE, MODEL_POOL_NONE, MODEL_POOL_RANK) != MODEL_POOL_NONE)
        loader_fail(l, ERROR_UNSUPPORTED,
            "the file holds an embedding model, and '" STR_FMT "' runs here as one that writes text only",
            STR_ARG(l->architecture));
    if (l->rc == 0 && !m->info.encoder && !loader_bool(l, "attention.causal", true))
        loader_fail(l, ERROR_UNSUPPORTED,
            "the model's tokens see those after them but it has no pooling_type: it neither writes nor "
            "embeds");
    for (int32_t i = 0; l->rc == 0 && m->whole && i < m->n_states; i++)
        if (m->states[i].kind == STATE_KV && m->states[i].kv.window > 0)
            loader_fail(l, ERROR_UNSUPPORTED,
                "the model takes a text in one piece but keeps a window of it only: this is not known here");
}

static void load_adapters(struct model *m, struct loader *l, const struct gguf *const *adapters)
{
    l->adapters = loader_alloc(l, (size_t)l->n_adapters + 1, sizeof *l->adapters);
    assert(adapters || l->n_adapters == 0);
    for (int32_t i = 0; i < l->n_adapters && l->rc == 0; i++) {
        lora_open(l, &l->adapters[i], adapters[i]);
        for (size_t t = 0; t < gguf_n_tensors(adapters[i]); t++)
            m->info.adapter_bytes += gguf_tensor_at(adapters[i], t)->bytes;
    }
    m->info.n_adapters = l->n_adapters;
}

int model_load(const struct gguf *g, struct backend *backend, struct model **out, struct error *err)
{
    return model_load_with(g, &(struct model_options){.foretells = false}, backend, out, err);
}

/* *drafts: a layer that foretells was to be loaded, too. */
static int load_as(const struct gguf *g, const struct model_options *options, struct backend *backend,
    bool *drafts, struct model **out, struct error *err)
{
    *drafts = false;
    if (options->n_adapters > LORA_ADAPTERS_MAX)
        return error_set(err, ERROR_INVALID, "%d adapters: a model takes at most %d",
            (int)options->n_adapters, LORA_ADAPTERS_MAX);
    struct str name;
    const struct architecture *architecture = NULL;
    int rc = gguf_get_str(g, "general.architecture", STR_NONE, &name, err);
    if (rc == 0 && name.len == 0)
        rc = error_set(
            err, ERROR_INVALID, "the model file lacks 'general.architecture': it is not a language model");
    if (rc == 0)
        rc = architecture_find(name, &architecture, err);
    if (rc)
        return rc;
    struct arena *arena = arena_create(GIB);
    struct model *m = arena_new(arena, struct model);
    m->architecture = architecture;
    m->backend = backend;
    m->arena = arena;
    struct loader l = {.gguf = g,
        .backend = backend,
        .arena = arena,
        .architecture = name,
        .n_adapters = options->n_adapters,
        .err = err};
    load_info(m, &l, options->foretells);
    load_adapters(m, &l, options->adapters);
    if (l.rc == 0)
        architecture->load(m, &l);
    check_purpose(m, &l);
    lora_check_taken(&l);
    *drafts = m->n_nextn > 0;
    if (l.rc) {
        model_free(m);
        return l.rc;
    }
    *out = m;
    return 0;
}

/* A layer that only drafts is no reason to refuse a model that is whole without it. */
int model_load_with(const struct gguf *g, const struct model_options *options, struct backend *backend,
    struct model **out, struct error *err)
{
    bool drafts;
    struct error why;
    int rc = load_as(g, options, backend, &drafts, out, &why);
    if (rc != 0 && drafts) {
        struct model_options plain = *options;
        plain.foretells = false;
        rc = load_as(g, &plain, backend, &drafts, out, err);
        if (rc == 0)
            (*out)->info.foretells_not = arena_strdup((*out)->arena, str_from(why.message));
    } else if (rc != 0) {
        *err = why;
    }
    return rc;
}

void model_free(struct model *m)
{
    if (m)
        arena_free(m->arena);
}

const struct model_info *model_info(const struct model *m)
{
    return &m->info;
}

/* Tokens in one program. */
static int32_t step_max(const struct model *m, int32_t n_context)
{
    return m->whole && n_context > STATE_STEP_MAX ? n_context : STATE_STEP_MAX;
}

/* Layers that keep all positions have their pages in common; a model that embeds keeps nothing. `shares`:
 * there are no others. */
static struct state_room room_of(const struct model *m, const struct model_room *asked, bool *shares)
{
    const int64_t all = (int64_t)asked->n_slots * pages_for(asked->n_context) + 1; /* one is being copied */
    struct state_room room = {
        .n_slots = asked->n_slots, .n_context = asked->n_context, .kv_type = asked->kv_type};
    int32_t n_paged = 0;
    if (!m->info.encoder)
        room.n_pages = asked->n_pages > 0 ? asked->n_pages : all < PAGES_MAX ? (int32_t)all : PAGES_MAX;
    for (int32_t i = 0; i < m->n_states; i++)
        n_paged += state_kinds[m->states[i].kind]->paged(&m->states[i], &room);
    room.n_pages = n_paged > 0 ? room.n_pages : 0;
    *shares = n_paged == m->n_states && n_paged > 0;
    return room;
}

bool model_shares(const struct model *m, int32_t n_context)
{
    bool shares;
    (void)room_of(m, &(struct model_room){.n_slots = 1, .n_context = n_context}, &shares);
    return shares;
}

/* A token at depth reads 16 bits in half the time of 32, and their rounding is far below that of quantised
 * activations. Of an encoder nothing is read twice. */
enum tensor_type model_kv_type(const struct model *m)
{
    return m->info.encoder ? TENSOR_F32 : m->backend->ops->kv_type(m->backend);
}

uint64_t model_state_bytes(const struct model *m, int32_t n_slots, int32_t n_context)
{
    return model_state_bytes_within(m, &(struct model_room){.n_slots = n_slots, .n_context = n_context});
}

uint64_t model_state_read(const struct model *m, enum tensor_type kv_type, int32_t length)
{
    uint64_t total = 0;
    for (int32_t i = 0; i < m->n_states && i < m->info.n_layers; i++) { /* not of the layer that foretells */
        const struct state_spec *spec = &m->states[i];
        const bool recurrent = spec->kind == STATE_RECURRENT;
        struct state_room room = {.n_slots = 1, .n_context = length, .kv_type = kv_type};
        if (!recurrent && spec->kv.window > 0 && spec->kv.window < length)
            room.n_context = spec->kv.window;
        total += state_kinds[spec->kind]->bytes(spec, &room) / (recurrent ? SNAPSHOTS : 1);
    }
    return total;
}

uint64_t model_state_bytes_within(const struct model *m, const struct model_room *asked)
{
    bool shares;
    const struct state_room room = room_of(m, asked, &shares);
    uint64_t total = sizeof(struct model_state) + ((uint64_t)m->info.n_layers + 1) * sizeof(void *) +
                     2 * (uint64_t)room.n_slots * sizeof(int32_t) +
                     2 * (uint64_t)step_max(m, room.n_context) * sizeof(int32_t) +
                     pages_bytes(room.n_pages, room.n_slots, room.n_context, m->info.n_adapters) +
                     foretell_bytes(m, room.n_slots);
    for (int32_t i = 0; i < m->n_states; i++) {
        uint64_t bytes = state_kinds[m->states[i].kind]->bytes(&m->states[i], &room);
        if (__builtin_add_overflow(total, bytes, &total))
            return UINT64_MAX;
    }
    return total;
}

int32_t model_pages(const struct model *m, enum tensor_type kv_type, uint64_t bytes)
{
    struct model_room room = {.n_slots = 1, .n_context = 1, .n_pages = 2, .kv_type = kv_type};
    const uint64_t two = model_state_bytes_within(m, &room);
    room.n_pages = 3;
    const uint64_t page = model_state_bytes_within(m, &room) - two;
    return page == 0 || bytes / page > PAGES_MAX ? PAGES_MAX : (int32_t)(bytes / page);
}

static int room_check(const struct model *m, const struct model_room *room, struct error *err)
{
    if (room->n_slots < 1 || room->n_slots > SLOTS_MAX || room->n_context < 1 ||
        room->n_context > CONTEXT_MAX)
        return error_set(err, ERROR_INVALID,
            "%d sequences of %d tokens: use 1 to %d sequences and 1 to %d tokens", (int)room->n_slots,
            (int)room->n_context, SLOTS_MAX, CONTEXT_MAX);
    if (m->n_positions > 0 && room->n_context > m->n_positions)
        return error_set(err, ERROR_INVALID, "the model knows %d positions: use a context of at most that",
            (int)m->n_positions);
    if (room->n_pages > PAGES_MAX ||
        (room->n_pages != 0 && room->n_pages <= pages_for(room->n_context) && !m->info.encoder))
        return error_set(err, ERROR_INVALID,
            "a KV cache of %lld tokens does not hold a context of %d: give it more memory (kv_cache) or use "
            "a "
            "smaller context",
            (long long)room->n_pages * PAGE_POSITIONS, (int)room->n_context);
    return 0;
}

static int layers_create(struct model_state *s, struct state_room *room, struct error *err)
{
    const struct model *m = s->model;
    int rc = room->n_pages > 0 ? pages_create(room->n_pages, room->n_slots, room->n_context,
                                     m->info.n_adapters, &s->pages, err)
                               : 0;
    room->pages = s->pages;
    for (int32_t i = 0; rc == 0 && i < m->n_states; i++)
        rc = state_kinds[m->states[i].kind]->create(&m->states[i], m->backend, room, &s->layers[i], err);
    return rc;
}

int model_state_create(
    const struct model *m, int32_t n_slots, int32_t n_context, struct model_state **out, struct error *err)
{
    return model_state_create_within(
        m, &(struct model_room){.n_slots = n_slots, .n_context = n_context}, out, err);
}

int model_state_create_within(
    const struct model *m, const struct model_room *asked, struct model_state **out, struct error *err)
{
    const int32_t n_slots = asked->n_slots, n_context = asked->n_context;
    int rc = room_check(m, asked, err);
    if (rc)
        return rc;
    struct model_state *s = calloc(1, sizeof *s);
    if (!s)
        return error_set(err, ERROR_MEMORY, "no memory for the state of the model");
    *s = (struct model_state){.model = m, .n_slots = n_slots, .n_context = n_context};
    s->lengths = calloc((size_t)n_slots, sizeof *s->lengths);
    s->next = calloc((size_t)n_slots, sizeof *s->next);
    s->scales = calloc((size_t)n_slots * (size_t)m->info.n_adapters + 1, sizeof *s->scales);
    s->layers = calloc((size_t)m->info.n_layers + 1, sizeof *s->layers);
    s->positions = calloc((size_t)step_max(m, n_context), sizeof *s->positions);
    s->outputs = calloc((size_t)step_max(m, n_context), sizeof *s->outputs);
    struct state_room room = room_of(m, asked, &s->shares);
    if (!s->lengths || !s->next || !s->scales || !s->layers || !s->positions || !s->outputs)
        rc = error_set(err, ERROR_MEMORY, "no memory for the state of the model");
    rc = rc ? rc : layers_create(s, &room, err);
    rc = rc ? rc : foretell_create(m, n_slots, &s->foretell, err);
    if (rc) {
        model_state_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

/* The plan of a step does not depend on how long contexts are, except an encoder's, which takes a text whole.
 */
uint64_t model_step_bytes(const struct model *m, int32_t n_slots, int32_t n_context, int32_t n_tokens)
{
    static float elsewhere; /* logits are in memory of whoever steps */
    struct model_state *s;
    struct error err;
    size_t floats = 0;
    if (!m->info.encoder && n_context > STATE_STEP_MAX)
        n_context = STATE_STEP_MAX;
    const int32_t most = m->info.encoder ? n_context : STATE_STEP_MAX;
    if (model_state_create(m, 1, n_context, &s, &err) != 0)
        return 0; /* creating the real one says why */
    n_tokens = m->info.encoder || n_tokens > most ? most : n_tokens;
    const struct program_batch batch = {n_tokens, n_slots < n_tokens ? n_slots : n_tokens, s->positions,
        s->positions, s->positions, s->outputs, n_context};
    program_reset(&s->program, &batch);
    const struct value out = m->architecture->forward(m, &s->program, s->layers);
    const uint64_t logits = m->info.encoder ? 0 : (uint64_t)n_slots * (uint64_t)m->info.n_vocab;
    if (logits > 0)
        program_output(&s->program, out, &elsewhere);
    int rc = program_plan(&s->program, &floats, &err);
    model_state_free(s);
    return rc ? 0 : (floats + logits) * sizeof(float);
}

void model_state_watch(struct model_state *s, const struct program_watch *watch)
{
    s->program.watch = watch;
}

void model_state_free(struct model_state *s)
{
    if (!s)
        return;
    for (int32_t i = 0; s->layers && i < s->model->n_states; i++)
        state_kinds[s->model->states[i].kind]->free(s->layers[i]);
    model_spill_free(s);
    foretell_free(s->foretell);
    pages_free(s->pages);
    program_free(&s->program);
    free(s->positions);
    free(s->outputs);
    free(s->lengths);
    free(s->next);
    free(s->scales);
    free(s->layers);
    free(s);
}

/* Checks a whole batch; s->next runs ahead of the lengths to see that every slot has room. */
static int batch_check(struct model_state *s, const struct model_batch *b, struct error *err)
{
    memcpy(s->next, s->lengths, (size_t)s->n_slots * sizeof *s->next);
    for (int32_t i = 0; i < b->n_tokens; i++) {
        int32_t slot = b->slots[i];
        if (b->tokens[i] < 0 || b->tokens[i] >= s->model->info.n_vocab)
            return error_set(err, ERROR_INVALID, "token %d is not in the vocabulary: it has %d",
                (int)b->tokens[i], (int)s->model->info.n_vocab);
        if (slot < 0 || slot >= s->n_slots)
            return error_set(
                err, ERROR_INVALID, "slot %d does not exist: there are %d", (int)slot, (int)s->n_slots);
        if (i > 0 && slot != b->slots[i - 1] && s->next[slot] != s->lengths[slot])
            return error_set(err, ERROR_INVALID, "the tokens of slot %d do not stand together", (int)slot);
        if (++s->next[slot] > s->n_context)
            return error_set(err, ERROR_LIMIT, "the sequence does not fit into the context of %d tokens",
                (int)s->n_context);
    }
    return 0;
}

static void adapters_use(struct model_state *s)
{
    const struct program_batch *b = &s->program.batch;
    struct program_adapters *adapters = &s->program.adapters;
    *adapters = (struct program_adapters){s->model->info.n_adapters, s->scales, 0};
    for (int32_t i = 0; i < b->n_tokens && adapters->n > 0; i++)
        for (int32_t a = 0; a < adapters->n; a++)
            if (model_slot_scales(s, b->slots[i])[a] != 0)
                adapters->used |= (uint64_t)1 << a;
}

void model_program_begin(struct model_state *s, const struct program_batch *batch)
{
    program_reset(&s->program, batch);
    adapters_use(s);
}

int model_program_run(struct model_state *s, struct error *err)
{
    struct backend *backend = s->model->backend;
    int rc = backend->ops->encode(backend, &s->program, err);
    if (rc == 0)
        rc = backend->ops->submit(backend, err);
    return rc ? rc : backend->ops->sync(backend, err);
}

/* Runs the tokens [from, from + count) of the batch; *n_outputs rows of logits are written. */
static int chunk_run(struct model_state *s, const struct model_batch *b, int32_t from, int32_t count,
    float *logits, int32_t *n_outputs, struct error *err)
{
    *n_outputs = 0;
    for (int32_t i = 0; i < count; i++) {
        s->positions[i] = s->next[b->slots[from + i]]++;
        if (b->wants_logits[from + i])
            s->outputs[(*n_outputs)++] = i;
    }
    for (int32_t i = 0; i < s->model->n_states; i++)
        for (int32_t t = 0; t < count; t++)
            if (t + 1 == count || b->slots[from + t] != b->slots[from + t + 1])
                state_kinds[s->model->states[i].kind]->advance(
                    s->layers[i], b->slots[from + t], s->positions[t] + 1);
    model_program_begin(s, &(struct program_batch){count, *n_outputs, b->tokens + from, b->slots + from,
                               s->positions, s->outputs, s->n_context});
    s->program.hidden.rows = foretell_rows(s->foretell);
    program_output(&s->program, s->model->architecture->forward(s->model, &s->program, s->layers), logits);
    int rc = model_program_run(s, err);
    return rc ? rc : foretell_keep(s, err);
}

/* What has run was written behind the lengths: back to them. */
static void batch_undo(struct model_state *s, const struct model_batch *b)
{
    for (int32_t i = 0; i < b->n_tokens; i++)
        if (i == 0 || b->slots[i] != b->slots[i - 1])
            model_state_truncate(s, b->slots[i], s->lengths[b->slots[i]]);
}

/* Every slot of the batch gets the pages that it will write to. */
static int batch_reserve(struct model_state *s, const struct model_batch *b, struct error *err)
{
    int rc = 0;
    for (int32_t i = 0, from = 0; i < b->n_tokens && rc == 0; i++) {
        if (i + 1 < b->n_tokens && b->slots[i + 1] == b->slots[i])
            continue;
        rc = model_slot_reserve(s, b->slots[i], s->lengths[b->slots[i]] + i + 1 - from, err);
        from = i + 1;
    }
    return rc;
}

int model_decode(struct model_state *s, const struct model_batch *batch, float *logits, struct error *err)
{
    if (s->model->info.encoder)
        return error_set(
            err, ERROR_UNSUPPORTED, "the model embeds text, it does not write any: ask it for embeddings");
    int rc = batch_check(s, batch, err);
    if (rc)
        return rc;
    memcpy(s->next, s->lengths, (size_t)s->n_slots * sizeof *s->next);
    rc = batch_reserve(s, batch, err);
    if (rc) {
        batch_undo(s, batch);
        return rc;
    }
    for (int32_t from = 0, count, n_outputs; from < batch->n_tokens; from += count) {
        count = batch->n_tokens - from < STATE_STEP_MAX ? batch->n_tokens - from : STATE_STEP_MAX;
        rc = chunk_run(s, batch, from, count, logits, &n_outputs, err);
        if (rc) {
            batch_undo(s, batch);
            return rc;
        }
        if (n_outputs > 0)
            logits += (size_t)n_outputs * (size_t)s->model->info.n_vocab;
    }
    memcpy(s->lengths, s->next, (size_t)s->n_slots * sizeof *s->lengths);
    return 0;
}

/* Which rows the model's end takes. */
static bool is_taken(enum model_pooling rows, int32_t token, int32_t n_tokens)
{
    if (rows == MODEL_POOL_CLS)
        return token == 0;
    return rows != MODEL_POOL_LAST || token == n_tokens - 1;
}

static int encode(struct model_state *s, const struct model_batch *b, float *out, struct error *err)
{
    const int32_t most = step_max(s->model, s->n_context);
    int rc = batch_check(s, b, err);
    if (rc)
        return rc;
    memcpy(s->next, s->lengths, (size_t)s->n_slots * sizeof *s->next);
    for (int32_t from = 0, count, n_rows; rc == 0 && from < b->n_tokens; from += count) {
        count = b->n_tokens - from < most ? b->n_tokens - from : most;
        rc = chunk_run(s, b, from, count, out, &n_rows, err);
        out += (size_t)n_rows * (size_t)s->model->info.n_embedding;
    }
    batch_undo(s, b);
    return rc;
}

static void softmax(float *scores, int32_t n)
{
    double most = -INFINITY, sum = 0;
    for (int32_t i = 0; i < n; i++)
        most = fmax(most, (double)scores[i]);
    for (int32_t i = 0; i < n; i++)
        sum += exp((double)scores[i] - most);
    for (int32_t i = 0; i < n; i++)
        scores[i] = (float)(exp((double)scores[i] - most) / sum);
}

int model_encode(
    struct model_state *s, const int32_t *tokens, int32_t n_tokens, float *out, struct error *err)
{
    const struct model *m = s->model;
    if (!m->info.encoder)
        return error_set(err, ERROR_UNSUPPORTED,
            "the model writes text, it does not embed any: use an embedding model for this");
    if (n_tokens < 1)
        return error_set(err, ERROR_INVALID, "there is no token to embed: send a text");
    int32_t *slots = calloc((size_t)n_tokens, sizeof *slots);
    uint8_t *wants = calloc((size_t)n_tokens, 1);
    int rc = 0;
    if (!slots || !wants)
        rc = error_set(err, ERROR_MEMORY, "no memory to embed %d tokens: send less", (int)n_tokens);
    for (int32_t i = 0; rc == 0 && i < n_tokens; i++)
        wants[i] = is_taken(m->rows, i, n_tokens);
    rc = rc ? rc : encode(s, &(struct model_batch){n_tokens, tokens, slots, wants}, out, err);
    if (rc == 0 && m->scores_compete)
        softmax(out, m->info.n_embedding);
    free(slots);
    free(wants);
    return rc;
}

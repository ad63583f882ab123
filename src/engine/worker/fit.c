#include "engine/worker/fit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "engine/worker/program.h"
#include "engine/worker/scheduler.h"

enum {
    PROBE_TENSORS = 64,
    PROBE_COLUMNS = 32, /* of the products that stand for prefill */
    PROBE_ROUNDS = 6,
    PROBE_MS = 40,     /* of a round; what else the machine does seldom fills them all */
    CONTEXT_STEP = 256 /* contexts that are offered */
};
#define PROBE_READ (64 * MIB) /* more than caches hold */
#define PROBE_MULTIPLY (4 * MIB)

struct fit fit_of(const struct model *m, int32_t n_slots, int32_t n_context, int32_t n_batch)
{
    const struct model_room room = {.n_slots = n_slots, .n_context = n_context, .kv_type = model_kv_type(m)};
    return fit_within(m, &room, n_batch);
}

struct fit fit_within(const struct model *m, const struct model_room *room, int32_t n_batch)
{
    const struct model_info *info = model_info(m);
    struct fit f = {.room = *room, .weights = info->weight_bytes, .adapters = info->adapter_bytes};
    f.state = model_state_bytes_within(m, room);
    f.compute =
        model_step_bytes(m, room->n_slots + SCHEDULER_DRAFTS + SCHEDULER_TOLD, room->n_context, n_batch);
    return f;
}

uint64_t fit_total(const struct fit *f)
{
    uint64_t total;
    if (__builtin_add_overflow(f->weights, f->adapters, &total) ||
        __builtin_add_overflow(total, f->state, &total) || __builtin_add_overflow(total, f->compute, &total))
        return UINT64_MAX;
    return total;
}

int32_t fit_context(const struct model *m, const struct fit *f, uint64_t available)
{
    int32_t least = 0, most = f->room.n_context; /* `least` fits */
    while (least < most) {
        struct fit at = *f;
        at.room.n_context = least + (most - least + 1) / 2;
        at.state = model_state_bytes_within(m, &at.room);
        if (fit_total(&at) <= available)
            least = at.room.n_context;
        else
            most = at.room.n_context - 1;
    }
    return least > CONTEXT_STEP ? least / CONTEXT_STEP * CONTEXT_STEP : least;
}

static double gib(uint64_t bytes)
{
    return (double)bytes / (double)GIB;
}

int fit_check(const struct model *m, const struct fit *f, uint64_t available, struct error *err)
{
    char advice[160] = "use a smaller model, or a file quantised further";
    struct fit one = *f;
    if (fit_total(f) <= available)
        return 0;
    one.room.n_slots = 1;
    one.state = model_state_bytes_within(m, &one.room);
    const int32_t all = fit_context(m, f, available), alone = fit_context(m, &one, available);
    if (f->room.n_slots > 1 && alone > all)
        snprintf(advice, sizeof advice, "a context of %d fits, or 1 slot with a context of %d", (int)all,
            (int)alone);
    else if (all > 0)
        snprintf(advice, sizeof advice, "a context of %d fits", (int)all);
    return error_set(err, ERROR_MEMORY,
        "the model takes %.2f GiB (weights %.2f, adapters %.2f, state of %d x %d tokens %.2f, compute %.2f) "
        "and %.2f GiB are available: %s, or load it all the same (memory: unchecked, --memory-unchecked; "
        "slow)",
        gib(fit_total(f)), gib(f->weights), gib(f->adapters), (int)f->room.n_slots, (int)f->room.n_context,
        gib(f->state), gib(f->compute), gib(available), advice);
}

/* ---- Speed ---- */

/* ARCHITECTURE.NAME; 0: the file has no such number. */
static uint32_t number_of(const struct gguf *g, const char *name)
{
    char key[128];
    struct str architecture;
    struct error err;
    uint32_t number = 0;
    if (gguf_get_str(g, "general.architecture", STR_NONE, &architecture, &err))
        return 0;
    snprintf(key, sizeof key, STR_FMT ".%s", STR_ARG(str_slice(architecture, 0, 64)), name);
    return gguf_get_u32(g, key, 0, &number, &err) ? 0 : number;
}

/* It is of a layer behind those that a token runs through, which foretells what follows. */
static bool is_behind(const struct gguf *g, struct str name)
{
    const int64_t layers = (int64_t)number_of(g, "block_count") - number_of(g, "nextn_predict_layers");
    int64_t layer;
    if (!str_starts(name, STR("blk.")))
        return false;
    name = str_slice(name, 4, name.len);
    return str_to_int64(str_slice(name, 0, str_find_char(name, '.')), &layer) && layer >= layers;
}

/* Weights of products: all but the tables and vectors. */
static bool is_product(const struct gguf *g, const struct tensor *t)
{
    if (!t->data || t->shape[1] < 2 || !tensor_type_readable(t->type))
        return false;
    if (str_is(t->name, "token_embd.weight"))
        return !gguf_tensor_find(g, "output.weight");
    return !str_starts(t->name, STR("per_layer_token_embd")) && !str_starts(t->name, STR("position_embd")) &&
           !is_behind(g, t->name);
}

static void token_cost(const struct gguf *g, struct fit_speed *out)
{
    const double experts = number_of(g, "expert_used_count");
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct tensor *t = gguf_tensor_at(g, i);
        double share = 1; /* of it that a token uses */
        if (!is_product(g, t))
            continue;
        if (t->shape[2] > 1 && str_ends(t->name, STR("_exps.weight")) && experts > 0)
            share = fmin(experts / (double)t->shape[2], 1);
        out->bytes_per_token += (double)t->bytes * share;
        out->products_per_token += (double)t->shape[0] * (double)tensor_rows(t) * share;
    }
}

/* Some of the model's matrices, a vector for their inputs; one program multiplies by all of them. */
struct probe {
    struct linear linears[PROBE_TENSORS];
    struct weight inputs[PROBE_TENSORS];
    float *zeros;
    int32_t n;
    double bytes, products;
};

/* Rows of a matrix, at most `most` bytes; they are read from the disk first. */
static void probe_add(struct probe *p, const struct tensor *t, uint64_t most)
{
    const size_t row = tensor_row_bytes(t->type, t->shape[0]), page = (size_t)sysconf(_SC_PAGESIZE);
    int64_t rows = tensor_rows(t);
    if (row == 0 || (uint64_t)rows > most / row)
        rows = row ? (int64_t)(most / row) : 0;
    const size_t skew = (uintptr_t)t->data % page;
    if (rows < 1 || madvise((char *)(uintptr_t)t->data - skew, (size_t)rows * row + skew, MADV_POPULATE_READ))
        return;
    p->linears[p->n].weight = (struct weight){t->type, t->shape[0], rows, 1, t->data, NULL, NULL};
    p->inputs[p->n] = (struct weight){TENSOR_F32, t->shape[0], 1, 1, p->zeros, NULL, NULL};
    p->n++;
    p->bytes += (double)row * (double)rows;
    p->products += (double)t->shape[0] * (double)rows;
}

static void probe_fill(struct probe *p, const struct gguf *g, uint64_t most)
{
    for (size_t i = 0; i < gguf_n_tensors(g) && p->n < PROBE_TENSORS && p->bytes < (double)most; i++)
        if (is_product(g, gguf_tensor_at(g, i)))
            probe_add(p, gguf_tensor_at(g, i), most - (uint64_t)p->bytes);
}

static int probe_once(const struct probe *p, struct backend *b, struct program *program, int32_t columns,
    double *seconds, struct error *err)
{
    static const int32_t zero[PROBE_COLUMNS];
    const struct program_batch batch = {columns, columns, zero, zero, zero, zero, PROBE_COLUMNS};
    program_reset(program, &batch);
    for (int32_t i = 0; i < p->n; i++)
        op_matmul(program, &p->linears[i], op_embed(program, &p->inputs[i]));
    int rc = b->ops->encode(b, program, err);
    const int64_t from = clock_mono_ns();
    rc = rc ? rc : b->ops->submit(b, err);
    rc = rc ? rc : b->ops->sync(b, err);
    *seconds = (double)(clock_mono_ns() - from) / 1e9;
    return rc;
}

/* Runs for a round; `best`: seconds of the fastest run of all rounds. */
static int probe_round(
    const struct probe *p, struct backend *b, int32_t columns, double *best, struct error *err)
{
    struct program program = {0};
    const int64_t until = clock_mono_ms() + PROBE_MS;
    int rc = 0;
    do {
        double took;
        rc = probe_once(p, b, &program, columns, &took, err);
        *best = took < *best ? took : *best;
    } while (rc == 0 && clock_mono_ms() < until);
    program_free(&program);
    return rc;
}

static int64_t widest(const struct gguf *g)
{
    int64_t most = 1;
    for (size_t i = 0; i < gguf_n_tensors(g); i++)
        if (is_product(g, gguf_tensor_at(g, i)) && gguf_tensor_at(g, i)->shape[0] > most)
            most = gguf_tensor_at(g, i)->shape[0];
    return most;
}

int fit_speed(const struct gguf *g, struct backend *b, struct fit_speed *out, struct error *err)
{
    struct probe read = {0}, multiply = {0};
    double one = INFINITY, many = INFINITY;
    *out = (struct fit_speed){0};
    token_cost(g, out);
    read.zeros = multiply.zeros = calloc((size_t)widest(g), sizeof *read.zeros);
    if (!read.zeros)
        return error_set(err, ERROR_MEMORY, "no memory to measure the machine");
    probe_fill(&read, g, PROBE_READ);
    probe_fill(&multiply, g, PROBE_MULTIPLY);
    int rc = read.n > 0 && multiply.n > 0 ? 0 : error_set(err, ERROR_INVALID, "the model has no products");
    for (int i = 0; i < PROBE_ROUNDS && rc == 0; i++) {
        rc = probe_round(&read, b, 1, &one, err);
        rc = rc ? rc : probe_round(&multiply, b, PROBE_COLUMNS, &many, err);
    }
    if (rc == 0) {
        out->read_per_second = read.bytes / one;
        out->products_per_second = multiply.products * PROBE_COLUMNS / many;
        out->decode_tps = out->read_per_second / out->bytes_per_token;
        out->prefill_tps = out->products_per_second / out->products_per_token;
    }
    free(read.zeros);
    return rc;
}

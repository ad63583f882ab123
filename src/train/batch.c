/* Which examples come when, and how they are packed. */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "train/data.h"

/* ---- Order ---- */
static void order_fill(struct data_order *o)
{
    const size_t n = o->data->n_docs;
    struct rand_pcg r;
    rand_pcg_seed(&r, o->seed * 0x9E3779B97F4A7C15u + (uint64_t)o->epoch);
    for (size_t i = 0; i < n; i++)
        o->order[i] = (uint32_t)i;
    for (size_t i = n; i > 1; i--) {
        const size_t j = (size_t)(rand_pcg_double(&r) * (double)i);
        const uint32_t swap = o->order[i - 1];
        o->order[i - 1] = o->order[j];
        o->order[j] = swap;
    }
}

int data_order_create(const struct train_data *d, uint64_t seed, struct data_order *o, struct error *err)
{
    *o = (struct data_order){.data = d, .seed = seed, .order = calloc(d->n_docs + 1, sizeof *o->order)};
    if (!o->order)
        return error_set(err, ERROR_MEMORY, "no memory for the order of %zu examples", d->n_docs);
    order_fill(o);
    return 0;
}

void data_order_free(struct data_order *o)
{
    free(o->order);
    o->order = NULL;
}

void data_order_seek(struct data_order *o, int64_t epoch, size_t next)
{
    o->epoch = epoch;
    o->next = next;
    order_fill(o);
}

static size_t order_next(struct data_order *o)
{
    if (o->next == o->data->n_docs)
        data_order_seek(o, o->epoch + 1, 0);
    return o->order[o->next++];
}

/* ---- Packing ---- */
static size_t doc_length(const struct train_data *d, size_t doc)
{
    return d->starts[doc + 1] - d->starts[doc];
}

enum { PARTS_LEAST = 4, PART_TOKENS_LEAST = 256 };

/* The examples of a batch and where each goes. */
struct packing {
    const struct train_data *data;
    size_t *docs; /* the longest first */
    size_t n_docs;
    size_t *bin;  /* of each example */
    size_t *used; /* of each sequence: tokens */
    size_t n_bins;
};

static int longer_first(const void *a, const void *b, void *data)
{
    const size_t i = *(const size_t *)a, j = *(const size_t *)b, m = doc_length(data, i),
                 n = doc_length(data, j);
    return m != n ? (m < n ? 1 : -1) : i < j ? -1 : i > j;
}

size_t train_batch_parts(size_t tokens, size_t context)
{
    size_t part = tokens / PARTS_LEAST + 1 > PART_TOKENS_LEAST ? tokens / PARTS_LEAST + 1 : PART_TOKENS_LEAST;
    part = part < context ? part : context;
    return (tokens + part - 1) / part;
}

/* Each example goes to the emptiest sequence: they become equally long, so that no thread waits for another.
 * */
static void pack(struct packing *p, size_t context)
{
    size_t total = 0;
    qsort_r(p->docs, p->n_docs, sizeof *p->docs, longer_first, (void *)(uintptr_t)p->data);
    for (size_t i = 0; i < p->n_docs; i++)
        total += doc_length(p->data, p->docs[i]);
    p->n_bins = train_batch_parts(total, context);
    p->n_bins = p->n_bins < p->n_docs ? p->n_bins : p->n_docs;
    for (size_t i = 0; i < p->n_docs; i++) {
        const size_t length = doc_length(p->data, p->docs[i]);
        size_t bin = 0;
        for (size_t j = 1; j < p->n_bins; j++)
            bin = p->used[j] < p->used[bin] ? j : bin;
        if (p->used[bin] + length > context)
            bin = p->n_bins++;
        p->used[bin] += length;
        p->bin[i] = bin;
    }
}

static void doc_append(
    const struct train_data *d, size_t doc, float prompt, struct train_sequence *s, struct batch *b)
{
    const size_t from = d->starts[doc], n = doc_length(d, doc);
    int32_t *tokens = (int32_t *)(uintptr_t)s->tokens, *rows = (int32_t *)(uintptr_t)s->rows;
    int32_t *targets = (int32_t *)(uintptr_t)s->targets, *docs = (int32_t *)(uintptr_t)s->docs;
    float *weights = (float *)(uintptr_t)s->weights;
    for (size_t i = 0; i < n; i++) {
        const float weight = i + 1 == n                 ? 0
                             : d->learned[from + i + 1] ? (float)d->learned[from + i + 1]
                                                        : prompt;
        if (weight > 0) {
            rows[s->n_targets] = s->n_tokens;
            targets[s->n_targets] = d->tokens[from + i + 1];
            weights[s->n_targets++] = weight;
            b->weight += (double)weight;
        }
        tokens[s->n_tokens++] = d->tokens[from + i];
    }
    docs[++s->n_docs] = s->n_tokens;
    b->n_tokens += (int64_t)n;
}

static int sequences_fill(const struct packing *p, float prompt, struct batch *b, struct error *err)
{
    b->sequences = arena_try_array(b->arena, struct train_sequence, p->n_bins);
    b->n_sequences = b->sequences ? p->n_bins : 0;
    for (size_t i = 0; i < b->n_sequences; i++) {
        const size_t n = p->used[i];
        b->sequences[i] = (struct train_sequence){.tokens = arena_try_array(b->arena, int32_t, n),
            .rows = arena_try_array(b->arena, int32_t, n),
            .targets = arena_try_array(b->arena, int32_t, n),
            .weights = arena_try_array(b->arena, float, n),
            .docs = arena_try_array(b->arena, int32_t, n + 1)};
        const struct train_sequence *s = &b->sequences[i];
        if (!s->tokens || !s->rows || !s->targets || !s->weights || !s->docs)
            b->n_sequences = 0;
    }
    if (b->n_sequences == 0)
        return error_set(err, ERROR_MEMORY, "no memory for a batch: choose fewer batch_tokens");
    for (size_t i = 0; i < p->n_docs; i++)
        doc_append(p->data, p->docs[i], prompt, &b->sequences[p->bin[i]], b);
    return 0;
}

static int batch_pack(const struct train_data *d, size_t *docs, size_t n, int32_t context, float prompt,
    struct batch *b, struct error *err)
{
    struct packing p = {.data = d, .docs = docs, .n_docs = n};
    *b = (struct batch){.arena = arena_create(8 * GIB)};
    p.bin = arena_try_array(b->arena, size_t, n + 1);
    p.used = arena_try_array(b->arena, size_t, 2 * n + PARTS_LEAST + 1);
    if (!p.bin || !p.used)
        return error_set(err, ERROR_MEMORY, "no memory for a batch: choose fewer batch_tokens");
    pack(&p, (size_t)context);
    return sequences_fill(&p, prompt, b, err);
}

int train_batch_take(
    struct data_order *o, int64_t tokens, int32_t context, double prompt, struct batch *b, struct error *err)
{
    size_t *docs = NULL, n = 0, room = 0;
    int rc = 0;
    for (int64_t taken = 0; taken < tokens && rc == 0;) {
        if (n == room) {
            room = room ? 2 * room : 256;
            size_t *more = realloc(docs, room * sizeof *docs);
            rc = more ? 0 : error_set(err, ERROR_MEMORY, "no memory for a batch: choose fewer batch_tokens");
            docs = more ? more : docs;
        }
        if (rc == 0) {
            docs[n] = order_next(o);
            taken += (int64_t)doc_length(o->data, docs[n++]);
        }
    }
    rc = rc ? rc : batch_pack(o->data, docs, n, context, (float)prompt, b, err);
    free(docs);
    return rc;
}

int train_batch_make(
    const struct train_data *d, size_t n, int32_t context, struct batch *b, struct error *err)
{
    size_t *docs = calloc(n + 1, sizeof *docs);
    if (!docs)
        return error_set(err, ERROR_MEMORY, "no memory for %zu examples", n);
    for (size_t i = 0; i < n; i++)
        docs[i] = i;
    int rc = batch_pack(d, docs, n, context, 0, b, err);
    free(docs);
    return rc;
}

void train_batch_free(struct batch *b)
{
    arena_free(b->arena);
    *b = (struct batch){0};
}
